//! What a call says that it is part of, and what is told of a chat's log: what a debug recorder stands on.

mod common;

use std::sync::Arc;

use chatwright_core::content::Part;
use chatwright_core::error::{Cause, Failure};
use chatwright_core::head::Status;
use chatwright_core::history::Grown;
use chatwright_core::model::{CallScope, ModelCall, ModelId, ModelPart, ToolDefinition};
use chatwright_core::port::{Event, LanguageModel, ModelStream, Observer, Purpose};
use chatwright_core::tool::Effect;
use chatwright_core::{ChatId, Seq};
use chatwright_loop::{Asked, Chats, NewEdit, NewMessage, Settings, TitleSettings};
use chatwright_retry::Jitter;
use parking_lot::Mutex;

use common::{CountTool, RuleModel, World, echo, new_chat, records, say, until, words_of, work};

/// A model that keeps what its calls say of themselves, and how many messages were added to each prompt since the one before, if that is
/// known.
struct Scoped {
    inner: Arc<RuleModel>,
    seen: Mutex<Vec<(CallScope, Option<usize>)>>,
    grown: Mutex<Option<Grown>>,
    shared: Mutex<Vec<Shared>>,
}

/// The tools of a call of a turn, and what its messages say.
#[derive(Clone)]
struct Shared {
    tools: Arc<[ToolDefinition]>,
    said: Vec<Arc<[Part]>>,
}

impl LanguageModel for Scoped {
    fn id(&self) -> ModelId {
        self.inner.id()
    }

    fn stream(&self, call: ModelCall) -> ModelStream {
        let scope = call.scope.as_deref().expect("every call of the loop says what it is part of").clone();
        if scope.purpose == Purpose::Turn {
            let before = self.grown.lock().replace(call.prompt.grown());
            let added = before.and_then(|before| call.prompt.since(before).map(<[_]>::len));
            self.seen.lock().push((scope, added));
            let said = call.prompt.iter().map(|message| Arc::clone(&message.content)).collect();
            self.shared.lock().push(Shared { tools: Arc::clone(&call.tools), said });
        } else {
            self.seen.lock().push((scope, None));
        }
        self.inner.stream(call)
    }
}

