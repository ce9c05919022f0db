//! Engines and stores that are broken on purpose, and found out.

use chatwright_core::head::{Head, HeadDraft, State};
use chatwright_core::{Commit, Timestamp};
use chatwright_engine::{Chat, Claim, Command, Fence, History, Input, NotDone, Step};

use crate::explore::{Lens, explore};
use crate::moves::{Does, Move, Says};
use crate::world::{CHAT, Engine, Made, Rig, engine};
use crate::{SOUND, WAYS};

/// The bound within which every twin is found out.
const STATES: usize = 4_000;

fn twin(engine: Engine, passed_over: &'static [&'static str]) -> Rig {
    Rig { engine, passed_over, ..SOUND }
}

/// The invariant that does not hold.
fn found(rig: Rig) -> &'static str {
    found_on(rig, WAYS, |_| true)
}

fn found_on(rig: Rig, ways: &[&[Move]], lens: Lens) -> &'static str {
    match explore(rig, ways, lens, STATES) {
        Ok(report) => panic!("it passes for sound: {report:?}"),
        Err(found) => {
            println!("{found:?}");
            found.violation.invariant
        }
    }
}

/// The same step without records of these kinds, and with another head.
fn remade(made: Made, chat: &Chat, without: &[&str], change: impl FnOnce(&mut State, &mut Head)) -> Made {
    let Made { step: Step { head, mut records, mut state, receipt }, starts } = made;
    let commit = Commit::next(CHAT, &chat.head, head, records.clone()).expect("within the bounds");
    let mut head = commit.head().clone();
    records.retain(|record| !without.contains(&record.kind().name()));
    change(&mut state, &mut head);
    let draft = HeadDraft::at_rest(head.index, &state).expect("within the bounds");
    let head = draft.holder(head.holder).wake_at(head.wake_at);
    Made { step: Step { head, records, state, receipt }, starts }
}

#[test]
fn a_store_that_does_not_check_the_revision_is_found_out() {
    let rig = Rig { checks_revision: false, ..SOUND };
    assert_eq!(found_on(rig, &[&[]], |_| true), "a_receipt_found_in_the_log_is_the_first_receipt");
}

#[test]
fn without_the_revision_two_sessions_take_the_chat() {
    let rig = Rig { checks_revision: false, ..SOUND };
    let lens: Lens = |step| {
        matches!(step, Move::Session(_, Does::Claim) | Move::SessionHeld(_, Does::Claim) | Move::Arrive)
    };
    assert_eq!(found_on(rig, &[&[]], lens), "epochs_grow_by_one_with_every_claim_and_free");
}

#[test]
fn an_engine_that_does_not_check_the_epoch_is_found_out() {
    fn forging(chat: &Chat, input: &Input, history: &History, now: Timestamp) -> Result<Made, NotDone> {
        let (Input::Work(op, fence, work), Some(session)) = (input, chat.head.holder) else {
            return engine(chat, input, history, now);
        };
        let fence = Fence { session, epoch: chat.state.epoch, ..*fence };
        engine(chat, &Input::Work(*op, fence, work.clone()), history, now)
    }
    let found = found(twin(forging, &[]));
    assert_eq!(found, "a_worker_commits_under_the_current_epoch_and_while_its_gen_is_open");
}

fn unrecorded(chat: &Chat, input: &Input, history: &History, now: Timestamp) -> Result<Made, NotDone> {
    let made = engine(chat, input, history, now)?;
    Ok(remade(made, chat, &["tool.intent"], |state, _| {
        state.calls.iter_mut().for_each(|call| call.started = None);
    }))
}

#[test]
fn an_engine_that_starts_calls_without_an_intent_is_found_out() {
    assert_eq!(found(twin(unrecorded, &[])), "no_call_is_started_without_a_committed_intent");
}

#[test]
fn without_intents_a_takeover_starts_a_once_call_again() {
    let passed_over = &["no_call_is_started_without_a_committed_intent"];
    assert_eq!(found(twin(unrecorded, passed_over)), "a_once_call_is_started_at_most_once");
}

fn unsealed(chat: &Chat, input: &Input, history: &History, now: Timestamp) -> Result<Made, NotDone> {
    let made = engine(chat, input, history, now)?;
    if !matches!(input, Input::Free(..)) {
        return Ok(made);
    }
    let open = chat.state.open.clone();
    Ok(remade(made, chat, &["attempt.ended", "batch.ended"], |state, _| state.open = open))
}

#[test]
fn a_free_that_does_not_seal_the_gen_is_found_out() {
    let found = found(twin(unsealed, &["what_belongs_to_a_turn_is_gone_at_rest"]));
    assert_eq!(found, "gens_open_one_at_a_time_in_order_under_their_epoch");
}

