//! The blocks of an answer, put together from their pieces.

use chatwright_core::content::Metadata;
use chatwright_core::model::ModelPart;
use serde_json::{Map, Value};

use super::event::Delta;
use super::metadata;

/// A block that has begun.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) index: u64,
    /// The index in decimals: the id of a text or of a thought.
    id: Box<str>,
    kind: Kind,
    /// What parts have no place for.
    extra: Map<String, Value>,
}

#[derive(Debug)]
enum Kind {
    Text {
        citations: Vec<Value>,
    },
    Thinking {
        signature: String,
    },
    Redacted,
    Call(Call),
    /// A result of a tool that Anthropic runs, or a block of a type that is not known: what there is of it is in `extra`.
    Opaque {
        kind: String,
    },
}

/// A call of a tool.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: Box<str>,
    pub(super) name: Box<str>,
    pub(super) input: String,
    /// What is called if no arguments stream.
    begun_with: Value,
    pub(super) provider_executed: bool,
    pub(super) extra: Map<String, Value>,
}

/// What is left of a block when it stopped.
pub(super) enum Stopped {
    Done,
    Call(Call),
    Opaque(Map<String, Value>),
}

impl Block {
    /// Begins a block.
    ///
    /// # Errors
    /// A known block that is not what it should be.
    pub(super) fn start(
        index: u64,
        mut block: Map<String, Value>,
        parts: &mut Vec<ModelPart>,
    ) -> Result<Self, String> {
        let id: Box<str> = index.to_string().into();
        let kind = text(&mut block, "type")?;
        let kind = match kind.as_str() {
            "text" => {
                let (delta, citations) = (text(&mut block, "text")?, block.remove("citations"));
                parts.push(ModelPart::TextStart { id: id.clone() });
                if !delta.is_empty() {
                    parts.push(ModelPart::TextDelta { id: id.clone(), delta });
                }
                let citations = match citations {
                    Some(Value::Array(citations)) => citations,
                    _ => Vec::new(),
                };
                Kind::Text { citations }
            }
            "thinking" => {
                let delta = text(&mut block, "thinking")?;
                let signature = text(&mut block, "signature")?;
                parts.push(ModelPart::ReasoningStart { id: id.clone(), metadata: Metadata::new() });
                if !delta.is_empty() {
                    let metadata = Metadata::new();
                    parts.push(ModelPart::ReasoningDelta { id: id.clone(), delta, metadata });
                }
                Kind::Thinking { signature }
            }
            "redacted_thinking" => {
                let data = text(&mut block, "data")?;
                let metadata = metadata(Map::from_iter([("redacted_data".to_owned(), data.into())]));
                parts.push(ModelPart::ReasoningStart { id: id.clone(), metadata });
                Kind::Redacted
            }
            "tool_use" | "server_tool_use" | "mcp_tool_use" => {
                let call = Call {
                    id: required(&mut block, "id")?.into(),
                    name: required(&mut block, "name")?.into(),
                    input: String::new(),
                    begun_with: block.remove("input").unwrap_or_default(),
                    provider_executed: kind != "tool_use",
                    extra: Map::new(),
                };
                if call.provider_executed {
                    block.insert("type".to_owned(), kind.into());
                }
                parts.push(ModelPart::ToolInputStart {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    provider_executed: call.provider_executed,
                });
                Kind::Call(call)
            }
            "" => return Err("a block has no type".to_owned()),
            _ => Kind::Opaque { kind },
        };
        Ok(Self { index, id, kind, extra: block })
    }

