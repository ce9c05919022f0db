use chatwright_core::head::{Compact, Status};
use chatwright_core::port::Event;
use chatwright_core::port::timing::ChatKind;
use chatwright_core::record::{Body, StopReason};
use chatwright_core::{Head, Record, Seq};
use chatwright_engine::{Chat, Input, Work};

use crate::deps::Deps;

/// The turns that a commit ended and began: what its records say of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    /// How the turn ended that ran before.
    pub(crate) ended: Option<TurnEnd>,
    /// Another one began.
    pub(crate) began: bool,
    /// Where an answer stands that is whole.
    answer: Option<Seq>,
    /// From where on history was cut, and where that is said.
    cut: Option<(Seq, Seq)>,
    /// The chat was archived, and where that is said.
    archived: Option<Seq>,
    /// What ended with it was no turn: a summary that was asked for at rest.
    rested: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnEnd {
    Stopped(StopReason),
    Failed,
    Abandoned,
}

impl Turns {
    /// What the records of one commit do to the turns of a chat that was like this before.
    pub(crate) fn of(records: &[Record], before: Option<&Chat>) -> Self {
        let rested = before.is_some_and(|chat| chat.state.compact == Some(Compact::Rest));
        let mut turns = Self { rested, ..Self::default() };
        records.iter().for_each(|record| turns.take(record));
        let ran = before
            .is_some_and(|chat| !matches!(chat.state.status, Status::Waiting | Status::Error) && !rested);
        if turns.began && turns.ended.is_none() && ran && turns.cut.is_some() {
            turns.ended = Some(TurnEnd::Abandoned);
        }
        turns
    }

    /// Takes the next record of the commit in. Where what was before is not known, an edit of a turn that ran is not told from
    /// another one.
    pub(crate) fn take(&mut self, record: &Record) {
        match record.kind.name() {
            "turn.ended" => {
                self.ended = match record.open().map(|entry| entry.body) {
                    Ok(Body::TurnEnded(ended)) if ended.reason != StopReason::Compacted => {
                        Some(TurnEnd::Stopped(ended.reason))
                    }
                    _ => None,
                };
            }
            "chat.error" if !self.rested => self.ended = Some(TurnEnd::Failed),
            "message.user" => self.began = true,
            "message.assistant" => self.answer = Some(record.seq),
            "history.cut" => {
                if let Ok(Body::HistoryCut(cut)) = record.open().map(|entry| entry.body) {
                    self.cut = Some((cut.from, record.seq));
                }
            }
            "chat.archived" => self.archived = Some(record.seq),
            _ => {}
        }
    }

    /// Tells the observers what became of this input: what ends before what it is part of.
    pub(crate) fn tell(self, deps: &Deps, chat: &Chat, input: &Input) {
        let (chat, kind, op) = (chat.id, kind(&chat.head), input.op());
        // What was stopped is a message as well, and no step.
        if let (Some(answer), Input::Work(_, fence, Work::Answered(work))) = (self.answer, input)
            && let Some(r#gen) = fence.r#gen
        {
            deps.observe(&Event::StepStored { chat, r#gen, answer, model: &work.model });
        }
        match self.ended {
            Some(TurnEnd::Stopped(reason)) => {
                deps.observe(&Event::TurnEnded { chat, reason: Some(reason), kind });
            }
            Some(TurnEnd::Failed) => deps.observe(&Event::TurnEnded { chat, reason: None, kind }),
            Some(TurnEnd::Abandoned) => deps.observe(&Event::TurnAbandoned { chat, kind }),
            None => {}
        }
        if let Some((from, at)) = self.cut {
            deps.observe(&Event::HistoryCut { chat, from, at });
        }
        if let Some(at) = self.archived {
            deps.observe(&Event::ChatArchived { chat, at });
        }
        if self.began {
            deps.observe(&Event::TurnStarted { chat, op, kind });
        }
    }
}

/// Which chats this is one of.
pub(crate) fn kind(head: &Head) -> ChatKind {
    match head.index.parent {
        Some(_) => ChatKind::Subagent,
        None => ChatKind::Root,
    }
}
