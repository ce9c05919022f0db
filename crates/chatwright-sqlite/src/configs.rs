use async_trait::async_trait;
use chatwright_core::Json;
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow};
use chatwright_core::port::{ConfigStore, ConfigWrite, ConfigWriter, StoreError};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::SqliteStore;
use crate::columns::{number, signed};
use crate::error::damaged;
use crate::writer::Weight;

/// Upholds F1–F3.
#[async_trait]
impl ConfigStore for SqliteStore {
    async fn config(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, StoreError> {
        let key = key.clone();
        self.read("reading the configuration", move |conn| row(conn, key)).await
    }

    async fn configs(
        &self,
        kind: ConfigKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ConfigRow>, StoreError> {
        StoreError::check_page(limit)?;
        let after = after.map(str::to_owned);
        self.read("listing the configuration", move |conn| rows(conn, kind, after.as_deref(), limit)).await
    }
}

/// Upholds F4–F6, durably. What a deletion removes is overwritten.
#[async_trait]
impl ConfigWriter for SqliteStore {
    async fn write_config(
        &self,
        key: &ConfigKey,
        expected: u64,
        value: Option<&Json>,
    ) -> Result<ConfigWrite, StoreError> {
        value.map_or(Ok(()), StoreError::check_config)?;
        let (key, value) = (key.clone(), value.cloned());
        let weight = value.as_ref().map_or(Weight::Purge, |value| Weight::Bytes(value.len()));
        let act = move |conn: &Connection| write(conn, &key, expected, value.as_ref());
        self.write("writing the configuration", weight, act).await
    }
}

fn row(conn: &Connection, key: ConfigKey) -> rusqlite::Result<Option<ConfigRow>> {
    let mut query = conn.prepare_cached("SELECT version, value FROM config WHERE kind = ?1 AND id = ?2")?;
    let mut rows = query.query([key.kind().as_str(), key.id()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (version, value) = (number(row, 0)?, json(row.get(1)?)?);
    Ok(Some(ConfigRow { key, version, value }))
}

/// No id comes before the empty one, and that one has to be listed too: the first page begins with it. The other
/// condition alone would be checked for every row of the kind, not looked up.
pub(crate) const LIST: &str = "SELECT version, value, id FROM config
    WHERE kind = ?1 AND id >= ifnull(?2, '') AND (?2 IS NULL OR id > ?2) ORDER BY id LIMIT ?3";

fn rows(
    conn: &Connection,
    kind: ConfigKind,
    after: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<ConfigRow>> {
    let mut query = conn.prepare_cached(LIST)?;
    let mut rows = query.query(params![kind.as_str(), after, limit as i64])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(2)?;
        let key =
            ConfigKey::new(kind, id).map_err(|_| damaged(2, "an id of the configuration is too long"))?;
        page.push(ConfigRow { key, version: number(row, 0)?, value: json(row.get(1)?)? });
    }
    Ok(page)
}

fn write(
    conn: &Connection,
    key: &ConfigKey,
    expected: u64,
    value: Option<&Json>,
) -> rusqlite::Result<ConfigWrite> {
    let (kind, id) = (key.kind().as_str(), key.id());
    let mut query = conn.prepare_cached("SELECT version FROM config WHERE kind = ?1 AND id = ?2")?;
    let actual = query.query_row([kind, id], |row| number(row, 0)).optional()?.unwrap_or(0);
    if actual != expected {
        return Ok(ConfigWrite::Conflict(actual));
    }
    let Some(value) = value else {
        conn.prepare_cached("DELETE FROM config WHERE kind = ?1 AND id = ?2")?.execute([kind, id])?;
        return Ok(ConfigWrite::Absent);
    };
    let mut next = conn.prepare_cached("UPDATE config_version SET last = last + 1 RETURNING last")?;
    let version = next.query_row([], |row| number(row, 0))?;
    let sql = "INSERT INTO config (kind, id, version, value) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, value = excluded.value";
    conn.prepare_cached(sql)?.execute(params![kind, id, signed(version)?, value.as_str()])?;
    Ok(ConfigWrite::Written(version))
}

fn json(text: String) -> rusqlite::Result<Json> {
    Json::parse(text).map_err(|_| damaged(1, "a value of the configuration is not JSON"))
}
