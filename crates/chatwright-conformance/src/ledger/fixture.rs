//! Rows of the ledger for the clauses.

use std::ops::Range;
use std::sync::Arc;

use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::model::{ModelId, Usage};
use chatwright_core::money::Amount;
use chatwright_core::port::{
    Charge, Ids, Ledger, LedgerClosed, LedgerClosing, LedgerEnd, LedgerEntry, LedgerLine, LedgerScope,
    Purpose, Spent, StoreError, Tokens,
};
use chatwright_core::{ChatId, Gen, OpId, OrganizationId, Timestamp, UserId, Uuid};

use crate::{KitIds, Subject};

/// All rows of a test are opened within so many milliseconds, none before its base.
pub(super) const SPAN_MS: i64 = 100_000;

/// A connection whose every unexpected answer is a panic that names the clause.
#[derive(Clone)]
pub(super) struct Book {
    pub clause: &'static str,
    pub store: Arc<dyn Ledger>,
}

/// Whose rows a test opens, and when: nobody else's are like them.
#[derive(Clone)]
pub(super) struct Desk {
    pub owner: UserId,
    pub organization: OrganizationId,
    pub chat: ChatId,
    base: i64,
}

impl Subject<dyn Ledger> {
    pub(super) async fn book(&self, clause: &'static str) -> Book {
        Book { clause, store: self.connect().await }
    }

    /// A connection beside this one, or this one if another would be to another ledger.
    pub(super) async fn beside(&self, book: &Book) -> Book {
        if self.is_volatile() { book.clone() } else { self.book(book.clause).await }
    }

    /// A new connection to what the old one left, unless nothing is left.
    pub(super) async fn reconnect(&self, old: Book) -> Book {
        if self.is_volatile() {
            return old;
        }
        let clause = old.clause;
        drop(old);
        self.book(clause).await
    }

    pub(super) fn desk(&self) -> Desk {
        let (name, random) = (self.ids.uuid().simple(), self.ids.uuid().as_u64_pair().1);
        // Between 1970 and 2096, in steps of the span.
        let step = i64::try_from(random % 40_000_000).expect("a small number");
        Desk {
            owner: UserId::new(format!("kit {name}")).expect("a short id"),
            organization: OrganizationId::new(format!("org {name}")).expect("a short id"),
            chat: ChatId::mint(&self.ids),
            base: step * SPAN_MS,
        }
    }
}

impl Desk {
    /// So many milliseconds after the base.
    pub(super) fn at(&self, ms: i64) -> Timestamp {
        Timestamp::from_millis(self.base + ms)
    }

    /// When all rows of the test were opened.
    pub(super) fn always(&self) -> Range<Timestamp> {
        self.at(0)..self.at(SPAN_MS)
    }

    pub(super) fn own(&self) -> LedgerScope {
        LedgerScope { owner: Some(self.owner.clone()), ..LedgerScope::default() }
    }

    /// A row, opened so many milliseconds after the base.
    pub(super) fn entry(&self, ids: &KitIds, ms: i64) -> LedgerEntry {
        LedgerEntry {
            id: OpId::mint(ids),
            purpose: Purpose::Turn,
            chat: self.chat,
            r#gen: Some(Gen::new(3)),
            owner: self.owner.clone(),
            organization: Some(self.organization.clone()),
            model: ModelId { provider: "kit".into(), model: "large".into() },
            prices: Some(7),
            opened: self.at(ms),
            estimate: charge(1_000, 5_000_000_001),
        }
    }
}

/// So many tokens of the prompt, a few others, and a cost.
pub(super) fn charge(input: u64, pico: u128) -> Charge {
    let usage = Usage { input: Some(input), output: Some(11), reasoning: None, ..Usage::default() };
    Charge { usage, cost: Some(Amount::from_pico(pico)) }
}

/// The provider said what it took.
pub(super) fn known(desk: &Desk, charge: Charge) -> LedgerClosing {
    LedgerClosing { at: desk.at(2 * SPAN_MS), end: LedgerEnd::Finished, estimated: false, charge }
}

/// Nobody said what it took.
pub(super) fn guess(desk: &Desk, charge: Charge) -> LedgerClosing {
    LedgerClosing { estimated: true, end: LedgerEnd::Lost, ..known(desk, charge) }
}

/// What rows sum up to: each with what it was closed with, if it was.
pub(super) fn sum<'a>(rows: impl IntoIterator<Item = (&'a LedgerEntry, Option<&'a LedgerClosing>)>) -> Spent {
    let mut sum = Spent::default();
    for (entry, closing) in rows {
        sum.add(entry, closing);
    }
    sum
}

/// What one row of [`charge`] sums up to.
pub(super) fn one(input: u64, pico: u128) -> Spent {
    Spent {
        requests: 1,
        tokens: Tokens { input, output: 11, ..Tokens::default() },
        cost: Amount::from_pico(pico),
        ..Spent::default()
    }
}

