//! D4: what nobody writes any more.

use chatwright_core::debug::{DebugRun, DebugStatus, DebugStep, DebugWritten};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::{DebugStore, StoreErrorKind};
use chatwright_core::{ChatId, RunId, StepId, Timestamp};
use tokio::task::JoinSet;

use super::fixture::{Desk, Notes, step_to, to, touch, update, update_step};
use crate::Subject;
use crate::wait::all;

/// Most rounds that other tests may disturb.
const ROUNDS_MAX: usize = 100;

/// Rounds until one was not disturbed: whatever another test's sweep ended says when, and no two sweep at one time.
struct Rounds(usize);

impl Rounds {
    fn again(&mut self, clause: &str) {
        self.0 += 1;
        assert!(self.0 < ROUNDS_MAX, "{clause}: what is swept does not end at the time of the sweep");
    }
}

/// What is stored of these runs, with their steps, unless another sweep than that of `now` has met one.
async fn met(notes: &Notes, runs: &[DebugRun], now: Timestamp) -> Option<Vec<(DebugRun, Vec<DebugStep>)>> {
    let mut found = Vec::new();
    for run in runs {
        let row = (notes.stored(run).await, notes.steps(run).await);
        let is_swept = |status| status == DebugStatus::Interrupted;
        let foreign = |status, end| is_swept(status) && end != Some(now);
        if foreign(row.0.status, row.0.finished_at)
            || row.1.iter().any(|step| foreign(step.status, step.finished_at))
        {
            return None;
        }
        found.push(row);
    }
    Some(found)
}

fn ended(run: &DebugRun, now: Timestamp) -> DebugRun {
    let mut run = run.clone();
    run.apply(&to(DebugStatus::Interrupted), now);
    run
}

fn ended_step(step: &DebugStep, now: Timestamp) -> DebugStep {
    let mut step = step.clone();
    step.apply(&step_to(DebugStatus::Interrupted), now);
    step
}

fn own(desk: &Desk, swept: Vec<(ChatId, RunId)>) -> Vec<RunId> {
    let mut own: Vec<RunId> = swept.into_iter().filter(|of| of.0 == desk.chat).map(|of| of.1).collect();
    own.sort_unstable();
    own
}

pub(super) async fn d4_what_was_touched_is_not_swept_and_what_was_swept_is_not_touched(
    subject: &Subject<dyn DebugStore>,
) {
    const CLAUSE: &str = "debug.D4";
    let notes = subject.notes(CLAUSE).await;
    let beside = subject.beside(&notes).await;
    for _ in 0..6 {
        let mut rounds = Rounds(0);
        while swept_and_touched(subject, &notes, &beside).await.is_none() {
            rounds.again(CLAUSE);
        }
    }
}

async fn swept_and_touched(subject: &Subject<dyn DebugStore>, notes: &Notes, beside: &Notes) -> Option<()> {
    let clause = notes.clause;

    let (desk, now) = (subject.desk_to_sweep(), subject.moment());
    let mut runs = Vec::new();
    for _ in 0..16 {
        let run = desk.run(&subject.ids, 1);
        let step = desk.step(&subject.ids, &run, 1);
        notes.create_at_once(&run, std::slice::from_ref(&step), &[]).await;
        runs.push((run, step));
    }
    let mut touchers = JoinSet::new();
    for (run, step) in runs.clone() {
        let (notes, at) = (beside.clone(), desk.at(50));
        let step = subject.chance.percent(50).then_some(step);
        touchers.spawn(async move { (run.id, notes.one(touch(&run, step.as_ref(), at)).await) });
    }
    if subject.chance.percent(50) {
        tokio::task::yield_now().await;
    }
    let mut swept = Vec::new();
    loop {
        let some = notes.sweep(now, desk.at(10), PAGE_ITEMS_MAX).await.runs;
        let more = some.len() == PAGE_ITEMS_MAX;
        swept.extend(some);
        if !more {
            break;
        }
    }
    let (swept, touched) = (own(&desk, swept), all(touchers).await);
    let runs: Vec<DebugRun> = runs.into_iter().map(|(run, _)| run).collect();
    let found = met(notes, &runs, now).await?;
    for (run, steps) in found {
        let said = touched.iter().find(|(id, _)| *id == run.id).map(|(_, written)| *written);
        let is_swept = swept.contains(&run.id);
        let story = (is_swept, said, run.status, run.updated_at);
        let (alive, gone) = (DebugStatus::InProgress, DebugStatus::Interrupted);
        let stories = [
            (false, Some(DebugWritten::Done), alive, desk.at(50)),
            (true, Some(DebugWritten::Finished), gone, now),
        ];
        assert!(stories.contains(&story), "{clause}: swept, touched, and then: {story:?}");
        // A step that its run alone was touched with may go without it.
        if is_swept {
            assert_eq!(steps[0].status, gone, "{clause}: the step of a run that was swept");
            assert_eq!(steps[0].updated_at, now, "{clause}: the step of a run that was swept");
        }
    }
    Some(())
}

