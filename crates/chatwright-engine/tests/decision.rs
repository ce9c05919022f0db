//! What comes next follows from the log alone: the engine against a reference that reads nothing but records.
//!
//! The order of the reference is: calls that may run, calls that others answer, the end of an answer, a summary that was asked
//! for, a tool that ends the turn, the limit of steps, the model. A summary that is asked for comes after an answer that is
//! complete, and not before it.
#![allow(clippy::needless_pass_by_value, reason = "a table reads better without references")]

mod table;

use std::collections::BTreeSet;
use std::time::Duration;

use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::error::{Kind, Verdict};
use chatwright_core::head::{CallKind, KeyHash, Status, UnitKind};
use chatwright_core::model::FinishReason;
use chatwright_core::record::{Body, CallResult, Decision, Outcome, ResultOrigin, StopReason};
use chatwright_core::tool::Effect;
use chatwright_core::{MessageId, Seq};
use chatwright_engine::{
    Busy, Claim, Command, Compact, Compacted, Decide, History, Input, NotDone, Plan, Planned, Report,
    Stopped, Submit, Summary, Work, calls, step,
};
use proptest::prelude::*;

use table::{CHAT, ME, OTHER, Table, failed};

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    RunCalls,
    WaitForOthers,
    Summarise,
    AskModel,
    End(StopReason),
}

/// What records say, as far as it decides what comes next.
#[derive(Clone, Debug, Default)]
struct Facts {
    in_turn: bool,
    stopping: bool,
    summary_wanted: bool,
    unit: Option<UnitKind>,
    steps: u32,
    ends_turn: bool,
    waiting: usize,
    /// The newest answer, until something follows it that is not its results.
    answer: Option<Answer>,
    approved: BTreeSet<u32>,
}

#[derive(Clone, Debug)]
struct Answer {
    message: Option<MessageId>,
    finish: FinishReason,
    is_empty: bool,
    says: bool,
    names: Vec<Box<str>>,
    open: BTreeSet<u32>,
}

impl Facts {
    fn fold(&mut self, body: &Body) {
        match body {
            Body::MessageUser(_) => {
                (self.in_turn, self.steps, self.ends_turn, self.answer) = (true, 0, false, None);
            }
            Body::AttemptStarted(started) => self.unit = Some(started.unit),
            Body::AttemptEnded(ended) => match (self.unit, ended.outcome, ended.finish) {
                (Some(UnitKind::Attempt), Outcome::Committed, Some(finish)) => {
                    self.steps += 1;
                    self.approved.clear();
                    let (names, open) = (Vec::new(), BTreeSet::new());
                    self.answer =
                        Some(Answer { message: None, finish, is_empty: true, says: false, names, open });
                }
                (Some(UnitKind::Compaction), Outcome::Committed | Outcome::Discarded, _) => {
                    self.summary_wanted = false;
                }
                _ => {}
            },
            Body::MessageAssistant(message) if !message.interrupted => {
                let answer = self.answer.as_mut().expect("its attempt ended");
                answer.message = Some(message.id);
                answer.is_empty = false;
                answer.says = message.content.iter().any(|part| !matches!(part, Part::Reasoning { .. }));
                answer.names = calls(&message.content).map(|call| call.name.into()).collect();
                answer.open = calls(&message.content).map(|call| call.ordinal).collect();
            }
            Body::ToolResults(results) => {
                for result in &results.results {
                    let answer = self.answer.as_mut().expect("results are of an answer");
                    assert!(answer.open.remove(&result.ordinal), "one result for a call");
                    let ends = &*answer.names[result.ordinal as usize] == "plan";
                    self.ends_turn |=
                        ends && result.origin == ResultOrigin::Tool && !result.output.is_error();
                }
            }
            Body::ActionDecided(decided) if matches!(decided.decision, Decision::Approve { .. }) => {
                self.approved.insert(decided.ordinal);
            }
            Body::CompactionRequested(_) => self.summary_wanted = true,
            Body::InterruptRequested(_) => self.stopping = true,
            Body::QueueAdded(_) => self.waiting += 1,
            Body::QueuePromoted(_) => self.waiting -= 1,
            Body::TurnEnded(ended) => {
                self.summary_wanted &= ended.reason != StopReason::Interrupted;
                (self.in_turn, self.stopping, self.answer) = (false, false, None);
            }
            Body::ChatError(_) => {
                (self.in_turn, self.stopping, self.summary_wanted, self.answer) = (false, false, false, None);
            }
            _ => {}
        }
    }

