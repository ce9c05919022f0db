//! The debug recorder: what exactly was said to a model, and what came back.
//!
//! A [`Recorder`] wraps [language models](chatwright_core::port::LanguageModel). Of each call that says what it is
//! [part of](chatwright_core::model::CallScope), and whose chat is to be recorded, it writes down the prompt, the tools, the settings, every
//! request and response over HTTP, the answer, what it took and how long. Secrets are [taken out](redact) before anything is stored.
//! No caller waits for it: what there is no room for is dropped, counted, and told in the record.
//!
//! | | |
//! |---|---|
//! | [`DebugService`] | decides which chats are recorded, and writes, reads, ends, exports and deletes runs over any [`DebugStore`](chatwright_core::port::DebugStore) |
//! | [`Recorder`] | wraps models, is told by the loop what happens, and writes behind the back of the chats |
//! | [`redact`] | takes secrets out: headers, addresses, JSON, event streams, text |
//! | [`StepRecord`] | a step with everything that it refers to; [`doc`] has the stored forms |
//! | [`Cassette`] | a run in one file: read it in a [terminal](Cassette::timeline), [replay](Cassette::model) it |
//! | `otel` | runs as spans of OpenTelemetry, with the feature `otel` |
//!
//! A **run** is what was asked of models for one purpose: the answers of a turn, a summary, advice, a title. A **step** of it is one answer,
//! with all **attempts** at it. A prompt that grows from step to step is stored as what is new in it: contents are cut into pieces that are
//! named by their hashes.
//!
//! With the facade, `Builder::debug(&recorder)` is all there is to do. Alone, it records any model of yours:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use chatwright_core::content::Part;
//! use chatwright_core::debug::Detail;
//! use chatwright_core::model::{CallScope, Finish, Message, ModelCall, ModelId, ModelPart, Role};
//! use chatwright_core::port::{LanguageModel, ModelStream, Purpose};
//! use chatwright_core::{ChatId, Timestamp, UserId, Uuid};
//! use chatwright_debug::redact::{Redactor, Rules};
//! use chatwright_debug::{DebugService, DebugSettings, Recorder, RecorderSettings};
//! use chatwright_memory::{ManualClock, MemoryDebug, SeededIds};
//! use futures::{StreamExt, stream};
//!
//! struct Porter;
//!
//! impl LanguageModel for Porter {
//!     fn id(&self) -> ModelId {
//!         ModelId { provider: "house".into(), model: "porter".into() }
//!     }
//!
//!     fn stream(&self, _: ModelCall) -> ModelStream {
//!         let text = ModelPart::TextDelta { id: "0".into(), delta: "Come in.".to_owned() };
//!         stream::iter([text, ModelPart::Finish(Finish::default())]).boxed()
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Everything is recorded here. Usually switches say what is: `DebugService::with_switches`.
//!     let mut settings = DebugSettings::default();
//!     settings.forced = true;
//!     let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
//!     let service = DebugService::new(MemoryDebug::new(), clock, Arc::new(SeededIds::new(1)), settings);
//!     let redactor = Redactor::new(&Rules::default())?;
//!     redactor.register(&"opensesame".into())?;
//!     let recorder = Recorder::start(service.clone(), redactor, RecorderSettings::default());
//!     let model = recorder.model(Arc::new(Porter));
//!
//!     let chat = ChatId::from_uuid(Uuid::from_u128(1));
//!     let asked = Message::new(Role::User, vec![Part::text("It is opensesame.")]);
//!     let mut call = ModelCall::new(vec![asked]);
//!     call.scope = Some(Arc::new(CallScope::new(chat, UserId::new("ali")?, Purpose::Title)));
//!     model.stream(call).for_each(async |_| {}).await;
//!
//!     assert!(recorder.flush(Duration::from_secs(1)).await);
//!     let run = service.runs(chat, None, 1).await?.pop().expect("it was recorded");
//!     let step = service.steps(chat, run.id, 0, 1, Detail::Whole).await?.pop().expect("one answer");
//!     let record = service.read_step(&step).await?;
//!     let request = record.request.expect("it was asked");
//!     assert_eq!(request.messages[0]["content"][0]["text"], "It is [REDACTED].");
//!     assert_eq!(record.response.expect("it was answered").content, [Part::text("Come in.")]);
//!
//!     println!("{}", service.export(chat, run.id).await?.timeline());
//!     Ok(())
//! }
//! ```

mod cassette;
mod content;
pub mod doc;
#[cfg(feature = "otel")]
pub mod otel;
mod read;
mod recorder;
pub mod redact;
mod service;

pub use cassette::{
    Cassette, CassetteAttempt, CassetteError, CassetteRun, CassetteStep, ReplayModel, Timeline,
};
pub use content::{ContentError, InvalidPlace, Place};
pub use read::{AttemptRecord, ExchangeRecord, RequestRecord, ResponseRecord, StepRecord};
pub use recorder::{RecordedModel, RecordedResolver, Recorder, RecorderSettings, RecorderStats};
pub use service::{
    CreateStepError, DebugEvent, DebugEventKind, DebugService, DebugSettings, FIRST_MESSAGE_SCALARS_MAX,
    Summary, UpdateError, label,
};
