use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::config::{
    ConfigKey, ConfigKind, ConfigRow, Configured, InvalidConfig, ModelConfig, ProviderConfig,
};
use chatwright_core::port::{Bus, ConfigStore, DebugSwitches, StoreError, StoreErrorKind};
use chatwright_core::{ChatId, OrganizationId, UserId};
use tokio::task::JoinSet;

use crate::invalidation::follow;
use crate::{AdvisorSettings, Cache, FillError, InvalidPolicy, Invalidation, Policy, Stats};

/// The configuration through caches: what a turn needs to know, without asking the database each time. A clone is the same
/// caches.
///
/// A write is seen as soon as the bus delivers its [`Invalidation`], and with a dead bus when the entry expires: after 5 s for
/// the prompts of users, 10 s for the rest. A bus that lost frames or was connected anew empties all caches.
///
/// What is not there is asked for again each time, but for the prompts of users; an error is never kept. While the store
/// fails, what is at hand is served for another minute.
#[derive(Clone)]
pub struct Configs(Arc<Inner>);

struct Inner {
    caches: Caches,
    /// Follows the bus for as long as there is a clone.
    _follower: JoinSet<()>,
}

/// One cache of each kind.
#[derive(Clone)]
pub(crate) struct Caches {
    providers: Cache<(), Providers, ConfigError>,
    models: Cache<String, Configured<ModelConfig>, ConfigError>,
    default_models: Cache<Option<OrganizationId>, Configured<ModelConfig>, ConfigError>,
    user_prompts: Cache<UserId, String, ConfigError>,
    advisor: Cache<(), AdvisorSettings, ConfigError>,
    debug: Cache<ConfigKey, bool, ConfigError>,
}

/// How each kind of configuration is cached. Plain data; every field has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigSettings {
    /// The enabled providers. 10 s by default.
    pub providers: Policy,
    /// Models by id. 10 s by default, 10,000 of them.
    pub models: Policy,
    /// The default models by organization. 10 s by default, 10,000 of them.
    pub default_models: Policy,
    /// The prompts of users, those who have none included. 5 s by default, 65,536 of them and 64 MiB.
    pub user_prompts: Policy,
    /// The settings of the advisor. 10 s by default.
    pub advisor: Policy,
    /// What is recorded: one entry for each user and each chat, those for whom nothing is set included. 10 s by default, 65,536 of
    /// them.
    pub debug: Policy,
}

impl Default for ConfigSettings {
    fn default() -> Self {
        let policy = |seconds, entries_max| {
            let mut policy = Policy::new(Duration::from_secs(seconds));
            policy.entries_max = entries_max;
            policy.stale_if_error = Some(Duration::from_secs(60));
            policy
        };
        let mut user_prompts = policy(5, 65_536);
        user_prompts.negative = Some(user_prompts.ttl);
        user_prompts.weight_max = Some(64 * 1024 * 1024);
        let mut debug = policy(10, 65_536);
        debug.negative = Some(debug.ttl);
        Self {
            providers: policy(10, 1),
            models: policy(10, 10_000),
            default_models: policy(10, 10_000),
            user_prompts,
            advisor: policy(10, 1),
            debug,
        }
    }
}

impl ConfigSettings {
    /// The same without jitter: every entry lives exactly as long as its policy says. For tests.
    #[must_use]
    pub fn without_jitter(mut self) -> Self {
        for policy in self.policies() {
            policy.jitter_percent = 0;
        }
        self
    }

    fn policies(&mut self) -> [&mut Policy; 6] {
        let Self { providers, models, default_models, user_prompts, advisor, debug } = self;
        [providers, models, default_models, user_prompts, advisor, debug]
    }
}

impl Configs {
    /// Caches in front of this store, emptied by what the bus says.
    ///
    /// # Errors
    /// [`InvalidPolicy`] if a setting is out of its bounds.
    ///
    /// # Panics
    /// Outside a tokio runtime: a task of its own follows the bus until the last clone is dropped.
    pub fn new(
        store: &Arc<dyn ConfigStore>,
        bus: Arc<dyn Bus>,
        settings: &ConfigSettings,
    ) -> Result<Self, InvalidPolicy> {
        let caches = Caches::new(store, settings)?;
        let mut follower = JoinSet::new();
        follower.spawn(follow(caches.clone(), bus));
        Ok(Self(Arc::new(Inner { caches, _follower: follower })))
    }

