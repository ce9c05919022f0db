//! The task that writes down what was queued.

mod batch;
mod begun;
mod ended;
mod exchange;

use std::collections::{BTreeSet, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Weak;
use std::time::Duration;

use chatwright_core::debug::{Change, DebugStatus, DebugWrite, RunKind, StepChange};
use chatwright_core::port::{StoreError, StoreErrorKind};
use chatwright_core::{ChatId, Gen, RunId, Seq, StepId, Timestamp};
use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Shared;
use super::job::Job;
use super::payload;
use super::track::{Lately, Track, Tracks};
use crate::redact::Redactor;
use crate::service::STORE_WITHIN;
use crate::{DebugService, UpdateError};

/// How often something is written that fails, and after which pause.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// How long nothing is looked at when all is done. Whoever queues something wakes whoever waits for it, which takes longer than all else that
/// is done on the way of a chat: so it happens once in this time, and not for each job.
const REST: Duration = Duration::from_millis(10);
/// Most jobs that are taken at once.
const JOBS_MAX: usize = 64;
/// What has fewer bytes is done at once; more is left to a thread that may take its time.
const LIGHT_BYTES: usize = 16 * 1024;
/// How long a run without a turn waits for another attempt.
const RETRY_WITHIN: Duration = Duration::from_secs(60);
/// How long a turn may say nothing to a model before it counts as over, if nobody says that it is.
const IDLE_MAX: Duration = Duration::from_secs(60 * 60);
/// How often what is too old is deleted, 1,000 runs at most: no process writes more of them meanwhile.
const PURGE_EVERY: Duration = Duration::from_secs(60);

struct Writer {
    shared: Weak<Shared>,
    service: DebugService,
    redactor: Redactor,
    /// Keys that requests were sent with, by their hashes.
    learnt: HashSet<[u8; 32]>,
    tracks: Tracks,
    lately: Lately,
    batch: Vec<DebugWrite>,
    batch_bytes: usize,
    told: BTreeSet<(ChatId, RunId, Option<StepId>)>,
}

/// Writes until nobody can queue anything any more.
pub(super) async fn run(
    shared: Weak<Shared>,
    service: DebugService,
    redactor: Redactor,
    mut jobs: mpsc::Receiver<Job>,
) {
    let mut changed = service.stale_after_changes();
    let mut writer = Writer {
        shared,
        service,
        redactor,
        learnt: HashSet::new(),
        tracks: Tracks::default(),
        lately: Lately::default(),
        batch: Vec::new(),
        batch_bytes: 0,
        told: BTreeSet::new(),
    };
    let (mut signed, mut swept, mut purged) = (Instant::now(), Instant::now(), Instant::now());
    let mut rests = Instant::now();
    let mut taken = Vec::with_capacity(JOBS_MAX);
    loop {
        let sign_every = writer.service.sign_every();
        let sweep_every = (writer.service.stale_after() / 5).max(Duration::from_secs(1));
        tokio::select! {
            biased;
            () = sleep_until(signed + sign_every) => {
                writer.work(Work::Signs).await;
                signed = Instant::now();
            }
            changed = changed.changed() => if changed.is_err() { return },
            () = sleep_until(swept + sweep_every) => {
                writer.work(Work::Sweep).await;
                swept = Instant::now();
            }
            () = sleep_until(purged + PURGE_EVERY) => {
                writer.work(Work::Purge).await;
                purged = Instant::now();
            }
            // Last: there may always be more.
            count = async {
                sleep_until(rests).await;
                jobs.recv_many(&mut taken, JOBS_MAX).await
            } => {
                if count == 0 {
                    return;
                }
                for job in taken.drain(..) {
                    writer.work(Work::Job(job)).await;
                }
                if jobs.is_empty() {
                    writer.work(Work::Write).await;
                    rests = Instant::now() + REST;
                }
            }
        }
    }
}

/// What the writer does.
enum Work {
    Job(Job),
    Write,
    Signs,
    Sweep,
    Purge,
}

fn report<T>(done: Result<T, StoreError>, what: &str) {
    if let Err(error) = done {
        tracing::debug!(%error, "{what}");
    }
}

/// A store that panics, or does not answer in time, has failed like any other.
async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let failed = |kind, words| Err(StoreError::new(kind, words));
    match timeout(STORE_WITHIN, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => failed(StoreErrorKind::Other, "the debug store panicked"),
        Err(_) => failed(StoreErrorKind::Unavailable, "the debug store does not answer"),
    }
}

