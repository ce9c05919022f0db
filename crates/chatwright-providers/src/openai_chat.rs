//! OpenAI Chat Completions, and servers that speak it.

mod calls;
mod chunk;
mod decode;
mod encode;

pub use decode::ChatDecoder;
pub use encode::request_body;
use encode::unsupported;

use std::fmt;

use chatwright_core::error::Failure;
use chatwright_core::model::{ModelCall, ModelId, ModelPart};
use chatwright_core::port::{LanguageModel, ModelStream};
use reqwest::Client;
use secrecy::SecretString;
use serde_json::Value;

use crate::endpoint::{Decode, Endpoint, EndpointBuilder, Protocol, Request};
use crate::http::InvalidModel;
use crate::sse::SseEvent;

const PROTOCOL: Protocol<'static> = Protocol {
    path: "chat/completions",
    query: None,
    key_header: "authorization",
    key_prefix: "Bearer ",
    headers: &[],
};

/// A model behind OpenAI's Chat Completions API. It keeps M1–M5.
#[derive(Clone)]
pub struct OpenAiChat {
    endpoint: Endpoint,
    quirks: Quirks,
}

/// What a server does other than OpenAI.
#[derive(Clone, Copy, Debug, Default)]
struct Quirks {
    end_after_finish: bool,
    no_content_type: bool,
    max_tokens: bool,
    no_stream_options: bool,
}

/// Puts an [`OpenAiChat`] together.
#[must_use = "nothing happens before `build`"]
pub struct OpenAiChatBuilder {
    pub(crate) endpoint: EndpointBuilder,
    quirks: Quirks,
}

impl OpenAiChat {
    /// Where OpenAI serves its API.
    pub const BASE_URL: &'static str = "https://api.openai.com/v1";

    /// Begins with the provider's name of the model.
    pub fn builder(model: impl Into<Box<str>>) -> OpenAiChatBuilder {
        let endpoint = EndpointBuilder::new("openai", model.into(), Self::BASE_URL);
        OpenAiChatBuilder { endpoint, quirks: Quirks::default() }
    }
}

impl OpenAiChatBuilder {
    /// The name of the provider in records and errors. `openai` by default.
    pub fn provider(mut self, name: impl Into<Box<str>>) -> Self {
        self.endpoint.provider = name.into();
        self
    }

    /// Where the API is served, without `/chat/completions`.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.endpoint.base_url = url.into();
        self
    }

    /// The key that goes into the `Authorization` header. It is never printed.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.endpoint.key = Some(SecretString::from(key.into()));
        self
    }

    /// Another header of every request. Its value is never printed.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.endpoint.headers.push((name.into(), SecretString::from(value.into())));
        self
    }

    /// A client of the host's own: proxies, certificates, time-outs. It should neither retry nor follow redirects.
    pub fn client(mut self, client: Client) -> Self {
        self.endpoint.client = Some(client);
        self
    }

    /// Takes the end of the stream after a finish reason for the end of the answer, for servers that send no `[DONE]`.
    pub fn end_after_finish(mut self) -> Self {
        self.quirks.end_after_finish = true;
        self
    }

    /// Takes a response without a content type for an event stream.
    pub fn no_content_type(mut self) -> Self {
        self.quirks.no_content_type = true;
        self
    }

    /// Sends `max_tokens` in place of `max_completion_tokens`, for servers that know only the old name.
    pub fn max_tokens(mut self) -> Self {
        self.quirks.max_tokens = true;
        self
    }

    /// Sends no `stream_options`, for servers that refuse them. They report usage by themselves or not at all.
    pub fn no_stream_options(mut self) -> Self {
        self.quirks.no_stream_options = true;
        self
    }

    /// Checks the settings. Nothing is sent.
    ///
    /// # Errors
    /// [`InvalidModel`].
    pub fn build(self) -> Result<OpenAiChat, InvalidModel> {
        Ok(OpenAiChat { endpoint: self.endpoint.build(&PROTOCOL)?, quirks: self.quirks })
    }
}

impl fmt::Debug for OpenAiChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiChat").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl LanguageModel for OpenAiChat {
    fn id(&self) -> ModelId {
        self.endpoint.id.clone()
    }

    fn account(&self) -> Box<str> {
        self.endpoint.account.clone()
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        let (id, quirks) = (self.endpoint.id.clone(), self.quirks);
        self.endpoint.stream(move || Request {
            body: quirks.apply(request_body(&id, &call)).to_string(),
            any_type: quirks.no_content_type,
            warnings: unsupported(&call),
            headers: call.headers,
            decoder: ChatDecoder::new(id.provider, quirks.end_after_finish),
        })
    }
}

impl Quirks {
    fn apply(self, mut body: Value) -> Value {
        if let Some(body) = body.as_object_mut() {
            if self.no_stream_options {
                body.remove("stream_options");
            }
            if self.max_tokens
                && let Some(most) = body.remove("max_completion_tokens")
            {
                body.insert("max_tokens".into(), most);
            }
        }
        body
    }
}

impl Decode for ChatDecoder {
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
        self.end(rest, parts);
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
