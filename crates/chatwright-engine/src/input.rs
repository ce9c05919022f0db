use chatwright_core::content::Part;
use chatwright_core::head::{ClientType, KeyHash, Labels, Title};
use chatwright_core::model::{FinishReason, ModelId, ReasoningEffort, Usage};
use chatwright_core::record::{CallResult, Decision, ErrorInfo, PromptRepaired, ResultOrigin, StopReason};
use chatwright_core::tool::Effect;
use chatwright_core::{
    ChatId, Epoch, Gen, MessageId, OpId, OrganizationId, QueueId, Seq, SessionId, Timestamp, UserId, Uuid,
};
use chatwright_error::Verdict;
use chatwright_retry::Policy;
use std::time::Duration;

use chatwright_core::content::Output;

use crate::table::Act;

/// One input. Every id that it needs is minted before its first try and kept through every retry.
#[derive(Clone, Debug)]
pub enum Input {
    /// A command.
    Command(OpId, Command),
    /// A session takes a chat that has no holder.
    Claim(OpId, Claim),
    /// Somebody takes a chat from a session that is not live.
    Free(OpId, Free),
    /// Somebody found that a deadline of the chat has passed.
    Expire(OpId),
    /// The holder did something.
    Work(OpId, Fence, Work),
}

impl Input {
    /// The operation.
    pub fn op(&self) -> OpId {
        match self {
            Self::Command(op, _) | Self::Claim(op, _) | Self::Free(op, _) | Self::Work(op, _, _) => *op,
            Self::Expire(op) => *op,
        }
    }
}

/// What users ask for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// A new chat with its first message; runnable from its first commit.
    Create(Box<Create>),
    /// A chat joins the family of this root. It comes before the chat is created.
    Join(Join),
    /// A message.
    Send(Send),
    /// Another message in the place of one of history.
    Edit(Edit),
    /// Something about a queued message.
    Queue(Queue),
    /// Stop the turn.
    Interrupt(Interrupt),
    /// Results of the client's tools.
    Submit(Submit),
    /// A decision about a call that asked for approval.
    Decide(Decide),
    /// Replace older history by a summary.
    Compact(Compact),
    /// Leave history so far out of the prompt.
    Clear(Clear),
    /// Archive the chat.
    Archive(Archive),
    /// Take the chat out of the archive.
    Unarchive(Unarchive),
    /// Set title, labels or model.
    Set(Set),
}

impl Command {
    /// The client key that it carries.
    pub fn key(&self) -> Option<KeyHash> {
        match self {
            Self::Create(create) => create.key,
            Self::Join(_) => None,
            Self::Send(send) => send.key,
            Self::Edit(edit) => edit.key,
            Self::Queue(queue) => queue.key,
            Self::Interrupt(interrupt) => interrupt.key,
            Self::Submit(submit) => submit.key,
            Self::Decide(decide) => decide.key,
            Self::Compact(compact) => compact.key,
            Self::Clear(clear) => clear.key,
            Self::Archive(archive) => archive.key,
            Self::Unarchive(unarchive) => unarchive.key,
            Self::Set(set) => set.key,
        }
    }

    /// Its row in the table.
    pub fn act(&self) -> Act {
        match self {
            Self::Create(_) => Act::Create,
            Self::Join(_) => Act::Join,
            Self::Send(Send { busy: Busy::Queue, .. }) => Act::Send,
            Self::Send(Send { busy: Busy::Interrupt, .. }) => Act::SendInterrupt,
            Self::Send(Send { busy: Busy::Now, .. }) => Act::SendNow,
            Self::Edit(_) => Act::Edit,
            Self::Queue(queue) => match queue.act {
                QueueAct::Remove => Act::QueueRemove,
                QueueAct::Move(_) => Act::QueueMove,
                QueueAct::Edit(_) => Act::QueueEdit,
                QueueAct::Hold => Act::QueueHold,
                QueueAct::Release => Act::QueueRelease,
                QueueAct::Promote => Act::QueuePromote,
            },
            Self::Interrupt(_) => Act::Interrupt,
            Self::Submit(_) => Act::Submit,
            Self::Decide(_) => Act::Decide,
            Self::Compact(_) => Act::Compact,
            Self::Clear(_) => Act::Clear,
            Self::Archive(Archive { scope: Scope::Rest, .. }) => Act::ArchiveRest,
            Self::Archive(archive) if archive.stop => Act::ArchiveStop,
            Self::Archive(_) => Act::Archive,
            Self::Unarchive(_) => Act::Unarchive,
            Self::Set(_) => Act::Set,
        }
    }
}

