//! A process in a test: stores in memory, a model that answers by rule, tools that count.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

pub mod book;
pub mod doors;
pub mod recorder;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_conformance::Counting;
use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::head::Status;
use chatwright_core::model::{
    Finish, FinishReason, Message, ModelCall, ModelId, ModelPart, ReasoningEffort, Role,
};
use chatwright_core::port::{ChatStore, Clock, LanguageModel, ModelStream, Tool};
use chatwright_core::record::Body;
use chatwright_core::tool::{Effect, ToolCall, ToolSpec};
use chatwright_core::{ChatId, Record, Seq, Timestamp, UserId};
use chatwright_loop::{Chats, NewChat, Ports, Settings};
use chatwright_memory::{MemoryBus, MemoryLiveLog, MemorySessions, MemoryStore, SeededIds};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Time that passes with tokio's, so that a paused test controls it.
pub struct TokioClock(Instant);

impl TokioClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).after(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

type Rule = Box<dyn Fn(&[Message]) -> Vec<ModelPart> + Send + Sync>;

/// A model that answers by rule.
pub struct RuleModel {
    rule: Rule,
    pub prompts: Mutex<Vec<Vec<Message>>>,
    pub efforts: Mutex<Vec<Option<ReasoningEffort>>>,
    /// How many tools it was shown.
    pub tools: Mutex<Vec<usize>>,
}

impl RuleModel {
    pub fn new(rule: impl Fn(&[Message]) -> Vec<ModelPart> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            rule: Box::new(rule),
            prompts: Mutex::default(),
            efforts: Mutex::default(),
            tools: Mutex::default(),
        })
    }
}

impl LanguageModel for RuleModel {
    fn id(&self) -> ModelId {
        ModelId { provider: "rule".into(), model: "one".into() }
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        let parts = (self.rule)(&call.prompt);
        self.tools.lock().push(call.tools.len());
        self.efforts.lock().push(call.reasoning_effort);
        self.prompts.lock().push(call.prompt.into_messages());
        // A pause between parts lets others in.
        futures::stream::iter(parts)
            .then(|part| async {
                match &part {
                    ModelPart::KeepAlive => std::future::pending::<()>().await,
                    _ => tokio::time::sleep(Duration::from_millis(1)).await,
                }
                part
            })
            .boxed()
    }
}

pub fn text(words: &str) -> Vec<ModelPart> {
    let mut parts = vec![ModelPart::TextStart { id: "t".into() }];
    parts.extend(
        words
            .split_inclusive(' ')
            .map(|word| ModelPart::TextDelta { id: "t".into(), delta: word.to_owned() }),
    );
    parts
}

pub fn call(id: &str, name: &str, input: &str) -> ModelPart {
    ModelPart::ToolCall {
        id: id.into(),
        name: name.into(),
        input: input.into(),
        provider_executed: false,
        metadata: Metadata::new(),
    }
}

pub fn finish(reason: FinishReason) -> ModelPart {
    ModelPart::Finish(Finish { reason, ..Finish::default() })
}

pub fn say(words: &str) -> Vec<ModelPart> {
    let mut parts = text(words);
    parts.push(finish(FinishReason::Stop));
    parts
}

/// A model that stops talking after these words, for ever.
pub fn stall(words: &str) -> Vec<ModelPart> {
    let mut parts = text(words);
    parts.push(ModelPart::KeepAlive);
    parts
}

