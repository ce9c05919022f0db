//! The events as servers send them. Only what is read is named, and what is not known yet stays as it came.

use std::borrow::Cow;

use chatwright_core::model::{FinishReason, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::raw::{count, field, word};

/// An event. Its fields are decoded only where its type is known, so that a new type may have any of them in any shape.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) content_block: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) context_management: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

/// The message that a stream begins with.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    pub(super) id: Option<String>,
    /// Usually empty; a message that goes on within a program that Anthropic runs comes with its calls.
    pub(super) content: Option<Vec<Value>>,
    pub(super) usage: Option<Map<String, Value>>,
    pub(super) stop_reason: Option<String>,
}

/// A piece of a block. The words of the usual pieces are read without anything in between.
#[derive(Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    signature: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partial_json: Option<&'a RawValue>,
    #[serde(borrow, default)]
    citation: Option<&'a RawValue>,
}

impl<'a> Event<'a> {
    /// # Errors
    /// It is no JSON object.
    pub(super) fn parse(data: &'a str) -> Result<Self, String> {
        // A list would decode too, as the fields in their order.
        match data.trim_start().starts_with('{') {
            true => serde_json::from_str(data).map_err(|error| error.to_string()),
            false => Err("it is no object".to_owned()),
        }
    }

    /// The type; empty where there is none.
    pub(super) fn kind(&self) -> Cow<'a, str> {
        self.kind.and_then(|raw| word(raw).ok()).unwrap_or_default()
    }

    /// Whether nothing may follow.
    pub(super) fn is_terminal(&self) -> bool {
        match &*self.kind() {
            "message_stop" | "error" => true,
            kind => kind.is_empty() && self.error.is_some(),
        }
    }
}

impl Delta<'_> {
    pub(super) fn text(&self) -> Result<String, String> {
        field("text", self.text)
    }

    pub(super) fn thinking(&self) -> Result<String, String> {
        field("thinking", self.thinking)
    }

    pub(super) fn signature(&self) -> Result<String, String> {
        field("signature", self.signature)
    }

    pub(super) fn partial_json(&self) -> Result<String, String> {
        field("partial_json", self.partial_json)
    }

    pub(super) fn citation(&self) -> Result<Value, String> {
        field("citation", self.citation)
    }
}

/// Adds what is reported so far: counts are totals, and what an event leaves out stays as it was. What [`Usage`] has no place
/// for, such as searches and the passes of other models, stays in `rest`.
pub(super) fn add_usage(usage: &mut Usage, rest: &mut Map<String, Value>, reported: Map<String, Value>) {
    for (name, value) in reported {
        // Input tokens count here neither what was read from a cache nor what was written to one.
        let place = match name.as_str() {
            "input_tokens" => &mut usage.input,
            "output_tokens" => &mut usage.output,
            "cache_read_input_tokens" => &mut usage.cache_read,
            "cache_creation_input_tokens" => &mut usage.cache_write,
            _ => {
                if !value.is_null() {
                    rest.insert(name, value);
                }
                continue;
            }
        };
        *place = count(&value).or(*place);
    }
}

/// Adds the passes in which the server summarised the conversation before it answered: the totals leave them out. Passes of
/// other models, such as an advisor's, have prices of their own.
pub(super) fn with_compactions(mut usage: Usage, rest: &Map<String, Value>) -> Usage {
    let passes = rest.get("iterations").and_then(Value::as_array).into_iter().flatten();
    for pass in passes.filter(|pass| pass["type"] == "compaction") {
        for (total, name) in [
            (&mut usage.input, "input_tokens"),
            (&mut usage.output, "output_tokens"),
            (&mut usage.cache_read, "cache_read_input_tokens"),
            (&mut usage.cache_write, "cache_creation_input_tokens"),
        ] {
            if let Some(tokens) = count(&pass[name]) {
                *total = Some(total.unwrap_or(0).saturating_add(tokens));
            }
        }
    }
    usage
}

pub(super) fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        // A paused turn is the host's to go on with: its last message is sent back as it is.
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "pause_turn" | "compaction" => FinishReason::Pause,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}
