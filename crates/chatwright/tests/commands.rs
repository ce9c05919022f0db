//! Every command, through the facade, on memory and on SQLite.

use std::sync::Arc;
use std::time::Duration;

use chatwright::core::content::{Output, Part};
use chatwright::core::head::{CallKind, Labels, State, Status, Title};
use chatwright::core::model::{
    Finish, FinishReason, Message, ModelCall, ModelId, ModelPart, ReasoningEffort, Role,
};
use chatwright::core::port::{ChatStore, LanguageModel, ModelStream, SessionStore};
use chatwright::core::record::Body;
use chatwright::core::tool::{Effect, ToolSpec};
use chatwright::memory::{MemoryBus, MemoryStore};
use chatwright::sqlite::SqliteStore;
use chatwright::{
    Asked, Busy, Chat, Chatwright, Failed, NewChat, NewEdit, NewMessage, NewSettings, QueueAct, Refused,
    Resume, Settings, SystemClock, UserId, View,
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::task::JoinSet;

/// Answers by what the last message says, and remembers what it was asked.
#[derive(Clone, Default)]
struct Rule(Arc<Mutex<Vec<Vec<String>>>>);

fn words(message: &Message) -> String {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "model",
        Role::Tool => "tool",
    };
    let text = |part: &Part| match part {
        // Without what the loop says to the model between brackets.
        Part::Text { text, .. } if text.starts_with('[') => {
            text.split_once("]\n\n").map(|(_, rest)| rest.to_owned()).unwrap_or_default()
        }
        Part::Text { text, .. } => text.clone(),
        Part::ToolResult { output: Output::Text { text } | Output::Error { text }, .. } => text.clone(),
        Part::ToolCall { name, .. } => format!("<{name}>"),
        _ => String::new(),
    };
    format!("{role}: {}", message.content.iter().map(text).collect::<String>())
}

impl LanguageModel for Rule {
    fn id(&self) -> ModelId {
        ModelId { provider: "test".into(), model: "rule".into() }
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        let asked: Vec<String> = call.prompt.iter().map(words).collect();
        let last = asked.last().cloned().unwrap_or_default();
        self.0.lock().push(asked);
        let text = |delta: String| ModelPart::TextDelta { id: "0".into(), delta };
        let finish = |reason| ModelPart::Finish(Finish { reason, ..Finish::default() });
        let call = |id: &str| ModelPart::ToolCall {
            id: id.into(),
            name: "ask_client".into(),
            input: "{}".to_owned(),
            provider_executed: false,
            metadata: Default::default(),
        };
        let parts = match &*last {
            last if last.contains("Summarise") => {
                vec![text("They spoke.".to_owned()), finish(FinishReason::Stop)]
            }
            last if last.contains("slowly") => {
                let begun = futures::stream::iter([text("I beg".to_owned())]);
                return Box::pin(begun.chain(futures::stream::pending()));
            }
            last if last.contains("fail") => {
                let failure =
                    chatwright::core::error::Failure::new("test", chatwright::core::error::Cause::Status);
                vec![ModelPart::Failure(Box::new(failure.with_status(401)))]
            }
            last if last.contains("client twice") => {
                vec![call("a"), call("b"), finish(FinishReason::ToolCalls)]
            }
            last => vec![text(format!("re {last}")), finish(FinishReason::Stop)],
        };
        Box::pin(futures::stream::iter(parts))
    }
}

struct World {
    chatwright: Chatwright,
    model: Rule,
    _worker: JoinSet<()>,
    _folder: Option<tempfile::TempDir>,
}

