use chatwright_core::head::{STATE_VERSION, State};
use chatwright_core::{ChatId, Head};

/// A chat as the engine sees it between two commits.
#[derive(Clone, Debug, PartialEq)]
pub struct Chat {
    /// Its id.
    pub id: ChatId,
    /// Its head as stored.
    pub head: Head,
    /// The state in the head, decoded.
    pub state: State,
}

/// A head that this code cannot work with.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A newer version wrote it. It may be read, but neither written nor claimed.
    #[error("chat {chat} has a head of version {version}, newer than this program's {STATE_VERSION}")]
    Newer {
        /// The chat.
        chat: ChatId,
        /// The version.
        version: u32,
    },
    /// It does not decode.
    #[error("the head of chat {chat} does not decode")]
    Damaged {
        /// The chat.
        chat: ChatId,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Chat {
    /// Decodes the state of a head.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn new(id: ChatId, head: Head) -> Result<Self, Unreadable> {
        let state: State = head.state.decode().map_err(|source| Unreadable::Damaged { chat: id, source })?;
        if state.version > STATE_VERSION {
            return Err(Unreadable::Newer { chat: id, version: state.version });
        }
        Ok(Self { id, head, state })
    }

    /// Whether the queue has an entry that promotion would take.
    pub fn has_promotable(&self) -> bool {
        self.state.queue.iter().any(|entry| !entry.held)
    }
}
