use std::time::Duration;

use super::timing::{
    Activity, ChatKind, CommitTrouble, CompactionResult, LedgerTask, Scope, Stage, StageAnomaly, TurnTimes,
};
use super::{LedgerEnd, Purpose};
use crate::model::{FinishReason, ModelId, Usage};
use crate::record::{RetryEvent, StopReason};
use crate::tool::CallKey;
use crate::{ChatId, Gen, OpId, Seq};

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
        /// Which chats it is one of.
        kind: ChatKind,
    },
    /// A turn ended: told by the process whose commit ended it.
    TurnEnded {
        /// The chat.
        chat: ChatId,
        /// Why; `None`: with an error.
        reason: Option<StopReason>,
        /// Which chats it is one of.
        kind: ChatKind,
    },
    /// A turn ended because its message was edited while it ran.
    TurnAbandoned {
        /// The chat.
        chat: ChatId,
        /// Which chats it is one of.
        kind: ChatKind,
    },
    /// A message was edited: history that came after it counts no more.
    HistoryCut {
        /// The chat.
        chat: ChatId,
        /// The first record that counts no more.
        from: Seq,
        /// The record that says so: what stands behind it counts.
        at: Seq,
    },
    /// A chat was archived.
    ChatArchived {
        /// The chat.
        chat: ChatId,
        /// The record that says so.
        at: Seq,
    },
    /// A turn came to its end, and this process has held its chat from its beginning.
    TurnTimed {
        /// The chat.
        chat: ChatId,
        /// Which chats it is one of.
        kind: ChatKind,
        /// What its time was spent on.
        times: &'a TurnTimes,
    },
    /// A stage came to its end.
    StageEnded {
        /// The chat.
        chat: ChatId,
        /// Which chats it is one of.
        kind: ChatKind,
        /// Which stage.
        stage: Stage,
        /// What it is part of.
        scope: Scope,
        /// The model that worked or was waited for in it, if one was.
        model: Option<&'a ModelId>,
        /// How long it took.
        took: Duration,
    },
    /// The times of a turn say less than they should.
    StageAnomaly {
        /// The chat.
        chat: ChatId,
        /// Why.
        reason: StageAnomaly,
    },
    /// A process took a chat, gave it back, or does something else with it.
    ActivityChanged {
        /// The chat.
        chat: ChatId,
        /// What it did before; `None`: it was not held here.
        from: Option<Activity>,
        /// What it does now; `None`: it is not held here any more.
        to: Option<Activity>,
    },
    /// A prompt is ready to be sent.
    PromptBuilt {
        /// The chat.
        chat: ChatId,
        /// The model that is about to be asked.
        model: &'a ModelId,
        /// What for.
        purpose: Purpose,
        /// How many messages it has.
        messages: usize,
        /// About how many bytes of text they have.
        bytes: usize,
    },
    /// A request to a provider came to its end, whatever it was for.
    RequestEnded {
        /// The chat.
        chat: ChatId,
        /// The model.
        model: &'a ModelId,
        /// What it was for.
        purpose: Purpose,
        /// How.
        end: LedgerEnd,
        /// What it took.
        usage: Usage,
        /// Whether the provider did not say what it took.
        estimated: bool,
    },
    /// An answer was stored: a step of the turn is done.
    StepStored {
        /// The chat.
        chat: ChatId,
        /// The gen in which it was given.
        r#gen: Gen,
        /// Where it stands.
        answer: Seq,
        /// The model that gave it.
        model: &'a ModelId,
    },
    /// A summary was asked for and is there, or is not.
    CompactionEnded {
        /// The chat.
        chat: ChatId,
        /// The model that was to write it.
        model: &'a ModelId,
        /// What became of it.
        result: CompactionResult,
    },
    /// A model called what must not run: nothing of that name is there, its arguments are wrong, or it must be called otherwise.
    ToolRefused {
        /// The chat.
        chat: ChatId,
        /// The model.
        model: &'a ModelId,
        /// The tool, if there is one of that name: a model may call anything.
        name: Option<&'a str>,
    },
    /// A commit did not land, as far as is known. It is tried again.
    CommitFailed {
        /// The chat.
        chat: ChatId,
        /// What the store said.
        trouble: CommitTrouble,
    },
    /// A commit landed, and the bus was not told.
    DoorbellFailed {
        /// The chat.
        chat: ChatId,
    },
    /// A ledger did not do what it was asked to.
    LedgerFailed {
        /// The chat.
        chat: ChatId,
        /// What it was asked to do.
        task: LedgerTask,
    },
    /// The live log takes no more of a gen: its viewers see the rest when it is stored.
    PreviewCut {
        /// The chat.
        chat: ChatId,
        /// The gen.
        r#gen: Gen,
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
        /// The model.
        model: &'a ModelId,
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
        /// The model that failed.
        model: &'a ModelId,
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
        /// The model that called it.
        model: &'a ModelId,
        /// Whether the result is an error.
        is_error: bool,
        /// How many bytes of text it gave.
        bytes: usize,
        /// Whether its text was cut to fit.
        truncated: bool,
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
