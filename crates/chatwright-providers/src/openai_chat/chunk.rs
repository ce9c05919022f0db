//! The events as servers send them. Only what is read is named; a null is nothing, and what does not matter may be of any type.

use std::borrow::Cow;
use std::fmt;

use chatwright_core::model::Usage;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<Word<'a>>,
    #[serde(borrow, default)]
    object: Option<Word<'a>>,
    #[serde(borrow, default)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    usage: Option<Value>,
    /// Groq reports its usage and its errors here.
    #[serde(default)]
    x_groq: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub(super) index: Option<u64>,
    #[serde(borrow, default)]
    pub(super) delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Word<'a>>,
    /// Moonshot reports its usage here.
    #[serde(default)]
    usage: Option<Value>,
    /// OpenRouter reports the errors of others here.
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(default)]
    pub(super) content: Option<Content>,
    #[serde(borrow, default)]
    reasoning_content: Option<Word<'a>>,
    #[serde(borrow, default)]
    reasoning: Option<Word<'a>>,
    /// OpenRouter's proofs of thoughts.
    #[serde(default)]
    pub(super) reasoning_details: Option<Vec<Value>>,
    #[serde(default)]
    pub(super) refusal: Option<String>,
    #[serde(borrow, default)]
    pub(super) tool_calls: Option<Vec<CallDelta<'a>>>,
}

/// Where a thought came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thought {
    /// Under `reasoning_content`: DeepSeek and Moonshot demand it back.
    ReasoningContent,
    Other,
}

pub(super) enum Content {
    Text(String),
    /// Mistral sends a list of texts and thoughts.
    Items(Vec<Value>),
}

#[derive(Deserialize)]
pub(super) struct CallDelta<'a> {
    #[serde(default)]
    pub(super) index: Option<u64>,
    #[serde(borrow, default)]
    id: Option<Word<'a>>,
    #[serde(borrow, default)]
    function: Option<FunctionDelta<'a>>,
    /// Google's signature of a call.
    #[serde(default)]
    extra_content: Option<Value>,
}

#[derive(Deserialize)]
struct FunctionDelta<'a> {
    #[serde(borrow, default)]
    name: Option<Word<'a>>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

impl<'a> Chunk<'a> {
    /// # Errors
    /// It is no JSON object of this format.
    pub(super) fn parse(data: &'a str) -> Result<Self, String> {
        // A list would decode too, as the fields in their order.
        match data.trim_start().starts_with('{') {
            true => serde_json::from_str(data).map_err(|error| error.to_string()),
            false => Err("it is no object".to_owned()),
        }
    }

    pub(super) fn id(&self) -> Option<&str> {
        word(&self.id)
    }

    /// The error that the event is, if it is one: under `error`, wherever that stands, or as old vLLM servers send it.
    pub(super) fn take_error(&mut self, data: &str) -> Option<Value> {
        let said = |error: &Value| !matches!(error, Value::Null | Value::Bool(false));
        let choice = self.choices.iter_mut().flatten().find_map(|choice| choice.error.take());
        let groq = self.x_groq.as_mut().and_then(|groq| groq.get_mut("error")).map(Value::take);
        let error = [self.error.take(), choice, groq].into_iter().flatten().find(said);
        error.or_else(|| {
            let is_error = word(&self.object) == Some("error");
            is_error.then(|| serde_json::from_str(data).unwrap_or_default())
        })
    }

    /// What is reported so far. Some servers report with every event.
    pub(super) fn take_usage(&mut self) -> Option<Value> {
        let groq = self.x_groq.as_mut().and_then(|groq| groq.get_mut("usage")).map(Value::take);
        let choice = self.choices.iter_mut().flatten().find_map(|choice| choice.usage.take());
        [self.usage.take(), choice, groq].into_iter().flatten().find(Value::is_object)
    }
}

impl Choice<'_> {
    pub(super) fn finish_reason(&self) -> Option<&str> {
        word(&self.finish_reason)
    }
}

