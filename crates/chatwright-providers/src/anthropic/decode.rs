use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, FinishReason, ModelPart, Usage};
use serde_json::{Map, Value};

use super::block::{Block, Call, Stopped};
use super::event::{Event, Message, add_usage, finish_reason, with_compactions};
use super::metadata;
use super::result::items;
use crate::decode::Decode;
use crate::endpoint::in_stream;
use crate::raw::{field, optional};

/// Most blocks of one answer.
const BLOCKS_MAX: usize = 4_096;

/// Most bytes of one answer besides its text and its thoughts: arguments, results of tools, signatures, citations.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Decodes the data of Messages events, one after the other. It is total: whatever comes in, it ends in exactly one terminal
/// part. Every event makes at least one part, so that a reader sees the stream live.
///
/// Calls for the host are complete only with the terminal event; those that Anthropic runs itself are complete when their block
/// ends.
#[derive(Debug)]
pub struct MessagesDecoder {
    provider: Box<str>,
    /// Blocks that have begun and not stopped.
    open: Vec<Block>,
    blocks: usize,
    held_bytes: usize,
    /// Calls whose arguments have all come.
    calls: Vec<Call>,
    /// Ids and tools of the calls that Anthropic runs.
    run: Vec<(Box<str>, Box<str>)>,
    usage: Usage,
    usage_rest: Map<String, Value>,
    stop_reason: Option<String>,
    /// What the end tells beside its reason.
    details: Map<String, Value>,
    response_id: Option<Box<str>>,
    begun: bool,
    done: bool,
}

impl MessagesDecoder {
    /// A decoder that names this provider in failures.
    pub fn new(provider: impl Into<Box<str>>) -> Self {
        Self {
            provider: provider.into(),
            open: Vec::new(),
            blocks: 0,
            held_bytes: 0,
            calls: Vec::new(),
            run: Vec::new(),
            usage: Usage::default(),
            usage_rest: Map::new(),
            stop_reason: None,
            details: Map::new(),
            response_id: None,
            begun: false,
            done: false,
        }
    }
}

impl Decode for MessagesDecoder {
    fn is_done(&self) -> bool {
        self.done
    }

    fn event(&mut self, data: &str, parts: &mut Vec<ModelPart>) {
        if self.done {
            return;
        }
        let before = parts.len();
        // A sign of life without a comment is empty.
        if !data.trim().is_empty()
            && let Err(words) = self.take(data, parts)
        {
            let failure = Failure::new(self.provider.clone(), Cause::Protocol).with_body(data);
            self.fail(failure.with_message(format!("an event does not decode: {words}")), parts);
        }
        if parts.len() == before {
            self.keep_alive(parts);
        }
    }

    fn error_event(&mut self, data: &str, parts: &mut Vec<ModelPart>) {
        if !self.done {
            let error: Value = serde_json::from_str(data).unwrap_or_else(|_| data.into());
            self.fail(in_stream(&self.provider, error.get("error").unwrap_or(&error), data), parts);
        }
    }

    /// The stream ended; `rest` is the data of an event that it cut off before its blank line, which counts only if it is
    /// the terminal one: the end or an error.
    fn end(&mut self, rest: Option<&str>, parts: &mut Vec<ModelPart>) {
        let is_terminal = |data: &&str| Event::parse(data).is_ok_and(|event| event.is_terminal());
        if let Some(rest) = rest.filter(is_terminal) {
            self.event(rest, parts);
        }
        self.fail(Failure::new(self.provider.clone(), Cause::Truncated), parts);
    }

    fn fail(&mut self, failure: Failure, parts: &mut Vec<ModelPart>) {
        if !std::mem::replace(&mut self.done, true) {
            parts.push(ModelPart::Failure(Box::new(failure)));
        }
    }

    fn protocol(&mut self, words: &str, parts: &mut Vec<ModelPart>) {
        self.fail(Failure::new(self.provider.clone(), Cause::Protocol).with_message(words), parts);
    }
}

