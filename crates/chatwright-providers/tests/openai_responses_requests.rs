//! What is asked of OpenAI's Responses.

use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::model::{Message, ModelCall, ModelPart, Role, ToolChoice, ToolDefinition};
use chatwright_core::port::LanguageModel;
use chatwright_fake::{FakeServer, Reply, Script};
use chatwright_providers::OpenAiResponses;
use futures::StreamExt;
use serde_json::{Value, json};

fn body(call: &ModelCall) -> Value {
    let model = OpenAiResponses::builder("m").provider("gateway").build();
    model.expect("a valid address").request_body(call)
}

fn input(prompt: Vec<Message>) -> Value {
    body(&ModelCall::new(prompt))["input"].take()
}

fn ours(fields: Value) -> Metadata {
    Metadata::from([("openai".into(), fields)])
}

fn says(role: Role, text: &str) -> Message {
    Message::new(role, vec![Part::text(text)])
}

fn item(role: &str, text: &str) -> Value {
    let kind = if role == "assistant" { "output_text" } else { "input_text" };
    json!({"type": "message", "role": role, "content": [{"type": kind, "text": text}]})
}

fn calls(id: &str, input: &str) -> Part {
    let (id, name, input) = (id.into(), "look".into(), input.to_owned());
    let metadata = ours(json!({"id": "fc_1", "namespace": "zoo"}));
    Part::ToolCall { id, name, input, provider_executed: false, metadata }
}

fn called(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "call_id": id, "name": "look", "arguments": arguments, "namespace": "zoo"})
}

fn gives(id: &str, output: Output) -> Part {
    let (call_id, name) = (id.into(), "look".into());
    Part::ToolResult { call_id, name, output, provider_executed: false, metadata: Metadata::new() }
}

fn given(id: &str, output: Value) -> Value {
    let mut item = json!({"type": "function_call_output", "call_id": id});
    item["output"] = output;
    item
}

fn file(media_type: &str, name: Option<&str>, data: FileData) -> Part {
    let name = name.map(Into::into);
    Part::File { media_type: media_type.into(), name, data, metadata: Metadata::new() }
}

fn tool(name: &str) -> ToolDefinition {
    ToolDefinition::Function {
        name: name.into(),
        description: "Looks.".into(),
        input_schema: json!({"type": "object"}),
        provider_options: Default::default(),
    }
}

fn hosted(id: &str) -> ToolDefinition {
    ToolDefinition::Provider { id: id.into(), name: "search".into(), args: json!({"size": "low"}) }
}

