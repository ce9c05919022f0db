//! What an invalidation drops, and what it keeps from being stored.

use futures::poll;
use tokio::time::advance;

use crate::common::*;

/// Invalidates key 1: alone, or with all the others.
const WAYS: [fn(&Config); 2] = [|cache| cache.invalidate(&1), Config::invalidate_all];

#[tokio::test(start_paused = true)]
async fn a_read_after_an_invalidation_asks_again() {
    for invalidate in WAYS {
        let (cache, mut calls) = filled(exact(), 1).await;
        invalidate(&cache);
        assert_eq!((cache.peek(&1), cache.len()), (None, 0));
        let mut readers = Readers::default();
        readers.read(&cache, 1);
        calls.next().await.found(2);
        assert_eq!(found(readers.next().await), Some(2));
        assert_eq!(hit(&cache, 1).await, Some(2));
    }
}

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_is_invalidated_like_a_value() {
    for invalidate in WAYS {
        let mut policy = exact();
        policy.negative = Some(TTL);
        let (cache, mut calls) = cache(policy);
        let mut readers = Readers::default();
        readers.read(&cache, 1);
        calls.next().await.answer(Ok(None));
        assert_eq!(found(readers.next().await), None);
        invalidate(&cache);
        readers.read(&cache, 1);
        calls.next().await.found(2);
        assert_eq!(found(readers.next().await), Some(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_began_before_is_not_stored_but_its_callers_get_its_value() {
    for invalidate in WAYS {
        let (cache, mut calls) = cache(exact());
        let mut readers = Readers::default();
        readers.read(&cache, 1);
        readers.read(&cache, 1);
        let old = calls.next().await;
        settle().await;
        invalidate(&cache);
        old.found(1);
        assert_eq!((found(readers.next().await), found(readers.next().await)), (Some(1), Some(1)));
        assert_eq!((cache.peek(&1), cache.len()), (None, 0));
        assert_eq!(cache.stats().outdated, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_read_begins_a_fill_of_its_own_and_the_old_one_changes_nothing_whichever_ends_first() {
    for invalidate in WAYS {
        for old_first in [true, false] {
            let (cache, mut calls) = cache(exact());
            let (mut early, mut late) = (Readers::default(), Readers::default());
            early.read(&cache, 1);
            let old = calls.next().await;
            invalidate(&cache);
            late.read(&cache, 1);
            late.read(&cache, 1);
            let new = calls.next().await;
            settle().await;
            if old_first {
                old.found(1);
                assert_eq!((found(early.next().await), cache.peek(&1)), (Some(1), None));
                new.found(2);
                assert_eq!(found(late.next().await), Some(2));
            } else {
                new.found(2);
                assert_eq!(found(late.next().await), Some(2));
                old.found(1);
                assert_eq!(found(early.next().await), Some(1));
            }
            assert_eq!((found(late.next().await), hit(&cache, 1).await), (Some(2), Some(2)));
            calls.none().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_began_before_and_fails_takes_nothing_from_the_later_one() {
    for invalidate in WAYS {
        let (cache, mut calls) = cache(exact());
        let (mut early, mut late) = (Readers::default(), Readers::default());
        early.read(&cache, 1);
        let old = calls.next().await;
        invalidate(&cache);
        late.read(&cache, 1);
        let new = calls.next().await;
        old.answer(Err(Broken("down")));
        failed(early.next().await);
        late.read(&cache, 1);
        calls.none().await;
        new.found(2);
        assert_eq!((found(late.next().await), found(late.next().await)), (Some(2), Some(2)));
        assert_eq!(hit(&cache, 1).await, Some(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_began_before_and_finds_nothing_takes_nothing_from_the_later_one() {
    let (cache, mut calls) = cache(exact());
    let (mut early, mut late) = (Readers::default(), Readers::default());
    early.read(&cache, 1);
    let old = calls.next().await;
    cache.invalidate(&1);
    late.read(&cache, 1);
    calls.next().await.found(2);
    assert_eq!(found(late.next().await), Some(2));
    old.answer(Ok(None));
    assert_eq!(found(early.next().await), None);
    assert_eq!(hit(&cache, 1).await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_of_one_key_leaves_the_fills_and_values_of_others() {
    let (cache, mut calls) = filled(exact(), 1).await;
    let mut readers = Readers::default();
    readers.read(&cache, 2);
    let call = calls.next().await;
    cache.invalidate(&3);
    call.found(2);
    assert_eq!(found(readers.next().await), Some(2));
    cache.invalidate(&3);
    assert_eq!((hit(&cache, 1).await, hit(&cache, 2).await), (Some(1), Some(2)));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_permit_through_an_invalidation_gets_a_value_from_after_it() {
    for invalidate in WAYS {
        let mut policy = exact();
        policy.fills_max = 1;
        let (cache, mut calls) = cache(policy);
        let mut readers = Readers::default();
        readers.read(&cache, 1);
        let old = calls.next().await;
        invalidate(&cache);
        let mut late = Box::pin(cache.get(&1));
        assert!(poll!(&mut late).is_pending());
        old.found(1);
        assert_eq!(found(readers.next().await), Some(1));
        assert!(poll!(&mut late).is_pending());
        calls.next().await.found(2);
        assert_eq!(found(late.await), Some(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_began_before_is_not_stored() {
    for invalidate in WAYS {
        let mut policy = exact();
        policy.refresh_ahead = Some(50);
        let (cache, mut calls) = filled(policy, 1).await;
        advance(TTL / 2).await;
        assert_eq!(found(cache.get(&1).await), Some(1));
        let old = calls.next().await;
        invalidate(&cache);
        old.found(1);
        settle().await;
        assert_eq!(cache.peek(&1), None);
        let mut readers = Readers::default();
        readers.read(&cache, 1);
        calls.next().await.found(2);
        assert_eq!(found(readers.next().await), Some(2));
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_of_all_reaches_every_part() {
    let (cache, mut calls) = cache(exact());
    for key in 0..1_000 {
        let mut readers = Readers::default();
        readers.read(&cache, key);
        calls.next().await.found(key);
        assert_eq!(found(readers.next().await), Some(key));
    }
    assert_eq!(cache.len(), 1_000);
    cache.invalidate_all();
    assert_eq!(cache.len(), 0);
    assert!((0..1_000).all(|key| cache.peek(&key).is_none()));
}
