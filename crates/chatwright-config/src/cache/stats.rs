use std::sync::atomic::{AtomicU64, Ordering};

/// What happened since a cache was made. Every read counts as one of [`hits`](Self::hits) and [`misses`](Self::misses). The
/// numbers are read one by one, not at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that found a live entry at once.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Misses that joined the fill of another caller.
    pub joined: u64,
    /// Misses that got a value past its time, because a fill had failed.
    pub stale: u64,
    /// Fills that were begun.
    pub fills: u64,
    /// Fills of these that were begun by a hit, ahead of an expiry.
    pub refreshes: u64,
    /// Fills in which the source failed.
    pub failures: u64,
    /// Fills that took too long.
    pub timeouts: u64,
    /// Fills in which the source panicked.
    pub panics: u64,
    /// Fills that succeeded but were not stored, because their key was invalidated after they began.
    pub outdated: u64,
    /// Entries that were removed to make room.
    pub evicted: u64,
    /// Entries that were too heavy to keep.
    pub too_heavy: u64,
    /// Calls of `invalidate` and `invalidate_all`.
    pub invalidations: u64,
}

macro_rules! counters {
    ($($name:ident),*) => {
        /// [`Stats`] that count. Hits are counted elsewhere, by part, so that threads do not meet here.
        #[derive(Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter),*
        }

        impl Counters {
            pub(super) fn stats(&self, hits: u64) -> Stats {
                Stats { hits, $($name: self.$name.value()),* }
            }
        }
    };
}
counters!(
    misses,
    joined,
    stale,
    fills,
    refreshes,
    failures,
    timeouts,
    panics,
    outdated,
    evicted,
    too_heavy,
    invalidations
);

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
