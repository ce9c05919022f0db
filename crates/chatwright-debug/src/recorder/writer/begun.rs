//! A call begins: its run, its step, and what it asks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chatwright_core::content::Part;
use chatwright_core::debug::{Change, DebugRun, DebugStatus, DebugStep, DebugWrite, RunKind, StepChange};
use chatwright_core::model::{CallScope, Message, ModelId, Role};
use chatwright_core::port::Ids;
use chatwright_core::{RunId, StepId};
use tokio::time::Instant;

use super::super::job::{Began, Prompt, Tools};
use super::super::payload;
use super::super::track::{Followed, OpenCall, OpenStep, Track, run_of_turn};
use super::{LIGHT_BYTES, Writer, heavy, in_time};
use crate::Summary;
use crate::content::Rope;
use crate::doc::{AttemptDoc, DOC_VERSION, RequestDoc};

/// Most parts of a turn's run that are looked for.
const PARTS_MAX: u32 = 64;
/// Most bytes that the prompts may take that are followed.
const FOLLOWED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most characters of what a user said that are looked at for the label of a run.
const ASKED_CHARS_MAX: usize = 4_000;

impl Writer {
    pub(super) async fn began(&mut self, began: Began) {
        let scope = Arc::clone(&began.scope);
        let (chat, kind) = (scope.chat, RunKind::from(scope.purpose));
        if !self.service.is_enabled(Some(&scope.owner), chat).await {
            return self.forget(&scope);
        }
        if let Some(shared) = self.shared.upgrade() {
            shared.stats.recorded.fetch_add(1, Ordering::Relaxed);
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

    pub(super) fn forget(&self, scope: &CallScope) {
        if let Some(shared) = self.shared.upgrade() {
            shared.forget(scope);
        }
    }

    /// The step that a call is an attempt at; its run and itself are created if they are not there.
    pub(super) async fn step_of(&mut self, scope: &CallScope, began: &Began) -> Option<StepId> {
        let (chat, kind) = (scope.chat, RunKind::from(scope.purpose));
        let goes_on = self.tracks.runs.get(&(chat, kind)).is_some_and(|track| match kind {
            RunKind::ChatTurn => track.turn == scope.turn,
            _ => scope.attempt > 1 || track.open_calls > 0,
        });
        if !goes_on {
            self.finalize(chat, kind, None, None).await;
            let (run, is_new) = self.run_of(scope).await?;
            let messages = began.prompt.as_ref().map_or(&[][..], |prompt| &prompt.messages);
            let seed = Summary::seed(&self.redactor.text(&asked_in(messages)));
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
        // An answer that came to its end, and was none, has an error.
        let is_retried = |step: &&OpenStep| step.status != DebugStatus::Completed || step.has_error;
        if let Some(step) = track.step.as_ref().filter(|_| scope.attempt > 1).filter(is_retried) {
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
    pub(super) async fn run_of(&mut self, scope: &CallScope) -> Option<(RunId, bool)> {
        let minted = |ids: &dyn Ids| (RunId::mint(ids), true);
        let turn = scope.turn.filter(|_| RunKind::from(scope.purpose) == RunKind::ChatTurn);
        let Some(turn) = turn else { return Some(minted(self.service.ids())) };
        // What is still in the batch may be the end of the part before.
        self.write().await;
        for part in 1..=PARTS_MAX {
            let run = run_of_turn(scope.chat, turn, part);
            match in_time(self.service.store().run(scope.chat, run)).await {
                Ok(None) => return Some((run, true)),
                Ok(Some(stored)) if stored.finished_at.is_none() => return Some((run, false)),
                Ok(Some(_)) => {}
                Err(error) => {
                    tracing::debug!(chat = %scope.chat, %error, "a turn is not recorded");
                    self.lost(1);
                    return None;
                }
            }
        }
        Some(minted(self.service.ids()))
    }

    /// What was asked, with its contents written.
    pub(super) async fn request(&mut self, began: Began) -> RequestDoc {
        let Began { scope, prompt, tools, settings, _grant: grant, .. } = began;
        let key = (scope.chat, RunKind::from(scope.purpose));
        let mut doc = RequestDoc { version: DOC_VERSION, ..RequestDoc::default() };
        let track = self.tracks.runs.get_mut(&key).expect("it was just looked for");
        let run = track.run;
        let before = track.prompt.take();
        let new = prompt.and_then(|Prompt { since, messages, grown }| {
            let followed = match since {
                None => Followed { grown, rope: Rope::new(scope.chat), messages: 0 },
                Some(since) => Followed { grown, ..before.filter(|before| before.grown == since)? },
            };
            Some((followed, messages))
        });
        let (chat, redactor) = (scope.chat, self.redactor.clone());
        let made = heavy(grant.bytes(), move || {
            let (mut followed, messages) = new?;
            let mut contents = Vec::new();
            let mut give = |hash, piece: &[u8]| contents.push((hash, Box::from(piece)));
            followed.rope.push(&payload::messages(&redactor, &messages), &mut give);
            followed.messages += messages.len() as u64;
            let place = followed.rope.place(&mut give);
            Some((followed, place, contents))
        });
        let followed = match made.await.flatten() {
            Some((followed, place, contents)) => {
                (doc.messages, doc.prompt) = (followed.messages, place);
                self.contents(chat, run, contents).await;
                Some(followed)
            }
            None => {
                doc.missing =
                    Some("there was no room for the prompt, or what came before it was dropped".into());
                self.forget(&scope);
                None
            }
        };
        drop(grant);
        let tools = match tools {
            Tools::New(tools) => {
                let redactor = self.redactor.clone();
                let count = tools.tools.len();
                let lines = heavy(LIGHT_BYTES, move || payload::tools(&redactor, &tools.tools))
                    .await
                    .unwrap_or_default();
                Some((self.kept(scope.chat, run, lines).await, count as u64))
            }
            Tools::Dropped => None,
            Tools::Same => self.tracks.runs.get(&key).and_then(|track| track.tools),
        };
        if tools.is_none() {
            // Or they were told to a run that is over.
            doc.missing.get_or_insert_with(|| "there was no room for the tools".into());
            self.forget(&scope);
        }
        (doc.tools, doc.tool_count) = tools.unwrap_or((None, 0));
        doc.settings = payload::settings(&self.redactor, settings);
        let room = self.followed_bytes() < FOLLOWED_BYTES_MAX;
        if let Some(track) = self.tracks.runs.get_mut(&key) {
            track.tools = tools;
            // What was made for one call is not followed. Without room the next prompt is told whole.
            track.prompt = followed.filter(|_| key.1 == RunKind::ChatTurn && room);
        }
        doc
    }

    pub(super) fn followed_bytes(&self) -> usize {
        let prompts = self.tracks.runs.values().filter_map(|track| track.prompt.as_ref());
        prompts.map(|followed| followed.rope.memory()).sum()
    }
}

/// The words of the last message of a user.
fn asked_in(messages: &[Message]) -> String {
    let asked = messages.iter().rev().find(|message| message.role == Role::User);
    let texts = asked.into_iter().flat_map(|message| message.content.iter()).filter_map(|part| match part {
        Part::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    // What is shown of it is short.
    texts.flat_map(|text| text.chars().chain([' '])).take(ASKED_CHARS_MAX).collect()
}
