use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use chatwright_core::config::ModelConfig;
use chatwright_core::port::{
    Blobs, Bus, ChatStore, Clock, Event, Ids, LanguageModel, Ledger, LiveLog, Observer, SessionStore, Tool,
};

use chatwright_core::tool::ToolSpec;
use chatwright_retry::Gates;

use crate::Settings;
use crate::calls::Calls;
use crate::meter::Late;
use crate::metrics::Metrics;
use crate::models::{Configuration, Models};
use crate::registry::Registry;
use crate::store_time::StoreTime;

/// The ports that a host brings, and its settings.
#[derive(Clone)]
pub struct Ports {
    /// Where chats are kept.
    pub chats: Arc<dyn ChatStore>,
    /// Which processes live.
    pub sessions: Arc<dyn SessionStore>,
    /// The doorbell.
    pub bus: Arc<dyn Bus>,
    /// The live previews of this process.
    pub live: Arc<dyn LiveLog>,
    /// Where chats keep what is too large for their records. Without it long output of tools is cut, and large files are
    /// left out; a reference to a blob in a prompt goes to the model as it is.
    pub blobs: Option<Arc<dyn Blobs>>,
    /// Where it is written down what was asked of models and what it cost. Without it, it stands in the log alone.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// Time of this process.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<dyn Ids>,
    /// Who is told what happens.
    pub observers: Vec<Arc<dyn Observer>>,
    /// The models by the host's names for them.
    pub models: BTreeMap<Box<str>, Arc<dyn LanguageModel>>,
    /// What a row of the configuration would say of these models, by the same names.
    pub model_configs: BTreeMap<Box<str>, ModelConfig>,
    /// The name of the model of chats that name none.
    pub default_model: Option<Box<str>>,
    /// Models that are configured, and other settings. Without it there are those above.
    pub configuration: Option<Configuration>,
    /// The tools that every chat has.
    pub tools: Vec<Arc<dyn Tool>>,
    /// The tools that the client of every chat has. Effect and deadline say nothing of them.
    pub client_tools: Vec<ToolSpec>,
}

/// What every part of the loop works with.
pub(crate) struct Deps {
    pub(crate) ports: Ports,
    pub(crate) registry: Registry,
    pub(crate) models: Models,
    pub(crate) time: StoreTime,
    pub(crate) settings: Settings,
    pub(crate) calls: Calls,
    pub(crate) gates: Gates,
    pub(crate) late: Late,
    pub(crate) metrics: Metrics,
}

impl Deps {
    pub(crate) fn observe(&self, event: &Event<'_>) {
        let own: &dyn Observer = &self.metrics;
        let others = self.ports.observers.iter().map(|observer| &**observer);
        for observer in std::iter::once(own).chain(others) {
            // A chat must not suffer from who looks on (O2).
            if catch_unwind(AssertUnwindSafe(|| observer.observe(event))).is_err() {
                tracing::error!("an observer panicked");
            }
        }
    }
}

/// How long a port that only helps may take: the bus, a live log, the configuration where it only names a model. Nothing waits for it any longer.
const HELP_WITHIN: Duration = Duration::from_secs(2);

/// What a port that only helps gives, if it does so soon.
pub(crate) async fn soon<T>(help: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(HELP_WITHIN, help).await.ok()
}
