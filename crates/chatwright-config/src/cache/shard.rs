use std::borrow::Borrow;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hashbrown::HashTable;
use parking_lot::RwLock;
use tokio::time::Instant;

use super::flight::Flight;
use super::stats::Counter;

/// A part of the cache: its lock, alone on its cache lines.
#[repr(align(128))]
pub(super) struct Shard<K, V, E> {
    pub(super) hits: Counter,
    pub(super) state: RwLock<State<K, V, E>>,
}

/// Entries and flights under one lock: whether a fill is still wanted and its entry change together.
///
/// Nothing here drops a value or calls anything of the user's but `Eq`: what is taken out is handed back, and is dropped when
/// the lock is free.
pub(super) struct State<K, V, E> {
    /// The places in `slots`, by their keys.
    index: HashTable<usize>,
    slots: Vec<Slot<K, V>>,
    /// Where eviction looks next.
    hand: usize,
    weight: u64,
    flights: HashTable<Boarded<K, V, E>>,
    bounds: Bounds,
}

/// A flight with its key and its hash.
type Boarded<K, V, E> = (u64, K, Arc<Flight<V, E>>);

/// What an entry replaced, and what had to go for it.
type Put<K, V> = (Option<Slot<K, V>>, Vec<Slot<K, V>>);

type Invalidated<K, V, E> = (Option<Slot<K, V>>, Option<Boarded<K, V, E>>);

#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) entries_max: usize,
    pub(super) weight_max: u64,
    /// How long a value may be served after its time.
    pub(super) stale: Duration,
}

pub(super) struct Slot<K, V> {
    pub(super) hash: u64,
    pub(super) key: K,
    pub(super) value: Option<Arc<V>>,
    pub(super) expires_at: Instant,
    /// While the entry is live: when a refresh is due. Afterwards: until when it is served stale, as a fill has failed.
    pub(super) try_at: Instant,
    /// The source has said that the value is wrong: it has its time, and no more.
    pub(super) refused: bool,
    pub(super) weight: u64,
    pub(super) used: AtomicBool,
}

impl<K, V> Slot<K, V> {
    fn is_live(&self, now: Instant) -> bool {
        now < self.expires_at
    }

    /// Not live, but still good enough in need.
    fn is_stale(&self, now: Instant, stale: Duration) -> bool {
        !self.is_live(now) && !self.refused && self.value.is_some() && now - self.expires_at < stale
    }
}

/// What there is for a key.
pub(super) enum Look<V, E> {
    Live { value: Option<Arc<V>>, due: bool },
    Stale(Arc<V>),
    Flight(Arc<Flight<V, E>>),
    Nothing,
}

impl<K: Eq, V, E> State<K, V, E> {
    pub(super) fn new(bounds: Bounds) -> Self {
        let (index, slots, flights) = (HashTable::new(), Vec::new(), HashTable::new());
        Self { index, slots, hand: 0, weight: 0, flights, bounds }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(super) fn look<Q>(&self, hash: u64, key: &Q, now: Instant) -> Look<V, E>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let slot = self.place(hash, key).map(|place| &self.slots[place]);
        if let Some(slot) = slot.filter(|slot| slot.is_live(now)) {
            // A hit mostly finds the mark set, and then writes nothing.
            if !slot.used.load(Ordering::Relaxed) {
                slot.used.store(true, Ordering::Relaxed);
            }
            let due = now >= slot.try_at && self.flight(hash, key).is_none();
            return Look::Live { value: slot.value.clone(), due };
        }
        let stale = slot.filter(|slot| now < slot.try_at && slot.is_stale(now, self.bounds.stale));
        if let Some(value) = stale.and_then(|slot| slot.value.clone()) {
            return Look::Stale(value);
        }
        self.flight(hash, key).map_or(Look::Nothing, |flight| Look::Flight(Arc::clone(flight)))
    }

