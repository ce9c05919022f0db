//! The nested call: no tools, one answer, a deadline.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::{Output, Part};
use chatwright_core::error::{Cause, Failure, TimeoutPhase, Verdict, classify};
use chatwright_core::head::Index;
use chatwright_core::history::ValidHistory;
use chatwright_core::model::{FinishReason, Message, ModelCall, Role};
use chatwright_core::port::{Event, LedgerEnd, Purpose, Tool};
use chatwright_core::tool::{ToolCall, ToolSpec};
use chatwright_core::{Cancel, ChatId, Gen, Seq};
use chatwright_engine::calls;
use chatwright_retry::{Decision, Policy, decide};
use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::handoff::hand_off;
use super::{QUESTION_SCALARS_MAX, Terms, Told, WITHIN, spec};
use crate::deps::{Deps, soon};
use crate::failure;
use crate::meter::{Meter, Request, scope};
use crate::models::Chosen;
use crate::tokens;

/// Most attempts of a use.
const ATTEMPTS_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
/// Tokens of a prompt where no window is known.
const PROMPT_TOKENS: u64 = 32_000;

/// The tool of one call.
pub(crate) struct Advisor {
    pub(crate) deps: Arc<Deps>,
    pub(crate) terms: Arc<Terms>,
    /// How often the turn has been advised.
    pub(crate) used: u32,
    pub(crate) chat: ChatId,
    pub(crate) r#gen: Gen,
    /// The message with which the turn began.
    pub(crate) turn: Option<Seq>,
    pub(crate) index: Index,
    /// The model of the chat.
    pub(crate) own: Option<Box<str>>,
    pub(crate) seen: Seen,
    /// What the agent said before it asked.
    pub(crate) step: String,
    /// When a shutdown that has begun takes the chat away.
    pub(crate) drain: watch::Receiver<Option<Instant>>,
}

/// What the agent saw when it asked.
pub(crate) enum Seen {
    /// What it was sent.
    Sent(ValidHistory),
    /// Nobody here sent it: what it would be sent now, but for what the user wants every model to know.
    Anew(Vec<Message>),
}

/// Why there is no answer.
enum Ended {
    Canceled,
    Failed(String),
}

/// What ends a use before it has an answer.
struct Bounds {
    cancel: Cancel,
    until: Instant,
}

/// A request that was made. Whatever becomes of it, the ledger is told.
struct Asked {
    meter: Option<Meter>,
    answer: Accumulator,
}

