use std::time::{Duration, Instant, SystemTime};

use chatwright_core::Timestamp;
use chatwright_core::port::{Clock, Ids};
use uuid::Uuid;

/// The clock of the operating system. Its [`elapsed`](Clock::elapsed) counts from its creation, by the monotonic clock
/// (K1); its [`now`](Clock::now) jumps when somebody sets the wall clock (K2).
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock that starts to count now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that all others get their elapsed time from"
    )]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that all others get their wall time from"
    )]
    fn now(&self) -> Timestamp {
        timestamp(SystemTime::now())
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Version 7 UUIDs of the operating system's clock and randomness (I1, I2).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "this is where all ids come from")]
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let epoch = Timestamp::from_millis(0);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => epoch.after(since),
        // The wall clock stands before 1970.
        Err(until) => epoch.before(until.duration()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use uuid::Variant;

    use super::*;

    #[test]
    fn wall_time_is_in_milliseconds_on_both_sides_of_1970() {
        let at = Duration::from_micros(1_999);
        assert_eq!(timestamp(SystemTime::UNIX_EPOCH + at), Timestamp::from_millis(1));
        assert_eq!(timestamp(SystemTime::UNIX_EPOCH - at), Timestamp::from_millis(-1));
        assert!(SystemClock::new().now() > Timestamp::from_millis(0));
    }

    #[test]
    fn elapsed_time_never_decreases() {
        let clock = SystemClock::new();
        let times: Vec<Duration> = (0..1_000).map(|_| clock.elapsed()).collect();
        assert!(times.is_sorted(), "{times:?}");
    }

    #[test]
    fn ids_are_distinct_version_7_uuids() {
        let ids: BTreeSet<Uuid> = (0..10_000).map(|_| SystemIds.uuid()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.get_version_num() == 7 && id.get_variant() == Variant::RFC4122));
    }
}
