//! What a holder does and how long it takes: stages for metrics and spans, and the partition of its turns.

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::model::{ModelId, ModelPart};
use chatwright_core::port::timing::{Activity, ChatKind, Scope, Stage, StageAnomaly, TurnCategory};
use chatwright_core::port::{Event, Purpose};
use chatwright_core::record::StopReason;
use chatwright_core::tool::CallKey;
use chatwright_core::{ChatId, Gen};
use tokio::time::Instant;
use tracing::{Span, debug_span, info_span};

use super::laps::Laps;
use crate::deps::Deps;
use crate::gen_ai;
use crate::tokens;
use crate::turns::{TurnEnd, Turns};

/// The shortest wait at a gate that is told.
const WAIT: Duration = Duration::from_millis(1);

/// The stages and the turn of a held chat.
///
/// A stage that is begun is ended under its name, and what began in it and did not end goes with it, untold: an early return
/// leaves nothing behind.
pub(super) struct Pace {
    deps: Arc<Deps>,
    chat: ChatId,
    kind: ChatKind,
    scope: Scope,
    /// The turn was seen from its beginning.
    whole: bool,
    turn: Span,
    laps: Laps,
    open: Vec<Timed>,
    /// The time that the last request took of each category, until it is known how it ended.
    asked: Option<[(TurnCategory, Duration); 2]>,
    activity: Activity,
}

/// A stage that has begun. Its span and its time end together.
pub(super) struct Timed {
    stage: Stage,
    chat: ChatId,
    kind: ChatKind,
    scope: Scope,
    model: Option<Arc<ModelId>>,
    begun: Instant,
    /// Where it is left.
    depth: usize,
    span: Span,
}

/// How a process came to hold a chat.
pub(super) struct Came {
    pub(super) kind: ChatKind,
    /// How long nobody did.
    pub(super) waited: Duration,
    /// When it began to be taken.
    pub(super) since: Instant,
    /// A turn is to be run, and not a summary that was asked for at rest.
    pub(super) in_turn: bool,
    /// It has only just begun.
    pub(super) is_new: bool,
}

impl Timed {
    /// Ends it, and tells how long it took.
    pub(super) fn end(self, deps: &Deps) {
        let took = self.begun.elapsed();
        drop(self.span);
        let Self { chat, kind, stage, scope, model, .. } = self;
        deps.observe(&Event::StageEnded { chat, kind, stage, scope, model: model.as_deref(), took });
    }

    /// Ends the call of a tool.
    pub(super) fn end_call(self, deps: &Deps, is_error: bool) {
        if is_error {
            self.span.record(gen_ai::ERROR_TYPE, "tool_error");
        }
        self.end(deps);
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }
}

impl Pace {
    pub(super) fn new(deps: &Arc<Deps>, chat: ChatId, came: &Came) -> Self {
        let now = Instant::now();
        let mut pace = Self {
            deps: Arc::clone(deps),
            chat,
            kind: came.kind,
            scope: Scope::Background,
            whole: false,
            turn: Span::none(),
            laps: Laps::new(now),
            open: Vec::new(),
            asked: None,
            activity: Activity::Waiting,
        };
        if came.in_turn {
            pace.begin_turn(came.is_new);
        }
        let acquired = now - came.since;
        pace.laps.times(now).spend(TurnCategory::Scheduling, came.waited + acquired);
        for (stage, took) in [(Stage::QueueWait, came.waited), (Stage::Acquisition, acquired)] {
            pace.laps.times(now).add(stage, took);
            pace.tell(stage, took);
        }
        deps.observe(&Event::ActivityChanged { chat, from: None, to: Some(pace.activity) });
        pace
    }

    /// The innermost span.
    pub(super) fn span(&self) -> &Span {
        self.open.last().map_or(&self.turn, Timed::span)
    }

    /// Begins a stage inside those that are open.
    pub(super) fn begin(&mut self, stage: Stage) {
        let span = debug_span!(parent: self.span(), gen_ai::STAGE_SPAN, { gen_ai::STAGE } = stage.as_str());
        self.open(stage, None, span);
    }

    /// Begins an attempt at an answer, or at a summary.
    pub(super) fn step(&mut self, purpose: Purpose, r#gen: Gen) {
        match purpose {
            Purpose::Compaction => self.begin(Stage::Compaction),
            _ => {
                let span = info_span!(
                    parent: self.span(),
                    gen_ai::STEP_SPAN,
                    { gen_ai::CONVERSATION_ID } = %self.chat,
                    { gen_ai::GEN } = r#gen.get(),
                );
                self.open(Stage::GenerationStep, None, span);
            }
        }
    }

