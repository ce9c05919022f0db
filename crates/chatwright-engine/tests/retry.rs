//! Attempts that fail, and what follows.
#![allow(clippy::needless_pass_by_value, reason = "a table reads better without references")]

mod table;

use std::num::NonZeroU32;
use std::time::Duration;

use chatwright_core::content::Part;
use chatwright_core::error::{Kind, Verdict};
use chatwright_core::head::Status;
use chatwright_core::model::{FinishReason, Usage};
use chatwright_core::record::Body;
use chatwright_core::tool::Effect;
use chatwright_engine::{Busy, Fence, Free, Input, NotDone, Report, Stopped, Work};
use chatwright_retry::Jitter;

use table::*;

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
    table.work(Work::Release { off: 0, report: Report::default(), wait: None }).expect("it shuts down");
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

#[test]
fn a_stop_is_not_put_off_until_the_retry_when_the_holder_dies_or_drains() {
    for release in [false, true] {
        let mut table = Table::claimed();
        table.rules.hold_max = Duration::from_secs(600);
        table
            .work(failed(Verdict::of(Kind::Timeout).with_retry_after(Duration::from_secs(300))))
            .expect("in the attempt");
        table.interrupt(None).expect("running");
        assert_eq!(table.chat().state.status, Status::Interrupting);
        if release {
            table
                .work(Work::Release { off: 0, report: Report::default(), wait: None })
                .expect("it shuts down");
        } else {
            table.free(ME).expect("it died");
        }
        let (status, wake_at) = (table.chat().state.status, table.chat().head.wake_at);
        let expected = match release {
            true => (Status::Interrupting, Some(table.now)),
            false => (Status::Waiting, None),
        };
        assert_eq!((status, wake_at), expected, "a stop waits for nothing");
    }
}

#[test]
fn time_in_which_nobody_took_the_chat_up_is_not_time_spent_trying() {
    let mut table = Table::claimed();
    table.rules.retry.jitter = Jitter::NONE;
    let hour = Duration::from_secs(3_600);
    table.work(failed(Verdict::of(Kind::RateLimit).with_retry_after(hour))).expect("in the attempt");
    table.pass(hour * 3); // the fleet was down
    table.claim().expect("due");
    table.work(failed(Verdict::of(Kind::Overloaded))).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.failed", "the second attempt of 25, seconds of trying");
}

#[test]
fn time_in_which_nobody_took_a_released_chat_up_is_not_time_spent_trying() {
    let mut table = Table::claimed();
    table.rules.retry.jitter = Jitter::NONE;
    let wait = Duration::from_secs(30);
    table.work(failed(Verdict::of(Kind::RateLimit).with_retry_after(wait))).expect("in the attempt");
    table.pass(Duration::from_secs(3 * 3_600));
    table.claim().expect("due");
    table.work(failed(Verdict::of(Kind::Overloaded))).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.failed", "the second attempt of 25, seconds of trying");
}

#[test]
fn a_process_that_dies_in_a_wait_is_not_held_against_the_chat() {
    let mut table = Table::claimed();
    table.rules.hold_max = Duration::from_secs(600);
    for n in 0..6 {
        table
            .work(failed(Verdict::of(Kind::Timeout).with_retry_after(Duration::from_secs(9))))
            .expect("in the attempt");
        let op = table.op();
        table.made(Input::Free(op, Free { holder: ME }));
        assert_eq!(table.chat().state.status, Status::Running, "death {n}: each attempt ended by itself");
        table.pass(Duration::from_secs(100));
        table.claim().expect("due");
    }
}

#[test]
fn the_time_of_trying_begins_with_the_first_failure() {
    let mut table = Table::claimed();
    table.work(failed(Verdict::of(Kind::Timeout))).expect("in the attempt");
    // An older version: knows `failures`, keeps `retry` as an unknown field. It ends the turn and begins the next one.
    let mut chat = table.chat().clone();
    let retry = chat.state.retry;
    table.pass(Duration::from_secs(2));
    table.retry().expect("due");
    chat = table.chat().clone();
    chat.state.failures = 0;
    chat.state.retry = retry;
    table.chat = Some(chat);
    table.pass(Duration::from_secs(7_200));
    table.work(failed(Verdict::of(Kind::Timeout))).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.failed", "the first failure of the turn");
}

