//! Secrets whose values are known.

use std::fmt;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

use super::edit::Edit;
use super::escape::escaped;

/// A secret has at least so many bytes: a shorter one would be found in every other word.
pub const SECRET_BYTES_MIN: usize = 6;

/// A secret has at most so many bytes.
pub const SECRET_BYTES_MAX: usize = 16 * 1024;

/// A redactor knows at most so many secrets.
pub const SECRETS_MAX: usize = 4096;

/// A secret that cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// It is too short: it would be found everywhere.
    #[error("a secret has at least {SECRET_BYTES_MIN} bytes")]
    TooShort,
    /// It is too long.
    #[error("a secret has at most {SECRET_BYTES_MAX} bytes")]
    TooLong,
    /// There are too many already.
    #[error("at most {SECRETS_MAX} secrets are known at a time")]
    TooMany,
}

/// Known secrets, in all encodings in which they may be met.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    secrets: Vec<SecretString>,
    patterns: Vec<Box<str>>,
    finder: Option<Finder>,
}

/// One says fast whether there is anything, the other finds all of it.
#[derive(Clone)]
struct Finder {
    any: AhoCorasick,
    all: AhoCorasick,
}

impl Secrets {
    /// With more secrets. Those that are known already are not known twice.
    pub(super) fn with<'a>(&self, more: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidSecret> {
        let mut secrets = self.secrets.clone();
        for secret in more {
            check(secret)?;
            if secrets.iter().any(|known| known.expose_secret() == secret) {
                continue;
            }
            if secrets.len() == SECRETS_MAX {
                return Err(InvalidSecret::TooMany);
            }
            secrets.push(secret.into());
        }
        Ok(Self::of(secrets))
    }

    pub(super) fn len(&self) -> usize {
        self.secrets.len()
    }

    /// Without one secret; `None` if it was not known.
    pub(super) fn without(&self, secret: &str) -> Option<Self> {
        let mut secrets = self.secrets.clone();
        secrets.retain(|known| known.expose_secret() != secret);
        (secrets.len() < self.secrets.len()).then(|| Self::of(secrets))
    }

    fn of(secrets: Vec<SecretString>) -> Self {
        let mut patterns: Vec<Box<str>> =
            secrets.iter().flat_map(|secret| encodings(secret.expose_secret())).collect();
        patterns.sort_unstable();
        patterns.dedup();
        let build =
            |kind| AhoCorasick::builder().match_kind(kind).build(patterns.iter().map(|p| p.as_bytes()));
        let finder = (!patterns.is_empty()).then(|| Finder {
            any: build(MatchKind::LeftmostFirst).expect("a bounded number of bounded patterns"),
            all: build(MatchKind::Standard).expect("a bounded number of bounded patterns"),
        });
        Self { secrets, patterns, finder }
    }

    pub(super) fn is_in(&self, text: &str) -> bool {
        self.finder.as_ref().is_some_and(|finder| finder.any.is_match(text))
    }

    /// Marks every occurrence. What overlaps is one place: nothing of either secret stays.
    pub(super) fn mark(&self, text: &[u8], edits: &mut Vec<Edit>) {
        let Some(finder) = &self.finder else { return };
        let Some(first) = finder.any.find(text) else { return };
        // The leftmost one: none begins before it.
        let from = first.start();
        let mut open: Option<Range<usize>> = None;
        for found in finder.all.find_overlapping_iter(&text[from..]) {
            let found = from + found.start()..from + found.end();
            match &mut open {
                // Ends only grow; a later match may begin before an earlier one.
                Some(open) if found.start < open.end => {
                    open.start = open.start.min(found.start);
                    open.end = found.end;
                }
                _ => edits.extend(open.replace(found).map(Edit::mark)),
            }
        }
        edits.extend(open.map(Edit::mark));
    }

    /// How many bytes at the end of `bytes` are the beginning of a secret that goes on elsewhere.
    pub(super) fn begun(&self, bytes: &[u8]) -> usize {
        self.edge(|pattern, size| bytes.ends_with(&pattern[..size]))
    }

    /// How many bytes at the start of `bytes` are the end of a secret that began elsewhere.
    pub(super) fn ended(&self, bytes: &[u8]) -> usize {
        self.edge(|pattern, size| bytes.starts_with(&pattern[pattern.len() - size..]))
    }

    fn edge(&self, is_cut: impl Fn(&[u8], usize) -> bool) -> usize {
        let cut = |pattern: &str| {
            let most = pattern.len().saturating_sub(1).min(super::EDGE_BYTES_MAX);
            (1..=most).rev().find(|&size| is_cut(pattern.as_bytes(), size))
        };
        self.patterns.iter().filter_map(|pattern| cut(pattern)).max().unwrap_or(0)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.secrets.len())
    }
}

