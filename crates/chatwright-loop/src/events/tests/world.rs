//! A chat that is written by hand: what a worker and its commands would commit, append and ring.

mod worker;

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::accumulator::Accumulator;
use chatwright_core::content::{Metadata, Part};
use chatwright_core::frame::{Cursor, Resume};
use chatwright_core::head::{HeadDraft, Index, QueueEntry, State, Status, Title, UnitKind};
use chatwright_core::model::ModelPart;
use chatwright_core::port::{Bus, ChatStore, LiveLog};
use chatwright_core::record::{
    Body, ChatChanged, ChatCreated, HistoryCut, MessageUser, Outcome, QueueAdded, QueueRemoved,
};
use chatwright_core::{
    ChatId, Commit, Draft, Epoch, Gen, Head, MessageId, OpId, QueueId, Seq, SessionId, Timestamp, UserId,
    Uuid,
};
use chatwright_memory::{ManualClock, MemoryBus, MemoryLiveLog, MemoryStore};

use super::super::topic::doorbell_topic;
use super::super::{EventSettings, EventSources, EventStream, EventsError, events};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(super) const EPOCH: Epoch = Epoch::new(1);
const WRITER: SessionId = SessionId::from_uuid(Uuid::from_u128(99));

/// One thing that happens. What does not fit the moment does not happen.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Say,
    Open,
    Text(String),
    Think(String),
    Call,
    Seal,
    Interrupt,
    Fail,
    GiveUp,
    LoseWriter,
    Output(u32, String),
    Result(u32),
    Queue,
    Unqueue,
    Cut,
    Title,
}

/// A gen as the log has it: for the laws.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) r#gen: Gen,
    pub(super) unit: UnitKind,
    pub(super) message: MessageId,
    pub(super) opened: Seq,
    pub(super) sealed: Option<Seq>,
    /// Whether the seal came with the message.
    pub(super) stored: bool,
}

pub(super) struct World {
    pub(super) chat: ChatId,
    pub(super) store: Arc<dyn ChatStore>,
    pub(super) live: Arc<dyn LiveLog>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) settings: EventSettings,
    pub(super) head: Option<Head>,
    pub(super) state: State,
    pub(super) facts: Vec<Fact>,
    /// Doorbells ring.
    pub(super) rings: bool,
    /// The end of the open gen's preview.
    pub(super) off: u64,
    answer: Accumulator,
    /// Blocks of the batch that were opened.
    blocks: Vec<u32>,
    calls: Vec<u32>,
    said: Vec<Seq>,
    minted: u128,
}

