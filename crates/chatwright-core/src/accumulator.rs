//! The pure fold of a model's stream: one source for the live view, the stored message and an interrupt.

use serde_json::Value;

use crate::content::{Metadata, Part};
use crate::live::{BlockKind, Piece, PieceBody};
use crate::message::stored;
use crate::model::{Finish, FinishReason, ModelPart, Usage};
use chatwright_error::Failure;

/// Folds [`ModelPart`]s into blocks.
///
/// It is total: any parts in any order give a result and never a panic. A delta or an end without its start opens the
/// block, a second start of an open block changes nothing, a call that repeats an equal call is the same call, and what
/// follows the terminal part is ignored. The result does not depend on how text is cut into deltas. Blocks stand in
/// the order of their first parts.
///
/// ```
/// use chatwright_core::accumulator::Accumulator;
/// use chatwright_core::content::Part;
/// use chatwright_core::model::{Finish, ModelPart};
///
/// let mut answer = Accumulator::new();
/// answer.push(ModelPart::TextStart { id: "0".into() });
/// answer.push(ModelPart::TextDelta { id: "0".into(), delta: "Hel".into() });
/// answer.push(ModelPart::TextDelta { id: "0".into(), delta: "lo".into() });
/// answer.push(ModelPart::Finish(Finish::default()));
/// assert_eq!(answer.content(), [Part::text("Hello")]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accumulator {
    blocks: Vec<Block>,
    open: Vec<usize>,
    units: u64,
    bytes: usize,
    warnings: Vec<String>,
    end: Option<End>,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The answer is complete.
    Finish(Finish),
    /// It failed.
    Failure(Box<Failure>),
}

/// A call whose arguments did not arrive whole. It is never run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutCall {
    /// The provider's id of the call.
    pub id: Box<str>,
    /// The tool.
    pub name: Box<str>,
    /// The arguments as far as they came.
    pub input: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Block {
    kind: BlockKind,
    id: Box<str>,
    name: Box<str>,
    text: String,
    metadata: Metadata,
    provider_executed: bool,
    complete: bool,
    item: Option<Part>,
}

