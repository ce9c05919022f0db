//! What does a step of a turn cost, and does it depend on how long the chat is?
//!
//! A model that answers at once calls a tool that answers at once, so often; then the turn ends. A step is all that the loop
//! does for it: the prompt, the answer folded and stored with the intent of its call, the tool's task, its result stored with the
//! start of the next attempt, doorbells and events: the time from the first call of the model to the last. What comes before the first one, where
//! a worker reads the chat and claims it, is a row of its own. Measured over a store in memory and over SQLite (WAL, synchronous
//! FULL), in a chat of 10 messages and in one of 10,000. The peer on SQLite is one connection that inserts one row of the same
//! size per durable transaction, twice for a step.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chatwright::core::content::{Metadata, Output};
use chatwright::core::head::Status;
use chatwright::core::model::{Finish, FinishReason, ModelCall, ModelId, ModelPart};
use chatwright::core::port::{Bus, ChatStore, LanguageModel, ModelStream, SessionStore, Tool};
use chatwright::core::tool::{Effect, ToolCall, ToolSpec};
use chatwright::memory::{MemoryBus, MemoryStore};
use chatwright::sqlite::SqliteStore;
use chatwright::{Chat, Chatwright, NewChat, Settings, SystemClock, UserId};
use chatwright_benches::{Bench, median};
use futures::StreamExt;

use tokio::task::JoinSet;

const LENGTHS: [usize; 2] = [10, 10_000];

