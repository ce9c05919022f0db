use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::flight::{Flight, Found, Outcome, Pilot};
use super::policy::{FAR, splitmix64};
use super::shard::{Look, Slot};
use super::{Cache, FillError, Inner};

impl<K, V, E> Cache<K, V, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// The rest of a read whose look found nothing live.
    pub(super) async fn miss<Q>(
        &self,
        look: Look<V, E>,
        hash: u64,
        key: &Q,
    ) -> Result<Option<Arc<V>>, FillError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let counters = &self.0.counters;
        counters.misses.add(1);
        let look = match look {
            Look::Nothing => {
                let permit = Arc::clone(&self.0.permits).acquire_owned().await;
                match self.begin(hash, key, permit.map_err(|_| FillError::Closed)?, false) {
                    Ok(flight) => return self.landed(&flight).await,
                    Err(look) => look,
                }
            }
            look => look,
        };
        match look {
            Look::Live { value, .. } => Ok(value),
            Look::Stale(value) => {
                counters.stale.add(1);
                Ok(Some(value))
            }
            Look::Flight(flight) => {
                counters.joined.add(1);
                self.landed(&flight).await
            }
            Look::Nothing => unreachable!("a flight would have begun"),
        }
    }

    async fn landed(&self, flight: &Flight<V, E>) -> Result<Option<Arc<V>>, FillError<E>> {
        let outcome = flight.outcome().await;
        self.0.counters.stale.add(outcome.stale.into());
        outcome.result
    }

    /// Begins a fill in the background, if there is a permit for it.
    pub(super) fn refresh<Q>(&self, hash: u64, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        // A hit may be had without a runtime.
        if Handle::try_current().is_ok()
            && let Ok(permit) = Arc::clone(&self.0.permits).try_acquire_owned()
            && self.begin(hash, key, permit, true).is_ok()
        {
            self.0.counters.refreshes.add(1);
        }
    }

    /// Begins a fill, unless a look under the lock says that none is needed.
    fn begin<Q>(
        &self,
        hash: u64,
        key: &Q,
        permit: OwnedSemaphorePermit,
        refresh: bool,
    ) -> Result<Arc<Flight<V, E>>, Look<V, E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let flight = Arc::new(Flight::new());
        let (boarded, piloted) = (key.to_owned(), key.to_owned());
        let mut state = self.0.shard(hash).state.write();
        match state.look(hash, key, Instant::now()) {
            Look::Nothing => {}
            Look::Live { due: true, .. } if refresh => {}
            look => return Err(look),
        }
        state.board(hash, boarded, Arc::clone(&flight));
        drop(state);
        self.0.counters.fills.add(1);
        let cache = Arc::downgrade(&self.0);
        let pilot = Pilot { cache, hash, flight: Some((piloted, Arc::clone(&flight))) };
        self.spawn(self.fill(key.to_owned(), pilot, permit));
        Ok(flight)
    }

    /// The task of a fill. It holds no clone of the cache: that would keep it alive.
    fn fill(
        &self,
        key: K,
        pilot: Pilot<K, V, E>,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<K, V, E> {
        let source = Arc::clone(&self.0.source);
        let weigher = self.0.weigher.clone();
        let fill_max = self.0.policy.fill_max;
        let found = async move {
            let found = match &weigher {
                None => source(key).await?.map(|value| (value, 0)),
                Some(weigh) => source(key.clone()).await?.map(|value| {
                    let weight = weigh(&key, &value);
                    (value, weight)
                }),
            };
            Ok(found.map(|(value, weight)| (Arc::new(value), weight)))
        };
        async move {
            pilot.land(match timeout(fill_max, found).await {
                Ok(found) => found.map_err(|error| FillError::Source(Arc::new(error))),
                Err(_) => Err(FillError::TimedOut),
            });
            drop(permit);
        }
    }

    /// Spawns the task, or drops it if the cache is closed.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.tasks.lock();
        if let Some(tasks) = &mut *tasks {
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }
}

impl<K: Hash + Eq, V, E> Inner<K, V, E> {
    /// Ends a flight: stores what it found if that is still wanted. Gives what all who wait get.
    pub(super) fn land(
        &self,
        hash: u64,
        key: K,
        flight: &Arc<Flight<V, E>>,
        found: Result<Found<V>, FillError<E>>,
    ) -> Outcome<V, E> {
        match found {
            Ok(found) => {
                let value = found.as_ref().map(|(value, _)| Arc::clone(value));
                self.store(hash, key, flight, found);
                Outcome { result: Ok(value), stale: false }
            }
            Err(error) => {
                let value = self.fail(hash, &key, flight, &error);
                let stale = value.is_some();
                Outcome { result: value.map_or(Err(error), |value| Ok(Some(value))), stale }
            }
        }
    }

    fn store(&self, hash: u64, key: K, flight: &Arc<Flight<V, E>>, found: Found<V>) {
        let now = Instant::now();
        let draw = splitmix64(self.seed, self.draws.fetch_add(1, Ordering::Relaxed));
        let life = self.policy.life(found.is_some(), draw);
        let (value, weight) = found.map_or((None, 0), |(value, weight)| (Some(value), weight));
        let mut state = self.shard(hash).state.write();
        let Some(landed) = state.land(hash, &key, flight) else {
            drop(state);
            return self.counters.outdated.add(1);
        };
        let admitted = state.admits(weight);
        match life {
            Some((life, due)) if admitted => {
                let (expires_at, try_at) = (now + life, now + due);
                let (used, refused) = (false.into(), false);
                let slot = Slot { hash, key, value, expires_at, try_at, refused, weight, used };
                let (old, evicted) = state.put(slot, now);
                drop(state);
                self.counters.evicted.add(evicted.len() as u64);
                drop((old, evicted));
            }
            _ => {
                let old = state.remove(hash, &key);
                drop(state);
                drop(old);
                self.counters.too_heavy.add((!admitted).into());
            }
        }
        drop(landed);
    }

    /// Counts the failure. Gives a value past its time that may be served in its place.
    fn fail(&self, hash: u64, key: &K, flight: &Arc<Flight<V, E>>, error: &FillError<E>) -> Option<Arc<V>> {
        match error {
            FillError::Source(_) => self.counters.failures.add(1),
            FillError::TimedOut => self.counters.timeouts.add(1),
            FillError::Panicked => self.counters.panics.add(1),
            FillError::Closed => {}
        }
        let is_answer = match (error, &self.is_outage) {
            (FillError::Source(error), Some(is_outage)) => !is_outage(error),
            _ => false,
        };
        let now = Instant::now();
        let mut state = self.shard(hash).state.write();
        let landed = state.land(hash, key, flight)?;
        let retry_at = now + self.policy.retry_after.min(FAR);
        let (old, value) = match error {
            FillError::Closed => (None, None),
            _ if is_answer => (state.refuse(hash, key, now, retry_at), None),
            _ => (None, state.fail(hash, key, now, retry_at)),
        };
        drop(state);
        drop((landed, old));
        value
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::task::JoinSet;

    use super::*;
    use crate::Policy;

    #[tokio::test]
    async fn the_tasks_of_fills_that_ended_are_not_kept() {
        let source = |key: u32| async move { Ok::<_, Infallible>(Some(key)) };
        let cache = Cache::new(Policy::default(), source).expect("a valid policy");
        for key in 0..1_000 {
            cache.get(&key).await.expect("the source never fails");
            let tasks = cache.0.tasks.lock().as_ref().map(JoinSet::len);
            assert!(tasks.is_some_and(|tasks| tasks <= 2), "{tasks:?}");
        }
    }
}
