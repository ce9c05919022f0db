#![doc = include_str!("README.md")]

use std::time::{Duration, Instant};

/// How a bench was called: `--once` runs everything a moment, to see that it works.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// How long one measurement takes.
    pub time: Duration,
    /// How many rounds are measured; the median counts.
    pub rounds: usize,
}

impl Bench {
    /// From the command line.
    pub fn from_args() -> Self {
        if std::env::args().any(|argument| argument == "--once") {
            return Self { time: Duration::from_millis(20), rounds: 1 };
        }
        Self { time: Duration::from_secs(2), rounds: 5 }
    }
}

/// Runs `work` until `time` is over and gives how many units it did per second. `work` gives the units of one call.
pub fn per_second(time: Duration, mut work: impl FnMut() -> usize) -> f64 {
    let begin = now();
    let mut units = 0;
    loop {
        units += work();
        let spent = begin.elapsed();
        if spent >= time {
            return units as f64 / spent.as_secs_f64();
        }
    }
}

/// The median.
///
/// # Panics
/// If there is no value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}
