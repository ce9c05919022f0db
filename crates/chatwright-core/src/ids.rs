//! Identifiers: version 7 UUIDs minted by [`Ids`], never by a database and never used for order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::port::Ids;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id.
            pub fn mint(ids: &(impl Ids + ?Sized)) -> Self {
                Self(ids.uuid())
            }

            /// The id with this value. Callers may bring their own.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The value.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id! {
    /// One conversation.
    ChatId
}
id! {
    /// One message. The preview of an answer and the stored message share it.
    MessageId
}
id! {
    /// One process that runs chats.
    SessionId
}
id! {
    /// One input (a command or a worker's event), kept through every retry of it.
    OpId
}
id! {
    /// One queued message.
    QueueId
}
id! {
    /// One run that a debug recorder wrote down.
    RunId
}
id! {
    /// One step of such a run.
    StepId
}
