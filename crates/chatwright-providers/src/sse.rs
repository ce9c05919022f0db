//! A bounded push parser of server-sent events (WHATWG HTML, section 9.2).

use memchr::memchr2;

/// Most bytes of one event unless said otherwise.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Takes bytes, cut anywhere, and gives events. Linear in its input; holds at most one event.
#[derive(Debug)]
pub struct SseParser {
    line: Vec<u8>,
    data: Vec<u8>,
    event: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    at_start: bool,
    bytes_max: usize,
}

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its type; empty if none was given.
    pub event: String,
    /// Its data lines, joined by line feeds.
    pub data: String,
}

/// What the parser found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SseItem {
    /// An event.
    Event(SseEvent),
    /// A comment, which servers send as a sign of life.
    Comment,
}

/// An event is over its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {max} bytes")]
pub struct EventTooLarge {
    /// The bound.
    pub max: usize,
}

impl SseParser {
    /// A parser that takes events of up to so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            event: Vec::new(),
            has_data: false,
            after_cr: false,
            at_start: true,
            bytes_max,
        }
    }

    /// Takes bytes in and adds what they complete to `items`.
    ///
    /// # Errors
    /// [`EventTooLarge`]; the parser is of no use afterwards.
    pub fn feed(&mut self, mut bytes: &[u8], items: &mut Vec<SseItem>) -> Result<(), EventTooLarge> {
        while !bytes.is_empty() {
            // A CR ends a line; an LF right behind it belongs to it, even in the next chunk.
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = memchr2(b'\n', b'\r', bytes);
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + self.data.len() + part.len() > self.bytes_max {
                return Err(EventTooLarge { max: self.bytes_max });
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { return Ok(()) };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            items.extend(self.end_line(&line));
            // The buffer is kept for the next line.
            self.line = line;
            self.line.clear();
        }
        Ok(())
    }

    /// The event that the end of the stream cut off before its blank line, if it has data. Whether it counts is for the
    /// protocol to say.
    pub fn finish(mut self) -> Option<SseEvent> {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.end_line(&line);
        }
        self.has_data.then(|| self.take())
    }

    fn end_line(&mut self, line: &[u8]) -> Option<SseItem> {
        let line = match std::mem::take(&mut self.at_start) {
            true => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
            false => line,
        };
        if line.is_empty() {
            if self.has_data {
                return Some(SseItem::Event(self.take()));
            }
            self.event.clear();
            return None;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(0) => return Some(SseItem::Comment),
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
            None => (line, &b""[..]),
        };
        match field {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => self.event = value.to_vec(),
            _ => {}
        }
        None
    }

    fn take(&mut self) -> SseEvent {
        self.has_data = false;
        SseEvent { event: text(std::mem::take(&mut self.event)), data: text(std::mem::take(&mut self.data)) }
    }
}

/// Whole lines are UTF-8 unless the server errs; then what is wrong is replaced.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(bytes: &[u8]) -> (Vec<SseItem>, Option<SseEvent>) {
        cut(bytes, &[])
    }

    fn cut(bytes: &[u8], cuts: &[usize]) -> (Vec<SseItem>, Option<SseEvent>) {
        let mut parser = SseParser::new(EVENT_BYTES_MAX);
        let mut items = Vec::new();
        let mut from = 0;
        for &at in cuts.iter().chain([&bytes.len()]) {
            let at = at.clamp(from, bytes.len());
            parser.feed(&bytes[from..at], &mut items).expect("small events");
            from = at;
        }
        (items, parser.finish())
    }

    /// The specification word for word, over a whole stream.
    fn reference(bytes: &[u8]) -> Vec<SseItem> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n").replace('\r', "\n");
        let (mut items, mut name, mut data) = (Vec::new(), String::new(), String::new());
        // What follows the last line end is no line.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() => {
                    let (event, data) = (std::mem::take(&mut name), std::mem::take(&mut data));
                    if let Some(data) = data.strip_suffix('\n') {
                        items.push(SseItem::Event(SseEvent { event, data: data.to_owned() }));
                    }
                }
                "" => items.push(SseItem::Comment),
                "data" => data += &format!("{value}\n"),
                "event" => name = value.to_owned(),
                _ => {}
            }
        }
        items
    }

    fn event(event: &str, data: &str) -> SseItem {
        SseItem::Event(SseEvent { event: event.to_owned(), data: data.to_owned() })
    }

    #[test]
    fn every_line_end_comments_several_data_lines_and_a_bom_are_understood() {
        let bytes = "\u{feff}data: a\r\ndata:b\r\rid: 7\ndata\n\n: ping\nevent: x\ndata: é: y\r\n\r\ndata: z";
        let (items, rest) = whole(bytes.as_bytes());
        assert_eq!(items, [event("", "a\nb"), event("", ""), SseItem::Comment, event("x", "é: y")]);
        assert_eq!(rest.map(|rest| rest.data), Some("z".to_owned()));
        assert_eq!(whole(b"event: x\n\ndata: a\n\n").0, [event("", "a")], "a type without data is forgotten");
    }

    #[test]
    fn an_event_over_its_bound_is_an_error_and_a_long_line_in_small_pieces_is_linear() {
        let mut parser = SseParser::new(100);
        let mut items = Vec::new();
        assert_eq!(parser.feed(&[b'x'; 101], &mut items), Err(EventTooLarge { max: 100 }));
        let mut parser = SseParser::new(EVENT_BYTES_MAX);
        parser.feed(b"data: ", &mut items).expect("small");
        for _ in 0..1_000_000 {
            parser.feed(b"xxxxxxxx", &mut items).expect("within the bound");
        }
        parser.feed(b"\n\n", &mut items).expect("within the bound");
        assert!(matches!(&items[..], [SseItem::Event(event)] if event.data.len() == 8_000_000));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_events(
            lines in proptest::collection::vec(prop_oneof![
                "data: ?[a-zé😀:]{0,6}", Just("event: x".to_owned()), Just(": c".to_owned()), Just(String::new()), "[a-z:\u{0}]{0,5}",
            ], 0..12),
            ends in proptest::collection::vec(prop_oneof![Just("\n"), Just("\r\n"), Just("\r")], 12),
            mut cuts in proptest::collection::vec(0..120_usize, 0..30),
        ) {
            let bytes: String = lines.iter().zip(ends).map(|(line, end)| format!("{line}{end}")).collect();
            cuts.sort_unstable();
            prop_assert_eq!(cut(bytes.as_bytes(), &cuts), whole(bytes.as_bytes()));
            prop_assert_eq!(whole(bytes.as_bytes()).0, reference(bytes.as_bytes()));
        }

        #[test]
        fn any_bytes_give_what_the_specification_says(
            bytes in proptest::collection::vec(
                prop_oneof![4 => proptest::sample::select(&b"data: event\n\n\n\r\r:x"[..]), 1 => any::<u8>()], 0..60),
            bom in any::<bool>(),
            mut cuts in proptest::collection::vec(0..64_usize, 0..20),
        ) {
            let bytes = if bom { [&b"\xef\xbb\xbf"[..], &bytes].concat() } else { bytes };
            cuts.sort_unstable();
            prop_assert_eq!(cut(&bytes, &cuts), whole(&bytes));
            prop_assert_eq!(whole(&bytes).0, reference(&bytes));
        }
    }
}
