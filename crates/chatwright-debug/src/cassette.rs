//! A run in one file.

mod replay;
mod timeline;

use std::io::{BufRead, Write};

use chatwright_core::content::Part;
use chatwright_core::debug::{DebugRun, DebugStatus, Detail, RunKind};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::model::{ModelId, Usage};
use chatwright_core::{ChatId, Json, RunId, Seq, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use replay::ReplayModel;
pub use timeline::Timeline;

use crate::doc::{AttemptDoc, RequestDoc, ResponseDoc, StepMetadata};
use crate::read::{AttemptRecord, StepRecord};
use crate::{ContentError, DebugService, Summary};

/// The version of the file that this code writes.
const CASSETTE_VERSION: u32 = 1;

/// A run that can be kept in a file, printed, and replayed. It has what was recorded, without secrets.
///
/// The file has a line of JSON for the run and one for each step, in which a prompt, and the body of a request, are what they add to
/// those of the step before.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Cassette {
    /// The run.
    pub run: CassetteRun,
    /// Its steps.
    pub steps: Vec<CassetteStep>,
}

/// The run of a cassette.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CassetteRun {
    /// Which run.
    pub id: RunId,
    /// Its chat.
    pub chat: ChatId,
    /// What for.
    pub kind: RunKind,
    /// The message with which its turn began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Seq>,
    /// How it ended.
    pub status: DebugStatus,
    /// Who was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelId>,
    /// When it began, in milliseconds since 1970.
    pub started_at: i64,
    /// When it ended, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<i64>,
    /// The sum of its steps.
    #[serde(default)]
    pub summary: Summary,
}

/// A step of a cassette.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CassetteStep {
    /// Its place in the run, from 1.
    pub number: u32,
    /// How it ended.
    pub status: DebugStatus,
    /// Who was asked.
    pub model: Option<ModelId>,
    /// When it began, in milliseconds since 1970.
    pub started_at: i64,
    /// When it ended, in milliseconds since 1970.
    pub finished_at: Option<i64>,
    /// What it took.
    pub usage: Usage,
    /// What went wrong.
    pub error: Option<Value>,
    /// What a list of steps shows.
    pub metadata: StepMetadata,
    /// The messages of the prompt.
    pub messages: Vec<Value>,
    /// The tools that the model had.
    pub tools: Vec<Value>,
    /// Whatever else is said of what was asked.
    pub request: Option<RequestDoc>,
    /// Whatever is said of what was answered.
    pub response: Option<ResponseDoc>,
    /// What was answered.
    pub content: Vec<Part>,
    /// The attempts at it.
    pub attempts: Vec<CassetteAttempt>,
    /// What is missing, in words.
    pub problems: Vec<String>,
}

/// An attempt of a cassette.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CassetteAttempt {
    /// What is said of it.
    pub doc: AttemptDoc,
    /// What was said before it failed or was stopped.
    pub content: Vec<Part>,
    /// The bodies of its exchanges, of the request and of the response.
    pub bodies: Vec<(Option<String>, Option<String>)>,
}

/// A cassette that cannot be made, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CassetteError {
    /// The chat has no such run.
    #[error("the chat has no such debug run")]
    NotFound,
    /// It cannot be read from its store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The file cannot be read or written.
    #[error("the cassette cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
    /// The file is no cassette, or one of a newer version.
    #[error("line {line} of the cassette: {why}")]
    Invalid {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    chatwright_cassette: u32,
    run: CassetteRun,
}

/// Every other line.
#[derive(Serialize, Deserialize)]
struct Line {
    number: u32,
    status: DebugStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<ModelId>,
    started_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Usage::is_empty")]
    usage: Usage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    #[serde(default)]
    metadata: StepMetadata,
    /// How many messages of the step before the prompt begins with.
    #[serde(default)]
    keeps: usize,
    /// What follows them.
    #[serde(default)]
    messages: Vec<Value>,
    /// Absent: those of the step before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<RequestDoc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<ResponseDoc>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    content: Vec<Part>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<LineAttempt>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct LineAttempt {
    doc: AttemptDoc,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    content: Vec<Part>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bodies: Vec<LineBodies>,
}

#[derive(Serialize, Deserialize)]
struct LineBodies {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Differs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<String>,
}

/// A text by how it differs from one before it: so many bytes of its beginning, these, and so many of its end.
#[derive(Default, Serialize, Deserialize)]
struct Differs {
    #[serde(default)]
    head: usize,
    text: String,
    #[serde(default)]
    tail: usize,
}

