//! What a debug recorder writes down: runs, their steps, and the contents that both refer to. Rows of a
//! [`DebugStore`](crate::port::DebugStore).
//!
//! A run is what was asked of models for one purpose: the answers of one turn, a summary, advice, a title. A step of it is one answer,
//! with all attempts at it. What stands in their JSON values is the recorder's own: to a store it is text.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::ModelId;
use crate::port::Purpose;
use crate::{ChatId, Json, RunId, Seq, StepId, Timestamp, UserId};

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunKind {
    /// The answers of a turn.
    ChatTurn,
    /// The title of a chat.
    TitleGeneration,
    /// A short text for a host's own purpose.
    Quickgen,
    /// A summary of older history.
    Compaction,
    /// Advice to the model of a turn.
    Advisor,
}

impl RunKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::ChatTurn, Self::TitleGeneration, Self::Quickgen, Self::Compaction, Self::Advisor];

    /// Its name in storage.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChatTurn => "chat_turn",
            Self::TitleGeneration => "title_generation",
            Self::Quickgen => "quickgen",
            Self::Compaction => "compaction",
            Self::Advisor => "advisor",
        }
    }

    /// The kind of that name, if this version knows it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl From<Purpose> for RunKind {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Turn => Self::ChatTurn,
            Purpose::Compaction => Self::Compaction,
            Purpose::Advisor => Self::Advisor,
            Purpose::Title => Self::TitleGeneration,
        }
    }
}

/// How far a run or a step is. Their order is the one in which a status may follow another: see D3 of
/// [`DebugStore`](crate::port::DebugStore).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DebugStatus {
    /// It goes on.
    #[default]
    InProgress,
    /// Somebody stopped it, or its process is gone.
    Interrupted,
    /// It failed.
    Error,
    /// It is done.
    Completed,
}

impl DebugStatus {
    /// All of them, ascending.
    pub const ALL: [Self; 4] = [Self::InProgress, Self::Interrupted, Self::Error, Self::Completed];

    /// Its name in storage.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Interrupted => "interrupted",
            Self::Error => "error",
            Self::Completed => "completed",
        }
    }

    /// The status of that name, if this version knows it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether it is an end.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::InProgress)
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugRun {
    /// Which run.
    pub id: RunId,
    /// The chat that asked.
    pub chat: ChatId,
    /// The root of its family, if that is another chat. It stays when that chat is gone.
    pub root: Option<ChatId>,
    /// The chat that spawned it, if one did. It stays when that chat is gone.
    pub parent: Option<ChatId>,
    /// Whose chat it is, as far as is known.
    pub owner: Option<UserId>,
    /// What for.
    pub kind: RunKind,
    /// The message of a user with which the turn began that it is part of.
    pub turn: Option<Seq>,
    /// The last record that its first prompt was made of.
    pub tip: Option<Seq>,
    /// Who was asked.
    pub model: Option<ModelId>,
    /// How far it is.
    pub status: DebugStatus,
    /// What a list of runs shows: a JSON object.
    pub summary: Json,
    /// When it began, by the recorder's clock.
    pub started_at: Timestamp,
    /// When something last happened to it, or the process that writes it was alive.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl DebugRun {
    /// A run that begins now, and of which nothing else is known.
    pub fn new(id: RunId, chat: ChatId, kind: RunKind, now: Timestamp) -> Self {
        Self {
            id,
            chat,
            root: None,
            parent: None,
            owner: None,
            kind,
            turn: None,
            tip: None,
            model: None,
            status: DebugStatus::InProgress,
            summary: Json::encode(&serde_json::Map::new()).expect("an empty object encodes"),
            started_at: now,
            updated_at: now,
            finished_at: None,
        }
    }

    /// As a store writes a new one: it has an end iff it has ended, by default when something last happened to it.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.finished_at = settled(self.status, self.finished_at, self.updated_at);
        self
    }

    /// Changes it as D1, D3 and D5 of [`DebugStore`](crate::port::DebugStore) say. `false`: nothing is changed, because it is further
    /// than the change would take it.
    pub fn apply(&mut self, change: &RunChange, now: Timestamp) -> bool {
        let RunChange { status, finished_at, turn, tip, model, summary } = change;
        if status.is_some_and(|status| status < self.status) {
            return false;
        }
        self.status = status.unwrap_or(self.status);
        if self.status.is_terminal() && self.finished_at.is_none() {
            self.finished_at = Some(finished_at.unwrap_or(now));
        }
        keep(&mut self.turn, turn.as_ref());
        keep(&mut self.tip, tip.as_ref());
        keep(&mut self.model, model.as_ref());
        if let Some(summary) = summary {
            self.summary = summary.clone();
        }
        self.updated_at = self.updated_at.max(now);
        true
    }
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugStep {
    /// Which step.
    pub id: StepId,
    /// The run that it belongs to.
    pub run: RunId,
    /// The chat of that run.
    pub chat: ChatId,
    /// Its place in the run, from 1. The store gives it: what a new step says is not looked at.
    pub number: u32,
    /// How far it is.
    pub status: DebugStatus,
    /// Who was asked.
    pub model: Option<ModelId>,
    /// The last record that its prompt was made of.
    pub tip: Option<Seq>,
    /// The answer as it was stored in the chat.
    pub answer: Option<Seq>,
    /// What it took.
    pub usage: Option<Json>,
    /// What went wrong.
    pub error: Option<Json>,
    /// What a list of steps shows.
    pub metadata: Option<Json>,
    /// What was asked.
    pub request: Option<Json>,
    /// What was answered.
    pub response: Option<Json>,
    /// The attempts at it.
    pub attempts: Option<Json>,
    /// When it began, by the recorder's clock.
    pub started_at: Timestamp,
    /// When something last happened to it, or the process that writes it was alive.
    pub updated_at: Timestamp,
    /// When it ended, as far as is known.
    pub finished_at: Option<Timestamp>,
}

