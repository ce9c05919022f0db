//! Models of what is configured keep R1–R3.

use std::sync::Arc;

use chatwright_conformance::model_resolver::{ResolverRig, Resolves};
use chatwright_core::config::{Configured, ModelConfig, ProviderConfig};
use chatwright_core::port::ModelResolver;
use chatwright_fake::{FakeServer, Reply, Script};
use chatwright_providers::HttpModels;

const SECRET: &str = "sk-resolver-secret-5b1f";

struct Rig {
    server: FakeServer,
    models: Arc<HttpModels>,
}

impl Rig {
    async fn start() -> Self {
        let server = FakeServer::start(Script::new(vec![Reply::text("unasked")])).await.expect("a free port");
        let models = HttpModels::new(|name| (name == "right").then(|| SECRET.to_owned()));
        Self { server, models: Arc::new(models) }
    }
}

impl ResolverRig for Rig {
    fn resolver(&self) -> Arc<dyn ModelResolver> {
        self.models.clone()
    }

    fn rows(&self, outcome: Resolves) -> (Configured<ProviderConfig>, Configured<ModelConfig>) {
        let mut provider = ProviderConfig::new("openai_chat");
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

chatwright_conformance::model_resolver!(Rig::start().await);
