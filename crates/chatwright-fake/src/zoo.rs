//! Faults with names: what happens between a provider and its callers, to be played on purpose.
//!
//! Each [`Fault`] has a [`Reply`] that plays in all four wire formats, over HTTP/1.1 and HTTP/2 and in process, and an [`Outcome`]:
//! what an honest adapter must make of it. So a host tests its own adapter, and what it does when an answer fails:
//!
//! ```
//! use chatwright_fake::zoo::{Fault, Outcome};
//! use chatwright_fake::{FakeServer, Script};
//!
//! # async fn example() -> std::io::Result<()> {
//! for fault in Fault::ALL {
//!     let server = FakeServer::start(Script::new(vec![fault.reply()])).await?;
//!     // Ask your own model at `server.base_url()`.
//!     match fault.outcome() {
//!         Outcome::Answer(reason) => println!("{fault}: an answer that ends with {reason:?}"),
//!         Outcome::Failure(cause) => println!("{fault}: {cause}"),
//!         Outcome::Silence => println!("{fault}: nothing more, until you go away"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | fault | what happens | what it must come to |
//! |---|---|---|
//! | `full` | a whole answer in good order | answer |
//! | `429` | too many requests, with `retry-after` | failure: status |
//! | `echoed-429` | the same, and the provider repeats key and request | failure: status, without the key |
//! | `502-with-html` | a proxy's own page, as its server is away | failure: status |
//! | `200-with-html` | a page to log in at | failure: protocol |
//! | `wrong-content-type` | a good event stream that says to be plain text | failure: protocol |
//! | `error-first` | 200, and then nothing but an error | failure: in the stream |
//! | `error-in-mid-stream` | an error after some text | failure: in the stream |
//! | `failed` | the provider's own terminal event of a failure, where it has one | failure: in the stream |
//! | `incomplete` | the answer meets the limit of its length | answer, cut |
//! | `empty-stream` | 200 and no event (truncated at zero) | failure: truncated |
//! | `truncated-between-events` | the stream ends after a few words, cleanly | failure: truncated |
//! | `truncated-inside-an-event` | the stream ends inside an event, cleanly | failure: truncated |
//! | `truncated-after-text` | everything comes but the terminal event | failure: truncated |
//! | `truncated-on-connection-close` | a body without an end of its own ends after a few words | failure: truncated |
//! | `without-the-final-blank-line` | the terminal event comes whole, without the blank line behind it | answer |
//! | `aborted` | the connection is reset after a few words | failure: reset |
//! | `rst-stream-no-error` | HTTP/2 ends the stream after a few words with `RST_STREAM(NO_ERROR)`, which clients take for a clean end | failure: truncated |
//! | `garbage` | an event's data is no JSON | failure: protocol |
//! | `over-long-event` | an event of more than 16 MiB, and then a good end | failure: protocol |
//! | `unknown-event` | an event of a type that nobody knows yet | answer |
//! | `unknown-block` | content of a type that nobody knows yet | answer |
//! | `stall` | nothing more after a few words | silence |
//! | `pings-only` | signs of life, and then nothing more | silence |
//! | `slow-headers` | nothing at all, not even a status | silence |
//! | `byte-by-byte` | an answer in pieces of one byte, characters cut too | answer |
//! | `crlf-split` | lines end with CR and LF, which never come together; data is in two lines | answer |
//! | `bom` | a byte-order mark before the first event | answer |
//! | `parallel-tools` | several calls whose pieces interleave | answer |
//! | `duplicate-ids` | two calls with one id | answer |
//! | `5-mb-argument` | a call with 5 MB of arguments | answer |
//! | `cut-arguments` | the answer meets the limit of its length inside a call's arguments | answer, cut, without the call |
//! | `truncated-tool` | the stream ends inside a call's arguments, cleanly | failure: truncated, without the call |
//! | `thinking` | thoughts before the text | answer |
//! | `redacted-thinking` | a thought that only the provider can read | answer |
//! | `web-search-and-citations` | a tool that the provider runs, its result, and a text that refers to it | answer |

mod reply;

use std::fmt;

use chatwright_core::error::Cause;
use chatwright_core::model::FinishReason;

use crate::reply::Reply;

/// A header of every reply, so that a test can see that failures keep headers.
pub const REQUEST_ID: (&str, &str) = ("x-request-id", "req_zoo");

/// What an honest adapter must make of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A complete answer that ends for this reason. Calls that are cut are none of it.
    Answer(FinishReason),
    /// A failure of this cause, with the status and the headers of the response.
    Failure(Cause),
    /// No end: what came is handed on, and the request stays open until its caller goes away, which ends it at the server too.
    Silence,
}

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $fault:ident, $name:literal, $outcome:expr;)*) => {
        /// Something that happens between a provider and its callers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[doc = $doc])+ $fault,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// Its name in the table.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$fault => $name,)*
                }
            }

            /// What an honest adapter must make of it.
            pub fn outcome(self) -> Outcome {
                match self {
                    $(Self::$fault => $outcome,)*
                }
            }
        }
    };
}