impl DebugStep {
    /// A step that begins now, and of which nothing else is known.
    pub fn new(id: StepId, run: RunId, chat: ChatId, now: Timestamp) -> Self {
        Self {
            id,
            run,
            chat,
            number: 0,
            status: DebugStatus::InProgress,
            model: None,
            tip: None,
            answer: None,
            usage: None,
            error: None,
            metadata: None,
            request: None,
            response: None,
            attempts: None,
            started_at: now,
            updated_at: now,
            finished_at: None,
        }
    }

    /// As a store writes a new one: it has an end iff it has ended, by default when something last happened to it.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.finished_at = settled(self.status, self.finished_at, self.updated_at);
        self
    }

    /// Changes it as D3 and D5 of [`DebugStore`](crate::port::DebugStore) say. `false`: nothing is changed, because it is further than
    /// the change would take it.
    pub fn apply(&mut self, change: &StepChange, now: Timestamp) -> bool {
        let StepChange { status, finished_at, model, tip, answer, .. } = change;
        if status.is_some_and(|status| status < self.status) {
            return false;
        }
        self.status = status.unwrap_or(self.status);
        // A retry that succeeds ends a step later than the failure before it.
        if self.status.is_terminal() && (status.is_some() || self.finished_at.is_none()) {
            self.finished_at = Some(finished_at.unwrap_or(now));
        }
        keep(&mut self.model, model.as_ref());
        keep(&mut self.tip, tip.as_ref());
        keep(&mut self.answer, answer.as_ref());
        change.usage.apply(&mut self.usage);
        change.error.apply(&mut self.error);
        change.metadata.apply(&mut self.metadata);
        change.request.apply(&mut self.request);
        change.response.apply(&mut self.response);
        change.attempts.apply(&mut self.attempts);
        self.updated_at = self.updated_at.max(now);
        true
    }

    /// How many bytes its JSON values have.
    pub fn bytes(&self) -> usize {
        let Self { usage, error, metadata, request, response, attempts, .. } = self;
        [usage, error, metadata, request, response, attempts].into_iter().flatten().map(Json::len).sum()
    }

    /// Without what was asked, what was answered and the attempts at it.
    #[must_use]
    pub fn outline(mut self) -> Self {
        (self.request, self.response, self.attempts) = (None, None, None);
        self
    }
}

fn settled(status: DebugStatus, end: Option<Timestamp>, updated_at: Timestamp) -> Option<Timestamp> {
    status.is_terminal().then(|| end.unwrap_or(updated_at))
}

fn keep<T: Clone>(old: &mut Option<T>, new: Option<&T>) {
    if let Some(new) = new {
        *old = Some(new.clone());
    }
}

/// What becomes of an optional value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is this from now on.
    Set(T),
    /// It is gone.
    Clear,
}

impl<T: Clone> Change<T> {
    /// Does it.
    pub fn apply(&self, value: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Set(new) => *value = Some(new.clone()),
            Self::Clear => *value = None,
        }
    }
}

/// What becomes of a run. What is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunChange {
    /// How far it is.
    pub status: Option<DebugStatus>,
    /// When it ended, if it has: the time of the write by default.
    pub finished_at: Option<Timestamp>,
    /// The message of a user with which its turn began.
    pub turn: Option<Seq>,
    /// The last record that its first prompt was made of.
    pub tip: Option<Seq>,
    /// Who was asked.
    pub model: Option<ModelId>,
    /// What a list of runs shows.
    pub summary: Option<Json>,
}

