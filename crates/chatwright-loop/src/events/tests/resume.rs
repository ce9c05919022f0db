//! Resume equivalence (stream.S10) and its kin, over chats by chance.

use std::sync::Arc;
use std::time::Duration;

use chatwright_conformance::{Chance, LossyBus, LossyRates};
use chatwright_core::frame::{Frame, FrameBody, Resume};
use chatwright_core::live::{Piece, PieceBody};
use chatwright_core::view::{Applied, View};
use chatwright_memory::{ManualClock, MemoryBus, MemoryLiveLog, MemoryStore};
use proptest::prelude::*;

use super::client::Client;
use super::laws;
use super::world::{Act, NOW, World, pass};

fn an_act() -> impl Strategy<Value = Act> {
    let words = || "[a-zé😀]{0,4}";
    prop_oneof![
        2 => Just(Act::Say),
        6 => Just(Act::Open),
        6 => words().prop_map(Act::Text),
        2 => words().prop_map(Act::Think),
        3 => Just(Act::Call),
        4 => Just(Act::Seal),
        1 => Just(Act::Interrupt),
        1 => Just(Act::Fail),
        1 => Just(Act::GiveUp),
        1 => Just(Act::LoseWriter),
        4 => (0..3u32, words()).prop_map(|(place, words)| Act::Output(place, words)),
        3 => (0..3u32).prop_map(Act::Result),
        1 => Just(Act::Queue),
        1 => Just(Act::Unqueue),
        1 => Just(Act::Cut),
        1 => Just(Act::Title),
    ]
}

fn acts(most: usize) -> impl Strategy<Value = Vec<Act>> {
    proptest::collection::vec(an_act(), 1..most)
}

fn paused(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(test);
}

/// The beginnings of a delta: at every unit but its ends.
fn beginnings(frame: &Frame) -> Vec<Frame> {
    let FrameBody::Delta { r#gen, pieces } = &frame.body else { return Vec::new() };
    let (first, last) = (pieces[0].from, pieces[pieces.len() - 1].to());
    let at = |off: u64| {
        let pieces: Vec<Piece> = pieces.iter().filter_map(|piece| until(piece, off)).collect();
        let whole = pieces.last().is_some_and(|last| last.to() == off);
        whole.then(|| Frame {
            cursor: frame.cursor.map(|cursor| chatwright_core::frame::Cursor { off, ..cursor }),
            body: FrameBody::Delta { r#gen: *r#gen, pieces },
        })
    };
    (first + 1..last).filter_map(at).collect()
}

/// A piece up to a unit; nothing if that is before it or inside a character.
fn until(piece: &Piece, off: u64) -> Option<Piece> {
    if piece.to() <= off {
        return Some(piece.clone());
    }
    let PieceBody::Append { text } = &piece.body else { return None };
    let end = usize::try_from(off.checked_sub(piece.from)?).ok()?;
    let text = text.get(..end).filter(|text| !text.is_empty())?.to_owned();
    Some(Piece { body: PieceBody::Append { text }, ..piece.clone() })
}

async fn cut_everywhere(acts: &[Act]) {
    let mut world = World::new().await;
    let mut main = Client::new(&world, Resume::Nothing).await;
    let mut cuts: Vec<View> = vec![main.view.clone()];
    for act in acts {
        world.act(act).await;
        while let Some(frame) = main.frame().await {
            for beginning in beginnings(&frame) {
                let mut cut = main.view.clone();
                assert_eq!(cut.apply(&beginning), Applied::Ok);
                assert_eq!(cut.cursor(), beginning.cursor);
                cuts.push(cut);
            }
            main.take(frame, &world.facts);
            cuts.push(main.view.clone());
        }
        for cut in &cuts {
            let mut back = Client::resume(&world, cut.clone()).await;
            back.pull(&world.facts).await;
            assert!(back.view.is_caught_up());
            assert_eq!(back.seen(), main.seen(), "resumed with {:?}", cut.cursor());
            assert_eq!(back.view.cursor(), main.view.cursor());
            assert_eq!(laws::in_order_after(cut, &back.frames), Ok(()));
        }
    }
    assert_eq!(laws::in_order(&main.frames), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whoever_is_cut_off_anywhere_and_resumes_sees_what_others_see(acts in acts(24)) {
        paused(cut_everywhere(&acts));
    }

    #[test]
    fn it_makes_no_difference_when_and_how_often_a_viewer_reads(
        acts in acts(40),
        reads in proptest::collection::vec(any::<bool>(), 40),
        frame_bytes in prop_oneof![Just(1usize), Just(3), Just(64 * 1024)],
    ) {
        paused(async {
            let mut world = World::new().await;
            world.settings.frame_bytes = frame_bytes;
            let mut eager = Client::new(&world, Resume::Nothing).await;
            let mut lazy = Client::new(&world, Resume::Nothing).await;
            for (act, reads) in acts.iter().zip(reads) {
                world.act(act).await;
                eager.pull(&world.facts).await;
                if reads {
                    lazy.pull(&world.facts).await;
                    assert_eq!(lazy.seen(), eager.seen());
                }
            }
            lazy.pull(&world.facts).await;
            assert_eq!(lazy.view.cursor(), eager.view.cursor());
            assert_eq!(lazy.seen(), eager.seen());
            assert_eq!(laws::in_order(&lazy.frames), Ok(()));
        });
    }

    #[test]
    fn doorbells_that_are_lost_doubled_or_late_change_nothing(acts in acts(40), seed: u64) {
        paused(async {
            let clock = Arc::new(ManualClock::new(NOW));
            let rates = LossyRates { lose: 40, double: 30, reorder: 30 };
            let bus = LossyBus::new(Arc::new(MemoryBus::new()), rates, Chance::new(seed));
            let live = Arc::new(MemoryLiveLog::new(clock.clone()));
            let mut world = World::with(Arc::new(MemoryStore::new(clock)), Arc::new(bus), live).await;
            let mut client = Client::new(&world, Resume::Nothing).await;
            for act in &acts {
                world.act(act).await;
                client.pull(&world.facts).await;
            }
            // The poll finds what no doorbell told.
            pass(Duration::from_secs(13)).await;
            client.pull(&world.facts).await;
            let mut fresh = Client::new(&world, Resume::Nothing).await;
            fresh.pull(&world.facts).await;
            assert_eq!(client.seen(), fresh.seen());
            assert_eq!(client.view.cursor(), fresh.view.cursor());
            assert_eq!(laws::in_order(&client.frames), Ok(()));
        });
    }
}
