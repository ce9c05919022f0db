//! The promises of the ports as reusable tests.
//!
//! Give the kit a way to connect to your implementation, and it gives you one named test per promise:
//!
//! ```ignore-because-it-defines-tests
//! chatwright_conformance::chat_store!(MyStore::connect(url).await);
//! ```
//!
//! The expression is evaluated once for each connection, inside `async`. A test connects more than once to see what
//! survives (S4); a store that keeps nothing says `volatile`. A store that keeps files takes a folder of the test's own,
//! which is removed afterwards:
//!
//! ```ignore-because-it-defines-tests
//! chatwright_conformance::chat_store!(|dir| MyStore::open(dir.join("chats")));
//! chatwright_conformance::chat_store!(MyStore::new(), volatile);
//! ```
//!
//! Every test makes its own chats and sessions, so that all of them may run in parallel on one shared database. Chance
//! comes from a seed that a failing test prints; `CHATWRIGHT_SEED` sets it.
//!
//! The kit is itself tested: for every clause there is an implementation that breaks just that promise, and the clause
//! must catch it.
//!
//! [`Flaky`], [`Slow`], [`Counting`] and [`LossyBus`] wrap an implementation for tests of what stands on it.

extern crate self as chatwright_conformance;

pub mod bus;
pub mod chat_directory;
pub mod chat_store;
mod clause;
#[allow(unused_qualifications, reason = "its macro needs the whole path")]
pub mod clock;
mod counting;
mod flaky;
#[allow(unused_qualifications, reason = "its macro needs the whole path")]
pub mod ids;
pub mod language_model;
pub mod live_log;
mod lossy_bus;
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
