//! What may happen next.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::error::{Advice, Kind, Verdict};
use chatwright_core::head::{CallKind, KeyHash, State, Status, Title, UnitKind};
use chatwright_core::model::FinishReason;
use chatwright_core::record::Decision;
use chatwright_core::tool::Effect;
use chatwright_core::{ChatId, MessageId, OpId, QueueId, Seq, UserId};
use chatwright_engine::{
    Answer, Archive, Busy, Claim, Clear, Command, Compact, Compacted, Decide, Edit, Free, History, Input,
    Interrupt, Item, Join, Plan, Planned, Queue, QueueAct, Report, Scope, Send, Set, Submit, Summary,
    Unarchive, Work, calls,
};

use crate::invariants::Violation;
use crate::rest::{result, stopped};
use crate::world::{Rig, Task, World};

/// Most messages that wait in the queue.
const QUEUE_MAX: usize = 2;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// A user asks for something.
    User(Asks),
    /// The same, and it is on its way for a while.
    UserHeld(Asks),
    /// The user's replica looks what became of it.
    LookUp,
    /// A session does something.
    Session(usize, Does),
    /// The same, and the commit is on its way for a while.
    SessionHeld(usize, Does),
    /// It looks what became of it.
    Look(usize),
    /// It reads the chat.
    Learn(usize),
    /// It dies.
    Crash(usize),
    /// Another takes its place.
    Restart(usize),
    /// Somebody frees the chat, rightly or wrongly.
    Free,
    /// Somebody times out what waits for an action.
    Expire,
    /// Time passes until something is due.
    Pass,
    /// What was on its way arrives; perhaps it did before.
    Arrive,
}

/// What a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Send(Busy),
    EditFirst,
    Remove(usize),
    MoveTo(usize),
    Rewrite(usize),
    Hold(usize),
    Release(usize),
    Promote(usize),
    Interrupt,
    Submit,
    Approve,
    Deny,
    Compact,
    Clear,
    Archive,
    ArchiveStop,
    ArchiveRest,
    Unarchive,
    Set,
    Join,
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    Claim,
    Says(Says),
    Fails(Fails),
    Result,
    Results,
    Retry,
    Summary,
    NoSummary,
    Full,
    Stopped,
    Watch,
    Release,
    ReleaseFor,
}

/// What the model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Text,
    Once,
    TwoPure,
    Client,
    Ask,
    OnceAndAgain,
    OnceAndClient,
}

/// How the provider fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fails {
    Briefly,
    ForLong,
    ForGood,
    TooLarge,
}

const SAYS: [Says; 7] =
    [Says::Text, Says::Once, Says::TwoPure, Says::Client, Says::Ask, Says::OnceAndAgain, Says::OnceAndClient];

impl Says {
    fn content(self) -> Vec<Part> {
        let calls: &[&str] = match self {
            Self::Text => return vec![Part::text("so far, so good")],
            Self::Once => &["once"],
            Self::TwoPure => &["pure", "pure"],
            Self::Client => &["client"],
            Self::Ask => &["ask"],
            Self::OnceAndAgain => &["once", "again"],
            Self::OnceAndClient => &["once", "client"],
        };
        let call = |name: &&str| Part::ToolCall {
            id: "c".into(),
            name: (*name).into(),
            input: "{}".to_owned(),
            provider_executed: false,
            metadata: Metadata::new(),
        };
        calls.iter().map(call).collect()
    }
}

fn plan(content: &[Part]) -> Vec<Planned> {
    let run = |name: &str, effect, approval| Plan::Run {
        name: name.into(),
        effect,
        deadline: Duration::from_secs(60),
        input_hash: KeyHash(0),
        approval,
        resource: None,
        stop_after: false,
    };
    let plan = |name: &str| match name {
        "once" => run(name, Effect::Once, false),
        "ask" => run(name, Effect::Once, true),
        "again" => run(name, Effect::Idempotent, false),
        "client" => Plan::Client,
        _ => run(name, Effect::Pure, false),
    };
    calls(content).map(|call| Planned { ordinal: call.ordinal, plan: plan(call.name) }).collect()
}

/// What would happen to the open calls.
pub(crate) fn planned(history: &History, state: &State) -> Vec<Planned> {
    let answer = state.calls_in.and_then(|message| history.answer(message));
    answer.map_or_else(Vec::new, |answer| plan(&answer.content))
}

