//! The vocabulary of the language-model port: what is asked, and what streams back.

mod effort;
mod format;
mod scope;
mod transport;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chatwright_error::Failure;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::content::{Metadata, Part};
use crate::history::ValidHistory;

pub use effort::{EffortPolicy, ReasoningEffort};
pub use format::ResponseFormat;
pub use scope::CallScope;
pub use transport::{Headers, Transport};

/// Which model answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelId {
    /// The provider's name as the host configured it.
    pub provider: Box<str>,
    /// The provider's name of the model.
    pub model: Box<str>,
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// One request to a model. What is `None` or empty is left to the provider.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ModelCall {
    /// The conversation, oldest first: one that no provider refuses for its form.
    pub prompt: ValidHistory,
    /// The tools that the model may call, in a stable order. Calls share them.
    pub tools: Arc<[ToolDefinition]>,
    /// Whether and what it must call.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several tools in one answer.
    pub parallel_tool_calls: Option<bool>,
    /// How much it should think before it answers, on the one scale that each adapter translates.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Most tokens of thought, where the format counts them: it then takes the place of the effort.
    pub thinking_budget: Option<u64>,
    /// What the text of the answer must be.
    pub response_format: Option<ResponseFormat>,
    /// Most tokens of the answer.
    pub max_output_tokens: Option<u64>,
    /// Sampling temperature, as the provider scales it.
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    pub top_p: Option<f64>,
    /// How many tokens to sample from.
    pub top_k: Option<u64>,
    /// Penalty on tokens that have appeared.
    pub presence_penalty: Option<f64>,
    /// Penalty on tokens by how often they have appeared.
    pub frequency_penalty: Option<f64>,
    /// Texts at which the answer stops.
    pub stop_sequences: Vec<String>,
    /// Seed of the sampling.
    pub seed: Option<u64>,
    /// Passed through untouched, by provider id.
    pub provider_options: BTreeMap<Box<str>, Value>,
    /// How the call travels.
    pub transport: Transport,
    /// What the call is part of, if whoever makes it says so.
    pub scope: Option<Arc<CallScope>>,
}

impl ModelCall {
    /// A call with this prompt and nothing else. Messages that are not valid are repaired.
    pub fn new(prompt: impl Into<ValidHistory>) -> Self {
        Self { prompt: prompt.into(), ..Self::default() }
    }
}

/// One message of a prompt. Clones share what it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Arc<[Part]>,
    /// Options of this message by provider id, for example a cache marker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provider_options: BTreeMap<Box<str>, Value>,
}

impl Message {
    /// A message without options.
    pub fn new(role: Role, content: impl IntoIterator<Item = Part>) -> Self {
        Self { role, content: content.into_iter().collect(), provider_options: BTreeMap::new() }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions of the host.
    System,
    /// A person, or a program in that place.
    User,
    /// The model.
    Assistant,
    /// Results of local tools.
    Tool,
}

/// A tool as the model sees it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ToolDefinition {
    /// A function that the host or its client runs.
    Function {
        /// The name that the model writes.
        name: Box<str>,
        /// What it does, for the model.
        description: Box<str>,
        /// JSON Schema of the arguments: an object.
        input_schema: Value,
        /// Options by provider id.
        provider_options: BTreeMap<Box<str>, Value>,
    },
    /// A tool of the provider's own, for example web search.
    Provider {
        /// The provider's id of the tool, for example `openai.web_search`.
        id: Box<str>,
        /// The name that the model writes.
        name: Box<str>,
        /// Its settings.
        args: Value,
    },
}

/// Whether and what the model must call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// Nothing.
    None,
    /// As it likes.
    Auto,
    /// Some tool.
    Required,
    /// This tool.
    Tool(Box<str>),
}

