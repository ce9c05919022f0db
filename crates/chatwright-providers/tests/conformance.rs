//! Every model keeps M1–M5 over real HTTP.

use std::sync::Arc;

use chatwright_conformance::language_model::{
    BODY, ERROR_CODE, ERROR_TYPE, HEADERS, ModelRig, ModelScript, SECRET,
};
use chatwright_core::port::LanguageModel;
use chatwright_fake::{FakeServer, Reply, Script, Step};
use chatwright_providers::{AnthropicMessages, Gemini, OpenAiChat, OpenAiResponses};

const SCRIPTS: [ModelScript; 5] = [
    ModelScript::Complete,
    ModelScript::Status429,
    ModelScript::CutInText,
    ModelScript::ErrorInStream,
    ModelScript::Stall,
];

/// A model of a key at a base address.
type Make = fn(String, &str) -> Arc<dyn LanguageModel>;

struct Rig(Make, Vec<(ModelScript, FakeServer)>);

impl Rig {
    async fn start(make: Make) -> Self {
        let mut servers = Vec::new();
        for script in SCRIPTS {
            let server = FakeServer::start(Script::new(vec![reply(script)])).await.expect("a free port");
            servers.push((script, server));
        }
        Self(make, servers)
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
        let (_, server) = self.1.iter().find(|(of, _)| *of == script).expect("every script has a server");
        self.0(server.base_url(), SECRET)
    }

    fn requests(&self) -> usize {
        self.1.iter().map(|(_, server)| server.requests().len()).sum()
    }

    fn open_calls(&self) -> usize {
        self.1.iter().map(|(_, server)| server.open_streams()).sum()
    }
}

fn openai_chat(url: String, key: &str) -> Arc<dyn LanguageModel> {
    Arc::new(OpenAiChat::builder("fake").base_url(url).key(key).build().expect("a valid address"))
}

fn openai_responses(url: String, key: &str) -> Arc<dyn LanguageModel> {
    Arc::new(OpenAiResponses::builder("fake").base_url(url).key(key).build().expect("a valid address"))
}

fn anthropic_messages(url: String, key: &str) -> Arc<dyn LanguageModel> {
    Arc::new(AnthropicMessages::builder("fake").base_url(url).key(key).build().expect("a valid address"))
}

fn google_gemini(url: String, key: &str) -> Arc<dyn LanguageModel> {
    Arc::new(Gemini::builder("fake").base_url(url).key(key).build().expect("a valid address"))
}

mod openai_chat {
    chatwright_conformance::language_model!(super::Rig::start(super::openai_chat).await);
}

mod openai_responses {
    chatwright_conformance::language_model!(super::Rig::start(super::openai_responses).await);
}

mod anthropic_messages {
    chatwright_conformance::language_model!(super::Rig::start(super::anthropic_messages).await);
}

mod google_gemini {
    chatwright_conformance::language_model!(super::Rig::start(super::google_gemini).await);
}
