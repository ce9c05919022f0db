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

pub mod chat_store;
mod clause;
mod counting;
mod flaky;
mod lossy_bus;
mod seed;
mod slow;
mod subject;

pub use clause::{Check, Clause, run};
pub use counting::{Calls, Counting};
pub use flaky::{Flaky, FlakyRates};
pub use lossy_bus::{LossyBus, LossyRates};
pub use seed::{Chance, KitIds};
pub use slow::Slow;
pub use subject::{Connect, Scratch, Subject};
