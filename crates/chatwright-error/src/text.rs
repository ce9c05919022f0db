//! What prose tells: the last resort. Phrases match whole words without regard to case, in one pass over the text.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use regex::Regex;

/// What a phrase is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Talk {
    Interrupted,
    Truncated,
    TruncatedAnthropic,
    TruncatedOpenai,
    CallOutputMissing,
    ReasoningMissing,
    PreviousResponse,
    ItemWithId,
    NotFound,
    OtherNotFound,
    ProviderDisabled,
    Overloaded,
    QuotaCode,
    /// Says without doubt that money ran out: no limit that passes is worded so.
    Money,
    /// Says without doubt that money or quota ran out.
    Usage,
    /// Speaks of money or quota.
    UsageWord,
    /// Says without doubt that the key is not accepted.
    Auth,
    /// Speaks of authentication.
    AuthWord,
    Forbidden,
    RateLimit,
    /// A limit per minute or the like: it passes.
    PerTime,
    /// Says without doubt that the prompt is too long.
    ContextOverflow,
    /// Speaks of how long prompts may be.
    ContextWord,
    TooLarge,
    Config,
    ModelMissing,
    AboutModel,
    ContentFilter,
    Tls,
    Dns,
    Network,
    Timeout,
    Deadline,
    ClientTimeout,
    Canceled,
    Server,
}

