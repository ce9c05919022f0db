//! Chats whose models are configured, on paused time.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_config::{ConfigSettings, Configs, Invalidation};
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow, Configured, ModelConfig, ProviderConfig};
use chatwright_core::head::Status;
use chatwright_core::model::{EffortPolicy, ReasoningEffort};
use chatwright_core::port::{
    Bus, ConfigStore, ConfigWriter as _, LanguageModel, ModelResolver, StoreError, StoreErrorKind, Unresolved,
};
use chatwright_core::record::Body;
use chatwright_core::{ChatId, Json, UserId};
use chatwright_loop::{Chats, Configuration, NewMessage, Settings};
use chatwright_memory::MemoryConfigs;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use common::{RuleModel, World, new_chat, records, say, transcript, until};

/// Rows in memory that cannot always be read.
#[derive(Clone, Default)]
struct Rows {
    rows: MemoryConfigs,
    down: Arc<AtomicBool>,
    /// Reads of this kind wait until there is none, or another.
    hangs: Arc<Mutex<Option<ConfigKind>>>,
}

impl Rows {
    async fn check(&self, kind: ConfigKind) -> Result<(), StoreError> {
        while *self.hangs.lock() == Some(kind) {
            sleep(Duration::from_millis(1)).await;
        }
        match self.down.load(Ordering::SeqCst) {
            true => Err(StoreError::new(StoreErrorKind::Unavailable, "the database is down")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl ConfigStore for Rows {
    async fn config(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, StoreError> {
        self.check(key.kind()).await?;
        self.rows.config(key).await
    }

    async fn configs(
        &self,
        kind: ConfigKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ConfigRow>, StoreError> {
        self.check(kind).await?;
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
    model: Arc<RuleModel>,
    rows: Rows,
    resolver: Resolver,
    configs: Configs,
    shutdown: Arc<Notify>,
    worker: JoinSet<()>,
}

impl Deployment {
    async fn new(world: &World) -> Self {
        Self::with(world, "At last.", &ConfigSettings::default().without_jitter()).await
    }

    async fn with(world: &World, answer: &str, settings: &ConfigSettings) -> Self {
        let rows = Rows::default();
        let answer = answer.to_owned();
        let model = RuleModel::new(move |_| say(&answer));
        let resolver = Resolver { model: model.clone(), sealed: Arc::default(), made: Arc::default() };
        let bus: Arc<dyn Bus> = Arc::new(world.bus.clone());
        let store: Arc<dyn ConfigStore> = Arc::new(rows.clone());
        let configs = Configs::new(&store, bus, settings).expect("the settings are valid");
        let mut ports = world.ports(RuleModel::new(|_| say("Nobody asked me.")), vec![]);
        (ports.models, ports.default_model) = Default::default();
        ports.configuration =
            Some(Configuration { configs: configs.clone(), resolver: Arc::new(resolver.clone()) });
        let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
        let worker = chats.worker();
        let mut tasks = JoinSet::new();
        let shutdown = Arc::new(Notify::new());
        let ended = Arc::clone(&shutdown);
        tasks.spawn(async move { worker.run(ended.notified()).await });
        let deployment = Self { chats, model, rows, resolver, configs, shutdown, worker: tasks };
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

    /// Reads of this kind hang from now on, and nothing of them is at hand.
    fn hang(&self, kind: impl Into<Option<ConfigKind>>) {
        *self.rows.hangs.lock() = kind.into();
        self.configs.flush();
    }

    /// Waits until so many attempts failed.
    async fn failed(&self, chat: ChatId, attempts: usize) {
        let failed = async {
            while self.failures(chat).await.len() < attempts {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(60), failed).await.expect("the attempts fail");
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
    deployment.failed(chat, 2).await;
    deployment.rows.down.store(false, Ordering::SeqCst);
    until(&deployment.chats, chat, Status::Waiting).await;
    assert_eq!(transcript(&deployment.chats, chat).await, ["user: hello", "model: At last."]);
    let told = ("generic".to_owned(), "The configuration cannot be read: the database is down.".to_owned());
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
    deployment.failed(chat, 1).await;
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
    sleep(Duration::from_secs(11)).await;
    turn(3).await;
    assert_eq!(made(), 1);
    let mut provider = ProviderConfig::new("any");
    provider.display_name = Some("Another".into());
    deployment.put(&ConfigKey::provider("p").expect("short"), &provider.to_json()).await;
    turn(4).await;
    assert_eq!(made(), 2);
    sleep(Duration::from_secs(61)).await;
    turn(5).await;
    assert_eq!(made(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_chat_thinks_as_much_as_it_asks_for_within_what_its_models_row_allows() {
    use ReasoningEffort::{High, Low, Max, Medium};

    let world = World::new();
    let deployment = Deployment::new(&world).await;
    let policy = |policy: Option<EffortPolicy>| {
        let mut model = ModelConfig::new("p", "m");
        model.call.reasoning_effort = policy;
        let deployment = &deployment;
        async move { deployment.put(&ConfigKey::model("m").expect("short"), &model.to_json()).await }
    };
    let up_to_high = EffortPolicy { default: Some(Low), max: Some(High), ..EffortPolicy::default() };
    policy(Some(up_to_high)).await;
    let (chat, _) = deployment.chats.create(new_chat("as you like")).await.expect("created");
    until(&deployment.chats, chat, Status::Waiting).await;
    let say = |words: &str, effort| {
        let (chats, mut message) = (&deployment.chats, NewMessage::text(words));
        message.effort = effort;
        async move {
            chats.send(chat, message).await.expect("sent");
            until(chats, chat, Status::Waiting).await;
        }
    };
    say("hard", Some(Max)).await;
    say("as before", None).await;
    say("easier", Some(Medium)).await;
    policy(None).await;
    say("hard again", Some(Max)).await;
    let asked = deployment.model.efforts.lock().clone();
    assert_eq!(asked, [Some(Low), Some(High), Some(High), Some(Medium), None]);
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

#[tokio::test(start_paused = true)]
async fn a_provider_whose_row_is_not_valid_is_named_with_what_is_wrong() {
    let world = World::new();
    let deployment = Deployment::new(&world).await;
    let (chat, _) = deployment.chats.create(new_chat("hello")).await.expect("created");
    until(&deployment.chats, chat, Status::Waiting).await;
    let broken = Json::parse(r#"{"protocol":"any","enabled":"sk-secret"}"#).expect("JSON");
    deployment.put(&ConfigKey::provider("p").expect("short"), &broken).await;
    deployment.chats.send(chat, NewMessage::text("again")).await.expect("sent");
    until(&deployment.chats, chat, Status::Error).await;
    let told = "The configuration providers/p is not valid: expected a boolean at line 1 column 39.";
    assert_eq!(deployment.failures(chat).await, [("config".to_owned(), told.to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_chat_is_created_while_nobody_can_say_whether_its_model_can_be_had() {
    let world = World::new();
    let deployment = Deployment::new(&world).await;
    deployment.resolver.sealed.store(true, Ordering::SeqCst);
    let (chat, _) = deployment.chats.create(new_chat("hello")).await.expect("the vault says nothing");
    sleep(Duration::from_millis(100)).await;
    deployment.resolver.sealed.store(false, Ordering::SeqCst);
    until(&deployment.chats, chat, Status::Waiting).await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_is_repeated_gives_its_receipt_although_its_model_is_gone() {
    let world = World::new();
    let deployment = Deployment::new(&world).await;
    let mut new = new_chat("hello");
    new.key = Some("once".to_owned());
    new.model = Some("m".into());
    new.id = Some(ChatId::mint(&chatwright_loop::SystemIds));
    let first = deployment.chats.create(new.clone()).await.expect("created");
    until(&deployment.chats, first.0, Status::Waiting).await;
    let key = ConfigKey::model("m").expect("short");
    let row = deployment.rows.rows.config(&key).await.expect("in memory").expect("there");
    deployment.rows.rows.write_config(&key, row.version, None).await.expect("in memory");
    deployment.configs.invalidate(&Invalidation::of(&key));
    let again = deployment.chats.create(new.clone()).await.expect("it was created");
    assert_eq!((again.0, again.1.message), (first.0, first.1.message));
    new.id = Some(ChatId::mint(&chatwright_loop::SystemIds));
    assert!(deployment.chats.create(new).await.is_err(), "another chat of this model is refused");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_moves_to_another_provider_while_it_is_chosen_is_chosen() {
    let world = World::new();
    let deployment = Deployment::new(&world).await;
    deployment.hang(ConfigKind::Provider);
    let chats = deployment.chats.clone();
    let mut creation = JoinSet::new();
    creation.spawn(async move { chats.create(new_chat("hello")).await });
    sleep(Duration::from_millis(10)).await;
    // The model can be had at every moment.
    let (old, new) = (ConfigKey::provider("p").expect("short"), ConfigKey::provider("q").expect("short"));
    deployment.put(&new, &ProviderConfig::new("any").to_json()).await;
    deployment.put(&ConfigKey::model("m").expect("short"), &ModelConfig::new("q", "m").to_json()).await;
    let mut off = ProviderConfig::new("any");
    off.enabled = false;
    deployment.rows.rows.write_config(&old, 1, Some(&off.to_json())).await.expect("in memory");
    *deployment.rows.hangs.lock() = None;
    let (chat, _) = creation.join_next().await.expect("one").expect("it ends").expect("it can be had");
    until(&deployment.chats, chat, Status::Waiting).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_no_configuration() {
    for kind in [ConfigKind::UserPrompt, ConfigKind::Provider] {
        let world = World::new();
        let deployment = Deployment::new(&world).await;
        let (chat, _) = deployment.chats.create(new_chat("hello")).await.expect("created");
        until(&deployment.chats, chat, Status::Waiting).await;
        deployment.hang(kind);
        deployment.chats.send(chat, NewMessage::text("again")).await.expect("sent");
        let head = async || deployment.chats.head(chat).await.expect("there");
        let held = async {
            while head().await.holder.is_none() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(60), held).await.expect("a worker takes it");
        let begun = Instant::now();
        deployment.chats.interrupt(chat, None).await.expect("a turn runs");
        until(&deployment.chats, chat, Status::Waiting).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{kind}: {:?}", begun.elapsed());
        assert_eq!(deployment.failures(chat).await, [], "{kind}: it was stopped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_no_configuration() {
    for kind in [ConfigKind::UserPrompt, ConfigKind::Provider] {
        let world = World::new();
        let mut settings = ConfigSettings::default().without_jitter();
        settings.user_prompts.fills_max = 1;
        let mut deployment = Deployment::with(&world, "At last.", &settings).await;
        let mut chats = Vec::new();
        for n in 0..10 {
            let mut new = new_chat("");
            new.owner = UserId::new(format!("user {n}")).expect("short");
            new.content.clear();
            chats.push(deployment.chats.create(new).await.expect("created").0);
        }
        deployment.hang(kind);
        for chat in &chats {
            deployment.chats.send(*chat, NewMessage::text("hello")).await.expect("sent");
        }
        // Whoever waits only for a name has it by now.
        sleep(Duration::from_secs(3)).await;
        let begun = Instant::now();
        deployment.shutdown.notify_one();
        deployment.worker.join_next().await.expect("one worker").expect("it ends");
        assert!(begun.elapsed() < Duration::from_secs(3), "{kind}: {:?}", begun.elapsed());
        for chat in chats {
            let head = deployment.chats.head(chat).await.expect("there");
            assert!(head.holder.is_none() && head.wake_at.is_some(), "{kind}: it is handed over");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_there_waits_for_no_configuration() {
    let world = World::new();
    let long = "word ".repeat(1_000);
    let settings = ConfigSettings::default().without_jitter();
    let deployment = Deployment::with(&world, &long, &settings).await;
    let (chat, _) = deployment.chats.create(new_chat("hello")).await.expect("created");
    sleep(Duration::from_millis(500)).await;
    deployment.hang(ConfigKind::DefaultModel);
    let begun = Instant::now();
    until(&deployment.chats, chat, Status::Waiting).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(transcript(&deployment.chats, chat).await[1], format!("model: {long}"));
}
