//! Rows of the configuration for the clauses.

use std::sync::Arc;

use chatwright_core::Json;
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::{ConfigWrite, ConfigWriter, Ids, StoreError};

use crate::Subject;

/// A connection whose every unexpected answer is a panic that names the clause.
#[derive(Clone)]
pub(super) struct Configs {
    pub clause: &'static str,
    pub store: Arc<dyn ConfigWriter>,
}

impl Subject<dyn ConfigWriter> {
    pub(super) async fn configs(&self, clause: &'static str) -> Configs {
        Configs { clause, store: self.connect().await }
    }

    /// A connection beside this one, or this one if another would be to another store.
    pub(super) async fn beside(&self, configs: &Configs) -> Configs {
        if self.is_volatile() { configs.clone() } else { self.configs(configs.clause).await }
    }

    /// A new connection to what the old one left, unless nothing is left.
    pub(super) async fn reconnect(&self, old: Configs) -> Configs {
        if self.is_volatile() {
            return old;
        }
        let clause = old.clause;
        drop(old);
        self.configs(clause).await
    }

    /// With what nobody else's ids begin, and what is no id itself. 28 bytes may follow.
    pub(super) fn prefix(&self) -> String {
        format!("kit {}", self.ids.uuid().simple())
    }

    pub(super) fn key(&self, kind: ConfigKind) -> ConfigKey {
        key(kind, &format!("{}.", self.prefix()))
    }
}

pub(super) fn key(kind: ConfigKind, id: &str) -> ConfigKey {
    ConfigKey::new(kind, id).expect("a short id")
}

pub(super) fn json(text: impl Into<Arc<str>>) -> Json {
    Json::parse(text).expect("the kit writes JSON")
}

/// A value like no other.
pub(super) fn number(n: u64) -> Json {
    json(format!("{{\"n\":[{n},{n},{n}]}}"))
}

impl Configs {
    fn answer<T>(&self, answer: Result<T, StoreError>) -> T {
        answer.unwrap_or_else(|error| panic!("{}: the store does not answer: {error}", self.clause))
    }

    pub(super) async fn read(&self, key: &ConfigKey) -> Option<ConfigRow> {
        let row = self.answer(self.store.config(key).await);
        if let Some(row) = &row {
            assert_eq!(row.key, *key, "{}: the row of another key", self.clause);
        }
        row
    }

    pub(super) async fn version(&self, key: &ConfigKey) -> u64 {
        self.read(key).await.map_or(0, |row| row.version)
    }

    pub(super) async fn write(&self, key: &ConfigKey, expected: u64, value: Option<&Json>) -> ConfigWrite {
        self.answer(self.store.write_config(key, expected, value).await)
    }

    /// Writes what must be accepted and gives the row.
    pub(super) async fn put(&self, key: &ConfigKey, expected: u64, value: &Json) -> ConfigRow {
        match self.write(key, expected, Some(value)).await {
            ConfigWrite::Written(version) => ConfigRow { key: key.clone(), version, value: value.clone() },
            other => panic!("{}: a write at the stored version {expected}: {other:?}", self.clause),
        }
    }

    pub(super) async fn delete(&self, key: &ConfigKey, expected: u64) {
        let deleted = self.write(key, expected, None).await;
        let clause = self.clause;
        assert_eq!(deleted, ConfigWrite::Absent, "{clause}: a deletion at the stored version {expected}");
    }

    pub(super) async fn page(&self, kind: ConfigKind, after: Option<&str>, limit: usize) -> Vec<ConfigRow> {
        let page = self.answer(self.store.configs(kind, after, limit).await);
        let clause = self.clause;
        assert!(page.len() <= limit, "{clause}: a page of {limit} has {}", page.len());
        let mut last = after;
        for row in &page {
            assert_eq!(row.key.kind(), kind, "{clause}: a list of another kind");
            assert!(
                last.is_none_or(|last| last.as_bytes() < row.key.id().as_bytes()),
                "{clause}: not ascending by the bytes of the id, or not after the page before"
            );
            last = Some(row.key.id());
        }
        page
    }

    /// The rows whose ids begin with a prefix, in pages of `limit`. A page that is not full is the last.
    pub(super) async fn listed(&self, kind: ConfigKind, prefix: &str, limit: usize) -> Vec<ConfigRow> {
        let mut found: Vec<ConfigRow> = Vec::new();
        loop {
            let after = found.last().map_or(prefix, |row| row.key.id()).to_owned();
            let page = self.page(kind, Some(&after), limit).await;
            let full = page.len() == limit;
            let own = page.into_iter().take_while(|row| row.key.id().starts_with(prefix));
            let before = found.len();
            found.extend(own);
            if !full || found.len() < before + limit {
                return found;
            }
        }
    }

    pub(super) async fn all(&self, kind: ConfigKind, prefix: &str) -> Vec<ConfigRow> {
        self.listed(kind, prefix, PAGE_ITEMS_MAX).await
    }

    /// The row of the empty id, and whether it is the test's own: another one is left alone.
    pub(super) async fn empty(&self, kind: ConfigKind) -> (ConfigRow, bool) {
        let key = key(kind, "");
        let own = matches!(self.write(&key, 0, Some(&number(1))).await, ConfigWrite::Written(_));
        let row = self.read(&key).await;
        (row.unwrap_or_else(|| panic!("{}: the empty id has no row", self.clause)), own)
    }

    /// Leaves nothing in a shared database.
    pub(super) async fn clear(&self, keys: impl IntoIterator<Item = &ConfigKey>) {
        for key in keys {
            let mut version = self.version(key).await;
            // A write that was given up may still come in between.
            while let ConfigWrite::Conflict(actual) = self.write(key, version, None).await {
                assert_ne!(actual, version, "{}: a conflict at the stored version", self.clause);
                version = actual;
            }
        }
    }

    pub(super) async fn clear_rows(&self, rows: &[ConfigRow]) {
        for row in rows {
            self.clear([&row.key]).await;
        }
    }
}
