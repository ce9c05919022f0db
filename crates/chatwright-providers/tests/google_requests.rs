//! What is asked of Google.

use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::model::{Message, ModelCall, ModelPart, Role, ToolChoice, ToolDefinition};
use chatwright_core::port::LanguageModel;
use chatwright_fake::{FakeServer, Reply, Script};
use chatwright_providers::Gemini;
use futures::StreamExt;
use serde_json::{Value, json};

fn body(call: &ModelCall) -> Value {
    Gemini::builder("m").provider("gateway").build().expect("a valid address").request_body(call)
}

fn contents(prompt: Vec<Message>) -> Value {
    body(&ModelCall::new(prompt))["contents"].take()
}

fn ours(fields: Value) -> Metadata {
    Metadata::from([("google".into(), fields)])
}

fn says(role: Role, text: &str) -> Message {
    Message::new(role, vec![Part::text(text)])
}

fn calls(id: &str, input: &str, metadata: Metadata) -> Part {
    let (id, name, input) = (id.into(), "look".into(), input.to_owned());
    Part::ToolCall { id, name, input, provider_executed: false, metadata }
}

fn gives(id: &str, output: Output) -> Part {
    let (call_id, name) = (id.into(), "look".into());
    Part::ToolResult { call_id, name, output, provider_executed: false, metadata: Metadata::new() }
}

fn file(media_type: &str, data: FileData) -> Part {
    Part::File { media_type: media_type.into(), name: None, data, metadata: Metadata::new() }
}

fn tool(name: &str) -> ToolDefinition {
    ToolDefinition::Function {
        name: name.into(),
        description: "Looks.".into(),
        input_schema: json!({"type": "object"}),
        provider_options: Default::default(),
    }
}

fn provider_tool(id: &str, args: Value) -> ToolDefinition {
    ToolDefinition::Provider { id: id.into(), name: "search".into(), args }
}

#[test]
fn a_request_says_everything_that_was_asked() {
    let mut call = ModelCall::new(vec![
        says(Role::System, "Be brief."),
        says(Role::User, "Look"),
        Message::new(
            Role::Assistant,
            vec![
                Part::text("Yes."),
                calls("call_0", r#"{"at": 1}"#, ours(json!({"thoughtSignature": "c2ln"}))),
            ],
        ),
        Message::new(Role::Tool, vec![gives("call_0", Output::text("a cat"))]),
    ]);
    call.tools = [
        tool("look"),
        provider_tool("google.google_search", json!({})),
        provider_tool("google.code_execution", Value::Null),
        provider_tool("openai.web_search", json!({})),
    ]
    .into();
    call.tool_choice = Some(ToolChoice::Tool("look".into()));
    (call.max_output_tokens, call.temperature, call.top_p, call.top_k, call.seed) =
        (Some(99), Some(0.5), Some(0.25), Some(7), Some(3));
    (call.presence_penalty, call.frequency_penalty) = (Some(0.75), Some(-0.5));
    call.stop_sequences = vec!["END".to_owned()];
    call.provider_options = [
        (
            "google".into(),
            json!({"generationConfig": {"topK": 8, "thinkingConfig": {"includeThoughts": true}}, "safetySettings": []}),
        ),
        ("gateway".into(), json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}})),
        ("openai".into(), json!({"store": false})),
    ]
    .into();
    let expected = json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Look"}]},
            {"role": "model", "parts": [
                {"text": "Yes."},
                {"functionCall": {"name": "look", "args": {"at": 1}}, "thoughtSignature": "c2ln"}]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "look", "response": {"output": "a cat"}}}]},
        ],
        "tools": [
            {"functionDeclarations": [
                {"name": "look", "description": "Looks.", "parametersJsonSchema": {"type": "object"}}]},
            {"google_search": {}}, {"code_execution": {}},
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look"]}},
        "generationConfig": {
            "maxOutputTokens": 99, "temperature": 0.5, "topP": 0.25, "topK": 8, "seed": 3,
            "presencePenalty": 0.75, "frequencyPenalty": -0.5, "stopSequences": ["END"],
            "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 0},
        },
        "safetySettings": [],
    });
    assert_eq!(body(&call), expected);
}

#[test]
fn what_is_not_asked_is_left_to_the_provider() {
    let expected = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    assert_eq!(body(&ModelCall::new(vec![says(Role::User, "Hi")])), expected);
}

