//! The repair: one rule after the other, from what is said to what the provider ran.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::check::is_run;
use super::{Repair, Rule, sent_back};
use crate::content::{Output, Part};
use crate::model::{Message, Role};

/// A message on its way, with the place of the given one that it stands for. Places never fall.
type Placed = (usize, Message);

pub(super) fn mend(given: &[Message]) -> (Vec<Message>, Vec<Repair>) {
    let mut broken = Broken::default();
    let mut messages: Vec<Placed> = given.iter().cloned().enumerate().collect();
    messages = instructions_first(messages, &mut broken);
    messages = without_blanks(messages, &mut broken);
    messages = calls_answered(messages, &mut broken);
    messages.retain(|(_, message)| !message.content.is_empty());
    runs_whole(&mut messages, &mut broken);
    messages.retain(|(_, message)| !message.content.is_empty());
    let repairs = broken.repairs(given, &messages);
    (messages.into_iter().map(|(_, message)| message).collect(), repairs)
}

/// The rules that were broken, by message.
#[derive(Default)]
struct Broken(BTreeMap<usize, BTreeSet<Rule>>);

impl Broken {
    fn note(&mut self, at: usize, rule: Rule) {
        self.0.entry(at).or_default().insert(rule);
    }

    fn repairs(mut self, given: &[Message], made: &[Placed]) -> Vec<Repair> {
        let mut made = made.iter().peekable();
        let mut repairs = Vec::new();
        for (at, message) in given.iter().enumerate() {
            let stands = std::iter::from_fn(|| made.next_if(|(of, _)| *of == at));
            let stands: Vec<&Message> = stands.map(|(_, made)| made).collect();
            if stands != [message] {
                let rules = self.0.remove(&at).unwrap_or_default().into_iter().collect();
                repairs.push(Repair { at, rules, becomes: stands.into_iter().cloned().collect() });
            }
        }
        repairs
    }
}

/// Late instructions stand for the first message that is none.
fn instructions_first(messages: Vec<Placed>, broken: &mut Broken) -> Vec<Placed> {
    let Some(first) = messages.iter().position(|(_, message)| message.role != Role::System) else {
        return messages;
    };
    let (mut system, mut rest) = (Vec::new(), Vec::with_capacity(messages.len()));
    for (at, message) in messages {
        match message.role {
            Role::System if at > first => {
                broken.note(at, Rule::InstructionsFirst);
                system.push((first, message));
            }
            Role::System => system.push((at, message)),
            _ => rest.push((at, message)),
        }
    }
    system.append(&mut rest);
    system
}

fn without_blanks(mut messages: Vec<Placed>, broken: &mut Broken) -> Vec<Placed> {
    for (at, message) in &mut messages {
        let unsigned = |part: &Part| matches!(part, Part::Reasoning { metadata, .. } if metadata.is_empty());
        if message.content.is_empty() || message.content.iter().any(Part::is_blank) {
            broken.note(*at, Rule::NothingBlank);
        }
        if message.content.iter().any(|part| unsigned(part) && !part.is_blank()) {
            broken.note(*at, Rule::ThoughtsAreSigned);
        }
        message.content = sent_back(&message.content).into();
    }
    messages.retain(|(_, message)| !message.content.is_empty());
    messages
}

/// Puts each answer together with the results of its calls, which may stand anywhere before the next answer.
fn calls_answered(messages: Vec<Placed>, broken: &mut Broken) -> Vec<Placed> {
    let mut mended = Vec::with_capacity(messages.len());
    let mut section: Option<Section> = None;
    for (at, message) in messages {
        if message.role == Role::Assistant
            && let Some(before) = section.take()
        {
            before.end(&mut mended, broken);
        }
        let section = section.get_or_insert_with(|| Section { at, ..Section::default() });
        match message.role {
            Role::System => section
                .rest
                .push((at, Message { content: spoken(message.content.iter().cloned()), ..message })),
            Role::Assistant => section.answer(message, broken),
            Role::Tool => section.results(at, message, broken),
            Role::User => section.user(at, message, broken),
        }
    }
    if let Some(last) = section {
        last.end(&mut mended, broken);
    }
    mended
}

