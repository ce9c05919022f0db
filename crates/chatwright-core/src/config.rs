//! What an operator and users configure: which providers and models there are, which model is the default, what a user wants
//! every model to know, the advisor, and what is recorded. Rows of a [`ConfigStore`](crate::port::ConfigStore).
//!
//! ```
//! use chatwright_core::config::{ConfigKey, ConfigRow, Configured, ModelConfig, ProviderConfig};
//!
//! let provider = ProviderConfig::new("openai_chat");
//! let key = ConfigKey::provider("openai")?;
//! let row = ConfigRow { key: key.clone(), version: 1, value: provider.to_json() };
//! let provider = Configured::<ProviderConfig>::from_row(&row)?;
//! assert_eq!((&*provider.id, provider.version, provider.enabled), ("openai", 1, true));
//!
//! let model = ModelConfig::new("openai", "gpt-5");
//! assert_eq!(&*model.provider, "openai");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::EffortPolicy;
use crate::money::Prices;
use crate::text::{OrganizationId, TooLarge, UserId};
use crate::{ChatId, Json, limits};

/// What a row of the configuration is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConfigKind {
    /// A provider: [`ProviderConfig`]. The id is the host's name for it.
    Provider,
    /// A model: [`ModelConfig`]. The id is the host's name for it, which chats name as their model.
    Model,
    /// Which model chats have that name none: the id of a [`ModelConfig`] as a JSON string. The id is that of an
    /// organization, or empty for all that have none of their own.
    DefaultModel,
    /// What a user wants every model to know: a JSON string. The id is the user's.
    UserPrompt,
    /// Settings of the advisor, as lenient JSON. There is one row, and its id is empty.
    Advisor,
    /// Whether users and chats may have recorded what is said to models: a JSON boolean. There is one row, and its id is empty.
    DebugAllowed,
    /// Whether the chats of a user are recorded: a JSON boolean. The id is the user's.
    DebugUser,
    /// Whether a chat is recorded, whatever its user wants for the others: a JSON boolean. The id is the chat's.
    DebugChat,
}

impl ConfigKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Provider,
        Self::Model,
        Self::DefaultModel,
        Self::UserPrompt,
        Self::Advisor,
        Self::DebugAllowed,
        Self::DebugUser,
        Self::DebugChat,
    ];

    /// Its name in storage and on the bus.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "providers",
            Self::Model => "model_config",
            Self::DefaultModel => "default_model",
            Self::UserPrompt => "user_prompt",
            Self::Advisor => "advisor_config",
            Self::DebugAllowed => "debug_allowed",
            Self::DebugUser => "debug_user",
            Self::DebugChat => "debug_chat",
        }
    }

    /// The kind of that name, if this version knows it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which row of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigKey {
    kind: ConfigKind,
    id: Box<str>,
}

impl ConfigKey {
    /// The row of this kind and id. Ids are compared byte for byte.
    ///
    /// # Errors
    /// [`TooLarge`] above [`limits::ID_BYTES_MAX`] bytes.
    pub fn new(kind: ConfigKind, id: impl Into<Box<str>>) -> Result<Self, TooLarge> {
        let id = id.into();
        TooLarge::check_bytes("config id", id.len(), limits::ID_BYTES_MAX)?;
        Ok(Self { kind, id })
    }

    /// A provider.
    ///
    /// # Errors
    /// [`TooLarge`] above [`limits::ID_BYTES_MAX`] bytes.
    pub fn provider(id: impl Into<Box<str>>) -> Result<Self, TooLarge> {
        Self::new(ConfigKind::Provider, id)
    }

    /// A model.
    ///
    /// # Errors
    /// [`TooLarge`] above [`limits::ID_BYTES_MAX`] bytes.
    pub fn model(id: impl Into<Box<str>>) -> Result<Self, TooLarge> {
        Self::new(ConfigKind::Model, id)
    }

    /// The default model of an organization, or of all that have none of their own.
    pub fn default_model(organization: Option<&OrganizationId>) -> Self {
        let id = organization.map_or("", OrganizationId::as_str).into();
        Self { kind: ConfigKind::DefaultModel, id }
    }

