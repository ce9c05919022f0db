//! The items of an answer, put together from their pieces.

use std::collections::BTreeSet;

use chatwright_core::content::{Metadata, Part};
use chatwright_core::model::ModelPart;
use serde_json::{Map, Value};

use super::{kept, metadata, opaque};

/// Most texts of one message.
const TEXTS_MAX: usize = 1_024;

/// An item that has begun.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) index: Option<u64>,
    pub(super) id: Box<str>,
    /// How many items began before it: the ids of its blocks.
    number: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Message(Vec<Text>),
    Reasoning {
        block: Box<str>,
        /// What the newest piece belonged to.
        part: Option<(Thought, u64)>,
    },
    Call(Call),
    /// A tool that the provider runs.
    Run,
    /// What there is of it comes with its end.
    Opaque,
}

/// A text of a message.
#[derive(Debug)]
struct Text {
    index: u64,
    block: Box<str>,
    refusal: bool,
    annotations: Vec<Value>,
}

/// Of what a thought is a piece.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Thought {
    Summary,
    Content,
}

/// A call of a tool of the host's.
#[derive(Debug)]
pub(super) struct Call {
    id: Box<str>,
    name: Box<str>,
    pub(super) input: String,
    /// Its end said that it was cut.
    pub(super) cut: bool,
    extra: Map<String, Value>,
}

impl Item {
    /// Begins an item.
    ///
    /// # Errors
    /// A call that cannot be one.
    pub(super) fn start(
        number: usize,
        index: Option<u64>,
        item: &Map<String, Value>,
        parts: &mut Vec<ModelPart>,
    ) -> Result<Self, String> {
        let id: Box<str> = word(item, "id").unwrap_or_default().into();
        let kind = match word(item, "type").ok_or("an item has no type")? {
            "message" => Kind::Message(Vec::new()),
            "reasoning" => {
                let block: Box<str> = number.to_string().into();
                parts.push(ModelPart::ReasoningStart { id: block.clone(), metadata: Metadata::new() });
                Kind::Reasoning { block, part: None }
            }
            "function_call" => {
                let call_id = word(item, "call_id").or(word(item, "id")).ok_or("a call has no call_id")?;
                let name = word(item, "name").ok_or("a call has no name")?;
                let (call_id, name): (Box<str>, Box<str>) = (call_id.into(), name.into());
                parts.push(ModelPart::ToolInputStart {
                    id: call_id.clone(),
                    name: name.clone(),
                    provider_executed: false,
                });
                let (input, extra) = (String::new(), Map::new());
                Kind::Call(Call { id: call_id, name, input, cut: false, extra })
            }
            kind => match opaque::tool(kind, item) {
                Some(name) if !id.is_empty() => {
                    let (id, name) = (id.clone(), name.into());
                    parts.push(ModelPart::ToolInputStart { id, name, provider_executed: true });
                    Kind::Run
                }
                _ => Kind::Opaque,
            },
        };
        Ok(Self { index, id, number, kind })
    }

    /// Takes a piece of a text.
    ///
    /// # Errors
    /// The item is no message. The same holds for the other pieces and their items.
    pub(super) fn text(
        &mut self,
        index: u64,
        refusal: bool,
        delta: String,
        parts: &mut Vec<ModelPart>,
    ) -> Result<(), String> {
        let text = self.text_at(index, parts)?;
        text.refusal |= refusal;
        if !delta.is_empty() {
            parts.push(ModelPart::TextDelta { id: text.block.clone(), delta });
        }
        Ok(())
    }

    pub(super) fn annotation(
        &mut self,
        index: u64,
        annotation: Value,
        parts: &mut Vec<ModelPart>,
    ) -> Result<(), String> {
        self.text_at(index, parts)?.annotations.push(annotation);
        Ok(())
    }

    fn text_at(&mut self, index: u64, parts: &mut Vec<ModelPart>) -> Result<&mut Text, String> {
        let Kind::Message(texts) = &mut self.kind else {
            return Err("a piece of a text in an item of another kind".to_owned());
        };
        let at = match texts.iter().rposition(|text| text.index == index) {
            Some(at) => at,
            None if texts.len() == TEXTS_MAX => return Err("too many texts in one message".to_owned()),
            None => {
                let block: Box<str> = format!("{}.{index}", self.number).into();
                parts.push(ModelPart::TextStart { id: block.clone() });
                texts.push(Text { index, block, refusal: false, annotations: Vec::new() });
                texts.len() - 1
            }
        };
        Ok(&mut texts[at])
    }

    pub(super) fn thought(
        &mut self,
        of: (Thought, u64),
        mut delta: String,
        parts: &mut Vec<ModelPart>,
    ) -> Result<(), String> {
        let Kind::Reasoning { block, part } = &mut self.kind else {
            return Err("a piece of a thought in an item of another kind".to_owned());
        };
        if delta.is_empty() {
            return Ok(());
        }
        if part.replace(of).is_some_and(|before| before != of) {
            delta.insert_str(0, "\n\n");
        }
        parts.push(ModelPart::ReasoningDelta { id: block.clone(), delta, metadata: Metadata::new() });
        Ok(())
    }

    pub(super) fn arguments(&mut self, delta: String, parts: &mut Vec<ModelPart>) -> Result<(), String> {
        let Kind::Call(call) = &mut self.kind else {
            return Err("a piece of arguments in an item of another kind".to_owned());
        };
        if !delta.is_empty() {
            call.input.push_str(&delta);
            parts.push(ModelPart::ToolInputDelta { id: call.id.clone(), delta });
        }
        Ok(())
    }

