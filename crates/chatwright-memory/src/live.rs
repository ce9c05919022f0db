mod preview;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::live::Piece;
use chatwright_core::port::{Clock, LiveError, LiveLog, LiveRead, LiveWakes};
use chatwright_core::{ChatId, Epoch, Gen, limits};
use futures::{StreamExt, stream};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use preview::Preview;

/// How long a sealed gen stays readable, at least until the next call after it.
const SEALED_KEPT: Duration = Duration::from_secs(60);
/// Most gens of a chat; one more pushes out the oldest, sealed or not.
const GENS_MAX: usize = 16;

/// Live previews in memory. Clones share them; wake-ups end with the last of them.
///
/// Sealed gens stay for 60 s by [`Clock::elapsed`], and a chat keeps 16 gens at most. Whatever is due goes with the next
/// call, for any chat, or with [`sweep`](Self::sweep). An open gen stays until it is sealed or pushed out: writers seal
/// even what they lost. The highest epoch of a chat (L3) is known as long as one of its gens is.
#[derive(Clone)]
pub struct MemoryLiveLog {
    clock: Arc<dyn Clock>,
    bytes_max: usize,
    tables: Arc<Mutex<Tables>>,
}

#[derive(Default)]
struct Tables {
    /// A chat without gens is not in it.
    chats: HashMap<ChatId, Chat>,
    /// When which gen was sealed, ascending.
    sealed: VecDeque<(Duration, ChatId, Gen)>,
    /// A chat without readers that wait is not in it.
    wakes: HashMap<ChatId, watch::Sender<()>>,
}

#[derive(Default)]
struct Chat {
    seen: Epoch,
    gens: BTreeMap<Gen, Preview>,
}

impl MemoryLiveLog {
    /// An empty log with the cap [`LIVE_BYTES_MAX`](limits::LIVE_BYTES_MAX).
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, bytes_max: limits::LIVE_BYTES_MAX, tables: Arc::default() }
    }

    /// The same log with another cap: what this handle writes to a gen stops at so many bytes (L4), at most
    /// [`LIVE_BYTES_MAX`](limits::LIVE_BYTES_MAX). Text counts its UTF-8 bytes, any other piece its body as JSON.
    #[must_use]
    pub fn with_cap(self, bytes: usize) -> Self {
        Self { bytes_max: bytes.min(limits::LIVE_BYTES_MAX), ..self }
    }

    /// Frees what is due and says for how many chats anything is kept: gens, or readers that wait.
    pub fn sweep(&self) -> usize {
        let tables = self.tables();
        tables.chats.len() + tables.wakes.keys().filter(|chat| !tables.chats.contains_key(chat)).count()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        let now = self.clock.elapsed();
        let mut tables = self.tables.lock();
        tables.sweep(now);
        tables
    }

    /// Changes a chat, then wakes its readers, outside the lock.
    fn change<T>(
        &self,
        chat: ChatId,
        act: impl FnOnce(&mut Tables) -> Result<T, LiveError>,
    ) -> Result<T, LiveError> {
        let mut tables = self.tables();
        let done = act(&mut tables);
        let wakes = tables.wakes.get(&chat).cloned();
        drop(tables);
        // Meeting the cap is an error and a change.
        if let (Ok(_) | Err(LiveError::Capped { .. }), Some(wakes)) = (&done, wakes) {
            wakes.send_replace(());
        }
        done
    }
}

