mod action;
mod context;
mod create;
mod family;
mod queue;
mod send;
mod stop;

pub(crate) use action::expire;

use chatwright_core::content::Part;
use chatwright_core::head::{ClientKey, KeyHash, State, Status};
use chatwright_core::message::CHUNK_BYTES;
use chatwright_core::text::TooLarge;
use chatwright_core::{OpId, Seq, limits};

use crate::change::Change;
use crate::input::{Command, Context};
use crate::step::{Receipt, Step};
use crate::table::Phase;
use crate::{Chat, NotDone, Refused};

/// A command. Its record comes first in the commit, and its receipt is in that record.
pub(crate) fn command<'a>(
    context: Context<'a>,
    op: OpId,
    chat: Option<&'a Chat>,
    command: &Command,
    change: impl Fn(OpId) -> Result<(Change<'a>, &'a Chat), NotDone>,
) -> Result<Step, NotDone> {
    if let Some(chat) = chat {
        replayed(chat, command.key())?;
    }
    let act = command.act();
    let phase = Phase::of(chat).ok_or(NotDone::Refused(Refused::Invalid {
        what: "the chat is in a state that no step leads to".to_owned(),
    }))?;
    act.check(phase)?;
    if chat.is_some_and(|chat| chat.state.archiving.is_some()) && !act.while_archiving() {
        return Err(Refused::Archived.into());
    }
    if let Command::Create(create) = command {
        return create::create(context, op, create);
    }
    let (change, chat) = change(op)?;
    match command {
        Command::Create(_) => Err(Refused::Exists.into()),
        Command::Join(join) => family::join(change, chat, op, *join),
        Command::Send(send) => send::send(change, chat, op, send),
        Command::Edit(edit) => send::edit(change, chat, op, edit),
        Command::Queue(queue) => queue::queue(change, chat, op, queue),
        Command::Interrupt(interrupt) => stop::interrupt(change, chat, op, interrupt),
        Command::Submit(submit) => action::submit(change, op, submit),
        Command::Decide(decide) => action::decide(change, op, decide),
        Command::Compact(compact) => context::compact(change, op, compact),
        Command::Clear(clear) => context::clear(change, op, *clear),
        Command::Archive(archive) => family::archive(change, chat, op, *archive),
        Command::Unarchive(unarchive) => family::unarchive(change, chat, op, *unarchive),
        Command::Set(set) => context::set(change, op, set),
    }
}

fn replayed(chat: &Chat, key: Option<KeyHash>) -> Result<(), NotDone> {
    let seen = key.and_then(|key| chat.state.keys.iter().find(|seen| seen.0 == key));
    seen.map_or(Ok(()), |seen| Err(NotDone::Replayed(seen.1)))
}

fn remember(state: &mut State, key: Option<KeyHash>, seq: Seq) {
    let Some(key) = key else { return };
    if state.keys.len() == limits::CLIENT_KEYS_MAX {
        state.keys.remove(0);
    }
    state.keys.push(ClientKey(key, seq));
}

/// Ends a command whose record is at `seq`.
fn done(mut change: Change<'_>, op: OpId, key: Option<KeyHash>, seq: Seq) -> Result<Step, NotDone> {
    remember(&mut change.state, key, seq);
    change.done(Some(Receipt { op, seq, message: None, queued: None, position: None }))
}

/// The chat becomes runnable, with a clean slate.
fn run(change: &mut Change<'_>) {
    let state = &mut change.state;
    (state.status, state.last, state.steps, state.failures, state.deaths) = (Status::Running, None, 0, 0, 0);
    state.stop_after = false;
    state.retry = None;
    change.wait_for_claim();
}

fn check_content(content: &[Part]) -> Result<u32, Refused> {
    if content.is_empty() {
        return Err(Refused::Invalid { what: "a message needs content".to_owned() });
    }
    for (place, part) in content.iter().enumerate() {
        let what = match part {
            Part::Text { .. } if part.is_blank() => "is blank",
            Part::Text { .. } | Part::File { .. } => continue,
            _ => "is neither text nor a file",
        };
        return Err(Refused::Invalid { what: format!("part {place} of the message {what}") });
    }
    let bytes = serde_json::to_string(content).map_or(usize::MAX, |text| text.len());
    // A user's message stays in one record, with its envelope.
    TooLarge::check_bytes("message", bytes, CHUNK_BYTES)?;
    Ok(u32::try_from(bytes).unwrap_or(u32::MAX))
}

fn check_model(model: Option<&str>) -> Result<(), Refused> {
    Ok(TooLarge::check_bytes("model name", model.map_or(0, str::len), limits::ID_BYTES_MAX)?)
}
