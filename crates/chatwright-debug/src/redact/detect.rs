//! Values that look like secrets.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A key that a vendor hands out: how it begins, what follows, how much of it at least.
struct Key(&'static str, Tail, usize);

#[derive(Clone, Copy, PartialEq)]
enum Tail {
    /// Letters and digits.
    Word,
    /// Capitals and digits.
    Capitals,
    /// Letters, digits, `-` and `_`.
    Name,
    /// Those and `.`.
    Dotted,
    /// Standard base64.
    Base64,
}

const KEYS: &[Key] = &[
    Key("sk-", Tail::Name, 16),
    Key("SK-ANT-", Tail::Name, 16),
    Key("sk_", Tail::Name, 16),
    Key("pk-", Tail::Name, 20),
    Key("pk_", Tail::Name, 20),
    Key("rk_", Tail::Name, 16),
    Key("sess-", Tail::Name, 20),
    Key("xai-", Tail::Name, 20),
    Key("gsk_", Tail::Word, 20),
    Key("hf_", Tail::Word, 20),
    Key("r8_", Tail::Word, 20),
    Key("nvapi-", Tail::Name, 20),
    Key("pplx-", Tail::Name, 20),
    Key("fw_", Tail::Word, 16),
    Key("tgp_v1_", Tail::Name, 20),
    Key("csk-", Tail::Name, 20),
    Key("AIza", Tail::Name, 30),
    Key("ya29.", Tail::Dotted, 20),
    Key("AKIA", Tail::Capitals, 12),
    Key("ASIA", Tail::Capitals, 12),
    Key("ABSK", Tail::Base64, 40),
    Key("ghp_", Tail::Word, 20),
    Key("gho_", Tail::Word, 20),
    Key("ghu_", Tail::Word, 20),
    Key("ghs_", Tail::Word, 20),
    Key("ghr_", Tail::Word, 20),
    Key("github_pat_", Tail::Name, 20),
    Key("glpat-", Tail::Name, 16),
    Key("xoxa-", Tail::Name, 10),
    Key("xoxb-", Tail::Name, 10),
    Key("xoxe-", Tail::Name, 10),
    Key("xoxp-", Tail::Name, 10),
    Key("xoxr-", Tail::Name, 10),
    Key("xoxs-", Tail::Name, 10),
    Key("xapp-", Tail::Name, 16),
    Key("SG.", Tail::Dotted, 30),
    Key("whsec_", Tail::Base64, 20),
    Key("npm_", Tail::Word, 30),
    Key("pypi-", Tail::Name, 40),
    Key("dop_v1_", Tail::Word, 32),
    Key("shpat_", Tail::Word, 20),
    Key("vcp_", Tail::Word, 20),
    Key("lsv2_", Tail::Name, 20),
];

/// What else begins like something to look at. It follows the keys in the list of anchors.
const OTHERS: [&str; 8] = ["eyJ", "-----BEGIN ", "-----END ", "earer ", "EARER ", "asic ", "ASIC ", "://"];

static ANCHORS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostFirst)
        .build(KEYS.iter().map(|key| key.0).chain(OTHERS))
        .expect("a short list of short words")
});

/// Something in a text.
pub(super) enum Found {
    /// A secret.
    Secret(Range<usize>),
    /// `://` at this place.
    Address(usize),
}

/// Everything in the text that looks like a secret, and every address. Time linear in the length of the text.
pub(super) fn each(bytes: &[u8], mut found: impl FnMut(Found)) {
    // Up to where long words of each shape are judged: what begins within one is judged with it.
    let mut judged = [0; 6];
    for anchor in ANCHORS.find_iter(bytes) {
        let (start, end) = (anchor.start(), anchor.end());
        let secret = match KEYS.get(anchor.pattern().as_usize()) {
            Some(key) => {
                let judged = &mut judged[key.1 as usize];
                if start < *judged || !begins_word(bytes, start) {
                    continue;
                }
                let to = end + run(&bytes[end..], key.1);
                if to - end > WORD_BYTES {
                    *judged = to;
                }
                (to - end >= key.2 && is_mixed(&bytes[end..to], key.1)).then_some(start..to)
            }
            None => match &bytes[start..end] {
                b"://" => {
                    found(Found::Address(start));
                    continue;
                }
                b"eyJ" if start < judged[5] => continue,
                b"eyJ" => {
                    let (to, is) = web_token(bytes, start);
                    judged[5] = to;
                    is.then_some(start..to)
                }
                b"-----BEGIN " => private_key(bytes, start),
                b"-----END " => private_key_end(bytes, start),
                [b'e' | b'E', ..] => bearer(bytes, start, end),
                _ => basic(bytes, start, end),
            },
        };
        if let Some(secret) = secret {
            found(Found::Secret(secret));
        }
    }
}

