use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::limits;
use crate::text::TooLarge;

/// A doorbell between processes: best effort, never the truth. Frames may be lost, doubled or late; nothing but latency
/// depends on them.
///
/// | # | promise |
/// |---|---|
/// | B1 | [`subscribe`](Self::subscribe) returns once the subscription is active: what is published afterwards is delivered, unless it is lost. |
/// | B2 | First in, first out per publisher and topic. |
/// | B3 | A subscriber gets the frames of its topic and no others. |
/// | B4 | A loss that the bus knows of is told as [`Delivery::Lagged`]; a dead link ends the stream. |
/// | B5 | A slow subscriber never blocks a publisher. |
/// | B6 | Dropping the stream unsubscribes. |
/// | B7 | Frames of up to [`BUS_FRAME_BYTES_MAX`](limits::BUS_FRAME_BYTES_MAX) bytes pass, larger ones are refused. |
///
/// # Cancel safety
/// A dropped publish may or may not have happened; a dropped subscribe leaves no subscription.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Sends a frame to the subscribers of a topic, wherever they are, the publisher's own process included.
    ///
    /// # Errors
    /// [`BusError::TooLarge`], or [`BusError::Unavailable`].
    async fn publish(&self, topic: &Topic, frame: &[u8]) -> Result<(), BusError>;

    /// Subscribes to a topic (B1).
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    async fn subscribe(&self, topic: &Topic) -> Result<BusFrames, BusError>;
}

/// The frames of a subscription. Its end means that the link is dead: subscribe again and look at the truth.
pub type BusFrames = BoxStream<'static, Delivery>;

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A frame.
    Frame(Arc<[u8]>),
    /// Frames were lost here.
    Lagged,
}

/// The name of a topic: at most [`limits::BUS_TOPIC_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The topic of this name.
    ///
    /// # Errors
    /// [`TooLarge`] over [`limits::BUS_TOPIC_BYTES_MAX`] bytes.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, TooLarge> {
        let name = name.into();
        TooLarge::check_bytes("bus topic", name.len(), limits::BUS_TOPIC_BYTES_MAX)?;
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The bus did not take a request.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The frame is over its bound.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The link is down.
    #[error("the bus cannot be reached: {message}")]
    Unavailable {
        /// What happened.
        message: Box<str>,
    },
}

impl BusError {
    /// `Err` iff a frame is over its bound (B7).
    ///
    /// # Errors
    /// [`BusError::TooLarge`].
    pub fn check_frame(frame: &[u8]) -> Result<(), Self> {
        Ok(TooLarge::check_bytes("bus frame", frame.len(), limits::BUS_FRAME_BYTES_MAX)?)
    }
}
