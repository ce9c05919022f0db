//! The wire formats.

mod chat;
mod gemini;
mod messages;
mod responses;

use serde_json::Value;

use crate::script::FakeMessage;
use crate::step::Step;

/// A reply on its way, in the format of what was asked for.
pub(crate) enum Wire {
    /// OpenAI's Chat Completions.
    Chat(chat::Reply),
    /// Anthropic's Messages.
    Messages(messages::Reply),
    /// OpenAI's Responses.
    Responses(responses::Reply),
    /// Google's Gemini.
    Gemini(gemini::Reply),
}

impl Wire {
    /// The format of a path.
    pub(crate) fn of(path: &str) -> Self {
        let path = path.split('?').next().unwrap_or_default();
        match path.rsplit('/').next() {
            Some("messages") => Self::Messages(messages::Reply::default()),
            Some("responses") => Self::Responses(responses::Reply::default()),
            Some(last) if last.ends_with(":streamGenerateContent") => Self::Gemini(gemini::Reply::default()),
            _ => Self::Chat(chat::Reply::default()),
        }
    }

    /// The messages of a request.
    pub(crate) fn messages(&self, body: &Value) -> Vec<FakeMessage> {
        match self {
            Self::Chat(_) => chat::messages(body),
            Self::Messages(_) => messages::messages(body),
            Self::Responses(_) => responses::messages(body),
            Self::Gemini(_) => gemini::messages(body),
        }
    }

    /// The events of a step, where it makes any.
    pub(crate) fn events(&mut self, step: &Step) -> Vec<String> {
        match step {
            Step::Half(step) => return vec![half(self.events(step).concat())],
            Step::Raw(data) => return vec![self.line(data)],
            Step::Garbage => return vec![self.line("<no JSON>")],
            _ => {}
        }
        let mut events = match self {
            Self::Chat(reply) => reply.events(step),
            Self::Messages(reply) => reply.events(step),
            Self::Responses(reply) => reply.events(step),
            Self::Gemini(reply) => reply.events(step),
        };
        if let (Step::UnknownEvent { blanks, .. }, Some(event)) = (step, events.last_mut()) {
            *event = event.replacen("data: {", &format!("data: {{{}", " ".repeat(*blanks)), 1);
        }
        events
    }

    /// An event of any data.
    fn line(&self, data: &str) -> String {
        let end = if matches!(self, Self::Gemini(_)) { "\r\n\r\n" } else { "\n\n" };
        format!("data: {data}{end}")
    }
}

fn half(mut events: String) -> String {
    let half = (0..=events.len() / 2).rev().find(|&at| events.is_char_boundary(at)).unwrap_or(0);
    events.truncate(half);
    events
}