/// What becomes of a step. What is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepChange {
    /// How far it is.
    pub status: Option<DebugStatus>,
    /// When it ended, if it has: the time of the write by default.
    pub finished_at: Option<Timestamp>,
    /// Who was asked.
    pub model: Option<ModelId>,
    /// The last record that its prompt was made of.
    pub tip: Option<Seq>,
    /// The answer as it was stored in the chat.
    pub answer: Option<Seq>,
    /// What it took.
    pub usage: Change<Json>,
    /// What went wrong.
    pub error: Change<Json>,
    /// What a list of steps shows.
    pub metadata: Change<Json>,
    /// What was asked.
    pub request: Change<Json>,
    /// What was answered.
    pub response: Change<Json>,
    /// The attempts at it.
    pub attempts: Change<Json>,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DebugWrite {
    /// A run begins.
    CreateRun(Box<DebugRun>),
    /// A run changes.
    UpdateRun {
        /// Its chat.
        chat: ChatId,
        /// Which run.
        run: RunId,
        /// What becomes of it.
        change: Box<RunChange>,
        /// When.
        now: Timestamp,
    },
    /// A step begins. Something happens to its run, at the step's `updated_at`.
    CreateStep(Box<DebugStep>),
    /// A step changes. Something happens to its run as well, also if that has ended.
    UpdateStep {
        /// Its chat.
        chat: ChatId,
        /// Its run.
        run: RunId,
        /// Which step.
        step: StepId,
        /// What becomes of it.
        change: Box<StepChange>,
        /// When.
        now: Timestamp,
    },
    /// The process that writes a run, and a step of it, is alive. A step that has ended stays as it is.
    Touch {
        /// Their chat.
        chat: ChatId,
        /// The run.
        run: RunId,
        /// The step.
        step: Option<StepId>,
        /// When.
        now: Timestamp,
    },
    /// A piece of a run's contents, also of one that has ended.
    Content {
        /// The chat.
        chat: ChatId,
        /// The run that refers to it.
        run: RunId,
        /// Its name: [`ContentHash::of`] its chat and bytes.
        hash: ContentHash,
        /// The bytes.
        bytes: Box<[u8]>,
    },
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugWritten {
    /// It is done, or was before.
    Done,
    /// The step has this number.
    Step(u32),
    /// Nothing has changed: what is there is further than the change would take it.
    Kept,
    /// Nothing has changed: there is no such run, or no such step in it, or it is another chat's.
    Missing,
    /// Nothing has changed: the run is over.
    Finished,
}

/// How much of a step is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What [`DebugStep::outline`] leaves.
    Outline,
    /// All of it.
    Whole,
}

/// Which runs are deleted: those that all that is given applies to. At least one condition must be given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugDelete {
    /// Those of this chat.
    pub chat: Option<ChatId>,
    /// Those that began before this.
    pub started_before: Option<Timestamp>,
    /// Those to which nothing has happened since this, finished or not.
    pub updated_before: Option<Timestamp>,
    /// Those whose turn began in this part of the log, or whose prompt ended in it, or of which a step has its prompt's end or its
    /// answer there.
    pub within: Option<Range<Seq>>,
}

impl DebugDelete {
    /// Whether a run with these steps is one of them.
    pub fn has(&self, run: &DebugRun, steps: &[DebugStep]) -> bool {
        let Self { chat, started_before, updated_before, within } = self;
        let own = [run.turn, run.tip];
        let places =
            || own.into_iter().chain(steps.iter().flat_map(|step| [step.tip, step.answer])).flatten();
        chat.is_none_or(|chat| chat == run.chat)
            && started_before.is_none_or(|before| run.started_at < before)
            && updated_before.is_none_or(|before| run.updated_at < before)
            && within.as_ref().is_none_or(|within| places().any(|place| within.contains(&place)))
    }

    /// Whether no condition is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a sweep ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The runs that nobody wrote any more.
    pub runs: Vec<(ChatId, RunId)>,
    /// How many steps were ended: those of these runs, and others that nobody wrote any more.
    pub steps: u64,
}

/// The name of a piece of contents: SHA-256 over the chat's id and the bytes. The id is part of it, so that nobody can tell from two
/// names that two chats have the same content. As text it is lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The name of these bytes in this chat.
    pub fn of(chat: ChatId, bytes: &[u8]) -> Self {
        Self(Sha256::new().chain_update(chat.as_uuid().as_bytes()).chain_update(bytes).finalize().into())
    }

    /// The name with this value.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The value.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// Text that is the name of no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("64 hexadecimal digits were expected")]
pub struct InvalidHash;

