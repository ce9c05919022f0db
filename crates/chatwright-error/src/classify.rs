//! From facts to a verdict.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use crate::body::Facts;
use crate::codes::Code;
use crate::failure::Headers;
use crate::text::{Talk, Talks};
use crate::{Advice, Cause, Failure, Kind, Layer, Party, Reason, TimeoutPhase, Verdict};
use crate::{hint, message, provider, redact, text};

/// Says what a failure is and what to do about it.
///
/// Believed in this order: whose cancel or guard it was, exact codes of the provider's, the status, `x-should-retry`, the
/// transport's cause, and only then prose, matched as whole words and only where the status leaves room for it. `now` is
/// the wall clock, for waits that are given as dates.
///
/// Pure: the same failure and the same `now` give the same verdict, and neither the order of headers nor their letter case
/// matters. Time linear in the size of the failure. It never panics, and what it gives holds none of the shapes of secrets
/// that [`redact()`](crate::redact()) knows.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use chatwright_error::{Advice, Cause, Failure, Kind, classify};
///
/// let failure = Failure::new("openai", Cause::Status)
///     .with_status(429)
///     .with_header("retry-after", "7")
///     .with_body(r#"{"error":{"code":"rate_limit_exceeded","message":"Slow down."}}"#);
/// let verdict = classify(&failure, SystemTime::now());
/// assert_eq!((verdict.kind, verdict.advice), (Kind::RateLimit, Advice::RetryAfter));
/// assert_eq!(verdict.retry_after, Some(Duration::from_secs(7)));
/// assert_eq!(&*verdict.message, "OpenAI is limiting how many requests it takes.");
/// assert_eq!(verdict.detail.as_deref(), Some("Slow down."));
/// ```
pub fn classify(failure: &Failure, now: SystemTime) -> Verdict {
    let evidence = Evidence::of(failure);
    let found = evidence.judge();
    let headers = Headers(&failure.headers);
    let advice = match (found.advice.is_retryable(), hint::should_retry(headers)) {
        _ if evidence.local || found.is_final() => found.advice,
        (true, Some(false)) => Advice::Stop,
        // It lifts what has no cause of its own, never a wrong key or an empty account.
        (false, Some(true)) if found.kind == Kind::Generic && evidence.status.is_some() => Advice::Retry,
        _ => found.advice,
    };
    let wait = if advice.is_retryable() { evidence.wait(&found, headers, now) } else { None };
    let mut verdict = Verdict {
        kind: found.kind,
        reason: found.reason,
        advice: if wait.is_some() { Advice::RetryAfter } else { advice },
        provider: evidence.provider(&found),
        status: evidence.status,
        retry_after: wait,
        message: Box::default(),
        detail: evidence.detail(&found),
    };
    verdict.message = message::terminal(&verdict);
    verdict
}

/// The part of a verdict that is decided first.
#[derive(Clone, Copy, Debug)]
struct Found {
    kind: Kind,
    reason: Option<Reason>,
    advice: Advice,
}

impl Found {
    const fn new(kind: Kind) -> Self {
        Self { kind, reason: None, advice: kind.usual_advice() }
    }

    const fn retry() -> Self {
        Self { kind: Kind::Generic, reason: None, advice: Advice::Retry }
    }

    const fn because(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    const fn advising(mut self, advice: Advice) -> Self {
        self.advice = advice;
        self
    }

    const fn canceled() -> Self {
        Self::new(Kind::Generic).because(Reason::Canceled)
    }

    const fn deadline() -> Self {
        Self::new(Kind::Timeout).because(Reason::Deadline).advising(Advice::Stop)
    }

    const fn overflow(reason: Reason) -> Self {
        Self::new(Kind::Config).because(reason).advising(Advice::CompactThenRetry)
    }

    const fn no_model() -> Self {
        Self::new(Kind::Config).because(Reason::ModelNotFound).advising(Advice::SwitchModel)
    }

    /// No header of the provider's changes it.
    const fn is_final(&self) -> bool {
        matches!(
            self.reason,
            Some(Reason::Canceled | Reason::Deadline | Reason::ResponsesMismatch | Reason::ChainBroken)
        )
    }
}

/// What a failure tells, read once.
struct Evidence<'a> {
    failure: &'a Failure,
    /// Not the provider's.
    local: bool,
    text: &'a str,
    facts: Facts<'a>,
    /// The facts are those of a body, not of prose that quotes one.
    from_body: bool,
    code: Option<Code>,
    /// The status, unless it is a success.
    status: Option<u16>,
    /// The status by which prose is judged: where there is none, what a code says of the request stands for one.
    gate: Option<u16>,
    said: Talks,
}

