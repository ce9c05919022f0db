//! F4: what is written under which condition, also when many write at once, and when a writer goes away.

use std::collections::BTreeMap;
use std::time::Duration;

use chatwright_core::Json;
use chatwright_core::config::{ConfigKey, ConfigKind};
use chatwright_core::port::{ConfigWrite, ConfigWriter};
use futures::future::select;
use tokio::task::JoinSet;

use super::fixture::{Configs, key, number};
use crate::Subject;
use crate::wait::{all, within};

const WRITERS: usize = 64;

/// A write under this condition must be refused, tell the version, and change nothing.
async fn refused(configs: &Configs, key: &ConfigKey, expected: u64, value: Option<&Json>, what: &str) {
    let clause = configs.clause;
    let before = configs.read(key).await;
    let actual = before.as_ref().map_or(0, |row| row.version);
    let told = configs.write(key, expected, value).await;
    assert_eq!(told, ConfigWrite::Conflict(actual), "{clause}: {what}");
    assert_eq!(configs.read(key).await, before, "{clause}: {what}, and it changed the row");
}

/// Versions that a row of this version does not have.
fn others(version: u64) -> impl Iterator<Item = u64> {
    let beyond = [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX - 1, u64::MAX];
    let near = [0, 1, version.saturating_sub(1), version + 1, version + 7, 1 << 32];
    near.into_iter().chain(beyond).filter(move |other| *other != version)
}

pub(super) async fn f4_a_write_happens_only_at_the_expected_version(subject: &Subject<dyn ConfigWriter>) {
    const CLAUSE: &str = "config.F4";
    let configs = subject.configs(CLAUSE).await;
    let prefix = subject.prefix();
    let [model, provider] =
        [ConfigKind::Model, ConfigKind::Provider].map(|kind| key(kind, &format!("{prefix}.")));
    for expected in others(0) {
        refused(&configs, &model, expected, Some(&number(1)), "a write where there is no row").await;
    }
    assert_eq!(configs.all(model.kind(), &prefix).await, [], "{CLAUSE}: a refused write made a row");
    let mut row = configs.put(&model, 0, &number(2)).await;
    for round in 3..6 {
        for expected in others(row.version) {
            refused(&configs, &model, expected, Some(&number(1)), "a write at another version").await;
        }
        row = configs.put(&model, row.version, &number(round)).await;
        assert_eq!(configs.all(model.kind(), &prefix).await, [row.clone()], "{CLAUSE}: the list");
    }
    // The version of a row of the same id and another kind is another version.
    let mut other = configs.put(&provider, 0, &number(7)).await;
    while other.version == row.version {
        other = configs.put(&provider, other.version, &number(8)).await;
    }
    refused(&configs, &model, other.version, Some(&number(1)), "a write at the version of another kind")
        .await;
    refused(&configs, &provider, row.version, Some(&number(1)), "a write at the version of another kind")
        .await;
    assert_eq!(configs.read(&model).await, Some(row), "{CLAUSE}: the row of one kind");
    assert_eq!(configs.read(&provider).await, Some(other), "{CLAUSE}: the row of another");
    configs.clear([&model, &provider]).await;
}

pub(super) async fn f4_a_deletion_happens_only_at_the_expected_version(subject: &Subject<dyn ConfigWriter>) {
    const CLAUSE: &str = "config.F4";
    let configs = subject.configs(CLAUSE).await;
    let prefix = subject.prefix();
    let [key, other] = ["a", "b"].map(|end| key(ConfigKind::DefaultModel, &format!("{prefix}{end}")));
    for expected in others(0) {
        refused(&configs, &key, expected, None, "a deletion where there is no row").await;
    }
    let other = [configs.put(&other, 0, &number(1)).await];
    let mut row = configs.put(&key, 0, &number(2)).await;
    for round in 3..6 {
        for expected in others(row.version) {
            refused(&configs, &key, expected, None, "a deletion at another version").await;
        }
        row = configs.put(&key, row.version, &number(round)).await;
    }
    configs.delete(&key, row.version).await;
    refused(&configs, &key, row.version, None, "a deletion of what was deleted").await;
    refused(&configs, &key, row.version, Some(&number(6)), "a write of what was deleted").await;
    // There is none, as expected: nothing to do, also twice.
    for _ in 0..2 {
        configs.delete(&key, 0).await;
        assert_eq!(configs.read(&key).await, None, "{CLAUSE}: deleting nothing made a row");
    }
    assert_eq!(configs.all(key.kind(), &prefix).await, other, "{CLAUSE}: the list");
    configs.put(&key, 0, &number(7)).await;
    configs.clear([&key, &other[0].key]).await;
}

