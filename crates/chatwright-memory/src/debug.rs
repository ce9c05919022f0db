use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chatwright_core::debug::{
    ContentHash, DebugDelete, DebugRun, DebugStatus, DebugStep, DebugWrite, DebugWritten, Detail, RunChange,
    StepChange, Swept,
};
use chatwright_core::limits::PAGE_BYTES_MAX;
use chatwright_core::port::{DebugStore, StoreError};
use chatwright_core::{ChatId, RunId, StepId, Timestamp};
use parking_lot::Mutex;

/// Debug runs in memory: they are not durable (D10), what it knows goes with its last clone. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDebug(Arc<Mutex<BTreeMap<RunId, Row>>>);

struct Row {
    run: DebugRun,
    /// In their order.
    steps: Vec<DebugStep>,
    contents: BTreeMap<ContentHash, Box<[u8]>>,
}

type Rows = BTreeMap<RunId, Row>;

impl MemoryDebug {
    /// Nothing was asked.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Upholds D1–D15, but nothing here is durable.
#[async_trait]
impl DebugStore for MemoryDebug {
    async fn write(&self, writes: &[DebugWrite]) -> Result<Vec<DebugWritten>, StoreError> {
        StoreError::check_debug_writes(writes)?;
        let mut rows = self.0.lock();
        Ok(writes.iter().map(|write| written(&mut rows, write)).collect())
    }

    async fn runs(
        &self,
        chat: ChatId,
        before: Option<(Timestamp, RunId)>,
        limit: usize,
    ) -> Result<Vec<DebugRun>, StoreError> {
        StoreError::check_page(limit)?;
        let rows = self.0.lock();
        let place = |run: &DebugRun| (run.started_at, run.id);
        let behind = |run: &&DebugRun| run.chat == chat && before.is_none_or(|before| place(run) < before);
        let mut page: Vec<&DebugRun> = rows.values().map(|row| &row.run).filter(behind).collect();
        page.sort_unstable_by_key(|run| Reverse(place(run)));
        Ok(page.into_iter().take(limit).cloned().collect())
    }

    async fn run(&self, chat: ChatId, run: RunId) -> Result<Option<DebugRun>, StoreError> {
        Ok(find(&mut self.0.lock(), chat, run).map(|row| row.run.clone()))
    }

    async fn steps(
        &self,
        chat: ChatId,
        run: RunId,
        after: u32,
        limit: usize,
        detail: Detail,
    ) -> Result<Vec<DebugStep>, StoreError> {
        StoreError::check_page(limit)?;
        let mut rows = self.0.lock();
        let Some(row) = find(&mut rows, chat, run) else { return Ok(Vec::new()) };
        let steps = row.steps.iter().filter(|step| step.number > after).take(limit).cloned();
        if detail == Detail::Outline {
            return Ok(steps.map(DebugStep::outline).collect());
        }
        Ok(page(steps, DebugStep::bytes))
    }

    async fn contents(
        &self,
        chat: ChatId,
        run: RunId,
        hashes: &[ContentHash],
    ) -> Result<Vec<Option<Box<[u8]>>>, StoreError> {
        StoreError::check_debug_contents(hashes.len())?;
        let mut rows = self.0.lock();
        let row = find(&mut rows, chat, run);
        let contents = row.map(|row| &row.contents);
        let piece = |hash| contents.and_then(|contents| contents.get(hash).cloned());
        Ok(page(hashes.iter().map(piece), |piece| piece.as_ref().map_or(0, |piece| piece.len())))
    }

    async fn sweep(&self, now: Timestamp, before: Timestamp, limit: usize) -> Result<Swept, StoreError> {
        StoreError::check_page(limit)?;
        let mut swept = Swept::default();
        for row in self.0.lock().values_mut() {
            let stale = row.run.finished_at.is_none() && row.run.updated_at < before;
            let ends = stale && swept.runs.len() < limit;
            if ends {
                let status = Some(DebugStatus::Interrupted);
                row.run.apply(&RunChange { status, ..RunChange::default() }, now);
                swept.runs.push((row.run.chat, row.run.id));
            }
            for step in row.steps.iter_mut().filter(|step| step.finished_at.is_none()) {
                if ends || step.updated_at < before {
                    let status = Some(DebugStatus::Interrupted);
                    step.apply(&StepChange { status, ..StepChange::default() }, now);
                    swept.steps += 1;
                }
            }
        }
        Ok(swept)
    }

