//! The wire format of Google's Gemini.

use chatwright_core::model::{FinishReason, Usage};
use serde_json::{Map, Value, json};

use crate::script::FakeMessage;
use crate::step::Step;

/// An answer on its way.
#[derive(Default)]
pub(crate) struct Reply {
    usage: Usage,
    called: bool,
}

impl Reply {
    /// The events of a step, where it makes any.
    pub(super) fn events(&mut self, step: &Step) -> Vec<String> {
        match step {
            Step::Text(text) => vec![self.chunk(&json!({"text": text}), None)],
            Step::Reasoning(text) => vec![self.chunk(&json!({"text": text, "thought": true}), None)],
            Step::Call { id, name, arguments } => vec![self.call(id, name, &arguments.concat())],
            Step::Usage(usage) => {
                self.usage = *usage;
                Vec::new()
            }
            Step::Finish(reason) => vec![self.chunk(&json!({"text": ""}), Some(finish_reason(*reason)))],
            Step::Error { kind, code, message } => {
                let code = code.parse::<u64>().map_or_else(|_| Value::from(code.as_str()), Value::from);
                let mut error = json!({"code": code, "message": message, "status": kind});
                if code == ""
                    && let Some(error) = error.as_object_mut()
                {
                    error.remove("code");
                }
                vec![event(&json!({"error": error}))]
            }
            Step::Raw(data) => vec![format!("data: {data}\r\n\r\n")],
            Step::Ping => vec![": ping\r\n\r\n".to_owned()],
            Step::Bytes(_) | Step::Pause(_) | Step::Stall => Vec::new(),
        }
    }

    /// A call comes whole. The first of an answer is signed.
    fn call(&mut self, id: &str, name: &str, arguments: &str) -> String {
        let arguments: Value = serde_json::from_str(arguments).unwrap_or_else(|_| arguments.into());
        let mut call = json!({"name": name, "args": arguments});
        if !id.is_empty() {
            call["id"] = id.into();
        }
        let mut part = json!({"functionCall": call});
        if !std::mem::replace(&mut self.called, true) {
            part["thoughtSignature"] = "c2lnbmVk".into();
        }
        self.chunk(&part, None)
    }

    fn chunk(&self, part: &Value, finish: Option<&str>) -> String {
        let mut candidate = json!({"content": {"parts": [part], "role": "model"}, "index": 0});
        let mut chunk = json!({"modelVersion": "fake", "responseId": "resp_fake"});
        if let Some(reason) = finish {
            candidate["finishReason"] = reason.into();
            chunk["usageMetadata"] = counts(&self.usage);
        }
        chunk["candidates"] = json!([candidate]);
        event(&chunk)
    }
}

fn event(data: &Value) -> String {
    format!("data: {data}\r\n\r\n")
}

fn counts(usage: &Usage) -> Value {
    let prompt = usage.input.map(|input| input + usage.cache_read.unwrap_or(0));
    let answer = usage.output.map(|output| output.saturating_sub(usage.reasoning.unwrap_or(0)));
    let counts = [
        ("promptTokenCount", prompt),
        ("candidatesTokenCount", answer),
        ("thoughtsTokenCount", usage.reasoning),
        ("cachedContentTokenCount", usage.cache_read),
    ];
    let said = counts.into_iter().filter_map(|(name, count)| Some((name.to_owned(), count?.into())));
    Value::Object(said.collect::<Map<_, _>>())
}

fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "MAX_TOKENS",
        FinishReason::ContentFilter => "SAFETY",
        _ => "STOP",
    }
}

/// The messages of a request: the system prompt first, and every result of a tool as a message of its own.
pub(super) fn messages(body: &Value) -> Vec<FakeMessage> {
    let mut messages = Vec::new();
    let mut add = |role: &str, text: String| messages.push(FakeMessage { role: role.to_owned(), text });
    if !body["systemInstruction"].is_null() {
        add("system", text(&body["systemInstruction"]["parts"]));
    }
    for content in body["contents"].as_array().into_iter().flatten() {
        let parts = content["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_result = |part: &&Value| !part["functionResponse"].is_null();
        for part in parts.iter().filter(is_result) {
            let response = &part["functionResponse"]["response"];
            let said = response["output"].as_str().or(response["error"].as_str());
            add("tool", said.map_or_else(|| response.to_string(), str::to_owned));
        }
        if !parts.iter().all(|part| is_result(&part)) {
            let role = if content["role"] == "model" { "assistant" } else { "user" };
            add(role, text(&content["parts"]));
        }
    }
    messages
}

/// The text of parts, without that of thoughts.
fn text(parts: &Value) -> String {
    let said = parts.as_array().into_iter().flatten().filter(|part| part["thought"] != true);
    said.filter_map(|part| part["text"].as_str()).collect()
}
