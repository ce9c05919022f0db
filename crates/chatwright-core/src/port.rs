//! The ports: what a host brings, and what each must promise.
//!
//! Every promise has a number. The numbers are cited by the conformance kit (`chatwright-conformance`), which has a named
//! test for each. All ports are dyn-compatible and used as `Arc<dyn …>`. No atomicity between two ports is promised or
//! used: the chat's log is the truth, and everything else follows it.

mod blobs;
mod bus;
mod chat_store;
mod clock;
mod config_store;
mod debug_store;
mod debug_switches;
mod directory;
mod error;
mod http_observer;
mod language_model;
mod ledger;
mod live_log;
mod model_resolver;
mod observer;
mod session_store;
pub mod timing;
mod tool;

pub use blobs::Blobs;
pub use bus::{Bus, BusError, BusFrames, Delivery, Topic};
pub use chat_store::{Actual, ChatStore, CommitError, Due, DueAfter};
pub use clock::{Clock, Ids};
pub use config_store::{ConfigStore, ConfigWrite, ConfigWriter};
pub use debug_store::DebugStore;
pub use debug_switches::DebugSwitches;
pub use directory::{ChatDirectory, DirectoryCursor, DirectoryFilter, DirectoryPage, Listed};
pub use error::{StoreError, StoreErrorKind};
pub use http_observer::{HttpEnd, HttpExchange, HttpHeader, HttpObserver, HttpRequest, HttpResponse};
pub use language_model::{LanguageModel, ModelStream};
pub use ledger::{
    Charge, Ledger, LedgerClosed, LedgerClosing, LedgerEnd, LedgerEntry, LedgerLine, LedgerScope, Purpose,
    Spent, Tokens,
};
pub use live_log::{LiveError, LiveLog, LiveRead, LiveWakes};
pub use model_resolver::{ModelResolver, Unresolved};
pub use observer::{AttemptEnd, Event, Observer};
pub use session_store::{BeginError, Renewed, Session, SessionStore};
pub use tool::Tool;
