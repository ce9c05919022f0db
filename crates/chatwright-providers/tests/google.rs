//! Gemini over real HTTP, and what goes wrong between Google and us.

use std::time::Duration;

use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{FinishReason, Headers, Message, ModelCall, ModelPart, Role, Usage};
use chatwright_core::port::LanguageModel;
use chatwright_fake::{FakeServer, Reply, Script, Step};
use chatwright_providers::{Gemini, InvalidModel, OpenAiChat};
use futures::StreamExt;
use serde_json::json;

const BOUND: Duration = Duration::from_secs(20);

const HI: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Hi é😀"}],"role":"model"},"index":0}]}"#;
const END: &str = r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}"#;

fn call() -> ModelCall {
    ModelCall::new(vec![Message::new(Role::User, vec![Part::text("Hello")])])
}

async fn start(reply: Reply) -> (FakeServer, Gemini) {
    let server = FakeServer::start(Script::new(vec![reply])).await.expect("a free port");
    let model = Gemini::builder("fake").base_url(server.base_url()).key("AIza-test-key").build();
    (server, model.expect("a valid address"))
}

async fn fold(model: &dyn LanguageModel, call: ModelCall) -> Accumulator {
    let parts: Vec<ModelPart> =
        tokio::time::timeout(BOUND, model.stream(call).collect()).await.expect("the call ends");
    let mut answer = Accumulator::new();
    parts.into_iter().for_each(|part| drop(answer.push(part)));
    answer
}

async fn answer(reply: Reply) -> Accumulator {
    let (_server, model) = start(reply).await;
    fold(&model, call()).await
}

