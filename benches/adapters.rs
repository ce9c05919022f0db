//! What does one text delta cost in each provider's adapter?
//!
//! A server on loopback, in a thread of its own, sends one long answer of small deltas, in each of the four formats as its provider
//! writes it. A contender asks for it through the whole of its adapter, HTTP client included, and gives the text back when it has
//! seen the terminal event. The peer is a hand-written loop over the same bytes: reqwest, split at blank lines, one `serde_json` parse
//! per event into a structure of just the fields it needs, text appended to a string. It has the HTTP client of our adapters. All run
//! in turns on the main thread, so that their allocations can be counted.
//!
//! With the feature `peers` (Rust 1.95) `genai` and `rig-core` take part, each with the HTTP client that it makes for itself. They
//! bring features that every contender of the build then has: `serde_json` keeps the order of fields (`preserve_order`) and, for rig,
//! reads numbers exactly (`float_roundtrip`); `reqwest` offers to take gzip, for genai. Ratios of one run share all of it; times of two
//! builds do not.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use chatwright::core::accumulator::Accumulator;
use chatwright::core::content::Part;
use chatwright::core::model::{FinishReason, Message, ModelCall, Role};
use chatwright::core::port::LanguageModel;
use chatwright::providers::{AnthropicMessages, Gemini, HttpSettings, OpenAiChat, OpenAiResponses};
use chatwright_benches::{Bench, median};
use futures::channel::oneshot;
use futures::future::{LocalBoxFuture, select};
use futures::{FutureExt, StreamExt};
use memchr::memmem;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// How many answers a contender reads in its turn.
const ANSWERS: u32 = 5;

/// The model that everybody asks for.
const MODEL: &str = "some-model";

fn main() {
    // What HTTP clients without TLS settings of their own take.
    let tls = rustls::crypto::ring::default_provider();
    tls.install_default().expect("nobody installed one before");
    let bench = Bench::from_args();
    let (deltas, answers) = if bench.rounds == 1 { (200, 1) } else { (20_000, ANSWERS) };
    let text: String = words(deltas).collect();
    let bodies: Arc<[String]> = Format::ALL.map(|format| format.answer(deltas, &text)).into();
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a free port");
    let origin = format!("http://{}", listener.local_addr().expect("bound"));
    let listener = listener.into_std().expect("a listener");
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| serve(listener, &bodies, stopped));
        // However this ends, the server does too.
        let _stop = stop;
        println!(
            "{:<36} {:>9} {:>7} {:>18}",
            format!("{deltas} deltas"),
            "µs/delta",
            "ratio",
            "allocations/delta"
        );
        for format in Format::ALL {
            let mut contenders = contenders(format, &origin);
            for contender in &mut contenders {
                contender.begin(&runtime, &text, deltas);
            }
            for _ in 0..bench.rounds {
                for contender in &mut contenders {
                    contender.take_turn(&runtime, &text, deltas, answers);
                }
            }
            println!("{}, {:.1} MB", format.name(), bodies[format as usize].len() as f64 / 1e6);
            print(&contenders);
        }
    });
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Chat,
    Responses,
    Messages,
    Gemini,
}

/// Asks once, and gives the whole text of an answer that ended well, or what went wrong.
type Ask = Box<dyn Fn() -> LocalBoxFuture<'static, Result<String, String>>>;

struct Contender {
    name: &'static str,
    ask: Ask,
    micros: Vec<f64>,
    allocations: f64,
    failed: Option<String>,
}

fn contenders(format: Format, origin: &str) -> Vec<Contender> {
    #[cfg_attr(not(feature = "peers"), expect(unused_mut, reason = "the peers are added"))]
    let mut contenders = vec![
        Contender::new("by hand", by_hand(format, origin)),
        Contender::new("chatwright", adapter(format, origin)),
    ];
    #[cfg(feature = "peers")]
    contenders.extend([
        Contender::new("genai", peers::genai(format, origin)),
        Contender::new("rig-core", peers::rig(format, origin)),
    ]);
    contenders
}

impl Contender {
    fn new(name: &'static str, ask: Ask) -> Self {
        Self { name, ask, micros: Vec::new(), allocations: 0.0, failed: None }
    }

    /// Connects, and counts the allocations of a second answer.
    fn begin(&mut self, runtime: &Runtime, text: &str, deltas: usize) {
        self.read(runtime, text);
        let counted = allocation_counter::measure(|| self.read(runtime, text));
        self.allocations = counted.count_total as f64 / deltas as f64;
    }

