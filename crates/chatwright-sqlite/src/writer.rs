use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use chatwright_core::port::{StoreError, StoreErrorKind};
use rusqlite::{Connection, ffi};
use tokio::sync::{mpsc, oneshot};

use crate::error::{again, failed};

/// Most writes that wait. Further callers wait for room.
const QUEUE_MAX: usize = 1024;

/// A group takes no further write from this size on, so that one transaction holds at most this and one commit more.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The thread that does all writing. It takes what waits into one transaction, so that all of it shares one sync, and
/// answers once the outcome of that transaction is known.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Write>>>,
    thread: Option<JoinHandle<()>>,
    transactions: Arc<AtomicU64>,
}

/// What a write means for its group.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weight {
    /// It brings so many bytes.
    Bytes(usize),
    /// It removes words that must not stay behind in the log.
    Purge,
}

impl Writer {
    pub(crate) fn start(
        conn: Connection,
        busy_timeout: Duration,
        group_max: usize,
    ) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let transactions = Arc::new(AtomicU64::new(0));
        let work = Work { conn, busy_timeout, group_max, transactions: transactions.clone(), sweep: false };
        let thread = thread::Builder::new()
            .name("chatwright-sqlite-writer".to_owned())
            .spawn(move || work.run(jobs))
            .map_err(|error| stopped("the writer thread does not start").because(error))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), transactions })
    }

    /// Runs `act` in a savepoint of a group's transaction and gives its result once that transaction is committed. An
    /// `Err` of `act` undoes what it has written. If the transaction fails, all of its group get an error.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        weight: Weight,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, outcome) = oneshot::channel();
        let job = Pending { what, weight, act: Some(act), result: None, answer };
        let queue = self.queue.as_ref().expect("the queue is there until drop");
        queue.send(Box::new(job)).await.map_err(|_| stopped("the writer has stopped"))?;
        outcome.await.map_err(|_| stopped("the writer has stopped"))?
    }

    /// How many transactions have been committed.
    pub(crate) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    /// Lets the thread finish what waits and close the file.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by its hook, and by an error to every caller.
            drop(thread.join());
        }
    }
}

pub(crate) fn stopped(message: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, message)
}

/// What the writer's thread owns. If a write panics, it ends: its connection rolls back and whoever waits is told.
struct Work {
    conn: Connection,
    busy_timeout: Duration,
    group_max: usize,
    transactions: Arc<AtomicU64>,
    /// Whether purged words are still in the log.
    sweep: bool,
}

impl Work {
    fn run(mut self, mut jobs: mpsc::Receiver<Box<dyn Write>>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut bytes = first.bytes();
            let mut group = vec![first];
            while group.len() < self.group_max
                && bytes < GROUP_BYTES_MAX
                && let Ok(job) = jobs.try_recv()
            {
                bytes += job.bytes();
                group.push(job);
            }
            self.commit(group);
        }
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Write>>) {
        let outcome = transact(&self.conn, &mut group);
        if outcome.is_ok() {
            self.transactions.fetch_add(1, Ordering::Relaxed);
            self.sweep |= group.iter().any(|job| job.is_purge());
        }
        if self.sweep {
            self.sweep = !empty_log(&self.conn, self.busy_timeout);
        }
        for job in group {
            job.answer(outcome.as_ref().err());
        }
    }
}

fn transact(conn: &Connection, group: &mut [Box<dyn Write>]) -> rusqlite::Result<()> {
    let run = |sql: &str| conn.prepare_cached(sql)?.execute([]).map(drop);
    let all = || {
        run("BEGIN IMMEDIATE")?;
        for job in group {
            run("SAVEPOINT job")?;
            let fate = job.act(conn);
            if conn.is_autocommit() {
                // The disk was full, or broken: SQLite has rolled back everything, the others of the group too.
                return Err(fate.err().map_or_else(rolled_back, again));
            }
            if fate.is_err() {
                run("ROLLBACK TO job")?;
            }
            run("RELEASE job")?;
        }
        run("COMMIT")
    };
    let outcome = all();
    if !conn.is_autocommit() {
        // If even this fails, so does every BEGIN from here on, and callers are told.
        drop(run("ROLLBACK"));
    }
    outcome
}

fn rolled_back() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ABORT_ROLLBACK), None)
}

/// Empties the write-ahead log unless somebody reads from it; whether it is empty. It does not wait, for commits would
/// have to wait with it.
fn empty_log(conn: &Connection, busy_timeout: Duration) -> bool {
    let empty = || {
        conn.busy_timeout(Duration::ZERO)?;
        let busy = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        conn.busy_timeout(busy_timeout)?;
        busy
    };
    // Best effort: it is tried again after the next group, and when the file is closed.
    empty().is_ok_and(|busy: i64| busy == 0)
}

/// A write that waits, is done, and is answered, in this order and each at most once.
trait Write: Send {
    fn bytes(&self) -> usize;
    fn is_purge(&self) -> bool;
    fn act(&mut self, conn: &Connection) -> Result<(), &rusqlite::Error>;
    fn answer(self: Box<Self>, failure: Option<&rusqlite::Error>);
}

struct Pending<T, F> {
    what: &'static str,
    weight: Weight,
    act: Option<F>,
    result: Option<rusqlite::Result<T>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Write for Pending<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
{
    fn bytes(&self) -> usize {
        match self.weight {
            Weight::Bytes(bytes) => bytes,
            Weight::Purge => 0,
        }
    }

    fn is_purge(&self) -> bool {
        matches!((self.weight, &self.result), (Weight::Purge, Some(Ok(_))))
    }

    fn act(&mut self, conn: &Connection) -> Result<(), &rusqlite::Error> {
        // Nobody waits for it any more, and a write that was dropped may as well not happen.
        let act = if self.answer.is_closed() { None } else { self.act.take() };
        self.result = act.map(|act| act(conn));
        match &self.result {
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn answer(self: Box<Self>, failure: Option<&rusqlite::Error>) {
        let answer = match (self.result, failure) {
            (Some(Err(own)), _) => Err(failed(self.what, own)),
            (_, Some(failure)) => {
                Err(failed(format_args!("{} in a transaction that", self.what), again(failure)))
            }
            (Some(Ok(value)), None) => Ok(value),
            // It was dropped before it began.
            (None, None) => return,
        };
        // The caller may have been dropped.
        drop(self.answer.send(answer));
    }
}

#[cfg(test)]
#[path = "writer/tests.rs"]
mod tests;
