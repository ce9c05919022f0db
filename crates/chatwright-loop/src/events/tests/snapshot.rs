//! What a snapshot has, and how logs are cut into frames.

use chatwright_core::content::Part;
use chatwright_core::frame::{Frame, FrameBody, Resume};
use chatwright_core::record::{Body, ChatUnarchived, HistoryCut, MessagePart, MessageUser};
use chatwright_core::{Draft, MessageId, OpId, Record, Seq, Uuid};

use super::client::Client;
use super::world::{Act, NOW, World, text};

fn said(n: u128, words: impl Into<String>) -> Body {
    MessageUser::new(MessageId::from_uuid(Uuid::from_u128(n)), vec![Part::text(words)]).into()
}

fn runs(frames: &[Frame]) -> Vec<&[Record]> {
    let records = |frame: &'_ Frame| matches!(frame.body, FrameBody::Record { .. });
    frames
        .iter()
        .filter(|frame| records(frame))
        .map(|frame| match &frame.body {
            FrameBody::Record { records, .. } => records.as_slice(),
            _ => &[],
        })
        .collect()
}

fn whole_commits(frames: &[Frame]) {
    for run in runs(frames) {
        let firsts: Vec<bool> = run.iter().map(|record| record.op().is_some()).collect();
        let expected: Vec<bool> = (0..run.len()).map(|nth| nth == 0).collect();
        assert_eq!(firsts, expected, "a frame has one commit");
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_has_the_last_two_hundred_records_in_whole_commits() {
    let mut world = World::new().await;
    for n in 0..150 {
        world.commit((0..3).map(|m| said(10_000 + n * 3 + m, "x")).collect()).await;
    }
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    whole_commits(&client.frames);
    let shown = client.seen();
    assert_eq!((shown.messages.len(), shown.more_before), (198, true));
    assert_eq!(shown.messages[0].seq, Seq::new(452 - 198 + 1));
    assert_eq!(client.view.cursor(), Some(world.cursor(452, 0, 0)));
    let marked = client
        .frames
        .iter()
        .filter(|frame| matches!(frame.body, FrameBody::Record { more_before: true, .. }));
    assert_eq!(marked.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_everything_says_that_there_is_no_more() {
    let mut world = World::new().await;
    for n in 0..198 {
        world.commit(vec![said(10_000 + n, "x")]).await;
    }
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    assert_eq!((client.seen().messages.len(), client.seen().more_before), (199, false));
    world.commit(vec![said(20_000, "x")]).await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    assert_eq!(
        (client.seen().messages.len(), client.seen().more_before),
        (199, true),
        "the first commit has two"
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_bounded_in_bytes_too() {
    let mut world = World::new().await;
    for n in 0..12 {
        world.commit(vec![said(10_000 + n, "x".repeat(1_000_000))]).await;
    }
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    assert_eq!((client.seen().messages.len(), client.seen().more_before), (8, true));
}

#[tokio::test(start_paused = true)]
async fn what_cuts_took_away_is_not_in_a_snapshot_and_makes_room() {
    let mut world = World::new().await;
    let mut uncut = Client::new(&world, Resume::Nothing).await;
    let cut = |from| {
        Body::HistoryCut(HistoryCut { from: Seq::new(from), message: None, content_hash: None, key: None })
    };
    for n in 0..150 {
        world.commit(vec![said(10_000 + n, "old")]).await;
    }
    // The records 100 to 152 are cut, then 160 to 171, and the cut at 160 was the first one.
    world.commit(vec![cut(100), said(20_000, "instead")]).await;
    for n in 0..10 {
        world.commit(vec![said(30_000 + n, "later")]).await;
    }
    world.commit(vec![cut(155), said(40_000, "once more")]).await;
    world.commit(vec![cut(120), said(50_000, "at last")]).await;
    uncut.pull(&world.facts).await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    assert_eq!(client.seen(), uncut.seen());
    let seqs: Vec<u64> = client.seen().messages.iter().map(|message| message.seq.get()).collect();
    let expected: Vec<u64> = (2..100).chain([168]).collect();
    assert_eq!(seqs, expected);
    let sent: usize = runs(&client.frames).iter().map(|run| run.len()).sum();
    assert_eq!(sent, 101, "1 to 99, the last cut and its message");
}

#[tokio::test(start_paused = true)]
async fn a_viewer_far_behind_gets_every_commit_in_a_frame_of_its_own() {
    let mut world = World::new().await;
    for n in 0..120 {
        let len = n % 5 + 1;
        world.commit((0..len).map(|m| said(10_000 + n * 10 + m, "x")).collect()).await;
    }
    let mut client = Client::new(&world, Resume::Nothing).await;
    let mut all = Client::new(&world, Resume::From(world.cursor(2, 0, 0))).await;
    while let Some(frame) = all.frame().await {
        all.frames.push(frame);
    }
    whole_commits(&all.frames);
    assert_eq!(runs(&all.frames).len(), 120);
    client.pull(&world.facts).await;
    assert_eq!(all.names().iter().filter(|name| **name == "state").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_in_parts_comes_in_one_frame() {
    let mut world = World::new().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    let id = MessageId::from_uuid(Uuid::from_u128(10_000));
    let part = |continues| MessagePart { message: id, content: vec![Part::text("ab")], continues };
    let bodies = [part(true).into(), part(false).into(), said(10_000, "c")];
    let op = OpId::from_uuid(Uuid::from_u128(3));
    let mut drafts =
        vec![Draft::first(op, NOW, &Body::ChatUnarchived(ChatUnarchived::default())).expect("small")];
    drafts.extend(bodies.iter().map(|body| Draft::new(NOW, body).expect("small")));
    world.commit_drafts(drafts).await;
    client.pull(&world.facts).await;
    let content = client.seen().message(id).map(|message| message.content.clone());
    assert_eq!(content, Some(vec![Part::text("abab"), Part::text("c")]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_began_before_the_snapshot_still_has_its_calls() {
    let mut world = World::new().await;
    let mut uncut = Client::new(&world, Resume::Nothing).await;
    for act in [Act::Open, Act::Call, Act::Call, Act::Call, Act::Seal, Act::Output(0, "a".into())] {
        world.act(&act).await;
        uncut.pull(&world.facts).await;
    }
    for act in [Act::Output(1, "b".into()), Act::Result(0), Act::Output(1, "c".into()), text("no attempt")] {
        world.act(&act).await;
    }
    for _ in 0..220 {
        world.act(&Act::Title).await;
    }
    uncut.pull(&world.facts).await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    client.pull(&world.facts).await;
    let preview = client.seen().preview.clone().expect("the batch is open");
    assert_eq!(preview.calls, [2, 1, 0]);
    let blocks: Vec<_> = preview.blocks.iter().map(|block| (block.block, block.text.as_str())).collect();
    assert_eq!(blocks, [(1, "b"), (2, "c")]);
    assert_eq!(Some(preview), uncut.seen().preview);
}
