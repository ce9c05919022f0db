//! Secrets in prose, code and logs.

use std::borrow::Cow;
use std::ops::Range;

use chatwright_core::error::redact;

use super::Redactor;
use super::address::{self, ADDRESS_MARK};
use super::detect::{self, Found};
use super::edit::{Edit, MARK, apply, merge};
use super::json::NESTED_MAX;

/// A longer word of nothing but base64 is data: only known secrets are looked for in it.
const DATA_BYTES_MIN: usize = 256;

impl Redactor {
    /// A text without its secrets: a prompt, a page, a log, what an error says.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        apply(text, self.leaf(text, 0))
    }

    /// What an error says, without its secrets. Nothing in it is repeated, so what merely may be a secret goes, too:
    /// whatever [`redact`] takes from the failures of providers.
    pub fn error(&self, text: &str) -> String {
        let clean = self.text(text);
        let mut out = String::with_capacity(clean.len());
        let mut done = 0;
        // Addresses are clean already, and there an error may be understood by their parameters.
        for (mark, _) in clean.match_indices("://") {
            if mark < done {
                continue;
            }
            if let Some(at) = address::extent(&clean, mark) {
                let start = at.start.max(done);
                out.push_str(&redact(&clean[done..start]));
                out.push_str(&clean[start..at.end]);
                done = at.end;
            }
        }
        out.push_str(&redact(&clean[done..]));
        out
    }

    /// Edits of a text. Addresses in it are read unless it is `nested` too deep.
    pub(super) fn find(&self, text: &str, nested: usize, edits: &mut Vec<Edit>) {
        let from = edits.len();
        self.known(text.as_bytes(), edits);
        if is_data(text) {
            return;
        }
        let detects = self.inner.rules.detect_values;
        let mut addresses: Vec<Range<usize>> = Vec::new();
        detect::each(text.as_bytes(), |found| match found {
            Found::Secret(at) if detects => edits.push(Edit::mark(at)),
            Found::Secret(_) => {}
            Found::Address(mark) => {
                if nested >= NESTED_MAX || addresses.last().is_some_and(|last| mark < last.end) {
                    return;
                }
                if let Some(at) = address::extent(text, mark) {
                    self.address(text, &at, mark, nested, edits);
                    addresses.push(at);
                }
            }
        });
        if detects {
            self.fields(text, edits);
        }
        self.percent_encoded(text, edits);
        if addresses.is_empty() || edits.len() == from {
            return;
        }
        let mut new = edits.split_off(from);
        merge(&mut new);
        let mut addresses = addresses.iter().peekable();
        for edit in &mut new {
            while addresses.next_if(|at| at.end <= edit.at.start).is_some() {}
            if edit.with == MARK && addresses.peek().is_some_and(|at| at.contains(&edit.at.start)) {
                edit.with = ADDRESS_MARK.into();
            }
        }
        edits.append(&mut new);
    }

    /// What is only seen where `%41` is read as `A`, however much of it is encoded.
    fn percent_encoded(&self, text: &str, edits: &mut Vec<Edit>) {
        let bytes = text.as_bytes();
        let hex = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let code = |at: usize| Some((hex(at + 1)? * 16 + hex(at + 2)?) as u8);
        if !memchr::memchr_iter(b'%', bytes).any(|at| code(at).is_some()) {
            return;
        }
        let (mut plain, mut places) = (Vec::with_capacity(bytes.len()), Vec::with_capacity(bytes.len() + 1));
        let mut at = 0;
        while at < bytes.len() {
            let code = if bytes[at] == b'%' { code(at) } else { None };
            plain.push(code.unwrap_or(bytes[at]));
            places.push(at);
            at += if code.is_some() { 3 } else { 1 };
        }
        places.push(bytes.len());
        let mut found = Vec::new();
        self.known(&plain, &mut found);
        if self.inner.rules.detect_values {
            detect::each(&plain, |one| {
                if let Found::Secret(at) = one {
                    found.push(Edit::mark(at));
                }
            });
        }
        edits.extend(found.into_iter().map(|edit| Edit::mark(places[edit.at.start]..places[edit.at.end])));
    }

    /// `name: value` and `name=value` with the name of a secret and a value that is no word: `password: string` is code.
    fn fields(&self, text: &str, edits: &mut Vec<Edit>) {
        /// Longer names are none.
        const NAME_BYTES_MAX: usize = 64;
        /// Enough of a value to judge it.
        const NEAR: usize = 64;
        let bytes = text.as_bytes();
        let mut done = 0;
        for sign in memchr::memchr2_iter(b'=', b':', bytes) {
            if sign < done {
                continue;
            }
            let quote = |byte: &&u8| matches!(byte, b'"' | b'\'' | b'\\' | b'`');
            let name_end = sign - bytes[done..sign].iter().rev().take(2).take_while(quote).count();
            let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            let size =
                bytes[done..name_end].iter().rev().take(NAME_BYTES_MAX + 1).take_while(is_name).count();
            // The shortest one is `sig`.
            if !(3..=NAME_BYTES_MAX).contains(&size) || !self.is_secret_name(&text[name_end - size..name_end])
            {
                continue;
            }
            let blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'\\' | b'`');
            let from = sign + 1 + bytes[sign + 1..].iter().take(4).take_while(blank).count();
            let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`\\,;&<>)}]".contains(byte);
            let near = &bytes[from..bytes.len().min(from + NEAR)];
            let near = &near[..near.iter().position(ends).unwrap_or(near.len())];
            if detect::is_opaque(near, super::SECRET_BYTES_MIN) {
                let size = bytes[from..].iter().position(ends).unwrap_or(bytes.len() - from);
                edits.push(Edit::mark(from..from + size));
                done = from + size;
            }
        }
    }
}

/// Whether the text is one long run of base64, such as an image or an encrypted thought.
pub(super) fn is_data(text: &str) -> bool {
    let text = text
        .strip_prefix("data:")
        .and_then(|data| data.split_once(";base64,"))
        .map_or(text, |(_, data)| data);
    text.len() >= DATA_BYTES_MIN && text.bytes().all(|byte| DATA[usize::from(byte)])
}

/// The letters of base64, standard and for addresses.
static DATA: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] =
            (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'+' | b'/' | b'=' | b'-' | b'_');
        byte += 1;
    }
    table
};
