use async_trait::async_trait;
use chatwright_core::debug::{
    Change, ContentHash, DebugDelete, DebugRun, DebugStatus, DebugStep, DebugWrite, DebugWritten, Detail,
    RunChange, RunKind, StepChange, Swept,
};
use chatwright_core::limits::PAGE_BYTES_MAX;
use chatwright_core::model::ModelId;
use chatwright_core::port::{DebugStore, StoreError};
use chatwright_core::{ChatId, Json, RunId, Seq, StepId, Timestamp, UserId, Uuid};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use crate::SqliteStore;
use crate::columns::{blob, chat_id, number, optional_time, signed};
use crate::error::damaged;
use crate::writer::Weight;

/// Upholds D1–D15. A loss of power may take the last writes, a killed process loses none (D10). What a deletion removes is
/// overwritten.
#[async_trait]
impl DebugStore for SqliteStore {
    async fn write(&self, writes: &[DebugWrite]) -> Result<Vec<DebugWritten>, StoreError> {
        StoreError::check_debug_writes(writes)?;
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let (writes, bytes) = (writes.to_vec(), writes.iter().map(DebugWrite::bytes).sum());
        let act = move |conn: &Connection| writes.iter().map(|write| written(conn, write)).collect();
        self.0.debug.write("writing debug rows", bytes, act).await
    }

    async fn runs(
        &self,
        chat: ChatId,
        before: Option<(Timestamp, RunId)>,
        limit: usize,
    ) -> Result<Vec<DebugRun>, StoreError> {
        StoreError::check_page(limit)?;
        let look = move |conn: &Connection| runs(conn, chat, before, limit);
        self.0.debug.read("listing debug runs", Vec::new(), look).await
    }

    async fn run(&self, chat: ChatId, run: RunId) -> Result<Option<DebugRun>, StoreError> {
        let look = move |conn: &Connection| Ok(stored_run(conn, chat, run)?.map(|(_, run)| run));
        self.0.debug.read("reading a debug run", None, look).await
    }

    async fn steps(
        &self,
        chat: ChatId,
        run: RunId,
        after: u32,
        limit: usize,
        detail: Detail,
    ) -> Result<Vec<DebugStep>, StoreError> {
        StoreError::check_page(limit)?;
        let look = move |conn: &Connection| steps(conn, chat, run, after, limit, detail);
        self.0.debug.read("listing debug steps", Vec::new(), look).await
    }

    async fn contents(
        &self,
        chat: ChatId,
        run: RunId,
        hashes: &[ContentHash],
    ) -> Result<Vec<Option<Box<[u8]>>>, StoreError> {
        StoreError::check_debug_contents(hashes.len())?;
        let (hashes, absent) = (hashes.to_vec(), vec![None; hashes.len()]);
        let look = move |conn: &Connection| contents(conn, chat, run, &hashes);
        self.0.debug.read("reading debug contents", absent, look).await
    }

    async fn sweep(&self, now: Timestamp, before: Timestamp, limit: usize) -> Result<Swept, StoreError> {
        StoreError::check_page(limit)?;
        let act = move |conn: &Connection| sweep(conn, now, before, limit);
        self.0.debug.change("sweeping debug runs", Weight::Bytes(0), Swept::default(), act).await
    }

    async fn delete(&self, which: &DebugDelete, limit: usize) -> Result<usize, StoreError> {
        StoreError::check_debug_delete(which)?;
        StoreError::check_page(limit)?;
        let which = which.clone();
        let act = move |conn: &Connection| delete(conn, &which, limit);
        self.0.debug.change("deleting debug runs", Weight::Purge, 0, act).await
    }
}

