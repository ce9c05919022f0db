//! What does the retry loop cost beside the call, against backon?
//!
//! Both call an operation that fails so often and then succeeds, with the same waits (1 ms, doubling), on a runtime of one
//! thread. Its time is paused: nobody really sleeps, and what is measured is the loops and the timer. The peer decides by the
//! same verdict, but has no history, no jitter, no wall clock and no end that says why.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use backon::{ExponentialBuilder, Retryable};
use chatwright_benches::{Bench, median, per_second};
use chatwright_error::{Kind, Verdict};
use chatwright_retry::{Gates, Policy, Retry};
use tokio::runtime::Runtime;

const FIRST_WAIT: Duration = Duration::from_millis(1);
/// How many runs share one entry into the runtime.
const BATCH: usize = 1_000;

fn main() {
    let bench = Bench::from_args();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    for (name, failures) in [("success at the first try", 0), ("5 failures, then success", 5)] {
        let mut rates: [Vec<f64>; 3] = Default::default();
        for _ in 0..bench.rounds {
            for (rates, looped) in rates.iter_mut().zip([backon, ours, ours_gated]) {
                rates.push(per_second(bench.time, || looped(&runtime, failures, BATCH)));
            }
        }
        println!("{name:<36} {:>11} {:>7} {:>13}", "runs per s", "ratio", "allocations");
        let [base, ..] = rates.clone().map(median);
        let names = ["backon", "chatwright-retry", "chatwright-retry with a gate"];
        for ((name, rate), looped) in names.iter().zip(rates.map(median)).zip([backon, ours, ours_gated]) {
            let allocations = allocations(|runs| looped(&runtime, failures, runs));
            println!("{name:<36} {rate:>11.0} {:>7.2} {allocations:>13.1}", rate / base);
        }
    }
}

/// The peer.
fn backon(runtime: &Runtime, failures: u32, runs: usize) -> usize {
    let policy = ExponentialBuilder::default().with_min_delay(FIRST_WAIT).with_max_times(24);
    runtime.block_on(async {
        for _ in 0..runs {
            let calls = Cell::new(0);
            let operation = || {
                calls.set(calls.get() + 1);
                call(calls.get(), failures)
            };
            let done = operation.retry(policy).sleep(tokio::time::sleep).when(Verdict::is_retryable).await;
            done.expect("it succeeds in the end");
        }
    });
    runs
}

fn ours(runtime: &Runtime, failures: u32, runs: usize) -> usize {
    runtime.block_on(async {
        for _ in 0..runs {
            let done = Retry::new(policy(), 7, now).run(|attempt| call(attempt, failures)).await;
            done.expect("it succeeds in the end");
        }
    });
    runs
}

fn ours_gated(runtime: &Runtime, failures: u32, runs: usize) -> usize {
    let gate = Gates::new().gate("openai/key");
    runtime.block_on(async {
        for _ in 0..runs {
            let retry = Retry::new(policy(), 7, now).gate(gate.clone());
            retry.run(|attempt| call(attempt, failures)).await.expect("it succeeds in the end");
        }
    });
    runs
}

fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.first_wait = FIRST_WAIT;
    policy
}

/// The operation: what it costs is the verdict that it makes.
async fn call(attempt: u32, failures: u32) -> Result<u32, Verdict> {
    if attempt > failures { Ok(attempt) } else { Err(Verdict::of(Kind::Overloaded)) }
}

#[expect(clippy::disallowed_methods, reason = "what a host gives the loop")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Allocations per run.
fn allocations(looped: impl Fn(usize) -> usize) -> f64 {
    looped(1);
    let [few, many] = [1, 101].map(|runs| {
        allocation_counter::measure(|| {
            looped(runs);
        })
        .count_total
    });
    (many as f64 - few as f64) / 100.0
}
