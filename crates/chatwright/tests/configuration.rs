//! Models and settings that are configured while the process runs, over real HTTP.

use std::sync::Arc;
use std::time::Duration;

use chatwright::config::{ConfigAdmin, ConfigSettings, Configs};
use chatwright::core::config::{ConfigKey, ModelConfig, ProviderConfig};
use chatwright::core::head::{State, Status};
use chatwright::core::port::{Bus, ConfigStore, ConfigWriter};
use chatwright::memory::{MemoryBus, MemoryConfigs, MemoryStore};
use chatwright::providers::HttpModels;
use chatwright::{Chat, Chatwright, NewChat, SystemClock, UserId};
use chatwright_fake::{FakeServer, Reply, Script};
use tokio::task::JoinSet;

struct World {
    chatwright: Chatwright,
    admin: ConfigAdmin,
    server: FakeServer,
    _worker: JoinSet<()>,
}

const KEY: &str = "sk-the-right-key";

impl World {
    async fn new(replies: Vec<Reply>) -> Self {
        let server = FakeServer::start(Script::new(replies)).await.expect("a free port");
        let (rows, bus) = (MemoryConfigs::new(), MemoryBus::new());
        let (store, writer): (Arc<dyn ConfigStore>, Arc<dyn ConfigWriter>) =
            (Arc::new(rows.clone()), Arc::new(rows));
        let ring: Arc<dyn Bus> = Arc::new(bus.clone());
        let configs = Configs::new(&store, Arc::clone(&ring), &ConfigSettings::default()).expect("valid");
        let admin = ConfigAdmin::new(writer, ring).with_cache(configs.clone());
        let resolver = HttpModels::new(|name| (name == "right").then(|| KEY.to_owned()));
        let chats = MemoryStore::new(Arc::new(SystemClock::new()));
        let chatwright = Chatwright::builder(chats, bus).configuration(configs, resolver).build();
        let chatwright = chatwright.expect("valid");
        let worker = chatwright.worker();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { worker.run(std::future::pending()).await });
        Self { chatwright, admin, server, _worker: tasks }
    }

    fn provider(&self) -> ProviderConfig {
        let mut provider = ProviderConfig::new("openai_chat");
        provider.base_url = Some(self.server.base_url().into());
        provider.credential = Some("right".into());
        provider
    }

    /// A provider and a default model of it.
    async fn configure(&self) {
        self.admin.put_provider("fake", &self.provider(), None).await.expect("written");
        self.admin.put_model("fast", &ModelConfig::new("fake", "fake-1"), None).await.expect("written");
        self.admin.put_default_model(None, "fast", None).await.expect("written");
    }

    async fn chat(&self) -> Chat {
        let new = NewChat::new(UserId::new("ada").expect("short"));
        self.chatwright.create(new).await.expect("there is a model")
    }

    /// What the model was asked last: its name and its prompt.
    fn asked(&self) -> (String, Vec<(String, String)>) {
        let requests = self.server.requests();
        let body = &requests.last().expect("one").body;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let messages = body["messages"].as_array().expect("a prompt");
        let prompt = messages.iter().map(|message| (text(&message["role"]), text(&message["content"])));
        (text(&body["model"]), prompt.collect())
    }
}

