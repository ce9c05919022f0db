//! What does the debug recorder cost a chat, what does it store, and what does it hold?
//!
//! *A delta*: bytes as a provider sends them, in memory, in pieces of a TCP segment, parsed, decoded and folded; once as they are, and
//! once through the recorder, which sees the parts and the bytes. *A step*: an answer that calls a tool, with all that the loop does
//! for it; also with a store that never answers. What writes the records down runs on another thread, as it does behind a chat; so do
//! these times tell what a chat waits for. With `--instructions` what the threads of the chats execute is counted by callgrind, while
//! that thread runs beside them.
//!
//! Then: what a run of 10 and of 100 steps takes in its store, beside the conversation; and what 1,000 chats hold that are recorded
//! at once.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chatwright::core::accumulator::Accumulator;
use chatwright::core::content::{Metadata, Output, Part};
use chatwright::core::debug::{DebugWrite, DebugWritten};
use chatwright::core::history::ValidHistory;
use chatwright::core::model::{
    CallScope, Finish, FinishReason, Message, ModelCall, ModelId, ModelPart, Role,
};
use chatwright::core::port::{
    ChatStore, DebugStore, Event, HttpEnd, HttpHeader, HttpRequest, HttpResponse, LanguageModel, ModelStream,
    Observer, Purpose, SessionStore, StoreError, Tool,
};
use chatwright::core::tool::{Effect, ToolCall, ToolSpec};
use chatwright::core::{ChatId, RunId, Seq, Timestamp, Uuid};
use chatwright::debug::redact::{Redactor, Rules};
use chatwright::debug::{DebugService, DebugSettings, Recorder, RecorderSettings};
use chatwright::memory::{MemoryBus, MemoryDebug, MemoryStore};
use chatwright::providers::{ChatDecoder, Decode, sse};
use chatwright::sqlite::SqliteStore;
use chatwright::{Chat, Chatwright, NewChat, Settings, SystemClock, SystemIds, UserId};
use chatwright_benches::{Bench, median};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinSet;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--count") {
        return count(&arguments[at + 1..]);
    }
    if arguments.iter().any(|argument| argument == "--instructions") {
        return instructions();
    }
    let bench = Bench::from_args();
    let once = bench.rounds == 1;
    println!("{:<44} {:>12} {:>12} {:>7}", "", "off", "on", "ratio");
    deltas(&bench, if once { 500 } else { 20_000 });
    turns(&bench, if once { 20 } else { 2_000 });
    steps("memory", &bench, if once { 10 } else { 200 }, || MemoryStore::new(Arc::new(SystemClock::new())));
    let folder = tempfile::tempdir().expect("a folder can be made");
    let number = AtomicUsize::new(0);
    steps("SQLite", &bench, if once { 10 } else { 200 }, || {
        let name = format!("{}.db", number.fetch_add(1, Ordering::SeqCst));
        SqliteStore::open(folder.path().join(name)).expect("an empty folder")
    });
    stored(if once { &[3, 6] } else { &[10, 100] });
    many(if once { 20 } else { 1_000 });
}

/// A recorder whose writer has threads of its own: one, and one for what takes long.
fn recorder(store: impl DebugStore) -> (Recorder, Runtime) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .thread_keep_alive(Duration::MAX)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(runtime.spawn_blocking(|| ())).expect("it is there now");
    let entered = runtime.enter();
    let mut settings = DebugSettings::default();
    settings.forced = true;
    let service = DebugService::new(store, Arc::new(SystemClock::new()), Arc::new(SystemIds), settings);
    let redactor = Redactor::new(&Rules::default()).expect("valid");
    let recorder = Recorder::start(service, redactor, RecorderSettings::default());
    drop(entered);
    (recorder, runtime)
}

fn recorder_of_hanging_store() -> (Recorder, Runtime) {
    recorder(Counting { hangs: true, ..Counting::default() })
}

// --- a delta ---

