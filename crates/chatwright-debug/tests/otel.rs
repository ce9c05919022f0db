//! A recorded run as a tracer is given it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use chatwright_core::debug::DebugStatus;
use chatwright_debug::Cassette;
use chatwright_debug::otel::{ExportOptions, export};
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use serde_json::{Value, json};

const CASSETTE: &[u8] = include_bytes!("run/cassette.jsonl");
/// When the run began.
const START: u64 = 1_790_000_000_000;

fn exported(cassette: &Cassette, options: &ExportOptions) -> (Vec<SpanData>, TraceId) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let run = export(cassette, &provider.tracer("debug"), options);
    let mut spans = exporter.get_finished_spans().expect("in memory");
    spans.sort_by_key(|span| (span.start_time, u64::MAX - millis(span.end_time)));
    (spans, run.trace_id())
}

fn cassette() -> Cassette {
    Cassette::read(CASSETTE).expect("a cassette")
}

/// Since the run began.
fn millis(time: SystemTime) -> u64 {
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(START);
    u64::try_from(time.duration_since(start).expect("not before the run").as_millis()).expect("soon after it")
}

fn attributes(span: &SpanData) -> BTreeMap<&str, String> {
    span.attributes.iter().map(|one| (one.key.as_str(), one.value.to_string())).collect()
}

fn expected<'a>(pairs: &[(&'a str, &str)]) -> BTreeMap<&'a str, String> {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[test]
fn a_run_is_a_trace_with_a_span_for_each_step_and_each_request() {
    let (spans, trace) = exported(&cassette(), &ExportOptions::default());
    let ids: HashMap<SpanId, usize> =
        spans.iter().enumerate().map(|(at, span)| (span.span_context.span_id(), at)).collect();
    let seen: Vec<_> = spans
        .iter()
        .map(|span| {
            assert_eq!(span.span_context.trace_id(), trace);
            let times = (millis(span.start_time), millis(span.end_time));
            (&*span.name, span.span_kind.clone(), ids.get(&span.parent_span_id).copied(), times)
        })
        .collect();
    let (inner, outer) = (SpanKind::Internal, SpanKind::Client);
    assert_eq!(
        seen,
        [
            ("invoke_agent", inner, None, (0, 13_400)),
            ("chat large-1", outer.clone(), Some(0), (0, 1_450)),
            ("POST", outer.clone(), Some(1), (0, 1_448)),
            ("chat large-1", outer.clone(), Some(0), (1_600, 10_900)),
            ("POST", outer.clone(), Some(3), (1_600, 1_750)),
            ("POST", outer.clone(), Some(3), (8_800, 10_899)),
            ("chat large-1", outer.clone(), Some(0), (11_000, 13_400)),
            ("POST", outer, Some(6), (11_000, 13_399)),
        ]
    );
    assert_eq!(spans[0].parent_span_id, SpanId::INVALID);
}

#[test]
fn spans_have_the_names_of_the_conventions() {
    let (spans, _) = exported(&cassette(), &ExportOptions::default());
    assert_eq!(
        attributes(&spans[0]),
        expected(&[
            ("chatwright.run.id", "0199f1b2-0000-7000-8000-000000000001"),
            ("chatwright.run.kind", "chat_turn"),
            ("chatwright.run.status", "interrupted"),
            ("gen_ai.conversation.id", "0199f1b2-0000-7000-8000-000000000002"),
            ("gen_ai.operation.name", "invoke_agent"),
        ])
    );
    assert_eq!(
        attributes(&spans[1]),
        expected(&[
            ("chatwright.purpose", "turn"),
            ("chatwright.status", "completed"),
            ("chatwright.step", "1"),
            ("gen_ai.conversation.id", "0199f1b2-0000-7000-8000-000000000002"),
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "example"),
            ("gen_ai.request.max_tokens", "1024"),
            ("gen_ai.request.model", "large-1"),
            ("gen_ai.request.seed", "7"),
            ("gen_ai.request.stop_sequences", "[\"END\"]"),
            ("gen_ai.request.temperature", "0.5"),
            ("gen_ai.response.finish_reasons", "[\"tool_calls\"]"),
            ("gen_ai.response.id", "resp_1"),
            ("gen_ai.response.time_to_first_chunk", "0.25"),
            ("gen_ai.usage.input_tokens", "40"),
            ("gen_ai.usage.output_tokens", "30"),
            ("gen_ai.usage.reasoning.output_tokens", "10"),
            ("server.address", "api.example.com"),
            ("server.port", "8443"),
        ])
    );
    let second = attributes(&spans[3]);
    assert_eq!(second["gen_ai.usage.input_tokens"], "80", "those of the cache are a part");
    assert_eq!(second["gen_ai.usage.cache_read.input_tokens"], "60");
    assert_eq!(
        attributes(&spans[4]),
        expected(&[
            ("chatwright.attempt", "1"),
            ("chatwright.gen", "2"),
            ("error.type", "429"),
            ("http.request.body.size", "120"),
            ("http.request.method", "POST"),
            ("http.response.body.size", "300"),
            ("http.response.status_code", "429"),
            ("server.address", "api.example.com"),
            ("server.port", "8443"),
            ("url.full", "https://api.example.com:8443/v1/chat/completions"),
        ])
    );
    let again = attributes(&spans[5]);
    assert_eq!((&*again["http.request.resend_count"], again.get("error.type")), ("1", None));
    let events: Vec<_> =
        spans[5].events.iter().map(|event| (&*event.name, millis(event.timestamp))).collect();
    assert_eq!(events, [("chatwright.first_content", 9_800)]);
}