/// What may happen next, as far as one can see: the engine refuses some of it.
pub(crate) fn moves(world: &World) -> Vec<Move> {
    let (chat, state) = (&world.stored.chat, &world.stored.chat.state);
    let calm =
        world.asked.is_none() && world.flight.is_none() && world.sessions.iter().all(|s| s.unsure.is_none());
    let mut moves = Vec::new();
    let user = |moves: &mut Vec<Move>, asks, may_wait: bool| {
        moves.push(Move::User(asks));
        moves.extend((calm && may_wait).then_some(Move::UserHeld(asks)));
    };
    if state.queue.len() < QUEUE_MAX {
        user(&mut moves, Asks::Send(Busy::Queue), true);
        user(&mut moves, Asks::Send(Busy::Interrupt), false);
        user(&mut moves, Asks::Send(Busy::Now), false);
    }
    user(&mut moves, Asks::EditFirst, true);
    user(&mut moves, Asks::Interrupt, true);
    for place in 0..state.queue.len() {
        let act = if state.queue[place].held { Asks::Release(place) } else { Asks::Hold(place) };
        for asks in [Asks::Remove(place), Asks::Rewrite(place), Asks::Promote(place), act] {
            user(&mut moves, asks, false);
        }
    }
    if state.queue.len() > 1 {
        user(&mut moves, Asks::MoveTo(1), false);
    }
    let rest =
        [Asks::Submit, Asks::Approve, Asks::Deny, Asks::Compact, Asks::Clear, Asks::Set, Asks::Archive];
    rest.into_iter().for_each(|asks| user(&mut moves, asks, false));
    for asks in [Asks::ArchiveStop, Asks::ArchiveRest, Asks::Unarchive] {
        user(&mut moves, asks, false);
    }
    if state.children == 0 {
        user(&mut moves, Asks::Join, false);
    }
    moves.extend(world.asked.is_some().then_some(Move::LookUp));
    for (at, session) in world.sessions.iter().enumerate() {
        if !session.alive {
            moves.push(Move::Restart(at));
            continue;
        }
        moves.push(Move::Crash(at));
        if session.unsure.is_some() {
            moves.push(Move::Look(at));
            continue;
        }
        let stale = session.copy.as_ref().is_some_and(|copy| copy.0.head.revision != chat.head.revision);
        moves.extend((stale && session.task.is_some()).then_some(Move::Learn(at)));
        for (does, may_wait) in does(world, session.task.as_ref()) {
            moves.push(Move::Session(at, does));
            moves.extend((calm && may_wait).then_some(Move::SessionHeld(at, does)));
        }
    }
    moves.extend([Move::Free, Move::Expire, Move::Pass]);
    moves.extend(world.flight.is_some().then_some(Move::Arrive));
    moves
}

/// What a session may do, and whether its commit may be on its way for a while.
fn does(world: &World, task: Option<&Task>) -> Vec<(Does, bool)> {
    let Some(task) = task else { return vec![(Does::Claim, true)] };
    let mut does = vec![(Does::Watch, false), (Does::Release, true)];
    let interrupting = world.stored.chat.state.status == Status::Interrupting;
    if interrupting && task.kind.is_some() {
        does.push((Does::Stopped, true));
    }
    match task.kind {
        Some(UnitKind::Attempt) => {
            does.extend(SAYS.map(|says| (Does::Says(says), matches!(says, Says::Text | Says::Once))));
            let squeezed = world.stored.chat.state.squeezed.is_some();
            does.extend((!squeezed).then_some((Does::Full, false)));
        }
        Some(UnitKind::Compaction) => does.extend([(Does::Summary, true), (Does::NoSummary, false)]),
        Some(UnitKind::Batch) => {
            if !task.running.is_empty() {
                does.push((Does::Results, true));
            }
            if task.running.len() > 1 {
                does.push((Does::Result, false));
            }
        }
        None => does.push((Does::Retry, false)),
    }
    if matches!(task.kind, Some(UnitKind::Attempt | UnitKind::Compaction)) {
        does.extend(
            [Fails::Briefly, Fails::ForLong, Fails::ForGood, Fails::TooLarge]
                .map(|fails| (Does::Fails(fails), false)),
        );
        does.push((Does::ReleaseFor, false));
    } else if task.kind.is_some() {
        does.push((Does::Fails(Fails::ForGood), false));
    }
    does
}

