use chatwright_core::content::Metadata;
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, FinishReason, ModelPart, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Decodes the data of Chat Completions events, one after the other. It is total: whatever comes in, it ends in exactly one
/// terminal part. Unknown fields are ignored.
#[derive(Debug)]
pub struct ChatDecoder {
    provider: Box<str>,
    end_after_finish: bool,
    block: Option<Block>,
    /// The open block's id, or the next one's.
    block_id: Box<str>,
    blocks: usize,
    calls: Vec<Call>,
    usage: Usage,
    finish: Option<FinishReason>,
    response_id: Option<Box<str>>,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Reasoning,
}

#[derive(Debug)]
struct Call {
    index: Option<u64>,
    id: Box<str>,
    name: String,
    input: String,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    /// Read once; kept as it came so that no event pays for it.
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Reported>,
    /// Groq reports its usage here.
    x_groq: Option<Extra>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Extra {
    usage: Option<Reported>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<Value>,
    reasoning_content: Option<String>,
    reasoning: Option<Value>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<Box<str>>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct Reported {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Cached>,
    completion_tokens_details: Option<Reasoned>,
    /// DeepSeek's word for cached tokens.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Cached {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Reasoned {
    reasoning_tokens: Option<u64>,
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
            calls: Vec::new(),
            usage: Usage::default(),
            finish: None,
            response_id: None,
            done: false,
        }
    }

