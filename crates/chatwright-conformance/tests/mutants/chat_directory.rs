//! Directories that are broken in one place: the one in memory, with a fault in the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chatwright_conformance::chat_directory::{CLAUSES, DirectoryStore};
use chatwright_core::head::Index;
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::{
    ChatDirectory, ChatStore, CommitError, DirectoryFilter, DirectoryPage, Due, DueAfter, Listed, StoreError,
};
use chatwright_core::{ChatId, Commit, Head, Record, Revision, Seq, SessionId, Timestamp};
use chatwright_memory::{ManualClock, MemoryStore};
use parking_lot::Mutex;

use crate::caught::{Mutant, all_are_caught_at_once};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KeepsTheFirstIndex,
    OneCommitLate,
    ListsThePurged,
    IgnoresOrganization,
    IgnoresParent,
    IgnoresStatus,
    IgnoresArchived,
    IgnoresRoots,
    IgnoresLabelValues,
    AnyCondition,
    HidesTheArchived,
    IgnoresCase,
    TrimsNames,
    LosesTies,
    Ascends,
    InclusiveAfter,
    PagesByNumber,
    AnyPage,
}

struct Broken {
    fault: Fault,
    inner: MemoryStore,
    /// What the directory knows, beside what the store knows.
    listed: Mutex<BTreeMap<ChatId, Listed>>,
}

impl Broken {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn matches(&self, filter: &DirectoryFilter, index: &Index) -> bool {
        let mut filter = filter.clone();
        let mut index = index.clone();
        match self.fault {
            Fault::IgnoresOrganization => filter.organization = None,
            Fault::IgnoresParent => filter.parent = None,
            Fault::IgnoresStatus => filter.status = None,
            Fault::IgnoresArchived => filter.archived = None,
            Fault::IgnoresRoots => filter.is_root = None,
            Fault::IgnoresLabelValues => {
                let key = filter.label.take().map(|(key, _)| key);
                if key.is_some_and(|key| index.labels.value(&key).is_none()) {
                    return false;
                }
            }
            Fault::AnyCondition if filter.owner.is_some() => {
                return filter.owner.as_ref() == Some(&index.owner);
            }
            Fault::HidesTheArchived if filter.archived.is_none() && index.archived => return false,
            Fault::IgnoresCase | Fault::TrimsNames => {
                let same = |name: &str| {
                    let name = if self.is(Fault::TrimsNames) { name.trim_end() } else { name };
                    let lower = name.to_lowercase();
                    let name = if self.is(Fault::IgnoresCase) { &lower } else { name };
                    chatwright_core::UserId::new(name).expect("no longer than before")
                };
                index.owner = same(index.owner.as_str());
                filter.owner = filter.owner.map(|owner| same(owner.as_str()));
            }
            _ => {}
        }
        filter.matches(&index)
    }

    fn beyond(&self, listed: &Listed, after: Option<(Timestamp, ChatId)>) -> bool {
        let place = (listed.index.updated, listed.chat);
        after.is_none_or(|after| match self.fault {
            Fault::LosesTies => place.0 < after.0,
            Fault::Ascends => place > after,
            Fault::InclusiveAfter => place <= after,
            _ => place < after,
        })
    }
}

#[async_trait]
impl ChatDirectory for Broken {
    async fn list(&self, filter: &DirectoryFilter, page: DirectoryPage) -> Result<Vec<Listed>, StoreError> {
        if !self.is(Fault::AnyPage) && !(1..=PAGE_ITEMS_MAX).contains(&page.limit) {
            return self.inner.list(filter, page).await;
        }
        let all = self.listed.lock();
        let mut list: Vec<Listed> =
            all.values().filter(|listed| self.matches(filter, &listed.index)).cloned().collect();
        list.sort_by_key(|listed| std::cmp::Reverse((listed.index.updated, listed.chat)));
        if self.is(Fault::Ascends) {
            list.reverse();
        }
        if self.is(Fault::PagesByNumber) {
            // The cursor is turned into the number of chats that have been shown, had nothing moved.
            let shown = page.after.map_or(0, |(_, last)| {
                all.keys()
                    .position(|chat| *chat == last)
                    .map_or(0, |_| list.iter().position(|l| l.chat == last).map_or(0, |n| n + 1))
            });
            return Ok(list.into_iter().skip(shown).take(page.limit).collect());
        }
        list.retain(|listed| self.beyond(listed, page.after));
        list.truncate(page.limit);
        Ok(list)
    }
}

#[async_trait]
impl ChatStore for Broken {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        self.inner.head(chat).await
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        let before = self.inner.head(commit.chat()).await?;
        self.inner.commit(commit).await?;
        let shown = match (self.fault, before) {
            (Fault::KeepsTheFirstIndex, Some(_)) => return Ok(()),
            (Fault::OneCommitLate, Some(before)) => before,
            _ => commit.head().clone(),
        };
        let listed = Listed { chat: commit.chat(), revision: shown.revision, index: shown.index };
        self.listed.lock().insert(commit.chat(), listed);
        Ok(())
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.inner.records(chat, after, limit).await
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.inner.due(after, limit).await
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        self.inner.held(session, after, limit).await
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        self.inner.revisions(chats).await
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        if !self.is(Fault::ListsThePurged) {
            self.listed.lock().remove(&chat);
        }
        self.inner.purge(chat).await
    }
}

fn broken(fault: Fault) -> Mutant<dyn DirectoryStore> {
    Box::new(move || {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        Arc::new(Broken { fault, inner: MemoryStore::new(clock), listed: Mutex::default() })
    })
}

const FRESH: &str = "c1_a_list_after_ok_shows_what_the_commit_says";
const PURGED: &str = "c1_a_purged_chat_is_in_no_list";
const FILTERS: &str = "c2_every_chat_that_meets_all_conditions_is_listed_and_no_other";
const EXACT: &str = "c2_conditions_compare_exactly";
const PAGES: &str = "c3_pages_of_any_size_descend_by_time_and_id";
const WALK: &str = "c3_a_chat_that_rests_is_listed_once_while_others_move";
const BOUNDS: &str = "c3_a_page_has_its_bounds";

#[test]
fn every_broken_directory_is_caught_by_the_clause_that_it_breaks() {
    let mutants = [
        (FRESH, "keeps the first index", Fault::KeepsTheFirstIndex),
        (FRESH, "is one commit late", Fault::OneCommitLate),
        (PURGED, "lists the purged", Fault::ListsThePurged),
        (FILTERS, "ignores the organization", Fault::IgnoresOrganization),
        (FILTERS, "ignores the parent", Fault::IgnoresParent),
        (FILTERS, "ignores the status", Fault::IgnoresStatus),
        (FILTERS, "ignores whether a chat is archived", Fault::IgnoresArchived),
        (FILTERS, "ignores whether a chat is a root", Fault::IgnoresRoots),
        (FILTERS, "looks at the key of a label alone", Fault::IgnoresLabelValues),
        (FILTERS, "is content with one condition", Fault::AnyCondition),
        (FILTERS, "hides the archived", Fault::HidesTheArchived),
        (EXACT, "ignores case", Fault::IgnoresCase),
        (EXACT, "trims names", Fault::TrimsNames),
        (PAGES, "loses ties between pages", Fault::LosesTies),
        (PAGES, "ascends", Fault::Ascends),
        (PAGES, "takes `after` as inclusive", Fault::InclusiveAfter),
        (WALK, "pages by number", Fault::PagesByNumber),
        (BOUNDS, "takes pages of any size", Fault::AnyPage),
    ];
    all_are_caught_at_once(
        CLAUSES,
        mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into(),
    );
}
