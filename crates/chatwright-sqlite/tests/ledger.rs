//! The ledger beside the chats of its file, and against a plain list of rows.

mod kit;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use chatwright_core::model::{ModelId, Usage};
use chatwright_core::money::Amount;
use chatwright_core::port::{
    Charge, ChatStore as _, Ledger as _, LedgerClosed, LedgerClosing, LedgerEnd, LedgerEntry, LedgerLine,
    LedgerScope, Purpose, Spent,
};
use chatwright_core::{Gen, OpId, OrganizationId, Timestamp, UserId, Uuid, limits};
use chatwright_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use kit::{chat, commit, run};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const EVER: Range<Timestamp> = Timestamp::from_millis(i64::MIN)..Timestamp::from_millis(i64::MAX);

fn open(folder: &Path) -> SqliteStore {
    let options = SqliteOptions::new(folder.join("chats.db")).synchronous(Synchronous::Normal).readers(1);
    options.open().expect("an empty folder")
}

fn op(n: u128) -> OpId {
    OpId::from_uuid(Uuid::from_u128(n))
}

fn entry(n: u128) -> LedgerEntry {
    LedgerEntry {
        id: op(n),
        purpose: Purpose::Turn,
        chat: chat(1),
        r#gen: Some(Gen::new(1)),
        owner: UserId::new("ada").expect("a short id"),
        organization: None,
        model: ModelId { provider: "kit".into(), model: "large".into() },
        prices: Some(1),
        opened: Timestamp::from_millis(5),
        estimate: Charge { usage: Usage::default(), cost: Some(Amount::from_pico(7)) },
    }
}

/// G9.
#[test]
fn rows_of_the_ledger_stay_when_their_chat_is_purged() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let store = open(folder.path());
        store.commit(&commit(chat(1), None, &[10])).await.expect("a new chat");
        for n in 1..=2 {
            store.open(&entry(n)).await.expect("a row");
        }
        let closing = LedgerClosing {
            at: Timestamp::from_millis(6),
            end: LedgerEnd::Finished,
            estimated: false,
            charge: Charge { usage: Usage::default(), cost: Some(Amount::from_pico(1)) },
        };
        assert_eq!(store.close(op(1), &closing).await.expect("a row"), LedgerClosed::Closed);
        let of_chat = LedgerScope { chat: Some(chat(1)), ..LedgerScope::default() };
        let told = async |store: &SqliteStore| {
            let spent = store.spent(&of_chat, EVER).await.expect("a sum");
            let report = store.report(&of_chat, EVER).await.expect("a report");
            let unclosed = store.unclosed(EVER.end, None, 10).await.expect("a page");
            (spent, report, unclosed)
        };
        let before = told(&store).await;
        assert_eq!((before.0.requests, before.0.cost, &before.2), (2, Amount::from_pico(8), &vec![entry(2)]));
        store.purge(chat(1)).await.expect("a chat");
        assert_eq!(told(&store).await, before);
        drop(store);
        let store = open(folder.path());
        assert_eq!(told(&store).await, before);
        // What the chat asked may still be closed, and asked.
        assert_eq!(store.close(op(2), &closing).await.expect("a row"), LedgerClosed::Closed);
        store.open(&entry(3)).await.expect("a row");
        let spent = store.spent(&of_chat, EVER).await.expect("a sum");
        assert_eq!((spent.requests, spent.cost), (3, Amount::from_pico(9)));
        assert_eq!(store.check().await.expect("a sound file"), []);
    });
}

#[derive(Clone, Debug)]
enum Act {
    Open(LedgerEntry),
    Close(OpId, LedgerClosing),
}

/// What the store is asked after all acts.
type Question = (LedgerScope, Range<Timestamp>);

#[derive(Default)]
struct Model(BTreeMap<OpId, (LedgerEntry, Option<LedgerClosing>)>);

impl Model {
    fn act(&mut self, act: &Act) -> Option<LedgerClosed> {
        match act {
            Act::Open(entry) => {
                self.0.entry(entry.id).or_insert_with(|| (entry.clone(), None));
                None
            }
            Act::Close(id, closing) => Some(match self.0.get_mut(id) {
                None => LedgerClosed::Unknown,
                Some((_, stored @ None)) => {
                    *stored = Some(closing.clone());
                    LedgerClosed::Closed
                }
                Some((_, Some(stored))) if stored.estimated && !closing.estimated => {
                    *stored = closing.clone();
                    LedgerClosed::Corrected
                }
                Some(_) => LedgerClosed::Already,
            }),
        }
    }

    fn lines(&self, (scope, period): &Question) -> Vec<LedgerLine> {
        let mut lines: Vec<LedgerLine> = Vec::new();
        for (entry, closing) in self.0.values() {
            if !scope.has(entry) || entry.opened < period.start || entry.opened >= period.end {
                continue;
            }
            let (purpose, model) = (entry.purpose, &entry.model);
            let place = lines.iter().position(|line| line.purpose == purpose && line.model == *model);
            let place = place.unwrap_or_else(|| {
                lines.push(LedgerLine { purpose, model: model.clone(), spent: Spent::default() });
                lines.len() - 1
            });
            lines[place].spent.add(entry, closing.as_ref());
        }
        lines.sort_by_key(|line| (line.purpose, line.model.provider.clone(), line.model.model.clone()));
        lines
    }

