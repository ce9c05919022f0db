//! Anthropic Messages, and servers that speak it.

mod block;
mod cache;
mod decode;
mod encode;
mod event;
mod prompt;
mod result;
mod thinking;

pub use decode::MessagesDecoder;
pub use thinking::AnthropicThinking;

use std::borrow::Cow;
use std::fmt;

use chatwright_core::content::Metadata;
use chatwright_core::model::{ModelCall, ModelId};
use chatwright_core::port::{LanguageModel, ModelStream};
use serde_json::{Map, Value};

use crate::endpoint::{Endpoint, EndpointBuilder, Protocol, Request, endpoint_setters};
use crate::http::InvalidModel;
use crate::metadata;

/// Where this adapter finds its options, and keeps the metadata of parts.
const NAMESPACE: &str = "anthropic";

const PROTOCOL: Protocol = Protocol {
    path: Cow::Borrowed("messages"),
    query: None,
    key_header: "x-api-key",
    key_prefix: "",
    headers: &[("anthropic-version", "2023-06-01")],
};

/// A model behind Anthropic's Messages API. It keeps M1–M5.
///
/// What only Anthropic knows stays in the metadata of parts under `anthropic` and is sent back: signatures of thoughts, redacted
/// thoughts, citations, calls and results of the tools that Anthropic runs, blocks of types that this version does not know.
/// Thoughts without a signature, and halves of a pair of call and result that an interrupt tore apart, are not sent.
///
/// Options under `anthropic` in [`ModelCall::provider_options`], and under the provider's own name, are merged into the body
/// untouched: `service_tier`, `metadata`, a `thinking` in place of this adapter's; an `output_config` field by field. A `tool_choice` without a type, for example
/// `{"disable_parallel_tool_use": true}`, is added to the call's choice. System messages stand before all others, wherever they
/// were.
#[derive(Clone)]
pub struct AnthropicMessages {
    endpoint: Endpoint,
    settings: Settings,
}

/// What a model is sent, and how.
#[derive(Clone, Copy, Debug)]
struct Settings {
    caching: bool,
    /// Otherwise the model's name tells.
    thinking: Option<AnthropicThinking>,
}

/// Puts an [`AnthropicMessages`] together.
#[must_use = "nothing happens before `build`"]
pub struct AnthropicMessagesBuilder {
    pub(crate) endpoint: EndpointBuilder,
    settings: Settings,
}

impl AnthropicMessages {
    /// Where Anthropic serves its API.
    pub const BASE_URL: &'static str = "https://api.anthropic.com/v1";

    /// Most tokens of an answer where the call does not say. Old models take fewer, and a budget for thinking must be smaller.
    pub const MAX_TOKENS: u64 = 32_000;

    /// Begins with the provider's name of the model.
    pub fn builder(model: impl Into<Box<str>>) -> AnthropicMessagesBuilder {
        let endpoint = EndpointBuilder::new(NAMESPACE, model.into(), Self::BASE_URL);
        AnthropicMessagesBuilder { endpoint, settings: Settings { caching: true, thinking: None } }
    }

    /// The body that a call sends.
    pub fn request_body(&self, call: &ModelCall) -> Value {
        encode::body(&self.endpoint.id, call, self.settings)
    }
}

impl AnthropicMessagesBuilder {
    endpoint_setters!();

    /// Leaves out the marks for prompt caching that otherwise stand at the last tool, the end of the system prompt and the ends of
    /// the last message and the user's last one before it. They are also left out where the options of a call, a tool or a
    /// message set a `cache_control` of their own.
    pub fn no_prompt_caching(mut self) -> Self {
        self.settings.caching = false;
        self
    }

    /// How the model takes an effort or a number of tokens for its thoughts. By default its name tells.
    pub fn thinking(mut self, thinking: AnthropicThinking) -> Self {
        self.settings.thinking = Some(thinking);
        self
    }

    /// Checks the settings. Nothing is sent.
    ///
    /// # Errors
    /// [`InvalidModel`].
    pub fn build(self) -> Result<AnthropicMessages, InvalidModel> {
        Ok(AnthropicMessages { endpoint: self.endpoint.build(PROTOCOL)?, settings: self.settings })
    }
}

impl fmt::Debug for AnthropicMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicMessages")
            .field("endpoint", &self.endpoint)
            .field("settings", &self.settings)
            .finish()
    }
}

impl LanguageModel for AnthropicMessages {
    fn id(&self) -> ModelId {
        self.endpoint.id.clone()
    }

    fn account(&self) -> Box<str> {
        self.endpoint.account.clone()
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        let (id, settings) = (self.endpoint.id.clone(), self.settings);
        self.endpoint.stream(move || Request {
            body: encode::body(&id, &call, settings).to_string(),
            any_type: false,
            warnings: encode::unsupported(&id, &call, settings),
            transport: call.transport,
            decoder: MessagesDecoder::new(id.provider),
        })
    }
}

/// Metadata of a part.
fn metadata(fields: Map<String, Value>) -> Metadata {
    metadata::of(NAMESPACE, fields)
}

/// What this adapter attached to a part.
fn attached<'a>(metadata: &'a Metadata, field: &str) -> Option<&'a Value> {
    metadata::attached(NAMESPACE, metadata, field)
}