/// Keeps what is told of the log.
#[derive(Default)]
struct Told(Mutex<Vec<(&'static str, u64, u64)>>);

impl Observer for Told {
    fn observe(&self, event: &Event<'_>) {
        let told = match *event {
            Event::StepStored { answer, r#gen, .. } => ("stored", r#gen.get(), answer.get()),
            Event::HistoryCut { from, at, .. } => ("cut", from.get(), at.get()),
            Event::ChatArchived { at, .. } => ("archived", 0, at.get()),
            _ => return,
        };
        self.0.lock().push(told);
    }
}

struct Process {
    chats: Chats,
    model: Arc<Scoped>,
    told: Arc<Told>,
}

/// A process whose model fails at its first call, and calls a tool when it is told to.
fn process() -> Process {
    let failed = std::sync::atomic::AtomicBool::new(false);
    let rule = RuleModel::new(move |prompt| {
        let first: String = prompt[0].content.iter().map(words_of).collect();
        if first.starts_with("Write a title") {
            return say("A title");
        }
        if !failed.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return vec![ModelPart::Failure(Box::new(Failure::new("rule", Cause::Status).with_status(503)))];
        }
        echo(prompt)
    });
    let (seen, grown, shared) = Default::default();
    let model = Arc::new(Scoped { inner: rule, seen, grown, shared });
    let told = Arc::new(Told::default());
    let world = World::new();
    let mut ports = world.ports(model.clone(), vec![CountTool::new("a", Effect::Pure)]);
    ports.observers.push(told.clone());
    let mut settings = Settings::default();
    settings.titles = Some(TitleSettings::default());
    settings.rules.retry.jitter = Jitter::NONE;
    Process { chats: Chats::new(ports, settings).expect("a valid setup"), model, told }
}

/// Where records of this kind stand.
async fn places(process: &Process, chat: ChatId, kind: &str) -> Vec<Seq> {
    let all = records(&process.chats, chat).await;
    all.iter().filter(|record| record.kind.name() == kind).map(|record| record.seq).collect()
}

#[tokio::test(start_paused = true)]
async fn every_call_says_its_turn_how_far_its_prompt_goes_and_which_attempt_it_is() {
    let process = process();
    let _worker = work(&process.chats);
    let (chat, _) = process.chats.create(new_chat("use a")).await.expect("created");
    until(&process.chats, chat, Status::Waiting).await;
    let titled = async || process.chats.head(chat).await.expect("there").index.title.as_str() == "A title";
    while !titled().await {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let [asked] = places(&process, chat, "message.user").await[..] else { panic!("one message") };
    let [called, _] = places(&process, chat, "message.assistant").await[..] else { panic!("two answers") };
    let [results] = places(&process, chat, "tool.results").await[..] else { panic!("one result") };
    let seen = process.model.seen.lock().clone();
    let told: Vec<_> = seen
        .iter()
        .map(|(scope, added)| (scope.purpose, scope.attempt, scope.turn, scope.tip, *added))
        .collect();
    let (turn, title) = (Purpose::Turn, Purpose::Title);
    assert_eq!(told[0], (turn, 1, Some(asked), Some(asked), None));
    assert_eq!(told[1], (turn, 2, Some(asked), Some(asked), Some(0)), "asked again after a failure");
    assert!(called < results);
    assert_eq!(told[2], (turn, 1, Some(asked), Some(results), Some(2)), "the call and its result are new");
    assert_eq!((told[3].0, told[3].1, told[3].2), (title, 1, Some(asked)));
    assert_eq!(told.len(), 4);
    let gens: Vec<_> = seen.iter().map(|(scope, _)| scope.r#gen.is_some()).collect();
    assert_eq!(gens, [true, true, true, false]);
    assert!(seen.iter().all(|(scope, _)| scope.chat == chat && scope.owner.as_str() == "ada"));
}

#[tokio::test(start_paused = true)]
async fn calls_share_their_tools_and_what_their_messages_say() {
    let process = process();
    let _worker = work(&process.chats);
    let (chat, _) = process.chats.create(new_chat("use a")).await.expect("created");
    until(&process.chats, chat, Status::Waiting).await;
    let (other, _) = process.chats.create(new_chat("use a")).await.expect("created");
    until(&process.chats, other, Status::Waiting).await;
    let shared = process.model.shared.lock().clone();
    assert_eq!(shared.len(), 5, "the first one of the first chat failed");
    let tools = &shared[0].tools;
    assert_eq!(tools.len(), 1);
    assert!(shared.iter().all(|call| Arc::ptr_eq(&call.tools, tools)), "of every chat");
    for two in shared[..3].windows(2).chain(shared[3..].windows(2)) {
        let (before, after) = (&two[0].said, &two[1].said);
        assert!(before.len() <= after.len());
        assert!(before.iter().zip(after).all(|(before, after)| Arc::ptr_eq(before, after)), "of one chat");
    }
}

#[tokio::test(start_paused = true)]
async fn observers_are_told_where_answers_stand_what_an_edit_cuts_and_what_is_archived() {
    let process = process();
    let _worker = work(&process.chats);
    let (chat, _) = process.chats.create(new_chat("one")).await.expect("created");
    until(&process.chats, chat, Status::Waiting).await;
    process.chats.send(chat, NewMessage::text("two")).await.expect("accepted");
    until(&process.chats, chat, Status::Waiting).await;
    let second = places(&process, chat, "message.user").await[1];
    let edit = NewEdit::text(second, "three");
    process.chats.edit(chat, edit).await.expect("accepted");
    until(&process.chats, chat, Status::Waiting).await;
    process.chats.archive(chat, false, Asked::default()).await.expect("accepted");
    let answers = places(&process, chat, "message.assistant").await;
    let [cut] = places(&process, chat, "history.cut").await[..] else { panic!("one edit") };
    let [archived] = places(&process, chat, "chat.archived").await[..] else { panic!("archived once") };
    let told = process.told.0.lock().clone();
    let stored = |told: &&(&str, u64, u64)| told.0 == "stored";
    let places: Vec<_> = told.iter().filter(stored).map(|told| told.2).collect();
    assert_eq!(places, answers.iter().map(|seq| seq.get()).collect::<Vec<_>>());
    assert!(told.iter().filter(stored).map(|told| told.1).is_sorted(), "gens rise: {told:?}");
    let others: Vec<_> = told.iter().filter(|told| !stored(told)).copied().collect();
    assert_eq!(others, [("cut", second.get(), cut.get()), ("archived", 0, archived.get())]);
}
