//! A debug store in memory that can be broken in one place.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::debug::{
    Change, ContentHash, DebugDelete, DebugRun, DebugStatus, DebugStep, DebugWrite, DebugWritten, Detail,
    RunChange, RunKind, StepChange, Swept,
};
use chatwright_core::limits::{
    DEBUG_CONTENT_BYTES_MAX, DEBUG_JSON_BYTES_MAX, DEBUG_WRITE_BYTES_MAX, DEBUG_WRITES_MAX, PAGE_BYTES_MAX,
};
use chatwright_core::model::ModelId;
use chatwright_core::port::{DebugStore, StoreError, StoreErrorKind};
use chatwright_core::{ChatId, Json, RunId, Seq, Timestamp, UserId};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    LastEndStays,
    FirstTimeStays,
    AnyTimeMovesTheEnd,
    EndsAtItsStart,
    EndsWhileItGoesOn,
    EndedAnewHasNoEnd,
    ReadsThenEnds,
    StepEndsOnce,
    StepEndsWithAnyTime,
    EndedStepAnewHasNoEnd,
    EndedTakesSteps,
    EndedTakesNoChanges,
    AnyChatTakesSteps,
    AnyChatChangesRuns,
    MissingIsFinished,
    FinishedIsMissing,
    ReadsThenJoins,
    RunFalls,
    LowerChangesTheRestOfARun,
    EqualIsLower,
    RunErrorIsHighest,
    StepFalls,
    LowerStepTouchesItsRun,
    StepInterruptedIsHighest,
    SweepReadsThenEnds,
    SweepIncludesBefore,
    SweepByStart,
    SweepsWhatHasEnded,
    SweepLeavesSteps,
    SweepTakesFreshSteps,
    SweepNeverEndsSteps,
    SweepEndsEndedSteps,
    SweepIsAnError,
    SweepEndsAtBefore,
    SweepCountsNoSteps,
    SweepHasNoLimit,
    SweepNamesNothing,
    SweepEndsMoreThanItNames,
    SweepTakesAnyLimit,
    TouchRevives,
    TouchLeavesTheStep,
    TouchMeetsAllSteps,
    TouchOfAStrangeStepMeetsTheRun,
    TouchMeetsEndedSteps,
    TouchSetsBack,
    AbsentClearsOfARun,
    AbsentClearsOfAStep,
    AbsentClearsWhatIsLarge,
    ClearKeeps,
    ClearIsNull,
    NullIsNothing,
    ChangeSetsBack,
    StepSetsItsRunBack,
    StepDoesNotMeetItsRun,
    LateStepDoesNotMeetItsRun,
    NumbersAreGiven,
    NumbersOfAllRuns,
    NumbersFromZero,
    RefusedTakesANumber,
    ReadsThenNumbers,
    Backwards,
    StopsWhereNothingIsDone,
    OneByOne,
    RunAgainOverwrites,
    RunAgainIsMissing,
    StepAgainOverwrites,
    StepAgainIsAnother,
    StepAgainIsFinished,
    ForeignRunIsDone,
    ForeignStepIsTold,
    ReadsThenCreates,
    DropsNul,
    KeepsSeconds,
    EveryKindIsTurn,
    NoOwnerIsEmpty,
    NoModelIsEmpty,
    RewritesJson,
    NumbersAreFloats,
    ForgetsParents,
    OutlineIsWhole,
    OutlineIsLess,
    ForgetsOnReopening,
    ForgetsTheLastWriteOnReopening,
    ForgetsContentsOnReopening,
    OneWriteLate,
    KeepsPerConnection,
    ListsOneWriteLate,
    OldestFirst,
    ByTimeAlone,
    ByUpdate,
    GoesOnBehindTheTime,
    IgnoresBefore,
    IncludesBefore,
    FullPagesAreShort,
    FindsChatsBySomeBits,
    StepsIgnoreAfter,
    StepsIncludeAfter,
    StepsDescend,
    StepsByStart,
    StepsOfAnyChat,
    PagesOfAnyBytes,
    EmptyPageForALargeStep,
    OutlinesStopAtBytes,
    TakesAnyPage,
    TakesAnyNames,
    ContentOfTheChat,
    ContentOfAllChats,
    ContentOfEndedIsRefused,
    ContentInItsOwnOrder,
    ContentIsText,
    ContentStopsBeforeTheFirst,
    DeletionTakesSharedContent,
    DeletionIgnoresTheChat,
    DeletionIgnoresTheStart,
    DeletionWithAnyCondition,
    DeletionIncludesTheTime,
    DeletionSparesOpenRuns,
    WithinIgnoresSteps,
    WithinIgnoresTips,
    WithinIncludesItsEnd,
    DeletionNeedsAChat,
    DeletionHasNoLimit,
    DeletionTellsOneLess,
    DeletionTakesAnyLimit,
    DeletionKeepsSteps,
    DeletionKeepsTheId,
    DeletionWithoutACondition,
    NoBounds,
    NoBoundForAll,
    NoBoundForCount,
    NoBoundForContent,
    NoBoundForChanges,
    ChecksAsItGoes,
    RefusesTheLargest,
    HalfADeletionWhenDropped,
    LockedWhenDropped,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    run: DebugRun,
    steps: Vec<DebugStep>,
    names: BTreeSet<ContentHash>,
}

