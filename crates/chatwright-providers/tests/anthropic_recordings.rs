//! Recorded streams of Anthropic's, where the recordings are at hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chatwright_conformance::Chance;
use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::error::Cause;
use chatwright_core::model::{FinishReason, Message, ModelCall, ModelPart, Role};
use chatwright_providers::sse::{EVENT_BYTES_MAX, SseItem, SseParser};
use chatwright_providers::{AnthropicMessages, Decode, MessagesDecoder};
use serde_json::Value;

/// The events of one message.
struct Recording {
    file: PathBuf,
    name: String,
    events: Vec<Value>,
}

/// Some files hold several messages, one after the other.
fn recordings() -> Vec<Recording> {
    let root: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "..", "..", "..", "shared", "fixtures", "streams", "anthropic"]
            .iter()
            .collect();
    let mut found: Vec<Recording> = Vec::new();
    for file in std::fs::read_dir(&root).into_iter().flatten() {
        let path = file.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let event: Value = serde_json::from_str(line).expect("an event");
            if event["type"] == "message_start" {
                let name = format!("{} {}", path.display(), event["message"]["id"]);
                found.push(Recording { file: path.clone(), name, events: Vec::new() });
            }
            found.last_mut().expect("a message begins first").events.push(event);
        }
    }
    if found.is_empty() {
        println!("no recordings at {}: this test did not run", root.display());
        assert!(!root.exists(), "recordings are there, and none was found");
    }
    found
}

/// What a host gives for every call of an answer that it runs itself.
fn results(content: &[Part]) -> Message {
    let results = content.iter().filter_map(|part| match part {
        Part::ToolCall { id, name, provider_executed: false, .. } => Some(Part::ToolResult {
            call_id: id.clone(),
            name: name.clone(),
            output: Output::text("6"),
            provider_executed: false,
            metadata: Metadata::new(),
        }),
        _ => None,
    });
    Message::new(Role::Tool, results)
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
    let mut decoder = MessagesDecoder::new("recorded");
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
    for Recording { name, events, .. } in recordings() {
        let whole = fold(&events, &chance, true);
        assert!(matches!(whole.end(), Some(End::Finish(_))), "{name}: {:?}", whole.end());
        let refused = whole.finish_reason() == Some(FinishReason::ContentFilter);
        assert_eq!(whole.content().is_empty(), refused, "{name}: what was said");
        assert!(whole.usage().input.is_some() && whole.usage().output.is_some(), "{name}: no usage");
        assert_eq!(whole.cut_calls(), [], "{name}");
        assert_eq!(fold(&events, &chance, false), whole, "{name}: cut elsewhere");
    }
}

#[test]
fn every_recording_cut_before_its_end_is_truncated_and_no_call_of_it_is_complete() {
    let chance = Chance::from_env();
    for Recording { name, events, .. } in recordings() {
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
    signatures: String,
    /// Arguments by call, as JSON.
    calls: BTreeMap<String, Value>,
    citations: usize,
    /// Blocks that only the provider knows, as they came.
    opaque: Vec<Value>,
}

fn naive(events: &[Value]) -> Said {
    let mut said = Said::default();
    let mut open: BTreeMap<u64, (String, String)> = BTreeMap::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for event in events {
        let prefilled = event["message"]["content"].as_array().into_iter().flatten();
        for block in prefilled.chain([&event["content_block"]]) {
            said.text += &text(&block["text"]);
            said.thoughts += &text(&block["thinking"]);
            match block["type"].as_str().unwrap_or_default() {
                "" | "text" | "thinking" => {}
                kind if kind.ends_with("tool_use") => {
                    said.calls.insert(text(&block["id"]), block["input"].clone());
                }
                _ => said.opaque.push(block.clone()),
            }
        }
        if let (Some(index), false) = (event["index"].as_u64(), event["content_block"].is_null()) {
            let id = text(&event["content_block"]["id"]);
            open.insert(index, (id, String::new()));
        }
        let delta = &event["delta"];
        said.text += &text(&delta["text"]);
        said.thoughts += &text(&delta["thinking"]);
        said.signatures += &text(&delta["signature"]);
        said.citations += usize::from(!delta["citation"].is_null());
        let index = event["index"].as_u64().unwrap_or(u64::MAX);
        if let Some((id, input)) = open.get_mut(&index) {
            *input += &text(&delta["partial_json"]);
            if let Ok(whole) = serde_json::from_str(input) {
                said.calls.insert(id.clone(), whole);
            }
        }
        if delta["type"] == "compaction_delta" {
            said.opaque.last_mut().expect("a compaction")["content"] = delta["content"].clone();
        }
    }
    said
}

fn ours<'a>(metadata: &'a Metadata, field: &str) -> &'a Value {
    metadata.get("anthropic").and_then(|fields| fields.get(field)).unwrap_or(&Value::Null)
}

