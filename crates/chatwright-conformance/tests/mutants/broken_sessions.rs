//! A session store in memory that can be broken in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::port::{BeginError, Renewed, Session, SessionStore, StoreError, StoreErrorKind};
use chatwright_core::{SessionId, Timestamp, limits};
use parking_lot::Mutex;
use tokio::time::Instant;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    EndsAll,
    RenewsAll,
    CutsAddresses,
    NoAddressBound,
    KeepsTheRefused,
    NoAddressIsEmpty,
    SetsByAClockAhead,
    AddsToTheOldExpiry,
    TellsAnOldTime,
    JudgesByAClockAhead,
    NeverExpires,
    JumpsBack,
    RenewCreates,
    RenewRevivesExpired,
    RenewRevivesEnded,
    LostChangesTheRow,
    EndCreates,
    ForgetBurnsUnknownIds,
    RenewsInTwoSteps,
    ReusesForgotten,
    ReusesEnded,
    ReusesExpired,
    OverwritesLive,
    ForgetsOnReconnecting,
    ChecksThenBegins,
    ListsOnlyTheExpired,
    ListsOnce,
    ListsTheLiving,
    ForgetsTheLiving,
    InclusiveAfter,
    Unordered,
    SkipsBetweenPages,
    AnyPage,
}

#[derive(Clone)]
struct Row {
    address: Option<Box<str>>,
    expires_at: Timestamp,
    ended: bool,
}

#[derive(Default)]
pub(crate) struct Tables {
    rows: BTreeMap<SessionId, Row>,
    begun: Vec<SessionId>,
    forgotten: BTreeSet<SessionId>,
}

pub(crate) struct BrokenSessions {
    fault: Fault,
    started: Instant,
    calls: AtomicU64,
    tables: Arc<Mutex<Tables>>,
}

impl BrokenSessions {
    /// Another connection to these tables.
    pub(crate) fn connect(fault: Fault, started: Instant, tables: &Arc<Mutex<Tables>>) -> Self {
        if fault == Fault::ForgetsOnReconnecting {
            *tables.lock() = Tables::default();
        }
        Self { fault, started, calls: AtomicU64::new(0), tables: Arc::clone(tables) }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn time(&self) -> Timestamp {
        let now = Timestamp::from_millis(1_800_000_000_000).after(self.started.elapsed());
        let back = self.is(Fault::JumpsBack) && self.calls.fetch_add(1, Ordering::Relaxed) % 16 == 15;
        if back { now.before(Duration::from_millis(500)) } else { now }
    }

    fn expiry(&self, ttl: Duration) -> Timestamp {
        let now = if self.is(Fault::SetsByAClockAhead) { self.time().after(AHEAD) } else { self.time() };
        now.after(ttl)
    }

    fn live(&self, row: &Row) -> bool {
        let now = if self.is(Fault::JudgesByAClockAhead) { self.time().after(AHEAD) } else { self.time() };
        !row.ended && (now < row.expires_at || self.is(Fault::NeverExpires))
    }

    fn session(&self, id: SessionId, row: &Row) -> Session {
        let address = match self.fault {
            Fault::NoAddressIsEmpty => Some(row.address.clone().unwrap_or_default()),
            Fault::CutsAddresses => row.address.as_deref().map(|text| text.chars().take(200).collect()),
            _ => row.address.clone(),
        };
        Session { id, address, expires_at: row.expires_at, live: self.live(row) }
    }

    fn is_used(&self, tables: &Tables, id: SessionId) -> bool {
        match tables.rows.get(&id) {
            Some(row) if row.ended => !self.is(Fault::ReusesEnded),
            Some(row) if !self.live(row) => !self.is(Fault::ReusesExpired),
            Some(_) => !self.is(Fault::OverwritesLive),
            None => tables.forgotten.contains(&id) && !self.is(Fault::ReusesForgotten),
        }
    }
}

const AHEAD: Duration = Duration::from_secs(7_200);

#[async_trait]
impl SessionStore for BrokenSessions {
    async fn begin(
        &self,
        id: SessionId,
        ttl: Duration,
        address: Option<&str>,
    ) -> Result<Timestamp, BeginError> {
        let now = self.time();
        let too_large =
            address.map_or(0, str::len) > limits::ADDRESS_BYTES_MAX && !self.is(Fault::NoAddressBound);
        if too_large && !self.is(Fault::KeepsTheRefused) {
            return Err(StoreError::new(StoreErrorKind::Invalid, "address").into());
        }
        if self.is_used(&self.tables.lock(), id) {
            return Err(BeginError::Used(id));
        }
        if self.is(Fault::ChecksThenBegins) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut tables = self.tables.lock();
        if !self.is(Fault::ChecksThenBegins) && self.is_used(&tables, id) {
            return Err(BeginError::Used(id));
        }
        let row = Row { address: address.map(Box::from), expires_at: self.expiry(ttl), ended: false };
        tables.rows.insert(id, row);
        tables.begun.push(id);
        if too_large {
            return Err(StoreError::new(StoreErrorKind::Invalid, "address").into());
        }
        Ok(now)
    }

