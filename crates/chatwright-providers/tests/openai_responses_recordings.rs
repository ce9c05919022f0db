//! Recorded streams of the Responses API of OpenAI, Azure and xAI, where the recordings are at hand.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chatwright_conformance::Chance;
use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::{FileData, Metadata, Part};
use chatwright_core::error::Cause;
use chatwright_core::model::{Message, ModelCall, ModelPart, Role};
use chatwright_providers::sse::{EVENT_BYTES_MAX, SseItem, SseParser};
use chatwright_providers::{Decode, OpenAiResponses, ResponsesDecoder};
use serde_json::Value;

/// The events of one response.
struct Recording {
    name: String,
    events: Vec<Value>,
}

/// Some files hold several responses, one after the other.
fn recordings() -> Vec<Recording> {
    let root: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "..", "..", "..", "shared", "fixtures", "streams"].iter().collect();
    let mut found: Vec<Recording> = Vec::new();
    let folders = ["openai-responses", "azure", "xai-responses"].map(|folder| root.join(folder));
    for file in folders.iter().flat_map(std::fs::read_dir).flatten() {
        let path = file.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let event: Value = serde_json::from_str(line).expect("an event");
            if event["type"] == "response.created" {
                let name = format!("{} {}", path.display(), event["response"]["id"]);
                found.push(Recording { name, events: Vec::new() });
            }
            // Azure speaks other protocols too.
            if event["type"].is_string() {
                found.last_mut().expect("a response begins first").events.push(event);
            }
        }
    }
    if found.is_empty() {
        println!("no recordings at {}: this test did not run", root.display());
        assert!(!folders[0].exists(), "recordings are there, and none was found");
    }
    found
}

fn fold(events: &[Value], cuts: &Chance, whole: bool) -> Accumulator {
    let mut answer = Accumulator::new();
    decode(events, cuts, whole).into_iter().for_each(|part| drop(answer.push(part)));
    answer
}

fn decode(events: &[Value], cuts: &Chance, whole: bool) -> Vec<ModelPart> {
    let mut bytes = String::new();
    for event in events {
        let name = event["type"].as_str().expect("a type");
        bytes += &format!("event: {name}\r\ndata: {event}\r\n\r\n");
    }
    let mut parser = SseParser::new(EVENT_BYTES_MAX);
    let mut decoder = ResponsesDecoder::new("recorded");
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
    parts
}

#[test]
fn every_recording_folds_without_an_error_however_it_is_cut() {
    let chance = Chance::from_env();
    println!("CHATWRIGHT_SEED={}", chance.seed());
    for Recording { name, events } in recordings() {
        let whole = fold(&events, &chance, true);
        assert!(matches!(whole.end(), Some(End::Finish(_))), "{name}: {:?}", whole.end());
        assert_ne!(whole.content(), [], "{name}: what was said");
        assert!(whole.usage().input.is_some() && whole.usage().output.is_some(), "{name}: no usage");
        assert_eq!(whole.cut_calls(), [], "{name}");
        assert_eq!(fold(&events, &chance, false), whole, "{name}: cut elsewhere");
    }
}

#[test]
fn every_recording_cut_before_its_end_is_truncated_and_no_call_of_it_is_complete() {
    let chance = Chance::from_env();
    for Recording { name, events } in recordings() {
        let last = events.len() - 1;
        // The last ones, where most has come, and some before.
        for end in (0..last).step_by(1 + last / 16).chain(last.saturating_sub(4)..=last) {
            let cut = fold(&events[..end], &chance, true);
            let truncated =
                matches!(cut.end(), Some(End::Failure(failure)) if failure.cause == Cause::Truncated);
            assert!(truncated, "{name} cut after {end} events: {:?}", cut.end());
            let complete = |part: &Part| matches!(part, Part::ToolCall { provider_executed: false, .. });
            assert!(!cut.content().iter().any(complete), "{name} cut after {end} events");
        }
    }
}

/// What a recording says, read without any regard to the protocol.
#[derive(Debug, Default, PartialEq)]
struct Said {
    text: String,
    thoughts: String,
    encrypted: Vec<String>,
    /// Arguments by call.
    calls: BTreeMap<String, String>,
    annotations: usize,
    /// Items that only the provider knows, as they came.
    opaque: Vec<Value>,
}

