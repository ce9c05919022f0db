//! What each input does to a chat, and what it must not do.
#![allow(clippy::needless_pass_by_value, reason = "a table reads better without references")]

mod table;

use std::time::Duration;

use chatwright_core::content::Part;
use chatwright_core::error::{Advice, Kind, Verdict};
use chatwright_core::head::{KeyHash, Status, UnitKind};
use chatwright_core::model::FinishReason;
use chatwright_core::record::{Body, CompactionTrigger, ResultOrigin};
use chatwright_core::tool::Effect;
use chatwright_core::{Epoch, Gen, MessageId, QueueId, Seq};
use chatwright_engine::{
    Busy, Claim, Command, Compacted, Edit, Fence, Input, NotDone, Plan, Planned, Queue, QueueAct, Refused,
    Report, Stopped, Summary, Work, receipt_of,
};

use table::*;

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
        assert!(
            stale(table.work_as(fence, Work::Release { off: 0, report: Report::default(), wait: None })),
            "{fence:?}"
        );
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
fn deaths_of_a_turn_that_was_stopped_do_not_count_for_the_next() {
    let mut table = Table::new();
    for _ in 0..4 {
        table.claim().expect("free");
        table.free(ME).expect("dead");
    }
    table.claim().expect("free");
    table.send(Busy::Interrupt).expect("running");
    let next = table.next();
    let (model, report, content, results) = (next.model.clone(), Default::default(), Vec::new(), Vec::new());
    let stopped = Stopped { content, model, report, off: 0, results, next };
    table.work(Work::Stopped(Box::new(stopped))).expect("interrupting");
    assert_eq!(table.last_commit(), "attempt.ended turn.ended queue.promoted message.user attempt.started");
    assert_eq!(table.chat().state.deaths, 0);
    table.free(ME).expect("dead");
    assert_eq!(table.chat().state.status, Status::Running, "it is the first death of this turn");
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
    let (op, next, calls_in) = (table.op(), table.next(), table.chat().state.calls_in);
    let run = Plan::Run {
        name: "t".into(),
        effect: Effect::Pure,
        deadline: Duration::from_secs(60),
        input_hash: KeyHash(0),
        approval: false,
        resource: None,
        stop_after: false,
    };
    let plan = [0, 1].map(|ordinal| Planned { ordinal, plan: run.clone() }).to_vec();
    table.made(Input::Claim(op, Claim { session: ME, calls_in, plan, next }));
    assert_eq!(table.last_commit(), "claimed tool.results batch.started tool.intent");
    let open = &table.chat().state.calls;
    assert_eq!(open.iter().map(|call| call.ordinal).collect::<Vec<_>>(), [1]);
    let message = table.chat().state.calls_in.expect("the calls' message");
    let results = table.history.results(message);
    assert_eq!(results[&0].origin, ResultOrigin::OutcomeUnknown, "though the tool now says that it is pure");
}

#[test]
fn a_claim_whose_plan_is_about_other_calls_is_stale() {
    let mut table = Table::new();
    let (op, next) = (table.op(), table.next());
    let early = Input::Claim(op, Claim { session: OTHER, calls_in: None, plan: Vec::new(), next });
    table.claim().expect("free");
    let answer = table.answer(vec![call(0), call(1)], FinishReason::ToolCalls, Effect::Once);
    table.work(answer).expect("answered");
    table.work(Work::Release { off: 0, report: Report::default(), wait: None }).expect("it shuts down");
    assert!(stale(table.feed(early)), "it looked before there were calls");
    assert_eq!(table.chat().state.calls.len(), 2, "and does not answer those that it has no plan for");
}

