//! What is too large for a record: where it goes, what is said of it, and what a model is shown of it later.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::head::Status;
use chatwright_core::limits::BODY_BYTES_MAX;
use chatwright_core::model::{FinishReason, Message, ModelPart, Role};
use chatwright_core::port::{Blobs, StoreError, StoreErrorKind, Tool};
use chatwright_core::record::{Body, ResultOrigin, StopReason};
use chatwright_core::tool::{Effect, ToolCall, ToolSpec};
use chatwright_core::{BlobRef, ChatId};
use chatwright_loop::{Asked, Chats, NewMessage, Ports, Settings};
use chatwright_memory::MemoryBlobs;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use common::doors::{At, Staged, Then};
use common::{RuleModel, World, call, check_log, finish, log, new_chat, records, say, text, until, work};

/// How a store of blobs does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Fails,
    Hangs,
    Panics,
}

/// Blobs whose mood a test changes.
struct Moody {
    inner: MemoryBlobs,
    puts: Mutex<Mood>,
    gets: Mutex<Mood>,
    read: Mutex<Vec<BlobRef>>,
}

impl Moody {
    fn new() -> Arc<Self> {
        let well = || Mutex::new(Mood::Well);
        Arc::new(Self { inner: MemoryBlobs::new(), puts: well(), gets: well(), read: Mutex::default() })
    }

    fn putting(mood: Mood) -> Arc<Self> {
        let blobs = Self::new();
        *blobs.puts.lock() = mood;
        blobs
    }

    async fn has(&self, chat: ChatId, bytes: &[u8]) -> bool {
        let kept = self.inner.get(chat, &BlobRef::of(chat, bytes)).await.expect("in memory");
        kept.is_some_and(|kept| kept == bytes)
    }
}

async fn feel(mood: Mood) -> Result<(), StoreError> {
    match mood {
        Mood::Well => Ok(()),
        Mood::Fails => Err(StoreError::new(StoreErrorKind::Unavailable, "away")),
        Mood::Hangs => std::future::pending().await,
        Mood::Panics => panic!("a store of blobs panics, as this test wants"),
    }
}

#[async_trait]
impl Blobs for Moody {
    async fn put(&self, chat: ChatId, bytes: &[u8]) -> Result<BlobRef, StoreError> {
        let mood = *self.puts.lock();
        feel(mood).await?;
        self.inner.put(chat, bytes).await
    }

    async fn get(&self, chat: ChatId, blob: &BlobRef) -> Result<Option<Vec<u8>>, StoreError> {
        self.read.lock().push(blob.clone());
        let mood = *self.gets.lock();
        feel(mood).await?;
        self.inner.get(chat, blob).await
    }

    async fn delete_chat(&self, chat: ChatId) -> Result<(), StoreError> {
        self.inner.delete_chat(chat).await
    }
}

/// A tool that gives what it was made with.
struct Gives(Output, Effect);

#[async_trait]
impl Tool for Gives {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("give", "gives", serde_json::json!({"type": "object"}), self.1)
    }

    async fn call(&self, _: ToolCall) -> Output {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.0.clone()
    }
}

fn giving(output: Output) -> Vec<Arc<dyn Tool>> {
    vec![Arc::new(Gives(output, Effect::Once))]
}

/// Calls the tool in answer to `give`, so many times, draws in answer to `draw`, and says something to everything else.
fn model(gives: usize, drawn: Vec<Part>) -> Arc<RuleModel> {
    RuleModel::new(move |prompt| {
        let said = |message: &&Message| message.role == Role::User;
        let at = prompt.iter().rposition(|message| said(&message)).expect("somebody asks");
        let results = prompt[at..].iter().filter(|message| message.role == Role::Tool).count();
        let word = prompt[at].content.iter().find_map(|part| match part {
            Part::Text { text, .. } => text.split(' ').next(),
            _ => None,
        });
        match word {
            Some("give") if results < gives => {
                let mut parts = text("Here:");
                parts.push(call(&format!("c{results}"), "give", "{}"));
                parts.push(finish(FinishReason::ToolCalls));
                parts
            }
            Some("draw") => {
                let mut parts = text("I draw: ");
                parts.extend(drawn.iter().cloned().map(ModelPart::Item));
                parts.push(finish(FinishReason::Stop));
                parts
            }
            Some("stall") => {
                let mut parts = text("I draw: ");
                parts.extend(drawn.iter().cloned().map(ModelPart::Item));
                parts.push(ModelPart::KeepAlive);
                parts
            }
            _ => say("Well."),
        }
    })
}