    /// The providers that may be used.
    ///
    /// # Errors
    /// [`ReadError`].
    ///
    /// # Cancel safety
    /// Cancel-safe, as [`Cache::get`].
    pub async fn providers(&self) -> Result<Arc<Providers>, ReadError> {
        Ok(self.0.caches.providers.get(&()).await?.unwrap_or_default())
    }

    /// The model of this id, enabled or not.
    ///
    /// # Errors
    /// [`ReadError`].
    ///
    /// # Cancel safety
    /// Cancel-safe, as [`Cache::get`].
    pub async fn model(&self, id: &str) -> Result<Option<Arc<Configured<ModelConfig>>>, ReadError> {
        self.0.caches.models.get(id).await
    }

    /// The model of chats of this organization that name none: its own default, or else that of all.
    ///
    /// # Errors
    /// [`ReadError`].
    ///
    /// # Cancel safety
    /// Cancel-safe, as [`Cache::get`].
    pub async fn default_model(
        &self,
        organization: &Option<OrganizationId>,
    ) -> Result<Option<Arc<Configured<ModelConfig>>>, ReadError> {
        self.0.caches.default_models.get(organization).await
    }

    /// What a user wants every model to know.
    ///
    /// # Errors
    /// [`ReadError`].
    ///
    /// # Cancel safety
    /// Cancel-safe, as [`Cache::get`].
    pub async fn user_prompt(&self, user: &UserId) -> Result<Option<Arc<String>>, ReadError> {
        self.0.caches.user_prompts.get(user).await
    }

    /// The settings of the advisor. Without a row it is off.
    ///
    /// # Errors
    /// [`ReadError`]; a row that does not decode is one, each time.
    ///
    /// # Cancel safety
    /// Cancel-safe, as [`Cache::get`].
    pub async fn advisor(&self) -> Result<Arc<AdvisorSettings>, ReadError> {
        Ok(self.0.caches.advisor.get(&()).await?.unwrap_or_default())
    }

    async fn switch(&self, key: ConfigKey) -> Result<Option<bool>, StoreError> {
        let set = self.0.caches.debug.get(&key).await;
        set.map(|set| set.map(|set| *set)).map_err(|error| {
            let why = match &error {
                FillError::Source(source) => source.to_string(),
                error => error.to_string(),
            };
            StoreError::new(StoreErrorKind::Unavailable, why)
        })
    }

    /// Forgets what an invalidation is about. Reads that begin after it returned see what the store has then.
    pub fn invalidate(&self, invalidation: &Invalidation) {
        self.0.caches.invalidate(invalidation);
    }

    /// Forgets everything.
    pub fn flush(&self) {
        self.0.caches.flush();
    }

    /// Ends reads that are under way, for good. What is at hand is served until it expires.
    pub fn close(&self) {
        let Caches { providers, models, default_models, user_prompts, advisor, debug } = &self.0.caches;
        providers.close();
        models.close();
        default_models.close();
        user_prompts.close();
        advisor.close();
        debug.close();
    }

    /// What happened in the cache of a kind.
    pub fn stats(&self, kind: ConfigKind) -> Stats {
        let caches = &self.0.caches;
        match kind {
            ConfigKind::Provider => caches.providers.stats(),
            ConfigKind::Model => caches.models.stats(),
            ConfigKind::DefaultModel => caches.default_models.stats(),
            ConfigKind::UserPrompt => caches.user_prompts.stats(),
            ConfigKind::Advisor => caches.advisor.stats(),
            // One cache for all of them.
            ConfigKind::DebugAllowed | ConfigKind::DebugUser | ConfigKind::DebugChat => caches.debug.stats(),
            _ => Stats::default(),
        }
    }
}

impl fmt::Debug for Configs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Configs");
        for kind in ConfigKind::ALL {
            shown.field(kind.as_str(), &self.stats(kind));
        }
        shown.finish()
    }
}

