//! What does a hit of the config cache cost against `moka` and `quick_cache`, with one thread and with two, and how many
//! allocations does it take? How many fills do 1,000 concurrent misses start? What does a flood of distinct keys leave?
//!
//! All three hold shared values under keys of 128 bits. moka expires them by time like ours; quick_cache knows no time, and so
//! reads no clock. quick_cache's read is not a future.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use chatwright_benches::{Bench, median, per_second};
use chatwright_config::{Cache, Policy};
use tokio::runtime::{Builder, Runtime};

const TTL: Duration = Duration::from_secs(3600);
/// How many entries each cache may have: more than any working set of the hits.
const ENTRIES_MAX: usize = 65_536;
/// How many hits share one entry into the runtime.
const BATCH: usize = 1_000;

type Ours = Cache<u128, u64, std::convert::Infallible>;
type Moka = moka::future::Cache<u128, Arc<u64>>;
type Quick = quick_cache::sync::Cache<u128, Arc<u64>>;
/// Reads these keys.
type Hits = dyn Fn(&Runtime, &[u128]) + Sync;

fn main() {
    let bench = Bench::from_args();
    hits(bench);
    misses();
    flood(bench);
}

fn hits(bench: Bench) {
    for (set, keys) in [("1 hot key", keys(1)), ("10,000 keys", keys(10_000))] {
        let peers = peers(&keys);
        println!(
            "{set:<28} {:>11} {:>7} {:>11} {:>7} {:>11}",
            "ns, 1 thr.", "ratio", "ns, 2 thr.", "ratio", "allocations"
        );
        let [one, two] = [1, 2].map(|threads| {
            let mut nanos: Vec<Vec<f64>> = vec![Vec::new(); peers.len()];
            for _ in 0..bench.rounds {
                for (nanos, (_, hit)) in nanos.iter_mut().zip(&peers) {
                    nanos.push(nanos_per_hit(bench.time / 4, threads, &keys, hit));
                }
            }
            nanos.into_iter().map(median).collect::<Vec<f64>>()
        });
        for (n, (name, hit)) in peers.iter().enumerate() {
            let allocations = allocations(&keys, hit);
            let ratios = [one[n] / one[0], two[n] / two[0]];
            println!(
                "{name:<28} {:>11.1} {:>7.2} {:>11.1} {:>7.2} {allocations:>11.2}",
                one[n], ratios[0], two[n], ratios[1]
            );
        }
        println!();
    }
}

/// Keys as ids are: without a pattern.
fn keys(count: u128) -> Vec<u128> {
    (1..=count).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).collect()
}

/// The filled caches, as what reads from them.
fn peers(keys: &[u128]) -> Vec<(&'static str, Box<Hits>)> {
    let runtime = runtime();
    let moka = moka();
    let quick = Quick::new(ENTRIES_MAX);
    let ours = ours(Arc::default());
    runtime.block_on(async {
        for &key in keys {
            moka.insert(key, Arc::new(key as u64)).await;
            quick.insert(key, Arc::new(key as u64));
            ours.get(&key).await.expect("the source never fails");
        }
        moka.run_pending_tasks().await;
    });
    vec![
        (
            "moka",
            Box::new(move |runtime, keys| {
                runtime.block_on(async {
                    for key in keys {
                        black_box(moka.get(key).await.expect("it is there"));
                    }
                });
            }),
        ),
        (
            "quick_cache (no time)",
            Box::new(move |runtime, keys| {
                runtime.block_on(async {
                    for key in keys {
                        black_box(quick.get(key).expect("it is there"));
                    }
                });
            }),
        ),
        (
            "chatwright-config",
            Box::new(move |runtime, keys| {
                runtime.block_on(async {
                    for key in keys {
                        black_box(ours.get(key).await.expect("no fill").expect("it is there"));
                    }
                });
            }),
        ),
    ]
}

