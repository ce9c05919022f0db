//! Observers of raw HTTP that are broken in one place.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_conformance::http_observer::{self, HttpObserverRig};
use chatwright_core::port::{HttpEnd, HttpExchange, HttpHeader, HttpObserver, HttpRequest, HttpResponse};
use parking_lot::Mutex;

use crate::caught::{Mutant, all_are_caught_at_once};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    WaitsAtEachRequest,
    WaitsAtEachPiece,
    WantsText,
    WantsAnEnd,
    WantsAnAnswer,
    KeepsRequestHeaders,
    KeepsResponseHeaders,
    KeepsBodies,
    CleansEachPiece,
    KeepsWhatWasAbandoned,
}

/// Keeps what it is told, cleaned of what was marked.
#[derive(Clone)]
struct Notebook {
    kept: Arc<Mutex<String>>,
    broken: Broken,
}

struct Page {
    book: Notebook,
    secrets: Vec<Box<str>>,
    answered: bool,
    ended: bool,
    body: Vec<u8>,
}

fn wait(time: Duration) {
    let (_sender, receiver) = std::sync::mpsc::channel::<()>();
    let _ = receiver.recv_timeout(time);
}

impl Page {
    fn cleaned(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(&**secret, "…"))
    }

    fn keep(&self, text: &str) {
        let mut kept = self.book.kept.lock();
        kept.push_str(text);
        // A bound, so that long tests stay short.
        if kept.len() > 1 << 20 {
            kept.clear();
        }
    }

    fn keep_headers(&self, headers: &[HttpHeader], raw: bool) {
        for header in headers {
            let value = if raw { header.value.to_string() } else { self.cleaned(&header.value) };
            self.keep(&format!("{}: {value}\n", header.name));
        }
    }
}

impl HttpObserver for Notebook {
    fn request(&self, request: &HttpRequest<'_>) -> Box<dyn HttpExchange> {
        if self.broken == Broken::WaitsAtEachRequest {
            wait(Duration::from_millis(10));
        }
        let secrets = request.headers.iter().filter(|header| header.sensitive);
        let secrets = secrets.map(|header| header.value.clone()).collect();
        let (answered, ended) = (false, false);
        let page = Page { book: self.clone(), secrets, answered, ended, body: Vec::new() };
        page.keep_headers(request.headers, self.broken == Broken::KeepsRequestHeaders);
        Box::new(page)
    }
}

impl HttpExchange for Page {
    fn response(&mut self, response: &HttpResponse<'_>) {
        self.answered = true;
        self.keep_headers(response.headers, self.book.broken == Broken::KeepsResponseHeaders);
    }

    fn body(&mut self, bytes: &[u8]) {
        match self.book.broken {
            Broken::WaitsAtEachPiece => wait(Duration::from_millis(5)),
            Broken::WantsText => assert!(std::str::from_utf8(bytes).is_ok()),
            Broken::CleansEachPiece => {
                let piece = self.cleaned(&String::from_utf8_lossy(bytes));
                self.body.extend_from_slice(piece.as_bytes());
            }
            _ => self.body.extend_from_slice(bytes),
        }
    }

    fn end(mut self: Box<Self>, end: HttpEnd<'_>) {
        self.ended = true;
        assert!(self.book.broken != Broken::WantsAnAnswer || self.answered);
        let body = String::from_utf8_lossy(&self.body).into_owned();
        let raw = match self.book.broken {
            Broken::KeepsBodies | Broken::CleansEachPiece => true,
            Broken::KeepsWhatWasAbandoned => matches!(end, HttpEnd::Abandoned),
            _ => false,
        };
        self.keep(&if raw { body } else { self.cleaned(&body) });
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if self.book.broken == Broken::WantsAnEnd && !std::thread::panicking() {
            assert!(self.ended);
        }
    }
}

#[async_trait]
impl HttpObserverRig for Notebook {
    fn observer(&self) -> Arc<dyn HttpObserver> {
        Arc::new(self.clone())
    }

    async fn kept(&self) -> String {
        self.kept.lock().clone()
    }
}

fn notebook(broken: Broken) -> Mutant<dyn HttpObserverRig> {
    Box::new(move || Arc::new(Notebook { kept: Arc::default(), broken }))
}

#[test]
fn every_broken_observer_of_http_is_caught_by_the_clause_that_it_breaks() {
    const H1: &str = "h1_it_and_its_exchanges_return_at_once_on_every_thread";
    const H2: &str = "h2_they_take_every_exchange_without_a_panic";
    const H3: &str = "h3_a_sensitive_header_is_kept_nowhere";
    let mutants = vec![
        (H1, "waits at each request", notebook(Broken::WaitsAtEachRequest)),
        (H1, "waits at each piece of a body", notebook(Broken::WaitsAtEachPiece)),
        (H2, "wants pieces to be text", notebook(Broken::WantsText)),
        (H2, "wants every exchange to end", notebook(Broken::WantsAnEnd)),
        (H2, "wants an answer before the end", notebook(Broken::WantsAnAnswer)),
        (H3, "keeps the headers that were sent", notebook(Broken::KeepsRequestHeaders)),
        (H3, "keeps the headers that came", notebook(Broken::KeepsResponseHeaders)),
        (H3, "keeps bodies as they came", notebook(Broken::KeepsBodies)),
        (H3, "cleans each piece of a body by itself", notebook(Broken::CleansEachPiece)),
        (H3, "cleans what ended only", notebook(Broken::KeepsWhatWasAbandoned)),
    ];
    all_are_caught_at_once(http_observer::CLAUSES, mutants);
}

mod sound {
    chatwright_conformance::http_observer!(super::Notebook {
        kept: Default::default(),
        broken: super::Broken::Nothing
    });
}
