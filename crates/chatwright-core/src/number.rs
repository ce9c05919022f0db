//! Counters. They order things; ids never do.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Nothing yet: below every number in use.
            pub const ZERO: Self = Self(0);

            /// The number with this value.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The value.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The number after this one. It stays at the largest value instead of wrapping round.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// The position of a record in its chat: 1, 2, 3 …, dense. The only order of a chat.
    Seq
}
counter! {
    /// How many commits a chat has had. `+1` per commit.
    Revision
}
counter! {
    /// One streamed unit of a turn: a model attempt, a compaction or a tool batch. Never reset within a chat.
    Gen
}
counter! {
    /// The fencing token of a chat: `+1` whenever the chat is claimed or freed.
    Epoch
}
