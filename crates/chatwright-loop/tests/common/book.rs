//! A ledger that keeps what it was told, row by row.

use std::ops::Range;

use async_trait::async_trait;
use chatwright_core::port::{
    Ledger, LedgerClosed, LedgerClosing, LedgerEntry, LedgerLine, LedgerScope, Spent, StoreError,
};
use chatwright_core::{OpId, Timestamp};
use chatwright_memory::MemoryLedger;
use parking_lot::Mutex;

/// A row, and how it was closed: each time that it was closed for the first time.
pub type Row = (LedgerEntry, Vec<LedgerClosing>);

/// A ledger in memory whose rows a test reads, in the order in which they were opened.
#[derive(Default)]
pub struct Book {
    inner: MemoryLedger,
    rows: Mutex<Vec<Row>>,
}

impl Book {
    pub fn rows(&self) -> Vec<Row> {
        self.rows.lock().clone()
    }
}

#[async_trait]
impl Ledger for Book {
    async fn open(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        self.rows.lock().push((entry.clone(), Vec::new()));
        self.inner.open(entry).await
    }

    async fn close(&self, id: OpId, closing: &LedgerClosing) -> Result<LedgerClosed, StoreError> {
        let closed = self.inner.close(id, closing).await?;
        if closed == LedgerClosed::Closed {
            let mut rows = self.rows.lock();
            let row = rows.iter_mut().find(|(entry, _)| entry.id == id);
            row.expect("it was opened").1.push(closing.clone());
        }
        Ok(closed)
    }

    async fn unclosed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, OpId)>,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        self.inner.unclosed(before, after, limit).await
    }

    async fn spent(&self, scope: &LedgerScope, period: Range<Timestamp>) -> Result<Spent, StoreError> {
        self.inner.spent(scope, period).await
    }

    async fn report(
        &self,
        scope: &LedgerScope,
        period: Range<Timestamp>,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        self.inner.report(scope, period).await
    }
}
