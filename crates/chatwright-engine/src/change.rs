use chatwright_core::head::{HeadDraft, Index, Last, OpenCall, OpenGen, State, Status, UnitKind};
use chatwright_core::message::{CHUNK_BYTES, split};
use chatwright_core::record::{
    AttemptEnded, AttemptStarted, BatchEnded, BatchStarted, Body, CallResult, ChatError, ErrorInfo,
    MessageAssistant, MessagePart, MessageUser, Outcome, QueuePromoted, ResultOrigin, StopReason, ToolIntent,
    ToolResults, TurnEnded,
};
use chatwright_core::tool::Effect;
use chatwright_core::{Draft, Epoch, Json, MessageId, OpId, Seq, SessionId, Timestamp};

use crate::input::{Context, Next, Plan, Planned, TurnEnd, synthetic};
use crate::refused::NotDone;
use crate::step::{Receipt, Step};

/// A commit in the making: the records so far and the state that they lead to.
pub(crate) struct Change<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) index: Index,
    pub(crate) state: State,
    pub(crate) holder: Option<SessionId>,
    pub(crate) wake_at: Option<Timestamp>,
    op: OpId,
    after: Seq,
    drafts: Vec<Draft>,
}

/// Who goes on with a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runner<'a> {
    /// The session that holds the chat begins the next attempt in the same commit.
    Holder(SessionId, &'a Next),
    /// Nobody yet: somebody will claim the chat.
    Nobody,
}

impl<'a> Change<'a> {
    pub(crate) fn new(
        context: Context<'a>,
        op: OpId,
        after: Seq,
        index: Index,
        state: State,
        holder: Option<SessionId>,
        wake_at: Option<Timestamp>,
    ) -> Self {
        Self { context, index, state, holder, wake_at, op, after, drafts: Vec::new() }
    }

    /// Adds a record and gives its position.
    pub(crate) fn push(&mut self, body: impl Into<Body>) -> Result<Seq, NotDone> {
        let (body, now) = (body.into(), self.context.now);
        let draft = match self.drafts.is_empty() {
            true => Draft::first(self.op, now, &body)?,
            false => Draft::new(now, &body)?,
        };
        self.drafts.push(draft);
        Ok(self.last_seq())
    }

    /// The position of the last record so far.
    pub(crate) fn last_seq(&self) -> Seq {
        Seq::new(self.after.get() + self.drafts.len() as u64)
    }

    /// The position that the next record will have.
    pub(crate) fn next_seq(&self) -> Seq {
        self.last_seq().next()
    }

    pub(crate) fn done(mut self, receipt: Option<Receipt>) -> Result<Step, NotDone> {
        self.index.status = self.state.status;
        let head = HeadDraft::from_json(
            self.index,
            Json::encode(&self.state).map_err(chatwright_core::head::InvalidHead::from)?,
        )?
        .holder(self.holder)
        .wake_at(self.wake_at);
        Ok(Step { head, records: self.drafts, state: self.state, receipt })
    }

    /// A message of a user's enters history: first the open calls get their results.
    pub(crate) fn user_message(&mut self, message: MessageUser) -> Result<Seq, NotDone> {
        self.answer_open_calls("The call was cancelled by a new message of the user.")?;
        self.index.updated = self.context.now;
        self.push(message)
    }

    /// The model's answer enters history, in as many records as it needs.
    pub(crate) fn assistant_message(&mut self, mut message: MessageAssistant) -> Result<(), NotDone> {
        let mut runs = split(std::mem::take(&mut message.content));
        let (last_continues, last) = runs.pop().unwrap_or_default();
        // A part says whether the one after it goes on where it stops.
        let goes_on: Vec<bool> =
            runs.iter().skip(1).map(|(continues, _)| *continues).chain([last_continues]).collect();
        for ((_, content), continues) in runs.into_iter().zip(goes_on) {
            self.push(MessagePart { message: message.id, content, continues })?;
        }
        message.content = last;
        self.index.updated = self.context.now;
        self.push(message)?;
        Ok(())
    }

