//! D11: the walk over runs and steps.

use chatwright_core::debug::{Change, ContentHash, DebugRun, DebugStep, Detail, StepChange};
use chatwright_core::limits::{DEBUG_JSON_BYTES_MAX, PAGE_BYTES_MAX, PAGE_ITEMS_MAX};
use chatwright_core::port::{DebugStore, StoreErrorKind};
use chatwright_core::{ChatId, RunId, Uuid};

use super::fixture::{create_step, json, update_step};
use crate::Subject;

pub(super) async fn d11_pages_of_any_size_list_every_run_of_the_chat_newest_first(
    subject: &Subject<dyn DebugStore>,
) {
    const CLAUSE: &str = "debug.D11";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let bits = desk.chat.as_uuid().as_u128();
    let alike = [1, 1 << 64, 1 << 127].map(|bit| ChatId::from_uuid(Uuid::from_u128(bits ^ bit)));
    // Many at one time: a page ends among them.
    let mut times = vec![1, 2, 2, 2, 2, 2, 2, 2, 10, 11, 11, 100, 1_000, 10_000, 99_999];
    let mut runs: Vec<DebugRun> = Vec::new();
    while !times.is_empty() {
        let ms = times.swap_remove(subject.chance.below(times.len() as u64) as usize);
        let mut run = desk.run(&subject.ids, ms);
        // All bits of an id count, and its beginning is nothing special. When something last happened does not.
        run.id = RunId::from_uuid(Uuid::from_u128(run.id.as_uuid().as_u128().rotate_left(64)));
        run.updated_at = desk.at(99_999 - ms);
        notes.create(&run, &[]).await;
        runs.push(run);
    }
    for chat in alike {
        notes.create(&DebugRun { chat, ..desk.run(&subject.ids, 2) }, &[]).await;
    }
    runs.sort_unstable_by_key(|run| std::cmp::Reverse((run.started_at, run.id)));
    for limit in (1..=runs.len() + 1).chain([PAGE_ITEMS_MAX]) {
        assert_eq!(notes.listed(desk.chat, limit).await, runs, "{CLAUSE}: pages of {limit}");
    }
    // Whatever stands between two runs is a place to go on from.
    for (n, run) in runs.iter().enumerate() {
        let id = run.id.as_uuid().as_u128();
        for id in [id - 1, id, id + 1] {
            let before = (run.started_at, RunId::from_uuid(Uuid::from_u128(id)));
            let next: Vec<&DebugRun> =
                runs.iter().filter(|run| (run.started_at, run.id) < before).take(2).collect();
            let page = notes.answer(notes.store.runs(desk.chat, Some(before), 2).await);
            assert_eq!(page.iter().collect::<Vec<_>>(), next, "{CLAUSE}: behind a place beside run {n}");
        }
    }
    let nobody = notes.listed(ChatId::mint(&subject.ids), PAGE_ITEMS_MAX).await;
    assert_eq!(nobody, [], "{CLAUSE}: runs of a chat that has none");
}

pub(super) async fn d11_pages_of_any_size_list_every_step_of_the_run(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D11";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let (run, other) = (desk.run(&subject.ids, 1), desk.run(&subject.ids, 1));
    // Whatever else ascends or does not.
    let steps: Vec<DebugStep> = (0..13)
        .map(|n| DebugStep { number: n + 1, ..desk.step(&subject.ids, &run, i64::from(n) * 7 % 13) })
        .collect();
    notes.create(&run, &steps).await;
    notes.create(&other, &[desk.step(&subject.ids, &other, 1)]).await;
    for detail in [Detail::Whole, Detail::Outline] {
        let expected: Vec<DebugStep> = steps
            .iter()
            .map(|step| if detail == Detail::Whole { step.clone() } else { step.clone().outline() })
            .collect();
        for after in 0..15_u32 {
            for limit in (1..=14).chain([PAGE_ITEMS_MAX]) {
                let page = notes.page(&run, after, limit, detail).await;
                let least: Vec<DebugStep> =
                    expected.iter().filter(|step| step.number > after).take(limit).cloned().collect();
                assert_eq!(page, least, "{CLAUSE}: {limit} steps after {after}, {detail:?}");
            }
        }
        let beyond = notes.page(&run, u32::MAX, 5, detail).await;
        assert_eq!(beyond, [], "{CLAUSE}: steps after the last possible one");
        let foreign = DebugRun { chat: ChatId::mint(&subject.ids), ..run.clone() };
        assert_eq!(notes.page(&foreign, 0, 5, detail).await, [], "{CLAUSE}: another chat's run");
        let nobody = desk.run(&subject.ids, 1);
        assert_eq!(notes.page(&nobody, 0, 5, detail).await, [], "{CLAUSE}: a run that is not there");
    }
    let foreign = notes.run(ChatId::mint(&subject.ids), run.id).await;
    assert_eq!(foreign, None, "{CLAUSE}: another chat's run");
}

