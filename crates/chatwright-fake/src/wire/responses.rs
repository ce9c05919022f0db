//! The wire format of OpenAI's Responses.

use chatwright_core::model::{FinishReason, Usage};
use serde_json::{Value, json};

use crate::script::FakeMessage;
use crate::step::Step;

/// A response on its way: what has begun, and what comes with its end.
#[derive(Default)]
pub(crate) struct Reply {
    begun: bool,
    /// The type and the text so far of the open item, which has the newest index.
    open: Option<(&'static str, String)>,
    items: usize,
    usage: Usage,
}

impl Reply {
    /// The events of a step, where it makes any.
    pub(super) fn events(&mut self, step: &Step) -> Vec<String> {
        let mut out = Vec::new();
        match step {
            Step::Text(text) => self.say("message", "response.output_text.delta", text, &mut out),
            Step::Reasoning(text) => {
                self.say("reasoning", "response.reasoning_summary_text.delta", text, &mut out);
            }
            Step::Call { id, name, arguments } => {
                self.begin(&mut out);
                self.close(&mut out);
                let item = |arguments: &str, status: &str| {
                    json!({"type": "function_call", "id": format!("fc_{}", self.items), "call_id": id,
                        "name": name, "arguments": arguments, "status": status})
                };
                out.push(self.item_event("response.output_item.added", &item("", "in_progress")));
                let pieces = arguments.iter();
                out.extend(pieces.map(|piece| {
                    event(
                        &json!({"type": "response.function_call_arguments.delta", "output_index": self.items,
                        "item_id": format!("fc_{}", self.items), "delta": piece}),
                    )
                }));
                let whole = arguments.concat();
                out.push(event(
                    &json!({"type": "response.function_call_arguments.done", "output_index": self.items,
                    "item_id": format!("fc_{}", self.items), "arguments": whole}),
                ));
                out.push(self.item_event("response.output_item.done", &item(&whole, "completed")));
                self.items += 1;
            }
            Step::Usage(usage) => self.usage = *usage,
            Step::Finish(reason) => {
                self.begin(&mut out);
                self.close(&mut out);
                out.push(event(&self.end(*reason)));
            }
            Step::Error { kind, code, message } => {
                let error = json!({"type": kind, "code": code, "message": message, "param": null});
                out.push(event(&json!({"type": "error", "error": error})));
            }
            Step::Raw(data) => out.push(format!("data: {data}\n\n")),
            Step::Bytes(_) | Step::Ping | Step::Pause(_) | Step::Stall => {}
        }
        out
    }

    fn begin(&mut self, out: &mut Vec<String>) {
        if !std::mem::replace(&mut self.begun, true) {
            for kind in ["response.created", "response.in_progress"] {
                out.push(event(&json!({"type": kind, "response": response("in_progress")})));
            }
        }
    }

    /// Goes on in an open item of this type, or begins one.
    fn say(&mut self, kind: &'static str, delta: &str, text: &str, out: &mut Vec<String>) {
        self.begin(out);
        if self.open.as_ref().is_none_or(|(open, _)| *open != kind) {
            self.close(out);
            out.push(self.item_event("response.output_item.added", &self.item(kind, None)));
            self.open = Some((kind, String::new()));
        }
        if let Some((_, said)) = &mut self.open {
            said.push_str(text);
        }
        let place = if kind == "message" { "content_index" } else { "summary_index" };
        let id = self.item(kind, None)["id"].take();
        out.push(event(
            &json!({"type": delta, "output_index": self.items, "item_id": id, place: 0, "delta": text}),
        ));
    }

    fn close(&mut self, out: &mut Vec<String>) {
        let Some((kind, text)) = self.open.take() else { return };
        out.push(self.item_event("response.output_item.done", &self.item(kind, Some(&text))));
        self.items += 1;
    }

    /// An item at its beginning, or with its text at its end.
    fn item(&self, kind: &str, text: Option<&str>) -> Value {
        let number = self.items;
        match (kind, text) {
            ("message", _) => {
                let content =
                    text.map(|text| json!({"type": "output_text", "text": text, "annotations": []}));
                json!({"type": kind, "id": format!("msg_{number}"), "role": "assistant",
                    "content": Vec::from_iter(content)})
            }
            (_, None) => json!({"type": kind, "id": format!("rs_{number}"), "summary": []}),
            (_, Some(text)) => json!({"type": kind, "id": format!("rs_{number}"),
                "summary": [{"type": "summary_text", "text": text}], "encrypted_content": "c2VhbGVk"}),
        }
    }

    fn item_event(&self, kind: &str, item: &Value) -> String {
        event(&json!({"type": kind, "output_index": self.items, "item": item}))
    }

    fn end(&self, reason: FinishReason) -> Value {
        let cut = match reason {
            FinishReason::Length => Some("max_output_tokens"),
            FinishReason::ContentFilter => Some("content_filter"),
            _ => None,
        };
        let status = if cut.is_some() { "incomplete" } else { "completed" };
        let mut response = response(status);
        if let Some(reason) = cut {
            response["incomplete_details"] = json!({"reason": reason});
        }
        if !self.usage.is_empty() {
            response["usage"] = counts(&self.usage);
        }
        json!({"type": format!("response.{status}"), "response": response})
    }
}

fn response(status: &str) -> Value {
    json!({"id": "resp_fake", "object": "response", "status": status, "model": "fake", "output": [],
        "error": null, "incomplete_details": null})
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}

/// Counts as OpenAI writes them: cached tokens are input too.
fn counts(usage: &Usage) -> Value {
    let input = usage.input.unwrap_or(0) + usage.cache_read.unwrap_or(0) + usage.cache_write.unwrap_or(0);
    let mut counts = json!({"input_tokens": input, "output_tokens": usage.output,
        "input_tokens_details": {}, "output_tokens_details": {}});
    for (of, name, count) in [
        ("input_tokens_details", "cached_tokens", usage.cache_read),
        ("input_tokens_details", "cache_write_tokens", usage.cache_write),
        ("output_tokens_details", "reasoning_tokens", usage.reasoning),
    ] {
        if let Some(count) = count {
            counts[of][name] = count.into();
        }
    }
    counts
}

/// The messages of a request: every result of a tool as a message of its own, calls as the message of the assistant before them.
pub(super) fn messages(body: &Value) -> Vec<FakeMessage> {
    let mut messages: Vec<FakeMessage> = Vec::new();
    let mut add = |role: &str, text: String| {
        let is_call = role == "call";
        let answers = messages.last().is_some_and(|message| message.role == "assistant");
        if !(is_call && answers) {
            let role = if is_call { "assistant" } else { role };
            messages.push(FakeMessage { role: role.to_owned(), text });
        }
    };
    if let Some(text) = body["instructions"].as_str() {
        add("system", text.to_owned());
    }
    if let Some(text) = body["input"].as_str() {
        add("user", text.to_owned());
    }
    for item in body["input"].as_array().into_iter().flatten() {
        match (item["type"].as_str(), item["role"].as_str()) {
            (Some("function_call"), _) => add("call", String::new()),
            (Some("function_call_output"), _) => add("tool", text(&item["output"])),
            (Some("message") | None, Some("developer")) => add("system", text(&item["content"])),
            (Some("message") | None, Some(role)) => add(role, text(&item["content"])),
            _ => {}
        }
    }
    messages
}

fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}
