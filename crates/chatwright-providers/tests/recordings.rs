//! Recorded streams of real servers, where the recordings are at hand.

use std::path::PathBuf;

use chatwright_conformance::Chance;
use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::error::Cause;
use chatwright_providers::sse::{SseItem, SseParser};
use chatwright_providers::{ChatDecoder, Decode};

/// Folders of recordings in this format.
const FOLDERS: [&str; 9] = [
    "openai-chat",
    "openai-compatible",
    "alibaba",
    "deepseek",
    "groq",
    "mistral",
    "moonshotai",
    "xai",
    "azure",
];

fn recordings() -> Vec<(String, Vec<String>)> {
    let root: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "..", "..", "..", "shared", "fixtures", "streams"].iter().collect();
    let mut found = Vec::new();
    for folder in FOLDERS {
        for file in std::fs::read_dir(root.join(folder)).into_iter().flatten() {
            let path = file.expect("readable").path();
            let text = std::fs::read_to_string(&path).expect("readable");
            // The format follows the events: some folders hold others beside it.
            if text.contains("\"chat.completion.chunk\"") || text.contains("\"choices\"") {
                let events = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
                found.push((path.display().to_string(), events));
            }
        }
    }
    if found.is_empty() {
        println!("no recordings at {}: this test did not run", root.display());
        assert!(!root.exists(), "recordings are there, and none was found");
    }
    found
}

fn fold(events: &[String], cuts: &Chance, whole: bool) -> Accumulator {
    let bytes: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let mut parser = SseParser::new(chatwright_providers::sse::EVENT_BYTES_MAX);
    let mut decoder = ChatDecoder::new("recorded", true);
    let (mut answer, mut items, mut parts) = (Accumulator::new(), Vec::new(), Vec::new());
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
    let rest = parser.finish().map(|event| event.data);
    decoder.end(rest.as_deref(), &mut parts);
    parts.into_iter().for_each(|part| drop(answer.push(part)));
    answer
}

#[test]
fn every_recording_folds_without_an_error_however_it_is_cut() {
    let chance = Chance::from_env();
    println!("CHATWRIGHT_SEED={}", chance.seed());
    for (name, events) in recordings() {
        let whole = fold(&events, &chance, true);
        assert!(matches!(whole.end(), Some(End::Finish(_))), "{name}: {:?}", whole.end());
        assert!(!whole.content().is_empty(), "{name}: nothing was said");
        assert!(!whole.usage().is_empty(), "{name}: no usage");
        assert_eq!(whole.cut_calls(), [], "{name}");
        assert_eq!(fold(&events, &chance, false), whole, "{name}: cut elsewhere");
    }
}

#[test]
fn every_recording_cut_before_its_end_is_truncated() {
    let chance = Chance::from_env();
    for (name, events) in recordings() {
        let last = events.iter().position(|event| {
            let event: serde_json::Value = serde_json::from_str(event).unwrap_or_default();
            event["choices"][0]["finish_reason"].as_str().is_some_and(|reason| !reason.is_empty())
        });
        let last = last.unwrap_or_else(|| panic!("{name}: no finish reason"));
        // The last ones, where most has come, and some before.
        for end in (0..last).step_by(1 + last / 16).chain(last.saturating_sub(4)..last) {
            let cut = fold(&events[..end], &chance, true);
            let truncated =
                matches!(cut.end(), Some(End::Failure(failure)) if failure.cause == Cause::Truncated);
            assert!(truncated, "{name} cut after {end} events: {:?}", cut.end());
        }
    }
}