impl Accumulator {
    /// An empty fold.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next part and gives the pieces of live preview that it makes, at the addresses that follow the ones
    /// given before. Most parts make one piece, some none, a complete call up to three.
    pub fn push(&mut self, part: ModelPart) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(1);
        self.push_into(part, &mut pieces);
        pieces
    }

    /// The same, adding the pieces to a buffer that the caller keeps.
    pub fn push_into(&mut self, part: ModelPart, pieces: &mut Vec<Piece>) {
        if self.end.is_none() {
            self.fold(part, pieces);
        }
    }

    /// The content of a complete or failed answer: every block in order, blank ones and cut calls left out. White space between
    /// two texts belongs to what is read, and stays.
    pub fn content(&self) -> Vec<Part> {
        let says = |at: usize| {
            let block = self.blocks.get(at);
            block.is_some_and(|block| block.kind == BlockKind::Text && !block.text.trim().is_empty())
        };
        let between = |at: usize, part: &Part| {
            matches!(part, Part::Text { text, .. } if !text.is_empty())
                && at.checked_sub(1).is_some_and(says)
                && says(at + 1)
        };
        let parts = self.blocks.iter().enumerate().filter_map(|(at, block)| Some((at, block.part()?)));
        parts.filter(|(at, part)| !part.is_blank() || between(*at, part)).map(|(_, part)| part).collect()
    }

    /// Calls whose arguments did not arrive whole.
    pub fn cut_calls(&self) -> Vec<CutCall> {
        let cut = |block: &&Block| block.kind == BlockKind::ToolCall && !block.complete;
        self.blocks
            .iter()
            .filter(cut)
            .map(|block| CutCall {
                id: block.id.clone(),
                name: block.name.clone(),
                input: block.text.clone(),
            })
            .collect()
    }

    /// How the stream ended, if it has.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Why the model stopped, if it finished.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        match &self.end {
            Some(End::Finish(finish)) => Some(finish.reason),
            _ => None,
        }
    }

    /// What the provider reported; empty until it finished.
    pub fn usage(&self) -> Usage {
        match &self.end {
            Some(End::Finish(finish)) => finish.usage,
            _ => Usage::default(),
        }
    }

    /// Warnings of the provider.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How many units of live preview the parts so far have made: the address of the next piece.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// How many bytes of text, reasoning, arguments and items it holds, as they are stored, to be bounded by its owner.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn fold(&mut self, part: ModelPart, out: &mut Vec<Piece>) {
        match part {
            ModelPart::Warnings(warnings) => self.warnings.extend(warnings),
            ModelPart::KeepAlive => {}
            ModelPart::TextStart { id } => {
                self.opened(BlockKind::Text, id, out);
            }
            ModelPart::TextDelta { id, delta } => {
                let at = self.opened(BlockKind::Text, id, out);
                self.append(at, delta, out);
            }
            ModelPart::TextEnd { id, metadata } => self.ended(BlockKind::Text, id, metadata, out),
            ModelPart::ReasoningStart { id, metadata } => {
                let at = self.opened(BlockKind::Reasoning, id, out);
                merge(&mut self.blocks[at].metadata, metadata);
            }
            ModelPart::ReasoningDelta { id, delta, metadata } => {
                let at = self.opened(BlockKind::Reasoning, id, out);
                merge(&mut self.blocks[at].metadata, metadata);
                self.append(at, delta, out);
            }
            ModelPart::ReasoningEnd { id, metadata } => self.ended(BlockKind::Reasoning, id, metadata, out),
            ModelPart::ToolInputStart { id, name, provider_executed } => {
                self.call_opened(id, name, provider_executed, out);
            }
            ModelPart::ToolInputDelta { id, delta } => {
                let at = self.call_opened(id, Box::default(), false, out);
                self.append(at, delta, out);
            }
            // The arguments are complete only with their `ToolCall`.
            ModelPart::ToolInputEnd { .. } => {}
            ModelPart::ToolCall { id, name, input, provider_executed, metadata } => {
                self.call(id, name, input, provider_executed, metadata, out);
            }
            ModelPart::Item(part) => self.item(part, out),
            ModelPart::Finish(finish) => self.end = Some(End::Finish(finish)),
            ModelPart::Failure(failure) => self.end = Some(End::Failure(failure)),
        }
    }

    fn find(&self, kind: BlockKind, id: &str) -> Option<usize> {
        // The newest first: nearly every delta belongs to it.
        self.open.iter().rev().copied().find(|&at| self.blocks[at].kind == kind && *self.blocks[at].id == *id)
    }

    fn opened(&mut self, kind: BlockKind, id: Box<str>, out: &mut Vec<Piece>) -> usize {
        match self.find(kind, &id) {
            Some(at) => at,
            None => self.open_block(kind, id, Box::default(), out),
        }
    }

    fn open_block(&mut self, kind: BlockKind, id: Box<str>, name: Box<str>, out: &mut Vec<Piece>) -> usize {
        let at = self.blocks.len();
        let call = kind == BlockKind::ToolCall;
        let body = PieceBody::Open { kind, id: call.then(|| id.clone()), name: call.then(|| name.clone()) };
        self.blocks.push(Block {
            kind,
            id,
            name,
            text: String::new(),
            metadata: Metadata::new(),
            provider_executed: false,
            complete: false,
            item: None,
        });
        self.open.push(at);
        self.piece(at, body, out);
        at
    }

    fn call_opened(
        &mut self,
        id: Box<str>,
        name: Box<str>,
        provider_executed: bool,
        out: &mut Vec<Piece>,
    ) -> usize {
        let at = match self.find(BlockKind::ToolCall, &id) {
            Some(at) => at,
            None => self.open_block(BlockKind::ToolCall, id, name.clone(), out),
        };
        let block = &mut self.blocks[at];
        if block.name.is_empty() {
            block.name = name;
        }
        block.provider_executed |= provider_executed;
        at
    }

    fn append(&mut self, at: usize, delta: String, out: &mut Vec<Piece>) {
        if !delta.is_empty() {
            self.bytes += stored(&delta);
            self.blocks[at].text.push_str(&delta);
            self.piece(at, PieceBody::Append { text: delta }, out);
        }
    }

    fn ended(&mut self, kind: BlockKind, id: Box<str>, metadata: Metadata, out: &mut Vec<Piece>) {
        let at = match self.find(kind, &id) {
            Some(at) => at,
            // An end without anything to keep makes no block.
            None if metadata.is_empty() => return,
            None => self.open_block(kind, id, Box::default(), out),
        };
        merge(&mut self.blocks[at].metadata, metadata);
        self.close(at, out);
    }

    fn call(
        &mut self,
        id: Box<str>,
        name: Box<str>,
        input: String,
        provider_executed: bool,
        metadata: Metadata,
        out: &mut Vec<Piece>,
    ) {
        let same = |b: &Block| b.complete && b.id == id && b.name == name && b.text == input;
        if self.blocks.iter().any(same) {
            return;
        }
        let at = self.call_opened(id, name, provider_executed, out);
        // The full input is the truth. Where the deltas were its beginning, viewers get the rest.
        if let Some(rest) = input.strip_prefix(&*self.blocks[at].text).map(str::to_owned) {
            self.append(at, rest, out);
        }
        if self.blocks[at].text != input {
            self.bytes += stored(&input).saturating_sub(stored(&self.blocks[at].text));
        }
        let block = &mut self.blocks[at];
        block.text = input;
        block.complete = true;
        merge(&mut block.metadata, metadata);
        self.close(at, out);
    }

    fn item(&mut self, part: Part, out: &mut Vec<Piece>) {
        let at = self.blocks.len();
        self.bytes += item_bytes(&part);
        self.blocks.push(Block {
            kind: BlockKind::Item,
            id: Box::default(),
            name: Box::default(),
            text: String::new(),
            metadata: Metadata::new(),
            provider_executed: false,
            complete: true,
            item: Some(part.clone()),
        });
        self.piece(at, PieceBody::Item { part: without_metadata(part) }, out);
    }

    fn close(&mut self, at: usize, out: &mut Vec<Piece>) {
        self.open.retain(|&open| open != at);
        self.piece(at, PieceBody::Close, out);
    }

    fn piece(&mut self, at: usize, body: PieceBody, out: &mut Vec<Piece>) {
        let block = u32::try_from(at).unwrap_or(u32::MAX);
        let piece = Piece { block, from: self.units, body };
        self.units = piece.to();
        out.push(piece);
    }
}

