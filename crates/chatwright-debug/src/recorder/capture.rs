//! What is gathered while an answer streams: on the way of the chat, so nothing here waits, and little is copied.

use chatwright_core::content::Metadata;
use chatwright_core::model::ModelPart;

use super::budget::Grant;
use super::weight::{of_metadata, of_part};

/// A grant grows by as much at least, so that it is seldom asked for.
const GRANT_BYTES: usize = 8 * 1024;
/// What the words of an answer have room for at once.
const WORDS_MIN: usize = 512;
/// What a part takes beside its text.
const PART_BYTES: usize = 160;

/// The parts of an answer, those of one block put together. All words stand in one text: memory is asked for seldom.
pub(super) struct Capture {
    pieces: Pieces,
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
    pub(super) pieces: Pieces,
    pub(super) dropped: u64,
    pub(super) counts: [u64; KINDS.len()],
    /// It is given back when this is dropped.
    pub(super) _grant: Grant,
}

/// Parts, and the words of most of them.
#[derive(Default)]
pub(super) struct Pieces {
    words: String,
    pieces: Vec<Piece>,
}

enum Piece {
    Delta { kind: Delta, id: Span, words: Span },
    Call { id: Span, name: Span, input: Span, provider_executed: bool },
    Other(Box<ModelPart>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Delta {
    Text,
    Reasoning,
    ToolInput,
}

/// From where to where in the words.
#[derive(Clone, Copy)]
struct Span {
    from: usize,
    to: usize,
}

impl Pieces {
    /// Puts a delta behind the one before it, if that is of the same block.
    #[inline]
    fn goes_on(&mut self, kind: Delta, of: &str, more: &str) -> bool {
        let Some(Piece::Delta { kind: last, id, words }) = self.pieces.last_mut() else { return false };
        let goes_on = *last == kind && self.words.as_bytes()[id.from..id.to] == *of.as_bytes();
        if goes_on {
            self.words.push_str(more);
            words.to += more.len();
        }
        goes_on
    }

    /// Takes a part in. Whether it stands for itself.
    fn add(&mut self, part: &ModelPart) -> bool {
        let piece = match part {
            ModelPart::TextDelta { id, delta } => return self.add_delta(Delta::Text, id, delta),
            ModelPart::ToolInputDelta { id, delta } => return self.add_delta(Delta::ToolInput, id, delta),
            ModelPart::ReasoningDelta { id, delta, metadata } if metadata.is_empty() => {
                return self.add_delta(Delta::Reasoning, id, delta);
            }
            ModelPart::ToolCall { id, name, input, provider_executed, metadata } if metadata.is_empty() => {
                let (id, name, input) = (self.span(id), self.span(name), self.span(input));
                Piece::Call { id, name, input, provider_executed: *provider_executed }
            }
            other => Piece::Other(Box::new(other.clone())),
        };
        self.pieces.push(piece);
        true
    }

    fn add_delta(&mut self, kind: Delta, id: &str, words: &str) -> bool {
        let is_new = !self.goes_on(kind, id, words);
        if is_new {
            let (id, words) = (self.span(id), self.span(words));
            self.pieces.push(Piece::Delta { kind, id, words });
        }
        is_new
    }

    fn span(&mut self, words: &str) -> Span {
        if self.words.capacity() == 0 {
            self.words.reserve(WORDS_MIN.max(words.len()));
        }
        let from = self.words.len();
        self.words.push_str(words);
        Span { from, to: self.words.len() }
    }

    /// The parts.
    pub(super) fn parts(self) -> impl Iterator<Item = ModelPart> {
        let Self { words, pieces } = self;
        let part = move |piece| {
            let of = |span: Span| &words[span.from..span.to];
            match piece {
                Piece::Delta { kind, id, words } => {
                    let (id, delta) = (of(id).into(), of(words).to_owned());
                    match kind {
                        Delta::Text => ModelPart::TextDelta { id, delta },
                        Delta::Reasoning => {
                            ModelPart::ReasoningDelta { id, delta, metadata: Metadata::new() }
                        }
                        Delta::ToolInput => ModelPart::ToolInputDelta { id, delta },
                    }
                }
                Piece::Call { id, name, input, provider_executed } => ModelPart::ToolCall {
                    id: of(id).into(),
                    name: of(name).into(),
                    input: of(input).to_owned(),
                    provider_executed,
                    metadata: Metadata::new(),
                },
                Piece::Other(part) => *part,
            }
        };
        pieces.into_iter().map(part)
    }
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
        Self {
            pieces: Pieces::default(),
            used: 0,
            max,
            granted: 0,
            grant,
            dropped: 0,
            counts: [0; KINDS.len()],
        }
    }

    /// Takes a part in. The end of an answer is not one.
    pub(super) fn take(&mut self, part: &ModelPart) {
        // Nearly all parts go on with the text before them.
        if let ModelPart::TextDelta { id, delta } = part
            && self.used + delta.len() <= self.granted
            && self.pieces.goes_on(Delta::Text, id, delta)
        {
            self.used += delta.len();
            self.counts[0] += 1;
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
        if self.pieces.add(part) {
            // What a delta takes beside its text was not asked for yet.
            self.used += PART_BYTES;
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
        Gathered { pieces: self.pieces, dropped: self.dropped, counts: self.counts, _grant: self.grant }
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
        let input =
            |id: &str, delta: &str| ModelPart::ToolInputDelta { id: id.into(), delta: delta.to_owned() };
        let thought = |delta: &str, metadata| ModelPart::ReasoningDelta {
            id: "a".into(),
            delta: delta.to_owned(),
            metadata,
        };
        let signed = || thought("", Metadata::from([("anthropic".into(), "signed".into())]));
        let call = ModelPart::ToolCall {
            id: "b".into(),
            name: "look".into(),
            input: "{}".to_owned(),
            provider_executed: true,
            metadata: Metadata::new(),
        };
        let [thinks, thinks_on] = ["5", "6"].map(|words| thought(words, Metadata::new()));
        let parts = [
            text("a", "1"),
            text("a", ""),
            text("a", "é"),
            text("b", "3"),
            text("a", "4"),
            ModelPart::KeepAlive,
            thinks,
            thinks_on,
            signed(),
            thought("7", Metadata::new()),
            input("a", "{"),
            input("a", "}"),
            call.clone(),
            text("ü", "8"),
        ];
        parts.iter().for_each(|part| capture.take(part));
        let gathered = capture.gathered();
        let whole = [
            text("a", "1é"),
            text("b", "3"),
            text("a", "4"),
            thought("56", Metadata::new()),
            signed(),
            thought("7", Metadata::new()),
            input("a", "{}"),
            call,
            text("ü", "8"),
        ];
        assert_eq!(gathered.pieces.parts().collect::<Vec<_>>(), whole);
        assert_eq!((gathered.counts[0], gathered.counts[6], gathered.dropped), (6, 1, 0));
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_not_kept() {
        let budget = Budget::new(20_000);
        let mut capture = Capture::new(1_000, budget.nothing());
        capture.take(&text("a", &"x".repeat(800)));
        capture.take(&text("a", &"x".repeat(300)));
        let gathered = capture.gathered();
        assert_eq!((gathered.pieces.pieces.len(), gathered.dropped), (1, 300));
        drop(gathered);
        assert_eq!(budget.left(), 20_000);
        let mut capture = Capture::new(1 << 20, Budget::new(100).nothing());
        capture.take(&text("a", "x"));
        assert_eq!(capture.gathered().dropped, 1, "the budget is spent");
    }
}
