//! D5, D8, D9: what rows say.

use std::collections::BTreeSet;

use chatwright_core::debug::{
    Change, DebugRun, DebugStatus, DebugStep, DebugWritten, Detail, RunChange, RunKind, StepChange,
};
use chatwright_core::limits::{ID_BYTES_MAX, PAGE_ITEMS_MAX};
use chatwright_core::model::ModelId;
use chatwright_core::port::DebugStore;
use chatwright_core::{ChatId, Json, Seq, StepId, Timestamp, UserId};
use tokio::task::JoinSet;

use super::fixture::{create, create_step, json, step_to, to, touch, update, update_step};
use crate::Subject;
use crate::wait::all;

/// Every JSON value of a step, by its name.
const VALUES: [&str; 6] = ["usage", "error", "metadata", "request", "response", "attempts"];

fn value<'a>(step: &'a mut DebugStep, name: &str) -> &'a mut Option<Json> {
    match name {
        "usage" => &mut step.usage,
        "error" => &mut step.error,
        "metadata" => &mut step.metadata,
        "request" => &mut step.request,
        "response" => &mut step.response,
        _ => &mut step.attempts,
    }
}

fn change(name: &str, new: Change<Json>) -> StepChange {
    let mut change = StepChange::default();
    *match name {
        "usage" => &mut change.usage,
        "error" => &mut change.error,
        "metadata" => &mut change.metadata,
        "request" => &mut change.request,
        "response" => &mut change.response,
        _ => &mut change.attempts,
    } = new;
    change
}

