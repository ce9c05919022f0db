//! Every fault of the zoo, through every adapter, over real HTTP.

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::accumulator::Accumulator;
use chatwright_core::content::Part;
use chatwright_core::error::Failure;
use chatwright_core::model::{Message, ModelCall, ModelPart, Role};
use chatwright_core::port::{LanguageModel, ModelStream};
use chatwright_fake::zoo::{Fault, Outcome, REQUEST_ID};
use chatwright_fake::{FakeCall, FakeServer, Reply, Script, Step};
use chatwright_providers::{AnthropicMessages, Gemini, OpenAiChat, OpenAiResponses};
use futures::{FutureExt, StreamExt};

const BOUND: Duration = Duration::from_secs(30);
const KEY: &str = "sk-zoo-0123456789abcdef";
const QUESTION: &str = "What time is it?";

/// A model of a key at a base address, with a client of the host's own where there is one.
type Make = fn(String, Option<reqwest::Client>) -> Arc<dyn LanguageModel>;

macro_rules! make {
    ($model:ty) => {
        |url, client| {
            let builder = <$model>::builder("fake").base_url(url).key(KEY);
            let builder = match client {
                Some(client) => builder.client(client),
                None => builder,
            };
            Arc::new(builder.build().expect("a valid address"))
        }
    };
}

/// A client that speaks HTTP/2 from the first byte.
#[cfg(feature = "ring")]
fn http2() -> Option<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let builder = reqwest::Client::builder().tls_backend_preconfigured(config).retry(reqwest::retry::never());
    Some(builder.http2_prior_knowledge().build().expect("a client"))
}

fn call() -> ModelCall {
    ModelCall::new(vec![Message::new(Role::User, vec![Part::text(QUESTION)])])
}

async fn serve(reply: Reply) -> FakeServer {
    FakeServer::start(Script::new(vec![reply])).await.expect("a free port")
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, holds).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn all(stream: ModelStream, what: &str) -> Vec<ModelPart> {
    tokio::time::timeout(BOUND, stream.collect()).await.unwrap_or_else(|_| panic!("{what} ends"))
}

/// What a script says and calls, as readers and runners must get it.
#[derive(Debug, Default, PartialEq)]
struct Said {
    text: String,
    calls: Vec<FakeCall>,
}

impl Said {
    fn by(reply: &Reply) -> Self {
        let mut said = Self::default();
        for step in &reply.steps {
            match step {
                Step::Text(text) | Step::Cited { text, .. } => said.text += text,
                Step::Calls(calls) => said.calls.extend(calls.iter().map(whole)),
                Step::Call { .. } => panic!("the zoo calls side by side: {step:?}"),
                _ => {}
            }
        }
        said
    }

    fn in_parts(parts: &[ModelPart]) -> Self {
        let mut said = Self::default();
        for part in parts {
            match part {
                ModelPart::TextDelta { delta, .. } => said.text += delta,
                ModelPart::ToolCall { id, name, input, provider_executed: false, .. } => {
                    said.calls.push(whole(&FakeCall {
                        id: id.to_string(),
                        name: name.to_string(),
                        arguments: vec![input.clone()],
                    }));
                }
                _ => {}
            }
        }
        said
    }
}

fn whole(call: &FakeCall) -> FakeCall {
    FakeCall { arguments: vec![call.arguments.concat()], ..call.clone() }
}

async fn assert_outcome(fault: Fault, make: Make, client: Option<reqwest::Client>) {
    let reply = fault.reply();
    let server = serve(reply.clone()).await;
    let stream = make(server.base_url(), client).stream(call());
    match fault.outcome() {
        Outcome::Answer(reason) => {
            let parts = all(stream, fault.name()).await;
            let Some(ModelPart::Finish(finish)) = parts.last() else {
                panic!("{fault}: not {:?}", parts.last())
            };
            assert_eq!(finish.reason, reason, "{fault}");
            assert_in_order(fault, &parts);
            assert!(Said::in_parts(&parts) == Said::by(&reply), "{fault}: {parts:?}");
        }
        Outcome::Failure(cause) => {
            let parts = all(stream, fault.name()).await;
            let Some(ModelPart::Failure(failure)) = parts.last() else {
                panic!("{fault}: not {:?}", parts.last())
            };
            assert_eq!(failure.cause, cause, "{fault}: {:?}", failure.message);
            assert_in_order(fault, &parts);
            assert_tells_the_response(fault, &reply, failure);
            assert_no_key(fault, failure);
            let streams = reply.body.is_none() && fault != Fault::WrongContentType;
            let text = if streams { Said::by(&reply).text } else { String::new() };
            assert_eq!(Said::in_parts(&parts), Said { text, calls: Vec::new() }, "{fault}");
        }
        Outcome::Silence => assert_silent(fault, &reply, &server, stream).await,
    }
    until(&format!("{fault}: the request is over"), || server.open_streams() == 0).await;
    assert_eq!(server.requests().len(), 1, "{fault}: asked once");
    assert_eq!(server.connections(), 1, "{fault}: connected once");
}

