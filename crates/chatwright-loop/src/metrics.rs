//! Every series that a process tells a recorder of the `metrics` facade. Without a recorder they go nowhere.
//!
//! Labels are bounded: models are those that were asked here, at most [`MODELS_MAX`] of them, tools those that the host
//! registered, and everything else is one of a fixed few words. What a model invents is `unknown`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::metrics::{Label, SharedString, Unit};
use chatwright_core::error::Kind;
use chatwright_core::model::{ModelId, Usage};
use chatwright_core::port::timing::{ChatKind, Stage, TurnCategory};
use chatwright_core::port::{Event, Observer};
use chatwright_core::record::StopReason;
use parking_lot::RwLock;

/// Most models that have labels of their own; those that come later share `other`.
pub const MODELS_MAX: usize = 200;
/// Most bytes of a name in a label.
const NAME_BYTES_MAX: usize = 128;

const NANOS: u64 = 1_000_000_000;

const UNKNOWN: SharedString = SharedString::const_str("unknown");
const OTHER: SharedString = SharedString::const_str("other");

/// Buckets of counts of messages.
pub const MESSAGES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
/// Buckets of sizes of prompts, in bytes.
pub const PROMPT_BYTES: &[f64] =
    &[1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0, 268435456.0];
/// Buckets of sizes of results of tools, in bytes.
pub const RESULT_BYTES: &[f64] =
    &[64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0];
/// Buckets of the time to the first content, in seconds.
pub const FIRST_TOKEN_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Buckets of stages, in seconds.
pub const STAGE_SECONDS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
/// Buckets of what the time of a turn was spent on, in seconds.
pub const TURN_SECONDS: &[f64] = &[1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
/// Buckets of shares of a turn.
pub const SHARES: &[f64] = &[
    0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9,
    0.95, 1.0,
];

/// A series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// What is done with its values.
    pub kind: SeriesKind,
    /// What its values count.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// The buckets that a histogram should have: exporters are told by their host.
    pub buckets: &'static [f64],
    /// What it says.
    pub meaning: &'static str,
}

/// What is done with the values of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesKind {
    /// They are added.
    Counter,
    /// They are added and taken away.
    Gauge,
    /// They are sorted into buckets.
    Histogram,
}

macro_rules! series {
    ($($series:ident: $kind:ident $name:literal $unit:ident [$($label:literal),*] $buckets:expr, $meaning:literal;)*) => {
        $(const $series: Series = Series {
            name: $name,
            kind: SeriesKind::$kind,
            unit: Unit::$unit,
            labels: &[$($label),*],
            buckets: $buckets,
            meaning: $meaning,
        };)*

        /// Every series.
        pub const SERIES: &[Series] = &[$($series),*];
    };
}

