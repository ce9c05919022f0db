//! Every row of the table of cursors.

use chatwright_core::frame::{Cursor, FrameBody, HelloMode, ResetReason, Resume};

use super::client::{Client, names};
use super::world::{Act, World, text};

/// Gen 1 is sealed at unit 6, gen 2 is open and has 9 units: a start and `Hé there` up to `Hé the`.
async fn world() -> World {
    let mut world = World::new().await;
    for act in [Act::Open, text("First"), Act::Seal, Act::Say, Act::Open, text("Hé the")] {
        world.act(&act).await;
    }
    world
}

async fn offered(world: &World, cursor: Cursor) -> Client {
    let mut client = Client::new(world, Resume::From(cursor)).await;
    while let Some(frame) = client.frame().await {
        client.frames.push(frame);
    }
    client
}

async fn reset_because(world: &World, resume: Resume) -> ResetReason {
    let mut client = Client::new(world, resume).await;
    client.pull(&world.facts).await;
    let FrameBody::Hello { mode: HelloMode::Reset { reason } } = client.frames[0].body else {
        panic!("no reset: {:?}", client.frames)
    };
    // A reset is a whole snapshot.
    let mut fresh = Client::new(world, Resume::Nothing).await;
    fresh.pull(&world.facts).await;
    assert_eq!(client.frames[1..], fresh.frames[1..]);
    assert!(client.view.is_caught_up());
    reason
}

#[tokio::test(start_paused = true)]
async fn without_a_cursor_there_is_a_snapshot() {
    let world = world().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    let expected =
        ["hello", "state", "record", "record", "record", "record", "record", "live.snapshot", "caught_up"];
    assert_eq!(client.names(), expected);
    assert_eq!(client.frames[0].body, FrameBody::Hello { mode: HelloMode::Snapshot });
    let shown: Vec<_> = client.frames.iter().map(|frame| frame.cursor.is_some()).collect();
    assert_eq!(shown, [false, false, false, false, false, false, true, true, false], "it is taken whole");
    assert_eq!(client.view.cursor(), Some(world.cursor(world.last_seq().get(), 2, 8)));
    assert!(client.seen().to_string().ends_with("… Hé the\n(running)\n"), "{}", client.seen());
}

