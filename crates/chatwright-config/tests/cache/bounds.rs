//! How much is kept, and what goes first.

use std::hash::{Hash, Hasher};

use chatwright_config::{Cache, Policy};
use tokio::time::advance;

use crate::common::*;

/// A cache whose source gives the key itself.
fn echo(policy: Policy) -> Config {
    Cache::new(policy, |key| async move { Ok(Some(key)) }).expect("a valid policy")
}

fn at_most(entries_max: usize) -> Policy {
    let mut policy = exact();
    policy.entries_max = entries_max;
    policy
}

async fn read(cache: &Config, keys: impl IntoIterator<Item = u32>) {
    for key in keys {
        assert_eq!(found(cache.get(&key).await), Some(key));
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_never_exceeds_the_bound() {
    let cache = echo(at_most(1_001));
    for key in 0..250_000 {
        cache.get(&key).await.expect("the source never fails");
        assert!(key % 16 > 0 || cache.len() <= 1_001);
    }
    let (len, stats) = (cache.len(), cache.stats());
    assert!((1_000..=1_001).contains(&len), "{len}");
    assert_eq!((stats.fills, stats.evicted), (250_000, 250_000 - len as u64));
}

#[tokio::test(start_paused = true)]
async fn every_bound_holds_to_the_entry() {
    for entries_max in [0, 1, 2, 255, 256, 511, 512, 513, 4_095, 4_096, 5_000] {
        let cache = echo(at_most(entries_max));
        let mut most = 0;
        for key in 0..4 * entries_max as u32 + 4 {
            cache.get(&key).await.expect("the source never fails");
            most = most.max(cache.len());
        }
        assert_eq!(most, entries_max);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_in_use_survive_a_scan() {
    for entries_max in [100, 4_096] {
        let cache = echo(at_most(entries_max));
        let hot = 0..20;
        read(&cache, hot.clone()).await;
        for batch in 1..200 {
            read(&cache, hot.clone()).await;
            read(&cache, (0..20).map(|n| batch * 1_000 + n)).await;
        }
        read(&cache, hot).await;
        assert_eq!(cache.stats().fills, 20 + 199 * 20, "no hot key was filled twice");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_was_not_used_again_goes_first_and_the_oldest_of_them() {
    let cache = echo(at_most(4));
    read(&cache, [1, 2, 3, 4, 1, 3]).await;
    read(&cache, [5]).await;
    assert_eq!([1, 2, 3, 4, 5].map(|key| cache.peek(&key).is_some()), [true, false, true, true, true]);
    read(&cache, [6]).await;
    assert_eq!([1, 3, 4, 5, 6].map(|key| cache.peek(&key).is_some()), [true, true, false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_not_used_any_more_goes_in_the_end() {
    let cache = echo(at_most(4));
    read(&cache, [1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8]).await;
    assert_eq!([1, 2, 3, 4].map(|key| cache.peek(&key).is_some()), [false; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_peek_does_not_save_an_entry() {
    let cache = echo(at_most(2));
    read(&cache, [1, 2]).await;
    assert_eq!(cache.peek(&1).as_deref(), Some(&1));
    read(&cache, [3]).await;
    assert_eq!(cache.peek(&1), None);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_can_no_longer_be_served_goes_although_it_was_used() {
    let cache = echo(at_most(2));
    read(&cache, [1, 1]).await;
    advance(TTL).await;
    read(&cache, [2, 3]).await;
    assert_eq!([1, 2, 3].map(|key| cache.peek(&key).is_some()), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_used_entry_that_may_still_be_needed_gets_its_second_chance() {
    let mut policy = at_most(2);
    policy.stale_if_error = Some(TTL);
    let (cache, mut calls) = cache(policy);
    let mut readers = Readers::default();
    for key in [1, 2] {
        readers.read(&cache, key);
        calls.next().await.found(key);
        assert_eq!(found(readers.next().await), Some(key));
    }
    assert_eq!(hit(&cache, 1).await, Some(1));
    advance(TTL).await;
    readers.read(&cache, 3);
    calls.next().await.found(3);
    assert_eq!(found(readers.next().await), Some(3));
    readers.read(&cache, 1);
    calls.next().await.answer(Err(Broken("down")));
    assert_eq!(found(readers.next().await), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_filled_anew_keeps_its_mark_of_use() {
    let cache = echo(at_most(3));
    read(&cache, [1, 1]).await;
    advance(TTL / 2).await;
    read(&cache, [2, 2]).await;
    advance(TTL / 2).await;
    read(&cache, [1, 3, 4]).await;
    assert_eq!([1, 2, 3, 4].map(|key| cache.peek(&key).is_some()), [true, true, false, true]);
    assert_eq!((cache.len(), cache.stats().evicted), (3, 1));
}

/// A key whose hash is that of every other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Alike(u32);

impl Hash for Alike {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[tokio::test(start_paused = true)]
async fn keys_with_the_same_hash_are_told_apart() {
    let source = |key: Alike| async move { Ok::<_, Broken>(Some(key.0)) };
    let cache = Cache::new(at_most(10), source).expect("a valid policy");
    for key in 0..30 {
        let (this, next) = (Alike(key), Alike(key + 1));
        let (this, next) = tokio::join!(cache.get(&this), cache.get(&next));
        assert_eq!((found(this), found(next)), (Some(key), Some(key + 1)));
    }
    cache.invalidate(&Alike(30));
    assert_eq!(
        [28, 29, 30].map(|key| cache.peek(&Alike(key)).as_deref().copied()),
        [Some(28), Some(29), None]
    );
}

#[tokio::test(start_paused = true)]
async fn invalidations_make_room() {
    let cache = echo(at_most(600));
    for round in 0..20 {
        read(&cache, (0..500).map(|n| round * 7 + n)).await;
        for n in (0..600).step_by(3) {
            cache.invalidate(&(round * 7 + n));
        }
        for key in 0..1_000 {
            let value = cache.peek(&key);
            assert!(value.is_none_or(|value| *value == key));
        }
        assert!(cache.len() <= 600);
    }
    cache.invalidate_all();
    read(&cache, 0..100).await;
    assert_eq!(cache.len(), 100);
}

fn heavy(entries_max: usize, weight_max: u64) -> Config {
    let mut policy = at_most(entries_max);
    policy.weight_max = Some(weight_max);
    let weigher = |_: &u32, value: &u32| u64::from(*value);
    Cache::weighed(policy, weigher, |key| async move { Ok(Some(key)) }).expect("a valid policy")
}

#[tokio::test(start_paused = true)]
async fn the_weights_of_all_entries_stay_within_their_bound() {
    let cache = heavy(100, 1_000);
    let mut most = 0;
    for n in 0..5_000_u32 {
        let key = n.wrapping_mul(2_654_435_761) % 400;
        read(&cache, [key]).await;
        if n % 7 == 0 {
            cache.invalidate(&(key / 2));
        }
        let weight: u32 = (0..400).filter_map(|key| cache.peek(&key).as_deref().copied()).sum();
        assert!(weight <= 1_000, "{weight}");
        most = most.max(weight);
    }
    assert!(most > 900, "the bound is made use of: {most}");
}

#[tokio::test(start_paused = true)]
async fn an_entry_as_heavy_as_the_bound_is_kept_and_a_heavier_one_is_not_and_replaces_none() {
    let cache = heavy(100, 1_000);
    read(&cache, [1_000]).await;
    assert_eq!((cache.peek(&1_000).as_deref(), cache.len()), (Some(&1_000), 1));
    read(&cache, [1_001]).await;
    assert_eq!((cache.peek(&1_001), cache.len(), cache.stats().too_heavy), (None, 1, 1));
    read(&cache, [1]).await;
    assert_eq!((cache.peek(&1).as_deref(), cache.len()), (Some(&1), 1));
}

#[tokio::test(start_paused = true)]
async fn a_weigher_that_panics_is_contained() {
    let weigher = |key: &u32, _: &u32| {
        assert_ne!(*key, 1, "as the test wants");
        1
    };
    let cache = Cache::weighed(exact(), weigher, |key| async move { Ok::<_, Broken>(Some(key)) });
    let cache = cache.expect("a valid policy");
    failed(cache.get(&1).await);
    assert_eq!(found(cache.get(&2).await), Some(2));
}

/// Looks into its cache when it is dropped.
struct Nosy(std::sync::OnceLock<Cache<u32, Nosy, Broken>>);

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(cache) = self.0.get() {
            assert!(cache.len() <= 1);
            cache.invalidate(&99);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn values_are_dropped_while_no_lock_is_held() {
    let cache = Cache::new(at_most(1), |_| async { Ok(Some(Nosy(std::sync::OnceLock::new()))) });
    let cache: Cache<u32, Nosy, Broken> = cache.expect("a valid policy");
    let put = async |key| {
        let value = cache.get(&key).await.expect("no failure").expect("a value");
        assert!(value.0.set(cache.clone()).is_ok());
    };
    put(1).await;
    put(2).await; // Evicts 1.
    advance(TTL).await;
    put(2).await; // Replaces 2.
    cache.invalidate(&2);
    put(3).await;
    cache.invalidate_all();
    assert!(cache.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_counters_count_what_happened() {
    let mut policy = at_most(2);
    policy.negative = Some(TTL);
    let (cache, mut calls) = cache(policy);
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    readers.read(&cache, 1);
    let call = calls.next().await;
    settle().await;
    call.found(1);
    for (key, answer) in [(2, Ok(None)), (3, Ok(Some(3))), (4, Err(Broken("down")))] {
        readers.read(&cache, key);
        calls.next().await.answer(answer);
    }
    settle().await;
    assert_eq!(hit(&cache, 3).await, Some(3));
    cache.invalidate(&3);
    cache.invalidate_all();
    assert_eq!(readers.all().await.len(), 5);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.joined, stats.stale), (1, 5, 1, 0));
    assert_eq!((stats.fills, stats.refreshes, stats.failures, stats.evicted), (4, 0, 1, 1));
    assert_eq!((stats.timeouts, stats.panics, stats.outdated, stats.too_heavy), (0, 0, 0, 0));
    assert_eq!(stats.invalidations, 2);
}
