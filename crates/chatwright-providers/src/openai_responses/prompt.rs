//! The conversation as OpenAI wants it: a list of items, in the order of what happened.

use std::collections::BTreeSet;

use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::model::{Message, Role};
use serde_json::{Map, Value, json};

use super::item::word;
use super::{NAMESPACE, attached, item_of};
use crate::openai::{arguments, tool_name};

/// Most characters of the id of a call.
const CALL_ID_CHARS_MAX: usize = 64;

/// All items that this provider is sent. Messages of nothing are left out.
pub(super) fn input(provider: &str, prompt: &[Message]) -> Vec<Value> {
    let answered = answered(provider, prompt);
    let mut writing = Writing { provider, answered, ..Writing::default() };
    for message in prompt {
        match message.role {
            Role::System => writing.message("developer", message),
            Role::User => writing.message("user", message),
            Role::Assistant => writing.assistant(&message.content),
            Role::Tool => message.content.iter().for_each(|part| writing.result(part)),
        }
    }
    writing.items
}

#[derive(Default)]
struct Writing<'a> {
    provider: &'a str,
    items: Vec<Value>,
    /// Every id of a call so far: one may not come twice.
    ids: BTreeSet<String>,
    /// Calls that have no result yet, by the id in the prompt and the one that is sent.
    unanswered: Vec<(Box<str>, String)>,
    /// Ids of the opaque calls whose output is in the prompt.
    answered: BTreeSet<String>,
}

impl Writing<'_> {
    fn message(&mut self, role: &str, message: &Message) {
        let mut content = Vec::new();
        for part in message.content.iter() {
            match part {
                Part::Text { text, .. } => content.extend(said("input_text", text)),
                Part::File { media_type, name, data, .. } if role == "user" => {
                    content.extend(media(media_type, name.as_deref(), data));
                }
                part => self.items.extend(opaque(self.provider, part).cloned()),
            }
        }
        // Options of a message, such as the detail of a picture, are those of its last piece.
        if let (Some(piece), Some(Value::Object(options))) =
            (content.last_mut().and_then(Value::as_object_mut), message.provider_options.get(NAMESPACE))
        {
            piece.extend(options.clone());
        }
        if !content.is_empty() {
            self.items.push(json!({"type": "message", "role": role, "content": content}));
        }
    }

    fn assistant(&mut self, content: &[Part]) {
        if self.items.last().is_some_and(|item| item["role"] == "user") {
            self.unanswered.clear();
        }
        let from = self.items.len();
        for part in content {
            let item = self.answer(part);
            self.items.extend(item);
        }
        // A thought that nothing followed, because an interrupt came, is refused.
        while self.items.len() > from && self.items.last().is_some_and(|item| item["type"] == "reasoning") {
            self.items.pop();
        }
    }

    /// Texts and calls go without the ids of their items: with one, OpenAI demands the thoughts before it, which may be gone.
    fn answer(&mut self, part: &Part) -> Option<Value> {
        match part {
            Part::Text { text, metadata } => {
                let mut content = said("output_text", text)?;
                if attached(metadata, "refusal").is_some() {
                    content = json!({"type": "refusal", "refusal": text});
                }
                let mut item = json!({"type": "message", "role": "assistant", "content": [content]});
                if let Some(phase) = attached(metadata, "phase") {
                    item["phase"] = phase.clone();
                }
                Some(item)
            }
            Part::Reasoning { metadata, .. } => {
                let item = item_of(metadata.get(NAMESPACE)?, self.provider)?;
                let fields = item.as_object()?;
                (word(fields, "id").is_some() && word(fields, "encrypted_content").is_some())
                    .then(|| item.clone())
            }
            Part::ToolCall { id, name, input, provider_executed: false, metadata } => {
                let call_id = self.unique(id);
                self.unanswered.push((id.clone(), call_id.clone()));
                let mut item = extra(metadata);
                item.remove("id");
                item.extend(Map::from_iter([
                    ("type".to_owned(), "function_call".into()),
                    ("call_id".to_owned(), call_id.into()),
                    ("name".to_owned(), tool_name(name).into()),
                    ("arguments".to_owned(), arguments(input).into()),
                ]));
                Some(item.into())
            }
            Part::ToolCall { provider_executed: true, metadata, .. } => {
                item_of(metadata.get(NAMESPACE)?, self.provider).cloned()
            }
            Part::File { data: FileData::Base64(data), metadata, .. } => {
                let mut item = item_of(metadata.get(NAMESPACE)?, self.provider)?.clone();
                *item.get_mut("result")? = (&**data).into();
                Some(item)
            }
            part => {
                let item = opaque(self.provider, part)?;
                let waits = awaited(item).is_some_and(|id| !self.answered.contains(id));
                (!waits).then(|| item.clone())
            }
        }
    }

    fn result(&mut self, part: &Part) {
        let Part::ToolResult { call_id, output, provider_executed: false, .. } = part else {
            return self.items.extend(opaque(self.provider, part).cloned());
        };
        let id = match self.unanswered.iter().position(|(id, _)| id == call_id) {
            Some(at) => self.unanswered.remove(at).1,
            None => allowed(call_id),
        };
        let output: Value = match output {
            Output::Text { text } => text.as_str().into(),
            Output::Error { text } => format!("Error: {text}").into(),
            Output::Media { media_type, data, text } => {
                let media = media(media_type, None, data)
                    .unwrap_or_else(|| json!({"type": "input_text", "text": format!("[{media_type}]")}));
                let words = text.as_deref().and_then(|text| said("input_text", text));
                words.into_iter().chain([media]).collect()
            }
            _ => "".into(),
        };
        self.items.push(json!({"type": "function_call_output", "call_id": id, "output": output}));
    }

    /// An id that no call has had. Other providers give one twice.
    fn unique(&mut self, id: &str) -> String {
        let base = allowed(id);
        let mut id = base.clone();
        let mut number = 2_u32;
        while !self.ids.insert(id.clone()) {
            let suffix = format!("_{number}");
            id = base.chars().take(CALL_ID_CHARS_MAX - suffix.len()).collect::<String>() + &suffix;
            number += 1;
        }
        id
    }
}

