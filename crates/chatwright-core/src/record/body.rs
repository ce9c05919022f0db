use std::collections::BTreeMap;

use chatwright_error::RetryEvent;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ErrorInfo, Kind};
use crate::content::{Output, Part};
use crate::head::{CallKind, ClientType, KeyHash, Labels, Title, UnitKind};
use crate::model::{FinishReason, ModelId, ReasoningEffort, Usage};
use crate::text::{OrganizationId, UserId};
use crate::tool::Effect;
use crate::{ChatId, Epoch, Gen, MessageId, QueueId, Seq, SessionId, Timestamp};

macro_rules! bodies {
    ($($(#[$doc:meta])* $variant:ident $role:ident $kind:literal,)*) => {
        /// What a record says.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        #[non_exhaustive]
        pub enum Body {
            $($(#[$doc])* $variant($variant),)*
            /// A kind or a version that this code does not know, as it came.
            Unknown(UnknownBody),
        }

        impl Body {
            /// Every kind that this code writes.
            pub const KINDS: &[Kind] = &[$(Kind::known($kind)),*];

            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::known($kind),)*
                    Self::Unknown(body) => body.kind.clone(),
                }
            }

            pub(super) fn decode(kind: &Kind, data: &str) -> Result<Self, serde_json::Error> {
                Ok(match kind.as_str() {
                    $($kind => Self::$variant(serde_json::from_str(data)?),)*
                    _ => Self::Unknown(UnknownBody { kind: kind.clone(), data: serde_json::from_str(data)? }),
                })
            }
        }

        impl Kind {
            /// Whether the engine must understand a record of this kind before it may run the chat. A display record
            /// that is not known is kept and skipped; a control record that is not known can be read past, but the
            /// chat must not be claimed. A kind this code has no word for is a display record iff its name begins with
            /// `note.`.
            pub fn is_control(&self) -> bool {
                match self.name() {
                    $(name if name == Kind::known($kind).name() => bodies!(@$role),)*
                    name => !name.starts_with("note."),
                }
            }
        }

        $(impl From<$variant> for Body {
            fn from(body: $variant) -> Self {
                Self::$variant(body)
            }
        })*
    };
    (@control) => { true };
    (@display) => { false };
}

bodies! {
    /// A chat began.
    ChatCreated control "chat.created/1",
    /// Title, labels or model changed.
    ChatChanged display "chat.changed/1",
    /// A family is being archived; this is its root.
    ChatArchiving control "chat.archiving/1",
    /// The chat was archived.
    ChatArchived control "chat.archived/1",
    /// The chat was taken out of the archive.
    ChatUnarchived control "chat.unarchived/1",
    /// A chat joined the family of this root.
    ChildAdded display "child.added/1",
    /// A user's message entered history.
    MessageUser control "message.user/1",
    /// Instructions of the host entered history.
    MessageSystem control "message.system/1",
    /// The model's answer entered history.
    MessageAssistant control "message.assistant/1",
    /// A piece of a message that is larger than one record; the message record that follows closes it.
    MessagePart control "message.part/1",
    /// A message waits in the queue.
    QueueAdded control "queue.added/1",
    /// A queued message changed.
    QueueChanged control "queue.changed/1",
    /// Queued messages were removed.
    QueueRemoved control "queue.removed/1",
    /// A queued message entered history: the message record follows.
    QueuePromoted control "queue.promoted/1",
    /// A session took the chat.
    Claimed control "claimed/1",
    /// The chat has no holder any more.
    Freed control "freed/1",
    /// The holder moved its watchdog on.
    Watched control "watched/1",
    /// A model attempt began: its gen is open.
    AttemptStarted control "attempt.started/1",
    /// A model attempt failed: its gen is sealed, and what it streamed is discarded.
    AttemptFailed control "attempt.failed/1",
    /// A model attempt ended: its gen is sealed.
    AttemptEnded control "attempt.ended/1",
    /// A batch of tool calls began: its gen is open.
    BatchStarted control "batch.started/1",
    /// A tool call is about to start.
    ToolIntent control "tool.intent/1",
    /// Tool calls have results.
    ToolResults control "tool.results/1",
    /// A batch of tool calls ended: its gen is sealed.
    BatchEnded control "batch.ended/1",
    /// Calls wait for the client or for an approval.
    ActionRequired control "action.required/1",
    /// An approval was decided.
    ActionDecided control "action.decided/1",
    /// Somebody wants the turn stopped.
    InterruptRequested control "interrupt.requested/1",
    /// A turn ended.
    TurnEnded control "turn.ended/1",
    /// A turn failed.
    ChatError control "chat.error/1",
    /// History from a position on was cut.
    HistoryCut control "history.cut/1",
    /// Somebody wants older history replaced by a summary.
    CompactionRequested control "compaction.requested/1",
    /// Older history was replaced by a summary in the prompt.
    ContextCompacted control "context.compacted/1",
    /// Older history was left out of the prompt.
    ContextCleared control "context.cleared/1",
    /// The prompt was repaired once and for all.
    PromptRepaired control "prompt.repaired/1",
}

/// A body of a kind or version that this code does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct UnknownBody {
    /// Its kind.
    pub kind: Kind,
    /// Its data.
    pub data: Value,
}

