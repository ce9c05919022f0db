//! The steps of a reply, as parts.

use std::collections::BTreeSet;
use std::time::Duration;

use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, FinishReason, ModelPart, Usage};
use chatwright_core::port::ModelStream;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::reply::{Ending, Reply};
use crate::step::{FakeCall, Step, in_turns};

/// Most bytes of an event that an adapter must take.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Waits; for ever if the time is the longest.
pub(super) async fn wait(time: Duration) {
    match time {
        Duration::MAX => std::future::pending().await,
        time => tokio::time::sleep(time).await,
    }
}

/// The parts that an honest adapter makes of a reply.
pub(super) fn play(reply: Reply) -> ModelStream {
    let mut playing = Playing::of(&reply);
    if let Some(cause) = refused(&reply) {
        let body = reply.body.unwrap_or_default().replace("{key}", "").replace("{request}", "");
        let failure = playing.failure(cause).with_body(body);
        return stream::iter([ModelPart::Failure(Box::new(failure))]).boxed();
    }
    let batches = reply.steps.into_iter().map(Some).chain([None]).map(move |step| {
        let pause = match &step {
            Some(Step::Pause(time)) => Some(*time),
            Some(Step::Stall) => Some(Duration::MAX),
            _ => None,
        };
        let mut parts = Vec::new();
        if !playing.done {
            match step {
                Some(step) => playing.step(step, &mut parts),
                None => playing.end(&mut parts),
            }
        }
        (pause, parts)
    });
    let played = stream::iter(batches).then(|(pause, parts)| async move {
        match pause {
            Some(time) => wait(time).await,
            // Others get their turn between two steps.
            None => tokio::task::yield_now().await,
        }
        stream::iter(parts)
    });
    played.flatten().boxed()
}

/// Why a reply is no stream of events, if it is none.
fn refused(reply: &Reply) -> Option<Cause> {
    let mut headers = reply.all_headers();
    let is_stream = headers.any(|(name, value)| {
        name.eq_ignore_ascii_case("content-type") && value.starts_with("text/event-stream")
    });
    match reply.ending {
        Ending::Refused => Some(Cause::Reset),
        _ if reply.status != 200 => Some(Cause::Status),
        _ if reply.body.is_some() || !is_stream => Some(Cause::Protocol),
        _ => None,
    }
}

/// An answer on its way.
struct Playing {
    /// A failure with what the response says.
    response: Failure,
    ending: Ending,
    usage: Usage,
    /// Calls that are complete with the end of the answer.
    calls: Vec<ModelPart>,
    /// Pages that were told.
    told: BTreeSet<String>,
    blocks: usize,
    done: bool,
}

impl Playing {
    fn of(reply: &Reply) -> Self {
        let mut response = Failure::new("fake", Cause::Other);
        if reply.ending != Ending::Refused {
            response = response.with_status(reply.status);
            for (name, value) in &reply.headers {
                response = response.with_header(name.as_str(), value.replace("{key}", ""));
            }
        }
        Self {
            response,
            ending: reply.ending,
            usage: Usage::default(),
            calls: Vec::new(),
            told: BTreeSet::new(),
            blocks: 0,
            done: false,
        }
    }

    fn failure(&self, cause: Cause) -> Failure {
        let mut failure = self.response.clone();
        failure.cause = cause;
        failure
    }

    fn step(&mut self, step: Step, parts: &mut Vec<ModelPart>) {
        match step {
            Step::Text(delta) => parts.push(ModelPart::TextDelta { id: "text".into(), delta }),
            Step::Cited { text, url, title } => {
                parts.push(ModelPart::TextDelta { id: "text".into(), delta: text });
                self.source(url, title, parts);
            }
            Step::Reasoning(delta) => {
                let metadata = Metadata::new();
                parts.push(ModelPart::ReasoningDelta { id: "reasoning".into(), delta, metadata });
            }
            Step::RedactedReasoning(data) => {
                let id: Box<str> = format!("redacted.{}", self.blocks).into();
                self.blocks += 1;
                let metadata = Metadata::from([("fake".into(), json!({ "redacted_data": data }))]);
                parts.push(ModelPart::ReasoningStart { id: id.clone(), metadata });
                parts.push(ModelPart::ReasoningEnd { id, metadata: Metadata::new() });
            }
            Step::Call { id, name, arguments } => self.calls(&[FakeCall { id, name, arguments }], parts),
            Step::Calls(calls) => self.calls(&calls, parts),
            Step::CutCall(call) => begin_calls(&[call], parts),
            Step::Search { id, query, url, title } => self.search(&id, &query, url, title, parts),
            Step::UnknownBlock(kind) => {
                let block = json!({ "type": format!("fake.{kind}"), "data": "new" });
                parts.push(ModelPart::Item(Part::Unknown(block)));
            }
            Step::UnknownEvent { blanks, .. } if blanks > EVENT_BYTES_MAX => {
                self.fail(Cause::Protocol, |failure| failure, "an event is too large", parts);
            }
            Step::UnknownEvent { .. } | Step::Ping => parts.push(ModelPart::KeepAlive),
            Step::Usage(reported) => self.usage = reported,
            Step::Finish(reason) => self.finish(reason, parts),
            Step::Error { kind, code, message } => {
                self.fail(
                    Cause::InStream,
                    |failure| failure.with_error(Some(&kind), Some(&code)),
                    &message,
                    parts,
                );
            }
            Step::Failed { code, message } => {
                self.fail(Cause::InStream, |failure| failure.with_error(None, Some(&code)), &message, parts);
            }
            Step::Garbage => self.fail(Cause::Protocol, |failure| failure, "an event is no JSON", parts),
            // Data that this model does not read.
            Step::Raw(_) => self.fail(Cause::Truncated, |failure| failure, "", parts),
            Step::Half(_) | Step::Unfinished(_) | Step::Bytes(_) | Step::Pause(_) | Step::Stall => {}
        }
    }

