//! A turn of ten steps over real HTTP, in each wire format: several tools at once, an approval, a client's tool, a failure of the
//! provider before each answer, then a stop and an edit; and the process dies at each of its commits.

mod common;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::content::Output;
use chatwright_core::frame::Resume;
use chatwright_core::head::{CallKind, State, Status};
use chatwright_core::model::{FinishReason, Role};
use chatwright_core::port::{LanguageModel, Tool};
use chatwright_core::record::Decision;
use chatwright_core::tool::{Effect, ToolCall, ToolSpec};
use chatwright_core::view::{Transcript, View};
use chatwright_core::{ChatId, Seq};
use chatwright_fake::zoo::Fault;
use chatwright_fake::{FakeRequest, FakeServer, Reply, Script, Step};
use chatwright_loop::{Asked, Chats, Failed, NewEdit, NewMessage, Ports, Settings};
use chatwright_memory::MemoryLiveLog;
use chatwright_providers::{AnthropicMessages, Gemini, OpenAiChat, OpenAiResponses};
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;

use common::doors::Cut;
use common::{World, check_log, new_chat, records};

const FORMATS: [&str; 4] = ["chat", "responses", "messages", "gemini"];

/// What goes wrong before the answers, in turn.
const FAULTS: [Fault; 11] = [
    Fault::BadGatewayWithHtml,
    Fault::ErrorFirst,
    Fault::ErrorInMidStream,
    Fault::EmptyStream,
    Fault::TruncatedBetweenEvents,
    Fault::TruncatedInsideAnEvent,
    Fault::TruncatedAfterText,
    Fault::TruncatedOnConnectionClose,
    Fault::Aborted,
    Fault::TruncatedTool,
    Fault::Failed,
];

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

/// The provider: what it answers follows from the conversation, but for a fault when a step is asked for first.
fn script() -> Script {
    let failed = Mutex::new(BTreeSet::new());
    Script::by(move |request| {
        let (step, reply) = answer(request);
        if failed.lock().insert(step) { FAULTS[step % FAULTS.len()].reply() } else { reply }
    })
}

fn answer(request: &FakeRequest) -> (usize, Reply) {
    let at = request.messages.iter().rposition(|message| message.role == "user").expect("somebody asked");
    let results = request.messages[at..].iter().filter(|message| message.role == "tool").count();
    let call = |name: &str, n: usize| Step::Call {
        id: format!("call_{name}_{n}"),
        name: name.to_owned(),
        arguments: vec![format!("{{\"n\":{n}}}")],
    };
    let calls = |calls: Vec<Step>| {
        let said = [Step::Reasoning("Hm.".to_owned()), Step::Text("Next.".to_owned())];
        let end = [Step::Finish(FinishReason::ToolCalls)];
        Reply::steps(said.into_iter().chain(calls).chain(end).collect())
    };
    match (request.messages[at].text.as_str(), results) {
        ("stop me", _) => (10, Reply::steps(vec![Step::Text("I begin".to_owned()), Step::Stall])),
        ("finish", _) => (11, Reply::text("Finished.")),
        (_, 0) => (0, calls(vec![call("read", 1), call("read", 2), call("write", 3)])),
        (_, 3) => (1, calls(vec![call("pay", 4)])),
        (_, 4) => (2, calls(vec![call("show", 5)])),
        (_, 5) => (3, calls(vec![call("send", 6)])),
        (_, 6) => (4, calls(vec![call("nobody", 7)])),
        (_, n @ 7..11) => (n - 2, calls(vec![call("read", n)])),
        (_, n) => (9, Reply::text(&format!("Done after {n} results."))),
    }
}

