//! The client's side of a chat's event stream: one pure reducer for live, replay and history.
//!
//! A [`View`] takes [`Frame`]s and holds what a person sees: a [`Transcript`] of messages, queue, status and the preview of
//! what is being said. Tests, simulations and Rust clients use it; other clients do the same.
//!
//! | # | promise |
//! |---|---|
//! | stream.S9 | Every unit is applied once: what was applied is dropped, an overlap is cut, a hole is asked for. |
//! | stream.S13 | Nothing of a gen is shown after its seal, and nothing of the next one before. |
//! | stream.S14 | The preview and its message are never both shown, and never neither, after any frame. The preview of a call's output and its result likewise. |
//! | stream.S19 | Total: any frames in any order give a view and never a panic. |

mod preview;
mod record;
mod text;
mod transcript;

pub use preview::{Preview, fold};
pub use transcript::{CallAnswer, Compaction, Message, Pending, QueueItem, Transcript};

use std::cmp::Ordering;

use crate::frame::{Cursor, Frame, FrameBody, Gens, HelloMode, LiveBlock, OpenUnit, StateFrame};
use crate::live::Piece;
use crate::record::MessagePart;
use crate::{Gen, Record, Seq};

/// What a viewer of a chat sees, folded from [`Frame`]s. It holds the whole transcript that it was sent.
///
/// ```
/// use chatwright_core::frame::{Frame, FrameBody, HelloMode};
/// use chatwright_core::view::{Applied, View};
///
/// let mut view = View::new();
/// let hello = Frame::still(FrameBody::Hello { mode: HelloMode::Snapshot });
/// assert_eq!(view.apply(&hello), Applied::Ok);
/// assert_eq!(view.cursor(), None, "the snapshot is not complete");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    shown: Transcript,
    /// The last record that was applied.
    through: Seq,
    /// The record that the last state is true after. Up to it the state rules, and records only bring contents.
    state_seq: Seq,
    gens: Gens,
    /// Known once a snapshot is complete.
    tag: Option<u32>,
    parts: Vec<MessagePart>,
    caught_up: bool,
    /// The head of the last ping.
    told: Option<(Seq, Gen, u64)>,
}

/// What came of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was applied, or was old.
    Ok,
    /// Something before it is missing: connect again and offer this. Nothing of the frame was applied, or only what
    /// fitted.
    Ask(Option<Cursor>),
    /// The stream ends. The frame says whether to come back.
    Over,
}

