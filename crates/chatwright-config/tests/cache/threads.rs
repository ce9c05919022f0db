//! The promise of invalidation, with threads that really run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use chatwright_config::{Cache, Policy};
use tokio::task::{JoinSet, yield_now};

use crate::common::*;

const KEYS: usize = 4;
const FILLS_MAX: usize = 3;

/// What all tasks see. All of it is ordered by `step`.
#[derive(Default)]
struct World {
    step: AtomicU64,
    /// When the last invalidation of a key that has ended began.
    floors: [AtomicU64; KEYS],
    running: AtomicUsize,
}

impl World {
    fn step(&self) -> u64 {
        self.step.fetch_add(1, Ordering::SeqCst)
    }

    /// A fill: its value is its key and when it began.
    async fn fill(self: Arc<Self>, key: usize, began: u64) -> Result<Option<(usize, u64)>, Broken> {
        assert!(self.running.fetch_add(1, Ordering::SeqCst) < FILLS_MAX, "a fill too many");
        for _ in 0..began % 4 {
            yield_now().await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        match began % 11 {
            0 => Err(Broken("down")),
            1 => Ok(None),
            _ => Ok(Some((key, began))),
        }
    }
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn no_read_gets_what_was_read_before_an_invalidation_that_had_ended() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build();
    let world = Arc::new(World::default());
    let mut policy = Policy::new(Duration::from_millis(2));
    policy.negative = Some(Duration::from_millis(1));
    policy.refresh_ahead = Some(10);
    policy.stale_if_error = Some(Duration::from_secs(60));
    policy.retry_after = Duration::from_micros(50);
    policy.entries_max = KEYS - 1;
    policy.fills_max = FILLS_MAX;
    let filled = Arc::clone(&world);
    let source = move |key| {
        let began = filled.step();
        Arc::clone(&filled).fill(key, began)
    };
    let cache = Cache::new(policy, source).expect("a valid policy");
    runtime.expect("a runtime").block_on(async {
        let mut tasks = JoinSet::new();
        for seed in 1..=4 {
            let (cache, world) = (cache.clone(), Arc::clone(&world));
            tasks.spawn(async move {
                let mut state = seed;
                for _ in 0..15_000 {
                    let draw = xorshift(&mut state);
                    let key = (draw >> 8) as usize % KEYS;
                    match draw % 32 {
                        0 => {
                            let step = world.step();
                            cache.invalidate_all();
                            for floor in &world.floors {
                                floor.fetch_max(step, Ordering::SeqCst);
                            }
                        }
                        1..=6 => {
                            let step = world.step();
                            cache.invalidate(&key);
                            world.floors[key].fetch_max(step, Ordering::SeqCst);
                        }
                        _ => {
                            let floor = world.floors[key].load(Ordering::SeqCst);
                            if let Ok(Some(value)) = cache.get(&key).await {
                                assert!(
                                    value.0 == key && value.1 > floor,
                                    "seed {seed}: {value:?} after {floor}"
                                );
                            }
                            assert!(cache.len() < KEYS);
                        }
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("the promise holds");
        }
    });
    let stats = cache.stats();
    let seen = [stats.hits, stats.joined, stats.outdated, stats.failures, stats.refreshes, stats.evicted];
    assert!(seen.iter().all(|&count| count > 0), "everything happened: {stats:?}");
}