    fn take_turn(&mut self, runtime: &Runtime, text: &str, deltas: usize, answers: u32) {
        let begun = now();
        for _ in 0..answers {
            self.read(runtime, text);
        }
        self.micros.push(begun.elapsed().as_secs_f64() * 1e6 / deltas as f64 / f64::from(answers));
    }

    /// Reads an answer and checks that it is whole, unless one was not.
    fn read(&mut self, runtime: &Runtime, text: &str) {
        if self.failed.is_some() {
            return;
        }
        self.failed = match runtime.block_on(async { (self.ask)().await }) {
            Ok(answer) if answer == text => None,
            Ok(answer) => Some(format!("gave other text: {} bytes, not {}", answer.len(), text.len())),
            Err(why) => Some(why),
        };
        let ours = matches!(self.name, "by hand" | "chatwright");
        assert!(self.failed.is_none() || !ours, "{}: {:?}", self.name, self.failed);
    }
}

fn print(contenders: &[Contender]) {
    let base = median(contenders[0].micros.clone());
    for Contender { name, micros, allocations, failed, .. } in contenders {
        let micros = median(micros.clone());
        match failed {
            None => println!("  {name:<34} {micros:>9.2} {:>7.2} {allocations:>18.1}", micros / base),
            Some(why) => println!("  {name:<34} {why}"),
        }
    }
}

/// Adds the text of an event, and says whether it is the last one.
type Read = fn(&[u8], &mut String) -> bool;

fn by_hand(format: Format, origin: &str) -> Ask {
    let client = HttpSettings::default().client().expect("a client");
    let (path, separator, read): (_, &str, Read) = match format {
        Format::Chat => ("v1/chat/completions", "\n\n", read_chat),
        Format::Responses => ("v1/responses", "\n\n", read_responses),
        Format::Messages => ("v1/messages", "\n\n", read_messages),
        Format::Gemini => ("v1beta/models/m:streamGenerateContent?alt=sse", "\r\n\r\n", read_gemini),
    };
    let url = format!("{origin}/{path}");
    Box::new(move || {
        let request = client.post(&url).body("{}").send();
        async move {
            let mut response = request.await.expect("the server answers");
            let (mut buffer, mut text, mut done) = (Vec::new(), String::new(), false);
            while let Some(chunk) = response.chunk().await.expect("the server goes on") {
                buffer.extend_from_slice(&chunk);
                let mut from = 0;
                while let Some(length) = memmem::find(&buffer[from..], separator.as_bytes()) {
                    let event = &buffer[from..from + length];
                    let data = memmem::find(event, b"data: ").expect("an event with data");
                    done |= read(&event[data + 6..], &mut text);
                    from += length + separator.len();
                }
                buffer.drain(..from);
            }
            done.then_some(text).ok_or_else(|| "no terminal event".to_owned())
        }
        .boxed_local()
    })
}

fn read_chat(data: &[u8], text: &mut String) -> bool {
    #[derive(Deserialize)]
    struct Chunk {
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        delta: Delta,
    }
    #[derive(Deserialize)]
    struct Delta {
        content: Option<String>,
    }
    if data == b"[DONE]" {
        return true;
    }
    let chunk: Chunk = serde_json::from_slice(data).expect("a chunk");
    for choice in &chunk.choices {
        text.push_str(choice.delta.content.as_deref().unwrap_or_default());
    }
    false
}

fn read_responses(data: &[u8], text: &mut String) -> bool {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        delta: Option<String>,
    }
    let event: Event<'_> = serde_json::from_slice(data).expect("an event");
    text.push_str(event.delta.as_deref().unwrap_or_default());
    event.kind == "response.completed"
}

fn read_messages(data: &[u8], text: &mut String) -> bool {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        delta: Option<Delta>,
    }
    #[derive(Deserialize)]
    struct Delta {
        text: Option<String>,
    }
    let event: Event<'_> = serde_json::from_slice(data).expect("an event");
    text.push_str(event.delta.and_then(|delta| delta.text).as_deref().unwrap_or_default());
    event.kind == "message_stop"
}

fn read_gemini(data: &[u8], text: &mut String) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Chunk<'a> {
        #[serde(borrow)]
        candidates: Vec<Candidate<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Candidate<'a> {
        content: Content,
        finish_reason: Option<&'a str>,
    }
    #[derive(Deserialize)]
    struct Content {
        parts: Vec<Piece>,
    }
    #[derive(Deserialize)]
    struct Piece {
        text: String,
    }
    let chunk: Chunk<'_> = serde_json::from_slice(data).expect("a chunk");
    let candidate = &chunk.candidates[0];
    for piece in &candidate.content.parts {
        text.push_str(&piece.text);
    }
    candidate.finish_reason.is_some()
}

