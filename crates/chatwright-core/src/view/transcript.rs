use std::collections::BTreeMap;

use super::Preview;
use crate::content::{Output, Part};
use crate::frame::{Action, Queued};
use crate::head::{CallKind, Last, OpenCall, Status, Title};
use crate::model::Role;
use crate::record::{CompactionTrigger, MessageUser, ResultOrigin, RetryEvent};
use crate::{MessageId, QueueId, Seq, Timestamp, UserId};

/// What a person sees of a chat. Two viewers of one chat who have seen the same frames, however they came, have equal
/// ones (stream.S10). Its [`Display`](std::fmt::Display) is plain text, for terminals and tests.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Transcript {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// There are older ones.
    pub more_before: bool,
    /// Where older messages were replaced by a summary for the model, oldest first. People still see them. One that is being made is the
    /// [preview](Self::preview), which shows nothing of it.
    pub compactions: Vec<Compaction>,
    /// What is being said: the open gen.
    pub preview: Option<Preview>,
    /// The messages that wait, in their order.
    pub queue: Vec<QueueItem>,
    /// What the chat is doing.
    pub status: Status,
    /// Whether it is archived.
    pub archived: bool,
    /// Its title.
    pub title: Title,
    /// What it waits for.
    pub action: Option<Action>,
    /// Why the last turn ended where it did not simply end.
    pub last: Option<Last>,
    /// When a failed attempt is tried again, in store time.
    pub retry_at: Option<Timestamp>,
    /// Which attempt failed and why, while the next one is waited for. Absent if nothing failed and the provider only told
    /// others to wait, or if that record is older than the snapshot.
    pub retry: Option<RetryEvent>,
}

/// A message of history.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// Its id; its preview had the same.
    pub id: MessageId,
    /// The record that holds it: commands name it by this.
    pub seq: Seq,
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub content: Vec<Part>,
    /// Who said it, if it was a user and not the owner.
    pub author: Option<UserId>,
    /// It was stopped: the content is what had come until then.
    pub interrupted: bool,
    /// The results of its calls by their place among the calls that the provider did not run itself.
    pub results: BTreeMap<u32, CallAnswer>,
}

/// Older messages that a model is shown as a summary.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Compaction {
    /// The record that holds it.
    pub seq: Seq,
    /// Why; unknown if a program of another version wrote it.
    pub trigger: Option<CompactionTrigger>,
    /// The first record that the model is still shown as it is.
    pub from: Seq,
    /// What it says.
    pub summary: Vec<Part>,
    /// About how many tokens the prompt had before.
    pub tokens_before: Option<u64>,
    /// About how many tokens it had afterwards.
    pub tokens_after: Option<u64>,
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallAnswer {
    /// The record that holds it.
    pub seq: Seq,
    /// What it gave.
    pub output: Output,
    /// Where the output came from.
    pub origin: ResultOrigin,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueItem {
    /// Its entry.
    pub id: QueueId,
    /// Promotion skips it.
    pub held: bool,
    /// What it says; unknown if its record is older than the snapshot.
    pub message: Option<MessageUser>,
}

/// A call that waits for the client or for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending<'a> {
    /// Its place among the calls of its message: commands name it by this.
    pub ordinal: u32,
    /// Who is waited for.
    pub kind: CallKind,
    /// When it is answered in their place, in store time.
    pub deadline: Option<Timestamp>,
    /// The tool.
    pub name: &'a str,
    /// The arguments, as the model wrote them.
    pub input: &'a str,
}

impl Transcript {
    /// The calls that wait for the client or for a decision, with what is called. Those of a message that is older than the
    /// snapshot are left out.
    pub fn pending(&self) -> impl Iterator<Item = Pending<'_>> {
        let action = self.action.as_ref();
        let content = action.and_then(|action| self.message(action.message)).map(|message| &message.content);
        let local = content.into_iter().flatten().filter_map(|part| match part {
            Part::ToolCall { name, input, provider_executed: false, .. } => Some((&**name, input.as_str())),
            _ => None,
        });
        let calls = action.map(|action| action.calls.as_slice()).unwrap_or_default();
        (0..).zip(local).filter_map(move |(ordinal, (name, input))| {
            let waits = |call: &&OpenCall| call.ordinal == ordinal && call.kind != CallKind::Local;
            let call = calls.iter().find(waits)?;
            Some(Pending { ordinal, kind: call.kind, deadline: call.deadline, name, input })
        })
    }

    /// The message with this id.
    pub fn message(&self, id: MessageId) -> Option<&Message> {
        self.messages.iter().rev().find(|message| message.id == id)
    }

    pub(super) fn message_mut(&mut self, id: MessageId) -> Option<&mut Message> {
        self.messages.iter_mut().rev().find(|message| message.id == id)
    }

    pub(super) fn queue_item(&mut self, id: QueueId) -> Option<&mut QueueItem> {
        self.queue.iter_mut().find(|item| item.id == id)
    }

    /// An entry as a state tells it, with what is known of its message.
    pub(super) fn queued(&self, told: Queued) -> QueueItem {
        let known = self.queue.iter().find(|item| item.id == told.id);
        QueueItem { id: told.id, held: told.held, message: known.and_then(|item| item.message.clone()) }
    }

    /// Everything from this position on does not count any more.
    pub(super) fn cut(&mut self, from: Seq) {
        self.messages.retain(|message| message.seq < from);
        self.compactions.retain(|compaction| compaction.seq < from);
        for message in &mut self.messages {
            message.results.retain(|_, answer| answer.seq < from);
        }
    }
}
