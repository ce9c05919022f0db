//! A chat in a store of a few lines, two sessions, users, and the world outside.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};

use chatwright_core::content::Part;
use chatwright_core::head::{ClientType, KeyHash, Labels, Title, UnitKind};
use chatwright_core::model::ModelId;
use chatwright_core::record::{Body, ToolIntent};
use chatwright_core::tool::Effect;
use chatwright_core::{
    ChatId, Commit, MessageId, OpId, QueueId, Record, Seq, SessionId, Timestamp, UserId, Uuid,
};
use chatwright_engine::{
    Chat, Command, Create, Fence, History, Input, Next, NotDone, Receipt, Rules, Step, receipt_of, step,
};
use chatwright_retry::Jitter;

use crate::book::Book;
use crate::invariants::{self, Landing, Violation};

pub(crate) const CHAT: ChatId = ChatId::from_uuid(Uuid::from_u128(1));

/// Small bounds, so that they are met.
pub(crate) static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let mut rules = Rules { steps_max: 2, deaths_max: 2, ..Rules::default() };
    rules.retry.attempts_max = NonZeroU32::MIN.saturating_add(2);
    rules.retry.jitter = Jitter::NONE;
    rules
});

/// A step, and the calls that a holder starts once it is committed.
pub(crate) struct Made {
    pub(crate) step: Step,
    pub(crate) starts: Vec<Start>,
}

/// A call that is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) call: (MessageId, u32),
    pub(crate) effect: Effect,
}

impl From<Step> for Made {
    fn from(step: Step) -> Self {
        let intents = step.records.iter().filter(|draft| draft.kind().name() == "tool.intent");
        let starts = intents.map(|draft| {
            let mut body: serde_json::Value = draft.body().decode().expect("a body of ours");
            let intent: ToolIntent = serde_json::from_value(body["data"].take()).expect("an intent");
            Start { call: (intent.message, intent.ordinal), effect: intent.effect }
        });
        let starts = starts.collect();
        Self { step, starts }
    }
}

/// What decides: the engine, or one that was broken on purpose.
pub(crate) type Engine = fn(&Chat, &Input, &History, Timestamp) -> Result<Made, NotDone>;

/// What is explored.
#[derive(Clone, Copy)]
pub(crate) struct Rig {
    pub(crate) engine: Engine,
    /// The store applies a commit iff the revision is the expected one.
    pub(crate) checks_revision: bool,
    /// Invariants that are not looked at, so that a twin shows what follows from breaking them.
    pub(crate) passed_over: &'static [&'static str],
}

/// The engine as it is.
pub(crate) fn engine(chat: &Chat, input: &Input, history: &History, now: Timestamp) -> Result<Made, NotDone> {
    step(Some(chat), input, history, now, &RULES).map(Made::from)
}

/// A chat as stored.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) chat: Arc<Chat>,
    pub(crate) history: Arc<History>,
    pub(crate) log: Arc<Vec<Record>>,
    pub(crate) book: Arc<Book>,
}

/// A commit that was made and may have been sent.
pub(crate) struct Prepared {
    pub(crate) input: Input,
    /// The last record that it was built on.
    pub(crate) base: Seq,
    pub(crate) commit: Commit,
    pub(crate) after: Arc<Chat>,
    pub(crate) starts: Vec<Start>,
    pub(crate) receipt: Option<Receipt>,
}

/// A process that runs chats.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) alive: bool,
    /// The chat as it knows it.
    pub(crate) copy: Option<(Arc<Chat>, Arc<History>)>,
    /// What it believes that it does.
    pub(crate) task: Option<Task>,
    /// A commit of which it had no answer.
    pub(crate) unsure: Option<Arc<Prepared>>,
}

/// What a session does for a chat.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) fence: Fence,
    pub(crate) kind: Option<UnitKind>,
    pub(crate) running: Vec<(MessageId, u32)>,
}

/// A command that a user was given a receipt for.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) key: KeyHash,
    pub(crate) receipt: Receipt,
    /// Something was said with it.
    pub(crate) says: bool,
}

/// Everything.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) ids: u128,
    pub(crate) stored: Stored,
    pub(crate) sessions: [Session; 2],
    /// A user's command of which there was no answer.
    pub(crate) asked: Option<Arc<Prepared>>,
    /// A commit on its way, and how often it may still arrive.
    pub(crate) flight: Option<(Arc<Prepared>, u8)>,
    /// How often each call was started.
    pub(crate) starts: BTreeMap<(MessageId, u32), (Effect, u32)>,
    pub(crate) told: Vec<Told>,
}

