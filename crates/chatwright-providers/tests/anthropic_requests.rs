//! What is asked of Anthropic.

use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::model::{Message, ModelCall, ModelPart, Role, ToolChoice, ToolDefinition};
use chatwright_core::port::LanguageModel;
use chatwright_fake::{FakeServer, Reply, Script};
use chatwright_providers::AnthropicMessages;
use futures::StreamExt;
use serde_json::{Value, json};

/// What a call sends, without marks for prompt caching.
fn body(call: &ModelCall) -> Value {
    let model = AnthropicMessages::builder("m").provider("gateway").no_prompt_caching().build();
    model.expect("a valid address").request_body(call)
}

/// What a call sends, with marks.
fn marked(call: &ModelCall) -> Value {
    AnthropicMessages::builder("m").build().expect("a valid address").request_body(call)
}

fn messages(prompt: Vec<Message>) -> Value {
    body(&ModelCall::new(prompt))["messages"].take()
}

fn ours(fields: Value) -> Metadata {
    Metadata::from([("anthropic".into(), fields)])
}

fn says(role: Role, text: &str) -> Message {
    Message::new(role, vec![Part::text(text)])
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn calls(id: &str, input: &str) -> Part {
    let (id, name, input) = (id.into(), "look".into(), input.to_owned());
    Part::ToolCall { id, name, input, provider_executed: false, metadata: Metadata::new() }
}

fn gives(id: &str, output: Output) -> Part {
    let (call_id, name) = (id.into(), "look".into());
    Part::ToolResult { call_id, name, output, provider_executed: false, metadata: Metadata::new() }
}

fn searches(id: &str) -> Part {
    Part::ToolCall {
        id: id.into(),
        name: "web_search".into(),
        input: r#"{"query":"cats"}"#.to_owned(),
        provider_executed: true,
        metadata: ours(json!({"type": "server_tool_use"})),
    }
}

fn found(id: &str) -> (Part, Value) {
    let block =
        json!({"type": "web_search_tool_result", "tool_use_id": id, "content": [{"encrypted_content": "x"}]});
    let part = Part::ToolResult {
        call_id: id.into(),
        name: "web_search".into(),
        output: Output::text("cats"),
        provider_executed: true,
        metadata: ours(json!({"block": block})),
    };
    (part, block)
}

fn image(data: FileData) -> Part {
    Part::File { media_type: "image/png".into(), name: None, data, metadata: Metadata::new() }
}

fn tool(name: &str) -> ToolDefinition {
    ToolDefinition::Function {
        name: name.into(),
        description: "Looks.".into(),
        input_schema: json!({"type": "object"}),
        provider_options: Default::default(),
    }
}

#[test]
fn a_request_says_everything_that_was_asked() {
    let mut call = ModelCall::new(vec![
        says(Role::System, "Be brief."),
        says(Role::User, "Look"),
        Message::new(Role::Assistant, vec![Part::text("Yes."), calls("a", r#"{"at": 1}"#)]),
        Message::new(Role::Tool, vec![gives("a", Output::text("a cat"))]),
    ]);
    call.tools = [
        tool("look"),
        ToolDefinition::Provider {
            id: "anthropic.web_search_20250305".into(),
            name: "web_search".into(),
            args: json!({"max_uses": 3}),
        },
        ToolDefinition::Provider {
            id: "openai.web_search".into(),
            name: "web_search".into(),
            args: json!({}),
        },
    ]
    .into();
    call.tool_choice = Some(ToolChoice::Tool("look".into()));
    (call.max_output_tokens, call.temperature, call.top_p, call.top_k) =
        (Some(99), Some(0.5), Some(0.25), Some(7));
    call.stop_sequences = vec!["END".to_owned()];
    call.provider_options = [
        ("anthropic".into(), json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "top_k": 8})),
        ("gateway".into(), json!({"route": "fast"})),
        ("openai".into(), json!({"store": false})),
    ]
    .into();
    let expected = json!({
        "model": "m", "stream": true, "max_tokens": 99,
        "system": [text("Be brief.")],
        "messages": [
            {"role": "user", "content": [text("Look")]},
            {"role": "assistant", "content": [
                text("Yes."), {"type": "tool_use", "id": "a", "name": "look", "input": {"at": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [text("a cat")]}]},
        ],
        "tools": [
            {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
        ],
        "tool_choice": {"type": "tool", "name": "look"},
        "temperature": 0.5, "top_p": 0.25, "top_k": 8, "stop_sequences": ["END"],
        "thinking": {"type": "enabled", "budget_tokens": 1024}, "route": "fast",
    });
    assert_eq!(body(&call), expected);
}

#[test]
fn what_is_not_asked_is_left_to_the_provider_but_for_the_limit_that_it_demands() {
    let expected = json!({
        "model": "m", "stream": true, "max_tokens": 32_000, "messages": [{"role": "user", "content": [text("Hi")]}],
    });
    assert_eq!(body(&ModelCall::new(vec![says(Role::User, "Hi")])), expected);
}

#[test]
fn a_choice_is_told_in_the_words_of_the_format() {
    let single = json!({"tool_choice": {"disable_parallel_tool_use": true}});
    let whole = json!({"tool_choice": {"type": "any"}});
    for (choice, options, expected) in [
        (Some(ToolChoice::Auto), None, json!({"type": "auto"})),
        (Some(ToolChoice::Required), None, json!({"type": "any"})),
        (Some(ToolChoice::None), None, json!({"type": "none"})),
        (None, None, Value::Null),
        (None, Some(&single), json!({"type": "auto", "disable_parallel_tool_use": true})),
        (
            Some(ToolChoice::Required),
            Some(&single),
            json!({"type": "any", "disable_parallel_tool_use": true}),
        ),
        (Some(ToolChoice::None), Some(&single), json!({"type": "none"})),
        (Some(ToolChoice::None), Some(&whole), json!({"type": "any"})),
    ] {
        let mut call = ModelCall::new(vec![says(Role::User, "Hi")]);
        call.tool_choice = choice.clone();
        call.provider_options =
            options.map(|options| ("anthropic".into(), options.clone())).into_iter().collect();
        assert_eq!(body(&call).get("tool_choice"), None, "among no tools");
        call.tools = [tool("look")].into();
        assert_eq!(body(&call)["tool_choice"], expected, "{choice:?} with {options:?}");
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
        says(Role::Assistant, "B "),
    ];
    let call = ModelCall::new(prompt);
    let body = body(&call);
    assert_eq!(body["system"], json!([text("Late.")]));
    let expected = json!([
        {"role": "user", "content": [text("One"), text("Two"), text("Three")]},
        {"role": "assistant", "content": [text("A"), text("B")]},
    ]);
    assert_eq!(body["messages"], expected);
}

#[test]
fn results_come_first_in_the_order_of_their_calls_whatever_they_are() {
    let pdf = Output::Media {
        media_type: "application/pdf".into(),
        data: FileData::Base64("JVBERg==".into()),
        text: Some("page 1".to_owned()),
    };
    let sound =
        Output::Media { media_type: "audio/wav".into(), data: FileData::Base64("AA==".into()), text: None };
    let prompt = vec![
        Message::new(
            Role::Assistant,
            ["a", "b", "c", "d", "e"].map(|id| calls(id, if id == "a" { "{\"x\":" } else { "[1]" })),
        ),
        says(Role::User, "And?"),
        Message::new(Role::Tool, vec![gives("b", Output::error(" ")), gives("a", Output::text(""))]),
        Message::new(Role::Tool, vec![gives("e", sound), gives("d", pdf), gives("c", Output::error("no"))]),
    ];
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "look", "input": {}});
    let pdf = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}});
    let expected = json!([
        {"role": "assistant", "content": [call("a"), call("b"), call("c"), call("d"), call("e")]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a"},
            {"type": "tool_result", "tool_use_id": "b", "is_error": true, "content": [text("error")]},
            {"type": "tool_result", "tool_use_id": "c", "is_error": true, "content": [text("no")]},
            {"type": "tool_result", "tool_use_id": "d", "content": [text("page 1"), pdf]},
            {"type": "tool_result", "tool_use_id": "e", "content": [text("[audio/wav]")]},
            text("And?"),
        ]},
    ]);
    assert_eq!(messages(prompt), expected);
}

