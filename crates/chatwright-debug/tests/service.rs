//! Whether is recorded, and what is done with runs and steps.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::debug::{
    Change, DebugDelete, DebugRun, DebugStatus, DebugStep, Detail, RunChange, RunKind, StepChange,
};
use chatwright_core::model::ModelId;
use chatwright_core::port::{
    Bus, BusError, BusFrames, DebugSwitches, Delivery, StoreError, StoreErrorKind, Topic,
};
use chatwright_core::{ChatId, RunId, Seq, StepId, UserId, Uuid};
use chatwright_debug::{
    CreateStepError, DebugEvent, DebugEventKind, DebugSettings, Summary, UpdateError, label,
};
use chatwright_memory::MemoryBus;
use common::{Bench, Called, Fault, Rigged, START, a_run, a_step, at, chat, json, run, step, user};
use futures::FutureExt;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::{Instant, advance, sleep, timeout};

on_both_stores![
    a_run_is_stored_as_it_was_given_and_has_no_end,
    a_run_of_which_nothing_is_known_has_an_empty_summary,
    a_run_changes_in_what_is_named_and_in_nothing_else,
    a_run_that_ends_without_a_time_ends_now_and_its_end_never_moves,
    a_step_is_stored_and_listed_once,
    steps_are_numbered_in_the_order_in_which_they_are_created,
    a_step_joins_no_run_that_is_over,
    a_step_joins_no_run_that_is_not_there_or_is_another_chats,
    a_step_keeps_what_a_change_does_not_name_and_loses_what_it_clears,
    a_step_that_ends_without_a_time_ends_now_and_a_retry_ends_it_later,
    what_is_not_there_is_not_changed,
    a_chats_runs_are_deleted_with_their_steps_and_those_of_others_stay,
    a_chats_runs_from_before_a_time_are_deleted_and_later_ones_stay,
    runs_that_have_to_do_with_a_part_of_the_log_are_deleted_and_no_others,
    what_gives_no_sign_of_life_for_longer_than_the_threshold_is_ended,
    what_is_swept_has_the_sum_of_its_steps,
    what_is_older_than_the_retention_is_purged_finished_or_not,
    the_sum_of_no_steps_is_the_seed_with_zeros,
    the_sum_adds_tokens_of_every_kind_and_keeps_the_seeds_own_words,
    what_a_seed_says_of_sums_is_summed_up_anew,
    usage_that_cannot_be_read_adds_nothing_and_its_step_counts,
    an_error_shows_in_the_sum_unless_its_step_was_stopped,
    the_endpoint_is_that_of_the_first_request_that_was_answered,
    a_run_ends_with_the_sum_of_its_steps,
    who_watches_is_told_of_each_change_once,
    a_sweep_tells_everybody_once_and_only_if_something_ended,
];

fn status(status: DebugStatus) -> Option<DebugStatus> {
    Some(status)
}

