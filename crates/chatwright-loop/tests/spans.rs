//! The spans of a turn: their names, how they stand in each other, and what is never in them.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chatwright_core::content::Output;
use chatwright_core::error::{Cause, Failure};
use chatwright_core::head::Status;
use chatwright_core::model::{Finish, FinishReason, ModelPart, Role, Usage};
use chatwright_core::port::Tool;
use chatwright_core::tool::{Effect, ToolCall, ToolSpec};
use chatwright_loop::gen_ai::{self, SPANS};
use chatwright_loop::{Chats, Settings};
use chatwright_retry::Jitter;

use common::recorder::{Seen, Spans, Values};
use common::{RuleModel, World, call, new_chat, text, until, work};

const SECRET: &str = "hunter2";

/// Gives the secret back.
struct Leaky;

#[async_trait]
impl Tool for Leaky {
    fn spec(&self) -> ToolSpec {
        let schema = serde_json::json!({"type": "object", "description": SECRET});
        ToolSpec::new("leaky", SECRET, schema, Effect::Pure)
    }

    async fn call(&self, _: ToolCall) -> Output {
        Output::error(SECRET)
    }
}

/// Fails, calls a tool, and answers, with the secret in everything that it can say.
fn model() -> Arc<RuleModel> {
    let failed = std::sync::atomic::AtomicBool::new(false);
    RuleModel::new(move |prompt| {
        if !failed.swap(true, std::sync::atomic::Ordering::SeqCst) {
            let failure = Failure::new("openai", Cause::Status).with_status(503).with_body(SECRET);
            return vec![ModelPart::Warnings(vec![SECRET.to_owned()]), ModelPart::Failure(Box::new(failure))];
        }
        let mut parts = text(SECRET);
        let reason = match prompt.last().map(|message| message.role) {
            Some(Role::Tool) => FinishReason::Stop,
            _ => {
                parts.push(call("call_1", "leaky", &format!(r#"{{"key":"{SECRET}"}}"#)));
                parts.push(call("call_2", SECRET, "{}"));
                FinishReason::ToolCalls
            }
        };
        let usage = Usage { input: Some(10), output: Some(7), cache_read: Some(90), ..Usage::default() };
        let response_id = Some("resp_1".into());
        parts.push(ModelPart::Finish(Finish { reason, usage, response_id, ..Finish::default() }));
        parts
    })
}

async fn seen() -> (Spans, Values, String) {
    let (spans, values) = (Spans::default(), Values::default());
    let _told = tracing::subscriber::set_default(spans.clone());
    let _recorded = metrics::set_default_local_recorder(&values);
    let mut settings = Settings::default();
    settings.rules.retry.jitter = Jitter::NONE;
    let ports = World::new().ports(model(), vec![Arc::new(Leaky)]);
    let chats = Chats::new(ports, settings).expect("a valid setup");
    let worker = work(&chats);
    let mut new = new_chat(SECRET);
    new.system = Some(SECRET.to_owned());
    new.key = Some(SECRET.to_owned());
    let (chat, _) = chats.create(new).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    drop(worker);
    drop(_recorded);
    (spans, values, chat.to_string())
}

fn field<'a>(span: &'a Seen, name: &str) -> Option<&'a str> {
    span.fields.get(name).map(String::as_str)
}

#[tokio::test(start_paused = true)]
async fn a_turn_has_spans_with_the_names_of_the_convention() {
    let (spans, _, chat) = seen().await;
    let turns = spans.named(gen_ai::TURN_SPAN);
    assert_eq!(turns.len(), 1);
    assert_eq!(field(&turns[0], "gen_ai.operation.name"), Some("invoke_agent"));
    assert_eq!(field(&turns[0], "gen_ai.conversation.id"), Some(&*chat));
    assert_eq!(field(&turns[0], "chatwright.chat.kind"), Some("root"));
    assert_eq!(spans.named(gen_ai::STEP_SPAN).len(), 3);
    let attempts = spans.named(gen_ai::ATTEMPT_SPAN);
    assert_eq!(attempts.len(), 3);
    for attempt in &attempts {
        assert_eq!(field(attempt, "gen_ai.operation.name"), Some("chat"));
        assert_eq!(field(attempt, "gen_ai.provider.name"), Some("rule"));
        assert_eq!(field(attempt, "gen_ai.request.model"), Some("one"));
        assert_eq!(field(attempt, "gen_ai.conversation.id"), Some(&*chat));
        assert_eq!(field(attempt, "chatwright.purpose"), Some("turn"));
        let path = [gen_ai::ATTEMPT_SPAN, gen_ai::STEP_SPAN, gen_ai::TURN_SPAN];
        assert_eq!(spans.path(attempt), path);
    }
    assert_eq!(field(&attempts[0], "error.type"), Some("timeout"));
    assert_eq!(field(&attempts[0], "gen_ai.response.id"), None);
    for (attempt, reason) in attempts[1..].iter().zip(["tool_calls", "stop"]) {
        assert_eq!(field(attempt, "error.type"), None);
        assert_eq!(field(attempt, "gen_ai.response.id"), Some("resp_1"));
        assert_eq!(field(attempt, "gen_ai.response.finish_reasons"), Some(&*format!("[{reason:?}]")));
        assert_eq!(field(attempt, "gen_ai.usage.input_tokens"), Some("100"));
        assert_eq!(field(attempt, "gen_ai.usage.output_tokens"), Some("7"));
        assert_eq!(field(attempt, "gen_ai.usage.cache_read.input_tokens"), Some("90"));
    }
    let tools = spans.named(gen_ai::TOOL_SPAN);
    assert_eq!(tools.len(), 1, "what is refused does not run");
    assert_eq!(field(&tools[0], "gen_ai.operation.name"), Some("execute_tool"));
    assert_eq!(field(&tools[0], "gen_ai.tool.name"), Some("leaky"));
    assert_eq!(field(&tools[0], "gen_ai.tool.call.id"), Some("call_1"));
    assert_eq!(field(&tools[0], "error.type"), Some("tool_error"));
    assert_eq!(spans.path(&tools[0]), [gen_ai::TOOL_SPAN, gen_ai::TURN_SPAN]);
}

#[tokio::test(start_paused = true)]
async fn every_span_is_documented_and_closed() {
    let (spans, ..) = seen().await;
    let all: Vec<Seen> = spans.seen.lock().values().cloned().collect();
    let names: BTreeSet<&str> = all.iter().map(|seen| seen.name).collect();
    assert_eq!(names, SPANS.iter().map(|span| span.name).collect());
    for seen in &all {
        let span = SPANS.iter().find(|span| span.name == seen.name).expect("documented");
        assert_eq!(seen.declared, span.fields.iter().copied().collect(), "{}", seen.name);
        assert_eq!(seen.level, span.level.to_string(), "{}", seen.name);
        assert!(seen.is_closed, "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stage_has_as_many_spans_as_observations() {
    let (spans, values, _) = seen().await;
    let told = values.of("chatwright_stage_duration_seconds");
    let told =
        |stage: &str| told.iter().filter(|(labels, _)| labels[0] == stage).map(|(_, kept)| kept.len()).sum();
    let staged = |stage: &str| {
        let named = spans.named(gen_ai::STAGE_SPAN);
        named.iter().filter(|span| field(span, gen_ai::STAGE) == Some(stage)).count()
    };
    for stage in ["prepare", "stream", "commit", "retry_backoff"] {
        let count: usize = told(stage);
        assert!(count > 0 && staged(stage) == count, "{stage}: {count} and {}", staged(stage));
    }
    // The attempt that failed without a word has a window that was cut off: a span and no observation.
    assert_eq!((told("time_to_first_token"), staged("time_to_first_token")), (2_usize, 3));
    assert_eq!((told("generation_step"), told("tool_call")), (3_usize, 1_usize));
}

#[tokio::test(start_paused = true)]
async fn no_word_of_a_prompt_an_answer_arguments_or_a_key_is_in_spans_or_labels() {
    let (spans, values, _) = seen().await;
    let all = format!("{:?}", spans.seen.lock());
    assert!(all.contains("leaky") && !all.contains(SECRET), "{all}");
    assert!(!values.text().contains(SECRET), "{}", values.text());
}
