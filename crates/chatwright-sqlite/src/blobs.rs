use std::sync::Arc;

use async_trait::async_trait;
use chatwright_core::limits::BLOB_BYTES_MAX;
use chatwright_core::port::{Blobs, StoreError};
use chatwright_core::{BlobRef, ChatId};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::SqliteStore;
use crate::columns::{blob as id, number};
use crate::writer::{Weight, stopped};

/// One blob of the largest size, or many small ones in one transaction.
pub(crate) const ROOM_BYTES: usize = BLOB_BYTES_MAX;

/// About how many bytes one transaction removes, so that commits get their turn in between.
const REMOVAL_BYTES: u64 = BLOB_BYTES_MAX as u64;

/// Upholds A1–A8. What a deletion removes is overwritten.
#[async_trait]
impl Blobs for SqliteStore {
    async fn put(&self, chat: ChatId, bytes: &[u8]) -> Result<BlobRef, StoreError> {
        StoreError::check_blob(bytes.len())?;
        let bytes: Arc<[u8]> = bytes.into();
        // The digest takes its time: not on a thread of the caller's runtime, nor on the one that writes.
        let read = Arc::clone(&bytes);
        let look = move |conn: &Connection| {
            let blob = BlobRef::of(chat, &read);
            Ok((has(conn, chat, &blob)?, blob))
        };
        let (is_there, blob) = self.read("looking for a blob", look).await?;
        if is_there {
            return Ok(blob);
        }
        let room = u32::try_from(bytes.len().max(1)).expect("a blob is much smaller");
        let room = self.0.blob_room.acquire_many(room).await;
        let _room = room.map_err(|_| stopped("the writer has stopped"))?;
        let (row, weight) = (blob.clone(), Weight::Bytes(bytes.len()));
        let act = move |conn: &Connection| insert(conn, chat, &row, &bytes);
        self.write("writing a blob", weight, act).await?;
        Ok(blob)
    }

    async fn get(&self, chat: ChatId, blob: &BlobRef) -> Result<Option<Vec<u8>>, StoreError> {
        let blob = blob.clone();
        self.read("reading a blob", move |conn| bytes(conn, chat, &blob)).await
    }

    async fn delete_chat(&self, chat: ChatId) -> Result<(), StoreError> {
        // Each round but the last removes something, and nobody puts into a chat that is being deleted.
        while !self.write("deleting blobs", Weight::Purge, move |conn| remove(conn, chat)).await? {}
        Ok(())
    }
}

pub(crate) const HAS: &str = "SELECT 1 FROM blob WHERE chat = ?1 AND ref = ?2";

fn has(conn: &Connection, chat: ChatId, blob: &BlobRef) -> rusqlite::Result<bool> {
    conn.prepare_cached(HAS)?.exists(params![id(chat.as_uuid()), blob.as_str()])
}

fn insert(conn: &Connection, chat: ChatId, blob: &BlobRef, bytes: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO blob (chat, ref, bytes) VALUES (?1, ?2, ?3) ON CONFLICT (chat, ref) DO NOTHING";
    conn.prepare_cached(sql)?.execute(params![id(chat.as_uuid()), blob.as_str(), bytes])?;
    Ok(())
}

fn bytes(conn: &Connection, chat: ChatId, blob: &BlobRef) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut query = conn.prepare_cached("SELECT bytes FROM blob WHERE chat = ?1 AND ref = ?2")?;
    query.query_row(params![id(chat.as_uuid()), blob.as_str()], |row| row.get(0)).optional()
}

pub(crate) const OF_CHAT: &str = "SELECT id, length(bytes) FROM blob WHERE chat = ?1";

/// Removes some blobs of the chat; whether those were all.
fn remove(conn: &Connection, chat: ChatId) -> rusqlite::Result<bool> {
    let (mut removed, mut all) = (Vec::new(), true);
    let mut query = conn.prepare_cached(OF_CHAT)?;
    let (mut rows, mut bytes) = (query.query([id(chat.as_uuid())])?, 0);
    while let Some(row) = rows.next()? {
        if bytes >= REMOVAL_BYTES {
            all = false;
            break;
        }
        removed.push(row.get::<_, i64>(0)?);
        bytes += number(row, 1)?;
    }
    let mut delete = conn.prepare_cached("DELETE FROM blob WHERE id = ?1")?;
    for blob in removed {
        delete.execute([blob])?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use chatwright_core::port::ChatStore as _;
    use tokio::task::{JoinSet, yield_now};

    use super::*;
    use crate::kit::{chat, commit, run};

    #[test]
    fn a_commit_waits_for_one_blob_of_the_largest_size_and_not_for_all_that_are_put() {
        let folder = tempfile::tempdir().expect("the set-up holds");
        let path = folder.path().join("chats.db");
        run(async {
            let store = SqliteStore::open(&path).expect("the set-up holds");
            // While somebody else writes, everything waits.
            let other = Connection::open(&path).expect("the set-up holds");
            other.execute_batch("BEGIN IMMEDIATE").expect("the set-up holds");
            let done = Arc::new(AtomicUsize::new(0));
            let mut puts = JoinSet::new();
            for n in 0..12 {
                let (store, done) = (store.clone(), Arc::clone(&done));
                puts.spawn(async move {
                    let bytes = vec![n; ROOM_BYTES / 2];
                    store.put(chat(1), &bytes).await.expect("the set-up holds");
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
            while store.0.blob_room.available_permits() > 0 {
                yield_now().await;
            }
            let first = commit(chat(1), None, &[10]);
            let committed = store.commit(&first);
            futures::pin_mut!(committed);
            assert!(futures::poll!(&mut committed).is_pending());
            drop(other);
            committed.await.expect("the set-up holds");
            // Two were before it; one more may have been answered in its transaction.
            assert!(done.load(Ordering::SeqCst) <= 3, "{} blobs came first", done.load(Ordering::SeqCst));
            while puts.join_next().await.is_some() {}
            assert_eq!(done.load(Ordering::SeqCst), 12);
            store.delete_chat(chat(1)).await.expect("the set-up holds");
            let rows = |conn: &Connection| conn.query_row("SELECT count(*) FROM blob", [], |row| row.get(0));
            let rows: i64 = store.read("counting", rows).await.expect("the set-up holds");
            assert_eq!(rows, 0);
        });
    }
}
