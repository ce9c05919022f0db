//! What a process tells a recorder, a series a test.

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::head::Status;
use chatwright_core::live::Piece;
use chatwright_core::model::{Finish, FinishReason, ModelCall, ModelId, ModelPart, Usage};
use chatwright_core::port::timing::TurnCategory;
use chatwright_core::port::{
    Actual, Bus, BusError, BusFrames, ChatStore, CommitError, Due, DueAfter, LanguageModel, Ledger,
    LedgerClosed, LedgerClosing, LedgerEntry, LedgerLine, LedgerScope, LiveError, LiveLog, LiveRead,
    LiveWakes, ModelStream, Spent, StoreError, StoreErrorKind, Tool, Topic,
};
use chatwright_core::tool::{Effect, ToolCall, ToolSpec};
use chatwright_core::{
    ChatId, Commit, Epoch, Gen, Head, OpId, Record, Revision, Seq, SessionId, Timestamp, UserId,
};
use chatwright_loop::metrics::{SERIES, SeriesKind};
use chatwright_loop::{Asked, Chats, NewChat, NewEdit, NewMessage, Ports, Settings};
use chatwright_memory::MemoryLiveLog;
use chatwright_retry::Jitter;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::sleep;

use common::recorder::Values;
use common::{CountTool, World, call, new_chat, records, until, work};

/// Gives these answers, each part so many milliseconds after the one before, and then a plain one for ever.
struct Timed {
    id: ModelId,
    answers: Mutex<VecDeque<Vec<(u64, ModelPart)>>>,
}

impl Timed {
    fn new(answers: impl IntoIterator<Item = Vec<(u64, ModelPart)>>) -> Arc<Self> {
        let id = ModelId { provider: "rule".into(), model: "one".into() };
        Arc::new(Self { id, answers: Mutex::new(answers.into_iter().collect()) })
    }
}

impl LanguageModel for Timed {
    fn id(&self) -> ModelId {
        self.id.clone()
    }

    fn stream(&self, _: ModelCall) -> ModelStream {
        let parts = self
            .answers
            .lock()
            .pop_front()
            .unwrap_or_else(|| vec![(1, words("Done.").1), end(FinishReason::Stop)]);
        let later = |(pause, part)| async move {
            sleep(Duration::from_millis(pause)).await;
            part
        };
        futures::stream::iter(parts).then(later).boxed()
    }
}

fn words(text: &str) -> (u64, ModelPart) {
    (0, ModelPart::TextDelta { id: "t".into(), delta: text.to_owned() })
}

fn thought() -> ModelPart {
    ModelPart::ReasoningDelta { id: "r".into(), delta: "Hm.".to_owned(), metadata: Metadata::new() }
}

fn end(reason: FinishReason) -> (u64, ModelPart) {
    (0, common::finish(reason))
}

fn fails(status: u16) -> ModelPart {
    ModelPart::Failure(Box::new(Failure::new("openai", Cause::Status).with_status(status)))
}

