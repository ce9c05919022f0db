//! Recorded streams of real servers, where the recordings are at hand: nothing of them is taken for a secret.

use std::path::PathBuf;

use chatwright_core::port::HttpHeader;
use chatwright_debug::redact::{Captured, Redactor, Rules};

/// Each recording by its name, as the stream of events that it was.
fn recordings() -> Vec<(String, String)> {
    let root: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "..", "..", "..", "shared", "fixtures", "streams"].iter().collect();
    let mut found = Vec::new();
    for folder in std::fs::read_dir(&root).into_iter().flatten() {
        for file in std::fs::read_dir(folder.expect("readable").path()).into_iter().flatten() {
            let path = file.expect("readable").path();
            let text = std::fs::read_to_string(&path).expect("readable");
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            found.push((path.display().to_string(), lines.map(|line| format!("data: {line}\n\n")).collect()));
        }
    }
    if found.is_empty() {
        println!("no recordings at {}: this test did not run", root.display());
        assert!(!root.exists(), "recordings are there, and none was found");
    }
    found
}

fn typed(content_type: &str) -> [HttpHeader; 1] {
    [HttpHeader { name: "content-type".into(), value: content_type.into(), sensitive: false }]
}

#[test]
fn no_event_of_a_recorded_stream_is_damaged() {
    let redactor = Redactor::new(&Rules::default()).expect("valid");
    for (name, events) in recordings() {
        // The one removal: a tool was called with a password, an empty one.
        let expected = events.replace(r#"\"password\":\"\""#, r#"\"password\":\"[REDACTED]\""#);
        let clean = redactor.body(&typed("text/event-stream"), &Captured::whole(events.clone()));
        for (clean, event) in clean.text.split("\n\n").zip(expected.split("\n\n")) {
            assert_eq!(clean, event, "{name}");
        }
        assert_eq!(clean.is_exact, expected == events, "{name}");
        let lines = |events: &str| events.replace("data: ", "").replace("\n\n", "\n");
        let clean = redactor.body(&typed("application/x-ndjson"), &Captured::whole(lines(&events)));
        assert_eq!(clean.text, lines(&expected), "{name}");
    }
}
