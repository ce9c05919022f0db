//! Recorded streams of Google's, where the recordings are at hand.

use std::path::PathBuf;

use chatwright_conformance::Chance;
use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::{Metadata, Part};
use chatwright_core::error::Cause;
use chatwright_core::model::{Message, ModelCall, Role, Usage};
use chatwright_providers::sse::{EVENT_BYTES_MAX, SseItem, SseParser};
use chatwright_providers::{Decode, Gemini, GeminiDecoder};
use serde_json::{Map, Value, json};

struct Recording {
    name: String,
    events: Vec<Value>,
}

/// Some files hold several answers, one after the other.
fn recordings() -> Vec<Recording> {
    let root: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "..", "..", "..", "shared", "fixtures", "streams", "google"]
            .iter()
            .collect();
    let mut found: Vec<Recording> = Vec::new();
    for file in std::fs::read_dir(&root).into_iter().flatten() {
        let path = file.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let mut answer = Value::Null;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let event: Value = serde_json::from_str(line).expect("an event");
            let id = format!("{} {}", path.display(), event["responseId"]);
            if answer != id {
                answer = id.clone().into();
                found.push(Recording { name: id, events: Vec::new() });
            }
            found.last_mut().expect("just added").events.push(event);
        }
    }
    if found.is_empty() {
        println!("no recordings at {}: this test did not run", root.display());
        assert!(!root.exists(), "recordings are there, and none was found");
    }
    found
}

fn fold(events: &[Value], cuts: &Chance, whole: bool) -> Accumulator {
    let bytes: String = events.iter().map(|event| format!("data: {event}\r\n\r\n")).collect();
    let mut parser = SseParser::new(EVENT_BYTES_MAX);
    let mut decoder = GeminiDecoder::new("recorded");
    let (mut items, mut parts) = (Vec::new(), Vec::new());
    let mut rest = bytes.as_bytes();
    while !rest.is_empty() {
        let size = if whole { rest.len() } else { (1 + cuts.below(97) as usize).min(rest.len()) };
        parser.feed(&rest[..size], &mut items).expect("small events");
        rest = &rest[size..];
        for item in items.drain(..) {
            match item {
                SseItem::Event(event) => decoder.event(&event.data, &mut parts),
                SseItem::Comment => decoder.keep_alive(&mut parts),
            }
        }
    }
    decoder.end(parser.finish().map(|event| event.data).as_deref(), &mut parts);
    let mut answer = Accumulator::new();
    parts.into_iter().for_each(|part| drop(answer.push(part)));
    answer
}

#[test]
fn every_recording_folds_without_an_error_however_it_is_cut() {
    let chance = Chance::from_env();
    println!("CHATWRIGHT_SEED={}", chance.seed());
    for Recording { name, events } in recordings() {
        let whole = fold(&events, &chance, true);
        assert!(matches!(whole.end(), Some(End::Finish(_))), "{name}: {:?}", whole.end());
        assert!(!whole.content().is_empty(), "{name}: nothing was said");
        assert_eq!(whole.cut_calls(), [], "{name}");
        assert_eq!(fold(&events, &chance, false), whole, "{name}: cut elsewhere");
    }
}

#[test]
fn every_recording_cut_before_its_end_is_truncated_and_no_call_of_it_is_complete() {
    let chance = Chance::from_env();
    for Recording { name, events } in recordings() {
        for end in 0..events.len() {
            let cut = fold(&events[..end], &chance, true);
            let truncated =
                matches!(cut.end(), Some(End::Failure(failure)) if failure.cause == Cause::Truncated);
            assert!(truncated, "{name} cut after {end} events: {:?}", cut.end());
            let call = |part: &Part| matches!(part, Part::ToolCall { .. });
            assert!(!cut.content().iter().any(call), "{name} cut after {end} events");
        }
    }
}

/// What a recording says, read without any regard to the protocol.
#[derive(Debug, Default, PartialEq)]
struct Said {
    text: String,
    thoughts: String,
    signatures: Vec<Value>,
    calls: Vec<(Value, Value)>,
}