/// An answer and what follows until the next one.
#[derive(Default)]
struct Section {
    at: usize,
    answer: Option<Message>,
    calls: Calls,
    /// The tool messages directly behind the answer. Where they had a result of one of its calls, there is a hole.
    tools: Vec<(usize, Message, Vec<Option<Part>>)>,
    /// What stood among the results and is none.
    said: Vec<Part>,
    rest: Vec<Placed>,
}

/// The local calls of an answer.
#[derive(Default)]
struct Calls {
    all: Vec<(Box<str>, Box<str>, Option<Part>)>,
    /// Places of the calls without a result, by id.
    waiting: BTreeMap<Box<str>, VecDeque<usize>>,
    /// The place of the last call that was answered.
    last: Option<usize>,
}

impl Calls {
    fn push(&mut self, id: &str, name: &str) {
        self.waiting.entry(id.into()).or_default().push_back(self.all.len());
        self.all.push((id.into(), name.into(), None));
    }

    /// Takes the result of the first call with its id that has none, and says whether it came in the order of the calls and under its
    /// name. Gives it back if there is no such call.
    fn answer(&mut self, mut result: Part) -> Result<bool, Part> {
        let Part::ToolResult { call_id, name, provider_executed: false, .. } = &mut result else {
            return Err(result);
        };
        let Some(place) = self.waiting.get_mut(call_id).and_then(VecDeque::pop_front) else {
            return Err(result);
        };
        let (_, called, answer) = &mut self.all[place];
        let is_right = name == called && self.last.replace(place).is_none_or(|last| last < place);
        name.clone_from(called);
        *answer = Some(result);
        Ok(is_right)
    }
}

impl Section {
    fn answer(&mut self, mut message: Message, broken: &mut Broken) {
        for part in message.content.iter() {
            if let Part::ToolCall { id, name, provider_executed: false, .. } = part {
                self.calls.push(id, name);
            }
        }
        let mut kept = Vec::with_capacity(message.content.len());
        for part in message.content.iter().cloned() {
            if !matches!(part, Part::ToolResult { provider_executed: false, .. }) {
                kept.push(part);
                continue;
            }
            broken.note(self.at, Rule::PartsInTheirPlace);
            if let Err(orphan) = self.calls.answer(part) {
                self.said.extend(words(orphan));
            }
        }
        message.content = kept.into();
        self.answer = Some(message);
    }

    fn results(&mut self, at: usize, mut message: Message, broken: &mut Broken) {
        let is_next = self.rest.is_empty();
        let (mut holes, mut said) = (Vec::new(), Vec::new());
        for part in message.content.iter().cloned() {
            if matches!(part, Part::Unknown(_)) {
                holes.push(Some(part));
                continue;
            }
            match self.calls.answer(part) {
                Ok(is_right) => {
                    if is_next {
                        holes.push(None);
                    }
                    if !(is_right && is_next) {
                        broken.note(at, Rule::CallsAreAnswered);
                    }
                }
                Err(other) => {
                    let is_result = matches!(other, Part::ToolResult { .. });
                    let rule = if is_result { Rule::ResultsAnswerCalls } else { Rule::PartsInTheirPlace };
                    broken.note(at, rule);
                    said.extend(words(other));
                }
            }
        }
        if is_next {
            self.said.append(&mut said);
            self.tools.push((at, message, holes));
        } else {
            message.content = holes.into_iter().flatten().collect();
            self.rest.extend([(at, message), (at, Message::new(Role::User, said))]);
        }
    }

    fn user(&mut self, at: usize, mut message: Message, broken: &mut Broken) {
        let mut kept = Vec::with_capacity(message.content.len());
        for part in message.content.iter().cloned() {
            if matches!(part, Part::ToolCall { .. } | Part::ToolResult { .. }) {
                broken.note(at, Rule::PartsInTheirPlace);
            }
            if let Err(other) = self.calls.answer(part) {
                kept.push(other);
            }
        }
        message.content = spoken(kept);
        self.rest.push((at, message));
    }

