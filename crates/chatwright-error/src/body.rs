//! Reads what error bodies have in common, in one pass and without a tree.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::codes::Code;
use crate::{hint, python};

/// How deep errors lie in errors; what is deeper is not an error's own.
const DEPTH_MAX: u8 = 6;

/// What a body says.
#[derive(Debug, Default)]
pub(crate) struct Facts<'a> {
    /// It is JSON, whole or cut.
    pub(crate) json: bool,
    pub(crate) code: Option<Code>,
    /// A status inside the body, 400 to 599.
    pub(crate) status: Option<u16>,
    /// What it says in words, and how near to the error that was.
    pub(crate) message: Option<(u8, Cow<'a, str>)>,
    /// The longest wait that it asks for.
    pub(crate) wait: Option<Duration>,
    /// The body of whoever a gateway asked, as it keeps it.
    pub(crate) upstream: Option<Cow<'a, str>>,
}

/// How many places in prose are tried for an object.
const QUOTES_MAX: usize = 8;
/// Most bytes of an object that Python printed; what is cut has told what it could.
const PRINTED_MAX: usize = 16 * 1024;

impl<'a> Facts<'a> {
    /// Reads the JSON document that a body begins with, or the events of a stream; what follows it does not matter.
    pub(crate) fn read(body: &'a str) -> Self {
        let mut facts = Self::default();
        let text = without_preface(body);
        if text.starts_with(['{', '[']) {
            facts.document(text);
        } else if is_event_stream(text) {
            let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
            data.map(str::trim_start)
                .filter(|data| data.starts_with('{'))
                .for_each(|data| facts.document(data));
        }
        facts
    }

    fn document(&mut self, text: &'a str) {
        let mut json = serde_json::Deserializer::from_str(text);
        let place = Place { depth: 0, within: Within::Top };
        let whole = At { facts: self, place }.deserialize(&mut json).is_ok();
        // A body that was cut has told what it could; braces in prose tell nothing.
        self.json |= whole;
    }

    /// Reads the first object within prose that tells something: wrappers quote the provider's body so, as JSON or as
    /// Python prints it.
    pub(crate) fn quoted_in(text: &'a str) -> Self {
        let opened = text.match_indices('{').map(|(at, _)| &text[at..]);
        let quotes = opened.filter_map(|text| match text[1..].trim_start().bytes().next() {
            Some(b'"') => Some((text, false)),
            Some(b'\'') => Some((text, true)),
            _ => None,
        });
        for (text, is_python) in quotes.take(QUOTES_MAX) {
            let facts = match is_python {
                true => Facts::read(&python::to_json(start(text, PRINTED_MAX))).into_owned(),
                false => Self::read(text),
            };
            if facts.code.is_some() || facts.status.is_some() || facts.message.is_some() {
                return facts;
            }
        }
        Self::default()
    }

    fn into_owned<'b>(self) -> Facts<'b> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let message = self.message.map(|(rank, words)| (rank, owned(words)));
        let upstream = self.upstream.map(owned);
        Facts { json: self.json, code: self.code, status: self.status, message, wait: self.wait, upstream }
    }

    /// Takes over what the body says that this one passes on: it knows better what happened.
    pub(crate) fn hear_upstream(&mut self) {
        let Some(body) = self.upstream.take() else { return };
        let inner = Facts::read(&body);
        self.code = self.code.max(inner.code);
        self.wait(inner.wait);
        let told = |words: &str| !words.eq_ignore_ascii_case("provider returned error");
        if !self.message.as_ref().is_some_and(|(_, words)| told(words.trim())) {
            let is_json = inner.json;
            let words = inner.message.map(|(_, words)| words.into_owned());
            let words = words.or_else(|| (!is_json).then(|| body.into_owned()));
            self.message = words.map(|words| (0, Cow::Owned(words))).or(self.message.take());
        }
    }

    fn code(&mut self, code: &str) {
        self.code = self.code.max(Code::of(code));
        // Gateways put the status where others have a code.
        if self.status.is_none() {
            self.status = code.parse().ok().filter(|status| (400..600).contains(status));
        }
    }

    fn wait(&mut self, wait: Option<Duration>) {
        self.wait = self.wait.max(wait);
    }
}

