//! Chats with an index of their own.

use chatwright_core::head::Index;
use chatwright_core::port::{DirectoryFilter, DirectoryPage, Ids, Listed};
use chatwright_core::{ChatId, Commit, Draft, HeadDraft, Json, OpId, OrganizationId, Timestamp, UserId};

use super::DirectoryStore;
use crate::Subject;

pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

impl Subject<dyn DirectoryStore> {
    /// A user that nobody else is.
    pub(super) fn user(&self) -> UserId {
        UserId::new(format!("kit {}", self.ids.uuid().simple())).expect("a short id")
    }

    pub(super) fn organization(&self) -> OrganizationId {
        OrganizationId::new(format!("kit {}", self.ids.uuid().simple())).expect("a short id")
    }

    pub(super) fn chat(&self) -> ChatId {
        ChatId::mint(&self.ids)
    }

    /// Creates a chat with this index, or changes it.
    pub(super) async fn write(
        &self,
        store: &dyn DirectoryStore,
        chat: ChatId,
        index: Index,
        clause: &str,
    ) -> Listed {
        let last = store.head(chat).await.unwrap_or_else(|error| panic!("{clause}: a head: {error}"));
        let record =
            Draft::raw("note.kit/1", Some(OpId::mint(&self.ids)), at(0), &()).expect("a small record");
        let head =
            HeadDraft::from_json(index.clone(), Json::parse("{}").expect("JSON")).expect("a small head");
        let commit = match &last {
            None => Commit::create(chat, head, vec![record]),
            Some(last) => Commit::next(chat, last, head, vec![record]),
        };
        let commit = commit.expect("a valid commit");
        store.commit(&commit).await.unwrap_or_else(|error| panic!("{clause}: a commit is refused: {error}"));
        Listed { chat, revision: commit.head().revision, index }
    }
}

/// The whole list, in pages of `limit`; it must descend.
pub(super) async fn list(
    store: &dyn DirectoryStore,
    filter: &DirectoryFilter,
    limit: usize,
    clause: &str,
) -> Vec<Listed> {
    let mut list: Vec<Listed> = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(filter, DirectoryPage { after, limit }).await;
        let page = page.unwrap_or_else(|error| panic!("{clause}: a list: {error}"));
        assert!(page.len() <= limit, "{clause}: a page of {limit} has {}", page.len());
        let end = page.is_empty();
        for listed in page {
            let place = (listed.index.updated, listed.chat);
            assert!(
                after.is_none_or(|after| place < after),
                "{clause}: a list does not descend by (updated, chat)"
            );
            after = Some(place);
            list.push(listed);
        }
        if end {
            return list;
        }
    }
}

/// The order of lists.
pub(super) fn sorted(mut list: Vec<Listed>) -> Vec<Listed> {
    list.sort_unstable_by_key(|listed| std::cmp::Reverse((listed.index.updated, listed.chat)));
    list
}