    /// A provider is being asked. Gives the span of the request.
    pub(super) fn ask(&mut self, model: &ModelId, purpose: Purpose) -> Span {
        self.be(Activity::Streaming);
        let span = info_span!(
            parent: self.span(),
            gen_ai::ATTEMPT_SPAN,
            { gen_ai::OPERATION_NAME } = gen_ai::CHAT,
            { gen_ai::PROVIDER_NAME } = &*model.provider,
            { gen_ai::REQUEST_MODEL } = &*model.model,
            { gen_ai::CONVERSATION_ID } = %self.chat,
            { gen_ai::PURPOSE } = purpose.as_str(),
            { gen_ai::RESPONSE_ID } = tracing::field::Empty,
            { gen_ai::RESPONSE_FINISH_REASONS } = tracing::field::Empty,
            { gen_ai::USAGE_INPUT_TOKENS } = tracing::field::Empty,
            { gen_ai::USAGE_OUTPUT_TOKENS } = tracing::field::Empty,
            { gen_ai::USAGE_CACHE_READ } = tracing::field::Empty,
            { gen_ai::ERROR_TYPE } = tracing::field::Empty,
        );
        let times = *self.laps.times(Instant::now());
        let spent = |category| (category, times.category(category));
        self.asked = Some([TurnCategory::TimeToFirstToken, TurnCategory::Streaming].map(spent));
        self.open(Stage::ProviderAttempt, Some(Arc::new(model.clone())), span.clone());
        self.begin_asking(Stage::TimeToFirstToken);
        span
    }

    /// Something came of the model. Only content counts as its first word: a warning is none, nor is a sign of life.
    pub(super) fn part(&mut self, part: &ModelPart) {
        if !part.is_content() {
            return;
        }
        if self.is_open(Stage::TimeToFirstToken) {
            self.end(Stage::TimeToFirstToken);
            self.begin_asking(Stage::Stream);
        }
        let thinks = matches!(
            part,
            ModelPart::ReasoningStart { .. }
                | ModelPart::ReasoningDelta { .. }
                | ModelPart::ReasoningEnd { .. }
        );
        match (thinks, self.is_open(Stage::Thinking)) {
            (true, false) => self.begin_asking(Stage::Thinking),
            (false, true) => self.end(Stage::Thinking),
            _ => {}
        }
    }

    /// The request is over.
    pub(super) fn answered(&mut self, answer: &Accumulator, error: Option<&str>) {
        self.be(Activity::Waiting);
        let Some(at) = self.position(Stage::ProviderAttempt) else { return };
        let span = &self.open[at].span;
        if !span.is_disabled() {
            if let Some(End::Finish(finish)) = answer.end() {
                span.record(gen_ai::RESPONSE_FINISH_REASONS, tracing::field::debug([finish.reason.as_str()]));
                if let Some(id) = &finish.response_id {
                    span.record(gen_ai::RESPONSE_ID, &**id);
                }
            }
            let usage = answer.usage();
            let counts = [
                (gen_ai::USAGE_INPUT_TOKENS, tokens::of_prompt(&usage)),
                (gen_ai::USAGE_OUTPUT_TOKENS, usage.output),
                (gen_ai::USAGE_CACHE_READ, usage.cache_read),
            ];
            for (name, count) in counts.into_iter().filter_map(|(name, count)| Some((name, count?))) {
                span.record(name, count);
            }
            if let Some(error) = error {
                span.record(gen_ai::ERROR_TYPE, error);
            }
        }
        self.end(Stage::Thinking);
        self.end(Stage::Stream);
        self.end(Stage::ProviderAttempt);
    }

    /// What the last request took was in vain.
    pub(super) fn failed(&mut self) {
        let now = Instant::now();
        for (category, before) in self.asked.take().into_iter().flatten() {
            let times = self.laps.times(now);
            let taken = times.category(category).saturating_sub(before);
            times.reassign(category, TurnCategory::ProviderError, taken);
        }
    }

    /// Ends a stage, if it is open, and tells how long it took.
    pub(super) fn end(&mut self, stage: Stage) {
        let Some(timed) = self.close(stage) else { return };
        // Most gates are open: no wait is no stage.
        if stage != Stage::CapacityWait || timed.begun.elapsed() >= WAIT {
            timed.end(&self.deps);
        }
    }

    /// Ends the stage in which tools ran: each of them tells its own time.
    pub(super) fn end_tools(&mut self) {
        drop(self.close(Stage::ToolCall));
    }

    /// Ends what is open, untold.
    pub(super) fn settle(&mut self) {
        self.be(Activity::Waiting);
        self.laps.leave(0, Instant::now());
        self.open.clear();
    }

    /// Time is spent on what the loop itself does, until all is settled.
    pub(super) fn work(&mut self) {
        self.laps.enter(TurnCategory::Overhead, Instant::now());
    }

    /// A tool that is about to run.
    pub(super) fn tool(&self, key: CallKey, name: &str, call_id: &str, model: &Arc<ModelId>) -> Timed {
        let span = info_span!(
            parent: &self.turn,
            gen_ai::TOOL_SPAN,
            { gen_ai::OPERATION_NAME } = gen_ai::EXECUTE_TOOL,
            { gen_ai::TOOL_NAME } = name,
            { gen_ai::TOOL_CALL_ID } = call_id,
            { gen_ai::CONVERSATION_ID } = %key.chat,
            { gen_ai::ERROR_TYPE } = tracing::field::Empty,
        );
        self.timed(Stage::ToolCall, Some(Arc::clone(model)), span)
    }