/// Plays bytes as an adapter over HTTP does.
#[derive(Clone)]
struct Played(Arc<str>);

impl LanguageModel for Played {
    fn id(&self) -> ModelId {
        ModelId { provider: "bench".into(), model: "played".into() }
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        const SEGMENT: usize = 1_400;
        let body = Arc::clone(&self.0);
        let headers = vec![HttpHeader {
            name: "content-type".into(),
            value: "text/event-stream".into(),
            sensitive: false,
        }];
        let mut exchange = call.transport.observer.as_ref().map(|observer| {
            let (method, url, body) = ("POST", "http://bench/v1/chat/completions", "{}");
            observer.request(&HttpRequest { method, url, headers: &headers, body })
        });
        if let Some(exchange) = &mut exchange {
            exchange.response(&HttpResponse { status: 200, headers: &headers });
        }
        let (parser, decoder) = (sse::SseParser::new(sse::EVENT_BYTES_MAX), ChatDecoder::new("p", false));
        let begin = (0, parser, decoder, Vec::new(), exchange);
        futures::stream::unfold(begin, move |(at, mut parser, mut decoder, mut items, mut exchange)| {
            let body = Arc::clone(&body);
            async move {
                let chunk = body
                    .as_bytes()
                    .get(at..(at + SEGMENT).min(body.len()))
                    .filter(|chunk| !chunk.is_empty())?;
                if let Some(exchange) = &mut exchange {
                    exchange.body(chunk);
                }
                let mut parts = Vec::new();
                parser.feed(chunk, &mut items).expect("small events");
                for item in items.drain(..) {
                    if let sse::SseItem::Event(event) = item {
                        decoder.event(&event.data, &mut parts);
                    }
                }
                if decoder.is_done()
                    && let Some(exchange) = exchange.take()
                {
                    exchange.end(HttpEnd::Complete);
                }
                Some((futures::stream::iter(parts), (at + chunk.len(), parser, decoder, items, exchange)))
            }
        })
        .flatten()
        .boxed()
    }
}

fn answer(deltas: usize) -> Arc<str> {
    let mut body = String::new();
    for n in 0..deltas {
        body += &format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{}\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n",
            n * 7_919 % 10_000
        );
    }
    body += "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    body.into()
}

fn call(chat: u128) -> ModelCall {
    let chat = ChatId::from_uuid(Uuid::from_u128(chat));
    let mut call = ModelCall::new(vec![Message::new(Role::User, vec![Part::text("count")])]);
    call.scope = Some(Arc::new(CallScope::new(chat, UserId::new("ada").expect("short"), Purpose::Title)));
    call
}

/// Folds an answer, as the loop does.
fn fold(model: &dyn LanguageModel, call: ModelCall) {
    let (mut answer, mut pieces) = (Accumulator::new(), Vec::new());
    let mut parts = model.stream(call);
    futures::executor::block_on(async {
        while let Some(part) = parts.next().await {
            answer.push_into(part, &mut pieces);
            pieces.clear();
        }
    });
    assert!(answer.finish_reason().is_some() && answer.bytes() > 100);
}

fn deltas(bench: &Bench, deltas: usize) {
    let (recorder, runtime) = recorder(MemoryDebug::new());
    let played = Played(answer(deltas));
    let recorded = recorder.model(Arc::new(played.clone()));
    let mut times: [Vec<f64>; 2] = Default::default();
    for round in 0..10 * bench.rounds {
        for (n, model) in [&played as &dyn LanguageModel, &recorded].into_iter().enumerate() {
            let call = call(round as u128);
            let begun = now();
            fold(model, call);
            times[n].push(begun.elapsed().as_nanos() as f64 / deltas as f64);
            // Only what the chat waits for counts: the writer is done before the next one begins.
            assert!(runtime.block_on(recorder.flush(Duration::from_secs(60))));
        }
    }
    row("a delta, ns", times.map(median));
    assert_eq!(recorder.stats().dropped, 0);
}

