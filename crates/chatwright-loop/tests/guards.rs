//! How long the loop waits for a provider, on paused time.

mod common;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::error::{Cause, Failure, Party};
use chatwright_core::head::Status;
use chatwright_core::live::Piece;
use chatwright_core::model::{ModelCall, ModelId, ModelPart};
use chatwright_core::port::{LanguageModel, LiveError, LiveLog, LiveRead, LiveWakes, ModelStream};
use chatwright_core::record::{AttemptFailed, Body};
use chatwright_core::{ChatId, Epoch, Gen, Timestamp};
use chatwright_loop::{Chats, Settings};
use chatwright_memory::MemoryLiveLog;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use common::{World, check_log, new_chat, records, say, transcript, until, work};

/// Milliseconds before a part; a stream that never goes on waits for [`NEVER`].
type Timed = (u64, ModelPart);

const NEVER: u64 = u64::MAX / 2;

/// A model that keeps to a timetable, an answer a row, and then answers plainly.
struct Timetable {
    rows: Mutex<VecDeque<Vec<Timed>>>,
    calls: AtomicUsize,
    open: Arc<AtomicUsize>,
}

/// A stream that was not dropped yet.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Timetable {
    fn new(rows: impl IntoIterator<Item = Vec<Timed>>) -> Arc<Self> {
        let rows = Mutex::new(rows.into_iter().collect());
        Arc::new(Self { rows, calls: AtomicUsize::new(0), open: Arc::default() })
    }
}

impl LanguageModel for Timetable {
    fn id(&self) -> ModelId {
        ModelId { provider: "openai".into(), model: "one".into() }
    }

    fn stream(&self, _: ModelCall) -> ModelStream {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert_eq!(self.open.fetch_add(1, Ordering::SeqCst), 0, "the last request was given up first");
        let open = Open(Arc::clone(&self.open));
        let row = self.rows.lock().pop_front();
        let row = row.unwrap_or_else(|| say("At last.").into_iter().map(|part| (1, part)).collect());
        futures::stream::iter(row)
            .then(move |(ms, part)| {
                let _ = &open;
                async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    part
                }
            })
            .boxed()
    }
}

fn words(words: &str) -> ModelPart {
    ModelPart::TextDelta { id: "t".into(), delta: words.to_owned() }
}

fn fails(cause: Cause, status: Option<u16>) -> ModelPart {
    let failure = Failure::new("openai", cause);
    ModelPart::Failure(Box::new(match status {
        Some(status) => failure.with_status(status),
        None => failure,
    }))
}

fn whole(words: &str) -> Vec<Timed> {
    say(words).into_iter().map(|part| (1, part)).collect()
}

/// A turn of a model, to its end.
struct Turn {
    chats: Chats,
    chat: ChatId,
    failed: Vec<AttemptFailed>,
    /// How long each attempt that failed took.
    took: Vec<Duration>,
    _worker: JoinSet<()>,
}

async fn turn(world: &World, model: Arc<Timetable>, end: Status) -> Turn {
    let chats = world.process_with(model.clone(), vec![]);
    let worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, end).await;
    assert_eq!(model.open.load(Ordering::SeqCst), 0, "no request stays open");
    let (mut failed, mut took, mut begun) = (Vec::new(), Vec::new(), Timestamp::default());
    let log = records(&chats, chat).await;
    check_log(&log);
    for record in log {
        let entry = record.open().expect("ours");
        match entry.body {
            Body::AttemptStarted(_) => begun = entry.at,
            Body::AttemptFailed(attempt) => {
                took.push(entry.at.since(begun));
                failed.push(attempt);
            }
            _ => {}
        }
    }
    Turn { chats, chat, failed, took, _worker: worker }
}

impl Turn {
    fn kinds(&self) -> Vec<&str> {
        self.failed.iter().map(|failed| &*failed.error.kind).collect()
    }

    async fn said(&self) -> String {
        transcript(&self.chats, self.chat).await.pop().expect("a line")
    }
}

#[tokio::test(start_paused = true)]
async fn neither_warnings_nor_signs_of_life_stand_in_for_the_first_content() {
    let warned = (5, ModelPart::Warnings(vec!["top_k is left out".into()]));
    let life = |every: u64| std::iter::repeat_n((every, ModelPart::KeepAlive), 1_000);
    for row in [
        vec![(NEVER, words(""))],
        vec![warned.clone(), (NEVER, words(""))],
        std::iter::once(warned).chain(life(5_000)).collect(),
        life(59_000).collect(),
    ] {
        let world = World::new();
        let turn = turn(&world, Timetable::new([row]), Status::Waiting).await;
        assert_eq!(turn.kinds(), ["startup_timeout"]);
        assert_eq!(turn.failed[0].error.provider.as_deref(), Some("openai"));
        assert_eq!(turn.took[0].as_secs(), 60);
        assert_eq!(turn.said().await, "model: At last.");
    }
}

#[tokio::test(start_paused = true)]
async fn content_before_the_end_of_its_guard_ends_that_guard_for_good() {
    // The first content after 59 s, then silences that the start would not have been allowed.
    let row = vec![(59_000, words("Slow ")), (119_000, words("but ")), (119_000, words("sure."))];
    let model = Timetable::new([[row, whole("")].concat()]);
    let world = World::new();
    let turn = turn(&world, model.clone(), Status::Waiting).await;
    assert_eq!((turn.kinds(), model.calls.load(Ordering::SeqCst)), (vec![], 1));
    assert_eq!(turn.said().await, "model: Slow but sure.");
}

