//! Every state that some moves lead to, the nearest first.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use chatwright_core::{Timestamp, Uuid};
use chatwright_engine::{Input, Item, Work};

use crate::invariants::{Violation, act, of_state};
use crate::moves::{Move, moves};
use crate::world::{Rig, World};

/// How far it went.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) states: usize,
    /// Chats that differ, whatever the sessions know of them.
    pub(crate) chats: usize,
    /// Moves that were tried.
    pub(crate) moves: usize,
    /// The longest path, counted from its root.
    pub(crate) depth: usize,
}

/// A sentence that is not true, and the shortest way there.
pub(crate) struct Found {
    pub(crate) violation: Violation,
    path: Vec<Move>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.violation.invariant, self.violation.detail)?;
        self.path.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

struct Node {
    parent: Option<usize>,
    step: Move,
}

struct Search {
    rig: Rig,
    seen: HashSet<u64>,
    chats: HashSet<u64>,
    nodes: Vec<Node>,
    queue: VecDeque<(World, Option<usize>, usize)>,
    report: Report,
}

/// What is tried.
pub(crate) type Lens = fn(&Move) -> bool;

/// Explores from the end of each of these ways until so many states are found.
pub(crate) fn explore(rig: Rig, ways: &[&[Move]], lens: Lens, states_max: usize) -> Result<Report, Found> {
    let root = World::new(&rig).map_err(|violation| Found { violation, path: Vec::new() })?;
    let (seen, chats, nodes) = (HashSet::new(), HashSet::new(), Vec::new());
    let mut search = Search { rig, seen, chats, nodes, queue: VecDeque::new(), report: Report::default() };
    for way in ways {
        let (mut world, mut at) = (root.clone(), None);
        for step in *way {
            search.nodes.push(Node { parent: at, step: *step });
            at = Some(search.nodes.len() - 1);
            let next = world.play(&rig, *step).map_err(|violation| search.found(violation, at))?;
            world = next.unwrap_or_else(|| panic!("{step} does nothing on the way {way:?}"));
            // A twin may be found out on the way.
            of_state(&rig, &world, false).map_err(|violation| search.found(violation, at))?;
        }
        search.visit(world, at, 0)?;
    }
    while let Some((world, at, depth)) = search.queue.pop_front() {
        for step in moves(&world).into_iter().filter(lens) {
            search.report.moves += 1;
            let next = match world.play(&rig, step) {
                Ok(Some(next)) => next,
                Ok(None) => continue,
                Err(violation) => return Err(search.found_by(violation, at, step)),
            };
            if !search.is_new(&next) {
                continue;
            }
            search.nodes.push(Node { parent: at, step });
            let at = Some(search.nodes.len() - 1);
            search.enter(next, at, depth + 1)?;
            if search.report.states >= states_max {
                return Ok(search.report);
            }
        }
    }
    Ok(search.report)
}

impl Search {
    fn is_new(&mut self, world: &World) -> bool {
        self.seen.insert(key(world))
    }

    fn visit(&mut self, world: World, at: Option<usize>, depth: usize) -> Result<(), Found> {
        if self.is_new(&world) { self.enter(world, at, depth) } else { Ok(()) }
    }

    fn enter(&mut self, world: World, at: Option<usize>, depth: usize) -> Result<(), Found> {
        let new = self.chats.insert(Canon::chat(&world));
        let report = &mut self.report;
        (report.states, report.depth) = (report.states + 1, report.depth.max(depth));
        report.chats += usize::from(new);
        of_state(&self.rig, &world, new).map_err(|violation| self.found(violation, at))?;
        self.queue.push_back((world, at, depth));
        Ok(())
    }

    fn found(&self, violation: Violation, mut at: Option<usize>) -> Found {
        let mut path = Vec::new();
        while let Some(node) = at.map(|at| &self.nodes[at]) {
            path.push(node.step);
            at = node.parent;
        }
        path.reverse();
        Found { violation, path }
    }

    fn found_by(&self, violation: Violation, at: Option<usize>, step: Move) -> Found {
        let mut found = self.found(violation, at);
        found.path.push(step);
        found
    }
}

/// What tells states apart. Sessions have no order.
fn key(world: &World) -> u64 {
    Canon::world(world, [0, 1]).min(Canon::world(world, [1, 0]))
}

/// Names are by first appearance and numbers are relative, so that states that differ in them only are one. Two states that
/// are told apart by nothing but 64 bits of a hash are one too: a state may be missed, but none is found that is not there.
struct Canon<'a> {
    world: &'a World,
    names: Vec<Uuid>,
    hasher: DefaultHasher,
}

impl<'a> Canon<'a> {
    fn new(world: &'a World) -> Self {
        Self { world, names: Vec::new(), hasher: DefaultHasher::new() }
    }

