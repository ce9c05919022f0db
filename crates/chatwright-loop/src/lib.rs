//! The tokio driver of Chatwright.
//!
//! [`Chats`] takes commands and streams events; a [`Worker`] claims chats and runs their turns: it asks models, runs tools
//! and commits each step before its effect. What to do is decided by `chatwright-engine`; this crate does it.
//! [`SystemClock`] and [`SystemIds`] are the clock and the ids of a real process.
//!
//! ```
//! use chatwright_core::ChatId;
//! use chatwright_core::port::Clock;
//! use chatwright_loop::{SystemClock, SystemIds};
//!
//! let clock = SystemClock::new();
//! let chat = ChatId::mint(&SystemIds);
//! println!("{chat} begins at {}", clock.now());
//! ```

mod advisor;
mod blobs;
mod calls;
mod chats;
mod deps;
mod doorbell;
mod events;
mod failure;
mod family;
mod feed;
#[cfg(feature = "schemars")]
mod function;
pub mod gen_ai;
mod held;
mod lease;
mod meter;
pub mod metrics;
mod models;
mod preview;
mod registry;
mod replay;
mod settings;
mod store_time;
mod system;
mod titles;
mod tokens;
mod turns;
mod worker;

pub use chats::{Asked, Chats, NewChat, NewEdit, NewMessage, NewSettings, QueuedMessage};
pub use chatwright_engine::{Act, Busy, Phase, QueueAct, Receipt, Refused, Rules};
pub use deps::Ports;
pub use events::{EventSettings, EventSources, EventStream, EventsError, events};
pub use feed::Failed;
#[cfg(feature = "schemars")]
pub use function::{FnTool, IntoOutput};
pub use models::Configuration;
pub use registry::InvalidSetup;
pub use settings::Settings;
pub use system::{SystemClock, SystemIds};
pub use titles::TitleSettings;
pub use worker::Worker;
