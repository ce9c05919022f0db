//! What is opened, what is refused, and that a refusal changes nothing.

mod kit;

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use chatwright_core::config::ConfigKey;
use chatwright_core::port::{
    Blobs as _, ChatStore as _, ConfigWrite, ConfigWriter as _, Ledger as _, LedgerScope, Spent,
    StoreErrorKind,
};
use chatwright_core::{Json, Timestamp};
use chatwright_sqlite::{SqliteOptions, SqliteStore};
use kit::{chat, commit, files, run};
use rusqlite::Connection;
use tempfile::TempDir;

const APPLICATION_ID: [u8; 4] = *b"CHWR";

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("the set-up holds");
    let path = folder.path().join("chats.db");
    (folder, path)
}

/// A store with some chats, closed.
fn written(path: &Path) {
    run(async {
        let store = SqliteStore::open(path).expect("the set-up holds");
        for n in 1..=20 {
            store.commit(&commit(chat(n), None, &[10, 9000])).await.expect("the set-up holds");
        }
    });
}

/// The file is refused with this kind and a message with its path and these words, and nothing has changed.
#[track_caller]
fn refused(path: &Path, kind: StoreErrorKind, words: &str) {
    let before = files(path.parent().expect("the set-up holds"));
    let error = SqliteStore::open(path).expect_err("refused");
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}, because {:?}", error.source());
    assert!(message.contains(&path.display().to_string()) && message.contains(words), "{message}");
    assert!(
        files(path.parent().expect("the set-up holds")) == before,
        "a refused file and its folder stay as they were"
    );
}

#[test]
fn an_absent_file_and_an_empty_one_are_created_and_say_whose_they_are() {
    let (_folder, path) = folder();
    for _ in ["absent", "empty"] {
        written(&path);
        let bytes = fs::read(&path).expect("the set-up holds");
        assert_eq!((&bytes[68..72], &bytes[60..64]), (&APPLICATION_ID[..], &[0, 0, 0, 4][..]));
        assert_eq!(files(path.parent().expect("the set-up holds")).len(), 1, "a closed store is one file");
        fs::write(&path, "").expect("the set-up holds");
    }
}

#[test]
fn a_database_without_content_is_taken() {
    let (_folder, path) = folder();
    Connection::open(&path)
        .expect("the set-up holds")
        .execute_batch("CREATE TABLE t (a); DROP TABLE t")
        .expect("the set-up holds");
    assert!(fs::metadata(&path).expect("the set-up holds").len() > 0);
    written(&path);
    run(async {
        assert_eq!(
            SqliteStore::open(&path).expect("the set-up holds").check().await.expect("the set-up holds"),
            []
        );
    });
}

#[test]
fn a_file_name_is_only_a_name() {
    let (folder, _) = folder();
    for name in ["a b?mode=memory#%41'\".db", ":memory:", "file:x?mode=ro", "é.db"] {
        let path = folder.path().join(name);
        written(&path);
        drop(SqliteStore::open(&path).expect("the set-up holds"));
        assert!(path.is_file(), "{name}");
    }
    let error = SqliteStore::open("").expect_err("no name");
    assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error}");
}

#[test]
fn a_missing_folder_a_folder_and_a_file_as_folder_are_refused() {
    let (folder, path) = folder();
    let missing = folder.path().join("none").join("chats.db");
    let error = SqliteStore::open(&missing).expect_err("no folder");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains(&missing.display().to_string()), "{error}");

    fs::create_dir(&path).expect("the set-up holds");
    refused(&path, StoreErrorKind::Foreign, "it is not a file");
    fs::remove_dir(&path).expect("the set-up holds");

    fs::write(&path, "").expect("the set-up holds");
    let error = SqliteStore::open(path.join("inner.db")).expect_err("a file is no folder");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
}

#[test]
#[cfg(unix)]
fn a_read_only_file_is_refused_where_permissions_bind() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = folder();
    written(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("the set-up holds");
    // Permissions do not bind the superuser.
    if fs::OpenOptions::new().append(true).open(&path).is_err() {
        refused(&path, StoreErrorKind::Unavailable, "it is read-only");
    } else {
        SqliteStore::open(&path).expect("writable after all");
    }
}

