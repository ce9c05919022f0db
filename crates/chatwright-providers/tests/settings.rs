//! What a call asks for, in the words of each format: how much to think, what the answer must be, one call at a time.

use chatwright_core::content::{Metadata, Part};
use chatwright_core::model::ReasoningEffort::{High, Low, Max, Medium, Minimal, None as NoEffort, XHigh};
use chatwright_core::model::{
    Message, ModelCall, ModelPart, ReasoningEffort, ResponseFormat, Role, ToolChoice, ToolDefinition,
};
use chatwright_core::port::LanguageModel;
use chatwright_fake::{FakeServer, Reply, Script};
use chatwright_providers::{
    AnthropicMessages, AnthropicThinking, ChatServer, Gemini, OpenAiChat, OpenAiResponses,
};
use futures::StreamExt;
use serde_json::{Value, json};

fn call() -> ModelCall {
    ModelCall::new(vec![Message::new(Role::User, vec![Part::text("Hello")])])
}

fn with_tool() -> ModelCall {
    let mut call = call();
    call.tools = [ToolDefinition::Function {
        name: "look".into(),
        description: "Looks.".into(),
        input_schema: json!({"type": "object"}),
        provider_options: Default::default(),
    }]
    .into();
    call
}

fn chat(server: ChatServer, call: &ModelCall) -> Value {
    OpenAiChat::builder_for(server, "m").build().expect("a valid address").request_body(call)
}

fn responses(call: &ModelCall) -> Value {
    OpenAiResponses::builder("m").build().expect("a valid address").request_body(call)
}

fn messages(model: &str, call: &ModelCall) -> Value {
    AnthropicMessages::builder(model).build().expect("a valid address").request_body(call)
}

fn gemini(model: &str, call: &ModelCall) -> Value {
    Gemini::builder(model).build().expect("a valid address").request_body(call)
}

/// The fields of a body that tell how much to think.
fn thinking(body: &Value) -> Value {
    let names = ["reasoning_effort", "reasoning", "thinking", "output_config", "chat_template_kwargs"];
    let named = names.iter().filter_map(|&name| Some((name.to_owned(), body.get(name)?.clone())));
    let config = body.pointer("/generationConfig/thinkingConfig");
    let config = config.map(|config| ("thinkingConfig".to_owned(), config.clone()));
    Value::Object(named.chain(config).collect())
}

/// What a call was warned of before its answer.
async fn warnings(model: impl FnOnce(String) -> Box<dyn LanguageModel>, call: ModelCall) -> Vec<String> {
    let server = FakeServer::start(Script::new(vec![Reply::text("Hi")])).await.expect("a free port");
    match model(server.base_url()).stream(call).next().await {
        Some(ModelPart::Warnings(warnings)) => warnings,
        _ => Vec::new(),
    }
}

#[test]
fn one_scale_of_effort_is_told_in_the_words_of_each_server() {
    let asked = |effort: ReasoningEffort| {
        let mut call = call();
        call.reasoning_effort = Some(effort);
        call
    };
    let word = |word: &str| json!({"reasoning_effort": word});
    for (server, effort, expected) in [
        (ChatServer::OpenAi, NoEffort, word("none")),
        (ChatServer::OpenAi, Minimal, word("minimal")),
        (ChatServer::OpenAi, Max, word("xhigh")),
        (ChatServer::Ollama, Minimal, word("none")),
        (ChatServer::Ollama, XHigh, word("high")),
        (ChatServer::Vllm, Medium, word("medium")),
        (ChatServer::LiteLlm, XHigh, word("xhigh")),
        (ChatServer::Groq, Max, word("high")),
        (ChatServer::XAi, Low, word("low")),
        (ChatServer::Mistral, Medium, word("none")),
        (ChatServer::Mistral, Max, word("high")),
        (ChatServer::OpenRouter, Max, json!({"reasoning": {"effort": "xhigh"}})),
        (ChatServer::DeepSeek, NoEffort, json!({"thinking": {"type": "disabled"}})),
        (ChatServer::DeepSeek, Low, json!({"thinking": {"type": "enabled"}, "reasoning_effort": "high"})),
        (ChatServer::DeepSeek, XHigh, json!({"thinking": {"type": "enabled"}, "reasoning_effort": "max"})),
        (ChatServer::LlamaCpp, NoEffort, json!({"chat_template_kwargs": {"enable_thinking": false}})),
        (
            ChatServer::LlamaCpp,
            Max,
            json!({"chat_template_kwargs": {"enable_thinking": true, "reasoning_effort": "high"}}),
        ),
    ] {
        assert_eq!(thinking(&chat(server, &asked(effort))), expected, "{server:?} {effort}");
    }
    for server in ChatServer::ALL {
        assert_eq!(thinking(&chat(server, &call())), json!({}), "{server:?} asked for nothing");
    }
    for (effort, expected) in [(NoEffort, "none"), (Medium, "medium"), (Max, "xhigh")] {
        assert_eq!(thinking(&responses(&asked(effort))), json!({"reasoning": {"effort": expected}}));
    }
    for (model, effort, expected) in [
        ("claude-3-5-haiku-20241022", High, json!({})),
        ("claude-sonnet-4-5", NoEffort, json!({})),
        ("claude-sonnet-4-5", Minimal, json!({"thinking": {"type": "enabled", "budget_tokens": 1_024}})),
        ("claude-sonnet-4-5", Max, json!({"thinking": {"type": "enabled", "budget_tokens": 30_976}})),
        ("claude-opus-4-7", NoEffort, json!({"thinking": {"type": "disabled"}})),
        (
            "claude-opus-4-7",
            XHigh,
            json!({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}}),
        ),
        (
            "claude-opus-4-6",
            XHigh,
            json!({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}}),
        ),
    ] {
        assert_eq!(thinking(&messages(model, &asked(effort))), expected, "{model} {effort}");
    }
    let level = |level: &str, shown: bool| json!({"thinkingConfig": {"thinkingLevel": level, "includeThoughts": shown}});
    let budget = |tokens: u64, shown: bool| json!({"thinkingConfig": {"thinkingBudget": tokens, "includeThoughts": shown}});
    for (model, effort, expected) in [
        ("gemini-3-pro-preview", NoEffort, level("minimal", false)),
        ("gemini-flash-latest", Max, level("high", true)),
        ("gemini-2.5-flash", NoEffort, budget(0, false)),
        ("gemini-2.5-flash", Max, budget(24_576, true)),
        ("gemini-2.5-pro", NoEffort, budget(128, false)),
        ("gemini-2.5-pro", Max, budget(32_768, true)),
    ] {
        assert_eq!(thinking(&gemini(model, &asked(effort))), expected, "{model} {effort}");
    }
}

