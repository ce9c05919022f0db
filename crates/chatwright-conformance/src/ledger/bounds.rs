//! G3: what a row says, and what rows sum up to, to the last digit.

use chatwright_core::limits::{ID_BYTES_MAX, LEDGER_NUMBER_MAX, LEDGER_PICO_MAX};
use chatwright_core::model::{ModelId, Usage};
use chatwright_core::money::Amount;
use chatwright_core::port::{
    Charge, Ledger, LedgerClosed, LedgerClosing, LedgerEnd, LedgerEntry, Purpose, Spent, StoreErrorKind,
    Tokens,
};
use chatwright_core::{ChatId, Gen, OrganizationId, Timestamp};

use super::fixture::{charge, guess, known, one, sum};
use crate::Subject;

const NONE: [Option<u64>; 5] = [None; 5];

fn usage([input, output, reasoning, cache_read, cache_write]: [Option<u64>; 5]) -> Usage {
    Usage { input, output, reasoning, cache_read, cache_write }
}

/// One kind of tokens each, all of them, and none.
fn usages(count: u64) -> Vec<Usage> {
    let one = |kind| usage(std::array::from_fn(|n| (n == kind).then_some(count)));
    (0..5).map(one).chain([usage([Some(count); 5]), usage(NONE)]).collect()
}

