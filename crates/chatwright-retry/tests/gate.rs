//! The gate that all chats of a credential share, on paused time.
#![cfg(feature = "tokio")]

use std::time::Duration;

use chatwright_error::{Advice, Kind, Verdict};
use chatwright_retry::{Gate, Gates, Shut};
use tokio::time::{Instant, advance, sleep, timeout};

const LONG: Duration = Duration::from_secs(300);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn gate() -> Gate {
    Gates::new().gate("openai/key")
}

/// How long it takes to pass.
async fn passed(gate: &Gate, seed: u64) -> Duration {
    let start = Instant::now();
    gate.pass(seed, LONG).await.expect("the gate opens soon enough");
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn an_open_gate_holds_nobody_up() {
    assert_eq!(passed(&gate(), 1).await, Duration::ZERO);
    assert_eq!(gate().opens_at(), None);
}

#[tokio::test(start_paused = true)]
async fn a_shut_gate_holds_everybody_up_and_spreads_them_over_a_tenth_of_the_wait() {
    let gate = gate();
    let mut times = Vec::new();
    for seed in 0..20 {
        gate.shut_until(Instant::now() + secs(10));
        let time = passed(&gate, seed).await;
        assert!((secs(10)..=secs(11)).contains(&time), "{time:?}");
        times.push(time);
        gate.shut_until(Instant::now() + secs(10));
        assert_eq!(passed(&gate, seed).await, time, "one seed, one time");
    }
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), 20);
    assert!(times[19] - times[0] > Duration::from_millis(500), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_short_wait_they_come_within_50_ms_and_not_at_once() {
    let gate = gate();
    let wait = Duration::from_millis(10);
    let mut times = Vec::new();
    for seed in 0..20 {
        gate.shut_until(Instant::now() + wait);
        times.push(passed(&gate, seed).await - wait);
    }
    let last = times.iter().max().expect("twenty of them");
    // Time goes by the millisecond.
    assert!((Duration::from_millis(25)..=Duration::from_millis(51)).contains(last), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_is_shut_for_longer_while_somebody_waits_holds_them_up_for_longer() {
    let gate = gate();
    let start = Instant::now();
    gate.shut_until(start + secs(10));
    let (time, ()) = tokio::join!(passed(&gate, 1), async {
        sleep(secs(9)).await;
        gate.shut_until(start + secs(60));
    });
    assert!((secs(60)..=secs(66)).contains(&time), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_gate_never_opens_earlier_than_it_was_shut_for() {
    let gate = gate();
    let start = Instant::now();
    gate.shut_until(start + secs(10));
    gate.shut_until(start + secs(5));
    assert_eq!(gate.opens_at(), Some(start + secs(10)));
    gate.shut_until(start + secs(20));
    assert_eq!(gate.opens_at(), Some(start + secs(20)));
    advance(secs(20)).await;
    assert_eq!(gate.opens_at(), None);
    gate.shut_until(start + secs(20));
    assert_eq!(gate.opens_at(), None, "a time that has passed shuts nothing");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_long_at_a_gate() {
    let gate = gate();
    let start = Instant::now();
    gate.shut_until(start + secs(300));
    assert!((secs(300)..=secs(330)).contains(&passed(&gate, 1).await), "the bound itself is waited for");

    let start = Instant::now();
    let opens = start + secs(7 * 24 * 3600);
    gate.shut_until(opens);
    let mut untils = Vec::new();
    for seed in 0..20 {
        let Err(Shut { until }) = gate.pass(seed, LONG).await else { panic!("a week is long") };
        assert!((opens..=opens + secs(30)).contains(&until), "{:?}", until - opens);
        untils.push(until);
    }
    untils.sort_unstable();
    untils.dedup();
    assert_eq!((untils.len(), start.elapsed()), (20, Duration::ZERO), "they come back one by one");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_is_shut_again_and_again_holds_nobody_beyond_their_bound() {
    let gate = gate();
    let start = Instant::now();
    let busy = async {
        loop {
            gate.shut_until(Instant::now() + secs(100));
            sleep(secs(90)).await;
        }
    };
    // In this order: the gate is shut before anybody comes.
    let gave_up = tokio::select! {
        biased;
        () = busy => unreachable!(),
        result = gate.pass(1, LONG) => result,
    };
    gave_up.expect_err("it never opens");
    assert!((secs(200)..=secs(310)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_changes_nothing() {
    let gate = gate();
    let opens = Instant::now() + secs(10);
    gate.shut_until(opens);
    timeout(secs(1), gate.pass(1, LONG)).await.expect_err("the gate is still shut");
    assert_eq!(gate.opens_at(), Some(opens));
}

#[tokio::test(start_paused = true)]
async fn a_credential_has_one_gate_and_the_others_have_their_own() {
    let gates = Gates::new();
    let opens = Instant::now() + secs(10);
    gates.gate("openai/key").shut_until(opens);
    assert_eq!(gates.clone().gate("openai/key").opens_at(), Some(opens));
    assert_eq!(gates.gate("openai/key").clone().opens_at(), Some(opens));
    assert_eq!(gates.gate("openai/other").opens_at(), None);
    assert_eq!(Gates::new().gate("openai/key").opens_at(), None);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_the_gate_that_opens_soonest_is_open() {
    let gates = Gates::with_entries_max(2);
    let start = Instant::now();
    let shut = |name: &str, seconds| gates.gate(name).shut_until(start + secs(seconds));
    let which = || ["a", "b", "c", "d"].map(|name| gates.gate(name).opens_at().is_some());
    shut("a", 20);
    shut("b", 10);
    shut("c", 30);
    assert_eq!(which(), [true, false, true, false]);
    shut("d", 5);
    assert_eq!(which(), [true, false, true, false], "the newcomer would open soonest");
    shut("a", 40);
    assert_eq!(which(), [true, false, true, false], "longer is not one more");
    advance(secs(31)).await;
    let start = Instant::now();
    gates.gate("d").shut_until(start + secs(1));
    assert_eq!(gates.gate("d").opens_at(), Some(start + secs(1)), "c had opened and made room");
    assert_eq!(which(), [true, false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn gates_that_opened_take_no_room() {
    let gates = Gates::new();
    for round in 0..3 {
        for credential in 0..chatwright_retry::ENTRIES_MAX {
            gates.gate(&format!("{round}/{credential}")).shut_until(Instant::now() + secs(1));
        }
        assert_eq!(format!("{gates:?}"), "Gates { entries: 4096, .. }");
        advance(secs(2)).await;
    }
    gates.gate("one more").shut_until(Instant::now() + secs(1));
    assert_eq!(format!("{gates:?}"), "Gates { entries: 1, .. }");
    Gates::with_entries_max(0).gate("none").shut_until(Instant::now() + secs(1));
}

#[tokio::test(start_paused = true)]
async fn only_what_all_would_meet_shuts_the_gate() {
    for kind in Kind::ALL {
        for hint in [None, Some(secs(9)), Some(secs(3600)), Some(Duration::MAX)] {
            let gate = gate();
            let mut verdict = Verdict::of(kind).with_advice(Advice::RetryAfter);
            verdict.retry_after = hint;
            gate.heed(&verdict);
            let shared = matches!(kind, Kind::RateLimit | Kind::Overloaded);
            let expected = hint.filter(|_| shared).map(|hint| Instant::now() + hint.min(secs(3600)));
            assert_eq!(gate.opens_at(), expected, "{kind} {hint:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_never_printed() {
    let gates = Gates::new();
    let gate = gates.gate("sk-secret");
    gate.shut_until(Instant::now() + secs(1));
    assert!(!format!("{gates:?} {gate:?}").contains("secret"));
}
