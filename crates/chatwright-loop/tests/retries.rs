//! Attempts that fail and what follows, on paused time.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chatwright_core::error::{Cause, Failure};
use chatwright_core::frame::Resume;
use chatwright_core::head::Status;
use chatwright_core::model::{ModelCall, ModelId, ModelPart};
use chatwright_core::port::{Event, LanguageModel, ModelStream, Observer};
use chatwright_core::record::{AttemptFailed, Body, RetryEvent};
use chatwright_core::view::View;
use chatwright_core::{ChatId, Record, Timestamp};
use chatwright_loop::{Chats, EventStream, NewMessage, Settings};
use chatwright_retry::Jitter;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use common::{RuleModel, World, log, new_chat, records, say, text, transcript, until};

/// Runs a worker of this process for as long as the set lives.
fn work(chats: &Chats) -> JoinSet<()> {
    let worker = chats.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });
    tasks
}

/// A model that fails so many times and then answers. It counts its calls.
fn failing(
    times: usize,
    parts: impl Fn(usize) -> Vec<ModelPart> + Send + Sync + 'static,
) -> (Arc<RuleModel>, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let model = RuleModel::new(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        call if call < times => parts(call),
        _ => say("At last."),
    });
    (model, calls)
}

fn failure(status: u16) -> Failure {
    Failure::new("openai", Cause::Status).with_status(status)
}

fn fails(failure: Failure) -> ModelPart {
    ModelPart::Failure(Box::new(failure))
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.rules.retry.jitter = Jitter::NONE;
    settings
}

fn process(world: &World, model: Arc<RuleModel>) -> Chats {
    Chats::new(world.ports(model, vec![]), settings()).expect("a valid setup")
}

async fn failed_attempts(chats: &Chats, chat: ChatId) -> Vec<AttemptFailed> {
    let bodies = records(chats, chat).await.into_iter().map(|record| record.open().expect("ours").body);
    bodies
        .filter_map(|body| if let Body::AttemptFailed(failed) = body { Some(failed) } else { None })
        .collect()
}