series! {
    CHATS: Gauge "chatwright_chats" Count ["state"] &[],
        "Chats that the process holds: `streaming` while a model is being asked, else `waiting`.";
    MESSAGE_COUNT: Histogram "chatwright_message_count" Count ["provider", "model"] MESSAGES,
        "Messages of a prompt.";
    PROMPT_SIZE: Histogram "chatwright_prompt_size_bytes" Bytes ["provider", "model"] PROMPT_BYTES,
        "Text of a prompt.";
    RESULT_SIZE: Histogram "chatwright_tool_result_size_bytes" Bytes ["provider", "model", "tool_name"] RESULT_BYTES,
        "What a tool gave, before it was cut.";
    TOOL_ERRORS: Counter "chatwright_tool_errors_total" Count ["provider", "model", "tool_name"] &[],
        "Calls that ended with an error, or that were refused.";
    RESULT_TRUNCATED: Counter "chatwright_tool_result_truncated_total" Count ["provider", "model", "tool_name"] &[],
        "Results whose text was cut.";
    TTFT: Histogram "chatwright_ttft_seconds" Seconds ["provider", "model"] FIRST_TOKEN_SECONDS,
        "From a request to its first content. Warnings and signs of life are none.";
    COMPACTIONS: Counter "chatwright_compaction_total" Count ["provider", "model", "result"] &[],
        "Summaries that were asked for: `success`, `error`, `timeout`. One that was stopped or was not necessary does not count.";
    STEPS: Counter "chatwright_steps_total" Count ["provider", "model"] &[],
        "Answers that were stored.";
    RETRIES: Counter "chatwright_stream_retries_total" Count ["provider", "model", "kind"] &[],
        "Failed attempts that are made again, by the kind of the error.";
    REQUESTS: Counter "chatwright_requests_total" Count ["provider", "model", "purpose", "end"] &[],
        "Requests to providers: `turn`, `compaction`, `advisor`, `title`; `finished`, `failed`, `interrupted`, `aborted`.";
    TOKENS: Counter "chatwright_tokens_total" Count ["provider", "model", "purpose", "kind"] &[],
        "Tokens: `input` that no cache had, `cache_read`, `cache_write`, `output`; `reasoning` is a part of `output`.";
    ESTIMATED: Counter "chatwright_requests_estimated_total" Count ["provider", "model", "purpose"] &[],
        "Requests whose tokens are estimated, for the provider did not say.";
    WARNINGS: Counter "chatwright_warnings_total" Count ["provider", "model"] &[],
        "Warnings of providers and adapters.";
    PREVIEW_DROPPED: Counter "chatwright_stream_buffer_dropped_total" Count [] &[],
        "Answers of which the live log took only the beginning: its viewers saw the rest when it was stored.";
    STAGE_DURATION: Histogram "chatwright_stage_duration_seconds" Seconds ["stage", "scope", "chat_kind"] STAGE_SECONDS,
        "How long a stage took.";
    MODEL_STAGE_DURATION: Histogram "chatwright_model_stage_duration_seconds" Seconds
        ["stage", "provider", "model", "chat_kind"] STAGE_SECONDS,
        "The same of stages in which a model is asked or has called a tool.";
    TURN_TIME: Counter "chatwright_turn_time_seconds_total" Seconds ["category", "chat_kind"] &[],
        "What turns that came to their end spent their time on: categories are disjoint and sum to the turns.";
    TURNS: Counter "chatwright_turns_total" Count ["chat_kind"] &[],
        "Turns of which it is known what their time was spent on.";
    TURN_OUTCOMES: Counter "chatwright_turn_outcomes_total" Count ["outcome", "chat_kind"] &[],
        "Turns that ended: `completed`, `interrupted`, `error`, `abandoned` (its message was edited).";
    TURN_STAGE: Histogram "chatwright_turn_stage_seconds" Seconds ["stage", "chat_kind"] TURN_SECONDS,
        "The time of all stages of a kind in a turn; of tools, while any of them ran.";
    TURN_CATEGORY: Histogram "chatwright_turn_time_seconds" Seconds ["category", "chat_kind"] TURN_SECONDS,
        "What a turn spent its time on.";
    TURN_SHARE: Histogram "chatwright_turn_time_share" Count ["category", "chat_kind"] SHARES,
        "The same as a share of the turn, from 0 to 1.";
    ANOMALIES: Counter "chatwright_stage_anomalies_total" Count ["reason"] &[],
        "Turns that came to their end and have no times: `stale_anchor` (another process or a wait for a client was in between), `negative_elapsed`, `nonpositive_turn`.";
    COMMIT_TROUBLES: Counter "chatwright_commit_troubles_total" Count ["trouble"] &[],
        "Commits that did not land at once: `conflict`, or `unknown` for a store that did not answer.";
    DOORBELLS: Counter "chatwright_doorbell_failures_total" Count [] &[],
        "Commits of which the bus was not told. Whoever waits for them polls.";
    LEDGER_FAILURES: Counter "chatwright_ledger_failures_total" Count ["task"] &[],
        "What a ledger did not do: `open` (the request is not made), `close` (it is tried again).";
    INVALIDATIONS_LOST: Counter "chatwright_config_invalidations_lost_total" Count [] &[],
        "Changes of the configuration of which the bus was not told. Other processes see them when their caches are over.";
}

/// Describes every series to the recorder. Building a process does it; a recorder that is installed later needs it again.
pub fn describe() {
    for series in SERIES {
        let (name, unit, meaning) = (series.name, series.unit, series.meaning);
        match series.kind {
            SeriesKind::Counter => ::metrics::describe_counter!(name, unit, meaning),
            SeriesKind::Gauge => ::metrics::describe_gauge!(name, unit, meaning),
            SeriesKind::Histogram => ::metrics::describe_histogram!(name, unit, meaning),
        }
    }
}

/// The observer that every process has.
pub(crate) struct Metrics {
    tools: HashMap<Box<str>, SharedString>,
    models: RwLock<HashMap<ModelId, [SharedString; 2]>>,
    /// Nanoseconds of turns by category: a counter takes whole seconds, and what is left of one must not be lost.
    spent: [[AtomicU64; 2]; TurnCategory::ALL.len()],
}

