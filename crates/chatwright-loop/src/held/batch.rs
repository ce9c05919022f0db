use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chatwright_core::content::{FileData, Output};
use chatwright_core::head::{OpenCall, OpenGen};
use chatwright_core::port::{Event, Tool};
use chatwright_core::record::{CallResult, ResultOrigin};
use chatwright_core::tool::{CallKey, Effect, ToolCall};
use chatwright_core::{Cancel, Canceler, limits};
use chatwright_engine::{Planned, Report, Stopped, Work, calls};
use futures::FutureExt;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep_until;
use tracing::Instrument;

use super::attempt::drained;
use super::{Held, Look};
use crate::blobs::{Keeper, encoded};
use crate::failure;
use crate::preview::seal;
use crate::registry::Runner;

/// The tools of a batch that run.
struct Running {
    tasks: JoinSet<CallResult>,
    started: Vec<u32>,
    canceler: Canceler,
    cancel: Cancel,
    /// How many calls have returned, and of how many the result was taken. What lies between is being kept.
    returned: Arc<AtomicUsize>,
    taken: usize,
    /// What makes the keeping end at once.
    hurry: (Canceler, Cancel),
}

/// Results that are stored together.
#[derive(Default)]
struct Results {
    all: Vec<CallResult>,
    bytes: usize,
}

/// Most bytes of results to which another one is added: a commit has room for them, for that one, and for the rest of it.
const TOGETHER_BYTES_MAX: usize = limits::COMMIT_BYTES_MAX / 2;

