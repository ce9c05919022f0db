//! Bad input and bad providers through the facade: a typed error that names the cause, nothing lost, the chat usable again.

use std::sync::Arc;
use std::time::Duration;

use chatwright::core::content::Part;
use chatwright::core::head::Status;
use chatwright::memory::{MemoryBus, MemoryStore};
use chatwright::providers::OpenAiChat;
use chatwright::{
    Chat, Chatwright, EventsError, Failed, InvalidSetup, NewChat, Refused, Resume, SystemClock, UserId, View,
};
use chatwright_fake::{FakeServer, Reply, Script};
use tokio::task::JoinSet;

fn process(base_url: &str) -> Chatwright {
    let model =
        OpenAiChat::builder("m").base_url(base_url).key("sk-very-secret").build().expect("a valid address");
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    Chatwright::builder(store, MemoryBus::new()).model("fake", model).build().expect("a valid setup")
}

fn work(chatwright: &Chatwright) -> JoinSet<()> {
    let worker = chatwright.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });
    tasks
}

/// Watches the chat until it does this, and gives what a viewer sees then.
async fn watched(chat: &Chat, status: Status, messages: usize) -> View {
    let mut view = View::new();
    let mut events = chat.events(Resume::Nothing).await.expect("the chat exists");
    let wait = async {
        while !(view.is_caught_up()
            && view.transcript().status == status
            && view.transcript().messages.len() >= messages)
        {
            view.apply(&events.next().await.expect("the stream goes on"));
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(done.is_ok(), "the chat did not become {}", status.as_str());
    view
}

fn hello() -> NewChat {
    let mut new = NewChat::new(UserId::new("ada").expect("a short id"));
    new.content = vec![Part::text("hello")];
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_the_next_message_is_answered() {
    let refused = Reply::status(401, r#"{"error":{"message":"bad key sk-very-secret"}}"#);
    let server =
        FakeServer::start(Script::new(vec![refused, Reply::text("Now it works.")])).await.expect("a port");
    let chatwright = process(&server.base_url());
    let _worker = work(&chatwright);
    let chat = chatwright.create(hello()).await.expect("created");
    watched(&chat, Status::Error, 1).await;
    chat.send("again").await.expect("accepted");
    let view = watched(&chat, Status::Waiting, 3).await;
    let text = view.transcript().to_string();
    assert_eq!(text, "user: hello\nuser: again\nassistant: Now it works.\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_not_there_is_tried_again_and_named() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let chatwright = process(&format!("http://{address}/v1"));
    let _worker = work(&chatwright);
    let chat = chatwright.create(hello()).await.expect("created");
    let mut view = View::new();
    let mut events = chat.events(Resume::Nothing).await.expect("the chat exists");
    while view.transcript().retry.is_none() {
        view.apply(&events.next().await.expect("the stream goes on"));
    }
    let retry = view.transcript().retry.clone().expect("just seen");
    assert_eq!(
        (retry.attempt, &*retry.kind, &*retry.error),
        (1, "timeout", "OpenAI is temporarily unavailable.")
    );
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_happens() {
    let chatwright = process("http://127.0.0.1:9/v1");
    let nobody = chatwright.chat(chatwright::ChatId::from_uuid(chatwright::core::Uuid::nil()));
    assert!(matches!(nobody.send("x").await, Err(Failed::Refused(Refused::NotFound { what: "chat" }))));
    assert!(matches!(nobody.events(Resume::Nothing).await, Err(EventsError::NotFound(_))));
    let mut new = hello();
    new.model = Some("nope".into());
    let refused = chatwright.create(new).await.err().expect("refused").to_string();
    assert_eq!(refused, "there is no model \"nope\"; there is \"fake\"");
    let chat = chatwright.create(hello()).await.expect("created");
    let huge = chat.send("x".repeat(2_000_000)).await.expect_err("refused");
    assert!(matches!(huge, Failed::Refused(Refused::TooLarge(_))), "{huge}");

    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let setup = Chatwright::builder(store, MemoryBus::new()).default_model("gone").build();
    assert_eq!(setup.err(), Some(InvalidSetup::DefaultModel("gone".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_is_cut_off_anywhere_resumes_and_sees_the_same() {
    let words = "one two three four five six seven eight nine ten ".repeat(40);
    let server = FakeServer::start(Script::new(vec![Reply::text(&words)])).await.expect("a free port");
    let chatwright = process(&server.base_url());
    let _worker = work(&chatwright);
    let chat =
        chatwright.create(NewChat::new(UserId::new("ada").expect("a short id"))).await.expect("created");
    let (steady, restless) = (chat.clone(), chat.clone());
    let mut viewers = JoinSet::new();
    viewers.spawn(async move { watched(&steady, Status::Waiting, 2).await.transcript().to_string() });
    viewers.spawn(async move {
        // A new connection after a few frames, some of which only say hello.
        let mut view = View::new();
        for round in 0.. {
            let mut events = restless.events(Resume::from(view.cursor())).await.expect("the chat exists");
            for _ in 0..3 + round % 4 {
                view.apply(&events.next().await.expect("the stream goes on"));
            }
            let transcript = view.transcript();
            if transcript.status == Status::Waiting
                && transcript.messages.len() == 2
                && transcript.preview.is_none()
            {
                return transcript.to_string();
            }
        }
        unreachable!("it returns once the answer is there")
    });
    chat.send("count").await.expect("accepted");
    let seen =
        tokio::time::timeout(Duration::from_secs(30), viewers.join_all()).await.expect("both see the end");
    let expected = format!("user: count\nassistant: {words}\n");
    assert_eq!(seen, [expected.clone(), expected]);
}
