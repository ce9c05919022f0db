//! What goes over HTTP as it is recorded, and that no secret is.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::debug::DebugWrite;
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, FinishReason, Message, ModelPart, Role, ToolDefinition};
use chatwright_core::port::{
    AttemptEnd, HttpEnd, HttpExchange, HttpObserver, HttpRequest, HttpResponse, Purpose,
};
use chatwright_debug::redact::{COMPRESSED, MARK, NOT_JSON};
use chatwright_debug::{ExchangeRecord, RecorderSettings, Summary};
use common::recording::{
    End, Exchange, Model, Tape, again, answer, call, header, redactor, said, scope, text,
};
use common::{Bench, Rigged, chat};
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::json;

on_both_stores![
    every_exchange_of_a_call_is_recorded_in_the_order_of_their_requests,
    an_exchange_is_recorded_however_it_ends,
    no_secret_is_written_down_wherever_it_was,
];

const OK: &str = r#"{"ok":true}"#;

/// The exchanges of a call in which these are told.
async fn recorded(tape: &Tape, exchanges: Vec<Exchange>) -> Vec<ExchangeRecord> {
    let model = Model::tells(move |observer| exchanges.iter().for_each(|exchange| exchange.tell(observer)));
    let parts = tape.ask(model, call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    assert_eq!(parts, answer("ok"));
    let (_, mut records) = tape.only(1).await;
    let mut last = records.pop().expect("a step");
    assert_eq!(last.problems, Vec::<String>::new());
    last.attempts.pop().expect("an attempt").http
}

async fn every_exchange_of_a_call_is_recorded_in_the_order_of_their_requests(store: Rigged) {
    let tape = Tape::new(store);
    let mut first = Exchange::new("{\"n\":1}", "application/json", &[]);
    first.url = "https://provider.example/v1/chat?stream=1#x".to_owned();
    first.answered = Some((503, vec![header("retry-after", "7", false)]));
    first.end = End::Abandoned;
    let mut second = Exchange::new("{\"n\":2}", "application/json", &[b"{\"ok\"", b":true}"]);
    second.method = "PUT";
    let mut third = Exchange::new("{\"n\":3}", "application/json", &[OK.as_bytes()]);
    third.url = "https://provider.example/third".to_owned();
    let http = recorded(&tape, vec![first, second, third]).await;
    let told: Vec<_> = http
        .iter()
        .map(|one| {
            (&*one.doc.method, &*one.doc.path, one.doc.status, &*one.doc.end, one.request_body.as_deref())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("POST", "/v1/chat", Some(503), "abandoned", Some("{\"n\":1}")),
            ("PUT", "/v1/chat", Some(200), "complete", Some("{\"n\":2}")),
            ("POST", "/third", Some(200), "complete", Some("{\"n\":3}")),
        ]
    );
    let bodies: Vec<_> = http.iter().map(|one| one.response_body.as_deref()).collect();
    assert_eq!(bodies, [None, Some(OK), Some(OK)]);
    assert_eq!(http[0].doc.response_headers, [("retry-after".into(), "7".into())]);
    assert_eq!(http[1].doc.request_headers, [("content-type".into(), "application/json".into())]);
    let (run, _) = tape.only(1).await;
    let sum = tape.bench.service.summary(chat(1), run.id, Summary::default()).await.expect("it answers");
    assert_eq!(sum.endpoint_label.as_deref(), Some("PUT /v1/chat"), "the first that was answered in full");
}

/// Its status, its end, and what is kept of its body.
type Told = (Option<u16>, &'static str, Option<&'static str>);

async fn an_exchange_is_recorded_however_it_ends(store: Rigged) {
    let tape = Tape::new(store);
    let plain = || Exchange::new("{}", "text/plain", &[b"some", b"thing"]);
    let unanswered = || Exchange { answered: None, pieces: vec![], ..plain() };
    let mut failure = Failure::new("test", Cause::Connect);
    failure.message = Some("refused".into());
    let reset = End::Failed(Failure::new("test", Cause::Reset));
    let empty = |status| Exchange { answered: Some((status, vec![])), pieces: vec![], ..plain() };
    let cases: [(Exchange, Told); 9] = [
        (plain(), (Some(200), "complete", Some("something"))),
        // Nobody reads it to its end.
        (Exchange { end: End::Abandoned, ..plain() }, (Some(200), "abandoned", Some("something"))),
        (Exchange { end: End::Dropped, ..plain() }, (Some(200), "abandoned", Some("something"))),
        (Exchange { end: reset, ..plain() }, (Some(200), "failed", Some("something"))),
        (Exchange { end: End::Failed(failure), ..unanswered() }, (None, "failed", None)),
        (Exchange { end: End::Dropped, ..unanswered() }, (None, "abandoned", None)),
        // As those of HEAD, or of these statuses.
        (empty(204), (Some(204), "complete", None)),
        (empty(304), (Some(304), "complete", None)),
        // What was read in full is complete, whatever it says.
        (
            Exchange { answered: Some((500, vec![])), pieces: vec![OK.into()], ..plain() },
            (Some(500), "complete", Some(OK)),
        ),
    ];
    let (exchanges, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let http = recorded(&tape, exchanges).await;
    let ends: Vec<_> =
        http.iter().map(|one| (one.doc.status, &*one.doc.end, one.response_body.as_deref())).collect();
    assert_eq!(ends, expected);
    assert!(http[4].doc.error.as_deref().is_some_and(|error| error.contains("refused")), "{:?}", http[4].doc);
}

async fn no_secret_is_written_down_wherever_it_was(store: Rigged) {
    const KEY: &str = "Zx9fKq27LmTt44Wd";
    const SENT: &str = "Qw8eRr65TyUu31Io";
    let registered = redactor();
    registered.register(&KEY.into()).expect("long enough");
    let tape = Tape::redacted(Bench::new(store), registered);
    let with = |words: &str| format!("{words} {KEY} {words}");
    let metadata = move || Metadata::from([("test".into(), json!({ "note": with("m") }))]);

    let mut of = scope(chat(1), 3, 1);
    of.tip = None;
    let tool_call = Part::ToolCall {
        id: "c1".into(),
        name: "look".into(),
        input: json!({ "password": "xyz12345", "q": with("q") }).to_string(),
        provider_executed: false,
        metadata: metadata(),
    };
    let result = Part::ToolResult {
        call_id: "c1".into(),
        name: "look".into(),
        output: Output::text(with("found")),
        provider_executed: false,
        metadata: Metadata::default(),
    };
    let mut system = Message::new(Role::System, vec![Part::text(with("system"))]);
    system.provider_options = BTreeMap::from([("test".into(), json!({ "note": with("o") }))]);
    let prompt = vec![
        system,
        said("before"),
        Message::new(Role::Assistant, vec![tool_call]),
        Message::new(Role::Tool, vec![result]),
        said(&with("What is it?")),
    ];
    let asked = |attempt| {
        let mut asked = call(again(of.clone(), attempt), prompt.clone());
        asked.tools = [ToolDefinition::Function {
            name: "look".into(),
            description: with("looks").into(),
            input_schema: json!({ "description": with("schema") }),
            provider_options: BTreeMap::new(),
        }]
        .into();
        asked.stop_sequences = vec![with("stop")];
        asked.provider_options = BTreeMap::from([("test".into(), json!({ "user": with("u") }))]);
        asked.transport.headers.0 = vec![("x-own".into(), KEY.into())];
        asked
    };

    // What the provider sends back: its key, cut anywhere.
    let echo = format!("data: {{\"say\":\"{SENT} and {KEY}\"}}\n\n");
    let (one, other) = echo.as_bytes().split_at(20);
    let exchange = |end| Exchange {
        method: "POST",
        url: format!("https://me:{KEY}@provider.example/v1/{KEY}/chat?key={SENT}&n=2"),
        sent: vec![
            header("content-type", "application/json", false),
            header("authorization", &format!("Bearer {SENT}"), true),
            header("x-note", KEY, false),
        ],
        body: json!({ "api_key": "plain1234", "say": with("body") }).to_string(),
        answered: Some((
            200,
            vec![header("content-type", "text/event-stream", false), header("x-echo", SENT, false)],
        )),
        pieces: vec![one.to_vec(), other.to_vec()],
        end,
    };
    let mut failure = Failure::new("test", Cause::InStream).with_header("x-echo", SENT);
    failure.message = Some(format!("no such key: {SENT} {KEY}").into());
    failure.body = Some(json!({ "api_key": "plain1234", "say": SENT }).to_string().into());
    (failure.error_type, failure.error_code) = (Some(SENT.into()), Some(KEY.into()));

    // It fails, and is asked again.
    let (first, last) = (exchange(End::Failed(failure.clone())), failure.clone());
    let fails = Model::by(move |call| {
        let (first, last) = (first.clone(), last.clone());
        let begin = async move {
            first.tell(&*call.transport.observer.expect("it is observed"));
            futures::stream::iter([text("0", &format!("It is {SENT}")), ModelPart::Failure(Box::new(last))])
        };
        futures::FutureExt::flatten_stream(begin).boxed()
    });
    tape.ask(fails, asked(1)).await;
    tape.attempt_ended(chat(1), 1, AttemptEnd::Failed("other"));
    let second = exchange(End::Complete);
    let answers = Model::by(move |call| {
        let second = second.clone();
        let (half, rest) = KEY.split_at(7);
        let parts = vec![
            ModelPart::Warnings(vec![format!("no place for {KEY} {SENT}")]),
            ModelPart::TextStart { id: "0".into() },
            text("0", &format!("It is {half}")),
            text("0", &format!("{rest}, {SENT}.")),
            ModelPart::TextEnd { id: "0".into(), metadata: metadata() },
            ModelPart::ToolCall {
                id: "c2".into(),
                name: "look".into(),
                input: json!({ "token": "plain1234", "q": SENT }).to_string(),
                provider_executed: false,
                metadata: Metadata::default(),
            },
            ModelPart::Finish(Finish {
                reason: FinishReason::Stop,
                response_id: Some(format!("resp-{SENT}-{KEY}").into()),
                metadata: metadata(),
                ..Finish::default()
            }),
        ];
        let begin = async move {
            second.tell(&*call.transport.observer.expect("it is observed"));
            futures::stream::iter(parts)
        };
        futures::FutureExt::flatten_stream(begin).boxed()
    });
    tape.ask(answers, asked(2)).await;
    let mut summary = of.clone();
    summary.purpose = Purpose::Compaction;
    tape.ask(Model::plays(answer(&with("sum"))), call(summary, vec![said(&with("Sum up"))])).await;
    tape.turn_ended(chat(1), None);
    tape.flush().await;

    let mut written = String::new();
    for write in tape.bench.store.writes() {
        match write {
            DebugWrite::Content { bytes, .. } => written.push_str(&String::from_utf8_lossy(&bytes)),
            other => written.push_str(&format!("\n{other:?}\n")),
        }
    }
    let dump = tape.bench.dump(chat(1)).await;
    assert!(dump.contains("What is it?") && dump.contains("found") && dump.contains("schema"));
    assert!(dump.matches(MARK).count() > 20, "{dump}");
    for secret in [KEY, SENT, "plain1234", "xyz12345", &KEY[..9], &SENT[..9]] {
        for (what, text) in [("dumped", &dump), ("written", &written)] {
            let at = text.find(secret);
            let around = at.map(|at| {
                String::from_utf8_lossy(
                    &text.as_bytes()[at.saturating_sub(80)..][..160.min(text.len() - at.saturating_sub(80))],
                )
            });
            assert_eq!(around, None, "{secret} was {what}");
        }
    }
}

#[tokio::test]
async fn what_a_provider_calls_an_answer_is_no_secret() {
    let ids = [
        "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
        "msg_01XFDUDYJgAACzvnptvVoYEL",
        "gen-1742313834-BhDDn3rTsLXVZ1hc9jqe",
        "0f4b3c1e-8a4d-4b7e-9c33-0d2f5a6b7c8d",
    ];
    let tape = Tape::new(Rigged::memory());
    for id in ids {
        let end = Finish { response_id: Some(id.into()), ..Finish::default() };
        tape.ask(Model::plays(vec![ModelPart::Finish(end)]), call(scope(chat(1), 3, 1), vec![said("Hi")]))
            .await;
    }
    let (_, records) = tape.only(1).await;
    let kept: Vec<_> = records
        .iter()
        .map(|step| step.response.as_ref().and_then(|response| response.doc.response_id.as_deref()))
        .collect();
    assert_eq!(kept, ids.map(Some));
}

/// What is kept of one body of a response.
async fn kept(media: &str, body: &str) -> Option<String> {
    let tape = Tape::new(Rigged::memory());
    // In pieces of five bytes.
    let pieces: Vec<&[u8]> = body.as_bytes().chunks(5).collect();
    let mut exchange = Exchange::new("", media, &pieces);
    if media.is_empty() {
        exchange.answered = Some((200, vec![]));
    }
    recorded(&tape, vec![exchange]).await.remove(0).response_body
}

#[tokio::test]
async fn bodies_are_read_by_their_media_types() {
    let html = "<html>Log in</html>";
    let events = "data: {\"a\":1}\n\n: ping\n\nevent: x\ndata: [DONE]\n\n";
    let secret = "{\"api_key\":\"abc\",\"n\":1}";
    let clean = "{\"api_key\":\"[REDACTED]\",\"n\":1}";
    for (media, body, expected) in [
        ("text/event-stream", events, Some(events)),
        ("text/event-stream; charset=utf-8", "", None),
        ("text/plain", "api_key is a name", Some("api_key is a name")),
        ("text/html", html, Some(html)),
        ("application/json", secret, Some(clean)),
        ("Application/Problem+JSON; charset=utf-8", secret, Some(clean)),
        ("", secret, Some(clean)),
        ("application/json", html, Some(NOT_JSON)),
        ("", html, Some(NOT_JSON)),
    ] {
        assert_eq!(kept(media, body).await.as_deref(), expected, "{media}: {body}");
    }
    let lines = format!("{secret}\n{{\"n\":2}}\n");
    let expected = format!("{clean}\n{{\"n\":2}}\n");
    assert_eq!(kept("application/x-ndjson", &lines).await, Some(expected));
    let tape = Tape::new(Rigged::memory());
    let mut zipped = Exchange::new("", "application/json", &[&[0x1f, 0x8b, 0xff]]);
    zipped.answered.as_mut().expect("it is answered").1.push(header("content-encoding", "gzip", false));
    let body = recorded(&tape, vec![zipped]).await.remove(0).response_body;
    assert_eq!(body.as_deref(), Some(COMPRESSED));
}

#[tokio::test]
async fn what_is_secret_in_an_address_goes_and_the_rest_stays() {
    let tape = Tape::new(Rigged::memory());
    let mut exchange = Exchange::new("", "text/plain", &[]);
    exchange.url = "https://me:pw@provider.example/v1?api_key=abc&n=2".to_owned();
    let doc = recorded(&tape, vec![exchange]).await.remove(0).doc;
    assert_eq!(&*doc.url, "https://provider.example/v1?api_key=%5BREDACTED%5D&n=2");
    assert_eq!((&*doc.path, doc.request_body, doc.response_body), ("/v1", None, None));
}

#[tokio::test]
async fn the_endpoint_of_a_request_without_a_method_is_its_path() {
    let tape = Tape::new(Rigged::memory());
    let mut exchange = Exchange::new("", "text/plain", &[]);
    exchange.method = "";
    recorded(&tape, vec![exchange]).await;
    let (run, _) = tape.only(1).await;
    let sum = tape.bench.service.summary(chat(1), run.id, Summary::default()).await.expect("it answers");
    assert_eq!(sum.endpoint_label.as_deref(), Some("/v1/chat"));
}

#[tokio::test]
async fn of_bodies_over_their_bounds_the_beginning_and_the_end_are_kept_and_they_say_so() {
    let mut settings = RecorderSettings::default();
    (settings.request_bytes_max, settings.response_bytes_max) = (2_000, 1_000);
    let lines = |count: usize| (0..count).map(|n| format!("line {n:04}\n")).collect::<String>();
    // At the bound, though more than its half; and over it.
    for (request, response) in [(200, 100), (1_000, 2_000)] {
        let tape = Tape::with(Bench::new(Rigged::memory()), settings.clone());
        let (sent, received) = (lines(request), lines(response));
        let pieces: Vec<&[u8]> = received.as_bytes().chunks(7).collect();
        let mut exchange = Exchange::new(&sent, "text/plain", &pieces);
        exchange.sent = vec![header("content-type", "text/plain", false)];
        let one = recorded(&tape, vec![exchange]).await.remove(0);
        for (whole, max, doc, kept) in [
            (&sent, 2_000, one.doc.request_body.as_ref(), one.request_body.as_deref()),
            (&received, 1_000, one.doc.response_body.as_ref(), one.response_body.as_deref()),
        ] {
            let (doc, kept) = (doc.expect("a body"), kept.expect("a body"));
            assert_eq!(doc.bytes, whole.len() as u64);
            if whole.len() <= max {
                assert_eq!((doc.dropped_bytes, kept), (0, &**whole));
                continue;
            }
            assert_eq!(doc.dropped_bytes, (whole.len() - max) as u64);
            assert!(kept.starts_with(&whole[..200]) && kept.ends_with(&whole[whole.len() - 200..]), "{kept}");
            assert!(kept.contains(" bytes not kept"), "{kept}");
            assert!(kept.len() <= max + 100, "{}", kept.len());
        }
    }
}

#[tokio::test]
async fn an_answer_over_its_bound_says_how_much_of_it_is_missing() {
    let mut settings = RecorderSettings::default();
    settings.answer_bytes_max = 4_000;
    let tape = Tape::with(Bench::new(Rigged::memory()), settings);
    let mut parts: Vec<ModelPart> = (0..100).map(|_| text("0", &"x".repeat(100))).collect();
    parts.push(common::recording::finish(FinishReason::Stop, 1, 1));
    let seen = tape.ask(Model::plays(parts.clone()), call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    assert_eq!(seen, parts);
    let (_, records) = tape.only(1).await;
    let response = records[0].response.as_ref().expect("it was answered");
    let kept = common::recording::words(&response.content).len() as u64;
    assert_eq!(kept + response.doc.dropped_bytes, 10_000);
    assert!((3_000..=4_000).contains(&kept), "{kept}");
}

/// Writes down what it is told.
#[derive(Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

struct Note(Arc<Mutex<Vec<String>>>);

impl HttpObserver for Notes {
    fn request(&self, request: &HttpRequest<'_>) -> Box<dyn HttpExchange> {
        self.0.lock().push(format!("{} {}", request.method, request.body));
        Box::new(Note(Arc::clone(&self.0)))
    }
}

impl HttpExchange for Note {
    fn response(&mut self, response: &HttpResponse<'_>) {
        self.0.lock().push(format!("{}", response.status));
    }

    fn body(&mut self, bytes: &[u8]) {
        self.0.lock().push(String::from_utf8_lossy(bytes).into_owned());
    }

    fn end(self: Box<Self>, end: HttpEnd<'_>) {
        self.0.lock().push(format!("{end:?}"));
    }
}

#[tokio::test]
async fn an_observer_of_the_callers_own_is_told_the_same() {
    let tape = Tape::new(Rigged::memory());
    let notes = Notes::default();
    let told = Arc::clone(&notes.0);
    let mut asked = call(scope(chat(1), 3, 1), vec![said("Hi")]);
    asked.transport.observer = Some(Arc::new(notes));
    let model = Exchange::new("{}", "application/json", &[b"{\"ok\"", b":true}"]).model();
    assert_eq!(tape.ask(model, asked).await, answer("ok"));
    assert_eq!(*told.lock(), ["POST {}", "200", "{\"ok\"", ":true}", "Complete"]);
    let (_, records) = tape.only(1).await;
    assert_eq!(records[0].attempts[0].http[0].response_body.as_deref(), Some(OK));
}

#[tokio::test]
async fn exchanges_of_many_threads_are_all_there() {
    let tape = Tape::new(Rigged::memory());
    let model = Model::tells(|observer| {
        std::thread::scope(|threads| {
            for thread in 0..16 {
                threads.spawn(move || {
                    for n in 0..16 {
                        let body = format!("{{\"n\":{}}}", 16 * thread + n);
                        Exchange::new(&body, "text/plain", &[body.as_bytes()]).tell(observer);
                    }
                });
            }
        });
    });
    tape.ask(model, call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    let (_, records) = tape.only(1).await;
    let http = &records[0].attempts[0].http;
    let mut bodies: Vec<String> = http.iter().filter_map(|one| one.request_body.clone()).collect();
    let answers: Vec<String> = http.iter().filter_map(|one| one.response_body.clone()).collect();
    assert_eq!(bodies, answers, "each has its own answer");
    bodies.sort_unstable();
    let mut expected: Vec<String> = (0..256).map(|n| format!("{{\"n\":{n}}}")).collect();
    expected.sort_unstable();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn an_exchange_that_outlives_its_call_changes_nothing() {
    let tape = Tape::new(Rigged::memory());
    let kept = Arc::new(Mutex::new(None));
    let keeps = Arc::clone(&kept);
    let model = Model::by(move |call| {
        *keeps.lock() = call.transport.observer;
        futures::stream::iter(answer("ok")).boxed()
    });
    tape.ask(model, call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    let before = tape.only(1).await;
    let observer = kept.lock().take().expect("it was observed");
    Exchange::new("{}", "text/plain", &[b"late"]).tell(&*observer);
    assert_eq!(tape.only(1).await, before);
    assert_eq!(tape.recorder.stats().held_bytes, 0);
}