/// The same of what was decoded. Text is that of the deltas: blocks of nothing but white space are not stored.
fn read(deltas: &[ModelPart], content: &[Part]) -> Said {
    let mut said = Said::default();
    for part in deltas {
        if let ModelPart::TextDelta { delta, .. } = part {
            said.text += delta;
        }
    }
    for part in content {
        match part {
            Part::Text { metadata, .. } => {
                said.citations += ours(metadata, "citations").as_array().map_or(0, Vec::len);
            }
            Part::Reasoning { text, metadata } => {
                said.thoughts += text;
                said.signatures += ours(metadata, "signature").as_str().unwrap_or_default();
            }
            Part::ToolCall { id, input, .. } => {
                said.calls.insert(id.to_string(), serde_json::from_str(input).expect("whole arguments"));
            }
            Part::ToolResult { metadata, .. } => said.opaque.push(ours(metadata, "block").clone()),
            Part::Unknown(value) => said.opaque.push(value["block"].clone()),
            _ => {}
        }
    }
    said
}

#[test]
fn nothing_of_a_recording_is_lost_and_all_of_it_is_sent_back() {
    let chance = Chance::from_env();
    let model = AnthropicMessages::builder("m").no_prompt_caching().build().expect("a valid address");
    for Recording { name, events, .. } in recordings() {
        let content = fold(&events, &chance, true).content();
        let said = naive(&events);
        assert_eq!(read(&decode(&events, &chance, true), &content), said, "{name}");
        // In an answer alone, results of calls before it have no call.
        let called =
            |block: &Value| block["tool_use_id"].as_str().is_none_or(|id| said.calls.contains_key(id));
        let prompt =
            vec![Message::new(Role::User, vec![Part::text("Hi")]), Message::new(Role::Assistant, content)];
        let body = model.request_body(&ModelCall::new(prompt));
        let sent = body["messages"][1]["content"].as_array().cloned().unwrap_or_default();
        for block in said.opaque.iter().filter(|block| called(block)) {
            assert!(sent.contains(block), "{name}: {block} is not sent back");
        }
        for (id, input) in &said.calls {
            let is_call = |block: &&Value| block["id"] == **id;
            let block = sent.iter().find(is_call).unwrap_or_else(|| panic!("{name}: {id} is not sent back"));
            assert_eq!(block["input"], *input, "{name}");
            let begun = events.iter().find(|event| event["content_block"]["id"] == **id);
            let kind = begun.map_or(&block["type"], |event| &event["content_block"]["type"]);
            assert_eq!(block["type"], *kind, "{name}");
        }
        let text: String = sent.iter().filter_map(|block| block["text"].as_str()).collect();
        let squeeze = |text: &str| text.split_whitespace().collect::<String>();
        // Before it stand the words of results whose calls are not here.
        assert!(squeeze(&text).ends_with(&squeeze(&said.text)), "{name}: {text}");
    }
}

