//! A stop, and a shutdown, at any moment of a turn.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::ChatId;
use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::frame::Resume;
use chatwright_core::head::{Status, Title};
use chatwright_core::live::BlockKind;
use chatwright_core::model::{FinishReason, ModelPart, Role};
use chatwright_core::port::Tool;
use chatwright_core::record::{Body, MessageAssistant, ResultOrigin};
use chatwright_core::tool::{Effect, ToolCall, ToolSpec};
use chatwright_core::view::View;
use chatwright_loop::{Chats, NewMessage, NewSettings, Settings};
use chatwright_memory::MemoryBus;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use common::doors::{At, Staged, Then};
use common::{
    RuleModel, World, call, check_log, finish, new_chat, records, say, stall, transcript, until, words_of,
    work,
};

async fn messages(chats: &Chats, chat: ChatId) -> Vec<MessageAssistant> {
    let bodies = records(chats, chat).await.into_iter().map(|record| record.open().expect("ours").body);
    bodies
        .filter_map(|body| if let Body::MessageAssistant(message) = body { Some(message) } else { None })
        .collect()
}

fn thought(delta: &str) -> ModelPart {
    ModelPart::ReasoningDelta { id: "r".into(), delta: delta.to_owned(), metadata: Metadata::new() }
}

fn words(delta: &str) -> ModelPart {
    ModelPart::TextDelta { id: "t".into(), delta: delta.to_owned() }
}

/// An answer of thoughts, text and a call whose arguments stream, about a part a millisecond.
fn long_answer() -> Vec<ModelPart> {
    let mut parts: Vec<ModelPart> =
        "Let me think, naïvely. ".chars().map(|c| thought(&c.to_string())).collect();
    parts.push(ModelPart::ReasoningEnd { id: "r".into(), metadata: Metadata::new() });
    parts.extend("Ça va: 😀 I shall look. ".chars().map(|c| words(&c.to_string())));
    parts.push(ModelPart::ToolInputStart { id: "c".into(), name: "a".into(), provider_executed: false });
    let input = r#"{"n":1,"why":"because"}"#;
    parts.extend(input.chars().map(|c| ModelPart::ToolInputDelta { id: "c".into(), delta: c.to_string() }));
    parts.push(call("c", "a", input));
    parts.push(finish(FinishReason::ToolCalls));
    parts
}

/// What a viewer is shown of an answer that is not stored yet: thoughts, and text.
fn shown(view: &View) -> (String, String) {
    let blocks = view.transcript().preview.iter().flat_map(|preview| &preview.blocks);
    let of =
        |kind| blocks.clone().filter(|block| block.kind == kind).map(|block| block.text.as_str()).collect();
    (of(BlockKind::Reasoning), of(BlockKind::Text))
}

fn stored(content: &[Part]) -> (String, String) {
    let (mut thoughts, mut said) = (String::new(), String::new());
    for part in content {
        match part {
            Part::Reasoning { text, .. } => thoughts.push_str(text),
            Part::Text { text, .. } => said.push_str(text),
            other => panic!("nobody will run it: {other:?}"),
        }
    }
    (thoughts, said)
}

