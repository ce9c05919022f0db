//! Records: what a chat's log is made of.
//!
//! A stored body is JSON: `{"op": …, "at": …, "data": {…}}`. `op` stands in the first record of each commit, `at` is
//! store time in milliseconds, and `data` is what the [kind](Kind) says. Stores keep kind and body as they are.
//! Readers accept every published version of a kind for ever; each has a golden file in `golden/`.

mod body;
mod kind;

pub use body::*;
pub use chatwright_error::{ErrorInfo, RetryEvent};
pub use kind::{InvalidKind, Kind};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::Json;
use crate::limits;
use crate::number::Seq;
use crate::text::TooLarge;
use crate::{OpId, Timestamp};

/// One entry of a chat's log. It never changes.
///
/// It can be serialised whole, for stores that keep it so: the body is then a string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its position: 1, 2, 3 … per chat.
    pub seq: Seq,
    /// What it says and in which version.
    pub kind: Kind,
    /// The words, kept byte for byte.
    pub body: Json,
}

/// A record before its commit gives it a position. It is within its bound.
#[derive(Clone, Debug)]
pub struct Draft {
    kind: Kind,
    op: Option<OpId>,
    body: Json,
}

/// A record opened up.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The operation that wrote it, in the first record of a commit.
    pub op: Option<OpId>,
    /// When it was written, in store time.
    pub at: Timestamp,
    /// What it says.
    pub body: Body,
}

/// A record that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// The body is over [`limits::BODY_BYTES_MAX`].
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The body does not encode.
    #[error("the record body does not encode as JSON")]
    Encode(#[from] serde_json::Error),
    /// The kind is not of the form `name.name/version`.
    #[error(transparent)]
    Kind(#[from] InvalidKind),
}

/// A record that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("record {seq} ({kind}) does not decode")]
pub struct InvalidBody {
    /// Its position.
    pub seq: Seq,
    /// Its kind.
    pub kind: Kind,
    /// What is wrong, with line and column.
    pub source: serde_json::Error,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<OpId>,
    at: Timestamp,
    data: &'a T,
}

#[derive(Deserialize)]
struct Opened<'a> {
    op: Option<OpId>,
    at: Timestamp,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct OnlyOp {
    op: Option<OpId>,
}

impl Record {
    /// Decodes the body. A kind or version that this code does not know gives [`Body::Unknown`].
    ///
    /// # Errors
    /// [`InvalidBody`] if a known kind has other fields than it must.
    pub fn open(&self) -> Result<Entry, InvalidBody> {
        let invalid = |source| InvalidBody { seq: self.seq, kind: self.kind.clone(), source };
        let opened: Opened<'_> = self.body.decode().map_err(invalid)?;
        let body = Body::decode(&self.kind, opened.data.get()).map_err(invalid)?;
        Ok(Entry { op: opened.op, at: opened.at, body })
    }

    /// The operation that wrote it, if it is the first record of its commit and its body is ours.
    pub fn op(&self) -> Option<OpId> {
        self.body.decode::<OnlyOp>().ok()?.op
    }
}

impl Draft {
    /// The first record of a commit.
    ///
    /// # Errors
    /// [`InvalidRecord::TooLarge`] over [`limits::BODY_BYTES_MAX`].
    pub fn first(op: OpId, at: Timestamp, body: &Body) -> Result<Self, InvalidRecord> {
        Self::encode(body.kind(), Some(op), at, body)
    }

    /// A later record of a commit.
    ///
    /// # Errors
    /// [`InvalidRecord::TooLarge`] over [`limits::BODY_BYTES_MAX`].
    pub fn new(at: Timestamp, body: &Body) -> Result<Self, InvalidRecord> {
        Self::encode(body.kind(), None, at, body)
    }

    /// A record of any kind with any data.
    ///
    /// # Errors
    /// [`InvalidRecord`] if the kind has another form, or the body is over its bound or does not encode.
    pub fn raw(
        kind: &str,
        op: Option<OpId>,
        at: Timestamp,
        data: &impl Serialize,
    ) -> Result<Self, InvalidRecord> {
        Self::encode(Kind::parse(kind)?, op, at, data)
    }

    fn encode(
        kind: Kind,
        op: Option<OpId>,
        at: Timestamp,
        data: &impl Serialize,
    ) -> Result<Self, InvalidRecord> {
        let body = Json::encode(&Envelope { op, at, data })?;
        TooLarge::check_bytes("record body", body.len(), limits::BODY_BYTES_MAX)?;
        TooLarge::check("record body", depth(body.as_str()), limits::BODY_DEPTH_MAX, "levels")?;
        Ok(Self { kind, op, body })
    }

    /// The kind.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The operation, if this is the first record of a commit.
    pub fn op(&self) -> Option<OpId> {
        self.op
    }

    /// The body.
    pub fn body(&self) -> &Json {
        &self.body
    }

    pub(crate) fn at(self, seq: Seq) -> Record {
        Record { seq, kind: self.kind, body: self.body }
    }
}

/// How many objects and lists of a JSON text stand in each other.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