#[tokio::test(start_paused = true)]
async fn now_is_the_state_the_preview_and_the_future() {
    let mut world = world().await;
    let mut client = Client::new(&world, Resume::Now).await;
    client.pull(&world.facts).await;
    assert_eq!(client.names(), ["hello", "state", "record", "live.snapshot", "caught_up"]);
    assert!(client.seen().messages.is_empty() && client.seen().more_before);
    assert_eq!(client.view.cursor(), Some(world.cursor(world.last_seq().get(), 2, 8)));
    for act in [text("re"), Act::Seal] {
        world.act(&act).await;
        client.pull(&world.facts).await;
    }
    assert_eq!(client.names()[5..], ["delta", "record", "state"]);
    assert_eq!(client.seen().messages.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn within_the_open_gen_pieces_follow_from_the_offset() {
    let world = world().await;
    let last = world.last_seq().get();
    for (off, rest) in [(0, 8), (1, 7), (2, 6), (4, 4), (7, 1)] {
        let client = offered(&world, world.cursor(last, 2, off)).await;
        assert_eq!(client.names(), ["hello", "state", "delta", "caught_up"], "at {off}");
        let FrameBody::Delta { pieces, .. } = &client.frames[2].body else { panic!("a delta") };
        let units: u64 = pieces.iter().map(chatwright_core::live::Piece::units).sum();
        assert_eq!((pieces[0].from, units), (off, rest));
        assert_eq!(client.frames[2].cursor, Some(world.cursor(last, 2, 8)));
    }
    let client = offered(&world, world.cursor(last, 2, 8)).await;
    assert_eq!(client.names(), ["hello", "state", "caught_up"]);
    assert_eq!(client.frames[0].body, FrameBody::Hello { mode: HelloMode::Resume });
}

#[tokio::test(start_paused = true)]
async fn after_the_seal_the_records_follow_and_then_the_open_gen_as_a_whole() {
    let world = world().await;
    // At the opening of gen 1, with some of it.
    let client = offered(&world, world.cursor(3, 1, 4)).await;
    let expected = ["hello", "record", "record", "record", "state", "live.snapshot", "caught_up"];
    assert_eq!(client.names(), expected);
    // Behind its seal.
    let client = offered(&world, world.cursor(6, 1, 6)).await;
    assert_eq!(client.names(), ["hello", "record", "record", "state", "live.snapshot", "caught_up"]);
}

#[tokio::test(start_paused = true)]
async fn with_no_gen_open_the_end_of_the_last_one_is_a_cursor() {
    let mut world = World::new().await;
    for act in [Act::Open, text("First"), Act::Seal] {
        world.act(&act).await;
    }
    let client = offered(&world, world.cursor(6, 1, 6)).await;
    assert_eq!(client.names(), ["hello", "state", "caught_up"]);
    assert_eq!(client.frames[1].cursor, Some(world.cursor(6, 1, 6)));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_head_of_the_open_gen_the_stream_waits_for_pieces() {
    let mut world = world().await;
    let last = world.last_seq().get();
    let mut client = offered(&world, world.cursor(last, 2, 10)).await;
    assert_eq!(client.names(), ["hello", "state", "caught_up"]);
    world.act(&text("re!")).await;
    let frame = client.frame().await.expect("the live log is there again");
    assert_eq!(frame.cursor, Some(world.cursor(last, 2, 11)));
    let FrameBody::Delta { pieces, .. } = frame.body else { panic!("a delta") };
    assert_eq!(pieces[0].from, 10, "what it said that it has is not sent again");

    // Or for the seal.
    let mut client = offered(&world, world.cursor(last, 2, 99)).await;
    world.act(&Act::Seal).await;
    let sealed = client.frame().await.expect("the seal");
    assert_eq!((sealed.body.name(), sealed.cursor), ("record", Some(world.cursor(last + 3, 2, 11))));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_head_and_inside_a_character_it_is_reset_when_that_is_known() {
    let mut world = world().await;
    let last = world.last_seq().get();
    let mut client = offered(&world, world.cursor(last, 2, 9)).await;
    assert_eq!(client.names(), ["hello", "state", "caught_up"]);
    client.frames.clear();
    world.act(&text("é")).await;
    while let Some(frame) = client.frame().await {
        client.frames.push(frame);
    }
    let mode = HelloMode::Reset { reason: ResetReason::Off };
    assert_eq!(client.frames[0].body, FrameBody::Hello { mode });
    assert_eq!(names(&client.frames)[7..], ["live.snapshot", "caught_up"]);
}

#[tokio::test(start_paused = true)]
async fn whatever_cannot_be_used_is_reset_with_its_reason() {
    let world = world().await;
    let last = world.last_seq().get();
    let cursor = |seq, r#gen, off| Resume::From(world.cursor(seq, r#gen, off));
    for (resume, reason) in [
        (Resume::parse(Some(b"\0")), ResetReason::Malformed),
        (Resume::parse(Some(&[b'x'; 200])), ResetReason::Malformed),
        (Resume::parse(Some(b"v2.1.2.3")), ResetReason::Version),
        (Resume::From(Cursor { tag: 1, ..world.cursor(last, 2, 0) }), ResetReason::Tag),
        (cursor(last + 1, 2, 0), ResetReason::Seq),
        (cursor(u64::MAX, u64::MAX, u64::MAX), ResetReason::Seq),
        (cursor(last, 3, 0), ResetReason::Gen),
        (cursor(last, 1, 6), ResetReason::Gen),
        (cursor(last - 1, 2, 0), ResetReason::Gen),
        (cursor(last, 2, 3), ResetReason::Off),
        (cursor(1, 0, 0), ResetReason::InsideCommit),
        (cursor(4, 1, 0), ResetReason::InsideCommit),
    ] {
        assert_eq!(reset_because(&world, resume).await, reason, "{resume:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_cursor_is_answered() {
    let world = world().await;
    for seq in 0..=world.last_seq().get() + 1 {
        for r#gen in 0..4 {
            for off in 0..12 {
                let client = offered(&world, world.cursor(seq, r#gen, off)).await;
                let end = client.names().last().copied();
                assert_eq!(end, Some("caught_up"), "{seq}.{gen}.{off}", r#gen = r#gen);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_cursor_that_is_handed_out_can_be_used() {
    let mut world = World::new().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    for act in [Act::Open, text("Hé"), Act::Call, Act::Seal, Act::Output(0, "é".into()), Act::Result(0)] {
        world.act(&act).await;
        client.pull(&world.facts).await;
    }
    for cursor in client.frames.iter().filter_map(|frame| frame.cursor) {
        let resumed = offered(&world, cursor).await;
        assert_eq!(resumed.frames[0].body, FrameBody::Hello { mode: HelloMode::Resume }, "{cursor}");
    }
}
