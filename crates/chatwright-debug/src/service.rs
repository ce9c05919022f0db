//! Whether is recorded, and what is done with what was.

mod cleanup;
mod events;
mod summary;
mod switch;

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::debug::{
    DebugDelete, DebugRun, DebugStatus, DebugStep, DebugWrite, DebugWritten, Detail, RunChange, StepChange,
};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::{Bus, Clock, DebugStore, DebugSwitches, Ids, StoreError, StoreErrorKind};
use chatwright_core::{ChatId, RunId, StepId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

pub use events::{DebugEvent, DebugEventKind};
pub use summary::{FIRST_MESSAGE_SCALARS_MAX, Summary, label};

pub(crate) use events::Told;
use switch::Known;
pub(crate) use switch::Switched;

/// How long a call of the store's may take that nobody waits for.
pub(crate) const STORE_WITHIN: Duration = Duration::from_secs(5);

/// How a deployment records. Plain data; every field has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DebugSettings {
    /// Everything is recorded, whatever anybody else wants. `false` by default.
    pub forced: bool,
    /// How long a run may stand without a sign of life before it counts as abandoned. 5 min by default. What is alive gives a sign
    /// after half of it.
    pub stale_after: Duration,
    /// How long runs are kept to which nothing happens any more. 30 days by default; `None`: for ever.
    pub retention: Option<Duration>,
    /// How long a process goes by what it knows of the switches. 5 s by default.
    pub switches_for: Duration,
}

impl Default for DebugSettings {
    fn default() -> Self {
        Self {
            forced: false,
            stale_after: Duration::from_secs(5 * 60),
            retention: Some(Duration::from_secs(30 * 24 * 60 * 60)),
            switches_for: Duration::from_secs(5),
        }
    }
}

/// Runs and steps: decides whether there are any, writes, ends, reads and deletes them, and tells who watches. A clone is the same one.
///
/// Nothing here is on the way of a chat: a [`Recorder`](crate::Recorder) calls it behind one.
#[derive(Clone)]
pub struct DebugService(Arc<Inner>);

struct Inner {
    store: Arc<dyn DebugStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    bus: Option<Arc<dyn Bus>>,
    switches: Option<Arc<dyn DebugSwitches>>,
    settings: DebugSettings,
    /// How long a run may stand without a sign of life.
    stale_after: watch::Sender<Duration>,
    known: Mutex<Known>,
    /// What goes on when its caller is gone.
    detached: Mutex<JoinSet<()>>,
    /// How many deletions that nobody waits for are done at once.
    cleaning: Semaphore,
}