impl Stored {
    /// Takes a commit in.
    fn append(&mut self, rig: &Rig, commit: &Commit, chat: Arc<Chat>) -> Result<(), Violation> {
        let (history, log) = (Arc::make_mut(&mut self.history), Arc::make_mut(&mut self.log));
        let book = Arc::make_mut(&mut self.book);
        for record in commit.records() {
            let body: Body = record.open().expect("a record of ours").body;
            invariants::of_record(rig, book, &body)?;
            book.fold(record, &body);
            history.fold(record).expect("a record of ours");
            log.push(record.clone());
        }
        book.end(chat.head.holder);
        self.chat = chat;
        Ok(())
    }

    pub(crate) fn record(&self, seq: Seq) -> Option<&Record> {
        self.log.iter().find(|record| record.seq == seq)
    }
}

impl World {
    /// A chat with instructions and a first message that nobody has claimed, and two idle sessions.
    pub(crate) fn new(rig: &Rig) -> Result<Self, Violation> {
        let mut ids = 100;
        let mut id = || {
            ids += 1;
            Uuid::from_u128(ids)
        };
        let key = KeyHash(id().as_u128());
        let create = Create {
            owner: UserId::new("ada").expect("a short id"),
            organization: None,
            parent: None,
            client_type: ClientType::Api,
            title: Title::default(),
            labels: Labels::default(),
            model: None,
            effort: None,
            system: vec![Part::text("be brief")],
            system_id: MessageId::from_uuid(id()),
            content: vec![Part::text("hello")],
            message: MessageId::from_uuid(id()),
            key: Some(key),
        };
        let now = Timestamp::from_millis(1_000_000);
        let input = Input::Command(OpId::from_uuid(id()), Command::Create(Box::new(create)));
        let made = step(None, &input, &History::default(), now, &RULES).expect("there is none yet");
        let receipt = made.receipt.clone().expect("a command has a receipt");
        let commit = made.commit(CHAT, None).expect("within the bounds");
        let chat = Arc::new(Chat::new(CHAT, commit.head().clone()).expect("a state of ours"));
        let mut stored =
            Stored { chat: chat.clone(), history: Arc::default(), log: Arc::default(), book: Arc::default() };
        stored.append(rig, &commit, chat)?;
        let mut session =
            || Session { id: SessionId::from_uuid(id()), alive: true, copy: None, task: None, unsure: None };
        let sessions = [session(), session()];
        let told = vec![Told { key, receipt, says: true }];
        Ok(Self { now, ids, stored, sessions, asked: None, flight: None, starts: BTreeMap::new(), told })
    }

    pub(crate) fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    pub(crate) fn next(&mut self) -> Next {
        let model = ModelId { provider: "p".into(), model: "m".into() };
        let (message, promoted) = (MessageId::from_uuid(self.id()), MessageId::from_uuid(self.id()));
        Next { message, model, promoted }
    }

    pub(crate) fn fresh(&self) -> (Arc<Chat>, Arc<History>) {
        (self.stored.chat.clone(), self.stored.history.clone())
    }

    /// A step on a copy of the chat.
    pub(crate) fn prepare(
        &self,
        rig: &Rig,
        (chat, history): &(Arc<Chat>, Arc<History>),
        input: &Input,
    ) -> Result<Prepared, NotDone> {
        let made = (rig.engine)(chat, input, history, self.now)?;
        let (state, receipt) = (made.step.state.clone(), made.step.receipt.clone());
        let commit = made.step.commit(CHAT, Some(chat))?;
        let after = Arc::new(Chat { id: CHAT, head: commit.head().clone(), state });
        let base = chat.head.last_seq;
        Ok(Prepared { input: input.clone(), base, commit, after, starts: made.starts, receipt })
    }

    /// The store: a commit is applied iff its revision is the stored one.
    pub(crate) fn commit(&mut self, rig: &Rig, prepared: &Prepared) -> Result<bool, Violation> {
        let fits = prepared.commit.expect() == Some(self.stored.chat.head.revision);
        if rig.checks_revision && !fits {
            return Ok(false);
        }
        let before = self.stored.clone();
        self.stored.append(rig, &prepared.commit, prepared.after.clone())?;
        let landing = Landing { rig, world: self, before: &before, prepared };
        invariants::of_landing(&landing)?;
        Ok(true)
    }

    /// The record of an operation among those after `base`.
    pub(crate) fn landed(&self, op: OpId, base: Seq) -> Option<&Record> {
        self.stored.log.iter().rev().take_while(|record| record.seq > base).find(|r| r.op() == Some(op))
    }

    /// A command, or an act of nobody in particular. Gives whether anything changed.
    pub(crate) fn ask(&mut self, rig: &Rig, input: &Input, hold: bool) -> Result<bool, Violation> {
        let prepared = match self.prepare(rig, &self.fresh(), input) {
            Ok(prepared) => prepared,
            Err(error) => {
                invariants::of_refusal(rig, self, input, &error)?;
                return Ok(false);
            }
        };
        if hold {
            let prepared = Arc::new(prepared);
            (self.asked, self.flight) = (Some(prepared.clone()), Some((prepared, 2)));
            return Ok(true);
        }
        let landed = self.commit(rig, &prepared)?;
        self.tell(input, prepared.receipt);
        Ok(landed)
    }

