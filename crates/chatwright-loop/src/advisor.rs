//! The advisor: a second model that the model of a chat may ask before it goes on.
//!
//! It is a tool that must be alone in its step. Whether there is one is decided once for each turn; that one decision says whether
//! the model has the tool, what it is told of it, and what the tool does to calls beside it. How often it was asked follows from the
//! results that are committed, so that no crash gives a turn more advice than it may have.

mod ask;
mod handoff;

use std::time::Duration;

use chatwright_config::AdvisorSettings;
use chatwright_core::content::{Output, Part};
use chatwright_core::model::{Message, ReasoningEffort, Role, Usage};
use chatwright_core::money::Amount;
use chatwright_core::tool::{Effect, ToolSpec};
use chatwright_engine::{Chat, History, Item, calls};
use serde::Serialize;

pub(crate) use self::ask::{Advisor, Seen, text_of};
use crate::deps::Deps;
use crate::models::NoModel;

/// The name of the tool.
pub(crate) const NAME: &str = "advisor";

/// How long a use may take in all, with its retries.
const WITHIN: Duration = Duration::from_secs(120);
/// How much longer the tool may take: it ends by itself, and says why.
const SLACK: Duration = Duration::from_secs(10);
/// Most characters of a question.
const QUESTION_SCALARS_MAX: usize = 2_000;
/// Most tokens of advice where nothing else is said.
const OUTPUT_TOKENS_MAX: u64 = 16_384;

const DESCRIPTION: &str = "Asks another model for advice on how to go on. It sees the recent conversation, has no tools, and \
    answers you, not the user. It must be the only call of its step.";

const GUIDANCE: &str = "<advisor-guidance>\nWith the tool `advisor` you can ask another model what it would do. It is worth it where the \
    plan is unclear, where several ways have to be weighed, where you cannot find the cause of a fault, and where the same thing has \
    failed again and again. The advisor sees the recent conversation, has no tools and talks to you alone. Put everything into one \
    question of at most 2,000 characters, and make no other call in that step. You decide what to do with its advice.\n\
    </advisor-guidance>";

/// Advice is not cut to less.
const SHORTEST: usize = 256;

/// How the advice begins that counts as a use. What follows may be cut.
const ADVICE: &str = r#"{"type":"advice","#;

/// The tool as the model of a chat sees it. Whoever asks twice is advised twice: nothing else happens.
pub(crate) fn spec() -> ToolSpec {
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "question": {
                "type": "string",
                "description": "What you want to know, at most 2,000 characters. Say what you have tried.",
            },
        },
        "required": ["question"],
    });
    ToolSpec::new(NAME, DESCRIPTION, schema, Effect::Pure).with_deadline(WITHIN + SLACK).exclusive()
}

/// What the model of a chat is told of the tool.
pub(crate) fn guidance() -> Message {
    Message::new(Role::System, vec![Part::text(GUIDANCE)])
}

pub(crate) fn is_guidance(message: &Message) -> bool {
    message.role == Role::System
        && matches!(&message.content[..], [Part::Text { text, .. }] if text == GUIDANCE)
}

/// On which terms the advisor may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// How often in a turn.
    uses_max: u32,
    /// Most tokens of its answer.
    output_tokens_max: u64,
    /// Who is asked; absent: the model of the chat.
    model: Option<Box<str>>,
    /// How much it thinks; absent: as much as its configuration says.
    effort: Option<ReasoningEffort>,
}

impl Terms {
    fn new(settings: &AdvisorSettings, steps_max: u32) -> Self {
        let or = |value: u64, default| if value == 0 { default } else { value };
        let words = settings.reasoning_effort.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
        Self {
            uses_max: if settings.max_uses_per_run == 0 { steps_max } else { settings.max_uses_per_run },
            output_tokens_max: or(settings.max_output_tokens, OUTPUT_TOKENS_MAX),
            model: settings.model_config_id.clone(),
            effort: ReasoningEffort::ALL.into_iter().find(|effort| effort.as_str() == words),
        }
    }
}

/// On which terms the model of a chat may ask in the turn that runs; `None`: not at all.
///
/// # Errors
/// What keeps it from asking, although it should be able to.
pub(crate) async fn terms(deps: &Deps, chat: &Chat) -> Result<Option<Terms>, String> {
    if chat.state.depth > 0 {
        return Ok(None);
    }
    let read = match deps.models.configs() {
        Some(configs) => configs.advisor().await.map_err(|error| NoModel::from(error).to_string())?,
        None => deps.settings.advisor.clone().into(),
    };
    if !read.enabled {
        return Ok(None);
    }
    if deps.registry.hides_advisor() {
        return Err("the host has a tool of its name".to_owned());
    }
    let terms = Terms::new(&read, deps.settings.rules.steps_max);
    let name = terms.model.as_deref().or(chat.state.model.as_deref());
    match deps.models.choose(name, &chat.head.index.organization).await {
        Ok(_) => Ok(Some(terms)),
        Err(error) => Err(error.to_string()),
    }
}