#[tokio::test]
async fn a_number_of_tokens_comes_before_an_effort_where_the_format_counts_them_and_is_warned_of_elsewhere() {
    let mut call = call();
    (call.reasoning_effort, call.thinking_budget) = (Some(Low), Some(2_000));
    assert_eq!(thinking(&chat(ChatServer::OpenRouter, &call)), json!({"reasoning": {"max_tokens": 2_000}}));
    let enabled = json!({"thinking": {"type": "enabled", "budget_tokens": 2_000}});
    assert_eq!(thinking(&messages("claude-sonnet-4-5", &call)), enabled);
    let config = json!({"thinkingConfig": {"thinkingBudget": 2_000, "includeThoughts": true}});
    assert_eq!(thinking(&gemini("gemini-3-pro-preview", &call)), config);

    assert_eq!(thinking(&chat(ChatServer::OpenAi, &call)), json!({"reasoning_effort": "low"}));
    let told = vec!["thinking_budget is not supported".to_owned()];
    let openai = |url| Box::new(OpenAiChat::builder("m").base_url(url).build().expect("valid")) as Box<_>;
    assert_eq!(warnings(openai, call.clone()).await, told);
    let openai =
        |url| Box::new(OpenAiResponses::builder("m").base_url(url).build().expect("valid")) as Box<_>;
    assert_eq!(warnings(openai, call.clone()).await, told);
    let claude = |url| {
        Box::new(AnthropicMessages::builder("claude-opus-4-7").base_url(url).build().expect("valid"))
            as Box<_>
    };
    let told = ["thinking_budget is not supported: the model takes an effort".to_owned()];
    assert_eq!(warnings(claude, call).await, told);
}

#[tokio::test]
async fn what_may_not_stand_beside_thinking_is_left_out_with_a_warning() {
    let mut call = with_tool();
    call.reasoning_effort = Some(Medium);
    (call.temperature, call.top_k, call.top_p) = (Some(0.2), Some(5), Some(0.97));
    let body = messages("claude-sonnet-4-5", &call);
    assert_eq!((body.get("temperature"), body.get("top_k"), &body["top_p"]), (None, None, &json!(0.97)));
    let claude = |url| {
        Box::new(AnthropicMessages::builder("claude-sonnet-4-5").base_url(url).build().expect("valid"))
            as Box<_>
    };
    assert_eq!(
        warnings(claude, call.clone()).await,
        ["temperature is not supported beside thinking", "top_k is not supported beside thinking"]
    );

    // A tool that must be called is more than a wish.
    for choice in [ToolChoice::Required, ToolChoice::Tool("look".into())] {
        call.tool_choice = Some(choice);
        let body = messages("claude-sonnet-4-5", &call);
        assert_eq!((thinking(&body), &body["temperature"]), (json!({}), &json!(0.2)));
        assert_eq!(
            warnings(claude, call.clone()).await,
            ["there is no thinking where a tool must be called"]
        );
    }
    let mut call = with_tool();
    (call.reasoning_effort, call.max_output_tokens) = (Some(High), Some(1_500));
    assert_eq!(thinking(&messages("claude-sonnet-4-5", &call)), json!({}));
    assert_eq!(
        warnings(claude, call.clone()).await,
        ["there is no room for thinking within max_output_tokens"]
    );
    call.max_output_tokens = Some(5_000);
    let least = json!({"thinking": {"type": "enabled", "budget_tokens": 3_976}});
    assert_eq!(thinking(&messages("claude-sonnet-4-5", &call)), least, "room is left for the answer");
}

