//! D1, D2, D3: how runs and steps end.

use std::time::Duration;

use chatwright_core::ChatId;
use chatwright_core::debug::{Change, DebugRun, DebugStatus, DebugStep, DebugWritten, RunChange, StepChange};
use chatwright_core::port::DebugStore;
use tokio::task::JoinSet;

use super::fixture::{Desk, create_step, json, step_to, to, touch, update, update_step};
use crate::Subject;
use crate::wait::all;

const ENDS: [DebugStatus; 3] = [DebugStatus::Interrupted, DebugStatus::Error, DebugStatus::Completed];

pub(super) async fn d1_the_first_end_of_a_run_stays(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D1";
    let mut notes = subject.notes(CLAUSE).await;
    for first in ENDS {
        for given in [None, Some(7)] {
            let desk = subject.desk();
            let run = desk.run(&subject.ids, 1);
            notes.create(&run, &[]).await;
            let end = RunChange { finished_at: given.map(|ms| desk.at(ms)), ..to(first) };
            notes.done(update(&run, &end, desk.at(10)), "a run that goes on").await;
            let ended = Some(desk.at(given.unwrap_or(10)));
            let later = RunChange { finished_at: Some(desk.at(99)), ..to(DebugStatus::Completed) };
            let earlier = RunChange { finished_at: Some(desk.at(0)), ..to(DebugStatus::Completed) };
            let unnamed = RunChange { finished_at: Some(desk.at(50)), ..RunChange::default() };
            let changes =
                [RunChange::default(), unnamed, to(first), later, earlier, to(DebugStatus::Completed)];
            for (n, change) in (20..).zip(changes) {
                notes.done(update(&run, &change, desk.at(n)), "a run that has ended").await;
                let found = notes.stored(&run).await.finished_at;
                assert_eq!(found, ended, "{CLAUSE}: the end of a run after {change:?}");
            }
            notes = subject.reconnect(notes).await;
            let found = notes.stored(&run).await;
            let expected = (DebugStatus::Completed, ended);
            assert_eq!((found.status, found.finished_at), expected, "{CLAUSE}: the end of a run, later");
        }
    }
}

pub(super) async fn d1_a_run_that_ends_without_a_time_ends_at_that_of_the_write(
    subject: &Subject<dyn DebugStore>,
) {
    const CLAUSE: &str = "debug.D1";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    for status in ENDS {
        let run = desk.run(&subject.ids, 1);
        notes.create(&run, &[]).await;
        let unnamed = RunChange { finished_at: Some(desk.at(5)), ..RunChange::default() };
        notes.done(update(&run, &unnamed, desk.at(6)), "a run that goes on").await;
        let found = notes.stored(&run).await.finished_at;
        assert_eq!(found, None, "{CLAUSE}: the end of a run that goes on, whatever is said of it");
        notes.done(update(&run, &to(status), desk.at(7)), "a run that goes on").await;
        let found = notes.stored(&run).await.finished_at;
        assert_eq!(found, Some(desk.at(7)), "{CLAUSE}: the end of a run that is {status:?}");
        // One may come as it has ended.
        let late = DebugRun { status, updated_at: desk.at(8), ..desk.run(&subject.ids, 1) };
        notes.create(&late, &[]).await;
        let found = notes.stored(&late).await.finished_at;
        assert_eq!(found, Some(desk.at(8)), "{CLAUSE}: the end of a run that is created {status:?}");
    }
}

pub(super) async fn d1_of_many_that_end_a_run_at_once_one_sets_its_end(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D1";
    let notes = subject.notes(CLAUSE).await;
    let both = [notes.clone(), subject.beside(&notes).await];
    for _ in 0..4 {
        let desk = subject.desk();
        let run = desk.run(&subject.ids, 1);
        notes.create(&run, &[]).await;
        let mut writers = JoinSet::new();
        for n in 0..32 {
            let (notes, desk, run) = (both[n % 2].clone(), desk.clone(), run.clone());
            let ms = i64::try_from(n).expect("a small number");
            writers.spawn(async move {
                let end = RunChange { finished_at: Some(desk.at(ms)), ..to(DebugStatus::Completed) };
                notes.done(update(&run, &end, desk.at(100)), "ended by many at once").await;
                notes.stored(&run).await.finished_at
            });
        }
        let seen = all(writers).await;
        assert!(seen[0].is_some(), "{CLAUSE}: no end after it was written");
        for end in &seen {
            assert_eq!(*end, seen[0], "{CLAUSE}: an end that was seen and then moved");
        }
    }
}

