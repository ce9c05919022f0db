//! References to what is too large for a record.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::text::TooLarge;
use crate::{ChatId, limits};

/// Names what a chat put into [`Blobs`](crate::port::Blobs); the text of [`FileData::Blob`](crate::content::FileData::Blob).
/// Its form is the store's own: at most [`ID_BYTES_MAX`](limits::ID_BYTES_MAX) bytes of any text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef(Box<str>);

impl BlobRef {
    /// The reference with this text.
    ///
    /// # Errors
    /// [`TooLarge`] above [`ID_BYTES_MAX`](limits::ID_BYTES_MAX) bytes.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, TooLarge> {
        let text = text.into();
        TooLarge::check_bytes("blob reference", text.len(), limits::ID_BYTES_MAX)?;
        Ok(Self(text))
    }

    /// The reference that the bundled stores give: SHA-256 over the chat's id and the bytes, in lower-case hexadecimal. The id
    /// is part of it, so that nobody can tell from two references that two chats have the same content.
    pub fn of(chat: ChatId, bytes: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(chat.as_uuid().as_bytes()).chain_update(bytes).finalize();
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("half a byte is a digit");
        Self(digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>().into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<BlobRef> for Box<str> {
    fn from(blob: BlobRef) -> Self {
        blob.0
    }
}

impl fmt::Display for BlobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_reference_depends_on_chat_and_bytes_and_never_changes() {
        let chat = |n| ChatId::from_uuid(Uuid::from_u128(n));
        let refs = [(1, ""), (1, "a"), (2, "a")].map(|(n, bytes)| BlobRef::of(chat(n), bytes.as_bytes()));
        assert_eq!(refs[1].as_str(), "ee9273da54f2dc9e4a125eff796dbbe7ec16507bd075018a68cea4d1dc34ef84");
        assert!(refs[0] != refs[1] && refs[1] != refs[2] && refs[0] != refs[2]);
        assert!(BlobRef::new("x".repeat(64)).is_ok() && BlobRef::new("x".repeat(65)).is_err());
    }
}
