use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use chatwright_core::port::{StoreError, StoreErrorKind};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, ffi};

use crate::error::{at, open_failed, primary_code};
use crate::options::{SqliteOptions, Synchronous};
use crate::schema::{self, Found, Refused, Schema};

/// Before 3.51.3, two connections that reset the write-ahead log at once could damage the database.
const LIBRARY_VERSION_MIN: i32 = 3_051_003;

/// How often a file is looked at again because it changed meanwhile.
const LOOKS_MAX: usize = 3;

/// How often the switch to write-ahead logging waits for others that open the same new file.
const WAL_TRIES_MAX: usize = 100;

/// Opens the file for the writer: checks whose it is, creates it if it is absent or empty, and brings its schema up to
/// date. A file that is refused is left as it was.
pub(crate) fn writer(options: &SqliteOptions, schema: &Schema) -> Result<(PathBuf, Connection), StoreError> {
    let path = locate(&options.path)?;
    if rusqlite::version_number() < LIBRARY_VERSION_MIN {
        let cause = format!("SQLite {} can damage its write-ahead log", rusqlite::version());
        return Err(at(&path, StoreErrorKind::Other, cause));
    }
    if has_content(&path)? {
        inspect(&path, schema)?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut conn = connect(&path, flags, options)?;
    if conn.is_readonly("main").map_err(|error| open_failed(&path, "is it writable", error))? {
        return Err(at(&path, StoreErrorKind::Unavailable, "it is read-only"));
    }
    prepare(&mut conn, options, schema).map_err(|refused| schema::refusal(&path, refused))?;
    Ok((path, conn))
}

/// Opens the file for a reader, once a writer has it open.
pub(crate) fn reader(path: &Path, options: &SqliteOptions) -> Result<Connection, StoreError> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, options)?;
    let set = conn.pragma_update(None, "query_only", true).and_then(|()| set_caches(&conn));
    set.map_err(|error| open_failed(path, "it cannot be read", error))?;
    Ok(conn)
}

/// An absolute path: SQLite would take `:memory:`, an empty name and `file:…` for something else.
fn locate(path: &Path) -> Result<PathBuf, StoreError> {
    std::path::absolute(path).map_err(|error| at(path, StoreErrorKind::Invalid, &error).because(error))
}

fn has_content(path: &Path) -> Result<bool, StoreError> {
    match fs::metadata(path) {
        // SQLite takes a file of one byte for an empty one, and would write over it.
        Ok(found) if found.is_file() && found.len() == 1 => {
            Err(at(path, StoreErrorKind::Foreign, "file is not a database"))
        }
        Ok(found) if found.is_file() => Ok(found.len() > 0),
        Ok(_) => Err(at(path, StoreErrorKind::Foreign, "it is not a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(path, StoreErrorKind::Unavailable, &error).because(error)),
    }
}

/// Refuses a file that is not ours to open, without touching it: an immutable connection takes no lock, makes no file
/// beside it and ignores a log. The file is never opened with `std::fs`: closing such a descriptor would drop the locks
/// that SQLite holds for this process.
fn inspect(path: &Path, schema: &Schema) -> Result<(), StoreError> {
    for _ in 0..LOOKS_MAX {
        let before = trace(path);
        let Err(error) = examine_immutable(path, schema) else { return Ok(()) };
        // Without a lock, a file that another process writes meanwhile can look like anything.
        if before == trace(path) {
            // Beside a log, the file alone may be half of a transaction or of a checkpoint, which looks like damage.
            let is_half =
                error.kind() == StoreErrorKind::Corrupt && before.is_some_and(|trace| trace.has_log);
            return if is_half { Ok(()) } else { Err(error) };
        }
    }
    // The connection that takes locks decides.
    Ok(())
}

fn examine_immutable(path: &Path, schema: &Schema) -> Result<Found, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(immutable_uri(path), flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| open_failed(path, "it cannot be opened", error))?;
    schema::examine(&conn, schema).map_err(|refused| schema::refusal(path, refused))
}

/// What a write to the file changes.
#[derive(PartialEq)]
struct Trace {
    length: u64,
    modified: SystemTime,
    has_log: bool,
}

fn trace(path: &Path) -> Option<Trace> {
    let found = fs::metadata(path).ok()?;
    // SQLite keeps logs beside the file that a symbolic link leads to.
    let target = fs::canonicalize(path).ok()?;
    let log = |suffix| {
        let mut log = OsString::from(&target);
        log.push(suffix);
        fs::metadata(log).is_ok_and(|log| log.len() > 0)
    };
    let has_log = log("-wal") || log("-journal");
    Some(Trace { length: found.len(), modified: found.modified().ok()?, has_log })
}

fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from(if cfg!(windows) { "file:///" } else { "file:" });
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b':' => {
                uri.push(char::from(byte));
            }
            b'\\' if cfg!(windows) => uri.push('/'),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri + "?mode=ro&immutable=1"
}

