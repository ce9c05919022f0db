//! How a chat comes to rest.

use std::sync::Arc;

use chatwright_core::content::{Output, Part};
use chatwright_core::head::{Status, UnitKind};
use chatwright_core::model::FinishReason;
use chatwright_core::record::{CallResult, ResultOrigin};
use chatwright_core::{OpId, SessionId};
use chatwright_engine::{
    Answer, Chat, Claim, Compacted, Fence, Free, Input, Next, Report, Stopped, Work, step,
};

use crate::invariants::at_rest;
use crate::moves::planned;
use crate::world::{CHAT, RULES, World};

/// Whoever held it is gone; one session takes the chat and works until it rests.
pub(crate) fn a_live_session_brings_the_chat_to_rest(world: &World) -> Result<(), String> {
    const STEPS_MAX: u32 = 32;
    let mut world = world.clone();
    let me = SessionId::from_uuid(world.id());
    for _ in 0..STEPS_MAX {
        let chat = world.stored.chat.clone();
        let (state, id) = (&chat.state, OpId::from_uuid(world.id()));
        if at_rest(state.status) {
            return Ok(());
        }
        let open = state.open.as_ref();
        let fence = Fence { session: me, epoch: state.epoch, r#gen: open.map(|open| open.r#gen) };
        let next = world.next();
        let wake_at = chat.head.wake_at.ok_or("it is not runnable")?;
        let input = match (chat.head.holder, open) {
            (Some(holder), _) if holder != me => Input::Free(id, Free { holder }),
            (None, _) => {
                world.now = world.now.max(wake_at);
                let plan = planned(&world.stored.history, state);
                match state.status {
                    Status::RequiresAction => Input::Expire(id),
                    _ => Input::Claim(id, Claim { session: me, calls_in: state.calls_in, plan, next }),
                }
            }
            (Some(_), Some(open)) => Input::Work(id, fence, finished(&world, open.kind, next)),
            (Some(_), None) => {
                world.now = state.retry.and_then(|retry| retry.at).unwrap_or_default().max(world.now);
                Input::Work(id, fence, Work::Retry { next })
            }
        };
        let (chat, history) = world.fresh();
        let step = step(Some(&chat), &input, &history, world.now, &RULES);
        let step = step.map_err(|error| format!("{input:?}: {error}"))?;
        let state = step.state.clone();
        let commit = step.commit(CHAT, Some(&chat)).map_err(|error| error.to_string())?;
        let history = Arc::make_mut(&mut world.stored.history);
        commit
            .records()
            .iter()
            .try_for_each(|record| history.fold(record))
            .map_err(|error| error.to_string())?;
        world.stored.chat = Arc::new(Chat { id: CHAT, head: commit.head().clone(), state });
    }
    Err(format!("after {STEPS_MAX} steps it is {:?}", world.stored.chat.state))
}

/// What a holder does that has done all that there was to do.
fn finished(world: &World, kind: UnitKind, next: Next) -> Work {
    let state = &world.stored.chat.state;
    let (model, report) = (next.model.clone(), Default::default());
    match kind {
        _ if state.status == Status::Interrupting => Work::Stopped(Box::new(stopped(next))),
        UnitKind::Attempt => Work::Answered(Box::new(Answer {
            content: vec![Part::text("so")],
            model,
            finish: FinishReason::Stop,
            output_limit: false,
            report,
            off: 0,
            response_id: None,
            plan: Vec::new(),
            next,
        })),
        UnitKind::Compaction => Work::Compacted(Box::new(Compacted { summary: None, report, off: 0, next })),
        UnitKind::Batch => {
            let started = state.calls.iter().filter(|call| call.started.is_some());
            let results = started.map(|call| result(call.ordinal)).collect();
            Work::Results { results, off: 0, plan: planned(&world.stored.history, state), next }
        }
    }
}

pub(crate) fn stopped(next: Next) -> Stopped {
    Stopped {
        content: vec![Part::text("so f")],
        model: next.model.clone(),
        report: Report { estimated: true, ..Report::default() },
        off: 4,
        results: Vec::new(),
        next,
    }
}

pub(crate) fn result(ordinal: u32) -> CallResult {
    CallResult { ordinal, output: Output::text("ok"), origin: ResultOrigin::Tool }
}
