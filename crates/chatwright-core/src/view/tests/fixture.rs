//! Frames of a small chat: message 1 of the user, and gen 1 that answers as message 2.

use uuid::Uuid;

use super::super::{Applied, View};
use crate::content::Part;
use crate::frame::{Cursor, Frame, FrameBody, HelloMode, LiveBlock, StateFrame};
use crate::head::{Status, Title, UnitKind};
use crate::live::{BlockKind, Piece, PieceBody};
use crate::model::ModelId;
use crate::record::{AttemptEnded, AttemptStarted, Body, MessageAssistant, MessageUser, Outcome};
use crate::{Draft, Epoch, Gen, MessageId, OpId, Record, Seq, SessionId, Timestamp};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub(super) fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

pub(super) fn id(n: u64) -> MessageId {
    MessageId::from_uuid(uuid(n.into()))
}

pub(super) fn seq(n: u64) -> Seq {
    Seq::new(n)
}

pub(super) fn model() -> ModelId {
    ModelId { provider: "p".into(), model: "m".into() }
}

pub(super) fn cursor(seq: u64, r#gen: u64, off: u64) -> Cursor {
    Cursor { tag: 7, seq: Seq::new(seq), r#gen: Gen::new(r#gen), off }
}

pub(super) fn record(n: u64, body: impl Into<Body>) -> Record {
    Draft::first(OpId::from_uuid(uuid(n.into())), NOW, &body.into()).expect("small").at(seq(n))
}

pub(super) fn user(n: u64, words: &str) -> Record {
    record(n, MessageUser::new(id(n), vec![Part::text(words)]))
}

pub(super) fn started(n: u64, r#gen: u64, message: u64) -> Record {
    let started = AttemptStarted {
        r#gen: Gen::new(r#gen),
        unit: UnitKind::Attempt,
        epoch: Epoch::new(1),
        writer: SessionId::from_uuid(uuid(99)),
        message: id(message),
        model: model(),
        step: 1,
        attempt: 1,
    };
    record(n, started)
}

pub(super) fn ended(n: u64, r#gen: u64, outcome: Outcome) -> Record {
    let ended = AttemptEnded {
        r#gen: Gen::new(r#gen),
        outcome,
        off: 6,
        finish: None,
        usage: Default::default(),
        estimated: false,
        prices: None,
        warnings: Vec::new(),
    };
    record(n, ended)
}

pub(super) fn assistant(n: u64, r#gen: u64, message: u64, words: &str) -> Record {
    let message = MessageAssistant {
        id: id(message),
        r#gen: Gen::new(r#gen),
        content: vec![Part::text(words)],
        model: model(),
        interrupted: false,
        response_id: None,
    };
    record(n, message)
}

pub(super) fn hello() -> Frame {
    Frame::still(FrameBody::Hello { mode: HelloMode::Snapshot })
}

pub(super) fn state(n: u64) -> StateFrame {
    StateFrame {
        seq: seq(n),
        status: Status::Waiting,
        archived: false,
        title: Title::default(),
        queue: Vec::new(),
        last_gen: Gen::ZERO,
        last_off: 0,
        open: None,
        action: None,
        last: None,
        retry_at: None,
    }
}

/// The cursor matters only for its tag: the view counts itself.
pub(super) fn commit(after: u64, to: u64, records: Vec<Record>) -> Frame {
    let body = FrameBody::Record { after: seq(after), to: seq(to), records, more_before: false };
    Frame::to(cursor(to, 0, 0), body)
}

pub(super) fn open(block: u32, from: u64, kind: BlockKind) -> Piece {
    Piece { block, from, body: PieceBody::Open { kind, id: None, name: None } }
}

pub(super) fn append(from: u64, text: &str) -> Piece {
    Piece { block: 0, from, body: PieceBody::Append { text: text.to_owned() } }
}

pub(super) fn on(block: u32, piece: Piece) -> Piece {
    Piece { block, ..piece }
}

pub(super) fn delta(r#gen: u64, pieces: &[Piece]) -> Frame {
    let to = pieces.last().map_or(0, |piece| piece.from.saturating_add(piece.units()));
    Frame::to(cursor(0, r#gen, to), FrameBody::Delta { r#gen: Gen::new(r#gen), pieces: pieces.to_vec() })
}

pub(super) fn block(place: u32) -> LiveBlock {
    let kind = BlockKind::ToolOutput;
    LiveBlock { block: place, kind, id: None, name: None, text: String::new(), item: None, closed: false }
}

pub(super) fn live(r#gen: u64, off: u64, blocks: &[LiveBlock]) -> Frame {
    let body = FrameBody::LiveSnapshot {
        r#gen: Gen::new(r#gen),
        message: None,
        kind: UnitKind::Attempt,
        off,
        blocks: blocks.to_vec(),
    };
    Frame::to(cursor(0, r#gen, off), body)
}

/// A view at record 2, which opened gen 1 that becomes message 2.
pub(super) fn answering() -> View {
    let mut view = View::new();
    for frame in [hello(), commit(0, 2, vec![user(1, "Hi"), started(2, 1, 2)])] {
        assert_eq!(view.apply(&frame), Applied::Ok);
    }
    view
}
