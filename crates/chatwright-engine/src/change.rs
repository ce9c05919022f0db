use chatwright_core::head::{
    CallKind, Compact, HeadDraft, Index, KeyHash, Last, OpenCall, OpenGen, State, Status, UnitKind,
};
use chatwright_core::message::{CHUNK_BYTES, split};
use chatwright_core::record::{
    ActionRequired, AttemptEnded, AttemptStarted, BatchEnded, BatchStarted, Body, CallResult, ChatArchived,
    ChatError, ErrorInfo, MessageAssistant, MessagePart, MessageUser, Outcome, PendingCall, QueueChanged,
    QueuePromoted, ResultOrigin, StopReason, ToolIntent, ToolResults, TurnEnded,
};
use chatwright_core::tool::Effect;
use chatwright_core::{Draft, Epoch, Json, MessageId, OpId, QueueId, Seq, SessionId, Timestamp};

use crate::input::{Context, Next, Plan, Planned, Report, TurnEnd, synthetic};
use crate::refused::NotDone;
use crate::step::{Receipt, Step};

/// A commit in the making: the records so far and the state that they lead to.
pub(crate) struct Change<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) index: Index,
    pub(crate) state: State,
    pub(crate) holder: Option<SessionId>,
    pub(crate) wake_at: Option<Timestamp>,
    /// The other members of the family are archived.
    pub(crate) members_archived: bool,
    /// The message that this commit puts into the queue.
    pub(crate) queued: Option<(QueueId, MessageUser)>,
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
        let (members_archived, queued, drafts) = (false, None, Vec::new());
        Self { context, index, state, holder, wake_at, members_archived, queued, op, after, drafts }
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
        if message.model.is_some() {
            self.state.model.clone_from(&message.model);
        }
        self.state.effort = message.effort.or(self.state.effort);
        let seq = self.push(message)?;
        self.state.turn_from = Some(seq);
        Ok(seq)
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

    /// Seals whatever gen is open, as nothing of it is kept and nothing known.
    pub(crate) fn seal_open(&mut self, outcome: Outcome, off: u64) -> Result<(), NotDone> {
        self.cut_off(outcome, off, &Report::default())
    }

    /// Seals whatever gen is open, as nothing of it is kept but what its request took.
    pub(crate) fn cut_off(&mut self, outcome: Outcome, off: u64, report: &Report) -> Result<(), NotDone> {
        let Some(open) = self.state.open.take() else { return Ok(()) };
        (self.state.last_gen, self.state.last_off) = (open.r#gen, off);
        match open.kind {
            UnitKind::Batch => self.push(BatchEnded { r#gen: open.r#gen, outcome, off })?,
            UnitKind::Attempt | UnitKind::Compaction => self.push(AttemptEnded {
                r#gen: open.r#gen,
                outcome,
                off,
                finish: None,
                usage: report.usage,
                estimated: report.estimated,
                prices: report.prices,
                warnings: report.warnings.clone(),
            })?,
        };
        Ok(())
    }

    /// Takes results of open calls in; others are left out.
    pub(crate) fn results(&mut self, results: Vec<CallResult>) -> Result<(), NotDone> {
        self.results_of_command(results, None)
    }

    /// The same for a command, whose key its first record carries.
    pub(crate) fn results_of_command(
        &mut self,
        results: Vec<CallResult>,
        key: Option<KeyHash>,
    ) -> Result<(), NotDone> {
        let Some(message) = self.state.calls_in else { return Ok(()) };
        let open = &mut self.state.calls;
        let mut taken = Vec::with_capacity(results.len());
        for result in results {
            if let Some(at) = open.iter().position(|call| call.ordinal == result.ordinal) {
                let call = open.remove(at);
                self.state.stop_after |=
                    call.stop_after && result.origin == ResultOrigin::Tool && !result.output.is_error();
                taken.push(result);
            }
        }
        if self.state.calls.is_empty() {
            self.state.calls_in = None;
        }
        self.push_results(message, taken, key)
    }

    /// Adds results, in as many records as they need: together they may be more than one takes.
    pub(crate) fn push_results(
        &mut self,
        message: MessageId,
        results: Vec<CallResult>,
        mut key: Option<KeyHash>,
    ) -> Result<(), NotDone> {
        let batch = self.state.open.as_ref().filter(|open| open.kind == UnitKind::Batch);
        let r#gen = batch.map(|open| open.r#gen);
        let mut rest = results.into_iter().peekable();
        while rest.peek().is_some() {
            let mut room = CHUNK_BYTES;
            let mut results = Vec::new();
            while let Some(result) = rest.next_if(|result| results.is_empty() || encoded(result) <= room) {
                room = room.saturating_sub(encoded(&result));
                results.push(result);
            }
            self.push(ToolResults { r#gen, message, results, key: key.take() })?;
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
        self.ask(UnitKind::Attempt, session, next)
    }

    /// Begins an attempt or a compaction.
    fn ask(&mut self, unit: UnitKind, session: SessionId, next: &Next) -> Result<(), NotDone> {
        let r#gen = self.state.last_gen.next();
        self.open(OpenGen {
            r#gen,
            kind: unit,
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
            unit,
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

    /// Answers the calls that are refused, and begins a batch with those that the holder runs. Without any the chat waits for
    /// the client or a decision, and without those the next attempt begins.
    pub(crate) fn start_batch(
        &mut self,
        session: SessionId,
        message: MessageId,
        plan: &[Planned],
        next: &Next,
    ) -> Result<(), NotDone> {
        let refused = |call: &OpenCall| {
            let planned =
                plan.iter().find(|planned| planned.ordinal == call.ordinal).map(|planned| &planned.plan);
            match planned {
                Some(Plan::Refuse { output, origin }) => {
                    Some(CallResult { ordinal: call.ordinal, output: output.clone(), origin: *origin })
                }
                Some(Plan::Run { .. }) => None,
                // It was the holder's to run when it was opened, perhaps by another version of the program.
                Some(Plan::Client) | None if call.kind == CallKind::Local => {
                    Some(synthetic(call.ordinal, ResultOrigin::Refused, "The tool is not there any more."))
                }
                Some(Plan::Client) | None => None,
            }
        };
        let refused = self.state.calls.iter().filter_map(refused).collect();
        self.results(refused)?;
        if !self.has_local_calls() {
            return self.after_calls(session, next);
        }
        let r#gen = self.state.last_gen.next();
        self.open(OpenGen {
            r#gen,
            kind: UnitKind::Batch,
            seq: self.next_seq(),
            writer: session,
            message: Some(message),
        });
        let local = self.state.calls.iter().filter(|call| call.kind == CallKind::Local);
        let calls = local.map(|call| call.ordinal).collect();
        self.push(BatchStarted { r#gen, epoch: self.state.epoch, writer: session, message, calls })?;
        self.start_calls(plan)
    }

    /// Commits the intents of the calls that may start now: pure ones side by side, others one after the other in call
    /// order.
    pub(crate) fn start_calls(&mut self, plan: &[Planned]) -> Result<(), NotDone> {
        let (Some(message), Some(open)) = (self.state.calls_in, self.state.open.clone()) else {
            return Ok(());
        };
        // `None` is what works on nothing that is named; what is not planned any more may work on anything.
        let resource = |ordinal| match plan.iter().find(|planned| planned.ordinal == ordinal) {
            Some(Planned { plan: Plan::Run { resource, .. }, .. }) => Some(*resource),
            _ => None,
        };
        for at in 0..self.state.calls.len() {
            let call = &self.state.calls[at];
            let Some(Planned { plan: Plan::Run { name, effect, deadline, input_hash, .. }, .. }) =
                plan.iter().find(|planned| planned.ordinal == call.ordinal && call.kind == CallKind::Local)
            else {
                continue;
            };
            // The stored effect rules after a deploy.
            let effect = call.effect.unwrap_or(*effect);
            let is_pure = effect == Effect::Pure;
            let (of, calls) = (resource(call.ordinal), &self.state.calls);
            let mut beside = calls
                .iter()
                .filter(|other| other.started.is_some() && (other.effect == Some(Effect::Pure)) == is_pure);
            let is_free = |other: &OpenCall| {
                let theirs = resource(other.ordinal);
                is_pure || (theirs.is_some() && theirs != of)
            };
            let room = beside.clone().count() < self.context.rules.parallel_max && beside.all(is_free);
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

    pub(crate) fn has_local_calls(&self) -> bool {
        self.state.calls.iter().any(|call| call.kind == CallKind::Local)
    }

    /// The holder has no call left to run: what others have to answer is waited for by nobody.
    pub(crate) fn after_calls(&mut self, session: SessionId, next: &Next) -> Result<(), NotDone> {
        let Some(message) = self.state.calls_in.filter(|_| self.state.status != Status::Interrupting) else {
            return self.go_on(session, next);
        };
        let (now, rules) = (self.context.now, self.context.rules);
        let pending = |call: &mut OpenCall| {
            let wait = match call.kind {
                CallKind::Approval => rules.approval_deadline,
                CallKind::Client | CallKind::Local => rules.client_deadline,
            };
            let deadline = *call.deadline.get_or_insert(now.after(wait));
            PendingCall { ordinal: call.ordinal, kind: call.kind, deadline }
        };
        let calls = self.state.calls.iter_mut().map(pending).collect();
        self.push(ActionRequired { message, calls })?;
        self.state.status = Status::RequiresAction;
        self.holder = None;
        self.wait_for_action();
        Ok(())
    }

    /// After a result or a decision that was waited for: the turn goes on when there is no other.
    pub(crate) fn go_on_after_action(&mut self) {
        if self.state.calls.iter().any(|call| call.kind != CallKind::Local) {
            return self.wait_for_action();
        }
        self.state.status = Status::Running;
        self.wait_for_claim();
    }

    /// Somebody looks at the chat when the first deadline is over.
    fn wait_for_action(&mut self) {
        self.wake_at = self.state.calls.iter().filter_map(|call| call.deadline).min();
    }

    /// After a batch: what was asked for in between, then the next attempt, unless the turn has had its steps.
    pub(crate) fn go_on(&mut self, session: SessionId, next: &Next) -> Result<(), NotDone> {
        if self.state.status == Status::Interrupting {
            return self.end_turn(TurnEnd::Stop(StopReason::Interrupted), Runner::Holder(session, next));
        }
        if self.state.compact.is_some() {
            return self.ask(UnitKind::Compaction, session, next);
        }
        if self.state.stop_after {
            return self.end_turn(TurnEnd::Stop(StopReason::StopAfterTool), Runner::Holder(session, next));
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
        (self.state.steps, self.state.failures, self.state.retry, self.state.deaths) = (0, 0, None, 0);
        (self.state.stop_after, self.state.squeezed) = (false, None);
        let compact = self.state.compact.take();
        let reason = match end {
            TurnEnd::Stop(reason) => reason,
            TurnEnd::Error(error) => {
                let seq = self.push(ChatError { error: error.clone() })?;
                self.state.last = Some(last(seq, &error.kind, &error.message));
                self.state.status = Status::Error;
                return self.come_to_rest();
            }
        };
        let seq = self.push(TurnEnded { reason })?;
        let simply = matches!(reason, StopReason::Complete | StopReason::Compacted);
        self.state.last = (!simply).then(|| last(seq, reason_name(reason), ""));
        match runner {
            // What was asked for while the turn ran, and did not come to pass in it.
            Runner::Holder(session, next)
                if matches!(compact, Some(Compact::GoOn | Compact::Rest))
                    && reason != StopReason::Interrupted =>
            {
                (self.state.status, self.state.compact) = (Status::Running, Some(Compact::Rest));
                self.ask(UnitKind::Compaction, session, next)
            }
            _ if !self.has_promotable() => self.come_to_rest(),
            Runner::Holder(session, next) => {
                self.promote(next.promoted)?;
                self.state.status = Status::Running;
                self.start_attempt(session, next)
            }
            Runner::Nobody => {
                let promoted = self.fresh_message_id();
                self.promote(promoted)?;
                self.state.status = Status::Running;
                self.wait_for_claim();
                Ok(())
            }
        }
    }

    /// Nothing runs, and nobody holds the chat. One that is to be archived is, unless other members of its family come first.
    pub(crate) fn come_to_rest(&mut self) -> Result<(), NotDone> {
        if self.state.status != Status::Error {
            self.state.status = Status::Waiting;
        }
        (self.holder, self.wake_at) = (None, None);
        if self.state.archiving.is_none() {
            return Ok(());
        }
        if self.state.children > 0 && !self.members_archived {
            self.wake_at = Some(self.context.now);
            return Ok(());
        }
        self.push(ChatArchived {})?;
        (self.index.archived, self.state.archiving) = (true, None);
        Ok(())
    }

    /// Nothing is promoted until its user says so.
    pub(crate) fn hold_queue(&mut self) -> Result<(), NotDone> {
        for at in 0..self.state.queue.len() {
            if !std::mem::replace(&mut self.state.queue[at].held, true) {
                let id = self.state.queue[at].id;
                self.push(QueueChanged { id, content: None, held: Some(true), position: None, key: None })?;
            }
        }
        Ok(())
    }

    fn has_promotable(&self) -> bool {
        self.state.queue.iter().any(|entry| !entry.held)
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
        let mut queued = match self.queued.take_if(|(id, _)| *id == entry.id) {
            Some((_, message)) => message,
            None => self.context.history.queued(&entry).cloned().map_err(NotDone::Missing)?,
        };
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
        StopReason::Compacted => "compacted",
        _ => "complete",
    }
}