impl World {
    /// A chat with one message.
    pub(super) async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let live = Arc::new(MemoryLiveLog::new(clock.clone()));
        Self::with(Arc::new(MemoryStore::new(clock)), Arc::new(MemoryBus::new()), live).await
    }

    pub(super) async fn with(store: Arc<dyn ChatStore>, bus: Arc<dyn Bus>, live: Arc<dyn LiveLog>) -> Self {
        let mut world = Self {
            chat: ChatId::from_uuid(Uuid::from_u128(7)),
            store,
            live,
            bus,
            settings: EventSettings::default(),
            head: None,
            state: State::default(),
            facts: Vec::new(),
            rings: true,
            off: 0,
            answer: Accumulator::new(),
            blocks: Vec::new(),
            calls: Vec::new(),
            said: Vec::new(),
            minted: 1_000,
        };
        let created = ChatCreated {
            owner: UserId::new("ada").expect("short"),
            organization: None,
            parent: None,
            root: None,
            client_type: Default::default(),
            title: None,
            labels: Default::default(),
            model: None,
            effort: None,
            first: None,
            key: None,
        };
        let first = world.user();
        world.commit(vec![created.into(), first]).await;
        world.said.push(Seq::new(2));
        world
    }

    pub(super) fn sources(&self) -> EventSources {
        EventSources {
            chats: Arc::clone(&self.store),
            bus: Arc::clone(&self.bus),
            live: Arc::clone(&self.live),
            incarnation: "store-1".into(),
        }
    }

    pub(super) async fn watch(&self, resume: Resume) -> EventStream {
        self.try_watch(None, resume).await.expect("the chat is there")
    }

    pub(super) async fn try_watch(
        &self,
        head: Option<Head>,
        resume: Resume,
    ) -> Result<EventStream, EventsError> {
        events(self.sources(), self.chat, head, resume, self.settings).await
    }

    pub(super) fn cursor(&self, seq: u64, r#gen: u64, off: u64) -> Cursor {
        let tag = Cursor::tag_of("store-1", self.chat);
        Cursor { tag, seq: Seq::new(seq), r#gen: Gen::new(r#gen), off }
    }

    pub(super) fn last_seq(&self) -> Seq {
        self.head.as_ref().map_or(Seq::ZERO, |head| head.last_seq)
    }

    fn next_seq(&self, nth: u64) -> Seq {
        Seq::new(self.last_seq().get() + nth)
    }

    fn mint(&mut self) -> Uuid {
        self.minted += 1;
        Uuid::from_u128(self.minted)
    }

    /// Commits these records with the state as it is now, and rings.
    pub(super) async fn commit(&mut self, bodies: Vec<Body>) {
        let op = OpId::from_uuid(self.mint());
        let mut drafts = vec![Draft::first(op, NOW, &bodies[0]).expect("small")];
        drafts.extend(bodies[1..].iter().map(|body| Draft::new(NOW, body).expect("small")));
        self.commit_drafts(drafts).await;
    }

    pub(super) async fn commit_drafts(&mut self, drafts: Vec<Draft>) {
        self.state.status = if self.state.open.is_some() { Status::Running } else { Status::Waiting };
        let mut index = Index::new(UserId::new("ada").expect("short"), NOW);
        index.status = self.state.status;
        let draft = HeadDraft::at_rest(index, &self.state).expect("small");
        let commit = match &self.head {
            None => Commit::create(self.chat, draft, drafts),
            Some(head) => Commit::next(self.chat, head, draft, drafts),
        };
        let commit = commit.expect("a valid commit");
        self.store.commit(&commit).await.expect("nobody else writes");
        self.head = Some(commit.head().clone());
        if self.rings {
            self.ring().await;
        }
    }

    pub(super) async fn ring(&self) {
        self.bus.publish(&doorbell_topic(self.chat), b"?").await.expect("small");
    }

    pub(super) async fn act(&mut self, act: &Act) {
        let unit = self.state.open.as_ref().map(|open| open.kind);
        match (act, unit) {
            (Act::Say, None) => {
                let said = self.user();
                self.commit(vec![said]).await;
                self.said.push(self.last_seq());
            }
            (Act::Open, None) => {
                let started = self.start(1).await;
                self.commit(vec![started]).await;
            }
            (Act::Text(text), Some(UnitKind::Attempt)) => {
                let delta = text.clone();
                self.part(ModelPart::TextDelta { id: "0".into(), delta }).await;
            }
            (Act::Think(text), Some(UnitKind::Attempt)) => {
                let (id, delta, metadata) = ("1".into(), text.clone(), Metadata::new());
                self.part(ModelPart::ReasoningDelta { id, delta, metadata }).await;
            }
            (Act::Call, Some(UnitKind::Attempt)) => {
                let id = format!("c{}", self.off).into();
                let (name, input) = ("look".into(), "{}".to_owned());
                let metadata = Metadata::new();
                self.part(ModelPart::ToolCall { id, name, input, provider_executed: false, metadata }).await;
            }
            (Act::Seal, Some(UnitKind::Attempt)) => self.seal(Outcome::Committed).await,
            (Act::Interrupt, Some(UnitKind::Attempt)) => self.seal(Outcome::Interrupted).await,
            (Act::Fail, Some(UnitKind::Attempt)) => self.fail(true).await,
            (Act::GiveUp, Some(UnitKind::Attempt)) => self.fail(false).await,
            (Act::LoseWriter, Some(UnitKind::Attempt)) => self.lose_writer().await,
            (Act::Output(place, text), Some(UnitKind::Batch)) => self.output(*place, text).await,
            (Act::Result(place), Some(UnitKind::Batch)) => self.result(*place).await,
            (Act::Queue, _) if self.state.queue.len() < 3 => self.queue().await,
            (Act::Unqueue, _) if !self.state.queue.is_empty() => {
                let ids = vec![self.state.queue.remove(0).id];
                self.commit(vec![QueueRemoved { ids, key: None }.into()]).await;
            }
            (Act::Cut, None) if self.said.len() > 1 => self.cut().await,
            (Act::Title, _) => {
                let title = Title::new("Engines").ok();
                self.commit(vec![ChatChanged { title, ..ChatChanged::default() }.into()]).await;
            }
            _ => {}
        }
    }

    fn user(&mut self) -> Body {
        let id = self.mint();
        let words = format!("message {}", id.as_u128());
        MessageUser::new(MessageId::from_uuid(id), vec![Part::text(words)]).into()
    }

    async fn queue(&mut self) {
        let id = QueueId::from_uuid(self.mint());
        let Body::MessageUser(message) = self.user() else { return };
        let position = u32::try_from(self.state.queue.len()).expect("few");
        self.state.queue.push(QueueEntry { seq: self.next_seq(1), id, edited: None, bytes: 9, held: false });
        self.commit(vec![QueueAdded { id, message, position, held: false }.into()]).await;
    }

    /// An edit of the newest message: history is cut and the queue cleared.
    async fn cut(&mut self) {
        let from = self.said.pop().expect("there are two");
        let mut bodies = Vec::new();
        let ids: Vec<QueueId> = self.state.queue.drain(..).map(|entry| entry.id).collect();
        if !ids.is_empty() {
            bodies.push(QueueRemoved { ids, key: None }.into());
        }
        bodies.push(HistoryCut { from, message: None, content_hash: None, key: None }.into());
        bodies.push(self.user());
        self.commit(bodies).await;
        self.said.push(self.last_seq());
    }
}

pub(super) fn text(words: &str) -> Act {
    Act::Text(words.to_owned())
}

/// Time passes.
pub(super) async fn pass(span: Duration) {
    tokio::time::sleep(span).await;
}