#[tokio::test(start_paused = true)]
async fn a_stop_at_any_moment_keeps_at_least_what_any_viewer_saw() {
    let (mut in_thoughts, mut in_text, mut in_call) = (0, 0, 0);
    for ms in (1..75).step_by(2) {
        let world = World::new();
        let chats = world.process_with(RuleModel::new(|_| long_answer()), vec![]);
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
        let mut events = chats.events(chat, Resume::Nothing).await.expect("there");
        let mut view = View::new();
        // What comes in time, and what was on its way.
        let mut seen = (String::new(), String::new());
        let follow = async {
            loop {
                view.apply(&events.next().await.expect("the stream goes on"));
                let (thoughts, said) = shown(&view);
                (seen.0, seen.1) =
                    (std::mem::take(&mut seen.0).max(thoughts), std::mem::take(&mut seen.1).max(said));
            }
        };
        timeout(Duration::from_millis(ms), follow).await.expect_err("it goes on");
        chats.interrupt(chat, None).await.expect("it runs");
        until(&chats, chat, Status::Waiting).await;
        let messages = messages(&chats, chat).await;
        check_log(&records(&chats, chat).await);
        if messages.is_empty() {
            assert_eq!(seen, (String::new(), String::new()), "stopped after {ms} ms");
            continue;
        }
        assert!(messages[0].interrupted, "stopped after {ms} ms");
        let (thoughts, said) = stored(&messages[0].content);
        assert!(
            thoughts.starts_with(&seen.0) && said.starts_with(&seen.1),
            "{seen:?} after {ms} ms: {messages:?}"
        );
        assert!(
            "Let me think, naïvely. ".starts_with(&thoughts) && "Ça va: 😀 I shall look. ".starts_with(&said)
        );
        match (seen.1.as_str(), &*said) {
            ("", "") => in_thoughts += 1,
            (_, "Ça va: 😀 I shall look. ") => in_call += 1,
            _ => in_text += 1,
        }
    }
    assert!(in_thoughts > 3 && in_text > 3 && in_call > 3, "{in_thoughts}, {in_text}, {in_call}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_ends_before_it_learns_of_the_stop_is_kept_whole_and_its_calls_are_answered() {
    let world = World::new();
    let staged = Staged::new(world.store.clone());
    let mut ports = world.ports(RuleModel::new(|_| long_answer()), vec![]);
    ports.chats = staged.clone();
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let mut sealing = staged.stop(At::Before("attempt.ended"));
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    sealing.reached().await;
    chats.interrupt(chat, None).await.expect("it runs");
    sealing.then(Then::GoOn);
    until(&chats, chat, Status::Waiting).await;
    let messages = messages(&chats, chat).await;
    assert!(!messages[0].interrupted && messages[0].content.len() == 3, "{messages:?}");
    let lines = transcript(&chats, chat).await;
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[2].starts_with("tool 0: "), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_search_that_a_stop_cuts_gets_no_result_that_its_provider_did_not_give() {
    let world = World::new();
    let mut parts = vec![
        words("Let me search. "),
        ModelPart::ToolCall {
            id: "s".into(),
            name: "web_search".into(),
            input: "{}".into(),
            provider_executed: true,
            metadata: Metadata::new(),
        },
    ];
    parts.extend(stall(""));
    let model = RuleModel::new(move |prompt| match prompt.len() {
        1 => parts.clone(),
        _ => say("Never mind."),
    });
    let chats = world.process_with(model.clone(), vec![]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    sleep(Duration::from_secs(1)).await;
    let mut next = NewMessage::text("go on");
    next.busy = chatwright_loop::Busy::Interrupt;
    chats.send(chat, next).await.expect("accepted");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(
        transcript(&chats, chat).await,
        ["user: hello", "model: Let me search.  (stopped)", "user: go on", "model: Never mind."]
    );
    assert!(model.prompts.lock()[1].iter().all(|message| message.role != Role::Tool), "nothing is made up");
}

/// How a tool takes a cancellation.
#[derive(Clone, Copy)]
enum Manners {
    /// It does not hear it.
    Deaf,
    /// It ends so many milliseconds later, and says that it was cancelled.
    Slow(u64),
    /// It is done after so many milliseconds, whatever happens.
    Done(u64),
}

struct Polite {
    name: &'static str,
    effect: Effect,
    manners: Manners,
}

#[async_trait]
impl Tool for Polite {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(self.name, "waits", json!({"type": "object"}), self.effect)
    }

    async fn call(&self, mut call: ToolCall) -> Output {
        match self.manners {
            Manners::Deaf => std::future::pending().await,
            Manners::Done(ms) => sleep(Duration::from_millis(ms)).await,
            Manners::Slow(ms) => {
                call.cancel.canceled().await;
                sleep(Duration::from_millis(ms)).await;
                return Output::error("I was cancelled.");
            }
        }
        Output::text("done")
    }
}

fn polite(name: &'static str, effect: Effect, manners: Manners) -> Arc<dyn Tool> {
    Arc::new(Polite { name, effect, manners })
}

/// Calls these tools with thoughts and words before, and then says what they said.
fn calling(names: &'static [&'static str]) -> Arc<RuleModel> {
    RuleModel::new(move |prompt| match prompt.iter().rfind(|message| message.role == Role::Tool) {
        Some(results) => say(&results.content.iter().map(words_of).collect::<String>()),
        None => {
            let calls = names.iter().enumerate().map(|(n, name)| call(&format!("c{n}"), name, "{}"));
            [thought("hm"), words("On it.")]
                .into_iter()
                .chain(calls)
                .chain([finish(FinishReason::ToolCalls)])
                .collect()
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_tools_no_longer_than_their_grace_and_every_call_has_a_result() {
    for (effect, manners, origin, words, grace) in [
        (Effect::Pure, Manners::Deaf, ResultOrigin::Canceled, "The call was cancelled", true),
        (Effect::Idempotent, Manners::Deaf, ResultOrigin::OutcomeUnknown, "The outcome of this call", true),
        (Effect::Once, Manners::Deaf, ResultOrigin::OutcomeUnknown, "The outcome of this call", true),
        (Effect::Once, Manners::Slow(4_900), ResultOrigin::Tool, "I was cancelled.", true),
        (Effect::Pure, Manners::Slow(5_100), ResultOrigin::Canceled, "The call was cancelled", true),
        (Effect::Once, Manners::Done(1_500), ResultOrigin::Tool, "done", false),
    ] {
        let world = World::new();
        let chats = world.process_with(calling(&["a"]), vec![polite("a", effect, manners)]);
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("go")).await.expect("created");
        sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        chats.interrupt(chat, None).await.expect("it runs");
        until(&chats, chat, Status::Waiting).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(if grace { 5_100 } else { 600 }), "{words}: {took:?}");
        let mut results = Vec::new();
        for record in records(&chats, chat).await {
            if let Body::ToolResults(found) = record.open().expect("ours").body {
                results.extend(found.results);
            }
        }
        assert_eq!(results.len(), 1, "{results:?}");
        let said = match &results[0].output {
            Output::Text { text } | Output::Error { text } => text,
            other => panic!("{other:?}"),
        };
        assert!(results[0].origin == origin && said.starts_with(words), "{results:?}");
        let messages = messages(&chats, chat).await;
        assert_eq!(messages.len(), 1, "the model is not asked again");
        assert_eq!(messages[0].content.len(), 3, "thought, text and call stay: {messages:?}");
        check_log(&records(&chats, chat).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_at_any_moment_puts_no_word_of_an_interrupt_into_a_chat() {
    // The tools hear that they are cancelled and say so at once: that is for whoever stopped them, not for the model.
    let first_tools = || {
        vec![
            polite("read", Effect::Pure, Manners::Slow(0)),
            polite("put", Effect::Idempotent, Manners::Slow(1)),
            polite("pay", Effect::Once, Manners::Slow(0)),
        ]
    };
    let tools = || {
        [("read", Effect::Pure), ("put", Effect::Idempotent), ("pay", Effect::Once)]
            .map(|(name, effect)| polite(name, effect, Manners::Done(5)))
            .to_vec()
    };
    let (mut early, mut unknown) = (0, 0);
    for names in [&["read"][..], &["put"], &["pay"], &["read", "pay", "put"]] {
        for ms in (0..60).step_by(4) {
            let world = World::new();
            let mut settings = Settings::default();
            settings.drain_grace = Duration::from_millis(20);
            let first =
                Chats::new(world.ports(calling(names), first_tools()), settings).expect("a valid setup");
            let (chat, _) = first.create(new_chat("go")).await.expect("created");
            let worker = first.worker();
            timeout(Duration::from_secs(5), worker.run(sleep(Duration::from_millis(ms))))
                .await
                .expect("it ends");
            let head = first.head(chat).await.expect("there");
            assert_eq!((head.holder, head.index.status), (None, Status::Running), "{names:?} after {ms} ms");
            early += usize::from(transcript(&first, chat).await.len() == 1);

            let second = world.process_with(calling(names), tools());
            let mut workers = JoinSet::new();
            let worker = second.worker();
            workers.spawn(async move { worker.run(std::future::pending()).await });
            until(&second, chat, Status::Waiting).await;
            let lines = transcript(&second, chat).await;
            let whole = format!("{lines:#?} {names:?} after {ms} ms");
            assert_eq!(lines.iter().filter(|line| line.starts_with("tool ")).count(), names.len(), "{whole}");
            for line in lines.iter().filter(|line| line.starts_with("tool ")) {
                let is_unknown = line.contains("The outcome of this call is unknown");
                assert!(line.ends_with(": done") || is_unknown && names.contains(&"pay"), "{whole}");
                unknown += usize::from(is_unknown);
            }
            assert!(!whole.contains("ancelled") && !whole.contains("(stopped)"), "{whole}");
            check_log(&records(&second, chat).await);
        }
    }
    assert!(early > 0 && unknown > 0, "some had not begun: {early}; some had been paid for: {unknown}");
}

/// Words for a minute, one a millisecond.
fn for_a_minute() -> Vec<ModelPart> {
    (0..60_000).map(|_| words("on and ")).chain([finish(FinishReason::Stop)]).collect()
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_could_not_be_read_at_first_ends_an_answer_that_streams_on() {
    let world = World::new();
    let staged = Staged::new(world.store.clone());
    let mut ports = world.ports(RuleModel::new(|_| for_a_minute()), vec![]);
    ports.chats = staged.clone();
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    // The other process rings a bell that nobody hears.
    let mut ports = world.ports(RuleModel::new(|_| say("hi")), vec![]);
    ports.bus = Arc::new(MemoryBus::new());
    let deaf = Chats::new(ports, Settings::default()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    sleep(Duration::from_secs(1)).await;
    let mut looking = staged.stop(At::Head);
    let begun = Instant::now();
    deaf.interrupt(chat, None).await.expect("it runs");
    looking.reached().await;
    looking.then(Then::Fail);
    until(&deaf, chat, Status::Waiting).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_read_that_never_ends_holds_up_neither_an_answer_nor_a_stop() {
    for stops in [false, true] {
        let world = World::new();
        let staged = Staged::new(world.store.clone());
        let answer: Vec<ModelPart> = match stops {
            true => for_a_minute(),
            false => (0..5_000).map(|_| words("on ")).chain([finish(FinishReason::Stop)]).collect(),
        };
        let mut ports = world.ports(RuleModel::new(move |_| answer.clone()), vec![]);
        ports.chats = staged.clone();
        let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
        let other = world.process_with(RuleModel::new(|_| say("hi")), vec![]);
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
        sleep(Duration::from_secs(1)).await;
        let mut looking = staged.stop(At::Head);
        let begun = Instant::now();
        match stops {
            true => drop(other.interrupt(chat, None).await.expect("it runs")),
            false => drop(other.set(chat, name("On"), None).await.expect("set")),
        }
        looking.reached().await;
        until(&other, chat, Status::Waiting).await;
        assert!(begun.elapsed() < Duration::from_secs(if stops { 4 } else { 8 }), "{:?}", begun.elapsed());
        assert_eq!(messages(&other, chat).await[0].interrupted, stops);
    }
}

fn name(name: &str) -> NewSettings {
    NewSettings { title: Some(Title::new(name).expect("a short name")), ..NewSettings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_no_longer_for_a_tool_that_a_stop_waits_for() {
    let world = World::new();
    let mut settings = Settings::default();
    settings.drain_grace = Duration::from_secs(1);
    let tools = vec![polite("a", Effect::Once, Manners::Deaf)];
    let chats = Chats::new(world.ports(calling(&["a"]), tools), settings).expect("a valid setup");
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    let worker = chats.worker();
    let stop = async {
        sleep(Duration::from_secs(1)).await;
        chats.interrupt(chat, None).await.expect("it runs");
        std::future::pending::<()>().await;
    };
    let begun = Instant::now();
    tokio::select! {
        () = worker.run(sleep(Duration::from_millis(1_500))) => {}
        () = stop => {}
    }
    assert!(begun.elapsed() < Duration::from_millis(2_700), "{:?}", begun.elapsed());
    let head = chats.head(chat).await.expect("there");
    assert_eq!((head.holder, head.index.status), (None, Status::Waiting));
    assert!(transcript(&chats, chat).await[2].contains("The outcome of this call is unknown"));
}
