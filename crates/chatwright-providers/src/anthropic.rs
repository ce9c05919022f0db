//! Anthropic Messages, and servers that speak it.

mod block;
mod cache;
mod decode;
mod encode;
mod event;
mod prompt;
mod result;

pub use decode::MessagesDecoder;

use std::fmt;

use chatwright_core::content::Metadata;
use chatwright_core::error::Failure;
use chatwright_core::model::{ModelCall, ModelId, ModelPart};
use chatwright_core::port::{LanguageModel, ModelStream};
use reqwest::Client;
use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::endpoint::{Decode, Endpoint, EndpointBuilder, Protocol, Request};
use crate::http::InvalidModel;
use crate::sse::SseEvent;

/// Where this adapter finds its options, and keeps the metadata of parts.
const NAMESPACE: &str = "anthropic";

const PROTOCOL: Protocol<'static> = Protocol {
    path: "messages",
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
/// untouched: `thinking`, `service_tier`, `metadata`. A `tool_choice` without a type, for example
/// `{"disable_parallel_tool_use": true}`, is added to the call's choice. System messages stand before all others, wherever they
/// were.
#[derive(Clone)]
pub struct AnthropicMessages {
    endpoint: Endpoint,
    caching: bool,
}

/// Puts an [`AnthropicMessages`] together.
#[must_use = "nothing happens before `build`"]
pub struct AnthropicMessagesBuilder {
    pub(crate) endpoint: EndpointBuilder,
    caching: bool,
}

impl AnthropicMessages {
    /// Where Anthropic serves its API.
    pub const BASE_URL: &'static str = "https://api.anthropic.com/v1";

    /// Most tokens of an answer where the call does not say. Old models take fewer, and a budget for thinking must be smaller.
    pub const MAX_TOKENS: u64 = 32_000;

    /// Begins with the provider's name of the model.
    pub fn builder(model: impl Into<Box<str>>) -> AnthropicMessagesBuilder {
        let endpoint = EndpointBuilder::new(NAMESPACE, model.into(), Self::BASE_URL);
        AnthropicMessagesBuilder { endpoint, caching: true }
    }

    /// The body that a call sends.
    pub fn request_body(&self, call: &ModelCall) -> Value {
        encode::body(&self.endpoint.id, call, self.caching)
    }
}

impl AnthropicMessagesBuilder {
    /// The name of the provider in records and errors. `anthropic` by default.
    pub fn provider(mut self, name: impl Into<Box<str>>) -> Self {
        self.endpoint.provider = name.into();
        self
    }

    /// Where the API is served, without `/messages`.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.endpoint.base_url = url.into();
        self
    }

    /// The key that goes into the `x-api-key` header. It is never printed.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.endpoint.key = Some(SecretString::from(key.into()));
        self
    }

    /// Another header of every request, for example `anthropic-beta`, or `anthropic-version` in place of 2023-06-01. Its value
    /// is never printed.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.endpoint.headers.push((name.into(), SecretString::from(value.into())));
        self
    }

    /// A client of the host's own: proxies, certificates, time-outs. It should neither retry nor follow redirects.
    pub fn client(mut self, client: Client) -> Self {
        self.endpoint.client = Some(client);
        self
    }

    /// Leaves out the marks for prompt caching that otherwise stand at the last tool, the end of the system prompt and the ends of
    /// the last message and the user's last one before it. They are also left out where the options of a call, a tool or a
    /// message set a `cache_control` of their own.
    pub fn no_prompt_caching(mut self) -> Self {
        self.caching = false;
        self
    }

    /// Checks the settings. Nothing is sent.
    ///
    /// # Errors
    /// [`InvalidModel`].
    pub fn build(self) -> Result<AnthropicMessages, InvalidModel> {
        Ok(AnthropicMessages { endpoint: self.endpoint.build(&PROTOCOL)?, caching: self.caching })
    }
}

impl fmt::Debug for AnthropicMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicMessages")
            .field("endpoint", &self.endpoint)
            .field("caching", &self.caching)
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
        let (id, caching) = (self.endpoint.id.clone(), self.caching);
        self.endpoint.stream(move || Request {
            body: encode::body(&id, &call, caching).to_string(),
            any_type: false,
            warnings: encode::unsupported(&call),
            headers: call.headers,
            decoder: MessagesDecoder::new(id.provider),
        })
    }
}

impl Decode for MessagesDecoder {
    fn event(&mut self, event: &SseEvent, parts: &mut Vec<ModelPart>) {
        match event.event.as_str() {
            "error" => self.error_event(&event.data, parts),
            _ => self.event(&event.data, parts),
        }
    }

    fn keep_alive(&mut self, parts: &mut Vec<ModelPart>) {
        self.keep_alive(parts);
    }

    fn end(&mut self, rest: Option<String>, parts: &mut Vec<ModelPart>) {
        self.end(rest.as_deref(), parts);
    }

    fn fail(&mut self, failure: Failure, parts: &mut Vec<ModelPart>) {
        self.fail(failure, parts);
    }

    fn protocol(&mut self, words: &str, parts: &mut Vec<ModelPart>) {
        self.protocol(words, parts);
    }

    fn is_done(&self) -> bool {
        self.is_done()
    }
}

/// Metadata of a part; none where there is nothing to say.
fn metadata(fields: Map<String, Value>) -> Metadata {
    match fields.is_empty() {
        true => Metadata::new(),
        false => Metadata::from([(NAMESPACE.into(), Value::Object(fields))]),
    }
}

/// What this adapter attached to a part.
fn attached<'a>(metadata: &'a Metadata, field: &str) -> Option<&'a Value> {
    metadata.get(NAMESPACE)?.get(field)
}