pub(super) async fn d1_a_step_ends_when_it_was_last_ended(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D1";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let run = desk.run(&subject.ids, 1);
    let step = desk.step(&subject.ids, &run, 1);
    notes.create(&run, std::slice::from_ref(&step)).await;
    let at = |ms, status| StepChange { finished_at: Some(desk.at(ms)), ..step_to(status) };
    let unnamed = StepChange { finished_at: Some(desk.at(77)), ..StepChange::default() };
    for (change, now, end) in [
        (unnamed.clone(), 2, None),
        (step_to(DebugStatus::InProgress), 3, None),
        (step_to(DebugStatus::Error), 4, Some(4)),
        (unnamed.clone(), 5, Some(4)),
        (StepChange::default(), 6, Some(4)),
        (at(9, DebugStatus::Error), 7, Some(9)),
        (step_to(DebugStatus::Completed), 8, Some(8)),
        (at(30, DebugStatus::Completed), 20, Some(30)),
        (unnamed, 21, Some(30)),
    ] {
        notes.done(update_step(&step, &change, desk.at(now)), "a step").await;
        let found = notes.only_step(&run).await.finished_at;
        assert_eq!(found, end.map(|ms| desk.at(ms)), "{CLAUSE}: the end of a step after {change:?}");
    }
    for status in ENDS {
        let run = desk.run(&subject.ids, 1);
        let late = DebugStep { status, updated_at: desk.at(8), ..desk.step(&subject.ids, &run, 1) };
        notes.create(&run, &[late]).await;
        let found = notes.only_step(&run).await.finished_at;
        assert_eq!(found, Some(desk.at(8)), "{CLAUSE}: the end of a step that is created {status:?}");
    }
}

pub(super) async fn d2_a_step_joins_a_run_of_its_chat_that_goes_on_and_no_other(
    subject: &Subject<dyn DebugStore>,
) {
    const CLAUSE: &str = "debug.D2";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let run = desk.run(&subject.ids, 1);
    let missing = desk.step(&subject.ids, &run, 2);
    notes.says(create_step(&missing), DebugWritten::Missing, "a step of no run").await;
    notes.create(&run, &[]).await;
    assert_eq!(notes.steps(&run).await, [], "{CLAUSE}: a step that came before its run");
    let other = ChatId::mint(&subject.ids);
    let foreign = DebugStep { chat: other, ..desk.step(&subject.ids, &run, 2) };
    notes.says(create_step(&foreign), DebugWritten::Missing, "a step of another chat's run").await;
    let before = notes.stored(&run).await;
    notes
        .says(
            update(&DebugRun { chat: other, ..run.clone() }, &to(DebugStatus::Error), desk.at(3)),
            DebugWritten::Missing,
            "another chat's run",
        )
        .await;
    notes
        .says(
            touch(&DebugRun { chat: other, ..run.clone() }, None, desk.at(3)),
            DebugWritten::Missing,
            "another chat's run",
        )
        .await;
    assert_eq!(notes.stored(&run).await, before, "{CLAUSE}: a run after others meant it");
    assert_eq!(notes.steps(&run).await, [], "{CLAUSE}: steps after others meant the run");
    let own = desk.step(&subject.ids, &run, 4);
    notes.says(create_step(&own), DebugWritten::Step(1), "a step of a run that goes on").await;
    let elsewhere = DebugStep { chat: other, ..own.clone() };
    let fails = step_to(DebugStatus::Error);
    notes
        .says(update_step(&elsewhere, &fails, desk.at(5)), DebugWritten::Missing, "another chat's step")
        .await;
    let stored = DebugStep { number: 1, ..own.clone() };
    assert_eq!(notes.steps(&run).await, std::slice::from_ref(&stored), "{CLAUSE}: the only step");
    for status in ENDS {
        notes.done(update(&run, &to(status), desk.at(6)), "a run").await;
        let ended = notes.stored(&run).await;
        let late = desk.step(&subject.ids, &run, 7);
        notes
            .says(create_step(&late), DebugWritten::Finished, &format!("a step of a run that is {status:?}"))
            .await;
        assert_eq!(notes.steps(&run).await, std::slice::from_ref(&stored), "{CLAUSE}: steps after its end");
        assert_eq!(notes.stored(&run).await, ended, "{CLAUSE}: the run after a step came too late");
    }
    // What is there may still change.
    notes.done(update_step(&own, &fails, desk.at(9)), "a step of a run that has ended").await;
    assert_eq!(notes.only_step(&run).await.status, DebugStatus::Error, "{CLAUSE}: a late change of a step");
}

