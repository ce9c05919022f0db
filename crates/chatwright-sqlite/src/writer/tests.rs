use std::sync::mpsc;
use std::task::Poll;

use chatwright_core::Seq;
use chatwright_core::port::{Actual, ChatStore as _, CommitError, SessionStore as _};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::kit::{PATIENCE, chat, commit, kind, log, run, session};
use crate::{SqliteOptions, SqliteStore};

fn store(options: impl FnOnce(SqliteOptions) -> SqliteOptions) -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().expect("the set-up holds");
    let store = options(SqliteOptions::new(folder.path().join("chats.db"))).open().expect("the set-up holds");
    (folder, store)
}

/// Something the writer does until it is let go.
struct Gate(mpsc::Sender<()>);

impl Gate {
    /// Keeps the writer busy from now on, so that what comes next waits in the queue.
    async fn close(store: &SqliteStore, tasks: &mut JoinSet<()>) -> Self {
        let (open, gate) = mpsc::channel();
        let (entered, writer_is_in) = oneshot::channel();
        let store = store.clone();
        tasks.spawn(async move {
            let wait = move |_: &Connection| {
                entered.send(()).expect("the set-up holds");
                gate.recv_timeout(PATIENCE).expect("the set-up holds");
                Ok(())
            };
            store.write("waiting", Weight::Bytes(0), wait).await.expect("the set-up holds");
        });
        writer_is_in.await.expect("the set-up holds");
        Self(open)
    }
}

/// Polls a write so often that it waits in the queue.
async fn enqueue<T>(write: impl Future<Output = T>) -> impl Future<Output = T> {
    let mut write = Box::pin(write);
    std::future::poll_fn(|context| match write.as_mut().poll(context) {
        Poll::Pending => Poll::Ready(()),
        Poll::Ready(_) => panic!("the writer was busy"),
    })
    .await;
    write
}

async fn transactions_for_commits(options: impl FnOnce(SqliteOptions) -> SqliteOptions, size: usize) -> u64 {
    let (_folder, store) = store(options);
    let mut tasks = JoinSet::new();
    let gate = Gate::close(&store, &mut tasks).await;
    let commits: Vec<_> = (0..40).map(|n| commit(chat(n), None, &[size])).collect();
    let mut waiting = Vec::new();
    for commit in &commits {
        waiting.push(enqueue(store.commit(commit)).await);
    }
    gate.0.send(()).expect("the set-up holds");
    for commit in waiting {
        commit.await.expect("the set-up holds");
    }
    while tasks.join_next().await.transpose().expect("the set-up holds").is_some() {}
    // The gate itself was one.
    store.transactions() - 1
}

#[test]
fn commits_that_wait_share_transactions_up_to_a_count_and_a_size() {
    run(async {
        assert_eq!(transactions_for_commits(|options| options, 100).await, 1);
        assert_eq!(transactions_for_commits(|options| options.group_max(16), 100).await, 3);
        assert_eq!(transactions_for_commits(|options| options.group_max(1), 100).await, 40);
        // Nine such commits are over eight MiB.
        assert_eq!(transactions_for_commits(|options| options, 1_000_000).await, 5);
    });
}

#[test]
fn within_a_group_one_commit_wins_and_the_others_conflict() {
    run(async {
        let (_folder, store) = store(|options| options);
        let mut tasks = JoinSet::new();
        let gate = Gate::close(&store, &mut tasks).await;
        let rivals: Vec<_> = (1..=8).map(|size| commit(chat(1), None, &[size])).collect();
        let mut waiting = Vec::new();
        for rival in &rivals {
            waiting.push(enqueue(store.commit(rival)).await);
        }
        gate.0.send(()).expect("the set-up holds");
        waiting.remove(0).await.expect("the set-up holds");
        for loser in waiting {
            let result = loser.await;
            assert!(
                matches!(result, Err(CommitError::Conflict(Actual::Revision(r))) if r.get() == 1),
                "{result:?}"
            );
        }
        assert_eq!(log(&store, chat(1)).await, rivals[0].records());
    });
}

