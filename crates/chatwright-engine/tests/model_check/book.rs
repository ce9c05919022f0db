//! What the log says, folded a second time and apart from the engine.

use std::collections::BTreeSet;

use chatwright_core::record::{Body, Decision};
use chatwright_core::{Epoch, Gen, MessageId, QueueId, Record, Seq, SessionId};
use chatwright_engine::calls;

/// The facts of a log so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    pub(crate) epoch: Epoch,
    pub(crate) holder: Option<SessionId>,
    /// The turn ended or waits for somebody: whoever held the chat may have given it back in the same commit.
    pub(crate) pauses: bool,
    pub(crate) claimed: Seq,
    pub(crate) last_gen: Gen,
    pub(crate) open: Option<Gen>,
    /// As users see it, with whether an entry is held.
    pub(crate) queue: Vec<(QueueId, bool)>,
    pub(crate) promoting: Option<QueueId>,
    pub(crate) removed: Vec<QueueId>,
    pub(crate) users: Vec<Said>,
    pub(crate) answers: Vec<Answered>,
    pub(crate) intents: BTreeSet<(MessageId, u32)>,
    pub(crate) approved: BTreeSet<(MessageId, u32)>,
    pub(crate) last_cut: Seq,
    pub(crate) last_error: Option<Seq>,
    pub(crate) archived: bool,
}

/// A user's message that entered history.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) seq: Seq,
    pub(crate) id: MessageId,
    pub(crate) queued: Option<QueueId>,
    pub(crate) cut: bool,
}

/// An answer of the model.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) seq: Seq,
    pub(crate) id: MessageId,
    /// How many results each of its calls has.
    pub(crate) results: Vec<u32>,
    /// The tools that it calls.
    pub(crate) tools: Vec<Box<str>>,
    pub(crate) cut: bool,
}

impl Book {
    /// The newest answer that counts.
    pub(crate) fn answer(&self) -> Option<&Answered> {
        self.answers.iter().rev().find(|answer| !answer.cut)
    }

    /// The calls that have no result.
    pub(crate) fn open_calls(&self) -> Vec<u32> {
        let Some(answer) = self.answer() else { return Vec::new() };
        (0..).zip(&answer.results).filter(|(_, results)| **results == 0).map(|(ordinal, _)| ordinal).collect()
    }

    pub(crate) fn fold(&mut self, record: &Record, body: &Body) {
        match body {
            Body::Claimed(claimed) => {
                (self.epoch, self.holder, self.claimed) = (claimed.epoch, Some(claimed.session), record.seq);
            }
            Body::Freed(freed) => (self.epoch, self.holder) = (freed.epoch, None),
            Body::AttemptStarted(started) => self.open(started.r#gen),
            Body::BatchStarted(started) => self.open(started.r#gen),
            Body::AttemptEnded(_) | Body::AttemptFailed(_) | Body::BatchEnded(_) => self.open = None,
            Body::ToolIntent(intent) => drop(self.intents.insert((intent.message, intent.ordinal))),
            Body::ToolResults(results) => {
                for answer in self.answers.iter_mut().filter(|answer| answer.id == results.message) {
                    for result in &results.results {
                        if let Some(count) = answer.results.get_mut(result.ordinal as usize) {
                            *count += 1;
                        }
                    }
                }
            }
            Body::ActionDecided(decided) => {
                if matches!(decided.decision, Decision::Approve { .. }) {
                    self.approved.insert((decided.message, decided.ordinal));
                }
            }
            Body::MessageUser(message) => {
                self.promoting = None;
                let (seq, id, queued) = (record.seq, message.id, message.queued);
                self.users.push(Said { seq, id, queued, cut: false });
            }
            Body::MessageAssistant(message) => {
                let tools: Vec<Box<str>> = calls(&message.content).map(|call| call.name.into()).collect();
                let (seq, id, results) = (record.seq, message.id, vec![0; tools.len()]);
                self.answers.push(Answered { seq, id, results, tools, cut: false });
            }
            Body::QueueAdded(added) => self.queue.push((added.id, added.held)),
            Body::QueueChanged(changed) => {
                let Some(at) = self.queue.iter().position(|entry| entry.0 == changed.id) else { return };
                let mut entry = self.queue.remove(at);
                entry.1 = changed.held.unwrap_or(entry.1);
                let to = changed.position.map_or(at, |to| to as usize).min(self.queue.len());
                self.queue.insert(to, entry);
            }
            Body::QueueRemoved(removed) => {
                self.queue.retain(|entry| !removed.ids.contains(&entry.0));
                self.removed.extend(&removed.ids);
            }
            Body::QueuePromoted(promoted) => {
                self.promoting = Some(promoted.id);
                self.queue.retain(|entry| entry.0 != promoted.id);
            }
            Body::HistoryCut(cut) => {
                self.last_cut = record.seq;
                self.users.iter_mut().filter(|said| said.seq >= cut.from).for_each(|said| said.cut = true);
                let answers = self.answers.iter_mut().filter(|answer| answer.seq >= cut.from);
                answers.for_each(|answer| answer.cut = true);
            }
            Body::ChatError(_) => (self.last_error, self.pauses) = (Some(record.seq), true),
            Body::TurnEnded(_) | Body::ActionRequired(_) => self.pauses = true,
            Body::ChatArchived(_) => self.archived = true,
            Body::ChatUnarchived(_) => self.archived = false,
            _ => {}
        }
    }

    /// The end of a commit.
    pub(crate) fn end(&mut self, holder: Option<SessionId>) {
        if std::mem::take(&mut self.pauses) && holder.is_none() {
            self.holder = None;
        }
    }

    fn open(&mut self, r#gen: Gen) {
        (self.last_gen, self.open) = (r#gen, Some(r#gen));
    }
}
