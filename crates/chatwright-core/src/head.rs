//! The head of a chat: its small versioned control state.

mod index;
mod state;

pub use index::{ClientType, Index, Labels, Status, Title};
pub use state::{
    Archiving, CallKind, ClientKey, Compact, KeyHash, Last, OpenCall, OpenGen, QueueEntry, Retrying,
    STATE_VERSION, Squeezed, State, UnitKind,
};

use serde::{Deserialize, Serialize};

use crate::json::Json;
use crate::limits;
use crate::number::{Revision, Seq};
use crate::text::TooLarge;
use crate::{SessionId, Timestamp};

/// The head of a chat as stores keep it. Every commit replaces it whole.
///
/// It can be serialised whole, for stores that keep it so: the state is then a string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many commits the chat has had.
    pub revision: Revision,
    /// The position of its last record.
    pub last_seq: Seq,
    /// When somebody should look at the chat, in store time. A chat is runnable iff this is set.
    pub wake_at: Option<Timestamp>,
    /// The session that runs the chat.
    pub holder: Option<SessionId>,
    /// What can be queried: at most [`limits::INDEX_BYTES_MAX`] bytes as JSON.
    pub index: Index,
    /// What only the engine reads: at most [`limits::STATE_BYTES_MAX`] bytes of JSON, opaque to stores.
    pub state: Json,
}

/// A head before its commit gives it numbers. It is within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadDraft {
    wake_at: Option<Timestamp>,
    holder: Option<SessionId>,
    index: Index,
    state: Json,
}

/// A head that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHead {
    /// A part of it is over its bound.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The state or the index does not encode.
    #[error("the head does not encode as JSON")]
    Encode(#[from] serde_json::Error),
}

impl HeadDraft {
    /// A head with this index and this state, at rest and without a holder.
    ///
    /// # Errors
    /// [`InvalidHead::TooLarge`] if the index or the state is over its bound.
    pub fn at_rest(index: Index, state: &State) -> Result<Self, InvalidHead> {
        Self::from_json(index, Json::encode(state)?)
    }

    /// The same with a state of the caller's own.
    ///
    /// # Errors
    /// [`InvalidHead::TooLarge`] if the index or the state is over its bound.
    pub fn from_json(index: Index, state: Json) -> Result<Self, InvalidHead> {
        TooLarge::check_bytes("head state", state.len(), limits::STATE_BYTES_MAX)?;
        TooLarge::check_bytes("head index", serde_json::to_string(&index)?.len(), limits::INDEX_BYTES_MAX)?;
        Ok(Self { wake_at: None, holder: None, index, state })
    }

    /// Sets when somebody should look at the chat.
    #[must_use]
    pub fn wake_at(mut self, at: Option<Timestamp>) -> Self {
        self.wake_at = at;
        self
    }

    /// Sets the session that runs the chat.
    #[must_use]
    pub fn holder(mut self, session: Option<SessionId>) -> Self {
        self.holder = session;
        self
    }

    pub(crate) fn numbered(self, revision: Revision, last_seq: Seq) -> Head {
        let Self { wake_at, holder, index, state } = self;
        Head { revision, last_seq, wake_at, holder, index, state }
    }
}
