//! When the next attempt is, and when there is none.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use chatwright_error::{Advice, Kind, Verdict};
use chatwright_retry::{Decision, GiveUp, History, Jitter, Policy, decide};
use proptest::prelude::*;

const BEGAN: SystemTime = SystemTime::UNIX_EPOCH;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn exact() -> Policy {
    let mut policy = Policy::default();
    policy.jitter = Jitter::NONE;
    policy
}

fn after(failures: u32) -> History {
    History { failures, ..History::new(BEGAN, 7) }
}

fn told_to_wait(hint: Duration) -> Verdict {
    let mut verdict = Verdict::of(Kind::RateLimit).with_advice(Advice::RetryAfter);
    verdict.retry_after = Some(hint);
    verdict
}

#[test]
fn the_defaults_are_25_attempts_from_1_s_to_60_s_within_an_hour() {
    let policy = Policy::default();
    assert_eq!((policy.first_wait, policy.wait_max), (secs(1), secs(60)));
    assert_eq!((policy.attempts_max.get(), policy.elapsed_max), (25, secs(3600)));
    assert_eq!((policy.park_above, policy.jitter.ratio()), (secs(300), 0.1));
}

#[test]
fn the_waits_of_25_attempts_add_up_to_19_minutes() {
    let overloaded = Verdict::of(Kind::Overloaded);
    let mut now = BEGAN;
    for failures in 0..24 {
        let decision = decide(&after(failures), &overloaded, &exact(), now);
        let Decision::RetryAt { at, delay, attempt } = decision else { panic!("{decision:?}") };
        assert_eq!((attempt, at), (failures + 1, now + delay));
        now = at;
    }
    assert_eq!(now, BEGAN + secs(1143));
    assert_eq!(decide(&after(24), &overloaded, &exact(), now), Decision::GiveUp(GiveUp::Attempts));
}

#[test]
fn a_providers_wait_is_a_floor_and_not_a_cap() {
    let delay = |hint| match decide(&after(0), &told_to_wait(hint), &exact(), BEGAN) {
        Decision::RetryAt { delay, .. } => delay,
        other => panic!("{other:?}"),
    };
    assert_eq!(delay(secs(3)), secs(3));
    assert_eq!(delay(Duration::from_millis(500)), secs(1));
    assert_eq!(delay(secs(90)), secs(90), "above the longest wait of our own");
}

#[test]
fn a_wait_above_five_minutes_is_parked_whatever_the_time_that_is_left() {
    let hint = secs(16 * 3600);
    let decision = decide(&after(23), &told_to_wait(hint), &exact(), BEGAN);
    assert_eq!(decision, Decision::Park { until: BEGAN + hint, delay: hint, attempt: 24 });
    let at_the_bound = decide(&after(0), &told_to_wait(secs(300)), &exact(), BEGAN);
    assert_eq!(at_the_bound, Decision::RetryAt { at: BEGAN + secs(300), delay: secs(300), attempt: 1 });
    let no_attempt_left = decide(&after(24), &told_to_wait(hint), &exact(), BEGAN);
    assert_eq!(no_attempt_left, Decision::GiveUp(GiveUp::Attempts));
}

#[test]
fn a_wait_may_end_at_the_bound_and_not_after_it() {
    let timeout = Verdict::of(Kind::Timeout);
    let at_bound = decide(&after(0), &timeout, &exact(), BEGAN + secs(3599));
    assert_eq!(at_bound, Decision::RetryAt { at: BEGAN + secs(3600), delay: secs(1), attempt: 1 });
    let late = decide(&after(0), &timeout, &exact(), BEGAN + Duration::from_millis(3_599_001));
    assert_eq!(late, Decision::GiveUp(GiveUp::Elapsed));
}

#[test]
fn parked_time_does_not_count() {
    let timeout = Verdict::of(Kind::Timeout);
    let day = secs(24 * 3600);
    let parked = History { parked: day, ..after(1) };
    let now = BEGAN + day + secs(3598);
    assert_eq!(decide(&after(1), &timeout, &exact(), now), Decision::GiveUp(GiveUp::Elapsed));
    let decision = decide(&parked, &timeout, &exact(), now);
    assert_eq!(decision, Decision::RetryAt { at: now + secs(2), delay: secs(2), attempt: 2 });
}

