//! The decorators around the configuration and the ledger.

use std::sync::Arc;
use std::time::Duration;

use chatwright_conformance::{Calls, Chance, Counting, Flaky, FlakyRates, Slow};
use chatwright_core::config::{ConfigKey, ConfigKind};
use chatwright_core::model::ModelId;
use chatwright_core::port::{
    Charge, ConfigStore, ConfigWrite, ConfigWriter, Ledger, LedgerClosed, LedgerClosing, LedgerEnd,
    LedgerEntry, LedgerScope, Purpose, StoreErrorKind,
};
use chatwright_core::{ChatId, Json, OpId, Timestamp, UserId, Uuid};
use chatwright_memory::{MemoryConfigs, MemoryLedger};

mod slow {
    use super::*;

    chatwright_conformance::config_store!(
        Slow::new(MemoryConfigs::new(), Duration::from_micros(1), Chance::new(1)),
        volatile
    );
    chatwright_conformance::ledger!(
        Slow::new(MemoryLedger::new(), Duration::from_micros(1), Chance::new(1)),
        volatile
    );
}

mod counting {
    use super::*;

    chatwright_conformance::config_store!(Counting::new(MemoryConfigs::new()), volatile);
    chatwright_conformance::ledger!(Counting::new(MemoryLedger::new()), volatile);
}

async fn written_under(rates: FlakyRates) -> [Option<Json>; 2] {
    let (configs, key) = (MemoryConfigs::new(), ConfigKey::advisor());
    let flaky = Flaky::new(Arc::new(configs.clone()), rates, Chance::new(7));
    let value = Json::parse("1").expect("JSON");
    let failed = flaky.write_config(&key, 0, Some(&value)).await.map_err(|error| error.kind());
    assert_eq!(failed, Err(StoreErrorKind::Unavailable));
    let stored =
        async || configs.config(&key).await.expect("the store in memory answers").map(|row| row.value);
    let at_once = stored().await;
    flaky.settle().await;
    [at_once, stored().await]
}

#[tokio::test]
async fn a_flaky_write_of_the_configuration_fails_before_or_after_its_effect_or_happens_later() {
    let value = || Json::parse("1").ok();
    assert_eq!(written_under(FlakyRates { before: 100, ..Default::default() }).await, [None, None]);
    assert_eq!(written_under(FlakyRates { after: 100, ..Default::default() }).await, [value(), value()]);
    assert_eq!(written_under(FlakyRates { later: 100, ..Default::default() }).await, [None, value()]);
}

#[tokio::test]
async fn a_flaky_read_of_the_configuration_fails() {
    let rates = FlakyRates { reads: 100, ..Default::default() };
    let flaky = Flaky::new(Arc::new(MemoryConfigs::new()), rates, Chance::new(7));
    let read = flaky.config(&ConfigKey::advisor()).await.map_err(|error| error.kind());
    assert_eq!(read, Err(StoreErrorKind::Unavailable));
    let listed = flaky.configs(ConfigKind::Model, None, 1).await.map_err(|error| error.kind());
    assert_eq!(listed, Err(StoreErrorKind::Unavailable));
}

#[tokio::test]
async fn calls_of_the_configuration_are_counted_each_by_its_name() {
    let (counting, key) = (Counting::new(MemoryConfigs::new()), ConfigKey::advisor());
    for _ in 0..3 {
        let deleted = counting.write_config(&key, 0, None).await.expect("the store in memory answers");
        assert_eq!(deleted, ConfigWrite::Absent);
    }
    for _ in 0..2 {
        assert_eq!(counting.config(&key).await.expect("the store in memory answers"), None);
    }
    assert_eq!(counting.configs(ConfigKind::Model, None, 1).await.expect("the store in memory answers"), []);
    assert_eq!(counting.calls(), Calls { config: 2, configs: 1, write_config: 3, ..Calls::default() });
}

const NOW: Timestamp = Timestamp::from_millis(1);

