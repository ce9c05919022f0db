use std::error::Error;
use std::fmt;

use crate::limits;
use crate::text::TooLarge;

/// A store could not answer. On a read, nothing is known; on a write, the outcome is unknown unless the
/// [kind](StoreErrorKind) says otherwise.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: Box<str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What to do about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store cannot be reached or is shutting down. Try again later.
    Unavailable,
    /// It is locked by others for too long. Try again soon.
    Busy,
    /// It has no room: disk full, quota met. Somebody must make room.
    Full,
    /// Its data is damaged. Somebody must repair or restore it.
    Corrupt,
    /// What is there belongs to another program.
    Foreign,
    /// What is there was written by a newer version of this program.
    Newer,
    /// The caller broke a bound of the port, for example a page that is too large. Nothing was done.
    Invalid,
    /// None of the others.
    Other,
}

impl StoreError {
    /// An error of this kind. The message says what happened, without secrets and without contents.
    pub fn new(kind: StoreErrorKind, message: impl Into<Box<str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Adds why it happened.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// `Err` iff a page of so many items is not one of 1 to [`PAGE_ITEMS_MAX`](limits::PAGE_ITEMS_MAX).
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`].
    pub fn check_page(items: usize) -> Result<(), Self> {
        if (1..=limits::PAGE_ITEMS_MAX).contains(&items) {
            return Ok(());
        }
        let message = format!("a page of {items} items: 1 to {} are allowed", limits::PAGE_ITEMS_MAX);
        Err(Self::new(StoreErrorKind::Invalid, message))
    }

    /// `Err` iff a question about so many chats is over [`REVISIONS_MAX`](limits::REVISIONS_MAX).
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`].
    pub fn check_revisions(chats: usize) -> Result<(), Self> {
        TooLarge::check("question", chats, limits::REVISIONS_MAX, "chats")
            .map_err(|error| Self::new(StoreErrorKind::Invalid, error.to_string()))
    }

    /// What to do about it.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}