impl MessagesDecoder {
    fn take(&mut self, data: &str, parts: &mut Vec<ModelPart>) -> Result<(), String> {
        let event = Event::parse(data)?;
        match &*event.kind() {
            "content_block_delta" => self.delta(&event, data, parts)?,
            "content_block_start" => {
                let (index, block) =
                    (field("index", event.index)?, field("content_block", event.content_block)?);
                self.hold(data)?;
                self.start(index, block, parts)?;
            }
            "content_block_stop" => {
                let index: u64 = field("index", event.index)?;
                if let Some(at) = self.open.iter().rposition(|block| block.index == index) {
                    let block = self.open.remove(at);
                    self.stop(block, parts);
                }
            }
            "message_start" => self.message(field("message", event.message)?, data, parts)?,
            "message_delta" => {
                self.hold(data)?;
                self.message_delta(&event)?;
            }
            "message_stop" => self.complete(parts),
            "error" => self.error_event(data, parts),
            // An error that some gateway did not dress up as an event.
            "" if event.error.is_some() => self.error_event(data, parts),
            // Pings, and what is not known yet.
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, message: Message, data: &str, parts: &mut Vec<ModelPart>) -> Result<(), String> {
        self.hold(data)?;
        add_usage(&mut self.usage, &mut self.usage_rest, message.usage.unwrap_or_default());
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        self.response_id = message.id.map(Into::into);
        self.stop_reason = message.stop_reason.filter(|reason| !reason.is_empty());
        for (index, block) in (0..).zip(message.content.into_iter().flatten()) {
            let Value::Object(block) = block else { return Err("a block is no object".to_owned()) };
            self.start(index, block, parts)?;
            if let Some(block) = self.open.pop() {
                self.stop(block, parts);
            }
        }
        Ok(())
    }

    fn message_delta(&mut self, event: &Event<'_>) -> Result<(), String> {
        let delta: Map<String, Value> = optional("delta", event.delta)?;
        let usage: Option<Map<String, Value>> = optional("usage", event.usage)?;
        add_usage(&mut self.usage, &mut self.usage_rest, usage.unwrap_or_default());
        for (name, value) in delta {
            match value {
                Value::Null => {}
                Value::String(reason) if name == "stop_reason" => {
                    self.stop_reason = Some(reason).filter(|reason| !reason.is_empty());
                }
                _ if name == "stop_reason" => return Err("the stop_reason is no text".to_owned()),
                value => drop(self.details.insert(name, value)),
            }
        }
        if event.context_management.is_some() {
            let edits: Value = optional("context_management", event.context_management)?;
            self.details.insert("context_management".to_owned(), edits);
        }
        Ok(())
    }

    fn start(
        &mut self,
        index: u64,
        block: Map<String, Value>,
        parts: &mut Vec<ModelPart>,
    ) -> Result<(), String> {
        if self.blocks == BLOCKS_MAX {
            return Err("too many blocks in one answer".to_owned());
        }
        if self.open.iter().any(|open| open.index == index) {
            return Err("a block begins twice".to_owned());
        }
        self.blocks += 1;
        self.open.push(Block::start(index, block, parts)?);
        Ok(())
    }

    fn delta(&mut self, event: &Event<'_>, data: &str, parts: &mut Vec<ModelPart>) -> Result<(), String> {
        let index: u64 = field("index", event.index)?;
        let delta = field("delta", event.delta)?;
        let before = parts.len();
        let block = self.open.iter_mut().rev().find(|block| block.index == index);
        let block = block.ok_or("a piece of a block that is not open")?;
        if !block.delta(&delta, parts)? {
            block.keep(field("delta", event.delta)?);
        }
        // Text and thoughts are handed on, everything else is held.
        let held = !matches!(
            parts.get(before),
            Some(ModelPart::TextDelta { .. } | ModelPart::ReasoningDelta { .. })
        );
        if held { self.hold(data) } else { Ok(()) }
    }

    fn hold(&mut self, data: &str) -> Result<(), String> {
        self.held_bytes = self.held_bytes.saturating_add(data.len());
        match self.held_bytes > HELD_BYTES_MAX {
            true => Err("the blocks of the answer are too large".to_owned()),
            false => Ok(()),
        }
    }

    fn stop(&mut self, block: Block, parts: &mut Vec<ModelPart>) {
        match block.stop(parts) {
            Stopped::Done => {}
            Stopped::Call(mut call) if call.provider_executed => {
                self.run.push((call.id.clone(), call.name.clone()));
                if call.input.trim().is_empty() {
                    call.input = "{}".to_owned();
                }
                // It ran already, or is cut: then nobody must take it for a call.
                if call.is_whole() {
                    parts.push(call.part());
                }
            }
            Stopped::Call(call) => self.calls.push(call),
            Stopped::Opaque(block) => {
                let answers = block.get("tool_use_id").and_then(Value::as_str);
                let run = self.run.iter().find(|(id, _)| Some(&**id) == answers);
                items(block, run.map(|(_, name)| name.clone()), parts);
            }
        }
    }

    /// The terminal event: only now calls are complete. A call is complete only if its arguments may be the whole of them: its
    /// block has ended, and where the model did not end by itself, they are JSON.
    fn complete(&mut self, parts: &mut Vec<ModelPart>) {
        let Some(stop_reason) = self.stop_reason.take() else {
            return self.fail(Failure::new(self.provider.clone(), Cause::Truncated), parts);
        };
        let reason = finish_reason(&stop_reason);
        let ended = matches!(reason, FinishReason::Stop | FinishReason::ToolCalls);
        for block in std::mem::take(&mut self.open) {
            // A text without its end is a text; a call without its end is cut.
            match block.is_call() {
                true => drop(block.stop(parts)),
                false => self.stop(block, parts),
            }
        }
        for mut call in std::mem::take(&mut self.calls) {
            if ended && call.input.trim().is_empty() {
                call.input = "{}".to_owned();
            }
            if ended || call.is_whole() {
                parts.push(call.part());
            }
        }
        self.done = true;
        let usage = with_compactions(self.usage, &self.usage_rest);
        let mut details = std::mem::take(&mut self.details);
        details.insert("stop_reason".to_owned(), stop_reason.into());
        if !self.usage_rest.is_empty() {
            details.insert("usage".to_owned(), std::mem::take(&mut self.usage_rest).into());
        }
        let response_id = self.response_id.take();
        parts.push(ModelPart::Finish(Finish { reason, usage, response_id, metadata: metadata(details) }));
    }
}
