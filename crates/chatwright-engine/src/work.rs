use std::time::Duration;

use chatwright_core::head::{CallKind, Compact, OpenCall, Retrying, Squeezed, Status, UnitKind};
use chatwright_core::model::FinishReason;
use chatwright_core::record::{
    AttemptEnded, AttemptFailed, BatchEnded, Claimed, CompactionTrigger, ContextCompacted, ErrorInfo,
    FreeReason, Freed, MessageAssistant, Outcome, ResultOrigin, StopReason, Watched,
};
use chatwright_core::tool::Effect;
use chatwright_core::{SessionId, limits};
use chatwright_error::{Advice, Verdict};
use chatwright_retry::{Decision, decide};

use crate::change::{Change, Runner, poisoned, unknown_outcome};
use crate::history::{calls, says_something};
use crate::input::{
    Answer, Claim, Compacted, Fence, Free, Next, Plan, Report, Stopped, TurnEnd, Work, synthetic,
};
use crate::step::Step;
use crate::table::{Act, Phase};
use crate::{Chat, NotDone};

/// A session takes a chat that is due and has no holder, and goes on where the log stopped.
pub(crate) fn claim(mut change: Change<'_>, chat: &Chat, claim: &Claim) -> Result<Step, NotDone> {
    current(Act::Claim, chat)?;
    let due = chat.head.wake_at.is_some_and(|wake_at| wake_at <= change.context.now);
    if chat.head.holder.is_some() || !due || claim.calls_in != chat.state.calls_in {
        return Err(NotDone::Stale);
    }
    let (session, next) = (claim.session, &claim.next);
    if let Some(retry) = &mut change.state.retry
        && let Some(at) = retry.at
    {
        // Nobody tried while nobody took it.
        retry.parked_ms = retry.parked_ms.saturating_add(ms(change.context.now.since(at)));
    }
    let epoch = change.next_epoch();
    change.push(Claimed { session, epoch })?;
    change.holder = Some(session);
    change.wake_at = Some(change.context.now.after(change.context.rules.watchdog));
    // What a dead holder had started: once is never twice.
    let lost =
        change.state.calls.iter().filter(|call| call.started.is_some() && call.effect == Some(Effect::Once));
    let lost = lost.map(|call| unknown_outcome(call.ordinal)).collect();
    change.results(lost)?;
    if change.state.status == Status::Interrupting {
        change.end_turn(TurnEnd::Stop(StopReason::Interrupted), Runner::Holder(session, next))?;
    } else if let Some(message) = change.state.calls_in {
        // What may run twice is started again, with the same key; for the others the chat waits.
        change.state.calls.iter_mut().for_each(|call| call.started = None);
        change.start_batch(session, message, &claim.plan, next)?;
    } else {
        change.go_on(session, next)?;
    }
    change.done(None)
}

/// `Err` iff nothing that the input could be about is under way.
fn current(act: Act, chat: &Chat) -> Result<(), NotDone> {
    let phase = Phase::of(Some(chat)).ok_or(NotDone::Stale)?;
    if act.outcomes(phase).is_empty() { Err(NotDone::Stale) } else { Ok(()) }
}

/// A chat is taken from a session that is not live. Its open gen is sealed: what only its writer had is lost.
pub(crate) fn free(mut change: Change<'_>, chat: &Chat, free: Free) -> Result<Step, NotDone> {
    if chat.head.holder != Some(free.holder) {
        return Err(NotDone::Stale);
    }
    let epoch = change.next_epoch();
    change.push(Freed { session: free.holder, epoch, reason: FreeReason::Died })?;
    change.seal_open(Outcome::WriterLost, 0)?;
    change.holder = None;
    if change.state.status == Status::Interrupting {
        // Nobody is left to wait for.
        change.end_turn(TurnEnd::Stop(StopReason::Interrupted), Runner::Nobody)?;
        return change.done(None);
    }
    change.wait_for_claim();
    change.state.deaths += 1;
    if change.state.deaths >= change.context.rules.deaths_max {
        let deaths = change.state.deaths;
        change.end_turn(TurnEnd::Error(poisoned(deaths)), Runner::Nobody)?;
    }
    change.done(None)
}

