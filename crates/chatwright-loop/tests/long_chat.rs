//! A turn of twenty steps over real HTTP, in each wire format: it outgrows the model's window again and again, asks the advisor more
//! often than it may, is stopped, edited below a summary, and the process dies at each of its commits.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::ChatId;
use chatwright_core::config::ModelConfig;
use chatwright_core::content::Output;
use chatwright_core::frame::Resume;
use chatwright_core::head::Status;
use chatwright_core::model::{FinishReason, Role, Usage};
use chatwright_core::port::{LanguageModel, LedgerEnd, Purpose, Tool};
use chatwright_core::tool::{Effect, ToolCall, ToolSpec};
use chatwright_core::view::{Transcript, View};
use chatwright_fake::{FakeRequest, FakeServer, Reply, Script, Step};
use chatwright_loop::{Asked, Chats, Failed, NewEdit, NewMessage, Ports, Settings};
use chatwright_memory::MemoryLiveLog;
use chatwright_providers::{AnthropicMessages, Gemini, OpenAiChat, OpenAiResponses};
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;

use common::book::Book;
use common::doors::Cut;
use common::{World, check_log, new_chat, records};

const FORMATS: [&str; 4] = ["chat", "responses", "messages", "gemini"];
/// Pages that the model reads, one a step.
const PAGES: usize = 20;
/// Pages after which it asks for advice: more often than it may.
const ASKS: [usize; 3] = [3, 9, 15];
const ADVICES_MAX: u32 = 2;
const WINDOW: u64 = 3_000;

fn model(format: &str, url: &str) -> Arc<dyn LanguageModel> {
    macro_rules! model {
        ($kind:ident) => {
            Arc::new($kind::builder("fake").base_url(url).build().expect("a valid address"))
        };
    }
    match format {
        "chat" => model!(OpenAiChat),
        "responses" => model!(OpenAiResponses),
        "messages" => model!(AnthropicMessages),
        _ => model!(Gemini),
    }
}

/// What the provider saw and told.
#[derive(Default)]
struct Provider {
    /// Every answer tells another count of tokens, so that each row of the ledger is known by it.
    told: AtomicU64,
    requests: Mutex<Vec<(Purpose, u64)>>,
}

impl Provider {
    fn script(self: &Arc<Self>) -> Script {
        let provider = Arc::clone(self);
        Script::by(move |request| provider.reply(request))
    }

    fn reply(&self, request: &FakeRequest) -> Reply {
        let (purpose, steps) = answer(request);
        let output = 1_000 + self.told.fetch_add(1, Ordering::SeqCst);
        let bytes: usize = request.messages.iter().map(|message| message.text.len()).sum();
        let usage = Usage { input: Some(bytes as u64 / 4), output: Some(output), ..Usage::default() };
        self.requests.lock().push((purpose, output));
        let at = steps.len() - 1;
        let mut steps = steps;
        steps.insert(at, Step::Usage(usage));
        Reply::steps(steps)
    }
}

/// The greatest number behind this word anywhere in the conversation: in a result, or in a summary.
fn greatest(request: &FakeRequest, word: &str) -> usize {
    let texts =
        request.messages.iter().filter(|message| message.role != "system").map(|message| &message.text);
    let numbers = texts.flat_map(|text| text.match_indices(word).map(|(at, _)| &text[at + word.len()..]));
    let number = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    numbers.filter_map(number).max().unwrap_or(0)
}

fn says(words: &str) -> Vec<Step> {
    vec![Step::Text(words.to_owned()), Step::Finish(FinishReason::Stop)]
}