/// The ids of the opaque calls whose output is in the prompt.
fn answered(provider: &str, prompt: &[Message]) -> BTreeSet<String> {
    let items =
        prompt.iter().flat_map(|message| message.content.iter()).filter_map(|part| opaque(provider, part));
    let outputs = items.filter(|item| item["type"].as_str().is_some_and(|kind| kind.ends_with("_output")));
    outputs.filter_map(|item| item["call_id"].as_str().map(str::to_owned)).collect()
}

/// The id of a call that somebody must answer.
fn awaited(item: &Value) -> Option<&str> {
    let is_call = item["type"].as_str().is_some_and(|kind| kind.ends_with("_call"));
    item["call_id"].as_str().filter(|id| is_call && !id.is_empty())
}

/// An item that is sent as it came, or as the host made it.
fn opaque<'a>(provider: &str, part: &'a Part) -> Option<&'a Value> {
    let Part::Unknown(value) = part else { return None };
    item_of(value, provider)
        .filter(|_| value["type"].as_str().is_some_and(|kind| kind.starts_with("openai.")))
}

fn extra(metadata: &Metadata) -> Map<String, Value> {
    metadata.get(NAMESPACE).and_then(Value::as_object).cloned().unwrap_or_default()
}

fn said(kind: &str, text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"type": kind, "text": text}))
}

/// A picture or a document, if it is one that OpenAI reads.
pub(super) fn media(media_type: &str, name: Option<&str>, data: &FileData) -> Option<Value> {
    let is_image = media_type.starts_with("image/");
    if media_type.starts_with("audio/") || media_type.starts_with("video/") {
        return None;
    }
    let (url, is_page) = match data {
        FileData::Base64(data) => (format!("data:{media_type};base64,{data}"), false),
        // What stands in the address itself cannot be fetched.
        FileData::Url(url) => (url.to_string(), !url.starts_with("data:")),
        _ => return None,
    };
    Some(match (is_image, is_page) {
        (true, _) => json!({"type": "input_image", "image_url": url}),
        (false, true) => json!({"type": "input_file", "file_url": url}),
        // Bytes without a name are refused.
        (false, false) => {
            json!({"type": "input_file", "filename": name.unwrap_or("file"), "file_data": url})
        }
    })
}

fn allowed(id: &str) -> String {
    if id.is_empty() { "call".to_owned() } else { id.chars().take(CALL_ID_CHARS_MAX).collect() }
}