    fn then(&self, steps_max: u32) -> Then {
        if self.stopping {
            return Then::End(StopReason::Interrupted);
        }
        if !self.in_turn {
            return if self.summary_wanted { Then::Summarise } else { Then::End(StopReason::Compacted) };
        }
        if let Some(answer) = &self.answer {
            match answer.finish {
                FinishReason::Length => return Then::End(StopReason::Length),
                FinishReason::ContentFilter => return Then::End(StopReason::ContentFilter),
                _ if answer.is_empty => return Then::End(StopReason::Empty),
                _ => {}
            }
            let runs = |&ordinal: &u32| match &*answer.names[ordinal as usize] {
                "client" => false,
                "ask" => self.approved.contains(&ordinal),
                _ => true,
            };
            if answer.open.iter().any(runs) {
                return Then::RunCalls;
            }
            if !answer.open.is_empty() {
                return Then::WaitForOthers;
            }
            if answer.names.is_empty() && answer.finish != FinishReason::Pause {
                return Then::End(if answer.says { StopReason::Complete } else { StopReason::Empty });
            }
        }
        if self.summary_wanted {
            Then::Summarise
        } else if self.ends_turn {
            Then::End(StopReason::StopAfterTool)
        } else if self.steps >= steps_max {
            Then::End(StopReason::StepLimit)
        } else {
            Then::AskModel
        }
    }
}

/// What a record says that something comes next, if it does.
fn then_of(body: &Body) -> Option<Then> {
    Some(match body {
        Body::BatchStarted(_) => Then::RunCalls,
        Body::ActionRequired(_) => Then::WaitForOthers,
        Body::AttemptStarted(started) if started.unit == UnitKind::Compaction => Then::Summarise,
        Body::AttemptStarted(_) => Then::AskModel,
        Body::TurnEnded(ended) => Then::End(ended.reason),
        _ => return None,
    })
}

const NAMES: [&str; 6] = ["pure", "once", "plan", "client", "ask", "nope"];

fn planned(content: &[Part]) -> Vec<Planned> {
    let plan = |name: &str| match name {
        "client" => Plan::Client,
        "nope" => {
            Plan::Refuse { output: Output::error("There is no such tool."), origin: ResultOrigin::Refused }
        }
        _ => Plan::Run {
            name: name.into(),
            effect: if name == "pure" { Effect::Pure } else { Effect::Once },
            deadline: Duration::from_secs(60),
            input_hash: KeyHash(0),
            approval: name == "ask",
            resource: None,
            stop_after: name == "plan",
        },
    };
    calls(content).map(|call| Planned { ordinal: call.ordinal, plan: plan(call.name) }).collect()
}

fn to_call(name: &str) -> Part {
    let input = "{}".to_owned();
    Part::ToolCall {
        id: "c".into(),
        name: name.into(),
        input,
        provider_executed: false,
        metadata: Metadata::new(),
    }
}