/// Answers each user message by naming it, without what it is told of the turn before; a message `use a,b` calls these tools first.
pub fn echo(prompt: &[Message]) -> Vec<ModelPart> {
    let last = prompt.last().expect("a prompt is never empty");
    let told = matches!(&last.content[..], [Part::Text { text, .. }, _, ..] if text.starts_with('['));
    let words: String = last.content.iter().skip(usize::from(told)).map(words_of).collect();
    match last.role {
        Role::User => match words.strip_prefix("use ") {
            Some(tools) => {
                let mut parts = text("Let me see.");
                for (n, tool) in tools.split(',').enumerate() {
                    parts.push(call(&format!("c{n}"), tool, r#"{"n":1}"#));
                }
                parts.push(finish(FinishReason::ToolCalls));
                parts
            }
            None if words.starts_with("stall") => stall("I begin to "),
            None => say(&format!("You said {words}.")),
        },
        _ => say(&format!("The tools said {words}.")),
    }
}

pub fn words_of(part: &Part) -> String {
    match part {
        Part::Text { text, .. } => text.clone(),
        Part::ToolResult { output: Output::Text { text }, .. } => format!("[{text}]"),
        Part::ToolResult { output: Output::Error { text }, .. } => format!("[error: {text}]"),
        _ => String::new(),
    }
}

/// A tool that counts how often it was started.
pub struct CountTool {
    name: &'static str,
    effect: Effect,
    pub started: AtomicUsize,
    hangs: bool,
}

impl CountTool {
    pub fn new(name: &'static str, effect: Effect) -> Arc<Self> {
        Arc::new(Self { name, effect, started: AtomicUsize::new(0), hangs: false })
    }

    pub fn hanging(name: &'static str, effect: Effect) -> Arc<Self> {
        Arc::new(Self { name, effect, started: AtomicUsize::new(0), hangs: true })
    }

    pub fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Tool for CountTool {
    fn spec(&self) -> ToolSpec {
        let schema = serde_json::json!({"type": "object", "required": ["n"]});
        ToolSpec::new(self.name, "counts", schema, self.effect)
    }

    async fn call(&self, call: ToolCall) -> Output {
        self.started.fetch_add(1, Ordering::SeqCst);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        Output::text(format!("{} {}", self.name, call.key.ordinal))
    }
}

/// What all processes of a test share.
pub struct World {
    pub clock: Arc<TokioClock>,
    pub store: Arc<Counting<MemoryStore>>,
    /// The same, not counted.
    pub memory: MemoryStore,
    pub sessions: MemorySessions,
    pub bus: MemoryBus,
    pub seeds: AtomicUsize,
}

impl World {
    pub fn new() -> Self {
        let clock = TokioClock::new();
        let memory = MemoryStore::new(clock.clone());
        Self {
            store: Arc::new(Counting::new(memory.clone())),
            memory,
            sessions: MemorySessions::new(clock.clone()),
            bus: MemoryBus::new(),
            clock,
            seeds: AtomicUsize::new(1),
        }
    }

    pub fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn ports(&self, model: Arc<dyn LanguageModel>, tools: Vec<Arc<dyn Tool>>) -> Ports {
        let seed = self.seeds.fetch_add(1, Ordering::SeqCst) as u64;
        Ports {
            chats: self.store.clone(),
            sessions: Arc::new(self.sessions.clone()),
            bus: Arc::new(self.bus.clone()),
            live: Arc::new(MemoryLiveLog::new(self.clock.clone())),
            blobs: None,
            clock: self.clock.clone(),
            ids: Arc::new(SeededIds::new(seed)),
            observers: Vec::new(),
            models: [("rule".into(), model)].into(),
            model_configs: BTreeMap::new(),
            ledger: None,
            configuration: None,
            default_model: Some("rule".into()),
            tools,
            client_tools: Vec::new(),
        }
    }

    /// A process with the echo model and these tools.
    pub fn process(&self, tools: Vec<Arc<dyn Tool>>) -> Chats {
        self.process_with(RuleModel::new(echo), tools)
    }

    pub fn process_with(&self, model: Arc<dyn LanguageModel>, tools: Vec<Arc<dyn Tool>>) -> Chats {
        Chats::new(self.ports(model, tools), Settings::default()).expect("a valid setup")
    }
}

pub fn new_chat(words: &str) -> NewChat {
    let mut new = NewChat::new(UserId::new("ada").expect("a short id"));
    new.content = vec![Part::text(words)];
    new
}

/// A chat whose first turn is over.
pub async fn begun(chats: &Chats, words: &str) -> ChatId {
    let (chat, _) = chats.create(new_chat(words)).await.expect("created");
    until(chats, chat, Status::Waiting).await;
    chat
}

/// Waits until the chat does this; time is paused, so that waiting costs nothing.
pub async fn until(chats: &Chats, chat: ChatId, status: Status) {
    for _ in 0..200_000 {
        if chats.head(chat).await.is_ok_and(|head| head.index.status == status) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the chat did not become {}; its log:\n{}", status.as_str(), log(chats, chat).await);
}

pub async fn records(chats: &Chats, chat: ChatId) -> Vec<Record> {
    chats.records(chat, Seq::ZERO).await.expect("the store answers")
}

/// The kinds of all records, a commit a line.
pub async fn log(chats: &Chats, chat: ChatId) -> String {
    let mut lines: Vec<String> = Vec::new();
    for record in records(chats, chat).await {
        let name = record.kind.name().to_owned();
        match (record.op(), lines.last_mut()) {
            (None, Some(line)) => *line += &format!(" {name}"),
            _ => lines.push(name),
        }
    }
    lines.join("\n")
}

/// Who said what, results included.
pub async fn transcript(chats: &Chats, chat: ChatId) -> Vec<String> {
    let mut lines = Vec::new();
    for record in records(chats, chat).await {
        match record.open().expect("a record of ours").body {
            Body::MessageUser(message) => {
                lines.push(format!("user: {}", message.content.iter().map(words_of).collect::<String>()));
            }
            Body::MessageAssistant(message) => {
                let cut = if message.interrupted { " (stopped)" } else { "" };
                lines.push(format!(
                    "model: {}{cut}",
                    message.content.iter().map(words_of).collect::<String>()
                ));
            }
            Body::ToolResults(results) => {
                for result in results.results {
                    let words = match result.output {
                        Output::Text { text } | Output::Error { text } => text,
                        other => format!("{other:?}"),
                    };
                    lines.push(format!("tool {}: {words}", result.ordinal));
                }
            }
            _ => {}
        }
    }
    lines
}

pub fn store(world: &World) -> Arc<dyn ChatStore> {
    world.store.clone()
}

/// Every gen is opened once, sealed once, and one at a time; every commit begins with its operation.
pub fn check_log(records: &[Record]) {
    let mut open: Option<u64> = None;
    let mut newest = 0;
    for record in records {
        let body: serde_json::Value = record.body.decode().expect("JSON");
        let r#gen = body["data"]["gen"].as_u64();
        match record.kind.name() {
            "attempt.started" | "batch.started" => {
                assert_eq!(open, None, "a gen is opened while another is open");
                assert!(r#gen > Some(newest), "gens rise");
                (open, newest) = (r#gen, r#gen.unwrap_or(0));
            }
            "attempt.ended" | "attempt.failed" | "batch.ended" => {
                assert_eq!(open, r#gen, "a gen is sealed that is not open");
                open = None;
            }
            _ => {}
        }
    }
    assert_eq!(open, None, "every gen is sealed at rest");
}

/// Runs a worker of this process for as long as the set lives.
pub fn work(chats: &Chats) -> JoinSet<()> {
    let worker = chats.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });
    tasks
}
