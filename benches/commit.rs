//! How many commits per second does the SQLite store take, one by one and grouped, against bare durable transactions?
//!
//! The peer is one connection that inserts one row of the same size per transaction, in WAL mode with synchronous FULL: no
//! condition, no head, no index, no lists. A store that does not group can at best come near it.

use std::cell::Cell;
use std::sync::Arc;

use chatwright_benches::{Bench, median, per_second};
use chatwright_core::head::{Index, State};
use chatwright_core::port::ChatStore;
use chatwright_core::{ChatId, Commit, Draft, Head, HeadDraft, OpId, Timestamp, UserId};
use chatwright_loop::SystemIds;
use chatwright_sqlite::{SqliteOptions, SqliteStore};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const BODY_BYTES: usize = 1_000;
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn main() {
    let bench = Bench::from_args();
    let folder = tempfile::tempdir_in(".").expect("a folder on the disk that is measured");
    let path = |name: &str| folder.path().join(name);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let open = |name: &str, group_max| {
        SqliteOptions::new(path(name)).group_max(group_max).open().expect("a new store")
    };

    let bare = Bare::open(&path("bare.db"));
    let grouped = Chats::new(open("grouped.db", 64), 256);
    let single = Chats::new(open("single.db", 1), 256);
    let mut rates: [Vec<f64>; 5] = Default::default();
    for _ in 0..bench.rounds {
        rates[0].push(per_second(bench.time, || bare.transaction()));
        rates[1].push(per_second(bench.time, || grouped.commit(&runtime, 1)));
        rates[2].push(per_second(bench.time, || single.commit(&runtime, 64)));
        rates[3].push(per_second(bench.time, || grouped.commit(&runtime, 64)));
        rates[4].push(per_second(bench.time, || grouped.commit(&runtime, 256)));
    }
    let names = [
        "bare transactions, one connection",
        "commits, one by one",
        "commits, 64 at once, grouping off",
        "commits, 64 at once",
        "commits, 256 at once",
    ];
    let [base, ..] = rates.clone().map(median);
    println!("{:<36} {:>9} {:>7}", "SQLite, WAL, synchronous FULL", "per s", "ratio");
    for (name, rate) in names.iter().zip(rates.map(median)) {
        println!("{name:<36} {rate:>9.0} {:>7.2}", rate / base);
    }
}

/// The peer.
struct Bare(rusqlite::Connection);

impl Bare {
    fn open(path: &std::path::Path) -> Self {
        let connection = rusqlite::Connection::open(path).expect("a new file");
        let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE row (id INTEGER PRIMARY KEY, body TEXT);";
        connection.execute_batch(setup).expect("a new table");
        Self(connection)
    }

    fn transaction(&self) -> usize {
        let body = "x".repeat(BODY_BYTES);
        let mut statement = self.0.prepare_cached("INSERT INTO row (body) VALUES (?1)").expect("valid SQL");
        statement.execute([body]).expect("there is room")
    }
}

/// Chats that are committed to in turn.
struct Chats {
    store: Arc<SqliteStore>,
    chats: Vec<(ChatId, Cell<Option<Head>>)>,
    next: Cell<usize>,
}

impl Chats {
    fn new(store: SqliteStore, count: usize) -> Self {
        let chats = (0..count).map(|_| (ChatId::mint(&SystemIds), Cell::new(None))).collect();
        Self { store: Arc::new(store), chats, next: Cell::new(0) }
    }

    /// Commits to `count` chats at once and waits for all.
    fn commit(&self, runtime: &Runtime, count: usize) -> usize {
        let commits: Vec<Commit> = (0..count)
            .map(|_| {
                let (chat, last) = &self.chats[self.next.get() % self.chats.len()];
                self.next.set(self.next.get() + 1);
                let commit = commit(*chat, last.take());
                last.set(Some(commit.head().clone()));
                commit
            })
            .collect();
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for commit in commits {
                let store = Arc::clone(&self.store);
                tasks.spawn(async move { store.commit(&commit).await });
            }
            for done in tasks.join_all().await {
                done.expect("every commit is accepted");
            }
        });
        count
    }
}

fn commit(chat: ChatId, last: Option<Head>) -> Commit {
    let index = Index::new(UserId::new("bench").expect("a short id"), NOW);
    let head = HeadDraft::at_rest(index, &State::default()).expect("a small head").wake_at(Some(NOW));
    let body = "x".repeat(BODY_BYTES - 100);
    let record =
        Draft::raw("note.bench/1", Some(OpId::mint(&SystemIds)), NOW, &body).expect("a small record");
    match last {
        None => Commit::create(chat, head, vec![record]),
        Some(last) => Commit::next(chat, &last, head, vec![record]),
    }
    .expect("a valid commit")
}
