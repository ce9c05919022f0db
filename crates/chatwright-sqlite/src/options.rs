use std::path::{Path, PathBuf};
use std::time::Duration;

use chatwright_core::port::StoreError;

use crate::SqliteStore;

/// How a [`SqliteStore`] is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    pub(crate) path: PathBuf,
    pub(crate) readers: usize,
    pub(crate) busy_timeout: Duration,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) synchronous: Synchronous,
    pub(crate) group_max: usize,
}

/// When a commit is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// Once the disk has it (S4). One sync for each transaction, which all commits of a group share.
    #[default]
    Full,
    /// Once the operating system has it: faster, and weaker than S4. A killed process loses nothing, but a loss of power
    /// may take the last commits. What is left is whole and in order.
    Normal,
}

impl SqliteOptions {
    /// Most reader threads.
    pub const READERS_MAX: usize = 64;

    /// The defaults, for this file: two readers, five seconds of patience, no quota, [`Synchronous::Full`], up to 64
    /// commits in a transaction.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            readers: 2,
            busy_timeout: Duration::from_secs(5),
            max_bytes: None,
            synchronous: Synchronous::default(),
            group_max: 64,
        }
    }

    /// How many threads read at once: 1 to [`READERS_MAX`](Self::READERS_MAX); other numbers become the nearest of these.
    #[must_use]
    pub fn readers(mut self, count: usize) -> Self {
        self.readers = count.clamp(1, Self::READERS_MAX);
        self
    }

    /// How long to wait for another process that has locked the file, to the millisecond, before the call fails with
    /// [`Busy`](chatwright_core::port::StoreErrorKind::Busy).
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Most bytes of the database file, and as many again of the one with debug runs, rounded down to pages of 4,096 bytes. A write that would need more fails with
    /// [`Full`](chatwright_core::port::StoreErrorKind::Full). A file that is larger already does not grow further. The
    /// write-ahead log beside it is not counted: it takes about 4 MiB, and more while a long read or a large purge runs.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// When a commit is answered. Debug runs are always written as [`Synchronous::Normal`] says.
    #[must_use]
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// How many waiting writes one transaction takes, at least 1; 1 means no grouping.
    #[must_use]
    pub fn group_max(mut self, count: usize) -> Self {
        self.group_max = count.max(1);
        self
    }

    /// Opens the file, as [`SqliteStore::open`] does.
    ///
    /// # Errors
    /// Those of [`SqliteStore::open`].
    pub fn open(self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open_with(&self)
    }
}
