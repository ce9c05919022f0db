//! Servers that speak Chat Completions in their own way.

use chatwright_core::model::ReasoningEffort::{
    self, High, Low, Max, Medium, Minimal, None as NoEffort, XHigh,
};
use serde_json::{Map, Value, json};

/// A server that speaks Chat Completions: where it listens, and what it takes and gives in its own way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChatServer {
    /// OpenAI itself, and all that do as it does.
    #[default]
    OpenAi,
    /// Ollama.
    Ollama,
    /// vLLM.
    Vllm,
    /// The server of llama.cpp.
    LlamaCpp,
    /// A LiteLLM proxy.
    LiteLlm,
    /// OpenRouter.
    OpenRouter,
    /// Groq.
    Groq,
    /// DeepSeek.
    DeepSeek,
    /// xAI.
    XAi,
    /// Mistral.
    Mistral,
}

/// What a server does other than others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// It knows `max_tokens` only.
    pub(super) max_tokens: bool,
    /// It refuses `stream_options`.
    pub(super) no_stream_options: bool,
    /// It may end the stream without `[DONE]`.
    pub(super) end_after_finish: bool,
    /// It may name no content type.
    pub(super) no_content_type: bool,
    /// It takes JSON, but no schema of it.
    pub(super) no_json_schema: bool,
    /// It refuses requests in which a thought of its own is missing.
    pub(super) wants_thoughts: bool,
    /// It takes ids of calls of nine letters and digits, `any` for a choice of some tool, and `random_seed`.
    pub(super) mistral: bool,
    thinking: Thinking,
}

/// How a server is told how much to think.
#[derive(Clone, Copy, Debug)]
enum Thinking {
    /// By a word, of these.
    Effort(&'static [ReasoningEffort]),
    /// By an object of a word or of a number of tokens.
    Object,
    /// By a switch, and by a word beside it.
    Switch,
    /// By arguments of the template of its prompts.
    Template,
}

const OPENAI: Dialect = Dialect {
    max_tokens: false,
    no_stream_options: false,
    end_after_finish: false,
    no_content_type: false,
    no_json_schema: false,
    wants_thoughts: false,
    mistral: false,
    thinking: Thinking::Effort(&[NoEffort, Minimal, Low, Medium, High, XHigh]),
};

impl ChatServer {
    /// Every server.
    pub const ALL: [Self; 10] = [
        Self::OpenAi,
        Self::Ollama,
        Self::Vllm,
        Self::LlamaCpp,
        Self::LiteLlm,
        Self::OpenRouter,
        Self::Groq,
        Self::DeepSeek,
        Self::XAi,
        Self::Mistral,
    ];

    /// Its name in configuration, and of its provider unless another is given.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llama_cpp",
            Self::LiteLlm => "litellm",
            Self::OpenRouter => "openrouter",
            Self::Groq => "groq",
            Self::DeepSeek => "deepseek",
            Self::XAi => "xai",
            Self::Mistral => "mistral",
        }
    }

    /// The server of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|server| server.as_str() == name)
    }

    /// Where it listens unless said otherwise: its service, or its usual port on this machine.
    pub fn base_url(self) -> &'static str {
        match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Ollama => "http://localhost:11434/v1",
            Self::Vllm => "http://localhost:8000/v1",
            Self::LlamaCpp => "http://localhost:8080/v1",
            Self::LiteLlm => "http://localhost:4000/v1",
            Self::OpenRouter => "https://openrouter.ai/api/v1",
            Self::Groq => "https://api.groq.com/openai/v1",
            Self::DeepSeek => "https://api.deepseek.com/v1",
            Self::XAi => "https://api.x.ai/v1",
            Self::Mistral => "https://api.mistral.ai/v1",
        }
    }

    pub(super) fn dialect(self) -> Dialect {
        let known = |levels| Dialect { thinking: Thinking::Effort(levels), ..OPENAI };
        match self {
            Self::OpenAi => OPENAI,
            Self::Ollama => Dialect { max_tokens: true, ..known(&[NoEffort, Low, Medium, High]) },
            Self::Vllm => known(&[NoEffort, Low, Medium, High]),
            Self::LlamaCpp => Dialect { max_tokens: true, thinking: Thinking::Template, ..OPENAI },
            // It translates for whatever stands behind it.
            Self::LiteLlm => known(&[NoEffort, Minimal, Low, Medium, High, XHigh]),
            Self::OpenRouter => Dialect { max_tokens: true, thinking: Thinking::Object, ..OPENAI },
            Self::Groq => known(&[NoEffort, Low, Medium, High]),
            Self::DeepSeek => Dialect {
                max_tokens: true,
                no_json_schema: true,
                wants_thoughts: true,
                thinking: Thinking::Switch,
                ..OPENAI
            },
            Self::XAi => known(&[NoEffort, Low, Medium, High]),
            Self::Mistral => Dialect {
                max_tokens: true,
                no_stream_options: true,
                mistral: true,
                ..known(&[NoEffort, High])
            },
        }
    }
}

impl Dialect {
    /// Whether thoughts can be counted in tokens.
    pub(super) fn counts_thoughts(self) -> bool {
        matches!(self.thinking, Thinking::Object)
    }

    /// Asks for so much thinking. A number of tokens comes before an effort, where it can be told.
    pub(super) fn think(
        self,
        effort: Option<ReasoningEffort>,
        tokens: Option<u64>,
        body: &mut Map<String, Value>,
    ) {
        let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        if let (Some(tokens), true) = (tokens, self.counts_thoughts()) {
            return set("reasoning", json!({"max_tokens": tokens}));
        }
        let Some(effort) = effort else { return };
        match self.thinking {
            Thinking::Effort(levels) => set("reasoning_effort", effort.among(levels).as_str().into()),
            Thinking::Object => {
                let effort = effort.among(&[NoEffort, Minimal, Low, Medium, High, XHigh]);
                set("reasoning", json!({"effort": effort.as_str()}));
            }
            Thinking::Switch if effort == NoEffort => set("thinking", json!({"type": "disabled"})),
            Thinking::Switch => {
                set("thinking", json!({"type": "enabled"}));
                set("reasoning_effort", if effort >= XHigh { Max } else { High }.as_str().into());
            }
            Thinking::Template => {
                let mut arguments = json!({"enable_thinking": effort != NoEffort});
                if effort != NoEffort {
                    arguments["reasoning_effort"] = effort.among(&[Low, Medium, High]).as_str().into();
                }
                set("chat_template_kwargs", arguments);
            }
        }
    }
}
