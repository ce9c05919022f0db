//! Doorbells: hints that something changed. Losing, doubling, reordering or forging them changes nothing but latency.

use chatwright_core::port::{Event, Topic};
use chatwright_core::{ChatId, Revision, Uuid};

use crate::deps::{Deps, soon};
pub(crate) use crate::events::doorbell_topic as chat_topic;

/// Where workers hear of chats that want one.
pub(crate) fn work_topic() -> Topic {
    Topic::new("work").expect("a short name")
}

/// The revision that a chat's doorbell speaks of, if it does.
pub(crate) fn revision(frame: &[u8]) -> Option<Revision> {
    frame.try_into().ok().map(|bytes| Revision::new(u64::from_be_bytes(bytes)))
}

/// The chat that a worker's doorbell speaks of, if it does.
pub(crate) fn chat(frame: &[u8]) -> Option<ChatId> {
    Uuid::from_slice(frame).ok().map(ChatId::from_uuid)
}

impl Deps {
    /// Rings after a commit. A bus that fails is no failure of the commit.
    pub(crate) async fn ring(&self, chat: ChatId, revision: Revision, wants_worker: bool) {
        let ring = async {
            self.ports.bus.publish(&chat_topic(chat), &revision.get().to_be_bytes()).await?;
            match wants_worker {
                true => self.ports.bus.publish(&work_topic(), chat.as_uuid().as_bytes()).await,
                false => Ok(()),
            }
        };
        if !matches!(soon(ring).await, Some(Ok(()))) {
            self.observe(&Event::DoorbellFailed { chat });
            tracing::debug!(%chat, "a doorbell was not rung");
        }
    }
}
