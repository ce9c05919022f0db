use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use chatwright_core::Cancel;
use chatwright_core::Canceler;
use chatwright_core::content::{FileData, Output};
use chatwright_core::head::{OpenCall, OpenGen};
use chatwright_core::port::{Event, Tool};
use chatwright_core::record::{CallResult, ResultOrigin};
use chatwright_core::tool::{CallKey, Effect, ToolCall};
use chatwright_engine::{Stopped, Work, calls};
use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::attempt::drained;
use super::{Held, Look};
use crate::failure;
use crate::preview::seal;

/// The tools of a batch that run.
struct Running {
    tasks: JoinSet<CallResult>,
    started: Vec<u32>,
    canceler: Canceler,
    cancel: Cancel,
}

impl Held {
    /// Runs the calls of a batch and commits their results as they come.
    pub(super) async fn batch(&mut self, open: &OpenGen) {
        let (canceler, cancel) = Canceler::new();
        let mut running = Running { tasks: JoinSet::new(), started: Vec::new(), canceler, cancel };
        let epoch = self.epoch;
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
                self.feed(open.r#gen, Work::Failed { verdict, usage: Default::default(), partial: None })
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
                Some(result) = running.tasks.join_next() => ready(result, &mut running),
            };
            let plan = self.plan(open);
            let work = Work::Results { results, off: 0, plan, next: self.next().await };
            if !self.feed(open.r#gen, work).await || self.chat.state.open.as_ref() != Some(open) {
                seal(&*self.deps.ports.live, self.id, epoch, open.r#gen, 0).await;
                return;
            }
        }
    }

    fn plan(&self, open: &OpenGen) -> Vec<chatwright_engine::Planned> {
        let answer = open.message.and_then(|message| self.history.answer(message));
        answer
            .map(|answer| self.deps.registry.plan(&self.history, answer.id, &answer.content))
            .unwrap_or_default()
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
                let entry = self.deps.registry.tool(written.name)?;
                let input = self.history.edited(message, written.ordinal).unwrap_or(written.input);
                Some((&entry.spec, entry.tool.as_ref()?, entry.arguments(input).ok()?))
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
            let time = deadline.since(call.started.unwrap_or_default());
            self.deps.observe(&Event::ToolStarted { key, name: &spec.name });
            let (tool, call, name, deps) =
                (Arc::clone(tool), call.clone(), spec.name.clone(), Arc::clone(&self.deps));
            running.tasks.spawn(async move {
                let result = run(&*tool, tool_call, &call, time, max).await;
                deps.observe(&Event::ToolEnded { key, name: &name, is_error: result.output.is_error() });
                result
            });
        }
    }

    /// The process shuts down: what has ended is stored, what runs is cancelled, and the chat is given back.
    async fn hand_over(&mut self, open: &OpenGen, mut running: Running) {
        let mut results = Vec::new();
        while let Some(result) = running.tasks.try_join_next() {
            results.extend(result);
        }
        // Only now: what a tool says about being cancelled is no result.
        running.canceler.cancel();
        if !results.is_empty() {
            let work = Work::Results { results, off: 0, plan: Vec::new(), next: self.next().await };
            if !self.feed(open.r#gen, work).await {
                return;
            }
        }
        // The last result may have ended the batch and begun an attempt.
        if let Some(r#gen) = self.chat.state.open.as_ref().map(|open| open.r#gen) {
            self.feed(r#gen, Work::Release { off: 0, wait: None }).await;
        }
    }

    /// The turn is stopped: tools are cancelled, may go on for their grace, and are then abandoned.
    async fn stop(&mut self, open: &OpenGen, mut running: Running) {
        running.canceler.cancel();
        let grace = tokio::time::sleep(self.deps.settings.tool_grace);
        tokio::pin!(grace);
        let mut results = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = self.lease.over() => return,
                result = running.tasks.join_next() => match result {
                    Some(result) => results.extend(result),
                    None => break,
                },
                () = &mut grace => break,
            }
        }
        drop(running);
        let next = self.next().await;
        let (content, usage, model) = (Vec::new(), Default::default(), next.model.clone());
        let stopped = Stopped { content, model, usage, estimated: false, off: 0, results, next };
        let epoch = self.epoch;
        if self.feed(open.r#gen, Work::Stopped(Box::new(stopped))).await {
            seal(&*self.deps.ports.live, self.id, epoch, open.r#gen, 0).await;
        }
    }
}

