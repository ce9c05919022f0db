//! Stores that can be made to fail, and what the tests of this crate have in common.
#![allow(dead_code, unreachable_pub, reason = "each file of tests uses a part of it")]

pub mod recording;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::debug::{
    ContentHash, DebugDelete, DebugRun, DebugStep, DebugWrite, DebugWritten, Detail, RunKind, Swept,
};
use chatwright_core::port::{DebugStore, StoreError, StoreErrorKind};
use chatwright_core::{ChatId, Json, RunId, StepId, Timestamp, UserId, Uuid};
use chatwright_debug::{DebugService, DebugSettings, StepRecord};
use chatwright_memory::{ManualClock, MemoryDebug, SeededIds};
use chatwright_sqlite::SqliteStore;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// When every test begins.
pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn chat(n: u128) -> ChatId {
    ChatId::from_uuid(Uuid::from_u128(n))
}

pub fn run(n: u128) -> RunId {
    RunId::from_uuid(Uuid::from_u128(n))
}

pub fn step(n: u128) -> StepId {
    StepId::from_uuid(Uuid::from_u128(n))
}

pub fn user(name: &str) -> UserId {
    UserId::new(name).expect("short")
}

pub fn json(text: &str) -> Json {
    Json::parse(text).expect("JSON")
}

pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + millis)
}

/// A turn that began at [`START`].
pub fn a_run(id: u128, of: u128) -> DebugRun {
    DebugRun::new(run(id), chat(of), RunKind::ChatTurn, START)
}

pub fn a_step(id: u128, of: u128, chat_of: u128) -> DebugStep {
    DebugStep::new(step(id), run(of), chat(chat_of), START)
}

/// Runs each of these for a store in memory and for one in a file.
#[macro_export]
macro_rules! on_both_stores {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::common::Rigged::memory()).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::common::Rigged::sqlite()).await;
            })*
        }
    };
}

/// Which call of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    Write,
    Runs,
    Run,
    Steps,
    Contents,
    Sweep,
    Delete,
}

/// What a store does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    Refuses,
    Hangs,
    Panics,
    /// It does its work, this much later.
    Late(Duration),
}

/// A store that says what is asked of it, and that fails where it is told to. Clones are the same one.
#[derive(Clone)]
pub struct Rigged(Arc<Rig>);

type Faulty = Box<dyn Fn(Called) -> Fault + Send + Sync>;

struct Rig {
    store: Arc<dyn DebugStore>,
    /// Removed after the store is closed.
    _folder: Option<TempDir>,
    faulty: Mutex<Faulty>,
    calls: Mutex<Vec<(Called, Instant)>>,
    writes: Mutex<Vec<DebugWrite>>,
    services: AtomicU64,
    /// While this is false, every call waits.
    open: watch::Sender<bool>,
}

impl Rigged {
    pub fn memory() -> Self {
        Self::new(Arc::new(MemoryDebug::new()), None)
    }

    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(folder.path().join("chats.db")).expect("a new file");
        Self::new(Arc::new(store), Some(folder))
    }

    pub fn new(store: Arc<dyn DebugStore>, folder: Option<TempDir>) -> Self {
        Self(Arc::new(Rig {
            store,
            _folder: folder,
            faulty: Mutex::new(Box::new(|_| Fault::None)),
            calls: Mutex::default(),
            writes: Mutex::default(),
            services: AtomicU64::new(1),
            open: watch::Sender::new(true),
        }))
    }

    /// From now on calls fail as this says.
    pub fn fails(&self, faulty: impl Fn(Called) -> Fault + Send + Sync + 'static) {
        *self.0.faulty.lock() = Box::new(faulty);
    }

    pub fn works(&self) {
        self.fails(|_| Fault::None);
    }

    /// Every call waits from now on, or not any more.
    pub fn set_open(&self, open: bool) {
        self.0.open.send_replace(open);
    }

    /// When it was asked for this.
    pub fn calls(&self, of: Called) -> Vec<Instant> {
        self.0.calls.lock().iter().filter(|(called, _)| *called == of).map(|(_, at)| *at).collect()
    }

    pub fn calls_made(&self) -> usize {
        self.0.calls.lock().len()
    }

    /// All that it was asked to write, whether or not it did.
    pub fn writes(&self) -> Vec<DebugWrite> {
        self.0.writes.lock().clone()
    }

    async fn meet(&self, called: Called) -> Result<(), StoreError> {
        self.0.calls.lock().push((called, Instant::now()));
        let mut open = self.0.open.subscribe();
        open.wait_for(|open| *open).await.expect("the rig is there");
        let fault = (self.0.faulty.lock())(called);
        match fault {
            Fault::None => Ok(()),
            Fault::Refuses => Err(StoreError::new(StoreErrorKind::Unavailable, "it refuses")),
            Fault::Hangs => std::future::pending().await,
            Fault::Panics => panic!("the store panics at {called:?}"),
            Fault::Late(late) => {
                sleep(late).await;
                Ok(())
            }
        }
    }
}

#[async_trait]
impl DebugStore for Rigged {
    async fn write(&self, writes: &[DebugWrite]) -> Result<Vec<DebugWritten>, StoreError> {
        self.0.writes.lock().extend_from_slice(writes);
        self.meet(Called::Write).await?;
        self.0.store.write(writes).await
    }

