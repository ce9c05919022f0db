use std::time::Duration;

use chatwright_core::model::{FinishReason, Usage};

/// A step of a stream.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// A piece of text.
    Text(String),
    /// A piece of reasoning.
    Reasoning(String),
    /// A call, its arguments in pieces.
    Call {
        /// The call's id.
        id: String,
        /// The tool.
        name: String,
        /// The arguments, piece by piece.
        arguments: Vec<String>,
    },
    /// What it cost.
    Usage(Usage),
    /// Why it stopped; the stream ends with it.
    Finish(FinishReason),
    /// An error inside the stream.
    Error {
        /// Its type.
        kind: String,
        /// Its code; left out where it is empty and the format has no place for one.
        code: String,
        /// Its words.
        message: String,
    },
    /// Any data of an event.
    Raw(String),
    /// Bytes of the body as they are: other line ends, half an event. Only a server sends them.
    Bytes(Vec<u8>),
    /// A comment, or a ping where the format has one: a sign of life.
    Ping,
    /// A pause.
    Pause(Duration),
    /// Nothing more, until the caller goes away.
    Stall,
}
