//! A bus in memory that can be broken in one place.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_conformance::bus::BusRig;
use chatwright_core::limits::BUS_FRAME_BYTES_MAX;
use chatwright_core::port::{Bus, BusError, BusFrames, Delivery, Topic};
use futures::stream;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    ActiveLate,
    ActiveLateTheSecondTime,
    ActiveLateElsewhere,
    StaysInTheHandle,
    LastInFirstOut,
    SwapsNeighbours,
    MatchesPrefixes,
    IgnoresCase,
    CutsTopics,
    TrimsTopics,
    DropsEmptyFrames,
    LosesInSilence,
    LosesTheNewestInSilence,
    TellsTheLossTooEarly,
    HangsWhenDead,
    StaysDead,
    BlocksThePublisher,
    NeverUnsubscribes,
    UnsubscribesAll,
    RemembersADroppedSubscribe,
    NoSizeCheck,
    DeliversThenRefuses,
    CutsFrames,
    RefusesLargeFrames,
    TextOnly,
    EndsAtNul,
    ShortTopics,
}

const ROOM: usize = 256;

struct Link {
    handle: usize,
    topic: String,
    active_from: Instant,
    queue: Mutex<Queue>,
    pushed: Notify,
    popped: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Delivery>,
    cut: bool,
}

#[derive(Default)]
pub(crate) struct Links {
    all: Mutex<Vec<Arc<Link>>>,
    handles: AtomicUsize,
}

pub(crate) struct BrokenBus {
    fault: Fault,
    handle: usize,
    links: Arc<Links>,
    severed: Mutex<bool>,
}

impl BrokenBus {
    /// Another handle of this bus.
    pub(crate) fn connect(fault: Fault, links: &Arc<Links>) -> Self {
        let handle = links.handles.fetch_add(1, Ordering::Relaxed);
        Self { fault, handle, links: Arc::clone(links), severed: Mutex::new(false) }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn name(&self, topic: &Topic) -> String {
        let name = topic.as_str();
        match self.fault {
            Fault::CutsTopics => name.chars().take(63).collect(),
            Fault::IgnoresCase => name.to_lowercase(),
            Fault::TrimsTopics => name.trim().to_owned(),
            _ => name.to_owned(),
        }
    }

    fn meets(&self, link: &Link, name: &str) -> bool {
        let late = Instant::now() < link.active_from;
        let elsewhere = link.handle != self.handle;
        match self.fault {
            Fault::MatchesPrefixes => name.starts_with(&link.topic),
            Fault::StaysInTheHandle => link.topic == name && !elsewhere,
            Fault::ActiveLateElsewhere => link.topic == name && !(late && elsewhere),
            Fault::ActiveLate | Fault::ActiveLateTheSecondTime => link.topic == name && !late,
            _ => link.topic == name,
        }
    }

    fn stored(&self, frame: &[u8]) -> Arc<[u8]> {
        match self.fault {
            Fault::CutsFrames => frame[..frame.len().min(4_000)].into(),
            Fault::TextOnly => String::from_utf8_lossy(frame).as_bytes().into(),
            Fault::EndsAtNul => frame.split(|byte| *byte == 0).next().unwrap_or_default().into(),
            _ => frame.into(),
        }
    }

    fn push(&self, link: &Link, delivery: Delivery) {
        let mut queue = link.queue.lock();
        let waiting = &mut queue.waiting;
        if waiting.len() >= ROOM {
            match self.fault {
                Fault::LosesInSilence => drop(waiting.pop_front()),
                Fault::LosesTheNewestInSilence => return,
                Fault::TellsTheLossTooEarly => {
                    // The loss is told, then comes the first frame of all, and then those from behind the loss.
                    if waiting[0] != Delivery::Lagged {
                        waiting.push_front(Delivery::Lagged);
                    }
                    waiting.drain(2..4);
                }
                _ => {
                    waiting.drain(..2);
                    waiting.push_front(Delivery::Lagged);
                }
            }
        }
        match self.fault {
            Fault::LastInFirstOut => waiting.push_front(delivery),
            Fault::SwapsNeighbours if waiting.len() % 7 == 6 => waiting.insert(5, delivery),
            _ => waiting.push_back(delivery),
        }
        drop(queue);
        link.pushed.notify_one();
    }
}

#[async_trait]
impl Bus for BrokenBus {
    async fn publish(&self, topic: &Topic, frame: &[u8]) -> Result<(), BusError> {
        let checked = match self.fault {
            Fault::NoSizeCheck => Ok(()),
            Fault::RefusesLargeFrames if frame.len() > 4_000 => {
                BusError::check_frame(&[0; BUS_FRAME_BYTES_MAX + 1])
            }
            _ => BusError::check_frame(frame),
        };
        if checked.is_err() && !self.is(Fault::DeliversThenRefuses) {
            return checked;
        }
        let name = self.name(topic);
        let links: Vec<Arc<Link>> =
            self.links.all.lock().iter().filter(|link| self.meets(link, &name)).cloned().collect();
        for link in links {
            if frame.is_empty() && self.is(Fault::DropsEmptyFrames) {
                continue;
            }
            while self.is(Fault::BlocksThePublisher) && link.queue.lock().waiting.len() >= ROOM {
                link.popped.notified().await;
            }
            self.push(&link, Delivery::Frame(self.stored(frame)));
        }
        checked
    }

