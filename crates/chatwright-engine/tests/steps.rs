//! What each input does to a chat, and what it must not do.
#![allow(clippy::needless_pass_by_value, reason = "a table reads better without references")]

use std::num::NonZeroU32;
use std::time::Duration;

use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::error::{Kind, Verdict};
use chatwright_core::head::{ClientType, KeyHash, Labels, Status, Title};
use chatwright_core::model::{FinishReason, ModelId, Usage};
use chatwright_core::record::{Body, CallResult, ResultOrigin};
use chatwright_core::tool::Effect;
use chatwright_core::{
    ChatId, Epoch, Gen, MessageId, OpId, QueueId, Record, SessionId, Timestamp, UserId, Uuid,
};
use chatwright_engine::{
    Answer, Busy, Chat, Claim, Command, Create, Fence, Free, History, Input, Interrupt, Next, NotDone, Plan,
    Planned, Refused, Rules, Send, Step, Work, calls, step,
};
use chatwright_retry::Jitter;

const CHAT: ChatId = ChatId::from_uuid(Uuid::from_u128(1));
const ME: SessionId = SessionId::from_uuid(Uuid::from_u128(2));
const OTHER: SessionId = SessionId::from_uuid(Uuid::from_u128(3));

/// A chat that is stepped by hand; every step that is made is committed.
struct Table {
    chat: Option<Chat>,
    history: History,
    log: Vec<Record>,
    now: Timestamp,
    ids: u128,
    rules: Rules,
}