    fn tell(&mut self, input: &Input, receipt: Option<Receipt>) {
        let (Input::Command(_, command), Some(receipt)) = (input, receipt) else { return };
        let says = matches!(command, Command::Send(_) | Command::Edit(_));
        self.told.extend(command.key().map(|key| Told { key, receipt, says }));
    }

    /// The user's replica looks what became of the command.
    pub(crate) fn look_up(&mut self, rig: &Rig) -> Result<bool, Violation> {
        let Some(asked) = self.asked.take() else { return Ok(false) };
        match self.landed(asked.input.op(), asked.base).map(receipt_of) {
            Some(receipt) => self.tell(&asked.input, receipt),
            None => drop(self.ask(rig, &asked.input, false)?),
        }
        Ok(true)
    }

    /// A session does something: on the chat as it knows it, and after a conflict once more on the chat as it is.
    pub(crate) fn drive(
        &mut self,
        rig: &Rig,
        at: usize,
        input: &Input,
        hold: bool,
    ) -> Result<bool, Violation> {
        let known = self.sessions[at].copy.clone().unwrap_or_else(|| self.fresh());
        if let Ok(prepared) = self.prepare(rig, &known, input) {
            if hold {
                let prepared = Arc::new(prepared);
                self.sessions[at].unsure = Some(prepared.clone());
                self.flight = Some((prepared, 2));
                return Ok(true);
            }
            if self.commit(rig, &prepared)? {
                self.go_on(rig, at, &prepared)?;
                return Ok(true);
            }
        }
        if hold {
            return Ok(false);
        }
        self.sessions[at].copy = Some(self.fresh());
        match self.prepare(rig, &self.fresh(), input) {
            Ok(prepared) => {
                self.commit(rig, &prepared)?;
                self.go_on(rig, at, &prepared)?;
            }
            Err(error) => {
                invariants::of_refusal(rig, self, input, &error)?;
                self.learn(at);
            }
        }
        Ok(true)
    }

    /// A session looks what became of a commit of which it had no answer. It does not look at what came after.
    pub(crate) fn look(&mut self, rig: &Rig, at: usize) -> Result<bool, Violation> {
        let Some(unsure) = self.sessions[at].unsure.take() else { return Ok(false) };
        if self.landed(unsure.input.op(), unsure.base).is_some() {
            self.go_on(rig, at, &unsure)?;
            return Ok(true);
        }
        self.sessions[at].copy = Some(self.fresh());
        self.drive(rig, at, &unsure.input, false)
    }

    /// Its commit landed: the effects follow.
    fn go_on(&mut self, rig: &Rig, at: usize, prepared: &Prepared) -> Result<(), Violation> {
        let (chat, id) = (prepared.after.clone(), self.sessions[at].id);
        let mut running = self.sessions[at].task.take().map(|task| task.running).unwrap_or_default();
        for start in &prepared.starts {
            self.starts.entry(start.call).or_insert((start.effect, 0)).1 += 1;
            running.push(start.call);
        }
        let open = chat.state.open.as_ref();
        let waits = |call: &(MessageId, u32)| {
            chat.state.calls.iter().any(|open| open.ordinal == call.1 && chat.state.calls_in == Some(call.0))
        };
        running.retain(waits);
        let fence = Fence { session: id, epoch: chat.state.epoch, r#gen: open.map(|open| open.r#gen) };
        let task = Task { fence, kind: open.map(|open| open.kind), running };
        self.sessions[at].task = (chat.head.holder == Some(id)).then_some(task);
        self.sessions[at].copy = Some((chat, self.stored.history.clone()));
        invariants::of_effects(rig, self)
    }

    /// It reads the chat, and stops what is not its own any more.
    pub(crate) fn learn(&mut self, at: usize) {
        let (chat, history) = self.fresh();
        let session = &mut self.sessions[at];
        let open = chat.state.open.as_ref().map(|open| open.r#gen);
        session.task.take_if(|task| {
            chat.head.holder != Some(session.id)
                || task.fence.epoch != chat.state.epoch
                || task.fence.r#gen != open
        });
        session.copy = Some((chat, history));
    }

    /// A process died; another one takes its place.
    pub(crate) fn restart(&mut self, at: usize) {
        let id = SessionId::from_uuid(self.id());
        self.sessions[at] = Session { id, alive: true, copy: None, task: None, unsure: None };
    }

    pub(crate) fn queue_id(&self, place: usize) -> Option<QueueId> {
        self.stored.chat.state.queue.get(place).map(|entry| entry.id)
    }
}