fn written(conn: &Connection, write: &DebugWrite) -> rusqlite::Result<DebugWritten> {
    match write {
        DebugWrite::CreateRun(run) => create_run(conn, run),
        DebugWrite::CreateStep(step) => create_step(conn, step),
        DebugWrite::UpdateRun { chat, run, change, now } => update_run(conn, *chat, *run, change, *now),
        DebugWrite::UpdateStep { chat, run, step, change, now } => {
            update_step(conn, (*chat, *run, *step), change, *now)
        }
        DebugWrite::Touch { chat, run, step, now } => touch(conn, *chat, *run, *step, *now),
        DebugWrite::Content { chat, run, hash, bytes } => put_content(conn, *chat, *run, hash, bytes),
    }
}

/// A run in the order of its columns, which [`run`] reads.
const RUN: &str = "no, id, chat, root, parent, owner, kind, turn, tip, provider, model, status, summary,
    started_at, updated_at, finished_at";

fn create_run(conn: &Connection, new: &DebugRun) -> rusqlite::Result<DebugWritten> {
    let sql = "INSERT INTO run (id, chat, root, parent, owner, kind, turn, tip, provider, model, status, summary,
        started_at, updated_at, finished_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT (id) DO NOTHING";
    let run = new.clone().settled();
    let created = conn.prepare_cached(sql)?.execute(params![
        blob(run.id.as_uuid()),
        blob(run.chat.as_uuid()),
        run.root.map(|chat| blob(chat.as_uuid())),
        run.parent.map(|chat| blob(chat.as_uuid())),
        run.owner.as_ref().map(UserId::as_str),
        run.kind.as_str(),
        seq(run.turn)?,
        seq(run.tip)?,
        provider(&run.model),
        model(&run.model),
        run.status.as_str(),
        run.summary.as_str(),
        run.started_at.as_millis(),
        run.updated_at.as_millis(),
        run.finished_at.map(Timestamp::as_millis),
    ])?;
    let is_it = created == 1 || open_run(conn, run.chat, run.id)?.is_some();
    Ok(if is_it { DebugWritten::Done } else { DebugWritten::Missing })
}

fn update_run(
    conn: &Connection,
    chat: ChatId,
    id: RunId,
    change: &RunChange,
    now: Timestamp,
) -> rusqlite::Result<DebugWritten> {
    let Some((no, mut run)) = stored_run(conn, chat, id)? else { return Ok(DebugWritten::Missing) };
    if !run.apply(change, now) {
        return Ok(DebugWritten::Kept);
    }
    let sql = "UPDATE run SET turn = ?2, tip = ?3, provider = ?4, model = ?5, status = ?6, summary = ?7,
        updated_at = ?8, finished_at = ?9 WHERE no = ?1";
    conn.prepare_cached(sql)?.execute(params![
        no,
        seq(run.turn)?,
        seq(run.tip)?,
        provider(&run.model),
        model(&run.model),
        run.status.as_str(),
        run.summary.as_str(),
        run.updated_at.as_millis(),
        run.finished_at.map(Timestamp::as_millis),
    ])?;
    Ok(DebugWritten::Done)
}

fn create_step(conn: &Connection, new: &DebugStep) -> rusqlite::Result<DebugWritten> {
    let id = blob(new.id.as_uuid());
    let Some((run, has_ended)) = open_run(conn, new.chat, new.run)? else { return Ok(DebugWritten::Missing) };
    let mut query = conn.prepare_cached("SELECT run, number FROM step WHERE id = ?1")?;
    let there = query.query_row([id], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).optional()?;
    match there {
        Some((of, number)) if of == run => return Ok(DebugWritten::Step(number)),
        Some(_) => return Ok(DebugWritten::Missing),
        None if has_ended => return Ok(DebugWritten::Finished),
        None => {}
    }
    // One writer at a time: nobody takes this number meanwhile.
    let mut last = conn.prepare_cached("SELECT ifnull(max(number), 0) FROM step WHERE run = ?1")?;
    let number = last.query_row([run], |row| row.get::<_, u32>(0))? + 1;
    let sql =
        "INSERT INTO step (id, run, number, status, provider, model, tip, answer, usage, error, metadata,
        started_at, updated_at, finished_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    let step = new.clone().settled();
    conn.prepare_cached(sql)?.execute(params![
        id,
        run,
        number,
        step.status.as_str(),
        provider(&step.model),
        model(&step.model),
        seq(step.tip)?,
        seq(step.answer)?,
        text(&step.usage),
        text(&step.error),
        text(&step.metadata),
        step.started_at.as_millis(),
        step.updated_at.as_millis(),
        step.finished_at.map(Timestamp::as_millis),
    ])?;
    let set = |value: &Option<Json>| value.clone().map_or(Change::Keep, Change::Set);
    put_payload(
        conn,
        conn.last_insert_rowid(),
        [&set(&step.request), &set(&step.response), &set(&step.attempts)],
    )?;
    raise(conn, RAISE_RUN, run, step.updated_at)?;
    Ok(DebugWritten::Step(number))
}