/// A phrase and what it is about.
const PHRASES: &[(&str, Talk)] = &[
    ("chat interrupted", Talk::Interrupted),
    ("request interrupted", Talk::Interrupted),
    ("operation interrupted", Talk::Interrupted),
    ("anthropic stream closed before message_stop", Talk::TruncatedAnthropic),
    ("openai responses stream closed before terminal event", Talk::TruncatedOpenai),
    ("stream closed before", Talk::Truncated),
    ("no tool output found for function call", Talk::CallOutputMissing),
    ("was provided without its required 'reasoning' item", Talk::ReasoningMissing),
    ("previous response with id", Talk::PreviousResponse),
    ("item with id", Talk::ItemWithId),
    ("not found", Talk::NotFound),
    ("resource not found", Talk::OtherNotFound),
    ("file not found", Talk::OtherNotFound),
    ("provider_disabled", Talk::ProviderDisabled),
    ("overloaded", Talk::Overloaded),
    ("overloaded_error", Talk::Overloaded),
    ("server_is_overloaded", Talk::Overloaded),
    ("server busy", Talk::Overloaded),
    ("server is busy", Talk::Overloaded),
    ("insufficient_quota", Talk::QuotaCode),
    ("quota exceeded", Talk::Usage),
    ("exceeded your current quota", Talk::Usage),
    ("payment required", Talk::Usage),
    ("credit balance", Talk::Usage),
    ("insufficient credits", Talk::Money),
    ("insufficient balance", Talk::Money),
    ("out of credits", Talk::Money),
    ("billing_hard_limit_reached", Talk::Usage),
    ("specified api usage limits", Talk::Usage),
    ("reached your usage limit", Talk::Usage),
    ("hit your usage limit", Talk::Usage),
    ("usage limit reached", Talk::Usage),
    ("usage limit has been reached", Talk::Usage),
    ("budget has been exceeded", Talk::Usage),
    ("billing hard limit", Talk::Money),
    ("used all available credits", Talk::Money),
    ("credit balance is too low", Talk::Money),
    ("purchase more credits", Talk::Money),
    ("have any credits", Talk::Money),
    ("not enough credits", Talk::Money),
    ("insufficient funds", Talk::Money),
    ("monthly spending limit", Talk::Money),
    ("quota", Talk::UsageWord),
    ("billing", Talk::UsageWord),
    ("invalid api key", Talk::Auth),
    ("invalid_api_key", Talk::Auth),
    ("incorrect api key", Talk::Auth),
    ("api key not valid", Talk::Auth),
    ("api key expired", Talk::Auth),
    ("authentication_error", Talk::Auth),
    ("invalid x-api-key", Talk::Auth),
    ("organization has been disabled", Talk::Auth),
    ("account has been disabled", Talk::Auth),
    ("account has been deactivated", Talk::Auth),
    ("authentication", Talk::AuthWord),
    ("unauthorized", Talk::AuthWord),
    ("unauthenticated", Talk::AuthWord),
    ("failed to refresh cached credentials", Talk::AuthWord),
    ("unable to locate credentials", Talk::AuthWord),
    ("forbidden", Talk::Forbidden),
    ("permission_error", Talk::Forbidden),
    ("permission_denied", Talk::Forbidden),
    ("rate limit", Talk::RateLimit),
    ("rate limits", Talk::RateLimit),
    ("rate_limit", Talk::RateLimit),
    ("rate_limit_error", Talk::RateLimit),
    ("rate_limit_exceeded", Talk::RateLimit),
    ("rate limited", Talk::RateLimit),
    ("rate-limited", Talk::RateLimit),
    ("ratelimit", Talk::RateLimit),
    ("too many requests", Talk::RateLimit),
    ("resource_exhausted", Talk::RateLimit),
    ("throttled", Talk::RateLimit),
    ("throttlingexception", Talk::RateLimit),
    ("per minute", Talk::PerTime),
    ("per min", Talk::PerTime),
    ("per second", Talk::PerTime),
    ("requests per", Talk::PerTime),
    ("tokens per", Talk::PerTime),
    ("tpm", Talk::PerTime),
    ("rpm", Talk::PerTime),
    ("context length exceeded", Talk::ContextOverflow),
    ("context_length_exceeded", Talk::ContextOverflow),
    ("context_exceeded", Talk::ContextOverflow),
    ("maximum context length", Talk::ContextOverflow),
    ("maximum prompt length", Talk::ContextOverflow),
    ("maximum allowed input length", Talk::ContextWord),
    ("maximum number of tokens", Talk::ContextWord),
    ("context window", Talk::ContextWord),
    ("context limit", Talk::ContextWord),
    ("context size", Talk::ContextWord),
    ("context length", Talk::ContextWord),
    ("request_too_large", Talk::TooLarge),
    ("request entity too large", Talk::TooLarge),
    ("payload too large", Talk::TooLarge),
    ("content too large", Talk::TooLarge),
    ("exceeded model token limit", Talk::ContextOverflow),
    ("prompt is too long", Talk::ContextOverflow),
    ("prompt too long", Talk::ContextOverflow),
    ("prompt exceeds max length", Talk::ContextOverflow),
    ("prompt token count of", Talk::ContextOverflow),
    ("input is too long", Talk::ContextOverflow),
    ("input too long", Talk::ContextOverflow),
    ("range of input length should be", Talk::ContextOverflow),
    ("context window exceeded", Talk::ContextOverflow),
    ("exceeds the maximum number of tokens", Talk::ContextOverflow),
    ("exceeds the model context window", Talk::ContextOverflow),
    ("context limit reached", Talk::ContextOverflow),
    ("context size exceeded", Talk::ContextOverflow),
    ("context limit exceeded", Talk::ContextOverflow),
    ("model_context_window_exceeded", Talk::ContextOverflow),
    ("max_context_length_exceeded", Talk::ContextOverflow),
    ("exceeds the context window", Talk::ContextOverflow),
    ("exceed the context window", Talk::ContextOverflow),
    ("exceeds the available context size", Talk::ContextOverflow),
    ("exceeds the context length", Talk::ContextOverflow),
    ("exceeds context length", Talk::ContextOverflow),
    ("exceeds the context limit", Talk::ContextOverflow),
    ("exceed context limit", Talk::ContextOverflow),
    ("exceeds the model's context", Talk::ContextOverflow),
    ("exceeds the model's maximum context", Talk::ContextOverflow),
    ("tokens in request more than max tokens allowed", Talk::ContextOverflow),
    ("input tokens exceeds", Talk::ContextOverflow),
    ("input tokens exceed", Talk::ContextOverflow),
    ("prompt exceeds the maximum", Talk::ContextOverflow),
    ("maximum allowed token size", Talk::ContextOverflow),
    ("reduce the length of the messages", Talk::ContextOverflow),
    ("reduce the length of the prompt", Talk::ContextOverflow),
    ("reduce your prompt", Talk::ContextOverflow),
    ("exceed max message tokens", Talk::ContextOverflow),
    ("inputs must have less than", Talk::ContextOverflow),
    ("tokens + `max_new_tokens` must be", Talk::ContextOverflow),
    ("number of tokens in the prompt cannot exceed", Talk::ContextOverflow),
    ("invalid model", Talk::Config),
    ("model not found", Talk::ModelMissing),
    ("model_not_found", Talk::ModelMissing),
    ("unsupported model", Talk::Config),
    ("malformed config", Talk::Config),
    ("malformed configuration", Talk::Config),
    ("relative url without a base", Talk::Config),
    ("no such model", Talk::ModelMissing),
    ("unknown model", Talk::ModelMissing),
    ("model does not exist", Talk::ModelMissing),
    ("does not exist or you do not have access", Talk::ModelMissing),
    ("deploymentnotfound", Talk::ModelMissing),
    ("not a valid model", Talk::ModelMissing),
    ("not a valid model id", Talk::ModelMissing),
    ("model identifier is invalid", Talk::ModelMissing),
    ("model", Talk::AboutModel),
    ("models", Talk::AboutModel),
    ("deployment", Talk::AboutModel),
    ("content management policy", Talk::ContentFilter),
    ("content_filter", Talk::ContentFilter),
    ("content_policy_violation", Talk::ContentFilter),
    ("blocked by content filter", Talk::ContentFilter),
    ("content filtering policy", Talk::ContentFilter),
    ("x509", Talk::Tls),
    ("failed to verify certificate", Talk::Tls),
    ("certificate verify failed", Talk::Tls),
    ("invalid peer certificate", Talk::Tls),
    ("unable to get local issuer certificate", Talk::Tls),
    ("self-signed certificate", Talk::Tls),
    ("self signed certificate", Talk::Tls),
    ("tls: handshake failure", Talk::Tls),
    ("tls: bad certificate", Talk::Tls),
    ("tls: unknown certificate authority", Talk::Tls),
    ("tls: protocol version not supported", Talk::Tls),
    ("does not look like a tls handshake", Talk::Tls),
    ("fatal alert: handshakefailure", Talk::Tls),
    ("fatal alert: protocolversion", Talk::Tls),
    ("fatal alert: unknownca", Talk::Tls),
    ("fatal alert: badcertificate", Talk::Tls),
    ("fatal alert: certificateexpired", Talk::Tls),
    ("fatal alert: certificaterequired", Talk::Tls),
    ("fatal alert: certificateunknown", Talk::Tls),
    ("sslv3 alert handshake failure", Talk::Tls),
    ("wrong version number", Talk::Tls),
    ("certificate_verify_failed", Talk::Tls),
    ("sslcertverificationerror", Talk::Tls),
    ("certificate has expired", Talk::Tls),
    ("cert_has_expired", Talk::Tls),
    ("unable to verify the first certificate", Talk::Tls),
    ("unable_to_verify_leaf_signature", Talk::Tls),
    ("unable_to_get_issuer_cert", Talk::Tls),
    ("unable_to_get_issuer_cert_locally", Talk::Tls),
    ("depth_zero_self_signed_cert", Talk::Tls),
    ("self_signed_cert_in_chain", Talk::Tls),
    ("err_tls_cert_altname_invalid", Talk::Tls),
    ("does not match certificate's altnames", Talk::Tls),
    ("err_cert_authority_invalid", Talk::Tls),
    ("err_cert_date_invalid", Talk::Tls),
    ("err_cert_common_name_invalid", Talk::Tls),
    ("no such host", Talk::Dns),
    ("server misbehaving", Talk::Dns),
    ("dns error", Talk::Dns),
    ("failed to lookup address", Talk::Dns),
    ("name or service not known", Talk::Dns),
    ("temporary failure in name resolution", Talk::Dns),
    ("getaddrinfo", Talk::Dns),
    ("enotfound", Talk::Dns),
    ("eai_again", Talk::Dns),
    ("nodename nor servname provided", Talk::Dns),
    ("err_name_not_resolved", Talk::Dns),
    ("service unavailable", Talk::Timeout),
    ("unavailable", Talk::Timeout),
    ("bad gateway", Talk::Timeout),
    ("gateway timeout", Talk::Timeout),
    ("timeout", Talk::Timeout),
    ("timed out", Talk::Timeout),
    ("deadline has elapsed", Talk::Timeout),
    ("etimedout", Talk::Timeout),
    ("timeouterror", Talk::Timeout),
    ("readtimeout", Talk::Timeout),
    ("connecttimeout", Talk::Timeout),
    ("writetimeout", Talk::Timeout),
    ("pooltimeout", Talk::Timeout),
    ("connecttimeouterror", Talk::Timeout),
    ("readtimeouterror", Talk::Timeout),
    ("und_err_connect_timeout", Talk::Timeout),
    ("und_err_headers_timeout", Talk::Timeout),
    ("und_err_body_timeout", Talk::Timeout),
    ("err_connection_timed_out", Talk::Timeout),
    ("err_timed_out", Talk::Timeout),
    ("connection reset", Talk::Network),
    ("connection refused", Talk::Network),
    ("connection closed", Talk::Network),
    ("connection aborted", Talk::Network),
    ("connection error", Talk::Network),
    ("econnreset", Talk::Network),
    ("econnrefused", Talk::Network),
    ("socket hang up", Talk::Network),
    ("eof", Talk::Network),
    ("broken pipe", Talk::Network),
    ("client conn", Talk::Network),
    ("client connection", Talk::Network),
    ("goaway", Talk::Network),
    ("http2: stream closed", Talk::Network),
    ("use of closed network connection", Talk::Network),
    ("network is unreachable", Talk::Network),
    ("no route to host", Talk::Network),
    ("host is unreachable", Talk::Network),
    ("stream ended", Talk::Network),
    ("incomplete message", Talk::Network),
    ("stream error received", Talk::Network),
    ("error reading a body from connection", Talk::Network),
    ("error sending request", Talk::Network),
    ("tcp connect error", Talk::Network),
    ("internal_error; received from peer", Talk::Network),
    ("refused_stream; received from peer", Talk::Network),
    ("cancel; received from peer", Talk::Network),
    ("enhance_your_calm; received from peer", Talk::Network),
    ("no_error; received from peer", Talk::Network),
    ("epipe", Talk::Network),
    ("ehostunreach", Talk::Network),
    ("enetunreach", Talk::Network),
    ("enetdown", Talk::Network),
    ("econnaborted", Talk::Network),
    ("und_err_socket", Talk::Network),
    ("other side closed", Talk::Network),
    ("typeerror: fetch failed", Talk::Network),
    ("typeerror: failed to fetch", Talk::Network),
    ("typeerror: load failed", Talk::Network),
    ("network error", Talk::Network),
    ("networkerror", Talk::Network),
    ("client network socket disconnected", Talk::Network),
    ("premature close", Talk::Network),
    ("err_stream_premature_close", Talk::Network),
    ("err_connection_reset", Talk::Network),
    ("err_connection_closed", Talk::Network),
    ("err_connection_refused", Talk::Network),
    ("err_connection_aborted", Talk::Network),
    ("err_network_changed", Talk::Network),
    ("err_internet_disconnected", Talk::Network),
    ("err_address_unreachable", Talk::Network),
    ("err_empty_response", Talk::Network),
    ("err_incomplete_chunked_encoding", Talk::Network),
    ("err_http2_ping_failed", Talk::Network),
    ("err_http2_goaway_session", Talk::Network),
    ("nghttp2_internal_error", Talk::Network),
    ("nghttp2_refused_stream", Talk::Network),
    ("nghttp2_cancel", Talk::Network),
    ("nghttp2_enhance_your_calm", Talk::Network),
    ("nghttp2_no_error", Talk::Network),
    ("connecterror", Talk::Network),
    ("readerror", Talk::Network),
    ("writeerror", Talk::Network),
    ("remoteprotocolerror", Talk::Network),
    ("all connection attempts failed", Talk::Network),
    ("server disconnected", Talk::Network),
    ("serverdisconnectederror", Talk::Network),
    ("peer closed connection", Talk::Network),
    ("response payload is not completed", Talk::Network),
    ("clientpayloaderror", Talk::Network),
    ("clientconnectorerror", Talk::Network),
    ("cannot connect to host", Talk::Network),
    ("connection broken", Talk::Network),
    ("incompleteread", Talk::Network),
    ("remotedisconnected", Talk::Network),
    ("unexpected end of file", Talk::Network),
    ("incompletemessage", Talk::Network),
    ("connection was not ready", Talk::Network),
    ("request or response body error", Talk::Network),
    ("server closed idle connection", Talk::Network),
    ("cannot retry after request.body was written", Talk::Network),
    ("context deadline exceeded", Talk::Deadline),
    ("rpc error: code = deadlineexceeded", Talk::Deadline),
    ("client.timeout exceeded", Talk::ClientTimeout),
    ("while awaiting headers", Talk::ClientTimeout),
    ("client.timeout or context cancellation", Talk::ClientTimeout),
    ("context canceled", Talk::Canceled),
    ("server error", Talk::Server),
    ("internal server error", Talk::Server),
    ("server_error", Talk::Server),
    ("internal_server_error", Talk::Server),
    ("internalserverexception", Talk::Server),
    ("modelstreamerrorexception", Talk::Server),
    ("an error occurred while processing your request", Talk::Server),
];

