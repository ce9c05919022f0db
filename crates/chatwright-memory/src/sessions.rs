use std::collections::{BTreeMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::port::{BeginError, Clock, Renewed, Session, SessionStore, StoreError, StoreErrorKind};
use chatwright_core::{SessionId, Timestamp, TooLarge, limits};
use parking_lot::Mutex;

use crate::MemoryStore;

/// Sessions in memory. Clones share them.
#[derive(Clone)]
pub struct MemorySessions {
    clock: Arc<dyn Clock>,
    tables: Arc<Mutex<Tables>>,
}

struct Tables {
    /// The latest time told: the store's clock stands still while the given one is behind it.
    now: Timestamp,
    rows: BTreeMap<SessionId, Row>,
    forgotten: HashSet<SessionId>,
}

struct Row {
    address: Option<Box<str>>,
    expires_at: Timestamp,
    ended: bool,
}

impl MemorySessions {
    /// No sessions. The wall time of `clock` is the store's clock (N2), except that it never goes backwards.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let tables = Tables { now: clock.now(), rows: BTreeMap::new(), forgotten: HashSet::new() };
        Self { clock, tables: Arc::new(Mutex::new(tables)) }
    }

    /// Runs `act` at the store's time. It cannot be cancelled halfway.
    fn at_now<T>(&self, act: impl FnOnce(&mut Tables, Timestamp) -> T) -> T {
        let mut tables = self.tables.lock();
        tables.now = tables.now.max(self.clock.now());
        let now = tables.now;
        act(&mut tables, now)
    }
}

#[async_trait]
impl SessionStore for MemorySessions {
    async fn begin(
        &self,
        session: SessionId,
        ttl: Duration,
        address: Option<&str>,
    ) -> Result<Timestamp, BeginError> {
        let bytes = address.map_or(0, str::len);
        TooLarge::check_bytes("address", bytes, limits::ADDRESS_BYTES_MAX)
            .map_err(|error| invalid(&error))?;
        self.at_now(|tables, now| {
            if tables.rows.contains_key(&session) || tables.forgotten.contains(&session) {
                return Err(BeginError::Used(session));
            }
            let row = Row { address: address.map(Box::from), expires_at: now.after(ttl), ended: false };
            tables.rows.insert(session, row);
            Ok(now)
        })
    }

    async fn renew(&self, session: SessionId, ttl: Duration) -> Result<Renewed, StoreError> {
        Ok(self.at_now(|tables, now| match tables.rows.get_mut(&session) {
            Some(row) if row.is_live(now) => {
                row.expires_at = now.after(ttl);
                Renewed::Live { store_now: now }
            }
            _ => Renewed::Lost,
        }))
    }

    async fn look(&self, session: SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.at_now(|tables, now| tables.rows.get(&session).map(|row| row.session(session, now))))
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.at_now(|_, now| now))
    }

    async fn expired(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<Session>, StoreError> {
        if !(1..=limits::PAGE_ITEMS_MAX).contains(&limit) {
            return Err(invalid(&format!(
                "a page of {limit} sessions: 1 to {} are allowed",
                limits::PAGE_ITEMS_MAX
            )));
        }
        let from = after.map_or(Unbounded, Excluded);
        Ok(self.at_now(|tables, now| {
            let rows = tables.rows.range((from, Unbounded)).map(|(id, row)| row.session(*id, now));
            rows.filter(|session| !session.live).take(limit).collect()
        }))
    }

    async fn end(&self, session: SessionId) -> Result<(), StoreError> {
        self.at_now(|tables, _| {
            if let Some(row) = tables.rows.get_mut(&session) {
                row.ended = true;
            }
        });
        Ok(())
    }

    async fn forget(&self, session: SessionId) -> Result<(), StoreError> {
        self.at_now(|tables, now| {
            if tables.rows.get(&session).is_some_and(|row| !row.is_live(now)) {
                tables.rows.remove(&session);
                // The bare id stays, so that it is never used again (N4).
                tables.forgotten.insert(session);
            }
        });
        Ok(())
    }
}