impl Metrics {
    /// With tools of these names.
    pub(crate) fn new<'a>(tools: impl Iterator<Item = &'a str>) -> Self {
        let tools = tools.map(|name| (name.into(), label(name))).collect();
        Self { tools, models: RwLock::default(), spent: Default::default() }
    }

    fn tool(&self, name: Option<&str>) -> SharedString {
        name.and_then(|name| self.tools.get(name)).cloned().unwrap_or(UNKNOWN)
    }

    /// Its provider and its name.
    fn model(&self, model: &ModelId) -> [SharedString; 2] {
        if let Some(known) = self.models.read().get(model) {
            return known.clone();
        }
        let mut models = self.models.write();
        if models.len() >= MODELS_MAX {
            return [OTHER; 2];
        }
        let labels = || [label(&model.provider), label(&model.model)];
        models.entry(model.clone()).or_insert_with(labels).clone()
    }

    fn tokens(&self, model: &ModelId, purpose: &'static str, usage: &Usage) {
        let kinds = [
            ("input", usage.input),
            ("output", usage.output),
            ("reasoning", usage.reasoning),
            ("cache_read", usage.cache_read),
            ("cache_write", usage.cache_write),
        ];
        for (kind, count) in kinds {
            if let Some(count) = count.filter(|count| *count > 0) {
                let [provider, model] = self.model(model);
                add(TOKENS, count, [provider, model, purpose.into(), kind.into()]);
            }
        }
    }
}

impl Observer for Metrics {
    fn observe(&self, event: &Event<'_>) {
        match *event {
            Event::ActivityChanged { from, to, .. } => {
                for (activity, by) in [(from, -1.0), (to, 1.0)] {
                    if let Some(activity) = activity {
                        ::metrics::gauge!(CHATS.name, labels(CHATS, [activity.as_str().into()]))
                            .increment(by);
                    }
                }
            }
            Event::PromptBuilt { model, messages, bytes, .. } => {
                let names = self.model(model);
                record(MESSAGE_COUNT, messages as f64, names.clone());
                record(PROMPT_SIZE, bytes as f64, names);
            }
            Event::ToolEnded { name, model, is_error, bytes, truncated, .. } => {
                let [provider, model] = self.model(model);
                let names = [provider, model, self.tool(Some(name))];
                if is_error {
                    add(TOOL_ERRORS, 1, names.clone());
                }
                if truncated {
                    add(RESULT_TRUNCATED, 1, names.clone());
                }
                record(RESULT_SIZE, bytes as f64, names);
            }
            Event::ToolRefused { model, name, .. } => {
                let [provider, model] = self.model(model);
                add(TOOL_ERRORS, 1, [provider, model, self.tool(name)]);
            }
            Event::CompactionEnded { model, result, .. } => {
                let [provider, model] = self.model(model);
                add(COMPACTIONS, 1, [provider, model, result.as_str().into()]);
            }
            Event::StepStored { model, .. } => add(STEPS, 1, self.model(model)),
            Event::RetryScheduled { model, retry, .. } => {
                let [provider, model] = self.model(model);
                let kind = retry.kind.parse().map_or("unknown", Kind::as_str);
                add(RETRIES, 1, [provider, model, kind.into()]);
            }
            Event::RequestEnded { model, purpose, end, ref usage, estimated, .. } => {
                let [provider, name] = self.model(model);
                let purpose = purpose.as_str();
                if estimated {
                    add(ESTIMATED, 1, [provider.clone(), name.clone(), purpose.into()]);
                }
                add(REQUESTS, 1, [provider, name, purpose.into(), end.as_str().into()]);
                self.tokens(model, purpose, usage);
            }
            Event::Warned { model, warnings, .. } => add(WARNINGS, warnings.len() as u64, self.model(model)),
            Event::PreviewCut { .. } => add(PREVIEW_DROPPED, 1, []),
            Event::StageEnded { kind, stage, scope, model, took, .. } => {
                let (took, kind) = (took.as_secs_f64(), kind.as_str());
                record(STAGE_DURATION, took, [stage.as_str().into(), scope.as_str().into(), kind.into()]);
                if let Some(model) = model {
                    let [provider, model] = self.model(model);
                    if stage == Stage::TimeToFirstToken {
                        record(TTFT, took, [provider.clone(), model.clone()]);
                    }
                    record(MODEL_STAGE_DURATION, took, [stage.as_str().into(), provider, model, kind.into()]);
                }
            }
            Event::TurnEnded { reason, kind, .. } => {
                let outcome = match reason {
                    Some(StopReason::Interrupted) => "interrupted",
                    Some(_) => "completed",
                    None => "error",
                };
                add(TURN_OUTCOMES, 1, [outcome.into(), kind.as_str().into()]);
            }
            Event::TurnAbandoned { kind, .. } => {
                add(TURN_OUTCOMES, 1, ["abandoned".into(), kind.as_str().into()]);
            }
            Event::TurnTimed { kind, times, .. } => {
                let (kind, total) = (kind.as_str(), times.total().as_secs_f64());
                add(TURNS, 1, [kind.into()]);
                for (category, spent) in TurnCategory::ALL.iter().zip(&self.spent) {
                    let time = times.category(*category);
                    let labels = || [category.as_str().into(), kind.into()];
                    let spent = &spent[usize::from(kind == ChatKind::Root.as_str())];
                    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                    let before = spent.fetch_add(nanos, Ordering::Relaxed);
                    let seconds = (before.wrapping_add(nanos) / NANOS).saturating_sub(before / NANOS);
                    if seconds > 0 {
                        add(TURN_TIME, seconds, labels());
                    }
                    record(TURN_CATEGORY, time.as_secs_f64(), labels());
                    if total > 0.0 {
                        record(TURN_SHARE, time.as_secs_f64() / total, labels());
                    }
                }
                for stage in Stage::ALL {
                    let time = times.stage(*stage);
                    if !time.is_zero() {
                        record(TURN_STAGE, time.as_secs_f64(), [stage.as_str().into(), kind.into()]);
                    }
                }
            }
            Event::StageAnomaly { reason, .. } => add(ANOMALIES, 1, [reason.as_str().into()]),
            Event::CommitFailed { trouble, .. } => add(COMMIT_TROUBLES, 1, [trouble.as_str().into()]),
            Event::DoorbellFailed { .. } => add(DOORBELLS, 1, []),
            Event::LedgerFailed { task, .. } => add(LEDGER_FAILURES, 1, [task.as_str().into()]),
            _ => {}
        }
    }
}

