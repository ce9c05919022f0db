//! Tools that are functions.

use std::time::Duration;

use chatwright::core::cancel::Canceler;
use chatwright::core::content::Output;
use chatwright::core::port::Tool;
use chatwright::core::tool::{CallKey, Effect, ToolCall};
use chatwright::core::{ChatId, Gen, MessageId, SessionId, Timestamp, Uuid};
use chatwright::schemars::JsonSchema;
use chatwright::{FnTool, IntoOutput};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "chatwright::schemars")]
struct Place {
    /// Where it is.
    path: String,
    #[serde(default)]
    lines: Option<Lines>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "chatwright::schemars")]
struct Lines {
    from: u32,
}

fn call(input: Value) -> ToolCall {
    let key = CallKey {
        chat: ChatId::from_uuid(Uuid::from_u128(1)),
        message: MessageId::from_uuid(Uuid::from_u128(2)),
        ordinal: 3,
    };
    let session = SessionId::from_uuid(Uuid::from_u128(4));
    let (_canceler, cancel) = Canceler::new();
    ToolCall::new(key, Gen::new(1), session, input, Timestamp::from_millis(0), cancel)
}

async fn read(place: Place) -> Result<String, String> {
    match place.lines {
        Some(lines) if lines.from == 0 => Err("lines begin at 1".to_owned()),
        _ => Ok(format!("read {}", place.path)),
    }
}

#[test]
fn a_function_tool_declares_the_schema_of_its_argument_and_what_it_is_told_to() {
    let tool = FnTool::new("read", "Reads a file.", Effect::Pure, read)
        .declare(|spec| spec.with_deadline(Duration::from_secs(5)).with_resource("/path"));
    let spec = tool.spec();
    assert_eq!((&*spec.name, &*spec.description, spec.effect), ("read", "Reads a file.", Effect::Pure));
    assert_eq!((spec.deadline, spec.resource.as_deref()), (Duration::from_secs(5), Some("/path")));
    let schema = &spec.input_schema;
    assert_eq!((&schema["type"], &schema["required"]), (&json!("object"), &json!(["path"])));
    assert_eq!(schema["properties"]["path"], json!({"description": "Where it is.", "type": "string"}));
    assert_eq!((schema.get("$schema"), schema.get("title")), (None, None));
}

#[tokio::test]
async fn what_a_function_gives_is_the_result_and_its_error_one_that_the_model_reads() {
    let tool = FnTool::new("read", "Reads a file.", Effect::Pure, read);
    assert_eq!(tool.call(call(json!({"path": "/a"}))).await, Output::text("read /a"));
    let failed = tool.call(call(json!({"path": "/a", "lines": {"from": 0}}))).await;
    assert_eq!(failed, Output::error("lines begin at 1"));
    // Without the loop nobody checks the arguments first.
    let Output::Error { text } = tool.call(call(json!({"path": 1}))).await else { panic!("an error") };
    assert!(text.starts_with("The arguments cannot be read: "), "{text}");
    assert_eq!(json!({"a": [1]}).into_output(), Output::text(r#"{"a":[1]}"#));
    assert_eq!("words".into_output(), Output::text("words"));
}

#[tokio::test]
async fn a_function_that_wants_to_know_its_call_gets_its_key() {
    let run = |place: Place, call: ToolCall| async move { format!("{} {}", place.path, call.key.ordinal) };
    let tool = FnTool::with_call("write", "Writes.", Effect::Idempotent, run);
    assert_eq!(tool.call(call(json!({"path": "/a"}))).await, Output::text("/a 3"));
}