#[test]
fn a_claim_waits_for_the_client_where_what_a_dead_holder_ran_is_lost() {
    let mut table = Table::claimed();
    let mut answer = table.answer(vec![call(0), call(1)], FinishReason::ToolCalls, Effect::Once);
    let Work::Answered(answered) = &mut answer else { panic!("it is an answer") };
    answered.plan[1].plan = Plan::Client;
    table.work(answer).expect("answered");
    table.free(ME).expect("dead");
    table.claim().expect("free");
    assert_eq!(table.last_commit(), "claimed tool.results action.required");
    let chat = table.chat();
    assert_eq!((chat.state.status, chat.head.holder), (Status::RequiresAction, None));
    assert_eq!(chat.state.calls.iter().map(|call| call.ordinal).collect::<Vec<_>>(), [1]);
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

#[test]
fn a_message_that_stops_a_turn_that_nobody_runs_is_the_next_one() {
    let mut table = Table::new();
    table.send(Busy::Interrupt).expect("nobody has claimed it");
    let expected = "queue.added interrupt.requested turn.ended queue.promoted message.user";
    assert_eq!(table.last_commit(), expected);
    assert_eq!((table.chat().state.queue.len(), table.chat().state.status), (0, Status::Running));
    table.claim().expect("due");

    let mut table = Table::claimed();
    table.send(Busy::Queue).expect("queued");
    table.free(ME).expect("dead");
    table.send(Busy::Interrupt).expect("nobody has claimed it");
    assert_eq!(table.last_commit(), expected, "first in, first out");
    assert_eq!(table.chat().state.queue.len(), 1);
}

#[test]
fn a_receipt_found_in_the_log_is_the_first_receipt() {
    let mut table = Table::claimed();
    let queued = table.send(Busy::Queue).expect("queued").receipt.expect("of a command");
    let id = queued.queued.expect("it waits");
    let edited = MessageId::from_uuid(table.id());
    let queue = |act| Command::Queue(Queue { id, act, dead: None, key: None });
    let edit = Edit {
        seq: Seq::new(2),
        content: vec![Part::text("rather")],
        message: edited,
        author: None,
        model: None,
        effort: None,
        key: None,
    };
    let acts = [QueueAct::Hold, QueueAct::Release, QueueAct::Move(0), QueueAct::Remove].map(queue);
    for command in acts.into_iter().chain([Command::Edit(edit)]) {
        let (op, edits) = (table.op(), matches!(command, Command::Edit(_)));
        let receipt =
            table.feed(Input::Command(op, command)).expect("allowed").receipt.expect("of a command");
        let expected: (Option<MessageId>, Option<QueueId>) =
            if edits { (Some(edited), None) } else { (None, Some(id)) };
        assert_eq!((receipt.message, receipt.queued), expected);
        let record = table.log.iter().find(|record| record.seq == receipt.seq).expect("it was committed");
        assert_eq!(receipt_of(record), Some(receipt));
    }
}

#[test]
fn where_there_was_nothing_to_summarise_a_prompt_that_is_not_taken_may_be_made_smaller() {
    for asked in [false, true] {
        let mut table = Table::claimed();
        let next = table.next();
        if asked {
            let command = Command::Compact(chatwright_engine::Compact { by: None, key: None });
            let op = table.op();
            table.feed(Input::Command(op, command)).expect("allowed");
            let answer = table.answer(vec![call(0)], FinishReason::ToolCalls, Effect::Pure);
            table.work(answer).expect("answered");
            let results = table.results(&[0]);
            table.work(results).expect("in the batch");
        } else {
            table.work(Work::Full { next }).expect("in the attempt");
        }
        let kind = |table: &Table| table.chat().state.open.as_ref().map(|open| open.kind);
        // Each time the provider takes no prompt, and in the end there is an error.
        for expected in [Some(UnitKind::Compaction), None] {
            assert_eq!(kind(&table), Some(UnitKind::Compaction));
            let (next, report) = (table.next(), Report::default());
            let nothing = Compacted { summary: None, report, off: 0, next };
            table.work(Work::Compacted(Box::new(nothing))).expect("in the compaction");
            assert_eq!(kind(&table), Some(UnitKind::Attempt));
            let (next, report) = (table.next(), Report::default());
            let (model, content, results) = (next.model.clone(), Vec::new(), Vec::new());
            let partial = Stopped { content, model, report: report.clone(), off: 0, results, next };
            let verdict = Box::new(Verdict::of(Kind::Config).with_advice(Advice::CompactThenRetry));
            table
                .work(Work::Failed { verdict, report, partial: Some(Box::new(partial)) })
                .expect("in the attempt");
            assert_eq!(kind(&table), expected);
        }
    }
}

/// Compactions that the turn needs: what happened, and what came of it.
#[test]
fn a_prompt_that_is_too_large_is_made_smaller_once_before_the_next_answer() {
    let summary = |table: &mut Table| {
        let (covers_to, from, content) = (Seq::new(1), Seq::new(2), vec![Part::text("in short")]);
        let summary = Some(Summary {
            covers_to,
            from,
            content,
            said: Vec::new(),
            tokens_before: None,
            tokens_after: None,
        });
        Work::Compacted(Box::new(Compacted {
            summary,
            report: Report::default(),
            off: 0,
            next: table.next(),
        }))
    };
    let failed = |table: &mut Table, verdict: Verdict| {
        let (next, content, results) = (table.next(), Vec::new(), Vec::new());
        let (model, report) = (next.model.clone(), Report::default());
        let partial = Stopped { content, model, report: report.clone(), off: 0, results, next };
        Work::Failed { verdict: Box::new(verdict), report, partial: Some(Box::new(partial)) }
    };
    let too_large = || Verdict::of(Kind::Config).with_advice(Advice::CompactThenRetry);
    let trigger = |table: &Table| match table.last("context.compacted") {
        Body::ContextCompacted(compacted) => compacted.trigger,
        other => panic!("{other:?}"),
    };

    // Before it is asked: one summary, and then whatever comes of it.
    let mut table = Table::claimed();
    let next = table.next();
    table.work(Work::Full { next }).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.ended attempt.started");
    assert_eq!(table.chat().state.open.as_ref().map(|open| open.kind), Some(UnitKind::Compaction));
    let made = summary(&mut table);
    table.work(made).expect("in the compaction");
    assert_eq!(table.last_commit(), "attempt.ended context.compacted attempt.started");
    assert_eq!(trigger(&table), Some(CompactionTrigger::Full));
    let next = table.next();
    assert!(stale(table.work(Work::Full { next })), "another summary would not help");
    let refused = failed(&mut table, too_large());
    table.work(refused).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.failed chat.error", "the summary was too large too");

    // The provider says so: a summary, and the same question again. After an answer there may be another.
    let mut table = Table::claimed();
    for _ in 0..2 {
        let refused = failed(&mut table, too_large());
        table.work(refused).expect("in the attempt");
        assert_eq!(table.last_commit(), "attempt.failed attempt.started");
        let made = summary(&mut table);
        table.work(made).expect("in the compaction");
        assert_eq!(trigger(&table), Some(CompactionTrigger::TooLarge));
        let answer = table.answer(vec![call(0)], FinishReason::ToolCalls, Effect::Pure);
        table.work(answer).expect("answered");
        let results = table.results(&[0]);
        table.work(results).expect("in the batch");
    }

    // A summary that would only have helped fails: the turn goes on without, and asks for no other.
    let mut table = Table::claimed();
    let next = table.next();
    table.work(Work::Full { next }).expect("in the attempt");
    let fails = failed(&mut table, Verdict::of(Kind::Auth));
    table.work(fails).expect("in the compaction");
    assert_eq!(table.last_commit(), "attempt.failed attempt.started");
    assert_eq!(table.chat().state.open.as_ref().map(|open| open.kind), Some(UnitKind::Attempt));
    let answer = table.answer(vec![call(0)], FinishReason::ToolCalls, Effect::Pure);
    table.work(answer).expect("answered");
    let results = table.results(&[0]);
    table.work(results).expect("in the batch");
    let next = table.next();
    assert!(stale(table.work(Work::Full { next })), "it would fail in every step");

    // One that the provider made necessary fails: the turn has failed.
    let refused = failed(&mut table, too_large());
    table.work(refused).expect("in the attempt");
    let fails = failed(&mut table, Verdict::of(Kind::Auth));
    table.work(fails).expect("in the compaction");
    assert_eq!(table.last_commit(), "attempt.failed chat.error");
    assert_eq!((table.chat().state.compact, table.chat().state.squeezed), (None, None));

    // A stop comes first.
    let mut table = Table::claimed();
    table.interrupt(None).expect("running");
    let next = table.next();
    table.work(Work::Full { next }).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.ended turn.ended");
}
