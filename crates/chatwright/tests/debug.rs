//! A turn of ten steps with a retry and a stop, in each wire format: recorded whole, read page by page, exported, and replayed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright::core::RunId;
use chatwright::core::content::{Output, Part};
use chatwright::core::debug::{DebugStatus, Detail, RunKind};
use chatwright::core::head::Status;
use chatwright::core::model::{FinishReason, ModelCall, ModelId, Role};
use chatwright::core::port::{LanguageModel, ModelStream, Tool};
use chatwright::core::tool::{Effect, ToolCall, ToolSpec};
use chatwright::core::view::{Message, Transcript};
use chatwright::debug::redact::{Redactor, Rules};
use chatwright::debug::{
    Cassette, DebugService, DebugSettings, Recorder, RecorderSettings, StepRecord, Summary,
};
use chatwright::memory::{MemoryBus, MemoryDebug, MemoryStore};
use chatwright::providers::{AnthropicMessages, Gemini, OpenAiChat, OpenAiResponses};
use chatwright::sqlite::SqliteStore;
use chatwright::{Asked, Chat, Chatwright, NewChat, Resume, SystemClock, SystemIds, UserId, View};
use chatwright_fake::zoo::Fault;
use chatwright_fake::{FakeServer, Reply, Script, Step};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

const FORMATS: [&str; 4] = ["chat", "responses", "messages", "gemini"];
const KEY: &str = "sk-test-0123456789abcdefghij";

fn model(format: &str, url: &str) -> Arc<dyn LanguageModel> {
    macro_rules! model {
        ($kind:ident) => {
            Arc::new($kind::builder("fake").base_url(url).key(KEY).build().expect("a valid address"))
        };
    }
    match format {
        "chat" => model!(OpenAiChat),
        "responses" => model!(OpenAiResponses),
        "messages" => model!(AnthropicMessages),
        _ => model!(Gemini),
    }
}

/// Nine steps that call a tool, the third of them after a failure, and a tenth that is stopped in its middle.
fn script() -> Script {
    let step = |n: usize| {
        Reply::steps(vec![
            Step::Reasoning("Hm.".to_owned()),
            Step::Text(format!("Step {n}. The password is hunter22hunter.")),
            Step::Call {
                id: format!("call_{n}"),
                name: "look".to_owned(),
                arguments: vec![format!("{{\"n\":{n},\"password\":\"hunter22hunter\"}}")],
            },
            Step::Finish(FinishReason::ToolCalls),
        ])
    };
    let mut replies: Vec<Reply> = (1..=9).map(step).collect();
    replies.insert(2, Fault::ErrorInMidStream.reply());
    replies.push(Reply::steps(vec![Step::Text("I begin".to_owned()), Step::Stall]));
    Script::new(replies)
}

struct Look;

#[async_trait]
impl Tool for Look {
    fn spec(&self) -> ToolSpec {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        ToolSpec::new("look", "looks", schema, Effect::Pure)
    }

    async fn call(&self, call: ToolCall) -> Output {
        Output::text(format!("saw {}", call.input["n"]))
    }
}

fn recorder(store: impl chatwright::core::port::DebugStore) -> Recorder {
    let mut settings = DebugSettings::default();
    settings.forced = true;
    let service = DebugService::new(store, Arc::new(SystemClock::new()), Arc::new(SystemIds), settings);
    let redactor = Redactor::new(&Rules::default()).expect("valid");
    redactor.register(&"hunter22hunter".into()).expect("long enough");
    Recorder::start(service, redactor, RecorderSettings::default())
}

/// Runs the turn until its tenth answer has begun, stops it there, and gives what is seen of it then.
async fn turn(model: impl LanguageModel, recorder: Option<&Recorder>) -> (Chat, Transcript) {
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let mut builder = Chatwright::builder(store, MemoryBus::new()).model("fast", model).tool(Look);
    if let Some(recorder) = recorder {
        builder = builder.debug(recorder);
    }
    let chatwright = builder.build().expect("valid");
    let chat = chatwright.create(NewChat::new(UserId::new("ada").expect("short"))).await.expect("created");
    let (worker, (end, ended)) = (chatwright.worker(), oneshot::channel::<()>());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(async move { drop(ended.await) }).await });
    chat.send("Please   look at\nall of it").await.expect("sent");
    let mut events = chat.events(Resume::default()).await.expect("there");
    let mut view = View::new();
    let watched = async {
        let mut stopped = false;
        while let Some(frame) = events.next().await {
            view.apply(&frame);
            let transcript = view.transcript();
            let says = |preview: &chatwright::core::view::Preview| {
                format!("{:?}", preview.blocks).contains("I begin")
            };
            if !stopped && transcript.preview.as_ref().is_some_and(says) {
                chat.interrupt(Asked::default()).await.expect("it runs");
                stopped = true;
            }
            if stopped && transcript.status == Status::Waiting {
                return;
            }
        }
    };
    timeout(Duration::from_secs(60), watched).await.expect("it is stopped");
    drop(end);
    tasks.join_all().await;
    (chat, view.transcript().clone())
}

/// What was said and found, without ids and times.
fn said(transcript: &Transcript) -> Vec<(Role, Vec<Part>, Vec<Output>, bool)> {
    let results = |message: &Message| message.results.values().map(|result| result.output.clone()).collect();
    let message =
        |message: &Message| (message.role, message.content.clone(), results(message), message.interrupted);
    transcript.messages.iter().map(message).collect()
}

