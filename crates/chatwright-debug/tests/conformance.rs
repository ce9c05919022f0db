//! A recorded model keeps M1–M5, and the recorder H1–H3 and O1–O2, while it records.

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use chatwright_conformance::http_observer::HttpObserverRig;
use chatwright_conformance::language_model::{
    BODY, ERROR_CODE, ERROR_TYPE, HEADERS, ModelRig, ModelScript, SECRET,
};
use chatwright_core::ChatId;
use chatwright_core::model::{ModelCall, ModelId};
use chatwright_core::port::{Event, HttpObserver, LanguageModel, ModelStream, Observer};
use chatwright_debug::RecordedModel;
use chatwright_fake::{Reply, Script, ScriptedModel, Step};
use common::recording::{Model, Tape, call, said, scope};
use common::{Rigged, chat};
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;

/// Models in process that play what the kit asks for, recorded.
struct Rig {
    tape: Tape,
    models: Vec<(ModelScript, ScriptedModel)>,
}

/// Says what its calls are part of, which those of the kit do not.
struct Scoped(RecordedModel);

impl LanguageModel for Scoped {
    fn id(&self) -> ModelId {
        self.0.id()
    }

    fn stream(&self, mut call: ModelCall) -> ModelStream {
        call.scope = Some(Arc::new(scope(chat(1), 3, 1)));
        self.0.stream(call)
    }
}

impl Rig {
    fn new() -> Self {
        let scripts = [
            ModelScript::Complete,
            ModelScript::Status429,
            ModelScript::CutInText,
            ModelScript::ErrorInStream,
            ModelScript::Stall,
        ];
        let model = |script| (script, ScriptedModel::new(Script::new(vec![reply(script)])));
        Self { tape: Tape::new(Rigged::memory()), models: scripts.map(model).into() }
    }
}

fn reply(script: ModelScript) -> Reply {
    let words = || Step::Text("Some words".to_owned());
    match script {
        ModelScript::Complete => Reply::text("Some words"),
        ModelScript::Status429 => HEADERS
            .iter()
            .fold(Reply::status(429, BODY), |reply, (name, value)| reply.with_header(name, value)),
        ModelScript::CutInText => Reply::steps(vec![words()]),
        ModelScript::ErrorInStream => {
            let message = format!("busy {SECRET}");
            let error = Step::Error { kind: ERROR_TYPE.to_owned(), code: ERROR_CODE.to_owned(), message };
            Reply::steps(vec![words(), error])
        }
        ModelScript::Stall => Reply::steps(vec![words(), Step::Stall]),
    }
}

impl ModelRig for Rig {
    fn model(&self, script: ModelScript) -> Arc<dyn LanguageModel> {
        let (_, model) = self.models.iter().find(|(of, _)| *of == script).expect("every script has one");
        Arc::new(Scoped(self.tape.recorder.model(Arc::new(model.clone()))))
    }

    fn requests(&self) -> usize {
        self.models.iter().map(|(_, model)| model.requests()).sum()
    }

    fn open_calls(&self) -> usize {
        self.models.iter().map(|(_, model)| model.open_calls()).sum()
    }
}

mod recorded_model {
    chatwright_conformance::language_model!(super::Rig::new());
}

/// The observers of calls that are under way.
struct Exchanges {
    tape: Tape,
    open: Mutex<Vec<ModelStream>>,
}

impl Exchanges {
    fn new() -> Self {
        Self { tape: Tape::new(Rigged::memory()), open: Mutex::default() }
    }
}

#[async_trait]
impl HttpObserverRig for Exchanges {
    fn observer(&self) -> Arc<dyn HttpObserver> {
        let told = Arc::new(Mutex::new(None));
        let tells = Arc::clone(&told);
        let model = Model::by(move |call| {
            *tells.lock() = call.transport.observer;
            futures::stream::pending().boxed()
        });
        let stream = self.tape.recorder.model(model).stream(call(scope(chat(1), 3, 1), vec![said("Hi")]));
        self.open.lock().push(stream);
        told.lock().take().expect("it is observed")
    }

    async fn kept(&self) -> String {
        self.open.lock().clear();
        self.tape.flush().await;
        let dump = self.tape.bench.dump(chat(1)).await;
        let logs = format!("{:?}", self.tape.recorder);
        assert!(dump.contains("provider.example"), "the kit's exchanges are recorded");
        dump + &logs
    }
}

mod exchanges {
    chatwright_conformance::http_observer!(super::Exchanges::new());
}

/// Every chat that it is told of is one that is recorded, so that all of what it is told counts.
struct Told(Tape);

impl Told {
    fn begin(&self, of: ChatId) {
        let model = self.0.recorder.model(Model::stalls(vec![]));
        let mut stream = model.stream(call(scope(of, 3, 1), vec![said("Hi")]));
        assert!(stream.next().now_or_never().is_none());
    }
}

impl Observer for Told {
    fn observe(&self, event: &Event<'_>) {
        if let Event::TurnStarted { chat, .. } = event {
            self.begin(*chat);
        }
        self.0.recorder.observe(event);
    }
}

mod recorder {
    chatwright_conformance::observer!(super::Told(super::Tape::new(super::Rigged::memory())));
}
