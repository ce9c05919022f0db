//! Which names are those of secrets.

use std::collections::HashMap;
use std::fmt;

use parking_lot::RwLock;
use regex::{Regex, RegexBuilder};

use super::rules::{InvalidRules, Rules};

/// Patterns with an ancestor. Each has a bit.
const ANCESTORS_MAX: usize = 32;

/// Most names that are remembered, and most bytes of one.
const REMEMBERED_MAX: usize = 1_024;
const REMEMBERED_BYTES_MAX: usize = 64;

/// The rules for names, made ready.
#[derive(Debug)]
pub(super) struct Names {
    removed: Patterns,
    kept: Patterns,
    /// Names that stay below others: the ancestor, the name.
    kept_below: Vec<(Patterns, Patterns)>,
    headers_removed: Patterns,
    headers_kept: Patterns,
    query_removed: Patterns,
    judged: Remembered,
}

/// What the rules say of a name, wherever it stands.
#[derive(Clone, Copy)]
struct Judged {
    is_removed: bool,
    is_kept: bool,
    /// Of which of [`Names::kept_below`] it is the ancestor.
    ancestor: u32,
    /// By which of them it is kept.
    kept_below: u32,
}

/// What was said of names: the events of a stream have the same few, over and over.
#[derive(Default)]
struct Remembered(RwLock<HashMap<Box<str>, Judged>>);

impl fmt::Debug for Remembered {
    /// They are whoever's they are: how many is enough.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} names", self.0.read().len())
    }
}

/// What the names above a value say about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Above {
    /// Which ancestors of [`Names::kept_below`] were met.
    met: u32,
    schema: Schema,
}

/// A tool's parameter may be called `password`: its description is no secret, its default is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Schema {
    #[default]
    No,
    /// The value of `properties`.
    Properties,
    /// The schema of a parameter whose name is a secret's.
    Secret,
}

impl Names {
    pub(super) fn new(rules: &Rules) -> Result<Self, InvalidRules> {
        let (below, kept): (Vec<&String>, Vec<&String>) =
            rules.names_kept.iter().partition(|pattern| pattern.contains('/'));
        if below.len() > ANCESTORS_MAX {
            return Err(InvalidRules::TooManyAncestors { max: ANCESTORS_MAX });
        }
        let one = |pattern: &str| Patterns::new([pattern]);
        let kept_below = below
            .iter()
            .filter_map(|pattern| pattern.split_once('/'))
            .map(|(ancestor, name)| Ok((one(ancestor)?, one(name)?)))
            .collect::<Result<_, InvalidRules>>()?;
        Ok(Self {
            removed: Patterns::new(&rules.names_removed)?,
            kept: Patterns::new(kept)?,
            kept_below,
            headers_removed: Patterns::new(rules.headers_removed.iter().chain(&rules.names_removed))?,
            headers_kept: Patterns::new(&rules.headers_kept)?,
            query_removed: Patterns::new(&rules.query_removed)?,
            judged: Remembered::default(),
        })
    }

    /// What stands above the value of the member `name`; `None` if that value is a secret whatever it is.
    pub(super) fn member(&self, above: Above, name: &str, is_object: bool) -> Option<Above> {
        let Judged { is_removed, is_kept, ancestor, kept_below } = self.judged(name);
        let mut below = Above { met: above.met | ancestor, ..above };
        if above.schema == Schema::Secret {
            // Names of parameters again, or keywords of a schema: what neither names nor describes may hold the secret.
            return SCHEMA_KEYWORDS.contains(&name).then_some(below);
        }
        below.schema = if name == "properties" { Schema::Properties } else { Schema::No };
        if !is_removed || is_kept || above.met & kept_below != 0 {
            return Some(below);
        }
        (above.schema == Schema::Properties && is_object).then_some(Above { schema: Schema::Secret, ..below })
    }

    fn judged(&self, name: &str) -> Judged {
        if let Some(judged) = self.judged.0.read().get(name) {
            return *judged;
        }
        let judged = self.judge(name);
        if name.len() <= REMEMBERED_BYTES_MAX {
            let mut remembered = self.judged.0.write();
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
            remembered.insert(name.into(), judged);
        }
        judged
    }

