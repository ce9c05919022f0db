//! Races that bricked, doubled or lost turns in systems of this kind: each has a name, a number and a test.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chatwright_conformance::{Chance, Flaky, FlakyRates, LossyBus, LossyRates, Slow};
use chatwright_core::content::{Output, Part};
use chatwright_core::frame::Resume;
use chatwright_core::head::{Labels, State, Status, Title};
use chatwright_core::model::{ModelCall, ModelId};
use chatwright_core::port::{Bus, ChatStore, LanguageModel, ModelStream, Tool, Topic};
use chatwright_core::record::Body;
use chatwright_core::tool::{Effect, ToolSpec};
use chatwright_core::view::View;
use chatwright_core::{ChatId, Head, QueueId, Seq};
use chatwright_loop::{
    Chats, EventStream, Failed, NewChat, NewEdit, NewMessage, NewSettings, Ports, QueueAct, Refused, Settings,
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use common::doors::{At, Kept, Staged, Then};
use common::{
    CountTool, RuleModel, World, check_log, echo, log, new_chat, records, transcript, until, words_of, work,
};

const PLAIN: &str =
    "chat.created message.user\nclaimed attempt.started\nattempt.ended message.assistant turn.ended";

/// Answers as `echo` does; what begins with "wait" only after its first word, when it is let.
struct Patient {
    gate: Semaphore,
    open: AtomicUsize,
    most: AtomicUsize,
    asked: Mutex<Vec<String>>,
}

/// A stream that was not dropped yet.
struct Open(Arc<Patient>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The model as a port.
struct PatientModel(Arc<Patient>);

impl Patient {
    fn new() -> Arc<Self> {
        let (open, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { gate: Semaphore::new(0), open, most, asked: Mutex::default() })
    }

    fn model(self: &Arc<Self>) -> Arc<dyn LanguageModel> {
        Arc::new(PatientModel(Arc::clone(self)))
    }

    /// What was asked so far.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }

    /// Waits until so many answers stream.
    async fn streams(&self, count: usize) {
        let reached = async {
            while self.open.load(Ordering::SeqCst) < count {
                sleep(Duration::from_millis(1)).await;
            }
            // It has said its first word.
            sleep(Duration::from_millis(20)).await;
        };
        timeout(Duration::from_secs(600), reached).await.expect("the model is asked");
    }

    /// Whoever waits goes on, and whoever comes.
    fn go(&self) {
        self.gate.add_permits(1_000);
    }

    /// Whoever waits longest goes on.
    fn go_one(&self) {
        self.gate.add_permits(1);
    }
}

impl LanguageModel for PatientModel {
    fn id(&self) -> ModelId {
        ModelId { provider: "patient".into(), model: "one".into() }
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        let patient = Arc::clone(&self.0);
        let last = call.prompt.last().expect("a prompt is never empty");
        let words: String = last.content.iter().map(words_of).collect();
        let waits = words.starts_with("wait");
        patient.asked.lock().push(words);
        let open = Open(Arc::clone(&patient));
        let now = patient.open.fetch_add(1, Ordering::SeqCst) + 1;
        patient.most.fetch_max(now, Ordering::SeqCst);
        futures::stream::iter(echo(&call.prompt).into_iter().enumerate())
            .then(move |(n, part)| {
                // For as long as the stream lives.
                let _open = &open;
                let patient = Arc::clone(&patient);
                async move {
                    if waits && n == 2 {
                        patient.gate.acquire().await.expect("it is never closed").forget();
                    }
                    sleep(Duration::from_millis(1)).await;
                    part
                }
            })
            .boxed()
    }
}

/// A process over the stores of this world, with some of its ports and settings changed.
fn process(
    world: &World,
    model: Arc<dyn LanguageModel>,
    change: impl FnOnce(&mut Ports, &mut Settings),
) -> Chats {
    let (mut ports, mut settings) = (world.ports(model, vec![]), Settings::default());
    change(&mut ports, &mut settings);
    Chats::new(ports, settings).expect("a valid setup")
}

/// A bus that loses everything.
fn deaf(world: &World) -> Arc<dyn Bus> {
    let rates = LossyRates { lose: 100, ..LossyRates::default() };
    Arc::new(LossyBus::new(Arc::new(world.bus.clone()), rates, Chance::new(0)))
}

/// Nothing is found by looking for it: whoever is not told does not learn it.
fn blind(settings: &mut Settings) {
    let never = Duration::from_secs(24 * 3_600);
    (settings.poll_every, settings.held_every, settings.events.poll_every) = (never, never, never);
}

/// The store, each answer of which takes up to so many milliseconds.
fn slow(world: &World, chance: &Chance, longest: u64) -> Arc<dyn ChatStore> {
    let chance = Chance::new(chance.next());
    Arc::new(Slow::new(world.memory.clone(), Duration::from_millis(longest), chance))
}

fn client_tool() -> ToolSpec {
    ToolSpec::new("ask", "Asks the client.", serde_json::json!({"type": "object"}), Effect::Pure)
}

fn state(head: &Head) -> State {
    head.state.decode().expect("ours")
}

/// What the log has after a position, a commit a line.
async fn log_after(chats: &Chats, chat: ChatId, lines: usize) -> String {
    log(chats, chat).await.lines().skip(lines).collect::<Vec<_>>().join("\n")
}

/// Takes in what comes until this holds.
async fn follow(events: &mut EventStream, view: &mut View, within: Duration, holds: impl Fn(&View) -> bool) {
    let reached = async {
        while !holds(view) {
            view.apply(&events.next().await.expect("the stream goes on"));
        }
    };
    timeout(within, reached).await.expect("the viewer is told in time");
}

fn preview(view: &View) -> String {
    let blocks = view.transcript().preview.iter().flat_map(|preview| &preview.blocks);
    blocks.map(|block| block.text.as_str()).collect()
}

async fn users(chats: &Chats, chat: ChatId) -> Vec<String> {
    let lines = transcript(chats, chat).await;
    lines.iter().filter_map(|line| line.strip_prefix("user: ")).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn s1_no_notice_however_late_or_often_stops_the_turn_that_it_speaks_of() {
    let world = World::new();
    let (bus, model) = (Kept::closed(), Patient::new());
    let chats = process(&world, model.model(), |ports, _| ports.bus = bus.clone());
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("wait")).await.expect("created");
    model.streams(1).await;
    // All that was said of the chat since its birth comes now: in the wrong order, and then again.
    let mut frames = bus.frames();
    let doorbell = Topic::new(format!("chat/{chat}")).expect("short");
    for forged in [&u64::MAX.to_be_bytes()[..], &7_u64.to_be_bytes(), b"stop", b""] {
        frames.push((doorbell.clone(), forged.to_vec()));
    }
    for (topic, frame) in frames.iter().rev().chain(&frames) {
        bus.deliver(topic, frame).await;
        sleep(Duration::from_millis(3)).await;
    }
    model.go();
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(log(&chats, chat).await, PLAIN);
    assert_eq!(model.asked(), ["wait"], "once");

    for (seed, rates) in [(1, (0, 100, 100)), (2, (30, 50, 50)), (3, (0, 100, 50)), (4, (90, 90, 90))] {
        let (lose, double, reorder) = rates;
        let (world, chance) = (World::new(), Chance::new(seed));
        let bus = LossyBus::new(Arc::new(world.bus.clone()), LossyRates { lose, double, reorder }, chance);
        let chats = process(&world, RuleModel::new(echo), |ports, _| ports.bus = Arc::new(bus));
        let _worker = work(&chats);
        for _ in 0..10 {
            let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
            until(&chats, chat, Status::Waiting).await;
            assert_eq!(log(&chats, chat).await, PLAIN, "{rates:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s2_an_edit_while_a_turn_runs_is_answered_alone_and_what_ran_writes_nothing_more() {
    for another in [false, true] {
        let (world, model) = (World::new(), Patient::new());
        let chats = process(&world, model.model(), |ports, settings| {
            ports.bus = deaf(&world);
            // The holder learns of the edit only when it wants to store its answer.
            settings.held_every = Duration::from_secs(3_600);
        });
        let _worker = work(&chats);
        let (chat, _) = chats.create(new_chat("wait one")).await.expect("created");
        model.streams(1).await;
        let other = process(&world, model.model(), |ports, _| ports.bus = deaf(&world));
        let _other = another.then(|| work(&other));
        chats.edit(chat, NewEdit::text(Seq::new(2), "wait two")).await.expect("edited");
        // Another process runs it beside the old run. This one runs it after that.
        model.streams(if another { 2 } else { 1 }).await;
        model.go_one();
        sleep(Duration::from_secs(30)).await;
        assert_eq!(
            transcript(&chats, chat).await,
            ["user: wait one", "user: wait two"],
            "nothing was written"
        );
        model.go_one();
        until(&chats, chat, Status::Waiting).await;
        sleep(Duration::from_secs(600)).await;
        let expected = ["user: wait one", "user: wait two", "model: You said wait two."];
        assert_eq!(transcript(&chats, chat).await, expected);
        let expected = "history.cut freed attempt.ended message.user\n\
                        claimed attempt.started\n\
                        attempt.ended message.assistant turn.ended";
        assert_eq!(log_after(&chats, chat, 2).await, expected, "by another process: {another}");
        assert_eq!(model.asked(), ["wait one", "wait two"]);
        let head = chats.head(chat).await.expect("there");
        assert_eq!((head.holder, head.wake_at, head.index.status), (None, None, Status::Waiting));
    }
}

#[tokio::test(start_paused = true)]
async fn s4_a_turn_that_ends_while_its_process_shuts_down_is_stored_or_handed_over() {
    let chance = Chance::from_env();
    println!("CHATWRIGHT_SEED={}", chance.seed());
    let (mut stored, mut handed_over) = (0, 0);
    for ms in (0..180).step_by(3) {
        let world = World::new();
        let first = process(&world, RuleModel::new(echo), |ports, settings| {
            ports.chats = slow(&world, &chance, 6);
            ports.tools = vec![CountTool::new("a", Effect::Pure) as Arc<dyn Tool>];
            settings.drain_grace = Duration::from_millis(8);
        });
        let second = world.process(vec![CountTool::new("a", Effect::Pure)]);
        let (chat, _) = second.create(new_chat("use a")).await.expect("created");
        second.send(chat, NewMessage::text("and then?")).await.expect("queued");
        let worker = first.worker();
        let drained = worker.run(sleep(Duration::from_millis(ms)));
        timeout(Duration::from_secs(5), drained).await.expect("a drain ends");

        let head = second.head(chat).await.expect("there");
        assert_eq!(head.holder, None, "shut down after {ms} ms");
        assert_eq!(head.wake_at.is_some(), head.index.status == Status::Running, "runnable iff unfinished");
        match head.index.status {
            Status::Waiting => stored += 1,
            _ => handed_over += 1,
        }
        let _worker = work(&second);
        until(&second, chat, Status::Waiting).await;
        let expected = [
            "user: use a",
            "model: Let me see.",
            "tool 0: a 0",
            "model: The tools said [a 0].",
            "user: and then?",
            "model: You said and then?.",
        ];
        assert_eq!(transcript(&second, chat).await, expected, "shut down after {ms} ms");
        let records = records(&second, chat).await;
        check_log(&records);
        let died = records.iter().filter(|record| record.body.as_str().contains(r#""reason":"died""#));
        assert_eq!(died.count(), 0, "a drain is no death: shut down after {ms} ms");
    }
    assert!(stored > 5 && handed_over > 5, "{stored} were stored, {handed_over} handed over");
}

/// The promises of every head about who looks after it.
fn check_heads(heads: &[(ChatId, Head)]) {
    for (_, head) in heads {
        let (state, status) = (state(head), head.index.status);
        let waits = state.queue.iter().any(|entry| !entry.held);
        assert!(status != Status::Waiting || !waits, "a message waits, and nobody runs it: {state:?}");
        let runs = matches!(status, Status::Running | Status::Interrupting | Status::RequiresAction);
        assert_eq!(head.wake_at.is_some(), runs || state.archiving.is_some(), "{status:?}");
        assert!(head.holder.is_none() || matches!(status, Status::Running | Status::Interrupting));
    }
}

#[tokio::test(start_paused = true)]
async fn s5_no_commit_leaves_a_message_waiting_with_nobody_to_run_it() {
    for (at, then) in [
        (At::Before("turn.ended"), Then::GoOn),
        (At::Before("turn.ended"), Then::Fail),
        (At::After("turn.ended"), Then::GoOn),
        (At::After("turn.ended"), Then::Fail),
    ] {
        let world = World::new();
        let staged = Staged::new(world.store.clone());
        let chats = process(&world, RuleModel::new(echo), |ports, _| ports.chats = staged.clone());
        let worker = work(&chats);
        let mut ending = staged.stop(at);
        let (chat, _) = chats.create(new_chat("one")).await.expect("created");
        chats.send(chat, NewMessage::text("two")).await.expect("accepted");
        ending.reached().await;
        // The process dies there.
        drop(worker);
        ending.then(then);
        let next = world.process(vec![]);
        let _worker = work(&next);
        until(&next, chat, Status::Waiting).await;
        let expected = ["user: one", "model: You said one.", "user: two", "model: You said two."];
        assert_eq!(transcript(&next, chat).await, expected, "{at:?}");
        check_heads(&staged.heads());
    }

    // Every way out of a turn.
    let (world, model) = (World::new(), Patient::new());
    let staged = Staged::new(world.store.clone());
    let chats = process(&world, model.model(), |ports, settings| {
        ports.chats = staged.clone();
        ports.tools = vec![CountTool::hanging("hang", Effect::Once) as Arc<dyn Tool>];
        ports.client_tools = vec![client_tool()];
        settings.rules.client_deadline = Duration::from_secs(20);
    });
    let (chat, _) = chats.create(new_chat("one")).await.expect("created");
    let send = async |words: &str| chats.send(chat, NewMessage::text(words)).await.expect("accepted");
    send("two").await;
    chats.interrupt(chat, None).await.expect("nobody runs it yet");
    let _worker = work(&chats);
    until(&chats, chat, Status::Waiting).await;
    for first in ["wait for it", "use hang", "use ask"] {
        send(first).await;
        sleep(Duration::from_secs(1)).await;
        send("next").await;
        chats.interrupt(chat, None).await.expect("it runs");
        until(&chats, chat, Status::Waiting).await;
    }
    send("use ask").await;
    send("after the deadline").await;
    until(&chats, chat, Status::Waiting).await;
    chats.compact(chat, None).await.expect("at rest");
    send("after the summary").await;
    until(&chats, chat, Status::Waiting).await;
    send("wait again").await;
    sleep(Duration::from_secs(1)).await;
    let held = send("held").await.queued.expect("it waits");
    chats.queue(chat, held, QueueAct::Hold, None).await.expect("held");
    chats.interrupt(chat, None).await.expect("it runs");
    until(&chats, chat, Status::Waiting).await;
    chats.queue(chat, held, QueueAct::Release, None).await.expect("released");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(users(&chats, chat).await.last().map(String::as_str), Some("held"));
    check_heads(&staged.heads());
}

#[tokio::test(start_paused = true)]
async fn s6_whoever_sees_that_action_is_required_may_act_at_once() {
    // The client sees it while the holder does not know yet whether its commit landed.
    for (at, then) in [
        (At::Before("action.required"), Then::GoOn),
        (At::After("action.required"), Then::GoOn),
        (At::After("action.required"), Then::Fail),
    ] {
        let world = World::new();
        let staged = Staged::new(world.store.clone());
        let holder = process(&world, RuleModel::new(echo), |ports, _| {
            (ports.chats, ports.client_tools) = (staged.clone(), vec![client_tool()]);
        });
        let worker = work(&holder);
        let client = process(&world, RuleModel::new(echo), |ports, settings| {
            ports.client_tools = vec![client_tool()];
            settings.events.poll_every = Duration::from_millis(10);
        });
        let mut asking = staged.stop(at);
        let (chat, _) = client.create(new_chat("use ask")).await.expect("created");
        let mut events = client.events(chat, Resume::Nothing).await.expect("there");
        let mut view = View::new();
        asking.reached().await;
        if at == At::Before("action.required") {
            let early = follow(&mut events, &mut view, Duration::from_secs(60), |view| {
                view.transcript().status == Status::RequiresAction
            });
            assert!(
                timeout(Duration::from_secs(5), early).await.is_err(),
                "nobody is asked before it is stored"
            );
            asking.then(then);
            submit_when_asked(&client, chat, &mut events, &mut view).await;
        } else {
            submit_when_asked(&client, chat, &mut events, &mut view).await;
            sleep(Duration::from_secs(1)).await;
            asking.then(then);
        }
        until(&client, chat, Status::Waiting).await;
        let expected = [
            "user: use ask",
            "model: Let me see.",
            "tool 0: from the client",
            "model: The tools said [from the client].",
        ];
        assert_eq!(transcript(&client, chat).await, expected, "{at:?}");
        drop(worker);
    }

    // Over stores of every speed.
    let chance = Chance::from_env();
    println!("CHATWRIGHT_SEED={}", chance.seed());
    for _ in 0..30 {
        let world = World::new();
        let holder = process(&world, RuleModel::new(echo), |ports, _| {
            (ports.chats, ports.client_tools) = (slow(&world, &chance, 30), vec![client_tool()]);
        });
        let _worker = work(&holder);
        let client = process(&world, RuleModel::new(echo), |ports, settings| {
            (ports.chats, ports.client_tools) = (slow(&world, &chance, 3), vec![client_tool()]);
            settings.events.poll_every = Duration::from_millis(10);
        });
        let (chat, _) = client.create(new_chat("use ask")).await.expect("created");
        let mut events = client.events(chat, Resume::Nothing).await.expect("there");
        submit_when_asked(&client, chat, &mut events, &mut View::new()).await;
        until(&client, chat, Status::Waiting).await;
        assert_eq!(transcript(&client, chat).await.len(), 4);
    }
}

async fn submit_when_asked(client: &Chats, chat: ChatId, events: &mut EventStream, view: &mut View) {
    let asked = |view: &View| view.transcript().status == Status::RequiresAction;
    follow(events, view, Duration::from_secs(60), asked).await;
    let results = vec![(0, Output::text("from the client"))];
    client.submit(chat, results, None).await.expect("what is shown is so");
}

#[tokio::test(start_paused = true)]
async fn s7_a_message_right_after_a_stop_loses_nothing_of_what_was_said() {
    for (at, then) in [
        (At::Before("attempt.ended"), Then::GoOn),
        (At::Before("attempt.ended"), Then::Fail),
        (At::After("attempt.ended"), Then::GoOn),
        (At::After("attempt.ended"), Then::Fail),
    ] {
        for slow_to_learn in [false, true] {
            let world = World::new();
            let staged = Staged::new(world.store.clone());
            let chats = process(&world, RuleModel::new(echo), |ports, _| {
                ports.chats = staged.clone();
                if slow_to_learn {
                    ports.bus = deaf(&world);
                }
            });
            let _worker = work(&chats);
            let (chat, _) = chats.create(new_chat("stall")).await.expect("created");
            let mut events = chats.events(chat, Resume::Nothing).await.expect("there");
            let mut view = View::new();
            follow(&mut events, &mut view, Duration::from_secs(60), |view| preview(view).len() > 5).await;
            let seen = preview(&view);
            let mut sealing = staged.stop(at);
            chats.interrupt(chat, None).await.expect("it runs");
            if slow_to_learn {
                chats.send(chat, NewMessage::text("next")).await.expect("accepted");
                sealing.reached().await;
            } else {
                sealing.reached().await;
                chats.send(chat, NewMessage::text("next")).await.expect("accepted");
            }
            sealing.then(then);
            sleep(Duration::from_secs(1)).await;
            until(&chats, chat, Status::Waiting).await;
            let lines = transcript(&chats, chat).await;
            let expected =
                ["user: stall", "model: I begin to  (stopped)", "user: next", "model: You said next."];
            assert_eq!(lines, expected, "{at:?} {then:?}, slow to learn: {slow_to_learn}");
            assert!(lines[1].starts_with(&format!("model: {seen}")), "what was seen, {seen:?}, stays");
            check_log(&records(&chats, chat).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s8_every_commit_rings_and_viewers_elsewhere_learn_at_once_that_results_were_accepted() {
    let (world, model, bus) = (World::new(), Patient::new(), Kept::open());
    let staged = Staged::new(world.store.clone());
    let here = |ports: &mut Ports, settings: &mut Settings| {
        (ports.chats, ports.bus, ports.client_tools) = (staged.clone(), bus.clone(), vec![client_tool()]);
        ports.tools = vec![CountTool::new("a", Effect::Once) as Arc<dyn Tool>];
        settings.rules.client_deadline = Duration::from_secs(600);
        settings.events.poll_every = Duration::from_secs(24 * 3_600);
    };
    let (chats, other) = (process(&world, model.model(), here), process(&world, model.model(), here));
    let worker = work(&chats);
    let (chat, _) = chats.create(new_chat("use ask")).await.expect("created");
    until(&chats, chat, Status::RequiresAction).await;
    // Nobody goes on with the turn.
    drop(worker);
    let mut events = other.events(chat, Resume::Nothing).await.expect("there");
    let mut view = View::new();
    let asked = |view: &View| view.transcript().status == Status::RequiresAction && view.is_caught_up();
    follow(&mut events, &mut view, Duration::from_secs(5), asked).await;
    chats.submit(chat, vec![(0, Output::text("ok"))], None).await.expect("complete");
    let runs = |view: &View| view.transcript().status == Status::Running;
    follow(&mut events, &mut view, Duration::from_millis(100), runs).await;

    // Whatever else is committed, by commands and by workers.
    let _worker = work(&chats);
    until(&chats, chat, Status::Waiting).await;
    let send = async |words: &str| chats.send(chat, NewMessage::text(words)).await.expect("accepted");
    send("use a").await;
    until(&chats, chat, Status::Waiting).await;
    send("use ask").await;
    send("after the deadline").await;
    sleep(Duration::from_secs(660)).await;
    until(&chats, chat, Status::Waiting).await;
    send("wait").await;
    model.streams(1).await;
    let queued = send("queued").await.queued.expect("it waits");
    for act in
        [QueueAct::Hold, QueueAct::Move(0), QueueAct::Edit(vec![Part::text("edited")]), QueueAct::Release]
    {
        chats.queue(chat, queued, act, None).await.expect("it waits");
    }
    chats.interrupt(chat, None).await.expect("it runs");
    until(&chats, chat, Status::Waiting).await;
    chats.compact(chat, None).await.expect("at rest");
    until(&chats, chat, Status::Waiting).await;
    chats.clear(chat, None).await.expect("at rest");
    chats.edit(chat, NewEdit::text(Seq::new(2), "anew")).await.expect("edited");
    until(&chats, chat, Status::Waiting).await;
    let mut child = new_chat("wait");
    child.parent = Some(chat);
    let (child, _) = chats.create(child).await.expect("created");
    model.streams(1).await;
    chats
        .set(chat, NewSettings { title: Title::new("T").ok(), ..NewSettings::default() }, None)
        .await
        .expect("set");
    chats.archive(chat, true, None).await.expect("stopped");
    while !chats.head(chat).await.expect("there").index.archived {
        sleep(Duration::from_millis(5)).await;
    }
    chats.unarchive(chat, None).await.expect("archived");

    let mut rung: BTreeMap<Topic, BTreeSet<u64>> = BTreeMap::new();
    for (topic, frame) in bus.frames() {
        if let Ok(revision) = frame.try_into() {
            rung.entry(topic).or_default().insert(u64::from_be_bytes(revision));
        }
    }
    for (chat, head) in staged.heads() {
        let topic = Topic::new(format!("chat/{chat}")).expect("short");
        let revision = head.revision.get();
        let rang = rung.get(&topic).is_some_and(|rung| rung.contains(&revision));
        assert!(rang, "revision {revision} of {chat} rang:\n{}", log(&chats, chat).await);
    }
    assert!(staged.heads().iter().any(|(id, _)| *id == child));
}

async fn archived(chats: &Chats, chat: ChatId) {
    let archived = async {
        while !chats.head(chat).await.is_ok_and(|head| head.index.archived) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(120), archived).await.expect("it is archived");
}

fn member(root: ChatId, words: &str) -> NewChat {
    let mut new = new_chat(words);
    new.parent = Some(root);
    new
}

#[tokio::test(start_paused = true)]
async fn s9_under_an_archived_root_no_member_runs_and_none_joins() {
    let (world, model) = (World::new(), Patient::new());
    let staged = Staged::new(world.store.clone());
    let chats = process(&world, model.model(), |ports, _| {
        (ports.chats, ports.client_tools) = (staged.clone(), vec![client_tool()]);
        ports.tools = vec![CountTool::hanging("hang", Effect::Once) as Arc<dyn Tool>];
    });
    let _worker = work(&chats);
    let (root, _) = chats.create(new_chat("wait")).await.expect("created");
    let mut members = Vec::new();
    for words in ["wait", "use hang", "use ask", "hello"] {
        members.push(chats.create(member(root, words)).await.expect("created").0);
    }
    model.streams(2).await;
    sleep(Duration::from_secs(1)).await;
    // One has joined and is not there yet when all others are archived already.
    let mut creation = staged.stop(At::Before("chat.created"));
    let late = chats.create(member(root, "late"));
    let (late, ()) = tokio::join!(late, async {
        creation.reached().await;
        chats.archive(root, true, None).await.expect("stopped");
        // Others come while it is archived.
        let mut joining = JoinSet::new();
        for n in 0..5 {
            let (chats, new) = (chats.clone(), member(root, &format!("joins {n}")));
            joining.spawn(async move { chats.create(new).await });
        }
        for joined in joining.join_all().await {
            assert!(matches!(joined, Err(Failed::Refused(Refused::Archived))), "{joined:?}");
        }
        archived(&chats, root).await;
        creation.then(Then::GoOn);
    });
    members.extend(late.map(|(late, _)| late));
    for id in &members {
        archived(&chats, *id).await;
        let head = chats.head(*id).await.expect("there");
        assert_eq!((head.index.status, head.holder, head.wake_at), (Status::Waiting, None, None));
    }
    let mut open: BTreeSet<ChatId> = BTreeSet::new();
    for (id, head) in staged.heads() {
        match head.index.archived {
            true if id == root => assert!(open.is_disjoint(&members[..4].iter().copied().collect())),
            true => drop(open.remove(&id)),
            false => drop(open.insert(id)),
        }
    }
    let asked = model.asked();
    assert!(!asked.contains(&"late".to_owned()), "nothing of it ran: {asked:?}");
}

#[tokio::test(start_paused = true)]
async fn s10_a_title_that_is_written_while_the_chat_is_claimed_delays_no_turn() {
    let title = || NewSettings { title: Title::new("Mine").ok(), ..NewSettings::default() };
    for (first, then) in [
        (At::Before("claimed"), Then::GoOn),
        (At::Before("claimed"), Then::Fail),
        (At::After("claimed"), Then::Fail),
        (At::Before("chat.changed"), Then::GoOn),
        (At::After("chat.changed"), Then::Fail),
    ] {
        let (world, model) = (World::new(), Patient::new());
        let staged = Staged::new(world.store.clone());
        let chats = process(&world, model.model(), |ports, settings| {
            (ports.chats, ports.bus) = (staged.clone(), deaf(&world));
            // It is found at once, or not at all.
            blind(settings);
        });
        let _worker = work(&chats);
        // Another process writes the title: it calls nobody here.
        let other = process(&world, model.model(), |ports, _| {
            (ports.chats, ports.bus) = (staged.clone(), deaf(&world));
        });
        sleep(Duration::from_secs(1)).await;
        let mut stop = staged.stop(first);
        let begun = Instant::now();
        let (chat, setting) = match first {
            At::Before("claimed") | At::After("claimed") => {
                let (chat, _) = chats.create(new_chat("wait")).await.expect("created");
                stop.reached().await;
                other.set(chat, title(), None).await.expect("set");
                stop.then(then);
                (chat, JoinSet::new())
            }
            _ => {
                let (chat, _) = chats.create(NewChat::new(new_chat("").owner)).await.expect("created");
                let mut tasks = JoinSet::new();
                tasks.spawn(async move { other.set(chat, title(), None).await });
                stop.reached().await;
                chats.send(chat, NewMessage::text("wait")).await.expect("accepted");
                model.streams(1).await;
                stop.then(then);
                (chat, tasks)
            }
        };
        for set in setting.join_all().await {
            set.expect("set");
        }
        model.streams(1).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{first:?}: after {:?}", begun.elapsed());
        model.go();
        until(&chats, chat, Status::Waiting).await;
        let text = log(&chats, chat).await;
        assert_eq!(
            (text.matches("claimed").count(), text.matches("freed").count()),
            (1, 0),
            "{first:?}:\n{text}"
        );
        assert_eq!(text.matches("chat.changed").count(), 1, "{first:?}:\n{text}");
        assert_eq!(chats.head(chat).await.expect("there").index.title.as_str(), "Mine");
        assert_eq!(model.asked(), ["wait"]);
    }
}

/// A name as title and as label.
fn name(name: &str) -> NewSettings {
    let mut labels = Labels::default();
    labels.set("name", name).expect("short");
    NewSettings { title: Title::new(name).ok(), labels: Some(labels), model: None, effort: None }
}

/// Titles are set by users only: what is tested is that two of them meet whole.
#[tokio::test(start_paused = true)]
async fn s11_names_that_are_given_at_the_same_time_come_one_after_the_other_and_whole() {
    let chance = Chance::from_env();
    println!("CHATWRIGHT_SEED={}", chance.seed());
    for _ in 0..10 {
        let world = World::new();
        let processes: Vec<Chats> = (0..3)
            .map(|_| {
                process(&world, RuleModel::new(echo), |ports, _| ports.chats = slow(&world, &chance, 20))
            })
            .collect();
        let sure = world.process(vec![]);
        let (chat, _) = sure.create(new_chat("hello")).await.expect("created");
        let mut naming = JoinSet::new();
        for n in 0..9 {
            let chats = processes[n % 3].clone();
            naming.spawn(async move {
                let named = chats.set(chat, name(&format!("name {n}")), None).await;
                (n, named.expect("at most nine meet").seq)
            });
        }
        let mut given = BTreeMap::new();
        loop {
            let index = sure.head(chat).await.expect("there").index;
            let label = index.labels.value("name").unwrap_or_default();
            assert_eq!(label, index.title.as_str(), "never half");
            match timeout(Duration::from_millis(1), naming.join_next()).await {
                Ok(Some(named)) => {
                    let (n, seq) = named.expect("no panic");
                    assert_eq!(given.insert(seq, n), None, "each has a place of its own");
                }
                Ok(None) => break,
                Err(_) => {}
            }
        }
        assert_eq!(given.len(), 9);
        let (_, last) = given.last_key_value().expect("nine");
        let title = sure.head(chat).await.expect("there").index.title;
        assert_eq!(title.as_str(), format!("name {last}"), "the last one stays");
    }

    // One whose answer is lost does not come again over the name that followed it.
    let world = World::new();
    let staged = Staged::new(world.store.clone());
    let unlucky = process(&world, RuleModel::new(echo), |ports, _| ports.chats = staged.clone());
    let chats = world.process(vec![]);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    let mut setting = staged.stop(At::After("chat.changed"));
    let (first, second) = tokio::join!(unlucky.set(chat, name("first"), None), async {
        setting.reached().await;
        let second = chats.set(chat, name("second"), None).await;
        setting.then(Then::Fail);
        second
    });
    assert!(first.expect("it landed").seq < second.expect("set").seq);
    assert_eq!(chats.head(chat).await.expect("there").index.title.as_str(), "second");
}

#[tokio::test(start_paused = true)]
async fn s12_messages_run_in_the_order_in_which_the_queue_lists_them() {
    let chance = Chance::from_env();
    println!("CHATWRIGHT_SEED={}", chance.seed());
    for _ in 0..10 {
        let world = World::new();
        let processes: Vec<Chats> = (0..3)
            .map(|_| process(&world, RuleModel::new(echo), |ports, _| ports.chats = slow(&world, &chance, 5)))
            .collect();
        let sure = world.process(vec![]);
        let (chat, _) = sure.create(new_chat("first")).await.expect("created");
        let mut users_at_once = JoinSet::new();
        for n in 0..12 {
            let (chats, first, to) = (processes[n % 3].clone(), chance.below(100), chance.below(12));
            users_at_once.spawn(async move {
                sleep(Duration::from_millis(first)).await;
                let sent =
                    chats.send(chat, NewMessage::text(format!("message {n}"))).await.expect("accepted");
                let id = sent.queued.expect("a turn runs");
                let to = u32::try_from(to).expect("small");
                if n % 2 == 0 {
                    chats.queue(chat, id, QueueAct::Move(to), None).await.expect("it waits");
                }
            });
        }
        users_at_once.join_all().await;
        let listed = sure.queued(chat).await.expect("there");
        let mut events = sure.events(chat, Resume::Nothing).await.expect("there");
        let mut view = View::new();
        follow(&mut events, &mut view, Duration::from_secs(5), View::is_caught_up).await;
        let shown: Vec<QueueId> = view.transcript().queue.iter().map(|queued| queued.id).collect();
        assert_eq!(shown, listed.iter().map(|queued| queued.id).collect::<Vec<_>>());
        let words =
            |queued: &chatwright_loop::QueuedMessage| queued.message.content.iter().map(words_of).collect();
        let mut expected = vec!["first".to_owned()];
        expected.extend(listed.iter().map(words));
        assert_eq!(expected.len(), 13);
        let _worker = work(&processes[0]);
        until(&sure, chat, Status::Waiting).await;
        assert_eq!(users(&sure, chat).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn s13_what_happens_while_a_viewer_or_a_holder_begins_is_not_missed() {
    // A viewer, whose first read is slow.
    let world = World::new();
    let staged = Staged::new(world.store.clone());
    let viewers = process(&world, RuleModel::new(echo), |ports, settings| {
        ports.chats = staged.clone();
        blind(settings);
    });
    let chats = world.process(vec![]);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    let mut reading = staged.stop(At::Head);
    let (events, ()) = tokio::join!(viewers.events(chat, Resume::Nothing), async {
        reading.reached().await;
        chats.set(chat, name("new"), None).await.expect("set");
        reading.then(Then::GoOn);
    });
    let (mut events, mut view) = (events.expect("there"), View::new());
    let named = |view: &View| view.transcript().title.as_str() == "new";
    follow(&mut events, &mut view, Duration::from_secs(1), named).await;

    // A holder, whose claim is slow: before it has a task that could be told.
    let model = Patient::new();
    let holder = process(&world, model.model(), |ports, settings| {
        ports.chats = staged.clone();
        blind(settings);
    });
    let _worker = work(&holder);
    sleep(Duration::from_secs(5)).await;
    let mut claiming = staged.stop(At::After("claimed"));
    let (chat, _) = holder.create(new_chat("wait")).await.expect("created");
    claiming.reached().await;
    chats.interrupt(chat, None).await.expect("it runs");
    assert_eq!(
        chats.head(chat).await.expect("there").index.status,
        Status::Interrupting,
        "its holder is told"
    );
    claiming.then(Then::GoOn);
    let begun = Instant::now();
    until(&chats, chat, Status::Waiting).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "after {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn s16_a_summary_that_is_asked_for_as_the_turn_ends_is_made_once() {
    for (at, then) in [
        (At::Before("turn.ended"), Then::GoOn),
        (At::Before("turn.ended"), Then::Fail),
        (At::After("turn.ended"), Then::GoOn),
        (At::After("turn.ended"), Then::Fail),
    ] {
        let (world, model) = (World::new(), Patient::new());
        let staged = Staged::new(world.store.clone());
        let chats = process(&world, model.model(), |ports, settings| {
            (ports.chats, ports.bus) = (staged.clone(), deaf(&world));
            blind(settings);
        });
        let _worker = work(&chats);
        sleep(Duration::from_secs(5)).await;
        let (chat, _) = chats.create(new_chat("one")).await.expect("created");
        until(&chats, chat, Status::Waiting).await;
        let mut ending = staged.stop(at);
        chats.send(chat, NewMessage::text("two")).await.expect("accepted");
        ending.reached().await;
        chats.compact(chat, None).await.expect("accepted");
        ending.then(then);
        let begun = Instant::now();
        sleep(Duration::from_secs(1)).await;
        until(&chats, chat, Status::Waiting).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "after {:?}", begun.elapsed());
        let text = log(&chats, chat).await;
        assert_eq!(text.matches("context.compacted").count(), 1, "{at:?} {then:?}:\n{text}");
        let asked = model.asked();
        assert_eq!(asked[..2], ["one", "two"], "the turn was not begun anew");
        assert!(asked[2].starts_with("Summarise") && asked.len() == 3, "{asked:?}");
        assert_eq!(state(&chats.head(chat).await.expect("there")).compact, None);
        check_log(&records(&chats, chat).await);
    }
}

#[tokio::test(start_paused = true)]
async fn s17_a_queued_message_enters_history_once_or_was_removed() {
    // What a turn that ends would promote is removed, promoted or moved away meanwhile.
    let acts: [(QueueAct, &[&str]); 4] = [
        (QueueAct::Remove, &["wait", "b"]),
        (QueueAct::Promote, &["wait", "a", "b"]),
        (QueueAct::Move(1), &["wait", "b", "a"]),
        (QueueAct::Edit(vec![Part::text("A")]), &["wait", "A", "b"]),
    ];
    for (act, expected) in acts {
        for (at, then) in
            [(At::Before("queue.promoted"), Then::GoOn), (At::Before("queue.promoted"), Then::Fail)]
        {
            let (world, model) = (World::new(), Patient::new());
            let staged = Staged::new(world.store.clone());
            let chats = process(&world, model.model(), |ports, _| ports.chats = staged.clone());
            let _worker = work(&chats);
            let (chat, _) = chats.create(new_chat("wait")).await.expect("created");
            model.streams(1).await;
            let a =
                chats.send(chat, NewMessage::text("a")).await.expect("accepted").queued.expect("it waits");
            chats.send(chat, NewMessage::text("b")).await.expect("accepted");
            let mut promoting = staged.stop(at);
            model.go();
            promoting.reached().await;
            chats.queue(chat, a, act.clone(), None).await.expect("it waits");
            promoting.then(then);
            sleep(Duration::from_secs(1)).await;
            until(&chats, chat, Status::Waiting).await;
            assert_eq!(users(&chats, chat).await, expected, "{act:?} {then:?}");
            let gone = chats.queue(chat, a, act.clone(), None).await.expect_err("it does not wait");
            assert!(matches!(gone, Failed::Refused(Refused::NotFound { .. })), "{gone}");
        }
    }

    // Everybody at once.
    let chance = Chance::from_env();
    println!("CHATWRIGHT_SEED={}", chance.seed());
    for _ in 0..15 {
        let world = World::new();
        let processes: Vec<Chats> = (0..3)
            .map(|_| process(&world, RuleModel::new(echo), |ports, _| ports.chats = slow(&world, &chance, 5)))
            .collect();
        let sure = world.process(vec![]);
        let (chat, _) = sure.create(new_chat("first")).await.expect("created");
        let mut ids = Vec::new();
        for n in 0..8 {
            let sent = sure.send(chat, NewMessage::text(format!("message {n}"))).await.expect("accepted");
            ids.push(sent.queued.expect("a turn runs"));
        }
        let _workers = (work(&processes[0]), work(&processes[1]));
        let mut acting = JoinSet::new();
        for n in 0..16 {
            let (chats, at) = (processes[n % 3].clone(), chance.below(200));
            let which = usize::try_from(chance.below(8)).expect("small");
            let (id, removes) = (ids[which], n % 4 == 0);
            acting.spawn(async move {
                sleep(Duration::from_millis(at)).await;
                let act = if removes { QueueAct::Remove } else { QueueAct::Promote };
                match chats.queue(chat, id, act, None).await {
                    Ok(_) => removes.then_some(which),
                    Err(Failed::Refused(Refused::NotFound { .. } | Refused::Busy)) => None,
                    Err(error) => panic!("{error}"),
                }
            });
        }
        let removed: BTreeSet<usize> = acting.join_all().await.into_iter().flatten().collect();
        until(&sure, chat, Status::Waiting).await;
        let mut entered = users(&sure, chat).await;
        entered.sort();
        let mut expected: Vec<String> =
            (0..8).filter(|n| !removed.contains(n)).map(|n| format!("message {n}")).collect();
        expected.insert(0, "first".to_owned());
        assert_eq!(entered, expected);
        check_log(&records(&sure, chat).await);
    }
}

#[tokio::test(start_paused = true)]
async fn s18_a_commit_whose_answer_is_lost_is_not_done_twice() {
    let run = async |rates: FlakyRates, seed: u64| {
        let world = World::new();
        let (once, model) = (CountTool::new("once", Effect::Once), Patient::new());
        let chats = process(&world, model.model(), |ports, _| {
            let store = Arc::new(world.memory.clone());
            ports.chats = Arc::new(Flaky::new(store, rates, Chance::new(seed)));
            (ports.tools, ports.client_tools) = (vec![once.clone() as Arc<dyn Tool>], vec![client_tool()]);
        });
        let (chat, _) = chats.create(new_chat("use once,once")).await.expect("created");
        chats.send(chat, NewMessage::text("use ask")).await.expect("accepted");
        let _worker = work(&chats);
        until(&chats, chat, Status::RequiresAction).await;
        chats.submit(chat, vec![(0, Output::text("ok"))], None).await.expect("complete");
        until(&chats, chat, Status::Waiting).await;
        chats.compact(chat, None).await.expect("at rest");
        until(&chats, chat, Status::Waiting).await;
        assert_eq!(once.started(), 2);
        (log(&chats, chat).await, model.asked())
    };
    let sure = run(FlakyRates::default(), 0).await;
    assert_eq!(sure.0.lines().count(), 14, "{}", sure.0);
    for seed in 0..5 {
        let after = FlakyRates { after: 100, ..FlakyRates::default() };
        let later = FlakyRates { later: 100, ..FlakyRates::default() };
        let mixed = FlakyRates { before: 20, after: 30, later: 30, reads: 10 };
        for rates in [after, later, mixed] {
            assert_eq!(run(rates, seed).await, sure, "{rates:?}, seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s21_a_chat_has_one_task_at_a_time_in_a_process_however_slow_the_old_one_is_to_die() {
    let (world, model) = (World::new(), Patient::new());
    let chats = process(&world, model.model(), |ports, settings| {
        ports.bus = deaf(&world);
        // The old task learns of the edits only when it wants to store its answer.
        settings.held_every = Duration::from_secs(3_600);
    });
    let _worker = work(&chats);
    let (chat, receipt) = chats.create(new_chat("wait")).await.expect("created");
    model.streams(1).await;
    let mut seq = receipt.seq.next();
    for words in ["wait too", "wait as well", "hello"] {
        let edited = chats.edit(chat, NewEdit::text(seq, words)).await.expect("edited");
        // Called for by the command and found by every poll, while the old task is alive.
        sleep(Duration::from_secs(5)).await;
        let after = records(&chats, chat).await;
        let message = |record: &&chatwright_core::Record| {
            record.seq > edited.seq && matches!(record.open().expect("ours").body, Body::MessageUser(_))
        };
        seq = after.iter().find(message).expect("it is there").seq;
    }
    model.go();
    until(&chats, chat, Status::Waiting).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(model.most.load(Ordering::SeqCst), 1, "one at a time");
    assert_eq!(model.asked(), ["wait", "hello"]);
    assert_eq!(transcript(&chats, chat).await.last().map(String::as_str), Some("model: You said hello."));
    check_log(&records(&chats, chat).await);

    // Two sessions of one process want the same chats.
    let chance = Chance::from_env();
    println!("CHATWRIGHT_SEED={}", chance.seed());
    let world = World::new();
    let chats = process(&world, RuleModel::new(echo), |ports, _| ports.chats = slow(&world, &chance, 10));
    let _workers = (work(&chats), work(&chats));
    for _ in 0..40 {
        let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
        until(&chats, chat, Status::Waiting).await;
        assert_eq!(log(&chats, chat).await, PLAIN);
    }
}