    /// Takes a piece; gives whether it was one that this version knows. Others are for [`Block::keep`].
    ///
    /// # Errors
    /// A known piece that is not what it should be, or belongs to a block of another kind.
    pub(super) fn delta(&mut self, delta: &Delta<'_>, parts: &mut Vec<ModelPart>) -> Result<bool, String> {
        match (&*delta.kind, &mut self.kind) {
            ("text_delta", Kind::Text { .. }) => {
                let delta = delta.text()?;
                if !delta.is_empty() {
                    parts.push(ModelPart::TextDelta { id: self.id.clone(), delta });
                }
            }
            ("citations_delta", Kind::Text { citations }) => citations.push(delta.citation()?),
            ("thinking_delta", Kind::Thinking { .. }) => {
                let (delta, metadata) = (delta.thinking()?, Metadata::new());
                if !delta.is_empty() {
                    parts.push(ModelPart::ReasoningDelta { id: self.id.clone(), delta, metadata });
                }
            }
            // Told only when the block ends: half a signature would be refused when it is sent back.
            ("signature_delta", Kind::Thinking { signature }) => signature.push_str(&delta.signature()?),
            ("input_json_delta", Kind::Call(call)) => {
                let delta = delta.partial_json()?;
                call.input.push_str(&delta);
                if !delta.is_empty() {
                    parts.push(ModelPart::ToolInputDelta { id: call.id.clone(), delta });
                }
            }
            (_, Kind::Opaque { .. }) => return Ok(false),
            (
                kind @ ("text_delta" | "citations_delta" | "thinking_delta" | "signature_delta"
                | "input_json_delta"),
                _,
            ) => return Err(format!("a {kind} in a block of another kind")),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Keeps a piece of a kind that is not known: text goes on, everything else is put in place.
    pub(super) fn keep(&mut self, mut delta: Map<String, Value>) {
        delta.remove("type");
        for (name, value) in delta {
            match (self.extra.get_mut(&name), value) {
                (Some(Value::String(old)), Value::String(new)) => old.push_str(&new),
                (_, value) => drop(self.extra.insert(name, value)),
            }
        }
    }

    pub(super) fn is_call(&self) -> bool {
        matches!(self.kind, Kind::Call(_))
    }

    /// Ends the block.
    pub(super) fn stop(self, parts: &mut Vec<ModelPart>) -> Stopped {
        let (id, mut extra) = (self.id, self.extra);
        match self.kind {
            Kind::Text { citations } => {
                if !citations.is_empty() {
                    extra.insert("citations".to_owned(), citations.into());
                }
                parts.push(ModelPart::TextEnd { id, metadata: metadata(extra) });
            }
            Kind::Thinking { signature } => {
                if !signature.is_empty() {
                    extra.insert("signature".to_owned(), signature.into());
                }
                parts.push(ModelPart::ReasoningEnd { id, metadata: metadata(extra) });
            }
            Kind::Redacted => parts.push(ModelPart::ReasoningEnd { id, metadata: metadata(extra) }),
            Kind::Call(mut call) => {
                if call.input.is_empty() && call.begun_with.as_object().is_some_and(|input| !input.is_empty())
                {
                    call.input = call.begun_with.to_string();
                    parts.push(ModelPart::ToolInputDelta { id: call.id.clone(), delta: call.input.clone() });
                }
                parts.push(ModelPart::ToolInputEnd { id: call.id.clone() });
                call.extra = extra;
                return Stopped::Call(call);
            }
            Kind::Opaque { kind } => {
                extra.insert("type".to_owned(), kind.into());
                return Stopped::Opaque(extra);
            }
        }
        Stopped::Done
    }
}

impl Call {
    /// The complete call.
    pub(super) fn part(self) -> ModelPart {
        ModelPart::ToolCall {
            id: self.id,
            name: self.name,
            input: self.input,
            provider_executed: self.provider_executed,
            metadata: metadata(self.extra),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        serde_json::from_str::<serde::de::IgnoredAny>(&self.input).is_ok()
    }
}

/// Takes a text out of a block; empty where there is none.
fn text(block: &mut Map<String, Value>, name: &str) -> Result<String, String> {
    match block.remove(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Ok(String::new()),
        Some(_) => Err(format!("the {name} of a block is no text")),
    }
}

fn required(block: &mut Map<String, Value>, name: &str) -> Result<String, String> {
    match text(block, name)? {
        text if text.is_empty() => Err(format!("a call has no {name}")),
        text => Ok(text),
    }
}