/// How many names of exceptions are looked at; a trace of calls has few.
const NAMES_MAX: usize = 16;

impl<'a> Evidence<'a> {
    fn of(failure: &'a Failure) -> Self {
        let text = failure.message.as_deref().unwrap_or_default().trim();
        let body = failure.body.as_deref().unwrap_or_default();
        let local = failure.layer != Layer::Provider;
        if local {
            let code = [&failure.error_code, &failure.error_type].into_iter().flatten();
            let code = code.filter_map(|code| Code::of(code)).max();
            let (facts, said) = (Facts::default(), Talks::of(text));
            let status = failure.status.filter(|status| (300..1000).contains(status));
            return Self { failure, local, text, facts, from_body: false, code, status, gate: status, said };
        }
        let mut facts = Facts::read(body);
        let from_body = facts.json;
        if !from_body {
            facts = Facts::quoted_in(text);
        }
        let status = match failure.status {
            Some(status @ 300..=999) => Some(status),
            // A failure inside a success tells its status itself, if at all.
            _ => facts.status.or_else(|| text::status(text)).filter(|status| !(200..300).contains(status)),
        };
        facts.hear_upstream();
        let outer = facts.message.clone();
        unwrap(&mut facts);
        let codes = [failure.error_code.as_deref(), failure.error_type.as_deref(), text::code(text)];
        let exceptions = Headers(&failure.headers).all("x-amzn-errortype");
        let codes = codes.into_iter().flatten().chain(exceptions).filter_map(Code::of);
        let mut code = codes.max().max(facts.code);
        let decisive = code.is_some_and(|code| code.is_decisive(status));
        if failure.status.is_none() {
            // Prose all the same: they leave room for other words.
            code = code.max(text::exceptions(text).take(NAMES_MAX).filter_map(Code::of).max());
        }
        let gate = status.or(code.and_then(Code::stands_for));
        let mut said = Talks::default();
        // Prose is the last resort.
        if !decisive {
            said = Talks::of(text);
            match outer {
                Some((_, message)) if from_body => said = said.and(Talks::of(&message)),
                None if !from_body && !is_markup(body) => said = said.and(Talks::of(body)),
                _ => {}
            }
        }
        Self { failure, local, text, facts, from_body, code, status, gate, said }
    }

    fn judge(&self) -> Found {
        match self.failure.cause {
            Cause::Canceled(Party::Caller) => return Found::canceled(),
            Cause::Deadline(Party::Caller) => return Found::deadline(),
            _ if self.local => return self.local(),
            Cause::Timeout(TimeoutPhase::StartUp) => return Found::new(Kind::StartupTimeout),
            Cause::Timeout(TimeoutPhase::Silence) => return Found::new(Kind::StreamSilenceTimeout),
            _ => {}
        }
        let found = self.of_the_conversation().or_else(|| self.of_load_or_money());
        let found = found.or_else(|| self.of_the_request()).or_else(|| self.of_status_or_code());
        let found = found.or_else(|| if self.status.is_none() { self.of_the_way() } else { None });
        found.unwrap_or_else(|| {
            let invalid = self.code == Some(Code::InvalidRequest) || matches!(self.status, Some(400 | 422));
            let other = Found::new(Kind::Generic);
            if invalid { other.because(Reason::InvalidRequest) } else { other }
        })
    }

    /// The host's own failures are never the provider's.
    fn local(&self) -> Found {
        let passes = matches!(
            self.failure.cause,
            Cause::Dns
                | Cause::Connect
                | Cause::Reset
                | Cause::Truncated
                | Cause::Http2 { .. }
                | Cause::Timeout(_)
        ) || self.said.any(&[Talk::Network, Talk::Dns, Talk::Timeout]);
        let generic = if passes { Found::retry() } else { Found::new(Kind::Generic) };
        match (self.failure.layer, self.code) {
            (Layer::Config, Some(Code::MissingKey)) => Found::new(Kind::MissingKey),
            (Layer::Config, Some(Code::ProviderDisabled)) => Found::new(Kind::ProviderDisabled),
            (Layer::Config, Some(Code::ModelNotFound)) => Found::no_model(),
            (Layer::Config, _) => Found::new(Kind::Config),
            (Layer::Store, _) => generic.because(Reason::LocalStorage),
            // Whether a tool may run twice is not for a classifier of errors to say.
            (Layer::Tool, _) => Found::new(Kind::Generic).because(Reason::LocalTool),
            (Layer::Provider | Layer::Host, _) => generic.because(Reason::LocalHost),
        }
    }

