//! The conversation as Google wants it: users and the model in turns, results first.

use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::model::{Message, Role};
use serde_json::{Map, Value, json};

use super::{NAMESPACE, attached};

/// The parts of the system prompt: the texts of all system messages.
pub(super) fn system(prompt: &[Message]) -> Vec<Value> {
    let parts = prompt.iter().filter(|message| message.role == Role::System).flat_map(|m| m.content.iter());
    let texts = parts.filter_map(|part| match part {
        Part::Text { text, .. } => text_part(text),
        _ => None,
    });
    texts.collect()
}

/// All other messages, those of one side as one. Messages of nothing are left out: a list of nothing is refused.
pub(super) fn contents(model: &str, prompt: &[Message]) -> Vec<Value> {
    let mut writing = Writing { wants_signatures: wants_signatures(model), ..Writing::default() };
    for message in prompt {
        let (role, parts) = match message.role {
            Role::System => continue,
            Role::Assistant => ("model", writing.answer(&message.content)),
            Role::User => ("user", message.content.iter().filter_map(user_part).map(Sent::Part).collect()),
            Role::Tool => ("user", message.content.iter().flat_map(|part| writing.result(part)).collect()),
        };
        writing.push(role, message, parts);
    }
    // A conversation may not begin with a call.
    if writing.turns.first().is_some_and(Turn::calls) {
        let begun = vec![Sent::Part(json!({"text": "Go on."}))];
        writing.turns.insert(0, Turn { role: "user", parts: begun });
    }
    writing.turns.into_iter().map(Turn::content).collect()
}

/// What Google takes for the signature of a call that another model made.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// Whether the model refuses a call of the newest turn that is not signed: those from Gemini 3 on do.
fn wants_signatures(model: &str) -> bool {
    model.contains("gemini") && !["gemini-1", "gemini-2"].iter().any(|older| model.contains(older))
}

#[derive(Default)]
struct Writing {
    wants_signatures: bool,
    turns: Vec<Turn>,
    /// Calls of the newest answer: the id in the prompt, Google's own, and whether a result came.
    calls: Vec<(Box<str>, Option<Value>, bool)>,
}

struct Turn {
    role: &'static str,
    parts: Vec<Sent>,
}

enum Sent {
    Part(Value),
    /// A result of the call at this place among those of its answer.
    Result(usize, Value),
}

impl Turn {
    fn calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Sent::Part(part) if part.get("functionCall").is_some()))
    }

    fn content(mut self) -> Value {
        // Results stand first, in the order of their calls.
        self.parts.sort_by_key(|part| match part {
            Sent::Result(at, _) => *at,
            Sent::Part(_) => usize::MAX,
        });
        let parts = self.parts.into_iter().map(|part| match part {
            Sent::Part(part) | Sent::Result(_, part) => part,
        });
        json!({"role": self.role, "parts": parts.collect::<Vec<_>>()})
    }
}

impl Writing {
    fn push(&mut self, role: &'static str, message: &Message, mut parts: Vec<Sent>) {
        // Options of a message are those of its last part.
        if let (Some(Sent::Part(Value::Object(part)) | Sent::Result(_, Value::Object(part))), Some(options)) =
            (parts.last_mut(), message.provider_options.get(NAMESPACE).and_then(Value::as_object))
        {
            part.extend(options.clone());
        }
        match self.turns.last_mut() {
            _ if parts.is_empty() => {}
            Some(turn) if turn.role == role => turn.parts.append(&mut parts),
            _ => self.turns.push(Turn { role, parts }),
        }
    }

    fn answer(&mut self, content: &[Part]) -> Vec<Sent> {
        if self.turns.last().is_some_and(|turn| turn.role == "user") {
            self.calls.clear();
        }
        let mut parts: Vec<Value> = content.iter().flat_map(|part| self.answered(part)).collect();
        let is_call = |part: &&mut Value| part.get("functionCall").is_some();
        let is_signed =
            |part: &Value| part.get("functionCall").is_some() && part.get("thoughtSignature").is_some();
        // Of the calls of an answer only the first one is signed.
        if self.wants_signatures
            && !parts.iter().any(is_signed)
            && let Some(call) = parts.iter_mut().find(is_call)
        {
            call["thoughtSignature"] = UNSIGNED.into();
        }
        parts.into_iter().map(Sent::Part).collect()
    }