    async fn subscribe(&self, topic: &Topic) -> Result<BusFrames, BusError> {
        if *self.severed.lock() && self.is(Fault::StaysDead) {
            return Err(BusError::Unavailable { message: "dead".into() });
        }
        if topic.as_str().len() > 63 && self.is(Fault::ShortTopics) {
            return Err(BusError::Unavailable { message: "the name is too long".into() });
        }
        let name = self.name(topic);
        let second = self.links.all.lock().iter().any(|link| link.topic == name);
        let late = match self.fault {
            Fault::ActiveLate | Fault::ActiveLateElsewhere => true,
            Fault::ActiveLateTheSecondTime => second,
            _ => false,
        };
        let active_from = Instant::now() + Duration::from_millis(if late { 50 } else { 0 });
        let (queue, pushed, popped) = (Mutex::default(), Notify::new(), Notify::new());
        let link = Arc::new(Link { handle: self.handle, topic: name, active_from, queue, pushed, popped });
        self.links.all.lock().push(Arc::clone(&link));
        if self.is(Fault::RemembersADroppedSubscribe) {
            tokio::task::yield_now().await;
        }
        let place = Place { fault: self.fault, link, links: Arc::downgrade(&self.links) };
        Ok(Box::pin(stream::unfold(place, next)))
    }
}

impl BusRig for BrokenBus {
    fn bus(&self) -> &dyn Bus {
        self
    }

    fn sever(&self) -> bool {
        *self.severed.lock() = true;
        for link in self.links.all.lock().drain(..) {
            link.queue.lock().cut = !self.is(Fault::HangsWhenDead);
            link.pushed.notify_one();
        }
        true
    }

    fn subscribers(&self, topic: &Topic) -> Option<usize> {
        Some(self.links.all.lock().iter().filter(|link| link.topic == topic.as_str()).count())
    }
}

async fn next(place: Place) -> Option<(Delivery, Place)> {
    loop {
        let (delivery, cut) = {
            let mut queue = place.link.queue.lock();
            (queue.waiting.pop_front(), queue.cut)
        };
        if let Some(delivery) = delivery {
            place.link.popped.notify_one();
            return Some((delivery, place));
        }
        if cut {
            return None;
        }
        // A permit is kept from a push since the look.
        place.link.pushed.notified().await;
    }
}

struct Place {
    fault: Fault,
    link: Arc<Link>,
    links: Weak<Links>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(links) = self.links.upgrade().filter(|_| self.fault != Fault::NeverUnsubscribes) else {
            return;
        };
        let all = self.fault == Fault::UnsubscribesAll;
        links
            .all
            .lock()
            .retain(|link| !(Arc::ptr_eq(link, &self.link) || all && link.topic == self.link.topic));
    }
}
