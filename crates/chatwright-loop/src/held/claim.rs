use std::sync::Arc;

use chatwright_core::head::Status;
use chatwright_core::{ChatId, OpId, Revision, SessionId};
use chatwright_engine::{Chat, Claim, Free, History, Input};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Drain, Held, Wakes, fold_through, next};
use crate::deps::Deps;
use crate::doorbell;
use crate::feed::Failed;
use crate::lease::Lease;

impl Held {
    /// Takes a chat, from a holder that is not live if it has one. `None` if it is not to be had.
    ///
    /// # Errors
    /// What kept it from being taken; whoever polls next tries again.
    pub(crate) async fn take(
        deps: &Arc<Deps>,
        lease: &Arc<Lease>,
        id: ChatId,
        polled: watch::Receiver<Revision>,
        drain: Drain,
    ) -> Result<Option<Self>, Failed> {
        let Some(mut chat) = deps.reload(id).await.map_err(Failed::Store)? else { return Ok(None) };
        if let Some(holder) = chat.head.holder
            && holder != lease.session
        {
            match free(deps, id, holder, Some(chat)).await? {
                Some(freed) => chat = freed,
                None => return Ok(None),
            }
        }
        let now = deps.time.now().await.map_err(Failed::Store)?;
        let mine = chat.head.holder == Some(lease.session);
        if !mine && (chat.head.holder.is_some() || chat.head.wake_at.is_none_or(|wake_at| wake_at > now)) {
            return Ok(None);
        }
        // Subscribe before read: nothing that happens from here on is missed.
        let bus = deps.ports.bus.subscribe(&doorbell::chat_topic(id)).await.ok();
        let mut history = History::from(chat.state.context_from);
        fold_through(deps, id, &mut history, &chat).await?;
        if let Some((seq, kind)) = history.strange() {
            tracing::warn!(chat = %id, %seq, %kind, "a record of a newer program: the chat is not run here");
            return Ok(None);
        }
        if !mine {
            chat = match claim(deps, lease, id, chat, &mut history).await? {
                Some(claimed) => claimed,
                None => return Ok(None),
            };
        }
        let epoch = chat.state.epoch;
        let (deps, lease) = (Arc::clone(deps), Arc::clone(lease));
        let (wakes, watched) = (Wakes { bus, polled }, Instant::now());
        Ok(Some(Self { deps, lease, id, epoch, chat, history, wakes, drain, watched }))
    }
}

async fn claim(
    deps: &Deps,
    lease: &Lease,
    id: ChatId,
    chat: Chat,
    history: &mut History,
) -> Result<Option<Chat>, Failed> {
    let answer = chat.state.calls_in.and_then(|message| history.answer(message));
    let plan = answer.map(|answer| deps.registry.plan(&answer.content)).unwrap_or_default();
    let claim = Claim { session: lease.session, plan, next: next(deps, &chat) };
    let input = Input::Claim(OpId::mint(&*deps.ports.ids), claim);
    if !lease.is_live() {
        return Ok(None);
    }
    match deps.feed(id, &input, Some(chat), history).await {
        Ok(landed) => {
            deps.ring(id, landed.chat.head.revision, false).await;
            // A claim that an interrupt ended at once has come to rest.
            Ok(Some(landed.chat).filter(|chat| chat.head.holder == Some(lease.session)))
        }
        Err(Failed::Stale) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes a chat from a session that is not live; gives the chat without a holder, or `None` if its holder lives.
pub(crate) async fn free(
    deps: &Deps,
    id: ChatId,
    holder: SessionId,
    chat: Option<Chat>,
) -> Result<Option<Chat>, Failed> {
    if holder_is_live(deps, Some(holder)).await.map_err(Failed::Store)? {
        return Ok(None);
    }
    let input = Input::Free(OpId::mint(&*deps.ports.ids), Free { holder });
    let mut history = History::from(chatwright_core::Seq::new(1));
    match deps.feed(id, &input, chat, &mut history).await {
        Ok(landed) => {
            let poisoned = landed.chat.state.status == Status::Error;
            deps.ring(id, landed.chat.head.revision, !poisoned).await;
            Ok(Some(landed.chat))
        }
        Err(Failed::Stale) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A holder is live iff its session exists, is unexpired and not ended.
pub(crate) async fn holder_is_live(
    deps: &Deps,
    holder: Option<SessionId>,
) -> Result<bool, chatwright_core::port::StoreError> {
    let Some(holder) = holder else { return Ok(false) };
    Ok(deps.ports.sessions.look(holder).await?.is_some_and(|session| session.live))
}
