//! Takes secrets out of what providers say.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::DETAIL_SCALARS_MAX;

/// What stands where a secret was.
pub(crate) const MARK: &str = "[REDACTED]";

/// Removes what is, or may be, a secret: the values of fields that are named like one, bearer tokens, cookies, keys of
/// known shapes, long random words, and the user, the query and the fragment of URLs.
///
/// It knows shapes, not values: secrets that are known are removed from a failure by
/// [`Failure::without_secret`](crate::Failure::without_secret). Time linear in the length of the text.
///
/// ```
/// use chatwright_error::redact;
///
/// assert_eq!(redact("Incorrect API key: sk-abcdef1234567890"), "Incorrect API key: [REDACTED]");
/// assert_eq!(redact("GET https://me:pw@api.example.com/v1?key=1#x failed"), "GET https://api.example.com/v1 failed");
/// ```
pub fn redact(text: &str) -> Cow<'_, str> {
    static URL: LazyLock<Regex> =
        LazyLock::new(|| pattern(r#"(?i-u)\b([a-z][a-z0-9+.-]{1,20})://((?u-i:[^ \t\r\n"'<>`\\])*)"#));
    static ENCODED: LazyLock<Regex> =
        LazyLock::new(|| pattern(r#"(?i-u)(%3a%2f%2f|%252f%252f)((?u-i:[^ \t\r\n"'<>`\\&])+)"#));
    // A user and a password before a host, without a scheme.
    static USER: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?-u)[\w.~%+-]{1,64}:[\w.~%+!$*-]{3,256}@([A-Za-z][\w-]*[./])"));
    // A header line holds several values: everything to its end goes.
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r#"(?i-u)((?:proxy-)?authorization|(?:set-)?cookie)(\\?["']?\s*[:=]\s*\\?["']?)(?u-i:[^"'\r\n\\])+"#,
        )
    });
    // Whatever stands before the name belongs to it: `x-api-key`, `aws_secret_access_key`.
    static FIELD: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r#"(?ix-u)((?:api[-_\ ]?key|secret|passw(?:or)?d|passphrase|access[-_]?key(?:[-_]?id)?|
               subscription[-_]?key|private[-_]?key|session[-_]?id|credentials?|signature|x-amz-[\w-]+|
               (?:\b|_|-)(?:token|key|sig|jwt|pwd|bearer))(?:\ provided)?)
               (?:(\\?["']?\s*[:=]\s*\\?["'])((?u-i:[^\r\n"'\\]){4,})
               |(\\?["']?\s*[:=]\s*|\\?["']\s+is\s+)((?u-i:[^\ \t\r\n"'&,;}\])\\]){4,}))"#,
        )
    });
    // Where addresses are percent-encoded, `=` and `&` are too.
    static ENCODED_FIELD: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"(?i-u)((?:key|token|secret|passw(?:or)?d|sig|signature|code)%(?:25)?3[ad])([\w.~+-]{4,})")
    });
    static BEARER: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i-u)\b((?:bearer|basic|token)\s+)([\w.~+/=:-]{8,})"));
    static API_KEY: LazyLock<Regex> =
        LazyLock::new(|| pattern(r#"(?i-u)(\bapi[-_ ]?key\s+["'`]?)([\w.~+/=:-]{8,})"#));

    let mut text = Cow::Borrowed(text);
    if text.contains("://") {
        replace(&mut text, &URL, |found| {
            let bare = bare_address(&found[2]);
            (bare.len() < found[2].len()).then(|| format!("{}://{bare}", &found[1]))
        });
    }
    if text.contains('%') {
        replace(&mut text, &ENCODED, |found| Some(format!("{}{MARK}", &found[1])));
        replace(&mut text, &ENCODED_FIELD, |found| Some(format!("{}{MARK}", &found[1])));
    }
    if text.contains('@') {
        replace(&mut text, &USER, |found| Some(format!("{MARK}@{}", &found[1])));
    }
    if text.bytes().any(|byte| matches!(byte, b':' | b'=')) || text.contains(" is ") {
        replace(&mut text, &LINE, |found| {
            let told = is_complaint(&found[0][found[1].len() + found[2].len()..]);
            (!told).then(|| format!("{}{}{MARK}", &found[1], &found[2]))
        });
        replace(&mut text, &FIELD, |found| {
            let (between, value) =
                (found.get(2).or(found.get(4))?.as_str(), found.get(3).or(found.get(5))?.as_str());
            let prose = between.starts_with(':') && is_weak(&found[1]) && is_words(value);
            (!prose && !is_plain(value)).then(|| format!("{}{between}{MARK}", &found[1]))
        });
    }
    replace(&mut text, &BEARER, |found| {
        // "Bearer authentication" is prose.
        let long = if found[1].starts_with(['b', 'B']) { 15 } else { 20 };
        is_no_word(&found[2], long).then(|| format!("{}{MARK}", &found[1]))
    });
    if ["ey ", "EY "].iter().any(|end| text.contains(end)) {
        replace(&mut text, &API_KEY, |found| {
            is_no_word(&found[2], 20).then(|| format!("{}{MARK}", &found[1]))
        });
    }
    words(&mut text);
    text
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a valid pattern")
}

/// Puts something else in the place of matches, where `with` gives it.
fn replace(text: &mut Cow<'_, str>, pattern: &Regex, with: impl Fn(&Captures<'_>) -> Option<String>) {
    let mut new = String::new();
    let mut done = 0;
    for found in pattern.captures_iter(text) {
        let (Some(whole), Some(other)) = (found.get(0), with(&found)) else { continue };
        new.push_str(&text[done..whole.start()]);
        new.push_str(&other);
        done = whole.end();
    }
    if done > 0 {
        new.push_str(&text[done..]);
        *text = Cow::Owned(new);
    }
}

