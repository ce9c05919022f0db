//! The conversation as Anthropic wants it: users and the model in turns, results first.

use std::collections::{BTreeMap, BTreeSet};

use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::model::{Message, Role};
use serde_json::{Map, Value, json};

use super::{NAMESPACE, attached};

/// Longest name of a tool that is taken.
const NAME_BYTES_MAX: usize = 128;

/// The system prompt: the texts of all system messages.
pub(super) fn system(prompt: &[Message]) -> Vec<Value> {
    let mut blocks = Vec::new();
    for message in prompt.iter().filter(|message| message.role == Role::System) {
        let from = blocks.len();
        blocks.extend(message.content.iter().filter_map(|part| match part {
            Part::Text { text, .. } => text_block(text),
            _ => None,
        }));
        with_options(message, &mut blocks[from..]);
    }
    blocks
}

/// All other messages, those of one side as one. Messages of nothing are left out: a list of nothing is refused.
pub(super) fn messages(prompt: &[Message]) -> Vec<Value> {
    let mut writing = Writing { pairs: Pairs::of(prompt), ..Writing::default() };
    for message in prompt {
        let blocks = match message.role {
            Role::System => continue,
            Role::Assistant => writing.assistant(&message.content),
            Role::User => message.content.iter().filter_map(user_block).collect(),
            Role::Tool => message.content.iter().filter_map(|part| writing.result(part)).collect(),
        };
        let role = if message.role == Role::Assistant { "assistant" } else { "user" };
        writing.push(role, message, blocks);
    }
    writing.finish()
}

#[derive(Default)]
struct Writing {
    pairs: Pairs,
    turns: Vec<Turn>,
    /// Every id of a call so far: one may not come twice.
    ids: BTreeSet<String>,
    /// The last number that was put behind an id which comes again. Some providers give the same ones in every answer.
    numbers: BTreeMap<String, u32>,
    /// Calls of the newest answer that have no result yet, by the id in the prompt and the one that is sent.
    unanswered: Vec<(Box<str>, String)>,
}

struct Turn {
    role: &'static str,
    blocks: Vec<Value>,
}

impl Writing {
    fn push(&mut self, role: &'static str, message: &Message, mut blocks: Vec<Value>) {
        with_options(message, &mut blocks);
        self.join(Turn { role, blocks });
    }

    fn join(&mut self, mut next: Turn) {
        match self.turns.last_mut() {
            _ if next.blocks.is_empty() => {}
            Some(turn) if turn.role == next.role => turn.blocks.append(&mut next.blocks),
            _ => self.turns.push(next),
        }
    }

    fn finish(mut self) -> Vec<Value> {
        // An answer that ends in a thought, because it was stopped there, is refused.
        for mut turn in std::mem::take(&mut self.turns) {
            while turn.blocks.last().is_some_and(is_thought) {
                turn.blocks.pop();
            }
            self.join(turn);
        }
        let mut calls: Vec<String> = Vec::new();
        for turn in &mut self.turns {
            let id = |block: &Value, name: &str| block[name].as_str().map(str::to_owned);
            if turn.role == "assistant" {
                calls = turn.blocks.iter().filter_map(|block| id(block, "id")).collect();
            } else {
                // Results stand first, in the order of their calls.
                turn.blocks.sort_by_key(|block| match id(block, "tool_use_id") {
                    Some(id) => calls.iter().position(|call| *call == id).unwrap_or(calls.len()),
                    None => usize::MAX,
                });
            }
        }
        // An answer that is begun for the model may not end in white space.
        if let Some(turn) = self.turns.last_mut().filter(|turn| turn.role == "assistant")
            && let Some(Value::String(text)) = turn.blocks.last_mut().and_then(|block| block.get_mut("text"))
        {
            text.truncate(text.trim_end().len());
        }
        self.turns.into_iter().map(|turn| json!({"role": turn.role, "content": turn.blocks})).collect()
    }