impl World {
    fn over(store: impl ChatStore + SessionStore, folder: Option<tempfile::TempDir>) -> Self {
        let model = Rule::default();
        let mut settings = Settings::default();
        settings.rules.client_deadline = Duration::from_millis(300);
        let client = ToolSpec::new(
            "ask_client",
            "Asks the client.",
            serde_json::json!({"type": "object"}),
            Effect::Pure,
        );
        let chatwright = Chatwright::builder(store, MemoryBus::new())
            .model("rule", model.clone())
            .model("other", Rule(Arc::clone(&model.0)))
            .client_tool(client)
            .settings(settings)
            .build()
            .expect("a valid setup");
        let worker = chatwright.worker();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { worker.run(std::future::pending()).await });
        Self { chatwright, model, _worker: tasks, _folder: folder }
    }

    fn memory() -> Self {
        Self::over(MemoryStore::new(Arc::new(SystemClock::new())), None)
    }

    fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let store = SqliteStore::open(folder.path().join("chats.db")).expect("an empty folder");
        Self::over(store, Some(folder))
    }

    fn new_chat(&self) -> NewChat {
        let mut new = NewChat::new(UserId::new("ada").expect("short"));
        new.system = Some("Be brief.".to_owned());
        new
    }

    async fn chat(&self) -> Chat {
        self.chatwright.create(self.new_chat()).await.expect("created")
    }

    /// What the model was asked last.
    fn asked(&self) -> Vec<String> {
        self.model.0.lock().last().cloned().unwrap_or_default()
    }
}

/// Waits until the chat does this.
async fn until(chat: &Chat, status: Status) {
    let reached = async {
        while chat.head().await.expect("there").index.status != status {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("it gets there");
}

/// Sends and waits for the answer.
async fn turn(chat: &Chat, words: &str) {
    chat.send(words).await.expect("accepted");
    until(chat, Status::Waiting).await;
}

/// The chat streams an answer that does not end.
async fn busy(chat: &Chat) {
    chat.send("slowly").await.expect("accepted");
    let mut view = View::new();
    let mut events = chat.events(Resume::Nothing).await.expect("there");
    let streams = async {
        while view.transcript().preview.is_none() {
            view.apply(&events.next().await.expect("the stream goes on"));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), streams).await.expect("it streams");
}

async fn view(chat: &Chat) -> View {
    let mut view = View::new();
    let mut events = chat.events(Resume::Nothing).await.expect("there");
    while !view.is_caught_up() {
        view.apply(&events.next().await.expect("the stream goes on"));
    }
    view
}

/// What people see.
async fn seen(chat: &Chat) -> Vec<String> {
    let view = view(chat).await;
    let messages = view.transcript().messages.iter();
    messages
        .filter(|message| message.role != Role::System)
        .map(|message| words(&Message::new(message.role, message.content.clone())))
        .collect()
}

/// Where that message stands.
async fn place(chat: &Chat, words: &str) -> chatwright::core::Seq {
    let records = chat.records(chatwright::core::Seq::ZERO).await.expect("there");
    let of = |body: Body| match body {
        Body::MessageUser(message) => message.content == [Part::text(words)],
        _ => false,
    };
    let found = records.iter().rev().find(|record| of(record.open().expect("ours").body));
    found.expect("it is there").seq
}

async fn state(chat: &Chat) -> State {
    chat.head().await.expect("there").state.decode().expect("ours")
}

fn refusal(error: Failed) -> Refused {
    match error {
        Failed::Refused(refused) => refused,
        error => panic!("not refused: {error}"),
    }
}

macro_rules! on_both_stores {
    ($($name:ident,)*) => {
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(super::World::memory()).await; })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name(super::World::sqlite()).await; })*
        }
    };
}

on_both_stores! {
    an_edit_cuts_history_clears_the_queue_and_runs,
    an_edit_stops_what_runs_and_nothing_of_it_lands,
    an_edit_below_a_summary_brings_back_what_it_covered,
    queued_messages_are_listed_moved_edited_held_released_and_removed,
    a_promoted_message_is_next_and_stops_the_turn,
    after_an_error_mine_now_comes_before_what_waits,
    the_clients_results_are_complete_or_refused,
    a_client_that_does_not_answer_is_not_waited_for_for_ever,
    a_stop_while_the_client_is_asked_asks_no_model,
    a_summary_takes_the_place_of_older_history,
    a_summary_that_is_asked_for_while_a_turn_runs_comes_after_it,
    a_cleared_context_keeps_the_instructions_and_what_people_see,
    a_family_is_stopped_and_archived_and_comes_back,
    a_family_that_does_something_is_archived_only_if_it_may_be_stopped,
    a_child_inherits_and_stays_within_its_depth,
    title_labels_model_and_effort_change_nothing_else,
    the_same_key_gives_the_first_receipt_and_another_body_is_refused,
}

