//! Two replicas over one store and one bus, on paused time.

mod world;

use std::sync::Arc;
use std::time::Duration;

use chatwright_config::{AdminError, AdvisorSettings, ConfigAdmin, ConfigSettings, Configs, Invalidation};
use chatwright_core::config::{ConfigKey, ConfigKind, ModelConfig, ProviderConfig};
use chatwright_core::port::{Bus, ConfigStore, ConfigWriter};
use chatwright_core::{UserId, limits};
use chatwright_memory::{MemoryBus, MemoryConfigs};
use tokio::time::{Instant, advance};

use world::{acme, ada, listened_to};

struct Replicas {
    store: MemoryConfigs,
    bus: MemoryBus,
    admin: ConfigAdmin,
    here: Configs,
    there: Configs,
}

impl Replicas {
    async fn new() -> Self {
        let (store, bus) = (MemoryConfigs::new(), MemoryBus::new());
        let rows: Arc<dyn ConfigStore> = Arc::new(store.clone());
        let settings = ConfigSettings::default().without_jitter();
        let replica = || {
            let bus: Arc<dyn Bus> = Arc::new(bus.clone());
            Configs::new(&rows, bus, &settings).expect("the settings are valid")
        };
        let (here, there) = (replica(), replica());
        listened_to(&bus, 2).await;
        let writer: Arc<dyn ConfigWriter> = Arc::new(store.clone());
        let admin = ConfigAdmin::new(writer, Arc::new(bus.clone())).with_cache(here.clone());
        Self { store, bus, admin, here, there }
    }

    async fn prompts(&self) -> [String; 2] {
        let mut prompts = [String::new(), String::new()];
        for (replica, prompt) in [&self.here, &self.there].into_iter().zip(&mut prompts) {
            let read = replica.user_prompt(&ada()).await.expect("the store answers");
            *prompt = read.as_deref().cloned().unwrap_or_default();
        }
        prompts
    }
}

/// Whatever was delivered has been taken in.
async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_seen_by_its_own_replica_at_once_and_by_others_as_soon_as_the_bus_delivers() {
    let replicas = Replicas::new().await;
    replicas.admin.put_user_prompt(&ada(), "one", None).await.expect("written");
    settle().await;
    assert_eq!(replicas.prompts().await, ["one", "one"]);
    let begun = Instant::now();
    replicas.admin.put_user_prompt(&ada(), "two", None).await.expect("written");
    let here = replicas.here.user_prompt(&ada()).await.expect("the store answers");
    assert_eq!(here.as_deref().map(String::as_str), Some("two"), "whoever wrote reads it at once");
    settle().await;
    assert_eq!(replicas.prompts().await, ["two", "two"]);
    assert_eq!(begun.elapsed(), Duration::ZERO, "no clock had to move");
}

#[tokio::test(start_paused = true)]
async fn the_replica_that_wrote_without_its_cache_hears_of_it_too() {
    let replicas = Replicas::new().await;
    let writer: Arc<dyn ConfigWriter> = Arc::new(replicas.store.clone());
    let admin = ConfigAdmin::new(writer, Arc::new(replicas.bus.clone()));
    assert_eq!(replicas.prompts().await, ["", ""]);
    admin.put_user_prompt(&ada(), "one", Some(0)).await.expect("written");
    settle().await;
    assert_eq!(replicas.prompts().await, ["one", "one"]);
}

