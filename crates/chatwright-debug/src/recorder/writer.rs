//! The task that writes down what was queued.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chatwright_core::debug::{
    Change, DebugRun, DebugStatus, DebugStep, DebugWrite, DebugWritten, RunKind, StepChange,
};
use chatwright_core::limits::{DEBUG_WRITE_BYTES_MAX, DEBUG_WRITES_MAX};
use chatwright_core::model::{CallScope, FinishReason, Message, ModelId, Role, Usage};
use chatwright_core::port::{DebugStore, StoreError, StoreErrorKind};
use chatwright_core::{ChatId, Gen, RunId, Seq, StepId, Timestamp};
use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Shared;
use super::capture::Gathered;
use super::http::{Received, Sent};
use super::job::{Began, CallNumber, End, Ended, Job, Prompt, Tools};
use super::payload;
use super::track::{Followed, Lately, OpenCall, OpenStep, Track, Tracks, run_of_turn};
use crate::content::{Place, Rope};
use crate::doc::{AttemptDoc, AttemptStatus, BodyDoc, DOC_VERSION, ExchangeDoc, RequestDoc, ResponseDoc};
use crate::redact::{Captured, Redactor};
use crate::service::{STORE_WITHIN, Told};
use crate::{DebugService, Summary};

/// How often a batch is tried, and after which pause.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// Most jobs that are taken at once.
const JOBS_MAX: usize = 64;
/// What has fewer bytes is done at once; more is left to a thread that may take its time.
const LIGHT_BYTES: usize = 16 * 1024;
/// How long a run without a turn waits for another attempt.
const RETRY_WITHIN: Duration = Duration::from_secs(60);
/// How long a turn may say nothing to a model before it counts as over, if nobody says that it is.
const IDLE_MAX: Duration = Duration::from_secs(60 * 60);
/// Most parts of a turn's run that are looked for.
const PARTS_MAX: u32 = 64;
/// Most bytes that the prompts may take that are followed.
const FOLLOWED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How often what is too old is deleted.
const PURGE_EVERY: Duration = Duration::from_secs(60 * 60);
/// Most characters of what a user said that are looked at for the label of a run.
const ASKED_CHARS_MAX: usize = 4_000;
/// Most bytes of all headers of a message.
const HEADERS_BYTES_MAX: usize = 32 * 1024;

