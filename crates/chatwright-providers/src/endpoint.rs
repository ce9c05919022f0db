//! What every model over HTTP has in common: where it is asked, as whom, and how bytes become parts.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Headers, ModelId, ModelPart};
use chatwright_core::port::ModelStream;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use reqwest::header::HeaderMap;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::http::{self, EventStream, Head, InvalidModel};
use crate::sse::{EVENT_BYTES_MAX, SseEvent, SseItem, SseParser};

/// Where a model is asked, and as whom.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) id: ModelId,
    pub(crate) account: Box<str>,
    url: Url,
    headers: HeaderMap,
    client: Client,
    /// What must not come back in a failure: servers echo keys.
    secrets: Arc<[SecretString]>,
}

/// The settings of an [`Endpoint`].
pub(crate) struct EndpointBuilder {
    pub(crate) provider: Box<str>,
    pub(crate) model: Box<str>,
    pub(crate) base_url: String,
    pub(crate) key: Option<SecretString>,
    pub(crate) headers: Vec<(String, SecretString)>,
    pub(crate) client: Option<Client>,
}

/// How a protocol is told its key, and where it is served.
pub(crate) struct Protocol<'a> {
    /// The path under the base address.
    pub(crate) path: &'a str,
    /// What is asked of the path.
    pub(crate) query: Option<(&'static str, &'static str)>,
    /// The header of the key.
    pub(crate) key_header: &'static str,
    /// What stands before the key in it.
    pub(crate) key_prefix: &'static str,
    /// Headers of every request, unless the host sets them.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

/// A decoder of a protocol's events: one push state machine that ends in exactly one terminal part.
pub(crate) trait Decode: Send + 'static {
    /// Takes an event.
    fn event(&mut self, event: &SseEvent, parts: &mut Vec<ModelPart>);
    /// The server gave a sign of life.
    fn keep_alive(&mut self, parts: &mut Vec<ModelPart>);
    /// The stream ended; `rest` is the data of an event that it cut off before its blank line.
    fn end(&mut self, rest: Option<String>, parts: &mut Vec<ModelPart>);
    /// The transport failed.
    fn fail(&mut self, failure: Failure, parts: &mut Vec<ModelPart>);
    /// The server does not keep to the protocol.
    fn protocol(&mut self, words: &str, parts: &mut Vec<ModelPart>);
    /// Whether the terminal part was given.
    fn is_done(&self) -> bool;
}

/// One call.
pub(crate) struct Request<D> {
    pub(crate) headers: Headers,
    pub(crate) body: String,
    /// Whether a response without a content type is taken for an event stream.
    pub(crate) any_type: bool,
    pub(crate) warnings: Vec<String>,
    pub(crate) decoder: D,
}

impl EndpointBuilder {
    pub(crate) fn new(provider: &str, model: Box<str>, base_url: &str) -> Self {
        Self {
            provider: provider.into(),
            model,
            base_url: base_url.to_owned(),
            key: None,
            headers: Vec::new(),
            client: None,
        }
    }

    pub(crate) fn build(self, protocol: &Protocol<'_>) -> Result<Endpoint, InvalidModel> {
        let mut url = http::address(&self.base_url, protocol.path)?;
        if let Some((name, value)) = protocol.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in protocol.headers {
            http::add_header(&mut headers, name, value, false)?;
        }
        if let Some(key) = &self.key {
            let value = format!("{}{}", protocol.key_prefix, key.expose_secret());
            http::add_header(&mut headers, protocol.key_header, &value, true)?;
        }
        for (name, value) in &self.headers {
            http::add_header(&mut headers, name, value.expose_secret(), true)?;
        }
        let client = match self.client {
            Some(client) => client,
            None => http::client()?,
        };
        let id = ModelId { provider: self.provider, model: self.model };
        // A number that tells keys apart and leads back to none. The path may name the model: models of one key share an account.
        let base = http::address(&self.base_url, "")?;
        let mut print = DefaultHasher::new();
        (base.as_str(), self.key.as_ref().map(ExposeSecret::expose_secret)).hash(&mut print);
        let account = format!("{}/{:016x}", id.provider, print.finish()).into();
        let secrets = self.key.into_iter().chain(self.headers.into_iter().map(|(_, value)| value)).collect();
        Ok(Endpoint { id, account, url, headers, client, secrets })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Makes a request when it is polled, and streams what the decoder makes of the answer. No secret of the endpoint is in a
    /// failure.
    pub(crate) fn stream<D: Decode>(
        &self,
        request: impl FnOnce() -> Request<D> + Send + 'static,
    ) -> ModelStream {
        let (endpoint, secrets) = (self.clone(), Arc::clone(&self.secrets));
        let parts = async move { endpoint.begin(request()).await }.flatten_stream();
        parts.map(move |part| without_secrets(part, &secrets)).boxed()
    }

    async fn begin<D: Decode>(self, request: Request<D>) -> BoxStream<'static, ModelPart> {
        let fail = |failure: Box<Failure>| stream::iter([ModelPart::Failure(failure)]).boxed();
        let mut headers = self.headers;
        for (name, value) in &request.headers.0 {
            if http::add_header(&mut headers, name, value, true).is_err() {
                let failure = Failure::new(self.id.provider, Cause::Request);
                return fail(Box::new(
                    failure.with_message(format!("header {name:?} is not allowed by HTTP")),
                ));
            }
        }
        let (body, any_type) = (request.body, request.any_type);
        let begun = http::post(self.client, self.url, headers, body, &self.id.provider, any_type).await;
        let answer = match begun {
            Err(failure) => fail(failure),
            Ok(stream) => decoded(stream, request.decoder),
        };
        match request.warnings {
            warnings if warnings.is_empty() => answer,
            warnings => stream::iter([ModelPart::Warnings(warnings)]).chain(answer).boxed(),
        }
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

/// The failure that an error object inside a stream tells of; `data` is the event that it stands in.
pub(crate) fn in_stream(provider: &str, error: &Value, data: &str) -> Failure {
    let word = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let message = word(&error["message"]).or_else(|| word(error)).unwrap_or_default();
    let (kind, code) = (word(&error["type"]), word(&error["code"]));
    Failure::new(provider, Cause::InStream)
        .with_error(kind.as_deref(), code.as_deref())
        .with_message(message)
        .with_body(data)
}

/// Parts of a stream of bytes. It ends right after the terminal part, which drops the connection if the server goes on.
fn decoded<D: Decode>(EventStream { head, bytes }: EventStream, decoder: D) -> BoxStream<'static, ModelPart> {
    struct Reading<D> {
        head: Head,
        bytes: BoxStream<'static, Result<Vec<u8>, Failure>>,
        parser: Option<SseParser>,
        decoder: D,
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
                    SseItem::Event(event) => reading.decoder.event(&event, &mut parts),
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
