//! The wire format of Google's Gemini.

use chatwright_core::model::{FinishReason, Usage};
use serde_json::{Map, Value, json};

use crate::script::FakeMessage;
use crate::step::{FakeCall, Step};

/// An answer on its way.
#[derive(Default)]
pub(crate) struct Reply {
    usage: Usage,
    called: bool,
    /// What searches were for, and the pages that they found.
    searches: Vec<String>,
    pages: Vec<(String, String)>,
}

impl Reply {
    /// The events of a step, where it makes any.
    pub(super) fn events(&mut self, step: &Step) -> Vec<String> {
        match step {
            Step::Text(text) => vec![self.say(&json!({"text": text}))],
            Step::Cited { text, url, title } => {
                self.pages.push((url.clone(), title.clone()));
                vec![self.say(&json!({"text": text}))]
            }
            Step::Reasoning(text) => vec![self.say(&json!({"text": text, "thought": true}))],
            Step::RedactedReasoning(data) => {
                vec![self.say(&json!({"text": "", "thought": true, "thoughtSignature": data}))]
            }
            Step::Call { id, name, arguments } => {
                let call = self.call(id, name, &arguments.concat());
                vec![self.say(&call)]
            }
            Step::Calls(calls) => {
                let calls =
                    calls.iter().map(|call| self.call(&call.id, &call.name, &call.arguments.concat()));
                let parts = calls.collect();
                vec![self.chunk(&parts, None)]
            }
            Step::CutCall(call) => self.cut_call(call),
            Step::Search { query, url, title, .. } => {
                self.searches.push(query.clone());
                self.pages.push((url.clone(), title.clone()));
                Vec::new()
            }
            Step::UnknownBlock(kind) => vec![self.say(&json!({kind: {"data": "new"}}))],
            Step::UnknownEvent { kind, .. } => {
                vec![event(&json!({kind: {"data": "new"}, "responseId": "resp_fake"}))]
            }
            Step::Usage(usage) => {
                self.usage = *usage;
                Vec::new()
            }
            Step::Finish(reason) => {
                vec![self.chunk(&json!([{"text": ""}]), Some(finish_reason(*reason)))]
            }
            // Only the counts: the reason is the end.
            Step::Unfinished(_) => {
                vec![event(&json!({"usageMetadata": counts(&self.usage), "responseId": "resp_fake"}))]
            }
            Step::Error { kind, code, message } => vec![error(kind, code, message)],
            Step::Failed { code, message } => vec![error(code, "", message)],
            Step::Ping => vec![": ping\r\n\r\n".to_owned()],
            _ => Vec::new(),
        }
    }

    /// A call comes whole. The first of an answer is signed.
    fn call(&mut self, id: &str, name: &str, arguments: &str) -> Value {
        let arguments: Value = serde_json::from_str(arguments).unwrap_or_else(|_| arguments.into());
        let mut call = json!({"name": name, "args": arguments});
        if !id.is_empty() {
            call["id"] = id.into();
        }
        let mut part = json!({"functionCall": call});
        if !std::mem::replace(&mut self.called, true) {
            part["thoughtSignature"] = "c2lnbmVk".into();
        }
        part
    }

    /// A call whose arguments go on, as pieces of one text.
    fn cut_call(&self, call: &FakeCall) -> Vec<String> {
        let begin = json!({"id": call.id, "name": call.name, "willContinue": true});
        let rest = call.arguments.iter().map(|piece| {
            let piece = json!({"jsonPath": "$.cut", "stringValue": piece, "willContinue": true});
            json!({"partialArgs": [piece], "willContinue": true})
        });
        let parts = std::iter::once(begin).chain(rest).map(|call| json!({"functionCall": call}));
        parts.map(|part| self.say(&part)).collect()
    }

    /// An event of one part.
    fn say(&self, part: &Value) -> String {
        self.chunk(&json!([part]), None)
    }

    fn chunk(&self, parts: &Value, finish: Option<&str>) -> String {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        let mut chunk = json!({"modelVersion": "fake", "responseId": "resp_fake"});
        if let Some(reason) = finish {
            candidate["finishReason"] = reason.into();
            chunk["usageMetadata"] = counts(&self.usage);
            if !self.pages.is_empty() {
                candidate["groundingMetadata"] = self.grounding();
            }
        }
        chunk["candidates"] = json!([candidate]);
        event(&chunk)
    }

    fn grounding(&self) -> Value {
        let page = |(url, title): &(String, String)| json!({"web": {"uri": url, "title": title}});
        let pages: Vec<Value> = self.pages.iter().map(page).collect();
        json!({"webSearchQueries": self.searches, "groundingChunks": pages})
    }
}

/// An error; without a code where it is empty.
fn error(kind: &str, code: &str, message: &str) -> String {
    let mut error = json!({"message": message, "status": kind});
    if !code.is_empty() {
        error["code"] = code.parse::<u64>().map_or_else(|_| code.into(), Value::from);
    }
    event(&json!({"error": error}))
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
