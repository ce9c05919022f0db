//! D6, D7: the order of steps, and of the writes of a call.

use chatwright_core::RunId;
use chatwright_core::debug::{
    Change, DebugRun, DebugStatus, DebugStep, DebugWrite, DebugWritten, Detail, RunChange, StepChange,
};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::DebugStore;
use tokio::task::JoinSet;

use super::fixture::{content, create, create_step, json, to, touch, update, update_step};
use crate::Subject;
use crate::wait::all;

pub(super) async fn d6_steps_are_numbered_in_their_order(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D6";
    let mut notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let runs = [desk.run(&subject.ids, 1), desk.run(&subject.ids, 2)];
    for run in &runs {
        notes.create(run, &[]).await;
    }
    let ended = desk.run(&subject.ids, 3);
    notes.create(&ended, &[]).await;
    notes.done(update(&ended, &to(DebugStatus::Completed), desk.at(4)), "a run").await;
    let mut counts = [0, 0];
    for _ in 0..3 {
        // Some alone, some in one call, of two runs; what a step says of its number, or when it began, does not count.
        for calls in [&[0][..], &[1], &[0, 1, 0, 0], &[1, 1]] {
            let mut writes = vec![create_step(&desk.step(&subject.ids, &ended, 5))];
            let mut expected = vec![DebugWritten::Finished];
            for of in calls.iter().copied() {
                let ms = i64::try_from(subject.chance.below(1_000)).expect("a small number");
                let step = DebugStep { number: 7, ..desk.step(&subject.ids, &runs[of], ms) };
                writes.push(create_step(&step));
                counts[of] += 1;
                expected.push(DebugWritten::Step(counts[of]));
            }
            assert_eq!(notes.write(&writes).await, expected, "{CLAUSE}: the numbers of new steps");
        }
        notes = subject.reconnect(notes).await;
    }
    for (run, count) in runs.iter().zip(counts) {
        let found: Vec<u32> = notes.steps(run).await.iter().map(|step| step.number).collect();
        assert_eq!(found, (1..=count).collect::<Vec<u32>>(), "{CLAUSE}: the numbers of all steps");
    }
}

pub(super) async fn d6_steps_that_many_create_at_once_are_numbered_without_a_hole(
    subject: &Subject<dyn DebugStore>,
) {
    const CLAUSE: &str = "debug.D6";
    let notes = subject.notes(CLAUSE).await;
    let both = [notes.clone(), subject.beside(&notes).await];
    for _ in 0..3 {
        let desk = subject.desk();
        let run = desk.run(&subject.ids, 1);
        notes.create(&run, &[]).await;
        let mut writers = JoinSet::new();
        for n in 0..32 {
            let notes = both[n % 2].clone();
            let steps = [1, 2].map(|ms| desk.step(&subject.ids, &run, ms));
            writers.spawn(async move {
                let said = notes.write(&steps.each_ref().map(create_step)).await;
                said.into_iter().zip(steps.map(|step| step.id)).collect::<Vec<_>>()
            });
        }
        let mut said: Vec<_> = all(writers)
            .await
            .into_iter()
            .flatten()
            .map(|(written, step)| match written {
                DebugWritten::Step(number) => (number, step),
                other => panic!("{CLAUSE}: creating a step says {other:?}"),
            })
            .collect();
        said.sort_unstable();
        let numbers: Vec<u32> = said.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=64).collect::<Vec<u32>>(), "{CLAUSE}: numbers of steps, as they were told");
        let found: Vec<_> = notes.steps(&run).await.iter().map(|step| (step.number, step.id)).collect();
        assert_eq!(found, said, "{CLAUSE}: numbers of steps, as they were told and as they are");
    }
}

