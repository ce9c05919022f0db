use async_trait::async_trait;

use super::StoreError;
use crate::{ChatId, UserId};

/// Whether it may be recorded what is said to models, and what they say.
///
/// | # | promise |
/// |---|---|
/// | E1 | It tells what was set, as far as it is known here: a change may take seconds to arrive. What was never set is `None`. |
/// | E2 | An error is never "not set". |
///
/// # Cancel safety
/// Cancel-safe: it only reads.
#[async_trait]
pub trait DebugSwitches: Send + Sync + 'static {
    /// Whether the administrator lets users and chats decide. Not set means no.
    ///
    /// # Errors
    /// What the storage reports.
    async fn allowed(&self) -> Result<Option<bool>, StoreError>;

    /// Whether this user's chats are recorded.
    ///
    /// # Errors
    /// What the storage reports.
    async fn of_user(&self, user: &UserId) -> Result<Option<bool>, StoreError>;

    /// Whether this chat is recorded, whatever its user wants for the others.
    ///
    /// # Errors
    /// What the storage reports.
    async fn of_chat(&self, chat: ChatId) -> Result<Option<bool>, StoreError>;
}