impl World {
    /// What becomes of the world; `None`: nothing.
    pub(crate) fn play(&self, rig: &Rig, act: Move) -> Result<Option<Self>, Violation> {
        let mut world = self.clone();
        let changed = match act {
            Move::User(asks) | Move::UserHeld(asks) => match world.command(asks) {
                Some(command) => {
                    let input = Input::Command(OpId::from_uuid(world.id()), command);
                    world.ask(rig, &input, matches!(act, Move::UserHeld(_)))?
                }
                None => false,
            },
            Move::LookUp => world.look_up(rig)?,
            Move::Session(at, does) | Move::SessionHeld(at, does) => match world.input(at, does) {
                Some(input) => world.drive(rig, at, &input, matches!(act, Move::SessionHeld(..)))?,
                None => false,
            },
            Move::Look(at) => world.look(rig, at)?,
            Move::Learn(at) => {
                world.learn(at);
                true
            }
            Move::Crash(at) => {
                let session = &mut world.sessions[at];
                (session.alive, session.copy, session.task, session.unsure) = (false, None, None, None);
                true
            }
            Move::Restart(at) => {
                world.restart(at);
                true
            }
            Move::Free => match world.stored.chat.head.holder {
                Some(holder) => {
                    let op = OpId::from_uuid(world.id());
                    world.ask(rig, &Input::Free(op, Free { holder }), false)?
                }
                None => false,
            },
            Move::Expire => {
                let op = OpId::from_uuid(world.id());
                world.ask(rig, &Input::Expire(op), false)?
            }
            Move::Pass => world.pass(),
            Move::Arrive => match world.flight.take() {
                Some((prepared, times)) => {
                    world.flight = (times > 1).then(|| (Arc::clone(&prepared), times - 1));
                    world.commit(rig, &prepared)?;
                    true
                }
                None => false,
            },
        };
        Ok(changed.then_some(world))
    }

    /// Time passes until something is due.
    fn pass(&mut self) -> bool {
        let Self { now, stored, .. } = self;
        let (head, state) = (&stored.chat.head, &stored.chat.state);
        let deadlines = state.calls.iter().filter_map(|call| call.deadline);
        let times = deadlines.chain(head.wake_at).chain(state.retry.and_then(|retry| retry.at));
        let next = times.filter(|time| *time > *now).min();
        *now = next.unwrap_or(*now);
        next.is_some()
    }

    fn command(&mut self, asks: Asks) -> Option<Command> {
        let key = Some(KeyHash(self.id().as_u128()));
        let holder = self.stored.chat.head.holder;
        // Whoever asks sees which sessions are dead.
        let dead = holder.filter(|holder| !self.sessions.iter().any(|s| s.alive && s.id == *holder));
        let queue = |world: &Self, place: usize, act| {
            Some(Command::Queue(Queue { id: world.queue_id(place)?, act, dead, key }))
        };
        let ada = || Some(UserId::new("bob").expect("a short id"));
        Some(match asks {
            Asks::Send(busy) => {
                let (message, queue) = (MessageId::from_uuid(self.id()), QueueId::from_uuid(self.id()));
                let (content, author) = (vec![Part::text("more")], ada());
                Command::Send(Send {
                    content,
                    message,
                    queue,
                    author,
                    model: None,
                    effort: None,
                    busy,
                    dead,
                    key,
                })
            }
            Asks::EditFirst => {
                let users = |(seq, item): &(Seq, Item)| matches!(item, Item::User(_)).then_some(*seq);
                let seq = self.stored.history.items().iter().find_map(users)?;
                let (content, message) = (vec![Part::text("rather")], MessageId::from_uuid(self.id()));
                Command::Edit(Edit { seq, content, message, author: None, model: None, effort: None, key })
            }
            Asks::Remove(place) => queue(self, place, QueueAct::Remove)?,
            Asks::MoveTo(place) => queue(self, 0, QueueAct::Move(u32::try_from(place).unwrap_or(0)))?,
            Asks::Rewrite(place) => queue(self, place, QueueAct::Edit(vec![Part::text("or rather")]))?,
            Asks::Hold(place) => queue(self, place, QueueAct::Hold)?,
            Asks::Release(place) => queue(self, place, QueueAct::Release)?,
            Asks::Promote(place) => queue(self, place, QueueAct::Promote)?,
            Asks::Interrupt => Command::Interrupt(Interrupt { by: ada(), dead, key }),
            Asks::Submit => {
                let calls = self.stored.chat.state.calls.iter().filter(|call| call.kind == CallKind::Client);
                let results = calls.map(|call| (call.ordinal, Output::text("done"))).collect();
                Command::Submit(Submit { results, key })
            }
            Asks::Approve | Asks::Deny => {
                let decision = match asks {
                    Asks::Approve => Decision::Approve { input: None },
                    _ => Decision::Deny { reason: None },
                };
                let asked = self.stored.chat.state.calls.iter().find(|call| call.kind == CallKind::Approval);
                Command::Decide(Decide {
                    ordinal: asked.map_or(0, |call| call.ordinal),
                    decision,
                    by: None,
                    key,
                })
            }
            Asks::Compact => Command::Compact(Compact { by: None, key }),
            Asks::Clear => Command::Clear(Clear { key }),
            Asks::Archive => Command::Archive(Archive { scope: Scope::Family, stop: false, dead, key }),
            Asks::ArchiveStop => Command::Archive(Archive { scope: Scope::Family, stop: true, dead, key }),
            Asks::ArchiveRest => Command::Archive(Archive { scope: Scope::Rest, stop: true, dead, key }),
            Asks::Unarchive => Command::Unarchive(Unarchive { member: false, key }),
            Asks::Set => Command::Set(Set {
                generated: false,
                title: Some(Title::default()),
                model: Some("m".into()),
                effort: None,
                labels: None,
                key,
            }),
            Asks::Join => Command::Join(Join { child: ChatId::from_uuid(self.id()) }),
        })
    }

