//! Pieces and reads for the clauses.

use std::sync::Arc;

use chatwright_core::content::Part;
use chatwright_core::live::{BlockKind, Piece, PieceBody};
use chatwright_core::port::{LiveError, LiveLog, LiveRead};
use chatwright_core::{ChatId, Epoch, Gen};

use crate::Subject;

pub(super) const FIRST: Epoch = Epoch::new(1);
pub(super) const GEN: Gen = Gen::new(1);
/// A page for all there is.
pub(super) const ALL: usize = 1 << 22;

/// A log whose every unexpected answer is a panic that names the clause.
#[derive(Clone)]
pub(super) struct Live {
    pub clause: &'static str,
    pub log: Arc<dyn LiveLog>,
    pub chat: ChatId,
    pub epoch: Epoch,
}

/// One unit as a reader sees it, however the pieces are cut.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Unit {
    Byte(u32, u8),
    Whole(u32, PieceBody),
}

/// What a gen shows from some unit on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub units: Vec<Unit>,
    pub head: u64,
    pub capped: bool,
    pub sealed: Option<u64>,
}

impl Subject<dyn LiveLog> {
    /// The log at a new chat.
    pub(super) async fn live(&self, clause: &'static str) -> Live {
        Live { clause, log: self.connect().await, chat: ChatId::mint(&self.ids), epoch: FIRST }
    }
}

impl Live {
    pub(super) fn at(&self, epoch: u64) -> Self {
        Self { epoch: Epoch::new(epoch), ..self.clone() }
    }

    pub(super) async fn open(&self, r#gen: Gen) {
        let opened = self.log.open(self.chat, self.epoch, r#gen).await;
        opened.unwrap_or_else(|error| {
            panic!("{}: gen {gen} does not open: {error}", self.clause, r#gen = r#gen)
        });
    }

    /// Appends at the unit of the first piece.
    pub(super) async fn try_append(&self, r#gen: Gen, pieces: &[Piece]) -> Result<u64, LiveError> {
        let from = pieces.first().map_or(0, |piece| piece.from);
        self.log.append(self.chat, self.epoch, r#gen, from, pieces).await
    }

    pub(super) async fn append(&self, r#gen: Gen, pieces: &[Piece]) {
        let head = self.try_append(r#gen, pieces).await;
        let to = pieces.last().map_or(0, Piece::to);
        let told = head.unwrap_or_else(|error| panic!("{}: an append is refused: {error}", self.clause));
        assert_eq!(told, to, "{}: the head after an append", self.clause);
    }

    pub(super) async fn seal(&self, r#gen: Gen, at: u64) {
        let sealed = self.log.seal(self.chat, self.epoch, r#gen, at).await;
        sealed.unwrap_or_else(|error| panic!("{}: a gen cannot be sealed: {error}", self.clause));
    }

    pub(super) async fn try_read(&self, r#gen: Gen, from: u64, max: usize) -> Result<LiveRead, LiveError> {
        self.log.read(self.chat, r#gen, from, max).await
    }

    pub(super) async fn read(&self, r#gen: Gen, from: u64, max: usize) -> LiveRead {
        let read = self.try_read(r#gen, from, max).await;
        read.unwrap_or_else(|error| panic!("{}: a read at {from} fails: {error}", self.clause))
    }

    /// What is there from `from` on, in pages of `max`; `None` for an unknown gen.
    pub(super) async fn seen(&self, r#gen: Gen, from: u64, max: usize) -> Option<Seen> {
        let mut seen = Seen { units: Vec::new(), head: from, capped: false, sealed: None };
        let mut next = from;
        loop {
            match self.read(r#gen, next, max).await {
                LiveRead::Unknown => return None,
                LiveRead::Sealed { at } => {
                    seen.sealed = Some(at);
                    return Some(seen);
                }
                LiveRead::Pieces { pieces, head, capped } => {
                    (seen.head, seen.capped) = (head, capped);
                    let empty = pieces.is_empty();
                    next = fold(&mut seen.units, next, &pieces, self.clause);
                    assert!(next <= head.max(from), "{}: a page goes beyond the head {head}", self.clause);
                    if empty {
                        assert!(
                            next >= head,
                            "{}: an empty page at {next}, before the head {head}",
                            self.clause
                        );
                        return Some(seen);
                    }
                }
            }
        }
    }

    /// The same of a gen that must be known, from its first unit on.
    pub(super) async fn whole(&self, r#gen: Gen) -> Seen {
        let seen = self.seen(r#gen, 0, ALL).await;
        seen.unwrap_or_else(|| panic!("{}: an open gen is unknown", self.clause))
    }
}

/// Takes pieces apart; gives the unit after the last one.
pub(super) fn fold(units: &mut Vec<Unit>, from: u64, pieces: &[Piece], clause: &str) -> u64 {
    let mut next = from;
    for piece in pieces {
        assert_eq!(piece.from, next, "{clause}: a piece does not begin where the one before ends");
        next = piece.to();
        match &piece.body {
            PieceBody::Append { text } => {
                units.extend(text.bytes().map(|byte| Unit::Byte(piece.block, byte)));
            }
            body => units.push(Unit::Whole(piece.block, body.clone())),
        }
    }
    next
}

pub(super) fn units(pieces: &[Piece]) -> Vec<Unit> {
    let mut units = Vec::new();
    fold(&mut units, pieces.first().map_or(0, |piece| piece.from), pieces, "the kit");
    units
}

pub(super) fn text(block: u32, from: u64, text: impl Into<String>) -> Piece {
    Piece { block, from, body: PieceBody::Append { text: text.into() } }
}

/// Pieces of every kind, from unit 0 on without a hole; blocks are interleaved.
pub(super) fn sample() -> Vec<Piece> {
    let open = |kind, id: Option<&str>, name: Option<&str>| PieceBody::Open {
        kind,
        id: id.map(Into::into),
        name: name.map(Into::into),
    };
    let append = |text: &str| PieceBody::Append { text: text.to_owned() };
    let mut from = 0;
    let bodies = [
        (0, open(BlockKind::Text, None, None)),
        (0, append("hé")),
        (0, append("llo 🦀 world")),
        (1, open(BlockKind::Reasoning, None, None)),
        (1, append("thinking … of \u{0} and \"quotes\"")),
        (0, append(", more text")),
        (1, PieceBody::Close),
        (0, append(" and the end")),
        (0, PieceBody::Close),
        (2, PieceBody::Item { part: Part::text("a source") }),
        (3, open(BlockKind::ToolCall, Some("call_1"), Some("search"))),
        (3, append("{\"query\":\"ä\"}")),
        (3, PieceBody::Close),
        (4, open(BlockKind::ToolOutput, None, Some("search"))),
        (4, append("x")),
        (4, PieceBody::Close),
    ];
    let piece = |(block, body)| {
        let piece = Piece { block, from, body };
        from = piece.to();
        piece
    };
    bodies.into_iter().map(piece).collect()
}

/// Whether `off` is inside a character of these pieces.
pub(super) fn is_inside(pieces: &[Piece], off: u64) -> bool {
    pieces.iter().any(|piece| piece.from < off && off < piece.to() && !piece.has_boundary(off))
}
