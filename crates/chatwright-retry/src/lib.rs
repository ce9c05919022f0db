//! When to call a language model again after a failure, and when not to.
//!
//! # The pure half
//!
//! [`decide`] takes what went before ([`History`]), the failure ([`Verdict`](chatwright_error::Verdict)), the [`Policy`] and the time, and gives a
//! [`Decision`]: try again at a time, park until a time, or give up. It waits for nothing, reads no clock and draws no random
//! number: the same arguments give the same answer. A host that keeps its retries in a database needs only this half
//! (`default-features = false`).
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! use chatwright_error::{Advice, Kind, Verdict};
//! use chatwright_retry::{Decision, GiveUp, History, Jitter, Policy, decide};
//!
//! let mut policy = Policy::default();
//! policy.jitter = Jitter::NONE;
//! let began = SystemTime::UNIX_EPOCH;
//! let mut history = History::new(began, 7);
//!
//! // The first wait is one second, and the next is twice as long.
//! let overloaded = Verdict::of(Kind::Overloaded);
//! let decision = decide(&history, &overloaded, &policy, began);
//! let delay = Duration::from_secs(1);
//! assert_eq!(decision, Decision::RetryAt { at: began + delay, delay, attempt: 1 });
//! history.failures = 1;
//! let decision = decide(&history, &overloaded, &policy, began + delay);
//! let delay = Duration::from_secs(2);
//! assert_eq!(decision, Decision::RetryAt { at: began + Duration::from_secs(3), delay, attempt: 2 });
//!
//! // The provider asks for an hour: nobody sleeps that long.
//! let mut limited = Verdict::of(Kind::RateLimit).with_advice(Advice::RetryAfter);
//! limited.retry_after = Some(Duration::from_secs(3600));
//! let decision = decide(&history, &limited, &policy, began);
//! assert!(matches!(decision, Decision::Park { attempt: 2, .. }));
//!
//! // A wrong key stays wrong.
//! let decision = decide(&history, &Verdict::of(Kind::Auth), &policy, began);
//! assert_eq!(decision, Decision::GiveUp(GiveUp::Advice));
//! ```
//!
//! # The loop
//!
//! With the feature `tokio`, which is on by default, `Retry` calls an operation until it succeeds or the policy says
//! otherwise, and `Gates` makes all chats of one credential wait when one of them is told to.
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() {
//!     use std::time::SystemTime;
//!
//!     use chatwright_error::{Kind, Verdict};
//!     use chatwright_retry::{Gates, Policy, Retry};
//!
//!     let gates = Gates::new();
//!     let seed = 7; // Different for every chat.
//!     let answer = Retry::new(Policy::default(), seed, SystemTime::now)
//!         .gate(gates.gate("openai/key-1"))
//!         .on_wait(|wait| println!("{}; again in {:?}", wait.verdict, wait.delay))
//!         .run(async |attempt| if attempt < 3 { Err(Verdict::of(Kind::Overloaded)) } else { Ok("hello") })
//!         .await;
//!     assert_eq!(answer.expect("the third attempt succeeds"), "hello");
//! }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```

mod decide;
#[cfg(feature = "tokio")]
mod driver;
#[cfg(feature = "tokio")]
mod gate;
mod jitter;
mod policy;

pub use decide::{Decision, GiveUp, History, decide};
#[cfg(feature = "tokio")]
pub use driver::{Retry, Stopped, Wait};
#[cfg(feature = "tokio")]
pub use gate::{ENTRIES_MAX, Gate, Gates, HEED_MAX, Shut};
pub use jitter::{InvalidJitter, Jitter};
pub use policy::Policy;
