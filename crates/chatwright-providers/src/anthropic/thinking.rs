//! How a model of Anthropic's is asked to think.

use chatwright_core::model::ReasoningEffort::{self, High, Low, Max, Medium, None as NoEffort, XHigh};
use chatwright_core::model::{ModelCall, ToolChoice};
use serde_json::{Map, Value, json};

use super::AnthropicMessages;

/// Fewest tokens of thought that the API takes, and the fewest that are left for an answer behind them.
const TOKENS_MIN: u64 = 1_024;

/// How a model takes [`ModelCall::reasoning_effort`] and [`ModelCall::thinking_budget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnthropicThinking {
    /// It does not think: Claude before 3.7.
    Unsupported,
    /// By a number of tokens: Claude 3.7 to 4.5, and models that are not Claude.
    Budget,
    /// As much as it sees fit, by an effort: Claude from 4.6 on.
    Adaptive,
}

impl AnthropicThinking {
    /// What the name of a model tells.
    pub fn of_model(model: &str) -> Self {
        match version(model) {
            None if !model.contains("claude") => Self::Budget,
            Some(version) if version < (3, 7) => Self::Unsupported,
            Some(version) if version < (4, 6) => Self::Budget,
            _ => Self::Adaptive,
        }
    }

    /// The setting of that name, in configuration.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "unsupported" => Some(Self::Unsupported),
            "budget" => Some(Self::Budget),
            "adaptive" => Some(Self::Adaptive),
            _ => None,
        }
    }
}

/// The version in the name of a Claude: `claude-3-7-sonnet-20250219`, `anthropic/claude-opus-4.7`.
fn version(model: &str) -> Option<(u64, u64)> {
    let words = model.split(|c: char| !c.is_ascii_alphanumeric()).skip_while(|word| *word != "claude");
    // A longer number is a date.
    let number = |word: &str| word.parse().ok().filter(|_| word.len() <= 2);
    let mut numbers = words.map(number).skip_while(Option::is_none);
    let major = numbers.next()??;
    Some((major, numbers.next().flatten().unwrap_or(0)))
}

/// What a call asks for, in the fields of a request, and what it asks for in vain.
#[derive(Debug, Default)]
pub(super) struct Asked {
    thinking: Option<Value>,
    effort: Option<&'static str>,
    /// The model thinks, which rules out other settings.
    thinks: bool,
    pub(super) warnings: Vec<&'static str>,
}

impl Asked {
    pub(super) fn of(call: &ModelCall, style: AnthropicThinking, model: &str) -> Self {
        let mut asked = Self::default();
        match style {
            AnthropicThinking::Unsupported => asked.refuse(call),
            AnthropicThinking::Budget => asked.count(call),
            AnthropicThinking::Adaptive => asked.adapt(call, model),
        }
        if !asked.thinks {
            return asked;
        }
        if matches!(call.tool_choice, Some(ToolChoice::Required | ToolChoice::Tool(_))) {
            asked.thinking = None;
            asked.thinks = false;
            asked.warnings.push("there is no thinking where a tool must be called");
            return asked;
        }
        if call.temperature.is_some_and(|temperature| temperature != 1.0) {
            asked.warnings.push("temperature is not supported beside thinking");
        }
        if call.top_k.is_some() {
            asked.warnings.push("top_k is not supported beside thinking");
        }
        asked
    }

    fn refuse(&mut self, call: &ModelCall) {
        if call.thinking_budget.is_some() || call.reasoning_effort.is_some_and(|effort| effort > NoEffort) {
            self.warnings.push("this model does not think");
        }
    }

    fn count(&mut self, call: &ModelCall) {
        let asked = call.thinking_budget.or(call.reasoning_effort.map(ReasoningEffort::thinking_tokens));
        let Some(tokens) = asked.filter(|&tokens| tokens > 0) else { return };
        let most = call.max_output_tokens.unwrap_or(AnthropicMessages::MAX_TOKENS).saturating_sub(TOKENS_MIN);
        if most < TOKENS_MIN {
            return self.warnings.push("there is no room for thinking within max_output_tokens");
        }
        self.thinking = Some(json!({"type": "enabled", "budget_tokens": tokens.clamp(TOKENS_MIN, most)}));
        self.thinks = true;
    }

    fn adapt(&mut self, call: &ModelCall, model: &str) {
        if call.thinking_budget.is_some() {
            self.warnings.push("thinking_budget is not supported: the model takes an effort");
        }
        let Some(effort) = call.reasoning_effort else { return };
        if effort == NoEffort {
            self.thinking = Some(json!({"type": "disabled"}));
            return;
        }
        let levels: &[_] = match version(model) {
            Some((4, 6)) => &[Low, Medium, High, Max],
            _ => &[Low, Medium, High, XHigh, Max],
        };
        // Otherwise the newest models think unseen.
        self.thinking = Some(json!({"type": "adaptive", "display": "summarized"}));
        self.effort = Some(effort.among(levels).as_str());
        self.thinks = true;
    }

    /// Writes itself into a request, and takes out what may not stand beside it.
    pub(super) fn write(self, body: &mut Map<String, Value>) {
        if let Some(thinking) = self.thinking {
            body.insert("thinking".to_owned(), thinking);
        }
        if let Some(effort) = self.effort {
            body.insert("output_config".to_owned(), json!({"effort": effort}));
        }
        if self.thinks {
            body.remove("temperature");
            body.remove("top_k");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AnthropicThinking::{Adaptive, Budget, Unsupported};
    use super::*;

    #[test]
    fn the_name_of_a_model_tells_how_it_thinks() {
        for (model, expected) in [
            ("claude-2.1", Unsupported),
            ("claude-3-5-sonnet-20241022", Unsupported),
            ("claude-3-7-sonnet-20250219", Budget),
            ("claude-sonnet-4-20250514", Budget),
            ("claude-opus-4@20250514", Budget),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Budget),
            ("claude-haiku-4-5", Budget),
            ("claude-sonnet-4-6", Adaptive),
            ("anthropic/claude-opus-4.7", Adaptive),
            ("claude-opus-4-10", Adaptive),
            ("claude-sonnet-5", Adaptive),
            ("claude-opus-latest", Adaptive),
            ("minimax-m2", Budget),
        ] {
            assert_eq!(AnthropicThinking::of_model(model), expected, "{model}");
        }
    }
}
