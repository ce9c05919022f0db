//! One request, one stream of bytes, and what can go wrong on the way.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use chatwright_core::error::{BODY_BYTES_MAX, Cause, Failure, TimeoutPhase};
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// Without the feature `ring` there is no TLS provider, and a model needs a client of the host's own.
    #[error(
        "without the feature `ring` of chatwright-providers a model needs an HTTP client of the host's own"
    )]
    NoTls,
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
}

/// A client that makes one request per call: no retries, no redirects.
pub(crate) fn client() -> Result<Client, InvalidModel> {
    let builder = Client::builder()
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true);
    tls(builder)?.build().map_err(InvalidModel::Client)
}

/// The client's own TLS set-up would panic where no process-wide provider is installed, even for `http://`; so it always
/// gets one.
#[cfg(feature = "ring")]
fn tls(builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, InvalidModel> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(builder.tls_backend_preconfigured(config))
}

#[cfg(not(feature = "ring"))]
fn tls(_: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, InvalidModel> {
    Err(InvalidModel::NoTls)
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
}

/// The status and the headers of a response.
pub(crate) struct Head {
    status: u16,
    headers: Vec<(Box<str>, Box<str>)>,
}

impl Head {
    fn of(response: &Response) -> Self {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned().into();
        let headers = response.headers().iter().map(|(name, value)| (name.as_str().into(), text(value)));
        Self { status: response.status().as_u16(), headers: headers.collect() }
    }

    /// Adds itself to a failure.
    pub(crate) fn describe(&self, failure: &mut Failure) {
        failure.status = Some(self.status);
        failure.headers.clone_from(&self.headers);
    }
}

/// Posts JSON and gives the event stream that comes back. `any_type` also takes a response without a content type.
pub(crate) async fn post(
    client: Client,
    url: Url,
    headers: HeaderMap,
    body: String,
    provider: &str,
    any_type: bool,
) -> Result<EventStream, Box<Failure>> {
    let mut all = HeaderMap::new();
    all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    all.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    all.extend(headers);
    let sent = client.post(url).headers(all).body(body).send().await;
    let response = sent.map_err(|error| Box::new(transport(provider, &error)))?;
    let streams = match response.headers().get(CONTENT_TYPE) {
        None => any_type,
        Some(value) => {
            let value = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
            value.trim().eq_ignore_ascii_case("text/event-stream")
        }
    };
    if !response.status().is_success() {
        return Err(Box::new(described(provider, Cause::Status, response).await));
    }
    if !streams {
        return Err(Box::new(described(provider, Cause::Protocol, response).await));
    }
    let head = Head::of(&response);
    let provider = provider.to_owned();
    let bytes = response
        .bytes_stream()
        .map(move |chunk| chunk.map(Vec::from).map_err(|error| transport(&provider, &error)))
        .boxed();
    Ok(EventStream { head, bytes })
}

/// A failure with everything that the response says.
async fn described(provider: &str, cause: Cause, response: Response) -> Failure {
    let mut failure = Failure::new(provider, cause);
    Head::of(&response).describe(&mut failure);
    let mut body = Vec::new();
    let read = async {
        let mut chunks = response.bytes_stream();
        while let Some(Ok(chunk)) = chunks.next().await {
            body.extend_from_slice(&chunk);
            if body.len() > BODY_BYTES_MAX {
                break;
            }
        }
    };
    // What came counts, all of it or not.
    let _ = tokio::time::timeout(REFUSAL_BODY_TIMEOUT, read).await;
    failure.with_body(String::from_utf8_lossy(&body).into_owned())
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
