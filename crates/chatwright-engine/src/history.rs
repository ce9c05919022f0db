use std::collections::{BTreeMap, BTreeSet};

use chatwright_core::content::{Output, Part};
use chatwright_core::head::{QueueEntry, UnitKind};
use chatwright_core::history::{ValidHistory, sent_back};
use chatwright_core::message::{CHUNK_BYTES, whole};
use chatwright_core::model::{Message, Role, Usage};
use chatwright_core::record::{
    ActionDecided, Body, CallResult, ContextCompacted, Decision, InvalidBody, MessageAssistant, MessagePart,
    MessageSystem, MessageUser, Outcome, PromptRepaired, StopReason, ToolResults, TurnEnded,
};
use chatwright_core::{Kind, MessageId, QueueId, Record, Seq};

/// What a chat's records say, as far as a model or the engine must know it.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    first: Seq,
    through: Seq,
    /// Every entry that was not cut, also those that a model is no longer shown.
    items: Vec<(Seq, Item)>,
    anchors: Vec<Anchor>,
    /// With the record that said it last.
    queued: BTreeMap<QueueId, (Seq, MessageUser)>,
    /// Arguments that a person put in the place of the model's, with the record that says so.
    edited: BTreeMap<(MessageId, u32), (Seq, String)>,
    /// What stands in the place of a record, with the records that say so. The last one counts: what could still run when it was repaired
    /// may have been torn since.
    repaired: BTreeMap<Seq, Vec<(Seq, Vec<Message>)>>,
    /// The open attempt writes a summary.
    summarises: bool,
    /// What the prompt of the newest answer took, unless something happened to it since.
    measured: Option<Usage>,
    /// Why turns ended, by the record that says so.
    ends: BTreeMap<Seq, StopReason>,
    parts: Vec<MessagePart>,
    strange: Option<(Seq, Kind)>,
    /// How often something happened to what stood there already.
    recast: u64,
}

/// How far a prompt was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    items: usize,
    through: Seq,
    recast: u64,
}

const WORD_FOR_WORD: &str = "[What the user said last, word for word:]";

/// From where on a model is shown history.
#[derive(Clone, Debug, PartialEq)]
struct Anchor {
    /// The record that says so.
    seq: Seq,
    /// The oldest record that is shown.
    from: Seq,
    /// What is shown in the place of older ones.
    summary: Vec<Part>,
    /// What of them waits for an answer, word for word.
    said: Vec<Part>,
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

/// Whether an answer has more in it than thoughts, sources and white space, signed or not.
pub fn says_something(content: &[Part]) -> bool {
    content.iter().any(|part| match part {
        Part::Reasoning { .. } | Part::Source { .. } => false,
        Part::Text { text, .. } => !text.trim().is_empty(),
        _ => true,
    })
}

impl Default for History {
    /// Nothing yet, before the first record.
    fn default() -> Self {
        Self::from(Seq::new(1))
    }
}

impl History {
    /// Nothing yet, before the record at `from`.
    pub fn from(from: Seq) -> Self {
        Self {
            first: from,
            through: Seq::new(from.get().saturating_sub(1)),
            items: Vec::new(),
            anchors: Vec::new(),
            queued: BTreeMap::new(),
            edited: BTreeMap::new(),
            repaired: BTreeMap::new(),
            summarises: false,
            measured: None,
            ends: BTreeMap::new(),
            parts: Vec::new(),
            strange: None,
            recast: 0,
        }
    }

    /// Takes the host's instructions in where they stand before the first record that is folded.
    ///
    /// # Errors
    /// [`InvalidBody`] if the record does not decode.
    pub fn preface(&mut self, record: &Record) -> Result<(), InvalidBody> {
        if let (Body::MessageSystem(message), true) = (record.open()?.body, record.seq < self.first) {
            self.items.insert(0, (record.seq, Item::System(message)));
            self.recast += 1;
        }
        Ok(())
    }

    /// The first record that it covers.
    pub fn first(&self) -> Seq {
        self.first
    }

    /// From where on a model would be shown history if it were cut before this record, and which record said so.
    pub(crate) fn anchor_before(&self, seq: Seq) -> Option<(Seq, Seq)> {
        self.anchors.iter().rev().find(|anchor| anchor.seq < seq).map(|anchor| (anchor.from, anchor.seq))
    }

    /// The newest compaction.
    pub(crate) fn last_compaction(&self) -> Option<Seq> {
        self.anchors.iter().rev().find(|anchor| !anchor.summary.is_empty()).map(|anchor| anchor.seq)
    }

    /// What the prompt took whose answer is the newest one, as far as its provider said: everything before that answer. Nothing if
    /// that answer was stopped, or history was cut, cleared or summarised since.
    pub fn measured(&self) -> Option<Usage> {
        self.measured
    }