/// Turns of a chat whose model says so much, over a store in memory.
fn turns(bench: &Bench, deltas: usize) {
    let (recorder, _writing) = recorder(MemoryDebug::new());
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut times, mut work): ([Vec<f64>; 2], [Vec<f64>; 2]) = Default::default();
    runtime.block_on(async {
        let hosts = [None, Some(&recorder)].map(|recorder| {
            let store = MemoryStore::new(Arc::new(SystemClock::new()));
            Host::with(store, recorder, Played(answer(deltas)))
        });
        for _ in 0..20 * bench.rounds {
            for (n, host) in hosts.iter().enumerate() {
                let chat = host.chat().await;
                let (begun, worked) = (now(), worked());
                host.turn(&chat, 0).await;
                times[n].push(begun.elapsed().as_secs_f64() * 1e6);
                assert!(recorder.flush(Duration::from_secs(60)).await);
                work[n].push(self::worked() - worked);
            }
        }
    });
    row(&format!("a turn with an answer of {deltas} deltas, µs"), times.map(median));
    row("the same, µs of all CPUs, the writer's too", work.map(median));
}

fn row(name: &str, [off, on]: [f64; 2]) {
    println!("{name:<44} {off:>12.1} {on:>12.1} {:>7.3}", on / off);
}

// --- a step ---

/// Calls the tool as long as there are steps, at once.
#[derive(Clone, Default)]
struct Instantly {
    steps: Arc<AtomicUsize>,
}

impl LanguageModel for Instantly {
    fn id(&self) -> ModelId {
        ModelId { provider: "bench".into(), model: "instantly".into() }
    }

    fn stream(&self, _: ModelCall) -> ModelStream {
        let more =
            self.steps.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let text = ModelPart::TextDelta { id: "0".into(), delta: "Let me see what time it is.".to_owned() };
        let call = ModelPart::ToolCall {
            id: "call_1".into(),
            name: "now".into(),
            input: "{}".to_owned(),
            provider_executed: false,
            metadata: Metadata::new(),
        };
        let reason = if more { FinishReason::ToolCalls } else { FinishReason::Stop };
        let finish = ModelPart::Finish(Finish { reason, ..Finish::default() });
        let parts = if more { vec![text, call, finish] } else { vec![text, finish] };
        futures::stream::iter(parts).boxed()
    }
}

struct Now;

#[async_trait]
impl Tool for Now {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("now", "Tells the time.", serde_json::json!({"type": "object"}), Effect::Pure)
    }

    async fn call(&self, _: ToolCall) -> Output {
        Output::text("It is noon, as far as anybody here can tell.")
    }
}

/// A process that runs chats.
struct Host {
    chatwright: Chatwright,
    model: Instantly,
    ended: Arc<Notify>,
    _worker: JoinSet<()>,
}

impl Host {
    fn begin(store: impl ChatStore + SessionStore, recorder: Option<&Recorder>) -> Self {
        let model = Instantly::default();
        let mut host = Self::with(store, recorder, model.clone());
        host.model = model;
        host
    }

    fn with(
        store: impl ChatStore + SessionStore,
        recorder: Option<&Recorder>,
        model: impl LanguageModel,
    ) -> Self {
        let mut settings = Settings::default();
        settings.rules.steps_max = u32::MAX;
        settings.capacity = 2_000;
        let ended = Arc::new(Notify::new());
        let mut builder = Chatwright::builder(store, MemoryBus::new())
            .model("m", model)
            .tool(Now)
            .settings(settings)
            .observer(Ends(Arc::clone(&ended)));
        if let Some(recorder) = recorder {
            builder = builder.debug(recorder);
        }
        let chatwright = builder.build().expect("a valid setup");
        let worker = chatwright.worker();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { worker.run(std::future::pending()).await });
        Self { chatwright, model: Instantly::default(), ended, _worker: tasks }
    }

    async fn chat(&self) -> Chat {
        let new = NewChat::new(UserId::new("ada").expect("short"));
        self.chatwright.create(new).await.expect("created")
    }

    async fn turn(&self, chat: &Chat, steps: usize) {
        self.model.steps.store(steps, Ordering::SeqCst);
        chat.send("Please go on as long as there is something to be done.").await.expect("accepted");
        self.ended.notified().await;
    }
}