#[test]
fn what_another_program_wrote_is_refused() {
    let (_folder, path) = folder();
    let other = |sql: &str| {
        fs::remove_file(&path).ok();
        Connection::open(&path).expect("the set-up holds").execute_batch(sql).expect("the set-up holds");
    };
    other("CREATE TABLE chat (a)");
    refused(&path, StoreErrorKind::Foreign, "application id 0x0");
    other("PRAGMA user_version = 1");
    refused(&path, StoreErrorKind::Foreign, "another program");
    other("PRAGMA application_id = 7");
    refused(&path, StoreErrorKind::Foreign, "application id 0x7");
    other("PRAGMA journal_mode = wal; CREATE TABLE chat (a)");
    refused(&path, StoreErrorKind::Foreign, "another program");

    for bytes in [&b"x"[..], b"SQLite format 3", &[0; 5000], &[0xA5; 8192], b"{\"chats\": []}\n"] {
        fs::write(&path, bytes).expect("the set-up holds");
        refused(&path, StoreErrorKind::Foreign, "not a database");
    }
}

#[test]
fn what_another_program_left_in_a_log_is_refused() {
    let (_folder, path) = folder();
    let (_open, elsewhere) = folder();
    let other = Connection::open(&elsewhere).expect("the set-up holds");
    other.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (a)").expect("the set-up holds");
    // As a crash leaves it: the file is blank, and all content is in the log.
    fs::copy(&elsewhere, &path).expect("the set-up holds");
    fs::copy(elsewhere.with_extension("db-wal"), path.with_extension("db-wal")).expect("the set-up holds");
    let mut before = files(path.parent().expect("the set-up holds"));
    let error = SqliteStore::open(&path).expect_err("foreign");
    assert_eq!(error.kind(), StoreErrorKind::Foreign, "{error}");
    let mut after = files(path.parent().expect("the set-up holds"));
    // The log can only be read through its index, which is no content and may be made anew.
    before.remove("chats.db-shm");
    after.remove("chats.db-shm");
    assert!(before == after);
}

#[test]
fn a_file_of_an_older_version_is_brought_up_to_date_with_all_that_is_in_it() {
    let (_folder, path) = folder();
    written(&path);
    let older = Connection::open(&path).expect("the set-up holds");
    older
        .execute_batch(
            "DROP TABLE config; DROP TABLE config_version; DROP TABLE blob; DROP TABLE ledger;
            PRAGMA user_version = 1",
        )
        .expect("the set-up holds");
    let chats = |conn: &Connection| -> i64 {
        conn.query_row("SELECT count(*) FROM records", [], |row| row.get(0)).expect("the set-up holds")
    };
    let before = chats(&older);
    drop(older);
    run(async {
        let store = SqliteStore::open(&path).expect("it is ours");
        let (key, value) = (ConfigKey::advisor(), Json::parse("{}").expect("JSON"));
        let written = store.write_config(&key, 0, Some(&value));
        assert_eq!(written.await.expect("the tables are there"), ConfigWrite::Written(1));
        store.put(chat(1), b"bytes").await.expect("the table is there");
        let (all, ever) =
            (LedgerScope::default(), Timestamp::from_millis(0)..Timestamp::from_millis(i64::MAX));
        assert_eq!(store.spent(&all, ever).await.expect("the table is there"), Spent::default());
        assert_eq!(store.check().await.expect("the set-up holds"), []);
    });
    let after = Connection::open(&path).expect("the set-up holds");
    assert!(before > 0);
    assert_eq!(chats(&after), before);
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let (_folder, path) = folder();
    written(&path);
    let newer = Connection::open(&path).expect("the set-up holds");
    newer.execute_batch("PRAGMA user_version = 5; CREATE TABLE hologram (a)").expect("the set-up holds");
    drop(newer);
    refused(&path, StoreErrorKind::Newer, "schema version 5");
}

#[test]
fn a_file_that_was_cut_is_refused_at_every_length() {
    let (_folder, path) = folder();
    written(&path);
    let bytes = fs::read(&path).expect("the set-up holds");
    assert!(bytes.len() > 40 * 4096);
    for length in
        [1, 99, 100, 511, 512, 4095, 4096, 5000, 8192, bytes.len() / 2, bytes.len() - 4096, bytes.len() - 1]
    {
        fs::write(&path, &bytes[..length]).expect("the set-up holds");
        // One byte does not even look like a database.
        let kind = if length == 1 { StoreErrorKind::Foreign } else { StoreErrorKind::Corrupt };
        refused(&path, kind, "");
    }
    fs::write(&path, &bytes).expect("the set-up holds");
    SqliteStore::open(&path).expect("it is the cut that was refused");
}

