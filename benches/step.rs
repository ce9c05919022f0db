//! What does a step cost, and does it depend on how long the chat is?
//!
//! A step is pure: head, input, history and time give the next head with its records. The holder keeps its history folded, and a
//! command needs none. Measured are a user's message that is queued, an answer with two tool calls, and their results, each with
//! the encoding of its records and its head, in a chat of 10 messages and in one of 10,000.

use std::time::Duration;

use chatwright_benches::{Bench, median, per_second};
use chatwright_core::content::{Output, Part};
use chatwright_core::head::{ClientType, KeyHash, Labels, Title};
use chatwright_core::model::{FinishReason, ModelId};
use chatwright_core::record::{CallResult, ResultOrigin};
use chatwright_core::tool::Effect;
use chatwright_core::{ChatId, MessageId, OpId, QueueId, SessionId, Timestamp, UserId, Uuid};
use chatwright_engine::{
    Answer, Busy, Chat, Claim, Command, Create, Fence, History, Input, Next, Plan, Planned, Report, Rules,
    Send, Work, calls, step,
};

const CHAT: ChatId = ChatId::from_uuid(Uuid::from_u128(1));
const SESSION: SessionId = SessionId::from_uuid(Uuid::from_u128(2));
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LENGTHS: [usize; 2] = [10, 10_000];

fn main() {
    let bench = Bench::from_args();
    let chats = LENGTHS.map(Talk::of);
    println!("{:<28} {:>16} {:>16} {:>7}", "step", "10 messages, ns", "10,000, ns", "ratio");
    for (name, input) in [
        ("a message is queued", Talk::queued as fn(&Talk) -> Input),
        ("an answer with two calls", Talk::answered),
        ("the results of both", Talk::results),
    ] {
        let mut nanos: [Vec<f64>; 2] = Default::default();
        for _ in 0..bench.rounds {
            for (nanos, chat) in nanos.iter_mut().zip(&chats) {
                let input = input(chat);
                let rate = per_second(bench.time, || {
                    for _ in 0..100 {
                        std::hint::black_box(chat.step(&input));
                    }
                    100
                });
                nanos.push(1e9 / rate);
            }
        }
        let [short, long] = nanos.map(median);
        println!("{name:<28} {short:>16.0} {long:>16.0} {:>7.2}", long / short);
    }
}

/// A chat whose model is just answering, at two points of its step.
struct Talk {
    asked: Chat,
    calling: Chat,
    history: History,
}

/// A chat that is stepped and committed.
struct Table {
    chat: Option<Chat>,
    history: History,
    ids: u128,
}

impl Table {
    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    fn next(&mut self) -> Next {
        next(self.id(), self.id())
    }

    fn commit(&mut self, input: &Input) {
        let stepped = step(self.chat.as_ref(), input, &self.history, NOW, &Rules::default());
        let commit =
            stepped.expect("it is made").commit(CHAT, self.chat.as_ref()).expect("within the bounds");
        for record in commit.records() {
            self.history.fold(record).expect("a record of ours");
        }
        self.chat = Some(Chat::new(CHAT, commit.head().clone()).expect("a state of ours"));
    }

    fn chat(&self) -> &Chat {
        self.chat.as_ref().expect("there is one")
    }
}

fn next(message: Uuid, promoted: Uuid) -> Next {
    let model = ModelId { provider: "p".into(), model: "m".into() };
    Next { message: MessageId::from_uuid(message), model, promoted: MessageId::from_uuid(promoted) }
}

fn answer(chat: &Chat, content: Vec<Part>, next: Next) -> Input {
    let run = |ordinal| {
        let (deadline, input_hash) = (Duration::from_secs(60), KeyHash(0));
        let plan = Plan::Run {
            name: "t".into(),
            effect: Effect::Pure,
            deadline,
            input_hash,
            approval: false,
            resource: None,
            stop_after: false,
        };
        Planned { ordinal, plan }
    };
    let plan = calls(&content).map(|call| run(call.ordinal)).collect();
    let finish = FinishReason::Stop;
    let answer = Answer {
        content,
        model: next.model.clone(),
        finish,
        output_limit: false,
        report: Report::default(),
        off: 900,
        response_id: None,
        plan,
        next,
    };
    work(chat, Work::Answered(Box::new(answer)))
}