    /// Seals the open attempt.
    pub(crate) fn seal_attempt(&mut self, ended: AttemptEnded) -> Result<(), NotDone> {
        (self.state.last_gen, self.state.last_off) = (ended.r#gen, ended.off);
        self.state.open = None;
        self.push(ended)?;
        Ok(())
    }

    /// Seals whatever gen is open, as nothing of it is kept.
    pub(crate) fn seal_open(&mut self, outcome: Outcome, off: u64) -> Result<(), NotDone> {
        let Some(open) = self.state.open.take() else { return Ok(()) };
        (self.state.last_gen, self.state.last_off) = (open.r#gen, off);
        match open.kind {
            UnitKind::Batch => self.push(BatchEnded { r#gen: open.r#gen, outcome, off })?,
            UnitKind::Attempt | UnitKind::Compaction => self.push(AttemptEnded {
                r#gen: open.r#gen,
                outcome,
                off,
                finish: None,
                usage: Default::default(),
                estimated: false,
            })?,
        };
        Ok(())
    }

    /// Takes results of open calls in; others are left out.
    pub(crate) fn results(&mut self, results: Vec<CallResult>) -> Result<(), NotDone> {
        let Some(message) = self.state.calls_in else { return Ok(()) };
        let open = &mut self.state.calls;
        let mut taken = Vec::with_capacity(results.len());
        for result in results {
            if let Some(at) = open.iter().position(|call| call.ordinal == result.ordinal) {
                open.remove(at);
                taken.push(result);
            }
        }
        if self.state.calls.is_empty() {
            self.state.calls_in = None;
        }
        if taken.is_empty() {
            return Ok(());
        }
        let batch = self.state.open.as_ref().filter(|open| open.kind == UnitKind::Batch);
        let r#gen = batch.map(|open| open.r#gen);
        // Together they may be more than one record takes.
        let mut rest = taken.into_iter().peekable();
        while rest.peek().is_some() {
            let mut room = CHUNK_BYTES;
            let mut results = Vec::new();
            while let Some(result) = rest.next_if(|result| results.is_empty() || encoded(result) <= room) {
                room = room.saturating_sub(encoded(&result));
                results.push(result);
            }
            self.push(ToolResults { r#gen, message, results, key: None })?;
        }
        Ok(())
    }

    /// Answers every open call without running it. One that may have begun is told apart.
    pub(crate) fn answer_open_calls(&mut self, words: &str) -> Result<(), NotDone> {
        let answer = |call: &OpenCall| match (call.started, call.effect) {
            (Some(_), Some(Effect::Once | Effect::Idempotent)) => unknown_outcome(call.ordinal),
            _ => synthetic(call.ordinal, ResultOrigin::Canceled, words),
        };
        let results = self.state.calls.iter().map(answer).collect();
        self.results(results)
    }

    /// Begins a model attempt under the current epoch.
    pub(crate) fn start_attempt(&mut self, session: SessionId, next: &Next) -> Result<(), NotDone> {
        let r#gen = self.state.last_gen.next();
        self.open(OpenGen {
            r#gen,
            kind: UnitKind::Attempt,
            seq: self.next_seq(),
            writer: session,
            message: Some(next.message),
        });
        let (step, attempt) = (self.state.steps + 1, self.state.failures + 1);
        if let Some(retry) = &mut self.state.retry {
            retry.at = None;
        }
        self.push(AttemptStarted {
            r#gen,
            unit: UnitKind::Attempt,
            epoch: self.state.epoch,
            writer: session,
            message: next.message,
            model: next.model.clone(),
            step,
            attempt,
        })?;
        Ok(())
    }

    fn open(&mut self, open: OpenGen) {
        (self.state.last_gen, self.state.last_off) = (open.r#gen, 0);
        self.state.open = Some(open);
    }

    /// Answers the calls that are refused, and begins a batch with the others; without others the next attempt begins.
    pub(crate) fn start_batch(
        &mut self,
        session: SessionId,
        message: MessageId,
        plan: &[Planned],
        next: &Next,
    ) -> Result<(), NotDone> {
        let refused = plan.iter().filter_map(|planned| match &planned.plan {
            Plan::Refuse { output, origin } => {
                Some(CallResult { ordinal: planned.ordinal, output: output.clone(), origin: *origin })
            }
            Plan::Run { .. } => None,
        });
        self.results(refused.collect())?;
        if self.state.calls.is_empty() {
            return self.go_on(session, next);
        }
        let r#gen = self.state.last_gen.next();
        self.open(OpenGen {
            r#gen,
            kind: UnitKind::Batch,
            seq: self.next_seq(),
            writer: session,
            message: Some(message),
        });
        let calls = self.state.calls.iter().map(|call| call.ordinal).collect();
        self.push(BatchStarted { r#gen, epoch: self.state.epoch, writer: session, message, calls })?;
        self.start_calls(plan)
    }

    /// Commits the intents of the calls that may start now: pure ones side by side, others one after the other in call
    /// order.
    pub(crate) fn start_calls(&mut self, plan: &[Planned]) -> Result<(), NotDone> {
        let (Some(message), Some(open)) = (self.state.calls_in, self.state.open.clone()) else {
            return Ok(());
        };
        let running = |pure: bool, calls: &[OpenCall]| {
            calls
                .iter()
                .filter(|call| call.started.is_some() && (call.effect == Some(Effect::Pure)) == pure)
                .count()
        };
        for at in 0..self.state.calls.len() {
            let call = &self.state.calls[at];
            let Some(Planned { plan: Plan::Run { name, effect, deadline, input_hash }, .. }) =
                plan.iter().find(|planned| planned.ordinal == call.ordinal)
            else {
                continue;
            };
            // The stored effect rules after a deploy.
            let effect = call.effect.unwrap_or(*effect);
            let room = match effect {
                Effect::Pure => running(true, &self.state.calls) < self.context.rules.parallel_max,
                Effect::Idempotent | Effect::Once => running(false, &self.state.calls) == 0,
            };
            if call.started.is_some() || !room {
                continue;
            }
            let deadline = self.context.now.after(*deadline);
            let ordinal = call.ordinal;
            let call = &mut self.state.calls[at];
            (call.effect, call.started, call.deadline) =
                (Some(effect), Some(self.context.now), Some(deadline));
            let (name, input_hash) = (name.clone(), *input_hash);
            self.push(ToolIntent {
                r#gen: open.r#gen,
                message,
                ordinal,
                name,
                effect,
                deadline,
                input_hash,
            })?;
        }
        Ok(())
    }

    /// After a batch: the next attempt, unless the turn has had its steps.
    pub(crate) fn go_on(&mut self, session: SessionId, next: &Next) -> Result<(), NotDone> {
        if self.state.status == Status::Interrupting {
            return self.end_turn(TurnEnd::Stop(StopReason::Interrupted), Runner::Holder(session, next));
        }
        if self.state.steps >= self.context.rules.steps_max {
            return self.end_turn(TurnEnd::Stop(StopReason::StepLimit), Runner::Holder(session, next));
        }
        self.start_attempt(session, next)
    }

    /// Ends the turn. A queued message begins the next one, unless the turn ended with an error; otherwise the chat comes
    /// to rest and has no holder.
    pub(crate) fn end_turn(&mut self, end: TurnEnd, runner: Runner<'_>) -> Result<(), NotDone> {
        self.answer_open_calls("The call was cancelled because the turn ended.")?;
        (self.state.steps, self.state.failures, self.state.retry) = (0, 0, None);
        let promote = match end {
            TurnEnd::Stop(reason) => {
                let seq = self.push(TurnEnded { reason })?;
                self.state.last =
                    (reason != StopReason::Complete).then(|| last(seq, reason_name(reason), ""));
                self.state.queue.iter().any(|entry| !entry.held)
            }
            TurnEnd::Error(error) => {
                let seq = self.push(ChatError { error: error.clone() })?;
                self.state.last = Some(last(seq, &error.kind, &error.message));
                self.state.status = Status::Error;
                false
            }
        };
        if promote {
            let promoted = match runner {
                Runner::Holder(_, next) => next.promoted,
                Runner::Nobody => self.fresh_message_id(),
            };
            self.promote(promoted)?;
            self.state.status = Status::Running;
            return match runner {
                Runner::Holder(session, next) => self.start_attempt(session, next),
                Runner::Nobody => {
                    self.wait_for_claim();
                    Ok(())
                }
            };
        }
        if self.state.status != Status::Error {
            self.state.status = Status::Waiting;
        }
        (self.holder, self.wake_at) = (None, None);
        Ok(())
    }

    /// The chat is runnable, at once or when its next attempt is due, and nobody holds it.
    pub(crate) fn wait_for_claim(&mut self) {
        // A stop waits for nothing.
        let waits = self.state.status != Status::Interrupting;
        let retry_at = self.state.retry.and_then(|retry| retry.at).filter(|_| waits).unwrap_or_default();
        (self.holder, self.wake_at) = (None, Some(self.context.now.max(retry_at)));
    }

    /// What sets the waits of this operation apart from those of others.
    pub(crate) fn seed(&self) -> u64 {
        self.op.as_uuid().as_u64_pair().1
    }

    /// The head of the queue enters history.
    pub(crate) fn promote(&mut self, message: MessageId) -> Result<Seq, NotDone> {
        let at = self.state.queue.iter().position(|entry| !entry.held);
        let entry = self.state.queue.remove(at.expect("the caller saw an entry"));
        let mut queued = self.context.history.queued(entry.id).cloned().ok_or(NotDone::Missing(entry.seq))?;
        queued.queued = Some(entry.id);
        queued.id = message;
        self.push(QueuePromoted { id: entry.id })?;
        self.user_message(queued)
    }

    /// An id for a message that nobody minted one for: derived from the operation, so that a retry gives the same.
    pub(crate) fn fresh_message_id(&self) -> MessageId {
        let name = format!("{}/promoted", self.op);
        MessageId::from_uuid(chatwright_core::Uuid::new_v5(self.op.as_uuid(), name.as_bytes()))
    }

    pub(crate) fn next_epoch(&mut self) -> Epoch {
        self.state.epoch = self.state.epoch.next();
        self.state.epoch
    }
}

fn encoded(result: &CallResult) -> usize {
    Json::encode(result).map_or(usize::MAX, |json| json.len() + 1)
}

pub(crate) fn unknown_outcome(ordinal: u32) -> CallResult {
    let words = "The outcome of this call is unknown: it was started, and may or may not have had its effect. \
                 Check before you do it again.";
    synthetic(ordinal, ResultOrigin::OutcomeUnknown, words)
}

pub(crate) fn last(seq: Seq, kind: &str, message: &str) -> Last {
    let cut = |text: &str, max: usize| {
        text.chars().take(max).filter(|c| !c.is_control()).collect::<String>().into()
    };
    // At four bytes a character, and some for the rest, it stays under its bound.
    Last { seq, kind: cut(kind, 40), message: cut(message, 160) }
}

pub(crate) fn poisoned(deaths: u32) -> ErrorInfo {
    ErrorInfo {
        message: format!("The chat was given up: {deaths} processes that ran it died without progress.")
            .into(),
        kind: "poisoned".into(),
        provider: None,
        retryable: false,
        status_code: None,
        detail: None,
    }
}

fn reason_name(reason: StopReason) -> &'static str {
    match reason {
        StopReason::StopAfterTool => "stop_after_tool",
        StopReason::StepLimit => "step_limit",
        StopReason::Length => "length",
        StopReason::ContentFilter => "content_filter",
        StopReason::OutputLimit => "output_limit",
        StopReason::Empty => "empty",
        StopReason::Interrupted => "interrupted",
        _ => "complete",
    }
}