#[test]
fn a_model_whose_name_does_not_tell_thinks_as_it_is_said_to() {
    let mut call = call();
    call.reasoning_effort = Some(Low);
    let model = |style| {
        let model = AnthropicMessages::builder("house-model").thinking(style);
        thinking(&model.build().expect("a valid address").request_body(&call))
    };
    assert_eq!(model(AnthropicThinking::Unsupported), json!({}));
    assert_eq!(
        model(AnthropicThinking::Budget),
        json!({"thinking": {"type": "enabled", "budget_tokens": 4_096}})
    );
    let adaptive = json!({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}});
    assert_eq!(model(AnthropicThinking::Adaptive), adaptive);
}

#[test]
fn what_is_passed_through_comes_before_what_the_scale_asks_for() {
    let mut call = call();
    call.reasoning_effort = Some(Low);
    call.response_format = Some(ResponseFormat::Json);
    call.provider_options = [
        ("openai".into(), json!({"reasoning": {"summary": "auto"}, "text": {"verbosity": "low"}, "reasoning_effort": "custom"})),
        ("anthropic".into(), json!({"output_config": {"effort": "max", "later": 1}, "thinking": {"type": "disabled"}})),
        ("google".into(), json!({"generationConfig": {"thinkingConfig": {"thinkingLevel": "odd"}}})),
    ]
    .into();
    let body = responses(&call);
    assert_eq!(body["reasoning"], json!({"effort": "low", "summary": "auto"}));
    assert_eq!(body["text"], json!({"format": {"type": "json_object"}, "verbosity": "low"}));
    assert_eq!(chat(ChatServer::OpenAi, &call)["reasoning_effort"], "custom");
    let body = messages("claude-opus-4-7", &call);
    assert_eq!(body["output_config"], json!({"effort": "max", "later": 1}));
    assert_eq!(body["thinking"], json!({"type": "disabled"}));
    let config = &gemini("gemini-3-pro-preview", &call)["generationConfig"]["thinkingConfig"];
    assert_eq!(config, &json!({"thinkingLevel": "odd", "includeThoughts": true}));
}

#[tokio::test]
async fn an_answer_of_a_schema_is_asked_for_in_the_words_of_each_format() {
    let schema = json!({"type": "object", "properties": {"at": {"type": "integer"}}});
    let mut call = call();
    call.response_format = Some(ResponseFormat::Schema {
        name: "place".into(),
        description: "Where it is.".into(),
        schema: schema.clone(),
        strict: true,
    });
    let described = json!({"name": "place", "description": "Where it is.", "schema": schema, "strict": true});
    let expected = json!({"type": "json_schema", "json_schema": described});
    assert_eq!(chat(ChatServer::OpenAi, &call)["response_format"], expected);
    let mut format = described;
    format["type"] = "json_schema".into();
    assert_eq!(responses(&call)["text"], json!({ "format": format }));
    let format = json!({"format": {"type": "json_schema", "schema": schema}});
    assert_eq!(messages("claude-sonnet-4-5", &call)["output_config"], format);
    let config = json!({"responseMimeType": "application/json", "responseJsonSchema": schema});
    assert_eq!(gemini("gemini-2.5-pro", &call)["generationConfig"], config);

    // DeepSeek knows JSON and no schemas.
    assert_eq!(chat(ChatServer::DeepSeek, &call)["response_format"], json!({"type": "json_object"}));
    let deepseek = |url| {
        let model = OpenAiChat::builder_for(ChatServer::DeepSeek, "m").base_url(url);
        Box::new(model.build().expect("valid")) as Box<_>
    };
    assert_eq!(
        warnings(deepseek, call.clone()).await,
        ["a schema of the answer is not supported: it will be some JSON"]
    );

    call.response_format = Some(ResponseFormat::Json);
    assert_eq!(chat(ChatServer::OpenAi, &call)["response_format"], json!({"type": "json_object"}));
    assert_eq!(responses(&call)["text"], json!({"format": {"type": "json_object"}}));
    let config = json!({"responseMimeType": "application/json"});
    assert_eq!(gemini("gemini-2.5-pro", &call)["generationConfig"], config);
    assert_eq!(messages("claude-sonnet-4-5", &call).get("output_config"), None);
    let claude = |url| {
        Box::new(AnthropicMessages::builder("claude-sonnet-4-5").base_url(url).build().expect("valid"))
            as Box<_>
    };
    assert_eq!(warnings(claude, call).await, ["JSON without a schema is not supported"]);
}