impl Table {
    /// A chat with a first message that nobody has claimed.
    fn new() -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let rules = Rules { steps_max: 3, ..Rules::default() };
        let mut table =
            Self { chat: None, history: History::default(), log: Vec::new(), now, ids: 100, rules };
        let create = Create {
            owner: UserId::new("ada").expect("a short id"),
            organization: None,
            client_type: ClientType::Api,
            title: Title::default(),
            labels: Labels::default(),
            model: None,
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

    fn claimed() -> Self {
        let mut table = Self::new();
        table.claim().expect("due and free");
        table
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    fn op(&mut self) -> OpId {
        OpId::from_uuid(self.id())
    }

    fn next(&mut self) -> Next {
        let model = ModelId { provider: "p".into(), model: "m".into() };
        Next { message: MessageId::from_uuid(self.id()), model, promoted: MessageId::from_uuid(self.id()) }
    }

    fn feed(&mut self, input: Input) -> Result<Step, NotDone> {
        let stepped = step(self.chat.as_ref(), &input, &self.history, self.now, &self.rules)?;
        let commit = stepped.clone().commit(CHAT, self.chat.as_ref()).expect("within the bounds");
        for record in commit.records() {
            self.history.fold(record).expect("a record of ours");
            self.log.push(record.clone());
        }
        self.chat = Some(Chat::new(CHAT, commit.head().clone()).expect("a state of ours"));
        Ok(stepped)
    }

    fn made(&mut self, input: Input) {
        self.feed(input).expect("the step is made");
    }

    fn claim(&mut self) -> Result<Step, NotDone> {
        let (op, next) = (self.op(), self.next());
        self.feed(Input::Claim(op, Claim { session: ME, plan: Vec::new(), next }))
    }

    fn work(&mut self, work: Work) -> Result<Step, NotDone> {
        let fence = self.fence();
        self.work_as(fence, work)
    }

    fn work_as(&mut self, fence: Fence, work: Work) -> Result<Step, NotDone> {
        let op = self.op();
        self.feed(Input::Work(op, fence, work))
    }

    fn chat(&self) -> &Chat {
        self.chat.as_ref().expect("there is a chat")
    }

    fn fence(&self) -> Fence {
        let state = &self.chat().state;
        Fence { session: ME, epoch: state.epoch, r#gen: state.open.as_ref().map(|open| open.r#gen) }
    }

    fn answer(&mut self, content: Vec<Part>, finish: FinishReason, effect: Effect) -> Work {
        let run = |ordinal| {
            let input_hash = KeyHash(0);
            let plan = Plan::Run { name: "t".into(), effect, deadline: Duration::from_secs(60), input_hash };
            Planned { ordinal, plan }
        };
        let plan = calls(&content).map(|call| run(call.ordinal)).collect();
        let next = self.next();
        Work::Answered(Box::new(Answer {
            content,
            model: next.model.clone(),
            finish,
            output_limit: false,
            usage: Usage::default(),
            estimated: false,
            off: 9,
            response_id: None,
            plan,
            next,
        }))
    }

    fn results(&mut self, ordinals: &[u32]) -> Work {
        let result =
            |&ordinal| CallResult { ordinal, output: Output::text("ok"), origin: ResultOrigin::Tool };
        let next = self.next();
        Work::Results { results: ordinals.iter().map(result).collect(), off: 0, plan: Vec::new(), next }
    }

    fn send(&mut self, busy: Busy) -> Result<Step, NotDone> {
        let (message, queue) = (MessageId::from_uuid(self.id()), QueueId::from_uuid(self.id()));
        let content = vec![Part::text("more")];
        let send = Send { content, message, queue, author: None, busy, dead: None, key: None };
        let op = self.op();
        self.feed(Input::Command(op, Command::Send(send)))
    }

    fn interrupt(&mut self, dead: Option<SessionId>) -> Result<Step, NotDone> {
        let op = self.op();
        self.feed(Input::Command(op, Command::Interrupt(Interrupt { by: None, dead, key: None })))
    }

    fn free(&mut self, holder: SessionId) -> Result<Step, NotDone> {
        let op = self.op();
        self.feed(Input::Free(op, Free { holder }))
    }

    /// The kinds of the last commit.
    fn last_commit(&self) -> String {
        let from =
            self.log.iter().rposition(|record| record.op().is_some()).expect("commits name their operation");
        self.log[from..].iter().map(|record| record.kind.name()).collect::<Vec<_>>().join(" ")
    }
}

fn call(n: usize) -> Part {
    Part::ToolCall {
        id: format!("c{n}").into(),
        name: "t".into(),
        input: "{}".to_owned(),
        provider_executed: false,
        metadata: Metadata::new(),
    }
}

fn stale(result: Result<Step, NotDone>) -> bool {
    matches!(result, Err(NotDone::Stale))
}

#[test]
fn a_workers_input_counts_only_under_its_own_session_epoch_and_gen() {
    let mut table = Table::claimed();
    let right = table.fence();
    let wrong = [
        Fence { session: OTHER, ..right },
        Fence { epoch: Epoch::new(right.epoch.get() - 1), ..right },
        Fence { epoch: right.epoch.next(), ..right },
        Fence { r#gen: None, ..right },
        Fence { r#gen: Some(Gen::new(99)), ..right },
    ];
    for fence in wrong {
        let answer = table.answer(vec![Part::text("hi")], FinishReason::Stop, Effect::Pure);
        assert!(stale(table.work_as(fence, answer)), "{fence:?}");
        assert!(stale(table.work_as(fence, Work::Watch)), "{fence:?}");
        assert!(stale(table.work_as(fence, Work::Release { off: 0 })), "{fence:?}");
    }
    let answer = table.answer(vec![Part::text("hi")], FinishReason::Stop, Effect::Pure);
    table.work_as(right, answer.clone()).expect("it is the right one");
    assert!(stale(table.work_as(right, answer)), "and only once");
    let results = table.results(&[0]);
    assert!(stale(table.work_as(right, results)), "a batch's input is nothing to an attempt that is over");
}

#[test]
fn a_zombie_that_reloads_after_a_takeover_is_fenced() {
    let mut table = Table::claimed();
    let zombie = table.fence();
    table.free(ME).expect("its session died");
    table.claim().expect("taken again, by a session of the same name");
    let answer = table.answer(vec![Part::text("hi")], FinishReason::Stop, Effect::Pure);
    assert!(stale(table.work_as(zombie, answer)));
    assert_eq!(table.chat().state.epoch, Epoch::new(3), "claim, free, claim");
}

#[test]
fn only_a_chat_that_is_due_and_free_can_be_claimed_and_only_its_holder_can_be_freed() {
    let mut table = Table::claimed();
    assert!(stale(table.claim()), "it has a holder");
    assert!(stale(table.free(OTHER)));
    let answer = table.answer(vec![Part::text("hi")], FinishReason::Stop, Effect::Pure);
    table.work(answer).expect("answered");
    assert_eq!((table.chat().head.wake_at, table.chat().head.holder), (None, None));
    assert!(stale(table.claim()), "it is at rest");
    assert!(stale(table.free(ME)));
}

#[test]
fn five_deaths_without_progress_park_the_chat_and_a_message_revives_it() {
    let mut table = Table::new();
    for death in 1..=5 {
        table.claim().expect("free");
        table.free(ME).expect("dead");
        assert_eq!(table.chat().state.deaths, if death == 5 { 0 } else { death });
    }
    assert_eq!(table.last_commit(), "freed attempt.ended chat.error");
    assert_eq!(table.chat().state.last.as_ref().map(|last| &*last.kind), Some("poisoned"));
    assert_eq!(table.chat().head.wake_at, None);
    table.send(Busy::Queue).expect("revived");
    assert_eq!(table.chat().state.status, Status::Running);
}

#[test]
fn progress_between_deaths_is_not_held_against_the_chat() {
    let mut table = Table::new();
    for _ in 0..4 {
        table.claim().expect("free");
        table.free(ME).expect("dead");
    }
    table.claim().expect("free");
    let answer = table.answer(vec![call(0)], FinishReason::ToolCalls, Effect::Once);
    table.work(answer).expect("answered");
    assert_eq!(table.chat().state.deaths, 0);
}

#[test]
fn a_call_that_runs_once_is_never_started_again_and_one_that_was_not_started_is() {
    let mut table = Table::claimed();
    let answer = table.answer(vec![call(0), call(1)], FinishReason::ToolCalls, Effect::Once);
    table.work(answer).expect("answered");
    assert_eq!(
        table.last_commit(),
        "attempt.ended message.assistant batch.started tool.intent",
        "one at a time"
    );
    table.free(ME).expect("dead");
    let (op, next) = (table.op(), table.next());
    let run = Plan::Run {
        name: "t".into(),
        effect: Effect::Pure,
        deadline: Duration::from_secs(60),
        input_hash: KeyHash(0),
    };
    let plan = [0, 1].map(|ordinal| Planned { ordinal, plan: run.clone() }).to_vec();
    table.made(Input::Claim(op, Claim { session: ME, plan, next }));
    assert_eq!(table.last_commit(), "claimed tool.results batch.started tool.intent");
    let open = &table.chat().state.calls;
    assert_eq!(open.iter().map(|call| call.ordinal).collect::<Vec<_>>(), [1]);
    let message = table.chat().state.calls_in.expect("the calls' message");
    let results = table.history.results(message);
    assert_eq!(results[&0].origin, ResultOrigin::OutcomeUnknown, "though the tool now says that it is pure");
}

#[test]
fn results_of_calls_that_are_not_open_are_left_out() {
    let mut table = Table::claimed();
    let answer = table.answer(vec![call(0), call(1)], FinishReason::ToolCalls, Effect::Pure);
    table.work(answer).expect("answered");
    let first = table.results(&[0, 0, 7]);
    table.work(first).expect("in the batch");
    assert_eq!(table.last_commit(), "tool.results");
    let again = table.results(&[0]);
    assert!(stale(table.work(again)), "there is nothing in it");
    let last = table.results(&[1]);
    table.work(last).expect("in the batch");
    assert_eq!(table.last_commit(), "tool.results batch.ended attempt.started");
}

#[test]
fn calls_of_an_answer_that_was_cut_are_never_run() {
    for finish in [FinishReason::Length, FinishReason::ContentFilter] {
        let mut table = Table::claimed();
        let answer = table.answer(vec![call(0)], finish, Effect::Pure);
        table.work(answer).expect("answered");
        assert_eq!(table.last_commit(), "attempt.ended message.assistant tool.results turn.ended");
        assert_eq!(table.chat().state.status, Status::Waiting);
    }
}

#[test]
fn calls_over_the_bound_of_a_step_get_an_error_each() {
    let mut table = Table::claimed();
    let answer = table.answer((0..40).map(call).collect(), FinishReason::ToolCalls, Effect::Pure);
    table.work(answer).expect("answered");
    assert_eq!(table.chat().state.calls.len(), 32);
    let started = table.chat().state.calls.iter().filter(|call| call.started.is_some()).count();
    assert_eq!(started, 8, "side by side");
    let message = table.chat().state.calls_in.expect("the calls' message");
    let refused: Vec<u32> = table.history.results(message).into_keys().collect();
    assert_eq!(refused, (32..40).collect::<Vec<_>>());
}

#[test]
fn a_turn_has_its_steps_and_no_more() {
    let mut table = Table::claimed();
    for step in 1..=3 {
        let answer = table.answer(vec![call(0)], FinishReason::ToolCalls, Effect::Pure);
        table.work(answer).expect("answered");
        let results = table.results(&[0]);
        table.work(results).expect("in the batch");
        let expected = if step == 3 { "turn.ended" } else { "attempt.started" };
        assert_eq!(table.last_commit(), format!("tool.results batch.ended {expected}"));
    }
    assert_eq!(table.chat().state.last.as_ref().map(|last| &*last.kind), Some("step_limit"));
}

#[test]
fn a_stop_is_two_phased_where_a_holder_lives_and_at_once_where_none_does() {
    let mut table = Table::claimed();
    table.interrupt(None).expect("running");
    assert_eq!(table.chat().state.status, Status::Interrupting);
    let again = table.interrupt(None);
    assert!(matches!(again, Err(NotDone::Refused(Refused::State { status: Status::Interrupting, .. }))));
    let answer = table.answer(vec![call(0)], FinishReason::ToolCalls, Effect::Pure);
    table.work(answer).expect("it finished before it learnt of the stop");
    assert_eq!(table.last_commit(), "attempt.ended message.assistant tool.results turn.ended");

    let mut table = Table::claimed();
    table.send(Busy::Queue).expect("queued");
    table.interrupt(Some(ME)).expect("its holder is dead");
    let expected = "interrupt.requested freed attempt.ended turn.ended queue.promoted message.user";
    assert_eq!(table.last_commit(), expected);
    assert_eq!((table.chat().head.holder, table.chat().state.status), (None, Status::Running));
}

#[test]
fn an_error_keeps_the_queue_and_the_next_message_waits_its_turn() {
    let mut table = Table::claimed();
    table.send(Busy::Queue).expect("queued");
    table.work(failed(Verdict::of(Kind::Auth))).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.failed chat.error");
    assert_eq!(table.chat().state.queue.len(), 1);
    table.send(Busy::Queue).expect("accepted");
    assert_eq!(table.last_commit(), "queue.added queue.promoted message.user", "first in, first out");
    assert_eq!((table.chat().state.queue.len(), table.chat().state.status), (1, Status::Running));
}

fn failed(verdict: Verdict) -> Work {
    Work::Failed { verdict: Box::new(verdict), usage: Usage::default(), partial: None }
}

impl Table {
    /// The last record of that kind.
    fn last(&self, kind: &str) -> Body {
        let record = self.log.iter().rev().find(|record| record.kind.as_str().starts_with(kind));
        record.expect("there is one").open().expect("a record of ours").body
    }

    fn retry_at(&self) -> Option<Timestamp> {
        self.chat().state.retry.and_then(|retry| retry.at)
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    fn retry(&mut self) -> Result<Step, NotDone> {
        let next = self.next();
        self.work(Work::Retry { next })
    }
}

#[test]
fn a_short_wait_keeps_the_holder_and_a_long_one_frees_the_chat_until_it_is_due() {
    let mut table = Table::claimed();
    table.rules.retry.jitter = Jitter::NONE;
    for (attempt, seconds) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        table.work(failed(Verdict::of(Kind::Overloaded))).expect("in the attempt");
        assert_eq!(table.last_commit(), "attempt.failed");
        let wait = Duration::from_secs(seconds);
        assert_eq!((table.chat().head.holder, table.retry_at()), (Some(ME), Some(table.now.after(wait))));
        assert_eq!(table.chat().state.failures, attempt);
        table.pass(wait);
        table.retry().expect("the wait is over");
        assert_eq!((table.last_commit(), table.retry_at()), ("attempt.started".to_owned(), None));
        assert!(
            matches!(table.last("attempt.started"), Body::AttemptStarted(started) if started.attempt == attempt + 1)
        );
    }
    table.work(failed(Verdict::of(Kind::Overloaded))).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.failed freed");
    let due = table.now.after(Duration::from_secs(16));
    assert_eq!((table.chat().head.holder, table.chat().head.wake_at), (None, Some(due)));
    assert!(matches!(table.claim(), Err(NotDone::Stale)), "nobody takes it before its time");
    table.pass(Duration::from_secs(16));
    table.claim().expect("due");
    assert_eq!(table.last_commit(), "claimed attempt.started");
    assert!(matches!(table.last("attempt.started"), Body::AttemptStarted(started) if started.attempt == 6));
    let answer = table.answer(vec![Part::text("at last")], FinishReason::Stop, Effect::Pure);
    table.work(answer).expect("it came");
    assert_eq!((table.chat().state.failures, table.chat().state.retry), (0, None), "a success begins anew");
}

#[test]
fn what_a_failed_attempt_says_of_the_next_one_is_what_clients_are_told() {
    let mut table = Table::claimed();
    table.rules.retry.jitter = Jitter::NONE;
    let verdict =
        Verdict::of(Kind::RateLimit).with_provider("openai").with_retry_after(Duration::from_millis(7_500));
    table.work(failed(verdict.clone())).expect("in the attempt");
    let Body::AttemptFailed(failed) = table.last("attempt.failed") else { panic!("of that kind") };
    let event = failed.retry_event().expect("there is another attempt");
    assert_eq!((event.attempt, event.delay_ms, &*event.kind), (1, 7_500, "rate_limit"));
    assert_eq!((&*event.error, event.provider.as_deref()), (&*verdict.message, Some("openai")));
    assert_eq!(&*event.retrying_at, "1970-01-01T00:16:47.500Z");
}

#[test]
fn a_wait_above_the_bound_is_parked_with_its_time_and_does_not_count_as_time_spent() {
    let mut table = Table::claimed();
    table.rules.retry.jitter = Jitter::NONE;
    let hours = Duration::from_secs(16 * 3_600);
    table.work(failed(Verdict::of(Kind::RateLimit).with_retry_after(hours))).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.failed freed");
    assert_eq!(table.chat().head.wake_at, Some(table.now.after(hours)));
    assert_eq!(table.chat().state.status, Status::Running, "it is not over");
    table.pass(hours);
    table.claim().expect("due");
    table.work(failed(Verdict::of(Kind::RateLimit))).expect("in the attempt");
    assert_eq!(
        table.retry_at(),
        Some(table.now.after(Duration::from_secs(2))),
        "an hour of trying is not over yet"
    );
}

#[test]
fn the_turn_ends_when_attempts_or_time_are_used_up_or_the_advice_is_another() {
    let ended = "attempt.failed chat.error";
    let mut table = Table::claimed();
    table.rules.retry.attempts_max = NonZeroU32::MIN.saturating_add(1);
    table.work(failed(Verdict::of(Kind::Timeout))).expect("in the attempt");
    table.retry().expect("waited for");
    table.work(failed(Verdict::of(Kind::Timeout))).expect("in the attempt");
    assert_eq!((table.last_commit().as_str(), table.chat().state.status), (ended, Status::Error));
    assert!(
        matches!(table.last("attempt.failed"), Body::AttemptFailed(failed) if failed.failures == 2 && failed.retry_at.is_none())
    );

    let mut table = Table::claimed();
    table.work(failed(Verdict::of(Kind::Timeout))).expect("in the attempt");
    table.pass(Duration::from_secs(3_600));
    table.retry().expect("waited for");
    table.work(failed(Verdict::of(Kind::Timeout))).expect("in the attempt");
    assert_eq!(table.last_commit(), ended);

    for kind in [Kind::Auth, Kind::Config, Kind::UsageLimit, Kind::Generic, Kind::ContentFilter] {
        let mut table = Table::claimed();
        table.work(failed(Verdict::of(kind))).expect("in the attempt");
        assert_eq!(table.last_commit(), ended, "{kind}");
    }
}

#[test]
fn a_stop_ends_the_wait_whether_it_is_held_or_not() {
    let mut table = Table::claimed();
    table.work(failed(Verdict::of(Kind::Timeout))).expect("in the attempt");
    table.interrupt(None).expect("running");
    assert_eq!(table.chat().state.status, Status::Interrupting, "its holder is told");
    table.retry().expect("the holder looked");
    assert_eq!((table.last_commit().as_str(), table.chat().state.status), ("turn.ended", Status::Waiting));

    let mut table = Table::claimed();
    table
        .work(failed(Verdict::of(Kind::RateLimit).with_retry_after(Duration::from_secs(600))))
        .expect("in the attempt");
    table.interrupt(None).expect("running");
    assert_eq!(table.last_commit(), "interrupt.requested turn.ended", "nobody holds it: it ends here");
    assert_eq!((table.chat().head.wake_at, table.chat().state.retry), (None, None));
}

#[test]
fn a_wait_survives_its_holder() {
    let mut table = Table::claimed();
    table
        .work(failed(Verdict::of(Kind::Timeout).with_retry_after(Duration::from_secs(9))))
        .expect("in the attempt");
    let due = table.retry_at();
    let op = table.op();
    table.made(Input::Free(op, Free { holder: ME }));
    assert_eq!((table.chat().head.wake_at, table.chat().state.failures), (due, 1), "it died");

    let mut table = Table::claimed();
    table
        .work(failed(Verdict::of(Kind::Timeout).with_retry_after(Duration::from_secs(9))))
        .expect("in the attempt");
    let due = table.retry_at();
    table.work(Work::Release { off: 0 }).expect("it shuts down");
    assert_eq!((table.last_commit().as_str(), table.chat().head.wake_at), ("freed", due));
    let late = table.retry();
    assert!(matches!(late, Err(NotDone::Stale)), "it is not its chat any more");
}

#[test]
fn no_attempt_begins_without_a_wait_before_it() {
    let mut table = Table::claimed();
    assert!(matches!(table.retry(), Err(NotDone::Stale)), "an attempt runs");
    let mut table = Table::claimed();
    let fence = Fence { r#gen: None, ..table.fence() };
    let next = table.next();
    assert!(matches!(table.work_as(fence, Work::Retry { next }), Err(NotDone::Stale)));
}