    fn judge(&self, name: &str) -> Judged {
        let words = words(name);
        let bits = |matches: fn(&(Patterns, Patterns), &str) -> bool| {
            let below = self.kept_below.iter().enumerate();
            below.filter(|(_, rule)| matches(rule, &words)).fold(0, |bits, (bit, _)| bits | 1 << bit)
        };
        Judged {
            is_removed: self.removed.is_match(&words),
            is_kept: self.kept.is_match(&words),
            ancestor: bits(|(ancestor, _), words| ancestor.is_match(words)),
            kept_below: bits(|(_, name), words| name.is_match(words)),
        }
    }

    /// Whether what stands after this name in a text may be a secret.
    pub(super) fn is_secret(&self, name: &str) -> bool {
        let Judged { is_removed, is_kept, .. } = self.judged(name);
        is_removed && !is_kept
    }

    pub(super) fn is_secret_header(&self, name: &str) -> bool {
        /// They go whatever the rules keep.
        const ALWAYS: [&str; 6] =
            ["authorization", "proxy-authorization", "x-api-key", "api-key", "cookie", "set-cookie"];
        if ALWAYS.iter().any(|always| name.eq_ignore_ascii_case(always)) {
            return true;
        }
        let words = words(name);
        self.headers_removed.is_match(&words) && !self.headers_kept.is_match(&words)
    }

    pub(super) fn is_secret_parameter(&self, name: &str) -> bool {
        self.is_secret(name) || self.query_removed.is_match(&words(name))
    }
}

/// Keywords of a JSON Schema below which no value stands.
const SCHEMA_KEYWORDS: &[&str] = &[
    "type",
    "title",
    "description",
    "format",
    "nullable",
    "deprecated",
    "readOnly",
    "writeOnly",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "items",
    "anyOf",
    "oneOf",
    "allOf",
];

/// The words of a name in lower case, with hyphens between them: `x-api-key`, `apiKey` and `API_KEY` end alike.
pub(super) fn words(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut words = String::with_capacity(name.len() + 4);
    for (at, c) in name.char_indices() {
        if !c.is_alphanumeric() {
            if !words.is_empty() && !words.ends_with('-') {
                words.push('-');
            }
            continue;
        }
        if c.is_ascii_uppercase() && at > 0 {
            let before = bytes[at - 1];
            let ends_capitals =
                before.is_ascii_uppercase() && bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase);
            if before.is_ascii_lowercase() || before.is_ascii_digit() || ends_capitals {
                words.push('-');
            }
        }
        words.push(c.to_ascii_lowercase());
    }
    let end = words.trim_end_matches('-').len();
    words.truncate(end);
    words
}

/// Names with `*` for anything, over the words of a name.
#[derive(Debug)]
struct Patterns(Option<Regex>);

impl Patterns {
    fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, InvalidRules> {
        /// A compiled list is not larger.
        const BYTES_MAX: usize = 4 << 20;
        let mut all = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let parts: Vec<String> =
                pattern.split('*').map(|part| regex::escape(&glob_words(part))).collect();
            if parts.iter().all(String::is_empty) {
                return Err(InvalidRules::Pattern { pattern: pattern.to_owned() });
            }
            all.push(parts.join(".*"));
        }
        if all.is_empty() {
            return Ok(Self(None));
        }
        let regex = RegexBuilder::new(&format!("^(?:{})$", all.join("|")))
            .size_limit(BYTES_MAX)
            .build()
            .map_err(|_| InvalidRules::TooLarge)?;
        Ok(Self(Some(regex)))
    }

    fn is_match(&self, words: &str) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(words))
    }
}