impl Block {
    fn part(&self) -> Option<Part> {
        let metadata = self.metadata.clone();
        let part = match self.kind {
            BlockKind::Text => Part::Text { text: self.text.clone(), metadata },
            BlockKind::Reasoning => Part::Reasoning { text: self.text.clone(), metadata },
            BlockKind::ToolCall if self.complete => Part::ToolCall {
                id: self.id.clone(),
                name: self.name.clone(),
                input: self.text.clone(),
                provider_executed: self.provider_executed,
                metadata,
            },
            BlockKind::ToolCall | BlockKind::ToolOutput => return None,
            BlockKind::Item => self.item.clone()?,
        };
        Some(part)
    }
}

/// Adds metadata: per provider, and per key where both are objects. Nothing is erased by silence.
fn merge(into: &mut Metadata, from: Metadata) {
    for (provider, value) in from {
        match (into.get_mut(&provider), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
            (_, value) => {
                into.insert(provider, value);
            }
        }
    }
}

/// The part as viewers may see it: signatures and encrypted content are for the provider alone.
pub fn without_metadata(mut part: Part) -> Part {
    match &mut part {
        Part::Text { metadata, .. }
        | Part::Reasoning { metadata, .. }
        | Part::ToolCall { metadata, .. }
        | Part::ToolResult { metadata, .. }
        | Part::File { metadata, .. }
        | Part::Source { metadata, .. } => metadata.clear(),
        // Only its provider knows which of its fields are secret.
        Part::Unknown(value) => {
            let kind = value.get("type").cloned().unwrap_or(Value::Null);
            *value = serde_json::json!({ "type": kind });
        }
    }
    part
}

