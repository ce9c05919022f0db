//! Models of what is configured keep R1–R3.

use std::sync::Arc;

use chatwright_conformance::model_resolver::{ResolverRig, Resolves};
use chatwright_core::config::{Configured, ModelConfig, ProviderConfig};
use chatwright_core::content::Part;
use chatwright_core::model::{Message, ModelCall, ModelPart, Role};
use chatwright_core::port::ModelResolver;
use chatwright_fake::{FakeServer, Reply, Script};
use chatwright_providers::HttpModels;
use futures::StreamExt;
use serde_json::json;

const SECRET: &str = "sk-resolver-secret-5b1f";

struct Rig {
    protocol: &'static str,
    server: FakeServer,
    models: Arc<HttpModels>,
}

impl Rig {
    async fn start(protocol: &'static str) -> Self {
        let server = FakeServer::start(Script::new(vec![Reply::text("unasked")])).await.expect("a free port");
        let models = HttpModels::new(|name| (name == "right").then(|| SECRET.to_owned()));
        Self { protocol, server, models: Arc::new(models) }
    }
}

impl ResolverRig for Rig {
    fn resolver(&self) -> Arc<dyn ModelResolver> {
        self.models.clone()
    }

    fn rows(&self, outcome: Resolves) -> (Configured<ProviderConfig>, Configured<ModelConfig>) {
        let mut provider = ProviderConfig::new(self.protocol);
        provider.base_url = Some(self.server.base_url().into());
        provider.credential = Some("right".into());
        match outcome {
            Resolves::ToAModel => {}
            Resolves::ToAMissingKey => provider.credential = Some("wrong".into()),
            Resolves::ToInvalid => provider.protocol = "telepathy".into(),
        }
        let model = ModelConfig::new("ours", "fake-1");
        (
            Configured { id: "ours".into(), version: 1, value: provider },
            Configured { id: "fast".into(), version: 1, value: model },
        )
    }

    fn requests(&self) -> usize {
        self.server.requests().len()
    }

    fn secret(&self) -> String {
        SECRET.to_owned()
    }
}

mod openai_chat {
    chatwright_conformance::model_resolver!(super::Rig::start("openai_chat").await);
}

mod openai_responses {
    chatwright_conformance::model_resolver!(super::Rig::start("openai_responses").await);
}

mod anthropic_messages {
    chatwright_conformance::model_resolver!(super::Rig::start("anthropic_messages").await);
}

mod google_gemini {
    chatwright_conformance::model_resolver!(super::Rig::start("google_gemini").await);
}

#[tokio::test]
async fn the_protocol_the_key_and_the_options_of_a_provider_reach_the_server() {
    for (protocol, options, path, header, cached) in [
        (
            "openai_chat",
            json!({}),
            "/v1/chat/completions",
            ("authorization", format!("Bearer {SECRET}")),
            false,
        ),
        (
            "openai_responses",
            json!({}),
            "/v1/responses",
            ("authorization", format!("Bearer {SECRET}")),
            false,
        ),
        ("anthropic_messages", json!({}), "/v1/messages", ("x-api-key", SECRET.to_owned()), true),
        (
            "anthropic_messages",
            json!({"no_prompt_caching": true}),
            "/v1/messages",
            ("x-api-key", SECRET.to_owned()),
            false,
        ),
        (
            "google_gemini",
            json!({}),
            "/v1/models/fake-1:streamGenerateContent?alt=sse",
            ("x-goog-api-key", SECRET.to_owned()),
            false,
        ),
    ] {
        let rig = Rig::start(protocol).await;
        let (mut provider, model) = rig.rows(Resolves::ToAModel);
        provider.value.options = serde_json::from_value(options).expect("options");
        let model = rig.resolver().resolve(&provider, &model).await.expect("it resolves");
        let hello = Message::new(Role::User, vec![Part::text("Hello")]);
        let parts: Vec<ModelPart> = model.stream(ModelCall::new(vec![hello])).collect().await;
        assert!(matches!(parts.last(), Some(ModelPart::Finish(_))), "{protocol}: {parts:?}");
        let request = rig.server.requests().remove(0);
        assert_eq!(request.path, path);
        assert!(request.headers.contains(&(header.0.to_owned(), header.1)), "{protocol}");
        assert_eq!(request.body.to_string().contains("cache_control"), cached, "{protocol}");
    }
}

#[tokio::test]
async fn options_of_another_protocol_are_told() {
    for (protocol, name, value, why) in [
        (
            "anthropic_messages",
            "max_tokens",
            json!(true),
            "has the option \"max_tokens\", which nobody knows",
        ),
        ("anthropic_messages", "no_prompt_caching", json!("yes"), "is neither true nor false"),
        ("openai_responses", "max_tokens", json!(true), "has the option \"max_tokens\", which nobody knows"),
        (
            "google_gemini",
            "no_prompt_caching",
            json!(true),
            "has the option \"no_prompt_caching\", which nobody knows",
        ),
    ] {
        let rig = Rig::start(protocol).await;
        let (mut provider, model) = rig.rows(Resolves::ToAModel);
        provider.value.options = [(name.into(), value)].into();
        let error = rig.resolver().resolve(&provider, &model).await.err().expect("refused");
        assert!(error.to_string().contains(why), "{protocol}: {error}");
    }
}
