//! D13: what is deleted, and nothing else.

use std::ops::Range;

use chatwright_core::debug::{DebugDelete, DebugRun, DebugStatus, DebugStep, DebugWritten};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::{DebugStore, Ids, StoreErrorKind};
use chatwright_core::{ChatId, RunId, Seq};

use super::fixture::{Desk, Notes, content, create, create_step, to, update};
use crate::Subject;

/// Most rounds that other tests may disturb.
const ROUNDS_MAX: usize = 100;

/// A run and its steps, of which this is known.
type Row = (DebugRun, Vec<DebugStep>);

/// Runs of all sorts, made of chance: when they began, when something last happened to them, and where in the log they are.
async fn rows(subject: &Subject<dyn DebugStore>, notes: &Notes, desk: &Desk, first: u64) -> Vec<Row> {
    let seq = || match subject.chance.below(3) {
        0 => None,
        _ => Some(Seq::new(first + subject.chance.below(8))),
    };
    let ms = || i64::try_from(subject.chance.below(8)).expect("a small number");
    let mut rows: Vec<Row> = Vec::new();
    for n in 0..14 {
        let began = ms();
        let run = DebugRun { turn: seq(), tip: seq(), ..desk.run(&subject.ids, began) };
        let run = DebugRun { updated_at: desk.at(began.max(ms())), ..run };
        let step =
            |number| DebugStep { number, tip: seq(), answer: seq(), ..desk.step(&subject.ids, &run, began) };
        let steps: Vec<DebugStep> = (1..=n % 3).map(step).collect();
        let mut then = vec![content(&run, b"shared")];
        let mut stored = run.clone();
        // Finished or not.
        if n % 2 == 0 {
            then.push(update(&run, &to(DebugStatus::Completed), run.updated_at));
            stored.apply(&to(DebugStatus::Completed), run.updated_at);
        }
        notes.create_at_once(&run, &steps, &then).await;
        rows.push((stored, steps));
    }
    rows
}

/// Every condition with every other.
fn questions(desk: &Desk, chat: Option<ChatId>, first: u64) -> Vec<DebugDelete> {
    let part = |range: Range<u64>| Some(Seq::new(first + range.start)..Seq::new(first + range.end));
    let places = [None, part(0..3), part(3..4), part(5..100), part(2..2), part(100..200)];
    let mut questions = Vec::new();
    for started in [None, Some(0), Some(3), Some(8)] {
        for updated in [None, Some(4), Some(9)] {
            for within in &places {
                let (started_before, updated_before) =
                    (started.map(|ms| desk.at(ms)), updated.map(|ms| desk.at(ms)));
                questions.push(DebugDelete { chat, started_before, updated_before, within: within.clone() });
            }
        }
    }
    questions.retain(|which| !which.is_empty());
    questions
}

/// How the runs of the desk look after a deletion of as many as there are, or what is wrong.
async fn judged(notes: &Notes, which: &DebugDelete, desk: &Desk, rows: &[Row]) -> Result<(), String> {
    let mut deleted = 0;
    loop {
        let some = notes.delete(which, PAGE_ITEMS_MAX).await;
        deleted += some;
        if some < PAGE_ITEMS_MAX {
            break;
        }
    }
    let ids = |rows: &[Row], of: &dyn Fn(&Row) -> bool| {
        let mut ids: Vec<RunId> = rows.iter().filter(|row| of(row)).map(|row| row.0.id).collect();
        ids.sort_unstable();
        ids
    };
    let stay = ids(rows, &|row| !which.has(&row.0, &row.1));
    let mut found: Vec<RunId> = notes.runs(desk.chat).await.iter().map(|run| run.id).collect();
    found.sort_unstable();
    if found != stay {
        return Err(format!("{which:?} left {found:?} and not {stay:?}"));
    }
    if deleted < rows.len() - stay.len() || which.chat.is_some() && deleted > rows.len() - stay.len() {
        return Err(format!("{which:?} says that it deleted {deleted} of {}", rows.len() - stay.len()));
    }
    for (run, steps) in rows {
        let stays = stay.contains(&run.id);
        let there = notes.steps(run).await.len();
        if there != if stays { steps.len() } else { 0 } {
            return Err(format!("{which:?} left {there} of {} steps of {run:?}", steps.len()));
        }
        if notes.contents(run, &[b"shared"]).await[0].is_some() != stays {
            return Err(format!("{which:?} and the content of {run:?}"));
        }
    }
    Ok(())
}

