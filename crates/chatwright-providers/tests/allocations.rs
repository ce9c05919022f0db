//! What a text delta costs from the bytes of an event to the accumulator.

use chatwright_core::accumulator::Accumulator;
use chatwright_providers::MessagesDecoder;
use chatwright_providers::sse::{EVENT_BYTES_MAX, SseItem, SseParser};

const DELTAS: u64 = 2_000;

/// Most allocations of a text delta.
const BUDGET: f64 = 4.0;

fn stream(deltas: u64) -> String {
    let event = |name: &str, rest: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n");
    let mut body = event("message_start", r#","message":{"id":"msg_1"}"#)
        + &event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#);
    for n in 0..deltas {
        let delta = format!(r#","index":0,"delta":{{"type":"text_delta","text":"word {n} "}}"#);
        body += &event("content_block_delta", &delta);
    }
    body
}

/// Allocations of a whole fold, in chunks of a few events.
fn allocations(deltas: u64) -> u64 {
    let body = stream(deltas);
    let count = || {
        let mut parser = SseParser::new(EVENT_BYTES_MAX);
        let mut decoder = MessagesDecoder::new("p");
        let mut answer = Accumulator::new();
        let (mut items, mut parts, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in body.as_bytes().chunks(1_024) {
            parser.feed(chunk, &mut items).expect("small events");
            for item in items.drain(..) {
                if let SseItem::Event(event) = item {
                    decoder.event(&event.data, &mut parts);
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

#[test]
fn a_text_delta_of_anthropics_takes_at_most_four_allocations() {
    let more = allocations(2 * DELTAS) - allocations(DELTAS);
    let each = more as f64 / DELTAS as f64;
    println!("{each:.3} allocations per text delta");
    assert!(each <= BUDGET + 0.05, "{each:.2} allocations per text delta");
}