#[test]
fn an_error_undoes_its_own_write_and_no_other() {
    run(async {
        let (_folder, store) = store(|options| options);
        let mut tasks = JoinSet::new();
        let gate = Gate::close(&store, &mut tasks).await;
        let (one, two) = (commit(chat(1), None, &[1]), commit(chat(2), None, &[1]));
        let before = enqueue(store.commit(&one)).await;
        let breaks = |conn: &Connection| {
            conn.execute("DELETE FROM record", [])?;
            conn.execute("INSERT INTO record VALUES (NULL, NULL, NULL)", [])
        };
        let broken = enqueue(store.write("breaking a rule", Weight::Bytes(0), breaks)).await;
        let after = enqueue(store.commit(&two)).await;
        gate.0.send(()).expect("the set-up holds");
        before.await.expect("the set-up holds");
        let error = broken.await.expect_err("a rule is broken");
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (StoreErrorKind::Other, "breaking a rule failed")
        );
        after.await.expect("the set-up holds");
        assert_eq!(log(&store, chat(1)).await, one.records());
        assert_eq!(log(&store, chat(2)).await, two.records());
    });
}

#[test]
fn a_transaction_that_fails_is_an_error_for_all_of_its_group_even_for_those_in_conflict() {
    run(async {
        let (_folder, store) = store(|options| options);
        let first = commit(chat(1), None, &[1]);
        store.commit(&first).await.expect("the set-up holds");
        let mut tasks = JoinSet::new();
        let gate = Gate::close(&store, &mut tasks).await;
        let two = commit(chat(2), None, &[1]);
        let applied = enqueue(store.commit(&two)).await;
        let in_conflict = enqueue(store.commit(&first)).await;
        let rolls_back = |conn: &Connection| conn.execute_batch("ROLLBACK");
        let culprit = enqueue(store.write("rolling back", Weight::Bytes(0), rolls_back)).await;
        gate.0.send(()).expect("the set-up holds");
        assert_eq!(kind(applied.await), Some(StoreErrorKind::Other));
        assert_eq!(kind(in_conflict.await), Some(StoreErrorKind::Other));
        assert!(culprit.await.is_err());
        assert_eq!(store.head(chat(2)).await.expect("the set-up holds"), None);
        store.commit(&two).await.expect("the set-up holds");
    });
}

#[test]
fn a_write_that_is_dropped_in_the_queue_leaves_the_others_alone() {
    run(async {
        let (_folder, store) = store(|options| options);
        let mut tasks = JoinSet::new();
        let gate = Gate::close(&store, &mut tasks).await;
        let (one, two) = (commit(chat(1), None, &[1]), commit(chat(2), None, &[1]));
        drop(enqueue(store.commit(&one)).await);
        let kept = enqueue(store.commit(&two)).await;
        gate.0.send(()).expect("the set-up holds");
        kept.await.expect("the set-up holds");
        assert_eq!(log(&store, chat(1)).await, []);
        assert_eq!(log(&store, chat(2)).await, two.records());
    });
}

#[test]
fn a_full_queue_makes_the_next_write_wait_and_dropping_it_leaks_no_place() {
    run(async {
        let (_folder, store) = store(|options| options);
        let mut tasks = JoinSet::new();
        let gate = Gate::close(&store, &mut tasks).await;
        let mut waiting = Vec::new();
        for _ in 0..QUEUE_MAX {
            waiting.push(enqueue(store.end(session(1))).await);
        }
        for _ in 0..3 {
            drop(enqueue(store.end(session(1))).await);
        }
        let last = enqueue(store.end(session(1))).await;
        gate.0.send(()).expect("the set-up holds");
        for write in waiting {
            write.await.expect("the set-up holds");
        }
        last.await.expect("the set-up holds");
    });
}

#[test]
fn a_write_that_panics_closes_the_store_to_writes_and_says_so() {
    run(async {
        let (_folder, store) = store(|options| options);
        let one = commit(chat(1), None, &[1]);
        store.commit(&one).await.expect("the set-up holds");
        let mut tasks = JoinSet::new();
        let gate = Gate::close(&store, &mut tasks).await;
        let two = commit(chat(2), None, &[1]);
        let in_the_group = enqueue(store.commit(&two)).await;
        let panics = |_: &Connection| -> rusqlite::Result<()> { panic!("on purpose") };
        let culprit = enqueue(store.write("panicking", Weight::Bytes(0), panics)).await;
        gate.0.send(()).expect("the set-up holds");
        assert_eq!(culprit.await.map_err(|error| error.kind()), Err(StoreErrorKind::Unavailable));
        assert_eq!(kind(in_the_group.await), Some(StoreErrorKind::Unavailable));
        assert_eq!(kind(store.commit(&two).await), Some(StoreErrorKind::Unavailable));
        // Reads go on, and see nothing of the group.
        assert_eq!(store.head(chat(2)).await.expect("the set-up holds"), None);
        assert_eq!(log(&store, chat(1)).await, one.records());
    });
}

