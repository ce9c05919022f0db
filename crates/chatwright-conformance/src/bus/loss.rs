//! B4, B5: what a subscriber that falls behind, or whose link dies, gets and does to others.

use std::collections::BTreeSet;
use std::time::Duration;

use chatwright_core::port::{Delivery, Topic};
use futures::StreamExt;
use tokio::time::Instant;

use super::BusRig;
use super::fixture::{expect, next_or, number, numbered, publish, subscribe};
use crate::Subject;
use crate::wait::within;

/// More than any buffer holds.
const FLOOD: usize = 20_000;
/// So wide that the buffers of sockets are no hiding place.
const WIDTH: usize = 200;
/// A slow bus is flooded with fewer.
const FLOOD_TIME: Duration = Duration::from_secs(10);

/// Publishes the numbers from 1 on, and gives the last one.
async fn flood(rig: &dyn BusRig, topic: &Topic, clause: &str) -> usize {
    let end = Instant::now() + FLOOD_TIME;
    for n in 1..=FLOOD {
        publish(rig.bus(), topic, &numbered(0, n, WIDTH), clause).await;
        if Instant::now() >= end {
            return n;
        }
    }
    FLOOD
}

pub(super) async fn b4_a_loss_is_told_where_it_happened(subject: &Subject<dyn BusRig>) {
    const CLAUSE: &str = "bus.B4";
    let rig = subject.connect().await;
    let topic = subject.topic();
    let mut frames = subscribe(rig.bus(), &topic, CLAUSE).await;
    let last = flood(&*rig, &topic, CLAUSE).await;
    let (mut came, mut newest, mut lagged) = (BTreeSet::new(), 0, false);
    let mut deliveries = 0;
    // The newest frames may be lost: what is published now finds room.
    let after = numbered(0, last + 1, 0);
    while newest <= last {
        // All of the flood may have come, or been lost, or stand behind a loss.
        if newest == last {
            publish(rig.bus(), &topic, &after, CLAUSE).await;
        }
        let delivery = next_or(rig.bus(), &topic, &mut frames, &after, CLAUSE).await;
        deliveries += 1;
        assert!(deliveries <= 4 * FLOOD, "{CLAUSE}: the stream does not come to the last frame");
        let Delivery::Frame(frame) = delivery else {
            lagged = true;
            continue;
        };
        let (_, n) = number(&frame, CLAUSE);
        // A frame may come twice.
        if came.insert(n) {
            assert!(n > newest, "{CLAUSE}: frame {n} comes after frame {newest}");
            assert!(
                n == newest + 1 || lagged,
                "{CLAUSE}: frames {} to {} are lost in silence",
                newest + 1,
                n - 1
            );
            (newest, lagged) = (n, false);
        }
    }
}

pub(super) async fn b4_a_dead_link_ends_the_stream(subject: &Subject<dyn BusRig>) {
    const CLAUSE: &str = "bus.B4";
    let rig = subject.connect().await;
    let topic = subject.topic();
    let mut frames = subscribe(rig.bus(), &topic, CLAUSE).await;
    let mut waiting = subscribe(rig.bus(), &topic, CLAUSE).await;
    publish(rig.bus(), &topic, b"before", CLAUSE).await;
    expect(rig.bus(), &topic, &mut waiting, b"before", CLAUSE).await;
    if !rig.sever() {
        println!("{CLAUSE}: not checked, the rig cannot sever links");
        return;
    }
    for frames in [&mut frames, &mut waiting] {
        // What waits, or a loss, may come first.
        let ends = async { while frames.next().await.is_some() {} };
        within(CLAUSE, "the stream of a dead link ends", ends).await;
    }
    let again = async {
        loop {
            match rig.bus().subscribe(&topic).await {
                Ok(frames) => break frames,
                // It may take a moment to reconnect.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let mut frames = within(CLAUSE, "a subscribe after a dead link", again).await;
    publish(rig.bus(), &topic, b"after", CLAUSE).await;
    expect(rig.bus(), &topic, &mut frames, b"after", CLAUSE).await;
}

pub(super) async fn b5_a_subscriber_that_never_reads_blocks_no_publisher(subject: &Subject<dyn BusRig>) {
    const CLAUSE: &str = "bus.B5";
    let rig = subject.connect().await;
    let (flooded, quiet) = (subject.topic(), subject.topic());
    let _never_read = subscribe(rig.bus(), &flooded, CLAUSE).await;
    let mut elsewhere = subscribe(rig.bus(), &quiet, CLAUSE).await;
    let last = flood(&*rig, &flooded, CLAUSE).await;
    assert!(
        last >= 1_000,
        "{CLAUSE}: only {last} frames pass in {FLOOD_TIME:?} while a subscriber does not read"
    );
    let mut late = subscribe(rig.bus(), &flooded, CLAUSE).await;
    for (topic, frames) in [(&quiet, &mut elsewhere), (&flooded, &mut late)] {
        publish(rig.bus(), topic, b"to one that reads", CLAUSE).await;
        expect(rig.bus(), topic, frames, b"to one that reads", CLAUSE).await;
    }
}
