//! The wire format of Anthropic's Messages.

use chatwright_core::model::{FinishReason, Usage};
use serde_json::{Map, Value, json};

use crate::script::FakeMessage;
use crate::step::{FakeCall, Step, in_turns};

/// A message on its way: what has begun, and what comes with its end.
#[derive(Default)]
pub(crate) struct Reply {
    begun: bool,
    /// The type of the open block, which has the newest index.
    open: Option<&'static str>,
    blocks: usize,
    usage: Usage,
}

impl Reply {
    /// The events of a step, where it makes any.
    pub(super) fn events(&mut self, step: &Step) -> Vec<String> {
        let mut out = Vec::new();
        match step {
            Step::Text(text) => {
                self.in_block("text", || json!({"type": "text", "text": ""}), &mut out);
                out.push(self.delta(&json!({"type": "text_delta", "text": text})));
            }
            Step::Reasoning(text) => {
                let block = || json!({"type": "thinking", "thinking": "", "signature": ""});
                self.in_block("thinking", block, &mut out);
                out.push(self.delta(&json!({"type": "thinking_delta", "thinking": text})));
            }
            Step::Cited { text, url, title } => {
                self.close(&mut out);
                self.in_block("text", || json!({"type": "text", "text": "", "citations": []}), &mut out);
                let page = json!({"type": "web_search_result_location", "url": url, "title": title,
                    "cited_text": text, "encrypted_index": "aW5kZXg="});
                out.push(self.delta(&json!({"type": "citations_delta", "citation": page})));
                out.push(self.delta(&json!({"type": "text_delta", "text": text})));
                self.close(&mut out);
            }
            Step::RedactedReasoning(data) => {
                self.whole(&json!({"type": "redacted_thinking", "data": data}), &[], &mut out);
            }
            Step::Call { id, name, arguments } => {
                let (id, name, arguments) = (id.clone(), name.clone(), arguments.clone());
                self.calls(&[FakeCall { id, name, arguments }], &mut out);
            }
            Step::Calls(calls) => self.calls(calls, &mut out),
            Step::CutCall(call) => {
                self.close(&mut out);
                self.in_block("tool_use", || tool_use(call), &mut out);
                out.extend(call.arguments.iter().map(|piece| self.delta(&input(piece))));
            }
            Step::Search { id, query, url, title } => {
                let call = json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {}});
                self.whole(&call, &[input(&json!({"query": query}).to_string())], &mut out);
                let page = json!({"type": "web_search_result", "url": url, "title": title,
                    "encrypted_content": "c2VhbGVk", "page_age": null});
                let result = json!({"type": "web_search_tool_result", "tool_use_id": id, "content": [page]});
                self.whole(&result, &[], &mut out);
            }
            Step::UnknownBlock(kind) => {
                let piece = json!({"type": format!("{kind}_delta"), "data": "w"});
                self.whole(&json!({"type": kind, "data": "ne"}), &[piece], &mut out);
            }
            Step::UnknownEvent { kind, .. } => {
                self.begin(&mut out);
                out.push(event(&json!({"type": kind, "data": "new"})));
            }
            Step::Usage(usage) => self.usage = *usage,
            Step::Finish(reason) => {
                self.stop(*reason, &mut out);
                out.push(event(&json!({"type": "message_stop"})));
            }
            Step::Unfinished(reason) => self.stop(*reason, &mut out),
            Step::Error { kind, code, message } => {
                let mut error = json!({"type": kind, "message": message});
                // Anthropic has no codes; gateways do.
                if !code.is_empty() {
                    error["code"] = code.as_str().into();
                }
                out.push(event(&json!({"type": "error", "error": error, "request_id": "req_fake"})));
            }
            Step::Failed { code, message } => {
                let error = json!({"type": code, "message": message});
                out.push(event(&json!({"type": "error", "error": error, "request_id": "req_fake"})));
            }
            Step::Ping => out.push(event(&json!({"type": "ping"}))),
            _ => {}
        }
        out
    }

    fn begin(&mut self, out: &mut Vec<String>) {
        if !std::mem::replace(&mut self.begun, true) {
            let message = json!({
                "id": "msg_fake", "type": "message", "role": "assistant", "model": "fake", "content": [],
                "stop_reason": null, "stop_sequence": null,
            });
            out.push(event(&json!({"type": "message_start", "message": message})));
        }
    }

    /// Goes on in an open block of this type, or begins one.
    fn in_block(&mut self, kind: &'static str, block: impl FnOnce() -> Value, out: &mut Vec<String>) {
        self.begin(out);
        if self.open != Some(kind) {
            self.close(out);
            self.open = Some(kind);
            out.push(start(self.blocks, &block()));
        }
    }

    /// A block that begins and ends.
    fn whole(&mut self, block: &Value, deltas: &[Value], out: &mut Vec<String>) {
        self.close(out);
        self.in_block("whole", || block.clone(), out);
        out.extend(deltas.iter().map(|delta| self.delta(delta)));
        self.close(out);
    }

    /// Blocks side by side.
    fn calls(&mut self, calls: &[FakeCall], out: &mut Vec<String>) {
        self.begin(out);
        self.close(out);
        let first = self.blocks;
        self.blocks += calls.len();
        for (index, call) in (first..).zip(calls) {
            out.push(start(index, &tool_use(call)));
        }
        out.extend(in_turns(calls).map(|(at, piece)| delta(first + at, &input(piece))));
        out.extend((first..self.blocks).map(stop));
    }

    /// All that comes before the end.
    fn stop(&mut self, reason: FinishReason, out: &mut Vec<String>) {
        self.begin(out);
        self.close(out);
        let delta = json!({"stop_reason": stop_reason(reason), "stop_sequence": null});
        out.push(event(&json!({"type": "message_delta", "delta": delta, "usage": counts(&self.usage)})));
    }

    fn delta(&self, piece: &Value) -> String {
        delta(self.blocks, piece)
    }

    fn close(&mut self, out: &mut Vec<String>) {
        let Some(kind) = self.open.take() else { return };
        if kind == "thinking" {
            out.push(self.delta(&json!({"type": "signature_delta", "signature": "c2lnbmVk"})));
        }
        out.push(stop(self.blocks));
        self.blocks += 1;
    }
}