impl Delta<'_> {
    /// The thought of this event. Some servers send it under both names, others something else under the second.
    pub(super) fn take_reasoning(&mut self) -> Option<(Thought, String)> {
        let named = [
            (Thought::ReasoningContent, self.reasoning_content.take()),
            (Thought::Other, self.reasoning.take()),
        ];
        let mut said =
            named.into_iter().filter_map(|(field, word)| word.map(|Word(thought)| (field, thought)));
        said.find(|(_, thought)| !thought.is_empty()).map(|(field, thought)| (field, thought.into_owned()))
    }
}

impl CallDelta<'_> {
    pub(super) fn id(&self) -> Option<&str> {
        word(&self.id)
    }

    pub(super) fn name(&self) -> &str {
        self.function.as_ref().and_then(|function| word(&function.name)).unwrap_or_default()
    }

    pub(super) fn extra(&self) -> Option<&Value> {
        self.extra_content.as_ref().filter(|extra| extra.is_object())
    }

    /// Arguments as text. A few servers send the object itself.
    pub(super) fn arguments(&self) -> String {
        let Some(raw) = self.function.as_ref().and_then(|function| function.arguments) else {
            return String::new();
        };
        match serde_json::from_str::<String>(raw.get()) {
            Ok(text) => text,
            Err(_) => raw.get().to_owned(),
        }
    }
}

fn word<'a>(word: &'a Option<Word<'_>>) -> Option<&'a str> {
    word.as_ref().map(|Word(word)| &**word).filter(|word| !word.is_empty())
}

/// A string that stays where it is if it can, or a number in its place. Of another type it is empty.
struct Word<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyWord;
        impl<'de> Visitor<'de> for AnyWord {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(text.into())
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(text.to_owned().into())
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(number.to_string().into())
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(number.to_string().into())
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok("".into())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok("".into())
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok("".into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                IgnoredAny.visit_seq(list).map(|_| "".into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                IgnoredAny.visit_map(map).map(|_| "".into())
            }
        }
        deserializer.deserialize_any(AnyWord).map(Word)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrItems;
        impl<'de> Visitor<'de> for TextOrItems {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list")
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Content, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Content::Items)
            }
        }
        deserializer.deserialize_any(TextOrItems)
    }
}

/// Adds what a server reports. What it leaves out stays as it was.
pub(super) fn add_usage(usage: &mut Usage, reported: &Value) {
    let count = |pointer: &str| {
        let value = reported.pointer(pointer)?;
        // A few servers write counts as decimals; a negative or a broken one is not a count.
        value.as_u64().or_else(|| value.as_f64().filter(|n| (0.0..9e15).contains(n)).map(|n| n as u64))
    };
    let prompt = count("/prompt_tokens");
    let completion = count("/completion_tokens");
    let cached = count("/prompt_tokens_details/cached_tokens")
        .or_else(|| count("/prompt_cache_hit_tokens"))
        .or_else(|| count("/cached_tokens"));
    let written = count("/prompt_tokens_details/cache_write_tokens")
        .or_else(|| count("/prompt_tokens_details/cache_creation_tokens"))
        .or_else(|| count("/prompt_tokens_details/cache_creation_input_tokens"))
        .or_else(|| count("/cache_creation_input_tokens"));
    let reasoning =
        count("/completion_tokens_details/reasoning_tokens").or_else(|| count("/reasoning_tokens"));
    // xAI leaves reasoning out of the completion; the total gives it away.
    let apart = match (prompt, completion, reasoning, count("/total_tokens")) {
        (Some(prompt), Some(completion), Some(reasoning), Some(total)) => {
            prompt.checked_add(completion).and_then(|sum| sum.checked_add(reasoning)) == Some(total)
        }
        _ => false,
    };
    let output = completion.map(|n| if apart { n + reasoning.unwrap_or(0) } else { n });
    // Prompt tokens count those of the cache here.
    let of_cache = cached.unwrap_or(0).saturating_add(written.unwrap_or(0));
    usage.input = prompt.map(|n| n.saturating_sub(of_cache)).or(usage.input);
    usage.output = output.or(usage.output);
    usage.reasoning = reasoning.or(usage.reasoning);
    usage.cache_read = cached.or(usage.cache_read);
    usage.cache_write = written.or(usage.cache_write);
}