pub(super) async fn d13_exactly_the_runs_that_every_condition_applies_to_are_deleted(
    subject: &Subject<dyn DebugStore>,
) {
    const CLAUSE: &str = "debug.D13";
    let notes = subject.notes(CLAUSE).await;
    let beside = subject.desk();
    let others = rows(subject, &notes, &beside, 1).await;
    let all = questions(&subject.desk(), None, 1).len() + 1;
    for n in 0..all {
        let desk = subject.desk();
        let which = questions(&desk, Some(desk.chat), 1).swap_remove(n);
        let own = rows(subject, &notes, &desk, 1).await;
        judged(&notes, &which, &desk, &own).await.unwrap_or_else(|wrong| panic!("{CLAUSE}: {wrong}"));
        notes.clear(desk.chat).await;
    }
    for (run, steps) in &others {
        assert_eq!(notes.stored(run).await, *run, "{CLAUSE}: another chat's run");
        assert_eq!(notes.steps(run).await, *steps, "{CLAUSE}: another chat's steps");
    }
    // What an edit of message 5 means: whatever stands behind it, in the runs that began before.
    let desk = subject.desk();
    let run = |ms| DebugRun { turn: Some(Seq::new(2)), tip: None, ..desk.run(&subject.ids, ms) };
    let answers = |run: &DebugRun, seq| DebugStep {
        tip: None,
        answer: Some(Seq::new(seq)),
        ..desk.step(&subject.ids, run, 1)
    };
    let (kept, edited, newer) = (run(1), run(1), run(9));
    for (run, seq) in [(&kept, 5), (&edited, 6), (&newer, 7)] {
        notes.create(run, &[answers(run, seq)]).await;
    }
    let behind = DebugDelete {
        chat: Some(desk.chat),
        started_before: Some(desk.at(9)),
        within: Some(Seq::new(6)..Seq::new(u64::MAX)),
        ..DebugDelete::default()
    };
    assert_eq!(notes.delete(&behind, PAGE_ITEMS_MAX).await, 1, "{CLAUSE}: runs behind an edited message");
    let left: Vec<RunId> = notes.runs(desk.chat).await.iter().map(|run| run.id).collect();
    assert_eq!(left, [newer.id, kept.id], "{CLAUSE}: what is left of a chat whose message was edited");
}

pub(super) async fn d13_a_deletion_that_names_no_chat_is_of_all_chats(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D13";
    let notes = subject.notes(CLAUSE).await;
    // Nobody else's turns are so far.
    let far = (1 << 40) + (subject.ids.uuid().as_u64_pair().1 % (1 << 40)) * 1_000;
    let all = questions(&subject.desk(), None, far).len();
    for n in 0..all {
        let mut last = Ok(());
        // Another test's deletion, or its sweep, may meet these runs as well.
        for _ in 0..ROUNDS_MAX {
            let desk = subject.desk_to_delete();
            let which = questions(&desk, None, far).swap_remove(n);
            let own = rows(subject, &notes, &desk, far).await;
            last = judged(&notes, &which, &desk, &own).await;
            notes.clear(desk.chat).await;
            if last.is_ok() {
                break;
            }
        }
        last.unwrap_or_else(|wrong| panic!("{CLAUSE}: {wrong}"));
    }
}