#[derive(Clone, Default)]
struct Rows {
    runs: Vec<Row>,
    contents: BTreeMap<(ChatId, ContentHash), Box<[u8]>>,
    /// Of runs that were deleted.
    ghosts: BTreeMap<RunId, Vec<DebugStep>>,
}

#[derive(Default)]
pub(crate) struct Table {
    rows: Rows,
    /// Before the last write.
    before: Rows,
}

pub(crate) struct BrokenDebug {
    fault: Fault,
    table: Arc<Mutex<Table>>,
    gate: Semaphore,
}

impl Rows {
    fn place(&self, run: RunId) -> Option<usize> {
        self.runs.iter().position(|row| row.run.id == run)
    }

    fn find(&self, chat: ChatId, run: RunId) -> Option<&Row> {
        self.runs.iter().find(|row| (row.run.chat, row.run.id) == (chat, run))
    }
}

impl BrokenDebug {
    /// Another connection to this table.
    pub(crate) fn connect(fault: Fault, table: &Arc<Mutex<Table>>) -> Self {
        let mut found = table.lock();
        match fault {
            Fault::ForgetsOnReopening => *found = Table::default(),
            Fault::ForgetsTheLastWriteOnReopening => found.rows = found.before.clone(),
            Fault::ForgetsContentsOnReopening => found.rows.contents.clear(),
            _ => {}
        }
        drop(found);
        let table = if fault == Fault::KeepsPerConnection { Arc::default() } else { Arc::clone(table) };
        Self { fault, table, gate: Semaphore::new(1) }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Long enough for whoever drops a call early, and for others to come between.
    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    async fn lock(&self) {
        if self.is(Fault::LockedWhenDropped) {
            // The permit comes back only if the future is polled to its end.
            self.gate.acquire().await.expect("the gate is never closed").forget();
            self.pause().await;
            self.gate.add_permits(1);
        }
    }

    /// What readers see.
    fn seen(&self) -> Rows {
        let table = self.table.lock();
        if self.is(Fault::OneWriteLate) { table.before.clone() } else { table.rows.clone() }
    }

    fn check(&self, writes: &[DebugWrite]) -> Result<(), StoreError> {
        let is_change = |write: &&DebugWrite| {
            matches!(write, DebugWrite::UpdateRun { .. } | DebugWrite::UpdateStep { .. })
        };
        match self.fault {
            Fault::NoBounds | Fault::ChecksAsItGoes => Ok(()),
            Fault::NoBoundForAll => {
                writes.chunks(1).try_for_each(StoreError::check_debug_writes)?;
                let first = &writes[..writes.len().min(1)];
                let over = writes.len() > DEBUG_WRITES_MAX;
                let many: Vec<DebugWrite> = if over { writes.to_vec() } else { first.to_vec() };
                StoreError::check_debug_writes(&many)
            }
            Fault::NoBoundForCount => {
                writes.chunks(DEBUG_WRITES_MAX).try_for_each(StoreError::check_debug_writes)
            }
            Fault::NoBoundForContent => {
                let is_content = |write: &&DebugWrite| matches!(write, DebugWrite::Content { .. });
                let small =
                    |write: &&DebugWrite| !is_content(write) || write.bytes() <= DEBUG_CONTENT_BYTES_MAX;
                let rest: Vec<DebugWrite> = writes.iter().filter(small).cloned().collect();
                StoreError::check_debug_writes(&rest)
            }
            Fault::NoBoundForChanges => {
                let large =
                    |write: &&DebugWrite| is_change(write) && write.bytes() == DEBUG_JSON_BYTES_MAX + 1;
                let rest: Vec<DebugWrite> = writes.iter().filter(|write| !large(write)).cloned().collect();
                StoreError::check_debug_writes(&rest)
            }
            Fault::RefusesTheLargest => {
                StoreError::check_debug_writes(writes)?;
                let bytes: usize = writes.iter().map(DebugWrite::bytes).sum();
                let is_largest = writes.len() == DEBUG_WRITES_MAX || bytes == DEBUG_WRITE_BYTES_MAX;
                let invalid = StoreError::new(StoreErrorKind::Invalid, "too much");
                if is_largest { Err(invalid) } else { Ok(()) }
            }
            _ => StoreError::check_debug_writes(writes),
        }
    }

    /// What becomes of a write. What was read before, if so, decides in its place.
    fn apply(&self, rows: &mut Rows, stale: &Rows, write: &DebugWrite) -> DebugWritten {
        match write {
            DebugWrite::CreateRun(run) => self.create_run(rows, stale, run),
            DebugWrite::UpdateRun { chat, run, change, now } => {
                let Some(n) = rows.place(*run) else { return DebugWritten::Missing };
                let was_open = stale.find(*chat, *run).is_some_and(|row| row.run.finished_at.is_none());
                let run = &mut rows.runs[n].run;
                if run.chat != *chat && !self.is(Fault::AnyChatChangesRuns) {
                    return DebugWritten::Missing;
                }
                if self.is(Fault::ReadsThenEnds) && was_open {
                    run.finished_at = None;
                }
                self.change_run(run, change, *now)
            }
            DebugWrite::CreateStep(step) => self.create_step(rows, stale, step),
            DebugWrite::UpdateStep { chat, run, step, change, now } => {
                let Some(n) = rows.place(*run) else { return DebugWritten::Missing };
                let row = &mut rows.runs[n];
                let own = row.steps.iter_mut().find(|there| there.id == *step);
                let Some(step) = own.filter(|_| row.run.chat == *chat) else { return DebugWritten::Missing };
                let has_ended = row.run.finished_at.is_some();
                if has_ended && self.is(Fault::EndedTakesNoChanges) {
                    return DebugWritten::Finished;
                }
                let written = self.change_step(step, change, *now);
                let meets = match self.fault {
                    Fault::LowerStepTouchesItsRun => true,
                    Fault::StepDoesNotMeetItsRun => false,
                    Fault::LateStepDoesNotMeetItsRun => written == DebugWritten::Done && !has_ended,
                    _ => written == DebugWritten::Done,
                };
                if meets {
                    let back = self.is(Fault::StepSetsItsRunBack);
                    let last = if back { *now } else { row.run.updated_at.max(*now) };
                    row.run.updated_at = last;
                }
                written
            }
            DebugWrite::Touch { chat, run, step, now } => {
                let Some(n) = rows.place(*run) else { return DebugWritten::Missing };
                let Row { run, steps, .. } = &mut rows.runs[n];
                if run.chat != *chat {
                    return DebugWritten::Missing;
                }
                let place = step.map(|id| steps.iter().position(|step| step.id == id));
                if place == Some(None) {
                    if self.is(Fault::TouchOfAStrangeStepMeetsTheRun) {
                        run.updated_at = run.updated_at.max(*now);
                    }
                    return DebugWritten::Missing;
                }
                if run.finished_at.is_some() && !self.is(Fault::TouchRevives) {
                    return DebugWritten::Finished;
                }
                let raise = |time: &mut Timestamp| {
                    *time = if self.is(Fault::TouchSetsBack) { *now } else { (*time).max(*now) };
                };
                raise(&mut run.updated_at);
                for (n, step) in steps.iter_mut().enumerate() {
                    let is_named = place == Some(Some(n)) && !self.is(Fault::TouchLeavesTheStep);
                    let is_met = is_named || place.is_some() && self.is(Fault::TouchMeetsAllSteps);
                    if is_met && (step.finished_at.is_none() || self.is(Fault::TouchMeetsEndedSteps)) {
                        raise(&mut step.updated_at);
                    }
                }
                DebugWritten::Done
            }
            DebugWrite::Content { chat, run, hash, bytes } => {
                let Some(n) = rows.place(*run) else { return DebugWritten::Missing };
                let row = &mut rows.runs[n];
                if row.run.chat != *chat {
                    return DebugWritten::Missing;
                }
                if row.run.finished_at.is_some() && self.is(Fault::ContentOfEndedIsRefused) {
                    return DebugWritten::Finished;
                }
                row.names.insert(*hash);
                let chat = if self.is(Fault::ContentOfAllChats) {
                    ChatId::from_uuid(Default::default())
                } else {
                    *chat
                };
                let kept: Box<[u8]> = match self.fault {
                    Fault::ContentIsText => String::from_utf8_lossy(bytes).as_bytes().into(),
                    _ => bytes.clone(),
                };
                rows.contents.entry((chat, *hash)).or_insert(kept);
                DebugWritten::Done
            }
        }
    }

    fn create_run(&self, rows: &mut Rows, stale: &Rows, new: &DebugRun) -> DebugWritten {
        let is_new = self.is(Fault::ReadsThenCreates) && stale.place(new.id).is_none();
        if let Some(n) = rows.place(new.id).filter(|_| !is_new) {
            let run = &mut rows.runs[n].run;
            return match self.fault {
                Fault::ForeignRunIsDone => DebugWritten::Done,
                _ if run.chat != new.chat => DebugWritten::Missing,
                Fault::RunAgainIsMissing => DebugWritten::Missing,
                Fault::RunAgainOverwrites => {
                    *run = new.clone().settled();
                    DebugWritten::Done
                }
                _ => DebugWritten::Done,
            };
        }
        let ghost = rows.ghosts.get(&new.id).cloned();
        if ghost.is_some() && self.is(Fault::DeletionKeepsTheId) {
            return DebugWritten::Missing;
        }
        let steps = ghost.filter(|_| self.is(Fault::DeletionKeepsSteps)).unwrap_or_default();
        let mut run = new.clone().settled();
        if self.is(Fault::EndedAnewHasNoEnd) {
            run.finished_at = new.finished_at;
        }
        self.kept_run(&mut run);
        rows.runs.insert(0, Row { run, steps, names: BTreeSet::new() });
        DebugWritten::Done
    }

    fn create_step(&self, rows: &mut Rows, stale: &Rows, new: &DebugStep) -> DebugWritten {
        let knows = |rows: &Rows| rows.runs.iter().flat_map(|row| &row.steps).any(|step| step.id == new.id);
        let is_new = self.is(Fault::ReadsThenCreates) && !knows(stale) || self.is(Fault::StepAgainIsAnother);
        let there = rows.runs.iter_mut().flat_map(|row| &mut row.steps).find(|step| step.id == new.id);
        if let Some(there) = there.filter(|_| !is_new) {
            let number = there.number;
            if (there.run, there.chat) != (new.run, new.chat) && !self.is(Fault::ForeignStepIsTold) {
                return DebugWritten::Missing;
            }
            if self.is(Fault::StepAgainOverwrites) {
                *there = DebugStep { number, ..new.clone().settled() };
            }
            let has_ended = rows.find(new.chat, new.run).is_some_and(|row| row.run.finished_at.is_some());
            let finished = has_ended && self.is(Fault::StepAgainIsFinished);
            return if finished { DebugWritten::Finished } else { DebugWritten::Step(number) };
        }
        let steps_of_all: usize = rows.runs.iter().map(|row| row.steps.len()).sum();
        let found = rows.place(new.run);
        let found = found.filter(|n| rows.runs[*n].run.chat == new.chat || self.is(Fault::AnyChatTakesSteps));
        let missing = match self.fault {
            Fault::MissingIsFinished => DebugWritten::Finished,
            _ => DebugWritten::Missing,
        };
        let Some(n) = found else { return missing };
        let row = &mut rows.runs[n];
        let stale = stale.find(new.chat, new.run);
        let has_ended = match stale.filter(|_| self.is(Fault::ReadsThenJoins)) {
            Some(stale) => stale.run.finished_at.is_some(),
            None => row.run.finished_at.is_some(),
        };
        if has_ended && !self.is(Fault::EndedTakesSteps) {
            if self.is(Fault::RefusedTakesANumber) {
                // A sequence that all runs share.
                rows.ghosts.entry(RunId::from_uuid(Default::default())).or_default().push(new.clone());
            }
            return if self.is(Fault::FinishedIsMissing) {
                DebugWritten::Missing
            } else {
                DebugWritten::Finished
            };
        }
        let count = |steps: usize| u32::try_from(steps).expect("a few steps");
        let number = match self.fault {
            Fault::NumbersAreGiven if new.number > 0 => new.number,
            Fault::NumbersOfAllRuns => count(steps_of_all) + 1,
            Fault::NumbersFromZero => count(row.steps.len()),
            Fault::RefusedTakesANumber => {
                let refused = rows.ghosts.get(&RunId::from_uuid(Default::default())).map_or(0, Vec::len);
                count(row.steps.len() + refused) + 1
            }
            Fault::ReadsThenNumbers => count(stale.map_or(0, |row| row.steps.len())) + 1,
            _ => count(row.steps.len()) + 1,
        };
        let mut step = DebugStep { number, ..new.clone().settled() };
        if self.is(Fault::EndedStepAnewHasNoEnd) {
            step.finished_at = new.finished_at;
        }
        self.kept_step(&mut step);
        let row = &mut rows.runs[n];
        row.steps.push(step);
        if !self.is(Fault::StepDoesNotMeetItsRun) {
            row.run.updated_at = row.run.updated_at.max(new.updated_at);
        }
        DebugWritten::Step(number)
    }

    fn change_run(&self, run: &mut DebugRun, change: &RunChange, now: Timestamp) -> DebugWritten {
        let before = run.clone();
        let falls = change.status.is_some_and(|status| status < run.status);
        let rank = |status| match (self.fault, status) {
            (Fault::RunErrorIsHighest, DebugStatus::Error) => 9,
            (_, status) => status as u8,
        };
        match self.fault {
            Fault::RunFalls if falls => run.status = change.status.unwrap_or_default(),
            Fault::RunErrorIsHighest
                if change.status.is_some_and(|status| rank(status) < rank(run.status)) =>
            {
                return DebugWritten::Kept;
            }
            Fault::RunErrorIsHighest if falls => run.status = change.status.unwrap_or_default(),
            Fault::EqualIsLower if change.status == Some(run.status) => return DebugWritten::Kept,
            _ => {}
        }
        if falls && self.is(Fault::LowerChangesTheRestOfARun) {
            run.apply(&RunChange { status: None, ..change.clone() }, now);
            return DebugWritten::Kept;
        }
        if !run.apply(change, now) {
            return DebugWritten::Kept;
        }
        let is_terminal = run.status.is_terminal();
        match self.fault {
            Fault::LastEndStays if change.status.is_some_and(DebugStatus::is_terminal) => {
                run.finished_at = Some(change.finished_at.unwrap_or(now));
            }
            Fault::AnyTimeMovesTheEnd if is_terminal => {
                run.finished_at = change.finished_at.or(run.finished_at);
            }
            Fault::FirstTimeStays if is_terminal => {
                run.finished_at = run.finished_at.min(change.finished_at.or(run.finished_at));
            }
            Fault::EndsAtItsStart
                if before.finished_at.is_none() && is_terminal && change.finished_at.is_none() =>
            {
                run.finished_at = Some(run.started_at);
            }
            Fault::EndsWhileItGoesOn if !is_terminal => run.finished_at = change.finished_at,
            Fault::AbsentClearsOfARun => run.tip = change.tip,
            Fault::ChangeSetsBack => run.updated_at = now,
            _ => {}
        }
        DebugWritten::Done
    }

    fn change_step(&self, step: &mut DebugStep, change: &StepChange, now: Timestamp) -> DebugWritten {
        let before = step.clone();
        let falls = change.status.is_some_and(|status| status < step.status);
        if falls
            && (self.is(Fault::StepFalls)
                || self.is(Fault::StepInterruptedIsHighest)
                    && change.status == Some(DebugStatus::Interrupted))
        {
            step.status = change.status.unwrap_or_default();
        }
        if !step.apply(change, now) {
            return DebugWritten::Kept;
        }
        let null = || Json::parse("null").ok();
        let all = [
            (&mut step.usage, &change.usage, &before.usage),
            (&mut step.error, &change.error, &before.error),
            (&mut step.metadata, &change.metadata, &before.metadata),
            (&mut step.request, &change.request, &before.request),
            (&mut step.response, &change.response, &before.response),
            (&mut step.attempts, &change.attempts, &before.attempts),
        ];
        for (n, (value, change, before)) in all.into_iter().enumerate() {
            match (self.fault, change) {
                (Fault::AbsentClearsOfAStep, Change::Keep) if n < 3 => *value = None,
                (Fault::AbsentClearsWhatIsLarge, Change::Keep) if n > 2 => *value = None,
                (Fault::ClearKeeps, Change::Clear) => value.clone_from(before),
                (Fault::ClearIsNull, Change::Clear) => *value = null(),
                (Fault::NullIsNothing, Change::Set(_)) => {
                    value.take_if(|json| json.as_str() == "null");
                }
                _ => {}
            }
        }
        match self.fault {
            Fault::StepEndsOnce => step.finished_at = before.finished_at.or(step.finished_at),
            Fault::StepEndsWithAnyTime if step.status.is_terminal() => {
                step.finished_at = change.finished_at.or(step.finished_at);
            }
            _ => {}
        }
        DebugWritten::Done
    }

    fn kept_json(&self, json: &mut Json) {
        if self.is(Fault::RewritesJson) {
            let value = serde_json::from_str::<serde_json::Value>(json.as_str());
            if let Some(new) = value.ok().and_then(|value| Json::encode(&value).ok()) {
                *json = new;
            }
        }
    }

    fn kept_model(&self, model: &mut Option<ModelId>) {
        match (self.fault, model) {
            (Fault::DropsNul, Some(model)) => model.model = model.model.replace('\0', "").into(),
            (Fault::NoModelIsEmpty, model @ None) => {
                *model = Some(ModelId { provider: "".into(), model: "".into() });
            }
            _ => {}
        }
    }

    fn kept_seq(&self, seq: &mut Option<Seq>) {
        if self.is(Fault::NumbersAreFloats) {
            *seq = seq.map(|seq| Seq::new(seq.get() as f64 as u64));
        }
    }

    fn kept_time(&self, time: &mut Timestamp) {
        if self.is(Fault::KeepsSeconds) {
            *time = Timestamp::from_millis(time.as_millis().div_euclid(1_000) * 1_000);
        }
    }

    fn kept_run(&self, run: &mut DebugRun) {
        self.kept_json(&mut run.summary);
        self.kept_model(&mut run.model);
        self.kept_seq(&mut run.turn);
        self.kept_seq(&mut run.tip);
        self.kept_time(&mut run.updated_at);
        match self.fault {
            Fault::EveryKindIsTurn => run.kind = RunKind::ChatTurn,
            Fault::NoOwnerIsEmpty => run.owner = run.owner.take().or_else(|| UserId::new("").ok()),
            Fault::ForgetsParents => run.parent = None,
            _ => {}
        }
    }

    fn kept_step(&self, step: &mut DebugStep) {
        let values = [
            &mut step.usage,
            &mut step.error,
            &mut step.metadata,
            &mut step.request,
            &mut step.response,
            &mut step.attempts,
        ];
        for json in values.into_iter().flatten() {
            self.kept_json(json);
        }
        self.kept_model(&mut step.model);
        self.kept_seq(&mut step.tip);
        self.kept_seq(&mut step.answer);
        self.kept_time(&mut step.updated_at);
    }

    /// Whether a deletion means the run.
    fn means(&self, which: &DebugDelete, row: &Row) -> bool {
        let any = DebugDelete::default();
        let DebugDelete { chat, started_before, updated_before, within } = which.clone();
        let later = |time: Option<Timestamp>| time.map(|time| time.after(Duration::from_millis(1)));
        let bare = |step: &DebugStep| DebugStep { tip: None, ..step.clone() };
        let steps = &row.steps;
        match self.fault {
            Fault::DeletionIgnoresTheChat => DebugDelete { chat: None, ..which.clone() }.has(&row.run, steps),
            Fault::DeletionIgnoresTheStart => {
                DebugDelete { started_before: None, ..which.clone() }.has(&row.run, steps)
            }
            Fault::DeletionIncludesTheTime => {
                let (started_before, updated_before) = (later(started_before), later(updated_before));
                DebugDelete { started_before, updated_before, ..which.clone() }.has(&row.run, steps)
            }
            Fault::DeletionWithAnyCondition => {
                let alone = [
                    DebugDelete { started_before, ..any.clone() },
                    DebugDelete { updated_before, ..any.clone() },
                    DebugDelete { within, ..any.clone() },
                ];
                let mut given = alone.iter().filter(|which| !which.is_empty()).peekable();
                let of_chat = DebugDelete { chat, ..any.clone() }.has(&row.run, steps);
                of_chat && (given.peek().is_none() || given.any(|which| which.has(&row.run, steps)))
            }
            Fault::DeletionSparesOpenRuns => row.run.finished_at.is_some() && which.has(&row.run, steps),
            Fault::DeletionNeedsAChat => chat.is_some() && which.has(&row.run, steps),
            Fault::WithinIgnoresSteps => which.has(&row.run, &[]),
            Fault::WithinIgnoresTips => {
                let steps: Vec<DebugStep> = steps.iter().map(bare).collect();
                which.has(&row.run, &steps)
            }
            Fault::WithinIncludesItsEnd => {
                let within = within.map(|within| within.start..Seq::new(within.end.get().saturating_add(1)));
                DebugDelete { within, ..which.clone() }.has(&row.run, steps)
            }
            _ => which.has(&row.run, steps),
        }
    }
}

/// As many as fit into a page, and one at least.
fn page<T>(items: impl Iterator<Item = T>, most: usize, least: usize, bytes: impl Fn(&T) -> usize) -> Vec<T> {
    let (mut page, mut all) = (Vec::new(), 0);
    for item in items {
        all += bytes(&item);
        if all > most && page.len() >= least {
            break;
        }
        page.push(item);
    }
    page
}

#[async_trait]
impl DebugStore for BrokenDebug {
    async fn write(&self, writes: &[DebugWrite]) -> Result<Vec<DebugWritten>, StoreError> {
        self.check(writes)?;
        self.lock().await;
        let mut writes: Vec<&DebugWrite> = writes.iter().collect();
        if self.is(Fault::Backwards) {
            writes.reverse();
        }
        let stale = self.table.lock().rows.clone();
        let reads_first =
            [Fault::ReadsThenEnds, Fault::ReadsThenJoins, Fault::ReadsThenNumbers, Fault::ReadsThenCreates];
        if reads_first.contains(&self.fault) {
            self.pause().await;
        } else {
            self.table.lock().before = stale.clone();
        }
        let mut said = Vec::new();
        if self.is(Fault::OneByOne) {
            for write in writes {
                said.push(self.apply(&mut self.table.lock().rows, &stale, write));
                self.pause().await;
            }
            return Ok(said);
        }
        let rows = &mut self.table.lock().rows;
        for write in writes {
            if self.is(Fault::ChecksAsItGoes) {
                StoreError::check_debug_writes(std::slice::from_ref(write))?;
            }
            said.push(self.apply(rows, &stale, write));
            let nothing = matches!(said.last(), Some(DebugWritten::Missing | DebugWritten::Finished));
            if nothing && self.is(Fault::StopsWhereNothingIsDone) {
                break;
            }
        }
        if self.is(Fault::Backwards) {
            said.reverse();
        }
        Ok(said)
    }

