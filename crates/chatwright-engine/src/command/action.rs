use std::collections::BTreeSet;

use chatwright_core::OpId;
use chatwright_core::head::{CallKind, OpenCall, Status};
use chatwright_core::record::{ActionDecided, CallResult, Decision, ResultOrigin};

use super::done;
use crate::change::Change;
use crate::input::{Decide, Submit, synthetic};
use crate::step::Step;
use crate::{NotDone, Refused};

/// Results of the client's tools: exactly one for each call that waits for the client.
pub(super) fn submit(mut change: Change<'_>, op: OpId, submit: &Submit) -> Result<Step, NotDone> {
    let open = change.state.calls.iter().filter(|call| call.kind == CallKind::Client);
    let open: BTreeSet<u32> = open.map(|call| call.ordinal).collect();
    let mut given = BTreeSet::new();
    for (ordinal, _) in &submit.results {
        let what = match () {
            () if !open.contains(ordinal) => format!("call {ordinal} does not wait for the client"),
            () if !given.insert(*ordinal) => format!("call {ordinal} has two results"),
            () => continue,
        };
        return Err(Refused::Invalid { what }.into());
    }
    if let Some(missing) = open.difference(&given).next() {
        return Err(Refused::Invalid { what: format!("call {missing} has no result") }.into());
    }
    if open.is_empty() {
        return Err(Refused::Invalid { what: "no call waits for the client".to_owned() }.into());
    }
    let seq = change.next_seq();
    let result = |(ordinal, output): &(u32, _)| CallResult {
        ordinal: *ordinal,
        output: Clone::clone(output),
        origin: ResultOrigin::Tool,
    };
    change.results_of_command(submit.results.iter().map(result).collect(), submit.key)?;
    change.go_on_after_action();
    done(change, op, submit.key, seq)
}

pub(super) fn decide(mut change: Change<'_>, op: OpId, decide: &Decide) -> Result<Step, NotDone> {
    let waits = |call: &&OpenCall| call.kind == CallKind::Approval && call.ordinal == decide.ordinal;
    let Some(message) = change.state.calls_in.filter(|_| change.state.calls.iter().find(waits).is_some())
    else {
        return Err(Refused::NotFound { what: "call that waits for a decision" }.into());
    };
    if let Decision::Approve { input: Some(input) } = &decide.decision
        && !serde_json::from_str::<serde_json::Value>(input).is_ok_and(|input| input.is_object())
    {
        return Err(Refused::Invalid { what: "the arguments are not a JSON object".to_owned() }.into());
    }
    let (ordinal, by, key) = (decide.ordinal, decide.by.clone(), decide.key);
    let seq = change.push(ActionDecided { message, ordinal, decision: decide.decision.clone(), by, key })?;
    match &decide.decision {
        Decision::Approve { .. } => approve(&mut change, ordinal),
        Decision::Deny { reason } => {
            let reason = reason.as_deref().map_or(String::new(), |reason| format!(" They say: {reason}"));
            let words = format!("The call was not approved, and was not run.{reason}");
            change.results(vec![synthetic(ordinal, ResultOrigin::Refused, &words)])?;
        }
        _ => return Err(Refused::Invalid { what: "a decision of a newer version".to_owned() }.into()),
    }
    change.go_on_after_action();
    done(change, op, decide.key, seq)
}

/// The holder may run it now.
fn approve(change: &mut Change<'_>, ordinal: u32) {
    for call in change.state.calls.iter_mut().filter(|call| call.ordinal == ordinal) {
        (call.kind, call.deadline) = (CallKind::Local, None);
    }
}

/// Deadlines that have passed: the client's calls are answered in its place, approvals are denied.
pub(crate) fn expire(mut change: Change<'_>) -> Result<Step, NotDone> {
    let now = change.context.now;
    if change.state.status != Status::RequiresAction {
        return Err(NotDone::Stale);
    }
    let late = |call: &&OpenCall| call.deadline.is_some_and(|deadline| deadline <= now);
    let late: Vec<OpenCall> = change.state.calls.iter().filter(late).cloned().collect();
    let Some(message) = change.state.calls_in.filter(|_| !late.is_empty()) else {
        return Err(NotDone::Stale);
    };
    for call in late.iter().filter(|call| call.kind == CallKind::Approval) {
        let decision = Decision::Deny { reason: None };
        change.push(ActionDecided { message, ordinal: call.ordinal, decision, by: None, key: None })?;
    }
    let result = |call: &OpenCall| {
        let words = match call.kind {
            CallKind::Approval => "Nobody approved the call in time, and it was not run.",
            _ => "The client gave no result in time.",
        };
        synthetic(call.ordinal, ResultOrigin::TimedOut, words)
    };
    change.results(late.iter().map(result).collect())?;
    change.go_on_after_action();
    change.done(None)
}
