//! The wire format of OpenAI's Chat Completions.

use chatwright_core::model::{FinishReason, Usage};
use serde_json::{Value, json};

use crate::script::FakeMessage;
use crate::step::{FakeCall, Step, in_turns};

/// An answer on its way.
#[derive(Default)]
pub(crate) struct Reply {
    /// How many calls it has made so far.
    calls: usize,
    /// How many characters it has said so far.
    said: usize,
}

impl Reply {
    /// The events of a step, where it makes any.
    pub(super) fn events(&mut self, step: &Step) -> Vec<String> {
        match step {
            Step::Text(text) => {
                self.said += text.chars().count();
                vec![chunk(&json!({"content": text}), None)]
            }
            Step::Cited { text, url, title } => {
                let start = self.said;
                self.said += text.chars().count();
                let page = json!({"url": url, "title": title, "start_index": start, "end_index": self.said});
                let annotation = json!({"type": "url_citation", "url_citation": page});
                vec![chunk(&json!({"content": text, "annotations": [annotation]}), None)]
            }
            Step::Reasoning(text) => vec![chunk(&json!({"reasoning_content": text}), None)],
            Step::Call { id, name, arguments } => {
                let (id, name, arguments) = (id.clone(), name.clone(), arguments.clone());
                self.calls(&[FakeCall { id, name, arguments }])
            }
            Step::Calls(calls) => self.calls(calls),
            // Calls have no end of their own.
            Step::CutCall(call) => self.calls(std::slice::from_ref(call)),
            Step::UnknownBlock(kind) => vec![chunk(&json!({kind: {"data": "new"}}), None)],
            Step::UnknownEvent { kind, .. } => {
                vec![event(&json!({"object": kind, "data": "new"}))]
            }
            Step::Usage(usage) => vec![usage_chunk(usage)],
            Step::Finish(reason) => {
                vec![chunk(&json!({}), Some(finish(*reason))), "data: [DONE]\n\n".to_owned()]
            }
            Step::Unfinished(reason) => vec![chunk(&json!({}), Some(finish(*reason)))],
            Step::Error { kind, code, message } => {
                vec![event(&json!({"error": {"type": kind, "code": code, "message": message}}))]
            }
            Step::Failed { code, message } => {
                vec![event(&json!({"error": {"type": code, "code": code, "message": message}}))]
            }
            Step::Ping => vec![": ping\n\n".to_owned()],
            _ => Vec::new(),
        }
    }

    fn calls(&mut self, calls: &[FakeCall]) -> Vec<String> {
        let first = self.calls;
        self.calls += calls.len();
        let piece = |value: Value| chunk(&json!({"tool_calls": [value]}), None);
        let begin = (first..).zip(calls).map(|(index, call)| {
            json!({"index": index, "id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": ""}})
        });
        let rest =
            in_turns(calls).map(|(at, text)| json!({"index": first + at, "function": {"arguments": text}}));
        begin.chain(rest).map(piece).collect()
    }
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    event(&json!({
        "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "fake",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }))
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn usage_chunk(usage: &Usage) -> String {
    let prompt = usage.input.unwrap_or(0) + usage.cache_read.unwrap_or(0);
    event(&json!({
        "id": "chatcmpl-fake", "object": "chat.completion.chunk", "choices": [],
        "usage": {
            "prompt_tokens": prompt, "completion_tokens": usage.output,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        },
    }))
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
