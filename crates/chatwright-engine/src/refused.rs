use chatwright_core::head::Status;
use chatwright_core::record::InvalidRecord;
use chatwright_core::text::TooLarge;
use chatwright_core::{InvalidCommit, Seq};

/// A command that was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The chat's status does not allow it.
    #[error("the chat is {}, and this needs it to be {}", status.as_str(), names(expected))]
    State {
        /// The status.
        status: Status,
        /// Those that would allow it.
        expected: Vec<Status>,
    },
    /// The chat is archived.
    #[error("the chat is archived")]
    Archived,
    /// The chat is not archived, and its family is not being archived.
    #[error("the chat is not archived, and its family is not being archived")]
    NotArchived,
    /// The queue holds as many messages as it may.
    #[error("the queue is full: it holds {max} messages")]
    QueueFull {
        /// The bound.
        max: usize,
    },
    /// There is no such chat, or it was purged.
    #[error("there is no such {what}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// The input is malformed.
    #[error("{what}")]
    Invalid {
        /// What is wrong and where.
        what: String,
    },
    /// Something is over its bound.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The client key was used for something else.
    #[error("the client key was used before with another body")]
    KeyReused,
    /// A chat of this id exists.
    #[error("a chat of this id exists")]
    Exists,
    /// Too many others change the chat at the same time. Try again.
    #[error("too many others change the chat at the same time")]
    Busy,
    /// A newer version of the program wrote the chat.
    #[error("a newer version of the program wrote the chat")]
    NewerVersion,
}

fn names(statuses: &[Status]) -> String {
    statuses.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(" or ")
}

/// Why a step was not made.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// The command is refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The command was done before: its receipt is in the record at this position.
    #[error("the command was done before, by record {0}")]
    Replayed(Seq),
    /// The worker's event belongs to something that is over. Nothing is committed, and its effect is cancelled.
    #[error("the input is stale")]
    Stale,
    /// The step needs a record that the history does not hold. Fold it, and try again.
    #[error("record {0} is needed")]
    Missing(Seq),
    /// The step needs all records from this one on. Fold them, and try again.
    #[error("the history from record {0} on is needed")]
    History(Seq),
    /// A record would be over its bound, or does not encode.
    #[error(transparent)]
    Record(#[from] InvalidRecord),
    /// The commit would be over its bound.
    #[error(transparent)]
    Commit(#[from] InvalidCommit),
    /// The head would be over its bound.
    #[error(transparent)]
    Head(#[from] chatwright_core::head::InvalidHead),
}
