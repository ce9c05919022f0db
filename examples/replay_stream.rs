//! Folds a recorded stream of a provider's: what was said, what it cost and how it ended.
//!
//! ```sh
//! cargo run --example replay_stream -- --provider anthropic capture.sse
//! ```
//!
//! Providers are `openai-chat`, `openai-responses`, `anthropic` and `google`. A file holds raw server-sent events, or the data of one event per line, and may
//! hold several messages one after the other. It prints one JSON object, `{"messages", "usage", "finish", "error"}`, and exits
//! with 0 if every message is complete, with 1 if one is truncated or ended by an error, and with 2 if the file cannot be read.

use std::process::ExitCode;

use chatwright::core::accumulator::{Accumulator, End};
use chatwright::core::model::Usage;
use chatwright::providers::sse::{EVENT_BYTES_MAX, SseItem, SseParser};
use chatwright::providers::{ChatDecoder, Decode, GeminiDecoder, MessagesDecoder, ResponsesDecoder};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flag, provider, path] = &arguments[..] else { return wrong("two arguments are needed") };
    let Some(decoder) = decoder(provider).filter(|_| flag == "--provider") else {
        return wrong(&format!("{provider:?} is not known"));
    };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return wrong(&format!("{path}: {error}")),
    };
    let answers = match replay(&bytes, decoder) {
        Ok(answers) => answers,
        Err(error) => return wrong(&format!("{path}: {error}")),
    };
    let report = report(&answers);
    println!("{report}");
    if report["error"].is_null() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn wrong(why: &str) -> ExitCode {
    eprintln!("{why}\nusage: replay_stream --provider openai-chat|openai-responses|anthropic|google FILE");
    ExitCode::from(2)
}

/// What turns events into parts. The adapters use the same.
type Decoder = Box<dyn Decode>;

/// Makes a decoder for each message.
fn decoder(provider: &str) -> Option<fn() -> Decoder> {
    Some(match provider {
        // Recordings often lack the last line, `[DONE]`.
        "openai-chat" => || Box::new(ChatDecoder::new("openai", true)),
        "openai-responses" => || Box::new(ResponsesDecoder::new("openai")),
        "google" => || Box::new(GeminiDecoder::new("google")),
        "anthropic" => || Box::new(MessagesDecoder::new("anthropic")),
        _ => return None,
    })
}

/// Every message of a recording.
fn replay(bytes: &[u8], decoder: fn() -> Decoder) -> Result<Vec<Accumulator>, String> {
    let (events, rest) = events(bytes)?;
    let mut answers = Vec::new();
    let mut open: Option<(Decoder, Accumulator)> = None;
    let mut parts = Vec::new();
    for data in events {
        if open.as_ref().is_some_and(|(decoder, _)| decoder.is_done()) {
            if data == "[DONE]" {
                continue;
            }
            answers.extend(open.take().map(|(_, answer)| answer));
        }
        let (decoder, answer) = open.get_or_insert_with(|| (decoder(), Accumulator::new()));
        decoder.event(&data, &mut parts);
        parts.drain(..).for_each(|part| drop(answer.push(part)));
    }
    let (mut decoder, mut answer) = open.unwrap_or_else(|| (decoder(), Accumulator::new()));
    if !decoder.is_done() {
        decoder.end(rest.as_deref(), &mut parts);
        parts.drain(..).for_each(|part| drop(answer.push(part)));
    }
    answers.push(answer);
    Ok(answers)
}

/// The data of each event, and of one that the file breaks off in.
fn events(bytes: &[u8]) -> Result<(Vec<String>, Option<String>), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    if text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '[']) {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        return Ok((lines.map(str::to_owned).collect(), None));
    }
    let mut parser = SseParser::new(EVENT_BYTES_MAX);
    let mut items = Vec::new();
    parser.feed(bytes, &mut items).map_err(|error| error.to_string())?;
    let data = |item| match item {
        SseItem::Event(event) => Some(event.data),
        SseItem::Comment => None,
    };
    let events = items.into_iter().filter_map(data).collect();
    Ok((events, parser.finish().map(|event| event.data)))
}

fn report(answers: &[Accumulator]) -> Value {
    let message = |answer: &Accumulator| json!({ "role": "assistant", "content": answer.content() });
    let total = answers.iter().map(Accumulator::usage).fold(Usage::default(), add);
    let failure = answers.iter().find_map(|answer| match answer.end() {
        Some(End::Finish(_)) => None,
        Some(End::Failure(failure)) => Some(failure.to_string()),
        None => Some("the stream has no end".to_owned()),
    });
    let finish = answers.last().and_then(Accumulator::finish_reason);
    json!({
        "messages": answers.iter().map(message).collect::<Vec<_>>(),
        "usage": {
            "input": total.input,
            "output": total.output,
            "reasoning": total.reasoning,
            "cache_read": total.cache_read,
            "cache_write": total.cache_write,
        },
        "finish": finish,
        "error": failure,
    })
}

fn add(total: Usage, more: Usage) -> Usage {
    let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
    };
    Usage {
        input: sum(total.input, more.input),
        output: sum(total.output, more.output),
        reasoning: sum(total.reasoning, more.reasoning),
        cache_read: sum(total.cache_read, more.cache_read),
        cache_write: sum(total.cache_write, more.cache_write),
    }
}
