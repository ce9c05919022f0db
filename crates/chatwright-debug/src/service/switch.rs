//! Whether a chat is recorded.

use std::collections::HashMap;

use chatwright_core::{ChatId, UserId};
use tokio::time::Instant;

use super::DebugService;

/// Most chats of which is known whether they are recorded.
const KNOWN_MAX: usize = 16_384;

/// What was found out.
#[derive(Default)]
pub(super) struct Known {
    /// Whether a chat is recorded, of whom that was asked, and until when it counts.
    chats: HashMap<ChatId, (Option<UserId>, bool, Instant)>,
    /// Whether the administrator allows it, as it was last heard of.
    allowed: Option<bool>,
}

/// What is known of a chat here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switched {
    On,
    Off,
    /// It is not known any more, or not yet. It was on, or nobody has heard that it is off.
    Unsure,
    /// It is not known any more, or not yet. It was off, or nobody is allowed.
    UnsureOff,
}

impl DebugService {
    /// Whether this user's chat is recorded. In this order: what the deployment forces is on; without switches it is off; what the
    /// administrator does not allow is off; what the chat says; what its user says. What cannot be read is off.
    ///
    /// It is found out at most every [`switches_for`](super::DebugSettings::switches_for).
    ///
    /// # Cancel safety
    /// Cancel-safe: it only reads.
    pub async fn is_enabled(&self, owner: Option<&UserId>, chat: ChatId) -> bool {
        match self.is_enabled_now(owner, chat) {
            Switched::On => return true,
            Switched::Off => return false,
            Switched::Unsure | Switched::UnsureOff => {}
        }
        let enabled = self.look(owner, chat).await;
        let mut known = self.0.known.lock();
        if known.chats.len() >= KNOWN_MAX {
            // Whoever is still there is asked for again soon.
            known.chats.clear();
        }
        known.chats.insert(chat, (owner.cloned(), enabled, Instant::now() + self.0.settings.switches_for));
        enabled
    }

    /// The same, as far as it is known here and now.
    pub(crate) fn is_enabled_now(&self, owner: Option<&UserId>, chat: ChatId) -> Switched {
        if self.0.settings.forced {
            return Switched::On;
        }
        if self.0.switches.is_none() {
            return Switched::Off;
        }
        let known = self.0.known.lock();
        match known.chats.get(&chat).filter(|(of, ..)| of.as_ref() == owner) {
            Some((_, enabled, until)) if *until > Instant::now() => match enabled {
                true => Switched::On,
                false => Switched::Off,
            },
            Some((_, false, _)) => Switched::UnsureOff,
            // One that has never been recorded here.
            None if known.allowed == Some(false) => Switched::UnsureOff,
            _ => Switched::Unsure,
        }
    }

    /// Forgets what is known of the switches: the next call looks.
    pub fn forget_switches(&self) {
        *self.0.known.lock() = Known::default();
    }

    async fn look(&self, owner: Option<&UserId>, chat: ChatId) -> bool {
        let Some(switches) = &self.0.switches else { return false };
        let read = async {
            let allowed = switches.allowed().await?.unwrap_or(false);
            self.0.known.lock().allowed = Some(allowed);
            if !allowed {
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