#[test]
fn a_turn_of_several_answers_is_sent_back_with_results_that_come_answers_after_their_calls() {
    let chance = Chance::from_env();
    let model = AnthropicMessages::builder("m").no_prompt_caching().build().expect("a valid address");
    let mut turns: BTreeMap<PathBuf, (Vec<Message>, Vec<Value>)> = BTreeMap::new();
    for Recording { file, events, .. } in recordings() {
        let (prompt, opaque) = turns.entry(file).or_default();
        let content = fold(&events, &chance, true).content();
        opaque.extend(naive(&events).opaque);
        let results = results(&content);
        prompt.extend([Message::new(Role::Assistant, content), results]);
    }
    for (file, (prompt, opaque)) in turns {
        let body = model.request_body(&ModelCall::new(prompt));
        let messages = body["messages"].as_array().expect("messages");
        let blocks: Vec<&Value> =
            messages.iter().flat_map(|message| message["content"].as_array().expect("blocks")).collect();
        for block in &opaque {
            assert!(blocks.contains(&block), "{}: {block} is not sent back", file.display());
        }
        // Every message of the model's is followed by the results of its calls for the host, in their order.
        for (at, message) in messages.iter().enumerate().filter(|(_, message)| message["role"] == "assistant")
        {
            let ids = |message: &Value, kind: &str, id: &str| -> Vec<Value> {
                let blocks = message["content"].as_array().into_iter().flatten();
                blocks.filter(|block| block["type"] == kind).map(|block| block[id].clone()).collect()
            };
            let results =
                messages.get(at + 1).map_or_else(Vec::new, |next| ids(next, "tool_result", "tool_use_id"));
            assert_eq!(results, ids(message, "tool_use", "id"), "{}", file.display());
        }
    }
}

/// What Anthropic refuses in a conversation.
fn refused(messages: &[Value]) -> Vec<String> {
    let mut refused = Vec::new();
    let (mut called, mut given) = (BTreeSet::new(), BTreeSet::new());
    for (at, message) in messages.iter().enumerate() {
        let blocks = message["content"].as_array().expect("blocks");
        if at > 0 && messages[at - 1]["role"] == message["role"] {
            refused.push(format!("two messages of the {}", message["role"]));
        }
        let last = blocks.last().map_or("", |block| block["type"].as_str().expect("a type"));
        if last.is_empty() || message["role"] == "assistant" && last.ends_with("thinking") {
            refused.push(format!("message {at} ends in {last:?}"));
        }
        for block in blocks {
            let word = |value: &Value| value.as_str().map(str::to_owned);
            if word(&block["text"]).is_some_and(|text| text.trim().is_empty()) {
                refused.push("a blank text".to_owned());
            }
            if let Some(program) = word(&block["caller"]["tool_id"]).filter(|id| !called.contains(id)) {
                refused.push(format!("{} is called by {program}, which is not there", block["type"]));
            }
            called.extend(word(&block["id"]));
            if let Some(id) = word(&block["tool_use_id"]) {
                if !called.contains(&id) {
                    refused.push(format!("a {} without its call", block["type"]));
                }
                given.insert(id);
            }
        }
    }
    refused.extend(called.difference(&given).map(|id| format!("{id} has no result")));
    refused
}

#[test]
fn a_turn_that_is_stopped_anywhere_is_sent_back_as_one_that_is_taken() {
    let chance = Chance::from_env();
    let model = AnthropicMessages::builder("m").no_prompt_caching().build().expect("a valid address");
    let user = || Message::new(Role::User, vec![Part::text("Hi")]);
    let mut turns: BTreeMap<PathBuf, Vec<Message>> = BTreeMap::new();
    for Recording { file, name, events } in recordings() {
        let begun = turns.entry(file).or_insert_with(|| vec![user()]);
        // Wherever a block begins or ends; inside one nothing changes but its length.
        let inside = |at: usize| events.get(at).is_some_and(|event| event["type"] == "content_block_delta");
        for end in (0..=events.len()).filter(|&end| end < 2 || !inside(end - 1) || !inside(end - 2)) {
            let content = fold(&events[..end], &chance, true).content();
            let answer = [results(&content), user()];
            let prompt =
                [begun.clone(), vec![Message::new(Role::Assistant, content)], answer.into()].concat();
            let body = model.request_body(&ModelCall::new(prompt));
            let refused = refused(body["messages"].as_array().expect("messages"));
            assert_eq!(refused, [""; 0], "{name} stopped after {end} events");
        }
        let content = fold(&events, &chance, true).content();
        let results = results(&content);
        begun.extend([Message::new(Role::Assistant, content), results]);
    }
}