pub(super) async fn d13_at_most_so_many_runs_are_deleted_at_once(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D13";
    let notes = subject.notes(CLAUSE).await;
    for limit in [1, 2, 3, 6, 7] {
        let desk = subject.desk();
        for ms in 0..6 {
            notes.create(&desk.run(&subject.ids, ms), &[]).await;
        }
        let which = DebugDelete { chat: Some(desk.chat), ..DebugDelete::default() };
        let mut left = 6;
        while left > 0 {
            let deleted = notes.delete(&which, limit).await;
            assert_eq!(deleted, limit.min(left), "{CLAUSE}: {left} runs, of which {limit} may be deleted");
            left -= deleted;
            assert_eq!(notes.runs(desk.chat).await.len(), left, "{CLAUSE}: runs that are left of 6");
        }
        assert_eq!(notes.delete(&which, limit).await, 0, "{CLAUSE}: none is left");
    }
    let desk = subject.desk();
    notes.create(&desk.run(&subject.ids, 1), &[]).await;
    let which = DebugDelete { chat: Some(desk.chat), ..DebugDelete::default() };
    for limit in [0, PAGE_ITEMS_MAX + 1] {
        let refused = notes.store.delete(&which, limit).await.map_err(|error| error.kind());
        assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: a deletion of {limit} is refused");
    }
    assert_eq!(notes.runs(desk.chat).await.len(), 1, "{CLAUSE}: runs after a deletion was refused");
}

pub(super) async fn d13_a_deleted_run_is_gone_with_its_steps_and_contents(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D13";
    let mut notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let (run, stays) = (desk.run(&subject.ids, 1), desk.run(&subject.ids, 5));
    let steps = [1, 2].map(|ms| desk.step(&subject.ids, &run, ms));
    notes.create(&run, &steps).await;
    notes.create(&stays, &[]).await;
    notes.done(content(&run, b"words"), "content").await;
    let which =
        DebugDelete { started_before: Some(desk.at(5)), chat: Some(desk.chat), ..DebugDelete::default() };
    assert_eq!(notes.delete(&which, PAGE_ITEMS_MAX).await, 1, "{CLAUSE}: a run is deleted");
    for round in ["at once", "later"] {
        assert_eq!(notes.run(run.chat, run.id).await, None, "{CLAUSE}: {round}: a deleted run");
        assert_eq!(notes.steps(&run).await, [], "{CLAUSE}: {round}: steps of a deleted run");
        notes.has_not(&run, &[b"words"], round).await;
        let late = create_step(&desk.step(&subject.ids, &run, 7));
        notes.says(late, DebugWritten::Missing, "a step of a deleted run").await;
        notes.says(update(&run, &to(DebugStatus::Error), desk.at(7)), DebugWritten::Missing, "deleted").await;
        notes = subject.reconnect(notes).await;
    }
    // Its id begins anew, and so do those of its steps.
    notes.done(create(&run), "a run that was deleted").await;
    assert_eq!(notes.steps(&run).await, [], "{CLAUSE}: steps of a run that is created anew");
    notes.says(create_step(&steps[1]), DebugWritten::Step(1), "a step that was deleted").await;
    let step = DebugStep { number: 1, request: None, ..steps[1].clone() };
    assert_eq!(DebugStep { request: None, ..notes.only_step(&run).await }, step, "{CLAUSE}: a step anew");
    assert_eq!(notes.runs(desk.chat).await.len(), 2, "{CLAUSE}: runs of the chat");
}

pub(super) async fn d13_a_deletion_without_a_condition_is_refused(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D13";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let run = desk.run(&subject.ids, 1);
    notes.create(&run, &[]).await;
    let refused = notes.store.delete(&DebugDelete::default(), 1).await.map_err(|error| error.kind());
    assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: a deletion without a condition");
    assert_eq!(notes.stored(&run).await, run, "{CLAUSE}: a run after a deletion was refused");
}
