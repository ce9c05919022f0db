use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use chatwright_core::limits::DEBUG_WRITE_BYTES_MAX;
use chatwright_core::port::StoreError;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{OnceCell, Semaphore, oneshot};

use crate::open;
use crate::options::{SqliteOptions, Synchronous};
use crate::readers::Readers;
use crate::schema;
use crate::writer::{Weight, Writer, stopped};

/// What is appended to the path of the chats.
const SUFFIX: &str = "-debug";

/// Bytes of writes that may wait.
const ROOM_BYTES: usize = 4 * DEBUG_WRITE_BYTES_MAX;

/// The file of the debug runs beside that of the chats, with a writer and a reader of its own, so that no commit ever waits
/// for its lock, its transactions or its syncs. It is opened when it is first used, and created when something is first
/// written.
pub(crate) struct DebugFile {
    options: SqliteOptions,
    opened: OnceCell<Opened>,
    room: Semaphore,
    /// Threads that open it: more than one only where callers were dropped meanwhile.
    openers: Mutex<Vec<JoinHandle<()>>>,
}

/// Fields are dropped in this order: the connection that is closed last has to be one that may write.
struct Opened {
    readers: Readers,
    writer: Writer,
}

/// Why it is not open.
enum Unopened {
    /// There is no such file, and nothing to be written to it.
    Absent,
    Failed(StoreError),
}

impl DebugFile {
    /// Beside these chats. Nothing is opened yet.
    pub(crate) fn beside(chats: &Path, options: &SqliteOptions) -> Self {
        // A loss of power may take the last rows (D10), and a chat's sync has no other to wait for.
        let options = SqliteOptions {
            path: path(chats),
            readers: 1,
            synchronous: Synchronous::Normal,
            ..options.clone()
        };
        let (opened, room) = (OnceCell::new(), Semaphore::new(ROOM_BYTES));
        Self { options, opened, room, openers: Mutex::default() }
    }

    /// Runs `look`, or gives `absent` where there is no file.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        absent: T,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.open(false).await? {
            Some(file) => file.readers.read(what, look).await,
            None => Ok(absent),
        }
    }

    /// Runs `act` in a transaction, or gives `absent` where there is no file.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        what: &'static str,
        weight: Weight,
        absent: T,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.open(false).await? {
            Some(file) => file.writer.write(what, weight, act).await,
            None => Ok(absent),
        }
    }

    /// Runs `act`, which brings so many bytes, in a transaction. A file that is absent is created.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        bytes: usize,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = self.open(true).await?.ok_or_else(|| stopped("the debug file has gone"))?;
        let room = u32::try_from(bytes.max(1)).expect("a call brings a few MiB");
        let _room = self.room.acquire_many(room).await.map_err(|_| stopped("the writer has stopped"))?;
        file.writer.write(what, Weight::Bytes(bytes), act).await
    }

    async fn open(&self, create: bool) -> Result<Option<&Opened>, StoreError> {
        match self.opened.get_or_try_init(|| self.opening(create)).await {
            Ok(file) => Ok(Some(file)),
            Err(Unopened::Absent) => Ok(None),
            Err(Unopened::Failed(error)) => Err(error),
        }
    }

    /// It reads the disk, and may wait for another process: not on a thread of the caller's runtime, nor on one that a chat
    /// waits for.
    async fn opening(&self, create: bool) -> Result<Opened, Unopened> {
        let (answer, outcome) = oneshot::channel();
        let options = self.options.clone();
        let opener = thread::Builder::new()
            .name("chatwright-sqlite-debug-opener".to_owned())
            // The caller may have been dropped.
            .spawn(move || drop(answer.send(open(&options, create))))
            .map_err(|error| {
                Unopened::Failed(
                    stopped("the thread that opens the debug file does not start").because(error),
                )
            })?;
        {
            let mut openers = self.openers.lock();
            openers.retain(|opener| !opener.is_finished());
            openers.push(opener);
        }
        outcome
            .await
            .unwrap_or_else(|_| Err(Unopened::Failed(stopped("opening the debug file was abandoned"))))
    }
}

impl Drop for DebugFile {
    fn drop(&mut self) {
        for opener in self.openers.get_mut().drain(..) {
            // A panic has been reported by its hook, and by an error to its caller.
            drop(opener.join());
        }
    }
}

/// Beside the file that a symbolic link leads to, where SQLite keeps its log too: whoever opens the chats under another name
/// finds the same runs.
fn path(chats: &Path) -> PathBuf {
    let mut path = fs::canonicalize(chats).unwrap_or_else(|_| chats.to_owned()).into_os_string();
    path.push(SUFFIX);
    path.into()
}

fn open(options: &SqliteOptions, create: bool) -> Result<Opened, Unopened> {
    let is_absent = || {
        let found = fs::symlink_metadata(&options.path);
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    if !create && is_absent() {
        return Err(Unopened::Absent);
    }
    let all = || {
        let (path, conn) = open::writer(options, &schema::DEBUG)?;
        let readers = (0..options.readers).map(|_| open::reader(&path, options));
        let readers = Readers::start(readers.collect::<Result<_, _>>()?)?;
        let writer = Writer::start(conn, options.busy_timeout, options.group_max)?;
        Ok(Opened { readers, writer })
    };
    all().map_err(Unopened::Failed)
}