    async fn runs(
        &self,
        chat: ChatId,
        before: Option<(Timestamp, RunId)>,
        limit: usize,
    ) -> Result<Vec<DebugRun>, StoreError> {
        self.meet(Called::Runs).await?;
        self.0.store.runs(chat, before, limit).await
    }

    async fn run(&self, chat: ChatId, run: RunId) -> Result<Option<DebugRun>, StoreError> {
        self.meet(Called::Run).await?;
        self.0.store.run(chat, run).await
    }

    async fn steps(
        &self,
        chat: ChatId,
        run: RunId,
        after: u32,
        limit: usize,
        detail: Detail,
    ) -> Result<Vec<DebugStep>, StoreError> {
        self.meet(Called::Steps).await?;
        self.0.store.steps(chat, run, after, limit, detail).await
    }

    async fn contents(
        &self,
        chat: ChatId,
        run: RunId,
        hashes: &[ContentHash],
    ) -> Result<Vec<Option<Box<[u8]>>>, StoreError> {
        self.meet(Called::Contents).await?;
        self.0.store.contents(chat, run, hashes).await
    }

    async fn sweep(&self, now: Timestamp, before: Timestamp, limit: usize) -> Result<Swept, StoreError> {
        self.meet(Called::Sweep).await?;
        self.0.store.sweep(now, before, limit).await
    }

    async fn delete(&self, which: &DebugDelete, limit: usize) -> Result<usize, StoreError> {
        self.meet(Called::Delete).await?;
        self.0.store.delete(which, limit).await
    }
}

/// A service, its store and its clock.
pub struct Bench {
    pub store: Rigged,
    pub clock: Arc<ManualClock>,
    pub service: DebugService,
}

impl Bench {
    /// Over this store, recording everything.
    pub fn new(store: Rigged) -> Self {
        let mut settings = DebugSettings::default();
        settings.forced = true;
        Self::with(store, settings, |service| service)
    }

    pub fn with(
        store: Rigged,
        settings: DebugSettings,
        more: impl FnOnce(DebugService) -> DebugService,
    ) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        // Each service over a store has a seed of its own.
        let ids = SeededIds::new(store.0.services.fetch_add(1, Ordering::Relaxed));
        let service = more(DebugService::new(store.clone(), clock.clone(), Arc::new(ids), settings));
        Self { store, clock, service }
    }

    pub async fn run(&self, of: ChatId, id: RunId) -> DebugRun {
        self.service.run(of, id).await.expect("it answers").expect("it is there")
    }

    /// The runs of a chat, oldest first.
    pub async fn runs(&self, of: ChatId) -> Vec<DebugRun> {
        let mut runs = self.service.runs(of, None, 100).await.expect("it answers");
        runs.sort_by_key(|run| (run.started_at, run.id));
        runs
    }

    pub async fn steps(&self, of: ChatId, id: RunId) -> Vec<DebugStep> {
        let (mut steps, mut after) = (Vec::new(), 0);
        loop {
            let page = self.service.steps(of, id, after, 100, Detail::Whole).await.expect("it answers");
            let Some(last) = page.last() else { return steps };
            after = last.number;
            steps.extend(page);
        }
    }

    pub async fn records(&self, of: ChatId, id: RunId) -> Vec<StepRecord> {
        let mut records = Vec::new();
        for step in self.steps(of, id).await {
            records.push(self.service.read_step(&step).await.expect("it answers"));
        }
        records
    }

    /// The steps of the only run of a chat.
    pub async fn only(&self, of: ChatId) -> (DebugRun, Vec<StepRecord>) {
        let runs = self.runs(of).await;
        let [run] = &runs[..] else { panic!("one run was expected: {runs:?}") };
        (run.clone(), self.records(of, run.id).await)
    }

    /// All that is known of a chat, as text: values as they are stored, and contents as they are read.
    pub async fn dump(&self, of: ChatId) -> String {
        let mut dump = String::new();
        for run in self.runs(of).await {
            dump += &format!("{run:?} {}\n", run.summary.as_str());
            for step in self.steps(of, run.id).await {
                let values =
                    [&step.usage, &step.error, &step.metadata, &step.request, &step.response, &step.attempts];
                for value in values.into_iter().flatten() {
                    dump += value.as_str();
                    dump.push('\n');
                }
                dump += &format!("{:?}\n", self.service.read_step(&step).await.expect("it answers"));
            }
        }
        dump
    }
}

/// How many bytes of values and distinct pieces are kept for a chat, from what was written to it.
pub async fn stored_bytes(bench: &Bench, of: ChatId) -> usize {
    let mut bytes = 0;
    for run in bench.runs(of).await {
        bytes += run.summary.len();
        bytes += bench.steps(of, run.id).await.iter().map(DebugStep::bytes).sum::<usize>();
    }
    let mut pieces = BTreeSet::new();
    for write in bench.store.writes() {
        if let DebugWrite::Content { chat, run, hash, bytes: piece } = write
            && chat == of
            && pieces.insert((run, hash))
        {
            bytes += piece.len();
        }
    }
    bytes
}

/// Waits until something holds, in tokio time.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let poll = async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}
