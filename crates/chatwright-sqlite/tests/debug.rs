//! The file of the debug runs beside that of the chats.

mod kit;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::Duration;

use chatwright_core::debug::{ContentHash, DebugDelete, DebugRun, DebugWrite, DebugWritten, RunKind, Swept};
use chatwright_core::port::{ChatStore as _, DebugStore, StoreErrorKind};
use chatwright_core::{RunId, Timestamp, Uuid};
use chatwright_sqlite::{SqliteOptions, SqliteStore};
use kit::{chat, commit, files, run};
use rusqlite::Connection;
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().expect("the set-up holds");
    let (chats, debug) = (folder.path().join("chats.db"), folder.path().join("chats.db-debug"));
    (folder, chats, debug)
}

fn open(chats: &Path) -> SqliteStore {
    let options = SqliteOptions::new(chats).busy_timeout(Duration::from_millis(20));
    options.open().expect("the set-up holds")
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn id(n: u128) -> RunId {
    RunId::from_uuid(Uuid::from_u128(n))
}

fn new(n: u128) -> DebugWrite {
    DebugWrite::CreateRun(Box::new(DebugRun::new(id(n), chat(1), RunKind::ChatTurn, at(1))))
}

async fn written(store: &SqliteStore, n: u128) -> Result<Vec<DebugWritten>, StoreErrorKind> {
    DebugStore::write(store, &[new(n)]).await.map_err(|error| error.kind())
}

fn names(folder: &TempDir) -> Vec<String> {
    files(folder.path()).into_keys().collect()
}

#[test]
fn the_file_is_made_by_the_first_write_and_by_nothing_else() {
    let (folder, chats, _) = folder();
    run(async {
        let store = open(&chats);
        let name = ContentHash::of(chat(1), b"");
        assert_eq!(store.run(chat(1), id(1)).await.expect("no file"), None);
        assert_eq!(store.runs(chat(1), None, 10).await.expect("no file"), []);
        assert_eq!(store.contents(chat(1), id(1), &[name]).await.expect("no file"), [None]);
        assert_eq!(store.sweep(at(9), at(9), 10).await.expect("no file"), Swept::default());
        let all = DebugDelete { chat: Some(chat(1)), ..DebugDelete::default() };
        assert_eq!(store.delete(&all, 10).await.expect("no file"), 0);
        assert_eq!(DebugStore::write(&store, &[]).await.expect("no file"), []);
        store.commit(&commit(chat(1), None, &[10])).await.expect("the set-up holds");
        drop(store);
        assert_eq!(names(&folder), ["chats.db"]);
        let store = open(&chats);
        let beside = open(&chats);
        assert_eq!(beside.run(chat(1), id(1)).await.expect("no file"), None);
        written(&store, 1).await.expect("a new file");
        // Who looked before it was there sees it too.
        assert!(beside.run(chat(1), id(1)).await.expect("a file").is_some());
        assert_eq!(store.check().await.expect("a sound file"), []);
        // The runs outlive their chat until they are deleted.
        store.purge(chat(1)).await.expect("a chat");
        assert_eq!(store.delete(&all, 10).await.expect("a file"), 1);
        drop((store, beside));
    });
    assert_eq!(names(&folder), ["chats.db", "chats.db-debug"]);
    let debug = fs::read(folder.path().join("chats.db-debug")).expect("a file");
    assert_eq!((&debug[68..72], &debug[60..64]), (&b"CHWD"[..], &[0, 0, 0, 1][..]));
}

#[test]
fn no_commit_waits_for_debug_runs_or_fails_with_them() {
    let (_folder, chats, debug) = folder();
    run(async {
        let store = open(&chats);
        written(&store, 1).await.expect("a new file");
        // Somebody holds the debug file for as long as they like.
        let other = Connection::open(&debug).expect("the set-up holds");
        other.execute_batch("BEGIN IMMEDIATE").expect("the set-up holds");
        let debug_write = written(&store, 2);
        futures::pin_mut!(debug_write);
        assert!(futures::poll!(&mut debug_write).is_pending());
        let first = commit(chat(1), None, &[10]);
        store.commit(&first).await.expect("nobody holds the chats");
        assert_eq!(debug_write.await, Err(StoreErrorKind::Busy));
        store.commit(&commit(chat(1), Some(first.head()), &[10])).await.expect("nobody holds the chats");
        drop(other);
        assert_eq!(written(&store, 2).await, Ok(vec![DebugWritten::Done]));
    });
    // Nor for a file that is none of ours, which stays as it is, until somebody moves it out of the way.
    for bytes in [&b"not a database"[..], &[0xa5; 8192]] {
        fs::write(&debug, bytes).expect("the set-up holds");
        run(async {
            let store = open(&chats);
            for _ in 0..2 {
                assert_eq!(written(&store, 3).await, Err(StoreErrorKind::Foreign));
                let read = store.run(chat(1), id(3)).await.map_err(|error| error.kind());
                assert_eq!(read, Err(StoreErrorKind::Foreign));
            }
            store.commit(&commit(chat(9), None, &[10])).await.err();
            assert!(store.head(chat(1)).await.expect("the chats are sound").is_some());
            assert_eq!(fs::read(&debug).expect("a file"), bytes);
            fs::remove_file(&debug).expect("the set-up holds");
            assert_eq!(written(&store, 3).await, Ok(vec![DebugWritten::Done]));
        });
    }
}

#[test]
fn a_file_that_is_newer_damaged_or_of_the_other_kind_is_refused() {
    let (_folder, chats, debug) = folder();
    let opened = || run(async { written(&open(&chats), 1).await.err() });
    assert_eq!(opened(), None);
    // Neither file is taken for the other.
    let error = SqliteStore::open(&debug).expect_err("no chats");
    assert_eq!(error.kind(), StoreErrorKind::Foreign, "{error}");
    let sound = fs::read(&debug).expect("a file");
    fs::copy(&chats, &debug).expect("the set-up holds");
    assert_eq!(opened(), Some(StoreErrorKind::Foreign));
    let changed = |sql: &str| {
        fs::write(&debug, &sound).expect("the set-up holds");
        Connection::open(&debug).expect("the set-up holds").execute_batch(sql).expect("the set-up holds");
    };
    changed("PRAGMA user_version = 2");
    assert_eq!(opened(), Some(StoreErrorKind::Newer));
    changed("DROP INDEX run_open");
    assert_eq!(opened(), Some(StoreErrorKind::Corrupt));
    fs::write(&debug, &sound[..sound.len() / 2]).expect("the set-up holds");
    assert_eq!(opened(), Some(StoreErrorKind::Corrupt));
    fs::write(&debug, &sound).expect("the set-up holds");
    assert_eq!(opened(), None);
}

#[test]
fn many_that_create_the_file_at_once_all_succeed() {
    for _ in 0..5 {
        let (_folder, chats, _) = folder();
        drop(SqliteStore::open(&chats).expect("the set-up holds"));
        let start = Barrier::new(6);
        std::thread::scope(|scope| {
            for n in 1..=6 {
                let (start, chats) = (&start, &chats);
                scope.spawn(move || {
                    let store = SqliteStore::open(chats).expect("the set-up holds");
                    start.wait();
                    assert_eq!(run(written(&store, n)), Ok(vec![DebugWritten::Done]));
                });
            }
        });
        let runs = run(async { open(&chats).runs(chat(1), None, 10).await.expect("a list") });
        assert_eq!(runs.len(), 6);
    }
}

#[test]
fn what_is_deleted_is_in_no_file_any_more() {
    const SECRET: &[u8] = b"the words that must go";
    let (folder, chats, _) = folder();
    run(async {
        let store = open(&chats);
        let piece = DebugWrite::Content {
            chat: chat(1),
            run: id(1),
            hash: ContentHash::of(chat(1), SECRET),
            bytes: SECRET.into(),
        };
        DebugStore::write(&store, &[new(1), piece]).await.expect("a new file");
        drop(store);
        let has = || {
            let files = files(folder.path());
            files.values().any(|bytes| bytes.windows(SECRET.len()).any(|window| window == SECRET))
        };
        assert!(has());
        let store = open(&chats);
        let all = DebugDelete { chat: Some(chat(1)), ..DebugDelete::default() };
        assert_eq!(store.delete(&all, 10).await.expect("a run"), 1);
        drop(store);
        assert!(!has());
    });
}
