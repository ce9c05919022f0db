use chatwright_core::OpId;
use chatwright_core::head::Status;
use chatwright_core::record::{InterruptRequested, QueueChanged, QueueRemoved};

use super::send::check_queue;
use super::stop::stop;
use super::{check_content, remember, run};
use crate::change::Change;
use crate::input::{Queue, QueueAct};
use crate::step::{Receipt, Step};
use crate::{Chat, NotDone, Refused};

pub(super) fn queue(mut change: Change<'_>, chat: &Chat, op: OpId, queue: &Queue) -> Result<Step, NotDone> {
    let (id, key) = (queue.id, queue.key);
    let entries = &change.state.queue;
    let found = entries.iter().position(|entry| entry.id == id);
    let at = found.ok_or(Refused::NotFound { what: "queued message" })?;
    let mut changed = QueueChanged { id, content: None, held: None, position: None, key };
    let seq = change.next_seq();
    match &queue.act {
        QueueAct::Remove => {
            change.push(QueueRemoved { ids: vec![id], key })?;
            change.state.queue.remove(at);
        }
        QueueAct::Move(position) => {
            let last = entries.len() - 1;
            let to = usize::try_from(*position).unwrap_or(last).min(last);
            changed.position = u32::try_from(to).ok();
            change.push(changed)?;
            let entry = change.state.queue.remove(at);
            change.state.queue.insert(to, entry);
        }
        QueueAct::Edit(content) => {
            let bytes = check_content(content)?;
            let others = entries.iter().filter(|entry| entry.id != id);
            let waiting = others.map(|entry| u64::from(entry.bytes)).sum();
            check_queue(waiting, bytes, change.context.rules.queue_bytes_max)?;
            changed.content = Some(content.clone());
            change.push(changed)?;
            let entry = &mut change.state.queue[at];
            (entry.bytes, entry.edited) = (bytes, Some(seq));
        }
        QueueAct::Hold | QueueAct::Release => {
            let held = queue.act == QueueAct::Hold;
            changed.held = Some(held);
            change.push(changed)?;
            change.state.queue[at].held = held;
            if chat.state.status == Status::Waiting && !held {
                promote(&mut change)?;
            }
        }
        QueueAct::Promote => {
            (changed.held, changed.position) = (Some(false), Some(0));
            change.push(changed)?;
            let mut entry = change.state.queue.remove(at);
            entry.held = false;
            change.state.queue.insert(0, entry);
            match chat.state.status {
                Status::Waiting | Status::Error => promote(&mut change)?,
                _ => {
                    change.push(InterruptRequested { by: None, key: None })?;
                    stop(&mut change, queue.dead)?;
                }
            }
        }
    }
    remember(&mut change.state, key, seq);
    change.done(Some(Receipt { op, seq, message: None, queued: Some(id), position: None }))
}

/// The head of the queue enters history, and runs.
fn promote(change: &mut Change<'_>) -> Result<(), NotDone> {
    let message = change.fresh_message_id();
    change.promote(message)?;
    run(change);
    Ok(())
}
