//! What fails, and what viewers see of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::frame::{ByeReason, Frame, FrameBody, HelloMode, ResetReason, Resume};
use chatwright_core::port::{ChatStore, CommitError, Due, DueAfter, StoreError, StoreErrorKind};
use chatwright_core::{ChatId, Commit, Head, Json, Record, Revision, Seq, SessionId, Uuid};
use chatwright_memory::{ManualClock, MemoryBus, MemoryLiveLog, MemoryStore};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::EventsError;
use super::client::Client;
use super::world::{Act, NOW, World, pass, text};

const WELL: u8 = 0;
const FAILS: u8 = 1;
const HANGS: u8 = 2;

/// A store whose reads can be made to fail or to hang, and that can be restored from a backup.
struct Sick {
    store: Mutex<Arc<dyn ChatStore>>,
    how: AtomicU8,
}

impl Sick {
    fn new(store: Arc<dyn ChatStore>) -> Arc<Self> {
        Arc::new(Self { store: Mutex::new(store), how: AtomicU8::new(WELL) })
    }

    fn set(&self, how: u8) {
        self.how.store(how, Ordering::Relaxed);
    }

    fn store(&self) -> Arc<dyn ChatStore> {
        Arc::clone(&self.store.lock())
    }

    async fn ask(&self) -> Result<Arc<dyn ChatStore>, StoreError> {
        match self.how.load(Ordering::Relaxed) {
            FAILS => Err(StoreError::new(StoreErrorKind::Unavailable, "down")),
            HANGS => std::future::pending().await,
            _ => Ok(self.store()),
        }
    }
}

#[async_trait]
impl ChatStore for Sick {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        self.ask().await?.head(chat).await
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        self.store().commit(commit).await
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.ask().await?.records(chat, after, limit).await
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.store().due(after, limit).await
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        self.store().held(session, after, limit).await
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        self.store().revisions(chats).await
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        self.store().purge(chat).await
    }
}

async fn sick_world() -> (World, Arc<Sick>) {
    let clock = Arc::new(ManualClock::new(NOW));
    let sick = Sick::new(Arc::new(MemoryStore::new(clock.clone())));
    let live = Arc::new(MemoryLiveLog::new(clock));
    (World::with(sick.clone(), Arc::new(MemoryBus::new()), live).await, sick)
}

/// Frames until the stream ends.
async fn rest(client: &mut Client) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = client.stream.next().await {
        frames.push(frame);
    }
    frames
}

