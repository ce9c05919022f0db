//! What holds for each read of the configuration, on paused time: every sentence for every method.

mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chatwright_config::{ConfigSettings, Invalidation};
use tokio::task::JoinSet;
use tokio::time::advance;

use world::{Method, World};

macro_rules! for_each_method {
    ($($name:ident,)*) => {
        for_each_method!(@ providers Providers: $($name,)*);
        for_each_method!(@ model Model: $($name,)*);
        for_each_method!(@ default_model DefaultModel: $($name,)*);
        for_each_method!(@ user_prompt UserPrompt: $($name,)*);
        for_each_method!(@ advisor Advisor: $($name,)*);
    };
    (@ $module:ident $method:ident: $($name:ident,)*) => {
        mod $module {
            use super::world::Method;

            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    super::$name(Method::$method).await;
                }
            )*
        }
    };
}

for_each_method! {
    a_hit_asks_nothing,
    at_exactly_its_time_an_entry_is_read_again,
    an_invalidation_is_seen_without_moving_the_clock,
    eight_callers_at_once_are_one_read,
    a_failure_is_told_to_all_who_wait_and_never_kept,
    a_fill_in_flight_at_an_invalidation_is_told_and_not_kept,
    after_an_invalidation_a_reader_does_not_join_the_fill_in_flight,
    a_cancelled_caller_stops_waiting_and_its_fill_is_kept,
    a_cancelled_waiter_does_not_poison_the_others,
    closing_ends_a_fill_although_its_caller_lives,
    a_hit_is_served_after_closing,
    while_the_store_is_down_what_is_at_hand_is_served_for_a_minute,
    what_was_invalidated_is_not_served_while_the_store_is_down,
    a_read_that_hangs_ends_and_frees_its_key,
    all_who_read_share_one_value,
}

async fn a_hit_asks_nothing(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    for _ in 0..3 {
        assert_eq!(world.read(method).await, Ok("v1".to_owned()));
    }
    assert_eq!(world.store.reads(method), 1);
}

async fn at_exactly_its_time_an_entry_is_read_again(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    world.read(method).await.expect("there");
    world.write(method, 2).await;
    advance(Duration::from_secs(method.seconds()) - Duration::from_millis(1)).await;
    assert_eq!(world.read(method).await, Ok("v1".to_owned()));
    advance(Duration::from_millis(1)).await;
    assert_eq!(world.read(method).await, Ok("v2".to_owned()));
    assert_eq!(world.store.reads(method), 2);
}

async fn an_invalidation_is_seen_without_moving_the_clock(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    world.read(method).await.expect("there");
    world.write(method, 2).await;
    world.invalidate(method);
    assert_eq!(world.read(method).await, Ok("v2".to_owned()));
    assert_eq!(world.store.reads(method), 2);
}

async fn eight_callers_at_once_are_one_read(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    let mut held = world.store.hold();
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let configs = world.configs.clone();
        callers.spawn(async move { method.read(&configs).await });
    }
    held.entered().await;
    held.release();
    assert_eq!(callers.join_all().await, vec![Ok("v1".to_owned()); 8]);
    assert_eq!(world.store.reads(method), 1);
}

async fn a_failure_is_told_to_all_who_wait_and_never_kept(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    world.store.fails.store(true, Ordering::SeqCst);
    let mut held = world.store.hold();
    let mut callers = JoinSet::new();
    for _ in 0..3 {
        let configs = world.configs.clone();
        callers.spawn(async move { method.read(&configs).await });
    }
    held.entered().await;
    held.release();
    let down = Err("the configuration cannot be read: the store is down".to_owned());
    assert_eq!(callers.join_all().await, vec![down.clone(); 3]);
    assert_eq!(world.store.reads(method), 1);
    assert_eq!(world.read(method).await, down);
    world.store.fails.store(false, Ordering::SeqCst);
    assert_eq!(world.read(method).await, Ok("v1".to_owned()));
    assert_eq!(world.store.reads(method), 3);
}

async fn a_fill_in_flight_at_an_invalidation_is_told_and_not_kept(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    let mut held = world.store.hold();
    let configs = world.configs.clone();
    let mut caller = JoinSet::new();
    caller.spawn(async move { method.read(&configs).await });
    held.entered().await;
    world.write(method, 2).await;
    world.invalidate(method);
    held.release();
    let told = caller.join_next().await.expect("one caller").expect("it ends");
    // The default follows its row's id to another row, which it reads after the invalidation.
    assert_eq!(told, Ok("v1".to_owned()));
    assert_eq!(world.read(method).await, Ok("v2".to_owned()));
    assert_eq!(world.store.reads(method), 2);
}

async fn after_an_invalidation_a_reader_does_not_join_the_fill_in_flight(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    let (mut first, mut second) = (world.store.hold(), world.store.hold());
    let mut callers = [JoinSet::new(), JoinSet::new()];
    let configs = world.configs.clone();
    callers[0].spawn(async move { method.read(&configs).await });
    first.entered().await;
    world.write(method, 2).await;
    world.invalidate(method);
    let configs = world.configs.clone();
    callers[1].spawn(async move { method.read(&configs).await });
    second.entered().await;
    first.release();
    let told = callers[0].join_next().await.expect("one caller").expect("it ends");
    assert_eq!(told, Ok("v1".to_owned()));
    second.release();
    let told = callers[1].join_next().await.expect("one caller").expect("it ends");
    assert_eq!(told, Ok("v2".to_owned()));
    assert_eq!(world.read(method).await, Ok("v2".to_owned()), "a hit");
    assert_eq!(world.store.reads(method), 2);
}

