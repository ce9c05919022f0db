//! The wire format of OpenAI's Responses.

use chatwright_core::model::{FinishReason, Usage};
use serde_json::{Value, json};

use crate::script::FakeMessage;
use crate::step::{FakeCall, Step, in_turns};

/// A response on its way: what has begun, and what comes with its end.
#[derive(Default)]
pub(crate) struct Reply {
    begun: bool,
    /// The open item, which has the newest index.
    open: Option<Open>,
    items: usize,
    usage: Usage,
}

/// An item that has begun.
enum Open {
    /// A message or a thought: its type, its text so far, and what that refers to.
    Said(&'static str, String, Vec<Value>),
    /// A call.
    Call(FakeCall),
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
            Step::Cited { text, url, title } => {
                self.say("message", "response.output_text.delta", text, &mut out);
                self.cite(url, title, text.chars().count(), &mut out);
            }
            Step::RedactedReasoning(data) => {
                self.close(&mut out);
                let item = |data: Value| json!({"type": "reasoning", "id": self.id("rs"), "summary": [], "encrypted_content": data});
                let (begun, done) = (item(Value::Null), item(data.as_str().into()));
                self.whole(&begun, &done, &[], &mut out);
            }
            Step::Call { id, name, arguments } => {
                let (id, name, arguments) = (id.clone(), name.clone(), arguments.clone());
                self.calls(&[FakeCall { id, name, arguments }], &mut out);
            }
            Step::Calls(calls) => self.calls(calls, &mut out),
            Step::CutCall(call) => {
                self.begin(&mut out);
                self.close(&mut out);
                let number = self.items;
                out.push(item_event("added", number, &call_item(number, call, "", "in_progress")));
                out.extend(call.arguments.iter().map(|piece| arguments(number, piece)));
                self.open = Some(Open::Call(call.clone()));
            }
            Step::Search { query, url, .. } => self.search(query, url, &mut out),
            Step::UnknownBlock(kind) => {
                self.close(&mut out);
                let item = |data: &str| json!({"type": kind, "id": self.id("new"), "data": data});
                let (begun, done) = (item(""), item("new"));
                self.whole(&begun, &done, &[], &mut out);
            }
            Step::UnknownEvent { kind, .. } => {
                self.begin(&mut out);
                out.push(event(&json!({"type": kind, "data": "new"})));
            }
            Step::Usage(usage) => self.usage = *usage,
            Step::Finish(reason) => {
                self.begin(&mut out);
                self.close(&mut out);
                out.push(event(&self.end(*reason)));
            }
            Step::Unfinished(_) => {
                self.begin(&mut out);
                self.close(&mut out);
            }
            Step::Error { kind, code, message } => {
                let error = json!({"type": kind, "code": code, "message": message, "param": null});
                out.push(event(&json!({"type": "error", "error": error})));
            }
            Step::Failed { code, message } => {
                let mut response = response("failed");
                response["error"] = json!({"code": code, "message": message});
                out.push(event(&json!({"type": "response.failed", "response": response})));
            }
            Step::Ping => out.push(": ping\n\n".to_owned()),
            _ => {}
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

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{}", self.items)
    }

    /// Goes on in an open item of this type, or begins one.
    fn say(&mut self, kind: &'static str, delta: &str, text: &str, out: &mut Vec<String>) {
        self.begin(out);
        if !matches!(&self.open, Some(Open::Said(open, ..)) if *open == kind) {
            self.close(out);
            out.push(item_event("added", self.items, &self.item(kind, None)));
            self.open = Some(Open::Said(kind, String::new(), Vec::new()));
        }
        if let Some(Open::Said(_, said, _)) = &mut self.open {
            said.push_str(text);
        }
        let place = if kind == "message" { "content_index" } else { "summary_index" };
        let id = self.item(kind, None)["id"].take();
        out.push(event(
            &json!({"type": delta, "output_index": self.items, "item_id": id, place: 0, "delta": text}),
        ));
    }