    async fn renew(&self, id: SessionId, ttl: Duration) -> Result<Renewed, StoreError> {
        let store_now = self.time();
        if self.is(Fault::RenewsInTwoSteps) {
            let read = self.tables.lock().rows.get(&id).cloned();
            let Some(mut row) = read.filter(|row| self.live(row)) else { return Ok(Renewed::Lost) };
            tokio::time::sleep(Duration::from_millis(1)).await;
            row.expires_at = self.expiry(ttl);
            self.tables.lock().rows.insert(id, row);
            return Ok(Renewed::Live { store_now });
        }
        let expires_at = self.expiry(ttl);
        let mut tables = self.tables.lock();
        if self.is(Fault::RenewCreates) && !tables.rows.contains_key(&id) {
            tables.rows.insert(id, Row { address: None, expires_at, ended: false });
        }
        if self.is(Fault::RenewsAll) {
            tables.rows.values_mut().for_each(|row| row.expires_at = expires_at);
        }
        let Some(row) = tables.rows.get_mut(&id) else { return Ok(Renewed::Lost) };
        let revives = match self.fault {
            Fault::RenewRevivesExpired => !row.ended,
            Fault::RenewRevivesEnded => row.ended,
            _ => false,
        };
        let lives = self.live(row) || revives;
        if lives || self.is(Fault::LostChangesTheRow) {
            let adds = self.is(Fault::AddsToTheOldExpiry);
            row.expires_at = if adds { row.expires_at.after(ttl) } else { expires_at };
        }
        row.ended = row.ended && !revives;
        let told = if self.is(Fault::TellsAnOldTime) {
            store_now.before(Duration::from_secs(60))
        } else {
            store_now
        };
        Ok(if lives { Renewed::Live { store_now: told } } else { Renewed::Lost })
    }

    async fn look(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.tables.lock().rows.get(&id).map(|row| self.session(id, row)))
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.time())
    }

    async fn expired(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<Session>, StoreError> {
        if !(1..=limits::PAGE_ITEMS_MAX).contains(&limit) && !self.is(Fault::AnyPage) {
            return Err(StoreError::new(StoreErrorKind::Invalid, "page"));
        }
        let mut tables = self.tables.lock();
        let listed = |id: &&SessionId| {
            let row = &tables.rows[*id];
            let dead = !(self.live(row) || row.ended && self.is(Fault::ListsOnlyTheExpired));
            let beyond = after.is_none_or(|after| {
                **id > after || self.is(Fault::InclusiveAfter) && limit > 1 && **id == after
            });
            (dead || self.is(Fault::ListsTheLiving)) && beyond
        };
        let begun = tables.begun.iter().filter(|id| tables.rows.contains_key(*id)).filter(listed);
        let mut ids: Vec<SessionId> = begun.copied().collect();
        if !self.is(Fault::Unordered) {
            ids.sort_unstable();
        }
        if self.is(Fault::SkipsBetweenPages) && ids.len() > limit {
            ids.remove(limit - 1);
        }
        ids.truncate(limit);
        let page = ids.iter().map(|id| self.session(*id, &tables.rows[id])).collect();
        if self.is(Fault::ListsOnce) {
            ids.iter().for_each(|id| drop(tables.rows.remove(id)));
        }
        Ok(page)
    }

    async fn end(&self, id: SessionId) -> Result<(), StoreError> {
        let mut tables = self.tables.lock();
        if self.is(Fault::EndCreates) && !tables.rows.contains_key(&id) {
            tables.rows.insert(id, Row { address: None, expires_at: self.time(), ended: true });
        }
        for (other, row) in &mut tables.rows {
            row.ended |= *other == id || self.is(Fault::EndsAll);
        }
        Ok(())
    }

    async fn forget(&self, id: SessionId) -> Result<(), StoreError> {
        let mut tables = self.tables.lock();
        let goes =
            tables.rows.get(&id).is_some_and(|row| !self.live(row) || self.is(Fault::ForgetsTheLiving));
        if goes || self.is(Fault::ForgetBurnsUnknownIds) && !tables.rows.contains_key(&id) {
            tables.rows.remove(&id);
            tables.forgotten.insert(id);
        }
        Ok(())
    }
}
