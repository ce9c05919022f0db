//! Debug runs for the clauses.

use std::sync::Arc;

use chatwright_core::debug::{
    ContentHash, DebugDelete, DebugRun, DebugStatus, DebugStep, DebugWrite, DebugWritten, Detail, RunChange,
    RunKind, StepChange, Swept,
};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::model::ModelId;
use chatwright_core::port::{DebugStore, Ids, StoreError};
use chatwright_core::{ChatId, Json, RunId, Seq, StepId, Timestamp, UserId};

use crate::{KitIds, Subject};

/// All times of a test are within so many milliseconds, none before its base.
pub(super) const SPAN_MS: i64 = 100_000;

/// Ten years, roughly.
const DECADE_MS: i64 = 316_000_000_000;

/// A connection whose every unexpected answer is a panic that names the clause.
#[derive(Clone)]
pub(super) struct Notes {
    pub clause: &'static str,
    pub store: Arc<dyn DebugStore>,
}

/// A chat of a test's own, and when its runs are: nobody else's are then.
#[derive(Clone)]
pub(super) struct Desk {
    pub chat: ChatId,
    base: i64,
}

impl Subject<dyn DebugStore> {
    pub(super) async fn notes(&self, clause: &'static str) -> Notes {
        Notes { clause, store: self.connect().await }
    }

    /// A connection beside this one, or this one if another would be to another store.
    pub(super) async fn beside(&self, notes: &Notes) -> Notes {
        if self.is_volatile() { notes.clone() } else { self.notes(notes.clause).await }
    }

    /// A new connection to what the old one left, unless nothing is left.
    pub(super) async fn reconnect(&self, old: Notes) -> Notes {
        if self.is_volatile() {
            return old;
        }
        let clause = old.clause;
        drop(old);
        self.notes(clause).await
    }

    /// From 2001 on: no sweep and no deletion of another test meets it.
    pub(super) fn desk(&self) -> Desk {
        self.desk_from(31 * DECADE_MS / 10)
    }

    /// In the seventies to nineties: for sweeps.
    pub(super) fn desk_to_sweep(&self) -> Desk {
        self.desk_from(0)
    }

    /// Before 1970: for deletions that name no chat.
    pub(super) fn desk_to_delete(&self) -> Desk {
        self.desk_from(-30 * DECADE_MS / 10)
    }

    fn desk_from(&self, first: i64) -> Desk {
        let random = i64::try_from(self.ids.uuid().as_u64_pair().1 >> 1).expect("63 bits");
        let step = random % (29 * DECADE_MS / 10 / SPAN_MS);
        Desk { chat: ChatId::mint(&self.ids), base: first + step * SPAN_MS }
    }

    /// When nobody else sweeps.
    pub(super) fn moment(&self) -> Timestamp {
        self.desk().at(0)
    }
}

impl Desk {
    /// So many milliseconds after the base.
    pub(super) fn at(&self, ms: i64) -> Timestamp {
        Timestamp::from_millis(self.base + ms)
    }

