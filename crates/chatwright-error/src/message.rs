//! What users are told.

use crate::{Kind, Reason, Verdict};

/// The sentence for a verdict, by its kind, its reason and its provider. The status is never in it.
pub(crate) fn terminal(verdict: &Verdict) -> Box<str> {
    let name = verdict.provider_name();
    let subject = name.unwrap_or("The AI provider");
    let object = name.unwrap_or("the AI provider");
    match (verdict.reason, verdict.kind) {
        (Some(Reason::Canceled), _) => "The request was cancelled before it was complete.".into(),
        (Some(Reason::LocalStorage), _) => "The chat's storage failed. This is not the AI provider's fault.".into(),
        (Some(Reason::LocalTool), _) => "A tool failed. This is not the AI provider's fault.".into(),
        (Some(Reason::LocalHost), _) => "The service itself failed. This is not the AI provider's fault.".into(),
        (Some(Reason::StreamTruncated), _) => {
            format!("The answer from {object} broke off before it was complete.").into()
        }
        (Some(Reason::ResponsesMismatch), _) => {
            "The conversation could not be continued because of an internal mismatch. Configuration and billing are not \
             the cause."
                .into()
        }
        (Some(Reason::NoOutput), _) => format!("{subject} ended without any output.").into(),
        (Some(Reason::ContextOverflow), _) => "The conversation is longer than the model can take.".into(),
        (Some(Reason::RequestTooLarge), _) => format!("The request is larger than {object} takes.").into(),
        (Some(Reason::ModelNotFound), _) => {
            format!("{subject} does not offer this model, or not for this key. Choose another one.").into()
        }
        (Some(Reason::Tls), _) => {
            format!("The connection to {object} could not be trusted. Check certificates and proxies.").into()
        }
        (Some(Reason::DailyLimit), _) => format!("The quota of the day with {object} is used up.").into(),
        (_, Kind::Overloaded) => format!("{subject} is overloaded right now.").into(),
        (_, Kind::RateLimit) => format!("{subject} is limiting how many requests it takes.").into(),
        (_, Kind::Timeout) if !verdict.is_retryable() && verdict.status.is_none() => {
            "The request timed out.".into()
        }
        (_, Kind::Timeout) => format!("{subject} is temporarily unavailable.").into(),
        (_, Kind::StartupTimeout) => format!("{subject} did not begin to answer in time.").into(),
        (_, Kind::StreamSilenceTimeout) => format!("{subject} stopped sending in the middle of the answer.").into(),
        (_, Kind::Auth) => {
            format!("Authentication with {object} failed. Check the API key and its permissions.").into()
        }
        (_, Kind::Config) => {
            format!("{subject} rejected the model's configuration. Check the settings of model and provider.").into()
        }
        (_, Kind::UsageLimit) => {
            format!("The quota with {object} is used up. Check its billing and quota settings.").into()
        }
        (_, Kind::MissingKey) => {
            "The API key that this conversation began with is gone. Send the message again.".into()
        }
        (_, Kind::ProviderDisabled) => {
            format!("The provider {} is switched off. Ask an administrator.", name.unwrap_or("of this model")).into()
        }
        (_, Kind::ContentFilter) => format!("{subject} blocked the answer under its content policy.").into(),
        (_, Kind::HookDispatchFailed) => "A check that must run first could not be run.".into(),
        (_, Kind::HookDenied) => "The request was denied by a policy of this service.".into(),
        (_, Kind::Generic) if !verdict.is_retryable() && verdict.status.is_none() => {
            "The request failed unexpectedly.".into()
        }
        (_, Kind::Generic) => format!("{subject} returned an unexpected error.").into(),
    }
}
