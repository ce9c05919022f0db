//! What must be true. The name of each function is the sentence.

use chatwright_core::Record;
use chatwright_core::head::{CallKind, Status, UnitKind};
use chatwright_core::history::ValidHistory;
use chatwright_core::record::{Body, CallResult, MessageAssistant, ResultOrigin};
use chatwright_core::tool::Effect;
use chatwright_core::{MessageId, OpId, Uuid};
use chatwright_engine::{Act, Chat, Command, History, Input, NotDone, Phase, Refused, Why, Work, receipt_of};

use crate::book::Book;
use crate::rest::a_live_session_brings_the_chat_to_rest;
use crate::world::{CHAT, Prepared, Rig, Stored, World};

/// A sentence that is not true.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) detail: String,
}

type Check = Result<(), String>;

macro_rules! checks {
    ($rig:expr, $arguments:tt; $($name:ident)*) => {{
        $(if !$rig.passed_over.contains(&stringify!($name)) {
            $name $arguments.map_err(|detail| Violation { invariant: stringify!($name), detail })?;
        })*
        Ok(())
    }};
}

/// A commit that was applied.
pub(crate) struct Landing<'a> {
    pub(crate) rig: &'a Rig,
    /// With the chat as it is now.
    pub(crate) world: &'a World,
    pub(crate) before: &'a Stored,
    pub(crate) prepared: &'a Prepared,
}

/// Each record, before it is folded.
pub(crate) fn of_record(rig: &Rig, book: &Book, body: &Body) -> Result<(), Violation> {
    checks! { rig, (book, body);
        epochs_grow_by_one_with_every_claim_and_free
        a_chat_is_claimed_while_nobody_holds_it_and_freed_from_its_holder
        gens_open_one_at_a_time_in_order_under_their_epoch
        a_gen_is_sealed_once
        a_message_is_promoted_from_the_front_of_the_queue_as_shown
        a_call_has_one_result
        calls_have_their_results_before_the_next_message_and_the_next_question
        an_intent_is_for_a_call_of_the_open_batch_without_a_result
        an_intent_is_for_the_tool_that_was_called
        a_call_that_asks_is_started_after_it_was_approved
        a_call_is_refused_only_if_it_asked_and_was_not_approved
    }
}

/// Each commit that was applied.
pub(crate) fn of_landing(landing: &Landing<'_>) -> Result<(), Violation> {
    checks! { landing.rig, (landing);
        the_outcome_is_listed_in_the_table
        a_worker_commits_under_the_current_epoch_and_while_its_gen_is_open
        a_worker_commits_nothing_based_on_history_that_was_cut
        a_chat_is_claimed_when_it_is_due
        an_edit_leaves_neither_holder_nor_open_gen
        a_metadata_write_changes_nothing_of_what_runs
        what_viewers_saw_of_an_answer_that_is_stopped_is_kept
        an_input_that_landed_does_nothing_when_it_comes_again
        a_receipt_found_in_the_log_is_the_first_receipt
    }
}

/// Each state. `new`: no chat like this was seen before.
pub(crate) fn of_state(rig: &Rig, world: &World, new: bool) -> Result<(), Violation> {
    let result: Result<(), Violation> = checks! { rig, (world);
        the_chat_is_in_a_phase_of_the_table
        the_queue_in_the_head_is_the_queue_of_the_log
        head_and_log_agree_on_what_runs
        a_chat_at_rest_has_neither_holder_nor_wake_at_and_any_other_has_a_wake_at
        nothing_runs_in_an_archived_chat
        an_error_is_shown_iff_the_turn_failed
        calls_have_a_deadline_iff_somebody_has_to_act
        what_belongs_to_a_turn_is_gone_at_rest
        the_open_calls_are_those_without_a_result
        an_acknowledged_message_is_in_one_place
        a_key_is_remembered_with_its_record
    };
    result?;
    if !new {
        return Ok(());
    }
    checks! { rig, (world);
        the_head_survives_its_encoding
        history_from_where_it_is_shown_gives_the_same_prompt_as_all_of_it
        what_a_model_is_shown_needs_no_repair
        a_live_session_brings_the_chat_to_rest
    }
}

