use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chatwright_core::port::Clock;
use chatwright_core::{SessionId, Timestamp};
use parking_lot::Mutex;

/// The life of this process's session as the process itself must see it: it counts from the *sending* of the last confirmed
/// renewal and ends a margin before the store would end it, on the larger of monotonic and wall time. Past it nothing is
/// committed, appended or started.
pub(crate) struct Lease {
    pub(crate) session: SessionId,
    clock: Arc<dyn Clock>,
    usable: Duration,
    confirmed: Mutex<(Duration, Timestamp)>,
    /// Once over, it stays over: what was dropped must not come back to life.
    ended: AtomicBool,
}

impl Lease {
    /// A session that was confirmed by a call sent at `sent`.
    pub(crate) fn new(session: SessionId, clock: Arc<dyn Clock>, usable: Duration, sent: Moment) -> Self {
        Self {
            session,
            clock,
            usable,
            confirmed: Mutex::new((sent.elapsed, sent.wall)),
            ended: AtomicBool::new(false),
        }
    }

    /// Takes in a confirmation; gives whether the session still lives.
    pub(crate) fn confirm(&self, sent: Moment) -> bool {
        if !self.is_live() {
            return false;
        }
        *self.confirmed.lock() = (sent.elapsed, sent.wall);
        self.is_live()
    }

    /// How long it still lives.
    pub(crate) fn left(&self) -> Duration {
        let (elapsed, wall) = *self.confirmed.lock();
        let monotonic = self.clock.elapsed().saturating_sub(elapsed);
        let spent = monotonic.max(self.clock.now().since(wall));
        let left = self.usable.saturating_sub(spent);
        if left.is_zero() {
            self.ended.store(true, Ordering::SeqCst);
        }
        if self.ended.load(Ordering::SeqCst) { Duration::ZERO } else { left }
    }

    pub(crate) fn is_live(&self) -> bool {
        !self.left().is_zero()
    }

    /// Waits until it is over.
    pub(crate) async fn over(&self) {
        loop {
            match self.left() {
                Duration::ZERO => return,
                left => tokio::time::sleep(left).await,
            }
        }
    }
}

/// A point on both of a process's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    elapsed: Duration,
    wall: Timestamp,
}

impl Moment {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { elapsed: clock.elapsed(), wall: clock.now() }
    }
}

#[cfg(test)]
mod tests {
    use chatwright_core::Uuid;
    use chatwright_memory::ManualClock;

    use super::*;

    #[test]
    fn a_lease_that_is_over_stays_over_whatever_is_confirmed_late() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
        let shared: Arc<dyn Clock> = clock.clone();
        let sent = Moment::now(&*clock);
        let session = SessionId::from_uuid(Uuid::nil());
        let lease = Lease::new(session, shared, Duration::from_secs(10), sent);
        clock.advance(Duration::from_secs(6));
        assert_eq!(lease.left(), Duration::from_secs(4));
        let sent = Moment::now(&*clock);
        clock.advance(Duration::from_secs(3));
        assert!(lease.confirm(sent), "it counts from when the renewal was sent");
        assert_eq!(lease.left(), Duration::from_secs(7));
        clock.advance(Duration::from_secs(7));
        assert!(!lease.is_live());
        assert!(!lease.confirm(Moment::now(&*clock)), "what was dropped must not come back to life");
        assert!(!lease.is_live());
    }

    #[test]
    fn a_wall_clock_that_jumps_ahead_ends_a_lease_and_one_that_jumps_back_does_not_lengthen_it() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(100_000)));
        let lease = |clock: &Arc<ManualClock>| {
            let shared: Arc<dyn Clock> = clock.clone();
            let session = SessionId::from_uuid(Uuid::nil());
            Lease::new(session, shared, Duration::from_secs(10), Moment::now(&**clock))
        };
        let ahead = lease(&clock);
        clock.set(Timestamp::from_millis(111_000));
        assert!(!ahead.is_live());
        let back = lease(&clock);
        clock.set(Timestamp::from_millis(50_000));
        clock.advance(Duration::from_secs(10));
        assert!(!back.is_live());
    }
}