    /// What a user said of what the newest summary covers and waited for an answer to then, word for word.
    pub fn said(&self) -> &[Part] {
        self.anchors.last().map_or(&[], |anchor| &anchor.said)
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
                if message.interrupted {
                    // What was counted is the prompt of an older one.
                    self.measured = None;
                }
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
            Body::QueueAdded(added) => drop(self.queued.insert(added.id, (record.seq, added.message))),
            Body::QueueChanged(changed) => {
                if let (Some((seq, message)), Some(content)) =
                    (self.queued.get_mut(&changed.id), changed.content)
                {
                    (*seq, message.content) = (record.seq, content);
                }
            }
            Body::QueueRemoved(removed) => self.queued.retain(|id, _| !removed.ids.contains(id)),
            Body::QueuePromoted(promoted) => drop(self.queued.remove(&promoted.id)),
            Body::AttemptStarted(started) => self.summarises = started.unit == UnitKind::Compaction,
            Body::AttemptEnded(ended) if ended.outcome == Outcome::Committed && !self.summarises => {
                self.measured = (!ended.estimated).then_some(ended.usage);
            }
            Body::TurnEnded(TurnEnded { reason }) => drop(self.ends.insert(record.seq, reason)),
            Body::ActionDecided(ActionDecided {
                message,
                ordinal,
                decision: Decision::Approve { input: Some(input) },
                ..
            }) => drop(self.edited.insert((message, ordinal), (record.seq, input))),
            Body::HistoryCut(cut) => {
                self.recast += 1;
                self.measured = None;
                self.items.retain(|(seq, _)| *seq < cut.from);
                self.edited.retain(|_, (seq, _)| *seq < cut.from);
                self.ends.retain(|seq, _| *seq < cut.from);
                self.repaired.values_mut().for_each(|said| said.retain(|(seq, _)| *seq < cut.from));
                self.anchors.retain(|anchor| anchor.seq < cut.from);
            }
            Body::ContextCleared(cleared) => {
                (self.recast, self.measured) = (self.recast + 1, None);
                self.anchors.push(Anchor {
                    seq: record.seq,
                    from: cleared.from,
                    summary: Vec::new(),
                    said: Vec::new(),
                });
            }
            Body::ContextCompacted(ContextCompacted { from, summary, said, .. }) => {
                (self.recast, self.measured) = (self.recast + 1, None);
                self.anchors.push(Anchor { seq: record.seq, from, summary, said });
            }
            Body::PromptRepaired(PromptRepaired { repairs, .. }) => {
                self.recast += 1;
                for (seq, words) in repairs {
                    // Anything else is a note.
                    if let Ok(messages) = serde_json::from_str(&words) {
                        self.repaired.entry(Seq::new(seq)).or_default().push((record.seq, messages));
                    }
                }
            }
            Body::Unknown(unknown) if unknown.kind.is_control() => {
                self.strange.get_or_insert((record.seq, unknown.kind));
            }
            _ => {}
        }
    }

    /// A message that waits in the queue.
    ///
    /// # Errors
    /// The record that is to be folded first.
    pub(crate) fn queued(&self, entry: &QueueEntry) -> Result<&MessageUser, Seq> {
        match (self.queued.get(&entry.id), entry.edited) {
            (None, _) => Err(entry.seq),
            (Some((seq, _)), Some(edited)) if *seq < edited => Err(edited),
            (Some((_, message)), _) => Ok(message),
        }
    }

    /// Every entry that was not cut, with its position, oldest first: also those that a model is no longer shown.
    pub fn items(&self) -> &[(Seq, Item)] {
        &self.items
    }

    /// The answer with this id.
    pub fn answer(&self, id: MessageId) -> Option<&MessageAssistant> {
        self.items.iter().rev().find_map(|(_, item)| match item {
            Item::Assistant(message) if message.id == id => Some(message),
            _ => None,
        })
    }

    /// The arguments that a person put in the place of the model's, when they approved the call.
    pub fn edited(&self, message: MessageId, ordinal: u32) -> Option<&str> {
        self.edited.get(&(message, ordinal)).map(|(_, input)| input.as_str())
    }