/// A new chat.
#[derive(Clone, Debug)]
pub struct Create {
    /// The user that it belongs to.
    pub owner: UserId,
    /// The organization that it belongs to.
    pub organization: Option<OrganizationId>,
    /// Where it belongs in a family, if it is not the root of its own.
    pub parent: Option<Parent>,
    /// Who creates it.
    pub client_type: ClientType,
    /// Its title.
    pub title: Title,
    /// Its labels.
    pub labels: Labels,
    /// The model that answers, by the host's name for it.
    pub model: Option<Box<str>>,
    /// How much the model shall think, as far as its configuration lets it.
    pub effort: Option<ReasoningEffort>,
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

/// The place of a chat in its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The chat that spawns it.
    pub chat: ChatId,
    /// The root of that chat's family.
    pub root: ChatId,
    /// How far below the root that chat is.
    pub depth: u32,
}

/// A chat joins the family of this root.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    /// The chat.
    pub child: ChatId,
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
    /// The model that answers from this message on, by the host's name for it.
    pub model: Option<Box<str>>,
    /// How much the model shall think, as far as its configuration lets it.
    pub effort: Option<ReasoningEffort>,
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
    /// It waits while a turn runs, but not behind messages that an error left in the queue.
    Now,
}

/// Another message in the place of one of history.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Where the record of the user's message is that goes, with all that came after it.
    pub seq: Seq,
    /// What is said instead.
    pub content: Vec<Part>,
    /// Its id.
    pub message: MessageId,
    /// Who says it, if not the owner.
    pub author: Option<UserId>,
    /// The model that answers from this message on; absent: the one that the original asked for, if it did.
    pub model: Option<Box<str>>,
    /// How much the model shall think, as far as its configuration lets it.
    pub effort: Option<ReasoningEffort>,
    /// A key of the client's own: the same command again gives the first receipt.
    pub key: Option<KeyHash>,
}

/// Something about a queued message.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The entry.
    pub id: QueueId,
    /// What.
    pub act: QueueAct,
    /// A holder that the caller found not to be live.
    pub dead: Option<SessionId>,
    /// A key of the client's own: the same command again gives the first receipt.
    pub key: Option<KeyHash>,
}

/// What to do with a queued message.
#[derive(Clone, Debug, PartialEq)]
pub enum QueueAct {
    /// It is removed.
    Remove,
    /// It gets this place, from 0; beyond the end: the last.
    Move(u32),
    /// It says this instead.
    Edit(Vec<Part>),
    /// Promotion skips it until it is released.
    Hold,
    /// Promotion takes it again.
    Release,
    /// It is next, and the turn that runs is stopped for it.
    Promote,
}

/// Results of the client's tools: one for each call that waits for the client, and no others.
#[derive(Clone, Debug)]
pub struct Submit {
    /// The results by the places of their calls.
    pub results: Vec<(u32, Output)>,
    /// A key of the client's own: the same command again gives the first receipt.
    pub key: Option<KeyHash>,
}

/// A decision about a call that asked for approval.
#[derive(Clone, Debug)]
pub struct Decide {
    /// The place of the call among the calls of its message.
    pub ordinal: u32,
    /// What is decided.
    pub decision: Decision,
    /// Who decides.
    pub by: Option<UserId>,
    /// A key of the client's own: the same command again gives the first receipt.
    pub key: Option<KeyHash>,
}