    fn chat(world: &'a World) -> u64 {
        let mut canon = Self::new(world);
        canon.stored();
        canon.hasher.finish()
    }

    fn world(world: &'a World, order: [usize; 2]) -> u64 {
        let mut canon = Self::new(world);
        let sessions = order.map(|at| &world.sessions[at]);
        sessions.iter().for_each(|session| canon.name(session.id.as_uuid()));
        canon.stored();
        for session in sessions {
            session.alive.hash(&mut canon.hasher);
            let book = &world.stored.book;
            let copy = session.copy.as_ref().map(|(chat, _)| {
                let stale = chat.head.revision != world.stored.chat.head.revision;
                (
                    stale,
                    stale.then_some((chat.state.status, chat.state.queue.len(), chat.head.holder.is_some())),
                )
            });
            copy.hash(&mut canon.hasher);
            let task = session.task.as_ref().map(|task| {
                let (epoch, r#gen) = (task.fence.epoch == book.epoch, task.fence.r#gen == book.open);
                (epoch, r#gen, task.fence.r#gen.is_some(), task.kind, task.running.len())
            });
            task.hash(&mut canon.hasher);
            canon.input(session.unsure.as_ref().map(|unsure| &unsure.input));
        }
        canon.input(world.asked.as_ref().map(|asked| &asked.input));
        if let Some((prepared, times)) = &world.flight {
            let fits = prepared.commit.expect() == Some(world.stored.chat.head.revision);
            let landed = world.landed(prepared.input.op(), prepared.base).is_some();
            (times, fits, landed).hash(&mut canon.hasher);
            canon.input(Some(&prepared.input));
        }
        canon.hasher.finish()
    }

    fn name(&mut self, id: &Uuid) {
        let known = self.names.iter().position(|name| name == id);
        let at = known.unwrap_or_else(|| {
            self.names.push(*id);
            self.names.len() - 1
        });
        at.hash(&mut self.hasher);
    }

    fn input(&mut self, input: Option<&Input>) {
        let size = input.map(|input| match input {
            Input::Work(_, _, Work::Answered(answer)) => answer.plan.len(),
            Input::Work(_, _, Work::Results { results, .. }) => results.len(),
            _ => 0,
        });
        (input.map(act), size).hash(&mut self.hasher);
    }

    /// None, due, when the chat is looked at, or some other time.
    fn time(&mut self, time: Option<Timestamp>) {
        let wake_at = self.world.stored.chat.head.wake_at;
        let bucket = time.map(|time| (time <= self.world.now, Some(time) == wake_at));
        bucket.hash(&mut self.hasher);
    }

    /// What the next steps depend on, and what the book says otherwise.
    fn stored(&mut self) {
        let (stored, chat) = (&self.world.stored, &self.world.stored.chat);
        let (head, state, book) = (&chat.head, &chat.state, &stored.book);
        match head.holder {
            Some(holder) => self.name(holder.as_uuid()),
            None => usize::MAX.hash(&mut self.hasher),
        }
        let open = state.open.as_ref().map(|open| (open.kind, book.open == Some(open.r#gen)));
        (head.index.archived, state.status, state.archiving, open).hash(&mut self.hasher);
        (state.steps, state.failures, state.deaths, state.compact, state.children > 0).hash(&mut self.hasher);
        (book.epoch == state.epoch, book.last_gen == state.last_gen).hash(&mut self.hasher);
        let last = state.last.as_ref().map(|last| Some(last.seq) == book.last_error);
        (last, state.context_from.get() > 1, state.anchor.is_some()).hash(&mut self.hasher);
        self.time(head.wake_at);
        state.retry.is_some().hash(&mut self.hasher);
        self.time(state.retry.and_then(|retry| retry.at));
        (state.queue.len(), book.queue.len()).hash(&mut self.hasher);
        for entry in &state.queue {
            (entry.held, entry.edited.is_some()).hash(&mut self.hasher);
        }
        state.calls.len().hash(&mut self.hasher);
        for call in &state.calls {
            let starts = state.calls_in.and_then(|message| self.world.starts.get(&(message, call.ordinal)));
            let starts = starts.map(|starts| starts.1.min(2));
            (call.ordinal, call.kind, call.effect, call.started.is_some(), starts).hash(&mut self.hasher);
            self.time(call.deadline);
        }
        let items = stored.history.items();
        items.len().min(4).hash(&mut self.hasher);
        for (seq, item) in items.iter().rev().take(3) {
            let shown = *seq >= state.context_from;
            let kind = match item {
                Item::System(_) => (0, 0),
                Item::User(_) => (1, 0),
                Item::Assistant(answer) => (2, answer.content.len()),
                Item::Results(results) => (3, results.results.len()),
            };
            (shown, kind).hash(&mut self.hasher);
        }
    }
}
