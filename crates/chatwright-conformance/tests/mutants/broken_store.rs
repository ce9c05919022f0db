//! A store in memory that can be broken in one place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::port::{Actual, ChatStore, CommitError, Due, DueAfter, StoreError, StoreErrorKind};
use chatwright_core::{ChatId, Commit, Head, Json, Record, Revision, Seq, SessionId, Timestamp, limits};
use parking_lot::Mutex;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    HeadBeforeRecords,
    RecordsDespiteConflict,
    IgnoresExpect,
    RecreatesExisting,
    ChecksThenActs,
    ForgetsOnReopening,
    ForgetsTheLastCommitOnReopening,
    CachesHeads,
    InclusiveAfter,
    Descending,
    EndsPagesEarly,
    NoPageBytes,
    EmptyPageWhenLarge,
    RecordsLag,
    DropsNul,
    RewritesJson,
    WholeSeconds,
    ForgetsLabels,
    ShortIds,
    OneRevisionForAll,
    RaceIsAnError,
    RetriesAndConflictsWithItself,
    HalfWhenDropped,
    LockedWhenDropped,
    DueLosesTies,
    DueUnordered,
    DueBeforeTime,
    DueKeepsTheFirstTime,
    HeldInclusiveAfter,
    HeldNeedsWakeAt,
    HeldKeepsTheFirstHolder,
    RevisionsSkipUnknown,
    RevisionsAtMostAHundred,
    PurgeKeepsRecords,
    PurgeForgetsTheId,
    PurgeTakesTheNextChatToo,
}

#[derive(Default)]
pub(crate) struct Tables {
    heads: BTreeMap<ChatId, Head>,
    logs: BTreeMap<ChatId, Vec<Record>>,
    purged: Vec<ChatId>,
    first_wake: BTreeMap<ChatId, Timestamp>,
    first_holder: BTreeMap<ChatId, SessionId>,
    last_commit: Option<(ChatId, Option<Head>, usize)>,
}

pub(crate) struct BrokenStore {
    fault: Fault,
    tables: Arc<Mutex<Tables>>,
    cache: Mutex<BTreeMap<ChatId, Head>>,
    turn: AtomicU64,
    gate: tokio::sync::Semaphore,
}

