//! The loop, on paused time.
#![cfg(feature = "tokio")]

use std::cell::{Cell, RefCell};
use std::future::{pending, ready};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use chatwright_error::{Advice, Kind, Verdict};
use chatwright_retry::{Gates, GiveUp, History, Jitter, Policy, Retry, Stopped};
use tokio::time::{Instant, sleep, timeout};

const BEGAN: SystemTime = SystemTime::UNIX_EPOCH;
const SEED: u64 = 7;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn exact() -> Policy {
    let mut policy = Policy::default();
    policy.jitter = Jitter::NONE;
    policy
}

/// A wall clock that goes with tokio's time.
fn clock() -> impl Fn() -> SystemTime + Copy {
    let start = Instant::now();
    move || BEGAN + start.elapsed()
}

fn told_to_wait(kind: Kind, hint: Duration) -> Verdict {
    let mut verdict = Verdict::of(kind).with_advice(Advice::RetryAfter);
    verdict.retry_after = Some(hint);
    verdict
}

/// An operation that fails with these in turn and then succeeds; it counts its calls.
struct Script {
    failures: Vec<Verdict>,
    calls: Cell<u32>,
}

impl Script {
    fn new(failures: impl IntoIterator<Item = Verdict>) -> Self {
        Self { failures: failures.into_iter().collect(), calls: Cell::new(0) }
    }

