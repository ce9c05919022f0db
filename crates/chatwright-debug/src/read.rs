//! Steps as they are read: with the contents that they refer to.

use chatwright_core::content::Part;
use chatwright_core::debug::DebugStep;
use chatwright_core::{ChatId, Json, RunId};
use serde::Deserialize;
use serde_json::Value;

use crate::DebugService;
use crate::content::{ContentError, Place, read};
use crate::doc::{AttemptDoc, ExchangeDoc, RequestDoc, ResponseDoc};

/// Most bytes of one content.
const CONTENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A step with what it refers to. What is missing or cannot be read is named in [`problems`](Self::problems), and the rest is there.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepRecord {
    /// The step, without its three large values.
    pub outline: DebugStep,
    /// What was asked.
    pub request: Option<RequestRecord>,
    /// What was answered.
    pub response: Option<ResponseRecord>,
    /// The attempts at it.
    pub attempts: Vec<AttemptRecord>,
    /// What is missing or damaged, in words.
    pub problems: Vec<String>,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RequestRecord {
    /// What is said of it.
    pub doc: RequestDoc,
    /// The messages of the prompt: `role`, `content`, `provider_options`.
    pub messages: Vec<Value>,
    /// The tools that the model had.
    pub tools: Vec<Value>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ResponseRecord {
    /// What is said of it.
    pub doc: ResponseDoc,
    /// Its parts.
    pub content: Vec<Part>,
}

/// An attempt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// What is said of it.
    pub doc: AttemptDoc,
    /// What was said before it failed or was stopped.
    pub content: Vec<Part>,
    /// What went over HTTP.
    pub http: Vec<ExchangeRecord>,
}

/// A request and its response.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExchangeRecord {
    /// What is said of it.
    pub doc: ExchangeDoc,
    /// The body of the request, without secrets.
    pub request_body: Option<String>,
    /// The body of the response, without secrets.
    pub response_body: Option<String>,
}

/// Reads the contents of a run.
struct Reader<'a> {
    service: &'a DebugService,
    of: (ChatId, RunId),
    problems: Vec<String>,
}

impl DebugService {
    /// Reads what a step refers to. It has to be whole.
    ///
    /// # Errors
    /// What the store reports. What is not there any more is no error.
    ///
    /// # Cancel safety
    /// Cancel-safe: it only reads.
    pub async fn read_step(&self, step: &DebugStep) -> Result<StepRecord, ContentError> {
        let mut reader = Reader { service: self, of: (step.chat, step.run), problems: Vec::new() };
        let request = match reader.decoded::<RequestDoc>("request", step.request.as_ref()) {
            None => None,
            Some(doc) => {
                if let Some(missing) = &doc.missing {
                    reader.problems.push(format!("request: {missing}"));
                }
                let messages = reader.lines("prompt", doc.prompt).await?;
                let tools = reader.lines("tools", doc.tools).await?;
                Some(RequestRecord { doc, messages, tools })
            }
        };
        let response = match reader.decoded::<ResponseDoc>("response", step.response.as_ref()) {
            None => None,
            Some(doc) => Some(ResponseRecord { content: reader.lines("answer", doc.content).await?, doc }),
        };
        let mut attempts = Vec::new();
        let docs = reader.decoded::<Vec<AttemptDoc>>("attempts", step.attempts.as_ref());
        for doc in docs.unwrap_or_default() {
            let content = reader.lines("answer of an attempt", doc.content).await?;
            let mut http = Vec::new();
            for doc in doc.http.clone() {
                let place = |body: &Option<crate::doc::BodyDoc>| body.as_ref().and_then(|body| body.kept);
                let request_body = reader.text("body of a request", place(&doc.request_body)).await?;
                let response_body = reader.text("body of a response", place(&doc.response_body)).await?;
                http.push(ExchangeRecord { doc, request_body, response_body });
            }
            attempts.push(AttemptRecord { doc, content, http });
        }
        let problems = reader.problems;
        Ok(StepRecord { outline: step.clone().outline(), request, response, attempts, problems })
    }
}

impl Reader<'_> {
    fn decoded<'a, T: Deserialize<'a>>(&mut self, what: &str, stored: Option<&'a Json>) -> Option<T> {
        match stored?.decode() {
            Ok(doc) => Some(doc),
            Err(error) => {
                self.problems.push(format!("{what}: malformed debug payload: {error}"));
                None
            }
        }
    }

    async fn text(&mut self, what: &str, place: Option<Place>) -> Result<Option<String>, ContentError> {
        let Some(place) = place else { return Ok(None) };
        match read(self.service.store(), self.of, place, CONTENT_BYTES_MAX).await {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error @ ContentError::Store(_)) => Err(error),
            Err(error) => {
                self.problems.push(format!("{what}: {error}"));
                Ok(None)
            }
        }
    }

    /// Values that stand on a line each.
    async fn lines<T: for<'a> Deserialize<'a>>(
        &mut self,
        what: &str,
        place: Option<Place>,
    ) -> Result<Vec<T>, ContentError> {
        let text = self.text(what, place).await?.unwrap_or_default();
        let mut values = Vec::new();
        for line in text.lines() {
            match serde_json::from_str(line) {
                Ok(value) => values.push(value),
                Err(error) => self.problems.push(format!("{what}: {error}")),
            }
        }
        Ok(values)
    }
}
