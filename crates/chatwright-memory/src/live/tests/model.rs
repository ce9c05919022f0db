use chatwright_core::content::Part;
use chatwright_core::live::{BlockKind, Piece, PieceBody};
use chatwright_core::port::{LiveError, LiveLog, LiveRead};
use proptest::prelude::*;

use super::super::{MemoryLiveLog, preview};
use super::{CHAT, EPOCH, GEN, opened, read, ready};

/// What cannot be split: a character or a structural part, in a block.
type Atom = (u32, PieceBody);

#[derive(Clone, Debug)]
struct Write {
    /// Atoms that are repeated; a negative number leaves a hole.
    back: isize,
    ahead: usize,
    /// After which atoms a piece ends although it could go on.
    splits: u64,
    /// Which repeated atom says something else.
    wrong: Option<(prop::sample::Index, Atom)>,
}

fn atom() -> impl Strategy<Value = Atom> {
    let text = |c: char| PieceBody::Append { text: c.to_string() };
    let body = prop_oneof![
        8 => prop::sample::select(vec!['a', 'b', 'é', 'è', '€', '😀']).prop_map(text),
        1 => Just(PieceBody::Open { kind: BlockKind::Text, id: None, name: None }),
        1 => Just(PieceBody::Close),
        1 => prop::sample::select(vec!["x", "y"]).prop_map(|text| PieceBody::Item { part: Part::text(text) }),
    ];
    (prop_oneof![4 => Just(0u32), 1 => Just(1)], body)
}

fn write() -> impl Strategy<Value = Write> {
    let wrong = prop::option::weighted(0.2, (any::<prop::sample::Index>(), atom()));
    (-1isize..8, 0usize..8, any::<u64>(), wrong).prop_map(|(back, ahead, splits, wrong)| Write {
        back,
        ahead,
        splits,
        wrong,
    })
}

/// The pieces that say these atoms, cut as `splits` says.
fn pieces(atoms: &[Atom], mut from: u64, splits: u64) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (at, (block, body)) in atoms.iter().enumerate() {
        let piece = Piece { block: *block, from, body: body.clone() };
        from = piece.to();
        let apart = match pieces.last_mut() {
            Some(last) if splits >> (at % 64) & 1 == 0 => last.merge(piece),
            _ => Some(piece),
        };
        pieces.extend(apart);
    }
    pieces
}

fn atoms(pieces: &[Piece]) -> Vec<Atom> {
    let chars = |text: &str| text.chars().map(|c| PieceBody::Append { text: c.to_string() }).collect();
    let of = |piece: &Piece| {
        let bodies: Vec<PieceBody> = match &piece.body {
            PieceBody::Append { text } => chars(text),
            body => vec![body.clone()],
        };
        bodies.into_iter().map(|body| (piece.block, body)).collect::<Vec<Atom>>()
    };
    pieces.iter().flat_map(of).collect()
}

/// The unit at which each atom begins, and the one after the last.
fn offsets(atoms: &[Atom]) -> Vec<u64> {
    let mut offsets = vec![0];
    offsets.extend(pieces(atoms, 0, u64::MAX).iter().map(Piece::to));
    offsets
}

fn check_reads(log: &MemoryLiveLog, model: &[Atom], max: usize) {
    let offsets = offsets(model);
    let end = *offsets.last().expect("at least 0");
    for from in 0..end {
        let Ok(at) = offsets.binary_search(&from) else {
            assert_eq!(read(log, from, max), Err(LiveError::Boundary { off: from }));
            continue;
        };
        let Ok(LiveRead::Pieces { pieces, head, capped: false }) = read(log, from, max) else {
            panic!("{from}")
        };
        assert_eq!(head, end);
        assert_eq!(
            pieces.first().map(|piece| piece.from),
            Some(from),
            "a page is never empty before the head"
        );
        assert!(pieces.windows(2).all(|pair| pair[0].to() == pair[1].from), "{pieces:?}");
        let page = atoms(&pieces);
        assert_eq!(page, model[at..at + page.len()]);
        let full = page.len() == 1 || pieces.iter().map(preview::bytes).sum::<usize>() <= max;
        assert!(full, "{pieces:?} are more than {max} bytes");
    }
    assert_eq!(read(log, end, max), Ok(LiveRead::Pieces { pieces: vec![], head: end, capped: false }));
}

proptest! {
    #[test]
    fn a_gen_holds_what_was_said_however_it_was_cut_repeated_or_contradicted(
        told in prop::collection::vec(atom(), 1..60),
        writes in prop::collection::vec(write(), 1..12),
        max in prop::sample::select(vec![0, 1, 3, 7, 40, 10_000]),
    ) {
        let log = opened();
        let (offsets, mut done) = (offsets(&told), 0usize);
        for Write { back, ahead, splits, wrong } in writes {
            let start = done.saturating_add_signed(-back).min(told.len());
            let end = (done + ahead).clamp(start, told.len());
            let mut said = told[start..end].to_vec();
            let mut fits = start <= done;
            if let Some((index, atom)) = wrong.filter(|_| start < done && start < end) {
                let at = index.index(done.min(end) - start);
                fits &= said[at] == atom;
                said[at] = atom;
            }
            let head = offsets[done];
            let answer = ready(log.append(CHAT, EPOCH, GEN, offsets[start], &pieces(&said, offsets[start], splits)));
            if fits {
                done = done.max(end);
                prop_assert_eq!(answer, Ok(offsets[done]));
            } else {
                prop_assert_eq!(answer, Err(LiveError::Diverged { head }));
            }
            check_reads(&log, &told[..done], max);
        }
        let stored = log.tables.lock().chats[&CHAT].gens[&GEN].pieces.clone();
        prop_assert_eq!(stored, pieces(&told[..done], 0, 0), "stored pieces are merged");
    }
}