impl Differs {
    fn of(text: &str, before: &str) -> Self {
        let same = |a: &mut dyn Iterator<Item = u8>, b: &mut dyn Iterator<Item = u8>| {
            a.zip(b).take_while(|(a, b)| a == b).count()
        };
        let mut head = same(&mut text.bytes(), &mut before.bytes());
        while !text.is_char_boundary(head) {
            head -= 1;
        }
        let (rest, old) = (&text[head..], &before.as_bytes()[head..]);
        let mut tail = same(&mut rest.bytes().rev(), &mut old.iter().rev().copied());
        while !rest.is_char_boundary(rest.len() - tail) {
            tail -= 1;
        }
        Self { head, text: rest[..rest.len() - tail].to_owned(), tail }
    }

    fn on(&self, before: &str) -> Option<String> {
        let tail = before.len().checked_sub(self.tail)?;
        Some([before.get(..self.head)?, &self.text, before.get(tail..)?].concat())
    }
}

impl DebugService {
    /// Reads a run with everything that it refers to.
    ///
    /// # Errors
    /// [`CassetteError::NotFound`], or what the store reports.
    ///
    /// # Cancel safety
    /// Cancel-safe: it only reads.
    pub async fn export(&self, chat: ChatId, run: RunId) -> Result<Cassette, CassetteError> {
        let found = self.run(chat, run).await.map_err(ContentError::Store)?.ok_or(CassetteError::NotFound)?;
        let mut steps = Vec::new();
        let mut after = 0;
        loop {
            let page = self
                .steps(chat, run, after, PAGE_ITEMS_MAX, Detail::Whole)
                .await
                .map_err(ContentError::Store)?;
            let Some(last) = page.last() else { break };
            after = last.number;
            for step in &page {
                steps.push(self.read_step(step).await?.into());
            }
        }
        Ok(Cassette { run: found.into(), steps })
    }
}

impl From<DebugRun> for CassetteRun {
    fn from(run: DebugRun) -> Self {
        Self {
            id: run.id,
            chat: run.chat,
            kind: run.kind,
            turn: run.turn,
            status: run.status,
            model: run.model,
            started_at: run.started_at.as_millis(),
            finished_at: run.finished_at.map(Timestamp::as_millis),
            summary: Summary::from_json(&run.summary),
        }
    }
}

impl From<StepRecord> for CassetteStep {
    fn from(record: StepRecord) -> Self {
        let StepRecord { outline, request, response, attempts, problems } = record;
        let decoded = |json: &Option<Json>| json.as_ref().and_then(|json| json.decode::<Value>().ok());
        let (messages, tools, request) = match request {
            Some(request) => (request.messages, request.tools, Some(request.doc)),
            None => Default::default(),
        };
        let (content, response) = match response {
            Some(response) => (response.content, Some(response.doc)),
            None => Default::default(),
        };
        let attempt = |AttemptRecord { doc, content, http }| CassetteAttempt {
            doc,
            content,
            bodies: http.into_iter().map(|one| (one.request_body, one.response_body)).collect(),
        };
        Self {
            number: outline.number,
            status: outline.status,
            started_at: outline.started_at.as_millis(),
            finished_at: outline.finished_at.map(Timestamp::as_millis),
            usage: outline.usage.as_ref().and_then(|json| json.decode().ok()).unwrap_or_default(),
            error: decoded(&outline.error),
            metadata: outline.metadata.as_ref().and_then(|json| json.decode().ok()).unwrap_or_default(),
            model: outline.model,
            messages,
            tools,
            request,
            response,
            content,
            attempts: attempts.into_iter().map(attempt).collect(),
            problems,
        }
    }
}

