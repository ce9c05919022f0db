//! A failure as somebody reports it, and its verdict as one line of JSON.

use std::fmt;
use std::time::{Duration, SystemTime};

use chatwright_error::{Advice, Cause, Failure, Kind, Layer, Party, Reason, TimeoutPhase, Verdict, classify};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is known of a failure.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    /// The error's text.
    input: Option<String>,
    status: Option<u16>,
    /// Names to values; several values of one name are a list.
    headers: Option<Map<String, Value>>,
    /// The response body: a string, or the JSON itself.
    body: Option<Value>,
    /// The provider as it is configured.
    provider_hint: Option<String>,
    cause: Option<Reported>,
}

/// What happened on the way.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Reported {
    /// `dns connect tls reset truncated protocol request connect_timeout startup_timeout silence_timeout total_timeout
    /// caller_canceled caller_deadline`.
    Named(Named),
    Facts(Box<Facts>),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    Dns,
    Connect,
    Tls,
    Reset,
    Truncated,
    Protocol,
    Request,
    ConnectTimeout,
    StartupTimeout,
    SilenceTimeout,
    TotalTimeout,
    CallerCanceled,
    CallerDeadline,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Facts {
    h2: Option<Reset>,
    /// A deadline passed; nobody knows whose.
    deadline: bool,
    /// Something cancelled the call; nobody knows who.
    canceled: bool,
    /// The transport did.
    transport_reset: bool,
    layer: Option<Where>,
    /// Whoever reported it knows the verdict.
    preclassified: Option<Known>,
}

#[derive(Debug, Deserialize)]
struct Reset {
    code: String,
    #[serde(default)]
    remote: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Where {
    Provider,
    #[serde(alias = "local", alias = "hook", alias = "workspace")]
    Host,
    #[serde(alias = "database", alias = "storage")]
    Store,
    Tool,
    Config,
}

#[derive(Debug, Deserialize)]
struct Known {
    kind: String,
    provider: Option<String>,
    retryable: Option<bool>,
    detail: Option<String>,
}

/// Now, on a whole second: HTTP dates know no fractions.
#[expect(clippy::disallowed_methods, reason = "a program's own clock")]
pub(crate) fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

impl Report {
    /// The verdict, or `None` if there was no error.
    pub(crate) fn verdict(&self, now: SystemTime) -> Option<Verdict> {
        if let Some(Reported::Facts(facts)) = &self.cause
            && let Some(known) = &facts.preclassified
        {
            return Some(known.verdict(self.provider_hint.as_deref()));
        }
        let failure = self.failure(now);
        let empty = failure.message.is_none() && failure.body.is_none() && failure.cause == Cause::Other;
        let verdict = classify(&failure, now);
        let silent = verdict.status.is_none() && !has_wait(&failure);
        (!empty || !silent).then_some(verdict)
    }