/// Takes keys out of all long words.
fn words(text: &mut Cow<'_, str>) {
    let is_word = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'_' | b'.' | b'~' | b'+' | b'/' | b'=' | b':' | b'@' | b'-')
    };
    let mut new = String::new();
    let (mut done, mut start) = (0, 0);
    // The ends of words are ASCII or beside it: every cut is on a character boundary.
    for run in text.as_bytes().split(|byte| !is_word(byte)) {
        let end = start + run.len();
        if run.len() >= KEY_BYTES_MIN
            && let Some(clean) = without_keys(&text[start..end])
        {
            new.push_str(&text[done..start]);
            new.push_str(&clean);
            done = end;
        }
        start = end + 1;
    }
    if done > 0 {
        new.push_str(&text[done..]);
        *text = Cow::Owned(new);
    }
}

/// Host and path of an address: no user, no query, no fragment.
fn bare_address(address: &str) -> &str {
    let end = address.find(['?', '#']).unwrap_or(address.len());
    let address = &address[..end];
    let host = address.find('/').unwrap_or(address.len());
    address[..host].rfind('@').map_or(address, |at| &address[at + 1..])
}

fn is_no_word(value: &str, long: usize) -> bool {
    value.bytes().any(|byte| byte.is_ascii_digit()) || value.len() > long
}

/// Whether the name of a field is that of many other things: "unexpected token: …", "missing key: …".
fn is_weak(name: &str) -> bool {
    ["key", "token", "signature", "credential", "credentials"]
        .iter()
        .any(|weak| weak.eq_ignore_ascii_case(name))
}

/// Whether a value is a word of prose, a path to a field or a model's own token: `temperature`, `messages.0.content`.
fn is_words(value: &str) -> bool {
    let is_name = |part: &str| part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let is_index = |part: &str| part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = value.split(['.', '[', ']', ' ', '`']);
    value.starts_with("<|") || parts.all(|part| part.len() <= 20 && (is_name(part) || is_index(part)))
}

/// Whether what follows the name of a header says that something is wrong with it.
fn is_complaint(value: &str) -> bool {
    const COMPLAINTS: &[&str] =
        &["missing", "required", "denied", "invalid", "failed", "expired", "not", "none", "null"];
    let first = value.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    COMPLAINTS.contains(&first)
        && value.len() <= 40
        && !value.bytes().any(|byte| byte.is_ascii_digit() || byte == b'=')
}