pub(super) async fn d2_no_step_joins_a_run_that_ends_meanwhile(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D2";
    let notes = subject.notes(CLAUSE).await;
    let both = [notes.clone(), subject.beside(&notes).await];
    for round in 0..12 {
        let desk = subject.desk();
        let run = desk.run(&subject.ids, 1);
        notes.create(&run, &[]).await;
        let mut creators = JoinSet::new();
        for n in 0..16 {
            let (notes, run) = (both[n % 2].clone(), run.clone());
            let step = desk.step(&subject.ids, &run, 2);
            creators.spawn(async move { (notes.one(create_step(&step)).await, step.id) });
        }
        // It ends before, while and after they look.
        match round % 3 {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
        notes.done(update(&run, &to(DebugStatus::Completed), desk.at(3)), "a run").await;
        let at_its_end = notes.steps(&run).await;
        let mut joined = Vec::new();
        for (written, step) in all(creators).await {
            match written {
                DebugWritten::Step(number) => joined.push((number, step)),
                DebugWritten::Finished => {}
                other => panic!("{CLAUSE}: creating a step says {other:?}"),
            }
        }
        joined.sort_unstable();
        let later = notes.steps(&run).await;
        assert_eq!(later, at_its_end, "{CLAUSE}: steps after the end of the run, and at it");
        let later: Vec<_> = later.iter().map(|step| (step.number, step.id)).collect();
        assert_eq!(later, joined, "{CLAUSE}: the steps that were told to have joined");
    }
}

/// Somebody's own words for every field, so that whatever changes is seen.
fn words(desk: &Desk) -> RunChange {
    RunChange {
        summary: Some(json(r#""other""#)),
        turn: Some(chatwright_core::Seq::new(71)),
        finished_at: Some(desk.at(44)),
        ..RunChange::default()
    }
}

pub(super) async fn d3_the_status_of_a_run_only_rises(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D3";
    let notes = subject.notes(CLAUSE).await;
    for from in DebugStatus::ALL {
        for next in DebugStatus::ALL {
            let desk = subject.desk();
            let run = desk.run(&subject.ids, 1);
            notes.create(&run, &[]).await;
            notes.done(update(&run, &to(from), desk.at(10)), "a new run").await;
            let before = notes.stored(&run).await;
            let change = RunChange { status: Some(next), ..words(&desk) };
            let mut after = before.clone();
            let rises = after.apply(&change, desk.at(20));
            let written = if rises { DebugWritten::Done } else { DebugWritten::Kept };
            notes.says(update(&run, &change, desk.at(20)), written, &format!("{from:?} to {next:?}")).await;
            assert_eq!(notes.stored(&run).await, after, "{CLAUSE}: a run from {from:?} to {next:?}");
        }
    }
}

pub(super) async fn d3_the_status_of_a_step_only_rises(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D3";
    let notes = subject.notes(CLAUSE).await;
    for from in DebugStatus::ALL {
        for next in DebugStatus::ALL {
            let desk = subject.desk();
            let run = desk.run(&subject.ids, 1);
            let step = desk.step(&subject.ids, &run, 1);
            notes.create(&run, std::slice::from_ref(&step)).await;
            notes.done(update_step(&step, &step_to(from), desk.at(10)), "a new step").await;
            let (run_before, before) = (notes.stored(&run).await, notes.only_step(&run).await);
            let change = StepChange {
                status: Some(next),
                request: Change::Clear,
                usage: Change::Set(json("8")),
                finished_at: Some(desk.at(44)),
                ..StepChange::default()
            };
            let mut after = before.clone();
            let rises = after.apply(&change, desk.at(20));
            let written = if rises { DebugWritten::Done } else { DebugWritten::Kept };
            let what = format!("{from:?} to {next:?}");
            notes.says(update_step(&step, &change, desk.at(20)), written, &what).await;
            assert_eq!(notes.only_step(&run).await, after, "{CLAUSE}: a step from {what}");
            let updated_at = if rises { desk.at(20) } else { run_before.updated_at };
            let run_after = DebugRun { updated_at, ..run_before };
            assert_eq!(notes.stored(&run).await, run_after, "{CLAUSE}: the run of a step from {what}");
        }
    }
}
