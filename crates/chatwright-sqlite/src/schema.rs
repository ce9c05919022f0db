use std::collections::BTreeSet;
use std::path::Path;

use chatwright_core::port::{StoreError, StoreErrorKind};
use rusqlite::Connection;

use crate::error;

/// What a file of ours has in it.
pub(crate) struct Schema {
    /// Says in the header of a database file whose it is, and what for.
    application_id: i32,
    /// Applied in this order, and never changed once released. `user_version` counts those that a file has.
    migrations: &'static [&'static str],
    /// Read the first and the last row of every table and the edge of every index of the newest version.
    probes: &'static [&'static str],
}

/// The file of the chats, and of all that belongs to them: `CHWR`.
pub(crate) const CHATS: Schema = Schema {
    application_id: 0x4348_5752,
    migrations: &[
        include_str!("../migrations/0001_chats_and_sessions.sql"),
        include_str!("../migrations/0002_config.sql"),
        include_str!("../migrations/0003_blobs.sql"),
        include_str!("../migrations/0004_ledger.sql"),
    ],
    probes: &[
        "SELECT * FROM chat ORDER BY no LIMIT 1",
        "SELECT * FROM chat ORDER BY no DESC LIMIT 1",
        "SELECT id FROM chat INDEXED BY sqlite_autoindex_chat_1 ORDER BY id LIMIT 1",
        "SELECT id FROM chat INDEXED BY chat_due WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT 1",
        "SELECT id FROM chat INDEXED BY chat_held WHERE holder IS NOT NULL ORDER BY holder LIMIT 1",
        "SELECT id FROM chat INDEXED BY chat_owner ORDER BY owner LIMIT 1",
        "SELECT id FROM chat INDEXED BY chat_parent WHERE parent IS NOT NULL ORDER BY parent LIMIT 1",
        "SELECT * FROM record ORDER BY id LIMIT 1",
        "SELECT * FROM record ORDER BY id DESC LIMIT 1",
        "SELECT * FROM purged ORDER BY id DESC LIMIT 1",
        "SELECT * FROM session ORDER BY id LIMIT 1",
        "SELECT * FROM session ORDER BY id DESC LIMIT 1",
        "SELECT * FROM config ORDER BY kind, id LIMIT 1",
        "SELECT * FROM config ORDER BY kind DESC, id DESC LIMIT 1",
        "SELECT * FROM config_version",
        "SELECT * FROM blob ORDER BY id LIMIT 1",
        "SELECT * FROM blob ORDER BY id DESC LIMIT 1",
        "SELECT chat, ref FROM blob INDEXED BY sqlite_autoindex_blob_1 ORDER BY chat, ref LIMIT 1",
        "SELECT * FROM ledger ORDER BY no LIMIT 1",
        "SELECT * FROM ledger ORDER BY no DESC LIMIT 1",
        "SELECT id FROM ledger INDEXED BY sqlite_autoindex_ledger_1 ORDER BY id LIMIT 1",
        "SELECT id FROM ledger INDEXED BY ledger_open WHERE closed IS NULL ORDER BY opened LIMIT 1",
        "SELECT opened FROM ledger INDEXED BY ledger_opened ORDER BY opened LIMIT 1",
        "SELECT owner FROM ledger INDEXED BY ledger_owner ORDER BY owner LIMIT 1",
        "SELECT organization FROM ledger INDEXED BY ledger_organization
            WHERE organization IS NOT NULL ORDER BY organization LIMIT 1",
        "SELECT chat FROM ledger INDEXED BY ledger_chat ORDER BY chat LIMIT 1",
    ],
};