    fn spent(&self, (scope, period): &Question) -> Spent {
        let mut spent = Spent::default();
        for (entry, closing) in self.0.values() {
            if scope.has(entry) && period.contains(&entry.opened) {
                spent.add(entry, closing.as_ref());
            }
        }
        spent
    }

    fn unclosed(&self, before: Timestamp) -> Vec<LedgerEntry> {
        let open = self.0.values().filter(|(entry, closing)| closing.is_none() && entry.opened < before);
        let mut open: Vec<LedgerEntry> = open.map(|(entry, _)| entry.clone()).collect();
        open.sort_by_key(|entry| (entry.opened, entry.id));
        open
    }
}

fn count() -> impl Strategy<Value = Option<u64>> {
    option::of(prop_oneof![
        Just(0),
        Just(limits::LEDGER_NUMBER_MAX),
        0..1_000_u64,
        0..=limits::LEDGER_NUMBER_MAX
    ])
}

fn charge() -> impl Strategy<Value = Charge> {
    let pico =
        prop_oneof![Just(0), Just(limits::LEDGER_PICO_MAX), 0..3_000_000_u128, 0..=limits::LEDGER_PICO_MAX];
    let counts = [count(), count(), count(), count(), count()];
    (counts, option::of(pico)).prop_map(|([input, output, reasoning, cache_read, cache_write], pico)| {
        Charge {
            usage: Usage { input, output, reasoning, cache_read, cache_write },
            cost: pico.map(Amount::from_pico),
        }
    })
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![8 => -3..4_i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)].prop_map(Timestamp::from_millis)
}

fn owner() -> impl Strategy<Value = UserId> {
    prop_oneof![Just("ada"), Just("Ada"), Just("")].prop_map(|id| UserId::new(id).expect("a short id"))
}

fn organization() -> impl Strategy<Value = OrganizationId> {
    prop_oneof![Just("acme"), Just("")].prop_map(|id| OrganizationId::new(id).expect("a short id"))
}

fn an_id() -> impl Strategy<Value = OpId> {
    (0..12_u128).prop_map(op)
}

fn an_entry() -> impl Strategy<Value = LedgerEntry> {
    let model = (prop_oneof![Just("a"), Just("b")], prop_oneof![Just("x"), Just("X"), Just("x\0")]);
    let who = (1..3_u128, owner(), option::of(organization()));
    let numbers = (option::of(0..=limits::LEDGER_NUMBER_MAX), option::of(0..=limits::LEDGER_NUMBER_MAX));
    let purpose = proptest::sample::select(Purpose::ALL.as_slice());
    (an_id(), purpose, who, model, numbers, time(), charge()).prop_map(
        |(id, purpose, (of, owner, organization), (provider, model), (number, prices), opened, estimate)| {
            LedgerEntry {
                id,
                purpose,
                chat: chat(of),
                r#gen: number.map(Gen::new),
                owner,
                organization,
                model: ModelId { provider: provider.into(), model: model.into() },
                prices,
                opened,
                estimate,
            }
        },
    )
}

fn an_act() -> impl Strategy<Value = Act> {
    let end = proptest::sample::select(LedgerEnd::ALL.as_slice());
    let closing = (time(), end, any::<bool>(), charge())
        .prop_map(|(at, end, estimated, charge)| LedgerClosing { at, end, estimated, charge });
    prop_oneof![
        an_entry().prop_map(Act::Open),
        (an_id(), closing).prop_map(|(id, closing)| Act::Close(id, closing))
    ]
}

fn a_question() -> impl Strategy<Value = Question> {
    let of = option::of((1..3_u128).prop_map(chat));
    (option::of(owner()), option::of(organization()), of, time(), time()).prop_map(
        |(owner, organization, chat, start, end)| (LedgerScope { owner, organization, chat }, start..end),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_was_opened_and_closed_is_told_as_a_plain_list_of_rows_would(
        acts in vec(an_act(), 0..60),
        mut questions in vec(a_question(), 12),
        before in vec(time(), 3),
        limit in 1..5_usize,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        questions.push((LedgerScope::default(), EVER));
        run(async {
            let (store, mut model) = (open(folder.path()), Model::default());
            for act in &acts {
                let closed = match act {
                    Act::Open(entry) => {
                        store.open(entry).await.expect("a row");
                        None
                    }
                    Act::Close(id, closing) => Some(store.close(*id, closing).await.expect("an answer")),
                };
                prop_assert_eq!(closed, model.act(act));
            }
            for question in &questions {
                let (scope, period) = question;
                let spent = store.spent(scope, period.clone()).await.expect("a sum");
                prop_assert_eq!(spent, model.spent(question), "{:?}", question);
                let report = store.report(scope, period.clone()).await.expect("a report");
                prop_assert_eq!(report, model.lines(question), "{:?}", question);
            }
            for before in before {
                let (mut found, mut after) = (Vec::new(), None);
                loop {
                    let page = store.unclosed(before, after, limit).await.expect("a page");
                    let full = page.len() == limit;
                    after = page.last().map(|entry| (entry.opened, entry.id));
                    found.extend(page);
                    if !full {
                        break;
                    }
                }
                prop_assert_eq!(found, model.unclosed(before));
            }
            Ok(())
        })?;
    }
}