/// The last failed attempt, as soon as there is one.
async fn first_failure(chats: &Chats, chat: ChatId) -> AttemptFailed {
    loop {
        if let Some(failed) = failed_attempts(chats, chat).await.pop() {
            return failed;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Takes in what comes until nothing has come for a second.
async fn follow(events: &mut EventStream, view: &mut View) {
    while let Ok(frame) = tokio::time::timeout(Duration::from_secs(1), events.next()).await {
        view.apply(&frame.expect("the stream goes on"));
    }
}

/// What somebody sees who joins now.
async fn snapshot(chats: &Chats, chat: ChatId) -> View {
    let mut events = chats.events(chat, Resume::Nothing).await.expect("the chat exists");
    let mut view = View::new();
    while !view.is_caught_up() {
        view.apply(&events.next().await.expect("the stream goes on"));
    }
    view
}

/// When the records of that kind were written.
async fn times(chats: &Chats, chat: ChatId, kind: &str) -> Vec<Timestamp> {
    let of_kind = |record: &Record| record.kind.name() == kind;
    records(chats, chat)
        .await
        .iter()
        .filter(|record| of_kind(record))
        .map(|record| record.open().expect("ours").at)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_failing_provider_is_tried_again_and_nothing_of_a_failed_attempt_stays() {
    let world = World::new();
    let (model, calls) = failing(3, |call| {
        let mut parts = text(&format!("Half of answer {call} "));
        parts.push(fails(failure([500, 529, 503][call])));
        parts
    });
    let chats = process(&world, model);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(transcript(&chats, chat).await, ["user: hello", "model: At last."]);
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    let failed = failed_attempts(&chats, chat).await;
    let told: Vec<_> =
        failed.iter().map(|f| (f.failures, &*f.error.kind, f.delay_ms, f.error.retryable)).collect();
    assert_eq!(
        told,
        [
            (1, "generic", Some(1_000), true),
            (2, "overloaded", Some(2_000), true),
            (3, "timeout", Some(4_000), true)
        ]
    );
    let expected = "chat.created message.user\nclaimed attempt.started\nattempt.failed\nattempt.started\nattempt.failed\n\
                    attempt.started\nattempt.failed\nattempt.started\nattempt.ended message.assistant turn.ended";
    assert_eq!(log(&chats, chat).await, expected, "short waits are slept through by the holder");
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_before_its_time_whether_the_chat_is_held_meanwhile_or_not() {
    let world = World::new();
    let (model, _) = failing(7, |_| vec![fails(failure(503))]);
    let chats = process(&world, model);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    let started = times(&chats, chat, "attempt.started").await;
    let failed = failed_attempts(&chats, chat).await;
    assert_eq!((started.len(), failed.len()), (8, 7));
    for (failed, next) in failed.iter().zip(&started[1..]) {
        assert!(failed.retry_at.is_some_and(|due| *next >= due), "{failed:?} before {next}");
    }
    let waits: Vec<_> = failed.iter().map(|failed| failed.delay_ms.map_or(0, |ms| ms / 1_000)).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60]);
    // From the fifth on nobody held it.
    let log = log(&chats, chat).await;
    assert_eq!(log.matches("attempt.failed freed\nclaimed attempt.started").count(), 3, "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_never_begins_or_falls_silent_is_asked_again() {
    for (words, kind, after) in [("", "startup_timeout", 60), ("I begin ", "stream_silence_timeout", 120)] {
        let world = World::new();
        let parts = match words {
            "" => vec![ModelPart::Warnings(vec!["w".into()]), ModelPart::KeepAlive],
            words => common::stall(words),
        };
        let (model, calls) = failing(1, move |_| parts.clone());
        let chats = process(&world, model);
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
        until(&chats, chat, Status::Waiting).await;
        assert_eq!(transcript(&chats, chat).await, ["user: hello", "model: At last."]);
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        assert_eq!(
            failed_attempts(&chats, chat).await.first().map(|f| f.error.kind.to_string()).as_deref(),
            Some(kind)
        );
        let (started, failed) =
            (times(&chats, chat, "attempt.started").await, times(&chats, chat, "attempt.failed").await);
        assert_eq!(failed[0].since(started[0]).as_secs(), after, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_last_attempt_the_turn_ends_and_says_so() {
    let world = World::new();
    let (model, calls) = failing(usize::MAX, |_| vec![fails(failure(529))]);
    let chats = process(&world, model);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    for _ in 0..3 {
        // The wait in `until` is shorter than 19 minutes of retries.
        tokio::time::sleep(Duration::from_secs(400)).await;
    }
    until(&chats, chat, Status::Error).await;
    assert_eq!(calls.load(Ordering::SeqCst), 25);
    let failed = failed_attempts(&chats, chat).await;
    let last = failed.last().expect("the last one");
    assert_eq!((last.failures, last.retry_at, last.delay_ms), (25, None, None));
    let waited: u64 = failed.iter().filter_map(|failed| failed.delay_ms).sum();
    assert_eq!(waited, 1_143_000);
}

#[tokio::test(start_paused = true)]
async fn what_a_retry_cannot_mend_is_asked_once() {
    for (failure, kind) in [
        (failure(401), "auth"),
        (failure(402), "usage_limit"),
        (failure(400).with_body(r#"{"error":{"message":"the field timeout is wrong"}}"#), "generic"),
        (failure(429).with_body(r#"{"error":{"code":"insufficient_quota"}}"#), "usage_limit"),
        (failure(400).with_body(r#"{"error":{"code":"context_length_exceeded"}}"#), "config"),
        (failure(503).with_header("x-should-retry", "false"), "timeout"),
    ] {
        let world = World::new();
        let (model, calls) = failing(usize::MAX, move |_| vec![fails(failure.clone())]);
        let chats = process(&world, model);
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
        until(&chats, chat, Status::Error).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{kind}");
        let failed = failed_attempts(&chats, chat).await;
        assert_eq!(
            (&*failed[0].error.kind, failed[0].retry_at, failed[0].error.retryable),
            (kind, None, false)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_is_parked_and_the_chats_of_the_account_ask_nothing_meanwhile() {
    let world = World::new();
    let (model, calls) = failing(1, |_| vec![fails(failure(429).with_header("retry-after", "3000"))]);
    let chats = process(&world, model);
    let _worker = work(&chats);
    let (first, _) = chats.create(new_chat("hello")).await.expect("created");
    first_failure(&chats, first).await;
    let head = chats.head(first).await.expect("there");
    assert_eq!((head.index.status, head.holder), (Status::Running, None), "nobody holds it");
    let due = failed_attempts(&chats, first).await[0].retry_at;
    assert_eq!(head.wake_at, due);
    let (second, _) = chats.create(new_chat("me too")).await.expect("created");
    while !log(&chats, second).await.ends_with("freed attempt.ended") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1, "it was not even asked");
    assert!(chats.head(second).await.expect("there").wake_at >= due);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    for chat in [first, second] {
        until(&chats, chat, Status::Waiting).await;
        assert_eq!(transcript(&chats, chat).await.last().map(String::as_str), Some("model: At last."));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn when_one_chat_is_told_to_wait_those_of_the_same_account_wait_too() {
    let world = World::new();
    let (model, calls) = failing(1, |_| vec![fails(failure(429).with_header("retry-after", "8"))]);
    let chats = process(&world, model);
    let _worker = work(&chats);
    let (first, _) = chats.create(new_chat("hello")).await.expect("created");
    let due = first_failure(&chats, first).await.retry_at.expect("it is tried again");
    let (second, _) = chats.create(new_chat("me too")).await.expect("created");
    until(&chats, second, Status::Waiting).await;
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    assert!(failed_attempts(&chats, second).await.is_empty(), "it waited without a failure of its own");
    let ended = times(&chats, second, "attempt.ended").await;
    assert!(ended[0] >= due, "{} is before {due}", ended[0]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_every_wait_at_once() {
    // Held, not held, and at the gate of another chat's wait.
    for (seconds, gate) in [("5", false), ("100", false), ("9", true), ("100", true)] {
        let world = World::new();
        let (model, _) = failing(1, move |_| vec![fails(failure(429).with_header("retry-after", seconds))]);
        let chats = process(&world, model);
        let _worker = work(&chats);
        let (mut chat, _) = chats.create(new_chat("hello")).await.expect("created");
        first_failure(&chats, chat).await;
        if gate {
            chat = chats.create(new_chat("me too")).await.expect("created").0;
            while !log(&chats, chat).await.contains("attempt.started") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let asked = world.clock_now();
        chats.interrupt(chat, None).await.expect("a turn runs");
        until(&chats, chat, Status::Waiting).await;
        assert!(world.clock_now().since(asked) < Duration::from_secs(3), "not when the wait is over");
        assert!(log(&chats, chat).await.ends_with("turn.ended"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_outlives_the_process_that_slept_through_it() {
    let world = World::new();
    let (model, calls) = failing(1, |_| vec![fails(failure(429).with_header("retry-after", "9"))]);
    let first = process(&world, Arc::clone(&model));
    let worker = work(&first);
    let (chat, _) = first.create(new_chat("hello")).await.expect("created");
    let due = first_failure(&first, chat).await.retry_at.expect("it is tried again");
    assert!(first.head(chat).await.expect("there").holder.is_some(), "slept through");
    drop(worker);
    let second = process(&world, model);
    let _worker = work(&second);
    until(&second, chat, Status::Waiting).await;
    assert_eq!((calls.load(Ordering::SeqCst), transcript(&second, chat).await.len()), (2, 2));
    let started = times(&second, chat, "attempt.started").await;
    assert!(started[1] >= due);
}

/// Keeps the retry events.
#[derive(Default)]
struct Retries(Mutex<Vec<RetryEvent>>);

impl Observer for Retries {
    fn observe(&self, event: &Event<'_>) {
        if let Event::RetryScheduled { retry, .. } = event {
            self.0.lock().push((*retry).clone());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn viewers_and_observers_are_told_of_the_retry_and_see_no_word_twice() {
    let world = World::new();
    let (model, _) = failing(2, |_| {
        let mut parts = text("At ");
        parts.push(fails(failure(500).with_body(r#"{"error":{"message":"oops"}}"#)));
        parts
    });
    let seen = Arc::new(Retries::default());
    let mut ports = world.ports(model, vec![]);
    ports.observers.push(Arc::clone(&seen) as Arc<dyn Observer>);
    let chats = Chats::new(ports, settings()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    let mut events = chats.events(chat, Resume::Nothing).await.expect("the chat exists");
    let mut view = View::new();
    let mut told: Vec<RetryEvent> = Vec::new();
    while !(view.transcript().status == Status::Waiting && view.transcript().messages.len() == 2) {
        view.apply(&events.next().await.expect("the stream goes on"));
        let shown = view.transcript();
        let text = shown.to_string();
        assert!(text.matches("At ").count() <= 1, "a word twice: {text}");
        if let Some(retry) = &shown.retry {
            assert!(shown.preview.is_none(), "what the failed attempt said is gone");
            if told.last() != Some(retry) {
                told.push(retry.clone());
            }
        }
    }
    assert_eq!(
        told.iter().map(|retry| (retry.attempt, retry.delay_ms)).collect::<Vec<_>>(),
        [(1, 1_000), (2, 2_000)]
    );
    assert_eq!((&*told[0].kind, told[0].status_code), ("generic", Some(500)));
    assert!(view.transcript().retry.is_none());
    assert_eq!(*seen.0.lock(), told, "observers are told the same");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_wait_at_once_and_begins_no_attempt() {
    for seconds in ["4", "9"] {
        let world = World::new();
        let (model, calls) =
            failing(1, move |_| vec![fails(failure(429).with_header("retry-after", seconds))]);
        let chats = process(&world, model);
        let worker = chats.worker();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut task = JoinSet::new();
        task.spawn(async move { worker.run(async { drop(stopped.await) }).await });
        let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
        let due = first_failure(&chats, chat).await.retry_at;
        let asked = world.clock_now();
        stop.send(()).expect("it runs");
        task.join_next().await.expect("one task").expect("it ends");
        let log = log(&chats, chat).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1, "a process that shuts down asks nothing new: {log}");
        assert!(world.clock_now().since(asked) < Duration::from_secs(1), "before {seconds} s are over");
        assert!(log.ends_with("freed"), "{log}");
        let head = chats.head(chat).await.expect("there");
        assert_eq!((head.holder, head.wake_at), (None, due), "whoever takes it waits for the rest");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_hands_over_a_chat_at_a_gate_at_once() {
    let world = World::new();
    let (model, calls) = failing(1, |_| vec![fails(failure(429).with_header("retry-after", "9"))]);
    let chats = process(&world, model);
    let worker = chats.worker();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut task = JoinSet::new();
    task.spawn(async move { worker.run(async { drop(stopped.await) }).await });
    let (first, _) = chats.create(new_chat("hello")).await.expect("created");
    first_failure(&chats, first).await;
    let (second, _) = chats.create(new_chat("me too")).await.expect("created");
    while !log(&chats, second).await.ends_with("claimed attempt.started") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asked = world.clock_now();
    stop.send(()).expect("it runs");
    task.join_next().await.expect("one task").expect("it ends");
    assert!(world.clock_now().since(asked) < Duration::from_secs(1));
    assert!(log(&chats, second).await.ends_with("freed attempt.ended"));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_waits_for_long_stays_watched_and_knows_when_its_lease_is_over() {
    let world = World::new();
    let (model, calls) = failing(1, |_| vec![fails(failure(429).with_header("retry-after", "500"))]);
    let mut settings = settings();
    settings.rules.hold_max = Duration::from_secs(600);
    settings.rules.retry.park_above = Duration::from_secs(600);
    let chats = Chats::new(world.ports(model, vec![]), settings).expect("a valid setup");
    let worker = work(&chats);
    let (waits, _) = chats.create(new_chat("hello")).await.expect("created");
    first_failure(&chats, waits).await;
    let (at_gate, _) = chats.create(new_chat("me too")).await.expect("created");
    tokio::time::sleep(Duration::from_secs(200)).await;
    for chat in [waits, at_gate] {
        assert!(log(&chats, chat).await.contains("\nwatched"), "{}", log(&chats, chat).await);
    }
    drop(worker);
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1, "nothing is asked by a process that is gone");
}

/// A model of another account.
struct Named(&'static str, Arc<RuleModel>);

impl LanguageModel for Named {
    fn id(&self) -> ModelId {
        ModelId { provider: self.0.into(), model: "one".into() }
    }
    fn stream(&self, call: ModelCall) -> ModelStream {
        self.1.stream(call)
    }
}

#[tokio::test(start_paused = true)]
async fn chats_at_a_gate_do_not_hold_up_those_of_another_account() {
    let world = World::new();
    let (model, _) = failing(1, |_| vec![fails(failure(429).with_header("retry-after", "200"))]);
    let (other, _) = failing(0, |_| vec![]);
    let mut ports = world.ports(model, vec![]);
    ports.models.insert("other".into(), Arc::new(Named("other", other)));
    let mut settings = settings();
    settings.capacity = 2;
    let chats = Chats::new(ports, settings).expect("a valid setup");
    let _worker = work(&chats);
    let (first, _) = chats.create(new_chat("hello")).await.expect("created");
    first_failure(&chats, first).await;
    for _ in 0..2 {
        chats.create(new_chat("me too")).await.expect("created");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut new = new_chat("hi");
    new.model = Some("other".into());
    let (free, _) = chats.create(new).await.expect("created");
    let asked = world.clock_now();
    until(&chats, free, Status::Waiting).await;
    let waited = world.clock_now().since(asked);
    assert!(
        waited < Duration::from_secs(15),
        "waited {waited:?} behind the gate of an account that is not its own"
    );
}

#[tokio::test(start_paused = true)]
async fn a_chat_that_was_never_asked_does_not_use_up_its_attempts() {
    let world = World::new();
    // Whoever asks is told to come back in 2 hours; the chat that is claimed second never gets to ask.
    let (model, calls) = failing(3, |_| vec![fails(failure(429).with_header("retry-after", "7200"))]);
    let mut settings = settings();
    settings.rules.retry.attempts_max = std::num::NonZeroU32::new(4).expect("not 0");
    let chats = Chats::new(world.ports(model, vec![]), settings).expect("a valid setup");
    let _worker = work(&chats);
    let (first, _) = chats.create(new_chat("hello")).await.expect("created");
    first_failure(&chats, first).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(chats.create(new_chat("me too")).await.expect("created").0);
    }
    tokio::time::sleep(Duration::from_secs(5 * 7_300)).await;
    assert!(calls.load(Ordering::SeqCst) >= 3);
    for chat in others {
        assert_eq!(
            chats.head(chat).await.expect("there").index.status,
            Status::Waiting,
            "{}",
            log(&chats, chat).await
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_chat_that_was_not_even_asked_does_not_end_when_it_has_one_attempt_only() {
    let world = World::new();
    let (model, calls) = failing(1, |_| vec![fails(failure(429).with_header("retry-after", "7200"))]);
    let mut settings = settings();
    settings.rules.retry.attempts_max = std::num::NonZeroU32::MIN;
    let chats = Chats::new(world.ports(model, vec![]), settings).expect("a valid setup");
    let _worker = work(&chats);
    let (first, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, first, Status::Error).await;
    let (second, _) = chats.create(new_chat("me too")).await.expect("created");
    tokio::time::sleep(Duration::from_secs(7_400)).await;
    assert_eq!(chats.head(second).await.expect("there").index.status, Status::Waiting);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_joins_in_a_wait_that_is_being_stopped_sees_what_others_see() {
    let world = World::new();
    let (model, _) = failing(1, |_| vec![fails(failure(429).with_header("retry-after", "9"))]);
    let chats = process(&world, model);
    let worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    let mut events = chats.events(chat, Resume::Nothing).await.expect("the chat exists");
    let mut there = View::new();
    first_failure(&chats, chat).await;
    drop(worker); // its session still counts as live
    chats.interrupt(chat, None).await.expect("a turn runs");
    assert_eq!(chats.head(chat).await.expect("there").index.status, Status::Interrupting);
    while there.transcript().status != Status::Interrupting {
        there.apply(&events.next().await.expect("the stream goes on"));
    }
    follow(&mut events, &mut there).await;
    let joined = snapshot(&chats, chat).await;
    assert_eq!(joined.transcript(), there.transcript());
}

#[tokio::test(start_paused = true)]
async fn whoever_joins_with_few_records_still_sees_when_the_next_attempt_is() {
    let world = World::new();
    let (model, _) = failing(1, |_| vec![fails(failure(429).with_header("retry-after", "7200"))]);
    let mut settings = settings();
    settings.events.snapshot_records = 2;
    let chats = Chats::new(world.ports(model, vec![]), settings).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    first_failure(&chats, chat).await;
    let mut events = chats.events(chat, Resume::Nothing).await.expect("the chat exists");
    let mut there = View::new();
    for n in 0..3 {
        chats.send(chat, NewMessage::text(format!("{n}"))).await.expect("queued");
    }
    follow(&mut events, &mut there).await;
    let joined = snapshot(&chats, chat).await;
    assert!(there.transcript().retry_at.is_some());
    assert_eq!(joined.transcript().retry_at, there.transcript().retry_at);
}

#[tokio::test(start_paused = true)]
async fn one_absurd_header_does_not_shut_an_account_for_a_week() {
    let world = World::new();
    let (model, calls) = failing(1, |_| vec![fails(failure(429).with_header("retry-after", "99999999"))]);
    let chats = process(&world, model);
    let _worker = work(&chats);
    let (first, _) = chats.create(new_chat("hello")).await.expect("created");
    first_failure(&chats, first).await;
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    // A user who waited a day stops and asks again.
    chats.interrupt(first, None).await.expect("it waits");
    chats.send(first, NewMessage::text("now?")).await.expect("sent");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 2, "the provider, which is well, is not asked");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_stopped_at_the_gate_has_no_estimated_cost() {
    let world = World::new();
    let (model, calls) = failing(1, |_| vec![fails(failure(429).with_header("retry-after", "100"))]);
    let chats = process(&world, model);
    let _worker = work(&chats);
    let (first, _) = chats.create(new_chat("hello")).await.expect("created");
    first_failure(&chats, first).await;
    let (chat, _) = chats.create(new_chat("me too")).await.expect("created");
    while !log(&chats, chat).await.contains("attempt.started") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    chats.interrupt(chat, None).await.expect("a turn runs");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    for record in records(&chats, chat).await {
        if let Body::AttemptEnded(ended) = record.open().expect("ours").body {
            assert!(!ended.estimated, "nothing was asked, so nothing is to be estimated");
        }
    }
}
