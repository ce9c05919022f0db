//! Titles that a model writes for chats that have none.

mod common;

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::ChatId;
use chatwright_core::Timestamp;
use chatwright_core::error::{Cause, Failure};
use chatwright_core::head::{Status, Title};
use chatwright_core::model::{FinishReason, ModelPart};
use chatwright_core::port::{Ledger, LedgerScope, Purpose};
use chatwright_core::record::{Body, ChatChanged};
use chatwright_loop::{Asked, Chats, NewEdit, NewMessage, NewSettings, Ports, Settings, TitleSettings};
use chatwright_memory::MemoryLedger;
use tokio::time::sleep;

use common::doors::{At, Staged, Then};
use common::{RuleModel, World, echo, finish, new_chat, records, say, stall, text, until, words_of, work};

/// Answers as `echo` does, and a request for a title by this rule, told how many came before.
fn model(rule: impl Fn(usize) -> Vec<ModelPart> + Send + Sync + 'static) -> Arc<RuleModel> {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    RuleModel::new(move |prompt| match prompt[0].content.iter().map(words_of).collect::<String>() {
        first if first.starts_with("Write a title") => {
            rule(asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
        }
        _ => echo(prompt),
    })
}

fn requests(model: &RuleModel) -> Vec<String> {
    let prompts = model.prompts.lock();
    let words = |prompt: &Vec<_>| {
        prompt
            .iter()
            .flat_map(|message: &chatwright_core::model::Message| message.content.iter())
            .map(words_of)
            .collect::<String>()
    };
    prompts.iter().map(words).filter(|prompt| prompt.starts_with("Write a title")).collect()
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.titles = Some(TitleSettings::default());
    settings
}

fn process(world: &World, model: &Arc<RuleModel>) -> Chats {
    Chats::new(world.ports(model.clone(), vec![]), settings()).expect("a valid setup")
}

async fn title(chats: &Chats, chat: ChatId) -> String {
    chats.head(chat).await.expect("there").index.title.as_str().to_owned()
}

async fn turn(chats: &Chats, chat: ChatId, words: &str) {
    chats.send(chat, NewMessage::text(words)).await.expect("accepted");
    until(chats, chat, Status::Waiting).await;
    sleep(Duration::from_secs(1)).await;
}

async fn begin(chats: &Chats, words: &str) -> ChatId {
    let (chat, _) = chats.create(new_chat(words)).await.expect("created");
    until(chats, chat, Status::Waiting).await;
    sleep(Duration::from_secs(1)).await;
    chat
}

