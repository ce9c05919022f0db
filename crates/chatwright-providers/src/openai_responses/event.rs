//! The events as servers send them. Only what is read is named, and what is not known yet stays as it came.

use std::borrow::Cow;

use chatwright_core::model::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::raw::{count, word};

/// An event. Its fields are decoded only where its type is known, so that a new type may have any of them in any shape.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) output_index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) item_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) content_index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) summary_index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) annotation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) item: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

/// A response: at its beginning, and again at its end.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Response<'a> {
    #[serde(borrow)]
    pub(super) output: Option<&'a RawValue>,
    pub(super) id: Option<String>,
    pub(super) status: Option<String>,
    pub(super) error: Option<Value>,
    pub(super) incomplete_details: Option<Value>,
    pub(super) service_tier: Option<Value>,
    pub(super) usage: Option<Map<String, Value>>,
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

    pub(super) fn is_terminal(&self) -> bool {
        matches!(&*self.kind(), "response.completed" | "response.incomplete" | "response.failed" | "error")
    }
}

/// What a response cost, and what [`Usage`] has no place for. Input tokens count cached ones here, and not in ours.
pub(super) fn usage(mut reported: Map<String, Value>) -> (Usage, Map<String, Value>) {
    let total = |value: Option<Value>| value.as_ref().and_then(count);
    let mut detail = |of: &str, name: &str| {
        let details = reported.get_mut(of)?.as_object_mut()?;
        details.remove(name).as_ref().and_then(count)
    };
    let cache_read = detail("input_tokens_details", "cached_tokens");
    let cache_write = detail("input_tokens_details", "cache_write_tokens");
    let reasoning = detail("output_tokens_details", "reasoning_tokens");
    let input = total(reported.remove("input_tokens"));
    let cached = cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
    let usage = Usage {
        input: input.map(|input| input.saturating_sub(cached)),
        output: total(reported.remove("output_tokens")),
        reasoning,
        cache_read,
        cache_write,
    };
    reported.remove("total_tokens");
    reported.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|fields| !fields.is_empty()));
    (usage, reported)
}
