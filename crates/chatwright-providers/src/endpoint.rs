//! What every model over HTTP has in common: where it is asked, as whom, and how bytes become parts.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{ModelId, ModelPart, Transport};
use chatwright_core::port::{HttpEnd, ModelStream};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use reqwest::header::HeaderMap;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::client::HttpSettings;
use crate::decode::Decode;
use crate::http::{self, EventStream, Exchange, Head, InvalidModel, Post};
use crate::sse::{EVENT_BYTES_MAX, SseItem, SseParser};

/// What stands before a key in a header.
const SCHEMES: [&str; 3] = ["bearer", "basic", "token"];

/// Where a model is asked, and as whom.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) id: ModelId,
    pub(crate) account: Box<str>,
    protocol: Protocol,
    url: Url,
    /// The key, and the host's headers.
    headers: HeaderMap,
    client: Client,
    /// What must not come back in a failure: servers echo keys.
    secrets: Vec<SecretString>,
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

/// The setters that the builders of all models have, over a field `endpoint`.
macro_rules! endpoint_setters {
    () => {
        /// The name of the provider in records and errors.
        pub fn provider(mut self, name: impl Into<Box<str>>) -> Self {
            self.endpoint.provider = name.into();
            self
        }

        /// Where the API is served: what stands before the protocol's own path.
        pub fn base_url(mut self, url: impl Into<String>) -> Self {
            self.endpoint.base_url = url.into();
            self
        }

        /// The key, for the header that the protocol has for it. It is never printed.
        pub fn key(mut self, key: impl Into<String>) -> Self {
            self.endpoint.key = Some(secrecy::SecretString::from(key.into()));
            self
        }

        /// Another header of every request, also in place of one of the protocol's own. Its value is never printed.
        pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            self.endpoint.headers.push((name.into(), secrecy::SecretString::from(value.into())));
            self
        }

        /// A client of the host's own, for example of other [settings](crate::HttpSettings). It should neither repeat requests
        /// nor follow redirects.
        pub fn client(mut self, client: reqwest::Client) -> Self {
            self.endpoint.client = Some(client);
            self
        }
    };
}
pub(crate) use endpoint_setters;

/// How a protocol is told its key, and where it is served.
#[derive(Clone)]
pub(crate) struct Protocol {
    /// The path under the base address.
    pub(crate) path: Cow<'static, str>,
    /// What is asked of the path.
    pub(crate) query: Option<(&'static str, &'static str)>,
    /// The header of the key.
    pub(crate) key_header: &'static str,
    /// What stands before the key in it.
    pub(crate) key_prefix: &'static str,
    /// Headers of every request, unless the host sets them.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

impl Protocol {
    fn address(&self, base: &str) -> Result<Url, InvalidModel> {
        let mut url = http::address(base, &self.path)?;
        if let Some((name, value)) = self.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        Ok(url)
    }

    fn add_key(&self, headers: &mut HeaderMap, key: &SecretString) -> Result<(), InvalidModel> {
        let value = format!("{}{}", self.key_prefix, key.expose_secret());
        http::add_header(headers, self.key_header, &value, true)
    }
}

/// One call.
pub(crate) struct Request<D> {
    pub(crate) transport: Transport,
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

    pub(crate) fn build(self, protocol: Protocol) -> Result<Endpoint, InvalidModel> {
        let url = protocol.address(&self.base_url)?;
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.key {
            protocol.add_key(&mut headers, key)?;
        }
        for (name, value) in &self.headers {
            http::add_header(&mut headers, name, value.expose_secret(), true)?;
        }
        let client = match self.client {
            Some(client) => client,
            None => HttpSettings::default().client()?,
        };
        let id = ModelId { provider: self.provider, model: self.model };
        // A number that tells keys apart and leads back to none. The path may name the model: models of one key share an account.
        let base = http::address(&self.base_url, "")?;
        let mut print = DefaultHasher::new();
        (base.as_str(), self.key.as_ref().map(ExposeSecret::expose_secret)).hash(&mut print);
        let account = format!("{}/{:016x}", id.provider, print.finish()).into();
        let headers_of_host =
            self.headers.iter().flat_map(|(name, value)| in_header(name, value.expose_secret()));
        let secrets = self.key.iter().cloned().chain(headers_of_host).collect();
        Ok(Endpoint { id, account, protocol, url, headers, client, secrets })
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
    /// Makes a request when it is polled, and streams what the decoder makes of the answer. No secret of the endpoint or of the
    /// call is in a failure.
    pub(crate) fn stream<D: Decode>(
        &self,
        request: impl FnOnce() -> Request<D> + Send + 'static,
    ) -> ModelStream {
        let endpoint = self.clone();
        async move {
            let request = request();
            let Transport { key, headers, .. } = &request.transport;
            let of_call = headers.0.iter().flat_map(|(name, value)| in_header(name, value));
            let secrets: Vec<SecretString> =
                endpoint.secrets.iter().cloned().chain(key.clone()).chain(of_call).collect();
            let parts = endpoint.begin(request).await;
            parts.map(move |part| without_secrets(part, &secrets))
        }
        .flatten_stream()
        .boxed()
    }

    async fn begin<D: Decode>(self, request: Request<D>) -> BoxStream<'static, ModelPart> {
        let fail = |failure: Box<Failure>| stream::iter([ModelPart::Failure(failure)]).boxed();
        let (url, headers) = match self.address(&request.transport) {
            Ok(address) => address,
            Err(error) => {
                let failure = Failure::new(self.id.provider, Cause::Request).with_message(error.to_string());
                return fail(Box::new(failure));
            }
        };
        let (body, any_type, observer) = (request.body, request.any_type, request.transport.observer);
        let post = Post { client: self.client, url, headers, body, any_type, observer };
        let answer = match post.send(&self.id.provider).await {
            Err(failure) => fail(failure),
            Ok(stream) => decoded(stream, request.decoder),
        };
        match request.warnings {
            warnings if warnings.is_empty() => answer,
            warnings => stream::iter([ModelPart::Warnings(warnings)]).chain(answer).boxed(),
        }
    }