fn ours(fills: Arc<AtomicUsize>) -> Ours {
    let mut policy = Policy::new(TTL);
    policy.entries_max = ENTRIES_MAX;
    let source = move |key| {
        fills.fetch_add(1, Ordering::Relaxed);
        async move { Ok(Some(key as u64)) }
    };
    Cache::new(policy, source).expect("a valid policy")
}

fn moka() -> Moka {
    Moka::builder().max_capacity(ENTRIES_MAX as u64).time_to_live(TTL).build()
}

/// The time per hit, as each thread sees it: all threads read the same keys, each from a place of its own.
fn nanos_per_hit(time: Duration, threads: usize, keys: &[u128], hit: &Hits) -> f64 {
    let rates: Vec<f64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let runtime = runtime();
                    let mut batches = batches(keys, thread);
                    per_second(time, || {
                        hit(&runtime, batches.next().expect("there is no end"));
                        BATCH
                    })
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a hit")).collect()
    });
    1e9 * rates.len() as f64 / rates.iter().sum::<f64>()
}

/// Batches of keys, over and over.
fn batches(keys: &[u128], thread: usize) -> impl Iterator<Item = &'static [u128]> {
    let all: Vec<u128> =
        keys.iter().copied().cycle().skip(thread * keys.len() / 2).take(keys.len().max(BATCH)).collect();
    // Leaked, a little for each thread and round.
    let all: &'static [u128] = Vec::leak(all);
    all.chunks(BATCH).cycle()
}

/// Allocations per hit.
fn allocations(keys: &[u128], hit: &Hits) -> f64 {
    let runtime = runtime();
    let batch = batches(keys, 0).next().expect("there is no end");
    hit(&runtime, batch);
    let [few, many] =
        [&batch[..1], batch].map(|keys| allocation_counter::measure(|| hit(&runtime, keys)).count_total);
    (many as f64 - few as f64) / (BATCH - 1) as f64
}

fn misses() {
    let fills = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&fills);
    let source = move |key: u128| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, std::convert::Infallible>(Some(key as u64))
        }
    };
    let cache = Cache::new(Policy::new(TTL), source).expect("a valid policy");
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let cache = cache.clone();
            callers.spawn(async move { cache.get(&7).await });
        }
        for got in callers.join_all().await {
            got.expect("the source never fails").expect("it gives a value");
        }
    });
    println!("1,000 concurrent misses of one key: {} fills\n", fills.load(Ordering::Relaxed));
}

fn flood(bench: Bench) {
    let count = if bench.rounds == 1 { 100_000 } else { 1_000_000 };
    let keys = keys(count);
    println!(
        "{:<28} {:>9} {:>7} {:>12}",
        format!("flood of {count} keys"),
        "seconds",
        "ratio",
        "entries, max"
    );
    let runtime = runtime();
    let moka = moka();
    let mut most = 0;
    let base = runtime.block_on(async {
        seconds(async {
            for (n, &key) in keys.iter().enumerate() {
                let filled =
                    moka.try_get_with(key, async { Ok::<_, std::convert::Infallible>(Arc::new(key as u64)) });
                filled.await.expect("the source never fails");
                if n % 1_024 == 0 {
                    most = most.max(moka.entry_count());
                }
            }
        })
        .await
    });
    println!("{:<28} {base:>9.2} {:>7.2} {most:>12}", "moka, try_get_with", 1.0);
    let ours = ours(Arc::default());
    let mut most = 0;
    let spent = runtime.block_on(async {
        seconds(async {
            for (n, key) in keys.iter().enumerate() {
                ours.get(key).await.expect("the source never fails");
                if n % 1_024 == 0 {
                    most = most.max(ours.len());
                }
            }
        })
        .await
    });
    println!("{:<28} {spent:>9.2} {:>7.2} {most:>12}", "chatwright-config", spent / base);
    assert!(most <= ENTRIES_MAX);
}

async fn seconds(work: impl Future<Output = ()>) -> f64 {
    let begin = tokio::time::Instant::now();
    work.await;
    begin.elapsed().as_secs_f64()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}
