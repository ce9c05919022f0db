use std::time::Duration;

use chatwright_core::model::{FinishReason, Usage};

use super::Fault;
use crate::reply::{Ending, LineEnds, Reply};
use crate::step::{FakeCall, Step};

/// What is said, with characters of one to four bytes.
const WORDS: &str = "Déjà vu: it is noon in Zürich 😀.";

/// Bytes of the argument that is too large for careless code.
const ARGUMENT_BYTES: usize = 5_000_000;

/// Bytes of the event that is too large for anyone: over 16 MiB.
const EVENT_BYTES: usize = 16 * 1024 * 1024 + 1;

/// What a server does when it happens.
pub(super) fn of(fault: Fault) -> Reply {
    let whole = || Reply::text(WORDS);
    let cut = || Reply::steps(words());
    match fault {
        Fault::Full => whole(),
        Fault::TooManyRequests => too_many("You are asking too often."),
        Fault::EchoedTooManyRequests => {
            too_many("Key {key} is asking too often for {request}").with_header("x-caller", "{key}").echoing()
        }
        Fault::BadGatewayWithHtml => {
            let page = "<html><head><title>502 Bad Gateway</title></head></html>";
            Reply::status(502, page).with_header("content-type", "text/html")
        }
        Fault::OkWithHtml => Reply::html(),
        Fault::WrongContentType => whole().with_header("content-type", "text/plain"),
        Fault::ErrorFirst => Reply::steps(vec![overloaded()]),
        Fault::ErrorInMidStream => then([overloaded()]),
        Fault::Failed => {
            let (code, message) = ("server_error".to_owned(), "The model went away.".to_owned());
            then([Step::Failed { code, message }])
        }
        Fault::Incomplete => ends(FinishReason::Length, []),
        Fault::EmptyStream => Reply::steps(Vec::new()),
        Fault::TruncatedBetweenEvents => cut(),
        Fault::TruncatedInsideAnEvent => then([Step::Half(Box::new(Step::Text("and then".to_owned())))]),
        Fault::TruncatedAfterText => then([usage(), Step::Unfinished(FinishReason::Stop)]),
        Fault::TruncatedOnConnectionClose => cut().until_close(),
        Fault::WithoutTheFinalBlankLine => whole().unterminated(),
        Fault::Aborted => cut().ending(Ending::Abort),
        Fault::RstStreamNoError => cut().ending(Ending::Reset(0)),
        Fault::Garbage => then([Step::Garbage]),
        Fault::OverLongEvent => ends(FinishReason::Stop, [unknown_event(EVENT_BYTES)]),
        Fault::UnknownEvent => ends(FinishReason::Stop, [unknown_event(0)]),
        Fault::UnknownBlock => ends(FinishReason::Stop, [Step::UnknownBlock("hologram".to_owned())]),
        Fault::Stall => then([Step::Stall]),
        Fault::PingsOnly => Reply::steps(vec![Step::Ping, Step::Ping, Step::Ping, Step::Stall]),
        Fault::SlowHeaders => whole().delayed(Duration::MAX),
        Fault::ByteByByte => whole().in_pieces_of(1),
        Fault::CrlfSplit => whole().with_line_ends(LineEnds::SplitCrLf),
        Fault::Bom => {
            let mut reply = whole();
            reply.steps.insert(0, Step::Bytes(b"\xef\xbb\xbf".to_vec()));
            reply
        }
        Fault::ParallelTools => calls([
            FakeCall::new("call_a", "clock", r#"{"city":"Zürich"}"#),
            FakeCall::new("call_b", "weather", r#"{"city":"Zürich","days":3}"#),
            FakeCall::new("call_c", "news", "{}"),
        ]),
        Fault::DuplicateIds => calls(
            [r#"{"city":"Zürich"}"#, r#"{"city":"Basel"}"#]
                .map(|input| FakeCall::new("call_0", "clock", input)),
        ),
        Fault::HugeArgument => calls([huge()]),
        Fault::CutArguments => ends(FinishReason::Length, [Step::CutCall(half_a_call())]),
        Fault::TruncatedTool => then([Step::CutCall(half_a_call())]),
        Fault::Thinking => {
            let thoughts = ["Which city ", "is meant?"].map(|thought| Step::Reasoning(thought.to_owned()));
            after(thoughts)
        }
        Fault::RedactedThinking => after([Step::RedactedReasoning("c2VjcmV0IHRob3VnaHQ=".to_owned())]),
        Fault::WebSearchAndCitations => search(),
    }
}

fn words() -> Vec<Step> {
    WORDS.split_inclusive(' ').map(|word| Step::Text(word.to_owned())).collect()
}

fn usage() -> Step {
    Step::Usage(Usage { input: Some(10), output: Some(5), ..Usage::default() })
}

/// A few words, and then this.
fn then(steps: impl IntoIterator<Item = Step>) -> Reply {
    Reply::steps(words().into_iter().chain(steps).collect())
}

/// A few words, this, and an end for this reason.
fn ends(reason: FinishReason, steps: impl IntoIterator<Item = Step>) -> Reply {
    then(steps.into_iter().chain([usage(), Step::Finish(reason)]))
}

/// This, a few words, and a good end.
fn after(steps: impl IntoIterator<Item = Step>) -> Reply {
    let mut reply = Reply::text(WORDS);
    reply.steps.splice(0..0, steps);
    reply
}

fn calls(calls: impl IntoIterator<Item = FakeCall>) -> Reply {
    ends(FinishReason::ToolCalls, [Step::Calls(calls.into_iter().collect())])
}

fn too_many(message: &str) -> Reply {
    // Providers agree on little: each finds here what it looks for.
    let body = format!(
        r#"{{"error":{{"type":"rate_limit_error","code":429,"status":"RESOURCE_EXHAUSTED","message":"{message}"}}}}"#
    );
    Reply::status(429, body).with_header("retry-after", "7")
}

fn overloaded() -> Step {
    let (kind, message) = ("overloaded_error".to_owned(), "Too much to do.".to_owned());
    Step::Error { kind, code: "503".to_owned(), message }
}

fn unknown_event(blanks: usize) -> Step {
    Step::UnknownEvent { kind: "zoo.weather".to_owned(), blanks }
}

fn half_a_call() -> FakeCall {
    let arguments = ["{\"city\":", "\"Zür"].map(str::to_owned).into();
    FakeCall { id: "call_a".to_owned(), name: "clock".to_owned(), arguments }
}

fn huge() -> FakeCall {
    let piece = "0123456789".repeat(10_000);
    let mut arguments = vec![piece.clone(); ARGUMENT_BYTES / piece.len()];
    arguments.insert(0, r#"{"text":""#.to_owned());
    arguments.push(r#""}"#.to_owned());
    FakeCall { id: "call_a".to_owned(), name: "store".to_owned(), arguments }
}

fn search() -> Reply {
    let (url, title) = ("https://time.example/zurich".to_owned(), "Time in Zürich".to_owned());
    let search = Step::Search {
        id: "srvtoolu_a".to_owned(),
        query: "time in Zürich".to_owned(),
        url: url.clone(),
        title: title.clone(),
    };
    let mut reply = after([search]);
    let end = reply.steps.len() - 2;
    reply.steps.insert(end, Step::Cited { text: " It is noon.".to_owned(), url, title });
    reply
}
