//! Secrets in HTTP bodies, by their media types.

use std::borrow::Cow;

use chatwright_core::port::HttpHeader;

use super::edit::{Edit, apply};
use super::json::{EXTRA_JSON, NOT_JSON};
use super::scan::{Scan, Shape, Start};
use super::sse::Edges;
use super::{EDGE_BYTES_MAX, Redactor};

/// What is kept of a compressed body.
pub const COMPRESSED: &str = r#"{"error":"body is compressed and was not kept"}"#;

/// What was kept of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// The start, or all of it.
    pub head: Vec<u8>,
    /// The end, if something between was dropped.
    pub tail: Vec<u8>,
    /// How many bytes between head and tail were dropped.
    pub dropped: u64,
}

impl Captured {
    /// A body of which everything was kept.
    pub fn whole(bytes: impl Into<Vec<u8>>) -> Self {
        Self { head: bytes.into(), ..Self::default() }
    }
}

/// A body without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// What is left.
    pub text: String,
    /// It is the body, byte for byte.
    pub is_exact: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Media {
    Json,
    Lines,
    Events,
    Form,
    Text,
}

impl Redactor {
    /// A body without its secrets, as the headers beside it describe it. Bytes that are no UTF-8 are replaced. Where
    /// something was dropped, a line says how much; what could be a part of a secret beside it is dropped, too.
    ///
    /// What a gap hides, nobody knows: if an object began in it below the name of a secret, its later members are judged by
    /// their own names and looks.
    pub fn body(&self, headers: &[HttpHeader], body: &Captured) -> Redacted {
        let header = |name: &str| {
            headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name))
                .map(|header| header.value.trim())
        };
        let is_plain = header("content-encoding").is_none_or(|value| {
            value.split(',').all(|one| one.trim().is_empty() || one.trim().eq_ignore_ascii_case("identity"))
        });
        let is_empty = body.head.is_empty() && body.tail.is_empty();
        if !is_plain && !is_empty {
            return Redacted { text: COMPRESSED.to_owned(), is_exact: false };
        }
        let media = media(header("content-type").unwrap_or_default());
        if body.dropped > 0 {
            return Redacted { text: self.cut(media, body), is_exact: false };
        }
        let bytes: Cow<'_, [u8]> = if body.tail.is_empty() {
            Cow::Borrowed(&body.head)
        } else {
            Cow::Owned([&body.head[..], &body.tail[..]].concat())
        };
        let text = String::from_utf8_lossy(&bytes);
        let is_text = matches!(text, Cow::Borrowed(_));
        let clean = self.whole(media, &text);
        let is_exact = is_text && *clean == *text;
        Redacted { text: clean.into_owned(), is_exact }
    }

    fn whole<'a>(&self, media: Media, text: &'a str) -> Cow<'a, str> {
        match media {
            Media::Json => self.json(text),
            Media::Lines => self.lines(text),
            Media::Events => self.events(text, Edges::default()),
            Media::Form => {
                let mut edits = Vec::new();
                self.find(text, 0, &mut edits);
                self.query(text, 0..text.len(), 0, &mut edits);
                apply(text, edits)
            }
            Media::Text => self.text(text),
        }
    }

    /// JSON line by line.
    fn lines<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut edits = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let bare = line.trim_end_matches(['\n', '\r']);
            let clean = self.json(bare);
            if *clean != *bare {
                edits.push(Edit::new(at..at + bare.len(), clean.into_owned()));
            }
            at += line.len();
        }
        apply(text, edits)
    }

    /// Head, gap, tail.
    fn cut(&self, media: Media, body: &Captured) -> String {
        let head_end = body.head.len() - self.loose_end(&body.head);
        let tail_start = self.loose_start(&body.tail);
        let head = String::from_utf8_lossy(&body.head[..head_end]);
        let tail = String::from_utf8_lossy(&body.tail[tail_start..]);
        // What of the two can be read.
        let (head, tail) = match media {
            // Half a line is read by nobody.
            Media::Lines => (before(&head, &["\n"]).unwrap_or_default(), after(&tail, &["\n"])),
            // Half an event does not tell what it is a piece of, unless there is no other.
            Media::Events => (before(&head, EVENT_ENDS).unwrap_or(&head), after(&tail, EVENT_ENDS)),
            Media::Json | Media::Form | Media::Text => (&*head, &*tail),
        };
        let read = head.len();
        let (head, (tail, kept)) = match media {
            Media::Json => self.cut_json(head, tail),
            Media::Events => {
                let head = self.events(head, Edges { end: true, ..Edges::default() });
                let clean = self.events(tail, Edges { start: true, ..Edges::default() });
                (head, (clean, tail.len()))
            }
            _ => (self.whole(media, head), (self.whole(media, tail), tail.len())),
        };
        let beside = (body.head.len().saturating_sub(read) + body.tail.len().saturating_sub(kept)) as u64;
        format!("{head}\n[... {} bytes not kept ...]\n{tail}", body.dropped + beside)
    }

    /// Both ends of a document, and how much of the tail was kept.
    fn cut_json<'a>(&self, head: &'a str, tail: &'a str) -> (Cow<'a, str>, (Cow<'a, str>, usize)) {
        let nothing = (Cow::Borrowed(""), 0);
        let mut scan = Scan::new(self, head, 0);
        match scan.run(Start::Document) {
            Shape::Broken => return (NOT_JSON.into(), nothing),
            Shape::Several => return (EXTRA_JSON.into(), nothing),
            // Where the secret ends is not known.
            Shape::Cut { hidden: true } => return (apply(head, scan.edits), nothing),
            Shape::Cut { hidden: false } | Shape::Empty | Shape::One => {}
        }
        // From any other place than where it begins it is no end of a document.
        let clean = self.tail(tail, 0).map(|edits| (apply(tail, edits), tail.len()));
        (apply(head, scan.edits), clean.unwrap_or(nothing))
    }

    /// How many bytes at the end of a head may belong to a secret that goes on in the gap.
    fn loose_end(&self, bytes: &[u8]) -> usize {
        let mut end = bytes.len();
        let floor = bytes.len().saturating_sub(EDGE_BYTES_MAX);
        loop {
            let word = bytes[floor.min(end)..end].iter().rev().take_while(|byte| is_word(**byte)).count();
            let cut = word.max(self.begun_bytes(&bytes[..end]));
            if cut == 0 || end <= floor {
                return bytes.len() - end;
            }
            end -= cut.min(end);
        }
    }

    /// How many bytes at the start of a tail may belong to a secret that began in the gap.
    fn loose_start(&self, bytes: &[u8]) -> usize {
        let mut start = 0;
        let ceiling = bytes.len().min(EDGE_BYTES_MAX);
        loop {
            let word = bytes[start..ceiling.max(start)].iter().take_while(|byte| is_word(**byte)).count();
            let cut = word.max(self.ended_bytes(&bytes[start..]));
            if cut == 0 || start >= ceiling {
                return start;
            }
            start += cut;
        }
    }
}

fn media(content_type: &str) -> Media {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "" | "application/json" | "text/json" => Media::Json,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Media::Lines
        }
        "text/event-stream" => Media::Events,
        "application/x-www-form-urlencoded" => Media::Form,
        other if other.ends_with("+json") => Media::Json,
        _ => Media::Text,
    }
}

const EVENT_ENDS: &[&str] = &["\n\n", "\r\n\r\n", "\r\r"];

/// Everything up to the last of the ends of a line or an event.
fn before<'a>(text: &'a str, ends: &[&str]) -> Option<&'a str> {
    let last = ends.iter().filter_map(|end| Some(text.rfind(end)? + end.len())).max();
    last.map(|at| &text[..at])
}

/// Everything after the first of the ends of a line or an event.
fn after<'a>(text: &'a str, ends: &[&str]) -> &'a str {
    let first = ends.iter().filter_map(|end| text.find(end).map(|at| at + end.len())).min();
    first.map_or("", |at| &text[at..])
}

/// What words, keys and their escapes are made of.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~+/=%:@\\\xef\xbf\xbd".contains(&byte) || byte >= 0x80
}