fn ours() -> NewSettings {
    NewSettings { title: Some(Title::new("Ours").expect("short")), ..NewSettings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_chat_gets_a_title_once_from_its_first_exchange() {
    let (world, model, ledger) = (World::new(), model(|_| say("\"Trains to Vienna.\"")), MemoryLedger::new());
    let ports = Ports { ledger: Some(Arc::new(ledger.clone())), ..world.ports(model.clone(), vec![]) };
    let chats = Chats::new(ports, settings()).expect("a valid setup");
    let _worker = work(&chats);
    let chat = begin(&chats, "When is the train?").await;
    assert_eq!(title(&chats, chat).await, "Trains to Vienna");
    turn(&chats, chat, "And the next one?").await;
    let asked = requests(&model);
    assert_eq!(asked.len(), 1, "once");
    assert!(
        asked[0].contains("When is the train?") && asked[0].contains("You said When is the train?."),
        "{asked:?}"
    );
    let changed =
        records(&chats, chat).await.into_iter().find_map(|record| match record.open().expect("ours").body {
            Body::ChatChanged(changed) => Some(changed),
            _ => None,
        });
    assert!(
        matches!(changed, Some(ChatChanged { generated: true, title: Some(_), .. })),
        "people see who wrote it"
    );
    let ever = Timestamp::from_millis(0)..Timestamp::from_millis(i64::MAX);
    let lines = ledger.report(&LedgerScope::default(), ever).await.expect("in memory");
    let titles: Vec<_> =
        lines.iter().filter(|line| line.purpose == Purpose::Title).map(|line| line.spent).collect();
    assert_eq!(titles.iter().map(|spent| (spent.requests, spent.open)).collect::<Vec<_>>(), [(1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_users_own_title_stays_also_one_that_they_emptied_and_one_that_comes_while_the_model_writes() {
    let world = World::new();
    let model = model(|_| say("Of the model"));
    let staged = Staged::new(world.store.clone());
    let ports = Ports { chats: staged.clone(), ..world.ports(model.clone(), vec![]) };
    let chats = Chats::new(ports, settings()).expect("a valid setup");
    let _worker = work(&chats);

    let mut new = new_chat("hello");
    new.title = Title::new("Ours").expect("short");
    let (chat, _) = chats.create(new).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!((title(&chats, chat).await.as_str(), requests(&model).len()), ("Ours", 0));

    let mut new = new_chat("hello");
    new.content = Vec::new();
    let (chat, _) = chats.create(new).await.expect("created");
    let emptied = NewSettings { title: Some(Title::default()), ..NewSettings::default() };
    chats.set(chat, emptied, Asked::default()).await.expect("there");
    turn(&chats, chat, "hello").await;
    assert_eq!((title(&chats, chat).await.as_str(), requests(&model).len()), ("", 0));

    // The user's command lands just before the model's.
    let mut commit = staged.stop(At::Before("chat.changed"));
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    commit.reached().await;
    let sure = process(&world, &model);
    sure.set(chat, ours(), Asked::default()).await.expect("there");
    commit.then(Then::GoOn);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((title(&chats, chat).await.as_str(), requests(&model).len()), ("Ours", 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_wrong_with_a_title_is_the_chats_and_the_next_turn_tries_again() {
    let wrong: [fn() -> Vec<ModelPart>; 4] = [
        || vec![finish(FinishReason::Stop)],
        || stall("Trains "),
        || [text("Trains to"), vec![finish(FinishReason::Length)]].concat(),
        || vec![ModelPart::Failure(Box::new(Failure::new("rule", Cause::Truncated)))],
    ];
    for wrong in wrong {
        let (world, model) = (World::new(), model(move |n| if n == 0 { wrong() } else { say("Trains") }));
        let chats = process(&world, &model);
        let _worker = work(&chats);
        let chat = begin(&chats, "hello").await;
        // Nobody waits for it: the next turn begins at once.
        let begun = tokio::time::Instant::now();
        turn(&chats, chat, "again").await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        sleep(Duration::from_secs(60)).await;
        turn(&chats, chat, "and again").await;
        assert_eq!(title(&chats, chat).await, "Trains");
        let head = chats.head(chat).await.expect("there");
        assert_eq!(head.index.status, Status::Waiting);
    }
}

#[tokio::test(start_paused = true)]
async fn titles_are_written_only_where_they_are_asked_for_and_by_the_model_that_is_named() {
    let (world, model) = (World::new(), model(|_| say("Trains")));
    let chats = world.process_with(model.clone(), vec![]);
    let worker = work(&chats);
    let chat = begin(&chats, "hello").await;
    assert_eq!((title(&chats, chat).await.as_str(), requests(&model).len()), ("", 0), "none by default");
    drop(worker);

    let small = self::model(|_| say("By the small one"));
    let mut ports = world.ports(model.clone(), vec![]);
    ports.models.insert("small".into(), small.clone());
    let mut settings = settings();
    settings.titles.as_mut().expect("set").model = Some("small".into());
    let chats = Chats::new(ports, settings).expect("a valid setup");
    let _worker = work(&chats);
    let chat = begin(&chats, "hello").await;
    assert_eq!(title(&chats, chat).await, "By the small one");
    assert_eq!((requests(&model).len(), requests(&small).len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_turn_without_words_has_no_exchange_to_name_it_by() {
    let world = World::new();
    let silent =
        RuleModel::new(|prompt| match words_of(&prompt[0].content[0]).starts_with("Write a title") {
            true => say("Trains"),
            false => vec![finish(FinishReason::Stop)],
        });
    let chats = process(&world, &silent);
    let _worker = work(&chats);
    let chat = begin(&chats, "hello").await;
    assert_eq!((title(&chats, chat).await.as_str(), requests(&silent).len()), ("", 0));
}

#[tokio::test(start_paused = true)]
async fn a_title_says_nothing_of_what_its_user_took_back() {
    let world = World::new();
    let model = model(|n| if n == 0 { vec![finish(FinishReason::Stop)] } else { say("Trains") });
    let chats = process(&world, &model);
    let _worker = work(&chats);
    let chat = begin(&chats, "the secret").await;
    let first = records(&chats, chat).await.into_iter().find(|record| record.kind.name() == "message.user");
    let edit = NewEdit::text(first.expect("it is there").seq, "the train");
    chats.edit(chat, edit).await.expect("edited");
    sleep(Duration::from_secs(1)).await;
    until(&chats, chat, Status::Waiting).await;
    sleep(Duration::from_secs(1)).await;
    let asked = requests(&model).pop().expect("asked again");
    assert!(asked.contains("the train") && !asked.contains("the secret"), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_title_that_takes_too_long_has_a_row_that_is_closed() {
    let (world, model, ledger) = (World::new(), model(|_| stall("Trains ")), MemoryLedger::new());
    let ports = Ports { ledger: Some(Arc::new(ledger.clone())), ..world.ports(model.clone(), vec![]) };
    let chats = Chats::new(ports, settings()).expect("a valid setup");
    let _worker = work(&chats);
    begin(&chats, "hello").await;
    sleep(Duration::from_secs(60)).await;
    let ever = Timestamp::from_millis(0)..Timestamp::from_millis(i64::MAX);
    let lines = ledger.report(&LedgerScope::default(), ever).await.expect("in memory");
    let titles: Vec<_> =
        lines.iter().filter(|line| line.purpose == Purpose::Title).map(|line| line.spent).collect();
    assert_eq!(titles.iter().map(|spent| (spent.requests, spent.open)).collect::<Vec<_>>(), [(1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_shuts_down_begins_no_title() {
    let world = World::new();
    let model = RuleModel::new(|prompt| {
        match words_of(prompt.last().expect("asked").content.last().expect("words")) {
            words if words == "wait" => stall("There "),
            _ => echo(prompt),
        }
    });
    let chats = process(&world, &model);
    let worker = chats.worker();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut run = tokio::task::JoinSet::new();
    run.spawn(async move { worker.run(async { drop(stopped.await) }).await });
    chats.create(new_chat("wait")).await.expect("created");
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    while model.prompts.lock().len() < 2 {
        sleep(Duration::from_micros(100)).await;
    }
    stop.send(()).expect("it listens");
    until(&chats, chat, Status::Waiting).await;
    run.join_next().await.expect("it runs").expect("it ends");
    assert_eq!(requests(&model), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_title_waits_at_the_gate_of_its_account_and_tells_others_to_wait() {
    let limited = || {
        let failure = Failure::new("rule", Cause::Status).with_status(429).with_header("retry-after", "600");
        vec![ModelPart::Failure(Box::new(failure))]
    };
    let (world, model) = (World::new(), model(move |n| if n == 0 { limited() } else { say("Trains") }));
    let chats = process(&world, &model);
    let _worker = work(&chats);
    let chat = begin(&chats, "hello").await;
    assert_eq!(requests(&model).len(), 1);
    // The provider has told the title to wait: the next answer does too.
    let before = tokio::time::Instant::now();
    turn(&chats, chat, "again").await;
    assert!(before.elapsed() >= Duration::from_secs(600), "{:?}", before.elapsed());
    assert_eq!(title(&chats, chat).await, "Trains");
}
