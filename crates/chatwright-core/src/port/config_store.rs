use async_trait::async_trait;

use super::{StoreError, StoreErrorKind};
use crate::config::{ConfigKey, ConfigKind, ConfigRow};
use crate::text::TooLarge;
use crate::{Json, limits};

/// Where the configuration is read. A host that has tables of its own implements this over them, and publishes an
/// invalidation after each write of theirs.
///
/// | # | promise |
/// |---|---|
/// | F1 | **Fresh.** A read that starts after a write was answered gives what it wrote, or what was written later, also after reopening. A store without durability says so. |
/// | F2 | **Faithful.** Values come back byte for byte; keys are compared byte for byte, and kinds do not mix. |
/// | F3 | **Listed.** Every row of the kind, ascending by the bytes of its id; walking the pages gives a row that does not change exactly once. |
///
/// # Cancel safety
/// Cancel-safe: it only reads.
#[async_trait]
pub trait ConfigStore: Send + Sync + 'static {
    /// The row of this key.
    ///
    /// # Errors
    /// What the storage reports.
    async fn config(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, StoreError>;

    /// The rows of a kind whose ids are greater than `after`, at most `limit`: 1 to
    /// [`PAGE_ITEMS_MAX`](limits::PAGE_ITEMS_MAX). Fewer than `limit` mean that there are no more.
    ///
    /// # Errors
    /// What the storage reports; [`StoreErrorKind::Invalid`] for another `limit`.
    async fn configs(
        &self,
        kind: ConfigKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ConfigRow>, StoreError>;
}

/// Where the configuration is written. Who reads through a cache writes through `chatwright-config`'s `ConfigAdmin`, which
/// tells the caches.
///
/// | # | promise |
/// |---|---|
/// | F4 | **Conditional.** A write happens, whole, iff the stored version is the expected one; a conflict changes nothing. Among concurrent writes with one expected version exactly one happens. |
/// | F5 | **Growing.** The versions of a key only grow, also across a deletion. |
/// | F6 | **Bounded.** A value over [`CONFIG_BYTES_MAX`](limits::CONFIG_BYTES_MAX) is refused, and nothing changes. |
///
/// # Cancel safety
/// A dropped write may or may not have happened, whole. The store stays usable.
#[async_trait]
pub trait ConfigWriter: ConfigStore {
    /// Replaces the row of this key, or deletes it if there is no value.
    ///
    /// `expected` is the version that the row must have; 0: there must be none. Deleting a row that is not there, with
    /// `expected` 0, changes nothing and is [`ConfigWrite::Absent`].
    ///
    /// # Errors
    /// What the storage reports: whether it was written is then unknown. [`StoreErrorKind::Invalid`] for a value over its
    /// bound: nothing was written.
    async fn write_config(
        &self,
        key: &ConfigKey,
        expected: u64,
        value: Option<&Json>,
    ) -> Result<ConfigWrite, StoreError>;
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigWrite {
    /// The row has this version now.
    Written(u64),
    /// There is no such row now.
    Absent,
    /// Nothing was written: the row has this version, 0 if there is none.
    Conflict(u64),
}

impl StoreError {
    /// `Err` iff a value of the configuration is over [`CONFIG_BYTES_MAX`](limits::CONFIG_BYTES_MAX).
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`].
    pub fn check_config(value: &Json) -> Result<(), Self> {
        TooLarge::check_bytes("config value", value.len(), limits::CONFIG_BYTES_MAX)
            .map_err(|error| Self::new(StoreErrorKind::Invalid, error.to_string()))
    }
}