fn row() -> LedgerEntry {
    LedgerEntry {
        id: OpId::from_uuid(Uuid::from_u128(1)),
        purpose: Purpose::Turn,
        chat: ChatId::from_uuid(Uuid::from_u128(2)),
        r#gen: None,
        owner: UserId::new("ada").expect("a short id"),
        organization: None,
        model: ModelId { provider: "kit".into(), model: "large".into() },
        prices: None,
        opened: NOW,
        estimate: Charge::default(),
    }
}

fn closing() -> LedgerClosing {
    LedgerClosing { at: NOW, end: LedgerEnd::Finished, estimated: false, charge: Charge::default() }
}

/// Rows, and those of them that are open: after a write of the ledger, and after what is late.
async fn booked_under(rates: FlakyRates, closes: bool) -> [(u64, u64); 2] {
    let (ledger, entry) = (MemoryLedger::new(), row());
    let flaky = Flaky::new(Arc::new(ledger.clone()), rates, Chance::new(7));
    let failed = if closes {
        ledger.open(&entry).await.expect("the ledger in memory answers");
        flaky.close(entry.id, &closing()).await.map(drop)
    } else {
        flaky.open(&entry).await
    };
    assert_eq!(failed.map_err(|error| error.kind()), Err(StoreErrorKind::Unavailable));
    let (all, ever) = (LedgerScope::default(), Timestamp::from_millis(0)..Timestamp::from_millis(i64::MAX));
    let booked = async || {
        let spent = ledger.spent(&all, ever.clone()).await.expect("the ledger in memory answers");
        (spent.requests, spent.open)
    };
    let at_once = booked().await;
    flaky.settle().await;
    [at_once, booked().await]
}

#[tokio::test]
async fn a_flaky_write_of_the_ledger_fails_before_or_after_its_effect_or_happens_later() {
    let before = FlakyRates { before: 100, ..Default::default() };
    let after = FlakyRates { after: 100, ..Default::default() };
    let later = FlakyRates { later: 100, ..Default::default() };
    for (rates, opened, closed) in [
        (before, [(0, 0), (0, 0)], [(1, 1), (1, 1)]),
        (after, [(1, 1), (1, 1)], [(1, 0), (1, 0)]),
        (later, [(0, 0), (1, 1)], [(1, 1), (1, 0)]),
    ] {
        assert_eq!(booked_under(rates, false).await, opened, "{rates:?}: an opening");
        assert_eq!(booked_under(rates, true).await, closed, "{rates:?}: a closing");
    }
}

#[tokio::test]
async fn a_flaky_read_of_the_ledger_fails() {
    let rates = FlakyRates { reads: 100, ..Default::default() };
    let flaky = Flaky::new(Arc::new(MemoryLedger::new()), rates, Chance::new(7));
    let all = LedgerScope::default();
    let failed = [
        flaky.unclosed(NOW, None, 1).await.map(drop),
        flaky.spent(&all, NOW..NOW).await.map(drop),
        flaky.report(&all, NOW..NOW).await.map(drop),
    ];
    for failed in failed {
        assert_eq!(failed.map_err(|error| error.kind()), Err(StoreErrorKind::Unavailable));
    }
}

#[tokio::test]
async fn calls_of_the_ledger_are_counted_each_by_its_name() {
    let (counting, entry, all) = (Counting::new(MemoryLedger::new()), row(), LedgerScope::default());
    for _ in 0..5 {
        counting.open(&entry).await.expect("the ledger in memory answers");
    }
    for said in [LedgerClosed::Closed, LedgerClosed::Already, LedgerClosed::Already, LedgerClosed::Already] {
        let closed = counting.close(entry.id, &closing()).await.expect("the ledger in memory answers");
        assert_eq!(closed, said);
    }
    for _ in 0..3 {
        assert_eq!(counting.unclosed(NOW, None, 1).await.expect("the ledger in memory answers"), []);
    }
    for _ in 0..2 {
        counting.spent(&all, NOW..NOW).await.expect("the ledger in memory answers");
    }
    counting.report(&all, NOW..NOW).await.expect("the ledger in memory answers");
    let calls = Calls { open: 5, close: 4, unclosed: 3, spent: 2, report: 1, ..Calls::default() };
    assert_eq!(counting.calls(), calls);
}
