//! Chats that outgrow the window of their model, and what every request of theirs took.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::config::ModelConfig;
use chatwright_core::content::{Output, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::head::Status;
use chatwright_core::history::ValidHistory;
use chatwright_core::model::{Finish, FinishReason, Message, ModelCall, ModelId, ModelPart, Role, Usage};
use chatwright_core::port::{
    ChatStore, LanguageModel, Ledger, LedgerClosed, LedgerClosing, LedgerEntry, LedgerLine, LedgerScope,
    ModelStream, Purpose, Spent, StoreError, StoreErrorKind, Tool,
};
use chatwright_core::record::{Body, CompactionTrigger, ContextCompacted};
use chatwright_core::tool::{Effect, ToolCall, ToolSpec};
use chatwright_core::{ChatId, OpId, Timestamp};
use chatwright_loop::{Chats, NewMessage, Ports, Settings};
use chatwright_memory::MemoryLedger;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use common::doors::Cut;
use common::{
    RuleModel, World, begun, call, check_log, finish, new_chat, records, text, until, words_of, work,
};

const SUMMARY: &str = "They look for a needle.";
const ASKED: &str = "Find the needle.";

/// A request that the model got.
#[derive(Clone, Debug)]
struct Seen {
    /// It was for a summary.
    is_summary: bool,
    /// As the model counts.
    tokens: u64,
    prompt: Vec<Message>,
    tools: usize,
    /// What it told of its cost.
    usage: Usage,
}

/// How a model does.
#[derive(Clone)]
struct Does {
    /// Prompts of more tokens are refused.
    takes: u64,
    /// So many tokens are told of the prompt of an answer, whatever it has.
    tells: Option<u64>,
    /// Tells nothing.
    silent: bool,
    /// Begins to speak and never ends.
    stalls: bool,
    /// Takes requests for summaries of any length.
    summarises: bool,
    /// Refuses everything.
    refuses: bool,
    /// Steps of a turn before its answer.
    steps: usize,
    /// How a request for a summary ends, by how many came before; nothing: with a summary.
    summaries: fn(usize) -> Option<ModelPart>,
}

impl Default for Does {
    fn default() -> Self {
        Self {
            takes: u64::MAX,
            tells: None,
            silent: false,
            stalls: false,
            summarises: false,
            refuses: false,
            steps: 0,
            summaries: |_| None,
        }
    }
}

struct Model {
    name: &'static str,
    does: Mutex<Does>,
    seen: Mutex<Vec<Seen>>,
    /// Steps of the turn so far.
    taken: Mutex<usize>,
}

/// Four bytes a token, as English has them.
fn count(prompt: &[Message]) -> u64 {
    let bytes: usize =
        prompt.iter().flat_map(|message| message.content.iter()).map(|part| words_of(part).len()).sum();
    bytes.div_ceil(4) as u64
}

fn too_large() -> ModelPart {
    let failure = Failure::new("acme", Cause::Status).with_status(400);
    ModelPart::Failure(Box::new(failure.with_body(r#"{"error":{"code":"context_length_exceeded"}}"#)))
}

fn refuses() -> ModelPart {
    ModelPart::Failure(Box::new(Failure::new("acme", Cause::Status).with_status(401)))
}

impl Model {
    fn new(does: Does) -> Arc<Self> {
        Self::named("large", does)
    }

    fn named(name: &'static str, does: Does) -> Arc<Self> {
        Arc::new(Self { name, does: Mutex::new(does), seen: Mutex::default(), taken: Mutex::default() })
    }

    fn answer(&self, call: &ModelCall) -> Vec<ModelPart> {
        let does = self.does.lock().clone();
        let mut seen = self.seen.lock();
        let words = |message: &Message| message.content.iter().map(words_of).collect::<String>();
        let is_summary = call.prompt.last().is_some_and(|last| words(last).starts_with("Summarise"));
        let before = seen.iter().filter(|seen| seen.is_summary).count();
        let tokens = count(&call.prompt);
        let mut parts = match () {
            () if is_summary && (does.summaries)(before).is_some() => {
                vec![(does.summaries)(before).expect("it fails")]
            }
            () if does.refuses => vec![refuses()],
            () if tokens > does.takes && !(is_summary && does.summarises) => vec![too_large()],
            () if does.stalls => common::stall("There "),
            () if is_summary => text(SUMMARY),
            () => {
                let mut taken = self.taken.lock();
                if *taken < does.steps {
                    *taken += 1;
                    let mut parts = text("Let me look.");
                    parts.push(self::call(&format!("c{taken}"), "look", "{}"));
                    parts
                } else {
                    *taken = 0;
                    text("There it is.")
                }
            }
        };
        let told = if is_summary { tokens } else { does.tells.unwrap_or(tokens) };
        let usage = Usage { input: Some(told), output: Some(10), ..Usage::default() };
        let usage = if does.silent { Usage::default() } else { usage };
        let fails = parts.iter().any(ModelPart::is_terminal);
        if !fails && !does.stalls {
            let calls = parts.iter().any(|part| matches!(part, ModelPart::ToolCall { .. }));
            let reason = if calls { FinishReason::ToolCalls } else { FinishReason::Stop };
            parts.push(ModelPart::Finish(Finish { reason, usage, ..Finish::default() }));
        }
        let usage = if fails || does.stalls { Usage::default() } else { usage };
        let (prompt, tools) = (call.prompt.messages().to_vec(), call.tools.len());
        seen.push(Seen { is_summary, tokens, prompt, tools, usage });
        parts
    }

    fn summaries(&self) -> usize {
        self.seen.lock().iter().filter(|seen| seen.is_summary).count()
    }

    fn asked(&self) -> usize {
        self.seen.lock().len()
    }
}

impl LanguageModel for Model {
    fn id(&self) -> ModelId {
        ModelId { provider: "acme".into(), model: self.name.into() }
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        let slowly = |part| async {
            match part {
                ModelPart::KeepAlive => std::future::pending::<()>().await,
                _ => sleep(Duration::from_millis(1)).await,
            }
            part
        };
        futures::stream::iter(self.answer(&call)).then(slowly).boxed()
    }
}

/// Gives so many bytes.
struct Look(usize);

#[async_trait]
impl Tool for Look {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("look", "Looks.", serde_json::json!({"type": "object"}), Effect::Pure)
    }

    async fn call(&self, _: ToolCall) -> Output {
        Output::text("hay ".repeat(self.0 / 4))
    }
}

fn config(window: Option<u64>, percent: Option<u64>) -> ModelConfig {
    let mut config = ModelConfig::new("acme", "large");
    (config.context_window, config.compaction.threshold_percent) = (window, percent);
    config.prices = serde_json::from_str(r#"{"input": "2", "output": "10"}"#).expect("prices");
    config
}

struct Rig {
    world: World,
    model: Arc<Model>,
    ledger: MemoryLedger,
    config: ModelConfig,
    gives: usize,
}

impl Rig {
    fn new(does: Does, window: Option<u64>, percent: Option<u64>) -> Self {
        let (world, config) = (World::new(), config(window, percent));
        Self { world, model: Model::new(does), ledger: MemoryLedger::new(), config, gives: 2_000 }
    }

    fn ports(&self, store: Arc<dyn ChatStore>) -> Ports {
        let tools = vec![Arc::new(Look(self.gives)) as Arc<dyn Tool>];
        Ports {
            chats: store,
            ledger: Some(Arc::new(self.ledger.clone())),
            model_configs: [("rule".into(), self.config.clone())].into(),
            ..self.world.ports(self.model.clone(), tools)
        }
    }

    fn process(&self) -> Chats {
        Chats::new(self.ports(self.world.store.clone()), Settings::default()).expect("a valid setup")
    }

    async fn spent(&self) -> BTreeMap<Purpose, Spent> {
        let all = Timestamp::from_millis(0)..Timestamp::from_millis(i64::MAX);
        let lines = self.ledger.report(&LedgerScope::default(), all).await.expect("in memory");
        lines.into_iter().map(|line| (line.purpose, line.spent)).collect()
    }
}

async fn compactions(chats: &Chats, chat: ChatId) -> Vec<ContextCompacted> {
    let compacted = |body| match body {
        Body::ContextCompacted(compacted) => Some(compacted),
        _ => None,
    };
    bodies(chats, chat).await.into_iter().filter_map(compacted).collect()
}

async fn bodies(chats: &Chats, chat: ChatId) -> Vec<Body> {
    let records = records(chats, chat).await;
    records.iter().map(|record| record.open().expect("a record of ours").body).collect()
}

async fn turn(chats: &Chats, chat: ChatId, words: &str) {
    chats.send(chat, NewMessage::text(words)).await.expect("accepted");
    until(chats, chat, Status::Waiting).await;
}

/// C4, C11, L1, W20, W21.
#[tokio::test(start_paused = true)]
async fn a_long_turn_is_summarised_as_often_as_it_must_be_and_keeps_the_users_words_and_its_newest_steps() {
    let window = 4_000;
    let does = Does { takes: window, steps: 20, ..Does::default() };
    let rig = Rig::new(does, Some(window), None);
    let chats = rig.process();
    let _worker = work(&chats);
    let chat = begun(&chats, ASKED).await;
    check_log(&records(&chats, chat).await);
    let compactions = compactions(&chats, chat).await;
    assert!(compactions.len() >= 2, "{} of 20 steps with 500 tokens each", compactions.len());
    assert!(compactions.iter().all(|compacted| compacted.trigger == Some(CompactionTrigger::Full)));
    for compacted in &compactions {
        let (before, after) = (compacted.tokens_before.expect("told"), compacted.tokens_after.expect("told"));
        assert!(before >= window * 7 / 10 && after * 2 < before, "{before} became {after}");
    }
    let seen = rig.model.seen.lock().clone();
    assert_eq!((seen.len(), rig.model.summaries()), (21 + compactions.len(), compactions.len()));
    for (n, seen) in seen.iter().enumerate() {
        assert!(seen.tokens <= window, "request {n} has {} tokens", seen.tokens);
        ValidHistory::check(seen.prompt.clone()).expect("valid as it is");
        let words: Vec<String> = seen.prompt[0].content.iter().map(words_of).collect();
        assert!(words.iter().any(|words| words == ASKED), "request {n} begins with {words:?}");
        assert_eq!(seen.tools, 1, "so that the provider finds it in its cache");
    }
    let behind = seen.iter().skip_while(|seen| !seen.is_summary).nth(1).expect("an answer came of it");
    let first: Vec<String> = behind.prompt[0].content.iter().map(words_of).collect();
    assert!(first[0].contains(SUMMARY), "{first:?}");
    assert!(behind.prompt[1..].iter().any(|message| message.role == Role::Tool), "the newest steps stay");
    let lines = common::transcript(&chats, chat).await;
    assert_eq!(lines.last().map(String::as_str), Some("model: There it is."));
}

#[tokio::test(start_paused = true)]
async fn a_summary_is_made_when_the_next_prompt_would_fill_so_much_of_the_window_and_not_before() {
    for (window, percent, told, made) in [
        (Some(1_000), None, 600, 0),
        (Some(1_000), None, 699, 1),
        (Some(1_000), None, 900, 1),
        (Some(1_000), Some(50), 499, 1),
        (Some(1_000), Some(50), 400, 0),
        (Some(1_000), Some(101), 600, 0),
        (Some(1_000), Some(101), 700, 1),
        (Some(1_000), Some(100), 5_000, 0),
        (Some(1_000), Some(0), 1, 1),
        (None, None, 1_000_000, 0),
    ] {
        let rig = Rig::new(Does { tells: Some(told), ..Does::default() }, window, percent);
        let chats = rig.process();
        let _worker = work(&chats);
        let chat = begun(&chats, "one").await;
        assert_eq!(rig.model.summaries(), 0, "there is nothing to summarise yet");
        // The question and the answer before it are a few tokens more.
        turn(&chats, chat, "two").await;
        assert_eq!(rig.model.summaries(), made, "{window:?} {percent:?} {told}");
        assert_eq!(compactions(&chats, chat).await.len(), made);
        check_log(&records(&chats, chat).await);
    }
}

/// W19.
#[tokio::test(start_paused = true)]
async fn a_turn_that_is_done_is_not_summarised_before_there_is_something_to_ask() {
    let rig = Rig::new(Does { tells: Some(990), ..Does::default() }, Some(1_000), None);
    let chats = rig.process();
    let _worker = work(&chats);
    begun(&chats, "one").await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!((rig.model.asked(), rig.model.summaries()), (1, 0));
}

/// W20, W34: the limit is the one that is configured, and the provider has the last word.
#[tokio::test(start_paused = true)]
async fn a_prompt_that_the_provider_does_not_take_is_summarised_and_asked_again_once() {
    let rig = Rig::new(Does { steps: 4, ..Does::default() }, None, None);
    let chats = rig.process();
    let _worker = work(&chats);
    let chat = begun(&chats, "one").await;
    // Four results of 500 tokens are in it.
    *rig.model.does.lock() = Does { takes: 1_500, ..Does::default() };
    let before = rig.model.asked();
    turn(&chats, chat, "two").await;
    let seen = rig.model.seen.lock()[before..].to_vec();
    let shape: Vec<(bool, bool)> = seen.iter().map(|seen| (seen.is_summary, seen.tokens <= 1_500)).collect();
    // The first request for a summary has the same prompt; the second one is shorter.
    assert_eq!(shape, [(false, false), (true, false), (true, true), (false, true)]);
    let compactions = compactions(&chats, chat).await;
    assert_eq!(
        compactions.iter().map(|made| made.trigger).collect::<Vec<_>>(),
        [Some(CompactionTrigger::TooLarge)]
    );
    assert_eq!(
        common::transcript(&chats, chat).await.last().map(String::as_str),
        Some("model: There it is.")
    );
}

/// L5.
#[tokio::test(start_paused = true)]
async fn a_model_that_takes_no_prompt_or_gives_no_summary_ends_in_an_error_after_few_requests() {
    let takes_nothing = Does { takes: 0, ..Does::default() };
    let summaries: fn(usize) -> Option<ModelPart> = |_| Some(refuses());
    let gives_none = Does { takes: 1_500, summaries, ..Does::default() };
    let blank: fn(usize) -> Option<ModelPart> = |_| Some(finish(FinishReason::Stop));
    let gives_blank = Does { takes: 1_500, summaries: blank, ..Does::default() };
    // It takes prompts of a summary, and its summaries are as good as none.
    for (does, most) in [(takes_nothing, 6), (gives_none, 2), (gives_blank, 2)] {
        let rig = Rig::new(Does { steps: 4, ..Does::default() }, None, None);
        let chats = rig.process();
        let _worker = work(&chats);
        let chat = begun(&chats, "one").await;
        let before = rig.model.asked();
        *rig.model.does.lock() = does;
        chats.send(chat, NewMessage::text("two")).await.expect("accepted");
        until(&chats, chat, Status::Error).await;
        sleep(Duration::from_secs(3_600)).await;
        let asked = rig.model.asked() - before;
        assert!((2..=most).contains(&asked), "{asked} of {most}");
        assert!(compactions(&chats, chat).await.is_empty(), "history stays as it was");
        check_log(&records(&chats, chat).await);
        // The user may go on.
        *rig.model.does.lock() = Does::default();
        turn(&chats, chat, "three").await;
    }
}

/// L5.
#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_refused_although_there_was_a_summary_is_an_error_and_no_reason_for_another() {
    let rig = Rig::new(Does { steps: 4, ..Does::default() }, None, None);
    let chats = rig.process();
    let _worker = work(&chats);
    let chat = begun(&chats, "one").await;
    let before = rig.model.asked();
    *rig.model.does.lock() = Does { takes: 0, summarises: true, ..Does::default() };
    chats.send(chat, NewMessage::text("two")).await.expect("accepted");
    until(&chats, chat, Status::Error).await;
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!((rig.model.asked() - before, rig.model.summaries()), (3, 1));
    let error = bodies(&chats, chat).await.into_iter().find_map(|body| match body {
        Body::ChatError(failed) => Some(failed.error),
        _ => None,
    });
    assert_eq!(error.map(|error| error.kind), Some("config".into()), "people see why");
}

/// L5: what would only have helped must not cost the turn.
#[tokio::test(start_paused = true)]
async fn a_turn_goes_on_without_a_summary_that_fails_and_asks_for_no_other_in_that_turn() {
    let summaries: fn(usize) -> Option<ModelPart> = |_| Some(refuses());
    let rig = Rig::new(Does { steps: 10, summaries, ..Does::default() }, Some(2_000), None);
    let chats = rig.process();
    let _worker = work(&chats);
    let chat = begun(&chats, ASKED).await;
    assert_eq!((rig.model.summaries(), rig.model.asked()), (1, 12));
    let failed = bodies(&chats, chat).await.into_iter().filter(|body| matches!(body, Body::AttemptFailed(_)));
    assert_eq!(failed.count(), 1, "people see that it failed");
    turn(&chats, chat, "And now?").await;
    assert_eq!(rig.model.summaries(), 2, "the next turn may try again");
}

#[tokio::test(start_paused = true)]
async fn another_model_may_write_the_summaries_and_the_smaller_window_counts() {
    let mut rig = Rig::new(Does { tells: Some(600), ..Does::default() }, Some(10_000), None);
    rig.config.compaction.model = Some("small".into());
    let small = Model::named("small", Does::default());
    let mut ports = rig.ports(rig.world.store.clone());
    ports.models.insert("small".into(), small.clone());
    ports.model_configs.insert("small".into(), config(Some(800), None));
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let _worker = work(&chats);
    let chat = begun(&chats, "one").await;
    turn(&chats, chat, "two").await;
    assert_eq!((rig.model.summaries(), small.summaries()), (0, 1));
    assert_eq!(small.seen.lock()[0].tools, 0, "nothing of it is in that provider's cache");
    let all = Timestamp::from_millis(0)..Timestamp::from_millis(i64::MAX);
    let lines = rig.ledger.report(&LedgerScope::default(), all).await.expect("in memory");
    let asked: Vec<_> =
        lines.iter().map(|line| (line.purpose, &*line.model.model, line.spent.requests)).collect();
    assert_eq!(asked, [(Purpose::Turn, "large", 2), (Purpose::Compaction, "small", 1)]);
}

/// C7, W1.
#[tokio::test(start_paused = true)]
async fn every_request_has_one_row_in_the_ledger_with_what_it_took_whatever_its_end() {
    let does = Does { takes: 4_000, steps: 12, ..Does::default() };
    let rig = Rig::new(does, Some(4_000), None);
    let chats = rig.process();
    let _worker = work(&chats);
    let chat = begun(&chats, ASKED).await;
    // One that tells nothing, one that fails, and one that is stopped.
    *rig.model.does.lock() = Does { silent: true, ..Does::default() };
    turn(&chats, chat, "And?").await;
    *rig.model.does.lock() = Does { refuses: true, ..Does::default() };
    chats.send(chat, NewMessage::text("Well?")).await.expect("accepted");
    until(&chats, chat, Status::Error).await;
    *rig.model.does.lock() = Does { stalls: true, ..Does::default() };
    let before = rig.model.asked();
    chats.send(chat, NewMessage::text("Hello?")).await.expect("accepted");
    while rig.model.asked() == before {
        sleep(Duration::from_millis(5)).await;
    }
    chats.interrupt(chat, None).await.expect("it runs");
    until(&chats, chat, Status::Waiting).await;
    let seen = rig.model.seen.lock().clone();
    let spent = rig.spent().await;
    let mut cost = 0;
    for (purpose, is_summary) in [(Purpose::Turn, false), (Purpose::Compaction, true)] {
        let of = || seen.iter().filter(move |seen| seen.is_summary == is_summary);
        let told: u64 = of().filter_map(|seen| seen.usage.input).sum();
        let answered: u64 = of().filter_map(|seen| seen.usage.output).sum();
        let silent = of().filter(|seen| seen.usage.is_empty()).count() as u64;
        let spent = spent[&purpose];
        assert_eq!((spent.requests, spent.open, spent.estimated), (of().count() as u64, 0, silent));
        assert!(
            spent.tokens.input >= told && (silent > 0 || spent.tokens.input == told),
            "{spent:?}, told {told}"
        );
        assert!(spent.tokens.output >= answered && (silent > 0 || spent.tokens.output == answered));
        assert_eq!(spent.cost.micros(), u128::from(2 * spent.tokens.input + 10 * spent.tokens.output));
        cost += spent.cost.pico();
    }
    assert!(cost > 0 && seen.iter().any(|seen| seen.usage.is_empty()), "one of them told nothing");
    // The log says the same.
    let sealed = bodies(&chats, chat).await.into_iter().filter_map(|body| match body {
        Body::AttemptEnded(ended) => Some((ended.usage, ended.prices)),
        Body::AttemptFailed(failed) => Some((failed.usage, failed.prices)),
        _ => None,
    });
    let sealed: Vec<_> = sealed.filter(|(usage, _)| !usage.is_empty()).collect();
    let inputs: u64 = sealed.iter().filter_map(|(usage, _)| usage.input).sum();
    assert_eq!(inputs, spent.values().map(|spent| spent.tokens.input).sum::<u64>());
    assert!(sealed.iter().all(|(_, prices)| *prices == Some(1)));
}

/// A ledger that fails, hangs or panics while it is told to.
#[derive(Default)]
struct Moody {
    inner: MemoryLedger,
    fails: AtomicBool,
    hangs: AtomicBool,
    panics: AtomicBool,
}

impl Moody {
    async fn feel(&self) -> Result<(), StoreError> {
        assert!(!self.panics.load(Ordering::SeqCst), "it panics");
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        match self.fails.load(Ordering::SeqCst) {
            true => Err(StoreError::new(StoreErrorKind::Unavailable, "it is down")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Ledger for Moody {
    async fn open(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        self.feel().await?;
        self.inner.open(entry).await
    }

    async fn close(&self, id: OpId, closing: &LedgerClosing) -> Result<LedgerClosed, StoreError> {
        self.feel().await?;
        self.inner.close(id, closing).await
    }

    async fn unclosed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, OpId)>,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        self.feel().await?;
        self.inner.unclosed(before, after, limit).await
    }

    async fn spent(
        &self,
        scope: &LedgerScope,
        period: std::ops::Range<Timestamp>,
    ) -> Result<Spent, StoreError> {
        self.inner.spent(scope, period).await
    }

    async fn report(
        &self,
        scope: &LedgerScope,
        period: std::ops::Range<Timestamp>,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        self.inner.report(scope, period).await
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_that_cannot_be_written_down_and_what_cannot_be_closed_at_once_is_closed_later() {
    for hangs in [false, true] {
        let rig = Rig::new(Does::default(), None, None);
        let mood = |is: bool| (AtomicBool::new(is && !hangs), AtomicBool::new(is && hangs));
        let (fails, hanging) = mood(true);
        let ledger = Arc::new(Moody { inner: rig.ledger.clone(), fails, hangs: hanging, ..Moody::default() });
        let mut ports = rig.ports(rig.world.store.clone());
        ports.ledger = Some(ledger.clone());
        let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("one")).await.expect("created");
        sleep(Duration::from_secs(30)).await;
        assert_eq!(rig.model.asked(), 0, "it could not be written down");
        ledger.fails.store(false, Ordering::SeqCst);
        ledger.hangs.store(false, Ordering::SeqCst);
        while rig.model.asked() == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        ledger.fails.store(!hangs, Ordering::SeqCst);
        ledger.hangs.store(hangs, Ordering::SeqCst);
        until(&chats, chat, Status::Waiting).await;
        assert_eq!(rig.spent().await[&Purpose::Turn].open, 1, "the turn does not wait for it");
        ledger.fails.store(false, Ordering::SeqCst);
        ledger.hangs.store(false, Ordering::SeqCst);
        sleep(Duration::from_secs(60)).await;
        let spent = rig.spent().await[&Purpose::Turn];
        assert_eq!((spent.requests, spent.open, spent.estimated), (1, 0, 0));
    }
}

/// C7: a request whose process died keeps its row, and the row gets its end.
#[tokio::test(start_paused = true)]
async fn wherever_the_process_dies_every_request_has_one_row_that_is_closed_in_the_end() {
    let mut cuts = 0;
    for left in 0.. {
        let mut reached = false;
        for last_is_applied in [false, true] {
            let does = Does { takes: 2_000, steps: 6, ..Does::default() };
            let rig = Rig::new(does, Some(2_000), None);
            let cut = Cut::after(rig.world.store.clone(), left, last_is_applied);
            let dies = Chats::new(rig.ports(cut.clone()), Settings::default()).expect("a valid setup");
            let sure = rig.process();
            let (chat, _) = sure.create(new_chat(ASKED)).await.expect("created");
            let worker = work(&dies);
            for _ in 0..2_000 {
                let rests = sure.head(chat).await.is_ok_and(|head| head.index.status == Status::Waiting);
                if rests || cut.is_cut() {
                    break;
                }
                sleep(Duration::from_millis(5)).await;
            }
            reached |= cut.is_cut();
            drop(worker);
            let _worker = work(&sure);
            until(&sure, chat, Status::Waiting).await;
            check_log(&records(&sure, chat).await);
            // Longer than the longest attempt.
            sleep(Duration::from_secs(30 * 60)).await;
            let (what, spent) = (format!("cut after {left}, applied: {last_is_applied}"), rig.spent().await);
            let seen = rig.model.seen.lock().clone();
            for (purpose, is_summary) in [(Purpose::Turn, false), (Purpose::Compaction, true)] {
                let of = || seen.iter().filter(move |seen| seen.is_summary == is_summary);
                let spent = spent.get(&purpose).copied().unwrap_or_default();
                assert_eq!((spent.requests, spent.open), (of().count() as u64, 0), "{what}");
                let told: u64 = of().filter_map(|seen| seen.usage.input).sum();
                // It dies at a commit, and then it knows what the request took.
                assert_eq!((spent.estimated, spent.tokens.input), (0, told), "{what}");
            }
            assert!(rig.model.summaries() >= 1, "{what}");
            let lines = common::transcript(&sure, chat).await;
            assert_eq!(lines.last().map(String::as_str), Some("model: There it is."), "{what}");
        }
        if !reached {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 14, "it was cut at {cuts} places");
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_process_died_in_the_middle_of_it_is_closed_with_its_estimate() {
    let rig = Rig::new(Does { stalls: true, ..Does::default() }, None, None);
    let dies = rig.process();
    let (chat, _) = dies.create(new_chat(ASKED)).await.expect("created");
    let worker = work(&dies);
    while rig.model.asked() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    drop(worker);
    *rig.model.does.lock() = Does::default();
    let sure = rig.process();
    let _worker = work(&sure);
    until(&sure, chat, Status::Waiting).await;
    let spent = rig.spent().await[&Purpose::Turn];
    assert_eq!((spent.requests, spent.open, spent.estimated), (2, 1, 0), "it may still be asking");
    sleep(Duration::from_secs(30 * 60)).await;
    let spent = rig.spent().await[&Purpose::Turn];
    assert_eq!((spent.requests, spent.open, spent.estimated), (2, 0, 1));
    assert!(spent.cost.micros() > 0 && spent.unpriced == 0, "{spent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_its_answer_is_never_summarised_away() {
    // Two messages wait, the first one since an error.
    let rig = Rig::new(Does { steps: 4, ..Does::default() }, None, None);
    let chats = rig.process();
    let _worker = work(&chats);
    let chat = begun(&chats, "one").await;
    let summaries: fn(usize) -> Option<ModelPart> = |_| Some(refuses());
    *rig.model.does.lock() = Does { takes: 0, summaries, ..Does::default() };
    chats.send(chat, NewMessage::text("the first")).await.expect("accepted");
    until(&chats, chat, Status::Error).await;
    *rig.model.does.lock() = Does { takes: 1_500, steps: 6, ..Does::default() };
    let before = rig.model.asked();
    turn(&chats, chat, "the second").await;
    assert!(!compactions(&chats, chat).await.is_empty());
    for seen in rig.model.seen.lock()[before..].iter().filter(|seen| !seen.is_summary) {
        let words: String =
            seen.prompt.iter().flat_map(|message| message.content.iter()).map(words_of).collect();
        assert!(words.contains("the first") && words.contains("the second"), "{words}");
    }
}

fn moody(rig: &Rig, settings: Settings) -> (Arc<Moody>, Chats) {
    let ledger = Arc::new(Moody { inner: rig.ledger.clone(), ..Moody::default() });
    let ports = Ports { ledger: Some(ledger.clone()), ..rig.ports(rig.world.store.clone()) };
    (ledger, Chats::new(ports, settings).expect("a valid setup"))
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_panics_costs_no_chat_and_no_worker() {
    let rig = Rig::new(Does::default(), None, None);
    let (ledger, chats) = moody(&rig, Settings::default());
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("one")).await.expect("created");
    while rig.model.asked() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    ledger.panics.store(true, Ordering::SeqCst);
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(rig.model.asked(), 1);
    // Long enough for everything that the worker does with a ledger.
    sleep(Duration::from_secs(120)).await;
    ledger.panics.store(false, Ordering::SeqCst);
    turn(&chats, chat, "two").await;
    sleep(Duration::from_secs(60)).await;
    let spent = rig.spent().await[&Purpose::Turn];
    assert_eq!((spent.requests, spent.open, spent.estimated), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_worker_does_not_wait_for_a_ledger_that_hangs() {
    let rig = Rig::new(Does { stalls: true, ..Does::default() }, None, None);
    let (ledger, chats) = moody(&rig, Settings::default());
    let _worker = work(&chats);
    let (late, _) = chats.create(new_chat("one")).await.expect("created");
    while rig.model.asked() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    ledger.hangs.store(true, Ordering::SeqCst);
    chats.interrupt(late, None).await.expect("it runs");
    until(&chats, late, Status::Waiting).await;
    let mut longest = Duration::ZERO;
    for n in 0..100 {
        let before = Instant::now();
        let (chat, _) = chats.create(new_chat(&format!("{n}"))).await.expect("created");
        while chats.head(chat).await.expect("there").holder.is_none() {
            sleep(Duration::from_millis(10)).await;
        }
        longest = longest.max(before.elapsed());
        sleep(Duration::from_millis(1_000)).await;
    }
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_tells_and_no_ledger_takes_is_estimated_and_keeps_nobody_from_being_closed() {
    let rig = Rig::new(Does { tells: Some(u64::MAX), ..Does::default() }, None, None);
    let (ledger, chats) = moody(&rig, Settings::default());
    let _worker = work(&chats);
    let chat = begun(&chats, "one").await;
    *rig.model.does.lock() = Does::default();
    chats.send(chat, NewMessage::text("two")).await.expect("accepted");
    while rig.model.asked() == 1 {
        sleep(Duration::from_millis(1)).await;
    }
    ledger.fails.store(true, Ordering::SeqCst);
    until(&chats, chat, Status::Waiting).await;
    ledger.fails.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(60)).await;
    let spent = rig.spent().await[&Purpose::Turn];
    assert_eq!((spent.requests, spent.open, spent.estimated), (2, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_stopped_while_it_was_written_down_cost_nothing() {
    let rig = Rig::new(Does::default(), None, None);
    let slow = Arc::new(Slow(rig.ledger.clone()));
    let ports = Ports { ledger: Some(slow), ..rig.ports(rig.world.store.clone()) };
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("one")).await.expect("created");
    while rig.spent().await.is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    chats.interrupt(chat, None).await.expect("it runs");
    until(&chats, chat, Status::Waiting).await;
    sleep(Duration::from_secs(30)).await;
    let spent = rig.spent().await[&Purpose::Turn];
    assert_eq!((spent.requests, spent.open, spent.cost.pico(), rig.model.asked()), (1, 0, 0, 0));
}

/// A ledger that opens a row at once and says so later.
struct Slow(MemoryLedger);

#[async_trait]
impl Ledger for Slow {
    async fn open(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        self.0.open(entry).await?;
        sleep(Duration::from_secs(4)).await;
        Ok(())
    }

    async fn close(&self, id: OpId, closing: &LedgerClosing) -> Result<LedgerClosed, StoreError> {
        self.0.close(id, closing).await
    }

    async fn unclosed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, OpId)>,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        self.0.unclosed(before, after, limit).await
    }

    async fn spent(
        &self,
        scope: &LedgerScope,
        period: std::ops::Range<Timestamp>,
    ) -> Result<Spent, StoreError> {
        self.0.spent(scope, period).await
    }

    async fn report(
        &self,
        scope: &LedgerScope,
        period: std::ops::Range<Timestamp>,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        self.0.report(scope, period).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_summary_keeps_is_whole_for_whoever_takes_the_chat_next() {
    // The second step is longer than one record.
    let long = "hay ".repeat(300_000);
    let words = long.clone();
    let model = RuleModel::new(move |prompt| {
        let results = prompt.iter().filter(|message| message.role == Role::Tool).count();
        let last = prompt.last().map(|last| last.content.iter().map(words_of).collect::<String>());
        let mut parts = match results {
            _ if last.is_some_and(|last| last.starts_with("Summarise")) => return common::say(SUMMARY),
            0 => text("Let me look."),
            1 => vec![
                ModelPart::TextStart { id: "t".into() },
                ModelPart::TextDelta { id: "t".into(), delta: words.clone() },
            ],
            _ => return common::say("There it is."),
        };
        parts.extend([call(&format!("c{results}"), "look", "{}"), finish(FinishReason::ToolCalls)]);
        parts
    });
    let rig = Rig::new(Does::default(), Some(2_150_000), None);
    let mut ports = rig.ports(rig.world.store.clone());
    ports.models = [("rule".into(), model.clone() as Arc<dyn LanguageModel>)].into();
    ports.tools = vec![Arc::new(Look(60_000))];
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let _worker = work(&chats);
    let chat = begun(&chats, ASKED).await;
    chats.compact(chat, None).await.expect("at rest");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(compactions(&chats, chat).await.len(), 1);
    let before = model.prompts.lock().len();
    turn(&chats, chat, "And now?").await;
    let prompt = model.prompts.lock()[before].clone();
    let shown: Vec<String> = prompt.iter().flat_map(|message| message.content.iter()).map(words_of).collect();
    assert!(shown[0].contains(SUMMARY), "{}", shown[0]);
    assert!(shown.contains(&long), "{:?}", shown.iter().map(String::len).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_stopped_tells_nothing_of_how_long_its_prompt_was() {
    let rig = Rig::new(Does::default(), Some(10_000), None);
    let chats = rig.process();
    let _worker = work(&chats);
    let chat = begun(&chats, "one").await;
    *rig.model.does.lock() = Does { stalls: true, ..Does::default() };
    chats.send(chat, NewMessage::text("hay ".repeat(5_000))).await.expect("accepted");
    while rig.model.asked() < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    sleep(Duration::from_millis(500)).await;
    chats.interrupt(chat, None).await.expect("it runs");
    until(&chats, chat, Status::Waiting).await;
    *rig.model.does.lock() = Does::default();
    let before = rig.model.asked();
    assert_eq!(rig.model.summaries(), 0, "one of them fits");
    turn(&chats, chat, &"hay ".repeat(5_000)).await;
    let seen = rig.model.seen.lock()[before..].to_vec();
    assert!(seen[0].is_summary, "it has {} tokens", seen[0].tokens);
}

#[test]
fn the_model_of_these_tests_counts_four_bytes_a_token() {
    assert_eq!(count(&[Message::new(Role::User, vec![Part::text("12345678")])]), 2);
}
