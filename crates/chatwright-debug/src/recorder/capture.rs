//! What is gathered while an answer streams: on the way of the chat, so nothing here waits, and little is copied.

use chatwright_core::model::ModelPart;

use super::budget::Grant;
use super::weight::{of_metadata, of_part};

/// A grant grows by as much at least, so that it is seldom asked for.
const GRANT_BYTES: usize = 8 * 1024;
/// What a part takes beside its text.
const PART_BYTES: usize = 160;

/// The parts of an answer, those of one block put together.
pub(super) struct Capture {
    parts: Vec<ModelPart>,
    used: usize,
    max: usize,
    /// How much may be used before more is asked for.
    granted: usize,
    grant: Grant,
    dropped: u64,
    counts: [u64; KINDS.len()],
}

/// What was gathered.
pub(super) struct Gathered {
    pub(super) parts: Vec<ModelPart>,
    pub(super) dropped: u64,
    pub(super) counts: [u64; KINDS.len()],
    /// It is given back when this is dropped.
    pub(super) _grant: Grant,
}

/// The kinds of parts that are counted.
pub(super) const KINDS: [&str; 8] = [
    "text_deltas",
    "reasoning_deltas",
    "tool_input_deltas",
    "tool_calls",
    "items",
    "warnings",
    "keep_alives",
    "other_parts",
];

impl Capture {
    pub(super) fn new(max: usize, grant: Grant) -> Self {
        Self { parts: Vec::new(), used: 0, max, granted: 0, grant, dropped: 0, counts: [0; KINDS.len()] }
    }

    /// Takes a part in. The end of an answer is not one.
    pub(super) fn take(&mut self, part: &ModelPart) {
        // Nearly all parts go on with the text before them.
        if let (ModelPart::TextDelta { id: of, delta: more }, Some(ModelPart::TextDelta { id, delta })) =
            (part, self.parts.last_mut())
            && self.used + more.len() <= self.granted
            && id == of
        {
            self.used += more.len();
            self.counts[0] += 1;
            delta.push_str(more);
            return;
        }
        self.take_any(part);
    }

    fn take_any(&mut self, part: &ModelPart) {
        let (kind, bytes) = match part {
            ModelPart::TextDelta { delta, .. } => (0, delta.len()),
            ModelPart::ReasoningDelta { delta, metadata, .. } => (1, delta.len() + of_metadata(metadata)),
            ModelPart::ToolInputDelta { delta, .. } => (2, delta.len()),
            ModelPart::ToolCall { input, metadata, .. } => {
                (3, input.len() + PART_BYTES + of_metadata(metadata))
            }
            ModelPart::Item(item) => (4, of_part(item)),
            ModelPart::Warnings(warnings) => {
                (5, PART_BYTES + warnings.iter().map(String::len).sum::<usize>())
            }
            ModelPart::KeepAlive => (6, 0),
            ModelPart::TextEnd { metadata, .. }
            | ModelPart::ReasoningStart { metadata, .. }
            | ModelPart::ReasoningEnd { metadata, .. } => (7, PART_BYTES + of_metadata(metadata)),
            _ => (7, PART_BYTES),
        };
        self.counts[kind] += 1;
        if kind == 6 {
            return;
        }
        if !self.has_room(bytes) {
            self.dropped += bytes as u64;
            return;
        }
        match (self.parts.last_mut(), part) {
            (Some(ModelPart::TextDelta { id, delta }), ModelPart::TextDelta { id: of, delta: more })
            | (
                Some(ModelPart::ToolInputDelta { id, delta }),
                ModelPart::ToolInputDelta { id: of, delta: more },
            ) if id == of => delta.push_str(more),
            (
                Some(ModelPart::ReasoningDelta { id, delta, .. }),
                ModelPart::ReasoningDelta { id: of, delta: more, metadata },
            ) if id == of && metadata.is_empty() => delta.push_str(more),
            _ => {
                // What a delta takes beside its text was not asked for yet.
                self.used += PART_BYTES;
                self.parts.push(part.clone());
            }
        }
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        let used = self.used + bytes;
        if used > self.max {
            return false;
        }
        // Text that grows has up to twice its length.
        let needed = 2 * used;
        if needed > self.grant.bytes() && !self.grant.grow((needed - self.grant.bytes()).max(GRANT_BYTES)) {
            return false;
        }
        self.used = used;
        self.granted = (self.grant.bytes() / 2).min(self.max);
        true
    }

    /// Whether there is room for so many bytes beside the parts. They are taken then.
    pub(super) fn holds(&mut self, bytes: usize) -> bool {
        self.grant.grow(bytes)
    }

    pub(super) fn gathered(self) -> Gathered {
        Gathered { parts: self.parts, dropped: self.dropped, counts: self.counts, _grant: self.grant }
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::*;

    fn text(id: &str, delta: &str) -> ModelPart {
        ModelPart::TextDelta { id: id.into(), delta: delta.to_owned() }
    }

    #[test]
    fn deltas_of_one_block_are_put_together_and_the_others_stay_apart() {
        let mut capture = Capture::new(10_000, Budget::new(100_000).nothing());
        for part in [text("a", "1"), text("a", "2"), text("b", "3"), text("a", "4"), ModelPart::KeepAlive] {
            capture.take(&part);
        }
        let gathered = capture.gathered();
        assert_eq!(gathered.parts, [text("a", "12"), text("b", "3"), text("a", "4")]);
        assert_eq!((gathered.counts[0], gathered.counts[6], gathered.dropped), (4, 1, 0));
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_not_kept() {
        let budget = Budget::new(20_000);
        let mut capture = Capture::new(1_000, budget.nothing());
        capture.take(&text("a", &"x".repeat(800)));
        capture.take(&text("a", &"x".repeat(300)));
        let gathered = capture.gathered();
        assert_eq!((gathered.parts.len(), gathered.dropped), (1, 300));
        drop(gathered);
        assert_eq!(budget.left(), 20_000);
        let mut capture = Capture::new(1 << 20, Budget::new(100).nothing());
        capture.take(&text("a", "x"));
        assert_eq!(capture.gathered().dropped, 1, "the budget is spent");
    }
}