/// Bytes in which no stretch is like another.
fn picture(count: usize) -> Vec<u8> {
    (0..count as u32).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_be_bytes()).take(count).collect()
}

fn base64(bytes: &[u8]) -> FileData {
    FileData::Base64(STANDARD.encode(bytes).into())
}

fn file(data: FileData) -> Part {
    let (media_type, name) = ("image/png".into(), Some("cat.png".into()));
    Part::File { media_type, name, data, metadata: Metadata::new() }
}

fn lines(words: &str) -> String {
    (0..40_000).map(|n| format!("{words} {n}\n")).collect()
}

struct Process {
    chats: Chats,
    model: Arc<RuleModel>,
    _worker: JoinSet<()>,
}

fn process(
    world: &World,
    blobs: Option<Arc<dyn Blobs>>,
    model: Arc<RuleModel>,
    tools: Vec<Arc<dyn Tool>>,
) -> Process {
    let ports = Ports { blobs, ..world.ports(model.clone(), tools) };
    started(ports, Settings::default(), model)
}

fn started(ports: Ports, settings: Settings, model: Arc<RuleModel>) -> Process {
    let chats = Chats::new(ports, settings).expect("a valid setup");
    let worker = work(&chats);
    Process { chats, model, _worker: worker }
}

impl Process {
    async fn ask(&self, words: &str) -> ChatId {
        let (chat, _) = self.chats.create(new_chat(words)).await.expect("created");
        until(&self.chats, chat, Status::Waiting).await;
        chat
    }

    async fn say(&self, chat: ChatId, content: Vec<Part>) {
        let mut new = NewMessage::text("");
        new.content = content;
        self.chats.send(chat, new).await.expect("sent");
        until(&self.chats, chat, Status::Waiting).await;
    }

    /// Every record of the chat, each within its bound.
    async fn bodies(&self, chat: ChatId) -> Vec<Body> {
        let records = records(&self.chats, chat).await;
        check_log(&records);
        for record in &records {
            assert!(record.body.len() <= BODY_BYTES_MAX, "{}: {} bytes", record.kind, record.body.len());
        }
        records.iter().map(|record| record.open().expect("a record of ours").body).collect()
    }

    async fn outputs(&self, chat: ChatId) -> Vec<Output> {
        let of_tools = |body| match body {
            Body::ToolResults(results) => results.results,
            _ => Vec::new(),
        };
        let results = self.bodies(chat).await.into_iter().flat_map(of_tools);
        results.map(|result| result.output).collect()
    }

    async fn answers(&self, chat: ChatId) -> Vec<Vec<Part>> {
        let answer = |body| match body {
            Body::MessageAssistant(message) => Some(message.content),
            _ => None,
        };
        self.bodies(chat).await.into_iter().filter_map(answer).collect()
    }

    async fn ends(&self, chat: ChatId) -> Vec<StopReason> {
        let end = |body| match body {
            Body::TurnEnded(ended) => Some(ended.reason),
            _ => None,
        };
        self.bodies(chat).await.into_iter().filter_map(end).collect()
    }

    fn prompts(&self) -> Vec<Vec<Message>> {
        self.model.prompts.lock().clone()
    }
}

fn words(output: &Output) -> &str {
    match output {
        Output::Text { text } | Output::Error { text } => text,
        other => panic!("no words: {other:?}"),
    }
}

/// Checks that a text is the beginning and the end of another, with this said in between, and gives how long it is.
fn is_cut(text: &str, whole: &str, said: &str) {
    assert!(text.len() <= 64 * 1024, "{} bytes", text.len());
    let (head, rest) = text.split_once("\n[… ").expect("a line in between");
    let (line, tail) = rest.split_once(" …]\n").expect("its end");
    assert!(whole.starts_with(head) && whole.ends_with(tail));
    assert!(head.len().abs_diff(2 * tail.len()) < 8, "{} and {}", head.len(), tail.len());
    assert!(tail.len() > 20_000);
    assert_eq!(line, format!("{} bytes left out{said}", whole.len() - head.len() - tail.len()));
}

