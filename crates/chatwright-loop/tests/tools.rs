//! What tools declare of themselves, and what the loop makes of it.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::content::Output;
use chatwright_core::head::Status;
use chatwright_core::model::{FinishReason, Message, ModelPart, Role};
use chatwright_core::port::Tool;
use chatwright_core::record::{Body, Decision};
use chatwright_core::tool::{Effect, ToolCall, ToolSpec};
use chatwright_core::{ChatId, UserId};
use chatwright_loop::{Asked, Chats, Failed, InvalidSetup, Ports, Refused, Settings};
use parking_lot::Mutex;
use serde_json::{Value, json};

use common::{
    RuleModel, World, call, finish, log, new_chat, records, say, text, transcript, until, words_of, work,
};

const NOTHING: [Value; 0] = [];

/// A tool that writes down what it was called with, and for how long it ran beside others.
struct Noting {
    spec: ToolSpec,
    notes: Arc<Notes>,
    fails: bool,
}

#[derive(Default)]
struct Notes {
    inputs: Mutex<Vec<Value>>,
    running: Mutex<Vec<Value>>,
    /// Inputs that ran at once, in their order.
    beside: Mutex<Vec<(Value, Value)>>,
}

impl Noting {
    fn tool(notes: &Arc<Notes>, spec: ToolSpec) -> Arc<dyn Tool> {
        Arc::new(Self { spec, notes: Arc::clone(notes), fails: false })
    }

    fn failing(notes: &Arc<Notes>, spec: ToolSpec) -> Arc<dyn Tool> {
        Arc::new(Self { spec, notes: Arc::clone(notes), fails: true })
    }
}