/// Exactly one terminal part, last; calls only right before it.
fn assert_in_order(fault: Fault, parts: &[ModelPart]) {
    let terminal: Vec<usize> =
        (0..).zip(parts).filter(|(_, part)| part.is_terminal()).map(|(at, _)| at).collect();
    assert_eq!(terminal, [parts.len() - 1], "{fault}: one terminal part, last");
    let is_call = |part: &ModelPart| matches!(part, ModelPart::ToolCall { provider_executed: false, .. });
    let of_calls = |part: &ModelPart| {
        let of_input = matches!(
            part,
            ModelPart::ToolInputStart { .. }
                | ModelPart::ToolInputDelta { .. }
                | ModelPart::ToolInputEnd { .. }
        );
        of_input || is_call(part) || part.is_terminal()
    };
    let first = parts.iter().position(is_call).unwrap_or(parts.len());
    assert!(parts[first..].iter().all(of_calls), "{fault}: calls come with the terminal event: {parts:?}");
}

fn assert_tells_the_response(fault: Fault, reply: &Reply, failure: &Failure) {
    assert_eq!(failure.status, Some(reply.status), "{fault}");
    assert_eq!(failure.header(REQUEST_ID.0), Some(REQUEST_ID.1), "{fault}");
    if reply.body.is_some() {
        assert!(failure.body.as_ref().is_some_and(|body| !body.is_empty()), "{fault} keeps its body");
    }
    if fault == Fault::EchoedTooManyRequests {
        // The echo came: only the key is out of it.
        assert!(failure.body.as_ref().is_some_and(|body| body.contains(QUESTION)), "{:?}", failure.body);
        assert_eq!(
            (failure.header("retry-after"), failure.header("x-caller")),
            (Some("7"), Some("[REDACTED]"))
        );
    }
}

fn assert_no_key(fault: Fault, failure: &Failure) {
    let texts = [&failure.body, &failure.message, &failure.error_type, &failure.error_code];
    let mut told: Vec<String> = texts.into_iter().flatten().map(ToString::to_string).collect();
    told.extend(failure.headers.iter().map(|(_, value)| value.to_string()));
    told.extend([format!("{failure:?}"), format!("{failure:#?}"), failure.to_string()]);
    assert!(told.iter().all(|text| !text.contains(KEY)), "{fault} tells the key: {told:?}");
}

/// What comes is handed on, nothing ends, and going away ends the request.
async fn assert_silent(fault: Fault, reply: &Reply, server: &FakeServer, mut stream: ModelStream) {
    let (said, pings) = (Said::by(reply), reply.steps.iter().filter(|step| **step == Step::Ping).count());
    let comes = reply.delay.is_zero();
    let mut parts = Vec::new();
    let is_all = |parts: &[ModelPart]| {
        let alive = parts.iter().filter(|part| **part == ModelPart::KeepAlive).count();
        comes && alive >= pings && Said::in_parts(parts) == said
    };
    let read = async {
        while !is_all(&parts) {
            let part = stream.next().await.unwrap_or_else(|| panic!("{fault}: it ended after {parts:?}"));
            assert!(!part.is_terminal(), "{fault}: {part:?}");
            parts.push(part);
        }
    };
    tokio::select! {
        read = tokio::time::timeout(BOUND, read) => read.unwrap_or_else(|_| panic!("{fault}: not all came")),
        () = until("the server is asked", || server.open_streams() == 1), if !comes => {}
    }
    assert_eq!(stream.next().now_or_never(), None, "{fault}: it is silent");
    assert_eq!((server.open_streams(), server.requests().len()), (1, 1), "{fault}: the request is open");
    drop(stream);
}

/// The same without its end: then nothing that was called is complete.
async fn assert_no_call_before_the_end(fault: Fault, make: Make) {
    let mut reply = fault.reply();
    reply.steps.retain(|step| !matches!(step, Step::Finish(_)));
    let server = serve(reply.clone()).await;
    let parts = all(make(server.base_url(), None).stream(call()), fault.name()).await;
    let begun = parts.iter().any(|part| matches!(part, ModelPart::ToolInputStart { .. }));
    assert!(begun, "{fault}: the calls were seen: {parts:?}");
    assert_eq!(Said::in_parts(&parts), Said { text: Said::by(&reply).text, calls: Vec::new() }, "{fault}");
    assert!(matches!(parts.last(), Some(ModelPart::Failure(_))), "{fault}: {:?}", parts.last());
}

async fn folded(fault: Fault, make: Make) -> Vec<Part> {
    let server = serve(fault.reply()).await;
    let mut answer = Accumulator::new();
    for part in all(make(server.base_url(), None).stream(call()), fault.name()).await {
        drop(answer.push(part));
    }
    answer.content()
}

macro_rules! faults {
    ($($format:ident: $model:ty;)*) => {$(
        mod $format {
            use super::*;

            const MAKE: Make = make!($model);

            #[tokio::test]
            async fn every_fault_has_its_outcome() {
                for &fault in Fault::ALL {
                    assert_outcome(fault, MAKE, None).await;
                }
            }

            #[cfg(feature = "ring")]
            #[tokio::test]
            async fn every_fault_has_its_outcome_over_http_2() {
                for &fault in Fault::ALL {
                    assert_outcome(fault, MAKE, http2()).await;
                }
            }

            #[tokio::test]
            async fn no_call_is_complete_before_the_terminal_event() {
                for fault in [Fault::ParallelTools, Fault::DuplicateIds, Fault::CutArguments] {
                    assert_no_call_before_the_end(fault, MAKE).await;
                }
            }
        }
    )*};
}

