//! Recorded runs as spans of OpenTelemetry.
//!
//! [`export`] gives a [`Cassette`] to a tracer of the host's, with the times at which everything happened:
//!
//! | span | stands for | its names |
//! |---|---|---|
//! | `invoke_agent`, or the kind of a run that is no turn's | the run | `gen_ai.operation.name`, `gen_ai.conversation.id`, `chatwright.run.*` |
//! | `chat {model}`, a client's | a step | those of the conventions for generative models |
//! | the method, a client's | a request over HTTP | those of the conventions for HTTP clients |
//! | `chatwright.attempt` | an attempt without HTTP | `chatwright.attempt`, `chatwright.gen`, `error.type` |
//!
//! The names are those of the semantic conventions as of version 1.41, none of which is stable for generative models. No span has a word
//! of a prompt, of an answer, or of a tool in it, unless [`ExportOptions::content`] asks for them.
//!
//! ```
//! use chatwright_debug::Cassette;
//! use chatwright_debug::otel::{ExportOptions, export};
//! use opentelemetry::trace::TracerProvider;
//! use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
//!
//! # let file = include_bytes!("../tests/run/cassette.jsonl");
//! let cassette = Cassette::read(&file[..])?;
//! let exporter = InMemorySpanExporter::default();
//! let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
//! let run = export(&cassette, &provider.tracer("debug"), &ExportOptions::default());
//! assert!(exporter.get_finished_spans()?.iter().all(|span| span.span_context.trace_id() == run.trace_id()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod messages;

use std::time::SystemTime;

use chatwright_core::Timestamp;
use chatwright_core::debug::{DebugStatus, RunKind};
use chatwright_core::error::classify;
use chatwright_core::model::Usage;
use opentelemetry::trace::{Span, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};

use crate::doc::{AttemptDoc, AttemptStatus, ExchangeDoc, FailureDoc};
use crate::{Cassette, CassetteStep};

/// What is exported beside names, numbers and times. Plain data; every field has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportOptions {
    /// Prompts, tools and answers, as attributes of the steps' spans. `false` by default: whoever may read traces may then read chats.
    pub content: bool,
}

impl ExportOptions {
    /// With prompts, tools and answers.
    #[must_use]
    pub fn with_content(mut self) -> Self {
        self.content = true;
        self
    }
}

/// Gives a run to a tracer, as a trace of its own, and says which. The spans have ended when this returns; each export makes new ones.
///
/// Whatever has not ended in the cassette ends with what is known last of it. A request over HTTP that follows another one of the same
/// attempt is taken to begin where that ended.
pub fn export(cassette: &Cassette, tracer: &impl Tracer, options: &ExportOptions) -> SpanContext {
    let run = &cassette.run;
    let mut attributes = vec![
        KeyValue::new("gen_ai.conversation.id", run.chat.to_string()),
        KeyValue::new("chatwright.run.id", run.id.to_string()),
        KeyValue::new("chatwright.run.kind", run.kind.as_str()),
        KeyValue::new("chatwright.run.status", run.status.as_str()),
    ];
    let name = match run.kind {
        RunKind::ChatTurn => "invoke_agent",
        kind => kind.as_str(),
    };
    if run.kind == RunKind::ChatTurn {
        attributes.push(KeyValue::new("gen_ai.operation.name", name));
    }
    let fault = (run.status == DebugStatus::Error).then(|| match cassette.steps.last() {
        Some(step) => Fault::of_step(step),
        None => Fault::other(),
    });
    let builder = spanned(name.to_owned(), SpanKind::Internal, run.started_at);
    let mut span = begun(tracer, builder, &Context::new(), attributes, fault);
    let context = inside(&span);
    let ended = cassette.steps.iter().map(|step| export_step(cassette, step, tracer, &context, options));
    let last = ended.fold(run.started_at, i64::max);
    span.end_with_timestamp(at(run.finished_at.unwrap_or(last)));
    span.span_context().clone()
}