/// A step that was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateStepError {
    /// There is no such run, or it is another chat's.
    #[error("the parent run was not found")]
    RunNotFound,
    /// The run is over.
    #[error("the parent run is already finalized")]
    RunFinalized,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A run or a step that was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// There is none, or it is another chat's.
    #[error("there is no such run or step in this chat")]
    NotFound,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DebugService {
    /// A service over this store that records nothing yet: [`with_switches`](Self::with_switches) or
    /// [`forced`](DebugSettings::forced) lets it.
    pub fn new(
        store: impl DebugStore,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        settings: DebugSettings,
    ) -> Self {
        let (stale_after, _) = watch::channel(DebugSettings::default().stale_after);
        let service = Self(Arc::new(Inner {
            store: Arc::new(store),
            clock,
            ids,
            bus: None,
            switches: None,
            stale_after,
            known: Mutex::default(),
            detached: Mutex::default(),
            cleaning: Semaphore::new(cleanup::AT_ONCE),
            settings,
        }));
        service.set_stale_after(service.0.settings.stale_after);
        service
    }

    /// With what administrators, users and chats want.
    ///
    /// # Panics
    /// If the service has been cloned.
    #[must_use]
    pub fn with_switches(mut self, switches: Arc<dyn DebugSwitches>) -> Self {
        self.inner().switches = Some(switches);
        self
    }

    /// With a bus on which is told what happens.
    ///
    /// # Panics
    /// If the service has been cloned.
    #[must_use]
    pub fn with_bus(mut self, bus: Arc<dyn Bus>) -> Self {
        self.inner().bus = Some(bus);
        self
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::get_mut(&mut self.0).expect("it is put together before it is cloned")
    }

    pub(crate) fn store(&self) -> &dyn DebugStore {
        &*self.0.store
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(crate) fn ids(&self) -> &dyn Ids {
        &*self.0.ids
    }

    /// Writes down that a run begins.
    ///
    /// # Errors
    /// What the store reports.
    ///
    /// # Cancel safety
    /// A dropped call may or may not have happened, and may be repeated with the same id.
    pub async fn create_run(&self, run: DebugRun) -> Result<DebugRun, StoreError> {
        let (chat, id) = (run.chat, run.id);
        self.write_one(DebugWrite::CreateRun(Box::new(run))).await?;
        self.tell(Told::run(chat, id)).await;
        let missing = || StoreError::new(StoreErrorKind::Other, "a run that was just written is not there");
        self.0.store.run(chat, id).await?.ok_or_else(missing)
    }

    /// Changes a run: what is absent stays. What would take it back to a lower status changes nothing.
    ///
    /// # Errors
    /// [`UpdateError`].
    ///
    /// # Cancel safety
    /// A dropped call may or may not have happened.
    pub async fn update_run(&self, chat: ChatId, run: RunId, change: RunChange) -> Result<(), UpdateError> {
        let write = DebugWrite::UpdateRun { chat, run, change: Box::new(change), now: self.now() };
        self.found(write, Told::run(chat, run)).await
    }

    /// Writes down that a step begins, and gives its number.
    ///
    /// # Errors
    /// [`CreateStepError`].
    ///
    /// # Cancel safety
    /// A dropped call may or may not have happened, and may be repeated with the same id.
    pub async fn create_step(&self, step: DebugStep) -> Result<u32, CreateStepError> {
        let told = Told::step(step.chat, step.run, step.id);
        let number = match self.write_one(DebugWrite::CreateStep(Box::new(step))).await? {
            DebugWritten::Step(number) => number,
            DebugWritten::Finished => return Err(CreateStepError::RunFinalized),
            _ => return Err(CreateStepError::RunNotFound),
        };
        self.tell(told).await;
        Ok(number)
    }

    /// Changes a step: what is absent stays, and what is to be cleared says so. What would take it back to a lower status changes
    /// nothing.
    ///
    /// # Errors
    /// [`UpdateError`].
    ///
    /// # Cancel safety
    /// A dropped call may or may not have happened.
    pub async fn update_step(
        &self,
        chat: ChatId,
        run: RunId,
        step: StepId,
        change: StepChange,
    ) -> Result<(), UpdateError> {
        let write = DebugWrite::UpdateStep { chat, run, step, change: Box::new(change), now: self.now() };
        self.found(write, Told::step(chat, run, step)).await
    }

    /// Gives a sign of life of a run, and of a step of it.
    ///
    /// # Errors
    /// What the store reports.
    ///
    /// # Cancel safety
    /// A dropped call may or may not have happened.
    pub async fn touch(&self, chat: ChatId, run: RunId, step: Option<StepId>) -> Result<(), StoreError> {
        self.write_one(DebugWrite::Touch { chat, run, step, now: self.now() }).await.map(drop)
    }

    /// Gives signs of life of a run, and of a step of it, for as long as it is polled. It never ends by itself, and a store that does
    /// not answer does not end it.
    ///
    /// # Cancel safety
    /// It is ended by being dropped.
    pub async fn keep_alive(&self, chat: ChatId, run: RunId, step: Option<StepId>) {
        // Watched from before the first look: no change goes unnoticed.
        let mut changed = self.stale_after_changes();
        let mut last = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(last + self.sign_every()) => {
                    last = Instant::now();
                    match timeout(STORE_WITHIN, self.touch(chat, run, step)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%chat, %error, "a debug run could not be touched"),
                        Err(_) => tracing::debug!(%chat, "a debug run could not be touched in time"),
                    }
                }
                changed = changed.changed() => if changed.is_err() { return },
            }
        }
    }

    /// How long a run may stand without a sign of life before it counts as abandoned.
    pub fn stale_after(&self) -> Duration {
        *self.0.stale_after.borrow()
    }

    /// Sets it. Nothing is changed by zero. Whoever gives signs of life is woken.
    pub fn set_stale_after(&self, stale_after: Duration) {
        if !stale_after.is_zero() {
            self.0.stale_after.send_replace(stale_after);
        }
    }

    /// How often what is alive gives a sign: after half the threshold, and not more than once in a millisecond.
    pub(crate) fn sign_every(&self) -> Duration {
        (self.stale_after() / 2).max(Duration::from_millis(1))
    }

    pub(crate) fn stale_after_changes(&self) -> watch::Receiver<Duration> {
        self.0.stale_after.subscribe()
    }

    /// Ends a run, with the sum of its steps as its summary. `seed` is what the summary has beside what is summed up. It goes on if its
    /// caller is dropped, and takes 5 s at most.
    ///
    /// # Errors
    /// [`UpdateError`]; where the steps cannot be read the run ends with the seed alone.
    ///
    /// # Cancel safety
    /// A dropped call goes on.
    pub async fn finalize_run(
        &self,
        chat: ChatId,
        run: RunId,
        status: DebugStatus,
        seed: Summary,
    ) -> Result<(), UpdateError> {
        self.finalize_run_at(chat, run, status, seed, self.now()).await
    }

    /// The same for a run that has ended at this time.
    pub(crate) async fn finalize_run_at(
        &self,
        chat: ChatId,
        run: RunId,
        status: DebugStatus,
        seed: Summary,
        at: Timestamp,
    ) -> Result<(), UpdateError> {
        let service = self.clone();
        let done = self.detach(async move {
            let within = timeout(STORE_WITHIN, service.finalize(chat, run, status, seed, at));
            let late = StoreError::new(StoreErrorKind::Unavailable, "a run was not ended in time");
            within.await.unwrap_or_else(|_| Err(late.into()))
        });
        let gone = StoreError::new(StoreErrorKind::Unavailable, "the debug service has ended");
        done.await.unwrap_or_else(|_| Err(gone.into()))
    }

    async fn finalize(
        &self,
        chat: ChatId,
        run: RunId,
        status: DebugStatus,
        seed: Summary,
        at: Timestamp,
    ) -> Result<(), UpdateError> {
        // Half of the time at most: a run that ends without its sum is better than one that does not end.
        let summed = match timeout(STORE_WITHIN / 2, self.summary(chat, run, seed.clone())).await {
            Ok(Ok(summary)) => summary,
            Ok(Err(error)) => {
                tracing::warn!(%chat, %run, %error, "a debug run ends without its sum");
                seed
            }
            Err(_) => {
                tracing::warn!(%chat, %run, "a debug run ends without its sum: the store does not answer");
                seed
            }
        };
        let (status, finished_at, summary) = (Some(status), Some(at), Some(summed.to_json()));
        let change = RunChange { status, finished_at, summary, ..RunChange::default() };
        self.update_run(chat, run, change).await
    }

    /// The sum of a run's steps, beside what the seed says.
    ///
    /// # Errors
    /// What the store reports.
    ///
    /// # Cancel safety
    /// Cancel-safe: it only reads.
    pub async fn summary(&self, chat: ChatId, run: RunId, seed: Summary) -> Result<Summary, StoreError> {
        let mut sum = seed.begin();
        let mut after = 0;
        loop {
            let page = self.0.store.steps(chat, run, after, PAGE_ITEMS_MAX, Detail::Outline).await?;
            let Some(last) = page.last() else { return Ok(sum) };
            after = last.number;
            page.iter().for_each(|step| sum.add(step));
        }
    }

    /// Runs of a chat, newest first: those behind this one, at most `limit`.
    ///
    /// # Errors
    /// What the store reports.
    ///
    /// # Cancel safety
    /// Cancel-safe: it only reads.
    pub async fn runs(
        &self,
        chat: ChatId,
        before: Option<(Timestamp, RunId)>,
        limit: usize,
    ) -> Result<Vec<DebugRun>, StoreError> {
        self.0.store.runs(chat, before, limit).await
    }

    /// A run of a chat.
    ///
    /// # Errors
    /// What the store reports.
    ///
    /// # Cancel safety
    /// Cancel-safe: it only reads.
    pub async fn run(&self, chat: ChatId, run: RunId) -> Result<Option<DebugRun>, StoreError> {
        self.0.store.run(chat, run).await
    }

    /// Steps of a run as they are stored, ascending: those whose numbers are greater than `after`, at most `limit`. The end is an empty
    /// page. [`read_step`](Self::read_step) reads what they refer to.
    ///
    /// # Errors
    /// What the store reports.
    ///
    /// # Cancel safety
    /// Cancel-safe: it only reads.
    pub async fn steps(
        &self,
        chat: ChatId,
        run: RunId,
        after: u32,
        limit: usize,
        detail: Detail,
    ) -> Result<Vec<DebugStep>, StoreError> {
        self.0.store.steps(chat, run, after, limit, detail).await
    }

    async fn write_one(&self, write: DebugWrite) -> Result<DebugWritten, StoreError> {
        let written = self.0.store.write(&[write]).await?;
        let short =
            || StoreError::new(StoreErrorKind::Other, "the store does not say what became of a write");
        written.first().copied().ok_or_else(short)
    }

    async fn found(&self, write: DebugWrite, told: Told) -> Result<(), UpdateError> {
        if self.write_one(write).await? == DebugWritten::Missing {
            return Err(UpdateError::NotFound);
        }
        self.tell(told).await;
        Ok(())
    }

    /// Runs something to its end, whether or not somebody waits for it.
    fn detach<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answer, done) = oneshot::channel();
        let mut detached = self.0.detached.lock();
        while detached.try_join_next().is_some() {}
        detached.spawn(async move {
            // Nobody may be waiting any more.
            drop(answer.send(work.await));
        });
        done
    }

    /// Deletes every run of a chat that began before this, and gives how many. A host that purges a chat calls it before.
    ///
    /// # Errors
    /// What the store reports: some may be gone.
    ///
    /// # Cancel safety
    /// A dropped call may have happened in part, and may be repeated.
    pub async fn delete_chat(
        &self,
        chat: ChatId,
        started_before: Option<Timestamp>,
    ) -> Result<usize, StoreError> {
        self.delete(&DebugDelete { chat: Some(chat), started_before, ..DebugDelete::default() }).await
    }
}