impl Advisor {
    async fn ask(&self, question: &str, cancel: Cancel) -> Result<Told, Ended> {
        let mut bounds = Bounds { cancel, until: Instant::now() + WITHIN };
        let name = self.terms.model.as_deref().or(self.own.as_deref());
        let chosen = bounds.before(self.deps.models.choose(name, &self.index.organization)).await?;
        let chosen = chosen.map_err(|error| Ended::Failed(error.to_string()))?;
        let call = bounds.before(self.model_call(&chosen, question)).await?;
        let gate = self.deps.gates.gate(&chosen.model.account());
        let mut policy = Policy::default();
        (policy.attempts_max, policy.elapsed_max, policy.park_above) = (ATTEMPTS_MAX, WITHIN, WITHIN);
        let now = || self.deps.ports.clock.now().into();
        let mut past = chatwright_retry::History::new(now(), self.chat.as_uuid().as_u64_pair().1);
        loop {
            let passed = bounds.before(gate.pass(past.seed, WITHIN)).await?;
            passed.map_err(|_| Ended::Failed("The provider wants everybody to wait.".to_owned()))?;
            let mut call = call.clone();
            let mut scope = scope(self.chat, &self.index, Purpose::Advisor);
            (scope.r#gen, scope.turn, scope.attempt) = (Some(self.r#gen), self.turn, past.failures + 1);
            call.scope = Some(Arc::new(scope));
            let verdict = match self.attempt(&chosen, call, &mut bounds).await? {
                Ok(told) => return Ok(told),
                Err(verdict) => verdict,
            };
            gate.heed(&verdict);
            let Decision::RetryAt { delay, attempt, .. } = decide(&past, &verdict, &policy, now()) else {
                return Err(Ended::Failed(verdict.message.into()));
            };
            past.failures = attempt;
            bounds.before(sleep(delay)).await?;
        }
    }

    /// What the advisor is asked.
    async fn model_call(&self, chosen: &Chosen, question: &str) -> ModelCall {
        let output = self.terms.output_tokens_max;
        // Its answer has to fit too, and what was counted wrong.
        let room = |window: u64| (window.saturating_sub(output).max(window / 4)) / 10 * 8;
        let tokens = chosen.window().map_or(PROMPT_TOKENS, room);
        let prompt = match &self.seen {
            Seen::Sent(sent) => hand_off(sent, &self.step, question, tokens),
            Seen::Anew(messages) => {
                let mut messages = messages.clone();
                if let Some(own) = self.users_own().await {
                    let at = messages.iter().take_while(|message| message.role == Role::System).count();
                    messages.insert(at, Message::new(Role::System, vec![Part::text(own)]));
                }
                hand_off(&messages, &self.step, question, tokens)
            }
        };
        let mut call = ModelCall::new(prompt);
        call.reasoning_effort = self.terms.effort;
        if let Some(options) = chosen.options() {
            options.apply(&mut call);
        }
        call.max_output_tokens = Some(call.max_output_tokens.map_or(output, |own| own.min(output)));
        call
    }

    /// What the user wants every model to know. It is of use to the advisor, and no reason to go without.
    async fn users_own(&self) -> Option<String> {
        let read = soon(self.deps.models.configs()?.user_prompt(&self.index.owner)).await;
        read.and_then(Result::ok).flatten().map(|own| own.to_string())
    }

    /// Asks once.
    ///
    /// # Errors
    /// What ended the use. A failure that another attempt may mend is no such end.
    async fn attempt(
        &self,
        chosen: &Chosen,
        call: ModelCall,
        bounds: &mut Bounds,
    ) -> Result<Result<Told, Box<Verdict>>, Ended> {
        let (chat, r#gen, prompt) =
            (self.chat, Some(self.r#gen), tokens::of_bytes(tokens::bytes_of(&call.prompt)));
        let request = Request { purpose: Purpose::Advisor, chat, r#gen, index: &self.index, chosen, prompt };
        let meter = match bounds.before(Meter::open(&self.deps, request)).await? {
            Ok(meter) => meter,
            Err(error) => return Ok(Err(Box::new(failure::no_ledger(&error)))),
        };
        let mut asked = Asked { meter: Some(meter), answer: Accumulator::new() };
        let streamed = self.stream(chosen, call, &mut asked.answer, bounds).await;
        let (model, warnings) = (&chosen.model.id(), asked.answer.warnings());
        if !warnings.is_empty() {
            self.deps.observe(&Event::Warned { chat, r#gen: self.r#gen, model, warnings });
        }
        let provider = chosen.model.id().provider;
        let failed = match (streamed, asked.answer.end()) {
            (Err(ended), _) => {
                let end = match ended {
                    Ended::Canceled if self.is_drained() => LedgerEnd::Aborted,
                    Ended::Canceled => LedgerEnd::Interrupted,
                    Ended::Failed(_) => LedgerEnd::Failed,
                };
                asked.close(end).await;
                return Err(ended);
            }
            (Ok(Some(failure)), _) => Some(self.verdict(&failure)),
            (Ok(None), Some(End::Failure(failure))) => Some(self.verdict(failure)),
            (Ok(None), Some(End::Finish(finish))) if finish.reason == FinishReason::Error => {
                failure::no_answer(&provider, finish.reason, &asked.answer.content()).map(Box::new)
            }
            _ => None,
        };
        if let Some(verdict) = failed {
            asked.close(LedgerEnd::Failed).await;
            return Ok(Err(verdict));
        }
        let told = self.told(chosen, &asked);
        asked.close(LedgerEnd::Finished).await;
        told.map(Ok).map_err(Ended::Failed)
    }

    /// Streams until the answer ends, or is as long as it may be. Gives the failure of a guard that ran out.
    async fn stream(
        &self,
        chosen: &Chosen,
        call: ModelCall,
        answer: &mut Accumulator,
        bounds: &mut Bounds,
    ) -> Result<Option<Failure>, Ended> {
        let provider = chosen.model.id().provider;
        let timeouts = self.deps.settings.model_timeouts;
        let mut parts = chosen.model.stream(call);
        let (mut phase, mut patience) = (TimeoutPhase::StartUp, Instant::now() + timeouts.start_up);
        let mut pieces = Vec::new();
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    part = parts.next() => Some(part),
                    () = sleep_until(patience) => None,
                }
            };
            let Some(part) = bounds.before(next).await? else {
                return Ok(Some(Failure::new(provider, Cause::Timeout(phase))));
            };
            let Some(part) = part else { return Ok(Some(Failure::new(provider, Cause::Truncated))) };
            if part.is_content() {
                phase = TimeoutPhase::Silence;
            }
            if phase == TimeoutPhase::Silence {
                patience = Instant::now() + timeouts.silence;
            }
            let terminal = part.is_terminal();
            answer.push_into(part, &mut pieces);
            // Nobody looks on: what is shown is the result.
            pieces.clear();
            if terminal || answer.bytes() > self.deps.settings.attempt_bytes_max {
                return Ok(None);
            }
        }
    }

    /// What became of an answer.
    ///
    /// # Errors
    /// Why there is no advice in it.
    fn told(&self, chosen: &Chosen, asked: &Asked) -> Result<Told, String> {
        let (content, meter) = (asked.answer.content(), asked.meter.as_ref().expect("it is open"));
        let finish = asked.answer.finish_reason().unwrap_or(FinishReason::Length);
        let mut advice = text_of(&content);
        if advice.is_empty() {
            return Err(without_words(finish, &content));
        }
        if matches!(finish, FinishReason::Length | FinishReason::ContentFilter) {
            advice.push_str("\n\n[The advice was cut off here.]");
        }
        let usage = meter.report(&asked.answer).usage;
        let advisor_model = chosen.model.id().to_string();
        let remaining_uses = self.remaining().saturating_sub(1);
        Ok(Told::Advice { advice, advisor_model, remaining_uses, usage, cost: meter.cost(&usage) })
    }

    fn verdict(&self, failure: &Failure) -> Box<Verdict> {
        Box::new(classify(failure, self.deps.ports.clock.now().into()))
    }

    fn remaining(&self) -> u32 {
        self.terms.uses_max.saturating_sub(self.used)
    }

    /// Whether the process has shut down, and its grace is over.
    fn is_drained(&self) -> bool {
        self.drain.borrow().is_some_and(|until| until <= Instant::now())
    }
}

#[async_trait]
impl Tool for Advisor {
    fn spec(&self) -> ToolSpec {
        spec()
    }

    async fn call(&self, call: ToolCall) -> Output {
        let question = call.input.get("question").and_then(|question| question.as_str()).unwrap_or_default();
        let question = question.trim();
        if question.is_empty() {
            return Output::error("The question is empty.");
        }
        let scalars = question.chars().count();
        if scalars > QUESTION_SCALARS_MAX {
            let words = format!("The question has {scalars} characters; it may have {QUESTION_SCALARS_MAX}.");
            return Output::error(words);
        }
        let remaining_uses = self.remaining();
        let told = match remaining_uses {
            0 => Told::LimitReached { remaining_uses },
            _ => match self.ask(question, call.cancel).await {
                Ok(told) => told,
                Err(Ended::Canceled) => {
                    return Output::error("The call was cancelled: the turn was stopped.");
                }
                Err(Ended::Failed(error)) => Told::Error { error, remaining_uses },
            },
        };
        told.output(self.deps.settings.tool_output_bytes_max)
    }
}

impl Bounds {
    /// What comes before a stop and before the deadline.
    async fn before<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::select! {
            biased;
            () = self.cancel.canceled() => Err(Ended::Canceled),
            done = work => Ok(done),
            () = sleep_until(self.until) => {
                Err(Ended::Failed(format!("The advisor took longer than {} s.", WITHIN.as_secs())))
            }
        }
    }
}

impl Asked {
    async fn close(&mut self, end: LedgerEnd) {
        if let Some(meter) = &self.meter {
            meter.close(&meter.report(&self.answer), end).await;
        }
        self.meter = None;
    }
}

impl Drop for Asked {
    /// Whoever waited for the answer is gone, and with them the tool: an edit, a chat that was lost, a shutdown.
    fn drop(&mut self) {
        if let Some(meter) = self.meter.take() {
            let report = meter.report(&self.answer);
            meter.close_later(&report, LedgerEnd::Aborted);
        }
    }
}

/// The texts of an answer.
pub(crate) fn text_of(content: &[Part]) -> String {
    let texts = content.iter().filter_map(|part| match part {
        Part::Text { text, .. } => Some(text.trim()).filter(|text| !text.is_empty()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n\n")
}

/// Why there is no advice in an answer.
fn without_words(finish: FinishReason, content: &[Part]) -> String {
    let thoughts = content.iter().filter(|part| matches!(part, Part::Reasoning { .. })).count();
    format!(
        "The advisor gave no advice: its answer ended with {finish:?} and has {thoughts} thoughts and {} calls, but no words.",
        calls(content).count()
    )
}