/// Gives a step to a tracer, and says when it ended.
fn export_step(
    cassette: &Cassette,
    step: &CassetteStep,
    tracer: &impl Tracer,
    run: &Context,
    options: &ExportOptions,
) -> i64 {
    let mut attributes = vec![
        KeyValue::new("gen_ai.operation.name", "chat"),
        KeyValue::new("gen_ai.conversation.id", cassette.run.chat.to_string()),
        KeyValue::new("chatwright.step", i64::from(step.number)),
        KeyValue::new("chatwright.status", step.status.as_str()),
    ];
    attributes
        .extend(step.metadata.purpose.map(|purpose| KeyValue::new("chatwright.purpose", purpose.as_str())));
    let mut name = "chat".to_owned();
    if let Some(model) = step.model.as_ref().or(cassette.run.model.as_ref()) {
        name = format!("chat {}", model.model);
        attributes.push(KeyValue::new("gen_ai.provider.name", model.provider.to_string()));
        attributes.push(KeyValue::new("gen_ai.request.model", model.model.to_string()));
    }
    attributes.extend(asked(step));
    attributes.extend(answered(step));
    attributes.extend(used(&step.usage));
    if options.content {
        attributes.extend(messages::attributes(step));
    }
    let fault = (step.status == DebugStatus::Error).then(|| Fault::of_step(step));
    let builder = spanned(name, SpanKind::Client, step.started_at);
    let mut span = begun(tracer, builder, run, attributes, fault);
    let context = inside(&span);
    let (mut sent, mut last) = (0, step.started_at);
    for attempt in &step.attempts {
        last = last.max(export_attempt(&attempt.doc, &mut sent, tracer, &context));
    }
    let end = step.finished_at.unwrap_or(last);
    span.end_with_timestamp(at(end));
    end
}

/// What was asked for beside the prompt.
fn asked(step: &CassetteStep) -> Vec<KeyValue> {
    const NUMBERS: [(&str, &str); 7] = [
        ("max_output_tokens", "gen_ai.request.max_tokens"),
        ("temperature", "gen_ai.request.temperature"),
        ("top_p", "gen_ai.request.top_p"),
        ("top_k", "gen_ai.request.top_k"),
        ("presence_penalty", "gen_ai.request.presence_penalty"),
        ("frequency_penalty", "gen_ai.request.frequency_penalty"),
        ("seed", "gen_ai.request.seed"),
    ];
    let mut attributes = Vec::new();
    if let Some(request) = &step.request {
        for (ours, name) in NUMBERS {
            let number = request.settings.get(ours);
            let number = number.and_then(|it| it.as_i64().map(Value::I64).or(it.as_f64().map(Value::F64)));
            attributes.extend(number.map(|number| KeyValue::new(name, number)));
        }
        let stops = request.settings.get("stop_sequences").and_then(serde_json::Value::as_array);
        let words = stops.map(|stops| stops.iter().filter_map(|stop| stop.as_str()).map(str::to_owned));
        attributes.extend(words.map(|words| KeyValue::new("gen_ai.request.stop_sequences", texts(words))));
        if request.settings.contains_key("response_format") {
            attributes.push(KeyValue::new("gen_ai.output.type", "json"));
        }
    }
    let last = step.attempts.iter().flat_map(|attempt| &attempt.doc.http).last();
    attributes.extend(last.into_iter().flat_map(server));
    attributes
}

fn answered(step: &CassetteStep) -> Vec<KeyValue> {
    let mut attributes = Vec::new();
    if let Some(response) = &step.response {
        let id = response.response_id.as_deref();
        attributes.extend(id.map(|id| KeyValue::new("gen_ai.response.id", id.to_owned())));
        let reason = response.finish_reason.map(|reason| reason.as_str().to_owned());
        attributes
            .extend(reason.map(|reason| KeyValue::new("gen_ai.response.finish_reasons", texts([reason]))));
    }
    let first = step.metadata.first_content_ms;
    attributes
        .extend(first.map(|first| KeyValue::new("gen_ai.response.time_to_first_chunk", seconds(first))));
    attributes
}