async fn an_edit_cuts_history_clears_the_queue_and_runs(world: World) {
    let chat = world.chat().await;
    turn(&chat, "one").await;
    turn(&chat, "two").await;
    let receipt = chat.edit(NewEdit::text(place(&chat, "one").await, "uno")).await.expect("edited");
    assert!(receipt.message.is_some());
    until(&chat, Status::Waiting).await;
    assert_eq!(seen(&chat).await, ["user: uno", "model: re user: uno"]);
    assert_eq!(world.asked(), ["system: Be brief.", "user: uno"]);
    let gone = chat.edit(NewEdit::text(place(&chat, "two").await, "due")).await.expect_err("it was cut");
    assert_eq!(refusal(gone).to_string(), "there is no such message in history");
    let answer = chatwright::core::Seq::new(2);
    let wrong = chat.edit(NewEdit::text(answer, "x")).await.expect_err("no message of a user");
    assert!(refusal(wrong).to_string().contains("record 2 is no message of a user"));
}

async fn an_edit_stops_what_runs_and_nothing_of_it_lands(world: World) {
    let chat = world.chat().await;
    turn(&chat, "one").await;
    busy(&chat).await;
    chat.send("queued").await.expect("accepted");
    chat.edit(NewEdit::text(place(&chat, "slowly").await, "quickly")).await.expect("edited");
    until(&chat, Status::Waiting).await;
    let expected = ["user: one", "model: re user: one", "user: quickly", "model: re user: quickly"];
    assert_eq!(seen(&chat).await, expected);
    assert!(chat.queued().await.expect("there").is_empty());
}

async fn an_edit_below_a_summary_brings_back_what_it_covered(world: World) {
    let chat = world.chat().await;
    for words in ["one", "two", "three"] {
        turn(&chat, words).await;
    }
    chat.compact(Asked::default()).await.expect("at rest");
    until(&chat, Status::Waiting).await;
    turn(&chat, "four").await;
    assert_eq!(world.asked()[1], "user: They spoke.");
    chat.edit(NewEdit::text(place(&chat, "two").await, "due")).await.expect("edited");
    until(&chat, Status::Waiting).await;
    assert_eq!(world.asked(), ["system: Be brief.", "user: one", "model: re user: one", "user: due"]);
    turn(&chat, "more").await;
    assert_eq!(world.asked()[1], "user: one", "also for whoever takes the chat anew");
}

async fn queued_messages_are_listed_moved_edited_held_released_and_removed(world: World) {
    let chat = world.chat().await;
    busy(&chat).await;
    let mut ids = Vec::new();
    for words in ["a", "b", "c"] {
        ids.push(chat.send(words).await.expect("accepted").queued.expect("it waits"));
    }
    let list = async || -> Vec<(String, bool)> {
        let queued = chat.queued().await.expect("there");
        queued.iter().map(|q| (words(&Message::new(Role::User, q.message.content.clone())), q.held)).collect()
    };
    let text = |words: &str, held| (format!("user: {words}"), held);
    assert_eq!(list().await, [text("a", false), text("b", false), text("c", false)]);
    chat.queue(ids[2], QueueAct::Move(0), None).await.expect("moved");
    chat.queue(ids[0], QueueAct::Edit(vec![Part::text("A")]), None).await.expect("edited");
    chat.queue(ids[1], QueueAct::Hold, None).await.expect("held");
    assert_eq!(list().await, [text("c", false), text("A", false), text("b", true)]);
    chat.queue(ids[2], QueueAct::Remove, None).await.expect("removed");
    let gone = chat.queue(ids[2], QueueAct::Hold, None).await.expect_err("it is gone");
    assert_eq!(refusal(gone).to_string(), "there is no such queued message");
    chat.interrupt(None).await.expect("it runs");
    until(&chat, Status::Waiting).await;
    let expected = ["user: slowly", "model: I beg", "user: A", "model: re user: A"];
    assert_eq!(seen(&chat).await, expected, "what is held waits");
    chat.queue(ids[1], QueueAct::Release, None).await.expect("released");
    until(&chat, Status::Waiting).await;
    assert_eq!(seen(&chat).await.last().map(String::as_str), Some("model: re user: b"));
}

