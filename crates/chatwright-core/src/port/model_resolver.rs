use std::sync::Arc;

use async_trait::async_trait;

use super::LanguageModel;
use crate::config::{Configured, ModelConfig, ProviderConfig};

/// Makes a model of what is configured.
///
/// | # | promise |
/// |---|---|
/// | R1 | It asks no provider: resolving costs nothing and is repeated freely. |
/// | R2 | No secret is in an error. |
/// | R3 | The model's [`id`](LanguageModel::id) names the id of the provider's row and the provider's name of the model, as these rows have them. |
///
/// # Cancel safety
/// A dropped call has no effect.
#[async_trait]
pub trait ModelResolver: Send + Sync + 'static {
    /// The model of this row, with the credential that its provider's row names.
    ///
    /// # Errors
    /// [`Unresolved`].
    async fn resolve(
        &self,
        provider: &Configured<ProviderConfig>,
        model: &Configured<ModelConfig>,
    ) -> Result<Arc<dyn LanguageModel>, Unresolved>;
}

/// Why no model was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unresolved {
    /// The provider's row names no credential that can be found.
    #[error("the key of provider {provider:?} cannot be found")]
    MissingKey {
        /// The id of the provider's row.
        provider: Box<str>,
    },
    /// The rows ask for something that cannot be made.
    #[error("model {model:?} cannot be used as it is configured: {why}")]
    Invalid {
        /// The id of the model's row.
        model: Box<str>,
        /// What is wrong, without secrets.
        why: Box<str>,
    },
    /// It could not be found out, for example because a vault does not answer. Another time it may be.
    #[error("the model cannot be made now: {why}")]
    Unavailable {
        /// What happened, without secrets.
        why: Box<str>,
    },
}