impl BrokenStore {
    /// Another connection to these tables.
    pub(crate) fn connect(fault: Fault, tables: &Arc<Mutex<Tables>>) -> Self {
        let mut found = tables.lock();
        match fault {
            Fault::ForgetsOnReopening => *found = Tables::default(),
            Fault::ForgetsTheLastCommitOnReopening => {
                if let Some((chat, head, records)) = found.last_commit.take() {
                    found.logs.entry(chat).or_default().truncate(records);
                    match head {
                        Some(head) => found.heads.insert(chat, head),
                        None => found.heads.remove(&chat),
                    };
                }
            }
            _ => {}
        }
        drop(found);
        let gate = tokio::sync::Semaphore::new(1);
        Self { fault, tables: Arc::clone(tables), cache: Mutex::default(), turn: AtomicU64::new(0), gate }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn id(&self, chat: ChatId) -> ChatId {
        if self.is(Fault::ShortIds) {
            // The first half of a version 7 UUID is little more than its time.
            return ChatId::from_uuid(chatwright_core::Uuid::from_u128(chat.as_uuid().as_u128() >> 80 << 80));
        }
        chat
    }

    fn check(&self, tables: &Tables, commit: &Commit) -> Result<(), CommitError> {
        let chat = self.id(commit.chat());
        let purged = tables.purged.contains(&chat);
        let actual = match tables.heads.get(&chat) {
            Some(head) => Actual::Revision(head.revision),
            None if purged => Actual::Purged,
            None => Actual::Absent,
        };
        let expected = commit.expect().map_or(Actual::Absent, Actual::Revision);
        let ignored = match self.fault {
            Fault::IgnoresExpect => true,
            Fault::RecreatesExisting => commit.expect().is_none() && !purged,
            _ => false,
        };
        if actual == expected || ignored { Ok(()) } else { Err(CommitError::Conflict(actual)) }
    }

    fn stored(&self, head: &Head) -> Head {
        let mut head = head.clone();
        match self.fault {
            Fault::WholeSeconds => {
                let whole = |time: Timestamp| Timestamp::from_millis(time.as_millis() / 1000 * 1000);
                head.wake_at = head.wake_at.map(whole);
                head.index.created = whole(head.index.created);
            }
            Fault::ForgetsLabels => head.index.labels = Default::default(),
            Fault::RewritesJson | Fault::DropsNul => head.state = self.text(&head.state),
            _ => {}
        }
        head
    }

    fn text(&self, json: &Json) -> Json {
        let text = match self.fault {
            Fault::DropsNul => json.as_str().replace("\\u0000", ""),
            Fault::RewritesJson => match json.decode::<serde_json::Value>() {
                Ok(value) => value.to_string(),
                Err(_) => json.as_str().to_owned(),
            },
            _ => return json.clone(),
        };
        Json::parse(text).expect("still JSON")
    }

    fn write_head(&self, tables: &mut Tables, commit: &Commit) {
        let chat = self.id(commit.chat());
        let head = self.stored(commit.head());
        if let Some(wake_at) = head.wake_at {
            tables.first_wake.entry(chat).or_insert(wake_at);
        }
        if let Some(holder) = head.holder {
            tables.first_holder.entry(chat).or_insert(holder);
        }
        let records = tables.logs.get(&chat).map_or(0, Vec::len);
        let last = tables.heads.insert(chat, head);
        tables.last_commit = Some((chat, last, records));
    }

    fn write_records(&self, tables: &mut Tables, commit: &Commit) {
        let log = tables.logs.entry(self.id(commit.chat())).or_default();
        log.extend(
            commit.records().iter().map(|record| Record { body: self.text(&record.body), ..record.clone() }),
        );
    }

    /// The time between two writes that should have been one.
    async fn pause(&self) {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

#[async_trait]
impl ChatStore for BrokenStore {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        let stored = self.tables.lock().heads.get(&self.id(chat)).cloned();
        if self.is(Fault::CachesHeads) && !self.turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            let mut cache = self.cache.lock();
            if let Some(stored) = stored {
                return Ok(Some(cache.entry(chat).or_insert(stored).clone()));
            }
        }
        Ok(stored)
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        match self.fault {
            Fault::ChecksThenActs => {
                self.check(&self.tables.lock(), commit)?;
                self.pause().await;
            }
            Fault::RaceIsAnError => {
                let checked = self.check(&self.tables.lock(), commit);
                if let Err(CommitError::Conflict(Actual::Revision(_))) = checked {
                    return Err(StoreError::new(StoreErrorKind::Other, "could not serialize access").into());
                }
            }
            Fault::LockedWhenDropped => {
                // The permit comes back only if the future is polled to its end.
                self.gate.acquire().await.expect("the gate is never closed").forget();
                self.pause().await;
                let done = self.check(&self.tables.lock(), commit);
                if done.is_ok() {
                    let mut tables = self.tables.lock();
                    self.write_head(&mut tables, commit);
                    self.write_records(&mut tables, commit);
                }
                self.gate.add_permits(1);
                return done;
            }
            _ => {
                let mut tables = self.tables.lock();
                if let Err(conflict) = self.check(&tables, commit) {
                    if self.is(Fault::RecordsDespiteConflict) {
                        self.write_records(&mut tables, commit);
                    }
                    return Err(conflict);
                }
            }
        }
        match self.fault {
            Fault::HeadBeforeRecords | Fault::HalfWhenDropped => {
                self.write_head(&mut self.tables.lock(), commit);
                self.pause().await;
                self.write_records(&mut self.tables.lock(), commit);
                return Ok(());
            }
            _ => {}
        }
        let mut tables = self.tables.lock();
        if !self.is(Fault::ChecksThenActs) {
            self.check(&tables, commit)?;
        }
        if self.is(Fault::OneRevisionForAll)
            && tables.heads.values().any(|head| head.revision > commit.head().revision)
        {
            return Err(CommitError::Conflict(Actual::Revision(commit.head().revision)));
        }
        self.write_head(&mut tables, commit);
        self.write_records(&mut tables, commit);
        if self.is(Fault::RetriesAndConflictsWithItself) && self.turn.fetch_add(1, Ordering::Relaxed) % 5 == 4
        {
            // The answer was lost, the commit is sent again, and finds itself.
            return self.check(&tables, commit);
        }
        Ok(())
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        if !(1..=limits::PAGE_ITEMS_MAX).contains(&limit) {
            return Err(StoreError::new(StoreErrorKind::Invalid, "page"));
        }
        let tables = self.tables.lock();
        let Some(log) = tables.logs.get(&self.id(chat)) else { return Ok(Vec::new()) };
        let mut from = usize::try_from(after.get()).unwrap_or(usize::MAX).min(log.len());
        if self.is(Fault::InclusiveAfter) {
            from = from.saturating_sub(1);
        }
        let limit = if self.is(Fault::EndsPagesEarly) && limit > 50 { limit / 50 } else { limit };
        let mut page: Vec<Record> = log[from..].iter().take(limit).cloned().collect();
        match self.fault {
            Fault::Descending => page.reverse(),
            Fault::EndsPagesEarly if page.len() == limit => drop(page.remove(0)),
            Fault::RecordsLag if self.turn.fetch_add(1, Ordering::Relaxed) % 4 == 3 => drop(page.pop()),
            _ => {}
        }
        let mut bytes = 0;
        let fits = |record: &Record| {
            bytes += record.body.len();
            bytes <= limits::PAGE_BYTES_MAX || self.is(Fault::NoPageBytes)
        };
        let fitting = page.iter().map(fits).take_while(|fits| *fits).count();
        if self.is(Fault::EmptyPageWhenLarge) && fitting < page.len() {
            return Ok(Vec::new());
        }
        page.truncate(fitting);
        Ok(page)
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        if !(1..=limits::PAGE_ITEMS_MAX).contains(&limit) {
            return Err(StoreError::new(StoreErrorKind::Invalid, "page"));
        }
        let tables = self.tables.lock();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let mut due: Vec<Due> = tables
            .heads
            .iter()
            .filter_map(|(&chat, head)| {
                let first = tables.first_wake.get(&chat).copied();
                let wake_at = if self.is(Fault::DueKeepsTheFirstTime) { first } else { head.wake_at }?;
                let index = head.index.clone();
                let (owner, organization) = (index.owner, index.organization);
                Some(Due { chat, wake_at, holder: head.holder, owner, organization })
            })
            .filter(|due| due.wake_at <= now || self.is(Fault::DueBeforeTime))
            .collect();
        due.sort_by_key(|due| (due.wake_at, due.chat));
        if self.is(Fault::DueUnordered) {
            due.sort_by_key(|due| due.chat);
        }
        due.retain(|due| match (self.fault, after) {
            (_, None) => true,
            (Fault::DueLosesTies, Some((wake_at, _))) => due.wake_at > wake_at,
            (_, Some(after)) => (due.wake_at, due.chat) > after,
        });
        due.truncate(limit);
        Ok(due)
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        let tables = self.tables.lock();
        let holder = |chat: &ChatId, head: &Head| match self.fault {
            Fault::HeldKeepsTheFirstHolder => tables.first_holder.get(chat).copied(),
            Fault::HeldNeedsWakeAt if head.wake_at.is_none() => None,
            _ => head.holder,
        };
        let beyond = |chat: &ChatId| match (self.fault, after) {
            (_, None) => true,
            // It skips one too many: the page after x begins behind its successor.
            (Fault::HeldInclusiveAfter, Some(after)) => {
                tables.heads.range(after..).nth(1).is_some_and(|(next, _)| chat > next)
            }
            (_, Some(after)) => *chat > after,
        };
        let held =
            tables.heads.iter().filter(|(chat, head)| holder(chat, head) == Some(session) && beyond(chat));
        Ok(held.map(|(chat, _)| *chat).take(limit).collect())
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        let max = if self.is(Fault::RevisionsAtMostAHundred) { 100 } else { limits::REVISIONS_MAX };
        if chats.len() > max {
            return Err(StoreError::new(StoreErrorKind::Invalid, "too many"));
        }
        let tables = self.tables.lock();
        let found = chats.iter().map(|&chat| tables.heads.get(&self.id(chat)).map(|head| head.revision));
        Ok(found.filter(|revision| revision.is_some() || !self.is(Fault::RevisionsSkipUnknown)).collect())
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        let mut tables = self.tables.lock();
        let next = tables.heads.range(chat..).nth(1).map(|(next, _)| *next);
        tables.heads.remove(&chat);
        if !self.is(Fault::PurgeKeepsRecords) {
            tables.logs.remove(&chat);
        }
        if !self.is(Fault::PurgeForgetsTheId) {
            tables.purged.push(chat);
        }
        if let Some(next) = next.filter(|_| self.is(Fault::PurgeTakesTheNextChatToo)) {
            tables.logs.remove(&next);
        }
        Ok(())
    }
}
