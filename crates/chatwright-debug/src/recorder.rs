//! Writes down what models are asked and what they answer, behind the back of the chats.

mod budget;
mod capture;
mod hot;
mod http;
mod job;
mod model;
mod payload;
mod track;
mod weight;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chatwright_core::port::{Event, LanguageModel, ModelResolver, Observer};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use model::{RecordedModel, RecordedResolver};
pub(crate) use payload::cause_of;

use crate::DebugService;
use crate::redact::Redactor;
use budget::Budget;
use hot::Lanes;
use job::Job;

/// A call takes two places: for its beginning, and for its end.
const QUEUE_MIN: usize = 2;
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// How much a recorder keeps. Plain data; every field has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecorderSettings {
    /// Most bytes that are held in memory before they are written, by all chats of the process together: 64 MiB by default. What there
    /// is no room for is left out, which its record says.
    pub memory_bytes_max: usize,
    /// Most jobs that wait to be written: 8,192 by default, at least 2. A call that streams has a place for its end. What comes while as many wait is dropped, and counted.
    pub queue_max: usize,
    /// Most bytes of an answer: 1 MiB by default.
    pub answer_bytes_max: usize,
    /// Most bytes of the body of a request: 4 MiB by default. Of a larger one the beginning and the end are kept.
    pub request_bytes_max: usize,
    /// Most bytes of the body of a response: 1 MiB by default. Of a larger one the beginning and the end are kept.
    pub response_bytes_max: usize,
}

impl Default for RecorderSettings {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 * MIB,
            queue_max: 8 * KIB,
            answer_bytes_max: MIB,
            request_bytes_max: 4 * MIB,
            response_bytes_max: MIB,
        }
    }
}

/// Records what is said to models and what they answer: it wraps the models, and is told by the loop what happens. A clone is the same
/// one.
///
/// A chat never waits for it: what it gathers is put into a queue, and where that is full, or memory is short, it is dropped and
/// counted. A task of its own takes secrets out of it and writes it down.
#[derive(Clone)]
pub struct Recorder(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    /// The writer. It ends with the last clone.
    tasks: Mutex<JoinSet<()>>,
}

/// What the models and the observer share.
struct Shared {
    service: DebugService,
    settings: RecorderSettings,
    queue: mpsc::Sender<Job>,
    budget: Budget,
    lanes: Mutex<Lanes>,
    calls: AtomicU64,
    stats: Counts,
}

#[derive(Default)]
struct Counts {
    recorded: AtomicU64,
    dropped: AtomicU64,
    unwritten: AtomicU64,
}

/// What became of what a recorder was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecorderStats {
    /// Calls that are, or were, recorded: not those of chats that turned out not to be.
    pub recorded: u64,
    /// Pieces of calls that were dropped because the queue was full.
    pub dropped: u64,
    /// Writes that were given up because the store did not take them.
    pub unwritten: u64,
    /// Bytes that are held in memory now.
    pub held_bytes: usize,
}

impl Recorder {
    /// Begins to record: a task of its own writes what is told to it, gives signs of life, ends abandoned runs, and deletes old ones.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(service: DebugService, redactor: Redactor, settings: RecorderSettings) -> Self {
        let (queue, jobs) = mpsc::channel(settings.queue_max.max(QUEUE_MIN));
        let shared = Arc::new(Shared {
            service,
            budget: Budget::new(settings.memory_bytes_max),
            settings,
            queue,
            lanes: Mutex::default(),
            calls: AtomicU64::new(0),
            stats: Counts::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(writer::run(Arc::downgrade(&shared), shared.service.clone(), redactor, jobs));
        Self(Arc::new(Handle { shared, tasks: Mutex::new(tasks) }))
    }

    /// The model, recorded: calls that say what they are [part of](chatwright_core::model::CallScope), if their chat is to be recorded.
    /// Others pass as if this were not there.
    pub fn model(&self, model: Arc<dyn LanguageModel>) -> RecordedModel {
        RecordedModel::new(model, Arc::clone(&self.0.shared))
    }

    /// The resolver, whose models are recorded.
    pub fn resolver(&self, resolver: Arc<dyn ModelResolver>) -> RecordedResolver {
        RecordedResolver::new(resolver, Arc::clone(&self.0.shared))
    }

    /// What it records with.
    pub fn service(&self) -> &DebugService {
        &self.0.shared.service
    }

    /// What became of what it was told.
    pub fn stats(&self) -> RecorderStats {
        let Shared { stats, budget, settings, .. } = &*self.0.shared;
        RecorderStats {
            recorded: stats.recorded.load(Ordering::Relaxed),
            dropped: stats.dropped.load(Ordering::Relaxed),
            unwritten: stats.unwritten.load(Ordering::Relaxed),
            held_bytes: settings.memory_bytes_max.saturating_sub(budget.left()),
        }
    }

    /// Waits until what it was told so far is written, or given up; at most this long. Whether it is.
    ///
    /// # Cancel safety
    /// Cancel-safe: what is to be written is written nevertheless.
    pub async fn flush(&self, within: Duration) -> bool {
        let (answer, done) = oneshot::channel();
        let flushed =
            async { self.0.shared.queue.send(Job::Flush(answer)).await.is_ok() && done.await.is_ok() };
        timeout(within, flushed).await.unwrap_or(false)
    }

    /// Writes what it was told so far, within this time, and ends. Whether it came to its end: what the store did not take is counted
    /// in [`unwritten`](RecorderStats::unwritten). What it is told from now on is dropped.
    ///
    /// # Cancel safety
    /// A dropped call may have ended it or not.
    pub async fn shutdown(&self, within: Duration) -> bool {
        let flushed = self.flush(within).await;
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock());
        tasks.shutdown().await;
        flushed
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recorder").field(&self.stats()).finish()
    }
}

/// Upholds O1–O2.
impl Observer for Recorder {
    fn observe(&self, event: &Event<'_>) {
        self.0.shared.observe(event);
    }
}