/// The beginning of a text, cut on a character boundary.
fn start(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

/// What follows a byte order mark, a guard against scripts (`)]}'`) and the head of a dumped HTTP response.
fn without_preface(body: &str) -> &str {
    let text = body.trim_start_matches('\u{feff}').trim_start();
    let rest = match text {
        _ if text.starts_with(")]}'") => text.split_once('\n').map(|(_, rest)| rest),
        _ if text.starts_with("HTTP/") => {
            text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).map(|(_, rest)| rest)
        }
        _ => None,
    };
    rest.unwrap_or(text).trim_start()
}

/// Whether a body is a stream of server-sent events.
fn is_event_stream(text: &str) -> bool {
    ["data:", "event:", "id:", "retry:", ": "].iter().any(|field| text.starts_with(field))
}

/// Which part of the body a value belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Top,
    /// The error object, or a list of them.
    Error,
    /// Something that describes the error further.
    Details,
    /// The value of a field that matters.
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Code,
    Message(u8),
    /// Seconds, or a protobuf duration.
    Wait,
    /// Milliseconds.
    WaitMillis,
    Upstream,
    QuotaId,
    /// A moderation result: its presence is what counts.
    Flagged,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    depth: u8,
    within: Within,
}

impl Place {
    /// Where the value of a field of an object here belongs, if anywhere.
    fn of(self, key: &str) -> Option<Self> {
        let within = match (self.within, key) {
            (Within::Field(_), _) => return None,
            (_, "error" | "errors" | "response") => Within::Error,
            (_, "innererror" | "details" | "metadata" | "violations") => Within::Details,
            (_, "code" | "type" | "status" | "__type" | "error_type" | "statusCode" | "status_code") => {
                Within::Field(Field::Code)
            }
            (Within::Details, "reason") => Within::Field(Field::Code),
            (Within::Error, "message") => Within::Field(Field::Message(3)),
            (Within::Top, "message" | "Message") => Within::Field(Field::Message(2)),
            (Within::Top, "detail" | "error_description") => Within::Field(Field::Message(1)),
            (Within::Details, "message") => Within::Field(Field::Message(0)),
            // OpenRouter keeps the upstream's own body as a string.
            (Within::Details, "raw") => Within::Field(Field::Upstream),
            (Within::Details, "flagged_input") => Within::Field(Field::Flagged),
            (Within::Details, "quotaId") => Within::Field(Field::QuotaId),
            (_, "retryDelay" | "retry_after" | "retryAfter" | "resets_in_seconds") => {
                Within::Field(Field::Wait)
            }
            (_, "retry_after_ms" | "retryAfterMs") => Within::Field(Field::WaitMillis),
            // Bedrock's streams name the exception and put the words inside it.
            (Within::Top, key) if key.ends_with("Exception") => Within::Error,
            _ => return None,
        };
        (self.depth < DEPTH_MAX).then_some(Self { depth: self.depth + 1, within })
    }
}

struct At<'f, 'a> {
    facts: &'f mut Facts<'a>,
    place: Place,
}

impl<'a> DeserializeSeed<'a> for At<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'a> At<'_, 'a> {
    fn text(self, text: Cow<'a, str>) {
        let facts = self.facts;
        match self.place.within {
            Within::Field(Field::Code) => facts.code(&text),
            Within::Field(Field::Message(rank)) => facts.said(rank, text),
            // `"error": "what happened"`; beside a message it may also be a code.
            Within::Error => {
                facts.code(&text);
                facts.said(1, text);
            }
            Within::Field(Field::Wait) => facts.wait(hint::seconds(&text)),
            Within::Field(Field::Upstream) => facts.upstream = Some(text),
            Within::Field(Field::QuotaId) if text.contains("PerDay") => {
                facts.code = facts.code.max(Some(Code::DailyLimit));
            }
            Within::Field(Field::Flagged) => facts.code = facts.code.max(Some(Code::ContentFilter)),
            _ => {}
        }
    }

    fn number(self, number: f64) {
        match self.place.within {
            Within::Field(Field::Code) if (400.0..600.0).contains(&number) && self.facts.status.is_none() => {
                // Within u16, as just checked.
                self.facts.status = Some(number as u16);
            }
            Within::Field(Field::Wait) => self.facts.wait(hint::from_seconds(number)),
            Within::Field(Field::WaitMillis) => self.facts.wait(hint::from_seconds(number / 1e3)),
            _ => {}
        }
    }
}

