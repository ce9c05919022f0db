//! What holds for one kind of the configuration only, on paused time.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_config::{ConfigSettings, Configs, Invalidation};
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow, ModelConfig, ProviderConfig};
use chatwright_core::port::{ConfigStore, ConfigWriter as _, StoreError};
use chatwright_core::{Json, OrganizationId, UserId};
use tokio::task::JoinSet;
use tokio::time::advance;

use world::{Method, World, acme, ada, string};

async fn all(world: &World) -> Vec<(Method, Result<String, String>)> {
    let mut all = Vec::new();
    for method in Method::ALL {
        all.push((method, world.read(method).await));
    }
    all
}

/// Which reads an invalidation of one kind sends to the store again.
async fn cascade(of: Method) -> Vec<Method> {
    let world = World::new().await;
    for method in Method::ALL {
        world.write(method, 1).await;
    }
    all(&world).await;
    let before: Vec<usize> = Method::ALL.iter().map(|method| world.store.reads(*method)).collect();
    world.invalidate(of);
    all(&world).await;
    let again = |(method, before): &(Method, usize)| world.store.reads(*method) > *before;
    Method::ALL.into_iter().zip(before).filter(again).map(|(method, _)| method).collect()
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_takes_what_depends_on_it_along_and_nothing_else() {
    use Method::{Advisor, DefaultModel, Model, Providers, UserPrompt};
    assert_eq!(cascade(Providers).await, [Providers, Model, DefaultModel]);
    assert_eq!(cascade(Model).await, [Model, DefaultModel]);
    // The default reads the row of the model, but not through the cache of models.
    assert_eq!(cascade(DefaultModel).await, [DefaultModel]);
    assert_eq!(cascade(UserPrompt).await, [UserPrompt]);
    assert_eq!(cascade(Advisor).await, [Advisor]);
}

#[tokio::test(start_paused = true)]
async fn another_models_invalidation_leaves_a_model_and_its_fill_alone() {
    let world = World::new().await;
    world.write(Method::Model, 1).await;
    let mut held = world.store.hold();
    let mut caller = JoinSet::new();
    let configs = world.configs.clone();
    caller.spawn(async move { Method::Model.read(&configs).await });
    held.entered().await;
    let other = ConfigKey::model("another").expect("short");
    world.configs.invalidate(&Invalidation::of(&other));
    held.release();
    caller.join_next().await;
    world.configs.invalidate(&Invalidation::of(&other));
    assert_eq!(world.read(Method::Model).await, Ok("v1".to_owned()));
    assert_eq!(world.store.reads(Method::Model), 1);
}

#[tokio::test(start_paused = true)]
async fn one_users_invalidation_leaves_the_prompt_and_the_fill_of_another_alone() {
    let world = World::new().await;
    world.write(Method::UserPrompt, 1).await;
    let mut held = world.store.hold();
    let mut caller = JoinSet::new();
    let configs = world.configs.clone();
    caller.spawn(async move { Method::UserPrompt.read(&configs).await });
    held.entered().await;
    let bob = UserId::new("bob").expect("short");
    world.configs.invalidate(&Invalidation::of(&ConfigKey::user_prompt(&bob)));
    held.release();
    caller.join_next().await;
    assert_eq!(world.read(Method::UserPrompt).await, Ok("v1".to_owned()));
    assert_eq!(world.store.reads(Method::UserPrompt), 1);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_not_there_is_asked_for_each_time() {
    let world = World::new().await;
    for n in 1..=2 {
        assert_eq!(world.configs.model("m").await.expect("the store answers"), None);
        assert_eq!(world.store.reads(Method::Model), n);
    }
    world.write(Method::Model, 1).await;
    assert_eq!(world.read(Method::Model).await, Ok("v1".to_owned()));
    assert_eq!(world.configs.model(&"x".repeat(65)).await.expect("no row has such an id"), None);
}

#[tokio::test(start_paused = true)]
async fn a_default_that_is_not_there_is_asked_for_each_time() {
    let world = World::new().await;
    for n in 1..=2 {
        assert_eq!(world.configs.default_model(&Some(acme())).await.expect("the store answers"), None);
        assert_eq!(world.store.reads(Method::DefaultModel), n);
    }
}

#[tokio::test(start_paused = true)]
async fn that_a_user_has_no_prompt_is_remembered() {
    let world = World::new().await;
    for _ in 0..2 {
        assert_eq!(world.read(Method::UserPrompt).await, Ok(String::new()));
    }
    assert_eq!(world.store.reads(Method::UserPrompt), 1);
    world.write(Method::UserPrompt, 1).await;
    advance(Duration::from_secs(5)).await;
    assert_eq!(world.read(Method::UserPrompt).await, Ok("v1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn that_there_is_no_provider_is_an_answer_and_kept() {
    let world = World::new().await;
    for _ in 0..2 {
        assert_eq!(world.read(Method::Providers).await, Ok(String::new()));
    }
    assert_eq!(world.store.reads(Method::Providers), 1);
}

#[tokio::test(start_paused = true)]
async fn an_absent_or_empty_advisor_is_off_and_a_broken_one_is_an_error_each_time() {
    let world = World::new().await;
    assert!(!world.configs.advisor().await.expect("absent").enabled);
    let key = ConfigKey::advisor();
    for (value, enabled) in [("{}", false), (r#"{"ENABLED":true}"#, true)] {
        world.store.put(&key, &Json::parse(value).expect("JSON")).await;
        world.invalidate(Method::Advisor);
        assert_eq!(world.configs.advisor().await.expect("valid").enabled, enabled);
    }
    world.store.put(&key, &Json::parse(r#"{"enabled":"sk-secret"}"#).expect("JSON")).await;
    let broken = "the configuration advisor_config/ is not valid: enabled: expected true or false".to_owned();
    // Not even when the entry just ran out: a broken row is an answer, no outage.
    advance(Duration::from_secs(10)).await;
    let before = world.store.reads(Method::Advisor);
    for n in 1..=2 {
        assert_eq!(world.read(Method::Advisor).await, Err(broken.clone()));
        assert_eq!(world.store.reads(Method::Advisor), before + n);
    }
}

#[tokio::test(start_paused = true)]
async fn an_organization_without_a_default_has_that_of_all() {
    let world = World::new().await;
    for id in ["ours", "theirs"] {
        world.store.put(&ConfigKey::model(id).expect("short"), &ModelConfig::new("p", id).to_json()).await;
    }
    world.store.put(&ConfigKey::default_model(None), &string("ours")).await;
    world.store.put(&ConfigKey::default_model(Some(&acme())), &string("theirs")).await;
    let default = async |organization: Option<OrganizationId>| {
        let model = world.configs.default_model(&organization).await.expect("there").expect("there");
        model.id.to_string()
    };
    assert_eq!(default(Some(acme())).await, "theirs");
    assert_eq!(default(OrganizationId::new("other").ok()).await, "ours");
    assert_eq!(default(None).await, "ours");
}

#[tokio::test(start_paused = true)]
async fn a_default_that_names_no_model_says_so() {
    let world = World::new().await;
    world.store.put(&Method::DefaultModel.key(), &string("gone")).await;
    let told = "the configuration default_model/acme is not valid: it names a model that is not there";
    assert_eq!(world.read(Method::DefaultModel).await, Err(told.to_owned()));
    assert_eq!(world.store.reads(Method::DefaultModel), 2, "it looked twice");
}

#[tokio::test(start_paused = true)]
async fn an_empty_prompt_is_none() {
    let world = World::new().await;
    world.store.put(&Method::UserPrompt.key(), &string("")).await;
    for _ in 0..2 {
        assert_eq!(world.configs.user_prompt(&ada()).await.expect("the store answers"), None);
    }
    assert_eq!(world.store.reads(Method::UserPrompt), 1);
}

#[tokio::test(start_paused = true)]
async fn prompts_weigh_what_they_are_long() {
    let mut settings = ConfigSettings::default().without_jitter();
    assert_eq!(settings.user_prompts.weight_max, Some(64 * 1024 * 1024));
    // In one part, so that nothing is kept for its own share only.
    (settings.user_prompts.entries_max, settings.user_prompts.weight_max) = (10, Some(1_000));
    let world = World::with(&settings).await;
    for (user, bytes) in [("ada", 997), ("bob", 998)] {
        let user = UserId::new(user).expect("short");
        world.store.put(&ConfigKey::user_prompt(&user), &string(&"x".repeat(bytes))).await;
        world.configs.user_prompt(&user).await.expect("the store answers");
    }
    let stats = world.configs.stats(ConfigKind::UserPrompt);
    assert_eq!((stats.too_heavy, stats.evicted), (1, 0), "with the user's three bytes one is over the bound");
}

#[tokio::test(start_paused = true)]
async fn providers_are_those_that_are_enabled_and_a_broken_row_takes_none_away() {
    let world = World::new().await;
    let mut disabled = ProviderConfig::new("x");
    disabled.enabled = false;
    for (id, value) in [
        ("b", ProviderConfig::new("x").to_json()),
        ("a", ProviderConfig::new("x").to_json()),
        ("off", disabled.to_json()),
        ("broken", Json::parse(r#"{"protocol":1}"#).expect("JSON")),
    ] {
        world.store.put(&ConfigKey::provider(id).expect("short"), &value).await;
    }
    let providers = world.configs.providers().await.expect("there");
    let enabled: Vec<&str> = providers.enabled().iter().map(|provider| &*provider.id).collect();
    assert_eq!(enabled, ["a", "b"]);
    assert!(providers.get("a").is_some() && providers.get("off").is_none());
    assert_eq!(providers.invalid()[0].key, ConfigKey::provider("broken").expect("short"));
}

#[tokio::test(start_paused = true)]
async fn more_providers_than_a_page_are_all_read() {
    let world = World::new().await;
    let value = ProviderConfig::new("x").to_json();
    for n in 0..1_001 {
        let key = ConfigKey::provider(format!("{n:04}")).expect("short");
        world.store.rows.write_config(&key, 0, Some(&value)).await.expect("in memory");
    }
    assert_eq!(world.configs.providers().await.expect("there").enabled().len(), 1_001);
    assert!(
        world
            .store
            .rows
            .configs(ConfigKind::Provider, None, 1_000)
            .await
            .is_ok_and(|page| page.len() == 1_000)
    );
}

#[tokio::test(start_paused = true)]
async fn the_prompts_of_many_users_stay_within_their_bounds() {
    let mut settings = ConfigSettings::default().without_jitter();
    assert_eq!(settings.user_prompts.entries_max, 65_536);
    settings.user_prompts.entries_max = 100;
    let world = World::with(&settings).await;
    for n in 0..1_000 {
        let user = UserId::new(format!("u{n}")).expect("short");
        world.configs.user_prompt(&user).await.expect("the store answers");
    }
    let stats = world.configs.stats(ConfigKind::UserPrompt);
    assert!(stats.evicted >= 900, "{stats:?}");
    assert_eq!(world.configs.user_prompt(&ada()).await.expect("the store answers"), None);
}

#[tokio::test(start_paused = true)]
async fn a_default_that_is_pointed_elsewhere_while_it_is_read_is_no_error() {
    let world = World::new().await;
    let (old, new) = (ConfigKey::model("old").expect("short"), ConfigKey::model("new").expect("short"));
    for key in [&old, &new] {
        world.store.put(key, &ModelConfig::new("p", key.id()).to_json()).await;
    }
    world.store.put(&ConfigKey::default_model(None), &string("old")).await;
    let mut held = world.store.hold();
    let configs = world.configs.clone();
    let mut caller = JoinSet::new();
    caller.spawn(async move { configs.default_model(&None).await });
    held.entered().await;
    // There is a good default at every moment.
    world.store.put(&ConfigKey::default_model(None), &string("new")).await;
    world.store.rows.write_config(&old, 1, None).await.expect("in memory");
    held.release();
    let told = caller.join_next().await.expect("one caller").expect("it ends");
    assert_eq!(told.expect("there").expect("there").id, "new".into());
}

/// It begins at its beginning, whatever it is asked for.
struct Endless(AtomicUsize);

#[async_trait]
impl ConfigStore for Endless {
    async fn config(&self, _: &ConfigKey) -> Result<Option<ConfigRow>, StoreError> {
        Ok(None)
    }

    async fn configs(
        &self,
        kind: ConfigKind,
        _: Option<&str>,
        n: usize,
    ) -> Result<Vec<ConfigRow>, StoreError> {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) < 1_000, "it is asked for ever");
        let row = |n| {
            let key = ConfigKey::new(kind, format!("{n:04}")).expect("short");
            ConfigRow { key, version: 1, value: ProviderConfig::new("x").to_json() }
        };
        Ok((0..n).map(row).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_providers_that_never_ends_is_an_error() {
    let store: Arc<dyn ConfigStore> = Arc::new(Endless(AtomicUsize::new(0)));
    let bus = Arc::new(chatwright_memory::MemoryBus::new());
    let configs = Configs::new(&store, bus, &ConfigSettings::default()).expect("valid");
    let error = configs.providers().await.expect_err("nobody has so many");
    let chatwright_config::FillError::Source(error) = error else { panic!("{error}") };
    assert!(error.to_string().contains("providers"), "{error}");
}
