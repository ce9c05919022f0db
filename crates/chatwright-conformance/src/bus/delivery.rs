//! B1–B3, B6, B7: what reaches whom, and how.

use std::sync::Arc;

use chatwright_core::limits::{BUS_FRAME_BYTES_MAX, BUS_TOPIC_BYTES_MAX};
use chatwright_core::port::{BusError, BusFrames, Delivery};
use futures::StreamExt;
use futures::future::FutureExt;
use tokio::task::JoinSet;

use super::BusRig;
use super::fixture::{expect, number, numbered, publish, subscribe, topic};
use crate::Subject;
use crate::wait::{all, until, within};

pub(super) async fn b1_a_subscription_is_active_when_subscribe_returns(subject: &Subject<dyn BusRig>) {
    const CLAUSE: &str = "bus.B1";
    let rig = subject.connect().await;
    for round in 0..20 {
        let topic = subject.topic();
        let frame = format!("round {round}").into_bytes();
        publish(rig.bus(), &topic, b"before anybody listens", CLAUSE).await;
        let mut first = subscribe(rig.bus(), &topic, CLAUSE).await;
        publish(rig.bus(), &topic, &frame, CLAUSE).await;
        expect(rig.bus(), &topic, &mut first, &frame, CLAUSE).await;
        // The topic is known now: the second subscription may take another way.
        let mut second = subscribe(rig.bus(), &topic, CLAUSE).await;
        publish(rig.bus(), &topic, &frame, CLAUSE).await;
        expect(rig.bus(), &topic, &mut second, &frame, CLAUSE).await;
        expect(rig.bus(), &topic, &mut first, &frame, CLAUSE).await;
    }
}

pub(super) async fn b1_a_subscription_is_active_for_publishers_elsewhere(subject: &Subject<dyn BusRig>) {
    const CLAUSE: &str = "bus.B1";
    if subject.is_volatile() {
        println!("{CLAUSE}: not checked between two connections, the bus says that they do not meet");
        return;
    }
    let (here, there) = (subject.connect().await, subject.connect().await);
    for round in 0..20 {
        let topic = subject.topic();
        let frame = format!("round {round}").into_bytes();
        let (from, to) = if round % 2 == 0 { (&here, &there) } else { (&there, &here) };
        let mut frames = subscribe(to.bus(), &topic, CLAUSE).await;
        publish(from.bus(), &topic, &frame, CLAUSE).await;
        expect(from.bus(), &topic, &mut frames, &frame, CLAUSE).await;
    }
}

pub(super) async fn b2_frames_of_one_publisher_come_in_their_order(subject: &Subject<dyn BusRig>) {
    const CLAUSE: &str = "bus.B2";
    const PUBLISHERS: usize = 4;
    const LAST: usize = 50;
    let rig = subject.connect().await;
    let topic = subject.topic();
    let mut frames = subscribe(rig.bus(), &topic, CLAUSE).await;
    let mut publishers = JoinSet::new();
    for by in 0..PUBLISHERS {
        let (rig, topic) = (Arc::clone(&rig), topic.clone());
        publishers.spawn(async move {
            for n in 1..=LAST {
                publish(rig.bus(), &topic, &numbered(by, n, 0), CLAUSE).await;
            }
        });
    }
    let mut came = vec![Vec::new(); PUBLISHERS];
    while came.iter().any(|numbers| numbers.last() != Some(&LAST)) {
        let delivery = within(CLAUSE, "the last frame of each publisher", frames.next()).await;
        let Delivery::Frame(frame) = delivery.expect("bus.B2: the stream goes on") else { continue };
        let (by, n) = number(&frame, CLAUSE);
        // A frame may come twice.
        if !came[by].contains(&n) {
            let last = came[by].last().copied().unwrap_or(0);
            assert!(n > last, "{CLAUSE}: frame {n} of publisher {by} comes after its frame {last}");
            came[by].push(n);
        }
    }
    all(publishers).await;
}

