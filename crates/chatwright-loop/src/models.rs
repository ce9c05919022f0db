//! Which model answers a chat: one that the host registered by name, or one that is configured.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use chatwright_config::{Cache, ConfigError, Configs, FillError, Policy, ReadError};
use chatwright_core::OrganizationId;
use chatwright_core::config::{CallOptions, Configured, ModelConfig, ProviderConfig};
use chatwright_core::model::ModelId;
use chatwright_core::port::{LanguageModel, ModelResolver, Unresolved};

use crate::registry::InvalidSetup;

/// The configuration of a deployment, and what makes models of it.
#[derive(Clone)]
pub struct Configuration {
    /// What is configured, through caches.
    pub configs: Configs,
    /// What makes a model of a row.
    pub resolver: Arc<dyn ModelResolver>,
}

/// The models of this process.
pub(crate) struct Models {
    by_name: BTreeMap<Box<str>, Arc<dyn LanguageModel>>,
    default: Option<Box<str>>,
    configured: Option<ConfiguredModels>,
}

struct ConfiguredModels {
    configs: Configs,
    /// Models that were made of rows, until one of their rows changes; and for a minute, so that a key that is changed in a
    /// vault is used.
    made: Cache<Rows, Arc<dyn LanguageModel>, Unresolved>,
}

const MADE_FOR: Duration = Duration::from_secs(60);
const MADE_MAX: usize = 1_000;

/// The rows that a model is made of. They are the same if their versions are.
#[derive(Clone)]
struct Rows {
    provider: Arc<Configured<ProviderConfig>>,
    model: Arc<Configured<ModelConfig>>,
}

impl Rows {
    fn versions(&self) -> (&str, u64, &str, u64) {
        (&self.model.id, self.model.version, &self.provider.id, self.provider.version)
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.versions() == other.versions()
    }
}

impl Eq for Rows {}

impl Hash for Rows {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.versions().hash(state);
    }
}

/// A model that answers.
#[derive(Clone)]
pub(crate) struct Chosen {
    pub(crate) model: Arc<dyn LanguageModel>,
    row: Option<Arc<Configured<ModelConfig>>>,
}

impl Chosen {
    /// What its calls ask for.
    pub(crate) fn options(&self) -> Option<&CallOptions> {
        self.row.as_ref().map(|row| &row.call)
    }
}

/// Why no model answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoModel {
    #[error("there is no model {name:?}; there is {known}")]
    Unknown { name: Box<str>, known: Box<str> },
    #[error("the chat names no model, and there is no default; there is {known}")]
    NoDefault { known: Box<str> },
    #[error("the model {0:?} is switched off")]
    Disabled(Box<str>),
    #[error("the provider {provider:?} of model {model:?} is switched off or not there")]
    ProviderDisabled { model: Box<str>, provider: Box<str> },
    #[error(transparent)]
    Unresolved(Arc<Unresolved>),
    /// A row that stays as it is until somebody writes it.
    #[error(transparent)]
    Invalid(Arc<ConfigError>),
    /// Another time it may work.
    #[error("the configuration cannot be read now: {0}")]
    Unreadable(Box<str>),
}

impl Models {
    pub(crate) fn new(
        by_name: BTreeMap<Box<str>, Arc<dyn LanguageModel>>,
        default: Option<Box<str>>,
        configuration: Option<Configuration>,
    ) -> Result<Self, InvalidSetup> {
        if let Some(name) = default.clone().filter(|name| !by_name.contains_key(name)) {
            return Err(InvalidSetup::DefaultModel(name));
        }
        let configured = configuration.map(|configuration| {
            let Configuration { configs, resolver } = configuration;
            let mut policy = Policy::new(MADE_FOR);
            policy.entries_max = MADE_MAX;
            let make = move |rows: Rows| {
                let resolver = Arc::clone(&resolver);
                async move { resolver.resolve(&rows.provider, &rows.model).await.map(Some) }
            };
            let made = Cache::new(policy, make).expect("the policy is within its bounds");
            ConfiguredModels { configs, made }
        });
        Ok(Self { by_name, default, configured })
    }

    /// The model of a chat that names this one, or none. Names that the host registered come first; the configured default
    /// comes before the registered one, for an operator can change it.
    pub(crate) async fn choose(
        &self,
        name: Option<&str>,
        organization: &Option<OrganizationId>,
    ) -> Result<Chosen, NoModel> {
        let registered = |name: &str| {
            let model = Arc::clone(self.by_name.get(name)?);
            Some(Chosen { model, row: None })
        };
        if let Some(chosen) = name.and_then(registered) {
            return Ok(chosen);
        }
        if let Some(configured) = &self.configured {
            let row = match name {
                Some(name) => configured.configs.model(name).await?,
                None => configured.configs.default_model(organization).await?,
            };
            if let Some(row) = row {
                return configured.choose(row).await;
            }
        }
        let known =
            || self.by_name.keys().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ").into();
        match (name, self.default.as_deref().and_then(registered)) {
            (None, Some(chosen)) => Ok(chosen),
            (None, None) => Err(NoModel::NoDefault { known: known() }),
            (Some(name), _) => Err(NoModel::Unknown { name: name.into(), known: known() }),
        }
    }

    /// What to call the model of a chat in its records, whether or not it can be had now.
    pub(crate) async fn id(&self, name: Option<&str>, organization: &Option<OrganizationId>) -> ModelId {
        match self.choose(name, organization).await {
            Ok(chosen) => chosen.model.id(),
            Err(_) => ModelId { provider: "unknown".into(), model: name.unwrap_or("none").into() },
        }
    }

    /// The configuration, if there is one.
    pub(crate) fn configs(&self) -> Option<&Configs> {
        self.configured.as_ref().map(|configured| &configured.configs)
    }
}

impl ConfiguredModels {
    async fn choose(&self, row: Arc<Configured<ModelConfig>>) -> Result<Chosen, NoModel> {
        if !row.enabled {
            return Err(NoModel::Disabled(row.id.clone()));
        }
        let providers = self.configs.providers().await?;
        let Some(provider) = providers.get(&row.provider) else {
            let (model, provider) = (row.id.clone(), row.provider.clone());
            return Err(NoModel::ProviderDisabled { model, provider });
        };
        let rows = Rows { provider: Arc::clone(provider), model: Arc::clone(&row) };
        match self.made.get(&rows).await {
            Ok(Some(made)) => Ok(Chosen { model: Arc::clone(&made), row: Some(row) }),
            Ok(None) => Err(NoModel::Unreadable("the resolver gave nothing".into())),
            Err(FillError::Source(error)) => Err(NoModel::Unresolved(error)),
            Err(error) => Err(NoModel::Unreadable(error.to_string().into())),
        }
    }
}

impl From<ReadError> for NoModel {
    fn from(error: ReadError) -> Self {
        match error {
            FillError::Source(error) if matches!(*error, ConfigError::Invalid(_)) => Self::Invalid(error),
            FillError::Source(error) => Self::Unreadable(error.to_string().into()),
            error => Self::Unreadable(error.to_string().into()),
        }
    }
}