/// A word that is not longer may be judged twice.
const WORD_BYTES: usize = 64;

/// Whether a word of at least `min` bytes may be a secret and not a word of prose or code.
pub(super) fn is_opaque(word: &[u8], min: usize) -> bool {
    word.len() >= min
        && word.iter().any(u8::is_ascii_digit)
        && word.iter().any(u8::is_ascii_alphabetic)
        && !word.iter().any(|byte| b"(){}<>[]$".contains(byte))
}

/// Whether a word begins as a vendor's keys do.
pub(super) fn begins_key(word: &[u8]) -> bool {
    KEYS.iter().any(|key| word.starts_with(key.0.as_bytes()))
}

fn run(bytes: &[u8], tail: Tail) -> usize {
    let is_in = |byte: &u8| match tail {
        Tail::Word => byte.is_ascii_alphanumeric(),
        Tail::Capitals => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        Tail::Name => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
        Tail::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
        Tail::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
    };
    bytes.iter().position(|byte| !is_in(byte)).unwrap_or(bytes.len())
}

/// Whether a key's tail is mixed as no name is: `sk-container-id-1` has one digit, `sk-xxxxxxxxxxxxxxxx` has none.
fn is_mixed(tail: &[u8], kind: Tail) -> bool {
    let digits = tail.iter().filter(|byte| byte.is_ascii_digit()).count();
    if kind == Tail::Capitals {
        return digits >= 1;
    }
    let upper = tail.iter().any(u8::is_ascii_uppercase);
    let lower = tail.iter().any(u8::is_ascii_lowercase);
    digits >= 2 || (digits == 1 && upper && lower) || (upper && lower && tail.len() >= 32)
}

/// Whether a word begins here: after what is no letter and no digit, or after an escape such as `\n` or `%3D`.
fn begins_word(bytes: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|at| bytes[at]);
    match before(1) {
        Some(last) if last.is_ascii_alphanumeric() => {
            (before(2) == Some(b'\\') && matches!(last, b'n' | b'r' | b't'))
                || (before(3) == Some(b'%')
                    && last.is_ascii_hexdigit()
                    && before(2).is_some_and(|byte| byte.is_ascii_hexdigit()))
        }
        _ => true,
    }
}

/// `eyJ….….…`: where a JSON web token ends, with its signature or without, or the word that is none.
fn web_token(bytes: &[u8], start: usize) -> (usize, bool) {
    let head = start + run(&bytes[start..], Tail::Name);
    if !begins_word(bytes, start) || head - start < 10 || bytes.get(head) != Some(&b'.') {
        return (head, false);
    }
    let claims = head + 1 + run(&bytes[head + 1..], Tail::Name);
    if claims - head < 10 {
        return (head, false);
    }
    (claims + run(&bytes[claims..], Tail::Dotted), true)
}

const PRIVATE: &[u8] = b"PRIVATE KEY";

fn names_private_key(bytes: &[u8], at: usize) -> Option<usize> {
    /// `-----BEGIN OPENSSH PRIVATE KEY BLOCK-----` is short.
    const LINE_BYTES_MAX: usize = 64;
    let line = &bytes[at..bytes.len().min(at + LINE_BYTES_MAX)];
    let named = line.windows(PRIVATE.len()).position(|part| part == PRIVATE)?;
    let rule = line[named..].windows(5).position(|part| part == b"-----")?;
    Some(at + named + rule + 5)
}

fn is_armor(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/=\\:,.-".contains(&byte)
}

/// A private key from its first line to its last, or to where it is cut.
fn private_key(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let from = names_private_key(bytes, start + 5)?;
    let mut end = from;
    while end < bytes.len() && is_armor(bytes[end]) && !bytes[end..].starts_with(b"-----") {
        end += 1;
    }
    if bytes[end..].starts_with(b"-----END ") {
        end = names_private_key(bytes, end + 5).unwrap_or(end);
    }
    Some(start..end)
}

/// The last line of a private key whose first one is elsewhere.
fn private_key_end(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let end = names_private_key(bytes, start + 5)?;
    let mut from = start;
    while from > 0 && is_armor(bytes[from - 1]) && !bytes[..from].ends_with(b"-----") {
        from -= 1;
    }
    Some(from..end)
}

