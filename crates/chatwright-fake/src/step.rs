use std::time::Duration;

use chatwright_core::model::{FinishReason, Usage};

/// A step of a stream. Every step makes valid events in each wire format; where a format has no place for a thing, the step makes
/// the nearest true thing or nothing, as it says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// A piece of text.
    Text(String),
    /// A text that refers to a page.
    Cited {
        /// The text.
        text: String,
        /// The page's address.
        url: String,
        /// The page's title.
        title: String,
    },
    /// A piece of reasoning.
    Reasoning(String),
    /// A thought that only the provider can read, in base64. Chat Completions has none: nothing there; Gemini sends a signature
    /// without a text.
    RedactedReasoning(String),
    /// A call, its arguments in pieces. Gemini sends it whole.
    Call {
        /// The call's id.
        id: String,
        /// The tool.
        name: String,
        /// The arguments, piece by piece.
        arguments: Vec<String>,
    },
    /// Several calls at once; their pieces interleave. Gemini sends them whole, in one event.
    Calls(Vec<FakeCall>),
    /// A call whose arguments do not end. Gemini sends the pieces as those of one text among the arguments.
    CutCall(FakeCall),
    /// A search of the web that the provider runs itself, and the page that it found. Chat Completions has no place for it: nothing
    /// there; Gemini tells of it with the end of the answer.
    Search {
        /// The call's id.
        id: String,
        /// What is searched for.
        query: String,
        /// The page's address.
        url: String,
        /// The page's title.
        title: String,
    },
    /// A block of a type that nobody knows yet; in Chat Completions a field.
    UnknownBlock(String),
    /// An event of a type that nobody knows yet.
    UnknownEvent {
        /// Its type.
        kind: String,
        /// How many blanks are in it beside its data.
        blanks: usize,
    },
    /// An event whose data is no JSON.
    Garbage,
    /// What it cost.
    Usage(Usage),
    /// Why it stopped; the stream ends with it.
    Finish(FinishReason),
    /// All that comes before the terminal event of a [`Finish`](Self::Finish), and not that event.
    Unfinished(FinishReason),
    /// An error inside the stream.
    Error {
        /// Its type.
        kind: String,
        /// Its code; left out where it is empty and the format has no place for one.
        code: String,
        /// Its words.
        message: String,
    },
    /// The provider's own end of an answer that failed: `response.failed` of Responses. Others have none but an error inside the
    /// stream, whose type is then that code.
    Failed {
        /// Its code.
        code: String,
        /// Its words.
        message: String,
    },
    /// The first half of the bytes that a step makes.
    Half(Box<Step>),
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

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FakeCall {
    /// Its id.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, piece by piece.
    pub arguments: Vec<String>,
}

impl FakeCall {
    /// A call of a tool, its arguments in two pieces.
    pub fn new(id: &str, name: &str, arguments: &str) -> Self {
        let half = (0..=arguments.len() / 2).rev().find(|&at| arguments.is_char_boundary(at)).unwrap_or(0);
        let arguments = [&arguments[..half], &arguments[half..]].map(str::to_owned).into();
        Self { id: id.to_owned(), name: name.to_owned(), arguments }
    }
}

impl From<FakeCall> for Step {
    fn from(FakeCall { id, name, arguments }: FakeCall) -> Self {
        Self::Call { id, name, arguments }
    }
}

/// The pieces of calls in turns: which call, and the piece.
pub(crate) fn in_turns(calls: &[FakeCall]) -> impl Iterator<Item = (usize, &str)> {
    let rounds = calls.iter().map(|call| call.arguments.len()).max().unwrap_or(0);
    (0..rounds).flat_map(move |round| {
        calls.iter().enumerate().filter_map(move |(at, call)| Some((at, call.arguments.get(round)?.as_str())))
    })
}
