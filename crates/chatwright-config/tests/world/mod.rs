//! A store that can be held up and made to fail, with caches in front of it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its share")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chatwright_config::{AdvisorSettings, ConfigSettings, Configs, Invalidation};
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow, ModelConfig, ProviderConfig};
use chatwright_core::port::{Bus, ConfigStore, ConfigWriter as _, StoreError, StoreErrorKind};
use chatwright_core::{Json, OrganizationId, UserId};
use chatwright_memory::{MemoryBus, MemoryConfigs};
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub struct World {
    pub store: Arc<Stub>,
    pub bus: MemoryBus,
    pub configs: Configs,
}

impl World {
    /// Nothing is configured, and the bus is listened to.
    pub async fn new() -> Self {
        Self::with(&ConfigSettings::default().without_jitter()).await
    }

    pub async fn with(settings: &ConfigSettings) -> Self {
        let (store, bus) = (Arc::new(Stub::default()), MemoryBus::new());
        let configs = configs(Arc::clone(&store), &bus, settings);
        listened_to(&bus, 1).await;
        Self { store, bus, configs }
    }

    /// Writes the `n`th value of what a method reads, past the caches.
    pub async fn write(&self, method: Method, n: u32) {
        self.store.write(method, n).await;
    }

    pub async fn read(&self, method: Method) -> Result<String, String> {
        method.read(&self.configs).await
    }

    pub fn invalidate(&self, method: Method) {
        self.configs.invalidate(&Invalidation::of(&method.key()));
    }
}

pub fn configs(store: Arc<Stub>, bus: &MemoryBus, settings: &ConfigSettings) -> Configs {
    let bus: Arc<dyn Bus> = Arc::new(bus.clone());
    Configs::new(&(store as Arc<dyn ConfigStore>), bus, settings).expect("the settings are valid")
}

/// So many caches follow the bus.
pub async fn listened_to(bus: &MemoryBus, caches: usize) {
    while bus.subscribers(&Invalidation::topic()) < caches {
        tokio::task::yield_now().await;
    }
}

/// What is read of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Providers,
    Model,
    DefaultModel,
    UserPrompt,
    Advisor,
}

impl Method {
    pub const ALL: [Self; 5] =
        [Self::Providers, Self::Model, Self::DefaultModel, Self::UserPrompt, Self::Advisor];

    /// The row that it reads first.
    pub fn key(self) -> ConfigKey {
        match self {
            Self::Providers => ConfigKey::provider("p").expect("short"),
            Self::Model => ConfigKey::model("m").expect("short"),
            Self::DefaultModel => ConfigKey::default_model(Some(&acme())),
            Self::UserPrompt => ConfigKey::user_prompt(&ada()),
            Self::Advisor => ConfigKey::advisor(),
        }
    }

    /// How long what it read is kept.
    pub fn seconds(self) -> u64 {
        if self == Self::UserPrompt { 5 } else { 10 }
    }

    /// What is there, in a word.
    pub async fn read(self, configs: &Configs) -> Result<String, String> {
        let told = |error: chatwright_config::ReadError| match error {
            chatwright_config::FillError::Source(error) => error.to_string(),
            other => other.to_string(),
        };
        Ok(match self {
            Self::Providers => {
                let providers = configs.providers().await.map_err(told)?;
                providers.enabled().iter().map(|provider| provider.protocol.to_string()).collect()
            }
            Self::Model => {
                let model = configs.model("m").await.map_err(told)?;
                model.map(|model| model.model.to_string()).unwrap_or_default()
            }
            Self::DefaultModel => {
                let model = configs.default_model(&Some(acme())).await.map_err(told)?;
                model.map(|model| model.id.to_string()).unwrap_or_default()
            }
            Self::UserPrompt => {
                configs.user_prompt(&ada()).await.map_err(told)?.as_deref().cloned().unwrap_or_default()
            }
            Self::Advisor => configs
                .advisor()
                .await
                .map_err(told)?
                .reasoning_effort
                .as_deref()
                .unwrap_or_default()
                .to_owned(),
        })
    }
}

pub fn acme() -> OrganizationId {
    OrganizationId::new("acme").expect("short")
}

pub fn ada() -> UserId {
    UserId::new("ada").expect("short")
}

pub fn string(text: &str) -> Json {
    Json::encode(&text).expect("a string encodes")
}

/// Rows in memory. It counts its reads, can hold some of them up after they read, and can fail.
#[derive(Default)]
pub struct Stub {
    pub rows: MemoryConfigs,
    reads: Mutex<Vec<ConfigKey>>,
    holds: Mutex<VecDeque<Hold>>,
    pub fails: AtomicBool,
}

struct Hold {
    entered: oneshot::Sender<()>,
    release: oneshot::Receiver<()>,
}

/// A read that is held up.
pub struct Held {
    entered: Option<oneshot::Receiver<()>>,
    release: oneshot::Sender<()>,
}

impl Held {
    /// The store has read, and is held up before it answers.
    pub async fn entered(&mut self) {
        let entered = self.entered.take().expect("it enters once");
        entered.await.expect("the store lives");
    }

    pub fn release(self) {
        // Whoever read may be gone.
        self.release.send(()).ok();
    }
}

impl Stub {
    /// Holds up the next read that nobody else holds up.
    pub fn hold(&self) -> Held {
        let ((entered, has_entered), (release, released)) = (oneshot::channel(), oneshot::channel());
        self.holds.lock().push_back(Hold { entered, release: released });
        Held { entered: Some(has_entered), release }
    }

    /// How often what a method reads first was read.
    pub fn reads(&self, method: Method) -> usize {
        let key = method.key();
        self.reads.lock().iter().filter(|read| **read == key).count()
    }

    pub async fn write(&self, method: Method, n: u32) {
        let value = match method {
            Method::Providers => ProviderConfig::new(format!("v{n}")).to_json(),
            Method::Model => ModelConfig::new("p", format!("v{n}")).to_json(),
            Method::DefaultModel => {
                let id = format!("v{n}");
                let key = ConfigKey::model(&*id).expect("short");
                self.put(&key, &ModelConfig::new("p", "any").to_json()).await;
                string(&id)
            }
            Method::UserPrompt => string(&format!("v{n}")),
            Method::Advisor => {
                let mut settings = AdvisorSettings::default();
                settings.reasoning_effort = Some(format!("v{n}").into());
                settings.to_json()
            }
        };
        self.put(&method.key(), &value).await;
    }

    pub async fn put(&self, key: &ConfigKey, value: &Json) {
        let version = self.rows.config(key).await.expect("in memory").map_or(0, |row| row.version);
        self.rows.write_config(key, version, Some(value)).await.expect("in memory");
    }

    async fn read<T>(
        &self,
        key: ConfigKey,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.reads.lock().push(key);
        let result = read.await;
        let held = self.holds.lock().pop_front();
        if let Some(Hold { entered, release }) = held {
            // Nobody needs to wait for it.
            entered.send(()).ok();
            drop(release.await);
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "the store is down"));
        }
        result
    }
}

#[async_trait]
impl ConfigStore for Stub {
    async fn config(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, StoreError> {
        self.read(key.clone(), self.rows.config(key)).await
    }

    async fn configs(
        &self,
        kind: ConfigKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ConfigRow>, StoreError> {
        let key = ConfigKey::new(kind, "p").expect("short");
        self.read(key, self.rows.configs(kind, after, limit)).await
    }
}
