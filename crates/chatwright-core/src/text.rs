//! Bounded text: what the host brings and stores keep in indexed columns.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Something is larger than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is too large: {actual} {unit}, at most {max}")]
pub struct TooLarge {
    /// What is too large, for example `"record body"`.
    pub what: &'static str,
    /// Its size.
    pub actual: usize,
    /// The bound.
    pub max: usize,
    /// What is counted: `"bytes"`, `"entries"` or `"characters"`.
    pub unit: &'static str,
}

impl TooLarge {
    /// `Err` iff `actual` bytes are more than `max`.
    ///
    /// # Errors
    /// The sizes, if the bound does not hold.
    pub fn check_bytes(what: &'static str, actual: usize, max: usize) -> Result<(), Self> {
        Self::check(what, actual, max, "bytes")
    }

    /// `Err` iff `actual` of a unit are more than `max`.
    ///
    /// # Errors
    /// The sizes, if the bound does not hold.
    pub fn check(what: &'static str, actual: usize, max: usize, unit: &'static str) -> Result<(), Self> {
        if actual <= max { Ok(()) } else { Err(Self { what, actual, max, unit }) }
    }
}

macro_rules! host_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "Box<str>", into = "Box<str>")]
        pub struct $name(Box<str>);

        impl $name {
            /// The host's own identifier, as it is.
            ///
            /// # Errors
            /// [`TooLarge`] above [`limits::ID_BYTES_MAX`] bytes.
            pub fn new(text: impl Into<Box<str>>) -> Result<Self, TooLarge> {
                let text = text.into();
                TooLarge::check_bytes($what, text.len(), limits::ID_BYTES_MAX)?;
                Ok(Self(text))
            }

            /// The identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<Box<str>> for $name {
            type Error = TooLarge;

            fn try_from(text: Box<str>) -> Result<Self, TooLarge> {
                Self::new(text)
            }
        }

        impl From<$name> for Box<str> {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

host_id! {
    /// The host's identifier of a user: at most [`limits::ID_BYTES_MAX`] bytes of any text.
    UserId, "user id"
}
host_id! {
    /// The host's identifier of an organization: at most [`limits::ID_BYTES_MAX`] bytes of any text.
    OrganizationId, "organization id"
}