/// Replace older history by a summary: now, or before the next answer of a turn that runs.
#[derive(Clone, Debug)]
pub struct Compact {
    /// Who asks.
    pub by: Option<UserId>,
    /// A key of the client's own: the same command again gives the first receipt.
    pub key: Option<KeyHash>,
}

/// Leave history so far out of the prompt.
#[derive(Clone, Copy, Debug)]
pub struct Clear {
    /// A key of the client's own: the same command again gives the first receipt.
    pub key: Option<KeyHash>,
}

/// Archive a chat.
#[derive(Clone, Copy, Debug)]
pub struct Archive {
    /// What is archived.
    pub scope: Scope,
    /// What it does is stopped. Otherwise a chat that does something refuses.
    pub stop: bool,
    /// A holder that the caller found not to be live.
    pub dead: Option<SessionId>,
    /// A key of the client's own: the same command again gives the first receipt.
    pub key: Option<KeyHash>,
}

/// What of a family is archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it: this is its root. With other members the archiving begins.
    Family,
    /// This member, on behalf of its root.
    Member,
    /// This root, whose members are archived: the archiving ends.
    Rest,
}

/// Take a chat out of the archive, or end the archiving of its family.
#[derive(Clone, Copy, Debug)]
pub struct Unarchive {
    /// On behalf of its root; otherwise it must be one.
    pub member: bool,
    /// A key of the client's own: the same command again gives the first receipt.
    pub key: Option<KeyHash>,
}

/// Set title, labels or model. What is absent stays. It changes nothing of what the chat does.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// The title.
    pub title: Option<Title>,
    /// A model wrote the title: it is refused where the chat has had one.
    pub generated: bool,
    /// All labels.
    pub labels: Option<Labels>,
    /// The model of the turns to come.
    pub model: Option<Box<str>>,
    /// How much the model shall think, as far as its configuration lets it.
    pub effort: Option<ReasoningEffort>,
    /// A key of the client's own: the same command again gives the first receipt.
    pub key: Option<KeyHash>,
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
    /// The message whose calls were open when the session looked: the plan is about no others.
    pub calls_in: Option<MessageId>,
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
        /// What is known of the request, if there was one.
        report: Report,
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
    /// The prompt would fill too much of the model's window, and nothing was asked: a summary comes first.
    Full {
        /// What comes next.
        next: Next,
    },
    /// The compaction ended.
    Compacted(Box<Compacted>),
    /// The attempt or the batch was stopped, because the chat is interrupting.
    Stopped(Box<Stopped>),
    /// The prompt had to be repaired, and is stored as it will be sent.
    Repaired(PromptRepaired),
    /// The holder still works: the watchdog moves on.
    Watch,
    /// The holder gives the chat back: it shuts down, or may not ask the provider for long.
    Release {
        /// The end of the open gen's preview.
        off: u64,
        /// What is known of the request that is cut off, if there was one.
        report: Report,
        /// How long nobody needs to take it: nothing was asked, because the provider told others to wait.
        wait: Option<Duration>,
    },
}

impl Work {
    /// Its row in the table.
    pub fn act(&self) -> Act {
        match self {
            Self::Answered(_) => Act::Answered,
            Self::Failed { .. } => Act::Failed,
            Self::Results { .. } => Act::Results,
            Self::Retry { .. } => Act::Retry,
            Self::Full { .. } => Act::Full,
            Self::Compacted(_) => Act::Compacted,
            Self::Stopped(_) => Act::Stopped,
            Self::Repaired(_) => Act::Repaired,
            Self::Watch => Act::Watch,
            Self::Release { .. } => Act::Release,
        }
    }

