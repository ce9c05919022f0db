//! An advisor: the model of a chat asks a second one for advice, once more than it may, and the ledger says what it cost.
//!
//! ```sh
//! cargo run --example advisor
//! ```

use std::sync::Arc;

use chatwright::config::AdvisorSettings;
use chatwright::core::Timestamp;
use chatwright::core::config::ModelConfig;
use chatwright::core::head::Status;
use chatwright::core::model::{FinishReason, Usage};
use chatwright::core::port::{Ledger, LedgerScope};
use chatwright::memory::{MemoryBus, MemoryLedger, MemoryStore};
use chatwright::{Chatwright, NewChat, Resume, SystemClock, UserId, View};
use chatwright_fake::{FakeRequest, Reply, Script, ScriptedModel, Step};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut wise = ModelConfig::new("fake", "wise");
    wise.prices = serde_json::from_str(r#"{"input": "3", "output": "15"}"#)?;
    let mut advisor = AdvisorSettings::default();
    (advisor.enabled, advisor.max_uses_per_run) = (true, 1);
    advisor.model_config_id = Some("wise".into());

    let (store, ledger) = (MemoryStore::new(Arc::new(SystemClock::new())), MemoryLedger::new());
    let chatwright = Chatwright::builder(store, MemoryBus::new())
        .model("quick", ScriptedModel::new(Script::by(quick)))
        .model("wise", ScriptedModel::new(Script::by(advise)))
        .model_config("wise", wise)
        .advisor(advisor)
        .ledger(ledger.clone())
        .build()?;
    let worker = chatwright.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });

    let chat = chatwright.create(NewChat::new(UserId::new("you")?)).await?;
    let mut view = View::new();
    let mut events = chat.events(Resume::Nothing).await?;
    chat.send("The tests fail every other time. Mend that.").await?;
    while !(view.transcript().status == Status::Waiting && view.transcript().messages.len() > 1) {
        view.apply(&events.next().await.ok_or("the stream ended early")?);
    }
    print!("{}", view.transcript());

    println!("-- what it cost --");
    let ever = Timestamp::from_millis(0)..Timestamp::from_millis(i64::MAX);
    for line in ledger.report(&LedgerScope::default(), ever).await? {
        let requests = match line.spent.requests {
            1 => "1 request".to_owned(),
            requests => format!("{requests} requests"),
        };
        let cost = match line.spent.unpriced {
            0 => line.spent.cost.to_string(),
            _ => "without a price".to_owned(),
        };
        println!("{}: {requests}, {cost}", line.purpose.as_str());
    }
    Ok(())
}

/// The model of the chat: it asks for advice, then once more than it may, and then goes on by itself.
fn quick(request: &FakeRequest) -> Reply {
    let ask = |question: &str| {
        let arguments = serde_json::json!({ "question": question }).to_string();
        let call = Step::Call { id: "a".to_owned(), name: "advisor".to_owned(), arguments: vec![arguments] };
        Reply::steps(vec![call, Step::Finish(FinishReason::ToolCalls)])
    };
    match request.number {
        0 => ask("A test passes alone and fails beside others. Where do I look first?"),
        1 => ask("And if that is not it?"),
        _ => Reply::text("Two tests wrote to one file. Each has its own now."),
    }
}

/// The advisor: it sees the conversation, and its question last.
fn advise(request: &FakeRequest) -> Reply {
    let question = request.messages.last().map(|message| message.text.clone()).unwrap_or_default();
    println!("(the advisor is asked: {question})");
    let advice = "Look for what they share: a file, a port, a clock.".to_owned();
    let usage = Usage { input: Some(900), output: Some(20), ..Usage::default() };
    Reply::steps(vec![Step::Text(advice), Step::Usage(usage), Step::Finish(FinishReason::Stop)])
}
