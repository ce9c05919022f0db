//! The decorators around the configuration.

use std::sync::Arc;
use std::time::Duration;

use chatwright_conformance::{Calls, Chance, Counting, Flaky, FlakyRates, Slow};
use chatwright_core::Json;
use chatwright_core::config::{ConfigKey, ConfigKind};
use chatwright_core::port::{ConfigStore, ConfigWrite, ConfigWriter, StoreErrorKind};
use chatwright_memory::MemoryConfigs;

mod slow {
    use super::*;

    chatwright_conformance::config_store!(
        Slow::new(MemoryConfigs::new(), Duration::from_micros(1), Chance::new(1)),
        volatile
    );
}

mod counting {
    use super::*;

    chatwright_conformance::config_store!(Counting::new(MemoryConfigs::new()), volatile);
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