fn update_step(
    conn: &Connection,
    (chat, run, step): (ChatId, RunId, StepId),
    change: &StepChange,
    now: Timestamp,
) -> rusqlite::Result<DebugWritten> {
    let Some((run, _)) = open_run(conn, chat, run)? else { return Ok(DebugWritten::Missing) };
    let sql =
        "SELECT no, id, number, status, provider, model, tip, answer, usage, error, metadata, started_at,
        updated_at, finished_at FROM step WHERE id = ?1 AND run = ?2";
    let mut query = conn.prepare_cached(sql)?;
    let read =
        |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, outline(row, chat, RunId::from_uuid(Uuid::nil()))?));
    let stored = query.query_row(params![blob(step.as_uuid()), run], read).optional()?;
    let Some((no, mut step)) = stored else { return Ok(DebugWritten::Missing) };
    if !step.apply(change, now) {
        return Ok(DebugWritten::Kept);
    }
    let sql = "UPDATE step SET status = ?2, provider = ?3, model = ?4, tip = ?5, answer = ?6, usage = ?7, error = ?8,
        metadata = ?9, updated_at = ?10, finished_at = ?11 WHERE no = ?1";
    conn.prepare_cached(sql)?.execute(params![
        no,
        step.status.as_str(),
        provider(&step.model),
        model(&step.model),
        seq(step.tip)?,
        seq(step.answer)?,
        text(&step.usage),
        text(&step.error),
        text(&step.metadata),
        step.updated_at.as_millis(),
        step.finished_at.map(Timestamp::as_millis),
    ])?;
    put_payload(conn, no, [&change.request, &change.response, &change.attempts])?;
    raise(conn, RAISE_RUN, run, now)?;
    Ok(DebugWritten::Done)
}

/// What was asked, what was answered and the attempts at it.
fn put_payload(conn: &Connection, step: i64, values: [&Change<Json>; 3]) -> rusqlite::Result<()> {
    if values.iter().all(|value| matches!(value, Change::Keep)) {
        return Ok(());
    }
    let sql = "INSERT INTO payload (step, request, response, attempts) VALUES (?1, ?3, ?5, ?7)
        ON CONFLICT (step) DO UPDATE SET request = iif(?2, ?3, request), response = iif(?4, ?5, response),
        attempts = iif(?6, ?7, attempts)";
    let is_new = values.map(|value| !matches!(value, Change::Keep));
    let [request, response, attempts] = values.map(|value| match value {
        Change::Set(json) => Some(json.as_str()),
        _ => None,
    });
    conn.prepare_cached(sql)?
        .execute(params![step, is_new[0], request, is_new[1], response, is_new[2], attempts])?;
    Ok(())
}

