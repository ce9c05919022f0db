//! Chats whose models are configured, on paused time.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_config::{ConfigSettings, Configs, Invalidation};
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow, Configured, ModelConfig, ProviderConfig};
use chatwright_core::head::Status;
use chatwright_core::port::{
    Bus, ConfigStore, ConfigWriter as _, LanguageModel, ModelResolver, StoreError, StoreErrorKind, Unresolved,
};
use chatwright_core::record::Body;
use chatwright_core::{ChatId, Json};
use chatwright_loop::{Chats, Configuration, NewMessage, Settings};
use chatwright_memory::MemoryConfigs;
use tokio::task::JoinSet;

use common::{RuleModel, World, new_chat, records, say, transcript, until};

/// Rows in memory that cannot always be read.
#[derive(Clone, Default)]
struct Rows {
    rows: MemoryConfigs,
    down: Arc<AtomicBool>,
}

impl Rows {
    fn check(&self) -> Result<(), StoreError> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(StoreError::new(StoreErrorKind::Unavailable, "the database is down")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl ConfigStore for Rows {
    async fn config(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, StoreError> {
        self.check()?;
        self.rows.config(key).await
    }

    async fn configs(
        &self,
        kind: ConfigKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ConfigRow>, StoreError> {
        self.check()?;
        self.rows.configs(kind, after, limit).await
    }
}

/// Gives the same model for every row, if its vault answers. It counts what it made.
#[derive(Clone)]
struct Resolver {
    model: Arc<dyn LanguageModel>,
    sealed: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
}

#[async_trait]
impl ModelResolver for Resolver {
    async fn resolve(
        &self,
        _: &Configured<ProviderConfig>,
        _: &Configured<ModelConfig>,
    ) -> Result<Arc<dyn LanguageModel>, Unresolved> {
        if self.sealed.load(Ordering::SeqCst) {
            return Err(Unresolved::Unavailable { why: "the vault is sealed".into() });
        }
        self.made.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::clone(&self.model))
    }
}

struct Deployment {
    chats: Chats,
    rows: Rows,
    resolver: Resolver,
    configs: Configs,
    _worker: JoinSet<()>,
}

impl Deployment {
    async fn new(world: &World) -> Self {
        let rows = Rows::default();
        let model: Arc<dyn LanguageModel> = RuleModel::new(|_| say("At last."));
        let resolver = Resolver { model, sealed: Arc::default(), made: Arc::default() };
        let bus: Arc<dyn Bus> = Arc::new(world.bus.clone());
        let settings = ConfigSettings::default().without_jitter();
        let store: Arc<dyn ConfigStore> = Arc::new(rows.clone());
        let configs = Configs::new(&store, bus, &settings).expect("the settings are valid");
        let mut ports = world.ports(RuleModel::new(|_| say("Nobody asked me.")), vec![]);
        (ports.models, ports.default_model) = Default::default();
        ports.configuration =
            Some(Configuration { configs: configs.clone(), resolver: Arc::new(resolver.clone()) });
        let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
        let worker = chats.worker();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { worker.run(std::future::pending()).await });
        let deployment = Self { chats, rows, resolver, configs, _worker: tasks };
        let (provider, model) = (ProviderConfig::new("any"), ModelConfig::new("p", "m"));
        deployment.put(&ConfigKey::provider("p").expect("short"), &provider.to_json()).await;
        deployment.put(&ConfigKey::model("m").expect("short"), &model.to_json()).await;
        deployment.put(&ConfigKey::default_model(None), &Json::parse("\"m\"").expect("JSON")).await;
        deployment
    }

    async fn put(&self, key: &ConfigKey, value: &Json) {
        let row = self.rows.rows.config(key).await.expect("in memory");
        let version = row.map_or(0, |row| row.version);
        self.rows.rows.write_config(key, version, Some(value)).await.expect("in memory");
        self.configs.invalidate(&Invalidation::of(key));
    }

    /// The kinds and messages of the attempts that failed.
    async fn failures(&self, chat: ChatId) -> Vec<(String, String)> {
        let bodies =
            records(&self.chats, chat).await.into_iter().map(|record| record.open().expect("ours").body);
        let failure = |body| match body {
            Body::AttemptFailed(failed) => Some((failed.error.kind.into(), failed.error.message.into())),
            _ => None,
        };
        bodies.filter_map(failure).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_cannot_be_read_is_no_fault_of_a_provider_and_read_again() {
    let world = World::new();
    let deployment = Deployment::new(&world).await;
    deployment.rows.down.store(true, Ordering::SeqCst);
    let created = deployment.chats.create(new_chat("hello")).await;
    let (chat, _) = created.expect("whether the model is there is not known, and no reason to refuse");
    while deployment.failures(chat).await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    deployment.rows.down.store(false, Ordering::SeqCst);
    until(&deployment.chats, chat, Status::Waiting).await;
    assert_eq!(transcript(&deployment.chats, chat).await, ["user: hello", "model: At last."]);
    let told = (
        "generic".to_owned(),
        "The configuration cannot be read now: the configuration cannot be read: the database is down."
            .to_owned(),
    );
    assert_eq!(deployment.failures(chat).await[0], told);
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_is_sealed_is_asked_again() {
    let world = World::new();
    let deployment = Deployment::new(&world).await;
    let (chat, _) = deployment.chats.create(new_chat("hello")).await.expect("the vault is open");
    until(&deployment.chats, chat, Status::Waiting).await;
    // What was made of the rows is forgotten with them.
    deployment.put(&ConfigKey::model("m").expect("short"), &ModelConfig::new("p", "m").to_json()).await;
    deployment.resolver.sealed.store(true, Ordering::SeqCst);
    deployment.chats.send(chat, NewMessage::text("again")).await.expect("sent");
    while deployment.failures(chat).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    deployment.resolver.sealed.store(false, Ordering::SeqCst);
    until(&deployment.chats, chat, Status::Waiting).await;
    let told = "The model cannot be made now: the vault is sealed.".to_owned();
    assert_eq!(deployment.failures(chat).await[0], ("generic".to_owned(), told));
}

#[tokio::test(start_paused = true)]
async fn a_model_is_made_once_and_anew_when_a_row_changes_or_a_minute_is_over() {
    let world = World::new();
    let deployment = Deployment::new(&world).await;
    let made = || deployment.resolver.made.load(Ordering::SeqCst);
    let turn = async |n: usize| {
        let (chat, _) = deployment.chats.create(new_chat(&format!("hello {n}"))).await.expect("created");
        until(&deployment.chats, chat, Status::Waiting).await;
    };
    for n in 0..3 {
        turn(n).await;
    }
    assert_eq!(made(), 1);
    // Reading the same rows again makes nothing.
    tokio::time::sleep(Duration::from_secs(11)).await;
    turn(3).await;
    assert_eq!(made(), 1);
    let mut provider = ProviderConfig::new("any");
    provider.display_name = Some("Another".into());
    deployment.put(&ConfigKey::provider("p").expect("short"), &provider.to_json()).await;
    turn(4).await;
    assert_eq!(made(), 2);
    tokio::time::sleep(Duration::from_secs(61)).await;
    turn(5).await;
    assert_eq!(made(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_not_valid_ends_the_turn_and_names_the_row() {
    let world = World::new();
    let deployment = Deployment::new(&world).await;
    let (chat, _) = deployment.chats.create(new_chat("hello")).await.expect("created");
    until(&deployment.chats, chat, Status::Waiting).await;
    let prompt = ConfigKey::user_prompt(&new_chat("").owner);
    for (key, value, words) in [
        (ConfigKey::model("m").expect("short"), "7", "The configuration model_config/m is not valid"),
        (ConfigKey::default_model(None), "\"gone\"", "it names a model that is not there"),
        (prompt, "[\"sk-secret\"]", "is not valid: expected a string at line 1 column 0."),
    ] {
        let before = deployment.rows.rows.config(&key).await.expect("in memory");
        deployment.put(&key, &Json::parse(value).expect("JSON")).await;
        deployment.chats.send(chat, NewMessage::text("again")).await.expect("sent");
        until(&deployment.chats, chat, Status::Error).await;
        let (kind, message) = deployment.failures(chat).await.pop().expect("it failed");
        assert_eq!(kind, "config");
        assert!(message.contains(words) && !message.contains("secret"), "{message}");
        if let Some(before) = before {
            deployment.put(&key, &before.value).await;
        }
    }
}