fn adapter(format: Format, origin: &str) -> Ask {
    let (v1, v1beta) = (format!("{origin}/v1"), format!("{origin}/v1beta"));
    let model: Box<dyn LanguageModel> = match format {
        Format::Chat => Box::new(OpenAiChat::builder(MODEL).base_url(v1).build().expect("valid")),
        Format::Responses => Box::new(OpenAiResponses::builder(MODEL).base_url(v1).build().expect("valid")),
        Format::Messages => Box::new(AnthropicMessages::builder(MODEL).base_url(v1).build().expect("valid")),
        Format::Gemini => Box::new(Gemini::builder(MODEL).base_url(v1beta).build().expect("valid")),
    };
    Box::new(move || {
        let mut parts =
            model.stream(ModelCall::new(vec![Message::new(Role::User, vec![Part::text("count")])]));
        async move {
            let (mut answer, mut pieces) = (Accumulator::new(), Vec::new());
            while let Some(part) = parts.next().await {
                answer.push_into(part, &mut pieces);
                pieces.clear();
            }
            match (answer.finish_reason(), answer.content().pop()) {
                (Some(FinishReason::Stop), Some(Part::Text { text, .. })) => Ok(text),
                _ => Err(format!("{:?}", answer.end())),
            }
        }
        .boxed_local()
    })
}

#[cfg(feature = "peers")]
mod peers {
    use genai::adapter::AdapterKind;
    use genai::chat::{ChatOptions, ChatRequest, ChatStreamEvent};
    use genai::resolver::{AuthData, Endpoint, Error, ServiceTargetResolver};
    use genai::{Client, ModelIden, ServiceTarget};
    use rig_core::DynModel;
    use rig_core::completion::CompletionRequest;
    use rig_core::operation::Completion;
    use rig_core::providers::anthropic::AnthropicConfig;
    use rig_core::providers::gemini::GeminiConfig;
    use rig_core::providers::openai::OpenAIConfig;
    use rig_core::streaming::{Item, StreamEvent};

    use super::*;

    /// It gives the usage where it is asked to.
    pub(super) fn genai(format: Format, origin: &str) -> Ask {
        let (kind, path) = match format {
            Format::Chat => (AdapterKind::OpenAI, "v1/"),
            Format::Responses => (AdapterKind::OpenAIResp, "v1/"),
            Format::Messages => (AdapterKind::Anthropic, "v1/"),
            Format::Gemini => (AdapterKind::Gemini, "v1beta/"),
        };
        let endpoint = Endpoint::from_owned(format!("{origin}/{path}"));
        let target = move |asked: ServiceTarget| -> Result<ServiceTarget, Error> {
            let model = ModelIden::new(kind, asked.model.model_name);
            Ok(ServiceTarget { endpoint: endpoint.clone(), auth: AuthData::from_single("key"), model })
        };
        let resolver = ServiceTargetResolver::from_resolver_fn(target);
        let client = Client::builder().with_service_target_resolver(resolver).build().expect("a client");
        Box::new(move || {
            let client = client.clone();
            async move {
                let options = ChatOptions::default().with_capture_usage(true);
                let asked = client.exec_chat_stream(MODEL, ChatRequest::from_user("count"), Some(&options));
                let mut events = asked.await.map_err(|error| error.to_string())?.stream;
                let (mut text, mut end) = (String::new(), None);
                while let Some(event) = events.next().await {
                    match event.map_err(|error| error.to_string())? {
                        ChatStreamEvent::Chunk(chunk) => text.push_str(&chunk.content),
                        ChatStreamEvent::End(last) => end = last.captured_stop_reason,
                        _ => {}
                    }
                }
                end.map(|_| text).ok_or_else(|| "no reason of the end".to_owned())
            }
            .boxed_local()
        })
    }

