use chatwright_core::Epoch;
use chatwright_core::Json;
use chatwright_core::live::{Piece, PieceBody};
use chatwright_core::port::{LiveError, LiveRead};

/// The preview of one gen.
#[derive(Default)]
pub(super) struct Preview {
    /// Contiguous from unit 0, none of them empty, and merged: no two neighbours are text of one block.
    pub(super) pieces: Vec<Piece>,
    bytes: usize,
    capped: bool,
    /// The epoch that opened it.
    pub(super) epoch: Epoch,
    /// Where it was sealed.
    pub(super) sealed: Option<u64>,
}

impl Preview {
    /// Nothing yet, opened by this epoch.
    pub(super) fn new(epoch: Epoch) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// The unit after the last one.
    fn head(&self) -> u64 {
        self.pieces.last().map_or(0, Piece::to)
    }

    /// Takes what is new of `pieces` up to the cap (L4) if they continue the preview (L2), and gives the new head.
    pub(super) fn append(&mut self, from: u64, pieces: &[Piece], bytes_max: usize) -> Result<u64, LiveError> {
        if let Some(at) = self.sealed {
            return Err(LiveError::Sealed { at });
        }
        if !self.is_continued_by(from, pieces) {
            return Err(LiveError::Diverged { head: self.head() });
        }
        let head = self.head();
        for piece in pieces.iter().filter(|piece| piece.to() > head) {
            let room = if self.capped { 0 } else { bytes_max.saturating_sub(self.bytes) };
            let fresh = cut(piece, piece.from.max(head), room, false);
            self.capped = fresh.as_ref().is_none_or(|fresh| fresh.to() < piece.to());
            self.push(fresh);
            if self.capped {
                return Err(LiveError::Capped { head: self.head() });
            }
        }
        Ok(self.head())
    }

    /// A page of the units from `from` on.
    pub(super) fn read(&self, from: u64, max: usize) -> Result<LiveRead, LiveError> {
        let head = self.head();
        if let (Some(at), true) = (self.sealed, from >= head) {
            return Ok(LiveRead::Sealed { at });
        }
        let (mut pieces, mut next, mut room) = (Vec::new(), from, max);
        for piece in &self.pieces[self.place(from)..] {
            if !piece.has_boundary(next) {
                return Err(LiveError::Boundary { off: from });
            }
            let Some(part) = cut(piece, next, room, pieces.is_empty()) else { break };
            next = part.to();
            room = room.saturating_sub(bytes(&part));
            pieces.push(part);
            if next < piece.to() {
                break;
            }
        }
        Ok(LiveRead::Pieces { pieces, head, capped: self.capped })
    }

    /// Whether the pieces have no hole, begin at or before the head, and repeat what is stored before it.
    fn is_continued_by(&self, from: u64, pieces: &[Piece]) -> bool {
        let mut next = from;
        from <= self.head()
            && pieces.iter().all(|piece| {
                let fits = piece.from == next && piece.units() > 0 && self.repeats(piece);
                next = next.saturating_add(piece.units());
                fits
            })
    }

    /// Whether the piece says what is stored at its units, as far as there is something.
    fn repeats(&self, piece: &Piece) -> bool {
        let Some(stored) = self.pieces.get(self.place(piece.from)) else { return true };
        match (&stored.body, &piece.body) {
            (PieceBody::Append { text: have }, PieceBody::Append { text: told }) => {
                let have = &have.as_bytes()[bytes_between(stored.from, piece.from)..];
                let told = told.as_bytes();
                // Stored pieces are merged: text that goes on behind this one must be new.
                let repeats = have.starts_with(told) || stored.to() == self.head() && told.starts_with(have);
                repeats && stored.block == piece.block
            }
            _ => stored == piece,
        }
    }

    /// Where the piece with this unit is, by binary search; behind the last one if there is none.
    fn place(&self, unit: u64) -> usize {
        self.pieces.partition_point(|piece| piece.to() <= unit)
    }

    fn push(&mut self, piece: Option<Piece>) {
        self.bytes += piece.as_ref().map_or(0, bytes);
        let apart = match (self.pieces.last_mut(), piece) {
            (Some(last), Some(piece)) => last.merge(piece),
            (_, piece) => piece,
        };
        self.pieces.extend(apart);
    }
}

/// The part of a piece from unit `from` on, a boundary of it, that takes at most `room` bytes: text is cut between two
/// characters. If nothing fits: `None`, or with `at_least_one` the first character or the piece that has none.
fn cut(piece: &Piece, from: u64, room: usize, at_least_one: bool) -> Option<Piece> {
    let PieceBody::Append { text } = &piece.body else {
        return (at_least_one || bytes(piece) <= room).then(|| piece.clone());
    };
    let rest = &text[bytes_between(piece.from, from)..];
    let first = rest.chars().next().filter(|_| at_least_one).map_or(0, char::len_utf8);
    let room = room.max(first).min(rest.len());
    let end = (0..=room).rev().find(|&end| rest.is_char_boundary(end)).filter(|&end| end > 0)?;
    Some(Piece { block: piece.block, from, body: PieceBody::Append { text: rest[..end].to_owned() } })
}

/// What a piece counts: text its bytes, anything else its body as JSON.
pub(super) fn bytes(piece: &Piece) -> usize {
    match &piece.body {
        PieceBody::Append { text } => text.len(),
        body => Json::encode(body).expect("a body has no map whose keys are not strings").len(),
    }
}

fn bytes_between(from: u64, to: u64) -> usize {
    usize::try_from(to - from).expect("both are in one piece, which is in memory")
}
