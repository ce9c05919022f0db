use chatwright_core::content::Metadata;
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, FinishReason, ModelPart, Usage};
use serde_json::Value;

use super::calls::Calls;
use super::chunk::{Chunk, Content, Delta, Thought, add_usage};
use super::demanded_back;
use super::details::Details;
use crate::decode::Decode;
use crate::endpoint::in_stream;

/// Decodes the data of Chat Completions events, one after the other. It is total: whatever comes in, it ends in exactly one
/// terminal part. Unknown fields are ignored. Every event makes at least one part, so that a reader sees the stream live.
#[derive(Debug)]
pub struct ChatDecoder {
    provider: Box<str>,
    end_after_finish: bool,
    block: Option<Block>,
    /// The open block's id, or the next one's.
    block_id: Box<str>,
    blocks: usize,
    calls: Calls,
    details: Details,
    usage: Usage,
    finish: Option<FinishReason>,
    response_id: Option<Box<str>>,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Reasoning(Thought),
}

impl ChatDecoder {
    /// A decoder that names this provider in failures. `end_after_finish` takes the end of the stream after a finish reason
    /// for the end of the answer.
    pub fn new(provider: impl Into<Box<str>>, end_after_finish: bool) -> Self {
        Self {
            provider: provider.into(),
            end_after_finish,
            block: None,
            block_id: "0".into(),
            blocks: 0,
            calls: Calls::default(),
            details: Details::default(),
            usage: Usage::default(),
            finish: None,
            response_id: None,
            done: false,
        }
    }
}

impl Decode for ChatDecoder {
    fn is_done(&self) -> bool {
        self.done
    }

    fn event(&mut self, data: &str, parts: &mut Vec<ModelPart>) {
        if self.done {
            return;
        }
        let before = parts.len();
        match data.trim() {
            "[DONE]" => self.complete(parts),
            // A sign of life without a comment.
            "" => {}
            _ => match Chunk::parse(data) {
                Ok(chunk) => self.chunk(chunk, data, parts),
                Err(words) => {
                    let failure = Failure::new(self.provider.clone(), Cause::Protocol).with_body(data);
                    self.fail(failure.with_message(format!("an event does not decode: {words}")), parts);
                }
            },
        }
        if parts.len() == before {
            self.keep_alive(parts);
        }
    }

    fn error_event(&mut self, data: &str, parts: &mut Vec<ModelPart>) {
        if !self.done {
            let error: Value = serde_json::from_str(data).unwrap_or_else(|_| data.into());
            self.error(error.get("error").unwrap_or(&error), data, parts);
        }
    }

