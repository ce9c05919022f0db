//! The live half of a stream: pieces of the open gen.

use chatwright_core::frame::{Frame, FrameBody, LiveBlock, ResetReason};
use chatwright_core::live::Piece;
use chatwright_core::port::{LiveError, LiveRead};
use chatwright_core::view::fold;
use chatwright_core::{Gen, limits};
use tokio::time::{Instant, timeout};

use super::follow::{Follower, LIVE_RETRY};
use super::pieces::fit;

/// Most reads for one preview as a whole.
const PAGES_MAX: usize = 256;

impl Follower {
    /// Sends what the live log has, at most one frame.
    pub(super) async fn read_live(&mut self) {
        let Some(r#gen) = self.gens.open.as_ref().map(|open| open.r#gen) else { return self.probe().await };
        if !self.caught_up && self.kept != Some(r#gen) {
            return self.read_whole(r#gen).await;
        }
        match self.read_pieces(r#gen, self.gens.off, self.settings.frame_bytes).await {
            Ok(LiveRead::Pieces { pieces, head, capped }) => self.pieces(r#gen, &pieces, head, capped),
            Ok(LiveRead::Sealed { .. }) => self.sealed(r#gen),
            // Nothing yet, or its writer is gone: the log will say.
            Ok(_) => self.live_more = false,
            Err(LiveError::Boundary { .. }) => self.reset(ResetReason::Off),
            Err(error) => self.live_failed(&error),
        }
    }

    fn pieces(&mut self, r#gen: Gen, pieces: &[Piece], head: u64, capped: bool) {
        let pieces = fit(self.gens.off, pieces, self.settings.frame_bytes);
        self.live_more = !pieces.is_empty() && pieces.last().is_some_and(|last| last.to() < head);
        if let Some(last) = pieces.last() {
            self.gens.off = last.to();
            self.push(FrameBody::Delta { r#gen, pieces });
        }
        if capped && self.gens.off >= head && !self.capped {
            self.capped = true;
            self.push(FrameBody::Capped { r#gen, off: self.gens.off });
        }
    }

    /// The gen is sealed in the live log, so its record is there: the log has the last word.
    fn sealed(&mut self, r#gen: Gen) {
        self.live_more = false;
        if self.seal_looked_for < r#gen {
            self.seal_looked_for = r#gen;
            self.look = true;
        }
    }

    /// The preview of the open gen as a whole, for a viewer that comes into the middle of it.
    async fn read_whole(&mut self, r#gen: Gen) {
        let (mut blocks, mut off) = (Vec::<LiveBlock>::new(), 0);
        self.live_more = false;
        for _ in 0..PAGES_MAX {
            match self.read_pieces(r#gen, off, limits::LIVE_BYTES_MAX).await {
                Ok(LiveRead::Pieces { pieces, head, capped }) => {
                    let pieces = fit(off, &pieces, limits::LIVE_BYTES_MAX);
                    pieces.iter().for_each(|piece| fold(&mut blocks, piece));
                    off = pieces.last().map_or(off, Piece::to);
                    if pieces.is_empty() || off >= head {
                        // Whether it is capped comes with the next read.
                        self.live_more = capped;
                        break;
                    }
                }
                Ok(LiveRead::Sealed { .. }) => {
                    self.sealed(r#gen);
                    break;
                }
                Ok(_) => break,
                Err(error) => {
                    self.live_failed(&error);
                    break;
                }
            }
        }
        let Some(open) = &self.gens.open else { return };
        let (message, kind) = (open.message, open.unit);
        (self.kept, self.gens.off) = (Some(r#gen), off);
        self.push(FrameBody::LiveSnapshot { r#gen, message, kind, off, blocks });
    }

    /// No gen is open as far as the log was read. If the next one is being shown, its doorbell was lost.
    async fn probe(&mut self) {
        self.live_more = false;
        let next = self.gens.last.next();
        let shown = match self.read_pieces(next, 0, 1).await {
            Ok(LiveRead::Pieces { head, .. }) => head > 0,
            Ok(LiveRead::Sealed { .. }) => true,
            _ => false,
        };
        if shown && self.next_looked_for < next {
            self.next_looked_for = next;
            self.look = true;
        }
    }

    pub(super) async fn ping(&mut self) {
        self.ping_at = Instant::now() + self.settings.ping_every;
        let (r#gen, mut off) = (self.gens.last, self.gens.off);
        if self.gens.open.is_some()
            && let Ok(LiveRead::Pieces { head, .. }) = self.read_pieces(r#gen, off, 1).await
            && head > off
        {
            off = head;
            // A wake-up was lost.
            self.live_more = true;
        }
        let seq = self.told.as_ref().map_or(self.seq, |told| told.head.last_seq);
        self.out.push_back(Frame::still(FrameBody::Ping { seq, r#gen, off }));
    }

    // `&mut`, because shared a follower could not go from thread to thread.
    pub(super) async fn read_pieces(
        &mut self,
        r#gen: Gen,
        from: u64,
        max: usize,
    ) -> Result<LiveRead, LiveError> {
        let read = timeout(self.settings.read_within, self.live.read(self.chat, r#gen, from, max)).await;
        read.unwrap_or_else(|_| Err(LiveError::Unavailable { message: "a read took too long".into() }))
    }

    fn live_failed(&mut self, error: &LiveError) {
        tracing::debug!(chat = %self.chat, %error, "the live log cannot be read");
        // What is durable goes on; the preview catches up.
        self.live_more = true;
        self.live_at = Instant::now() + LIVE_RETRY;
    }
}
