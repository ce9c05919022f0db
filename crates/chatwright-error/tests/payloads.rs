//! Payloads are what their schemas say, and stored errors of every age are read.

use std::time::{Duration, SystemTime};

use chatwright_error::{
    Cause, ERROR_INFO_SCHEMA, ErrorInfo, Failure, Kind, RETRY_EVENT_SCHEMA, RetryEvent, Verdict, classify,
};
use serde_json::{Value, json};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn limited() -> Verdict {
    let failure = Failure::new("openai", Cause::Status)
        .with_status(429)
        .with_body(r#"{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}"#);
    classify(&failure, now())
}

fn valid(schema: &str, payload: &Value) -> bool {
    let schema = serde_json::from_str(schema).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("a valid schema").is_valid(payload)
}

#[test]
fn a_terminal_error_leaves_out_what_it_does_not_have() {
    let full = serde_json::to_value(ErrorInfo::from(&limited())).expect("it encodes");
    assert_eq!(
        full,
        json!({
            "message": "OpenAI is limiting how many requests it takes.",
            "kind": "rate_limit",
            "provider": "openai",
            "retryable": true,
            "status_code": 429,
            "detail": "Rate limit reached",
        })
    );
    let bare = serde_json::to_value(ErrorInfo::from(&Verdict::of(Kind::Generic))).expect("it encodes");
    assert_eq!(
        bare,
        json!({ "message": "The request failed unexpectedly.", "kind": "generic", "retryable": false })
    );
    for payload in [&full, &bare] {
        assert!(valid(ERROR_INFO_SCHEMA, payload));
    }
    for broken in [
        json!({ "kind": "generic", "retryable": true }),
        json!({ "message": "", "retryable": true }),
        json!([]),
    ] {
        assert!(!valid(ERROR_INFO_SCHEMA, &broken), "{broken}");
    }
}

#[test]
fn a_retry_event_tells_attempt_delay_and_time() {
    let event = RetryEvent::new(&ErrorInfo::from(&limited()), 2, Duration::from_micros(3_000_999), now());
    let payload = serde_json::to_value(&event).expect("it encodes");
    assert_eq!(
        payload,
        json!({
            "attempt": 2,
            "delay_ms": 3000,
            "error": "OpenAI is limiting how many requests it takes.",
            "retrying_at": "2027-01-15T08:00:03.000Z",
            "kind": "rate_limit",
            "provider": "openai",
            "status_code": 429,
        })
    );
    assert!(valid(RETRY_EVENT_SCHEMA, &payload));
    let bare = RetryEvent::new(&ErrorInfo::from(&Verdict::of(Kind::Timeout)), 1, Duration::MAX, now());
    let bare = serde_json::to_value(&bare).expect("it encodes");
    assert!(bare.get("provider").is_none() && bare.get("status_code").is_none());
    assert!(valid(RETRY_EVENT_SCHEMA, &bare));
    assert!(!valid(
        RETRY_EVENT_SCHEMA,
        &json!({ "attempt": 0, "delay_ms": 1, "error": "e", "retrying_at": "x" })
    ));
}

#[test]
fn stored_errors_of_every_age_are_read_and_null_stays_null() {
    let generic = |message: &str| Some(("generic".to_owned(), message.to_owned(), false));
    let fallback = "The request failed unexpectedly.";
    for (stored, wanted) in [
        (None, None),
        (Some("null"), None),
        (Some("stream response: boom"), generic("stream response: boom")),
        (Some(""), generic(fallback)),
        (Some("[1]"), generic(fallback)),
        (Some("\"text\""), generic(fallback)),
        (Some(r#"{"message":1}"#), generic(fallback)),
        (Some(r#"{"message":" m ","kind":"  "}"#), generic("m")),
        (Some(r#"{"message":" ","kind":"auth"}"#), Some(("auth".to_owned(), fallback.to_owned(), false))),
        (
            Some(r#"{"message":"m","kind":"of_tomorrow","retryable":true,"new":{}}"#),
            Some(("of_tomorrow".to_owned(), "m".to_owned(), true)),
        ),
    ] {
        let info = ErrorInfo::from_stored(stored);
        let read = info.map(|info| (info.kind.into_string(), info.message.into_string(), info.retryable));
        assert_eq!(read, wanted, "{stored:?}");
    }
    let blank = ErrorInfo { message: " ".into(), ..ErrorInfo::from(&limited()) };
    assert_eq!(blank.to_stored(), None, "nothing to tell is stored as NULL");
}
