//! Responses over real HTTP, and what goes wrong between OpenAI and us.

use std::time::Duration;

use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{FinishReason, Headers, Message, ModelCall, ModelPart, Role, Usage};
use chatwright_core::port::LanguageModel;
use chatwright_fake::{FakeServer, Reply, Script, Step};
use chatwright_providers::{InvalidModel, OpenAiChat, OpenAiResponses};
use futures::StreamExt;
use serde_json::{Value, json};

const BOUND: Duration = Duration::from_secs(20);

const BEGIN: &str = r#"{"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}"#;
const ITEM: &str =
    r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"msg_1"}}"#;
const HI: &str =
    r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Hi é😀"}"#;
const ITEM_END: &str =
    r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","id":"msg_1"}}"#;
const END: &str = r#"{"type":"response.completed","response":{"id":"resp_1","usage":{"input_tokens":3,"output_tokens":2}}}"#;

fn call() -> ModelCall {
    ModelCall::new(vec![Message::new(Role::User, vec![Part::text("Hello")])])
}

async fn start(reply: Reply) -> (FakeServer, OpenAiResponses) {
    let server = FakeServer::start(Script::new(vec![reply])).await.expect("a free port");
    let model = OpenAiResponses::builder("fake").base_url(server.base_url()).key("sk-oai-test-key").build();
    (server, model.expect("a valid address"))
}

async fn fold(model: &OpenAiResponses) -> Accumulator {
    let parts: Vec<ModelPart> =
        tokio::time::timeout(BOUND, model.stream(call()).collect()).await.expect("the call ends");
    let mut answer = Accumulator::new();
    parts.into_iter().for_each(|part| drop(answer.push(part)));
    answer
}

async fn answer(reply: Reply) -> Accumulator {
    let (_server, model) = start(reply).await;
    fold(&model).await
}

