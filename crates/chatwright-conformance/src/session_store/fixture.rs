//! Sessions for the clauses.

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::port::{BeginError, Renewed, Session, SessionStore, StoreError};
use chatwright_core::{SessionId, Timestamp, Uuid};
use tokio::time::sleep;

use crate::Subject;
use crate::wait::within;

pub(super) const HOUR: Duration = Duration::from_secs(3_600);
/// So short that a test waits for its end.
pub(super) const SHORT: Duration = Duration::from_millis(2);

/// A connection whose every unexpected answer is a panic that names the clause.
#[derive(Clone)]
pub(super) struct Sessions {
    pub clause: &'static str,
    pub store: Arc<dyn SessionStore>,
}

impl Subject<dyn SessionStore> {
    pub(super) async fn sessions(&self, clause: &'static str) -> Sessions {
        Sessions { clause, store: self.connect().await }
    }

    /// A new connection to what the old one left, unless nothing is left.
    pub(super) async fn reconnect(&self, old: Sessions) -> Sessions {
        if self.is_volatile() {
            return old;
        }
        let clause = old.clause;
        drop(old);
        self.sessions(clause).await
    }

    pub(super) fn session(&self) -> SessionId {
        SessionId::mint(&self.ids)
    }

    /// Up to 15 ids, ascending, among which a shared database has no other.
    pub(super) fn neighbours(&self, count: u128) -> Vec<SessionId> {
        let base = self.session().as_uuid().as_u128() & !0xff;
        (1..=count).map(|n| SessionId::from_uuid(Uuid::from_u128(base + n * 16))).collect()
    }
}

impl Sessions {
    fn answer<T>(&self, answer: Result<T, StoreError>) -> T {
        answer.unwrap_or_else(|error| panic!("{}: the store does not answer: {error}", self.clause))
    }

    pub(super) async fn begin(&self, id: SessionId, ttl: Duration, address: Option<&str>) -> Timestamp {
        let begun = self.store.begin(id, ttl, address).await;
        begun.unwrap_or_else(|error| panic!("{}: a new session is refused: {error}", self.clause))
    }

    pub(super) async fn is_used(&self, id: SessionId) {
        match self.store.begin(id, HOUR, None).await {
            Err(BeginError::Used(used)) => assert_eq!(used, id, "{}: another id is refused", self.clause),
            Err(error) => panic!("{}: a used id is refused with another error: {error}", self.clause),
            Ok(_) => panic!("{}: a used id begins again", self.clause),
        }
    }

    pub(super) async fn renew(&self, id: SessionId, ttl: Duration) -> Renewed {
        self.answer(self.store.renew(id, ttl).await)
    }

    pub(super) async fn renew_live(&self, id: SessionId, ttl: Duration) -> Timestamp {
        match self.renew(id, ttl).await {
            Renewed::Live { store_now } => store_now,
            Renewed::Lost => panic!("{}: a live session is lost", self.clause),
        }
    }

    pub(super) async fn look(&self, id: SessionId) -> Option<Session> {
        self.answer(self.store.look(id).await)
    }

    pub(super) async fn row(&self, id: SessionId) -> Session {
        let row = self.look(id).await;
        row.unwrap_or_else(|| panic!("{}: a session has no row", self.clause))
    }

    pub(super) async fn now(&self) -> Timestamp {
        self.answer(self.store.now().await)
    }

    pub(super) async fn end(&self, id: SessionId) {
        self.answer(self.store.end(id).await);
    }

    pub(super) async fn forget(&self, id: SessionId) {
        self.answer(self.store.forget(id).await);
    }

    pub(super) async fn expired(&self, after: Option<SessionId>, limit: usize) -> Vec<Session> {
        let page = self.answer(self.store.expired(after, limit).await);
        assert!(page.len() <= limit, "{}: a page of {limit} has {}", self.clause, page.len());
        page
    }

    /// A session whose time is up.
    pub(super) async fn begin_expired(&self, id: SessionId) {
        self.begin(id, SHORT, Some("ws://gone")).await;
        let dies = async {
            while self.row(id).await.live {
                sleep(Duration::from_millis(1)).await;
            }
        };
        within(self.clause, "a short session does not die (does the store's clock run?)", dies).await;
    }

    /// Leaves nothing in the lists of a shared database.
    pub(super) async fn clear(&self, ids: &[SessionId]) {
        for &id in ids {
            self.end(id).await;
            self.forget(id).await;
        }
    }
}