    /// What a commit of ours did to the turn.
    pub(super) fn turn(&mut self, turns: Turns) {
        let Turns { ended, began, .. } = turns;
        if let Some(end) = ended {
            // They belong to the turn that ends with them.
            self.end(Stage::GenerationStep);
            self.end(Stage::Compaction);
            self.end_tools();
            self.end_turn(end);
        }
        if began {
            self.begin_turn(true);
        }
    }

    fn begin_turn(&mut self, is_new: bool) {
        (self.scope, self.whole) = (Scope::Turn, is_new);
        self.turn = info_span!(
            parent: None,
            gen_ai::TURN_SPAN,
            { gen_ai::OPERATION_NAME } = gen_ai::INVOKE_AGENT,
            { gen_ai::CONVERSATION_ID } = %self.chat,
            { gen_ai::CHAT_KIND } = self.kind.as_str(),
        );
    }

    fn end_turn(&mut self, end: TurnEnd) {
        let now = Instant::now();
        let laps = std::mem::replace(&mut self.laps, Laps::new(now));
        self.turn = Span::none();
        if self.scope == Scope::Background {
            return;
        }
        let stopped = match end {
            TurnEnd::Stopped(reason) => reason != StopReason::Interrupted,
            TurnEnd::Failed | TurnEnd::Abandoned => false,
        };
        let (chat, kind) = (self.chat, self.kind);
        // What a stop or an error cut short says nothing of how long turns take.
        if stopped {
            let times = match self.whole {
                true => laps.finish(now),
                false => Err(StageAnomaly::StaleAnchor),
            };
            match times {
                Ok(times) => {
                    self.tell(Stage::ChatTurn, times.total());
                    self.deps.observe(&Event::TurnTimed { chat, kind, times: &times });
                }
                Err(reason) => self.deps.observe(&Event::StageAnomaly { chat, reason }),
            }
        }
        self.scope = Scope::Background;
    }

    fn open(&mut self, stage: Stage, model: Option<Arc<ModelId>>, span: Span) {
        let mut timed = self.timed(stage, model, span);
        timed.depth = self.laps.enter(category(stage), timed.begun);
        self.open.push(timed);
    }

    /// Begins a stage of the request that is open.
    fn begin_asking(&mut self, stage: Stage) {
        let asking = self.position(Stage::ProviderAttempt).map(|at| &self.open[at]);
        let model = asking.and_then(|timed| timed.model.clone());
        let span = debug_span!(parent: self.span(), gen_ai::STAGE_SPAN, { gen_ai::STAGE } = stage.as_str());
        self.open(stage, model, span);
    }

    fn timed(&self, stage: Stage, model: Option<Arc<ModelId>>, span: Span) -> Timed {
        let (chat, kind, scope, begun) = (self.chat, self.kind, self.scope, Instant::now());
        Timed { stage, chat, kind, scope, model, begun, depth: 0, span }
    }

    fn position(&self, stage: Stage) -> Option<usize> {
        self.open.iter().rposition(|timed| timed.stage == stage)
    }

    fn is_open(&self, stage: Stage) -> bool {
        self.position(stage).is_some()
    }

    fn close(&mut self, stage: Stage) -> Option<Timed> {
        let (at, now) = (self.position(stage)?, Instant::now());
        self.open.truncate(at + 1);
        let timed = self.open.pop()?;
        self.laps.leave(timed.depth, now);
        self.laps.add(stage, timed.begun, now);
        Some(timed)
    }

    fn tell(&self, stage: Stage, took: Duration) {
        let (chat, kind, scope) = (self.chat, self.kind, self.scope);
        self.deps.observe(&Event::StageEnded { chat, kind, stage, scope, model: None, took });
    }

    fn be(&mut self, activity: Activity) {
        if self.activity != activity {
            let (chat, from, to) = (self.chat, Some(self.activity), Some(activity));
            self.deps.observe(&Event::ActivityChanged { chat, from, to });
            self.activity = activity;
        }
    }
}

/// What the time of a stage is spent on, as far as nothing inside it takes it.
fn category(stage: Stage) -> TurnCategory {
    match stage {
        Stage::QueueWait | Stage::Acquisition => TurnCategory::Scheduling,
        Stage::CapacityWait | Stage::RetryBackoff => TurnCategory::RetryBackoff,
        Stage::TimeToFirstToken => TurnCategory::TimeToFirstToken,
        Stage::Stream | Stage::Thinking => TurnCategory::Streaming,
        Stage::ToolCall => TurnCategory::ToolExecution,
        Stage::Compaction => TurnCategory::Compaction,
        _ => TurnCategory::Overhead,
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        let (chat, from) = (self.chat, Some(self.activity));
        self.deps.observe(&Event::ActivityChanged { chat, from, to: None });
    }
}