fn uses(tools: &[&str]) -> Vec<(u64, ModelPart)> {
    let calls = tools.iter().enumerate().map(|(n, tool)| (0, call(&format!("c{n}"), tool, r#"{"n":1}"#)));
    calls.chain([end(FinishReason::ToolCalls)]).collect()
}

/// Gives this after so many milliseconds.
struct Gives(&'static str, u64, Output);

#[async_trait]
impl Tool for Gives {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(self.0, "gives", serde_json::json!({"type": "object"}), Effect::Pure)
    }

    async fn call(&self, _: ToolCall) -> Output {
        sleep(Duration::from_millis(self.1)).await;
        self.2.clone()
    }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.rules.retry.jitter = Jitter::NONE;
    settings
}

fn process(world: &World, model: Arc<dyn LanguageModel>, tools: Vec<Arc<dyn Tool>>) -> Chats {
    Chats::new(world.ports(model, tools), settings()).expect("a valid setup")
}

/// A chat that has had its turn.
async fn a_turn(chats: &Chats) -> ChatId {
    let _worker = work(chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(chats, chat, Status::Waiting).await;
    chat
}

/// The same of one process, with everything that was recorded meanwhile.
async fn turn_of(model: Arc<dyn LanguageModel>, tools: Vec<Arc<dyn Tool>>) -> Values {
    let values = Values::default();
    let guard = metrics::set_default_local_recorder(&values);
    a_turn(&process(&World::new(), model, tools)).await;
    drop(guard);
    values
}

fn sums<const N: usize>(expected: &[([&str; N], f64)]) -> BTreeMap<Vec<String>, f64> {
    expected.iter().map(|(labels, sum)| (labels.map(str::to_owned).to_vec(), *sum)).collect()
}

/// Equal to the few milliseconds that timers and turns of the loop take.
fn about(seconds: f64, expected: f64) -> bool {
    (seconds - expected).abs() < 0.02
}

#[tokio::test(start_paused = true)]
async fn every_series_is_described_once_a_process_is_built() {
    let values = Values::default();
    let _guard = metrics::set_default_local_recorder(&values);
    process(&World::new(), Timed::new([]), vec![]);
    let described = values.described.lock().clone();
    let expected = SERIES
        .iter()
        .map(|series| (series.name.to_owned(), (series.kind, Some(series.unit), series.meaning.to_owned())));
    assert_eq!(described, expected.collect());
    let names: BTreeSet<&str> = SERIES.iter().map(|series| series.name).collect();
    assert_eq!(names.len(), SERIES.len(), "a name is used once");
    for series in SERIES {
        let has_buckets = !series.buckets.is_empty();
        assert_eq!(has_buckets, series.kind == SeriesKind::Histogram, "{}", series.name);
        assert!(series.buckets.is_sorted(), "{}", series.name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_chat_streams_while_its_model_is_asked_waits_while_it_is_held_and_is_gone_at_rest() {
    let values = Values::default();
    let _guard = metrics::set_default_local_recorder(&values);
    let answer = vec![(1_000, words("Let me see.").1), uses(&["slow"])[0].clone(), uses(&[])[0].clone()];
    let slow: Arc<dyn Tool> = Arc::new(Gives("slow", 1_000, Output::text("ok")));
    let chats = process(&World::new(), Timed::new([answer]), vec![slow]);
    let mut worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    let chats_of = |state: &str| values.sums("chatwright_chats").get(&vec![state.to_owned()]).copied();
    sleep(Duration::from_millis(500)).await;
    assert_eq!((chats_of("streaming"), chats_of("waiting")), (Some(1.0), Some(0.0)));
    sleep(Duration::from_millis(1_000)).await;
    assert_eq!((chats_of("streaming"), chats_of("waiting")), (Some(0.0), Some(1.0)), "a tool runs");
    until(&chats, chat, Status::Waiting).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!((chats_of("streaming"), chats_of("waiting")), (Some(0.0), Some(0.0)));
    // A process that is cut off holds nothing either.
    chats.send(chat, NewMessage::text("again")).await.expect("accepted");
    worker.abort_all();
    while worker.join_next().await.is_some() {}
    sleep(Duration::from_millis(100)).await;
    assert_eq!((chats_of("streaming"), chats_of("waiting")), (Some(0.0), Some(0.0)));
}

#[tokio::test(start_paused = true)]
async fn a_prompt_is_measured_in_messages_and_bytes() {
    let tool: Arc<dyn Tool> = Arc::new(Gives("a", 1, Output::text("12345678")));
    let values = turn_of(Timed::new([uses(&["a"])]), vec![tool]).await;
    let model = vec!["rule".to_owned(), "one".to_owned()];
    // hello; the same with a call of seven bytes and a result of eight.
    assert_eq!(values.of("chatwright_message_count")[&model], [1.0, 3.0]);
    assert_eq!(values.of("chatwright_prompt_size_bytes")[&model], [5.0, 5.0 + 8.0 + 8.0]);
}

#[tokio::test(start_paused = true)]
async fn a_result_is_measured_before_it_is_cut_and_the_cut_is_counted() {
    let long: Arc<dyn Tool> = Arc::new(Gives("long", 1, Output::text("x".repeat(1_000_000))));
    let short: Arc<dyn Tool> = Arc::new(Gives("short", 1, Output::text("four")));
    let values = turn_of(Timed::new([uses(&["long", "short"])]), vec![long, short]).await;
    let of = |tool: &str| vec!["rule".to_owned(), "one".to_owned(), tool.to_owned()];
    let sizes = values.of("chatwright_tool_result_size_bytes");
    assert_eq!(sizes, BTreeMap::from([(of("long"), vec![1_000_000.0]), (of("short"), vec![4.0])]));
    let cut = values.sums("chatwright_tool_result_truncated_total");
    assert_eq!(cut, sums(&[(["rule", "one", "long"], 1.0)]));
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_fails_and_a_call_that_is_refused_are_errors_of_that_tool() {
    let fails: Arc<dyn Tool> = Arc::new(Gives("fails", 1, Output::error("no")));
    let strict: Arc<dyn Tool> = CountTool::new("strict", Effect::Pure);
    let wrong = (0, call("w", "strict", r#"{"m":1}"#));
    let mut answer = uses(&["fails", "strict", "none_of_them"]);
    answer.insert(0, wrong);
    let values = turn_of(Timed::new([answer]), vec![fails, strict]).await;
    let expected = [
        (["rule", "one", "fails"], 1.0),
        (["rule", "one", "strict"], 1.0),
        (["rule", "one", "unknown"], 1.0),
    ];
    assert_eq!(values.sums("chatwright_tool_errors_total"), sums(&expected));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tools_that_a_model_invents_make_one_label() {
    let name = |n: usize| format!("invented_{n}");
    let step = |step: usize| {
        let names: Vec<String> = (0..20).map(|n| name(20 * step + n)).collect();
        uses(&names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let values = turn_of(Timed::new((0..50).map(step)), vec![]).await;
    assert_eq!(values.sums("chatwright_tool_errors_total"), sums(&[(["rule", "one", "unknown"], 1_000.0)]));
    assert!(!values.text().contains("invented"), "{}", values.text());
}

#[tokio::test(start_paused = true)]
async fn only_content_ends_the_wait_for_the_first_token() {
    let answer = vec![
        (1_000, ModelPart::Warnings(vec!["no place for top_k".to_owned()])),
        (1_000, ModelPart::KeepAlive),
        (1_000, words("At last.").1),
        (500, end(FinishReason::Stop).1),
    ];
    let values = turn_of(Timed::new([answer]), vec![]).await;
    let waits = &values.of("chatwright_ttft_seconds")[&vec!["rule".to_owned(), "one".to_owned()]];
    assert!(waits.len() == 1 && about(waits[0], 3.0), "{waits:?}");
    assert_eq!(values.sums("chatwright_warnings_total"), sums(&[(["rule", "one"], 1.0)]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_content_has_no_first_token() {
    let never = vec![(1_000, ModelPart::KeepAlive), (1_000, fails(500))];
    let values = turn_of(Timed::new([never]), vec![]).await;
    let waits = values.of("chatwright_ttft_seconds").into_values().flatten().collect::<Vec<_>>();
    assert!(waits.len() == 1 && about(waits[0], 0.0), "only the second attempt has one: {waits:?}");
}

#[tokio::test(start_paused = true)]
async fn summaries_count_by_what_became_of_them() {
    let summary = || vec![words("They spoke."), end(FinishReason::Stop)];
    let silence = || vec![(10_000_000, words("Too late.").1)];
    for (answer, expected) in [
        (vec![summary()], Some("success")),
        // One without words is none, and what a stop cut off does not count.
        ((0..40).map(|_| vec![end(FinishReason::Stop)]).collect(), Some("error")),
        ((0..40).map(|_| silence()).collect(), Some("timeout")),
        (vec![silence()], None),
    ] {
        let values = Values::default();
        let _guard = metrics::set_default_local_recorder(&values);
        let stops = expected.is_none();
        let (world, model) = (World::new(), Timed::new([]));
        let chats = process(&world, model.clone(), vec![]);
        let chat = a_turn(&chats).await;
        let _worker = work(&chats);
        chats.send(chat, NewMessage::text("two")).await.expect("accepted");
        sleep(Duration::from_secs(1)).await;
        model.answers.lock().extend(answer);
        chats.compact(chat, None).await.expect("at rest");
        sleep(Duration::from_secs(2)).await;
        if stops {
            chats.interrupt(chat, None).await.expect("it runs");
        }
        until_rest(&chats, chat).await;
        let results = values.of("chatwright_compaction_total");
        let results: BTreeSet<&str> = results.keys().map(|labels| &*labels[2]).collect();
        assert_eq!(results, expected.into_iter().collect(), "{expected:?}");
        let requests = values.sums("chatwright_requests_total");
        assert!(requests.keys().any(|labels| labels[2] == "compaction"), "{requests:?}");
    }
}

async fn until_rest(chats: &Chats, chat: ChatId) {
    for _ in 0..200_000 {
        let head = chats.head(chat).await.expect("there");
        if matches!(head.index.status, Status::Waiting | Status::Error) && head.holder.is_none() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not come to rest");
}

#[tokio::test(start_paused = true)]
async fn requests_steps_and_tokens_are_counted_by_model_and_purpose() {
    let usage = Usage {
        input: Some(10),
        output: Some(7),
        reasoning: Some(3),
        cache_read: Some(90),
        cache_write: Some(5),
    };
    let finish = |reason, usage| (0, ModelPart::Finish(Finish { reason, usage, ..Finish::default() }));
    let mut first = uses(&["a"]);
    first[1] = finish(FinishReason::ToolCalls, usage);
    let second = vec![words("Done."), finish(FinishReason::Stop, usage)];
    let tool: Arc<dyn Tool> = Arc::new(Gives("a", 1, Output::text("ok")));
    let values = turn_of(Timed::new([first, vec![(0, fails(500))], second]), vec![tool]).await;
    let expected = [(["rule", "one", "turn", "failed"], 1.0), (["rule", "one", "turn", "finished"], 2.0)];
    assert_eq!(values.sums("chatwright_requests_total"), sums(&expected));
    assert_eq!(values.sums("chatwright_steps_total"), sums(&[(["rule", "one"], 2.0)]));
    let tokens = values.sums("chatwright_tokens_total");
    let of = |kind: &str| tokens[&["rule", "one", "turn", kind].map(str::to_owned).to_vec()];
    assert_eq!(["output", "reasoning", "cache_read", "cache_write"].map(of), [14.0, 6.0, 180.0, 10.0]);
    assert!(of("input") > 20.0, "what the failed one took is estimated: {}", of("input"));
    assert_eq!(values.sums("chatwright_requests_estimated_total"), sums(&[(["rule", "one", "turn"], 1.0)]));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_made_again_counts_by_the_kind_of_its_error_and_the_last_one_does_not() {
    let answers = [vec![(0, fails(500))], vec![(0, fails(429))], vec![(0, fails(401))]];
    let values = Values::default();
    let _guard = metrics::set_default_local_recorder(&values);
    let chats = process(&World::new(), Timed::new(answers), vec![]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Error).await;
    let expected = [(["rule", "one", "generic"], 1.0), (["rule", "one", "rate_limit"], 1.0)];
    assert_eq!(values.sums("chatwright_stream_retries_total"), sums(&expected));
}

/// A live log that is full at once.
struct Full(MemoryLiveLog);

#[async_trait]
impl LiveLog for Full {
    async fn open(&self, chat: ChatId, epoch: Epoch, r#gen: Gen) -> Result<(), LiveError> {
        self.0.open(chat, epoch, r#gen).await
    }

    async fn append(&self, _: ChatId, _: Epoch, _: Gen, _: u64, _: &[Piece]) -> Result<u64, LiveError> {
        Err(LiveError::Capped { head: 0 })
    }

    async fn read(&self, chat: ChatId, r#gen: Gen, from: u64, max: usize) -> Result<LiveRead, LiveError> {
        self.0.read(chat, r#gen, from, max).await
    }

    async fn seal(&self, chat: ChatId, epoch: Epoch, r#gen: Gen, at: u64) -> Result<(), LiveError> {
        self.0.seal(chat, epoch, r#gen, at).await
    }

    fn changed(&self, chat: ChatId) -> LiveWakes {
        self.0.changed(chat)
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_live_log_does_not_take_whole_is_counted() {
    let values = Values::default();
    let _guard = metrics::set_default_local_recorder(&values);
    let world = World::new();
    a_turn(&process(&world, Timed::new([]), vec![])).await;
    assert_eq!(values.sum("chatwright_stream_buffer_dropped_total"), 0.0);
    let live = Arc::new(Full(MemoryLiveLog::new(world.clock.clone())));
    let ports = Ports { live, ..world.ports(Timed::new([]), vec![]) };
    a_turn(&Chats::new(ports, settings()).expect("a valid setup")).await;
    assert_eq!(values.sum("chatwright_stream_buffer_dropped_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn every_stage_is_told_with_what_it_is_part_of_and_its_model() {
    let thinks = vec![
        (1_000, thought()),
        (2_000, words("So.").1),
        (500, call("c", "slow", "{}")),
        end(FinishReason::ToolCalls),
    ];
    let slow: Arc<dyn Tool> = Arc::new(Gives("slow", 4_000, Output::text("ok")));
    let values = turn_of(Timed::new([vec![(300, fails(500))], thinks]), vec![slow]).await;
    let stages = values.of("chatwright_stage_duration_seconds");
    let of = |stage: &str| &stages[&[stage, "turn", "root"].map(str::to_owned).to_vec()];
    let models = values.of("chatwright_model_stage_duration_seconds");
    let of_model = |stage: &str| &models[&[stage, "rule", "one", "root"].map(str::to_owned).to_vec()];
    for (stage, expected) in [
        ("thinking", &[2.0][..]),
        ("time_to_first_token", &[1.0, 0.0]),
        ("stream", &[2.5, 0.0]),
        ("provider_attempt", &[0.3, 3.5, 0.0]),
        ("tool_call", &[4.0]),
    ] {
        assert_eq!(of(stage).len(), expected.len(), "{stage}: {:?}", of(stage));
        assert!(
            of(stage).iter().zip(expected).all(|(took, expected)| about(*took, *expected)),
            "{stage}: {:?}",
            of(stage)
        );
        assert_eq!(of(stage), of_model(stage), "{stage}");
    }
    // Waits and tools are no part of a step.
    let steps = of("generation_step");
    assert!(
        steps.len() == 3 && about(steps[0], 0.3) && about(steps[1], 3.5) && about(steps[2], 0.0),
        "{steps:?}"
    );
    let backoff = of("retry_backoff");
    assert!(backoff.len() == 1 && about(backoff[0], 1.0), "{backoff:?}");
    let turn = of("chat_turn");
    assert!(turn.len() == 1 && about(turn[0], 0.3 + 1.0 + 3.5 + 4.0), "{turn:?}");
    assert_eq!((of("queue_wait").len(), of("acquisition").len(), of("prepare").len()), (1, 1, 3));
    assert!(of("commit").len() >= 4, "{:?}", of("commit"));
    let all: BTreeSet<&str> = stages.keys().map(|labels| &*labels[0]).collect();
    assert!(!all.contains("compaction") && !all.contains("capacity_wait"), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_done_at_rest_and_by_subagents_is_told_apart() {
    let values = Values::default();
    let _guard = metrics::set_default_local_recorder(&values);
    let chats = process(&World::new(), Timed::new([]), vec![]);
    let chat = a_turn(&chats).await;
    let _worker = work(&chats);
    let mut member = new_chat("hello");
    member.parent = Some(chat);
    let (member, _) = chats.create(member).await.expect("created");
    until(&chats, member, Status::Waiting).await;
    chats.send(chat, NewMessage::text("two")).await.expect("accepted");
    sleep(Duration::from_secs(1)).await;
    chats.compact(chat, None).await.expect("at rest");
    sleep(Duration::from_secs(1)).await;
    let outcomes = values.sums("chatwright_turn_outcomes_total");
    assert_eq!(outcomes, sums(&[(["completed", "root"], 2.0), (["completed", "subagent"], 1.0)]));
    assert_eq!(values.sums("chatwright_turns_total"), sums(&[(["root"], 2.0), (["subagent"], 1.0)]));
    let stages = values.of("chatwright_stage_duration_seconds");
    let of = |labels: [&str; 3]| stages.get(labels.map(str::to_owned).as_slice()).map_or(0, Vec::len);
    assert_eq!((of(["compaction", "background", "root"]), of(["compaction", "turn", "root"])), (1, 0));
    assert_eq!(of(["generation_step", "turn", "subagent"]), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_turn_spends_its_time_on_is_a_partition_of_it() {
    let answers = [
        vec![(300, words("Half").1), (200, fails(500))],
        vec![
            (3_000, thought()),
            (2_000, words("So.").1),
            (0, call("c", "slow", "{}")),
            end(FinishReason::ToolCalls),
        ],
        vec![(1_000, words("Done.").1), (1_000, end(FinishReason::Stop).1)],
    ];
    let slow: Arc<dyn Tool> = Arc::new(Gives("slow", 4_000, Output::text("ok")));
    let values = Values::default();
    let _guard = metrics::set_default_local_recorder(&values);
    let chats = process(&World::new(), Timed::new(answers), vec![slow]);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    // Nobody works for a while.
    sleep(Duration::from_secs(7)).await;
    let _worker = work(&chats);
    until(&chats, chat, Status::Waiting).await;
    let times = values.of("chatwright_turn_time_seconds");
    let of = |category: &str| times[&[category, "root"].map(str::to_owned).to_vec()][0];
    for (category, expected) in [
        ("scheduling", 7.0),
        ("time_to_first_token", 4.0),
        ("streaming", 3.0),
        ("provider_error", 0.5),
        ("retry_backoff", 1.0),
        ("tool_execution", 4.0),
        ("compaction", 0.0),
        ("overhead", 0.0),
        ("unattributed", 0.0),
    ] {
        assert!(about(of(category), expected), "{category}: {}", of(category));
    }
    let sum: f64 = TurnCategory::ALL.iter().map(|category| of(category.as_str())).sum();
    let turn = values.sum("chatwright_turn_stage_seconds");
    assert!(turn > 0.0 && about(sum, 19.5), "{sum}");
    let shares = values.sum("chatwright_turn_time_share");
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    let stages = values.of("chatwright_turn_stage_seconds");
    let stage = |stage: &str| stages[&[stage, "root"].map(str::to_owned).to_vec()].clone();
    assert!(about(stage("tool_call")[0], 4.0) && about(stage("queue_wait")[0], 7.0));
    assert!(about(stage("thinking")[0], 2.0) && about(stage("generation_step")[0], 0.5 + 5.0 + 2.0));
    // Whole seconds; what is left of one is not lost.
    let before = values.sums("chatwright_turn_time_seconds_total");
    assert_eq!(before[&["scheduling", "root"].map(str::to_owned).to_vec()], 7.0);
    assert!(!before.contains_key(["provider_error", "root"].map(str::to_owned).as_slice()));
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_second_add_up_over_turns() {
    let answers = (0..10).map(|_| vec![(400, words("Done.").1), end(FinishReason::Stop)]);
    let values = Values::default();
    let _guard = metrics::set_default_local_recorder(&values);
    let chats = process(&World::new(), Timed::new(answers), vec![]);
    let chat = a_turn(&chats).await;
    let _worker = work(&chats);
    for _ in 1..10 {
        chats.send(chat, NewMessage::text("again")).await.expect("accepted");
        sleep(Duration::from_secs(1)).await;
    }
    let spent = values.sums("chatwright_turn_time_seconds_total");
    assert_eq!(spent[&["time_to_first_token", "root"].map(str::to_owned).to_vec()], 4.0);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_was_stopped_edited_or_failed_has_an_outcome_and_no_partition() {
    for outcome in ["interrupted", "abandoned", "error"] {
        let values = Values::default();
        let _guard = metrics::set_default_local_recorder(&values);
        let first = match outcome {
            "error" => vec![(0, fails(401))],
            _ => vec![(0, words("I begin").1), (1_000_000, words("never").1)],
        };
        let chats = process(&World::new(), Timed::new([first]), vec![]);
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
        sleep(Duration::from_secs(2)).await;
        match outcome {
            "interrupted" => drop(chats.interrupt(chat, None).await.expect("it runs")),
            "abandoned" => {
                let all = records(&chats, chat).await;
                let said = all.iter().find(|record| record.kind.name() == "message.user").expect("there").seq;
                chats.edit(chat, NewEdit::text(said, "hi")).await.expect("it is there");
            }
            _ => {}
        }
        until_rest(&chats, chat).await;
        let then = f64::from(u8::from(outcome == "abandoned"));
        let mut expected = sums(&[([outcome, "root"], 1.0)]);
        if outcome == "abandoned" {
            expected.extend(sums(&[(["completed", "root"], 1.0)]));
        }
        assert_eq!(values.sums("chatwright_turn_outcomes_total"), expected);
        assert_eq!(values.sum("chatwright_turns_total"), then, "{outcome}");
        assert_eq!(values.sum("chatwright_stage_anomalies_total"), 0.0, "{outcome}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_waited_for_its_client_has_no_partition_and_says_why() {
    let values = Values::default();
    let _guard = metrics::set_default_local_recorder(&values);
    let world = World::new();
    let ask = ToolSpec::new("ask", "asks", serde_json::json!({"type": "object"}), Effect::Pure);
    let ports = Ports { client_tools: vec![ask], ..world.ports(Timed::new([uses(&["ask"])]), vec![]) };
    let chats = Chats::new(ports, settings()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::RequiresAction).await;
    chats.submit(chat, vec![(0, Output::text("yes"))], Asked::default()).await.expect("it waits");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(values.sums("chatwright_turn_outcomes_total"), sums(&[(["completed", "root"], 1.0)]));
    assert_eq!(values.sums("chatwright_stage_anomalies_total"), sums(&[(["stale_anchor"], 1.0)]));
    assert_eq!(values.sum("chatwright_turns_total"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waited_in_the_queue_begins_a_turn_of_its_own() {
    let slow = || vec![(3_000, words("Done.").1), end(FinishReason::Stop)];
    let values = Values::default();
    let _guard = metrics::set_default_local_recorder(&values);
    let chats = process(&World::new(), Timed::new([slow(), slow()]), vec![]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    sleep(Duration::from_secs(1)).await;
    chats.send(chat, NewMessage::text("and then")).await.expect("accepted");
    until(&chats, chat, Status::Waiting).await;
    let turns = &values.of("chatwright_stage_duration_seconds")
        [&["chat_turn", "turn", "root"].map(str::to_owned).to_vec()];
    assert!(turns.len() == 2 && turns.iter().all(|took| about(*took, 3.0)), "{turns:?}");
}

/// A store that says so of the next commits.
struct Troubled {
    inner: Arc<dyn ChatStore>,
    conflicts: AtomicIsize,
    unknown: AtomicIsize,
}

#[async_trait]
impl ChatStore for Troubled {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        self.inner.head(chat).await
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        if self.conflicts.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Err(CommitError::Conflict(Actual::Absent));
        }
        if self.unknown.fetch_sub(1, Ordering::SeqCst) > 0 {
            // It landed, and nobody says so.
            self.inner.commit(commit).await?;
            return Err(StoreError::new(StoreErrorKind::Unavailable, "lost").into());
        }
        self.inner.commit(commit).await
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.inner.records(chat, after, limit).await
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.inner.due(after, limit).await
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        self.inner.held(session, after, limit).await
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        self.inner.revisions(chats).await
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        self.inner.purge(chat).await
    }
}

#[tokio::test(start_paused = true)]
async fn conflicts_and_unknown_outcomes_are_counted_and_a_turn_that_ended_so_counts_once() {
    let values = Values::default();
    let _guard = metrics::set_default_local_recorder(&values);
    let world = World::new();
    let troubled = Arc::new(Troubled {
        inner: world.store.clone(),
        conflicts: AtomicIsize::new(2),
        // Each commit of the whole turn.
        unknown: AtomicIsize::new(100),
    });
    let ports = Ports { chats: troubled, ..world.ports(Timed::new([]), vec![]) };
    let chats = Chats::new(ports, settings()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    // Stored is not yet known.
    sleep(Duration::from_secs(5)).await;
    let commits = world.store.head(chat).await.expect("it answers").expect("there").revision.get();
    let troubles = values.sums("chatwright_commit_troubles_total");
    let unknown = f64::from(u32::try_from(commits).expect("a few"));
    assert_eq!(troubles, sums(&[(["conflict"], 2.0), (["unknown"], unknown)]), "one for each commit");
    assert_eq!(values.sums("chatwright_turn_outcomes_total"), sums(&[(["completed", "root"], 1.0)]));
}

/// A bus that nobody can reach.
struct Dead;

#[async_trait]
impl Bus for Dead {
    async fn publish(&self, _: &Topic, _: &[u8]) -> Result<(), BusError> {
        Err(BusError::Unavailable { message: "dead".into() })
    }

    async fn subscribe(&self, _: &Topic) -> Result<BusFrames, BusError> {
        Err(BusError::Unavailable { message: "dead".into() })
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_which_the_bus_was_not_told_is_counted_and_is_no_error() {
    let values = Values::default();
    let _guard = metrics::set_default_local_recorder(&values);
    let world = World::new();
    let ports = Ports { bus: Arc::new(Dead), ..world.ports(Timed::new([]), vec![]) };
    let chat = a_turn(&Chats::new(ports, settings()).expect("a valid setup")).await;
    let commits = world.store.head(chat).await.expect("it answers").expect("there").revision.get();
    let failures = values.sum("chatwright_doorbell_failures_total");
    assert!(failures >= f64::from(u32::try_from(commits).expect("a few")), "{failures} of {commits}");
    assert_eq!(values.sums("chatwright_turn_outcomes_total"), sums(&[(["completed", "root"], 1.0)]));
}

/// A ledger that opens so many rows and closes none.
struct Broken(AtomicUsize);

#[async_trait]
impl Ledger for Broken {
    async fn open(&self, _: &LedgerEntry) -> Result<(), StoreError> {
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::new(StoreErrorKind::Unavailable, "full")),
        }
    }

    async fn close(&self, _: OpId, _: &LedgerClosing) -> Result<LedgerClosed, StoreError> {
        Err(StoreError::new(StoreErrorKind::Unavailable, "full"))
    }

    async fn unclosed(
        &self,
        _: Timestamp,
        _: Option<(Timestamp, OpId)>,
        _: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        Ok(Vec::new())
    }

    async fn spent(&self, _: &LedgerScope, _: Range<Timestamp>) -> Result<Spent, StoreError> {
        Err(StoreError::new(StoreErrorKind::Unavailable, "full"))
    }

    async fn report(&self, _: &LedgerScope, _: Range<Timestamp>) -> Result<Vec<LedgerLine>, StoreError> {
        Err(StoreError::new(StoreErrorKind::Unavailable, "full"))
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_ledger_does_not_do_is_counted() {
    let values = Values::default();
    let _guard = metrics::set_default_local_recorder(&values);
    let world = World::new();
    let ports =
        Ports { ledger: Some(Arc::new(Broken(AtomicUsize::new(1)))), ..world.ports(Timed::new([]), vec![]) };
    let chats = Chats::new(ports, settings()).expect("a valid setup");
    let chat = a_turn(&chats).await;
    assert_eq!(values.sums("chatwright_ledger_failures_total"), sums(&[(["close"], 1.0)]));
    let _worker = work(&chats);
    chats.send(chat, NewMessage::text("again")).await.expect("accepted");
    sleep(Duration::from_millis(500)).await;
    let failures = values.sums("chatwright_ledger_failures_total");
    assert_eq!(failures, sums(&[(["close"], 1.0), (["open"], 1.0)]));
    // What was not asked is no request.
    assert_eq!(values.sum("chatwright_requests_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn chats_do_as_well_without_a_recorder() {
    let mut new = NewChat::new(UserId::new("ada").expect("short"));
    new.content = vec![Part::text("hello")];
    let chats = process(&World::new(), Timed::new([]), vec![]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
}
