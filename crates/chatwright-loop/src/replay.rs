//! Is a repeated command the one that its client key first came with?

use chatwright_core::Record;
use chatwright_core::record::{Body, MessageUser};
use chatwright_engine::{Command, Input, QueueAct, Receipt, Send, hash_of, receipt_of};

/// The receipt of the first command, or `None` if that was another one.
pub(crate) fn receipt(input: &Input, record: &Record) -> Option<Receipt> {
    let Input::Command(_, command) = input else { return None };
    let body = record.open().ok()?.body;
    let same = match (command, &body) {
        (Command::Send(send), Body::MessageUser(message)) => is_same(send, message),
        (Command::Send(send), Body::QueueAdded(added)) => is_same(send, &added.message),
        (Command::Create(create), Body::ChatCreated(created)) => {
            create.owner == created.owner
                && create.organization == created.organization
                && (&create.model, create.effort) == (&created.model, created.effort)
                && create.labels == created.labels
                && create.title == created.title.clone().unwrap_or_default()
                && create.content.is_empty() == created.first.is_none()
        }
        (Command::Interrupt(_), Body::InterruptRequested(_)) => true,
        (Command::Edit(edit), Body::HistoryCut(cut)) => {
            edit.seq == cut.from && cut.content_hash == Some(hash_of(&edit.content))
        }
        (Command::Queue(queue), Body::QueueRemoved(removed)) => {
            queue.act == QueueAct::Remove && removed.ids == [queue.id]
        }
        (Command::Queue(queue), Body::QueueChanged(changed)) => {
            queue.id == changed.id
                && match &queue.act {
                    QueueAct::Remove => false,
                    QueueAct::Move(_) => changed.position.is_some() && changed.held.is_none(),
                    QueueAct::Edit(content) => changed.content.as_ref() == Some(content),
                    QueueAct::Hold => changed.held == Some(true),
                    QueueAct::Release => changed.held == Some(false) && changed.position.is_none(),
                    QueueAct::Promote => changed.held == Some(false) && changed.position.is_some(),
                }
        }
        (Command::Submit(submit), Body::ToolResults(results)) => {
            // Together they may be more than one record takes: the first ones are here.
            let given = submit.results.iter().map(|(ordinal, output)| (ordinal, output));
            let kept = results.results.iter().map(|result| (&result.ordinal, &result.output));
            given.zip(kept).all(|(given, kept)| given == kept)
        }
        (Command::Decide(decide), Body::ActionDecided(decided)) => {
            decide.ordinal == decided.ordinal && decide.decision == decided.decision
        }
        (Command::Compact(_), Body::CompactionRequested(_)) => true,
        (Command::Clear(_), Body::ContextCleared(_)) => true,
        (Command::Archive(archive), Body::ChatArchiving(archiving)) => archive.stop == archiving.stop,
        (Command::Unarchive(_), Body::ChatUnarchived(_)) => true,
        (Command::Set(set), Body::ChatChanged(changed)) => {
            (&set.title, &set.labels) == (&changed.title, &changed.labels)
                && (&set.model, set.effort) == (&changed.model, changed.effort)
        }
        _ => false,
    };
    receipt_of(record).filter(|_| same)
}

fn is_same(send: &Send, message: &MessageUser) -> bool {
    (&send.content, &send.model, send.effort) == (&message.content, &message.model, message.effort)
}
