//! L1: a reader that waits learns of everything.

use chatwright_core::live::Piece;
use chatwright_core::port::{LiveLog, LiveRead, LiveWakes};
use futures::{FutureExt, StreamExt};
use tokio::task::JoinSet;

use super::fixture::{GEN, Live, Unit, fold, text, units};
use crate::Subject;
use crate::wait::{all, within};

/// What a reader sees that waits for wake-ups alone, until the seal.
async fn follow(live: Live) -> Vec<Unit> {
    let clause = live.clause;
    let mut wakes = live.log.changed(live.chat);
    let (mut seen, mut next) = (Vec::new(), 0);
    loop {
        match live.read(GEN, next, 64).await {
            LiveRead::Sealed { at } => {
                assert_eq!(at, next, "{clause}: the gen ends elsewhere than it was sealed");
                return seen;
            }
            LiveRead::Pieces { pieces, .. } if !pieces.is_empty() => {
                next = fold(&mut seen, next, &pieces, clause);
                continue;
            }
            _ => {}
        }
        wake(&mut wakes, "a reader came to the head", clause).await;
    }
}

pub(super) async fn l1_a_reader_beside_the_writer_follows_to_the_seal(subject: &Subject<dyn LiveLog>) {
    const CLAUSE: &str = "live.L1";
    let live = subject.live(CLAUSE).await;
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        readers.spawn(follow(live.clone()));
    }
    tokio::task::yield_now().await;
    live.open(GEN).await;
    let mut from = 0;
    let mut written: Vec<Piece> = Vec::new();
    for n in 0..200 {
        let piece = text(n / 50, from, format!("piece é{n} "));
        from = piece.to();
        live.append(GEN, std::slice::from_ref(&piece)).await;
        written.push(piece);
        for _ in 0..subject.chance.below(4) {
            tokio::task::yield_now().await;
        }
    }
    live.seal(GEN, from).await;
    for seen in all(readers).await {
        assert!(seen == units(&written), "{CLAUSE}: a reader beside the writer saw other units");
    }
}

pub(super) async fn l1_a_wake_up_is_never_lost(subject: &Subject<dyn LiveLog>) {
    const CLAUSE: &str = "live.L1";
    let live = subject.live(CLAUSE).await;
    let mut wakes = live.log.changed(live.chat);
    let mut other = live.log.changed(live.chat);
    // Nobody waits when it happens.
    live.open(GEN).await;
    wake(&mut wakes, "an open", CLAUSE).await;
    for n in 0..20 {
        live.append(GEN, &[text(0, n, "x")]).await;
        wake(&mut wakes, "an append", CLAUSE).await;
    }
    live.append(GEN, &[text(0, 20, "x")]).await;
    live.append(GEN, &[text(0, 21, "x")]).await;
    wake(&mut wakes, "two appends", CLAUSE).await;
    // They may have been two wake-ups: the seal must be one of its own.
    while wakes.next().now_or_never().is_some() {}
    live.seal(GEN, 22).await;
    wake(&mut wakes, "a seal", CLAUSE).await;
    wake(&mut other, "all that a reader never looked at", CLAUSE).await;
}

async fn wake(wakes: &mut LiveWakes, what: &str, clause: &str) {
    let woken = within(clause, &format!("a wake-up after {what}"), wakes.next()).await;
    assert!(woken.is_some(), "{clause}: wake-ups end while the log lives");
}
