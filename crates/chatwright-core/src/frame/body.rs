use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cursor, InvalidCursor};
use crate::content::{Part, is_false};
use crate::head::{Last, OpenCall, Status, Title, UnitKind};
use crate::live::{BlockKind, Piece};
use crate::{Gen, MessageId, QueueId, Record, Seq, Timestamp};

/// One frame of a chat's event stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Where a viewer stands *after* it applied the frame. Absent where it does not move, and within a snapshot, which is
    /// applied whole or asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// What it says.
    #[serde(flatten)]
    pub body: FrameBody,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FrameBody {
    /// How the stream begins, or begins anew. Anything but `resume` makes a viewer forget what it had, its cursor too.
    Hello {
        /// How.
        mode: HelloMode,
    },
    /// What the chat is doing. It follows the records that it is true after, except at the head of a snapshot.
    State(Box<StateFrame>),
    /// Records of one commit. A seal and its message are never in two frames.
    Record {
        /// The position before the first. A viewer that stands before it has a hole.
        after: Seq,
        /// The position afterwards. What lies between and is not in `records` does not count any more, is older than a
        /// snapshot goes, or is kept from viewers.
        to: Seq,
        /// The records, ascending.
        records: Vec<Record>,
        /// There are older records than these: set in the first of a snapshot.
        #[serde(default, skip_serializing_if = "is_false")]
        more_before: bool,
    },
    /// The preview of the open gen as a whole.
    #[serde(rename = "live.snapshot")]
    LiveSnapshot {
        /// The gen.
        r#gen: Gen,
        /// The message that it will become, or that holds the calls of a batch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<MessageId>,
        /// What streams.
        kind: UnitKind,
        /// The next unit.
        off: u64,
        /// The blocks, ascending by place.
        blocks: Vec<LiveBlock>,
    },
    /// More of the preview of the open gen.
    Delta {
        /// The gen.
        r#gen: Gen,
        /// The pieces, without a hole: at most 64 KiB of text.
        pieces: Vec<Piece>,
    },
    /// The preview of the open gen ends here, because it is too long; the message will be complete.
    Capped {
        /// The gen.
        r#gen: Gen,
        /// Where.
        off: u64,
    },
    /// Everything that was there when the viewer came has been sent.
    CaughtUp,
    /// The stream lives, and this is the head. A viewer that stays behind it asks again.
    Ping {
        /// The last record.
        seq: Seq,
        /// The newest gen.
        r#gen: Gen,
        /// The end of its preview.
        off: u64,
    },
    /// The stream ends.
    Bye {
        /// Why.
        reason: ByeReason,
        /// How long to wait before asking again, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        /// Whether asking again with the own cursor makes sense.
        resumable: bool,
    },
    /// A frame of a newer version. It is skipped.
    #[serde(other)]
    Unknown,
}

/// How a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HelloMode {
    /// It goes on after the viewer's cursor.
    Resume,
    /// A snapshot follows.
    Snapshot,
    /// A snapshot follows, because the viewer's cursor cannot be used.
    Reset {
        /// Why.
        reason: ResetReason,
    },
}

/// Why a cursor cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResetReason {
    /// It is no cursor.
    Malformed,
    /// It is of another version.
    Version,
    /// It is of another chat, or of the store before a restore.
    Tag,
    /// Its record is beyond the last one.
    Seq,
    /// Its record is within a commit.
    InsideCommit,
    /// Its gen was not open at its record, or never.
    Gen,
    /// Its unit lies inside a character.
    Off,
    /// A reason of a newer version.
    #[serde(other)]
    Unknown,
}

impl From<InvalidCursor> for ResetReason {
    fn from(error: InvalidCursor) -> Self {
        match error {
            InvalidCursor::Version => Self::Version,
            InvalidCursor::Malformed | InvalidCursor::TooLong { .. } => Self::Malformed,
        }
    }
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ByeReason {
    /// The store cannot be read.
    Store,
    /// The chat was purged.
    Gone,
    /// The chat was written by a newer program, or is damaged.
    Unreadable,
    /// The viewer did not read for too long.
    Slow,
    /// The process shuts down.
    Shutdown,
    /// The viewer may not read the chat any more.
    Denied,
    /// A reason of a newer version.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for ByeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "the store cannot be read",
            Self::Gone => "the chat is gone",
            Self::Unreadable => "the chat cannot be read by this version",
            Self::Slow => "the viewer is too slow",
            Self::Shutdown => "the server shuts down",
            Self::Denied => "access was revoked",
            Self::Unknown => "unknown",
        })
    }
}

/// What a chat is doing after the record at `seq`: references, never contents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateFrame {
    /// The last record.
    pub seq: Seq,
    /// What the chat is doing.
    pub status: Status,
    /// Whether it is archived.
    #[serde(default, skip_serializing_if = "is_false")]
    pub archived: bool,
    /// Its title.
    #[serde(default)]
    pub title: Title,
    /// Its queue. What the messages say is in their records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<Queued>,
    /// The newest gen, open or sealed.
    pub last_gen: Gen,
    /// The end of the newest gen, if it is sealed.
    #[serde(default)]
    pub last_off: u64,
    /// The open gen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenState>,
    /// What the chat waits for, in `requires_action`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Why the last turn ended where it did not simply end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
    /// When a failed attempt is tried again, in store time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

/// A message that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Its entry.
    pub id: QueueId,
    /// Promotion skips it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub held: bool,
}

/// The open gen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenState {
    /// Its number.
    pub r#gen: Gen,
    /// What streams.
    pub kind: UnitKind,
    /// The message that it will become, or that holds the calls of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// The calls of a batch by their place, in the order of their blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<u32>,
    /// Those of them that have a result: their blocks have no preview any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<u32>,
}

/// What a chat waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The message that holds the calls.
    pub message: MessageId,
    /// The calls that wait for the client or for an approval.
    pub calls: Vec<OpenCall>,
}

/// One block of a preview, as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveBlock {
    /// Its place in the gen.
    pub block: u32,
    /// What it holds.
    pub kind: BlockKind,
    /// The provider's id of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Box<str>>,
    /// The name of a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// Its text so far.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// A piece of content that came whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Part>,
    /// Nothing more comes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub closed: bool,
}

impl Frame {
    /// A frame that moves no cursor.
    pub fn still(body: FrameBody) -> Self {
        Self { cursor: None, body }
    }

    /// A frame that leads to this cursor.
    pub fn to(cursor: Cursor, body: FrameBody) -> Self {
        Self { cursor: Some(cursor), body }
    }

    /// The last one.
    pub fn bye(reason: ByeReason, retry_after_ms: Option<u64>, resumable: bool) -> Self {
        Self::still(FrameBody::Bye { reason, retry_after_ms, resumable })
    }
}

impl FrameBody {
    /// The type on the wire, for example for the `event` field of SSE.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::State(_) => "state",
            Self::Record { .. } => "record",
            Self::LiveSnapshot { .. } => "live.snapshot",
            Self::Delta { .. } => "delta",
            Self::Capped { .. } => "capped",
            Self::CaughtUp => "caught_up",
            Self::Ping { .. } => "ping",
            Self::Bye { .. } => "bye",
            Self::Unknown => "unknown",
        }
    }
}
