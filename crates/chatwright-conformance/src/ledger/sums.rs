//! G7: which rows a sum counts, and with what.

use chatwright_core::model::ModelId;
use chatwright_core::port::{
    Charge, Ledger, LedgerClosed, LedgerClosing, LedgerEntry, LedgerLine, LedgerScope, Purpose, Spent,
};
use chatwright_core::{ChatId, OrganizationId, Timestamp, UserId, Uuid};

use super::fixture::{Desk, charge, guess, known, one, sum};
use crate::Subject;

pub(super) async fn g7_a_sum_counts_the_rows_of_its_scope_and_no_others(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G7";
    let book = subject.book(CLAUSE).await;
    let desk = subject.desk();
    let user = |text: String| UserId::new(text).expect("a short id");
    let team = |text: String| OrganizationId::new(text).expect("a short id");
    let (name, org) = (desk.owner.as_str(), desk.organization.as_str());
    // Equal for whoever ignores case, trims, cuts or takes an id for a pattern.
    let owners = [
        desk.owner.clone(),
        user(name.to_uppercase()),
        user(format!("{name} ")),
        user(format!("{name}\0")),
        user(name.replace("kit ", "ki_ ")),
    ];
    let organizations = [
        None,
        Some(desk.organization.clone()),
        Some(team(org.to_uppercase())),
        Some(team(format!("{org}%"))),
        Some(team(name.into())),
    ];
    let chats = [0, 1, 1 << 64, 1 << 127]
        .map(|bit| ChatId::from_uuid(Uuid::from_u128(desk.chat.as_uuid().as_u128() ^ bit)));
    let mut rows: Vec<LedgerEntry> = Vec::new();
    for owner in &owners {
        for organization in &organizations {
            for chat in chats {
                let ms = i64::try_from(rows.len()).expect("a hundred rows");
                let (owner, organization) = (owner.clone(), organization.clone());
                // A sum of any other rows is another one.
                let estimate = charge(rows.len() as u64, 1 << rows.len());
                rows.push(LedgerEntry {
                    owner,
                    organization,
                    chat,
                    estimate,
                    ..desk.entry(&subject.ids, ms)
                });
            }
        }
    }
    // Costs that tell every row apart take a hundred bits: the bound of a row leaves 82.
    rows.truncate(80);
    for entry in &rows {
        book.open(entry).await;
    }
    let with_none = |ids: &[Option<OrganizationId>]| -> Vec<Option<OrganizationId>> {
        std::iter::once(None).chain(ids.iter().flatten().cloned().map(Some)).collect()
    };
    let nobody = Some(user(format!("{name} nobody")));
    for owner in owners.iter().cloned().map(Some).chain([None, nobody]) {
        for organization in with_none(&organizations) {
            for chat in chats.map(Some).into_iter().chain([None]) {
                let scope = LedgerScope { owner: owner.clone(), organization: organization.clone(), chat };
                let expected = sum(rows.iter().filter(|entry| scope.has(entry)).map(|entry| (entry, None)));
                let spent = book.spent(&scope, desk.always()).await;
                assert_eq!(spent, expected, "{CLAUSE}: what was spent in {scope:?}");
                let lines = book.report(&scope, desk.always()).await;
                let lines: Vec<Spent> = lines.into_iter().map(|line| line.spent).collect();
                let expected = if expected.requests == 0 { Vec::new() } else { vec![expected] };
                assert_eq!(lines, expected, "{CLAUSE}: the report of {scope:?}");
            }
        }
    }
    for entry in &rows {
        book.close(entry.id, &known(&desk, Charge::default())).await;
    }
}

pub(super) async fn g7_a_period_begins_with_its_start_and_ends_before_its_end(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G7";
    let book = subject.book(CLAUSE).await;
    let desk = subject.desk();
    let mut rows: Vec<(LedgerEntry, Option<LedgerClosing>)> = Vec::new();
    for (n, ms) in [1, 2, 2, 3, 5, 5].into_iter().enumerate() {
        let estimate = charge(1 << n, 1 << n);
        let entry = LedgerEntry { estimate, ..desk.entry(&subject.ids, ms) };
        book.open(&entry).await;
        // It counts when it was opened, whenever it ended.
        let closing = (n % 2 == 0).then(|| LedgerClosing { at: desk.at(4), ..known(&desk, estimate) });
        if let Some(closing) = &closing {
            book.closes(entry.id, closing, LedgerClosed::Closed, "an open row").await;
        }
        rows.push((entry, closing));
    }
    let ends = [Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX)];
    let times: Vec<Timestamp> = (0..8).map(|ms| desk.at(ms)).chain(ends).collect();
    for start in &times {
        for end in &times {
            let within = rows.iter().filter(|(entry, _)| *start <= entry.opened && entry.opened < *end);
            let expected = sum(within.map(|(entry, closing)| (entry, closing.as_ref())));
            let spent = book.spent(&desk.own(), *start..*end).await;
            assert_eq!(spent, expected, "{CLAUSE}: what was spent from {start} to {end}");
            let lines = book.report(&desk.own(), *start..*end).await;
            let lines: Vec<Spent> = lines.into_iter().map(|line| line.spent).collect();
            let expected = if expected.requests == 0 { Vec::new() } else { vec![expected] };
            assert_eq!(lines, expected, "{CLAUSE}: the report from {start} to {end}");
        }
    }
    book.clear(&desk).await;
}