#[test]
fn a_choice_is_told_in_the_words_of_the_format() {
    for (choice, expected) in [
        (ToolChoice::Auto, json!({"mode": "AUTO"})),
        (ToolChoice::Required, json!({"mode": "ANY"})),
        (ToolChoice::None, json!({"mode": "NONE"})),
    ] {
        let mut call = ModelCall::new(vec![says(Role::User, "Hi")]);
        call.tool_choice = Some(choice);
        call.tools = [provider_tool("google.google_search", json!({}))].into();
        assert_eq!(body(&call).get("toolConfig"), None, "among no functions");
        call.tools = [provider_tool("google.google_search", json!({})), tool("look")].into();
        assert_eq!(body(&call)["toolConfig"], json!({"functionCallingConfig": expected}));
    }
}

#[test]
fn turns_alternate_and_nothing_blank_is_sent() {
    let prompt = vec![
        says(Role::User, "One"),
        says(Role::System, "Late."),
        says(Role::User, " \n"),
        says(Role::User, "Two"),
        says(Role::Assistant, "\n"),
        says(Role::User, "Three"),
        says(Role::Assistant, "A"),
        says(Role::Assistant, "B"),
    ];
    let body = body(&ModelCall::new(prompt));
    assert_eq!(body["systemInstruction"], json!({"parts": [{"text": "Late."}]}));
    let expected = json!([
        {"role": "user", "parts": [{"text": "One"}, {"text": "Two"}, {"text": "Three"}]},
        {"role": "model", "parts": [{"text": "A"}, {"text": "B"}]},
    ]);
    assert_eq!(body["contents"], expected);
}

#[test]
fn results_come_first_in_the_order_of_their_calls_with_their_ids_and_files_behind_them() {
    let picture =
        Output::Media { media_type: "image/png".into(), data: FileData::Base64("iVBO".into()), text: None };
    let given = |id: &str| ours(json!({"id": id}));
    let sent = contents(vec![
        says(Role::User, "Look"),
        Message::new(
            Role::Assistant,
            vec![
                calls("a", "{}", given("a")),
                calls("call_1", "not JSON", Metadata::new()),
                calls("a", "{}", given("a")),
            ],
        ),
        says(Role::User, "Hm."),
        Message::new(Role::Tool, vec![gives("call_1", picture), gives("a", Output::error("no"))]),
        Message::new(Role::Tool, vec![gives("a", Output::text("yes"))]),
    ]);
    let call = |id: &str| json!({"functionCall": {"name": "look", "args": {}, "id": id}});
    let expected = json!([
        {"role": "user", "parts": [{"text": "Look"}]},
        {"role": "model", "parts": [call("a"), {"functionCall": {"name": "look", "args": {}}}, call("a")]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "look", "response": {"error": "no"}, "id": "a"}},
            {"functionResponse": {"name": "look", "response": {"output": "[image/png]"}}},
            {"functionResponse": {"name": "look", "response": {"output": "yes"}, "id": "a"}},
            {"inlineData": {"mimeType": "image/png", "data": "iVBO"}},
            {"text": "Hm."},
        ]},
    ]);
    assert_eq!(sent, expected);
}