    /// It folds the answer by itself; the text is taken from the events, and the reason of the end from the fold.
    pub(super) fn rig(format: Format, origin: &str) -> Ask {
        let openai = || OpenAIConfig::new("key").with_base_url(format!("{origin}/v1")).client();
        let model: DynModel<Completion> = match format {
            Format::Chat => openai().chat(MODEL).into(),
            Format::Responses => openai().responses(MODEL).into(),
            Format::Messages => {
                AnthropicConfig::new("key").with_base_url(origin).client().completion(MODEL).into()
            }
            Format::Gemini => {
                GeminiConfig::new("key").with_base_url(origin).client().completion(MODEL).into()
            }
        };
        Box::new(move || {
            let mut request = CompletionRequest::new("count");
            request.max_tokens = Some(32_000);
            let asked = model.stream(request);
            async move {
                let mut items = asked.map_err(|error| error.to_string())?;
                let mut text = String::new();
                while let Some(item) = items.next().await {
                    if let Item::Event(StreamEvent::Text { text: delta, .. }) =
                        item.map_err(|error| error.to_string())?
                    {
                        text.push_str(&delta);
                    }
                }
                let answer = items.finish().await.map_err(|error| error.to_string())?;
                answer.finish_reason().map(|_| text).ok_or_else(|| "no reason of the end".to_owned())
            }
            .boxed_local()
        })
    }
}

/// The text: small pieces, some with escapes, some with characters of several bytes.
fn words(deltas: usize) -> impl Iterator<Item = &'static str> {
    let words = ["The", " answer", " is", " “", "forty", "-two", "”,", " naïvely", ".", "\n\n"];
    words.into_iter().cycle().take(deltas)
}

impl Format {
    const ALL: [Self; 4] = [Self::Chat, Self::Responses, Self::Messages, Self::Gemini];

