//! Who watches is told that there is something new to read.

use std::panic::AssertUnwindSafe;

use chatwright_core::port::Topic;
use chatwright_core::{ChatId, RunId, StepId, Uuid};
use futures::FutureExt;
use serde::{Deserialize, Serialize};

use super::{DebugService, STORE_WITHIN};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DebugEventKind {
    /// A run began or changed.
    RunUpdate,
    /// A step began or changed.
    StepUpdate,
    /// Abandoned runs were ended, of any chat.
    Finalize,
    /// Runs of a chat were deleted.
    Delete,
}

/// A hint that something changed: a doorbell, never the truth. Ids that do not apply are nil.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugEvent {
    /// What happened.
    pub kind: DebugEventKind,
    /// The chat.
    #[serde(rename = "chat_id")]
    pub chat: ChatId,
    /// The run.
    #[serde(rename = "run_id")]
    pub run: RunId,
    /// The step.
    #[serde(rename = "step_id")]
    pub step: StepId,
}

impl DebugEvent {
    /// Where the events of a chat are published.
    pub fn topic(chat: ChatId) -> Topic {
        Topic::new(format!("chat_debug:{chat}")).expect("a short name")
    }

    /// Where events are published that are no chat's.
    pub fn broadcast() -> Topic {
        Topic::new("chat_debug:broadcast").expect("a short name")
    }

    /// Reads a frame of the bus.
    ///
    /// # Errors
    /// What is wrong with it: it is of another version, or of somebody else.
    pub fn from_frame(frame: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(frame)
    }
}

/// What is told, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told(DebugEvent);

impl Told {
    pub(crate) fn run(chat: ChatId, run: RunId) -> Self {
        Self::new(DebugEventKind::RunUpdate, chat, run, nil())
    }

    pub(crate) fn step(chat: ChatId, run: RunId, step: StepId) -> Self {
        Self::new(DebugEventKind::StepUpdate, chat, run, step)
    }

    pub(super) fn swept() -> Self {
        let chat = ChatId::from_uuid(Uuid::nil());
        Self::new(DebugEventKind::Finalize, chat, RunId::from_uuid(Uuid::nil()), nil())
    }

    pub(super) fn deleted(chat: ChatId) -> Self {
        Self::new(DebugEventKind::Delete, chat, RunId::from_uuid(Uuid::nil()), nil())
    }

    fn new(kind: DebugEventKind, chat: ChatId, run: RunId, step: StepId) -> Self {
        Self(DebugEvent { kind, chat, run, step })
    }
}

fn nil() -> StepId {
    StepId::from_uuid(Uuid::nil())
}

impl DebugService {
    /// Publishes an event. What goes wrong is logged and nothing else: whoever missed it reads later.
    pub(crate) async fn tell(&self, Told(event): Told) {
        let Some(bus) = &self.0.bus else { return };
        let topic = match event.kind {
            DebugEventKind::Finalize => DebugEvent::broadcast(),
            _ => DebugEvent::topic(event.chat),
        };
        let frame = serde_json::to_vec(&event).expect("names and ids encode");
        let published = AssertUnwindSafe(bus.publish(&topic, &frame)).catch_unwind();
        match tokio::time::timeout(STORE_WITHIN, published).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Err(_)) => tracing::warn!(%topic, "a bus panicked at a debug event"),
            Ok(Ok(Err(error))) => tracing::warn!(%error, %topic, "a debug event was not published"),
            Err(_) => tracing::warn!(%topic, "a debug event was not published in time"),
        }
    }
}