#[test]
fn a_read_that_panics_is_an_error_for_its_caller_alone() {
    run(async {
        let (_folder, store) = store(|options| options.readers(1));
        for _ in 0..3 {
            let panics = |_: &Connection| -> rusqlite::Result<()> { panic!("on purpose") };
            let result = store.read("panicking", panics).await;
            assert_eq!(result.map_err(|error| error.kind()), Err(StoreErrorKind::Unavailable));
        }
        assert_eq!(store.head(chat(1)).await.expect("the set-up holds"), None);
    });
}

#[test]
fn dropping_the_last_handle_finishes_what_waits() {
    run(async {
        let (folder, store) = store(|options| options);
        let mut tasks = JoinSet::new();
        let gate = Gate::close(&store, &mut tasks).await;
        let other = store.clone();
        let one = commit(chat(1), None, &[1]);
        let waiting = enqueue(async move { other.commit(&one).await }).await;
        tasks.spawn(async { waiting.await.expect("the set-up holds") });
        gate.0.send(()).expect("the set-up holds");
        drop(store);
        while tasks.join_next().await.transpose().expect("the set-up holds").is_some() {}
        let store = SqliteStore::open(folder.path().join("chats.db")).expect("the set-up holds");
        assert_eq!(log(&store, chat(1)).await.len(), 1);
    });
}

#[test]
fn positions_and_chats_beyond_the_key_are_refused_and_nothing_is_written() {
    run(async {
        let (_folder, store) = store(|options| options);
        let first = commit(chat(1), None, &[1]);
        store.commit(&first).await.expect("the set-up holds");
        let to_the_end = |conn: &Connection| conn.execute("UPDATE chat SET last_seq = 4294967294", []);
        store.write("moving the end", Weight::Bytes(0), to_the_end).await.expect("the set-up holds");
        let mut last = store.head(chat(1)).await.expect("the set-up holds").expect("the set-up holds");
        assert_eq!(
            kind(store.commit(&commit(chat(1), Some(&last), &[1, 1])).await),
            Some(StoreErrorKind::Full)
        );
        store.commit(&commit(chat(1), Some(&last), &[1])).await.expect("the set-up holds");
        let page = store.records(chat(1), Seq::new(4_294_967_294), 10).await.expect("the set-up holds");
        assert_eq!(page.iter().map(|record| record.seq.get()).collect::<Vec<_>>(), [4_294_967_295]);
        assert_eq!(store.records(chat(1), Seq::new(u64::MAX), 10).await.expect("the set-up holds"), []);
        last = store.head(chat(1)).await.expect("the set-up holds").expect("the set-up holds");
        assert_eq!(kind(store.commit(&commit(chat(1), Some(&last), &[1])).await), Some(StoreErrorKind::Full));

        let last_number = |conn: &Connection| conn.execute("UPDATE chat SET no = 2147483647", []);
        store.write("moving the number", Weight::Bytes(0), last_number).await.expect("the set-up holds");
        assert_eq!(kind(store.commit(&commit(chat(2), None, &[1])).await), Some(StoreErrorKind::Full));
        assert_eq!(store.head(chat(2)).await.expect("the set-up holds"), None);
    });
}

#[test]
fn a_head_that_a_caller_made_up_cannot_tear_the_log() {
    run(async {
        let (_folder, store) = store(|options| options);
        let first = commit(chat(1), None, &[1, 1]);
        store.commit(&first).await.expect("the set-up holds");
        for end in [0, 1, 3] {
            let made_up = chatwright_core::Head { last_seq: Seq::new(end), ..first.head().clone() };
            let result = store.commit(&commit(chat(1), Some(&made_up), &[1])).await;
            assert_eq!(kind(result), Some(StoreErrorKind::Invalid), "after {end}");
        }
        assert_eq!(log(&store, chat(1)).await, first.records());
    });
}

#[test]
fn a_purge_overwrites_what_it_removes() {
    run(async {
        let (folder, store) = store(|options| options);
        for n in 0..8 {
            let commit = commit(chat(n), None, &[100, 20_000]);
            store.commit(&commit).await.expect("the set-up holds");
        }
        // This drops the locks of the process, which only matters to other processes.
        let words = || {
            ["chats.db", "chats.db-wal"].map(|name| {
                let bytes = std::fs::read(folder.path().join(name)).expect("the set-up holds");
                bytes.windows(50).filter(|window| window.iter().all(|byte| *byte == b'x')).count()
            })
        };
        assert!(words()[1] > 0, "the log has the words: {:?}", words());
        for n in 0..8 {
            store.purge(chat(n)).await.expect("the set-up holds");
        }
        assert_eq!(words(), [0, 0]);
    });
}