impl Caches {
    fn new(store: &Arc<dyn ConfigStore>, settings: &ConfigSettings) -> Result<Self, InvalidPolicy> {
        let (of_providers, of_models, of_defaults) =
            (Arc::clone(store), Arc::clone(store), Arc::clone(store));
        let (of_prompts, of_advisor, of_debug) = (Arc::clone(store), Arc::clone(store), Arc::clone(store));
        Ok(Self {
            providers: Cache::new(settings.providers, move |()| providers(Arc::clone(&of_providers)))?
                .stale_only_for(ConfigError::is_outage),
            models: Cache::new(settings.models, move |id: String| model(Arc::clone(&of_models), id))?
                .stale_only_for(ConfigError::is_outage),
            default_models: Cache::new(settings.default_models, move |organization| {
                default_model(Arc::clone(&of_defaults), organization)
            })?
            .stale_only_for(ConfigError::is_outage),
            user_prompts: Cache::weighed(
                settings.user_prompts,
                |user: &UserId, prompt: &String| (user.as_str().len() + prompt.len()) as u64,
                move |user| user_prompt(Arc::clone(&of_prompts), user),
            )?
            .stale_only_for(ConfigError::is_outage),
            advisor: Cache::new(settings.advisor, move |()| advisor(Arc::clone(&of_advisor)))?
                .stale_only_for(ConfigError::is_outage),
            debug: Cache::new(settings.debug, move |key| switch(Arc::clone(&of_debug), key))?
                .stale_only_for(ConfigError::is_outage),
        })
    }

    /// What depends on what changed is forgotten with it.
    pub(crate) fn invalidate(&self, invalidation: &Invalidation) {
        match invalidation.kind {
            // Which models can be used depends on their providers.
            ConfigKind::Provider => {
                self.providers.invalidate_all();
                self.models.invalidate_all();
                self.default_models.invalidate_all();
            }
            // Any default may be this model.
            ConfigKind::Model => {
                self.models.invalidate(&*invalidation.entity_id);
                self.default_models.invalidate_all();
            }
            // That of all is the default of every organization without one.
            ConfigKind::DefaultModel => self.default_models.invalidate_all(),
            ConfigKind::UserPrompt => match UserId::new(invalidation.entity_id.clone()) {
                Ok(user) => self.user_prompts.invalidate(&user),
                Err(_) => self.user_prompts.invalidate_all(),
            },
            ConfigKind::Advisor => self.advisor.invalidate_all(),
            kind @ (ConfigKind::DebugAllowed | ConfigKind::DebugUser | ConfigKind::DebugChat) => {
                match ConfigKey::new(kind, invalidation.entity_id.clone()) {
                    Ok(key) => self.debug.invalidate(&key),
                    Err(_) => self.debug.invalidate_all(),
                }
            }
            _ => self.flush(),
        }
    }

    pub(crate) fn flush(&self) {
        self.providers.invalidate_all();
        self.models.invalidate_all();
        self.default_models.invalidate_all();
        self.user_prompts.invalidate_all();
        self.advisor.invalidate_all();
        self.debug.invalidate_all();
    }
}

/// Upholds E1–E2: a change arrives as every other one of the configuration does.
#[async_trait]
impl DebugSwitches for Configs {
    async fn allowed(&self) -> Result<Option<bool>, StoreError> {
        self.switch(ConfigKey::debug_allowed()).await
    }

    async fn of_user(&self, user: &UserId) -> Result<Option<bool>, StoreError> {
        self.switch(ConfigKey::debug_user(user)).await
    }

    async fn of_chat(&self, chat: ChatId) -> Result<Option<bool>, StoreError> {
        self.switch(ConfigKey::debug_chat(chat)).await
    }
}

/// The providers that may be used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Providers {
    enabled: Vec<Arc<Configured<ProviderConfig>>>,
    invalid: Vec<InvalidConfig>,
}

impl Providers {
    /// Those that may be used, ascending by id.
    pub fn enabled(&self) -> &[Arc<Configured<ProviderConfig>>] {
        &self.enabled
    }

    /// The one of this id, if it may be used.
    pub fn get(&self, id: &str) -> Option<&Arc<Configured<ProviderConfig>>> {
        self.enabled.iter().find(|provider| &*provider.id == id)
    }

    /// Rows that do not decode. They take nobody else's provider away.
    pub fn invalid(&self) -> &[InvalidConfig] {
        &self.invalid
    }
}

/// Why the configuration could not be read.
pub type ReadError = FillError<ConfigError>;

