use std::sync::Arc;

use chatwright_core::head::{Compact, Status};
use chatwright_core::{ChatId, OpId, Revision, Seq, SessionId};
use chatwright_engine::{Chat, Claim, Free, History, Input, Item};
use tokio::sync::watch;
use tokio::time::Instant;

use super::advisor::Advised;
use super::pace::{Came, Pace};
use super::prompt::Prompt;
use super::{Drain, Held, Wakes, fold_through, next};
use crate::deps::{Deps, soon};
use crate::doorbell;
use crate::feed::Failed;
use crate::lease::Lease;
use crate::registry::Tools;

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
        let since = Instant::now();
        let Some(mut chat) = deps.reload(id).await? else { return Ok(None) };
        if let Some(holder) = chat.head.holder {
            // A chat that this session holds, but no task of it runs, was dropped: nobody knows what had begun. It is freed
            // and claimed anew, as after a death, so that a call that must run once is not started again.
            let lost = holder == lease.session || !session_is_live(deps, holder).await?;
            match free(deps, id, holder, Some(chat), lost).await? {
                Some(freed) => chat = freed,
                None => return Ok(None),
            }
        }
        let now = deps.time.now().await.map_err(Failed::Store)?;
        if chat.head.wake_at.is_none_or(|wake_at| wake_at > now) {
            return Ok(None);
        }
        match chat.state.status {
            Status::RequiresAction => return expire(deps, id, chat).await.map(|()| None),
            Status::Waiting | Status::Error if chat.state.archiving.is_some() => {
                return crate::family::archive_members(deps, id).await.map(|_| None);
            }
            _ if crate::family::archive_late(deps, id, &chat).await? => return Ok(None),
            _ => {}
        }
        // Subscribe before read: nothing that happens from here on is missed.
        let topic = doorbell::chat_topic(id);
        let bus = soon(deps.ports.bus.subscribe(&topic)).await.and_then(Result::ok);
        // What the turn has done counts, also what the model is no longer shown.
        let from =
            chat.state.turn_from.map_or(chat.state.context_from, |turn| turn.min(chat.state.context_from));
        let mut history = History::from(from);
        if let Some(system) = chat.state.system.filter(|system| *system < history.first()) {
            history.preface(&deps.record(id, system).await?).map_err(crate::feed::broken)?;
        }
        fold_through(deps, id, &mut history, &chat).await?;
        if let Some((seq, kind)) = history.strange() {
            tracing::warn!(chat = %id, %seq, %kind, "a record of a newer program: the chat is not run here");
            return Ok(None);
        }
        // Calls that are open may be some of the advisor's.
        let advised = match chat.state.calls_in {
            Some(_) => Advised::soon(deps, id, &chat).await,
            None => Advised::default(),
        };
        let tools = deps.registry.tools(advised.is_there());
        let came = Came {
            kind: crate::turns::kind(&chat.head),
            waited: chat.head.wake_at.map(|wake_at| now.since(wake_at)).unwrap_or_default(),
            since,
            in_turn: chat.state.compact != Some(Compact::Rest),
            // Nothing was done for the last message yet.
            is_new: matches!(history.items().last(), Some((seq, Item::User(_))) if *seq == chat.head.last_seq),
        };
        let Some(chat) = claim(deps, lease, id, chat, tools, &mut history).await? else { return Ok(None) };
        let epoch = chat.state.epoch;
        let (deps, lease) = (Arc::clone(deps), Arc::clone(lease));
        let (wakes, watched) = (Wakes { bus, polled, again: None }, Instant::now());
        let (prompt, pace) = (Prompt::default(), Pace::new(&deps, id, &came));
        Ok(Some(Self {
            deps,
            lease,
            id,
            epoch,
            chat,
            history,
            wakes,
            drain,
            pace,
            watched,
            lost: false,
            prompt,
            advised,
            shortened: 0,
        }))
    }
}

/// Nobody answered in time: the turn goes on without them.
async fn expire(deps: &Deps, id: ChatId, chat: Chat) -> Result<(), Failed> {
    let input = Input::Expire(OpId::mint(&*deps.ports.ids));
    match deps.feed(id, &input, Some(chat), &mut History::default()).await {
        Ok(landed) => {
            let wants_worker = landed.chat.state.status == Status::Running;
            if wants_worker {
                deps.calls.call(id);
            }
            deps.ring(id, landed.chat.head.revision, wants_worker).await;
            Ok(())
        }
        Err(Failed::Stale) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn claim(
    deps: &Deps,
    lease: &Lease,
    id: ChatId,
    chat: Chat,
    tools: Tools<'_>,
    history: &mut History,
) -> Result<Option<Chat>, Failed> {
    let answer = chat.state.calls_in.and_then(|message| history.answer(message));
    let plan = answer.map(|answer| tools.plan(history, answer.id, &answer.content));
    let plan = plan.unwrap_or_default();
    let (session, calls_in) = (lease.session, chat.state.calls_in);
    let claim = Claim { session, calls_in, plan, next: next(deps, &chat).await };
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

/// Takes a chat from a session, if that is lost; gives the chat without a holder.
async fn free(
    deps: &Deps,
    id: ChatId,
    holder: SessionId,
    chat: Option<Chat>,
    lost: bool,
) -> Result<Option<Chat>, Failed> {
    if !lost {
        return Ok(None);
    }
    let input = Input::Free(OpId::mint(&*deps.ports.ids), Free { holder });
    let mut history = History::from(Seq::new(1));
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

/// Takes a chat from a session that is known to be dead.
pub(crate) async fn free_dead(deps: &Deps, id: ChatId, holder: SessionId) -> Result<(), Failed> {
    let live = session_is_live(deps, holder).await?;
    free(deps, id, holder, None, !live).await.map(drop)
}

/// The holder, if its session is not live. Where nobody holds the chat, nobody needs to be asked.
pub(crate) async fn dead(deps: &Deps, holder: Option<SessionId>) -> Result<Option<SessionId>, Failed> {
    let Some(holder) = holder else { return Ok(None) };
    let live = session_is_live(deps, holder).await?;
    Ok((!live).then_some(holder))
}

/// A session is live iff it exists, is unexpired and not ended.
async fn session_is_live(deps: &Deps, session: SessionId) -> Result<bool, Failed> {
    let looked = deps.ports.sessions.look(session).await.map_err(Failed::Store)?;
    Ok(looked.is_some_and(|session| session.live))
}