struct Writer {
    shared: Weak<Shared>,
    service: DebugService,
    redactor: Redactor,
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
        tracks: Tracks::default(),
        lately: Lately::default(),
        batch: Vec::new(),
        batch_bytes: 0,
        told: BTreeSet::new(),
    };
    let (mut signed, mut swept, mut purged) = (Instant::now(), Instant::now(), Instant::now());
    let mut taken = Vec::with_capacity(JOBS_MAX);
    loop {
        let sign_every = writer.service.sign_every();
        let sweep_every = (writer.service.stale_after() / 5).max(Duration::from_secs(1));
        tokio::select! {
            biased;
            () = sleep_until(signed + sign_every) => {
                signed = Instant::now();
                writer.work(Work::Signs).await;
            }
            changed = changed.changed() => if changed.is_err() { return },
            () = sleep_until(swept + sweep_every) => {
                swept = Instant::now();
                writer.work(Work::Sweep).await;
            }
            () = sleep_until(purged + PURGE_EVERY) => {
                purged = Instant::now();
                writer.work(Work::Purge).await;
            }
            // Last: there may always be more.
            count = jobs.recv_many(&mut taken, JOBS_MAX) => {
                if count == 0 {
                    return;
                }
                for job in taken.drain(..) {
                    writer.work(Work::Job(job)).await;
                }
                if jobs.is_empty() {
                    writer.work(Work::Write).await;
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

fn report<T>(done: Result<Result<T, StoreError>, tokio::time::error::Elapsed>, what: &str) {
    match done {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "{what}"),
        Err(_) => tracing::debug!("{what} in time"),
    }
}

/// A store that panics has failed like any other.
async fn caught<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let panicked = |_| Err(StoreError::new(StoreErrorKind::Other, "the debug store panicked"));
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(panicked)
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

impl Writer {
    /// Does it. What panics, be it a port of the host's, is lost, and whatever is under way is begun anew.
    async fn work(&mut self, work: Work) {
        let done = async {
            match work {
                Work::Job(job) => self.take(job).await,
                Work::Write => self.write().await,
                Work::Signs => self.give_signs().await,
                Work::Sweep => {
                    let done = timeout(STORE_WITHIN, caught(self.service.sweep())).await;
                    report(done, "abandoned debug runs could not be ended");
                }
                Work::Purge => {
                    let done = timeout(STORE_WITHIN, caught(self.service.purge_expired())).await;
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
            Job::Began(began) => self.began(*began).await,
            Job::Sent { call, number, sent } => self.sent(call, number, *sent).await,
            Job::Received { call, number, received } => self.received(call, number, *received).await,
            Job::Ended(ended) => self.ended(*ended).await,
            Job::Stored { chat, r#gen, answer } => self.stored(chat, r#gen, answer).await,
            Job::Judged { chat, r#gen, status, why } => {
                self.judged(chat, r#gen, status, why.as_deref()).await;
            }
            Job::TurnEnded { chat, status } => {
                for kind in self.tracks.kinds(chat) {
                    // A title is none of the turn's.
                    if !matches!(kind, RunKind::TitleGeneration | RunKind::Quickgen) {
                        // How the turn ends says nothing of a summary in it.
                        let status = (kind == RunKind::ChatTurn).then_some(status);
                        self.finalize(chat, kind, status).await;
                    }
                }
            }
            Job::Released { chat } => {
                for kind in self.tracks.kinds(chat) {
                    if !matches!(kind, RunKind::TitleGeneration | RunKind::Quickgen) {
                        self.finalize(chat, kind, None).await;
                    }
                }
            }
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

    /// What was deleted is not written on.
    fn forget_turns(&mut self, chat: ChatId, from: Seq, before: Seq) {
        for kind in self.tracks.kinds(chat) {
            let of = |track: &Track| track.turn.is_some_and(|turn| turn >= from && turn < before);
            if self.tracks.runs.get(&(chat, kind)).is_some_and(of) {
                self.tracks.remove(chat, kind);
            }
        }
    }

    async fn began(&mut self, began: Began) {
        let scope = Arc::clone(&began.scope);
        let (chat, kind) = (scope.chat, RunKind::from(scope.purpose));
        if !self.service.is_enabled(Some(&scope.owner), chat).await {
            return self.forget(&scope);
        }
        let Some(step) = self.step_of(&scope, &began).await else { return self.forget(&scope) };
        // Room for it in the batch may have been made by a write that found the run ended.
        let Some(track) = self.tracks.runs.get_mut(&(chat, kind)) else { return self.forget(&scope) };
        let Some(step) = track.step.as_mut().filter(|open| open.id == step) else { return };
        track.open_calls += 1;
        let number = u32::try_from(step.attempts.len()).unwrap_or(u32::MAX).saturating_add(1);
        let started_at = began.at.as_millis();
        step.attempts.push(AttemptDoc { number, r#gen: scope.r#gen, started_at, ..AttemptDoc::default() });
        step.metadata.attempts = number;
        let call = OpenCall {
            chat,
            kind,
            run: track.run,
            step: step.id,
            attempt: step.attempts.len() - 1,
            redactor: self.redactor.clone(),
            exchanges: Default::default(),
        };
        let (run, step) = (call.run, call.step);
        self.tracks.calls.insert(began.call, call);
        let request = self.request(began).await;
        let change = StepChange { request: Change::Set(payload::json_of(&request)), ..StepChange::default() };
        self.update_step(chat, run, step, change).await;
    }

    fn forget(&self, scope: &CallScope) {
        if let Some(shared) = self.shared.upgrade() {
            shared.forget(scope);
        }
    }

    /// The step that a call is an attempt at; its run and itself are created if they are not there.
    async fn step_of(&mut self, scope: &CallScope, began: &Began) -> Option<StepId> {
        let (chat, kind) = (scope.chat, RunKind::from(scope.purpose));
        let goes_on = self.tracks.runs.get(&(chat, kind)).is_some_and(|track| match kind {
            RunKind::ChatTurn => track.turn == scope.turn,
            _ => scope.attempt > 1 || track.open_calls > 0,
        });
        if !goes_on {
            self.finalize(chat, kind, None).await;
            let (run, is_new) = self.run_of(scope).await?;
            let seed = Summary::seed(&self.redactor.text(&asked_in(&began.prompt)));
            if is_new {
                let mut new = DebugRun::new(run, chat, kind, began.at);
                (new.root, new.parent, new.owner) = (scope.root, scope.parent, Some(scope.owner.clone()));
                (new.turn, new.tip, new.model) = (scope.turn, scope.tip, Some(ModelId::clone(&began.model)));
                new.summary = seed.to_json();
                self.push(DebugWrite::CreateRun(Box::new(new))).await;
                self.told.insert((chat, run, None));
            }
            self.tracks.runs.insert((chat, kind), Track::new(run, scope, seed));
        }
        let now = self.service.now();
        let track = self.tracks.runs.get_mut(&(chat, kind))?;
        track.last_seen = Instant::now();
        if let Some(step) =
            track.step.as_ref().filter(|step| scope.attempt > 1 && step.status != DebugStatus::Completed)
        {
            return Some(step.id);
        }
        let id = StepId::mint(self.service.ids());
        let mut open = OpenStep::new(id);
        open.metadata.version = DOC_VERSION;
        open.metadata.purpose = Some(scope.purpose);
        let (run, before) = (track.run, track.step.replace(open));
        let before = before.filter(|before| !before.status.is_terminal());
        if kind != RunKind::ChatTurn {
            track.others.extend(before);
        } else if let Some(before) = before {
            // Its end was dropped.
            let change = StepChange { status: Some(DebugStatus::Interrupted), ..StepChange::default() };
            self.update_step(chat, run, before.id, change).await;
        }
        let mut step = DebugStep::new(id, run, chat, began.at);
        (step.model, step.tip, step.updated_at) =
            (Some(ModelId::clone(&began.model)), scope.tip, began.at.max(now));
        self.push(DebugWrite::CreateStep(Box::new(step))).await;
        self.told.insert((chat, run, Some(id)));
        Some(id)
    }

    /// The run that a call belongs to, and whether it is to be created.
    async fn run_of(&mut self, scope: &CallScope) -> Option<(RunId, bool)> {
        let minted = |ids: &dyn chatwright_core::port::Ids| (RunId::mint(ids), true);
        let turn = scope.turn.filter(|_| RunKind::from(scope.purpose) == RunKind::ChatTurn);
        let Some(turn) = turn else { return Some(minted(self.service.ids())) };
        // What is still in the batch may be the end of the part before.
        self.write().await;
        for part in 1..=PARTS_MAX {
            let run = run_of_turn(scope.chat, turn, part);
            match timeout(STORE_WITHIN, caught(self.service.store().run(scope.chat, run))).await {
                Ok(Ok(None)) => return Some((run, true)),
                Ok(Ok(Some(stored))) if stored.finished_at.is_none() => return Some((run, false)),
                Ok(Ok(Some(_))) => {}
                Ok(Err(error)) => {
                    tracing::debug!(chat = %scope.chat, %error, "a turn is not recorded");
                    self.lost(1);
                    return None;
                }
                Err(_) => {
                    tracing::debug!(chat = %scope.chat, "a turn is not recorded: the store does not answer");
                    self.lost(1);
                    return None;
                }
            }
        }
        Some(minted(self.service.ids()))
    }

    /// What was asked, with its contents written.
    async fn request(&mut self, began: Began) -> RequestDoc {
        let Began { scope, prompt, tools, settings, _grant: grant, .. } = began;
        let key = (scope.chat, RunKind::from(scope.purpose));
        let mut doc = RequestDoc { version: DOC_VERSION, ..RequestDoc::default() };
        let track = self.tracks.runs.get_mut(&key).expect("it was just looked for");
        let run = track.run;
        let before = track.prompt.take();
        let (mut followed, new) = match prompt {
            Prompt::Copied(messages, grown) => {
                (Some(Followed { grown, rope: Rope::new(scope.chat), messages: 0 }), Some(Ok(messages)))
            }
            Prompt::Shared(history) => (None, Some(Err(history))),
            Prompt::More { since, messages, grown } => match before.filter(|before| before.grown == since) {
                Some(before) => (Some(Followed { grown, ..before }), Some(Ok(messages))),
                None => (None, None),
            },
            Prompt::Dropped => (None, None),
        };
        let bytes = grant.bytes();
        let redactor = self.redactor.clone();
        let (count, lines) = match new {
            None => (0, None),
            Some(new) => {
                let made = heavy(bytes, move || match new {
                    Ok(messages) => (messages.len(), payload::messages(&redactor, &messages)),
                    Err(history) => (history.len(), payload::messages(&redactor, &history)),
                });
                made.await.map_or((0, None), |(count, lines)| (count, Some(lines)))
            }
        };
        let mut contents = Vec::new();
        let mut give = |hash, bytes: &[u8]| contents.push((hash, Box::from(bytes)));
        match (&lines, &mut followed) {
            (None, _) => {
                doc.missing =
                    Some("there was no room for the prompt, or what came before it was dropped".into());
                followed = None;
                self.forget(&scope);
            }
            (Some(lines), Some(followed)) => {
                followed.rope.push(lines, &mut give);
                followed.messages += count as u64;
                (doc.messages, doc.prompt) = (followed.messages, followed.rope.place(&mut give));
            }
            (Some(lines), None) => {
                let mut rope = Rope::new(scope.chat);
                rope.push(lines, &mut give);
                (doc.messages, doc.prompt) = (count as u64, rope.place(&mut give));
            }
        }
        drop(grant);
        self.contents(scope.chat, run, contents).await;
        let tools = match tools {
            Tools::New(tools) => {
                let redactor = self.redactor.clone();
                let count = tools.len();
                let lines =
                    heavy(LIGHT_BYTES, move || payload::tools(&redactor, &tools)).await.unwrap_or_default();
                Some((self.kept(scope.chat, run, &lines).await, count as u64))
            }
            Tools::Same => self.tracks.runs.get(&key).and_then(|track| track.tools),
        };
        if tools.is_none() {
            // They were told to a run that is over.
            doc.missing.get_or_insert_with(|| "the tools were not told again".into());
            self.forget(&scope);
        }
        (doc.tools, doc.tool_count) = tools.unwrap_or((None, 0));
        for (name, mut value) in settings {
            self.redactor.value(&mut value);
            doc.settings.insert(name.into(), value);
        }
        let room = self.followed_bytes() < FOLLOWED_BYTES_MAX;
        if let Some(track) = self.tracks.runs.get_mut(&key) {
            track.tools = tools;
            // Without room the next prompt is copied whole.
            track.prompt = followed.filter(|_| room);
        }
        doc
    }

    fn followed_bytes(&self) -> usize {
        let prompts = self.tracks.runs.values().filter_map(|track| track.prompt.as_ref());
        prompts.map(|followed| followed.rope.memory()).sum()
    }

    async fn sent(&mut self, call: CallNumber, number: u32, sent: Sent) {
        let Some((open, _)) = self.tracks.of_call(call) else { return };
        let (chat, run) = (open.chat, open.run);
        let redactor = open.redactor.for_exchange(&sent.headers, &sent.url);
        open.redactor = redactor.clone();
        let Sent { method, url, headers, body } = sent;
        let bytes = body.kept();
        let (length, dropped) = (body.bytes, body.dropped());
        let made = heavy(bytes, move || {
            let (head, tail, _grant) = body.into_parts();
            let captured = Captured { head, tail, dropped };
            let text = redactor.body(&headers, &captured).text;
            let address = redactor.url(&url);
            let path = path_of(&address).into();
            let doc = ExchangeDoc {
                method,
                path,
                url: address.into(),
                request_headers: bounded(redactor.headers(&headers)),
                end: "open".into(),
                ..ExchangeDoc::default()
            };
            (doc, text)
        });
        let Some((mut doc, text)) = made.await else { return };
        let kept = self.kept(chat, run, text.as_bytes()).await;
        doc.request_body = (length > 0).then_some(BodyDoc { bytes: length, dropped_bytes: dropped, kept });
        if let Some((open, _)) = self.tracks.of_call(call) {
            open.exchanges.insert(number, doc);
        }
    }

    async fn received(&mut self, call: CallNumber, number: u32, received: Received) {
        let Some((open, _)) = self.tracks.of_call(call) else { return };
        let (chat, run) = (open.chat, open.run);
        let redactor = open.redactor.clone();
        // Where the request was dropped, this is still worth something.
        let mut doc = open.exchanges.remove(&number).unwrap_or_default();
        let Received { head, body, end, error, took } = received;
        let (length, dropped) = (body.bytes, body.dropped());
        let bytes = body.kept();
        let made = heavy(bytes, move || {
            let (status, headers, head_after) = match head {
                Some((status, headers, after)) => (Some(status), headers, Some(after)),
                None => (None, Vec::new(), None),
            };
            let (head, tail, _grant) = body.into_parts();
            let captured = Captured { head, tail, dropped };
            let text = redactor.body(&headers, &captured).text;
            (doc.status, doc.head_ms) = (status, head_after.map(millis));
            doc.response_headers = bounded(redactor.headers(&headers));
            (doc.end, doc.duration_ms) = (end.into(), millis(took));
            doc.error = error.map(|words| redactor.error(&words).into());
            (doc, text)
        });
        let Some((mut doc, text)) = made.await else { return };
        let kept = self.kept(chat, run, text.as_bytes()).await;
        doc.response_body = (length > 0).then_some(BodyDoc { bytes: length, dropped_bytes: dropped, kept });
        if let Some((open, _)) = self.tracks.of_call(call) {
            open.exchanges.insert(number, doc);
        }
    }

    async fn ended(&mut self, ended: Ended) {
        let Ended { call, end, gathered, took, first } = ended;
        let Some(open) = self.tracks.calls.remove(&call) else { return };
        let OpenCall { chat, kind, run, step, attempt, redactor, exchanges } = open;
        let now = self.service.now();
        let Gathered { parts, dropped, counts, _grant: grant } = gathered;
        let made = heavy(grant.bytes(), {
            let redactor = redactor.clone();
            move || {
                let (content, warnings) = payload::folded(parts);
                (content.len(), payload::content(&redactor, &content), warnings)
            }
        });
        let (parts, lines, warnings) = made.await.unwrap_or_default();
        drop(grant);
        let content = self.kept(chat, run, &lines).await;
        let Some(track) = self.tracks.runs.get_mut(&(chat, kind)).filter(|track| track.run == run) else {
            return;
        };
        track.open_calls = track.open_calls.saturating_sub(1);
        track.last_seen = Instant::now();
        let is_last = track.open_calls == 0;
        let Some(step) = track.step_mut(step) else { return };
        let mut exchanges: Vec<_> = exchanges.into_iter().collect();
        exchanges.sort_unstable_by_key(|(number, _)| *number);
        let http: Vec<ExchangeDoc> = exchanges.into_iter().map(|(_, doc)| doc).collect();
        if step.metadata.endpoint.is_none() {
            let full = http.iter().find(|doc| doc.end.as_ref() == "complete" && !doc.path.is_empty());
            step.metadata.endpoint = full.map(endpoint);
        }
        let mut response = ResponseDoc {
            version: DOC_VERSION,
            content,
            parts: parts as u64,
            warnings: warnings.iter().map(|warning| redactor.text(warning).into_owned()).collect(),
            dropped_bytes: dropped,
            ..ResponseDoc::default()
        };
        let mut change = StepChange::default();
        let doc = &mut step.attempts[attempt];
        let status = match &end {
            End::Finished(finish) => {
                doc.status = AttemptStatus::Completed;
                doc.usage = finish.usage;
                response.finish_reason = Some(finish.reason);
                let id = finish.response_id.as_deref();
                response.response_id = id.map(|id| redactor.text(id).into());
                let mut metadata = serde_json::json!(finish.metadata);
                redactor.value(&mut metadata);
                response.metadata = serde_json::from_value(metadata).unwrap_or_default();
                if finish.reason == FinishReason::Error { DebugStatus::Error } else { DebugStatus::Completed }
            }
            End::Failed(failure) => {
                doc.status = AttemptStatus::Failed;
                doc.failure = Some(payload::failure(&redactor, failure));
                doc.content = content;
                change.error = Change::Set(payload::error(&redactor, failure, now));
                DebugStatus::Error
            }
            End::Dropped => {
                doc.status = AttemptStatus::Interrupted;
                doc.content = content;
                DebugStatus::Interrupted
            }
        };
        (doc.duration_ms, doc.first_content_ms, doc.http) = (millis(took), first.map(millis), http);
        if matches!(status, DebugStatus::Completed) && step.has_error {
            change.error = Change::Clear;
        }
        step.has_error =
            matches!(change.error, Change::Set(_)) || step.has_error && matches!(change.error, Change::Keep);
        let metadata = &mut step.metadata;
        metadata.model_ms = Some(metadata.model_ms.unwrap_or(0).saturating_add(millis(took)));
        metadata.first_content_ms = first.map(millis);
        metadata.stream = payload::counts(counts);
        metadata.tokens_per_second = first.and_then(|first| {
            let (tokens, seconds) = (doc.usage.output?, took.saturating_sub(first).as_secs_f64());
            (seconds > 0.0).then(|| (tokens as f64 / seconds * 10.0).round() / 10.0)
        });
        step.usage = plus(step.usage, doc.usage);
        step.status = step.status.max(status);
        // A lower status would change nothing at all.
        change.status = Some(step.status);
        change.finished_at = Some(now);
        // An attempt that failed has said nothing that counts.
        if !matches!(end, End::Failed(_)) {
            change.response = Change::Set(payload::json_of(&response));
        }
        if !step.usage.is_empty() {
            change.usage = Change::Set(payload::json_of(&step.usage));
        }
        change.metadata = Change::Set(payload::json_of(&step.metadata));
        change.attempts = Change::Set(payload::json_of(&step.attempts));
        let id = step.id;
        self.update_step(chat, run, id, change).await;
        // A run that is not a turn's is over with its answer.
        let is_over = matches!(end, End::Finished(_)) || kind == RunKind::TitleGeneration;
        if kind != RunKind::ChatTurn && is_over && is_last {
            self.finalize(chat, kind, None).await;
        }
    }

    async fn stored(&mut self, chat: ChatId, r#gen: Gen, answer: Seq) {
        let Some(track) = self.tracks.runs.get_mut(&(chat, RunKind::ChatTurn)) else { return };
        let Some(step) = track.step.as_ref().filter(|step| step.is_of(r#gen)) else { return };
        let (run, step) = (track.run, step.id);
        let change = StepChange { answer: Some(answer), ..StepChange::default() };
        self.update_step(chat, run, step, change).await;
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

    /// Ends a run, with this status or by how its last step ended.
    async fn finalize(&mut self, chat: ChatId, kind: RunKind, status: Option<DebugStatus>) {
        let Some(track) = self.tracks.remove(chat, kind) else { return };
        let status = status.unwrap_or_else(|| track.own_end());
        for step in track.steps().filter(|step| !step.status.is_terminal()) {
            // Its end was dropped.
            let change = StepChange { status: Some(DebugStatus::Interrupted), ..StepChange::default() };
            self.update_step(chat, track.run, step.id, change).await;
        }
        self.write().await;
        let ended = caught_update(self.service.finalize_run(chat, track.run, status, track.seed)).await;
        if let Err(error) = ended {
            tracing::debug!(%chat, %error, "a debug run was not ended; it will be swept");
        }
    }

    async fn update_step(&mut self, chat: ChatId, run: RunId, step: StepId, change: StepChange) {
        let now = self.service.now();
        self.push(DebugWrite::UpdateStep { chat, run, step, change: Box::new(change), now }).await;
        self.told.insert((chat, run, Some(step)));
    }

    /// Writes bytes as contents, and gives where they are.
    async fn kept(&mut self, chat: ChatId, run: RunId, bytes: &[u8]) -> Option<Place> {
        let mut contents = Vec::new();
        let mut give = |hash, bytes: &[u8]| contents.push((hash, Box::from(bytes)));
        let mut rope = Rope::new(chat);
        rope.push(bytes, &mut give);
        let place = rope.place(&mut give);
        self.contents(chat, run, contents).await;
        place
    }

    async fn contents(
        &mut self,
        chat: ChatId,
        run: RunId,
        contents: Vec<(chatwright_core::debug::ContentHash, Box<[u8]>)>,
    ) {
        for (hash, bytes) in contents {
            if self.lately.insert(run, hash) {
                self.push(DebugWrite::Content { chat, run, hash, bytes }).await;
            }
        }
    }

    async fn push(&mut self, write: DebugWrite) {
        let bytes = write.bytes();
        if self.batch.len() == DEBUG_WRITES_MAX || self.batch_bytes + bytes > DEBUG_WRITE_BYTES_MAX {
            self.write().await;
        }
        self.batch_bytes += bytes;
        self.batch.push(write);
    }

    /// Writes what was gathered. What the store does not take is given up.
    async fn write(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return;
        }
        let mut failed = None;
        for number in 1..=TRIES {
            let store: &dyn DebugStore = self.service.store();
            failed = match timeout(STORE_WITHIN, caught(store.write(&batch))).await {
                Ok(Ok(written)) => {
                    self.look_at(&batch, &written);
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("it does not answer".to_owned()),
            };
            match &failed {
                None => break,
                Some(_) if number < TRIES => sleep(PAUSE * number).await,
                Some(_) => {}
            }
        }
        let told = std::mem::take(&mut self.told);
        if let Some(error) = failed {
            tracing::warn!(writes = batch.len(), %error, "the debug store does not take what is recorded");
            self.lost(batch.len());
            return;
        }
        for (chat, run, step) in told {
            let told = step.map_or_else(|| Told::run(chat, run), |step| Told::step(chat, run, step));
            self.service.tell(told).await;
        }
    }

    /// A step that has no place in its run, because somebody else ended or deleted that, leaves the run to itself.
    fn look_at(&mut self, batch: &[DebugWrite], written: &[DebugWritten]) {
        for (write, became) in batch.iter().zip(written) {
            let DebugWrite::CreateStep(step) = write else { continue };
            if matches!(became, DebugWritten::Step(_)) {
                continue;
            }
            tracing::debug!(chat = %step.chat, run = %step.run, ?became, "a debug run takes no step");
            let of = |track: &&Track| track.run == step.run;
            let kind = RunKind::ALL
                .into_iter()
                .find(|kind| self.tracks.runs.get(&(step.chat, *kind)).filter(of).is_some());
            if let Some(kind) = kind {
                self.tracks.remove(step.chat, kind);
            }
            self.lost(1);
        }
    }

    /// Something was not written: whatever builds on it is written anew.
    fn lost(&mut self, writes: usize) {
        self.lately.clear();
        self.tracks.runs.values_mut().for_each(|track| (track.prompt, track.tools) = (None, None));
        metrics::counter!("chatwright_debug_unwritten_total").increment(writes as u64);
        if let Some(shared) = self.shared.upgrade() {
            shared.stats.unwritten.fetch_add(writes as u64, Ordering::Relaxed);
            shared.forget_all();
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
            self.finalize(chat, kind, None).await;
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

async fn caught_update(call: impl Future<Output = Result<(), crate::UpdateError>>) -> Result<(), String> {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("the debug store panicked".to_owned()),
    }
}

/// The words of the last message of a user.
fn asked_in(prompt: &Prompt) -> String {
    let messages: &[Message] = match prompt {
        Prompt::Copied(messages, _) | Prompt::More { messages, .. } => messages,
        Prompt::Shared(history) => history,
        Prompt::Dropped => &[],
    };
    let asked = messages.iter().rev().find(|message| message.role == Role::User);
    let texts = asked.into_iter().flat_map(|message| &message.content).filter_map(|part| match part {
        chatwright_core::content::Part::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    // What is shown of it is short.
    texts.flat_map(|text| text.chars().chain([' '])).take(ASKED_CHARS_MAX).collect()
}

fn endpoint(doc: &ExchangeDoc) -> Box<str> {
    if doc.method.is_empty() { doc.path.clone() } else { format!("{} {}", doc.method, doc.path).into() }
}

/// The path of an address.
fn path_of(url: &str) -> &str {
    let behind = url.find("://").map_or(url, |at| &url[at + 3..]);
    let path = behind.find('/').map_or("", |at| &behind[at..]);
    &path[..path.find(['?', '#']).unwrap_or(path.len())]
}

/// As many headers as there is room for.
fn bounded(headers: Vec<(Box<str>, Box<str>)>) -> Vec<(Box<str>, Box<str>)> {
    let mut room = HEADERS_BYTES_MAX;
    let fits = |(name, value): &(Box<str>, Box<str>)| {
        let bytes = name.len() + value.len();
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    };
    headers.into_iter().take_while(fits).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn plus(sum: Usage, more: Usage) -> Usage {
    let add = |sum: Option<u64>, more: Option<u64>| match (sum, more) {
        (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
        (sum, more) => sum.or(more),
    };
    Usage {
        input: add(sum.input, more.input),
        output: add(sum.output, more.output),
        reasoning: add(sum.reasoning, more.reasoning),
        cache_read: add(sum.cache_read, more.cache_read),
        cache_write: add(sum.cache_write, more.cache_write),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_an_address_has_neither_host_nor_query() {
        assert_eq!(path_of("https://h:1/v1/chat?key=1#x"), "/v1/chat");
        assert_eq!(path_of("https://h"), "");
        assert_eq!(path_of("/v1"), "/v1");
    }
}
