use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use chatwright_core::port::StoreError;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::failed;
use crate::writer::stopped;

/// Most reads that wait. Further callers wait for room.
const QUEUE_MAX: usize = 1024;

/// A few threads that read, each with its own connection, from one queue.
pub(crate) struct Readers {
    queue: Option<mpsc::Sender<Read>>,
    threads: Vec<JoinHandle<()>>,
}

type Read = Box<dyn FnOnce(&Connection) + Send>;

impl Readers {
    pub(crate) fn start(connections: Vec<Connection>) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut readers = Self { queue: Some(queue), threads: Vec::new() };
        for (number, conn) in (1..).zip(connections) {
            let jobs = Arc::clone(&jobs);
            let thread = thread::Builder::new()
                .name(format!("chatwright-sqlite-reader-{number}"))
                .spawn(move || run(&conn, &jobs))
                .map_err(|error| stopped("a reader thread does not start").because(error))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Runs `look` on one of the connections.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, outcome) = oneshot::channel();
        let job: Read = Box::new(move |conn| {
            if !answer.is_closed() {
                // The caller may have been dropped since.
                drop(answer.send(look(conn)));
            }
        });
        let queue = self.queue.as_ref().expect("the queue is there until drop");
        queue.send(job).await.map_err(|_| stopped("the readers have stopped"))?;
        let result = outcome.await.map_err(|_| stopped("the read was abandoned"))?;
        result.map_err(|error| failed(what, error))
    }
}

impl Drop for Readers {
    /// Lets the threads finish what waits and close their connections.
    fn drop(&mut self) {
        drop(self.queue.take());
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// One thread waits in the queue, the others wait for its place.
fn run(conn: &Connection, jobs: &Mutex<mpsc::Receiver<Read>>) {
    let next = || jobs.lock().blocking_recv();
    while let Some(job) = next() {
        // A read that panics takes neither its thread nor its connection with it: its caller is told, and a read
        // leaves nothing half done.
        drop(catch_unwind(AssertUnwindSafe(|| job(conn))));
    }
}
