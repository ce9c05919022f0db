use std::ops::Range;

use async_trait::async_trait;
use chatwright_core::model::{ModelId, Usage};
use chatwright_core::money::Amount;
use chatwright_core::port::{
    Charge, Ledger, LedgerClosed, LedgerClosing, LedgerEntry, LedgerLine, LedgerScope, Purpose, Spent,
    StoreError, Tokens,
};
use chatwright_core::{Gen, OpId, OrganizationId, Timestamp, UserId, Uuid};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use crate::SqliteStore;
use crate::columns::{blob, chat_id, number, signed};
use crate::error::damaged;
use crate::writer::Weight;

/// What the numbers of a row take, roughly.
const ROW_BYTES: usize = 200;

/// How many 10⁻¹² the unit of the column `micros` has.
const PICO_PER_MICRO: u128 = 1_000_000;

/// Upholds G1–G9.
#[async_trait]
impl Ledger for SqliteStore {
    async fn open(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        StoreError::check_ledger_entry(entry)?;
        let entry = entry.clone();
        let weight = Weight::Bytes(ROW_BYTES + entry.model.provider.len() + entry.model.model.len());
        self.write("opening a row of the ledger", weight, move |conn| insert(conn, &entry)).await
    }

    async fn close(&self, id: OpId, closing: &LedgerClosing) -> Result<LedgerClosed, StoreError> {
        StoreError::check_charge(&closing.charge)?;
        let (closing, weight) = (closing.clone(), Weight::Bytes(ROW_BYTES));
        self.write("closing a row of the ledger", weight, move |conn| close(conn, id, &closing)).await
    }

    async fn unclosed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, OpId)>,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        StoreError::check_page(limit)?;
        let look = move |conn: &Connection| unclosed(conn, before, after, limit);
        self.read("listing open rows of the ledger", look).await
    }

    async fn spent(&self, scope: &LedgerScope, period: Range<Timestamp>) -> Result<Spent, StoreError> {
        let (sql, values) = sums("", scope, &period);
        let look = move |conn: &Connection| {
            conn.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| spent(row, 0))
        };
        self.read("summing the ledger", look).await
    }

    async fn report(
        &self,
        scope: &LedgerScope,
        period: Range<Timestamp>,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        let (sql, values) = sums(LINES, scope, &period);
        let look = move |conn: &Connection| {
            let mut query = conn.prepare_cached(&sql)?;
            let lines = query.query_map(params_from_iter(values), line)?;
            lines.collect::<rusqlite::Result<Vec<LedgerLine>>>()
        };
        let mut lines = self.read("reporting the ledger", look).await?;
        // Purposes have an order of their own, which is not that of their names.
        lines.sort_unstable_by(|a, b| (a.purpose, &a.model).cmp(&(b.purpose, &b.model)));
        Ok(lines)
    }
}

fn insert(conn: &Connection, entry: &LedgerEntry) -> rusqlite::Result<()> {
    let sql =
        "INSERT INTO ledger (id, purpose, chat, gen, owner, organization, provider, model, prices, opened,
        input, output, reasoning, cache_read, cache_write, micros, picos)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
        ON CONFLICT (id) DO NOTHING";
    let [input, output, reasoning, cache_read, cache_write, micros, picos] = columns(&entry.estimate)?;
    conn.prepare_cached(sql)?.execute(params![
        blob(entry.id.as_uuid()),
        entry.purpose.as_str(),
        blob(entry.chat.as_uuid()),
        entry.r#gen.map(Gen::get).map(signed).transpose()?,
        entry.owner.as_str(),
        entry.organization.as_ref().map(OrganizationId::as_str),
        &*entry.model.provider,
        &*entry.model.model,
        entry.prices.map(signed).transpose()?,
        entry.opened.as_millis(),
        input,
        output,
        reasoning,
        cache_read,
        cache_write,
        micros,
        picos,
    ])?;
    Ok(())
}

