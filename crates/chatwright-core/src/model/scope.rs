use crate::port::Purpose;
use crate::{ChatId, Gen, OrganizationId, Seq, UserId};

/// What a call is part of: for whoever wraps a model, such as a debug recorder. No provider is sent anything of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallScope {
    /// The chat that asks.
    pub chat: ChatId,
    /// The root of its family, if that is another chat.
    pub root: Option<ChatId>,
    /// The chat that spawned it, if one did.
    pub parent: Option<ChatId>,
    /// Whose chat it is.
    pub owner: UserId,
    /// Of which organization.
    pub organization: Option<OrganizationId>,
    /// What for.
    pub purpose: Purpose,
    /// The message of a user with which the turn began.
    pub turn: Option<Seq>,
    /// The last record that the prompt is made of.
    pub tip: Option<Seq>,
    /// The gen in which it is asked; absent: between turns.
    pub r#gen: Option<Gen>,
    /// 1: this is asked for the first time. Each further one asks for the same answer again after a failure.
    pub attempt: u32,
}

impl CallScope {
    /// The first attempt at something for this chat, and nothing else is known.
    pub fn new(chat: ChatId, owner: UserId, purpose: Purpose) -> Self {
        Self {
            chat,
            root: None,
            parent: None,
            owner,
            organization: None,
            purpose,
            turn: None,
            tip: None,
            r#gen: None,
            attempt: 1,
        }
    }
}