async fn a_run_is_stored_as_it_was_given_and_has_no_end(store: Rigged) {
    let bench = Bench::new(store);
    let whole = DebugRun {
        root: Some(chat(11)),
        parent: Some(chat(12)),
        owner: Some(user("ada")),
        kind: RunKind::TitleGeneration,
        turn: Some(Seq::new(4)),
        tip: Some(Seq::new(6)),
        model: Some(ModelId { provider: "p".into(), model: "m".into() }),
        summary: json(r#"{"first_message": "é"}"#),
        ..a_run(1, 1)
    };
    assert_eq!(bench.service.create_run(whole.clone()).await.expect("created"), whole);
    assert_eq!(bench.runs(chat(1)).await, std::slice::from_ref(&whole));
    assert_eq!((whole.status, whole.finished_at), (DebugStatus::InProgress, None));
}

async fn a_run_of_which_nothing_is_known_has_an_empty_summary(store: Rigged) {
    let bench = Bench::new(store);
    let stored = bench.service.create_run(a_run(1, 1)).await.expect("created");
    assert_eq!(stored.summary.as_str(), "{}");
}

async fn a_run_changes_in_what_is_named_and_in_nothing_else(store: Rigged) {
    let bench = Bench::new(store);
    let before = DebugRun { tip: Some(Seq::new(3)), summary: json("{\"a\":1}"), ..a_run(1, 1) };
    bench.service.create_run(before.clone()).await.expect("created");
    bench.clock.advance(Duration::from_secs(1));
    let change = RunChange { turn: Some(Seq::new(2)), ..RunChange::default() };
    bench.service.update_run(chat(1), run(1), change).await.expect("changed");
    let expected = DebugRun { turn: Some(Seq::new(2)), updated_at: at(1_000), ..before };
    assert_eq!(bench.run(chat(1), run(1)).await, expected);
    let change = RunChange {
        status: status(DebugStatus::Error),
        summary: Some(json("{}")),
        finished_at: Some(at(500)),
        ..RunChange::default()
    };
    bench.service.update_run(chat(1), run(1), change).await.expect("changed");
    let expected =
        DebugRun { status: DebugStatus::Error, summary: json("{}"), finished_at: Some(at(500)), ..expected };
    assert_eq!(bench.run(chat(1), run(1)).await, expected);
}

async fn a_run_that_ends_without_a_time_ends_now_and_its_end_never_moves(store: Rigged) {
    let bench = Bench::new(store);
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    let to = |of, finished_at| RunChange { status: status(of), finished_at, ..RunChange::default() };
    bench.clock.advance(Duration::from_secs(7));
    for (change, expected) in [
        (to(DebugStatus::Interrupted, None), DebugStatus::Interrupted),
        (RunChange { summary: Some(json("{\"b\":2}")), ..RunChange::default() }, DebugStatus::Interrupted),
        (to(DebugStatus::Completed, Some(at(60_000))), DebugStatus::Completed),
    ] {
        bench.service.update_run(chat(1), run(1), change).await.expect("changed");
        let stored = bench.run(chat(1), run(1)).await;
        assert_eq!((stored.status, stored.finished_at), (expected, Some(at(7_000))));
        bench.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(bench.run(chat(1), run(1)).await.summary, json("{\"b\":2}"));
}

async fn a_step_is_stored_and_listed_once(store: Rigged) {
    let bench = Bench::new(store);
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    let given = DebugStep {
        model: Some(ModelId { provider: "p".into(), model: "m".into() }),
        tip: Some(Seq::new(9)),
        request: Some(json("{\"v\":1}")),
        ..a_step(1, 1, 1)
    };
    assert_eq!(bench.service.create_step(given.clone()).await.expect("created"), 1);
    // Again, as after an answer that was lost.
    assert_eq!(bench.service.create_step(given.clone()).await.expect("created"), 1);
    assert_eq!(bench.steps(chat(1), run(1)).await, [DebugStep { number: 1, ..given.clone() }]);
    let outline = bench.service.steps(chat(1), run(1), 0, 10, Detail::Outline).await.expect("it answers");
    assert_eq!(outline, [DebugStep { number: 1, request: None, ..given }]);
}

async fn steps_are_numbered_in_the_order_in_which_they_are_created(store: Rigged) {
    let bench = Bench::new(store);
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    bench.service.create_run(a_run(2, 1)).await.expect("created");
    // Both ask for the same number.
    for (id, of, expected) in [(1, 1, 1), (2, 1, 2), (3, 2, 1)] {
        let asked = DebugStep { number: 1, ..a_step(id, of, 1) };
        assert_eq!(bench.service.create_step(asked).await.expect("created"), expected);
    }
    let many = (10..40).map(|id| bench.service.create_step(a_step(id, 1, 1)));
    let mut numbers: Vec<u32> =
        futures::future::join_all(many).await.into_iter().map(|number| number.expect("created")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (3..33).collect::<Vec<_>>());
}

async fn a_step_joins_no_run_that_is_over(store: Rigged) {
    let bench = Bench::new(store);
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    let end = RunChange { status: status(DebugStatus::Completed), ..RunChange::default() };
    bench.service.update_run(chat(1), run(1), end).await.expect("changed");
    let error = bench.service.create_step(a_step(1, 1, 1)).await.expect_err("it is over");
    assert!(matches!(error, CreateStepError::RunFinalized), "{error:?}");
    assert_eq!(error.to_string(), "the parent run is already finalized");
    assert_eq!(bench.steps(chat(1), run(1)).await, []);
}

async fn a_step_joins_no_run_that_is_not_there_or_is_another_chats(store: Rigged) {
    let bench = Bench::new(store);
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    for of in [a_step(1, 5, 1), a_step(1, 1, 2)] {
        let error = bench.service.create_step(of).await.expect_err("no such run");
        assert!(matches!(error, CreateStepError::RunNotFound), "{error:?}");
        assert_eq!(error.to_string(), "the parent run was not found");
    }
    assert_eq!(bench.steps(chat(1), run(1)).await, []);
}

async fn a_step_keeps_what_a_change_does_not_name_and_loses_what_it_clears(store: Rigged) {
    let bench = Bench::new(store);
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    let begun = DebugStep { request: Some(json("{\"v\":1}")), ..a_step(1, 1, 1) };
    bench.service.create_step(begun.clone()).await.expect("created");
    let change = |change| bench.service.update_step(chat(1), run(1), step(1), change);
    let set = |text| Change::Set(json(text));
    let attempts = r#"[{"number": 1, "response_status": 200, "duration_ms": 3}]"#;
    let whole = StepChange {
        answer: Some(Seq::new(5)),
        usage: set("{\"input\":1}"),
        error: set("{\"message\":\"no\"}"),
        metadata: set("{}"),
        response: set("[1.0]"),
        attempts: set(attempts),
        ..StepChange::default()
    };
    change(whole).await.expect("changed");
    let expected = DebugStep {
        number: 1,
        answer: Some(Seq::new(5)),
        usage: Some(json("{\"input\":1}")),
        error: Some(json("{\"message\":\"no\"}")),
        metadata: Some(json("{}")),
        response: Some(json("[1.0]")),
        attempts: Some(json(attempts)),
        ..begun
    };
    assert_eq!(bench.steps(chat(1), run(1)).await, std::slice::from_ref(&expected));
    change(StepChange::default()).await.expect("changed");
    assert_eq!(bench.steps(chat(1), run(1)).await, std::slice::from_ref(&expected));
    change(StepChange { error: Change::Clear, ..StepChange::default() }).await.expect("changed");
    assert_eq!(bench.steps(chat(1), run(1)).await, [DebugStep { error: None, ..expected }]);
}

async fn a_step_that_ends_without_a_time_ends_now_and_a_retry_ends_it_later(store: Rigged) {
    let bench = Bench::new(store);
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    bench.service.create_step(a_step(1, 1, 1)).await.expect("created");
    let mut ends = Vec::new();
    for (to, expected) in [
        (DebugStatus::Error, (DebugStatus::Error, Some(at(1_000)))),
        (DebugStatus::Completed, (DebugStatus::Completed, Some(at(2_000)))),
        // What is done does not fail.
        (DebugStatus::Error, (DebugStatus::Completed, Some(at(2_000)))),
    ] {
        bench.clock.advance(Duration::from_secs(1));
        let change = StepChange { status: status(to), ..StepChange::default() };
        bench.service.update_step(chat(1), run(1), step(1), change).await.expect("it answers");
        let stored = bench.steps(chat(1), run(1)).await.remove(0);
        ends.push((stored.status, stored.finished_at));
        assert_eq!(ends.last(), Some(&expected));
    }
}

async fn what_is_not_there_is_not_changed(store: Rigged) {
    let bench = Bench::new(store);
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    bench.service.create_step(a_step(1, 1, 1)).await.expect("created");
    let before = (bench.run(chat(1), run(1)).await, bench.steps(chat(1), run(1)).await);
    let ended = || RunChange { status: status(DebugStatus::Error), ..RunChange::default() };
    for (of, id) in [(2, 1), (1, 2)] {
        let error = bench.service.update_run(chat(of), run(id), ended()).await.expect_err("not there");
        assert!(matches!(error, UpdateError::NotFound), "{error:?}");
        assert_eq!(error.to_string(), "there is no such run or step in this chat");
    }
    let ended = || StepChange { status: status(DebugStatus::Error), ..StepChange::default() };
    for (of, of_run, id) in [(2, 1, 1), (1, 2, 1), (1, 1, 2)] {
        let changed = bench.service.update_step(chat(of), run(of_run), step(id), ended()).await;
        assert!(matches!(changed, Err(UpdateError::NotFound)), "{changed:?}");
    }
    assert_eq!((bench.run(chat(1), run(1)).await, bench.steps(chat(1), run(1)).await), before);
}

async fn a_chats_runs_are_deleted_with_their_steps_and_those_of_others_stay(store: Rigged) {
    let bench = Bench::new(store);
    for of in [1, 2] {
        bench.service.create_run(a_run(of, of)).await.expect("created");
        bench.service.create_step(a_step(of, of, of)).await.expect("created");
    }
    assert_eq!(bench.service.delete_chat(chat(1), None).await.expect("it answers"), 1);
    assert_eq!((bench.runs(chat(1)).await, bench.steps(chat(1), run(1)).await), (vec![], vec![]));
    assert_eq!(bench.runs(chat(2)).await, [a_run(2, 2)]);
    assert_eq!(bench.steps(chat(2), run(2)).await.len(), 1);
}

async fn a_chats_runs_from_before_a_time_are_deleted_and_later_ones_stay(store: Rigged) {
    let bench = Bench::new(store);
    for (id, started) in [(1, 0), (2, 10), (3, 11)] {
        let new = DebugRun { started_at: at(started), updated_at: at(started), ..a_run(id, 1) };
        bench.service.create_run(new).await.expect("created");
    }
    assert_eq!(bench.service.delete_chat(chat(1), Some(at(10))).await.expect("it answers"), 1);
    let left: Vec<RunId> = bench.runs(chat(1)).await.iter().map(|run| run.id).collect();
    assert_eq!(left, [run(2), run(3)]);
}

async fn runs_that_have_to_do_with_a_part_of_the_log_are_deleted_and_no_others(store: Rigged) {
    let bench = Bench::new(store);
    // By its turn, by its tip, by the answer of a step, by the tip of a step; and two that stand before and behind.
    let runs: [(u128, DebugRun); 6] = [
        (1, DebugRun { turn: Some(Seq::new(10)), ..a_run(1, 1) }),
        (2, DebugRun { turn: Some(Seq::new(2)), tip: Some(Seq::new(19)), ..a_run(2, 1) }),
        (3, a_run(3, 1)),
        (4, a_run(4, 1)),
        (5, DebugRun { turn: Some(Seq::new(2)), tip: Some(Seq::new(9)), ..a_run(5, 1) }),
        (6, DebugRun { turn: Some(Seq::new(20)), ..a_run(6, 1) }),
    ];
    for (id, new) in runs {
        bench.service.create_run(new).await.expect("created");
        let (answer, tip) = match id {
            3 => (Some(Seq::new(15)), None),
            4 => (None, Some(Seq::new(11))),
            5 => (Some(Seq::new(9)), Some(Seq::new(9))),
            _ => (None, None),
        };
        bench.service.create_step(DebugStep { answer, tip, ..a_step(id, id, 1) }).await.expect("created");
    }
    let within = Some(Seq::new(10)..Seq::new(20));
    let which = DebugDelete { chat: Some(chat(1)), within, ..DebugDelete::default() };
    assert_eq!(bench.service.delete(&which).await.expect("it answers"), 4);
    let left: Vec<RunId> = bench.runs(chat(1)).await.iter().map(|run| run.id).collect();
    assert_eq!(left, [run(5), run(6)]);
}

async fn what_gives_no_sign_of_life_for_longer_than_the_threshold_is_ended(store: Rigged) {
    let bench = Bench::new(store);
    bench.service.set_stale_after(Duration::from_secs(42));
    bench.service.set_stale_after(Duration::ZERO);
    assert_eq!(bench.service.stale_after(), Duration::from_secs(42), "zero changes nothing");
    for id in [1, 2] {
        bench.service.create_run(a_run(id, 1)).await.expect("created");
        bench.service.create_step(a_step(id, id, 1)).await.expect("created");
    }
    bench.clock.advance(Duration::from_secs(42));
    assert_eq!(bench.service.sweep().await.expect("it answers"), (0, 0), "at the threshold");
    bench.service.touch(chat(1), run(2), Some(step(2))).await.expect("it answers");
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.service.sweep().await.expect("it answers"), (1, 1), "behind it");
    let ended = |run: DebugRun| (run.status, run.finished_at);
    let (interrupted, end) = (DebugStatus::Interrupted, Some(at(42_001)));
    assert_eq!(ended(bench.run(chat(1), run(1)).await), (interrupted, end));
    assert_eq!(ended(bench.run(chat(1), run(2)).await), (DebugStatus::InProgress, None));
    let of = bench.steps(chat(1), run(1)).await;
    assert_eq!((of[0].status, of[0].finished_at), (interrupted, end));
    let other = bench.steps(chat(1), run(2)).await;
    assert_eq!((other[0].status, other[0].finished_at), (DebugStatus::InProgress, None));
}

async fn what_is_swept_has_the_sum_of_its_steps(store: Rigged) {
    let bench = Bench::new(store);
    let summary = Summary::seed("hello").to_json();
    bench.service.create_run(DebugRun { summary, ..a_run(1, 1) }).await.expect("created");
    let usage = Some(json("{\"input\":10,\"output\":5}"));
    bench.service.create_step(DebugStep { usage, ..a_step(1, 1, 1) }).await.expect("created");
    bench.clock.advance(Duration::from_secs(10 * 60));
    assert_eq!(bench.service.sweep().await.expect("it answers"), (1, 1));
    let summary = Summary::from_json(&bench.run(chat(1), run(1)).await.summary);
    assert_eq!(summary.first_message.as_deref(), Some("hello"));
    assert_eq!((summary.step_count, summary.total_input_tokens, summary.total_output_tokens), (1, 10, 5));
    assert_eq!(summary.duration(), Some(Duration::from_secs(10 * 60)));
}

async fn what_is_older_than_the_retention_is_purged_finished_or_not(store: Rigged) {
    const DAY: i64 = 24 * 60 * 60 * 1_000;
    let mut settings = DebugSettings::default();
    settings.retention = Some(Duration::from_secs(7 * 24 * 60 * 60));
    let bench = Bench::with(store, settings, |service| service);
    for (id, age, of) in
        [(1, 8, DebugStatus::Completed), (2, 9, DebugStatus::InProgress), (3, 6, DebugStatus::Completed)]
    {
        let then = at(-age * DAY);
        let old = DebugRun { status: of, started_at: then, updated_at: then, ..a_run(id, 1) };
        bench.service.create_run(old).await.expect("created");
    }
    let begun = DebugStep { started_at: at(-9 * DAY), updated_at: at(-9 * DAY), ..a_step(2, 2, 1) };
    bench.service.create_step(begun).await.expect("created");
    assert_eq!(bench.service.purge_expired().await.expect("it answers"), 2);
    let left: Vec<RunId> = bench.runs(chat(1)).await.iter().map(|run| run.id).collect();
    assert_eq!(left, [run(3)]);
    assert_eq!(bench.steps(chat(1), run(2)).await, []);
    let mut settings = DebugSettings::default();
    settings.retention = None;
    let forever = Bench::with(bench.store.clone(), settings, |service| service);
    forever.clock.advance(Duration::from_secs(10 * 365 * 24 * 60 * 60));
    assert_eq!(forever.service.purge_expired().await.expect("it answers"), 0);
    assert_eq!(forever.runs(chat(1)).await.len(), 1);
}

/// A run whose steps have these usages, errors and metadata.
async fn summed(bench: &Bench, steps: Vec<DebugStep>, seed: Summary) -> Summary {
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    for (id, step) in (1..).zip(steps) {
        let step = DebugStep { id: common::step(id), run: run(1), chat: chat(1), ..step };
        bench.service.create_step(step).await.expect("created");
    }
    bench.service.summary(chat(1), run(1), seed).await.expect("it answers")
}

fn used(text: &str) -> DebugStep {
    DebugStep { usage: Some(json(text)), ..a_step(1, 1, 1) }
}

async fn the_sum_of_no_steps_is_the_seed_with_zeros(store: Rigged) {
    let bench = Bench::new(store);
    let sum = summed(&bench, vec![], Summary::seed("  so  far ")).await;
    let expected = json(
        r#"{"first_message":"so far","step_count":0,"attempt_count":0,"total_input_tokens":0,"total_output_tokens":0}"#,
    );
    assert_eq!(sum.to_json(), expected);
    assert_eq!(Summary::seed(" \n ").to_json(), Summary::default().to_json(), "an empty label is no seed");
}

async fn the_sum_adds_tokens_of_every_kind_and_keeps_the_seeds_own_words(store: Rigged) {
    let bench = Bench::new(store);
    let seed = Summary::from_json(&json(r#"{"first_message":"hi","mcp_connect":[{"name":"x"}]}"#));
    let steps = vec![
        used(r#"{"input":10,"output":5,"reasoning":2,"cache_read":3,"cache_write":4}"#),
        used(r#"{"input":1,"output":1,"reasoning":1,"cache_read":1}"#),
        // It says nothing.
        a_step(1, 1, 1),
    ];
    let sum = summed(&bench, steps, seed).await;
    // A prompt's tokens are those of its caches too.
    let expected = json(
        r#"{"first_message":"hi","step_count":3,"attempt_count":0,"total_input_tokens":19,"total_output_tokens":6,"total_reasoning_tokens":3,"total_cache_creation_tokens":4,"total_cache_read_tokens":4,"mcp_connect":[{"name":"x"}]}"#,
    );
    assert_eq!(sum.to_json(), expected);
}

async fn what_a_seed_says_of_sums_is_summed_up_anew(store: Rigged) {
    let bench = Bench::new(store);
    let seed = Summary::from_json(&json(
        r#"{"first_message":"hi","step_count":9,"attempt_count":9,"has_error":true,"endpoint_label":"POST /old","total_input_tokens":9,"total_output_tokens":9,"total_reasoning_tokens":9,"total_cache_creation_tokens":9,"total_cache_read_tokens":9,"duration_ms":9,"model_ms":9,"first_content_ms":9}"#,
    ));
    let sum = summed(&bench, vec![used(r#"{"input":1,"reasoning":0,"cache_read":0}"#)], seed).await;
    let expected = json(
        r#"{"first_message":"hi","step_count":1,"attempt_count":0,"total_input_tokens":1,"total_output_tokens":0}"#,
    );
    assert_eq!(sum.to_json(), expected);
}

async fn usage_that_cannot_be_read_adds_nothing_and_its_step_counts(store: Rigged) {
    let bench = Bench::new(store);
    let steps = vec![used(r#"{"input":"many"}"#), used(r#"{"input":3,"output":2}"#)];
    let sum = summed(&bench, steps, Summary::default()).await;
    assert_eq!((sum.step_count, sum.total_input_tokens, sum.total_output_tokens), (2, 3, 2));
}

async fn an_error_shows_in_the_sum_unless_its_step_was_stopped(store: Rigged) {
    let bench = Bench::new(store);
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    let error = |text| Some(json(text));
    let mut shown = Vec::new();
    for (id, status, error, expected) in [
        (1, DebugStatus::Interrupted, error("{\"message\":\"stopped\"}"), false),
        (2, DebugStatus::Completed, error("null"), false),
        (3, DebugStatus::Completed, None, false),
        (4, DebugStatus::InProgress, error("{\"message\":\"no\"}"), true),
        (5, DebugStatus::Error, None, true),
    ] {
        // Each alone.
        bench.service.create_run(a_run(id, 1)).await.expect("created");
        let step = DebugStep { status, error, ..a_step(id, id, 1) };
        bench.service.create_step(step).await.expect("created");
        let sum = bench.service.summary(chat(1), run(id), Summary::default()).await.expect("it answers");
        shown.push((id, sum.has_error));
        assert_eq!(shown.last(), Some(&(id, expected)));
    }
}

async fn the_endpoint_is_that_of_the_first_request_that_was_answered(store: Rigged) {
    let bench = Bench::new(store);
    let with = |metadata, status| DebugStep { metadata: Some(json(metadata)), status, ..a_step(1, 1, 1) };
    let steps = vec![
        with(r#"{"v":1,"attempts":2,"model_ms":5}"#, DebugStatus::Error),
        with("7", DebugStatus::Completed),
        with(r#"{"attempts":1,"endpoint":"POST /v1/chat","model_ms":6}"#, DebugStatus::Completed),
        with(r#"{"attempts":1,"endpoint":"/v2"}"#, DebugStatus::Completed),
    ];
    let sum = summed(&bench, steps, Summary::default()).await;
    assert_eq!(sum.endpoint_label.as_deref(), Some("POST /v1/chat"));
    assert_eq!((sum.step_count, sum.attempt_count, sum.model_ms, sum.has_error), (4, 4, 11, true));
}

async fn a_run_ends_with_the_sum_of_its_steps(store: Rigged) {
    let bench = Bench::new(store);
    summed(&bench, vec![used("{\"input\":2}"), used("{\"input\":3}")], Summary::default()).await;
    bench.clock.advance(Duration::from_secs(3));
    let ended = bench.service.finalize_run(chat(1), run(1), DebugStatus::Completed, Summary::seed("hi"));
    ended.await.expect("it ends");
    let stored = bench.run(chat(1), run(1)).await;
    assert_eq!((stored.status, stored.finished_at), (DebugStatus::Completed, Some(at(3_000))));
    let sum = Summary::from_json(&stored.summary);
    assert_eq!((sum.first_message.as_deref(), sum.step_count, sum.total_input_tokens), (Some("hi"), 2, 5));
    let missing = bench.service.finalize_run(chat(1), run(7), DebugStatus::Completed, Summary::default());
    assert!(matches!(missing.await, Err(UpdateError::NotFound)));
}

/// What waits for a subscriber.
async fn told(frames: &mut BusFrames) -> Vec<DebugEvent> {
    let mut events = Vec::new();
    while let Some(delivery) = frames.next().now_or_never() {
        match delivery {
            Some(Delivery::Frame(frame)) => events.push(DebugEvent::from_frame(&frame).expect("one of ours")),
            other => panic!("nothing is lost: {other:?}"),
        }
    }
    events
}

fn event(kind: DebugEventKind, of: ChatId, run: Option<RunId>, step: Option<StepId>) -> DebugEvent {
    DebugEvent {
        kind,
        chat: of,
        run: run.unwrap_or(RunId::from_uuid(Uuid::nil())),
        step: step.unwrap_or(StepId::from_uuid(Uuid::nil())),
    }
}

async fn who_watches_is_told_of_each_change_once(store: Rigged) {
    let bus = MemoryBus::new();
    let with = bus.clone();
    let bench = Bench::with(store, DebugSettings::default(), |service| service.with_bus(Arc::new(with)));
    let mut own = bus.subscribe(&DebugEvent::topic(chat(1))).await.expect("it is up");
    let mut all = bus.subscribe(&DebugEvent::broadcast()).await.expect("it is up");
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    let run_update = event(DebugEventKind::RunUpdate, chat(1), Some(run(1)), None);
    assert_eq!(told(&mut own).await, [run_update], "with the chat and the run, and no step");
    bench.service.create_step(a_step(1, 1, 1)).await.expect("created");
    let step_update = event(DebugEventKind::StepUpdate, chat(1), Some(run(1)), Some(step(1)));
    assert_eq!(told(&mut own).await, [step_update]);
    bench.service.update_run(chat(1), run(1), RunChange::default()).await.expect("changed");
    bench.service.update_step(chat(1), run(1), step(1), StepChange::default()).await.expect("changed");
    assert_eq!(told(&mut own).await, [run_update, step_update]);
    // A sign of life is no news; nor is what did not happen.
    bench.service.touch(chat(1), run(1), Some(step(1))).await.expect("it answers");
    drop(bench.service.update_run(chat(1), run(9), RunChange::default()).await);
    drop(bench.service.create_step(a_step(9, 9, 1)).await);
    assert_eq!(told(&mut own).await, []);
    bench.service.delete_chat(chat(1), None).await.expect("it answers");
    // Also when nothing was there to delete.
    bench.service.delete_chat(chat(1), None).await.expect("it answers");
    let delete = event(DebugEventKind::Delete, chat(1), None, None);
    assert_eq!(told(&mut own).await, [delete, delete]);
    assert_eq!(told(&mut all).await, []);
    let text = serde_json::to_string(&run_update).expect("it encodes");
    let expected = format!(
        r#"{{"kind":"run_update","chat_id":"{}","run_id":"{}","step_id":"{}"}}"#,
        chat(1),
        run(1),
        Uuid::nil()
    );
    assert_eq!(text, expected);
}

async fn a_sweep_tells_everybody_once_and_only_if_something_ended(store: Rigged) {
    let bus = MemoryBus::new();
    let with = bus.clone();
    let bench = Bench::with(store, DebugSettings::default(), |service| service.with_bus(Arc::new(with)));
    let mut all = bus.subscribe(&DebugEvent::broadcast()).await.expect("it is up");
    for id in [1, 2] {
        bench.service.create_run(a_run(id, id)).await.expect("created");
    }
    bench.service.sweep().await.expect("it answers");
    assert_eq!(told(&mut all).await, [], "nothing is stale");
    bench.clock.advance(Duration::from_secs(10 * 60));
    bench.service.sweep().await.expect("it answers");
    let nobody = ChatId::from_uuid(Uuid::nil());
    assert_eq!(told(&mut all).await, [event(DebugEventKind::Finalize, nobody, None, None)]);
    bench.service.sweep().await.expect("it answers");
    assert_eq!(told(&mut all).await, []);
}

#[tokio::test]
async fn what_the_store_says_of_a_step_that_it_did_not_create_is_told() {
    let bench = Bench::new(Rigged::memory());
    bench.store.fails(|_| Fault::Refuses);
    let error = bench.service.create_step(a_step(1, 1, 1)).await.expect_err("it refuses");
    let CreateStepError::Store(error) = error else { panic!("{error:?}") };
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let error =
        bench.service.update_run(chat(1), run(1), RunChange::default()).await.expect_err("it refuses");
    assert!(matches!(error, UpdateError::Store(_)), "{error:?}");
}

#[test]
fn a_label_is_one_line_of_at_most_so_many_characters() {
    let cases = [
        ("", 5, ""),
        (" \t\n ", 5, ""),
        ("short", 10, "short"),
        ("exact", 5, "exact"),
        ("abcdefghij", 5, "abcd…"),
        ("text", 0, ""),
        ("text", 1, "…"),
        ("t", 1, "t"),
        ("  a \n\t b  c ", 10, "a b c"),
        ("日本語テキスト", 3, "日本…"),
        ("ab cd", 4, "ab …"),
    ];
    for (text, max, expected) in cases {
        assert_eq!(label(text, max), expected, "{text:?} at {max}");
        assert!(label(text, max).chars().count() <= max);
    }
}

/// Switches that say what they are told to, and count how often they are asked.
#[derive(Default)]
struct Switches {
    says: Mutex<Says>,
    asked: AtomicUsize,
}

#[derive(Clone, Copy, Default)]
struct Says {
    allowed: Option<bool>,
    user: Option<bool>,
    chat: Option<bool>,
    fails: Option<usize>,
    hangs: bool,
}

impl Switches {
    async fn answer(&self, at: usize, which: fn(&Says) -> Option<bool>) -> Result<Option<bool>, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let says = *self.says.lock();
        if says.hangs {
            std::future::pending::<()>().await;
        }
        if says.fails == Some(at) {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "it refuses"));
        }
        Ok(which(&says))
    }
}

#[async_trait]
impl DebugSwitches for Switches {
    async fn allowed(&self) -> Result<Option<bool>, StoreError> {
        self.answer(0, |says| says.allowed).await
    }

    async fn of_user(&self, user: &UserId) -> Result<Option<bool>, StoreError> {
        assert_eq!(user.as_str(), "ada");
        self.answer(1, |says| says.user).await
    }

    async fn of_chat(&self, of: ChatId) -> Result<Option<bool>, StoreError> {
        assert_eq!(of, chat(1));
        self.answer(2, |says| says.chat).await
    }
}

fn switched(says: Says, forced: bool) -> (Bench, Arc<Switches>) {
    let switches = Arc::new(Switches { says: Mutex::new(says), ..Switches::default() });
    let mut settings = DebugSettings::default();
    settings.forced = forced;
    let with = Arc::clone(&switches) as Arc<dyn DebugSwitches>;
    (Bench::with(Rigged::memory(), settings, |service| service.with_switches(with)), switches)
}

#[tokio::test(start_paused = true)]
async fn a_chat_is_recorded_if_the_deployment_forces_it_or_else_the_administrator_and_chat_or_user_allow_it()
{
    let (yes, no) = (Some(true), Some(false));
    let says = |allowed, chat, user| Says { allowed, chat, user, ..Says::default() };
    let ada = user("ada");
    for (says, forced, owner, expected) in [
        (says(None, None, None), false, Some(&ada), false),
        (says(None, yes, yes), false, Some(&ada), false),
        (says(no, yes, yes), false, Some(&ada), false),
        (says(yes, None, None), false, Some(&ada), false),
        (says(yes, None, yes), false, Some(&ada), true),
        (says(yes, None, no), false, Some(&ada), false),
        (says(yes, yes, no), false, Some(&ada), true),
        (says(yes, no, yes), false, Some(&ada), false),
        (says(yes, None, yes), false, None, false),
        (says(yes, yes, None), false, None, true),
        (says(no, no, no), true, Some(&ada), true),
        (says(None, None, None), true, None, true),
        (Says { fails: Some(0), ..says(yes, yes, yes) }, false, Some(&ada), false),
        (Says { fails: Some(1), ..says(yes, None, yes) }, false, Some(&ada), false),
        (Says { fails: Some(2), ..says(yes, yes, yes) }, false, Some(&ada), false),
        (Says { hangs: true, ..says(yes, yes, yes) }, false, Some(&ada), false),
        (Says { fails: Some(0), hangs: true, ..says(no, no, no) }, true, Some(&ada), true),
    ] {
        let (bench, _) = switched(says, forced);
        let enabled = timeout(Duration::from_secs(6), bench.service.is_enabled(owner, chat(1))).await;
        let words = (says.allowed, says.chat, says.user, says.fails, says.hangs, forced, owner);
        assert_eq!(enabled, Ok(expected), "{words:?}");
    }
    let without = Bench::with(Rigged::memory(), DebugSettings::default(), |service| service);
    assert!(!without.service.is_enabled(Some(&ada), chat(1)).await, "without switches it is off");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_the_switches_counts_for_a_while_and_for_this_user_alone() {
    let ada = user("ada");
    let (bench, switches) =
        switched(Says { allowed: Some(true), user: Some(true), ..Says::default() }, false);
    let asked = || switches.asked.load(Ordering::Relaxed);
    assert!(bench.service.is_enabled(Some(&ada), chat(1)).await);
    assert_eq!(asked(), 3);
    switches.says.lock().user = Some(false);
    advance(Duration::from_millis(4_999)).await;
    assert!(bench.service.is_enabled(Some(&ada), chat(1)).await);
    assert_eq!(asked(), 3, "not asked again within 5 s");
    advance(Duration::from_millis(1)).await;
    assert!(!bench.service.is_enabled(Some(&ada), chat(1)).await);
    assert_eq!(asked(), 6);
    switches.says.lock().user = Some(true);
    bench.service.forget_switches();
    assert!(bench.service.is_enabled(Some(&ada), chat(1)).await, "asked again when told to forget");
    assert!(!bench.service.is_enabled(None, chat(1)).await, "what is known of one is not another's");
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_although_its_caller_is_gone() {
    let bench = Bench::new(Rigged::memory());
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    bench.store.fails(|_| Fault::Late(Duration::from_millis(50)));
    let ended = bench.service.finalize_run(chat(1), run(1), DebugStatus::Completed, Summary::seed("hi"));
    assert!(ended.now_or_never().is_none(), "it waits for the store, and is dropped");
    sleep(Duration::from_secs(1)).await;
    bench.store.works();
    let stored = bench.run(chat(1), run(1)).await;
    assert_eq!((stored.status, stored.finished_at), (DebugStatus::Completed, Some(START)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_holds_the_end_of_a_run_for_five_seconds_at_most() {
    let bench = Bench::new(Rigged::memory());
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    bench.store.fails(|_| Fault::Hangs);
    let began = Instant::now();
    let ended = bench.service.finalize_run(chat(1), run(1), DebugStatus::Completed, Summary::default()).await;
    assert!(matches!(ended, Err(UpdateError::Store(_))), "{ended:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    // If only the steps cannot be read, it ends without its sum.
    bench.store.fails(|called| if called == Called::Steps { Fault::Hangs } else { Fault::None });
    let ended = bench.service.finalize_run(chat(1), run(1), DebugStatus::Error, Summary::seed("hi")).await;
    ended.expect("it ends");
    let stored = bench.run(chat(1), run(1)).await;
    assert_eq!((stored.status, stored.summary), (DebugStatus::Error, Summary::seed("hi").to_json()));
    bench.store.fails(|called| if called == Called::Steps { Fault::Refuses } else { Fault::None });
    let ended =
        bench.service.finalize_run(chat(1), run(1), DebugStatus::Completed, Summary::seed("ho")).await;
    ended.expect("it ends");
    bench.store.works();
    let stored = bench.run(chat(1), run(1)).await;
    assert_eq!((stored.status, stored.summary), (DebugStatus::Completed, Summary::seed("ho").to_json()));
}

/// When signs of life were given, in seconds since then.
fn signs(store: &Rigged, since: Instant) -> Vec<u64> {
    store.calls(Called::Write).iter().map(|at| at.duration_since(since).as_secs()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_alive_gives_a_sign_after_half_the_threshold_and_at_once_when_that_has_shrunk() {
    let bench = Bench::new(Rigged::memory());
    bench.service.set_stale_after(Duration::from_secs(10));
    let began = Instant::now();
    let alive = bench.service.keep_alive(chat(1), run(1), Some(step(1)));
    tokio::pin!(alive);
    assert!(timeout(Duration::from_millis(10_500), &mut alive).await.is_err(), "it never ends by itself");
    assert_eq!(signs(&bench.store, began), [5, 10]);
    bench.service.set_stale_after(Duration::from_secs(60));
    assert!(timeout(Duration::from_secs(15), &mut alive).await.is_err());
    assert_eq!(signs(&bench.store, began), [5, 10], "the next one comes 30 s after the last");
    bench.service.set_stale_after(Duration::from_secs(10));
    assert!(timeout(Duration::from_millis(100), &mut alive).await.is_err());
    assert_eq!(signs(&bench.store, began), [5, 10, 25], "woken at once");
}

#[tokio::test(start_paused = true)]
async fn signs_of_life_end_when_they_are_dropped_and_not_because_of_the_store() {
    let bench = Bench::new(Rigged::memory());
    bench.service.set_stale_after(Duration::from_secs(20));
    let began = Instant::now();
    let fault = Arc::new(Mutex::new(Fault::Hangs));
    let now = Arc::clone(&fault);
    bench.store.fails(move |_| *now.lock());
    {
        let alive = bench.service.keep_alive(chat(1), run(1), None);
        tokio::pin!(alive);
        assert!(timeout(Duration::from_secs(12), &mut alive).await.is_err());
        *fault.lock() = Fault::Refuses;
        assert!(timeout(Duration::from_secs(24), &mut alive).await.is_err());
    }
    let given = signs(&bench.store, began);
    assert_eq!(given, [10, 20, 30]);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(signs(&bench.store, began), given, "nothing goes on");
}

async fn turns(bench: &Bench, turns: &[(u128, u64, i64)]) {
    for (id, turn, started) in turns {
        let new = DebugRun {
            turn: Some(Seq::new(*turn)),
            started_at: at(*started),
            updated_at: at(*started),
            ..a_run(*id, 1)
        };
        bench.service.create_run(new).await.expect("created");
    }
}

async fn left(bench: &Bench) -> Vec<RunId> {
    bench.runs(chat(1)).await.iter().map(|run| run.id).collect()
}

#[tokio::test(start_paused = true)]
async fn the_runs_of_an_edited_message_go_and_those_before_it_and_of_its_new_turn_stay() {
    const HOUR: i64 = 60 * 60 * 1_000;
    let bench = Bench::new(Rigged::memory());
    // Before the edited message; of it; a second before the edit; the turn that takes its place, already at once.
    turns(&bench, &[(1, 3, -HOUR), (2, 10, -HOUR), (3, 12, -1_000), (4, 20, 1)]).await;
    bench.service.clean_up_edit(chat(1), Seq::new(10)..Seq::new(20), START);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(left(&bench).await, [run(1), run(4)]);
    // What another process had still to write goes later.
    turns(&bench, &[(5, 10, -5)]).await;
    sleep(Duration::from_secs(14)).await;
    assert_eq!(left(&bench).await, [run(1), run(5), run(4)]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(left(&bench).await, [run(1), run(4)]);
    // What began long behind the edit is none of its business.
    turns(&bench, &[(6, 10, 30_000), (7, 10, 29_999)]).await;
    bench.service.clean_up_edit(chat(1), Seq::new(10)..Seq::new(20), START);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(left(&bench).await, [run(1), run(4), run(6)]);
}

#[tokio::test(start_paused = true)]
async fn the_runs_of_an_archived_chat_go() {
    let bench = Bench::new(Rigged::memory());
    turns(&bench, &[(1, 3, -5_000), (2, 10, -1), (3, 21, 1)]).await;
    bench.service.clean_up_archive(chat(1), Seq::new(20), START);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(left(&bench).await, [run(3)], "what came when it was taken back stays");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_tried_three_times_half_a_second_apart_and_once_more_later() {
    let bench = Bench::new(Rigged::memory());
    turns(&bench, &[(1, 10, -1)]).await;
    let failures = Arc::new(AtomicUsize::new(2));
    let left_to_fail = Arc::clone(&failures);
    bench.store.fails(move |called| {
        let down = |n: usize| n.checked_sub(1);
        let fails = called == Called::Delete
            && left_to_fail.fetch_update(Ordering::Relaxed, Ordering::Relaxed, down).is_ok();
        if fails { Fault::Refuses } else { Fault::None }
    });
    let began = Instant::now();
    let tried = || -> Vec<u128> {
        bench.store.calls(Called::Delete).iter().map(|at| at.duration_since(began).as_millis()).collect()
    };
    bench.service.clean_up_edit(chat(1), Seq::new(10)..Seq::new(20), START);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(tried(), [0, 500, 1_000]);
    assert_eq!(left(&bench).await, []);
    failures.store(100, Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(tried(), [0, 500, 1_000, 16_000, 16_500, 17_000], "and then it is given up");
    // A store that does not answer costs five seconds each.
    bench.store.fails(|_| Fault::Hangs);
    let began = Instant::now();
    bench.service.clean_up_edit(chat(1), Seq::new(10)..Seq::new(20), START);
    sleep(Duration::from_secs(14)).await;
    let calls = bench.store.calls(Called::Delete);
    let tried: Vec<u128> = calls[6..].iter().map(|at| at.duration_since(began).as_millis()).collect();
    assert_eq!(tried, [0, 5_500, 11_000]);
}

#[tokio::test]
async fn a_bus_that_fails_fails_nothing_else() {
    struct Down;
    #[async_trait]
    impl Bus for Down {
        async fn publish(&self, _: &Topic, _: &[u8]) -> Result<(), BusError> {
            Err(BusError::Unavailable { message: "it is down".into() })
        }

        async fn subscribe(&self, _: &Topic) -> Result<BusFrames, BusError> {
            Err(BusError::Unavailable { message: "it is down".into() })
        }
    }
    let bench =
        Bench::with(Rigged::memory(), DebugSettings::default(), |service| service.with_bus(Arc::new(Down)));
    bench.service.create_run(a_run(1, 1)).await.expect("created");
    assert_eq!(bench.runs(chat(1)).await, [a_run(1, 1)]);
}