    async fn runs(
        &self,
        chat: ChatId,
        before: Option<(Timestamp, RunId)>,
        limit: usize,
    ) -> Result<Vec<DebugRun>, StoreError> {
        if !self.is(Fault::TakesAnyPage) {
            StoreError::check_page(limit)?;
        }
        let rows =
            if self.is(Fault::ListsOneWriteLate) { self.table.lock().before.clone() } else { self.seen() };
        let key = |chat: ChatId| match self.fault {
            Fault::FindsChatsBySomeBits => chat.as_uuid().as_u128() << 1 >> 1,
            _ => chat.as_uuid().as_u128(),
        };
        let runs = rows.runs.into_iter().map(|row| row.run);
        let mut runs: Vec<DebugRun> = runs.filter(|run| key(run.chat) == key(chat)).collect();
        match self.fault {
            Fault::OldestFirst => runs.sort_by_key(|run| (run.started_at, run.id)),
            // As they were created, within a time.
            Fault::ByTimeAlone => runs.sort_by_key(|run| Reverse(run.started_at)),
            Fault::ByUpdate => runs.sort_by_key(|run| Reverse((run.updated_at, run.id))),
            _ => runs.sort_by_key(|run| Reverse((run.started_at, run.id))),
        }
        match (self.fault, before) {
            (Fault::IgnoresBefore, _) | (_, None) => {}
            (Fault::GoesOnBehindTheTime, Some((time, _))) => runs.retain(|run| run.started_at < time),
            (Fault::IncludesBefore, Some(before)) => runs.retain(|run| (run.started_at, run.id) <= before),
            (_, Some(before)) => runs.retain(|run| (run.started_at, run.id) < before),
        }
        runs.truncate(if self.is(Fault::FullPagesAreShort) { limit.min(10) } else { limit });
        Ok(runs)
    }