#[test]
fn a_damaged_schema_a_missing_index_and_an_unreadable_table_are_refused() {
    let (_folder, path) = folder();
    written(&path);
    let bytes = fs::read(&path).expect("the set-up holds");

    let place =
        bytes.windows(17).position(|window| window == b"CREATE TABLE chat").expect("the set-up holds");
    let mut damaged = bytes.clone();
    damaged[place..place + 6].copy_from_slice(b"XXXXXX");
    fs::write(&path, &damaged).expect("the set-up holds");
    refused(&path, StoreErrorKind::Corrupt, "malformed database schema");

    let root = |name: &str| {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let root: i64 = Connection::open(&path)
            .expect("the set-up holds")
            .query_row(sql, [name], |row| row.get(0))
            .expect("the set-up holds");
        usize::try_from(root).expect("the set-up holds")
    };
    fs::write(&path, &bytes).expect("the set-up holds");
    for name in [
        "chat",
        "record",
        "session",
        "purged",
        "chat_due",
        "chat_held",
        "chat_owner",
        "chat_parent",
        "config",
        "config_version",
        "blob",
        "sqlite_autoindex_blob_1",
        "ledger",
        "sqlite_autoindex_ledger_1",
        "ledger_open",
        "ledger_opened",
        "ledger_owner",
        "ledger_organization",
        "ledger_chat",
    ] {
        fs::write(&path, &bytes).expect("the set-up holds");
        let page = root(name);
        let mut damaged = bytes.clone();
        damaged[(page - 1) * 4096..page * 4096].fill(0xEE);
        fs::write(&path, &damaged).expect("the set-up holds");
        refused(&path, StoreErrorKind::Corrupt, "malformed");
    }

    fs::write(&path, &bytes).expect("the set-up holds");
    Connection::open(&path)
        .expect("the set-up holds")
        .execute_batch("DROP INDEX chat_due")
        .expect("the set-up holds");
    refused(&path, StoreErrorKind::Corrupt, "chat_due of schema version 4 is missing or altered");
}

#[test]
fn what_an_operator_added_is_no_damage() {
    let (_folder, path) = folder();
    written(&path);
    let shell = Connection::open(&path).expect("the set-up holds");
    shell.execute_batch("CREATE INDEX mine ON chat (status); ANALYZE").expect("the set-up holds");
    drop(shell);
    run(async {
        assert_eq!(
            SqliteStore::open(&path).expect("the set-up holds").check().await.expect("the set-up holds"),
            []
        );
    });
}

#[test]
fn damage_that_opening_does_not_see_is_found_by_the_check() {
    let (_folder, path) = folder();
    written(&path);
    let shell = Connection::open(&path).expect("the set-up holds");
    shell
        .execute_batch(
            "DELETE FROM record WHERE id = (3 << 32) | 1;
            INSERT INTO record VALUES ((4 << 32) | 9, 'a.b/1', '1');
            UPDATE chat SET last_seq = 1 WHERE no = 5;
            INSERT INTO purged VALUES ((SELECT id FROM chat WHERE no = 6));
            INSERT INTO record VALUES ((99 << 32) | 1, 'a.b/1', '1');
            UPDATE chat SET last_seq = 0 WHERE no = 7; DELETE FROM record WHERE id >> 32 = 7",
        )
        .expect("the set-up holds");
    drop(shell);
    run(async {
        let found =
            SqliteStore::open(&path).expect("the set-up holds").check().await.expect("the set-up holds");
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        let log = |n| format!("the log of chat {} has a hole or another end than its head says", chat(n));
        let purged = format!("chat {} was purged and is still there", chat(6));
        assert_eq!(found, [log(3), log(4), log(5), purged, "1 records belong to no chat".to_owned()]);
    });
}

#[test]
fn many_that_create_one_file_at_once_all_succeed() {
    for round in 0..20 {
        let (_folder, path) = folder();
        if round % 2 == 1 {
            fs::write(&path, "").expect("the set-up holds");
        }
        let start = Barrier::new(8);
        std::thread::scope(|scope| {
            for n in 1..=8 {
                let (start, path) = (&start, &path);
                scope.spawn(move || {
                    start.wait();
                    let store = SqliteOptions::new(path).readers(1).open().expect("opened");
                    run(async {
                        store.commit(&commit(chat(n), None, &[100])).await.expect("the set-up holds");
                    });
                });
            }
        });
        run(async {
            let store = SqliteStore::open(&path).expect("the set-up holds");
            let chats: Vec<_> = (1..=8).map(chat).collect();
            let revisions = store.revisions(&chats).await.expect("the set-up holds");
            assert!(revisions.iter().all(Option::is_some), "{revisions:?}");
        });
    }
}
