use std::collections::BTreeMap;

use chatwright_core::content::{Output, Part};
use chatwright_core::message::whole;
use chatwright_core::model::{Message, Role};
use chatwright_core::record::{
    Body, CallResult, ContextCompacted, InvalidBody, MessageAssistant, MessagePart, MessageSystem,
    MessageUser, ToolIntent, ToolResults,
};
use chatwright_core::{Kind, MessageId, QueueId, Record, Seq};

/// What a chat's records say, as far as a model or the engine must know it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    through: Seq,
    items: Vec<(Seq, Item)>,
    queued: BTreeMap<QueueId, MessageUser>,
    intents: BTreeMap<(MessageId, u32), ToolIntent>,
    parts: Vec<MessagePart>,
    strange: Option<(Seq, Kind)>,
}

/// One entry of history.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Instructions of the host.
    System(MessageSystem),
    /// A user's message.
    User(MessageUser),
    /// The model's answer.
    Assistant(MessageAssistant),
    /// Results of local calls.
    Results(ToolResults),
    /// A summary of what came before.
    Summary(ContextCompacted),
}

/// A call that the provider did not run itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// Its place among such calls of its message, from 0.
    pub ordinal: u32,
    /// The provider's id of it.
    pub id: &'a str,
    /// The tool as the model wrote it.
    pub name: &'a str,
    /// The arguments as the model wrote them.
    pub input: &'a str,
}

/// The calls of a message that the provider did not run itself.
pub fn calls(content: &[Part]) -> impl Iterator<Item = Call<'_>> {
    let local = content.iter().filter_map(|part| match part {
        Part::ToolCall { id, name, input, provider_executed: false, .. } => {
            Some((&**id, &**name, input.as_str()))
        }
        _ => None,
    });
    (0..).zip(local).map(|(ordinal, (id, name, input))| Call { ordinal, id, name, input })
}

impl History {
    /// Nothing yet, before the record at `from`.
    pub fn from(from: Seq) -> Self {
        Self { through: Seq::new(from.get().saturating_sub(1)), ..Self::default() }
    }

    /// The last record that was folded.
    pub fn through(&self) -> Seq {
        self.through
    }

    /// A control record that this code does not know. With one, the chat can be read but must not be run.
    pub fn strange(&self) -> Option<&(Seq, Kind)> {
        self.strange.as_ref()
    }

    /// Takes the next record in. One that is not after [`through`](Self::through) is passed over.
    ///
    /// # Errors
    /// [`InvalidBody`] if a known kind does not decode; nothing is changed then.
    pub fn fold(&mut self, record: &Record) -> Result<(), InvalidBody> {
        if record.seq <= self.through {
            return Ok(());
        }
        let body = record.open()?.body;
        self.through = record.seq;
        let item = match body {
            Body::MessagePart(part) => {
                self.parts.push(part);
                return Ok(());
            }
            Body::MessageSystem(message) => Item::System(message),
            Body::MessageUser(mut message) => {
                message.content = whole(std::mem::take(&mut self.parts), message.id, message.content);
                Item::User(message)
            }
            Body::MessageAssistant(mut message) => {
                message.content = whole(std::mem::take(&mut self.parts), message.id, message.content);
                Item::Assistant(message)
            }
            Body::ToolResults(results) => Item::Results(results),
            other => {
                self.fold_control(record, other);
                return Ok(());
            }
        };
        self.items.push((record.seq, item));
        Ok(())
    }