/// What it answers follows from the conversation.
fn answer(request: &FakeRequest) -> (Purpose, Vec<Step>) {
    let calls = |name: &str, arguments: serde_json::Value| {
        let id = format!("call_{name}_{}", request.number);
        let call = Step::Call { id, name: name.to_owned(), arguments: vec![arguments.to_string()] };
        vec![Step::Text("Next.".to_owned()), call, Step::Finish(FinishReason::ToolCalls)]
    };
    let (page, advised) = (greatest(request, "page "), greatest(request, "advice "));
    let contains = |words: &str| request.messages.iter().any(|message| message.text.contains(words));
    let is_limited = contains("limit_reached");
    let last = request.messages.last().map(|message| message.text.as_str()).unwrap_or_default();
    let has_guidance = contains("<advisor-guidance>");
    if last.starts_with("Summarise") {
        let limit = if is_limited { ", limit_reached" } else { "" };
        return (Purpose::Compaction, says(&format!("Read up to page {page}, got advice {advised}{limit}.")));
    }
    if !has_guidance {
        return (
            Purpose::Advisor,
            says(&format!("Read on, says advice {}.", greatest(request, "question "))),
        );
    }
    if contains("finish") {
        return (Purpose::Turn, says("Finished."));
    }
    if contains("stop me") {
        return (Purpose::Turn, vec![Step::Text("I begin".to_owned()), Step::Stall]);
    }
    let asks = ASKS.get(advised).is_some_and(|&at| page >= at) && !is_limited;
    match page {
        _ if asks => (
            Purpose::Turn,
            calls("advisor", json!({"question": format!("What now? It is question {}", advised + 1)})),
        ),
        PAGES => (Purpose::Turn, says("I have read it all.")),
        page => (Purpose::Turn, calls("read", json!({"page": page + 1}))),
    }
}

/// Gives a page.
struct Read;

#[async_trait]
impl Tool for Read {
    fn spec(&self) -> ToolSpec {
        let schema =
            json!({"type": "object", "properties": {"page": {"type": "integer"}}, "required": ["page"]});
        ToolSpec::new("read", "Gives a page.", schema, Effect::Pure)
    }

    async fn call(&self, call: ToolCall) -> Output {
        tokio::task::yield_now().await;
        Output::text(format!("This is page {}. {}", call.input["page"], "Nothing happens. ".repeat(70)))
    }
}

/// Waits are short, and so are lives of sessions: this test is in real time.
fn settings() -> Settings {
    let mut settings = Settings::default();
    (settings.session_ttl, settings.renew_every) = (Duration::from_millis(1_500), Duration::from_millis(200));
    settings.fence_margin = Duration::from_millis(500);
    (settings.poll_every, settings.held_every) = (Duration::from_millis(50), Duration::from_millis(50));
    settings.rules.retry.first_wait = Duration::from_millis(1);
    settings.rules.retry.wait_max = Duration::from_millis(5);
    settings.rules.retry.attempts_max = NonZeroU32::MIN.saturating_add(9);
    settings.advisor.enabled = true;
    settings.advisor.max_uses_per_run = ADVICES_MAX;
    settings
}

struct Run {
    /// What a viewer saw of the long turn.
    turn: String,
    /// What they see in the end.
    seen: String,
    compactions: usize,
    was_cut: bool,
}

