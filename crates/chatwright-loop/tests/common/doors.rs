//! Ways to a store and to a bus that a test opens and closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

use async_trait::async_trait;
use chatwright_core::port::{
    Bus, BusError, BusFrames, ChatStore, CommitError, Due, DueAfter, StoreError, StoreErrorKind, Topic,
};
use chatwright_core::{ChatId, Commit, Head, Record, Revision, Seq, SessionId};
use chatwright_memory::MemoryBus;
use parking_lot::Mutex;
use tokio::sync::oneshot;

fn gone() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "cut")
}

/// A way to the store that is cut after some commits: the next one is applied or not, and nothing is heard of it.
pub struct Cut {
    inner: Arc<dyn ChatStore>,
    left: AtomicIsize,
    last_is_applied: bool,
}

impl Cut {
    pub fn after(inner: Arc<dyn ChatStore>, left: isize, last_is_applied: bool) -> Arc<Self> {
        Arc::new(Self { inner, left: AtomicIsize::new(left), last_is_applied })
    }

    pub fn is_cut(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    fn answer<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if self.is_cut() { Err(gone()) } else { answer }
    }
}

#[async_trait]
impl ChatStore for Cut {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        self.answer(self.inner.head(chat).await)
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            1.. => self.inner.commit(commit).await,
            0 if self.last_is_applied => {
                // It lands, and its answer is lost.
                let _ = self.inner.commit(commit).await;
                Err(gone().into())
            }
            _ => Err(gone().into()),
        }
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.answer(self.inner.records(chat, after, limit).await)
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.answer(self.inner.due(after, limit).await)
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        self.answer(self.inner.held(session, after, limit).await)
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        self.answer(self.inner.revisions(chats).await)
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        self.inner.purge(chat).await
    }
}

/// A store that keeps a caller waiting where a test says so, and remembers every head that was committed.
pub struct Staged {
    inner: Arc<dyn ChatStore>,
    stops: Mutex<Vec<Stop>>,
    heads: Mutex<Vec<(ChatId, Head)>>,
}

/// Where a caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before a commit with a record of this kind.
    Before(&'static str),
    /// After one, before its answer.
    After(&'static str),
    /// After the head was read, before it is given.
    Head,
}

/// What becomes of the call that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    GoOn,
    /// It fails, whether it was done or not.
    Fail,
}

struct Stop {
    at: At,
    reached: Option<oneshot::Sender<()>>,
    then: oneshot::Receiver<Then>,
}

/// The test's side of a stop.
pub struct Waiting {
    reached: oneshot::Receiver<()>,
    then: oneshot::Sender<Then>,
}

impl Waiting {
    /// Waits until somebody waits there.
    pub async fn reached(&mut self) {
        let reached = tokio::time::timeout(std::time::Duration::from_secs(600), &mut self.reached).await;
        reached.expect("somebody comes there").expect("the store lives");
    }

    pub fn then(self, then: Then) {
        // Whoever waited may be gone.
        let _ = self.then.send(then);
    }
}

impl Staged {
    pub fn new(inner: Arc<dyn ChatStore>) -> Arc<Self> {
        Arc::new(Self { inner, stops: Mutex::default(), heads: Mutex::default() })
    }

    /// The next caller that comes there waits.
    pub fn stop(&self, at: At) -> Waiting {
        let (reached_sender, reached) = oneshot::channel();
        let (then, then_receiver) = oneshot::channel();
        self.stops.lock().push(Stop { at, reached: Some(reached_sender), then: then_receiver });
        Waiting { reached, then }
    }

    /// Every head that was committed, in order.
    pub fn heads(&self) -> Vec<(ChatId, Head)> {
        self.heads.lock().clone()
    }

    async fn wait(&self, comes: impl Fn(At) -> bool) -> Then {
        let stop = {
            let mut stops = self.stops.lock();
            let at = stops.iter().position(|stop| comes(stop.at));
            at.map(|at| stops.remove(at))
        };
        let Some(mut stop) = stop else { return Then::GoOn };
        if let Some(reached) = stop.reached.take() {
            let _ = reached.send(());
        }
        stop.then.await.unwrap_or(Then::GoOn)
    }
}

#[async_trait]
impl ChatStore for Staged {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        let head = self.inner.head(chat).await;
        match self.wait(|at| at == At::Head).await {
            Then::GoOn => head,
            Then::Fail => Err(gone()),
        }
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        let has = |kind: &str| commit.records().iter().any(|record| record.kind.name() == kind);
        if self.wait(|at| matches!(at, At::Before(kind) if has(kind))).await == Then::Fail {
            return Err(gone().into());
        }
        let done = self.inner.commit(commit).await;
        if done.is_ok() {
            self.heads.lock().push((commit.chat(), commit.head().clone()));
        }
        match self.wait(|at| matches!(at, At::After(kind) if has(kind))).await {
            Then::GoOn => done,
            Then::Fail => Err(gone().into()),
        }
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.inner.records(chat, after, limit).await
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.inner.due(after, limit).await
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        self.inner.held(session, after, limit).await
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        self.inner.revisions(chats).await
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        self.inner.purge(chat).await
    }
}

/// A bus that remembers every frame, and keeps them until it is told to deliver.
#[derive(Default)]
pub struct Kept {
    inner: MemoryBus,
    passes: AtomicBool,
    frames: Mutex<Vec<(Topic, Vec<u8>)>>,
}

impl Kept {
    /// It keeps what is published.
    pub fn closed() -> Arc<Self> {
        Arc::default()
    }

    /// It delivers at once.
    pub fn open() -> Arc<Self> {
        let bus = Self::default();
        bus.passes.store(true, Ordering::SeqCst);
        Arc::new(bus)
    }

    /// Every frame so far, in order.
    pub fn frames(&self) -> Vec<(Topic, Vec<u8>)> {
        self.frames.lock().clone()
    }

    /// Delivers a frame now.
    pub async fn deliver(&self, topic: &Topic, frame: &[u8]) {
        self.inner.publish(topic, frame).await.expect("a small frame");
    }
}

#[async_trait]
impl Bus for Kept {
    async fn publish(&self, topic: &Topic, frame: &[u8]) -> Result<(), BusError> {
        self.frames.lock().push((topic.clone(), frame.to_vec()));
        if self.passes.load(Ordering::SeqCst) { self.inner.publish(topic, frame).await } else { Ok(()) }
    }

    async fn subscribe(&self, topic: &Topic) -> Result<BusFrames, BusError> {
        self.inner.subscribe(topic).await
    }
}
