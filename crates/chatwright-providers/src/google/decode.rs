use chatwright_core::content::Metadata;
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, FinishReason, ModelPart};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::call::Call;
use super::chunk::{Candidate, Chunk, Counts, finish_reason, object};
use super::content::Content;
use super::metadata;
use crate::decode::Decode;
use crate::endpoint::in_stream;

/// Decodes the data of Gemini's events, one after the other. It is total: whatever comes in, it ends in exactly one terminal part.
/// Every event makes at least one part, so that a reader sees the stream live.
///
/// The answer is whole once an event gives the reason of its end and none after it goes on; the end of the stream then completes
/// it and its calls. Counts and sources may come until then.
#[derive(Debug)]
pub struct GeminiDecoder {
    provider: Box<str>,
    content: Content,
    counts: Counts,
    finish_reason: Option<String>,
    /// The answer went on behind a reason, as where every event gives one: then no reason proves that it is whole.
    went_on: bool,
    /// What the end tells beside its reason.
    details: Map<String, Value>,
    response_id: Option<Box<str>>,
    done: bool,
}

impl GeminiDecoder {
    /// A decoder that names this provider in failures.
    pub fn new(provider: impl Into<Box<str>>) -> Self {
        Self {
            provider: provider.into(),
            content: Content::default(),
            counts: Counts::default(),
            finish_reason: None,
            went_on: false,
            details: Map::new(),
            response_id: None,
            done: false,
        }
    }
}

impl Decode for GeminiDecoder {
    fn is_done(&self) -> bool {
        self.done
    }

    fn event(&mut self, data: &str, parts: &mut Vec<ModelPart>) {
        if self.done {
            return;
        }
        let before = parts.len();
        match data.trim() {
            // A sign of life without a comment is empty.
            "" => {}
            DONE => self.end(None, parts),
            _ => {
                if let Err(words) = self.take(data, parts) {
                    let failure = Failure::new(self.provider.clone(), Cause::Protocol).with_body(data);
                    let failure = failure.with_message(format!("an event does not decode: {words}"));
                    self.broken(failure, parts);
                }
            }
        }
        if parts.len() == before {
            self.keep_alive(parts);
        }
    }

    /// The stream ended; `rest` is the data of an event that it cut off before its blank line, which counts only if it is
    /// whole and the terminal one, or comes behind it.
    fn end(&mut self, rest: Option<&str>, parts: &mut Vec<ModelPart>) {
        let (ended, mut cut) = (self.finish_reason.is_some(), false);
        match rest {
            Some(rest) if counts(rest, ended) => self.event(rest, parts),
            rest => cut = rest.is_some_and(|rest| !matches!(rest.trim(), "" | DONE)),
        }
        match self.finish_reason.take() {
            _ if self.done => {}
            Some(reason) if !(cut && self.went_on) => self.complete(reason, parts),
            _ => self.broken(Failure::new(self.provider.clone(), Cause::Truncated), parts),
        }
    }

    /// The transport failed. An answer that is whole stays whole, where a reason proves it.
    fn fail(&mut self, failure: Failure, parts: &mut Vec<ModelPart>) {
        match self.finish_reason.take() {
            Some(reason) if !(self.done || self.went_on) => self.complete(reason, parts),
            _ => self.broken(failure, parts),
        }
    }

    fn protocol(&mut self, words: &str, parts: &mut Vec<ModelPart>) {
        self.broken(Failure::new(self.provider.clone(), Cause::Protocol).with_message(words), parts);
    }
}

impl GeminiDecoder {
    fn broken(&mut self, failure: Failure, parts: &mut Vec<ModelPart>) {
        if !std::mem::replace(&mut self.done, true) {
            parts.push(ModelPart::Failure(Box::new(failure)));
        }
    }

