//! Verdicts on what fails outside a model.

use std::fmt;

use chatwright_config::{ConfigError, FillError, ReadError};
use chatwright_core::error::{Advice, Kind, Reason, Verdict};
use chatwright_core::port::Unresolved;

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

fn sentence(error: &impl fmt::Display) -> String {
    let mut text = format!("{error}.");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

pub(crate) fn internal(error: &crate::feed::Failed) -> Verdict {
    let message = format!("The turn could not be stored: {error}.");
    Verdict::of(Kind::Generic).with_reason(Reason::LocalStorage).with_message(&message)
}

pub(crate) fn stuck() -> Verdict {
    let message = "The tools of the turn could not be run.";
    Verdict::of(Kind::Generic).with_reason(Reason::LocalTool).with_message(message)
}
