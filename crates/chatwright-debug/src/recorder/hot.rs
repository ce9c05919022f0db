//! What is done on the way of a chat: look whether it is recorded, and queue what is new in a call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chatwright_core::ChatId;
use chatwright_core::debug::DebugStatus;
use chatwright_core::history::Grown;
use chatwright_core::model::{CallScope, Message, ModelCall, ModelId, ResponseFormat, ToolChoice};
use chatwright_core::port::{AttemptEnd, Event, Purpose};
use chatwright_core::record::StopReason;
use serde_json::{Value, json};
use tokio::sync::mpsc::OwnedPermit;

use super::Shared;
use super::budget::Grant;
use super::job::{Began, CallNumber, Job, Prompt, ToolSet, Tools};
use super::weight::{of_json, of_messages, of_tools};
use crate::service::Switched;

/// Most chats whose last calls are remembered.
const LANES_MAX: usize = 16_384;
/// Most sets of tools that are shared between chats.
const TOOLS_MAX: usize = 16;
/// What a call takes beside its prompt.
const CALL_BYTES: usize = 1_024;

/// What the last calls of chats were like, so that only what is new has to be copied.
#[derive(Default)]
pub(super) struct Lanes {
    chats: HashMap<ChatId, Lane>,
    /// Tools of other calls: most chats of a host have the same.
    tools: Vec<Arc<ToolSet>>,
}

/// The last call of a turn. What else is asked is a run of its own, which ends with its answer: nothing goes on there.
#[derive(Default)]
struct Lane {
    grown: Option<Grown>,
    tools: Option<Arc<ToolSet>>,
}

impl Shared {
    /// Queues what a call asks. Nothing: it is not recorded.
    pub(super) fn begin(
        &self,
        call: &ModelCall,
        model: &Arc<ModelId>,
    ) -> Option<(CallNumber, OwnedPermit<Job>)> {
        let scope = call.scope.as_ref()?;
        match self.service.is_enabled_now(Some(&scope.owner), scope.chat) {
            Switched::Off => return None,
            // Chats that are not recorded pay for nothing: whether that has changed counts for the next call.
            Switched::UnsureOff => {
                self.queue(Job::Look(Arc::clone(scope)));
                return None;
            }
            // Behind the back of the chat it is found out whether what is gathered is kept.
            Switched::On | Switched::Unsure => {}
        }
        // What begins has a place for its end: an answer is not lost because the queue was full just then.
        let Ok(end) = self.queue.clone().try_reserve_owned() else {
            self.dropped();
            self.forget(scope);
            return None;
        };
        let number = CallNumber(self.calls.fetch_add(1, Ordering::Relaxed));
        let is_turn = scope.purpose == Purpose::Turn;
        let (grown, tools) = if scope.purpose == Purpose::Title {
            // It is written when its chat is at rest: nobody would tell of an end that makes room again.
            (None, None)
        } else {
            let mut lanes = self.lanes.lock();
            if lanes.chats.len() >= LANES_MAX && !lanes.chats.contains_key(&scope.chat) {
                lanes.chats.clear();
            }
            let lane = lanes.chats.entry(scope.chat).or_default();
            if is_turn { (lane.grown.take(), lane.tools.take()) } else { (None, None) }
        };
        // What takes long is done without the lock: chats would wait for each other.
        let mut grant = self.budget.nothing();
        let mut room = |messages: &[Message]| grant.grow(CALL_BYTES + of_messages(messages));
        let since = grown.and_then(|since| Some((since, call.prompt.since(since)?)));
        let grown = call.prompt.grown();
        let prompt = match since {
            Some((since, messages)) if room(messages) => {
                Prompt::More { since, messages: messages.to_vec(), grown }
            }
            // Nobody extends what was made for one call. What is extended would be copied if a clone were held.
            None if !is_turn && room(&call.prompt) => Prompt::Shared(call.prompt.clone()),
            None if is_turn && room(&call.prompt) => Prompt::Copied(call.prompt.to_vec(), grown),
            _ => Prompt::Dropped,
        };
        let (tools, told) = match tools {
            Some(known) if *known.tools == *call.tools => (Some(known), Tools::Same),
            _ => match self.tools_of(call) {
                Some(tools) => (Some(Arc::clone(&tools)), Tools::New(tools)),
                None => (None, Tools::Dropped),
            },
        };
        let follows = matches!(prompt, Prompt::Copied(..) | Prompt::More { .. });
        if let Some(lane) = self.lanes.lock().chats.get_mut(&scope.chat).filter(|_| is_turn) {
            *lane = Lane { grown: follows.then_some(grown), tools };
        }
        let began = Began {
            call: number,
            scope: Arc::clone(scope),
            model: Arc::clone(model),
            at: self.service.now(),
            prompt,
            tools: told,
            settings: settings(call, &mut grant),
            _grant: grant,
        };
        if !self.queue(Job::Began(Box::new(began))) {
            self.forget(scope);
            return None;
        }
        Some((number, end))
    }

    /// The tools of a call, shared with the chats that have the same. Nothing: there is no room for them.
    fn tools_of(&self, call: &ModelCall) -> Option<Arc<ToolSet>> {
        let known = self.lanes.lock().tools.clone();
        if let Some(same) = known.iter().find(|known| *known.tools == *call.tools) {
            return Some(Arc::clone(same));
        }
        let mut grant = self.budget.nothing();
        if !grant.grow(of_tools(&call.tools)) {
            return None;
        }
        let tools = Arc::new(ToolSet { tools: call.tools.clone().into(), _grant: grant });
        let known = &mut self.lanes.lock().tools;
        if known.len() >= TOOLS_MAX {
            known.remove(0);
        }
        known.push(Arc::clone(&tools));
        Some(tools)
    }

