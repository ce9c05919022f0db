//! The promises of the ports as reusable tests.
//!
//! Give the kit a way to connect to your implementation, and it gives you one named test per promise:
//!
//! ```text
//! chatwright_conformance::chat_store!(MyStore::connect(url).await);
//! ```
//!
//! The expression is evaluated once for each connection, inside `async`. A test connects more than once to see what
//! survives (S4); a store that keeps nothing says `volatile`. A store that keeps files takes a folder of the test's own,
//! which is removed afterwards:
//!
//! ```text
//! chatwright_conformance::chat_store!(|dir| MyStore::open(dir.join("chats")));
//! chatwright_conformance::chat_store!(MyStore::new(), volatile);
//! ```
//!
//! Every port has a macro of this form. What it takes, where that is not the port itself:
//!
//! | macro | port | takes |
//! |---|---|---|
//! | [`chat_store!`] | [`ChatStore`](chatwright_core::port::ChatStore) | |
//! | [`chat_directory!`] | [`ChatDirectory`](chatwright_core::port::ChatDirectory) | a store that is its own directory |
//! | [`session_store!`] | [`SessionStore`](chatwright_core::port::SessionStore) | one whose clock runs |
//! | [`config_store!`] | [`ConfigWriter`](chatwright_core::port::ConfigWriter) | one that its connections share, or `volatile` |
//! | [`blobs!`] | [`Blobs`](chatwright_core::port::Blobs) | one that its connections share, or `volatile` |
//! | [`ledger!`] | [`Ledger`](chatwright_core::port::Ledger) | one that its connections share, or `volatile` |
//! | [`debug_store!`] | [`DebugStore`](chatwright_core::port::DebugStore) | one that its connections share, or `volatile` |
//! | [`debug_switches!`] | [`DebugSwitches`](chatwright_core::port::DebugSwitches) | a [`SwitchesRig`](debug_switches::SwitchesRig) |
//! | [`bus!`] | [`Bus`](chatwright_core::port::Bus) | a [`BusRig`](bus::BusRig), for example [`PlainBus`](bus::PlainBus) |
//! | [`live_log!`] | [`LiveLog`](chatwright_core::port::LiveLog) | one in its writer's memory says `writer_memory` |
//! | [`language_model!`] | [`LanguageModel`](chatwright_core::port::LanguageModel) | a [`ModelRig`](language_model::ModelRig) |
//! | [`model_resolver!`] | [`ModelResolver`](chatwright_core::port::ModelResolver) | a [`ResolverRig`](model_resolver::ResolverRig) |
//! | [`tool!`] | [`Tool`](chatwright_core::port::Tool) | a [`ToolRig`](tool::ToolRig) |
//! | [`clock!`] | [`Clock`](chatwright_core::port::Clock) | |
//! | [`ids!`] | [`Ids`](chatwright_core::port::Ids) | those from a fixed seed say `volatile` |
//! | [`http_observer!`] | [`HttpObserver`](chatwright_core::port::HttpObserver) | an [`HttpObserverRig`](http_observer::HttpObserverRig) |
//! | [`observer!`] | [`Observer`](chatwright_core::port::Observer) | |
//!
//! Every test makes its own chats, sessions and rows, so that all of them may run in parallel on one shared database.
//! Chance comes from a seed that a failing test prints; `CHATWRIGHT_SEED` sets it.
//!
//! The kit is itself tested: for every clause there is an implementation that breaks just that promise, and the clause
//! must catch it.
//!
//! [`Flaky`], [`Slow`], [`Counting`] and [`LossyBus`] wrap an implementation for tests of what stands on it.

extern crate self as chatwright_conformance;

pub mod blobs;
pub mod bus;
pub mod chat_directory;
pub mod chat_store;
mod clause;
#[allow(unused_qualifications, reason = "its macro needs the whole path")]
pub mod clock;
pub mod config_store;
mod counting;
pub mod debug_store;
pub mod debug_switches;
mod flaky;
pub mod http_observer;
#[allow(unused_qualifications, reason = "its macro needs the whole path")]
pub mod ids;
pub mod language_model;
pub mod ledger;
pub mod live_log;
mod lossy_bus;
pub mod model_resolver;
#[allow(unused_qualifications, reason = "its macro needs the whole path")]
pub mod observer;
mod seed;
pub mod session_store;
mod slow;
mod subject;
pub mod tool;
mod wait;

pub use clause::{Check, Clause, run};
pub use counting::{Calls, Counting};
pub use flaky::{Flaky, FlakyRates};
pub use lossy_bus::{LossyBus, LossyRates};
pub use seed::{Chance, KitIds};
pub use slow::Slow;
pub use subject::{Connect, Scratch, Subject};
