use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chatwright_core::port::{Bus, BusFrames, Topic};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::time::{sleep, timeout};

/// The first wait after a link died, doubled up to the last.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// Most rings that count as one.
const RINGS_MAX: usize = 1_024;

/// The doorbell of a chat. It never fails: a link that dies is made again, and the viewer looks then.
pub(super) struct Bell {
    bus: Arc<dyn Bus>,
    topic: Topic,
    within: Duration,
    backoff: Duration,
    link: Link,
}

enum Link {
    Up(BusFrames),
    Down(BoxFuture<'static, Option<BusFrames>>),
}

impl Bell {
    /// Subscribes; if that fails, it goes on trying whenever it is listened to.
    pub(super) async fn begin(bus: Arc<dyn Bus>, topic: Topic, within: Duration) -> Self {
        let first = dial(Arc::clone(&bus), topic.clone(), Duration::ZERO, within).await;
        let link = match first {
            Some(frames) => Link::Up(frames),
            None => Link::Down(dial(Arc::clone(&bus), topic.clone(), BACKOFF, within)),
        };
        Self { bus, topic, within, backoff: BACKOFF, link }
    }

    /// Ready if it rang, however often, or if it is linked again and may have rung unheard.
    pub(super) fn poll_ring(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.link {
                Link::Up(frames) => {
                    // A frame or a loss of frames: both mean that somebody should look.
                    if ready!(frames.poll_next_unpin(cx)).is_some() {
                        self.backoff = BACKOFF;
                        let more = |_: &usize| matches!(frames.poll_next_unpin(cx), Poll::Ready(Some(_)));
                        (0..RINGS_MAX).take_while(more).for_each(drop);
                        return Poll::Ready(());
                    }
                    self.link = Link::Down(self.dial());
                }
                Link::Down(dialing) => match ready!(dialing.poll_unpin(cx)) {
                    Some(frames) => {
                        // Not yet progress: the wait is kept until it rings.
                        self.link = Link::Up(frames);
                        return Poll::Ready(());
                    }
                    None => self.link = Link::Down(self.dial()),
                },
            }
        }
    }

    fn dial(&mut self) -> BoxFuture<'static, Option<BusFrames>> {
        let wait = self.backoff;
        self.backoff = (wait * 2).min(BACKOFF_MAX);
        dial(Arc::clone(&self.bus), self.topic.clone(), wait, self.within)
    }
}

fn dial(
    bus: Arc<dyn Bus>,
    topic: Topic,
    wait: Duration,
    within: Duration,
) -> BoxFuture<'static, Option<BusFrames>> {
    let dial = async move {
        sleep(wait).await;
        match timeout(within, bus.subscribe(&topic)).await {
            Ok(Ok(frames)) => Some(frames),
            Ok(Err(error)) => {
                tracing::debug!(%topic, %error, "a doorbell cannot be heard");
                None
            }
            Err(_) => None,
        }
    };
    dial.boxed()
}
