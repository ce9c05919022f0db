//! What is kept, and for how long.

use std::time::Duration;

use chatwright_config::{Cache, FillError, InvalidPolicy, Policy};
use tokio::time::advance;

use crate::common::*;

#[tokio::test(start_paused = true)]
async fn a_second_read_is_a_hit_and_shares_the_value() {
    let (cache, mut calls) = filled(exact(), 7).await;
    let first = cache.get(&1).await.expect("a hit").expect("a value");
    let second = cache.clone().get(&1).await.expect("a hit").expect("a value");
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    calls.none().await;
}

#[tokio::test(start_paused = true)]
async fn each_key_has_its_own_value() {
    let (cache, mut calls) = filled(exact(), 7).await;
    let mut readers = Readers::default();
    readers.read(&cache, 2);
    let call = calls.next().await;
    assert_eq!(call.key, 2);
    call.found(8);
    assert_eq!(found(readers.next().await), Some(8));
    assert_eq!((hit(&cache, 1).await, hit(&cache, 2).await, cache.len()), (Some(7), Some(8), 2));
}

#[tokio::test(start_paused = true)]
async fn a_value_is_live_until_just_before_its_ttl_and_is_asked_for_again_at_it() {
    let (cache, mut calls) = filled(exact(), 1).await;
    advance(TTL - MILLI).await;
    assert_eq!((hit(&cache, 1).await, cache.peek(&1).as_deref()), (Some(1), Some(&1)));
    advance(MILLI).await;
    assert_eq!(cache.peek(&1), None);
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.next().await.found(2);
    assert_eq!(found(readers.next().await), Some(2));
    assert_eq!((hit(&cache, 1).await, cache.len()), (Some(2), 1));
}