    fn end(&mut self, rest: Option<&str>, parts: &mut Vec<ModelPart>) {
        if self.done {
            return;
        }
        if let Some(data) = rest.filter(|data| self.is_terminal(data)) {
            self.event(data, parts);
        }
        if !self.done && self.end_after_finish && self.finish.is_some() {
            return self.complete(parts);
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

impl ChatDecoder {
    fn is_terminal(&self, data: &str) -> bool {
        data.trim() == "[DONE]"
            || Chunk::parse(data).is_ok_and(|mut chunk| {
                let finishes = chunk.choices.iter().flatten().any(|choice| choice.finish_reason().is_some());
                (self.end_after_finish && finishes) || chunk.take_error(data).is_some()
            })
    }

    fn chunk(&mut self, mut chunk: Chunk<'_>, data: &str, parts: &mut Vec<ModelPart>) {
        if let Some(error) = chunk.take_error(data) {
            return self.error(&error, data, parts);
        }
        if self.response_id.is_none() {
            self.response_id = chunk.id().map(Into::into);
        }
        if let Some(usage) = chunk.take_usage() {
            add_usage(&mut self.usage, &usage);
        }
        // One answer is asked for; a server that gives more is read for its first.
        for choice in chunk.choices.into_iter().flatten().filter(|choice| choice.index.unwrap_or(0) == 0) {
            if let Some(reason) = choice.finish_reason() {
                self.finish = Some(finish_reason(reason));
            }
            if let Some(delta) = choice.delta.filter(|_| !self.done) {
                self.delta(delta, parts);
            }
        }
    }

    fn delta(&mut self, mut delta: Delta<'_>, parts: &mut Vec<ModelPart>) {
        if let Some((field, thought)) = delta.take_reasoning() {
            self.reasoning(field, thought, parts);
        }
        if let Err(words) = self.details.push(delta.reasoning_details.take().unwrap_or_default()) {
            return self.protocol(words, parts);
        }
        match delta.content {
            Some(Content::Text(text)) => self.text(text, parts),
            Some(Content::Items(items)) => items.iter().for_each(|item| self.content_item(item, parts)),
            None => {}
        }
        // A refusal is what the model says to the user.
        self.text(delta.refusal.unwrap_or_default(), parts);
        for call in delta.tool_calls.iter().flatten() {
            self.close_block(parts);
            if let Err(words) = self.calls.push(call, parts) {
                return self.protocol(words, parts);
            }
        }
    }

    /// Mistral sends content as a list of texts and thoughts.
    fn content_item(&mut self, item: &Value, parts: &mut Vec<ModelPart>) {
        let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match item["type"].as_str() {
            Some("text") => self.text(words(&item["text"]), parts),
            Some("thinking") => {
                for thought in item["thinking"].as_array().into_iter().flatten() {
                    self.reasoning(Thought::Other, words(&thought["text"]), parts);
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, delta: String, parts: &mut Vec<ModelPart>) {
        if delta.is_empty() {
            return;
        }
        if self.block != Some(Block::Text) {
            self.close_block(parts);
            self.block = Some(Block::Text);
            parts.push(ModelPart::TextStart { id: self.block_id.clone() });
        }
        parts.push(ModelPart::TextDelta { id: self.block_id.clone(), delta });
    }

    fn reasoning(&mut self, field: Thought, delta: String, parts: &mut Vec<ModelPart>) {
        if delta.is_empty() {
            return;
        }
        if !matches!(self.block, Some(Block::Reasoning(_))) {
            self.close_block(parts);
            self.block = Some(Block::Reasoning(field));
            parts.push(ModelPart::ReasoningStart { id: self.block_id.clone(), metadata: Metadata::new() });
        }
        let id = self.block_id.clone();
        parts.push(ModelPart::ReasoningDelta { id, delta, metadata: Metadata::new() });
    }

    fn close_block(&mut self, parts: &mut Vec<ModelPart>) {
        let Some(block) = self.block.take() else { return };
        self.blocks += 1;
        let id = std::mem::replace(&mut self.block_id, self.blocks.to_string().into());
        parts.push(match block {
            Block::Text => ModelPart::TextEnd { id, metadata: Metadata::new() },
            Block::Reasoning(Thought::ReasoningContent) => {
                ModelPart::ReasoningEnd { id, metadata: demanded_back(&self.provider) }
            }
            Block::Reasoning(Thought::Other) => ModelPart::ReasoningEnd { id, metadata: Metadata::new() },
        });
    }

    fn error(&mut self, error: &Value, data: &str, parts: &mut Vec<ModelPart>) {
        let failure = in_stream(&self.provider, error, data);
        self.fail(failure, parts);
    }

    /// The terminal event: what is open is closed, and only now calls are complete.
    fn complete(&mut self, parts: &mut Vec<ModelPart>) {
        let Some(mut reason) = self.finish else {
            return self.fail(Failure::new(self.provider.clone(), Cause::Truncated), parts);
        };
        self.close_block(parts);
        if let Some(metadata) = self.details.take(&self.provider) {
            let id = self.block_id.clone();
            parts.push(ModelPart::ReasoningStart { id: id.clone(), metadata });
            parts.push(ModelPart::ReasoningEnd { id, metadata: Metadata::new() });
        }
        let before = parts.len();
        if let Err(words) = self.calls.finish(reason, &self.provider, parts) {
            return self.protocol(words, parts);
        }
        // OpenAI says `stop` where the choice of a tool was forced, others always.
        if reason == FinishReason::Stop && parts.len() > before {
            reason = FinishReason::ToolCalls;
        }
        self.done = true;
        let (usage, response_id) = (self.usage, self.response_id.take());
        parts.push(ModelPart::Finish(Finish { reason, usage, response_id, metadata: Metadata::new() }));
    }
}

fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "stop" | "eos" | "end_turn" => FinishReason::Stop,
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        "error" => FinishReason::Error,
        _ => FinishReason::Other,
    }
}