#[tokio::test(start_paused = true)]
async fn an_unknown_chat_is_an_error_before_the_stream() {
    let mut world = World::new().await;
    let known = world.chat;
    world.chat = ChatId::from_uuid(Uuid::from_u128(8));
    let refused = world.try_watch(None, Resume::Nothing).await.map(drop);
    assert!(matches!(refused, Err(EventsError::NotFound(chat)) if chat == world.chat), "{refused:?}");
    world.store.purge(known).await.expect("in memory");
    world.chat = known;
    let refused = world.try_watch(None, Resume::Nothing).await.map(drop);
    assert!(matches!(refused, Err(EventsError::NotFound(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_chat_that_is_purged_under_a_viewer_is_gone_for_good() {
    let world = World::new().await;
    let mut watching = Client::new(&world, Resume::Nothing).await;
    watching.pull(&world.facts).await;
    let loaded = world.head.clone();
    world.store.purge(world.chat).await.expect("in memory");
    world.ring().await;
    let gone = vec![Frame::bye(ByeReason::Gone, None, false)];
    assert_eq!(rest(&mut watching).await, gone);
    // Between the caller's read and ours.
    let stream = world.try_watch(loaded, Resume::Nothing).await.expect("the caller saw it");
    watching.stream = stream;
    assert_eq!(rest(&mut watching).await, gone);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_ends_the_stream_resumably_after_five_more_tries() {
    let (world, sick) = sick_world().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    sick.set(FAILS);
    world.ring().await;
    let began = Instant::now();
    assert_eq!(rest(&mut client).await, [Frame::bye(ByeReason::Store, Some(1_000), true)]);
    // 100 + 200 + 400 + 800 + 1,600 ms.
    assert_eq!(began.elapsed().as_millis(), 3_100);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_is_given_up_after_five_seconds() {
    let (world, sick) = sick_world().await;
    sick.set(HANGS);
    let began = Instant::now();
    let refused = world.try_watch(None, Resume::Nothing).await.map(drop);
    assert!(matches!(refused, Err(EventsError::Store(_))), "{refused:?}");
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_loaded_is_shown_until_the_store_is_back_and_then_corrected() {
    let (mut world, sick) = sick_world().await;
    let loaded = world.head.clone();
    world.act(&Act::Open).await;
    world.act(&text("Hi")).await;
    sick.set(FAILS);
    let stream = world.try_watch(loaded, Resume::Nothing).await.expect("the caller saw it");
    let mut client = Client { stream, view: Default::default(), frames: Vec::new() };
    client.pull(&world.facts).await;
    assert_eq!(client.names(), ["hello", "state"]);
    sick.set(WELL);
    pass(Duration::from_secs(1)).await;
    client.pull(&world.facts).await;
    assert_eq!(client.names()[2..], ["state", "record", "record", "live.snapshot", "caught_up"]);
    let mut fresh = Client::new(&world, Resume::Nothing).await;
    fresh.pull(&world.facts).await;
    assert_eq!(client.view.cursor(), fresh.view.cursor());
    assert_eq!(client.seen(), fresh.seen());
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_what_is_being_said_goes_on() {
    let (mut world, sick) = sick_world().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    world.act(&Act::Open).await;
    client.pull(&world.facts).await;
    client.frames.clear();
    sick.set(FAILS);
    world.ring().await;
    world.act(&text("Hel")).await;
    client.pull(&world.facts).await;
    world.act(&text("lo")).await;
    client.pull(&world.facts).await;
    assert_eq!(client.names(), ["delta", "delta"]);
    sick.set(WELL);
    world.act(&Act::Seal).await;
    pass(Duration::from_secs(1)).await;
    client.pull(&world.facts).await;
    assert_eq!(client.names(), ["delta", "delta", "record", "state"]);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_cannot_be_read_ends_the_stream_resumably() {
    let world = World::new().await;
    let head = world.head.clone().expect("a chat");
    let index = head.index.clone();
    let newer = Json::parse(r#"{"v":2,"status":"dancing"}"#).expect("valid");
    let draft = chatwright_core::HeadDraft::from_json(index, newer).expect("small");
    let said =
        chatwright_core::record::Body::ChatUnarchived(chatwright_core::record::ChatUnarchived::default());
    let op = chatwright_core::OpId::from_uuid(Uuid::from_u128(5));
    let draft_record = chatwright_core::Draft::first(op, NOW, &said).expect("small");
    let commit = Commit::next(world.chat, &head, draft, vec![draft_record]).expect("valid");
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    world.store.commit(&commit).await.expect("nobody else writes");
    world.ring().await;
    assert_eq!(rest(&mut client).await, [Frame::bye(ByeReason::Unreadable, Some(1_000), true)]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_older_than_what_it_showed_resets_its_viewers() {
    let (mut world, sick) = sick_world().await;
    let backup = Arc::new(MemoryStore::new(Arc::new(ManualClock::new(NOW))));
    let other = World::with(backup.clone(), world.bus.clone(), world.live.clone()).await;
    world.act(&Act::Say).await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    client.frames.clear();
    *sick.store.lock() = backup;
    other.ring().await;
    client.pull(&other.facts).await;
    let mode = HelloMode::Reset { reason: ResetReason::Seq };
    assert_eq!(client.frames[0].body, FrameBody::Hello { mode });
    assert_eq!(client.seen().messages.len(), 1);
}
