use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::limits::ADDRESS_BYTES_MAX;
use chatwright_core::port::{BeginError, Renewed, Session, SessionStore, StoreError, StoreErrorKind};
use chatwright_core::{SessionId, Timestamp, TooLarge};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::SqliteStore;
use crate::columns::{blob, now, session_id};
use crate::writer::Weight;

/// What a session brings, roughly.
const WEIGHT: Weight = Weight::Bytes(ADDRESS_BYTES_MAX);

/// Upholds N1–N5. The store's clock is the system's.
#[async_trait]
impl SessionStore for SqliteStore {
    async fn begin(
        &self,
        session: SessionId,
        ttl: Duration,
        address: Option<&str>,
    ) -> Result<Timestamp, BeginError> {
        if let Some(address) = address {
            TooLarge::check_bytes("session address", address.len(), ADDRESS_BYTES_MAX)
                .map_err(|error| StoreError::new(StoreErrorKind::Invalid, error.to_string()))?;
        }
        let address = address.map(str::to_owned);
        let act = move |conn: &Connection| begin(conn, session, ttl, address.as_deref());
        self.write("beginning a session", WEIGHT, act).await?.ok_or(BeginError::Used(session))
    }

    async fn renew(&self, session: SessionId, ttl: Duration) -> Result<Renewed, StoreError> {
        self.write("renewing a session", WEIGHT, move |conn| renew(conn, session, ttl)).await
    }

    async fn look(&self, session: SessionId) -> Result<Option<Session>, StoreError> {
        self.read("reading a session", move |conn| look(conn, session)).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.read("reading the clock", store_now).await
    }

    async fn expired(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<Session>, StoreError> {
        StoreError::check_page(limit)?;
        self.read("listing expired sessions", move |conn| expired(conn, after, limit)).await
    }

    async fn end(&self, session: SessionId) -> Result<(), StoreError> {
        self.write("ending a session", WEIGHT, move |conn| end(conn, session)).await
    }

    async fn forget(&self, session: SessionId) -> Result<(), StoreError> {
        self.write("forgetting a session", WEIGHT, move |conn| forget(conn, session)).await
    }
}

/// The store's time, unless the id was used before.
fn begin(
    conn: &Connection,
    session: SessionId,
    ttl: Duration,
    address: Option<&str>,
) -> rusqlite::Result<Option<Timestamp>> {
    let now = store_now(conn)?;
    let sql = "INSERT OR IGNORE INTO session (id, address, expires_at) VALUES (?1, ?2, ?3)";
    let row = params![blob(session.as_uuid()), address, now.after(ttl).as_millis()];
    let count = conn.prepare_cached(sql)?.execute(row)?;
    Ok((count == 1).then_some(now))
}

fn renew(conn: &Connection, session: SessionId, ttl: Duration) -> rusqlite::Result<Renewed> {
    let now = store_now(conn)?;
    let sql = "UPDATE session SET expires_at = ?2 WHERE id = ?1 AND NOT ended AND expires_at > ?3";
    let row = params![blob(session.as_uuid()), now.after(ttl).as_millis(), now.as_millis()];
    let count = conn.prepare_cached(sql)?.execute(row)?;
    Ok(if count == 1 { Renewed::Live { store_now: now } } else { Renewed::Lost })
}

fn look(conn: &Connection, session: SessionId) -> rusqlite::Result<Option<Session>> {
    let sql = concat!(
        "SELECT id, address, expires_at, NOT ended AND expires_at > ",
        now!(),
        " FROM session WHERE id = ?1 AND expires_at IS NOT NULL"
    );
    conn.prepare_cached(sql)?.query_row([blob(session.as_uuid())], read).optional()
}

fn expired(conn: &Connection, after: Option<SessionId>, limit: usize) -> rusqlite::Result<Vec<Session>> {
    let sql = concat!(
        "SELECT id, address, expires_at, FALSE FROM session
        WHERE id > ?1 AND expires_at IS NOT NULL AND (ended OR expires_at <= ",
        now!(),
        ") ORDER BY id LIMIT ?2"
    );
    let after = after.map_or_else(Vec::new, |session| blob(session.as_uuid()).to_vec());
    conn.prepare_cached(sql)?.query_map(params![after, limit as i64], read)?.collect()
}

fn end(conn: &Connection, session: SessionId) -> rusqlite::Result<()> {
    let sql = "UPDATE session SET ended = TRUE WHERE id = ?1 AND NOT ended";
    conn.prepare_cached(sql)?.execute([blob(session.as_uuid())]).map(drop)
}

/// Keeps the bare id, for it is never used again (N4).
fn forget(conn: &Connection, session: SessionId) -> rusqlite::Result<()> {
    let sql = concat!(
        "UPDATE session SET address = NULL, expires_at = NULL, ended = TRUE
        WHERE id = ?1 AND expires_at IS NOT NULL AND (ended OR expires_at <= ",
        now!(),
        ")"
    );
    conn.prepare_cached(sql)?.execute([blob(session.as_uuid())]).map(drop)
}

fn store_now(conn: &Connection) -> rusqlite::Result<Timestamp> {
    let mut query = conn.prepare_cached(concat!("SELECT ", now!()))?;
    query.query_row([], |row| row.get(0).map(Timestamp::from_millis))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Session> {
    let address: Option<String> = row.get(1)?;
    Ok(Session {
        id: session_id(row, 0)?,
        address: address.map(Into::into),
        expires_at: Timestamp::from_millis(row.get(2)?),
        live: row.get(3)?,
    })
}
