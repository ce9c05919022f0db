//! A chat that is stepped by hand.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its share")]
#![allow(clippy::needless_pass_by_value, reason = "a table reads better without references")]

use std::time::Duration;

use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::error::Verdict;
use chatwright_core::head::{ClientType, KeyHash, Labels, Title};
use chatwright_core::model::{FinishReason, ModelId};
use chatwright_core::record::{Body, CallResult, ResultOrigin};
use chatwright_core::tool::Effect;
use chatwright_core::{ChatId, MessageId, OpId, QueueId, Record, SessionId, Timestamp, UserId, Uuid};
use chatwright_engine::{
    Answer, Busy, Chat, Claim, Command, Create, Fence, Free, History, Input, Interrupt, Next, NotDone, Plan,
    Planned, Report, Rules, Send, Step, Work, calls, step,
};

pub(crate) const CHAT: ChatId = ChatId::from_uuid(Uuid::from_u128(1));
pub(crate) const ME: SessionId = SessionId::from_uuid(Uuid::from_u128(2));
pub(crate) const OTHER: SessionId = SessionId::from_uuid(Uuid::from_u128(3));

/// A chat that is stepped by hand; every step that is made is committed.
pub(crate) struct Table {
    pub chat: Option<Chat>,
    pub history: History,
    pub log: Vec<Record>,
    pub now: Timestamp,
    pub ids: u128,
    pub rules: Rules,
}

