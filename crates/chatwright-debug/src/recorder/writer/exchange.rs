//! What went over HTTP.

use chatwright_core::port::HttpHeader;
use chatwright_core::{ChatId, RunId};
use sha2::{Digest, Sha256};

use super::super::http::{Body, Received, Sent};
use super::super::job::CallNumber;
use super::super::payload::bounded;
use super::{Writer, heavy, millis};
use crate::doc::{BodyDoc, ExchangeDoc};
use crate::redact::{Captured, Redactor};

/// What is shorter is no key.
const KEY_BYTES_MIN: usize = 16;
/// Most keys that are learnt from requests. A host that has more of them registers them.
const KEYS_MAX: usize = 256;

impl Writer {
    pub(super) async fn sent(&mut self, call: CallNumber, number: u32, sent: Sent) {
        let Some((open, _)) = self.tracks.of_call(call) else { return };
        let (chat, run) = (open.chat, open.run);
        let redactor = open.redactor.for_exchange(&sent.headers, &sent.url);
        open.redactor = redactor.clone();
        self.learn(&sent.headers);
        let Sent { method, url, headers, body } = sent;
        let made = heavy(body.kept(), move || {
            let read = Read::new(body, &headers, &redactor);
            let address = redactor.url(&url);
            let path = path_of(&address).into();
            let doc = ExchangeDoc {
                method,
                path,
                url: address.into(),
                request_headers: bounded(redactor.headers(&headers)),
                end: "open".into(),
                ..ExchangeDoc::default()
            };
            (doc, read)
        });
        let Some((mut doc, read)) = made.await else { return };
        doc.request_body = self.kept_body(chat, run, read).await;
        if let Some((open, _)) = self.tracks.of_call(call) {
            open.exchanges.insert(number, doc);
        }
    }

    /// A key that a request was sent with is a secret from now on, also in what users and models say.
    fn learn(&mut self, headers: &[HttpHeader]) {
        const KEYS: [&str; 5] =
            ["authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key"];
        for header in headers.iter().filter(|header| header.sensitive && KEYS.contains(&&*header.name)) {
            let key = header.value.rsplit(' ').next().unwrap_or_default();
            if key.len() < KEY_BYTES_MIN || self.learnt.len() >= KEYS_MAX {
                continue;
            }
            // Of a key that is known already nothing is made anew.
            if self.learnt.insert(Sha256::digest(key).into()) {
                // One that cannot be registered, because there are too many, goes from its own exchange all the same.
                let _ = self.redactor.register(&key.into());
            }
        }
    }

    pub(super) async fn received(&mut self, call: CallNumber, number: u32, received: Received) {
        let Some((open, _)) = self.tracks.of_call(call) else { return };
        let (chat, run) = (open.chat, open.run);
        let redactor = open.redactor.clone();
        // Where the request was dropped, this is still worth something.
        let mut doc = open.exchanges.remove(&number).unwrap_or_default();
        let Received { head, body, end, error, took } = received;
        let made = heavy(body.kept(), move || {
            let (status, headers, head_after) = match head {
                Some((status, headers, after)) => (Some(status), headers, Some(after)),
                None => (None, Vec::new(), None),
            };
            let read = Read::new(body, &headers, &redactor);
            (doc.status, doc.head_ms) = (status, head_after.map(millis));
            doc.response_headers = bounded(redactor.headers(&headers));
            (doc.end, doc.duration_ms) = (end.into(), millis(took));
            doc.error = error.map(|words| redactor.error(&words).into());
            (doc, read)
        });
        let Some((mut doc, read)) = made.await else { return };
        doc.response_body = self.kept_body(chat, run, read).await;
        if let Some((open, _)) = self.tracks.of_call(call) {
            open.exchanges.insert(number, doc);
        }
    }

    /// A body with its text written. Absent: there was none.
    async fn kept_body(&mut self, chat: ChatId, run: RunId, read: Read) -> Option<BodyDoc> {
        let Read { bytes, dropped_bytes, text } = read;
        let kept = self.kept(chat, run, text.into_bytes()).await;
        (bytes > 0).then_some(BodyDoc { bytes, dropped_bytes, kept })
    }
}

/// A body without its secrets.
struct Read {
    bytes: u64,
    dropped_bytes: u64,
    text: String,
}

impl Read {
    fn new(body: Body, headers: &[HttpHeader], redactor: &Redactor) -> Self {
        let (bytes, dropped) = (body.bytes, body.dropped());
        let (head, tail, _grant) = body.into_parts();
        let text = redactor.body(headers, &Captured { head, tail, dropped }).text;
        Self { bytes, dropped_bytes: dropped, text }
    }
}

/// The path of an address.
fn path_of(url: &str) -> &str {
    let behind = url.find("://").map_or(url, |at| &url[at + 3..]);
    let path = behind.find('/').map_or("", |at| &behind[at..]);
    &path[..path.find(['?', '#']).unwrap_or(path.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_an_address_has_neither_host_nor_query() {
        assert_eq!(path_of("https://h:1/v1/chat?key=1#x"), "/v1/chat");
        assert_eq!(path_of("https://h"), "");
        assert_eq!(path_of("/v1"), "/v1");
    }
}
