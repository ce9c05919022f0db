//! Where memory, the queue or the store is short: the chat goes on, what is missing is said, and what comes then is whole.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use chatwright_core::debug::{DebugStatus, DebugWrite};
use chatwright_core::history::ValidHistory;
use chatwright_core::model::{CallScope, ToolDefinition};
use chatwright_core::port::{AttemptEnd, DebugStore, LanguageModel, Purpose};
use chatwright_core::record::StopReason;
use chatwright_debug::{RecorderSettings, Summary};
use common::recording::{
    Exchange, Model, Tape, answer, answer_of, answered, block, call, prompt_of, said, scope,
};
use common::{Bench, Called, Fault, PATIENCE, Rigged, a_run, chat, run, user};
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep};

const OK: &str = "ok";

fn tape(change: impl FnOnce(&mut RecorderSettings)) -> Tape {
    let mut settings = RecorderSettings::default();
    change(&mut settings);
    Tape::with(Bench::new(Rigged::memory()), settings)
}

#[tokio::test]
async fn without_memory_the_call_goes_on_and_its_record_says_what_is_missing() {
    for memory in [0, 100, 1_300, 5_000] {
        let tape = tape(|settings| settings.memory_bytes_max = memory);
        let mut exchange = Exchange::new("{\"n\":1}", "text/plain", &[]);
        exchange.pieces = vec![b"something".to_vec(); 3_000];
        let told = exchange.clone();
        let model = Model::by(move |call| {
            told.tell(&*call.transport.observer.expect("it is observed"));
            futures::stream::iter(answer(&"ok".repeat(10_000))).boxed()
        });
        let words = "Hi ".repeat(2_000);
        let parts = tape.ask(model, call(scope(chat(1), 3, 1), vec![said(&words)])).await;
        assert_eq!(parts, answer(&"ok".repeat(10_000)), "{memory}");
        let (run, records) = tape.only(1).await;
        assert_eq!(run.status, DebugStatus::InProgress);
        let step = &records[0];
        assert_eq!(step.outline.status, DebugStatus::Completed, "{memory}");
        let request = step.request.as_ref().expect("it was asked");
        assert_eq!((request.doc.prompt, request.messages.len()), (None, 0), "{memory}");
        assert!(request.doc.missing.is_some() && !step.problems.is_empty(), "{memory}: it says so");
        let response = step.response.as_ref().expect("it was answered");
        // The beginning and the end of the block count as well.
        assert_eq!(response.doc.dropped_bytes, 20_000 + 2 * 160, "{memory}");
        let http = &step.attempts[0].http[0].doc;
        let body = http.response_body.as_ref().expect("there was one");
        assert_eq!(body.bytes, 27_000);
        assert!(body.dropped_bytes >= 22_000, "{memory}: {body:?}");
        assert_eq!(tape.recorder.stats().held_bytes, 0, "{memory}: all of it comes back");
    }
}

#[tokio::test]
async fn no_more_is_held_than_may_be_and_all_of_it_comes_back() {
    const MOST: usize = 100_000;
    let tape = tape(|settings| settings.memory_bytes_max = MOST);
    tape.bench.store.set_open(false);
    let mut most = 0;
    for n in 0..100 {
        let words = "word ".repeat(200);
        let exchange = Exchange::new(&words, "text/plain", &[words.as_bytes(); 5]);
        let asked = call(scope(chat(n), 3, 1), vec![said(&words)]);
        assert_eq!(tape.ask(exchange.model(), asked).await, answer(OK));
        let held = tape.recorder.stats().held_bytes;
        assert!(held <= MOST, "{held}");
        most = most.max(held);
    }
    assert!(most > MOST / 2, "{most}: it is used");
    tape.bench.store.set_open(true);
    tape.flush().await;
    assert_eq!(tape.recorder.stats().held_bytes, 0);
    // There is room again.
    tape.ask(Model::plays(answer(OK)), call(scope(chat(200), 3, 1), vec![said("Hi")])).await;
    let (_, records) = tape.only(200).await;
    assert_eq!(
        (prompt_of(&records[0]), answer_of(&records[0]).as_deref()),
        (vec!["Hi".to_owned()], Some(OK))
    );
}