/// The result that came and all others that are there already: what arrives together is committed together.
fn ready(first: Result<CallResult, tokio::task::JoinError>, running: &mut Running) -> Vec<CallResult> {
    let mut results: Vec<CallResult> = first.into_iter().collect();
    while let Some(result) = running.tasks.try_join_next() {
        results.extend(result);
    }
    results
}

async fn run(
    tool: &dyn Tool,
    tool_call: ToolCall,
    call: &OpenCall,
    time: std::time::Duration,
    max: usize,
) -> CallResult {
    let ordinal = call.ordinal;
    let result = |origin, output| CallResult { ordinal, output, origin };
    let called = AssertUnwindSafe(tool.call(tool_call)).catch_unwind();
    match tokio::time::timeout(time, called).await {
        Ok(Ok(output)) => result(ResultOrigin::Tool, cut(output, max)),
        Ok(Err(_)) => result(ResultOrigin::Tool, Output::error("The tool failed: it panicked.")),
        Err(_) if call.effect == Some(Effect::Pure) => result(
            ResultOrigin::TimedOut,
            Output::error(format!("The tool took longer than {time:?} and was given up.")),
        ),
        Err(_) => result(
            ResultOrigin::OutcomeUnknown,
            Output::error(format!(
                "The tool took longer than {time:?} and was given up. Whether it had its effect is unknown."
            )),
        ),
    }
}

/// Most bytes of media in one result, in base64.
const MEDIA_BYTES_MAX: usize = 512 * 1024;

/// Cuts the middle out of long text, two thirds before and one third behind.
fn cut(output: Output, max: usize) -> Output {
    let shorten = |text: String| {
        if text.len() <= max {
            return text;
        }
        let room = max.saturating_sub(128);
        let head = (0..=room * 2 / 3).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let tail =
            (text.len() - room / 3..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
        format!("{}\n[… {} bytes left out …]\n{}", &text[..head], tail - head, &text[tail..])
    };
    match output {
        Output::Text { text } => Output::Text { text: shorten(text) },
        Output::Error { text } => Output::Error { text: shorten(text) },
        Output::Media { data: FileData::Base64(data), .. } if data.len() > MEDIA_BYTES_MAX => Output::error(
            format!("The tool gave {} bytes of media; {MEDIA_BYTES_MAX} are allowed, in base64.", data.len()),
        ),
        Output::Media { media_type, data, text } => {
            Output::Media { media_type, data, text: text.map(shorten) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_output_keeps_its_head_and_its_tail_and_says_what_is_missing() {
        let Output::Text { text } = cut(Output::text("é".repeat(1_000)), 300) else {
            panic!("text stays text")
        };
        assert!(text.len() <= 300 && text.starts_with("éé") && text.ends_with("éé"), "{text}");
        assert!(text.contains("bytes left out"));
        assert_eq!(cut(Output::text("short"), 300), Output::text("short"));
    }

    proptest! {
        #[test]
        fn output_of_any_length_stays_within_its_bound_and_keeps_both_ends(
            words in "[a-zé😀]{1,9}",
            times in 1..2_000_usize,
            max in 200..4_000_usize,
        ) {
            let whole = words.repeat(times);
            for output in [Output::text(whole.clone()), Output::error(whole.clone())] {
                let (Output::Text { text } | Output::Error { text }) = cut(output, max) else { panic!("text stays text") };
                prop_assert!(text.len() <= max, "{} of {max}", text.len());
                if whole.len() <= max {
                    prop_assert_eq!(&text, &whole);
                    continue;
                }
                let (head, rest) = text.split_once("\n[… ").expect("it says so");
                let (missing, tail) = rest.split_once(" bytes left out …]\n").expect("it says how much");
                prop_assert!(whole.starts_with(head) && whole.ends_with(tail) && !head.is_empty() && !tail.is_empty());
                prop_assert_eq!(missing.parse::<usize>().expect("a number"), whole.len() - head.len() - tail.len());
                prop_assert!(text.len() + 140 > max, "no more is left out than must be: {} of {}", text.len(), max);
            }
        }
    }
}