#[tokio::test(start_paused = true)]
async fn long_output_is_whole_in_the_blobs_before_the_commit_that_refers_to_it() {
    for fails in [false, true] {
        let (world, blobs, whole) = (World::new(), Moody::new(), lines("é"));
        let output = if fails { Output::error(&*whole) } else { Output::text(&*whole) };
        let staged = Staged::new(world.store.clone());
        let model = model(1, Vec::new());
        let ports = Ports {
            chats: staged.clone(),
            blobs: Some(blobs.clone()),
            ..world.ports(model.clone(), giving(output))
        };
        let mut commit = staged.stop(At::Before("tool.results"));
        let process = started(ports, Settings::default(), model);
        let (chat, _) = process.chats.create(new_chat("give")).await.expect("created");
        commit.reached().await;
        assert!(blobs.has(chat, whole.as_bytes()).await, "it is there before the commit");
        commit.then(Then::GoOn);
        until(&process.chats, chat, Status::Waiting).await;
        let outputs = process.outputs(chat).await;
        let said = format!("; the whole is kept as blob {}", BlobRef::of(chat, whole.as_bytes()));
        is_cut(words(&outputs[0]), &whole, &said);
        assert_eq!((outputs.len(), outputs[0].is_error()), (1, fails));
    }
}

#[tokio::test(start_paused = true)]
async fn short_output_stays_where_it_is() {
    let (world, blobs) = (World::new(), Moody::new());
    let output = Output::text("x".repeat(64 * 1024));
    let process = process(&world, Some(blobs.clone()), model(1, Vec::new()), giving(output.clone()));
    let chat = process.ask("give").await;
    assert_eq!(process.outputs(chat).await, [output]);
    assert!(!blobs.has(chat, "x".repeat(64 * 1024).as_bytes()).await);
}

#[tokio::test(start_paused = true)]
async fn a_long_result_of_the_client_is_cut_and_kept_as_a_tools_is() {
    let (world, blobs, whole) = (World::new(), Moody::new(), lines("é"));
    let model = model(1, Vec::new());
    let give = ToolSpec::new("give", "Gives.", serde_json::json!({"type": "object"}), Effect::Pure);
    let ports = Ports {
        blobs: Some(blobs.clone()),
        client_tools: vec![give],
        ..world.ports(model.clone(), Vec::new())
    };
    let process = started(ports, Settings::default(), model);
    let (chat, _) = process.chats.create(new_chat("give")).await.expect("created");
    until(&process.chats, chat, Status::RequiresAction).await;
    let submit =
        |ordinal| process.chats.submit(chat, vec![(ordinal, Output::text(&*whole))], Asked::default());
    submit(1).await.expect_err("it waits for nothing there");
    assert!(!blobs.has(chat, whole.as_bytes()).await, "nobody may fill the blobs with what is refused");
    submit(0).await.expect("it waits");
    until(&process.chats, chat, Status::Waiting).await;
    let outputs = process.outputs(chat).await;
    let said = format!("; the whole is kept as blob {}", BlobRef::of(chat, whole.as_bytes()));
    is_cut(words(&outputs[0]), &whole, &said);
    assert!(blobs.has(chat, whole.as_bytes()).await);
}

#[tokio::test(start_paused = true)]
async fn without_blobs_long_output_says_how_much_is_missing() {
    let (world, whole) = (World::new(), lines("word"));
    let process = process(&world, None, model(1, Vec::new()), giving(Output::text(&*whole)));
    let chat = process.ask("give").await;
    is_cut(words(&process.outputs(chat).await[0]), &whole, "");
}

