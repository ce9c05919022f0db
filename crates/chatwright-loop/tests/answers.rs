//! What the loop makes of an answer by how it ends.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chatwright_core::ChatId;
use chatwright_core::content::{Metadata, Part};
use chatwright_core::head::{State, Status};
use chatwright_core::model::{Finish, FinishReason, ModelPart, Usage};
use chatwright_core::port::{Event, Observer};
use chatwright_core::record::{AttemptEnded, AttemptFailed, Body, Outcome, StopReason};
use chatwright_core::tool::Effect;
use chatwright_loop::{Chats, Settings};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use common::{
    CountTool, RuleModel, World, call, finish, new_chat, records, say, text, transcript, until, work,
};

/// Gives these parts first, and then a plain answer. It counts its calls.
fn first(parts: Vec<ModelPart>) -> (Arc<RuleModel>, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let model = RuleModel::new(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => parts.clone(),
        _ => say("At last."),
    });
    (model, calls)
}

async fn bodies(chats: &Chats, chat: ChatId) -> Vec<Body> {
    records(chats, chat).await.into_iter().map(|record| record.open().expect("ours").body).collect()
}

async fn failed_attempts(chats: &Chats, chat: ChatId) -> Vec<AttemptFailed> {
    let failed = |body| if let Body::AttemptFailed(failed) = body { Some(failed) } else { None };
    bodies(chats, chat).await.into_iter().filter_map(failed).collect()
}

async fn reason(chats: &Chats, chat: ChatId) -> Option<StopReason> {
    match bodies(chats, chat).await.pop() {
        Some(Body::TurnEnded(ended)) => Some(ended.reason),
        _ => None,
    }
}

fn thought(words: &str) -> ModelPart {
    ModelPart::ReasoningDelta { id: "r".into(), delta: words.to_owned(), metadata: Metadata::new() }
}

fn words(words: &str) -> ModelPart {
    ModelPart::TextDelta { id: "t".into(), delta: words.to_owned() }
}

