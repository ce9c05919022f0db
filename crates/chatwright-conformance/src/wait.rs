//! Waits with a bound: a promise that is kept too late is not kept, and a broken one must not hang a test.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::channel;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// No clause waits longer for one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// And not for what needs no other process.
const LOCAL_PATIENCE: Duration = Duration::from_secs(2);

/// Waits for `work`, at most [`PATIENCE`].
pub(crate) async fn within<T>(clause: &str, what: &str, work: impl Future<Output = T>) -> T {
    let done = timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("{clause}: {what}: not within {PATIENCE:?}"))
}

/// Waits until something holds that is known in this process, at most [`LOCAL_PATIENCE`].
pub(crate) async fn until(clause: &str, what: &str, holds: impl Fn() -> bool) {
    let poll = async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let done = timeout(LOCAL_PATIENCE, poll).await;
    assert!(done.is_ok(), "{clause}: {what}: not within {LOCAL_PATIENCE:?}");
}

/// The results of all tasks; a panic of one is the panic of the test.
pub(crate) async fn all<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(task) = tasks.join_next().await {
        results.push(task.unwrap_or_else(|error| resume_unwind(error.into_panic())));
    }
    results
}

/// The results of the works, each on a thread of its own; a panic of one is the panic of the test. Threads that are
/// not done within [`PATIENCE`] are left behind.
pub(crate) fn on_threads<T: Send + 'static>(
    clause: &str,
    works: impl IntoIterator<Item = Box<dyn FnOnce() -> T + Send>>,
) -> Vec<T> {
    let (done, results) = channel();
    let mut count = 0;
    for work in works {
        let done = done.clone();
        count += 1;
        std::thread::Builder::new()
            .name(format!("{clause} {count}"))
            // Nobody may be left to hear it.
            .spawn(move || drop(done.send(catch_unwind(AssertUnwindSafe(work)))))
            .expect("a thread can be made");
    }
    let end = Instant::now() + PATIENCE;
    let next = |_| match results.recv_timeout(end.saturating_duration_since(Instant::now())) {
        Ok(result) => result.unwrap_or_else(|panic| resume_unwind(panic)),
        Err(_) => panic!("{clause}: not done within {PATIENCE:?} on a thread of its own"),
    };
    (0..count).map(next).collect()
}
