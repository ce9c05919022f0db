use chatwright_core::content::Part;
use chatwright_core::head::{ClientKey, Index, KeyHash, QueueEntry, State, Status};
use chatwright_core::message::CHUNK_BYTES;
use chatwright_core::record::{
    ChatCreated, FreeReason, Freed, InterruptRequested, MessageSystem, MessageUser, Outcome, QueueAdded,
    StopReason,
};
use chatwright_core::text::TooLarge;
use chatwright_core::{OpId, Seq, SessionId, limits};

use crate::change::{Change, Runner};
use crate::input::{Busy, Command, Context, Create, Interrupt, Send, TurnEnd};
use crate::step::{Receipt, Step};
use crate::{Chat, NotDone, Refused};

pub(crate) fn command<'a>(
    context: Context<'a>,
    op: OpId,
    chat: Option<&'a Chat>,
    command: &Command,
    change: impl Fn(OpId) -> Result<(Change<'a>, &'a Chat), NotDone>,
) -> Result<Step, NotDone> {
    match command {
        Command::Create(create) => match chat {
            None => self::create(context, op, create),
            Some(chat) => {
                replayed(chat, create.key)?;
                Err(Refused::Exists.into())
            }
        },
        Command::Send(send) => {
            let (change, chat) = change(op)?;
            replayed(chat, send.key)?;
            self::send(change, chat, op, send)
        }
        Command::Interrupt(interrupt) => {
            let (change, chat) = change(op)?;
            replayed(chat, interrupt.key)?;
            self::interrupt(change, chat, op, interrupt)
        }
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

fn create(context: Context<'_>, op: OpId, create: &Create) -> Result<Step, NotDone> {
    if !create.content.is_empty() {
        check_content(&create.content)?;
    }
    check_model(create.model.as_deref())?;
    let mut index = Index::new(create.owner.clone(), context.now);
    index.organization = create.organization.clone();
    index.client_type = create.client_type;
    index.title = create.title.clone();
    index.labels = create.labels.clone();
    let mut state = State::default();
    state.model.clone_from(&create.model);
    let mut change = Change::new(context, op, Seq::ZERO, index, state, None, None);
    let seq = change.push(ChatCreated {
        owner: create.owner.clone(),
        organization: create.organization.clone(),
        parent: None,
        root: None,
        client_type: create.client_type,
        title: Some(create.title.clone()).filter(|title| !title.as_str().is_empty()),
        labels: create.labels.clone(),
        model: create.model.clone(),
        first: (!create.content.is_empty()).then_some(create.message),
        key: create.key,
    })?;
    if !create.system.is_empty() {
        change.push(MessageSystem { id: create.system_id, content: create.system.clone() })?;
    }
    let mut message = None;
    if !create.content.is_empty() {
        let mut first = MessageUser::new(create.message, create.content.clone());
        first.key = create.key;
        change.user_message(first)?;
        change.state.status = Status::Running;
        change.wait_for_claim();
        message = Some(create.message);
    }
    remember(&mut change.state, create.key, seq);
    change.done(Some(Receipt { op, seq, message, queued: None, position: None }))
}

fn send(mut change: Change<'_>, chat: &Chat, op: OpId, send: &Send) -> Result<Step, NotDone> {
    let bytes = check_content(&send.content)?;
    if chat.head.index.archived {
        return Err(Refused::Archived.into());
    }
    let message = MessageUser {
        id: send.message,
        content: send.content.clone(),
        author: send.author.clone(),
        model: None,
        queued: None,
        key: send.key,
    };
    let at_rest = matches!(chat.state.status, Status::Waiting | Status::Error);
    if at_rest && !chat.has_promotable() {
        let seq = change.next_seq();
        change.user_message(message)?;
        run(&mut change);
        remember(&mut change.state, send.key, seq);
        return change.done(Some(Receipt {
            op,
            seq,
            message: Some(send.message),
            queued: None,
            position: None,
        }));
    }
    if chat.state.queue.len() >= limits::QUEUE_MAX {
        return Err(Refused::QueueFull { max: limits::QUEUE_MAX }.into());
    }
    let position = u32::try_from(chat.state.queue.len()).unwrap_or(u32::MAX);
    let seq = change.push(QueueAdded { id: send.queue, message, position, held: false })?;
    change.state.queue.push(QueueEntry { seq, id: send.queue, bytes, held: false });
    remember(&mut change.state, send.key, seq);
    if at_rest {
        // An error with a queue: first in, first out. The old head runs now.
        let promoted = change.fresh_message_id();
        change.promote(promoted)?;
        run(&mut change);
    } else if send.busy == Busy::Interrupt && chat.state.status == Status::Running {
        change.push(InterruptRequested { by: send.author.clone(), key: send.key })?;
        stop(&mut change, chat, send.dead)?;
    }
    change.done(Some(Receipt {
        op,
        seq,
        message: Some(send.message),
        queued: Some(send.queue),
        position: Some(position),
    }))
}

/// The chat becomes runnable, with a clean slate.
fn run(change: &mut Change<'_>) {
    let state = &mut change.state;
    (state.status, state.last, state.steps, state.failures, state.deaths) = (Status::Running, None, 0, 0, 0);
    state.retry = None;
    change.wait_for_claim();
}

fn interrupt(mut change: Change<'_>, chat: &Chat, op: OpId, interrupt: &Interrupt) -> Result<Step, NotDone> {
    const STOPPABLE: &[Status] = &[Status::Running, Status::RequiresAction];
    let orphaned = chat.state.status == Status::Interrupting && !has_holder(chat, interrupt.dead);
    if !STOPPABLE.contains(&chat.state.status) && !orphaned {
        return Err(Refused::State { status: chat.state.status, expected: STOPPABLE }.into());
    }
    let seq = change.push(InterruptRequested { by: interrupt.by.clone(), key: interrupt.key })?;
    stop(&mut change, chat, interrupt.dead)?;
    remember(&mut change.state, interrupt.key, seq);
    change.done(Some(Receipt { op, seq, message: None, queued: None, position: None }))
}

/// A live holder is told and ends the turn itself; otherwise it ends here, because nobody else would for a while.
fn stop(change: &mut Change<'_>, chat: &Chat, dead: Option<SessionId>) -> Result<(), NotDone> {
    if has_holder(chat, dead) {
        change.state.status = Status::Interrupting;
        return Ok(());
    }
    if let Some(session) = change.holder.take() {
        let epoch = change.next_epoch();
        change.push(Freed { session, epoch, reason: FreeReason::Died })?;
    }
    let off = change.state.last_off;
    change.seal_open(Outcome::Aborted, off)?;
    change.state.status = Status::Interrupting;
    change.end_turn(TurnEnd::Stop(StopReason::Interrupted), Runner::Nobody)
}

/// Whether somebody holds the chat who is not known to be dead.
fn has_holder(chat: &Chat, dead: Option<SessionId>) -> bool {
    chat.head.holder.is_some() && chat.head.holder != dead
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