pub(super) async fn g3_rows_come_back_as_they_were_opened(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G3";
    let mut book = subject.book(CLAUSE).await;
    let desk = subject.desk();
    let mut rows: Vec<LedgerEntry> = Vec::new();
    let mut add = |change: &dyn Fn(&mut LedgerEntry)| {
        let mut entry = desk.entry(&subject.ids, i64::try_from(rows.len()).expect("a few rows"));
        change(&mut entry);
        rows.push(entry);
    };
    for purpose in Purpose::ALL {
        add(&|entry| entry.purpose = purpose);
    }
    for number in [None, Some(0), Some(1), Some(1 << 53 | 1), Some(LEDGER_NUMBER_MAX)] {
        add(&|entry| entry.r#gen = number.map(Gen::new));
        add(&|entry| entry.prices = number);
    }
    let texts = ["", " ", " a ", "a\0b", "A", "é e\u{301} 😀", "it's \"%\" \\x00 $1", "null", "0", "1.0"];
    for text in texts {
        add(&|entry| entry.model = ModelId { provider: text.into(), model: "m".into() });
        add(&|entry| entry.model = ModelId { provider: "p".into(), model: text.into() });
        add(&|entry| entry.organization = OrganizationId::new(text).ok());
    }
    add(&|entry| entry.organization = None);
    add(&|entry| entry.organization = OrganizationId::new("x".repeat(ID_BYTES_MAX)).ok());
    add(&|entry| entry.model.model = "long ".repeat(200).into());
    let chat = ChatId::mint(&subject.ids);
    add(&|entry| entry.chat = chat);
    for count in [0, 1, (1 << 53) + 1, LEDGER_NUMBER_MAX] {
        for usage in usages(count) {
            add(&|entry| entry.estimate.usage = usage);
        }
    }
    let pico = [0, 1, 999_999, 1_000_000, 1_000_001, (1 << 64) + 1, (1 << 80) + 7, LEDGER_PICO_MAX];
    for pico in pico.map(Some).into_iter().chain([None]) {
        add(&|entry| entry.estimate.cost = pico.map(Amount::from_pico));
    }
    add(&|entry| entry.estimate = Charge::default());
    for entry in &rows {
        book.open(entry).await;
    }
    for round in ["at once", "later"] {
        let found = book.unclosed(&desk).await;
        for (found, opened) in found.iter().zip(&rows) {
            assert_eq!(found, opened, "{CLAUSE}: {round}: a row");
        }
        assert_eq!(found.len(), rows.len(), "{CLAUSE}: {round}: rows");
        book = subject.reconnect(book).await;
    }
    book.clear(&desk).await;
}

pub(super) async fn g3_no_price_is_not_free(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G3";
    let book = subject.book(CLAUSE).await;
    let free = charge(1, 0);
    let unpriced = Charge { cost: None, ..free };
    for (first, then, unpriced_after) in [
        (free, free, [0, 0]),
        (unpriced, unpriced, [1, 1]),
        (free, unpriced, [0, 1]),
        (unpriced, free, [1, 0]),
        (unpriced, charge(1, 3), [1, 0]),
        (charge(1, 3), unpriced, [0, 1]),
    ] {
        let desk = subject.desk();
        let entry = LedgerEntry { estimate: first, ..desk.entry(&subject.ids, 1) };
        let cost = |charge: Charge| charge.cost.map_or(0, Amount::pico);
        book.open(&entry).await;
        let spent = Spent { open: 1, unpriced: unpriced_after[0], ..one(1, cost(first)) };
        book.spends(&desk, spent, "an open row").await;
        book.closes(entry.id, &known(&desk, then), LedgerClosed::Closed, "an open row").await;
        let spent = Spent { unpriced: unpriced_after[1], ..one(1, cost(then)) };
        book.spends(&desk, spent, "a closed row").await;
    }
}

pub(super) async fn g3_sums_are_exact(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G3";
    let mut book = subject.book(CLAUSE).await;
    // Whoever rounds each row, counts in floating point or in 64 bits says something else for one of these.
    let most = u128::from(LEDGER_NUMBER_MAX);
    let amounts: [&[u128]; 8] = [
        &[1, 1, 1],
        &[999_999, 1],
        &[333_333, 333_333, 333_333],
        &[1_500_000, 1_500_000, 400_000],
        &[(1 << 53) * 1_000_000, 1, 1],
        &[100_000_000_000, 200_000_000_000, 300_000_000_001],
        &[most, most, most],
        &[LEDGER_PICO_MAX, LEDGER_PICO_MAX, LEDGER_PICO_MAX, 2],
    ];
    for amounts in amounts {
        let desk = subject.desk();
        for (n, amount) in (0..).zip(amounts) {
            let entry = LedgerEntry { estimate: charge(0, *amount), ..desk.entry(&subject.ids, n) };
            book.open(&entry).await;
        }
        let count = amounts.len() as u64;
        let tokens = Tokens { output: 11 * count, ..Tokens::default() };
        let cost = Amount::from_pico(amounts.iter().sum());
        let spent = Spent { requests: count, open: count, tokens, cost, ..Spent::default() };
        book.spends(&desk, spent, &format!("open rows of {amounts:?}")).await;
        let open = book.unclosed(&desk).await;
        for (entry, amount) in open.iter().zip(amounts.iter().rev()) {
            book.close(entry.id, &known(&desk, charge(0, *amount))).await;
        }
        book = subject.reconnect(book).await;
        book.spends(&desk, Spent { open: 0, ..spent }, &format!("closed rows of {amounts:?}")).await;
    }
    for counts in [vec![(1 << 53) + 1, 1, 1], vec![LEDGER_NUMBER_MAX, LEDGER_NUMBER_MAX, 1]] {
        tokens_sum_up(subject, &counts, counts.iter().sum()).await;
    }
    // A sum that is too large stops at the largest.
    tokens_sum_up(subject, &[LEDGER_NUMBER_MAX; 3], u64::MAX).await;
}

/// Tokens of each kind alone sum up to this.
async fn tokens_sum_up(subject: &Subject<dyn Ledger>, counts: &[u64], total: u64) {
    const CLAUSE: &str = "ledger.G3";
    let book = subject.book(CLAUSE).await;
    for kind in 0..5 {
        let desk = subject.desk();
        for (n, count) in (0..).zip(counts) {
            let mut entry = desk.entry(&subject.ids, n);
            entry.estimate.usage = usages(*count)[kind];
            entry.estimate.cost = None;
            book.open(&entry).await;
        }
        let [input, output, reasoning, cache_read, cache_write] =
            std::array::from_fn(|n| if n == kind { total } else { 0 });
        let tokens = Tokens { input, output, reasoning, cache_read, cache_write };
        let rows = counts.len() as u64;
        let spent = Spent { requests: rows, open: rows, unpriced: rows, tokens, ..Spent::default() };
        book.spends(&desk, spent, &format!("tokens of kind {kind}: {counts:?}")).await;
        book.clear(&desk).await;
    }
}

pub(super) async fn g3_what_is_over_its_bound_is_refused_and_changes_nothing(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G3";
    let book = subject.book(CLAUSE).await;
    let desk = subject.desk();
    let [open, estimated] = [1, 2].map(|ms| desk.entry(&subject.ids, ms));
    let guessed = guess(&desk, charge(1, 1));
    for entry in [&open, &estimated] {
        book.open(entry).await;
    }
    book.closes(estimated.id, &guessed, LedgerClosed::Closed, "an open row").await;
    let spent = sum([(&open, None), (&estimated, Some(&guessed))]);
    let mut charges = Vec::new();
    for count in [LEDGER_NUMBER_MAX + 1, u64::MAX] {
        charges.extend(usages(count).into_iter().take(6).map(|usage| Charge { usage, cost: None }));
    }
    charges.extend([LEDGER_PICO_MAX + 1, u128::MAX].map(|pico| charge(1, pico)));
    let mut entries: Vec<LedgerEntry> = charges
        .iter()
        .map(|charge| LedgerEntry { estimate: *charge, ..desk.entry(&subject.ids, 3) })
        .collect();
    let over = LEDGER_NUMBER_MAX + 1;
    entries.push(LedgerEntry { r#gen: Some(Gen::new(over)), ..desk.entry(&subject.ids, 3) });
    entries.push(LedgerEntry { prices: Some(over), ..desk.entry(&subject.ids, 3) });
    for entry in &entries {
        let refused = book.store.open(entry).await.map_err(|error| error.kind());
        assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: opening with {:?}", entry.estimate);
        let closing = known(&desk, charge(1, 1));
        book.closes(entry.id, &closing, LedgerClosed::Unknown, "a row that was refused").await;
    }
    for charge in charges {
        for (id, closing) in [(open.id, known(&desk, charge)), (estimated.id, known(&desk, charge))] {
            let refused = book.store.close(id, &closing).await.map_err(|error| error.kind());
            assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: closing with {charge:?}");
            book.lists(&desk, &[&open], "after a refusal").await;
        }
    }
    book.spends(&desk, spent, "after refusals").await;
    // The largest that there may be, at times that may be.
    let largest =
        Charge { usage: usage([Some(LEDGER_NUMBER_MAX); 5]), cost: Some(Amount::from_pico(LEDGER_PICO_MAX)) };
    let end = LedgerClosing { at: Timestamp::from_millis(0), end: LedgerEnd::Lost, ..known(&desk, largest) };
    book.closes(open.id, &end, LedgerClosed::Closed, "the largest charge").await;
    book.closes(estimated.id, &known(&desk, largest), LedgerClosed::Corrected, "the largest charge").await;
    let spent = sum([(&open, Some(&end)), (&estimated, Some(&end))]);
    book.spends(&desk, spent, "the largest charges").await;
}
