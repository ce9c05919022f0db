use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chatwright_core::Seq;
use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::Part;
use chatwright_core::error::{
    Advice, Cause, ErrorInfo, Failure, Kind, RetryEvent, TimeoutPhase, Verdict, classify,
};
use chatwright_core::head::{OpenGen, UnitKind};
use chatwright_core::model::{FinishReason, ModelCall, ModelId, ModelPart, Usage};
use chatwright_core::port::timing::{CompactionResult, Stage};
use chatwright_core::port::{AttemptEnd, Event, LanguageModel, LedgerEnd, LiveLog, Purpose};
use chatwright_engine::{Answer, Compacted, Report, Stopped, Work};
use chatwright_retry::Gate;
use futures::StreamExt;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use super::{Drain, Held, Look};
use crate::blobs::{Aside, Keeper};
use crate::failure;
use crate::meter::{Meter, Request, scope};
use crate::models::{Chosen, NoModel};
use crate::preview::Preview;
use crate::tokens;

/// How the streaming of an answer ended.
pub(super) enum Streamed {
    /// The accumulator has its terminal part, or the answer met its limit.
    Ended { output_limit: bool },
    /// A guard ran out, or something that the request needs is not to be had.
    Failed(Box<Verdict>),
    /// The provider ended it with a failure.
    Refused(Box<Verdict>),
    /// The prompt would fill too much of the model's window: nothing was asked.
    Full,
    /// The provider told another chat to wait for long: nothing was asked.
    Shut(Duration),
    /// The turn shall stop.
    Stop,
    /// The gen is over, or the lease.
    Lost,
    /// The process shuts down.
    Drain,
}

impl Streamed {
    /// The kind of the error that a request ended with, for its span.
    fn error_kind(&self) -> Option<&'static str> {
        match self {
            Self::Failed(verdict) | Self::Refused(verdict) => Some(verdict.kind.as_str()),
            _ => None,
        }
    }
}

/// Who is asked.
struct Asked {
    chosen: Chosen,
    /// It is the model of the chat, and not one that only writes summaries.
    is_own: bool,
    /// How many tokens a prompt and its answer may have together, for the model of the chat and the one of its summaries.
    window: Option<u64>,
    /// The request, once it was made.
    meter: Option<Meter>,
}

