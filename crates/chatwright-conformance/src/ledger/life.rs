//! G4, G5, G8: from `open` to `close`.

use std::time::Duration;

use chatwright_core::port::{Charge, Ledger, LedgerClosed, LedgerClosing, LedgerEntry};
use futures::future::select;

use super::fixture::{charge, guess, known, sum};
use crate::Subject;
use crate::wait::within;

pub(super) async fn g4_what_was_answered_survives_reopening(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G4";
    if subject.is_volatile() {
        println!("{CLAUSE}: not checked, the ledger says that it is volatile");
        return;
    }
    let desk = subject.desk();
    let mut rows: Vec<(LedgerEntry, Option<LedgerClosing>)> = Vec::new();
    for round in 0..6_i64 {
        let book = subject.book(CLAUSE).await;
        let spent = sum(rows.iter().map(|(entry, closing)| (entry, closing.as_ref())));
        book.spends(&desk, spent, &format!("round {round}")).await;
        let open: Vec<_> = rows.iter().filter(|row| row.1.is_none()).map(|row| row.0.clone()).collect();
        assert_eq!(book.unclosed(&desk).await, open, "{CLAUSE}: round {round}: open rows");
        for n in 0..3 {
            let entry = desk.entry(&subject.ids, 10 * round + n);
            book.open(&entry).await;
            rows.push((entry, None));
        }
        // What comes last before the connection goes is an opening, a closing or a correction.
        let count = rows.len();
        let tokens = round.unsigned_abs();
        if round % 3 > 0 {
            let (entry, closing) = &mut rows[count - 2];
            let guessed = guess(&desk, charge(tokens, 7));
            book.closes(entry.id, &guessed, LedgerClosed::Closed, "an open row").await;
            *closing = Some(guessed);
        }
        if round % 3 > 1 {
            let (entry, closing) = &mut rows[count - 2];
            let told = known(&desk, charge(tokens, 8));
            book.closes(entry.id, &told, LedgerClosed::Corrected, "an estimate").await;
            *closing = Some(told);
        }
    }
    let book = subject.book(CLAUSE).await;
    let spent = sum(rows.iter().map(|(entry, closing)| (entry, closing.as_ref())));
    book.spends(&desk, spent, "the last round").await;
    for (entry, closing) in &rows {
        let again = book.close(entry.id, &known(&desk, Charge::default())).await;
        let expected = match closing {
            None => LedgerClosed::Closed,
            Some(closing) if closing.estimated => LedgerClosed::Corrected,
            Some(_) => LedgerClosed::Already,
        };
        assert_eq!(again, expected, "{CLAUSE}: what closing says after reopening");
    }
}

pub(super) async fn g5_what_was_written_counts_from_then_on(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G5";
    let book = subject.book(CLAUSE).await;
    let books = [book.clone(), subject.beside(&book).await];
    let desk = subject.desk();
    let mut rows: Vec<(LedgerEntry, Option<LedgerClosing>)> = Vec::new();
    for round in 0..12_u64 {
        let writer = &books[usize::from(round % 2 == 1)];
        let entry = desk.entry(&subject.ids, 1);
        let guessed = guess(&desk, charge(round, 1));
        let told = known(&desk, charge(round, 2));
        for step in ["opened", "closed", "corrected"] {
            match step {
                "opened" => {
                    writer.open(&entry).await;
                    rows.push((entry.clone(), None));
                }
                "closed" => {
                    writer.closes(entry.id, &guessed, LedgerClosed::Closed, "an open row").await;
                    rows.last_mut().expect("it was opened").1 = Some(guessed.clone());
                }
                _ => {
                    writer.closes(entry.id, &told, LedgerClosed::Corrected, "an estimate").await;
                    rows.last_mut().expect("it was opened").1 = Some(told.clone());
                }
            }
            let spent = sum(rows.iter().map(|(entry, closing)| (entry, closing.as_ref())));
            let open: &[&LedgerEntry] = if step == "opened" { &[&entry] } else { &[] };
            for (reader, whose) in books.iter().zip(["the first", "the second"]) {
                let what = format!("{step} in round {round}, for {whose} connection");
                reader.spends(&desk, spent, &what).await;
                reader.lists(&desk, open, &what).await;
            }
        }
    }
}

pub(super) async fn g8_a_dropped_call_has_happened_or_not_and_the_ledger_goes_on(
    subject: &Subject<dyn Ledger>,
) {
    const CLAUSE: &str = "ledger.G8";
    let book = subject.book(CLAUSE).await;
    for round in 0..60_u64 {
        let desk = subject.desk();
        let entry = desk.entry(&subject.ids, 1);
        drop_early(subject, round % 2 == 0, book.store.open(&entry)).await;
        // What was dropped may have happened, may still happen, or not.
        within(CLAUSE, "an opening after a dropped one", book.open(&entry)).await;
        let rows = [&entry];
        let lists = book.lists(&desk, &rows, "opened again after it was dropped");
        within(CLAUSE, "a list after a dropped opening", lists).await;
        let closing = known(&desk, charge(round, round.into()));
        drop_early(subject, round % 2 == 0, book.store.close(entry.id, &closing)).await;
        let again = book.close(entry.id, &closing);
        let again = within(CLAUSE, "a closing after a dropped one", again).await;
        let happened = matches!(again, LedgerClosed::Closed | LedgerClosed::Already);
        assert!(happened, "{CLAUSE}: closed again after it was dropped: {again:?}");
        let spends = book.spends(&desk, sum([(&entry, Some(&closing))]), "closed again after it was dropped");
        within(CLAUSE, "a sum after a dropped closing", spends).await;
        let lists = book.lists(&desk, &[], "closed again after it was dropped");
        within(CLAUSE, "a list after a dropped closing", lists).await;
        drop_early(subject, round % 2 == 0, book.store.spent(&desk.own(), desk.always())).await;
    }
}

/// A call that is dropped after some polls of its own, or after some time.
async fn drop_early(subject: &Subject<dyn Ledger>, polls: bool, call: impl Future + Unpin) {
    let patience = subject.chance.below(6);
    let end = Box::pin(async move {
        if polls {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
        } else {
            tokio::time::sleep(Duration::from_micros(patience * 40)).await;
        }
    });
    drop(select(call, end).await);
}