fn item_bytes(part: &Part) -> usize {
    serde_json::to_string(part).map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(id: &str, delta: &str) -> ModelPart {
        ModelPart::TextDelta { id: id.into(), delta: delta.into() }
    }

    fn call(id: &str, input: &str) -> ModelPart {
        ModelPart::ToolCall {
            id: id.into(),
            name: "look".into(),
            input: input.into(),
            provider_executed: false,
            metadata: Metadata::new(),
        }
    }

    fn fold(parts: impl IntoIterator<Item = ModelPart>) -> (Accumulator, Vec<Piece>) {
        let mut accumulator = Accumulator::new();
        let pieces = parts.into_iter().flat_map(|part| accumulator.push(part)).collect();
        (accumulator, pieces)
    }

    #[test]
    fn a_signature_that_comes_in_pieces_is_kept_even_without_text() {
        let signed = |key: &str| Metadata::from([("anthropic".into(), json!({ key: "x" }))]);
        let (answer, _) = fold([
            ModelPart::ReasoningStart { id: "0".into(), metadata: signed("redacted_data") },
            ModelPart::ReasoningDelta { id: "0".into(), delta: String::new(), metadata: signed("signature") },
            ModelPart::ReasoningEnd { id: "0".into(), metadata: Metadata::new() },
        ]);
        let metadata =
            Metadata::from([("anthropic".into(), json!({"redacted_data": "x", "signature": "x"}))]);
        assert_eq!(answer.content(), [Part::Reasoning { text: String::new(), metadata }]);
    }

    #[test]
    fn white_space_between_two_texts_is_kept_and_blank_blocks_elsewhere_are_not() {
        let text = |id: &str, delta: &str| ModelPart::TextDelta { id: id.into(), delta: delta.into() };
        let fold = |texts: &[&str]| {
            let mut answer = Accumulator::new();
            for (n, words) in texts.iter().enumerate() {
                drop(answer.push(text(&n.to_string(), words)));
                drop(answer.push(ModelPart::TextEnd { id: n.to_string().into(), metadata: Metadata::new() }));
            }
            answer.content()
        };
        assert_eq!(fold(&["One.", " ", "Two."]), [Part::text("One."), Part::text(" "), Part::text("Two.")]);
        assert_eq!(fold(&["\n\n", "One.", " "]), [Part::text("One.")]);
        assert_eq!(fold(&["One.", "", "Two."]), [Part::text("One."), Part::text("Two.")]);
        assert_eq!(fold(&[" \n"]), [], "an answer of white space says nothing");
    }

    #[test]
    fn a_call_without_its_complete_part_is_cut_and_never_content() {
        let (answer, _) = fold([
            ModelPart::ToolInputStart { id: "c".into(), name: "look".into(), provider_executed: false },
            ModelPart::ToolInputDelta { id: "c".into(), delta: r#"{"at":"#.into() },
            ModelPart::ToolInputEnd { id: "c".into() },
            ModelPart::Finish(Finish { reason: FinishReason::Length, ..Finish::default() }),
        ]);
        assert_eq!(answer.content(), []);
        let cut = CutCall { id: "c".into(), name: "look".into(), input: r#"{"at":"#.into() };
        assert_eq!(answer.cut_calls(), [cut]);
    }

    #[test]
    fn an_equal_call_twice_is_one_call_and_another_with_its_id_is_a_second() {
        let (answer, _) = fold([call("c", "{}"), call("c", "{}"), call("c", r#"{"x":1}"#)]);
        let inputs: Vec<_> = answer
            .content()
            .into_iter()
            .map(|part| match part {
                Part::ToolCall { input, .. } => input,
                other => panic!("not a call: {other:?}"),
            })
            .collect();
        assert_eq!(inputs, ["{}", r#"{"x":1}"#]);
    }

    #[test]
    fn nothing_after_the_terminal_part_counts() {
        let failure = ModelPart::Failure(Box::new(Failure::new("p", chatwright_error::Cause::Truncated)));
        let (answer, pieces) =
            fold([text("0", "a"), ModelPart::Finish(Finish::default()), text("0", "b"), failure]);
        assert_eq!(answer.content(), [Part::text("a")]);
        assert_eq!(answer.end(), Some(&End::Finish(Finish::default())));
        assert_eq!(pieces.len(), 2);
    }

    #[test]
    fn viewers_see_no_provider_metadata() {
        let secret = Metadata::from([("p".into(), json!({"encrypted": "s3cret"}))]);
        let source = Part::Source {
            id: "s".into(),
            url: Some("https://example.org".into()),
            title: None,
            media_type: None,
            name: None,
            metadata: secret,
        };
        let opaque = Part::Unknown(json!({"type": "novel", "encrypted": "s3cret"}));
        let (answer, pieces) = fold([ModelPart::Item(source.clone()), ModelPart::Item(opaque.clone())]);
        assert_eq!(answer.content(), [source, opaque], "what is stored keeps it");
        assert!(!serde_json::to_string(&pieces).expect("pieces encode").contains("s3cret"));
    }

    /// W14.
    #[test]
    fn a_stopped_answer_is_whole_blocks_with_their_signatures_and_no_half_call() {
        let signed = Metadata::from([("p".into(), json!({"signature": "s"}))]);
        let thought = |delta: &str, metadata| ModelPart::ReasoningDelta {
            id: "r".into(),
            delta: delta.into(),
            metadata,
        };
        let (answer, _) = fold([
            thought("Hm", Metadata::new()),
            text("0", "One"),
            thought(". So.", signed.clone()),
            ModelPart::ToolInputStart { id: "c".into(), name: "look".into(), provider_executed: false },
            ModelPart::ToolInputDelta { id: "c".into(), delta: r#"{"at":1}"#.into() },
            text("0", " more"),
        ]);
        let thought = Part::Reasoning { text: "Hm. So.".to_owned(), metadata: signed };
        assert_eq!(answer.content(), [thought, Part::text("One more")]);
    }

    /// Blocks as their provider made them: thoughts or texts, each with its deltas, how often it begins and how often it ends.
    fn any_blocks() -> impl Strategy<Value = Vec<(bool, Vec<String>, usize, usize)>> {
        let deltas = proptest::collection::vec("[aé ]{0,3}", 0..4);
        proptest::collection::vec((any::<bool>(), deltas, 1..3_usize, 0..3_usize), 1..5)
    }

    /// The parts of a block; what it says of itself comes with its last delta.
    fn block_parts(
        at: usize,
        (thinks, deltas, starts, ends): &(bool, Vec<String>, usize, usize),
    ) -> Vec<ModelPart> {
        let id = || Box::<str>::from(at.to_string());
        let none = Metadata::new;
        let start = || match thinks {
            true => ModelPart::ReasoningStart { id: id(), metadata: none() },
            false => ModelPart::TextStart { id: id() },
        };
        let delta = |delta: &String| match thinks {
            true => ModelPart::ReasoningDelta { id: id(), delta: delta.clone(), metadata: none() },
            false => ModelPart::TextDelta { id: id(), delta: delta.clone() },
        };
        let end = || match thinks {
            true => ModelPart::ReasoningEnd { id: id(), metadata: none() },
            false => ModelPart::TextEnd { id: id(), metadata: none() },
        };
        let starts = (0..*starts).map(|_| start());
        starts.chain(deltas.iter().map(delta)).chain((0..*ends).map(|_| end())).collect()
    }

    fn any_part() -> impl Strategy<Value = ModelPart> {
        let id = prop_oneof![Just("0"), Just("1")].prop_map(Box::<str>::from);
        let words = "[aé😀 ]{0,4}";
        let metadata = prop_oneof![
            Just(Metadata::new()),
            Just(Metadata::from([("p".into(), json!({"signature": "s"}))])),
        ];
        (id, words, metadata, 0..14_u8).prop_map(|(id, delta, metadata, which)| match which {
            0 => ModelPart::TextStart { id },
            1 | 2 => ModelPart::TextDelta { id, delta },
            3 => ModelPart::TextEnd { id, metadata },
            4 => ModelPart::ReasoningStart { id, metadata },
            5 | 6 => ModelPart::ReasoningDelta { id, delta, metadata },
            7 => ModelPart::ReasoningEnd { id, metadata },
            8 => ModelPart::ToolInputStart { id, name: "look".into(), provider_executed: false },
            9 => ModelPart::ToolInputDelta { id, delta },
            10 => ModelPart::ToolInputEnd { id },
            11 => call(&id, &delta),
            12 => ModelPart::Item(Part::text(delta)),
            _ => ModelPart::KeepAlive,
        })
    }

    /// Cuts every delta into its characters.
    fn shred(part: ModelPart) -> Vec<ModelPart> {
        let cut = |delta: &str| delta.chars().map(String::from).collect::<Vec<_>>();
        match part {
            ModelPart::TextDelta { id, delta } if !delta.is_empty() => {
                cut(&delta).into_iter().map(|delta| ModelPart::TextDelta { id: id.clone(), delta }).collect()
            }
            ModelPart::ReasoningDelta { id, delta, metadata } if !delta.is_empty() => cut(&delta)
                .into_iter()
                .map(|delta| ModelPart::ReasoningDelta { id: id.clone(), delta, metadata: metadata.clone() })
                .collect(),
            ModelPart::ToolInputDelta { id, delta } if !delta.is_empty() => cut(&delta)
                .into_iter()
                .map(|delta| ModelPart::ToolInputDelta { id: id.clone(), delta })
                .collect(),
            other => vec![other],
        }
    }

    fn merged(pieces: Vec<Piece>) -> Vec<Piece> {
        let mut out: Vec<Piece> = Vec::new();
        for piece in pieces {
            match out.last_mut() {
                Some(last) => {
                    if let Some(piece) = last.merge(piece) {
                        out.push(piece);
                    }
                }
                None => out.push(piece),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_split_of_deltas_gives_the_same_blocks_and_the_same_addresses(parts in proptest::collection::vec(any_part(), 0..40)) {
            let (whole, pieces) = fold(parts.clone());
            let (shredded, shreds) = fold(parts.into_iter().flat_map(shred));
            prop_assert_eq!(whole.content(), shredded.content());
            prop_assert_eq!(whole.cut_calls(), shredded.cut_calls());
            prop_assert_eq!(merged(pieces), merged(shreds));
        }

        /// C12, W15.
        #[test]
        fn blocks_stand_in_the_order_of_their_first_parts_however_they_are_interleaved(
            blocks in any_blocks(),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 64),
        ) {
            let mut blocks = blocks;
            for (at, (_, deltas, ..)) in blocks.iter_mut().enumerate() {
                deltas.insert(0, format!("{at}:"));
            }
            let said = |(thinks, deltas, ..): &(bool, Vec<String>, usize, usize)| match thinks {
                true => Part::Reasoning { text: deltas.concat(), metadata: Metadata::new() },
                false => Part::text(deltas.concat()),
            };
            let expected: Vec<Part> = blocks.iter().map(said).collect();
            let parts = blocks.iter().enumerate().map(|(at, block)| block_parts(at, block).into_iter());
            let mut rest: Vec<_> = parts.collect();
            // All begin in their order.
            let mut mixed: Vec<ModelPart> = rest.iter_mut().filter_map(Iterator::next).collect();
            for chosen in order {
                let at = chosen.index(rest.len());
                mixed.extend(rest[at].next());
            }
            mixed.extend(rest.into_iter().flatten());
            let (mixed, _) = fold(mixed);
            prop_assert_eq!(mixed.content(), expected);
        }

        #[test]
        fn pieces_tile_the_preview_without_a_hole(parts in proptest::collection::vec(any_part(), 0..40)) {
            let (accumulator, pieces) = fold(parts);
            let mut next = 0;
            for piece in &pieces {
                prop_assert_eq!(piece.from, next);
                next = piece.to();
            }
            prop_assert_eq!(accumulator.units(), next);
        }

        #[test]
        fn text_that_viewers_saw_is_the_text_that_is_stored(parts in proptest::collection::vec(any_part(), 0..40)) {
            let (accumulator, pieces) = fold(parts);
            let stored: String = accumulator.content().into_iter().filter_map(|part| match part {
                Part::Text { text, .. } | Part::Reasoning { text, .. } => Some(text),
                _ => None,
            }).collect();
            let mut kinds = std::collections::BTreeMap::new();
            let mut shown: std::collections::BTreeMap<u32, String> = std::collections::BTreeMap::new();
            for piece in pieces {
                match piece.body {
                    PieceBody::Open { kind, .. } => { kinds.insert(piece.block, kind); }
                    PieceBody::Append { text } if kinds[&piece.block] != BlockKind::ToolCall => {
                        shown.entry(piece.block).or_default().push_str(&text);
                    }
                    PieceBody::Item { part: Part::Text { text, .. } } => { shown.insert(piece.block, text); }
                    _ => {}
                }
            }
            let squeeze = |text: &str| text.split_whitespace().collect::<String>();
            let shown: String = shown.into_values().collect();
            // Blocks of nothing but white space are not stored; everything else is.
            prop_assert_eq!(squeeze(&shown), squeeze(&stored));
        }
    }
}
