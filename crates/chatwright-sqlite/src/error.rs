use std::fmt;
use std::path::Path;

use chatwright_core::port::{StoreError, StoreErrorKind};
use rusqlite::ffi;
use rusqlite::types::Type;

/// An error of SQLite, told as one of the port. `what` says what was attempted, without contents.
pub(crate) fn failed(what: impl fmt::Display, error: rusqlite::Error) -> StoreError {
    StoreError::new(kind_of(&error), format!("{what} failed")).because(error)
}

/// An error of SQLite while a file is being opened.
pub(crate) fn open_failed(path: &Path, what: &str, error: rusqlite::Error) -> StoreError {
    let kind = if primary_code(&error) == Some(ffi::SQLITE_NOTADB) {
        StoreErrorKind::Foreign
    } else {
        kind_of(&error)
    };
    at(path, kind, format_args!("{what}: {error}")).because(error)
}

/// An error about a file.
pub(crate) fn at(path: &Path, kind: StoreErrorKind, cause: impl fmt::Display) -> StoreError {
    StoreError::new(kind, format!("cannot open {}: {cause}", path.display()))
}

/// What is stored is not what this store writes. It is told without the words that are stored.
pub(crate) fn damaged(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, what.into())
}

/// An error once more, for one more caller.
pub(crate) fn again(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => {
            rusqlite::Error::SqliteFailure(*code, message.clone())
        }
        other => rusqlite::Error::ToSqlConversionFailure(other.to_string().into()),
    }
}

fn kind_of(error: &rusqlite::Error) -> StoreErrorKind {
    use rusqlite::Error as E;
    if let E::FromSqlConversionFailure(..)
    | E::IntegralValueOutOfRange(..)
    | E::InvalidColumnType(..)
    | E::Utf8Error(..) = error
    {
        return StoreErrorKind::Corrupt;
    }
    // Damage that the disk reports, and a file that ends too early, come as I/O errors: only the extended code tells.
    match error.sqlite_error().map(|error| error.extended_code) {
        Some(ffi::SQLITE_IOERR_CORRUPTFS | ffi::SQLITE_IOERR_DATA | ffi::SQLITE_IOERR_SHORT_READ) => {
            return StoreErrorKind::Corrupt;
        }
        Some(ffi::SQLITE_IOERR_NOMEM) => return StoreErrorKind::Other,
        _ => {}
    }
    match primary_code(error) {
        Some(ffi::SQLITE_FULL) => StoreErrorKind::Full,
        Some(ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL) => StoreErrorKind::Busy,
        Some(ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB) => StoreErrorKind::Corrupt,
        Some(ffi::SQLITE_CANTOPEN | ffi::SQLITE_READONLY | ffi::SQLITE_IOERR) => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Other,
    }
}

/// The low byte of an extended code is the code that it refines.
pub(crate) fn primary_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code & 0xff)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_extended_code_decides_the_kind_and_the_source_is_sqlites_own() {
        let cases = [
            (ffi::SQLITE_FULL, StoreErrorKind::Full),
            (ffi::SQLITE_BUSY_SNAPSHOT, StoreErrorKind::Busy),
            (ffi::SQLITE_LOCKED_SHAREDCACHE, StoreErrorKind::Busy),
            (ffi::SQLITE_CORRUPT_INDEX, StoreErrorKind::Corrupt),
            (ffi::SQLITE_IOERR_CORRUPTFS, StoreErrorKind::Corrupt),
            (ffi::SQLITE_NOTADB, StoreErrorKind::Corrupt),
            (ffi::SQLITE_CANTOPEN_ISDIR, StoreErrorKind::Unavailable),
            (ffi::SQLITE_READONLY_DBMOVED, StoreErrorKind::Unavailable),
            (ffi::SQLITE_IOERR_FSYNC, StoreErrorKind::Unavailable),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, StoreErrorKind::Other),
        ];
        for (code, kind) in cases {
            let error = failed("reading", rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, "reading failed"), "{code}");
            let source = error.source().and_then(|source| source.downcast_ref::<rusqlite::Error>());
            assert_eq!(source.and_then(rusqlite::Error::sqlite_error).map(|e| e.extended_code), Some(code));
        }
        assert_eq!(failed("reading", damaged(0, "the index")).kind(), StoreErrorKind::Corrupt);
    }
}