/// An answer by two numbers.
fn answer(table: &mut Table, what: u8, end: u8) -> Work {
    let thought = || Part::Reasoning { text: "hm".to_owned(), metadata: Metadata::new() };
    let name = |n: u8| NAMES[usize::from(n) % NAMES.len()];
    let content = match what {
        0..=2 => Vec::new(),
        3..=5 => vec![thought()],
        6..=60 => vec![Part::text("so far, so good")],
        61..=140 => vec![to_call(name(what))],
        _ => vec![thought(), to_call(name(what)), to_call(name(what / 6)), to_call(name(what / 36))],
    };
    let finish = match end {
        0..=12 => FinishReason::Length,
        13..=25 => FinishReason::ContentFilter,
        26..=70 => FinishReason::Pause,
        71..=150 => FinishReason::ToolCalls,
        _ => FinishReason::Stop,
    };
    let mut work = table.answer(content.clone(), finish, Effect::Pure);
    if let Work::Answered(answer) = &mut work {
        answer.plan = planned(&content);
    }
    work
}

/// An input by three numbers; most of them fit what the chat is about to do.
fn input(table: &mut Table, (kind, what, end): (u8, u8, u8)) -> Input {
    let (fence, op) = (table.fence(), table.op());
    let state = table.chat().state.clone();
    let (holder, status) = (table.chat().head.holder, state.status);
    let work = |work| Input::Work(op, fence, work);
    let command = |command| Input::Command(op, command);
    let content =
        state.calls_in.and_then(|message| table.history.answer(message)).map(|found| found.content.clone());
    let plan = planned(&content.unwrap_or_default());
    match kind {
        0..=9 => return command(Command::Compact(Compact { by: None, key: None })),
        10..=19 => {
            let mut send = send(table);
            send.busy = if what % 3 == 0 { Busy::Now } else { Busy::Queue };
            return command(Command::Send(send));
        }
        20..=24 => {
            let dead = if what % 2 == 0 { holder } else { None };
            return command(Command::Interrupt(chatwright_engine::Interrupt { by: None, dead, key: None }));
        }
        25..=34 => return Input::Free(op, chatwright_engine::Free { holder: holder.unwrap_or(OTHER) }),
        35..=39 => return work(Work::Watch),
        40..=44 => {
            return work(Work::Release {
                off: 0,
                report: Report::default(),
                wait: (what % 2 == 0).then_some(Duration::from_secs(5)),
            });
        }
        _ => {}
    }
    match (status, holder, state.open.as_ref().map(|open| open.kind)) {
        (Status::Waiting | Status::Error, ..) => command(Command::Send(send(table))),
        (Status::RequiresAction, ..) if kind < 70 => {
            table.pass(Duration::from_secs(if what % 2 == 0 { 301 } else { 90_000 }));
            Input::Expire(op)
        }
        (Status::RequiresAction, ..) => {
            let client = state.calls.iter().filter(|call| call.kind == CallKind::Client);
            let results: Vec<_> = client.map(|call| (call.ordinal, Output::text("ok"))).collect();
            match state.calls.iter().find(|call| call.kind == CallKind::Approval) {
                Some(call) if results.is_empty() || what % 2 == 0 => {
                    let decision = if end % 2 == 0 {
                        Decision::Approve { input: None }
                    } else {
                        Decision::Deny { reason: None }
                    };
                    command(Command::Decide(Decide { ordinal: call.ordinal, decision, by: None, key: None }))
                }
                _ => command(Command::Submit(Submit { results, key: None })),
            }
        }
        (Status::Interrupting, Some(_), Some(_)) if kind < 150 => {
            let next = table.next();
            let (content, model) = (vec![Part::text("I was")], next.model.clone());
            let (report, results) = (Report::default(), Vec::new());
            work(Work::Stopped(Box::new(Stopped { content, model, report, off: 0, results, next })))
        }
        (_, None, _) => {
            table.pass(Duration::from_secs(3_600));
            let next = table.next();
            Input::Claim(op, Claim { session: ME, calls_in: state.calls_in, plan, next })
        }
        (_, Some(_), None) => {
            table.pass(Duration::from_secs(61));
            let next = table.next();
            work(Work::Retry { next })
        }
        (_, Some(_), Some(UnitKind::Batch)) => {
            let next = table.next();
            let chosen =
                state.calls.iter().enumerate().filter(|(n, _)| what & (1 << (n % 8)) != 0 || *n == 0);
            let output =
                |n: usize| if end & (1 << (n % 8)) == 0 { Output::text("ok") } else { Output::error("no") };
            let results = chosen.map(|(n, call)| {
                let (ordinal, origin) = (call.ordinal, ResultOrigin::Tool);
                CallResult { ordinal, output: output(n), origin }
            });
            work(Work::Results { results: results.collect(), off: 0, plan, next })
        }
        (_, Some(_), Some(_)) if kind < 80 => {
            let kind = if what % 4 == 0 { Kind::Auth } else { Kind::Overloaded };
            work(failed(Verdict::of(kind)))
        }
        (_, Some(_), Some(UnitKind::Compaction)) => {
            let user = table.log.iter().rev().find(|record| record.kind.as_str().starts_with("message.user"));
            let from = user.expect("a chat begins with one").seq;
            let covers_to = Seq::new(from.get() - 1);
            let content = vec![Part::text("in short")];
            let summary = Summary {
                covers_to,
                from,
                content,
                said: Vec::new(),
                tokens_before: None,
                tokens_after: None,
            };
            let (summary, report, next) =
                ((what % 3 != 0).then_some(summary), Report::default(), table.next());
            work(Work::Compacted(Box::new(Compacted { summary, report, off: 0, next })))
        }
        (_, Some(_), Some(UnitKind::Attempt)) => {
            let answer = answer(table, what, end);
            Input::Work(op, fence, answer)
        }
    }
}