    fn name(self) -> &'static str {
        match self {
            Self::Chat => "Chat Completions",
            Self::Responses => "Responses",
            Self::Messages => "Messages",
            Self::Gemini => "Gemini",
        }
    }

    fn of_path(path: &str) -> Option<Self> {
        let ends = ["/chat/completions", "/responses", "/messages", ":streamGenerateContent"];
        let path = path.split('?').next()?;
        ends.iter().zip(Self::ALL).find(|(end, _)| path.ends_with(**end)).map(|(_, format)| format)
    }

    /// What the provider sends. It is written by hand because a build decides in which order `serde_json` writes fields.
    fn answer(self, deltas: usize, text: &str) -> String {
        let (deltas, text) = (words(deltas).map(json), json(text));
        match self {
            Self::Chat => chat(deltas),
            Self::Responses => responses(deltas, &text),
            Self::Messages => messages(deltas),
            Self::Gemini => gemini(deltas),
        }
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn chat(deltas: impl Iterator<Item = String>) -> String {
    let chunk = |choices: &str, usage: &str| {
        format!(
            r#"data: {{"id":"chatcmpl-CQzAvMBoJ1HKCf2kD7cbHTJTJmxwy","object":"chat.completion.chunk","created":1760000000,"model":"gpt-5-mini-2025-08-07","service_tier":"default","system_fingerprint":null,"choices":[{choices}],"usage":{usage},"obfuscation":"a1b2c3"}}"#
        ) + "\n\n"
    };
    let choice = |delta: &str, end: &str| {
        chunk(&format!(r#"{{"index":0,"delta":{{{delta}}},"finish_reason":{end}}}"#), "null")
    };
    let mut body = choice(r#""role":"assistant","content":"","refusal":null"#, "null");
    body.extend(deltas.map(|text| choice(&format!(r#""content":{text}"#), "null")));
    body += &choice("", r#""stop""#);
    body += &chunk(
        "",
        r#"{"prompt_tokens":9,"completion_tokens":20000,"total_tokens":20009,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#,
    );
    body + "data: [DONE]\n\n"
}

fn responses(deltas: impl Iterator<Item = String>, text: &str) -> String {
    const ID: &str = "msg_68e7a1c0d4d08190b0c6e52f0e3d9a7f0a1b2c3d4e5f6071";
    let mut number = 0;
    let mut event = |kind: &str, rest: &str| {
        number += 1;
        format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{},{rest}}}\n\n", number - 1)
    };
    let response = |status: &str, output: &str, usage: &str| {
        format!(
            r#""response":{{"id":"resp_68e7a1bf8a8c8190a5d2c4e1f0b3d9a70a1b2c3d4e5f6071","object":"response","created_at":1760000000,"status":"{status}","background":false,"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"model":"gpt-5-mini-2025-08-07","output":[{output}],"parallel_tool_calls":true,"previous_response_id":null,"prompt_cache_key":null,"reasoning":{{"effort":"minimal","summary":null}},"safety_identifier":null,"service_tier":"default","store":false,"temperature":1.0,"text":{{"format":{{"type":"text"}},"verbosity":"medium"}},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1.0,"truncation":"disabled","usage":{usage},"user":null,"metadata":{{}}}}"#
        )
    };
    let part =
        |text: &str| format!(r#"{{"type":"output_text","annotations":[],"logprobs":[],"text":{text}}}"#);
    let item = |status: &str, content: &str| {
        format!(
            r#"{{"id":"{ID}","type":"message","status":"{status}","content":[{content}],"role":"assistant"}}"#
        )
    };
    let place = format!(r#""item_id":"{ID}","output_index":0,"content_index":0"#);
    let whole = item("completed", &part(text));
    let usage = r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":0},"output_tokens":20000,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":20009}"#;
    let mut body = event("response.created", &response("in_progress", "", "null"));
    body += &event("response.in_progress", &response("in_progress", "", "null"));
    body += &event(
        "response.output_item.added",
        &format!(r#""output_index":0,"item":{}"#, item("in_progress", "")),
    );
    body += &event("response.content_part.added", &format!(r#"{place},"part":{}"#, part(r#""""#)));
    for delta in deltas {
        let rest = format!(r#"{place},"delta":{delta},"logprobs":[],"obfuscation":"a1b2c3d4e5"#);
        body += &event("response.output_text.delta", &(rest + "\""));
    }
    body += &event("response.output_text.done", &format!(r#"{place},"text":{text},"logprobs":[]"#));
    body += &event("response.content_part.done", &format!(r#"{place},"part":{}"#, part(text)));
    body += &event("response.output_item.done", &format!(r#""output_index":0,"item":{whole}"#));
    body + &event("response.completed", &response("completed", &whole, usage))
}

fn messages(deltas: impl Iterator<Item = String>) -> String {
    let event = |kind: &str, rest: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
    let mut body = event(
        "message_start",
        r#","message":{"model":"claude-sonnet-4-5-20250929","id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":1,"service_tier":"standard"}}"#,
    );
    body += &event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#);
    body += &event("ping", "");
    body.extend(deltas.map(|text| {
        event("content_block_delta", &format!(r#","index":0,"delta":{{"type":"text_delta","text":{text}}}"#))
    }));
    body += &event("content_block_stop", r#","index":0"#);
    body += &event(
        "message_delta",
        r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":9,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":20000}"#,
    );
    body + &event("message_stop", "")
}

/// Google ends its lines as HTTP does.
fn gemini(deltas: impl Iterator<Item = String>) -> String {
    let chunk = |text: &str, end: &str| {
        format!(
            r#"data: {{"candidates":[{{"content":{{"parts":[{{"text":{text}}}],"role":"model"}}{end},"index":0}}],"usageMetadata":{{"promptTokenCount":9,"candidatesTokenCount":20000,"totalTokenCount":20009,"promptTokensDetails":[{{"modality":"TEXT","tokenCount":9}}]}},"modelVersion":"gemini-2.5-flash","responseId":"vqHnaJ3yC5uhz7IPy9b-8Qk"}}"#
        ) + "\r\n\r\n"
    };
    let body: String = deltas.map(|text| chunk(&text, "")).collect();
    body + &chunk(r#""""#, r#","finishReason":"STOP""#)
}

/// Answers every request on every connection with the format of its path at once, until it is stopped.
fn serve(listener: std::net::TcpListener, bodies: &Arc<[String]>, stopped: oneshot::Receiver<()>) {
    runtime().block_on(async {
        let listener = TcpListener::from_std(listener).expect("a listener that does not block");
        let mut connections = JoinSet::new();
        let accepted = async {
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream, Arc::clone(bodies)));
            }
            pending::<()>().await;
        };
        select(pin!(accepted), stopped).await;
    });
}

async fn converse(mut stream: TcpStream, bodies: Arc<[String]>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut request = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = memmem::find(&request, b"\r\n\r\n") {
                break end + 4;
            }
            (stream.read_buf(&mut request).await.ok()? > 0).then_some(())?;
        };
        let (format, length) = understand(&String::from_utf8_lossy(&request[..head]));
        while request.len() < head + length {
            (stream.read_buf(&mut request).await.ok()? > 0).then_some(())?;
        }
        request.drain(..head + length);
        let (status, body) =
            format.map_or(("404 Not Found", ""), |format| ("200 OK", &bodies[format as usize]));
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(body.as_bytes()).await.ok()?;
    }
}

/// The format that a request's head asks for, and the length of its body.
fn understand(head: &str) -> (Option<Format>, usize) {
    let format = head.split(' ').nth(1).and_then(Format::of_path);
    let length = head.to_ascii_lowercase().lines().find_map(|line| {
        line.strip_prefix("content-length:").map(|value| value.trim().parse().expect("a number"))
    });
    (format, length.unwrap_or(0))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}
