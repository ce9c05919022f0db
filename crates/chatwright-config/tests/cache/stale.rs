//! Values past their time, while the source fails.

use chatwright_config::{FillError, Policy};
use tokio::time::advance;

use crate::common::*;

fn tolerant() -> Policy {
    let mut policy = exact();
    policy.stale_if_error = Some(secs(100));
    policy
}

/// Fails the fill that a read of key 1 begins, and gives what the read got.
async fn fail(cache: &Config, calls: &mut Calls) -> Got {
    let mut readers = Readers::default();
    readers.read(cache, 1);
    calls.next().await.answer(Err(Broken("down")));
    readers.next().await
}

#[tokio::test(start_paused = true)]
async fn a_failure_gives_the_value_past_its_time_until_just_before_the_bound() {
    let (cache, mut calls) = filled(tolerant(), 1).await;
    advance(TTL).await;
    assert_eq!(found(fail(&cache, &mut calls).await), Some(1));
    advance(secs(100) - MILLI).await;
    assert_eq!(found(fail(&cache, &mut calls).await), Some(1));
    advance(MILLI).await;
    assert!(matches!(failed(fail(&cache, &mut calls).await), FillError::Source(_)));
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_a_failure_is_a_failure() {
    let (cache, mut calls) = filled(exact(), 1).await;
    advance(TTL).await;
    failed(fail(&cache, &mut calls).await);
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_times_out_or_panics_gives_it_too_and_all_who_wait_get_it() {
    for panics in [true, false] {
        let (cache, mut calls) = filled(tolerant(), 1).await;
        advance(TTL).await;
        let mut readers = Readers::default();
        for _ in 0..3 {
            readers.read(&cache, 1);
        }
        let call = calls.next().await;
        settle().await;
        if panics {
            call.panic();
        } else {
            advance(secs(5)).await;
            settle().await;
            assert!(call.is_over());
        }
        assert_eq!(readers.all().await.into_iter().map(found).collect::<Vec<_>>(), [Some(1); 3]);
        assert_eq!(cache.stats().stale, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_the_value_is_served_at_once_for_a_second_and_then_the_source_is_asked() {
    let (cache, mut calls) = filled(tolerant(), 1).await;
    advance(TTL).await;
    assert_eq!(found(fail(&cache, &mut calls).await), Some(1));
    assert_eq!(hit(&cache, 1).await, Some(1));
    advance(secs(1) - MILLI).await;
    assert_eq!(hit(&cache, 1).await, Some(1));
    assert_eq!((cache.stats().stale, cache.peek(&1)), (3, None));
    advance(MILLI).await;
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.next().await.found(2);
    assert_eq!(found(readers.next().await), Some(2));
    advance(TTL - MILLI).await;
    assert_eq!(hit(&cache, 1).await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn the_bound_holds_within_the_second_after_a_failure() {
    let mut policy = tolerant();
    policy.retry_after = secs(1_000);
    let (cache, mut calls) = filled(policy, 1).await;
    advance(TTL).await;
    assert_eq!(found(fail(&cache, &mut calls).await), Some(1));
    advance(secs(100) - MILLI).await;
    assert_eq!(hit(&cache, 1).await, Some(1));
    advance(MILLI).await;
    failed(fail(&cache, &mut calls).await);
}

#[tokio::test(start_paused = true)]
async fn an_invalidated_value_is_never_served_whether_it_happens_before_the_fill_or_in_it_or_after() {
    for invalidate in [|cache: &Config| cache.invalidate(&1), Config::invalidate_all] {
        let (cache, mut calls) = filled(tolerant(), 1).await;
        invalidate(&cache);
        failed(fail(&cache, &mut calls).await);

        let (cache, mut calls) = filled(tolerant(), 1).await;
        advance(TTL).await;
        let mut readers = Readers::default();
        readers.read(&cache, 1);
        let call = calls.next().await;
        invalidate(&cache);
        call.answer(Err(Broken("down")));
        failed(readers.next().await);

        let (cache, mut calls) = filled(tolerant(), 1).await;
        advance(TTL).await;
        assert_eq!(found(fail(&cache, &mut calls).await), Some(1));
        invalidate(&cache);
        failed(fail(&cache, &mut calls).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fill_from_before_an_invalidation_does_not_serve_a_value_from_after_it() {
    let (cache, mut calls) = filled(tolerant(), 1).await;
    advance(TTL).await;
    let mut early = Readers::default();
    early.read(&cache, 1);
    let old = calls.next().await;
    cache.invalidate(&1);
    let mut late = Readers::default();
    late.read(&cache, 1);
    calls.next().await.found(2);
    assert_eq!(found(late.next().await), Some(2));
    old.answer(Err(Broken("down")));
    failed(early.next().await);
    assert_eq!(hit(&cache, 1).await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn when_the_source_says_that_there_is_nothing_the_old_value_is_gone() {
    for negative in [None, Some(secs(1))] {
        let mut policy = tolerant();
        policy.negative = negative;
        let (cache, mut calls) = filled(policy, 1).await;
        advance(TTL).await;
        let mut readers = Readers::default();
        readers.read(&cache, 1);
        calls.next().await.answer(Ok(None));
        assert_eq!(found(readers.next().await), None);
        advance(secs(1)).await;
        failed(fail(&cache, &mut calls).await);
    }
}

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_is_not_served_past_its_time() {
    let mut policy = tolerant();
    policy.negative = Some(secs(1));
    let (cache, mut calls) = cache(policy);
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.next().await.answer(Ok(None));
    assert_eq!(found(readers.next().await), None);
    advance(secs(1)).await;
    for _ in 0..2 {
        failed(fail(&cache, &mut calls).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_just_before_the_time_counts_as_the_failure() {
    let mut policy = tolerant();
    policy.refresh_ahead = Some(80);
    let (cache, mut calls) = filled(policy, 1).await;
    advance(TTL - MILLI).await;
    assert_eq!(found(cache.get(&1).await), Some(1));
    calls.next().await.answer(Err(Broken("down")));
    settle().await;
    advance(MILLI).await;
    assert_eq!((hit(&cache, 1).await, cache.peek(&1)), (Some(1), None));
    calls.none().await;
}

#[tokio::test(start_paused = true)]
async fn closing_the_cache_is_no_failure_of_the_source() {
    let (cache, mut calls) = filled(tolerant(), 1).await;
    advance(TTL).await;
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    let _call = calls.next().await;
    cache.close();
    assert!(matches!(failed(readers.next().await), FillError::Closed));
    assert!(matches!(failed(cache.get(&1).await), FillError::Closed));
}

/// What the source says that is no outage.
fn particular(policy: Policy) -> (Config, Calls) {
    let (send, calls) = tokio::sync::mpsc::unbounded_channel();
    let cache = chatwright_config::Cache::new(policy, source(send)).expect("a valid policy");
    (cache.stale_only_for(|error: &Broken| error.0 == "down"), Calls::of(calls))
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_no_outage_reaches_the_caller_and_the_value_past_its_time_is_forgotten() {
    let (cache, mut calls) = particular(tolerant());
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.next().await.found(1);
    assert_eq!(found(readers.next().await), Some(1));
    advance(TTL).await;
    assert_eq!(found(fail(&cache, &mut calls).await), Some(1), "an outage");
    advance(secs(1)).await;
    readers.read(&cache, 1);
    calls.next().await.answer(Err(Broken("not valid")));
    assert!(matches!(failed(readers.next().await), FillError::Source(error) if error.0 == "not valid"));
    assert!(
        matches!(failed(fail(&cache, &mut calls).await), FillError::Source(_)),
        "there is nothing left to serve"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_says_so_leaves_the_entry_its_time() {
    let mut policy = tolerant();
    policy.refresh_ahead = Some(50);
    let (cache, mut calls) = particular(policy);
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.next().await.found(1);
    assert_eq!(found(readers.next().await), Some(1));
    advance(TTL / 2).await;
    readers.read(&cache, 1);
    assert_eq!(found(readers.next().await), Some(1));
    calls.next().await.answer(Err(Broken("not valid")));
    settle().await;
    assert_eq!(hit(&cache, 1).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_key_may_be_borrowed() {
    let source = |key: String| async move { Ok::<_, Broken>(Some(key.len())) };
    let cache =
        chatwright_config::Cache::<String, usize, Broken>::new(exact(), source).expect("a valid policy");
    assert_eq!(cache.get("four").await.expect("found").as_deref(), Some(&4));
    assert_eq!(cache.peek("four").as_deref(), Some(&4));
    cache.invalidate("four");
    assert_eq!(cache.peek("four"), None);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_a_refresh_found_to_be_wrong_is_not_served_past_its_time() {
    for outage_after in [false, true] {
        let mut policy = tolerant();
        policy.refresh_ahead = Some(80);
        policy.retry_after = secs(20);
        let (cache, mut calls) = particular(policy);
        let mut readers = Readers::default();
        readers.read(&cache, 1);
        calls.next().await.found(1);
        assert_eq!(found(readers.next().await), Some(1));
        // So late that the next try would come after the entry's time.
        advance(TTL - secs(1)).await;
        assert_eq!(found(cache.get(&1).await), Some(1));
        calls.next().await.answer(Err(Broken("not valid")));
        settle().await;
        advance(secs(if outage_after { 50 } else { 1 })).await;
        readers.read(&cache, 1);
        settle().await;
        let call = calls.try_next().expect("the source is asked again");
        call.answer(Err(Broken(if outage_after { "down" } else { "not valid" })));
        failed(readers.next().await);
    }
}
