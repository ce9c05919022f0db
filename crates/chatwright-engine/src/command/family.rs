use chatwright_core::OpId;
use chatwright_core::head::{Archiving, Status};
use chatwright_core::record::{ChatArchiving, ChatUnarchived, ChildAdded, InterruptRequested};

use super::done;
use super::stop::stop;
use crate::change::Change;
use crate::input::{Archive, Join, Scope, Unarchive};
use crate::step::Step;
use crate::table::{Act, Phase};
use crate::{Chat, NotDone, Refused};

pub(super) fn join(mut change: Change<'_>, chat: &Chat, op: OpId, join: Join) -> Result<Step, NotDone> {
    must_be_root(chat)?;
    let seq = change.push(ChildAdded { child: join.child })?;
    change.state.children = change.state.children.saturating_add(1);
    change.state.first_child.get_or_insert(seq);
    done(change, op, None, seq)
}

/// A chat without other members is archived at once, if it is at rest or comes to rest here. A root with members is marked, and
/// archived when they are. A chat whose holder lives is marked, told, and archives itself when it ends its turn.
pub(super) fn archive(
    mut change: Change<'_>,
    chat: &Chat,
    op: OpId,
    archive: Archive,
) -> Result<Step, NotDone> {
    let at_rest = |status| matches!(status, Status::Waiting | Status::Error);
    if archive.scope == Scope::Member {
        if chat.head.index.root.is_none() {
            return Err(Refused::Invalid { what: "the chat is the root of its family".to_owned() }.into());
        }
    } else {
        must_be_root(chat)?;
    }
    let members = archive.scope == Scope::Family && chat.state.children > 0;
    if archive.scope == Scope::Rest && !(at_rest(chat.state.status) && chat.state.archiving.is_some()) {
        let phase = Phase::of(Some(chat)).unwrap_or(Phase::W);
        return Err(Act::ArchiveRest.wrong_state(phase).into());
    }
    let seq = change.push(ChatArchiving { stop: archive.stop, key: archive.key })?;
    // What another archiving may stop, it may.
    let may_stop = archive.stop || chat.state.archiving.is_some_and(|archiving| archiving.stop);
    change.state.archiving = Some(Archiving { stop: may_stop });
    change.members_archived = !members;
    if at_rest(chat.state.status) {
        change.come_to_rest()?;
    } else {
        change.hold_queue()?;
        change.push(InterruptRequested { by: None, key: None })?;
        stop(&mut change, archive.dead)?;
    }
    done(change, op, archive.key, seq)
}

pub(super) fn unarchive(
    mut change: Change<'_>,
    chat: &Chat,
    op: OpId,
    unarchive: Unarchive,
) -> Result<Step, NotDone> {
    if !unarchive.member {
        must_be_root(chat)?;
    }
    if !chat.head.index.archived && chat.state.archiving.is_none() {
        let phase = Phase::of(Some(chat)).unwrap_or(Phase::W);
        return Err(Act::Unarchive.wrong_state(phase).into());
    }
    let seq = change.push(ChatUnarchived { key: unarchive.key })?;
    change.index.archived = false;
    change.state.archiving = None;
    if matches!(chat.state.status, Status::Waiting | Status::Error) {
        change.wake_at = None;
    }
    done(change, op, unarchive.key, seq)
}

fn must_be_root(chat: &Chat) -> Result<(), Refused> {
    match chat.head.index.root {
        None => Ok(()),
        Some(root) => {
            let what = format!("the chat is a member of the family of {root}, and only that is archived");
            Err(Refused::Invalid { what })
        }
    }
}
