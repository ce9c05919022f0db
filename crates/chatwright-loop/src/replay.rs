//! Is a repeated command the one that its client key first came with?

use chatwright_core::Record;
use chatwright_core::record::Body;
use chatwright_engine::{Command, Input, Receipt, receipt_of};

/// The receipt of the first command, or `None` if that was another one.
pub(crate) fn receipt(input: &Input, record: &Record) -> Option<Receipt> {
    let Input::Command(_, command) = input else { return None };
    let body = record.open().ok()?.body;
    let same = match (command, &body) {
        (Command::Send(send), Body::MessageUser(message)) => send.content == message.content,
        (Command::Send(send), Body::QueueAdded(added)) => send.content == added.message.content,
        (Command::Create(create), Body::ChatCreated(created)) => {
            create.owner == created.owner
                && create.organization == created.organization
                && create.model == created.model
                && create.labels == created.labels
                && create.title == created.title.clone().unwrap_or_default()
                && create.content.is_empty() == created.first.is_none()
        }
        (Command::Interrupt(_), Body::InterruptRequested(_)) => true,
        _ => false,
    };
    receipt_of(record).filter(|_| same)
}