/// What a text talks about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Talks(u64);

impl Talks {
    pub(crate) fn has(self, talk: Talk) -> bool {
        self.0 & (1 << talk as u8) != 0
    }

    pub(crate) fn any(self, talks: &[Talk]) -> bool {
        talks.iter().any(|&talk| self.has(talk))
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What `text` talks about. Time linear in its length.
    pub(crate) fn of(text: &str) -> Self {
        static FINDER: LazyLock<AhoCorasick> = LazyLock::new(|| {
            let mut builder = AhoCorasickBuilder::new();
            builder.ascii_case_insensitive(true).match_kind(MatchKind::Standard);
            builder.build(PHRASES.iter().map(|(phrase, _)| phrase)).expect("few and short phrases")
        });
        let bytes = text.as_bytes();
        let whole_words = |start: usize, end: usize| {
            let before = start.checked_sub(1).and_then(|at| bytes.get(at));
            !before.is_some_and(is_word) && !bytes.get(end).is_some_and(is_word)
        };
        let mut talks = 0;
        for found in FINDER.find_overlapping_iter(bytes) {
            if whole_words(found.start(), found.end()) {
                talks |= 1 << PHRASES[found.pattern().as_usize()].1 as u8;
            }
        }
        let mut talks = Self(talks);
        if talks.has(Talk::AboutModel) && names_missing_model(text) {
            talks.0 |= 1 << Talk::ModelMissing as u8;
        }
        if is_broken_off(text) {
            talks.0 |= 1 << Talk::Network as u8;
        }
        talks
    }
}

/// Texts that tell of a broken connection only where they are all that is said.
fn is_broken_off(text: &str) -> bool {
    const LAST: &[&str] = &["error decoding response body", "error reading response body"];
    const ALL: &[&str] = &["terminated", "fetch failed", "failed to fetch"];
    let text = text.trim().trim_end_matches('.');
    let said = text.strip_prefix("TypeError: ").unwrap_or(text);
    let ends = |last: &&str| {
        let at = text.len().checked_sub(last.len()).filter(|&at| text.is_char_boundary(at));
        at.is_some_and(|at| text[at..].eq_ignore_ascii_case(last) && (at == 0 || text[..at].ends_with(": ")))
    };
    ALL.iter().any(|all| all.eq_ignore_ascii_case(said)) || LAST.iter().any(ends)
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

/// "model 'x' not found", "models/x is not found", "The model `x` does not exist".
fn names_missing_model(text: &str) -> bool {
    static NAMES: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = r#"(?i-u)\bmodels?[:/ ]\s?["'`]?[\w./:@-]{1,100}["'`]?,? (?:is not found|was not found|not found|does not exist|not exist)\b"#;
        Regex::new(pattern).expect("a valid pattern")
    });
    NAMES.is_match(text)
}