pub(super) async fn d7_the_writes_of_a_call_happen_in_their_order(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D7";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let run = desk.run(&subject.ids, 1);
    let [early, first, second, late] = [2, 3, 4, 5].map(|ms| desk.step(&subject.ids, &run, ms));
    let summary = |text: &str| RunChange { summary: Some(json(text)), ..RunChange::default() };
    let answers = StepChange { metadata: Change::Set(json("3")), ..StepChange::default() };
    let writes = [
        (create_step(&early), DebugWritten::Missing),
        (content(&run, b"early"), DebugWritten::Missing),
        (create(&run), DebugWritten::Done),
        (content(&run, b"in time"), DebugWritten::Done),
        (update_step(&first, &answers, desk.at(6)), DebugWritten::Missing),
        (create_step(&first), DebugWritten::Step(1)),
        (update_step(&first, &answers, desk.at(6)), DebugWritten::Done),
        (create_step(&second), DebugWritten::Step(2)),
        (update(&run, &summary("1"), desk.at(7)), DebugWritten::Done),
        (update(&run, &summary("2"), desk.at(8)), DebugWritten::Done),
        (touch(&run, Some(&second), desk.at(9)), DebugWritten::Done),
        (update(&run, &to(DebugStatus::Completed), desk.at(10)), DebugWritten::Done),
        (create_step(&late), DebugWritten::Finished),
        (touch(&run, None, desk.at(11)), DebugWritten::Finished),
        (update(&run, &to(DebugStatus::Error), desk.at(12)), DebugWritten::Kept),
        (create(&run), DebugWritten::Done),
    ];
    let (writes, expected): (Vec<DebugWrite>, Vec<DebugWritten>) = writes.into_iter().unzip();
    assert_eq!(notes.write(&writes).await, expected, "{CLAUSE}: what the writes of a call say");
    let run_after = DebugRun {
        summary: json("2"),
        status: DebugStatus::Completed,
        updated_at: desk.at(10),
        finished_at: Some(desk.at(10)),
        ..run.clone()
    };
    assert_eq!(notes.stored(&run).await, run_after, "{CLAUSE}: the run after all writes");
    let mut first = DebugStep { number: 1, ..first };
    first.apply(&answers, desk.at(6));
    let second = DebugStep { number: 2, updated_at: desk.at(9), ..second };
    assert_eq!(notes.steps(&run).await, [first, second], "{CLAUSE}: the steps after all writes");
    notes.has(&run, &[b"in time"], "after all writes").await;
    notes.has_not(&run, &[b"early"], "given before the run was there").await;
    assert_eq!(notes.write(&[]).await, [], "{CLAUSE}: a call without writes");
}

pub(super) async fn d7_the_writes_of_a_call_become_visible_together(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D7";
    let notes = subject.notes(CLAUSE).await;
    let beside = subject.beside(&notes).await;
    for _ in 0..12 {
        let desk = subject.desk();
        let runs = [1, 2, 3, 4].map(|ms| desk.run(&subject.ids, ms));
        let mut writes: Vec<DebugWrite> = Vec::new();
        for run in &runs {
            writes.push(create(run));
            for ms in 1..=3 {
                writes.push(create_step(&desk.step(&subject.ids, run, ms)));
                writes.push(content(run, format!("piece {ms}").as_bytes()));
            }
            writes.push(update(run, &to(DebugStatus::Completed), desk.at(9)));
        }
        let mut readers = JoinSet::new();
        for _ in 0..4 {
            let (notes, runs) = (beside.clone(), runs.clone());
            readers.spawn(async move {
                for _ in 0..2_000 {
                    let listed: Vec<RunId> =
                        notes.runs(runs[0].chat).await.iter().rev().map(|run| run.id).collect();
                    let all_ids = runs.each_ref().map(|run| run.id);
                    let is_there = listed == all_ids;
                    assert!(
                        is_there || listed.is_empty(),
                        "{CLAUSE}: a part of the runs of a call: {listed:?}"
                    );
                    // What comes last is looked at first: whoever sees it sees the whole.
                    for run in runs.iter().rev() {
                        let stored = notes.run(run.chat, run.id).await;
                        let status = stored.map(|run| run.status);
                        let open = Some(DebugStatus::InProgress);
                        assert_ne!(status, open, "{CLAUSE}: a run of a call that also ends it");
                        let steps = notes.page(run, 0, PAGE_ITEMS_MAX, Detail::Outline).await.len();
                        assert!([0, 3].contains(&steps), "{CLAUSE}: {steps} of 3 steps of a call");
                        assert!(steps == 3 || !is_there, "{CLAUSE}: runs of a call without their steps");
                        let pieces: [&[u8]; 3] = [b"piece 1", b"piece 2", b"piece 3"];
                        let pieces = notes.contents(run, &pieces).await.iter().flatten().count();
                        assert!([0, 3].contains(&pieces), "{CLAUSE}: {pieces} of 3 pieces of a call");
                        assert!(pieces == 3 || steps == 0, "{CLAUSE}: steps of a call without its contents");
                    }
                    if is_there {
                        return;
                    }
                }
                panic!("{CLAUSE}: what was written is not seen");
            });
        }
        tokio::task::yield_now().await;
        notes.write(&writes).await;
        all(readers).await;
    }
}
