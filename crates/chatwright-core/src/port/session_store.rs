use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::{SessionId, Timestamp};

/// Which processes are alive.
///
/// | # | promise |
/// |---|---|
/// | N1 | One row per session; rows neither mix nor depend on each other. |
/// | N2 | The store's clock decides: it sets and judges every expiry, and [`now`](Self::now) tells it. |
/// | N3 | Only [`begin`](Self::begin) creates. Renewing an unknown, expired or ended session is [`Renewed::Lost`], and changes nothing. |
/// | N4 | Ids are never used again, not even after [`forget`](Self::forget). |
/// | N5 | An expired or ended session stays listed by [`expired`](Self::expired) until it is forgotten. |
///
/// # Cancel safety
/// Every method is cancel-safe: a dropped one may or may not have been applied.
///
/// # Errors
/// What the storage reports.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Begins a session that lives for `ttl` from now, and gives the store's time. `address` is where others read its
    /// live logs, at most [`ADDRESS_BYTES_MAX`](crate::limits::ADDRESS_BYTES_MAX) bytes.
    async fn begin(
        &self,
        session: SessionId,
        ttl: Duration,
        address: Option<&str>,
    ) -> Result<Timestamp, BeginError>;

    /// Lets a live session live for `ttl` from now (N3).
    async fn renew(&self, session: SessionId, ttl: Duration) -> Result<Renewed, StoreError>;

    /// The row of a session, unless it is unknown or forgotten.
    async fn look(&self, session: SessionId) -> Result<Option<Session>, StoreError>;

    /// The store's time (N2).
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Up to `limit` sessions that are expired or ended and not forgotten, after `after`, ascending by id (N5). `limit`
    /// is 1 to [`PAGE_ITEMS_MAX`](crate::limits::PAGE_ITEMS_MAX).
    async fn expired(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<Session>, StoreError>;

    /// Ends a session. Ending an unknown or an ended one is fine and changes nothing.
    async fn end(&self, session: SessionId) -> Result<(), StoreError>;

    /// Forgets a session that is expired or ended; a live one is left alone. Only its bare id stays (N4).
    async fn forget(&self, session: SessionId) -> Result<(), StoreError>;
}

/// A session that could not begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The id has been used before (N4).
    #[error("session {0} has begun before")]
    Used(SessionId),
    /// Whether it began is unknown.
    #[error("whether the session began is unknown")]
    Store(#[from] StoreError),
}

/// The answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The session lives on.
    Live {
        /// The store's time.
        store_now: Timestamp,
    },
    /// It is unknown, expired or ended, and will not come back.
    Lost,
}

/// The row of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Where others read its live logs.
    pub address: Option<Box<str>>,
    /// Until when it lives, in store time.
    pub expires_at: Timestamp,
    /// Whether it lives: unexpired by the store's clock and not ended.
    pub live: bool,
}