/// Tells when a turn has ended.
struct Ends(Arc<Notify>);

impl Observer for Ends {
    fn observe(&self, event: &Event<'_>) {
        if let Event::TurnEnded { .. } = event {
            self.0.notify_one();
        }
    }
}

fn steps<S: ChatStore + SessionStore>(name: &str, bench: &Bench, steps: usize, store: impl Fn() -> S) {
    let (recorder, writing) = recorder(MemoryDebug::new());
    // It is not waited for, and what does not fit into its queue is dropped.
    let (stuck, _stuck) = recorder_of_hanging_store();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut times, mut work): ([Vec<f64>; 3], [Vec<f64>; 3]) = Default::default();
    runtime.block_on(async {
        let hosts = [None, Some(&recorder), Some(&stuck)].map(|recorder| Host::begin(store(), recorder));
        for _ in 0..3 * bench.rounds {
            for (n, host) in hosts.iter().enumerate() {
                let chat = host.chat().await;
                let (begun, worked) = (now(), worked());
                host.turn(&chat, steps).await;
                times[n].push(begun.elapsed().as_secs_f64() * 1e6 / steps as f64);
                assert!(recorder.flush(Duration::from_secs(60)).await);
                work[n].push((self::worked() - worked) / steps as f64);
            }
        }
    });
    let [off, on, hanging] = times.map(median);
    row(&format!("a step over {name}, µs"), [off, on]);
    row(&format!("a step over {name}, µs; its store hangs"), [off, hanging]);
    let [off, on, _] = work.map(median);
    row("the same, µs of all CPUs, the writer's too", [off, on]);
    let stats = recorder.stats();
    assert_eq!((stats.dropped, stats.unwritten), (0, 0));
    drop(writing);
}

// --- what is stored ---

/// Counts what is written.
#[derive(Clone, Default)]
struct Counting {
    inner: MemoryDebug,
    bytes: Arc<AtomicUsize>,
    /// It never answers.
    hangs: bool,
}

#[async_trait]
impl DebugStore for Counting {
    async fn write(&self, writes: &[DebugWrite]) -> Result<Vec<DebugWritten>, StoreError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        self.bytes.fetch_add(writes.iter().map(DebugWrite::bytes).sum(), Ordering::SeqCst);
        self.inner.write(writes).await
    }

    async fn runs(
        &self,
        chat: ChatId,
        before: Option<(Timestamp, RunId)>,
        limit: usize,
    ) -> Result<Vec<chatwright::core::debug::DebugRun>, StoreError> {
        self.inner.runs(chat, before, limit).await
    }

    async fn run(
        &self,
        chat: ChatId,
        run: RunId,
    ) -> Result<Option<chatwright::core::debug::DebugRun>, StoreError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        self.inner.run(chat, run).await
    }

    async fn steps(
        &self,
        chat: ChatId,
        run: RunId,
        after: u32,
        limit: usize,
        detail: chatwright::core::debug::Detail,
    ) -> Result<Vec<chatwright::core::debug::DebugStep>, StoreError> {
        self.inner.steps(chat, run, after, limit, detail).await
    }

    async fn contents(
        &self,
        chat: ChatId,
        run: RunId,
        hashes: &[chatwright::core::debug::ContentHash],
    ) -> Result<Vec<Option<Box<[u8]>>>, StoreError> {
        self.inner.contents(chat, run, hashes).await
    }

    async fn sweep(
        &self,
        now: Timestamp,
        before: Timestamp,
        limit: usize,
    ) -> Result<chatwright::core::debug::Swept, StoreError> {
        self.inner.sweep(now, before, limit).await
    }

    async fn delete(
        &self,
        which: &chatwright::core::debug::DebugDelete,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.inner.delete(which, limit).await
    }
}