    fn input(&mut self, at: usize, does: Does) -> Option<Input> {
        let (op, next) = (OpId::from_uuid(self.id()), self.next());
        let session = self.sessions[at].id;
        let (report, model) = (Report::default(), next.model.clone());
        if does == Does::Claim {
            let state = &self.stored.chat.state;
            let (calls_in, plan) = (state.calls_in, planned(&self.stored.history, state));
            return Some(Input::Claim(op, Claim { session, calls_in, plan, next }));
        }
        let task = self.sessions[at].task.clone()?;
        let work = match does {
            Does::Claim => return None,
            Does::Says(says) => {
                let content = says.content();
                let plan = plan(&content);
                let finish = if plan.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
                let (output_limit, off, response_id) = (false, 9, None);
                Work::Answered(Box::new(Answer {
                    content,
                    model,
                    finish,
                    output_limit,
                    report,
                    off,
                    response_id,
                    plan,
                    next,
                }))
            }
            Does::Fails(fails) => {
                let verdict = match fails {
                    Fails::Briefly => Verdict::of(Kind::Overloaded),
                    Fails::ForLong => Verdict::of(Kind::RateLimit).with_retry_after(Duration::from_secs(60)),
                    Fails::ForGood => Verdict::of(Kind::Auth),
                    Fails::TooLarge => Verdict::of(Kind::Config).with_advice(Advice::CompactThenRetry),
                };
                let partial = task.kind.filter(|kind| *kind != UnitKind::Batch);
                let partial = partial.map(|_| Box::new(stopped(next)));
                Work::Failed { verdict: Box::new(verdict), report, partial }
            }
            Does::Result | Does::Results => {
                let some = if does == Does::Result { 1 } else { task.running.len() };
                let results = task.running.iter().rev().take(some).map(|call| result(call.1)).collect();
                let known = self.sessions[at].copy.as_ref()?;
                let plan = planned(&known.1, &known.0.state);
                Work::Results { results, off: 0, plan, next }
            }
            Does::Retry => {
                let state = &self.stored.chat.state;
                let at = state.retry.and_then(|retry| retry.at);
                if at.is_some_and(|at| at > self.now) && state.status != Status::Interrupting {
                    return None;
                }
                Work::Retry { next }
            }
            Does::Full => Work::Full { next },
            Does::Summary | Does::NoSummary => {
                let users = |(seq, item): &(Seq, Item)| matches!(item, Item::User(_)).then_some(*seq);
                let from = self.stored.history.items().iter().rev().find_map(users)?;
                let summary = Summary {
                    covers_to: Seq::new(from.get() - 1),
                    from,
                    content: vec![Part::text("in short")],
                    said: Vec::new(),
                    tokens_before: None,
                    tokens_after: None,
                };
                let summary = (does == Does::Summary).then_some(summary);
                Work::Compacted(Box::new(Compacted { summary, report, off: 0, next }))
            }
            Does::Stopped => {
                let mut stopped = stopped(next);
                stopped.results = task.running.iter().take(1).map(|call| result(call.1)).collect();
                Work::Stopped(Box::new(stopped))
            }
            Does::Watch => Work::Watch,
            Does::Release => Work::Release { off: 0, report: Report::default(), wait: None },
            Does::ReleaseFor => {
                Work::Release { off: 0, report: Report::default(), wait: Some(Duration::from_secs(30)) }
            }
        };
        Some(Input::Work(op, task.fence, work))
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |at: usize| ["A", "B"][at];
        match *self {
            Self::User(asks) => write!(f, "a user asks: {asks:?}"),
            Self::UserHeld(asks) => write!(f, "a user asks: {asks:?}; the commit is on its way"),
            Self::LookUp => f.write_str("the user's replica looks what became of the command"),
            Self::Session(at, does) => write!(f, "session {}: {does:?}", name(at)),
            Self::SessionHeld(at, does) => {
                write!(f, "session {}: {does:?}; the commit is on its way", name(at))
            }
            Self::Look(at) => write!(f, "session {} looks what became of its commit", name(at)),
            Self::Learn(at) => write!(f, "session {} reads the chat", name(at)),
            Self::Crash(at) => write!(f, "session {} dies", name(at)),
            Self::Restart(at) => write!(f, "a new session takes the place of {}", name(at)),
            Self::Free => f.write_str("somebody frees the chat from its holder"),
            Self::Expire => f.write_str("somebody times out what is late"),
            Self::Pass => f.write_str("time passes until something is due"),
            Self::Arrive => {
                f.write_str("the commit that was on its way arrives, perhaps not for the first time")
            }
        }
    }
}
