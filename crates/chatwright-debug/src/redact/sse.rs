//! Secrets in server-sent events, also those that come in pieces.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::edit::{Edit, apply, merge};
use super::escape::{escaped, unescaped};
use super::json::{EXTRA_JSON, NOT_JSON};
use super::scan::{Piece, Scan, Shape, Start};
use super::{EDGE_BYTES_MAX, Redactor, SECRET_BYTES_MIN, detect};

/// Where events are missing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Edges {
    pub(super) start: bool,
    pub(super) end: bool,
}

/// The data of an event.
struct Payload<'a> {
    text: Cow<'a, str>,
    /// Its lines: what follows `data:`, and all of the line.
    lines: Vec<(Range<usize>, Range<usize>)>,
    edits: Vec<Edit>,
}

/// A string in a payload.
struct Leaf<'a> {
    payload: usize,
    at: Range<usize>,
    of: u64,
    plain: Cow<'a, str>,
    edits: Vec<Edit>,
}

impl Redactor {
    /// A stream of server-sent events without its secrets. Strings that continue each other are judged together: a model
    /// spells a secret piece by piece. Events that hold none stay as they are, byte for byte.
    pub(super) fn events<'a>(&self, text: &'a str, edges: Edges) -> Cow<'a, str> {
        let mut edits = Vec::new();
        let mut payloads = self.payloads(text, &mut edits);
        let mut pieces: Vec<(usize, Piece)> = Vec::new();
        let mut last: HashMap<u64, u64> = HashMap::new();
        for (at, payload) in payloads.iter_mut().enumerate() {
            let (new, is_cut) = self.payload(payload);
            for mut piece in new {
                // The ids that an event lost with its end are most likely those of the one before it.
                match last.get(&piece.path) {
                    Some(of) if is_cut => piece.of = *of,
                    _ => drop(last.insert(piece.path, piece.of)),
                }
                pieces.push((at, piece));
            }
        }
        let mut leaves: Vec<Leaf<'_>> = pieces
            .into_iter()
            .map(|(payload, piece)| {
                let plain = unescaped(&payloads[payload].text[piece.at.clone()]);
                let edits = self.cut_leaf(&plain, 0, piece.cut);
                Leaf { payload, at: piece.at, of: piece.of, plain, edits }
            })
            .collect();
        self.spelled(&mut leaves, edges);
        let hits: Vec<(usize, Edit)> = leaves
            .into_iter()
            .filter(|leaf| !leaf.edits.is_empty())
            .map(|leaf| (leaf.payload, Edit::new(leaf.at, escaped(&apply(&leaf.plain, leaf.edits)))))
            .collect();
        for (payload, edit) in hits {
            payloads[payload].edits.push(edit);
        }
        for payload in payloads {
            payload.write(text, &mut edits);
        }
        apply(text, edits)
    }

    /// The data of all events. Other lines are text.
    fn payloads<'a>(&self, text: &'a str, edits: &mut Vec<Edit>) -> Vec<Payload<'a>> {
        let mut payloads: Vec<Payload<'a>> = Vec::new();
        let mut is_open = false;
        let mut at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        while at < text.len() {
            let end =
                memchr::memchr2(b'\n', b'\r', &text.as_bytes()[at..]).map_or(text.len(), |size| at + size);
            let ending = match text.as_bytes()[end..] {
                [b'\r', b'\n', ..] => 2,
                [_, ..] => 1,
                [] => 0,
            };
            let (line, whole) = (&text[at..end], at..end + ending);
            at = whole.end;
            if line.is_empty() {
                is_open = false;
            } else if let Some(data) = line.strip_prefix("data:") {
                let data = data.strip_prefix(' ').unwrap_or(data);
                let content = end - data.len()..end;
                match payloads.last_mut() {
                    Some(open) if is_open => {
                        open.text.to_mut().push('\n');
                        open.text.to_mut().push_str(data);
                        open.lines.push((content, whole));
                    }
                    _ => payloads.push(Payload {
                        text: Cow::Borrowed(data),
                        lines: vec![(content, whole)],
                        edits: Vec::new(),
                    }),
                }
                is_open = true;
            } else {
                let mut found = Vec::new();
                self.find(line, 0, &mut found);
                let from = whole.start;
                edits.extend(
                    found
                        .into_iter()
                        .map(|edit| Edit::new(from + edit.at.start..from + edit.at.end, edit.with)),
                );
            }
        }
        payloads
    }

    /// Removes what names tell, and gathers the strings. Says whether the end is missing.
    fn payload(&self, payload: &mut Payload<'_>) -> (Vec<Piece>, bool) {
        let text = &*payload.text;
        let whole = |with: &'static str| vec![Edit::new(0..text.len(), with)];
        let mut scan = Scan::new(self, text, 0);
        scan.pieces = Some(Vec::new());
        match scan.run(Start::Document) {
            shape @ (Shape::One | Shape::Cut { .. }) => {
                payload.edits = scan.edits;
                return (scan.pieces.unwrap_or_default(), shape != Shape::One);
            }
            Shape::Empty => {}
            Shape::Several if text.trim_start().starts_with(['{', '[', '"']) => {
                payload.edits = whole(EXTRA_JSON);
            }
            // `[DONE]` begins like a list.
            Shape::Broken if text.trim_start().starts_with(['{', '"']) => payload.edits = whole(NOT_JSON),
            Shape::Broken | Shape::Several => {
                let mut edits = Vec::new();
                self.find(text, 0, &mut edits);
                payload.edits = edits;
            }
        }
        (Vec::new(), false)
    }

    /// Finds what only several leaves together hold.
    fn spelled(&self, leaves: &mut [Leaf<'_>], edges: Edges) {
        let mut groups: HashMap<u64, Vec<usize>> = HashMap::new();
        for (at, leaf) in leaves.iter().enumerate() {
            groups.entry(leaf.of).or_default().push(at);
        }
        for group in groups.into_values() {
            let first = &leaves[group[0]].plain;
            let is_constant = group.iter().all(|&at| leaves[at].plain == *first);
            if is_constant && group.len() > 1 {
                continue;
            }
            let all: String = group.iter().map(|&at| &*leaves[at].plain).collect();
            let mut edits = if group.len() > 1 { self.together(&all) } else { Vec::new() };
            self.loose(&all, group.len() > 1, edges, &mut edits);
            merge(&mut edits);
            let mut edits = edits.into_iter().peekable();
            let mut from = 0;
            for at in group {
                let leaf = &mut leaves[at];
                let to = from + leaf.plain.len();
                while let Some(edit) = edits.peek_mut().filter(|edit| edit.at.start < to) {
                    let part = edit.at.start.max(from) - from..edit.at.end.min(to) - from;
                    // The mark stands where the secret begins; from its other pieces it is only taken.
                    leaf.edits.push(Edit::new(part, std::mem::take(&mut edit.with)));
                    if edit.at.end > to {
                        edit.at.start = to;
                        break;
                    }
                    edits.next();
                }
                from = to;
            }
        }
    }

    fn together(&self, all: &str) -> Vec<Edit> {
        if all.len() < SECRET_BYTES_MIN {
            return Vec::new();
        }
        if all.trim_start().starts_with(['{', '[']) {
            let mut scan = Scan::new(self, all, 1);
            if matches!(scan.run(Start::Document), Shape::One | Shape::Cut { .. }) {
                self.known(all.as_bytes(), &mut scan.edits);
                return scan.edits;
            }
        }
        let mut edits = Vec::new();
        self.find(all, 0, &mut edits);
        edits
    }

    /// Removes the pieces of secrets whose other pieces are missing.
    fn loose(&self, all: &str, is_spelled: bool, edges: Edges, edits: &mut Vec<Edit>) {
        let bytes = all.as_bytes();
        let is_word = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(byte);
        let keyish = |word: &[u8]| {
            is_spelled && (detect::is_opaque(word, SECRET_BYTES_MIN) || detect::begins_key(word))
        };
        if edges.end {
            let word = bytes.iter().rev().take(EDGE_BYTES_MAX).take_while(is_word).count();
            let word = if keyish(&bytes[bytes.len() - word..]) { word } else { 0 };
            edits.push(Edit::mark(bytes.len() - word.max(self.begun(all))..bytes.len()));
        }
        if edges.start {
            let word = bytes.iter().take(EDGE_BYTES_MAX).take_while(is_word).count();
            let word = if keyish(&bytes[..word]) { word } else { 0 };
            edits.push(Edit::mark(0..word.max(self.ended(all))));
        }
    }
}

impl Payload<'_> {
    /// The payload's edits as edits of the stream.
    fn write(mut self, text: &str, edits: &mut Vec<Edit>) {
        merge(&mut self.edits);
        if self.edits.is_empty() {
            return;
        }
        if let [(content, _)] = &self.lines[..] {
            let from = content.start;
            edits.extend(
                self.edits
                    .into_iter()
                    .map(|edit| Edit::new(from + edit.at.start..from + edit.at.end, edit.with)),
            );
            return;
        }
        let (content, line) = self.lines[0].clone();
        let ending = &text[content.end..line.end];
        let clean = apply(&self.text, self.edits).replace('\n', &format!("{ending}data: "));
        edits.push(Edit::new(content, clean));
        edits.extend(self.lines[1..].iter().map(|(_, line)| Edit::new(line.clone(), "")));
        // The last line may lack its ending, and so does the event then.
    }
}