fn naive(events: &[Value]) -> Said {
    let mut said = Said::default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for event in events {
        let kind = event["type"].as_str().unwrap_or_default();
        match kind {
            "response.output_text.delta" => said.text += &text(&event["delta"]),
            "response.reasoning_summary_text.delta" => said.thoughts += &text(&event["delta"]),
            _ => {}
        }
        if kind != "response.output_item.done" {
            continue;
        }
        let item = &event["item"];
        match item["type"].as_str().unwrap_or_default() {
            "message" => {
                for content in item["content"].as_array().into_iter().flatten() {
                    said.annotations += content["annotations"].as_array().map_or(0, Vec::len);
                }
            }
            "reasoning" => said.encrypted.extend(item["encrypted_content"].as_str().map(str::to_owned)),
            "function_call" => {
                said.calls.insert(text(&item["call_id"]), text(&item["arguments"]));
            }
            _ => said.opaque.push(item.clone()),
        }
    }
    said
}

/// The same of what was decoded.
fn read(content: &[Part]) -> Said {
    let mut said = Said::default();
    for part in content {
        let ours = |metadata: &Metadata, field: &str| {
            metadata.get("openai").map_or(Value::Null, |fields| fields[field].clone())
        };
        match part {
            Part::Text { text, metadata } => {
                said.text += text;
                said.annotations += ours(metadata, "annotations").as_array().map_or(0, Vec::len);
            }
            Part::Reasoning { text, metadata } => {
                said.thoughts += text;
                said.encrypted
                    .extend(ours(metadata, "item")["encrypted_content"].as_str().map(str::to_owned));
            }
            Part::ToolCall { metadata, provider_executed: true, .. } => {
                said.opaque.push(ours(metadata, "item"));
            }
            Part::ToolCall { id, input, .. } => {
                said.calls.insert(id.to_string(), input.clone());
            }
            Part::File { data: FileData::Base64(data), metadata, .. } => {
                let mut item = ours(metadata, "item");
                item["result"] = (&**data).into();
                said.opaque.push(item);
            }
            Part::Unknown(value) => said.opaque.push(value["item"].clone()),
            _ => {}
        }
    }
    said
}

#[test]
fn nothing_of_a_recording_is_lost_and_what_may_be_sent_back_is() {
    let chance = Chance::from_env();
    let model = OpenAiResponses::builder("m").provider("recorded").build().expect("a valid address");
    for Recording { name, events } in recordings() {
        let content = fold(&events, &chance, true).content();
        let (mut said, mut read) = (naive(&events), read(&content));
        // Paragraphs of thoughts are set apart, and items stand in the order in which they began.
        let squeeze = |text: &str| text.split_whitespace().collect::<String>();
        for said in [&mut said, &mut read] {
            said.thoughts = squeeze(&said.thoughts);
            said.opaque.sort_by_key(|item| item["id"].to_string());
        }
        assert_eq!(read, said, "{name}");
        let prompt =
            vec![Message::new(Role::User, vec![Part::text("Hi")]), Message::new(Role::Assistant, content)];
        let body = model.request_body(&ModelCall::new(prompt));
        let sent = &body["input"].as_array().expect("items")[1..];
        // Calls that wait for the host are refused without their output.
        let answered = |item: &Value| {
            let of = |other: &Value| other["call_id"] == item["call_id"] && other["type"] != item["type"];
            item["call_id"].as_str().is_none_or(str::is_empty)
                || item["type"].as_str().is_some_and(|kind| kind.ends_with("_output"))
                || said.opaque.iter().any(of)
        };
        for item in &said.opaque {
            assert_eq!(sent.contains(item), answered(item), "{name}: {item}");
        }
        for (id, input) in &said.calls {
            let call = sent.iter().find(|item| item["call_id"] == **id);
            let call = call.unwrap_or_else(|| panic!("{name}: {id} is not sent back"));
            assert_eq!(
                (&call["type"], &call["arguments"]),
                (&"function_call".into(), &input.as_str().into()),
                "{name}"
            );
        }
        let text: String = sent.iter().filter_map(|item| item["content"][0]["text"].as_str()).collect();
        assert_eq!(text, said.text, "{name}");
        let last = sent.last().map(|item| item["type"].clone());
        assert_ne!(last, Some("reasoning".into()), "{name}: nothing follows a thought");
    }
}