#[tokio::test(start_paused = true)]
async fn blobs_that_fail_hang_or_panic_cost_no_chat_its_turn() {
    for mood in [Mood::Fails, Mood::Hangs, Mood::Panics] {
        let (world, blobs, whole) = (World::new(), Moody::putting(mood), lines("word"));
        let process = process(&world, Some(blobs), model(1, Vec::new()), giving(Output::text(&*whole)));
        let begun = Instant::now();
        let chat = process.ask("give").await;
        assert!(begun.elapsed() < Duration::from_secs(6), "{mood:?}: {:?}", begun.elapsed());
        is_cut(words(&process.outputs(chat).await[0]), &whole, "; it could not be kept");
        assert_eq!(process.ends(chat).await, [StopReason::Complete], "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn large_media_of_a_tool_are_a_blob_in_the_log_and_themselves_in_the_prompt() {
    let (world, blobs, bytes) = (World::new(), Moody::new(), picture(2_000_000));
    let media = |data| Output::Media { media_type: "image/png".into(), data, text: Some("a cat".into()) };
    let url = FileData::Url(format!("data:image/png;base64,{}", STANDARD.encode(&bytes)).into());
    for data in [base64(&bytes), url] {
        let process = process(&world, Some(blobs.clone()), model(1, Vec::new()), giving(media(data)));
        let chat = process.ask("give").await;
        let blob = FileData::Blob(BlobRef::of(chat, &bytes).into());
        assert_eq!(process.outputs(chat).await, [media(blob)]);
        assert!(blobs.has(chat, &bytes).await, "the bytes, not their base64");
        let prompts = process.prompts();
        let Part::ToolResult { output, .. } = &prompts[1].last().expect("the result").content[0] else {
            panic!("no result: {:?}", prompts[1].last())
        };
        assert!(*output == media(base64(&bytes)));
    }
}

#[tokio::test(start_paused = true)]
async fn large_media_that_cannot_be_kept_are_an_error_with_the_words_beside_them() {
    let data = || base64(&picture(500_000));
    let media = |data| Output::Media { media_type: "image/png".into(), data, text: Some("a cat".into()) };
    let broken = FileData::Base64("?".repeat(600_000).into());
    let far = FileData::Url(format!("https://example.org/{}", "x".repeat(2_000_000)).into());
    for (blobs, data, said) in [
        (None, data(), "The tool gave 666668 bytes of media; 524288 are allowed, in base64.\n\na cat"),
        (
            Some(Mood::Fails),
            data(),
            "The tool gave 666668 bytes of media; 524288 are allowed, in base64; it could not be kept.\n\na cat",
        ),
        (
            Some(Mood::Well),
            broken,
            "The tool gave 600000 bytes of media; 524288 are allowed, in base64; it could not be kept.\n\na cat",
        ),
        (
            Some(Mood::Well),
            far,
            "The tool gave 2000020 bytes of media; 524288 are allowed, in base64; it could not be kept.\n\na cat",
        ),
    ] {
        let world = World::new();
        let blobs = blobs.map(|mood| Moody::putting(mood) as Arc<dyn Blobs>);
        let process = process(&world, blobs, model(1, Vec::new()), giving(media(data)));
        let chat = process.ask("give").await;
        assert_eq!(process.outputs(chat).await, [Output::error(said)]);
        assert_eq!(process.ends(chat).await, [StopReason::Complete]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_file_of_a_model_is_a_blob_in_the_log_and_itself_in_later_prompts() {
    let (world, blobs) = (World::new(), Moody::new());
    // The second one alone is more than an attempt may say.
    let (small, large) = (picture(100_000), picture(5_000_000));
    let drawn = vec![file(base64(&small)), file(base64(&large))];
    let process = process(&world, Some(blobs.clone()), model(0, drawn.clone()), Vec::new());
    let chat = process.ask("draw a cat").await;
    let blob = file(FileData::Blob(BlobRef::of(chat, &large).into()));
    assert_eq!(process.answers(chat).await, [vec![Part::text("I draw: "), drawn[0].clone(), blob]]);
    assert_eq!(process.ends(chat).await, [StopReason::Complete]);
    assert!(blobs.has(chat, &large).await);
    process.say(chat, vec![Part::text("thanks")]).await;
    let shown = &process.prompts()[1][1];
    assert!(*shown.content == [vec![Part::text("I draw: ")], drawn].concat(), "as the model made it");
}

#[tokio::test(start_paused = true)]
async fn a_large_file_that_cannot_be_kept_is_told_in_the_answer() {
    for (mood, said) in [
        (None, "[The file \"cat.png\" (image/png) is left out: 4000000 bytes in base64 are too large.]"),
        (
            Some(Mood::Hangs),
            "[The file \"cat.png\" (image/png) is left out: 4000000 bytes in base64 are too large; it could not be kept.]",
        ),
    ] {
        let world = World::new();
        let blobs = mood.map(|mood| Moody::putting(mood) as Arc<dyn Blobs>);
        let model = model(0, vec![file(base64(&picture(3_000_000)))]);
        let process = process(&world, blobs, model, Vec::new());
        let begun = Instant::now();
        let chat = process.ask("draw").await;
        assert_eq!(process.answers(chat).await, [vec![Part::text("I draw: "), Part::text(said)]]);
        assert_eq!(process.ends(chat).await, [StopReason::Complete]);
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_of_an_answer_that_is_stopped_is_kept_too() {
    let (world, blobs, bytes) = (World::new(), Moody::new(), picture(2_000_000));
    let process = process(&world, Some(blobs), model(0, vec![file(base64(&bytes))]), Vec::new());
    let (chat, _) = process.chats.create(new_chat("stall")).await.expect("created");
    while process.prompts().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    process.chats.interrupt(chat, Asked::default()).await.expect("asked");
    until(&process.chats, chat, Status::Waiting).await;
    let blob = file(FileData::Blob(BlobRef::of(chat, &bytes).into()));
    assert_eq!(process.answers(chat).await, [vec![Part::text("I draw: "), blob]]);
    assert_eq!(process.ends(chat).await, [StopReason::Interrupted]);
}

#[tokio::test(start_paused = true)]
async fn parts_that_no_record_takes_are_told_instead_of_failing_the_chat() {
    let large = "x".repeat(1_500_000);
    let result = Part::ToolResult {
        call_id: "s".into(),
        name: "search".into(),
        output: Output::text(&*large),
        provider_executed: true,
        metadata: Metadata::new(),
    };
    let unknown = Part::Unknown(serde_json::json!({"type": "hologram", "beams": large}));
    let bytes = serde_json::to_string(&unknown).expect("JSON").len();
    let told = format!("[A part of {bytes} bytes is left out: it is too large.]");
    for (part, said) in [(result, "bytes left out"), (unknown, &*told)] {
        let world = World::new();
        let process = process(&world, None, model(0, vec![part]), Vec::new());
        let chat = process.ask("draw").await;
        let answers = format!("{:?}", process.answers(chat).await);
        assert!(answers.contains(said), "{}", log(&process.chats, chat).await);
        assert_eq!(process.ends(chat).await, [StopReason::Complete]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_no_blob_and_knows_what_the_tool_gave() {
    let (world, blobs, whole) = (World::new(), Moody::putting(Mood::Hangs), lines("word"));
    let process = process(&world, Some(blobs), model(1, Vec::new()), giving(Output::text(&*whole)));
    let (chat, _) = process.chats.create(new_chat("give")).await.expect("created");
    while !log(&process.chats, chat).await.contains("tool.intent") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = Instant::now();
    process.chats.interrupt(chat, Asked::default()).await.expect("asked");
    until(&process.chats, chat, Status::Waiting).await;
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    is_cut(words(&process.outputs(chat).await[0]), &whole, "; it could not be kept");
    assert_eq!(process.ends(chat).await, [StopReason::Interrupted]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_no_blob_of_an_answer_whether_that_has_ended_or_not() {
    for ask in ["stall", "draw"] {
        let (world, blobs) = (World::new(), Moody::putting(Mood::Hangs));
        let process =
            process(&world, Some(blobs), model(0, vec![file(base64(&picture(2_000_000)))]), Vec::new());
        let (chat, _) = process.chats.create(new_chat(ask)).await.expect("created");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = Instant::now();
        process.chats.interrupt(chat, Asked::default()).await.expect("asked");
        until(&process.chats, chat, Status::Waiting).await;
        assert!(asked.elapsed() < Duration::from_millis(500), "{ask}: {:?}", asked.elapsed());
        assert_eq!(process.ends(chat).await, [StopReason::Interrupted]);
        let answer = format!("{:?}", process.answers(chat).await);
        assert!(answer.contains("it could not be kept"), "{ask}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_commits_what_a_tool_gave_although_its_blob_hangs() {
    let (world, blobs, whole) = (World::new(), Moody::putting(Mood::Hangs), lines("word"));
    let model = model(1, Vec::new());
    let mut settings = Settings::default();
    settings.blobs_within = Duration::from_secs(3_600);
    let ports = Ports { blobs: Some(blobs), ..world.ports(model, giving(Output::text(&*whole))) };
    let chats = Chats::new(ports, settings).expect("a valid setup");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = chats.worker();
    let mut run = JoinSet::new();
    run.spawn(async move { worker.run(async move { drop(stopped.await) }).await });
    let (chat, _) = chats.create(new_chat("give")).await.expect("created");
    while !log(&chats, chat).await.contains("tool.intent") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send(()).expect("it runs");
    run.join_next().await.expect("it runs").expect("it ends");
    let results: Vec<_> = records(&chats, chat)
        .await
        .iter()
        .filter_map(|record| match record.open().expect("a record of ours").body {
            Body::ToolResults(results) => Some(results.results),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].origin, ResultOrigin::Tool);
    is_cut(words(&results[0].output), &whole, "; it could not be kept");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_commits_an_answer_although_its_blob_hangs() {
    let (world, blobs) = (World::new(), Moody::putting(Mood::Hangs));
    let model = model(0, vec![file(base64(&picture(600_000)))]);
    let mut settings = Settings::default();
    settings.blobs_within = Duration::from_secs(3_600);
    let ports = Ports { blobs: Some(blobs), ..world.ports(model.clone(), Vec::new()) };
    let chats = Chats::new(ports, settings).expect("a valid setup");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = chats.worker();
    let mut run = JoinSet::new();
    run.spawn(async move { worker.run(async move { drop(stopped.await) }).await });
    let (chat, _) = chats.create(new_chat("draw")).await.expect("created");
    while model.prompts.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send(()).expect("it runs");
    let begun = Instant::now();
    run.join_next().await.expect("it runs").expect("it ends");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    until(&chats, chat, Status::Waiting).await;
    let transcript = common::transcript(&chats, chat).await;
    assert!(transcript[1].contains("it could not be kept"), "{transcript:?}");
}

/// Every prompt begins with the one before it.
fn grows(prompts: &[Vec<Message>]) {
    for (before, after) in prompts.iter().zip(&prompts[1..]) {
        assert!(after.len() > before.len() && after[..before.len()] == before[..], "the prefix changed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_in_a_message_is_shown_as_its_bytes_in_every_step() {
    let (world, blobs) = (World::new(), Moody::new());
    let process = process(&world, Some(blobs.clone()), model(2, Vec::new()), giving(Output::text("ok")));
    let chat = process.ask("hello").await;
    let bytes = picture(10_000);
    let blob = blobs.put(chat, &bytes).await.expect("in memory");
    let asked = vec![Part::text("give"), file(FileData::Blob(blob.clone().into()))];
    process.say(chat, asked).await;
    let prompts = process.prompts();
    assert_eq!(prompts.len(), 4);
    let shown = prompts[1].last().expect("the message");
    assert_eq!(*shown.content, [Part::text("give"), file(base64(&bytes))]);
    grows(&prompts[1..]);
    assert_eq!(*blobs.read.lock(), [blob], "it is read once while the chat is held");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_told_and_stays_told_while_the_turn_lasts() {
    for mood in [Mood::Fails, Mood::Hangs, Mood::Panics] {
        let (world, blobs) = (World::new(), Moody::new());
        /// A tool that makes the store well again.
        struct Mends(Arc<Moody>);
        #[async_trait]
        impl Tool for Mends {
            fn spec(&self) -> ToolSpec {
                ToolSpec::new("give", "mends", serde_json::json!({"type": "object"}), Effect::Pure)
            }
            async fn call(&self, _: ToolCall) -> Output {
                *self.0.gets.lock() = Mood::Well;
                Output::text("mended")
            }
        }
        let tools: Vec<Arc<dyn Tool>> = vec![Arc::new(Mends(blobs.clone()))];
        let process = process(&world, Some(blobs.clone()), model(2, Vec::new()), tools);
        let chat = process.ask("hello").await;
        let bytes = picture(10_000);
        let blob = blobs.put(chat, &bytes).await.expect("in memory");
        *blobs.gets.lock() = mood;
        let begun = Instant::now();
        process.say(chat, vec![Part::text("give"), file(FileData::Blob(blob.into()))]).await;
        assert!(begun.elapsed() < Duration::from_secs(6), "{mood:?}: {:?}", begun.elapsed());
        let prompts = process.prompts();
        let shown = prompts[1].last().expect("the message");
        let said = Part::text("[The file \"cat.png\" (image/png) cannot be read.]");
        assert_eq!(*shown.content, [Part::text("give"), said], "{mood:?}");
        assert_eq!(prompts.len(), 4);
        grows(&prompts[1..]);
        assert_eq!(process.ends(chat).await, [StopReason::Complete; 2]);
        // The next turn tries again.
        process.say(chat, vec![Part::text("and now?")]).await;
        let prompt = process.prompts().pop().expect("asked");
        let shown = prompt.iter().any(|message| message.content.contains(&file(base64(&bytes))));
        assert!(shown, "{mood:?}: the next turn reads it");
    }
}

#[tokio::test(start_paused = true)]
async fn what_fits_no_prompt_is_told_and_the_oldest_come_first() {
    let (world, blobs) = (World::new(), Moody::new());
    let model = model(2, Vec::new());
    let ports =
        Ports { blobs: Some(blobs.clone()), ..world.ports(model.clone(), giving(Output::text("ok"))) };
    let mut settings = Settings::default();
    settings.prompt_blob_bytes_max = 100_000;
    let process = started(ports, settings, model);
    let chat = process.ask("hello").await;
    let pictures = [60_000, 50_000, 30_000, 10_001, 10_000].map(picture);
    let mut asked = vec![Part::text("give")];
    for bytes in &pictures {
        asked.push(file(FileData::Blob(blobs.put(chat, bytes).await.expect("in memory").into())));
    }
    process.say(chat, asked).await;
    let prompts = process.prompts();
    let large = |bytes: usize| {
        let file = "[The file \"cat.png\" (image/png) is not shown";
        Part::text(format!("{file}: there is no room for its {bytes} bytes.]"))
    };
    let whole = |n: usize| file(base64(&pictures[n]));
    let shown = &prompts[1].last().expect("the message").content;
    assert!(**shown == [Part::text("give"), whole(0), large(50_000), whole(2), large(10_001), whole(4)]);
    grows(&prompts[1..]);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_reads_no_more_than_a_hundred_blobs() {
    let (world, blobs) = (World::new(), Moody::new());
    let process = process(&world, Some(blobs.clone()), model(1, Vec::new()), giving(Output::text("ok")));
    let chat = process.ask("hello").await;
    let mut asked = vec![Part::text("give")];
    for n in 0..102 {
        asked.push(file(FileData::Blob(blobs.put(chat, &[n]).await.expect("in memory").into())));
    }
    // The same once more is no other blob.
    asked.push(asked[1].clone());
    process.say(chat, asked).await;
    let prompts = process.prompts();
    let beyond = "[The file \"cat.png\" (image/png) is not shown: 100 files are before it.]";
    let shown = &prompts[1].last().expect("the message").content;
    assert_eq!(
        shown[100..],
        [file(base64(&[99])), Part::text(beyond), Part::text(beyond), file(base64(&[0]))]
    );
    assert_eq!(blobs.read.lock().len(), 100);
    grows(&prompts[1..]);
}

#[tokio::test(start_paused = true)]
async fn a_summary_is_made_of_the_bytes_too() {
    let (world, blobs) = (World::new(), Moody::new());
    let process = process(&world, Some(blobs.clone()), model(0, Vec::new()), Vec::new());
    let chat = process.ask("hello").await;
    let blob = blobs.put(chat, b"bytes").await.expect("in memory");
    process.say(chat, vec![Part::text("look"), file(FileData::Blob(blob.into()))]).await;
    process.say(chat, vec![Part::text("thanks")]).await;
    process.chats.compact(chat, None).await.expect("at rest");
    until(&process.chats, chat, Status::Waiting).await;
    let prompts = process.prompts();
    assert_eq!(prompts.len(), 4);
    assert!(prompts[3].iter().any(|message| message.content.contains(&file(base64(b"bytes")))));
}

#[tokio::test(start_paused = true)]
async fn a_reference_of_another_chat_is_told_to_be_unreadable() {
    let (world, blobs) = (World::new(), Moody::new());
    let process = process(&world, Some(blobs.clone()), model(0, Vec::new()), Vec::new());
    let (mine, theirs) = (process.ask("hello").await, process.ask("hello").await);
    let secret = blobs.put(theirs, b"secret").await.expect("in memory");
    process.say(mine, vec![Part::text("look"), file(FileData::Blob(secret.into()))]).await;
    let prompt = process.prompts().pop().expect("asked");
    let said = Part::text("[The file \"cat.png\" (image/png) cannot be read.]");
    assert_eq!(prompt.last().map(|message| &message.content[1]), Some(&said));
}

#[tokio::test(start_paused = true)]
async fn without_blobs_a_reference_goes_to_the_model_as_it_is() {
    let world = World::new();
    let process = process(&world, None, model(0, Vec::new()), Vec::new());
    let chat = process.ask("hello").await;
    let asked = vec![Part::text("look"), file(FileData::Blob("theirs".into()))];
    process.say(chat, asked.clone()).await;
    let prompt = process.prompts().pop().expect("asked");
    assert_eq!(prompt.last().map(|message| &*message.content), Some(&*asked));
}