#[test]
fn ids_of_other_providers_that_repeat_or_have_odd_letters_still_pair_calls_and_results() {
    let turn = || {
        [
            Message::new(Role::Assistant, vec![calls("f:1", "{}"), calls("f:1", "{}")]),
            Message::new(
                Role::Tool,
                vec![gives("f:1", Output::text("one")), gives("f:1", Output::text("two"))],
            ),
        ]
    };
    let sent = messages([turn(), turn()].concat());
    let ids = |at: usize, field: &str| {
        let blocks = sent[at]["content"].as_array().expect("blocks");
        blocks.iter().map(|block| block[field].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(0, "id"), ["f_1", "f_1_2"]);
    assert_eq!(ids(1, "tool_use_id"), ["f_1", "f_1_2"]);
    assert_eq!(ids(2, "id"), ["f_1_3", "f_1_4"]);
    assert_eq!(ids(3, "tool_use_id"), ["f_1_3", "f_1_4"]);
    assert_eq!(sent[3]["content"][1]["content"][0]["text"], "two");
    // A result belongs to the newest answer, also where an older one had none.
    let unanswered = Message::new(Role::Assistant, vec![calls("f:1", "{}")]);
    let sent = messages([vec![unanswered, says(Role::User, "Again")], turn().into()].concat());
    assert_eq!(sent[3]["content"][0]["tool_use_id"], "f_1_2");
}

#[test]
fn names_that_a_model_of_another_provider_wrote_are_sent_in_letters_that_are_taken() {
    let long = "x".repeat(300);
    for (name, sent) in [("default_api:look.é", "default_api_look__"), ("", "call"), (&*long, &long[..128])]
    {
        let mut part = calls("a", "{}");
        if let Part::ToolCall { name: written, .. } = &mut part {
            *written = name.into();
        }
        let prompt = vec![
            Message::new(Role::Assistant, vec![part]),
            Message::new(Role::Tool, vec![gives("a", Output::error("no such tool"))]),
        ];
        assert_eq!(messages(prompt)[0]["content"][0]["name"], sent);
    }
}

#[test]
fn images_and_documents_are_sent_by_their_bytes_or_their_address() {
    let pdf = |data: FileData| Part::File {
        media_type: "application/pdf".into(),
        name: Some("a.pdf".into()),
        data,
        metadata: Metadata::new(),
    };
    let jpg = Part::File {
        media_type: "image/jpg".into(),
        name: Some("a.jpg".into()),
        data: FileData::Base64("AA==".into()),
        metadata: Metadata::new(),
    };
    let prompt = vec![Message::new(
        Role::User,
        vec![
            image(FileData::Base64("iVBO".into())),
            image(FileData::Url("https://h/a.png".into())),
            image(FileData::Url("data:image/png;base64,iVBO".into())),
            jpg,
            pdf(FileData::Base64("JVBERg==".into())),
            pdf(FileData::Url("https://h/a.pdf".into())),
            pdf(FileData::Blob("b1".into())),
        ],
    )];
    let bytes = |kind: &str, data: &str| json!({"type": "base64", "media_type": kind, "data": data});
    let expected = json!([{"role": "user", "content": [
        {"type": "image", "source": bytes("image/png", "iVBO")},
        {"type": "image", "source": {"type": "url", "url": "https://h/a.png"}},
        {"type": "image", "source": bytes("image/png", "iVBO")},
        {"type": "image", "source": bytes("image/jpeg", "AA==")},
        {"type": "document", "title": "a.pdf", "source": bytes("application/pdf", "JVBERg==")},
        {"type": "document", "title": "a.pdf", "source": {"type": "url", "url": "https://h/a.pdf"}},
    ]}]);
    assert_eq!(messages(prompt), expected);
}

#[test]
fn thoughts_are_sent_back_only_with_what_proves_them() {
    let thought = |text: &str, metadata: Metadata| Part::Reasoning { text: text.to_owned(), metadata };
    let answer = vec![
        thought("Signed.", ours(json!({"signature": "c2ln"}))),
        thought("", ours(json!({"redacted_data": "ZGF0YQ=="}))),
        thought("Unsigned.", Metadata::new()),
        thought("Another's.", Metadata::from([("openai".into(), json!({"encrypted_content": "x"}))])),
        Part::Text { text: "So.".to_owned(), metadata: ours(json!({"citations": [{"url": "u"}]})) },
        Part::Unknown(
            json!({"type": "anthropic.compaction", "block": {"type": "compaction", "content": "c"}}),
        ),
        Part::Unknown(json!({"type": "openai.novel", "block": {"type": "novel"}})),
    ];
    let prompt = vec![says(Role::User, "Hi"), Message::new(Role::Assistant, answer)];
    let expected = json!([
        {"type": "thinking", "thinking": "Signed.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        {"type": "text", "text": "So.", "citations": [{"url": "u"}]},
        {"type": "compaction", "content": "c"},
    ]);
    assert_eq!(messages(prompt)[1]["content"], expected);
}

#[test]
fn an_answer_that_was_stopped_in_its_thoughts_does_not_end_in_one() {
    let thought = |fields: Value| Part::Reasoning { text: "Hm.".to_owned(), metadata: ours(fields) };
    let thoughts = vec![thought(json!({"signature": "c2ln"})), thought(json!({"redacted_data": "ZGF0YQ=="}))];
    let stopped = Message::new(Role::Assistant, thoughts.clone());
    let sent = json!([{"role": "user", "content": [text("One"), text("Two")]}]);
    assert_eq!(messages(vec![says(Role::User, "One"), stopped.clone(), says(Role::User, "Two")]), sent);
    // Nor where a call of the provider's that came behind them was torn.
    let searching = Message::new(Role::Assistant, [thoughts.clone(), vec![searches("s")]].concat());
    assert_eq!(messages(vec![says(Role::User, "One"), searching, says(Role::User, "Two")]), sent);
    let spoken = [vec![Part::text("So.")], thoughts].concat();
    let sent = messages(vec![says(Role::User, "One"), Message::new(Role::Assistant, spoken)]);
    assert_eq!(sent[1]["content"], json!([text("So.")]));
    // An answer that goes on keeps them.
    let sent = messages(vec![says(Role::User, "One"), stopped, says(Role::Assistant, "So.")]);
    let kinds = |block: &Value| block["type"].as_str().expect("a type").to_owned();
    let kinds: Vec<String> = sent[1]["content"].as_array().expect("blocks").iter().map(kinds).collect();
    assert_eq!(kinds, ["thinking", "redacted_thinking", "text"]);
}

#[test]
fn a_search_is_sent_back_whole_or_not_at_all() {
    let call = |id: &str| json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": "cats"}});
    let (hits, block) = found("s1");
    let (orphan, _) = found("s0");
    let first = Message::new(
        Role::Assistant,
        vec![searches("s1"), hits, orphan, Part::text("Cats."), searches("s2")],
    );
    // A turn that paused goes on with its call, which has no result yet.
    let prompt = vec![says(Role::User, "Hi"), first];
    assert_eq!(
        messages(prompt.clone())[1]["content"],
        json!([call("s1"), block.clone(), text("cats"), text("Cats."), call("s2")])
    );
    // When somebody spoke since, it was torn apart.
    let spoken = [prompt, vec![says(Role::User, "Stop")]].concat();
    assert_eq!(messages(spoken)[1]["content"], json!([call("s1"), block, text("cats"), text("Cats.")]));
    let another = Part::ToolCall {
        id: "w".into(),
        name: "web_search".into(),
        input: "{}".to_owned(),
        provider_executed: true,
        metadata: Metadata::from([("openai".into(), json!({"item": "ws_1"}))]),
    };
    let prompt = vec![Message::new(Role::Assistant, vec![another, Part::text("Hm.")])];
    assert_eq!(messages(prompt)[0]["content"], json!([text("Hm.")]));
}

#[test]
fn a_call_of_a_program_that_the_provider_runs_names_it_until_it_is_torn() {
    let program = Part::ToolCall {
        id: "p".into(),
        name: "code_execution".into(),
        input: "{}".to_owned(),
        provider_executed: true,
        metadata: ours(json!({"type": "server_tool_use"})),
    };
    let caller = json!({"type": "code_execution_20250825", "tool_id": "p"});
    let roll = |id: &str, caller: &Value| Part::ToolCall {
        id: id.into(),
        name: "roll".into(),
        input: "{}".to_owned(),
        provider_executed: false,
        metadata: ours(json!({"caller": caller})),
    };
    let answer = vec![program, roll("a", &caller), roll("b", &json!({"type": "direct"}))];
    let prompt = vec![
        Message::new(Role::Assistant, answer),
        Message::new(Role::Tool, vec![gives("a", Output::text("6")), gives("b", Output::text("1"))]),
    ];
    let rolled = |id: &str| json!({"type": "tool_use", "id": id, "name": "roll", "input": {}});
    let mut called = rolled("a");
    called["caller"] = caller;
    let program = json!({"type": "server_tool_use", "id": "p", "name": "code_execution", "input": {}});
    assert_eq!(messages(prompt.clone())[0]["content"], json!([program, called, rolled("b")]));
    let torn = [prompt, vec![says(Role::User, "Stop")]].concat();
    assert_eq!(messages(torn)[0]["content"], json!([rolled("a"), rolled("b")]));
}

#[test]
fn what_a_torn_program_of_the_provider_called_is_torn_with_it() {
    let program = Part::ToolCall {
        id: "p".into(),
        name: "code_execution".into(),
        input: "{}".to_owned(),
        provider_executed: true,
        metadata: ours(json!({"type": "server_tool_use"})),
    };
    let mut search = searches("s");
    if let Part::ToolCall { metadata, .. } = &mut search {
        let caller = json!({"type": "code_execution_20260120", "tool_id": "p"});
        *metadata = ours(json!({"type": "server_tool_use", "caller": caller}));
    }
    let (hits, _) = found("s");
    let whole = vec![
        says(Role::User, "Hi"),
        Message::new(Role::Assistant, vec![program, search.clone(), hits.clone()]),
    ];
    assert_eq!(messages(whole.clone())[1]["content"].as_array().map(Vec::len), Some(3), "it goes on");
    let expected = json!([{"role": "user", "content": [text("Hi"), text("Stop")]}]);
    assert_eq!(messages([whole, vec![says(Role::User, "Stop")]].concat()), expected);
    // The program stood in what is no longer shown.
    let rest = vec![says(Role::User, "Hi"), Message::new(Role::Assistant, vec![search, hits])];
    assert_eq!(messages(rest).as_array().map(Vec::len), Some(1));
}

#[test]
fn a_result_that_comes_after_its_call_was_torn_is_not_sent_alone() {
    let (hits, _) = found("s");
    let prompt = vec![
        Message::new(Role::Assistant, vec![Part::text("Wait."), searches("s")]),
        says(Role::User, "And?"),
        Message::new(Role::Assistant, vec![hits, Part::text("Cats.")]),
    ];
    let sent = messages(prompt);
    assert_eq!(sent[0]["content"], json!([text("Wait.")]));
    assert_eq!(sent[2]["content"], json!([text("cats"), text("Cats.")]));
}

#[test]
fn a_long_conversation_whose_ids_all_repeat_is_written_in_linear_time() {
    let turn = || {
        [
            Message::new(Role::Assistant, vec![calls("call_0", "{}")]),
            Message::new(Role::Tool, vec![gives("call_0", Output::text("x"))]),
        ]
    };
    let sent = messages((0..20_000).flat_map(|_| turn()).collect());
    assert_eq!(sent[39_998]["content"][0]["id"], "call_0_20000");
    assert_eq!(sent[39_999]["content"][0]["tool_use_id"], "call_0_20000");
}

#[test]
fn four_marks_let_the_next_request_read_this_one_from_the_cache() {
    let mark = json!({"type": "ephemeral"});
    let mut later = tool("later");
    if let ToolDefinition::Function { provider_options, .. } = &mut later {
        provider_options.insert("anthropic".into(), json!({"defer_loading": true}));
    }
    let signed = Part::Reasoning { text: "Hm.".to_owned(), metadata: ours(json!({"signature": "s"})) };
    let mut call = ModelCall::new(vec![
        says(Role::System, "One."),
        says(Role::System, "Two."),
        says(Role::User, "First"),
        says(Role::Assistant, "A"),
        says(Role::User, "Second"),
        Message::new(Role::Assistant, vec![calls("a", "{}"), signed]),
        Message::new(Role::Tool, vec![gives("a", Output::text("x"))]),
    ]);
    call.tools = [tool("one"), tool("two"), later].into();
    let body = marked(&call);
    let marks: Vec<String> = marks(&body, "");
    assert_eq!(
        marks,
        ["/messages/2/content/0", "/messages/4/content/0", "/system/1", "/tools/1"],
        "in {body:#}"
    );
    assert_eq!(body["system"][1]["cache_control"], mark);

    // An answer that is begun for the model, and ends in a thought.
    let mut prompt = call.prompt.into_messages();
    prompt.truncate(5);
    let signed = Part::Reasoning { text: "Hm.".to_owned(), metadata: ours(json!({"signature": "s"})) };
    prompt.push(Message::new(Role::Assistant, vec![Part::text("So"), signed]));
    call.prompt = prompt.clone().into();
    assert_eq!(self::marks(&marked(&call), "/messages"), ["/messages/2/content/0", "/messages/3/content/0"]);

    // A host that sets one sets all.
    let long = json!({"cache_control": {"type": "ephemeral", "ttl": "1h"}});
    let mut on_message = call.clone();
    prompt[2].provider_options.insert("anthropic".into(), long.clone());
    on_message.prompt = prompt.into();
    assert_eq!(self::marks(&marked(&on_message), ""), ["/messages/0/content/0"]);
    assert_eq!(marked(&on_message)["messages"][0]["content"][0]["cache_control"], long["cache_control"]);
    call.provider_options = [("anthropic".into(), long)].into();
    assert_eq!(self::marks(&marked(&call), ""), [""]);
}

/// W32: whether a server caches is no matter of its name.
#[test]
fn a_provider_of_any_name_is_asked_to_read_what_it_was_sent_a_step_before_from_its_cache() {
    let model = AnthropicMessages::builder("m").provider("gateway").build().expect("a valid address");
    let mut prompt = vec![says(Role::System, "Be brief."), says(Role::User, "Look")];
    let mut ends = Vec::new();
    for step in 0..3 {
        let mut call = ModelCall::new(prompt.clone());
        call.tools = [tool("look")].into();
        let body = model.request_body(&call);
        let marks = marks(&body, "");
        let last = format!("/messages/{}/content/0", 2 * step);
        assert!(
            ["/system/0", "/tools/0", &last].iter().all(|at| marks.contains(&(*at).to_owned())),
            "{marks:?}"
        );
        // Its beginning was marked as its end the step before.
        assert!(ends.iter().all(|end| marks.contains(end)), "{ends:?} in {marks:?}");
        ends = vec![last];
        prompt.push(Message::new(Role::Assistant, vec![calls("a", "{}")]));
        prompt.push(Message::new(Role::Tool, vec![gives("a", Output::text("x"))]));
    }
}

/// Where marks stand, in order.
fn marks(value: &Value, under: &str) -> Vec<String> {
    fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if fields.contains_key("cache_control") {
                    found.push(at.to_owned());
                }
                fields.iter().for_each(|(name, value)| walk(value, &format!("{at}/{name}"), found));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(n, value)| walk(value, &format!("{at}/{n}"), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found.retain(|at| at.starts_with(under));
    found
}

#[tokio::test]
async fn what_the_format_has_no_place_for_is_warned_of_first() {
    let server = FakeServer::start(Script::new(vec![Reply::text("Hi")])).await.expect("a free port");
    let model = AnthropicMessages::builder("m").base_url(server.base_url()).build().expect("valid");
    let mut call = ModelCall::new(vec![Message::new(
        Role::User,
        vec![Part::text("Hi"), image(FileData::Blob("b".into()))],
    )]);
    (call.seed, call.presence_penalty, call.frequency_penalty) = (Some(1), Some(0.1), Some(0.2));
    call.tools =
        [ToolDefinition::Provider { id: "openai.x".into(), name: "x".into(), args: Value::Null }].into();
    let parts: Vec<ModelPart> = model.stream(call).collect().await;
    let warnings = [
        "seed is not supported",
        "presence_penalty is not supported",
        "frequency_penalty is not supported",
        "the tool x of another provider was left out",
        "a file of type image/png in a user message was left out",
    ];
    assert_eq!(parts.first(), Some(&ModelPart::Warnings(warnings.map(str::to_owned).into())));
}