/// Runs the whole story; the first process dies after so many of its commits.
async fn run(format: &str, left: isize, last_is_applied: bool) -> Run {
    let provider = Arc::new(Provider::default());
    let server = FakeServer::start(provider.script()).await.expect("a free port");
    let (world, ledger) = (World::new(), Arc::new(Book::default()));
    let live = Arc::new(MemoryLiveLog::new(world.clock.clone()));
    let ports = || -> Ports {
        let mut config = ModelConfig::new("fake", "fake");
        config.context_window = Some(WINDOW);
        let mut ports = world.ports(model(format, &server.base_url()), vec![Arc::new(Read)]);
        ports.model_configs.insert("rule".into(), config);
        ports.live = live.clone();
        ports.ledger = Some(ledger.clone());
        ports
    };
    let commands = Chats::new(ports(), settings()).expect("a valid setup");
    let (chat, _) = commands.create(new_chat("read it")).await.expect("created");
    let cut = Cut::after(world.store.clone(), left, last_is_applied);
    let mut first = ports();
    first.chats = cut.clone();
    let first = Chats::new(first, settings()).expect("a valid setup");
    let mut worker = Some(common::work(&first));
    let mut second = None;
    let mut turn = None;
    let story = async {
        while !act(&commands, chat, &mut turn).await {
            if cut.is_cut() && worker.take().is_some() {
                second = Some(common::work(&Chats::new(ports(), settings()).expect("a valid setup")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), story).await;
    let seen = view(&commands, chat).await;
    assert!(
        ended.is_ok(),
        "{format} cut after {left}: the story does not end:\n{seen}\n{}",
        common::log(&commands, chat).await
    );
    let records = records(&commands, chat).await;
    check_log(&records);
    let compactions = records.iter().filter(|record| record.kind.name() == "context.compacted").count();
    drop(second);
    check_ledger(&format!("{format} cut after {left}"), &provider, &ledger, cut.is_cut());
    Run { turn: turn.expect("it was read"), seen: seen.to_string(), compactions, was_cut: cut.is_cut() }
}

/// Every request has a row, and what it took is counted once.
fn check_ledger(what: &str, provider: &Provider, ledger: &Book, was_cut: bool) {
    let (requests, rows) = (provider.requests.lock().clone(), ledger.rows());
    let told: BTreeMap<u64, Purpose> = requests.iter().map(|(purpose, output)| (*output, *purpose)).collect();
    let mut counted = BTreeSet::new();
    let (mut open, mut estimated) = (0, 0);
    for (entry, closings) in &rows {
        let Some(closing) = closings.first() else {
            open += 1;
            continue;
        };
        assert_eq!(closings.len(), 1, "{what}: closed once");
        if closing.estimated {
            estimated += 1;
            continue;
        }
        let output = closing.charge.usage.output.expect("it was told");
        assert_eq!(told.get(&output), Some(&entry.purpose), "{what}: {closing:?}");
        assert!(counted.insert(output), "{what}: counted twice");
        assert_eq!(closing.end, LedgerEnd::Finished);
    }
    // The one that was stopped was never told; a death cuts off what is being asked.
    let lost = if was_cut { 3 } else { 0 };
    assert!(
        open <= lost && (1..=1 + lost).contains(&estimated),
        "{what}: {open} open, {estimated} estimated"
    );
    assert!(counted.len() + 1 + lost >= requests.len(), "{what}: {} of {}", counted.len(), requests.len());
    assert!(rows.len() >= requests.len(), "{what}: {} rows for {} requests", rows.len(), requests.len());
}

/// What the user does next, if anything; gives whether the story is over.
async fn act(chats: &Chats, chat: ChatId, turn: &mut Option<String>) -> bool {
    let head = chats.head(chat).await.expect("the store answers");
    let keyed = |key: &str| Asked { by: None, key: Some(key.to_owned()) };
    let done: Result<(), Failed> = match head.index.status {
        Status::Waiting => {
            let seen = view(chats, chat).await;
            let Some(last) = seen.messages.iter().rfind(|message| message.role == Role::User) else {
                return false;
            };
            let answered = seen.messages.last().is_some_and(|message| message.role == Role::Assistant);
            match common::words_of(&last.content[0]).as_str() {
                "finish" => return answered,
                "stop me" => {
                    let first =
                        seen.messages.iter().find(|message| message.role == Role::User).expect("there");
                    let mut edit = NewEdit::text(first.seq, "finish");
                    edit.key = Some("edit".to_owned());
                    chats.edit(chat, edit).await.map(drop)
                }
                _ if answered => {
                    *turn = Some(seen.to_string());
                    let mut message = NewMessage::text("stop me");
                    message.key = Some("second".to_owned());
                    chats.send(chat, message).await.map(drop)
                }
                _ => return false,
            }
        }
        // Only once the answer is there that does not end.
        Status::Running if turn.is_some() => {
            let preview = view(chats, chat).await.preview;
            match preview.is_some_and(|preview| preview.to_string().contains("I begin")) {
                true => chats.interrupt(chat, keyed("stop")).await.map(drop),
                false => Ok(()),
            }
        }
        Status::Error => panic!("the chat failed:\n{}", view(chats, chat).await),
        _ => Ok(()),
    };
    // Somebody was faster: the state says so, and the next look sees it.
    assert!(matches!(done, Ok(()) | Err(Failed::Refused(_))), "{done:?}");
    false
}

async fn view(chats: &Chats, chat: ChatId) -> Transcript {
    let mut view = View::new();
    let mut events = chats.events(chat, Resume::Nothing).await.expect("the chat is there");
    while !view.is_caught_up() {
        view.apply(&events.next().await.expect("the stream goes on"));
    }
    view.transcript().clone()
}

/// What was read and asked, in order.
fn steps(turn: &str) -> Vec<String> {
    let step = |line: &str| {
        let result = line.strip_prefix("  result 0: ")?;
        let page = result.strip_prefix("This is page ").and_then(|rest| rest.split('.').next());
        let kind = result.split(r#""type":""#).nth(1).and_then(|rest| rest.split('"').next());
        Some(page.or(kind).unwrap_or(result).to_owned())
    };
    turn.lines().filter_map(step).collect()
}

fn check(format: &str, left: isize, run: &Run) {
    let what = format!("{format} cut after {left} commits");
    let mut expected: Vec<String> = (1..=PAGES).map(|page| page.to_string()).collect();
    for (n, page) in ASKS.iter().enumerate().rev() {
        let kind = if n < ADVICES_MAX as usize { "advice" } else { "limit_reached" };
        expected.insert(*page, kind.to_owned());
    }
    assert_eq!(steps(&run.turn), expected, "{what}");
    assert!(run.turn.trim_end().ends_with("assistant: I have read it all."), "{what}: {}", run.turn);
    assert!(run.compactions >= 2, "{what}: {}", run.compactions);
    assert_eq!(run.seen.trim_end(), "user: finish\nassistant: Finished.", "{what}");
}

/// Of two ways to die at a commit each format takes one, and its neighbour the other.
async fn all_cuts(format: &'static str) {
    let whole = run(format, 10_000, false).await;
    assert!(!whole.was_cut);
    check(format, 10_000, &whole);
    let place = FORMATS.iter().position(|name| *name == format).expect("known") as isize;
    let mut runs = JoinSet::new();
    let (mut cuts, mut left) = (0, 0);
    loop {
        if runs.len() >= 12 || left > 400 {
            let Some(done) = runs.join_next().await else { break };
            let (left, run): (isize, Run) = done.expect("no panic");
            check(format, left, &run);
            if run.was_cut {
                cuts += 1;
            } else {
                break;
            }
        }
        let applied = (left + place) % 2 == 0;
        runs.spawn(async move { (left, run(format, left, applied).await) });
        left += 1;
    }
    while let Some(done) = runs.join_next().await {
        let (left, run) = done.expect("no panic");
        check(format, left, &run);
        cuts += usize::from(run.was_cut);
    }
    assert!(cuts >= 50, "{format} was cut at {cuts} places");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_outgrows_its_window_and_asks_for_advice_ends_the_same_wherever_the_process_dies_in_chat()
{
    all_cuts("chat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_outgrows_its_window_and_asks_for_advice_ends_the_same_wherever_the_process_dies_in_responses()
 {
    all_cuts("responses").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_outgrows_its_window_and_asks_for_advice_ends_the_same_wherever_the_process_dies_in_messages()
 {
    all_cuts("messages").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_outgrows_its_window_and_asks_for_advice_ends_the_same_wherever_the_process_dies_in_gemini()
 {
    all_cuts("gemini").await;
}
