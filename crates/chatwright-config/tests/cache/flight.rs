//! Fills: one for all who wait, owned by the cache, bounded in time and number, and contained.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chatwright_config::{Cache, FillError};
use futures::{FutureExt, poll};
use tokio::time::advance;

use crate::common::*;

#[tokio::test(start_paused = true)]
async fn callers_who_miss_together_share_one_fill() {
    for count in [8, 1_000] {
        let (cache, mut calls) = cache(exact());
        let mut readers = Readers::default();
        for _ in 0..count {
            readers.read(&cache, 1);
        }
        let call = calls.next().await;
        settle().await;
        call.found(7);
        let got: Vec<_> = readers.all().await.into_iter().map(found).collect();
        assert_eq!(got, vec![Some(7); count]);
        calls.none().await;
        let stats = cache.stats();
        assert_eq!((stats.misses, stats.joined, stats.fills), (count as u64, count as u64 - 1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_dropped_is_gone_at_once_and_its_fill_is_stored() {
    let (cache, mut calls) = cache(exact());
    let read = cache.get(&1);
    let mut read = Box::pin(read);
    assert!(poll!(&mut read).is_pending());
    let call = calls.next().await;
    drop(read);
    assert!(!call.is_over());
    call.found(7);
    settle().await;
    assert_eq!(hit(&cache, 1).await, Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_dropped_takes_nobody_with_it() {
    let (cache, mut calls) = cache(exact());
    let mut first = Box::pin(cache.get(&1));
    assert!(poll!(&mut first).is_pending());
    let mut second = Box::pin(cache.get(&1));
    let mut third = Box::pin(cache.get(&1));
    assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
    let call = calls.next().await;
    drop((first, second));
    call.found(7);
    assert_eq!(found(third.await), Some(7));
    calls.none().await;
}

#[tokio::test(start_paused = true)]
async fn closing_ends_fills_and_later_misses_and_leaves_hits() {
    let (cache, mut calls) = filled(exact(), 7).await;
    let mut readers = Readers::default();
    readers.read(&cache, 2);
    readers.read(&cache, 2);
    let call = calls.next().await;
    settle().await;
    cache.close();
    for got in readers.all().await {
        assert!(matches!(failed(got), FillError::Closed));
    }
    assert!(call.is_over());
    assert_eq!(hit(&cache, 1).await, Some(7));
    for key in [2, 3] {
        assert!(matches!(failed(cache.get(&key).await), FillError::Closed));
    }
    cache.invalidate(&1);
    assert!(matches!(failed(cache.get(&1).await), FillError::Closed));
    cache.close();
    calls.none().await;
}

#[tokio::test(start_paused = true)]
async fn closing_sends_those_away_who_wait_for_a_permit() {
    let mut policy = exact();
    policy.fills_max = 1;
    let (cache, mut calls) = cache(policy);
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    let _call = calls.next().await;
    readers.read(&cache, 2);
    settle().await;
    cache.close();
    for got in readers.all().await {
        assert!(matches!(failed(got), FillError::Closed));
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_clone_ends_the_fills() {
    let (cache, mut calls) = cache(exact());
    let second = cache.clone();
    assert!(cache.get(&1).now_or_never().is_none());
    let call = calls.next().await;
    drop(cache);
    settle().await;
    assert!(!call.is_over());
    drop(second);
    settle().await;
    assert!(call.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_fill_is_ended_at_its_time_limit_and_the_key_is_free_again() {
    let (cache, mut calls) = cache(exact());
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    readers.read(&cache, 1);
    let call = calls.next().await;
    advance(secs(5) - MILLI).await;
    settle().await;
    assert!(!call.is_over());
    advance(MILLI).await;
    for got in readers.all().await {
        assert!(matches!(failed(got), FillError::TimedOut));
    }
    assert!(call.is_over());
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.next().await.found(1);
    assert_eq!(found(readers.next().await), Some(1));
    assert_eq!(cache.stats().timeouts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_sources_future_is_an_error_for_all_who_wait_and_the_key_is_free_again() {
    let (cache, mut calls) = cache(exact());
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    readers.read(&cache, 1);
    let call = calls.next().await;
    settle().await;
    call.panic();
    for got in readers.all().await {
        assert!(matches!(failed(got), FillError::Panicked));
    }
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.next().await.found(1);
    assert_eq!(found(readers.next().await), Some(1));
    assert_eq!(cache.stats().panics, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_call_of_the_source_is_contained_too() {
    let calls = AtomicU32::new(0);
    let source = move |key: u32| {
        assert!(calls.fetch_add(1, Ordering::Relaxed) > 0, "the first call panics");
        async move { Ok::<_, Broken>(Some(key)) }
    };
    let cache = Cache::new(exact(), source).expect("a valid policy");
    assert!(matches!(failed(cache.get(&7).await), FillError::Panicked));
    assert_eq!(found(cache.get(&7).await), Some(7));
}

/// Panics when it is dropped.
struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        panic!("as the test wants");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_future_panics_when_dropped_is_contained_too() {
    let source = |_: u32| {
        let mine = Mine;
        async move {
            std::future::pending::<()>().await;
            drop(mine);
            Ok::<_, Broken>(Some(0))
        }
    };
    let cache = Cache::new(exact(), source).expect("a valid policy");
    assert!(matches!(failed(cache.get(&7).await), FillError::Panicked));
}

#[tokio::test(start_paused = true)]
async fn no_more_fills_run_than_allowed_and_those_who_wait_may_go() {
    let mut policy = exact();
    policy.fills_max = 2;
    let (cache, mut calls) = cache(policy);
    let mut readers = Readers::default();
    for key in 1..=4 {
        readers.read(&cache, key);
        settle().await;
    }
    let (first, _second) = (calls.next().await, calls.next().await);
    calls.none().await;
    let mut waits = Box::pin(cache.get(&5));
    assert!(poll!(&mut waits).is_pending());
    drop(waits);
    first.found(1);
    let third = calls.next().await;
    assert_eq!(third.key, 3);
    calls.none().await;
    third.found(3);
    let fourth = calls.next().await;
    assert_eq!(fourth.key, 4);
    fourth.found(4);
    calls.none().await;
    assert_eq!(cache.stats().fills, 4);
}

#[tokio::test(start_paused = true)]
async fn whoever_waited_for_a_permit_takes_what_came_meanwhile() {
    let mut policy = exact();
    policy.fills_max = 1;
    let (cache, mut calls) = cache(policy);
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    let first = calls.next().await;
    for _ in 0..3 {
        readers.read(&cache, 2);
    }
    settle().await;
    first.found(1);
    let second = calls.next().await;
    assert_eq!(second.key, 2);
    second.found(2);
    let mut got: Vec<_> = readers.all().await.into_iter().map(found).collect();
    got.sort_unstable();
    assert_eq!(got, [Some(1), Some(2), Some(2), Some(2)]);
    calls.none().await;
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_failed_timed_out_or_panicked_gives_its_permit_back() {
    let mut policy = exact();
    policy.fills_max = 1;
    let (cache, mut calls) = cache(policy);
    for end in 0..3 {
        let mut readers = Readers::default();
        readers.read(&cache, 1);
        let call = calls.next().await;
        match end {
            0 => call.answer(Err(Broken("down"))),
            1 => call.panic(),
            _ => {
                advance(secs(5)).await;
                drop(call);
            }
        }
        failed(readers.next().await);
    }
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.next().await.found(1);
    assert_eq!(found(readers.next().await), Some(1));
}

#[test]
fn a_fill_whose_runtime_ends_frees_its_key() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime")
    };
    let (cache, mut calls) = cache(exact());
    let first = runtime();
    let call = first.block_on(async {
        assert!(cache.get(&1).now_or_never().is_none());
        calls.next().await
    });
    drop(first);
    assert!(call.is_over());
    let got = runtime().block_on(async {
        let mut readers = Readers::default();
        readers.read(&cache, 1);
        calls.next().await.found(7);
        readers.next().await
    });
    assert_eq!(found(got), Some(7));
}

#[test]
fn a_miss_outside_a_runtime_panics_and_leaves_the_key_free() {
    let source = |key: u32| async move { Ok::<_, Broken>(Some(key)) };
    let cache = Arc::new(Cache::new(exact(), source).expect("a valid policy"));
    let other = Arc::clone(&cache);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| other.get(&1).now_or_never()))
        .expect_err("a panic");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    assert_eq!(found(runtime.block_on(cache.get(&1))), Some(1));
    assert_eq!(cache.get(&1).now_or_never().map(found), Some(Some(1)), "a hit needs none");
}
