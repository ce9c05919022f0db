//! What users see of a failure.

use chatwright_core::error::{Cause, Failure, Layer};
use chatwright_core::record::ErrorInfo;

/// The kind of a failure by what is certain: its status and its cause.
pub(crate) fn kind(failure: &Failure) -> &'static str {
    match (failure.cause, failure.status) {
        (Cause::Timeout(chatwright_core::error::TimeoutPhase::StartUp), _) => "startup_timeout",
        (Cause::Timeout(chatwright_core::error::TimeoutPhase::Silence), _) => "stream_silence_timeout",
        (_, Some(401 | 403)) => "auth",
        (_, Some(429)) => "rate_limit",
        (_, Some(529)) => "overloaded",
        (_, Some(400 | 404 | 422)) | (Cause::Request, _) => "config",
        (_, Some(408 | 502 | 503 | 504)) => "timeout",
        (
            Cause::Timeout(_)
            | Cause::Truncated
            | Cause::Reset
            | Cause::Connect
            | Cause::Dns
            | Cause::Http2 { .. },
            _,
        ) => "timeout",
        _ => "generic",
    }
}

pub(crate) fn info(failure: &Failure) -> ErrorInfo {
    let status_code = failure.status;
    let retryable = failure.layer == Layer::Provider
        && (matches!(
            kind(failure),
            "rate_limit" | "overloaded" | "timeout" | "startup_timeout" | "stream_silence_timeout"
        ) || status_code == Some(500));
    ErrorInfo {
        message: failure.to_string().into(),
        kind: kind(failure).into(),
        provider: Some(failure.provider.clone()),
        retryable,
        status_code,
        detail: None,
    }
}

pub(crate) fn no_model(name: Option<&str>) -> ErrorInfo {
    let message = match name {
        Some(name) => format!("The model {name:?} is not known to the process that runs the chat."),
        None => "The chat names no model, and the process that runs it has no default.".to_owned(),
    };
    plain("config", message)
}

pub(crate) fn internal(error: &crate::feed::Failed) -> ErrorInfo {
    plain("generic", format!("The turn could not be stored: {error}."))
}

pub(crate) fn stuck() -> ErrorInfo {
    plain("generic", "The tools of the turn could not be run.".to_owned())
}

fn plain(kind: &str, message: String) -> ErrorInfo {
    ErrorInfo {
        message: message.into(),
        kind: kind.into(),
        provider: None,
        retryable: false,
        status_code: None,
        detail: None,
    }
}
