//! What a text delta costs from the bytes of an event to the accumulator.

use chatwright_core::accumulator::Accumulator;
use chatwright_core::model::ModelPart;
use chatwright_providers::sse::{EVENT_BYTES_MAX, SseItem, SseParser};
use chatwright_providers::{Decode, GeminiDecoder, MessagesDecoder, ResponsesDecoder};

const DELTAS: u64 = 2_000;

/// Most allocations of a text delta.
const BUDGET: f64 = 4.0;

fn event(name: &str, rest: &str) -> String {
    format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n")
}

fn anthropic(deltas: u64) -> String {
    let mut body = event("message_start", r#","message":{"id":"msg_1"}"#)
        + &event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#);
    for n in 0..deltas {
        let delta = format!(r#","index":0,"delta":{{"type":"text_delta","text":"word {n} "}}"#);
        body += &event("content_block_delta", &delta);
    }
    body
}

fn responses(deltas: u64) -> String {
    let mut body = event("response.created", r#","response":{"id":"resp_1"}"#)
        + &event("response.output_item.added", r#","output_index":0,"item":{"id":"msg_1","type":"message"}"#);
    for n in 0..deltas {
        let place = r#","item_id":"msg_1","output_index":0,"content_index":0"#;
        body += &event("response.output_text.delta", &format!(r#"{place},"delta":"word {n} ""#));
    }
    body
}

fn gemini(deltas: u64) -> String {
    let delta = |n| {
        format!(
            r#"data: {{"candidates":[{{"content":{{"parts":[{{"text":"word {n} "}}],"role":"model"}},"index":0}}],"usageMetadata":{{"promptTokenCount":9,"promptTokensDetails":[{{"modality":"TEXT"}}]}},"modelVersion":"m","responseId":"r"}}"#
        ) + "\r\n\r\n"
    };
    (0..deltas).map(delta).collect()
}

/// Allocations of a whole fold, in chunks of a few events.
fn allocations(body: &str, mut decode: impl FnMut(&str, &mut Vec<ModelPart>)) -> u64 {
    let count = || {
        let mut parser = SseParser::new(EVENT_BYTES_MAX);
        let mut answer = Accumulator::new();
        let (mut items, mut parts, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in body.as_bytes().chunks(1_024) {
            parser.feed(chunk, &mut items).expect("small events");
            for item in items.drain(..) {
                if let SseItem::Event(event) = item {
                    decode(&event.data, &mut parts);
                }
            }
            for part in parts.drain(..) {
                answer.push_into(part, &mut pieces);
                pieces.clear();
            }
        }
    };
    allocation_counter::measure(count).count_total
}

fn assert_within_budget(once: u64, twice: u64) {
    let each = (twice - once) as f64 / DELTAS as f64;
    println!("{each:.3} allocations per text delta");
    assert!(each <= BUDGET + 0.05, "{each:.2} allocations per text delta");
}

#[test]
fn a_text_delta_of_anthropics_takes_at_most_four_allocations() {
    let [once, twice] = [DELTAS, 2 * DELTAS].map(|deltas| {
        let mut decoder = MessagesDecoder::new("p");
        allocations(&anthropic(deltas), |data, parts| decoder.event(data, parts))
    });
    assert_within_budget(once, twice);
}

#[test]
fn a_text_delta_of_responses_takes_at_most_four_allocations() {
    let [once, twice] = [DELTAS, 2 * DELTAS].map(|deltas| {
        let mut decoder = ResponsesDecoder::new("p");
        allocations(&responses(deltas), |data, parts| decoder.event(data, parts))
    });
    assert_within_budget(once, twice);
}

#[test]
fn a_text_delta_of_googles_takes_at_most_four_allocations() {
    let [once, twice] = [DELTAS, 2 * DELTAS].map(|deltas| {
        let mut decoder = GeminiDecoder::new("p");
        allocations(&gemini(deltas), |data, parts| decoder.event(data, parts))
    });
    assert_within_budget(once, twice);
}
