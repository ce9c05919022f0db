//! What went over HTTP.

use super::super::http::{Received, Sent};
use super::super::job::CallNumber;
use super::{Writer, heavy, millis};
use crate::doc::{BodyDoc, ExchangeDoc};
use crate::redact::Captured;

/// Most bytes of all headers of a message.
const HEADERS_BYTES_MAX: usize = 32 * 1024;

impl Writer {
    pub(super) async fn sent(&mut self, call: CallNumber, number: u32, sent: Sent) {
        let Some((open, _)) = self.tracks.of_call(call) else { return };
        let (chat, run) = (open.chat, open.run);
        let redactor = open.redactor.for_exchange(&sent.headers, &sent.url);
        open.redactor = redactor.clone();
        let Sent { method, url, headers, body } = sent;
        let bytes = body.kept();
        let (length, dropped) = (body.bytes, body.dropped());
        let made = heavy(bytes, move || {
            let (head, tail, _grant) = body.into_parts();
            let captured = Captured { head, tail, dropped };
            let text = redactor.body(&headers, &captured).text;
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
            (doc, text)
        });
        let Some((mut doc, text)) = made.await else { return };
        let kept = self.kept(chat, run, text.as_bytes()).await;
        doc.request_body = (length > 0).then_some(BodyDoc { bytes: length, dropped_bytes: dropped, kept });
        if let Some((open, _)) = self.tracks.of_call(call) {
            open.exchanges.insert(number, doc);
        }
    }

    pub(super) async fn received(&mut self, call: CallNumber, number: u32, received: Received) {
        let Some((open, _)) = self.tracks.of_call(call) else { return };
        let (chat, run) = (open.chat, open.run);
        let redactor = open.redactor.clone();
        // Where the request was dropped, this is still worth something.
        let mut doc = open.exchanges.remove(&number).unwrap_or_default();
        let Received { head, body, end, error, took } = received;
        let (length, dropped) = (body.bytes, body.dropped());
        let bytes = body.kept();
        let made = heavy(bytes, move || {
            let (status, headers, head_after) = match head {
                Some((status, headers, after)) => (Some(status), headers, Some(after)),
                None => (None, Vec::new(), None),
            };
            let (head, tail, _grant) = body.into_parts();
            let captured = Captured { head, tail, dropped };
            let text = redactor.body(&headers, &captured).text;
            (doc.status, doc.head_ms) = (status, head_after.map(millis));
            doc.response_headers = bounded(redactor.headers(&headers));
            (doc.end, doc.duration_ms) = (end.into(), millis(took));
            doc.error = error.map(|words| redactor.error(&words).into());
            (doc, text)
        });
        let Some((mut doc, text)) = made.await else { return };
        let kept = self.kept(chat, run, text.as_bytes()).await;
        doc.response_body = (length > 0).then_some(BodyDoc { bytes: length, dropped_bytes: dropped, kept });
        if let Some((open, _)) = self.tracks.of_call(call) {
            open.exchanges.insert(number, doc);
        }
    }
}

/// The path of an address.
fn path_of(url: &str) -> &str {
    let behind = url.find("://").map_or(url, |at| &url[at + 3..]);
    let path = behind.find('/').map_or("", |at| &behind[at..]);
    &path[..path.find(['?', '#']).unwrap_or(path.len())]
}

/// As many headers as there is room for.
fn bounded(headers: Vec<(Box<str>, Box<str>)>) -> Vec<(Box<str>, Box<str>)> {
    let mut room = HEADERS_BYTES_MAX;
    let fits = |(name, value): &(Box<str>, Box<str>)| {
        let bytes = name.len() + value.len();
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    };
    headers.into_iter().take_while(fits).collect()
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