impl Serialize for UnknownBody {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.data.serialize(serializer)
    }
}

/// Data of `chat.archiving`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatArchiving {
    /// Active members are stopped; otherwise an active member refuses the archiving.
    pub stop: bool,
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

/// Data of `chat.archived`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatArchived {}

/// Data of `chat.unarchived`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatUnarchived {
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

/// Data of `compaction.requested`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionRequested {
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

/// Data of `chat.changed`. What is absent did not change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatChanged {
    /// The new title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Title>,
    /// A model wrote it.
    #[serde(default, skip_serializing_if = "crate::content::is_false")]
    pub generated: bool,
    /// All labels afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// The model of the turns to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Box<str>>,
    /// How much the model thinks in the turns to come, as far as its configuration lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<ReasoningEffort>,
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

/// Data of `interrupt.requested`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterruptRequested {
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

/// Data of `chat.created`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatCreated {
    /// The user that the chat belongs to.
    pub owner: UserId,
    /// The organization that the chat belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationId>,
    /// The chat that spawned this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ChatId>,
    /// The root of the family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<ChatId>,
    /// Who created it.
    #[serde(default)]
    pub client_type: ClientType,
    /// The title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Title>,
    /// The host's labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// The model of the turns to come, by the host's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Box<str>>,
    /// How much the model thinks in the turns to come, as far as its configuration lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<ReasoningEffort>,
    /// The first message, whose record follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<MessageId>,
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

/// Data of `child.added`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildAdded {
    /// The chat that joined.
    pub child: ChatId,
}

/// Data of `message.user`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageUser {
    /// The message.
    pub id: MessageId,
    /// What was said.
    pub content: Vec<Part>,
    /// Who said it, if not the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<UserId>,
    /// The model that shall answer, if not the chat's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Box<str>>,
    /// How much it shall think, if not as the chat has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<ReasoningEffort>,
    /// The queue entry that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<QueueId>,
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

impl MessageUser {
    /// A message of the owner's.
    pub fn new(id: MessageId, content: Vec<Part>) -> Self {
        Self { id, content, author: None, model: None, effort: None, queued: None, key: None }
    }
}

/// Data of `message.system`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageSystem {
    /// The message.
    pub id: MessageId,
    /// The instructions.
    pub content: Vec<Part>,
}

/// Data of `message.assistant`. It follows the record that sealed its gen, in the same commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageAssistant {
    /// The message; its preview had the same id.
    pub id: MessageId,
    /// The gen that it came from.
    pub r#gen: Gen,
    /// What the model said.
    pub content: Vec<Part>,
    /// The model.
    pub model: ModelId,
    /// It was stopped: the content is what had come until then.
    #[serde(default, skip_serializing_if = "crate::content::is_false")]
    pub interrupted: bool,
    /// The provider's id of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<Box<str>>,
}

/// Data of `message.part`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessagePart {
    /// The message that it belongs to.
    pub message: MessageId,
    /// Content that comes before the content of the message record.
    pub content: Vec<Part>,
    /// The last part of the previous record goes on in the first of this one, which is of the same type.
    #[serde(default, skip_serializing_if = "crate::content::is_false")]
    pub continues: bool,
}

/// Data of `queue.added`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueAdded {
    /// The entry.
    pub id: QueueId,
    /// The message as it will enter history.
    pub message: MessageUser,
    /// Its place in the queue then, from 0.
    pub position: u32,
    /// Whether promotion skips it.
    #[serde(default, skip_serializing_if = "crate::content::is_false")]
    pub held: bool,
}