fn tool_use(call: &FakeCall) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
}

fn input(piece: &str) -> Value {
    json!({"type": "input_json_delta", "partial_json": piece})
}

fn start(index: usize, block: &Value) -> String {
    event(&json!({"type": "content_block_start", "index": index, "content_block": block}))
}

fn delta(index: usize, delta: &Value) -> String {
    event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
}

fn stop(index: usize) -> String {
    event(&json!({"type": "content_block_stop", "index": index}))
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}

fn counts(usage: &Usage) -> Value {
    let counts = [
        ("input_tokens", usage.input),
        ("output_tokens", usage.output),
        ("cache_read_input_tokens", usage.cache_read),
        ("cache_creation_input_tokens", usage.cache_write),
    ];
    let said = counts.into_iter().filter_map(|(name, count)| Some((name.to_owned(), count?.into())));
    Value::Object(said.collect::<Map<_, _>>())
}

fn stop_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "max_tokens",
        FinishReason::ContentFilter => "refusal",
        FinishReason::ToolCalls => "tool_use",
        _ => "end_turn",
    }
}

/// The messages of a request: the system prompt first, and every result of a tool as a message of its own.
pub(super) fn messages(body: &Value) -> Vec<FakeMessage> {
    let mut messages = Vec::new();
    let mut add = |role: &str, text: String| messages.push(FakeMessage { role: role.to_owned(), text });
    if !body["system"].is_null() {
        add("system", text(&body["system"]));
    }
    for message in body["messages"].as_array().into_iter().flatten() {
        let content = &message["content"];
        let is_result = |block: &&Value| block["type"] == "tool_result";
        for result in content.as_array().into_iter().flatten().filter(is_result) {
            add("tool", text(&result["content"]));
        }
        let only_results =
            content.as_array().is_some_and(|blocks| blocks.iter().all(|block| is_result(&block)));
        if !only_results {
            add(message["role"].as_str().unwrap_or_default(), text(content));
        }
    }
    messages
}

fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect(),
        _ => String::new(),
    }
}