    fn fold_control(&mut self, record: &Record, body: Body) {
        match body {
            Body::QueueAdded(added) => drop(self.queued.insert(added.id, added.message)),
            Body::QueueChanged(changed) => {
                if let (Some(message), Some(content)) = (self.queued.get_mut(&changed.id), changed.content) {
                    message.content = content;
                }
            }
            Body::QueueRemoved(removed) => self.queued.retain(|id, _| !removed.ids.contains(id)),
            Body::QueuePromoted(promoted) => drop(self.queued.remove(&promoted.id)),
            Body::ToolIntent(intent) => drop(self.intents.insert((intent.message, intent.ordinal), intent)),
            Body::TurnEnded(_) | Body::ChatError(_) => self.intents.clear(),
            Body::HistoryCut(cut) => self.items.retain(|(seq, _)| *seq < cut.from),
            Body::ContextCleared(cleared) => {
                self.items.retain(|(seq, item)| *seq >= cleared.from || matches!(item, Item::System(_)));
            }
            Body::ContextCompacted(compacted) => {
                self.items.retain(|(seq, item)| *seq >= compacted.from || matches!(item, Item::System(_)));
                let at = self.items.iter().take_while(|(_, item)| matches!(item, Item::System(_))).count();
                self.items.insert(at, (record.seq, Item::Summary(compacted)));
            }
            Body::Unknown(unknown) if unknown.kind.is_control() => {
                self.strange.get_or_insert((record.seq, unknown.kind));
            }
            _ => {}
        }
    }

    /// A message that waits in the queue.
    pub fn queued(&self, id: QueueId) -> Option<&MessageUser> {
        self.queued.get(&id)
    }

    /// Every entry with its position, oldest first.
    pub fn items(&self) -> &[(Seq, Item)] {
        &self.items
    }

    /// The newest answer of the model.
    pub fn last_answer(&self) -> Option<&MessageAssistant> {
        self.items.iter().rev().find_map(|(_, item)| match item {
            Item::Assistant(message) => Some(message),
            _ => None,
        })
    }

    /// The answer with this id.
    pub fn answer(&self, id: MessageId) -> Option<&MessageAssistant> {
        self.items.iter().rev().find_map(|(_, item)| match item {
            Item::Assistant(message) if message.id == id => Some(message),
            _ => None,
        })
    }

    /// Results of a message's calls so far, by place.
    pub fn results(&self, id: MessageId) -> BTreeMap<u32, &CallResult> {
        let of_message = self.items.iter().filter_map(|(_, item)| match item {
            Item::Results(results) if results.message == id => Some(&results.results),
            _ => None,
        });
        let mut by_place = BTreeMap::new();
        for result in of_message.flatten() {
            // The first result of a call counts.
            by_place.entry(result.ordinal).or_insert(result);
        }
        by_place
    }

    /// What a model is shown: each answer is followed by the results of all its calls in call order. A call without a
    /// result, which no committed history has before a user's message, is answered with an error.
    pub fn prompt(&self) -> Vec<Message> {
        let mut prompt = Vec::with_capacity(self.items.len());
        let mut outputs: BTreeMap<(MessageId, u32), &Output> = BTreeMap::new();
        for (_, item) in &self.items {
            let Item::Results(ToolResults { message, results, .. }) = item else { continue };
            for result in results {
                outputs.entry((*message, result.ordinal)).or_insert(&result.output);
            }
        }
        for (_, item) in &self.items {
            match item {
                Item::System(message) => prompt.push(Message::new(Role::System, message.content.clone())),
                Item::User(message) => prompt.push(Message::new(Role::User, message.content.clone())),
                Item::Summary(compacted) => prompt.push(Message::new(Role::User, compacted.summary.clone())),
                Item::Assistant(message) => {
                    let shown: Vec<Part> =
                        message.content.iter().filter(|part| replayed(part)).cloned().collect();
                    if shown.is_empty() {
                        continue;
                    }
                    prompt.push(Message::new(Role::Assistant, shown));
                    let parts: Vec<Part> = calls(&message.content)
                        .map(|call| Part::ToolResult {
                            call_id: call.id.into(),
                            name: call.name.into(),
                            output: outputs
                                .get(&(message.id, call.ordinal))
                                .map_or_else(unanswered, |output| (*output).clone()),
                            provider_executed: false,
                            metadata: Default::default(),
                        })
                        .collect();
                    if !parts.is_empty() {
                        prompt.push(Message::new(Role::Tool, parts));
                    }
                }
                Item::Results(_) => {}
            }
        }
        prompt
    }
}

/// Unsigned reasoning is shown to people and never sent back.
fn replayed(part: &Part) -> bool {
    !matches!(part, Part::Reasoning { metadata, .. } if metadata.is_empty()) && !part.is_blank()
}

fn unanswered() -> Output {
    Output::error("There is no result: the call was not run.")
}
