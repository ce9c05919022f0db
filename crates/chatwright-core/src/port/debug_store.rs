use async_trait::async_trait;

use super::{StoreError, StoreErrorKind};
use crate::debug::{
    Change, ContentHash, DebugDelete, DebugRun, DebugStep, DebugWrite, DebugWritten, Detail, Swept,
};
use crate::limits::{
    DEBUG_CONTENT_BYTES_MAX, DEBUG_JSON_BYTES_MAX, DEBUG_WRITE_BYTES_MAX, DEBUG_WRITES_MAX, PAGE_ITEMS_MAX,
};
use crate::text::TooLarge;
use crate::{ChatId, Json, RunId, Timestamp};

/// Where a debug recorder keeps what was said to models and what came back; optional. No chat waits for it.
///
/// | # | promise |
/// |---|---|
/// | D1 | **Ends once.** The first write that takes a run to a terminal status, or the sweep, sets its end, to the time that it gives or else to its own; nothing moves it. A step ends when it was last said to have ended, for a retry may succeed. |
/// | D2 | **Closed.** A step joins a run of its own chat that has not ended, and no other: a run that has ended is [`Finished`](DebugWritten::Finished), one that is not there or is another chat's is [`Missing`](DebugWritten::Missing). |
/// | D3 | **Ranked.** A status only rises, in the order of [`DebugStatus`](crate::debug::DebugStatus): a change that would lower it changes nothing at all. |
/// | D4 | **Swept whole.** Sweeping and touching exclude each other: what was touched since the time is not swept, and what was swept is not touched (touching a run that has ended is [`Finished`](DebugWritten::Finished)). The steps of a run that is swept end with it. |
/// | D5 | **Kept.** What a change does not name stays as it is; what it clears is gone. `updated_at` is never set back. |
/// | D6 | **Numbered.** The steps of a run are numbered 1, 2, 3 … in the order in which they are created, without a hole and without a double, however many create at once. |
/// | D7 | **Atomic.** The writes of a call happen in their order, all or none, and become visible together. |
/// | D8 | **Idempotent.** Creating a run or a step again under an id that is there changes nothing: a step has the number that it had, also if its run has ended since. An id of another chat's run, or of another run's step, is [`Missing`](DebugWritten::Missing). |
/// | D9 | **Faithful.** What is there comes back as it was given: text and bytes unchanged, times to the millisecond, what is absent absent. |
/// | D10 | **Durable** after `Ok`, also after reopening; a store without durability says so. **Fresh**: a read that starts after an `Ok` sees it. |
/// | D11 | **Complete.** Walking pages gives every run of the chat, newest first, and every step of the run, ascending; once each as long as nothing changes. |
/// | D12 | **Content.** A piece that was given to a run can be read through this run as long as the run is there, whichever other runs have it; once no run of its chat has it, it is gone. Nothing can be read through a run of another chat. |
/// | D13 | **Deleted.** Exactly the runs that every condition applies to are deleted, at most `limit` of them in a call, each with its steps and its contents. |
/// | D14 | **Bounded.** Above a bound nothing is written, and the error says [`Invalid`](StoreErrorKind::Invalid). |
/// | D15 | **Cancel-safe.** A dropped call has happened whole or not at all, and the store stays usable. |
///
/// Locks are taken in one order, the run before its steps.
///
/// # Cancel safety
/// A dropped write may or may not have happened. All writes may be repeated; a repeated change counts as a new one.
#[async_trait]
pub trait DebugStore: Send + Sync + 'static {
    /// Does all of these, in their order: at most [`DEBUG_WRITES_MAX`], with at most [`DEBUG_WRITE_BYTES_MAX`] bytes in all,
    /// [`DEBUG_JSON_BYTES_MAX`] in a JSON value and [`DEBUG_CONTENT_BYTES_MAX`] in a piece of content. Gives what became of each.
    ///
    /// # Errors
    /// What the storage reports: whether all or nothing was done is then unknown. [`StoreErrorKind::Invalid`] above a bound: nothing was.
    async fn write(&self, writes: &[DebugWrite]) -> Result<Vec<DebugWritten>, StoreError>;

    /// The runs of a chat that stand behind `before` in descending order of start and id: at most `limit`, 1 to
    /// [`PAGE_ITEMS_MAX`](crate::limits::PAGE_ITEMS_MAX). Fewer than `limit` mean that there are no more.
    ///
    /// # Errors
    /// What the storage reports; [`StoreErrorKind::Invalid`] for another `limit`.
    async fn runs(
        &self,
        chat: ChatId,
        before: Option<(Timestamp, RunId)>,
        limit: usize,
    ) -> Result<Vec<DebugRun>, StoreError>;

    /// A run of this chat.
    ///
    /// # Errors
    /// What the storage reports.
    async fn run(&self, chat: ChatId, run: RunId) -> Result<Option<DebugRun>, StoreError>;

    /// The steps of a run whose numbers are greater than `after`, ascending: at most `limit`, 1 to
    /// [`PAGE_ITEMS_MAX`](crate::limits::PAGE_ITEMS_MAX). A page of whole steps may stop early at
    /// [`PAGE_BYTES_MAX`](crate::limits::PAGE_BYTES_MAX), but is not empty while there are more.
    ///
    /// # Errors
    /// What the storage reports; [`StoreErrorKind::Invalid`] for another `limit`.
    async fn steps(
        &self,
        chat: ChatId,
        run: RunId,
        after: u32,
        limit: usize,
        detail: Detail,
    ) -> Result<Vec<DebugStep>, StoreError>;

    /// The contents of these names in a run, in the order in which they are asked for: at most
    /// [`PAGE_ITEMS_MAX`](crate::limits::PAGE_ITEMS_MAX) names. The answer may stop early at
    /// [`PAGE_BYTES_MAX`](crate::limits::PAGE_BYTES_MAX), but has at least one entry if a name is given. `None`: the run has none of
    /// that name.
    ///
    /// # Errors
    /// What the storage reports; [`StoreErrorKind::Invalid`] for more names.
    async fn contents(
        &self,
        chat: ChatId,
        run: RunId,
        hashes: &[ContentHash],
    ) -> Result<Vec<Option<Box<[u8]>>>, StoreError>;

    /// Ends, as interrupted and now, at most `limit` runs that have not ended and to which nothing has happened since `before`, with
    /// their steps, and all steps of other runs of which the same is true. A run counts where its `updated_at` is less than `before`.
    /// Fewer runs than `limit` mean that there are no more.
    ///
    /// # Errors
    /// What the storage reports; [`StoreErrorKind::Invalid`] for a `limit` that is not 1 to
    /// [`PAGE_ITEMS_MAX`](crate::limits::PAGE_ITEMS_MAX).
    async fn sweep(&self, now: Timestamp, before: Timestamp, limit: usize) -> Result<Swept, StoreError>;

    /// Deletes runs, and gives how many. Fewer than `limit` mean that there are no more.
    ///
    /// # Errors
    /// What the storage reports; [`StoreErrorKind::Invalid`] where no condition is given, and for a `limit` that is not 1 to
    /// [`PAGE_ITEMS_MAX`](crate::limits::PAGE_ITEMS_MAX).
    async fn delete(&self, which: &DebugDelete, limit: usize) -> Result<usize, StoreError>;
}