#[tokio::test(start_paused = true)]
async fn content_at_the_very_moment_of_its_guard_has_one_outcome() {
    for ms in [59_990, 59_998, 59_999, 60_000, 60_001, 60_002, 60_010] {
        let model = Timetable::new([[vec![(ms, words("Just "))], whole("in time.")].concat()]);
        let world = World::new();
        let turn = turn(&world, model.clone(), Status::Waiting).await;
        let (calls, said) = (model.calls.load(Ordering::SeqCst), turn.said().await);
        match &*turn.kinds() {
            [] => assert_eq!((calls, &*said), (1, "model: Just in time."), "after {ms} ms"),
            ["startup_timeout"] => assert_eq!((calls, &*said), (2, "model: At last."), "after {ms} ms"),
            kinds => panic!("{kinds:?} after {ms} ms"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_falls_silent_is_given_up_after_its_bound_and_signs_of_life_put_that_off() {
    let begun = vec![(1, words("I begin "))];
    let life = std::iter::repeat_n((110_000, ModelPart::KeepAlive), 3);
    let silent = [begun.clone(), vec![(NEVER, words(""))]].concat();
    let lively = [begun, life.collect(), vec![(NEVER, words(""))]].concat();
    for (row, seconds) in [(silent, 120), (lively, 3 * 110 + 120)] {
        let world = World::new();
        let turn = turn(&world, Timetable::new([row]), Status::Waiting).await;
        assert_eq!((turn.kinds(), turn.took[0].as_secs()), (vec!["stream_silence_timeout"], seconds));
        assert_eq!(turn.said().await, "model: At last.", "and nothing of what was said before");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_ends_meets_the_bound_of_the_whole_attempt() {
    let drops = std::iter::repeat_n((59_000, words("drop ")), 1_000).collect();
    let world = World::new();
    let turn = turn(&world, Timetable::new([drops]), Status::Waiting).await;
    assert_eq!((turn.kinds(), turn.took[0].as_secs()), (vec!["timeout"], 15 * 60));
    assert_eq!(turn.said().await, "model: At last.");
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_over_changes_nothing_of_a_later_failure() {
    let row = vec![(1, words("I begin ")), (70_000, fails(Cause::Status, Some(401)))];
    let world = World::new();
    let turn = turn(&world, Timetable::new([row]), Status::Error).await;
    assert_eq!(turn.kinds(), ["auth"]);
    assert!(!turn.failed[0].error.retryable);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_without_its_end_is_tried_again_whatever_came() {
    let canceled = fails(Cause::Canceled(Party::Provider), None);
    for row in [
        vec![],
        vec![(1, ModelPart::KeepAlive)],
        vec![(1, words("I begin "))],
        // The provider's side hung up while the chat still waits: nobody of ours cancelled.
        vec![(1, words("I begin ")), (1, canceled)],
    ] {
        let model = Timetable::new([row]);
        let world = World::new();
        let turn = turn(&world, model.clone(), Status::Waiting).await;
        assert_eq!((turn.kinds(), model.calls.load(Ordering::SeqCst)), (vec!["timeout"], 2));
        assert_eq!(turn.failed[0].error.provider.as_deref(), Some("openai"));
        assert_eq!(turn.said().await, "model: At last.");
    }
}

/// A live log that panics at its first append.
struct Panicking {
    inner: MemoryLiveLog,
    appends: AtomicUsize,
}

#[async_trait]
impl LiveLog for Panicking {
    async fn open(&self, chat: ChatId, epoch: Epoch, r#gen: Gen) -> Result<(), LiveError> {
        self.inner.open(chat, epoch, r#gen).await
    }

    async fn append(
        &self,
        chat: ChatId,
        epoch: Epoch,
        r#gen: Gen,
        from: u64,
        pieces: &[Piece],
    ) -> Result<u64, LiveError> {
        assert!(self.appends.fetch_add(1, Ordering::SeqCst) > 0, "a bug of a live log");
        self.inner.append(chat, epoch, r#gen, from, pieces).await
    }

    async fn read(&self, chat: ChatId, r#gen: Gen, from: u64, max: usize) -> Result<LiveRead, LiveError> {
        self.inner.read(chat, r#gen, from, max).await
    }

    async fn seal(&self, chat: ChatId, epoch: Epoch, r#gen: Gen, at: u64) -> Result<(), LiveError> {
        self.inner.seal(chat, epoch, r#gen, at).await
    }

    fn changed(&self, chat: ChatId) -> LiveWakes {
        self.inner.changed(chat)
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_log_that_panics_ends_the_request_and_the_chat_goes_on() {
    let world = World::new();
    let model = Timetable::new([vec![(1, words("I begin ")), (NEVER, words(""))]]);
    let mut ports = world.ports(model.clone(), vec![]);
    let inner = MemoryLiveLog::new(world.clock.clone());
    ports.live = Arc::new(Panicking { inner, appends: AtomicUsize::new(0) });
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    let begun = tokio::time::Instant::now();
    until(&chats, chat, Status::Waiting).await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "not when somebody looks after it: {:?}",
        begun.elapsed()
    );
    // Were it still open, the second request would have panicked.
    assert_eq!(model.calls.load(Ordering::SeqCst), 2);
    assert_eq!(transcript(&chats, chat).await, ["user: hello", "model: At last."]);
}
