//! What a conversation becomes in Chat Completions.

use chatwright_core::content::{Metadata, Part};
use chatwright_core::model::{Message, ModelCall, Role, ToolDefinition};
use chatwright_providers::OpenAiChat;
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

#[test]
fn names_of_tools_that_a_model_made_up_are_sent_in_letters_that_are_allowed() {
    let answer =
        vec![calls("a", "multi_tool_use.parallel"), calls("b", "löök it"), calls("c", &"x".repeat(70))];
    let sent = messages(vec![Message::new(Role::Assistant, answer)]);
    let names: Vec<&Value> = (0..3).map(|at| &sent[0]["tool_calls"][at]["function"]["name"]).collect();
    assert_eq!(names, ["multi_tool_use_parallel", "l__k_it", &*"x".repeat(64)]);
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
    call.tools = vec![
        tool(json!({"type": "object"}), json!({"strict": true})),
        tool(json!({}), json!({})),
        tool(given.clone(), json!({})),
    ];
    let tools = body(&call)["tools"].take();
    let empty = json!({"type": "object", "properties": {}});
    assert_eq!(
        tools[0],
        json!({"type": "function", "function": {"name": "now", "description": "Tells the time.", "parameters": empty, "strict": true}})
    );
    assert_eq!((&tools[1]["function"]["parameters"], &tools[2]["function"]["parameters"]), (&empty, &given));
}