fn failure(answer: &Accumulator) -> &Failure {
    match answer.end() {
        Some(End::Failure(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

fn usage() -> Usage {
    Usage { input: Some(7), output: Some(9), reasoning: Some(4), cache_read: Some(3), cache_write: Some(2) }
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
        call("b", &["{}"]),
        Step::Usage(usage()),
        Step::Finish(FinishReason::ToolCalls),
    ])
}

#[tokio::test]
async fn thoughts_text_parallel_calls_and_usage_arrive_whole_however_the_bytes_are_cut() {
    for bytes in [0, 1, 3, 7] {
        let answer = answer(two_calls().in_pieces_of(bytes)).await;
        let ours = |fields: Value| Metadata::from([("openai".into(), fields)]);
        let call = |id: &str, item: &str, input: &str| Part::ToolCall {
            id: id.into(),
            name: "look".into(),
            input: input.to_owned(),
            provider_executed: false,
            metadata: ours(json!({"id": item})),
        };
        let sealed = json!({"type": "reasoning", "id": "rs_0", "encrypted_content": "c2VhbGVk",
            "summary": [{"type": "summary_text", "text": "Hm. Two."}]});
        let thought = Part::Reasoning {
            text: "Hm. Two.".to_owned(),
            metadata: ours(json!({"item": sealed, "provider": "openai"})),
        };
        let expected = [
            thought,
            Part::text("Let me see é😀."),
            call("a", "fc_2", "{\"at\":1}"),
            call("b", "fc_3", "{}"),
        ];
        assert_eq!(answer.content(), expected, "in pieces of {bytes}");
        assert_eq!(answer.finish_reason(), Some(FinishReason::ToolCalls));
        assert_eq!(answer.usage(), usage());
    }
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_is_truncated_and_no_call_of_it_is_complete() {
    // Between events, inside one, in the arguments of a call.
    for cut in (0..3_000).step_by(83) {
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
        (said.clone().until_close().cut_after(150), Cause::Truncated),
        (said.clone().cut_after(150), Cause::Reset),
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
async fn every_line_end_a_bom_names_of_events_and_a_missing_last_blank_line_are_understood() {
    let event = |data: &str, end: &str| format!("data: {data}{end}{end}");
    let named = |data: &str, end: &str| {
        let name = data.split('"').nth(3).expect("a type");
        format!("event: {name}{end}data: {data}{end}{end}")
    };
    let whole = |end: &str, event: &dyn Fn(&str, &str) -> String| {
        [BEGIN, ITEM, HI, ITEM_END, END].map(|data| event(data, end)).concat()
    };
    for body in [
        whole("\n", &event),
        whole("\n", &named),
        whole("\r\n", &named),
        whole("\r", &named),
        format!("\u{feff}{}", whole("\r\n", &event)),
        whole("\n", &named).trim_end().to_owned(),
        format!("{}data: [DONE]\n\n", whole("\n", &event)),
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
    let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow, sk-oai-test-key"}}"#;
    let reply = Reply::status(429, body).with_header("retry-after", "7").with_header("x-request-id", "r1");
    let (server, model) = start(reply).await;
    let answer = fold(&model).await;
    let failure = failure(&answer);
    assert_eq!((failure.cause, failure.status), (Cause::Status, Some(429)));
    assert_eq!((failure.header("Retry-After"), failure.header("x-request-id")), (Some("7"), Some("r1")));
    assert_eq!(failure.body.as_deref(), Some(&*body.replace("sk-oai-test-key", "[REDACTED]")));
    assert!(!format!("{failure} {failure:?} {model:?}").contains("sk-oai-test-key"));
    assert_eq!(server.requests().len(), 1, "no hidden retries");
    let received = server.requests().remove(0);
    assert_eq!(received.path, "/v1/responses");
    let bearer = ("authorization".to_owned(), "Bearer sk-oai-test-key".to_owned());
    assert!(received.headers.contains(&bearer));
}

#[tokio::test]
async fn pages_of_html_garbage_and_errors_in_the_stream_are_told_apart() {
    let html = answer(Reply::html()).await;
    assert_eq!((failure(&html).cause, failure(&html).status), (Cause::Protocol, Some(200)));
    let gateway = Reply::status(502, "<html>Bad gateway</html>").with_header("content-type", "text/html");
    let gateway = answer(gateway).await;
    assert_eq!((failure(&gateway).cause, failure(&gateway).status), (Cause::Status, Some(502)));
    assert_eq!(failure(&gateway).body.as_deref(), Some("<html>Bad gateway</html>"));

    let garbage = answer(Reply::steps(vec![
        Step::Text("Hi".to_owned()),
        Step::Raw("{\"type\":\"response.output_te".to_owned()),
    ]))
    .await;
    assert_eq!((failure(&garbage).cause, garbage.content()), (Cause::Protocol, vec![Part::text("Hi")]));

    let error = |code: &str| Step::Error {
        kind: "server_error".into(),
        code: code.into(),
        message: "busy sk-oai-test-key".into(),
    };
    for (steps, code, content) in [
        (vec![error("")], Some(""), vec![]),
        (
            vec![Step::Text("Hi".to_owned()), error("529"), Step::Text("more".to_owned())],
            Some("529"),
            vec![Part::text("Hi")],
        ),
    ] {
        let answer = answer(Reply::steps(steps).with_header("retry-after", "7")).await;
        let failure = failure(&answer);
        assert_eq!(failure.cause, Cause::InStream);
        assert_eq!(
            (failure.error_type.as_deref(), failure.error_code.as_deref()),
            (Some("server_error"), code)
        );
        assert_eq!((failure.status, failure.header("retry-after")), (Some(200), Some("7")));
        assert_eq!(failure.message.as_deref(), Some("busy [REDACTED]"));
        assert_eq!(answer.content(), content, "nothing after the terminal event");
    }
}

#[tokio::test]
async fn a_stalled_stream_shows_life_and_is_dropped() {
    let steps = vec![
        Step::Ping,
        Step::Text("Hi".to_owned()),
        Step::Raw("{\"type\":\"novel\"}".to_owned()),
        Step::Stall,
    ];
    let (server, model) = start(Reply::steps(steps)).await;
    let mut stream = model.stream(call());
    let mut parts = Vec::new();
    while parts.iter().filter(|part| **part == ModelPart::KeepAlive).count() < 5 {
        let part = tokio::time::timeout(BOUND, stream.next()).await.expect("it goes on");
        parts.push(part.expect("it does not end"));
    }
    let delta = ModelPart::TextDelta { id: "0.0".into(), delta: "Hi".to_owned() };
    let mut expected = vec![ModelPart::KeepAlive; 4];
    expected.extend([ModelPart::TextStart { id: "0.0".into() }, delta, ModelPart::KeepAlive]);
    assert_eq!(parts, expected, "a ping, the beginning, an item, text, an unknown event");
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
async fn headers_of_the_model_and_of_the_call_reach_the_server_and_bad_ones_fail_the_call() {
    let server = FakeServer::start(Script::new(vec![Reply::text("Hi")])).await.expect("a free port");
    let model = OpenAiResponses::builder("m")
        .base_url(server.base_url())
        .header("openai-project", "p1")
        .header("openai-beta", "novel=1")
        .build()
        .expect("valid");
    let mut call = call();
    call.transport.headers = Headers(vec![("x-trace".into(), "t1".into())]);
    let parts: Vec<ModelPart> = model.stream(call.clone()).collect().await;
    assert!(matches!(parts.last(), Some(ModelPart::Finish(_))));
    let headers = server.requests().remove(0).headers;
    for (name, value) in [("openai-project", "p1"), ("openai-beta", "novel=1"), ("x-trace", "t1")] {
        let told: Vec<_> =
            headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect();
        assert_eq!(told, [value], "{name}");
    }
    call.transport.headers = Headers(vec![("x-bad".into(), "a\nb".into())]);
    let parts: Vec<ModelPart> = model.stream(call).collect().await;
    assert!(matches!(&parts[..], [ModelPart::Failure(failure)] if failure.cause == Cause::Request));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn models_of_one_key_share_an_account_that_tells_nothing_of_it() {
    let account = |model: &str, key: &str| {
        OpenAiResponses::builder(model).key(key).build().expect("valid").account().to_string()
    };
    assert_eq!(account("a", "sk-oai-one"), account("b", "sk-oai-one"));
    assert_ne!(account("a", "sk-oai-one"), account("a", "sk-oai-two"));
    assert!(account("a", "sk-oai-one").starts_with("openai/"));
    assert!(!account("a", "sk-oai-one").contains("one"));
    let bad = OpenAiResponses::builder("m").key("sk\n").build().expect_err("refused");
    assert!(matches!(&bad, InvalidModel::Header { name } if name == "authorization"));
}

#[tokio::test]
async fn a_script_sees_the_same_conversation_as_in_other_formats() {
    let script = Script::by(|request| Reply::text(&format!("{:?}", request.messages)));
    let server = FakeServer::start(script).await.expect("a free port");
    let responses = OpenAiResponses::builder("m").base_url(server.base_url()).build().expect("valid");
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
    for model in [&responses as &dyn LanguageModel, &openai] {
        let mut answer = Accumulator::new();
        model
            .stream(call.clone())
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .for_each(|part| drop(answer.push(part)));
        seen.push(answer.content());
    }
    assert!(format!("{:?}", seen[0]).contains("a cat"), "{:?}", seen[0]);
    assert_eq!(seen[0], seen[1]);
}
