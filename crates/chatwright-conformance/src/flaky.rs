use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow};
use chatwright_core::port::{
    Blobs, ChatStore, CommitError, ConfigStore, ConfigWrite, ConfigWriter, Due, DueAfter, Ledger,
    LedgerClosed, LedgerClosing, LedgerEntry, LedgerLine, LedgerScope, Spent, StoreError, StoreErrorKind,
};
use chatwright_core::{
    BlobRef, ChatId, Commit, Head, Json, OpId, Record, Revision, Seq, SessionId, Timestamp,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::Chance;

/// A store that fails by chance: before the work, after it, or so that the work happens later than the answer. All
/// three are what a caller must expect of [`CommitError::Store`], and of an error of a write of the configuration, of a blob or
/// of the ledger.
pub struct Flaky<S> {
    inner: Arc<S>,
    rates: FlakyRates,
    chance: Chance,
    late: Mutex<Vec<BoxFuture<'static, ()>>>,
}

/// How often what fails, in percent of the calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlakyRates {
    /// Reads that fail.
    pub reads: u8,
    /// Writes that fail and are never applied.
    pub before: u8,
    /// Writes that are applied and then fail.
    pub after: u8,
    /// Writes that fail first and are applied later: when one of the next calls arrives.
    pub later: u8,
}

impl<S> Flaky<S> {
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
        for write in late {
            write.await;
        }
    }

    async fn read<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if self.chance.percent(50) {
            self.settle().await;
        }
        if self.chance.percent(self.rates.reads) { Err(injected()) } else { work.await }
    }

    async fn write<T, E: From<StoreError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
        later: impl FnOnce(Arc<S>) -> BoxFuture<'static, ()>,
    ) -> Result<T, E> {
        if self.chance.percent(self.rates.before) {
            return Err(injected().into());
        }
        if self.chance.percent(self.rates.later) {
            self.late.lock().push(later(Arc::clone(&self.inner)));
            return Err(injected().into());
        }
        let fail = self.chance.percent(self.rates.after);
        let done = work.await?;
        if fail { Err(injected().into()) } else { Ok(done) }
    }
}

#[async_trait]
impl<S: ChatStore> ChatStore for Flaky<S> {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        self.read(self.inner.head(chat)).await
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        let later = |inner: Arc<S>| -> BoxFuture<'static, ()> {
            let commit = commit.clone();
            // Nobody waits for this answer any more.
            Box::pin(async move { drop(inner.commit(&commit).await) })
        };
        self.write(self.inner.commit(commit), later).await
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

#[async_trait]
impl<S: ConfigStore> ConfigStore for Flaky<S> {
    async fn config(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, StoreError> {
        self.read(self.inner.config(key)).await
    }

    async fn configs(
        &self,
        kind: ConfigKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ConfigRow>, StoreError> {
        self.read(self.inner.configs(kind, after, limit)).await
    }
}

#[async_trait]
impl<S: ConfigWriter> ConfigWriter for Flaky<S> {
    async fn write_config(
        &self,
        key: &ConfigKey,
        expected: u64,
        value: Option<&Json>,
    ) -> Result<ConfigWrite, StoreError> {
        let later = |inner: Arc<S>| -> BoxFuture<'static, ()> {
            let (key, value) = (key.clone(), value.cloned());
            Box::pin(async move { drop(inner.write_config(&key, expected, value.as_ref()).await) })
        };
        self.write(self.inner.write_config(key, expected, value), later).await
    }
}

#[async_trait]
impl<S: Blobs> Blobs for Flaky<S> {
    async fn put(&self, chat: ChatId, bytes: &[u8]) -> Result<BlobRef, StoreError> {
        let later = |inner: Arc<S>| -> BoxFuture<'static, ()> {
            let bytes = bytes.to_vec();
            Box::pin(async move { drop(inner.put(chat, &bytes).await) })
        };
        self.write(self.inner.put(chat, bytes), later).await
    }

    async fn get(&self, chat: ChatId, blob: &BlobRef) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(self.inner.get(chat, blob)).await
    }

    async fn delete_chat(&self, chat: ChatId) -> Result<(), StoreError> {
        self.read(self.inner.delete_chat(chat)).await
    }
}

#[async_trait]
impl<S: Ledger> Ledger for Flaky<S> {
    async fn open(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        let later = |inner: Arc<S>| -> BoxFuture<'static, ()> {
            let entry = entry.clone();
            Box::pin(async move { drop(inner.open(&entry).await) })
        };
        self.write(self.inner.open(entry), later).await
    }

    async fn close(&self, id: OpId, closing: &LedgerClosing) -> Result<LedgerClosed, StoreError> {
        let later = |inner: Arc<S>| -> BoxFuture<'static, ()> {
            let closing = closing.clone();
            Box::pin(async move { drop(inner.close(id, &closing).await) })
        };
        self.write(self.inner.close(id, closing), later).await
    }

    async fn unclosed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, OpId)>,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        self.read(self.inner.unclosed(before, after, limit)).await
    }

    async fn spent(&self, scope: &LedgerScope, period: Range<Timestamp>) -> Result<Spent, StoreError> {
        self.read(self.inner.spent(scope, period)).await
    }

    async fn report(
        &self,
        scope: &LedgerScope,
        period: Range<Timestamp>,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        self.read(self.inner.report(scope, period)).await
    }
}

fn injected() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "a failure injected by the conformance kit")
}