/// The HTTP status that a text names. A number alone is one only where nothing says that it counts something else.
pub(crate) fn status(text: &str) -> Option<u16> {
    static NAMED: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = r#"(?ix-u)\b(?:status(?:[ _-]?code)?|http(?:/\d(?:\.\d)?|_)?(?:\ status(?:\ code)?)?|error\ code|code["']?\s*[:=]|(?:client|server)\ error)["']?\s*[:=]?\s*["'(]?(\d{3})\b"#;
        Regex::new(pattern).expect("a valid pattern")
    });
    static ALONE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?-u)\b(?:401|403|408|429|500|502|503|504|529)\b").expect("a valid pattern")
    });
    let named = NAMED.captures_iter(text).filter_map(|found| {
        let number = found.get(1)?;
        let status = number.as_str().parse().ok().filter(|status| (300..600).contains(status));
        status.filter(|_| !counts(text, number.end()))
    });
    let alone = || {
        let free = |found: &regex::Match<'_>| !counts(text, found.end()) && !belongs(&text[..found.start()]);
        ALONE.find_iter(text).find(free).and_then(|found| found.as_str().parse().ok())
    };
    leading(text).or_else(|| named.into_iter().next()).or_else(alone)
}

/// `400 {…}`, `402 Payment Required`, `Error 404, …`, as SDKs begin what they say.
fn leading(text: &str) -> Option<u16> {
    let text = text.strip_prefix("Error ").unwrap_or(text);
    let (number, rest) = text.split_at_checked(3)?;
    let status = number.parse().ok().filter(|status| (400..600).contains(status))?;
    let mut rest = rest.chars();
    let reason = match rest.next() {
        Some(' ') => rest.next().is_some_and(|c| c == '{' || c.is_ascii_uppercase()),
        Some(',' | ':') => rest.next() == Some(' '),
        _ => false,
    };
    reason.then_some(status)
}

