//! What is abandoned is ended, and what nobody wants any more is deleted.

use std::ops::Range;
use std::time::Duration;

use chatwright_core::debug::{DebugDelete, RunChange};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::StoreError;
use chatwright_core::{ChatId, Seq, Timestamp};
use tokio::time::{sleep, timeout};

use super::events::Told;
use super::{DebugService, STORE_WITHIN, Summary};

/// How many deletions that nobody waits for are done at once: an archive of thousands of chats is no storm.
pub(super) const AT_ONCE: usize = 2;
/// How many runs are deleted at once: whoever writes runs waits for no more.
const DELETED_MAX: usize = 100;
/// Most runs that one look for old ones deletes.
const PURGED_MAX: usize = PAGE_ITEMS_MAX;

/// How often a deletion that nobody waits for is tried, and after which pause.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// How far the clocks of two processes may be apart.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(30);
/// How long after a deletion another process may still write what it had queued.
const LATE_WRITES: Duration = Duration::from_secs(15);

impl DebugService {
    /// Ends, as interrupted, every run and step that nobody has given a sign of life of for longer than the threshold, and gives how
    /// many runs and steps. The runs get the sum of their steps.
    ///
    /// # Errors
    /// What the store reports: some may have ended.
    ///
    /// # Cancel safety
    /// A dropped call may have happened in part, and may be repeated.
    pub async fn sweep(&self) -> Result<(usize, u64), StoreError> {
        let now = self.now();
        let before = now.before(self.stale_after());
        let (mut runs, mut steps) = (0, 0);
        loop {
            let swept = self.0.store.sweep(now, before, PAGE_ITEMS_MAX).await?;
            runs += swept.runs.len();
            steps += swept.steps;
            for (chat, run) in &swept.runs {
                self.sum_up(*chat, *run).await;
            }
            if swept.runs.len() < PAGE_ITEMS_MAX {
                break;
            }
        }
        if runs > 0 || steps > 0 {
            self.tell(Told::swept()).await;
        }
        Ok((runs, steps))
    }

    /// Gives a run that was swept the sum that its process did not come to give it.
    async fn sum_up(&self, chat: ChatId, run: chatwright_core::RunId) {
        let summed = async {
            let Some(stored) = self.0.store.run(chat, run).await? else { return Ok(()) };
            let summary = self.summary(chat, run, Summary::from_json(&stored.summary)).await?;
            let change = RunChange { summary: Some(summary.to_json()), ..RunChange::default() };
            match self.update_run(chat, run, change).await {
                // Somebody has deleted it.
                Ok(()) | Err(super::UpdateError::NotFound) => Ok(()),
                Err(super::UpdateError::Store(error)) => Err(error),
            }
        };
        if let Err(error) = summed.await {
            tracing::debug!(%chat, %run, %error, "an abandoned debug run has no sum");
        }
    }

    /// Deletes runs, all that the conditions apply to, and gives how many.
    ///
    /// # Errors
    /// What the store reports: some may be gone.
    ///
    /// # Cancel safety
    /// A dropped call may have happened in part, and may be repeated.
    pub async fn delete(&self, which: &DebugDelete) -> Result<usize, StoreError> {
        let deleted = self.delete_until(which, usize::MAX).await?;
        if let Some(chat) = which.chat {
            self.tell(Told::deleted(chat)).await;
        }
        Ok(deleted)
    }

    /// Deletes until there are no more, or as many as this are gone.
    async fn delete_until(&self, which: &DebugDelete, most: usize) -> Result<usize, StoreError> {
        let mut deleted = 0;
        while deleted < most {
            let some = self.0.store.delete(which, DELETED_MAX).await?;
            deleted += some;
            if some < DELETED_MAX {
                break;
            }
        }
        Ok(deleted)
    }

    /// Deletes, in the background, the runs that an edit has cut off: those that have to do with this part of the log and began before
    /// the edit. It is tried three times; and once more later, for what other processes still had to write then.
    pub fn clean_up_edit(&self, chat: ChatId, cut: Range<Seq>, edited_at: Timestamp) {
        // What stands behind the edit is not within the cut. So the bound in time may be generous, and clocks may differ.
        let started_before = Some(edited_at.after(CLOCK_SKEW));
        self.clean_up(DebugDelete {
            chat: Some(chat),
            started_before,
            within: Some(cut),
            ..DebugDelete::default()
        });
    }

    /// Deletes, in the background, the runs of a chat that was archived: those that have to do with its log up to there, and began
    /// before. It is tried three times; and once more later, for what other processes still had to write then.
    pub fn clean_up_archive(&self, chat: ChatId, at: Seq, archived_at: Timestamp) {
        self.clean_up_edit(chat, Seq::ZERO..at, archived_at);
    }

    fn clean_up(&self, which: DebugDelete) {
        let service = self.clone();
        drop(self.detach(async move {
            service.delete_at_last(&which).await;
            sleep(LATE_WRITES).await;
            service.delete_at_last(&which).await;
        }));
    }

    /// Deletes, and tries again where that fails.
    async fn delete_at_last(&self, which: &DebugDelete) {
        let _one = self.0.cleaning.acquire().await;
        for number in 1..=TRIES {
            match timeout(STORE_WITHIN, self.delete(which)).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(%error, number, of = TRIES, "debug runs could not be deleted");
                }
                Err(_) => tracing::warn!(number, of = TRIES, "debug runs could not be deleted in time"),
            }
            if number < TRIES {
                sleep(PAUSE).await;
            }
        }
    }

    /// Deletes runs to which nothing has happened for longer than they are kept, at most 1,000, and gives how many. Fewer than 1,000
    /// mean that there are no more.
    ///
    /// # Errors
    /// What the store reports: some may be gone.
    ///
    /// # Cancel safety
    /// A dropped call may or may not have happened, and may be repeated.
    pub async fn purge_expired(&self) -> Result<usize, StoreError> {
        let Some(retention) = self.0.settings.retention else { return Ok(0) };
        let updated_before = Some(self.now().before(retention));
        let which = DebugDelete { updated_before, ..DebugDelete::default() };
        let purged = self.delete_until(&which, PURGED_MAX).await?;
        metrics::counter!("chatwright_debug_runs_purged_total").increment(purged as u64);
        Ok(purged)
    }
}