pub(super) async fn b3_topics_do_not_leak(subject: &Subject<dyn BusRig>) {
    const CLAUSE: &str = "bus.B3";
    let rig = subject.connect().await;
    let base = subject.name();
    let long = format!("{base}/{}", "x".repeat(BUS_TOPIC_BYTES_MAX - base.len() - 2));
    let names = [
        base.clone(),
        base[..base.len() - 1].to_owned(),
        format!("{base}/"),
        format!("{base}/a"),
        format!("{base}/b"),
        format!("{base}/A"),
        format!("{base}/*"),
        format!("{base}/%"),
        format!("{base}/_"),
        format!("{base}/é"),
        format!("{base} "),
        format!(" {base}"),
        format!("{base}'\"\\;:"),
        // Equal but for their ends.
        format!("{long}1"),
        format!("{long}2"),
    ];
    let mut links: Vec<BusFrames> = Vec::new();
    for name in &names {
        links.push(subscribe(rig.bus(), &topic(name), CLAUSE).await);
    }
    for name in &names {
        publish(rig.bus(), &topic(name), name.as_bytes(), CLAUSE).await;
        publish(rig.bus(), &topic(name), b"", CLAUSE).await;
    }
    for name in &names {
        publish(rig.bus(), &topic(name), b"end", CLAUSE).await;
    }
    for (name, frames) in names.iter().zip(&mut links) {
        for frame in [name.as_bytes(), b"", b"end"] {
            expect(rig.bus(), &topic(name), frames, frame, CLAUSE).await;
        }
    }
}

pub(super) async fn b6_dropping_the_stream_unsubscribes(subject: &Subject<dyn BusRig>) {
    const CLAUSE: &str = "bus.B6";
    let rig = subject.connect().await;
    let topic = subject.topic();
    let count = async |expected: usize, when: &str| {
        if rig.subscribers(&topic).is_some() {
            let holds = || rig.subscribers(&topic) == Some(expected);
            until(CLAUSE, &format!("{expected} subscriptions {when}"), holds).await;
        }
    };
    count(0, "at first").await;
    let one = subscribe(rig.bus(), &topic, CLAUSE).await;
    let mut other = subscribe(rig.bus(), &topic, CLAUSE).await;
    count(2, "after two subscribes").await;
    drop(one);
    count(1, "after one was dropped").await;
    publish(rig.bus(), &topic, b"to the other", CLAUSE).await;
    expect(rig.bus(), &topic, &mut other, b"to the other", CLAUSE).await;
    // With frames that wait for it.
    publish(rig.bus(), &topic, b"unread", CLAUSE).await;
    drop(other);
    count(0, "after both were dropped").await;
    for _ in 0..20 {
        // Polled once at most, and dropped with whatever it has.
        drop(rig.bus().subscribe(&topic).now_or_never());
        publish(rig.bus(), &topic, b"to nobody", CLAUSE).await;
    }
    count(0, "after subscribes were dropped").await;
    let mut frames = subscribe(rig.bus(), &topic, CLAUSE).await;
    publish(rig.bus(), &topic, b"to a new one", CLAUSE).await;
    expect(rig.bus(), &topic, &mut frames, b"to a new one", CLAUSE).await;
    count(1, "after all").await;
}

pub(super) async fn b7_frames_of_up_to_4096_bytes_come_back_as_they_were(subject: &Subject<dyn BusRig>) {
    const CLAUSE: &str = "bus.B7";
    let rig = subject.connect().await;
    let name = format!("{:é<96}", subject.name());
    let longest: String = name
        .chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= BUS_TOPIC_BYTES_MAX).then_some(c)
        })
        .collect();
    let all_bytes = |len: usize| (0..len).map(|n| (n % 256) as u8).collect::<Vec<u8>>();
    let mut sent: Vec<Vec<u8>> =
        [0, 1, 2, 255, 256, 1_000, 4_000, 4_095, BUS_FRAME_BYTES_MAX].map(all_bytes).into();
    for byte in [0, b' ', b'\'', b'\\', 0x80, 0xff] {
        sent.extend([vec![byte], vec![byte; BUS_FRAME_BYTES_MAX]]);
    }
    for topic in [topic(&longest), subject.topic()] {
        let mut frames = subscribe(rig.bus(), &topic, CLAUSE).await;
        for frame in &sent {
            publish(rig.bus(), &topic, frame, CLAUSE).await;
            expect(rig.bus(), &topic, &mut frames, frame, CLAUSE).await;
        }
    }
}

pub(super) async fn b7_larger_frames_are_refused_and_reach_nobody(subject: &Subject<dyn BusRig>) {
    const CLAUSE: &str = "bus.B7";
    let rig = subject.connect().await;
    let topic = subject.topic();
    let mut frames = subscribe(rig.bus(), &topic, CLAUSE).await;
    for len in [BUS_FRAME_BYTES_MAX + 1, 8_192, 1 << 20] {
        match within(CLAUSE, "a publish", rig.bus().publish(&topic, &vec![b'x'; len])).await {
            Err(BusError::TooLarge(_)) => {}
            Err(error) => panic!("{CLAUSE}: a frame of {len} bytes is refused with another error: {error}"),
            Ok(()) => panic!("{CLAUSE}: a frame of {len} bytes is accepted"),
        }
    }
    publish(rig.bus(), &topic, b"small", CLAUSE).await;
    expect(rig.bus(), &topic, &mut frames, b"small", CLAUSE).await;
}
