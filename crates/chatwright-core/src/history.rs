//! Prompts that every provider takes.
//!
//! Providers refuse a prompt for reasons of form: a call without a result, a result without a call, a blank text, a search without its
//! hits. A chat whose log once led to such a prompt would be refused for ever. So a [`ModelCall`](crate::model::ModelCall) takes nothing
//! but a [`ValidHistory`], and there are two ways to one: messages that [are valid](ValidHistory::check), and messages that
//! [were repaired](ValidHistory::repair).
//!
//! ```
//! use chatwright_core::content::Part;
//! use chatwright_core::history::ValidHistory;
//! use chatwright_core::model::{Message, ModelCall, Role};
//!
//! let said = |role, text| Message::new(role, vec![Part::text(text)]);
//! let (history, repairs) = ValidHistory::repair(vec![said(Role::User, "Hi"), said(Role::Assistant, " ")]);
//! assert_eq!(history.messages(), [said(Role::User, "Hi")]);
//! assert_eq!((repairs[0].at, repairs[0].becomes.len()), (1, 0));
//!
//! // Whoever does not care what was repaired gives the messages as they are.
//! let call = ModelCall::new(vec![said(Role::User, "Hi"), said(Role::Assistant, " ")]);
//! assert_eq!(call.prompt, history);
//! ```

mod check;
mod mend;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::check::End;
use crate::content::Part;
use crate::model::Message;

/// Messages that keep the rules of every provider. Each rule is a [`Rule`]; what is peculiar to one format is the duty of its
/// adapter: that roles alternate, which letters an id may have.
///
/// Clones share their messages. So a long history costs nothing to hand on, and little to [extend](Self::extend).
#[derive(Clone, Default)]
pub struct ValidHistory(Arc<Checked>);

#[derive(Default)]
struct Checked {
    messages: Vec<Message>,
    /// Of which messages these are: what two that share a line both have at a place is the same.
    line: Line,
    /// What the check remembers of them.
    end: End,
}

impl Clone for Checked {
    /// The copy goes ways of its own.
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), line: Line::default(), end: self.end.clone() }
    }
}

/// How far a history was when it was looked at: see [`ValidHistory::since`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    line: Line,
    len: usize,
}

/// No two are equal but copies of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line(u64);

impl Default for Line {
    fn default() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// A message that had to be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Repair {
    /// Its place among the messages that were given.
    pub at: usize,
    /// The rules that it broke. A message of which only others' parts were put in or taken out has broken none.
    pub rules: Vec<Rule>,
    /// What stands in its place.
    pub becomes: Vec<Message>,
}

/// Messages that do not keep the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {at} of the prompt: {rule}")]
pub struct Invalid {
    /// The first message that breaks a rule.
    pub at: usize,
    /// The rule.
    pub rule: Rule,
}

/// What is true of every message of a [`ValidHistory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Instructions stand before everything else, in their order.
    InstructionsFirst,
    /// No message is empty, and no text or thought is blank; one with metadata is not blank.
    NothingBlank,
    /// A thought that nobody signed is for people and not sent back.
    ThoughtsAreSigned,
    /// Calls stand in answers, results of local calls in tool messages, and nothing else does but what only its provider knows.
    PartsInTheirPlace,
    /// Every local call has one result, in the tool messages directly behind its answer, in the order of the calls and under their
    /// names.
    CallsAreAnswered,
    /// A result answers a call, and no other result does.
    ResultsAnswerCalls,
    /// A call that the provider ran has an id of its own, a name and arguments in JSON, and its result comes behind it before somebody
    /// speaks; until then it may still run.
    RunsAreWhole,
}

impl ValidHistory {
    /// The version of the repair. Repairs that were stored name the version that made them, and stay as they are.
    pub const RULES: u32 = 1;

    /// Makes messages valid, and tells which of them had to be changed, oldest first. It takes any messages, leaves valid ones as
    /// they are, and gives the same for the same.
    ///
    /// A call without a result gets one that says so. A result whose call is not there is removed, and its words are kept as text;
    /// so are those of a provider's run of which only a half is there. No part with metadata is dropped but such halves and results.
    pub fn repair(messages: Vec<Message>) -> (Self, Vec<Repair>) {
        match check::check(&messages) {
            Ok(end) => (Self::checked(messages, end), Vec::new()),
            Err(_) => {
                let (mended, repairs) = mend::mend(&messages);
                let end = End::of(&mended);
                (Self::checked(mended, end), repairs)
            }
        }
    }

