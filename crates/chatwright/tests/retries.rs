//! Provider failures over real HTTP: each ends as its advice says, with the right events, and no word twice.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chatwright::core::content::Part;
use chatwright::core::head::Status;
use chatwright::core::port::Clock;
use chatwright::core::record::{AttemptFailed, Body};
use chatwright::memory::{MemoryBus, MemoryStore};
use chatwright::providers::OpenAiChat;
use chatwright::retry::Jitter;
use chatwright::{Chat, Chatwright, NewChat, Resume, Settings, SystemClock, UserId, View};
use chatwright_fake::{FakeServer, Reply, Script, Step};
use tokio::task::JoinSet;

const KEY: &str = "open-sesame";

fn process(server: &FakeServer) -> Chatwright {
    let model =
        OpenAiChat::builder("m").base_url(server.base_url()).key(KEY).build().expect("a valid address");
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let mut settings = Settings::default();
    settings.rules.retry.first_wait = Duration::from_millis(2);
    settings.rules.retry.jitter = Jitter::NONE;
    settings.model_timeouts.start_up = Duration::from_millis(400);
    settings.model_timeouts.silence = Duration::from_millis(400);
    Chatwright::builder(store, MemoryBus::new())
        .model("fake", model)
        .settings(settings)
        .build()
        .expect("a valid setup")
}

fn work(chatwright: &Chatwright) -> JoinSet<()> {
    let worker = chatwright.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });
    tasks
}

/// What a viewer who was there all the time saw, and what is stored.
struct Seen {
    view: View,
    /// The attempts of the retry events, in order.
    retries: Vec<u32>,
    failed: Vec<AttemptFailed>,
    stored: String,
    requests: usize,
}