impl Row {
    fn is_live(&self, now: Timestamp) -> bool {
        !self.ended && now < self.expires_at
    }

    fn session(&self, id: SessionId, now: Timestamp) -> Session {
        Session { id, address: self.address.clone(), expires_at: self.expires_at, live: self.is_live(now) }
    }
}

fn invalid(what: &impl ToString) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, what.to_string())
}

/// The sessions beside the chats, so that one store serves a process.
#[async_trait]
impl SessionStore for MemoryStore {
    async fn begin(
        &self,
        session: SessionId,
        ttl: Duration,
        address: Option<&str>,
    ) -> Result<Timestamp, BeginError> {
        self.sessions.begin(session, ttl, address).await
    }

    async fn renew(&self, session: SessionId, ttl: Duration) -> Result<Renewed, StoreError> {
        self.sessions.renew(session, ttl).await
    }

    async fn look(&self, session: SessionId) -> Result<Option<Session>, StoreError> {
        self.sessions.look(session).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.sessions.now().await
    }

    async fn expired(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<Session>, StoreError> {
        self.sessions.expired(after, limit).await
    }

    async fn end(&self, session: SessionId) -> Result<(), StoreError> {
        self.sessions.end(session).await
    }

    async fn forget(&self, session: SessionId) -> Result<(), StoreError> {
        self.sessions.forget(session).await
    }
}

#[cfg(test)]
mod tests {
    use chatwright_core::Uuid;
    use futures::FutureExt;

    use super::*;
    use crate::ManualClock;

    const ID: SessionId = SessionId::from_uuid(Uuid::from_u128(1));
    const TTL: Duration = Duration::from_millis(10);

    fn millis(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn ready<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("nothing to wait for")
    }

    fn fixture() -> (Arc<ManualClock>, MemorySessions) {
        let clock = Arc::new(ManualClock::new(millis(1_000)));
        (Arc::clone(&clock), MemorySessions::new(clock))
    }

    #[test]
    fn a_clock_that_is_set_back_neither_turns_back_the_store_nor_revives_a_session() {
        let (clock, store) = fixture();
        assert_eq!(ready(store.begin(ID, TTL, None)).expect("a new id"), millis(1_000));
        clock.advance(TTL);
        assert_eq!(
            ready(store.renew(ID, TTL)).expect("answers"),
            Renewed::Lost,
            "it died at its last instant"
        );
        clock.set(millis(0));
        assert_eq!(ready(store.now()).expect("answers"), millis(1_010));
        assert_eq!(ready(store.renew(ID, TTL)).expect("answers"), Renewed::Lost);
        let row = Session { id: ID, address: None, expires_at: millis(1_010), live: false };
        assert_eq!(ready(store.expired(None, 1)).expect("answers"), [row]);
    }

    #[test]
    fn a_session_that_has_one_millisecond_left_is_renewed_from_now() {
        let (clock, store) = fixture();
        ready(store.begin(ID, TTL, Some("ws://a"))).expect("a new id");
        clock.advance(TTL - Duration::from_millis(1));
        let renewed = ready(store.renew(ID, TTL)).expect("answers");
        assert_eq!(renewed, Renewed::Live { store_now: millis(1_009) });
        let row = Session { id: ID, address: Some("ws://a".into()), expires_at: millis(1_019), live: true };
        assert_eq!(ready(store.look(ID)).expect("answers"), Some(row));
    }

    #[test]
    fn bounds_are_checked() {
        let (_, store) = fixture();
        let address = "a".repeat(limits::ADDRESS_BYTES_MAX + 1);
        let refusal = ready(store.begin(ID, TTL, Some(&address))).expect_err("too large");
        assert!(matches!(refusal, BeginError::Store(error) if error.kind() == StoreErrorKind::Invalid));
        for limit in [0, limits::PAGE_ITEMS_MAX + 1] {
            let refusal = ready(store.expired(None, limit)).expect_err("not a page");
            assert_eq!(refusal.kind(), StoreErrorKind::Invalid);
        }
        ready(store.begin(ID, TTL, Some(&address[1..]))).expect("the refused one left nothing");
    }
}