    async fn call(&self, attempt: u32) -> Result<u32, Verdict> {
        let call = self.calls.get();
        self.calls.set(call + 1);
        match self.failures.get(call as usize) {
            Some(failure) => Err(failure.clone()),
            None => Ok(attempt),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_at_the_first_try_is_one_call() {
    let script = Script::new([]);
    let result = Retry::new(exact(), SEED, clock())
        .on_wait(|wait| panic!("{wait:?}"))
        .run(|attempt| script.call(attempt))
        .await;
    assert_eq!((result, script.calls.get()), (Ok(1), 1));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_called_again_even_if_nobody_is_told_of_the_wait() {
    for failures in [vec![Kind::Timeout], vec![Kind::Overloaded; 3]] {
        let calls = failures.len() as u32 + 1;
        let script = Script::new(failures.into_iter().map(Verdict::of));
        let result = Retry::new(exact(), SEED, clock()).run(|attempt| script.call(attempt)).await;
        assert_eq!((result, script.calls.get()), (Ok(calls), calls));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_stays_is_called_once_and_handed_back_unchanged() {
    let wrong_key = Verdict::of(Kind::Auth).with_provider("openai").with_detail("invalid api key");
    let script = Script::new([wrong_key.clone()]);
    let result = Retry::new(exact(), SEED, clock())
        .on_wait(|wait| panic!("{wait:?}"))
        .run(|attempt| script.call(attempt))
        .await;
    let stopped = result.expect_err("a wrong key stays wrong");
    assert_eq!(stopped.verdict(), Some(&wrong_key));
    let verdict = Box::new(wrong_key);
    assert_eq!(stopped, Stopped::GaveUp { why: GiveUp::Advice, verdict, attempts: 1 });
    assert_eq!(script.calls.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_wait_is_told_before_it_begins() {
    let start = Instant::now();
    let script = Script::new(vec![Verdict::of(Kind::RateLimit); 2]);
    let waits = RefCell::new(Vec::new());
    let result = Retry::new(exact(), SEED, clock())
        .on_wait(|wait| {
            assert_eq!(wait.verdict.kind, Kind::RateLimit);
            waits.borrow_mut().push((wait.attempt, wait.delay, wait.at, start.elapsed()));
        })
        .run(|attempt| script.call(attempt))
        .await;
    assert_eq!(result, Ok(3));
    let expected = [(1, secs(1), BEGAN + secs(1), Duration::ZERO), (2, secs(2), BEGAN + secs(3), secs(1))];
    assert_eq!(*waits.borrow(), expected);
    assert_eq!(start.elapsed(), secs(3));
}

#[tokio::test(start_paused = true)]
async fn there_are_25_attempts_with_24_waits_of_19_minutes_in_all() {
    let start = Instant::now();
    let overloaded = Verdict::of(Kind::Overloaded);
    let script = Script::new(vec![overloaded.clone(); 100]);
    let waits = RefCell::new(Vec::new());
    let result = Retry::new(exact(), SEED, clock())
        .on_wait(|wait| waits.borrow_mut().push(wait.attempt))
        .run(|attempt| script.call(attempt))
        .await;
    let verdict = Box::new(overloaded);
    assert_eq!(result, Err(Stopped::GaveUp { why: GiveUp::Attempts, verdict, attempts: 25 }));
    assert_eq!(script.calls.get(), 25);
    assert_eq!(*waits.borrow(), (1..=24).collect::<Vec<u32>>());
    assert_eq!(start.elapsed(), secs(1143));
}

#[tokio::test(start_paused = true)]
async fn a_providers_wait_is_slept_through_in_full() {
    for (hint, slept) in [(secs(3), secs(3)), (Duration::from_millis(500), secs(1)), (secs(300), secs(300))] {
        let start = Instant::now();
        let script = Script::new([told_to_wait(Kind::RateLimit, hint)]);
        let result = Retry::new(exact(), SEED, clock()).run(|attempt| script.call(attempt)).await;
        assert_eq!((result, start.elapsed()), (Ok(2), slept));
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_that_attempts_take_counts() {
    let mut policy = exact();
    policy.elapsed_max = secs(100);
    let start = Instant::now();
    let result = Retry::new(policy, SEED, clock())
        .run(async |_| {
            sleep(secs(40)).await;
            Err::<(), _>(Verdict::of(Kind::Timeout))
        })
        .await;
    let verdict = Box::new(Verdict::of(Kind::Timeout));
    // 40 + 1 + 40 + 2 + 40 is too late.
    assert_eq!(result, Err(Stopped::GaveUp { why: GiveUp::Elapsed, verdict, attempts: 3 }));
    assert_eq!(start.elapsed(), secs(123));
}

#[tokio::test(start_paused = true)]
async fn long_waits_are_parked_and_taken_up_again_with_their_history() {
    let hour = secs(3600);
    let limited = told_to_wait(Kind::RateLimit, hour);
    let script = Script::new([Verdict::of(Kind::Timeout), limited.clone(), Verdict::of(Kind::Timeout)]);
    let now = clock();
    let waits = RefCell::new(Vec::new());
    let stopped = Retry::new(exact(), SEED, now)
        .on_wait(|wait| waits.borrow_mut().push(wait.attempt))
        .run(|attempt| script.call(attempt))
        .await
        .expect_err("an hour is too long to sleep");
    let mut history = History { failures: 2, ..History::new(BEGAN, SEED) };
    let until = BEGAN + secs(1) + hour;
    assert_eq!(stopped, Stopped::Parked { until, verdict: Some(Box::new(limited)), history });
    assert_eq!((now(), script.calls.get()), (BEGAN + secs(1), 2), "nothing was slept");

    sleep(hour).await;
    history.parked = hour;
    let result = Retry::new(exact(), 0, now)
        .resume(history)
        .on_wait(|wait| waits.borrow_mut().push(wait.attempt))
        .run(|attempt| script.call(attempt))
        .await;
    assert_eq!(result, Ok(4), "the parked hour did not use up the hour that there is");
    assert_eq!(*waits.borrow(), [1, 3]);
    assert_eq!(now(), until + secs(4));
}

#[tokio::test(start_paused = true)]
async fn one_attempt_may_be_all() {
    let mut policy = exact();
    policy.attempts_max = NonZeroU32::MIN;
    let script = Script::new([Verdict::of(Kind::Timeout)]);
    let result = Retry::new(policy, SEED, clock()).run(|attempt| script.call(attempt)).await;
    let verdict = Box::new(Verdict::of(Kind::Timeout));
    assert_eq!(result, Err(Stopped::GaveUp { why: GiveUp::Attempts, verdict, attempts: 1 }));
}

/// Says when it is dropped.
struct Dropped<'a>(&'a Cell<bool>);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_ends_an_attempt_at_once() {
    let start = Instant::now();
    let dropped = Cell::new(false);
    let result = Retry::new(exact(), SEED, clock())
        .cancel(sleep(secs(5)))
        .run(async |_| {
            let _attempt = Dropped(&dropped);
            pending::<Result<(), Verdict>>().await
        })
        .await;
    assert_eq!(result, Err(Stopped::Canceled { verdict: None, attempts: 1 }));
    assert_eq!((start.elapsed(), dropped.get()), (secs(5), true));
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_ends_a_wait_at_once() {
    let start = Instant::now();
    let script = Script::new(vec![Verdict::of(Kind::Overloaded); 9]);
    let result = Retry::new(exact(), SEED, clock())
        .cancel(sleep(Duration::from_millis(2_500)))
        .run(|attempt| script.call(attempt))
        .await;
    let verdict = Some(Box::new(Verdict::of(Kind::Overloaded)));
    assert_eq!(result, Err(Stopped::Canceled { verdict, attempts: 2 }));
    assert_eq!((start.elapsed(), script.calls.get()), (Duration::from_millis(2_500), 2));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_called_after_a_cancellation() {
    let script = Script::new([]);
    let result =
        Retry::new(exact(), SEED, clock()).cancel(ready(())).run(|attempt| script.call(attempt)).await;
    assert_eq!(result, Err(Stopped::Canceled { verdict: None, attempts: 0 }));
    assert_eq!(script.calls.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_of_the_cancellation_is_canceled_and_not_given_up() {
    for kind in [Kind::Timeout, Kind::Generic] {
        let (cancel, canceled) = tokio::sync::oneshot::channel::<()>();
        let cancel = RefCell::new(Some(cancel));
        let result = Retry::new(exact(), SEED, clock())
            .cancel(async { drop(canceled.await) })
            .on_wait(|wait| panic!("{wait:?}"))
            .run(async |_| {
                drop(cancel.take());
                Err::<(), _>(Verdict::of(kind))
            })
            .await;
        let verdict = Some(Box::new(Verdict::of(kind)));
        assert_eq!(result, Err(Stopped::Canceled { verdict, attempts: 1 }), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_drops_the_attempt() {
    let dropped = Cell::new(false);
    let run = Retry::new(exact(), SEED, clock()).run(async |_| {
        let _attempt = Dropped(&dropped);
        pending::<Result<(), Verdict>>().await
    });
    timeout(secs(1), run).await.expect_err("the attempt never ends");
    assert!(dropped.get());
}

#[tokio::test(start_paused = true)]
async fn a_run_can_move_between_threads() {
    let run = Retry::new(exact(), SEED, clock())
        .cancel(sleep(secs(9)))
        .gate(Gates::new().gate("openai/key"))
        .on_wait(|_| {})
        .run(|attempt| async move { Ok::<_, Verdict>(attempt) });
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(run);
    assert_eq!(tasks.join_all().await, [Ok(1)]);
}

#[tokio::test(start_paused = true)]
async fn when_one_is_told_to_wait_the_others_of_the_credential_wait_too() {
    for kind in [Kind::RateLimit, Kind::Overloaded] {
        let gates = Gates::new();
        let start = Instant::now();
        let told = Script::new([told_to_wait(kind, secs(30))]);
        let first = Retry::new(exact(), 1, clock())
            .gate(gates.gate("openai/key"))
            .run(async |attempt| told.call(attempt).await.map(|_| start.elapsed()));
        let others = async {
            sleep(secs(10)).await;
            let run = |credential, seed| {
                Retry::new(exact(), seed, clock())
                    .gate(gates.gate(credential))
                    .run(async |_| Ok::<_, Verdict>(start.elapsed()))
            };
            tokio::join!(run("openai/key", 2), run("openai/key", 3), run("openai/other", 4))
        };
        let (first, (second, third, fourth)) = tokio::join!(first, others);
        assert_eq!((first, fourth), (Ok(secs(30)), Ok(secs(10))), "{kind}");
        assert_ne!(second, third, "{kind}: they come one after the other");
        for held in [second, third] {
            let held = held.expect("the gate opened");
            assert!((secs(30)..=secs(32)).contains(&held), "{kind}: {held:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_stays_shut_for_long_parks_the_others_before_they_call() {
    let gates = Gates::new();
    let hour = secs(3600);
    let limited = Script::new([told_to_wait(Kind::RateLimit, hour)]);
    let first = Retry::new(exact(), 1, clock())
        .gate(gates.gate("openai/key"))
        .run(|attempt| limited.call(attempt))
        .await;
    assert!(matches!(first, Err(Stopped::Parked { .. })), "{first:?}");

    let start = Instant::now();
    let script = Script::new([]);
    let stopped = Retry::new(exact(), SEED, clock())
        .gate(gates.gate("openai/key"))
        .run(|attempt| script.call(attempt))
        .await
        .expect_err("nobody waits an hour at a gate");
    let Stopped::Parked { until, verdict: None, history } = stopped else { panic!("{stopped:?}") };
    assert_eq!(history, History::new(BEGAN, SEED), "no attempt was made");
    assert!((BEGAN + hour..=BEGAN + hour + secs(30)).contains(&until), "{until:?}");
    assert_eq!((script.calls.get(), start.elapsed()), (0, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_ends_a_wait_at_the_gate_at_once() {
    let gates = Gates::new();
    let gate = gates.gate("openai/key");
    let start = Instant::now();
    gate.shut_until(start + secs(60));
    let script = Script::new([]);
    let result = Retry::new(exact(), SEED, clock())
        .gate(gate)
        .cancel(sleep(secs(5)))
        .run(|attempt| script.call(attempt))
        .await;
    assert_eq!(result, Err(Stopped::Canceled { verdict: None, attempts: 0 }));
    assert_eq!((script.calls.get(), start.elapsed()), (0, secs(5)));
}

#[tokio::test(start_paused = true)]
async fn a_canceled_chat_still_tells_the_others_to_wait() {
    let gate = Gates::new().gate("openai/key");
    let (cancel, canceled) = tokio::sync::oneshot::channel::<()>();
    let cancel = RefCell::new(Some(cancel));
    let start = Instant::now();
    let result = Retry::new(exact(), SEED, clock())
        .gate(gate.clone())
        .cancel(async { drop(canceled.await) })
        .run(async |_| {
            drop(cancel.take());
            Err::<(), _>(told_to_wait(Kind::RateLimit, secs(9)))
        })
        .await;
    assert!(matches!(result, Err(Stopped::Canceled { .. })), "{result:?}");
    assert_eq!(gate.opens_at(), Some(start + secs(9)));
}