fn send(table: &mut Table) -> chatwright_engine::Send {
    chatwright_engine::Send {
        content: vec![Part::text("more")],
        message: MessageId::from_uuid(table.id()),
        queue: chatwright_core::QueueId::from_uuid(table.id()),
        author: None,
        model: None,
        effort: None,
        busy: Busy::Queue,
        dead: None,
        key: None,
    }
}

/// Whether the holder decides in this input what comes next.
fn decides(input: &Input) -> bool {
    let decides = |work: &Work| {
        matches!(
            work,
            Work::Answered(_)
                | Work::Results { .. }
                | Work::Retry { .. }
                | Work::Compacted(_)
                | Work::Stopped(_)
        )
    };
    matches!(input, Input::Claim(..)) || matches!(input, Input::Work(_, _, work) if decides(work))
}

/// What the engine makes of an input, as text: the head, every record, the receipt, or why not.
fn made(table: &Table, history: &History, input: &Input) -> String {
    let made = step(table.chat.as_ref(), input, history, table.now, &table.rules).and_then(|step| {
        let receipt = step.receipt.clone();
        Ok((step.commit(CHAT, table.chat.as_ref())?, receipt))
    });
    match made {
        Ok((commit, receipt)) => {
            let records =
                commit.records().iter().map(|record| format!("{} {}\n", record.kind, record.body.as_str()));
            let records: String = records.collect();
            format!("{:?} {}\n{records}{receipt:?}", commit.head(), commit.head().state.as_str())
        }
        Err(refused) => format!("{refused:?}"),
    }
}

fn bodies(table: &Table, from: usize) -> Vec<Body> {
    table.log[from..].iter().map(|record| record.open().expect("ours").body).collect()
}