    /// Takes messages that are valid.
    ///
    /// # Errors
    /// [`Invalid`] if they are not.
    pub fn check(messages: Vec<Message>) -> Result<Self, Invalid> {
        let end = check::check(&messages)?;
        Ok(Self::checked(messages, end))
    }

    /// Takes more messages in behind the others, if they are valid there. Only these are looked at, however many there are before them;
    /// those are copied if a clone is still held.
    ///
    /// # Errors
    /// [`Invalid`], with the place in the whole, if they are not; nothing is changed then.
    pub fn extend(&mut self, more: Vec<Message>) -> Result<(), Invalid> {
        let Checked { messages, end, .. } = Arc::make_mut(&mut self.0);
        if let Err(Invalid { at, rule }) = end.go_on(&more) {
            *end = End::of(messages);
            return Err(Invalid { at: messages.len() + at, rule });
        }
        messages.extend(more);
        Ok(())
    }

    fn checked(messages: Vec<Message>, end: End) -> Self {
        Self(Arc::new(Checked { messages, line: Line::default(), end }))
    }

    /// How far it is, for [`since`](Self::since).
    pub fn grown(&self) -> Grown {
        Grown { line: self.0.line, len: self.0.messages.len() }
    }

    /// The messages that it was [extended](Self::extend) by since then, found without a look at the others. `None`: that was another
    /// history, or this one has been copied since; their beginnings may be the same nevertheless.
    pub fn since(&self, then: Grown) -> Option<&[Message]> {
        (self.0.line == then.line).then(|| &self.0.messages[then.len..])
    }

    /// The messages, oldest first.
    pub fn messages(&self) -> &[Message] {
        &self.0.messages
    }

    /// The messages, to be changed: what comes of it has to be repaired or checked again. They are copied if a clone is still held.
    pub fn into_messages(self) -> Vec<Message> {
        match Arc::try_unwrap(self.0) {
            Ok(checked) => checked.messages,
            Err(shared) => shared.messages.clone(),
        }
    }
}

impl PartialEq for ValidHistory {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.messages() == other.messages()
    }
}

impl fmt::Debug for ValidHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValidHistory").field(&self.messages()).finish()
    }
}

/// What of an answer is sent back to a model: no blank texts, and no thoughts that nobody signed. White space between two texts goes to one
/// of them, because the words on both sides would run together.
pub fn sent_back(content: &[Part]) -> Vec<Part> {
    let mut sent: Vec<Part> = Vec::with_capacity(content.len());
    // White space behind a text.
    let mut space = String::new();
    for part in content {
        match part {
            Part::Reasoning { metadata, .. } if metadata.is_empty() => continue,
            Part::Text { text, .. } if part.is_blank() => {
                if matches!(sent.last(), Some(Part::Text { .. })) {
                    space.push_str(text);
                }
                continue;
            }
            Part::Text { text, metadata } if metadata.is_empty() => {
                sent.push(Part::text(std::mem::take(&mut space) + text));
                continue;
            }
            // What a provider signed stays as it was signed.
            Part::Text { .. } => {
                if let Some(Part::Text { text: before, metadata }) = sent.last_mut()
                    && metadata.is_empty()
                {
                    before.push_str(&space);
                }
            }
            _ => {}
        }
        space.clear();
        sent.push(part.clone());
    }
    sent
}

/// Repairs what has to be repaired. [`ValidHistory::repair`] tells what that was.
impl From<Vec<Message>> for ValidHistory {
    fn from(messages: Vec<Message>) -> Self {
        Self::repair(messages).0
    }
}

impl Deref for ValidHistory {
    type Target = [Message];

    fn deref(&self) -> &[Message] {
        self.messages()
    }
}

impl<'a> IntoIterator for &'a ValidHistory {
    type Item = &'a Message;
    type IntoIter = std::slice::Iter<'a, Message>;

    fn into_iter(self) -> Self::IntoIter {
        self.messages().iter()
    }
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::InstructionsFirst,
        Self::NothingBlank,
        Self::ThoughtsAreSigned,
        Self::PartsInTheirPlace,
        Self::CallsAreAnswered,
        Self::ResultsAnswerCalls,
        Self::RunsAreWhole,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InstructionsFirst => "instructions stand behind what was said",
            Self::NothingBlank => "something is blank",
            Self::ThoughtsAreSigned => "a thought is not signed",
            Self::PartsInTheirPlace => "a part stands where it may not",
            Self::CallsAreAnswered => "a call has no result directly behind its answer",
            Self::ResultsAnswerCalls => "a result answers no call",
            Self::RunsAreWhole => "of what the provider ran only a half is there",
        })
    }
}
