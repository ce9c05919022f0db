use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow};
use chatwright_core::port::{
    Blobs, ChatStore, CommitError, ConfigStore, ConfigWrite, ConfigWriter, Due, DueAfter, Ledger,
    LedgerClosed, LedgerClosing, LedgerEntry, LedgerLine, LedgerScope, Spent, StoreError,
};
use chatwright_core::{
    BlobRef, ChatId, Commit, Head, Json, OpId, Record, Revision, Seq, SessionId, Timestamp,
};

use crate::Chance;

/// A store whose every answer takes a while, half of it before and half of it after the work. It waits through tokio
/// time, so that a paused clock passes over it.
#[derive(Debug)]
pub struct Slow<S> {
    inner: S,
    longest: Duration,
    chance: Chance,
}

impl<S> Slow<S> {
    /// Waits up to `longest` around each call, by chance from the seed.
    pub fn new(inner: S, longest: Duration, chance: Chance) -> Self {
        Self { inner, longest, chance }
    }

    async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        let micros = u64::try_from(self.longest.as_micros()).unwrap_or(u64::MAX).max(1);
        let half = Duration::from_micros(self.chance.below(micros)) / 2;
        tokio::time::sleep(half).await;
        let done = work.await;
        tokio::time::sleep(half).await;
        done
    }
}

#[async_trait]
impl<S: ChatStore> ChatStore for Slow<S> {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        self.around(self.inner.head(chat)).await
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        self.around(self.inner.commit(commit)).await
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.around(self.inner.records(chat, after, limit)).await
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.around(self.inner.due(after, limit)).await
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        self.around(self.inner.held(session, after, limit)).await
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        self.around(self.inner.revisions(chats)).await
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        self.around(self.inner.purge(chat)).await
    }
}

#[async_trait]
impl<S: ConfigStore> ConfigStore for Slow<S> {
    async fn config(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, StoreError> {
        self.around(self.inner.config(key)).await
    }

    async fn configs(
        &self,
        kind: ConfigKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ConfigRow>, StoreError> {
        self.around(self.inner.configs(kind, after, limit)).await
    }
}

#[async_trait]
impl<S: ConfigWriter> ConfigWriter for Slow<S> {
    async fn write_config(
        &self,
        key: &ConfigKey,
        expected: u64,
        value: Option<&Json>,
    ) -> Result<ConfigWrite, StoreError> {
        self.around(self.inner.write_config(key, expected, value)).await
    }
}

#[async_trait]
impl<S: Blobs> Blobs for Slow<S> {
    async fn put(&self, chat: ChatId, bytes: &[u8]) -> Result<BlobRef, StoreError> {
        self.around(self.inner.put(chat, bytes)).await
    }

    async fn get(&self, chat: ChatId, blob: &BlobRef) -> Result<Option<Vec<u8>>, StoreError> {
        self.around(self.inner.get(chat, blob)).await
    }

    async fn delete_chat(&self, chat: ChatId) -> Result<(), StoreError> {
        self.around(self.inner.delete_chat(chat)).await
    }
}

#[async_trait]
impl<S: Ledger> Ledger for Slow<S> {
    async fn open(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        self.around(self.inner.open(entry)).await
    }

    async fn close(&self, id: OpId, closing: &LedgerClosing) -> Result<LedgerClosed, StoreError> {
        self.around(self.inner.close(id, closing)).await
    }

    async fn unclosed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, OpId)>,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        self.around(self.inner.unclosed(before, after, limit)).await
    }

    async fn spent(&self, scope: &LedgerScope, period: Range<Timestamp>) -> Result<Spent, StoreError> {
        self.around(self.inner.spent(scope, period)).await
    }

    async fn report(
        &self,
        scope: &LedgerScope,
        period: Range<Timestamp>,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        self.around(self.inner.report(scope, period)).await
    }
}
