//! Chat Completions over real HTTP, against the fake server.

use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{
    FinishReason, Headers, Message, ModelCall, ModelPart, Role, ToolChoice, ToolDefinition, Usage,
};
use chatwright_core::port::LanguageModel;
use chatwright_fake::{FakeServer, Reply, Script, Step};
use chatwright_providers::{InvalidModel, OpenAiChat};
use futures::StreamExt;
use serde_json::json;

fn call() -> ModelCall {
    ModelCall::new(vec![Message::new(Role::User, vec![Part::text("Hello")])])
}

/// What the model makes of a reply.
async fn answer(reply: Reply) -> Accumulator {
    let server = FakeServer::start(Script::new(vec![reply])).await.expect("a free port");
    let model = OpenAiChat::builder("fake").base_url(server.base_url()).build().expect("a valid address");
    fold(&model).await
}

async fn fold(model: &OpenAiChat) -> Accumulator {
    let mut answer = Accumulator::new();
    let mut parts = model.stream(call());
    while let Some(part) = parts.next().await {
        answer.push(part);
    }
    answer
}

fn failure(answer: &Accumulator) -> &Failure {
    match answer.end() {
        Some(End::Failure(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
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
        Step::Text("Let me ".to_owned()),
        Step::Text("see é😀.".to_owned()),
        call("a", &["{\"at\":", "1}"]),
        call("b", &["{}"]),
        Step::Usage(Usage {
            input: Some(7),
            output: Some(9),
            reasoning: Some(4),
            cache_read: Some(3),
            cache_write: None,
        }),
        Step::Finish(FinishReason::ToolCalls),
    ])
}

#[tokio::test]
async fn text_reasoning_parallel_calls_and_usage_arrive_whole_however_the_bytes_are_cut() {
    for bytes in [0, 1, 3, 7] {
        let answer = answer(two_calls().in_pieces_of(bytes)).await;
        let call = |id: &str, input: &str| Part::ToolCall {
            id: id.into(),
            name: "look".into(),
            input: input.to_owned(),
            provider_executed: false,
            metadata: Metadata::new(),
        };
        let field = Metadata::from([("openai".into(), json!({"field": "reasoning_content"}))]);
        let thought = Part::Reasoning { text: "Hm. Two.".to_owned(), metadata: field };
        let expected = [thought, Part::text("Let me see é😀."), call("a", "{\"at\":1}"), call("b", "{}")];
        assert_eq!(answer.content(), expected, "in pieces of {bytes}");
        assert_eq!(answer.finish_reason(), Some(FinishReason::ToolCalls));
        let usage = Usage {
            input: Some(7),
            output: Some(9),
            reasoning: Some(4),
            cache_read: Some(3),
            cache_write: None,
        };
        assert_eq!(answer.usage(), usage);
    }
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_is_truncated_and_no_call_of_it_is_complete() {
    for cut in (0..1_400).step_by(61) {
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
async fn a_finish_reason_without_done_counts_only_where_it_was_said_to() {
    let raw = r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#;
    let reply = || Reply::steps(vec![Step::Raw(raw.to_owned())]);
    assert_eq!(failure(&answer(reply()).await).cause, Cause::Truncated);
    let server = FakeServer::start(Script::new(vec![reply()])).await.expect("a free port");
    let model =
        OpenAiChat::builder("fake").base_url(server.base_url()).end_after_finish().build().expect("valid");
    assert_eq!(fold(&model).await.finish_reason(), Some(FinishReason::Stop));
}

#[tokio::test]
async fn refusals_say_status_headers_and_body_and_print_no_key() {
    let reply = Reply::status(401, r#"{"error":{"message":"bad key sk-test-key"}}"#)
        .with_header("x-request-id", "r1");
    let server = FakeServer::start(Script::new(vec![reply])).await.expect("a free port");
    let model =
        OpenAiChat::builder("fake").base_url(server.base_url()).key("sk-test-key").build().expect("valid");
    let answer = fold(&model).await;
    let failure = failure(&answer);
    assert_eq!((failure.cause, failure.status), (Cause::Status, Some(401)));
    assert_eq!(failure.header("X-Request-Id"), Some("r1"));
    assert_eq!(failure.body.as_deref(), Some(r#"{"error":{"message":"bad key [REDACTED]"}}"#));
    assert!(!format!("{failure} {failure:?} {model:?}").contains("sk-test-key"));
    assert_eq!(server.requests().len(), 1, "no hidden retries");
    let received = server.requests().remove(0);
    assert_eq!(received.path, "/v1/chat/completions");
    assert!(received.headers.contains(&("authorization".to_owned(), "Bearer sk-test-key".to_owned())));
}

#[tokio::test]
async fn no_header_of_a_model_or_of_a_call_comes_back_in_a_failure() {
    let body = r#"{"error":{"message":"bad tokens tok-of-model, tok-of-call and key-of-call"}}"#;
    let server = FakeServer::start(Script::new(vec![Reply::status(401, body)])).await.expect("a free port");
    let model =
        OpenAiChat::builder("m").base_url(server.base_url()).header("authorization", "Bearer tok-of-model");
    let mut call = call();
    let header = |name: &str, value: &str| (name.into(), value.into());
    call.transport.headers =
        Headers(vec![header("proxy-authorization", "bearer tok-of-call"), header("api-key", "key-of-call")]);
    let parts: Vec<ModelPart> = model.build().expect("valid").stream(call).collect().await;
    let [ModelPart::Failure(failure)] = &parts[..] else { panic!("one failure, not {parts:?}") };
    let clean = r#"{"error":{"message":"bad tokens [REDACTED], [REDACTED] and [REDACTED]"}}"#;
    assert_eq!(failure.body.as_deref(), Some(clean));
}

#[tokio::test]
async fn a_page_of_html_garbage_and_an_error_in_the_stream_are_told_apart() {
    let html = answer(Reply::html()).await;
    assert_eq!((failure(&html).cause, failure(&html).status), (Cause::Protocol, Some(200)));
    assert_eq!(failure(&html).body.as_deref(), Some("<html><body>Please log in</body></html>"));

    let garbage =
        answer(Reply::steps(vec![Step::Text("Hi".to_owned()), Step::Raw("{\"cho".to_owned())])).await;
    assert_eq!(failure(&garbage).cause, Cause::Protocol);
    assert_eq!(garbage.content(), [Part::text("Hi")]);

    let error =
        Step::Error { kind: "server_error".into(), code: "overloaded".into(), message: "busy".into() };
    let error = answer(Reply::steps(vec![Step::Ping, error, Step::Text("more".to_owned())])).await;
    let failure = failure(&error);
    assert_eq!(failure.cause, Cause::InStream);
    assert_eq!(
        (failure.error_type.as_deref(), failure.error_code.as_deref()),
        (Some("server_error"), Some("overloaded"))
    );
    assert_eq!(error.content(), [], "nothing after the terminal event");
}

#[tokio::test]
async fn unknown_events_and_fields_are_passed_over() {
    let odd = r#"{"id":"x","object":"novel","surprise":[1],"choices":[{"index":0,"delta":{"role":"assistant","content":"","novel":{}},"logprobs":null},{"index":1,"delta":{"content":"second"}}]}"#;
    let steps = vec![
        Step::Raw(odd.to_owned()),
        Step::Raw("{}".to_owned()),
        Step::Text("Hi".to_owned()),
        Step::Finish(FinishReason::Stop),
    ];
    let answer = answer(Reply::steps(steps)).await;
    assert_eq!(answer.content(), [Part::text("Hi")]);
    assert_eq!(answer.finish_reason(), Some(FinishReason::Stop));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failure_to_connect() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let model =
        OpenAiChat::builder("m").base_url(format!("http://127.0.0.1:{port}/v1")).build().expect("valid");
    assert_eq!(failure(&fold(&model).await).cause, Cause::Connect);
}

#[tokio::test]
async fn per_call_headers_reach_the_server_and_bad_ones_fail_the_call() {
    let server = FakeServer::start(Script::new(vec![Reply::text("Hi")])).await.expect("a free port");
    let model = OpenAiChat::builder("m")
        .base_url(server.base_url())
        .header("x-team", "engines")
        .build()
        .expect("valid");
    let mut call = call();
    call.transport.headers = Headers(vec![("x-trace".into(), "t1".into())]);
    let parts: Vec<ModelPart> = model.stream(call.clone()).collect().await;
    assert!(matches!(parts.last(), Some(ModelPart::Finish(_))));
    let headers = server.requests().remove(0).headers;
    for header in [("x-team", "engines"), ("x-trace", "t1")] {
        assert!(headers.contains(&(header.0.to_owned(), header.1.to_owned())), "{header:?}");
    }
    call.transport.headers = Headers(vec![("x-bad".into(), "a\nb".into())]);
    let parts: Vec<ModelPart> = model.stream(call).collect().await;
    assert!(matches!(&parts[..], [ModelPart::Failure(failure)] if failure.cause == Cause::Request));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn settings_that_make_no_sense_are_refused_without_printing_credentials() {
    let url = |url: &str| OpenAiChat::builder("m").base_url(url).build().expect_err("refused").to_string();
    assert!(
        url("ftp://user:pass@host/").starts_with("\"host/\" is no address of a server"),
        "{}",
        url("ftp://user:pass@host/")
    );
    assert!(url("not a url").contains("is no address of a server"));
    let header = OpenAiChat::builder("m").header("bad name", "secret").build().expect_err("refused");
    assert!(matches!(&header, InvalidModel::Header { name } if name == "bad name"));
    assert!(!header.to_string().contains("secret"));
}

#[test]
fn a_request_says_everything_that_was_asked() {
    let model = OpenAiChat::builder("m").provider("gateway").build().expect("a valid address");
    let result = |text: Output| Part::ToolResult {
        call_id: "a".into(),
        name: "look".into(),
        output: text,
        provider_executed: false,
        metadata: Metadata::new(),
    };
    let called = Part::ToolCall {
        id: "a".into(),
        name: "look".into(),
        input: "{\"at\": 1}".to_owned(),
        provider_executed: false,
        metadata: Metadata::new(),
    };
    let mut call = ModelCall::new(vec![
        Message::new(Role::System, vec![Part::text("Be brief.")]),
        Message::new(Role::User, vec![Part::text("Look")]),
        Message::new(Role::Assistant, vec![Part::text("Yes."), called.clone(), called]),
        Message::new(Role::Tool, vec![result(Output::text("a cat")), result(Output::error("no"))]),
    ]);
    call.tools = [ToolDefinition::Function {
        name: "look".into(),
        description: "Looks.".into(),
        input_schema: json!({"type": "object"}),
        provider_options: Default::default(),
    }]
    .into();
    call.tool_choice = Some(ToolChoice::Tool("look".into()));
    call.max_output_tokens = Some(99);
    call.temperature = Some(0.5);
    call.stop_sequences = vec!["END".to_owned()];
    call.provider_options = [("gateway".into(), json!({"route": "fast", "temperature": 1}))].into();
    let expected = json!({
        "model": "m", "stream": true, "stream_options": {"include_usage": true},
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look"},
            {"role": "assistant", "content": "Yes.", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{\"at\": 1}"}},
                {"id": "a_2", "type": "function", "function": {"name": "look", "arguments": "{\"at\": 1}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "a cat"},
            {"role": "tool", "tool_call_id": "a_2", "content": "Error: no"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "max_completion_tokens": 99, "temperature": 1, "stop": ["END"], "route": "fast",
    });
    assert_eq!(model.request_body(&call), expected);
}