/// Whether what follows a number says that it is an amount: a fraction, a unit, a plural.
fn counts(text: &str, end: usize) -> bool {
    const UNITS: &[&str] = &[
        "ms", "s", "sec", "second", "min", "minute", "m", "h", "token", "byte", "k", "kb", "mb", "gb", "kib",
        "mib", "gib", "px", "times", "x",
    ];
    /// No reason phrase goes on so.
    const PROSE: &[&str] = &["of", "out", "is", "too"];
    let rest = &text[end..];
    let mut chars = rest.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('.' | ','), Some(next), _) if next.is_ascii_digit() => return true,
        (Some('%'), ..) | (Some(' '), Some('<' | '>' | '='), None | Some(' ' | '=')) => return true,
        _ => {}
    }
    let Some(word) = rest.strip_prefix([' ', '-']) else { return false };
    let word = word.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    if PROSE.contains(&word) {
        return true;
    }
    let word = word.to_ascii_lowercase();
    UNITS.contains(&word.as_str())
        || (word.len() > 3 && word.ends_with('s') && !word.ends_with("ss") && !word.ends_with("us"))
}

/// Whether what precedes a number says that it belongs to something else: a port, a stream, a line, an amount.
fn belongs(before: &str) -> bool {
    const OWNERS: &[&str] = &[
        "id",
        "port",
        "line",
        "column",
        "max",
        "maximum",
        "min",
        "minimum",
        "limit",
        "least",
        "most",
        "than",
        "of",
        "after",
        "index",
        "step",
        "attempt",
        "page",
        "item",
        "to",
        "for",
        "has",
        "have",
        "number",
        "offset",
        "chunk",
        "seed",
        "temperature",
        "budget",
        "used",
        "by",
        "be",
        "wait",
    ];
    if before.ends_with([':', '$', '#', '.', ',', '-', '/', '=', '+', '<', '>']) {
        return true;
    }
    // `[503] overloaded` names a status, `messages[503]` a message.
    if before.strip_suffix('[').is_some_and(|before| before.as_bytes().last().is_some_and(is_word)) {
        return true;
    }
    if ["$", "<", ">", ">=", "<="].iter().any(|sign| before.trim_end().ends_with(sign)) {
        return true;
    }
    let before = before.trim_end().trim_end_matches([':', '=']).trim_end();
    let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    OWNERS.iter().any(|owner| owner.eq_ignore_ascii_case(word))
}

