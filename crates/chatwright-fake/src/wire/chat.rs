//! The wire format of OpenAI's Chat Completions.

use chatwright_core::model::{FinishReason, Usage};
use serde_json::{Value, json};

use crate::script::FakeMessage;
use crate::step::Step;

/// The data of the events of a step, where it makes any.
pub(super) fn events(step: &Step, calls: &mut usize) -> Vec<String> {
    let chunk = |delta: Value, finish: Option<&str>| {
        json!({
            "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "fake",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
        .to_string()
    };
    match step {
        Step::Text(text) => vec![chunk(json!({"content": text}), None)],
        Step::Reasoning(text) => vec![chunk(json!({"reasoning_content": text}), None)],
        Step::Call { id, name, arguments } => {
            let index = std::mem::replace(calls, *calls + 1);
            let piece = |value: Value| chunk(json!({"tool_calls": [value]}), None);
            let begin = json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
            let rest = arguments.iter().map(|text| json!({"index": index, "function": {"arguments": text}}));
            std::iter::once(begin).chain(rest).map(piece).collect()
        }
        Step::Usage(usage) => vec![usage_chunk(usage)],
        Step::Finish(reason) => vec![chunk(json!({}), Some(finish(*reason))), "[DONE]".to_owned()],
        Step::Error { kind, code, message } => {
            vec![json!({"error": {"type": kind, "code": code, "message": message}}).to_string()]
        }
        Step::Raw(data) => vec![data.clone()],
        Step::Bytes(_) | Step::Ping | Step::Pause(_) | Step::Stall => Vec::new(),
    }
}

fn usage_chunk(usage: &Usage) -> String {
    let prompt = usage.input.unwrap_or(0) + usage.cache_read.unwrap_or(0);
    json!({
        "id": "chatcmpl-fake", "object": "chat.completion.chunk", "choices": [],
        "usage": {
            "prompt_tokens": prompt, "completion_tokens": usage.output,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        },
    })
    .to_string()
}

fn finish(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::ToolCalls => "tool_calls",
        _ => "stop",
    }
}

/// The messages of a request.
pub(super) fn messages(body: &Value) -> Vec<FakeMessage> {
    let message = |message: &Value| {
        let role = message["role"].as_str().unwrap_or_default().to_owned();
        let text = match &message["content"] {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => String::new(),
        };
        FakeMessage { role, text }
    };
    body["messages"].as_array().into_iter().flatten().map(message).collect()
}
