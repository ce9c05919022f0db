//! A chat is the same whatever becomes of what is recorded of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright::core::content::Output;
use chatwright::core::debug::{
    ContentHash, DebugDelete, DebugRun, DebugStep, DebugWrite, DebugWritten, Detail, Swept,
};
use chatwright::core::head::Status;
use chatwright::core::model::FinishReason;
use chatwright::core::port::{ChatStore, Clock, DebugStore, StoreError, StoreErrorKind, Tool};
use chatwright::core::tool::{Effect, ToolCall, ToolSpec};
use chatwright::core::{ChatId, Record, RunId, Seq, Timestamp};
use chatwright::debug::redact::{Redactor, Rules};
use chatwright::debug::{DebugService, DebugSettings, Recorder, RecorderSettings};
use chatwright::memory::{MemoryBus, MemoryDebug, MemoryStore, SeededIds};
use chatwright::{Asked, Chatwright, NewChat, Resume, UserId, View};
use chatwright_fake::zoo::Fault;
use chatwright_fake::{Reply, Script, ScriptedModel, Step};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// What a store does at every call.
#[derive(Clone, Copy, Debug)]
enum Does {
    Refuses,
    Hangs,
    /// It answers, this much later.
    Late(Duration),
    Panics,
}

/// A store that does only this. It counts its calls.
#[derive(Clone)]
struct Broken(Does, Arc<AtomicUsize>, MemoryDebug);

impl Broken {
    async fn meet(&self) -> Result<(), StoreError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        match self.0 {
            Does::Refuses => Err(StoreError::new(StoreErrorKind::Unavailable, "it refuses")),
            Does::Hangs => std::future::pending().await,
            Does::Late(late) => {
                sleep(late).await;
                Ok(())
            }
            Does::Panics => panic!("the debug store panics, as it is told to"),
        }
    }
}

#[async_trait]
impl DebugStore for Broken {
    async fn write(&self, writes: &[DebugWrite]) -> Result<Vec<DebugWritten>, StoreError> {
        self.meet().await?;
        self.2.write(writes).await
    }

    async fn runs(
        &self,
        chat: ChatId,
        before: Option<(Timestamp, RunId)>,
        limit: usize,
    ) -> Result<Vec<DebugRun>, StoreError> {
        self.meet().await?;
        self.2.runs(chat, before, limit).await
    }

    async fn run(&self, chat: ChatId, run: RunId) -> Result<Option<DebugRun>, StoreError> {
        self.meet().await?;
        self.2.run(chat, run).await
    }

    async fn steps(
        &self,
        chat: ChatId,
        run: RunId,
        after: u32,
        limit: usize,
        detail: Detail,
    ) -> Result<Vec<DebugStep>, StoreError> {
        self.meet().await?;
        self.2.steps(chat, run, after, limit, detail).await
    }

    async fn contents(
        &self,
        chat: ChatId,
        run: RunId,
        hashes: &[ContentHash],
    ) -> Result<Vec<Option<Box<[u8]>>>, StoreError> {
        self.meet().await?;
        self.2.contents(chat, run, hashes).await
    }

    async fn sweep(&self, now: Timestamp, before: Timestamp, limit: usize) -> Result<Swept, StoreError> {
        self.meet().await?;
        self.2.sweep(now, before, limit).await
    }

    async fn delete(&self, which: &DebugDelete, limit: usize) -> Result<usize, StoreError> {
        self.meet().await?;
        self.2.delete(which, limit).await
    }
}

/// Wall time that passes as tokio's does.
struct TokioClock(Instant);

