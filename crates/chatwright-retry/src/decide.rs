use std::fmt;
use std::time::{Duration, SystemTime};

use chatwright_error::Verdict;

use crate::Policy;

/// What went before a failure. A host that restarts keeps these four values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// How many attempts failed before this one.
    pub failures: u32,
    /// When the first attempt began.
    pub began: SystemTime,
    /// How much of the time since then was spent parked. It does not count against [`Policy::elapsed_max`].
    pub parked: Duration,
    /// Different for everybody who waits, for example a part of the chat's id: it sets their waits apart. The same
    /// seed gives the same waits.
    pub seed: u64,
}

impl History {
    /// Nothing has failed yet.
    pub const fn new(began: SystemTime, seed: u64) -> Self {
        Self { failures: 0, began, parked: Duration::ZERO, seed }
    }
}

/// What to do after a failure. `attempt` is the number of the attempt that failed, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Wait, then try again. The wait is short enough to be slept through.
    RetryAt {
        /// When the wait is over.
        at: SystemTime,
        /// How long the wait is.
        delay: Duration,
        /// Which attempt failed.
        attempt: u32,
    },
    /// The provider asks for a wait above [`Policy::park_above`]: store the work with its time and take it up again then. Add
    /// the time until it is taken up to [`History::parked`].
    Park {
        /// When the wait is over.
        until: SystemTime,
        /// How long the wait is.
        delay: Duration,
        /// Which attempt failed.
        attempt: u32,
    },
    /// Do not try again.
    GiveUp(GiveUp),
}

/// Why there is no further try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GiveUp {
    /// The verdict's advice is something else than to try again.
    Advice,
    /// All [`Policy::attempts_max`] attempts were made.
    Attempts,
    /// The wait would end after [`Policy::elapsed_max`], or at a time that the platform cannot express.
    Elapsed,
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Advice => "the failure is not one to retry",
            Self::Attempts => "no attempt is left",
            Self::Elapsed => "no time is left",
        })
    }
}

/// What to do about this failure. Pure: the same arguments give the same answer.
///
/// The wait is the longer one of two, each with its jitter: [`Policy::backoff`] and what the provider asked for
/// ([`Verdict::retry_after`]). It is thus never shorter than what the provider asked for. Where the provider asked for nothing, it
/// is at most [`Policy::wait_max`] and its jitter. The jitter on a provider's wait is at most that on a wait of
/// [`Policy::park_above`].
///
/// [`Policy::attempts_max`] bounds everything, [`Policy::elapsed_max`] everything but parking. `now` may go backwards, as wall
/// clocks do: that only makes more time.
pub fn decide(history: &History, failure: &Verdict, policy: &Policy, now: SystemTime) -> Decision {
    if !failure.is_retryable() {
        return Decision::GiveUp(GiveUp::Advice);
    }
    let attempt = history.failures.saturating_add(1);
    if attempt >= policy.attempts_max.get() {
        return Decision::GiveUp(GiveUp::Attempts);
    }
    let delay = policy.delay(attempt, failure.retry_after, history.seed);
    let Some(end) = now.checked_add(delay) else { return Decision::GiveUp(GiveUp::Elapsed) };
    if failure.retry_after.is_some_and(|hint| hint > policy.park_above) {
        return Decision::Park { until: end, delay, attempt };
    }
    // A bound beyond what the platform can express is no bound.
    let bound = policy.elapsed_max.saturating_add(history.parked);
    if history.began.checked_add(bound).is_some_and(|bound| end > bound) {
        return Decision::GiveUp(GiveUp::Elapsed);
    }
    Decision::RetryAt { at: end, delay, attempt }
}
