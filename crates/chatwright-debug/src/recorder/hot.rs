//! What is done on the way of a chat: look whether it is recorded, and queue what is new in a call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chatwright_core::ChatId;
use chatwright_core::debug::DebugStatus;
use chatwright_core::history::Grown;
use chatwright_core::model::{CallScope, FinishReason, ModelCall, ModelId};
use chatwright_core::port::{AttemptEnd, Event, Purpose};
use chatwright_core::record::StopReason;
use tokio::sync::mpsc::OwnedPermit;

use super::Shared;
use super::job::{Began, CallNumber, CallSettings, Job, Prompt, ToolSet, Tools};
use super::weight::{of_messages, of_tools};
use crate::service::Switched;

/// Most chats whose last calls are remembered.
const LANES_MAX: usize = 16_384;
/// Most sets of tools that are shared between chats.
const TOOLS_MAX: usize = 16;
/// What a call takes beside its prompt.
const CALL_BYTES: usize = 1_024;

/// What the last calls of chats were like, so that only what is new has to be told.
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
        let grown = call.prompt.grown();
        let before = self.go_on(scope, grown);
        // What takes long is done without the lock: chats would wait for each other.
        let mut grant = self.budget.nothing();
        let since = before.grown.and_then(|since| Some((since, call.prompt.since(since)?)));
        let (since, messages) = since.map_or((None, &*call.prompt), |(since, more)| (Some(since), more));
        // What messages say is shared, and counts all the same: the chat may be done with it sooner.
        let prompt = grant.grow(CALL_BYTES + of_messages(messages)).then(|| Prompt {
            since,
            messages: messages.to_vec(),
            grown,
        });
        let (tools, known) = match before.tools {
            Some(known) if known.is(&call.tools) => (Tools::Same, Some(known)),
            _ => match self.tools_of(call) {
                Some(tools) => (Tools::New(Arc::clone(&tools)), Some(tools)),
                None => (Tools::Dropped, None),
            },
        };
        if prompt.is_none() || !matches!(tools, Tools::Same) {
            self.went_on(scope, Lane { grown: prompt.as_ref().map(|_| grown), tools: known });
        }
        let began = Began {
            call: number,
            scope: Arc::clone(scope),
            model: Arc::clone(model),
            at: self.service.now(),
            prompt,
            tools,
            settings: CallSettings::of(call, &mut grant),
            _grant: grant,
        };
        if !self.queue(Job::Began(Box::new(began))) {
            self.forget(scope);
            return None;
        }
        Some((number, end))
    }

    /// What the last call was like. From now on that is this one, told in full and with the same tools: [`went_on`](Self::went_on)
    /// corrects it where that is not so.
    fn go_on(&self, scope: &CallScope, grown: Grown) -> Lane {
        if scope.purpose == Purpose::Title {
            // It is written when its chat is at rest: nobody would tell of an end that makes room again.
            return Lane::default();
        }
        let mut lanes = self.lanes.lock();
        if lanes.chats.len() >= LANES_MAX && !lanes.chats.contains_key(&scope.chat) {
            lanes.chats.clear();
        }
        let lane = lanes.chats.entry(scope.chat).or_default();
        if scope.purpose != Purpose::Turn {
            return Lane::default();
        }
        Lane { grown: lane.grown.replace(grown), tools: lane.tools.clone() }
    }

    /// What the last call was like, where it was not as foreseen.
    fn went_on(&self, scope: &CallScope, is: Lane) {
        if scope.purpose == Purpose::Turn
            && let Some(lane) = self.lanes.lock().chats.get_mut(&scope.chat)
        {
            *lane = is;
        }
    }

    /// The tools of a call, shared with the chats that have the same. Nothing: there is no room for them.
    fn tools_of(&self, call: &ModelCall) -> Option<Arc<ToolSet>> {
        let known = self.lanes.lock().tools.clone();
        if let Some(same) = known.iter().find(|known| known.is(&call.tools)) {
            return Some(Arc::clone(same));
        }
        let mut grant = self.budget.nothing();
        if !grant.grow(of_tools(&call.tools)) {
            return None;
        }
        let tools = Arc::new(ToolSet { tools: Arc::clone(&call.tools), _grant: grant });
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

    /// The next call of this kind is told whole.
    pub(super) fn forget(&self, scope: &CallScope) {
        if scope.purpose == Purpose::Turn {
            self.forget_chat(scope.chat);
        }
    }

    /// The next call of a turn of this chat is told whole.
    pub(super) fn forget_chat(&self, chat: ChatId) {
        if let Some(lane) = self.lanes.lock().chats.get_mut(&chat) {
            *lane = Lane::default();
        }
    }

    /// The next calls of all chats are told whole.
    pub(super) fn forget_all(&self) {
        self.lanes.lock().chats.values_mut().for_each(|lane| *lane = Lane::default());
    }

    pub(super) fn observe(&self, event: &Event<'_>) {
        if let Some((chat, job)) = self.job_of(event) {
            self.tell(chat, job);
        }
    }

    /// Of most events there is nothing to be told.
    #[inline]
    fn job_of(&self, event: &Event<'_>) -> Option<(ChatId, Job)> {
        let now = || self.service.now();
        Some(match *event {
            Event::StepStored { chat, r#gen, answer, .. } => (chat, Job::Stored { chat, r#gen, answer }),
            Event::AttemptEnded { chat, r#gen, end, .. } => {
                let (status, why) = match end {
                    // Its stream has said so, or its answer says so once it is stored: but for these.
                    AttemptEnd::Finished(FinishReason::Length | FinishReason::Error) => {
                        (DebugStatus::Completed, None)
                    }
                    AttemptEnd::Finished(_) => return None,
                    AttemptEnd::Failed(kind) => (DebugStatus::Error, Some(kind.into())),
                    _ => (DebugStatus::Interrupted, None),
                };
                (chat, Job::Judged { chat, r#gen, status, why })
            }
            Event::TurnEnded { chat, reason, .. } => {
                let status = match reason {
                    None => DebugStatus::Error,
                    Some(StopReason::Interrupted) => DebugStatus::Interrupted,
                    Some(_) => DebugStatus::Completed,
                };
                (chat, Job::TurnEnded { chat, status, now: now() })
            }
            Event::TurnAbandoned { chat, .. } => {
                (chat, Job::TurnEnded { chat, status: DebugStatus::Interrupted, now: now() })
            }
            Event::ActivityChanged { chat, to: None, .. } => (chat, Job::Released { chat, now: now() }),
            Event::HistoryCut { chat, from, at } => (chat, Job::Cut { chat, from, at, now: now() }),
            Event::ChatArchived { chat, at } => (chat, Job::Archived { chat, at, now: now() }),
            _ => return None,
        })
    }

    #[inline(never)]
    fn tell(&self, chat: ChatId, job: Job) {
        let lanes = || self.lanes.lock();
        let counts = match job {
            // Another process may have recorded the chat.
            Job::Cut { .. } | Job::Archived { .. } => true,
            // The writer forgets what it knows of a chat whose turn is over: the next call begins anew.
            Job::TurnEnded { .. } | Job::Released { .. } => lanes().chats.remove(&chat).is_some(),
            // Whatever was recorded has a lane.
            _ => lanes().chats.contains_key(&chat),
        };
        if counts {
            self.queue(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use chatwright_core::content::Part;
    use chatwright_core::history::ValidHistory;
    use chatwright_core::model::{Message, Role, ToolDefinition};
    use chatwright_core::{Timestamp, UserId, Uuid};
    use chatwright_memory::{ManualClock, MemoryDebug, SeededIds};
    use tokio::sync::mpsc;

    use super::super::{Counts, RecorderSettings, budget::Budget};
    use super::*;
    use crate::{DebugService, DebugSettings};

    const BYTES: usize = 1 << 20;

    /// A recorder whose queue nobody empties, and what the next call queues.
    struct Queued {
        shared: Shared,
        jobs: mpsc::Receiver<Job>,
        history: ValidHistory,
    }

    impl Queued {
        fn new() -> Self {
            let (queue, jobs) = mpsc::channel(64);
            let forced = DebugSettings { forced: true, ..DebugSettings::default() };
            let clock = ManualClock::new(Timestamp::from_millis(1));
            let ids = Arc::new(SeededIds::new(1));
            let shared = Shared {
                service: DebugService::new(MemoryDebug::new(), Arc::new(clock), ids, forced),
                settings: RecorderSettings::default(),
                queue,
                budget: Budget::new(BYTES),
                lanes: Default::default(),
                calls: Default::default(),
                stats: Counts::default(),
            };
            Self { shared, jobs, history: ValidHistory::default() }
        }

        /// How many messages another one like those before it tells, behind others or as all there are; and of its tools.
        fn call(&mut self, purpose: Purpose, tool: &str) -> (Option<(bool, usize)>, &'static str) {
            let said = self.history.len();
            let role = if said.is_multiple_of(2) { Role::User } else { Role::Assistant };
            self.history.extend(vec![Message::new(role, [Part::text(said.to_string())])]).expect("valid");
            let mut call = ModelCall::new(self.history.clone());
            call.tools =
                [ToolDefinition::Provider { id: tool.into(), name: tool.into(), args: Default::default() }]
                    .into();
            let owner = UserId::new("ada").expect("short");
            let scope = CallScope::new(ChatId::from_uuid(Uuid::from_u128(1)), owner, purpose);
            call.scope = Some(Arc::new(scope));
            let model = ModelId { provider: "p".into(), model: "m".into() };
            self.shared.begin(&call, &Arc::new(model)).expect("it is recorded");
            let Ok(Job::Began(began)) = self.jobs.try_recv() else { panic!("it is told") };
            let tools = match began.tools {
                Tools::Same => "same",
                Tools::New(_) => "new",
                Tools::Dropped => "dropped",
            };
            if let Some(prompt) = &began.prompt {
                let told = prompt.messages.iter().zip(&self.history[said + 1 - prompt.messages.len()..]);
                told.for_each(|(told, said)| assert!(Arc::ptr_eq(&told.content, &said.content)));
            }
            (began.prompt.as_ref().map(|prompt| (prompt.since.is_some(), prompt.messages.len())), tools)
        }
    }

    #[test]
    fn a_call_of_a_turn_tells_what_is_new_in_it_and_whole_what_follows_on_one_that_was_dropped() {
        let mut queued = Queued::new();
        let turn = Purpose::Turn;
        assert_eq!(queued.call(turn, "a"), (Some((false, 1)), "new"));
        assert_eq!(queued.call(turn, "a"), (Some((true, 1)), "same"), "although they are others in memory");
        assert_eq!(queued.call(turn, "b"), (Some((true, 1)), "new"));
        assert_eq!(queued.call(turn, "b"), (Some((true, 1)), "same"));
        assert_eq!(
            queued.call(Purpose::Compaction, "b"),
            (Some((false, 5)), "new"),
            "it is a run of its own"
        );
        assert_eq!(queued.call(turn, "b"), (Some((true, 2)), "same"));
        let mut all = queued.shared.budget.nothing();
        assert!(all.grow(queued.shared.budget.left()));
        assert_eq!(queued.call(turn, "b"), (None, "same"), "there is no room for it");
        drop(all);
        assert_eq!(queued.call(turn, "b"), (Some((false, 8)), "same"));
        let mut all = queued.shared.budget.nothing();
        assert!(all.grow(queued.shared.budget.left()));
        assert_eq!(queued.call(turn, "c"), (None, "dropped"));
        drop(all);
        assert_eq!(queued.call(turn, "c"), (Some((false, 10)), "new"));
        queued.shared.forget_all();
        assert_eq!(queued.call(turn, "c"), (Some((false, 11)), "new"));
    }
}
