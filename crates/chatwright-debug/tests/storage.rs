//! What a turn takes in a store grows as the conversation does, though each step says its whole prompt.

mod common;

use chatwright_conformance::Chance;
use chatwright_core::history::ValidHistory;
use chatwright_core::model::Message;
use chatwright_core::{ChatId, RunId};
use common::recording::{Exchange, Tape, answer, answered, call, prompt_of, said, scope};
use common::{Bench, Rigged, chat, stored_bytes};
use serde_json::json;

on_both_stores![a_turn_of_many_steps_takes_about_what_was_said_in_it];

/// Words of no pattern, the same for the same seed.
fn words(chance: &Chance, bytes: usize) -> String {
    let mut text = String::new();
    while text.len() < bytes {
        text += &format!("{:06x} ", chance.below(1 << 24));
    }
    text
}

/// What a turn of so many steps takes.
struct Taken {
    /// Bytes of what was said.
    said: usize,
    /// Bytes of all prompts, and of all bodies, one behind the other.
    naive: usize,
    stored: usize,
}

async fn taken(store: &Rigged, of: ChatId, steps: u64, with_http: bool) -> Taken {
    let tape = Tape::new(store.clone());
    let chance = Chance::new(steps);
    let first = words(&chance, 500);
    let (mut said_bytes, mut naive) = (first.len(), 0);
    let mut history = ValidHistory::from(vec![said(&first)]);
    for n in 0..steps {
        let asked = call(scope(of, 3, n), history.clone());
        let prompt: usize = history.iter().map(message_bytes).sum();
        naive += prompt;
        if with_http {
            // As an adapter sends it: all of the conversation, with something before and behind it that differs.
            let messages: Vec<_> = history.iter().map(|message| json!(message)).collect();
            let id = "x".repeat(usize::try_from(n % 50).expect("few"));
            let body = json!({ "id": id, "messages": messages, "stream": true, "user": n }).to_string();
            naive += body.len();
            let exchange = Exchange::new(&body, "text/event-stream", &[b"data: {}\n\n"]);
            assert_eq!(tape.ask(exchange.model(), asked).await, answer("ok"));
        } else {
            let plays = common::recording::Model::plays(answer("ok"));
            assert_eq!(tape.ask(plays, asked).await, answer("ok"));
        }
        let (answer, next) = (words(&chance, 300), words(&chance, 500));
        said_bytes += answer.len() + next.len();
        history.extend(vec![answered(&answer), said(&next)]).expect("valid");
        if n % 20 == 0 {
            tape.flush().await;
        }
    }
    tape.flush().await;
    is_whole(&tape.bench, of, &history, steps).await;
    let bench = Bench { store: store.clone(), ..tape.bench };
    Taken { said: said_bytes, naive, stored: stored_bytes(&bench, of).await }
}

fn message_bytes(message: &Message) -> usize {
    json!(message).to_string().len()
}

/// The last step has all of its prompt.
async fn is_whole(bench: &Bench, of: ChatId, history: &ValidHistory, steps: u64) {
    let run: RunId = bench.runs(of).await[0].id;
    let after = u32::try_from(steps).expect("few") - 1;
    let detail = chatwright_core::debug::Detail::Whole;
    let last = bench.service.steps(of, run, after, 1, detail).await.expect("it answers").remove(0);
    let record = bench.service.read_step(&last).await.expect("it answers");
    assert_eq!(record.problems, Vec::<String>::new());
    let expected: Vec<String> = history.messages()[..history.len() - 2]
        .iter()
        .map(|message| json!(message)["content"][0]["text"].as_str().expect("a text").to_owned())
        .collect();
    assert_eq!(prompt_of(&record), expected);
}

/// What a step may take beside what was said in it: its rows, its last piece, and the lists above that.
const STEP_BYTES: usize = 5 * 1_024;
/// What its exchange may take: rows, the pieces with the beginning and the end of the body, and lists.
const EXCHANGE_BYTES: usize = 8 * 1_024;

async fn a_turn_of_many_steps_takes_about_what_was_said_in_it(store: Rigged) {
    for with_http in [false, true] {
        let mut taken_by = Vec::new();
        // Reading bodies takes a while.
        for steps in if with_http { [10, 50, 100] } else { [10, 100, 300] } {
            let of = chat(u128::from(steps) + u128::from(with_http) * 1_000);
            let taken = taken(&store, of, steps, with_http).await;
            let count = usize::try_from(steps).expect("few");
            let copies = 1 + usize::from(with_http);
            let most = copies * taken.said + count * (STEP_BYTES + usize::from(with_http) * EXCHANGE_BYTES);
            assert!(taken.stored <= most, "{} of at most {most} bytes in {steps} steps", taken.stored);
            taken_by.push(taken);
        }
        let [_, some, many] = &taken_by[..] else { panic!("three were asked for") };
        let grown = many.stored as f64 / some.stored as f64;
        let said = many.said as f64 / some.said as f64;
        assert!(grown <= 1.15 * said, "{grown} times as much where {said} times as much was said");
        assert!(many.stored * 5 <= many.naive, "{} of {}", many.stored, many.naive);
    }
}
