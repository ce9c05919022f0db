use std::time::Duration;

use chatwright_core::Timestamp;
use chatwright_engine::{Report, Work};
use tokio::time::{Instant, sleep_until};

use super::attempt::draining;
use super::{Held, Look};

impl Held {
    /// Sleeps until the next attempt is due and begins it. A stop, a drain and the end of the lease end the wait at once.
    pub(super) async fn wait_to_retry(&mut self, at: Timestamp) {
        // Without store time nobody knows how much of the wait is left: it begins anew.
        let left = match self.deps.time.now().await {
            Ok(now) => at.since(now),
            Err(_) => self.deps.settings.rules.hold_max,
        };
        // To the millisecond that the store counts in, and not before it.
        let until = Instant::now() + left + Duration::from_millis(1);
        loop {
            match self.concern(None) {
                Look::Same => {}
                // The engine ends the turn instead.
                Look::Stop => break,
                Look::Lost => return,
            }
            let (known, watch_at) = (self.chat.head.revision, self.watch_at());
            tokio::select! {
                biased;
                () = self.lease.over() => return,
                () = self.wakes.next(known) => drop(self.look(None).await),
                () = draining(&mut self.drain) => {
                    self.feed(None, Work::Release { off: 0, report: Report::default(), wait: None }).await;
                    return;
                }
                () = sleep_until(watch_at) => self.watch(None).await,
                () = sleep_until(until) => break,
            }
        }
        let next = self.next().await;
        self.feed(None, Work::Retry { next }).await;
    }
}
