//! The model keeps M1–M5 over real HTTP.

use std::sync::Arc;

use chatwright_conformance::language_model::{
    BODY, ERROR_CODE, ERROR_TYPE, HEADERS, ModelRig, ModelScript, SECRET,
};
use chatwright_core::port::LanguageModel;
use chatwright_fake::{FakeServer, Reply, Script, Step};
use chatwright_providers::OpenAiChat;

const SCRIPTS: [ModelScript; 5] = [
    ModelScript::Complete,
    ModelScript::Status429,
    ModelScript::CutInText,
    ModelScript::ErrorInStream,
    ModelScript::Stall,
];

struct Rig(Vec<(ModelScript, FakeServer)>);

impl Rig {
    async fn start() -> Self {
        let mut servers = Vec::new();
        for script in SCRIPTS {
            let server = FakeServer::start(Script::new(vec![reply(script)])).await.expect("a free port");
            servers.push((script, server));
        }
        Self(servers)
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
        let (_, server) = self.0.iter().find(|(of, _)| *of == script).expect("every script has a server");
        let model = OpenAiChat::builder("fake").base_url(server.base_url()).key(SECRET).build();
        Arc::new(model.expect("a valid address"))
    }

    fn requests(&self) -> usize {
        self.0.iter().map(|(_, server)| server.requests().len()).sum()
    }

    fn open_calls(&self) -> usize {
        self.0.iter().map(|(_, server)| server.open_streams()).sum()
    }
}

chatwright_conformance::language_model!(Rig::start().await);