    fn failure(&self, now: SystemTime) -> Failure {
        let status = self.status.filter(|&status| status != 0);
        let (cause, layer) = match &self.cause {
            Some(Reported::Named(named)) => (named.cause(), Layer::Provider),
            Some(Reported::Facts(facts)) => {
                (facts.cause(), facts.layer.map_or(Layer::Provider, Where::layer))
            }
            None => (Cause::Other, Layer::Provider),
        };
        let cause = if cause == Cause::Other && status.is_some() { Cause::Status } else { cause };
        let mut failure =
            Failure::new(self.provider_hint.as_deref().unwrap_or_default(), cause).with_layer(layer);
        failure.status = status;
        failure.message = self.input.as_deref().filter(|text| !text.trim().is_empty()).map(Into::into);
        match &self.body {
            None | Some(Value::Null) => {}
            Some(Value::String(body)) if body.is_empty() => {}
            Some(Value::String(body)) => failure = failure.with_body(body),
            Some(json) => failure = failure.with_body(json.to_string()),
        }
        for (name, value) in self.headers.iter().flatten() {
            let values = match value {
                Value::Array(values) => values.as_slice(),
                one => std::slice::from_ref(one),
            };
            for value in values {
                let value = value.as_str().map_or_else(|| value.to_string(), |value| dated(value, now));
                failure = failure.with_header(&**name, value);
            }
        }
        failure
    }
}

fn has_wait(failure: &Failure) -> bool {
    failure.header("retry-after").is_some() || failure.header("retry-after-ms").is_some()
}

/// Fills in `@http_date(now+3s)` and `@rfc3339(now-1.5s)`.
fn dated(value: &str, now: SystemTime) -> String {
    let filled = || {
        let (form, rest) = value.trim().strip_prefix('@')?.split_once("(now")?;
        let seconds: f64 = rest.strip_suffix("s)")?.parse().ok()?;
        let span = Duration::try_from_secs_f64(seconds.abs()).ok()?;
        let at = if seconds < 0.0 { now.checked_sub(span)? } else { now.checked_add(span)? };
        match form {
            "http_date" => Some(httpdate::fmt_http_date(at)),
            "rfc3339" => {
                let at = chrono::DateTime::<chrono::Utc>::from(at);
                Some(at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
            }
            _ => None,
        }
    };
    filled().unwrap_or_else(|| value.to_owned())
}

impl Named {
    fn cause(self) -> Cause {
        match self {
            Self::Dns => Cause::Dns,
            Self::Connect => Cause::Connect,
            Self::Tls => Cause::Tls,
            Self::Reset => Cause::Reset,
            Self::Truncated => Cause::Truncated,
            Self::Protocol => Cause::Protocol,
            Self::Request => Cause::Request,
            Self::ConnectTimeout => Cause::Timeout(TimeoutPhase::Connect),
            Self::StartupTimeout => Cause::Timeout(TimeoutPhase::StartUp),
            Self::SilenceTimeout => Cause::Timeout(TimeoutPhase::Silence),
            Self::TotalTimeout => Cause::Timeout(TimeoutPhase::Total),
            Self::CallerCanceled => Cause::Canceled(Party::Caller),
            Self::CallerDeadline => Cause::Deadline(Party::Caller),
        }
    }
}

impl Facts {
    fn cause(&self) -> Cause {
        match &self.h2 {
            Some(reset) => Cause::Http2 { reason: reset.number(), remote: reset.remote },
            None if self.transport_reset => Cause::Reset,
            None if self.deadline => Cause::Deadline(Party::Unknown),
            None if self.canceled => Cause::Canceled(Party::Unknown),
            None => Cause::Other,
        }
    }
}

impl Reset {
    /// The number of an error code of HTTP/2 (RFC 9113, section 7).
    fn number(&self) -> u32 {
        const NAMES: &[&str] = &[
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        let at = NAMES.iter().position(|name| name.eq_ignore_ascii_case(&self.code));
        at.and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
    }
}

impl Where {
    fn layer(self) -> Layer {
        match self {
            Self::Provider => Layer::Provider,
            Self::Host => Layer::Host,
            Self::Store => Layer::Store,
            Self::Tool => Layer::Tool,
            Self::Config => Layer::Config,
        }
    }
}

impl Known {
    fn verdict(&self, hint: Option<&str>) -> Verdict {
        let kind: Kind = self.kind.parse().unwrap_or(Kind::Generic);
        let mut verdict = Verdict::of(kind);
        let provider = hint.filter(|hint| !hint.trim().is_empty()).or(self.provider.as_deref());
        if let Some(provider) = provider {
            verdict = verdict.with_provider(provider);
        }
        verdict = match self.retryable {
            Some(retryable) if retryable != verdict.is_retryable() => {
                verdict.with_advice(if retryable { Advice::Retry } else { Advice::Stop })
            }
            _ => verdict,
        };
        match &self.detail {
            Some(detail) => verdict.with_detail(detail),
            None => verdict,
        }
    }
}

/// A verdict as a line of JSON.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) kind: Option<&'static str>,
    pub(crate) reason: Option<&'static str>,
    pub(crate) advice: Option<&'static str>,
    pub(crate) retryable: bool,
    pub(crate) provider: Option<&'a str>,
    pub(crate) status_code: Option<u16>,
    pub(crate) retry_after_ms: Option<u128>,
    pub(crate) message: Option<&'a str>,
    pub(crate) detail: Option<&'a str>,
}

impl<'a> From<Option<&'a Verdict>> for Line<'a> {
    fn from(verdict: Option<&'a Verdict>) -> Self {
        Self {
            kind: verdict.map(|verdict| verdict.kind.as_str()),
            reason: verdict.and_then(|verdict| verdict.reason).map(Reason::as_str),
            advice: verdict.map(|verdict| verdict.advice.as_str()),
            retryable: verdict.is_some_and(Verdict::is_retryable),
            provider: verdict.and_then(|verdict| verdict.provider.as_deref()),
            status_code: verdict.and_then(|verdict| verdict.status),
            retry_after_ms: verdict.and_then(|verdict| verdict.retry_after).map(|wait| wait.as_millis()),
            message: verdict.map(|verdict| &*verdict.message),
            detail: verdict.and_then(|verdict| verdict.detail.as_deref()),
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}