#[tokio::test(start_paused = true)]
async fn a_life_begins_when_the_fill_ends() {
    let (cache, mut calls) = cache(exact());
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    let call = calls.next().await;
    advance(secs(4)).await;
    call.found(1);
    assert_eq!(found(readers.next().await), Some(1));
    advance(TTL - MILLI).await;
    assert_eq!(hit(&cache, 1).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn reading_does_not_make_a_value_last_longer() {
    let (cache, _calls) = filled(exact(), 1).await;
    for _ in 0..59 {
        advance(secs(1)).await;
        assert_eq!(hit(&cache, 1).await, Some(1));
    }
    advance(secs(1)).await;
    assert_eq!(cache.peek(&1), None);
}

#[tokio::test(start_paused = true)]
async fn with_a_ttl_of_nothing_no_value_is_live() {
    let mut policy = exact();
    policy.ttl = Duration::ZERO;
    let (cache, mut calls) = filled(policy, 1).await;
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.next().await.found(2);
    assert_eq!(found(readers.next().await), Some(2));
}

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_is_not_kept() {
    let (cache, mut calls) = cache(exact());
    for _ in 0..2 {
        let mut readers = Readers::default();
        readers.read(&cache, 1);
        calls.next().await.answer(Ok(None));
        assert_eq!(found(readers.next().await), None);
        assert!(cache.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_is_kept_for_its_own_time_if_wanted() {
    let mut policy = exact();
    policy.negative = Some(secs(5));
    let (cache, mut calls) = cache(policy);
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.next().await.answer(Ok(None));
    assert_eq!(found(readers.next().await), None);
    advance(secs(5) - MILLI).await;
    assert_eq!((hit(&cache, 1).await, cache.peek(&1)), (None, None));
    advance(MILLI).await;
    readers.read(&cache, 1);
    calls.next().await.found(1);
    assert_eq!(found(readers.next().await), Some(1));
    advance(TTL - MILLI).await;
    assert_eq!(hit(&cache, 1).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_failure_reaches_all_who_wait_as_it_is_and_is_not_kept() {
    let (cache, mut calls) = cache(exact());
    let mut readers = Readers::default();
    for _ in 0..3 {
        readers.read(&cache, 1);
    }
    let call = calls.next().await;
    settle().await;
    call.answer(Err(Broken("down")));
    for got in readers.all().await {
        let FillError::Source(error) = failed(got) else { panic!("the source failed") };
        assert_eq!(*error, Broken("down"));
    }
    assert!(cache.is_empty());
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.next().await.found(1);
    assert_eq!(found(readers.next().await), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_peek_starts_no_fill() {
    let (cache, mut calls) = cache(exact());
    assert_eq!(cache.peek(&1), None);
    calls.none().await;
    assert_eq!(cache.stats().misses, 0);
}

/// How long values live, to the tenth of a second.
async fn lives(policy: Policy) -> Vec<Duration> {
    let source = |key| async move { Ok::<_, Broken>(Some(key)) };
    let cache = Cache::new(policy, source).expect("a valid policy");
    for key in 0..100 {
        cache.get(&key).await.expect("a value");
    }
    let (mut lives, mut age) = (vec![None; 100], Duration::ZERO);
    while age <= TTL {
        for (key, life) in (0..).zip(&mut lives) {
            if life.is_none() && cache.peek(&key).is_none() {
                *life = Some(age);
            }
        }
        advance(100 * MILLI).await;
        age += 100 * MILLI;
    }
    lives.into_iter().map(|life| life.expect("none lives longer than the ttl")).collect()
}

#[tokio::test(start_paused = true)]
async fn values_that_were_stored_together_expire_apart_and_up_to_a_tenth_early() {
    let mut policy = exact();
    policy.jitter_percent = 10;
    let mut lives = lives(policy).await;
    lives.sort_unstable();
    assert!(lives[0] >= secs(54) && lives[99] <= TTL, "{lives:?}");
    assert!(lives[0] < secs(55) && lives[99] > secs(59), "{lives:?}");
    lives.dedup();
    assert!(lives.len() > 30, "{lives:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_lives_and_another_one_others() {
    let mut policy = exact();
    policy.jitter_percent = 10;
    let first = lives(policy).await;
    assert_eq!(lives(policy).await, first);
    policy.seed = Some(8);
    assert_ne!(lives(policy).await, first);
}

#[tokio::test(start_paused = true)]
async fn without_a_seed_two_caches_have_different_lives() {
    let policy = Policy::new(TTL);
    assert_ne!(lives(policy).await, lives(policy).await);
}

#[test]
fn a_policy_out_of_its_bounds_is_refused_by_the_name_of_its_field() {
    let with = |change: fn(&mut Policy)| {
        let mut policy = exact();
        change(&mut policy);
        let built = Cache::new(policy, |key: u32| async move { Ok::<_, Broken>(Some(key)) });
        built.map(drop).map_err(|InvalidPolicy { field, .. }| field)
    };
    assert_eq!(with(|policy| policy.fill_max = Duration::ZERO), Err("fill_max"));
    assert_eq!(with(|policy| policy.fills_max = 0), Err("fills_max"));
    assert_eq!(with(|policy| policy.fills_max = 1_000_001), Err("fills_max"));
    assert_eq!(with(|policy| policy.jitter_percent = 11), Err("jitter_percent"));
    assert_eq!(with(|policy| policy.refresh_ahead = Some(0)), Err("refresh_ahead"));
    assert_eq!(with(|policy| policy.refresh_ahead = Some(100)), Err("refresh_ahead"));
    assert_eq!(with(|policy| policy.weight_max = Some(1)), Err("weight_max"));
    assert_eq!(with(|policy| policy.fills_max = 1_000_000), Ok(()));
    assert_eq!(with(|policy| policy.refresh_ahead = Some(99)), Ok(()));
    assert_eq!(with(|policy| policy.ttl = Duration::MAX), Ok(()));
    let mut policy = exact();
    policy.fills_max = 0;
    let error = policy.check().expect_err("no fill could begin").to_string();
    assert_eq!(error, "the cache policy's fills_max is invalid: it is from 1 to 1,000,000");
}
