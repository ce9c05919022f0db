//! A durable chat from end to end: a user asks, a worker claims the chat, a model streams its answer over real HTTP, a tool runs,
//! and in mid-conversation everything is dropped and goes on from the file.
//!
//! ```sh
//! cargo run --example quickstart                 # a scripted conversation; run it twice, the second run continues the file
//! cargo run --example quickstart -- --chat       # talk to it yourself; an empty line ends it
//! ```
//!
//! `--db PATH` names the SQLite file (default: `quickstart.db` in the current folder). With `OPENAI_API_KEY` set it asks OpenAI, or the
//! server of `OPENAI_BASE_URL`, for the model of `--model` (default: `gpt-5-mini`); otherwise it starts a fake provider on loopback.

use std::io::Write;

use async_trait::async_trait;
use chatwright::core::content::Output;
use chatwright::core::head::Status;
use chatwright::core::live::PieceBody;
use chatwright::core::model::Role;
use chatwright::core::port::{ChatDirectory, DirectoryFilter, DirectoryPage, Tool};
use chatwright::core::tool::{Effect, ToolCall, ToolSpec};
use chatwright::memory::MemoryBus;
use chatwright::providers::OpenAiChat;
use chatwright::sqlite::SqliteStore;
use chatwright::{Chat, Chatwright, FrameBody, NewChat, Resume, UserId, View};
use chatwright_fake::{FakeRequest, FakeServer, Reply, Script};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let options = Options::from_args()?;
    let (provider, _fake) = Provider::find(&options).await?;
    println!("model: {}", provider.name);

    if options.chat {
        let process = Process::start(&options, &provider).await?;
        converse(&process.chat).await?;
        return process.stop().await;
    }
    let process = Process::start(&options, &provider).await?;
    ask(&process.chat, "What time is it? Use your clock.").await?;
    // Everything is dropped: store, bus, models, worker. What was acknowledged is in the file.
    process.stop().await?;
    println!("-- everything dropped, the file opened again --");
    let process = Process::start(&options, &provider).await?;
    ask(&process.chat, "Thank you. What did I ask you first?").await?;
    process.stop().await
}

/// A tool. It says that it only reads, so that it may run again after a crash.
struct Clock;

#[async_trait]
impl Tool for Clock {
    fn spec(&self) -> ToolSpec {
        let schema = serde_json::json!({
            "type": "object",
            "properties": {"zone": {"type": "string", "description": "an IANA time zone"}},
            "required": ["zone"],
        });
        ToolSpec::new("clock", "Tells the time.", schema, Effect::Pure)
    }

    async fn call(&self, call: ToolCall) -> Output {
        Output::text(format!("It is noon in {}.", call.input["zone"].as_str().unwrap_or("UTC")))
    }
}

/// What a service would have: one per process.
struct Process {
    chat: Chat,
    stop: oneshot::Sender<()>,
    worker: JoinSet<()>,
}