impl Held {
    /// Runs the calls of a batch and commits their results as they come.
    pub(super) async fn batch(&mut self, open: &OpenGen) {
        let (canceler, cancel) = Canceler::new();
        let mut running = Running {
            tasks: JoinSet::new(),
            started: Vec::new(),
            canceler,
            cancel,
            returned: Arc::default(),
            taken: 0,
            hurry: Canceler::new(),
        };
        loop {
            match self.concern(open.r#gen) {
                Look::Same => {}
                Look::Stop => return self.stop(open, running).await,
                Look::Lost => return,
            }
            self.start(open, &mut running);
            if running.tasks.is_empty() {
                // A bug, which must not hang the chat: every open call was started, and none is running.
                tracing::error!(chat = %self.id, r#gen = %open.r#gen, "a batch has nothing to wait for");
                let verdict = Box::new(failure::stuck());
                self.feed(open.r#gen, Work::Failed { verdict, report: Report::default(), partial: None })
                    .await;
                return;
            }
            let (known, watch_at) = (self.chat.head.revision, self.watch_at());
            let results = tokio::select! {
                biased;
                () = self.lease.over() => return,
                () = self.wakes.next(known) => {
                    self.look(open.r#gen).await;
                    continue;
                }
                () = drained(&mut self.drain) => return self.hand_over(open, running).await,
                () = sleep_until(watch_at) => {
                    self.watch(open.r#gen).await;
                    continue;
                }
                Some(result) = running.next() => ready(result, &mut running),
            };
            let plan = self.plan(open);
            if !self.store(open, results, plan).await {
                return;
            }
        }
    }

    /// Stores results, and gives whether the batch goes on.
    async fn store(&mut self, open: &OpenGen, results: Results, plan: Vec<Planned>) -> bool {
        let epoch = self.epoch;
        let work = Work::Results { results: results.all, off: 0, plan, next: self.next().await };
        let goes_on = self.feed(open.r#gen, work).await && self.chat.state.open.as_ref() == Some(open);
        if !goes_on {
            seal(&*self.deps.ports.live, self.id, epoch, open.r#gen, 0).await;
        }
        goes_on
    }

    fn plan(&self, open: &OpenGen) -> Vec<Planned> {
        let answer = open.message.and_then(|message| self.history.answer(message));
        answer.map(|answer| self.tools().plan(&self.history, answer.id, &answer.content)).unwrap_or_default()
    }

    /// Starts the calls whose intents are committed.
    fn start(&self, open: &OpenGen, running: &mut Running) {
        let answer = open.message.and_then(|message| self.history.answer(message));
        let Some((message, answer)) = open.message.zip(answer) else { return };
        for call in self.chat.state.calls.iter().filter(|call| call.started.is_some()) {
            if running.started.contains(&call.ordinal) || !self.lease.is_live() {
                continue;
            }
            running.started.push(call.ordinal);
            let key = CallKey { chat: self.id, message, ordinal: call.ordinal };
            let written = calls(&answer.content).find(|written| written.ordinal == call.ordinal);
            let found = written.and_then(|written| {
                let entry = self.tools().tool(written.name)?;
                let input = self.history.edited(message, written.ordinal).unwrap_or(written.input);
                let tool = match &entry.runner {
                    Runner::Host(tool) => Arc::clone(tool),
                    Runner::Advisor => self.advisor(open, answer)?,
                    Runner::Client => return None,
                };
                Some((&entry.spec, tool, entry.arguments(input).ok()?))
            });
            let Some((spec, tool, input)) = found else {
                // It was there when the intent was written, perhaps in another version of the program.
                let (ordinal, origin) = (call.ordinal, ResultOrigin::Refused);
                let output = Output::error("The tool is not there any more.");
                running.tasks.spawn(async move { CallResult { ordinal, output, origin } });
                continue;
            };
            let deadline = call.deadline.unwrap_or_default();
            let session = self.lease.session;
            let tool_call = ToolCall::new(key, open.r#gen, session, input, deadline, running.cancel.clone());
            let max = self.deps.settings.tool_output_bytes_max;
            let model = Arc::new(answer.model.clone());
            let timed = self.pace.tool(key, &spec.name, written.map_or("", |written| written.id), &model);
            let time = deadline.since(call.started.unwrap_or_default());
            self.deps.observe(&Event::ToolStarted { key, name: &spec.name });
            let (call, name, deps) = (call.clone(), spec.name.clone(), Arc::clone(&self.deps));
            let (returned, hurry) = (Arc::clone(&running.returned), running.hurry.1.clone());
            running.tasks.spawn(async move {
                let ran = run(&*tool, tool_call, &call, time).instrument(timed.span().clone());
                let mut result = ran.await;
                let bytes = size(&result.output);
                let truncated = words(&result.output) > max;
                timed.end_call(&deps, result.output.is_error());
                returned.fetch_add(1, Ordering::SeqCst);
                let keeper = Keeper::new(&deps, key.chat).until_canceled(hurry);
                result.output = keeper.output(result.output, max).await;
                let is_error = result.output.is_error();
                deps.observe(&Event::ToolEnded {
                    key,
                    name: &name,
                    model: &model,
                    is_error,
                    bytes,
                    truncated,
                });
                result
            });
        }
    }

    /// The process shuts down: what has ended is stored, what runs is cancelled, and the chat is given back.
    async fn hand_over(&mut self, open: &OpenGen, mut running: Running) {
        let mut results = Results::default();
        // What has returned and is being kept gives that up at its next poll, and is no call that runs.
        running.hurry.0.cancel();
        while let Some(result) = running.next_returned().await {
            results.extend(result);
            if results.is_full() {
                self.store(open, std::mem::take(&mut results), Vec::new()).await;
                if self.lost {
                    return;
                }
            }
        }
        // Only now: what a tool says about being cancelled is no result.
        running.canceler.cancel();
        if !results.all.is_empty() {
            self.store(open, results, Vec::new()).await;
            if self.lost {
                return;
            }
        }
        // The last result may have ended the batch and begun an attempt.
        if let Some(r#gen) = self.chat.state.open.as_ref().map(|open| open.r#gen) {
            self.feed(r#gen, Work::Release { off: 0, report: Report::default(), wait: None }).await;
        }
    }

    /// The turn is stopped: tools are cancelled, may go on for their grace, and are then abandoned. The grace of a shutdown ends theirs.
    async fn stop(&mut self, open: &OpenGen, mut running: Running) {
        running.hurry.0.cancel();
        running.canceler.cancel();
        let grace = tokio::time::sleep(self.deps.settings.tool_grace);
        tokio::pin!(grace);
        let mut results = Results::default();
        loop {
            tokio::select! {
                biased;
                () = self.lease.over() => return,
                result = running.next() => match result {
                    Some(result) => results.extend(result),
                    None => break,
                },
                () = &mut grace => break,
                () = drained(&mut self.drain) => break,
            }
            if results.is_full() && !self.store(open, std::mem::take(&mut results), Vec::new()).await {
                return;
            }
        }
        drop(running);
        let next = self.next().await;
        let (content, report, model) = (Vec::new(), Report::default(), next.model.clone());
        let stopped = Stopped { content, model, report, off: 0, results: results.all, next };
        let epoch = self.epoch;
        if self.feed(open.r#gen, Work::Stopped(Box::new(stopped))).await {
            seal(&*self.deps.ports.live, self.id, epoch, open.r#gen, 0).await;
        }
    }
}

impl Running {
    /// The next result, when it comes.
    async fn next(&mut self) -> Option<Result<CallResult, JoinError>> {
        let next = self.tasks.join_next().await;
        self.taken += usize::from(next.is_some());
        next
    }

    /// The next result that is there.
    fn next_ready(&mut self) -> Option<Result<CallResult, JoinError>> {
        let next = self.tasks.try_join_next();
        self.taken += usize::from(next.is_some());
        next
    }

    /// The next result that is there, or will be when it is kept.
    async fn next_returned(&mut self) -> Option<Result<CallResult, JoinError>> {
        match self.next_ready() {
            None if self.returned.load(Ordering::SeqCst) > self.taken => self.next().await,
            next => next,
        }
    }
}

impl Results {
    fn extend(&mut self, result: Result<CallResult, JoinError>) {
        self.bytes += result.as_ref().map_or(0, encoded);
        self.all.extend(result);
    }

    fn is_full(&self) -> bool {
        self.bytes > TOGETHER_BYTES_MAX
    }
}

/// The result that came and others that are there already: what arrives together is committed together, as far as it fits.
fn ready(first: Result<CallResult, JoinError>, running: &mut Running) -> Results {
    let mut results = Results::default();
    results.extend(first);
    while !results.is_full()
        && let Some(result) = running.next_ready()
    {
        results.extend(result);
    }
    results
}

/// How many bytes of text that may be cut.
fn words(output: &Output) -> usize {
    match output {
        Output::Text { text } | Output::Error { text } => text.len(),
        Output::Media { text, .. } => text.as_ref().map_or(0, String::len),
        _ => 0,
    }
}

/// How many bytes a tool gave.
fn size(output: &Output) -> usize {
    let data = match output {
        Output::Media { data: FileData::Base64(data), .. } => data.len(),
        _ => 0,
    };
    words(output) + data
}

async fn run(tool: &dyn Tool, tool_call: ToolCall, call: &OpenCall, time: std::time::Duration) -> CallResult {
    let ordinal = call.ordinal;
    let result = |origin, output| CallResult { ordinal, output, origin };
    // It may also panic before it gives anything to wait for, and when it is dropped.
    let called = async { tokio::time::timeout(time, tool.call(tool_call)).await };
    match AssertUnwindSafe(called).catch_unwind().await {
        Ok(Ok(output)) => result(ResultOrigin::Tool, output),
        Err(_) => result(ResultOrigin::Tool, Output::error("The tool failed: it panicked.")),
        Ok(Err(_)) if call.effect == Some(Effect::Pure) => result(
            ResultOrigin::TimedOut,
            Output::error(format!("The tool took longer than {time:?} and was given up.")),
        ),
        Ok(Err(_)) => result(
            ResultOrigin::OutcomeUnknown,
            Output::error(format!(
                "The tool took longer than {time:?} and was given up. Whether it had its effect is unknown."
            )),
        ),
    }
}
