//! OpenAI Responses, and servers that speak it.

mod decode;
mod encode;
mod event;
mod item;
mod opaque;
mod prompt;

pub use decode::ResponsesDecoder;

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
const NAMESPACE: &str = "openai";

const PROTOCOL: Protocol = Protocol {
    path: "responses",
    query: None,
    key_header: "authorization",
    key_prefix: "Bearer ",
    headers: &[],
};

/// A model behind OpenAI's Responses API. It keeps M1–M5.
///
/// Nothing is stored at the provider: the whole conversation is sent each time. What only OpenAI knows stays in the metadata of
/// parts under `openai` and is sent back: thoughts with their encrypted content, phases of texts, items of the tools that OpenAI
/// runs, items of types that this version does not know. Thoughts without encrypted content are not sent; annotations of texts
/// are kept and not sent.
///
/// Items that wait for the host in ways of their own, such as `shell_call` and `custom_tool_call`, are kept as
/// [`Part::Unknown`](chatwright_core::content::Part::Unknown) of the type `openai.shell_call`, with the item under `item`. They are
/// sent back only if a part of the same form holds their output: the API refuses a call without one.
///
/// Options under `openai` in [`ModelCall::provider_options`], and under the provider's own name, are merged into the body
/// untouched: `reasoning`, `parallel_tool_calls`, `service_tier`, `text`, `prompt_cache_key`. An `include` or a `store` takes the
/// place of this adapter's. System messages are developer messages where they stand. Functions are not strict unless their
/// options say so.
#[derive(Clone)]
pub struct OpenAiResponses {
    endpoint: Endpoint,
}

/// Puts an [`OpenAiResponses`] together.
#[must_use = "nothing happens before `build`"]
pub struct OpenAiResponsesBuilder {
    pub(crate) endpoint: EndpointBuilder,
}

impl OpenAiResponses {
    /// Where OpenAI serves its API.
    pub const BASE_URL: &'static str = "https://api.openai.com/v1";

    /// Begins with the provider's name of the model.
    pub fn builder(model: impl Into<Box<str>>) -> OpenAiResponsesBuilder {
        OpenAiResponsesBuilder { endpoint: EndpointBuilder::new(NAMESPACE, model.into(), Self::BASE_URL) }
    }

    /// The body that a call sends.
    pub fn request_body(&self, call: &ModelCall) -> Value {
        encode::body(&self.endpoint.id, call)
    }
}

impl OpenAiResponsesBuilder {
    /// The name of the provider in records and errors. `openai` by default.
    pub fn provider(mut self, name: impl Into<Box<str>>) -> Self {
        self.endpoint.provider = name.into();
        self
    }

    /// Where the API is served, without `/responses`.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.endpoint.base_url = url.into();
        self
    }

    /// The key, sent as a bearer token. It is never printed.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.endpoint.key = Some(SecretString::from(key.into()));
        self
    }

    /// Another header of every request, for example `openai-project`. Its value is never printed.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.endpoint.headers.push((name.into(), SecretString::from(value.into())));
        self
    }

    /// A client of the host's own: proxies, certificates, time-outs. It should neither retry nor follow redirects.
    pub fn client(mut self, client: Client) -> Self {
        self.endpoint.client = Some(client);
        self
    }

    /// Checks the settings. Nothing is sent.
    ///
    /// # Errors
    /// [`InvalidModel`].
    pub fn build(self) -> Result<OpenAiResponses, InvalidModel> {
        Ok(OpenAiResponses { endpoint: self.endpoint.build(&PROTOCOL)? })
    }
}

impl fmt::Debug for OpenAiResponses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiResponses").field("endpoint", &self.endpoint).finish()
    }
}

impl LanguageModel for OpenAiResponses {
    fn id(&self) -> ModelId {
        self.endpoint.id.clone()
    }

    fn account(&self) -> Box<str> {
        self.endpoint.account.clone()
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        let id = self.endpoint.id.clone();
        self.endpoint.stream(move || Request {
            body: encode::body(&id, &call).to_string(),
            any_type: false,
            warnings: encode::unsupported(&id, &call),
            headers: call.headers,
            decoder: ResponsesDecoder::new(id.provider),
        })
    }
}

impl Decode for ResponsesDecoder {
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