fn main() {
    let bench = Bench::from_args();
    let (steps, lengths) = if bench.rounds == 1 { (20, [10, 100]) } else { (100, LENGTHS) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let bare = bare(&folder.path().join("bare.db"), if bench.rounds == 1 { 50 } else { 5_000 });
    println!(
        "{:<34} {:>14} {:>14} {:>7}",
        format!("{steps} steps"),
        format!("{} messages", lengths[0]),
        lengths[1],
        "ratio"
    );
    runtime.block_on(async {
        let memory = [0; 2].map(|_| MemoryStore::new(Arc::new(SystemClock::new())));
        let mut talks = Vec::new();
        for (store, length) in memory.into_iter().zip(lengths) {
            talks.push(Talk::of(store, MemoryBus::new(), length).await);
        }
        report("memory", &bench, &talks, steps).await;
        drop(talks);
        let mut talks = Vec::new();
        for (n, length) in lengths.into_iter().enumerate() {
            let store = SqliteStore::open(folder.path().join(format!("{n}.db"))).expect("an empty folder");
            talks.push(Talk::of(store, MemoryBus::new(), length).await);
        }
        let [short, _] = report("SQLite", &bench, &talks, steps).await;
        println!(
            "{:<34} {bare:>14.0} {:>14} {:>7.2}",
            "SQLite, pairs of bare transactions",
            "",
            short / bare
        );
    });
}

/// Steps per second.
async fn report(name: &str, bench: &Bench, talks: &[Talk], steps: usize) -> [f64; 2] {
    let (mut rates, mut starts): ([Vec<f64>; 2], [Vec<f64>; 2]) = Default::default();
    for _ in 0..bench.rounds {
        for (n, talk) in talks.iter().enumerate() {
            let (start, rate) = talk.measure(steps).await;
            starts[n].push(start.as_secs_f64() * 1e3);
            rates[n].push(rate);
        }
    }
    let [short, long] = rates.map(median);
    println!("{:<34} {short:>14.0} {long:>14.0} {:>7.2}", format!("{name}, steps per second"), short / long);
    let starts = starts.map(median);
    let [start, long_start] = starts;
    println!(
        "{:<34} {start:>14.2} {long_start:>14.2} {:>7.2}",
        format!("{name}, ms until the model is asked"),
        long_start / start
    );
    [short, long]
}

/// A process with chats of so many messages.
struct Talk {
    chatwright: Chatwright,
    /// The one that every turn goes on with; short chats are made anew, for a turn would make them long.
    long: Option<Chat>,
    messages: usize,
    model: Instantly,
    _worker: JoinSet<()>,
}

impl Talk {
    async fn of(store: impl ChatStore + SessionStore, bus: impl Bus, messages: usize) -> Self {
        let model = Instantly::default();
        let mut settings = Settings::default();
        settings.rules.steps_max = u32::MAX;
        let builder = Chatwright::builder(store, bus).model("m", model.clone()).tool(Now).settings(settings);
        let chatwright = builder.build().expect("a valid setup");
        let worker = chatwright.worker();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { worker.run(std::future::pending()).await });
        let mut talk = Self { chatwright, long: None, messages, model, _worker: tasks };
        talk.long = if messages > 100 { Some(talk.chat().await) } else { None };
        talk
    }

    /// A chat of so many messages.
    async fn chat(&self) -> Chat {
        let new = NewChat::new(UserId::new("ada").expect("short"));
        let chat = self.chatwright.create(new).await.expect("created");
        // A turn of so many steps has two messages for each, with its last one.
        let mut left = self.messages;
        while left > 0 {
            let steps = left.min(1_000) / 2;
            self.turn(&chat, steps).await;
            left = left.saturating_sub(2 * steps + 2);
        }
        chat
    }

    /// A turn of so many steps.
    async fn turn(&self, chat: &Chat, steps: usize) {
        self.model.steps.store(steps, Ordering::SeqCst);
        chat.send("go on").await.expect("accepted");
        while chat.head().await.expect("there").index.status != Status::Waiting {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How long a turn takes until the model is asked, and how many steps there are in a second from then on.
    async fn measure(&self, steps: usize) -> (Duration, f64) {
        let chat = match &self.long {
            Some(chat) => chat.clone(),
            None => self.chat().await,
        };
        self.model.asked.lock().expect("nobody panics with it").clear();
        let begun = now();
        self.turn(&chat, steps).await;
        let asked = self.model.asked.lock().expect("nobody panics with it");
        let (first, last) = (asked[0], asked[asked.len() - 1]);
        (first - begun, steps as f64 / (last - first).as_secs_f64())
    }
}

/// Calls the tool as long as there are steps, at once.
#[derive(Clone, Default)]
struct Instantly {
    steps: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl LanguageModel for Instantly {
    fn id(&self) -> ModelId {
        ModelId { provider: "bench".into(), model: "instantly".into() }
    }

    fn stream(&self, _: ModelCall) -> ModelStream {
        self.asked.lock().expect("nobody panics with it").push(now());
        let more =
            self.steps.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let text = ModelPart::TextDelta { id: "0".into(), delta: "Let me see what time it is.".to_owned() };
        let call = ModelPart::ToolCall {
            id: "call_1".into(),
            name: "now".into(),
            input: "{}".to_owned(),
            provider_executed: false,
            metadata: Metadata::new(),
        };
        let reason = if more { FinishReason::ToolCalls } else { FinishReason::Stop };
        let finish = ModelPart::Finish(Finish { reason, ..Finish::default() });
        let parts = if more { vec![text, call, finish] } else { vec![text, finish] };
        futures::stream::iter(parts).boxed()
    }
}

struct Now;

#[async_trait]
impl Tool for Now {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("now", "Tells the time.", serde_json::json!({"type": "object"}), Effect::Pure)
    }

    async fn call(&self, _: ToolCall) -> Output {
        Output::text("It is noon.")
    }
}

/// Pairs of durable transactions per second, one row of about the size of a commit's records in each.
fn bare(path: &std::path::Path, pairs: usize) -> f64 {
    let connection = rusqlite::Connection::open(path).expect("an empty folder");
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB)")
        .expect("a table");
    let body = vec![b'x'; 1_500];
    let begun = now();
    for _ in 0..2 * pairs {
        connection.execute("INSERT INTO t (body) VALUES (?1)", [&body]).expect("a row");
    }
    pairs as f64 / begun.elapsed().as_secs_f64()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}
