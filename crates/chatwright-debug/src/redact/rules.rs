//! What counts as a secret.

use serde::{Deserialize, Serialize};

/// What counts as a secret, and what never does.
///
/// Names are compared by their words, so `accessToken`, `access-token` and `ACCESS_TOKEN` are one name. A pattern is
/// such a name in which `*` stands for anything: `*secret*`, `*-token`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Rules {
    /// Names of JSON members, headers, query parameters and fields in text whose values are secrets.
    pub names_removed: Vec<String>,
    /// Names of JSON members, parameters and fields that stay nevertheless. With an ancestor, as in
    /// `*logprobs*/token`, the name stays below that ancestor only; at most 32 patterns have one.
    pub names_kept: Vec<String>,
    /// Headers that are secrets, beside those of `names_removed`.
    pub headers_removed: Vec<String>,
    /// Headers that stay nevertheless. Neither a header that was set as a secret nor `authorization`,
    /// `proxy-authorization`, `x-api-key`, `api-key`, `cookie` and `set-cookie` ever stays.
    pub headers_kept: Vec<String>,
    /// Query parameters that are secrets, beside those of `names_removed`, also if `names_kept` has them.
    pub query_removed: Vec<String>,
    /// Whether values that look like secrets are secrets under any name: keys as vendors hand them out, JSON web
    /// tokens, private keys, `Bearer` and `Basic` credentials, and in text what follows the name of a secret.
    pub detect_values: bool,
}

impl Default for Rules {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Self {
            names_removed: list(NAMES_REMOVED),
            names_kept: list(NAMES_KEPT),
            headers_removed: list(HEADERS_REMOVED),
            headers_kept: list(HEADERS_KEPT),
            query_removed: list(QUERY_REMOVED),
            detect_values: true,
        }
    }
}

/// Rules that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRules {
    /// A pattern without a letter or digit: it would match everything or nothing.
    #[error("the pattern {pattern:?} has no letter and no digit")]
    Pattern {
        /// The pattern.
        pattern: String,
    },
    /// Too many names that stay below an ancestor.
    #[error("at most {max} patterns have an ancestor")]
    TooManyAncestors {
        /// The bound.
        max: usize,
    },
    /// The patterns of a list are too many or too long.
    #[error("a list of patterns is too large")]
    TooLarge,
}

const NAMES_REMOVED: &[&str] = &[
    "*secret*",
    "*password*",
    "*passphrase*",
    "*passwd*",
    "pwd",
    "*-pwd",
    "*authorization*",
    "*credential*",
    "auth",
    "token",
    "*-token",
    "token-value",
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "apitoken",
    "authtoken",
    "bearertoken",
    "sessiontoken",
    "securitytoken",
    "*api-key*",
    "*apikey*",
    "*access-key*",
    "accesskey*",
    "*private-key*",
    "privatekey*",
    "*signing-key*",
    "signingkey*",
    "*encryption-key",
    "*subscription-key",
    "*account-key",
    "*shared-key",
    "*master-key",
    "*session-key",
    "*service-key",
    "*license-key",
    "*ssh-key",
    "jwt",
    "*-jwt",
    "cookie",
    "cookies",
    "*-cookie",
    "*-cookies",
    "bearer",
    "*-bearer",
    "sig",
    "*-sig",
    "*csrf*",
    "*xsrf*",
    "otp",
    "totp",
    "*connection-string",
];

const NAMES_KEPT: &[&str] = &[
    // A model's vocabulary.
    "*logprobs*/token",
    "bos-token",
    "eos-token",
    "pad-token",
    "unk-token",
    "stop-token",
    "max-token",
    "*page-token",
    // What providers demand back: without it no request can be repeated.
    "signature",
    "thought-signature",
    "encrypted-content",
    "prompt-cache-key",
    "safety-identifier",
    "tool-call-id",
];

const HEADERS_REMOVED: &[&str] = &["*token*", "*bearer*", "*-key", "*-auth", "*signature"];

const HEADERS_KEPT: &[&str] = &[
    "*ratelimit*",
    "*rate-limit*",
    "*-tokens-limit",
    "*-tokens-remaining",
    "*-tokens-reset",
    "*-limit-tokens",
    "*-remaining-tokens",
    "*-reset-tokens",
    "*-input-tokens",
    "*-output-tokens",
    "*-prompt-tokens",
    "*-completion-tokens",
    "*-total-tokens",
    "idempotency-key",
];

const QUERY_REMOVED: &[&str] = &["key", "*-key", "code", "signature", "*-signature", "sas"];
