//! What went wrong at a language-model provider, as structured facts.
//!
//! A [`Failure`] is what a model adapter reports when a call does not finish: the HTTP status, all headers, the body,
//! the transport's cause, and the type and code of an error inside the stream. It holds facts and no verdict, so
//! that one place can later decide what to do about them.
//!
//! Headers and bodies may hold secrets and customers' words. [`Failure`] therefore prints neither: `Debug` shows
//! header names and sizes, and `Display` only the layer, the cause, the status and the provider's own error code.
//!
//! ```
//! use chatwright_error::{Cause, Failure};
//!
//! let failure = Failure::new("openai", Cause::Status)
//!     .with_status(429)
//!     .with_header("Retry-After", "7")
//!     .with_body(r#"{"error":{"code":"rate_limit_exceeded"}}"#);
//! assert_eq!(failure.header("retry-after"), Some("7"));
//! assert_eq!(failure.to_string(), "openai: error status 429");
//! assert!(!format!("{failure:?}").contains("rate_limit"));
//! ```

mod body;
mod classify;
mod codes;
mod failure;
mod hint;
mod message;
mod payload;
pub mod provider;
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
