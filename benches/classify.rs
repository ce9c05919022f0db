//! What does a verdict cost, against one parse of the same body? And does a long text take linear time?
//!
//! The peer is `serde_json::from_str::<Value>` over the failure's body: what any classifier that reads bodies must do first.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use chatwright_benches::{Bench, median, per_second};
use chatwright_error::{Cause, Failure, classify};
use serde_json::Value;

const OPENAI: &str = r#"{"error":{"message":"Rate limit reached for gpt-5 in organization org-abc on tokens per min (TPM): Limit 30000, Used 29000, Requested 5000. Please try again in 8s. Visit https://platform.openai.com/account/rate-limits to learn more.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#;
const ANTHROPIC: &str = r#"{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"},"request_id":"req_011CSHoEeqs5C35K2UUqR7Fy"}"#;
const GEMINI: &str = r#"{"error":{"code":429,"message":"You exceeded your current quota. Please retry in 45.837906927s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"generativelanguage.googleapis.com/generate_content_free_tier_requests","quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"45.837906927s"}]}}"#;
const AZURE: &str = r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"},"violence":{"filtered":false,"severity":"safe"}}}}}"#;

fn failure(provider: &str, status: u16, body: &str) -> Failure {
    Failure::new(provider, Cause::Status)
        .with_status(status)
        .with_header("content-type", "application/json")
        .with_header("x-request-id", "req_1")
        .with_header("retry-after", "7")
        .with_body(body)
}

fn main() {
    let bench = Bench::from_args();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let time = bench.time / 8;
    println!(
        "{:<28} {:>12} {:>10} {:>7} {:>12} {:>8}",
        "structured failures", "parse ns", "verdict ns", "ratio", "parse allocs", "allocs"
    );
    for (name, status, body) in [
        ("openai", 429, OPENAI),
        ("anthropic", 529, ANTHROPIC),
        ("google", 429, GEMINI),
        ("azure", 400, AZURE),
    ] {
        let failure = failure(name, status, body);
        let (mut parses, mut verdicts) = (Vec::new(), Vec::new());
        for _ in 0..bench.rounds {
            parses.push(per_second(time, || {
                repeat(100, || drop(black_box(serde_json::from_str::<Value>(black_box(body)))))
            }));
            verdicts.push(per_second(time, || {
                repeat(100, || drop(black_box(classify(black_box(&failure), now))))
            }));
        }
        let (parse, verdict) = (1e9 / median(parses), 1e9 / median(verdicts));
        let allocs = |work: &dyn Fn()| allocation_counter::measure(work).count_total;
        println!(
            "{:<28} {parse:>12.0} {verdict:>10.0} {:>7.2} {:>12} {:>8}",
            format!("{name} {status}, {} bytes", body.len()),
            verdict / parse,
            allocs(&|| drop(black_box(serde_json::from_str::<Value>(body)))),
            allocs(&|| drop(black_box(classify(&failure, now)))),
        );
    }
    println!("\n{:<28} {:>12} {:>10}", "text bodies", "µs", "ns per byte");
    for kib in [1, 4, 16, 64] {
        let text =
            "the upstream said that it is not well today, status unknown; ".repeat(kib * 1024 / 61 + 1);
        let failure = failure("openai", 500, &text[..kib * 1024]);
        let rates = (0..bench.rounds)
            .map(|_| per_second(time, || repeat(1, || drop(black_box(classify(&failure, now))))));
        let nanos = 1e9 / median(rates.collect());
        println!(
            "{:<28} {:>12.1} {:>10.2}",
            format!("{kib} KiB"),
            nanos / 1e3,
            nanos / (kib as f64 * 1024.0)
        );
    }
}

fn repeat(times: usize, mut work: impl FnMut()) -> usize {
    (0..times).for_each(|_| work());
    times
}
