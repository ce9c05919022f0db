use std::time::Duration;

use chatwright_core::Timestamp;
use chatwright_core::port::Clock;
use parking_lot::Mutex;

/// A clock that stands still until somebody moves it: for tests and simulations.
///
/// ```
/// use std::time::Duration;
///
/// use chatwright_core::Timestamp;
/// use chatwright_core::port::Clock;
/// use chatwright_memory::ManualClock;
///
/// let clock = ManualClock::new(Timestamp::from_millis(1_000));
/// clock.advance(Duration::from_millis(5));
/// clock.set(Timestamp::from_millis(0));
/// assert_eq!((clock.now(), clock.elapsed()), (Timestamp::from_millis(0), Duration::from_millis(5)));
/// ```
#[derive(Debug)]
pub struct ManualClock(Mutex<Hands>);

#[derive(Debug)]
struct Hands {
    /// What the wall clock was set to, and at which elapsed time.
    wall: (Timestamp, Duration),
    elapsed: Duration,
}

impl ManualClock {
    /// A clock at this wall time, with nothing elapsed.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(Hands { wall: (now, Duration::ZERO), elapsed: Duration::ZERO }))
    }

    /// Lets time pass: wall time and elapsed time move on, both at most to their last representable value.
    pub fn advance(&self, span: Duration) {
        let mut hands = self.0.lock();
        hands.elapsed = hands.elapsed.saturating_add(span);
    }

    /// Sets the wall clock, forwards or backwards (K2). Elapsed time does not notice (K1).
    pub fn set(&self, now: Timestamp) {
        let mut hands = self.0.lock();
        hands.wall = (now, hands.elapsed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let hands = self.0.lock();
        let (set_to, set_at) = hands.wall;
        set_to.after(hands.elapsed - set_at)
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_passes_moves_both_hands_and_loses_no_part_of_a_millisecond() {
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        clock.advance(Duration::from_micros(600));
        clock.advance(Duration::from_micros(600));
        assert_eq!(clock.now(), Timestamp::from_millis(1_001));
        assert_eq!(clock.elapsed(), Duration::from_micros(1_200));
    }

    #[test]
    fn setting_the_wall_clock_back_or_forwards_leaves_elapsed_time_alone() {
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        clock.advance(Duration::from_millis(7));
        for millis in [-5, 9_000] {
            clock.set(Timestamp::from_millis(millis));
            assert_eq!((clock.now().as_millis(), clock.elapsed()), (millis, Duration::from_millis(7)));
        }
        clock.advance(Duration::MAX);
        assert_eq!(clock.elapsed(), Duration::MAX);
        assert_eq!(clock.now(), Timestamp::from_millis(i64::MAX));
    }
}
