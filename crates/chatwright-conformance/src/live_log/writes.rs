//! L2: what may be appended.

use chatwright_core::Gen;
use chatwright_core::content::Part;
use chatwright_core::live::{BlockKind, Piece, PieceBody};
use chatwright_core::port::{LiveError, LiveLog, LiveRead};

use super::fixture::{ALL, GEN, Live, sample, text, units};
use crate::Subject;

pub(super) async fn l2_what_was_appended_may_be_repeated_in_other_pieces(subject: &Subject<dyn LiveLog>) {
    const CLAUSE: &str = "live.L2";
    let live = subject.live(CLAUSE).await;
    let sample = sample();
    let whole = units(&sample);
    // Each append repeats the last few pieces of the one before and adds some.
    for (n, step) in [1, 2, 3, 7, sample.len()].into_iter().enumerate() {
        let r#gen = Gen::new(n as u64 + 1);
        live.open(r#gen).await;
        for end in (0..sample.len()).step_by(step).map(|end| (end + step).min(sample.len())) {
            for back in [0, 1, 2, 5] {
                let begin = end.saturating_sub(step + back);
                live.append(r#gen, &sample[begin..end]).await;
            }
        }
        live.append(r#gen, &sample).await;
        assert_eq!(live.whole(r#gen).await.units, whole, "{CLAUSE}: repeated in steps of {step}");
    }
    let r#gen = Gen::new(9);
    live.open(r#gen).await;
    for (from, words) in
        [(0, "aé"), (0, "aéb"), (1, "éb"), (3, "b"), (3, "bcd"), (1, "ébcd🦀"), (0, "a"), (6, "🦀!")]
    {
        let to = from + words.len() as u64;
        let head = live.try_append(r#gen, &[text(0, from, words)]).await;
        let head = head.unwrap_or_else(|error| panic!("{CLAUSE}: {words:?} at {from} is refused: {error}"));
        assert!(head >= to, "{CLAUSE}: the head is {head} after {words:?} at {from}");
    }
    let pieces: Vec<Piece> =
        [(0, "a"), (1, "é"), (3, "bc"), (5, "d🦀"), (10, "!?")].map(|(at, w)| text(0, at, w)).into();
    live.append(r#gen, &pieces).await;
    assert_eq!(
        live.whole(r#gen).await.units,
        units(&[text(0, 0, "aébcd🦀!?")]),
        "{CLAUSE}: text cut elsewhere"
    );
}

pub(super) async fn l2_what_does_not_continue_the_log_diverges_and_changes_nothing(
    subject: &Subject<dyn LiveLog>,
) {
    const CLAUSE: &str = "live.L2";
    let live = subject.live(CLAUSE).await;
    live.open(GEN).await;
    let open = |from, kind| Piece { block: 0, from, body: PieceBody::Open { kind, id: None, name: None } };
    let other_item = PieceBody::Item { part: Part::text("other") };
    live.append(GEN, &[open(0, BlockKind::Text), text(0, 1, "abcdef")]).await;
    let before = live.whole(GEN).await;
    let bad: [(&str, u64, Vec<Piece>); 11] = [
        ("a hole", 8, vec![text(0, 8, "x")]),
        ("a far hole", 1 << 40, vec![text(0, 1 << 40, "x")]),
        ("other text", 3, vec![text(0, 3, "cXe")]),
        ("other text at the end", 6, vec![text(0, 6, "X")]),
        ("other text, then more", 6, vec![text(0, 6, "X and more")]),
        ("another block", 3, vec![text(1, 3, "cd")]),
        ("another kind of block", 0, vec![open(0, BlockKind::Reasoning)]),
        ("a part for text", 3, vec![Piece { block: 0, from: 3, body: other_item }]),
        ("text for a part", 0, vec![text(0, 0, "x")]),
        ("a hole between pieces", 7, vec![text(0, 7, "g"), text(0, 9, "i")]),
        ("new text before other text", 7, vec![text(0, 7, "gh"), text(0, 8, "X")]),
    ];
    for (what, from, pieces) in bad {
        let told = live.log.append(live.chat, live.epoch, GEN, from, &pieces).await;
        assert_eq!(told, Err(LiveError::Diverged { head: 7 }), "{CLAUSE}: {what}");
        assert_eq!(live.whole(GEN).await, before, "{CLAUSE}: {what} changed the log");
    }
    let elsewhere = live.log.append(live.chat, live.epoch, GEN, 3, &[text(0, 7, "g")]).await;
    assert_eq!(
        elsewhere,
        Err(LiveError::Diverged { head: 7 }),
        "{CLAUSE}: pieces from another unit than said"
    );
    assert_eq!(live.whole(GEN).await, before, "{CLAUSE}: pieces from another unit than said changed the log");
    live.append(GEN, &[text(0, 5, "efg")]).await;
}

pub(super) async fn l2_a_gen_that_is_not_open_takes_nothing(subject: &Subject<dyn LiveLog>) {
    const CLAUSE: &str = "live.L2";
    let live = subject.live(CLAUSE).await;
    let refused = async |live: &Live, r#gen: Gen, from: u64, error: LiveError, what: &str| {
        let told = live.try_append(r#gen, &[text(0, from, "more")]).await;
        assert_eq!(told, Err(error), "{CLAUSE}: an append to {what}");
    };
    refused(&live, GEN, 0, LiveError::Unknown, "a gen of a new chat").await;
    live.open(GEN).await;
    refused(&live, GEN.next(), 0, LiveError::Unknown, "another gen than the open one").await;
    assert_eq!(
        live.read(GEN.next(), 0, ALL).await,
        LiveRead::Unknown,
        "{CLAUSE}: a refused append opened a gen"
    );
    live.append(GEN, &[text(0, 0, "text")]).await;
    live.seal(GEN, 4).await;
    refused(&live, GEN, 4, LiveError::Sealed { at: 4 }, "a sealed gen").await;
    let seen = live.whole(GEN).await;
    assert_eq!(seen.units, units(&[text(0, 0, "text")]), "{CLAUSE}: a sealed gen has grown");
}