    /// Adds what the last so many characters of the open text refer to.
    fn cite(&mut self, url: &str, title: &str, length: usize, out: &mut Vec<String>) {
        let id = self.id("msg");
        let Some(Open::Said(_, said, annotations)) = &mut self.open else { return };
        let end = said.chars().count();
        let annotation = json!({"type": "url_citation", "url": url, "title": title,
            "start_index": end - length, "end_index": end});
        out.push(event(&json!({"type": "response.output_text.annotation.added", "item_id": id,
            "output_index": self.items, "content_index": 0, "annotation_index": annotations.len(),
            "annotation": annotation})));
        annotations.push(annotation);
    }

    /// An item that begins and ends where none is open; between the two, events of progress.
    fn whole(&mut self, begun: &Value, done: &Value, progress: &[&str], out: &mut Vec<String>) {
        self.begin(out);
        out.push(item_event("added", self.items, begun));
        let id = &begun["id"];
        out.extend(
            progress
                .iter()
                .map(|kind| event(&json!({"type": kind, "output_index": self.items, "item_id": id}))),
        );
        out.push(item_event("done", self.items, done));
        self.items += 1;
    }

    fn search(&mut self, query: &str, url: &str, out: &mut Vec<String>) {
        self.close(out);
        let id = self.id("ws");
        let action = json!({"type": "search", "query": query, "sources": [{"type": "url", "url": url}]});
        let begun = json!({"type": "web_search_call", "id": id, "status": "in_progress"});
        let done = json!({"type": "web_search_call", "id": id, "status": "completed", "action": action});
        let progress = ["in_progress", "searching", "completed"];
        let progress = progress.map(|state| format!("response.web_search_call.{state}"));
        self.whole(&begun, &done, &progress.each_ref().map(String::as_str), out);
    }

    /// Items side by side.
    fn calls(&mut self, calls: &[FakeCall], out: &mut Vec<String>) {
        self.begin(out);
        self.close(out);
        let first = self.items;
        self.items += calls.len();
        for (number, call) in (first..).zip(calls) {
            out.push(item_event("added", number, &call_item(number, call, "", "in_progress")));
        }
        out.extend(in_turns(calls).map(|(at, piece)| arguments(first + at, piece)));
        for (number, call) in (first..).zip(calls) {
            let whole = call.arguments.concat();
            out.push(event(&json!({"type": "response.function_call_arguments.done", "output_index": number,
                "item_id": format!("fc_{number}"), "arguments": whole})));
            out.push(item_event("done", number, &call_item(number, call, &whole, "completed")));
        }
    }

    fn close(&mut self, out: &mut Vec<String>) {
        let item = match self.open.take() {
            None => return,
            Some(Open::Said(kind, text, annotations)) => self.item(kind, Some((&text, annotations))),
            Some(Open::Call(call)) => call_item(self.items, &call, &call.arguments.concat(), "incomplete"),
        };
        out.push(item_event("done", self.items, &item));
        self.items += 1;
    }

    /// An item at its beginning, or with its text and what that refers to at its end.
    fn item(&self, kind: &str, said: Option<(&str, Vec<Value>)>) -> Value {
        match (kind, said) {
            ("message", said) => {
                let content = said.map(|(text, annotations)| {
                    json!({"type": "output_text", "text": text, "annotations": annotations})
                });
                json!({"type": kind, "id": self.id("msg"), "role": "assistant",
                    "content": Vec::from_iter(content)})
            }
            (_, None) => json!({"type": kind, "id": self.id("rs"), "summary": []}),
            (_, Some((text, _))) => json!({"type": kind, "id": self.id("rs"),
                "summary": [{"type": "summary_text", "text": text}], "encrypted_content": "c2VhbGVk"}),
        }
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

fn item_event(what: &str, number: usize, item: &Value) -> String {
    event(&json!({"type": format!("response.output_item.{what}"), "output_index": number, "item": item}))
}

fn call_item(number: usize, call: &FakeCall, arguments: &str, status: &str) -> Value {
    json!({"type": "function_call", "id": format!("fc_{number}"), "call_id": call.id, "name": call.name,
        "arguments": arguments, "status": status})
}

fn arguments(number: usize, piece: &str) -> String {
    event(&json!({"type": "response.function_call_arguments.delta", "output_index": number,
        "item_id": format!("fc_{number}"), "delta": piece}))
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
