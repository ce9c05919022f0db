//! What a list of runs shows of each.

use std::time::Duration;

use chatwright_core::Json;
use chatwright_core::debug::{DebugStatus, DebugStep};
use chatwright_core::model::Usage;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::doc::StepMetadata;

/// Most Unicode scalar values of [`Summary::first_message`].
pub const FIRST_MESSAGE_SCALARS_MAX: usize = 200;

/// What a list of runs shows of one. The numbers are sums over its steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Summary {
    /// What the user said, at most [`FIRST_MESSAGE_SCALARS_MAX`] characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_message: Option<Box<str>>,
    /// How many steps there are.
    pub step_count: u64,
    /// How many attempts it took.
    pub attempt_count: u64,
    /// Whether a step failed, or has an error and was not stopped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_error: bool,
    /// Where the first request went that was answered in full: method and path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_label: Option<Box<str>>,
    /// Tokens of prompts, those of caches included.
    pub total_input_tokens: u64,
    /// Tokens of answers, reasoning included.
    pub total_output_tokens: u64,
    /// Tokens of reasoning.
    #[serde(skip_serializing_if = "is_zero")]
    pub total_reasoning_tokens: u64,
    /// Tokens of prompts that were written to caches.
    #[serde(skip_serializing_if = "is_zero")]
    pub total_cache_creation_tokens: u64,
    /// Tokens of prompts that were read from caches.
    #[serde(skip_serializing_if = "is_zero")]
    pub total_cache_read_tokens: u64,
    /// From the start of the first step to the end of the last one that ended, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// How long models were asked for in all, in milliseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub model_ms: u64,
    /// From the first request to the first content of its answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_content_ms: Option<u64>,
    /// Whatever else the seed says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
    #[serde(skip)]
    span: Option<(i64, i64)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Summary {
    /// What is known of a run before its first step: what the user said.
    pub fn seed(first_message: &str) -> Self {
        let first_message = Some(label(first_message, FIRST_MESSAGE_SCALARS_MAX));
        let first_message = first_message.filter(|label| !label.is_empty()).map(Into::into);
        Self { first_message, ..Self::default() }
    }

    /// As a store has it. What it cannot be read as is as if there were nothing.
    pub fn from_json(stored: &Json) -> Self {
        stored.decode().unwrap_or_default()
    }

    /// As a store takes it.
    pub fn to_json(&self) -> Json {
        Json::encode(self).expect("names, numbers and JSON values encode")
    }

    /// Without what is summed up.
    pub(super) fn begin(&self) -> Self {
        Self { first_message: self.first_message.clone(), other: self.other.clone(), ..Self::default() }
    }

    /// Adds a step. What of it cannot be read adds nothing; the step counts all the same.
    pub(super) fn add(&mut self, step: &DebugStep) {
        self.step_count += 1;
        self.has_error |= match step.status {
            DebugStatus::Error => true,
            DebugStatus::Interrupted => false,
            _ => step.error.as_ref().is_some_and(|error| error.as_str() != "null"),
        };
        if let Some(usage) = &step.usage {
            match usage.decode::<Usage>() {
                Ok(usage) => self.add_usage(&usage),
                Err(error) => {
                    tracing::warn!(run = %step.run, step = step.number, %error, "what a step took cannot be read");
                }
            }
        }
        let metadata = step.metadata.as_ref().and_then(|json| json.decode::<StepMetadata>().ok());
        if let Some(metadata) = metadata {
            self.attempt_count += u64::from(metadata.attempts);
            self.model_ms += metadata.model_ms.unwrap_or(0);
            if step.number == 1 {
                self.first_content_ms = metadata.first_content_ms;
            }
            if self.endpoint_label.is_none() {
                self.endpoint_label = metadata.endpoint;
            }
        }
        if let Some(finished) = step.finished_at {
            let (start, end) = (step.started_at.as_millis(), finished.as_millis());
            let (start, end) = self.span.map_or((start, end), |span| (span.0.min(start), span.1.max(end)));
            self.span = Some((start, end));
            let millis = u64::try_from(end.saturating_sub(start)).unwrap_or(0);
            self.duration_ms = Some(millis);
        }
    }

    fn add_usage(&mut self, usage: &Usage) {
        let add = |sum: &mut u64, counts: &[Option<u64>]| {
            for count in counts.iter().copied().flatten() {
                *sum = sum.saturating_add(count);
            }
        };
        add(&mut self.total_input_tokens, &[usage.input, usage.cache_read, usage.cache_write]);
        add(&mut self.total_output_tokens, &[usage.output]);
        add(&mut self.total_reasoning_tokens, &[usage.reasoning]);
        add(&mut self.total_cache_creation_tokens, &[usage.cache_write]);
        add(&mut self.total_cache_read_tokens, &[usage.cache_read]);
    }

    /// How long it took, if a step has ended.
    pub fn duration(&self) -> Option<Duration> {
        self.duration_ms.map(Duration::from_millis)
    }
}

/// A text on one line: white space becomes one space, and what is longer than `max` characters ends with "…", within these.
pub fn label(text: &str, max: usize) -> String {
    let mut line = String::new();
    // No more than this can be shown, and texts may be long.
    let mut room = max.saturating_add(1);
    for word in text.split_whitespace() {
        if room == 0 {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
            room -= 1;
        }
        let taken = word.chars().take(room);
        line.extend(taken.inspect(|_| room -= 1));
    }
    if line.chars().count() <= max {
        return line;
    }
    if max == 0 {
        return String::new();
    }
    let mut cut: String = line.chars().take(max - 1).collect();
    cut.push('…');
    cut
}
