//! How a stream follows a chat: doorbells, wake-ups, polls and pings.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_conformance::{Counting, Slow};
use chatwright_core::frame::{FrameBody, Resume};
use chatwright_core::live::{Piece, PieceBody};
use chatwright_core::port::{Bus, BusError, BusFrames, LiveLog, Topic};
use chatwright_core::{Gen, Seq};
use chatwright_memory::{ManualClock, MemoryBus, MemoryLiveLog, MemoryStore};
use tokio::time::Instant;

use super::super::topic::doorbell_topic;
use super::client::Client;
use super::laws;
use super::world::{Act, EPOCH, NOW, World, pass, text};

struct Parts {
    store: Arc<Counting<MemoryStore>>,
    bus: Arc<MemoryBus>,
    live: Arc<MemoryLiveLog>,
}

async fn counted() -> (World, Parts) {
    let clock = Arc::new(ManualClock::new(NOW));
    let parts = Parts {
        store: Arc::new(Counting::new(MemoryStore::new(clock.clone()))),
        bus: Arc::new(MemoryBus::new()),
        live: Arc::new(MemoryLiveLog::new(clock)),
    };
    (World::with(parts.store.clone(), parts.bus.clone(), parts.live.clone()).await, parts)
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_of_the_live_log_never_reads_the_store() {
    let (mut world, parts) = counted().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    world.act(&Act::Open).await;
    client.pull(&world.facts).await;
    let calls = parts.store.calls();
    for _ in 0..50 {
        world.act(&text("word ")).await;
        client.pull(&world.facts).await;
    }
    assert_eq!(parts.store.calls(), calls);
    assert_eq!(client.names().iter().filter(|name| **name == "delta").count(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_reads_the_head_once() {
    let (world, parts) = counted().await;
    let before = parts.store.calls();
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    let calls = parts.store.calls();
    assert_eq!((calls.head - before.head, calls.records - before.records), (1, 1));
    client.stream = world.try_watch(world.head.clone(), Resume::Nothing).await.expect("the chat is there");
    client.pull(&world.facts).await;
    assert_eq!(parts.store.calls().head - calls.head, 1, "a re-check");
}

#[tokio::test(start_paused = true)]
async fn what_no_doorbell_told_is_found_by_the_poll() {
    let mut world = World::new().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    world.rings = false;
    world.act(&Act::Say).await;
    client.frames.clear();
    let began = Instant::now();
    assert_eq!(client.pull(&world.facts).await, 0);
    loop {
        let frame = client.stream.next().await.expect("it goes on");
        let found = matches!(frame.body, FrameBody::Record { .. });
        client.take(frame, &world.facts);
        if found {
            break;
        }
    }
    assert!(began.elapsed() <= Duration::from_secs(12), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_gen_whose_doorbells_were_lost_is_found_by_what_it_shows() {
    let mut world = World::new().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    client.frames.clear();
    world.rings = false;
    for (act, names) in [
        (Act::Open, vec![]),
        (text("Hi"), vec!["record", "state", "delta"]),
        (Act::Seal, vec!["record", "state"]),
    ] {
        world.act(&act).await;
        client.pull(&world.facts).await;
        assert_eq!(client.names(), names, "after {act:?}");
        client.frames.clear();
    }
}

#[tokio::test(start_paused = true)]
async fn doorbells_without_news_say_nothing() {
    let (world, parts) = counted().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    let before = parts.store.calls();
    for _ in 0..300 {
        parts.bus.publish(&doorbell_topic(world.chat), &[0xff; 64]).await.expect("small");
    }
    assert_eq!(client.pull(&world.facts).await, 0);
    let calls = parts.store.calls();
    assert_eq!((calls.head - before.head, calls.records), (1, before.records), "many rings are one look");
}

#[tokio::test(start_paused = true)]
async fn a_piece_waits_for_the_record_that_opens_its_gen() {
    let (mut world, parts) = counted().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    let before = parts.store.calls();
    // A writer that shows before it commits, which none may do.
    let early = Piece { block: 0, from: 0, body: PieceBody::Append { text: "early".into() } };
    world.live.open(world.chat, EPOCH, Gen::new(1)).await.expect("a new gen");
    for piece in [early, Piece { block: 0, from: 5, body: PieceBody::Append { text: "!".into() } }] {
        world.live.append(world.chat, EPOCH, Gen::new(1), piece.from, &[piece]).await.expect("it continues");
        assert_eq!(client.pull(&world.facts).await, 0);
    }
    assert_eq!(parts.store.calls().head - before.head, 1, "it is looked for once");
    client.frames.clear();
    world.act(&Act::Open).await;
    client.pull(&world.facts).await;
    assert_eq!(client.names(), ["record", "state", "delta"]);
}

#[tokio::test(start_paused = true)]
async fn a_seal_of_the_live_log_alone_seals_nothing() {
    let (mut world, parts) = counted().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    for act in [Act::Open, text("Hi")] {
        world.act(&act).await;
        client.pull(&world.facts).await;
    }
    let before = parts.store.calls();
    client.frames.clear();
    world.live.seal(world.chat, EPOCH, Gen::new(1), 3).await.expect("it was open");
    assert_eq!(client.pull(&world.facts).await, 0);
    assert!(client.seen().preview.is_some());
    // It says so again, and is not believed again.
    world.live.seal(world.chat, EPOCH, Gen::new(1), 3).await.expect("it was open");
    assert_eq!(client.pull(&world.facts).await, 0);
    assert_eq!(parts.store.calls().head - before.head, 1);
    world.act(&Act::Seal).await;
    client.pull(&world.facts).await;
    assert_eq!(client.names(), ["record", "state"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_pings_with_its_head_when_nothing_happens() {
    let mut world = World::new().await;
    for act in [Act::Open, text("Hi")] {
        world.act(&act).await;
    }
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    let mut times = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        let frame = client.stream.next().await.expect("it lives");
        assert_eq!(frame.body, FrameBody::Ping { seq: Seq::new(3), r#gen: Gen::new(1), off: 3 });
        times.push(began.elapsed().as_millis());
        client.take(frame, &world.facts);
    }
    assert!(times[0] <= 8_000 && times[1..] == [8_000, 8_000], "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_link_to_the_bus_is_made_again_and_what_it_missed_is_read() {
    let (mut world, parts) = counted().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    parts.bus.disconnect();
    client.pull(&world.facts).await;
    world.act(&Act::Say).await;
    client.frames.clear();
    assert_eq!(client.pull(&world.facts).await, 0, "the link is down");
    pass(Duration::from_millis(100)).await;
    client.pull(&world.facts).await;
    assert_eq!(client.names(), ["record", "state"]);
    world.act(&Act::Say).await;
    client.pull(&world.facts).await;
    assert_eq!(client.names(), ["record", "state", "record", "state"]);
}

/// A bus that nobody can reach.
struct Dead;

#[async_trait]
impl Bus for Dead {
    async fn publish(&self, _topic: &Topic, _frame: &[u8]) -> Result<(), BusError> {
        Ok(())
    }

    async fn subscribe(&self, _topic: &Topic) -> Result<BusFrames, BusError> {
        Err(BusError::Unavailable { message: "no bus".into() })
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_bus_a_stream_lives_on_its_poll() {
    let clock = Arc::new(ManualClock::new(NOW));
    let live = Arc::new(MemoryLiveLog::new(clock.clone()));
    let mut world = World::with(Arc::new(MemoryStore::new(clock)), Arc::new(Dead), live).await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    world.act(&Act::Say).await;
    pass(Duration::from_secs(12)).await;
    client.pull(&world.facts).await;
    assert_eq!(client.seen().messages.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_preview_over_its_cap_says_so_once_and_the_message_is_complete() {
    let clock = Arc::new(ManualClock::new(NOW));
    let live = Arc::new(MemoryLiveLog::new(clock.clone()).with_cap(60));
    let mut world =
        World::with(Arc::new(MemoryStore::new(clock)), Arc::new(MemoryBus::new()), live.clone()).await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    world.act(&Act::Open).await;
    world.act(&text("Hello")).await;
    client.pull(&world.facts).await;
    for units in [100, 101] {
        let long = Piece { block: 0, from: 6, body: PieceBody::Append { text: "x".repeat(units) } };
        let refused = world.live.append(world.chat, EPOCH, Gen::new(1), 6, &[long]).await;
        refused.expect_err("the cap");
        client.pull(&world.facts).await;
    }
    assert_eq!(client.names().iter().filter(|name| **name == "capped").count(), 1);
    assert!(client.seen().preview.as_ref().is_some_and(|preview| preview.capped));

    let mut late = Client::new(&world, Resume::Nothing).await;
    late.pull(&world.facts).await;
    assert_eq!(late.seen(), client.seen());
    assert_eq!(late.names()[late.names().len() - 3..], ["live.snapshot", "capped", "caught_up"]);
    world.act(&Act::Seal).await;
    client.pull(&world.facts).await;
    assert_eq!(client.seen().to_string().lines().last(), Some("assistant: Hello"));
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_is_behind_gets_large_frames_within_their_bound() {
    let mut world = World::new().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    world.act(&Act::Open).await;
    client.pull(&world.facts).await;
    client.frames.clear();
    for _ in 0..300 {
        world.act(&Act::Text("é".repeat(512))).await;
    }
    client.pull(&world.facts).await;
    let sizes: Vec<usize> = client
        .frames
        .iter()
        .map(|frame| match &frame.body {
            FrameBody::Delta { pieces, .. } => pieces.iter().map(|piece| piece.units() as usize).sum(),
            _ => 0,
        })
        .collect();
    assert_eq!(sizes.iter().sum::<usize>(), 300 * 1024 + 1);
    assert_eq!(sizes.len(), 5, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 64 * 1024 + 1), "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_leaves_nothing_behind() {
    let (mut world, parts) = counted().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    let topic = doorbell_topic(world.chat);
    assert_eq!((parts.bus.subscribers(&topic), parts.live.sweep()), (1, 1));
    client.stream = world.watch(Resume::Nothing).await;
    assert_eq!((parts.bus.subscribers(&topic), parts.live.sweep()), (1, 1));
    drop(client);
    assert_eq!((parts.bus.subscribers(&topic), parts.live.sweep()), (0, 0));
    world.act(&Act::Say).await;
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_reads_while_others_write_sees_everything_in_order() {
    for seed in 0..40 {
        let clock = Arc::new(ManualClock::new(NOW));
        let chance = chatwright_conformance::Chance::new(seed);
        let pace = chatwright_conformance::Chance::new(!seed);
        let store = Slow::new(MemoryStore::new(clock.clone()), Duration::from_millis(20), chance);
        let live: Arc<dyn LiveLog> = Arc::new(MemoryLiveLog::new(clock));
        let mut world = World::with(Arc::new(store), Arc::new(MemoryBus::new()), live).await;
        let mut client = Client::new(&world, Resume::Nothing).await;
        let Client { stream, view, frames } = &mut client;
        let writing = async {
            for nth in 0..60u32 {
                let acts = [Act::Say, Act::Open, text("Hé"), Act::Call, text("llo"), Act::Seal];
                let more = [Act::Output(0, "out".into()), Act::Result(0), Act::Fail, Act::Queue, Act::Cut];
                let act =
                    if nth % 3 == 2 { &more[pace.below(5) as usize] } else { &acts[pace.below(6) as usize] };
                world.act(act).await;
                pass(Duration::from_millis(pace.below(15))).await;
            }
            pass(Duration::from_millis(200)).await;
        };
        let reading = async {
            while let Some(frame) = stream.next().await {
                let applied = view.apply(&frame);
                assert_eq!(applied, chatwright_core::view::Applied::Ok, "seed {seed}: {frame:?}");
                frames.push(frame);
            }
        };
        // The reader never ends by itself.
        futures::future::select(std::pin::pin!(writing), std::pin::pin!(reading)).await;
        assert_eq!(laws::in_order(&client.frames), Ok(()), "seed {seed}");
        let mut fresh = Client::new(&world, Resume::Nothing).await;
        while !fresh.view.is_caught_up() {
            let frame = fresh.stream.next().await.expect("it goes on");
            fresh.take(frame, &world.facts);
        }
        assert_eq!(client.seen(), fresh.seen(), "seed {seed}");
    }
}
