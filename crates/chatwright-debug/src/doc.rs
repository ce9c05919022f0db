//! What stands in the JSON values of a step.

use std::collections::BTreeMap;

use chatwright_core::Gen;
use chatwright_core::content::Metadata;
use chatwright_core::model::{FinishReason, Usage};
use chatwright_core::port::Purpose;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::content::Place;

/// The version of these values that this code writes.
pub const DOC_VERSION: u32 = 1;

/// What was asked: [`DebugStep::request`](chatwright_core::debug::DebugStep::request).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RequestDoc {
    /// The version of the format.
    #[serde(rename = "v")]
    pub version: u32,
    /// How many messages the prompt has.
    pub messages: u64,
    /// Where the messages are: a line of JSON for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Place>,
    /// Why the prompt, or its tools, were not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Box<str>>,
    /// How many tools the model had.
    pub tool_count: u64,
    /// Where their definitions are: a line of JSON for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Place>,
    /// Whatever else was asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<Box<str>, Value>,
}

/// What was answered: [`DebugStep::response`](chatwright_core::debug::DebugStep::response).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ResponseDoc {
    /// The version of the format.
    #[serde(rename = "v")]
    pub version: u32,
    /// Where its parts are: a line of JSON for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Place>,
    /// How many parts it has.
    pub parts: u64,
    /// Why the model stopped; absent: it did not come to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// What the provider calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_id: Option<Box<str>>,
    /// What else the provider says of it.
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// What the provider warned of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How many bytes of it there was no room for.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped_bytes: u64,
}

/// What a list of steps shows: [`DebugStep::metadata`](chatwright_core::debug::DebugStep::metadata).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct StepMetadata {
    /// The version of the format.
    #[serde(rename = "v")]
    pub version: u32,
    /// What it was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// How many attempts there were.
    pub attempts: u32,
    /// Where the first request went that was answered in full: method and path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Box<str>>,
    /// How long the attempts took together, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_ms: Option<u64>,
    /// From the last request to the first content, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_content_ms: Option<u64>,
    /// Tokens of the answer per second of it, from its first content on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// How many parts of each kind the last answer came in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stream: BTreeMap<Box<str>, u64>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptStatus {
    /// It goes on, or nobody knows.
    #[default]
    Open,
    /// With an answer.
    Completed,
    /// It failed.
    Failed,
    /// Nobody listened any more.
    Interrupted,
}

/// One attempt at a step: [`DebugStep::attempts`](chatwright_core::debug::DebugStep::attempts) has a list of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AttemptDoc {
    /// Which attempt, from 1.
    pub number: u32,
    /// How it ended.
    pub status: AttemptStatus,
    /// The gen in which it was made.
    #[serde(rename = "gen", skip_serializing_if = "Option::is_none")]
    pub r#gen: Option<Gen>,
    /// When it began, in milliseconds since 1970.
    pub started_at: i64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// From its request to its first content, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_content_ms: Option<u64>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureDoc>,
    /// What was said before it failed: where its parts are, a line of JSON for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Place>,
    /// What it took.
    #[serde(skip_serializing_if = "Usage::is_empty")]
    pub usage: Usage,
    /// What went over HTTP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<ExchangeDoc>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FailureDoc {
    /// The provider's name as the host configured it.
    pub provider: Box<str>,
    /// How it failed.
    pub cause: Box<str>,
    /// The HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The headers of the response.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// The body of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<str>>,
    /// The type of an error inside the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<Box<str>>,
    /// The code of an error inside the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<Box<str>>,
    /// What the failing layer said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<str>>,
}

/// A request and its response.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ExchangeDoc {
    /// The method.
    pub method: Box<str>,
    /// The address.
    pub url: Box<str>,
    /// Its path.
    pub path: Box<str>,
    /// The headers of the request.
    pub request_headers: Vec<(Box<str>, Box<str>)>,
    /// The body of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_body: Option<BodyDoc>,
    /// The status of the response; absent: there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The headers of the response.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<(Box<str>, Box<str>)>,
    /// The body of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_body: Option<BodyDoc>,
    /// How it ended: `complete`, `failed` or `abandoned`.
    pub end: Box<str>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<str>>,
    /// From the request to the response's head, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_ms: Option<u64>,
    /// From the request to the end, in milliseconds.
    pub duration_ms: u64,
}

/// A body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BodyDoc {
    /// How many bytes went over the wire.
    pub bytes: u64,
    /// How many of these there was no room for.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped_bytes: u64,
    /// Where it is, without secrets. Absent: it is empty, or there was no room for any of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<Place>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