const ANSWER: Outcome = Outcome::Answer(FinishReason::Stop);
const CALLS: Outcome = Outcome::Answer(FinishReason::ToolCalls);
const CUT: Outcome = Outcome::Answer(FinishReason::Length);
const STATUS: Outcome = Outcome::Failure(Cause::Status);
const IN_STREAM: Outcome = Outcome::Failure(Cause::InStream);
const TRUNCATED: Outcome = Outcome::Failure(Cause::Truncated);
const PROTOCOL: Outcome = Outcome::Failure(Cause::Protocol);

faults! {
    /// A whole answer in good order.
    Full, "full", ANSWER;
    /// Too many requests.
    TooManyRequests, "429", STATUS;
    /// Too many requests, and the provider repeats the caller's key and request.
    EchoedTooManyRequests, "echoed-429", STATUS;
    /// A proxy's own page, as its server is away.
    BadGatewayWithHtml, "502-with-html", STATUS;
    /// A page with status 200.
    OkWithHtml, "200-with-html", PROTOCOL;
    /// An event stream that says to be plain text. It may be cut or made up: nobody vouches for it.
    WrongContentType, "wrong-content-type", PROTOCOL;
    /// 200, and then nothing but an error.
    ErrorFirst, "error-first", IN_STREAM;
    /// An error after some text.
    ErrorInMidStream, "error-in-mid-stream", IN_STREAM;
    /// The provider's own terminal event of a failure, where it has one.
    Failed, "failed", IN_STREAM;
    /// The answer meets the limit of its length.
    Incomplete, "incomplete", CUT;
    /// 200 and no event.
    EmptyStream, "empty-stream", TRUNCATED;
    /// The stream ends after a few words, cleanly.
    TruncatedBetweenEvents, "truncated-between-events", TRUNCATED;
    /// The stream ends inside an event, cleanly.
    TruncatedInsideAnEvent, "truncated-inside-an-event", TRUNCATED;
    /// Everything comes but the terminal event.
    TruncatedAfterText, "truncated-after-text", TRUNCATED;
    /// A body without an end of its own ends after a few words.
    TruncatedOnConnectionClose, "truncated-on-connection-close", TRUNCATED;
    /// The terminal event comes whole, without the blank line behind it.
    WithoutTheFinalBlankLine, "without-the-final-blank-line", ANSWER;
    /// The connection is reset after a few words.
    Aborted, "aborted", Outcome::Failure(Cause::Reset);
    /// HTTP/2 ends the stream after a few words with `RST_STREAM(NO_ERROR)`, which clients take for a clean end. Over HTTP/1.1, as
    /// a gateway hands it on: with a clean end.
    RstStreamNoError, "rst-stream-no-error", TRUNCATED;
    /// An event's data is no JSON.
    Garbage, "garbage", PROTOCOL;
    /// An event of more than 16 MiB, and then a good end for those who have no bound.
    OverLongEvent, "over-long-event", PROTOCOL;
    /// An event of a type that nobody knows yet.
    UnknownEvent, "unknown-event", ANSWER;
    /// Content of a type that nobody knows yet.
    UnknownBlock, "unknown-block", ANSWER;
    /// Nothing more after a few words.
    Stall, "stall", Outcome::Silence;
    /// Signs of life, and then nothing more.
    PingsOnly, "pings-only", Outcome::Silence;
    /// Nothing at all, not even a status.
    SlowHeaders, "slow-headers", Outcome::Silence;
    /// An answer in pieces of one byte, characters cut too.
    ByteByByte, "byte-by-byte", ANSWER;
    /// Lines end with CR and LF, which never come together, and data is in two lines.
    CrlfSplit, "crlf-split", ANSWER;
    /// A byte-order mark before the first event.
    Bom, "bom", ANSWER;
    /// Several calls whose pieces interleave.
    ParallelTools, "parallel-tools", CALLS;
    /// Two calls with one id. Both are wanted: they differ.
    DuplicateIds, "duplicate-ids", CALLS;
    /// A call with 5 MB of arguments.
    HugeArgument, "5-mb-argument", CALLS;
    /// The answer meets the limit of its length inside a call's arguments.
    CutArguments, "cut-arguments", CUT;
    /// The stream ends inside a call's arguments, cleanly.
    TruncatedTool, "truncated-tool", TRUNCATED;
    /// Thoughts before the text.
    Thinking, "thinking", ANSWER;
    /// A thought that only the provider can read.
    RedactedThinking, "redacted-thinking", ANSWER;
    /// A tool that the provider runs, its result, and a text that refers to it.
    WebSearchAndCitations, "web-search-and-citations", ANSWER;
}

impl Fault {
    /// What a server does when it happens. Every reply has the header [`REQUEST_ID`].
    pub fn reply(self) -> Reply {
        reply::of(self).with_header(REQUEST_ID.0, REQUEST_ID.1)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