/// Data of `queue.changed`. What is absent did not change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueChanged {
    /// The entry.
    pub id: QueueId,
    /// Its new content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Vec<Part>>,
    /// Whether promotion skips it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<bool>,
    /// Its new place, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

/// Data of `queue.removed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRemoved {
    /// The entries.
    pub ids: Vec<QueueId>,
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

/// Data of `queue.promoted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePromoted {
    /// The entry.
    pub id: QueueId,
}

/// Data of `claimed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The new holder.
    pub session: SessionId,
    /// The fencing token from now on.
    pub epoch: Epoch,
}

/// Data of `freed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    /// The holder that lost the chat.
    pub session: SessionId,
    /// The fencing token from now on.
    pub epoch: Epoch,
    /// Why.
    pub reason: FreeReason,
}

/// Why a chat has no holder any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FreeReason {
    /// The holder gave it back: a drain, or a long wait.
    Released,
    /// The holder's session is not live.
    Died,
    /// A command made its work void.
    Displaced,
}

/// Data of `watched`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// When the chat is looked at again.
    pub until: Timestamp,
}

/// Data of `attempt.started`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptStarted {
    /// The gen that it opens.
    pub r#gen: Gen,
    /// What streams: an attempt or a compaction.
    pub unit: UnitKind,
    /// The fencing token it runs under.
    pub epoch: Epoch,
    /// The session that writes its preview.
    pub writer: SessionId,
    /// The message that it will become.
    pub message: MessageId,
    /// The model that is asked.
    pub model: ModelId,
    /// The step of the turn, from 1.
    pub step: u32,
    /// The attempt of the step, from 1.
    pub attempt: u32,
}

/// Data of `attempt.failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptFailed {
    /// The gen that it seals; what it streamed is discarded.
    pub r#gen: Gen,
    /// What went wrong.
    pub error: ErrorInfo,
    /// Failures in a row, from 1.
    pub failures: u32,
    /// When it is tried again; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// The wait until then in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// What it took, as far as known.
    #[serde(default, skip_serializing_if = "Usage::is_empty")]
    pub usage: Usage,
    /// The usage is an estimate.
    #[serde(default, skip_serializing_if = "crate::content::is_false")]
    pub estimated: bool,
    /// The version of the prices that count, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<u64>,
}

impl AttemptFailed {
    /// What clients are told where there will be another attempt: what the failed one had shown is discarded.
    pub fn retry_event(&self) -> Option<RetryEvent> {
        let at = self.retry_at?;
        let delay = std::time::Duration::from_millis(self.delay_ms.unwrap_or(0));
        Some(RetryEvent::new(&self.error, self.failures, delay, at.before(delay).into()))
    }
}

/// Data of `attempt.ended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEnded {
    /// The gen that it seals.
    pub r#gen: Gen,
    /// What became of it.
    pub outcome: Outcome,
    /// The end of its live preview.
    pub off: u64,
    /// Why the model stopped, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<FinishReason>,
    /// What it took.
    #[serde(default, skip_serializing_if = "Usage::is_empty")]
    pub usage: Usage,
    /// The usage is an estimate.
    #[serde(default, skip_serializing_if = "crate::content::is_false")]
    pub estimated: bool,
    /// The version of the prices that count, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<u64>,
    /// What the provider, or its adapter, warned of: settings that it has no place for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Box<str>>,
}

/// What became of a gen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It is stored whole.
    Committed,
    /// It was stopped, and what had come is stored.
    Interrupted,
    /// It failed, and nothing of it is stored.
    Discarded,
    /// An edit, an archiving or a purge cut it off.
    Aborted,
    /// Its holder gave the chat back.
    HandedOff,
    /// The process that wrote it died.
    WriterLost,
}

/// Data of `batch.started`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStarted {
    /// The gen that it opens.
    pub r#gen: Gen,
    /// The fencing token it runs under.
    pub epoch: Epoch,
    /// The session that runs it.
    pub writer: SessionId,
    /// The message that holds the calls.
    pub message: MessageId,
    /// The calls by their place, in the order of their blocks.
    pub calls: Vec<u32>,
}

/// Data of `tool.intent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolIntent {
    /// The batch.
    pub r#gen: Gen,
    /// The message that holds the call.
    pub message: MessageId,
    /// Its place among the calls of its message.
    pub ordinal: u32,
    /// The tool.
    pub name: Box<str>,
    /// What running it twice would do; it rules after a deploy.
    pub effect: Effect,
    /// When it is abandoned.
    pub deadline: Timestamp,
    /// A hash of the arguments.
    pub input_hash: KeyHash,
}