/// Sends a message and waits for the end of its turn. Gives the message of an error.
async fn turn(chat: &Chat, words: &str) -> Result<(), (String, String)> {
    chat.send(words).await.expect("accepted");
    let ended = async {
        loop {
            let head = chat.head().await.expect("there");
            match head.index.status {
                Status::Waiting => return Ok(()),
                Status::Error => {
                    let state: State = head.state.decode().expect("ours");
                    let last = state.last.expect("an error is kept");
                    return Err((last.kind.to_string(), last.message.to_string()));
                }
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the turn ends")
}

#[tokio::test]
async fn a_chat_is_answered_by_the_model_that_is_configured_and_follows_a_change_at_once() {
    let world = World::new(vec![Reply::text("one"), Reply::text("two")]).await;
    world.configure().await;
    let chat = world.chat().await;
    assert_eq!(turn(&chat, "hello").await, Ok(()));
    assert_eq!(world.asked().0, "fake-1");
    let authorization = ("authorization".to_owned(), format!("Bearer {KEY}"));
    assert!(world.server.requests()[0].headers.contains(&authorization));
    let mut slow = ModelConfig::new("fake", "fake-2");
    slow.call.max_output_tokens = Some(77);
    world.admin.put_model("fast", &slow, None).await.expect("written");
    assert_eq!(turn(&chat, "again").await, Ok(()));
    assert_eq!(world.asked().0, "fake-2");
    assert_eq!(
        world.server.requests()[1].body["max_completion_tokens"],
        77,
        "and asks for what its row says"
    );
}

#[tokio::test]
async fn what_a_user_wants_every_model_to_know_comes_after_the_hosts_instructions() {
    let world = World::new(vec![Reply::text("one"), Reply::text("two")]).await;
    world.configure().await;
    let user = UserId::new("ada").expect("short");
    world.admin.put_user_prompt(&user, "I like tea.", None).await.expect("written");
    let mut new = NewChat::new(user.clone());
    new.system = Some("Be brief.".to_owned());
    let chat = world.chatwright.create(new).await.expect("there is a model");
    assert_eq!(turn(&chat, "hello").await, Ok(()));
    let pair = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    let prompt = world.asked().1;
    assert_eq!(prompt, [pair("system", "Be brief."), pair("system", "I like tea."), pair("user", "hello")]);
    world.admin.delete(ConfigKey::user_prompt(&user), None).await.expect("deleted");
    assert_eq!(turn(&chat, "again").await, Ok(()));
    assert!(!world.asked().1.contains(&pair("system", "I like tea.")));
}

#[tokio::test]
async fn what_is_configured_wrong_ends_the_turn_with_what_to_do_and_no_secret() {
    let world = World::new(vec![Reply::text("unasked")]).await;
    world.configure().await;
    let chat = world.chat().await;
    let provider = world.provider();
    let mut missing = provider.clone();
    missing.credential = Some("wrong".into());
    let mut off = provider.clone();
    off.enabled = false;
    let mut strange = provider.clone();
    strange.protocol = "telepathy".into();
    let mut option = provider.clone();
    option.options.insert("hologram".into(), true.into());
    let mut address = provider.clone();
    address.base_url = Some("not a place".into());
    for (row, kind, words) in [
        (missing, "missing_key", "The key of provider \"fake\" cannot be found."),
        (off, "provider_disabled", "The provider \"fake\" of model \"fast\" is switched off or not there."),
        (strange, "config", "speaks \"telepathy\""),
        (option, "config", "the option \"hologram\""),
        (address, "config", "its provider's address is none of a server"),
    ] {
        world.admin.put_provider("fake", &row, None).await.expect("written");
        let (told, message) = turn(&chat, "hello").await.expect_err("it cannot be answered");
        assert_eq!(told, kind);
        assert!(message.contains(words), "{message}");
        assert!(!message.contains(KEY));
    }
    assert_eq!(world.server.requests().len(), 0, "nobody was asked");
}

#[tokio::test]
async fn a_chat_is_refused_where_no_model_could_answer_it() {
    let world = World::new(vec![Reply::text("unasked")]).await;
    let new = || NewChat::new(UserId::new("ada").expect("short"));
    let refused =
        |result: Result<Chat, chatwright::Failed>| result.map(drop).expect_err("refused").to_string();
    let none = refused(world.chatwright.create(new()).await);
    assert!(none.contains("the chat names no model, and there is no default"), "{none}");
    world.configure().await;
    let mut unknown = new();
    unknown.model = Some("slow".into());
    let unknown = refused(world.chatwright.create(unknown).await);
    assert!(unknown.contains("there is no model \"slow\""), "{unknown}");
    let mut off = ModelConfig::new("fake", "fake-1");
    off.enabled = false;
    world.admin.put_model("fast", &off, None).await.expect("written");
    let off = refused(world.chatwright.create(new()).await);
    assert!(off.contains("the model \"fast\" is switched off"), "{off}");
    world.admin.put_model("fast", &ModelConfig::new("fake", "fake-1"), None).await.expect("written");
    let mut keyless = world.provider();
    keyless.credential = Some("wrong".into());
    world.admin.put_provider("fake", &keyless, None).await.expect("written");
    let keyless = refused(world.chatwright.create(new()).await);
    assert!(keyless.contains("the key of provider \"fake\" cannot be found"), "{keyless}");
}

#[tokio::test]
async fn a_message_that_is_repeated_gets_its_receipt_although_its_model_is_gone() {
    let world = World::new(vec![Reply::text("one")]).await;
    world.configure().await;
    let chat = world.chat().await;
    let message = || {
        let mut message = chatwright::NewMessage::text("hello");
        (message.model, message.key) = (Some("fast".into()), Some("k".to_owned()));
        message
    };
    let first = chat.send(message()).await.expect("there is such a model");
    world.admin.delete(ConfigKey::model("fast").expect("short"), None).await.expect("deleted");
    assert_eq!(chat.send(message()).await.expect("the same"), first);
    let mut another = message();
    another.key = None;
    let refused = chat.send(another).await.expect_err("there is no such model any more").to_string();
    assert!(refused.contains("there is no model \"fast\""), "{refused}");
}
