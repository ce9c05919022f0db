//! The vocabulary of the tool port.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cancel::Cancel;
use crate::{ChatId, Gen, MessageId, SessionId, Timestamp};

/// What running a call twice would do. The stored class rules after a deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing: it only reads. After a crash it is run again; runs in parallel.
    Pure,
    /// The same as running it once, given its [`CallKey`]. After a crash it is run again with the same key.
    Idempotent,
    /// Something twice. It is started at most once; after a crash its outcome is unknown, and the model is told so.
    Once,
}

/// A tool as the host declares it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ToolSpec {
    /// The name that the model writes: 1 to 64 of `a–z A–Z 0–9 _ -`.
    pub name: Box<str>,
    /// What it does, for the model.
    pub description: Box<str>,
    /// JSON Schema of the arguments: an object.
    pub input_schema: Value,
    /// What running a call twice would do.
    pub effect: Effect,
    /// How long a call may take before it is abandoned.
    pub deadline: Duration,
    /// A person must approve every call before it is started.
    pub approval: bool,
    /// It runs only as the one call of its step: beside others it is refused, and so are they.
    pub exclusive: bool,
    /// The turn ends after a step in which it succeeded.
    pub stop_after: bool,
    /// Which argument names what a call works on, as a JSON Pointer (RFC 6901), for example `/path`. Calls of tools that are not
    /// [`Effect::Pure`] run one after the other if they name the same, or nothing.
    pub resource: Option<Box<str>>,
}

impl ToolSpec {
    /// How long a call may take unless the tool says otherwise.
    pub const DEADLINE: Duration = Duration::from_secs(60);

    /// A tool with a deadline of [`Self::DEADLINE`]. There is no default effect: a tool says what it does.
    pub fn new(
        name: impl Into<Box<str>>,
        description: impl Into<Box<str>>,
        input_schema: Value,
        effect: Effect,
    ) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            input_schema,
            effect,
            deadline: Self::DEADLINE,
            approval: false,
            exclusive: false,
            stop_after: false,
            resource: None,
        }
    }

    /// Has a person approve every call.
    #[must_use]
    pub fn with_approval(mut self) -> Self {
        self.approval = true;
        self
    }

    /// Lets it run only as the one call of its step.
    #[must_use]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Ends the turn after a step in which it succeeded.
    #[must_use]
    pub fn stop_after(mut self) -> Self {
        self.stop_after = true;
        self
    }

    /// Names the argument that says what a call works on, as a JSON Pointer.
    #[must_use]
    pub fn with_resource(mut self, pointer: impl Into<Box<str>>) -> Self {
        self.resource = Some(pointer.into());
        self
    }

    /// Sets how long a call may take.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// Which occurrence of a call this is. The same through every retry and every process; the provider's own call id is
/// not part of it, because providers repeat those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallKey {
    /// The chat.
    pub chat: ChatId,
    /// The message that holds the call.
    pub message: MessageId,
    /// The place of the call among the calls of its message that the provider did not run itself, from 0.
    pub ordinal: u32,
}

/// One call of a tool.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ToolCall {
    /// Which occurrence this is: the key for idempotent effects.
    pub key: CallKey,
    /// The batch that it runs in.
    pub r#gen: Gen,
    /// The session that runs it.
    pub session: SessionId,
    /// The arguments, checked against the tool's schema.
    pub input: Value,
    /// When it will be abandoned, in store time.
    pub deadline: Timestamp,
    /// Set when the result is not wanted any more. A tool should stop soon after; it is abandoned 5 s later.
    pub cancel: Cancel,
}

impl ToolCall {
    /// A call.
    pub fn new(
        key: CallKey,
        r#gen: Gen,
        session: SessionId,
        input: Value,
        deadline: Timestamp,
        cancel: Cancel,
    ) -> Self {
        Self { key, r#gen, session, input, deadline, cancel }
    }
}