    async fn run(&self, chat: ChatId, run: RunId) -> Result<Option<DebugRun>, StoreError> {
        let rows = self.seen();
        let found = rows.place(run).map(|n| rows.runs[n].run.clone());
        Ok(found.filter(|run| run.chat == chat))
    }

    async fn steps(
        &self,
        chat: ChatId,
        run: RunId,
        after: u32,
        limit: usize,
        detail: Detail,
    ) -> Result<Vec<DebugStep>, StoreError> {
        if !self.is(Fault::TakesAnyPage) {
            StoreError::check_page(limit)?;
        }
        let rows = self.seen();
        let found = rows.place(run).map(|n| rows.runs[n].clone());
        let found = found.filter(|row| row.run.chat == chat || self.is(Fault::StepsOfAnyChat));
        let mut steps = found.map(|row| row.steps).unwrap_or_default();
        match self.fault {
            Fault::StepsIgnoreAfter if after < 13 => {}
            Fault::StepsIncludeAfter => steps.retain(|step| step.number >= after && after < 13),
            _ => steps.retain(|step| step.number > after),
        }
        match self.fault {
            Fault::StepsDescend => steps.reverse(),
            Fault::StepsByStart => steps.sort_by_key(|step| step.started_at),
            _ => {}
        }
        steps.truncate(limit);
        if detail == Detail::Outline {
            if self.is(Fault::OutlinesStopAtBytes) {
                steps = page(steps.into_iter(), PAGE_BYTES_MAX, 1, DebugStep::bytes);
            }
            return Ok(steps
                .into_iter()
                .map(|step| match self.fault {
                    Fault::OutlineIsWhole => step,
                    Fault::OutlineIsLess => DebugStep { metadata: None, ..step.outline() },
                    _ => step.outline(),
                })
                .collect());
        }
        let most = if self.is(Fault::PagesOfAnyBytes) { usize::MAX } else { PAGE_BYTES_MAX };
        let least = usize::from(!self.is(Fault::EmptyPageForALargeStep));
        Ok(page(steps.into_iter(), most, least, DebugStep::bytes))
    }

