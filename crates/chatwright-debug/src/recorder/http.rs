//! What goes over HTTP, as far as there is room for it.

use std::collections::VecDeque;
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
    head_max: usize,
    /// What came last behind the beginning. It has as much as is to be kept and less than two blocks more; less, where there is no
    /// memory.
    tail: VecDeque<Vec<u8>>,
    tail_bytes: usize,
    tail_max: usize,
    /// How many bytes went over the wire.
    pub(super) bytes: u64,
    grant: Grant,
}

impl Body {
    fn new(max: usize, grant: Grant) -> Self {
        Self {
            head: Vec::new(),
            head_bytes: 0,
            head_max: max / 2,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_max: max / 2,
            bytes: 0,
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
            if !self.head.last().is_some_and(has_room) && !self.grow_head(bytes.len()) {
                self.head_max = self.head_bytes;
                break;
            }
            let block = self.head.last_mut().expect("there is one with room");
            let room = (block.capacity() - block.len()).min(self.head_max - self.head_bytes);
            let taken = take(&mut bytes, room);
            block.extend_from_slice(taken);
            self.head_bytes += taken.len();
        }
        // Of what does not fit any more the end is kept.
        let skipped = bytes.len().saturating_sub(self.tail_max);
        take(&mut bytes, skipped);
        while !bytes.is_empty() {
            if !self.tail.back().is_some_and(has_room) && !self.go_round() {
                break;
            }
            let block = self.tail.back_mut().expect("there is one with room");
            let room = block.capacity() - block.len();
            let taken = take(&mut bytes, room);
            block.extend_from_slice(taken);
            self.tail_bytes += taken.len();
        }
    }

    /// Puts another block behind those of the beginning, if there is memory for it.
    fn grow_head(&mut self, next: usize) -> bool {
        // The first block is as long as what comes first: most bodies of requests come whole.
        let bytes = if self.head.is_empty() { next } else { BLOCK_BYTES };
        let bytes = bytes.clamp(BLOCK_BYTES / 8, self.head_max.max(BLOCK_BYTES / 8));
        let has_memory = self.grant.grow(bytes);
        if has_memory {
            let block = if bytes == BLOCK_BYTES { self.grant.block() } else { Vec::with_capacity(bytes) };
            self.head.push(block);
        }
        has_memory
    }

    /// Makes room behind the end: with another block, with the oldest one if it is not needed any more, or if there is no memory.
    /// Whether there is room.
    fn go_round(&mut self) -> bool {
        let is_spare = |oldest: &Vec<u8>| self.tail_bytes >= self.tail_max + oldest.len();
        if !self.tail.front().is_some_and(is_spare) && self.grant.grow(BLOCK_BYTES) {
            self.tail.push_back(self.grant.block());
            return true;
        }
        let Some(mut oldest) = self.tail.pop_front() else { return false };
        // Of the only one the newer half stays: the last bytes say how an answer ended.
        let spare = if self.tail.is_empty() { oldest.len() / 2 } else { oldest.len() };
        self.tail_bytes -= spare;
        oldest.drain(..spare);
        self.tail.push_back(oldest);
        true
    }

    /// How many bytes are between the two.
    pub(super) fn dropped(&self) -> u64 {
        self.bytes - self.kept() as u64
    }

    /// How many are kept.
    pub(super) fn kept(&self) -> usize {
        self.head_bytes + self.tail_bytes.min(self.tail_max)
    }

    /// Its beginning and its end, and what was held for it.
    pub(super) fn into_parts(mut self) -> (Vec<u8>, Vec<u8>, Grant) {
        let head = match self.head.len() {
            1 => self.head.remove(0),
            _ => self.head.concat(),
        };
        let mut spare = self.tail_bytes.saturating_sub(self.tail_max);
        let mut tail = Vec::with_capacity(self.tail_bytes - spare);
        for block in &self.tail {
            let skipped = spare.min(block.len());
            spare -= skipped;
            tail.extend_from_slice(&block[skipped..]);
        }
        self.grant.put_back(self.head.into_iter().chain(self.tail));
        (head, tail, self.grant)
    }
}

fn has_room(block: &Vec<u8>) -> bool {
    block.len() < block.capacity()
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    taken
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
        let sent = Sent { method: request.method.into(), url: request.url.into(), headers, body };
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
        let received = Box::new(Received { head, body, end, error, took });
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
    fn an_end_goes_round_and_without_memory_sooner() {
        // Of the last one, the last block has just been begun.
        let bodies = [40 * BLOCK_BYTES, 40 * BLOCK_BYTES + 80];
        let bodies = bodies.map(|bytes| (0..bytes).map(|n| (n % 251) as u8).collect::<Vec<u8>>());
        let chunks = [1_400, BLOCK_BYTES, 9 * BLOCK_BYTES];
        for (all, chunk) in bodies.iter().flat_map(|all| chunks.map(|chunk| (all, chunk))) {
            // Memory for as many blocks of the end.
            for blocks in [0, 1, 3, 100] {
                let max = 8 * BLOCK_BYTES + 100;
                let first = chunk.clamp(BLOCK_BYTES / 8, max / 2);
                let head = first + (max / 2 - first).div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
                let bytes = head + blocks * BLOCK_BYTES;
                let budget = Budget::new(bytes);
                let mut body = Body::new(max, budget.nothing());
                all.chunks(chunk).for_each(|chunk| body.push(chunk));
                let (kept, dropped) = (body.kept(), body.dropped());
                let held = bytes - budget.left();
                assert!(held <= bytes.min(head + max / 2 + 2 * BLOCK_BYTES), "{held} are held");
                let (head, tail, grant) = body.into_parts();
                assert!(head == all[..max / 2] && all.ends_with(&tail), "{chunk} {blocks}");
                assert_eq!((kept, dropped), (head.len() + tail.len(), (all.len() - kept) as u64));
                let least = match blocks {
                    0 => 0,
                    1 => BLOCK_BYTES / 2,
                    3 => 2 * BLOCK_BYTES,
                    _ => max / 2,
                };
                assert!(tail.len() >= least && tail.len() <= max / 2, "{chunk} {blocks}: {}", tail.len());
                assert_eq!(tail.is_empty(), blocks == 0);
                drop(grant);
                assert_eq!(budget.left(), bytes, "all of it comes back");
            }
        }
    }

    #[test]
    fn without_room_the_length_is_known_all_the_same() {
        let mut body = Body::new(8, Budget::new(0).nothing());
        body.push(b"abcdefghijk");
        assert_eq!((body.kept(), body.bytes, body.dropped()), (0, 11, 11));
    }
}