    /// What a user wants every model to know.
    pub fn user_prompt(user: &UserId) -> Self {
        Self { kind: ConfigKind::UserPrompt, id: user.as_str().into() }
    }

    /// The settings of the advisor.
    pub fn advisor() -> Self {
        Self { kind: ConfigKind::Advisor, id: "".into() }
    }

    /// Whether users and chats may have recorded what is said to models.
    pub fn debug_allowed() -> Self {
        Self { kind: ConfigKind::DebugAllowed, id: "".into() }
    }

    /// Whether the chats of a user are recorded.
    pub fn debug_user(user: &UserId) -> Self {
        Self { kind: ConfigKind::DebugUser, id: user.as_str().into() }
    }

    /// Whether a chat is recorded.
    pub fn debug_chat(chat: ChatId) -> Self {
        Self { kind: ConfigKind::DebugChat, id: chat.to_string().into() }
    }

    /// The kind.
    pub fn kind(&self) -> ConfigKind {
        self.kind
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

/// A row of the configuration as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRow {
    /// Which row.
    pub key: ConfigKey,
    /// At least 1. It grows with each write, not always by one, also across a deletion.
    pub version: u64,
    /// The value, at most [`limits::CONFIG_BYTES_MAX`] bytes.
    pub value: Json,
}

/// A value of the configuration with the row that it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Configured<T> {
    /// The id of its row.
    pub id: Box<str>,
    /// The version of its row.
    pub version: u64,
    /// What the row says.
    pub value: T,
}

impl<T: DeserializeOwned> Configured<T> {
    /// Decodes a row.
    ///
    /// # Errors
    /// [`InvalidConfig`] if the row is not what its kind calls for.
    pub fn from_row(row: &ConfigRow) -> Result<Self, InvalidConfig> {
        let value = row.value.decode().map_err(|error| InvalidConfig::undecoded(&row.key, &error))?;
        Ok(Self { id: row.key.id.clone(), version: row.version, value })
    }
}

impl<T> Deref for Configured<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A row of the configuration is not what its kind calls for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration {key} is not valid: {why}")]
pub struct InvalidConfig {
    /// Which row.
    pub key: ConfigKey,
    /// What is wrong, without its contents.
    pub why: Box<str>,
}

impl InvalidConfig {
    /// This row is not valid.
    pub fn new(key: &ConfigKey, why: impl Into<Box<str>>) -> Self {
        Self { key: key.clone(), why: why.into() }
    }

    /// This row does not decode. What was found instead is left out: it may be a secret in the wrong place.
    pub fn undecoded(key: &ConfigKey, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // What was found may itself contain these words.
        let why = match text.rsplit_once(", expected ") {
            Some((_, expected)) => format!("expected {expected}"),
            None if text.starts_with("missing field") => text,
            None => format!("it does not decode at line {} column {}", error.line(), error.column()),
        };
        Self::new(key, why)
    }
}

/// A provider of models. `Debug` shows neither its address nor its options: a secret may stand there in the wrong place.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProviderConfig {
    /// The wire format that it speaks, for example `openai_chat`: what the resolver makes a client of.
    pub protocol: Box<str>,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Box<str>>,
    /// Whether it may be used. `true` by default.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Where it listens, if not at its usual place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Box<str>>,
    /// The name under which the resolver finds the key, for example that of an environment variable or of an entry of a
    /// vault. Never the key itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Box<str>>,
    /// Whatever else the resolver wants to know.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<Box<str>, Value>,
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderConfig")
            .field("display_name", &self.display_name)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

impl ProviderConfig {
    /// An enabled provider that speaks this wire format, at its usual place and without a key.
    pub fn new(protocol: impl Into<Box<str>>) -> Self {
        Self {
            protocol: protocol.into(),
            display_name: None,
            enabled: true,
            base_url: None,
            credential: None,
            options: BTreeMap::new(),
        }
    }

    /// As the value of a row.
    pub fn to_json(&self) -> Json {
        Json::encode(self).expect("strings and JSON values encode")
    }
}