#[tokio::test]
async fn a_full_queue_is_counted_and_the_next_step_is_whole_again() {
    let tape = tape(|settings| settings.queue_max = 1);
    let mut history = ValidHistory::from(vec![said("0")]);
    let tools = vec![ToolDefinition::Provider {
        id: "test.search".into(),
        name: "search".into(),
        args: serde_json::json!({}),
    }];
    let asked = |history: &ValidHistory, n| {
        let mut asked = call(scope(chat(1), 3, n), history.clone());
        asked.tools = tools.clone().into();
        asked
    };
    tape.ask(Model::plays(answer("0")), asked(&history, 0)).await;
    tape.flush().await;
    let before = tape.recorder.stats().dropped;
    tape.bench.store.set_open(false);
    for n in 1..5 {
        history.extend(vec![answered("x"), said(&format!("{n}"))]).expect("valid");
        let words = format!("{n}");
        let parts = tape.ask(Model::plays(answer(&words)), asked(&history, n)).now_or_never();
        assert_eq!(parts, Some(answer(&words)), "nothing is waited for, and nothing is changed");
    }
    assert!(tape.recorder.stats().dropped > before);
    tape.bench.store.set_open(true);
    tape.flush().await;
    history.extend(vec![answered("x"), said("5")]).expect("valid");
    let mut stream = tape.recorder.model(Model::plays(answer("5"))).stream(asked(&history, 5));
    // Both of its jobs find room.
    tape.flush().await;
    while stream.next().await.is_some() {}
    tape.flush().await;
    let (_, records) = tape.only(1).await;
    let last = records.last().expect("a step");
    assert_eq!(last.problems, Vec::<String>::new());
    assert_eq!(prompt_of(last), ["0", "x", "1", "x", "2", "x", "3", "x", "4", "x", "5"]);
    assert_eq!(last.request.as_ref().expect("it was asked").tools[0]["name"], "search");
    assert_eq!((last.outline.status, answer_of(last).as_deref()), (DebugStatus::Completed, Some("5")));
    for step in &records[..records.len() - 1] {
        assert!(step.outline.status.is_terminal(), "nothing of the turn is left open: {step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_tried_three_times_and_what_comes_after_one_that_was_given_up_is_whole() {
    let tape = tape(|_| {});
    // Long enough for pieces that are written once.
    let long = |n: u32| (0..2_000).map(|word| format!("{} ", word * n)).collect::<String>();
    let mut history = ValidHistory::from(vec![said(&long(1))]);
    let asked = |history: &ValidHistory, n| call(scope(chat(1), 3, n), history.clone());
    let failures = Arc::new(AtomicUsize::new(2));
    let left = Arc::clone(&failures);
    tape.bench.store.fails(move |called| {
        let down = |n: usize| n.checked_sub(1);
        let fails =
            called == Called::Write && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, down).is_ok();
        if fails { Fault::Refuses } else { Fault::None }
    });
    let began = Instant::now();
    tape.ask(Model::plays(answer("0")), asked(&history, 0)).await;
    tape.flush().await;
    let tried: Vec<u128> =
        tape.bench.store.calls(Called::Write).iter().map(|at| at.duration_since(began).as_millis()).collect();
    assert_eq!(tried, [0, 200, 600]);
    assert_eq!(tape.recorder.stats().unwritten, 0);
    history.extend(vec![answered("x"), said(&long(2))]).expect("valid");
    failures.store(3, Ordering::Relaxed);
    tape.ask(Model::plays(answer("1")), asked(&history, 1)).await;
    tape.flush().await;
    assert!(tape.recorder.stats().unwritten > 0);
    history.extend(vec![answered("x"), said(&long(3))]).expect("valid");
    tape.ask(Model::plays(answer("2")), asked(&history, 2)).await;
    let (_, records) = tape.only(1).await;
    let steps: Vec<_> = records.iter().map(|step| (step.outline.number, answer_of(step))).collect();
    assert_eq!(steps, [(1, Some("0".to_owned())), (2, Some("2".to_owned()))]);
    assert_eq!(prompt_of(&records[1]), [&*long(1), "x", &*long(2), "x", &*long(3)]);
    assert_eq!(records[1].problems, Vec::<String>::new(), "no piece is missing");
}

#[tokio::test(start_paused = true)]
async fn whatever_the_store_does_the_chat_does_not_wait_and_recording_goes_on_afterwards() {
    let faults = [Fault::Refuses, Fault::Hangs, Fault::Panics, Fault::Late(Duration::from_secs(60))];
    // At every call, or where it writes.
    for (fault, everywhere) in faults.into_iter().flat_map(|fault| [(fault, true), (fault, false)]) {
        let tape = tape(|_| {});
        tape.bench.store.fails(
            move |called| {
                if everywhere || called == Called::Write { fault } else { Fault::None }
            },
        );
        for n in 0..50 {
            let parts = tape
                .ask(Model::plays(answer(OK)), call(scope(chat(1), 3, n), vec![said("Hi")]))
                .now_or_never();
            assert_eq!(parts, Some(answer(OK)), "{fault:?}");
            tape.turn_ended(chat(1), None);
        }
        let began = Instant::now();
        assert!(!tape.recorder.flush(Duration::from_secs(1)).await || began.elapsed().as_secs() < 1);
        // What it was told before is given up, or done, sooner or later.
        sleep(Duration::from_secs(50 * 60)).await;
        tape.bench.store.works();
        sleep(Duration::from_secs(60)).await;
        tape.ask(Model::plays(answer(OK)), call(scope(chat(2), 9, 1), vec![said("Hi")])).await;
        let (_, records) = tape.only(2).await;
        assert_eq!(records.iter().filter_map(answer_of).collect::<Vec<_>>(), [OK], "{fault:?}");
        assert_eq!(tape.recorder.stats().held_bytes, 0, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorder_ends_when_it_is_told_to_whatever_the_store_does() {
    let tape = tape(|_| {});
    tape.bench.store.fails(|_| Fault::Hangs);
    tape.ask(Model::plays(answer(OK)), call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    let began = Instant::now();
    assert!(!tape.recorder.shutdown(Duration::from_secs(2)).await);
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    let calls = tape.bench.store.calls_made();
    sleep(Duration::from_secs(60 * 60)).await;
    assert_eq!(tape.bench.store.calls_made(), calls, "nothing goes on");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_end_was_dropped_does_not_live_for_ever() {
    let tape = tape(|settings| settings.queue_max = 4);
    let summary = || {
        let mut of = CallScope::new(chat(2), user("ada"), Purpose::Compaction);
        of.turn = None;
        call(of, vec![said("Sum up")])
    };
    let mut turn =
        tape.recorder.model(Model::stalls(block("Hm"))).stream(call(scope(chat(1), 3, 1), vec![said("Hi")]));
    tape.flush().await;
    let mut other = tape.recorder.model(Model::stalls(block("Hm"))).stream(summary());
    tape.flush().await;
    turn.next().await;
    other.next().await;
    // Another chat's call takes the last places: those of its beginning and of its end.
    tape.bench.store.set_open(false);
    let filler =
        tape.recorder.model(Model::stalls(vec![])).stream(call(scope(chat(3), 3, 1), vec![said("Hi")]));
    let dropped = tape.recorder.stats().dropped;
    drop((turn, other));
    tape.turn_ended(chat(1), None);
    assert_eq!(
        tape.recorder.stats().dropped,
        dropped + 1,
        "that of the turn; the calls have places for theirs"
    );
    tape.bench.store.set_open(true);
    for _ in 0..30 {
        sleep(Duration::from_secs(150)).await;
        tape.bench.clock.advance(Duration::from_secs(150));
    }
    tape.flush().await;
    for of in [1, 2] {
        let (run, records) = tape.only(of).await;
        assert_eq!(run.status, DebugStatus::Interrupted, "nobody goes on with it");
        assert_eq!(records[0].outline.status, DebugStatus::Interrupted);
        assert_eq!(Summary::from_json(&run.summary).step_count, 1);
    }
    drop(filler);
    let before = tape.bench.store.writes().len();
    tape.turn_ended(chat(3), None);
    tape.flush().await;
    sleep(Duration::from_secs(60 * 60)).await;
    let touched =
        tape.bench.store.writes()[before..].iter().any(|write| matches!(write, DebugWrite::Touch { .. }));
    assert!(!touched, "and nothing says that it is alive");
    assert!(tape.recorder.flush(PATIENCE).await);
}

#[tokio::test(start_paused = true)]
async fn abandoned_runs_are_ended_also_while_there_is_always_something_to_write() {
    let tape = tape(|_| {});
    let left_behind = DebugWrite::CreateRun(Box::new(a_run(1, 1)));
    tape.bench.store.write(&[left_behind]).await.expect("written");
    tape.bench.clock.advance(Duration::from_secs(60 * 60));
    // Whenever a turn begins to be written, the next one begins.
    let (recorder, begun) = (tape.recorder.clone(), AtomicU64::new(1));
    let begin = move || {
        let next = chat(u128::from(begun.fetch_add(1, Ordering::SeqCst)) + 1);
        drop(recorder.model(Model::stalls(vec![])).stream(call(scope(next, 3, 1), vec![said("Hi")])));
    };
    begin();
    tape.bench.store.fails(move |called| {
        if called != Called::Run {
            return Fault::None;
        }
        begin();
        Fault::Late(Duration::from_millis(500))
    });
    sleep(Duration::from_secs(10 * 60)).await;
    let turns = tape.bench.store.calls(Called::Run).len();
    tape.bench.store.works();
    assert!(turns > 1_000, "{turns} turns");
    assert_eq!(tape.bench.run(chat(1), run(1)).await.status, DebugStatus::Interrupted);
}

#[tokio::test]
async fn however_many_titles_were_written_a_turn_is_told_of_its_end() {
    let tape = tape(|_| {});
    tape.ask(Model::plays(answer(OK)), call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    tape.flush().await;
    for n in 2..20_000 {
        let title = CallScope::new(chat(n), user("ada"), Purpose::Title);
        drop(tape.recorder.model(Model::plays(answer(OK))).stream(call(title, vec![said("Hi")])));
    }
    tape.flush().await;
    tape.turn_ended(chat(1), Some(StopReason::Complete));
    assert_eq!(tape.only(1).await.0.status, DebugStatus::Completed);
}

#[tokio::test]
async fn an_answer_that_began_to_be_recorded_is_recorded_although_the_queue_is_full_at_its_end() {
    let tape = tape(|settings| settings.queue_max = 8);
    let asked = |n| call(scope(chat(n), 3, 1), vec![said("Hi")]);
    let mut first = tape.recorder.model(Model::plays(answer(OK))).stream(asked(1));
    tape.flush().await;
    tape.bench.store.set_open(false);
    let other = tape.recorder.model(Model::stalls(vec![])).stream(asked(2));
    let before = tape.recorder.stats().dropped;
    while tape.recorder.stats().dropped == before {
        tape.attempt_ended(chat(2), 1, AttemptEnd::Interrupted);
    }
    let dropped = tape.recorder.stats().dropped;
    assert_eq!(first.by_ref().collect::<Vec<_>>().now_or_never(), Some(answer(OK)));
    assert_eq!(tape.recorder.stats().dropped, dropped, "its end has a place");
    tape.bench.store.set_open(true);
    drop((first, other));
    tape.flush().await;
    let (_, records) = tape.only(1).await;
    assert_eq!(answer_of(&records[0]).as_deref(), Some(OK));
}
