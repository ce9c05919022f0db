use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::live::Piece;
use crate::{ChatId, Epoch, Gen};

/// The live previews of gens.
///
/// | # | promise |
/// |---|---|
/// | L1 | A unit, once readable, never changes. |
/// | L2 | Contiguous: an append begins at the head. An overlap must be equal byte for byte and is skipped; anything else is [`LiveError::Diverged`], and changes nothing. |
/// | L3 | A log that outlives its writer refuses an epoch below the highest seen for that chat. (A log in the writer's memory is fenced by the writer itself.) |
/// | L4 | Bounded: past [`LIVE_BYTES_MAX`](crate::limits::LIVE_BYTES_MAX) or its own lower cap a gen takes no more, for good ([`LiveError::Capped`]). |
///
/// # Cancel safety
/// Every method is cancel-safe: a dropped append may or may not have been applied, and may be repeated (L2).
#[async_trait]
pub trait LiveLog: Send + Sync + 'static {
    /// Opens a gen. Opening an open gen again under the same epoch is fine. Opening it under a higher epoch begins it
    /// anew: what the lower epoch left was never opened in the chat's log, so nobody has read it.
    ///
    /// # Errors
    /// [`LiveError::Fenced`], [`LiveError::Sealed`], or [`LiveError::Unavailable`].
    async fn open(&self, chat: ChatId, epoch: Epoch, r#gen: Gen) -> Result<(), LiveError>;

    /// Appends pieces that cover the units from `from` on without a hole, and gives the new head. What fits under the
    /// cap is stored before [`LiveError::Capped`] is answered.
    ///
    /// # Errors
    /// [`LiveError::Unknown`] for a gen that is not open, and all others.
    async fn append(
        &self,
        chat: ChatId,
        epoch: Epoch,
        r#gen: Gen,
        from: u64,
        pieces: &[Piece],
    ) -> Result<u64, LiveError>;

    /// Reads units from `from` on, at most about `max` bytes but at least one piece if there is one.
    ///
    /// # Errors
    /// [`LiveError::Boundary`] for a `from` inside a character, or [`LiveError::Unavailable`].
    async fn read(&self, chat: ChatId, r#gen: Gen, from: u64, max: usize) -> Result<LiveRead, LiveError>;

    /// Seals a gen at `at` units; pieces stay readable for a while. Sealing twice is fine, and the first `at` stays.
    ///
    /// # Errors
    /// [`LiveError::Fenced`], or [`LiveError::Unavailable`].
    async fn seal(&self, chat: ChatId, epoch: Epoch, r#gen: Gen, at: u64) -> Result<(), LiveError>;

    /// Wakes whenever something of the chat has changed since the last wake-up, or since this call. Wake-ups are merged
    /// and never lost; the stream ends with the log.
    fn changed(&self, chat: ChatId) -> LiveWakes;
}

/// Wake-ups of a chat's live log.
pub type LiveWakes = BoxStream<'static, ()>;

/// What a read of a live log finds.
#[derive(Clone, Debug, PartialEq)]
pub enum LiveRead {
    /// Pieces from the asked unit on, perhaps none yet.
    Pieces {
        /// The pieces.
        pieces: Vec<Piece>,
        /// The unit after the last one that is stored, whether or not this page reaches it.
        head: u64,
        /// Nothing more will come until the seal: the gen met its cap.
        capped: bool,
    },
    /// The gen is sealed, and nothing is left after the asked unit.
    Sealed {
        /// Where it ended.
        at: u64,
    },
    /// Nothing is known of the gen: not yet, or no longer.
    Unknown,
}

/// A live log did not take a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// A higher epoch has been seen (L3).
    #[error("the live log has seen epoch {seen}")]
    Fenced {
        /// The highest epoch seen.
        seen: Epoch,
    },
    /// The append does not fit what is stored (L2).
    #[error("the append does not continue the live log at unit {head}")]
    Diverged {
        /// The head of the log.
        head: u64,
    },
    /// The gen met its cap (L4).
    #[error("the live log of the gen is full at unit {head}")]
    Capped {
        /// The head of the log.
        head: u64,
    },
    /// The gen is sealed.
    #[error("the gen is sealed at unit {at}")]
    Sealed {
        /// Where.
        at: u64,
    },
    /// The gen is not open.
    #[error("the live log does not know the gen")]
    Unknown,
    /// The asked unit lies inside a character.
    #[error("unit {off} lies inside a character")]
    Boundary {
        /// The unit.
        off: u64,
    },
    /// The log cannot be reached.
    #[error("the live log cannot be reached: {message}")]
    Unavailable {
        /// What happened.
        message: Box<str>,
    },
}
