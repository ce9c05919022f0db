//! L1: what is read, and that it stays so.

use chatwright_core::Gen;
use chatwright_core::live::Piece;
use chatwright_core::port::{LiveError, LiveLog, LiveRead};

use super::fixture::{ALL, GEN, Seen, is_inside, sample, text, units};
use crate::Subject;

pub(super) async fn l1_a_unit_once_readable_never_changes(subject: &Subject<dyn LiveLog>) {
    const CLAUSE: &str = "live.L1";
    let live = subject.live(CLAUSE).await;
    live.open(GEN).await;
    let sample = sample();
    for count in 1..=sample.len() {
        let told = &sample[..count];
        live.append(GEN, &told[count - 1..]).await;
        let head = told[count - 1].to();
        // Neither a refusal, a repetition nor opening it again touches what is there.
        let refused = live.try_append(GEN, &[text(0, 0, "other words"), text(0, 11, "more")]).await;
        assert!(refused.is_err(), "{CLAUSE}: other text for known units is accepted");
        live.append(GEN, told).await;
        live.open(GEN).await;
        let expected = Seen { units: units(told), head, capped: false, sealed: None };
        assert_eq!(live.whole(GEN).await, expected, "{CLAUSE}: after {count} pieces");
    }
    let head = sample.last().map_or(0, Piece::to);
    live.seal(GEN, head).await;
    assert_eq!(live.whole(GEN).await.units, units(&sample), "{CLAUSE}: after the seal");
}

pub(super) async fn l1_pages_of_any_size_from_any_unit_say_the_same(subject: &Subject<dyn LiveLog>) {
    const CLAUSE: &str = "live.L1";
    let live = subject.live(CLAUSE).await;
    live.open(GEN).await;
    let sample = sample();
    live.append(GEN, &sample).await;
    let (units, head) = (units(&sample), sample.last().map_or(0, Piece::to));
    for from in 0..=head {
        if is_inside(&sample, from) {
            let read = live.try_read(GEN, from, ALL).await;
            assert_eq!(
                read,
                Err(LiveError::Boundary { off: from }),
                "{CLAUSE}: unit {from} is inside a character"
            );
            continue;
        }
        for max in [0, 1, 2, 3, 5, 17, ALL] {
            let expected = Seen {
                units: units[usize::try_from(from).expect("a small log")..].to_vec(),
                head,
                capped: false,
                sealed: None,
            };
            let seen = live.seen(GEN, from, max).await;
            assert_eq!(seen, Some(expected), "{CLAUSE}: pages of {max} from unit {from}");
        }
    }
    let beyond = live.read(GEN, head + 1_000, ALL).await;
    assert_eq!(
        beyond,
        LiveRead::Pieces { pieces: Vec::new(), head, capped: false },
        "{CLAUSE}: beyond the head"
    );
}

pub(super) async fn l1_a_page_is_about_as_large_as_asked(subject: &Subject<dyn LiveLog>) {
    const CLAUSE: &str = "live.L1";
    /// Of one piece.
    const BYTES: u64 = 512;
    let live = subject.live(CLAUSE).await;
    live.open(GEN).await;
    // Blocks take turns, so that no log merges its pieces.
    let pieces: Vec<Piece> =
        (0..256).map(|n| text((n % 2) as u32, n * BYTES, "x".repeat(BYTES as usize))).collect();
    live.append(GEN, &pieces).await;
    for max in [1, 1_000, 8_192] {
        let LiveRead::Pieces { pieces, .. } = live.read(GEN, 0, max).await else {
            panic!("{CLAUSE}: an open gen has pieces")
        };
        let bytes: u64 = pieces.iter().map(Piece::units).sum();
        assert!(bytes > 0, "{CLAUSE}: a page of {max} bytes is empty");
        // About: one piece more, and then some.
        let most = (max as u64 + BYTES) * 2;
        assert!(bytes <= most, "{CLAUSE}: a page of about {max} bytes has {bytes} bytes of text");
    }
}

pub(super) async fn l1_chats_and_gens_do_not_mix(subject: &Subject<dyn LiveLog>) {
    const CLAUSE: &str = "live.L1";
    let one = subject.live(CLAUSE).await;
    let other = super::fixture::Live { chat: chatwright_core::ChatId::mint(&subject.ids), ..one.clone() };
    let places = [(&one, Gen::new(1)), (&one, Gen::new(2)), (&one, Gen::new(7)), (&other, Gen::new(1))];
    let word = |n: usize| format!("log {n} of several");
    for (n, (live, r#gen)) in places.into_iter().enumerate() {
        let unknown = live.read(r#gen, 0, ALL).await;
        assert_eq!(unknown, LiveRead::Unknown, "{CLAUSE}: log {n} is known before it is opened");
        live.open(r#gen).await;
        assert_eq!(live.whole(r#gen).await.units, [], "{CLAUSE}: log {n} has units from the start");
        live.append(r#gen, &[text(0, 0, word(n))]).await;
    }
    one.seal(Gen::new(2), 18).await;
    for (n, (live, r#gen)) in places.into_iter().enumerate() {
        let seen = live.whole(r#gen).await;
        assert_eq!(seen.units, units(&[text(0, 0, word(n))]), "{CLAUSE}: log {n} has the units of another");
        let sealed = (n == 1).then_some(18);
        assert_eq!(seen.sealed, sealed, "{CLAUSE}: log {n} was sealed or not with another");
    }
}

pub(super) async fn l1_a_sealed_gen_stays_readable_and_ends_where_it_was_sealed(
    subject: &Subject<dyn LiveLog>,
) {
    const CLAUSE: &str = "live.L1";
    let live = subject.live(CLAUSE).await;
    let sample = sample();
    let head = sample.last().map_or(0, Piece::to);
    assert_eq!(live.read(GEN, 0, ALL).await, LiveRead::Unknown, "{CLAUSE}: nothing is known of a new gen");
    live.open(GEN).await;
    live.append(GEN, &sample).await;
    for at in [head, head + 9] {
        // Twice is fine, and the first one stays.
        live.seal(GEN, at).await;
        for max in [3, ALL] {
            let seen = live.seen(GEN, 0, max).await;
            let expected = Seen { units: units(&sample), head, capped: false, sealed: Some(head) };
            assert_eq!(seen, Some(expected), "{CLAUSE}: a sealed gen in pages of {max}");
        }
        for from in [head, head + 1] {
            assert_eq!(live.read(GEN, from, ALL).await, LiveRead::Sealed { at: head }, "{CLAUSE}: at {from}");
        }
    }
    let again = live.log.open(live.chat, live.epoch, GEN).await;
    assert_eq!(again, Err(LiveError::Sealed { at: head }), "{CLAUSE}: a sealed gen opens again");
    // Empty, and sealed where the writer says.
    live.open(GEN.next()).await;
    live.seal(GEN.next(), 0).await;
    let empty = live.read(GEN.next(), 0, ALL).await;
    assert_eq!(empty, LiveRead::Sealed { at: 0 }, "{CLAUSE}: an empty gen that is sealed");
}
