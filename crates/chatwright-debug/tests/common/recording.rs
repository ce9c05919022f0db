//! Models that do as they are told, and what they are asked.

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::content::{Metadata, Part};
use chatwright_core::debug::DebugRun;
use chatwright_core::error::{Cause, Failure};
use chatwright_core::history::ValidHistory;
use chatwright_core::model::{
    CallScope, Finish, FinishReason, Message, ModelCall, ModelId, ModelPart, Role, Usage,
};
use chatwright_core::port::timing::{Activity, ChatKind};
use chatwright_core::port::{
    AttemptEnd, Event, HttpEnd, HttpHeader, HttpObserver, HttpRequest, HttpResponse, LanguageModel,
    ModelStream, Observer, Purpose,
};
use chatwright_core::record::StopReason;
use chatwright_core::{ChatId, Gen, Seq};
use chatwright_debug::redact::{Redactor, Rules};
use chatwright_debug::{DebugService, Recorder, RecorderSettings, StepRecord};
use futures::{FutureExt, StreamExt, stream};

use super::{Bench, PATIENCE, Rigged, chat, user};

/// A model that answers each call like this.
pub struct Model(Box<dyn Fn(ModelCall) -> ModelStream + Send + Sync>);

impl Model {
    pub fn by(answer: impl Fn(ModelCall) -> ModelStream + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self(Box::new(answer)))
    }

    /// Answers with these parts and ends.
    pub fn plays(parts: Vec<ModelPart>) -> Arc<Self> {
        Self::by(move |_| stream::iter(parts.clone()).boxed())
    }

    /// Answers with these parts and says nothing more.
    pub fn stalls(parts: Vec<ModelPart>) -> Arc<Self> {
        Self::by(move |_| stream::iter(parts.clone()).chain(stream::pending()).boxed())
    }

    /// Has this told to the observer of its call when it is first polled, and then answers "ok".
    pub fn tells(tell: impl Fn(&dyn HttpObserver) + Send + Sync + Clone + 'static) -> Arc<Self> {
        Self::by(move |call| {
            let tell = tell.clone();
            let begin = async move {
                tell(&*call.transport.observer.expect("the recorder observes it"));
                stream::iter(answer("ok"))
            };
            begin.flatten_stream().boxed()
        })
    }
}

impl LanguageModel for Model {
    fn id(&self) -> ModelId {
        ModelId { provider: "test".into(), model: "m1".into() }
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        (self.0)(call)
    }
}

pub fn text(id: &str, delta: &str) -> ModelPart {
    ModelPart::TextDelta { id: id.into(), delta: delta.to_owned() }
}

pub fn finish(reason: FinishReason, input: u64, output: u64) -> ModelPart {
    let usage = Usage { input: Some(input), output: Some(output), ..Usage::default() };
    ModelPart::Finish(Finish { reason, usage, ..Finish::default() })
}

/// A block of text.
pub fn block(words: &str) -> Vec<ModelPart> {
    vec![
        ModelPart::TextStart { id: "0".into() },
        text("0", words),
        ModelPart::TextEnd { id: "0".into(), metadata: Metadata::default() },
    ]
}

/// An answer that says this, of 10 tokens in and 5 out.
pub fn answer(words: &str) -> Vec<ModelPart> {
    let mut parts = block(words);
    parts.push(finish(FinishReason::Stop, 10, 5));
    parts
}

pub fn failed(message: &str) -> ModelPart {
    let mut failure = Failure::new("test", Cause::Reset);
    failure.message = Some(message.into());
    ModelPart::Failure(Box::new(failure))
}

pub fn said(words: &str) -> Message {
    Message::new(Role::User, vec![Part::text(words)])
}

pub fn answered(words: &str) -> Message {
    Message::new(Role::Assistant, vec![Part::text(words)])
}

