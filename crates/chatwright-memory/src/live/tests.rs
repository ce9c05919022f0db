mod model;

use chatwright_core::Uuid;
use chatwright_core::content::Part;
use chatwright_core::live::PieceBody;
use futures::FutureExt;

use super::*;
use crate::ManualClock;

const CHAT: ChatId = ChatId::from_uuid(Uuid::from_u128(1));
const OTHER: ChatId = ChatId::from_uuid(Uuid::from_u128(2));
const EPOCH: Epoch = Epoch::new(1);
const GEN: Gen = Gen::new(1);

fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing to wait for")
}

fn fixture() -> (Arc<ManualClock>, MemoryLiveLog) {
    let clock = Arc::new(ManualClock::new(chatwright_core::Timestamp::from_millis(0)));
    (Arc::clone(&clock), MemoryLiveLog::new(clock))
}

fn opened() -> MemoryLiveLog {
    let (_, log) = fixture();
    ready(log.open(CHAT, EPOCH, GEN)).expect("a new gen");
    log
}

fn text(block: u32, from: u64, text: &str) -> Piece {
    Piece { block, from, body: PieceBody::Append { text: text.to_owned() } }
}

fn append(log: &MemoryLiveLog, pieces: &[Piece]) -> Result<u64, LiveError> {
    ready(log.append(CHAT, EPOCH, GEN, pieces.first().map_or(0, |piece| piece.from), pieces))
}

fn read(log: &MemoryLiveLog, from: u64, max: usize) -> Result<LiveRead, LiveError> {
    ready(log.read(CHAT, GEN, from, max))
}

#[test]
fn a_higher_epoch_begins_a_gen_anew_even_where_a_lower_one_sealed_it() {
    let log = opened();
    assert_eq!(append(&log, &[text(0, 0, "old")]), Ok(3));
    ready(log.open(CHAT, EPOCH, GEN)).expect("still open");
    assert_eq!(append(&log, &[text(0, 3, "er")]), Ok(5), "the same epoch goes on");
    ready(log.seal(CHAT, EPOCH, GEN, 5)).expect("sealed");
    ready(log.open(CHAT, EPOCH.next(), GEN)).expect("a new beginning");
    let empty = LiveRead::Pieces { pieces: vec![], head: 0, capped: false };
    assert_eq!(read(&log, 0, 100), Ok(empty));
}

#[test]
fn the_cap_takes_what_fits_and_is_sticky() {
    let log = opened().with_cap(4);
    assert_eq!(append(&log, &[text(0, 0, "abcé"), text(1, 5, "x")]), Err(LiveError::Capped { head: 3 }));
    assert_eq!(append(&log, &[text(0, 3, "d")]), Err(LiveError::Capped { head: 3 }), "though it would fit");
    assert_eq!(append(&log, &[text(0, 1, "bc")]), Ok(3), "a repetition takes no room");
    assert_eq!(append(&log, &[text(0, 1, "bx")]), Err(LiveError::Diverged { head: 3 }));
    let capped = |pieces| Ok(LiveRead::Pieces { pieces, head: 3, capped: true });
    assert_eq!(read(&log, 0, 100), capped(vec![text(0, 0, "abc")]));
    assert_eq!(read(&log, 3, 100), capped(vec![]));
}

#[test]
fn structural_pieces_count_towards_the_cap_and_no_cap_is_above_the_general_one() {
    let log = opened().with_cap(usize::MAX);
    let close = |from| Piece { block: 0, from, body: PieceBody::Close };
    let capped = (0..limits::LIVE_BYTES_MAX as u64).map(close).find_map(|piece| append(&log, &[piece]).err());
    let each = r#"{"type":"close"}"#.len();
    assert_eq!(capped, Some(LiveError::Capped { head: (limits::LIVE_BYTES_MAX / each) as u64 }));
}

#[test]
fn a_page_splits_text_and_has_at_least_one_character_or_part() {
    let log = opened();
    let item = Piece { block: 1, from: 7, body: PieceBody::Item { part: Part::text("a long item") } };
    append(&log, &[text(0, 0, "é"), text(0, 2, "abc"), text(1, 5, "de"), item.clone()]).expect("contiguous");
    let page = |from, max| match read(&log, from, max) {
        Ok(LiveRead::Pieces { pieces, head: 8, capped: false }) => pieces,
        other => panic!("{other:?}"),
    };
    assert_eq!(page(0, 0), [text(0, 0, "é")]);
    assert_eq!(page(0, 3), [text(0, 0, "éa")]);
    assert_eq!(page(3, 3), [text(0, 3, "bc"), text(1, 5, "d")]);
    assert_eq!(page(6, 2), [text(1, 6, "e")], "the item does not fit");
    assert_eq!(page(7, 2), [item], "but comes alone");
    assert_eq!(read(&log, 1, 9), Err(LiveError::Boundary { off: 1 }));
    assert_eq!(page(99, 9), []);
}