pub(super) async fn d4_only_what_goes_on_and_is_older_is_swept(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D4";
    let notes = subject.notes(CLAUSE).await;
    let mut rounds = Rounds(0);
    while swept_at_ten(subject, &notes).await.is_none() {
        rounds.again(CLAUSE);
    }
}

async fn swept_at_ten(subject: &Subject<dyn DebugStore>, notes: &Notes) -> Option<()> {
    let clause = notes.clause;

    let (desk, now) = (subject.desk_to_sweep(), subject.moment());
    // Swept at 10: (when something last happened to the run, whether it has ended, and the same of its step).
    let cases = [
        ((9, false), (9, false)),
        ((9, false), (9, true)),
        ((10, false), (9, false)),
        ((10, false), (10, false)),
        ((11, false), (11, true)),
        ((9, true), (9, false)),
        ((9, true), (9, true)),
        ((11, true), (11, false)),
    ];
    let mut rows = Vec::new();
    for ((run_at, run_ended), (step_at, step_ended)) in cases {
        let status = |ended| if ended { DebugStatus::Error } else { DebugStatus::InProgress };
        let new = desk.run(&subject.ids, 1);
        let step = desk.step(&subject.ids, &new, 1);
        let step = DebugStep { status: status(step_ended), updated_at: desk.at(step_at), ..step };
        let step = DebugStep { number: 1, ..step.settled() };
        // Its time is that of what last happened to it, which its step may be.
        let then = [update(&new, &to(status(run_ended)), desk.at(run_at))];
        notes.create_at_once(&new, std::slice::from_ref(&step), &then).await;
        let mut run = new.clone();
        run.updated_at = desk.at(step_at);
        run.apply(&to(status(run_ended)), desk.at(run_at));
        rows.push((run, step));
    }
    let mut swept = Vec::new();
    loop {
        let some = notes.sweep(now, desk.at(10), PAGE_ITEMS_MAX).await.runs;
        let more = some.len() == PAGE_ITEMS_MAX;
        swept.extend(some);
        if !more {
            break;
        }
    }
    let runs: Vec<DebugRun> = rows.iter().map(|(run, _)| run.clone()).collect();
    let found = met(notes, &runs, now).await?;
    let mut stale: Vec<RunId> = Vec::new();
    for ((run, step), (found, steps)) in rows.iter().zip(found) {
        let is_stale = run.finished_at.is_none() && run.updated_at < desk.at(10);
        if is_stale {
            stale.push(run.id);
        }
        let case = (run.updated_at.as_millis() - desk.at(0).as_millis(), run.status, step.status);
        let run = if is_stale { ended(run, now) } else { run.clone() };
        assert_eq!(found, run, "{clause}: a run {case:?} after a sweep at 10");
        let goes = step.finished_at.is_none() && (is_stale || step.updated_at < desk.at(10));
        let step = if goes { ended_step(step, now) } else { step.clone() };
        assert_eq!(steps, [step], "{clause}: the step of a run {case:?} after a sweep at 10");
    }
    stale.sort_unstable();
    assert_eq!(own(&desk, swept), stale, "{clause}: the runs that a sweep names");
    Some(())
}

pub(super) async fn d4_the_steps_of_a_run_that_is_swept_end_with_it(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D4";
    let notes = subject.notes(CLAUSE).await;
    // A count of steps is one of all chats: one round in which nobody else's are counted will do.
    let mut rounds = Rounds(0);
    while swept_with_its_steps(subject, &notes).await.is_none() {
        rounds.again(CLAUSE);
    }
}

async fn swept_with_its_steps(subject: &Subject<dyn DebugStore>, notes: &Notes) -> Option<()> {
    let clause = notes.clause;

    let (desk, now) = (subject.desk_to_sweep(), subject.moment());
    let run = desk.run(&subject.ids, 1);
    let step = |status| DebugStep { status, ..desk.step(&subject.ids, &run, 1) };
    let steps = [DebugStatus::InProgress, DebugStatus::Error, DebugStatus::InProgress].map(step);
    notes.create_at_once(&run, &steps, &[]).await;
    let stale = notes.stored(&run).await;
    let swept = notes.sweep(now, desk.at(10), PAGE_ITEMS_MAX).await;
    let found = met(notes, std::slice::from_ref(&run), now).await?;
    assert_eq!(own(&desk, swept.runs), [run.id], "{clause}: the run that a sweep names");
    let (found, found_steps) = found.into_iter().next().expect("there is one");
    assert_eq!(found, ended(&stale, now), "{clause}: a run that was swept");
    let expected: Vec<DebugStep> = (1..)
        .zip(&steps)
        .map(|(number, step)| {
            let step = DebugStep { number, ..step.clone().settled() };
            if step.finished_at.is_none() { ended_step(&step, now) } else { step }
        })
        .collect();
    assert_eq!(found_steps, expected, "{clause}: the steps of a run that was swept");
    // Its own may still say what became of it.
    let late = update_step(&steps[0], &step_to(DebugStatus::Completed), now);
    notes.done(late, "a step that was swept").await;
    notes.done(update(&run, &to(DebugStatus::Completed), now), "a run that was swept").await;
    let late = notes.stored(&run).await;
    let healed = (DebugStatus::Completed, Some(now));
    assert_eq!((late.status, late.finished_at), healed, "{clause}: a run that was swept, and ended");
    (swept.steps == 2).then_some(())
}

