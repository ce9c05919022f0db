use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::provider;

/// What kind of failure it is. The names are those of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Nothing more specific.
    Generic,
    /// The provider has more to do than it can.
    Overloaded,
    /// Too many requests or tokens in too little time.
    RateLimit,
    /// The way to the provider or the provider itself did not answer in full.
    Timeout,
    /// No content within the start-up time.
    StartupTimeout,
    /// The stream fell silent.
    StreamSilenceTimeout,
    /// Credentials or permissions.
    Auth,
    /// The model or the request does not fit: unknown model, too long a context, a certificate nobody trusts.
    Config,
    /// The account's quota or money is used up.
    UsageLimit,
    /// There is no key to call the provider with.
    MissingKey,
    /// An administrator switched the provider off.
    ProviderDisabled,
    /// The provider's content policy.
    ContentFilter,
    /// A hook of the host failed.
    HookDispatchFailed,
    /// A hook of the host said no.
    HookDenied,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Generic,
        Self::Overloaded,
        Self::RateLimit,
        Self::Timeout,
        Self::StartupTimeout,
        Self::StreamSilenceTimeout,
        Self::Auth,
        Self::Config,
        Self::UsageLimit,
        Self::MissingKey,
        Self::ProviderDisabled,
        Self::ContentFilter,
        Self::HookDispatchFailed,
        Self::HookDenied,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Overloaded => "overloaded",
            Self::RateLimit => "rate_limit",
            Self::Timeout => "timeout",
            Self::StartupTimeout => "startup_timeout",
            Self::StreamSilenceTimeout => "stream_silence_timeout",
            Self::Auth => "auth",
            Self::Config => "config",
            Self::UsageLimit => "usage_limit",
            Self::MissingKey => "missing_key",
            Self::ProviderDisabled => "provider_disabled",
            Self::ContentFilter => "content_filter",
            Self::HookDispatchFailed => "hook_dispatch_failed",
            Self::HookDenied => "hook_denied",
        }
    }

    /// What to do about a failure of this kind of which nothing else is known.
    pub(crate) const fn usual_advice(self) -> Advice {
        match self {
            Self::Overloaded
            | Self::RateLimit
            | Self::Timeout
            | Self::StartupTimeout
            | Self::StreamSilenceTimeout => Advice::Retry,
            Self::Auth | Self::Config | Self::UsageLimit | Self::MissingKey | Self::ContentFilter => {
                Advice::AskUser
            }
            Self::ProviderDisabled => Advice::SwitchModel,
            Self::Generic | Self::HookDispatchFailed | Self::HookDenied => Advice::Stop,
        }
    }
}

/// A name that is no kind of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of failure that this version knows")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or(UnknownKind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A finer cause within a [`Kind`], where one is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The prompt has more tokens than the model takes.
    ContextOverflow,
    /// The request has more bytes than the provider takes.
    RequestTooLarge,
    /// There is no such model, or not for this key.
    ModelNotFound,
    /// The money or the quota of the account is used up.
    QuotaExhausted,
    /// The quota of the day is used up.
    DailyLimit,
    /// The stream ended before the provider's terminal event.
    StreamTruncated,
    /// The provider no longer has a response that the request goes on from.
    ChainBroken,
    /// A request that goes on from an earlier response does not fit it.
    ResponsesMismatch,
    /// The model ended without any output.
    NoOutput,
    /// The call was cancelled.
    Canceled,
    /// A deadline for more than the attempt passed.
    Deadline,
    /// The whole attempt took too long.
    AttemptTimeout,
    /// The host name did not resolve.
    Dns,
    /// The connection could not be made.
    Connect,
    /// The connection broke.
    Reset,
    /// The TLS handshake failed.
    Tls,
    /// An answer that could not be decoded.
    InvalidResponse,
    /// A request that the provider, or our own side, took for malformed.
    InvalidRequest,
    /// The host's storage, not the provider.
    LocalStorage,
    /// A local tool, not the provider.
    LocalTool,
    /// The host, not the provider.
    LocalHost,
}