fn failure(answer: &Accumulator) -> &Failure {
    match answer.end() {
        Some(End::Failure(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

fn usage() -> Usage {
    Usage { input: Some(7), output: Some(9), reasoning: Some(4), cache_read: Some(3), cache_write: None }
}

fn two_calls() -> Reply {
    let call = |id: &str, arguments: &[&str]| Step::Call {
        id: id.to_owned(),
        name: "look".to_owned(),
        arguments: arguments.iter().map(|&piece| piece.to_owned()).collect(),
    };
    Reply::steps(vec![
        Step::Reasoning("Hm. ".to_owned()),
        Step::Reasoning("Two.".to_owned()),
        Step::Ping,
        Step::Text("Let me ".to_owned()),
        Step::Text("see é😀.".to_owned()),
        call("a", &["{\"at\":", "1}"]),
        call("", &["{}"]),
        Step::Usage(usage()),
        Step::Finish(FinishReason::ToolCalls),
    ])
}

#[tokio::test]
async fn thoughts_text_parallel_calls_and_usage_arrive_whole_however_the_bytes_are_cut() {
    for bytes in [0, 1, 3, 7] {
        let answer = answer(two_calls().in_pieces_of(bytes)).await;
        let call = |id: &str, input: &str, metadata| Part::ToolCall {
            id: id.into(),
            name: "look".into(),
            input: input.to_owned(),
            provider_executed: false,
            metadata,
        };
        let signed = Metadata::from([("google".into(), json!({"id": "a", "thoughtSignature": "c2lnbmVk"}))]);
        let expected = [
            Part::Reasoning { text: "Hm. Two.".to_owned(), metadata: Metadata::new() },
            Part::text("Let me see é😀."),
            call("a", "{\"at\":1}", signed),
            call("call_1", "{}", Metadata::new()),
        ];
        assert_eq!(answer.content(), expected, "in pieces of {bytes}");
        assert_eq!(answer.finish_reason(), Some(FinishReason::ToolCalls));
        assert_eq!(answer.usage(), usage());
    }
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_is_truncated_and_no_call_of_it_is_complete() {
    // Between events, inside one, in a call: the last event begins behind all of these.
    for cut in (0..900).step_by(53) {
        let answer = answer(two_calls().cut_after(cut)).await;
        let failure = failure(&answer);
        assert!(matches!(failure.cause, Cause::Truncated | Cause::Reset), "cut after {cut}: {failure:?}");
        assert!(
            answer.content().iter().all(|part| !matches!(part, Part::ToolCall { .. })),
            "cut after {cut}"
        );
    }
}

#[tokio::test]
async fn a_clean_end_without_the_terminal_event_is_truncated_and_a_broken_one_a_reset() {
    let said = Reply::steps(vec![Step::Text("Hi".to_owned())]).with_header("x-request-id", "r1");
    for (reply, cause) in [
        (said.clone(), Cause::Truncated),
        (said.clone().until_close(), Cause::Truncated),
        (said.clone().until_close().cut_after(90), Cause::Truncated),
        (said.clone().cut_after(90), Cause::Reset),
        (said.clone().cut_after(0), Cause::Reset),
        (said.until_close().cut_after(0), Cause::Truncated),
    ] {
        let answer = answer(reply.clone()).await;
        let failure = failure(&answer);
        assert_eq!(failure.cause, cause, "{reply:?}");
        assert_eq!((failure.status, failure.header("x-request-id")), (Some(200), Some("r1")), "{reply:?}");
    }
}

#[tokio::test]
async fn an_answer_whose_last_event_came_is_whole_although_the_connection_breaks() {
    let body = format!("data: {HI}\n\ndata: {END}\n\n");
    let reply = Reply::steps(vec![Step::Bytes(body.clone().into_bytes()), Step::Bytes(b": more".to_vec())]);
    let answer = answer(reply.cut_after(body.len() + 1)).await;
    assert_eq!(answer.content(), [Part::text("Hi é😀")]);
    assert_eq!(answer.finish_reason(), Some(FinishReason::Stop));
}

#[tokio::test]
async fn every_line_end_a_bom_and_a_missing_last_blank_line_are_understood() {
    let whole = |end: &str| [HI, END].map(|data| format!("data: {data}{end}{end}")).concat();
    for body in [
        whole("\n"),
        whole("\r\n"),
        whole("\r"),
        format!("\u{feff}{}", whole("\r\n")),
        whole("\n").trim_end().to_owned(),
        format!("{}data: [DONE]\n\n", whole("\n")),
    ] {
        for size in [0, 1, 2] {
            let answer =
                answer(Reply::steps(vec![Step::Bytes(body.clone().into())]).in_pieces_of(size)).await;
            assert_eq!(answer.content(), [Part::text("Hi é😀")], "{body:?} in pieces of {size}");
            assert_eq!(answer.finish_reason(), Some(FinishReason::Stop), "{body:?} in pieces of {size}");
            let expected = Usage { input: Some(3), output: Some(2), ..Usage::default() };
            assert_eq!(answer.usage(), expected);
        }
    }
}

#[tokio::test]
async fn a_refusal_says_status_headers_and_body_and_prints_no_key() {
    let body = r#"{"error":{"code":429,"message":"slow, AIza-test-key","status":"RESOURCE_EXHAUSTED"}}"#;
    let reply = Reply::status(429, body).with_header("retry-after", "7");
    let (server, model) = start(reply).await;
    let answer = fold(&model, call()).await;
    let failure = failure(&answer);
    assert_eq!((failure.cause, failure.status), (Cause::Status, Some(429)));
    assert_eq!(failure.header("Retry-After"), Some("7"));
    assert_eq!(failure.body.as_deref(), Some(&*body.replace("AIza-test-key", "[REDACTED]")));
    assert!(!format!("{failure} {failure:?} {model:?}").contains("AIza-test-key"));
    assert_eq!(server.requests().len(), 1, "no hidden retries");
    let received = server.requests().remove(0);
    assert_eq!(received.path, "/v1/models/fake:streamGenerateContent?alt=sse");
    assert!(received.headers.contains(&("x-goog-api-key".to_owned(), "AIza-test-key".to_owned())));
    assert!(received.headers.iter().all(|(name, _)| name != "authorization"));
}

#[tokio::test]
async fn pages_of_html_garbage_and_errors_in_the_stream_are_told_apart() {
    let html = answer(Reply::html()).await;
    assert_eq!((failure(&html).cause, failure(&html).status), (Cause::Protocol, Some(200)));
    let gateway = Reply::status(502, "<html>Bad gateway</html>").with_header("content-type", "text/html");
    let gateway = answer(gateway).await;
    assert_eq!((failure(&gateway).cause, failure(&gateway).status), (Cause::Status, Some(502)));

    let garbage =
        answer(Reply::steps(vec![Step::Text("Hi".to_owned()), Step::Raw("{\"candidates\":[{".to_owned())]))
            .await;
    assert_eq!((failure(&garbage).cause, garbage.content()), (Cause::Protocol, vec![Part::text("Hi")]));

    let error =
        Step::Error { kind: "UNAVAILABLE".into(), code: "503".into(), message: "busy AIza-test-key".into() };
    for (steps, content) in [
        (vec![error.clone()], vec![]),
        (vec![Step::Text("Hi".to_owned()), error, Step::Text("more".to_owned())], vec![Part::text("Hi")]),
    ] {
        let answer = answer(Reply::steps(steps).with_header("retry-after", "7")).await;
        let failure = failure(&answer);
        assert_eq!(failure.cause, Cause::InStream);
        assert_eq!(
            (failure.error_type.as_deref(), failure.error_code.as_deref()),
            (Some("UNAVAILABLE"), Some("503"))
        );
        assert_eq!((failure.status, failure.header("retry-after")), (Some(200), Some("7")));
        assert_eq!(failure.message.as_deref(), Some("busy [REDACTED]"));
        assert_eq!(answer.content(), content, "nothing after the terminal event");
    }
}

#[tokio::test]
async fn a_stalled_stream_shows_life_and_is_dropped() {
    let steps =
        vec![Step::Ping, Step::Text("Hi".to_owned()), Step::Raw("{\"novel\":1}".to_owned()), Step::Stall];
    let (server, model) = start(Reply::steps(steps)).await;
    let mut stream = model.stream(call());
    let mut parts = Vec::new();
    while parts.len() < 4 {
        let part = tokio::time::timeout(BOUND, stream.next()).await.expect("it goes on");
        parts.push(part.expect("it does not end"));
    }
    let expected = [
        ModelPart::KeepAlive,
        ModelPart::TextStart { id: "0".into() },
        ModelPart::TextDelta { id: "0".into(), delta: "Hi".to_owned() },
        ModelPart::KeepAlive,
    ];
    assert_eq!(parts, expected, "a comment, text, an unknown event");
    assert_eq!(server.open_streams(), 1);
    drop(stream);
    let gone = async {
        while server.open_streams() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, gone).await.expect("the server sees the end");
}

#[tokio::test]
async fn headers_reach_the_server_and_a_collection_of_the_host_s_choice_is_asked() {
    let server = FakeServer::start(Script::new(vec![Reply::text("Hi")])).await.expect("a free port");
    let model = Gemini::builder("tunedModels/mine")
        .base_url(format!("{}/?tenant=t1", server.base_url()))
        .header("x-goog-user-project", "p1")
        .build()
        .expect("valid");
    let mut call = call();
    call.transport.headers = Headers(vec![("x-trace".into(), "t1".into())]);
    let answer = fold(&model, call.clone()).await;
    assert_eq!(answer.finish_reason(), Some(FinishReason::Stop));
    let received = server.requests().remove(0);
    assert_eq!(received.path, "/v1/tunedModels/mine:streamGenerateContent?tenant=t1&alt=sse");
    for (name, value) in [("x-goog-user-project", "p1"), ("x-trace", "t1")] {
        assert!(received.headers.contains(&(name.to_owned(), value.to_owned())), "{name}");
    }
    call.transport.headers = Headers(vec![("x-bad".into(), "a\nb".into())]);
    let parts: Vec<ModelPart> = model.stream(call).collect().await;
    assert!(matches!(&parts[..], [ModelPart::Failure(failure)] if failure.cause == Cause::Request));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn models_of_one_key_share_an_account_that_tells_nothing_of_it() {
    let account = |model: &str, key: &str| {
        Gemini::builder(model).key(key).build().expect("valid").account().to_string()
    };
    assert_eq!(account("a", "AIza-one"), account("b", "AIza-one"), "although the address names the model");
    assert_ne!(account("a", "AIza-one"), account("a", "AIza-two"));
    assert!(account("a", "AIza-one").starts_with("google/"));
    assert!(!account("a", "AIza-one").contains("one"));
    let bad = Gemini::builder("m").key("AI\n").build().expect_err("refused");
    assert!(matches!(&bad, InvalidModel::Header { name } if name == "x-goog-api-key"));
}

#[tokio::test]
async fn a_script_sees_the_same_conversation_as_in_other_formats() {
    let script = Script::by(|request| Reply::text(&format!("{:?}", request.messages)));
    let server = FakeServer::start(script).await.expect("a free port");
    let gemini = Gemini::builder("m").base_url(server.base_url()).build().expect("valid");
    let openai = OpenAiChat::builder("m").base_url(server.base_url()).build().expect("valid");
    let called = Part::ToolCall {
        id: "a".into(),
        name: "look".into(),
        input: "{}".to_owned(),
        provider_executed: false,
        metadata: Metadata::new(),
    };
    let given = Part::ToolResult {
        call_id: "a".into(),
        name: "look".into(),
        output: Output::text("a cat"),
        provider_executed: false,
        metadata: Metadata::new(),
    };
    let call = ModelCall::new(vec![
        Message::new(Role::System, vec![Part::text("Be brief.")]),
        Message::new(Role::User, vec![Part::text("Look")]),
        Message::new(Role::Assistant, vec![Part::text("Yes."), called]),
        Message::new(Role::Tool, vec![given]),
        Message::new(Role::User, vec![Part::text("And?")]),
    ]);
    let mut seen = Vec::new();
    for model in [&gemini as &dyn LanguageModel, &openai] {
        seen.push(fold(model, call.clone()).await.content());
    }
    assert!(format!("{:?}", seen[0]).contains("a cat"), "{:?}", seen[0]);
    assert_eq!(seen[0], seen[1]);
}
