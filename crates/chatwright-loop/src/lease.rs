use std::sync::Arc;
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
}

impl Lease {
    /// A session that was confirmed by a call sent at `sent`.
    pub(crate) fn new(session: SessionId, clock: Arc<dyn Clock>, usable: Duration, sent: Moment) -> Self {
        Self { session, clock, usable, confirmed: Mutex::new((sent.elapsed, sent.wall)) }
    }

    pub(crate) fn confirm(&self, sent: Moment) {
        *self.confirmed.lock() = (sent.elapsed, sent.wall);
    }

    /// How long it still lives.
    pub(crate) fn left(&self) -> Duration {
        let (elapsed, wall) = *self.confirmed.lock();
        let monotonic = self.clock.elapsed().saturating_sub(elapsed);
        let spent = monotonic.max(self.clock.now().since(wall));
        self.usable.saturating_sub(spent)
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
