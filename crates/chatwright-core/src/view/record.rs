use super::View;
use super::transcript::{CallAnswer, Compaction, Message, QueueItem};
use crate::content::Part;
use crate::message::whole;
use crate::model::Role;
use crate::record::{Body, MessageUser, QueueAdded, QueueChanged, ToolResults};
use crate::{MessageId, Record, Seq};

impl View {
    /// Takes a record in. One that is not understood is skipped.
    pub(super) fn fold(&mut self, record: &Record) {
        let Ok(entry) = record.open() else { return };
        let (seq, body) = (record.seq, entry.body);
        // Up to the last state it is the state that rules: what it says of gens is newer than these records.
        let new = seq > self.state_seq;
        if self.gens.fold(&body) {
            self.begin_preview();
        }
        match body {
            Body::MessagePart(part) => self.parts.push(part),
            Body::MessageSystem(message) => {
                self.message(seq, Role::System, message.id, message.content);
            }
            Body::MessageUser(message) => {
                self.message(seq, Role::User, message.id, message.content).author = message.author;
            }
            Body::MessageAssistant(message) => {
                self.message(seq, Role::Assistant, message.id, message.content).interrupted =
                    message.interrupted;
            }
            Body::AttemptFailed(failed) => {
                // Up to the last state it is the state that says whether it is still waited for.
                let waited_for = new || failed.retry_at == self.shown.retry_at;
                self.shown.retry = failed.retry_event().filter(|_| waited_for);
            }
            Body::AttemptStarted(_) | Body::TurnEnded(_) | Body::ChatError(_) => self.shown.retry = None,
            Body::ToolResults(results) => self.results(seq, results),
            Body::HistoryCut(cut) => self.shown.cut(cut.from),
            Body::ContextCompacted(compacted) => self.shown.compactions.push(Compaction {
                seq,
                trigger: compacted.trigger,
                from: compacted.from,
                summary: compacted.summary,
                tokens_before: compacted.tokens_before,
                tokens_after: compacted.tokens_after,
            }),
            Body::QueueAdded(added) => self.queue_added(new, added),
            Body::QueueChanged(changed) => self.queue_changed(new, changed),
            Body::QueueRemoved(removed) if new => {
                self.shown.queue.retain(|item| !removed.ids.contains(&item.id));
            }
            Body::QueuePromoted(promoted) if new => self.shown.queue.retain(|item| item.id != promoted.id),
            Body::ChatCreated(created) if new => self.shown.title = created.title.unwrap_or_default(),
            Body::ChatChanged(changed) if new => {
                if let Some(title) = changed.title {
                    self.shown.title = title;
                }
            }
            Body::ChatArchived(_) if new => self.shown.archived = true,
            Body::ChatUnarchived(_) if new => self.shown.archived = false,
            _ => {}
        }
    }

    fn message(&mut self, seq: Seq, role: Role, id: MessageId, last: Vec<Part>) -> &mut Message {
        let content = whole(std::mem::take(&mut self.parts), id, last);
        let results = Default::default();
        let message = Message { id, seq, role, content, author: None, interrupted: false, results };
        self.shown.messages.push(message);
        self.shown.messages.last_mut().expect("it was pushed just now")
    }

    /// Results come in, and the previews of their calls go.
    fn results(&mut self, seq: Seq, results: ToolResults) {
        let ToolResults { message: id, results, .. } = results;
        if let Some(preview) = self.shown.preview.as_mut().filter(|preview| preview.message == Some(id)) {
            preview.drop_calls(&results.iter().map(|result| result.ordinal).collect::<Vec<_>>());
        }
        let Some(message) = self.shown.message_mut(id) else { return };
        for result in results {
            // The first result of a call counts.
            let answer = CallAnswer { seq, output: result.output, origin: result.origin };
            message.results.entry(result.ordinal).or_insert(answer);
        }
    }

    fn queue_added(&mut self, new: bool, added: QueueAdded) {
        if let Some(item) = self.shown.queue_item(added.id) {
            item.message = Some(added.message);
        } else if new {
            let item = QueueItem { id: added.id, held: added.held, message: Some(added.message) };
            self.shown.queue.insert(place(added.position, self.shown.queue.len()), item);
        }
    }

    fn queue_changed(&mut self, new: bool, changed: QueueChanged) {
        let queue = &mut self.shown.queue;
        let Some(at) = queue.iter().position(|item| item.id == changed.id) else { return };
        if let (Some(MessageUser { content, .. }), Some(instead)) = (&mut queue[at].message, changed.content)
        {
            *content = instead;
        }
        if !new {
            return;
        }
        if let Some(held) = changed.held {
            queue[at].held = held;
        }
        if let Some(position) = changed.position {
            let item = queue.remove(at);
            queue.insert(place(position, queue.len()), item);
        }
    }
}

fn place(position: u32, len: usize) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX).min(len)
}