impl<'a> Facts<'a> {
    fn said(&mut self, rank: u8, text: Cow<'a, str>) {
        let better = self.message.as_ref().is_none_or(|(known, _)| rank > *known);
        if better && !text.trim().is_empty() {
            self.message = Some((rank, text));
        }
    }
}

impl<'a> Visitor<'a> for At<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<(), E> {
        self.text(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.text(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.number(number as f64);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.number(number as f64);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.number(number);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let place = self.place;
        let inside = place.depth < DEPTH_MAX && !matches!(place.within, Within::Field(_));
        let place = Place { depth: place.depth + 1, ..place };
        while match inside {
            true => items.next_element_seed(At { facts: self.facts, place })?.is_some(),
            false => items.next_element::<IgnoredAny>()?.is_some(),
        } {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut fields: A) -> Result<(), A::Error> {
        let facts = self.facts;
        // An object of an error's is JSON whatever comes after: a body may be cut.
        while let Some(key) = fields.next_key_seed(Key)? {
            facts.json = true;
            match self.place.of(&key) {
                Some(place) => {
                    if place.within == Within::Error && key.ends_with("Exception") {
                        facts.code(&key);
                    }
                    fields.next_value_seed(At { facts, place })?;
                }
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
struct Key;

impl<'a> DeserializeSeed<'a> for Key {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Key {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'a str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Said<'a> = (Option<Code>, Option<u16>, Option<&'a str>);

    fn said(body: &str) -> (Option<Code>, Option<u16>, Option<String>) {
        let facts = Facts::read(body);
        (facts.code, facts.status, facts.message.map(|(_, words)| words.into_owned()))
    }

    #[test]
    fn bodies_of_many_providers_are_read_alike() {
        let cases: &[(&str, Said<'_>)] = &[
            (
                r#"{"error":{"message":"m","type":"x","param":null,"code":"rate_limit_exceeded"}}"#,
                (Some(Code::RateLimit), None, Some("m")),
            ),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#,
                (Some(Code::Overloaded), None, Some("Overloaded")),
            ),
            (
                r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#,
                (Some(Code::Unavailable), Some(503), Some("m")),
            ),
            (
                r#"{"error":{"code":"content_filter","message":"m","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
                (Some(Code::ContentFilter), Some(400), Some("m")),
            ),
            (
                r#"{"__type":"com.amazon#ThrottlingException","message":"m"}"#,
                (Some(Code::RateLimit), None, Some("m")),
            ),
            (r#"{"throttlingException":{"message":"m"}}"#, (Some(Code::RateLimit), None, Some("m"))),
            (
                r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#,
                (Some(Code::InvalidRequest), Some(400), Some("m")),
            ),
            (r#"{"error":"model 'x' not found"}"#, (None, None, Some("model 'x' not found"))),
            (r#"{"message":"m","error":"rate_limit"}"#, (Some(Code::RateLimit), None, Some("m"))),
            (r#"{"error":{"message":"m","code":"429"}}"#, (None, Some(429), Some("m"))),
            (
                r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"m"}}}"#,
                (Some(Code::Server), None, Some("m")),
            ),
            (
                r#"{"error":{"code":403,"message":"m","metadata":{"flagged_input":"…"}}}"#,
                (Some(Code::ContentFilter), Some(403), Some("m")),
            ),
            (r#"{"detail":"m"}"#, (None, None, Some("m"))),
            (r#"{"choices":[{"message":"never","code":"rate_limit"}]}"#, (None, None, None)),
        ];
        for (body, (code, status, words)) in cases {
            assert_eq!(said(body), (*code, *status, words.map(str::to_owned)), "{body}");
        }
    }

    #[test]
    fn a_cut_body_tells_what_it_could_and_deep_or_odd_ones_do_no_harm() {
        let cut = r#"{"error":{"code":"insufficient_quota","message":"You exc"#;
        assert_eq!(Facts::read(cut).code, Some(Code::Usage));
        assert!(Facts::read(cut).json);
        assert!(!Facts::read("{x} is not allowed").json);
        let deep = r#"{"error":"#.repeat(100_000);
        assert_eq!(Facts::read(&deep).code, None);
        assert_eq!(
            said(r#"{"error":{"code":[1],"code":null,"code":true,"message":{}}}"#),
            (None, None, None)
        );
    }
}
