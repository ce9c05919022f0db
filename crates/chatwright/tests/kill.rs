//! `kill -9` of a whole process in mid-stream and in mid-tool: a new process on the same file finishes the turn.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use chatwright::core::Seq;
use chatwright::core::content::{Output, Part};
use chatwright::core::head::Status;
use chatwright::core::port::Tool;
use chatwright::core::record::Body;
use chatwright::core::tool::{Effect, ToolCall, ToolSpec};
use chatwright::memory::MemoryBus;
use chatwright::providers::OpenAiChat;
use chatwright::sqlite::SqliteStore;
use chatwright::{Chat, Chatwright, NewChat, Settings, UserId};
use chatwright_conformance::Scratch;
use chatwright_fake::{FakeServer, Reply, Script, Step};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::task::JoinSet;

const BOUND: Duration = Duration::from_secs(30);

/// Writes a line for each start, says so on standard output, and then hangs if it is to.
struct Ring {
    log: PathBuf,
    hangs: bool,
}

#[async_trait]
impl Tool for Ring {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("ring", "Rings a bell.", serde_json::json!({"type": "object"}), Effect::Once)
    }

    async fn call(&self, _: ToolCall) -> Output {
        use std::io::Write;
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        log.write_all(b"rang\n").expect("written");
        println!("STARTED");
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Output::text("It rang.")
    }
}

fn process(folder: &Path, base_url: &str, hangs: bool) -> Chatwright {
    let store = SqliteStore::open(folder.join("chats.db")).expect("a usable file");
    let model = OpenAiChat::builder("fake").base_url(base_url).build().expect("a valid address");
    let mut settings = Settings::default();
    (settings.session_ttl, settings.fence_margin) =
        (Duration::from_millis(1_500), Duration::from_millis(500));
    settings.renew_every = Duration::from_millis(300);
    let builder = Chatwright::builder(store, MemoryBus::new()).model("fake", model).settings(settings);
    builder.tool(Ring { log: folder.join("rings"), hangs }).build().expect("a valid setup")
}

/// What the parent kills. Without its variables it is an ordinary test that has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(folder) = std::env::var("CHATWRIGHT_KILL_FOLDER") else {
        assert!(std::env::var("CHATWRIGHT_KILL_URL").is_err(), "both variables or none");
        return;
    };
    let url = std::env::var("CHATWRIGHT_KILL_URL").expect("both variables or none");
    let chatwright = process(Path::new(&folder), &url, true);
    chatwright.worker().run(std::future::pending()).await;
}

async fn killed(
    folder: &Path,
    server: &FakeServer,
    when: impl AsyncFnOnce(&mut BufReader<tokio::process::ChildStdout>),
) {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child", "--nocapture"])
        .env("CHATWRIGHT_KILL_FOLDER", folder)
        .env("CHATWRIGHT_KILL_URL", server.base_url())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    tokio::time::timeout(BOUND, when(&mut lines)).await.expect("the child gets there");
    // SIGKILL: the child gets no chance to say anything.
    child.kill().await.expect("the child is killed");
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(BOUND, wait).await.is_ok(), "{what}: not within {BOUND:?}");
}

/// Finishes the chat in this process and gives who said what.
async fn finish(folder: &Path, server: &FakeServer, chat: &Chat) -> Vec<String> {
    let chatwright = process(folder, &server.base_url(), false);
    let worker = chatwright.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });
    until("the turn ends", async || chat.head().await.is_ok_and(|head| head.index.status == Status::Waiting))
        .await;
    let mut lines = Vec::new();
    for record in chat.records(Seq::ZERO).await.expect("the store answers") {
        let words = |content: &[Part]| match content {
            [Part::Text { text, .. }] => text.clone(),
            other => format!("{} parts", other.len()),
        };
        match record.open().expect("a record of ours").body {
            Body::MessageUser(message) => lines.push(format!("user: {}", words(&message.content))),
            Body::MessageAssistant(message) => lines.push(format!("model: {}", words(&message.content))),
            Body::ToolResults(results) => lines.push(format!("tools: {:?}", results.results[0].origin)),
            _ => {}
        }
    }
    lines
}

async fn begun(folder: &Path, server: &FakeServer) -> Chat {
    let mut new = NewChat::new(UserId::new("ada").expect("a short id"));
    new.content = vec![Part::text("Ring the bell")];
    process(folder, &server.base_url(), false).create(new).await.expect("created")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_in_mid_stream_is_followed_and_the_message_is_there_once() {
    let stalls = Reply::steps(vec![Step::Text("I was about to ".to_owned()), Step::Stall]);
    let server =
        FakeServer::start(Script::new(vec![stalls, Reply::text("Done.")])).await.expect("a free port");
    let scratch = Scratch::new();
    let chat = begun(scratch.path(), &server).await;
    killed(scratch.path(), &server, async |_| {
        until("the stream stalls", async || server.open_streams() == 1).await;
    })
    .await;
    assert_eq!(finish(scratch.path(), &server, &chat).await, ["user: Ring the bell", "model: Done."]);
    assert_eq!(server.requests().len(), 2, "one request by each process");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_in_mid_tool_never_runs_it_twice_and_says_that_the_outcome_is_unknown() {
    let script = Script::new(vec![Reply::call("c1", "ring", "{}"), Reply::text("I do not know.")]);
    let server = FakeServer::start(script).await.expect("a free port");
    let scratch = Scratch::new();
    let chat = begun(scratch.path(), &server).await;
    killed(scratch.path(), &server, async |lines| {
        let mut line = String::new();
        while !line.contains("STARTED") {
            line.clear();
            assert!(lines.read_line(&mut line).await.expect("readable") > 0, "the child ended early");
        }
    })
    .await;
    let lines = finish(scratch.path(), &server, &chat).await;
    assert_eq!(
        lines,
        ["user: Ring the bell", "model: 1 parts", "tools: OutcomeUnknown", "model: I do not know."]
    );
    let rings = std::fs::read_to_string(scratch.path().join("rings")).expect("a log");
    assert_eq!(rings, "rang\n", "started once, and never again");
}
