//! One place where inputs become commits.

use std::time::Duration;

use chatwright_core::port::timing::CommitTrouble;
use chatwright_core::port::{Actual, CommitError, Event, StoreError};
use chatwright_core::{ChatId, Commit, Record, Seq, limits};
use chatwright_engine::{Chat, History, Input, NotDone, Receipt, Refused, Unreadable, receipt_of, step};

use crate::deps::{Deps, soon};
use crate::turns::Turns;

/// How often an input is fed before the chat counts as too busy.
const ROUNDS: u32 = 16;
/// How long to wait before a store that did not answer is asked again, doubling.
const PAUSE: Duration = Duration::from_millis(20);

/// An input that landed.
pub(crate) struct Landed {
    /// The chat afterwards, as far as it is known: others may have changed it since.
    pub(crate) chat: Chat,
    /// The receipt, for a command.
    pub(crate) receipt: Option<Receipt>,
    /// The turns that ended and began with it.
    pub(crate) turns: Turns,
}

/// An input that did not land, as far as anybody knows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// The command is refused; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The input is about something that is over; nothing was changed.
    #[error("the input is stale")]
    Stale,
    /// The store did not answer. Whether the command landed is unknown: repeat it with the same client key.
    #[error("the store did not answer; whether the command landed is unknown")]
    Unknown(#[source] StoreError),
    /// The store did not answer a read; nothing was changed.
    #[error("the store did not answer")]
    Store(#[source] StoreError),
    /// The chat's records or the input cannot be worked with.
    #[error("the chat cannot be worked with")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Deps {
    /// Feeds an input: head → step → commit; after any answer but `Ok` it looks for the input's operation in the records
    /// that it had not seen, and feeds the same input again if it is not there. `known` is the chat as the caller has it;
    /// `history` gets every record that is read or written, if it is contiguous.
    pub(crate) async fn feed(
        &self,
        id: ChatId,
        input: &Input,
        known: Option<Chat>,
        history: &mut History,
    ) -> Result<Landed, Failed> {
        let mut base = known;
        let mut unknown: Option<StoreError> = None;
        let mut fresh = base.is_some();
        let mut seen = base.as_ref().map(|chat| chat.head.last_seq);
        let mut pause = PAUSE;
        for round in 0..=ROUNDS {
            if !fresh {
                match self.reload(id).await {
                    Ok(chat) => base = chat,
                    Err(Failed::Store(error)) => {
                        // Before the first try nothing can have landed.
                        unknown.get_or_insert(error);
                        pause = self.pause(pause).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                if let Some(seen) = seen {
                    match self.landed(id, input, seen, base.as_ref(), history).await {
                        Ok(Some((record, turns))) => {
                            let chat = base.ok_or(Refused::NotFound { what: "chat" })?;
                            turns.tell(self, &chat, input);
                            return Ok(Landed { receipt: receipt_of(&record), chat, turns });
                        }
                        // Whatever was unknown has not landed; what is late will meet a newer revision.
                        Ok(None) => unknown = None,
                        Err(Failed::Store(error)) => {
                            unknown = Some(error);
                            pause = self.pause(pause).await;
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            if round == ROUNDS {
                break;
            }
            fresh = false;
            let (commit, receipt) = match self.step(id, base.as_ref(), input, history).await {
                Ok(stepped) => stepped,
                Err(Failed::Store(error)) => {
                    unknown.get_or_insert(error);
                    pause = self.pause(pause).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (commit, receipt) = match commit {
                Some(commit) => (commit, receipt),
                None => {
                    let chat = base.ok_or(Refused::NotFound { what: "chat" })?;
                    return Ok(Landed { chat, receipt, turns: Turns::default() });
                }
            };
            self.open_preview(id, &commit).await;
            seen = Some(base.as_ref().map_or(Seq::ZERO, |chat| chat.head.last_seq));
            match self.ports.chats.commit(&commit).await {
                Ok(()) => {
                    self.absorb(commit.records(), history)?;
                    let chat = Chat::new(id, commit.head().clone()).map_err(broken)?;
                    let turns = Turns::of(commit.records(), base.as_ref());
                    turns.tell(self, &chat, input);
                    return Ok(Landed { chat, receipt, turns });
                }
                Err(CommitError::Conflict(Actual::Purged)) => {
                    return Err(Refused::NotFound { what: "chat" }.into());
                }
                Err(CommitError::Conflict(_)) => {
                    self.observe(&Event::CommitFailed { chat: id, trouble: CommitTrouble::Conflict });
                }
                Err(CommitError::Store(error)) => {
                    self.observe(&Event::CommitFailed { chat: id, trouble: CommitTrouble::Unknown });
                    tracing::debug!(chat = %id, %error, "the outcome of a commit is unknown");
                    unknown = Some(error);
                    pause = self.pause(pause).await;
                }
            }
        }
        match (unknown, seen) {
            (Some(error), Some(_)) => Err(Failed::Unknown(error)),
            (Some(error), None) => Err(Failed::Store(error)),
            (None, _) => Err(Refused::Busy.into()),
        }
    }

    /// The chat as stored.
    pub(crate) async fn reload(&self, id: ChatId) -> Result<Option<Chat>, Failed> {
        let Some(head) = self.ports.chats.head(id).await.map_err(Failed::Store)? else { return Ok(None) };
        match Chat::new(id, head) {
            Ok(chat) => Ok(Some(chat)),
            Err(Unreadable::Newer { .. }) => Err(Refused::NewerVersion.into()),
            Err(error) => Err(broken(error)),
        }
    }

    /// Folds what was appended after `seen`, and gives the record that carries the input's operation, with what its commit did to turns.
    async fn landed(
        &self,
        id: ChatId,
        input: &Input,
        seen: Seq,
        chat: Option<&Chat>,
        history: &mut History,
    ) -> Result<Option<(Record, Turns)>, Failed> {
        let Some(chat) = chat else { return Ok(None) };
        let mut found: Option<(Record, Turns)> = None;
        let mut is_of_it = false;
        let mut after = seen;
        while after < chat.head.last_seq {
            let page =
                self.ports.chats.records(id, after, limits::PAGE_ITEMS_MAX).await.map_err(Failed::Store)?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            self.absorb(&page, history)?;
            for record in page {
                // Only the first record of a commit carries its operation.
                is_of_it = record.op().map_or(is_of_it, |op| op == input.op());
                match &mut found {
                    Some((_, turns)) if is_of_it => turns.take(&record),
                    None if is_of_it => {
                        let mut turns = Turns::default();
                        turns.take(&record);
                        found = Some((record, turns));
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// One step; reads what it needs beside the history. No commit means that the command was done before.
    async fn step(
        &self,
        id: ChatId,
        chat: Option<&Chat>,
        input: &Input,
        history: &History,
    ) -> Result<(Option<Commit>, Option<Receipt>), Failed> {
        let now = self.time.now().await.map_err(Failed::Store)?;
        let mut needed: Option<History> = None;
        loop {
            let shown = needed.as_ref().unwrap_or(history);
            match step(chat, input, shown, now, &self.settings.rules) {
                Ok(step) => {
                    let receipt = step.receipt.clone();
                    return Ok((Some(step.commit(id, chat).map_err(broken)?), receipt));
                }
                // Once each: what has been folded is not asked for again.
                Err(NotDone::Missing(seq)) if needed.as_ref().is_none_or(|needed| needed.through() < seq) => {
                    let record = self.record(id, seq).await?;
                    let needed = needed.get_or_insert_with(|| History::from(seq));
                    needed.fold(&record).map_err(broken)?;
                }
                Err(NotDone::History(first)) if needed.is_none() => {
                    let through = chat.map_or(Seq::ZERO, |chat| chat.head.last_seq);
                    needed = Some(self.history(id, first, through).await?);
                }
                Err(NotDone::Replayed(seq)) => {
                    let record = self.record(id, seq).await?;
                    return match crate::replay::receipt(input, &record) {
                        Some(receipt) => Ok((None, Some(receipt))),
                        None => Err(Refused::KeyReused.into()),
                    };
                }
                Err(NotDone::Refused(refused)) => return Err(refused.into()),
                Err(NotDone::Stale) => return Err(Failed::Stale),
                Err(NotDone::Record(chatwright_core::record::InvalidRecord::TooLarge(error)))
                | Err(NotDone::Commit(chatwright_core::InvalidCommit::TooLarge(error)))
                | Err(NotDone::Head(chatwright_core::head::InvalidHead::TooLarge(error))) => {
                    return Err(Refused::TooLarge(error).into());
                }
                Err(error) => return Err(broken(error)),
            }
        }
    }

    /// Every record from `first` to `through`, folded.
    pub(crate) async fn history(&self, id: ChatId, first: Seq, through: Seq) -> Result<History, Failed> {
        let mut history = History::from(first);
        while history.through() < through {
            let limit = limits::PAGE_ITEMS_MAX;
            let page = self.ports.chats.records(id, history.through(), limit).await.map_err(Failed::Store)?;
            if page.is_empty() {
                return Err(broken("the log is shorter than its head says"));
            }
            // What came after the head that the step builds on is not part of it.
            for record in page.iter().filter(|record| record.seq <= through) {
                history.fold(record).map_err(broken)?;
            }
        }
        Ok(history)
    }

    pub(crate) async fn record(&self, id: ChatId, seq: Seq) -> Result<Record, Failed> {
        let before = Seq::new(seq.get().saturating_sub(1));
        let page = self.ports.chats.records(id, before, 1).await.map_err(Failed::Store)?;
        page.into_iter().next().ok_or_else(|| broken(format!("record {seq} is missing")))
    }

    /// Folds records that follow the history; a gap leaves it as it is.
    fn absorb(&self, records: &[Record], history: &mut History) -> Result<(), Failed> {
        for record in records {
            if record.seq == history.through().next() {
                history.fold(record).map_err(broken)?;
            }
        }
        Ok(())
    }

    /// The writer opens a gen in its live log before the commit that opens it in the chat's log.
    async fn open_preview(&self, id: ChatId, commit: &Commit) {
        let Ok(chat) = Chat::new(id, commit.head().clone()) else { return };
        let Some(open) = chat.state.open.filter(|open| open.seq >= commit.records()[0].seq) else { return };
        if !matches!(soon(self.ports.live.open(id, chat.state.epoch, open.r#gen)).await, Some(Ok(()))) {
            // The preview stays away; generation and commit go on.
            tracing::debug!(chat = %id, r#gen = %open.r#gen, "the live log did not open a gen");
        }
    }

    async fn pause(&self, pause: Duration) -> Duration {
        tokio::time::sleep(pause).await;
        (pause * 2).min(Duration::from_secs(2))
    }
}

pub(crate) fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failed {
    Failed::Broken(error.into())
}
