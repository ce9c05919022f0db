use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use chatwright_error::{Kind, Verdict};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::jitter::{Jitter, share};

/// How many gates [`Gates::new`] keeps shut at once at most.
pub const ENTRIES_MAX: usize = 4_096;

/// Longest time for which [`Gate::heed`] shuts a gate. After it somebody asks, and is told again.
pub const HEED_MAX: Duration = Duration::from_secs(3_600);

/// Everybody who was held up comes within this time after a gate opens, at least.
const SPREAD_MIN: Duration = Duration::from_millis(50);
/// Everybody who was held up comes within this time after a gate opens, at most.
const SPREAD_MAX: Duration = Duration::from_secs(30);

/// The gates of this process, one per credential: when a provider tells one chat to wait, the others that call it with
/// the same credential wait too. A clone is the same gates.
///
/// Only gates that were shut take memory. Beyond the bound, those that have opened are forgotten first, then the one that
/// opens soonest is opened early.
#[derive(Clone)]
pub struct Gates(Arc<Inner>);

struct Inner {
    /// When the gates that were shut open, by a keyed hash of the credential: no secret is kept.
    opens: Mutex<HashMap<u64, Instant>>,
    hash: RandomState,
    entries_max: usize,
}

impl Gates {
    /// At most [`ENTRIES_MAX`] gates are shut at once.
    pub fn new() -> Self {
        Self::with_entries_max(ENTRIES_MAX)
    }

    /// At most so many gates are shut at once. With 0 none ever is.
    pub fn with_entries_max(entries_max: usize) -> Self {
        Self(Arc::new(Inner { opens: Mutex::default(), hash: RandomState::new(), entries_max }))
    }

    /// The gate of a credential. Whatever shares a limit at the provider should share a name here: for example
    /// `openai/<fingerprint of the key>`, with the model's name if each model has a limit of its own. The name is hashed
    /// with a key of this process and not kept.
    pub fn gate(&self, credential: &str) -> Gate {
        Gate { key: self.0.hash.hash_one(credential), gates: self.clone() }
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.opens.lock().len();
        f.debug_struct("Gates").field("entries", &entries).finish_non_exhaustive()
    }
}

/// The gate of one credential. A clone is the same gate.
#[derive(Clone)]
pub struct Gate {
    key: u64,
    gates: Gates,
}

impl Gate {
    /// Shuts the gate until then. It only ever stays shut longer: an earlier time than that it has is ignored, and so is
    /// one that has passed.
    pub fn shut_until(&self, at: Instant) {
        let Inner { opens, entries_max, .. } = &*self.gates.0;
        let mut opens = opens.lock();
        if let Some(opens) = opens.get_mut(&self.key) {
            *opens = at.max(*opens);
            return;
        }
        if opens.len() >= *entries_max {
            let now = Instant::now();
            opens.retain(|_, opens| *opens > now);
        }
        if opens.len() >= *entries_max {
            let soonest = opens.iter().map(|(key, opens)| (*opens, *key)).min();
            match soonest {
                Some((opens_at, key)) if opens_at < at => opens.remove(&key),
                _ => return,
            };
        }
        opens.insert(self.key, at);
    }

    /// Shuts the gate for as long as the provider asks, if the failure is one that all who share the credential would meet:
    /// [`Kind::RateLimit`] or [`Kind::Overloaded`] with a [`Verdict::retry_after`]; for [`HEED_MAX`] at most, so that one
    /// wrong header does not keep a credential from being used for days. Other failures change nothing.
    ///
    /// [`Retry`](crate::Retry) does this by itself; a host that only uses [`decide`](crate::decide) does it after each failure.
    pub fn heed(&self, failure: &Verdict) {
        if !matches!(failure.kind, Kind::RateLimit | Kind::Overloaded) {
            return;
        }
        if let Some(at) = failure.retry_after.and_then(|hint| Instant::now().checked_add(hint.min(HEED_MAX)))
        {
            self.shut_until(at);
        }
    }

    /// When the gate opens, or nothing if it is open.
    pub fn opens_at(&self) -> Option<Instant> {
        let at = self.gates.0.opens.lock().get(&self.key).copied()?;
        (at > Instant::now()).then_some(at)
    }

    /// Waits until the gate is open. At once if it is. If it was shut again for longer in the meantime, the wait goes on.
    ///
    /// Those who were held up do not come all at once: each waits a little longer, by a share of a tenth of its own wait
    /// (at least of 50 ms, at most of 30 s) that its `seed` draws.
    ///
    /// # Errors
    /// [`Shut`] as soon as the gate is known to stay shut for more than `longest` after this call. The caller then
    /// parks its work.
    ///
    /// # Cancel safety
    /// Dropping the future stops waiting and changes nothing.
    pub async fn pass(&self, seed: u64, longest: Duration) -> Result<(), Shut> {
        let mut latest = None;
        while let Some(opens) = self.opens_at() {
            let now = Instant::now();
            let until =
                opens.checked_add(spread(opens.saturating_duration_since(now), seed)).unwrap_or(opens);
            let latest = *latest.get_or_insert_with(|| now.checked_add(longest));
            // No latest time is one that lies beyond what the platform can express.
            if latest.is_some_and(|latest| opens > latest) {
                return Err(Shut { until });
            }
            sleep_until(until).await;
        }
        Ok(())
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("opens_at", &self.opens_at()).finish_non_exhaustive()
    }
}

/// The gate stays shut for longer than the caller would wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider asked everybody with this credential to wait for long")]
pub struct Shut {
    /// When to come back: when the gate opens, and a little later, so that not all come at once.
    pub until: Instant,
}

/// How much later than the gate opens whoever waited for it comes.
fn spread(wait: Duration, seed: u64) -> Duration {
    let most = Jitter::TENTH.most(wait).clamp(SPREAD_MIN, SPREAD_MAX);
    share(most, seed, 0)
}
