//! One request, one stream of bytes, and what can go wrong on the way.

use std::error::Error;
use std::time::Duration;

use chatwright_core::error::{BODY_BYTES_MAX, Cause, Failure, TimeoutPhase};
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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

/// An address under a base address.
pub(crate) fn address(base: &str, path: &str) -> Result<Url, InvalidModel> {
    let shown = || base.rsplit_once('@').map_or(base, |(_, rest)| rest).to_owned();
    let invalid = |why: &str| InvalidModel::BaseUrl { url: shown(), why: why.to_owned() };
    let url = Url::parse(&format!("{}/{path}", base.trim_end_matches('/')));
    let url = url.map_err(|error| invalid(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some() => Ok(url),
        _ => Err(invalid("it must begin with http:// or https://")),
    }
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

/// Posts JSON and gives the bytes of an event stream.
pub(crate) async fn post(
    client: Client,
    url: Url,
    headers: HeaderMap,
    body: String,
    provider: &str,
) -> Result<BoxStream<'static, Result<Vec<u8>, Failure>>, Box<Failure>> {
    let request = client.post(url).headers(headers).header("content-type", "application/json");
    let sent = request.header("accept", "text/event-stream").body(body).send().await;
    let response = sent.map_err(|error| Box::new(transport(provider, &error)))?;
    let status = response.status();
    let media_type =
        response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("");
    let streams = media_type
        .split(';')
        .next()
        .is_some_and(|name| name.trim().eq_ignore_ascii_case("text/event-stream"));
    if !status.is_success() {
        return Err(Box::new(described(provider, Cause::Status, response).await));
    }
    if !streams {
        return Err(Box::new(described(provider, Cause::Protocol, response).await));
    }
    let provider = provider.to_owned();
    let bytes = response.bytes_stream();
    Ok(bytes.map(move |chunk| chunk.map(Vec::from).map_err(|error| transport(&provider, &error))).boxed())
}

/// A failure with everything that the response says.
async fn described(provider: &str, cause: Cause, response: Response) -> Failure {
    let mut failure = Failure::new(provider, cause).with_status(response.status().as_u16());
    for (name, value) in response.headers() {
        failure = failure.with_header(name.as_str(), String::from_utf8_lossy(value.as_bytes()));
    }
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_BYTES_MAX {
            break;
        }
    }
    failure.with_body(String::from_utf8_lossy(&body).into_owned())
}

/// What the client says of a connection, without addresses, which may hold credentials.
fn transport(provider: &str, error: &reqwest::Error) -> Failure {
    let mut words = Vec::new();
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = source {
        words.push(cause.to_string());
        source = cause.source();
    }
    let text = words.join(": ");
    let lower = text.to_ascii_lowercase();
    let cause = if error.is_timeout() {
        Cause::Timeout(TimeoutPhase::Connect)
    } else if lower.contains("dns error") || lower.contains("failed to lookup address") {
        Cause::Dns
    } else if lower.contains("certificate") || lower.contains("handshake") || lower.contains("tls") {
        Cause::Tls
    } else if error.is_connect() {
        Cause::Connect
    } else if error.is_body() || error.is_decode() || lower.contains("reset") || lower.contains("closed") {
        Cause::Reset
    } else if error.is_builder() {
        Cause::Request
    } else {
        Cause::Other
    };
    Failure::new(provider, cause).with_message(text)
}
