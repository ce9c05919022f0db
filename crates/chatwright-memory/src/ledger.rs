use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use chatwright_core::port::{
    Ledger, LedgerClosed, LedgerClosing, LedgerEntry, LedgerLine, LedgerScope, Spent, StoreError,
};
use chatwright_core::{OpId, Timestamp};
use parking_lot::Mutex;

/// The ledger in memory: it is not durable (G4), what it knows goes with its last clone. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryLedger(Arc<Mutex<BTreeMap<OpId, Row>>>);

struct Row {
    entry: LedgerEntry,
    closing: Option<LedgerClosing>,
}

impl MemoryLedger {
    /// Nothing was asked.
    pub fn new() -> Self {
        Self::default()
    }

    fn for_each(&self, scope: &LedgerScope, period: &Range<Timestamp>, mut count: impl FnMut(&Row)) {
        let rows = self.0.lock();
        let counts = |row: &&Row| period.contains(&row.entry.opened) && scope.has(&row.entry);
        rows.values().filter(counts).for_each(&mut count);
    }
}

/// Upholds G1–G9, but nothing here is durable.
#[async_trait]
impl Ledger for MemoryLedger {
    async fn open(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        StoreError::check_ledger_entry(entry)?;
        self.0.lock().entry(entry.id).or_insert_with(|| Row { entry: entry.clone(), closing: None });
        Ok(())
    }

    async fn close(&self, id: OpId, closing: &LedgerClosing) -> Result<LedgerClosed, StoreError> {
        StoreError::check_charge(&closing.charge)?;
        let mut rows = self.0.lock();
        let Some(row) = rows.get_mut(&id) else { return Ok(LedgerClosed::Unknown) };
        let closed = match &row.closing {
            None => LedgerClosed::Closed,
            Some(before) if before.estimated && !closing.estimated => LedgerClosed::Corrected,
            Some(_) => return Ok(LedgerClosed::Already),
        };
        row.closing = Some(closing.clone());
        Ok(closed)
    }

    async fn unclosed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, OpId)>,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        StoreError::check_page(limit)?;
        let rows = self.0.lock();
        let open = rows.values().filter(|row| row.closing.is_none()).map(|row| &row.entry);
        let mut page: Vec<&LedgerEntry> = open
            .filter(|entry| {
                entry.opened < before && after.is_none_or(|after| (entry.opened, entry.id) > after)
            })
            .collect();
        page.sort_unstable_by_key(|entry| (entry.opened, entry.id));
        Ok(page.into_iter().take(limit).cloned().collect())
    }

    async fn spent(&self, scope: &LedgerScope, period: Range<Timestamp>) -> Result<Spent, StoreError> {
        let mut spent = Spent::default();
        self.for_each(scope, &period, |row| spent.add(&row.entry, row.closing.as_ref()));
        Ok(spent)
    }

    async fn report(
        &self,
        scope: &LedgerScope,
        period: Range<Timestamp>,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        let mut lines = BTreeMap::<_, Spent>::new();
        self.for_each(scope, &period, |row| {
            let line = lines.entry((row.entry.purpose, row.entry.model.clone())).or_default();
            line.add(&row.entry, row.closing.as_ref());
        });
        let line = |((purpose, model), spent)| LedgerLine { purpose, model, spent };
        Ok(lines.into_iter().map(line).collect())
    }
}