    fn assistant(&mut self, content: &[Part]) -> Vec<Value> {
        if self.turns.last().is_some_and(|turn| turn.role == "user") {
            self.unanswered.clear();
        }
        content.iter().filter_map(|part| self.answered(part)).collect()
    }

    fn answered(&mut self, part: &Part) -> Option<Value> {
        match part {
            Part::Text { text, metadata } => {
                let mut block = text_block(text)?;
                if let Some(citations) = attached(metadata, "citations") {
                    block["citations"] = citations.clone();
                }
                Some(block)
            }
            Part::Reasoning { text, metadata } => {
                if let Some(data) = attached(metadata, "redacted_data") {
                    return Some(json!({"type": "redacted_thinking", "data": data}));
                }
                let signature = attached(metadata, "signature")?;
                Some(json!({"type": "thinking", "thinking": text, "signature": signature}))
            }
            Part::ToolCall { id, name, input, provider_executed: false, metadata } => {
                let wire_id = self.unique(id);
                self.unanswered.push((id.clone(), wire_id.clone()));
                let mut block =
                    json!({"type": "tool_use", "id": wire_id, "name": called(name), "input": object(input)});
                // A direct call is what a call without a caller is.
                let caller = attached(metadata, "caller").filter(|caller| caller["type"] != "direct");
                if let Some(caller) = caller
                    && caller["tool_id"].as_str().is_none_or(|id| self.pairs.keeps_call(id))
                {
                    block["caller"] = caller.clone();
                }
                Some(block)
            }
            Part::ToolCall { id, name, input, provider_executed: true, metadata } => {
                let mut block = ours(metadata)?.clone();
                if !block.contains_key("type") || !self.pairs.keeps_call(id) {
                    return None;
                }
                block.extend(Map::from_iter([
                    ("id".to_owned(), (&**id).into()),
                    ("name".to_owned(), (&**name).into()),
                    ("input".to_owned(), object(input)),
                ]));
                Some(block.into())
            }
            Part::ToolResult { call_id, provider_executed: true, metadata, .. } => {
                let block = attached(metadata, "block")?;
                self.pairs.keeps_call(call_id).then(|| block.clone())
            }
            Part::Unknown(value) => {
                let is_ours = value["type"].as_str().is_some_and(|kind| kind.starts_with("anthropic."));
                value.get("block").filter(|_| is_ours).cloned()
            }
            _ => None,
        }
    }

    fn result(&mut self, part: &Part) -> Option<Value> {
        let Part::ToolResult { call_id, output, provider_executed: false, .. } = part else { return None };
        let id = match self.unanswered.iter().position(|(id, _)| id == call_id) {
            Some(at) => self.unanswered.remove(at).1,
            None => allowed(call_id),
        };
        let mut block = json!({"type": "tool_result", "tool_use_id": id});
        let content = match output {
            Output::Text { text } => text_block(text).into_iter().collect(),
            Output::Error { text } => {
                block["is_error"] = true.into();
                // An error of no words is refused.
                vec![text_block(text).unwrap_or_else(|| json!({"type": "text", "text": "error"}))]
            }
            Output::Media { media_type, data, text } => {
                let media = media(media_type, None, data)
                    .unwrap_or_else(|| json!({"type": "text", "text": format!("[{media_type}]")}));
                text.as_deref().and_then(text_block).into_iter().chain([media]).collect()
            }
            _ => Vec::new(),
        };
        if !content.is_empty() {
            block["content"] = content.into();
        }
        Some(block)
    }

    /// An id that no call has had. Other providers give one twice, and use letters that are refused here.
    fn unique(&mut self, id: &str) -> String {
        let base = allowed(id);
        let mut id = base.clone();
        while !self.ids.insert(id.clone()) {
            let number = self.numbers.entry(base.clone()).or_insert(1);
            *number += 1;
            id = format!("{base}_{number}");
        }
        id
    }
}

