use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use async_trait::async_trait;
use chatwright_core::port::{Bus, BusError, BusFrames, Delivery, Topic};
use futures::Stream;
use futures::task::AtomicWaker;
use parking_lot::Mutex;

/// Most frames that wait for one subscriber; more drop the oldest (B5).
const WAITING_MAX: usize = 256;

/// A bus within one process. Clones are the same bus; its subscriptions end with the last of them.
///
/// A publish is done when the future is first polled, and every subscriber has its own queue: all promises B1 to B7
/// hold, and no frame is lost but by a subscriber that lets 256 of them wait.
#[derive(Clone, Default)]
pub struct MemoryBus(Arc<Links>);

impl MemoryBus {
    /// A bus without subscribers.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many subscriptions of a topic there are (B6).
    pub fn subscribers(&self, topic: &Topic) -> usize {
        self.0.of(topic).len()
    }

    /// Cuts every link that there is: each subscription gives what waits for it and ends (B4). For tests of dead links.
    pub fn disconnect(&self) {
        self.0.cut();
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, topic: &Topic, frame: &[u8]) -> Result<(), BusError> {
        BusError::check_frame(frame)?;
        let frame: Arc<[u8]> = frame.into();
        for link in self.0.of(topic) {
            link.change(|queue| queue.push(Arc::clone(&frame)));
        }
        Ok(())
    }

    async fn subscribe(&self, topic: &Topic) -> Result<BusFrames, BusError> {
        let link = Arc::<Link>::default();
        self.0.topics.lock().entry(topic.clone()).or_default().push(Arc::clone(&link));
        Ok(Box::pin(Subscription { link, topic: topic.clone(), links: Arc::downgrade(&self.0) }))
    }
}

#[derive(Default)]
struct Links {
    /// A topic without a link is not in it.
    topics: Mutex<HashMap<Topic, Vec<Arc<Link>>>>,
}

impl Links {
    /// The links of a topic, so that nobody is woken under the lock.
    fn of(&self, topic: &Topic) -> Vec<Arc<Link>> {
        self.topics.lock().get(topic).cloned().unwrap_or_default()
    }

    fn cut(&self) {
        let topics = std::mem::take(&mut *self.topics.lock());
        for link in topics.into_values().flatten() {
            link.change(|queue| queue.cut = true);
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.cut();
    }
}

/// The way to one subscriber.
#[derive(Default)]
struct Link {
    queue: Mutex<Queue>,
    waker: AtomicWaker,
}

impl Link {
    fn change(&self, change: impl FnOnce(&mut Queue)) {
        change(&mut self.queue.lock());
        self.waker.wake();
    }
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Arc<[u8]>>,
    /// Frames were lost before the first of `frames`. The oldest go first: no loss is anywhere else.
    lagged: bool,
    cut: bool,
}

impl Queue {
    fn push(&mut self, frame: Arc<[u8]>) {
        if self.cut {
            return;
        }
        if self.frames.len() == WAITING_MAX {
            self.frames.pop_front();
            self.lagged = true;
        }
        self.frames.push_back(frame);
    }

