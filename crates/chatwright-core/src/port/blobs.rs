use async_trait::async_trait;

use super::{StoreError, StoreErrorKind};
use crate::text::TooLarge;
use crate::{BlobRef, ChatId, limits};

/// Where a chat keeps what is too large for its records; optional. Whoever refers to a blob in a commit has put it before.
///
/// | # | promise |
/// |---|---|
/// | A1 | **Faithful.** The bytes come back as they were put, whatever they are. |
/// | A2 | **Durable** after `Ok`: whoever asks from then on gets them, also after reopening. A store without durability says so. |
/// | A3 | **Scoped.** A reference opens what its own chat has put, and nothing of another chat, whoever knows it. |
/// | A4 | **Idempotent.** The same bytes, put into a chat again, are the same blob under the same reference; other bytes have another. |
/// | A5 | **Gone.** After `delete_chat` nothing opens that the chat has put, and nothing else has changed. It may be repeated. |
/// | A6 | **Bounded.** A blob over [`BLOB_BYTES_MAX`](limits::BLOB_BYTES_MAX) is refused, and nothing changes. |
/// | A7 | **Cancel-safe.** A dropped `put` leaves the blob whole or not at all, and the store usable. |
/// | A8 | **Honest.** `None` means that there is no such blob; what cannot be read now is an error. |
///
/// # Cancel safety
/// A dropped `put` or `delete_chat` may or may not have happened, the latter also in part. Both may be repeated.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Keeps these bytes for the chat, whether there is such a chat or not.
    ///
    /// # Errors
    /// What the storage reports: whether they are kept is then unknown. [`StoreErrorKind::Invalid`] above
    /// [`BLOB_BYTES_MAX`](limits::BLOB_BYTES_MAX) bytes: they are not.
    async fn put(&self, chat: ChatId, bytes: &[u8]) -> Result<BlobRef, StoreError>;

    /// What the chat has put under this reference. Text that no `put` gave is a reference like any other: it opens nothing.
    ///
    /// # Errors
    /// What the storage reports.
    async fn get(&self, chat: ChatId, blob: &BlobRef) -> Result<Option<Vec<u8>>, StoreError>;

    /// Removes everything that the chat has put.
    ///
    /// A host that purges a chat calls this before [`ChatStore::purge`](super::ChatStore::purge), while the log still tells
    /// whose blobs there are, and once more afterwards if the chat was running: its holder may have put something in between.
    ///
    /// # Errors
    /// What the storage reports: some of it may be gone. It may be repeated.
    async fn delete_chat(&self, chat: ChatId) -> Result<(), StoreError>;
}

impl StoreError {
    /// `Err` iff so many bytes are over [`BLOB_BYTES_MAX`](limits::BLOB_BYTES_MAX).
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`].
    pub fn check_blob(bytes: usize) -> Result<(), Self> {
        TooLarge::check_bytes("blob", bytes, limits::BLOB_BYTES_MAX)
            .map_err(|error| Self::new(StoreErrorKind::Invalid, error.to_string()))
    }
}