async fn a_cancelled_caller_stops_waiting_and_its_fill_is_kept(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    let mut held = world.store.hold();
    let mut caller = JoinSet::new();
    let configs = world.configs.clone();
    caller.spawn(async move { method.read(&configs).await });
    held.entered().await;
    caller.abort_all();
    let ended = caller.join_next().await.expect("one caller");
    assert!(ended.is_err_and(|error| error.is_cancelled()), "while the store is still held up");
    held.release();
    assert_eq!(world.read(method).await, Ok("v1".to_owned()));
    assert_eq!(world.store.reads(method), 1);
}

async fn a_cancelled_waiter_does_not_poison_the_others(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    let mut held = world.store.hold();
    let mut callers = [JoinSet::new(), JoinSet::new()];
    for caller in &mut callers {
        let configs = world.configs.clone();
        caller.spawn(async move { method.read(&configs).await });
    }
    held.entered().await;
    callers[0].abort_all();
    assert!(callers[0].join_next().await.is_some_and(|ended| ended.is_err()));
    held.release();
    let told = callers[1].join_next().await.expect("one caller").expect("it ends");
    assert_eq!(told, Ok("v1".to_owned()));
    assert_eq!(world.store.reads(method), 1);
}

async fn closing_ends_a_fill_although_its_caller_lives(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    let mut held = world.store.hold();
    let mut caller = JoinSet::new();
    let configs = world.configs.clone();
    caller.spawn(async move { method.read(&configs).await });
    held.entered().await;
    world.configs.close();
    let told = caller.join_next().await.expect("one caller").expect("it ends");
    assert_eq!(told, Err("the cache is closed".to_owned()));
}

async fn a_hit_is_served_after_closing(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    world.read(method).await.expect("there");
    world.configs.close();
    assert_eq!(world.read(method).await, Ok("v1".to_owned()));
    advance(Duration::from_secs(method.seconds())).await;
    assert_eq!(world.read(method).await, Err("the cache is closed".to_owned()));
}

async fn while_the_store_is_down_what_is_at_hand_is_served_for_a_minute(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    world.read(method).await.expect("there");
    world.store.fails.store(true, Ordering::SeqCst);
    advance(Duration::from_secs(method.seconds() + 59)).await;
    assert_eq!(world.read(method).await, Ok("v1".to_owned()));
    advance(Duration::from_secs(1)).await;
    assert!(world.read(method).await.is_err());
}

async fn what_was_invalidated_is_not_served_while_the_store_is_down(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    world.read(method).await.expect("there");
    world.store.fails.store(true, Ordering::SeqCst);
    world.invalidate(method);
    assert!(world.read(method).await.is_err());
}

async fn a_read_that_hangs_ends_and_frees_its_key(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    let held = world.store.hold();
    let begun = tokio::time::Instant::now();
    assert_eq!(world.read(method).await, Err("a fill of the cache took too long".to_owned()));
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(world.read(method).await, Ok("v1".to_owned()));
    drop(held);
}

async fn all_who_read_share_one_value(method: Method) {
    let world = World::new().await;
    world.write(method, 1).await;
    let configs = &world.configs;
    let same = match method {
        Method::Providers => Arc::ptr_eq(
            &configs.providers().await.expect("there"),
            &configs.providers().await.expect("there"),
        ),
        Method::Model => {
            let (one, other) =
                (configs.model("m").await.expect("there"), configs.model("m").await.expect("there"));
            Arc::ptr_eq(&one.expect("there"), &other.expect("there"))
        }
        Method::DefaultModel => {
            let acme = Some(world::acme());
            let one = configs.default_model(&acme).await.expect("there").expect("there");
            Arc::ptr_eq(&one, &configs.default_model(&acme).await.expect("there").expect("there"))
        }
        Method::UserPrompt => {
            let one = configs.user_prompt(&world::ada()).await.expect("there").expect("there");
            Arc::ptr_eq(&one, &configs.user_prompt(&world::ada()).await.expect("there").expect("there"))
        }
        Method::Advisor => {
            Arc::ptr_eq(&configs.advisor().await.expect("there"), &configs.advisor().await.expect("there"))
        }
    };
    assert!(same, "nothing is copied");
}

#[tokio::test(start_paused = true)]
async fn jitter_is_on_unless_it_is_switched_off() {
    let mut settings = ConfigSettings::default();
    assert_eq!(
        (settings.providers.jitter_percent, settings.without_jitter().providers.jitter_percent),
        (10, 0)
    );
    settings.providers.jitter_percent = 11;
    let (store, bus) = (Arc::new(world::Stub::default()), chatwright_memory::MemoryBus::new());
    let store: Arc<dyn chatwright_core::port::ConfigStore> = store;
    let refused = chatwright_config::Configs::new(&store, Arc::new(bus), &settings);
    assert_eq!(refused.map(drop).map_err(|error| error.field), Err("jitter_percent"));
}

#[tokio::test(start_paused = true)]
async fn the_caches_follow_the_bus_no_longer_than_they_are_wanted() {
    let world = World::new().await;
    let topic = Invalidation::topic();
    let another = world.configs.clone();
    drop(world.configs);
    tokio::task::yield_now().await;
    assert_eq!(world.bus.subscribers(&topic), 1);
    drop(another);
    while world.bus.subscribers(&topic) > 0 {
        tokio::task::yield_now().await;
    }
}