/// Data of `tool.results`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolResults {
    /// The batch, if one ran them; absent for a client's results and for synthetic ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#gen: Option<Gen>,
    /// The message that holds the calls.
    pub message: MessageId,
    /// One result per call, in the order they came.
    pub results: Vec<CallResult>,
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

/// The result of one call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallResult {
    /// The place of the call among the calls of its message that the provider did not run itself, from 0. The call's
    /// id and name stand in the message.
    pub ordinal: u32,
    /// What it gave.
    pub output: Output,
    /// Where the output came from.
    #[serde(default)]
    pub origin: ResultOrigin,
}

/// Where a tool result came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResultOrigin {
    /// The tool ran.
    #[default]
    Tool,
    /// The call was refused before it started: unknown tool, invalid arguments, a policy.
    Refused,
    /// It may or may not have run: its process died, or it was abandoned.
    OutcomeUnknown,
    /// It was cancelled.
    Canceled,
    /// Nobody answered in time.
    TimedOut,
}

/// Data of `batch.ended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchEnded {
    /// The gen that it seals.
    pub r#gen: Gen,
    /// What became of it.
    pub outcome: Outcome,
    /// The end of its live preview.
    pub off: u64,
}

/// Data of `action.required`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionRequired {
    /// The message that holds the calls.
    pub message: MessageId,
    /// The calls that wait.
    pub calls: Vec<PendingCall>,
}

/// A call that waits for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingCall {
    /// Its place among the calls of its message.
    pub ordinal: u32,
    /// Who answers.
    pub kind: CallKind,
    /// Until when.
    pub deadline: Timestamp,
}

/// Data of `action.decided`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionDecided {
    /// The message that holds the call.
    pub message: MessageId,
    /// Its place among the calls of its message.
    pub ordinal: u32,
    /// What was decided.
    pub decision: Decision,
    /// Who decided; absent: the deadline did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

/// What somebody decided about a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// Run it, perhaps with other arguments.
    Approve {
        /// The arguments to use instead, as JSON text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<String>,
    },
    /// Do not run it.
    Deny {
        /// Why, for the model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// Data of `turn.ended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnEnded {
    /// Why.
    pub reason: StopReason,
}

/// Why a turn ended. Users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// The model was done.
    Complete,
    /// A tool that ends the turn succeeded.
    StopAfterTool,
    /// The most steps of a turn were taken.
    StepLimit,
    /// The answer met the model's token limit.
    Length,
    /// A filter cut the answer.
    ContentFilter,
    /// The answer met the limit of one attempt.
    OutputLimit,
    /// The model gave nothing.
    Empty,
    /// Somebody stopped it.
    Interrupted,
    /// There was no turn: a compaction that was asked for is done.
    Compacted,
}

/// Data of `chat.error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatError {
    /// What went wrong.
    pub error: ErrorInfo,
}

/// Data of `history.cut`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryCut {
    /// The first record that no longer counts.
    pub from: Seq,
    /// The message that takes its place: its record follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// A hash of what that message says, where a client key may bring the command again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<KeyHash>,
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

/// Why older history was replaced by a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CompactionTrigger {
    /// Somebody asked for it.
    Requested,
    /// The next prompt would have filled too much of the model's window.
    Full,
    /// The provider did not take the prompt.
    TooLarge,
}

/// Data of `context.compacted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextCompacted {
    /// The compaction before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Seq>,
    /// The last record that the summary covers.
    pub covers_to: Seq,
    /// The oldest record that is kept word for word.
    pub from: Seq,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<CompactionTrigger>,
    /// The summary.
    pub summary: Vec<Part>,
    /// What a user said of what it covers and waits for an answer to, word for word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<Part>,
    /// Estimated tokens of the prompt before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_before: Option<u64>,
    /// Estimated tokens of the prompt afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_after: Option<u64>,
}

/// Data of `context.cleared`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextCleared {
    /// The oldest record that stays in the prompt.
    pub from: Seq,
    /// The client key of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
}

/// Data of `prompt.repaired`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptRepaired {
    /// The version of the rules that made them.
    pub rules: u32,
    /// What stands in the place of which record, by position: its messages as JSON, as they are sent from then on. Anything else
    /// is a note.
    pub repairs: BTreeMap<u64, Box<str>>,
}

#[cfg(test)]
mod tests;
