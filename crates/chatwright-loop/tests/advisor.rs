//! A second model that the model of a chat may ask, on paused time.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_config::{AdvisorSettings, ConfigSettings, Configs, Invalidation};
use chatwright_core::config::{ConfigKey, Configured, ModelConfig, ProviderConfig};
use chatwright_core::content::{Output, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::head::Status;
use chatwright_core::model::{
    Finish, FinishReason, Message, ModelCall, ModelId, ModelPart, ReasoningEffort, Role, Usage,
};
use chatwright_core::port::{
    Bus, ChatStore, ConfigStore, ConfigWriter as _, Event, LanguageModel, LedgerEnd, ModelResolver,
    ModelStream, Observer, Purpose, Tool, Unresolved,
};
use chatwright_core::record::Body;
use chatwright_core::tool::Effect;
use chatwright_core::{ChatId, Json, UserId};
use chatwright_loop::{Chats, Configuration, InvalidSetup, NewEdit, NewMessage, Ports, Settings};
use chatwright_memory::MemoryConfigs;
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use common::book::Book;
use common::doors::Cut;
use common::{
    CountTool, RuleModel, World, call, check_log, finish, new_chat, records, say, text, until, words_of, work,
};

const GUIDANCE: &str = "<advisor-guidance>";

/// A model that gives advice: it answers by how often it was asked before, and keeps what it was asked. After a sign of life it says
/// nothing more.
struct Sage {
    rule: Box<dyn Fn(usize) -> Vec<ModelPart> + Send + Sync>,
    calls: Mutex<Vec<ModelCall>>,
    asked: Notify,
}

impl Sage {
    fn new(rule: impl Fn(usize) -> Vec<ModelPart> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { rule: Box::new(rule), calls: Mutex::default(), asked: Notify::new() })
    }

    /// One that always knows.
    fn sure() -> Arc<Self> {
        Self::new(|n| advice(&format!("Try {n}.")))
    }

    fn asked(&self) -> usize {
        self.calls.lock().len()
    }

    /// What it was asked, a message a line.
    fn prompt(&self, n: usize) -> Vec<String> {
        self.calls.lock()[n].prompt.iter().map(line).collect()
    }
}

impl LanguageModel for Sage {
    fn id(&self) -> ModelId {
        ModelId { provider: "wise".into(), model: "sage".into() }
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        let parts = {
            let mut calls = self.calls.lock();
            calls.push(call);
            (self.rule)(calls.len() - 1)
        };
        self.asked.notify_one();
        futures::stream::iter(parts)
            .then(|part| async {
                match &part {
                    ModelPart::KeepAlive => std::future::pending::<()>().await,
                    _ => sleep(Duration::from_millis(1)).await,
                }
                part
            })
            .boxed()
    }
}

fn line(message: &Message) -> String {
    let who = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "model",
        Role::Tool => "tool",
    };
    format!("{who}: {}", message.content.iter().map(words_of).collect::<String>())
}

fn used(input: u64, output: u64) -> Usage {
    Usage { input: Some(input), output: Some(output), ..Usage::default() }
}

fn advice(words: &str) -> Vec<ModelPart> {
    let mut parts = text(words);
    let finish = Finish { reason: FinishReason::Stop, usage: used(1_000, 200), ..Finish::default() };
    parts.push(ModelPart::Finish(finish));
    parts
}

fn fails(cause: Cause) -> Vec<ModelPart> {
    vec![ModelPart::Failure(Box::new(Failure::new("wise", cause)))]
}

/// The requests for advice: how they ended, and what they took.
fn paid(book: &Book) -> Vec<(Option<LedgerEnd>, bool, Usage, Option<String>)> {
    let rows = book.rows().into_iter().filter(|(entry, _)| entry.purpose == Purpose::Advisor);
    let rows = rows.map(|(entry, closings)| match closings.first() {
        Some(closing) => {
            let cost = closing.charge.cost.map(|cost| cost.to_string());
            (Some(closing.end), closing.estimated, closing.charge.usage, cost)
        }
        None => (None, true, entry.estimate.usage, None),
    });
    rows.collect()
}

/// How they ended.
fn how_ended(book: &Book) -> Vec<Option<LedgerEnd>> {
    paid(book).into_iter().map(|(end, ..)| end).collect()
}

/// What it was warned of.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn observe(&self, event: &Event<'_>) {
        if let Event::Warned { warnings, .. } = event {
            self.0.lock().extend(warnings.iter().cloned());
        }
    }
}

/// Asks the advisor so often in each turn, each time in a step of its own, and says what it was told last.
fn agent(uses: usize) -> Arc<RuleModel> {
    RuleModel::new(move |prompt| {
        let asked = results(prompt).len();
        match asked < uses {
            true => ask(&format!("What now, {asked}?")),
            false => say("Done."),
        }
    })
}

fn ask(question: &str) -> Vec<ModelPart> {
    let mut parts = text("I am stuck.");
    parts.push(call("a", "advisor", &json!({"question": question}).to_string()));
    parts.push(finish(FinishReason::ToolCalls));
    parts
}

