use crate::model::{FinishReason, ModelId, Usage};
use crate::record::{RetryEvent, StopReason};
use crate::tool::CallKey;
use crate::{ChatId, Gen, OpId};

/// Is told what happens. Metrics and recorders stand on it.
///
/// | # | promise |
/// |---|---|
/// | O1 | It returns at once: no I/O, no waiting, no lock that is held for long. |
/// | O2 | It does not panic. |
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A turn began.
    TurnStarted {
        /// The chat.
        chat: ChatId,
        /// The input that began it.
        op: OpId,
    },
    /// A turn ended.
    TurnEnded {
        /// The chat.
        chat: ChatId,
        /// Why; `None`: with an error.
        reason: Option<StopReason>,
    },
    /// A model is about to be asked.
    AttemptStarted {
        /// The chat.
        chat: ChatId,
        /// The gen.
        r#gen: Gen,
        /// The model.
        model: &'a ModelId,
    },
    /// The provider, or its adapter, warned of something in a request: a setting that it has no place for. Or the loop did: a turn goes
    /// without the advisor that it should have.
    Warned {
        /// The chat.
        chat: ChatId,
        /// The gen.
        r#gen: Gen,
        /// What it said, at least one.
        warnings: &'a [String],
    },
    /// A model's answer ended.
    AttemptEnded {
        /// The chat.
        chat: ChatId,
        /// The gen.
        r#gen: Gen,
        /// How.
        end: AttemptEnd<'a>,
        /// What it cost, as far as known.
        usage: Usage,
    },
    /// A model's answer failed, and it is asked again later.
    RetryScheduled {
        /// The chat.
        chat: ChatId,
        /// The gen that failed.
        r#gen: Gen,
        /// Which attempt failed, why, and when the next one begins.
        retry: &'a RetryEvent,
    },
    /// A tool is about to be called.
    ToolStarted {
        /// Which occurrence.
        key: CallKey,
        /// The tool.
        name: &'a str,
    },
    /// A tool gave its result.
    ToolEnded {
        /// Which occurrence.
        key: CallKey,
        /// The tool.
        name: &'a str,
        /// Whether the result is an error.
        is_error: bool,
    },
}

/// How a model's answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptEnd<'a> {
    /// It is complete.
    Finished(FinishReason),
    /// It failed with this kind of error.
    Failed(&'a str),
    /// It was stopped.
    Interrupted,
    /// It was cut off: an edit, a hand-over.
    Aborted,
}
