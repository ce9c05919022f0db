//! A chat that outgrows the window of its model: what each summary saved, and what the ledger says of it.
//!
//! ```sh
//! cargo run --example long_chat
//! ```

use std::sync::Arc;

use chatwright::core::config::ModelConfig;
use chatwright::core::content::{Output, Part};
use chatwright::core::head::Status;
use chatwright::core::model::{Finish, FinishReason, Message, ModelCall, ModelId, ModelPart, Usage};
use chatwright::core::port::{LanguageModel, Ledger, LedgerScope, ModelStream};
use chatwright::core::tool::Effect;
use chatwright::core::{Timestamp, view::Compaction};
use chatwright::memory::{MemoryBus, MemoryLedger, MemoryStore};
use chatwright::schemars::JsonSchema;
use chatwright::{Chatwright, FnTool, NewChat, Resume, SystemClock, UserId, View};
use futures::StreamExt;
use serde::Deserialize;
use tokio::task::JoinSet;

/// The book has so many chapters.
const CHAPTERS: usize = 24;
/// Prompt and answer may have so many tokens.
const WINDOW: u64 = 8_000;

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "chatwright::schemars")]
struct Chapter {
    number: usize,
}

/// About a page and a half.
async fn chapter(Chapter { number }: Chapter) -> String {
    format!("Chapter {number}. ") + &"The ship sailed on, and nobody saw land. ".repeat(80)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = ModelConfig::new("paper", "reader");
    config.context_window = Some(WINDOW);
    config.prices = serde_json::from_str(r#"{"input": "3", "output": "15"}"#)?;
    let ledger = MemoryLedger::new();
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let chatwright = Chatwright::builder(store, MemoryBus::new())
        .model("reader", Reader)
        .model_config("reader", config)
        .ledger(ledger.clone())
        .tool(FnTool::new("chapter", "Gives a chapter of the book.", Effect::Pure, chapter))
        .build()?;
    let worker = chatwright.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });

    let chat = chatwright.create(NewChat::new(UserId::new("you")?)).await?;
    let mut view = View::new();
    let mut events = chat.events(Resume::Nothing).await?;
    chat.send("Read the whole book. Does anybody see land?").await?;
    while !(view.transcript().status == Status::Waiting && view.transcript().messages.len() > 1) {
        view.apply(&events.next().await.ok_or("the stream ended early")?);
    }
    let seen = view.transcript();
    for (n, Compaction { from, tokens_before, tokens_after, .. }) in seen.compactions.iter().enumerate() {
        let covered = seen.messages.iter().filter(|message| message.seq < *from).count();
        let (before, after) = (tokens_before.unwrap_or(0), tokens_after.unwrap_or(0));
        println!(
            "summary {} stands for {covered} messages: {before} tokens became {after}, {} saved in every step from here on",
            n + 1,
            before - after
        );
    }
    let answer = seen.messages.last().ok_or("nobody answered")?;
    println!(
        "\n{} messages, none of them lost. The last one: {}",
        seen.messages.len(),
        words(&answer.content)
    );

    println!(
        "\n{:<12} {:>8} {:>14} {:>14} {:>10}",
        "purpose", "requests", "prompt tokens", "answer tokens", "cost"
    );
    let ever = Timestamp::from_millis(0)..Timestamp::from_millis(i64::MAX);
    for line in ledger.report(&LedgerScope::default(), ever).await? {
        let (spent, purpose) = (line.spent, line.purpose.as_str());
        let (requests, tokens) = (spent.requests, spent.tokens);
        println!("{purpose:<12} {requests:>8} {:>14} {:>14} {:>10}", tokens.input, tokens.output, spent.cost);
    }
    Ok(())
}

fn words(content: &[Part]) -> String {
    let word = |part: &Part| match part {
        Part::Text { text, .. } => text.clone(),
        Part::ToolResult { output: Output::Text { text }, .. } => text.clone(),
        _ => String::new(),
    };
    content.iter().map(word).collect()
}

/// A model that reads one chapter after the other. It counts four bytes a token and takes no prompt over its window.
struct Reader;

impl LanguageModel for Reader {
    fn id(&self) -> ModelId {
        ModelId { provider: "paper".into(), model: "reader".into() }
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        let said: Vec<String> = call.prompt.iter().map(|message: &Message| words(&message.content)).collect();
        let tokens = said.iter().map(String::len).sum::<usize>() as u64 / 4;
        assert!(tokens <= WINDOW, "a prompt of {tokens} tokens");
        // What it knows of the book stands in the prompt, in full or in its own summary.
        let read = said
            .iter()
            .filter_map(|text| text.rsplit_once("hapter ")?.1.split(['.', ' ']).next()?.parse().ok());
        let read = read.max().unwrap_or(0);
        let text = |words: String| ModelPart::TextDelta { id: "0".into(), delta: words };
        let wants_summary = said.last().is_some_and(|last| last.starts_with("Summarise"));
        let (reason, parts) = match read {
            _ if wants_summary => (FinishReason::Stop, vec![text(format!("No land up to chapter {read}."))]),
            CHAPTERS => (FinishReason::Stop, vec![text("Nobody sees land in the whole book.".to_owned())]),
            read => {
                let call = ModelPart::ToolCall {
                    id: format!("c{read}").into(),
                    name: "chapter".into(),
                    input: format!(r#"{{"number":{}}}"#, read + 1),
                    provider_executed: false,
                    metadata: Default::default(),
                };
                (FinishReason::ToolCalls, vec![text("Let me read on.".to_owned()), call])
            }
        };
        let usage = Usage { input: Some(tokens), output: Some(8), ..Usage::default() };
        let finish = ModelPart::Finish(Finish { reason, usage, ..Finish::default() });
        futures::stream::iter(parts.into_iter().chain([finish])).boxed()
    }
}