/// Why a row of the configuration could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The store did not answer.
    #[error("the configuration cannot be read: {0}")]
    Store(#[from] StoreError),
    /// A row is not what its kind calls for. It stays so until somebody writes it.
    #[error(transparent)]
    Invalid(#[from] InvalidConfig),
}

impl ConfigError {
    /// Whether the store failed: what it said before is then better than nothing. A row that is not valid says something.
    fn is_outage(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

/// How many providers are read at once. A row may have 256 KiB.
const PAGE_ITEMS: usize = 100;
/// Most providers. A store that lists more does not know where its list ends.
const PROVIDERS_MAX: usize = 10_000;

async fn providers(store: Arc<dyn ConfigStore>) -> Result<Option<Providers>, ConfigError> {
    let mut providers = Providers::default();
    let mut after: Option<Box<str>> = None;
    for _ in 0..PROVIDERS_MAX / PAGE_ITEMS {
        let page = store.configs(ConfigKind::Provider, after.as_deref(), PAGE_ITEMS).await?;
        for row in &page {
            match Configured::<ProviderConfig>::from_row(row) {
                Ok(provider) if provider.enabled => providers.enabled.push(Arc::new(provider)),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a provider is left out");
                    providers.invalid.push(error);
                }
            }
        }
        after = page.last().map(|row| row.key.id().into());
        if page.len() < PAGE_ITEMS {
            return Ok(Some(providers));
        }
    }
    Err(StoreError::new(StoreErrorKind::Other, "it lists too many providers").into())
}

async fn model(
    store: Arc<dyn ConfigStore>,
    id: String,
) -> Result<Option<Configured<ModelConfig>>, ConfigError> {
    // No row has an id over its bound.
    let Ok(key) = ConfigKey::model(id) else { return Ok(None) };
    Ok(store.config(&key).await?.as_ref().map(Configured::from_row).transpose()?)
}

/// How often a default is read that names no model, and another one each time.
const DEFAULT_LOOKS_MAX: u32 = 4;

async fn default_model(
    store: Arc<dyn ConfigStore>,
    organization: Option<OrganizationId>,
) -> Result<Option<Configured<ModelConfig>>, ConfigError> {
    let mut dangling: Option<ConfigRow> = None;
    for _ in 0..DEFAULT_LOOKS_MAX {
        let mut row = store.config(&ConfigKey::default_model(organization.as_ref())).await?;
        if row.is_none() && organization.is_some() {
            row = store.config(&ConfigKey::default_model(None)).await?;
        }
        let Some(row) = row else { return Ok(None) };
        if let Some(model) = model(Arc::clone(&store), text(&row)?).await? {
            return Ok(Some(model));
        }
        // Between the two reads the default may have been pointed elsewhere and its model deleted: the row that is still
        // there at a second look is to blame.
        if dangling.as_ref() == Some(&row) {
            break;
        }
        dangling = Some(row);
    }
    let key = dangling.map_or_else(|| ConfigKey::default_model(organization.as_ref()), |row| row.key);
    Err(InvalidConfig::new(&key, "it names a model that is not there").into())
}

async fn user_prompt(store: Arc<dyn ConfigStore>, user: UserId) -> Result<Option<String>, ConfigError> {
    let row = store.config(&ConfigKey::user_prompt(&user)).await?;
    let prompt = row.as_ref().map(text).transpose()?;
    Ok(prompt.filter(|prompt| !prompt.is_empty()))
}

async fn advisor(store: Arc<dyn ConfigStore>) -> Result<Option<AdvisorSettings>, ConfigError> {
    let row = store.config(&ConfigKey::advisor()).await?;
    Ok(Some(row.as_ref().map(AdvisorSettings::from_row).transpose()?.unwrap_or_default()))
}

async fn switch(store: Arc<dyn ConfigStore>, key: ConfigKey) -> Result<Option<bool>, ConfigError> {
    let Some(row) = store.config(&key).await? else { return Ok(None) };
    Ok(Some(row.value.decode().map_err(|error| InvalidConfig::undecoded(&row.key, &error))?))
}

fn text(row: &ConfigRow) -> Result<String, InvalidConfig> {
    row.value.decode().map_err(|error| InvalidConfig::undecoded(&row.key, &error))
}
