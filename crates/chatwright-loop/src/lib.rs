//! The tokio driver of Chatwright.
//!
//! For now it has what every host needs: the clock and the ids of a real process.
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

mod system;

pub use system::{SystemClock, SystemIds};
