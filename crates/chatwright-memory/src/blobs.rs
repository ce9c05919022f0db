use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chatwright_core::port::{Blobs, StoreError};
use chatwright_core::{BlobRef, ChatId};
use parking_lot::Mutex;

/// Blobs in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryBlobs(Arc<Mutex<BTreeMap<ChatId, Table>>>);

type Table = BTreeMap<BlobRef, Vec<u8>>;

impl MemoryBlobs {
    /// Nothing is kept.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put(&self, chat: ChatId, bytes: &[u8]) -> Result<BlobRef, StoreError> {
        StoreError::check_blob(bytes.len())?;
        let blob = BlobRef::of(chat, bytes);
        self.0.lock().entry(chat).or_default().entry(blob.clone()).or_insert_with(|| bytes.to_vec());
        Ok(blob)
    }

    async fn get(&self, chat: ChatId, blob: &BlobRef) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().get(&chat).and_then(|blobs| blobs.get(blob)).cloned())
    }

    async fn delete_chat(&self, chat: ChatId) -> Result<(), StoreError> {
        self.0.lock().remove(&chat);
        Ok(())
    }
}