/// What streams back from a model.
///
/// Order: `Warnings` first if there are any; each block as start, deltas, end; `ToolCall` after the end of its input;
/// exactly one [`Finish`](Self::Finish) or [`Failure`](Self::Failure) last. Blocks of different ids may interleave.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ModelPart {
    /// Settings that the provider does not support, and the like. Not content: it ends no wait for content.
    Warnings(Vec<String>),
    /// The connection lives. Not content.
    KeepAlive,
    /// A text block begins.
    TextStart {
        /// The block.
        id: Box<str>,
    },
    /// Text of a block.
    TextDelta {
        /// The block.
        id: Box<str>,
        /// The text, never cut inside a character.
        delta: String,
    },
    /// A text block ends.
    TextEnd {
        /// The block.
        id: Box<str>,
        /// Provider metadata of the block.
        metadata: Metadata,
    },
    /// A reasoning block begins.
    ReasoningStart {
        /// The block.
        id: Box<str>,
        /// Provider metadata of the block.
        metadata: Metadata,
    },
    /// Text or metadata of a reasoning block.
    ReasoningDelta {
        /// The block.
        id: Box<str>,
        /// The text, never cut inside a character; may be empty beside metadata.
        delta: String,
        /// Provider metadata of the block.
        metadata: Metadata,
    },
    /// A reasoning block ends.
    ReasoningEnd {
        /// The block.
        id: Box<str>,
        /// Provider metadata of the block.
        metadata: Metadata,
    },
    /// The arguments of a call begin to stream.
    ToolInputStart {
        /// The provider's id of the call.
        id: Box<str>,
        /// The tool.
        name: Box<str>,
        /// The provider runs it itself.
        provider_executed: bool,
    },
    /// Arguments of a call.
    ToolInputDelta {
        /// The provider's id of the call.
        id: Box<str>,
        /// JSON text, never cut inside a character.
        delta: String,
    },
    /// The arguments of a call have streamed.
    ToolInputEnd {
        /// The provider's id of the call.
        id: Box<str>,
    },
    /// A complete call. Only this part makes a call complete.
    ToolCall {
        /// The provider's id of the call.
        id: Box<str>,
        /// The tool.
        name: Box<str>,
        /// All arguments as JSON text.
        input: String,
        /// The provider runs it itself.
        provider_executed: bool,
        /// Provider metadata of the call.
        metadata: Metadata,
    },
    /// A finished piece of content: the result of a provider-executed call, a source, a file, or one of a type that
    /// only the provider knows.
    Item(Part),
    /// The end of a complete answer.
    Finish(Finish),
    /// The end of a failed call.
    Failure(Box<Failure>),
}

impl ModelPart {
    /// Whether nothing may follow.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Finish(_) | Self::Failure(_))
    }

    /// Whether a reader would see something: what ends the wait for the first content.
    pub fn is_content(&self) -> bool {
        !matches!(self, Self::Warnings(_) | Self::KeepAlive) && !self.is_terminal()
    }
}

/// The end of a complete answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finish {
    /// Why the model stopped.
    pub reason: FinishReason,
    /// What it cost, as far as the provider said.
    pub usage: Usage,
    /// The provider's id of the response.
    pub response_id: Option<Box<str>>,
    /// Provider metadata of the response.
    pub metadata: Metadata,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// It was done, or met a stop sequence.
    Stop,
    /// It met a token limit: the answer is cut.
    Length,
    /// A filter cut the answer.
    ContentFilter,
    /// It waits for tools.
    ToolCalls,
    /// The provider paused a long answer, and goes on when it is asked again as things are.
    Pause,
    /// The provider ended it for an error of its own.
    Error,
    /// A reason that this version has no word for.
    Other,
    /// The provider gave none.
    #[default]
    Unknown,
}

impl FinishReason {
    /// The name in the stored format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::ToolCalls => "tool_calls",
            Self::Pause => "pause",
            Self::Error => "error",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }
}

/// Tokens of one provider request. `None` is "not reported", which is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Prompt tokens that were neither read from nor written to a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<u64>,
    /// Tokens of the answer, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// Tokens of reasoning: a part of `output`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
    /// Prompt tokens read from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<u64>,
    /// Prompt tokens written to a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
}

impl Usage {
    /// Whether the provider reported nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How long to wait for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelTimeouts {
    /// From the request to the first content part. 60 s by default.
    pub start_up: Duration,
    /// Between two parts. 120 s by default.
    pub silence: Duration,
    /// The whole attempt. 15 min by default.
    pub total: Duration,
}

impl Default for ModelTimeouts {
    fn default() -> Self {
        Self {
            start_up: Duration::from_secs(60),
            silence: Duration::from_secs(120),
            total: Duration::from_secs(15 * 60),
        }
    }
}
