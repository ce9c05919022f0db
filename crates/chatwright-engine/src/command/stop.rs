use chatwright_core::head::Status;
use chatwright_core::record::{FreeReason, Freed, InterruptRequested, Outcome, StopReason};
use chatwright_core::{OpId, SessionId};

use super::done;
use crate::change::{Change, Runner};
use crate::input::{Interrupt, TurnEnd};
use crate::step::Step;
use crate::table::{Act, Phase};
use crate::{Chat, NotDone};

pub(super) fn interrupt(
    mut change: Change<'_>,
    chat: &Chat,
    op: OpId,
    interrupt: &Interrupt,
) -> Result<Step, NotDone> {
    if chat.state.status == Status::Interrupting && has_holder(&change, interrupt.dead) {
        // Its holder was told.
        let phase = Phase::of(Some(chat)).unwrap_or(Phase::I0);
        return Err(Act::Interrupt.wrong_state(phase).into());
    }
    let seq = change.push(InterruptRequested { by: interrupt.by.clone(), key: interrupt.key })?;
    stop(&mut change, interrupt.dead)?;
    done(change, op, interrupt.key, seq)
}

/// A live holder is told and ends the turn itself; otherwise it ends here, because nobody else would for a while.
pub(super) fn stop(change: &mut Change<'_>, dead: Option<SessionId>) -> Result<(), NotDone> {
    if has_holder(change, dead) {
        change.state.status = Status::Interrupting;
        return Ok(());
    }
    if let Some(session) = change.holder.take() {
        let epoch = change.next_epoch();
        change.push(Freed { session, epoch, reason: FreeReason::Died })?;
    }
    let off = change.state.last_off;
    change.seal_open(Outcome::Aborted, off)?;
    change.state.status = Status::Interrupting;
    change.end_turn(TurnEnd::Stop(StopReason::Interrupted), Runner::Nobody)
}

/// Whether somebody holds the chat who is not known to be dead.
fn has_holder(change: &Change<'_>, dead: Option<SessionId>) -> bool {
    change.holder.is_some() && change.holder != dead
}
