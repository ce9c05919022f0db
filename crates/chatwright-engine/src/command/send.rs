use chatwright_core::head::{QueueEntry, Status};
use chatwright_core::record::{
    FreeReason, Freed, HistoryCut, InterruptRequested, MessageUser, Outcome, QueueAdded, QueueRemoved,
};
use chatwright_core::text::TooLarge;
use chatwright_core::{OpId, Seq, limits};

use super::stop::stop;
use super::{check_content, check_model, remember, run};
use crate::change::Change;
use crate::history::Item;
use crate::input::{Busy, Edit, Send, hash_of};
use crate::step::{Receipt, Step};
use crate::{Chat, NotDone, Refused};

pub(super) fn send(mut change: Change<'_>, chat: &Chat, op: OpId, send: &Send) -> Result<Step, NotDone> {
    let bytes = check_content(&send.content)?;
    check_model(send.model.as_deref())?;
    let message = MessageUser {
        id: send.message,
        content: send.content.clone(),
        author: send.author.clone(),
        model: send.model.clone(),
        effort: send.effort,
        queued: None,
        key: send.key,
    };
    let at_rest = matches!(chat.state.status, Status::Waiting | Status::Error);
    if at_rest && (!chat.has_promotable() || send.busy == Busy::Now) {
        let seq = change.next_seq();
        change.user_message(message)?;
        run(&mut change);
        remember(&mut change.state, send.key, seq);
        let message = Some(send.message);
        return change.done(Some(Receipt { op, seq, message, queued: None, position: None }));
    }
    let queue = &chat.state.queue;
    if queue.len() >= limits::QUEUE_MAX {
        return Err(Refused::QueueFull { max: limits::QUEUE_MAX }.into());
    }
    let waiting = queue.iter().map(|entry| u64::from(entry.bytes)).sum();
    check_queue(waiting, bytes, change.context.rules.queue_bytes_max)?;
    let position = u32::try_from(queue.len()).unwrap_or(u32::MAX);
    change.queued = Some((send.queue, message.clone()));
    let seq = change.push(QueueAdded { id: send.queue, message, position, held: false })?;
    change.state.queue.push(QueueEntry { seq, id: send.queue, edited: None, bytes, held: false });
    remember(&mut change.state, send.key, seq);
    if at_rest {
        // An error with a queue: first in, first out. The old head runs now.
        let promoted = change.fresh_message_id();
        change.promote(promoted)?;
        run(&mut change);
    } else if send.busy == Busy::Interrupt {
        change.push(InterruptRequested { by: send.author.clone(), key: None })?;
        stop(&mut change, send.dead)?;
    }
    change.done(Some(Receipt {
        op,
        seq,
        message: Some(send.message),
        queued: Some(send.queue),
        position: Some(position),
    }))
}

/// `Err` iff the queue would hold more bytes than it may.
pub(super) fn check_queue(waiting: u64, bytes: u32, max: u64) -> Result<(), Refused> {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Ok(TooLarge::check_bytes("queue", size(waiting.saturating_add(u64::from(bytes))), size(max))?)
}

pub(super) fn edit(mut change: Change<'_>, chat: &Chat, op: OpId, edit: &Edit) -> Result<Step, NotDone> {
    check_content(&edit.content)?;
    check_model(edit.model.as_deref())?;
    let history = change.context.history;
    // What is shown from where on was said by a record that stays, or else by an older one.
    let anchor_stays = chat.state.anchor.is_some_and(|anchor| anchor < edit.seq);
    let first = if anchor_stays { chat.state.context_from } else { Seq::new(1) };
    if history.first() > first || history.through() < chat.head.last_seq {
        return Err(NotDone::History(first));
    }
    let original = match history.items().iter().find(|(seq, _)| *seq == edit.seq) {
        Some((_, Item::User(original))) => original,
        Some(_) => {
            let what = format!("record {} is no message of a user, and only those are edited", edit.seq);
            return Err(Refused::Invalid { what }.into());
        }
        None => return Err(Refused::NotFound { what: "message in history" }.into()),
    };
    let model = edit.model.clone().or_else(|| original.model.clone());
    let effort = edit.effort.or(original.effort);
    if !anchor_stays {
        let before = history.anchor_before(edit.seq);
        change.state.context_from = before.map_or(Seq::new(1), |(from, _)| from);
        change.state.anchor = before.map(|(_, anchor)| anchor);
    }
    let content_hash = edit.key.map(|_| hash_of(&edit.content));
    let seq = change.push(HistoryCut {
        from: edit.seq,
        message: Some(edit.message),
        content_hash,
        key: edit.key,
    })?;
    remember(&mut change.state, edit.key, seq);
    displace(&mut change)?;
    // They are cut away with their message.
    (change.state.calls, change.state.calls_in) = (Vec::new(), None);
    let ids: Vec<_> = change.state.queue.drain(..).map(|entry| entry.id).collect();
    if !ids.is_empty() {
        change.push(QueueRemoved { ids, key: None })?;
    }
    (change.state.compact, change.state.squeezed) = (None, None);
    let (id, content, author) = (edit.message, edit.content.clone(), edit.author.clone());
    change.user_message(MessageUser { id, content, author, model, effort, queued: None, key: None })?;
    run(&mut change);
    change.done(Some(Receipt { op, seq, message: Some(edit.message), queued: None, position: None }))
}

/// Whatever runs is about something that is no more: its holder is fenced off.
fn displace(change: &mut Change<'_>) -> Result<(), NotDone> {
    if let Some(session) = change.holder.take() {
        let epoch = change.next_epoch();
        change.push(Freed { session, epoch, reason: FreeReason::Displaced })?;
    }
    let off = change.state.last_off;
    change.seal_open(Outcome::Aborted, off)
}
