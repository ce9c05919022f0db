//! Verdicts on what fails outside a model.

use std::fmt;

use chatwright_config::{ConfigError, FillError, ReadError};
use chatwright_core::content::Part;
use chatwright_core::error::{Advice, Kind, Reason, Verdict};
use chatwright_core::model::FinishReason;
use chatwright_core::port::{StoreError, Unresolved};
use chatwright_engine::{calls, says_something};

use crate::models::NoModel;

pub(crate) fn no_model(error: &NoModel) -> Verdict {
    let verdict = match error {
        NoModel::Unknown { .. } | NoModel::NoDefault { .. } | NoModel::Disabled(_) => {
            Verdict::of(Kind::Config).with_reason(Reason::ModelNotFound).with_advice(Advice::SwitchModel)
        }
        NoModel::ProviderDisabled { provider, .. } => {
            Verdict::of(Kind::ProviderDisabled).with_provider(provider).with_advice(Advice::SwitchModel)
        }
        NoModel::Unresolved(error) => match &**error {
            Unresolved::MissingKey { provider } => Verdict::of(Kind::MissingKey).with_provider(provider),
            Unresolved::Unavailable { .. } => return later(error),
            _ => Verdict::of(Kind::Config),
        },
        NoModel::Invalid(_) => Verdict::of(Kind::Config),
        NoModel::Unreadable(_) => return later(error),
    };
    verdict.with_message(&sentence(error))
}

/// The configuration of a chat cannot be read.
pub(crate) fn unreadable(error: &ReadError) -> Verdict {
    match error {
        FillError::Source(error) if matches!(**error, ConfigError::Invalid(_)) => {
            Verdict::of(Kind::Config).with_message(&sentence(error))
        }
        error => later(error),
    }
}

/// Something of the host's does not answer. No provider is to blame, and another attempt may find it well.
fn later(error: &impl fmt::Display) -> Verdict {
    Verdict::of(Kind::Generic)
        .with_reason(Reason::LocalHost)
        .with_advice(Advice::Retry)
        .with_message(&sentence(error))
}

/// The ledger does not answer, and nothing is asked that could not be written down.
pub(crate) fn no_ledger(error: &StoreError) -> Verdict {
    later(&format_args!("the request could not be written down: {error}"))
}

fn sentence(error: &impl fmt::Display) -> String {
    let mut text = format!("{error}.");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// A summary that would lose what it stands for.
pub(crate) fn no_summary(finish: FinishReason, blank: bool) -> Option<Verdict> {
    let (kind, why) = match finish {
        FinishReason::ContentFilter => (Kind::ContentFilter, "a filter cut it"),
        FinishReason::Length => (Kind::Generic, "it met its limit"),
        FinishReason::Error => (Kind::Generic, "the provider ended it"),
        _ if blank => (Kind::Generic, "the model wrote nothing"),
        _ => return None,
    };
    Some(Verdict::of(kind).with_message(&format!("The conversation could not be summarised: {why}.")))
}

/// An answer that ended without words, and not because the model was done: the provider lost it, or ended it for an error of its
/// own. Whole calls are an answer.
pub(crate) fn no_answer(provider: &str, finish: FinishReason, content: &[Part]) -> Option<Verdict> {
    let has_calls = calls(content).next().is_some();
    let is_lost = match finish {
        FinishReason::Error => !has_calls,
        FinishReason::ToolCalls | FinishReason::Other | FinishReason::Unknown => !says_something(content),
        _ => false,
    };
    let verdict = Verdict::of(Kind::Generic).with_reason(Reason::NoOutput).with_advice(Advice::Retry);
    is_lost
        .then(|| verdict.with_provider(provider).with_detail(&format!("The answer ended with {finish:?}.")))
}

pub(crate) fn internal(error: &crate::feed::Failed) -> Verdict {
    let message = format!("The turn could not be stored: {error}.");
    Verdict::of(Kind::Generic).with_reason(Reason::LocalStorage).with_message(&message)
}

pub(crate) fn stuck() -> Verdict {
    let message = "The tools of the turn could not be run.";
    Verdict::of(Kind::Generic).with_reason(Reason::LocalTool).with_message(message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chatwright_core::config::{ConfigKey, InvalidConfig};

    use super::*;

    #[test]
    fn what_is_not_configured_is_the_operators_and_what_does_not_answer_is_tried_again() {
        let unresolved = |error| NoModel::Unresolved(Arc::new(error));
        let disabled = || NoModel::ProviderDisabled { model: "m".into(), provider: "p".into() };
        let invalid = || ConfigError::from(InvalidConfig::new(&ConfigKey::advisor(), "it is odd"));
        let (not_found, host) = (Some(Reason::ModelNotFound), Some(Reason::LocalHost));
        for (error, kind, reason, retries) in [
            (NoModel::Unknown { name: "m".into(), known: "".into() }, Kind::Config, not_found, false),
            (NoModel::NoDefault { known: "".into() }, Kind::Config, not_found, false),
            (NoModel::Disabled("m".into()), Kind::Config, not_found, false),
            (disabled(), Kind::ProviderDisabled, None, false),
            (unresolved(Unresolved::MissingKey { provider: "p".into() }), Kind::MissingKey, None, false),
            (unresolved(Unresolved::Unavailable { why: "it sleeps".into() }), Kind::Generic, host, true),
            (NoModel::Invalid(Arc::new(invalid())), Kind::Config, None, false),
            (NoModel::Unreadable("it is down".into()), Kind::Generic, host, true),
        ] {
            let verdict = no_model(&error);
            assert_eq!((verdict.kind, verdict.reason), (kind, reason), "{error}");
            assert_eq!(verdict.advice == Advice::Retry, retries, "{error}");
            let switches = reason == not_found || kind == Kind::ProviderDisabled;
            assert_eq!(verdict.advice == Advice::SwitchModel, switches, "{error}");
        }
        assert_eq!(unreadable(&FillError::Source(Arc::new(invalid()))).kind, Kind::Config);
        let late = unreadable(&ReadError::TimedOut);
        assert_eq!((late.reason, late.advice), (host, Advice::Retry));
    }
}