fn touch(
    conn: &Connection,
    chat: ChatId,
    run: RunId,
    step: Option<StepId>,
    now: Timestamp,
) -> rusqlite::Result<DebugWritten> {
    let Some((run, has_ended)) = open_run(conn, chat, run)? else { return Ok(DebugWritten::Missing) };
    let step = match step {
        None => None,
        Some(step) => {
            let mut query = conn.prepare_cached("SELECT no FROM step WHERE id = ?1 AND run = ?2")?;
            let step = query.query_row(params![blob(step.as_uuid()), run], |row| row.get(0)).optional()?;
            let Some(step) = step else { return Ok(DebugWritten::Missing) };
            Some(step)
        }
    };
    if has_ended {
        return Ok(DebugWritten::Finished);
    }
    raise(conn, RAISE_RUN, run, now)?;
    if let Some(step) = step {
        raise(conn, RAISE_STEP, step, now)?;
    }
    Ok(DebugWritten::Done)
}

const RAISE_RUN: &str = "UPDATE run SET updated_at = ?2 WHERE no = ?1 AND updated_at < ?2";
const RAISE_STEP: &str =
    "UPDATE step SET updated_at = ?2 WHERE no = ?1 AND updated_at < ?2 AND finished_at IS NULL";

fn raise(conn: &Connection, sql: &str, no: i64, now: Timestamp) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute(params![no, now.as_millis()]).map(drop)
}

fn put_content(
    conn: &Connection,
    chat: ChatId,
    run: RunId,
    hash: &ContentHash,
    bytes: &[u8],
) -> rusqlite::Result<DebugWritten> {
    let Some((run, _)) = open_run(conn, chat, run)? else { return Ok(DebugWritten::Missing) };
    let key = params![blob(chat.as_uuid()), hash.as_bytes()];
    let mut query = conn.prepare_cached("SELECT no FROM content WHERE chat = ?1 AND hash = ?2")?;
    let content = match query.query_row(key, |row| row.get(0)).optional()? {
        Some(content) => content,
        None => {
            let sql = "INSERT INTO content (chat, hash, bytes) VALUES (?1, ?2, ?3)";
            conn.prepare_cached(sql)?.execute(params![blob(chat.as_uuid()), hash.as_bytes(), bytes])?;
            conn.last_insert_rowid()
        }
    };
    let sql = "INSERT INTO run_content (run, content) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    conn.prepare_cached(sql)?.execute([run, content])?;
    Ok(DebugWritten::Done)
}

