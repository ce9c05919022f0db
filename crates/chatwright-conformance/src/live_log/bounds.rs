//! L3, L4: who may write, and how much.

use chatwright_core::Gen;
use chatwright_core::content::Part;
use chatwright_core::limits::LIVE_BYTES_MAX;
use chatwright_core::live::{Piece, PieceBody};
use chatwright_core::port::{LiveError, LiveLog, LiveRead};
use chatwright_core::{ChatId, Epoch};

use super::fixture::{ALL, GEN, Live, Seen, text, units};
use crate::Subject;

pub(super) async fn l3_an_older_epoch_is_refused_and_changes_nothing(subject: &Subject<dyn LiveLog>) {
    const CLAUSE: &str = "live.L3";
    if subject.is_writer_memory() {
        println!("{CLAUSE}: not checked, the log is in its writer's memory and fenced by it");
        return;
    }
    let fresh = subject.live(CLAUSE).await;
    for raised_by in ["an open", "a seal"] {
        let chat = ChatId::mint(&subject.ids);
        let old = Live { chat, ..fresh.at(3) };
        let new = old.at(5);
        old.open(GEN).await;
        old.append(GEN, &[text(0, 0, "old")]).await;
        if raised_by == "an open" {
            new.open(Gen::new(2)).await;
        } else {
            new.seal(GEN, 3).await;
        }
        let before = (new.whole(GEN).await, new.seen(Gen::new(2), 0, ALL).await);
        let fenced = LiveError::Fenced { seen: Epoch::new(5) };
        for epoch in [1, 3, 4] {
            let stale = old.at(epoch);
            let opened = stale.log.open(chat, stale.epoch, Gen::new(4)).await;
            assert_eq!(opened, Err(fenced.clone()), "{CLAUSE}: an open at {epoch} after {raised_by} at 5");
            let appended = stale.try_append(GEN, &[text(0, 3, " more")]).await;
            assert_eq!(
                appended,
                Err(fenced.clone()),
                "{CLAUSE}: an append at {epoch} after {raised_by} at 5"
            );
            let sealed = stale.log.seal(chat, stale.epoch, GEN, 3).await;
            assert_eq!(sealed, Err(fenced.clone()), "{CLAUSE}: a seal at {epoch} after {raised_by} at 5");
        }
        let after = (new.whole(GEN).await, new.seen(Gen::new(2), 0, ALL).await);
        assert_eq!(after, before, "{CLAUSE}: a fenced writer changed the log");
        assert_eq!(
            new.read(Gen::new(4), 0, ALL).await,
            LiveRead::Unknown,
            "{CLAUSE}: a fenced writer opened a gen"
        );
        // The same epoch goes on, and a chat has a fence of its own.
        new.open(Gen::new(6)).await;
        new.append(Gen::new(6), &[text(0, 0, "new")]).await;
        Live { chat: ChatId::mint(&subject.ids), ..old }.open(GEN).await;
    }
}

pub(super) async fn l3_opening_under_a_higher_epoch_begins_the_gen_anew(subject: &Subject<dyn LiveLog>) {
    const CLAUSE: &str = "live.L3";
    let old = subject.live(CLAUSE).await;
    let new = old.at(2);
    old.open(GEN).await;
    old.append(GEN, &[text(0, 0, "from a writer whose record was never committed")]).await;
    new.open(GEN).await;
    let empty = Seen { units: Vec::new(), head: 0, capped: false, sealed: None };
    assert_eq!(new.whole(GEN).await, empty, "{CLAUSE}: what a lower epoch left is still there");
    new.append(GEN, &[text(7, 0, "other words")]).await;
    new.open(GEN).await;
    let seen = new.whole(GEN).await.units;
    assert_eq!(seen, units(&[text(7, 0, "other words")]), "{CLAUSE}: opening again under the same epoch");
}

/// Appends pieces until the cap is met; gives them, and the head that was told.
async fn fill(live: &Live, next: impl Fn(u64) -> Piece, most: usize) -> (Vec<Piece>, u64) {
    let (clause, mut written) = (live.clause, Vec::<Piece>::new());
    for _ in 0..most {
        let head = written.last().map_or(0, Piece::to);
        let piece = next(head);
        let told = live.try_append(GEN, std::slice::from_ref(&piece)).await;
        written.push(piece);
        match told {
            Ok(told) => assert_eq!(Some(told), written.last().map(Piece::to), "{clause}: the head"),
            Err(LiveError::Capped { head: told }) => {
                assert!(told >= head, "{clause}: the head goes back from {head} to {told} at the cap");
                return (written, told);
            }
            Err(error) => panic!("{clause}: an append is refused: {error}"),
        }
    }
    panic!("{clause}: {most} pieces over all bounds are accepted")
}

async fn stays_capped(live: &Live, written: &[Piece], head: u64) {
    let clause = live.clause;
    let all = units(written);
    for _ in 0..3 {
        let seen = live.whole(GEN).await;
        assert!(seen.capped, "{clause}: a reader is not told of the cap");
        assert_eq!(seen.head, head, "{clause}: the head of a capped gen is not the one that was told");
        assert_eq!(seen.units.len() as u64, head, "{clause}: a capped gen lost units");
        assert!(all.starts_with(&seen.units), "{clause}: a capped gen holds other units than were written");
        for piece in
            [text(0, head, "x"), text(9, head, "y"), Piece { block: 0, from: head, body: PieceBody::Close }]
        {
            let told = live.try_append(GEN, &[piece]).await;
            assert_eq!(told, Err(LiveError::Capped { head }), "{clause}: the cap is not for good");
        }
    }
    live.open(GEN.next()).await;
    live.append(GEN.next(), &[text(0, 0, "another gen has room")]).await;
    live.seal(GEN, head).await;
    assert_eq!(live.whole(GEN).await.sealed, Some(head), "{clause}: a capped gen can be sealed");
}

pub(super) async fn l4_past_the_cap_a_gen_takes_no_more_for_good(subject: &Subject<dyn LiveLog>) {
    const CLAUSE: &str = "live.L4";
    let live = subject.live(CLAUSE).await;
    live.open(GEN).await;
    // Not a divisor of any cap, and with characters to be cut between.
    let words = "é".repeat(9_999);
    let most = 2 * LIVE_BYTES_MAX / words.len();
    let (written, head) = fill(&live, |from| text((from % 2) as u32, from, &*words), most).await;
    assert!(head <= LIVE_BYTES_MAX as u64, "{CLAUSE}: {head} bytes of text are stored");
    stays_capped(&live, &written, head).await;
}

pub(super) async fn l4_whatever_is_not_text_counts_too(subject: &Subject<dyn LiveLog>) {
    const CLAUSE: &str = "live.L4";
    let live = subject.live(CLAUSE).await;
    live.open(GEN).await;
    let item =
        |from| Piece { block: 0, from, body: PieceBody::Item { part: Part::text("x".repeat(10_000)) } };
    let (written, head) = fill(&live, item, 2 * LIVE_BYTES_MAX / 10_000).await;
    assert!(head <= LIVE_BYTES_MAX as u64 / 10_000, "{CLAUSE}: {head} items of 10,000 bytes are stored");
    stays_capped(&live, &written, head).await;
}