fn used(usage: &Usage) -> Vec<KeyValue> {
    let Usage { input, output, reasoning, cache_read, cache_write } = *usage;
    let input = [input, cache_read, cache_write].into_iter().flatten().reduce(u64::saturating_add);
    let counts = [
        ("gen_ai.usage.input_tokens", input),
        ("gen_ai.usage.output_tokens", output),
        ("gen_ai.usage.reasoning.output_tokens", reasoning),
        ("gen_ai.usage.cache_read.input_tokens", cache_read),
        ("gen_ai.usage.cache_creation.input_tokens", cache_write),
    ];
    counts.into_iter().filter_map(|(name, count)| Some(KeyValue::new(name, whole(count?)))).collect()
}

/// Gives an attempt to a tracer, and says when it ended. `sent` is how many requests of the step went before.
fn export_attempt(doc: &AttemptDoc, sent: &mut i64, tracer: &impl Tracer, step: &Context) -> i64 {
    let end = doc.started_at.saturating_add_unsigned(doc.duration_ms);
    let fault = doc.failure.as_ref().map(|failure| Fault::of(failure, end));
    let mut attributes = vec![KeyValue::new("chatwright.attempt", i64::from(doc.number))];
    attributes.extend(doc.r#gen.map(|r#gen| KeyValue::new("chatwright.gen", whole(r#gen.get()))));
    let first = doc.first_content_ms.map(|first| doc.started_at.saturating_add_unsigned(first));
    if doc.http.is_empty() {
        let builder = spanned("chatwright.attempt".to_owned(), SpanKind::Internal, doc.started_at);
        let mut span = begun(tracer, builder, step, attributes, fault);
        tell_first_content(&mut span, first);
        span.end_with_timestamp(at(end));
        return end;
    }
    let mut start = doc.started_at;
    for (number, exchange) in doc.http.iter().enumerate() {
        let is_last = number + 1 == doc.http.len();
        let mut attributes = attributes.clone();
        attributes.extend(http(exchange));
        if *sent > 0 {
            attributes.push(KeyValue::new("http.request.resend_count", *sent));
        }
        *sent += 1;
        let fault = Fault::of_exchange(exchange, fault.as_ref().filter(|_| is_last));
        let method = if exchange.method.is_empty() { "HTTP" } else { &exchange.method };
        let builder = spanned(method.to_owned(), SpanKind::Client, start);
        let mut span = begun(tracer, builder, step, attributes, fault);
        if is_last {
            tell_first_content(&mut span, first);
        }
        start = start.saturating_add_unsigned(exchange.duration_ms);
        span.end_with_timestamp(at(start));
    }
    end.max(start)
}

fn tell_first_content(span: &mut impl Span, first: Option<i64>) {
    if let Some(first) = first {
        span.add_event_with_timestamp("chatwright.first_content", at(first), Vec::new());
    }
}

/// What HTTP says of a request. Its address has no secrets since it was recorded.
fn http(doc: &ExchangeDoc) -> Vec<KeyValue> {
    let mut attributes = Vec::new();
    for (name, text) in [("http.request.method", &doc.method), ("url.full", &doc.url)] {
        if !text.is_empty() {
            attributes.push(KeyValue::new(name, text.to_string()));
        }
    }
    attributes.extend(server(doc));
    for (name, body) in
        [("http.request.body.size", &doc.request_body), ("http.response.body.size", &doc.response_body)]
    {
        attributes.extend(body.as_ref().map(|body| KeyValue::new(name, whole(body.bytes))));
    }
    attributes.extend(doc.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
    attributes
}

/// Who was asked.
fn server(doc: &ExchangeDoc) -> Vec<KeyValue> {
    let Some((host, port)) = authority(&doc.url) else { return Vec::new() };
    let port = port.map(|port| KeyValue::new("server.port", i64::from(port)));
    [KeyValue::new("server.address", host.to_owned())].into_iter().chain(port).collect()
}

/// Host and port of an address.
fn authority(url: &str) -> Option<(&str, Option<u16>)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let authority = authority.rsplit_once('@').map_or(authority, |(_, behind)| behind);
    let usual = match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    };
    // An address of IPv6 has colons of its own, and brackets around it.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, usual),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port))
}