/// Feeds an input, and checks what comes next against the reference.
fn check(table: &mut Table, facts: &mut Facts, input: Input) -> Result<Option<Then>, TestCaseError> {
    let before = table.log.len();
    let decides = decides(&input);
    let fed = table.feed(input.clone());
    if matches!(&fed, Err(NotDone::Missing(_))) {
        return Err(TestCaseError::fail("history is complete"));
    }
    let mut commit = bodies(table, before).into_iter().peekable();
    while let Some(body) =
        commit.next_if(|body| then_of(body).is_none() && !matches!(body, Body::ChatError(_)))
    {
        facts.fold(&body);
    }
    let rest: Vec<Body> = commit.collect();
    let open = table.chat().state.open.as_ref().map(|open| open.kind);
    if !decides || fed.is_err() || rest.is_empty() && open == Some(UnitKind::Batch) {
        rest.iter().for_each(|body| facts.fold(body));
        return Ok(None);
    }
    let steps_max = table.rules.steps_max;
    let expected = facts.then(steps_max);
    let then = rest.first().and_then(then_of);
    prop_assert_eq!(then, Some(expected), "{:?}: {:?}\n{}", input, facts, table.last_commit());
    rest.iter().for_each(|body| facts.fold(body));
    if let Then::End(reason) = expected {
        // What was asked for while the turn ran, then what waits, then rest.
        let summary = facts.summary_wanted && reason != StopReason::Interrupted;
        let followed = rest.iter().skip(1).find_map(then_of);
        let promotes = rest.iter().any(|body| matches!(body, Body::QueuePromoted(_)));
        let (should_follow, should_promote) = match (summary, facts.waiting + usize::from(promotes)) {
            (true, _) => (Some(Then::Summarise), false),
            (false, 0) => (None, false),
            (false, _) => (Some(Then::AskModel), true),
        };
        prop_assert_eq!((followed, promotes), (should_follow, should_promote), "{}", table.last_commit());
    }
    Ok(Some(expected))
}

#[test]
fn histories_that_are_made_up_lead_to_everything_that_can_come_next() {
    let mut state = 7_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut met: Vec<Then> = Vec::new();
    for _ in 0..300 {
        let (mut table, mut facts) = (Table::new(), Facts::default());
        bodies(&table, 0).iter().for_each(|body| facts.fold(body));
        for _ in 0..60 {
            let input = input(&mut table, (byte(), byte(), byte()));
            met.extend(check(&mut table, &mut facts, input).expect("as the reference says"));
        }
    }
    let of = |then: Then| met.iter().filter(|met| **met == then).count();
    use StopReason::{
        Compacted, Complete, ContentFilter, Empty, Interrupted, Length, StepLimit, StopAfterTool,
    };
    let ends = [Compacted, Complete, ContentFilter, Empty, Interrupted, Length, StepLimit, StopAfterTool];
    let others = [Then::RunCalls, Then::WaitForOthers, Then::Summarise, Then::AskModel];
    for then in ends.map(Then::End).into_iter().chain(others) {
        assert!(of(then) >= 5, "{then:?} was met {} times", of(then));
    }
}

proptest! {
    #[test]
    fn what_comes_next_follows_from_the_log_alone(moves in proptest::collection::vec(any::<(u8, u8, u8)>(), 1..60)) {
        let mut table = Table::new();
        let mut facts = Facts::default();
        bodies(&table, 0).iter().for_each(|body| facts.fold(body));
        for step in moves {
            let input = input(&mut table, step);
            check(&mut table, &mut facts, input)?;
        }
    }

    #[test]
    fn the_same_rows_give_the_same_step_each_time_and_any_input_an_answer(
        moves in proptest::collection::vec(any::<(u8, u8, u8)>(), 1..30),
    ) {
        let mut table = Table::new();
        let mut inputs = Vec::new();
        for step in moves {
            let next = input(&mut table, step);
            // Whoever folds the log anew decides the same.
            let mut anew = History::default();
            for record in &table.log {
                anew.fold(record).expect("a record of ours");
            }
            // This input, and all those that fitted the chat as it was before.
            inputs.push(next.clone());
            for input in inputs.iter().rev().take(8) {
                let input = match input {
                    Input::Work(op, _, work) => Input::Work(*op, table.fence(), work.clone()),
                    input => input.clone(),
                };
                let made = made(&table, &table.history, &input);
                prop_assert_eq!(&made, &self::made(&table, &anew, &input));
                prop_assert_eq!(&made, &self::made(&table, &anew, &input));
            }
            // Refused or not, it is no panic.
            let _ = table.feed(next);
        }
    }
}
