//! Topics and frames for the clauses.

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::port::{Bus, BusFrames, Delivery, Ids, Topic};
use futures::StreamExt;
use tokio::time::timeout;

use super::BusRig;
use crate::Subject;
use crate::wait::within;

/// Long enough for a frame to arrive, short enough to ask again.
const PROBE: Duration = Duration::from_millis(200);

impl Subject<dyn BusRig> {
    /// The name of a topic that nobody else uses.
    pub(super) fn name(&self) -> String {
        format!("kit/{}", self.ids.uuid().simple())
    }

    pub(super) fn topic(&self) -> Topic {
        topic(&self.name())
    }
}

pub(super) fn topic(name: &str) -> Topic {
    Topic::new(name).expect("a name within its bound")
}

pub(super) async fn subscribe(bus: &dyn Bus, topic: &Topic, clause: &str) -> BusFrames {
    let frames = within(clause, "a subscribe", bus.subscribe(topic)).await;
    frames.unwrap_or_else(|error| panic!("{clause}: a subscribe failed: {error}"))
}

pub(super) async fn publish(bus: &dyn Bus, topic: &Topic, frame: &[u8], clause: &str) {
    let published = within(clause, "a publish", bus.publish(topic, frame)).await;
    published.unwrap_or_else(|error| panic!("{clause}: a publish of {} bytes failed: {error}", frame.len()));
}

/// The next delivery. While nothing comes, `marker` is published, so that a lost frame is seen by what follows it.
pub(super) async fn next_or(
    bus: &dyn Bus,
    topic: &Topic,
    frames: &mut BusFrames,
    marker: &[u8],
    clause: &str,
) -> Delivery {
    let next = async {
        loop {
            match timeout(PROBE, frames.next()).await {
                Ok(delivery) => break delivery,
                Err(_) => publish(bus, topic, marker, clause).await,
            }
        }
    };
    let delivery = within(clause, "nothing is delivered", next).await;
    delivery.unwrap_or_else(|| panic!("{clause}: the stream ended, though its link is alive"))
}

/// The next delivery must be this frame.
pub(super) async fn expect(bus: &dyn Bus, topic: &Topic, frames: &mut BusFrames, frame: &[u8], clause: &str) {
    let delivery = next_or(bus, topic, frames, b"a marker", clause).await;
    assert!(
        delivery == Delivery::Frame(Arc::from(frame)),
        "{clause}: instead of a frame of {} bytes comes {}",
        frame.len(),
        words(&delivery)
    );
}

fn words(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Lagged => "a loss".to_owned(),
        Delivery::Frame(frame) => {
            format!("one of {} bytes: {}", frame.len(), frame[..frame.len().min(40)].escape_ascii())
        }
    }
}

/// What a frame of [`numbered`] says: who sent it, and its number.
pub(super) fn number(frame: &[u8], clause: &str) -> (usize, usize) {
    let text = std::str::from_utf8(frame).ok().and_then(|text| text.split_once(' '));
    let numbers = text.and_then(|(by, number)| Some((by.parse().ok()?, number.trim().parse().ok()?)));
    numbers.unwrap_or_else(|| panic!("{clause}: a frame that nobody sent: {}", frame.escape_ascii()))
}

/// A frame of `width` bytes or more.
pub(super) fn numbered(by: usize, number: usize, width: usize) -> Vec<u8> {
    format!("{:width$}", format!("{by} {number}")).into_bytes()
}