/// Codes that adapters put into prose: `… (code: server_error)`, `rpc error: code = Unavailable desc = …`,
/// `ThrottlingException: …`.
pub(crate) fn code(text: &str) -> Option<&str> {
    let between = |start: &str, end: &str| {
        let at = text.find(start)? + start.len();
        text[at..].split_once(end).map(|(code, _)| code)
    };
    // Clients word their own deadline like the provider's.
    let rpc = || between("rpc error: code = ", " desc").filter(|code| *code != "DeadlineExceeded");
    let head = || text.split_once(':').map(|(name, _)| name).filter(|name| name.ends_with("Exception"));
    between("(code: ", ")").or_else(rpc).or_else(head)
}

/// Names of exceptions in prose, as `openai.RateLimitError: …`, `(ValidationException) …`, `stream: TimeoutError`.
pub(crate) fn exceptions(text: &str) -> impl Iterator<Item = &str> {
    /// Those that have a code's name and say less, or something else.
    const VAGUE: &[&str] = &["APIError", "ApiError", "ModelError", "UnknownError", "PermissionError"];
    let text = if text.contains("Error") || text.contains("Exception") { text } else { "" };
    let mut start = 0;
    text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))).filter_map(
        move |run| {
            let (at, word) = (start, run.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()));
            start += run.len();
            let name = word.rsplit('.').next().unwrap_or(word);
            let named = name.ends_with("Error") || name.ends_with("Exception");
            if !named || VAGUE.contains(&name) {
                return None;
            }
            let (before, after) = (&text[..at], &text[at + word.len()..]);
            let begins = before.is_empty() || [": ", ", ", "(", "\n"].iter().any(|end| before.ends_with(end));
            let ends = after.is_empty() || after.starts_with([':', ',', '(', ')', '\n']);
            (begins && ends).then_some(name)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_whole_words() {
        for text in
            ["typeof", "thereof", "overloaded_operator", "check_quota", "quotas", "timeouts", "my_rate_limit"]
        {
            assert_eq!(Talks::of(text), Talks::default(), "{text}");
        }
        assert!(Talks::of("unexpected EOF").has(Talk::Network));
        assert!(Talks::of("é overloaded é").has(Talk::Overloaded));
        let both = Talks::of("Gateway Timeout, quota exceeded");
        assert!(both.has(Talk::Timeout) && both.has(Talk::Usage) && both.has(Talk::UsageWord));
    }

    #[test]
    fn every_talk_has_its_bit() {
        assert!((Talk::Server as u8) < 64);
    }

    #[test]
    fn models_that_are_missing_are_named_in_many_ways() {
        for text in [
            "model 'llama9' not found, try pulling it first",
            "model \"x:8b\" not found",
            "models/gemini-9 is not found for API version v1beta",
            "The model `gpt-9` does not exist",
        ] {
            assert!(Talks::of(text).has(Talk::ModelMissing), "{text}");
        }
        assert!(!Talks::of("the model is fine, the file was not found").has(Talk::ModelMissing));
    }

    #[test]
    fn a_status_is_told_from_other_numbers() {
        for (text, wanted) in [
            ("status 429", Some(429)),
            ("status code: 503", Some(503)),
            ("status_code=404", Some(404)),
            ("statusCode: 418", Some(418)),
            ("\"status\": 422", Some(422)),
            ("HTTP/1.1 502 Bad Gateway", Some(502)),
            ("http 502 bad gateway", Some(502)),
            ("error code: 529", Some(529)),
            ("(code: 429)", Some(429)),
            ("http2: server error 429 Too Many Requests", Some(429)),
            ("got 504 from upstream", Some(504)),
            ("upstream said 503", Some(503)),
            ("status 4290", None),
            ("status 42", None),
            ("status 999", None),
            ("proxy.internal:502 unreachable", None),
            ("stream ID 401; x", None),
            ("stream ID: 503; x", None),
            ("stream ID 455; status 503 from upstream", Some(503)),
            ("prompt has 500 tokens too many", None),
            ("ended after 503 ms", None),
            ("gave up after 500 retries", None),
            ("at most 500", None),
            ("500.5 of something", None),
            ("costs $500", None),
            ("1,500 things", None),
        ] {
            assert_eq!(status(text), wanted, "{text}");
        }
    }
}
