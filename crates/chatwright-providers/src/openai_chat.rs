//! OpenAI Chat Completions, and servers that speak it.

mod calls;
mod chunk;
mod decode;
mod encode;

pub use decode::ChatDecoder;
pub use encode::request_body;
use encode::unsupported;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{ModelCall, ModelId, ModelPart};
use chatwright_core::port::{LanguageModel, ModelStream};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use reqwest::header::HeaderMap;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::http::{self, EventStream, Head, InvalidModel};
use crate::sse::{EVENT_BYTES_MAX, SseItem, SseParser};

/// A model behind OpenAI's Chat Completions API. It keeps M1–M5.
#[derive(Clone)]
pub struct OpenAiChat {
    id: ModelId,
    url: Url,
    headers: HeaderMap,
    client: Client,
    quirks: Quirks,
    account: Box<str>,
    /// What must not come back in a failure: servers echo keys.
    secrets: Arc<[SecretString]>,
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
    provider: Box<str>,
    model: Box<str>,
    base_url: String,
    key: Option<SecretString>,
    headers: Vec<(String, SecretString)>,
    client: Option<Client>,
    quirks: Quirks,
}

impl OpenAiChat {
    /// Where OpenAI serves its API.
    pub const BASE_URL: &'static str = "https://api.openai.com/v1";

    /// Begins with the provider's name of the model.
    pub fn builder(model: impl Into<Box<str>>) -> OpenAiChatBuilder {
        OpenAiChatBuilder {
            provider: "openai".into(),
            model: model.into(),
            base_url: Self::BASE_URL.to_owned(),
            key: None,
            headers: Vec::new(),
            client: None,
            quirks: Quirks::default(),
        }
    }
}

impl OpenAiChatBuilder {
    /// The name of the provider in records and errors. `openai` by default.
    pub fn provider(mut self, name: impl Into<Box<str>>) -> Self {
        self.provider = name.into();
        self
    }

    /// Where the API is served, without `/chat/completions`.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// The key that goes into the `Authorization` header. It is never printed.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(SecretString::from(key.into()));
        self
    }

    /// Another header of every request. Its value is never printed.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), SecretString::from(value.into())));
        self
    }

    /// A client of the host's own: proxies, certificates, time-outs. It should neither retry nor follow redirects.
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
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
        let url = http::address(&self.base_url, "chat/completions")?;
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.key {
            let value = format!("Bearer {}", key.expose_secret());
            http::add_header(&mut headers, "authorization", &value, true)?;
        }
        for (name, value) in &self.headers {
            http::add_header(&mut headers, name, value.expose_secret(), true)?;
        }
        let client = match self.client {
            Some(client) => client,
            None => http::client()?,
        };
        let id = ModelId { provider: self.provider, model: self.model };
        // A number that tells keys apart and leads back to none.
        let mut print = DefaultHasher::new();
        (url.as_str(), self.key.as_ref().map(ExposeSecret::expose_secret)).hash(&mut print);
        let account = format!("{}/{:016x}", id.provider, print.finish()).into();
        let secrets = self.key.into_iter().chain(self.headers.into_iter().map(|(_, value)| value)).collect();
        Ok(OpenAiChat { id, url, headers, client, quirks: self.quirks, account, secrets })
    }
}

impl fmt::Debug for OpenAiChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiChat")
            .field("id", &self.id)
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

impl LanguageModel for OpenAiChat {
    fn id(&self) -> ModelId {
        self.id.clone()
    }

    fn account(&self) -> Box<str> {
        self.account.clone()
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        let (model, secrets) = (self.clone(), Arc::clone(&self.secrets));
        let parts = async move { model.begin(&call).await }.flatten_stream();
        parts.map(move |part| without_secrets(part, &secrets)).boxed()
    }
}

fn without_secrets(part: ModelPart, secrets: &[SecretString]) -> ModelPart {
    match part {
        ModelPart::Failure(failure) => {
            let clean =
                |failure: Failure, secret: &SecretString| failure.without_secret(secret.expose_secret());
            ModelPart::Failure(Box::new(secrets.iter().fold(*failure, clean)))
        }
        part => part,
    }
}

impl OpenAiChat {
    async fn begin(self, call: &ModelCall) -> BoxStream<'static, ModelPart> {
        let fail = |failure: Box<Failure>| stream::iter([ModelPart::Failure(failure)]).boxed();
        let mut headers = self.headers;
        for (name, value) in &call.headers.0 {
            if http::add_header(&mut headers, name, value, true).is_err() {
                let failure = Failure::new(self.id.provider, Cause::Request);
                return fail(Box::new(
                    failure.with_message(format!("header {name:?} is not allowed by HTTP")),
                ));
            }
        }
        let body = self.quirks.apply(request_body(&self.id, call)).to_string();
        let any_type = self.quirks.no_content_type;
        let begun = http::post(self.client, self.url, headers, body, &self.id.provider, any_type).await;
        let answer = match begun {
            Err(failure) => fail(failure),
            Ok(stream) => {
                let decoder = ChatDecoder::new(self.id.provider, self.quirks.end_after_finish);
                decoded(stream, decoder)
            }
        };
        match unsupported(call) {
            warnings if warnings.is_empty() => answer,
            warnings => stream::iter([ModelPart::Warnings(warnings)]).chain(answer).boxed(),
        }
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

/// Parts of a stream of bytes. It ends right after the terminal part, which drops the connection if the server goes on.
fn decoded(EventStream { head, bytes }: EventStream, decoder: ChatDecoder) -> BoxStream<'static, ModelPart> {
    struct Reading {
        head: Head,
        bytes: BoxStream<'static, Result<Vec<u8>, Failure>>,
        parser: Option<SseParser>,
        decoder: ChatDecoder,
        items: Vec<SseItem>,
    }
    let parser = Some(SseParser::new(EVENT_BYTES_MAX));
    let reading = Reading { head, bytes, parser, decoder, items: Vec::new() };
    let batches = stream::unfold(reading, |mut reading| async move {
        let mut parts = Vec::new();
        while parts.is_empty() {
            let parser = reading.parser.as_mut()?;
            let fed = match reading.bytes.next().await {
                Some(Ok(chunk)) => parser.feed(&chunk, &mut reading.items).map_err(|error| error.to_string()),
                Some(Err(failure)) => {
                    reading.decoder.fail(failure, &mut parts);
                    Ok(())
                }
                None => {
                    let rest = reading.parser.take().and_then(SseParser::finish);
                    reading.decoder.end(rest.map(|event| event.data), &mut parts);
                    Ok(())
                }
            };
            for item in reading.items.drain(..) {
                match item {
                    SseItem::Event(event) if event.event == "error" => {
                        reading.decoder.error_event(&event.data, &mut parts);
                    }
                    SseItem::Event(event) => reading.decoder.event(&event.data, &mut parts),
                    SseItem::Comment => reading.decoder.keep_alive(&mut parts),
                }
            }
            if let Err(words) = fed {
                reading.decoder.protocol(&words, &mut parts);
            }
            if reading.decoder.is_done() {
                reading.parser = None;
                if let Some(ModelPart::Failure(failure)) = parts.last_mut() {
                    reading.head.describe(failure);
                }
            }
        }
        Some((stream::iter(parts), reading))
    });
    batches.flatten().boxed()
}
