//! One request, one stream of bytes, and what can go wrong on the way.

use std::error::Error;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use chatwright_core::error::{BODY_BYTES_MAX, Cause, Failure, TimeoutPhase};
use chatwright_core::port::{HttpEnd, HttpExchange, HttpHeader, HttpObserver, HttpRequest, HttpResponse};
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};

/// How long the body of a refusal is waited for. What has come by then is kept: the status and the headers must not be lost
/// to a body that stalls.
const REFUSAL_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// A model that cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidModel {
    /// The base address is no URL of a server.
    #[error("{url:?} is no address of a server: {why}")]
    BaseUrl {
        /// The address, without credentials.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A header has a name or a value that HTTP does not allow.
    #[error("header {name:?} is not allowed by HTTP")]
    Header {
        /// Its name.
        name: String,
    },
    /// The address of the proxy is no URL of a server. It is not shown: a password may stand in it.
    #[error("the proxy's address is none of a server")]
    Proxy,
    /// A root certificate cannot be used.
    #[error("root certificate {index} cannot be used: {why}")]
    Certificate {
        /// Which, from 0.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Without the feature `ring` there is no TLS provider, and a model needs a client of the host's own.
    #[error(
        "without the feature `ring` of chatwright-providers a model needs an HTTP client of the host's own"
    )]
    NoTls,
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
}

/// An address under a base address, whose query stays.
pub(crate) fn address(base: &str, path: &str) -> Result<Url, InvalidModel> {
    // Credentials stand before an `@` and in queries.
    let shown = || {
        let base = base.split('?').next().unwrap_or_default();
        base.rsplit_once('@').map_or(base, |(_, rest)| rest).to_owned()
    };
    let invalid = |why: &str| InvalidModel::BaseUrl { url: shown(), why: why.to_owned() };
    let mut url = Url::parse(base).map_err(|error| invalid(&error.to_string()))?;
    if !(matches!(url.scheme(), "http" | "https") && url.has_host()) {
        return Err(invalid("it must begin with http:// or https://"));
    }
    url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
    Ok(url)
}

/// Adds a header.
pub(crate) fn add_header(
    headers: &mut HeaderMap,
    name: &str,
    value: &str,
    secret: bool,
) -> Result<(), InvalidModel> {
    let invalid = || InvalidModel::Header { name: name.to_owned() };
    let header = HeaderName::try_from(name).map_err(|_| invalid())?;
    let mut value = HeaderValue::try_from(value).map_err(|_| invalid())?;
    value.set_sensitive(secret);
    headers.insert(header, value);
    Ok(())
}

/// A response whose body is an event stream.
pub(crate) struct EventStream {
    /// What a failure inside the stream tells of the response.
    pub(crate) head: Head,
    /// The body.
    pub(crate) bytes: BoxStream<'static, Result<Vec<u8>, Failure>>,
    /// Sees the body.
    pub(crate) exchange: Exchange,
}

/// The status and the headers of a response.
pub(crate) struct Head {
    status: u16,
    headers: Vec<(Box<str>, Box<str>)>,
}

impl Head {
    fn of(response: &Response) -> Self {
        let headers = response.headers().iter().map(|(name, value)| (name.as_str().into(), text(value)));
        Self { status: response.status().as_u16(), headers: headers.collect() }
    }

    /// Adds itself to a failure.
    pub(crate) fn describe(&self, failure: &mut Failure) {
        failure.status = Some(self.status);
        failure.headers.clone_from(&self.headers);
    }
}

fn text(value: &HeaderValue) -> Box<str> {
    String::from_utf8_lossy(value.as_bytes()).into()
}

/// A request.
pub(crate) struct Post {
    pub(crate) client: Client,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Takes a response without a content type for an event stream.
    pub(crate) any_type: bool,
    pub(crate) observer: Option<Arc<dyn HttpObserver>>,
}

impl Post {
    /// Posts JSON and gives the event stream that comes back. Failures name this provider.
    pub(crate) async fn send(self, provider: &str) -> Result<EventStream, Box<Failure>> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.extend(self.headers);
        let mut exchange = Exchange::begin(self.observer.as_deref(), &self.url, &headers, &self.body);
        let sent = self.client.post(self.url).headers(headers).body(self.body).send().await;
        let response = sent.map_err(|error| {
            let failure = Box::new(transport(provider, &error));
            exchange.end(HttpEnd::Failed(&failure));
            failure
        })?;
        exchange.response(&response);
        let streams = match response.headers().get(CONTENT_TYPE) {
            None => self.any_type,
            Some(value) => {
                let value = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
                value.trim().eq_ignore_ascii_case("text/event-stream")
            }
        };
        if !response.status().is_success() {
            return Err(Box::new(described(provider, Cause::Status, response, exchange).await));
        }
        if !streams {
            return Err(Box::new(described(provider, Cause::Protocol, response, exchange).await));
        }
        let head = Head::of(&response);
        let provider = provider.to_owned();
        let bytes = response
            .bytes_stream()
            .map(move |chunk| chunk.map(Vec::from).map_err(|error| transport(&provider, &error)))
            .boxed();
        Ok(EventStream { head, bytes, exchange })
    }
}

