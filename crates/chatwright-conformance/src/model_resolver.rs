//! The promises of [`ModelResolver`].
//!
//! The subject is a [`ResolverRig`]: a resolver with rows for it, whose provider is the test's own, so that it can count
//! what reaches it.
#![expect(unused_qualifications, reason = "the exported macro needs the path from outside")]

use std::sync::Arc;

use chatwright_core::config::{Configured, ModelConfig, ProviderConfig};
use chatwright_core::port::{LanguageModel, ModelResolver, Unresolved};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::Subject;
use crate::clause::clauses;
use crate::wait::{all, within};

/// A resolver with rows for it.
pub trait ResolverRig: Send + Sync + 'static {
    /// The resolver.
    fn resolver(&self) -> Arc<dyn ModelResolver>;

    /// Rows of which it says this. Provider, row and model have three different names.
    fn rows(&self, outcome: Resolves) -> (Configured<ProviderConfig>, Configured<ModelConfig>);

    /// How many requests have reached the provider so far.
    fn requests(&self) -> usize;

    /// The key with which [`Resolves::ToAModel`] resolves: it must not be printed.
    fn secret(&self) -> String;
}

/// What becomes of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolves {
    /// A model.
    ToAModel,
    /// [`Unresolved::MissingKey`].
    ToAMissingKey,
    /// [`Unresolved::Invalid`].
    ToInvalid,
}

const OUTCOMES: [Resolves; 3] = [Resolves::ToAModel, Resolves::ToAMissingKey, Resolves::ToInvalid];

clauses! {
    ($) model_resolver in model_resolver: chatwright_conformance::model_resolver::ResolverRig;
    "resolver.R1" r1_resolving_any_number_of_times_asks_no_provider,
    "resolver.R2" r2_no_error_prints_a_secret,
    "resolver.R3" r3_the_model_is_named_after_its_rows,
}

async fn resolve(
    rig: &dyn ResolverRig,
    (provider, model): &(Configured<ProviderConfig>, Configured<ModelConfig>),
    clause: &str,
) -> Result<Arc<dyn LanguageModel>, Unresolved> {
    within(clause, "a model, or why there is none", rig.resolver().resolve(provider, model)).await
}

async fn r1_resolving_any_number_of_times_asks_no_provider(subject: &Subject<dyn ResolverRig>) {
    const CLAUSE: &str = "resolver.R1";
    let rig = subject.connect().await;
    for outcome in OUTCOMES {
        let rows = rig.rows(outcome);
        for _ in 0..3 {
            let resolved = resolve(&*rig, &rows, CLAUSE).await.is_ok();
            assert_eq!(resolved, outcome == Resolves::ToAModel, "{CLAUSE}: {outcome:?}: whether it resolves");
        }
        let mut tasks = JoinSet::new();
        for _ in 0..32 {
            let (rig, rows) = (Arc::clone(&rig), rows.clone());
            tasks.spawn(async move { resolve(&*rig, &rows, CLAUSE).await.is_ok() });
        }
        let resolved = all(tasks).await;
        assert_eq!(resolved, [outcome == Resolves::ToAModel; 32], "{CLAUSE}: {outcome:?}: 32 at once");
        assert_eq!(rig.requests(), 0, "{CLAUSE}: {outcome:?}: requests of its provider");
    }
}

async fn r2_no_error_prints_a_secret(subject: &Subject<dyn ResolverRig>) {
    const CLAUSE: &str = "resolver.R2";
    let rig = subject.connect().await;
    let secret = rig.secret();
    assert!(!secret.is_empty(), "{CLAUSE}: the rig's secret is empty");
    let quiet = |error: &Unresolved, what: &str| {
        // Without the secret, which this message must not print either.
        let printed = format!("{error} {error:?} {error:#?}");
        assert!(!printed.contains(&*secret), "{CLAUSE}: {what}: an error prints a secret");
    };
    for outcome in [Resolves::ToAMissingKey, Resolves::ToInvalid] {
        let rows = rig.rows(outcome);
        let Err(error) = resolve(&*rig, &rows, CLAUSE).await else {
            panic!("{CLAUSE}: rows that resolve {outcome:?} give a model")
        };
        quiet(&error, &format!("{outcome:?}"));
        let as_told = match (&error, outcome) {
            (Unresolved::MissingKey { provider }, Resolves::ToAMissingKey) => *provider == rows.0.id,
            (Unresolved::Invalid { model, .. }, Resolves::ToInvalid) => *model == rows.1.id,
            _ => false,
        };
        assert!(as_told, "{CLAUSE}: rows that resolve {outcome:?}: {error:?}");
    }
    for (n, rows) in careless(&*rig, &secret).into_iter().enumerate() {
        if let Err(error) = resolve(&*rig, &rows, CLAUSE).await {
            quiet(&error, &format!("careless rows {n}"));
        }
    }
}

/// Rows with the secret in places where somebody may put it by mistake.
fn careless(
    rig: &dyn ResolverRig,
    secret: &str,
) -> Vec<(Configured<ProviderConfig>, Configured<ModelConfig>)> {
    let mut rows = Vec::new();
    for outcome in OUTCOMES {
        let mut row = |spoil: &dyn Fn(&mut ProviderConfig, &mut ModelConfig)| {
            let (mut provider, mut model) = rig.rows(outcome);
            spoil(&mut provider.value, &mut model.value);
            rows.push((provider, model));
        };
        row(&|provider, _| provider.credential = Some(secret.into()));
        row(&|provider, _| provider.protocol = secret.into());
        row(&|provider, _| provider.base_url = Some(format!("https://kit:{secret}@[no address").into()));
        row(&|provider, _| provider.base_url = Some(format!("https://127.0.0.1/?key={secret}").into()));
        row(&|provider, _| provider.base_url = Some(secret.into()));
        row(&|provider, model| {
            for key in ["api_key", "headers", "key", "timeout_ms"] {
                provider.options.insert(key.into(), Value::from(secret));
                model.options.insert(key.into(), Value::from(secret));
            }
        });
    }
    rows
}

async fn r3_the_model_is_named_after_its_rows(subject: &Subject<dyn ResolverRig>) {
    const CLAUSE: &str = "resolver.R3";
    let rig = subject.connect().await;
    let rows = rig.rows(Resolves::ToAModel);
    for _ in 0..2 {
        let model = resolve(&*rig, &rows, CLAUSE).await;
        let model = model.unwrap_or_else(|error| panic!("{CLAUSE}: the rows resolve to no model: {error}"));
        let id = model.id();
        assert_eq!(id.provider, rows.0.id, "{CLAUSE}: the provider of the model's id is the id of its row");
        assert_eq!(id.model, rows.1.model, "{CLAUSE}: the model of its id is the provider's name of it");
    }
    // Rows that have changed since make another model: nothing is remembered by id.
    let (provider, mut changed) = rows;
    changed.value.model = format!("{}-2", changed.value.model).into();
    changed.version += 1;
    if let Ok(model) = resolve(&*rig, &(provider, changed.clone()), CLAUSE).await {
        assert_eq!(model.id().model, changed.model, "{CLAUSE}: the model of rows that have changed");
    }
}
