use std::collections::{BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use async_trait::async_trait;
use chatwright_core::port::{
    Actual, ChatDirectory, ChatStore, Clock, CommitError, DirectoryFilter, DirectoryPage, Due, DueAfter,
    Listed, StoreError,
};
use chatwright_core::{ChatId, Commit, Head, Record, Revision, Seq, SessionId, Timestamp, Uuid, limits};
use parking_lot::Mutex;

use crate::MemorySessions;

/// Chats and sessions in memory. Clones share them. Not durable (S4).
#[derive(Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    tables: Arc<Mutex<Tables>>,
    pub(crate) sessions: MemorySessions,
}

#[derive(Default)]
struct Tables {
    chats: HashMap<ChatId, Slot>,
    due: BTreeSet<(Timestamp, ChatId)>,
    held: BTreeSet<(SessionId, ChatId)>,
}

enum Slot {
    Chat { head: Box<Head>, records: Vec<Record> },
    Purged,
}

impl MemoryStore {
    /// An empty store. Its clock is the store's clock (S11).
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { sessions: MemorySessions::new(Arc::clone(&clock)), clock, tables: Arc::default() }
    }
}

#[async_trait]
impl ChatStore for MemoryStore {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        Ok(self.tables.lock().chat(chat).map(|(head, _)| head.clone()))
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        // No await point while the lock is held: a commit happens whole or not at all (S1, S10).
        self.tables.lock().apply(commit)
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        StoreError::check_page(limit)?;
        let tables = self.tables.lock();
        let Some((_, records)) = tables.chat(chat) else { return Ok(Vec::new()) };
        // Positions are dense from 1: the record after `after` stands at index `after`.
        let from = usize::try_from(after.get()).unwrap_or(usize::MAX).min(records.len());
        let mut bytes = 0;
        let fits = |record: &&Record| {
            bytes += record.body.len();
            bytes <= limits::PAGE_BYTES_MAX
        };
        // One body is smaller than a page, so that no page is empty while records are left (S6).
        Ok(records[from..].iter().take(limit).take_while(fits).cloned().collect())
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        StoreError::check_page(limit)?;
        let now = self.clock.now();
        let tables = self.tables.lock();
        let from = after.map_or(Unbounded, Excluded);
        let past = tables.due.range((from, Unbounded)).take_while(|(wake_at, _)| *wake_at <= now);
        Ok(past.take(limit).filter_map(|(_, chat)| Due::of(*chat, tables.chat(*chat)?.0)).collect())
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        StoreError::check_page(limit)?;
        let tables = self.tables.lock();
        let first = Included((session, ChatId::from_uuid(Uuid::nil())));
        let from = after.map_or(first, |after| Excluded((session, after)));
        let of_session = tables.held.range((from, Unbounded)).take_while(|(holder, _)| *holder == session);
        Ok(of_session.map(|(_, chat)| *chat).take(limit).collect())
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        StoreError::check_revisions(chats.len())?;
        let tables = self.tables.lock();
        Ok(chats.iter().map(|&chat| tables.chat(chat).map(|(head, _)| head.revision)).collect())
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        let mut tables = self.tables.lock();
        tables.unlist(chat);
        // The bare id stays, so that the chat cannot be created again (S14).
        tables.chats.insert(chat, Slot::Purged);
        Ok(())
    }
}

#[async_trait]
impl ChatDirectory for MemoryStore {
    async fn list(&self, filter: &DirectoryFilter, page: DirectoryPage) -> Result<Vec<Listed>, StoreError> {
        StoreError::check_page(page.limit)?;
        let tables = self.tables.lock();
        let listed = |(&chat, slot): (&ChatId, &Slot)| match slot {
            Slot::Chat { head, .. } if filter.matches(&head.index) => {
                Some(Listed { chat, revision: head.revision, index: head.index.clone() })
            }
            _ => None,
        };
        let place = |listed: &Listed| (listed.index.updated, listed.chat);
        let mut chats: Vec<Listed> = tables.chats.iter().filter_map(listed).collect();
        chats.retain(|listed| page.after.is_none_or(|after| place(listed) < after));
        chats.sort_unstable_by_key(|listed| std::cmp::Reverse(place(listed)));
        chats.truncate(page.limit);
        Ok(chats)
    }
}

impl Tables {
    fn chat(&self, chat: ChatId) -> Option<(&Head, &[Record])> {
        match self.chats.get(&chat)? {
            Slot::Chat { head, records } => Some((head, records)),
            Slot::Purged => None,
        }
    }

    fn apply(&mut self, commit: &Commit) -> Result<(), CommitError> {
        let chat = commit.chat();
        let actual = match self.chats.get(&chat) {
            None => Actual::Absent,
            Some(Slot::Purged) => Actual::Purged,
            Some(Slot::Chat { head, .. }) => Actual::Revision(head.revision),
        };
        actual.check(commit)?;
        self.unlist(chat);
        let head = commit.head();
        self.due.extend(head.wake_at.map(|wake_at| (wake_at, chat)));
        self.held.extend(head.holder.map(|holder| (holder, chat)));
        let slot = self
            .chats
            .entry(chat)
            .or_insert_with(|| Slot::Chat { head: Box::new(head.clone()), records: Vec::new() });
        if let Slot::Chat { head: stored, records } = slot {
            head.clone_into(stored);
            records.extend_from_slice(commit.records());
        }
        Ok(())
    }

    /// Takes a chat out of the lists that its head put it on.
    fn unlist(&mut self, chat: ChatId) {
        let Some((head, _)) = self.chat(chat) else { return };
        let (due, held) = (head.wake_at.map(|at| (at, chat)), head.holder.map(|holder| (holder, chat)));
        if let Some(entry) = due {
            self.due.remove(&entry);
        }
        if let Some(entry) = held {
            self.held.remove(&entry);
        }
    }
}