    /// Whether the terminal part was given.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the data of one event.
    pub fn event(&mut self, data: &str, parts: &mut Vec<ModelPart>) {
        if self.done {
            return;
        }
        if data.trim() == "[DONE]" {
            return self.complete(parts);
        }
        match serde_json::from_str::<Chunk<'_>>(data) {
            Ok(chunk) => self.chunk(chunk, parts),
            Err(error) => self.protocol(&format!("an event does not decode: {error}"), parts),
        }
    }

    /// The server gave a sign of life.
    pub fn keep_alive(&mut self, parts: &mut Vec<ModelPart>) {
        if !self.done {
            parts.push(ModelPart::KeepAlive);
        }
    }

    /// The stream ended; `rest` is the data of an event that it cut off before its blank line, which counts only if it is
    /// the terminal one.
    pub fn end(&mut self, rest: Option<String>, parts: &mut Vec<ModelPart>) {
        if self.done {
            return;
        }
        let terminal = rest.is_some_and(|data| data.trim() == "[DONE]");
        if terminal || (self.end_after_finish && self.finish.is_some()) {
            return self.complete(parts);
        }
        self.fail(Failure::new(self.provider.clone(), Cause::Truncated), parts);
    }

    /// The transport failed.
    pub fn fail(&mut self, failure: Failure, parts: &mut Vec<ModelPart>) {
        if !std::mem::replace(&mut self.done, true) {
            parts.push(ModelPart::Failure(Box::new(failure)));
        }
    }

    pub(super) fn protocol(&mut self, words: &str, parts: &mut Vec<ModelPart>) {
        self.fail(Failure::new(self.provider.clone(), Cause::Protocol).with_message(words), parts);
    }

    fn chunk(&mut self, chunk: Chunk<'_>, parts: &mut Vec<ModelPart>) {
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return self.error(&error, parts);
        }
        if self.response_id.is_none() {
            let id = chunk.id.and_then(|id| serde_json::from_str::<Box<str>>(id.get()).ok());
            self.response_id = id.filter(|id| !id.is_empty());
        }
        if let Some(usage) = chunk.usage.or(chunk.x_groq.and_then(|extra| extra.usage)) {
            self.usage(&usage);
        }
        // One answer is asked for; a server that gives more is read for its first.
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            if let Some(delta) = choice.delta {
                self.delta(delta, parts);
            }
            if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
                self.finish = Some(finish_reason(&reason));
            }
        }
    }

    fn delta(&mut self, delta: Delta, parts: &mut Vec<ModelPart>) {
        let reasoning =
            delta.reasoning_content.or(delta.reasoning.as_ref().and_then(Value::as_str).map(str::to_owned));
        self.reasoning(reasoning.unwrap_or_default(), parts);
        match delta.content {
            Some(Value::String(text)) => self.text(text, parts),
            Some(Value::Array(items)) => items.into_iter().for_each(|item| self.content_item(&item, parts)),
            _ => {}
        }
        // A refusal is what the model says to the user.
        self.text(delta.refusal.unwrap_or_default(), parts);
        for call in delta.tool_calls.into_iter().flatten() {
            self.call(call, parts);
        }
    }

    /// Mistral sends content as a list of texts and thoughts.
    fn content_item(&mut self, item: &Value, parts: &mut Vec<ModelPart>) {
        let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match item["type"].as_str() {
            Some("text") => self.text(words(&item["text"]), parts),
            Some("thinking") => {
                for thought in item["thinking"].as_array().into_iter().flatten() {
                    self.reasoning(words(&thought["text"]), parts);
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

    fn reasoning(&mut self, delta: String, parts: &mut Vec<ModelPart>) {
        if delta.is_empty() {
            return;
        }
        if self.block != Some(Block::Reasoning) {
            self.close_block(parts);
            self.block = Some(Block::Reasoning);
            parts.push(ModelPart::ReasoningStart { id: self.block_id.clone(), metadata: Metadata::new() });
        }
        let id = self.block_id.clone();
        parts.push(ModelPart::ReasoningDelta { id, delta, metadata: Metadata::new() });
    }

    fn close_block(&mut self, parts: &mut Vec<ModelPart>) {
        let Some(block) = self.block.take() else { return };
        self.blocks += 1;
        let id = std::mem::replace(&mut self.block_id, self.blocks.to_string().into());
        let metadata = Metadata::new();
        parts.push(match block {
            Block::Text => ModelPart::TextEnd { id, metadata },
            Block::Reasoning => ModelPart::ReasoningEnd { id, metadata },
        });
    }

    fn call(&mut self, delta: CallDelta, parts: &mut Vec<ModelPart>) {
        let (name, arguments) = match delta.function {
            Some(function) => (function.name.unwrap_or_default(), function.arguments),
            None => (String::new(), None),
        };
        // Most servers send arguments as text, a few as an object.
        let arguments = match arguments {
            Some(Value::String(text)) => text,
            Some(Value::Null) | None => String::new(),
            Some(value) => value.to_string(),
        };
        let at = match self.known(&delta.index, delta.id.as_deref()) {
            Some(at) => at,
            None => {
                let id = delta.id.filter(|id| !id.is_empty());
                let id = id.unwrap_or_else(|| format!("call_{}", self.calls.len()).into());
                self.close_block(parts);
                parts.push(ModelPart::ToolInputStart {
                    id: id.clone(),
                    name: name.clone().into(),
                    provider_executed: false,
                });
                self.calls.push(Call { index: delta.index, id, name: name.clone(), input: String::new() });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        if call.name.is_empty() {
            call.name = name;
        }
        if !arguments.is_empty() {
            call.input.push_str(&arguments);
            parts.push(ModelPart::ToolInputDelta { id: call.id.clone(), delta: arguments });
        }
    }

    /// The call that a piece belongs to: by its index, or without one by its id, or else the last one.
    fn known(&self, index: &Option<u64>, id: Option<&str>) -> Option<usize> {
        let id = id.filter(|id| !id.is_empty());
        match (index, id) {
            (Some(_), id) => self.calls.iter().position(|call| {
                // Some servers give every call the index 0 and a new id.
                call.index == *index && id.is_none_or(|id| *call.id == *id)
            }),
            (None, Some(id)) => self.calls.iter().position(|call| *call.id == *id),
            (None, None) => self.calls.len().checked_sub(1),
        }
    }

    fn usage(&mut self, reported: &Reported) {
        let cached = reported.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        let cached = cached.or(reported.prompt_cache_hit_tokens);
        self.usage = Usage {
            // Prompt tokens count the cached ones here.
            input: reported.prompt_tokens.map(|prompt| prompt.saturating_sub(cached.unwrap_or(0))),
            output: reported.completion_tokens,
            reasoning: reported
                .completion_tokens_details
                .as_ref()
                .and_then(|details| details.reasoning_tokens),
            cache_read: cached,
            cache_write: None,
        };
    }

    fn error(&mut self, error: &Value, parts: &mut Vec<ModelPart>) {
        let word = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let message = word(&error["message"]).or_else(|| word(error)).unwrap_or_default();
        let (kind, code) = (word(&error["type"]), word(&error["code"]));
        let failure = Failure::new(self.provider.clone(), Cause::InStream)
            .with_error(kind.as_deref(), code.as_deref())
            .with_message(message);
        self.fail(failure, parts);
    }

    /// The terminal event: what is open is closed, and only now calls are complete.
    fn complete(&mut self, parts: &mut Vec<ModelPart>) {
        let Some(reason) = self.finish else {
            return self.fail(Failure::new(self.provider.clone(), Cause::Truncated), parts);
        };
        self.close_block(parts);
        for call in std::mem::take(&mut self.calls) {
            parts.push(ModelPart::ToolInputEnd { id: call.id.clone() });
            parts.push(ModelPart::ToolCall {
                id: call.id,
                name: call.name.into(),
                input: call.input,
                provider_executed: false,
                metadata: Metadata::new(),
            });
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
