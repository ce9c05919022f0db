//! Every port of Chatwright in memory: the reference implementation, and the shortest worked example of each.
//!
//! It keeps all promises but one: nothing here is durable (S4). Use it in tests and in processes whose chats may die
//! with them.
//!
//! ```
//! use std::sync::Arc;
//!
//! use chatwright_core::Timestamp;
//! use chatwright_memory::{ManualClock, MemoryBus, MemoryStore};
//!
//! let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
//! let (store, bus) = (MemoryStore::new(clock), MemoryBus::new());
//! ```

mod blobs;
mod bus;
mod chats;
mod clock;
mod configs;
mod debug;
mod ids;
mod ledger;
mod live;
mod sessions;

pub use blobs::MemoryBlobs;
pub use bus::MemoryBus;
pub use chats::MemoryStore;
pub use clock::ManualClock;
pub use configs::MemoryConfigs;
pub use debug::MemoryDebug;
pub use ids::SeededIds;
pub use ledger::MemoryLedger;
pub use live::MemoryLiveLog;
pub use sessions::MemorySessions;