async fn a_promoted_message_is_next_and_stops_the_turn(world: World) {
    let chat = world.chat().await;
    busy(&chat).await;
    chat.send("a").await.expect("accepted");
    let b = chat.send("b").await.expect("accepted").queued.expect("it waits");
    chat.queue(b, QueueAct::Promote, None).await.expect("promoted");
    until(&chat, Status::Waiting).await;
    let expected =
        ["user: slowly", "model: I beg", "user: b", "model: re user: b", "user: a", "model: re user: a"];
    assert_eq!(seen(&chat).await, expected);
}

async fn after_an_error_mine_now_comes_before_what_waits(world: World) {
    let chat = world.chat().await;
    busy(&chat).await;
    chat.send("fail").await.expect("accepted");
    chat.send("waits").await.expect("accepted");
    chat.interrupt(None).await.expect("it runs");
    until(&chat, Status::Error).await;
    let mut now = NewMessage::text("mine");
    now.busy = Busy::Now;
    let receipt = chat.send(now).await.expect("accepted");
    assert_eq!((receipt.queued, receipt.position), (None, None), "it does not wait");
    until(&chat, Status::Waiting).await;
    let seen = seen(&chat).await;
    assert_eq!(seen[3..], ["user: mine", "model: re user: mine", "user: waits", "model: re user: waits"]);
}

async fn the_clients_results_are_complete_or_refused(world: World) {
    let chat = world.chat().await;
    chat.send("client twice").await.expect("accepted");
    until(&chat, Status::RequiresAction).await;
    let viewed = view(&chat).await;
    let pending = viewed.transcript().pending();
    let pending: Vec<_> = pending.map(|call| (call.ordinal, call.kind, call.name, call.input)).collect();
    assert_eq!(pending, [0, 1].map(|ordinal| (ordinal, CallKind::Client, "ask_client", "{}")));
    let ok = || Output::text("ok");
    for (results, why) in [
        (vec![], "call 0 has no result"),
        (vec![(0, ok())], "call 1 has no result"),
        (vec![(0, ok()), (0, ok()), (1, ok())], "call 0 has two results"),
        (vec![(0, ok()), (1, ok()), (2, ok())], "call 2 does not wait for the client"),
    ] {
        let refused = chat.submit(results, None).await.expect_err("not complete");
        assert_eq!(refusal(refused).to_string(), why);
    }
    chat.submit(vec![(1, Output::text("second")), (0, Output::text("first"))], None).await.expect("complete");
    until(&chat, Status::Waiting).await;
    assert_eq!(world.asked().last().map(String::as_str), Some("tool: firstsecond"));
    let late = chat.submit(vec![(0, ok())], None).await.expect_err("nothing waits");
    let expected = vec![Status::RequiresAction];
    assert_eq!(refusal(late), Refused::State { status: Status::Waiting, expected });
}

async fn a_client_that_does_not_answer_is_not_waited_for_for_ever(world: World) {
    let chat = world.chat().await;
    chat.send("client twice").await.expect("accepted");
    until(&chat, Status::RequiresAction).await;
    assert!(chat.head().await.expect("there").holder.is_none(), "nobody holds it meanwhile");
    until(&chat, Status::Waiting).await;
    let words = "The client gave no result in time.";
    assert_eq!(world.asked().last().cloned(), Some(format!("tool: {words}{words}")));
}

async fn a_stop_while_the_client_is_asked_asks_no_model(world: World) {
    let chat = world.chat().await;
    chat.send("client twice").await.expect("accepted");
    until(&chat, Status::RequiresAction).await;
    let asked = world.model.0.lock().len();
    chat.interrupt(None).await.expect("it waits");
    assert_eq!(chat.head().await.expect("there").index.status, Status::Waiting, "at once");
    assert_eq!(world.model.0.lock().len(), asked);
    turn(&chat, "go on").await;
    assert!(world.asked()[2].starts_with("model: <ask_client>"), "{:?}", world.asked());
    assert!(world.asked()[3].contains("cancelled"), "{:?}", world.asked());
}

async fn a_summary_takes_the_place_of_older_history(world: World) {
    let chat = world.chat().await;
    chat.compact(None).await.expect("at rest");
    until(&chat, Status::Waiting).await;
    assert!(world.asked().is_empty(), "there is nothing to summarise, and nobody is asked");
    for words in ["one", "two"] {
        turn(&chat, words).await;
    }
    chat.compact(None).await.expect("at rest");
    until(&chat, Status::Waiting).await;
    assert!(world.asked().last().is_some_and(|asked| asked.starts_with("user: Summarise")));
    turn(&chat, "three").await;
    let expected =
        ["system: Be brief.", "user: They spoke.", "user: two", "model: re user: two", "user: three"];
    assert_eq!(world.asked(), expected);
    assert_eq!(seen(&chat).await.len(), 6, "people see all of it");
}

