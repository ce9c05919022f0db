use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::thread;

use tokio::sync::watch;

use super::Inner;

/// Why a read gave nothing. All who waited for one fill get the same.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum FillError<E> {
    /// The source failed.
    #[error("the source of the cache failed")]
    Source(#[source] Arc<E>),
    /// The fill took longer than [`Policy::fill_max`](crate::Policy::fill_max), and was ended.
    #[error("a fill of the cache took too long")]
    TimedOut,
    /// The source panicked, in the call or in its future.
    #[error("the source of the cache panicked")]
    Panicked,
    /// The cache is closed, or the runtime of the caller that began the fill has ended.
    #[error("the cache is closed")]
    Closed,
}

impl<E> Clone for FillError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Source(source) => Self::Source(Arc::clone(source)),
            Self::TimedOut => Self::TimedOut,
            Self::Panicked => Self::Panicked,
            Self::Closed => Self::Closed,
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for FillError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(source) => f.debug_tuple("Source").field(source).finish(),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::Panicked => f.write_str("Panicked"),
            Self::Closed => f.write_str("Closed"),
        }
    }
}

/// One fill, for all who wait for it. Being the one in the map of its key is what entitles it to be stored.
pub(super) struct Flight<V, E>(watch::Sender<Option<Outcome<V, E>>>);

pub(super) struct Outcome<V, E> {
    pub(super) result: Result<Option<Arc<V>>, FillError<E>>,
    /// The value is past its time.
    pub(super) stale: bool,
}

impl<V, E> Clone for Outcome<V, E> {
    fn clone(&self) -> Self {
        Self { result: self.result.clone(), stale: self.stale }
    }
}

impl<V, E> Flight<V, E> {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(super) async fn outcome(&self) -> Outcome<V, E> {
        let mut landed = self.0.subscribe();
        let outcome = landed.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        // The sender is at hand: there always is one.
        outcome.unwrap_or(Outcome { result: Err(FillError::Closed), stale: false })
    }
}

/// What a fill found, with its weight.
pub(super) type Found<V> = Option<(Arc<V>, u64)>;

/// The duty to end a flight, whatever happens to its task: a panic in it, which tokio contains, or its abort.
pub(super) struct Pilot<K: Hash + Eq, V, E> {
    pub(super) cache: Weak<Inner<K, V, E>>,
    pub(super) hash: u64,
    /// Gone when the flight has landed.
    pub(super) flight: Option<(K, Arc<Flight<V, E>>)>,
}

impl<K: Hash + Eq, V, E> Pilot<K, V, E> {
    /// Stores what was found if it is still wanted, and then tells all who wait.
    pub(super) fn land(mut self, found: Result<Found<V>, FillError<E>>) {
        self.end(found);
    }

    fn end(&mut self, found: Result<Found<V>, FillError<E>>) {
        let Some((key, flight)) = self.flight.take() else { return };
        let outcome = match self.cache.upgrade() {
            Some(cache) => cache.land(self.hash, key, &flight, found),
            None => Outcome { result: Err(FillError::Closed), stale: false },
        };
        flight.0.send_replace(Some(outcome));
    }
}

impl<K: Hash + Eq, V, E> Drop for Pilot<K, V, E> {
    fn drop(&mut self) {
        self.end(Err(if thread::panicking() { FillError::Panicked } else { FillError::Closed }));
    }
}
