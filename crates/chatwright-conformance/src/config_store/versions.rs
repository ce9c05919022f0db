//! F5: versions.

use chatwright_core::config::{ConfigKind, ConfigRow};
use chatwright_core::port::{ConfigWrite, ConfigWriter};

use super::fixture::number;
use crate::Subject;

pub(super) async fn f5_versions_grow_across_deletions(subject: &Subject<dyn ConfigWriter>) {
    const CLAUSE: &str = "config.F5";
    let mut configs = subject.configs(CLAUSE).await;
    let key = subject.key(ConfigKind::UserPrompt);
    let (mut highest, mut row): (u64, Option<ConfigRow>) = (0, None);
    for round in 0..24 {
        let version = row.as_ref().map_or(0, |row| row.version);
        if round % 4 == 3 {
            configs.delete(&key, version).await;
            row = None;
        } else {
            let written = configs.put(&key, version, &number(round)).await;
            let next = written.version;
            assert!(next > highest, "{CLAUSE}: write {round} is version {next} after {highest}");
            (highest, row) = (next, Some(written));
        }
        assert_eq!(configs.read(&key).await, row, "{CLAUSE}: the row after round {round}");
        if round % 8 > 5 {
            configs = subject.reconnect(configs).await;
        }
    }
    configs.clear([&key]).await;
}

pub(super) async fn f5_a_version_from_before_a_deletion_never_matches_again(
    subject: &Subject<dyn ConfigWriter>,
) {
    const CLAUSE: &str = "config.F5";
    let mut configs = subject.configs(CLAUSE).await;
    let key = subject.key(ConfigKind::Provider);
    let mut old: Vec<u64> = Vec::new();
    for life in 1..=3 {
        let mut version = 0;
        for round in 0..=life {
            let row = configs.put(&key, version, &number(life * 10 + round)).await;
            version = row.version;
            for &stale in &old {
                for value in [Some(&number(666)), None] {
                    let told = configs.write(&key, stale, value).await;
                    assert_eq!(
                        told,
                        ConfigWrite::Conflict(version),
                        "{CLAUSE}: version {stale} of an earlier life"
                    );
                }
            }
            assert_eq!(configs.read(&key).await, Some(row), "{CLAUSE}: the row of life {life}");
            old.push(version);
        }
        old.retain(|&stale| stale != version);
        configs.delete(&key, version).await;
        old.push(version);
        configs = subject.reconnect(configs).await;
    }
}