async fn a_summary_that_is_asked_for_while_a_turn_runs_comes_after_it(world: World) {
    let chat = world.chat().await;
    turn(&chat, "one").await;
    chat.send("client twice").await.expect("accepted");
    until(&chat, Status::RequiresAction).await;
    chat.compact(None).await.expect("a turn runs");
    chat.submit(vec![(0, Output::text("x")), (1, Output::text("y"))], None).await.expect("complete");
    until(&chat, Status::Waiting).await;
    let asked = world.asked();
    assert_eq!(asked[..2], ["system: Be brief.", "user: They spoke."], "before the next answer");
    assert_eq!(asked.last().map(String::as_str), Some("tool: xy"));
    assert_eq!(state(&chat).await.compact, None);
}

async fn a_cleared_context_keeps_the_instructions_and_what_people_see(world: World) {
    let chat = world.chat().await;
    turn(&chat, "one").await;
    chat.clear(None).await.expect("at rest");
    let again = chat.clear(None).await.expect_err("nothing is left");
    assert_eq!(refusal(again).to_string(), "there is nothing to clear");
    turn(&chat, "two").await;
    assert_eq!(world.asked(), ["system: Be brief.", "user: two"]);
    assert_eq!(seen(&chat).await.len(), 4);
}

async fn a_family_is_stopped_and_archived_and_comes_back(world: World) {
    let root = world.chat().await;
    let mut children = Vec::new();
    for _ in 0..3 {
        let mut new = world.new_chat();
        new.parent = Some(root.id());
        children.push(world.chatwright.create(new).await.expect("created"));
    }
    busy(&root).await;
    busy(&children[0]).await;
    turn(&children[1], "one").await;
    root.archive(true, None).await.expect("stopped");
    let all: Vec<&Chat> = children.iter().chain([&root]).collect();
    for chat in &all {
        let archived = async {
            while !chat.head().await.expect("there").index.archived {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), archived).await.expect("archived");
        assert_eq!(chat.head().await.expect("there").index.status, Status::Waiting);
    }
    assert_eq!(seen(&children[0]).await, ["user: slowly", "model: I beg"], "what was said is kept");
    for chat in &all {
        assert_eq!(refusal(chat.send("hello").await.expect_err("archived")), Refused::Archived);
    }
    let mut late = world.new_chat();
    late.parent = Some(root.id());
    let late = world.chatwright.create(late).await.map(drop).expect_err("nobody joins late");
    assert_eq!(refusal(late), Refused::Archived);
    assert_eq!(refusal(root.archive(true, None).await.expect_err("it is")), Refused::Archived);
    let member = refusal(children[0].unarchive(None).await.expect_err("a member"));
    assert!(member.to_string().contains("is a member of the family of"), "{member}");
    root.unarchive(None).await.expect("it is archived");
    for chat in &all {
        assert!(!chat.head().await.expect("there").index.archived);
        turn(chat, "again").await;
    }
    assert_eq!(refusal(root.unarchive(None).await.expect_err("it is not")), Refused::NotArchived);
}

async fn a_family_that_does_something_is_archived_only_if_it_may_be_stopped(world: World) {
    let root = world.chat().await;
    let mut new = world.new_chat();
    new.parent = Some(root.id());
    let child = world.chatwright.create(new).await.expect("created");
    busy(&child).await;
    let refused = refusal(root.archive(false, None).await.expect_err("a member runs"));
    assert!(matches!(refused, Refused::State { status: Status::Running, .. }), "{refused}");
    turn(&root, "hello").await;
    child.interrupt(None).await.expect("it runs");
    until(&child, Status::Waiting).await;
    root.archive(false, None).await.expect("all rest");
    assert!(
        root.head().await.expect("there").index.archived && child.head().await.expect("there").index.archived
    );
}

