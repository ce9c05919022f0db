//! What becomes of each call: when it starts, what it is told, when its result is stored and who sees it when.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::frame::Resume;
use chatwright_core::head::Status;
use chatwright_core::model::{FinishReason, ModelPart, Role};
use chatwright_core::port::Tool;
use chatwright_core::record::Body;
use chatwright_core::tool::{CallKey, Effect, ToolCall, ToolSpec};
use chatwright_core::view::View;
use chatwright_core::{ChatId, MessageId, SessionId, Timestamp};
use chatwright_loop::{Chats, Ports, Settings};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{sleep, timeout};

use common::doors::{At, Cut, Staged, Then};
use common::{
    RuleModel, World, call, check_log, finish, log, new_chat, records, say, transcript, until, words_of, work,
};

/// Takes as many milliseconds as it is told, for ever without a number, and writes down every start.
struct Timed {
    name: &'static str,
    effect: Effect,
    starts: Mutex<Vec<(CallKey, SessionId)>>,
}

impl Timed {
    fn new(name: &'static str, effect: Effect) -> Arc<Self> {
        Arc::new(Self { name, effect, starts: Mutex::default() })
    }

    fn starts(&self) -> usize {
        self.starts.lock().len()
    }
}

#[async_trait]
impl Tool for Timed {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(self.name, "takes its time", json!({"type": "object"}), self.effect)
    }

    async fn call(&self, call: ToolCall) -> Output {
        self.starts.lock().push((call.key, call.session));
        match call.input["ms"].as_u64() {
            Some(ms) => sleep(Duration::from_millis(ms)).await,
            None => std::future::pending().await,
        }
        Output::text(format!("{} {}", self.name, call.key.ordinal))
    }
}

/// Answers with these parts, and then says what the tools said.
fn calling(parts: Vec<ModelPart>) -> Arc<RuleModel> {
    RuleModel::new(move |prompt| match prompt.iter().rfind(|message| message.role == Role::Tool) {
        None => parts.clone(),
        Some(results) => say(&results.content.iter().map(words_of).collect::<String>()),
    })
}

fn to_call(calls: &[(&str, &str)]) -> Vec<ModelPart> {
    let calls = calls.iter().enumerate().map(|(n, (name, input))| call(&format!("c{n}"), name, input));
    calls.chain([finish(FinishReason::ToolCalls)]).collect()
}

fn process(world: &World, model: Arc<RuleModel>, change: impl FnOnce(&mut Ports)) -> Chats {
    let mut ports = world.ports(model, vec![]);
    change(&mut ports);
    Chats::new(ports, Settings::default()).expect("a valid setup")
}

/// When the records of a kind were written, with what they say.
async fn times<T>(chats: &Chats, chat: ChatId, of: impl Fn(Body) -> Option<T>) -> Vec<(Timestamp, T)> {
    let entries = records(chats, chat).await.into_iter().map(|record| record.open().expect("ours"));
    entries.filter_map(|entry| Some((entry.at, of(entry.body)?))).collect()
}

