//! Fills ahead of an expiry.

use chatwright_config::{Cache, Policy};
use futures::{FutureExt, poll};
use tokio::time::{Instant, advance};

use crate::common::*;

fn ahead() -> Policy {
    let mut policy = exact();
    policy.refresh_ahead = Some(80);
    policy
}

const DUE: u64 = 48;

#[tokio::test(start_paused = true)]
async fn a_hit_past_its_part_of_the_life_gives_the_value_and_begins_one_fill() {
    let (cache, mut calls) = filled(ahead(), 1).await;
    advance(secs(DUE) - MILLI).await;
    assert_eq!(hit(&cache, 1).await, Some(1));
    calls.none().await;
    advance(MILLI).await;
    for _ in 0..3 {
        assert_eq!(found(cache.get(&1).await), Some(1));
    }
    let call = calls.next().await;
    assert_eq!(hit(&cache, 1).await, Some(1));
    calls.none().await;
    call.found(2);
    settle().await;
    assert_eq!(hit(&cache, 1).await, Some(2));
    advance(secs(DUE) - MILLI).await;
    assert_eq!(hit(&cache, 1).await, Some(2), "its life begins anew");
    let stats = cache.stats();
    assert_eq!((stats.refreshes, stats.fills, stats.misses), (1, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn without_reads_there_is_no_refresh() {
    let (cache, mut calls) = filled(ahead(), 1).await;
    advance(TTL - MILLI).await;
    assert_eq!(cache.peek(&1).as_deref(), Some(&1));
    calls.none().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_leaves_the_value_until_its_time_and_is_tried_again_a_second_later() {
    let (cache, mut calls) = filled(ahead(), 1).await;
    advance(secs(DUE)).await;
    assert_eq!(found(cache.get(&1).await), Some(1));
    calls.next().await.answer(Err(Broken("down")));
    settle().await;
    advance(secs(1) - MILLI).await;
    assert_eq!(hit(&cache, 1).await, Some(1));
    calls.none().await;
    advance(MILLI).await;
    assert_eq!(found(cache.get(&1).await), Some(1));
    calls.next().await.panic();
    settle().await;
    advance(TTL - secs(DUE + 1) - MILLI).await;
    assert_eq!(cache.peek(&1).as_deref(), Some(&1));
    advance(MILLI).await;
    assert_eq!(cache.peek(&1), None);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_finds_nothing_ends_the_value() {
    let (cache, mut calls) = filled(ahead(), 1).await;
    advance(secs(DUE)).await;
    assert_eq!(found(cache.get(&1).await), Some(1));
    calls.next().await.answer(Ok(None));
    settle().await;
    assert_eq!((cache.peek(&1), cache.len()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn who_misses_while_a_refresh_runs_joins_it() {
    let (cache, mut calls) = filled(ahead(), 1).await;
    advance(TTL - secs(1)).await;
    assert_eq!(found(cache.get(&1).await), Some(1));
    let call = calls.next().await;
    advance(secs(1)).await;
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.none().await;
    call.found(2);
    assert_eq!(found(readers.next().await), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_takes_no_permit_from_misses_and_is_begun_by_a_later_hit() {
    let mut policy = ahead();
    policy.fills_max = 1;
    let (cache, mut calls) = filled(policy, 1).await;
    advance(secs(DUE)).await;
    let mut readers = Readers::default();
    readers.read(&cache, 2);
    let call = calls.next().await;
    assert_eq!(hit(&cache, 1).await, Some(1));
    call.found(2);
    assert_eq!(found(readers.next().await), Some(2));
    calls.none().await;
    assert_eq!(found(cache.get(&1).await), Some(1));
    assert_eq!(calls.next().await.key, 1);
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_permit_takes_a_value_that_is_due_without_waiting_for_its_refresh() {
    let mut policy = ahead();
    policy.fills_max = 1;
    let (cache, mut calls) = cache(policy);
    let mut readers = Readers::default();
    readers.read(&cache, 9);
    let other = calls.next().await;
    let (mut first, mut second) = (Box::pin(cache.get(&1)), Box::pin(cache.get(&1)));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    other.found(9);
    assert_eq!(found(readers.next().await), Some(9));
    assert!(poll!(&mut first).is_pending());
    calls.next().await.found(1);
    assert_eq!(found(first.await), Some(1));
    advance(secs(DUE)).await;
    assert_eq!(found(second.await), Some(1));
    calls.none().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_cache_refreshes_nothing() {
    let (cache, mut calls) = filled(ahead(), 1).await;
    advance(secs(DUE)).await;
    cache.close();
    assert_eq!(hit(&cache, 1).await, Some(1));
    calls.none().await;
}

#[test]
fn a_hit_outside_a_runtime_gives_the_value_and_refreshes_nothing() {
    let mut policy = ahead();
    (policy.ttl, policy.refresh_ahead) = (secs(10), Some(1));
    let source = |key: u32| async move { Ok::<_, Broken>(Some(key)) };
    let cache = Cache::new(policy, source).expect("a valid policy");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(cache.get(&1)).expect("no failure");
    // Real time, as there is no other one here: until the refresh is due, which is long before the value's end.
    let stored = Instant::now();
    while stored.elapsed() <= secs(10) / 100 {
        assert_eq!(cache.get(&1).now_or_never().map(found), Some(Some(1)));
    }
    assert_eq!(cache.get(&1).now_or_never().map(found), Some(Some(1)));
    assert_eq!(cache.stats().refreshes, 0);
    runtime.block_on(cache.get(&1)).expect("no failure");
    assert_eq!(cache.stats().refreshes, 1);
}
