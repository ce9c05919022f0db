//! The laws of a reducer, each with a twin that breaks it: a law that no twin breaks tests nothing.

use super::fixture::*;
use crate::frame::{Frame, FrameBody};
use crate::live::{BlockKind, PieceBody};
use crate::record::Outcome;
use crate::view::View;

/// What the laws look at.
trait Reducer {
    fn new() -> Self;
    fn take(&mut self, frame: &Frame);
    /// The text of the preview of message 2, if it is shown.
    fn preview(&self) -> Option<String>;
    /// Whether message 2 is shown.
    fn message(&self) -> bool;
}

impl Reducer for View {
    fn new() -> Self {
        answering()
    }

    fn take(&mut self, frame: &Frame) {
        self.apply(frame);
    }

    fn preview(&self) -> Option<String> {
        let preview = self.transcript().preview.as_ref().filter(|preview| preview.message == Some(id(2)))?;
        Some(preview.blocks.iter().map(|block| block.text.as_str()).collect())
    }

    fn message(&self) -> bool {
        self.transcript().message(id(2)).is_some()
    }
}

/// stream.S9: whatever comes twice, or half twice, is applied once.
fn every_unit_once<R: Reducer>() -> Result<(), String> {
    let mut view = R::new();
    let frames = [
        delta(1, &[open(0, 0, BlockKind::Text), append(1, "Hé")]),
        delta(1, &[append(1, "Hé")]),
        delta(1, &[append(2, "él")]),
        delta(1, &[open(0, 0, BlockKind::Text), append(1, "Hél"), append(5, "lo")]),
        live(1, 3, &[]),
        delta(1, &[append(5, "lo")]),
    ];
    frames.iter().for_each(|frame| view.take(frame));
    match view.preview() {
        Some(text) if text == "Héllo" => Ok(()),
        other => Err(format!("{other:?} is shown")),
    }
}

/// stream.S13 and S14: after every frame exactly one of preview and message is shown, and nothing of a gen after its
/// seal.
fn one_of_preview_and_message<R: Reducer>() -> Result<(), String> {
    let mut view = R::new();
    let frames = [
        delta(1, &[open(0, 0, BlockKind::Text), append(1, "Hello")]),
        commit(2, 4, vec![ended(3, 1, Outcome::Committed), assistant(4, 1, 2, "Hello")]),
        delta(1, &[append(6, " late")]),
        live(1, 11, &[]),
        commit(4, 5, vec![started(5, 2, 5)]),
        delta(1, &[append(6, " later")]),
    ];
    for frame in &frames {
        view.take(frame);
        if view.preview().is_some() == view.message() {
            return Err(format!("after {frame:?}: preview {:?}, message {}", view.preview(), view.message()));
        }
    }
    Ok(())
}

#[test]
fn every_unit_is_applied_once() {
    assert_eq!(every_unit_once::<View>(), Ok(()));
}

#[test]
fn preview_and_message_are_never_both_shown_and_never_neither() {
    assert_eq!(one_of_preview_and_message::<View>(), Ok(()));
}

/// It drops what is old as a whole, and applies an overlap whole.
struct Uncut(View, u64, String);

impl Reducer for Uncut {
    fn new() -> Self {
        Self(answering(), 0, String::new())
    }

    fn take(&mut self, frame: &Frame) {
        let FrameBody::Delta { pieces, .. } = &frame.body else { return };
        for piece in pieces.iter().filter(|piece| piece.to() > self.1) {
            if let PieceBody::Append { text } = &piece.body {
                self.2.push_str(text);
            }
        }
        self.1 = self.1.max(pieces.last().map_or(0, crate::live::Piece::to));
    }

    fn preview(&self) -> Option<String> {
        Some(self.2.clone())
    }

    fn message(&self) -> bool {
        self.0.message()
    }
}

#[test]
fn a_reducer_that_does_not_cut_overlaps_is_caught() {
    let caught = every_unit_once::<Uncut>().expect_err("it shows an overlap twice");
    assert_eq!(caught, "Some(\"Hééllo\") is shown");
}

/// It keeps the preview until the next gen opens.
struct Keeper(View, Option<String>);

impl Reducer for Keeper {
    fn new() -> Self {
        Self(answering(), None)
    }

    fn take(&mut self, frame: &Frame) {
        self.1 = self.0.preview().or(self.1.take());
        self.0.take(frame);
    }

    fn preview(&self) -> Option<String> {
        self.0.preview().or_else(|| self.1.clone())
    }

    fn message(&self) -> bool {
        self.0.message()
    }
}

#[test]
fn a_reducer_that_keeps_the_preview_at_the_seal_is_caught() {
    let caught = one_of_preview_and_message::<Keeper>().expect_err("it shows both");
    assert!(caught.contains("message true"), "{caught}");
}

/// It takes the records of a frame one frame later than the seal: as a stream that sends them apart would.
struct Apart(View);

impl Reducer for Apart {
    fn new() -> Self {
        Self(answering())
    }

    fn take(&mut self, frame: &Frame) {
        match &frame.body {
            FrameBody::Record { after, records, .. } if records.len() == 2 => {
                self.0.take(&commit(after.get(), after.get() + 1, records[..1].to_vec()));
            }
            _ => self.0.take(frame),
        }
    }

    fn preview(&self) -> Option<String> {
        self.0.preview()
    }

    fn message(&self) -> bool {
        self.0.message()
    }
}

#[test]
fn a_stream_that_parts_the_seal_from_its_message_is_caught() {
    let caught = one_of_preview_and_message::<Apart>().expect_err("it shows neither");
    assert!(caught.contains("preview None, message false"), "{caught}");
}
