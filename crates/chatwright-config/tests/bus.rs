//! A bus that hangs, flaps and comes back, on paused time.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_config::{ConfigSettings, Configs, Invalidation};
use chatwright_core::config::ConfigKind;
use chatwright_core::port::{Bus, BusError, BusFrames, Delivery, Topic};
use futures::StreamExt as _;
use tokio::time::sleep;

use world::{Method, Stub, World};

/// What becomes of the `n`th subscription, counted from 0.
type Link = Box<dyn Fn(usize) -> Option<BusFrames> + Send + Sync>;

/// A bus whose subscriptions a test makes; where it makes none, subscribing hangs.
struct Scripted {
    link: Link,
    subscribed: AtomicUsize,
}

#[async_trait]
impl Bus for Scripted {
    async fn publish(&self, _: &Topic, _: &[u8]) -> Result<(), BusError> {
        Ok(())
    }

    async fn subscribe(&self, _: &Topic) -> Result<BusFrames, BusError> {
        match (self.link)(self.subscribed.fetch_add(1, Ordering::SeqCst)) {
            Some(frames) => Ok(frames),
            None => std::future::pending().await,
        }
    }
}

fn follow(link: impl Fn(usize) -> Option<BusFrames> + Send + Sync + 'static) -> (Arc<Scripted>, Configs) {
    let bus = Arc::new(Scripted { link: Box::new(link), subscribed: AtomicUsize::new(0) });
    let shared: Arc<dyn Bus> = bus.clone();
    let store = Arc::new(Stub::default());
    let store: Arc<dyn chatwright_core::port::ConfigStore> = store;
    let configs = Configs::new(&store, shared, &ConfigSettings::default()).expect("valid");
    (bus, configs)
}

fn flushes(configs: &Configs) -> u64 {
    configs.stats(ConfigKind::Advisor).invalidations
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_hangs_is_given_up_and_tried_again() {
    let (bus, configs) = follow(|n| (n > 0).then(|| futures::stream::pending().boxed()));
    sleep(Duration::from_secs(10)).await;
    assert_eq!((bus.subscribed.load(Ordering::SeqCst), flushes(&configs)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_ends_every_subscription_at_once_is_asked_less_and_less() {
    let (bus, configs) = follow(|_| Some(futures::stream::empty().boxed()));
    sleep(Duration::from_secs(60)).await;
    // 0.1 s, 0.2 s … 3.2 s, then every 5 s.
    assert_eq!((bus.subscribed.load(Ordering::SeqCst), flushes(&configs)), (17, 17));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_breaks_after_a_long_calm_is_followed_again_at_once() {
    let (bus, _configs) = follow(|n| {
        Some(match n {
            // Down for a while: the pauses have become long.
            0..10 => futures::stream::empty().boxed(),
            10 => futures::stream::once(sleep(Duration::from_secs(3_600)))
                .filter_map(|()| async { None })
                .boxed(),
            _ => futures::stream::pending().boxed(),
        })
    });
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bus.subscribed.load(Ordering::SeqCst), 11);
    // The calm began half a minute after the test.
    sleep(Duration::from_secs(30)).await;
    assert_eq!(bus.subscribed.load(Ordering::SeqCst), 12);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_breaks_after_it_said_something_is_followed_again_at_once() {
    let (bus, _configs) = follow(|_| Some(futures::stream::iter([Delivery::Lagged]).boxed()));
    sleep(Duration::from_millis(1_050)).await;
    assert_eq!(bus.subscribed.load(Ordering::SeqCst), 11);
}

#[tokio::test(start_paused = true)]
async fn frames_that_were_lost_empty_every_cache_once() {
    let (_bus, configs) =
        follow(|_| Some(futures::stream::iter([Delivery::Lagged]).chain(futures::stream::pending()).boxed()));
    sleep(Duration::from_millis(1)).await;
    for kind in ConfigKind::ALL {
        assert_eq!(configs.stats(kind).invalidations, 2, "{kind}: the subscription, and the loss");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_frame_of_each_kind_says_is_forgotten_and_nothing_else_is_asked_again() {
    for method in Method::ALL {
        let world = World::new().await;
        world.write(method, 1).await;
        assert_eq!(world.read(method).await, Ok("v1".to_owned()));
        world.write(method, 2).await;
        Invalidation::of(&method.key()).publish(&world.bus).await.expect("it lives");
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.read(method).await, Ok("v2".to_owned()), "{method:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_and_strangest_id_fits_in_a_frame_and_is_understood() {
    let user = chatwright_core::UserId::new("\u{1}".repeat(64)).expect("64 bytes");
    let key = chatwright_core::config::ConfigKey::user_prompt(&user);
    let world = World::new().await;
    assert_eq!(world.configs.user_prompt(&user).await.expect("there"), None);
    world.store.put(&key, &world::string("one")).await;
    Invalidation::of(&key).publish(&world.bus).await.expect("it is small");
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
    let read = world.configs.user_prompt(&user).await.expect("there");
    assert_eq!(read.as_deref().map(String::as_str), Some("one"));
}
