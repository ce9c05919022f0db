//! Which model answers a chat: one that the host registered by name, or one that is configured.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use chatwright_config::{Cache, ConfigError, Configs, FillError, Policy, ReadError};
use chatwright_core::OrganizationId;
use chatwright_core::config::{CallOptions, CompactionConfig, Configured, ModelConfig, ProviderConfig};
use chatwright_core::model::ModelId;
use chatwright_core::money::Prices;
use chatwright_core::port::{LanguageModel, ModelResolver, Unresolved};

use crate::deps::soon;
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
    by_name: BTreeMap<Box<str>, Chosen>,
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
    /// How many tokens a prompt and its answer may have together.
    pub(crate) fn window(&self) -> Option<u64> {
        self.row.as_ref().and_then(|row| row.context_window).or_else(|| self.model.context_window())
    }

    /// How much of the window a prompt may fill, in percent, before there is a summary.
    pub(crate) fn threshold(&self) -> Option<u64> {
        self.row
            .as_ref()
            .map_or_else(|| CompactionConfig::default().threshold(), |row| row.compaction.threshold())
    }

    /// The name of the model that writes its summaries, if it is another.
    pub(crate) fn summariser(&self) -> Option<&str> {
        self.row.as_ref().and_then(|row| row.compaction.model.as_deref())
    }

    /// What its tokens cost, and the version that says so.
    pub(crate) fn prices(&self) -> Option<(&Prices, u64)> {
        self.row.as_ref().and_then(|row| Some((row.prices.as_ref()?, row.version)))
    }

    /// What its calls ask for.
    pub(crate) fn options(&self) -> Option<&CallOptions> {
        self.row.as_ref().map(|row| &row.call)
    }
}

/// Why no model answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoModel {
    #[error("there is no model {name:?}{known}")]
    Unknown { name: Box<str>, known: Box<str> },
    #[error("the chat names no model, and there is no default{known}")]
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
    #[error("{0}")]
    Unreadable(Box<str>),
}

impl Models {
    pub(crate) fn new(
        by_name: BTreeMap<Box<str>, Arc<dyn LanguageModel>>,
        mut configs: BTreeMap<Box<str>, ModelConfig>,
        default: Option<Box<str>>,
        configuration: Option<Configuration>,
    ) -> Result<Self, InvalidSetup> {
        if let Some(name) = default.clone().filter(|name| !by_name.contains_key(name)) {
            return Err(InvalidSetup::DefaultModel(name));
        }
        let by_name = by_name.into_iter().map(|(name, model)| {
            let row = configs.remove(&name).map(|value| Configured { id: name.clone(), version: 1, value });
            (name, Chosen { model, row: row.map(Arc::new) })
        });
        let by_name = by_name.collect();
        if let Some(name) = configs.into_keys().next() {
            return Err(InvalidSetup::UnknownModel(name));
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
        let registered = |name: &str| self.by_name.get(name).cloned();
        if let Some(chosen) = name.and_then(registered) {
            return Ok(chosen);
        }
        if let Some(configured) = &self.configured
            && let Some(row) = configured.row(name, organization).await?
        {
            let chosen = configured.choose(Arc::clone(&row)).await;
            if !matches!(chosen, Err(NoModel::ProviderDisabled { .. })) {
                return chosen;
            }
            // It may have moved to another provider between the two reads.
            return match configured.row(name, organization).await? {
                Some(moved) if (&moved.id, moved.version) != (&row.id, row.version) => {
                    configured.choose(moved).await
                }
                _ => chosen,
            };
        }
        let known = || match self.by_name.keys().map(|name| format!("{name:?}")).collect::<Vec<_>>() {
            // What is configured is not listed: it may be much.
            names if names.is_empty() => Box::default(),
            names => format!("; there is {}", names.join(", ")).into(),
        };
        match (name, self.default.as_deref().and_then(registered)) {
            (None, Some(chosen)) => Ok(chosen),
            (None, None) => Err(NoModel::NoDefault { known: known() }),
            (Some(name), _) => Err(NoModel::Unknown { name: name.into(), known: known() }),
        }
    }

    /// What to call the model of a chat in its records, whether or not it can be had now. Nothing waits for it for long.
    pub(crate) async fn id(&self, name: Option<&str>, organization: &Option<OrganizationId>) -> ModelId {
        match soon(self.choose(name, organization)).await {
            Some(Ok(chosen)) => chosen.model.id(),
            _ => ModelId { provider: "unknown".into(), model: name.unwrap_or("none").into() },
        }
    }

    /// The configuration, if there is one.
    pub(crate) fn configs(&self) -> Option<&Configs> {
        self.configured.as_ref().map(|configured| &configured.configs)
    }
}

impl ConfiguredModels {
    async fn row(
        &self,
        name: Option<&str>,
        organization: &Option<OrganizationId>,
    ) -> Result<Option<Arc<Configured<ModelConfig>>>, ReadError> {
        match name {
            Some(name) => self.configs.model(name).await,
            None => self.configs.default_model(organization).await,
        }
    }

