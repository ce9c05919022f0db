//! What a conversation becomes in Chat Completions.

use chatwright_core::accumulator::Accumulator;
use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::model::{Message, ModelCall, ModelPart, Role, ToolDefinition};
use chatwright_core::port::LanguageModel;
use chatwright_fake::{FakeServer, Reply, Script};
use chatwright_providers::{ChatDecoder, Decode, OpenAiChat};
use futures::StreamExt;
use serde_json::{Value, json};

fn body(call: &ModelCall) -> Value {
    let model = OpenAiChat::builder("m").provider("gateway").build();
    model.expect("a valid address").request_body(call)
}

fn messages(prompt: Vec<Message>) -> Value {
    body(&ModelCall::new(prompt))["messages"].take()
}

fn calls(id: &str, name: &str) -> Part {
    let (id, name, input) = (id.into(), name.into(), "{}".to_owned());
    Part::ToolCall { id, name, input, provider_executed: false, metadata: Metadata::new() }
}

fn gives(id: &str, text: &str) -> Part {
    let (call_id, name, output) = (id.into(), "look".into(), Output::text(text));
    Part::ToolResult { call_id, name, output, provider_executed: false, metadata: Metadata::new() }
}

fn called(id: &str, name: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}})
}

fn given(id: &str, text: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": text})
}

#[test]
fn names_of_tools_that_a_model_made_up_are_sent_in_letters_that_are_allowed() {
    let answer =
        vec![calls("a", "multi_tool_use.parallel"), calls("b", "löök it"), calls("c", &"x".repeat(70))];
    let sent = messages(vec![Message::new(Role::Assistant, answer)]);
    let names: Vec<&Value> = (0..3).map(|at| &sent[0]["tool_calls"][at]["function"]["name"]).collect();
    assert_eq!(names, ["multi_tool_use_parallel", "l__k_it", &*"x".repeat(64)]);
}

#[test]
fn texts_of_a_user_are_one_text_where_nothing_stands_between_them() {
    let prompt = vec![Message::new(Role::User, vec![Part::text("One"), Part::text("Two")])];
    assert_eq!(messages(prompt), json!([{"role": "user", "content": "One\nTwo"}]));
}

#[test]
fn a_tool_without_arguments_has_properties_and_the_options_that_its_owner_gave_it() {
    let tool = |schema: Value, options: Value| ToolDefinition::Function {
        name: "now".into(),
        description: "Tells the time.".into(),
        input_schema: schema,
        provider_options: [("openai".into(), options)].into(),
    };
    let given = json!({"type": "object", "properties": {"at": {"type": "string"}}});
    let mut call = ModelCall::new(vec![Message::new(Role::User, vec![Part::text("Hi")])]);
    call.tools = [
        tool(json!({"type": "object"}), json!({"strict": true})),
        tool(json!({}), json!({})),
        tool(given.clone(), json!({})),
    ]
    .into();
    let tools = body(&call)["tools"].take();
    let empty = json!({"type": "object", "properties": {}});
    assert_eq!(
        tools[0],
        json!({"type": "function", "function": {"name": "now", "description": "Tells the time.", "parameters": empty, "strict": true}})
    );
    assert_eq!((&tools[1]["function"]["parameters"], &tools[2]["function"]["parameters"]), (&empty, &given));
}

#[test]
fn an_answer_that_says_nothing_here_is_left_out() {
    let others = |fields: Value| Metadata::from([("anthropic".into(), fields)]);
    let thought = Part::Reasoning { text: "Hm.".to_owned(), metadata: others(json!({"signature": "s"})) };
    let searched = Part::ToolCall {
        id: "srv_1".into(),
        name: "web_search".into(),
        input: "{}".to_owned(),
        provider_executed: true,
        metadata: others(json!({"type": "server_tool_use"})),
    };
    let said = |role, text: &str| Message::new(role, vec![Part::text(text)]);
    let prompt = vec![
        said(Role::User, "One"),
        Message::new(Role::Assistant, vec![thought, searched]),
        said(Role::Assistant, "\n"),
        said(Role::User, "Two"),
    ];
    let user = |text: &str| json!({"role": "user", "content": text});
    assert_eq!(messages(prompt), json!([user("One"), user("Two")]));
}

#[test]
fn ids_of_calls_are_short_and_of_one_call_each() {
    let long = "x".repeat(45);
    let prompt = vec![
        Message::new(Role::Assistant, vec![calls("a", "look"), calls("a", "look"), calls("", "look")]),
        Message::new(Role::Tool, vec![gives("a", "1"), gives("a", "2"), gives("", "3")]),
        // What an answer before used is free again.
        Message::new(
            Role::Assistant,
            vec![calls("a", "look"), calls(&long, "look"), calls(&format!("{long}y"), "look")],
        ),
        Message::new(Role::Tool, vec![gives("a", "4"), gives(&long, "5"), gives(&format!("{long}y"), "6")]),
    ];
    let (short, other) = ("x".repeat(40), format!("{}_2", "x".repeat(38)));
    let answer = |calls: &[Value]| json!({"role": "assistant", "content": Value::Null, "tool_calls": calls});
    let expected = json!([
        answer(&[called("a", "look"), called("a_2", "look"), called("call", "look")]),
        given("a", "1"),
        given("a_2", "2"),
        given("call", "3"),
        answer(&[called("a", "look"), called(&short, "look"), called(&other, "look")]),
        given("a", "4"),
        given(&short, "5"),
        given(&other, "6"),
    ]);
    assert_eq!(messages(prompt), expected);
}