fn add<const N: usize>(series: Series, by: u64, values: [SharedString; N]) {
    ::metrics::counter!(series.name, labels(series, values)).increment(by);
}

fn record<const N: usize>(series: Series, value: f64, values: [SharedString; N]) {
    ::metrics::histogram!(series.name, labels(series, values)).record(value);
}

/// The labels of a series with these values, in the order in which it is documented.
fn labels<const N: usize>(series: Series, values: [SharedString; N]) -> Vec<Label> {
    debug_assert_eq!(series.labels.len(), N, "{} has other labels", series.name);
    series.labels.iter().zip(values).map(|(name, value)| Label::new(*name, value)).collect()
}

fn label(name: &str) -> SharedString {
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    SharedString::from(Arc::<str>::from(&name[..end.unwrap_or_default()]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ::metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder};
    use chatwright_core::port::timing::LedgerTask;
    use chatwright_core::{ChatId, Gen, Seq, Uuid};
    use parking_lot::Mutex;

    use super::*;

    /// Keeps the keys of counters.
    #[derive(Default)]
    struct Keys(Mutex<BTreeSet<String>>);

    impl Recorder for Keys {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            self.0.lock().insert(key.to_string());
            Counter::noop()
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    fn chat() -> ChatId {
        ChatId::from_uuid(Uuid::nil())
    }

    #[test]
    fn models_without_end_make_labels_with_one() {
        let (metrics, keys) = (Metrics::new(["known"].into_iter()), Keys::default());
        ::metrics::with_local_recorder(&keys, || {
            for n in 0..2 * MODELS_MAX {
                let model = ModelId { provider: "p".into(), model: format!("m{n}").into() };
                let (r#gen, answer) = (Gen::new(1), Seq::new(1));
                metrics.observe(&Event::StepStored { chat: chat(), r#gen, answer, model: &model });
            }
        });
        let keys = keys.0.into_inner();
        assert_eq!(keys.len(), MODELS_MAX + 1);
        assert!(keys.iter().any(|key| key.contains("other")), "{keys:?}");
    }

    #[test]
    fn a_label_is_a_name_of_bounded_length_and_a_tool_one_that_is_registered() {
        let (metrics, keys) = (Metrics::new(["known"].into_iter()), Keys::default());
        let model = ModelId { provider: "p".into(), model: "é".repeat(1_000).into() };
        ::metrics::with_local_recorder(&keys, || {
            for name in [Some("known"), Some("invented"), None] {
                metrics.observe(&Event::ToolRefused { chat: chat(), model: &model, name });
            }
            metrics.observe(&Event::LedgerFailed { chat: chat(), task: LedgerTask::Open });
        });
        let keys = keys.0.into_inner();
        assert_eq!(keys.len(), 3, "{keys:?}");
        assert!(keys.iter().all(|key| key.len() < 400 && !key.contains("invented")), "{keys:?}");
        assert_eq!(keys.iter().filter(|key| key.contains("unknown")).count(), 1, "{keys:?}");
    }

    chatwright_conformance::observer!(Metrics::new(["a name"].into_iter()));
}
