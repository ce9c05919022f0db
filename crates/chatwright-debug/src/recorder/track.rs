//! What the writer knows of the runs that are under way.

use std::collections::{HashMap, HashSet};

use chatwright_core::debug::{ContentHash, DebugStatus, RunKind};
use chatwright_core::history::Grown;
use chatwright_core::model::{CallScope, Usage};
use chatwright_core::{ChatId, Gen, RunId, Seq, StepId, Timestamp, Uuid};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::job::CallNumber;
use crate::Summary;
use crate::content::{Place, Rope};
use crate::doc::{AttemptDoc, ExchangeDoc, StepMetadata};
use crate::redact::Redactor;

/// A run that is under way.
pub(super) struct Track {
    pub(super) run: RunId,
    /// The message with which its turn began.
    pub(super) turn: Option<Seq>,
    pub(super) seed: Summary,
    /// The step of the last call.
    pub(super) step: Option<OpenStep>,
    /// Those before it whose calls have not ended: advice may be asked for twice at once.
    pub(super) others: Vec<OpenStep>,
    /// The prompt of the last call, as far as it was followed.
    pub(super) prompt: Option<Followed>,
    /// Where the tools of the last call are, and how many.
    pub(super) tools: Option<(Option<Place>, u64)>,
    /// Calls that have not ended.
    pub(super) open_calls: usize,
    pub(super) last_seen: Instant,
    /// When something last ended in it.
    pub(super) ended_at: Option<Timestamp>,
}

/// A prompt that grows.
pub(super) struct Followed {
    pub(super) grown: Grown,
    pub(super) rope: Rope,
    pub(super) messages: u64,
}

/// The step of the last call: an attempt that fails may be followed by another.
pub(super) struct OpenStep {
    pub(super) id: StepId,
    pub(super) status: DebugStatus,
    pub(super) attempts: Vec<AttemptDoc>,
    pub(super) metadata: StepMetadata,
    pub(super) usage: Usage,
    pub(super) has_error: bool,
}

/// A call that has not ended.
pub(super) struct OpenCall {
    pub(super) chat: ChatId,
    pub(super) kind: RunKind,
    pub(super) run: RunId,
    pub(super) step: StepId,
    /// Which attempt at the step, from 0.
    pub(super) attempt: usize,
    /// Knows the secrets that the call was sent with.
    pub(super) redactor: Redactor,
    pub(super) exchanges: HashMap<u32, ExchangeDoc>,
}

/// The runs and calls that are under way.
#[derive(Default)]
pub(super) struct Tracks {
    pub(super) runs: HashMap<(ChatId, RunKind), Track>,
    pub(super) calls: HashMap<CallNumber, OpenCall>,
}

impl Track {
    pub(super) fn new(run: RunId, scope: &CallScope, seed: Summary) -> Self {
        Self {
            run,
            turn: scope.turn,
            seed,
            step: None,
            others: Vec::new(),
            prompt: None,
            tools: None,
            open_calls: 0,
            last_seen: Instant::now(),
            ended_at: None,
        }
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = &OpenStep> {
        self.others.iter().chain(&self.step)
    }

    pub(super) fn step_mut(&mut self, id: StepId) -> Option<&mut OpenStep> {
        self.others.iter_mut().chain(&mut self.step).find(|step| step.id == id)
    }

    /// How it ends if nobody says how.
    pub(super) fn own_end(&self) -> DebugStatus {
        match self.step.as_ref().map(|step| step.status) {
            Some(status) if status.is_terminal() => status,
            _ => DebugStatus::Interrupted,
        }
    }
}

impl OpenStep {
    pub(super) fn new(id: StepId) -> Self {
        Self {
            id,
            status: DebugStatus::InProgress,
            attempts: Vec::new(),
            metadata: StepMetadata::default(),
            usage: Usage::default(),
            has_error: false,
        }
    }

    pub(super) fn is_of(&self, r#gen: Gen) -> bool {
        self.attempts.last().is_some_and(|attempt| attempt.r#gen == Some(r#gen))
    }
}

impl Tracks {
    pub(super) fn of_call(&mut self, call: CallNumber) -> Option<(&mut OpenCall, Option<&mut Track>)> {
        let open = self.calls.get_mut(&call)?;
        let track = self.runs.get_mut(&(open.chat, open.kind)).filter(|track| track.run == open.run);
        Some((open, track))
    }

    /// The kinds of runs of a chat that are under way.
    pub(super) fn kinds(&self, chat: ChatId) -> Vec<RunKind> {
        RunKind::ALL.into_iter().filter(|kind| self.runs.contains_key(&(chat, *kind))).collect()
    }

    pub(super) fn remove(&mut self, chat: ChatId, kind: RunKind) -> Option<Track> {
        let track = self.runs.remove(&(chat, kind))?;
        self.calls.retain(|_, call| call.run != track.run);
        Some(track)
    }
}

/// The id of the run of a turn, the same in every process: whoever takes a turn over goes on with its run, unless that has ended. A turn
/// that was given back meanwhile has its run in several parts.
pub(super) fn run_of_turn(chat: ChatId, turn: Seq, part: u32) -> RunId {
    let digest = Sha256::new()
        .chain_update(b"chatwright debug run of a turn")
        .chain_update(chat.as_uuid().as_bytes())
        .chain_update(turn.get().to_le_bytes())
        .chain_update(part.to_le_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    // Version 8 of RFC 9562: the bits are our own.
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    RunId::from_uuid(Uuid::from_bytes(bytes))
}

/// Which pieces were written lately, so that they are not written again.
#[derive(Default)]
pub(super) struct Lately {
    new: HashSet<(RunId, ContentHash)>,
    old: HashSet<(RunId, ContentHash)>,
}

impl Lately {
    /// Most of each of the two generations.
    const MAX: usize = 65_536;

    /// Whether it was not there yet. It is now.
    pub(super) fn insert(&mut self, run: RunId, hash: ContentHash) -> bool {
        if self.new.contains(&(run, hash)) {
            return false;
        }
        if self.new.len() >= Self::MAX {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert((run, hash));
        !self.old.contains(&(run, hash))
    }

    pub(super) fn clear(&mut self) {
        (self.new, self.old) = (HashSet::new(), HashSet::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_of_a_turn_is_the_same_everywhere_and_each_part_is_another() {
        let chat = |n| ChatId::from_uuid(Uuid::from_u128(n));
        let run = run_of_turn(chat(1), Seq::new(3), 1);
        assert_eq!(run.as_uuid().to_string(), "8384a158-12d7-8976-85e8-38200079c591");
        let others = [(2, 3, 1), (1, 4, 1), (1, 3, 2)]
            .map(|(n, turn, part)| run_of_turn(chat(n), Seq::new(turn), part));
        assert!(others.iter().all(|other| *other != run));
    }

    #[test]
    fn what_was_written_lately_is_known_for_two_generations() {
        let run = RunId::from_uuid(Uuid::from_u128(1));
        let hash = |n: usize| ContentHash::of(ChatId::from_uuid(Uuid::nil()), &n.to_le_bytes());
        let mut lately = Lately::default();
        assert!(lately.insert(run, hash(0)) && !lately.insert(run, hash(0)));
        for n in 1..=Lately::MAX {
            lately.insert(run, hash(n));
        }
        assert!(!lately.insert(run, hash(0)), "of the older generation");
        for n in 1..=2 * Lately::MAX {
            lately.insert(run, hash(Lately::MAX + n));
        }
        assert!(lately.insert(run, hash(0)));
    }
}