    /// What is known of the request that it ends, if it ends one.
    pub fn report(&self) -> Report {
        match self {
            Self::Answered(answer) => answer.report.clone(),
            Self::Compacted(compacted) => compacted.report.clone(),
            Self::Stopped(stopped) => stopped.report.clone(),
            Self::Failed { report, .. } | Self::Release { report, .. } => report.clone(),
            Self::Results { .. }
            | Self::Retry { .. }
            | Self::Full { .. }
            | Self::Repaired(_)
            | Self::Watch => Report::default(),
        }
    }
}

/// What is known of a request to a model beside its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What it took.
    pub usage: Usage,
    /// The provider did not say what it took, and this is an estimate.
    pub estimated: bool,
    /// The version of the prices that count, if there are any.
    pub prices: Option<u64>,
    /// What the provider, or its adapter, warned of.
    pub warnings: Vec<Box<str>>,
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
    /// What is known of the request.
    pub report: Report,
    /// The end of its preview.
    pub off: u64,
    /// The provider's id of the response.
    pub response_id: Option<Box<str>>,
    /// What would happen to each local call.
    pub plan: Vec<Planned>,
    /// What comes next.
    pub next: Next,
}

/// What became of a compaction.
#[derive(Clone, Debug)]
pub struct Compacted {
    /// The summary, or nothing if there was nothing worth one.
    pub summary: Option<Summary>,
    /// What is known of the request, if there was one.
    pub report: Report,
    /// The end of the preview.
    pub off: u64,
    /// What comes next.
    pub next: Next,
}

/// A summary of older history.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The last record that it covers.
    pub covers_to: Seq,
    /// The oldest record that is kept word for word.
    pub from: Seq,
    /// What it says.
    pub content: Vec<Part>,
    /// What a user said of what it covers and waits for an answer to, word for word.
    pub said: Vec<Part>,
    /// Estimated tokens of the prompt before.
    pub tokens_before: Option<u64>,
    /// Estimated tokens of the prompt afterwards.
    pub tokens_after: Option<u64>,
}

/// What had come when a turn was stopped.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// What the model had said.
    pub content: Vec<Part>,
    /// The model.
    pub model: ModelId,
    /// What is known of the request, if there was one.
    pub report: Report,
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
        /// Somebody has to approve it first.
        approval: bool,
        /// What it works on: of calls that are not pure and work on the same, or on nothing that is named, one runs at a time.
        resource: Option<KeyHash>,
        /// If it succeeds, the turn ends with its step.
        stop_after: bool,
    },
    /// The client answers it.
    Client,
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
    /// How long the client has to answer its calls.
    pub client_deadline: Duration,
    /// How long somebody has to decide about a call.
    pub approval_deadline: Duration,
    /// How far below its root a chat of a family may be.
    pub depth_max: u32,
    /// Most bytes of all queued messages together.
    pub queue_bytes_max: u64,
}

impl Default for Rules {
    /// 1,200 steps, 5 deaths, 8 calls at once, 5 minutes, the usual [`Policy`], 10 seconds, 5 minutes for clients, 24 hours for
    /// decisions, 1 level below a root, 4 MiB of queued messages.
    fn default() -> Self {
        Self {
            steps_max: 1200,
            deaths_max: 5,
            parallel_max: 8,
            watchdog: Duration::from_secs(300),
            retry: Policy::default(),
            hold_max: Duration::from_secs(10),
            client_deadline: Duration::from_secs(5 * 60),
            approval_deadline: Duration::from_secs(24 * 3_600),
            depth_max: 1,
            queue_bytes_max: 4 * 1024 * 1024,
        }
    }
}

/// A 128-bit hash of text, stable for ever: for client keys and tool arguments.
pub fn hash(text: &str) -> KeyHash {
    KeyHash(Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).as_u128())
}

/// The same of content, as it is stored.
pub fn hash_of(content: &[Part]) -> KeyHash {
    hash(&serde_json::to_string(content).expect("content encodes"))
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
