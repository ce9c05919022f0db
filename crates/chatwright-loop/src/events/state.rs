use chatwright_core::Head;
use chatwright_core::frame::{Action, Gens, OpenState, OpenUnit, Queued, StateFrame};
use chatwright_core::head::{CallKind, State, Status};

/// What a chat is doing, by its head. The calls of an open batch are known from `open`.
pub(super) fn state_frame(head: &Head, state: &State, open: Option<&OpenUnit>) -> StateFrame {
    let gens = Gens::of(state);
    let waits = |ordinal: u32| state.calls.iter().any(|call| call.ordinal == ordinal);
    let open = gens.open.map(|unit| {
        let known = open.filter(|open| open.r#gen == unit.r#gen).map(|open| open.calls.clone());
        let calls = known.unwrap_or_default();
        let done = calls.iter().copied().filter(|&ordinal| !waits(ordinal)).collect();
        OpenState { r#gen: unit.r#gen, kind: unit.unit, message: unit.message, calls, done }
    });
    StateFrame {
        seq: head.last_seq,
        status: state.status,
        archived: head.index.archived,
        title: head.index.title.clone(),
        queue: state.queue.iter().map(|entry| Queued { id: entry.id, held: entry.held }).collect(),
        last_gen: gens.last,
        last_off: gens.off,
        open,
        action: action(state),
        last: state.last.clone(),
        retry_at: state.retry.and_then(|retry| retry.at).filter(|_| state.status == Status::Running),
    }
}

fn action(state: &State) -> Option<Action> {
    let message = state.calls_in.filter(|_| state.status == Status::RequiresAction)?;
    let calls = state.calls.iter().filter(|call| call.kind != CallKind::Local).cloned().collect();
    Some(Action { message, calls })
}
