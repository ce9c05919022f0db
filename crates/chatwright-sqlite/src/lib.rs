//! The storage ports of Chatwright over SQLite: chats, sessions, the directory, the configuration, blobs and the ledger in one
//! file, and debug runs in another one beside it, for one machine.
//!
//! One thread writes. It takes what waits in its queue into one transaction, with a savepoint for each commit, so that
//! all of them share one sync of the disk, and answers when that transaction is durable. A few threads read. The file
//! is a database in WAL mode that any SQLite tool opens; the view `records` shows the logs.
//!
//! ```
//! use chatwright_core::head::{HeadDraft, Index, State};
//! use chatwright_core::port::ChatStore as _;
//! use chatwright_core::record::{Body, Draft, MessageUser};
//! use chatwright_core::{ChatId, Commit, MessageId, OpId, Seq, Timestamp, UserId, Uuid, content::Part};
//! use chatwright_sqlite::SqliteStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("chats.db");
//! let store = SqliteStore::open(&path)?;
//!
//! let (chat, op, message) = (ChatId::from_uuid(Uuid::from_u128(1)), OpId::from_uuid(Uuid::from_u128(2)), Uuid::from_u128(3));
//! let now = Timestamp::from_millis(1_700_000_000_000);
//! let hello = Body::MessageUser(MessageUser::new(MessageId::from_uuid(message), vec![Part::text("Hello")]));
//! let head = HeadDraft::at_rest(Index::new(UserId::new("ada")?, now), &State::default())?;
//! store.commit(&Commit::create(chat, head, vec![Draft::first(op, now, &hello)?])?).await?;
//!
//! let records = store.records(chat, Seq::ZERO, 100).await?;
//! assert_eq!(records[0].op(), Some(op));
//! # Ok(())
//! # }
//! ```

mod blobs;
mod chats;
mod check;
mod columns;
mod configs;
mod debug;
mod debug_file;
mod directory;
mod error;
mod ledger;
mod open;
mod options;
mod readers;
mod schema;
mod sessions;
mod writer;

#[cfg(test)]
#[path = "../tests/kit/mod.rs"]
mod kit;
#[cfg(test)]
mod plans;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chatwright_core::port::StoreError;
use rusqlite::Connection;
use tokio::sync::Semaphore;

pub use check::Damage;
pub use options::{SqliteOptions, Synchronous};

use debug_file::DebugFile;
use readers::Readers;
use writer::{Weight, Writer};

/// Chats, sessions, the directory, the configuration, blobs and the ledger in one SQLite file, and debug runs beside it.
///
/// It is [`ChatStore`](chatwright_core::port::ChatStore) (S1–S14),
/// [`SessionStore`](chatwright_core::port::SessionStore) (N1–N5),
/// [`ChatDirectory`](chatwright_core::port::ChatDirectory) (C1–C3),
/// [`ConfigStore`](chatwright_core::port::ConfigStore) and [`ConfigWriter`](chatwright_core::port::ConfigWriter) (F1–F6),
/// [`Blobs`](chatwright_core::port::Blobs) (A1–A8), [`Ledger`](chatwright_core::port::Ledger) (G1–G9), and
/// [`DebugStore`](chatwright_core::port::DebugStore) (D1–D15). Several processes of one machine may open the same file; a network
/// file system is no place for it. The store's clock is the machine's.
///
/// Debug runs are in a file of their own, `chats.db-debug` beside `chats.db`: no commit waits for them. It is created when the
/// first run is, and may be removed while nobody has it open. A loss of power may take what was last written to it, a killed
/// process loses nothing. A purge of a chat leaves its runs: delete them first.
///
/// Cloning is cheap and gives another handle. When the last one is dropped, what waits is finished first and the file
/// is closed, which blocks the thread that drops it: normally for milliseconds.
///
/// A purge (S14) overwrites what it removes and empties the write-ahead log. If somebody reads at that moment, the log
/// is emptied after a later write, or when the file is closed. Rows of the ledger stay (G9).
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

/// Fields are dropped in this order: the connection that is closed last has to be one that may write.
struct Inner {
    readers: Readers,
    writer: Writer,
    /// Bytes of blobs that may wait to be written: a commit never waits for more than these.
    blob_room: Semaphore,
    debug: DebugFile,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens a file with the default [`SqliteOptions`], and creates it if it is absent or empty. Its folder must exist.
    ///
    /// It blocks the calling thread while it reads the disk, and up to the
    /// [busy timeout](SqliteOptions::busy_timeout) if another process is just creating the file: call it at start-up.
    ///
    /// # Errors
    /// The message names the file and the cause, and the file is left as it was. The kind is
    /// [`Foreign`](chatwright_core::port::StoreErrorKind::Foreign) for what another program wrote and for what is no
    /// database or no file, [`Newer`](chatwright_core::port::StoreErrorKind::Newer) for a file of a newer version,
    /// [`Corrupt`](chatwright_core::port::StoreErrorKind::Corrupt) for a damaged one,
    /// [`Unavailable`](chatwright_core::port::StoreErrorKind::Unavailable) if it cannot be read or written,
    /// [`Full`](chatwright_core::port::StoreErrorKind::Full) and [`Busy`](chatwright_core::port::StoreErrorKind::Busy)
    /// if it can be neither created nor brought up to date, and
    /// [`Invalid`](chatwright_core::port::StoreErrorKind::Invalid) for an empty path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        SqliteOptions::new(path).open()
    }

    fn open_with(options: &SqliteOptions) -> Result<Self, StoreError> {
        let (path, conn) = open::writer(options, &schema::CHATS)?;
        let readers = (0..options.readers).map(|_| open::reader(&path, options));
        let readers = Readers::start(readers.collect::<Result<_, _>>()?)?;
        let writer = Writer::start(conn, options.busy_timeout, options.group_max)?;
        let blob_room = Semaphore::new(blobs::ROOM_BYTES);
        let debug = DebugFile::beside(&path, options);
        Ok(Self(Arc::new(Inner { readers, writer, blob_room, debug, path })))
    }

    /// Looks for damage: in the file, and in the logs, which have to be dense. Nothing found means sound. At most 100
    /// findings are given.
    ///
    /// It reads the whole file on one of the reader threads, while the write-ahead log grows with what is written
    /// meanwhile: for operators, at a quiet hour.
    ///
    /// # Errors
    /// [`Corrupt`](chatwright_core::port::StoreErrorKind::Corrupt) if the file is damaged too badly to be looked at;
    /// otherwise what the storage reports.
    ///
    /// # Cancel safety
    /// Cancel-safe: it only reads. A check that has begun runs to its end.
    pub async fn check(&self) -> Result<Vec<Damage>, StoreError> {
        self.read("checking the file", check::check).await
    }

    /// How many write transactions this store has committed since it was opened. With grouping they are fewer than the
    /// commits.
    pub fn transactions(&self) -> u64 {
        self.0.writer.transactions()
    }

    async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.readers.read(what, look).await
    }

    async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        weight: Weight,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.writer.write(what, weight, act).await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteStore").field(&self.0.path).finish()
    }
}