pub(super) async fn f4_sixty_four_writers_of_one_version_have_one_winner(
    subject: &Subject<dyn ConfigWriter>,
) {
    const CLAUSE: &str = "config.F4";
    let first = subject.configs(CLAUSE).await;
    let mut connections = vec![first.clone()];
    for _ in 1..4 {
        connections.push(subject.beside(&first).await);
    }
    let key = subject.key(ConfigKind::Model);
    let mut expected = 0;
    for round in 0..8 {
        let mut writers = JoinSet::new();
        for n in 0..WRITERS {
            let (configs, key) = (connections[n % connections.len()].clone(), key.clone());
            // Where there is a row, some delete it.
            let value = (expected == 0 || n % 8 < 6).then(|| number((round * WRITERS + n) as u64));
            writers.spawn(async move { (configs.write(&key, expected, value.as_ref()).await, value) });
        }
        let (lost, won): (Vec<_>, Vec<_>) = all(writers)
            .await
            .into_iter()
            .partition(|(outcome, _)| matches!(outcome, ConfigWrite::Conflict(_)));
        assert_eq!(won.len(), 1, "{CLAUSE}: {} of {WRITERS} writers won round {round}", won.len());
        let (outcome, value) = &won[0];
        let version = match (outcome, value) {
            (ConfigWrite::Written(version), Some(_)) => *version,
            (ConfigWrite::Absent, None) => 0,
            other => panic!("{CLAUSE}: the winner of round {round} is told {other:?}"),
        };
        for configs in &connections {
            let stored = configs.read(&key).await;
            let stored = stored.map_or((0, None), |row| (row.version, Some(row.value)));
            assert_eq!(stored, (version, value.clone()), "{CLAUSE}: the winner's row is stored");
        }
        for (outcome, _) in lost {
            assert_eq!(outcome, ConfigWrite::Conflict(version), "{CLAUSE}: what a loser is told");
        }
        expected = version;
    }
    first.clear([&key]).await;
}

pub(super) async fn f4_a_dropped_write_is_whole_or_absent_and_the_store_goes_on(
    subject: &Subject<dyn ConfigWriter>,
) {
    const CLAUSE: &str = "config.F4";
    let configs = subject.configs(CLAUSE).await;
    let keys = [subject.key(ConfigKind::Model), subject.key(ConfigKind::UserPrompt)];
    for (key, deletes) in keys.iter().zip([false, true]) {
        within(CLAUSE, "a write after a dropped write", configs.put(key, 0, &number(0))).await;
        let (mut tried, mut seen) = (vec![number(0)], BTreeMap::new());
        for round in 0..60 {
            let before = within(CLAUSE, "a read after a dropped write", configs.read(key)).await;
            let expected = before.as_ref().map_or(0, |row| row.version);
            let value = (!deletes || round % 3 != 2).then(|| number(round + 1));
            tried.extend(value.clone());
            drop_early(subject, &configs, key, expected, value, round % 2 == 0).await;
            // What was dropped may still happen, also after this.
            let row = within(CLAUSE, "a read after a dropped write", configs.read(key)).await;
            let Some(row) = row else {
                assert!(deletes, "{CLAUSE}: a dropped write removed its row");
                continue;
            };
            assert!(row.version >= expected, "{CLAUSE}: a dropped write turned the version back");
            assert!(tried.contains(&row.value), "{CLAUSE}: a dropped write left a part of itself");
            let first = seen.entry(row.version).or_insert_with(|| row.value.clone());
            assert_eq!(*first, row.value, "{CLAUSE}: version {} has two values", row.version);
        }
    }
    within(CLAUSE, "writes after a dropped write", configs.clear(&keys)).await;
    let probe = subject.key(ConfigKind::Provider);
    within(CLAUSE, "a write after a dropped write", configs.put(&probe, 0, &number(1))).await;
    configs.clear([&probe]).await;
}

/// A write that is dropped after some polls of its own, or after some time.
async fn drop_early(
    subject: &Subject<dyn ConfigWriter>,
    configs: &Configs,
    key: &ConfigKey,
    expected: u64,
    value: Option<Json>,
    polls: bool,
) {
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
    drop(select(configs.store.write_config(key, expected, value.as_ref()), end).await);
}