/// Calls that Anthropic runs, and their results. One without the other is refused.
#[derive(Default)]
struct Pairs {
    calls: BTreeSet<Box<str>>,
    /// Calls that an interrupt left without a result, because somebody spoke since, and what their programs called.
    torn: BTreeSet<Box<str>>,
}

impl Pairs {
    fn of(prompt: &[Message]) -> Self {
        let mut pairs = Self::default();
        let mut waiting = BTreeSet::new();
        let mut callers = Vec::new();
        for message in prompt {
            for part in message.content.iter() {
                match part {
                    Part::ToolCall { id, provider_executed: true, metadata, .. } => {
                        pairs.calls.insert(id.clone());
                        waiting.insert(id.clone());
                        let program =
                            attached(metadata, "caller").and_then(|caller| caller["tool_id"].as_str());
                        callers.extend(program.map(|program| (program, id)));
                    }
                    // It may come some answers later, where a program of Anthropic's calls tools of the host.
                    Part::ToolResult { call_id, provider_executed: true, .. } => {
                        waiting.remove(call_id);
                    }
                    _ => {}
                }
            }
            if message.role == Role::User {
                pairs.torn.append(&mut waiting);
            }
        }
        // A program stands before what it calls.
        for (program, id) in callers {
            if !pairs.keeps_call(program) {
                pairs.torn.insert(id.clone());
            }
        }
        pairs
    }

    fn keeps_call(&self, id: &str) -> bool {
        self.calls.contains(id) && !self.torn.contains(id)
    }
}

fn is_thought(block: &Value) -> bool {
    matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"))
}

fn user_block(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text, .. } => text_block(text),
        Part::File { media_type, name, data, .. } => media(media_type, name.as_deref(), data),
        _ => None,
    }
}

/// Blank texts are refused.
fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}))
}

/// An image or a PDF, if it is one that Anthropic reads.
pub(super) fn media(media_type: &str, name: Option<&str>, data: &FileData) -> Option<Value> {
    let media_type = if media_type == "image/jpg" { "image/jpeg" } else { media_type };
    let kind = match media_type {
        "image/jpeg" | "image/png" | "image/gif" | "image/webp" => "image",
        "application/pdf" => "document",
        _ => return None,
    };
    let bytes = |data: &str| json!({"type": "base64", "media_type": media_type, "data": data});
    let source = match data {
        FileData::Base64(data) => bytes(data),
        // What stands in the address itself cannot be fetched.
        FileData::Url(url) if url.starts_with("data:") => bytes(url.split_once(";base64,")?.1),
        FileData::Url(url) => json!({"type": "url", "url": url}),
        _ => return None,
    };
    let mut block = json!({"type": kind, "source": source});
    if let (Some(name), "document") = (name, kind) {
        block["title"] = name.into();
    }
    Some(block)
}

/// Options of a message, such as a mark of the host's own, are those of its last block.
fn with_options(message: &Message, blocks: &mut [Value]) {
    if let (Some(block), Some(Value::Object(options))) =
        (blocks.last_mut().and_then(Value::as_object_mut), message.provider_options.get(NAMESPACE))
    {
        block.extend(options.clone());
    }
}

fn ours(metadata: &Metadata) -> Option<&Map<String, Value>> {
    metadata.get(NAMESPACE)?.as_object()
}

/// Arguments that are no object would be refused, and the thread with them.
fn object(input: &str) -> Value {
    serde_json::from_str(input).ok().filter(Value::is_object).unwrap_or_else(|| json!({}))
}

/// The name of a tool as a model wrote it, which may be anything.
fn called(name: &str) -> String {
    let mut name = allowed(name);
    name.truncate(NAME_BYTES_MAX);
    name
}

fn allowed(id: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let id: String = id.chars().map(letter).collect();
    if id.is_empty() { "call".to_owned() } else { id }
}
