use async_trait::async_trait;

use super::StoreError;
use crate::text::{OrganizationId, UserId};
use crate::{ChatId, Commit, Head, Record, Revision, Seq, SessionId, Timestamp};

/// Where chats are kept. Seven methods, one of which changes a chat.
///
/// | # | promise |
/// |---|---|
/// | S1 | **Atomic.** Head and records of a commit become visible together or not at all. |
/// | S2 | **Conditional.** A commit is applied iff the stored revision equals [`Commit::expect`]; otherwise [`CommitError::Conflict`], and nothing is changed. |
/// | S3 | **One winner** among concurrent commits with the same `expect`. |
/// | S4 | **Durable** after `Ok`. A store without durability says so. |
/// | S5 | **Fresh.** Reads that start after an `Ok` observe it. |
/// | S6 | **Ordered.** [`records`](Self::records) ascends from `after + 1` without holes and never lags what [`head`](Self::head) has shown. A page may stop early at [`PAGE_BYTES_MAX`](crate::limits::PAGE_BYTES_MAX), but is never empty while more exist. |
/// | S7 | **Faithful.** Text comes back byte for byte, `\u0000` and duplicate JSON keys included; times to the millisecond. |
/// | S8 | **Independent.** Chats neither mix nor conflict. |
/// | S9 | **Honest.** [`CommitError::Store`] means *outcome unknown*, [`CommitError::Conflict`] means *not applied*. Adapters do not retry commits; serialisation failures are conflicts. |
/// | S10 | **Cancel-safe.** Dropping a future leaves S1 intact and the store usable. |
/// | S11 | **Due.** [`due`](Self::due) gives the chats whose `wake_at` is past *by the store's clock*, ascending by `(wake_at, chat)`. Late or stale entries are allowed, lost ones are not. |
/// | S12 | **Held.** Every chat whose head names that holder is listed, ascending by id. |
/// | S13 | **Revisions** of up to [`REVISIONS_MAX`](crate::limits::REVISIONS_MAX) chats in one call. |
/// | S14 | **Gone.** After [`purge`](Self::purge) nothing but the bare id is left, writers get [`Actual::Purged`], and the id cannot be created again. |
///
/// Reads of an unknown or a purged chat find nothing: `None`, an empty page.
///
/// # Cancel safety
/// Every method is cancel-safe (S10). A dropped [`commit`](Self::commit) may or may not have been applied.
///
/// # Errors
/// [`StoreErrorKind::Invalid`](super::StoreErrorKind::Invalid) for a page or a list over its bound; otherwise what the
/// storage reports.
#[async_trait]
pub trait ChatStore: Send + Sync + 'static {
    /// The head of a chat.
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError>;

    /// Replaces the head and appends the records iff the stored revision is the expected one (S1–S4, S9).
    async fn commit(&self, commit: &Commit) -> Result<(), CommitError>;

    /// Up to `limit` records after position `after`, ascending (S6). `limit` is 1 to
    /// [`PAGE_ITEMS_MAX`](crate::limits::PAGE_ITEMS_MAX).
    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Up to `limit` chats whose time has come, after `after` (S11). `limit` is 1 to
    /// [`PAGE_ITEMS_MAX`](crate::limits::PAGE_ITEMS_MAX).
    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError>;

    /// Up to `limit` chats that a session holds, after `after` (S12). `limit` is 1 to
    /// [`PAGE_ITEMS_MAX`](crate::limits::PAGE_ITEMS_MAX).
    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError>;

    /// The revisions of these chats in their order; `None` for an unknown or a purged one (S13).
    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError>;

    /// Removes a chat for good and keeps its bare id (S14). Purging twice, or a chat that never was, is fine.
    async fn purge(&self, chat: ChatId) -> Result<(), StoreError>;
}

/// A place in the list of due chats.
pub type DueAfter = (Timestamp, ChatId);

/// A chat whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The chat.
    pub chat: ChatId,
    /// Since when.
    pub wake_at: Timestamp,
    /// The session that holds it.
    pub holder: Option<SessionId>,
    /// The user that it belongs to.
    pub owner: UserId,
    /// The organization that it belongs to.
    pub organization: Option<OrganizationId>,
}

impl Due {
    /// The entry of a chat with this head, if it is runnable at all.
    pub fn of(chat: ChatId, head: &Head) -> Option<Self> {
        let (owner, organization) = (head.index.owner.clone(), head.index.organization.clone());
        Some(Self { chat, wake_at: head.wake_at?, holder: head.holder, owner, organization })
    }

    /// Its place in the list.
    pub fn place(&self) -> DueAfter {
        (self.wake_at, self.chat)
    }
}

/// A commit that was not answered with `Ok`.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// It was not applied: something else is stored than it expects.
    #[error("conflict: {0}")]
    Conflict(Actual),
    /// Whether it was applied is unknown. Look for its operation in the records before trying again.
    #[error("the outcome of the commit is unknown")]
    Store(#[from] StoreError),
}

/// What is stored instead of the expected revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actual {
    /// This revision.
    Revision(Revision),
    /// No such chat, and there never was one.
    Absent,
    /// The chat was purged.
    Purged,
}

impl Actual {
    /// `Ok` iff this is what the commit expects (S2).
    ///
    /// # Errors
    /// [`CommitError::Conflict`] with what is stored.
    pub fn check(self, commit: &Commit) -> Result<(), CommitError> {
        let expected = commit.expect().map_or(Self::Absent, Self::Revision);
        if self == expected { Ok(()) } else { Err(CommitError::Conflict(self)) }
    }
}

impl std::fmt::Display for Actual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Revision(revision) => write!(f, "revision {revision} is stored"),
            Self::Absent => f.write_str("there is no such chat"),
            Self::Purged => f.write_str("the chat was purged"),
        }
    }
}
