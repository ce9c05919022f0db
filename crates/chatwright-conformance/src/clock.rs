//! The promises of [`Clock`]. A clock that stands still keeps them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chatwright_core::port::Clock;

use crate::Subject;
use crate::clause::clauses;
use crate::wait::on_threads;

clauses! {
    ($) clock in clock: chatwright_core::port::Clock;
    "clock.K1" k1_elapsed_time_never_decreases_on_any_thread,
    "clock.K2" k2_wall_time_is_in_milliseconds,
}

async fn k1_elapsed_time_never_decreases_on_any_thread(subject: &Subject<dyn Clock>) {
    const CLAUSE: &str = "clock.K1";
    let clock = subject.connect().await;
    let latest = Arc::new(AtomicU64::new(0));
    let work = |_| {
        let (clock, latest) = (Arc::clone(&clock), Arc::clone(&latest));
        Box::new(move || {
            for _ in 0..20_000 {
                let before = latest.load(Ordering::SeqCst);
                let nanos = u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
                let (before_, now) = (Duration::from_nanos(before), Duration::from_nanos(nanos));
                assert!(nanos >= before, "{CLAUSE}: elapsed time goes back from {before_:?} to {now:?}");
                latest.fetch_max(nanos, Ordering::SeqCst);
            }
        }) as Box<dyn FnOnce() + Send>
    };
    on_threads(CLAUSE, (0..4).map(work));
}

async fn k2_wall_time_is_in_milliseconds(subject: &Subject<dyn Clock>) {
    const CLAUSE: &str = "clock.K2";
    let clock = subject.connect().await;
    let now = clock.now();
    // From 2001 to 2286: seconds and microseconds are far outside, and so is time since the start of a machine.
    let sane = 1_000_000_000_000..10_000_000_000_000;
    assert!(
        sane.contains(&now.as_millis()),
        "{CLAUSE}: {} are not the milliseconds of today",
        now.as_millis()
    );
    // It follows elapsed time, jumps apart: in a thousand reads there is a pair between two jumps.
    let follows = (0..1_000).any(|_| {
        let (wall, elapsed) = (clock.now(), clock.elapsed());
        let (wall, elapsed) = (clock.now().since(wall), clock.elapsed().saturating_sub(elapsed));
        wall <= elapsed + Duration::from_millis(2)
    });
    assert!(follows, "{CLAUSE}: wall time runs away from elapsed time");
}
