//! The promises of [`Observer`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use chatwright_core::model::{FinishReason, ModelId, Usage};
use chatwright_core::port::timing::{
    Activity, ChatKind, CommitTrouble, CompactionResult, LedgerTask, Scope, Stage, StageAnomaly,
    TurnCategory, TurnTimes,
};
use chatwright_core::port::{AttemptEnd, Event, LedgerEnd, Observer, Purpose};
use chatwright_core::record::StopReason;
use chatwright_core::tool::CallKey;
use chatwright_core::{ChatId, Gen, MessageId, OpId, Seq, Uuid};
use tokio::time::Instant;

use crate::Subject;
use crate::clause::clauses;
use crate::wait::on_threads;

clauses! {
    ($) observer in observer: chatwright_core::port::Observer;
    "observer.O1" o1_it_returns_at_once_on_every_thread,
    "observer.O2" o2_it_takes_every_event_without_a_panic,
}

const STOPS: [StopReason; 8] = [
    StopReason::Complete,
    StopReason::StopAfterTool,
    StopReason::StepLimit,
    StopReason::Length,
    StopReason::ContentFilter,
    StopReason::OutputLimit,
    StopReason::Empty,
    StopReason::Interrupted,
];

/// Each kind of event, with values from the smallest to the largest.
fn each_event(chat: ChatId, tell: &mut dyn FnMut(&Event<'_>)) {
    let long = "é".repeat(2_000);
    for (number, text) in [(0, ""), (1, "a name"), (u64::MAX, &*long)] {
        let id = Uuid::from_u128(u128::from(number));
        let r#gen = Gen::new(number);
        let model = ModelId { provider: text.into(), model: text.into() };
        let key = CallKey {
            chat,
            message: MessageId::from_uuid(id),
            ordinal: u32::try_from(number).unwrap_or(u32::MAX),
        };
        let (all, kind) = (Some(number), ChatKind::Subagent);
        let usage = Usage { input: all, output: all, reasoning: all, cache_read: all, cache_write: None };
        // Also what ends and never began.
        let tool_ended = |is_error| Event::ToolEnded {
            key,
            name: text,
            model: &model,
            is_error,
            bytes: text.len(),
            truncated: is_error,
        };
        tell(&tool_ended(true));
        tell(&Event::TurnStarted { chat, op: OpId::from_uuid(id), kind });
        tell(&Event::AttemptStarted { chat, r#gen, model: &model });
        tell(&Event::Warned { chat, r#gen, model: &model, warnings: &[text.to_owned(), text.to_owned()] });
        let ends = [
            AttemptEnd::Finished(FinishReason::Stop),
            AttemptEnd::Finished(FinishReason::Unknown),
            AttemptEnd::Failed(text),
            AttemptEnd::Interrupted,
            AttemptEnd::Aborted,
        ];
        for end in ends {
            tell(&Event::AttemptEnded { chat, r#gen, end, usage });
            tell(&Event::AttemptEnded { chat, r#gen, end, usage: Usage::default() });
        }
        tell(&Event::ToolStarted { key, name: text });
        tell(&Event::ToolStarted { key, name: text });
        tell(&tool_ended(false));
        for reason in STOPS.map(Some).into_iter().chain([None]) {
            tell(&Event::TurnEnded { chat, reason, kind });
        }
        tell(&Event::TurnAbandoned { chat, kind });
        let took = Duration::from_millis(number);
        let mut times = TurnTimes::default();
        times.spend(TurnCategory::Streaming, took);
        tell(&Event::TurnTimed { chat, kind, times: &times });
        for &stage in Stage::ALL {
            let (scope, model) = (Scope::Turn, (number > 0).then_some(&model));
            tell(&Event::StageEnded { chat, kind, stage, scope, model, took });
        }
        let (messages, bytes, model) = (text.len(), text.len(), &model);
        for purpose in Purpose::ALL {
            tell(&Event::PromptBuilt { chat, model, purpose, messages, bytes });
            let (end, estimated) = (LedgerEnd::Failed, true);
            tell(&Event::RequestEnded { chat, model, purpose, end, usage, estimated });
        }
        let (answer, from) = (Seq::new(number), Seq::new(1));
        tell(&Event::StepStored { chat, r#gen, answer, model });
        tell(&Event::HistoryCut { chat, from, at: answer });
        tell(&Event::ChatArchived { chat, at: answer });
        tell(&Event::CompactionEnded { chat, model, result: CompactionResult::Timeout });
        tell(&Event::ToolRefused { chat, model, name: Some(text) });
        tell(&Event::ToolRefused { chat, model, name: None });
        tell(&Event::StageAnomaly { chat, reason: StageAnomaly::StaleAnchor });
        tell(&Event::CommitFailed { chat, trouble: CommitTrouble::Unknown });
        tell(&Event::LedgerFailed { chat, task: LedgerTask::Close });
        tell(&Event::DoorbellFailed { chat });
        tell(&Event::PreviewCut { chat, r#gen });
        let (from, to) = (Some(Activity::Waiting), Some(Activity::Streaming));
        tell(&Event::ActivityChanged { chat, from: None, to });
        tell(&Event::ActivityChanged { chat, from, to: None });
    }
}

async fn o1_it_returns_at_once_on_every_thread(subject: &Subject<dyn Observer>) {
    const CLAUSE: &str = "observer.O1";
    /// For all events of a thread together: about a tenth of a millisecond each.
    const MOST: Duration = Duration::from_secs(2);
    let observer = subject.connect().await;
    let work = |_| {
        let (observer, chat) = (Arc::clone(&observer), ChatId::mint(&subject.ids));
        Box::new(move || {
            let started = Instant::now();
            let mut told = 0;
            for _ in 0..100 {
                each_event(chat, &mut |event| {
                    observer.observe(event);
                    told += 1;
                    let took = started.elapsed();
                    assert!(took < MOST, "{CLAUSE}: {told} events take {took:?} on one of four threads");
                });
            }
        }) as Box<dyn FnOnce() + Send>
    };
    on_threads(CLAUSE, (0..4).map(work));
}

async fn o2_it_takes_every_event_without_a_panic(subject: &Subject<dyn Observer>) {
    const CLAUSE: &str = "observer.O2";
    let observer = subject.connect().await;
    // One chat: the threads meet, and events come in any order.
    let chat = ChatId::mint(&subject.ids);
    let work = |_| {
        let observer = Arc::clone(&observer);
        Box::new(move || {
            each_event(chat, &mut |event| {
                let told = catch_unwind(AssertUnwindSafe(|| observer.observe(event)));
                assert!(told.is_ok(), "{CLAUSE}: it panics at {}", kind(event));
            });
        }) as Box<dyn FnOnce() + Send>
    };
    on_threads(CLAUSE, (0..4).map(work));
}

fn kind(event: &Event<'_>) -> String {
    let words = format!("{event:?}");
    words.chars().take(120).collect()
}