#[test]
fn a_request_says_everything_that_was_asked() {
    let mut call = ModelCall::new(vec![
        says(Role::System, "Be brief."),
        says(Role::User, "Look"),
        Message::new(Role::Assistant, vec![Part::text("Yes."), calls("a", r#"{"at": 1}"#)]),
        Message::new(Role::Tool, vec![gives("a", Output::text("a cat"))]),
    ]);
    let strict = ToolDefinition::Function {
        name: "strict".into(),
        description: "Looks.".into(),
        input_schema: json!({"type": "object"}),
        provider_options: [("openai".into(), json!({"strict": true}))].into(),
    };
    call.tools = [
        tool("look"),
        strict,
        hosted("openai.web_search"),
        hosted("gateway.x_search"),
        hosted("anthropic.web_search_20250305"),
    ]
    .into();
    call.tool_choice = Some(ToolChoice::Tool("look".into()));
    (call.max_output_tokens, call.temperature, call.top_p) = (Some(99), Some(0.5), Some(0.25));
    call.provider_options = [
        (
            "openai".into(),
            json!({"reasoning": {"effort": "low"}, "parallel_tool_calls": false, "top_p": 0.75}),
        ),
        ("gateway".into(), json!({"route": "fast"})),
        ("anthropic".into(), json!({"thinking": {}})),
    ]
    .into();
    let function = |name: &str, strict: bool| {
        json!({"type": "function", "name": name, "description": "Looks.",
            "parameters": {"type": "object", "properties": {}}, "strict": strict})
    };
    let expected = json!({
        "model": "m", "stream": true, "store": false, "include": ["reasoning.encrypted_content"],
        "input": [
            item("developer", "Be brief."),
            item("user", "Look"),
            item("assistant", "Yes."),
            called("a", r#"{"at": 1}"#),
            given("a", "a cat".into()),
        ],
        "tools": [
            function("look", false),
            function("strict", true),
            {"type": "web_search", "size": "low"},
            {"type": "x_search", "size": "low"},
        ],
        "tool_choice": {"type": "function", "name": "look"},
        "max_output_tokens": 99, "temperature": 0.5, "top_p": 0.75,
        "reasoning": {"effort": "low"}, "parallel_tool_calls": false, "route": "fast",
    });
    assert_eq!(body(&call), expected);
}

#[test]
fn what_is_not_asked_is_left_to_the_provider_and_nothing_is_stored() {
    let expected = json!({
        "model": "m", "stream": true, "store": false, "include": ["reasoning.encrypted_content"],
        "input": [item("user", "Hi")],
    });
    assert_eq!(body(&ModelCall::new(vec![says(Role::User, "Hi")])), expected);
}

#[test]
fn a_choice_is_told_in_the_words_of_the_format() {
    for (choice, expected) in [
        (ToolChoice::None, json!("none")),
        (ToolChoice::Auto, json!("auto")),
        (ToolChoice::Required, json!("required")),
        (ToolChoice::Tool("search".into()), json!({"type": "web_search"})),
    ] {
        let mut call = ModelCall::new(vec![says(Role::User, "Hi")]);
        call.tool_choice = Some(choice);
        assert_eq!(body(&call).get("tool_choice"), None, "among no tools");
        call.tools = [tool("look"), hosted("openai.web_search")].into();
        assert_eq!(body(&call)["tool_choice"], expected);
    }
}

#[test]
fn items_stand_in_the_order_of_what_happened_and_nothing_blank_is_sent() {
    let prompt = vec![
        says(Role::User, "One"),
        says(Role::System, "First."),
        says(Role::User, " \n"),
        says(Role::Assistant, "\n"),
        says(Role::Assistant, "A"),
        says(Role::User, "Two"),
    ];
    let longer = input(prompt.clone());
    let expected =
        [item("developer", "First."), item("user", "One"), item("assistant", "A"), item("user", "Two")];
    assert_eq!(longer, json!(expected));
    // What was sent before is the beginning of what is sent next.
    assert_eq!(input(prompt[..5].to_vec()), json!(expected[..3]));
}

#[test]
fn pictures_and_documents_are_sent_with_the_options_of_their_message() {
    let base64 = |data: &str| FileData::Base64(data.into());
    let mut message = Message::new(
        Role::User,
        vec![
            file("application/pdf", Some("a.pdf"), base64("JVBERg==")),
            file("application/pdf", None, FileData::Url("https://h/a.pdf".into())),
            file("application/pdf", None, FileData::Url("data:application/pdf;base64,JVBERg==".into())),
            file("image/png", None, base64("iVBO")),
            file("image/png", None, FileData::Url("https://h/a.png".into())),
        ],
    );
    message.provider_options = [("openai".into(), json!({"detail": "low"}))].into();
    let data = "data:application/pdf;base64,JVBERg==";
    let expected = json!([{"type": "message", "role": "user", "content": [
        {"type": "input_file", "filename": "a.pdf", "file_data": data},
        {"type": "input_file", "file_url": "https://h/a.pdf"},
        {"type": "input_file", "filename": "file", "file_data": data},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBO"},
        {"type": "input_image", "image_url": "https://h/a.png", "detail": "low"},
    ]}]);
    assert_eq!(input(vec![message]), expected);
}

#[test]
fn results_are_texts_errors_and_media_and_ids_that_come_twice_are_told_apart() {
    let png = |text: Option<&str>, data| Output::Media {
        media_type: "image/png".into(),
        data,
        text: text.map(str::to_owned),
    };
    let long = "x".repeat(70);
    let prompt = vec![
        Message::new(Role::Assistant, vec![calls("a", "{}"), calls("a", "no JSON"), calls(&long, "{}")]),
        Message::new(
            Role::Tool,
            vec![
                gives("a", Output::error("broken")),
                gives("a", png(Some("a cat"), FileData::Base64("iVBO".into()))),
                gives(&long, png(None, FileData::Blob("b1".into()))),
            ],
        ),
    ];
    let image = json!({"type": "input_image", "image_url": "data:image/png;base64,iVBO"});
    let text = |text: &str| json!({"type": "input_text", "text": text});
    let expected = json!([
        called("a", "{}"),
        called("a_2", "{}"),
        called(&long[..64], "{}"),
        given("a", "Error: broken".into()),
        given("a_2", json!([text("a cat"), image])),
        given(&long[..64], json!([text("[image/png]")])),
    ]);
    assert_eq!(input(prompt), expected);
}

#[test]
fn thoughts_are_sent_back_only_with_their_encrypted_content_and_what_followed_them() {
    let sealed = |id: &str| {
        json!({"type": "reasoning", "id": id, "encrypted_content": "c2VhbGVk",
        "summary": [{"type": "summary_text", "text": "Hm."}]})
    };
    let thought = |fields: Value| Part::Reasoning { text: "Hm.".to_owned(), metadata: ours(fields) };
    let unsigned = Part::Reasoning { text: "Hm.".to_owned(), metadata: Metadata::new() };
    let others = Metadata::from([("anthropic".into(), json!({"signature": "s"}))]);
    let others = Part::Reasoning { text: "Hm.".to_owned(), metadata: others };
    let open = json!({"item": {"type": "reasoning", "id": "rs_9"}});
    let answer = vec![
        thought(json!({"item": sealed("rs_1")})),
        unsigned,
        others,
        thought(open),
        Part::text("Yes."),
        thought(json!({"item": sealed("rs_2")})),
        calls("a", "{}"),
        // An interrupt came before what it led to.
        thought(json!({"item": sealed("rs_3")})),
    ];
    let expected = json!([sealed("rs_1"), item("assistant", "Yes."), sealed("rs_2"), called("a", "{}")]);
    let sent = input(vec![Message::new(Role::Assistant, answer)]);
    let (sent, _) = sent.as_array().and_then(|items| items.split_at_checked(4)).expect("and a result");
    assert_eq!(json!(sent), expected);
}

#[test]
fn texts_go_back_with_their_phase_and_refusals_as_what_they_are() {
    let text = |fields: Value| Part::Text { text: "No.".to_owned(), metadata: ours(fields) };
    let answer = vec![
        text(json!({"phase": "commentary", "annotations": [{"type": "url_citation", "url": "u"}]})),
        text(json!({"refusal": true})),
    ];
    let mut said = item("assistant", "No.");
    said["phase"] = "commentary".into();
    let refused =
        json!({"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]});
    assert_eq!(input(vec![Message::new(Role::Assistant, answer)]), json!([said, refused]));
}

#[test]
fn items_of_the_provider_go_back_as_they_came_and_calls_without_an_answer_do_not() {
    let search = json!({"type": "web_search_call", "id": "ws_1", "action": {"query": "cats"}});
    let ran = |metadata| Part::ToolCall {
        id: "ws_1".into(),
        name: "web_search".into(),
        input: "{}".to_owned(),
        provider_executed: true,
        metadata,
    };
    let found = Part::ToolResult {
        call_id: "ws_1".into(),
        name: "web_search".into(),
        output: Output::text("cats"),
        provider_executed: true,
        metadata: Metadata::new(),
    };
    let drawn = json!({"type": "image_generation_call", "id": "ig_1", "result": ""});
    let picture = |data| Part::File {
        media_type: "image/png".into(),
        name: None,
        data,
        metadata: ours(json!({"item": drawn})),
    };
    let opaque = |item: &Value| {
        let kind = format!("openai.{}", item["type"].as_str().expect("a type"));
        Part::Unknown(json!({"type": kind, "item": item}))
    };
    let shell = |id: &str| json!({"type": "shell_call", "call_id": id, "action": {"commands": ["ls"]}});
    let output = json!({"type": "shell_call_output", "call_id": "s1", "output": []});
    let listed = json!({"type": "mcp_list_tools", "id": "mcpl_1", "tools": []});
    let approves = json!({"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": true});
    let answer = vec![
        opaque(&listed),
        ran(ours(json!({"item": search}))),
        found,
        ran(Metadata::from([("anthropic".into(), json!({"type": "server_tool_use"}))])),
        picture(FileData::Base64("iVBO".into())),
        picture(FileData::Blob("b1".into())),
        opaque(&shell("s1")),
        opaque(&shell("s2")),
        Part::Unknown(json!({"type": "anthropic.hologram", "block": {}, "item": {}})),
    ];
    let prompt = vec![
        Message::new(Role::Assistant, answer),
        Message::new(Role::Tool, vec![opaque(&output)]),
        Message::new(Role::User, vec![opaque(&approves)]),
    ];
    let mut image = drawn.clone();
    image["result"] = "iVBO".into();
    assert_eq!(input(prompt), json!([listed, search, image, shell("s1"), output, approves]));
}

#[tokio::test]
async fn what_the_format_has_no_place_for_is_told_first() {
    let server = FakeServer::start(Script::new(vec![Reply::text("Hi")])).await.expect("a free port");
    let model = OpenAiResponses::builder("m").base_url(server.base_url()).build().expect("valid");
    let sound = || file("audio/wav", None, FileData::Base64("UklG".into()));
    let heard =
        Output::Media { media_type: "audio/wav".into(), data: FileData::Base64("UklG".into()), text: None };
    let mut call = ModelCall::new(vec![
        Message::new(Role::User, vec![Part::text("Hi"), sound()]),
        Message::new(Role::Assistant, vec![sound(), calls("a", "{}")]),
        Message::new(Role::Tool, vec![gives("a", heard)]),
    ]);
    (call.top_k, call.seed, call.presence_penalty, call.frequency_penalty) =
        (Some(1), Some(2), Some(0.5), Some(0.5));
    call.stop_sequences = vec!["END".to_owned()];
    call.tools = [hosted("anthropic.web_search_20250305")].into();
    let parts: Vec<ModelPart> = model.stream(call).collect().await;
    let expected = [
        "top_k is not supported",
        "seed is not supported",
        "presence_penalty is not supported",
        "frequency_penalty is not supported",
        "stop_sequences is not supported",
        "the tool search of another provider was left out",
        "a file of type audio/wav in a user message was left out",
        "a file of type audio/wav in a assistant message was left out",
        "a file of type audio/wav in a tool message was left out",
    ];
    assert_eq!(parts[0], ModelPart::Warnings(expected.map(str::to_owned).into()));
    assert!(matches!(parts.last(), Some(ModelPart::Finish(_))));
}

#[test]
fn encrypted_thoughts_are_asked_only_of_models_that_think() {
    let include = |model: &str| {
        let model = OpenAiResponses::builder(model).build().expect("a valid address");
        model.request_body(&ModelCall::new(vec![says(Role::User, "Hi")])).get("include").cloned()
    };
    for model in
        ["gpt-5", "gpt-5.1-chat-latest", "o3", "codex-mini-latest", "grok-4", "openai/gpt-5-mini", "ours"]
    {
        assert_eq!(include(model), Some(json!(["reasoning.encrypted_content"])), "{model}");
    }
    for model in [
        "gpt-4o",
        "gpt-4.1-mini",
        "gpt-3.5-turbo",
        "chatgpt-4o-latest",
        "gpt-5-chat-latest",
        "openai/gpt-4o",
        "ft:gpt-4o-mini:us",
    ] {
        assert_eq!(include(model), None, "{model}");
    }
}

#[test]
fn names_of_tools_that_a_model_made_up_are_sent_in_letters_that_are_allowed() {
    let made_up = Part::ToolCall {
        id: "a".into(),
        name: "multi_tool_use.parallel".into(),
        input: "{}".to_owned(),
        provider_executed: false,
        metadata: Metadata::new(),
    };
    let sent = input(vec![Message::new(Role::Assistant, vec![made_up])]);
    assert_eq!(sent[0]["name"], "multi_tool_use_parallel");
}

#[test]
fn a_tool_without_arguments_has_properties() {
    let mut call = ModelCall::new(vec![says(Role::User, "Hi")]);
    call.tools = [tool("look")].into();
    assert_eq!(body(&call)["tools"][0]["parameters"], json!({"type": "object", "properties": {}}));
}

#[test]
fn what_another_provider_sealed_or_ran_is_not_sent() {
    let by = |provider: &str, item: &Value| ours(json!({"item": item, "provider": provider}));
    let sealed = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "c2VhbGVk", "summary": []});
    let search = json!({"type": "web_search_call", "id": "ws_1", "action": {"query": "cats"}});
    let listed = json!({"type": "mcp_list_tools", "id": "mcpl_1", "tools": []});
    let drawn = json!({"type": "image_generation_call", "id": "ig_1", "result": "iVBO"});
    let answer = |provider: &str| {
        vec![
            Part::Unknown(json!({"type": "openai.mcp_list_tools", "item": listed, "provider": provider})),
            Part::Reasoning { text: String::new(), metadata: by(provider, &sealed) },
            Part::ToolCall {
                id: "ws_1".into(),
                name: "web_search".into(),
                input: "{}".to_owned(),
                provider_executed: true,
                metadata: by(provider, &search),
            },
            Part::File {
                media_type: "image/png".into(),
                name: None,
                data: FileData::Base64("iVBO".into()),
                metadata: by(provider, &drawn),
            },
            Part::text("Cats."),
        ]
    };
    let sent = |provider: &str| input(vec![Message::new(Role::Assistant, answer(provider))]);
    let said = item("assistant", "Cats.");
    assert_eq!(sent("gateway"), json!([listed, sealed, search, drawn, said]));
    assert_eq!(sent("openai"), json!([said]));
}