/// A message of about so many bytes, each another one.
fn message(role: Role, n: usize, bytes: usize) -> Message {
    let mut text = format!("Message {n}.");
    while text.len() < bytes {
        text += &format!(" word{}", (n * 7_919 + text.len() * 104_729) % 50_000);
    }
    Message::new(role, vec![Part::text(text)])
}

fn stored(lengths: &[usize; 2]) {
    const MESSAGE_BYTES: usize = 2_000;
    println!("\n{:<44} {:>12} {:>12} {:>7}", "a run of so many steps", lengths[0], lengths[1], "ratio");
    let mut rows: [[f64; 3]; 2] = Default::default();
    for (row, steps) in rows.iter_mut().zip(lengths) {
        let store = Counting::default();
        let (recorder, runtime) = recorder(store.clone());
        let model = recorder.model(Arc::new(Instantly::default()));
        let mut history = ValidHistory::check(vec![message(Role::User, 0, MESSAGE_BYTES)]).expect("valid");
        let mut naive = 0;
        for step in 0..*steps {
            let mut call = ModelCall::new(history.clone());
            let chat = ChatId::from_uuid(Uuid::from_u128(1));
            let mut scope = CallScope::new(chat, UserId::new("ada").expect("short"), Purpose::Turn);
            scope.turn = Some(Seq::new(1));
            call.scope = Some(Arc::new(scope));
            naive +=
                history.iter().map(|message| serde_json::to_vec(message).expect("JSON").len()).sum::<usize>();
            futures::executor::block_on(model.stream(call).for_each(async |_| {}));
            let more = vec![
                message(Role::Assistant, 2 * step + 1, MESSAGE_BYTES),
                message(Role::User, 2 * step + 2, MESSAGE_BYTES),
            ];
            history.extend(more).expect("valid");
            assert!(runtime.block_on(recorder.flush(Duration::from_secs(60))));
        }
        let spoken =
            history.iter().map(|message| serde_json::to_vec(message).expect("JSON").len()).sum::<usize>();
        *row = [spoken as f64, store.bytes.load(Ordering::SeqCst) as f64, naive as f64];
    }
    for (at, name) in
        ["the conversation, bytes", "stored, bytes", "prompts stored whole would be"].iter().enumerate()
    {
        let [short, long] = [rows[0][at], rows[1][at]];
        println!("{name:<44} {short:>12.0} {long:>12.0} {:>7.2}", long / short);
    }
}

// --- many at once ---

fn many(chats: usize) {
    let memory = MemoryDebug::new();
    let (recorder, _writing) = recorder(memory);
    let played = Played(answer(200));
    let recorded = Arc::new(recorder.model(Arc::new(played)));
    let before = resident();
    let mut most = (0, 0.0_f64);
    futures::executor::block_on(async {
        let mut streams: FuturesUnordered<_> =
            (0..chats).map(|chat| recorded.stream(call(chat as u128)).into_future()).collect();
        // All of them stream at once, part by part.
        while let Some((part, rest)) = streams.next().await {
            if part.is_some() {
                streams.push(rest.into_future());
            }
            most.0 = most.0.max(recorder.stats().held_bytes);
        }
        most.1 = resident() - before;
    });
    let stats = recorder.stats();
    println!(
        "\n{chats} chats at once: {:.1} MiB held at most of {} allowed, {} pieces dropped, resident +{:.0} MiB",
        most.0 as f64 / 1024.0 / 1024.0,
        RecorderSettings::default().memory_bytes_max / 1024 / 1024,
        stats.dropped,
        most.1
    );
}

/// How long all threads of the process that live have run, in µs.
fn worked() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ran = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    threads.filter_map(ran).sum::<f64>() / 1e3
}

/// What the process has in memory, in MiB.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * 4.0 / 1024.0
}

// --- instructions ---

