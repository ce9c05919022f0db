use async_trait::async_trait;
use chatwright_core::limits::PAGE_BYTES_MAX;
use chatwright_core::port::{Actual, ChatStore, CommitError, Due, DueAfter, StoreError, StoreErrorKind};
use chatwright_core::{
    ChatId, Commit, Head, Json, Kind, OrganizationId, Record, Revision, Seq, SessionId, Timestamp, UserId,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::SqliteStore;
use crate::columns::{blob, chat_id, now, number, optional_session_id, optional_time, signed};
use crate::error::damaged;
use crate::writer::Weight;

/// A position takes the low 32 bits of a record's key (see the migration).
const SEQ_MAX: u64 = u32::MAX as u64;
/// A chat's number takes the 31 bits above.
const NO_MAX: i64 = i32::MAX as i64;

/// Upholds S1–S14.
#[async_trait]
impl ChatStore for SqliteStore {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        self.read("reading a head", move |conn| head(conn, chat)).await
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        let bodies: usize = commit.records().iter().map(|record| record.body.len()).sum();
        let weight = Weight::Bytes(bodies + commit.head().state.len());
        let commit = commit.clone();
        match self.write("committing", weight, move |conn| apply(conn, &commit)).await? {
            Outcome::Applied => Ok(()),
            Outcome::Conflict(actual) => Err(CommitError::Conflict(actual)),
            Outcome::Refused(kind, cause) => Err(CommitError::Store(StoreError::new(kind, cause))),
        }
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        StoreError::check_page(limit)?;
        self.read("reading records", move |conn| records(conn, chat, after, limit)).await
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        StoreError::check_page(limit)?;
        self.read("listing due chats", move |conn| due(conn, after, limit)).await
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        StoreError::check_page(limit)?;
        self.read("listing held chats", move |conn| held(conn, session, after, limit)).await
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        StoreError::check_revisions(chats.len())?;
        let chats = chats.to_vec();
        self.read("reading revisions", move |conn| revisions(conn, &chats)).await
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        self.write("purging a chat", Weight::Purge, move |conn| purge(conn, chat)).await
    }
}

/// What became of a commit, if its transaction was committed. Whatever is not applied has written nothing.
enum Outcome {
    Applied,
    Conflict(Actual),
    Refused(StoreErrorKind, &'static str),
}

fn apply(conn: &Connection, commit: &Commit) -> rusqlite::Result<Outcome> {
    let stored = stored(conn, commit.chat())?;
    let (no, last_seq) = match (&stored, commit.expect()) {
        (Some(chat), Some(expect)) if chat.revision == expect => (Some(chat.no), chat.last_seq),
        (Some(chat), _) => return Ok(Outcome::Conflict(Actual::Revision(chat.revision))),
        (None, _) if is_purged(conn, commit.chat())? => return Ok(Outcome::Conflict(Actual::Purged)),
        (None, Some(_)) => return Ok(Outcome::Conflict(Actual::Absent)),
        (None, None) => (None, Seq::ZERO),
    };
    // A head that a caller made up could name another end of the log than the stored one.
    if commit.records().first().map(|record| record.seq) != Some(last_seq.next()) {
        return Ok(Outcome::Refused(
            StoreErrorKind::Invalid,
            "the commit does not follow the end of the log",
        ));
    }
    if commit.head().last_seq.get() > SEQ_MAX {
        return Ok(Outcome::Refused(StoreErrorKind::Full, "the chat has as many records as one can have"));
    }
    let no = match no {
        Some(no) => no,
        None => match create(conn, commit.chat())? {
            Some(no) => no,
            None => return Ok(Outcome::Refused(StoreErrorKind::Full, "there are as many chats as can be")),
        },
    };
    put_head(conn, no, commit.head())?;
    append(conn, no, commit.records())?;
    Ok(Outcome::Applied)
}

struct Stored {
    no: i64,
    revision: Revision,
    last_seq: Seq,
}

fn stored(conn: &Connection, chat: ChatId) -> rusqlite::Result<Option<Stored>> {
    let mut query = conn.prepare_cached("SELECT no, revision, last_seq FROM chat WHERE id = ?1")?;
    let read = |row: &Row<'_>| {
        let (revision, last_seq) = (Revision::new(number(row, 1)?), Seq::new(number(row, 2)?));
        Ok(Stored { no: row.get(0)?, revision, last_seq })
    };
    query.query_row([blob(chat.as_uuid())], read).optional()
}

