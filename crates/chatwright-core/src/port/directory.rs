use async_trait::async_trait;

use super::StoreError;
use crate::head::{Index, Status};
use crate::text::{OrganizationId, UserId};
use crate::{ChatId, Revision, Timestamp};

/// Lists chats by what their heads say. Optional; a projection of [`Head::index`](crate::Head::index) that the bundled
/// stores keep inside [`commit`](super::ChatStore::commit).
///
/// | # | promise |
/// |---|---|
/// | C1 | **Fresh.** A list that starts after a commit's `Ok` shows what it says; a purged chat is in no list. |
/// | C2 | **Filtered.** Every chat that meets all conditions is listed, and no other. |
/// | C3 | **Paged.** Descending by `(updated, chat)`; walking the pages lists a chat that does not change exactly once. |
///
/// # Cancel safety
/// Cancel-safe: it only reads.
#[async_trait]
pub trait ChatDirectory: Send + Sync + 'static {
    /// The chats that meet the filter.
    ///
    /// # Errors
    /// What the storage reports.
    async fn list(&self, filter: &DirectoryFilter, page: DirectoryPage) -> Result<Vec<Listed>, StoreError>;
}

/// Which chats to list. All conditions that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryFilter {
    /// Chats of this user.
    pub owner: Option<UserId>,
    /// Chats of this organization.
    pub organization: Option<OrganizationId>,
    /// Children of this chat.
    pub parent: Option<ChatId>,
    /// Chats that do this.
    pub status: Option<Status>,
    /// Archived chats, or those that are not.
    pub archived: Option<bool>,
    /// Chats that are the root of their family, or those that are not.
    pub is_root: Option<bool>,
    /// Chats with this label, at this value.
    pub label: Option<(Box<str>, Box<str>)>,
}

impl DirectoryFilter {
    /// Whether a chat meets the filter.
    pub fn matches(&self, index: &Index) -> bool {
        fn is<T: PartialEq>(want: Option<&T>, have: &T) -> bool {
            want.is_none_or(|want| want == have)
        }
        is(self.owner.as_ref(), &index.owner)
            && (self.organization.is_none() || self.organization == index.organization)
            && (self.parent.is_none() || self.parent == index.parent)
            && is(self.status.as_ref(), &index.status)
            && is(self.archived.as_ref(), &index.archived)
            && self.is_root.is_none_or(|root| root == index.root.is_none())
            && self.label.as_ref().is_none_or(|(key, value)| index.labels.value(key) == Some(value))
    }
}

/// Which part of the list to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryPage {
    /// The last chat of the page before.
    pub after: Option<DirectoryCursor>,
    /// Most chats of the page: 1 to [`PAGE_ITEMS_MAX`](crate::limits::PAGE_ITEMS_MAX).
    pub limit: usize,
}

/// A place in the list: when a chat was updated, and which.
pub type DirectoryCursor = (Timestamp, ChatId);

/// A chat in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The chat.
    pub chat: ChatId,
    /// Its revision.
    pub revision: Revision,
    /// What its head says.
    pub index: Index,
}
