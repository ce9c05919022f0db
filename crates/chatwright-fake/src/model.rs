use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, Message, ModelCall, ModelId, ModelPart, Role, Usage};
use chatwright_core::port::{LanguageModel, ModelStream};
use futures::{FutureExt, StreamExt, stream};

use crate::reply::Reply;
use crate::script::{FakeMessage, FakeRequest, Script};
use crate::step::Step;

/// A model in process that plays a [`Script`]. Clones share the count of requests.
#[derive(Clone, Debug)]
pub struct ScriptedModel {
    script: Script,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicUsize,
    open: AtomicUsize,
}

impl ScriptedModel {
    /// A model that plays this.
    pub fn new(script: Script) -> Self {
        Self { script, counts: Arc::default() }
    }

    /// How many requests it got.
    pub fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// How many of its streams are neither finished nor dropped.
    pub fn open_calls(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }
}

impl LanguageModel for ScriptedModel {
    fn id(&self) -> ModelId {
        ModelId { provider: "fake".into(), model: "scripted".into() }
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        let (script, counts) = (self.script.clone(), Arc::clone(&self.counts));
        let begin = async move {
            let number = counts.requests.fetch_add(1, Ordering::SeqCst);
            counts.open.fetch_add(1, Ordering::SeqCst);
            let open = Open(counts);
            let request = FakeRequest { number, messages: call.prompt.iter().map(message).collect() };
            let reply = script.reply(&request);
            tokio::time::sleep(reply.delay).await;
            play(reply).map(move |part| {
                // It counts as open until the stream is dropped or ends.
                let _ = &open;
                part
            })
        };
        begin.flatten_stream().boxed()
    }
}

struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn message(message: &Message) -> FakeMessage {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let text = |part: &Part| match part {
        Part::Text { text, .. } => text.clone(),
        Part::ToolResult { output: Output::Text { text } | Output::Error { text }, .. } => text.clone(),
        _ => String::new(),
    };
    FakeMessage { role: role.to_owned(), text: message.content.iter().map(text).collect() }
}

fn play(reply: Reply) -> ModelStream {
    if reply.status != 200 || reply.body.is_some() {
        let cause = if reply.status == 200 { Cause::Protocol } else { Cause::Status };
        let mut failure = Failure::new("fake", cause).with_status(reply.status);
        for (name, value) in reply.headers {
            failure = failure.with_header(name, value);
        }
        let failure = failure.with_body(reply.body.unwrap_or_default());
        return stream::iter([ModelPart::Failure(Box::new(failure))]).boxed();
    }
    let mut usage = Usage::default();
    let mut finished = false;
    let mut calls = Vec::new();
    let steps = reply.steps.into_iter().chain([Step::Raw(String::new())]);
    let batches = steps.map(move |step| {
        let mut parts = Vec::new();
        let mut pause = None;
        match step {
            _ if finished => {}
            Step::Text(delta) => parts.push(ModelPart::TextDelta { id: "text".into(), delta }),
            Step::Reasoning(delta) => {
                let metadata = Metadata::new();
                parts.push(ModelPart::ReasoningDelta { id: "reasoning".into(), delta, metadata });
            }
            Step::Call { id, name, arguments } => {
                let (id, name): (Box<str>, Box<str>) = (id.into(), name.into());
                parts.push(ModelPart::ToolInputStart {
                    id: id.clone(),
                    name: name.clone(),
                    provider_executed: false,
                });
                let input = arguments.concat();
                let deltas =
                    arguments.into_iter().map(|delta| ModelPart::ToolInputDelta { id: id.clone(), delta });
                parts.extend(deltas);
                let metadata = Metadata::new();
                calls.push(ModelPart::ToolCall { id, name, input, provider_executed: false, metadata });
            }
            Step::Usage(reported) => usage = reported,
            Step::Finish(reason) => {
                finished = true;
                parts.append(&mut calls);
                parts.push(ModelPart::Finish(Finish { reason, usage, ..Finish::default() }));
            }
            Step::Error { kind, code, message } => {
                finished = true;
                let failure = Failure::new("fake", Cause::InStream).with_error(Some(&kind), Some(&code));
                parts.push(ModelPart::Failure(Box::new(failure.with_message(message))));
            }
            // The script is over without a terminal step.
            Step::Raw(_) => {
                finished = true;
                parts.push(ModelPart::Failure(Box::new(Failure::new("fake", Cause::Truncated))));
            }
            Step::Bytes(_) => {}
            Step::Ping => parts.push(ModelPart::KeepAlive),
            Step::Pause(time) => pause = Some(time),
            Step::Stall => pause = Some(std::time::Duration::MAX),
        }
        (pause, parts)
    });
    let played = stream::iter(batches).then(|(pause, parts)| async move {
        match pause {
            Some(std::time::Duration::MAX) => std::future::pending().await,
            Some(time) => tokio::time::sleep(time).await,
            // Others get their turn between two steps.
            None => tokio::task::yield_now().await,
        }
        stream::iter(parts)
    });
    played.flatten().boxed()
}
