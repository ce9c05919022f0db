use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

mod fill;
mod flight;
mod policy;
mod shard;
mod stats;

pub use flight::FillError;
pub use policy::{InvalidPolicy, Policy};
pub use stats::Stats;

use shard::{Bounds, Look, Shard, State};
use stats::{Counter, Counters};

/// A bounded read-through cache in front of a source. A clone is the same cache.
///
/// An entry is served for [`Policy::ttl`] from when it was stored, measured by tokio's clock; reading it does not make
/// it last longer. A failure of the source is never kept. Nothing is copied: readers share the value.
///
/// # Single flight
/// At any time at most one fill of a key is wanted, and all callers who miss wait for that one. A fill belongs to the
/// cache, not to the caller who began it: a caller that is dropped is gone at once, the fill goes on and is stored.
/// Dropping the last clone of the cache ends the fills; [`close`](Self::close) does so earlier.
///
/// # Invalidation
/// A read that begins after [`invalidate`](Self::invalidate) or [`invalidate_all`](Self::invalidate_all) has returned
/// never gets a value whose fill began before. A fill in flight is not stored then, not even if it ends much later;
/// whoever waited for it gets its value, and later readers start a fill of their own.
///
/// # Eviction
/// A full cache evicts what was not used since its last round (second chance), or can no longer be served. A scan over many
/// keys thus does not drive out those in use.
pub struct Cache<K, V, E>(Arc<Inner<K, V, E>>);

struct Inner<K, V, E> {
    /// As many as a power of two.
    shards: Box<[Shard<K, V, E>]>,
    /// Has taken in the seed: who does not know it cannot make keys collide.
    hasher: DefaultHasher,
    seed: u64,
    draws: AtomicU64,
    policy: Policy,
    source: Arc<Source<K, V, E>>,
    weigher: Option<Arc<Weigher<K, V>>>,
    is_outage: Option<Box<IsOutage<E>>>,
    permits: Arc<Semaphore>,
    /// The fills; nothing once the cache is closed.
    tasks: Mutex<Option<JoinSet<()>>>,
    counters: Counters,
}

type Source<K, V, E> = dyn Fn(K) -> Pin<Box<dyn Future<Output = Result<Option<V>, E>> + Send>> + Send + Sync;
type IsOutage<E> = dyn Fn(&E) -> bool + Send + Sync;
type Weigher<K, V> = dyn Fn(&K, &V) -> u64 + Send + Sync;

const SHARDS_MAX: usize = 16;
const SHARD_ENTRIES_MIN: usize = 256;

