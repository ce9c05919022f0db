//! A source that a test answers call by call.

use std::sync::Arc;
use std::time::Duration;

use chatwright_config::{Cache, FillError, Policy};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

pub(crate) type Got = Result<Option<Arc<u32>>, FillError<Broken>>;
pub(crate) type Answer = Result<Option<u32>, Broken>;
pub(crate) type Config = Cache<u32, u32, Broken>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken: {0}")]
pub(crate) struct Broken(pub(crate) &'static str);

pub(crate) const TTL: Duration = Duration::from_secs(60);
pub(crate) const MILLI: Duration = Duration::from_millis(1);

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One minute, to the point.
pub(crate) fn exact() -> Policy {
    let mut policy = Policy::new(TTL);
    policy.jitter_percent = 0;
    policy.seed = Some(7);
    policy
}

/// The calls of a source.
pub(crate) struct Calls(mpsc::UnboundedReceiver<Call>);

/// A call that waits for its answer.
pub(crate) struct Call {
    pub(crate) key: u32,
    answer: oneshot::Sender<Answer>,
}

impl Call {
    pub(crate) fn answer(self, answer: Answer) {
        self.answer.send(answer).expect("the fill waits for it");
    }

    pub(crate) fn found(self, value: u32) {
        self.answer(Ok(Some(value)));
    }

    /// The call panics.
    pub(crate) fn panic(self) {
        drop(self.answer);
    }

    /// Whether the cache has dropped the fill.
    pub(crate) fn is_over(&self) -> bool {
        self.answer.is_closed()
    }
}

impl Calls {
    pub(crate) fn of(calls: mpsc::UnboundedReceiver<Call>) -> Self {
        Self(calls)
    }

    /// The next call.
    pub(crate) async fn next(&mut self) -> Call {
        timeout(secs(1), self.0.recv()).await.expect("a fill begins").expect("the cache is there")
    }

    /// The next call, if there is one already.
    pub(crate) fn try_next(&mut self) -> Option<Call> {
        self.0.try_recv().ok()
    }

    /// There is no call that was not taken.
    pub(crate) async fn none(&mut self) {
        settle().await;
        assert!(self.0.try_recv().is_err(), "a fill too many");
    }
}

pub(crate) fn cache(policy: Policy) -> (Config, Calls) {
    let (send, calls) = mpsc::unbounded_channel();
    (Cache::new(policy, source(send)).expect("a valid policy"), Calls(calls))
}

/// A source whose calls the test gets.
pub(crate) fn source(
    send: mpsc::UnboundedSender<Call>,
) -> impl Fn(u32) -> futures::future::BoxFuture<'static, Answer> {
    move |key| {
        let (answer, answered) = oneshot::channel();
        let sent = send.send(Call { key, answer });
        Box::pin(async move {
            sent.expect("the test holds its calls");
            answered.await.expect("the test wants a panic")
        })
    }
}

/// A cache that holds `value` for key 1.
pub(crate) async fn filled(policy: Policy, value: u32) -> (Config, Calls) {
    let (cache, mut calls) = cache(policy);
    let mut readers = Readers::default();
    readers.read(&cache, 1);
    calls.next().await.found(value);
    assert_eq!(found(readers.next().await), Some(value));
    (cache, calls)
}

/// Callers, each in a task of its own.
#[derive(Default)]
pub(crate) struct Readers(JoinSet<Got>);

impl Readers {
    pub(crate) fn read(&mut self, cache: &Config, key: u32) {
        let cache = cache.clone();
        self.0.spawn(async move { cache.get(&key).await });
    }

    /// What the next one to end got.
    pub(crate) async fn next(&mut self) -> Got {
        let got = timeout(secs(1), self.0.join_next()).await.expect("it does not wait");
        got.expect("there is one").expect("it was not aborted")
    }

    pub(crate) async fn all(self) -> Vec<Got> {
        self.0.join_all().await
    }
}

/// A read that needs no fill.
pub(crate) async fn hit(cache: &Config, key: u32) -> Option<u32> {
    let fills = cache.stats().fills;
    let got = timeout(Duration::ZERO, cache.get(&key)).await.expect("it does not wait");
    assert_eq!(cache.stats().fills, fills, "no fill was begun");
    found(got)
}

pub(crate) fn found(got: Got) -> Option<u32> {
    got.expect("no failure").as_deref().copied()
}

pub(crate) fn failed(got: Got) -> FillError<Broken> {
    got.expect_err("a failure")
}

/// Lets all tasks go as far as they can without time.
pub(crate) async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}