/// The row of a run of this chat, and whether it has ended.
fn open_run(conn: &Connection, chat: ChatId, run: RunId) -> rusqlite::Result<Option<(i64, bool)>> {
    let mut query =
        conn.prepare_cached("SELECT no, finished_at IS NOT NULL FROM run WHERE id = ?1 AND chat = ?2")?;
    let key = params![blob(run.as_uuid()), blob(chat.as_uuid())];
    query.query_row(key, |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn stored_run(conn: &Connection, chat: ChatId, id: RunId) -> rusqlite::Result<Option<(i64, DebugRun)>> {
    let sql = format!("SELECT {RUN} FROM run WHERE id = ?1 AND chat = ?2");
    let mut query = conn.prepare_cached(&sql)?;
    let key = params![blob(id.as_uuid()), blob(chat.as_uuid())];
    query.query_row(key, |row| Ok((row.get(0)?, run(row)?))).optional()
}

pub(crate) fn runs_of_chat() -> String {
    format!(
        "SELECT {RUN} FROM run WHERE chat = ?1 AND (started_at, id) < (?2, ?3)
        ORDER BY started_at DESC, id DESC LIMIT ?4"
    )
}

fn runs(
    conn: &Connection,
    chat: ChatId,
    before: Option<(Timestamp, RunId)>,
    limit: usize,
) -> rusqlite::Result<Vec<DebugRun>> {
    // A blob that is longer than the greatest id is above every id.
    let (started_at, id) = match before {
        Some((started_at, id)) => (started_at.as_millis(), blob(id.as_uuid()).to_vec()),
        None => (i64::MAX, vec![0xff; 17]),
    };
    let mut query = conn.prepare_cached(&runs_of_chat())?;
    query.query_map(params![blob(chat.as_uuid()), started_at, id, limit as i64], run)?.collect()
}

pub(crate) const OUTLINES: &str =
    "SELECT no, id, number, status, provider, model, tip, answer, usage, error, metadata, started_at,
        updated_at, finished_at
    FROM step WHERE run = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
pub(crate) const STEPS: &str =
    "SELECT no, id, number, status, provider, model, tip, answer, usage, error, metadata, started_at,
        updated_at, finished_at, request, response, attempts
    FROM step LEFT JOIN payload ON payload.step = step.no
    WHERE run = ?1 AND number > ?2 ORDER BY number LIMIT ?3";

fn steps(
    conn: &Connection,
    chat: ChatId,
    run: RunId,
    after: u32,
    limit: usize,
    detail: Detail,
) -> rusqlite::Result<Vec<DebugStep>> {
    // Both answers are of one moment: by the next one the row's number may be another run's.
    let conn = conn.unchecked_transaction()?;
    let Some((no, _)) = open_run(&conn, chat, run)? else { return Ok(Vec::new()) };
    let whole = detail == Detail::Whole;
    let mut query = conn.prepare_cached(if whole { STEPS } else { OUTLINES })?;
    let mut rows = query.query(params![no, after, limit as i64])?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let mut step = outline(row, chat, run)?;
        if whole {
            step.request = json(row, 14)?;
            step.response = json(row, 15)?;
            step.attempts = json(row, 16)?;
            bytes += step.bytes();
            if bytes > PAGE_BYTES_MAX && !page.is_empty() {
                break;
            }
        }
        page.push(step);
    }
    Ok(page)
}

pub(crate) const CONTENT: &str = "SELECT bytes FROM content WHERE chat = ?1 AND hash = ?2
    AND EXISTS (SELECT 1 FROM run_content WHERE run = ?3 AND content = content.no)";

fn contents(
    conn: &Connection,
    chat: ChatId,
    run: RunId,
    hashes: &[ContentHash],
) -> rusqlite::Result<Vec<Option<Box<[u8]>>>> {
    // All answers are of one moment.
    let conn = conn.unchecked_transaction()?;
    let Some((no, _)) = open_run(&conn, chat, run)? else { return Ok(vec![None; hashes.len()]) };
    let mut query = conn.prepare_cached(CONTENT)?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    for hash in hashes {
        let key = params![blob(chat.as_uuid()), hash.as_bytes(), no];
        let piece: Option<Box<[u8]>> =
            query.query_row(key, |row| row.get::<_, Vec<u8>>(0)).optional()?.map(Into::into);
        bytes += piece.as_ref().map_or(0, |piece| piece.len());
        if bytes > PAGE_BYTES_MAX && !page.is_empty() {
            break;
        }
        page.push(piece);
    }
    Ok(page)
}

pub(crate) const STALE: &str =
    "SELECT no, chat, id FROM run WHERE finished_at IS NULL AND updated_at < ?1 ORDER BY updated_at LIMIT ?2";
pub(crate) const END_STEPS_OF_RUN: &str = "UPDATE step SET status = 'interrupted', finished_at = ?2,
    updated_at = max(updated_at, ?2) WHERE run = ?1 AND finished_at IS NULL";
pub(crate) const END_STEPS: &str = "UPDATE step SET status = 'interrupted', finished_at = ?2,
    updated_at = max(updated_at, ?2) WHERE finished_at IS NULL AND updated_at < ?1";

fn sweep(conn: &Connection, now: Timestamp, before: Timestamp, limit: usize) -> rusqlite::Result<Swept> {
    let mut query = conn.prepare_cached(STALE)?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, chat_id(row, 1)?, run_id(row, 2)?));
    let rows = query.query_map(params![before.as_millis(), limit as i64], read)?;
    let stale: Vec<(i64, ChatId, RunId)> = rows.collect::<rusqlite::Result<_>>()?;
    let end_run = "UPDATE run SET status = 'interrupted', finished_at = ?2, updated_at = max(updated_at, ?2)
        WHERE no = ?1";
    let mut end_run = conn.prepare_cached(end_run)?;
    let mut end_steps = conn.prepare_cached(END_STEPS_OF_RUN)?;
    let mut steps = 0;
    for (no, ..) in &stale {
        end_run.execute(params![no, now.as_millis()])?;
        steps += end_steps.execute(params![no, now.as_millis()])?;
    }
    steps += conn.prepare_cached(END_STEPS)?.execute(params![before.as_millis(), now.as_millis()])?;
    Ok(Swept { runs: stale.into_iter().map(|(_, chat, run)| (chat, run)).collect(), steps: steps as u64 })
}