/// What follows `Bearer`, unless it is a word of prose.
fn bearer(bytes: &[u8], start: usize, end: usize) -> Option<Range<usize>> {
    /// Enough of it to judge.
    const NEAR: usize = 64;
    let begins = start > 0 && matches!(bytes[start - 1], b'b' | b'B') && begins_word(bytes, start - 1);
    let from = end + bytes[end..].iter().take_while(|byte| **byte == b' ').take(NEAR).count();
    let size = bytes[from..]
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && !b"-._~+/=:".contains(byte))
        .unwrap_or(bytes.len() - from);
    let near = &bytes[from..from + size.min(NEAR)];
    let shouts = near.iter().skip(1).any(u8::is_ascii_uppercase) && near.iter().any(u8::is_ascii_lowercase);
    let is = begins && size >= 8 && (near.iter().any(u8::is_ascii_digit) || shouts);
    is.then_some(from..from + size)
}

/// What follows `Basic`, if it is a user and a password.
fn basic(bytes: &[u8], start: usize, end: usize) -> Option<Range<usize>> {
    let begins = start > 0 && matches!(bytes[start - 1], b'b' | b'B') && begins_word(bytes, start - 1);
    let size = bytes[end..]
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && !b"-_+/=".contains(byte))
        .unwrap_or(bytes.len() - end);
    if !begins || size < 4 {
        return None;
    }
    let word = bytes[end..end + size].trim_ascii_end();
    let word = &word[..word.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1)];
    let pair = STANDARD_NO_PAD.decode(word).or_else(|_| URL_SAFE_NO_PAD.decode(word)).ok()?;
    pair.contains(&b':').then_some(end..end + size)
}

#[cfg(test)]
mod tests {
    use super::super::edit::{Edit, apply};
    use super::*;

    fn clean(text: &str) -> String {
        let mut edits = Vec::new();
        each(text.as_bytes(), |found| {
            if let Found::Secret(at) = found {
                edits.push(Edit::mark(at));
            }
        });
        apply(text, edits).into_owned()
    }

    #[test]
    fn keys_of_vendors_web_tokens_private_keys_and_credentials_are_found_in_prose() {
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\nabc+/=\n-----END RSA PRIVATE KEY-----";
        for (text, left) in [
            ("key sk-abcdef1234567890.", "key [REDACTED]."),
            ("'sk-ant-api03-abcDEF_123-abcDEF_123'", "'[REDACTED]'"),
            ("SK-ANT-API03-ABCDEF1234567890", "[REDACTED]"),
            ("AKIAIOSFODNN7EXAMPLE,", "[REDACTED],"),
            ("(ghp_0123456789abcdefghijABCDEFGHIJ012345)", "([REDACTED])"),
            ("xoxb-1234567890-abcdefghij", "[REDACTED]"),
            ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "[REDACTED]"),
            ("a\\nsk-abcdef1234567890", "a\\n[REDACTED]"),
            ("k%3Dsk-abcdef1234567890", "k%3D[REDACTED]"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_-1 end", "jwt [REDACTED] end"),
            ("Bearer abcdefgh1 x", "Bearer [REDACTED] x"),
            ("bearer  AbCdEfGhIj", "bearer  [REDACTED]"),
            ("Authorization: Basic dXNlcjpwdw==", "Authorization: Basic [REDACTED]"),
            ("sk-sk-sk-sk-abcdef1234567890", "[REDACTED]"),
        ] {
            assert_eq!(clean(text), left);
        }
        assert_eq!(clean(&format!("a {pem} b")), "a [REDACTED] b");
        assert_eq!(clean(&pem.replace('\n', "\\n")), "[REDACTED]");
        assert_eq!(clean(&pem[..50]), "[REDACTED]");
        assert_eq!(clean("x! abc+/=\n-----END PRIVATE KEY-----!"), "x![REDACTED]!");
    }

    #[test]
    fn words_of_prose_and_code_stay() {
        for text in [
            "task-1234567890abcdef12345",
            "sk-container-id-1 sk-toggleable__label-arrow sk-estimator-doc-link",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
            "hf_hub_download hf_transformers_cache_directory",
            "npm_config_registry npm_package_version",
            "pk_user_organization_id",
            "Bearer authentication is used by the bearer of this",
            "Basic understanding of basic authentication",
            "eyJhbGciOiJIUzI1NiJ9",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
            "ASIAN CAPITALS AKIA",
            "call_0123456789abcdef01234567 chatcmpl-0123456789 msg_011CSHoEeqs5C35K2UUqR7Fy",
            "claude-sonnet-4-5-20250929 gpt-4.1-mini-2025-04-14",
        ] {
            assert_eq!(clean(text), text);
        }
    }
}