/// The results since the last message of the user.
fn results(prompt: &[Message]) -> Vec<String> {
    let at = prompt.iter().rposition(|message| message.role == Role::User).expect("somebody asked");
    let results = prompt[at..].iter().filter(|message| message.role == Role::Tool);
    results.map(|message| message.content.iter().map(words_of).collect()).collect()
}

/// What the advisor is configured to be.
fn enabled(change: impl FnOnce(&mut AdvisorSettings)) -> AdvisorSettings {
    let mut advisor = AdvisorSettings::default();
    advisor.enabled = true;
    change(&mut advisor);
    advisor
}

struct Asking {
    world: World,
    agent: Arc<RuleModel>,
    sage: Arc<Sage>,
    book: Arc<Book>,
    told: Arc<Told>,
    settings: Settings,
    tools: Vec<Arc<dyn Tool>>,
    /// What a row would say of the sage.
    sage_row: Option<ModelConfig>,
}

impl Asking {
    /// The sage advises.
    fn new(agent: Arc<RuleModel>, sage: Arc<Sage>, change: impl FnOnce(&mut AdvisorSettings)) -> Self {
        let mut settings = Settings::default();
        settings.advisor = enabled(|advisor| {
            advisor.model_config_id = Some("sage".into());
            change(advisor);
        });
        let (world, tools) = (World::new(), Vec::new());
        let (book, told) = Default::default();
        Self { world, agent, sage, book, told, settings, tools, sage_row: None }
    }

    fn ports(&self) -> Ports {
        let mut ports = self.world.ports(self.agent.clone(), self.tools.clone());
        ports.models.insert("sage".into(), self.sage.clone());
        ports.model_configs.extend(self.sage_row.clone().map(|row| ("sage".into(), row)));
        ports.ledger = Some(self.book.clone());
        ports.observers = vec![self.told.clone()];
        ports
    }

    fn chats(&self) -> Chats {
        Chats::new(self.ports(), self.settings.clone()).expect("a valid setup")
    }

    /// A chat with its first turn behind it, and what the advisor's tool gave.
    async fn turn(&self) -> (Chats, ChatId, Vec<Value>) {
        let chats = self.chats();
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("help me")).await.expect("created");
        until(&chats, chat, Status::Waiting).await;
        let given = given(&chats, chat).await;
        (chats, chat, given)
    }
}

/// What tools gave: text as JSON, and errors as they are.
async fn given(chats: &Chats, chat: ChatId) -> Vec<Value> {
    let mut given = Vec::new();
    for record in records(chats, chat).await {
        let Body::ToolResults(results) = record.open().expect("ours").body else { continue };
        given.extend(results.results.into_iter().map(|result| match result.output {
            Output::Text { text } => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            Output::Error { text } => json!({"failed": text}),
            other => panic!("{other:?}"),
        }));
    }
    given
}

fn types(given: &[Value]) -> Vec<&str> {
    given.iter().map(|value| value["type"].as_str().unwrap_or("failed")).collect()
}