impl<K, V, E> Cache<K, V, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// A cache of what `source` gives: a value, `None` if there is nothing for the key, or an error.
    ///
    /// The source is called in a task of the runtime on which the missing caller runs. It must not block the thread.
    ///
    /// # Errors
    /// [`InvalidPolicy`] if a setting is out of its bounds, or bounds a weight without a weigher.
    pub fn new<F>(
        policy: Policy,
        source: impl Fn(K) -> F + Send + Sync + 'static,
    ) -> Result<Self, InvalidPolicy>
    where
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        if policy.weight_max.is_some() {
            return Err(InvalidPolicy { field: "weight_max", why: "there is no weigher" });
        }
        Self::build(policy, None, source)
    }

    /// The same, with entries that have a weight, for example their size in bytes ([`Policy::weight_max`]). That there is nothing for a
    /// key weighs nothing. A weigher that panics counts as a source that does.
    ///
    /// # Errors
    /// [`InvalidPolicy`] if a setting is out of its bounds.
    pub fn weighed<F>(
        policy: Policy,
        weigher: impl Fn(&K, &V) -> u64 + Send + Sync + 'static,
        source: impl Fn(K) -> F + Send + Sync + 'static,
    ) -> Result<Self, InvalidPolicy>
    where
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        Self::build(policy, Some(Arc::new(weigher)), source)
    }

    /// Serves a value past its time ([`Policy::stale_if_error`]) only in place of errors that are outages. Another error says
    /// something about the key: it reaches the caller, and the value past its time is forgotten; one that is live has its time and
    /// no more. Time-outs and panics are outages.
    ///
    /// # Panics
    /// If the cache was cloned before.
    #[must_use]
    pub fn stale_only_for(mut self, is_outage: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        let inner = Arc::get_mut(&mut self.0).expect("the cache is set up before it is cloned");
        inner.is_outage = Some(Box::new(is_outage));
        self
    }

    fn build<F>(
        policy: Policy,
        weigher: Option<Arc<Weigher<K, V>>>,
        source: impl Fn(K) -> F + Send + Sync + 'static,
    ) -> Result<Self, InvalidPolicy>
    where
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        policy.check()?;
        let seed = policy.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        let parts = (policy.entries_max / SHARD_ENTRIES_MIN).clamp(1, SHARDS_MAX);
        let parts = 1 << parts.ilog2();
        let shard = |n| {
            let bounds = Bounds {
                // They add up to the whole.
                entries_max: (policy.entries_max + n) / parts,
                weight_max: policy.weight_max.unwrap_or(u64::MAX) / parts as u64,
                stale: policy.stale_if_error.unwrap_or_default(),
            };
            Shard { hits: Counter::default(), state: RwLock::new(State::new(bounds)) }
        };
        Ok(Self(Arc::new(Inner {
            shards: (0..parts).map(shard).collect(),
            hasher,
            seed,
            draws: AtomicU64::new(0),
            permits: Arc::new(Semaphore::new(policy.fills_max)),
            policy,
            source: Arc::new(move |key| Box::pin(source(key))),
            weigher,
            is_outage: None,
            tasks: Mutex::new(Some(JoinSet::new())),
            counters: Counters::default(),
        })))
    }

    /// The value of a key, or `None` if there is nothing for it: a live entry, or else what a fill gives. A hit takes no
    /// memory and does not wait. As with a map, the key may be borrowed: `&str` for `String`.
    ///
    /// # Errors
    /// [`FillError`] if the fill failed and there is no value for that case ([`Policy::stale_if_error`]), or the cache is closed.
    ///
    /// # Cancel safety
    /// Dropping the future stops waiting. A fill that was begun goes on and is stored; one that was not, because
    /// [`Policy::fills_max`] others run, is not begun.
    ///
    /// # Panics
    /// On a miss outside a tokio runtime with time.
    pub async fn get<Q>(&self, key: &Q) -> Result<Option<Arc<V>>, FillError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.0.hash(key);
        let shard = self.0.shard(hash);
        let look = shard.state.read().look(hash, key, Instant::now());
        if let Look::Live { value, due } = look {
            shard.hits.add(1);
            if due {
                self.refresh(hash, key);
            }
            return Ok(value);
        }
        self.miss(look, hash, key).await
    }

    /// The live value of a key, if there is one. Starts no fill, counts as no read and does not save the entry from eviction.
    pub fn peek<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.0.hash(key);
        self.0.shard(hash).state.read().peek(hash, key, Instant::now())
    }

    /// Forgets a key: see [above](Self#invalidation).
    pub fn invalidate<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.counters.invalidations.add(1);
        let hash = self.0.hash(key);
        let removed = self.0.shard(hash).state.write().invalidate(hash, key);
        drop(removed);
    }

    /// Forgets all keys: see [above](Self#invalidation). Keys that are read meanwhile may be filled and kept.
    pub fn invalidate_all(&self) {
        self.0.counters.invalidations.add(1);
        for shard in &self.0.shards {
            let removed = shard.state.write().invalidate_all();
            drop(removed);
        }
    }

    /// Ends all fills, for good. Who waits for one gets [`FillError::Closed`], and so does every later miss. Live entries are served on.
    pub fn close(&self) {
        self.0.permits.close();
        let tasks = self.0.tasks.lock().take();
        // Aborts them.
        drop(tasks);
    }
}

impl<K: Hash + Eq, V, E> Cache<K, V, E> {
    /// What happened since the cache was made.
    pub fn stats(&self) -> Stats {
        self.0.counters.stats(self.0.shards.iter().map(|shard| shard.hits.value()).sum())
    }

    /// How many entries there are, those that are no longer live included: at most [`Policy::entries_max`].
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.state.read().len()).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Hash + Eq, V, E> Inner<K, V, E> {
    fn hash(&self, key: &(impl Hash + ?Sized)) -> u64 {
        let mut hasher = self.hasher.clone();
        key.hash(&mut hasher);
        hasher.finish()
    }

    fn shard(&self, hash: u64) -> &Shard<K, V, E> {
        // The tables within use the lowest and the highest bits.
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }
}

impl<K, V, E> Clone for Cache<K, V, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Hash + Eq, V, E> fmt::Debug for Cache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("policy", &self.0.policy)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
