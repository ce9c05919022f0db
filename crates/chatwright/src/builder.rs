use std::collections::BTreeMap;
use std::sync::Arc;

use chatwright_config::{AdvisorSettings, Configs};
use chatwright_core::config::ModelConfig;
use chatwright_core::port::{
    Blobs, Bus, ChatStore, Clock, Ids, LanguageModel, Ledger, LiveLog, ModelResolver, Observer, SessionStore,
    Tool,
};
use chatwright_core::tool::ToolSpec;
use chatwright_loop::{Chats, Configuration, InvalidSetup, Ports, Settings, SystemClock, SystemIds};
use chatwright_memory::MemoryLiveLog;

use crate::Chatwright;

/// Puts a [`Chatwright`] together.
#[must_use = "nothing happens before `build`"]
pub struct Builder {
    ports: Ports,
    settings: Settings,
    /// In the place of that of the settings, whichever was set first.
    advisor: Option<AdvisorSettings>,
    duplicate_model: Option<Box<str>>,
    #[cfg(feature = "debug")]
    recorder: Option<chatwright_debug::Recorder>,
}

impl Chatwright {
    /// Begins with where chats are kept and how processes ring each other up.
    pub fn builder(store: impl ChatStore + SessionStore, bus: impl Bus) -> Builder {
        let store = Arc::new(store);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let ports = Ports {
            chats: Arc::clone(&store) as Arc<dyn ChatStore>,
            sessions: store,
            bus: Arc::new(bus),
            live: Arc::new(MemoryLiveLog::new(Arc::clone(&clock))),
            blobs: None,
            clock,
            ids: Arc::new(SystemIds),
            observers: Vec::new(),
            models: BTreeMap::new(),
            default_model: None,
            model_configs: BTreeMap::new(),
            ledger: None,
            configuration: None,
            tools: Vec::new(),
            client_tools: Vec::new(),
        };
        Builder {
            ports,
            settings: Settings::default(),
            advisor: None,
            duplicate_model: None,
            #[cfg(feature = "debug")]
            recorder: None,
        }
    }
}

impl Builder {
    /// Adds a model under a name of the host's own. The first one is the default.
    pub fn model(mut self, name: impl Into<Box<str>>, model: impl LanguageModel) -> Self {
        let name = name.into();
        self.ports.default_model.get_or_insert_with(|| name.clone());
        if self.ports.models.insert(name.clone(), Arc::new(model)).is_some() {
            self.duplicate_model = Some(name);
        }
        self
    }

