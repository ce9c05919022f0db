//! What hosts' tools, models and observers may do to a chat: nothing that it does not recover from.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::head::Status;
use chatwright_core::live::Piece;
use chatwright_core::model::{ModelCall, ModelId, ModelPart};
use chatwright_core::port::{
    Bus, BusError, BusFrames, Event, LanguageModel, LiveError, LiveLog, LiveRead, LiveWakes, ModelStream,
    Observer, Tool, Topic,
};
use chatwright_core::tool::{Effect, ToolCall, ToolSpec};
use chatwright_core::{ChatId, Epoch, Gen, Record, Seq};
use chatwright_loop::{Chats, Failed, NewMessage, Refused, Settings};
use chatwright_memory::{MemoryBus, MemoryLiveLog};
use futures::future::BoxFuture;
use tokio::task::JoinSet;

use common::{CountTool, RuleModel, World, echo, log, new_chat, transcript, until};

fn work(chats: &Chats) -> JoinSet<()> {
    let worker = chats.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });
    tasks
}

/// Gives more media than a record takes.
struct Huge(AtomicUsize);

#[async_trait]
impl Tool for Huge {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("a", "Gives a picture.", serde_json::json!({"type": "object"}), Effect::Once)
    }

    async fn call(&self, _: ToolCall) -> Output {
        self.0.fetch_add(1, Ordering::SeqCst);
        Output::Media {
            media_type: "image/png".into(),
            data: FileData::Base64("x".repeat(1_200_000).into()),
            text: None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn media_that_no_record_takes_becomes_an_error_that_the_model_reads() {
    let world = World::new();
    let tool = Arc::new(Huge(AtomicUsize::new(0)));
    let chats = world.process(vec![tool.clone()]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("use a")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(tool.0.load(Ordering::SeqCst), 1);
    let lines = transcript(&chats, chat).await;
    assert!(lines[2].starts_with("tool 0: The tool gave 1200000 bytes of media"), "{}", lines[2]);
}

/// Gives text that doubles when it is encoded.
struct Escapes;

#[async_trait]
impl Tool for Escapes {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("a", "Gives controls.", serde_json::json!({"type": "object"}), Effect::Pure)
    }

    async fn call(&self, _: ToolCall) -> Output {
        Output::text("\u{1}".repeat(60_000))
    }
}

#[tokio::test(start_paused = true)]
async fn results_that_are_together_more_than_a_record_are_stored_all_the_same() {
    let world = World::new();
    let chats = world.process(vec![Arc::new(Escapes)]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("use a,a,a,a,a,a,a,a")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    let lines = transcript(&chats, chat).await;
    assert_eq!(lines.iter().filter(|line| line.starts_with("tool ")).count(), 8);
    assert!(log(&chats, chat).await.contains("tool.results tool.results"));
}

struct PanickingModel(AtomicUsize);

impl LanguageModel for PanickingModel {
    fn id(&self) -> ModelId {
        ModelId { provider: "p".into(), model: "m".into() }
    }

    fn stream(&self, _: ModelCall) -> ModelStream {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("a bug of an adapter")
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_panics_parks_the_chat_after_five_times() {
    let world = World::new();
    let model = Arc::new(PanickingModel(AtomicUsize::new(0)));
    let chats = world.process_with(model.clone(), vec![]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Error).await;
    assert_eq!(model.0.load(Ordering::SeqCst), 5);
    let last = common::records(&chats, chat).await.pop().expect("an error");
    assert!(last.body.as_str().contains(r#""kind":"poisoned""#), "{}", last.body.as_str());
}

struct PanickingObserver;

impl Observer for PanickingObserver {
    fn observe(&self, _: &Event<'_>) {
        panic!("a bug of an observer")
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_changes_nothing() {
    let world = World::new();
    let tool = CountTool::new("a", Effect::Once);
    let mut ports = world.ports(RuleModel::new(echo), vec![tool.clone()]);
    ports.observers = vec![Arc::new(PanickingObserver)];
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("use a")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(tool.started(), 1);
}

/// Stops its own chat from another process, just before it gives its result.
struct Stopper(OnceLock<(Chats, ChatId)>);

#[async_trait]
impl Tool for Stopper {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("p", "Stops.", serde_json::json!({"type": "object"}), Effect::Pure)
    }

    async fn call(&self, _: ToolCall) -> Output {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (chats, chat) = self.0.get().expect("it was set");
        chats.interrupt(*chat, None).await.expect("a turn runs");
        Output::text("ok")
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_a_commit_of_the_holder_meets_is_not_overlooked() {
    let world = World::new();
    let stopper = Arc::new(Stopper(OnceLock::new()));
    let hanging = CountTool::hanging("h", Effect::Pure);
    let chats = world.process(vec![stopper.clone(), hanging]);
    // The other process rings a bell that nobody hears.
    let mut ports = world.ports(RuleModel::new(echo), vec![]);
    ports.bus = Arc::new(MemoryBus::new());
    let deaf = Chats::new(ports, Settings::default()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("use p,h")).await.expect("created");
    assert!(stopper.0.set((deaf, chat)).is_ok());
    let begun = tokio::time::Instant::now();
    until(&chats, chat, Status::Waiting).await;
    assert!(begun.elapsed() < Duration::from_secs(9), "the tool's half second, 2 s, and its grace of 5 s");
}

struct PanickingTool;

#[async_trait]
impl Tool for PanickingTool {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("a", "Panics.", serde_json::json!({"type": "object"}), Effect::Once)
    }

    async fn call(&self, _: ToolCall) -> Output {
        panic!("a bug of a tool, with a secret in its words")
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_panics_is_an_error_that_the_model_reads_without_its_words() {
    let world = World::new();
    let chats = world.process(vec![Arc::new(PanickingTool)]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("use a")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(transcript(&chats, chat).await[2], "tool 0: The tool failed: it panicked.");
}

/// Panics before there is anything to wait for.
struct EagerlyPanicking;

impl Tool for EagerlyPanicking {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("a", "Panics.", serde_json::json!({"type": "object"}), Effect::Pure)
    }

    fn call<'tool, 'call>(&'tool self, _: ToolCall) -> BoxFuture<'call, Output>
    where
        'tool: 'call,
        Self: 'call,
    {
        panic!("a bug of a tool")
    }
}

/// Panics when it is dropped.
struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        panic!("a bug of a tool that is given up")
    }
}

struct PanickingLate;

#[async_trait]
impl Tool for PanickingLate {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("a", "Hangs.", serde_json::json!({"type": "object"}), Effect::Pure)
    }

    async fn call(&self, _: ToolCall) -> Output {
        let _late = Late;
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_panics_before_it_begins_or_when_it_is_given_up_is_an_error_as_well() {
    for tool in [Arc::new(EagerlyPanicking) as Arc<dyn Tool>, Arc::new(PanickingLate)] {
        let world = World::new();
        let chats = world.process(vec![tool]);
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("use a")).await.expect("created");
        until(&chats, chat, Status::Waiting).await;
        assert_eq!(transcript(&chats, chat).await[2], "tool 0: The tool failed: it panicked.");
        assert_eq!(log(&chats, chat).await.matches("tool.intent").count(), 1);
    }
}

/// Gives as much as one result may have.
struct Full;

#[async_trait]
impl Tool for Full {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("a", "Gives a picture.", serde_json::json!({"type": "object"}), Effect::Pure)
    }

    async fn call(&self, _: ToolCall) -> Output {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Output::Media {
            media_type: "image/png".into(),
            data: FileData::Base64("x".repeat(512 * 1024).into()),
            text: Some("a picture".repeat(7_000)),
        }
    }
}

/// How many results with a picture are stored, on all pages of the log.
async fn pictures(chats: &Chats, chat: ChatId) -> usize {
    let (mut after, mut pictures) = (Seq::ZERO, 0);
    loop {
        let page = chats.records(chat, after).await.expect("the store answers");
        let Some(last) = page.last() else { return pictures };
        after = last.seq;
        let in_body = |record: &Record| record.body.as_str().matches("image/png").count();
        pictures += page.iter().map(in_body).sum::<usize>();
    }
}

#[tokio::test(start_paused = true)]
async fn results_that_are_together_more_than_a_commit_are_stored_all_the_same() {
    let world = World::new();
    let chats = world.process(vec![Arc::new(Full)]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("use a,a,a,a,a,a,a,a")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(pictures(&chats, chat).await, 8);

    // The same when the turn is stopped while they are on their way.
    let (chat, _) = chats.create(new_chat("use a,a,a,a,a,a,a,a")).await.expect("created");
    tokio::time::sleep(Duration::from_millis(500)).await;
    chats.interrupt(chat, None).await.expect("it runs");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(pictures(&chats, chat).await, 8);

    // And when the process shuts down just before.
    let world = World::new();
    let chats = world.process(vec![Arc::new(Full)]);
    let (chat, _) = chats.create(new_chat("use a,a,a,a,a,a,a,a")).await.expect("created");
    chats.worker().run(tokio::time::sleep(Duration::from_millis(900))).await;
    assert_eq!(pictures(&chats, chat).await, 8);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_meets_its_deadline_is_abandoned_and_says_whether_its_effect_is_known() {
    for (effect, words) in
        [(Effect::Pure, "was given up."), (Effect::Once, "Whether it had its effect is unknown.")]
    {
        let world = World::new();
        let chats = world.process(vec![CountTool::hanging("a", effect)]);
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("use a")).await.expect("created");
        let begun = tokio::time::Instant::now();
        until(&chats, chat, Status::Waiting).await;
        assert!(begun.elapsed() >= ToolSpec::DEADLINE);
        let lines = transcript(&chats, chat).await;
        assert!(lines[2].ends_with(words), "{}", lines[2]);
    }
}

/// A bus that never answers.
struct Hanging;

#[async_trait]
impl Bus for Hanging {
    async fn publish(&self, _: &Topic, _: &[u8]) -> Result<(), BusError> {
        std::future::pending().await
    }

    async fn subscribe(&self, _: &Topic) -> Result<BusFrames, BusError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_never_answers_holds_nothing_up() {
    let world = World::new();
    let tool = CountTool::new("a", Effect::Once);
    let mut ports = world.ports(RuleModel::new(echo), vec![tool.clone()]);
    ports.bus = Arc::new(Hanging);
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("use a")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(tool.started(), 1);
    assert_eq!(
        transcript(&chats, chat).await.last().map(String::as_str),
        Some("model: The tools said [a 0].")
    );
}

/// A live log that never takes anything.
struct Stuck(MemoryLiveLog);

#[async_trait]
impl LiveLog for Stuck {
    async fn open(&self, chat: ChatId, epoch: Epoch, r#gen: Gen) -> Result<(), LiveError> {
        self.0.open(chat, epoch, r#gen).await
    }

    async fn append(&self, _: ChatId, _: Epoch, _: Gen, _: u64, _: &[Piece]) -> Result<u64, LiveError> {
        std::future::pending().await
    }

    async fn read(&self, chat: ChatId, r#gen: Gen, from: u64, max: usize) -> Result<LiveRead, LiveError> {
        self.0.read(chat, r#gen, from, max).await
    }

    async fn seal(&self, chat: ChatId, epoch: Epoch, r#gen: Gen, at: u64) -> Result<(), LiveError> {
        self.0.seal(chat, epoch, r#gen, at).await
    }

    fn changed(&self, chat: ChatId) -> LiveWakes {
        self.0.changed(chat)
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_log_that_never_answers_does_not_slow_an_answer_down_part_by_part() {
    let world = World::new();
    let words = "many words ".repeat(20_000);
    let answer = words.clone();
    let mut ports = world.ports(RuleModel::new(move |_| common::say(&answer)), vec![]);
    ports.live = Arc::new(Stuck(MemoryLiveLog::new(world.clock.clone())));
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    let begun = tokio::time::Instant::now();
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(transcript(&chats, chat).await[1], format!("model: {words}"));
    // It streams for 40 s.
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_nobody_could_read_back_is_refused_and_an_answer_is_an_error() {
    let deep = || {
        let value = (0..200).fold(serde_json::Value::Null, |inner, _| serde_json::json!([inner]));
        Metadata::from([("p".into(), value)])
    };
    let world = World::new();
    let model = RuleModel::new(move |prompt| {
        let signed = ModelPart::TextEnd { id: "t".into(), metadata: deep() };
        match echo(prompt) {
            parts if prompt.len() == 1 => [common::text("Well. "), vec![signed], parts].concat(),
            parts => parts,
        }
    });
    let chats = world.process_with(model, vec![]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Error).await;
    let part = Part::Text { text: "Look.".to_owned(), metadata: deep() };
    let refused = chats.send(chat, NewMessage::new(vec![part])).await.expect_err("refused");
    assert!(matches!(refused, Failed::Refused(Refused::TooLarge(_))), "{refused}");
    chats.send(chat, NewMessage::text("again")).await.expect("accepted");
    until(&chats, chat, Status::Waiting).await;
}
