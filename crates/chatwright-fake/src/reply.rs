use std::time::Duration;

use chatwright_core::model::{FinishReason, Usage};

use crate::step::{FakeCall, Step};

/// What a model answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The HTTP status; other than 200 the steps are not played.
    pub status: u16,
    /// Response headers, added to or put in place of the usual ones.
    pub headers: Vec<(String, String)>,
    /// The body of a reply that is not a stream.
    pub body: Option<String>,
    /// Where the body and the headers say `{key}` and the body `{request}`, there stand the key and the body of the request.
    pub echoes: bool,
    /// What streams.
    pub steps: Vec<Step>,
    /// The connection is cut after so many bytes of the streamed body.
    pub cut_after: Option<usize>,
    /// The streamed body goes out in pieces of so many bytes; 0: an event at a time.
    pub piece_bytes: usize,
    /// How the lines of its events end.
    pub line_ends: LineEnds,
    /// The streamed body ends without the blank line of its last event.
    pub unterminated: bool,
    /// How the streamed body ends.
    pub ending: Ending,
    /// How long the headers take; [`Duration::MAX`]: until the caller goes away.
    pub delay: Duration,
}

/// How the lines of events end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineEnds {
    /// As the provider sends them.
    #[default]
    Usual,
    /// With CR and LF, which never come together. Data is in two lines, so that one line end too many breaks it.
    SplitCrLf,
}

/// How a streamed body ends after its last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// As HTTP has it: with the last chunk, or with END_STREAM.
    #[default]
    Regular,
    /// With the connection, as old proxies send it. HTTP/2 knows no such end: there it is the regular one.
    Close,
    /// Not at all: the connection is reset. Over HTTP/2 it closes without a GOAWAY.
    Abort,
    /// With a RST_STREAM of this code (RFC 9113, section 7), where 0 is NO_ERROR. Over HTTP/1.1, which has no streams, NO_ERROR is
    /// the regular end, and with any other code the connection closes before it.
    Reset(u32),
    /// With a GOAWAY of this code and the end of the connection; over HTTP/1.1 with that alone.
    GoAway(u32),
    /// Before it begins: nothing is played. Over HTTP/2 the stream is refused (REFUSED_STREAM), over HTTP/1.1 the connection
    /// closes without a word.
    Refused,
}

impl Reply {
    /// A stream of these steps.
    pub fn steps(steps: Vec<Step>) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: None,
            echoes: false,
            steps,
            cut_after: None,
            piece_bytes: 0,
            line_ends: LineEnds::Usual,
            unterminated: false,
            ending: Ending::Regular,
            delay: Duration::ZERO,
        }
    }

    /// Text, word by word, and a regular end.
    pub fn text(text: &str) -> Self {
        let mut steps: Vec<Step> =
            text.split_inclusive(' ').map(|word| Step::Text(word.to_owned())).collect();
        steps.push(Step::Usage(Usage { input: Some(10), output: Some(5), ..Usage::default() }));
        steps.push(Step::Finish(FinishReason::Stop));
        Self::steps(steps)
    }

    /// One call of a tool.
    pub fn call(id: &str, name: &str, arguments: &str) -> Self {
        let call = FakeCall::new(id, name, arguments).into();
        Self::steps(vec![call, Step::Finish(FinishReason::ToolCalls)])
    }

    /// An error status with a JSON body.
    pub fn status(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: Some(body.into()), ..Self::steps(Vec::new()) }
    }

    /// A page of HTML with status 200, as proxies send.
    pub fn html() -> Self {
        let page = Self {
            body: Some("<html><body>Please log in</body></html>".to_owned()),
            ..Self::steps(Vec::new())
        };
        page.with_header("content-type", "text/html")
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts the key and the body of the request where the reply says `{key}` and `{request}`.
    #[must_use]
    pub fn echoing(mut self) -> Self {
        self.echoes = true;
        self
    }

    /// Cuts the connection after so many bytes of the body.
    #[must_use]
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut_after = Some(bytes);
        self
    }

    /// Sends the body in pieces of so many bytes.
    #[must_use]
    pub fn in_pieces_of(mut self, bytes: usize) -> Self {
        self.piece_bytes = bytes;
        self
    }

    /// Ends the lines of events like this.
    #[must_use]
    pub fn with_line_ends(mut self, line_ends: LineEnds) -> Self {
        self.line_ends = line_ends;
        self
    }

    /// Leaves out the blank line of the last event.
    #[must_use]
    pub fn unterminated(mut self) -> Self {
        self.unterminated = true;
        self
    }

    /// Ends the body like this.
    #[must_use]
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// Ends the body with the connection.
    #[must_use]
    pub fn until_close(self) -> Self {
        self.ending(Ending::Close)
    }

    /// Sends the headers only after a while.
    #[must_use]
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// All its headers.
    pub(crate) fn all_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let usual = if self.body.is_some() { "application/json" } else { "text/event-stream" };
        let said = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let usual = (!said).then_some(("content-type", usual));
        usual.into_iter().chain(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}
