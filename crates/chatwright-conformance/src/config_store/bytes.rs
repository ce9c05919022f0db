//! F2, F6: values and ids are bytes, and have their bounds.

use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow};
use chatwright_core::limits::{CONFIG_BYTES_MAX, ID_BYTES_MAX};
use chatwright_core::port::{ConfigWriter, StoreErrorKind};

use super::fixture::{Configs, json, key, number};
use crate::Subject;

pub(super) async fn f2_values_come_back_byte_for_byte(subject: &Subject<dyn ConfigWriter>) {
    const CLAUSE: &str = "config.F2";
    let mut configs = subject.configs(CLAUSE).await;
    let prefix = subject.prefix();
    let largest = text(CONFIG_BYTES_MAX);
    let values = [
        " {\"b\" : 1,\"a\":2,\n\t\"a\":3 } \n",
        r#"{"":[1.0,1e2,-0,10000000000000000000000001,0.1000]}"#,
        r#""\u0000 \u00e9 \ud83d\ude00 \/ \b""#,
        "\"é e\u{301} 😀 \u{7f} \u{feff} \u{2028}\"",
        r#"["it's","\"quoted\"","%s","$1","?1","\\"]"#,
        "null",
        "\"\"",
        "false",
        "{}",
        &*largest,
    ];
    let mut rows: Vec<ConfigRow> = Vec::new();
    for (n, value) in values.into_iter().enumerate() {
        let key = key(ConfigKind::Advisor, &format!("{prefix}{n:02}"));
        // Every other one replaces a row, which may go another way than a new one.
        let mut version = 0;
        if n % 2 == 1 {
            version = configs.put(&key, 0, &number(7)).await.version;
        }
        rows.push(configs.put(&key, version, &json(value)).await);
    }
    for _ in 0..2 {
        for row in &rows {
            let read = configs.read(&row.key).await;
            assert!(read.as_ref() == Some(row), "{CLAUSE}: {} came back as {}", words(Some(row)), {
                words(read.as_ref())
            });
        }
        let listed = configs.all(ConfigKind::Advisor, &prefix).await;
        for (listed, row) in listed.iter().zip(&rows) {
            assert!(listed == row, "{CLAUSE}: {} is listed as {}", words(Some(row)), words(Some(listed)));
        }
        assert_eq!(listed, rows, "{CLAUSE}: the list");
        configs = subject.reconnect(configs).await;
    }
    configs.clear_rows(&rows).await;
}

/// A JSON string of so many bytes, most of them in characters of two.
fn text(bytes: usize) -> String {
    format!("\"{}{}\"", "x".repeat(bytes % 2), "ß".repeat((bytes - 2) / 2))
}

fn words(row: Option<&ConfigRow>) -> String {
    match row {
        Some(row) => row.value.as_str().chars().take(80).collect(),
        None => "no row".to_owned(),
    }
}

pub(super) async fn f2_ids_are_compared_byte_for_byte(subject: &Subject<dyn ConfigWriter>) {
    const CLAUSE: &str = "config.F2";
    let configs = subject.configs(CLAUSE).await;
    let (kind, prefix) = (ConfigKind::UserPrompt, subject.prefix());
    // Equal to one another for whoever ignores case, trims, normalises, cuts, or takes a pattern for an id.
    let ends = [
        "a", "A", "a ", " a", "a\n", "a%", "a_", "%", "_", "*", "'", "''", "\"", "\\", "\\%", "a/b", "é",
        "e\u{301}", "e", "ß", "ss", "ı", "i", "😀", "😁", "0", "00", "0.0", "a\u{0}", "a\u{0}b",
    ];
    let longest = |last: char| format!("{}{last}", "y".repeat(ID_BYTES_MAX - prefix.len() - 1));
    let ends = ends.map(str::to_owned).into_iter().chain([longest('1'), longest('2')]);
    let mut rows = Vec::new();
    for (n, end) in ends.enumerate() {
        let key = key(kind, &format!("{prefix}{end}"));
        assert_eq!(configs.read(&key).await, None, "{CLAUSE}: the id {end:?} is that of another row");
        rows.push(configs.put(&key, 0, &number(n as u64)).await);
    }
    every_row_is_its_own(&configs, &rows).await;
    // What is done to one is done to no other.
    for n in (0..rows.len()).step_by(3) {
        rows[n] = configs.put(&rows[n].key, rows[n].version, &number(1_000 + n as u64)).await;
    }
    every_row_is_its_own(&configs, &rows).await;
    let (empty, own) = configs.empty(kind).await;
    every_row_is_its_own(&configs, &rows).await;
    if own {
        let empty = configs.put(&empty.key, empty.version, &number(2_000)).await;
        every_row_is_its_own(&configs, std::slice::from_ref(&empty)).await;
        configs.delete(&empty.key, empty.version).await;
        assert_eq!(configs.read(&empty.key).await, None, "{CLAUSE}: the deleted row of the empty id");
        every_row_is_its_own(&configs, &rows).await;
    }
    while let Some(row) = rows.pop() {
        configs.delete(&row.key, row.version).await;
        assert_eq!(configs.read(&row.key).await, None, "{CLAUSE}: a deleted row");
        if rows.len() % 8 == 0 {
            every_row_is_its_own(&configs, &rows).await;
        }
    }
}