/// The end of a text that has no words and yet is kept, for its provider wants it back.
fn signature() -> ModelPart {
    let metadata = Metadata::from([("google".into(), serde_json::json!({"thought_signature": "x"}))]);
    ModelPart::TextEnd { id: "t".into(), metadata }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_words_that_nobody_meant_is_tried_again() {
    use FinishReason::{Error, Other, ToolCalls, Unknown};
    for (parts, end) in [
        (vec![], Unknown),
        (vec![thought("hm")], Unknown),
        (vec![words("")], Unknown),
        (vec![words(" \n")], Unknown),
        (vec![signature()], Unknown),
        (vec![], ToolCalls),
        (vec![thought("I should call")], Other),
        (vec![], Error),
        // What the provider itself calls broken is no answer, however much of it came.
        (vec![words("Half of it")], Error),
    ] {
        let world = World::new();
        let (model, calls) = first([parts.clone(), vec![finish(end)]].concat());
        let chats = world.process_with(model, vec![]);
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
        until(&chats, chat, Status::Waiting).await;
        let told = format!("{parts:?} and {end:?}");
        assert_eq!(transcript(&chats, chat).await, ["user: hello", "model: At last."], "{told}");
        assert_eq!(calls.load(Ordering::SeqCst), 2, "{told}");
        let failed = failed_attempts(&chats, chat).await.pop().expect("it is told");
        assert_eq!((&*failed.error.kind, failed.error.retryable), ("generic", true), "{told}");
        assert_eq!(failed.error.provider.as_deref(), Some("rule"), "{told}");
        let detail = failed.error.detail.expect("the reason of the end");
        assert!(detail.contains(&format!("{end:?}")), "{detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_ends_with_less_than_an_answer_says_why() {
    use FinishReason::{ContentFilter, Length, Stop, ToolCalls, Unknown};
    for (parts, end, expected) in [
        (vec![], Stop, StopReason::Empty),
        (vec![thought("hm")], Stop, StopReason::Empty),
        (vec![words("\n")], Stop, StopReason::Empty),
        (vec![signature()], Stop, StopReason::Empty),
        (vec![], Length, StopReason::Length),
        (vec![words("Once upon")], Length, StopReason::Length),
        (vec![], ContentFilter, StopReason::ContentFilter),
        (vec![words("Take")], ContentFilter, StopReason::ContentFilter),
        (vec![words("All of it.")], Unknown, StopReason::Complete),
        (vec![words("All of it.")], ToolCalls, StopReason::Complete),
        (vec![words("x".repeat(200).as_str())], Stop, StopReason::OutputLimit),
        (vec![call("c", "a", r#"{"n":1}"#)], ToolCalls, StopReason::StepLimit),
    ] {
        let world = World::new();
        let (model, calls) = first([parts.clone(), vec![finish(end)]].concat());
        let tool = CountTool::new("a", Effect::Pure);
        let mut settings = Settings::default();
        (settings.attempt_bytes_max, settings.rules.steps_max) = (100, 1);
        let chats = Chats::new(world.ports(model, vec![tool]), settings).expect("a valid setup");
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
        until(&chats, chat, Status::Waiting).await;
        let told = format!("{parts:?} and {end:?}");
        assert_eq!(reason(&chats, chat).await, Some(expected), "{told}");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{told}");
        // A list of chats shows it too.
        let state: State = chats.head(chat).await.expect("there").state.decode().expect("ours");
        assert_eq!(state.last.is_none(), expected == StopReason::Complete, "{told}: {:?}", state.last);
    }
}

#[tokio::test(start_paused = true)]
async fn whole_calls_are_run_whatever_the_provider_calls_the_end_unless_the_answer_was_cut() {
    use FinishReason::{ContentFilter, Error, Length, Other, Stop, ToolCalls, Unknown};
    for (end, runs) in [
        (Stop, true),
        (ToolCalls, true),
        (Other, true),
        (Unknown, true),
        (Error, true),
        (Length, false),
        (ContentFilter, false),
    ] {
        let world = World::new();
        let (model, calls) = first(vec![call("c", "a", r#"{"n":1}"#), finish(end)]);
        let tool = CountTool::new("a", Effect::Once);
        let chats = world.process_with(model, vec![tool.clone()]);
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
        until(&chats, chat, Status::Waiting).await;
        let lines = transcript(&chats, chat).await;
        assert_eq!((tool.started(), calls.load(Ordering::SeqCst)), (runs.into(), 1 + usize::from(runs)));
        let result =
            if runs { "tool 0: a 0" } else { "tool 0: The call was cancelled because the turn ended." };
        assert_eq!(lines[2], result, "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_came_whole_is_neither_run_nor_kept() {
    let world = World::new();
    let half = [
        words("Let me see."),
        ModelPart::ToolInputStart { id: "c".into(), name: "a".into(), provider_executed: false },
        ModelPart::ToolInputDelta { id: "c".into(), delta: r#"{"n":1}"#.into() },
        finish(FinishReason::Length),
    ];
    let (model, _) = first(half.to_vec());
    let tool = CountTool::new("a", Effect::Once);
    let chats = world.process_with(model, vec![tool.clone()]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(tool.started(), 0);
    let Some(Body::MessageAssistant(message)) =
        bodies(&chats, chat).await.into_iter().find(|body| matches!(body, Body::MessageAssistant(_)))
    else {
        panic!("what was said is kept")
    };
    assert_eq!(message.content, [Part::text("Let me see.")]);
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_took_is_stored_as_its_provider_told_it_or_as_an_estimate() {
    let usage = Usage {
        input: Some(11),
        output: Some(7),
        reasoning: Some(3),
        cache_read: Some(1_000),
        cache_write: Some(0),
    };
    // "hello" and "Hi.", at three bytes a token.
    let guess = Usage { input: Some(2), output: Some(1), ..Usage::default() };
    for (told, kept, estimated) in [(usage, usage, false), (Usage::default(), guess, true)] {
        let world = World::new();
        let end = Finish { reason: FinishReason::Stop, usage: told, ..Finish::default() };
        let (model, _) = first([text("Hi."), vec![ModelPart::Finish(end)]].concat());
        let chats = world.process_with(model, vec![]);
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
        until(&chats, chat, Status::Waiting).await;
        let ended = bodies(&chats, chat).await.into_iter().find_map(|body| match body {
            Body::AttemptEnded(ended) => Some(ended),
            _ => None,
        });
        let Some(AttemptEnded { outcome: Outcome::Committed, usage, estimated: stored, .. }) = ended else {
            panic!("it ended well: {ended:?}")
        };
        assert_eq!((usage, stored), (kept, estimated));
    }
}

/// Keeps what providers warned of.
#[derive(Default)]
struct Warnings(Mutex<Vec<Vec<String>>>);

impl Observer for Warnings {
    fn observe(&self, event: &Event<'_>) {
        if let Event::Warned { warnings, .. } = event {
            self.0.lock().push(warnings.to_vec());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_warns_of_is_told() {
    let world = World::new();
    let warned = ModelPart::Warnings(vec!["top_k is left out".into(), "so is seed".into()]);
    let (model, _) = first([vec![warned], say("Hi.")].concat());
    let warnings = Arc::new(Warnings::default());
    let mut ports = world.ports(model, vec![]);
    ports.observers = vec![warnings.clone()];
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(transcript(&chats, chat).await, ["user: hello", "model: Hi."]);
    assert_eq!(*warnings.0.lock(), [["top_k is left out", "so is seed"]]);
}

/// Keeps which ends were told.
#[derive(Default)]
struct Ends(Mutex<Vec<String>>);

impl Observer for Ends {
    fn observe(&self, event: &Event<'_>) {
        self.0.lock().push(match event {
            Event::AttemptEnded { r#gen, .. } => format!("attempt of {gen}"),
            Event::StepStored { r#gen, answer, .. } => format!("step of {gen} at {answer}"),
            Event::TurnEnded { .. } => "turn".to_owned(),
            Event::ActivityChanged { to: None, .. } => "chat".to_owned(),
            _ => return,
        });
    }
}

#[tokio::test(start_paused = true)]
async fn what_ends_is_told_before_what_it_is_part_of() {
    let world = World::new();
    let (model, _) = first(say("Hi."));
    let ends = Arc::new(Ends::default());
    let mut ports = world.ports(model, vec![]);
    ports.observers = vec![ends.clone()];
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    timeout(Duration::from_secs(60), async {
        while ends.0.lock().last().is_none_or(|last| last != "chat") {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the chat rests");
    let stored = records(&chats, chat).await;
    let (r#gen, answer) = stored
        .iter()
        .find_map(|record| match record.open().expect("ours").body {
            Body::MessageAssistant(message) => Some((message.r#gen, record.seq)),
            _ => None,
        })
        .expect("there is an answer");
    let expected =
        [format!("attempt of {gen}"), format!("step of {gen} at {answer}"), "turn".into(), "chat".into()];
    assert_eq!(*ends.0.lock(), expected);
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_as_it_is_stored_and_is_cut_before_no_commit_takes_it() {
    let world = World::new();
    // Each character takes two bytes in a record.
    let line = words(&"\"\n".repeat(25_000));
    let (model, _) = first([vec![line; 60], vec![finish(FinishReason::Stop)]].concat());
    let chats = world.process_with(model, vec![]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(reason(&chats, chat).await, Some(StopReason::OutputLimit));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_stored_is_an_error_that_says_what_it_cost() {
    let world = World::new();
    let metadata = Metadata::from([("p".into(), serde_json::json!({"signature": "x".repeat(1_200_000)}))]);
    let usage = Usage { input: Some(7), output: Some(9), ..Usage::default() };
    let end = ModelPart::Finish(Finish { reason: FinishReason::Stop, usage, ..Finish::default() });
    let thought = ModelPart::ReasoningDelta { id: "r".into(), delta: "hm".to_owned(), metadata };
    let (model, calls) = first(vec![thought, words("Hi."), end]);
    let chats = world.process_with(model, vec![]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Error).await;
    let failed = failed_attempts(&chats, chat).await.pop().expect("it is told");
    assert_eq!((failed.usage, calls.load(Ordering::SeqCst)), (usage, 1));
    assert!(failed.error.message.contains("could not be stored"), "{failed:?}");
}