    /// The script is over without a terminal step.
    fn end(&mut self, parts: &mut Vec<ModelPart>) {
        let cause = match self.ending {
            Ending::Abort | Ending::GoAway(_) => Cause::Reset,
            Ending::Reset(reason) if reason != 0 => Cause::Http2 { reason, remote: true },
            _ => Cause::Truncated,
        };
        self.fail(cause, |failure| failure, "", parts);
    }

    fn fail(
        &mut self,
        cause: Cause,
        more: impl FnOnce(Failure) -> Failure,
        message: &str,
        parts: &mut Vec<ModelPart>,
    ) {
        self.done = true;
        let mut failure = more(self.failure(cause));
        if !message.is_empty() {
            failure = failure.with_message(message);
        }
        parts.push(ModelPart::Failure(Box::new(failure)));
    }

    fn finish(&mut self, reason: FinishReason, parts: &mut Vec<ModelPart>) {
        self.done = true;
        parts.append(&mut self.calls);
        parts.push(ModelPart::Finish(Finish { reason, usage: self.usage, ..Finish::default() }));
    }

    fn calls(&mut self, calls: &[FakeCall], parts: &mut Vec<ModelPart>) {
        begin_calls(calls, parts);
        self.calls.extend(calls.iter().map(|call| call_part(call, false)));
    }

    fn search(&mut self, id: &str, query: &str, url: String, title: String, parts: &mut Vec<ModelPart>) {
        let name: Box<str> = "web_search".into();
        let query = json!({ "query": query }).to_string();
        let call = FakeCall { id: id.to_owned(), name: name.to_string(), arguments: vec![query] };
        parts.push(ModelPart::ToolInputStart { id: id.into(), name: name.clone(), provider_executed: true });
        parts.push(ModelPart::ToolInputDelta { id: id.into(), delta: call.arguments.concat() });
        parts.push(ModelPart::ToolInputEnd { id: id.into() });
        parts.push(call_part(&call, true));
        let found: Value = json!([{ "url": url, "title": title }]);
        parts.push(ModelPart::Item(Part::ToolResult {
            call_id: id.into(),
            name,
            output: Output::text(found.to_string()),
            provider_executed: true,
            metadata: Metadata::new(),
        }));
        self.source(url, title, parts);
    }

    fn source(&mut self, url: String, title: String, parts: &mut Vec<ModelPart>) {
        if self.told.insert(url.clone()) {
            parts.push(ModelPart::Item(Part::Source {
                id: url.as_str().into(),
                url: Some(url.into()),
                title: Some(title.into()),
                media_type: None,
                name: None,
                metadata: Metadata::new(),
            }));
        }
    }
}

fn begin_calls(calls: &[FakeCall], parts: &mut Vec<ModelPart>) {
    parts.extend(calls.iter().map(|call| ModelPart::ToolInputStart {
        id: call.id.as_str().into(),
        name: call.name.as_str().into(),
        provider_executed: false,
    }));
    parts.extend(in_turns(calls).map(|(at, piece)| ModelPart::ToolInputDelta {
        id: calls[at].id.as_str().into(),
        delta: piece.to_owned(),
    }));
}

fn call_part(call: &FakeCall, provider_executed: bool) -> ModelPart {
    ModelPart::ToolCall {
        id: call.id.as_str().into(),
        name: call.name.as_str().into(),
        input: call.arguments.concat(),
        provider_executed,
        metadata: Metadata::new(),
    }
}