#[test]
fn a_span_has_failed_iff_what_it_stands_for_has() {
    let mut cassette = cassette();
    let failed = |cassette: &Cassette| -> Vec<(String, String)> {
        let (spans, _) = exported(cassette, &ExportOptions::default());
        let failed = |span: &SpanData| {
            let kind = attributes(span).remove("error.type");
            assert_eq!(kind.is_some(), matches!(span.status, Status::Error { .. }), "{}", span.name);
            Some((span.name.to_string(), kind?))
        };
        spans.iter().filter_map(failed).collect()
    };
    // A failure that was tried again is the request's alone, and what was stopped has not failed.
    assert_eq!(failed(&cassette), [("POST".to_owned(), "429".to_owned())]);

    // The run ends with the failure, of the second of two requests.
    cassette.steps.truncate(2);
    let step = &mut cassette.steps[1];
    let mut attempt = step.attempts.remove(0);
    attempt.doc.http[0].status = Some(200);
    attempt.doc.http.push(attempt.doc.http[0].clone());
    let failure = attempt.doc.failure.as_mut().expect("it failed");
    (failure.cause, failure.status, failure.body) = ("in_stream".into(), Some(200), None);
    (failure.error_type, failure.message) = (Some("overloaded_error".into()), Some("Quoted words.".into()));
    step.attempts = vec![attempt];
    step.status = DebugStatus::Error;
    cassette.run.status = DebugStatus::Error;
    let names = ["invoke_agent", "chat large-1", "POST"];
    assert_eq!(failed(&cassette), names.map(|name| (name.to_owned(), "overloaded".to_owned())));
    let (spans, _) = exported(&cassette, &ExportOptions::default());
    let last = spans.last().expect("the second request");
    assert_eq!((millis(last.start_time), millis(last.end_time)), (1_750, 1_900), "behind the first");
    assert!(!format!("{spans:?}").contains("Quoted"), "a provider is quoted");

    cassette.steps[1].attempts[0].doc.http.clear();
    let names = ["invoke_agent", "chat large-1", "chatwright.attempt"];
    assert_eq!(failed(&cassette), names.map(|name| (name.to_owned(), "overloaded".to_owned())));
}

#[test]
fn nothing_that_was_said_is_exported_unless_it_is_asked_for() {
    let (spans, _) = exported(&cassette(), &ExportOptions::default());
    let everything = format!("{spans:?}");
    for word in ["two files", "helpful", "a.txt", "archive", "reads a file", "Somebody", "Too many requests"]
    {
        assert!(!everything.contains(word), "{word}");
    }

    let (spans, _) = exported(&cassette(), &ExportOptions::default().with_content());
    let value = |at: usize, name: &str| -> Value {
        serde_json::from_str(&attributes(&spans[at])[name]).expect("JSON")
    };
    let text = |text: &str| json!({ "type": "text", "content": text });
    assert_eq!(value(1, "gen_ai.system_instructions"), json!([text("You are helpful.")]));
    let asked = text("Which of the two files is\nthe longer one?");
    assert_eq!(value(1, "gen_ai.input.messages"), json!([{ "role": "user", "parts": [asked] }]));
    let call = |id: &str, path: &str| json!({ "type": "tool_call", "id": id, "name": "read", "arguments": { "path": path } });
    let thought = json!({ "type": "reasoning", "content": "Two files may be meant.\nI look at both." });
    let parts = json!([thought, text("I look at both files."), call("c1", "a.txt"), call("c2", "b.txt")]);
    let answer = json!([{ "role": "assistant", "parts": parts, "finish_reason": "tool_calls" }]);
    assert_eq!(value(1, "gen_ai.output.messages"), answer);
    let tool = json!({ "type": "function", "name": "read", "description": "reads a file", "parameters": { "type": "object" } });
    assert_eq!(value(6, "gen_ai.tool.definitions"), json!([tool]));
    let result =
        json!({ "type": "tool_call_response", "id": "c2", "response": { "error": "no such file: b.txt" } });
    assert_eq!(value(3, "gen_ai.input.messages")[3], json!({ "role": "tool", "parts": [result] }));
}
