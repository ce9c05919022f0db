//! What goes over HTTP, as far as there is room for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chatwright_core::port::{HttpEnd, HttpExchange, HttpHeader, HttpObserver, HttpRequest, HttpResponse};
use tokio::time::Instant;

use super::Shared;
use super::budget::{BLOCK_BYTES, Grant};
use super::job::{CallNumber, Job};
use super::weight::of_headers;

/// A body, as far as there was room for it: its beginning and its end.
pub(super) struct Body {
    /// All blocks but the last are full.
    head: Vec<Vec<u8>>,
    head_bytes: usize,
    tail: Vec<u8>,
    /// How many bytes went over the wire.
    pub(super) bytes: u64,
    /// Most bytes of each of the two.
    head_max: usize,
    tail_max: usize,
    /// Where in the tail its oldest byte is.
    turn: usize,
    tail_granted: usize,
    grant: Grant,
}

impl Body {
    fn new(max: usize, grant: Grant) -> Self {
        Self {
            head: Vec::new(),
            head_bytes: 0,
            tail: Vec::new(),
            bytes: 0,
            head_max: max / 2,
            tail_max: max / 2,
            turn: 0,
            tail_granted: 0,
            grant,
        }
    }

    /// The headers beside it, if there is room for them: those without which it cannot be read, if not.
    fn room_for(&mut self, headers: &[HttpHeader]) -> Vec<HttpHeader> {
        if self.grant.grow(of_headers(headers)) {
            return headers.to_vec();
        }
        // Without the sensitive ones it would not be known what in the body is secret.
        let needed = |header: &&HttpHeader| header.sensitive || header.name.starts_with("content-");
        headers.iter().filter(needed).cloned().collect()
    }

    fn push(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        while self.head_bytes < self.head_max && !bytes.is_empty() {
            let room = match self.head.last() {
                Some(block) if block.len() < block.capacity() => block.capacity() - block.len(),
                _ => {
                    // The first block is as long as what comes first.
                    let block = if self.head.is_empty() { bytes.len() } else { BLOCK_BYTES };
                    let block = block.clamp(BLOCK_BYTES / 8, self.head_max.max(BLOCK_BYTES / 8));
                    if !self.grant.grow(block) {
                        self.head_max = self.head_bytes;
                        break;
                    }
                    self.head.push(match block {
                        BLOCK_BYTES => self.grant.block(),
                        // Most bodies of requests come whole.
                        block => Vec::with_capacity(block),
                    });
                    block
                }
            };
            let taken = room.min(self.head_max - self.head_bytes).min(bytes.len());
            let block = self.head.last_mut().expect("there is one with room");
            block.extend_from_slice(&bytes[..taken]);
            self.head_bytes += taken;
            bytes = &bytes[taken..];
        }
        // Of what does not fit any more the end is kept.
        let skipped = bytes.len().saturating_sub(self.tail_max);
        bytes = &bytes[skipped..];
        let grows = (self.tail_max - self.tail.len()).min(bytes.len());
        if grows > 0 {
            if self.has_room(grows) {
                self.tail.extend_from_slice(&bytes[..grows]);
                bytes = &bytes[grows..];
            } else {
                self.tail_max = self.tail.len();
            }
        }
        if self.tail.is_empty() {
            return;
        }
        bytes = &bytes[bytes.len().saturating_sub(self.tail.len())..];
        // At most as much as the end is long: it goes round once.
        let (behind, round) = bytes.split_at(bytes.len().min(self.tail.len() - self.turn));
        self.tail[self.turn..self.turn + behind.len()].copy_from_slice(behind);
        self.tail[..round.len()].copy_from_slice(round);
        self.turn = (self.turn + bytes.len()) % self.tail.len();
    }

    /// The end grows as it is copied: it has up to twice its length.
    fn has_room(&mut self, bytes: usize) -> bool {
        let needed = 2 * (self.tail.len() + bytes);
        needed <= self.tail_granted || {
            let more = (needed - self.tail_granted).max(BLOCK_BYTES);
            let granted = self.grant.grow(more);
            self.tail_granted += if granted { more } else { 0 };
            granted
        }
    }

    /// Puts the end in its order.
    fn settle(mut self) -> Self {
        self.tail.rotate_left(self.turn);
        self.turn = 0;
        self
    }

    /// How many bytes are between the two.
    pub(super) fn dropped(&self) -> u64 {
        self.bytes - self.kept() as u64
    }

    /// How many are kept.
    pub(super) fn kept(&self) -> usize {
        self.head_bytes + self.tail.len()
    }

    /// Its beginning and its end, and what was held for it.
    pub(super) fn into_parts(self) -> (Vec<u8>, Vec<u8>, Grant) {
        let mut head = self.head;
        let head = if head.len() == 1 {
            head.remove(0)
        } else {
            let whole = head.concat();
            self.grant.put_back(head);
            whole
        };
        (head, self.tail, self.grant)
    }
}

/// A request as it was sent.
pub(super) struct Sent {
    pub(super) method: Box<str>,
    pub(super) url: Box<str>,
    pub(super) headers: Vec<HttpHeader>,
    pub(super) body: Body,
}