pub(super) async fn d11_a_page_of_whole_steps_stops_at_its_bytes_and_is_never_empty(
    subject: &Subject<dyn DebugStore>,
) {
    const CLAUSE: &str = "debug.D11";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let run = desk.run(&subject.ids, 1);
    notes.create(&run, &[]).await;
    let large = || Some(json(&format!(r#""{}""#, "x".repeat(DEBUG_JSON_BYTES_MAX - 2))));
    let mut steps = Vec::new();
    for number in 1..=5 {
        let step = desk.step(&subject.ids, &run, 1);
        let step = DebugStep { number, request: large(), response: large(), ..step };
        notes.write(&[create_step(&step)]).await;
        steps.push(step);
    }
    // One that no page takes beside another, if any takes it.
    let vast = DebugStep { number: 6, request: large(), ..desk.step(&subject.ids, &run, 1) };
    notes.write(&[create_step(&vast)]).await;
    let mut vast = vast;
    for name in 0..4 {
        let mut change = StepChange::default();
        let place = [&mut change.response, &mut change.attempts, &mut change.usage, &mut change.error];
        *place.into_iter().nth(name).expect("one of four") = Change::Set(large().expect("it is"));
        vast.apply(&change, desk.at(2));
        notes.write(&[update_step(&vast, &change, desk.at(2))]).await;
    }
    steps.push(vast);
    let mut found: Vec<DebugStep> = Vec::new();
    loop {
        let after = found.last().map_or(0, |step| step.number);
        let page = notes.page(&run, after, PAGE_ITEMS_MAX, Detail::Whole).await;
        let bytes: usize = page.iter().map(DebugStep::bytes).sum();
        let fits = page.len() <= 1 || bytes <= PAGE_BYTES_MAX;
        assert!(fits, "{CLAUSE}: a page of {} steps has {bytes} bytes", page.len());
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert!(found == steps, "{CLAUSE}: large steps, walked in pages");
    let outlines = notes.page(&run, 0, PAGE_ITEMS_MAX, Detail::Outline).await;
    assert_eq!(outlines.len(), steps.len(), "{CLAUSE}: outlines of large steps in one page");
    notes.clear(desk.chat).await;
}

pub(super) async fn d11_a_page_has_its_bounds(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D11";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let run = desk.run(&subject.ids, 1);
    notes.create(&run, &[]).await;
    let invalid = Some(StoreErrorKind::Invalid);
    for limit in [0, PAGE_ITEMS_MAX + 1] {
        for before in [None, Some((desk.at(0), run.id))] {
            let refused = notes.store.runs(desk.chat, before, limit).await.err().map(|error| error.kind());
            assert_eq!(refused, invalid, "{CLAUSE}: a page of {limit} runs is refused");
        }
        for detail in [Detail::Whole, Detail::Outline] {
            let refused = notes.store.steps(desk.chat, run.id, 0, limit, detail).await;
            let refused = refused.err().map(|error| error.kind());
            assert_eq!(refused, invalid, "{CLAUSE}: a page of {limit} steps is refused");
        }
    }
    let name = ContentHash::of(desk.chat, b"");
    let most = notes.answer(notes.store.contents(desk.chat, run.id, &[name; PAGE_ITEMS_MAX]).await);
    assert_eq!(most, vec![None; PAGE_ITEMS_MAX], "{CLAUSE}: as many pieces as may be asked for");
    let none = notes.answer(notes.store.contents(desk.chat, run.id, &[]).await);
    assert_eq!(none, [], "{CLAUSE}: no piece at all");
    let refused = notes.store.contents(desk.chat, run.id, &[name; PAGE_ITEMS_MAX + 1]).await;
    let refused = refused.err().map(|error| error.kind());
    assert_eq!(refused, invalid, "{CLAUSE}: more pieces than may be asked for");
}