impl FromStr for ContentHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(InvalidHash);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0]).ok_or(InvalidHash)? << 4 | digit(pair[1]).ok_or(InvalidHash)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn chat(n: u128) -> ChatId {
        ChatId::from_uuid(Uuid::from_u128(n))
    }

    fn run() -> DebugRun {
        DebugRun::new(RunId::from_uuid(Uuid::from_u128(9)), chat(1), RunKind::ChatTurn, at(10))
    }

    fn to(status: DebugStatus) -> RunChange {
        RunChange { status: Some(status), ..RunChange::default() }
    }

    #[test]
    fn every_name_is_read_as_what_it_names() {
        for kind in RunKind::ALL {
            assert_eq!(RunKind::from_name(kind.as_str()), Some(kind));
        }
        for status in DebugStatus::ALL {
            assert_eq!(DebugStatus::from_name(status.as_str()), Some(status));
        }
        assert!(DebugStatus::ALL.is_sorted());
    }

    #[test]
    fn a_status_only_rises_and_a_run_ends_once() {
        let mut run = run();
        assert!(run.apply(&to(DebugStatus::Interrupted), at(20)));
        assert!(run.apply(&to(DebugStatus::Completed), at(30)));
        assert!(!run.apply(&to(DebugStatus::Error), at(40)));
        assert_eq!(
            (run.status, run.finished_at, run.updated_at),
            (DebugStatus::Completed, Some(at(20)), at(30))
        );
    }

    #[test]
    fn a_step_ends_when_its_last_attempt_does() {
        let mut step = DebugStep::new(StepId::from_uuid(Uuid::from_u128(5)), run().id, chat(1), at(10));
        let error = Json::parse("1").expect("JSON");
        let failed = StepChange {
            status: Some(DebugStatus::Error),
            error: Change::Set(error.clone()),
            ..StepChange::default()
        };
        assert!(step.apply(&failed, at(20)));
        assert_eq!((step.finished_at, &step.error), (Some(at(20)), &Some(error)));
        let healed = StepChange {
            status: Some(DebugStatus::Completed),
            error: Change::Clear,
            finished_at: Some(at(33)),
            ..StepChange::default()
        };
        assert!(step.apply(&healed, at(40)));
        assert_eq!((step.finished_at, &step.error, step.updated_at), (Some(at(33)), &None, at(40)));
        assert!(!step.apply(&failed, at(50)), "what is done does not fail");
        assert!(step.apply(&StepChange::default(), at(60)));
        assert_eq!(step.finished_at, Some(at(33)));
    }

    #[test]
    fn what_is_new_has_an_end_iff_it_has_ended() {
        for (status, given, kept) in [
            (DebugStatus::InProgress, None, None),
            (DebugStatus::InProgress, Some(at(7)), None),
            (DebugStatus::Error, Some(at(7)), Some(at(7))),
            (DebugStatus::Error, None, Some(at(10))),
        ] {
            let new = DebugRun { status, finished_at: given, ..run() };
            assert_eq!(new.settled().finished_at, kept);
            let step = DebugStep::new(StepId::from_uuid(Uuid::from_u128(5)), run().id, chat(1), at(10));
            assert_eq!(DebugStep { status, finished_at: given, ..step }.settled().finished_at, kept);
        }
    }

    #[test]
    fn all_conditions_of_a_deletion_must_hold() {
        let mut run = run();
        run.turn = Some(Seq::new(5));
        let within = |range| DebugDelete { within: Some(range), ..DebugDelete::default() };
        assert!(within(Seq::new(5)..Seq::new(6)).has(&run, &[]));
        assert!(!within(Seq::new(6)..Seq::new(9)).has(&run, &[]));
        let mut step = DebugStep::new(StepId::from_uuid(Uuid::from_u128(5)), run.id, chat(1), at(10));
        step.answer = Some(Seq::new(8));
        assert!(within(Seq::new(6)..Seq::new(9)).has(&run, &[step]));
        let by_time = |ms| DebugDelete { started_before: Some(at(ms)), ..within(Seq::new(5)..Seq::new(6)) };
        assert!(by_time(11).has(&run, &[]) && !by_time(10).has(&run, &[]));
        assert!(!DebugDelete { chat: Some(chat(2)), ..DebugDelete::default() }.has(&run, &[]));
        assert!(DebugDelete::default().is_empty());
    }

    #[test]
    fn the_name_of_content_is_read_as_it_is_written() {
        let hash = ContentHash::of(chat(1), b"a");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_ne!(hash, ContentHash::of(chat(2), b"a"));
        assert_eq!("zz".repeat(32).parse::<ContentHash>(), Err(InvalidHash));
        let json = serde_json::to_string(&hash).expect("text");
        assert_eq!(serde_json::from_str::<ContentHash>(&json).expect("a name"), hash);
    }
}