#[test]
fn texts_of_one_answer_are_sent_as_they_were_read() {
    let answer = ["Cats ", "purr", ".", " ", "Dogs bark."].map(Part::text).to_vec();
    let sent = messages(vec![Message::new(Role::Assistant, answer)]);
    assert_eq!(sent, json!([{"role": "assistant", "content": "Cats purr. Dogs bark."}]));
}

#[tokio::test]
async fn tools_of_other_providers_and_sounds_that_cannot_be_heard_are_left_out_and_told_first() {
    let server = FakeServer::start(Script::new(vec![Reply::text("Hi")])).await.expect("a free port");
    let model =
        OpenAiChat::builder("m").provider("gateway").base_url(server.base_url()).build().expect("valid");
    let file = |media_type: &str| Part::File {
        media_type: media_type.into(),
        name: None,
        data: FileData::Base64("UklG".into()),
        metadata: Metadata::new(),
    };
    let heard = ["audio/wav", "audio/mpeg", "audio/ogg", "video/mp4"].map(file).to_vec();
    let mut call = ModelCall::new(vec![Message::new(Role::User, heard)]);
    let tool = |id: &str| ToolDefinition::Provider {
        id: id.into(),
        name: id.into(),
        args: json!({"type": "search"}),
    };
    call.tools =
        [tool("anthropic.web_search_20250305"), tool("gateway.search"), tool("openai.search")].into();
    let parts: Vec<ModelPart> = model.stream(call).collect().await;
    let expected = [
        "the tool anthropic.web_search_20250305 of another provider was left out",
        "a file of type audio/ogg in a user message was left out",
        "a file of type video/mp4 in a user message was left out",
    ];
    assert_eq!(parts[0], ModelPart::Warnings(expected.map(str::to_owned).into()));
    let body = server.requests().remove(0).body;
    assert_eq!(body["tools"], json!([{"type": "search"}, {"type": "search"}]));
    let sound =
        |format: &str| json!({"type": "input_audio", "input_audio": {"data": "UklG", "format": format}});
    assert_eq!(body["messages"], json!([{"role": "user", "content": [sound("wav"), sound("mp3")]}]));
}

#[test]
fn thoughts_that_led_to_calls_go_back_to_the_server_whose_they_are_and_no_others() {
    let by = |provider: &str, field: &str| Metadata::from([(provider.into(), json!({"field": field}))]);
    let thought = |text: &str, metadata| Part::Reasoning { text: text.to_owned(), metadata };
    let ours = || thought("Hm.", by("gateway", "reasoning_content"));
    let others = || thought("So.", by("deepseek", "reasoning_content"));
    let prompt = vec![
        Message::new(
            Role::Assistant,
            vec![ours(), others(), thought(" Look.", by("gateway", "reasoning_content")), calls("a", "look")],
        ),
        Message::new(Role::Tool, vec![gives("a", "1")]),
        Message::new(Role::Assistant, vec![others(), calls("b", "look")]),
        Message::new(Role::Tool, vec![gives("b", "2")]),
        Message::new(Role::Assistant, vec![ours(), Part::text("Cats.")]),
    ];
    let expected = json!([
        {"role": "assistant", "content": Value::Null, "reasoning_content": "Hm. Look.", "tool_calls": [called("a", "look")]},
        given("a", "1"),
        {"role": "assistant", "content": Value::Null, "tool_calls": [called("b", "look")]},
        given("b", "2"),
        {"role": "assistant", "content": "Cats."},
    ]);
    assert_eq!(messages(prompt), expected);
}

#[test]
fn proved_thoughts_and_signed_calls_go_back_as_they_came_and_only_to_who_sent_them() {
    let mut decoder = ChatDecoder::new("gateway", false);
    let (mut parts, mut answer) = (Vec::new(), Accumulator::new());
    let proof = |fields: Value| json!({"reasoning": "Hm", "reasoning_details": [fields]});
    let signed = json!({"google": {"thought_signature": "c2ln"}});
    for delta in [
        proof(
            json!({"type": "reasoning.text", "index": 0, "format": "x-v1", "text": "Look ", "signature": null}),
        ),
        proof(json!({"type": "reasoning.text", "index": 0, "text": "first.", "signature": "s1g"})),
        proof(json!({"type": "reasoning.encrypted", "index": 1, "id": "e", "data": "AAAA"})),
        json!({"content": "So."}),
        json!({"tool_calls": [{"index": 0, "id": "a", "extra_content": signed, "function": {"name": "look", "arguments": "{}"}}]}),
    ] {
        decoder.event(&json!({"choices": [{"index": 0, "delta": delta}]}).to_string(), &mut parts);
    }
    decoder.event(&json!({"choices": [{"finish_reason": "tool_calls"}]}).to_string(), &mut parts);
    decoder.event("[DONE]", &mut parts);
    parts.into_iter().for_each(|part| drop(answer.push(part)));
    let prompt = vec![
        Message::new(Role::Assistant, answer.content()),
        Message::new(Role::Tool, vec![gives("a", "x")]),
    ];

    let sent = messages(prompt.clone());
    let expected = json!([
        {"type": "reasoning.text", "index": 0, "format": "x-v1", "text": "Look first.", "signature": "s1g"},
        {"type": "reasoning.encrypted", "index": 1, "id": "e", "data": "AAAA"},
    ]);
    assert_eq!(sent[0]["reasoning_details"], expected);
    assert_eq!(sent[0]["tool_calls"][0]["extra_content"], signed);
    assert_eq!(sent[0]["content"], "So.");
    let other = OpenAiChat::builder("m").provider("other").build().expect("a valid address");
    let sent = other.request_body(&ModelCall::new(prompt))["messages"].take();
    assert_eq!(
        (sent[0].get("reasoning_details"), sent[0]["tool_calls"][0].get("extra_content")),
        (None, None)
    );
}
