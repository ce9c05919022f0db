use std::fmt;
use std::sync::Arc;

use crate::reply::Reply;

/// What a scripted model does at each request.
#[derive(Clone)]
pub struct Script(Arc<dyn Fn(&FakeRequest) -> Reply + Send + Sync>);

/// A request as a script sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeRequest {
    /// How many requests came before it.
    pub number: usize,
    /// The conversation, oldest first.
    pub messages: Vec<FakeMessage>,
}

/// A message of a request: who speaks, and the text of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeMessage {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text, all parts of it.
    pub text: String,
}

impl Script {
    /// These replies, one per request; the last one again for every further request.
    ///
    /// # Panics
    /// If there is none.
    pub fn new(replies: Vec<Reply>) -> Self {
        assert!(!replies.is_empty(), "a script has at least one reply");
        Self::by(move |request| replies[request.number.min(replies.len() - 1)].clone())
    }

    /// A reply by rule.
    pub fn by(rule: impl Fn(&FakeRequest) -> Reply + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }

    pub(crate) fn reply(&self, request: &FakeRequest) -> Reply {
        (self.0)(request)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}