/// What went wrong: its type, and what people are told, in which nobody is quoted.
#[derive(Clone)]
struct Fault {
    kind: String,
    words: String,
}

impl Fault {
    fn other() -> Self {
        Self { kind: "_OTHER".to_owned(), words: String::new() }
    }

    fn of(failure: &FailureDoc, ended: i64) -> Self {
        let verdict = classify(&failure.to_failure(), at(ended));
        Self { kind: verdict.kind.as_str().to_owned(), words: verdict.message.into() }
    }

    fn of_step(step: &CassetteStep) -> Self {
        let last = step.attempts.last().map(|attempt| &attempt.doc);
        let failed = last.filter(|doc| doc.status == AttemptStatus::Failed);
        if let Some((doc, failure)) = failed.and_then(|doc| Some((doc, doc.failure.as_ref()?))) {
            return Self::of(failure, doc.started_at.saturating_add_unsigned(doc.duration_ms));
        }
        let kind = step.error.as_ref().and_then(|error| error["kind"].as_str());
        kind.map_or_else(Self::other, |kind| Self { kind: kind.to_owned(), words: String::new() })
    }

    /// `attempt` is what was wrong with the attempt that the exchange is the last of.
    fn of_exchange(doc: &ExchangeDoc, attempt: Option<&Self>) -> Option<Self> {
        match (doc.status, attempt) {
            (Some(status @ 400..), _) => Some(Self { kind: status.to_string(), words: String::new() }),
            (_, Some(fault)) => Some(fault.clone()),
            _ => (&*doc.end == "failed").then(Self::other),
        }
    }
}

fn spanned(name: String, kind: SpanKind, start: i64) -> SpanBuilder {
    SpanBuilder::from_name(name).with_kind(kind).with_start_time(at(start))
}

fn begun<T: Tracer>(
    tracer: &T,
    builder: SpanBuilder,
    parent: &Context,
    mut attributes: Vec<KeyValue>,
    fault: Option<Fault>,
) -> T::Span {
    attributes.extend(fault.as_ref().map(|fault| KeyValue::new("error.type", fault.kind.clone())));
    // Whoever samples sees the attributes.
    let mut span = tracer.build_with_context(builder.with_attributes(attributes), parent);
    if let Some(fault) = fault {
        span.set_status(Status::error(fault.words));
    }
    span
}

/// Where the children of a span are.
fn inside(span: &impl Span) -> Context {
    Context::new().with_remote_span_context(span.span_context().clone())
}

fn at(millis: i64) -> SystemTime {
    Timestamp::from_millis(millis).into()
}

fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn texts(texts: impl IntoIterator<Item = String>) -> Value {
    Value::Array(Array::String(texts.into_iter().map(StringValue::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_of_an_address_is_its_host_and_its_port() {
        for (url, expected) in [
            ("https://api.example.com/v1?x=1", Some(("api.example.com", Some(443)))),
            ("http://127.0.0.1:8080", Some(("127.0.0.1", Some(8080)))),
            ("http://[::1]/v1", Some(("::1", Some(80)))),
            ("http://[::1]:81/v1", Some(("::1", Some(81)))),
            ("https://me@h:1#x", Some(("h", Some(1)))),
            ("ftp://h", Some(("h", None))),
            ("/v1/chat", None),
            ("https:///v1", None),
        ] {
            assert_eq!(authority(url), expected, "{url}");
        }
    }
}