#[test]
fn files_are_sent_as_bytes_or_as_addresses() {
    let sent = contents(vec![Message::new(
        Role::User,
        vec![
            file("image/png", FileData::Base64("iVBO".into())),
            file("application/pdf", FileData::Url("https://example.org/a.pdf".into())),
            file("image/gif", FileData::Url("data:image/gif;base64,R0lG".into())),
            file("image/jpg", FileData::Base64("/9j/".into())),
        ],
    )]);
    let expected = json!([{"role": "user", "parts": [
        {"inlineData": {"mimeType": "image/png", "data": "iVBO"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.org/a.pdf"}},
        {"inlineData": {"mimeType": "image/gif", "data": "R0lG"}},
        {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/"}},
    ]}]);
    assert_eq!(sent, expected);
}

#[test]
fn signatures_go_back_on_their_own_parts_and_thoughts_are_never_text() {
    let thought = |text: &str, metadata| Part::Reasoning { text: text.to_owned(), metadata };
    let opaque = json!({"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "c"});
    let sent = contents(vec![Message::new(
        Role::Assistant,
        vec![
            thought("Hm.", Metadata::new()),
            thought("Hm. So é.", ours(json!({"thoughtSignature": "t", "signed_from": 4}))),
            Part::Text {
                text: "é😀 whole".to_owned(),
                metadata: ours(json!({"thoughtSignature": "s", "signed_from": 12})),
            },
            Part::Text {
                text: "é".to_owned(),
                metadata: ours(json!({"thoughtSignature": "s", "signed_from": 1})),
            },
            Part::Text { text: String::new(), metadata: ours(json!({"thoughtSignature": "e"})) },
            Part::Unknown(json!({"type": "google.executableCode", "part": opaque})),
            Part::Unknown(json!({"type": "anthropic.novel", "part": {}})),
            Part::Reasoning {
                text: "Other".to_owned(),
                metadata: [("anthropic".into(), json!({"signature": "x"}))].into(),
            },
        ],
    )]);
    let expected = json!([{"role": "model", "parts": [
        {"text": "So é.", "thought": true, "thoughtSignature": "t"},
        {"text": "é😀 whole"}, {"text": "", "thoughtSignature": "s"},
        {"text": "é", "thoughtSignature": "s"},
        {"text": "", "thoughtSignature": "e"},
        opaque,
    ]}]);
    assert_eq!(sent, expected);
}

#[test]
fn options_of_messages_and_tools_are_added_to_them() {
    let mut message = Message::new(
        Role::User,
        vec![Part::text("Look"), file("video/mp4", FileData::Url("https://example.org/v".into()))],
    );
    message.provider_options = [("google".into(), json!({"videoMetadata": {"fps": 1}}))].into();
    let mut call = ModelCall::new(vec![message]);
    call.tools = [ToolDefinition::Function {
        name: "look".into(),
        description: "Looks.".into(),
        input_schema: json!({}),
        provider_options: [("google".into(), json!({"behavior": "BLOCKING"}))].into(),
    }]
    .into();
    let body = body(&call);
    assert_eq!(body["contents"][0]["parts"][1]["videoMetadata"], json!({"fps": 1}));
    assert_eq!(body["tools"][0]["functionDeclarations"][0]["behavior"], "BLOCKING");
}

#[test]
fn a_schema_of_the_host_s_in_google_s_own_words_stands_in_place_of_the_other() {
    let mut call = ModelCall::new(vec![says(Role::User, "Look")]);
    call.tools = [ToolDefinition::Function {
        name: "look".into(),
        description: "Looks.".into(),
        input_schema: json!({"type": "object"}),
        provider_options: [("google".into(), json!({"parameters": {"type": "OBJECT"}}))].into(),
    }]
    .into();
    let expected = json!({"name": "look", "description": "Looks.", "parameters": {"type": "OBJECT"}});
    assert_eq!(body(&call)["tools"][0]["functionDeclarations"][0], expected);
}

#[tokio::test]
async fn what_the_format_has_no_place_for_is_told_first() {
    let server = FakeServer::start(Script::new(vec![Reply::text("Hi")])).await.expect("a free port");
    let model = Gemini::builder("m").base_url(server.base_url()).build().expect("valid");
    let blob = || file("image/png", FileData::Blob("b1".into()));
    let mut call = ModelCall::new(vec![
        Message::new(Role::System, vec![blob()]),
        Message::new(Role::User, vec![Part::text("Hi"), blob()]),
    ]);
    call.tools = [provider_tool("openai.web_search", json!({}))].into();
    let parts: Vec<ModelPart> = model.stream(call).collect().await;
    let expected = [
        "the tool search of another provider was left out",
        "a file of type image/png in a system message was left out",
        "a file of type image/png in a user message was left out",
    ];
    assert_eq!(parts[0], ModelPart::Warnings(expected.map(str::to_owned).into()));
    assert!(matches!(parts.last(), Some(ModelPart::Finish(_))));
}

#[test]
fn the_first_call_of_another_models_answer_is_marked_where_a_signature_is_demanded() {
    let sent = |model: &str, answer: Vec<Part>| {
        let prompt = vec![says(Role::User, "Look"), Message::new(Role::Assistant, answer)];
        let model = Gemini::builder(model).build().expect("a valid address");
        let body = model.request_body(&ModelCall::new(prompt));
        [0, 1].map(|at| body["contents"][1]["parts"][at].get("thoughtSignature").cloned())
    };
    let foreign = || vec![calls("a", "{}", Metadata::new()), calls("b", "{}", Metadata::new())];
    let mark = Some(json!("skip_thought_signature_validator"));
    assert_eq!(sent("gemini-3-pro-preview", foreign()), [mark.clone(), None]);
    assert_eq!(sent("gemini-flash-latest", foreign()), [mark, None]);
    assert_eq!(sent("gemini-2.5-pro", foreign()), [None, None]);
    assert_eq!(sent("another", foreign()), [None, None]);
    let own =
        vec![calls("a", "{}", ours(json!({"thoughtSignature": "c2ln"}))), calls("b", "{}", Metadata::new())];
    assert_eq!(
        sent("gemini-3-pro-preview", own),
        [Some(json!("c2ln")), None],
        "of its own only the first is signed"
    );
}