pub(super) fn check(secret: &str) -> Result<(), InvalidSecret> {
    match secret.len() {
        0..SECRET_BYTES_MIN => Err(InvalidSecret::TooShort),
        SECRET_BYTES_MIN..=SECRET_BYTES_MAX => Ok(()),
        _ => Err(InvalidSecret::TooLong),
    }
}

/// A secret as it may be met: as it is, in JSON, in addresses and forms, in HTML, and within base64 at each of the three
/// alignments.
fn encodings(secret: &str) -> Vec<Box<str>> {
    let mut all: Vec<Box<str>> = vec![secret.into()];
    let once = escaped(secret);
    all.push(escaped(&once).into());
    all.push(once.replace('/', "\\/").into());
    all.push(once.into());
    for (upper, as_is) in
        [(true, "-_.~"), (false, "-_.~"), (true, "-_.~!'()*"), (true, "*-._ "), (false, "*-._ ")]
    {
        all.push(percent_encoded(secret, upper, as_is).into());
    }
    for quote in ["&#39;", "&#x27;", "&apos;", "'"] {
        let html =
            secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', quote);
        all.push(html.replace('"', "&quot;").into());
        all.push(html.replace('"', "&#34;").into());
        all.push(html.into());
    }
    for shift in 0..3 {
        let shifted = [&[0; 3][..shift], secret.as_bytes()].concat();
        // Only characters that are made of the secret alone.
        let (from, to) = ((shift * 8).div_ceil(6), shifted.len() * 8 / 6);
        all.push(STANDARD_NO_PAD.encode(&shifted)[from..to].into());
        all.push(URL_SAFE_NO_PAD.encode(&shifted)[from..to].into());
    }
    all
}

/// With what stays as it is, beside letters and digits. If a blank does, it becomes a plus sign.
fn percent_encoded(text: &str, upper: bool, as_is: &str) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' if as_is.contains(' ') => out.push('+'),
            _ if byte.is_ascii_alphanumeric() || as_is.as_bytes().contains(&byte) => out.push(byte.into()),
            _ if upper => write!(out, "%{byte:02X}").expect("text takes everything"),
            _ => write!(out, "%{byte:02x}").expect("text takes everything"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::super::edit::apply;
    use super::*;

    fn clean(secrets: &[&str], text: &str) -> String {
        let secrets = Secrets::default().with(secrets.iter().copied()).expect("valid");
        let mut edits = Vec::new();
        secrets.mark(text.as_bytes(), &mut edits);
        apply(text, edits).into_owned()
    }

    #[test]
    fn a_known_secret_is_found_in_every_encoding() {
        let secret = "p\"w<&>'é/ x+1";
        for shift in 0..4 {
            let plain = format!("{}{secret}:tail", &"user:"[..shift]);
            for text in [STANDARD.encode(&plain), URL_SAFE_NO_PAD.encode(&plain)] {
                let left = clean(&[secret], &text);
                assert!(left.contains("[REDACTED]") && left.len() < text.len(), "{text}: {left}");
            }
        }
        for text in [
            "a p\"w<&>'é/ x+1 b",
            "a p\\\"w<&>'é/ x+1 b",
            "a p\\\"w<&>'é\\/ x+1 b",
            "a p%22w%3C%26%3E%27%C3%A9%2F%20x%2B1 b",
            "a p%22w%3c%26%3e%27%c3%a9%2f+x%2b1 b",
            "a p&quot;w&lt;&amp;&gt;&#39;é/ x+1 b",
            "a p&#34;w&lt;&amp;&gt;&#x27;é/ x+1 b",
        ] {
            assert_eq!(clean(&[secret], text), "a [REDACTED] b", "{text}");
        }
    }

    #[test]
    fn of_secrets_that_overlap_nothing_stays() {
        assert_eq!(clean(&["abcdef", "defghijk", "bcdefg"], "-abcdefghijk-"), "-[REDACTED]-");
        assert_eq!(clean(&["abcdef", "abcdefgh"], "abcdefgh abcdef"), "[REDACTED] [REDACTED]");
        assert_eq!(clean(&["bcdefg", "xabcdefgh"], "xabcdefgh"), "[REDACTED]");
        assert_eq!(clean(&["aaaaaa"], "aaaaaaaa"), "[REDACTED]");
    }

    #[test]
    fn secrets_are_bounded() {
        let with = |secret: &str| Secrets::default().with([secret]).map(|_| ());
        assert_eq!(with("12345"), Err(InvalidSecret::TooShort));
        assert_eq!(with("123456"), Ok(()));
        assert_eq!(with(&"x".repeat(SECRET_BYTES_MAX + 1)), Err(InvalidSecret::TooLong));
    }
}