/// How often the turn that runs has been advised.
pub(crate) fn uses(history: &History) -> u32 {
    let items = history.items().iter().rev().map(|(_, item)| item);
    let of_turn = items.take_while(|item| !matches!(item, Item::User(_)));
    let results = of_turn.filter_map(|item| match item {
        Item::Results(results) => Some(results),
        _ => None,
    });
    let is_advice = |name: &str, output: &Output| {
        name == NAME && matches!(output, Output::Text { text } if text.starts_with(ADVICE))
    };
    let count = results.flat_map(|results| {
        let answer = history.answer(results.message);
        let named = move |ordinal| calls(&answer?.content).find(|call| call.ordinal == ordinal);
        results.results.iter().filter(move |result| {
            named(result.ordinal).is_some_and(|call| is_advice(call.name, &result.output))
        })
    });
    u32::try_from(count.count()).unwrap_or(u32::MAX)
}

/// What a call gives, as JSON. None of it is a failure of the tool.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told {
    Advice { advice: String, advisor_model: String, remaining_uses: u32, usage: Usage, cost: Option<Amount> },
    LimitReached { remaining_uses: u32 },
    Error { error: String, remaining_uses: u32 },
}

impl Told {
    /// As the result of a call, with so much of the advice as results may have.
    fn output(mut self, max: usize) -> Output {
        loop {
            let text = serde_json::to_string(&self).expect("strings and numbers encode");
            match &mut self {
                Self::Advice { advice, .. } if text.len() > max && advice.len() > SHORTEST => {
                    // How many bytes of JSON one of advice takes is known of the whole only.
                    let room = advice.len() as u128 * max as u128 / text.len() as u128;
                    let room = usize::try_from(room).unwrap_or(0).min(advice.len() - 16);
                    *advice = crate::blobs::cut(advice, room, "");
                }
                _ => return Output::text(text),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(words: &str) -> Told {
        let usage = Usage { output: Some(3), ..Usage::default() };
        let advisor_model = "wise/sage".to_owned();
        Told::Advice { advice: words.to_owned(), advisor_model, remaining_uses: 1, usage, cost: None }
    }

    #[test]
    fn advice_begins_as_what_counts_as_a_use_and_nothing_else_does() {
        let text = |told: Told| match told.output(10_000) {
            Output::Text { text } => text,
            other => panic!("{other:?}"),
        };
        assert!(text(advice("Try.")).starts_with(ADVICE));
        assert!(!text(Told::LimitReached { remaining_uses: 0 }).starts_with(ADVICE));
        assert!(!text(Told::Error { error: "no".to_owned(), remaining_uses: 1 }).starts_with(ADVICE));
    }

    #[test]
    fn advice_of_any_length_is_json_that_fits() {
        for words in ["word ", "\"\n", "é\u{1}", "😀"] {
            for (times, max) in [(10, 4_000), (5_000, 4_000), (50_000, 65_536), (5_000, 700)] {
                let Output::Text { text } = advice(&words.repeat(times)).output(max) else { panic!("text") };
                let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                let kept = told["advice"].as_str().expect("advice").len();
                assert!(text.len() <= max, "{} of {max}", text.len());
                assert!(
                    kept == words.len() * times || text.len() > max / 2,
                    "{kept} in {} of {max}",
                    text.len()
                );
            }
        }
    }

    #[test]
    fn what_is_not_set_has_its_default_and_a_word_that_is_no_effort_asks_for_none() {
        let mut settings = AdvisorSettings::default();
        let terms = Terms::new(&settings, 12);
        assert_eq!((terms.uses_max, terms.output_tokens_max, terms.effort), (12, 16_384, None));
        (settings.max_uses_per_run, settings.max_output_tokens) = (2, 100);
        for (words, effort) in
            [("low", Some(ReasoningEffort::Low)), (" XHigh ", Some(ReasoningEffort::XHigh)), ("quite", None)]
        {
            settings.reasoning_effort = Some(words.into());
            let terms = Terms::new(&settings, 12);
            assert_eq!((terms.uses_max, terms.output_tokens_max, terms.effort), (2, 100, effort), "{words}");
        }
    }

    #[test]
    fn what_the_model_is_told_is_one_block() {
        assert!(GUIDANCE.starts_with("<advisor-guidance>\n") && GUIDANCE.ends_with("\n</advisor-guidance>"));
        assert!(is_guidance(&guidance()));
        for (role, words) in [(Role::User, GUIDANCE), (Role::System, "advisor-guidance")] {
            assert!(!is_guidance(&Message::new(role, vec![Part::text(words)])), "{role:?}");
        }
    }
}
