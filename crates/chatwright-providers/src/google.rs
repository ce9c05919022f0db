//! Google Gemini, and servers that speak its `streamGenerateContent`.

mod call;
mod chunk;
mod content;
mod decode;
mod encode;
mod prompt;

pub use decode::GeminiDecoder;

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
const NAMESPACE: &str = "google";

/// A model behind Google's Gemini API. It keeps M1–M5.
///
/// What only Google knows stays in the metadata of parts under `google` and is sent back on the part that it came with: signatures
/// of thoughts, ids of calls. Code that Google runs and parts of types that this version does not know are kept as they came.
/// Thoughts are sent back only where they are signed. Calls without an id get one by their place in the answer (`call_0`); such an id
/// is never sent.
///
/// Options under `google` in [`ModelCall::provider_options`], and under the provider's own name, are merged into the body: objects
/// field by field, as deep as they go, everything else in place of what stood there. They are written as the API's JSON is:
/// `{"generationConfig": {"thinkingConfig": {"includeThoughts": true}}, "safetySettings": […]}`. Provider tools keep the name behind
/// `google.` and their settings: `google.google_search`, `google.code_execution`, `google.url_context`. System messages stand before all
/// others, wherever they were. Sources of an answer are items, and `groundingMetadata` is whole in the metadata of its end.
#[derive(Clone)]
pub struct Gemini {
    endpoint: Endpoint,
}

/// Puts a [`Gemini`] together.
#[must_use = "nothing happens before `build`"]
pub struct GeminiBuilder {
    pub(crate) endpoint: EndpointBuilder,
}

impl Gemini {
    /// Where Google serves its API.
    pub const BASE_URL: &'static str = "https://generativelanguage.googleapis.com/v1beta";

    /// Begins with the provider's name of the model: `gemini-3-pro-preview`, or with its collection `tunedModels/mine`.
    pub fn builder(model: impl Into<Box<str>>) -> GeminiBuilder {
        GeminiBuilder { endpoint: EndpointBuilder::new(NAMESPACE, model.into(), Self::BASE_URL) }
    }

    /// The body that a call sends.
    pub fn request_body(&self, call: &ModelCall) -> Value {
        encode::body(&self.endpoint.id, call)
    }
}

impl GeminiBuilder {
    endpoint_setters!();

    /// Checks the settings. Nothing is sent.
    ///
    /// # Errors
    /// [`InvalidModel`].
    pub fn build(self) -> Result<Gemini, InvalidModel> {
        let model = &self.endpoint.model;
        let collection = if model.contains('/') { "" } else { "models/" };
        let protocol = Protocol {
            path: Cow::Owned(format!("{collection}{model}:streamGenerateContent")),
            // Without it the answer is one JSON array.
            query: Some(("alt", "sse")),
            key_header: "x-goog-api-key",
            key_prefix: "",
            headers: &[],
        };
        Ok(Gemini { endpoint: self.endpoint.build(protocol)? })
    }
}

impl fmt::Debug for Gemini {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gemini").field("endpoint", &self.endpoint).finish()
    }
}

impl LanguageModel for Gemini {
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
            warnings: encode::unsupported(&call),
            transport: call.transport,
            decoder: GeminiDecoder::new(id.provider),
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
