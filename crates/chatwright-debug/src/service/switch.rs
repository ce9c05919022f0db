//! Whether a chat is recorded.

use std::collections::HashMap;

use chatwright_core::{ChatId, UserId};
use tokio::time::Instant;

use super::DebugService;

/// Most chats of which is known whether they are recorded.
const KNOWN_MAX: usize = 16_384;

/// What was found out, and until when it counts.
#[derive(Default)]
pub(super) struct Known(HashMap<ChatId, (Option<UserId>, bool, Instant)>);

impl DebugService {
    /// Whether this user's chat is recorded. In this order: what the deployment forces is on; without switches it is off; what the
    /// administrator does not allow is off; what the chat says; what its user says. What cannot be read is off.
    ///
    /// It is found out at most every [`switches_for`](super::DebugSettings::switches_for).
    ///
    /// # Cancel safety
    /// Cancel-safe: it only reads.
    pub async fn is_enabled(&self, owner: Option<&UserId>, chat: ChatId) -> bool {
        if let Some(known) = self.is_enabled_now(owner, chat) {
            return known;
        }
        let enabled = self.look(owner, chat).await;
        let mut known = self.0.known.lock();
        if known.0.len() >= KNOWN_MAX {
            // Whoever is still there is asked for again soon.
            known.0.clear();
        }
        known.0.insert(chat, (owner.cloned(), enabled, Instant::now() + self.0.settings.switches_for));
        enabled
    }

    /// The same, if it is known here and now.
    pub(crate) fn is_enabled_now(&self, owner: Option<&UserId>, chat: ChatId) -> Option<bool> {
        if self.0.settings.forced {
            return Some(true);
        }
        if self.0.switches.is_none() {
            return Some(false);
        }
        let known = self.0.known.lock();
        let (of, enabled, until) = known.0.get(&chat)?;
        (of.as_ref() == owner && *until > Instant::now()).then_some(*enabled)
    }

    /// Forgets what is known of the switches: the next call looks.
    pub fn forget_switches(&self) {
        self.0.known.lock().0.clear();
    }

    async fn look(&self, owner: Option<&UserId>, chat: ChatId) -> bool {
        let Some(switches) = &self.0.switches else { return false };
        let read = async {
            if !switches.allowed().await?.unwrap_or(false) {
                return Ok(false);
            }
            if let Some(own) = switches.of_chat(chat).await? {
                return Ok(own);
            }
            let Some(owner) = owner else {
                tracing::warn!(%chat, "nobody knows whose chat it is: it is not recorded");
                return Ok(false);
            };
            Ok(switches.of_user(owner).await?.unwrap_or(false))
        };
        match tokio::time::timeout(super::STORE_WITHIN, read).await {
            Ok(Ok(enabled)) => enabled,
            Ok(Err(error)) => {
                let error: chatwright_core::port::StoreError = error;
                tracing::warn!(%chat, %error, "nobody knows whether a chat is to be recorded: it is not");
                false
            }
            Err(_) => {
                tracing::warn!(%chat, "nobody says in time whether a chat is to be recorded: it is not");
                false
            }
        }
    }
}
