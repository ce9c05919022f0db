//! Secrets in JSON text. All bytes that hold no secret stay as they are: numbers, blanks and repeated names, too.

use std::borrow::Cow;

use super::Redactor;
use super::edit::{Edit, apply};
use super::scan::{Cut, Scan, Shape, Start};

/// What is kept of a body that claims to be JSON and is none.
pub const NOT_JSON: &str = r#"{"error":"body is not valid JSON, redacted for safety"}"#;

/// What is kept of a body of several JSON documents that should be one.
pub const EXTRA_JSON: &str = r#"{"error":"body contains extra JSON values, redacted for safety"}"#;

/// JSON within strings of JSON and within addresses is read so deep; below it is text.
pub(super) const NESTED_MAX: usize = 4;

impl Redactor {
    /// A JSON text without its secrets. Empty text stays; what is no JSON, or more than one document, becomes
    /// [`NOT_JSON`] or [`EXTRA_JSON`].
    pub fn json<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut scan = Scan::new(self, text, 0);
        match scan.run(Start::Document) {
            Shape::Empty => Cow::Borrowed(text),
            Shape::One => apply(text, scan.edits),
            Shape::Several => Cow::Borrowed(EXTRA_JSON),
            Shape::Cut { .. } | Shape::Broken => Cow::Borrowed(NOT_JSON),
        }
    }

    /// A string in JSON, without its quotes and escapes.
    pub(super) fn leaf(&self, plain: &str, nested: usize) -> Vec<Edit> {
        let mut edits = Vec::new();
        if plain.len() < super::SECRET_BYTES_MIN {
            return edits;
        }
        if nested < NESTED_MAX && plain.trim_start().starts_with(['{', '[']) {
            let mut scan = Scan::new(self, plain, nested + 1);
            if scan.run(Start::Document) == Shape::One {
                self.known(plain.as_bytes(), &mut scan.edits);
                return scan.edits;
            }
        }
        self.find(plain, nested, &mut edits);
        edits
    }
}

impl Redactor {
    /// A string of which an end is elsewhere.
    pub(super) fn cut_leaf(&self, plain: &str, nested: usize, cut: Cut) -> Vec<Edit> {
        let read = match cut {
            Cut::Behind if nested < NESTED_MAX && plain.trim_start().starts_with(['{', '[']) => {
                let mut scan = Scan::new(self, plain, nested + 1);
                matches!(scan.run(Start::Document), Shape::Cut { .. }).then_some(scan.edits)
            }
            Cut::Before if nested < NESTED_MAX && plain.trim_end().ends_with(['}', ']']) => {
                self.tail(plain, nested + 1)
            }
            _ => None,
        };
        let mut edits = match read {
            Some(mut edits) => {
                self.known(plain.as_bytes(), &mut edits);
                edits
            }
            None => self.leaf(plain, nested),
        };
        match cut {
            Cut::No => {}
            Cut::Before => edits.push(Edit::mark(0..self.ended(plain))),
            Cut::Behind => edits.push(Edit::mark(plain.len() - self.begun(plain)..plain.len())),
        }
        edits.retain(|edit| !edit.at.is_empty());
        edits
    }

    /// Edits of the end of a document; `None` if it does not tell by itself where it begins.
    pub(super) fn tail(&self, text: &str, nested: usize) -> Option<Vec<Edit>> {
        let mut readings: Vec<Vec<Edit>> = Vec::new();
        for start in [Start::String { escaped: false }, Start::String { escaped: true }, Start::Between] {
            let mut scan = Scan::new(self, text, nested);
            if scan.run(start) == Shape::One {
                readings.push(scan.edits);
            }
        }
        readings.dedup();
        (readings.len() == 1).then(|| readings.remove(0))
    }
}