    /// What is about the exchange itself: interrupted, broken off, or going on from something that is not there.
    fn of_the_conversation(&self) -> Option<Found> {
        let unsaid = self.gate.is_none();
        if self.said.any(&[Talk::CallOutputMissing, Talk::ReasoningMissing]) {
            return Some(Found::new(Kind::Generic).because(Reason::ResponsesMismatch));
        }
        if unsaid && self.code.is_none() && self.said.has(Talk::Interrupted) {
            return Some(Found::canceled());
        }
        let truncated = &[Talk::Truncated, Talk::TruncatedAnthropic, Talk::TruncatedOpenai];
        if self.failure.cause == Cause::Truncated || (unsaid && self.said.any(truncated)) {
            return Some(Found::new(Kind::Timeout).because(Reason::StreamTruncated));
        }
        let gone =
            self.said.any(&[Talk::PreviousResponse, Talk::ItemWithId]) && self.said.has(Talk::NotFound);
        if self.code == Some(Code::ChainBroken) || (gone && matches!(self.status, None | Some(400 | 404))) {
            return Some(Found::retry().because(Reason::ChainBroken));
        }
        None
    }

    /// Overload, and accounts that are empty.
    fn of_load_or_money(&self) -> Option<Found> {
        let (status, gate, code, said) = (self.status, self.gate, self.code, self.said);
        let quota = code == Some(Code::Usage) || said.has(Talk::QuotaCode);
        let overloaded = code == Some(Code::Overloaded) || said.has(Talk::Overloaded);
        if status == Some(529) || (overloaded && !quota && self.may_be_busy()) {
            return Some(Found::new(Kind::Overloaded));
        }
        let usage = Found::new(Kind::UsageLimit);
        if code == Some(Code::DailyLimit) {
            return Some(usage.because(Reason::DailyLimit));
        }
        // Some vendors say "quota" of limits that pass: those speak of time, or Azure of a wait.
        let azure = provider::canonical(&self.failure.provider).as_deref() == Some("azure");
        let passes = status == Some(429)
            && (said.has(Talk::PerTime) || (azure && self.failure.header("retry-after").is_some()));
        if (quota && !passes) || status == Some(402) {
            return Some(usage.because(Reason::QuotaExhausted));
        }
        let weak = code.is_none_or(|code| code <= Code::Server);
        let money = match gate {
            None | Some(401 | 403 | 500) => said.any(&[Talk::Money, Talk::Usage, Talk::UsageWord]),
            Some(400 | 404 | 422) => said.any(&[Talk::Money, Talk::Usage]),
            Some(429) => said.has(Talk::Money) && !said.has(Talk::PerTime),
            _ => false,
        };
        (money && weak).then(|| usage.because(Reason::QuotaExhausted))
    }

    /// What somebody has to change before it can work.
    fn of_the_request(&self) -> Option<Found> {
        let (status, gate, code, said) = (self.status, self.gate, self.code, self.said);
        let is = |known| code == Some(known);
        let unsaid = gate.is_none();
        if is(Code::ProviderDisabled) || said.has(Talk::ProviderDisabled) {
            return Some(Found::new(Kind::ProviderDisabled));
        }
        if is(Code::MissingKey) {
            return Some(Found::new(Kind::MissingKey));
        }
        let filtered = said.has(Talk::ContentFilter) && matches!(gate, None | Some(400 | 403 | 422));
        if is(Code::ContentFilter) || filtered {
            return Some(Found::new(Kind::ContentFilter));
        }
        let key = status == Some(401)
            || is(Code::Auth)
            || (said.has(Talk::Auth) && status != Some(429))
            || (said.has(Talk::AuthWord) && matches!(gate, None | Some(403 | 407)));
        if key {
            return Some(Found::new(Kind::Auth));
        }
        // A 429 never says that the prompt is too long, whatever its words.
        let slow = status == Some(429) || is(Code::RateLimit);
        let long = match gate {
            // Tokens per minute may be too many as well.
            None => said.any(&[Talk::ContextOverflow, Talk::ContextWord]) && !said.has(Talk::PerTime),
            Some(400 | 413 | 422) => said.any(&[Talk::ContextOverflow, Talk::ContextWord]),
            _ => said.has(Talk::ContextOverflow),
        };
        if !slow && (is(Code::ContextOverflow) || long) {
            return Some(Found::overflow(Reason::ContextOverflow));
        }
        let large = said.has(Talk::TooLarge) && matches!(gate, None | Some(400 | 500));
        if !slow && (is(Code::RequestTooLarge) || status == Some(413) || large) {
            return Some(Found::overflow(Reason::RequestTooLarge));
        }
        if is(Code::ModelNotFound) || said.has(Talk::ModelMissing) {
            return Some(Found::no_model());
        }
        if is(Code::Config) || said.has(Talk::Config) || self.failure.cause == Cause::Request {
            return Some(Found::new(Kind::Config));
        }
        if is(Code::NotFound) || status == Some(404) {
            return Some(match () {
                () if said.has(Talk::OtherNotFound) => Found::new(Kind::Generic),
                () if said.has(Talk::AboutModel) => Found::no_model(),
                () => Found::new(Kind::Config),
            });
        }
        if self.failure.cause == Cause::Tls || (unsaid && said.has(Talk::Tls)) {
            return Some(Found::new(Kind::Config).because(Reason::Tls));
        }
        (status == Some(403) || (unsaid && said.has(Talk::Forbidden))).then(|| Found::new(Kind::Auth))
    }

