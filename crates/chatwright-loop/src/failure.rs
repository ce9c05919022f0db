//! Verdicts on what fails outside a model.

use chatwright_core::error::{Advice, Kind, Reason, Verdict};

pub(crate) fn no_model(name: Option<&str>) -> Verdict {
    let message = match name {
        Some(name) => format!("The model {name:?} is not known to the process that runs the chat."),
        None => "The chat names no model, and the process that runs it has no default.".to_owned(),
    };
    Verdict::of(Kind::Config)
        .with_reason(Reason::ModelNotFound)
        .with_advice(Advice::SwitchModel)
        .with_message(&message)
}

pub(crate) fn internal(error: &crate::feed::Failed) -> Verdict {
    let message = format!("The turn could not be stored: {error}.");
    Verdict::of(Kind::Generic).with_reason(Reason::LocalStorage).with_message(&message)
}

pub(crate) fn stuck() -> Verdict {
    let message = "The tools of the turn could not be run.";
    Verdict::of(Kind::Generic).with_reason(Reason::LocalTool).with_message(message)
}