#[tokio::test(start_paused = true)]
async fn with_a_dead_bus_a_write_is_seen_when_the_entry_expires() {
    let replicas = Replicas::new().await;
    assert_eq!(replicas.prompts().await, ["", ""]);
    replicas.bus.disconnect();
    replicas.admin.put_user_prompt(&ada(), "one", None).await.expect("written");
    settle().await;
    assert_eq!(replicas.prompts().await, ["one", ""]);
    advance(Duration::from_secs(5)).await;
    assert_eq!(replicas.prompts().await, ["one", "one"]);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_lost_frames_empties_all_caches_at_once() {
    let replicas = Replicas::new().await;
    replicas.admin.put_user_prompt(&ada(), "one", None).await.expect("written");
    settle().await;
    assert_eq!(replicas.prompts().await, ["one", "one"]);
    // Nobody tells of this one, but that something was lost.
    let key = ConfigKey::user_prompt(&ada());
    let written = replicas.store.write_config(&key, 1, Some(&world::string("two"))).await;
    written.expect("in memory");
    for _ in 0..300 {
        let unheard = br#"{"kind":"hologram","entity_id":"ada"}"#;
        replicas.bus.publish(&Invalidation::topic(), unheard).await.expect("it lives");
    }
    settle().await;
    assert_eq!(replicas.prompts().await, ["two", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_comes_back_empties_all_caches_and_is_followed_again() {
    let replicas = Replicas::new().await;
    assert_eq!(replicas.prompts().await, ["", ""]);
    replicas.bus.disconnect();
    let key = ConfigKey::user_prompt(&ada());
    let written = replicas.store.write_config(&key, 0, Some(&world::string("one"))).await;
    written.expect("in memory");
    settle().await;
    assert_eq!(replicas.prompts().await, ["", ""], "nobody could tell");
    let begun = Instant::now();
    while replicas.bus.subscribers(&Invalidation::topic()) < 2 {
        advance(Duration::from_millis(10)).await;
    }
    settle().await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(replicas.prompts().await, ["one", "one"]);
    replicas.admin.put_user_prompt(&ada(), "two", None).await.expect("written");
    settle().await;
    assert_eq!(replicas.prompts().await, ["two", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_cannot_be_read_empties_all_caches_and_one_of_a_newer_kind_none() {
    for (frame, seen) in [(&b"garbled"[..], "one"), (br#"{"kind":"hologram","entity_id":"ada"}"#, "")] {
        let replicas = Replicas::new().await;
        assert_eq!(replicas.prompts().await, ["", ""]);
        let key = ConfigKey::user_prompt(&ada());
        let written = replicas.store.write_config(&key, 0, Some(&world::string("one"))).await;
        written.expect("in memory");
        replicas.bus.publish(&Invalidation::topic(), frame).await.expect("it lives");
        settle().await;
        assert_eq!(replicas.prompts().await, [seen, seen]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_expects_another_version_changes_nothing_and_says_which_there_is() {
    let replicas = Replicas::new().await;
    let first = replicas.admin.put_user_prompt(&ada(), "one", Some(0)).await.expect("written");
    let late = replicas.admin.put_user_prompt(&ada(), "two", Some(0)).await.expect_err("it is there");
    assert!(matches!(late, AdminError::Conflict { actual, .. } if actual == first));
    assert_eq!(late.to_string(), "user_prompt/ada has version 1 by now (0: it is not there)");
    let second = replicas.admin.put_user_prompt(&ada(), "two", Some(first)).await.expect("written");
    replicas.admin.delete(ConfigKey::user_prompt(&ada()), Some(first)).await.expect_err("an old version");
    replicas.admin.delete(ConfigKey::user_prompt(&ada()), Some(second)).await.expect("deleted");
    replicas.admin.delete(ConfigKey::user_prompt(&ada()), None).await.expect("deleted already");
    settle().await;
    assert_eq!(replicas.prompts().await, ["", ""]);
}

#[tokio::test(start_paused = true)]
async fn everything_that_can_be_configured_is_written_and_read() {
    let replicas = Replicas::new().await;
    let (admin, there) = (&replicas.admin, &replicas.there);
    let missing = admin.put_model("fast", &ModelConfig::new("openai", "gpt"), None).await;
    assert!(matches!(missing, Err(AdminError::Missing(key)) if key.to_string() == "providers/openai"));
    let missing = admin.put_default_model(None, "fast", None).await;
    assert!(matches!(missing, Err(AdminError::Missing(key)) if key.to_string() == "model_config/fast"));
    admin.put_provider("openai", &ProviderConfig::new("openai_chat"), None).await.expect("written");
    admin.put_model("fast", &ModelConfig::new("openai", "gpt"), None).await.expect("written");
    admin.put_default_model(Some(&acme()), "fast", None).await.expect("written");
    let mut advisor = AdvisorSettings::default();
    advisor.enabled = true;
    admin.put_advisor(&advisor, None).await.expect("written");
    settle().await;
    assert_eq!(&*there.providers().await.expect("there").enabled()[0].protocol, "openai_chat");
    assert_eq!(&*there.model("fast").await.expect("there").expect("there").model, "gpt");
    assert_eq!(&*there.default_model(&Some(acme())).await.expect("there").expect("there").id, "fast");
    assert!(there.advisor().await.expect("there").enabled);
    let rows = admin.rows(ConfigKind::Model, None, 10).await.expect("there");
    assert_eq!(rows.iter().map(|row| row.key.id()).collect::<Vec<_>>(), ["fast"]);
    assert!(admin.row(&ConfigKey::advisor()).await.expect("there").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_over_its_bound_is_refused_by_name() {
    let replicas = Replicas::new().await;
    let long = "x".repeat(limits::USER_PROMPT_BYTES_MAX + 1);
    let refused = replicas.admin.put_user_prompt(&ada(), &long, None).await.expect_err("too long");
    assert_eq!(refused.to_string(), "user prompt is too large: 131073 bytes, at most 131072");
    let mut provider = ProviderConfig::new("x");
    provider.display_name = Some("x".repeat(limits::CONFIG_BYTES_MAX).into());
    let refused = replicas.admin.put_provider("p", &provider, None).await.expect_err("too long");
    assert!(matches!(refused, AdminError::TooLarge(_)), "{refused}");
    let refused = replicas.admin.put_provider(&"p".repeat(65), &ProviderConfig::new("x"), None).await;
    assert!(matches!(refused, Err(AdminError::TooLarge(_))));
}

#[tokio::test(start_paused = true)]
async fn writers_that_expect_nothing_all_get_through() {
    let replicas = Replicas::new().await;
    let admin = Arc::new(replicas.admin);
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..8 {
        let admin = Arc::clone(&admin);
        writers.spawn(async move { admin.put_user_prompt(&ada(), &format!("p{n}"), None).await.is_ok() });
    }
    assert_eq!(writers.join_all().await, [true; 8]);
    let row = admin.row(&ConfigKey::user_prompt(&ada())).await.expect("there").expect("there");
    assert_eq!(row.version, 8);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_no_cache_untold() {
    let replicas = Replicas::new().await;
    assert_eq!(replicas.prompts().await, ["", ""]);
    {
        let user = ada();
        let write = replicas.admin.put_user_prompt(&user, "one", None);
        tokio::pin!(write);
        assert!(futures::poll!(&mut write).is_pending());
    }
    settle().await;
    assert_eq!(replicas.prompts().await, ["one", "one"]);
    let user = UserId::new("bob").expect("short");
    assert_eq!(replicas.here.user_prompt(&user).await.expect("the store answers"), None);
}
