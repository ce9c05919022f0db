use std::sync::Arc;
use std::time::Duration;

use chatwright_core::live::{Piece, PieceBody};
use chatwright_core::port::{LiveError, LiveLog};
use chatwright_core::{ChatId, Epoch, Gen};
use tokio::time::Instant;

use crate::Settings;
use crate::deps::soon;

/// The writer's side of a gen's live preview: gathers pieces and appends them to the live log. The preview may lag, stop at
/// its cap or fail; the answer does not depend on it.
pub(crate) struct Preview {
    live: Arc<dyn LiveLog>,
    chat: ChatId,
    epoch: Epoch,
    r#gen: Gen,
    gathered: Vec<Piece>,
    bytes: usize,
    flush_bytes: usize,
    flush_every: Duration,
    flush_at: Option<Instant>,
    /// The log did not take what was gathered: it is not asked again before `flush_at`.
    waits: bool,
    ended: bool,
}

/// How long a log that did not answer is left alone. An answer waits for each try, so that these must be rare.
const LEFT_ALONE: Duration = Duration::from_secs(20);

impl Preview {
    pub(crate) fn new(
        live: Arc<dyn LiveLog>,
        chat: ChatId,
        epoch: Epoch,
        r#gen: Gen,
        settings: &Settings,
    ) -> Self {
        Self {
            live,
            chat,
            epoch,
            r#gen,
            gathered: Vec::new(),
            bytes: 0,
            flush_bytes: settings.flush_bytes,
            flush_every: settings.flush_every,
            flush_at: None,
            waits: false,
            ended: false,
        }
    }

    /// Takes the pieces out of `pieces`; gives whether they should be shown at once.
    pub(crate) fn gather(&mut self, pieces: &mut Vec<Piece>) -> bool {
        if self.ended {
            pieces.clear();
            return false;
        }
        let mut now = false;
        for piece in pieces.drain(..) {
            match &piece.body {
                PieceBody::Append { text } => self.bytes += text.len(),
                _ => now = true,
            }
            let apart = match self.gathered.last_mut() {
                Some(last) => last.merge(piece),
                None => Some(piece),
            };
            self.gathered.extend(apart);
        }
        if self.flush_at.is_none() && !self.gathered.is_empty() {
            self.flush_at = Some(Instant::now() + self.flush_every);
        }
        !self.waits && (now || self.bytes >= self.flush_bytes)
    }

    /// When what was gathered should be shown at the latest.
    pub(crate) fn flush_at(&self) -> Option<Instant> {
        self.flush_at
    }

    /// Appends what was gathered.
    ///
    /// # Cancel safety
    /// What was gathered stays until it is appended; appending it twice is harmless (L2).
    pub(crate) async fn flush(&mut self) {
        (self.flush_at, self.waits) = (None, false);
        let Some(first) = self.gathered.first() else { return };
        let append = self.live.append(self.chat, self.epoch, self.r#gen, first.from, &self.gathered);
        match soon(append).await {
            Some(Ok(_)) => {
                self.gathered.clear();
                self.bytes = 0;
            }
            // It catches up with the next flush.
            None => self.wait(LEFT_ALONE),
            Some(Err(LiveError::Unavailable { .. })) => self.wait(self.flush_every),
            Some(Err(error)) => {
                tracing::debug!(chat = %self.chat, r#gen = %self.r#gen, %error, "the preview ends here");
                self.gathered = Vec::new();
                self.ended = true;
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        (self.flush_at, self.waits) = (Some(Instant::now() + time), true);
    }

    /// The log takes no more of it.
    pub(crate) fn was_cut(&self) -> bool {
        self.ended
    }

    /// Seals the gen in the live log, after the commit that sealed it in the chat's log.
    pub(crate) async fn seal(self, at: u64) {
        seal(&*self.live, self.chat, self.epoch, self.r#gen, at).await;
    }
}

pub(crate) async fn seal(live: &dyn LiveLog, chat: ChatId, epoch: Epoch, r#gen: Gen, at: u64) {
    // The record decides; a seal that is missing here is no harm.
    if !matches!(soon(live.seal(chat, epoch, r#gen, at)).await, Some(Ok(()))) {
        tracing::debug!(%chat, r#gen = %r#gen, "the live log did not seal a gen");
    }
}
