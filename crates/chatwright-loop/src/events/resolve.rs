use chatwright_core::Seq;
use chatwright_core::frame::{Cursor, HelloMode, ResetReason, Resume};
use chatwright_core::head::State;

/// How a stream begins, as far as the head tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// After this cursor. Its gen is `open`, or over.
    After { cursor: Cursor, open: bool },
    /// With a snapshot: of the newest records, or of none.
    Anew { mode: HelloMode, records: bool },
}

impl Start {
    pub(super) fn reset(reason: ResetReason) -> Self {
        Self::Anew { mode: HelloMode::Reset { reason }, records: true }
    }
}

/// The table of cursors (stream.S19). Whether the record is the last of its commit and the unit lies between two characters
/// is for the logs to say.
pub(super) fn resolve(offered: Resume, tag: u32, last_seq: Seq, state: &State) -> Start {
    let cursor = match offered {
        Resume::Nothing => return Start::Anew { mode: HelloMode::Snapshot, records: true },
        Resume::Now => return Start::Anew { mode: HelloMode::Snapshot, records: false },
        Resume::Unusable(error) => return Start::reset(error.into()),
        Resume::From(cursor) => cursor,
    };
    let open = state.open.as_ref().filter(|open| open.r#gen == cursor.r#gen);
    if cursor.tag != tag {
        Start::reset(ResetReason::Tag)
    } else if cursor.seq > last_seq {
        Start::reset(ResetReason::Seq)
    } else if cursor.r#gen > state.last_gen
        || cursor.seq == last_seq && cursor.r#gen < state.last_gen
        || open.is_some_and(|open| open.seq > cursor.seq)
    {
        Start::reset(ResetReason::Gen)
    } else {
        Start::After { cursor, open: open.is_some() }
    }
}