    fn end(self, mended: &mut Vec<Placed>, broken: &mut Broken) {
        let Self { at, answer, calls, mut tools, said, rest } = self;
        mended.extend(answer.map(|answer| (at, answer)));
        let holes = tools.iter().flat_map(|(_, _, parts)| parts).filter(|part| part.is_none()).count();
        if holes < calls.all.len() {
            broken.note(at, Rule::CallsAreAnswered);
            if tools.is_empty() {
                tools.push((at, Message::new(Role::Tool, Vec::new()), Vec::new()));
            }
            let (_, _, parts) = tools.last_mut().expect("there is one now");
            parts.extend((holes..calls.all.len()).map(|_| None));
        }
        let last = tools.last().map_or(at, |(last, ..)| *last);
        let mut results = calls.all.into_iter().map(|(id, name, answer)| match answer {
            Some(answer) => answer,
            None => unanswered(id, name),
        });
        for (at, mut message, parts) in tools {
            message.content = parts.into_iter().filter_map(|part| part.or_else(|| results.next())).collect();
            mended.push((at, message));
        }
        drop(results);
        mended.push((last, Message::new(Role::User, said)));
        mended.extend(rest);
    }
}

fn unanswered(call_id: Box<str>, name: Box<str>) -> Part {
    let output = Output::error("There is no result: the call was not run.");
    Part::ToolResult { call_id, name, output, provider_executed: false, metadata: Default::default() }
}

/// Content of a message that nobody but a person or the host may have said.
fn spoken(content: impl IntoIterator<Item = Part>) -> Arc<[Part]> {
    content.into_iter().flat_map(words).collect()
}

/// What a part says where it may not stand as what it is.
fn words(part: Part) -> Vec<Part> {
    match part {
        Part::ToolCall { name, input, .. } => vec![Part::text(format!("A call of the tool {name}: {input}"))],
        Part::ToolResult { name, output, .. } => {
            let of = |text: &str| Part::text(format!("A result of the tool {name}: {text}"));
            match output {
                Output::Text { text } | Output::Error { text } if text.trim().is_empty() => Vec::new(),
                Output::Text { text } | Output::Error { text } => vec![of(&text)],
                Output::Media { media_type, data, text } => {
                    let words = of(text.as_deref().unwrap_or_default());
                    vec![words, Part::File { media_type, name: None, data, metadata: Default::default() }]
                }
            }
        }
        other => vec![other],
    }
}

/// Takes out what a provider ran where a half of it is missing.
fn runs_whole(messages: &mut [Placed], broken: &mut Broken) {
    let kept = whole_runs(messages);
    for (place, (at, message)) in messages.iter_mut().enumerate() {
        let is_whole = |part_at: usize, part: &Part| {
            let is_run = matches!(
                part,
                Part::ToolCall { provider_executed: true, .. }
                    | Part::ToolResult { provider_executed: true, .. }
            );
            !is_run || kept.contains(&(place, part_at))
        };
        let parts = message.content.iter().enumerate();
        if parts.clone().all(|(part_at, part)| is_whole(part_at, part)) {
            continue;
        }
        broken.note(*at, Rule::RunsAreWhole);
        // What the other half says is kept as text.
        let content = parts.filter_map(|(part_at, part)| match is_whole(part_at, part) {
            true => Some(part.clone()),
            false => readable(part).map(Part::text),
        });
        message.content = content.collect();
    }
}

/// The parts of runs of which nothing is missing, or which may still run.
fn whole_runs(messages: &[Placed]) -> BTreeSet<(usize, usize)> {
    let (mut kept, mut ids) = (BTreeSet::new(), BTreeSet::new());
    let mut running: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (place, (_, message)) in messages.iter().enumerate() {
        if message.role == Role::User {
            // Somebody spoke: what ran until then will never have a result.
            for (id, call) in std::mem::take(&mut running) {
                kept.remove(&call);
                ids.remove(id);
            }
        }
        for (part_at, part) in message.content.iter().enumerate() {
            match part {
                Part::ToolCall { id, name, input, provider_executed: true, .. }
                    if is_run(id, name, input) && ids.insert(&**id) =>
                {
                    running.insert(id, (place, part_at));
                    kept.insert((place, part_at));
                }
                Part::ToolResult { call_id, provider_executed: true, .. }
                    if running.remove(&**call_id).is_some() =>
                {
                    kept.insert((place, part_at));
                }
                _ => {}
            }
        }
    }
    kept
}

fn readable(result: &Part) -> Option<String> {
    let Part::ToolResult { output, .. } = result else { return None };
    let text = match output {
        Output::Text { text } | Output::Error { text } => Some(text),
        Output::Media { text, .. } => text.as_ref(),
    };
    text.filter(|text| !text.trim().is_empty()).cloned()
}