impl Writer {
    /// Does it. What panics, be it a port of the host's, is lost, and whatever is under way is begun anew.
    async fn work(&mut self, work: Work) {
        let done = async {
            match work {
                Work::Job(job) => self.take(job).await,
                Work::Write => self.write().await,
                Work::Signs => self.give_signs().await,
                Work::Sweep => {
                    let done = in_time(self.service.sweep()).await;
                    report(done, "abandoned debug runs could not be ended");
                }
                Work::Purge => {
                    let done = in_time(self.service.purge_expired()).await;
                    report(done, "old debug runs could not be deleted");
                }
            }
        };
        if AssertUnwindSafe(done).catch_unwind().await.is_err() {
            // What a panic says may quote a chat.
            tracing::error!("a debug record was lost to a panic");
            self.tracks = Tracks::default();
            self.lost(1);
        }
    }

    async fn take(&mut self, job: Job) {
        match job {
            Job::Look(scope) => drop(self.service.is_enabled(Some(&scope.owner), scope.chat).await),
            Job::Began(began) => self.began(*began).await,
            Job::Sent { call, number, sent } => self.sent(call, number, *sent).await,
            Job::Received { call, number, received } => self.received(call, number, *received).await,
            Job::Ended(ended) => self.ended(*ended).await,
            Job::Stored { chat, r#gen, answer } => self.stored(chat, r#gen, answer).await,
            Job::Judged { chat, r#gen, status, why } => {
                self.judged(chat, r#gen, status, why.as_deref()).await;
            }
            Job::TurnEnded { chat, status, now } => self.leave(chat, Some(status), now).await,
            Job::Released { chat, now } => self.leave(chat, None, now).await,
            Job::Cut { chat, from, at, now } => {
                self.forget_turns(chat, from, at);
                self.write().await;
                self.service.clean_up_edit(chat, from..at, now);
            }
            Job::Archived { chat, at, now } => {
                self.forget_turns(chat, Seq::ZERO, at);
                self.write().await;
                self.service.clean_up_archive(chat, at, now);
            }
            Job::Flush(answer) => {
                self.write().await;
                // Nobody may be waiting any more.
                let _ = answer.send(());
            }
        }
    }

    /// Ends what is under way for a turn: its run with this status, or by how its last step ended.
    async fn leave(&mut self, chat: ChatId, status: Option<DebugStatus>, now: Timestamp) {
        for kind in self.tracks.kinds(chat) {
            // A title is none of the turn's.
            if !matches!(kind, RunKind::TitleGeneration | RunKind::Quickgen) {
                // How the turn ends says nothing of a summary in it.
                let status = status.filter(|_| kind == RunKind::ChatTurn);
                self.finalize(chat, kind, status, Some(now)).await;
            }
        }
    }

    /// What was deleted is not written on.
    fn forget_turns(&mut self, chat: ChatId, from: Seq, before: Seq) {
        for kind in self.tracks.kinds(chat) {
            let of = |track: &Track| track.turn.is_some_and(|turn| turn >= from && turn < before);
            if self.tracks.runs.get(&(chat, kind)).is_some_and(of) {
                self.tracks.remove(chat, kind);
            }
        }
    }

    async fn stored(&mut self, chat: ChatId, r#gen: Gen, answer: Seq) {
        let Some(track) = self.tracks.runs.get_mut(&(chat, RunKind::ChatTurn)) else { return };
        let Some(step) = track.step.as_mut().filter(|step| step.is_of(r#gen)) else { return };
        let (run, id) = (track.run, step.id);
        let mut change = StepChange { answer: Some(answer), ..StepChange::default() };
        if step.status < DebugStatus::Completed {
            // Its stream was cut, and what there was of it counts.
            step.status = DebugStatus::Completed;
            change.status = Some(step.status);
        }
        self.update_step(chat, run, id, change).await;
    }

    /// The loop says more of an attempt than its stream: nobody listened any more, because it took too long, or because it was too long;
    /// or its end was no answer.
    async fn judged(&mut self, chat: ChatId, r#gen: Gen, status: DebugStatus, why: Option<&str>) {
        for kind in [RunKind::ChatTurn, RunKind::Compaction] {
            let Some(track) = self.tracks.runs.get_mut(&(chat, kind)) else { continue };
            let run = track.run;
            let Some(step) = track.step.as_mut().filter(|step| step.is_of(r#gen)) else { continue };
            let mut change = StepChange::default();
            if let Some(why) = why.filter(|_| !step.has_error) {
                step.has_error = true;
                change.error = Change::Set(payload::error_of_kind(why));
            }
            if status > step.status {
                step.status = status;
                change.status = Some(status);
            }
            if change == StepChange::default() {
                continue;
            }
            let id = step.id;
            self.update_step(chat, run, id, change).await;
        }
    }

    /// Ends a run, with this status or by how its last step ended; at this time, or when that ended.
    async fn finalize(
        &mut self,
        chat: ChatId,
        kind: RunKind,
        status: Option<DebugStatus>,
        at: Option<Timestamp>,
    ) {
        let Some(track) = self.tracks.remove(chat, kind) else { return };
        let status = status.unwrap_or_else(|| track.own_end());
        for step in track.steps().filter(|step| !step.status.is_terminal()) {
            // Its end was dropped.
            let change = StepChange { status: Some(DebugStatus::Interrupted), ..StepChange::default() };
            self.update_step(chat, track.run, step.id, change).await;
        }
        self.write().await;
        let at = at.or(track.ended_at).unwrap_or_else(|| self.service.now());
        for number in 1..=TRIES {
            let seed = track.seed.clone();
            match self.service.finalize_run_at(chat, track.run, status, seed, at).await {
                Ok(()) => break,
                Err(UpdateError::Store(_)) if number < TRIES => sleep(PAUSE * number).await,
                Err(error) => {
                    tracing::debug!(%chat, %error, "a debug run was not ended; it will be swept");
                    break;
                }
            }
        }
    }

    /// Says of everything that is under way that it is, and ends what nobody goes on with.
    async fn give_signs(&mut self) {
        let idle = |(key, track): (&(ChatId, RunKind), &Track)| {
            // The end of a call that is open may have been dropped.
            let is_idle = key.1 != RunKind::ChatTurn && track.open_calls == 0;
            let longest = if is_idle { RETRY_WITHIN } else { IDLE_MAX };
            (track.last_seen.elapsed() >= longest).then_some(*key)
        };
        let idle: Vec<_> = self.tracks.runs.iter().filter_map(idle).collect();
        for (chat, kind) in idle {
            self.finalize(chat, kind, None, None).await;
            // The turn may go on all the same, in another part of its run.
            if let Some(shared) = self.shared.upgrade().filter(|_| kind == RunKind::ChatTurn) {
                shared.forget_chat(chat);
            }
        }
        let now: Timestamp = self.service.now();
        let sign = |((chat, _), track): (&(ChatId, RunKind), &Track)| {
            let (chat, run) = (*chat, track.run);
            let open = track.steps().filter(|step| !step.status.is_terminal()).map(|step| Some(step.id));
            let steps: Vec<_> = open.collect();
            let steps = if steps.is_empty() { vec![None] } else { steps };
            steps.into_iter().map(move |step| DebugWrite::Touch { chat, run, step, now })
        };
        let signs: Vec<_> = self.tracks.runs.iter().flat_map(sign).collect();
        for sign in signs {
            self.push(sign).await;
        }
        self.write().await;
    }
}

/// Does what takes long on a thread that may take its time.
async fn heavy<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if bytes < LIGHT_BYTES {
        return Some(work());
    }
    let mut thread = JoinSet::new();
    thread.spawn_blocking(work);
    let done = thread.join_next().await.and_then(Result::ok);
    if done.is_none() {
        // What a panic says may quote a chat.
        tracing::error!("a debug record could not be made");
    }
    done
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