/// A holder did something.
pub(crate) fn work(mut change: Change<'_>, chat: &Chat, fence: Fence, work: &Work) -> Result<Step, NotDone> {
    let open = chat.state.open.as_ref();
    let mine = chat.head.holder == Some(fence.session) && chat.state.epoch == fence.epoch;
    if !mine || open.map(|open| open.r#gen) != fence.r#gen {
        return Err(NotDone::Stale);
    }
    let kind = open.map(|open| open.kind);
    current(work.act(), chat)?;
    match (work, kind) {
        (Work::Answered(answer), Some(UnitKind::Attempt)) => answered(&mut change, fence, answer)?,
        (Work::Compacted(compacted), Some(UnitKind::Compaction)) => {
            self::compacted(&mut change, fence.session, compacted)?;
        }
        (Work::Failed { partial: Some(partial), .. }, Some(kind))
            if change.state.status == Status::Interrupting =>
        {
            stopped(&mut change, fence.session, kind, partial)?;
        }
        (Work::Failed { verdict, report, partial }, Some(kind)) => {
            let next = partial.as_ref().map(|partial| &partial.next);
            failed(&mut change, fence.session, kind, verdict, report, next)?;
        }
        (Work::Full { next }, Some(UnitKind::Attempt)) if change.state.squeezed.is_none() => {
            change.seal_open(Outcome::Discarded, 0)?;
            change.state.compact.get_or_insert(Compact::Full);
            change.go_on(fence.session, next)?;
        }
        (Work::Retry { next }, None) if change.state.retry.is_some() => change.go_on(fence.session, next)?,
        (Work::Results { results, off, plan, next }, Some(UnitKind::Batch)) => {
            let before = change.next_seq();
            change.results(results.clone())?;
            if change.next_seq() == before {
                // None of them is about a call that is open.
                return Err(NotDone::Stale);
            }
            change.state.deaths = 0;
            if !change.has_local_calls() {
                seal_batch(&mut change, Outcome::Committed, *off)?;
                change.after_calls(fence.session, next)?;
            } else if change.state.status != Status::Interrupting {
                change.start_calls(plan)?;
            }
        }
        (Work::Stopped(partial), Some(kind)) if change.state.status == Status::Interrupting => {
            stopped(&mut change, fence.session, kind, partial)?;
        }
        (Work::Repaired(repaired), Some(UnitKind::Attempt | UnitKind::Compaction)) => {
            if change.context.history.has_repairs(repaired) {
                return Err(NotDone::Stale);
            }
            change.push(repaired.clone())?;
        }
        (Work::Watch, _) => {
            let until = change.context.now.after(change.context.rules.watchdog);
            change.wake_at = Some(until);
            change.push(Watched { until })?;
        }
        (Work::Release { off, report, wait }, _) => {
            if let Some(wait) = *wait
                && change.state.status != Status::Interrupting
            {
                let now = change.context.now;
                let retry = change.state.retry.get_or_insert(Retrying::since(now));
                (retry.parked_ms, retry.at) =
                    (retry.parked_ms.saturating_add(ms(wait)), Some(now.after(wait)));
            }
            let epoch = change.next_epoch();
            change.push(Freed { session: fence.session, epoch, reason: FreeReason::Released })?;
            change.cut_off(Outcome::HandedOff, *off, report)?;
            change.wait_for_claim();
        }
        _ => return Err(NotDone::Stale),
    }
    change.done(None)
}

/// An attempt that may be tried again waits for it, and one whose prompt was too large for a summary; otherwise the turn ends
/// with an error. The next turn, if a message waits, is for whoever claims the chat.
fn failed(
    change: &mut Change<'_>,
    session: SessionId,
    kind: UnitKind,
    verdict: &Verdict,
    report: &Report,
    next: Option<&Next>,
) -> Result<(), NotDone> {
    let r#gen = change.state.last_gen;
    let error = ErrorInfo::from(verdict);
    if kind == UnitKind::Batch {
        change.answer_open_calls("The call has no result: it could not be stored.")?;
        seal_batch(change, Outcome::Discarded, 0)?;
    } else {
        change.state.open = None;
        let goes_on = change.state.status != Status::Interrupting;
        let squeeze = next.filter(|_| goes_on && kind == UnitKind::Attempt && too_large(change, verdict));
        let wait = if goes_on && squeeze.is_none() { next_attempt(change, verdict) } else { None };
        let failures = change.state.failures + 1;
        let delay = wait.map(|wait| wait.delay).or(squeeze.map(|_| Duration::ZERO));
        let delay_ms = delay.map(ms);
        let retry_at = delay.map(|delay| change.context.now.after(delay));
        let (error, &Report { usage, estimated, prices, .. }) = (error.clone(), report);
        change.push(AttemptFailed {
            r#gen,
            error,
            failures,
            retry_at,
            delay_ms,
            usage,
            estimated,
            prices,
        })?;
        if let Some(wait) = wait {
            (change.state.failures, change.state.retry) = (failures, Some(wait.retry));
            // The attempt ended by itself: whoever ran it came through.
            change.state.deaths = 0;
            return wait_to_retry(change, session, wait.delay);
        }
        // The turn goes on without the summary that would only have helped.
        let spared = next.filter(|_| goes_on && change.state.compact == Some(Compact::Full));
        if let Some(next) = squeeze.or(spared.filter(|_| kind == UnitKind::Compaction)) {
            (change.state.failures, change.state.retry, change.state.deaths) = (0, None, 0);
            (change.state.compact, change.state.squeezed) = match squeeze {
                Some(_) => (Some(Compact::TooLarge), change.state.squeezed),
                None => (None, Some(Squeezed::Failed)),
            };
            return change.go_on(session, next);
        }
    }
    let end = match change.state.status {
        Status::Interrupting => TurnEnd::Stop(StopReason::Interrupted),
        _ => TurnEnd::Error(error),
    };
    change.end_turn(end, Runner::Nobody)
}

