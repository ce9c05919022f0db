use chatwright_core::OpId;
use chatwright_core::head::{Compact as Then, Status};
use chatwright_core::record::{ChatChanged, CompactionRequested, ContextCleared};

use super::{check_model, done, run};
use crate::change::Change;
use crate::input::{Clear, Compact, Set};
use crate::step::Step;
use crate::{NotDone, Refused};

/// At rest it is run for it; while a turn runs or waits it comes before the next answer.
pub(super) fn compact(mut change: Change<'_>, op: OpId, compact: &Compact) -> Result<Step, NotDone> {
    let seq = change.push(CompactionRequested { by: compact.by.clone(), key: compact.key })?;
    match change.state.status {
        Status::Waiting | Status::Error => {
            change.state.compact = Some(Then::Rest);
            run(&mut change);
        }
        _ => {
            change.state.compact.get_or_insert(Then::GoOn);
        }
    }
    done(change, op, compact.key, seq)
}

pub(super) fn clear(mut change: Change<'_>, op: OpId, clear: Clear) -> Result<Step, NotDone> {
    if change.state.context_from == change.next_seq() {
        return Err(Refused::Invalid { what: "there is nothing to clear".to_owned() }.into());
    }
    let from = change.next_seq().next();
    let seq = change.push(ContextCleared { from, key: clear.key })?;
    (change.state.context_from, change.state.anchor) = (from, Some(seq));
    // What waits in the queue after an error still waits for its user.
    let waits = change.state.queue.iter().any(|entry| !entry.held);
    if change.state.status == Status::Error && !waits {
        (change.state.status, change.state.last) = (Status::Waiting, None);
    }
    done(change, op, clear.key, seq)
}

/// Nothing of what the chat does, who holds it or when it runs changes, nor when its content last changed.
pub(super) fn set(mut change: Change<'_>, op: OpId, set: &Set) -> Result<Step, NotDone> {
    check_model(set.model.as_deref())?;
    let (title, labels, model) = (set.title.clone(), set.labels.clone(), set.model.clone());
    if title.is_none() && labels.is_none() && model.is_none() && set.effort.is_none() {
        return Err(Refused::Invalid { what: "nothing is to be set".to_owned() }.into());
    }
    if set.generated && change.state.titled {
        return Err(Refused::Invalid { what: "the chat has had a title".to_owned() }.into());
    }
    let changed = ChatChanged {
        title: title.clone(),
        generated: set.generated,
        labels: labels.clone(),
        model: model.clone(),
        effort: set.effort,
        key: set.key,
    };
    let seq = change.push(changed)?;
    if let Some(title) = title {
        (change.index.title, change.state.titled) = (title, true);
    }
    if let Some(labels) = labels {
        change.index.labels = labels;
    }
    if model.is_some() {
        change.state.model = model;
    }
    change.state.effort = set.effort.or(change.state.effort);
    done(change, op, set.key, seq)
}