/// Each effect on the outside.
pub(crate) fn of_effects(rig: &Rig, world: &World) -> Result<(), Violation> {
    checks! { rig, (world);
        no_call_is_started_without_a_committed_intent
        a_once_call_is_started_at_most_once
    }
}

/// Each refusal.
pub(crate) fn of_refusal(rig: &Rig, world: &World, input: &Input, error: &NotDone) -> Result<(), Violation> {
    checks! { rig, (world, input, error);
        a_refusal_is_listed_in_the_table
    }
}

fn holds(holds: bool, otherwise: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn epochs_grow_by_one_with_every_claim_and_free(book: &Book, body: &Body) -> Check {
    let epoch = match body {
        Body::Claimed(claimed) => claimed.epoch,
        Body::Freed(freed) => freed.epoch,
        _ => return Ok(()),
    };
    holds(epoch == book.epoch.next(), || format!("epoch {epoch} follows {}", book.epoch))
}

fn a_chat_is_claimed_while_nobody_holds_it_and_freed_from_its_holder(book: &Book, body: &Body) -> Check {
    match body {
        Body::Claimed(_) => holds(book.holder.is_none(), || "it was held".to_owned()),
        Body::Freed(freed) => {
            holds(book.holder == Some(freed.session), || format!("it was held by {:?}", book.holder))
        }
        _ => Ok(()),
    }
}

fn gens_open_one_at_a_time_in_order_under_their_epoch(book: &Book, body: &Body) -> Check {
    let (r#gen, epoch, writer) = match body {
        Body::AttemptStarted(started) => (started.r#gen, started.epoch, started.writer),
        Body::BatchStarted(started) => (started.r#gen, started.epoch, started.writer),
        _ => return Ok(()),
    };
    let right = r#gen == book.last_gen.next() && book.open.is_none();
    holds(right && epoch == book.epoch && book.holder == Some(writer), || {
        format!("gen {gen} opens after {}, while {:?} is open", book.last_gen, book.open)
    })
}

fn a_gen_is_sealed_once(book: &Book, body: &Body) -> Check {
    let r#gen = match body {
        Body::AttemptEnded(ended) => ended.r#gen,
        Body::AttemptFailed(failed) => failed.r#gen,
        Body::BatchEnded(ended) => ended.r#gen,
        _ => return Ok(()),
    };
    holds(book.open == Some(r#gen), || format!("gen {gen} is sealed while {:?} is open", book.open))
}

fn a_message_is_promoted_from_the_front_of_the_queue_as_shown(book: &Book, body: &Body) -> Check {
    match body {
        Body::QueuePromoted(promoted) => {
            let first = book.queue.iter().find(|entry| !entry.1).map(|entry| entry.0);
            holds(first == Some(promoted.id), || format!("{} is promoted from {:?}", promoted.id, book.queue))
        }
        Body::MessageUser(message) => holds(message.queued == book.promoting, || {
            format!("{:?} enters history, and {:?} was promoted", message.queued, book.promoting)
        }),
        _ => holds(book.promoting.is_none(), || "a promoted message does not follow at once".to_owned()),
    }
}

fn a_call_has_one_result(book: &Book, body: &Body) -> Check {
    let Body::ToolResults(results) = body else { return Ok(()) };
    let answer = book.answers.iter().find(|answer| answer.id == results.message && !answer.cut);
    let counts = answer.map_or(&[][..], |answer| &answer.results);
    let open = |result: &CallResult| counts.get(result.ordinal as usize) == Some(&0);
    holds(results.results.iter().all(open), || format!("results {results:?} for {answer:?}"))
}

fn calls_have_their_results_before_the_next_message_and_the_next_question(book: &Book, body: &Body) -> Check {
    let next = matches!(body, Body::MessageUser(_) | Body::AttemptStarted(_));
    holds(!next || book.open_calls().is_empty(), || format!("calls {:?} are open", book.open_calls()))
}

fn an_intent_is_for_a_call_of_the_open_batch_without_a_result(book: &Book, body: &Body) -> Check {
    let Body::ToolIntent(intent) = body else { return Ok(()) };
    let answer = book.answer().filter(|answer| answer.id == intent.message);
    let open = answer.is_some() && book.open_calls().contains(&intent.ordinal);
    holds(open && book.open == Some(intent.r#gen), || format!("{intent:?} while {answer:?}"))
}

fn an_intent_is_for_the_tool_that_was_called(book: &Book, body: &Body) -> Check {
    let Body::ToolIntent(intent) = body else { return Ok(()) };
    let tool = book.answer().and_then(|answer| answer.tools.get(intent.ordinal as usize));
    holds(tool == Some(&intent.name), || format!("{tool:?} was called, {} is started", intent.name))
}

fn asks_in_vain(book: &Book, message: MessageId, ordinal: u32) -> bool {
    let answer = book.answers.iter().find(|answer| answer.id == message);
    let tool = answer.and_then(|answer| answer.tools.get(ordinal as usize));
    tool.is_some_and(|tool| &**tool == "ask") && !book.approved.contains(&(message, ordinal))
}

fn a_call_that_asks_is_started_after_it_was_approved(book: &Book, body: &Body) -> Check {
    let Body::ToolIntent(intent) = body else { return Ok(()) };
    let vain = asks_in_vain(book, intent.message, intent.ordinal);
    holds(!vain, || format!("call {} was not approved", intent.ordinal))
}

/// Every tool is there.
fn a_call_is_refused_only_if_it_asked_and_was_not_approved(book: &Book, body: &Body) -> Check {
    let Body::ToolResults(results) = body else { return Ok(()) };
    let mut refused = results.results.iter().filter(|result| result.origin == ResultOrigin::Refused);
    let right = refused.all(|result| asks_in_vain(book, results.message, result.ordinal));
    holds(right, || format!("{results:?}"))
}

pub(crate) fn act(input: &Input) -> Act {
    match input {
        Input::Command(_, command) => command.act(),
        Input::Claim(..) => Act::Claim,
        Input::Free(..) => Act::Free,
        Input::Expire(_) => Act::Expire,
        Input::Work(_, _, work) => work.act(),
    }
}

fn the_outcome_is_listed_in_the_table(landing: &Landing<'_>) -> Check {
    let act = act(&landing.prepared.input);
    let after = &landing.world.stored.chat;
    let phases = Phase::of(Some(&landing.before.chat)).zip(Phase::of(Some(after)));
    holds(phases.is_some_and(|(from, to)| act.outcomes(from).contains(&to)), || {
        format!("{} leads to {phases:?}", act.name())
    })
}

fn a_worker_commits_under_the_current_epoch_and_while_its_gen_is_open(landing: &Landing<'_>) -> Check {
    let (Input::Work(_, fence, _), book) = (&landing.prepared.input, &landing.before.book) else {
        return Ok(());
    };
    let current = fence.epoch == book.epoch && book.holder == Some(fence.session);
    holds(current && fence.r#gen == book.open, || {
        format!("{fence:?} in epoch {}, held by {:?}, gen {:?}", book.epoch, book.holder, book.open)
    })
}

fn a_worker_commits_nothing_based_on_history_that_was_cut(landing: &Landing<'_>) -> Check {
    let (Input::Work(..), book) = (&landing.prepared.input, &landing.before.book) else { return Ok(()) };
    holds(book.claimed > book.last_cut, || {
        format!("claimed by record {}, cut by {}", book.claimed, book.last_cut)
    })
}

fn a_chat_is_claimed_when_it_is_due(landing: &Landing<'_>) -> Check {
    let (Input::Claim(..), wake_at) = (&landing.prepared.input, landing.before.chat.head.wake_at) else {
        return Ok(());
    };
    holds(wake_at.is_some_and(|at| at <= landing.world.now), || format!("it is due at {wake_at:?}"))
}

fn an_edit_leaves_neither_holder_nor_open_gen(landing: &Landing<'_>) -> Check {
    let edit = matches!(&landing.prepared.input, Input::Command(_, Command::Edit(_)));
    let chat = &landing.world.stored.chat;
    holds(!edit || chat.head.holder.is_none() && chat.state.open.is_none(), || {
        format!("{:?}", chat.state.open)
    })
}

fn a_metadata_write_changes_nothing_of_what_runs(landing: &Landing<'_>) -> Check {
    if !matches!(&landing.prepared.input, Input::Command(_, Command::Set(_))) {
        return Ok(());
    }
    let runs = |stored: &Stored| {
        let Chat { head, state, .. } = &*stored.chat;
        let mut state = state.clone();
        (state.keys, state.model, state.titled) = (Vec::new(), None, false);
        (state, head.index.status, head.holder, head.wake_at, head.index.updated, head.index.archived)
    };
    let (before, after) = (runs(landing.before), runs(&landing.world.stored));
    holds(before == after, || format!("{before:?} became {after:?}"))
}

/// Text that was streamed before the stop is in the message that its preview announced.
fn what_viewers_saw_of_an_answer_that_is_stopped_is_kept(landing: &Landing<'_>) -> Check {
    let (Input::Work(_, _, work), state) = (&landing.prepared.input, &landing.before.chat.state) else {
        return Ok(());
    };
    let seen = match work {
        Work::Stopped(stopped) => &stopped.content,
        Work::Failed { partial: Some(partial), .. } if state.status == Status::Interrupting => {
            &partial.content
        }
        Work::Answered(answer) => &answer.content,
        _ => return Ok(()),
    };
    let open = state.open.as_ref().filter(|open| open.kind == UnitKind::Attempt);
    let Some(message) = open.and_then(|open| open.message) else { return Ok(()) };
    let kept = landing.world.stored.history.answer(message).map(|answer: &MessageAssistant| &answer.content);
    holds(kept == Some(seen), || format!("{seen:?} was seen, {kept:?} is kept"))
}

fn an_input_that_landed_does_nothing_when_it_comes_again(landing: &Landing<'_>) -> Check {
    let Landing { rig, world, prepared: Prepared { input, receipt, .. }, .. } = landing;
    let again = match input {
        Input::Command(_, command) if command.key().is_none() => return Ok(()),
        // Another delivery is another operation with the same key.
        Input::Command(_, command) => Input::Command(OpId::from_uuid(Uuid::max()), command.clone()),
        Input::Work(_, _, Work::Watch) => return Ok(()),
        other => other.clone(),
    };
    let Stored { chat, history, .. } = &world.stored;
    match ((rig.engine)(chat, &again, history, world.now), receipt) {
        (Err(NotDone::Replayed(seq)), Some(receipt)) if seq == receipt.seq => Ok(()),
        (Err(NotDone::Stale), None) => Ok(()),
        (result, _) => Err(format!("{:?}", result.map(|made| made.step.state))),
    }
}

fn a_receipt_found_in_the_log_is_the_first_receipt(landing: &Landing<'_>) -> Check {
    let Some(receipt) = &landing.prepared.receipt else { return Ok(()) };
    let stored = &landing.world.stored;
    let by_key = stored.record(receipt.seq).and_then(receipt_of);
    let by_op = stored.log.iter().find(|record| record.op() == Some(receipt.op)).and_then(receipt_of);
    let right = by_key.as_ref() == Some(receipt) && by_op.as_ref() == Some(receipt);
    holds(right, || format!("{receipt:?} is found as {by_key:?} and {by_op:?}"))
}

fn the_chat_is_in_a_phase_of_the_table(world: &World) -> Check {
    let chat = &world.stored.chat;
    let listed = Phase::of(Some(chat)).is_some() && chat.head.index.status == chat.state.status;
    holds(listed, || format!("{:?}, archived: {}", chat.state.status, chat.head.index.archived))
}

fn the_queue_in_the_head_is_the_queue_of_the_log(world: &World) -> Check {
    let Stored { chat, book, .. } = &world.stored;
    let queue: Vec<_> = chat.state.queue.iter().map(|entry| (entry.id, entry.held)).collect();
    holds(queue == book.queue, || format!("{queue:?} and {:?}", book.queue))
}

fn head_and_log_agree_on_what_runs(world: &World) -> Check {
    let Stored { chat, book, .. } = &world.stored;
    let (state, open) = (&chat.state, chat.state.open.as_ref().map(|open| open.r#gen));
    let head = (chat.head.holder, state.epoch, state.last_gen, open, chat.head.index.archived);
    let log = (book.holder, book.epoch, book.last_gen, book.open, book.archived);
    holds(head == log, || format!("{head:?} and {log:?}"))
}

pub(crate) fn at_rest(status: Status) -> bool {
    matches!(status, Status::Waiting | Status::Error)
}

/// The root of a family that is being archived is at rest, and somebody looks after it.
fn a_chat_at_rest_has_neither_holder_nor_wake_at_and_any_other_has_a_wake_at(world: &World) -> Check {
    let Chat { head, state, .. } = &*world.stored.chat;
    let family = state.archiving.is_some() && state.children > 0;
    let right = match at_rest(state.status) {
        true => head.holder.is_none() && head.wake_at.is_some() == family,
        false => head.wake_at.is_some(),
    };
    let unheld = state.status != Status::RequiresAction || head.holder.is_none();
    holds(right && unheld, || format!("{:?}, {:?}, {:?}", state.status, head.holder, head.wake_at))
}

fn nothing_runs_in_an_archived_chat(world: &World) -> Check {
    let Chat { head, state, .. } = &*world.stored.chat;
    let still =
        at_rest(state.status) && head.holder.is_none() && head.wake_at.is_none() && state.open.is_none();
    let settled = state.archiving.is_none() && state.calls.is_empty();
    holds(!head.index.archived || still && settled, || format!("{state:?}"))
}

fn an_error_is_shown_iff_the_turn_failed(world: &World) -> Check {
    let Stored { chat, book, .. } = &world.stored;
    let shown = chat.state.last.as_ref().map(|last| last.seq);
    let error = shown.is_some() && shown == book.last_error;
    holds(error == (chat.state.status == Status::Error), || format!("{:?}", chat.state.last))
}

fn calls_have_a_deadline_iff_somebody_has_to_act(world: &World) -> Check {
    let Chat { head, state, .. } = &*world.stored.chat;
    let acts = state.status == Status::RequiresAction;
    let others = || state.calls.iter().filter(|call| call.kind != CallKind::Local);
    let right = match acts {
        true => {
            let first = state.calls.iter().filter_map(|call| call.deadline).min();
            others().next().is_some() && others().all(|call| call.deadline.is_some()) && head.wake_at == first
        }
        false => others().all(|call| call.deadline.is_none()),
    };
    holds(right, || format!("{:?}, {:?}, {:?}", state.status, state.calls, head.wake_at))
}

fn what_belongs_to_a_turn_is_gone_at_rest(world: &World) -> Check {
    let state = &world.stored.chat.state;
    let gone = state.calls.is_empty() && state.calls_in.is_none() && state.open.is_none();
    let counts = (state.steps, state.failures, state.retry, state.compact, state.deaths);
    let blank = (0, 0, None, None, 0);
    let left = at_rest(state.status) && !(gone && counts == blank);
    holds(!left, || format!("{counts:?}, {:?}, {:?}", state.calls, state.open))
}

fn the_open_calls_are_those_without_a_result(world: &World) -> Check {
    let Stored { chat, book, .. } = &world.stored;
    let open: Vec<u32> = chat.state.calls.iter().map(|call| call.ordinal).collect();
    let right = open == book.open_calls() && chat.state.calls_in.is_some() != open.is_empty();
    holds(right, || format!("{open:?} and {:?}", book.open_calls()))
}

fn an_acknowledged_message_is_in_one_place(world: &World) -> Check {
    let book = &world.stored.book;
    for told in world.told.iter().filter(|told| told.says) {
        let (id, queued) = (told.receipt.message, told.receipt.queued);
        // It keeps its place in the log when it is cut.
        let said = book.users.iter().filter(|said| match queued {
            Some(queued) => said.queued == Some(queued),
            None => Some(said.id) == id,
        });
        let waits = book.queue.iter().filter(|entry| Some(entry.0) == queued).count();
        let removed = book.removed.iter().filter(|id| Some(**id) == queued).count();
        let places = said.count() + waits + removed;
        holds(places == 1, || format!("{:?} is in {places} places", told.receipt))?;
    }
    Ok(())
}

fn a_key_is_remembered_with_its_record(world: &World) -> Check {
    let keys = &world.stored.chat.state.keys;
    let known = |key, seq| keys.iter().any(|seen| seen.0 == key && seen.1 == seq);
    holds(world.told.iter().all(|told| known(told.key, told.receipt.seq)), || format!("{keys:?}"))
}

fn the_head_survives_its_encoding(world: &World) -> Check {
    let chat = &world.stored.chat;
    let read = Chat::new(CHAT, chat.head.clone());
    holds(read.as_ref().is_ok_and(|read| *read == **chat), || format!("{read:?}"))
}

fn history_from_where_it_is_shown_gives_the_same_prompt_as_all_of_it(world: &World) -> Check {
    let Stored { chat, history, log, .. } = &world.stored;
    let from = chat.state.context_from;
    let mut short = History::from(from);
    let system = chat.state.system.and_then(|seq| world.stored.record(seq));
    let fold = |short: &mut History, record: &Record| short.fold(record).expect("a record of ours");
    if let Some(system) = system {
        short.preface(system).expect("a record of ours");
    }
    log.iter().filter(|record| record.seq >= from).for_each(|record| fold(&mut short, record));
    let (some, all) = (short.prompt(), history.prompt());
    holds(some == all, || format!("{some:?} and {all:?}"))
}

fn what_a_model_is_shown_needs_no_repair(world: &World) -> Check {
    let prompt = ValidHistory::check(world.stored.history.prompt());
    holds(prompt.is_ok(), || format!("{prompt:?}"))
}

fn no_call_is_started_without_a_committed_intent(world: &World) -> Check {
    let missing = world.starts.keys().find(|call| !world.stored.book.intents.contains(call));
    holds(missing.is_none(), || format!("{missing:?}"))
}

fn a_once_call_is_started_at_most_once(world: &World) -> Check {
    let twice = world.starts.iter().find(|(_, (effect, times))| *effect == Effect::Once && *times > 1);
    holds(twice.is_none(), || format!("{twice:?}"))
}

fn a_refusal_is_listed_in_the_table(world: &World, input: &Input, error: &NotDone) -> Check {
    let chat = &world.stored.chat;
    let (act, phase) = (act(input), Phase::of(Some(chat)).ok_or("no phase")?);
    let (listed, possible) = (act.refusal(phase), !act.outcomes(phase).is_empty());
    let archiving = chat.state.archiving.is_some() && !act.while_archiving();
    let right = match error {
        // An event may belong to another holder or gen.
        NotDone::Stale => {
            matches!(input, Input::Claim(..) | Input::Free(..) | Input::Expire(..) | Input::Work(..))
        }
        NotDone::Refused(Refused::State { .. } | Refused::NotArchived) => listed == Some(Why::State),
        NotDone::Refused(Refused::Archived) => listed == Some(Why::Archived) || archiving,
        NotDone::Refused(Refused::Invalid { .. } | Refused::NotFound { .. } | Refused::QueueFull { .. }) => {
            possible
        }
        _ => false,
    };
    holds(right, || format!("{} in {}: {error}", act.name(), phase.name()))
}
