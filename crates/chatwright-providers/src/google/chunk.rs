//! The events as servers send them. Only what is read is named, and what is not known yet stays as it came.

use std::fmt;
use std::marker::PhantomData;

use chatwright_core::model::{FinishReason, Usage};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// An event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default)]
    pub(super) candidates: Option<Few<Candidate<'a>>>,
    #[serde(borrow, default)]
    pub(super) prompt_feedback: Option<&'a RawValue>,
    /// Read at once, without a copy of the JSON: it comes with every event.
    #[serde(default)]
    pub(super) usage_metadata: Option<Reported>,
    #[serde(borrow, default)]
    pub(super) response_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) model_version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

/// One of the answers; there is one unless the host's options ask for more.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(default)]
    pub(super) index: Option<u64>,
    #[serde(borrow, default)]
    pub(super) content: Option<Content<'a>>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) grounding_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    safety_ratings: Option<&'a RawValue>,
    #[serde(borrow, default)]
    citation_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    url_context_metadata: Option<&'a RawValue>,
}

impl<'a> Candidate<'a> {
    /// What the end of the answer tells beside its reason; the last word counts.
    pub(super) fn details(&self) -> impl Iterator<Item = (&'static str, &'a RawValue)> {
        let details = [
            ("finishMessage", self.finish_message),
            ("safetyRatings", self.safety_ratings),
            ("citationMetadata", self.citation_metadata),
            ("urlContextMetadata", self.url_context_metadata),
            ("groundingMetadata", self.grounding_metadata),
        ];
        details.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

#[derive(Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow, default)]
    pub(super) parts: Option<Few<&'a RawValue>>,
}

/// A part of the answer. Which of its fields there is tells its type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) thought: Option<bool>,
    #[serde(default)]
    pub(super) thought_signature: Option<String>,
    #[serde(borrow, default)]
    pub(super) function_call: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) inline_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) file_data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File {
    pub(super) mime_type: Box<str>,
    #[serde(default)]
    pub(super) data: Option<Box<str>>,
    #[serde(default)]
    pub(super) file_uri: Option<Box<str>>,
}

/// A call, or a piece of one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FunctionCall<'a> {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(borrow, default)]
    pub(super) args: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) partial_args: Option<Vec<Map<String, Value>>>,
    #[serde(default)]
    pub(super) will_continue: Option<bool>,
}

/// An object that is read when it is known to be one: structures may also be written as lists, which no server means.
///
/// # Errors
/// It is no object, or a field of it is of another type.
pub(super) fn object<'a, T: Deserialize<'a>>(name: &str, json: &'a str) -> Result<T, String> {
    if !json.trim_start().starts_with('{') {
        return Err(format!("{name} is no object"));
    }
    serde_json::from_str(json).map_err(|error| format!("{name}: {error}"))
}

/// A list that is nearly always of one: that one is held without a list around it.
pub(super) struct Few<T> {
    pub(super) first: Option<T>,
    pub(super) rest: Vec<T>,
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = Few<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Few<T>, A::Error> {
                let mut few = Few { first: seq.next_element()?, rest: Vec::new() };
                while let Some(item) = seq.next_element()? {
                    few.rest.push(item);
                }
                Ok(few)
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// Tokens as Google counts them: totals so far, the cached ones among those of the prompt, thoughts beside the answer.
#[derive(Debug, Default)]
pub(super) struct Counts {
    prompt: Option<u64>,
    tools: Option<u64>,
    answer: Option<u64>,
    thoughts: Option<u64>,
    cached: Option<u64>,
}

/// A report of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reported {
    #[serde(default)]
    prompt_token_count: Option<f64>,
    #[serde(default)]
    tool_use_prompt_token_count: Option<f64>,
    #[serde(default)]
    candidates_token_count: Option<f64>,
    #[serde(default)]
    thoughts_token_count: Option<f64>,
    #[serde(default)]
    cached_content_token_count: Option<f64>,
}

impl Counts {
    /// Takes what is reported so far. What a report leaves out stays as it was.
    pub(super) fn add(&mut self, reported: &Reported) {
        for (count, reported) in [
            (&mut self.prompt, reported.prompt_token_count),
            (&mut self.tools, reported.tool_use_prompt_token_count),
            (&mut self.answer, reported.candidates_token_count),
            (&mut self.thoughts, reported.thoughts_token_count),
            (&mut self.cached, reported.cached_content_token_count),
        ] {
            // A few servers write counts as decimals; a negative or a broken one is not a count.
            *count = reported.filter(|n| (0.0..9e15).contains(n)).map(|n| n as u64).or(*count);
        }
    }

    pub(super) fn usage(&self) -> Usage {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b.unwrap_or(0)));
        let prompt = sum(self.prompt, self.tools);
        Usage {
            input: prompt.map(|prompt| prompt.saturating_sub(self.cached.unwrap_or(0))),
            output: sum(self.answer, self.thoughts).or(self.thoughts),
            reasoning: self.thoughts,
            cache_read: self.cached,
            cache_write: None,
        }
    }
}

pub(super) fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FinishReason::ContentFilter,
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MALFORMED_RESPONSE"
        | "MISSING_THOUGHT_SIGNATURE" => FinishReason::Error,
        _ => FinishReason::Other,
    }
}