impl Book {
    fn answer<T>(&self, answer: Result<T, StoreError>) -> T {
        answer.unwrap_or_else(|error| panic!("{}: the ledger does not answer: {error}", self.clause))
    }

    pub(super) async fn open(&self, entry: &LedgerEntry) {
        self.answer(self.store.open(entry).await);
    }

    pub(super) async fn close(&self, id: OpId, closing: &LedgerClosing) -> LedgerClosed {
        self.answer(self.store.close(id, closing).await)
    }

    /// Closing says this.
    pub(super) async fn closes(&self, id: OpId, closing: &LedgerClosing, closed: LedgerClosed, what: &str) {
        let clause = self.clause;
        assert_eq!(self.close(id, closing).await, closed, "{clause}: {what}: what closing says");
    }

    pub(super) async fn spent(&self, scope: &LedgerScope, period: Range<Timestamp>) -> Spent {
        self.answer(self.store.spent(scope, period).await)
    }

    pub(super) async fn report(&self, scope: &LedgerScope, period: Range<Timestamp>) -> Vec<LedgerLine> {
        self.answer(self.store.report(scope, period).await)
    }

    /// All that the owner of the desk spent is this, in the sum and in the report.
    pub(super) async fn spends(&self, desk: &Desk, spent: Spent, what: &str) {
        let clause = self.clause;
        let found = self.spent(&desk.own(), desk.always()).await;
        assert_eq!(found, spent, "{clause}: {what}: what was spent");
        let lines = self.report(&desk.own(), desk.always()).await;
        let found = lines.iter().fold(Spent::default(), |sum, line| plus(sum, line.spent));
        assert_eq!(found, spent, "{clause}: {what}: what was spent by the report");
    }

    pub(super) async fn page(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, OpId)>,
        limit: usize,
    ) -> Vec<LedgerEntry> {
        let page = self.answer(self.store.unclosed(before, after, limit).await);
        let clause = self.clause;
        assert!(page.len() <= limit, "{clause}: a page of {limit} has {} rows", page.len());
        let mut last = after;
        for entry in &page {
            let place = (entry.opened, entry.id);
            assert!(entry.opened < before, "{clause}: a row that was not opened before the time");
            assert!(
                last.is_none_or(|last| last < place),
                "{clause}: not ascending by time and id, or not after the page before"
            );
            last = Some(place);
        }
        page
    }

    /// The test's own open rows, in pages of `limit`. A page that is not full is the last.
    pub(super) async fn listed(&self, desk: &Desk, before: Timestamp, limit: usize) -> Vec<LedgerEntry> {
        let first = OpId::from_uuid(Uuid::max());
        let (mut found, mut after) = (Vec::new(), (desk.at(-1), first));
        loop {
            let page = self.page(before, Some(after), limit).await;
            let full = page.len() == limit;
            if let Some(last) = page.last() {
                after = (last.opened, last.id);
            }
            found.extend(page.into_iter().filter(|entry| entry.owner.as_str().contains(desk.owner.as_str())));
            if !full {
                return found;
            }
        }
    }

    /// All of the test's own open rows.
    pub(super) async fn unclosed(&self, desk: &Desk) -> Vec<LedgerEntry> {
        self.listed(desk, desk.at(SPAN_MS), PAGE_ITEMS_MAX).await
    }

    /// These of the test's own rows are open, and no others.
    pub(super) async fn lists(&self, desk: &Desk, rows: &[&LedgerEntry], what: &str) {
        let found = self.unclosed(desk).await;
        let found: Vec<&LedgerEntry> = found.iter().collect();
        assert_eq!(found, rows, "{}: {what}: open rows", self.clause);
    }

    /// Leaves no open row in a shared database.
    pub(super) async fn clear(&self, desk: &Desk) {
        for entry in self.unclosed(desk).await {
            self.close(entry.id, &known(desk, Charge::default())).await;
        }
    }
}

fn plus(sum: Spent, other: Spent) -> Spent {
    let Tokens { input, output, reasoning, cache_read, cache_write } = other.tokens;
    Spent {
        requests: sum.requests + other.requests,
        open: sum.open + other.open,
        estimated: sum.estimated + other.estimated,
        unpriced: sum.unpriced + other.unpriced,
        tokens: Tokens {
            input: sum.tokens.input.saturating_add(input),
            output: sum.tokens.output.saturating_add(output),
            reasoning: sum.tokens.reasoning.saturating_add(reasoning),
            cache_read: sum.tokens.cache_read.saturating_add(cache_read),
            cache_write: sum.tokens.cache_write.saturating_add(cache_write),
        },
        cost: sum.cost + other.cost,
    }
}
