//! The first frames of a stream.

use chatwright_core::Seq;
use chatwright_core::frame::{Cursor, Frame, FrameBody, Gens, HelloMode, OpenUnit, ResetReason, Resume};
use chatwright_core::port::{LiveError, StoreError};

use super::follow::{Follower, Told};
use super::log::{Commits, Run};
use super::resolve::{Start, resolve};
use super::state::state_frame;

/// How a stream begins.
#[derive(Clone, Copy)]
pub(super) enum Begin {
    Offered(Resume),
    /// The hello and a state were sent already, from what the caller brought.
    Early,
    Reset(ResetReason),
}

impl Follower {
    pub(super) async fn start(&mut self, begin: Begin, told: Told) -> Result<(), StoreError> {
        let start = match begin {
            Begin::Offered(resume) => resolve(resume, self.tag, told.head.last_seq, &told.state),
            Begin::Early => Start::Anew { mode: HelloMode::Snapshot, records: true },
            Begin::Reset(reason) => Start::reset(reason),
        };
        match start {
            Start::After { cursor, open } => self.start_after(cursor, open, told).await,
            Start::Anew { mode, records } => self.start_anew(begin, mode, records, told).await,
        }
    }

    async fn start_after(&mut self, cursor: Cursor, open: bool, told: Told) -> Result<(), StoreError> {
        if open && self.is_inside_character(cursor).await {
            return self.start_anew_because(ResetReason::Off, told).await;
        }
        let mut page = Vec::new();
        if cursor.seq < told.head.last_seq {
            page = self.log.page(cursor.seq).await?;
            if page.first().is_some_and(|next| next.op().is_none()) {
                return self.start_anew_because(ResetReason::InsideCommit, told).await;
            }
        }
        self.gens = self.gens_of(&told).await?;
        if open {
            self.gens.off = cursor.off;
        } else if cursor.seq < told.head.last_seq {
            // What is open now was opened since: its record is still to be sent.
            self.gens = Gens { last: cursor.r#gen, off: cursor.off, open: None };
        }
        self.kept = open.then_some(cursor.r#gen);
        self.out.push_back(Frame::still(FrameBody::Hello { mode: HelloMode::Resume }));
        self.stand_at(cursor.seq);
        self.state_due = true;
        self.look_at_head(told);
        if self.behind {
            self.push_page(page);
        }
        Ok(())
    }

    /// Whether the live log says so. What it does not know, and what is beyond its head, is waited for.
    async fn is_inside_character(&mut self, cursor: Cursor) -> bool {
        matches!(self.read_pieces(cursor.r#gen, cursor.off, 1).await, Err(LiveError::Boundary { .. }))
    }

    async fn start_anew_because(&mut self, reason: ResetReason, told: Told) -> Result<(), StoreError> {
        self.start_anew(Begin::Reset(reason), HelloMode::Reset { reason }, true, told).await
    }

    async fn start_anew(
        &mut self,
        begin: Begin,
        mode: HelloMode,
        records: bool,
        told: Told,
    ) -> Result<(), StoreError> {
        let last = told.head.last_seq;
        let max = if records { self.settings.snapshot_records } else { 0 };
        let window = self.log.window(last, max).await?;
        self.gens = self.gens_of(&told).await?;
        if !matches!(begin, Begin::Early) {
            self.out.push_back(Frame::still(FrameBody::Hello { mode }));
        }
        let state = state_frame(&told.head, &told.state, self.gens.open.as_ref());
        self.out.push_back(Frame::still(FrameBody::State(Box::new(state))));
        self.kept = None;
        self.stand_at(last);
        let mut more_before = window.more_before;
        for Run { after, to, records } in window.runs {
            // Before the last of them the viewer stands nowhere.
            self.push(FrameBody::Record { after, to, records, more_before });
            if let Some(frame) = self.out.back_mut().filter(|_| to < last) {
                frame.cursor = None;
            }
            more_before = false;
        }
        self.told = Some(told);
        Ok(())
    }

    async fn gens_of(&mut self, told: &Told) -> Result<Gens, StoreError> {
        let calls = self.log.calls(told.state.open.as_ref()).await?;
        let mut gens = Gens::of(&told.state);
        gens.open = gens.open.map(|open| OpenUnit { calls, ..open });
        Ok(gens)
    }

    /// It has begun, after this record.
    fn stand_at(&mut self, seq: Seq) {
        (self.begin, self.brought) = (None, None);
        (self.seq, self.commits) = (seq, Commits::after(seq));
        (self.behind, self.state_due, self.caught_up, self.capped) = (false, false, false, false);
        self.live_more = true;
    }

    /// The store fails at once: the viewer sees what the caller brought, until it is corrected.
    pub(super) fn start_early(&mut self) {
        let Some(head) = self.brought.take() else { return };
        let offered = matches!(self.begin, Some(Begin::Offered(Resume::Nothing)));
        let Some(state) = offered.then(|| head.state.decode().ok()).flatten() else { return };
        self.out.push_back(Frame::still(FrameBody::Hello { mode: HelloMode::Snapshot }));
        let state = state_frame(&head, &state, None);
        self.out.push_back(Frame::still(FrameBody::State(Box::new(state))));
        self.begin = Some(Begin::Early);
    }
}
