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
    ContextOverflow,
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
    ("insufficient_quota", Talk::QuotaCode),
    ("quota exceeded", Talk::Usage),
    ("exceeded your current quota", Talk::Usage),
    ("payment required", Talk::Usage),
    ("credit balance", Talk::Usage),
    ("insufficient credits", Talk::Usage),
    ("insufficient balance", Talk::Usage),
    ("out of credits", Talk::Usage),
    ("billing_hard_limit_reached", Talk::Usage),
    ("billing hard limit", Talk::Usage),
    ("quota", Talk::UsageWord),
    ("billing", Talk::UsageWord),
    ("invalid api key", Talk::Auth),
    ("invalid_api_key", Talk::Auth),
    ("incorrect api key", Talk::Auth),
    ("api key not valid", Talk::Auth),
    ("api key expired", Talk::Auth),
    ("authentication_error", Talk::Auth),
    ("invalid x-api-key", Talk::Auth),
    ("authentication", Talk::AuthWord),
    ("unauthorized", Talk::AuthWord),
    ("unauthenticated", Talk::AuthWord),
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
    ("maximum allowed input length", Talk::ContextOverflow),
    ("maximum number of tokens", Talk::ContextOverflow),
    ("context window", Talk::ContextOverflow),
    ("context limit", Talk::ContextOverflow),
    ("context size", Talk::ContextOverflow),
    ("context length", Talk::ContextOverflow),
    ("exceeded model token limit", Talk::ContextOverflow),
    ("prompt is too long", Talk::ContextOverflow),
    ("prompt too long", Talk::ContextOverflow),
    ("prompt exceeds max length", Talk::ContextOverflow),
    ("prompt token count of", Talk::ContextOverflow),
    ("input is too long", Talk::ContextOverflow),
    ("input too long", Talk::ContextOverflow),
    ("range of input length should be", Talk::ContextOverflow),
    ("invalid model", Talk::Config),
    ("model not found", Talk::ModelMissing),
    ("model_not_found", Talk::ModelMissing),
    ("unsupported model", Talk::Config),
    ("malformed config", Talk::Config),
    ("malformed configuration", Talk::Config),
    ("no such model", Talk::ModelMissing),
    ("unknown model", Talk::ModelMissing),
    ("model does not exist", Talk::ModelMissing),
    ("does not exist or you do not have access", Talk::ModelMissing),
    ("deploymentnotfound", Talk::ModelMissing),
    ("model", Talk::AboutModel),
    ("models", Talk::AboutModel),
    ("deployment", Talk::AboutModel),
    ("content management policy", Talk::ContentFilter),
    ("content_filter", Talk::ContentFilter),
    ("content_policy_violation", Talk::ContentFilter),
    ("blocked by content filter", Talk::ContentFilter),
    ("x509", Talk::Tls),
    ("failed to verify certificate", Talk::Tls),
    ("certificate verify failed", Talk::Tls),
    ("invalid peer certificate", Talk::Tls),
    ("unable to get local issuer certificate", Talk::Tls),
    ("self-signed certificate", Talk::Tls),
    ("self signed certificate", Talk::Tls),
    ("no such host", Talk::Dns),
    ("server misbehaving", Talk::Dns),
    ("dns error", Talk::Dns),
    ("failed to lookup address", Talk::Dns),
    ("name or service not known", Talk::Dns),
    ("temporary failure in name resolution", Talk::Dns),
    ("getaddrinfo", Talk::Dns),
    ("enotfound", Talk::Dns),
    ("service unavailable", Talk::Timeout),
    ("unavailable", Talk::Timeout),
    ("bad gateway", Talk::Timeout),
    ("gateway timeout", Talk::Timeout),
    ("timeout", Talk::Timeout),
    ("timed out", Talk::Timeout),
    ("deadline has elapsed", Talk::Timeout),
    ("etimedout", Talk::Timeout),
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
    ("context deadline exceeded", Talk::Deadline),
    ("client.timeout exceeded", Talk::ClientTimeout),
    ("while awaiting headers", Talk::ClientTimeout),
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
        talks
    }
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
        let pattern = r#"(?ix-u)\b(?:status(?:[ _-]?code)?|http(?:/\d(?:\.\d)?)?(?:\ status(?:\ code)?)?|error\ code|code["']?\s*[:=])["']?\s*[:=]?\s*["'(]?(\d{3})\b"#;
        Regex::new(pattern).expect("a valid pattern")
    });
    static ALONE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?-u)\b(?:401|403|408|429|500|502|503|504|529)\b").expect("a valid pattern")
    });
    let named = NAMED.captures_iter(text).filter_map(|found| {
        let number = found.get(1)?;
        let status = number.as_str().parse().ok().filter(|status| (100..600).contains(status));
        status.filter(|_| !counts(text, number.end()))
    });
    let alone = || {
        let free = |found: &regex::Match<'_>| !counts(text, found.end()) && !belongs(&text[..found.start()]);
        ALONE.find_iter(text).find(free).and_then(|found| found.as_str().parse().ok())
    };
    named.into_iter().next().or_else(alone)
}

/// Whether what follows a number says that it is an amount: a fraction, a unit, a plural.
fn counts(text: &str, end: usize) -> bool {
    const UNITS: &[&str] = &[
        "ms", "s", "sec", "second", "min", "minute", "m", "h", "token", "byte", "k", "kb", "mb", "gb", "px",
        "times", "x",
    ];
    let rest = &text[end..];
    let mut chars = rest.chars();
    match (chars.next(), chars.next()) {
        (Some('.' | ','), Some(next)) if next.is_ascii_digit() => return true,
        (Some('%'), _) => return true,
        _ => {}
    }
    let Some(word) = rest.strip_prefix([' ', '-']) else { return false };
    let word = word.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default().to_ascii_lowercase();
    UNITS.contains(&word.as_str())
        || (word.len() > 3 && word.ends_with('s') && !word.ends_with("ss") && !word.ends_with("us"))
}

/// Whether what precedes a number says that it belongs to something else: a port, a stream, a line, an amount.
fn belongs(before: &str) -> bool {
    const OWNERS: &[&str] = &[
        "id", "port", "line", "column", "max", "maximum", "min", "minimum", "limit", "least", "most", "than",
        "of", "after", "index", "step", "attempt", "page", "item", "to", "for", "has", "have", "number",
    ];
    if before.ends_with([':', '$', '#', '.', ',', '-', '/', '=', '+', '<', '>']) {
        return true;
    }
    let before = before.trim_end().trim_end_matches([':', '=']).trim_end();
    let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    OWNERS.iter().any(|owner| owner.eq_ignore_ascii_case(word))
}

/// Codes that adapters put into prose: `… (code: server_error)`, `ThrottlingException: …`.
pub(crate) fn code(text: &str) -> Option<&str> {
    match text.find("(code: ") {
        Some(at) => text[at + "(code: ".len()..].split_once(')').map(|(code, _)| code),
        None => text.split_once(':').map(|(name, _)| name).filter(|name| name.ends_with("Exception")),
    }
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
