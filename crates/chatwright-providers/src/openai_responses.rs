//! OpenAI Responses, and servers that speak it.

mod decode;
mod encode;
mod event;
mod item;
mod opaque;
mod prompt;

pub use decode::ResponsesDecoder;

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
const NAMESPACE: &str = "openai";

const PROTOCOL: Protocol = Protocol {
    path: Cow::Borrowed("responses"),
    query: None,
    key_header: "authorization",
    key_prefix: "Bearer ",
    headers: &[],
};

/// A model behind OpenAI's Responses API. It keeps M1–M5.
///
/// Nothing is stored at the provider: the whole conversation is sent each time. What only OpenAI knows stays in the metadata of
/// parts under `openai` and is sent back: thoughts with their encrypted content, phases of texts, items of the tools that OpenAI
/// runs, items of types that this version does not know; to a provider of another name, which could not read them, such items are
/// not sent. Thoughts without encrypted content are not sent; annotations of texts are kept and not sent.
///
/// Items that wait for the host in ways of their own, such as `shell_call` and `custom_tool_call`, are kept as
/// [`Part::Unknown`](chatwright_core::content::Part::Unknown) of the type `openai.shell_call`, with the item under `item`. They are
/// sent back only if a part of the same form holds their output: the API refuses a call without one.
///
/// Options under `openai` in [`ModelCall::provider_options`], and under the provider's own name, are merged into the body
/// untouched: `service_tier`, `prompt_cache_key`, and `reasoning` and `text` field by field: a `{"reasoning": {"summary": "auto"}}` shows
/// the thoughts of an organization that OpenAI has verified. An `include` or a `store` takes the
/// place of this adapter's. Models that do not think refuse to be asked for encrypted thoughts: those of OpenAI's are known by
/// their names, and one under a name of the host's own, as at Azure, wants an empty `include`. System messages are developer messages where they stand. Functions are not strict unless their
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
    endpoint_setters!();

    /// Checks the settings. Nothing is sent.
    ///
    /// # Errors
    /// [`InvalidModel`].
    pub fn build(self) -> Result<OpenAiResponses, InvalidModel> {
        Ok(OpenAiResponses { endpoint: self.endpoint.build(PROTOCOL)? })
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
            transport: call.transport,
            decoder: ResponsesDecoder::new(id.provider),
        })
    }
}

/// Metadata of a part.
fn metadata(fields: Map<String, Value>) -> Metadata {
    metadata::of(NAMESPACE, fields)
}

/// Metadata of a part that is an item: the whole of it, and whose it is.
fn kept(item: Map<String, Value>, provider: &str) -> Metadata {
    metadata(Map::from_iter([("item".to_owned(), item.into()), ("provider".to_owned(), provider.into())]))
}

/// The item in such fields, unless it is another provider's: what one sealed or ran, others refuse.
fn item_of<'a>(fields: &'a Value, provider: &str) -> Option<&'a Value> {
    let is_ours = fields.get("provider").is_none_or(|of| *of == *provider);
    fields.get("item").filter(|_| is_ours)
}

/// What this adapter attached to a part.
fn attached<'a>(metadata: &'a Metadata, field: &str) -> Option<&'a Value> {
    metadata::attached(NAMESPACE, metadata, field)
}