    /// Where a call goes, and with which headers: the protocol's, then the endpoint's own, then the call's.
    fn address(&self, transport: &Transport) -> Result<(Url, HeaderMap), InvalidModel> {
        let url = match &transport.base_url {
            Some(base) => self.protocol.address(base)?,
            None => self.url.clone(),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in self.protocol.headers {
            http::add_header(&mut headers, name, value, false)?;
        }
        // What one server may know is not told to another.
        if url.origin() == self.url.origin() {
            headers.extend(self.headers.clone());
        }
        if let Some(key) = &transport.key {
            self.protocol.add_key(&mut headers, key)?;
        }
        for (name, value) in &transport.headers.0 {
            http::add_header(&mut headers, name, value, true)?;
        }
        Ok((url, headers))
    }
}

/// What of a header must not come back: its value, and the token behind a scheme such as `Bearer`.
fn in_header(name: &str, value: &str) -> impl Iterator<Item = SecretString> {
    let token = value.split_once(' ').map(|(_, token)| token);
    let token = token.filter(|_| name.to_ascii_lowercase().ends_with("authorization"));
    [Some(value), token].into_iter().flatten().map(SecretString::from)
}

fn without_secrets(part: ModelPart, secrets: &[SecretString]) -> ModelPart {
    let clean = |failure: Failure, secret: &SecretString| {
        let secret = secret.expose_secret();
        let failure = failure.without_secret(secret);
        // Of `Bearer key` servers echo only the key.
        match secret.split_once(' ') {
            Some((scheme, key)) if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
                failure.without_secret(key.trim())
            }
            _ => failure,
        }
    };
    match part {
        ModelPart::Failure(failure) => ModelPart::Failure(Box::new(secrets.iter().fold(*failure, clean))),
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
fn decoded<D: Decode>(stream: EventStream, decoder: D) -> BoxStream<'static, ModelPart> {
    struct Reading<D> {
        head: Head,
        exchange: Exchange,
        bytes: BoxStream<'static, Result<Vec<u8>, Failure>>,
        parser: Option<SseParser>,
        decoder: D,
        items: Vec<SseItem>,
    }
    let parser = Some(SseParser::new(EVENT_BYTES_MAX));
    let EventStream { head, bytes, exchange } = stream;
    let reading = Reading { head, exchange, bytes, parser, decoder, items: Vec::new() };
    let batches = stream::unfold(reading, |mut reading| async move {
        let mut parts = Vec::new();
        while parts.is_empty() {
            let parser = reading.parser.as_mut()?;
            let fed = match reading.bytes.next().await {
                Some(Ok(chunk)) => {
                    reading.exchange.body(&chunk);
                    parser.feed(&chunk, &mut reading.items).map_err(|error| error.to_string())
                }
                Some(Err(failure)) => {
                    reading.exchange.end(HttpEnd::Failed(&failure));
                    reading.decoder.fail(failure, &mut parts);
                    Ok(())
                }
                None => {
                    let rest = reading.parser.take().and_then(SseParser::finish);
                    reading.decoder.end(rest.as_ref().map(|event| &*event.data), &mut parts);
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
                reading.exchange.end(HttpEnd::Complete);
                if let Some(ModelPart::Failure(failure)) = parts.last_mut() {
                    reading.head.describe(failure);
                }
            }
        }
        Some((stream::iter(parts), reading))
    });
    batches.flatten().boxed()
}