impl Table {
    /// A chat with a first message that nobody has claimed.
    pub(crate) fn new() -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let rules = Rules { steps_max: 3, ..Rules::default() };
        let mut table =
            Self { chat: None, history: History::default(), log: Vec::new(), now, ids: 100, rules };
        let create = Create {
            owner: UserId::new("ada").expect("a short id"),
            organization: None,
            parent: None,
            client_type: ClientType::Api,
            title: Title::default(),
            labels: Labels::default(),
            model: None,
            effort: None,
            system: Vec::new(),
            system_id: MessageId::from_uuid(table.id()),
            content: vec![Part::text("hello")],
            message: MessageId::from_uuid(table.id()),
            key: None,
        };
        let op = table.op();
        table.made(Input::Command(op, Command::Create(Box::new(create))));
        table
    }

    pub(crate) fn claimed() -> Self {
        let mut table = Self::new();
        table.claim().expect("due and free");
        table
    }

    pub(crate) fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    pub(crate) fn op(&mut self) -> OpId {
        OpId::from_uuid(self.id())
    }

    pub(crate) fn next(&mut self) -> Next {
        let model = ModelId { provider: "p".into(), model: "m".into() };
        Next { message: MessageId::from_uuid(self.id()), model, promoted: MessageId::from_uuid(self.id()) }
    }

    pub(crate) fn feed(&mut self, input: Input) -> Result<Step, NotDone> {
        let stepped = step(self.chat.as_ref(), &input, &self.history, self.now, &self.rules)?;
        let commit = stepped.clone().commit(CHAT, self.chat.as_ref()).expect("within the bounds");
        for record in commit.records() {
            self.history.fold(record).expect("a record of ours");
            self.log.push(record.clone());
        }
        self.chat = Some(Chat::new(CHAT, commit.head().clone()).expect("a state of ours"));
        Ok(stepped)
    }

    pub(crate) fn made(&mut self, input: Input) {
        self.feed(input).expect("the step is made");
    }

    pub(crate) fn claim(&mut self) -> Result<Step, NotDone> {
        let (op, next, calls_in) = (self.op(), self.next(), self.chat().state.calls_in);
        self.feed(Input::Claim(op, Claim { session: ME, calls_in, plan: Vec::new(), next }))
    }

    pub(crate) fn work(&mut self, work: Work) -> Result<Step, NotDone> {
        let fence = self.fence();
        self.work_as(fence, work)
    }

    pub(crate) fn work_as(&mut self, fence: Fence, work: Work) -> Result<Step, NotDone> {
        let op = self.op();
        self.feed(Input::Work(op, fence, work))
    }

    pub(crate) fn chat(&self) -> &Chat {
        self.chat.as_ref().expect("there is a chat")
    }

    pub(crate) fn fence(&self) -> Fence {
        let state = &self.chat().state;
        Fence { session: ME, epoch: state.epoch, r#gen: state.open.as_ref().map(|open| open.r#gen) }
    }

    pub(crate) fn answer(&mut self, content: Vec<Part>, finish: FinishReason, effect: Effect) -> Work {
        let run = |ordinal| {
            let input_hash = KeyHash(0);
            let plan = Plan::Run {
                name: "t".into(),
                effect,
                deadline: Duration::from_secs(60),
                input_hash,
                approval: false,
                resource: None,
                stop_after: false,
            };
            Planned { ordinal, plan }
        };
        let plan = calls(&content).map(|call| run(call.ordinal)).collect();
        let next = self.next();
        Work::Answered(Box::new(Answer {
            content,
            model: next.model.clone(),
            finish,
            output_limit: false,
            report: Report::default(),
            off: 9,
            response_id: None,
            plan,
            next,
        }))
    }

    pub(crate) fn results(&mut self, ordinals: &[u32]) -> Work {
        let result =
            |&ordinal| CallResult { ordinal, output: Output::text("ok"), origin: ResultOrigin::Tool };
        let next = self.next();
        Work::Results { results: ordinals.iter().map(result).collect(), off: 0, plan: Vec::new(), next }
    }

    pub(crate) fn send(&mut self, busy: Busy) -> Result<Step, NotDone> {
        let (message, queue) = (MessageId::from_uuid(self.id()), QueueId::from_uuid(self.id()));
        let content = vec![Part::text("more")];
        let send = Send {
            content,
            message,
            queue,
            author: None,
            model: None,
            effort: None,
            busy,
            dead: None,
            key: None,
        };
        let op = self.op();
        self.feed(Input::Command(op, Command::Send(send)))
    }

    pub(crate) fn interrupt(&mut self, dead: Option<SessionId>) -> Result<Step, NotDone> {
        let op = self.op();
        self.feed(Input::Command(op, Command::Interrupt(Interrupt { by: None, dead, key: None })))
    }

    pub(crate) fn free(&mut self, holder: SessionId) -> Result<Step, NotDone> {
        let op = self.op();
        self.feed(Input::Free(op, Free { holder }))
    }

    /// The kinds of the last commit.
    pub(crate) fn last_commit(&self) -> String {
        let from =
            self.log.iter().rposition(|record| record.op().is_some()).expect("commits name their operation");
        self.log[from..].iter().map(|record| record.kind.name()).collect::<Vec<_>>().join(" ")
    }

    /// The last record of that kind.
    pub(crate) fn last(&self, kind: &str) -> Body {
        let record = self.log.iter().rev().find(|record| record.kind.as_str().starts_with(kind));
        record.expect("there is one").open().expect("a record of ours").body
    }

    pub(crate) fn retry_at(&self) -> Option<Timestamp> {
        self.chat().state.retry.and_then(|retry| retry.at)
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    pub(crate) fn retry(&mut self) -> Result<Step, NotDone> {
        let next = self.next();
        self.work(Work::Retry { next })
    }
}

pub(crate) fn call(n: usize) -> Part {
    Part::ToolCall {
        id: format!("c{n}").into(),
        name: "t".into(),
        input: "{}".to_owned(),
        provider_executed: false,
        metadata: Metadata::new(),
    }
}

pub(crate) fn stale(result: Result<Step, NotDone>) -> bool {
    matches!(result, Err(NotDone::Stale))
}

pub(crate) fn failed(verdict: Verdict) -> Work {
    Work::Failed { verdict: Box::new(verdict), report: Report::default(), partial: None }
}
