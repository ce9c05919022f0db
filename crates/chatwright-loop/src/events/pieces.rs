use chatwright_core::Json;
use chatwright_core::live::{Piece, PieceBody};

/// What of these pieces continues at unit `off` and goes into one frame: at most about `bytes`, at least one character or
/// one piece, neighbours of a block merged (stream.S11). What does not continue without a hole is left out.
pub(super) fn fit(mut off: u64, pieces: &[Piece], bytes: usize) -> Vec<Piece> {
    let mut fitted: Vec<Piece> = Vec::new();
    let mut room = bytes;
    for piece in pieces {
        if piece.to() <= off {
            continue;
        }
        let rest = if piece.from <= off { piece.tail(off) } else { None };
        let Some(part) = rest.and_then(|rest| begin(rest, room, fitted.is_empty())) else { break };
        room = room.saturating_sub(size(&part));
        off = part.to();
        let apart = match fitted.last_mut() {
            Some(last) => last.merge(part),
            None => Some(part),
        };
        fitted.extend(apart);
        if off < piece.to() {
            break;
        }
    }
    fitted
}

/// The beginning of a piece that takes at most `room` bytes.
fn begin(piece: Piece, room: usize, at_least_one: bool) -> Option<Piece> {
    let PieceBody::Append { text } = &piece.body else {
        return (at_least_one || size(&piece) <= room).then_some(piece);
    };
    if text.len() <= room {
        return Some(piece);
    }
    let first = text.chars().next().filter(|_| at_least_one).map_or(0, char::len_utf8);
    let end = (0..=room.max(first)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    let text = text[..end].to_owned();
    (end > 0).then_some(Piece { body: PieceBody::Append { text }, ..piece })
}

fn size(piece: &Piece) -> usize {
    match &piece.body {
        PieceBody::Append { text } => text.len(),
        // Their own size is small next to that of what they carry.
        body => Json::encode(body).map_or(0, |json| json.len()),
    }
}

#[cfg(test)]
mod tests {
    use chatwright_core::content::Part;
    use chatwright_core::live::BlockKind;

    use super::*;

    fn append(block: u32, from: u64, text: &str) -> Piece {
        Piece { block, from, body: PieceBody::Append { text: text.to_owned() } }
    }

    #[test]
    fn neighbours_are_merged_and_the_old_is_cut_off() {
        let pieces = [append(0, 0, "ab"), append(0, 2, "é"), append(0, 4, "c"), append(1, 5, "d")];
        assert_eq!(fit(0, &pieces, 100), [append(0, 0, "abéc"), append(1, 5, "d")]);
        assert_eq!(fit(1, &pieces, 100), [append(0, 1, "béc"), append(1, 5, "d")]);
        assert_eq!(fit(3, &pieces, 100), [], "inside a character");
        assert_eq!(fit(6, &pieces, 100), []);
        assert_eq!(fit(0, &pieces[1..], 100), [], "a hole");
        assert_eq!(fit(0, &[append(0, 0, "a"), append(0, 2, "c")], 100), [append(0, 0, "a")]);
    }

    #[test]
    fn a_frame_is_full_between_two_characters_and_never_empty() {
        let pieces = [append(0, 0, "aéb"), append(0, 4, "c")];
        for (bytes, text) in [(0, "a"), (1, "a"), (2, "a"), (3, "aé"), (4, "aéb"), (5, "aébc")] {
            assert_eq!(fit(0, &pieces, bytes), [append(0, 0, text)], "{bytes} bytes");
        }
        assert_eq!(fit(1, &pieces, 0), [append(0, 1, "é")]);
        let item = Piece { block: 1, from: 5, body: PieceBody::Item { part: Part::text("x".repeat(99)) } };
        let open = Piece {
            block: 2,
            from: 6,
            body: PieceBody::Open { kind: BlockKind::Text, id: None, name: None },
        };
        assert_eq!(fit(5, &[item.clone(), open], 10), [item], "a piece that is too large goes alone");
    }
}
