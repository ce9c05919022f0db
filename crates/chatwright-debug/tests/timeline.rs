//! A run as text for a terminal, against the text that it was.

use chatwright_debug::Cassette;

const CASSETTE: &[u8] = include_bytes!("run/cassette.jsonl");

fn cassette() -> Cassette {
    Cassette::read(CASSETTE).expect("a cassette")
}

/// Says where texts differ first. The new one is in the target folder, to be looked at and taken over.
fn is_as_before(name: &str, text: &str, before: &str) {
    let new = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&new, text).expect("writable");
    for (number, (line, expected)) in text.lines().zip(before.lines()).enumerate() {
        assert_eq!(line, expected, "line {} of {}", number + 1, new.display());
    }
    assert_eq!(text, before, "{}", new.display());
}

#[test]
fn a_run_is_told_step_by_step() {
    let text = cassette().timeline().to_string();
    is_as_before("timeline.txt", &text, include_str!("run/timeline.txt"));
    for line in text.lines() {
        assert!(line.chars().count() <= 100 && !line.contains(char::is_control), "{line}");
    }
}

#[test]
fn a_run_is_told_in_full_where_that_is_asked_for() {
    let text = cassette().timeline().full().to_string();
    is_as_before("full.txt", &text, include_str!("run/full.txt"));
}

#[test]
fn of_many_new_messages_the_last_are_shown() {
    let mut cassette = cassette();
    let step = &mut cassette.steps[0];
    let message =
        |n: usize| serde_json::json!({"role": "user", "content": [{"type": "text", "text": n.to_string()}]});
    step.messages = (0..20).map(message).collect();
    let asked = |text: String| -> Vec<String> {
        let rows = text
            .split(
                "

",
            )
            .nth(1)
            .expect("a step")
            .lines()
            .skip(1);
        let asked = rows.take_while(|row| !row.contains("with ")).map(|row| row.replacen("asked", "", 1));
        asked.map(|row| row.trim().to_owned()).collect()
    };
    let short = asked(cassette.timeline().to_string());
    assert_eq!((short.len(), &*short[0], &*short[8]), (9, "12 messages, and then", "user      19"));
    assert_eq!(asked(cassette.timeline().full().to_string()).len(), 20);
}