#[async_trait]
impl LiveLog for MemoryLiveLog {
    async fn open(&self, chat: ChatId, epoch: Epoch, r#gen: Gen) -> Result<(), LiveError> {
        self.change(chat, |tables| {
            let chat = tables.chats.entry(chat).or_default();
            chat.fence(epoch)?;
            let preview = chat.preview(r#gen);
            if epoch > preview.epoch {
                // What a lower epoch left here was never opened in the chat's log.
                *preview = Preview::new(epoch);
            }
            preview.sealed.map_or(Ok(()), |at| Err(LiveError::Sealed { at }))
        })
    }

    async fn append(
        &self,
        chat: ChatId,
        epoch: Epoch,
        r#gen: Gen,
        from: u64,
        pieces: &[Piece],
    ) -> Result<u64, LiveError> {
        self.change(chat, |tables| {
            let chat = tables.chats.get_mut(&chat).ok_or(LiveError::Unknown)?;
            chat.fence(epoch)?;
            chat.gens.get_mut(&r#gen).ok_or(LiveError::Unknown)?.append(from, pieces, self.bytes_max)
        })
    }

    async fn read(&self, chat: ChatId, r#gen: Gen, from: u64, max: usize) -> Result<LiveRead, LiveError> {
        let tables = self.tables();
        let preview = tables.chats.get(&chat).and_then(|chat| chat.gens.get(&r#gen));
        preview.map_or(Ok(LiveRead::Unknown), |preview| preview.read(from, max))
    }

    async fn seal(&self, chat: ChatId, epoch: Epoch, r#gen: Gen, at: u64) -> Result<(), LiveError> {
        self.change(chat, |tables| {
            let entry = tables.chats.entry(chat).or_default();
            entry.fence(epoch)?;
            // A gen that is unknown here is remembered as sealed, so that nobody opens it late.
            let preview = entry.preview(r#gen);
            if preview.sealed.is_none() {
                (preview.sealed, preview.epoch) = (Some(at), epoch);
                tables.sealed.push_back((self.clock.elapsed(), chat, r#gen));
            }
            Ok(())
        })
    }

    fn changed(&self, chat: ChatId) -> LiveWakes {
        let receiver = self.tables().wakes.entry(chat).or_default().subscribe();
        let reader = Reader { receiver, place: Place { chat, tables: Arc::downgrade(&self.tables) } };
        let wake =
            |mut reader: Reader| async move { reader.receiver.changed().await.ok().map(|()| ((), reader)) };
        stream::unfold(reader, wake).boxed()
    }
}

impl Tables {
    fn sweep(&mut self, now: Duration) {
        while let Some(&(since, chat, r#gen)) = self.sealed.front() {
            if now.saturating_sub(since) < SEALED_KEPT {
                return;
            }
            self.sealed.pop_front();
            if let Some(entry) = self.chats.get_mut(&chat) {
                // It may have begun anew since.
                if entry.gens.get(&r#gen).is_some_and(|preview| preview.sealed.is_some()) {
                    entry.gens.remove(&r#gen);
                }
                if entry.gens.is_empty() {
                    self.chats.remove(&chat);
                }
            }
        }
    }
}

impl Chat {
    fn fence(&mut self, epoch: Epoch) -> Result<(), LiveError> {
        if epoch < self.seen {
            return Err(LiveError::Fenced { seen: self.seen });
        }
        self.seen = epoch;
        Ok(())
    }

    /// The preview of a gen; an empty one if there is none yet.
    fn preview(&mut self, r#gen: Gen) -> &mut Preview {
        if self.gens.len() == GENS_MAX && !self.gens.contains_key(&r#gen) {
            self.gens.pop_first();
        }
        self.gens.entry(r#gen).or_default()
    }
}

/// A reader that waits. Its receiver goes first: its place can then see whether it was the last one.
struct Reader {
    receiver: watch::Receiver<()>,
    #[expect(dead_code, reason = "it is there to be dropped")]
    place: Place,
}

/// A reader's place in [`Tables::wakes`].
struct Place {
    chat: ChatId,
    tables: Weak<Mutex<Tables>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(tables) = self.tables.upgrade() else { return };
        let mut tables = tables.lock();
        if tables.wakes.get(&self.chat).is_some_and(|wakes| wakes.receiver_count() == 0) {
            tables.wakes.remove(&self.chat);
        }
    }
}
