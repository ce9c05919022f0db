use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use async_trait::async_trait;
use chatwright_core::Json;
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow};
use chatwright_core::port::{ConfigStore, ConfigWrite, ConfigWriter, StoreError};
use parking_lot::Mutex;

/// The configuration in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryConfigs(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    rows: BTreeMap<ConfigKind, BTreeMap<Box<str>, ConfigRow>>,
    /// The last version that was given to any row, so that one that comes back has another (F5).
    version: u64,
}

impl MemoryConfigs {
    /// Nothing is configured.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl ConfigStore for MemoryConfigs {
    async fn config(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, StoreError> {
        Ok(self.0.lock().rows.get(&key.kind()).and_then(|rows| rows.get(key.id())).cloned())
    }

    async fn configs(
        &self,
        kind: ConfigKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ConfigRow>, StoreError> {
        StoreError::check_page(limit)?;
        let table = self.0.lock();
        let Some(rows) = table.rows.get(&kind) else { return Ok(Vec::new()) };
        let from = after.map_or(Unbounded, Excluded);
        Ok(rows.range::<str, _>((from, Unbounded)).take(limit).map(|(_, row)| row.clone()).collect())
    }
}

#[async_trait]
impl ConfigWriter for MemoryConfigs {
    async fn write_config(
        &self,
        key: &ConfigKey,
        expected: u64,
        value: Option<&Json>,
    ) -> Result<ConfigWrite, StoreError> {
        value.map_or(Ok(()), StoreError::check_config)?;
        let Table { rows, version } = &mut *self.0.lock();
        let rows = rows.entry(key.kind()).or_default();
        let actual = rows.get(key.id()).map_or(0, |row| row.version);
        if actual != expected {
            return Ok(ConfigWrite::Conflict(actual));
        }
        let Some(value) = value else {
            rows.remove(key.id());
            return Ok(ConfigWrite::Absent);
        };
        *version += 1;
        let row = ConfigRow { key: key.clone(), version: *version, value: value.clone() };
        rows.insert(key.id().into(), row);
        Ok(ConfigWrite::Written(*version))
    }
}