    /// Results of a message's calls so far, by place.
    pub fn results(&self, id: MessageId) -> BTreeMap<u32, &CallResult> {
        let is_answer = |item: &Item| matches!(item, Item::Assistant(answer) if answer.id == id);
        // They stand behind their answer.
        let from = self.items.iter().rposition(|(_, item)| is_answer(item)).unwrap_or(0);
        let of_message = self.items[from..].iter().filter_map(|(_, item)| match item {
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
    /// result, which no committed history has before a user's message, is answered with an error. What a stored repair has put in the
    /// place of a record stands there.
    pub fn prompt(&self) -> Vec<Message> {
        self.shown().into_iter().map(|(_, message)| message).collect()
    }

    /// The prompt as providers take it, and the repairs that are not stored yet, if it needs any: stored before the model is asked,
    /// they hold as they are whatever later rules would make of the same records.
    pub fn valid(&self) -> (ValidHistory, Option<PromptRepaired>) {
        let (history, repairs) = ValidHistory::repair(self.prompt());
        if repairs.is_empty() {
            return (history, None);
        }
        let shown = self.shown().into_iter().map(|(seq, message)| (seq, vec![message]));
        let (seqs, mut stands): (Vec<Seq>, Vec<Vec<Message>>) = shown.unzip();
        let mended: BTreeSet<Seq> = repairs.iter().map(|repair| seqs[repair.at]).collect();
        for repair in repairs {
            stands[repair.at] = repair.becomes;
        }
        let mut by_record: BTreeMap<Seq, Vec<Message>> = BTreeMap::new();
        for (seq, stand) in seqs.into_iter().zip(stands).filter(|(seq, _)| mended.contains(seq)) {
            by_record.entry(seq).or_default().extend(stand);
        }
        let mut room = CHUNK_BYTES;
        let words = by_record.into_iter().filter_map(|(seq, messages)| {
            let words = serde_json::to_string(&messages).expect("messages encode").into_boxed_str();
            // What does not fit in a record is made anew each time.
            room =
                room.checked_sub(serde_json::to_string(&words).map_or(usize::MAX, |json| json.len() + 32))?;
            Some((seq.get(), words))
        });
        let repairs: BTreeMap<u64, Box<str>> = words.collect();
        let repaired = PromptRepaired { rules: ValidHistory::RULES, repairs };
        (history, (!repaired.repairs.is_empty()).then_some(repaired))
    }

    /// Whether all of these repairs are stored.
    pub(crate) fn has_repairs(&self, repaired: &PromptRepaired) -> bool {
        let mut repairs = repaired.repairs.iter();
        repairs.all(|(seq, words)| {
            let stands = self.stands(Seq::new(*seq));
            stands.is_some_and(|stands| {
                serde_json::from_str(words).is_ok_and(|words: Vec<Message>| words == stands)
            })
        })
    }

    fn stands(&self, seq: Seq) -> Option<&[Message]> {
        Some(&self.repaired.get(&seq)?.last()?.1)
    }

    /// How far a prompt that is built now goes.
    pub fn mark(&self) -> Mark {
        Mark { items: self.items.len(), through: self.through, recast: self.recast }
    }

    /// What the [prompt](Self::prompt) has gained at its end since this mark of the same history. Nothing if something else happened to
    /// it: it has to be built anew then. Only entries since the mark are looked at, however long the chat is.
    pub fn added(&self, since: &Mark) -> Option<Vec<Message>> {
        let added = self.items.get(since.items..).filter(|_| self.recast == since.recast)?;
        let answers = added.iter().filter_map(|(_, item)| match item {
            Item::Assistant(answer) => Some(answer.id),
            _ => None,
        });
        let answers: BTreeSet<MessageId> = answers.collect();
        let is_behind = |item: &Item| match item {
            Item::System(_) => false,
            Item::Results(results) => answers.contains(&results.message),
            Item::User(_) | Item::Assistant(_) => true,
        };
        let edits = self.edited.iter().filter(|(_, (seq, _))| *seq > since.through);
        let is_end = added.iter().all(|(_, item)| is_behind(item))
            && edits.into_iter().all(|((message, _), _)| answers.contains(message));
        is_end.then(|| {
            let outputs = outputs(added);
            let shown = (since.items..self.items.len()).filter(|&at| self.is_shown(self.items[at].0));
            shown.flat_map(|at| self.messages(at, &outputs)).collect()
        })
    }

    /// Whether nothing stands in the place of what is older.
    fn is_shown(&self, seq: Seq) -> bool {
        self.anchors.last().is_none_or(|anchor| seq >= anchor.from)
    }

    fn stand_or(&self, seq: Seq, made: impl FnOnce() -> Vec<Message>) -> Vec<Message> {
        self.stands(seq).map_or_else(made, <[Message]>::to_vec)
    }

    /// What a model is shown, with the records that it was made of.
    fn shown(&self) -> Vec<(Seq, Message)> {
        let mut prompt = Vec::with_capacity(self.items.len());
        let outputs = outputs(&self.items);
        let anchor = self.anchors.last().filter(|anchor| !anchor.summary.is_empty());
        let is_system = |at: &usize| matches!(self.items[*at].1, Item::System(_));
        let (system, rest): (Vec<usize>, Vec<usize>) = (0..self.items.len()).partition(is_system);
        let mut push = |seq: Seq, messages: Vec<Message>| {
            prompt.extend(messages.into_iter().map(|message| (seq, message)));
        };
        for at in system {
            push(self.items[at].0, self.messages(at, &outputs));
        }
        if let Some(Anchor { seq, summary, said, .. }) = anchor {
            let made = || {
                let heading = (!said.is_empty()).then(|| Part::text(WORD_FOR_WORD));
                let content = summary.iter().cloned().chain(heading).chain(said.iter().cloned());
                vec![Message::new(Role::User, content)]
            };
            push(*seq, self.stand_or(*seq, made));
        }
        for at in rest.into_iter().filter(|at| self.is_shown(self.items[*at].0)) {
            push(self.items[at].0, self.messages(at, &outputs));
        }
        prompt
    }

    /// What one entry of history becomes.
    fn messages(&self, at: usize, outputs: &BTreeMap<(MessageId, u32), &Output>) -> Vec<Message> {
        let (seq, item) = &self.items[at];
        self.stand_or(*seq, || match item {
            Item::System(message) => vec![Message::new(Role::System, message.content.iter().cloned())],
            Item::User(message) => {
                let notice = self.cut_short_before(at).map(Part::text);
                vec![Message::new(Role::User, notice.into_iter().chain(message.content.iter().cloned()))]
            }
            Item::Assistant(message) => self.answer_with_results(message, outputs),
            Item::Results(_) => Vec::new(),
        })
    }

    /// Why the turn before this entry ended with less than an answer, if it did and the model is shown something of it.
    fn cut_short_before(&self, at: usize) -> Option<&'static str> {
        let of_people = |(seq, item): &&(Seq, Item)| self.is_shown(*seq) && !matches!(item, Item::System(_));
        let (before, _) = self.items[..at].last().filter(of_people)?;
        // Behind its end there may be summaries that somebody asked for.
        let (_, end) = self.ends.range(*before..self.items[at].0).next()?;
        notice(*end)
    }

    fn answer_with_results(
        &self,
        message: &MessageAssistant,
        outputs: &BTreeMap<(MessageId, u32), &Output>,
    ) -> Vec<Message> {
        let said = sent_back(&message.content);
        if said.is_empty() {
            return Vec::new();
        }
        let results = calls(&message.content).map(|call| {
            let output = outputs.get(&(message.id, call.ordinal));
            let output = output.map_or_else(unanswered, |output| (*output).clone());
            let output = match self.edited(message.id, call.ordinal) {
                Some(input) => told(input, output),
                None => output,
            };
            let (call_id, name) = (call.id.into(), call.name.into());
            Part::ToolResult { call_id, name, output, provider_executed: false, metadata: Default::default() }
        });
        let results: Vec<Part> = results.collect();
        let results = (!results.is_empty()).then(|| Message::new(Role::Tool, results));
        [Message::new(Role::Assistant, said)].into_iter().chain(results).collect()
    }
}

/// What a model is told of a turn that ended with less than an answer, before the user's next words. Nothing of one that was done: the
/// user saw it end, and so did the model.
fn notice(reason: StopReason) -> Option<&'static str> {
    match reason {
        StopReason::StepLimit => {
            Some("[The turn before this message was ended: it had taken as many steps as a turn may have.]")
        }
        StopReason::Length | StopReason::OutputLimit => {
            Some("[The answer before this message was cut off: it met the limit of its length.]")
        }
        StopReason::ContentFilter => {
            Some("[The answer before this message was cut off by a content filter.]")
        }
        StopReason::Empty => Some("[The turn before this message ended without an answer.]"),
        StopReason::Interrupted => Some("[The turn before this message was stopped by the user.]"),
        _ => None,
    }
}

/// Outputs of calls. The first result of a call counts.
fn outputs(items: &[(Seq, Item)]) -> BTreeMap<(MessageId, u32), &Output> {
    let mut outputs = BTreeMap::new();
    for (_, item) in items {
        let Item::Results(ToolResults { message, results, .. }) = item else { continue };
        for result in results {
            outputs.entry((*message, result.ordinal)).or_insert(&result.output);
        }
    }
    outputs
}

/// The model wrote other arguments, and its own message stays as it signed it.
fn told(edited: &str, output: Output) -> Output {
    let words =
        |text: &str| format!("The user changed the arguments to {edited} before the call ran.\n\n{text}");
    match output {
        Output::Text { text } => Output::Text { text: words(&text) },
        Output::Error { text } => Output::Error { text: words(&text) },
        Output::Media { media_type, data, text } => {
            let text = Some(words(text.as_deref().unwrap_or_default()));
            Output::Media { media_type, data, text }
        }
        other => other,
    }
}

fn unanswered() -> Output {
    Output::error("There is no result: the call was not run.")
}
