//! How a call travels: an observer of the raw exchange, a key, an address and headers of one call.

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::content::Part;
use chatwright_core::error::Cause;
use chatwright_core::model::{Headers, Message, ModelCall, ModelPart, Role};
use chatwright_core::port::{
    HttpEnd, HttpExchange, HttpHeader, HttpObserver, HttpRequest, HttpResponse, LanguageModel,
};
use chatwright_fake::{FakeServer, ReceivedRequest, Reply, Script, Step};
use chatwright_providers::{AnthropicMessages, Gemini, OpenAiChat, OpenAiResponses};
use futures::StreamExt;
use parking_lot::Mutex;

const BOUND: Duration = Duration::from_secs(20);

/// A model of each format at this address, with a key and a header of its own.
fn models(url: &str) -> [Box<dyn LanguageModel>; 4] {
    macro_rules! model {
        ($kind:ident) => {
            Box::new(
                $kind::builder("m")
                    .base_url(url)
                    .key("sk-own")
                    .header("x-own", "own")
                    .build()
                    .expect("valid"),
            )
        };
    }
    [model!(OpenAiChat), model!(OpenAiResponses), model!(AnthropicMessages), model!(Gemini)]
}

fn call() -> ModelCall {
    ModelCall::new(vec![Message::new(Role::User, vec![Part::text("Hello")])])
}

async fn parts(model: &dyn LanguageModel, call: ModelCall) -> Vec<ModelPart> {
    tokio::time::timeout(BOUND, model.stream(call).collect()).await.expect("the call ends")
}

async fn start(reply: Reply) -> FakeServer {
    FakeServer::start(Script::new(vec![reply])).await.expect("a free port")
}

/// Writes down what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<Note>>);

#[derive(Clone, Debug, PartialEq)]
enum Note {
    Request { method: String, url: String, headers: Vec<HttpHeader>, body: String },
    Response { status: u16, headers: Vec<HttpHeader> },
    Body(String),
    End(String),
}

struct Exchange(Arc<Notes>);

struct Observer(Arc<Notes>);

impl HttpObserver for Observer {
    fn request(&self, request: &HttpRequest<'_>) -> Box<dyn HttpExchange> {
        self.0.0.lock().push(Note::Request {
            method: request.method.to_owned(),
            url: request.url.to_owned(),
            headers: request.headers.to_vec(),
            body: request.body.to_owned(),
        });
        Box::new(Exchange(Arc::clone(&self.0)))
    }
}

impl HttpExchange for Exchange {
    fn response(&mut self, response: &HttpResponse<'_>) {
        let headers = response.headers.to_vec();
        self.0.0.lock().push(Note::Response { status: response.status, headers });
    }

    fn body(&mut self, bytes: &[u8]) {
        let mut notes = self.0.0.lock();
        let piece = String::from_utf8_lossy(bytes);
        match notes.last_mut() {
            Some(Note::Body(body)) => body.push_str(&piece),
            _ => notes.push(Note::Body(piece.into_owned())),
        }
    }

    fn end(self: Box<Self>, end: HttpEnd<'_>) {
        let end = match end {
            HttpEnd::Complete => "complete".to_owned(),
            HttpEnd::Failed(failure) => format!("{:?}", failure.cause),
            HttpEnd::Abandoned => "abandoned".to_owned(),
            other => format!("{other:?}"),
        };
        self.0.0.lock().push(Note::End(end));
    }
}

fn observed(notes: &Arc<Notes>) -> ModelCall {
    let mut call = call();
    call.transport.observer = Some(Arc::new(Observer(Arc::clone(notes))));
    call
}

fn header<'a>(headers: &'a [HttpHeader], name: &str) -> Option<(&'a str, bool)> {
    headers.iter().find(|header| *header.name == *name).map(|header| (&*header.value, header.sensitive))
}

#[tokio::test]
async fn an_observer_sees_what_was_sent_and_every_byte_that_came_back() {
    let server = start(Reply::text("Hi there").with_header("x-request-id", "r1")).await;
    for (at, model) in models(&server.base_url()).iter().enumerate() {
        let notes = Arc::new(Notes::default());
        let answer = parts(&**model, observed(&notes)).await;
        assert!(matches!(answer.last(), Some(ModelPart::Finish(_))), "{answer:?}");
        let received = server.requests().remove(at);
        let notes = notes.0.lock();
        let [
            Note::Request { method, url, headers, body },
            Note::Response { status, headers: came },
            Note::Body(text),
            Note::End(end),
        ] = &notes[..]
        else {
            panic!("a request, a response, a body, an end, not {notes:?}")
        };
        assert_eq!((method.as_str(), end.as_str(), *status), ("POST", "complete", 200));
        assert!(
            url.starts_with(&server.base_url()) && url.ends_with(&received.path),
            "{url} {}",
            received.path
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).ok(), Some(received.body));
        assert_eq!(header(headers, "content-type"), Some(("application/json", false)));
        assert_eq!(header(headers, "x-own"), Some(("own", true)));
        assert!(headers.iter().any(|header| header.sensitive && header.value.contains("sk-own")));
        assert!(!format!("{headers:?}").contains("sk-own"), "its debug output shows no key");
        assert_eq!(header(came, "x-request-id"), Some(("r1", false)));
        assert!(text.contains("there"), "{text}");
    }
}

