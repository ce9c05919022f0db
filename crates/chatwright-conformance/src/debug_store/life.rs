//! D10, D15: what stays of a call, answered or dropped.

use std::time::Duration;

use chatwright_core::debug::{
    Change, DebugDelete, DebugRun, DebugStatus, DebugStep, DebugWrite, DebugWritten, StepChange,
};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::DebugStore;
use futures::future::select;

use super::fixture::{Notes, content, create, create_step, json, to, touch, update, update_step};
use crate::Subject;
use crate::wait::within;

/// A run as it should be, with its steps and contents.
#[derive(Clone)]
struct Row {
    run: DebugRun,
    steps: Vec<DebugStep>,
    pieces: Vec<Vec<u8>>,
}

impl Notes {
    /// All that is kept of a run is this.
    async fn keeps(&self, row: &Row, what: &str) {
        let clause = self.clause;
        assert_eq!(self.stored(&row.run).await, row.run, "{clause}: {what}: a run");
        assert_eq!(self.steps(&row.run).await, row.steps, "{clause}: {what}: its steps");
        let pieces: Vec<&[u8]> = row.pieces.iter().map(Vec::as_slice).collect();
        self.has(&row.run, &pieces, what).await;
    }
}

pub(super) async fn d10_what_was_written_survives_reopening(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D10";
    if subject.is_volatile() {
        println!("{CLAUSE}: not checked, the store says that it is volatile");
        return;
    }
    let desk = subject.desk();
    let mut rows: Vec<Row> = Vec::new();
    for round in 0..7_i64 {
        let notes = subject.notes(CLAUSE).await;
        for row in &rows {
            notes.keeps(row, &format!("round {round}")).await;
        }
        let run = desk.run(&subject.ids, 10 * round);
        let step = DebugStep { number: 1, ..desk.step(&subject.ids, &run, 10 * round) };
        let piece = format!("piece {round}").into_bytes();
        let now = desk.at(10 * round + 5);
        let answers = StepChange { response: Change::Set(json("5")), ..StepChange::default() };
        let mut row = Row { run: run.clone(), steps: Vec::new(), pieces: Vec::new() };
        notes.done(create(&run), "a run").await;
        // What comes last before the connection goes is something else each time.
        if round > 0 {
            notes.says(create_step(&step), DebugWritten::Step(1), "a step").await;
            row.steps.push(step.clone());
        }
        if round > 1 {
            notes.done(content(&run, &piece), "content").await;
            row.pieces.push(piece);
        }
        if round > 2 {
            notes.done(update_step(&step, &answers, now), "a step").await;
            row.steps[0].apply(&answers, now);
            row.run.updated_at = now;
        }
        if round > 3 {
            notes.done(touch(&run, Some(&step), now.after(Duration::from_millis(1))), "a run").await;
            row.run.updated_at = now.after(Duration::from_millis(1));
            row.steps[0].updated_at = row.run.updated_at;
        }
        if round > 4 {
            notes.done(update(&run, &to(DebugStatus::Completed), now), "a run").await;
            row.run.apply(&to(DebugStatus::Completed), now);
        }
        rows.push(row);
        if round > 5 {
            let first = rows.remove(0).run;
            let which = DebugDelete {
                chat: Some(desk.chat),
                started_before: Some(first.started_at.after(Duration::from_millis(1))),
                ..DebugDelete::default()
            };
            assert_eq!(notes.delete(&which, PAGE_ITEMS_MAX).await, 1, "{CLAUSE}: a run is deleted");
        }
    }
    let notes = subject.notes(CLAUSE).await;
    for row in &rows {
        notes.keeps(row, "the last round").await;
    }
    assert_eq!(notes.runs(desk.chat).await.len(), rows.len(), "{CLAUSE}: runs of the last round");
}

