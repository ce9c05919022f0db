//! One pass over JSON text, whole or cut.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use super::Redactor;
use super::edit::{Edit, MARK, apply};
use super::escape::{escaped, unescaped};
use super::names::Above;
use super::text::is_data;

/// Members that say which of several a piece of a stream belongs to.
const IDS: [&str; 4] = ["index", "output_index", "content_index", "item_id"];

/// Ids count so deep.
const IDS_DEPTH_MAX: usize = 16;

/// A text in place of a value.
const QUOTED_MARK: &str = "\"[REDACTED]\"";

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Blank.
    Empty,
    /// One document; or the end of one, if its start was elsewhere.
    One,
    /// Something after the first document.
    Several,
    /// The start of a document. Its end is `hidden` if it lies within what the name of a secret holds.
    Cut { hidden: bool },
    /// No JSON.
    Broken,
}

/// Where a text begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Where the document does.
    Document,
    /// Somewhere outside of strings.
    Between,
    /// Within a string; with a character that is escaped, if its backslash is elsewhere.
    String { escaped: bool },
}

/// A string that was met and is to be judged with others.
#[derive(Debug)]
pub(super) struct Piece {
    /// What it is a piece of.
    pub(super) of: u64,
    /// The names above it.
    pub(super) path: u64,
    /// Where it stands, without its quotes.
    pub(super) at: Range<usize>,
    pub(super) cut: Cut,
}

/// One pass over a text.
pub(super) struct Scan<'a> {
    redactor: &'a Redactor,
    text: &'a str,
    nested: usize,
    pub(super) edits: Vec<Edit>,
    /// If it is there, strings are gathered instead of judged.
    pub(super) pieces: Option<Vec<Piece>>,
    stack: Vec<Frame>,
}

struct Frame {
    is_object: bool,
    above: Above,
    /// What the values in it are pieces of.
    path: u64,
    ids: u64,
    /// The first piece in it.
    first: usize,
}

/// What may come next.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    After,
    /// Outside of everything that was seen to begin: a name or a value.
    Either,
}

/// Which end of a string is elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    No,
    Before,
    Behind,
}

/// A value that is a secret as a whole.
struct Hidden {
    end: usize,
    /// It ends in this text.
    is_whole: bool,
}

/// A string that was read.
struct Quoted {
    inner: Range<usize>,
    is_closed: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(redactor: &'a Redactor, text: &'a str, nested: usize) -> Self {
        Self { redactor, text, nested, edits: Vec::new(), pieces: None, stack: Vec::new() }
    }

    pub(super) fn run(&mut self, start: Start) -> Shape {
        self.walk(start).unwrap_or(Shape::Broken)
    }