/// A failure with everything that the response says.
async fn described(provider: &str, cause: Cause, response: Response, mut exchange: Exchange) -> Failure {
    let mut failure = Failure::new(provider, cause);
    Head::of(&response).describe(&mut failure);
    let mut body = Vec::new();
    let read = async {
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => {
                    exchange.body(&chunk);
                    body.extend_from_slice(&chunk);
                }
                Err(error) => return exchange.end(HttpEnd::Failed(&transport(provider, &error))),
            }
            if body.len() > BODY_BYTES_MAX {
                return;
            }
        }
        exchange.end(HttpEnd::Complete);
    };
    // What came counts, all of it or not.
    let _ = tokio::time::timeout(REFUSAL_BODY_TIMEOUT, read).await;
    failure.with_body(String::from_utf8_lossy(&body).into_owned())
}

/// One request and its answer, as its observer is told of them, if there is one. Dropped without an end, it was abandoned.
pub(crate) struct Exchange(Option<Box<dyn HttpExchange>>);

impl Exchange {
    fn begin(observer: Option<&dyn HttpObserver>, url: &Url, headers: &HeaderMap, body: &str) -> Self {
        Self(observer.map(|observer| {
            let headers = told(headers);
            observer.request(&HttpRequest { method: "POST", url: url.as_str(), headers: &headers, body })
        }))
    }

    fn response(&mut self, response: &Response) {
        if let Some(exchange) = &mut self.0 {
            let headers = told(response.headers());
            exchange.response(&HttpResponse { status: response.status().as_u16(), headers: &headers });
        }
    }

    pub(crate) fn body(&mut self, bytes: &[u8]) {
        if let Some(exchange) = &mut self.0 {
            exchange.body(bytes);
        }
    }

    pub(crate) fn end(&mut self, end: HttpEnd<'_>) {
        if let Some(exchange) = self.0.take() {
            exchange.end(end);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end(HttpEnd::Abandoned);
    }
}

fn told(headers: &HeaderMap) -> Vec<HttpHeader> {
    let header = |(name, value): (&HeaderName, &HeaderValue)| HttpHeader {
        name: name.as_str().into(),
        value: text(value),
        sensitive: value.is_sensitive(),
    };
    headers.iter().map(header).collect()
}

/// What the client says of a connection, without addresses, which may hold credentials.
fn transport(provider: &str, error: &reqwest::Error) -> Failure {
    let mut words = Vec::new();
    let mut found = None;
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = source {
        words.push(cause.to_string());
        found = found.or_else(|| known(cause));
        source = cause.source();
    }
    let cause = match found {
        Some(cause) => cause,
        None if error.is_dns() => Cause::Dns,
        None if error.is_connect() && error.is_timeout() => Cause::Timeout(TimeoutPhase::Connect),
        None if error.is_connect() => Cause::Connect,
        // Only a client of the host's own has other time-outs.
        None if error.is_timeout() => Cause::Timeout(TimeoutPhase::Silence),
        None if error.is_builder() => Cause::Request,
        // The rest of what can end a request or a body is a connection that closed.
        None if error.is_request() || error.is_body() || error.is_decode() => Cause::Reset,
        None => Cause::Other,
    };
    // A connection that could not be made says so, whatever the system called it.
    let cause = if error.is_connect() && cause == Cause::Reset { Cause::Connect } else { cause };
    Failure::new(provider, cause).with_message(words.join(": "))
}

/// What an error of a lower layer means, where its type tells.
fn known(error: &(dyn Error + 'static)) -> Option<Cause> {
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        // The peer closes the connection; that stream has no fault of its own.
        if error.is_go_away() && error.is_remote() {
            return Some(Cause::Reset);
        }
        return error
            .reason()
            .map(|reason| Cause::Http2 { reason: reason.into(), remote: error.is_remote() });
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return (error.is_parse() && !error.is_incomplete_message()).then_some(Cause::Protocol);
    }
    #[cfg(feature = "ring")]
    if error.is::<rustls::Error>() {
        return Some(Cause::Tls);
    }
    let error = error.downcast_ref::<std::io::Error>()?;
    // What an I/O error wraps is not among its sources.
    error.get_ref().and_then(|inner| known(inner)).or(match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            Some(Cause::Reset)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_lower_layers_are_known_by_their_type_also_inside_io_errors() {
        let refused = h2::Error::from(h2::Reason::REFUSED_STREAM);
        assert_eq!(known(&refused), Some(Cause::Http2 { reason: 7, remote: false }));
        assert_eq!(known(&std::io::Error::from(ErrorKind::ConnectionReset)), Some(Cause::Reset));
        assert_eq!(known(&std::io::Error::other("certificate, tls, closed")), None, "words prove nothing");
        #[cfg(feature = "ring")]
        {
            let tls = rustls::Error::General("no".to_owned());
            assert_eq!(known(&std::io::Error::new(ErrorKind::InvalidData, tls)), Some(Cause::Tls));
        }
    }

    #[test]
    fn the_query_of_a_base_address_stays_behind_the_path() {
        let url = |base: &str| address(base, "chat/completions").map(String::from).map_err(|e| e.to_string());
        assert_eq!(url("http://h/v1"), Ok("http://h/v1/chat/completions".to_owned()));
        assert_eq!(url("http://h/"), Ok("http://h/chat/completions".to_owned()));
        let azure = url("https://h/openai/deployments/d/?api-version=1");
        assert_eq!(azure, Ok("https://h/openai/deployments/d/chat/completions?api-version=1".to_owned()));
    }
}
