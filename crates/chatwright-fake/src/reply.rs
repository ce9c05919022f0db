use std::time::Duration;

use chatwright_core::model::{FinishReason, Usage};

use crate::step::Step;

/// What a model answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The HTTP status; other than 200 the steps are not played.
    pub status: u16,
    /// Response headers, added to or put in place of the usual ones.
    pub headers: Vec<(String, String)>,
    /// The body of a reply that is not a stream.
    pub body: Option<String>,
    /// What streams.
    pub steps: Vec<Step>,
    /// The connection is cut after so many bytes of the streamed body.
    pub cut_after: Option<usize>,
    /// The streamed body goes out in pieces of so many bytes; 0: an event at a time.
    pub piece_bytes: usize,
    /// The body has no end of its own: it ends with the connection, as old proxies send it.
    pub until_close: bool,
    /// How long the headers take.
    pub delay: Duration,
}

impl Reply {
    /// A stream of these steps.
    pub fn steps(steps: Vec<Step>) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: None,
            steps,
            cut_after: None,
            piece_bytes: 0,
            until_close: false,
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
        let half = (0..=arguments.len() / 2).rev().find(|&at| arguments.is_char_boundary(at)).unwrap_or(0);
        let arguments = [&arguments[..half], &arguments[half..]].map(str::to_owned).into();
        let call = Step::Call { id: id.to_owned(), name: name.to_owned(), arguments };
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

    /// Ends the body with the connection.
    #[must_use]
    pub fn until_close(mut self) -> Self {
        self.until_close = true;
        self
    }

    /// Sends the headers only after a while.
    #[must_use]
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}