/// A model of a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The id of its provider's row.
    pub provider: Box<str>,
    /// The provider's name of the model.
    pub model: Box<str>,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Box<str>>,
    /// Whether it may be used. `true` by default.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How many tokens a prompt and its answer may have together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// What each call of it asks for.
    #[serde(default)]
    pub call: CallOptions,
    /// What its tokens cost. Absent: nobody knows, which is not the same as free. The version of the row is that of the prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    /// When older history of its chats is replaced by a summary.
    #[serde(default)]
    pub compaction: CompactionConfig,
    /// Whatever else the resolver wants to know.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<Box<str>, Value>,
}

impl ModelConfig {
    /// An enabled model that leaves everything to its provider.
    pub fn new(provider: impl Into<Box<str>>, model: impl Into<Box<str>>) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            display_name: None,
            enabled: true,
            context_window: None,
            call: CallOptions::default(),
            prices: None,
            compaction: CompactionConfig::default(),
            options: BTreeMap::new(),
        }
    }

    /// As the value of a row.
    pub fn to_json(&self) -> Json {
        Json::encode(self).expect("strings and JSON values encode")
    }
}

/// When older history is replaced by a summary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompactionConfig {
    /// How much of the window the next prompt may fill, in percent, before there is a summary: 70 if this is absent or above 100. 100:
    /// there is none but on request and where the provider does not take a prompt. 0: there is one before every answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold_percent: Option<u64>,
    /// The id of the [`ModelConfig`] that writes summaries, if it is not this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Box<str>>,
}

impl CompactionConfig {
    /// How much of the window a prompt may fill, in percent. Nothing: there is no bound.
    pub fn threshold(&self) -> Option<u64> {
        match self.threshold_percent {
            Some(100) => None,
            Some(percent @ 0..100) => Some(percent),
            _ => Some(70),
        }
    }
}

/// What each call of a model asks for. What is absent is left to the provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallOptions {
    /// Most tokens of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Sampling temperature, as the provider scales it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// How many tokens to sample from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
    /// Penalty on tokens that have appeared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Penalty on tokens by how often they have appeared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Texts at which an answer stops.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<String>,
    /// Whether it may call several tools in one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// How much it thinks. Where this is absent, calls ask for nothing, whatever their chat wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<EffortPolicy>,
    /// Most tokens of thought, in place of an effort, where the provider counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_budget: Option<u64>,
    /// Passed through untouched, by provider id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub provider_options: BTreeMap<Box<str>, Value>,
}

impl CallOptions {
    /// Writes what is present into a call, and makes of the effort that it asks for the one that the model may have.
    pub fn apply(&self, call: &mut crate::model::ModelCall) {
        fn set<T: Clone>(to: &mut Option<T>, from: Option<&T>) {
            if let Some(from) = from {
                *to = Some(from.clone());
            }
        }
        set(&mut call.max_output_tokens, self.max_output_tokens.as_ref());
        set(&mut call.temperature, self.temperature.as_ref());
        set(&mut call.top_p, self.top_p.as_ref());
        set(&mut call.top_k, self.top_k.as_ref());
        set(&mut call.presence_penalty, self.presence_penalty.as_ref());
        set(&mut call.frequency_penalty, self.frequency_penalty.as_ref());
        set(&mut call.parallel_tool_calls, self.parallel_tool_calls.as_ref());
        set(&mut call.thinking_budget, self.thinking_budget.as_ref());
        let policy = self.reasoning_effort.as_ref();
        call.reasoning_effort = policy.and_then(|policy| policy.effort(call.reasoning_effort));
        if !self.stop_sequences.is_empty() {
            call.stop_sequences.clone_from(&self.stop_sequences);
        }
        let options = self.provider_options.iter().map(|(id, value)| (id.clone(), value.clone()));
        call.provider_options.extend(options);
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelCall, ReasoningEffort};

    fn row(kind: ConfigKind, value: &str) -> ConfigRow {
        let key = ConfigKey::new(kind, "x").expect("short");
        ConfigRow { key, version: 7, value: Json::parse(value).expect("JSON") }
    }

