//! What a chat leaves behind for the writer.

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::debug::DebugStatus;
use chatwright_core::error::Failure;
use chatwright_core::history::{Grown, ValidHistory};
use chatwright_core::model::{CallScope, Finish, Message, ModelId, ToolDefinition};
use chatwright_core::{ChatId, Gen, Seq, Timestamp};
use serde_json::Value;
use tokio::sync::oneshot;

use super::budget::Grant;
use super::capture::Gathered;
use super::http::{Received, Sent};

/// Which call of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallNumber(pub(super) u64);

pub(super) enum Job {
    /// A chat was not recorded, and may be now.
    Look(Arc<CallScope>),
    /// A model is about to be asked.
    Began(Box<Began>),
    /// A request was sent.
    Sent { call: CallNumber, number: u32, sent: Box<Sent> },
    /// It was answered, or not.
    Received { call: CallNumber, number: u32, received: Box<Received> },
    /// The answer is there, or there is none.
    Ended(Box<Ended>),
    /// An answer stands in the chat's log.
    Stored { chat: ChatId, r#gen: Gen, answer: Seq },
    /// What the loop says of an attempt whose answer nobody listened to any more.
    Judged { chat: ChatId, r#gen: Gen, status: DebugStatus, why: Option<Box<str>> },
    /// A turn came to its end.
    TurnEnded { chat: ChatId, status: DebugStatus, now: Timestamp },
    /// This process does not hold the chat any more.
    Released { chat: ChatId, now: Timestamp },
    /// A part of the chat's log counts no more.
    Cut { chat: ChatId, from: Seq, at: Seq, now: Timestamp },
    /// The chat was archived.
    Archived { chat: ChatId, at: Seq, now: Timestamp },
    /// Somebody waits until everything before it is written.
    Flush(oneshot::Sender<()>),
}

pub(super) struct Began {
    pub(super) call: CallNumber,
    pub(super) scope: Arc<CallScope>,
    pub(super) model: Arc<ModelId>,
    pub(super) at: Timestamp,
    pub(super) prompt: Prompt,
    pub(super) tools: Tools,
    pub(super) settings: Vec<(&'static str, Value)>,
    pub(super) _grant: Grant,
}

/// What of a prompt the writer does not know yet.
pub(super) enum Prompt {
    /// All of it, copied, and what it has grown to.
    Copied(Vec<Message>, Grown),
    /// All of it. It is not extended by anybody.
    Shared(ValidHistory),
    /// What came behind what it was then, and what it has grown to.
    More { since: Grown, messages: Vec<Message>, grown: Grown },
    /// There was no room for it.
    Dropped,
}

/// The tools of a model.
pub(super) enum Tools {
    /// Those of the call before it.
    Same,
    /// These.
    New(Arc<ToolSet>),
    /// There was no room for them.
    Dropped,
}

/// The tools of calls, and the room that they take.
pub(super) struct ToolSet {
    pub(super) tools: Box<[ToolDefinition]>,
    pub(super) _grant: Grant,
}

pub(super) struct Ended {
    pub(super) call: CallNumber,
    pub(super) end: End,
    pub(super) gathered: Gathered,
    /// When, by the recorder's clock: it may be written much later.
    pub(super) at: Timestamp,
    pub(super) took: Duration,
    pub(super) first: Option<Duration>,
}

/// How a stream ended.
pub(super) enum End {
    Finished(Finish),
    Failed(Box<Failure>),
    /// It was dropped, or ended without a terminal part.
    Dropped,
}