impl Reason {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContextOverflow => "context_overflow",
            Self::RequestTooLarge => "request_too_large",
            Self::ModelNotFound => "model_not_found",
            Self::QuotaExhausted => "quota_exhausted",
            Self::DailyLimit => "daily_limit",
            Self::StreamTruncated => "stream_truncated",
            Self::ChainBroken => "chain_broken",
            Self::ResponsesMismatch => "responses_mismatch",
            Self::NoOutput => "no_output",
            Self::Canceled => "canceled",
            Self::Deadline => "deadline",
            Self::AttemptTimeout => "attempt_timeout",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Tls => "tls",
            Self::InvalidResponse => "invalid_response",
            Self::InvalidRequest => "invalid_request",
            Self::LocalStorage => "local_storage",
            Self::LocalTool => "local_tool",
            Self::LocalHost => "local_host",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// Try again, after a wait of the caller's own choosing.
    Retry,
    /// Try again, but not before the wait that the provider asked for.
    RetryAfter,
    /// Make the prompt shorter, then try again once.
    CompactThenRetry,
    /// Trying again would fail the same way.
    Stop,
    /// Somebody has to change something first: a key, a plan, a setting, the message.
    AskUser,
    /// Another model or provider may do it.
    SwitchModel,
}

impl Advice {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::RetryAfter => "retry_after",
            Self::CompactThenRetry => "compact_then_retry",
            Self::Stop => "stop",
            Self::AskUser => "ask_user",
            Self::SwitchModel => "switch_model",
        }
    }

    /// Whether the same request may be sent again.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Retry | Self::RetryAfter)
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a failure is, and what to do about it. Free of secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// What kind of failure it is.
    pub kind: Kind,
    /// A finer cause, where one is known.
    pub reason: Option<Reason>,
    /// What to do about it.
    pub advice: Advice,
    /// The provider's canonical id, for example `openai`, or its name as configured.
    pub provider: Option<Box<str>>,
    /// The HTTP status, or the one that an error inside a stream stands for.
    pub status: Option<u16>,
    /// How long the provider asks to wait before the next try; at most [`RETRY_AFTER_MAX`](crate::RETRY_AFTER_MAX).
    /// Only where the advice is [`RetryAfter`](Advice::RetryAfter).
    pub retry_after: Option<Duration>,
    /// What users are told.
    pub message: Box<str>,
    /// What the provider said: at most [`DETAIL_SCALARS_MAX`](crate::DETAIL_SCALARS_MAX) characters, secrets removed.
    pub detail: Option<Box<str>>,
}

impl Verdict {
    /// A verdict by somebody who knows the kind, with the usual advice and message.
    pub fn of(kind: Kind) -> Self {
        let advice = kind.usual_advice();
        let mut verdict = Self {
            kind,
            reason: None,
            advice,
            provider: None,
            status: None,
            retry_after: None,
            message: Box::default(),
            detail: None,
        };
        verdict.message = crate::message::terminal(&verdict);
        verdict
    }

    /// Sets the reason, and words the message anew.
    #[must_use]
    pub fn with_reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self.reworded()
    }

    /// Sets the advice, and words the message anew. A wait is dropped where the advice has none.
    #[must_use]
    pub fn with_advice(mut self, advice: Advice) -> Self {
        self.advice = advice;
        self.retry_after = self.retry_after.filter(|_| advice == Advice::RetryAfter);
        self.reworded()
    }

    /// Sets how long to wait before the next try, and advises to do so. A wait of zero changes nothing.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        if !wait.is_zero() {
            self.retry_after = Some(wait.min(crate::RETRY_AFTER_MAX));
            self.advice = Advice::RetryAfter;
        }
        self.reworded()
    }

    /// Sets what users are told, if the usual words do not fit. Secrets are removed, as in a detail. The setters of kind,
    /// reason, advice and provider word it anew, so this comes last.
    #[must_use]
    pub fn with_message(mut self, message: &str) -> Self {
        if let Some(message) = crate::redact::detail(message) {
            self.message = message;
        }
        self
    }

    /// Sets the provider, by any of its names, and words the message anew.
    #[must_use]
    pub fn with_provider(mut self, name: &str) -> Self {
        self.provider = provider::canonical(name);
        self.reworded()
    }

    /// Sets the detail: secrets are removed, and it is cut to [`DETAIL_SCALARS_MAX`](crate::DETAIL_SCALARS_MAX) characters.
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        self.detail = crate::redact::detail(detail);
        self
    }

    /// Whether the same request may be sent again: the advice is to retry.
    pub const fn is_retryable(&self) -> bool {
        self.advice.is_retryable()
    }

    /// The provider's name for people, if it is one that is known.
    pub fn provider_name(&self) -> Option<&'static str> {
        self.provider.as_deref().and_then(provider::display_name)
    }

    fn reworded(mut self) -> Self {
        self.message = crate::message::terminal(&self);
        self
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Verdict {}