fn is_purged(conn: &Connection, chat: ChatId) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM purged WHERE id = ?1")?.exists([blob(chat.as_uuid())])
}

/// An empty row for [`put_head`] to fill, unless all numbers are taken. The number of a purged chat may be used again:
/// it went together with its records.
fn create(conn: &Connection, chat: ChatId) -> rusqlite::Result<Option<i64>> {
    let mut last = conn.prepare_cached("SELECT ifnull(max(no), 0) FROM chat")?;
    let no = last.query_row([], |row| row.get::<_, i64>(0))? + 1;
    if no > NO_MAX {
        return Ok(None);
    }
    let sql =
        "INSERT INTO chat (no, id, revision, last_seq, owner, status, archived, updated, index_json, state)
        VALUES (?1, ?2, 0, 0, '', '', 0, 0, '', '')";
    conn.prepare_cached(sql)?.execute(params![no, blob(chat.as_uuid())])?;
    Ok(Some(no))
}

/// Replaces a head. SQLite moves an index entry whenever its columns are assigned, even with the values that they have.
/// So the columns of each index are assigned only when they change, and most heads touch no index at all.
fn put_head(conn: &Connection, no: i64, head: &Head) -> rusqlite::Result<()> {
    let index = &head.index;
    let index_json = serde_json::to_string(index)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let sql = "UPDATE chat SET revision = ?2, last_seq = ?3, state = ?4, index_json = ?5,
        organization = ?6, root = ?7, status = ?8, archived = ?9 WHERE no = ?1";
    conn.prepare_cached(sql)?.execute(params![
        no,
        signed(head.revision.get())?,
        signed(head.last_seq.get())?,
        head.state.as_str(),
        index_json,
        index.organization.as_ref().map(OrganizationId::as_str),
        index.root.map(|chat| blob(chat.as_uuid())),
        index.status.as_str(),
        index.archived,
    ])?;

    let sql = "UPDATE chat SET wake_at = ?2, holder = ?3
        WHERE no = ?1 AND (wake_at, holder) IS NOT (?2, ?3)";
    let wake_at = head.wake_at.map(Timestamp::as_millis);
    let holder = head.holder.map(|session| blob(session.as_uuid()));
    conn.prepare_cached(sql)?.execute(params![no, wake_at, holder])?;

    let sql = "UPDATE chat SET owner = ?2, parent = ?3, updated = ?4
        WHERE no = ?1 AND (owner, parent, updated) IS NOT (?2, ?3, ?4)";
    let parent = index.parent.map(|chat| blob(chat.as_uuid()));
    conn.prepare_cached(sql)?.execute(params![
        no,
        index.owner.as_str(),
        parent,
        index.updated.as_millis()
    ])?;
    Ok(())
}

fn append(conn: &Connection, no: i64, records: &[Record]) -> rusqlite::Result<()> {
    let mut insert =
        conn.prepare_cached("INSERT INTO record (id, kind, body) VALUES ((?1 << 32) | ?2, ?3, ?4)")?;
    for record in records {
        let seq = signed(record.seq.get())?;
        insert.execute(params![no, seq, record.kind.as_str(), record.body.as_str()])?;
    }
    Ok(())
}

fn head(conn: &Connection, chat: ChatId) -> rusqlite::Result<Option<Head>> {
    let sql = "SELECT revision, last_seq, wake_at, holder, index_json, state FROM chat WHERE id = ?1";
    let read = |row: &Row<'_>| {
        Ok(Head {
            revision: Revision::new(number(row, 0)?),
            last_seq: Seq::new(number(row, 1)?),
            wake_at: optional_time(row, 2)?,
            holder: optional_session_id(row, 3)?,
            index: serde_json::from_str(row.get_ref(4)?.as_str()?)
                .map_err(|_| damaged(4, "the index of a chat does not decode"))?,
            state: json(row, 5)?,
        })
    };
    conn.prepare_cached(sql)?.query_row([blob(chat.as_uuid())], read).optional()
}

/// One statement, so that chat and records are of one moment.
pub(crate) const RECORDS: &str = "SELECT record.id & 4294967295, record.kind, record.body
    FROM chat CROSS JOIN record ON record.id > (chat.no << 32) + ?2 AND record.id <= (chat.no << 32) + 4294967295
    WHERE chat.id = ?1 ORDER BY record.id LIMIT ?3";

