use chatwright_core::head::State;
use chatwright_core::record::Body;
use chatwright_core::{Commit, Draft, HeadDraft, MessageId, OpId, QueueId, Record, Seq, Timestamp};

use crate::change::Change;
use crate::input::Context;
use crate::{Chat, History, Input, NotDone, Refused, Rules};

/// What a step makes of a chat.
#[derive(Clone, Debug)]
pub struct Step {
    /// The next head.
    pub head: HeadDraft,
    /// The records that lead to it, at least one.
    pub records: Vec<Draft>,
    /// The state in the next head.
    pub state: State,
    /// The receipt, for a command.
    pub receipt: Option<Receipt>,
}

impl Step {
    /// The commit of this step.
    ///
    /// # Errors
    /// [`NotDone::Commit`] if it is over a bound.
    pub fn commit(self, chat: chatwright_core::ChatId, last: Option<&Chat>) -> Result<Commit, NotDone> {
        Ok(match last {
            None => Commit::create(chat, self.head, self.records)?,
            Some(last) => Commit::next(chat, &last.head, self.head, self.records)?,
        })
    }
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The operation.
    pub op: OpId,
    /// The record that says it.
    pub seq: Seq,
    /// The message that entered history or the queue, or was created with the chat.
    pub message: Option<MessageId>,
    /// Its entry, if it waits in the queue.
    pub queued: Option<QueueId>,
    /// Its place in the queue then, from 0.
    pub position: Option<u32>,
}

/// Makes a step. `chat` is `None` if there is none yet. `history` is complete for a worker's input; a command needs it only
/// where the answer is [`NotDone::Missing`].
///
/// # Errors
/// [`NotDone`]: nothing is to be committed.
pub fn step(
    chat: Option<&Chat>,
    input: &Input,
    history: &History,
    now: Timestamp,
    rules: &Rules,
) -> Result<Step, NotDone> {
    let context = Context { now, rules, history };
    let change = |op: OpId| -> Result<(Change<'_>, &Chat), NotDone> {
        let chat = chat.ok_or(Refused::NotFound { what: "chat" })?;
        let (head, state) = (&chat.head, chat.state.clone());
        let change =
            Change::new(context, op, head.last_seq, head.index.clone(), state, head.holder, head.wake_at);
        Ok((change, chat))
    };
    match input {
        Input::Command(op, command) => crate::command::command(context, *op, chat, command, change),
        Input::Claim(op, claim) => {
            let (change, chat) = change(*op)?;
            crate::work::claim(change, chat, claim)
        }
        Input::Free(op, free) => {
            let (change, chat) = change(*op)?;
            crate::work::free(change, chat, *free)
        }
        Input::Expire(op) => crate::command::expire(change(*op)?.0),
        Input::Work(op, fence, work) => {
            let (change, chat) = change(*op)?;
            crate::work::work(change, chat, *fence, work)
        }
    }
}

/// The receipt that a command's first record holds. The key and the content of a repeated command are for the caller to
/// compare.
pub fn receipt_of(record: &Record) -> Option<Receipt> {
    let entry = record.open().ok()?;
    let receipt = |message, queued, position| {
        Some(Receipt { op: entry.op?, seq: record.seq, message, queued, position })
    };
    match &entry.body {
        Body::MessageUser(message) => receipt(Some(message.id), None, None),
        Body::ChatCreated(created) => receipt(created.first, None, None),
        Body::QueueAdded(added) => receipt(Some(added.message.id), Some(added.id), Some(added.position)),
        Body::QueueChanged(changed) => receipt(None, Some(changed.id), None),
        Body::QueueRemoved(removed) => receipt(None, removed.ids.first().copied(), None),
        Body::HistoryCut(cut) => receipt(cut.message, None, None),
        _ => receipt(None, None, None),
    }
}