    fn answered(&mut self, part: &Part) -> Vec<Value> {
        match part {
            Part::Text { text, metadata } => {
                let Some(signature) = attached(metadata, "thoughtSignature") else {
                    return text_part(text).into_iter().collect();
                };
                let (before, signed) = text.split_at(signed_from(text, metadata));
                // A signed part may be empty, and is demanded back as it came.
                let before = (!before.is_empty()).then(|| json!({"text": before}));
                before.into_iter().chain([json!({"text": signed, "thoughtSignature": signature})]).collect()
            }
            // What is not signed is for people.
            Part::Reasoning { text, metadata } => {
                let Some(signature) = attached(metadata, "thoughtSignature") else { return Vec::new() };
                let signed = &text[signed_from(text, metadata)..];
                vec![json!({"text": signed, "thought": true, "thoughtSignature": signature})]
            }
            Part::ToolCall { id, name, input, provider_executed: false, metadata } => {
                let own_id = attached(metadata, "id").cloned();
                let mut call = json!({"name": name, "args": object(input)});
                if let Some(id) = &own_id {
                    call["id"] = id.clone();
                }
                self.calls.push((id.clone(), own_id, false));
                vec![signed(json!({"functionCall": call}), metadata)]
            }
            Part::File { media_type, data, metadata, .. } => {
                media(media_type, data).map(|part| signed(part, metadata)).into_iter().collect()
            }
            Part::Unknown(value) => {
                let is_ours = value["type"].as_str().is_some_and(|kind| kind.starts_with("google."));
                value.get("part").filter(|_| is_ours).cloned().into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn result(&mut self, part: &Part) -> Vec<Sent> {
        let Part::ToolResult { call_id, name, output, provider_executed: false, .. } = part else {
            return Vec::new();
        };
        let (response, file) = match output {
            Output::Text { text } => (json!({"output": text}), None),
            Output::Error { text } => (json!({"error": text}), None),
            Output::Media { media_type, data, text } => {
                let words = text.clone().unwrap_or_else(|| format!("[{media_type}]"));
                (json!({"output": words}), media(media_type, data))
            }
            _ => (json!({}), None),
        };
        let mut result = json!({"name": name, "response": response});
        let at = self.calls.iter().position(|(id, _, answered)| id == call_id && !answered);
        if let Some((_, own_id, answered)) = at.and_then(|at| self.calls.get_mut(at)) {
            *answered = true;
            if let Some(id) = own_id {
                result["id"] = id.clone();
            }
        }
        let at = at.unwrap_or(self.calls.len());
        let result = Sent::Result(at, json!({"functionResponse": result}));
        // Not every model reads files within a result: they stand behind all results.
        [result].into_iter().chain(file.map(Sent::Part)).collect()
    }
}

fn user_part(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text, .. } => text_part(text),
        Part::File { media_type, data, .. } => media(media_type, data),
        _ => None,
    }
}

/// Blank texts say nothing.
fn text_part(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"text": text}))
}

/// A file, if it is where Google can read it.
pub(super) fn media(media_type: &str, data: &FileData) -> Option<Value> {
    // Browsers say it, and it is refused.
    let media_type = if media_type == "image/jpg" { "image/jpeg" } else { media_type };
    let bytes = |data: &str| json!({"inlineData": {"mimeType": media_type, "data": data}});
    match data {
        FileData::Base64(data) => Some(bytes(data)),
        // What stands in the address itself cannot be fetched.
        FileData::Url(url) if url.starts_with("data:") => Some(bytes(url.split_once(";base64,")?.1)),
        FileData::Url(url) => Some(json!({"fileData": {"mimeType": media_type, "fileUri": url}})),
        _ => None,
    }
}

fn signed(mut part: Value, metadata: &Metadata) -> Value {
    if let Some(signature) = attached(metadata, "thoughtSignature") {
        part["thoughtSignature"] = signature.clone();
    }
    part
}

/// Where in a text its signed part begins: parts of which only one is signed may not be sent as one.
fn signed_from(text: &str, metadata: &Metadata) -> usize {
    let from = attached(metadata, "signed_from").and_then(Value::as_u64);
    let from = from.and_then(|from| usize::try_from(from).ok()).unwrap_or(0);
    if text.is_char_boundary(from) { from } else { 0 }
}

/// Arguments that are no object would be refused, and the thread with them.
fn object(input: &str) -> Value {
    serde_json::from_str(input).ok().filter(Value::is_object).unwrap_or_else(|| Map::new().into())
}
