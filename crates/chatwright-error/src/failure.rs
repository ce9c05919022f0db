use std::fmt;

/// Most bytes of a response body that a [`Failure`] keeps; the rest is dropped.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// A call to a language model that did not finish, as facts.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The provider's name as the host configured it, for example `"openai"` or `"my-gateway"`.
    pub provider: Box<str>,
    /// Which part of the system failed.
    pub layer: Layer,
    /// How it failed.
    pub cause: Cause,
    /// The HTTP status, if a response arrived.
    pub status: Option<u16>,
    /// All response headers in the order they came, names as received.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// The response body as text, at most [`BODY_BYTES_MAX`] bytes, cut on a character boundary.
    pub body: Option<Box<str>>,
    /// The `type` of an error that the provider sent inside a stream.
    pub error_type: Option<Box<str>>,
    /// The `code` of an error that the provider sent inside a stream.
    pub error_code: Option<Box<str>>,
    /// What the failing layer said in words. The last resort of classification.
    pub message: Option<Box<str>>,
}

/// Which part of the system failed. A failing database is never "the provider is unavailable".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layer {
    /// The provider or the way to it.
    Provider,
    /// The host's storage.
    Store,
    /// A local tool.
    Tool,
    /// The configuration: no key, no such model, a malformed setting.
    Config,
    /// The host itself: its hooks, its disk, anything of its own that has no layer above.
    Host,
}

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The response had a status that is not a success.
    Status,
    /// An error event or object arrived inside a successful response.
    InStream,
    /// The stream ended before the provider's terminal event.
    Truncated,
    /// A known event did not decode, or the response was not of the expected content type.
    Protocol,
    /// The host's name did not resolve.
    Dns,
    /// The connection was refused or could not be made.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The connection was reset or closed.
    Reset,
    /// An HTTP/2 stream error with its reason code (RFC 9113, section 7). A GOAWAY is [`Reset`](Self::Reset).
    Http2 {
        /// The error code.
        reason: u32,
        /// Whether the peer reset the stream; otherwise our own side did.
        remote: bool,
    },
    /// A wait of the attempt ran out: the transport's own or a guard's.
    Timeout(TimeoutPhase),
    /// A deadline for more than this attempt passed.
    Deadline(Party),
    /// The call was cancelled.
    Canceled(Party),
    /// The request could not be built: invalid arguments or configuration.
    Request,
    /// None of the others.
    Other,
}

/// Whose cancel or deadline ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Party {
    /// Whoever made the call: nobody waits for the answer any more.
    Caller,
    /// The provider or the transport, while the caller still waits.
    Provider,
    /// It could not be told.
    Unknown,
}

/// Which wait ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeoutPhase {
    /// Making the connection.
    Connect,
    /// From the request to the first content part.
    StartUp,
    /// Between two parts of the stream.
    Silence,
    /// The whole attempt.
    Total,
}

impl Failure {
    /// A failure of the provider's layer with nothing but its cause.
    pub fn new(provider: impl Into<Box<str>>, cause: Cause) -> Self {
        Self {
            provider: provider.into(),
            layer: Layer::Provider,
            cause,
            status: None,
            headers: Vec::new(),
            body: None,
            error_type: None,
            error_code: None,
            message: None,
        }
    }

    /// Sets the layer that failed.
    #[must_use]
    pub fn with_layer(mut self, layer: Layer) -> Self {
        self.layer = layer;
        self
    }

    /// Sets the HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds a response header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body, cut to [`BODY_BYTES_MAX`] bytes on a character boundary.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<String>) -> Self {
        let mut body = body.into();
        let end = (0..=BODY_BYTES_MAX.min(body.len())).rev().find(|&at| body.is_char_boundary(at));
        body.truncate(end.unwrap_or(0));
        self.body = Some(body.into());
        self
    }

    /// Sets the type and the code of an error inside the stream.
    #[must_use]
    pub fn with_error(mut self, error_type: Option<&str>, error_code: Option<&str>) -> Self {
        self.error_type = error_type.map(Into::into);
        self.error_code = error_code.map(Into::into);
        self
    }

    /// Sets what the failing layer said in words.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Box<str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Removes every occurrence of a secret that the caller knows, such as the key that the request was sent with.
    /// Providers echo keys in headers, bodies and messages.
    ///
    /// Secrets of fewer than 6 bytes are left alone: they would take words apart.
    #[must_use]
    pub fn without_secret(mut self, secret: &str) -> Self {
        let scrub = |text: &mut Box<str>| {
            if text.contains(secret) {
                *text = text.replace(secret, crate::redact::MARK).into();
            }
        };
        if secret.len() >= 6 {
            self.headers.iter_mut().for_each(|(_, value)| scrub(value));
            let texts = [&mut self.body, &mut self.error_type, &mut self.error_code, &mut self.message];
            texts.into_iter().flatten().for_each(scrub);
        }
        self
    }

    /// The first header of that name; case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &**v)
    }
}

/// The headers of a failure, by name without regard to case, values trimmed.
#[derive(Clone, Copy)]
pub(crate) struct Headers<'a>(pub(crate) &'a [(Box<str>, Box<str>)]);

impl<'a> Headers<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().map(|(name, value)| (name.trim(), value.trim()))
    }

    pub(crate) fn all(self, name: &str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.provider, self.cause)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        // The type and the code are short identifiers; anything longer could be a provider echoing a secret.
        for word in [&self.error_type, &self.error_code].into_iter().flatten() {
            if word.len() <= 64 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                write!(f, " {word}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "error status",
            Self::InStream => "error inside the stream",
            Self::Truncated => "the stream ended before its terminal event",
            Self::Protocol => "the response could not be decoded",
            Self::Dns => "the host name did not resolve",
            Self::Connect => "could not connect",
            Self::Tls => "the TLS handshake failed",
            Self::Reset => "the connection was reset",
            Self::Http2 { reason, .. } => return write!(f, "HTTP/2 error {reason}"),
            Self::Timeout(TimeoutPhase::Connect) => "timed out while connecting",
            Self::Timeout(TimeoutPhase::StartUp) => "no content within the start-up time",
            Self::Timeout(TimeoutPhase::Silence) => "the stream fell silent",
            Self::Timeout(TimeoutPhase::Total) => "the attempt took too long",
            Self::Deadline(_) => "the deadline passed",
            Self::Canceled(_) => "canceled",
            Self::Request => "the request could not be built",
            Self::Other => "failed",
        })
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("provider", &self.provider)
            .field("layer", &self.layer)
            .field("cause", &self.cause)
            .field("status", &self.status)
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("body_bytes", &self.body.as_ref().map(|body| body.len()))
            .field("message_bytes", &self.message.as_ref().map(|message| message.len()))
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_in_a_header_body_or_code_is_ever_printed() {
        let secret = "sk-verysecret0123456789";
        let failure = Failure::new("openai", Cause::Status)
            .with_header("Set-Cookie", secret)
            .with_body(secret)
            .with_error(Some(secret), Some(secret))
            .with_message(secret);
        assert!(!format!("{failure:?} {failure:#?} {failure}").contains("verysecret"));
    }

    #[test]
    fn a_long_body_is_cut_on_a_character_boundary() {
        let failure = Failure::new("p", Cause::Status).with_body("é".repeat(BODY_BYTES_MAX));
        assert_eq!(failure.body.as_deref().map(str::len), Some(BODY_BYTES_MAX));
        let failure = Failure::new("p", Cause::Status).with_body(format!("x{}", "é".repeat(BODY_BYTES_MAX)));
        assert_eq!(failure.body.as_deref().map(str::len), Some(BODY_BYTES_MAX - 1));
    }
}
