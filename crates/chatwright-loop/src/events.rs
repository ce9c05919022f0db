//! The event stream of a chat: what a viewer is sent, from any point on, for as long as it looks.
//!
//! A stream is pulled: it belongs to one viewer, has no task and no queue of its own, and reads only when it is asked for
//! the next frame. Doorbells, wake-ups and the poll decide when it looks; what it says comes from the chat's log and the
//! live log alone. [`View`](chatwright_core::view::View) is the other end.
//!
//! | # | promise |
//! |---|---|
//! | stream.S10 | Resume equivalence: a viewer that was cut off anywhere and resumes sees what an uninterrupted one sees, at the next seal or `caught_up` at the latest. |
//! | stream.S11 | How pieces were cut or merged makes no difference. |
//! | stream.S13 | Durable first: a piece of a gen is sent only after the record that opened the gen, and never after the record that sealed it. |
//! | stream.S14 | A seal and its message travel in one frame. |
//! | stream.S16 | Hints are inert: deleting, doubling, reordering or forging them changes nothing but latency. |
//! | stream.S19 | Whatever is offered as a cursor ends in a resume, a snapshot or a reset. |
//! | stream.S20 | Cursors never decrease, except after a reset. |
//! | stream.L4 | Every stream ends or pings. |

mod bell;
mod follow;
mod log;
mod pieces;
mod preview;
mod resolve;
mod start;
mod state;
#[cfg(test)]
mod tests;
mod topic;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chatwright_core::frame::{Frame, Resume};
use chatwright_core::port::{Bus, ChatStore, LiveLog, StoreError};
use chatwright_core::{ChatId, Head};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use follow::Follower;
pub(crate) use topic::doorbell_topic;

/// Where the frames of a chat come from.
#[derive(Clone)]
pub struct EventSources {
    /// The chats.
    pub chats: Arc<dyn ChatStore>,
    /// The doorbell.
    pub bus: Arc<dyn Bus>,
    /// The live previews.
    pub live: Arc<dyn LiveLog>,
    /// The name of the store's incarnation: a restore from a backup changes it, and with it every cursor.
    pub incarnation: Arc<str>,
}

/// Settings of an event stream. Plain data; every field has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventSettings {
    /// How often to look at the chat without having been told, ±20 % by chat. 10 s by default.
    pub poll_every: Duration,
    /// How often a ping is sent. 8 s by default; less than `poll_every` and than what proxies take for silence.
    pub ping_every: Duration,
    /// How long one read may take. 5 s by default.
    pub read_within: Duration,
    /// Most records of a snapshot. 200 by default.
    pub snapshot_records: usize,
    /// Most bytes of text in a `delta`. 64 KiB by default.
    pub frame_bytes: usize,
}

impl Default for EventSettings {
    fn default() -> Self {
        Self {
            poll_every: Duration::from_secs(10),
            ping_every: Duration::from_secs(8),
            read_within: Duration::from_secs(5),
            snapshot_records: 200,
            frame_bytes: 64 * 1024,
        }
    }
}

/// A stream that does not begin.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// There is no such chat, or it was purged.
    #[error("there is no chat {0}")]
    NotFound(ChatId),
    /// The chat could not be read.
    #[error("the chat could not be read")]
    Store(#[from] StoreError),
}

/// The event stream of a chat, from what the viewer offers on. `head` is the chat as the caller loaded it to authorise the
/// viewer; without it the chat is read here. Wake-ups are subscribed to before anything is read, and what is read
/// afterwards corrects what the caller brought.
///
/// # Errors
/// [`EventsError`], if the chat is unknown or cannot be read and the caller brought none. Later failures are frames: `bye`.
///
/// # Cancel safety
/// Safe: a dropped call leaves nothing behind.
pub async fn events(
    sources: EventSources,
    chat: ChatId,
    head: Option<Head>,
    resume: Resume,
    settings: EventSettings,
) -> Result<EventStream, EventsError> {
    let follower = Follower::begin(sources, chat, head, resume, settings).await?;
    Ok(EventStream(futures::stream::unfold(follower, Follower::next).boxed()))
}

/// The frames of one chat for one viewer. It ends after a `bye`. Dropping it ends everything that it holds.
pub struct EventStream(BoxStream<'static, Frame>);

impl EventStream {
    /// The next frame; `None` after the last one.
    ///
    /// # Cancel safety
    /// Safe: a dropped call loses no frame.
    pub async fn next(&mut self) -> Option<Frame> {
        self.0.next().await
    }
}

impl Stream for EventStream {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventStream")
    }
}