faults! {
    openai_chat: OpenAiChat;
    openai_responses: OpenAiResponses;
    anthropic_messages: AnthropicMessages;
    google_gemini: Gemini;
}

/// The formats that have thoughts to be sent back, and tools that the provider runs.
const RICH: [Make; 3] = [make!(OpenAiResponses), make!(AnthropicMessages), make!(Gemini)];

#[tokio::test]
async fn thoughts_are_kept_and_those_that_only_the_provider_reads_too() {
    for make in RICH.into_iter().chain([make!(OpenAiChat) as Make]) {
        let content = folded(Fault::Thinking, make).await;
        let Some(Part::Reasoning { text, .. }) = content.first() else { panic!("no thought in {content:?}") };
        assert_eq!(text, "Which city is meant?");
    }
    for make in RICH {
        let content = folded(Fault::RedactedThinking, make).await;
        let Some(Part::Reasoning { text, metadata }) = content.first() else {
            panic!("no thought in {content:?}")
        };
        let kept = metadata.values().any(|value| value.to_string().contains("c2VjcmV0IHRob3VnaHQ="));
        assert!(text.is_empty() && kept, "{content:?}");
    }
}

#[tokio::test]
async fn what_a_search_found_is_kept_once_and_its_call_with_the_result_where_the_format_has_them() {
    for (make, has_calls) in RICH.into_iter().zip([true, true, false]) {
        let content = folded(Fault::WebSearchAndCitations, make).await;
        let pages: Vec<&str> = content
            .iter()
            .filter_map(|part| match part {
                Part::Source { url, .. } => url.as_deref(),
                _ => None,
            })
            .collect();
        assert_eq!(pages, ["https://time.example/zurich"], "{content:?}");
        let kinds: Vec<&str> = content
            .iter()
            .filter_map(|part| match part {
                Part::ToolCall { provider_executed: true, name, .. } if **name == *"web_search" => {
                    Some("call")
                }
                Part::ToolResult { provider_executed: true, .. } => Some("result"),
                Part::Text { metadata, .. } if !metadata.is_empty() => Some("cited text"),
                _ => None,
            })
            .collect();
        let expected: &[&str] = if has_calls { &["call", "result", "cited text"] } else { &[] };
        assert_eq!(kinds, expected, "{content:?}");
    }
}

#[tokio::test]
async fn content_of_an_unknown_type_is_kept() {
    for make in RICH {
        let content = folded(Fault::UnknownBlock, make).await;
        let kept =
            |part: &Part| matches!(part, Part::Unknown(value) if value.to_string().contains("hologram"));
        assert_eq!(content.iter().filter(|part| kept(part)).count(), 1, "{content:?}");
    }
}

#[cfg(feature = "ring")]
#[tokio::test]
async fn resets_refusals_and_goodbyes_of_http_2_are_told_apart() {
    use chatwright_core::error::Cause;
    use chatwright_fake::Ending;

    let said = Reply::steps(vec![Step::Text("Hi".to_owned())]);
    for (ending, cause) in [
        (Ending::Reset(0), Cause::Truncated),
        (Ending::Reset(2), Cause::Http2 { reason: 2, remote: true }),
        (Ending::Refused, Cause::Http2 { reason: 7, remote: true }),
        (Ending::GoAway(0), Cause::Reset),
        (Ending::GoAway(11), Cause::Reset),
        (Ending::Abort, Cause::Reset),
        (Ending::Close, Cause::Truncated),
    ] {
        let server = serve(said.clone().ending(ending)).await;
        let model = make!(OpenAiChat) as Make;
        let parts = all(model(server.base_url(), http2()).stream(call()), "the call").await;
        let Some(ModelPart::Failure(failure)) = parts.last() else { panic!("{ending:?}: {parts:?}") };
        assert_eq!(failure.cause, cause, "{ending:?}: {:?}", failure.message);
        let text = if ending == Ending::Refused { "" } else { "Hi" };
        assert_eq!(Said::in_parts(&parts).text, text, "{ending:?}");
    }
}

#[cfg(feature = "ring")]
#[tokio::test]
async fn http_2_has_many_requests_on_one_connection() {
    let stalls = Reply::steps(vec![Step::Text("Hi".to_owned()), Step::Stall]);
    let server = serve(stalls).await;
    let model = (make!(OpenAiChat) as Make)(server.base_url(), http2());
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = model.stream(call());
        while !matches!(stream.next().await, Some(ModelPart::TextDelta { .. })) {}
        streams.push(stream);
    }
    assert_eq!((server.connections(), server.open_streams(), server.requests().len()), (1, 3, 3));
    streams.pop();
    until("one request is over", || server.open_streams() == 2).await;
    drop(streams);
    until("all requests are over", || server.open_streams() == 0).await;
}
