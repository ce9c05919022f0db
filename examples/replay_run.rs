//! What the debug recorder writes down of a turn: read in a terminal, and replayed without its model and its tools.
//!
//! ```sh
//! cargo run --example replay_run              # records a turn first
//! cargo run --example replay_run -- FILE      # a cassette that somebody sent you
//! ```
//!
//! It exits with 0 if the last message is the same again, with 1 if not, and with 2 if the file cannot be read.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright::core::ChatId;
use chatwright::core::content::{Output, Part};
use chatwright::core::debug::{DebugStatus, RunKind};
use chatwright::core::head::Status;
use chatwright::core::model::{FinishReason, Message, Role, Usage};
use chatwright::core::port::Tool;
use chatwright::core::tool::{Effect, ToolCall, ToolSpec};
use chatwright::core::view::Transcript;
use chatwright::debug::redact::{Redactor, Rules};
use chatwright::debug::{Cassette, DebugService, DebugSettings, Recorder, RecorderSettings};
use chatwright::memory::{MemoryBus, MemoryDebug, MemoryStore};
use chatwright::{
    Asked, Builder, Chatwright, FnTool, NewChat, Resume, Settings, SystemClock, SystemIds, UserId, View,
};
use chatwright_fake::zoo::Fault;
use chatwright_fake::{FakeCall, Reply, Script, ScriptedModel, Step};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

#[tokio::main]
async fn main() -> ExitCode {
    let file = std::env::args().nth(1).map(PathBuf::from);
    match run(file).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

async fn run(file: Option<PathBuf>) -> Result<bool, Box<dyn Error>> {
    let file = match file {
        Some(file) => file,
        None => {
            let file = std::env::temp_dir().join("replay_run.jsonl");
            record(&file).await?;
            println!("(recorded to {})\n", file.display());
            file
        }
    };
    let named = |error: &dyn Error| format!("{}: {error}", file.display());
    let opened = File::open(&file).map_err(|error| named(&error))?;
    let cassette = Cassette::read(BufReader::new(opened)).map_err(|error| named(&error))?;
    print!("{}", cassette.timeline());
    replay(&cassette).await
}

/// Records a turn, and writes it to a file.
async fn record(file: &Path) -> Result<(), Box<dyn Error>> {
    // What is recorded, and where it is kept. Without `forced` it is what administrators, users and chats want.
    let mut settings = DebugSettings::default();
    settings.forced = true;
    let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(SystemIds));
    let service = DebugService::new(MemoryDebug::new(), clock, ids, settings);
    // What must never be written down. Keys that a request is sent with are known without this.
    let redactor = Redactor::new(&Rules::default())?;
    redactor.register(&"opensesame".into())?;
    let recorder = Recorder::start(service, redactor, RecorderSettings::default());

    let weather = async |place: Place| format!("{}: rain, says opensesame@weather.example", place.place);
    let weather = FnTool::new("weather", "Says how the weather is.", Effect::Pure, weather);
    let model = ScriptedModel::new(script());
    let chatwright = builder().model("fast", model).tool(weather).debug(&recorder).build()?;
    let (chat, _) = turn(&chatwright, "Do I need an umbrella in Oslo, or in Bergen?", false).await?;

    recorder.flush(Duration::from_secs(10)).await;
    let service = recorder.service();
    let run = service.runs(chat, None, 1).await?.pop().ok_or("nothing was recorded")?;
    service.export(chat, run.id).await?.write(File::create(file)?)?;
    Ok(())
}

/// Two answers that call a tool, the second of them after a failure, and one in words.
fn script() -> Script {
    let call = |id: &str, place: &str| {
        let arguments = serde_json::json!({ "place": place }).to_string();
        Reply::steps(vec![
            Step::Reasoning(format!("How is {place}?")),
            Step::Pause(Duration::from_millis(40)),
            FakeCall::new(id, "weather", &arguments).into(),
            Step::Usage(Usage { input: Some(12), output: Some(8), ..Usage::default() }),
            Step::Finish(FinishReason::ToolCalls),
        ])
    };
    let (oslo, bergen) = (call("c1", "Oslo"), call("c2", "Bergen"));
    Script::new(vec![oslo, Fault::ErrorInMidStream.reply(), bergen, Reply::text("In both: it rains.")])
}

#[derive(serde::Deserialize, chatwright::schemars::JsonSchema)]
#[schemars(crate = "chatwright::schemars")]
struct Place {
    place: String,
}

