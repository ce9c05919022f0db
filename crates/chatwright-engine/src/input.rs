use chatwright_core::content::Part;
use chatwright_core::head::{ClientType, KeyHash, Labels, Title};
use chatwright_core::model::{FinishReason, ModelId, Usage};
use chatwright_core::record::{CallResult, ErrorInfo, ResultOrigin, StopReason};
use chatwright_core::tool::Effect;
use chatwright_core::{
    Epoch, Gen, MessageId, OpId, OrganizationId, QueueId, SessionId, Timestamp, UserId, Uuid,
};
use chatwright_error::Verdict;
use chatwright_retry::Policy;
use std::time::Duration;

use chatwright_core::content::Output;

/// One input. Every id that it needs is minted before its first try and kept through every retry.
#[derive(Clone, Debug)]
pub enum Input {
    /// A command.
    Command(OpId, Command),
    /// A session takes a chat that has no holder.
    Claim(OpId, Claim),
    /// Somebody takes a chat from a session that is not live.
    Free(OpId, Free),
    /// The holder did something.
    Work(OpId, Fence, Work),
}

impl Input {
    /// The operation.
    pub fn op(&self) -> OpId {
        match self {
            Self::Command(op, _) | Self::Claim(op, _) | Self::Free(op, _) | Self::Work(op, _, _) => *op,
        }
    }
}

/// What users ask for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// A new chat with its first message; runnable from its first commit.
    Create(Box<Create>),
    /// A message.
    Send(Send),
    /// Stop the turn.
    Interrupt(Interrupt),
}

/// A new chat.
#[derive(Clone, Debug)]
pub struct Create {
    /// The user that it belongs to.
    pub owner: UserId,
    /// The organization that it belongs to.
    pub organization: Option<OrganizationId>,
    /// Who creates it.
    pub client_type: ClientType,
    /// Its title.
    pub title: Title,
    /// Its labels.
    pub labels: Labels,
    /// The model that answers, by the host's name for it.
    pub model: Option<Box<str>>,
    /// Instructions of the host, before the first message; may be empty.
    pub system: Vec<Part>,
    /// The instructions' id.
    pub system_id: MessageId,
    /// The first message; an empty one leaves the chat at rest.
    pub content: Vec<Part>,
    /// The first message's id.
    pub message: MessageId,
    /// A key of the client's own: the same command again gives the first receipt.
    pub key: Option<KeyHash>,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Send {
    /// What is said.
    pub content: Vec<Part>,
    /// Its id.
    pub message: MessageId,
    /// Its id in the queue, should it have to wait.
    pub queue: QueueId,
    /// Who says it, if not the owner.
    pub author: Option<UserId>,
    /// What to do if a turn runs.
    pub busy: Busy,
    /// A holder that the caller found not to be live.
    pub dead: Option<SessionId>,
    /// A key of the client's own: the same command again gives the first receipt.
    pub key: Option<KeyHash>,
}

/// What to do with a message while a turn runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Busy {
    /// It waits.
    #[default]
    Queue,
    /// It waits, and the turn is stopped.
    Interrupt,
}

/// Stop the turn.
#[derive(Clone, Debug)]
pub struct Interrupt {
    /// Who asks.
    pub by: Option<UserId>,
    /// A holder that the caller found not to be live. Nobody waits for it.
    pub dead: Option<SessionId>,
    /// A key of the client's own: the same command again gives the first receipt.
    pub key: Option<KeyHash>,
}

/// A session takes a chat.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The session.
    pub session: SessionId,
    /// What would happen to the calls that are open.
    pub plan: Vec<Planned>,
    /// What comes next.
    pub next: Next,
}

/// A chat is taken from a session that is not live.
#[derive(Clone, Copy, Debug)]
pub struct Free {
    /// The session.
    pub holder: SessionId,
}

/// What a worker's event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The session that works.
    pub session: SessionId,
    /// The epoch of its claim.
    pub epoch: Epoch,
    /// The gen that the event is about.
    pub r#gen: Option<Gen>,
}

