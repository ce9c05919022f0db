//! What is cut out of a text, and what stands there instead.

use std::borrow::Cow;
use std::ops::Range;

/// What stands where a secret was.
pub const MARK: &str = "[REDACTED]";

/// One place of a text that is to become another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) at: Range<usize>,
    pub(super) with: Cow<'static, str>,
}

impl Edit {
    pub(super) fn new(at: Range<usize>, with: impl Into<Cow<'static, str>>) -> Self {
        Self { at, with: with.into() }
    }

    pub(super) fn mark(at: Range<usize>) -> Self {
        Self::new(at, MARK)
    }
}

/// Puts edits into order and makes one of those that overlap: the larger one if it holds the other, else a mark.
pub(super) fn merge(edits: &mut Vec<Edit>) {
    edits.retain(|edit| !edit.at.is_empty());
    // The sort is stable: of two at the same place the first stays.
    edits.sort_by_key(|edit| (edit.at.start, usize::MAX - edit.at.end));
    edits.dedup_by(|next, kept| {
        if next.at.start >= kept.at.end {
            return false;
        }
        if next.at.end > kept.at.end {
            kept.at.end = next.at.end;
            kept.with = MARK.into();
        }
        true
    });
}

/// The text with its edits made; the text itself if there are none.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> Cow<'_, str> {
    merge(&mut edits);
    if edits.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut new = String::with_capacity(text.len());
    let mut done = 0;
    for edit in edits {
        new.push_str(&text[done..edit.at.start]);
        new.push_str(&edit.with);
        done = edit.at.end;
    }
    new.push_str(&text[done..]);
    Cow::Owned(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_edits_that_overlap_the_larger_wins_and_half_overlaps_are_joined() {
        let edits = vec![
            Edit::mark(8..12),
            Edit::new(2..6, "x"),
            Edit::mark(3..5),
            Edit::mark(10..14),
            Edit::mark(7..7),
        ];
        assert_eq!(apply("0123456789abcdefg", edits), "01x67[REDACTED]efg");
        assert!(matches!(apply("same", Vec::new()), Cow::Borrowed("same")));
    }
}
