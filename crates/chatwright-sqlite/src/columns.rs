//! How values of the domain look in columns.

use chatwright_core::{ChatId, SessionId, Timestamp, Uuid};
use rusqlite::Row;

/// The store's time in milliseconds: the system's clock, which SQLite reads once for each execution of a statement.
macro_rules! now {
    () => {
        "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)"
    };
}
pub(crate) use now;

/// An id as a blob. Blobs compare like ids.
pub(crate) fn blob(id: &Uuid) -> [u8; 16] {
    *id.as_bytes()
}

pub(crate) fn chat_id(row: &Row<'_>, column: usize) -> rusqlite::Result<ChatId> {
    row.get(column).map(|bytes| ChatId::from_uuid(Uuid::from_bytes(bytes)))
}

pub(crate) fn session_id(row: &Row<'_>, column: usize) -> rusqlite::Result<SessionId> {
    row.get(column).map(|bytes| SessionId::from_uuid(Uuid::from_bytes(bytes)))
}

pub(crate) fn optional_session_id(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<SessionId>> {
    let bytes: Option<[u8; 16]> = row.get(column)?;
    Ok(bytes.map(|bytes| SessionId::from_uuid(Uuid::from_bytes(bytes))))
}

pub(crate) fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let millis: Option<i64> = row.get(column)?;
    Ok(millis.map(Timestamp::from_millis))
}

/// A counter. Columns are signed.
pub(crate) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// A counter for a column.
pub(crate) fn signed(value: u64) -> rusqlite::Result<i64> {
    i64::try_from(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}