    fn pop(&mut self) -> Option<Delivery> {
        if std::mem::take(&mut self.lagged) {
            return Some(Delivery::Lagged);
        }
        self.frames.pop_front().map(Delivery::Frame)
    }
}

struct Subscription {
    link: Arc<Link>,
    topic: Topic,
    links: Weak<Links>,
}

impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        // Before the look: what comes after it wakes.
        self.link.waker.register(cx.waker());
        let mut queue = self.link.queue.lock();
        match queue.pop() {
            None if !queue.cut => Poll::Pending,
            delivery => Poll::Ready(delivery),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(links) = self.links.upgrade() else { return };
        let mut topics = links.topics.lock();
        if let Some(of_topic) = topics.get_mut(&self.topic) {
            of_topic.retain(|link| !Arc::ptr_eq(link, &self.link));
            if of_topic.is_empty() {
                topics.remove(&self.topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use futures::{FutureExt, StreamExt};

    use super::*;

    fn topic(name: &str) -> Topic {
        Topic::new(name).expect("a short name")
    }

    fn subscribe(bus: &MemoryBus, name: &str) -> BusFrames {
        bus.subscribe(&topic(name)).now_or_never().expect("nothing to wait for").expect("in memory")
    }

    fn publish(bus: &MemoryBus, name: &str, number: usize) {
        let frame = number.to_string();
        bus.publish(&topic(name), frame.as_bytes()).now_or_never().expect("B5: never blocks").expect("small");
    }

    fn frame(number: usize) -> Delivery {
        Delivery::Frame(number.to_string().as_bytes().into())
    }

    /// What waits, and whether the stream has ended behind it.
    fn drain(frames: &mut BusFrames) -> (Vec<Delivery>, bool) {
        let mut got = Vec::new();
        for _ in 0..=WAITING_MAX + 1 {
            match frames.next().now_or_never() {
                Some(Some(delivery)) => got.push(delivery),
                ended => return (got, ended.is_some()),
            }
        }
        panic!("more than can wait: {got:?}");
    }

    #[test]
    fn an_overflow_drops_the_oldest_and_tells_it_once_where_they_were() {
        let bus = MemoryBus::new();
        let (mut slow, mut fast) = (subscribe(&bus, "t"), subscribe(&bus, "t"));
        let told: Vec<Delivery> = (0..WAITING_MAX + 3)
            .flat_map(|number| {
                publish(&bus, "t", number);
                drain(&mut fast).0
            })
            .collect();
        assert_eq!(told, (0..WAITING_MAX + 3).map(frame).collect::<Vec<_>>(), "the fast one loses nothing");

        let kept = (3..WAITING_MAX + 3).map(frame);
        let expected: Vec<Delivery> = [Delivery::Lagged].into_iter().chain(kept).collect();
        assert_eq!(drain(&mut slow), (expected, false));

        publish(&bus, "t", 7);
        assert_eq!(drain(&mut slow), (vec![frame(7)], false), "a loss is told once");
    }

    #[test]
    fn a_loss_between_two_frames_is_told_between_them() {
        let bus = MemoryBus::new();
        let mut frames = subscribe(&bus, "t");
        (0..WAITING_MAX).for_each(|number| publish(&bus, "t", number));
        assert_eq!(frames.next().now_or_never(), Some(Some(frame(0))));
        (WAITING_MAX..WAITING_MAX + 2).for_each(|number| publish(&bus, "t", number));
        let got = drain(&mut frames).0;
        assert_eq!(got[..2], [Delivery::Lagged, frame(2)]);
        assert_eq!(got.last(), Some(&frame(WAITING_MAX + 1)));
    }

    #[test]
    fn a_full_queue_without_loss_is_no_lag() {
        let bus = MemoryBus::new();
        let mut frames = subscribe(&bus, "t");
        (0..WAITING_MAX).for_each(|number| publish(&bus, "t", number));
        assert_eq!(drain(&mut frames), ((0..WAITING_MAX).map(frame).collect(), false));
    }

    #[test]
    fn dropped_subscriptions_leave_nothing_behind() {
        let (bus, t) = (MemoryBus::new(), topic("t"));
        let (one, other) = (subscribe(&bus, "t"), subscribe(&bus, "t"));
        assert_eq!(bus.clone().subscribers(&t), 2, "clones are the same bus");
        drop(one);
        assert_eq!(bus.subscribers(&t), 1);
        drop(other);
        assert!(bus.0.topics.lock().is_empty());
    }

    #[test]
    fn a_disconnected_stream_gives_what_waits_and_ends_while_later_ones_live() {
        let bus = MemoryBus::new();
        let mut old = subscribe(&bus, "t");
        publish(&bus, "t", 1);
        bus.disconnect();
        let mut new = subscribe(&bus, "t");
        publish(&bus, "t", 2);
        assert_eq!(drain(&mut old), (vec![frame(1)], true));
        assert_eq!(drain(&mut new), (vec![frame(2)], false));
        drop(old);
        assert_eq!(bus.subscribers(&topic("t")), 1, "an old link takes no new one with it");
        drop(bus);
        assert_eq!(drain(&mut new), (vec![], true), "a stream ends with its bus");
    }

    #[test]
    fn a_subscriber_that_waits_is_woken_by_a_frame_and_by_a_cut() {
        #[derive(Default)]
        struct Wakes(AtomicUsize);
        impl Wake for Wakes {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (bus, wakes) = (MemoryBus::new(), Arc::<Wakes>::default());
        let mut frames = subscribe(&bus, "t");
        let waker = Arc::clone(&wakes).into();
        let mut poll = || frames.poll_next_unpin(&mut Context::from_waker(&waker));
        let woken = || wakes.0.load(Ordering::Relaxed);
        assert_eq!((poll(), woken()), (Poll::Pending, 0));
        publish(&bus, "t", 1);
        assert_eq!((woken(), poll(), poll()), (1, Poll::Ready(Some(frame(1))), Poll::Pending));
        bus.disconnect();
        assert_eq!((woken(), poll()), (2, Poll::Ready(None)));
    }
}