impl TokioClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).after(self.0.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

struct Look;

#[async_trait]
impl Tool for Look {
    fn spec(&self) -> ToolSpec {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        ToolSpec::new("look", "looks", schema, Effect::Pure)
    }

    async fn call(&self, call: ToolCall) -> Output {
        sleep(Duration::from_millis(30)).await;
        Output::text(format!("saw {}", call.input["n"]))
    }
}

/// A tool, a failure and the retry that heals it, a tool, and an answer that is stopped in its middle.
fn script() -> Script {
    let step = |n: usize| {
        Reply::steps(vec![
            Step::Reasoning("Hm.".to_owned()),
            Step::Text(format!("Step {n}.")),
            Step::Pause(Duration::from_millis(70)),
            Step::Call {
                id: format!("call_{n}"),
                name: "look".to_owned(),
                arguments: vec![format!("{{\"n\":{n}}}")],
            },
            Step::Finish(FinishReason::ToolCalls),
        ])
    };
    let last = vec![Step::Text("I begin".to_owned()), Step::Pause(Duration::from_millis(70)), Step::Stall];
    Script::new(vec![step(1), Fault::ErrorInMidStream.reply(), step(2), Reply::steps(last)])
}

/// What anybody sees of the turn: each frame, the records, and how long it and the worker's end took.
#[derive(Debug, PartialEq)]
struct Seen {
    frames: Vec<String>,
    records: Vec<String>,
    took: Duration,
    ended_in: Duration,
}

async fn turn(recorder: Option<Recorder>) -> Seen {
    let clock = TokioClock::new();
    let store = MemoryStore::new(clock.clone());
    let mut builder = Chatwright::builder(store.clone(), MemoryBus::new())
        .clock(Shared(clock))
        .ids(SeededIds::new(7))
        .model("fast", ScriptedModel::new(script()))
        .tool(Look);
    if let Some(recorder) = &recorder {
        builder = builder.debug(recorder);
    }
    let chatwright = builder.build().expect("valid");
    let began = Instant::now();
    let chat = chatwright.create(NewChat::new(UserId::new("ada").expect("short"))).await.expect("created");
    let (worker, (end, ended)) = (chatwright.worker(), oneshot::channel::<()>());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(async move { drop(ended.await) }).await });
    chat.send("Please look at all of it").await.expect("sent");
    let mut events = chat.events(Resume::default()).await.expect("there");
    let (mut view, mut frames, mut stopped) = (View::new(), Vec::new(), false);
    let watched = async {
        while let Some(frame) = events.next().await {
            frames.push(serde_json::to_string(&frame).expect("it encodes"));
            view.apply(&frame);
            let preview = view.transcript().preview.as_ref();
            if !stopped && preview.is_some_and(|preview| format!("{:?}", preview.blocks).contains("I begin"))
            {
                chat.interrupt(Asked::default()).await.expect("it runs");
                stopped = true;
            }
            if stopped && view.transcript().status == Status::Waiting {
                return;
            }
        }
    };
    timeout(Duration::from_secs(600), watched).await.expect("it is stopped");
    let (took, ending) = (began.elapsed(), Instant::now());
    drop(end);
    tasks.join_all().await;
    let ended_in = ending.elapsed();
    let records = store.records(chat.id(), Seq::ZERO, 1_000).await.expect("it answers");
    let text = |record: &Record| format!("{:?} {:?} {}", record.seq, record.kind, record.body.as_str());
    Seen { frames, records: records.iter().map(text).collect(), took, ended_in }
}

/// A clock that several hands hold.
struct Shared(Arc<TokioClock>);

impl Clock for Shared {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

fn recorder(store: impl DebugStore) -> Recorder {
    let mut settings = DebugSettings::default();
    settings.forced = true;
    let service = DebugService::new(store, TokioClock::new(), Arc::new(SeededIds::new(8)), settings);
    Recorder::start(service, Redactor::new(&Rules::default()).expect("valid"), RecorderSettings::default())
}

#[tokio::test(start_paused = true)]
async fn a_chat_is_the_same_whatever_its_debug_store_does() {
    let without = turn(None).await;
    let said = format!("{:?}", without.records);
    let expected = ["Step 1.", "saw 1", "Step 2.", "saw 2", "I begin"];
    assert!(expected.iter().all(|words| said.contains(words)), "{said}");
    assert_eq!(turn(None).await, without, "it is the same each time");
    assert_eq!(turn(Some(recorder(MemoryDebug::new()))).await, without, "recorded");
    let late = Does::Late(Duration::from_millis(900));
    for does in [Does::Refuses, Does::Hangs, late, Does::Panics] {
        let calls = Arc::new(AtomicUsize::new(0));
        let recorder = recorder(Broken(does, Arc::clone(&calls), MemoryDebug::new()));
        assert_eq!(turn(Some(recorder)).await, without, "{does:?}");
        assert!(calls.load(Ordering::Relaxed) > 0, "{does:?}: it was asked");
    }
}