#[tokio::test]
async fn one_call_at_a_time_is_asked_for_where_there_are_tools() {
    let mut call = with_tool();
    call.parallel_tool_calls = Some(false);
    assert_eq!(chat(ChatServer::OpenAi, &call)["parallel_tool_calls"], false);
    assert_eq!(responses(&call)["parallel_tool_calls"], false);
    let choice = json!({"type": "auto", "disable_parallel_tool_use": true});
    assert_eq!(messages("claude-sonnet-4-5", &call)["tool_choice"], choice);
    let google = |url| Box::new(Gemini::builder("m").base_url(url).build().expect("valid")) as Box<_>;
    assert_eq!(warnings(google, call.clone()).await, ["one tool call at a time is not supported"]);
    call.tool_choice = Some(ToolChoice::Required);
    let choice = json!({"type": "any", "disable_parallel_tool_use": true});
    assert_eq!(messages("claude-sonnet-4-5", &call)["tool_choice"], choice);

    call.tools = [].into();
    assert_eq!(chat(ChatServer::OpenAi, &call).get("parallel_tool_calls"), None);
    assert_eq!(responses(&call).get("parallel_tool_calls"), None);
    assert_eq!(messages("claude-sonnet-4-5", &call).get("tool_choice"), None);
}

fn tool_turn(id: &str) -> Vec<Message> {
    let called = Part::ToolCall {
        id: id.into(),
        name: "look".into(),
        input: "{}".to_owned(),
        provider_executed: false,
        metadata: Metadata::new(),
    };
    let result = Part::ToolResult {
        call_id: id.into(),
        name: "look".into(),
        output: chatwright_core::content::Output::text("a cat"),
        provider_executed: false,
        metadata: Metadata::new(),
    };
    vec![Message::new(Role::Assistant, vec![called]), Message::new(Role::Tool, vec![result])]
}

fn say(call: &mut ModelCall, more: Vec<Message>) {
    let prompt = std::mem::take(&mut call.prompt).into_messages();
    call.prompt = [prompt, more].concat().into();
}

#[test]
fn deepseek_gets_its_thoughts_back_and_an_empty_one_where_another_model_called() {
    let metadata = Metadata::from([("deepseek".into(), json!({"field": "reasoning_content"}))]);
    let thought = Part::Reasoning { text: "Look first.".to_owned(), metadata };
    let mut call = call();
    let mut turn = tool_turn("a");
    turn[0].content = [&[thought], &*turn[0].content].concat().into();
    say(&mut call, turn);
    say(&mut call, tool_turn("b"));
    let thoughts = |server| {
        let body = chat(server, &call);
        [1, 3].map(|at| body["messages"][at].get("reasoning_content").cloned())
    };
    assert_eq!(thoughts(ChatServer::DeepSeek), [Some(json!("Look first.")), Some(json!(""))]);
    assert_eq!(thoughts(ChatServer::OpenAi), [None, None]);
}

#[test]
fn mistral_gets_ids_and_words_that_it_takes_and_the_same_ones_each_time() {
    let mut call = with_tool();
    say(&mut call, tool_turn("call_of_another"));
    say(&mut call, tool_turn("aBc123xyz"));
    (call.tool_choice, call.seed, call.max_output_tokens) = (Some(ToolChoice::Required), Some(7), Some(9));
    let body = chat(ChatServer::Mistral, &call);
    let ids = |body: &Value| {
        [1, 3].map(|at| {
            let messages = &body["messages"];
            (messages[at]["tool_calls"][0]["id"].clone(), messages[at + 1]["tool_call_id"].clone())
        })
    };
    let pair = |id: &str| (json!(id), json!(id));
    assert_eq!(ids(&body), [pair("call00000"), pair("aBc123xyz")]);
    assert_eq!(
        (&body["tool_choice"], &body["random_seed"], &body["max_tokens"]),
        (&json!("any"), &json!(7), &json!(9))
    );
    for name in ["seed", "max_completion_tokens", "stream_options"] {
        assert_eq!(body.get(name), None, "{name}");
    }
    let first = body["messages"].clone();
    say(&mut call, tool_turn("another_one"));
    let longer = chat(ChatServer::Mistral, &call)["messages"].clone();
    let (first, longer) = (first.as_array().expect("a list"), longer.as_array().expect("a list"));
    assert!(longer.starts_with(first), "a prompt begins as the one before it did");
    assert_eq!(longer[5]["tool_calls"][0]["id"], "call00001");
}