#[test]
fn pieces_with_a_hole_or_without_units_are_refused() {
    let log = opened();
    for pieces in [vec![text(0, 1, "a")], vec![text(0, 0, "a"), text(0, 2, "b")], vec![text(0, 0, "")]] {
        assert_eq!(append(&log, &pieces), Err(LiveError::Diverged { head: 0 }), "{pieces:?}");
    }
    let misplaced = ready(log.append(CHAT, EPOCH, GEN, 1, &[text(0, 0, "a")]));
    assert_eq!(misplaced, Err(LiveError::Diverged { head: 0 }));
    let last = text(0, u64::MAX, "a");
    assert_eq!(append(&log, &[last]), Err(LiveError::Diverged { head: 0 }));
}

#[test]
fn sealed_gens_are_freed_after_a_minute_whatever_chat_is_touched() {
    let (clock, log) = fixture();
    ready(log.open(CHAT, EPOCH, GEN)).expect("a new gen");
    append(&log, &[text(0, 0, "a")]).expect("contiguous");
    ready(log.seal(CHAT, EPOCH, GEN, 1)).expect("open");
    clock.advance(SEALED_KEPT - Duration::from_millis(1));
    ready(log.seal(CHAT, EPOCH, GEN, 9)).expect("sealing twice is fine");
    let kept = LiveRead::Pieces { pieces: vec![text(0, 0, "a")], head: 1, capped: false };
    assert_eq!(read(&log, 0, 9), Ok(kept));
    assert_eq!(read(&log, 1, 9), Ok(LiveRead::Sealed { at: 1 }), "the first seal counts");
    clock.advance(Duration::from_millis(1));
    ready(log.open(OTHER, EPOCH, GEN)).expect("a new gen");
    assert_eq!(log.tables.lock().chats.keys().collect::<Vec<_>>(), [&OTHER]);
    assert_eq!(read(&log, 0, 9), Ok(LiveRead::Unknown));
    clock.advance(Duration::MAX);
    assert_eq!(log.sweep(), 1, "the open gen stays");
}

#[test]
fn a_chat_keeps_its_sixteen_newest_gens() {
    let (_, log) = fixture();
    for number in 1..=GENS_MAX as u64 + 1 {
        ready(log.open(CHAT, EPOCH, Gen::new(number))).expect("a new gen");
    }
    assert_eq!(read(&log, 0, 9), Ok(LiveRead::Unknown));
    assert_eq!(log.tables.lock().chats[&CHAT].gens.len(), GENS_MAX);
}

#[test]
fn a_gen_that_was_sealed_before_it_was_opened_stays_sealed() {
    let (_, log) = fixture();
    ready(log.seal(CHAT, EPOCH, GEN, 7)).expect("fine");
    assert_eq!(ready(log.open(CHAT, EPOCH, GEN)), Err(LiveError::Sealed { at: 7 }));
    assert_eq!(read(&log, 0, 9), Ok(LiveRead::Sealed { at: 7 }));
}

#[test]
fn every_write_raises_the_fence_of_its_chat() {
    let (old, new) = (EPOCH, EPOCH.next());
    let fenced = LiveError::Fenced { seen: new };
    let raises: [fn(&MemoryLiveLog, Epoch); 3] = [
        |log, epoch| ready(log.open(CHAT, epoch, Gen::new(2))).expect("a new gen"),
        |log, epoch| assert_eq!(ready(log.append(CHAT, epoch, GEN, 0, &[])), Ok(0)),
        |log, epoch| ready(log.seal(CHAT, epoch, GEN, 0)).expect("open"),
    ];
    for raise in raises {
        let log = opened();
        raise(&log, new);
        assert_eq!(ready(log.open(CHAT, old, Gen::new(3))), Err(fenced.clone()));
        assert_eq!(append(&log, &[text(0, 0, "a")]), Err(fenced.clone()));
        assert_eq!(ready(log.seal(CHAT, old, GEN, 0)), Err(fenced.clone()));
        ready(log.open(OTHER, old, GEN)).expect("another chat has its own fence");
    }
}

#[test]
fn wake_ups_are_merged_and_never_lost_and_leave_nothing_behind() {
    let (_, log) = fixture();
    let (mut one, other) = (log.changed(CHAT), log.changed(CHAT));
    assert_eq!(one.next().now_or_never(), None);
    ready(log.open(CHAT, EPOCH, GEN)).expect("a new gen");
    append(&log, &[text(0, 0, "a")]).expect("contiguous");
    assert_eq!(one.next().now_or_never(), Some(Some(())));
    assert_eq!(one.next().now_or_never(), None, "merged");
    append(&log.clone().with_cap(1), &[text(0, 1, "b")]).expect_err("over the cap");
    assert_eq!(one.next().now_or_never(), Some(Some(())), "the cap is news");
    append(&log, &[text(0, 5, "a")]).expect_err("a hole");
    ready(log.open(OTHER, EPOCH, GEN)).expect("a new gen");
    assert_eq!(one.next().now_or_never(), None, "nothing of the chat has changed");

    drop(other);
    assert_eq!(log.tables.lock().wakes.len(), 1);
    let mut last = log.changed(OTHER);
    drop((one, log.changed(CHAT)));
    assert_eq!(log.tables.lock().wakes.keys().collect::<Vec<_>>(), [&OTHER]);
    ready(log.seal(OTHER, EPOCH, GEN, 0)).expect("open");
    drop(log);
    assert_eq!(last.next().now_or_never(), Some(Some(())), "the last change is told");
    assert_eq!(last.next().now_or_never(), Some(None), "the stream ends with the log");
}