/// A turn over replies, to its end.
async fn turn(replies: Vec<Reply>) -> Seen {
    let server = FakeServer::start(Script::new(replies)).await.expect("a free port");
    let chatwright = process(&server);
    let _worker = work(&chatwright);
    let chat = chatwright.create(hello()).await.expect("created");
    let mut events = chat.events(Resume::Nothing).await.expect("the chat exists");
    let (mut view, mut retries) = (View::new(), Vec::new());
    let watch = async {
        while !(view.is_caught_up() && matches!(view.transcript().status, Status::Waiting | Status::Error)) {
            view.apply(&events.next().await.expect("the stream goes on"));
            let shown = view.transcript();
            let text = shown.to_string();
            assert!(text.matches("word").count() <= 1, "no word twice: {text}");
            if let Some(retry) = &shown.retry {
                assert!(shown.preview.is_none(), "what the failed attempt said is gone");
                if retries.last() != Some(&retry.attempt) {
                    retries.push(retry.attempt);
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), watch).await.expect("the turn ends");
    let records = chat.records(Default::default()).await.expect("the store answers");
    let stored = records.iter().map(|record| record.body.as_str()).collect();
    let failed = records.iter().filter_map(|record| match record.open().expect("ours").body {
        Body::AttemptFailed(failed) => Some(failed),
        _ => None,
    });
    let failed = failed.collect();
    Seen { view, retries, failed, stored, requests: server.requests().len() }
}

fn hello() -> NewChat {
    let mut new = NewChat::new(UserId::new("ada").expect("a short id"));
    new.content = vec![Part::text("hello")];
    new
}

fn in_stream(kind: &str, code: &str, message: &str) -> Reply {
    let error = Step::Error { kind: kind.to_owned(), code: code.to_owned(), message: message.to_owned() };
    Reply::steps(vec![Step::Text("a word ".to_owned()), error])
}

/// A reply, the kind it counts as, and the least wait that it asks for.
fn passing() -> Vec<(&'static str, Reply, &'static str, u64)> {
    let clock = SystemClock::new();
    let now = SystemTime::from(clock.now());
    let soon = now + Duration::from_millis(60);
    let rfc3339 =
        chrono::DateTime::<chrono::Utc>::from(soon).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let date = httpdate::fmt_http_date(now + Duration::from_secs(1));
    let limited = |name: &str, value: &str| Reply::status(429, "{}").with_header(name, value);
    let info = r#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Slow down.","details":[
        {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0.05s"}]}}]"#;
    let reset = |name: &str, remaining: &str, value: &str| {
        limited(name, value).with_header(remaining, "0").with_header("x-request-id", "r")
    };
    vec![
        ("retry-after-ms", limited("retry-after-ms", "50"), "rate_limit", 50),
        ("retry-after in fractions", limited("Retry-After", "0.05"), "rate_limit", 50),
        ("retry-after as a date", limited("retry-after", &date), "rate_limit", 0),
        (
            "a reset of tokens",
            reset("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens", "50ms"),
            "rate_limit",
            50,
        ),
        (
            "a reset as an instant",
            reset("anthropic-ratelimit-requests-reset", "anthropic-ratelimit-requests-remaining", &rfc3339),
            "rate_limit",
            0,
        ),
        ("a wait in the body", Reply::status(429, info), "rate_limit", 50),
        (
            "a wait in prose",
            Reply::status(
                429,
                r#"{"error":{"message":"Please try again in 0.05s.","code":"rate_limit_exceeded"}}"#,
            ),
            "rate_limit",
            50,
        ),
        ("429 without a hint", Reply::status(429, ""), "rate_limit", 2),
        (
            "overloaded",
            Reply::status(529, r#"{"type":"error","error":{"type":"overloaded_error"}}"#),
            "overloaded",
            2,
        ),
        ("500", Reply::status(500, "oops"), "generic", 2),
        ("502 with a page", Reply::status(502, "<html>bad gateway</html>"), "timeout", 2),
        ("cut before the answer", Reply::text("a word of it").cut_after(0), "timeout", 2),
        ("cut in the answer", Reply::text("a word of it").cut_after(260), "timeout", 2),
        ("ended in the answer", Reply::steps(vec![Step::Text("a word ".to_owned())]), "timeout", 2),
        ("never begins", Reply::steps(vec![Step::Ping, Step::Stall]), "startup_timeout", 2),
        (
            "stalls",
            Reply::steps(vec![Step::Text("a word ".to_owned()), Step::Stall]),
            "stream_silence_timeout",
            2,
        ),
        ("late headers", Reply::text("late").delayed(Duration::from_secs(60)), "startup_timeout", 2),
        ("server_error in the stream", in_stream("server_error", "server_error", "oops"), "generic", 2),
        ("overload in the stream", in_stream("overloaded_error", "", "Overloaded"), "overloaded", 2),
        (
            "a limit in the stream",
            in_stream("requests", "rate_limit_exceeded", "try again in 50ms"),
            "rate_limit",
            50,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_tried_again_after_the_wait_that_was_asked_for() {
    for (name, reply, kind, least) in passing() {
        let seen = turn(vec![reply, Reply::text("the word")]).await;
        assert_eq!(seen.view.transcript().to_string(), "user: hello\nassistant: the word\n", "{name}");
        assert_eq!((seen.requests, seen.failed.len()), (2, 1), "{name}");
        let failed = &seen.failed[0];
        assert_eq!((&*failed.error.kind, failed.failures, failed.error.retryable), (kind, 1, true), "{name}");
        assert!(failed.delay_ms.is_some_and(|delay| delay >= least), "{name}: {:?}", failed.delay_ms);
        assert!(seen.retries.is_empty() || seen.retries == [1], "{name}: {:?}", seen.retries);
        assert_eq!(failed.error.provider.as_deref(), Some("openai"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_ends_the_turn_at_once_and_says_what_to_do() {
    let echoed = format!(r#"{{"error":{{"message":"bad key {KEY}"}}}}"#);
    let cases = [
        (
            Reply::status(401, echoed),
            "auth",
            "Authentication with OpenAI failed. Check the API key and its permissions.",
        ),
        (
            Reply::status(402, "{}"),
            "usage_limit",
            "The quota with OpenAI is used up. Check its billing and quota settings.",
        ),
        (
            Reply::status(
                400,
                r#"{"error":{"message":"timeout must be a number","type":"invalid_request_error"}}"#,
            ),
            "generic",
            "OpenAI returned an unexpected error.",
        ),
        (
            Reply::status(400, r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#),
            "config",
            "The conversation is longer than the model can take.",
        ),
        (Reply::html(), "generic", "The request failed unexpectedly."),
        (
            in_stream("insufficient_quota", "insufficient_quota", "You exceeded your current quota"),
            "usage_limit",
            "The quota with OpenAI is used up. Check its billing and quota settings.",
        ),
        (
            in_stream("invalid_request_error", "content_filter", "no"),
            "content_filter",
            "OpenAI blocked the answer under its content policy.",
        ),
    ];
    for (reply, kind, message) in cases {
        let seen = turn(vec![reply, Reply::text("never")]).await;
        let shown = seen.view.transcript();
        assert_eq!((shown.status, seen.requests), (Status::Error, 1), "{kind}");
        assert_eq!(
            shown.to_string().matches("word").count(),
            0,
            "nothing of the failed attempt stays: {shown}"
        );
        let last = shown.last.as_ref().expect("the error is shown");
        assert_eq!((&*last.kind, &*last.message), (kind, message));
        assert!(seen.retries.is_empty() && !seen.failed[0].error.retryable);
        assert!(!seen.stored.contains(KEY), "{}", seen.stored);
    }
}

async fn failed_once(chat: &Chat) -> AttemptFailed {
    loop {
        let records = chat.records(Default::default()).await.expect("the store answers");
        for record in records {
            if let Body::AttemptFailed(failed) = record.open().expect("ours").body {
                return failed;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_of_ten_minutes_is_parked_and_a_stop_ends_it() {
    let limited = Reply::status(429, "{}").with_header("retry-after", "600");
    let server =
        FakeServer::start(Script::new(vec![limited, Reply::text("never")])).await.expect("a free port");
    let chatwright = process(&server);
    let _worker = work(&chatwright);
    let chat = chatwright.create(hello()).await.expect("created");
    let failed = failed_once(&chat).await;
    assert_eq!((&*failed.error.kind, failed.delay_ms), ("rate_limit", Some(600_000)));
    let head = chat.head().await.expect("there");
    assert_eq!((head.index.status, head.holder, head.wake_at), (Status::Running, None, failed.retry_at));
    chat.interrupt(None).await.expect("a turn runs");
    assert_eq!(chat.head().await.expect("there").index.status, Status::Waiting);
    assert_eq!(server.requests().len(), 1);
}