    /// What passes, as the status or an exact code says.
    fn of_status_or_code(&self) -> Option<Found> {
        let (status, code, said) = (self.status, self.code, self.said);
        let slow = status == Some(429) || code == Some(Code::RateLimit);
        if slow || (said.has(Talk::RateLimit) && self.may_be_busy()) {
            return Some(Found::new(Kind::RateLimit));
        }
        let timeout = Found::new(Kind::Timeout);
        let code = code.filter(|code| matches!(code, Code::Unavailable | Code::Server));
        match (status, code) {
            (Some(408 | 425 | 502..=504 | 507 | 520..=528 | 530 | 598 | 599), _) => Some(timeout),
            (Some(409 | 424), _) => Some(Found::retry()),
            (Some(400..=499), _) => None,
            (_, Some(Code::Unavailable)) => Some(timeout),
            (Some(500), _) if said.any(&[Talk::Timeout, Talk::Network, Talk::Deadline]) => Some(timeout),
            (Some(500), _) | (_, Some(Code::Server)) => Some(Found::retry()),
            _ => None,
        }
    }

    /// What happened on the way: there is no status.
    fn of_the_way(&self) -> Option<Found> {
        let timeout = Found::new(Kind::Timeout);
        let said = self.said;
        match self.failure.cause {
            Cause::Dns => return Some(timeout.because(Reason::Dns)),
            Cause::Connect | Cause::Timeout(TimeoutPhase::Connect) => {
                return Some(timeout.because(Reason::Connect));
            }
            Cause::Reset | Cause::Canceled(Party::Provider) => return Some(timeout.because(Reason::Reset)),
            Cause::Deadline(Party::Provider) => return Some(timeout),
            Cause::Timeout(_) => return Some(timeout.because(Reason::AttemptTimeout)),
            Cause::Http2 { reason, remote } => {
                return Some(match passes(reason, remote) {
                    true => timeout.because(Reason::Reset),
                    false if said.has(Talk::Server) => Found::retry(),
                    false => Found::new(Kind::Generic),
                });
            }
            Cause::Protocol => return Some(Found::new(Kind::Generic).because(Reason::InvalidResponse)),
            _ if self.gate.is_some() => return None,
            _ => {}
        }
        if said.any(&[Talk::Deadline, Talk::ClientTimeout])
            || self.failure.cause == Cause::Deadline(Party::Unknown)
        {
            // A time-out of the HTTP client's own is not the deadline of whoever called.
            return Some(if said.has(Talk::ClientTimeout) { timeout } else { Found::deadline() });
        }
        if said.has(Talk::Dns) {
            return Some(timeout.because(Reason::Dns));
        }
        if said.has(Talk::Network) {
            return Some(timeout.because(Reason::Reset));
        }
        if said.has(Talk::Timeout) {
            return Some(timeout);
        }
        if said.has(Talk::Server) {
            return Some(Found::retry());
        }
        let canceled = said.has(Talk::Canceled) || self.failure.cause == Cause::Canceled(Party::Unknown);
        canceled.then(Found::canceled)
    }

