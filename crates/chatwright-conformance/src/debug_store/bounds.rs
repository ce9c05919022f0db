//! D14: how much is written at once.

use chatwright_core::Json;
use chatwright_core::debug::{Change, DebugRun, DebugStep, DebugWrite, DebugWritten, RunChange, StepChange};
use chatwright_core::limits::{
    DEBUG_CONTENT_BYTES_MAX, DEBUG_JSON_BYTES_MAX, DEBUG_WRITE_BYTES_MAX, DEBUG_WRITES_MAX,
};
use chatwright_core::port::{DebugStore, StoreErrorKind};

use super::fixture::{content, create, create_step, json, touch, update, update_step};
use crate::Subject;

/// A JSON value of so many bytes.
fn sized(bytes: usize) -> Json {
    json(&format!(r#""{}""#, "x".repeat(bytes - 2)))
}

/// Every write of one JSON value that there is.
fn with(value: &Json, run: &DebugRun, step: &DebugStep) -> Vec<(&'static str, DebugWrite)> {
    let now = run.started_at;
    let set = || Change::Set(value.clone());
    let bare = DebugStep::new(step.id, step.run, step.chat, now);
    let some = || Some(value.clone());
    let (new, change) = (|| bare.clone(), StepChange::default);
    vec![
        ("a run's summary", create(&DebugRun { summary: value.clone(), ..run.clone() })),
        ("a changed summary", update(run, &RunChange { summary: some(), ..RunChange::default() }, now)),
        ("usage", create_step(&DebugStep { usage: some(), ..new() })),
        ("an error", create_step(&DebugStep { error: some(), ..new() })),
        ("metadata", create_step(&DebugStep { metadata: some(), ..new() })),
        ("a request", create_step(&DebugStep { request: some(), ..new() })),
        ("a response", create_step(&DebugStep { response: some(), ..new() })),
        ("attempts", create_step(&DebugStep { attempts: some(), ..new() })),
        ("changed usage", update_step(step, &StepChange { usage: set(), ..change() }, now)),
        ("a changed error", update_step(step, &StepChange { error: set(), ..change() }, now)),
        ("changed metadata", update_step(step, &StepChange { metadata: set(), ..change() }, now)),
        ("a changed request", update_step(step, &StepChange { request: set(), ..change() }, now)),
        ("a changed response", update_step(step, &StepChange { response: set(), ..change() }, now)),
        ("changed attempts", update_step(step, &StepChange { attempts: set(), ..change() }, now)),
    ]
}

pub(super) async fn d14_what_is_over_its_bound_is_refused_with_all_of_its_call(
    subject: &Subject<dyn DebugStore>,
) {
    const CLAUSE: &str = "debug.D14";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let run = desk.run(&subject.ids, 1);
    let step = desk.step(&subject.ids, &run, 1);
    notes.create(&run, std::slice::from_ref(&step)).await;
    let before = (notes.stored(&run).await, notes.steps(&run).await);
    let over = sized(DEBUG_JSON_BYTES_MAX + 1);
    let (new, next) = (desk.run(&subject.ids, 2), desk.step(&subject.ids, &run, 2));
    let mut calls: Vec<(&str, Vec<DebugWrite>)> = Vec::new();
    for (what, write) in with(&over, &run, &step) {
        // Of rows that are there, and that are not; alone, first, last, and in the middle.
        calls.push((what, vec![write.clone()]));
        calls.push((what, vec![create(&new), write, create_step(&next)]));
    }
    for (what, write) in with(&over, &new, &next) {
        calls.push((what, vec![write.clone(), touch(&run, Some(&step), desk.at(50))]));
        calls.push((what, vec![content(&run, b"beside"), create(&new), write]));
    }
    let piece = content(&run, &vec![0; DEBUG_CONTENT_BYTES_MAX + 1]);
    calls.push(("content", vec![create(&new), piece.clone(), create_step(&next)]));
    calls.push(("content", vec![piece]));
    let touches = vec![touch(&run, None, desk.at(50)); DEBUG_WRITES_MAX + 1];
    calls.push(("writes", touches));
    let full = sized(DEBUG_JSON_BYTES_MAX);
    let large = StepChange { request: Change::Set(full), ..StepChange::default() };
    let mut all = vec![update_step(&step, &large, desk.at(50)); DEBUG_WRITE_BYTES_MAX / DEBUG_JSON_BYTES_MAX];
    all.push(content(&run, b"x"));
    calls.push(("all writes", all));
    for (what, call) in calls {
        let refused = notes.store.write(&call).await.map_err(|error| error.kind());
        assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: over the bound of {what}");
        let after = (notes.stored(&run).await, notes.steps(&run).await);
        assert!(after == before, "{CLAUSE}: something is written with {what} over the bound");
        assert_eq!(notes.run(new.chat, new.id).await, None, "{CLAUSE}: a run beside {what} over the bound");
        notes.has_not(&run, &[b"beside", b"x"], "beside what is over its bound").await;
    }
    notes.says(create_step(&next), DebugWritten::Step(2), "a step that was refused").await;
}

pub(super) async fn d14_what_is_at_its_bound_is_written(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D14";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let full = sized(DEBUG_JSON_BYTES_MAX);
    let (run, step) = {
        let run = desk.run(&subject.ids, 1);
        (run.clone(), desk.step(&subject.ids, &run, 1))
    };
    notes.create(&run, std::slice::from_ref(&step)).await;
    for (what, write) in with(&full, &run, &step) {
        let written = notes.store.write(&[write]).await.map_err(|error| error.kind());
        let is_done = matches!(written.as_deref(), Ok([DebugWritten::Done | DebugWritten::Step(1)]));
        assert!(is_done, "{CLAUSE}: at the bound of {what}: {written:?}");
    }
    let stored = (notes.stored(&run).await, notes.only_step(&run).await);
    let (kept, bytes) = (stored.0.summary == full, stored.1.bytes());
    assert!(kept && bytes == 6 * DEBUG_JSON_BYTES_MAX, "{CLAUSE}: values at their bound come back");
    let most = notes.write(&vec![touch(&run, None, desk.at(9)); DEBUG_WRITES_MAX]).await;
    assert_eq!(most, vec![DebugWritten::Done; DEBUG_WRITES_MAX], "{CLAUSE}: as many writes as may be");
    let piece = vec![7; DEBUG_CONTENT_BYTES_MAX];
    notes.done(content(&run, &piece), "content at its bound").await;
    notes.has(&run, &[&piece], "at its bound").await;
    let large = StepChange { request: Change::Set(full), ..StepChange::default() };
    let all = vec![update_step(&step, &large, desk.at(50)); DEBUG_WRITE_BYTES_MAX / DEBUG_JSON_BYTES_MAX];
    let written = notes.write(&all).await;
    assert_eq!(written, vec![DebugWritten::Done; all.len()], "{CLAUSE}: as many bytes as may be");
    notes.clear(desk.chat).await;
}
