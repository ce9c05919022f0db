//! F3: the walk over the pages.

use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::{ConfigWriter, StoreErrorKind};

use super::fixture::{Configs, key, number};
use crate::Subject;

/// In another order for whoever compares characters, UTF-16, numbers or words of a language.
const ENDS: [&str; 28] = [
    " ", "!", "%", "-", ".", "0", "1", "10", "2", "9", "A", "AA", "Aa", "B", "Z", "_", "a", "aA", "a\u{0}",
    "b", "e\u{301}", "z", "\u{7f}", "é", "ß", "\u{fffd}", "😀", "😀a",
];

pub(super) async fn f3_pages_of_any_size_ascend_by_the_bytes_of_the_id(subject: &Subject<dyn ConfigWriter>) {
    const CLAUSE: &str = "config.F3";
    let configs = subject.configs(CLAUSE).await;
    let (kind, prefix) = (ConfigKind::Model, subject.prefix());
    let rows = write_shuffled(subject, &configs, kind, &prefix).await;
    for limit in (1..=rows.len() + 1).chain([PAGE_ITEMS_MAX]) {
        assert_eq!(configs.listed(kind, &prefix, limit).await, rows, "{CLAUSE}: pages of {limit}");
    }
    // Whatever stands between two rows is a place to go on from.
    for (n, row) in rows.iter().enumerate() {
        let after = format!("{}\u{0}\u{0}", row.key.id());
        let next: Vec<ConfigRow> =
            rows.iter().filter(|row| row.key.id() > &*after).take(1).cloned().collect();
        let mut page = configs.page(kind, Some(&after), 1).await;
        page.retain(|row| row.key.id().starts_with(&prefix));
        assert_eq!(page, next, "{CLAUSE}: after what is no id, behind row {n}");
    }
    configs.clear_rows(&rows).await;
}

/// Writes a row for each of [`ENDS`], not in their order, and gives them ascending.
async fn write_shuffled(
    subject: &Subject<dyn ConfigWriter>,
    configs: &Configs,
    kind: ConfigKind,
    prefix: &str,
) -> Vec<ConfigRow> {
    let mut ends = ENDS.to_vec();
    let mut rows = Vec::new();
    while !ends.is_empty() {
        let end = ends.swap_remove(subject.chance.below(ends.len() as u64) as usize);
        rows.push(configs.put(&key(kind, &format!("{prefix}{end}")), 0, &number(rows.len() as u64)).await);
    }
    rows.sort_unstable_by(|a, b| a.key.id().as_bytes().cmp(b.key.id().as_bytes()));
    rows
}

pub(super) async fn f3_the_empty_id_is_listed_first(subject: &Subject<dyn ConfigWriter>) {
    const CLAUSE: &str = "config.F3";
    let configs = subject.configs(CLAUSE).await;
    let (kind, prefix) = (ConfigKind::DefaultModel, subject.prefix());
    let (empty, own) = configs.empty(kind).await;
    let keys: Vec<ConfigKey> = (0..3).map(|n| key(kind, &format!("{prefix}{n}"))).collect();
    let mut rows = Vec::new();
    for key in &keys {
        rows.push(configs.put(key, 0, &number(2)).await);
    }
    for limit in [1, 2, PAGE_ITEMS_MAX] {
        let page = configs.page(kind, None, limit).await;
        assert_eq!(page.first(), Some(&empty), "{CLAUSE}: the first of a page of {limit}");
    }
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = configs.page(kind, Some(&after), PAGE_ITEMS_MAX).await;
        let full = page.len() == PAGE_ITEMS_MAX;
        found.extend(page);
        let Some(last) = found.last() else { break };
        after = last.key.id().to_owned();
        if !full {
            break;
        }
    }
    found.retain(|row| row.key.id().is_empty() || keys.contains(&row.key));
    assert_eq!(found, rows, "{CLAUSE}: the list after the empty id");
    configs.clear(&keys).await;
    if own {
        configs.clear([&empty.key]).await;
    }
}

pub(super) async fn f3_a_row_that_rests_is_listed_once_while_others_change(
    subject: &Subject<dyn ConfigWriter>,
) {
    const CLAUSE: &str = "config.F3";
    let configs = subject.configs(CLAUSE).await;
    let beside = subject.beside(&configs).await;
    for limit in 1..=4 {
        let (kind, prefix) = (ConfigKind::Provider, subject.prefix());
        let keys: Vec<ConfigKey> = (10..34).map(|n| key(kind, &format!("{prefix}{n}"))).collect();
        let (moving, resting): (Vec<_>, Vec<_>) = keys.iter().enumerate().partition(|(n, _)| n % 3 == 0);
        let mut expected = Vec::new();
        for (_, key) in &moving {
            configs.put(key, 0, &number(0)).await;
        }
        for (n, key) in resting {
            expected.push(configs.put(key, 0, &number(n as u64)).await);
        }
        let (mut found, mut after) = (Vec::new(), prefix.clone());
        loop {
            let page = configs.page(kind, Some(&after), limit).await;
            let own: Vec<_> = page.into_iter().filter(|row| row.key.id().starts_with(&prefix)).collect();
            let Some(last) = own.last().cloned() else { break };
            last.key.id().clone_into(&mut after);
            found.extend(own);
            // Where the walk stands a row goes. Before and behind it some go, some come back, some have another value.
            if moving.iter().any(|(_, key)| **key == last.key) {
                beside.delete(&last.key, last.version).await;
            }
            for _ in 0..3 {
                let (_, key) = moving[subject.chance.below(moving.len() as u64) as usize];
                match beside.version(key).await {
                    0 => drop(beside.put(key, 0, &number(1)).await),
                    version if subject.chance.percent(70) => beside.delete(key, version).await,
                    version => drop(beside.put(key, version, &number(2)).await),
                }
            }
        }
        found.retain(|row| moving.iter().all(|(_, key)| row.key != **key));
        assert_eq!(found, expected, "{CLAUSE}: rows that rest, walked in pages of {limit}");
        configs.clear(&keys).await;
    }
}

pub(super) async fn f3_a_page_has_its_bounds(subject: &Subject<dyn ConfigWriter>) {
    const CLAUSE: &str = "config.F3";
    let configs = subject.configs(CLAUSE).await;
    let prefix = subject.prefix();
    for after in [None, Some(&*prefix)] {
        for limit in [0, PAGE_ITEMS_MAX + 1] {
            let refused = configs.store.configs(ConfigKind::UserPrompt, after, limit).await;
            let refused = refused.map_err(|error| error.kind());
            assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: a page of {limit} is refused");
        }
    }
}
