use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits;

/// What a record says and in which version, for example `message.user/1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Kind(Cow<'static, str>);

/// Text that is no record kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no record kind: it takes dot-separated words of a–z and _, a slash and a version from 1")]
pub struct InvalidKind(Box<str>);

impl Kind {
    pub(crate) const fn known(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// Takes a kind as stored.
    ///
    /// # Errors
    /// [`InvalidKind`] if it is not `word.word…/version` or over [`limits::KIND_BYTES_MAX`] bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidKind> {
        let invalid = || InvalidKind(text.chars().take(limits::KIND_BYTES_MAX).collect());
        let (name, version) = text.split_once('/').ok_or_else(invalid)?;
        let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let digits = version.bytes().all(|b| b.is_ascii_digit());
        let valid = name.split('.').all(word)
            && digits
            && version.parse::<u16>().is_ok_and(|version| version > 0)
            && !version.starts_with('0')
            && text.len() <= limits::KIND_BYTES_MAX;
        if valid { Ok(Self(text.to_owned().into())) } else { Err(invalid()) }
    }

    /// As stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without the version.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(name, _)| name)
    }

    /// The version.
    pub fn version(&self) -> u16 {
        self.0.split_once('/').and_then(|(_, version)| version.parse().ok()).unwrap_or(0)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_a_slash_and_a_version_are_a_kind() {
        let kind = Kind::parse("message.user/12").expect("a kind");
        assert_eq!((kind.name(), kind.version()), ("message.user", 12));
        let long = format!("{}/1", "a".repeat(63));
        for bad in
            ["", "a", "/1", "a/", "a/0", "a/01", "a/+1", "a/x", "A/1", "a..b/1", "a/70000", "a\0/1", &long]
        {
            assert!(Kind::parse(bad).is_err(), "{bad:?} is no kind");
        }
    }
}
