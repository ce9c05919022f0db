use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;

use crate::seed::{Chance, KitIds};

/// The implementation under test, and what a test needs beside it.
pub struct Subject<P: ?Sized> {
    connect: Connect<P>,
    scratch: Scratch,
    volatile: bool,
    writer_memory: bool,
    /// New ids.
    pub ids: KitIds,
    /// Chance, seeded and printed.
    pub chance: Chance,
}

/// Connects to the implementation. The folder is the test's own.
pub type Connect<P> = Box<dyn Fn(PathBuf) -> BoxFuture<'static, Arc<P>> + Send + Sync>;

impl<P: ?Sized> Subject<P> {
    /// A subject that is connected to like this.
    pub fn new(connect: Connect<P>) -> Self {
        Self {
            connect,
            scratch: Scratch::new(),
            volatile: false,
            writer_memory: false,
            ids: KitIds::new(),
            chance: Chance::from_env(),
        }
    }

    /// A subject that keeps nothing: each connection begins empty.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Whether each connection begins empty.
    pub fn is_volatile(&self) -> bool {
        self.volatile
    }

    /// A live log in the memory of its writer, which is fenced by the writer itself and not by epochs (`live.L3`).
    #[must_use]
    pub fn writer_memory(mut self) -> Self {
        self.writer_memory = true;
        self
    }

    /// Whether it is a live log in the memory of its writer.
    pub fn is_writer_memory(&self) -> bool {
        self.writer_memory
    }

    /// Connects. Clauses drop one connection before they make the next, unless they say otherwise.
    pub async fn connect(&self) -> Arc<P> {
        (self.connect)(self.scratch.path().to_owned()).await
    }
}

/// A folder of a test's own, removed at the end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder under the system's folder for temporary files.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let unique = Chance::from_random().next();
        let path =
            std::env::temp_dir().join(format!("chatwright-{}-{count}-{unique:016x}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to the system; the test's verdict does not depend on it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
