//! The names in spans: OpenTelemetry's for generative models, as of version 1.41 of its semantic conventions, and our own.
//!
//! None of `gen_ai.*` is stable yet, so they stand here and nowhere else. No span ever has a word of a prompt, of an answer, of
//! arguments, of results or of a key in it.

/// What is done: [`CHAT`], [`EXECUTE_TOOL`] or [`INVOKE_AGENT`].
pub const OPERATION_NAME: &str = "gen_ai.operation.name";
/// Who runs the model.
pub const PROVIDER_NAME: &str = "gen_ai.provider.name";
/// The model that was asked.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// The provider's id of the response.
pub const RESPONSE_ID: &str = "gen_ai.response.id";
/// Why the model stopped.
pub const RESPONSE_FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
/// Tokens of the prompt, those of a cache included.
pub const USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Tokens of the answer.
pub const USAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Tokens of the prompt that came from a cache.
pub const USAGE_CACHE_READ: &str = "gen_ai.usage.cache_read.input_tokens";
/// The chat.
pub const CONVERSATION_ID: &str = "gen_ai.conversation.id";
/// The tool: one of those that the host registered.
pub const TOOL_NAME: &str = "gen_ai.tool.name";
/// The provider's id of the call.
pub const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
/// The kind of an error, one of a fixed few.
pub const ERROR_TYPE: &str = "error.type";

/// A model is asked.
pub const CHAT: &str = "chat";
/// A tool runs.
pub const EXECUTE_TOOL: &str = "execute_tool";
/// A turn runs.
pub const INVOKE_AGENT: &str = "invoke_agent";

/// The kind of a chat: `root` or `subagent`.
pub const CHAT_KIND: &str = "chatwright.chat.kind";
/// The gen that an attempt or a batch of tools is.
pub const GEN: &str = "chatwright.gen";
/// What a request is for.
pub const PURPOSE: &str = "chatwright.purpose";
/// The stage that a span of the name [`STAGE_SPAN`] stands for.
pub const STAGE: &str = "chatwright.stage";

/// A turn, or what of it one process saw.
pub const TURN_SPAN: &str = "chatwright.turn";
/// An attempt at an answer with its prompt and its commit.
pub const STEP_SPAN: &str = "chatwright.step";
/// A request to a provider.
pub const ATTEMPT_SPAN: &str = "chatwright.attempt";
/// A tool that runs.
pub const TOOL_SPAN: &str = "chatwright.tool";
/// Any other stage, at level `DEBUG`.
pub const STAGE_SPAN: &str = "chatwright.stage";

/// A span as it is documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanInfo {
    /// Its name.
    pub name: &'static str,
    /// Its level.
    pub level: tracing::Level,
    /// The fields that it may have.
    pub fields: &'static [&'static str],
    /// What it stands for.
    pub meaning: &'static str,
}

/// Every span that the loop opens.
pub const SPANS: &[SpanInfo] = &[
    SpanInfo {
        name: TURN_SPAN,
        level: tracing::Level::INFO,
        fields: &[OPERATION_NAME, CONVERSATION_ID, CHAT_KIND],
        meaning: "A turn, or what of it one process saw.",
    },
    SpanInfo {
        name: STEP_SPAN,
        level: tracing::Level::INFO,
        fields: &[CONVERSATION_ID, GEN],
        meaning: "An attempt at an answer with its prompt and its commit.",
    },
    SpanInfo {
        name: ATTEMPT_SPAN,
        level: tracing::Level::INFO,
        fields: &[
            OPERATION_NAME,
            PROVIDER_NAME,
            REQUEST_MODEL,
            CONVERSATION_ID,
            PURPOSE,
            RESPONSE_ID,
            RESPONSE_FINISH_REASONS,
            USAGE_INPUT_TOKENS,
            USAGE_OUTPUT_TOKENS,
            USAGE_CACHE_READ,
            ERROR_TYPE,
        ],
        meaning: "A request to a provider.",
    },
    SpanInfo {
        name: TOOL_SPAN,
        level: tracing::Level::INFO,
        fields: &[OPERATION_NAME, TOOL_NAME, TOOL_CALL_ID, CONVERSATION_ID, ERROR_TYPE],
        meaning: "A tool that runs.",
    },
    SpanInfo {
        name: STAGE_SPAN,
        level: tracing::Level::DEBUG,
        fields: &[STAGE],
        meaning: "Any other stage of the table above.",
    },
];
