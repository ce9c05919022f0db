use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow};
use chatwright_core::port::{
    Blobs, ChatStore, CommitError, ConfigStore, ConfigWrite, ConfigWriter, Due, DueAfter, Ledger,
    LedgerClosed, LedgerClosing, LedgerEntry, LedgerLine, LedgerScope, Spent, StoreError,
};
use chatwright_core::{
    BlobRef, ChatId, Commit, Head, Json, OpId, Record, Revision, Seq, SessionId, Timestamp,
};

/// A store that counts its calls.
#[derive(Debug)]
pub struct Counting<S> {
    inner: S,
    calls: [AtomicU64; 18],
}

/// How often each method was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls of `head`.
    pub head: u64,
    /// Calls of `commit`.
    pub commit: u64,
    /// Calls of `records`.
    pub records: u64,
    /// Calls of `due`.
    pub due: u64,
    /// Calls of `held`.
    pub held: u64,
    /// Calls of `revisions`.
    pub revisions: u64,
    /// Calls of `purge`.
    pub purge: u64,
    /// Calls of `config`.
    pub config: u64,
    /// Calls of `configs`.
    pub configs: u64,
    /// Calls of `write_config`.
    pub write_config: u64,
    /// Calls of `put`.
    pub put: u64,
    /// Calls of `get`.
    pub get: u64,
    /// Calls of `delete_chat`.
    pub delete_chat: u64,
    /// Calls of `open`.
    pub open: u64,
    /// Calls of `close`.
    pub close: u64,
    /// Calls of `unclosed`.
    pub unclosed: u64,
    /// Calls of `spent`.
    pub spent: u64,
    /// Calls of `report`.
    pub report: u64,
}

impl<S> Counting<S> {
    /// Counts the calls of `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, calls: Default::default() }
    }

    /// The calls so far.
    pub fn calls(&self) -> Calls {
        let [
            head,
            commit,
            records,
            due,
            held,
            revisions,
            purge,
            config,
            configs,
            write_config,
            put,
            get,
            delete_chat,
            open,
            close,
            unclosed,
            spent,
            report,
        ] = self.calls.each_ref().map(|count| count.load(Ordering::Relaxed));
        Calls {
            head,
            commit,
            records,
            due,
            held,
            revisions,
            purge,
            config,
            configs,
            write_config,
            put,
            get,
            delete_chat,
            open,
            close,
            unclosed,
            spent,
            report,
        }
    }

    fn count(&self, method: usize) -> &S {
        self.calls[method].fetch_add(1, Ordering::Relaxed);
        &self.inner
    }
}

#[async_trait]
impl<S: ChatStore> ChatStore for Counting<S> {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        self.count(0).head(chat).await
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        self.count(1).commit(commit).await
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.count(2).records(chat, after, limit).await
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.count(3).due(after, limit).await
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        self.count(4).held(session, after, limit).await
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        self.count(5).revisions(chats).await
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        self.count(6).purge(chat).await
    }
}

#[async_trait]
impl<S: ConfigStore> ConfigStore for Counting<S> {
    async fn config(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, StoreError> {
        self.count(7).config(key).await
    }

    async fn configs(
        &self,
        kind: ConfigKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ConfigRow>, StoreError> {
        self.count(8).configs(kind, after, limit).await
    }
}

#[async_trait]
impl<S: ConfigWriter> ConfigWriter for Counting<S> {
    async fn write_config(
        &self,
        key: &ConfigKey,
        expected: u64,
        value: Option<&Json>,
    ) -> Result<ConfigWrite, StoreError> {
        self.count(9).write_config(key, expected, value).await
    }
}

#[async_trait]
impl<S: Blobs> Blobs for Counting<S> {
    async fn put(&self, chat: ChatId, bytes: &[u8]) -> Result<BlobRef, StoreError> {
        self.count(10).put(chat, bytes).await
    }

    async fn get(&self, chat: ChatId, blob: &BlobRef) -> Result<Option<Vec<u8>>, StoreError> {
        self.count(11).get(chat, blob).await
    }

    async fn delete_chat(&self, chat: ChatId) -> Result<(), StoreError> {
        self.count(12).delete_chat(chat).await
    }
}

#[async_trait]
impl<S: Ledger> Ledger for Counting<S> {
    async fn open(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        self.count(13).open(entry).await
    }

    async fn close(&self, id: OpId, closing: &LedgerClosing) -> Result<LedgerClosed, StoreError> {
        self.count(14).close(id, closing).await
    }

    async fn unclosed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, OpId)>,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        self.count(15).unclosed(before, after, limit).await
    }

    async fn spent(&self, scope: &LedgerScope, period: Range<Timestamp>) -> Result<Spent, StoreError> {
        self.count(16).spent(scope, period).await
    }

    async fn report(
        &self,
        scope: &LedgerScope,
        period: Range<Timestamp>,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        self.count(17).report(scope, period).await
    }
}