pub(super) async fn d5_what_a_change_does_not_name_stays(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D5";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let other = ModelId { provider: "p".into(), model: "m".into() };
    // Of a run of which everything is known, and of one of which nothing is.
    let bare = DebugRun::new(desk.run(&subject.ids, 1).id, desk.chat, RunKind::Advisor, desk.at(1));
    for new in [desk.run(&subject.ids, 1), bare] {
        notes.create(&new, &[]).await;
        let mut run = new.clone();
        let none = RunChange::default;
        let changes = [
            none(),
            RunChange { turn: Some(Seq::new(11)), ..none() },
            RunChange { tip: Some(Seq::new(12)), ..none() },
            RunChange { model: Some(other.clone()), ..none() },
            RunChange { summary: Some(json("{}")), ..none() },
            RunChange { status: Some(DebugStatus::Completed), ..none() },
            none(),
        ];
        for (ms, change) in (10..).zip(changes) {
            assert!(run.apply(&change, desk.at(ms)), "it rises");
            notes.done(update(&new, &change, desk.at(ms)), "a run").await;
            assert_eq!(notes.stored(&new).await, run, "{CLAUSE}: a run after {change:?}");
        }
        // Of the step as well.
        let run = desk.run(&subject.ids, 1);
        let bare = DebugStep::new(StepId::mint(&subject.ids), run.id, desk.chat, desk.at(1));
        for first in [desk.step(&subject.ids, &run, 1), bare] {
            let run = desk.run(&subject.ids, 1);
            let first = DebugStep { run: run.id, ..first };
            notes.create(&run, std::slice::from_ref(&first)).await;
            let mut step = DebugStep { number: 1, ..first.clone() };
            let none = StepChange::default;
            let mut changes = vec![
                none(),
                StepChange { tip: Some(Seq::new(13)), ..none() },
                StepChange { answer: Some(Seq::new(14)), ..none() },
                StepChange { model: Some(other.clone()), ..none() },
                StepChange { status: Some(DebugStatus::Error), ..none() },
                none(),
            ];
            changes.extend(VALUES.map(|name| change(name, Change::Set(json(&format!(r#""{name}""#))))));
            changes.push(none());
            for (ms, change) in (10..).zip(changes) {
                assert!(step.apply(&change, desk.at(ms)), "it rises");
                notes.done(update_step(&first, &change, desk.at(ms)), "a step").await;
                assert_eq!(notes.only_step(&run).await, step, "{CLAUSE}: a step after {change:?}");
            }
        }
    }
}

pub(super) async fn d5_what_a_change_clears_is_gone(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D5";
    let mut notes = subject.notes(CLAUSE).await;
    for name in VALUES {
        let desk = subject.desk();
        let run = desk.run(&subject.ids, 1);
        let first = desk.step(&subject.ids, &run, 1);
        notes.create(&run, std::slice::from_ref(&first)).await;
        let mut step = DebugStep { number: 1, ..first.clone() };
        // `null` is a value.
        let null = Change::Set(json("null"));
        for (ms, new) in (2..).zip([Change::Clear, null, Change::Clear, Change::Clear]) {
            new.apply(value(&mut step, name));
            step.updated_at = desk.at(ms);
            let what = format!("{name}: {new:?}");
            notes.done(update_step(&first, &change(name, new), desk.at(ms)), &what).await;
            assert_eq!(notes.only_step(&run).await, step, "{CLAUSE}: a step after {what}");
        }
        notes = subject.reconnect(notes).await;
        assert_eq!(notes.only_step(&run).await, step, "{CLAUSE}: a step whose {name} is gone, later");
    }
}

pub(super) async fn d5_whatever_happens_to_a_run_moves_its_time_forward_only(
    subject: &Subject<dyn DebugStore>,
) {
    const CLAUSE: &str = "debug.D5";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let run = desk.run(&subject.ids, 1);
    notes.create(&run, &[]).await;
    let step = |ms| desk.step(&subject.ids, &run, ms);
    let first = step(5);
    let (none, none_of_step) = (RunChange::default(), StepChange::default());
    let at = |ms| desk.at(ms);
    let acts = [
        (update(&run, &none, at(3)), 3, None, "a change"),
        (update(&run, &none, at(2)), 3, None, "an earlier change"),
        (create_step(&first), 5, Some(5), "a step"),
        (create_step(&step(4)), 5, Some(5), "an earlier step"),
        (update_step(&first, &none_of_step, at(8)), 8, Some(8), "a change of a step"),
        (update_step(&first, &none_of_step, at(7)), 8, Some(8), "an earlier change of a step"),
        (touch(&run, Some(&first), at(7)), 8, Some(8), "an earlier touch"),
        (touch(&run, Some(&first), at(10)), 10, Some(10), "a touch"),
        (update(&run, &to(DebugStatus::Completed), at(9)), 10, Some(10), "an earlier end"),
        (update_step(&first, &step_to(DebugStatus::Completed), at(12)), 12, Some(12), "a step's late end"),
        (update(&run, &none, at(13)), 13, Some(12), "a late change"),
        (update(&run, &none, at(11)), 13, Some(12), "an earlier late change"),
    ];
    for (write, run_at, step_at, what) in acts {
        notes.one(write).await;
        let found = notes.stored(&run).await.updated_at;
        assert_eq!(found, desk.at(run_at), "{CLAUSE}: {what}: when something last happened to the run");
        let found = notes.steps(&run).await.first().map(|step| step.updated_at);
        assert_eq!(found, step_at.map(at), "{CLAUSE}: {what}: when something last happened to its step");
    }
}

pub(super) async fn d8_creating_again_changes_nothing(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D8";
    let mut notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let (run, other) = (desk.run(&subject.ids, 1), desk.run(&subject.ids, 1));
    let (first, second) = (desk.step(&subject.ids, &run, 2), desk.step(&subject.ids, &run, 2));
    notes.create(&run, &[first.clone(), second.clone()]).await;
    notes.create(&other, &[]).await;
    let changed = DebugRun {
        kind: RunKind::Quickgen,
        summary: json("1"),
        owner: None,
        model: None,
        turn: Some(Seq::new(99)),
        status: DebugStatus::Error,
        ..DebugRun::new(run.id, run.chat, RunKind::Advisor, desk.at(50))
    };
    let changed_step = DebugStep {
        status: DebugStatus::Completed,
        usage: None,
        request: Some(json("7")),
        ..desk.step(&subject.ids, &run, 50)
    };
    let again = |step: &DebugStep| DebugStep { id: step.id, ..changed_step.clone() };
    for round in ["while it goes on", "after its end"] {
        let before = (notes.stored(&run).await, notes.steps(&run).await, notes.stored(&other).await);
        for same in [&run, &changed] {
            notes.done(create(same), &format!("a run, again {round}")).await;
        }
        for (number, step) in [(1, &first), (2, &second)] {
            for same in [step, &again(step)] {
                let what = format!("a step, again {round}");
                notes.says(create_step(same), DebugWritten::Step(number), &what).await;
            }
        }
        // Under another name the id is not theirs.
        let chat = ChatId::mint(&subject.ids);
        let foreign = DebugRun { chat, ..changed.clone() };
        notes.says(create(&foreign), DebugWritten::Missing, "the id of another chat's run").await;
        assert_eq!(notes.run(chat, run.id).await, None, "{CLAUSE}: another chat's run, through a chat");
        let moved = DebugStep { run: other.id, ..again(&first) };
        notes.says(create_step(&moved), DebugWritten::Missing, "the id of another run's step").await;
        let after = (notes.stored(&run).await, notes.steps(&run).await, notes.stored(&other).await);
        assert_eq!(after, before, "{CLAUSE}: what was created again {round}");
        assert_eq!(notes.steps(&other).await, [], "{CLAUSE}: a run that has no step");
        notes.done(update(&run, &to(DebugStatus::Completed), desk.at(60)), "a run").await;
        notes = subject.reconnect(notes).await;
    }
    let next = desk.step(&subject.ids, &other, 3);
    notes.says(create_step(&next), DebugWritten::Step(1), "the first step of the other run").await;
}

pub(super) async fn d8_many_that_create_an_id_at_once_create_one_row(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D8";
    let notes = subject.notes(CLAUSE).await;
    let both = [notes.clone(), subject.beside(&notes).await];
    for _ in 0..4 {
        let desk = subject.desk();
        let run = desk.run(&subject.ids, 1);
        let step = desk.step(&subject.ids, &run, 1);
        let mut writers = JoinSet::new();
        for n in 0..24 {
            let notes = both[n % 2].clone();
            let run = DebugRun { turn: Some(Seq::new(n as u64)), ..run.clone() };
            let step = DebugStep { answer: Some(Seq::new(n as u64)), ..step.clone() };
            writers.spawn(async move {
                notes.done(create(&run), "a run that many create at once").await;
                let said = notes.one(create_step(&step)).await;
                (said, notes.stored(&run).await.turn, notes.steps(&run).await.first().map(|step| step.answer))
            });
        }
        let seen: BTreeSet<String> = all(writers).await.iter().map(|seen| format!("{seen:?}")).collect();
        assert_eq!(seen.len(), 1, "{CLAUSE}: what those see who create a row at once: {seen:?}");
        assert!(seen.iter().all(|seen| seen.starts_with("(Step(1)")), "{CLAUSE}: the step is the first");
        assert_eq!(notes.runs(desk.chat).await.len(), 1, "{CLAUSE}: runs that many created at once");
        assert_eq!(notes.steps(&run).await.len(), 1, "{CLAUSE}: steps that many created at once");
    }
}

/// JSON that is easily taken for other JSON.
fn values() -> Vec<Json> {
    let long = format!(r#""{}""#, "long ".repeat(30_000));
    let odd = [
        "null",
        "0",
        "1.0",
        "1e400",
        "123456789012345678901234567890",
        r#""""#,
        r#""\u0000""#,
        r#""\ud83d\ude00 😀 é e\u0301""#,
        r#" {"a" : 1,"a":2, "b":[ ] } "#,
        r#"{"it's":"\"%\" \\x00 $1"}"#,
        "[]",
        &long,
    ];
    odd.map(json).into()
}

const TEXTS: [&str; 9] = ["", " ", " a ", "a\0b", "A", "é e\u{301} 😀", "it's \"%\" \\x00 $1", "null", "1.0"];

pub(super) async fn d9_runs_come_back_as_they_were_given(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D9";
    let mut notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let mut runs: Vec<DebugRun> = Vec::new();
    let mut add = |change: &dyn Fn(&mut DebugRun)| {
        let mut run = desk.run(&subject.ids, i64::try_from(runs.len()).expect("a few runs"));
        change(&mut run);
        runs.push(run);
    };
    for kind in RunKind::ALL {
        add(&|run| run.kind = kind);
    }
    for status in DebugStatus::ALL {
        let finished_at = status.is_terminal().then(|| desk.at(70_001));
        add(&|run| (run.status, run.finished_at) = (status, finished_at));
    }
    add(&|run| *run = DebugRun::new(run.id, run.chat, run.kind, run.started_at));
    add(&|run| run.root = None);
    add(&|run| run.parent = None);
    for number in [None, Some(0), Some(1), Some(1 << 53 | 1), Some(i64::MAX as u64)] {
        add(&|run| run.turn = number.map(Seq::new));
        add(&|run| run.tip = number.map(Seq::new));
    }
    for text in TEXTS {
        add(&|run| run.owner = UserId::new(text).ok());
        add(&|run| run.model = Some(ModelId { provider: text.into(), model: "m".into() }));
        add(&|run| run.model = Some(ModelId { provider: "p".into(), model: text.into() }));
    }
    add(&|run| run.owner = None);
    add(&|run| run.owner = UserId::new("x".repeat(ID_BYTES_MAX)).ok());
    add(&|run| run.model = None);
    for value in values() {
        add(&|run| run.summary = value.clone());
    }
    for ms in [1, 999, 1_000, 50_001] {
        add(&|run| run.updated_at = desk.at(ms));
    }
    add(&|run| (run.status, run.finished_at) = (DebugStatus::Error, Some(Timestamp::from_millis(-1))));
    for run in &runs {
        notes.create(run, &[]).await;
    }
    for round in ["at once", "later"] {
        for run in &runs {
            assert_eq!(notes.stored(run).await, *run, "{CLAUSE}: {round}: a run");
        }
        let mut listed = notes.runs(desk.chat).await;
        listed.reverse();
        for (found, run) in listed.iter().zip(&runs) {
            assert_eq!(found, run, "{CLAUSE}: {round}: a run in a list");
        }
        assert_eq!(listed.len(), runs.len(), "{CLAUSE}: {round}: runs");
        notes = subject.reconnect(notes).await;
    }
}

pub(super) async fn d9_steps_come_back_as_they_were_given(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D9";
    let mut notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let run = desk.run(&subject.ids, 1);
    let mut steps: Vec<DebugStep> = Vec::new();
    let mut add = |change: &dyn Fn(&mut DebugStep)| {
        let mut step = desk.step(&subject.ids, &run, i64::try_from(steps.len()).expect("a few steps"));
        change(&mut step);
        step.number = u32::try_from(steps.len() + 1).expect("a few steps");
        steps.push(step);
    };
    for status in DebugStatus::ALL {
        let finished_at = status.is_terminal().then(|| desk.at(70_001));
        add(&|step| (step.status, step.finished_at) = (status, finished_at));
    }
    add(&|step| *step = DebugStep::new(step.id, step.run, step.chat, step.started_at));
    for number in [None, Some(0), Some(1), Some(1 << 53 | 1), Some(i64::MAX as u64)] {
        add(&|step| step.tip = number.map(Seq::new));
        add(&|step| step.answer = number.map(Seq::new));
    }
    for text in TEXTS {
        add(&|step| step.model = Some(ModelId { provider: text.into(), model: "m".into() }));
        add(&|step| step.model = Some(ModelId { provider: "p".into(), model: text.into() }));
    }
    add(&|step| step.model = None);
    for name in VALUES {
        add(&|step| *value(step, name) = None);
        for new in values() {
            add(&|step| *value(step, name) = Some(new.clone()));
        }
    }
    for ms in [1, 999, 1_000, 50_001] {
        add(&|step| step.updated_at = desk.at(ms));
    }
    notes.create(&run, &steps).await;
    for round in ["created", "later", "changed", "later still"] {
        let found = notes.steps(&run).await;
        for (found, step) in found.iter().zip(&steps) {
            assert_eq!(found, step, "{CLAUSE}: {round}: a step");
        }
        assert_eq!(found.len(), steps.len(), "{CLAUSE}: {round}: steps");
        if round == "later" {
            // The same values by way of a change.
            for (step, new) in
                steps.iter_mut().filter(|step| !step.status.is_terminal()).zip(values().iter().cycle())
            {
                let set = || Change::Set(new.clone());
                let change = StepChange {
                    usage: set(),
                    error: set(),
                    metadata: set(),
                    request: set(),
                    response: set(),
                    attempts: set(),
                    ..step_to(DebugStatus::InProgress)
                };
                step.apply(&change, desk.at(60_000));
                notes.done(update_step(step, &change, desk.at(60_000)), "a step").await;
            }
        } else {
            notes = subject.reconnect(notes).await;
        }
    }
}

pub(super) async fn d9_an_outline_is_a_step_without_what_is_large(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D9";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let run = desk.run(&subject.ids, 1);
    let steps = [1, 2, 3].map(|ms| desk.step(&subject.ids, &run, ms));
    notes.create(&run, &steps).await;
    let outlines: Vec<DebugStep> =
        (1..).zip(steps).map(|(number, step)| DebugStep { number, ..step }.outline()).collect();
    let found = notes.page(&run, 0, PAGE_ITEMS_MAX, Detail::Outline).await;
    assert_eq!(found, outlines, "{CLAUSE}: steps without what is large");
}
