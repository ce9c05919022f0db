//! What goes over the wire and into storage.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Kind, Verdict};

/// JSON Schema (draft 2020-12) of [`ErrorInfo`].
pub const ERROR_INFO_SCHEMA: &str = include_str!("../schema/error-info.json");
/// JSON Schema (draft 2020-12) of [`RetryEvent`].
pub const RETRY_EVENT_SCHEMA: &str = include_str!("../schema/retry-event.json");

/// What stands for a message where there is none.
const FALLBACK: &str = "The request failed unexpectedly.";

/// An error that ended something, as clients see it: free of secrets. Fields without a value are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// For people. Never empty.
    pub message: Box<str>,
    /// The kind, for programs: a name of [`Kind`](crate::Kind), or one of a newer version.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub kind: Box<str>,
    /// The provider's canonical id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Box<str>>,
    /// Whether trying again may help.
    #[serde(default)]
    pub retryable: bool,
    /// The HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// More for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<str>>,
}

impl ErrorInfo {
    /// Reads what was stored, or `None` where nothing was: SQL NULL, or the JSON `null`.
    ///
    /// Older software stored prose: what is no JSON is the message of an error of kind `generic`. JSON that is no such
    /// error has a message that says so; nothing that was stored makes this fail.
    pub fn from_stored(stored: Option<&str>) -> Option<Self> {
        let text = stored?.trim();
        let value = match serde_json::from_str(text) {
            Ok(Value::Null) => return None,
            Ok(value) => value,
            Err(_) => return Some(Self::legacy(text)),
        };
        let mut info: Self = serde_json::from_value(value).unwrap_or_else(|_| Self::legacy(""));
        let trimmed = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(Box::from);
        info.message = trimmed(&info.message).unwrap_or_else(|| FALLBACK.into());
        info.kind = trimmed(&info.kind).unwrap_or_else(|| Kind::Generic.as_str().into());
        info.provider = info.provider.as_deref().and_then(trimmed);
        info.detail = info.detail.as_deref().and_then(trimmed);
        info.status_code = info.status_code.filter(|&status| status != 0);
        Some(info)
    }

    /// What to store. `None`, to be stored as NULL, where there is nothing to tell: no message.
    pub fn to_stored(&self) -> Option<String> {
        if self.message.trim().is_empty() {
            return None;
        }
        // Strings, a number and a flag: this cannot fail.
        serde_json::to_string(self).ok()
    }

    fn legacy(text: &str) -> Self {
        Self {
            message: if text.is_empty() { FALLBACK.into() } else { text.into() },
            kind: Kind::Generic.as_str().into(),
            provider: None,
            retryable: false,
            status_code: None,
            detail: None,
        }
    }
}

impl From<&Verdict> for ErrorInfo {
    fn from(verdict: &Verdict) -> Self {
        Self {
            message: verdict.message.clone(),
            kind: verdict.kind.as_str().into(),
            provider: verdict.provider.clone(),
            retryable: verdict.is_retryable(),
            status_code: verdict.status,
            detail: verdict.detail.clone(),
        }
    }
}

/// An attempt failed and there will be another: whoever shows its parts discards them. Fields without a value are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryEvent {
    /// The attempt that failed, from 1.
    pub attempt: u32,
    /// The wait before the next one, in whole milliseconds, rounded down.
    pub delay_ms: u64,
    /// What happened, for people.
    pub error: Box<str>,
    /// When it is tried again, by the server's wall clock: RFC 3339.
    pub retrying_at: Box<str>,
    /// The kind, for programs.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub kind: Box<str>,
    /// The provider's canonical id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Box<str>>,
    /// The HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
}

impl RetryEvent {
    /// The event for attempt number `attempt` that failed so and is tried again `delay` after `now`.
    pub fn new(error: &ErrorInfo, attempt: u32, delay: Duration, now: SystemTime) -> Self {
        // A time that no calendar has is shown as the last one that has a date of four digits.
        let at = now.checked_add(delay).map(DateTime::<Utc>::from);
        let at = at.filter(|at| at.timestamp() < 253_402_300_800).unwrap_or(DateTime::<Utc>::MAX_UTC);
        Self {
            attempt,
            delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            error: error.message.clone(),
            retrying_at: at.to_rfc3339_opts(SecondsFormat::Millis, true).into(),
            kind: error.kind.clone(),
            provider: error.provider.clone(),
            status_code: error.status_code,
        }
    }
}