/// Whether the value of a field that is named like a secret is certainly none: a number, or words such as `null`.
fn is_plain(value: &str) -> bool {
    matches!(
        value,
        "null" | "none" | "true" | "false" | "invalid" | "missing" | "required" | "expired" | "[REDACTED"
    ) || (value.len() <= 9 && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

/// Beginnings of keys that vendors hand out.
const PREFIXES: &[&str] = &[
    "sk-",
    "sk_",
    "pk-",
    "pk_",
    "rk_",
    "sess-",
    "xai-",
    "gsk_",
    "hf_",
    "r8_",
    "nvapi-",
    "pplx-",
    "fw_",
    "tgp_",
    "csk-",
    "AIza",
    "ya29.",
    "AKIA",
    "ASIA",
    "ABSK",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxa-",
    "xoxp-",
    "xoxs-",
    "eyJ",
    "SG.",
    "whsec_",
    "npm_",
    "pypi-",
    "dop_v1_",
    "vcp_",
    "lsv2_",
];

/// No key is shorter.
const KEY_BYTES_MIN: usize = 12;

/// A word with its keys taken out; `None` if it has none. Keys stand alone, in paths and in pairs.
fn without_keys(word: &str) -> Option<String> {
    const BETWEEN: [char; 4] = ['/', '=', ':', '@'];
    let is_key = |part: &str| {
        // Some print keys in capitals; names of variables have no hyphen.
        let begins = |prefix: &&str| {
            let start = part.get(..prefix.len()).unwrap_or_default();
            start == *prefix || (prefix.ends_with('-') && start.eq_ignore_ascii_case(prefix))
        };
        let known = part.len() >= KEY_BYTES_MIN && PREFIXES.iter().any(begins);
        // What a provider calls a request helps it to find that request.
        known || !part.starts_with("req_") && part.split(['-', '_', '.', '~', '+']).any(is_random)
    };
    let bare = |piece: &'_ str| piece.trim_end_matches(BETWEEN).trim_end_matches('.').len();
    if !word.split_inclusive(BETWEEN).any(|piece| is_key(&piece[..bare(piece)])) {
        return None;
    }
    let mut clean = String::with_capacity(word.len());
    for piece in word.split_inclusive(BETWEEN) {
        let end = bare(piece);
        clean.push_str(if is_key(&piece[..end]) { MARK } else { &piece[..end] });
        clean.push_str(&piece[end..]);
    }
    Some(clean)
}

/// Long, and letters mixed with digits as in no word and no name of a model: 20 characters, or 16 of both letter cases.
fn is_random(part: &str) -> bool {
    let count = |is: fn(&u8) -> bool| part.bytes().filter(is).count();
    let (lower, upper, digits) =
        (count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase), count(u8::is_ascii_digit));
    (part.len() >= 20 && digits >= 2 && lower + upper >= 2)
        || (part.len() >= 16 && digits >= 1 && lower >= 2 && upper >= 2)
        || (part.len() >= 32 && lower >= 4 && upper >= 8)
}

/// A detail for people: secrets removed, blanks collapsed, at most [`DETAIL_SCALARS_MAX`] characters.
pub(crate) fn detail(text: &str) -> Option<Box<str>> {
    /// What is redacted before the cut: the rest could not be seen anyway.
    const NEAR: usize = 16 * DETAIL_SCALARS_MAX;
    let mut line = String::with_capacity(text.len().min(NEAR));
    for word in text.split_whitespace() {
        if line.is_empty() {
            let end = (0..=word.len().min(NEAR)).rev().find(|&at| word.is_char_boundary(at));
            line.push_str(&word[..end.unwrap_or(0)]);
        } else if line.len() + word.len() < NEAR {
            line.push(' ');
            line.push_str(word);
        } else {
            // Never a part of a word: half a secret is not known for one.
            break;
        }
    }
    let mut detail = match redact(&line) {
        Cow::Borrowed(_) => line,
        Cow::Owned(clean) => clean,
    };
    if let Some((end, _)) = detail.char_indices().nth(DETAIL_SCALARS_MAX) {
        let last = detail[..end].char_indices().next_back().map_or(0, |(at, _)| at);
        detail.truncate(last);
        detail.push('…');
    }
    (!detail.is_empty()).then(|| detail.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_wherever_they_sit() {
        for (text, clean) in [
            ("key sk-abcdef1234567890.", "key [REDACTED]."),
            ("Incorrect API key provided: abcd1234efgh.", "Incorrect API key provided: [REDACTED]"),
            ("{\"api_key\": \"hunter22\", \"x\": 1}", "{\"api_key\": \"[REDACTED]\", \"x\": 1}"),
            ("{\\\"api_key\\\":\\\"hunter22\\\"}", "{\\\"api_key\\\":\\\"[REDACTED]\\\"}"),
            ("X-Api-Key: hunter22", "X-Api-Key: [REDACTED]"),
            ("password=hunter22&user=me", "password=[REDACTED]&user=me"),
            ("Authorization: Basic dXNlcjpwdw==", "Authorization: [REDACTED]"),
            ("authorization: Bearer abc def", "authorization: [REDACTED]"),
            ("sent Bearer abcdefgh1", "sent Bearer [REDACTED]"),
            ("Set-Cookie: a=b; c=d", "Set-Cookie: [REDACTED]"),
            (
                "POST https://u:p@h.example/v1/x?X-Amz-Signature=ab&k=1#f: 500",
                "POST https://h.example/v1/x 500",
            ),
            ("see wss://u@h/p", "see wss://h/p"),
            ("postgres://me:pw@db/x?sslmode=no", "postgres://db/x"),
            ("/v1/models?key=AIzaSyA1234567890abcdefghij", "/v1/models?key=[REDACTED]"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "jwt [REDACTED]"),
            ("aws AKIAIOSFODNN7EXAMPLE", "aws [REDACTED]"),
            ("hex 0123456789abcdef0123456789abcdef", "hex [REDACTED]"),
            ("bEaReR abcdefghijklmnop", "bEaReR [REDACTED]"),
            ("//me:hunter@h.example/x", "//[REDACTED]@h.example/x"),
            ("proxy me:hunter2@h.example/x", "proxy [REDACTED]@h.example/x"),
            ("https%3A%2F%2Fme%3Apw%40h%2F&n=1", "https%3A%2F%2F[REDACTED]&n=1"),
            ("to=x&api_key%3Dhunter22", "to=x&api_key%3D[REDACTED]"),
            ("{\"password\":\"correct horse battery\",\"n\":1}", "{\"password\":\"[REDACTED]\",\"n\":1}"),
            ("API key 'abc123def' is invalid", "API key '[REDACTED]' is invalid"),
            ("Your API key abcdefgh1234 is not valid", "Your API key [REDACTED] is not valid"),
            ("SK-ANT-API03-ABCDEFGHIJKL", "[REDACTED]"),
            ("key: hunter22", "key: [REDACTED]"),
            ("token=abcdefgh", "token=[REDACTED]"),
            ("X-Auth-Token: abcdefgh", "X-Auth-Token: [REDACTED]"),
            ("{\"token\": \"abcdefgh\"}", "{\"token\": \"[REDACTED]\"}"),
            ("https://hooks.example/T0/aB3dE5fG7hI9jK1lM3nO5", "https://hooks.example/T0/[REDACTED]"),
        ] {
            assert_eq!(redact(text), clean);
        }
    }

    #[test]
    fn what_helps_to_understand_stays() {
        for text in [
            "The model `claude-3-5-sonnet-20241022` does not exist",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "request 0b1f8a52-6a31-4dd2-9d0e-3f3f0a1b2c3d",
            "max_tokens: 4096 is above the limit",
            "This model's maximum context length is 262144 tokens. However, you requested 0",
            "token limit exceeded",
            "Invalid schema for function \"check\": unknown keyword typeof",
            "https://platform.openai.com/docs/guides/error-codes/api-errors.",
            "billing_hard_limit_reached: organization_spend_limit_exceeded",
            "meta-llama/Llama-3.3-70B-Instruct-Turbo",
            "API key: missing",
            "key: value pairs",
            "unexpected token: expected `,` or `}`",
            "missing key: messages",
            "key: 'messages.0.content'",
            "stop token: <|endoftext|>",
            "signature: verification failed",
            "Authorization: missing header",
            "cookie: required",
            "key-value-pairs",
            "Bearer authentication",
            "npm:pkg@1.2.3, or write to help@example.com: now",
            "token count: 128000",
            "the api key is missing",
            "request req_011CSHoEeqs5C35K2UUqR7Fy",
            "// a comment",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn a_detail_is_one_bounded_line() {
        assert_eq!(detail(" a\n\tb \u{a0} c ").as_deref(), Some("a b c"));
        assert_eq!(detail(" \n"), None);
        let long = detail(&"é".repeat(510)).expect("a detail");
        assert_eq!((long.chars().count(), long.chars().last()), (500, Some('…')));
        assert_eq!(detail(&"é".repeat(500)).map(|all| all.chars().count()), Some(500));
        assert!(!detail(&("x ".repeat(247) + "sk-abcdefghijklmnop1234")).expect("a detail").contains("sk-"));
    }
}
