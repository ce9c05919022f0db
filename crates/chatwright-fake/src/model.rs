mod play;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chatwright_core::content::{Output, Part};
use chatwright_core::model::{Message, ModelCall, ModelId, Role};
use chatwright_core::port::{LanguageModel, ModelStream};
use futures::{FutureExt, StreamExt};

use crate::script::{FakeMessage, FakeRequest, Script};

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
            play::wait(reply.delay).await;
            play::play(reply).map(move |part| {
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