    /// Where words about load are to be believed: no status, a 429, or the server's own fault.
    fn may_be_busy(&self) -> bool {
        // 498 is Groq's for a tier that is full.
        matches!(self.gate, None | Some(429 | 498 | 500..))
    }

    /// How long the provider asks to wait, rounded up to milliseconds.
    fn wait(&self, found: &Found, headers: Headers<'_>, now: SystemTime) -> Option<Duration> {
        if self.local {
            return None;
        }
        let prose = self.facts.message.as_ref().and_then(|(_, message)| hint::in_text(message));
        let told = self.facts.wait.max(prose).max(hint::in_text(self.text));
        let wait = hint::explicit(headers, now).max(told);
        // These headers come with every answer; only the one that hit a limit means them.
        let wait =
            wait.or_else(|| (found.kind == Kind::RateLimit).then(|| hint::resets(headers, now)).flatten());
        wait.map(|wait| {
            Duration::from_millis(u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
        })
        .map(|wait| wait.min(crate::RETRY_AFTER_MAX))
    }

    fn provider(&self, found: &Found) -> Option<Box<str>> {
        let named = provider::canonical(&self.failure.provider);
        if self.local {
            return named;
        }
        named.or_else(|| provider::named_in(self.text)).or_else(|| match found.reason {
            Some(Reason::StreamTruncated) if self.said.has(Talk::TruncatedAnthropic) => {
                Some("anthropic".into())
            }
            Some(Reason::StreamTruncated) if self.said.has(Talk::TruncatedOpenai) => Some("openai".into()),
            Some(Reason::ChainBroken) => Some("openai".into()),
            _ => None,
        })
    }

    fn detail(&self, found: &Found) -> Option<Box<str>> {
        let said = self.facts.message.as_ref().map(|(_, message)| &**message);
        let (said, prose) = match found.reason {
            // What the host says of itself is for its operators.
            _ if self.local => return None,
            Some(Reason::ResponsesMismatch) => {
                let output = self.said.has(Talk::CallOutputMissing);
                let token =
                    if output { "function_call_output_missing" } else { "web_search_reasoning_missing" };
                return Some(format!("Responses continuity diagnostic: match={token}").into());
            }
            Some(Reason::Canceled | Reason::StreamTruncated) => (said.filter(|_| self.from_body), None),
            // Prose about a key may quote it in a shape that nobody knows.
            _ if found.kind == Kind::Auth => (said, None),
            _ if !self.text.is_empty() => (said, Some(self.text)),
            _ => {
                let body = self.failure.body.as_deref().unwrap_or_default().trim();
                (said, body.lines().next().filter(|_| !self.from_body && !is_markup(body)))
            }
        };
        let said = said.or(prose);
        said.and_then(redact::detail)
    }
}

/// Whether a stream reset is one that the next request need not meet (RFC 9113, section 7).
fn passes(reason: u32, remote: bool) -> bool {
    const NO_ERROR: u32 = 0;
    const INTERNAL_ERROR: u32 = 2;
    const REFUSED_STREAM: u32 = 7;
    const CANCEL: u32 = 8;
    const ENHANCE_YOUR_CALM: u32 = 11;
    remote && matches!(reason, NO_ERROR | INTERNAL_ERROR | REFUSED_STREAM | CANCEL | ENHANCE_YOUR_CALM)
}

fn is_markup(body: &str) -> bool {
    body.trim_start().starts_with('<')
}

/// Gateways quote the provider's body in their own message: what it says counts.
fn unwrap(facts: &mut Facts<'_>) {
    let Some((rank, message)) = facts.message.take() else { return };
    if !message.contains('{') {
        facts.message = Some((rank, message));
        return;
    }
    let inner = Facts::quoted_in(&message);
    if facts.code.is_none_or(|code| code <= Code::Server) {
        facts.code = facts.code.max(inner.code);
    }
    facts.wait = facts.wait.max(inner.wait);
    let words = inner.message.filter(|_| is_wrapper(&message)).map(|(_, words)| words.into_owned());
    facts.message = Some((rank, words.map_or(message, Cow::Owned)));
}

/// `POST "https://…": 400 Bad Request {…}`, as SDKs word it.
fn is_wrapper(message: &str) -> bool {
    let method = message.bytes().take_while(u8::is_ascii_uppercase).count();
    let rest = message[method..].strip_prefix(" \"").and_then(|rest| rest.split_once("\": "));
    method > 0 && rest.is_some_and(|(_, rest)| rest.bytes().take(3).all(|byte| byte.is_ascii_digit()))
}