impl Process {
    async fn start(options: &Options, provider: &Provider) -> Result<Self, Error> {
        let store = SqliteStore::open(&options.db)?;
        let known = newest(&store).await?;
        let chatwright = Chatwright::builder(store, MemoryBus::new())
            .model("default", provider.model()?)
            .tool(Clock)
            .build()?;
        let chat = match known {
            Some(id) => chatwright.chat(id),
            None => {
                let mut new = NewChat::new(UserId::new("you")?);
                new.system = Some("You are brief.".to_owned());
                chatwright.create(new).await?
            }
        };
        println!(
            "chat {} in {}, {}",
            chat.id(),
            options.db,
            if known.is_some() { "continued" } else { "new" }
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let runner = chatwright.worker();
        let mut worker = JoinSet::new();
        worker.spawn(async move { runner.run(async { drop(stopped.await) }).await });
        Ok(Self { chat, stop, worker })
    }

    async fn stop(mut self) -> Result<(), Error> {
        // A worker that has ended already has nothing left to stop.
        let _ = self.stop.send(());
        while let Some(ended) = self.worker.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// The chat of the last run, if the file has one.
async fn newest(store: &SqliteStore) -> Result<Option<chatwright::ChatId>, Error> {
    let filter = DirectoryFilter { owner: Some(UserId::new("you")?), ..DirectoryFilter::default() };
    let page = DirectoryPage { after: None, limit: 1 };
    Ok(store.list(&filter, page).await?.pop().map(|listed| listed.chat))
}

/// Sends a message and shows what comes as it comes, until the chat rests.
async fn ask(chat: &Chat, words: &str) -> Result<(), Error> {
    println!("you:   {words}");
    // Subscribe first: nothing of the answer is missed.
    let mut view = View::new();
    let mut events = chat.events(Resume::Nothing).await?;
    while !view.is_caught_up() {
        view.apply(&events.next().await.ok_or("the stream ended early")?);
    }
    let before = view.transcript().messages.len();
    chat.send(words).await?;
    loop {
        let frame = events.next().await.ok_or("the stream ended early")?;
        view.apply(&frame);
        show(&frame.body, &view)?;
        let transcript = view.transcript();
        let answered = transcript.messages.len() > before + 1;
        match transcript.status {
            Status::Waiting if answered => return Ok(()),
            Status::Error => {
                let words = transcript.last.as_ref().map(|last| last.message.to_string()).unwrap_or_default();
                println!("the turn failed: {words}");
                return Ok(());
            }
            _ => {}
        }
    }
}

/// Prints text while it streams, and results of tools.
fn show(frame: &FrameBody, view: &View) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match frame {
        FrameBody::Delta { pieces, .. } => {
            for piece in pieces {
                match &piece.body {
                    PieceBody::Open { name: Some(name), .. } => write!(out, "model: calls {name} ")?,
                    PieceBody::Open { .. } => write!(out, "model: ")?,
                    PieceBody::Append { text } => write!(out, "{text}")?,
                    PieceBody::Close => writeln!(out)?,
                    _ => {}
                }
            }
        }
        FrameBody::Record { records, .. }
            if records.iter().any(|record| record.kind.name() == "tool.results") =>
        {
            let results = view.transcript().messages.last().map(|message| &message.results);
            for answer in results.into_iter().flat_map(|results| results.values()) {
                if let Output::Text { text } | Output::Error { text } = &answer.output {
                    writeln!(out, "tool:  {text}")?;
                }
            }
        }
        _ => {}
    }
    Ok(out.flush()?)
}

/// An interactive conversation, after what was said before.
async fn converse(chat: &Chat) -> Result<(), Error> {
    let mut view = View::new();
    let mut events = chat.events(Resume::Nothing).await?;
    while !view.is_caught_up() {
        view.apply(&events.next().await.ok_or("the stream ended early")?);
    }
    drop(events);
    if view.transcript().messages.iter().any(|message| message.role == Role::User) {
        print!("{}", view.transcript());
    }
    println!("(an empty line ends it)");
    loop {
        let line = tokio::task::block_in_place(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line)
        })?;
        match line.trim() {
            "" => return Ok(()),
            words => ask(chat, words).await?,
        }
    }
}

/// Which provider answers.
struct Provider {
    name: String,
    base_url: String,
    model: String,
    key: Option<String>,
}

impl Provider {
    async fn find(options: &Options) -> Result<(Self, Option<FakeServer>), Error> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (key, url) = (variable("OPENAI_API_KEY"), variable("OPENAI_BASE_URL"));
        if key.is_none() && url.is_none() && options.model.is_none() {
            let server = FakeServer::start(Script::by(fake)).await?;
            let (name, base_url) = ("a fake provider on loopback".to_owned(), server.base_url());
            return Ok((Self { name, base_url, model: "fake".to_owned(), key: None }, Some(server)));
        }
        let base_url = url.unwrap_or_else(|| OpenAiChat::BASE_URL.to_owned());
        let model = options.model.clone().unwrap_or_else(|| "gpt-5-mini".to_owned());
        Ok((Self { name: format!("{model} at {base_url}"), base_url, model, key }, None))
    }

    fn model(&self) -> Result<OpenAiChat, Error> {
        let builder = OpenAiChat::builder(self.model.as_str()).base_url(&self.base_url);
        Ok(match &self.key {
            Some(key) => builder.key(key),
            None => builder,
        }
        .build()?)
    }
}

/// What the fake provider answers: it looks at the clock when asked for the time, and remembers the first question.
fn fake(request: &FakeRequest) -> Reply {
    let last = request.messages.last().expect("a request has messages");
    match last.role.as_str() {
        "tool" => Reply::text(&format!("My clock says: {}", last.text)),
        _ if last.text.contains("time") => Reply::call("call_1", "clock", r#"{"zone":"UTC"}"#),
        _ => {
            let asked: Vec<_> = request.messages.iter().filter(|message| message.role == "user").collect();
            let (first, count) = (&asked[0].text, asked.len());
            Reply::text(&format!("You began with {first:?}, and this is message {count} of yours."))
        }
    }
}

struct Options {
    db: String,
    model: Option<String>,
    chat: bool,
}

impl Options {
    fn from_args() -> Result<Self, Error> {
        let mut options = Self { db: "quickstart.db".to_owned(), model: None, chat: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--db" => options.db = value()?,
                "--model" => options.model = Some(value()?),
                "--chat" => options.chat = true,
                _ => return Err("usage: quickstart [--db PATH] [--model NAME] [--chat]".into()),
            }
        }
        Ok(options)
    }
}
