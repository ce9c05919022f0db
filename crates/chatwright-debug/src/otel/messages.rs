//! Prompts and answers in the form that the conventions give them.

use chatwright_core::content::{FileData, Output, Part};
use opentelemetry::KeyValue;
use serde_json::{Value, json};

use crate::CassetteStep;

/// Everything that was said in a step.
pub(super) fn attributes(step: &CassetteStep) -> Vec<KeyValue> {
    let is_system = |message: &&Value| message["role"] == "system";
    let system: Vec<Value> = step.messages.iter().filter(is_system).flat_map(parts).collect();
    let asked = step.messages.iter().filter(|message| !is_system(message));
    let asked: Vec<Value> =
        asked.map(|message| json!({ "role": message["role"], "parts": parts(message) })).collect();
    let reason = step.response.as_ref().and_then(|response| response.finish_reason);
    let answer: Vec<Value> = step.content.iter().map(part).collect();
    let answer = json!([{
        "role": "assistant",
        "parts": answer,
        "finish_reason": reason.map_or("unknown", |reason| reason.as_str()),
    }]);
    let text = |value: Value| value.to_string();
    let mut attributes = vec![KeyValue::new("gen_ai.input.messages", text(asked.into()))];
    if !system.is_empty() {
        attributes.push(KeyValue::new("gen_ai.system_instructions", text(system.into())));
    }
    if !step.tools.is_empty() {
        attributes
            .push(KeyValue::new("gen_ai.tool.definitions", text(step.tools.iter().map(tool).collect())));
    }
    if !step.content.is_empty() {
        attributes.push(KeyValue::new("gen_ai.output.messages", text(answer)));
    }
    attributes
}

/// The parts of a message of a prompt. What is none stays as it is.
fn parts(message: &Value) -> Vec<Value> {
    let parts = message["content"].as_array().into_iter().flatten();
    parts
        .map(|value| serde_json::from_value(value.clone()).map_or_else(|_| value.clone(), |it| part(&it)))
        .collect()
}

fn part(part: &Part) -> Value {
    match part {
        Part::Text { text, .. } => json!({ "type": "text", "content": text }),
        Part::Reasoning { text, .. } => json!({ "type": "reasoning", "content": text }),
        Part::ToolCall { id, name, input, .. } => {
            let arguments = serde_json::from_str(input).unwrap_or_else(|_| Value::from(input.as_str()));
            json!({ "type": "tool_call", "id": id, "name": name, "arguments": arguments })
        }
        Part::ToolResult { call_id, output, .. } => {
            let response = match output {
                Output::Text { text } => json!(text),
                Output::Error { text } => json!({ "error": text }),
                other => json!(other),
            };
            json!({ "type": "tool_call_response", "id": call_id, "response": response })
        }
        Part::File { media_type, data: FileData::Url(uri) | FileData::Blob(uri), .. } => {
            let modality = media_type.split('/').next().unwrap_or_default();
            json!({ "type": "uri", "mime_type": media_type, "modality": modality, "uri": uri })
        }
        other => json!(other),
    }
}

fn tool(tool: &Value) -> Value {
    let mut tool = tool.clone();
    if let Some(schema) = tool.as_object_mut().and_then(|tool| tool.remove("input_schema")) {
        tool["parameters"] = schema;
    }
    tool
}