    async fn choose(&self, row: Arc<Configured<ModelConfig>>) -> Result<Chosen, NoModel> {
        if !row.enabled {
            return Err(NoModel::Disabled(row.id.clone()));
        }
        let providers = self.configs.providers().await?;
        let Some(provider) = providers.get(&row.provider) else {
            if let Some(invalid) =
                providers.invalid().iter().find(|invalid| invalid.key.id() == &*row.provider)
            {
                return Err(NoModel::Invalid(Arc::new(invalid.clone().into())));
            }
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
            error => Self::Unreadable(format!("the configuration cannot be read: {error}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use async_trait::async_trait;
    use chatwright_config::ConfigSettings;
    use chatwright_core::Json;
    use chatwright_core::config::ConfigKey;
    use chatwright_core::model::ModelCall;
    use chatwright_core::port::{ConfigWriter as _, ModelStream};
    use chatwright_memory::{MemoryBus, MemoryConfigs};
    use futures::StreamExt as _;

    use super::*;

    struct Named(ModelId);

    impl LanguageModel for Named {
        fn id(&self) -> ModelId {
            self.0.clone()
        }

        fn stream(&self, _: ModelCall) -> ModelStream {
            futures::stream::empty().boxed()
        }
    }

    struct ByName;

    #[async_trait]
    impl ModelResolver for ByName {
        async fn resolve(
            &self,
            provider: &Configured<ProviderConfig>,
            model: &Configured<ModelConfig>,
        ) -> Result<Arc<dyn LanguageModel>, Unresolved> {
            Ok(Arc::new(Named(ModelId { provider: provider.id.clone(), model: model.model.clone() })))
        }
    }

    /// Two registered models, one of them the default; `m` and `both` are configured, and so are two defaults.
    async fn models() -> Models {
        let rows = MemoryConfigs::new();
        let acme = OrganizationId::new("acme").expect("short");
        let string = |text: &str| Json::encode(&text).expect("a string encodes");
        for (key, value) in [
            (ConfigKey::provider("p").expect("short"), ProviderConfig::new("any").to_json()),
            (ConfigKey::model("m").expect("short"), ModelConfig::new("p", "configured").to_json()),
            (ConfigKey::model("both").expect("short"), ModelConfig::new("p", "hidden").to_json()),
            (ConfigKey::model("theirs").expect("short"), ModelConfig::new("p", "of acme").to_json()),
            (ConfigKey::default_model(None), string("m")),
            (ConfigKey::default_model(Some(&acme)), string("theirs")),
        ] {
            rows.write_config(&key, 0, Some(&value)).await.expect("in memory");
        }
        let store: Arc<dyn chatwright_core::port::ConfigStore> = Arc::new(rows);
        let configs = Configs::new(&store, Arc::new(MemoryBus::new()), &ConfigSettings::default());
        let configuration = Configuration { configs: configs.expect("valid"), resolver: Arc::new(ByName) };
        let registered = |name: &str| -> (Box<str>, Arc<dyn LanguageModel>) {
            (name.into(), Arc::new(Named(ModelId { provider: "host".into(), model: name.into() })))
        };
        let by_name = [registered("both"), registered("first")].into();
        Models::new(by_name, BTreeMap::new(), Some("first".into()), Some(configuration)).expect("valid")
    }

    #[tokio::test(start_paused = true)]
    async fn registered_names_come_first_and_configured_defaults_before_the_registered_one() {
        let models = models().await;
        let acme = OrganizationId::new("acme").ok();
        for (name, organization, provider, model) in [
            (Some("first"), &None, "host", "first"),
            (Some("both"), &None, "host", "both"),
            (Some("m"), &None, "p", "configured"),
            (None, &None, "p", "configured"),
            (None, &acme, "p", "of acme"),
        ] {
            let expected = ModelId { provider: provider.into(), model: model.into() };
            assert_eq!(models.id(name, organization).await, expected, "{name:?} {organization:?}");
        }
        let unknown = models.choose(Some("x"), &None).await.err().expect("nobody has it").to_string();
        assert_eq!(unknown, "there is no model \"x\"; there is \"both\", \"first\"");
    }

    #[test]
    fn models_are_made_of_the_same_rows_only_if_both_ids_and_both_versions_are_the_same() {
        let rows = |model: &str, model_version, provider: &str, provider_version| Rows {
            provider: Arc::new(Configured {
                id: provider.into(),
                version: provider_version,
                value: ProviderConfig::new("any"),
            }),
            model: Arc::new(Configured {
                id: model.into(),
                version: model_version,
                value: ModelConfig::new(provider, "any"),
            }),
        };
        // A store may count the versions of each row by themselves.
        let all = [
            rows("m", 1, "p", 1),
            rows("n", 1, "p", 1),
            rows("m", 2, "p", 1),
            rows("m", 1, "q", 1),
            rows("m", 1, "p", 2),
            rows("m", 1, "p", 1),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 5);
    }
}