    /// A run that begins so many milliseconds after the base, and of which everything is known.
    pub(super) fn run(&self, ids: &KitIds, ms: i64) -> DebugRun {
        DebugRun {
            root: Some(ChatId::mint(ids)),
            parent: Some(ChatId::mint(ids)),
            owner: UserId::new("kit").ok(),
            turn: Some(Seq::new(3)),
            tip: Some(Seq::new(4)),
            model: Some(ModelId { provider: "kit".into(), model: "large".into() }),
            summary: json(r#"{"first": "Hello"}"#),
            ..DebugRun::new(RunId::mint(ids), self.chat, RunKind::ChatTurn, self.at(ms))
        }
    }

    /// A step of this run that begins so many milliseconds after the base, and of which everything is known.
    pub(super) fn step(&self, ids: &KitIds, run: &DebugRun, ms: i64) -> DebugStep {
        DebugStep {
            model: Some(ModelId { provider: "kit".into(), model: "small".into() }),
            tip: Some(Seq::new(5)),
            answer: Some(Seq::new(6)),
            usage: Some(json(r#"{"input": 1}"#)),
            error: Some(json(r#""none""#)),
            metadata: Some(json("[1]")),
            request: Some(json(r#"{"asked": true}"#)),
            response: Some(json(r#"{"answered": true}"#)),
            attempts: Some(json("[2]")),
            ..DebugStep::new(StepId::mint(ids), run.id, run.chat, self.at(ms))
        }
    }
}

pub(super) fn json(text: &str) -> Json {
    Json::parse(text).expect("JSON")
}

pub(super) fn create(run: &DebugRun) -> DebugWrite {
    DebugWrite::CreateRun(Box::new(run.clone()))
}

pub(super) fn create_step(step: &DebugStep) -> DebugWrite {
    DebugWrite::CreateStep(Box::new(step.clone()))
}

pub(super) fn update(run: &DebugRun, change: &RunChange, now: Timestamp) -> DebugWrite {
    DebugWrite::UpdateRun { chat: run.chat, run: run.id, change: Box::new(change.clone()), now }
}

pub(super) fn update_step(step: &DebugStep, change: &StepChange, now: Timestamp) -> DebugWrite {
    let change = Box::new(change.clone());
    DebugWrite::UpdateStep { chat: step.chat, run: step.run, step: step.id, change, now }
}

pub(super) fn touch(run: &DebugRun, step: Option<&DebugStep>, now: Timestamp) -> DebugWrite {
    DebugWrite::Touch { chat: run.chat, run: run.id, step: step.map(|step| step.id), now }
}

pub(super) fn content(run: &DebugRun, bytes: &[u8]) -> DebugWrite {
    let hash = ContentHash::of(run.chat, bytes);
    DebugWrite::Content { chat: run.chat, run: run.id, hash, bytes: bytes.into() }
}

pub(super) fn to(status: DebugStatus) -> RunChange {
    RunChange { status: Some(status), ..RunChange::default() }
}

pub(super) fn step_to(status: DebugStatus) -> StepChange {
    StepChange { status: Some(status), ..StepChange::default() }
}

impl Notes {
    pub(super) fn answer<T>(&self, answer: Result<T, StoreError>) -> T {
        answer.unwrap_or_else(|error| panic!("{}: the store does not answer: {error}", self.clause))
    }

    pub(super) async fn write(&self, writes: &[DebugWrite]) -> Vec<DebugWritten> {
        let written = self.answer(self.store.write(writes).await);
        assert_eq!(written.len(), writes.len(), "{}: an answer for each write", self.clause);
        written
    }

    pub(super) async fn one(&self, write: DebugWrite) -> DebugWritten {
        self.write(&[write]).await[0]
    }

    /// Writing this says that.
    pub(super) async fn says(&self, write: DebugWrite, written: DebugWritten, what: &str) {
        let clause = self.clause;
        assert_eq!(self.one(write).await, written, "{clause}: {what}: what the write says");
    }

    pub(super) async fn done(&self, write: DebugWrite, what: &str) {
        self.says(write, DebugWritten::Done, what).await;
    }

    /// Creates these in one call, so that no other test's sweep or deletion comes between, and then writes these.
    pub(super) async fn create_at_once(&self, run: &DebugRun, steps: &[DebugStep], then: &[DebugWrite]) {
        let mut writes = vec![create(run)];
        writes.extend(steps.iter().map(create_step));
        let mut expected = vec![DebugWritten::Done];
        expected.extend((1..).take(steps.len()).map(DebugWritten::Step));
        writes.extend_from_slice(then);
        expected.resize(writes.len(), DebugWritten::Done);
        assert_eq!(self.write(&writes).await, expected, "{}: what new rows say", self.clause);
    }

    /// Creates these, in their order.
    pub(super) async fn create(&self, run: &DebugRun, steps: &[DebugStep]) {
        self.done(create(run), "a new run").await;
        for (n, step) in (1..).zip(steps) {
            self.says(create_step(step), DebugWritten::Step(n), "a new step").await;
        }
    }

    pub(super) async fn run(&self, chat: ChatId, run: RunId) -> Option<DebugRun> {
        self.answer(self.store.run(chat, run).await)
    }

    /// The run, which is there.
    pub(super) async fn stored(&self, run: &DebugRun) -> DebugRun {
        let found = self.run(run.chat, run.id).await;
        found.unwrap_or_else(|| panic!("{}: a run is not there", self.clause))
    }

    pub(super) async fn page(
        &self,
        run: &DebugRun,
        after: u32,
        limit: usize,
        detail: Detail,
    ) -> Vec<DebugStep> {
        let page = self.answer(self.store.steps(run.chat, run.id, after, limit, detail).await);
        assert!(page.len() <= limit, "{}: a page of {limit} has {} steps", self.clause, page.len());
        page
    }

    /// All steps of the run.
    pub(super) async fn steps(&self, run: &DebugRun) -> Vec<DebugStep> {
        let mut steps: Vec<DebugStep> = Vec::new();
        loop {
            let after = steps.last().map_or(0, |step| step.number);
            let page = self.page(run, after, PAGE_ITEMS_MAX, Detail::Whole).await;
            if page.is_empty() {
                return steps;
            }
            steps.extend(page);
        }
    }

    /// The only step of the run.
    pub(super) async fn only_step(&self, run: &DebugRun) -> DebugStep {
        let mut steps = self.steps(run).await;
        assert_eq!(steps.len(), 1, "{}: steps of a run with one", self.clause);
        steps.remove(0)
    }

    /// All runs of the chat, in pages of `limit`. A page that is not full is the last.
    pub(super) async fn listed(&self, chat: ChatId, limit: usize) -> Vec<DebugRun> {
        let (mut runs, mut before) = (Vec::new(), None);
        loop {
            let page = self.answer(self.store.runs(chat, before, limit).await);
            assert!(page.len() <= limit, "{}: a page of {limit} has {} runs", self.clause, page.len());
            let full = page.len() == limit;
            before = page.last().map(|run| (run.started_at, run.id));
            assert!(runs.len() < 10_000, "{}: the list of runs does not end", self.clause);
            runs.extend(page);
            if !full {
                return runs;
            }
        }
    }

    pub(super) async fn runs(&self, chat: ChatId) -> Vec<DebugRun> {
        self.listed(chat, PAGE_ITEMS_MAX).await
    }

    /// What is read through the run, by the names of these.
    pub(super) async fn contents(&self, run: &DebugRun, bytes: &[&[u8]]) -> Vec<Option<Box<[u8]>>> {
        let hashes: Vec<ContentHash> = bytes.iter().map(|bytes| ContentHash::of(run.chat, bytes)).collect();
        let mut found: Vec<Option<Box<[u8]>>> = Vec::new();
        while found.len() < hashes.len() {
            let rest = &hashes[found.len()..];
            let page = self.answer(self.store.contents(run.chat, run.id, rest).await);
            assert!(!page.is_empty() && page.len() <= rest.len(), "{}: so many pieces", self.clause);
            found.extend(page);
        }
        found
    }

    /// These are read through the run.
    pub(super) async fn has(&self, run: &DebugRun, bytes: &[&[u8]], what: &str) {
        let clause = self.clause;
        for (found, bytes) in self.contents(run, bytes).await.into_iter().zip(bytes) {
            let found = found.unwrap_or_else(|| panic!("{clause}: {what}: content is not there"));
            let (some, least) = (&found[..found.len().min(40)], &bytes[..bytes.len().min(40)]);
            assert!(*found == **bytes, "{clause}: {what}: {some:?} for {least:?}");
        }
    }

    /// None of these is read through the run.
    pub(super) async fn has_not(&self, run: &DebugRun, bytes: &[&[u8]], what: &str) {
        let found = self.contents(run, bytes).await;
        let is_there = found.iter().any(Option::is_some);
        assert!(!is_there, "{}: {what}: content is there", self.clause);
    }

    pub(super) async fn sweep(&self, now: Timestamp, before: Timestamp, limit: usize) -> Swept {
        let swept = self.answer(self.store.sweep(now, before, limit).await);
        assert!(swept.runs.len() <= limit, "{}: a sweep of {limit} ended {}", self.clause, swept.runs.len());
        swept
    }

    pub(super) async fn delete(&self, which: &DebugDelete, limit: usize) -> usize {
        let deleted = self.answer(self.store.delete(which, limit).await);
        assert!(deleted <= limit, "{}: a deletion of {limit} deleted {deleted}", self.clause);
        deleted
    }

    /// Deletes all of the chat.
    pub(super) async fn clear(&self, chat: ChatId) {
        let all = DebugDelete { chat: Some(chat), ..DebugDelete::default() };
        while self.delete(&all, PAGE_ITEMS_MAX).await == PAGE_ITEMS_MAX {}
    }
}
