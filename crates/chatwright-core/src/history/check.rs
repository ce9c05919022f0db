//! The rules, as one walk over the messages.

use std::collections::{BTreeSet, VecDeque};

use serde::de::IgnoredAny;

use super::{Invalid, Rule};
use crate::content::Part;
use crate::model::{Message, Role};

pub(super) fn check(messages: &[Message]) -> Result<End, Invalid> {
    let mut end = End::default();
    end.go_on(messages)?;
    Ok(end)
}

/// What has to be known of valid messages to go on behind them.
#[derive(Clone, Default)]
pub(super) struct End {
    /// Something else than instructions was seen.
    begun: bool,
    /// Ids of all calls that the provider ran.
    runs: BTreeSet<Box<str>>,
    /// Those that have no result yet.
    running: BTreeSet<Box<str>>,
}

impl End {
    /// The end of messages that are valid.
    pub(super) fn of(messages: &[Message]) -> Self {
        let mut end = Self::default();
        let walked = end.go_on(messages);
        debug_assert_eq!(walked, Ok(()), "{messages:?}");
        end
    }

    /// Walks over more messages.
    ///
    /// # Errors
    /// [`Invalid`] with the place among these; what the end is then is of no use.
    pub(super) fn go_on(&mut self, messages: &[Message]) -> Result<(), Invalid> {
        let mut walk = Walk { end: self, waiting: VecDeque::new() };
        for (at, message) in messages.iter().enumerate() {
            walk.message(message).map_err(|rule| Invalid { at, rule })?;
        }
        walk.all_answered().map_err(|rule| Invalid { at: messages.len() - 1, rule })
    }
}

struct Walk<'a> {
    end: &'a mut End,
    /// Calls of the last answer that wait for their results, by id and name.
    waiting: VecDeque<(&'a str, &'a str)>,
}

impl<'a> Walk<'a> {
    fn message(&mut self, message: &'a Message) -> Result<(), Rule> {
        if message.role != Role::Tool {
            self.all_answered()?;
        }
        if message.content.is_empty() {
            return Err(Rule::NothingBlank);
        }
        match message.role {
            Role::System if self.end.begun => return Err(Rule::InstructionsFirst),
            Role::System => {}
            // What ran until then will never have a result.
            Role::User if !self.end.running.is_empty() => return Err(Rule::RunsAreWhole),
            _ => self.end.begun = true,
        }
        message.content.iter().try_for_each(|part| self.part(message.role, part))
    }

    fn part(&mut self, role: Role, part: &'a Part) -> Result<(), Rule> {
        if part.is_blank() {
            return Err(Rule::NothingBlank);
        }
        match (role, part) {
            (_, Part::Reasoning { metadata, .. }) if metadata.is_empty() => Err(Rule::ThoughtsAreSigned),
            (_, Part::Unknown(_)) => Ok(()),
            (Role::Assistant, Part::ToolCall { id, name, provider_executed: false, .. }) => {
                self.waiting.push_back((id, name));
                Ok(())
            }
            (Role::Assistant, Part::ToolCall { id, name, input, .. }) => {
                self.end.running.insert(id.clone());
                let is_valid = is_run(id, name, input) && self.end.runs.insert(id.clone());
                is_valid.then_some(()).ok_or(Rule::RunsAreWhole)
            }
            (Role::Assistant, Part::ToolResult { call_id, provider_executed: true, .. }) => {
                let answers = self.end.running.remove(call_id);
                answers.then_some(()).ok_or(Rule::RunsAreWhole)
            }
            (Role::Tool, Part::ToolResult { call_id, name, provider_executed: false, .. }) => {
                match self.waiting.pop_front() {
                    None => Err(Rule::ResultsAnswerCalls),
                    Some(call) if call != (&**call_id, &**name) => Err(Rule::CallsAreAnswered),
                    Some(_) => Ok(()),
                }
            }
            (Role::Tool, _) | (_, Part::ToolCall { .. } | Part::ToolResult { .. }) => {
                Err(Rule::PartsInTheirPlace)
            }
            _ => Ok(()),
        }
    }

    fn all_answered(&self) -> Result<(), Rule> {
        if self.waiting.is_empty() { Ok(()) } else { Err(Rule::CallsAreAnswered) }
    }
}

/// Whether a call that a provider ran may be sent back.
pub(super) fn is_run(id: &str, name: &str, input: &str) -> bool {
    !id.is_empty() && !name.is_empty() && serde_json::from_str::<IgnoredAny>(input).is_ok()
}
