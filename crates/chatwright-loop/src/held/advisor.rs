//! Whether the model of a held chat may ask the advisor.

use std::sync::Arc;

use chatwright_core::head::OpenGen;
use chatwright_core::model::Role;
use chatwright_core::port::Tool;
use chatwright_core::record::MessageAssistant;
use chatwright_core::{ChatId, Seq};
use chatwright_engine::Chat;

use super::Held;
use super::attempt::Streamed;
use crate::advisor::{self, Advisor, Seen, Terms};
use crate::deps::{Deps, soon};
use crate::registry::Tools;

/// What was decided about the advisor. It holds for a turn: what a model is sent must not change in the middle of its work.
#[derive(Default)]
pub(super) struct Advised {
    /// Where the turn began; nothing: nothing is decided yet.
    turn: Option<Seq>,
    terms: Option<Arc<Terms>>,
    /// Why there is none although there should be, until it is told.
    fault: Option<String>,
}

impl Advised {
    /// Decides for a chat that is about to be held. Nothing waits for the configuration for long.
    pub(super) async fn soon(deps: &Deps, id: ChatId, chat: &Chat) -> Self {
        let late = || Err("the configuration does not answer".to_owned());
        let terms = soon(advisor::terms(deps, chat)).await.unwrap_or_else(late);
        Self::of(id, chat, terms)
    }

    fn of(id: ChatId, chat: &Chat, terms: Result<Option<Terms>, String>) -> Self {
        let turn = chat.state.turn_from;
        match terms {
            Ok(terms) => Self { turn, terms: terms.map(Arc::new), fault: None },
            Err(why) => {
                tracing::warn!(chat = %id, %why, "a turn goes without its advisor");
                let fault = Some(format!("The advisor is off for this turn: {why}."));
                Self { turn, terms: None, fault }
            }
        }
    }

    /// Whether the model has the advisor: its tool, what it is told of it, and what keeps others from running beside it.
    pub(super) fn is_there(&self) -> bool {
        self.terms.is_some()
    }

    /// What is still to be told.
    pub(super) fn fault(&mut self) -> Option<String> {
        self.fault.take()
    }
}

impl Held {
    /// Decides for the turn that runs, unless that is done.
    ///
    /// # Errors
    /// What ended the attempt meanwhile.
    pub(super) async fn decide_advisor(&mut self, open: &OpenGen) -> Result<(), Streamed> {
        if self.advised.turn != self.chat.state.turn_from {
            let (deps, chat) = (Arc::clone(&self.deps), self.chat.clone());
            let terms = self.meanwhile(open, advisor::terms(&deps, &chat)).await?;
            self.advised = Advised::of(self.id, &self.chat, terms);
        }
        Ok(())
    }

    /// The tools that the model has.
    pub(super) fn tools(&self) -> Tools<'_> {
        self.deps.registry.tools(self.advised.is_there())
    }

    /// What runs a call of the advisor in this answer.
    pub(super) fn advisor(&self, open: &OpenGen, answer: &MessageAssistant) -> Option<Arc<dyn Tool>> {
        let terms = self.advised.terms.as_ref()?;
        let seen = match self.sent() {
            Some(sent) => Seen::Sent(sent),
            None => {
                let mut messages = self.legible();
                // What the call is asked in stands last, with the results that it does not have yet.
                let at = messages.iter().rposition(|message| message.role == Role::Assistant);
                messages.truncate(at.unwrap_or(messages.len()));
                Seen::Anew(messages)
            }
        };
        Some(Arc::new(Advisor {
            deps: Arc::clone(&self.deps),
            terms: Arc::clone(terms),
            used: advisor::uses(&self.history),
            chat: self.id,
            r#gen: open.r#gen,
            turn: self.chat.state.turn_from,
            index: self.chat.head.index.clone(),
            own: self.chat.state.model.clone(),
            seen,
            step: advisor::text_of(&answer.content),
            drain: self.drain.clone(),
        }))
    }
}