pub(super) async fn d4_a_sweep_takes_so_many_runs_and_names_them(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D4";
    let notes = subject.notes(CLAUSE).await;
    for limit in [1, 2, 3, 5, 6] {
        let mut rounds = Rounds(0);
        while swept_by_so_many(subject, &notes, limit).await.is_none() {
            rounds.again(CLAUSE);
        }
    }
    let desk = subject.desk_to_sweep();
    for limit in [0, PAGE_ITEMS_MAX + 1] {
        let refused = notes.store.sweep(desk.at(1), desk.at(0), limit).await;
        let refused = refused.map_err(|error| error.kind());
        assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: a sweep of {limit} is refused");
    }
}

async fn swept_by_so_many(subject: &Subject<dyn DebugStore>, notes: &Notes, limit: usize) -> Option<()> {
    let clause = notes.clause;

    let (desk, now) = (subject.desk_to_sweep(), subject.moment());
    let mut runs = Vec::new();
    for _ in 0..5 {
        let run = desk.run(&subject.ids, 1);
        notes.create_at_once(&run, &[], &[]).await;
        runs.push(run);
    }
    let mut named = Vec::new();
    for _ in 0..1_000 {
        let swept = notes.sweep(now, desk.at(10), limit).await.runs;
        let full = swept.len() == limit;
        named.extend(own(&desk, swept));
        let found = met(notes, &runs, now).await?;
        let mut gone = Vec::new();
        gone.extend(found.iter().filter(|row| row.0.finished_at.is_some()).map(|row| row.0.id));
        named.sort_unstable();
        gone.sort_unstable();
        assert_eq!(named, gone, "{clause}: what sweeps of {limit} name, and what they end");
        if !full {
            assert_eq!(gone.len(), runs.len(), "{clause}: all that sweeps of {limit} end");
            return Some(());
        }
    }
    panic!("{clause}: sweeps of {limit} do not end");
}

pub(super) async fn d4_touching_meets_the_run_and_the_step_that_are_named_and_go_on(
    subject: &Subject<dyn DebugStore>,
) {
    const CLAUSE: &str = "debug.D4";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let (run, other) = (desk.run(&subject.ids, 1), desk.run(&subject.ids, 1));
    let step = |run: &DebugRun| desk.step(&subject.ids, run, 1);
    let (first, second, strange) = (step(&run), step(&run), step(&other));
    notes.create(&run, &[first.clone(), second.clone()]).await;
    notes.create(&other, std::slice::from_ref(&strange)).await;
    let times = async |what: &str, run_at: i64, steps_at: [i64; 2]| {
        let found = notes.steps(&run).await.into_iter().map(|step| step.updated_at);
        let found: Vec<Timestamp> = [notes.stored(&run).await.updated_at].into_iter().chain(found).collect();
        let expected = [run_at, steps_at[0], steps_at[1]].map(|ms| desk.at(ms));
        assert_eq!(found, expected, "{CLAUSE}: {what}: the times of a run and its steps");
        let elsewhere = (notes.stored(&other).await.updated_at, notes.only_step(&other).await.updated_at);
        assert_eq!(elsewhere, (desk.at(1), desk.at(1)), "{CLAUSE}: {what}: the times of another run");
    };
    notes.done(touch(&run, None, desk.at(10)), "a run").await;
    times("a run was touched", 10, [1, 1]).await;
    notes.done(touch(&run, Some(&second), desk.at(20)), "a run and a step").await;
    times("a step was touched", 20, [1, 20]).await;
    notes.done(touch(&run, Some(&second), desk.at(15)), "an earlier time").await;
    times("touched at an earlier time", 20, [1, 20]).await;
    let unknown = DebugStep { id: StepId::mint(&subject.ids), ..first.clone() };
    for (absent, what) in [(&strange, "another run's step"), (&unknown, "a step that is not there")] {
        notes.says(touch(&run, Some(absent), desk.at(30)), DebugWritten::Missing, what).await;
        times(what, 20, [1, 20]).await;
    }
    let nobody = desk.run(&subject.ids, 1);
    notes.says(touch(&nobody, None, desk.at(30)), DebugWritten::Missing, "a run that is not there").await;
    notes.done(update_step(&first, &step_to(DebugStatus::Error), desk.at(31)), "a step").await;
    notes.done(touch(&run, Some(&first), desk.at(40)), "a step that has ended").await;
    times("a step that has ended was touched", 40, [31, 20]).await;
    notes.done(update(&run, &to(DebugStatus::Completed), desk.at(50)), "a run").await;
    for step in [None, Some(&first), Some(&second)] {
        let late = touch(&run, step, desk.at(60));
        notes.says(late, DebugWritten::Finished, "a run that has ended").await;
        times("a run that has ended was touched", 50, [31, 20]).await;
    }
}