    async fn delete(&self, which: &DebugDelete, limit: usize) -> Result<usize, StoreError> {
        StoreError::check_debug_delete(which)?;
        StoreError::check_page(limit)?;
        let mut rows = self.0.lock();
        let of = rows.values().filter(|row| which.has(&row.run, &row.steps)).map(|row| row.run.id);
        let gone: Vec<RunId> = of.take(limit).collect();
        rows.retain(|run, _| !gone.contains(run));
        Ok(gone.len())
    }
}

fn written(rows: &mut Rows, write: &DebugWrite) -> DebugWritten {
    match write {
        DebugWrite::CreateRun(run) => create_run(rows, run),
        DebugWrite::CreateStep(step) => create_step(rows, step),
        DebugWrite::UpdateRun { chat, run, change, now } => match find(rows, *chat, *run) {
            None => DebugWritten::Missing,
            Some(row) => done(row.run.apply(change, *now)),
        },
        DebugWrite::UpdateStep { chat, run, step, change, now } => {
            let Some((run, step)) = find_step(rows, *chat, *run, *step) else { return DebugWritten::Missing };
            if !step.apply(change, *now) {
                return DebugWritten::Kept;
            }
            run.updated_at = run.updated_at.max(*now);
            DebugWritten::Done
        }
        DebugWrite::Touch { chat, run, step, now } => touch(rows, *chat, *run, *step, *now),
        DebugWrite::Content { chat, run, hash, bytes } => match find(rows, *chat, *run) {
            None => DebugWritten::Missing,
            Some(row) => {
                row.contents.entry(*hash).or_insert_with(|| bytes.clone());
                DebugWritten::Done
            }
        },
    }
}

fn create_run(rows: &mut Rows, run: &DebugRun) -> DebugWritten {
    let new = || Row { run: run.clone().settled(), steps: Vec::new(), contents: BTreeMap::new() };
    let row = rows.entry(run.id).or_insert_with(new);
    if row.run.chat == run.chat { DebugWritten::Done } else { DebugWritten::Missing }
}

fn create_step(rows: &mut Rows, step: &DebugStep) -> DebugWritten {
    let there = rows.values().flat_map(|row| &row.steps).find(|there| there.id == step.id);
    if let Some(there) = there {
        let is_it = (there.run, there.chat) == (step.run, step.chat);
        return if is_it { DebugWritten::Step(there.number) } else { DebugWritten::Missing };
    }
    let Some(row) = find(rows, step.chat, step.run) else { return DebugWritten::Missing };
    if row.run.finished_at.is_some() {
        return DebugWritten::Finished;
    }
    let number = row.steps.last().map_or(1, |last| last.number + 1);
    row.steps.push(DebugStep { number, ..step.clone().settled() });
    row.run.updated_at = row.run.updated_at.max(step.updated_at);
    DebugWritten::Step(number)
}

fn touch(rows: &mut Rows, chat: ChatId, run: RunId, step: Option<StepId>, now: Timestamp) -> DebugWritten {
    let Some(row) = find(rows, chat, run) else { return DebugWritten::Missing };
    let mut own = row.steps.iter_mut();
    let step = step.map(|id| own.find(|step| step.id == id));
    if step.as_ref().is_some_and(Option::is_none) {
        return DebugWritten::Missing;
    }
    if row.run.finished_at.is_some() {
        return DebugWritten::Finished;
    }
    row.run.updated_at = row.run.updated_at.max(now);
    if let Some(step) = step.flatten().filter(|step| step.finished_at.is_none()) {
        step.updated_at = step.updated_at.max(now);
    }
    DebugWritten::Done
}

fn done(applied: bool) -> DebugWritten {
    if applied { DebugWritten::Done } else { DebugWritten::Kept }
}

fn find(rows: &mut Rows, chat: ChatId, run: RunId) -> Option<&mut Row> {
    rows.get_mut(&run).filter(|row| row.run.chat == chat)
}

fn find_step(
    rows: &mut Rows,
    chat: ChatId,
    run: RunId,
    step: StepId,
) -> Option<(&mut DebugRun, &mut DebugStep)> {
    let row = find(rows, chat, run)?;
    let step = row.steps.iter_mut().find(|there| there.id == step)?;
    Some((&mut row.run, step))
}

/// As many as fit into a page, and one at least.
fn page<T>(items: impl Iterator<Item = T>, bytes: impl Fn(&T) -> usize) -> Vec<T> {
    let (mut page, mut all) = (Vec::new(), 0);
    for item in items {
        all += bytes(&item);
        if all > PAGE_BYTES_MAX && !page.is_empty() {
            break;
        }
        page.push(item);
    }
    page
}