#[test]
fn a_success_and_the_end_of_a_turn_begin_the_count_anew() {
    // A step that succeeds.
    let mut table = Table::claimed();
    table.rules.retry.attempts_max = NonZeroU32::MIN.saturating_add(1);
    table.work(failed(Verdict::of(Kind::Timeout))).expect("in the attempt");
    table.retry().expect("waited for");
    let answer = table.answer(vec![call(1)], FinishReason::ToolCalls, Effect::Pure);
    table.work(answer).expect("it came");
    assert_eq!((table.chat().state.failures, table.chat().state.retry), (0, None));
    let results = table.results(&[0]);
    table.work(results).expect("it came");
    table.pass(Duration::from_secs(7_200));
    table.work(failed(Verdict::of(Kind::Timeout))).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.failed", "neither the failure nor the time before count");

    // A turn that was given up.
    table.retry().expect("waited for");
    table.work(failed(Verdict::of(Kind::Timeout))).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.failed chat.error");
    table.send(Busy::Queue).expect("accepted");
    table.claim().expect("due");
    assert!(matches!(table.last("attempt.started"), Body::AttemptStarted(started) if started.attempt == 1));
    table.work(failed(Verdict::of(Kind::Timeout))).expect("in the attempt");
    assert_eq!((table.last_commit().as_str(), table.chat().state.failures), ("attempt.failed", 1));
}

#[test]
fn an_attempt_that_fails_while_the_turn_is_stopped_is_not_tried_again() {
    let mut table = Table::claimed();
    table.interrupt(None).expect("running");
    table.work(failed(Verdict::of(Kind::Overloaded))).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.failed turn.ended");
    assert_eq!((table.chat().state.status, table.retry_at()), (Status::Waiting, None));

    let mut table = Table::claimed();
    table.interrupt(None).expect("running");
    let (report, next) = (Report { estimated: true, ..Report::default() }, table.next());
    let (content, model) = (vec![Part::text("half of it")], next.model.clone());
    let partial = Stopped { content, model, report: report.clone(), off: 10, results: Vec::new(), next };
    let verdict = Box::new(Verdict::of(Kind::Overloaded));
    table.work(Work::Failed { verdict, report, partial: Some(Box::new(partial)) }).expect("in the attempt");
    assert_eq!(table.last_commit(), "attempt.ended message.assistant turn.ended", "users saw it");
    assert!(matches!(table.last("attempt.ended"), Body::AttemptEnded(ended) if ended.estimated));
}

#[test]
fn what_a_failed_attempt_cost_is_kept() {
    let mut table = Table::claimed();
    let usage = Usage { input: Some(120), output: Some(7), ..Usage::default() };
    let verdict = Box::new(Verdict::of(Kind::Overloaded));
    let report = Report { usage, prices: Some(3), ..Report::default() };
    table.work(Work::Failed { verdict, report, partial: None }).expect("in the attempt");
    assert!(
        matches!(table.last("attempt.failed"), Body::AttemptFailed(failed) if failed.usage == usage && failed.prices == Some(3))
    );
}

#[test]
fn parked_times_add_up() {
    let mut table = Table::claimed();
    table.rules.retry.jitter = Jitter::NONE;
    let hour = Duration::from_secs(3_600);
    for n in 0..5 {
        table.work(failed(Verdict::of(Kind::RateLimit).with_retry_after(hour))).expect("in the attempt");
        assert_eq!(table.last_commit(), "attempt.failed freed", "wait {n}: not a minute of trying");
        table.pass(hour);
        table.claim().expect("due");
    }
}

#[test]
fn whoever_gives_a_chat_up_for_a_wait_is_fenced() {
    let mut table = Table::claimed();
    let before = table.fence();
    table
        .work(failed(Verdict::of(Kind::RateLimit).with_retry_after(Duration::from_secs(60))))
        .expect("in the attempt");
    let Body::Freed(freed) = table.last("freed") else { panic!("of that kind") };
    assert_eq!((freed.epoch, table.chat().state.epoch), (before.epoch.next(), before.epoch.next()));
}

#[test]
fn two_chats_that_fail_together_do_not_come_back_together() {
    let due = |ids| {
        let mut table = Table::claimed();
        table.ids = ids;
        table.work(failed(Verdict::of(Kind::Overloaded))).expect("in the attempt");
        table.retry_at()
    };
    assert_ne!(due(1_000), due(2_000));
    assert_eq!(due(1_000), due(1_000), "and each in its own way, always the same");
}

#[test]
fn a_chat_that_was_not_even_asked_waits_without_a_failure() {
    let mut table = Table::claimed();
    let hours = Duration::from_secs(2 * 3_600);
    table.work(Work::Release { off: 0, report: Report::default(), wait: Some(hours) }).expect("at the gate");
    assert_eq!(table.last_commit(), "freed attempt.ended");
    let due = table.now.after(hours);
    assert_eq!((table.chat().head.holder, table.chat().head.wake_at), (None, Some(due)));
    assert_eq!((table.retry_at(), table.chat().state.failures), (Some(due), 0));
    table.pass(hours);
    table.claim().expect("due");
    assert!(matches!(table.last("attempt.started"), Body::AttemptStarted(started) if started.attempt == 1));
    // A stop does not wait for it.
    table.interrupt(None).expect("running");
    table.work(Work::Release { off: 0, report: Report::default(), wait: Some(hours) }).expect("at the gate");
    assert_eq!(table.chat().head.wake_at, Some(table.now));
}