/// What a holder did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Work {
    /// The model finished.
    Answered(Box<Answer>),
    /// The attempt failed, or the results of the batch cannot be stored.
    Failed {
        /// What went wrong, and whether another attempt is advised.
        verdict: Box<Verdict>,
        /// What it cost, as far as known.
        usage: Usage,
        /// What is kept should the chat be interrupting: users saw it.
        partial: Option<Box<Stopped>>,
    },
    /// Calls of the batch have results.
    Results {
        /// The results, in the order they came.
        results: Vec<CallResult>,
        /// The end of the batch's preview.
        off: u64,
        /// What would happen to the calls that still wait.
        plan: Vec<Planned>,
        /// What comes next if these were the last.
        next: Next,
    },
    /// The wait for the next attempt is over, or was stopped because the chat is interrupting.
    Retry {
        /// What comes next.
        next: Next,
    },
    /// The attempt or the batch was stopped, because the chat is interrupting.
    Stopped(Box<Stopped>),
    /// The holder still works: the watchdog moves on.
    Watch,
    /// The holder gives the chat back: it shuts down, or may not ask the provider for long.
    Release {
        /// The end of the open gen's preview.
        off: u64,
        /// How long nobody needs to take it: nothing was asked, because the provider told others to wait.
        wait: Option<Duration>,
    },
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the model said.
    pub content: Vec<Part>,
    /// The model.
    pub model: ModelId,
    /// Why it stopped.
    pub finish: FinishReason,
    /// It was cut at the limit of one attempt.
    pub output_limit: bool,
    /// What it cost.
    pub usage: Usage,
    /// The usage is an estimate.
    pub estimated: bool,
    /// The end of its preview.
    pub off: u64,
    /// The provider's id of the response.
    pub response_id: Option<Box<str>>,
    /// What would happen to each local call.
    pub plan: Vec<Planned>,
    /// What comes next.
    pub next: Next,
}

/// What had come when a turn was stopped.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// What the model had said.
    pub content: Vec<Part>,
    /// The model.
    pub model: ModelId,
    /// What it cost, as far as known.
    pub usage: Usage,
    /// The usage is to be estimated: something was asked, and nothing was said of its cost.
    pub estimated: bool,
    /// The end of the preview.
    pub off: u64,
    /// Results of calls that had ended.
    pub results: Vec<CallResult>,
    /// What comes next: a queued message may be promoted.
    pub next: Next,
}

/// What would happen to a local call.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its place among the local calls of its message.
    pub ordinal: u32,
    /// What would happen.
    pub plan: Plan,
}

/// What would happen to a local call.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// It is run.
    Run {
        /// The tool.
        name: Box<str>,
        /// What running it twice would do.
        effect: Effect,
        /// How long it may take.
        deadline: Duration,
        /// A hash of its arguments.
        input_hash: KeyHash,
    },
    /// It is answered without being run.
    Refuse {
        /// The answer.
        output: Output,
        /// Why.
        origin: ResultOrigin,
    },
}

/// What the next attempt needs.
#[derive(Clone, Debug)]
pub struct Next {
    /// The message that it will become.
    pub message: MessageId,
    /// The model.
    pub model: ModelId,
    /// The id of a message that is promoted from the queue.
    pub promoted: MessageId,
}

/// Settings of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Most model answers of a turn.
    pub steps_max: u32,
    /// Most claims after deaths without progress between them.
    pub deaths_max: u32,
    /// Most pure calls that run at once.
    pub parallel_max: usize,
    /// How long a claim stays unwatched.
    pub watchdog: Duration,
    /// When a failed attempt is tried again.
    pub retry: Policy,
    /// Longest wait for the next attempt during which the chat keeps its holder.
    pub hold_max: Duration,
}

impl Default for Rules {
    /// 1,200 steps, 5 deaths, 8 calls at once, 5 minutes, the usual [`Policy`], 10 seconds.
    fn default() -> Self {
        Self {
            steps_max: 1200,
            deaths_max: 5,
            parallel_max: 8,
            watchdog: Duration::from_secs(300),
            retry: Policy::default(),
            hold_max: Duration::from_secs(10),
        }
    }
}

/// A 128-bit hash of text, stable for ever: for client keys and tool arguments.
pub fn hash(text: &str) -> KeyHash {
    KeyHash(Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).as_u128())
}

/// A result that no tool gave.
pub(crate) fn synthetic(ordinal: u32, origin: ResultOrigin, words: &str) -> CallResult {
    CallResult { ordinal, output: Output::error(words), origin }
}

/// Where a chat goes when its turn ends.
#[derive(Clone, Debug)]
pub(crate) enum TurnEnd {
    /// In peace.
    Stop(StopReason),
    /// With an error.
    Error(ErrorInfo),
}

/// What every step may look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) now: Timestamp,
    pub(crate) rules: &'a Rules,
    pub(crate) history: &'a crate::History,
}