    /// `None` if the text is broken.
    fn walk(&mut self, start: Start) -> Option<Shape> {
        let text = self.text;
        let bytes = text.as_bytes();
        let is_tail = start != Start::Document;
        let mut at = if self.text.starts_with('\u{feff}') { 3 } else { 0 };
        let mut next = if is_tail { Next::Either } else { Next::Value };
        let mut above = Above::default();
        let (mut path, mut name) = (0, "");
        match start {
            Start::Document => {}
            Start::Between => {
                // The end of a number or a literal.
                let rest = bytes.iter().position(|byte| !is_scalar(*byte)).unwrap_or(bytes.len());
                if rest > 0 {
                    (at, next) = (rest, Next::After);
                }
            }
            Start::String { escaped } => {
                (at, next) = (self.broken_string(usize::from(escaped))?, Next::After);
                if let Some(value) = self.colon(at) {
                    // The start of the name is elsewhere: it may be a secret's.
                    at = self.hide(value)?.end;
                }
            }
        }
        loop {
            while bytes.get(at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
                at += 1;
            }
            let Some(&byte) = bytes.get(at) else { break };
            let at_value = matches!(next, Next::Value | Next::ValueOrEnd | Next::Either);
            let at_name = matches!(next, Next::Name | Next::NameOrEnd);
            match byte {
                b'{' | b'[' if at_value => {
                    let is_object = byte == b'{';
                    let first = self.pieces.as_ref().map_or(0, Vec::len);
                    self.stack.push(Frame { is_object, above, path, ids: 0, first });
                    next = if is_object { Next::NameOrEnd } else { Next::ValueOrEnd };
                    name = "";
                    at += 1;
                }
                b'}' | b']' => {
                    let may_end = match next {
                        Next::After => true,
                        Next::NameOrEnd => byte == b'}',
                        Next::ValueOrEnd => byte == b']',
                        // A tail may begin right here.
                        Next::Either => at == 0 || self.text[..at].trim().is_empty(),
                        _ => false,
                    };
                    let closes = self.stack.pop();
                    match &closes {
                        Some(frame) if may_end && frame.is_object == (byte == b'}') => self.close(frame),
                        None if may_end && is_tail => {}
                        _ => return None,
                    }
                    next = Next::After;
                    at += 1;
                }
                b',' if next == Next::After || (is_tail && at == 0) => {
                    match self.stack.last() {
                        Some(frame) if frame.is_object => next = Next::Name,
                        Some(frame) => {
                            (above, path) = (frame.above, frame.path);
                            next = Next::Value;
                        }
                        None if is_tail => (above, path, next) = (Above::default(), 0, Next::Either),
                        None => return Some(Shape::Several),
                    }
                    at += 1;
                }
                b':' if is_tail && at == 0 => (at, next) = (self.hide(at + 1)?.end, Next::After),
                _ if next == Next::After => {
                    return (self.stack.is_empty() && !is_tail).then_some(Shape::Several);
                }
                b'"' if at_name || at_value => {
                    let string = self.string(at + 1)?;
                    at = string.inner.end + usize::from(string.is_closed);
                    if at_name || (next == Next::Either && self.colon(at).is_some()) {
                        if !string.is_closed {
                            self.judge(string.inner, Cut::Behind);
                            break;
                        }
                        let plain = unescaped(&text[string.inner.clone()]);
                        self.judge_name(string.inner.clone(), &plain);
                        let Some(value) = self.colon(at) else {
                            return self.text[at..]
                                .trim_start()
                                .is_empty()
                                .then_some(Shape::Cut { hidden: false });
                        };
                        let parent = self
                            .stack
                            .last()
                            .map_or((Above::default(), 0), |frame| (frame.above, frame.path));
                        let is_object = self.text[value..].trim_start().starts_with('{');
                        let below = self.redactor.inner.names.member(parent.0, &plain, is_object);
                        if self.pieces.is_some() {
                            path = mixed(parent.1, &*plain);
                        }
                        match below {
                            Some(below) => {
                                (above, at, next) = (below, value, Next::Value);
                                name = &text[string.inner];
                            }
                            None => {
                                let hidden = self.hide(value)?;
                                if !hidden.is_whole {
                                    return Some(Shape::Cut { hidden: true });
                                }
                                (at, next) = (hidden.end, Next::After);
                            }
                        }
                        continue;
                    }
                    self.identify(name, &text[string.inner.clone()]);
                    name = "";
                    let cut = if string.is_closed { Cut::No } else { Cut::Behind };
                    match &mut self.pieces {
                        Some(pieces) => pieces.push(Piece { of: path, path, at: string.inner.clone(), cut }),
                        // Its name may be elsewhere.
                        None if start == Start::Between
                            && text[..string.inner.start - 1].trim().is_empty() =>
                        {
                            self.edits.push(Edit::mark(string.inner.clone()));
                        }
                        None => self.judge(string.inner.clone(), cut),
                    }
                    next = Next::After;
                    if !string.is_closed {
                        next = Next::Value;
                        break;
                    }
                }
                _ if at_value && is_scalar(byte) => {
                    let end = at
                        + bytes[at..].iter().position(|byte| !is_scalar(*byte)).unwrap_or(bytes.len() - at);
                    let scalar = &text[at..end];
                    let is_number = matches!(byte, b'-' | b'0'..=b'9');
                    if !is_number && !["true", "false", "null"].contains(&scalar) {
                        let begins = end == bytes.len()
                            && ["true", "false", "null"].iter().any(|word| word.starts_with(scalar));
                        return begins.then_some(Shape::Cut { hidden: false });
                    }
                    if is_number
                        && scalar
                            .bytes()
                            .any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E'))
                    {
                        return None;
                    }
                    if scalar.len() >= super::SECRET_BYTES_MIN && self.redactor.knows(scalar) {
                        self.edits.push(Edit::new(at..end, QUOTED_MARK));
                    }
                    self.identify(name, scalar);
                    name = "";
                    (at, next) = (end, Next::After);
                }
                _ => return None,
            }
        }
        let is_whole = self.stack.is_empty() && next == Next::After;
        Some(match next {
            _ if is_whole => Shape::One,
            Next::Value
                if self.stack.is_empty() && self.text.trim_start_matches('\u{feff}').trim().is_empty() =>
            {
                Shape::Empty
            }
            _ => Shape::Cut { hidden: false },
        })
    }