/// The file of the debug runs beside it: `CHWD`.
pub(crate) const DEBUG: Schema = Schema {
    application_id: 0x4348_5744,
    migrations: &[include_str!("../migrations/debug_0001_runs.sql")],
    probes: &[
        "SELECT * FROM run ORDER BY no LIMIT 1",
        "SELECT * FROM run ORDER BY no DESC LIMIT 1",
        "SELECT id FROM run INDEXED BY sqlite_autoindex_run_1 ORDER BY id LIMIT 1",
        "SELECT chat FROM run INDEXED BY run_chat ORDER BY chat LIMIT 1",
        "SELECT no FROM run INDEXED BY run_open WHERE finished_at IS NULL ORDER BY updated_at LIMIT 1",
        "SELECT no FROM run INDEXED BY run_started ORDER BY started_at LIMIT 1",
        "SELECT no FROM run INDEXED BY run_updated ORDER BY updated_at LIMIT 1",
        "SELECT * FROM step ORDER BY no LIMIT 1",
        "SELECT * FROM step ORDER BY no DESC LIMIT 1",
        "SELECT id FROM step INDEXED BY sqlite_autoindex_step_1 ORDER BY id LIMIT 1",
        "SELECT run FROM step INDEXED BY sqlite_autoindex_step_2 ORDER BY run LIMIT 1",
        "SELECT no FROM step INDEXED BY step_open WHERE finished_at IS NULL ORDER BY updated_at LIMIT 1",
        "SELECT * FROM payload ORDER BY step LIMIT 1",
        "SELECT * FROM payload ORDER BY step DESC LIMIT 1",
        "SELECT * FROM content ORDER BY no LIMIT 1",
        "SELECT * FROM content ORDER BY no DESC LIMIT 1",
        "SELECT chat FROM content INDEXED BY sqlite_autoindex_content_1 ORDER BY chat LIMIT 1",
        "SELECT * FROM run_content ORDER BY run, content LIMIT 1",
        "SELECT content FROM run_content INDEXED BY run_content_content ORDER BY content LIMIT 1",
    ],
};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A database without content.
    Blank,
    /// Ours, with so many migrations.
    Ours(usize),
}

impl Found {
    /// Whether migrations are missing.
    pub(crate) fn is_behind(self, schema: &Schema) -> bool {
        self != Self::Ours(schema.migrations.len())
    }
}

/// Why a file is not opened.
pub(crate) enum Refused {
    /// The kind and the cause.
    As(StoreErrorKind, String),
    /// SQLite cannot read it.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// Looks at a file without changing it.
pub(crate) fn examine(conn: &Connection, schema: &Schema) -> Result<Found, Refused> {
    // The first read compares the page count in the header with the length of the file, and parses the schema.
    let objects = objects(conn)?;
    let application: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if (application, version) == (0, 0) && objects.is_empty() {
        return Ok(Found::Blank);
    }
    if application != schema.application_id {
        let cause = format!("it belongs to another program (application id {application:#x})");
        return Err(Refused::As(StoreErrorKind::Foreign, cause));
    }
    let known = schema.migrations.len();
    let Some(version) = usize::try_from(version).ok().filter(|version| *version > 0) else {
        return Err(Refused::As(StoreErrorKind::Corrupt, format!("its schema version is {version}")));
    };
    if version > known {
        let cause = format!("it has schema version {version}, and this program knows versions up to {known}");
        return Err(Refused::As(StoreErrorKind::Newer, cause));
    }
    if let Some((_, name, _)) = expected(&schema.migrations[..version])?.difference(&objects).next() {
        let cause = format!("{name} of schema version {version} is missing or altered");
        return Err(Refused::As(StoreErrorKind::Corrupt, cause));
    }
    if version == known {
        for probe in schema.probes {
            conn.prepare(probe)?.query([])?.next()?;
        }
    }
    Ok(Found::Ours(version))
}

/// Applies the migrations that are missing. The caller holds the write transaction that this is part of.
pub(crate) fn migrate(conn: &Connection, found: Found, schema: &Schema) -> rusqlite::Result<()> {
    let done = match found {
        Found::Blank => 0,
        Found::Ours(version) => version,
    };
    apply(conn, &schema.migrations[done..])?;
    conn.pragma_update(None, "application_id", schema.application_id)?;
    conn.pragma_update(None, "user_version", schema.migrations.len() as i64)
}

type Object = (String, String, Option<String>);

/// What a file with these has at least; an operator may have added an index of their own.
fn expected(migrations: &[&str]) -> rusqlite::Result<BTreeSet<Object>> {
    let fresh = Connection::open_in_memory()?;
    apply(&fresh, migrations)?;
    objects(&fresh)
}

fn apply(conn: &Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    migrations.iter().try_for_each(|sql| conn.execute_batch(sql))
}

fn objects(conn: &Connection) -> rusqlite::Result<BTreeSet<Object>> {
    // SQLite's own objects, such as its statistics, come and go.
    let mut query =
        conn.prepare("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite@_%' ESCAPE '@'")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

/// The refusal as an error that names the file.
pub(crate) fn refusal(path: &Path, refused: Refused) -> StoreError {
    match refused {
        Refused::As(kind, cause) => error::at(path, kind, cause),
        Refused::Sql(cause) => error::open_failed(path, "it cannot be read", cause),
    }
}
