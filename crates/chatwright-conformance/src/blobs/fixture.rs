//! Blobs for the clauses.

use std::sync::Arc;

use chatwright_core::port::{Blobs, Ids, StoreError};
use chatwright_core::{BlobRef, ChatId, Uuid};

use crate::Subject;

/// A connection whose every unexpected answer is a panic that names the clause.
#[derive(Clone)]
pub(super) struct Shelf {
    pub clause: &'static str,
    pub store: Arc<dyn Blobs>,
}

impl Subject<dyn Blobs> {
    pub(super) async fn shelf(&self, clause: &'static str) -> Shelf {
        Shelf { clause, store: self.connect().await }
    }

    /// A connection beside this one, or this one if another would be to another store.
    pub(super) async fn beside(&self, shelf: &Shelf) -> Shelf {
        if self.is_volatile() { shelf.clone() } else { self.shelf(shelf.clause).await }
    }

    /// A new connection to what the old one left, unless nothing is left.
    pub(super) async fn reconnect(&self, old: Shelf) -> Shelf {
        if self.is_volatile() {
            return old;
        }
        let clause = old.clause;
        drop(old);
        self.shelf(clause).await
    }

    pub(super) fn chat(&self) -> ChatId {
        ChatId::mint(&self.ids)
    }

    /// Chats whose ids differ in one bit from one that nobody else has.
    pub(super) fn alike(&self) -> Vec<ChatId> {
        let id = self.ids.uuid().as_u128();
        [0, 1, 1 << 64, 1 << 127].map(|bit| ChatId::from_uuid(Uuid::from_u128(id ^ bit))).into()
    }

    /// Bytes like no others.
    pub(super) fn bytes(&self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.chance.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

impl Shelf {
    fn answer<T>(&self, answer: Result<T, StoreError>) -> T {
        answer.unwrap_or_else(|error| panic!("{}: the store does not answer: {error}", self.clause))
    }

    pub(super) async fn put(&self, chat: ChatId, bytes: &[u8]) -> BlobRef {
        self.answer(self.store.put(chat, bytes).await)
    }

    pub(super) async fn get(&self, chat: ChatId, blob: &BlobRef) -> Option<Vec<u8>> {
        self.answer(self.store.get(chat, blob).await)
    }

    pub(super) async fn delete(&self, chat: ChatId) {
        self.answer(self.store.delete_chat(chat).await);
    }

    /// The blob is there, with these bytes.
    pub(super) async fn opens(&self, chat: ChatId, blob: &BlobRef, bytes: &[u8], what: &str) {
        let clause = self.clause;
        let found = self.get(chat, blob).await;
        let found = found.unwrap_or_else(|| panic!("{clause}: {what}: there is no such blob"));
        let (some, least) = (&found[..found.len().min(80)], &bytes[..bytes.len().min(80)]);
        let sizes = format!("{} bytes for {}", found.len(), bytes.len());
        assert!(found == bytes, "{clause}: {what}: {sizes}: {some:?} for {least:?}");
    }

    /// Nothing is there.
    pub(super) async fn is_absent(&self, chat: ChatId, blob: &BlobRef, what: &str) {
        let found = self.get(chat, blob).await.map(|bytes| bytes.len());
        assert_eq!(found, None, "{}: {what}: it opens, as so many bytes", self.clause);
    }
}
