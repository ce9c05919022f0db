//! Verdicts on recorded provider errors are the wanted ones.

#[path = "../classify/report.rs"]
mod report;

use std::path::Path;

use report::{Line, Report};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A recorded error with the verdict of the system it was recorded from, and the fields that are better otherwise.
#[derive(Deserialize)]
struct Row {
    id: String,
    #[serde(flatten)]
    report: Report,
    expect: Map<String, Value>,
    desired: Option<Map<String, Value>>,
    #[serde(default)]
    superseded: bool,
    #[serde(default)]
    tolerance_ms: u64,
    #[serde(default)]
    must_not_leak: Vec<String>,
    detail: Option<String>,
    /// What the provider said, where `input` is what somebody made of it.
    provider_message: Option<String>,
}

#[test]
fn every_recorded_error_gets_the_wanted_verdict() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures/errors/reference-cases.jsonl");
    if !Path::new(corpus).exists() {
        eprintln!("the recorded errors are not here: their verdicts were NOT checked");
        return;
    }
    let corpus = std::fs::read_to_string(corpus).expect("the corpus is text");
    let mut wrong = Vec::new();
    let mut rows = 0;
    for json in corpus.lines().filter(|line| !line.trim().is_empty()) {
        let row: Row = serde_json::from_str(json).expect("a row");
        if row.superseded {
            continue;
        }
        rows += 1;
        let verdict = row.report.verdict(report::now());
        let line = Line::from(verdict.as_ref());
        let said = serde_json::to_value(&line).expect("a line");
        let wanted = |field: &str| {
            let better = row.desired.as_ref().and_then(|desired| desired.get(field));
            better.or_else(|| row.expect.get(field)).filter(|value| !is_none(value))
        };
        for field in ["kind", "retryable", "provider", "status_code", "retry_after_ms", "reason"] {
            let (wanted, said) = (wanted(field), said.get(field).filter(|value| !is_none(value)));
            let near = match (wanted.and_then(Value::as_u64), said.and_then(Value::as_u64)) {
                (Some(wanted), Some(said)) => wanted.abs_diff(said) <= row.tolerance_ms,
                _ => wanted == said,
            };
            // The rows know fewer reasons than there are.
            let right = match field {
                "reason" if wanted.is_none() => true,
                "retryable" => is_same(wanted, said),
                _ => near,
            };
            if !right {
                wrong.push(format!("{}: {field}: wanted {wanted:?}, said {said:?}", row.id));
            }
        }
        let words = said.to_string();
        for secret in &row.must_not_leak {
            assert!(!words.contains(secret.as_str()), "{} leaks {secret}", row.id);
        }
        // Only where the row tells what the detail is made of.
        let known = json.contains("\"preclassified\"");
        if let Some(detail) = row.detail.filter(|_| !known && row.provider_message.is_none()) {
            let said = line.detail.unwrap_or_default();
            if said != detail {
                wrong.push(format!("{}: detail: wanted {detail:?}, said {said:?}", row.id));
            }
        }
    }
    assert!(rows > 200, "only {rows} rows");
    assert!(wrong.is_empty(), "{} of {rows} rows:\n{}", wrong.len(), wrong.join("\n"));
}

/// In the corpus an empty string and a zero mean that there is none.
fn is_none(value: &Value) -> bool {
    value.is_null() || value == "" || value == 0
}

fn is_same(wanted: Option<&Value>, said: Option<&Value>) -> bool {
    let yes = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
    yes(wanted) == yes(said)
}

#[test]
fn an_empty_report_is_no_error_and_odd_ones_are_read() {
    let verdict = |json: &str| {
        let report: Report = serde_json::from_str(json).expect("a report");
        let verdict = report.verdict(report::now());
        Line::from(verdict.as_ref()).to_string()
    };
    let none = r#"{"kind":null,"reason":null,"advice":null,"retryable":false,"provider":null,"status_code":null,"retry_after_ms":null,"message":null,"detail":null}"#;
    assert_eq!(verdict(r#"{"input":"","status":null,"headers":{},"provider_hint":""}"#), none);
    assert_eq!(verdict("{}"), none);
    let listed =
        verdict(r#"{"status":429,"headers":{"Retry-After":["1","7"]},"body":{"error":{"message":"m"}}}"#);
    assert!(listed.contains(r#""retry_after_ms":7000,"#) && listed.contains(r#""detail":"m""#), "{listed}");
    assert!(verdict(r#"{"cause":"tls"}"#).contains(r#""reason":"tls""#));
    assert!(serde_json::from_str::<Report>(r#"{"cause":"magic"}"#).is_err());
}
