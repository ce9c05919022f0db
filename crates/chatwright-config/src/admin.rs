use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow, ModelConfig, ProviderConfig};
use chatwright_core::port::{Bus, ConfigWrite, ConfigWriter, StoreError, StoreErrorKind};
use chatwright_core::{ChatId, Json, OrganizationId, TooLarge, UserId, limits};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{AdvisorSettings, Configs, Invalidation};

/// Writes the configuration, and tells the caches after the commit: those of this process before the write returns, those of
/// other replicas over the bus.
///
/// A write names the version that it expects to replace: 0 if there must be no row. With `None` it replaces whatever is
/// there.
pub struct ConfigAdmin {
    store: Arc<dyn ConfigWriter>,
    bus: Arc<dyn Bus>,
    configs: Option<Configs>,
    /// Writes that are under way. They go on if the caller goes away, so that no cache misses what was committed.
    writes: Mutex<JoinSet<()>>,
}

/// How often a write that expects no version begins anew because somebody else wrote.
const ROUNDS: u32 = 16;
/// How long the store may take. What it did then is unknown.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// How long the bus may take. A cache that is not told sees the change when its entry expires.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// A write did not happen, as far as is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The row has another version than was expected; nothing was written.
    #[error("{key} has version {actual} by now (0: it is not there)")]
    Conflict {
        /// Which row.
        key: ConfigKey,
        /// Its version.
        actual: u64,
    },
    /// What the row would name is not there; nothing was written.
    #[error("{0} is not there")]
    Missing(ConfigKey),
    /// A value is over its bound; nothing was written.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The store did not answer. Whether it was written is unknown; the caches were told in any case.
    #[error("the store did not answer; whether the configuration was written is unknown")]
    Unknown(#[source] StoreError),
    /// The store did not answer a read; nothing was written.
    #[error("the configuration cannot be read")]
    Store(#[source] StoreError),
    /// The store panicked, or the process is shutting down. Whether it was written is unknown; the caches of this process were
    /// told.
    #[error("the write was ended by a panic or a shutdown")]
    Closed,
}

impl ConfigAdmin {
    /// Writes to this store and tells who listens to this bus.
    pub fn new(store: Arc<dyn ConfigWriter>, bus: Arc<dyn Bus>) -> Self {
        Self { store, bus, configs: None, writes: Mutex::default() }
    }

    /// Tells these caches before a write returns, so that whoever wrote reads what they wrote.
    #[must_use]
    pub fn with_cache(mut self, configs: Configs) -> Self {
        self.configs = Some(configs);
        self
    }

    /// Writes a provider, and gives its row's version.
    ///
    /// # Errors
    /// [`AdminError`].
    ///
    /// # Cancel safety
    /// A dropped write goes on.
    ///
    /// # Panics
    /// Outside a tokio runtime, as every write.
    pub async fn put_provider(
        &self,
        id: &str,
        provider: &ProviderConfig,
        expected: Option<u64>,
    ) -> Result<u64, AdminError> {
        self.put(ConfigKey::provider(id)?, provider.to_json(), expected).await
    }

    /// Writes a model, and gives its row's version. Its provider must be there.
    ///
    /// # Errors
    /// [`AdminError`].
    ///
    /// # Cancel safety
    /// A dropped write goes on.
    pub async fn put_model(
        &self,
        id: &str,
        model: &ModelConfig,
        expected: Option<u64>,
    ) -> Result<u64, AdminError> {
        self.must_exist(ConfigKey::provider(&*model.provider)?).await?;
        self.put(ConfigKey::model(id)?, model.to_json(), expected).await
    }

    /// Makes a model the default of an organization, or of all that have none of their own. The model must be there.
    ///
    /// # Errors
    /// [`AdminError`].
    ///
    /// # Cancel safety
    /// A dropped write goes on.
    pub async fn put_default_model(
        &self,
        organization: Option<&OrganizationId>,
        model: &str,
        expected: Option<u64>,
    ) -> Result<u64, AdminError> {
        self.must_exist(ConfigKey::model(model)?).await?;
        self.put(ConfigKey::default_model(organization), string(model), expected).await
    }

    /// Writes what a user wants every model to know: at most
    /// [`USER_PROMPT_BYTES_MAX`](limits::USER_PROMPT_BYTES_MAX) bytes.
    ///
    /// # Errors
    /// [`AdminError`].
    ///
    /// # Cancel safety
    /// A dropped write goes on.
    pub async fn put_user_prompt(
        &self,
        user: &UserId,
        prompt: &str,
        expected: Option<u64>,
    ) -> Result<u64, AdminError> {
        TooLarge::check_bytes("user prompt", prompt.len(), limits::USER_PROMPT_BYTES_MAX)?;
        self.put(ConfigKey::user_prompt(user), string(prompt), expected).await
    }

    /// Writes the settings of the advisor.
    ///
    /// # Errors
    /// [`AdminError`].
    ///
    /// # Cancel safety
    /// A dropped write goes on.
    pub async fn put_advisor(
        &self,
        settings: &AdvisorSettings,
        expected: Option<u64>,
    ) -> Result<u64, AdminError> {
        self.put(ConfigKey::advisor(), settings.to_json(), expected).await
    }

    /// Says whether users and chats may have recorded what is said to models.
    ///
    /// # Errors
    /// [`AdminError`].
    ///
    /// # Cancel safety
    /// A dropped write goes on.
    pub async fn put_debug_allowed(&self, allowed: bool, expected: Option<u64>) -> Result<u64, AdminError> {
        self.put(ConfigKey::debug_allowed(), boolean(allowed), expected).await
    }

    /// Says whether the chats of a user are recorded, if the administrator allows it.
    ///
    /// # Errors
    /// [`AdminError`].
    ///
    /// # Cancel safety
    /// A dropped write goes on.
    pub async fn put_debug_user(
        &self,
        user: &UserId,
        recorded: bool,
        expected: Option<u64>,
    ) -> Result<u64, AdminError> {
        self.put(ConfigKey::debug_user(user), boolean(recorded), expected).await
    }

    /// Says whether a chat is recorded, whatever its user wants for the others, if the administrator allows it.
    ///
    /// # Errors
    /// [`AdminError`].
    ///
    /// # Cancel safety
    /// A dropped write goes on.
    pub async fn put_debug_chat(
        &self,
        chat: ChatId,
        recorded: bool,
        expected: Option<u64>,
    ) -> Result<u64, AdminError> {
        self.put(ConfigKey::debug_chat(chat), boolean(recorded), expected).await
    }

    /// Deletes a row. One that is not there is deleted already.
    ///
    /// # Errors
    /// [`AdminError`].
    ///
    /// # Cancel safety
    /// A dropped write goes on.
    pub async fn delete(&self, key: ConfigKey, expected: Option<u64>) -> Result<(), AdminError> {
        self.write(key, None, expected).await.map(drop)
    }

    /// The row of a key as it is stored now, past every cache.
    ///
    /// # Errors
    /// [`AdminError::Store`].
    ///
    /// # Cancel safety
    /// Cancel-safe: it only reads.
    pub async fn row(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, AdminError> {
        self.store.config(key).await.map_err(AdminError::Store)
    }

    /// The rows of a kind as they are stored now, disabled and invalid ones included, ascending by id: a page of at most
    /// `limit`, which is from 1 to [`PAGE_ITEMS_MAX`](limits::PAGE_ITEMS_MAX).
    ///
    /// # Errors
    /// [`AdminError::Store`].
    ///
    /// # Cancel safety
    /// Cancel-safe: it only reads.
    pub async fn rows(
        &self,
        kind: ConfigKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ConfigRow>, AdminError> {
        self.store.configs(kind, after, limit).await.map_err(AdminError::Store)
    }

    async fn must_exist(&self, key: ConfigKey) -> Result<(), AdminError> {
        self.row(&key).await?.map(drop).ok_or(AdminError::Missing(key))
    }

    async fn put(&self, key: ConfigKey, value: Json, expected: Option<u64>) -> Result<u64, AdminError> {
        TooLarge::check_bytes("config value", value.len(), limits::CONFIG_BYTES_MAX)?;
        self.write(key, Some(value), expected).await
    }

    async fn write(
        &self,
        key: ConfigKey,
        value: Option<Json>,
        expected: Option<u64>,
    ) -> Result<u64, AdminError> {
        let (store, bus, configs) = (Arc::clone(&self.store), Arc::clone(&self.bus), self.configs.clone());
        let (answer, written) = oneshot::channel();
        let untold = Untold { invalidation: Invalidation::of(&key), configs };
        let task = async move {
            let committed = timeout(WRITE_WITHIN, commit(&*store, &key, value.as_ref(), expected)).await;
            let written = committed.unwrap_or_else(|_| {
                let late = StoreError::new(StoreErrorKind::Unavailable, "it took too long");
                Err(AdminError::Unknown(late))
            });
            if matches!(written, Err(AdminError::Conflict { .. } | AdminError::Store(_))) {
                untold.nothing_happened();
            } else {
                tell(untold, &*bus).await;
            }
            // Nobody may be waiting any more.
            drop(answer.send(written));
        };
        {
            let mut writes = self.writes.lock();
            while writes.try_join_next().is_some() {}
            writes.spawn(task);
        }
        written.await.unwrap_or(Err(AdminError::Closed))
    }
}

impl fmt::Debug for ConfigAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigAdmin").finish_non_exhaustive()
    }
}

async fn commit(
    store: &dyn ConfigWriter,
    key: &ConfigKey,
    value: Option<&Json>,
    expected: Option<u64>,
) -> Result<u64, AdminError> {
    let conflict = |actual| AdminError::Conflict { key: key.clone(), actual };
    let mut version = match expected {
        Some(expected) => expected,
        None => store.config(key).await.map_err(AdminError::Store)?.map_or(0, |row| row.version),
    };
    for _ in 0..ROUNDS {
        match store.write_config(key, version, value).await.map_err(AdminError::Unknown)? {
            ConfigWrite::Written(version) => return Ok(version),
            ConfigWrite::Absent => return Ok(0),
            ConfigWrite::Conflict(actual) if expected.is_some() => return Err(conflict(actual)),
            ConfigWrite::Conflict(actual) => version = actual,
        }
    }
    Err(conflict(version))
}

/// The duty to tell the caches of this process of a write, whatever becomes of its task: also if that panics or is ended.
struct Untold {
    invalidation: Invalidation,
    configs: Option<Configs>,
}

impl Untold {
    fn nothing_happened(mut self) {
        self.configs = None;
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        if let Some(configs) = &self.configs {
            configs.invalidate(&self.invalidation);
        }
    }
}

async fn tell(untold: Untold, bus: &dyn Bus) {
    let invalidation = untold.invalidation.clone();
    // Its own caches before everybody else's: the bus may take its time.
    drop(untold);
    if !matches!(timeout(TELL_WITHIN, invalidation.publish(bus)).await, Ok(Ok(()))) {
        metrics::counter!("chatwright_config_invalidations_lost_total").increment(1);
        tracing::warn!(kind = %invalidation.kind, "other replicas were not told of a change of the configuration");
    }
}

fn boolean(value: bool) -> Json {
    Json::encode(&value).expect("a boolean encodes")
}

fn string(text: &str) -> Json {
    Json::encode(&text).expect("a string encodes")
}

#[cfg(test)]
mod tests {
    use chatwright_memory::{MemoryBus, MemoryConfigs};

    use super::*;

    #[tokio::test]
    async fn the_tasks_of_writes_that_ended_are_not_kept() {
        let admin = ConfigAdmin::new(Arc::new(MemoryConfigs::new()), Arc::new(MemoryBus::new()));
        for _ in 0..100 {
            admin.put_advisor(&AdvisorSettings::default(), None).await.expect("written");
            assert!(admin.writes.lock().len() <= 2);
        }
    }
}
