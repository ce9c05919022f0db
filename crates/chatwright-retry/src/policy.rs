use std::num::NonZeroU32;
use std::time::Duration;

use crate::jitter::{Jitter, duration};

/// How often, how soon and how long to try again. Every value is a valid one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The wait after the first failure; it doubles with every further one. Default: 1 s.
    pub first_wait: Duration,
    /// The longest wait of our own choosing, before jitter. A provider may ask for a longer one. Default: 60 s.
    pub wait_max: Duration,
    /// How many attempts there are in all, with the first. Default: 25, which is at most 24 retries.
    pub attempts_max: NonZeroU32,
    /// How long may pass from the first attempt to the end of the last wait, without the time that was spent parked.
    /// Default: 1 h.
    pub elapsed_max: Duration,
    /// A provider that asks for a longer wait than this has the work parked: nobody holds resources to wait for it.
    /// Default: 5 min.
    pub park_above: Duration,
    /// How much longer than planned a wait may be. Default: a tenth.
    pub jitter: Jitter,
}

impl Default for Policy {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        Self {
            first_wait: Duration::from_secs(1),
            wait_max: Duration::from_secs(MINUTE),
            attempts_max: NonZeroU32::MIN.saturating_add(24),
            elapsed_max: Duration::from_secs(60 * MINUTE),
            park_above: Duration::from_secs(5 * MINUTE),
            jitter: Jitter::default(),
        }
    }
}

impl Policy {
    /// The wait after failure number `attempt`, counted from 1, without jitter and without a provider's wish:
    /// [`first_wait`](Self::first_wait) doubled with every failure after the first, at most [`wait_max`](Self::wait_max). 0 counts
    /// as 1.
    pub fn backoff(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(u128::BITS - 1);
        let nanos = self.first_wait.as_nanos().saturating_mul(1 << doublings);
        duration(nanos.min(self.wait_max.as_nanos()))
    }

    /// The backoff or the provider's wish, whichever is longer, each with its jitter.
    pub(crate) fn delay(&self, attempt: u32, hint: Option<Duration>, seed: u64) -> Duration {
        let backoff = self.backoff(attempt);
        let backoff = backoff.saturating_add(self.jitter.extra(backoff, seed, attempt));
        let Some(hint) = hint else { return backoff };
        // A tenth of a wait of days would be hours: minutes spread the waiters well enough.
        let spread = self.jitter.extra(hint.min(self.park_above), seed, attempt);
        backoff.max(hint.saturating_add(spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_from_one_second_to_sixty() {
        let policy = Policy::default();
        let attempts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 100, 101, 128, 129, u32::MAX];
        let seconds = [1, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60, 60, 60];
        assert_eq!(attempts.map(|attempt| policy.backoff(attempt).as_secs()), seconds);
    }

    #[test]
    fn a_first_wait_of_nothing_stays_nothing_and_a_tiny_one_still_doubles() {
        let mut policy = Policy { first_wait: Duration::ZERO, ..Policy::default() };
        assert_eq!([1, 50, 200, u32::MAX].map(|attempt| policy.backoff(attempt)), [Duration::ZERO; 4]);
        policy.first_wait = Duration::from_nanos(1);
        assert_eq!(policy.backoff(34), Duration::from_nanos(1 << 33));
        assert_eq!(policy.backoff(200), policy.wait_max);
    }

    #[test]
    fn the_longest_wait_is_above_the_first_one() {
        let policy =
            Policy { first_wait: Duration::MAX, wait_max: Duration::from_secs(3), ..Policy::default() };
        assert_eq!(policy.backoff(1), Duration::from_secs(3));
    }
}