    /// The string whose inside begins at `from`; `None` if it is none.
    fn string(&self, from: usize) -> Option<Quoted> {
        let bytes = self.text.as_bytes();
        let mut at = from;
        loop {
            let Some(step) = memchr::memchr2(b'"', b'\\', &bytes[at..]) else {
                return Some(Quoted { inner: from..bytes.len(), is_closed: false });
            };
            at += step;
            if bytes[at] == b'"' {
                return Some(Quoted { inner: from..at, is_closed: true });
            }
            match bytes.get(at + 1) {
                None => return Some(Quoted { inner: from..at, is_closed: false }),
                Some(b'u') => {
                    let digits = &bytes[at + 2..bytes.len().min(at + 6)];
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    at = at + 2 + digits.len();
                }
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                Some(_) => return None,
            }
        }
    }

    /// The rest of a string that began elsewhere. A short one may be what the name of a secret holds.
    fn broken_string(&mut self, from: usize) -> Option<usize> {
        /// No secret is longer, but for private keys, which are known by their last line.
        const HIDDEN_BYTES_MAX: usize = 4096;
        let string = self.string(from.min(self.text.len()))?;
        if !string.is_closed {
            return None;
        }
        if string.inner.end <= HIDDEN_BYTES_MAX {
            self.edits.push(Edit::mark(0..string.inner.end));
        } else {
            self.judge(string.inner.clone(), Cut::Before);
        }
        Some(string.inner.end + 1)
    }

    /// Where the value begins, if a colon is next.
    fn colon(&self, at: usize) -> Option<usize> {
        let rest = self.text[at..].trim_start();
        rest.starts_with(':').then(|| self.text.len() - rest.len() + 1)
    }

    /// Hides the value at `from`, whatever it is.
    fn hide(&mut self, from: usize) -> Option<Hidden> {
        let bytes = self.text.as_bytes();
        let from = from + bytes[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let mut at = from;
        let mut open = 0_usize;
        let mut is_whole = false;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'"' => {
                    let string = self.string(at + 1)?;
                    if !string.is_closed {
                        at = bytes.len();
                        break;
                    }
                    at = string.inner.end + 1;
                }
                b'{' | b'[' => {
                    open += 1;
                    at += 1;
                    continue;
                }
                b'}' | b']' if open == 0 => break,
                b'}' | b']' => {
                    open -= 1;
                    at += 1;
                }
                b',' | b':' if open > 0 => {
                    at += 1;
                    continue;
                }
                _ if byte.is_ascii_whitespace() => {
                    at += 1;
                    continue;
                }
                _ if is_scalar(byte) => {
                    at += bytes[at..].iter().position(|byte| !is_scalar(*byte)).unwrap_or(bytes.len() - at);
                }
                _ => return None,
            }
            if open == 0 {
                // A number that reaches the end of the text may go on.
                is_whole = at < bytes.len() || !is_scalar(byte);
                break;
            }
        }
        if at == from && at < bytes.len() {
            return None;
        }
        self.edits.push(Edit::new(from..at, QUOTED_MARK));
        Some(Hidden { end: at, is_whole })
    }

    fn judge(&mut self, at: Range<usize>, cut: Cut) {
        let raw = &self.text[at.clone()];
        if raw.len() < super::SECRET_BYTES_MIN && cut == Cut::No {
            return;
        }
        let plain = unescaped(raw);
        let edits = self.redactor.cut_leaf(&plain, self.nested, cut);
        if !edits.is_empty() {
            self.edits.push(Edit::new(at, escaped(&apply(&plain, edits))));
        }
    }

    /// A name may be a secret itself, such as the key of a map of sessions.
    fn judge_name(&mut self, at: Range<usize>, plain: &str) {
        if plain.len() < super::SECRET_BYTES_MIN || is_data(plain) && !self.redactor.knows(plain) {
            return;
        }
        let mut edits = Vec::new();
        self.redactor.find(plain, self.nested, &mut edits);
        if !edits.is_empty() {
            self.edits.push(Edit::new(at, MARK));
        }
    }

    fn identify(&mut self, name: &str, value: &str) {
        if self.pieces.is_some()
            && IDS.contains(&name)
            && self.stack.len() <= IDS_DEPTH_MAX
            && let Some(frame) = self.stack.last_mut()
        {
            frame.ids = mixed(frame.ids ^ mixed(1, name), value);
        }
    }

    fn close(&mut self, frame: &Frame) {
        if frame.ids != 0
            && let Some(pieces) = &mut self.pieces
        {
            for piece in &mut pieces[frame.first..] {
                piece.of = mixed(piece.of, &frame.ids);
            }
        }
    }
}

fn mixed<T: Hash + ?Sized>(with: u64, value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    with.hash(&mut hasher);
    value.hash(&mut hasher);
    hasher.finish()
}

fn is_scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}