/// Runs what is to be counted: what, `off`, `on` or `hangs`, and two numbers.
fn count(arguments: &[String]) {
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    let (is_on, first, second) = (arguments[1] != "off", number(2), number(3));
    let (recorder, _writing) =
        if arguments[1] == "hangs" { recorder_of_hanging_store() } else { recorder(MemoryDebug::new()) };
    match arguments[0].as_str() {
        // So many deltas of each of so many answers.
        "answer" => {
            let played = Played(answer(first));
            let recorded = recorder.model(Arc::new(played.clone()));
            let model: &dyn LanguageModel = if is_on { &recorded } else { &played };
            (0..second).for_each(|chat| fold(model, call(chat as u128)));
        }
        // A chat whose turns have so many deltas, or steps, each.
        what => {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let store = || MemoryStore::new(Arc::new(SystemClock::new()));
            let folder = tempfile::tempdir().expect("a folder can be made");
            let recorder = is_on.then_some(&recorder);
            runtime.block_on(async {
                let (host, steps) = match what {
                    "deltas" => (Host::with(store(), recorder, Played(answer(first))), 0),
                    "steps" => (Host::begin(store(), recorder), first),
                    _ => {
                        let store =
                            SqliteStore::open(folder.path().join("chats.db")).expect("an empty folder");
                        (Host::begin(store, recorder), first)
                    }
                };
                for _ in 0..second {
                    let chat = host.chat().await;
                    host.turn(&chat, steps).await;
                }
                drop(folder);
            });
        }
    }
    // What waits in the queue is not thrown away on the chat's account.
    std::process::exit(0);
}

fn instructions() {
    let counted = |what: &str, mode: &str, first: usize, second: usize| -> f64 {
        let program = std::env::current_exe().expect("it has a name");
        let folder = tempfile::tempdir().expect("a folder can be made");
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--separate-threads=yes", "--fair-sched=yes"])
            .arg(format!("--callgrind-out-file={}", folder.path().join("count").display()))
            .arg(program)
            .args(["--count", what, mode, &first.to_string(), &second.to_string()])
            .output();
        if !output.is_ok_and(|output| output.status.success()) {
            return f64::NAN;
        }
        let total = |thread: usize| -> Option<f64> {
            let text = std::fs::read_to_string(folder.path().join(format!("count-{thread:02}"))).ok()?;
            let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
            Some(total.and_then(|count| count.trim().parse().ok()).unwrap_or(f64::NAN))
        };
        // The second and the third are the writer's: they are made before all others.
        total(1).map_or(f64::NAN, |first| first + (4..100).filter_map(total).sum::<f64>())
    };
    println!("{:<44} {:>12} {:>12} {:>7}", "instructions", "off", "on", "ratio");
    let turns = |mode| (counted("deltas", mode, 200, 45) - counted("deltas", mode, 200, 5)) / 40.0;
    row("a turn of a chat with an answer of 200 deltas", [turns("off"), turns("on")]);
    let differ = |name: &str, what: &str, [few, many]: [(usize, usize); 2]| {
        let units = (many.0 * many.1 - few.0 * few.1) as f64;
        let units = if what == "answer" && few.0 == many.0 { (many.1 - few.1) as f64 } else { units };
        let per = |mode| (counted(what, mode, many.0, many.1) - counted(what, mode, few.0, few.1)) / units;
        let off = per("off");
        row(name, [off, per("on")]);
        if what == "steps" {
            row("the same; its store hangs", [off, per("hangs")]);
        }
    };
    differ("a delta of a chat", "deltas", [(200, 1), (4_200, 1)]);
    differ("a step of a chat in memory, no delta", "steps", [(20, 1), (220, 1)]);
    differ("a step of a chat over SQLite, no delta", "sqlite", [(20, 1), (220, 1)]);
    differ("a delta, decoded and folded", "answer", [(200, 1), (4_200, 1)]);
    differ("an answer of 200 deltas, decoded and folded", "answer", [(200, 5), (200, 45)]);
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}
