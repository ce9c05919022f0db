//! Any frames in any order.

use proptest::prelude::*;
use proptest::sample::Index;

use super::fixture::*;
use super::{View, fold};
use crate::frame::{Frame, FrameBody, HelloMode, ResetReason};
use crate::live::{BlockKind, Piece, PieceBody};
use crate::record::Outcome;
use crate::{Gen, Record, Seq};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..8, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1)]
}

fn a_piece() -> impl Strategy<Value = Piece> {
    let text = || prop_oneof![Just(""), Just("a"), Just("é"), Just("héllo")];
    (0u32..3, number(), 0..4, text()).prop_map(|(block, from, what, text)| {
        let body = match what {
            0 => PieceBody::Open { kind: BlockKind::Text, id: None, name: None },
            1 => PieceBody::Close,
            2 => PieceBody::Item { part: crate::content::Part::text(text) },
            _ => PieceBody::Append { text: text.to_owned() },
        };
        Piece { block, from, body }
    })
}

fn a_record() -> impl Strategy<Value = Record> {
    (number(), number(), 0..5).prop_map(|(n, r#gen, what)| match what {
        0 => user(n, "Hi"),
        1 => started(n, r#gen, 2),
        2 => ended(n, r#gen, Outcome::Committed),
        3 => assistant(n, r#gen, 2, "Hello"),
        _ => record(
            n,
            crate::record::HistoryCut { from: Seq::new(r#gen), message: None, content_hash: None, key: None },
        ),
    })
}

fn a_frame() -> impl Strategy<Value = Frame> {
    let records = prop::collection::vec(a_record(), 0..4);
    let pieces = prop::collection::vec(a_piece(), 0..4);
    prop_oneof![
        1 => Just(hello()),
        1 => Just(FrameBody::Hello { mode: HelloMode::Resume }).prop_map(Frame::still),
        1 => Just(FrameBody::Hello { mode: HelloMode::Reset { reason: ResetReason::Gen } }).prop_map(Frame::still),
        1 => Just(Frame::still(FrameBody::CaughtUp)),
        8 => (number(), number(), records).prop_map(|(after, to, records)| commit(after, to, records)),
        4 => (number(), number(), any::<bool>()).prop_map(|(n, last, moves)| {
            let body = FrameBody::State(Box::new(crate::frame::StateFrame { last_gen: Gen::new(last), ..state(n) }));
            Frame { cursor: moves.then(|| cursor(n, last, 0)), body }
        }),
        8 => (number(), pieces).prop_map(|(r#gen, pieces)| delta(r#gen, &pieces)),
        2 => (number(), number()).prop_map(|(r#gen, off)| live(r#gen, off, &[block(0)])),
        1 => (number(), number()).prop_map(|(r#gen, off)| Frame::still(FrameBody::Capped { r#gen: Gen::new(r#gen), off })),
        1 => (number(), number()).prop_map(|(n, off)| Frame::still(FrameBody::Ping { seq: seq(n), r#gen: Gen::ZERO, off })),
    ]
}

/// The same text of one block, cut at these places.
fn cut(text: &str, places: &[Index]) -> Vec<Piece> {
    let inner: Vec<usize> = text.char_indices().map(|(at, _)| at).skip(1).collect();
    let mut ends: Vec<usize> =
        places.iter().filter(|_| !inner.is_empty()).map(|at| *at.get(&inner)).collect();
    ends.push(text.len());
    ends.sort_unstable();
    ends.dedup();
    let begin = std::iter::once(0).chain(ends.clone());
    begin.zip(ends).map(|(from, to)| append(from as u64, &text[from..to])).collect()
}

proptest! {
    #[test]
    fn any_frames_in_any_order_give_a_view(frames in prop::collection::vec(a_frame(), 0..40)) {
        let mut view = View::new();
        for frame in &frames {
            view.apply(frame);
            let shown = view.transcript();
            if let Some(preview) = &shown.preview {
                prop_assert_eq!(Some(preview.r#gen), view.gens.open.as_ref().map(|open| open.r#gen));
            }
            prop_assert_eq!(shown.preview.is_some(), view.gens.open.is_some());
            let _ = shown.to_string();
        }
    }

    #[test]
    fn how_text_is_cut_into_pieces_and_frames_makes_no_difference(
        text in "[a-zé😀]{1,30}",
        one in prop::collection::vec(any::<Index>(), 0..6),
        other in prop::collection::vec(any::<Index>(), 0..6),
        twice: bool,
    ) {
        let mut views = [answering(), answering()];
        views[0].apply(&delta(1, &cut(&text, &one)));
        for piece in cut(&text, &other) {
            views[1].apply(&delta(1, std::slice::from_ref(&piece)));
        }
        if twice {
            for piece in cut(&text, &one) {
                views[1].apply(&delta(1, &[piece]));
            }
        }
        prop_assert_eq!(&views[0], &views[1]);
        let mut blocks = Vec::new();
        fold(&mut blocks, &append(0, &text));
        prop_assert_eq!(&views[0].transcript().preview.as_ref().expect("gen 1 is open").blocks, &blocks);
    }
}
