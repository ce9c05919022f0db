//! What failed at a language-model provider, and what to do about it.
//!
//! A [`Failure`] holds facts: the HTTP status, all headers, the body, the transport's cause, the type and code of an error inside
//! the stream, which layer failed, and whose cancel or deadline it was. [`classify`] makes a [`Verdict`] of it: a [`Kind`] with a
//! [`Reason`], [`Advice`], how long the provider asks to wait, a sentence for users, and a detail without secrets. [`ErrorInfo`]
//! and [`RetryEvent`] are what goes over the wire and into storage.
//!
//! The crate is pure: no I/O, no clock, no runtime. It is useful alone, with any HTTP client.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use chatwright_error::{Advice, Cause, Failure, Kind, Reason, classify};
//!
//! // An account without money: the status says "slow down", the code knows better.
//! let empty = Failure::new("openai", Cause::Status)
//!     .with_status(429)
//!     .with_body(r#"{"error":{"code":"insufficient_quota","message":"You exceeded your current quota"}}"#);
//! let verdict = classify(&empty, SystemTime::now());
//! assert_eq!((verdict.kind, verdict.advice), (Kind::UsageLimit, Advice::AskUser));
//!
//! // A limit that passes, and when.
//! let slow = Failure::new("openai", Cause::Status)
//!     .with_status(429)
//!     .with_header("x-ratelimit-remaining-tokens", "0")
//!     .with_header("x-ratelimit-reset-tokens", "6m0s");
//! assert_eq!(classify(&slow, SystemTime::now()).retry_after, Some(Duration::from_secs(360)));
//!
//! // A permanent error whose words sound transient.
//! let wrong = Failure::new("openai", Cause::Status)
//!     .with_status(400)
//!     .with_body(r#"{"error":{"message":"the field timeout must be a number"}}"#);
//! assert!(!classify(&wrong, SystemTime::now()).is_retryable());
//!
//! // A prompt that has grown too long.
//! let long = Failure::new("anthropic", Cause::Status)
//!     .with_status(400)
//!     .with_body(r#"{"error":{"message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#);
//! let verdict = classify(&long, SystemTime::now());
//! assert_eq!((verdict.reason, verdict.advice), (Some(Reason::ContextOverflow), Advice::CompactThenRetry));
//! ```
//!
//! Headers and bodies may hold secrets and customers' words. [`Failure`] therefore prints neither: `Debug` shows header names and
//! sizes, and `Display` only the cause, the status and short codes. What a verdict says went through [`redact()`].

mod body;
mod classify;
mod codes;
mod failure;
mod hint;
mod message;
mod payload;
pub mod provider;
mod python;
mod redact;
mod text;
mod verdict;

pub use classify::classify;
pub use failure::{BODY_BYTES_MAX, Cause, Failure, Layer, Party, TimeoutPhase};
pub use payload::{ERROR_INFO_SCHEMA, ErrorInfo, RETRY_EVENT_SCHEMA, RetryEvent};
pub use redact::redact;
pub use verdict::{Advice, Kind, Reason, UnknownKind, Verdict};

use std::time::Duration;

/// Longest wait of a provider's that is believed; a longer one is cut to this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Most characters of a [`Verdict::detail`].
pub const DETAIL_SCALARS_MAX: usize = 500;
