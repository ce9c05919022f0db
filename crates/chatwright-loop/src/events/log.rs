use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chatwright_core::head::{OpenGen, UnitKind};
use chatwright_core::port::{ChatStore, StoreError, StoreErrorKind};
use chatwright_core::record::Body;
use chatwright_core::{ChatId, Head, Record, Seq, limits};
use tokio::time::timeout;

/// How many records are read at once.
const PAGE: usize = 100;
/// Most bytes of bodies in a snapshot, its last commit apart.
const SNAPSHOT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A chat's log, every read bounded in time.
pub(super) struct Log {
    pub(super) chats: Arc<dyn ChatStore>,
    pub(super) chat: ChatId,
    pub(super) within: Duration,
}

/// Records of one commit, and the positions that they stand for.
#[derive(Debug, PartialEq)]
pub(super) struct Run {
    pub(super) after: Seq,
    pub(super) to: Seq,
    pub(super) records: Vec<Record>,
}

/// The newest records that count.
#[derive(Debug, PartialEq)]
pub(super) struct Window {
    /// At least one, ascending without a hole, up to the last position.
    pub(super) runs: VecDeque<Run>,
    pub(super) more_before: bool,
}

impl Log {
    pub(super) async fn head(&self) -> Result<Option<Head>, StoreError> {
        self.bounded(self.chats.head(self.chat)).await
    }

    /// The next records after a position that is not the last one.
    pub(super) async fn page(&self, after: Seq) -> Result<Vec<Record>, StoreError> {
        let page = self.bounded(self.chats.records(self.chat, after, PAGE)).await?;
        // S6 forbids it, unless the chat was purged since: then its head says so.
        if page.is_empty() { Err(ends_early(after)) } else { Ok(page) }
    }

    /// The calls of an open batch, in the order of their blocks.
    pub(super) async fn calls(&self, open: Option<&OpenGen>) -> Result<Vec<u32>, StoreError> {
        let Some(open) = open.filter(|open| open.kind == UnitKind::Batch) else { return Ok(Vec::new()) };
        let after = Seq::new(open.seq.get().saturating_sub(1));
        let opening = self.bounded(self.chats.records(self.chat, after, 1)).await?;
        let body = opening.first().and_then(|record| record.open().ok()).map(|entry| entry.body);
        Ok(match body {
            Some(Body::BatchStarted(started)) => started.calls,
            _ => Vec::new(),
        })
    }

    /// The newest `max` records up to `last` that no cut took away, to whole commits. It is read backwards, because a cut
    /// stands behind what it takes away.
    pub(super) async fn window(&self, last: Seq, max: usize) -> Result<Window, StoreError> {
        let mut window = Window { runs: VecDeque::new(), more_before: max == 0 };
        let (mut count, mut bytes, mut run) = (0, 0, Vec::new());
        // Records from here on do not count.
        let mut cut = Seq::new(u64::MAX);
        let mut to = if max == 0 { Seq::ZERO } else { last };
        while to > Seq::ZERO && !window.more_before {
            let after = Seq::new(to.get().saturating_sub(PAGE as u64));
            for record in self.range(after, to).await?.into_iter().rev() {
                let (seq, first) = (record.seq, record.op().is_some());
                let counts = seq < cut;
                if let Some(from) = cut_from(&record) {
                    // Also a cut that does not count itself has had its effect.
                    cut = cut.min(from);
                }
                if counts {
                    run.push(record);
                }
                if !first || run.is_empty() {
                    continue;
                }
                count += run.len();
                bytes += run.iter().map(|record| record.body.len()).sum::<usize>();
                if (count > max || bytes > SNAPSHOT_BYTES_MAX) && !window.runs.is_empty() {
                    window.more_before = true;
                    break;
                }
                let mut records = std::mem::take(&mut run);
                records.reverse();
                window.runs.push_front(Run { after: Seq::ZERO, to: last, records });
            }
            to = after;
        }
        window.close(last);
        Ok(window)
    }

    async fn range(&self, after: Seq, to: Seq) -> Result<Vec<Record>, StoreError> {
        let (mut records, mut read) = (Vec::new(), after);
        while read < to {
            let page = self.page(read).await?;
            read = page.last().map_or(to, |record| record.seq);
            records.extend(page);
        }
        records.retain(|record| record.seq <= to);
        Ok(records)
    }

    async fn bounded<T>(&self, read: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let late = |_| StoreError::new(StoreErrorKind::Unavailable, "a read took too long");
        timeout(self.within, read).await.map_err(late)?
    }
}

impl Window {
    /// Lets the runs stand for every position from the first to the last.
    fn close(&mut self, last: Seq) {
        if self.runs.is_empty() {
            self.runs.push_back(Run { after: Seq::ZERO, to: last, records: Vec::new() });
        }
        let mut after = Seq::ZERO;
        for run in &mut self.runs {
            run.after = after;
            after = run.records.last().map_or(last, |record| record.seq);
            run.to = after;
        }
        if let Some(run) = self.runs.back_mut() {
            run.to = last;
        }
    }
}

/// Puts the records of a log together to commits: the first record of each carries its operation.
#[derive(Debug, Default)]
pub(super) struct Commits {
    after: Seq,
    waiting: Vec<Record>,
}

impl Commits {
    /// After the commit that ends here.
    pub(super) fn after(seq: Seq) -> Self {
        Self { after: seq, waiting: Vec::new() }
    }

    /// The last record that was taken in.
    pub(super) fn read(&self) -> Seq {
        self.waiting.last().map_or(self.after, |record| record.seq)
    }

    /// Takes the next records in, up to `last`, where a commit ends, and gives the commits that are complete.
    pub(super) fn take(&mut self, page: Vec<Record>, last: Seq) -> Vec<Run> {
        let (mut runs, read) = (Vec::new(), self.read());
        for record in page.into_iter().filter(|record| record.seq > read && record.seq <= last) {
            if record.op().is_some() || self.waiting.len() >= limits::COMMIT_RECORDS_MAX {
                runs.extend(self.complete());
            }
            self.waiting.push(record);
        }
        if self.read() == last {
            runs.extend(self.complete());
        }
        runs
    }

    fn complete(&mut self) -> Option<Run> {
        let (after, to) = (self.after, self.read());
        self.after = to;
        let records = std::mem::take(&mut self.waiting);
        (!records.is_empty()).then_some(Run { after, to, records })
    }
}

fn cut_from(record: &Record) -> Option<Seq> {
    let cut = (record.kind.name() == "history.cut").then(|| record.open().ok())??;
    match cut.body {
        Body::HistoryCut(cut) => Some(cut.from),
        _ => None,
    }
}

fn ends_early(after: Seq) -> StoreError {
    StoreError::new(StoreErrorKind::Other, format!("the log ends after record {after}, before its head"))
}