impl Cassette {
    /// Writes it as a file.
    ///
    /// # Errors
    /// [`CassetteError::Io`].
    pub fn write(&self, mut file: impl Write) -> Result<(), CassetteError> {
        let mut put = |line: &dyn erased::Encode| -> Result<(), CassetteError> {
            let mut text = line.encode().map_err(std::io::Error::from)?;
            text.push(b'\n');
            Ok(file.write_all(&text)?)
        };
        put(&Head { chatwright_cassette: CASSETTE_VERSION, run: self.run.clone() })?;
        let (mut messages, mut tools): (&[Value], Option<&[Value]>) = (&[], None);
        let mut body = "";
        for step in &self.steps {
            let keeps = step.messages.iter().zip(messages).take_while(|(new, old)| new == old).count();
            let mut attempts = Vec::new();
            for attempt in &step.attempts {
                let mut bodies = Vec::new();
                for (request, response) in &attempt.bodies {
                    let differs = request.as_deref().map(|text| Differs::of(text, body));
                    body = request.as_deref().unwrap_or(body);
                    bodies.push(LineBodies { request: differs, response: response.clone() });
                }
                attempts.push(LineAttempt {
                    doc: attempt.doc.clone(),
                    content: attempt.content.clone(),
                    bodies,
                });
            }
            put(&Line {
                number: step.number,
                status: step.status,
                model: step.model.clone(),
                started_at: step.started_at,
                finished_at: step.finished_at,
                usage: step.usage,
                error: step.error.clone(),
                metadata: step.metadata.clone(),
                keeps,
                messages: step.messages[keeps..].to_vec(),
                tools: (tools != Some(&step.tools)).then(|| step.tools.clone()),
                request: step.request.clone(),
                response: step.response.clone(),
                content: step.content.clone(),
                attempts,
                problems: step.problems.clone(),
            })?;
            (messages, tools) = (&step.messages, Some(step.tools.as_slice()));
        }
        Ok(())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`CassetteError::Invalid`] names the line that is none of a cassette; [`CassetteError::Io`].
    pub fn read(file: impl BufRead) -> Result<Self, CassetteError> {
        let mut lines = file.lines().enumerate();
        let invalid = |line: usize, why: String| CassetteError::Invalid { line: line + 1, why };
        let (_, head) = lines.next().ok_or_else(|| invalid(0, "the file is empty".to_owned()))?;
        let head: Head = serde_json::from_str(&head?).map_err(|error| invalid(0, words(&error)))?;
        if head.chatwright_cassette != CASSETTE_VERSION {
            let why = format!("version {}: this program reads {CASSETTE_VERSION}", head.chatwright_cassette);
            return Err(invalid(0, why));
        }
        let mut steps: Vec<CassetteStep> = Vec::new();
        let mut body = String::new();
        for (at, line) in lines {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let line: Line = serde_json::from_str(&line).map_err(|error| invalid(at, words(&error)))?;
            let before = steps.last();
            let kept = before.map_or(&[][..], |before| &before.messages).get(..line.keeps);
            let kept = kept.ok_or_else(|| invalid(at, "it keeps more messages than there are".to_owned()))?;
            let messages = kept.iter().cloned().chain(line.messages).collect();
            let tools = line.tools.or_else(|| before.map(|before| before.tools.clone())).unwrap_or_default();
            let mut attempts = Vec::new();
            for attempt in line.attempts {
                let mut bodies = Vec::new();
                for LineBodies { request, response } in attempt.bodies {
                    let request = match request {
                        None => None,
                        Some(differs) => {
                            let why = || invalid(at, "a body keeps more than there is".to_owned());
                            body = differs.on(&body).ok_or_else(why)?;
                            Some(body.clone())
                        }
                    };
                    bodies.push((request, response));
                }
                attempts.push(CassetteAttempt { doc: attempt.doc, content: attempt.content, bodies });
            }
            steps.push(CassetteStep {
                number: line.number,
                status: line.status,
                model: line.model,
                started_at: line.started_at,
                finished_at: line.finished_at,
                usage: line.usage,
                error: line.error,
                metadata: line.metadata,
                messages,
                tools,
                request: line.request,
                response: line.response,
                content: line.content,
                attempts,
                problems: line.problems,
            });
        }
        Ok(Self { run: head.run, steps })
    }
}

/// What is wrong with a line, whose number is told already.
fn words(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// Lines of two types.
mod erased {
    use serde::Serialize;

    pub(super) trait Encode {
        fn encode(&self) -> Result<Vec<u8>, serde_json::Error>;
    }

    impl<T: Serialize> Encode for T {
        fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
            serde_json::to_vec(self)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_found_again_by_how_it_differs(text in "[aäb€]{0,12}", before in "[aäb€]{0,12}") {
            prop_assert_eq!(Differs::of(&text, &before).on(&before), Some(text));
        }
    }

    #[test]
    fn what_is_no_cassette_is_refused_with_its_line() {
        let error = |file: &str| Cassette::read(file.as_bytes()).expect_err("no cassette").to_string();
        assert_eq!(error(""), "line 1 of the cassette: the file is empty");
        let why = "line 1 of the cassette: missing field `chatwright_cassette` at column 2";
        assert_eq!(error("{}"), why);
    }
}