async fn records(service: &DebugService, chat: &Chat, run: RunId) -> Vec<StepRecord> {
    let (mut records, mut after) = (Vec::new(), 0);
    loop {
        // Page by page.
        let page = service.steps(chat.id(), run, after, 3, Detail::Whole).await.expect("it answers");
        let Some(last) = page.last() else { return records };
        after = last.number;
        for step in &page {
            records.push(service.read_step(step).await.expect("it answers"));
        }
    }
}

async fn is_recorded_whole_and_replays(format: &str, recorder: &Recorder) {
    let server = FakeServer::start(script()).await.expect("a free port");
    let (chat, transcript) = turn(Shared(model(format, &server.base_url())), Some(recorder)).await;
    assert!(recorder.flush(Duration::from_secs(10)).await, "{format}: it is written");
    let service = recorder.service();
    let runs = service.runs(chat.id(), None, 10).await.expect("it answers");
    assert_eq!(runs.iter().map(|run| run.kind).collect::<Vec<_>>(), [RunKind::ChatTurn], "{format}");
    let run = &runs[0];
    assert_eq!(run.status, DebugStatus::Interrupted, "{format}");
    let summary = Summary::from_json(&run.summary);
    assert_eq!((summary.step_count, summary.attempt_count), (10, 11), "{format}: {summary:?}");
    assert_eq!(summary.first_message.as_deref(), Some("Please look at all of it"), "{format}");
    assert!(summary.endpoint_label.is_some_and(|label| label.starts_with("POST /")), "{format}");
    assert!(!summary.has_error && summary.duration_ms.is_some(), "{format}");

    let records = records(service, &chat, run.id).await;
    let answers: Vec<_> =
        transcript.messages.iter().filter(|message| message.role == Role::Assistant).collect();
    assert_eq!((records.len(), answers.len()), (10, 10), "{format}");
    for (at, (record, answer)) in records.iter().zip(&answers).enumerate() {
        let what = format!("{format}, step {}", at + 1);
        assert_eq!(record.problems, Vec::<String>::new(), "{what}");
        assert_eq!(record.outline.number as usize, at + 1, "{what}");
        let is_last = at == 9;
        let status = if is_last { DebugStatus::Interrupted } else { DebugStatus::Completed };
        assert_eq!(record.outline.status, status, "{what}");
        assert_eq!(record.outline.answer, (!is_last).then_some(answer.seq), "{what}");
        assert_eq!(record.attempts.len(), if at == 2 { 2 } else { 1 }, "{what}");
        let request = record.request.as_ref().expect("it was asked");
        // The user's words, and an answer and its result for each step before.
        assert_eq!(request.messages.len(), 1 + 2 * at, "{what}");
        assert_eq!(request.tools[0]["name"], "look", "{what}");
        let response = record.response.as_ref().expect("it was answered");
        let expected: Vec<Part> = answer.content.iter().map(redacted).collect();
        assert_eq!(response.content, expected, "{what}: what was said");
        for attempt in &record.attempts {
            let [exchange] = &attempt.http[..] else { panic!("{what}: {:?}", attempt.http) };
            let body = exchange.request_body.as_deref().expect("a body");
            serde_json::from_str::<serde_json::Value>(body).expect("all of it");
            assert_eq!(exchange.doc.status, Some(200), "{what}");
            assert!(!exchange.response_body.as_deref().unwrap_or_default().is_empty(), "{what}");
            assert!(attempt.doc.first_content_ms.is_some(), "{what}");
        }
    }
    let failure = records[2].attempts[0].doc.failure.as_ref().expect("the first attempt failed");
    assert_eq!(&*failure.cause, "in_stream", "{format}");
    assert!(records[2].attempts[1].doc.failure.is_none() && records[2].outline.error.is_none(), "{format}");
    let everything = format!("{records:?}");
    assert!(!everything.contains(KEY), "{format}: the key was written down");
    assert!(!everything.contains("hunter22hunter"), "{format}: a registered secret was written down");

    let cassette = service.export(chat.id(), run.id).await.expect("it is there");
    let mut file = Vec::new();
    cassette.write(&mut file).expect("in memory");
    let read = Cassette::read(&file[..]).expect("it was just written");
    assert_eq!(read, cassette, "{format}");
    let replayed = read.model();
    let (_, again) = turn(replayed, None).await;
    let expected: Vec<_> = said(&transcript)
        .into_iter()
        .map(|(role, content, results, stopped)| {
            (role, content.iter().map(redacted).collect(), results, stopped)
        })
        .collect();
    assert_eq!(said(&again), expected, "{format}: replayed");
}

/// What is left of a part where the secret was.
fn redacted(part: &Part) -> Part {
    let text = serde_json::to_string(part).expect("a part encodes").replace("hunter22hunter", "[REDACTED]");
    serde_json::from_str(&text).expect("it stays a part")
}

/// A model that several hands hold.
struct Shared(Arc<dyn LanguageModel>);

impl LanguageModel for Shared {
    fn id(&self) -> ModelId {
        self.0.id()
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        self.0.stream(call)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_of_ten_steps_is_recorded_whole_and_replays_to_the_same_messages() {
    let recorder = recorder(MemoryDebug::new());
    for format in FORMATS {
        is_recorded_whole_and_replays(format, &recorder).await;
    }
    assert_eq!((recorder.stats().dropped, recorder.stats().unwritten), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_of_ten_steps_is_recorded_whole_in_a_file_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let recorder = recorder(SqliteStore::open(folder.path().join("chats.db")).expect("a new file"));
    for format in FORMATS {
        is_recorded_whole_and_replays(format, &recorder).await;
    }
    assert!(recorder.shutdown(Duration::from_secs(10)).await);
}
