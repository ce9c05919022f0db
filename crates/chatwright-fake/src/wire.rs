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
    /// OpenAI's Chat Completions, and how many calls it has made so far.
    Chat(usize),
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
            _ => Self::Chat(0),
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
        match self {
            Self::Chat(_) if *step == Step::Ping => vec![": ping\n\n".to_owned()],
            Self::Chat(calls) => {
                chat::events(step, calls).iter().map(|data| format!("data: {data}\n\n")).collect()
            }
            Self::Messages(reply) => reply.events(step),
            Self::Responses(_) if *step == Step::Ping => vec![": ping\n\n".to_owned()],
            Self::Responses(reply) => reply.events(step),
            Self::Gemini(reply) => reply.events(step),
        }
    }
}