#[tokio::test(start_paused = true)]
async fn no_tool_starts_before_the_commit_of_its_intent_is_known_to_have_landed() {
    for (at, then) in [
        (At::Before("tool.intent"), Then::GoOn),
        (At::Before("tool.intent"), Then::Fail),
        (At::After("tool.intent"), Then::GoOn),
        (At::After("tool.intent"), Then::Fail),
    ] {
        let world = World::new();
        let staged = Staged::new(world.store.clone());
        let tool = Timed::new("write", Effect::Once);
        let chats = process(&world, calling(to_call(&[("write", r#"{"ms":5}"#)])), |ports| {
            ports.chats = staged.clone();
            ports.tools = vec![tool.clone()];
        });
        let mut intending = staged.stop(at);
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("go")).await.expect("created");
        intending.reached().await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(tool.starts(), 0, "{at:?}: nobody knows yet that the intent is stored");
        intending.then(then);
        until(&chats, chat, Status::Waiting).await;
        assert_eq!(tool.starts(), 1, "{at:?} {then:?}");
        assert_eq!(transcript(&chats, chat).await.last().map(String::as_str), Some("model: [write 0]"));
        check_log(&records(&chats, chat).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_is_stored_when_it_comes_while_the_others_still_run() {
    let world = World::new();
    let model =
        calling(to_call(&[("read", r#"{"ms":9000}"#), ("read", r#"{"ms":10}"#), ("read", r#"{"ms":500}"#)]));
    let chats = process(&world, model, |ports| ports.tools = vec![Timed::new("read", Effect::Pure)]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    let intents = times(&chats, chat, |body| match body {
        Body::ToolIntent(intent) => Some(intent.ordinal),
        _ => None,
    });
    let intents: BTreeMap<u32, Timestamp> =
        intents.await.into_iter().map(|(at, ordinal)| (ordinal, at)).collect();
    let results = times(&chats, chat, |body| match body {
        Body::ToolResults(results) => {
            Some(results.results.iter().map(|result| result.ordinal).collect::<Vec<_>>())
        }
        _ => None,
    })
    .await;
    let took =
        results.iter().map(|(at, ordinals)| (ordinals.clone(), at.since(intents[&ordinals[0]]).as_millis()));
    let took: Vec<_> = took.map(|(ordinals, ms)| (ordinals, ms / 10 * 10)).collect();
    assert_eq!(took, [(vec![1], 10), (vec![2], 500), (vec![0], 9_000)], "each as it came");
    // The model sees them in the order of its calls.
    assert_eq!(
        transcript(&chats, chat).await.last().map(String::as_str),
        Some("model: [read 0][read 1][read 2]")
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_a_call_with_a_result_is_not_run_again_and_one_without_is_under_the_same_key() {
    let world = World::new();
    let input = [("read", r#"{"ms":10}"#), ("put", r#"{"ms":20000}"#), ("read", r#"{"ms":30000}"#)];
    let (read, put) = (Timed::new("read", Effect::Pure), Timed::new("put", Effect::Idempotent));
    let tools = || vec![read.clone() as Arc<dyn Tool>, put.clone()];
    let first = process(&world, calling(to_call(&input)), |ports| ports.tools = tools());
    let worker = work(&first);
    let (chat, _) = first.create(new_chat("go")).await.expect("created");
    sleep(Duration::from_secs(1)).await;
    // Dropped without a word, with one result stored.
    drop(worker);
    let begun = read.starts() + put.starts();
    let second = process(&world, calling(to_call(&input)), |ports| ports.tools = tools());
    let _worker = work(&second);
    until(&second, chat, Status::Waiting).await;
    let starts: Vec<_> = [read.starts.lock().clone(), put.starts.lock().clone()].concat();
    let of = |ordinal: u32| starts.iter().filter(|(key, _)| key.ordinal == ordinal).collect::<Vec<_>>();
    assert_eq!((begun, of(0).len(), of(1).len(), of(2).len()), (3, 1, 2, 2));
    for again in [of(1), of(2)] {
        assert_eq!(again[0].0, again[1].0, "the same key");
        assert_ne!(again[0].1, again[1].1, "another session");
    }
    let told = transcript(&second, chat).await.pop().expect("an answer");
    assert_eq!(told, "model: [read 0][put 1][read 2]");
    check_log(&records(&second, chat).await);
}

#[tokio::test(start_paused = true)]
async fn wherever_the_process_dies_every_call_has_one_result_in_the_end() {
    // Four calls of all kinds, cut after every commit of the worker.
    let input =
        [("read", r#"{"ms":5}"#), ("put", r#"{"ms":5}"#), ("pay", r#"{"ms":5}"#), ("read", r#"{"ms":40}"#)];
    for left in 0..14 {
        for last_is_applied in [false, true] {
            let world = World::new();
            let tools = [("read", Effect::Pure), ("put", Effect::Idempotent), ("pay", Effect::Once)];
            let tools: Vec<Arc<Timed>> = tools.map(|(name, effect)| Timed::new(name, effect)).to_vec();
            let ports = || tools.iter().map(|tool| tool.clone() as Arc<dyn Tool>).collect::<Vec<_>>();
            let cut = Cut::after(world.store.clone(), left, last_is_applied);
            let first = process(&world, calling(to_call(&input)), |ports_| {
                (ports_.chats, ports_.tools) = (cut.clone(), ports());
            });
            let second = process(&world, calling(to_call(&input)), |ports_| ports_.tools = ports());
            let (chat, _) = second.create(new_chat("go")).await.expect("created");
            let worker = work(&first);
            sleep(Duration::from_secs(2)).await;
            drop(worker);
            let _worker = work(&second);
            until(&second, chat, Status::Waiting).await;
            let results = times(&second, chat, |body| match body {
                Body::ToolResults(results) => Some(results.results),
                _ => None,
            });
            let mut ordinals: Vec<u32> =
                results.await.into_iter().flat_map(|(_, r)| r).map(|r| r.ordinal).collect();
            ordinals.sort_unstable();
            assert_eq!(ordinals, [0, 1, 2, 3], "cut after {left} commits, applied: {last_is_applied}");
            assert!(tools[2].starts() <= 1, "cut after {left} commits, applied: {last_is_applied}");
            check_log(&records(&second, chat).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_knows_which_one_it_is() {
    let world = World::new();
    let (read, put) = (Timed::new("read", Effect::Pure), Timed::new("put", Effect::Idempotent));
    let input = [("read", r#"{"ms":5}"#), ("put", r#"{"ms":5}"#), ("read", r#"{"ms":5}"#)];
    let chats =
        process(&world, calling(to_call(&input)), |ports| ports.tools = vec![read.clone(), put.clone()]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    let messages: Vec<(_, MessageId)> = times(&chats, chat, |body| match body {
        Body::MessageAssistant(message) => Some(message.id),
        _ => None,
    })
    .await;
    let mut keys: Vec<CallKey> = [read.starts.lock().clone(), put.starts.lock().clone()]
        .concat()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    keys.sort_by_key(|key| key.ordinal);
    let message = messages[0].1;
    assert_eq!(keys, [0, 1, 2].map(|ordinal| CallKey { chat, message, ordinal }));
}

#[tokio::test(start_paused = true)]
async fn two_calls_of_one_id_are_two_calls_with_a_result_each() {
    let world = World::new();
    let tool = Timed::new("read", Effect::Once);
    let twice = vec![
        call("same", "read", r#"{"ms":5}"#),
        call("same", "read", r#"{"ms":6}"#),
        call("", "read", r#"{"ms":7}"#),
        finish(FinishReason::ToolCalls),
    ];
    let model = calling(twice);
    let chats = process(&world, model.clone(), |ports| ports.tools = vec![tool.clone()]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(tool.starts(), 3);
    assert_eq!(
        transcript(&chats, chat).await.last().map(String::as_str),
        Some("model: [read 0][read 1][read 2]")
    );
    let prompts = model.prompts.lock();
    let results = prompts[1].last().expect("the results").content.iter().map(|part| match part {
        Part::ToolResult { call_id, .. } => call_id.to_string(),
        other => panic!("not a result: {other:?}"),
    });
    assert_eq!(results.collect::<Vec<_>>(), ["same", "same", ""]);
}

#[tokio::test(start_paused = true)]
async fn arguments_are_stored_and_sent_back_as_the_model_wrote_them() {
    let world = World::new();
    let written = [r#"{ "ms" : 5.0e0 , "b":1,"a":2 }"#, r#"{"ms": "#, "", "[1]"];
    let model = calling(to_call(&written.map(|input| ("read", input))));
    let chats = process(&world, model.clone(), |ports| ports.tools = vec![Timed::new("read", Effect::Pure)]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    let inputs = |content: &[Part]| -> Vec<String> {
        let input = |part: &Part| match part {
            Part::ToolCall { input, .. } => Some(input.clone()),
            _ => None,
        };
        content.iter().filter_map(input).collect()
    };
    let stored = times(&chats, chat, |body| match body {
        Body::MessageAssistant(message) => Some(message.content),
        _ => None,
    });
    assert_eq!(inputs(&stored.await[0].1), written);
    assert_eq!(inputs(&model.prompts.lock()[1][1].content), written);
}

#[tokio::test(start_paused = true)]
async fn nobody_sees_a_result_before_it_is_stored() {
    let world = World::new();
    let staged = Staged::new(world.store.clone());
    let chats = process(&world, calling(to_call(&[("read", r#"{"ms":5}"#)])), |ports| {
        ports.chats = staged.clone();
        ports.tools = vec![Timed::new("read", Effect::Pure)];
    });
    let mut storing = staged.stop(At::Before("tool.results"));
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    let mut events = chats.events(chat, Resume::Nothing).await.expect("there");
    let mut view = View::new();
    let shows = |view: &View| format!("{:?}", view.transcript()).contains("read 0");
    storing.reached().await;
    // The call has ended, and its commit waits. What comes within a minute says nothing of it.
    let watched = async {
        loop {
            view.apply(&events.next().await.expect("the stream goes on"));
            assert!(!shows(&view), "{:?}", view.transcript());
        }
    };
    timeout(Duration::from_secs(60), watched).await.expect_err("it goes on");
    storing.then(Then::GoOn);
    let shown = async {
        while !shows(&view) {
            view.apply(&events.next().await.expect("the stream goes on"));
        }
    };
    timeout(Duration::from_secs(5), shown).await.expect("then it is seen at once");
}

/// Gives a picture.
struct Camera;

const PICTURE: &str = "iVBORw0KGgo/+AA=";

#[async_trait]
impl Tool for Camera {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("look", "takes a picture", json!({"type": "object"}), Effect::Pure)
    }

    async fn call(&self, _: ToolCall) -> Output {
        let data = FileData::Base64(PICTURE.into());
        Output::Media { media_type: "image/png".into(), data, text: Some("a cat".into()) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_picture_that_a_tool_gives_reaches_the_model_as_it_is() {
    let world = World::new();
    let model = calling(to_call(&[("look", "{}")]));
    let chats = process(&world, model.clone(), |ports| ports.tools = vec![Arc::new(Camera)]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    let prompts = model.prompts.lock();
    let Part::ToolResult { output: Output::Media { media_type, data, text }, .. } = &prompts[1][2].content[0]
    else {
        panic!("{:?}", prompts[1][2])
    };
    let picture = FileData::Base64(PICTURE.into());
    assert_eq!((&**media_type, data, text.as_deref()), ("image/png", &picture, Some("a cat")));
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_ran_itself_stays_in_its_answer_and_does_not_count_beside_a_tool_that_must_be_alone()
{
    let world = World::new();
    let ask = Alone(Timed::new("ask", Effect::Pure));
    let search = |id: &str| ModelPart::ToolCall {
        id: id.into(),
        name: "web_search".into(),
        input: "{}".into(),
        provider_executed: true,
        metadata: Metadata::new(),
    };
    let found = ModelPart::Item(Part::ToolResult {
        call_id: "s".into(),
        name: "web_search".into(),
        output: Output::text("found"),
        provider_executed: true,
        metadata: Metadata::from([("anthropic".into(), json!({"encrypted": "x"}))]),
    });
    let starts = ask.0.clone();
    let model =
        calling(vec![search("s"), found, call("c", "ask", r#"{"ms":5}"#), finish(FinishReason::ToolCalls)]);
    let chats = process(&world, model.clone(), |ports| ports.tools = vec![Arc::new(ask)]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(starts.starts(), 1, "it was the only call of ours");
    assert_eq!(log(&chats, chat).await.matches("tool.results").count(), 1, "none for what the provider ran");
    let prompts = model.prompts.lock();
    let roles: Vec<Role> = prompts[1].iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool]);
    assert_eq!(
        (prompts[1][1].content.len(), prompts[1][2].content.len()),
        (3, 1),
        "call, result and call; result"
    );
}

/// The same tool, alone.
struct Alone(Arc<Timed>);

#[async_trait]
impl Tool for Alone {
    fn spec(&self) -> ToolSpec {
        self.0.spec().exclusive()
    }

    async fn call(&self, call: ToolCall) -> Output {
        self.0.call(call).await
    }
}

/// Numbers that look random, the same for a seed.
fn scatter(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_must_be_alone_runs_beside_no_other_call_whatever_a_model_calls() {
    const NAMES: [&str; 6] = ["ask", "consult", "read", "write", "show", "nope"];
    let mut ran_alone = 0;
    for seed in 0..60_u64 {
        let world = World::new();
        let mut next = scatter(seed);
        let answers: Vec<Vec<&str>> =
            (0..4).map(|_| (0..1 + next(3)).map(|_| NAMES[next(NAMES.len())]).collect()).collect();
        let model = RuleModel::new(move |prompt| {
            let said = prompt.iter().filter(|message| message.role == Role::Assistant).count();
            match answers.get(said) {
                Some(names) => to_call(&names.iter().map(|name| (*name, r#"{"ms":5}"#)).collect::<Vec<_>>()),
                None => say("Done."),
            }
        });
        let tools = [
            ("read", Effect::Pure),
            ("write", Effect::Once),
            ("ask", Effect::Pure),
            ("consult", Effect::Once),
        ];
        let tools = tools.map(|(name, effect)| Timed::new(name, effect));
        let mut ports = world.ports(model, vec![]);
        ports.tools = vec![tools[0].clone(), tools[1].clone()];
        ports.tools.extend(tools[2..].iter().map(|tool| Arc::new(Alone(tool.clone())) as Arc<dyn Tool>));
        ports.client_tools = vec![ToolSpec::new("show", "shows", json!({"type": "object"}), Effect::Pure)];
        let mut settings = Settings::default();
        settings.rules.client_deadline = Duration::from_secs(2);
        let chats = Chats::new(ports, settings).expect("a valid setup");
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("go")).await.expect("created");
        until(&chats, chat, Status::Waiting).await;
        let mut of_message: BTreeMap<MessageId, Vec<String>> = BTreeMap::new();
        let mut calls: BTreeMap<MessageId, usize> = BTreeMap::new();
        for record in records(&chats, chat).await {
            match record.open().expect("ours").body {
                Body::ToolIntent(intent) => {
                    of_message.entry(intent.message).or_default().push(intent.name.to_string());
                }
                Body::MessageAssistant(message) => {
                    let count =
                        message.content.iter().filter(|part| matches!(part, Part::ToolCall { .. })).count();
                    calls.insert(message.id, count);
                }
                _ => {}
            }
        }
        for (message, ran) in of_message {
            if ran.iter().any(|name| name == "ask" || name == "consult") {
                assert_eq!((ran.len(), calls[&message]), (1, 1), "seed {seed}: {ran:?}");
                ran_alone += 1;
            }
        }
    }
    assert!(ran_alone > 10, "alone it runs: {ran_alone} times");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_calls_without_end_is_told_of_each_call_that_was_not_run() {
    let world = World::new();
    let calls: Vec<(String, String)> =
        (0..9_000).map(|n| (format!("c{n}"), format!(r#"{{"ms":{n}}}"#))).collect();
    let parts = calls.iter().map(|(id, input)| call(id, "a", input)).chain([finish(FinishReason::ToolCalls)]);
    let model = calling(parts.collect());
    let tool = Timed::new("a", Effect::Pure);
    let chats = process(&world, model.clone(), |ports| ports.tools = vec![tool.clone()]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(tool.starts(), 32);
    let prompts = model.prompts.lock();
    let results = prompts.last().and_then(|prompt| prompt.last()).expect("it was told");
    let refused = results.content.iter().filter(|part| words_of(part).contains("a step may have 32 calls"));
    assert_eq!((results.content.len(), refused.count()), (9_000, 8_968));
}