pub(super) async fn d10_what_was_written_is_read_from_then_on(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D10";
    let notes = subject.notes(CLAUSE).await;
    let both = [notes.clone(), subject.beside(&notes).await];
    let desk = subject.desk();
    for round in 0..8_i64 {
        let run = desk.run(&subject.ids, round);
        let step = DebugStep { number: 1, ..desk.step(&subject.ids, &run, round) };
        let mut row = Row { run: run.clone(), steps: Vec::new(), pieces: Vec::new() };
        let mut writer = usize::from(round % 2 == 0);
        for act in ["run", "step", "content", "change", "end"] {
            writer = 1 - writer;
            let (writer, now) = (&both[writer], desk.at(100));
            match act {
                "run" => writer.done(create(&run), act).await,
                "step" => {
                    writer.says(create_step(&step), DebugWritten::Step(1), act).await;
                    row.steps.push(step.clone());
                }
                "content" => {
                    writer.done(content(&run, b"piece"), act).await;
                    row.pieces.push(b"piece".into());
                }
                "change" => {
                    let change = StepChange { response: Change::Clear, ..StepChange::default() };
                    writer.done(update_step(&step, &change, now), act).await;
                    row.steps[0].apply(&change, now);
                    row.run.updated_at = now;
                }
                _ => {
                    writer.done(update(&run, &to(DebugStatus::Error), now), act).await;
                    row.run.apply(&to(DebugStatus::Error), now);
                }
            }
            for (reader, whose) in both.iter().zip(["the first", "the second"]) {
                let what = format!("after the {act} of round {round}, for {whose} connection");
                reader.keeps(&row, &what).await;
                let listed = reader.runs(desk.chat).await.into_iter().next();
                assert_eq!(listed.as_ref(), Some(&row.run), "{CLAUSE}: {what}: the newest run");
            }
        }
    }
}

pub(super) async fn d15_a_dropped_call_has_happened_whole_or_not_at_all_and_the_store_goes_on(
    subject: &Subject<dyn DebugStore>,
) {
    const CLAUSE: &str = "debug.D15";
    let notes = subject.notes(CLAUSE).await;
    for round in 0..60_u64 {
        let desk = subject.desk();
        let run = desk.run(&subject.ids, 1);
        let steps = [1, 2, 3].map(|ms| desk.step(&subject.ids, &run, ms));
        let mut call: Vec<DebugWrite> = vec![create(&run), content(&run, b"piece")];
        call.extend(steps.each_ref().map(create_step));
        call.push(update(&run, &to(DebugStatus::Completed), desk.at(9)));
        drop_early(subject, round % 2 == 0, notes.store.write(&call)).await;
        // It may have happened, may still happen, or not; but not a part of it.
        let look = async {
            let pieces = notes.contents(&run, &[b"piece"]).await.iter().flatten().count();
            let found = notes.steps(&run).await.len();
            let stored = notes.run(run.chat, run.id).await;
            (pieces, found, stored.map(|run| run.status))
        };
        let (pieces, found, status) = within(CLAUSE, "a look after a dropped call", look).await;
        let ended = Some(DebugStatus::Completed);
        let stories = [(1, 3, ended), (0, 3, ended), (0, 0, ended), (0, 0, None)];
        let story = (pieces, found, status);
        assert!(
            stories.contains(&story),
            "{CLAUSE}: pieces, steps and status after a dropped call: {story:?}"
        );
        let again = within(CLAUSE, "a call after a dropped one", notes.write(&call)).await;
        let is_done =
            again.first() == Some(&DebugWritten::Done) && again.get(4) == Some(&DebugWritten::Step(3));
        assert!(is_done, "{CLAUSE}: a call again, after it was dropped: {again:?}");
        let found: Vec<u32> = notes.steps(&run).await.iter().map(|step| step.number).collect();
        assert_eq!(found, [1, 2, 3], "{CLAUSE}: steps of a call that was dropped and made again");
        let which = DebugDelete { chat: Some(desk.chat), ..DebugDelete::default() };
        drop_early(subject, round % 2 == 0, notes.store.delete(&which, 1)).await;
        let pieces =
            within(CLAUSE, "contents after a dropped deletion", notes.contents(&run, &[b"piece"])).await;
        let (gone, found) = (pieces[0].is_none(), notes.steps(&run).await.len());
        let story = (gone, found, notes.run(run.chat, run.id).await.is_some());
        let stories = [(false, 3, true), (false, 3, false), (false, 0, false), (true, 0, false)];
        assert!(
            stories.contains(&story),
            "{CLAUSE}: content gone, steps, and run after a dropped deletion: {story:?}"
        );
        within(CLAUSE, "a deletion after a dropped one", notes.clear(desk.chat)).await;
        assert_eq!(notes.runs(desk.chat).await, [], "{CLAUSE}: runs after a deletion");
        drop_early(subject, round % 2 == 0, notes.store.runs(desk.chat, None, 1)).await;
    }
}

/// A call that is dropped after some polls of its own, or after some time.
async fn drop_early(subject: &Subject<dyn DebugStore>, polls: bool, call: impl Future + Unpin) {
    let patience = subject.chance.below(6);
    let end = Box::pin(async move {
        if polls {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
        } else {
            tokio::time::sleep(Duration::from_micros(patience * 40)).await;
        }
    });
    drop(select(call, end).await);
}
