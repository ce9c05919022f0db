//! G1, G2: one row for each request, closed once.

use std::collections::BTreeSet;

use chatwright_core::money::Amount;
use chatwright_core::port::{
    Charge, Ledger, LedgerClosed, LedgerClosing, LedgerEnd, LedgerEntry, Purpose, Spent, Tokens,
};
use chatwright_core::{ChatId, Gen, OpId, OrganizationId, UserId, Uuid};
use tokio::task::JoinSet;

use super::fixture::{Book, charge, guess, known, one, sum};
use crate::Subject;
use crate::wait::all;

/// The same id, and in each row something else that is other than in the first.
fn others(subject: &Subject<dyn Ledger>, entry: &LedgerEntry) -> Vec<LedgerEntry> {
    let other = |change: fn(&mut LedgerEntry)| {
        let mut other = entry.clone();
        change(&mut other);
        other
    };
    let mut others = vec![
        entry.clone(),
        other(|entry| entry.purpose = Purpose::Compaction),
        other(|entry| entry.r#gen = Some(Gen::new(99))),
        other(|entry| entry.owner = UserId::new("another").expect("a short id")),
        other(|entry| entry.organization = None),
        other(|entry| entry.organization = OrganizationId::new("another").ok()),
        other(|entry| entry.model.model = "other".into()),
        other(|entry| entry.prices = None),
        other(|entry| entry.opened = entry.opened.after(std::time::Duration::from_millis(1))),
        other(|entry| entry.estimate = charge(9, 9)),
        other(|entry| entry.estimate = Charge::default()),
    ];
    others.push(LedgerEntry { chat: ChatId::mint(&subject.ids), ..entry.clone() });
    others
}

pub(super) async fn g1_opening_an_id_again_changes_nothing(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G1";
    let mut book = subject.book(CLAUSE).await;
    let desk = subject.desk();
    let [open, closed, estimated] = [1, 2, 3].map(|ms| desk.entry(&subject.ids, ms));
    let (known_closing, guessed) = (known(&desk, charge(5, 50)), guess(&desk, charge(6, 60)));
    for entry in [&open, &closed, &estimated] {
        book.open(entry).await;
    }
    book.closes(closed.id, &known_closing, LedgerClosed::Closed, "a row").await;
    book.closes(estimated.id, &guessed, LedgerClosed::Closed, "a row").await;
    let rows = [(&open, None), (&closed, Some(&known_closing)), (&estimated, Some(&guessed))];
    let (spent, lines) = (sum(rows), book.report(&desk.own(), desk.always()).await);
    for round in ["at once", "later"] {
        for entry in [&open, &closed, &estimated] {
            for other in others(subject, entry) {
                book.open(&other).await;
                let what = format!("{round}, an id that was opened again");
                book.spends(&desk, spent, &what).await;
                book.lists(&desk, &[&open], &what).await;
                let found = book.report(&desk.own(), desk.always()).await;
                assert_eq!(found, lines, "{CLAUSE}: {what}: the report");
            }
        }
        book = subject.reconnect(book).await;
    }
    // The estimate may still be corrected.
    book.closes(estimated.id, &known_closing, LedgerClosed::Corrected, "opened again").await;
    book.clear(&desk).await;
}

pub(super) async fn g1_many_that_open_an_id_at_once_open_one_row(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G1";
    let book = subject.book(CLAUSE).await;
    let beside = subject.beside(&book).await;
    for _ in 0..4 {
        let desk = subject.desk();
        let entry = desk.entry(&subject.ids, 1);
        let mut writers = JoinSet::new();
        for n in 0..32_u64 {
            let (book, desk) = (if n % 2 == 0 { book.clone() } else { beside.clone() }, desk.clone());
            let entry = LedgerEntry { estimate: charge(n, n.into()), ..entry.clone() };
            writers.spawn(async move {
                book.open(&entry).await;
                book.unclosed(&desk).await
            });
        }
        let mut seen = all(writers).await;
        seen.dedup();
        assert_eq!(seen.len(), 1, "{CLAUSE}: one row, opened by many at once, said several things");
        assert_eq!(seen[0].len(), 1, "{CLAUSE}: many that open an id at once open this many rows");
        book.spends(&desk, sum([(&seen[0][0], None)]), "opened by many at once").await;
        book.clear(&desk).await;
    }
}

pub(super) async fn g2_the_first_close_wins(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G2";
    let mut book = subject.book(CLAUSE).await;
    let desk = subject.desk();
    let entry = desk.entry(&subject.ids, 1);
    book.open(&entry).await;
    book.closes(entry.id, &known(&desk, charge(5, 50)), LedgerClosed::Closed, "an open row").await;
    let refused: Vec<LedgerClosing> = vec![
        known(&desk, charge(5, 50)),
        known(&desk, charge(6, 60)),
        known(&desk, Charge::default()),
        LedgerClosing { end: LedgerEnd::Failed, at: desk.at(0), ..known(&desk, charge(0, 0)) },
        guess(&desk, charge(7, 70)),
        guess(&desk, charge(5, 50)),
    ];
    for round in ["at once", "later"] {
        for closing in &refused {
            let what = format!("{round}, closed before with what is known");
            book.closes(entry.id, closing, LedgerClosed::Already, &what).await;
            book.spends(&desk, one(5, 50), &what).await;
            book.lists(&desk, &[], &what).await;
        }
        book = subject.reconnect(book).await;
    }
    // Of two estimates the first one wins.
    let entry = desk.entry(&subject.ids, 2);
    book.open(&entry).await;
    book.closes(entry.id, &guess(&desk, charge(1, 10)), LedgerClosed::Closed, "an open row").await;
    for closing in [guess(&desk, charge(2, 20)), guess(&desk, Charge::default())] {
        book.closes(entry.id, &closing, LedgerClosed::Already, "closed before with an estimate").await;
    }
    let rows = Spent { requests: 2, estimated: 1, cost: Amount::from_pico(60), ..one(6, 0) };
    let rows = Spent { tokens: Tokens { output: 22, ..rows.tokens }, ..rows };
    book.spends(&desk, rows, "estimated twice").await;
}

pub(super) async fn g2_an_estimate_is_corrected_once(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G2";
    for corrected in [charge(5, 50), charge(0, 0), Charge { cost: None, ..charge(5, 0) }] {
        let mut book = subject.book(CLAUSE).await;
        let desk = subject.desk();
        let entry = desk.entry(&subject.ids, 1);
        let (guessed, known_closing) = (guess(&desk, charge(9, 90)), known(&desk, corrected));
        book.open(&entry).await;
        book.closes(entry.id, &guessed, LedgerClosed::Closed, "an open row").await;
        book.spends(&desk, Spent { estimated: 1, ..one(9, 90) }, "closed with an estimate").await;
        book = subject.reconnect(book).await;
        book.closes(entry.id, &known_closing, LedgerClosed::Corrected, "closed with an estimate").await;
        let spent = sum([(&entry, Some(&known_closing))]);
        for round in ["at once", "later"] {
            book.spends(&desk, spent, &format!("{round}, corrected")).await;
            for closing in [known(&desk, charge(7, 70)), guessed.clone(), known_closing.clone()] {
                book.closes(entry.id, &closing, LedgerClosed::Already, "corrected before").await;
                book.spends(&desk, spent, "corrected and closed once more").await;
            }
            book = subject.reconnect(book).await;
        }
    }
}

pub(super) async fn g2_what_nobody_opened_is_unknown_and_stays_so(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G2";
    let book = subject.book(CLAUSE).await;
    let desk = subject.desk();
    let entry = desk.entry(&subject.ids, 1);
    for closing in [known(&desk, charge(5, 50)), guess(&desk, charge(5, 50)), known(&desk, charge(5, 50))] {
        book.closes(entry.id, &closing, LedgerClosed::Unknown, "a row that nobody opened").await;
        book.spends(&desk, Spent::default(), "closed and never opened").await;
    }
    book.open(&entry).await;
    let spent = sum([(&entry, None)]);
    book.spends(&desk, spent, "opened after somebody tried to close it").await;
    book.lists(&desk, &[&entry], "opened after somebody tried to close it").await;
    // Rows whose ids differ in one bit are others.
    for bit in [1, 1 << 64, 1 << 127] {
        let id = Uuid::from_u128(entry.id.as_uuid().as_u128() ^ bit);
        let closing = known(&desk, charge(5, 50));
        book.closes(OpId::from_uuid(id), &closing, LedgerClosed::Unknown, "an id like that of a row").await;
        book.spends(&desk, spent, "an id like it was closed").await;
    }
    book.clear(&desk).await;
}

pub(super) async fn g2_of_many_that_close_a_row_at_once_one_does(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G2";
    let book = subject.book(CLAUSE).await;
    let beside = subject.beside(&book).await;
    for _ in 0..4 {
        let desk = subject.desk();
        let entry = desk.entry(&subject.ids, 1);
        book.open(&entry).await;
        let guesses = (0..32).map(|n| guess(&desk, charge(n, n.into()))).collect();
        let winner = race(&[&book, &beside], entry.id, guesses, LedgerClosed::Closed).await;
        book.spends(&desk, sum([(&entry, Some(&winner))]), "estimated by many at once").await;
        let knowns = (32..64).map(|n| known(&desk, charge(n, n.into()))).collect();
        let winner = race(&[&book, &beside], entry.id, knowns, LedgerClosed::Corrected).await;
        book.spends(&desk, sum([(&entry, Some(&winner))]), "corrected by many at once").await;
        let entry = desk.entry(&subject.ids, 2);
        book.open(&entry).await;
        let knowns = (64..96).map(|n| known(&desk, charge(n, n.into()))).collect();
        let other = race(&[&book, &beside], entry.id, knowns, LedgerClosed::Closed).await;
        let both = sum([(&entry, Some(&winner)), (&entry, Some(&other))]);
        book.spends(&desk, both, "closed by many at once").await;
    }
}

/// All close a row at once. The one that did, which says so; the others came too late.
async fn race(books: &[&Book], id: OpId, closings: Vec<LedgerClosing>, won: LedgerClosed) -> LedgerClosing {
    let clause = books[0].clause;
    let mut writers = JoinSet::new();
    for (n, closing) in closings.into_iter().enumerate() {
        let book = books[n % books.len()].clone();
        writers.spawn(async move { (book.close(id, &closing).await, closing) });
    }
    let (winners, others): (Vec<_>, Vec<_>) =
        all(writers).await.into_iter().partition(|(closed, _)| *closed == won);
    assert_eq!(winners.len(), 1, "{clause}: so many of those that close a row at once say {won:?}");
    let others: BTreeSet<String> = others.iter().map(|(closed, _)| format!("{closed:?}")).collect();
    assert_eq!(others, BTreeSet::from(["Already".to_owned()]), "{clause}: what the others say");
    winners.into_iter().map(|(_, closing)| closing).next().expect("there is one")
}