/// Like [`words`], but a hyphen at an end counts: `*-token` is not `*token`.
fn glob_words(part: &str) -> String {
    let is_break = |c: char| !c.is_alphanumeric();
    let before = if part.starts_with(is_break) { "-" } else { "" };
    let after = if part.len() > 1 && part.ends_with(is_break) { "-" } else { "" };
    format!("{before}{}{after}", words(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new(&Rules::default()).expect("the default rules are valid")
    }

    #[test]
    fn names_are_split_into_words_however_they_are_spelled() {
        for (name, split) in [
            ("x-api-key", "x-api-key"),
            ("apiKey", "api-key"),
            ("API_KEY", "api-key"),
            ("APIKey", "api-key"),
            ("AWSAccessKeyId", "aws-access-key-id"),
            ("max_tokens", "max-tokens"),
            ("promptTokenCount", "prompt-token-count"),
            ("__token__", "token"),
            ("a b.c", "a-b-c"),
            ("clé", "clé"),
            ("", ""),
        ] {
            assert_eq!(words(name), split);
        }
    }

    #[test]
    fn however_many_names_there_are_each_is_judged_by_itself_and_few_are_remembered() {
        let names = names();
        for n in 0..3 * REMEMBERED_MAX {
            for again in 0..2 {
                assert!(names.is_secret(&format!("n{n}_token")), "{n} {again}");
                assert!(!names.is_secret(&format!("n{n}_tokens")), "{n} {again}");
            }
            assert!(names.judged.0.read().len() <= REMEMBERED_MAX);
        }
        let before = names.judged.0.read().len();
        assert!(names.is_secret(&format!("{}_token", "n".repeat(REMEMBERED_BYTES_MAX))));
        assert_eq!(names.judged.0.read().len(), before, "it is too long to be remembered");
        assert_eq!(format!("{:?}", names.judged), format!("{before} names"));
    }

    #[test]
    fn names_of_secrets_are_known_by_their_words_and_counters_are_not_among_them() {
        let names = names();
        for name in [
            "token",
            "access_token",
            "accessToken",
            "accesstoken",
            "refreshToken",
            "id_token",
            "api_token",
            "apitoken",
            "api_key",
            "apikey",
            "apiKey",
            "api-key",
            "x-api-key",
            "X-Api-Key",
            "auth_token",
            "bearer_token",
            "session_token",
            "security_token",
            "securitytoken",
            "private_key",
            "privatekey",
            "signing_key",
            "signingKey",
            "secret_key",
            "secretkey",
            "client_secret",
            "clientSecret",
            "mysecrets",
            "password",
            "db_password",
            "PASSWORD",
            "passphrase",
            "passwd",
            "pwd",
            "authorization",
            "authorization_token",
            "credentials",
            "googleCredentials",
            "jwt",
            "id-jwt",
            "access_key",
            "aws_secret_access_key",
            "AWSAccessKeyId",
            "cookie",
            "session_cookie",
            "sig",
            "bearer",
            "connectionString",
            "csrfToken",
        ] {
            assert!(names.is_secret(name), "{name}");
        }
        for name in [
            "max_tokens",
            "total_tokens",
            "token_count",
            "tokenCount",
            "promptTokenCount",
            "prompt_tokens_details",
            "max_completion_tokens",
            "tokens",
            "cached_tokens",
            "signature",
            "thoughtSignature",
            "encrypted_content",
            "tool_call_id",
            "prompt_cache_key",
            "safety_identifier",
            "key",
            "keys",
            "code",
            "author",
            "passed",
            "sequence_number",
            "eos_token",
            "nextPageToken",
            "significance",
            "keyboard",
            "logprobs",
            "id",
            "status_code",
            "sign",
            "compass",
        ] {
            assert!(!names.is_secret(name), "{name}");
        }
    }

    #[test]
    fn a_token_of_the_models_own_stays_below_its_probabilities() {
        let names = names();
        let root = Above::default();
        assert_eq!(names.member(root, "token", false), None);
        for ancestor in ["logprobs", "top_logprobs", "logprobsResult"] {
            let below = names.member(root, ancestor, true).expect("no secret");
            let deeper = names.member(below, "content", true).expect("no secret");
            assert!(names.member(deeper, "token", false).is_some(), "{ancestor}");
            assert_eq!(names.member(deeper, "api_key", false), None);
        }
    }

    #[test]
    fn a_parameter_that_is_called_password_keeps_its_schema_and_loses_its_default() {
        let names = names();
        let properties = names.member(Above::default(), "properties", true).expect("no secret");
        let password = names.member(properties, "password", true).expect("a schema");
        assert!(names.member(password, "description", false).is_some());
        assert_eq!(names.member(password, "default", false), None);
        assert_eq!(names.member(password, "value", false), None);
        assert_eq!(names.member(properties, "password", false), None, "no schema");
    }
}