    fn take(&mut self, data: &str, parts: &mut Vec<ModelPart>) -> Result<(), String> {
        let chunk: Chunk<'_> = object("it", data)?;
        if let Some(error) = chunk.error {
            self.error(error, data, parts);
            return Ok(());
        }
        if let (None, Some(id)) = (&self.response_id, chunk.response_id) {
            self.response_id = Some(read("responseId", id)?);
        }
        if let (false, Some(version)) = (self.details.contains_key("modelVersion"), chunk.model_version) {
            self.details.insert("modelVersion".to_owned(), read("modelVersion", version)?);
        }
        let reports = chunk.usage_metadata.is_some();
        if let Some(reported) = &chunk.usage_metadata {
            self.counts.add(reported);
        }
        if let Some(feedback) = chunk.prompt_feedback {
            let feedback: Value = read("promptFeedback", feedback)?;
            if feedback["blockReason"].as_str().is_some_and(is_given) {
                self.finish_reason.get_or_insert_with(|| BLOCKED.to_owned());
            }
            self.details.insert("promptFeedback".to_owned(), feedback);
        }
        let mut candidates = chunk.candidates.into_iter().flatten();
        if let Some(candidate) = candidates.find(|candidate| candidate.index.is_none_or(|index| index == 0)) {
            self.candidate(candidate, parts)?;
        }
        if reports && self.finish_reason.is_some() {
            // The last report is kept whole: it counts by modality, and more.
            let mut event: Map<String, Value> = object("it", data)?;
            self.details.extend(event.remove_entry("usageMetadata"));
        }
        Ok(())
    }

    fn error(&mut self, error: &RawValue, data: &str, parts: &mut Vec<ModelPart>) {
        let mut error: Value = read("error", error).unwrap_or_default();
        // What others call the type of an error is its status here.
        if let Some(fields) = error.as_object_mut()
            && !fields.contains_key("type")
            && let Some(status) = fields.get("status").cloned()
        {
            fields.insert("type".to_owned(), status);
        }
        self.broken(in_stream(&self.provider, &error, data), parts);
    }

    fn candidate(&mut self, candidate: Candidate<'_>, parts: &mut Vec<ModelPart>) -> Result<(), String> {
        for (name, value) in candidate.details() {
            self.content.hold(value.get().len())?;
            self.details.insert(name.to_owned(), read(name, value)?);
        }
        let mut said = false;
        for part in candidate.content.and_then(|content| content.parts).into_iter().flatten() {
            said |= self.content.piece(part, parts)?;
        }
        if let (Some(_), Some(grounding)) =
            (candidate.grounding_metadata, self.details.get("groundingMetadata"))
        {
            self.content.cite(grounding, parts);
        }
        self.went_on |= said && self.finish_reason.is_some();
        let reason: Option<String> = match candidate.finish_reason {
            Some(reason) => read("finishReason", reason)?,
            None => None,
        };
        match reason {
            Some(reason) if is_given(&reason) => self.finish_reason = Some(reason),
            // Some models give a reason with every event: only the last event has the last word.
            _ if said => self.finish_reason = None,
            _ => {}
        }
        Ok(())
    }

    /// The answer has ended: only now calls are complete. One whose arguments still come is cut, and the calls of an answer that
    /// Google calls malformed are not trusted.
    fn complete(&mut self, reason: String, parts: &mut Vec<ModelPart>) {
        self.content.close(Metadata::new(), parts);
        let mut finish = match &*reason {
            BLOCKED => FinishReason::ContentFilter,
            reason => finish_reason(reason),
        };
        let calls = std::mem::take(&mut self.content.calls);
        if finish == FinishReason::Stop && !calls.is_empty() {
            finish = FinishReason::ToolCalls;
        }
        if finish != FinishReason::Error {
            parts.extend(calls.into_iter().map(Call::part));
        }
        self.done = true;
        let mut details = std::mem::take(&mut self.details);
        if reason != BLOCKED {
            details.insert("finishReason".to_owned(), reason.into());
        }
        let (usage, response_id) = (self.counts.usage(), self.response_id.take());
        let metadata = metadata(details);
        parts.push(ModelPart::Finish(Finish { reason: finish, usage, response_id, metadata }));
    }
}

/// How gateways end a stream, as OpenAI does.
const DONE: &str = "[DONE]";

/// The reason of an end without an answer: the prompt is blocked. No name of Google's is in brackets.
const BLOCKED: &str = "[blocked]";

/// Whether the data is a whole event that ends an answer, or any whole one behind its end: the answer may go on in it.
fn counts(data: &str, ended: bool) -> bool {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    if ended {
        return event.is_object();
    }
    let blocked = event["promptFeedback"]["blockReason"].is_string();
    blocked || !event["error"].is_null() || event["candidates"][0]["finishReason"].is_string()
}

/// Whether a server that writes out what it does not set has set this reason.
fn is_given(reason: &str) -> bool {
    !reason.is_empty() && !reason.ends_with("_UNSPECIFIED")
}

/// A field of an event.
///
/// # Errors
/// It is of another type.
fn read<'a, T: Deserialize<'a>>(name: &str, raw: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| format!("{name}: {error}"))
}