    #[test]
    fn a_row_says_what_it_must_and_the_rest_has_its_defaults() {
        let provider = row(ConfigKind::Provider, r#"{"protocol":"anthropic","later":1}"#);
        let provider = Configured::<ProviderConfig>::from_row(&provider).expect("valid");
        assert_eq!((&*provider.id, provider.version), ("x", 7));
        assert_eq!(provider.value, ProviderConfig::new("anthropic"));
        let model = row(ConfigKind::Model, r#"{"provider":"p","model":"m","call":{"temperature":0.5}}"#);
        let model = Configured::<ModelConfig>::from_row(&model).expect("valid");
        assert_eq!(model.call, CallOptions { temperature: Some(0.5), ..CallOptions::default() });
        let again =
            Configured::from_row(&ConfigRow { value: model.to_json(), ..row(ConfigKind::Model, "0") });
        assert_eq!(again, Ok(model));
    }

    #[test]
    fn a_row_that_does_not_decode_is_named_with_what_is_wrong_and_without_its_contents() {
        for (value, why) in [
            (r#"{"protocol":12}"#, "expected a string at line 1 column 14"),
            (r#""sk-secret""#, "expected struct ProviderConfig at line 1 column 11"),
            (r#"{"enabled":true}"#, "missing field `protocol` at line 1 column 16"),
            (r#"{"protocol":"p","enabled":"sk-secret"}"#, "expected a boolean at line 1 column 37"),
            (
                r#"{"protocol":"p","enabled":"a, expected sk-secret"}"#,
                "expected a boolean at line 1 column 49",
            ),
        ] {
            let error = Configured::<ProviderConfig>::from_row(&row(ConfigKind::Provider, value));
            let error = error.expect_err("not a provider").to_string();
            assert_eq!(error, format!("the configuration providers/x is not valid: {why}"));
        }
    }

    #[test]
    fn the_options_of_a_model_are_those_of_its_calls() {
        let options: CallOptions = serde_json::from_str(
            r#"{"max_output_tokens":10,"temperature":0.1,"top_p":0.2,"top_k":3,"presence_penalty":0.4,
                "frequency_penalty":0.5,"stop_sequences":["end"],"parallel_tool_calls":false,"thinking_budget":6,
                "reasoning_effort":{"default":"low","max":"high"},"provider_options":{"openai":{"user":"u"}}}"#,
        )
        .expect("valid");
        let mut call = ModelCall::default();
        options.apply(&mut call);
        let mut expected = ModelCall::default();
        (expected.max_output_tokens, expected.temperature, expected.top_p) = (Some(10), Some(0.1), Some(0.2));
        (expected.top_k, expected.presence_penalty, expected.frequency_penalty) =
            (Some(3), Some(0.4), Some(0.5));
        expected.stop_sequences = vec!["end".to_owned()];
        (expected.parallel_tool_calls, expected.thinking_budget) = (Some(false), Some(6));
        expected.reasoning_effort = Some(ReasoningEffort::Low);
        expected.provider_options.insert("openai".into(), serde_json::json!({"user": "u"}));
        assert_eq!(call, expected);
        call.reasoning_effort = Some(ReasoningEffort::Max);
        options.apply(&mut call);
        expected.reasoning_effort = Some(ReasoningEffort::High);
        assert_eq!(call, expected, "an effort is clamped");
        CallOptions::default().apply(&mut call);
        expected.reasoning_effort = None;
        assert_eq!(call, expected, "what is absent changes nothing, but nobody asks such a model to think");
    }

    #[test]
    fn a_secret_in_the_wrong_place_of_a_provider_is_not_printed() {
        let mut provider = ProviderConfig::new("sk-secret");
        (provider.base_url, provider.credential) =
            (Some("https://u:sk-secret@host".into()), Some("sk-secret".into()));
        provider.options.insert("key".into(), "sk-secret".into());
        let printed = format!("{provider:?}");
        assert!(printed.contains("enabled: true") && !printed.contains("secret"), "{printed}");
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for kind in ConfigKind::ALL {
            assert_eq!(ConfigKind::from_name(kind.as_str()), Some(kind));
        }
        assert_eq!(ConfigKind::from_name("providers2"), None);
    }
}
