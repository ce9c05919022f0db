//! G6: the walk over what is open.

use std::collections::BTreeSet;

use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::{Charge, Ledger, LedgerClosed, LedgerEntry, StoreErrorKind};
use chatwright_core::{OpId, Uuid};

use super::fixture::{Book, Desk, SPAN_MS, charge, guess, known};
use crate::Subject;

/// Opens rows at these times, not in their order, and gives them ascending.
async fn opened(subject: &Subject<dyn Ledger>, book: &Book, desk: &Desk, times: &[i64]) -> Vec<LedgerEntry> {
    let mut times = times.to_vec();
    let mut rows = Vec::new();
    while !times.is_empty() {
        let ms = times.swap_remove(subject.chance.below(times.len() as u64) as usize);
        let mut entry = desk.entry(&subject.ids, ms);
        // All bits of an id count, and its beginning is nothing special.
        entry.id = OpId::from_uuid(Uuid::from_u128(entry.id.as_uuid().as_u128().rotate_left(64)));
        book.open(&entry).await;
        rows.push(entry);
    }
    rows.sort_unstable_by_key(|entry| (entry.opened, entry.id));
    rows
}

pub(super) async fn g6_pages_of_any_size_list_every_open_row_oldest_first(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G6";
    let book = subject.book(CLAUSE).await;
    let desk = subject.desk();
    // Many at one time: a page ends among them.
    let times = [1, 2, 2, 2, 2, 2, 2, 2, 10, 11, 11, 100, 1_000, 10_000, 99_999];
    let rows = opened(subject, &book, &desk, &times).await;
    for limit in (1..=rows.len() + 1).chain([PAGE_ITEMS_MAX]) {
        let found = book.listed(&desk, desk.at(SPAN_MS), limit).await;
        assert_eq!(found, rows, "{CLAUSE}: pages of {limit}");
    }
    // From the beginning of all times on, whoever else has rows that are open.
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = book.page(desk.at(SPAN_MS), after, PAGE_ITEMS_MAX).await;
        let full = page.len() == PAGE_ITEMS_MAX;
        after = page.last().map(|entry| (entry.opened, entry.id));
        found.extend(page);
        if !full {
            break;
        }
    }
    found.retain(|entry| entry.owner == desk.owner);
    assert_eq!(found, rows, "{CLAUSE}: from the beginning on");
    // Whatever stands between two rows is a place to go on from.
    for (n, row) in rows.iter().enumerate() {
        let id = row.id.as_uuid().as_u128();
        for id in [id - 1, id + 1] {
            let after = (row.opened, OpId::from_uuid(Uuid::from_u128(id)));
            let next: Vec<LedgerEntry> =
                rows.iter().filter(|entry| (entry.opened, entry.id) > after).take(1).cloned().collect();
            let mut page = book.page(desk.at(SPAN_MS), Some(after), 1).await;
            page.retain(|entry| entry.owner == desk.owner);
            assert_eq!(page, next, "{CLAUSE}: after what is no row, beside row {n}");
        }
    }
    book.clear(&desk).await;
}

pub(super) async fn g6_only_rows_that_are_open_and_older_are_listed(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G6";
    let mut book = subject.book(CLAUSE).await;
    let desk = subject.desk();
    let rows = opened(subject, &book, &desk, &[1, 2, 3, 3, 4, 5]).await;
    for before in 0..8 {
        let older: Vec<LedgerEntry> =
            rows.iter().filter(|entry| entry.opened < desk.at(before)).cloned().collect();
        for limit in [1, 2, PAGE_ITEMS_MAX] {
            let found = book.listed(&desk, desk.at(before), limit).await;
            assert_eq!(found, older, "{CLAUSE}: opened before {before}, in pages of {limit}");
        }
    }
    let mut open = rows.clone();
    let closings = [known(&desk, charge(1, 1)), guess(&desk, charge(1, 1)), known(&desk, Charge::default())];
    for (closing, at) in closings.iter().zip([1, 2, 0]) {
        let closed = open.remove(at);
        book.closes(closed.id, closing, LedgerClosed::Closed, "an open row").await;
        for _ in 0..2 {
            let found = book.unclosed(&desk).await;
            assert_eq!(found, open, "{CLAUSE}: after one more is closed with {closing:?}");
            book = subject.reconnect(book).await;
        }
    }
    book.clear(&desk).await;
    assert_eq!(book.unclosed(&desk).await, [], "{CLAUSE}: after all are closed");
}

pub(super) async fn g6_a_row_that_stays_open_is_listed_once_while_others_close(
    subject: &Subject<dyn Ledger>,
) {
    const CLAUSE: &str = "ledger.G6";
    let book = subject.book(CLAUSE).await;
    let beside = subject.beside(&book).await;
    for limit in 1..=4 {
        let desk = subject.desk();
        let times: Vec<i64> = (0..24).map(|n| n / 3).collect();
        let rows = opened(subject, &book, &desk, &times).await;
        let mut moving: BTreeSet<OpId> = rows.iter().step_by(3).map(|entry| entry.id).collect();
        let staying: Vec<LedgerEntry> =
            rows.iter().filter(|entry| !moving.contains(&entry.id)).cloned().collect();
        let (mut found, mut after) = (Vec::new(), (desk.at(-1), OpId::from_uuid(Uuid::max())));
        loop {
            let page = book.page(desk.at(SPAN_MS), Some(after), limit).await;
            let full = page.len() == limit;
            let Some(last) = page.last() else { break };
            after = (last.opened, last.id);
            // Where the walk stands a row goes, and so does some other before or behind it.
            let pick = moving.iter().nth(subject.chance.below(8) as usize).copied();
            for id in [Some(last.id), pick].into_iter().flatten() {
                if moving.remove(&id) {
                    let closing = known(&desk, charge(1, 1));
                    beside.closes(id, &closing, LedgerClosed::Closed, "an open row").await;
                }
            }
            found.extend(page);
            if !full {
                break;
            }
        }
        found.retain(|entry| staying.iter().any(|other| other.id == entry.id));
        assert_eq!(found, staying, "{CLAUSE}: rows that stay open, walked in pages of {limit}");
        book.clear(&desk).await;
    }
}

pub(super) async fn g6_a_page_has_its_bounds(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G6";
    let book = subject.book(CLAUSE).await;
    let desk = subject.desk();
    for after in [None, Some((desk.at(0), OpId::mint(&subject.ids)))] {
        for limit in [0, PAGE_ITEMS_MAX + 1] {
            let refused = book.store.unclosed(desk.at(SPAN_MS), after, limit).await;
            let refused = refused.map_err(|error| error.kind());
            assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: a page of {limit} is refused");
        }
    }
}
