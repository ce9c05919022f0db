//! What a chat leaves behind for the writer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chatwright_core::debug::DebugStatus;
use chatwright_core::error::Failure;
use chatwright_core::history::Grown;
use chatwright_core::model::{
    CallScope, Finish, Message, ModelCall, ModelId, ReasoningEffort, ResponseFormat, ToolChoice,
    ToolDefinition,
};
use chatwright_core::{ChatId, Gen, Seq, Timestamp};
use serde_json::Value;
use tokio::sync::oneshot;

use super::budget::Grant;
use super::capture::Gathered;
use super::http::{Received, Sent};
use super::weight::of_json;

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
    /// Absent: there was no room for it.
    pub(super) prompt: Option<Prompt>,
    pub(super) tools: Tools,
    pub(super) settings: CallSettings,
    pub(super) _grant: Grant,
}

/// What of a prompt the writer does not know yet.
pub(super) struct Prompt {
    /// These messages came behind what it was then. Absent: they are all of it.
    pub(super) since: Option<Grown>,
    pub(super) messages: Vec<Message>,
    /// What it has grown to.
    pub(super) grown: Grown,
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
    pub(super) tools: Arc<[ToolDefinition]>,
    pub(super) _grant: Grant,
}

impl ToolSet {
    /// Whether it has these tools.
    pub(super) fn is(&self, tools: &Arc<[ToolDefinition]>) -> bool {
        Arc::ptr_eq(&self.tools, tools) || self.tools == *tools
    }
}

/// What is asked for beside prompt and tools.
pub(super) struct CallSettings {
    pub(super) tool_choice: Option<ToolChoice>,
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) reasoning_effort: Option<ReasoningEffort>,
    pub(super) thinking_budget: Option<u64>,
    pub(super) response_format: Option<ResponseFormat>,
    pub(super) max_output_tokens: Option<u64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<u64>,
    pub(super) presence_penalty: Option<f64>,
    pub(super) frequency_penalty: Option<f64>,
    pub(super) stop_sequences: Vec<String>,
    pub(super) seed: Option<u64>,
    /// Absent: there was no room for them.
    pub(super) provider_options: Option<BTreeMap<Box<str>, Value>>,
    /// Their names: their values are secret.
    pub(super) headers: Vec<Box<str>>,
}

impl CallSettings {
    pub(super) fn of(call: &ModelCall, grant: &mut Grant) -> Self {
        let ModelCall {
            prompt: _,
            tools: _,
            tool_choice,
            parallel_tool_calls,
            reasoning_effort,
            thinking_budget,
            response_format,
            max_output_tokens,
            temperature,
            top_p,
            top_k,
            presence_penalty,
            frequency_penalty,
            stop_sequences,
            seed,
            provider_options,
            transport,
            ..
        } = call;
        let has_room = grant.grow(provider_options.values().map(of_json).sum());
        Self {
            tool_choice: tool_choice.clone(),
            parallel_tool_calls: *parallel_tool_calls,
            reasoning_effort: *reasoning_effort,
            thinking_budget: *thinking_budget,
            response_format: response_format.clone(),
            max_output_tokens: *max_output_tokens,
            temperature: *temperature,
            top_p: *top_p,
            top_k: *top_k,
            presence_penalty: *presence_penalty,
            frequency_penalty: *frequency_penalty,
            stop_sequences: stop_sequences.clone(),
            seed: *seed,
            provider_options: has_room.then(|| provider_options.clone()),
            headers: transport.headers.0.iter().map(|(name, _)| name.clone()).collect(),
        }
    }
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
