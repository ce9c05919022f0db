//! F1: a read gives what was answered.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chatwright_core::Json;
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow};
use chatwright_core::port::ConfigWriter;
use tokio::task::JoinSet;

use super::fixture::{key, number};
use crate::Subject;
use crate::wait::all;

/// How often each reader reads beside a writer, at least, and how many versions it sees.
const READS: usize = 100;
const VERSIONS: usize = 16;

pub(super) async fn f1_a_read_after_a_write_was_answered_gives_it(subject: &Subject<dyn ConfigWriter>) {
    const CLAUSE: &str = "config.F1";
    let configs = subject.configs(CLAUSE).await;
    let beside = subject.beside(&configs).await;
    let mut tasks = JoinSet::new();
    for kind in [ConfigKind::Provider, ConfigKind::Model, ConfigKind::UserPrompt] {
        let prefix = subject.prefix();
        let (key, connections) = (key(kind, &format!("{prefix}.")), [configs.clone(), beside.clone()]);
        tasks.spawn(async move {
            let mut row: Option<ConfigRow> = None;
            for round in 0..16 {
                let writer = &connections[round % 2];
                let expected = row.as_ref().map_or(0, |row| row.version);
                if round % 5 == 4 {
                    writer.delete(&key, expected).await;
                    row = None;
                } else {
                    row = Some(writer.put(&key, expected, &number(round as u64)).await);
                }
                for (reader, whose) in connections.iter().zip(["the first", "the second"]) {
                    let read = reader.read(&key).await;
                    assert_eq!(read, row, "{CLAUSE}: write {round}, read by {whose} connection");
                    let listed = reader.all(kind, &prefix).await;
                    assert_eq!(
                        listed.first(),
                        row.as_ref(),
                        "{CLAUSE}: write {round}, listed by {whose} connection"
                    );
                }
            }
            connections[0].clear([&key]).await;
        });
    }
    all(tasks).await;
}

pub(super) async fn f1_a_read_beside_a_writer_gives_the_last_answer_or_a_later_write(
    subject: &Subject<dyn ConfigWriter>,
) {
    const CLAUSE: &str = "config.F1";
    let configs = subject.configs(CLAUSE).await;
    let beside = subject.beside(&configs).await;
    let key = subject.key(ConfigKind::Model);
    let mut row = configs.put(&key, 0, &number(0)).await;
    let answered = Arc::new(AtomicU64::new(row.version));
    let mut readers = JoinSet::new();
    for reader in [configs.clone(), beside] {
        let (key, answered) = (key.clone(), Arc::clone(&answered));
        readers.spawn(async move {
            let mut seen: BTreeMap<u64, Json> = BTreeMap::new();
            let mut reads = 0;
            while reads < READS || seen.len() < VERSIONS {
                reads += 1;
                let before = answered.load(Ordering::Acquire);
                let row = reader.read(&key).await;
                let row = row.unwrap_or_else(|| panic!("{CLAUSE}: a row is gone while it is replaced"));
                assert!(row.version >= before, "{CLAUSE}: version {} after {before}", row.version);
                let first = seen.entry(row.version).or_insert_with(|| row.value.clone());
                assert_eq!(*first, row.value, "{CLAUSE}: version {} has two values", row.version);
                tokio::task::yield_now().await;
            }
            seen
        });
    }
    let mut written = BTreeMap::from([(row.version, row.value)]);
    let mut seen = Vec::new();
    for round in 1.. {
        row = configs.put(&key, row.version, &number(round)).await;
        answered.store(row.version, Ordering::Release);
        written.insert(row.version, row.value);
        tokio::task::yield_now().await;
        while let Some(reader) = readers.try_join_next() {
            seen.extend(reader.unwrap_or_else(|error| resume_unwind(error.into_panic())));
        }
        if readers.is_empty() {
            break;
        }
    }
    for (version, value) in seen {
        assert_eq!(written.get(&version), Some(&value), "{CLAUSE}: version {version} was never written");
    }
    configs.clear([&key]).await;
}

pub(super) async fn f1_what_was_answered_survives_reopening(subject: &Subject<dyn ConfigWriter>) {
    const CLAUSE: &str = "config.F1";
    if subject.is_volatile() {
        println!("{CLAUSE}: not checked, the store says that it is volatile");
        return;
    }
    let prefix = subject.prefix();
    let kind = ConfigKind::Provider;
    let keys: Vec<ConfigKey> = (0..4).map(|n| key(kind, &format!("{prefix}{n}"))).collect();
    let mut rows: BTreeMap<ConfigKey, ConfigRow> = BTreeMap::new();
    for round in 0..4 {
        let configs = subject.configs(CLAUSE).await;
        let expected: Vec<ConfigRow> = rows.values().cloned().collect();
        assert_eq!(configs.all(kind, &prefix).await, expected, "{CLAUSE}: round {round}: the list");
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(configs.read(key).await.as_ref(), rows.get(key), "{CLAUSE}: round {round}: a row");
            let version = rows.get(key).map_or(0, |row| row.version);
            if n == round {
                configs.delete(key, version).await;
                rows.remove(key);
            } else {
                let row = configs.put(key, version, &number((round * 10 + n) as u64)).await;
                rows.insert(key.clone(), row);
            }
        }
    }
    let configs = subject.configs(CLAUSE).await;
    let expected: Vec<ConfigRow> = rows.into_values().collect();
    assert_eq!(configs.all(kind, &prefix).await, expected, "{CLAUSE}: the last writes before reopening");
    configs.clear(&keys).await;
}