    async fn contents(
        &self,
        chat: ChatId,
        run: RunId,
        hashes: &[ContentHash],
    ) -> Result<Vec<Option<Box<[u8]>>>, StoreError> {
        if !self.is(Fault::TakesAnyNames) {
            StoreError::check_debug_contents(hashes.len())?;
        }
        let rows = self.seen();
        let row = rows.find(chat, run);
        let any = [Fault::ContentOfTheChat, Fault::ContentOfAllChats].contains(&self.fault);
        let of = if self.is(Fault::ContentOfAllChats) { ChatId::from_uuid(Default::default()) } else { chat };
        let has = |hash: &ContentHash| row.is_some_and(|row| any || row.names.contains(hash));
        let mut hashes = hashes.to_vec();
        if self.is(Fault::ContentInItsOwnOrder) {
            hashes.sort_unstable();
        }
        let piece = |hash: &ContentHash| rows.contents.get(&(of, *hash)).filter(|_| has(hash)).cloned();
        let most = if self.is(Fault::PagesOfAnyBytes) { usize::MAX } else { PAGE_BYTES_MAX };
        let most =
            if self.is(Fault::ContentStopsBeforeTheFirst) { DEBUG_CONTENT_BYTES_MAX / 2 } else { most };
        let least = usize::from(!self.is(Fault::ContentStopsBeforeTheFirst));
        let bytes = |piece: &Option<Box<[u8]>>| piece.as_ref().map_or(0, |piece| piece.len());
        Ok(page(hashes.iter().map(piece), most, least, bytes))
    }