#[test]
fn a_clock_that_is_set_back_does_not_end_the_retries() {
    let decision = decide(&after(0), &Verdict::of(Kind::Timeout), &exact(), BEGAN - secs(100));
    assert_eq!(decision, Decision::RetryAt { at: BEGAN - secs(99), delay: secs(1), attempt: 1 });
}

#[test]
fn nothing_is_retried_that_the_advice_does_not_allow() {
    let advices = [
        (Advice::Retry, true),
        (Advice::RetryAfter, true),
        (Advice::CompactThenRetry, false),
        (Advice::Stop, false),
        (Advice::AskUser, false),
        (Advice::SwitchModel, false),
    ];
    for kind in Kind::ALL {
        for (advice, retried) in advices {
            let mut verdict = Verdict::of(kind).with_advice(advice);
            verdict.retry_after = Some(secs(1));
            let decision = decide(&after(0), &verdict, &exact(), BEGAN);
            let expected = if retried {
                Decision::RetryAt { at: BEGAN + secs(1), delay: secs(1), attempt: 1 }
            } else {
                Decision::GiveUp(GiveUp::Advice)
            };
            assert_eq!(decision, expected, "{kind} {advice}");
        }
    }
}

#[test]
fn the_spread_of_a_wait_of_days_is_minutes() {
    let mut policy = Policy::default();
    policy.jitter = Jitter::new(1.0).expect("a ratio");
    let week = secs(7 * 24 * 3600);
    for seed in 0..100 {
        let history = History::new(BEGAN, seed);
        let decision = decide(&history, &told_to_wait(week), &policy, BEGAN);
        let Decision::Park { delay, .. } = decision else { panic!("{decision:?}") };
        assert!((week..=week + policy.park_above).contains(&delay), "{delay:?}");
    }
}

#[test]
fn two_chats_do_not_wait_in_lockstep() {
    // The backoff after the eighth failure is that after the ninth: only the jitter tells them apart.
    for failure in [Verdict::of(Kind::Overloaded), told_to_wait(secs(100))] {
        let delay = |seed, failures| {
            let history = History { failures, ..History::new(BEGAN, seed) };
            match decide(&history, &failure, &Policy::default(), BEGAN) {
                Decision::RetryAt { delay, .. } => delay,
                other => panic!("{other:?}"),
            }
        };
        assert_ne!(delay(1, 7), delay(2, 7), "{failure:?}: another seed, another wait");
        assert_ne!(delay(1, 7), delay(1, 8), "{failure:?}: another attempt, another jitter");
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    let times = (0..10_000_u64, 0..120_000_u64, 0..7_200_000_u64, 0..600_000_u64);
    (times, 1..40_u32, 0.0..=1.0).prop_map(|((first, most, elapsed, park), attempts, jitter)| {
        let mut policy = Policy::default();
        policy.first_wait = Duration::from_millis(first);
        policy.wait_max = Duration::from_millis(most);
        policy.elapsed_max = Duration::from_millis(elapsed);
        policy.park_above = Duration::from_millis(park);
        policy.attempts_max = NonZeroU32::new(attempts).expect("from 1");
        policy.jitter = Jitter::new(jitter).expect("from 0 to 1");
        policy
    })
}

fn failures() -> impl Strategy<Value = Verdict> {
    let hint = proptest::option::of(prop_oneof![4 => 0..120_000_u64, 1 => 0..3_600_000_u64]);
    // Mostly such as are retried, so that runs get long.
    let kind = prop_oneof![9 => Just(Kind::RateLimit), 9 => Just(Kind::Timeout), 1 => Just(Kind::Auth)];
    (kind, hint).prop_map(|(kind, hint)| {
        let mut verdict = Verdict::of(kind);
        verdict.retry_after = hint.map(Duration::from_millis);
        verdict
    })
}

/// Any duration at all, the extremes too.
fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        (0..100_000_u64).prop_map(Duration::from_millis),
    ]
}