/// A connection that has not looked at the file yet: the first look may make files beside it.
fn connect(path: &Path, flags: OpenFlags, options: &SqliteOptions) -> Result<Connection, StoreError> {
    let set = |conn: &Connection| {
        conn.busy_timeout(options.busy_timeout)?;
        // Until it is known that the file is ours, closing it must not change it.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map(drop)
    };
    Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .and_then(|conn| set(&conn).map(|()| conn))
        .map_err(|error| open_failed(path, "it cannot be opened", error))
}

fn set_caches(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(64);
    conn.pragma_update(None, "cache_size", -8192) // KiB
}

fn prepare(conn: &mut Connection, options: &SqliteOptions, schema: &Schema) -> Result<(), Refused> {
    conn.pragma_update(
        None,
        "synchronous",
        match options.synchronous {
            Synchronous::Full => "full",
            Synchronous::Normal => "normal",
        },
    )?;
    // On Apple's systems a plain sync stops at the disk's own cache. Elsewhere these say nothing.
    conn.pragma_update(None, "fullfsync", options.synchronous == Synchronous::Full)?;
    conn.pragma_update(None, "checkpoint_fullfsync", options.synchronous == Synchronous::Full)?;
    // S14: what is removed is overwritten, not just forgotten.
    conn.pragma_update_and_check(None, "secure_delete", "on", |_| Ok(()))?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update_and_check(None, "journal_size_limit", 16 * 1024 * 1024, |_| Ok(()))?;
    if let Some(bytes) = options.max_bytes {
        let page_size: u32 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from((bytes / u64::from(page_size)).max(1)).unwrap_or(i64::MAX);
        conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    set_caches(conn)?;
    bring_up_to_date(conn, schema)?;
    switch_to_wal(conn)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// All migrations that are missing in one transaction, so that a crash leaves all or none. A new file gets them before
/// it is switched to write-ahead logging, so that its header says from the first moment whose it is.
fn bring_up_to_date(conn: &mut Connection, schema: &Schema) -> Result<(), Refused> {
    // In a transaction, for it has to be a look at one moment.
    if !schema::examine(&*conn.transaction()?, schema)?.is_behind(schema) {
        return Ok(());
    }
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let found: Found = schema::examine(&transaction, schema)?;
    if found.is_behind(schema) {
        schema::migrate(&transaction, found, schema)?;
    }
    Ok(transaction.commit()?)
}

fn switch_to_wal(conn: &Connection) -> Result<(), Refused> {
    for _ in 0..WAL_TRIES_MAX {
        let mode = conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Err(error) if primary_code(&error) != Some(ffi::SQLITE_BUSY) => return Err(error.into()),
            // The switch fails at once while another connection reads. This waits until none does.
            _ => conn.execute_batch("BEGIN EXCLUSIVE; COMMIT")?,
        }
    }
    let cause = "its file system has no room for a write-ahead log that processes share".to_owned();
    Err(Refused::As(StoreErrorKind::Unavailable, cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_sqlite_resets_its_log_safely() {
        assert!(rusqlite::version_number() >= LIBRARY_VERSION_MIN, "{}", rusqlite::version());
    }

    #[test]
    #[cfg(unix)]
    fn no_character_of_a_path_is_read_as_part_of_the_uri() {
        let uri = immutable_uri(Path::new("/a b/100%?x=1#é.db"));
        assert_eq!(uri, "file:/a%20b/100%25%3Fx%3D1%23%C3%A9.db?mode=ro&immutable=1");
    }
}
