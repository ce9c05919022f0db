//! What is to be written is gathered, and written.

use std::sync::atomic::Ordering;

use chatwright_core::debug::{ContentHash, DebugWrite, DebugWritten, RunKind, StepChange};
use chatwright_core::limits::{DEBUG_WRITE_BYTES_MAX, DEBUG_WRITES_MAX};
use chatwright_core::port::DebugStore;
use chatwright_core::{ChatId, RunId, StepId};
use tokio::time::{sleep, timeout};

use super::super::track::Track;
use super::{PAUSE, TRIES, Writer, heavy, in_time};
use crate::content::{Place, Rope};
use crate::service::{STORE_WITHIN, Told};

impl Writer {
    pub(super) async fn update_step(&mut self, chat: ChatId, run: RunId, step: StepId, change: StepChange) {
        let now = self.service.now();
        self.push(DebugWrite::UpdateStep { chat, run, step, change: Box::new(change), now }).await;
        self.told.insert((chat, run, Some(step)));
    }

    /// Writes bytes as contents, and gives where they are.
    pub(super) async fn kept(&mut self, chat: ChatId, run: RunId, bytes: Vec<u8>) -> Option<Place> {
        let made = heavy(bytes.len(), move || {
            let (mut rope, mut contents) = (Rope::new(chat), Vec::new());
            let mut give = |hash, piece: &[u8]| contents.push((hash, Box::from(piece)));
            rope.push(&bytes, &mut give);
            let place = rope.place(&mut give);
            (place, contents)
        });
        let (place, contents) = made.await?;
        self.contents(chat, run, contents).await;
        place
    }

    pub(super) async fn contents(
        &mut self,
        chat: ChatId,
        run: RunId,
        contents: Vec<(ContentHash, Box<[u8]>)>,
    ) {
        for (hash, bytes) in contents {
            if self.lately.insert(run, hash) {
                self.push(DebugWrite::Content { chat, run, hash, bytes }).await;
            }
        }
    }

    pub(super) async fn push(&mut self, write: DebugWrite) {
        let bytes = write.bytes();
        if self.batch.len() == DEBUG_WRITES_MAX || self.batch_bytes + bytes > DEBUG_WRITE_BYTES_MAX {
            self.write().await;
        }
        self.batch_bytes += bytes;
        self.batch.push(write);
    }

    /// Writes what was gathered. What the store does not take is given up.
    pub(super) async fn write(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return;
        }
        let mut failed = None;
        for number in 1..=TRIES {
            let store: &dyn DebugStore = self.service.store();
            failed = match in_time(store.write(&batch)).await {
                Ok(written) => {
                    self.look_at(&batch, &written);
                    None
                }
                Err(error) => Some(error),
            };
            match &failed {
                None => break,
                Some(_) if number < TRIES => sleep(PAUSE * number).await,
                Some(_) => {}
            }
        }
        let told = std::mem::take(&mut self.told);
        if let Some(error) = failed {
            tracing::warn!(writes = batch.len(), %error, "the debug store does not take what is recorded");
            self.lost(batch.len());
            return;
        }
        let tell = async {
            for (chat, run, step) in told {
                let told = step.map_or_else(|| Told::run(chat, run), |step| Told::step(chat, run, step));
                self.service.tell(told).await;
            }
        };
        // A hint that is lost is no loss, and a bus that hangs is to cost its time once.
        let _ = timeout(STORE_WITHIN, tell).await;
    }

    /// A step that has no place in its run, because somebody else ended or deleted that, leaves the run to itself.
    pub(super) fn look_at(&mut self, batch: &[DebugWrite], written: &[DebugWritten]) {
        for (write, became) in batch.iter().zip(written) {
            let DebugWrite::CreateStep(step) = write else { continue };
            if matches!(became, DebugWritten::Step(_)) {
                continue;
            }
            tracing::debug!(chat = %step.chat, run = %step.run, ?became, "a debug run takes no step");
            let of = |track: &&Track| track.run == step.run;
            let kind = RunKind::ALL
                .into_iter()
                .find(|kind| self.tracks.runs.get(&(step.chat, *kind)).filter(of).is_some());
            if let Some(kind) = kind {
                self.tracks.remove(step.chat, kind);
            }
            self.count_unwritten(1);
            if let Some(shared) = self.shared.upgrade() {
                shared.forget_chat(step.chat);
            }
        }
    }

    /// Something was not written: whatever builds on it is written anew.
    pub(super) fn lost(&mut self, writes: usize) {
        self.lately.clear();
        self.tracks.runs.values_mut().for_each(|track| (track.prompt, track.tools) = (None, None));
        self.count_unwritten(writes);
        if let Some(shared) = self.shared.upgrade() {
            shared.forget_all();
        }
    }

    fn count_unwritten(&self, writes: usize) {
        metrics::counter!("chatwright_debug_unwritten_total").increment(writes as u64);
        if let Some(shared) = self.shared.upgrade() {
            shared.stats.unwritten.fetch_add(writes as u64, Ordering::Relaxed);
        }
    }
}
