//! A call that a person must approve: the chat waits in the file, not in a process, until somebody decides.
//!
//! ```sh
//! cargo run --example approval              # a scripted person
//! cargo run --example approval -- --ask     # you decide: y, n, or other arguments as JSON
//! ```
//!
//! `--db PATH` names the SQLite file (default: a new one that is removed afterwards).

use chatwright::core::head::Status;
use chatwright::core::record::Decision;
use chatwright::core::tool::{Effect, ToolSpec};
use chatwright::core::view::Transcript;
use chatwright::memory::MemoryBus;
use chatwright::schemars::JsonSchema;
use chatwright::sqlite::SqliteStore;
use chatwright::{Asked, Chat, Chatwright, Failed, FnTool, NewChat, Resume, UserId, View};
use chatwright_fake::{FakeRequest, Reply, Script, ScriptedModel};
use serde::Deserialize;
use tokio::task::JoinSet;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "chatwright::schemars")]
struct Payment {
    to: String,
    #[schemars(range(min = 1))]
    cents: u64,
}

async fn pay(Payment { to, cents }: Payment) -> String {
    println!("  (the tool pays {cents} cents to {to})");
    format!("paid {cents} cents to {to}")
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (mut db, mut ask) = (None, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--ask" => ask = true,
            "--db" => db = Some(arguments.next().ok_or("--db needs a path")?),
            _ => return Err("usage: approval [--db PATH] [--ask]".into()),
        }
    }
    let folder = tempfile::tempdir()?;
    let db = db.unwrap_or_else(|| folder.path().join("approval.db").display().to_string());

    println!("-- a first process --");
    let id = {
        let (chatwright, _worker) = process(&db)?;
        let chat = chatwright.create(NewChat::new(UserId::new("you")?)).await?;
        chat.send("Pay Ada what we owe her.").await?;
        let transcript = until(&chat, Status::RequiresAction).await?;
        print!("{transcript}");
        chat.id()
    };
    println!("-- it is gone; another one finds the chat waiting --");
    let (chatwright, _worker) = process(&db)?;
    let chat = chatwright.chat(id);
    let transcript = until(&chat, Status::RequiresAction).await?;
    let pending = transcript.pending().next().ok_or("nothing waits for a decision")?;
    println!("wants to call {} with {}", pending.name, pending.input);
    if ask {
        decide_by_hand(&chat, pending.ordinal).await?;
    } else {
        // Arguments that the tool could not take are refused, and nothing is lost.
        let refused = decide(&chat, pending.ordinal, approve(r#"{"to":"Ada","cents":0}"#)).await;
        println!("with 0 cents: {}", refused.expect_err("the schema says at least 1"));
        decide(&chat, pending.ordinal, approve(r#"{"to":"Ada","cents":1500}"#)).await?;
    }
    print!("{}", until(&chat, Status::Waiting).await?);
    Ok(())
}

/// What a service would have: one per process.
fn process(db: &str) -> Result<(Chatwright, JoinSet<()>), Error> {
    let pay = FnTool::new("pay", "Pays somebody.", Effect::Once, pay).declare(ToolSpec::with_approval);
    let chatwright = Chatwright::builder(SqliteStore::open(db)?, MemoryBus::new())
        .model("scripted", ScriptedModel::new(Script::by(model)))
        .tool(pay)
        .build()?;
    let worker = chatwright.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });
    Ok((chatwright, tasks))
}

/// What a viewer sees once the chat does this.
async fn until(chat: &Chat, status: Status) -> Result<Transcript, Error> {
    let mut view = View::new();
    let mut events = chat.events(Resume::Nothing).await?;
    while !(view.is_caught_up()
        && view.transcript().status == status
        && !view.transcript().messages.is_empty())
    {
        view.apply(&events.next().await.ok_or("the stream ended early")?);
    }
    Ok(view.transcript().clone())
}

fn approve(input: &str) -> Decision {
    Decision::Approve { input: Some(input.to_owned()) }
}

async fn decide(chat: &Chat, ordinal: u32, decision: Decision) -> Result<(), Failed> {
    let asked = Asked { by: UserId::new("eve").ok(), key: None };
    chat.decide(ordinal, decision, asked).await.map(drop)
}

async fn decide_by_hand(chat: &Chat, ordinal: u32) -> Result<(), Error> {
    loop {
        println!("y, n, or other arguments as JSON:");
        let line = tokio::task::block_in_place(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line)
        })?;
        let decision = match line.trim() {
            "y" => Decision::Approve { input: None },
            "n" | "" => Decision::Deny { reason: None },
            input => approve(input),
        };
        match decide(chat, ordinal, decision).await {
            Ok(()) => return Ok(()),
            Err(refused) => println!("{refused}"),
        }
    }
}

/// What the scripted model does.
fn model(request: &FakeRequest) -> Reply {
    let last = request.messages.last().expect("a request has messages");
    match last.role.as_str() {
        "tool" => Reply::text(&format!("Done: {}", last.text)),
        _ => Reply::call("call_1", "pay", r#"{"to":"Ada","cents":150000}"#),
    }
}
