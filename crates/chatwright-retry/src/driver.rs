use std::future::{Future, Pending, pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use chatwright_error::Verdict;
use tokio::time::{Instant, sleep};

use crate::gate::{Gate, Shut};
use crate::{Decision, GiveUp, History, Policy, decide};

/// Calls an operation until it succeeds or [`decide`] says otherwise.
///
/// `N` is the wall clock, `C` ends everything when it is ready, `W` is told of every wait.
#[must_use = "nothing happens before `run`"]
pub struct Retry<N, C = Pending<()>, W = fn(Wait<'_>)> {
    policy: Policy,
    past: Past,
    now: N,
    cancel: C,
    on_wait: W,
    gate: Option<Gate>,
}

enum Past {
    /// The first attempt is still to come.
    None {
        seed: u64,
    },
    Some(History),
}

/// A wait that is about to begin.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Wait<'a> {
    /// Which attempt failed, counted from 1.
    pub attempt: u32,
    /// How it failed.
    pub verdict: &'a Verdict,
    /// How long the wait is. A [`Gate`] that is shut by somebody else may make it longer.
    pub delay: Duration,
    /// When the wait is over, by the wall clock.
    pub at: SystemTime,
}

/// Why [`Retry::run`] ended without success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// There is no further try.
    #[error("gave up after {attempts} attempts: {why}")]
    GaveUp {
        /// Why there is none.
        why: GiveUp,
        /// The last failure, as the operation reported it.
        #[source]
        verdict: Box<Verdict>,
        /// How many attempts were made in all.
        attempts: u32,
    },
    /// The wait is too long to be slept through. Store the history with its time, and go on from it then with
    /// [`Retry::resume`], after adding the time in between to [`History::parked`].
    #[error("to be taken up again later, after {} failed attempts", history.failures)]
    Parked {
        /// When to go on.
        until: SystemTime,
        /// The last failure; none if a [`Gate`] was shut before the first attempt of this run.
        #[source]
        verdict: Option<Box<Verdict>>,
        /// Where to go on from.
        history: History,
    },
    /// The caller's future was ready.
    #[error("canceled in or after attempt {attempts}")]
    Canceled {
        /// The last failure before; none if no attempt of this run had failed.
        #[source]
        verdict: Option<Box<Verdict>>,
        /// How many attempts were begun in all.
        attempts: u32,
    },
}

impl Stopped {
    /// The last failure, if any attempt of this run failed.
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::GaveUp { verdict, .. } => Some(verdict),
            Self::Parked { verdict, .. } | Self::Canceled { verdict, .. } => verdict.as_deref(),
        }
    }
}

impl<N: Fn() -> SystemTime> Retry<N> {
    /// From the first attempt on. `seed` is different for every caller ([`History::seed`]), `now` is the wall clock.
    pub fn new(policy: Policy, seed: u64, now: N) -> Self {
        let past = Past::None { seed };
        Self { policy, past, now, cancel: pending(), on_wait: |_| {}, gate: None }
    }
}

impl<N, C, W> Retry<N, C, W>
where
    N: Fn() -> SystemTime,
    C: Future<Output = ()>,
    W: FnMut(Wait<'_>),
{
    /// Goes on from failures of an earlier run, with their seed.
    pub fn resume(mut self, history: History) -> Self {
        self.past = Past::Some(history);
        self
    }

    /// Ends everything as soon as this is ready: an attempt in flight, a wait, and what would come next.
    pub fn cancel<D: Future<Output = ()>>(self, cancel: D) -> Retry<N, D, W> {
        let Self { policy, past, now, on_wait, gate, .. } = self;
        Retry { policy, past, now, cancel, on_wait, gate }
    }

    /// Tells of every wait before it begins. For all that must happen between two attempts: what the failed one showed is
    /// void now. It should be quick.
    pub fn on_wait<X: FnMut(Wait<'_>)>(self, on_wait: X) -> Retry<N, C, X> {
        let Self { policy, past, now, cancel, gate, .. } = self;
        Retry { policy, past, now, cancel, on_wait, gate }
    }

    /// Passes this gate before each attempt, and shuts it as [`Gate::heed`] says after each failure. A wait at the gate
    /// above [`Policy::park_above`] ends in [`Stopped::Parked`].
    pub fn gate(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Calls the operation, with the number of the attempt counted from 1, until it succeeds.
    ///
    /// # Errors
    /// [`Stopped`] says why there was no success.
    ///
    /// # Cancel safety
    /// Dropping the future drops the attempt in flight or the wait and is otherwise without effect, but the count of
    /// attempts is lost: a host that must keep it stores it from [`on_wait`](Self::on_wait).
    pub async fn run<T, O, F>(self, mut operation: O) -> Result<T, Stopped>
    where
        O: FnMut(u32) -> F,
        F: Future<Output = Result<T, Verdict>>,
    {
        let Self { policy, past, now, cancel, mut on_wait, gate } = self;
        let mut cancel = pin!(cancel);
        let mut history = match past {
            Past::None { seed } => History::new(now(), seed),
            Past::Some(history) => history,
        };
        let mut verdict: Option<Verdict> = None;
        let canceled = |verdict: Option<Verdict>, attempts| {
            Err(Stopped::Canceled { verdict: verdict.map(Box::new), attempts })
        };
        loop {
            if let Some(gate) = &gate {
                let passed = gate.pass(history.seed, policy.park_above);
                match unless(cancel.as_mut(), passed).await {
                    None => return canceled(verdict, history.failures),
                    Some(Err(shut)) => {
                        let until = wall_time(now(), shut);
                        return Err(Stopped::Parked { until, verdict: verdict.map(Box::new), history });
                    }
                    Some(Ok(())) => {}
                }
            }
            let mut attempts = history.failures;
            // Within a future, so that it is not even called if everything is over.
            let attempt = async {
                attempts = attempts.saturating_add(1);
                operation(attempts).await
            };
            let failed = match unless(cancel.as_mut(), attempt).await {
                None => return canceled(verdict, attempts),
                Some(Ok(done)) => return Ok(done),
                Some(Err(failed)) => failed,
            };
            let decision = decide(&history, &failed, &policy, now());
            history.failures = attempts;
            // Others should know, even if nobody waits here any more.
            if let Some(gate) = &gate {
                gate.heed(&failed);
            }
            // An attempt often fails because of the cancellation: that is nothing to retry or to give up for.
            if unless(cancel.as_mut(), ready(())).await.is_none() {
                return canceled(Some(failed), attempts);
            }
            match decision {
                Decision::RetryAt { at, delay, attempt } => {
                    on_wait(Wait { attempt, verdict: &failed, delay, at });
                    verdict = Some(failed);
                    if unless(cancel.as_mut(), sleep(delay)).await.is_none() {
                        return canceled(verdict, attempts);
                    }
                }
                Decision::Park { until, .. } => {
                    return Err(Stopped::Parked { until, verdict: Some(Box::new(failed)), history });
                }
                Decision::GiveUp(why) => {
                    return Err(Stopped::GaveUp { why, verdict: Box::new(failed), attempts });
                }
            }
        }
    }
}

/// What the work gives, or nothing if the cancellation is ready first or at once. Never polls a cancellation that was ready
/// before: whoever gets nothing ends.
async fn unless<T>(
    mut cancel: Pin<&mut impl Future<Output = ()>>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| match cancel.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => work.as_mut().poll(context).map(Some),
    })
    .await
}

/// When the gate opens, by the wall clock.
fn wall_time(now: SystemTime, shut: Shut) -> SystemTime {
    now.checked_add(shut.until.saturating_duration_since(Instant::now())).unwrap_or(now)
}
