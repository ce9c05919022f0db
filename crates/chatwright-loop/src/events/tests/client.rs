//! A viewer that checks the laws after every frame.

use std::time::Duration;

use chatwright_core::frame::{Frame, FrameBody, Resume};
use chatwright_core::view::{Applied, Transcript, View};
use tokio::time::timeout;

use super::super::EventStream;
use super::laws;
use super::world::{Fact, World};

pub(super) struct Client {
    pub(super) stream: EventStream,
    pub(super) view: View,
    /// Every frame so far.
    pub(super) frames: Vec<Frame>,
}

impl Client {
    pub(super) async fn new(world: &World, resume: Resume) -> Self {
        Self { stream: world.watch(resume).await, view: View::new(), frames: Vec::new() }
    }

    /// Comes back with what it had.
    pub(super) async fn resume(world: &World, view: View) -> Self {
        Self { stream: world.watch(view.cursor().into()).await, view, frames: Vec::new() }
    }

    /// Takes what there is now; gives how many frames that was.
    pub(super) async fn pull(&mut self, facts: &[Fact]) -> usize {
        let mut count = 0;
        while let Some(frame) = self.frame().await {
            self.take(frame, facts);
            count += 1;
        }
        count
    }

    /// The next frame, if there is one now.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        timeout(Duration::from_millis(1), self.stream.next()).await.ok().flatten()
    }

    pub(super) fn take(&mut self, frame: Frame, facts: &[Fact]) {
        let applied = self.view.apply(&frame);
        let over = matches!(frame.body, FrameBody::Bye { .. });
        assert_eq!(applied, if over { Applied::Over } else { Applied::Ok }, "{frame:?}");
        if frame.cursor.is_some() {
            assert_eq!(self.view.cursor(), frame.cursor, "true after applying {frame:?}");
        }
        if self.view.cursor().is_some() {
            laws::one_of_preview_and_message(&self.view, facts)
                .unwrap_or_else(|why| panic!("{why}: {frame:?}"));
        }
        self.frames.push(frame);
    }

    pub(super) fn seen(&self) -> &Transcript {
        self.view.transcript()
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        names(&self.frames)
    }
}

pub(super) fn names(frames: &[Frame]) -> Vec<&'static str> {
    frames.iter().map(|frame| frame.body.name()).collect()
}