    async fn sweep(&self, now: Timestamp, before: Timestamp, limit: usize) -> Result<Swept, StoreError> {
        if !self.is(Fault::SweepTakesAnyLimit) {
            StoreError::check_page(limit)?;
        }
        let is_stale = |run: &DebugRun| {
            let time = if self.is(Fault::SweepByStart) { run.started_at } else { run.updated_at };
            let is_open = run.finished_at.is_none() || self.is(Fault::SweepsWhatHasEnded);
            is_open && (time < before || self.is(Fault::SweepIncludesBefore) && time == before)
        };
        let stale: Vec<RunId> = self
            .table
            .lock()
            .rows
            .runs
            .iter()
            .filter(|row| is_stale(&row.run))
            .map(|row| row.run.id)
            .collect();
        if self.is(Fault::SweepReadsThenEnds) {
            self.pause().await;
        }
        let limit = if self.is(Fault::SweepHasNoLimit) { usize::MAX } else { limit };
        let more = usize::from(self.is(Fault::SweepEndsMoreThanItNames));
        let table = &mut *self.table.lock();
        table.before = table.rows.clone();
        let mut swept = Swept::default();
        let mut count = 0;
        let status =
            if self.is(Fault::SweepIsAnError) { DebugStatus::Error } else { DebugStatus::Interrupted };
        let at = if self.is(Fault::SweepEndsAtBefore) { Some(before) } else { None };
        for Row { run, steps, .. } in &mut table.rows.runs {
            let ends = stale.contains(&run.id) && count < limit + more;
            if ends {
                count += 1;
                if self.is(Fault::SweepsWhatHasEnded) {
                    (run.status, run.finished_at) = (DebugStatus::InProgress, None);
                }
                run.apply(&RunChange { status: Some(status), finished_at: at, ..RunChange::default() }, now);
                if swept.runs.len() < limit && !self.is(Fault::SweepNamesNothing) {
                    swept.runs.push((run.chat, run.id));
                }
            }
            for step in steps {
                let goes_alone = step.updated_at < before && !self.is(Fault::SweepLeavesSteps);
                let fresh = self.is(Fault::SweepTakesFreshSteps) && step.updated_at == before;
                let is_open = step.finished_at.is_none() || ends && self.is(Fault::SweepEndsEndedSteps);
                let is_open = is_open && !self.is(Fault::SweepNeverEndsSteps);
                if is_open && (ends || goes_alone || fresh) {
                    step.status = DebugStatus::InProgress;
                    let end = Some(DebugStatus::Interrupted);
                    step.apply(&StepChange { status: end, ..StepChange::default() }, now);
                    swept.steps += u64::from(!self.is(Fault::SweepCountsNoSteps));
                }
            }
        }
        Ok(swept)
    }

