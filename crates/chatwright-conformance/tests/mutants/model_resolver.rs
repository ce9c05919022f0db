//! A resolver that can be broken in one place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chatwright_conformance::model_resolver::{CLAUSES, ResolverRig, Resolves};
use chatwright_core::config::{ConfigKey, ConfigRow, Configured, ModelConfig, ProviderConfig};
use chatwright_core::model::{ModelCall, ModelId};
use chatwright_core::port::{LanguageModel, ModelResolver, ModelStream, Unresolved};
use futures::StreamExt as _;
use parking_lot::Mutex;

use crate::caught::{Mutant, all_are_caught_at_once};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    AsksWhenItResolves,
    AsksOnce,
    AsksWithoutAKey,
    ResolvesOnce,
    PrintsWhatItDoesNotFind,
    PrintsTheAddress,
    PrintsTheProtocol,
    PrintsTheKeyOfOthers,
    MissesInsteadOfInvalid,
    NamesTheProtocol,
    NamesTheRowOfTheModel,
    RemembersById,
}

const KEY: &str = "kit-key-5d1e";

struct Rig {
    fault: Fault,
    requests: Arc<AtomicUsize>,
    known: Arc<Mutex<BTreeMap<Box<str>, Arc<Model>>>>,
}

struct Resolver {
    fault: Fault,
    requests: Arc<AtomicUsize>,
    known: Arc<Mutex<BTreeMap<Box<str>, Arc<Model>>>>,
}

struct Model(ModelId);

impl LanguageModel for Model {
    fn id(&self) -> ModelId {
        self.0.clone()
    }

    fn stream(&self, _: ModelCall) -> ModelStream {
        futures::stream::empty().boxed()
    }
}

impl ResolverRig for Rig {
    fn resolver(&self) -> Arc<dyn ModelResolver> {
        Arc::new(Resolver {
            fault: self.fault,
            requests: Arc::clone(&self.requests),
            known: Arc::clone(&self.known),
        })
    }

    fn rows(&self, outcome: Resolves) -> (Configured<ProviderConfig>, Configured<ModelConfig>) {
        let mut provider = ProviderConfig::new("wire");
        provider.credential = Some(if outcome == Resolves::ToAMissingKey { "GONE" } else { "KEY" }.into());
        if outcome == Resolves::ToInvalid {
            provider.protocol = "unheard of".into();
        }
        let model = ModelConfig::new("kit", "large-1");
        let row = |key, value| ConfigRow { key, version: 1, value };
        let provider = row(ConfigKey::provider("kit").expect("a short id"), provider.to_json());
        let model = row(ConfigKey::model("default").expect("a short id"), model.to_json());
        let provider = Configured::from_row(&provider).expect("a provider");
        (provider, Configured::from_row(&model).expect("a model"))
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn secret(&self) -> String {
        KEY.to_owned()
    }
}

impl Resolver {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn invalid(&self, model: &Configured<ModelConfig>, why: &str, what: &str) -> Unresolved {
        let told = match self.fault {
            Fault::PrintsTheAddress if why == "its address is none" => what,
            Fault::PrintsTheProtocol if why == "its protocol is not known" => what,
            Fault::PrintsTheKeyOfOthers => KEY,
            _ => "",
        };
        Unresolved::Invalid { model: model.id.clone(), why: format!("{why} {told}").into() }
    }
}

#[async_trait]
impl ModelResolver for Resolver {
    async fn resolve(
        &self,
        provider: &Configured<ProviderConfig>,
        model: &Configured<ModelConfig>,
    ) -> Result<Arc<dyn LanguageModel>, Unresolved> {
        if &*provider.protocol != "wire" {
            if self.is(Fault::MissesInsteadOfInvalid) {
                return Err(Unresolved::MissingKey { provider: provider.id.clone() });
            }
            return Err(self.invalid(model, "its protocol is not known", &provider.protocol));
        }
        if let Some(url) = provider.base_url.as_deref().filter(|url| !url.ends_with('/')) {
            return Err(self.invalid(model, "its address is none", url));
        }
        let key = provider.credential.as_deref();
        if key != Some("KEY") {
            if self.is(Fault::AsksWithoutAKey) {
                self.requests.fetch_add(1, Ordering::SeqCst);
            }
            let told = if self.is(Fault::PrintsWhatItDoesNotFind) { key } else { None };
            return Err(Unresolved::MissingKey { provider: told.unwrap_or(&provider.id).into() });
        }
        let id = match self.fault {
            Fault::NamesTheProtocol => (&provider.protocol, &model.model),
            Fault::NamesTheRowOfTheModel => (&provider.id, &model.id),
            _ => (&provider.id, &model.model),
        };
        let id = ModelId { provider: id.0.clone(), model: id.1.clone() };
        let mut known = self.known.lock();
        let is_new = !known.contains_key(&model.id);
        if self.is(Fault::AsksWhenItResolves) || self.is(Fault::AsksOnce) && is_new {
            self.requests.fetch_add(1, Ordering::SeqCst);
        }
        if self.is(Fault::ResolvesOnce) && !is_new {
            return Err(Unresolved::Unavailable { why: "it is in use".into() });
        }
        let remembered = known.entry(model.id.clone()).or_insert_with(|| Arc::new(Model(id.clone())));
        if self.is(Fault::RemembersById) {
            return Ok(remembered.clone());
        }
        Ok(Arc::new(Model(id)))
    }
}

fn rig(fault: Fault) -> Rig {
    Rig { fault, requests: Arc::default(), known: Arc::default() }
}

fn broken(fault: Fault) -> Mutant<dyn ResolverRig> {
    Box::new(move || Arc::new(rig(fault)))
}

const ASKS: &str = "r1_resolving_any_number_of_times_asks_no_provider";
const PRINTS: &str = "r2_no_error_prints_a_secret";
const NAMED: &str = "r3_the_model_is_named_after_its_rows";

#[test]
fn every_broken_resolver_is_caught_by_the_clause_that_it_breaks() {
    let mutants = [
        (ASKS, "asks when it resolves", Fault::AsksWhenItResolves),
        (ASKS, "asks once", Fault::AsksOnce),
        (ASKS, "asks without a key", Fault::AsksWithoutAKey),
        (ASKS, "resolves once", Fault::ResolvesOnce),
        (PRINTS, "prints what it does not find", Fault::PrintsWhatItDoesNotFind),
        (PRINTS, "prints the address", Fault::PrintsTheAddress),
        (PRINTS, "prints the protocol", Fault::PrintsTheProtocol),
        (PRINTS, "prints the key that it has", Fault::PrintsTheKeyOfOthers),
        (PRINTS, "misses a key where the rows are invalid", Fault::MissesInsteadOfInvalid),
        (NAMED, "names the protocol", Fault::NamesTheProtocol),
        (NAMED, "names the row of the model", Fault::NamesTheRowOfTheModel),
        (NAMED, "remembers models by the id of their row", Fault::RemembersById),
    ];
    all_are_caught_at_once(
        CLAUSES,
        mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into(),
    );
}

mod sound {
    chatwright_conformance::model_resolver!(super::rig(super::Fault::None));
}