/// The n-th step of the turn that begins with this message, asked for the first time.
pub fn scope(of: ChatId, turn: u64, r#gen: u64) -> CallScope {
    let mut scope = CallScope::new(of, user("ada"), Purpose::Turn);
    (scope.turn, scope.tip, scope.r#gen) =
        (Some(Seq::new(turn)), Some(Seq::new(turn)), Some(Gen::new(r#gen)));
    scope
}

pub fn again(mut scope: CallScope, attempt: u32) -> CallScope {
    scope.attempt = attempt;
    scope
}

pub fn call(scope: CallScope, prompt: impl Into<ValidHistory>) -> ModelCall {
    let mut call = ModelCall::new(prompt);
    call.scope = Some(Arc::new(scope));
    call
}

/// A recorder, and what it writes to.
pub struct Tape {
    pub recorder: Recorder,
    pub bench: Bench,
}

pub fn redactor() -> Redactor {
    Redactor::new(&Rules::default()).expect("valid")
}

impl Tape {
    pub fn new(store: Rigged) -> Self {
        Self::with(Bench::new(store), RecorderSettings::default())
    }

    pub fn with(bench: Bench, settings: RecorderSettings) -> Self {
        Self { recorder: record(&bench.service, settings), bench }
    }

    /// One that also takes out what is registered here.
    pub fn redacted(bench: Bench, redactor: Redactor) -> Self {
        let recorder = Recorder::start(bench.service.clone(), redactor, RecorderSettings::default());
        Self { recorder, bench }
    }

    /// Asks, and reads to the end.
    pub async fn ask(&self, model: Arc<Model>, call: ModelCall) -> Vec<ModelPart> {
        self.recorder.model(model).stream(call).collect().await
    }

    pub async fn flush(&self) {
        assert!(self.recorder.flush(PATIENCE).await, "it is written");
    }

    pub fn tell(&self, event: &Event<'_>) {
        self.recorder.observe(event);
    }

    pub fn turn_ended(&self, of: ChatId, reason: Option<StopReason>) {
        self.tell(&Event::TurnEnded { chat: of, reason, kind: ChatKind::Root });
    }

    pub fn released(&self, of: ChatId) {
        self.tell(&Event::ActivityChanged { chat: of, from: Some(Activity::Waiting), to: None });
    }

    pub fn attempt_ended(&self, of: ChatId, r#gen: u64, end: AttemptEnd<'_>) {
        let r#gen = Gen::new(r#gen);
        self.tell(&Event::AttemptEnded { chat: of, r#gen, end, usage: Usage::default() });
    }

    /// The only run of a chat, when all is written.
    pub async fn only(&self, of: u128) -> (DebugRun, Vec<StepRecord>) {
        self.flush().await;
        self.bench.only(chat(of)).await
    }
}

pub fn record(service: &DebugService, settings: RecorderSettings) -> Recorder {
    Recorder::start(service.clone(), redactor(), settings)
}

/// The words of an answer as it is recorded.
pub fn words(content: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Text { text, .. } => text.clone(),
        other => format!("{other:?}"),
    };
    content.iter().map(text).collect()
}

pub fn answer_of(record: &StepRecord) -> Option<String> {
    record.response.as_ref().map(|response| words(&response.content))
}

/// The texts of the messages of a prompt as it is recorded.
pub fn prompt_of(record: &StepRecord) -> Vec<String> {
    let request = record.request.as_ref().expect("it was asked");
    let text = |message: &serde_json::Value| message["content"][0]["text"].as_str().map(str::to_owned);
    request.messages.iter().map(|message| text(message).expect("a text")).collect()
}

pub fn header(name: &str, value: &str, sensitive: bool) -> HttpHeader {
    HttpHeader { name: name.into(), value: value.into(), sensitive }
}

/// One exchange.
#[derive(Clone)]
pub struct Exchange {
    pub method: &'static str,
    pub url: String,
    pub sent: Vec<HttpHeader>,
    pub body: String,
    pub answered: Option<(u16, Vec<HttpHeader>)>,
    pub pieces: Vec<Vec<u8>>,
    pub end: End,
}

#[derive(Clone, Debug)]
pub enum End {
    Complete,
    Failed(Failure),
    Abandoned,
    /// Its end is not told at all.
    Dropped,
}

impl Exchange {
    /// A request that is answered with this body.
    pub fn new(body: &str, media: &str, pieces: &[&[u8]]) -> Self {
        Self {
            method: "POST",
            url: "https://provider.example/v1/chat".to_owned(),
            sent: vec![header("content-type", "application/json", false)],
            body: body.to_owned(),
            answered: Some((200, vec![header("content-type", media, false)])),
            pieces: pieces.iter().map(|piece| piece.to_vec()).collect(),
            end: End::Complete,
        }
    }

    pub fn tell(&self, observer: &dyn HttpObserver) {
        let Self { method, url, sent, body, answered, pieces, end } = self;
        let mut exchange = observer.request(&HttpRequest { method, url, headers: sent, body });
        if let Some((status, headers)) = answered {
            exchange.response(&HttpResponse { status: *status, headers });
        }
        pieces.iter().for_each(|piece| exchange.body(piece));
        match end {
            End::Complete => exchange.end(HttpEnd::Complete),
            End::Failed(failure) => exchange.end(HttpEnd::Failed(failure)),
            End::Abandoned => exchange.end(HttpEnd::Abandoned),
            End::Dropped => drop(exchange),
        }
    }

    pub fn model(self) -> Arc<Model> {
        Model::tells(move |observer| self.tell(observer))
    }
}

pub const MOMENT: Duration = Duration::from_millis(100);