    /// The live value, without a mark that it was used.
    pub(super) fn peek<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let slot = &self.slots[self.place(hash, key)?];
        slot.value.clone().filter(|_| slot.is_live(now))
    }

    /// Makes this the flight of the key, which has none.
    pub(super) fn board(&mut self, hash: u64, key: K, flight: Arc<Flight<V, E>>) {
        self.flights.insert_unique(hash, (hash, key, flight), |(hash, ..)| *hash);
    }

    /// Takes the flight away from its key. Nothing if it is no longer the key's: an invalidation was faster.
    pub(super) fn land(
        &mut self,
        hash: u64,
        key: &K,
        flight: &Arc<Flight<V, E>>,
    ) -> Option<Boarded<K, V, E>> {
        let is_it = |(_, k, f): &Boarded<K, V, E>| Arc::ptr_eq(f, flight) && k == key;
        Some(self.flights.find_entry(hash, is_it).ok()?.remove().0)
    }

    /// Stores an entry. Gives what it replaces, and what had to go for it.
    pub(super) fn put(&mut self, mut slot: Slot<K, V>, now: Instant) -> Put<K, V> {
        let Bounds { entries_max, weight_max, .. } = self.bounds;
        let old = self.remove(slot.hash, &slot.key);
        if let Some(old) = &old {
            *slot.used.get_mut() = old.used.load(Ordering::Relaxed);
        }
        let mut evicted = Vec::new();
        while self.slots.len() >= entries_max || self.weight > weight_max - slot.weight {
            let place = self.victim(now);
            let weight = self.weight - self.slots[place].weight;
            if weight <= weight_max - slot.weight {
                // In the place of the victim, just behind the hand, the newest comes last.
                self.hand = place + 1;
                evicted.push(self.replace_at(place, slot));
                return (old, evicted);
            }
            evicted.push(self.remove_at(place));
        }
        self.weight += slot.weight;
        self.list(slot.hash, self.slots.len());
        self.slots.push(slot);
        (old, evicted)
    }

    /// Whether an entry of this weight has a place at all.
    pub(super) fn admits(&self, weight: u64) -> bool {
        self.bounds.entries_max > 0 && weight <= self.bounds.weight_max
    }

    pub(super) fn remove(&mut self, hash: u64, key: &K) -> Option<Slot<K, V>> {
        self.place(hash, key).map(|place| self.remove_at(place))
    }

    /// Removes the entry of a key and takes its flight away from it.
    pub(super) fn invalidate<Q>(&mut self, hash: u64, key: &Q) -> Invalidated<K, V, E>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let flight =
            self.flights.find_entry(hash, |(_, k, _)| k.borrow() == key).ok().map(|entry| entry.remove().0);
        (self.place(hash, key).map(|place| self.remove_at(place)), flight)
    }

    /// The same for all keys.
    pub(super) fn invalidate_all(&mut self) -> Self {
        let bounds = self.bounds;
        mem::replace(self, Self::new(bounds))
    }

    /// A fill has failed: the entry, if it may still be served, is left alone until `retry_at`. Gives its value if it is past
    /// its time.
    pub(super) fn fail(&mut self, hash: u64, key: &K, now: Instant, retry_at: Instant) -> Option<Arc<V>> {
        let place = self.place(hash, key)?;
        let slot = &mut self.slots[place];
        slot.try_at = retry_at;
        slot.value.clone().filter(|_| slot.is_stale(now, self.bounds.stale))
    }

    /// The source says that there is an error. A live entry has its time and no more, and is left alone until `retry_at`; one
    /// that is past it goes.
    pub(super) fn refuse(
        &mut self,
        hash: u64,
        key: &K,
        now: Instant,
        retry_at: Instant,
    ) -> Option<Slot<K, V>> {
        let place = self.place(hash, key)?;
        let slot = &mut self.slots[place];
        if slot.is_live(now) {
            (slot.try_at, slot.refused) = (retry_at, true);
            return None;
        }
        Some(self.remove_at(place))
    }

    fn place<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let is_it = |&place: &usize| self.slots[place].hash == hash && self.slots[place].key.borrow() == key;
        self.index.find(hash, is_it).copied()
    }

    fn flight<Q>(&self, hash: u64, key: &Q) -> Option<&Arc<Flight<V, E>>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.flights.find(hash, |(_, k, _)| k.borrow() == key).map(|(_, _, flight)| flight)
    }

    /// The next entry that was not used since the hand came by last, or that cannot be served any more.
    fn victim(&mut self, now: Instant) -> usize {
        loop {
            self.hand %= self.slots.len();
            let slot = &mut self.slots[self.hand];
            let alive = slot.is_live(now) || slot.is_stale(now, self.bounds.stale);
            if !(alive && mem::take(slot.used.get_mut())) {
                return self.hand;
            }
            self.hand += 1;
        }
    }

    fn replace_at(&mut self, place: usize, slot: Slot<K, V>) -> Slot<K, V> {
        self.unlist(self.slots[place].hash, place);
        self.weight -= self.slots[place].weight;
        self.list(slot.hash, place);
        self.weight += slot.weight;
        mem::replace(&mut self.slots[place], slot)
    }

    fn remove_at(&mut self, place: usize) -> Slot<K, V> {
        let slot = self.slots.swap_remove(place);
        self.weight -= slot.weight;
        self.unlist(slot.hash, place);
        // What was last is where the other one was.
        if let Some(moved) = self.slots.get(place).map(|slot| slot.hash) {
            self.unlist(moved, self.slots.len());
            self.list(moved, place);
        }
        slot
    }

    fn list(&mut self, hash: u64, place: usize) {
        let Self { index, slots, .. } = self;
        index.insert_unique(hash, place, |&place| slots[place].hash);
    }

    fn unlist(&mut self, hash: u64, place: usize) {
        let listed = self.index.find_entry(hash, |&p| p == place);
        listed.expect("every slot is in the index").remove();
    }
}