async fn a_child_inherits_and_stays_within_its_depth(world: World) {
    let mut new = world.new_chat();
    new.client_type = chatwright::core::head::ClientType::Ui;
    let root = world.chatwright.create(new).await.expect("created");
    let mut new = NewChat::new(UserId::new("somebody else").expect("short"));
    new.parent = Some(root.id());
    let child = world.chatwright.create(new).await.expect("created");
    let index = child.head().await.expect("there").index;
    assert_eq!((index.owner.as_str(), index.parent, index.root), ("ada", Some(root.id()), Some(root.id())));
    assert_eq!(index.client_type, chatwright::core::head::ClientType::Ui);
    let mut new = world.new_chat();
    new.parent = Some(child.id());
    let refused = refusal(world.chatwright.create(new).await.map(drop).expect_err("too deep"));
    assert_eq!(refused.to_string(), "a chat may be at most 1 below the root of its family");
}

async fn title_labels_model_and_effort_change_nothing_else(world: World) {
    let chat = world.chat().await;
    busy(&chat).await;
    let before = chat.head().await.expect("there");
    let mut labels = Labels::default();
    labels.set("team", "engines").expect("short");
    let title = Title::new("Engines").ok();
    let set = NewSettings {
        title,
        labels: Some(labels.clone()),
        model: Some("other".into()),
        effort: Some(ReasoningEffort::High),
    };
    chat.set(set, None).await.expect("set");
    let after = chat.head().await.expect("there");
    assert_eq!((after.index.title.as_str(), &after.index.labels), ("Engines", &labels));
    assert_eq!(
        (after.holder, after.index.status, after.index.updated),
        (before.holder, before.index.status, before.index.updated)
    );
    let state = state(&chat).await;
    assert_eq!((state.model.as_deref(), state.effort), (Some("other"), Some(ReasoningEffort::High)));
    let set = NewSettings { model: Some("nobody".into()), ..NewSettings::default() };
    let unknown = refusal(chat.set(set, None).await.expect_err("unknown"));
    assert!(unknown.to_string().contains("there is no model \"nobody\""));
    chat.interrupt(None).await.expect("it still runs");
}

async fn the_same_key_gives_the_first_receipt_and_another_body_is_refused(world: World) {
    let chat = world.chat().await;
    turn(&chat, "one").await;
    busy(&chat).await;
    let a = chat.send("a").await.expect("accepted").queued.expect("it waits");
    let key = |key: &str| Asked::with_key(key);
    let first = chat.queue(a, QueueAct::Hold, key("hold")).await.expect("held");
    assert_eq!(chat.queue(a, QueueAct::Hold, key("hold")).await.expect("the same"), first);
    let other = chat.queue(a, QueueAct::Release, key("hold")).await.expect_err("another body");
    assert_eq!(refusal(other), Refused::KeyReused);
    let first = chat.set(NewSettings { title: Title::new("T").ok(), ..Default::default() }, key("t")).await;
    let first = first.expect("set");
    let again = chat.set(NewSettings { title: Title::new("T").ok(), ..Default::default() }, key("t")).await;
    assert_eq!(again.expect("the same"), first);
    let first = chat.interrupt(key("stop")).await.expect("it runs");
    until(&chat, Status::Waiting).await;
    assert_eq!(chat.interrupt(key("stop")).await.expect("the same"), first, "though nothing runs any more");
    let mut edit = NewEdit::text(place(&chat, "one").await, "uno");
    edit.key = Some("edit".to_owned());
    let first = chat.edit(edit.clone()).await.expect("edited");
    until(&chat, Status::Waiting).await;
    assert_eq!(chat.edit(edit.clone()).await.expect("the same"), first);
    edit.content = vec![Part::text("eins")];
    assert_eq!(refusal(chat.edit(edit).await.expect_err("another body")), Refused::KeyReused);
    assert_eq!(seen(&chat).await, ["user: uno", "model: re user: uno"], "once");
    let first = chat.clear(key("clear")).await.expect("at rest");
    assert_eq!(chat.clear(key("clear")).await.expect("the same"), first);
    let first = chat.archive(false, key("archive")).await.expect("at rest");
    assert_eq!(chat.archive(false, key("archive")).await.expect("the same"), first);
    let first = chat.unarchive(key("back")).await.expect("archived");
    assert_eq!(chat.unarchive(key("back")).await.expect("the same"), first);
}