    /// Says of a model that was added under this name what a row of the configuration would say: its window, its prices, when its chats
    /// are summarised, what its calls ask for.
    ///
    /// ```
    /// use chatwright::core::config::ModelConfig;
    ///
    /// let mut config = ModelConfig::new("acme", "large");
    /// config.context_window = Some(200_000);
    /// config.prices = serde_json::from_str(r#"{"input": "3", "output": "15", "cache_read": "0.3"}"#)?;
    /// # let _ = |builder: chatwright::Builder| builder.model_config("large", config);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn model_config(mut self, name: impl Into<Box<str>>, config: ModelConfig) -> Self {
        self.ports.model_configs.insert(name.into(), config);
        self
    }

    /// Sets where it is written down what was asked of models and what it cost. Then nothing is asked that could not be written down.
    pub fn ledger(mut self, ledger: impl Ledger) -> Self {
        self.ports.ledger = Some(Arc::new(ledger));
        self
    }

    /// Lets the models of chats ask a second model for advice. With a [`configuration`](Self::configuration) its row counts in the place
    /// of this.
    ///
    /// ```
    /// use chatwright::config::AdvisorSettings;
    ///
    /// let mut advisor = AdvisorSettings::default();
    /// advisor.enabled = true;
    /// // A name that a model was added under; without it the model of the chat advises itself.
    /// advisor.model_config_id = Some("large".into());
    /// # let _ = |builder: chatwright::Builder| builder.advisor(advisor);
    /// ```
    pub fn advisor(mut self, advisor: AdvisorSettings) -> Self {
        self.advisor = Some(advisor);
        self
    }

    /// Names the model of chats that name none.
    pub fn default_model(mut self, name: impl Into<Box<str>>) -> Self {
        self.ports.default_model = Some(name.into());
        self
    }

    /// Adds the models that are configured, and what users want every model to know. The configured default comes before
    /// [`default_model`](Self::default_model).
    ///
    #[cfg_attr(all(feature = "providers", feature = "sqlite"), doc = "```no_run")]
    #[cfg_attr(not(all(feature = "providers", feature = "sqlite")), doc = "```ignore")]
    /// use std::sync::Arc;
    ///
    /// use chatwright::Chatwright;
    /// use chatwright::config::{ConfigAdmin, ConfigSettings, Configs};
    /// use chatwright::core::config::{ModelConfig, ProviderConfig};
    /// use chatwright::core::port::ConfigStore;
    /// use chatwright::memory::MemoryBus;
    /// use chatwright::providers::HttpModels;
    /// use chatwright::sqlite::SqliteStore;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let (store, bus) = (SqliteStore::open("chats.db")?, MemoryBus::new());
    /// let rows: Arc<dyn ConfigStore> = Arc::new(store.clone());
    /// let configs = Configs::new(&rows, Arc::new(bus.clone()), &ConfigSettings::default())?;
    /// let admin = ConfigAdmin::new(Arc::new(store.clone()), Arc::new(bus.clone())).with_cache(configs.clone());
    /// let chatwright = Chatwright::builder(store, bus)
    ///     .configuration(configs, HttpModels::from_env("CHATWRIGHT_KEY_"))
    ///     .build()?;
    ///
    /// let mut openai = ProviderConfig::new("openai_chat");
    /// openai.credential = Some("OPENAI".into());
    /// admin.put_provider("openai", &openai, None).await?;
    /// admin.put_model("fast", &ModelConfig::new("openai", "gpt-5-mini"), None).await?;
    /// admin.put_default_model(None, "fast", None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn configuration(mut self, configs: Configs, resolver: impl ModelResolver) -> Self {
        self.ports.configuration = Some(Configuration { configs, resolver: Arc::new(resolver) });
        self
    }

    /// Adds a tool that every chat has.
    pub fn tool(mut self, tool: impl Tool) -> Self {
        self.ports.tools.push(Arc::new(tool));
        self
    }

    /// Adds a tool that the client of every chat has: its calls wait for [`Chat::submit`](crate::Chat::submit).
    pub fn client_tool(mut self, tool: ToolSpec) -> Self {
        self.ports.client_tools.push(tool);
        self
    }

    /// Adds somebody who is told what happens.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.ports.observers.push(Arc::new(observer));
        self
    }

    /// Records what exactly is said to models, and what comes back: every model, registered or configured, is asked through the
    /// recorder, which is told what happens. Which chats are recorded is decided by its
    /// [service](chatwright_debug::DebugService).
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use chatwright::debug::redact::{Redactor, Rules};
    /// use chatwright::debug::{DebugService, DebugSettings, Recorder, RecorderSettings};
    /// use chatwright::memory::MemoryDebug;
    /// use chatwright::{SystemClock, SystemIds};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut settings = DebugSettings::default();
    /// settings.forced = true;
    /// let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(SystemIds));
    /// let service = DebugService::new(MemoryDebug::new(), clock, ids, settings);
    /// let redactor = Redactor::new(&Rules::default())?;
    /// redactor.register(&"a key that must never be written down".into())?;
    /// let recorder = Recorder::start(service, redactor, RecorderSettings::default());
    /// # let _ = |builder: chatwright::Builder| builder.debug(&recorder);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "debug")]
    pub fn debug(mut self, recorder: &chatwright_debug::Recorder) -> Self {
        self.recorder = Some(recorder.clone());
        self
    }

    /// Sets the settings.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the live log; by default the previews are in memory.
    pub fn live_log(mut self, live: impl LiveLog) -> Self {
        self.ports.live = Arc::new(live);
        self
    }

    /// Sets where chats keep what is too large for their records: long output of tools, and large files. Without it they are cut
    /// or left out, which the chat says. A store that keeps chats may keep blobs too:
    /// `Chatwright::builder(store.clone(), bus).blobs(store)`.
    pub fn blobs(mut self, blobs: impl Blobs) -> Self {
        self.ports.blobs = Some(Arc::new(blobs));
        self
    }

    /// Sets the clock, for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.ports.clock = Arc::new(clock);
        self
    }

    /// Sets where ids come from, for tests.
    pub fn ids(mut self, ids: impl Ids) -> Self {
        self.ports.ids = Arc::new(ids);
        self
    }

    /// Checks that everything fits together. Nothing runs yet.
    ///
    /// # Errors
    /// [`InvalidSetup`].
    pub fn build(mut self) -> Result<Chatwright, InvalidSetup> {
        if let Some(name) = self.duplicate_model {
            return Err(InvalidSetup::DuplicateModel(name));
        }
        if let Some(advisor) = self.advisor {
            self.settings.advisor = advisor;
        }
        #[cfg(feature = "debug")]
        if let Some(recorder) = self.recorder {
            for model in self.ports.models.values_mut() {
                *model = Arc::new(recorder.model(Arc::clone(model)));
            }
            if let Some(configuration) = &mut self.ports.configuration {
                configuration.resolver = Arc::new(recorder.resolver(Arc::clone(&configuration.resolver)));
            }
            self.ports.observers.push(Arc::new(recorder));
        }
        Chats::new(self.ports, self.settings).map(Chatwright::new)
    }
}