    async fn delete(&self, which: &DebugDelete, limit: usize) -> Result<usize, StoreError> {
        if !self.is(Fault::DeletionWithoutACondition) {
            StoreError::check_debug_delete(which)?;
        }
        if !self.is(Fault::DeletionTakesAnyLimit) {
            StoreError::check_page(limit)?;
        }
        let limit = if self.is(Fault::DeletionHasNoLimit) { usize::MAX } else { limit };
        if self.is(Fault::HalfADeletionWhenDropped) {
            for row in &mut self.table.lock().rows.runs {
                if self.means(which, row) {
                    row.steps.clear();
                }
            }
            self.pause().await;
        }
        let table = &mut *self.table.lock();
        table.before = table.rows.clone();
        let rows = &mut table.rows;
        let condemned = rows.runs.iter().filter(|row| self.means(which, row)).map(|row| row.run.id);
        let condemned: Vec<RunId> = condemned.take(limit).collect();
        let (gone, stay): (Vec<Row>, Vec<Row>) =
            rows.runs.drain(..).partition(|row| condemned.contains(&row.run.id));
        rows.runs = stay;
        for row in gone {
            for name in &row.names {
                let has = |other: &Row| other.run.chat == row.run.chat && other.names.contains(name);
                let is_had = rows.runs.iter().any(has) && !self.is(Fault::DeletionTakesSharedContent);
                if !is_had {
                    rows.contents.remove(&(row.run.chat, *name));
                }
            }
            rows.ghosts.insert(row.run.id, row.steps);
        }
        let less = usize::from(self.is(Fault::DeletionTellsOneLess) && condemned.len() > 1);
        Ok(condemned.len() - less)
    }
}