/// A tool that counts its starts.
struct Counted {
    spec: ToolSpec,
    starts: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Tool for Counted {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    async fn call(&self, call: ToolCall) -> Output {
        self.starts.lock().push(format!("{} {}", self.spec.name, call.input["n"]));
        tokio::task::yield_now().await;
        Output::text(format!("{} did {}", self.spec.name, call.input["n"]))
    }
}

fn spec(name: &str, effect: Effect) -> ToolSpec {
    ToolSpec::new(name, "works", json!({"type": "object", "required": ["n"]}), effect)
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
    settings
}

struct Run {
    /// What a viewer sees in the end.
    seen: String,
    starts: Vec<String>,
    was_cut: bool,
}

/// Runs the whole story; the first process dies after so many of its commits.
async fn run(format: &str, left: isize, last_is_applied: bool) -> Run {
    let server = FakeServer::start(script()).await.expect("a free port");
    let world = World::new();
    let starts = Arc::new(Mutex::new(Vec::new()));
    let live = Arc::new(MemoryLiveLog::new(world.clock.clone()));
    let ports = || -> Ports {
        let tool = |spec| Arc::new(Counted { spec, starts: Arc::clone(&starts) }) as Arc<dyn Tool>;
        let tools = vec![
            tool(spec("read", Effect::Pure)),
            tool(spec("write", Effect::Idempotent)),
            tool(spec("send", Effect::Once)),
            tool(spec("pay", Effect::Once).with_approval()),
        ];
        let mut ports = world.ports(model(format, &server.base_url()), tools);
        (ports.client_tools, ports.live) = (vec![spec("show", Effect::Pure)], live.clone());
        ports
    };
    let commands = Chats::new(ports(), settings()).expect("a valid setup");
    let (chat, _) = commands.create(new_chat("go")).await.expect("created");
    let cut = Cut::after(world.store.clone(), left, last_is_applied);
    let mut first = ports();
    first.chats = cut.clone();
    let first = Chats::new(first, settings()).expect("a valid setup");
    let mut worker = Some(common::work(&first));
    let mut second = None;
    let story = async {
        let mut stops = false;
        while !act(&commands, chat, &mut stops).await {
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
    check_log(&records(&commands, chat).await);
    drop(second);
    let starts = starts.lock().clone();
    Run { seen: seen.to_string(), starts, was_cut: cut.is_cut() }
}

/// What the user does next, if anything; gives whether the story is over.
async fn act(chats: &Chats, chat: ChatId, stops: &mut bool) -> bool {
    let head = chats.head(chat).await.expect("the store answers");
    let state: State = head.state.decode().expect("a state of ours");
    let keyed = |key: &str| Asked { by: None, key: Some(key.to_owned()) };
    let done: Result<(), Failed> = match head.index.status {
        Status::RequiresAction => match state.calls.first().map(|call| call.kind) {
            Some(CallKind::Approval) => {
                chats.decide(chat, 0, Decision::Approve { input: None }, keyed("approve")).await.map(drop)
            }
            _ => {
                let shown = vec![(0, Output::text("shown"))];
                chats.submit(chat, shown, keyed("submit")).await.map(drop)
            }
        },
        Status::Waiting => {
            let seen = view(chats, chat).await;
            let Some(last) = seen.messages.iter().rfind(|message| message.role == Role::User) else {
                return false;
            };
            let answered = seen.messages.last().is_some_and(|message| message.role == Role::Assistant);
            match common::words_of(&last.content[0]).as_str() {
                "finish" => return answered,
                "stop me" => chats.edit(chat, edit(last.seq)).await.map(drop),
                _ if answered => {
                    *stops = true;
                    chats.send(chat, message("stop me", "second")).await.map(drop)
                }
                _ => return false,
            }
        }
        // Only once the answer is there that does not end.
        Status::Running if *stops => {
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

fn message(words: &str, key: &str) -> NewMessage {
    let mut message = NewMessage::text(words);
    message.key = Some(key.to_owned());
    message
}

fn edit(seq: Seq) -> NewEdit {
    let mut edit = NewEdit::text(seq, "finish");
    edit.key = Some("edit".to_owned());
    edit
}

async fn view(chats: &Chats, chat: ChatId) -> Transcript {
    let mut view = View::new();
    let mut events = chats.events(chat, Resume::Nothing).await.expect("the chat is there");
    while !view.is_caught_up() {
        view.apply(&events.next().await.expect("the stream goes on"));
    }
    view.transcript().clone()
}

/// The same but for what nobody can know after a death.
fn known(seen: &str) -> String {
    let mut paid = false;
    let mut line = |line: &str| {
        paid = if line.starts_with("assistant") { line.contains("pay(") } else { paid };
        match line.contains("outcome of this call is unknown") {
            true => format!("  result 0: {}", if paid { "pay did 4" } else { "send did 6" }),
            false => line.to_owned(),
        }
    };
    seen.lines().map(&mut line).collect::<Vec<_>>().join("\n")
}

async fn all_cuts(format: &'static str) {
    let whole = run(format, 1_000, false).await;
    assert!(!whole.was_cut);
    let expected = format!("user: go\n{}user: finish\nassistant: Finished.", steps());
    assert_eq!(whole.seen.trim_end(), expected, "{format}");
    let mut runs = JoinSet::new();
    let mut cuts = 0;
    // Of two ways to die at a commit each format takes one, and its neighbour the other.
    let place = FORMATS.iter().position(|name| *name == format).expect("known");
    for left in 0.. {
        if left >= 16 {
            let run: (isize, Run) = runs.join_next().await.expect("some run").expect("no panic");
            cuts += usize::from(run.1.was_cut);
            check(format, &run, &expected);
            if !run.1.was_cut {
                break;
            }
        }
        let applied = (left as usize + place).is_multiple_of(2);
        runs.spawn(async move { (left, run(format, left, applied).await) });
    }
    while let Some(run) = runs.join_next().await {
        let run = run.expect("no panic");
        cuts += usize::from(run.1.was_cut);
        check(format, &run, &expected);
    }
    assert!(cuts >= 30, "{format} was cut at {cuts} places");
}

fn check(format: &str, (left, run): &(isize, Run), expected: &str) {
    assert_eq!(known(run.seen.trim_end()), *expected, "{format} cut after {left} commits");
    for once in ["send 6", "pay 4"] {
        let started = run.starts.iter().filter(|start| *start == once).count();
        assert!(started <= 1, "{format} cut after {left} commits: {once} was started {started} times");
    }
}

fn steps() -> String {
    let mut lines = String::new();
    let mut step = |calls: &str, results: &[String]| {
        lines += &format!("assistant: <Hm.> Next.{calls}\n");
        for (ordinal, result) in results.iter().enumerate() {
            let mark = if result.contains("no tool") { " failed" } else { "" };
            lines += &format!("  result {ordinal}{mark}: {result}\n");
        }
    };
    let did = |name: &str, n: usize| format!("{name} did {n}");
    step(
        r#" read({"n":1}) read({"n":2}) write({"n":3})"#,
        &[did("read", 1), did("read", 2), did("write", 3)],
    );
    step(r#" pay({"n":4})"#, &[did("pay", 4)]);
    step(r#" show({"n":5})"#, &["shown".to_owned()]);
    step(r#" send({"n":6})"#, &[did("send", 6)]);
    step(r#" nobody({"n":7})"#, &["There is no tool named \"nobody\".".to_owned()]);
    for n in 7..11 {
        step(&format!(" read({{\"n\":{n}}})"), &[did("read", n)]);
    }
    lines + "assistant: Done after 11 results.\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_of_ten_steps_ends_the_same_wherever_the_process_dies_in_chat() {
    all_cuts("chat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_of_ten_steps_ends_the_same_wherever_the_process_dies_in_responses() {
    all_cuts("responses").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_of_ten_steps_ends_the_same_wherever_the_process_dies_in_messages() {
    all_cuts("messages").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_of_ten_steps_ends_the_same_wherever_the_process_dies_in_gemini() {
    all_cuts("gemini").await;
}