async fn eventually(what: &str, is: impl Fn() -> bool) {
    let waiting = async {
        while !is() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(600), waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(start_paused = true)]
async fn advice_comes_as_the_result_of_a_tool_with_what_it_took_and_is_in_the_ledger() {
    let mut asking = Asking::new(agent(1), Sage::sure(), |advisor| {
        (advisor.max_uses_per_run, advisor.max_output_tokens) = (3, 500);
        advisor.reasoning_effort = Some("HIGH".into());
    });
    let mut row = ModelConfig::new("wise", "sage");
    row.prices = Some(serde_json::from_str(r#"{"input":"3","output":"15"}"#).expect("prices"));
    row.call.temperature = Some(0.25);
    row.call.reasoning_effort =
        serde_json::from_str(r#"{"default":"low","max":"medium"}"#).expect("a policy");
    row.call.provider_options.insert("wise".into(), json!({"store": false}));
    asking.sage_row = Some(row);
    let (_, chat, given) = asking.turn().await;
    let expected = json!({
        "type": "advice", "advice": "Try 0.", "advisor_model": "wise/sage", "remaining_uses": 2,
        "usage": {"input": 1_000, "output": 200}, "cost": "0.006",
    });
    assert_eq!(given, [expected]);
    let told = (Some(LedgerEnd::Finished), false, used(1_000, 200), Some("0.006".to_owned()));
    assert_eq!(paid(&asking.book), [told]);
    let row = asking.book.rows()[1].0.clone();
    assert_eq!((row.chat, row.owner.as_str(), row.prices), (chat, "ada", Some(1)));
    assert!(row.r#gen.is_some() && row.model == asking.sage.id());
    let purposes: Vec<Purpose> = asking.book.rows().iter().map(|(entry, _)| entry.purpose).collect();
    assert_eq!(purposes, [Purpose::Turn, Purpose::Advisor, Purpose::Turn]);

    let call = asking.sage.calls.lock()[0].clone();
    assert_eq!((call.tools.len(), call.tool_choice), (0, None));
    assert_eq!((call.max_output_tokens, call.temperature), (Some(500), Some(0.25)));
    assert_eq!(call.reasoning_effort, Some(ReasoningEffort::Medium), "as much as its row lets it");
    assert_eq!(call.provider_options["wise"], json!({"store": false}));
    assert_eq!(line(call.prompt.last().expect("the question")), "user: What now, 0?");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_set_has_its_default_and_what_has_no_price_no_cost() {
    let asking =
        Asking::new(agent(1), Sage::sure(), |advisor| advisor.reasoning_effort = Some("some day".into()));
    let (_, _, given) = asking.turn().await;
    assert_eq!((&given[0]["remaining_uses"], &given[0]["cost"]), (&json!(1_199), &Value::Null));
    let call = asking.sage.calls.lock()[0].clone();
    assert_eq!((call.max_output_tokens, call.reasoning_effort), (Some(16_384), None));

    // The model of the chat advises itself.
    let own = RuleModel::new(|prompt| match line(&prompt[0]).starts_with("system: You advise") {
        true => advice("Trust yourself."),
        false if results(prompt).is_empty() => ask("Who else?"),
        false => say("Done."),
    });
    let asking = Asking::new(own, Sage::sure(), |advisor| advisor.model_config_id = None);
    let (_, _, given) = asking.turn().await;
    assert_eq!(
        (&given[0]["advice"], &given[0]["advisor_model"]),
        (&json!("Trust yourself."), &json!("rule/one"))
    );
    assert_eq!(asking.sage.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_allows_fewer_tokens_than_the_advisor_keeps_to_them() {
    let mut asking = Asking::new(agent(1), Sage::sure(), |_| {});
    let mut row = ModelConfig::new("wise", "sage");
    row.call.max_output_tokens = Some(64);
    asking.sage_row = Some(row);
    asking.turn().await;
    assert_eq!(asking.sage.calls.lock()[0].max_output_tokens, Some(64));
}

#[tokio::test(start_paused = true)]
async fn a_turn_has_its_uses_and_no_more_and_the_next_one_has_them_again() {
    let asking = Asking::new(agent(3), Sage::sure(), |advisor| advisor.max_uses_per_run = 2);
    let (chats, chat, given) = asking.turn().await;
    assert_eq!(types(&given), ["advice", "advice", "limit_reached"]);
    let left: Vec<&Value> = given.iter().map(|value| &value["remaining_uses"]).collect();
    assert_eq!(left, [1, 0, 0]);
    assert_eq!(given[2], json!({"type": "limit_reached", "remaining_uses": 0}));
    assert_eq!((asking.sage.asked(), paid(&asking.book).len()), (2, 2), "nobody is asked beyond the limit");

    let _worker = work(&chats);
    chats.send(chat, NewMessage::text("again")).await.expect("sent");
    until(&chats, chat, Status::Waiting).await;
    let given = self::given(&chats, chat).await;
    assert_eq!(types(&given[3..]), ["advice", "advice", "limit_reached"]);
}

#[tokio::test(start_paused = true)]
async fn a_use_that_gave_no_advice_is_given_back_and_a_later_one_works() {
    let refused = || {
        let failure = Failure::new("wise", Cause::Status).with_status(401).with_message("no such key");
        vec![ModelPart::Failure(Box::new(failure))]
    };
    let sage = Sage::new(move |n| if n == 0 { refused() } else { advice("Try.") });
    let asking = Asking::new(agent(2), sage, |advisor| advisor.max_uses_per_run = 1);
    let (_, _, given) = asking.turn().await;
    assert_eq!(types(&given), ["error", "advice"]);
    assert_eq!((&given[0]["remaining_uses"], &given[1]["remaining_uses"]), (&json!(1), &json!(0)));
    assert!(given[0]["error"].as_str().is_some_and(|error| error.len() > 10), "{given:?}");
    assert_eq!(how_ended(&asking.book), [Some(LedgerEnd::Failed), Some(LedgerEnd::Finished)]);
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_three_times_and_every_attempt_is_in_the_ledger() {
    let asking = Asking::new(
        agent(1),
        Sage::new(|n| if n < 2 { fails(Cause::Truncated) } else { advice("At last.") }),
        |_| {},
    );
    let (_, _, given) = asking.turn().await;
    assert_eq!(given[0]["advice"], "At last.");
    let ends = [Some(LedgerEnd::Failed), Some(LedgerEnd::Failed), Some(LedgerEnd::Finished)];
    assert_eq!(how_ended(&asking.book), ends);
    let estimated: Vec<bool> = paid(&asking.book).into_iter().map(|(_, estimated, ..)| estimated).collect();
    assert_eq!(estimated, [true, true, false], "what a provider did not tell is estimated");

    let asking = Asking::new(agent(1), Sage::new(|_| fails(Cause::Truncated)), |_| {});
    let (_, _, given) = asking.turn().await;
    assert_eq!((types(&given), asking.sage.asked()), (vec!["error"], 3));
    assert_eq!(how_ended(&asking.book), [Some(LedgerEnd::Failed); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_use_ends_after_two_minutes_whatever_the_advisor_does() {
    // It begins to speak and falls silent; or it says nothing at all.
    for begun in ["Well ", ""] {
        let silent = move |_| {
            let mut parts = if begun.is_empty() { Vec::new() } else { text(begun) };
            parts.push(ModelPart::KeepAlive);
            parts
        };
        let asking = Asking::new(agent(1), Sage::new(silent), |_| {});
        let before = Instant::now();
        let (_, _, given) = asking.turn().await;
        assert_eq!(types(&given), ["error"]);
        assert_eq!(given[0]["error"], "The advisor took longer than 120 s.");
        let took = before.elapsed();
        assert!(took >= Duration::from_secs(120) && took < Duration::from_secs(122), "{took:?}");
        assert!(
            how_ended(&asking.book).iter().all(|end| *end == Some(LedgerEnd::Failed)),
            "{:?}",
            how_ended(&asking.book)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn texts_are_trimmed_and_joined_and_an_answer_without_any_says_how_it_ended() {
    let block = |id: &str, words: &str| {
        let id: Box<str> = id.into();
        let delta = words.to_owned();
        [ModelPart::TextStart { id: id.clone() }, ModelPart::TextDelta { id, delta }]
    };
    let sage = Sage::new(move |n| match n {
        0 => {
            let mut parts: Vec<ModelPart> =
                [block("a", "  One. \n"), block("b", " \n "), block("c", "Two.")].concat();
            parts.push(finish(FinishReason::Stop));
            parts
        }
        1 => vec![call("c", "read", "{}"), finish(FinishReason::ToolCalls)],
        _ => [block("a", "Half of").to_vec(), vec![finish(FinishReason::Length)]].concat(),
    });
    let asking = Asking::new(agent(3), sage, |advisor| advisor.max_uses_per_run = 9);
    let (_, _, given) = asking.turn().await;
    assert_eq!(given[0]["advice"], "One.\n\nTwo.");
    assert_eq!(types(&given), ["advice", "error", "advice"]);
    let why = "The advisor gave no advice: its answer ended with ToolCalls and has 0 thoughts and 1 calls, but no words.";
    assert_eq!((&given[1]["error"], &given[1]["remaining_uses"]), (&json!(why), &json!(8)));
    assert_eq!(given[2]["advice"], "Half of\n\n[The advice was cut off here.]");
    assert_eq!(how_ended(&asking.book), [Some(LedgerEnd::Finished); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_none_or_too_long_is_an_error_of_the_call_and_no_use() {
    let questions = [json!({"question": " \n"}), json!({}), json!({"question": "é".repeat(2_001)})];
    let last = json!({"question": "é".repeat(2_000)});
    let asked: Vec<Value> = questions.into_iter().chain([last]).collect();
    let agent = RuleModel::new(move |prompt| match asked.get(results(prompt).len()) {
        Some(input) => vec![call("a", "advisor", &input.to_string()), finish(FinishReason::ToolCalls)],
        None => say("Done."),
    });
    let asking = Asking::new(agent, Sage::sure(), |advisor| advisor.max_uses_per_run = 1);
    let (_, _, given) = asking.turn().await;
    assert_eq!(types(&given), ["failed", "failed", "failed", "advice"]);
    assert_eq!(given[0]["failed"], "The question is empty.");
    assert!(given[1]["failed"].as_str().is_some_and(|words| words.contains("question")), "{given:?}");
    assert_eq!(given[2]["failed"], "The question has 2001 characters; it may have 2000.");
    assert_eq!((asking.sage.asked(), paid(&asking.book).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn beside_another_call_nothing_runs_and_after_two_such_steps_neither_tool_nor_guidance_is_there() {
    let agent = RuleModel::new(|prompt| match results(prompt).len() {
        0..3 => {
            let question = r#"{"question":"Why?"}"#;
            vec![
                call("a", "advisor", question),
                call("b", "read", r#"{"n":1}"#),
                finish(FinishReason::ToolCalls),
            ]
        }
        _ => say("Done."),
    });
    let mut asking = Asking::new(agent.clone(), Sage::sure(), |_| {});
    let read = CountTool::new("read", Effect::Pure);
    asking.tools = vec![read.clone()];
    let (chats, chat, given) = asking.turn().await;
    assert_eq!((asking.sage.asked(), read.started()), (0, 1), "{given:#?}");
    assert_eq!(types(&given[..4]), ["failed"; 4]);
    assert!(
        given[4]["failed"]
            .as_str()
            .is_some_and(|words| words.contains("not there for the rest of this turn"))
    );
    assert_eq!(given[5], "read 1");
    assert_eq!(*agent.tools.lock(), [2, 2, 1, 1]);
    let guided = || agent.prompts.lock().iter().map(|prompt| guidance(prompt)).collect::<Vec<_>>();
    assert_eq!(guided(), [1, 1, 0, 0]);
    let _worker = work(&chats);
    chats.send(chat, NewMessage::text("again")).await.expect("sent");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!((agent.tools.lock()[4], guided()[4]), (2, 1), "it is there again in the next turn");
}

fn guidance(prompt: &[Message]) -> usize {
    prompt.iter().filter(|message| line(message).starts_with(&format!("system: {GUIDANCE}"))).count()
}

#[tokio::test(start_paused = true)]
async fn one_decision_says_whether_there_is_a_tool_its_guidance_and_its_policy() {
    for (is_enabled, is_child, is_there) in [(true, false, true), (false, false, false), (true, true, false)]
    {
        let agent = RuleModel::new(|prompt| match results(prompt).len() {
            0 => {
                let question = r#"{"question":"Why?"}"#;
                let calls = [call("a", "advisor", question), call("b", "read", r#"{"n":1}"#)];
                calls.into_iter().chain([finish(FinishReason::ToolCalls)]).collect()
            }
            _ => say("Done."),
        });
        let mut asking = Asking::new(agent.clone(), Sage::sure(), |advisor| advisor.enabled = is_enabled);
        let read = CountTool::new("read", Effect::Pure);
        asking.tools = vec![read.clone()];
        let chats = asking.chats();
        let mut new = new_chat("help me");
        if is_child {
            let mut root = new_chat("");
            root.content.clear();
            new.parent = Some(chats.create(root).await.expect("created").0);
        }
        let (chat, _) = chats.create(new).await.expect("created");
        let _worker = work(&chats);
        until(&chats, chat, Status::Waiting).await;
        let (tools, guided) = (agent.tools.lock()[0], guidance(&agent.prompts.lock()[0]));
        let case = format!("enabled: {is_enabled}, child: {is_child}");
        assert_eq!(
            (tools, guided, read.started()),
            (1 + usize::from(is_there), usize::from(is_there), usize::from(!is_there)),
            "{case}"
        );
        if !is_there {
            let given = given(&chats, chat).await;
            assert_eq!(given[0]["failed"], "There is no tool named \"advisor\".", "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_advisor_sees_what_the_model_saw_with_what_it_said_and_without_the_call_that_asks() {
    let agent = RuleModel::new(|prompt| match results(prompt).len() {
        0 => {
            let calls = [text("Let me read."), vec![call("r", "read", r#"{"n":1}"#)]].concat();
            calls.into_iter().chain([finish(FinishReason::ToolCalls)]).collect()
        }
        1 => ask("Now what?"),
        _ => say("Done."),
    });
    let mut asking = Asking::new(agent.clone(), Sage::sure(), |_| {});
    asking.tools = vec![CountTool::new("read", Effect::Pure)];
    let chats = asking.chats();
    let _worker = work(&chats);
    let mut new = new_chat("help me");
    new.system = Some("Be brief.".to_owned());
    let (chat, _) = chats.create(new).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    let prompt = asking.sage.prompt(0);
    assert!(prompt[1].starts_with("system: You advise an AI agent"), "{prompt:#?}");
    let others = [&prompt[..1], &prompt[2..]].concat();
    let expected = [
        "system: Be brief.",
        "user: help me",
        "model: Let me read.\n\n[Called read with {\"n\":1}]",
        "user: [read gave: read 0]",
        "model: I am stuck.",
        "user: Now what?",
    ];
    assert_eq!(others, expected);
    // The model itself goes on as if the advisor were any tool, and its prompts only grow.
    let prompts = agent.prompts.lock();
    let lines = |n: usize| prompts[n].iter().map(line).collect::<Vec<_>>();
    assert!(lines(2)[..lines(1).len()] == lines(1)[..] && lines(1)[..lines(0).len()] == lines(0)[..]);
    assert!(lines(0)[1].starts_with(&format!("system: {GUIDANCE}")), "{:#?}", lines(0));
}

#[tokio::test(start_paused = true)]
async fn advice_as_long_as_it_may_be_stays_whole_json_and_counts_as_a_use() {
    let sage = Sage::new(|_| advice(&"\"Quote\" it.\n".repeat(20_000)));
    let mut asking = Asking::new(agent(2), sage, |advisor| advisor.max_uses_per_run = 1);
    asking.settings.tool_output_bytes_max = 8_000;
    let (_, _, given) = asking.turn().await;
    assert_eq!(types(&given), ["advice", "limit_reached"]);
    let words = given[0]["advice"].as_str().expect("advice");
    assert!(words.contains("bytes left out") && words.len() > 4_000, "{} bytes", words.len());
}

/// An advisor that has begun to speak and goes on for ever.
fn endless() -> Arc<Sage> {
    Sage::new(|n| match n {
        0 => {
            let mut parts = text("Well ");
            parts.push(ModelPart::KeepAlive);
            parts
        }
        _ => advice("At last."),
    })
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_advisor_at_once_and_leaves_its_call_cancelled() {
    let asking = Asking::new(agent(1), endless(), |_| {});
    let chats = asking.chats();
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("help me")).await.expect("created");
    asking.sage.asked.notified().await;
    sleep(Duration::from_millis(50)).await;
    let before = Instant::now();
    chats.interrupt(chat, None).await.expect("stopped");
    until(&chats, chat, Status::Waiting).await;
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    assert_eq!(
        given(&chats, chat).await,
        [json!({"failed": "The call was cancelled: the turn was stopped."})]
    );
    let (ends, estimated) = (how_ended(&asking.book), paid(&asking.book)[0].1);
    assert_eq!((ends, estimated), (vec![Some(LedgerEnd::Interrupted)], true));
    assert!(paid(&asking.book)[0].2.output > Some(0), "what it has said was paid for");
}

#[tokio::test(start_paused = true)]
async fn an_edit_drops_the_advisor_and_its_request_is_closed_as_cut_off() {
    let asking = Asking::new(agent(1), endless(), |_| {});
    let chats = asking.chats();
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("help me")).await.expect("created");
    asking.sage.asked.notified().await;
    sleep(Duration::from_millis(50)).await;
    let all = records(&chats, chat).await;
    let user = all.iter().find(|record| record.kind.name() == "message.user").expect("it is there").seq;
    chats.edit(chat, NewEdit::new(user, vec![Part::text("help me more")])).await.expect("edited");
    until(&chats, chat, Status::Waiting).await;
    // The worker tells the ledger what nobody waits for.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(how_ended(&asking.book), [Some(LedgerEnd::Aborted), Some(LedgerEnd::Finished)]);
    assert_eq!(types(&given(&chats, chat).await).last(), Some(&"advice"));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_cuts_the_advisor_off_and_whoever_comes_next_asks_again() {
    let asking = Asking::new(agent(2), endless(), |advisor| advisor.max_uses_per_run = 1);
    let chats = asking.chats();
    let (shutdown, mut tasks) = (Arc::new(Notify::new()), JoinSet::new());
    let (worker, ends) = (chats.worker(), Arc::clone(&shutdown));
    tasks.spawn(async move { worker.run(ends.notified()).await });
    let (chat, _) = chats.create(new_chat("help me")).await.expect("created");
    asking.sage.asked.notified().await;
    sleep(Duration::from_millis(50)).await;
    shutdown.notify_one();
    tasks.join_next().await.expect("it ran").expect("it ends");
    eventually("the request is closed", || how_ended(&asking.book) == [Some(LedgerEnd::Aborted)]).await;
    assert_eq!(given(&chats, chat).await, [Value::Null; 0]);

    let other = asking.chats();
    let _worker = work(&other);
    until(&other, chat, Status::Waiting).await;
    assert_eq!(types(&given(&other, chat).await), ["advice", "limit_reached"]);
    // What it sees is what the first one would have seen.
    assert_eq!(asking.sage.prompt(1), asking.sage.prompt(0));
}

/// Runs a turn of five questions where two are allowed, and kills the process after so many of its commits.
async fn cut_run(left: isize, last_is_applied: bool) -> (Vec<Value>, usize, Vec<Option<LedgerEnd>>, bool) {
    let asking = Asking::new(agent(5), Sage::sure(), |advisor| advisor.max_uses_per_run = 2);
    let whole = asking.chats();
    let (chat, _) = whole.create(new_chat("help me")).await.expect("created");
    let cut = Cut::after(asking.world.store.clone(), left, last_is_applied);
    let dies = Ports { chats: cut.clone() as Arc<dyn ChatStore>, ..asking.ports() };
    let worker = work(&Chats::new(dies, asking.settings.clone()).expect("a valid setup"));
    for _ in 0..2_000 {
        let rests = whole.head(chat).await.is_ok_and(|head| head.index.status == Status::Waiting);
        if cut.is_cut() || rests {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    let was_cut = cut.is_cut();
    drop(worker);
    let _worker = work(&whole);
    until(&whole, chat, Status::Waiting).await;
    check_log(&records(&whole, chat).await);
    (given(&whole, chat).await, asking.sage.asked(), how_ended(&asking.book), was_cut)
}

#[tokio::test(start_paused = true)]
async fn c9_a_turn_has_no_more_advice_than_it_may_have_wherever_its_process_dies() {
    let mut cuts = 0;
    for left in 0.. {
        let mut reached = false;
        for last_is_applied in [false, true] {
            let (given, asked, ends, was_cut) = cut_run(left, last_is_applied).await;
            let case = format!("cut after {left} commits, applied: {last_is_applied}");
            let expected = ["advice", "advice", "limit_reached", "limit_reached", "limit_reached"];
            assert_eq!(types(&given), expected, "{case}");
            // Advice whose commit did not land is asked for again, and paid for twice.
            assert!((2..=3).contains(&asked) && ends.len() == asked, "{case}: {asked} {ends:?}");
            reached |= was_cut;
        }
        if !reached {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 10, "the turn was cut at {cuts} places");
}

#[tokio::test(start_paused = true)]
async fn c9_a_summary_in_the_middle_of_a_turn_and_a_death_after_it_give_no_use_back() {
    let agent = RuleModel::new(|prompt| {
        let words: String = prompt.iter().flat_map(|message| message.content.iter()).map(words_of).collect();
        let last = prompt.last().expect("somebody spoke");
        match last.role {
            Role::User if line(last).starts_with("user: Summarise") => say("They asked."),
            // It goes on after the summary, and asks once more.
            _ if words.contains("They asked.") && !words.contains("limit_reached") => ask("And now?"),
            _ if words.contains("limit_reached") => say("Done."),
            _ => ask("What now?"),
        }
    });
    let slow = Sage::new(|n| if n == 0 { advice(&"Try. ".repeat(4_000)) } else { endless_parts() });
    let asking = Asking::new(agent, slow, |advisor| advisor.max_uses_per_run = 1);
    let mut row = ModelConfig::new("rule", "one");
    row.context_window = Some(2_000);
    let ports = || {
        let mut ports = asking.ports();
        ports.model_configs.insert("rule".into(), row.clone());
        ports
    };
    let process = || Chats::new(ports(), asking.settings.clone()).expect("a valid setup");
    let first = process();
    let (chat, _) = first.create(new_chat("help me")).await.expect("created");
    let cut = Cut::after(asking.world.store.clone(), isize::MAX, false);
    let dies = Chats::new(Ports { chats: cut.clone(), ..ports() }, asking.settings.clone());
    let worker = work(&dies.expect("a valid setup"));
    for _ in 0..20_000 {
        let all = records(&first, chat).await;
        if all.iter().any(|record| record.kind.name() == "context.compacted") {
            break;
        }
        sleep(Duration::from_millis(1)).await;
    }
    drop(worker);
    let _worker = work(&first);
    until(&first, chat, Status::Waiting).await;
    let all = records(&first, chat).await;
    assert!(
        all.iter().any(|record| record.kind.name() == "context.compacted"),
        "{}",
        common::log(&first, chat).await
    );
    let given = given(&first, chat).await;
    assert_eq!(types(&given).iter().filter(|told| **told == "advice").count(), 1, "{:?}", types(&given));
    assert_eq!(types(&given).last(), Some(&"limit_reached"));
}

fn endless_parts() -> Vec<ModelPart> {
    vec![ModelPart::KeepAlive]
}

/// Makes models of rows, by the provider's name of them.
struct ByName(Arc<RuleModel>, Arc<Sage>);

#[async_trait]
impl ModelResolver for ByName {
    async fn resolve(
        &self,
        _: &Configured<ProviderConfig>,
        model: &Configured<ModelConfig>,
    ) -> Result<Arc<dyn LanguageModel>, Unresolved> {
        Ok(match &*model.model {
            "sage" => self.1.clone(),
            _ => self.0.clone(),
        })
    }
}

/// A process whose models and advisor are configured.
struct Deployment {
    asking: Asking,
    rows: MemoryConfigs,
    configs: Configs,
}

impl Deployment {
    async fn new(asking: Asking) -> Self {
        let rows = MemoryConfigs::new();
        let (bus, store): (Arc<dyn Bus>, Arc<dyn ConfigStore>) =
            (Arc::new(asking.world.bus.clone()), Arc::new(rows.clone()));
        let configs = Configs::new(&store, bus, &ConfigSettings::default()).expect("valid");
        let deployment = Self { asking, rows, configs };
        let provider = ProviderConfig::new("any").to_json();
        deployment.put(&ConfigKey::provider("p").expect("short"), &provider).await;
        for (id, model) in [("m", "one"), ("wise", "sage")] {
            let row = ModelConfig::new("p", model).to_json();
            deployment.put(&ConfigKey::model(id).expect("short"), &row).await;
        }
        deployment.put(&ConfigKey::default_model(None), &Json::parse("\"m\"").expect("JSON")).await;
        deployment
    }

    async fn put(&self, key: &ConfigKey, value: &Json) {
        let version = self.rows.config(key).await.expect("in memory").map_or(0, |row| row.version);
        self.rows.write_config(key, version, Some(value)).await.expect("in memory");
        self.configs.invalidate(&Invalidation::of(key));
    }

    async fn advisor(&self, row: &str) {
        self.put(&ConfigKey::advisor(), &Json::parse(row).expect("JSON")).await;
    }

    fn chats(&self) -> Chats {
        let mut ports = self.asking.ports();
        (ports.models, ports.model_configs, ports.default_model) = Default::default();
        let resolver = Arc::new(ByName(self.asking.agent.clone(), self.asking.sage.clone()));
        ports.configuration = Some(Configuration { configs: self.configs.clone(), resolver });
        let mut settings = self.asking.settings.clone();
        settings.advisor = AdvisorSettings::default();
        Chats::new(ports, settings).expect("a valid setup")
    }
}

/// What the records of attempts warn of.
async fn warnings(chats: &Chats, chat: ChatId) -> Vec<String> {
    let mut warnings = Vec::new();
    for record in records(chats, chat).await {
        if let Body::AttemptEnded(ended) = record.open().expect("ours").body {
            warnings.extend(ended.warnings.into_iter().map(String::from));
        }
    }
    warnings
}

#[tokio::test(start_paused = true)]
async fn the_row_of_the_advisor_counts_from_the_next_turn_on_and_what_is_wrong_with_it_is_said() {
    let agent = RuleModel::new(|_| say("Done."));
    let mut asking = Asking::new(agent.clone(), Sage::sure(), |_| {});
    asking.tools = vec![CountTool::new("read", Effect::Pure)];
    let deployment = Deployment::new(asking).await;
    let chats = deployment.chats();
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    let off = |why: &str| format!("The advisor is off for this turn: {why}.");
    let broken = off("the configuration advisor_config/ is not valid: enabled: expected true or false");
    let nobody = off("there is no model \"nobody\"");
    let disabled = off("the model \"late\" is switched off");
    let mut late = ModelConfig::new("p", "sage");
    late.enabled = false;
    deployment.put(&ConfigKey::model("late").expect("short"), &late.to_json()).await;
    for (row, is_there, said) in [
        (r#"{"enabled":true}"#, true, None),
        (r#"{"enabled":true,"model_config_id":"wise"}"#, true, None),
        (r#"{"enabled":true,"model_config_id":"nobody"}"#, false, Some(nobody)),
        (r#"{"enabled":true,"model_config_id":"late"}"#, false, Some(disabled)),
        (r#"{"enabled":"yes"}"#, false, Some(broken)),
        (r#"{"enabled":true,"max_uses_per_run":-1}"#, false, None),
        ("{}", false, None),
    ] {
        deployment.advisor(row).await;
        deployment.asking.told.0.lock().clear();
        let before = warnings(&chats, chat).await.len();
        chats.send(chat, NewMessage::text("go on")).await.expect("sent");
        until(&chats, chat, Status::Waiting).await;
        let tools = *agent.tools.lock().last().expect("it was asked");
        let guided = agent.prompts.lock().last().map(|prompt| guidance(prompt));
        let there = usize::from(is_there);
        assert_eq!((tools, guided), (1 + there, Some(there)), "{row}");
        let said: Vec<String> = said.into_iter().collect();
        assert_eq!(*deployment.asking.told.0.lock(), said, "{row}");
        // Records keep the beginning of a warning.
        let brief: Vec<String> = said.iter().map(|said| said.chars().take(75).collect()).collect();
        assert_eq!(warnings(&chats, chat).await[before..], brief, "{row}: it stands in the log too");
    }
    assert_eq!(agent.tools.lock()[0], 1, "without a row there is none");
}

#[tokio::test(start_paused = true)]
async fn a_decision_holds_for_its_turn_and_a_queued_message_begins_another() {
    let sage = Sage::new(|_| advice(&"Try. ".repeat(200)));
    let deployment = Deployment::new(Asking::new(agent(1), sage, |_| {})).await;
    deployment.advisor(r#"{"enabled":true,"model_config_id":"wise"}"#).await;
    let chats = deployment.chats();
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    deployment.asking.sage.asked.notified().await;
    deployment.advisor("{}").await;
    chats.send(chat, NewMessage::text("and more")).await.expect("queued");
    until(&chats, chat, Status::Waiting).await;
    let guided: Vec<usize> =
        deployment.asking.agent.prompts.lock().iter().map(|prompt| guidance(prompt)).collect();
    assert_eq!(guided, [1, 1, 0, 0], "two steps of the first turn, two of the second");
    assert_eq!(*deployment.asking.agent.tools.lock(), [1, 1, 0, 0]);
    assert_eq!(types(&given(&chats, chat).await), ["advice", "failed"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_user_wants_every_model_to_know_stands_before_the_guidance_and_reaches_the_advisor() {
    for dies in [false, true] {
        let asking = Asking::new(agent(1), if dies { endless() } else { Sage::sure() }, |_| {});
        let deployment = Deployment::new(asking).await;
        let ada = UserId::new("ada").expect("short");
        let own = Json::parse("\"I like tea.\"").expect("JSON");
        deployment.put(&ConfigKey::user_prompt(&ada), &own).await;
        deployment.advisor(r#"{"enabled":true,"model_config_id":"wise"}"#).await;
        let chats = deployment.chats();
        let mut worker = work(&chats);
        let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
        deployment.asking.sage.asked.notified().await;
        if dies {
            drop(worker);
            worker = work(&chats);
        }
        until(&chats, chat, Status::Waiting).await;
        let first: Vec<String> = deployment.asking.agent.prompts.lock()[0].iter().map(line).collect();
        assert_eq!(first[0], "system: I like tea.");
        assert!(
            first[1].starts_with(&format!("system: {GUIDANCE}")) && first[2] == "user: hello",
            "{first:#?}"
        );
        let prompt = deployment.asking.sage.prompt(usize::from(dies));
        let expected =
            ["system: I like tea.", &prompt[1], "user: hello", "model: I am stuck.", "user: What now, 0?"];
        assert_eq!(prompt, expected);
        drop(worker);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_of_the_host_that_has_its_name_is_refused_or_wins() {
    let (agent, sage) = (agent(1), Sage::sure());
    let mut asking = Asking::new(agent.clone(), sage, |_| {});
    let own = CountTool::new("advisor", Effect::Pure);
    asking.tools = vec![own];
    let refused = Chats::new(asking.ports(), asking.settings.clone()).err();
    assert_eq!(refused, Some(InvalidSetup::DuplicateTool("advisor".into())));

    // Nobody can know when a process is built what will be configured.
    let deployment = Deployment::new(asking).await;
    deployment.advisor(r#"{"enabled":true}"#).await;
    let chats = deployment.chats();
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!((agent.tools.lock()[0], guidance(&agent.prompts.lock()[0])), (1, 0));
    assert_eq!(
        *deployment.asking.told.0.lock(),
        ["The advisor is off for this turn: the host has a tool of its name."]
    );
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_not_there_is_no_advisor_where_nothing_is_configured() {
    let asking = Asking::new(agent(1), Sage::sure(), |advisor| advisor.model_config_id = Some("gone".into()));
    let refused = Chats::new(asking.ports(), asking.settings.clone()).err();
    assert_eq!(refused, Some(InvalidSetup::UnknownModel("gone".into())));
}
