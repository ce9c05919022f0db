//! OpenAI Chat Completions, and servers that speak it.

mod calls;
mod chunk;
mod decode;
mod details;
mod encode;
mod server;

pub use decode::ChatDecoder;
pub use server::ChatServer;

use std::borrow::Cow;
use std::fmt;

use chatwright_core::content::Metadata;
use chatwright_core::model::{ModelCall, ModelId};
use chatwright_core::port::{LanguageModel, ModelStream};
use serde_json::{Value, json};

use self::server::Dialect;
use crate::endpoint::{Endpoint, EndpointBuilder, Protocol, Request, endpoint_setters};
use crate::http::InvalidModel;

const PROTOCOL: Protocol = Protocol {
    path: Cow::Borrowed("chat/completions"),
    query: None,
    key_header: "authorization",
    key_prefix: "Bearer ",
    headers: &[],
};

/// A model behind OpenAI's Chat Completions API, or a [server](ChatServer) that speaks it. It keeps M1–M5.
///
/// Options under `openai` in [`ModelCall::provider_options`], and under the provider's own name, are merged into the body at the top
/// level untouched.
///
/// Thoughts that came as `reasoning_content` and led to calls go back with those calls to the provider of the same name: some servers
/// refuse the calls without them. So do `reasoning_details` of an answer (OpenRouter) and the `extra_content` of a call (Google's
/// server of this format). Other thoughts are not sent back, but to a server that is known to want all.
#[derive(Clone)]
pub struct OpenAiChat {
    endpoint: Endpoint,
    dialect: Dialect,
}

/// Puts an [`OpenAiChat`] together.
#[must_use = "nothing happens before `build`"]
pub struct OpenAiChatBuilder {
    pub(crate) endpoint: EndpointBuilder,
    dialect: Dialect,
}

impl OpenAiChat {
    /// Where OpenAI serves its API.
    pub const BASE_URL: &'static str = "https://api.openai.com/v1";

    /// Begins with the provider's name of the model.
    pub fn builder(model: impl Into<Box<str>>) -> OpenAiChatBuilder {
        Self::builder_for(ChatServer::OpenAi, model)
    }

    /// Begins with a server and its name of the model.
    ///
    /// ```
    /// use chatwright_providers::{ChatServer, OpenAiChat};
    ///
    /// let model = OpenAiChat::builder_for(ChatServer::Ollama, "qwen3").build()?;
    /// # Ok::<(), chatwright_providers::InvalidModel>(())
    /// ```
    pub fn builder_for(server: ChatServer, model: impl Into<Box<str>>) -> OpenAiChatBuilder {
        let endpoint = EndpointBuilder::new(server.as_str(), model.into(), server.base_url());
        OpenAiChatBuilder { endpoint, dialect: server.dialect() }
    }

    /// The body that a call sends.
    pub fn request_body(&self, call: &ModelCall) -> Value {
        encode::body(&self.endpoint.id, call, self.dialect)
    }
}

impl OpenAiChatBuilder {
    endpoint_setters!();

    /// Takes the end of the stream after a finish reason for the end of the answer, for servers that send no `[DONE]`.
    pub fn end_after_finish(mut self) -> Self {
        self.dialect.end_after_finish = true;
        self
    }

    /// Takes a response without a content type for an event stream.
    pub fn no_content_type(mut self) -> Self {
        self.dialect.no_content_type = true;
        self
    }

    /// Sends `max_tokens` in place of `max_completion_tokens`, for servers that know only the old name.
    pub fn max_tokens(mut self) -> Self {
        self.dialect.max_tokens = true;
        self
    }

    /// Sends no `stream_options`, for servers that refuse them. They report usage by themselves or not at all.
    pub fn no_stream_options(mut self) -> Self {
        self.dialect.no_stream_options = true;
        self
    }

    /// Checks the settings. Nothing is sent.
    ///
    /// # Errors
    /// [`InvalidModel`].
    pub fn build(self) -> Result<OpenAiChat, InvalidModel> {
        Ok(OpenAiChat { endpoint: self.endpoint.build(PROTOCOL)?, dialect: self.dialect })
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
        let (id, dialect) = (self.endpoint.id.clone(), self.dialect);
        self.endpoint.stream(move || Request {
            body: encode::body(&id, &call, dialect).to_string(),
            any_type: dialect.no_content_type,
            warnings: encode::unsupported(&id, &call, dialect),
            transport: call.transport,
            decoder: ChatDecoder::new(id.provider, dialect.end_after_finish),
        })
    }
}

/// Metadata of a thought that came under `reasoning_content`. It goes back to the same provider, and to no other.
fn demanded_back(provider: &str) -> Metadata {
    Metadata::from([(provider.into(), json!({"field": "reasoning_content"}))])
}