/// The rows of the runs that all conditions apply to.
pub(crate) fn condemned(which: &DebugDelete, limit: usize) -> (String, Vec<Value>) {
    let DebugDelete { chat, started_before, updated_before, within } = which;
    let mut sql = "SELECT no FROM run WHERE TRUE".to_owned();
    let mut values: Vec<Value> = Vec::new();
    if let Some(chat) = chat {
        sql.push_str(" AND chat = ?");
        values.push(blob(chat.as_uuid()).to_vec().into());
    }
    // The narrowest condition finds its rows in an index. The plus keeps the others from being taken for that.
    let mut found = if chat.is_some() { "+" } else { "" };
    if let Some(before) = updated_before {
        sql.push_str(&format!(" AND {found}updated_at < ?"));
        values.push(before.as_millis().into());
        found = "+";
    }
    if let Some(before) = started_before {
        // Of a chat, the index has them in this order.
        let found = if chat.is_some() { "" } else { found };
        sql.push_str(&format!(" AND {found}started_at < ?"));
        values.push(before.as_millis().into());
    }
    if let Some(within) = within {
        let end = |seq: Seq| i64::try_from(seq.get()).unwrap_or(i64::MAX);
        sql.push_str(
            " AND (turn >= ? AND turn < ? OR tip >= ? AND tip < ? OR EXISTS (SELECT 1 FROM step
            WHERE step.run = run.no AND (step.tip >= ? AND step.tip < ? OR answer >= ? AND answer < ?)))",
        );
        values.extend([within.start, within.end].map(end).map(Value::from).into_iter().cycle().take(8));
    }
    sql.push_str(" LIMIT ?");
    values.push((limit as i64).into());
    (sql, values)
}

/// What only this run refers to, and all that belongs to it.
pub(crate) const DELETIONS: [&str; 5] = [
    "DELETE FROM content WHERE no IN (SELECT content FROM run_content WHERE run = ?1) AND NOT EXISTS
        (SELECT 1 FROM run_content AS other WHERE other.content = content.no AND other.run <> ?1)",
    "DELETE FROM run_content WHERE run = ?1",
    "DELETE FROM payload WHERE step IN (SELECT no FROM step WHERE run = ?1)",
    "DELETE FROM step WHERE run = ?1",
    "DELETE FROM run WHERE no = ?1",
];

fn delete(conn: &Connection, which: &DebugDelete, limit: usize) -> rusqlite::Result<usize> {
    let (sql, values) = condemned(which, limit);
    let mut query = conn.prepare_cached(&sql)?;
    let rows = query.query_map(params_from_iter(values), |row| row.get(0))?;
    let runs: Vec<i64> = rows.collect::<rusqlite::Result<_>>()?;
    for run in &runs {
        for sql in DELETIONS {
            conn.prepare_cached(sql)?.execute([run])?;
        }
    }
    Ok(runs.len())
}

