use std::sync::Arc;

use async_trait::async_trait;
use chatwright_core::port::{ChatStore, CommitError, Due, DueAfter, StoreError, StoreErrorKind};
use chatwright_core::{ChatId, Commit, Head, Record, Revision, Seq, SessionId};
use parking_lot::Mutex;

use crate::Chance;

/// A store that fails by chance: before the work, after it, or so that the work happens later than the answer. All
/// three are what a caller must expect of [`CommitError::Store`].
pub struct Flaky<S> {
    inner: Arc<S>,
    rates: FlakyRates,
    chance: Chance,
    late: Mutex<Vec<Commit>>,
}

/// How often what fails, in percent of the calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlakyRates {
    /// Reads that fail.
    pub reads: u8,
    /// Commits that fail and are never applied.
    pub before: u8,
    /// Commits that are applied and then fail.
    pub after: u8,
    /// Commits that fail first and are applied later: when one of the next calls arrives.
    pub later: u8,
}

impl<S: ChatStore> Flaky<S> {
    /// Fails at these rates, by chance from the seed.
    pub fn new(inner: Arc<S>, rates: FlakyRates, chance: Chance) -> Self {
        Self { inner, rates, chance, late: Mutex::default() }
    }

    /// Lets what is late happen now. Whether it is still accepted is for the store to say.
    ///
    /// # Cancel safety
    /// What has not happened when it is dropped is lost, as it would be with a dead connection.
    pub async fn settle(&self) {
        let late = std::mem::take(&mut *self.late.lock());
        for commit in late {
            // Nobody waits for this answer any more.
            let _ = self.inner.commit(&commit).await;
        }
    }

    async fn read<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if self.chance.percent(50) {
            self.settle().await;
        }
        if self.chance.percent(self.rates.reads) { Err(injected()) } else { work.await }
    }
}

#[async_trait]
impl<S: ChatStore> ChatStore for Flaky<S> {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        self.read(self.inner.head(chat)).await
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        if self.chance.percent(self.rates.before) {
            return Err(injected().into());
        }
        if self.chance.percent(self.rates.later) {
            self.late.lock().push(commit.clone());
            return Err(injected().into());
        }
        let fail = self.chance.percent(self.rates.after);
        self.inner.commit(commit).await?;
        if fail { Err(injected().into()) } else { Ok(()) }
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.read(self.inner.records(chat, after, limit)).await
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.read(self.inner.due(after, limit)).await
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        self.read(self.inner.held(session, after, limit)).await
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        self.read(self.inner.revisions(chats)).await
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        self.read(self.inner.purge(chat)).await
    }
}

fn injected() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "a failure injected by the conformance kit")
}
