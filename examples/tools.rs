//! Tools: functions with typed arguments, several calls at once, arguments that are checked, an error that the model reads.
//!
//! ```sh
//! cargo run --example tools
//! ```

use std::sync::Arc;
use std::time::Duration;

use chatwright::core::head::Status;
use chatwright::core::model::FinishReason;
use chatwright::core::tool::{Effect, ToolCall};
use chatwright::memory::{MemoryBus, MemoryStore};
use chatwright::schemars::JsonSchema;
use chatwright::{Chatwright, FnTool, NewChat, Resume, SystemClock, UserId, View};
use chatwright_fake::{FakeRequest, Reply, Script, ScriptedModel, Step};
use serde::Deserialize;
use tokio::task::JoinSet;

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "chatwright::schemars")]
struct City {
    /// The name of a city.
    city: String,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "chatwright::schemars")]
struct Table {
    restaurant: String,
    #[schemars(range(min = 1, max = 12))]
    guests: u32,
}

/// A failure is an error that the model reads, never the chat's.
async fn weather(City { city }: City) -> Result<String, String> {
    match city.as_str() {
        "Atlantis" => Err(format!("{city} is under water")),
        _ => Ok(format!("sunny in {city}")),
    }
}

/// Whoever books by the key of the call books once, however often it runs.
async fn book(Table { restaurant, guests }: Table, call: ToolCall) -> String {
    format!("a table for {guests} at {restaurant}, as booking {} of its message", call.key.ordinal)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let weather = FnTool::new("weather", "Tells the weather in a city.", Effect::Pure, weather);
    let book = FnTool::with_call("book", "Books a table.", Effect::Idempotent, book)
        // Two bookings at one restaurant run one after the other, at two of them side by side.
        .declare(|spec| spec.with_deadline(Duration::from_secs(10)).with_resource("/restaurant"));

    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let chatwright = Chatwright::builder(store, MemoryBus::new())
        .model("scripted", ScriptedModel::new(Script::by(model)))
        .tool(weather)
        .tool(book)
        .build()?;
    let worker = chatwright.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });

    let chat = chatwright.create(NewChat::new(UserId::new("you")?)).await?;
    let mut view = View::new();
    let mut events = chat.events(Resume::Nothing).await?;
    chat.send("Where is it sunny? Book dinner there.").await?;
    while !(view.transcript().status == Status::Waiting && view.transcript().messages.len() > 1) {
        view.apply(&events.next().await.ok_or("the stream ended early")?);
    }
    print!("{}", view.transcript());
    Ok(())
}

/// What the scripted model does: it asks for two cities at once, then books, first for too many.
fn model(request: &FakeRequest) -> Reply {
    let call = |id: &str, name: &str, arguments: &str| Step::Call {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: vec![arguments.to_owned()],
    };
    let mut steps = match request.number {
        0 => vec![call("a", "weather", r#"{"city":"Rome"}"#), call("b", "weather", r#"{"city":"Atlantis"}"#)],
        1 => vec![call("c", "book", r#"{"restaurant":"Da Enzo","guests":20}"#)],
        2 => vec![call("d", "book", r#"{"restaurant":"Da Enzo","guests":4}"#)],
        _ => return Reply::text("Rome it is: dinner for four at Da Enzo."),
    };
    steps.push(Step::Finish(FinishReason::ToolCalls));
    Reply::steps(steps)
}