/// Whether a summary would help: there was none since the last answer.
fn too_large(change: &Change<'_>, verdict: &Verdict) -> bool {
    verdict.advice == Advice::CompactThenRetry && change.state.squeezed != Some(Squeezed::Done)
}

/// A wait for the next attempt.
#[derive(Clone, Copy)]
struct Wait {
    delay: Duration,
    retry: Retrying,
}

/// Whether and when there is another attempt.
fn next_attempt(change: &Change<'_>, verdict: &Verdict) -> Option<Wait> {
    let now = change.context.now;
    let Retrying { since, parked_ms, .. } =
        change.state.retry.filter(|_| change.state.failures > 0).unwrap_or(Retrying::since(now));
    let history = chatwright_retry::History {
        failures: change.state.failures,
        began: since.into(),
        parked: Duration::from_millis(parked_ms),
        seed: change.seed(),
    };
    let (at, delay, parked) = match decide(&history, verdict, &change.context.rules.retry, now.into()) {
        Decision::RetryAt { at, delay, .. } => (at, delay, Duration::ZERO),
        Decision::Park { until, delay, .. } => (until, delay, delay),
        Decision::GiveUp(_) => return None,
    };
    let parked_ms = parked_ms.saturating_add(ms(parked));
    Some(Wait { delay, retry: Retrying { since, parked_ms, at: Some(at.into()) } })
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A short wait is slept through by the holder; for a long one nobody holds the chat.
fn wait_to_retry(change: &mut Change<'_>, session: SessionId, delay: Duration) -> Result<(), NotDone> {
    if delay > change.context.rules.hold_max {
        let epoch = change.next_epoch();
        change.push(Freed { session, epoch, reason: FreeReason::Released })?;
        change.wait_for_claim();
    }
    Ok(())
}

fn seal_batch(change: &mut Change<'_>, outcome: Outcome, off: u64) -> Result<(), NotDone> {
    change.state.open = None;
    change.state.last_off = off;
    let r#gen = change.state.last_gen;
    change.push(BatchEnded { r#gen, outcome, off })?;
    Ok(())
}

/// The answer is stored whole. Its calls are run, unless the answer was cut or the turn is being stopped.
fn answered(change: &mut Change<'_>, fence: Fence, answer: &Answer) -> Result<(), NotDone> {
    let message = change.state.open.as_ref().and_then(|open| open.message).ok_or(NotDone::Stale)?;
    let r#gen = change.state.last_gen;
    change.seal_attempt(AttemptEnded {
        r#gen,
        outcome: Outcome::Committed,
        off: answer.off,
        finish: Some(answer.finish),
        usage: answer.report.usage,
        estimated: answer.report.estimated,
        prices: answer.report.prices,
        warnings: answer.report.warnings.clone(),
    })?;
    (change.state.failures, change.state.retry, change.state.deaths) = (0, None, 0);
    change.state.steps += 1;
    change.state.squeezed = change.state.squeezed.filter(|squeezed| *squeezed != Squeezed::Done);
    if !answer.content.is_empty() {
        change.assistant_message(MessageAssistant {
            id: message,
            r#gen,
            content: answer.content.clone(),
            model: answer.model.clone(),
            interrupted: false,
            response_id: answer.response_id.clone(),
        })?;
    }
    open_calls(change, message, answer)?;
    let (session, next) = (fence.session, &answer.next);
    let reason = match answer.finish {
        _ if change.state.status == Status::Interrupting => Some(StopReason::Interrupted),
        _ if answer.output_limit => Some(StopReason::OutputLimit),
        FinishReason::Length => Some(StopReason::Length),
        FinishReason::ContentFilter => Some(StopReason::ContentFilter),
        _ if answer.content.is_empty() => Some(StopReason::Empty),
        _ if change.state.calls_in.is_some() || !answer.plan.is_empty() => None,
        FinishReason::Pause => None,
        // Thoughts alone are nothing that anybody asked for.
        _ if !says_something(&answer.content) => Some(StopReason::Empty),
        _ => Some(StopReason::Complete),
    };
    match reason {
        Some(reason) => change.end_turn(TurnEnd::Stop(reason), Runner::Holder(session, next)),
        None => change.start_batch(session, message, &answer.plan, next),
    }
}

/// The calls of an answer become open. Those over the bound of one step get their answer at once.
fn open_calls(
    change: &mut Change<'_>,
    message: chatwright_core::MessageId,
    answer: &Answer,
) -> Result<(), NotDone> {
    let all: Vec<u32> = calls(&answer.content).map(|call| call.ordinal).collect();
    let (open, over) = all.split_at(all.len().min(limits::OPEN_CALLS_MAX));
    let plan =
        |ordinal| answer.plan.iter().find(|planned| planned.ordinal == ordinal).map(|found| &found.plan);
    let kind = |ordinal| match plan(ordinal) {
        Some(Plan::Client) => CallKind::Client,
        Some(Plan::Run { approval: true, .. }) => CallKind::Approval,
        _ => CallKind::Local,
    };
    let blank = |&ordinal: &u32| OpenCall {
        ordinal,
        kind: kind(ordinal),
        effect: None,
        started: None,
        deadline: None,
        stop_after: matches!(plan(ordinal), Some(Plan::Run { stop_after: true, .. })),
    };
    change.state.calls = open.iter().map(blank).collect();
    change.state.calls_in = (!open.is_empty()).then_some(message);
    if !over.is_empty() {
        let words = format!("The call was not run: a step may have {} calls.", limits::OPEN_CALLS_MAX);
        let results = over.iter().map(|&ordinal| synthetic(ordinal, ResultOrigin::Refused, &words)).collect();
        change.push_results(message, results, None)?;
    }
    Ok(())
}

/// The summary takes the place of what it covers.
fn compacted(change: &mut Change<'_>, session: SessionId, compacted: &Compacted) -> Result<(), NotDone> {
    let r#gen = change.state.last_gen;
    let outcome = if compacted.summary.is_some() { Outcome::Committed } else { Outcome::Discarded };
    change.seal_attempt(AttemptEnded {
        r#gen,
        outcome,
        off: compacted.off,
        finish: None,
        usage: compacted.report.usage,
        estimated: compacted.report.estimated,
        prices: compacted.report.prices,
        warnings: compacted.report.warnings.clone(),
    })?;
    (change.state.failures, change.state.retry, change.state.deaths) = (0, None, 0);
    if let Some(summary) = &compacted.summary {
        let seq = change.push(ContextCompacted {
            previous: change.context.history.last_compaction(),
            covers_to: summary.covers_to,
            from: summary.from,
            trigger: Some(match change.state.compact {
                Some(Compact::Full) => CompactionTrigger::Full,
                Some(Compact::TooLarge) => CompactionTrigger::TooLarge,
                _ => CompactionTrigger::Requested,
            }),
            summary: summary.content.clone(),
            said: summary.said.clone(),
            tokens_before: summary.tokens_before,
            tokens_after: summary.tokens_after,
        })?;
        (change.state.context_from, change.state.anchor) = (summary.from, Some(seq));
    }
    match change.state.compact.take() {
        Some(Compact::Rest) if change.state.status != Status::Interrupting => {
            change.end_turn(TurnEnd::Stop(StopReason::Compacted), Runner::Holder(session, &compacted.next))
        }
        compact => {
            // Where there was nothing that it could stand for, a provider that takes no such prompt may still have it made smaller.
            change.state.squeezed = match compact {
                _ if compacted.summary.is_some() => Some(Squeezed::Done),
                Some(Compact::TooLarge) => Some(Squeezed::Done),
                Some(Compact::Full) => Some(Squeezed::Failed),
                _ => change.state.squeezed,
            };
            change.go_on(session, &compacted.next)
        }
    }
}

/// The turn was stopped: what had come is kept.
fn stopped(
    change: &mut Change<'_>,
    session: SessionId,
    kind: UnitKind,
    stopped: &Stopped,
) -> Result<(), NotDone> {
    let r#gen = change.state.last_gen;
    if kind == UnitKind::Batch {
        change.results(stopped.results.clone())?;
        change.answer_open_calls("The call was cancelled: the user stopped the turn.")?;
        seal_batch(change, Outcome::Interrupted, stopped.off)?;
    } else {
        let message = change.state.open.as_ref().and_then(|open| open.message);
        change.seal_attempt(AttemptEnded {
            r#gen,
            outcome: Outcome::Interrupted,
            off: stopped.off,
            finish: None,
            usage: stopped.report.usage,
            estimated: stopped.report.estimated,
            prices: stopped.report.prices,
            warnings: stopped.report.warnings.clone(),
        })?;
        if let (Some(id), false, UnitKind::Attempt) = (message, stopped.content.is_empty(), kind) {
            change.assistant_message(MessageAssistant {
                id,
                r#gen,
                content: stopped.content.clone(),
                model: stopped.model.clone(),
                interrupted: true,
                response_id: None,
            })?;
        }
    }
    change.end_turn(TurnEnd::Stop(StopReason::Interrupted), Runner::Holder(session, &stopped.next))
}