impl Held {
    /// Asks the model and commits what comes of it.
    pub(super) async fn attempt(&mut self, open: &OpenGen) {
        let mut asked = match self.choose(open).await {
            Ok(Ok(asked)) => asked,
            Err(ended) => return self.unasked(open, &ended).await,
            Ok(Err(error)) => {
                let verdict = Box::new(failure::no_model(&error));
                let partial = Some(Box::new(self.nothing().await));
                self.feed(open.r#gen, Work::Failed { verdict, report: Report::default(), partial }).await;
                return;
            }
        };
        if open.kind == UnitKind::Compaction && !self.can_summarise(asked.window, self.is_too_large()) {
            return self.nothing_to_summarise(open).await;
        }
        let deps = Arc::clone(&self.deps);
        let model = Arc::clone(&asked.chosen.model);
        deps.observe(&Event::AttemptStarted { chat: self.id, r#gen: open.r#gen, model: &model.id() });
        let mut answer = Accumulator::new();
        let live: Arc<dyn LiveLog> = Arc::clone(&deps.ports.live);
        let mut preview = Preview::new(live, self.id, self.epoch, open.r#gen, &deps.settings);
        let gate = deps.gates.gate(&model.account());
        self.pace.begin(Stage::CapacityWait);
        let streamed = match self.pass(open, &gate).await {
            Some(ended) => ended,
            None => {
                self.pace.end(Stage::CapacityWait);
                self.pace.step(purpose(open), open.r#gen);
                self.stream(open, &mut asked, &mut answer, &mut preview).await
            }
        };
        self.pace.answered(&answer, streamed.error_kind());
        if !matches!(streamed, Streamed::Lost) {
            preview.flush().await;
        }
        if preview.was_cut() {
            deps.observe(&Event::PreviewCut { chat: self.id, r#gen: open.r#gen });
        }
        self.ended(open, &asked, &gate, streamed, answer, preview).await;
    }

    /// Who is asked: the model of the chat, or the one that writes its summaries.
    async fn choose(&mut self, open: &OpenGen) -> Result<Result<Asked, NoModel>, Streamed> {
        let deps = Arc::clone(&self.deps);
        let (name, organization) = (self.chat.state.model.clone(), self.chat.head.index.organization.clone());
        let chosen = match self.meanwhile(open, deps.models.choose(name.as_deref(), &organization)).await? {
            Ok(chosen) => chosen,
            Err(error) => return Ok(Err(error)),
        };
        let mut summariser = None;
        if let Some(name) = chosen.summariser() {
            match self.meanwhile(open, deps.models.choose(Some(name), &organization)).await? {
                Ok(other) => summariser = Some(other),
                Err(error) => {
                    tracing::warn!(chat = %self.id, %error, "the model of the chat writes its summaries itself");
                }
            }
        }
        let windows = [chosen.window(), summariser.as_ref().and_then(Chosen::window)];
        let window = windows.into_iter().flatten().min();
        let other = summariser.filter(|_| open.kind == UnitKind::Compaction);
        let is_own = other.is_none();
        Ok(Ok(Asked { chosen: other.unwrap_or(chosen), is_own, window, meter: None }))
    }

    /// Waits while the provider told some chat of the same account to wait. Gives what ended the attempt meanwhile.
    async fn pass(&mut self, open: &OpenGen, gate: &Gate) -> Option<Streamed> {
        let longest = self.deps.settings.rules.hold_max;
        let seed = self.id.as_uuid().as_u64_pair().1;
        let gate = gate.clone();
        match self.meanwhile(open, gate.pass(seed, longest)).await {
            Ok(Ok(())) => None,
            // Nothing was asked, and nobody holds a chat for that long.
            Ok(Err(shut)) => Some(Streamed::Shut(shut.until.saturating_duration_since(Instant::now()))),
            Err(ended) => Some(ended),
        }
    }

    /// Waits for what comes before the model is asked.
    ///
    /// # Errors
    /// What ended the attempt meanwhile.
    pub(super) async fn meanwhile<T>(
        &mut self,
        open: &OpenGen,
        before: impl Future<Output = T>,
    ) -> Result<T, Streamed> {
        tokio::pin!(before);
        loop {
            match self.concern(open.r#gen) {
                Look::Same => {}
                Look::Stop => return Err(Streamed::Stop),
                Look::Lost => return Err(Streamed::Lost),
            }
            let (known, watch_at) = (self.chat.head.revision, self.watch_at());
            tokio::select! {
                biased;
                () = self.lease.over() => return Err(Streamed::Lost),
                () = self.wakes.next(known) => drop(self.look(open.r#gen).await),
                () = draining(&mut self.drain) => return Err(Streamed::Drain),
                () = sleep_until(watch_at) => self.watch(open.r#gen).await,
                before = &mut before => return Ok(before),
            }
        }
    }

    /// Ends an attempt for which no model was chosen yet.
    async fn unasked(&mut self, open: &OpenGen, ended: &Streamed) {
        let work = match ended {
            Streamed::Lost => return,
            Streamed::Stop => Work::Stopped(Box::new(self.nothing().await)),
            _ => Work::Release { off: 0, report: Report::default(), wait: None },
        };
        self.feed(open.r#gen, work).await;
    }

    /// What has come of a request that was not made.
    async fn nothing(&mut self) -> Stopped {
        let next = self.next().await;
        let (content, model, report) = (Vec::new(), next.model.clone(), Report::default());
        Stopped { content, model, report, off: 0, results: Vec::new(), next }
    }

    /// Streams until the answer ends or something ends it.
    async fn stream(
        &mut self,
        open: &OpenGen,
        asked: &mut Asked,
        answer: &mut Accumulator,
        preview: &mut Preview,
    ) -> Streamed {
        self.pace.begin(Stage::Prepare);
        let call = match self.call(open, asked).await {
            Ok(call) => call,
            Err(ended) => return ended,
        };
        if let Some(fault) = self.advised.fault() {
            // It stands in the record of the attempt beside what its provider warns of.
            answer.push(ModelPart::Warnings(vec![fault]));
        }
        self.pace.end(Stage::Prepare);
        let model = &*asked.chosen.model;
        let span = self.pace.ask(&model.id(), purpose(open));
        let mut parts = span.in_scope(|| model.stream(call));
        let timeouts = self.deps.settings.model_timeouts;
        let begun = Instant::now();
        let total = begun + timeouts.total;
        let (mut pieces, mut aside) = (Vec::new(), Aside::default());
        let (mut phase, mut patience) = (TimeoutPhase::StartUp, begun + timeouts.start_up);
        loop {
            match self.concern(open.r#gen) {
                Look::Same => {}
                Look::Stop => return Streamed::Stop,
                Look::Lost => return Streamed::Lost,
            }
            let flush = preview.flush_at();
            let (known, watch_at) = (self.chat.head.revision, self.watch_at());
            tokio::select! {
                biased;
                () = self.lease.over() => return Streamed::Lost,
                () = self.wakes.next(known) => drop(self.look(open.r#gen).await),
                () = drained(&mut self.drain) => return Streamed::Drain,
                () = sleep_until(watch_at) => self.watch(open.r#gen).await,
                () = sleep_until(flush.unwrap_or(total)), if flush.is_some() => preview.flush().await,
                part = parts.next().instrument(span.clone()) => {
                    let part = part.unwrap_or_else(|| ModelPart::Failure(Box::new(ended_early(model))));
                    self.pace.part(&part);
                    let terminal = part.is_terminal();
                    // A sign of life keeps a silent stream alive, but only content ends the wait for content.
                    if part.is_content() {
                        phase = TimeoutPhase::Silence;
                    }
                    if phase == TimeoutPhase::Silence {
                        patience = Instant::now() + timeouts.silence;
                    }
                    aside.take(&part);
                    answer.push_into(part, &mut pieces);
                    if open.kind == UnitKind::Compaction {
                        // A summary is for the model; people see that there is one when it is stored.
                        pieces.clear();
                    }
                    if preview.gather(&mut pieces) {
                        preview.flush().await;
                    }
                    if terminal {
                        return match answer.end() {
                            Some(End::Failure(failure)) => Streamed::Refused(Box::new(self.verdict(failure))),
                            _ => Streamed::Ended { output_limit: false },
                        };
                    }
                    if aside.is_over(answer.bytes(), self.deps.settings.attempt_bytes_max) {
                        return Streamed::Ended { output_limit: true };
                    }
                }
                () = sleep_until(patience.min(total)) => {
                    let phase = if total <= patience { TimeoutPhase::Total } else { phase };
                    let provider = model.id().provider;
                    let failure = Failure::new(provider, Cause::Timeout(phase));
                    return Streamed::Failed(Box::new(self.verdict(&failure)));
                }
            }
        }
    }

    /// What the model is asked: the history, what its owner wants every model to know, and what its row says.
    ///
    /// # Errors
    /// What ended the attempt before it could be asked.
    async fn call(&mut self, open: &OpenGen, asked: &mut Asked) -> Result<ModelCall, Streamed> {
        let deps = Arc::clone(&self.deps);
        let mut user_prompt = None;
        if let Some(configs) = deps.models.configs() {
            let owner = self.chat.head.index.owner.clone();
            let read = self.meanwhile(open, configs.user_prompt(&owner)).await?;
            user_prompt = read.map_err(|error| Streamed::Failed(Box::new(failure::unreadable(&error))))?;
        }
        self.decide_advisor(open).await?;
        let own = user_prompt.as_ref().map(|prompt| prompt.as_str());
        let prompt = self.prompt(open, own).await?;
        let messages = prompt.messages().len();
        let (mut call, tokens) = if open.kind == UnitKind::Compaction {
            let call = self.summary_call(prompt.into_messages(), &asked.chosen, asked.is_own);
            let tokens = tokens::of_bytes(tokens::bytes_of(&call.prompt));
            (call, tokens)
        } else {
            let tokens = self.prompt_tokens();
            if self.is_full(asked, tokens) {
                return Err(Streamed::Full);
            }
            let mut call = ModelCall::new(prompt);
            call.tools = self.tools().definitions(&self.history);
            call.reasoning_effort = self.chat.state.effort;
            if let Some(options) = asked.chosen.options() {
                options.apply(&mut call);
            }
            (call, tokens)
        };
        let index = self.chat.head.index.clone();
        let (chat, r#gen, chosen, purpose) = (self.id, Some(open.r#gen), &asked.chosen, purpose(open));
        let (model, bytes) = (&chosen.model.id(), self.prompt_bytes());
        let mut scope = scope(self.id, &index, purpose);
        (scope.turn, scope.tip, scope.r#gen) = (self.chat.state.turn_from, self.tip(), r#gen);
        scope.attempt = self.chat.state.failures.saturating_add(1);
        call.scope = Some(Arc::new(scope));
        deps.observe(&Event::PromptBuilt { chat, model, purpose, messages, bytes });
        let request = Request { purpose, chat, r#gen, index: &index, chosen, prompt: tokens };
        let opened = self.meanwhile(open, Meter::open(&deps, request)).await?;
        let meter = opened.map_err(|error| Streamed::Failed(Box::new(failure::no_ledger(&error))))?;
        asked.meter = Some(meter);
        Ok(call)
    }

    /// The last record of history.
    fn tip(&self) -> Option<Seq> {
        self.history.items().last().map(|(seq, _)| *seq)
    }

    /// Whether there is to be a summary before a prompt of so many tokens.
    fn is_full(&self, asked: &Asked, tokens: u64) -> bool {
        let (Some(window), Some(percent)) = (asked.window, asked.chosen.threshold()) else { return false };
        self.chat.state.squeezed.is_none()
            && u128::from(tokens) * 100 >= u128::from(window) * u128::from(percent)
            && self.can_summarise(asked.window, false)
    }

    /// The answer as records take it, or nothing if the gen is over, or the lease. A stop waits for no blob, and a shutdown no longer than
    /// its grace.
    async fn fitted(&mut self, open: &OpenGen, answer: &Accumulator) -> Option<Vec<Part>> {
        let (deps, max) = (Arc::clone(&self.deps), self.deps.settings.tool_output_bytes_max);
        let keeper = Keeper::new(&deps, self.id);
        let kept = keeper.content(answer.content(), max);
        tokio::pin!(kept);
        loop {
            match self.concern(open.r#gen) {
                Look::Same => {}
                Look::Stop => break,
                Look::Lost => return None,
            }
            let known = self.chat.head.revision;
            tokio::select! {
                biased;
                () = self.lease.over() => return None,
                content = &mut kept => return Some(content),
                () = self.wakes.next(known) => drop(self.look(open.r#gen).await),
                () = drained(&mut self.drain) => break,
            }
        }
        Some(Keeper::in_no_time(&deps, self.id).content(answer.content(), max).await)
    }

    fn verdict(&self, failure: &Failure) -> Verdict {
        classify(failure, self.deps.ports.clock.now().into())
    }

    async fn ended(
        &mut self,
        open: &OpenGen,
        asked: &Asked,
        gate: &Gate,
        streamed: Streamed,
        answer: Accumulator,
        preview: Preview,
    ) {
        let summarises = open.kind == UnitKind::Compaction;
        let model = asked.chosen.model.id();
        let report = asked.meter.as_ref().map(|meter| meter.report(&answer)).unwrap_or_default();
        // Nothing of a summary is shown while it is written.
        let off = if summarises { 0 } else { answer.units() };
        self.observe_warnings(open, &model, answer.warnings());
        let ended = matches!(
            streamed,
            Streamed::Stop | Streamed::Failed(_) | Streamed::Refused(_) | Streamed::Ended { .. }
        );
        let keeps = ended && !summarises;
        let content = match (&streamed, keeps) {
            (Streamed::Lost, _) => None,
            (_, true) => self.fitted(open, &answer).await,
            (_, false) => Some(Vec::new()),
        };
        let Some(content) = content else {
            asked.close(&report, LedgerEnd::Aborted).await;
            return self.observe_end(open, AttemptEnd::Aborted, answer.usage());
        };
        let next = self.next().await;
        let partial = || {
            let (content, model, next) = (without_calls(&content), model.clone(), next.clone());
            Box::new(Stopped { content, model, report: report.clone(), off, results: Vec::new(), next })
        };
        let failed = |verdict: Box<Verdict>| {
            let end = AttemptEnd::Failed(verdict.kind.as_str());
            (Work::Failed { verdict, report: report.clone(), partial: Some(partial()) }, end)
        };
        let release = |wait| (Work::Release { off, report: report.clone(), wait }, AttemptEnd::Aborted);
        let nothing = match answer.end() {
            Some(End::Finish(finish)) if !summarises => {
                failure::no_answer(&model.provider, finish.reason, &answer.content())
            }
            _ => None,
        };
        let (work, end) = match (streamed, answer.end(), nothing) {
            (Streamed::Lost | Streamed::Drain, ..) => release(None),
            (Streamed::Shut(wait), ..) => release(Some(wait)),
            (Streamed::Full, ..) => (Work::Full { next: next.clone() }, AttemptEnd::Aborted),
            (Streamed::Stop, ..) => (Work::Stopped(partial()), AttemptEnd::Interrupted),
            (Streamed::Failed(verdict), ..) => failed(verdict),
            (Streamed::Refused(verdict), ..) => {
                let mut verdict = *verdict;
                gate.heed(&verdict);
                if summarises {
                    verdict = self.shortens(verdict);
                } else if verdict.advice == Advice::CompactThenRetry
                    && !self.can_summarise(asked.window, true)
                {
                    verdict = verdict.with_advice(Advice::Stop);
                }
                failed(Box::new(verdict))
            }
            (Streamed::Ended { .. }, _, Some(verdict)) => failed(Box::new(verdict)),
            (Streamed::Ended { output_limit }, ..) if summarises => {
                let finish = answer.finish_reason().filter(|_| !output_limit).unwrap_or(FinishReason::Length);
                match self.summarised(&answer, finish, asked.window) {
                    Ok(summary) => {
                        let (report, next) = (report.clone(), next.clone());
                        let compacted = Compacted { summary, report, off: 0, next };
                        (Work::Compacted(Box::new(compacted)), AttemptEnd::Finished(finish))
                    }
                    Err(verdict) => failed(verdict),
                }
            }
            (Streamed::Ended { output_limit }, end, None) => {
                let finish = answer.finish_reason().unwrap_or(FinishReason::Length);
                let response_id = match end {
                    Some(End::Finish(finish)) => finish.response_id.clone(),
                    _ => None,
                };
                let plan = open.message.map(|id| self.tools().plan(&self.history, id, &content));
                let plan = plan.unwrap_or_default();
                let (content, report, next) = (content.clone(), report.clone(), next.clone());
                let answer = Answer {
                    content,
                    model: model.clone(),
                    finish,
                    output_limit,
                    report,
                    off,
                    response_id,
                    plan,
                    next,
                };
                (Work::Answered(Box::new(answer)), AttemptEnd::Finished(finish))
            }
        };
        let told = match &work {
            Work::Failed { verdict, .. } => {
                self.pace.failed();
                Some(ErrorInfo::from(&**verdict))
            }
            _ => None,
        };
        let compaction = compaction_result(&work).filter(|_| summarises);
        let deps = Arc::clone(&self.deps);
        let refused = match &work {
            Work::Answered(answer) => {
                Some(deps.registry.tools(self.advised.is_there()).refused(&answer.plan, &answer.content))
            }
            _ => None,
        };
        asked.close(&report, ledger_end(end)).await;
        // Before the commit, which tells of the step and of the turn that it is the end of.
        self.observe_end(open, end, answer.usage());
        let landed = self.feed(open.r#gen, work).await;
        if landed {
            preview.seal(off).await;
        }
        let (chat, model) = (self.id, &model);
        if let (true, Some(refused)) = (landed, refused) {
            for name in refused {
                deps.observe(&Event::ToolRefused { chat, model, name });
            }
        }
        if let (true, Some(result)) = (landed, compaction) {
            deps.observe(&Event::CompactionEnded { chat, model, result });
        }
        if let (true, Some(error)) = (landed, told) {
            self.observe_retry(open, model, &error).await;
        }
    }

    async fn observe_retry(&mut self, open: &OpenGen, model: &ModelId, error: &ErrorInfo) {
        let Some(at) = self.chat.state.retry.and_then(|retry| retry.at) else { return };
        let Ok(now) = self.deps.time.now().await else { return };
        let (delay, wall) = (at.since(now), self.deps.ports.clock.now().into());
        let retry = RetryEvent::new(error, self.chat.state.failures, delay, wall);
        self.deps.observe(&Event::RetryScheduled { chat: self.id, r#gen: open.r#gen, model, retry: &retry });
    }

    /// What is not done as it was asked for must not go unnoticed.
    fn observe_warnings(&self, open: &OpenGen, model: &ModelId, warnings: &[String]) {
        if !warnings.is_empty() {
            tracing::debug!(chat = %self.id, r#gen = %open.r#gen, ?warnings, "a provider warns of a request");
            self.deps.observe(&Event::Warned { chat: self.id, r#gen: open.r#gen, model, warnings });
        }
    }

    fn observe_end(&self, open: &OpenGen, end: AttemptEnd<'_>, usage: Usage) {
        self.deps.observe(&Event::AttemptEnded { chat: self.id, r#gen: open.r#gen, end, usage });
    }
}

impl Asked {
    /// Writes down what became of the request, if there was one: before the commit, so that no death in between loses what is known.
    async fn close(&self, report: &Report, end: LedgerEnd) {
        if let Some(meter) = &self.meter {
            meter.close(report, end).await;
        }
    }
}

/// What a gen asks a model for.
fn purpose(open: &OpenGen) -> Purpose {
    match open.kind {
        UnitKind::Compaction => Purpose::Compaction,
        _ => Purpose::Turn,
    }
}

/// What became of a summary, if anything did: one that was stopped or was not necessary any more does not count.
fn compaction_result(work: &Work) -> Option<CompactionResult> {
    match work {
        Work::Compacted(compacted) => compacted.summary.as_ref().map(|_| CompactionResult::Success),
        Work::Failed { verdict, .. } => match verdict.kind {
            Kind::Timeout | Kind::StartupTimeout | Kind::StreamSilenceTimeout => {
                Some(CompactionResult::Timeout)
            }
            _ => Some(CompactionResult::Error),
        },
        _ => None,
    }
}

fn ledger_end(end: AttemptEnd<'_>) -> LedgerEnd {
    match end {
        AttemptEnd::Finished(_) => LedgerEnd::Finished,
        AttemptEnd::Failed(_) => LedgerEnd::Failed,
        AttemptEnd::Interrupted => LedgerEnd::Interrupted,
        _ => LedgerEnd::Aborted,
    }
}

/// What of a stopped answer is kept: everything but calls, which nobody will run, and what the provider was still running.
fn without_calls(content: &[Part]) -> Vec<Part> {
    let result = |part: &Part| match part {
        Part::ToolResult { call_id, provider_executed: true, .. } => Some(call_id.clone()),
        _ => None,
    };
    let results: BTreeSet<Box<str>> = content.iter().filter_map(result).collect();
    let stays = |part: &&Part| match part {
        Part::ToolCall { id, provider_executed, .. } => *provider_executed && results.contains(id),
        _ => true,
    };
    content.iter().filter(stays).cloned().collect()
}

fn ended_early(model: &dyn LanguageModel) -> Failure {
    Failure::new(model.id().provider, Cause::Truncated)
}

/// Waits for the beginning of a shutdown: what has not begun yet is handed over at once.
pub(super) async fn draining(drain: &mut Drain) {
    if drain.wait_for(Option::is_some).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits for the end of the grace that a shutdown gives.
pub(super) async fn drained(drain: &mut Drain) {
    let until = match drain.wait_for(Option::is_some).await {
        Ok(until) => *until,
        Err(_) => None,
    };
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
