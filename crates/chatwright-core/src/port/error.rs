use std::error::Error;
use std::fmt;

/// A store could not answer. On a read, nothing is known; on a write, the outcome is unknown.
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
    /// The caller broke a bound of the port, for example a page that is too large.
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