#[async_trait]
impl Tool for Noting {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    async fn call(&self, call: ToolCall) -> Output {
        self.notes.inputs.lock().push(call.input.clone());
        {
            let mut running = self.notes.running.lock();
            for other in running.iter() {
                self.notes.beside.lock().push((other.clone(), call.input.clone()));
            }
            running.push(call.input.clone());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.notes.running.lock().retain(|input| *input != call.input);
        if self.fails { Output::error("it failed") } else { Output::text(format!("did {}", call.input)) }
    }
}

fn spec(name: &str, effect: Effect) -> ToolSpec {
    let schema = json!({
        "type": "object",
        "properties": {"path": {"type": "string"}, "n": {"type": "integer", "minimum": 1}},
        "required": ["path"],
        "additionalProperties": false,
    });
    ToolSpec::new(name, "works", schema, effect)
}

/// Calls these tools in its first answer, and then says what came of it.
fn calling(calls: &'static [(&'static str, &'static str)]) -> Arc<RuleModel> {
    RuleModel::new(move |prompt| match prompt.iter().any(|message| message.role == Role::Tool) {
        false => answer(calls),
        true => {
            let results = prompt.iter().rfind(|message| message.role == Role::Tool);
            say(&results
                .map(|message| message.content.iter().map(words_of).collect::<String>())
                .unwrap_or_default())
        }
    })
}

fn answer(calls: &[(&str, &str)]) -> Vec<ModelPart> {
    let mut parts = text("On it.");
    parts.extend(calls.iter().enumerate().map(|(n, (name, input))| call(&format!("c{n}"), name, input)));
    parts.push(finish(FinishReason::ToolCalls));
    parts
}

async fn rest(chats: &Chats, chat: ChatId) -> Vec<String> {
    until(chats, chat, Status::Waiting).await;
    transcript(chats, chat).await
}

/// A chat whose first call waits for a decision.
async fn asking(world: &World, notes: &Arc<Notes>) -> (Chats, tokio::task::JoinSet<()>, ChatId) {
    let tool = Noting::tool(notes, spec("delete", Effect::Once).with_approval());
    let chats = world.process_with(calling(&[("delete", r#"{"path":"/a"}"#)]), vec![tool]);
    let worker = work(&chats);
    let (chat, _) = chats.create(new_chat("clean up")).await.expect("created");
    until(&chats, chat, Status::RequiresAction).await;
    (chats, worker, chat)
}

fn approve() -> Decision {
    Decision::Approve { input: None }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_wants_approval_is_not_started_before_it_and_then_runs_once() {
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let (chats, _worker, chat) = asking(&world, &notes).await;
    let head = chats.head(chat).await.expect("there");
    assert_eq!((head.holder, notes.inputs.lock().len()), (None, 0), "nobody holds the chat while it waits");
    assert!(!log(&chats, chat).await.contains("tool.intent"));
    chats.decide(chat, 0, approve(), Asked::default()).await.expect("decided");
    let lines = rest(&chats, chat).await;
    assert_eq!(lines.last().map(String::as_str), Some("model: [did {\"path\":\"/a\"}]"), "{lines:#?}");
    assert_eq!(*notes.inputs.lock(), [json!({"path": "/a"})]);
    let again = chats.decide(chat, 0, approve(), Asked::default()).await;
    assert!(
        matches!(again, Err(Failed::Refused(Refused::State { .. } | Refused::NotFound { .. }))),
        "{again:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn edited_arguments_are_checked_recorded_run_and_shown_to_the_model() {
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let (chats, _worker, chat) = asking(&world, &notes).await;
    for (input, why) in [
        (r#"{"path": 5}"#, "at /path: 5 is not of type \"string\""),
        (r#"{"n": 1}"#, "\"path\" is a required property"),
        ("[]", "The arguments must be a JSON object."),
        ("{", "The arguments are not valid JSON"),
    ] {
        let edited = Decision::Approve { input: Some(input.to_owned()) };
        let refused = chats.decide(chat, 0, edited, Asked::default()).await.expect_err("refused");
        assert!(
            matches!(refused, Failed::Refused(Refused::Invalid { .. })) && refused.to_string().contains(why),
            "{refused}"
        );
    }
    let edited = Decision::Approve { input: Some(r#"{"path":"/b"}"#.to_owned()) };
    let by = Asked { by: UserId::new("eve").ok(), key: Some("d".to_owned()) };
    let receipt = chats.decide(chat, 0, edited.clone(), by.clone()).await.expect("decided");
    let lines = rest(&chats, chat).await;
    assert_eq!(*notes.inputs.lock(), [json!({"path": "/b"})]);
    let told = "model: [The user changed the arguments to {\"path\":\"/b\"} before the call ran.\n\ndid {\"path\":\"/b\"}]";
    assert_eq!(lines.last().map(String::as_str), Some(told), "{lines:#?}");
    assert_eq!(chats.decide(chat, 0, edited, by).await.expect("the same"), receipt);
    let bodies = records(&chats, chat).await.into_iter().map(|record| record.open().expect("ours").body);
    let decided = bodies.filter_map(|body| match body {
        Body::ActionDecided(decided) => Some((decided.by.map(|by| by.as_str().to_owned()), decided.decision)),
        _ => None,
    });
    let input = Some(r#"{"path":"/b"}"#.to_owned());
    assert_eq!(decided.collect::<Vec<_>>(), [(Some("eve".to_owned()), Decision::Approve { input })]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_denied_or_that_nobody_decides_about_is_never_started() {
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let (chats, _worker, chat) = asking(&world, &notes).await;
    let reason = Some("not today".into());
    chats.decide(chat, 0, Decision::Deny { reason }, Asked::default()).await.expect("decided");
    let lines = rest(&chats, chat).await;
    assert!(lines[2].contains("was not approved") && lines[2].contains("not today"), "{lines:#?}");

    let (chats, _other, chat) = asking(&world, &notes).await;
    tokio::time::sleep(Duration::from_secs(23 * 3_600)).await;
    assert_eq!(chats.head(chat).await.expect("there").index.status, Status::RequiresAction);
    tokio::time::sleep(Duration::from_secs(2 * 3_600)).await;
    let lines = rest(&chats, chat).await;
    assert!(lines[2].contains("Nobody approved the call in time"), "{lines:#?}");
    assert_eq!(*notes.inputs.lock(), NOTHING);
}

#[tokio::test(start_paused = true)]
async fn calls_that_need_nobody_run_before_anybody_is_asked() {
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let tools = vec![
        Noting::tool(&notes, spec("delete", Effect::Once).with_approval()),
        Noting::tool(&notes, spec("read", Effect::Pure)),
    ];
    let model = calling(&[("delete", r#"{"path":"/a"}"#), ("read", r#"{"path":"/b"}"#)]);
    let chats = world.process_with(model, tools);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("clean up")).await.expect("created");
    until(&chats, chat, Status::RequiresAction).await;
    assert_eq!(*notes.inputs.lock(), [json!({"path": "/b"})]);
    chats.decide(chat, 0, approve(), Asked::default()).await.expect("decided");
    let lines = rest(&chats, chat).await;
    let told = "model: [did {\"path\":\"/a\"}][did {\"path\":\"/b\"}]";
    assert_eq!(lines.last().map(String::as_str), Some(told), "in call order: {lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn arguments_that_do_not_keep_to_the_schema_are_told_where_and_never_reach_the_tool() {
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let model = calling(&[
        ("read", r#"{"path":1,"n":0}"#),
        ("read", r#"{"path":"/a","else":1}"#),
        ("read", r#"{"path":"/a","n":1}"#),
    ]);
    let chats = world.process_with(model, vec![Noting::tool(&notes, spec("read", Effect::Pure))]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("read")).await.expect("created");
    let lines = rest(&chats, chat).await;
    assert!(
        lines[2].contains("at /path: 1 is not of type \"string\"")
            && lines[2].contains("at /n: 0 is less than the minimum of 1"),
        "{lines:#?}"
    );
    assert!(lines[3].contains("'else' was unexpected"), "{lines:#?}");
    assert_eq!(*notes.inputs.lock(), [json!({"path": "/a", "n": 1})]);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_long_arguments_is_told_in_few_words() {
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let schema = json!({
        "type": "object",
        "properties": {"path": {"type": "string", "maxLength": 9, "pattern": "^/"}},
    });
    let model = RuleModel::new(|prompt: &[Message]| match prompt.last().map(|message| message.role) {
        Some(Role::Tool) => say("I see."),
        _ => {
            let input = json!({"path": "long ".repeat(150_000)}).to_string();
            let name = "x".repeat(600_000);
            vec![call("c0", "read", &input), call("c1", &name, "{}"), finish(FinishReason::ToolCalls)]
        }
    });
    let tool = Noting::tool(&notes, ToolSpec::new("read", "reads", schema, Effect::Pure));
    let chats = world.process_with(model, vec![tool]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("read")).await.expect("created");
    let lines = rest(&chats, chat).await;
    let told = lines.iter().filter(|line| line.starts_with("tool ")).collect::<Vec<_>>();
    assert!(told.len() == 2 && told.iter().all(|line| line.len() < 3_000), "{told:#?}");
    assert!(
        told[0].contains("at /path: \"long long") && told[0].contains("is longer than 9 characters"),
        "{told:#?}"
    );
    assert!(told[1].contains("There is no tool named \"xxx"), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn calls_with_effects_run_side_by_side_only_on_different_resources() {
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let write = spec("write", Effect::Idempotent).with_resource("/path");
    let edit = spec("edit", Effect::Once).with_resource("/path");
    let tools = vec![Noting::tool(&notes, write), Noting::tool(&notes, edit)];
    let model = calling(&[
        ("write", r#"{"path":"/a"}"#),
        ("edit", r#"{"path":"/a","n":2}"#),
        ("write", r#"{"path":"/b"}"#),
    ]);
    let chats = world.process_with(model, tools);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("work")).await.expect("created");
    rest(&chats, chat).await;
    let (a, edit, b) = (json!({"path": "/a"}), json!({"path": "/a", "n": 2}), json!({"path": "/b"}));
    assert_eq!(*notes.inputs.lock(), [a.clone(), b.clone(), edit], "the second on /a waits for the first");
    assert_eq!(*notes.beside.lock(), [(a, b)]);
}

#[tokio::test(start_paused = true)]
async fn at_most_eight_pure_calls_run_at_once_and_all_of_them_run() {
    const CALLS: [(&str, &str); 12] = [
        ("read", r#"{"path":"0"}"#),
        ("read", r#"{"path":"1"}"#),
        ("read", r#"{"path":"2"}"#),
        ("read", r#"{"path":"3"}"#),
        ("read", r#"{"path":"4"}"#),
        ("read", r#"{"path":"5"}"#),
        ("read", r#"{"path":"6"}"#),
        ("read", r#"{"path":"7"}"#),
        ("read", r#"{"path":"8"}"#),
        ("read", r#"{"path":"9"}"#),
        ("read", r#"{"path":"10"}"#),
        ("read", r#"{"path":"11"}"#),
    ];
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let chats = world.process_with(calling(&CALLS), vec![Noting::tool(&notes, spec("read", Effect::Pure))]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("read")).await.expect("created");
    rest(&chats, chat).await;
    assert_eq!(notes.inputs.lock().len(), 12);
    let beside = notes.beside.lock();
    let of = |path: &str| beside.iter().filter(|(_, later)| later["path"] == path).count();
    assert_eq!((of("7"), of("8") <= 7, of("11") <= 7), (7, true, true), "{beside:?}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_ends_after_a_tool_that_says_so_unless_the_tool_failed() {
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let plan = spec("propose_plan", Effect::Once).stop_after();
    let model = calling(&[("propose_plan", r#"{"path":"/plan"}"#)]);
    let chats = world.process_with(model.clone(), vec![Noting::tool(&notes, plan.clone())]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("plan")).await.expect("created");
    let lines = rest(&chats, chat).await;
    assert_eq!(lines.len(), 3, "the model is not asked again: {lines:#?}");
    assert_eq!(model.prompts.lock().len(), 1);
    let ended = records(&chats, chat).await.pop().expect("a record").open().expect("ours").body;
    assert!(
        matches!(ended, Body::TurnEnded(ended) if ended.reason == chatwright_core::record::StopReason::StopAfterTool)
    );
    // It concerns that turn alone.
    chats.send(chat, chatwright_loop::NewMessage::text("go on")).await.expect("sent");
    let lines = rest(&chats, chat).await;
    assert!(lines.last().is_some_and(|line| line.starts_with("model: [did")), "{lines:#?}");

    let model = calling(&[("propose_plan", r#"{"path":"/plan"}"#)]);
    let chats = world.process_with(model, vec![Noting::failing(&notes, plan)]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("plan")).await.expect("created");
    let lines = rest(&chats, chat).await;
    assert_eq!(lines.last().map(String::as_str), Some("model: [error: it failed]"), "{lines:#?}");
}

/// Calls the first batch as long as it is refused, at most so often.
fn stubborn(times: usize, calls: &'static [(&'static str, &'static str)]) -> Arc<RuleModel> {
    RuleModel::new(move |prompt: &[Message]| {
        let rounds = prompt.iter().filter(|message| message.role == Role::Assistant).count();
        if rounds < times { answer(calls) } else { say("I give up.") }
    })
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_must_be_alone_is_refused_beside_others_and_so_are_they() {
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let ask = spec("ask", Effect::Pure).exclusive();
    let tools = vec![Noting::tool(&notes, ask), Noting::tool(&notes, spec("read", Effect::Pure))];
    let model = stubborn(1, &[("read", r#"{"path":"/a"}"#), ("ask", r#"{"path":"/b"}"#)]);
    let mut ports: Ports = world.ports(model, tools);
    ports.client_tools = vec![spec("show", Effect::Pure)];
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    let lines = rest(&chats, chat).await;
    assert!(lines[2].contains("because \"ask\" was called beside others"), "{lines:#?}");
    assert!(lines[3].contains("must be the only call of its step"), "{lines:#?}");
    assert_eq!(*notes.inputs.lock(), NOTHING, "nothing ran");

    // Beside a call that the client would answer, nobody is asked; two of its own kind are too many as well.
    for calls in [
        &[("ask", r#"{"path":"/b"}"#), ("show", r#"{"path":"/c"}"#)][..],
        &[("ask", r#"{"path":"/b"}"#), ("ask", r#"{"path":"/c"}"#)],
    ] {
        let tools = vec![Noting::tool(&notes, spec("ask", Effect::Pure).exclusive())];
        let mut ports = world.ports(stubborn(1, calls), tools);
        ports.client_tools = vec![spec("show", Effect::Pure)];
        let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("go")).await.expect("created");
        rest(&chats, chat).await;
        assert!(!log(&chats, chat).await.contains("action.required"));
        assert_eq!(*notes.inputs.lock(), NOTHING);
    }

    let chats = world.process_with(
        stubborn(1, &[("ask", r#"{"path":"/b"}"#)]),
        vec![Noting::tool(&notes, spec("ask", Effect::Pure).exclusive())],
    );
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    rest(&chats, chat).await;
    assert_eq!(*notes.inputs.lock(), [json!({"path": "/b"})], "alone it runs");
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_was_misused_twice_is_withheld_for_the_rest_of_the_turn() {
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let tools = || {
        let ask = spec("ask", Effect::Pure).exclusive();
        vec![Noting::tool(&notes, ask), Noting::tool(&notes, spec("read", Effect::Pure))]
    };
    let model = stubborn(3, &[("read", r#"{"path":"/a"}"#), ("ask", r#"{"path":"/b"}"#)]);
    let chats = world.process_with(model.clone(), tools());
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    rest(&chats, chat).await;
    assert_eq!(*model.tools.lock(), [2, 2, 1, 1], "the third answer is asked for without it");
    // In the next turn it is there again.
    chats.send(chat, chatwright_loop::NewMessage::text("again")).await.expect("sent");
    rest(&chats, chat).await;
    assert_eq!(model.tools.lock().last(), Some(&2));

    // A model that calls it all the same, alone, is told.
    let alone = RuleModel::new(|prompt: &[Message]| {
        match prompt.iter().filter(|message| message.role == Role::Assistant).count() {
            0 | 1 => answer(&[("read", r#"{"path":"/a"}"#), ("ask", r#"{"path":"/b"}"#)]),
            2 => answer(&[("ask", r#"{"path":"/b"}"#)]),
            _ => say("I give up."),
        }
    });
    let chats = world.process_with(alone, tools());
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    let lines = rest(&chats, chat).await;
    assert!(lines.iter().any(|line| line.contains("is not there for the rest of this turn")), "{lines:#?}");
    assert!(!notes.inputs.lock().contains(&json!({"path": "/b"})));
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_withheld_keeps_no_other_from_running() {
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let ask = spec("ask", Effect::Pure).exclusive();
    let tools = vec![Noting::tool(&notes, ask), Noting::tool(&notes, spec("read", Effect::Pure))];
    let model = stubborn(3, &[("read", r#"{"path":"/a"}"#), ("ask", r#"{"path":"/b"}"#)]);
    let chats = world.process_with(model, tools);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    let lines = rest(&chats, chat).await;
    let told: Vec<_> = lines.iter().filter(|line| line.starts_with("tool ")).collect();
    assert!(told[..4].iter().all(|line| line.contains("Nothing was run")), "{told:#?}");
    assert!(told[4..].iter().any(|line| line.contains("not there for the rest of this turn")), "{told:#?}");
    assert_eq!(*notes.inputs.lock(), [json!({"path": "/a"})], "once, in the third step");
}

#[tokio::test(start_paused = true)]
async fn tools_that_cannot_be_offered_are_refused_with_what_is_wrong() {
    let (world, notes) = (World::new(), Arc::new(Notes::default()));
    let setup = |change: &dyn Fn(&mut ToolSpec)| {
        let mut spec = spec("read", Effect::Pure);
        change(&mut spec);
        let ports = world.ports(RuleModel::new(|_| say("hi")), vec![Noting::tool(&notes, spec)]);
        Chats::new(ports, Settings::default()).err().expect("refused")
    };
    assert_eq!(setup(&|spec| spec.name = "read it".into()), InvalidSetup::ToolName("read it".into()));
    assert_eq!(
        setup(&|spec| spec.input_schema = json!({"type": "string"})),
        InvalidSetup::ToolSchema("read".into())
    );
    assert_eq!(setup(&|spec| spec.resource = Some("path".into())), InvalidSetup::ToolResource("read".into()));
    for schema in [
        json!({"type": "object", "properties": {"path": {"type": "strong"}}}),
        json!({"type": "object", "properties": {"path": {"$ref": "https://example.org/schema"}}}),
    ] {
        let refused = setup(&|spec| spec.input_schema = schema.clone());
        assert!(
            matches!(&refused, InvalidSetup::ToolSchemaBroken { tool, .. } if &**tool == "read"),
            "{refused}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn settings_that_no_clock_takes_or_with_which_no_tool_would_run_are_refused() {
    type Change = fn(&mut Settings);
    let world = World::new();
    let changes: [(&str, Change); 5] = [
        ("model_timeouts.silence", |settings| settings.model_timeouts.silence = Duration::MAX),
        ("blobs_within", |settings| settings.blobs_within = Duration::MAX),
        ("renew_every", |settings| settings.renew_every = Duration::MAX),
        ("rules.watchdog", |settings| settings.rules.watchdog = Duration::MAX),
        ("rules.parallel_max", |settings| settings.rules.parallel_max = 0),
    ];
    for (name, change) in changes {
        let mut settings = Settings::default();
        change(&mut settings);
        let refused = Chats::new(world.ports(RuleModel::new(|_| say("hi")), vec![]), settings).err();
        assert!(
            matches!(refused, Some(InvalidSetup::Setting { setting, .. }) if setting == name),
            "{name}: {refused:?}"
        );
    }
}
