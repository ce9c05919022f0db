use std::fmt;

use chatwright_core::ChatId;
use rusqlite::Connection;

use crate::columns::chat_id;

/// Most findings of one check.
const FINDINGS_MAX: usize = 100;

/// Damage that [`SqliteStore::check`](crate::SqliteStore::check) found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The file is not a sound database. SQLite says where.
    File(Box<str>),
    /// The records of a chat are not 1, 2, 3 … up to the end that its head names.
    Log(ChatId),
    /// A chat was purged and is still there.
    Purged(ChatId),
    /// So many records belong to no chat.
    Orphans(u64),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(place) => write!(f, "the file is damaged: {place}"),
            Self::Log(chat) => {
                write!(f, "the log of chat {chat} has a hole or another end than its head says")
            }
            Self::Purged(chat) => write!(f, "chat {chat} was purged and is still there"),
            Self::Orphans(count) => write!(f, "{count} records belong to no chat"),
        }
    }
}

pub(crate) fn check(conn: &Connection) -> rusqlite::Result<Vec<Damage>> {
    // All answers are of one moment.
    let conn = conn.unchecked_transaction()?;
    let mut found = file(&conn)?;
    if found.is_empty() {
        found.extend(chats(&conn, LOGS)?.into_iter().map(Damage::Log));
        found.extend(
            chats(&conn, "SELECT id FROM chat WHERE id IN (SELECT id FROM purged)")?
                .into_iter()
                .map(Damage::Purged),
        );
        let count: i64 = conn.query_row(ORPHANS, [], |row| row.get(0))?;
        found.extend(u64::try_from(count).ok().filter(|count| *count > 0).map(Damage::Orphans));
    }
    found.truncate(FINDINGS_MAX);
    Ok(found)
}

fn file(conn: &Connection) -> rusqlite::Result<Vec<Damage>> {
    let mut query = conn.prepare("PRAGMA quick_check(100)")?;
    let places: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(places.into_iter().filter(|place| place != "ok").map(|place| Damage::File(place.into())).collect())
}

/// Keys are unique, so a log from 1 to its end with as many records as that has no hole.
const LOGS: &str = "SELECT chat.id FROM chat
    LEFT JOIN record ON record.id BETWEEN (chat.no << 32) AND (chat.no << 32) + 4294967295
    GROUP BY chat.no
    HAVING (count(record.id), ifnull(min(record.id & 4294967295), 1), ifnull(max(record.id & 4294967295), 0))
        IS NOT (last_seq, 1, last_seq)";

const ORPHANS: &str =
    "SELECT count(*) FROM record WHERE NOT EXISTS (SELECT 1 FROM chat WHERE chat.no = record.id >> 32)";

fn chats(conn: &Connection, sql: &str) -> rusqlite::Result<Vec<ChatId>> {
    conn.prepare(sql)?.query_map([], |row| chat_id(row, 0))?.take(FINDINGS_MAX).collect()
}