fn work(chat: &Chat, work: Work) -> Input {
    let r#gen = chat.state.open.as_ref().map(|open| open.r#gen);
    let fence = Fence { session: SESSION, epoch: chat.state.epoch, r#gen };
    Input::Work(OpId::from_uuid(Uuid::from_u128(7)), fence, work)
}

fn send(message: Uuid, queue: Uuid) -> Command {
    let (message, queue) = (MessageId::from_uuid(message), QueueId::from_uuid(queue));
    let content = vec![Part::text("And what of the engines?")];
    Command::Send(Send {
        content,
        message,
        queue,
        author: None,
        model: None,
        effort: None,
        busy: Busy::Queue,
        dead: None,
        key: None,
    })
}

impl Talk {
    /// So many messages, half of them the model's.
    fn of(messages: usize) -> Self {
        let mut table = Table { chat: None, history: History::default(), ids: 100 };
        let create = Create {
            owner: UserId::new("ada").expect("short"),
            organization: None,
            parent: None,
            client_type: ClientType::Api,
            title: Title::default(),
            labels: Labels::default(),
            model: None,
            effort: None,
            system: vec![Part::text("Be brief.")],
            system_id: MessageId::from_uuid(table.id()),
            content: Vec::new(),
            message: MessageId::from_uuid(table.id()),
            key: None,
        };
        let op = OpId::from_uuid(table.id());
        table.commit(&Input::Command(op, Command::Create(Box::new(create))));
        for n in 0..=messages / 2 {
            let (op, send) = (OpId::from_uuid(table.id()), send(table.id(), table.id()));
            table.commit(&Input::Command(op, send));
            let (op, next) = (OpId::from_uuid(table.id()), table.next());
            table.commit(&Input::Claim(
                op,
                Claim { session: SESSION, calls_in: None, plan: Vec::new(), next },
            ));
            if n < messages / 2 {
                let next = table.next();
                let said = answer(table.chat(), vec![Part::text("They run, and they run well.")], next);
                table.commit(&said);
            }
        }
        let asked = table.chat().clone();
        let calling = answered(&asked);
        table.commit(&calling);
        Self { asked, calling: table.chat().clone(), history: table.history }
    }

    fn queued(&self) -> Input {
        Input::Command(OpId::from_uuid(Uuid::from_u128(8)), send(Uuid::from_u128(9), Uuid::from_u128(10)))
    }

    fn answered(&self) -> Input {
        answered(&self.asked)
    }

    fn results(&self) -> Input {
        let result = |ordinal| CallResult {
            ordinal,
            output: Output::text("They turn at 120 a minute."),
            origin: ResultOrigin::Tool,
        };
        let results = vec![result(0), result(1)];
        let next = next(Uuid::from_u128(11), Uuid::from_u128(12));
        work(&self.calling, Work::Results { results, off: 0, plan: Vec::new(), next })
    }

    /// The step and its commit.
    fn step(&self, input: &Input) -> usize {
        let results = matches!(input, Input::Work(_, _, Work::Results { .. }));
        let chat = if results { &self.calling } else { &self.asked };
        let stepped = step(Some(chat), input, &self.history, NOW, &Rules::default()).expect("it is made");
        stepped.commit(CHAT, Some(chat)).expect("within the bounds").records().len()
    }
}

fn answered(chat: &Chat) -> Input {
    let call = |n: usize| Part::ToolCall {
        id: format!("c{n}").into(),
        name: "t".into(),
        input: "{\"at\":\"noon\"}".to_owned(),
        provider_executed: false,
        metadata: Default::default(),
    };
    answer(
        chat,
        vec![Part::text("Let me look."), call(1), call(2)],
        next(Uuid::from_u128(5), Uuid::from_u128(6)),
    )
}