async fn every_row_is_its_own(configs: &Configs, rows: &[ConfigRow]) {
    for row in rows {
        let read = configs.read(&row.key).await;
        assert_eq!(read.as_ref(), Some(row), "{}: the row of {:?}", configs.clause, row.key.id());
    }
}

pub(super) async fn f2_kinds_do_not_mix(subject: &Subject<dyn ConfigWriter>) {
    const CLAUSE: &str = "config.F2";
    let configs = subject.configs(CLAUSE).await;
    let prefix = subject.prefix();
    let keys = ConfigKind::ALL.map(|kind| key(kind, &format!("{prefix}.")));
    let mut rows: Vec<ConfigRow> = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(configs.read(key).await, None, "{CLAUSE}: {key} is the row of another kind");
        rows.push(configs.put(key, 0, &number(n as u64)).await);
        every_kind_has(&configs, &prefix, &keys, &rows).await;
    }
    for n in 0..rows.len() {
        rows[n] = configs.put(&keys[n], rows[n].version, &number(100 + n as u64)).await;
        every_kind_has(&configs, &prefix, &keys, &rows).await;
    }
    while let Some(row) = rows.pop() {
        configs.delete(&row.key, row.version).await;
        every_kind_has(&configs, &prefix, &keys, &rows).await;
    }
}

/// These rows, and none of the other kinds.
async fn every_kind_has(configs: &Configs, prefix: &str, keys: &[ConfigKey], rows: &[ConfigRow]) {
    let clause = configs.clause;
    for key in keys {
        let row = rows.iter().find(|row| row.key == *key);
        assert_eq!(configs.read(key).await.as_ref(), row, "{clause}: the row {key}");
        let listed = configs.all(key.kind(), prefix).await;
        assert_eq!(listed, row.cloned().into_iter().collect::<Vec<_>>(), "{clause}: the list of {key}");
    }
}

pub(super) async fn f6_a_value_over_its_bound_is_refused_and_changes_nothing(
    subject: &Subject<dyn ConfigWriter>,
) {
    const CLAUSE: &str = "config.F6";
    let mut configs = subject.configs(CLAUSE).await;
    let (kind, prefix) = (ConfigKind::UserPrompt, subject.prefix());
    let [new, present] = ["a", "b"].map(|end| key(kind, &format!("{prefix}{end}")));
    let row = configs.put(&present, 0, &json(text(CONFIG_BYTES_MAX))).await;
    for bytes in [CONFIG_BYTES_MAX + 1, CONFIG_BYTES_MAX * 3] {
        let over = json(text(bytes));
        for (key, expected) in [(&new, 0), (&present, row.version)] {
            let refused = configs.store.write_config(key, expected, Some(&over)).await;
            let refused = refused.map_err(|error| error.kind());
            assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: a value of {bytes} bytes");
        }
        assert_eq!(configs.read(&new).await, None, "{CLAUSE}: what was refused left a row");
        assert_eq!(
            configs.read(&present).await.as_ref(),
            Some(&row),
            "{CLAUSE}: what was refused changed one"
        );
        configs = subject.reconnect(configs).await;
    }
    assert_eq!(configs.all(kind, &prefix).await, [row], "{CLAUSE}: the list after what was refused");
    // And it goes on at the same versions.
    configs.put(&new, 0, &number(1)).await;
    configs.clear([&new, &present]).await;
}
