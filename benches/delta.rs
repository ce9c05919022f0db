//! How fast do a provider's bytes become frames at a subscriber, and how many allocations does a delta take?
//!
//! A server on loopback sends one long answer of small deltas at once. *Whole way*: HTTP client, parser, decoder, accumulator,
//! coalescer (by size only), live log, event stream, client reducer, commits to a store in memory. *Adapter*: only as far as the
//! model port's parts, folded. The peer is a hand-written loop over the same bytes: reqwest, split at blank lines, one
//! `serde_json` parse per event into a structure of just the fields it needs, text appended to a string.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chatwright::core::accumulator::Accumulator;
use chatwright::core::content::Part;
use chatwright::core::head::Status;
use chatwright::core::model::{Message, ModelCall, Role};
use chatwright::core::port::LanguageModel;
use chatwright::memory::{MemoryBus, MemoryStore};
use chatwright::providers::{ChatDecoder, Decode, OpenAiChat, sse};
use chatwright::{Chatwright, NewChat, Resume, Settings, SystemClock, UserId, View};
use chatwright_benches::{Bench, median};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

fn main() {
    let bench = Bench::from_args();
    let deltas = if bench.rounds == 1 { 200 } else { 20_000 };
    let body: Arc<str> = answer(deltas).into();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut rates: [Vec<f64>; 3] = Default::default();
    runtime.block_on(async {
        let (url, _server) = serve(Arc::clone(&body)).await;
        let model = OpenAiChat::builder("m").base_url(&url).build().expect("a valid address");
        let client = reqwest_client(&model);
        for _ in 0..bench.rounds {
            rates[0].push(rate(&body, by_hand(&client, &url)).await);
            rates[1].push(rate(&body, adapter(&model)).await);
            rates[2].push(rate(&body, whole_way(&model)).await);
        }
    });
    let [base, ..] = rates.clone().map(median);
    println!("{:<44} {:>9} {:>7}", format!("{deltas} deltas, {} bytes", body.len()), "MB/s", "ratio");
    for (name, rate) in [
        "by hand: reqwest, split, serde_json",
        "adapter: to folded parts",
        "whole way: to a viewer's transcript",
    ]
    .iter()
    .zip(rates.map(median))
    {
        println!("{name:<44} {:>9.1} {:>7.2}", rate / 1e6, rate / base);
    }
    println!("allocations per text delta, parser to accumulator: {:.2}", allocations(&body, deltas));
}

/// What the server sends: small deltas of text, as providers do.
fn answer(deltas: usize) -> String {
    let mut body = String::new();
    for n in 0..deltas {
        body += &format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word {} \"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n",
            n % 10
        );
    }
    body + "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
}

/// Answers every request on every connection with these bytes at once.
async fn serve(body: Arc<str>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}/v1", listener.local_addr().expect("bound"));
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = Arc::clone(&body);
            connections.spawn(async move {
                let mut request = vec![0; 64 * 1024];
                while stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    let sent = async {
                        stream.write_all(head.as_bytes()).await?;
                        stream.write_all(body.as_bytes()).await
                    };
                    if sent.await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, server)
}

async fn rate(body: &str, work: impl Future<Output = ()>) -> f64 {
    let begun = now();
    work.await;
    body.len() as f64 / begun.elapsed().as_secs_f64()
}

/// The peer makes its client once, as the adapter does.
fn reqwest_client(_like: &OpenAiChat) -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(config).build().expect("a client")
}

async fn by_hand(client: &reqwest::Client, url: &str) {
    #[derive(serde::Deserialize)]
    struct Chunk {
        choices: Vec<Choice>,
    }
    #[derive(serde::Deserialize)]
    struct Choice {
        delta: Delta,
    }
    #[derive(serde::Deserialize)]
    struct Delta {
        content: Option<String>,
    }
    let request = client.post(format!("{url}/chat/completions")).body("{}").send();
    let mut response = request.await.expect("the server answers");
    let (mut buffer, mut text, mut done) = (String::new(), String::new(), false);
    while let Some(chunk) = response.chunk().await.expect("the server goes on") {
        buffer.push_str(std::str::from_utf8(&chunk).expect("ASCII"));
        let mut from = 0;
        while let Some(end) = buffer[from..].find("\n\n") {
            let data = buffer[from..from + end].strip_prefix("data: ").expect("an event");
            from += end + 2;
            if data == "[DONE]" {
                done = true;
                continue;
            }
            let chunk: Chunk = serde_json::from_str(data).expect("a chunk");
            text.push_str(chunk.choices[0].delta.content.as_deref().unwrap_or_default());
        }
        buffer.drain(..from);
    }
    assert!(done && text.len() > 100);
}

async fn adapter(model: &OpenAiChat) {
    let mut parts = model.stream(ModelCall::new(vec![Message::new(Role::User, vec![Part::text("count")])]));
    let mut answer = Accumulator::new();
    while let Some(part) = parts.next().await {
        answer.push(part);
    }
    assert!(answer.finish_reason().is_some() && answer.bytes() > 100);
}

async fn whole_way(model: &OpenAiChat) {
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let mut settings = Settings::default();
    settings.flush_every = Duration::from_secs(3600);
    let builder = Chatwright::builder(store, MemoryBus::new()).model("m", model.clone()).settings(settings);
    let chatwright = builder.build().expect("a valid setup");
    let chat = chatwright.create(NewChat::new(UserId::new("ada").expect("short"))).await.expect("created");
    let worker = chatwright.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });
    let mut view = View::new();
    let mut events = chat.events(Resume::Nothing).await.expect("the chat exists");
    chat.send("count").await.expect("accepted");
    while !(view.transcript().status == Status::Waiting && view.transcript().messages.len() == 2) {
        view.apply(&events.next().await.expect("the stream goes on"));
    }
}

/// Counted on one thread, over the bytes in memory.
fn allocations(body: &str, deltas: usize) -> f64 {
    let count = allocation_counter::measure(|| {
        let mut parser = sse::SseParser::new(sse::EVENT_BYTES_MAX);
        let mut decoder = ChatDecoder::new("p", false);
        let (mut items, mut parts, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
        let mut answer = Accumulator::new();
        for chunk in body.as_bytes().chunks(16 * 1024) {
            parser.feed(chunk, &mut items).expect("small events");
            for item in items.drain(..) {
                if let sse::SseItem::Event(event) = item {
                    decoder.event(&event.data, &mut parts);
                }
            }
            for part in parts.drain(..) {
                answer.push_into(part, &mut pieces);
                pieces.clear();
            }
        }
        assert!(decoder.is_done() && answer.bytes() > 100);
    });
    count.count_total as f64 / deltas as f64
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}