fn records(conn: &Connection, chat: ChatId, after: Seq, limit: usize) -> rusqlite::Result<Vec<Record>> {
    let mut query = conn.prepare_cached(RECORDS)?;
    // No position is above the bound, and the sum in the statement must not overflow.
    let after = signed(after.get().min(SEQ_MAX))?;
    let mut rows = query.query(params![blob(chat.as_uuid()), after, limit as i64])?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let kind = Kind::parse(row.get_ref(1)?.as_str()?)
            .map_err(|_| damaged(1, "a record's kind is not of the form of kinds"))?;
        bytes += row.get_ref(2)?.as_str()?.len();
        if bytes > PAGE_BYTES_MAX && !page.is_empty() {
            break;
        }
        page.push(Record { seq: Seq::new(number(row, 0)?), kind, body: json(row, 2)? });
    }
    Ok(page)
}

pub(crate) const DUE: &str = concat!(
    "SELECT id, wake_at, holder, owner, organization FROM chat
    WHERE wake_at IS NOT NULL AND wake_at <= ",
    now!(),
    " AND (wake_at, id) > (?1, ?2) ORDER BY wake_at, id LIMIT ?3"
);

fn due(conn: &Connection, after: Option<DueAfter>, limit: usize) -> rusqlite::Result<Vec<Due>> {
    // The empty blob is below every id.
    let (wake_at, chat) = match after {
        Some((wake_at, chat)) => (wake_at.as_millis(), blob(chat.as_uuid()).to_vec()),
        None => (i64::MIN, Vec::new()),
    };
    let too_long = |column| move |_| damaged(column, "the id of an owner is too long");
    let read = |row: &Row<'_>| {
        let organization: Option<String> = row.get(4)?;
        Ok(Due {
            chat: chat_id(row, 0)?,
            wake_at: Timestamp::from_millis(row.get(1)?),
            holder: optional_session_id(row, 2)?,
            owner: UserId::new(row.get::<_, String>(3)?).map_err(too_long(3))?,
            organization: organization.map(OrganizationId::new).transpose().map_err(too_long(4))?,
        })
    };
    conn.prepare_cached(DUE)?.query_map(params![wake_at, chat, limit as i64], read)?.collect()
}

pub(crate) const HELD: &str = "SELECT id FROM chat WHERE holder = ?1 AND id > ?2 ORDER BY id LIMIT ?3";

fn held(
    conn: &Connection,
    session: SessionId,
    after: Option<ChatId>,
    limit: usize,
) -> rusqlite::Result<Vec<ChatId>> {
    let after = after.map_or_else(Vec::new, |chat| blob(chat.as_uuid()).to_vec());
    let mut query = conn.prepare_cached(HELD)?;
    query.query_map(params![blob(session.as_uuid()), after, limit as i64], |row| chat_id(row, 0))?.collect()
}

fn revisions(conn: &Connection, chats: &[ChatId]) -> rusqlite::Result<Vec<Option<Revision>>> {
    // One snapshot for all of them is taken once; without it, each look would lock the log anew.
    let snapshot = conn.unchecked_transaction()?;
    let find = |chat: &ChatId| Ok(stored(&snapshot, *chat)?.map(|chat| chat.revision));
    chats.iter().map(find).collect()
}

fn purge(conn: &Connection, chat: ChatId) -> rusqlite::Result<()> {
    // Removal comes first, so that the bare id finds room even in a store that is full.
    if let Some(Stored { no, .. }) = stored(conn, chat)? {
        let records = "DELETE FROM record WHERE id BETWEEN (?1 << 32) AND (?1 << 32) + 4294967295";
        conn.prepare_cached(records)?.execute([no])?;
        conn.prepare_cached("DELETE FROM chat WHERE no = ?1")?.execute([no])?;
    }
    let sql = "INSERT OR IGNORE INTO purged (id) VALUES (?1)";
    conn.prepare_cached(sql)?.execute([blob(chat.as_uuid())])?;
    Ok(())
}

fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<Json> {
    Json::parse(row.get_ref(column)?.as_str()?).map_err(|_| damaged(column, "a stored text is not JSON"))
}