/// Runs the turn of a cassette again. Whether its last message is the same.
async fn replay(cassette: &Cassette) -> Result<bool, Box<dyn Error>> {
    let asked =
        cassette.steps.first().and_then(|step| step.messages.iter().rfind(|one| one["role"] == "user"));
    let Some(asked) = asked.filter(|_| cassette.run.kind == RunKind::ChatTurn) else {
        return Err("only a turn that a user began can be replayed".into());
    };
    let asked: Message = serde_json::from_value(asked.clone())?;
    let was_stopped = cassette.run.status == DebugStatus::Interrupted;
    let mut builder = builder().model("recorded", cassette.model());
    for tool in stubs(cassette) {
        builder = builder.tool(tool);
    }
    let (_, transcript) = turn(&builder.build()?, &words(&asked.content), was_stopped).await?;
    // A terminal shall obey nothing that was recorded.
    let shown = transcript.to_string().replace(|one: char| one.is_control() && one != '\n', "\u{fffd}");
    println!("\n-- replayed --\n{shown}");

    let answered = transcript.messages.iter().rfind(|message| message.role == Role::Assistant);
    let recorded = cassette.steps.iter().rfind(|step| !step.content.is_empty());
    let is_same = answered.map(|message| &message.content) == recorded.map(|step| &step.content);
    println!("-- the last message is {} --", if is_same { "the same as recorded" } else { "another one" });
    Ok(is_same)
}

/// A tool that gives what was recorded.
struct Stub {
    spec: ToolSpec,
    /// By arguments.
    outputs: HashMap<String, Output>,
}

#[async_trait]
impl Tool for Stub {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    async fn call(&self, call: ToolCall) -> Output {
        let unknown = || Output::error("nothing was recorded of this call");
        self.outputs.get(&call.input.to_string()).cloned().unwrap_or_else(unknown)
    }
}

/// Stubs of the tools that the model had.
fn stubs(cassette: &Cassette) -> Vec<Stub> {
    let mut stubs: Vec<Stub> = Vec::new();
    for tool in cassette.steps.iter().flat_map(|step| &step.tools) {
        let name = tool["name"].as_str().unwrap_or_default();
        if tool["type"] == "function" && stubs.iter().all(|stub| &*stub.spec.name != name) {
            let spec = ToolSpec::new(name, "a stub", tool["input_schema"].clone(), Effect::Pure);
            stubs.push(Stub { spec, outputs: HashMap::new() });
        }
    }
    let messages = cassette.steps.iter().flat_map(|step| &step.messages);
    let messages = messages.filter_map(|value| serde_json::from_value::<Message>(value.clone()).ok());
    let mut inputs = HashMap::new();
    let messages: Vec<Message> = messages.collect();
    for part in messages.iter().flat_map(|message| message.content.iter()) {
        match part.clone() {
            Part::ToolCall { id, input, .. } => drop(inputs.insert(id, input)),
            Part::ToolResult { call_id, name, output, .. } => {
                let input = inputs.get(&call_id).and_then(|input| serde_json::from_str::<Value>(input).ok());
                let stub = stubs.iter_mut().find(|stub| stub.spec.name == name);
                if let (Some(input), Some(stub)) = (input, stub) {
                    stub.outputs.insert(input.to_string(), output);
                }
            }
            _ => {}
        }
    }
    stubs
}

fn builder() -> Builder {
    let mut settings = Settings::default();
    // Whoever looks at a run need not wait as it did.
    settings.rules.retry.first_wait = Duration::from_millis(1);
    Chatwright::builder(MemoryStore::new(Arc::new(SystemClock::new())), MemoryBus::new()).settings(settings)
}

/// Runs a turn to its end. One that `is_stopped` is stopped when its model has nothing more to say.
async fn turn(
    chatwright: &Chatwright,
    words: &str,
    is_stopped: bool,
) -> Result<(ChatId, Transcript), Box<dyn Error>> {
    let (worker, (end, ended)) = (chatwright.worker(), oneshot::channel::<()>());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(async move { drop(ended.await) }).await });
    let chat = chatwright.create(NewChat::new(UserId::new("you")?)).await?;
    let mut view = View::new();
    let mut events = chat.events(Resume::Nothing).await?;
    chat.send(words).await?;
    let (mut began, mut is_over) = (false, false);
    while !(began && is_over) {
        match timeout(Duration::from_secs(1), events.next()).await {
            Ok(frame) => drop(view.apply(&frame.ok_or("the stream ended early")?)),
            Err(_) if is_stopped && view.transcript().retry.is_none() => {
                chat.interrupt(Asked::default()).await?;
            }
            Err(_) => {}
        }
        is_over = matches!(view.transcript().status, Status::Waiting | Status::Error);
        began |= !is_over;
    }
    // The worker tells the recorder of the turn's end before it ends itself.
    drop(end);
    tasks.join_all().await;
    Ok((chat.id(), view.transcript().clone()))
}

fn words(content: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Text { text, .. } => text.clone(),
        _ => String::new(),
    };
    content.iter().map(text).collect()
}