pub(super) async fn g7_a_row_counts_with_what_is_known_of_it(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G7";
    let book = subject.book(CLAUSE).await;
    let desk = subject.desk();
    let spends = async |desk: &Desk, spent: Spent, what: &str| book.spends(desk, spent, what).await;
    spends(&desk, Spent::default(), "nothing").await;
    let entry = LedgerEntry { estimate: charge(100, 1_000), ..desk.entry(&subject.ids, 1) };
    book.open(&entry).await;
    spends(&desk, Spent { open: 1, ..one(100, 1_000) }, "an open row").await;
    book.closes(entry.id, &guess(&desk, charge(70, 700)), LedgerClosed::Closed, "an open row").await;
    spends(&desk, Spent { estimated: 1, ..one(70, 700) }, "a row that is closed with an estimate").await;
    book.closes(entry.id, &known(&desk, charge(60, 600)), LedgerClosed::Corrected, "an estimate").await;
    spends(&desk, one(60, 600), "a row that is corrected").await;
    // Nothing of the estimate stays, also where nothing takes its place.
    let desk = subject.desk();
    let entry = LedgerEntry { estimate: charge(100, 1_000), ..desk.entry(&subject.ids, 1) };
    book.open(&entry).await;
    book.closes(entry.id, &known(&desk, Charge::default()), LedgerClosed::Closed, "an open row").await;
    let nothing = Spent { requests: 1, unpriced: 1, ..Spent::default() };
    spends(&desk, nothing, "a row that is closed without counts and cost").await;
    // All of them at once.
    let desk = subject.desk();
    let mut rows: Vec<(LedgerEntry, Option<LedgerClosing>)> = Vec::new();
    for n in 0..16_u64 {
        let ms = i64::try_from(n).expect("a small number");
        let estimate =
            if n & 4 == 0 { charge(1 << n, 1 << n) } else { Charge { cost: None, ..charge(n, 0) } };
        let entry = LedgerEntry { estimate, ..desk.entry(&subject.ids, ms) };
        let then = if n & 8 == 0 { charge(3 << n, 3 << n) } else { Charge { cost: None, ..charge(n, 0) } };
        let closing =
            [None, Some(known(&desk, then)), Some(guess(&desk, then)), None][(n & 3) as usize].clone();
        book.open(&entry).await;
        if let Some(closing) = &closing {
            book.closes(entry.id, closing, LedgerClosed::Closed, "an open row").await;
        }
        rows.push((entry, closing));
    }
    let all = sum(rows.iter().map(|(entry, closing)| (entry, closing.as_ref())));
    spends(&desk, all, "rows of all sorts").await;
    book.clear(&desk).await;
}

pub(super) async fn g7_a_report_has_one_line_for_each_purpose_and_model(subject: &Subject<dyn Ledger>) {
    const CLAUSE: &str = "ledger.G7";
    let mut book = subject.book(CLAUSE).await;
    let desk = subject.desk();
    let model = |provider: &str, model: &str| ModelId { provider: provider.into(), model: model.into() };
    // Ascending. Both names together are the same text for some of them.
    let models = [
        model("", "ab"),
        model("A", "b"),
        model("a", ""),
        model("a", "B"),
        model("a", "b"),
        model("a", "b\0"),
        model("a", "b/c"),
        model("a", "é"),
        model("a/b", "c"),
        model("ab", ""),
        model("b", "b"),
        model("é", "b"),
    ];
    let mut expected: Vec<LedgerLine> = Vec::new();
    let mut rows: Vec<(LedgerEntry, Option<LedgerClosing>)> = Vec::new();
    for (n, (purpose, model)) in
        Purpose::ALL.iter().flat_map(|purpose| models.iter().map(move |model| (*purpose, model))).enumerate()
    {
        let mut spent = Spent::default();
        for again in 0..=n % 3 {
            let ms = i64::try_from(100 - n).expect("a small number");
            let mut entry = LedgerEntry { purpose, model: model.clone(), ..desk.entry(&subject.ids, ms) };
            entry.estimate = charge(n as u64, 1 << n);
            let closing = match again {
                0 => None,
                1 => Some(known(&desk, charge(7, 1))),
                _ => Some(guess(&desk, Charge { cost: None, ..charge(9, 0) })),
            };
            spent.add(&entry, closing.as_ref());
            rows.push((entry, closing));
        }
        expected.push(LedgerLine { purpose, model: model.clone(), spent });
    }
    while !rows.is_empty() {
        let (entry, closing) = rows.swap_remove(subject.chance.below(rows.len() as u64) as usize);
        book.open(&entry).await;
        if let Some(closing) = &closing {
            book.closes(entry.id, closing, LedgerClosed::Closed, "an open row").await;
        }
    }
    for round in ["at once", "later"] {
        let found = book.report(&desk.own(), desk.always()).await;
        for (found, line) in found.iter().zip(&expected) {
            assert_eq!(found, line, "{CLAUSE}: {round}: a line");
        }
        assert_eq!(found.len(), expected.len(), "{CLAUSE}: {round}: lines");
        book = subject.reconnect(book).await;
    }
    let elsewhere = LedgerScope { chat: Some(ChatId::mint(&subject.ids)), ..desk.own() };
    assert_eq!(book.report(&elsewhere, desk.always()).await, [], "{CLAUSE}: a chat that asked nothing");
    book.clear(&desk).await;
}