fn close(conn: &Connection, id: OpId, closing: &LedgerClosing) -> rusqlite::Result<LedgerClosed> {
    let id = blob(id.as_uuid());
    let mut query = conn.prepare_cached("SELECT closed IS NOT NULL, estimated FROM ledger WHERE id = ?1")?;
    let stored = query.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let closed = match stored {
        None => return Ok(LedgerClosed::Unknown),
        Some((false, _)) => LedgerClosed::Closed,
        Some((true, true)) if !closing.estimated => LedgerClosed::Corrected,
        Some((true, _)) => return Ok(LedgerClosed::Already),
    };
    let sql =
        "UPDATE ledger SET closed = ?2, ended = ?3, estimated = ?4, input = ?5, output = ?6, reasoning = ?7,
        cache_read = ?8, cache_write = ?9, micros = ?10, picos = ?11 WHERE id = ?1";
    let [input, output, reasoning, cache_read, cache_write, micros, picos] = columns(&closing.charge)?;
    conn.prepare_cached(sql)?.execute(params![
        id,
        closing.at.as_millis(),
        closing.end.as_str(),
        closing.estimated,
        input,
        output,
        reasoning,
        cache_read,
        cache_write,
        micros,
        picos,
    ])?;
    Ok(closed)
}

/// Tokens by kind, then the cost in two parts. The caller has checked the bounds.
fn columns(charge: &Charge) -> rusqlite::Result<[Option<i64>; 7]> {
    let Usage { input, output, reasoning, cache_read, cache_write } = charge.usage;
    let part = |part: u128| {
        i64::try_from(part).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    };
    let micros = charge.cost.map(|cost| part(cost.pico() / PICO_PER_MICRO)).transpose()?;
    let picos = charge.cost.map(|cost| part(cost.pico() % PICO_PER_MICRO)).transpose()?;
    let tokens = |count: Option<u64>| count.map(signed).transpose();
    Ok([
        tokens(input)?,
        tokens(output)?,
        tokens(reasoning)?,
        tokens(cache_read)?,
        tokens(cache_write)?,
        micros,
        picos,
    ])
}

pub(crate) const UNCLOSED: &str =
    "SELECT id, purpose, chat, gen, owner, organization, provider, model, prices, opened,
        input, output, reasoning, cache_read, cache_write, micros, picos
    FROM ledger WHERE closed IS NULL AND opened < ?1 AND (opened, id) > (?2, ?3) ORDER BY opened, id LIMIT ?4";