impl StoreError {
    /// `Err` iff what is written at once is over a bound (D14).
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`].
    pub fn check_debug_writes(writes: &[DebugWrite]) -> Result<(), Self> {
        if writes.len() > DEBUG_WRITES_MAX {
            let message = format!("{} writes at once: {DEBUG_WRITES_MAX} are allowed", writes.len());
            return Err(Self::new(StoreErrorKind::Invalid, message));
        }
        let too_large = |error: TooLarge| Self::new(StoreErrorKind::Invalid, error.to_string());
        let mut all = 0;
        for write in writes {
            if let DebugWrite::Content { bytes, .. } = write {
                TooLarge::check_bytes("debug content", bytes.len(), DEBUG_CONTENT_BYTES_MAX)
                    .map_err(too_large)?;
                all += bytes.len();
            }
            for json in write.values() {
                TooLarge::check_bytes("debug value", json.len(), DEBUG_JSON_BYTES_MAX).map_err(too_large)?;
                all += json.len();
            }
        }
        TooLarge::check_bytes("debug writes", all, DEBUG_WRITE_BYTES_MAX).map_err(too_large)
    }

    /// `Err` iff more than [`PAGE_ITEMS_MAX`] pieces of content are asked for.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`].
    pub fn check_debug_contents(names: usize) -> Result<(), Self> {
        if names > PAGE_ITEMS_MAX {
            let message = format!("{names} pieces of content: {PAGE_ITEMS_MAX} are allowed");
            return Err(Self::new(StoreErrorKind::Invalid, message));
        }
        Ok(())
    }

    /// `Err` iff no condition of a deletion is given.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`].
    pub fn check_debug_delete(which: &DebugDelete) -> Result<(), Self> {
        if which.is_empty() {
            return Err(Self::new(StoreErrorKind::Invalid, "a deletion without a condition"));
        }
        Ok(())
    }
}

impl DebugWrite {
    /// How many bytes of values and content it brings.
    pub fn bytes(&self) -> usize {
        let content = match self {
            Self::Content { bytes, .. } => bytes.len(),
            _ => 0,
        };
        content + self.values().map(Json::len).sum::<usize>()
    }

    fn values(&self) -> impl Iterator<Item = &Json> {
        let values: [Option<&Json>; 6] = match self {
            Self::CreateRun(run) => [Some(&run.summary), None, None, None, None, None],
            Self::UpdateRun { change, .. } => [change.summary.as_ref(), None, None, None, None, None],
            Self::CreateStep(step) => [
                step.usage.as_ref(),
                step.error.as_ref(),
                step.metadata.as_ref(),
                step.request.as_ref(),
                step.response.as_ref(),
                step.attempts.as_ref(),
            ],
            Self::UpdateStep { change, .. } => [
                change.usage.set(),
                change.error.set(),
                change.metadata.set(),
                change.request.set(),
                change.response.set(),
                change.attempts.set(),
            ],
            Self::Touch { .. } | Self::Content { .. } => [None; 6],
        };
        values.into_iter().flatten()
    }
}

impl<T> Change<T> {
    fn set(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            _ => None,
        }
    }
}