fn run(row: &Row<'_>) -> rusqlite::Result<DebugRun> {
    let kind = RunKind::from_name(row.get_ref(6)?.as_str()?);
    Ok(DebugRun {
        id: run_id(row, 1)?,
        chat: chat_id(row, 2)?,
        root: optional_chat(row, 3)?,
        parent: optional_chat(row, 4)?,
        owner: owner(row, 5)?,
        kind: kind.ok_or_else(|| damaged(6, "a kind of debug runs is not known"))?,
        turn: optional_seq(row, 7)?,
        tip: optional_seq(row, 8)?,
        model: model_id(row, 9)?,
        status: status(row, 11)?,
        summary: json(row, 12)?.ok_or_else(|| damaged(12, "a debug run without a summary"))?,
        started_at: Timestamp::from_millis(row.get(13)?),
        updated_at: Timestamp::from_millis(row.get(14)?),
        finished_at: optional_time(row, 15)?,
    })
}

fn outline(row: &Row<'_>, chat: ChatId, run: RunId) -> rusqlite::Result<DebugStep> {
    Ok(DebugStep {
        id: row.get(1).map(|bytes| StepId::from_uuid(Uuid::from_bytes(bytes)))?,
        run,
        chat,
        number: row.get(2)?,
        status: status(row, 3)?,
        model: model_id(row, 4)?,
        tip: optional_seq(row, 6)?,
        answer: optional_seq(row, 7)?,
        usage: json(row, 8)?,
        error: json(row, 9)?,
        metadata: json(row, 10)?,
        request: None,
        response: None,
        attempts: None,
        started_at: Timestamp::from_millis(row.get(11)?),
        updated_at: Timestamp::from_millis(row.get(12)?),
        finished_at: optional_time(row, 13)?,
    })
}

fn run_id(row: &Row<'_>, column: usize) -> rusqlite::Result<RunId> {
    row.get(column).map(|bytes| RunId::from_uuid(Uuid::from_bytes(bytes)))
}

fn optional_chat(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<ChatId>> {
    let bytes: Option<[u8; 16]> = row.get(column)?;
    Ok(bytes.map(|bytes| ChatId::from_uuid(Uuid::from_bytes(bytes))))
}

fn owner(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<UserId>> {
    let owner: Option<String> = row.get(column)?;
    owner.map(UserId::new).transpose().map_err(|_| damaged(column, "the id of an owner is too long"))
}

fn status(row: &Row<'_>, column: usize) -> rusqlite::Result<DebugStatus> {
    let name = row.get_ref(column)?.as_str()?;
    DebugStatus::from_name(name).ok_or_else(|| damaged(column, "a status is not known"))
}

/// The provider's name and, in the next column, that of the model.
fn model_id(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<ModelId>> {
    let names: (Option<Box<str>>, Option<Box<str>>) = (row.get(column)?, row.get(column + 1)?);
    match names {
        (None, None) => Ok(None),
        (Some(provider), Some(model)) => Ok(Some(ModelId { provider, model })),
        _ => Err(damaged(column, "half of the name of a model")),
    }
}

fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Json>> {
    let text = row.get_ref(column)?.as_str_or_null()?;
    text.map(Json::parse).transpose().map_err(|_| damaged(column, "a stored text is not JSON"))
}

fn optional_seq(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Seq>> {
    let value: Option<i64> = row.get(column)?;
    value.map(|_| number(row, column).map(Seq::new)).transpose()
}

fn seq(seq: Option<Seq>) -> rusqlite::Result<Option<i64>> {
    seq.map(|seq| signed(seq.get())).transpose()
}

fn provider(model: &Option<ModelId>) -> Option<&str> {
    model.as_ref().map(|model| &*model.provider)
}

fn model(model: &Option<ModelId>) -> Option<&str> {
    model.as_ref().map(|model| &*model.model)
}

fn text(json: &Option<Json>) -> Option<&str> {
    json.as_ref().map(Json::as_str)
}
