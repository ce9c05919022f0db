//! Clocks, sources of ids and observers that are broken in one place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chatwright_conformance::{KitIds, clock, ids, observer};
use chatwright_core::port::{Clock, Event, Ids, Observer};
use chatwright_core::{Timestamp, Uuid};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::caught::{Mutant, all_are_caught_at_once};

/// A clock of functions of what has elapsed and of how often it was asked.
struct Times {
    started: Instant,
    asked: AtomicU64,
    now: fn(Duration, u64) -> i64,
    elapsed: fn(Duration, u64) -> Duration,
}

const WALL: i64 = 1_800_000_000_000;

fn times(now: fn(Duration, u64) -> i64, elapsed: fn(Duration, u64) -> Duration) -> Mutant<dyn Clock> {
    Box::new(move || Arc::new(Times { started: Instant::now(), asked: AtomicU64::new(0), now, elapsed }))
}

impl Clock for Times {
    fn now(&self) -> Timestamp {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        Timestamp::from_millis((self.now)(self.started.elapsed(), asked))
    }

    fn elapsed(&self) -> Duration {
        (self.elapsed)(self.started.elapsed(), self.asked.fetch_add(1, Ordering::Relaxed))
    }
}

fn right(elapsed: Duration, _: u64) -> i64 {
    WALL + i64::try_from(elapsed.as_millis()).expect("a short test")
}

#[test]
fn every_broken_clock_is_caught_by_the_clause_that_it_breaks() {
    const K1: &str = "k1_elapsed_time_never_decreases_on_any_thread";
    const K2: &str = "k2_wall_time_is_in_milliseconds";
    let same = |elapsed, _| elapsed;
    let mutants: Vec<(&str, &str, Mutant<dyn Clock>)> = vec![
        (
            K1,
            "goes back with the wall clock",
            times(right, |_, asked| Duration::from_millis(1_000 - asked % 1_000)),
        ),
        (
            K1,
            "goes back now and then",
            times(right, |elapsed, asked| if asked % 999 == 998 { elapsed / 2 } else { elapsed }),
        ),
        (K2, "tells seconds", times(|_, _| WALL / 1_000, same)),
        (K2, "tells microseconds", times(|_, _| WALL * 1_000, same)),
        (K2, "tells time since its start", times(|elapsed, _| elapsed.as_millis() as i64, same)),
        (K2, "counts calls", times(|_, asked| WALL + 1_000 * asked as i64, same)),
    ];
    all_are_caught_at_once(clock::CLAUSES, mutants);
}

/// Ids by number.
struct Numbered(AtomicU64, fn(u64) -> Uuid);

impl Ids for Numbered {
    fn uuid(&self) -> Uuid {
        (self.1)(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Reads and writes its number in two steps.
struct Torn(Mutex<u64>);

impl Ids for Torn {
    fn uuid(&self) -> Uuid {
        let number = *self.0.lock();
        std::thread::yield_now();
        *self.0.lock() = number + 1;
        v7(number)
    }
}

fn v7(number: u64) -> Uuid {
    Uuid::from_u128(7 << 76 | 0b10 << 62 | u128::from(number))
}

fn numbered(id: fn(u64) -> Uuid) -> Mutant<dyn Ids> {
    Box::new(move || Arc::new(Numbered(AtomicU64::new(0), id)))
}

#[test]
fn every_broken_source_of_ids_is_caught_by_the_clause_that_it_breaks() {
    const ONE: &str = "i1_no_id_is_given_twice";
    const TWO: &str = "i1_no_id_is_given_twice_by_two_instances";
    const VERSION: &str = "i2_ids_are_version_7_uuids";
    let mutants: Vec<(&str, &str, Mutant<dyn Ids>)> = vec![
        (ONE, "begins anew after a while", numbered(|number| v7(number % 30_000))),
        (ONE, "gives an id to two threads", Box::new(|| Arc::new(Torn(Mutex::new(0))))),
        (TWO, "counts in each instance", numbered(v7)),
        (
            VERSION,
            "gives version 4",
            numbered(|number| Uuid::from_u128(4 << 76 | 0b10 << 62 | u128::from(number))),
        ),
        (
            VERSION,
            "gives another variant",
            numbered(|number| Uuid::from_u128(7 << 76 | 0b110 << 61 | u128::from(number))),
        ),
        (VERSION, "gives numbers", numbered(|number| Uuid::from_u128(u128::from(number)))),
    ];
    all_are_caught_at_once(ids::CLAUSES, mutants);
}

/// Does something at each event.
struct Watch(fn(&Event<'_>), Mutex<()>);

impl Observer for Watch {
    fn observe(&self, event: &Event<'_>) {
        let _turn = self.1.lock();
        (self.0)(event);
    }
}

fn watch(act: fn(&Event<'_>)) -> Mutant<dyn Observer> {
    Box::new(move || Arc::new(Watch(act, Mutex::new(()))))
}

#[test]
fn every_broken_observer_is_caught_by_the_clause_that_it_breaks() {
    const O1: &str = "o1_it_returns_at_once_on_every_thread";
    const O2: &str = "o2_it_takes_every_event_without_a_panic";
    fn wait(time: Duration) {
        let (_sender, receiver) = std::sync::mpsc::channel::<()>();
        let _ = receiver.recv_timeout(time);
    }
    let mutants = vec![
        (O1, "waits for something", watch(|_| wait(Duration::from_millis(5)))),
        (O1, "waits for ever", watch(|_| wait(Duration::from_secs(60)))),
        (
            O2,
            "does not know that a tool can fail",
            watch(|event| {
                assert!(!matches!(event, Event::ToolEnded { is_error: true, .. }));
            }),
        ),
        (
            O2,
            "needs a name",
            watch(|event| {
                assert!(!matches!(event, Event::ToolStarted { name: "", .. }));
            }),
        ),
        (
            O2,
            "adds up without a bound",
            watch(|event| {
                if let Event::AttemptEnded { usage, .. } = event {
                    let total = usage.input.unwrap_or(0).checked_add(usage.output.unwrap_or(0));
                    assert!(total.is_some());
                }
            }),
        ),
    ];
    all_are_caught_at_once(observer::CLAUSES, mutants);
}

mod sound_ids {
    chatwright_conformance::ids!(super::KitIds::new());
}

mod sound_observer {
    chatwright_conformance::observer!(super::Watch(|_| {}, super::Mutex::new(())));
}