/// What came back.
pub(super) struct Received {
    /// The status and the headers, if there were any, and how long after the request.
    pub(super) head: Option<(u16, Vec<HttpHeader>, Duration)>,
    pub(super) body: Body,
    pub(super) end: &'static str,
    pub(super) error: Option<String>,
    pub(super) took: Duration,
}

/// Sees the exchanges of one call.
pub(super) struct Http {
    shared: Arc<Shared>,
    call: CallNumber,
    count: AtomicU32,
    /// Whoever else wants to see them.
    other: Option<Arc<dyn HttpObserver>>,
}

struct Seen {
    shared: Arc<Shared>,
    call: CallNumber,
    number: u32,
    began: Instant,
    head: Option<(u16, Vec<HttpHeader>, Duration)>,
    body: Option<Body>,
    other: Option<Box<dyn HttpExchange>>,
}

impl Http {
    pub(super) fn new(shared: Arc<Shared>, call: CallNumber, other: Option<Arc<dyn HttpObserver>>) -> Self {
        Self { shared, call, count: AtomicU32::new(0), other }
    }
}

impl HttpObserver for Http {
    fn request(&self, request: &HttpRequest<'_>) -> Box<dyn HttpExchange> {
        let other = self.other.as_ref().map(|other| other.request(request));
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let settings = &self.shared.settings;
        let mut body = Body::new(settings.request_bytes_max, self.shared.budget.nothing());
        let headers = body.room_for(request.headers);
        body.push(request.body.as_bytes());
        let sent =
            Sent { method: request.method.into(), url: request.url.into(), headers, body: body.settle() };
        self.shared.queue(Job::Sent { call: self.call, number, sent: Box::new(sent) });
        let body = Body::new(settings.response_bytes_max, self.shared.budget.nothing());
        Box::new(Seen {
            shared: Arc::clone(&self.shared),
            call: self.call,
            number,
            began: Instant::now(),
            head: None,
            body: Some(body),
            other,
        })
    }
}

impl HttpExchange for Seen {
    fn response(&mut self, response: &HttpResponse<'_>) {
        if let Some(other) = &mut self.other {
            other.response(response);
        }
        let headers = self.body.as_mut().map(|body| body.room_for(response.headers)).unwrap_or_default();
        self.head = Some((response.status, headers, self.began.elapsed()));
    }

    fn body(&mut self, bytes: &[u8]) {
        if let Some(other) = &mut self.other {
            other.body(bytes);
        }
        if let Some(body) = &mut self.body {
            body.push(bytes);
        }
    }

    fn end(mut self: Box<Self>, end: HttpEnd<'_>) {
        if let Some(other) = self.other.take() {
            other.end(end);
        }
        let (end, error) = match end {
            HttpEnd::Complete => ("complete", None),
            // Its words may be a server's: they are read without secrets later.
            HttpEnd::Failed(failure) => {
                let words = failure.message.as_deref().map_or_else(String::new, |words| format!(": {words}"));
                ("failed", Some(format!("{failure}{words}")))
            }
            _ => ("abandoned", None),
        };
        self.tell(end, error);
    }
}

impl Seen {
    fn tell(&mut self, end: &'static str, error: Option<String>) {
        let Some(body) = self.body.take() else { return };
        let (head, took) = (self.head.take(), self.began.elapsed());
        let received = Box::new(Received { head, body: body.settle(), end, error, took });
        self.shared.queue(Job::Received { call: self.call, number: self.number, received });
    }
}

impl Drop for Seen {
    /// Whoever told of it forgot its end.
    fn drop(&mut self) {
        self.tell("abandoned", None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::*;

    fn kept(max: usize, pieces: &[&str]) -> (String, String, u64) {
        let mut body = Body::new(max, Budget::new(1 << 20).nothing());
        pieces.iter().for_each(|piece| body.push(piece.as_bytes()));
        let body = body.settle();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let dropped = body.dropped();
        let (head, tail, _) = body.into_parts();
        (text(&head), text(&tail), dropped)
    }

    #[test]
    fn of_a_body_that_is_too_long_the_beginning_and_the_end_are_kept() {
        let all = ("abcd".to_owned(), "efgh".to_owned(), 0);
        assert_eq!(kept(8, &["abcdefgh"]), all);
        assert_eq!(kept(8, &["abc", "", "de", "fgh"]), all);
        let cut = ("abcd".to_owned(), "wxyz".to_owned(), 18);
        assert_eq!(kept(8, &["abcdefghijklmnopqrstuvwxyz"]), cut);
        assert_eq!(kept(8, &["ab", "cdefghij", "klmnopqrstuvw", "xyz"]), cut);
        assert_eq!(kept(8, &["abcdefg", "hij"]), ("abcd".to_owned(), "ghij".to_owned(), 2));
        assert_eq!(kept(8, &["ab"]), ("ab".to_owned(), String::new(), 0));
    }

    #[test]
    fn without_room_the_length_is_known_all_the_same() {
        let mut body = Body::new(8, Budget::new(0).nothing());
        body.push(b"abcdefghijk");
        assert_eq!((body.kept(), body.bytes, body.dropped()), (0, 11, 11));
    }
}