#[tokio::test]
async fn an_observer_is_told_of_a_refusal_with_its_body() {
    let server = start(Reply::status(429, "{\"error\":{}}").with_header("retry-after", "7")).await;
    for model in models(&server.base_url()) {
        let notes = Arc::new(Notes::default());
        parts(&*model, observed(&notes)).await;
        let notes = notes.0.lock();
        let [_, Note::Response { status: 429, headers }, Note::Body(body), Note::End(end)] = &notes[..]
        else {
            panic!("a refusal, not {notes:?}")
        };
        assert_eq!((body.as_str(), end.as_str()), ("{\"error\":{}}", "complete"));
        assert_eq!(header(headers, "retry-after"), Some(("7", false)));
    }
}

#[tokio::test]
async fn an_observer_is_told_of_a_connection_that_fails_before_and_in_the_middle_of_an_answer() {
    let server = start(Reply::text("Hi there").cut_after(60)).await;
    for model in models(&server.base_url()) {
        let notes = Arc::new(Notes::default());
        parts(&*model, observed(&notes)).await;
        let notes = notes.0.lock();
        assert!(matches!(&notes[..], [_, _, Note::Body(_), Note::End(end)] if end == "Reset"), "{notes:?}");
    }
    let address = server.base_url();
    drop(server);
    for model in models(&address) {
        let notes = Arc::new(Notes::default());
        parts(&*model, observed(&notes)).await;
        let notes = notes.0.lock();
        assert!(matches!(&notes[..], [_, Note::End(end)] if end == "Connect" || end == "Reset"), "{notes:?}");
    }
}

#[tokio::test]
async fn an_observer_is_told_that_a_call_was_dropped() {
    let server = start(Reply::steps(vec![Step::Text("Hi".to_owned()), Step::Stall])).await;
    for model in models(&server.base_url()) {
        let notes = Arc::new(Notes::default());
        let mut stream = model.stream(observed(&notes));
        let begun = async { while !matches!(stream.next().await, Some(ModelPart::TextDelta { .. })) {} };
        tokio::time::timeout(BOUND, begun).await.expect("text comes");
        assert!(!notes.0.lock().iter().any(|note| matches!(note, Note::End(_))), "it goes on");
        drop(stream);
        assert_eq!(notes.0.lock().last(), Some(&Note::End("abandoned".to_owned())));
    }
    let notes = Arc::new(Notes::default());
    drop(models(&server.base_url())[0].stream(observed(&notes)));
    assert_eq!(*notes.0.lock(), [], "a call that is never polled is never sent");
}

fn sent<'a>(request: &'a ReceivedRequest, name: &str) -> Vec<&'a str> {
    request.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.as_str()).collect()
}

#[tokio::test]
async fn a_key_of_one_call_takes_the_place_of_the_models_own_and_comes_back_in_no_failure() {
    let echo = Reply::status(401, "{\"error\":{\"message\":\"no such key: sk-of-call, t0ken-of-call\"}}");
    let server = start(echo).await;
    for (at, model) in models(&server.base_url()).iter().enumerate() {
        let mut call = call();
        call.transport.key = Some("sk-of-call".into());
        call.transport.headers = Headers(vec![("x-of-call".into(), "t0ken-of-call".into())]);
        let answer = parts(&**model, call).await;
        let request = server.requests().remove(at);
        let keys: Vec<&str> = ["authorization", "x-api-key", "x-goog-api-key"]
            .iter()
            .flat_map(|name| sent(&request, name))
            .collect();
        assert!(matches!(keys[..], ["Bearer sk-of-call" | "sk-of-call"]), "{keys:?}");
        assert_eq!(
            (sent(&request, "x-own"), sent(&request, "x-of-call")),
            (vec!["own"], vec!["t0ken-of-call"])
        );
        let [ModelPart::Failure(failure)] = &answer[..] else { panic!("one failure, not {answer:?}") };
        let body = failure.body.as_deref().unwrap_or_default();
        assert!(body.contains("no such key") && !body.contains("of-call"), "{body}");
    }
}

#[tokio::test]
async fn an_address_of_one_call_gets_neither_the_key_nor_the_headers_of_the_model() {
    let (own, other) = (start(Reply::text("Hi")).await, start(Reply::text("Hi")).await);
    for (at, model) in models(&own.base_url()).iter().enumerate() {
        let mut elsewhere = call();
        elsewhere.transport.base_url = Some(other.base_url().into());
        parts(&**model, elsewhere.clone()).await;
        let request = other.requests().remove(2 * at);
        let secrets = ["authorization", "x-api-key", "x-goog-api-key", "x-own"];
        assert_eq!(
            secrets.map(|name| sent(&request, name)),
            [const { Vec::<&str>::new() }; 4],
            "{}",
            request.path
        );
        elsewhere.transport.key = Some("sk-theirs".into());
        parts(&**model, elsewhere).await;
        let request = other.requests().remove(2 * at + 1);
        assert!(request.headers.iter().any(|(_, value)| value.ends_with("sk-theirs")));

        // Another path of the same server is no stranger.
        let mut deeper = call();
        deeper.transport.base_url = Some(format!("{}/deeper", own.base_url()).into());
        parts(&**model, deeper).await;
        let request = own.requests().remove(at);
        assert!(request.path.contains("/deeper/"), "{}", request.path);
        assert_eq!(sent(&request, "x-own"), ["own"]);
    }
}

#[tokio::test]
async fn an_address_of_one_call_that_is_none_is_a_failure_without_what_stands_in_it() {
    for model in models("http://127.0.0.1:9") {
        let mut call = call();
        call.transport.base_url = Some("ftp://user:secret@host".into());
        let answer = parts(&*model, call).await;
        let [ModelPart::Failure(failure)] = &answer[..] else { panic!("one failure, not {answer:?}") };
        assert_eq!(failure.cause, Cause::Request);
        assert!(!format!("{failure:?}").contains("secret"), "{failure:?}");
    }
}