/// Any time at all that the platform can express.
fn times() -> impl Strategy<Value = SystemTime> {
    (durations(), any::<bool>()).prop_map(|(distance, before)| {
        let time = if before { BEGAN.checked_sub(distance) } else { BEGAN.checked_add(distance) };
        time.unwrap_or(BEGAN)
    })
}

proptest! {
    #[test]
    fn a_schedule_keeps_floor_cap_budget_and_bound(
        policy in policies(),
        seed in any::<u64>(),
        run in proptest::collection::vec((failures(), 0..60_000_u64), 1..60),
    ) {
        let mut history = History::new(BEGAN, seed);
        let mut now = BEGAN;
        let mut slept = Duration::ZERO;
        for (failure, took) in run {
            now += Duration::from_millis(took);
            let attempt = history.failures + 1;
            let backoff = policy.backoff(attempt);
            let hint = failure.retry_after.unwrap_or_default();
            let most = |wait: Duration| wait.mul_f64(policy.jitter.ratio()) + Duration::from_micros(1);
            let floor = backoff.max(hint);
            let cap = (backoff + most(backoff)).max(if hint.is_zero() {
                Duration::ZERO
            } else {
                hint + most(hint.min(policy.park_above))
            });
            let bound = BEGAN + policy.elapsed_max + history.parked;
            let decision = decide(&history, &failure, &policy, now);
            prop_assert_eq!(decision, decide(&history, &failure, &policy, now));
            match decision {
                Decision::RetryAt { at, delay, attempt: number } => {
                    prop_assert!(failure.is_retryable() && attempt < policy.attempts_max.get());
                    prop_assert!(floor <= delay && delay <= cap, "{:?} <= {:?} <= {:?}", floor, delay, cap);
                    prop_assert!(hint <= policy.park_above && at <= bound);
                    prop_assert_eq!((number, at), (attempt, now + delay));
                    slept += delay;
                    now = at;
                }
                Decision::Park { until, delay, attempt: number } => {
                    prop_assert!(failure.is_retryable() && attempt < policy.attempts_max.get());
                    prop_assert!(floor <= delay && delay <= cap, "{:?} <= {:?} <= {:?}", floor, delay, cap);
                    prop_assert!(hint > policy.park_above);
                    prop_assert_eq!((number, until), (attempt, now + delay));
                    history.parked += delay;
                    now = until;
                }
                Decision::GiveUp(GiveUp::Advice) => {
                    prop_assert!(!failure.is_retryable());
                    break;
                }
                Decision::GiveUp(GiveUp::Attempts) => {
                    prop_assert_eq!(attempt, policy.attempts_max.get());
                    break;
                }
                Decision::GiveUp(GiveUp::Elapsed) => {
                    prop_assert!(now + cap > bound && hint <= policy.park_above);
                    break;
                }
                Decision::GiveUp(other) => prop_assert!(false, "{:?}", other),
            }
            history.failures = attempt;
        }
        prop_assert!(slept <= policy.elapsed_max);
        prop_assert!(history.failures < policy.attempts_max.get());
    }

    #[test]
    fn nothing_panics_whatever_the_values(
        waits in proptest::array::uniform4(durations()),
        attempts_max in 1..=u32::MAX,
        jitter in 0.0..=1.0,
        failures in prop_oneof![any::<u32>(), Just(u32::MAX), 0..200_u32],
        began in times(),
        now in times(),
        parked in durations(),
        seed in any::<u64>(),
        hint in proptest::option::of(durations()),
    ) {
        let mut policy = Policy::default();
        [policy.first_wait, policy.wait_max, policy.elapsed_max, policy.park_above] = waits;
        policy.attempts_max = NonZeroU32::new(attempts_max).expect("from 1");
        policy.jitter = Jitter::new(jitter).expect("from 0 to 1");
        let mut failure = Verdict::of(Kind::RateLimit);
        failure.retry_after = hint;
        let history = History { failures, began, parked, seed };
        match decide(&history, &failure, &policy, now) {
            Decision::RetryAt { at, delay, .. } | Decision::Park { until: at, delay, .. } => {
                prop_assert!(delay >= hint.unwrap_or_default());
                prop_assert_eq!(now.checked_add(delay), Some(at));
            }
            Decision::GiveUp(_) => {}
        }
    }
}