fn keeping(chat: &Chat, input: &Input, history: &History, now: Timestamp) -> Result<Made, NotDone> {
    let made = engine(chat, input, history, now)?;
    let promoted = made.step.records.iter().any(|record| record.kind().name() == "queue.promoted");
    let first = chat.state.queue.iter().find(|entry| !entry.held).filter(|_| promoted).cloned();
    Ok(remade(made, chat, &[], |state, _| {
        state.queue.splice(0..0, first);
    }))
}

#[test]
fn a_promotion_that_keeps_the_queue_entry_is_found_out() {
    assert_eq!(found(twin(keeping, &[])), "the_queue_in_the_head_is_the_queue_of_the_log");
}

#[test]
fn an_entry_that_is_kept_stops_the_chat_for_ever() {
    let passed_over =
        &["the_queue_in_the_head_is_the_queue_of_the_log", "the_outcome_is_listed_in_the_table"];
    assert_eq!(found(twin(keeping, passed_over)), "a_live_session_brings_the_chat_to_rest");
}

fn unfenced(chat: &Chat, input: &Input, history: &History, now: Timestamp) -> Result<Made, NotDone> {
    let made = engine(chat, input, history, now)?;
    if !matches!(input, Input::Command(_, Command::Edit(_))) {
        return Ok(made);
    }
    Ok(remade(made, chat, &["freed", "attempt.ended", "batch.ended"], |state, head| {
        let before = chat.state.clone();
        (state.epoch, state.open, state.last_gen, state.last_off) =
            (before.epoch, before.open, before.last_gen, before.last_off);
        (head.holder, head.wake_at) = (chat.head.holder, chat.head.wake_at.or(Some(now)));
    }))
}

#[test]
fn an_edit_that_does_not_fence_is_found_out() {
    assert_eq!(found(twin(unfenced, &[])), "an_edit_leaves_neither_holder_nor_open_gen");
}

#[test]
fn without_a_fence_an_answer_to_history_that_was_cut_is_committed() {
    let passed_over = &["an_edit_leaves_neither_holder_nor_open_gen"];
    let found = found(twin(unfenced, passed_over));
    assert_eq!(found, "a_worker_commits_nothing_based_on_history_that_was_cut");
}

#[test]
fn an_engine_that_forgets_keys_is_found_out() {
    fn forgetful(chat: &Chat, input: &Input, history: &History, now: Timestamp) -> Result<Made, NotDone> {
        let made = engine(chat, input, history, now)?;
        Ok(remade(made, chat, &[], |state, _| state.keys.clone_from(&chat.state.keys)))
    }
    assert_eq!(found(twin(forgetful, &[])), "an_input_that_landed_does_nothing_when_it_comes_again");
}

#[test]
fn a_turn_that_ends_with_nobody_to_run_its_queue_is_found_out() {
    fn stranding(chat: &Chat, input: &Input, history: &History, now: Timestamp) -> Result<Made, NotDone> {
        let made = engine(chat, input, history, now)?;
        Ok(remade(made, chat, &[], |_, head| head.wake_at = head.wake_at.filter(|_| head.holder.is_some())))
    }
    let found = found(twin(stranding, &[]));
    assert_eq!(found, "a_chat_at_rest_has_neither_holder_nor_wake_at_and_any_other_has_a_wake_at");
}

#[test]
fn a_stop_that_loses_what_viewers_saw_is_found_out() {
    fn losing(chat: &Chat, input: &Input, history: &History, now: Timestamp) -> Result<Made, NotDone> {
        let made = engine(chat, input, history, now)?;
        let stopped = matches!(input, Input::Work(_, _, chatwright_engine::Work::Stopped(_)));
        let without: &[&str] = if stopped { &["message.assistant"] } else { &[] };
        Ok(remade(made, chat, without, |_, _| {}))
    }
    assert_eq!(found(twin(losing, &[])), "what_viewers_saw_of_an_answer_that_is_stopped_is_kept");
}

#[test]
fn a_claim_with_a_plan_for_other_calls_is_found_out() {
    const WAY: &[Move] = &[
        Move::SessionHeld(0, Does::Claim),
        Move::Session(1, Does::Claim),
        Move::Session(1, Does::Says(Says::OnceAndAgain)),
        Move::Session(1, Does::Release),
    ];
    fn unaware(chat: &Chat, input: &Input, history: &History, now: Timestamp) -> Result<Made, NotDone> {
        let Input::Claim(op, claim) = input else { return engine(chat, input, history, now) };
        let claim = Claim { calls_in: chat.state.calls_in, ..claim.clone() };
        engine(chat, &Input::Claim(*op, claim), history, now)
    }
    let found = found_on(twin(unaware, &[]), &[WAY], |_| true);
    assert_eq!(found, "a_call_is_refused_only_if_it_asked_and_was_not_approved");
}