    /// Ends the item as its last event has it; gives the call if it is one of the host's. `told` are the sources that the answer
    /// named before.
    ///
    /// # Errors
    /// It is not what it began as.
    pub(super) fn done(
        mut self,
        mut item: Map<String, Value>,
        provider: &str,
        told: &mut BTreeSet<String>,
        parts: &mut Vec<ModelPart>,
    ) -> Result<Option<Call>, String> {
        match &mut self.kind {
            Kind::Message(_) => self.message_done(&item, told, parts)?,
            Kind::Reasoning { block, part } => {
                let (id, unsaid) = (block.clone(), part.is_none());
                if unsaid {
                    self.thoughts_at_once(&item, parts)?;
                }
                // What cannot be sent back is not kept.
                let whole = !self.id.is_empty() && word(&item, "encrypted_content").is_some();
                let metadata = if whole { kept(item, provider) } else { Metadata::new() };
                parts.push(ModelPart::ReasoningEnd { id, metadata });
            }
            Kind::Call(_) => {
                let Kind::Call(mut call) = self.kind else { return Ok(None) };
                match item.remove("arguments") {
                    // What came at the end is the whole of it.
                    Some(Value::String(input)) if !input.is_empty() => {
                        if let Some(rest) = input.strip_prefix(&call.input).filter(|rest| !rest.is_empty()) {
                            parts.push(ModelPart::ToolInputDelta {
                                id: call.id.clone(),
                                delta: rest.to_owned(),
                            });
                        }
                        call.input = input;
                    }
                    None | Some(Value::Null | Value::String(_)) => {}
                    Some(_) => return Err("the arguments of a call are no text".to_owned()),
                }
                parts.push(ModelPart::ToolInputEnd { id: call.id.clone() });
                // A call of a program is `in_progress` even at its end.
                call.cut = word(&item, "status") == Some("incomplete");
                item.retain(|name, _| !matches!(name.as_str(), "type" | "status" | "call_id" | "name"));
                call.extra = item;
                return Ok(Some(call));
            }
            Kind::Run => {
                parts.push(ModelPart::ToolInputEnd { id: self.id.clone() });
                opaque::run(self.id, item, provider, told, parts);
            }
            Kind::Opaque => opaque::item(item, provider, parts),
        }
        Ok(None)
    }

    fn message_done(
        &mut self,
        item: &Map<String, Value>,
        told: &mut BTreeSet<String>,
        parts: &mut Vec<ModelPart>,
    ) -> Result<(), String> {
        let contents = item.get("content").and_then(Value::as_array);
        for (index, content) in (0..).zip(contents.into_iter().flatten()) {
            let (name, refusal) =
                if content["type"] == "refusal" { ("refusal", true) } else { ("text", false) };
            // Servers that stream no pieces send it all at once.
            let unsaid = !self.texts().iter().any(|text| text.index == index);
            if let (true, Some(text)) = (unsaid, content[name].as_str().filter(|text| !text.is_empty())) {
                self.text(index, refusal, text.to_owned(), parts)?;
            }
            if let Some(annotations) = content["annotations"].as_array().filter(|list| !list.is_empty()) {
                self.text_at(index, parts)?.annotations = annotations.clone();
            }
        }
        let Kind::Message(texts) = &mut self.kind else { return Ok(()) };
        for text in texts.drain(..) {
            let mut kept = Map::new();
            if let Some(phase) = item.get("phase").filter(|phase| !phase.is_null()) {
                kept.insert("phase".to_owned(), phase.clone());
            }
            if text.refusal {
                kept.insert("refusal".to_owned(), true.into());
            }
            let sources: Vec<Part> =
                text.annotations.iter().filter_map(|annotation| opaque::source(annotation, told)).collect();
            if !text.annotations.is_empty() {
                kept.insert("annotations".to_owned(), text.annotations.into());
            }
            parts.push(ModelPart::TextEnd { id: text.block, metadata: metadata(kept) });
            parts.extend(sources.into_iter().map(ModelPart::Item));
        }
        Ok(())
    }

    fn texts(&self) -> &[Text] {
        match &self.kind {
            Kind::Message(texts) => texts,
            _ => &[],
        }
    }

    fn thoughts_at_once(
        &mut self,
        item: &Map<String, Value>,
        parts: &mut Vec<ModelPart>,
    ) -> Result<(), String> {
        for (of, name) in [(Thought::Summary, "summary"), (Thought::Content, "content")] {
            let texts = item.get(name).and_then(Value::as_array);
            for (index, text) in (0..).zip(texts.into_iter().flatten()) {
                self.thought((of, index), text["text"].as_str().unwrap_or_default().to_owned(), parts)?;
            }
        }
        Ok(())
    }

    /// Ends an item whose end never came: a text without its end is a text, a call without its end is cut.
    pub(super) fn cut(self, parts: &mut Vec<ModelPart>) {
        match self.kind {
            Kind::Message(texts) => parts.extend(
                texts
                    .into_iter()
                    .map(|text| ModelPart::TextEnd { id: text.block, metadata: Metadata::new() }),
            ),
            Kind::Reasoning { block, .. } => {
                parts.push(ModelPart::ReasoningEnd { id: block, metadata: Metadata::new() });
            }
            Kind::Call(call) => parts.push(ModelPart::ToolInputEnd { id: call.id }),
            Kind::Run => parts.push(ModelPart::ToolInputEnd { id: self.id }),
            Kind::Opaque => {}
        }
    }
}

impl Call {
    /// The complete call.
    pub(super) fn part(self) -> ModelPart {
        ModelPart::ToolCall {
            id: self.id,
            name: self.name,
            input: self.input,
            provider_executed: false,
            metadata: metadata(self.extra),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        serde_json::from_str::<serde::de::IgnoredAny>(&self.input).is_ok()
    }
}

/// A text of an item that says something.
pub(super) fn word<'a>(item: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    item.get(name)?.as_str().filter(|word| !word.is_empty())
}
