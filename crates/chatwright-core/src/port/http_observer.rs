use std::fmt;

use crate::error::Failure;

/// Sees the raw HTTP of a model's calls: what exactly was sent, and what came back. A debug recorder stands on it.
///
/// It is set for one call, in [`Transport::observer`](crate::model::Transport::observer); whoever wants to see every call of
/// a model wraps the model.
///
/// | # | promise |
/// |---|---|
/// | H1 | It and its exchanges return at once: no I/O, no waiting, no lock that is held for long. |
/// | H2 | They do not panic. |
/// | H3 | What they keep, they keep without secrets: sensitive headers come as they are sent, and a server may send them back. |
///
/// A model in turn calls it once for each request before it is sent, and ends each exchange exactly once.
pub trait HttpObserver: Send + Sync + 'static {
    /// A request is about to be sent. The answer is told to what this returns.
    fn request(&self, request: &HttpRequest<'_>) -> Box<dyn HttpExchange>;
}

/// One request and its answer. The order is: at most one response, any number of pieces of its body, one end.
pub trait HttpExchange: Send + 'static {
    /// The status and the headers came.
    fn response(&mut self, response: &HttpResponse<'_>);

    /// A piece of the body came, cut anywhere.
    fn body(&mut self, bytes: &[u8]);

    /// Nothing more is told of this exchange.
    fn end(self: Box<Self>, end: HttpEnd<'_>);
}

/// A request as it is sent, but for what the HTTP client adds by itself.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The address. A host may have put a key into its query.
    pub url: &'a str,
    /// The headers.
    pub headers: &'a [HttpHeader],
    /// The body.
    pub body: &'a str,
}

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct HttpResponse<'a> {
    /// The status.
    pub status: u16,
    /// The headers, in their order.
    pub headers: &'a [HttpHeader],
}

/// A header.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpHeader {
    /// Its name, in lower case.
    pub name: Box<str>,
    /// Its value. What is no UTF-8 is replaced.
    pub value: Box<str>,
    /// Whether it was set as a secret: the key, and every header of the host's own.
    pub sensitive: bool,
}

impl fmt::Debug for HttpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value: &dyn fmt::Debug = if self.sensitive { &"…" } else { &self.value };
        write!(f, "{}: {value:?}", self.name)
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum HttpEnd<'a> {
    /// The body came to its end, or the answer in it did.
    Complete,
    /// The connection could not be made, or failed.
    Failed(&'a Failure),
    /// Nobody read on: the call was dropped, or a body that did not matter did not end.
    Abandoned,
}