impl View {
    /// Nothing yet: the first frame is a `hello`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next frame in.
    pub fn apply(&mut self, frame: &Frame) -> Applied {
        let applied = match &frame.body {
            FrameBody::Hello { mode } => self.hello(*mode),
            FrameBody::State(state) => self.state(state, frame.cursor.is_some()),
            FrameBody::Record { after, to, records, more_before } => {
                self.records(*after, *to, records, *more_before)
            }
            FrameBody::LiveSnapshot { r#gen, off, blocks, .. } => self.live(*r#gen, *off, blocks),
            FrameBody::Delta { r#gen, pieces } => self.delta(*r#gen, pieces),
            FrameBody::Capped { r#gen, off } => self.capped(*r#gen, *off),
            FrameBody::CaughtUp => {
                self.caught_up = self.tag.is_some();
                Applied::Ok
            }
            FrameBody::Ping { seq, r#gen, off } => self.ping((*seq, *r#gen, *off)),
            FrameBody::Bye { .. } => Applied::Over,
            FrameBody::Unknown => Applied::Ok,
        };
        let moves = matches!(
            frame.body,
            FrameBody::Record { .. } | FrameBody::LiveSnapshot { .. } | FrameBody::Delta { .. }
        );
        if let (Applied::Ok, Some(cursor), true) = (applied, frame.cursor, moves) {
            self.tag = Some(cursor.tag);
        }
        applied
    }

    /// What is seen.
    pub fn transcript(&self) -> &Transcript {
        &self.shown
    }

    /// Where the view stands: what to offer when connecting again. `None` until a snapshot is complete.
    pub fn cursor(&self) -> Option<Cursor> {
        Some(Cursor { tag: self.tag?, seq: self.through, r#gen: self.gens.last, off: self.gens.off })
    }

    /// Whether everything that was there when the stream began has been applied.
    pub fn is_caught_up(&self) -> bool {
        self.caught_up
    }

    fn hello(&mut self, mode: HelloMode) -> Applied {
        match mode {
            HelloMode::Resume if self.tag.is_none() => Applied::Ask(None),
            HelloMode::Resume => {
                (self.caught_up, self.told) = (false, None);
                Applied::Ok
            }
            HelloMode::Snapshot | HelloMode::Reset { .. } => {
                *self = Self::default();
                Applied::Ok
            }
        }
    }

    fn state(&mut self, state: &StateFrame, moves: bool) -> Applied {
        let fresh = self.tag.is_none();
        // Only the state at the head of a snapshot may go ahead of the records.
        if if fresh { moves } else { state.seq > self.through } {
            return self.ask();
        }
        if state.seq < self.through.max(self.state_seq) {
            return Applied::Ok;
        }
        self.state_seq = state.seq;
        let shown = &mut self.shown;
        shown.status = state.status;
        shown.archived = state.archived;
        shown.title = state.title.clone();
        shown.action.clone_from(&state.action);
        shown.last.clone_from(&state.last);
        shown.retry_at = state.retry_at;
        if state.retry_at.is_none() {
            shown.retry = None;
        }
        shown.queue = state.queue.iter().map(|told| shown.queued(*told)).collect();
        let open = state.open.as_ref().map(|open| OpenUnit {
            r#gen: open.r#gen,
            unit: open.kind,
            message: open.message,
            calls: open.calls.clone(),
        });
        let same = |open: &Option<OpenUnit>| open.as_ref().map(|open| open.r#gen);
        if fresh || same(&open) != same(&self.gens.open) {
            let off = if open.is_some() { 0 } else { state.last_off };
            self.gens = Gens { last: state.last_gen, off, open };
            self.begin_preview();
        }
        if let (Some(preview), Some(open)) = (&mut self.shown.preview, &state.open) {
            preview.drop_calls(&open.done);
        }
        Applied::Ok
    }

    fn records(&mut self, after: Seq, to: Seq, records: &[Record], more_before: bool) -> Applied {
        if after > self.through {
            return self.ask();
        }
        if self.tag.is_none() && after == Seq::ZERO {
            self.shown.more_before = more_before;
        }
        for record in records {
            if record.seq > self.through {
                self.through = record.seq;
                self.fold(record);
            }
        }
        // A message is never in two commits.
        self.parts.clear();
        self.through = self.through.max(to);
        Applied::Ok
    }

    /// The preview follows the gen that is open.
    fn begin_preview(&mut self) {
        self.shown.preview = self.gens.open.as_ref().map(Preview::new);
    }

    fn live(&mut self, r#gen: Gen, off: u64, blocks: &[LiveBlock]) -> Applied {
        match (self.compare(r#gen), &mut self.shown.preview) {
            (Ordering::Less, _) => Applied::Ok,
            (Ordering::Equal, Some(preview)) => {
                if off >= self.gens.off {
                    preview.replace(blocks);
                    self.gens.off = off;
                }
                Applied::Ok
            }
            _ => self.ask(),
        }
    }

    fn delta(&mut self, r#gen: Gen, pieces: &[Piece]) -> Applied {
        let preview = match (self.compare(r#gen), &mut self.shown.preview) {
            (Ordering::Less, _) => return Applied::Ok,
            (Ordering::Equal, Some(preview)) => preview,
            _ => return self.ask(),
        };
        for piece in pieces {
            let Some(to) = piece.from.checked_add(piece.units()) else { return self.ask() };
            if to <= self.gens.off {
                continue;
            }
            let fits = piece.from <= self.gens.off;
            let Some(rest) = fits.then(|| piece.tail(self.gens.off)).flatten() else { return self.ask() };
            preview.push(&rest);
            self.gens.off = to;
        }
        Applied::Ok
    }

    fn capped(&mut self, r#gen: Gen, off: u64) -> Applied {
        match (self.compare(r#gen), &mut self.shown.preview) {
            (Ordering::Less, _) => Applied::Ok,
            (Ordering::Equal, Some(preview)) if off <= self.gens.off => {
                preview.capped = true;
                Applied::Ok
            }
            _ => self.ask(),
        }
    }

    /// Whoever is still behind the head that the last ping spoke of has missed something.
    fn ping(&mut self, head: (Seq, Gen, u64)) -> Applied {
        let Some(cursor) = self.cursor() else { return Applied::Ok };
        if self.told.is_some_and(|told| cursor.position() < told) {
            self.told = None;
            return self.ask();
        }
        self.told = Some(head);
        Applied::Ok
    }

    /// Where a gen stands to the open one: `Less` is over, `Greater` has not been heard of.
    fn compare(&self, r#gen: Gen) -> Ordering {
        match r#gen.cmp(&self.gens.last) {
            Ordering::Equal if self.gens.open.is_none() => Ordering::Less,
            order => order,
        }
    }

    fn ask(&self) -> Applied {
        Applied::Ask(self.cursor())
    }
}

#[cfg(test)]
mod tests;