    /// Puts a job into the queue, if there is room.
    pub(super) fn queue(&self, job: Job) -> bool {
        let queued = self.queue.try_send(job).is_ok();
        if !queued {
            self.dropped();
        }
        queued
    }

    fn dropped(&self) {
        self.stats.dropped.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("chatwright_debug_dropped_total").increment(1);
    }

    /// The next call of this kind is copied whole.
    pub(super) fn forget(&self, scope: &CallScope) {
        if scope.purpose == Purpose::Turn {
            self.forget_chat(scope.chat);
        }
    }

    /// The next call of a turn of this chat is copied whole.
    pub(super) fn forget_chat(&self, chat: ChatId) {
        if let Some(lane) = self.lanes.lock().chats.get_mut(&chat) {
            *lane = Lane::default();
        }
    }

    /// The next calls of all chats are copied whole.
    pub(super) fn forget_all(&self) {
        self.lanes.lock().chats.values_mut().for_each(|lane| *lane = Lane::default());
    }

    pub(super) fn observe(&self, event: &Event<'_>) {
        let job = match *event {
            Event::StepStored { chat, r#gen, answer, .. } => Job::Stored { chat, r#gen, answer },
            Event::AttemptEnded { chat, r#gen, end, .. } => {
                let (status, why) = match end {
                    AttemptEnd::Finished(_) => (DebugStatus::Completed, None),
                    AttemptEnd::Failed(kind) => (DebugStatus::Error, Some(kind.into())),
                    _ => (DebugStatus::Interrupted, None),
                };
                Job::Judged { chat, r#gen, status, why }
            }
            Event::TurnEnded { chat, reason, .. } => Job::TurnEnded {
                chat,
                status: match reason {
                    None => DebugStatus::Error,
                    Some(StopReason::Interrupted) => DebugStatus::Interrupted,
                    Some(_) => DebugStatus::Completed,
                },
                now: self.service.now(),
            },
            Event::TurnAbandoned { chat, .. } => {
                Job::TurnEnded { chat, status: DebugStatus::Interrupted, now: self.service.now() }
            }
            Event::ActivityChanged { chat, to: None, .. } => Job::Released { chat, now: self.service.now() },
            // These are told also for chats that this process has never recorded: another one may have.
            Event::HistoryCut { chat, from, at } => {
                let now = self.service.now();
                self.queue(Job::Cut { chat, from, at, now });
                return;
            }
            Event::ChatArchived { chat, at } => {
                let now = self.service.now();
                self.queue(Job::Archived { chat, at, now });
                return;
            }
            _ => return,
        };
        let chat = match job {
            Job::Stored { chat, .. }
            | Job::Judged { chat, .. }
            | Job::TurnEnded { chat, .. }
            | Job::Released { chat, .. } => chat,
            _ => return,
        };
        // The writer forgets what it knows of a chat whose turn is over: the next call begins anew.
        let is_over = matches!(job, Job::TurnEnded { .. } | Job::Released { .. });
        let mut lanes = self.lanes.lock();
        // Whatever was recorded has lanes.
        let known =
            if is_over { lanes.chats.remove(&chat).is_some() } else { lanes.chats.contains_key(&chat) };
        drop(lanes);
        if known {
            self.queue(job);
        }
    }
}

/// What is asked for beside prompt and tools.
fn settings(call: &ModelCall, grant: &mut Grant) -> Vec<(&'static str, Value)> {
    let ModelCall {
        prompt: _,
        tools: _,
        tool_choice,
        parallel_tool_calls,
        reasoning_effort,
        thinking_budget,
        response_format,
        max_output_tokens,
        temperature,
        top_p,
        top_k,
        presence_penalty,
        frequency_penalty,
        stop_sequences,
        seed,
        provider_options,
        transport,
        ..
    } = call;
    let mut settings = Vec::new();
    let mut set = |name, value: Option<Value>| settings.extend(value.map(|value| (name, value)));
    set(
        "tool_choice",
        tool_choice.as_ref().map(|choice| match choice {
            ToolChoice::None => "none".into(),
            ToolChoice::Auto => "auto".into(),
            ToolChoice::Required => "required".into(),
            ToolChoice::Tool(name) => json!({ "tool": name }),
        }),
    );
    set("parallel_tool_calls", parallel_tool_calls.map(Into::into));
    set("reasoning_effort", reasoning_effort.and_then(|effort| serde_json::to_value(effort).ok()));
    set("thinking_budget", thinking_budget.map(Into::into));
    set(
        "response_format",
        response_format.as_ref().and_then(|format| match format {
            ResponseFormat::Json => Some("json".into()),
            ResponseFormat::Schema { name, schema, strict, .. } => {
                Some(json!({ "name": name, "schema": schema, "strict": strict }))
            }
            _ => None,
        }),
    );
    set("max_output_tokens", max_output_tokens.map(Into::into));
    set("temperature", temperature.map(Into::into));
    set("top_p", top_p.map(Into::into));
    set("top_k", top_k.map(Into::into));
    set("presence_penalty", presence_penalty.map(Into::into));
    set("frequency_penalty", frequency_penalty.map(Into::into));
    set("stop_sequences", (!stop_sequences.is_empty()).then(|| stop_sequences.clone().into()));
    set("seed", seed.map(Into::into));
    let weight = provider_options.values().map(of_json).sum::<usize>();
    set(
        "provider_options",
        (weight > 0).then(|| match grant.grow(weight) {
            true => json!(provider_options),
            false => "there was no room for them".into(),
        }),
    );
    set(
        "headers",
        (!transport.headers.0.is_empty())
            .then(|| transport.headers.0.iter().map(|(name, _)| Value::from(&**name)).collect()),
    );
    settings
}