/// Arguments with the places of lists as names: `operations[0].price` is `["operations"]["0"]["price"]`.
fn put(at: &mut Value, path: &str, piece: &Value) {
    let names = path.trim_start_matches('$').split(['.', '[', ']']).filter(|name| !name.is_empty());
    let at = names.fold(at, |at, name| {
        if at.is_null() {
            *at = json!({});
        }
        at.as_object_mut().expect("an object").entry(name).or_insert(Value::Null)
    });
    match piece["stringValue"].as_str() {
        Some(text) => *at = format!("{}{text}", at.as_str().unwrap_or_default()).into(),
        None => *at = piece["numberValue"].clone(),
    }
}

fn naive(events: &[Value]) -> Said {
    let mut said = Said::default();
    for part in
        events.iter().flat_map(|event| event["candidates"][0]["content"]["parts"].as_array()).flatten()
    {
        let text = part["text"].as_str().unwrap_or_default();
        if part["thought"] == true { &mut said.thoughts } else { &mut said.text }.push_str(text);
        said.signatures.extend(part.get("thoughtSignature").cloned());
        let call = &part["functionCall"];
        if let Some(name) = call.get("name") {
            said.calls.push((name.clone(), json!({})));
        }
        for piece in call["partialArgs"].as_array().into_iter().flatten() {
            let (_, args) = said.calls.last_mut().expect("a call begins with its name");
            put(args, piece["jsonPath"].as_str().expect("a place"), piece);
        }
    }
    said
}

/// Lists as objects by their places.
fn without_lists(value: Value) -> Value {
    let of = |fields: &mut dyn Iterator<Item = (String, Value)>| {
        Value::Object(fields.map(|(name, value)| (name, without_lists(value))).collect::<Map<_, _>>())
    };
    match value {
        Value::Object(fields) => of(&mut fields.into_iter()),
        Value::Array(items) => {
            of(&mut items.into_iter().enumerate().map(|(at, value)| (at.to_string(), value)))
        }
        value => value,
    }
}

fn read(content: &[Part]) -> Said {
    let mut said = Said::default();
    let signature =
        |metadata: &Metadata| metadata.get("google").and_then(|ours| ours.get("thoughtSignature")).cloned();
    for part in content {
        let metadata = match part {
            Part::Text { text, metadata } => {
                said.text += text;
                metadata
            }
            Part::Reasoning { text, metadata } => {
                said.thoughts += text;
                metadata
            }
            Part::ToolCall { name, input, metadata, .. } => {
                let input = serde_json::from_str(input).expect("whole arguments");
                said.calls.push(((&**name).into(), without_lists(input)));
                metadata
            }
            other => panic!("not in the recordings: {other:?}"),
        };
        said.signatures.extend(signature(metadata));
    }
    said
}

#[test]
fn nothing_of_a_recording_is_lost_and_every_signature_is_sent_back_on_its_part() {
    let chance = Chance::from_env();
    let model = Gemini::builder("m").build().expect("a valid address");
    for Recording { name, events } in recordings() {
        let whole = fold(&events, &chance, true);
        let said = naive(&events);
        assert_eq!(read(&whole.content()), said, "{name}");
        let counts = &events.last().expect("events")["usageMetadata"];
        let thoughts = counts["thoughtsTokenCount"].as_u64();
        let output = counts["candidatesTokenCount"].as_u64().map(|answer| answer + thoughts.unwrap_or(0));
        let input = counts["promptTokenCount"].as_u64();
        assert_eq!(whole.usage(), Usage { input, output, reasoning: thoughts, ..Usage::default() }, "{name}");

        let asked = Message::new(Role::User, vec![Part::text("Hi")]);
        let prompt = vec![asked, Message::new(Role::Assistant, whole.content())];
        let body = model.request_body(&ModelCall::new(prompt));
        let sent = body["contents"][1]["parts"].as_array().cloned().unwrap_or_default();
        let parts =
            events.iter().flat_map(|event| event["candidates"][0]["content"]["parts"].as_array()).flatten();
        for part in parts.filter(|part| part.get("thoughtSignature").is_some()) {
            let same = |sent: &Value| {
                sent["thoughtSignature"] == part["thoughtSignature"]
                    && sent["text"] == part["text"]
                    && sent["functionCall"]["name"] == part["functionCall"]["name"]
            };
            assert!(sent.iter().any(same), "{name}: {part} is not sent back");
        }
        let called: Vec<(Value, Value)> = sent
            .iter()
            .filter_map(|part| part.get("functionCall"))
            .map(|call| (call["name"].clone(), without_lists(call["args"].clone())))
            .collect();
        assert_eq!(called, said.calls, "{name}");
    }
}