fn unclosed(
    conn: &Connection,
    before: Timestamp,
    after: Option<(Timestamp, OpId)>,
    limit: usize,
) -> rusqlite::Result<Vec<LedgerEntry>> {
    // The empty blob is below every id.
    let (opened, id) = match after {
        Some((opened, id)) => (opened.as_millis(), blob(id.as_uuid()).to_vec()),
        None => (i64::MIN, Vec::new()),
    };
    let mut query = conn.prepare_cached(UNCLOSED)?;
    query.query_map(params![before.as_millis(), opened, id, limit as i64], entry)?.collect()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<LedgerEntry> {
    let too_long = |column| move |_| damaged(column, "the id of an owner is too long");
    let organization: Option<String> = row.get(5)?;
    Ok(LedgerEntry {
        id: OpId::from_uuid(Uuid::from_bytes(row.get(0)?)),
        purpose: purpose(row, 1)?,
        chat: chat_id(row, 2)?,
        r#gen: optional(row, 3)?.map(Gen::new),
        owner: UserId::new(row.get::<_, String>(4)?).map_err(too_long(4))?,
        organization: organization.map(OrganizationId::new).transpose().map_err(too_long(5))?,
        model: model(row, 6)?,
        prices: optional(row, 8)?,
        opened: Timestamp::from_millis(row.get(9)?),
        estimate: Charge {
            usage: Usage {
                input: optional(row, 10)?,
                output: optional(row, 11)?,
                reasoning: optional(row, 12)?,
                cache_read: optional(row, 13)?,
                cache_write: optional(row, 14)?,
            },
            cost: match (optional(row, 15)?, optional(row, 16)?) {
                (Some(micros), Some(picos)) => Some(amount(micros.into(), picos.into())),
                _ => None,
            },
        },
    })
}

/// What the lines of a report have in common.
const LINES: &str = "purpose, provider, model";

/// A query for [`spent`] behind the columns that the rows of a sum have in common. A sum of 64-bit numbers may need more bits,
/// and SQLite fails where it does: so the upper and the lower halves are summed, which takes as many rows as a file can have.
pub(crate) fn sums(group: &str, scope: &LedgerScope, period: &Range<Timestamp>) -> (String, Vec<Value>) {
    let mut sql = "SELECT ".to_owned();
    if !group.is_empty() {
        sql.extend([group, ", "]);
    }
    sql.push_str("count(*), count(*) - count(closed), ifnull(sum(estimated), 0), count(*) - count(micros)");
    for column in ["input", "output", "reasoning", "cache_read", "cache_write", "micros"] {
        let halves = format!(", ifnull(sum({column} >> 32), 0), ifnull(sum({column} & 4294967295), 0)");
        sql.push_str(&halves);
    }
    sql.push_str(", ifnull(sum(picos), 0) FROM ledger WHERE opened >= ? AND opened < ?");
    let mut values: Vec<Value> = vec![period.start.as_millis().into(), period.end.as_millis().into()];
    let LedgerScope { owner, organization, chat } = scope;
    let text = |text: &str| Value::from(text.to_owned());
    let conditions = [
        ("chat", chat.map(|chat| blob(chat.as_uuid()).to_vec().into())),
        ("owner", owner.as_ref().map(UserId::as_str).map(text)),
        ("organization", organization.as_ref().map(OrganizationId::as_str).map(text)),
    ];
    // The narrowest condition finds its rows in an index. The plus keeps the others from being taken for that.
    let mut found = "";
    for (column, value) in conditions {
        if let Some(value) = value {
            sql.push_str(&format!(" AND {found}{column} = ?"));
            values.push(value);
            found = "+";
        }
    }
    if !group.is_empty() {
        sql.extend([" GROUP BY ", group]);
    }
    (sql, values)
}

fn line(row: &Row<'_>) -> rusqlite::Result<LedgerLine> {
    Ok(LedgerLine { purpose: purpose(row, 0)?, model: model(row, 1)?, spent: spent(row, 3)? })
}

/// What stands from this column on, in the order of [`sums`].
fn spent(row: &Row<'_>, from: usize) -> rusqlite::Result<Spent> {
    let sum = |column: usize| -> rusqlite::Result<u128> {
        let [upper, lower] = [number(row, from + column)?, number(row, from + column + 1)?];
        Ok((u128::from(upper) << 32) + u128::from(lower))
    };
    let tokens = |column| sum(column).map(|sum| u64::try_from(sum).unwrap_or(u64::MAX));
    Ok(Spent {
        requests: number(row, from)?,
        open: number(row, from + 1)?,
        estimated: number(row, from + 2)?,
        unpriced: number(row, from + 3)?,
        tokens: Tokens {
            input: tokens(4)?,
            output: tokens(6)?,
            reasoning: tokens(8)?,
            cache_read: tokens(10)?,
            cache_write: tokens(12)?,
        },
        cost: amount(sum(14)?, number(row, from + 16)?.into()),
    })
}

fn amount(micros: u128, picos: u128) -> Amount {
    Amount::from_pico(micros * PICO_PER_MICRO + picos)
}

fn optional(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = row.get(column)?;
    value.map(|_| number(row, column)).transpose()
}

fn purpose(row: &Row<'_>, column: usize) -> rusqlite::Result<Purpose> {
    let name = row.get_ref(column)?.as_str()?;
    Purpose::from_name(name).ok_or_else(|| damaged(column, "a purpose is not known"))
}

/// The provider's name and, in the next column, that of the model.
fn model(row: &Row<'_>, column: usize) -> rusqlite::Result<ModelId> {
    Ok(ModelId { provider: row.get(column)?, model: row.get(column + 1)? })
}
