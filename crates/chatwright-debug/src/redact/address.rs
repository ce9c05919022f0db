//! Secrets in addresses: who asks, and what their parameters are called.

use std::ops::Range;

use super::Redactor;
use super::edit::{Edit, apply};
use super::json::NESTED_MAX;

/// What stands in an address where a secret was.
pub(super) const ADDRESS_MARK: &str = "%5BREDACTED%5D";

/// What stands where an address was that cannot be read and has something to hide.
pub(super) const UNREADABLE: &str = "[REDACTED_URL]";

/// The range of an address around its `://`; `None` if that is none.
pub(super) fn extent(text: &str, mark: usize) -> Option<Range<usize>> {
    const SCHEME_BYTES_MAX: usize = 20;
    let bytes = text.as_bytes();
    let is_scheme = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let scheme = bytes[..mark].iter().rev().take(SCHEME_BYTES_MAX).take_while(is_scheme).count();
    let start = (mark - scheme..mark).find(|&at| bytes[at].is_ascii_alphabetic())?;
    let mut open = 0_usize;
    let mut end = mark + 3;
    for (at, c) in text[end..].char_indices() {
        match c {
            ' ' | '\t' | '\r' | '\n' | '"' | '\'' | '<' | '>' | '`' | '\\' => break,
            '(' | '[' => open += 1,
            ')' | ']' if open == 0 => break,
            ')' | ']' => open -= 1,
            _ => {}
        }
        end = mark + 3 + at + c.len_utf8();
    }
    while end > mark + 3 && b".,;:!?*".contains(&bytes[end - 1]) {
        end -= 1;
    }
    Some(start..end)
}

impl Redactor {
    /// An address without its user, with a mark for each secret in it. Everything else, and its order, stays.
    pub fn url(&self, url: &str) -> String {
        let mut edits = Vec::new();
        self.find(url, NESTED_MAX, &mut edits);
        edits.iter_mut().for_each(|edit| edit.with = ADDRESS_MARK.into());
        match url.find("://") {
            Some(mark) => self.address(url, &(0..url.len()), mark, 0, &mut edits),
            None => self.path_and_query(url, 0..url.len(), 0, &mut edits),
        }
        apply(url, edits).into_owned()
    }

    /// The user, the password and the secret parameters of an address.
    pub(super) fn secrets_of_address(&self, url: &str, secrets: &mut Vec<String>) {
        let mut edits = Vec::new();
        if let Some(mark) = url.find("://") {
            self.address(url, &(0..url.len()), mark, 0, &mut edits);
        }
        for edit in edits {
            let secret = &url[edit.at];
            if edit.with == ADDRESS_MARK {
                secrets.extend([secret.to_owned(), decoded(secret)]);
            } else if let Some(user) = secret.strip_suffix('@') {
                let password = user.split_once(':').map_or(user, |(_, password)| password);
                secrets.extend([user.to_owned(), password.to_owned(), decoded(password)]);
            }
        }
    }

    /// Edits of the address `text[at]`, whose `://` is at `mark`.
    pub(super) fn address(
        &self,
        text: &str,
        at: &Range<usize>,
        mark: usize,
        nested: usize,
        edits: &mut Vec<Edit>,
    ) {
        let authority = mark + 3;
        let end = text[authority..at.end].find(['/', '?', '#']).map_or(at.end, |first| authority + first);
        // A password may hold what ends an authority: then the last `@` before the query decides.
        let path_end = text[authority..at.end].find(['?', '#']).map_or(at.end, |first| authority + first);
        let late = text[end..path_end].find('@').is_some_and(|_| text[authority..end].contains(':'))
            && !is_host(&text[authority..end]);
        let user_end = if late { path_end } else { end };
        let user = text[authority..user_end].rfind('@').map(|last| authority + last + 1);
        let host_end = if late {
            let host = user.unwrap_or(authority);
            text[host..at.end].find(['/', '?', '#']).map_or(at.end, |first| host + first)
        } else {
            end
        };
        let host = user.unwrap_or(authority)..host_end;
        let hides = user.is_some() || text[host_end..at.end].contains('=');
        if !is_host(&text[host.clone()]) && hides {
            edits.push(Edit::new(at.clone(), UNREADABLE));
            return;
        }
        if let Some(user) = user {
            edits.push(Edit::new(authority..user, ""));
        }
        self.path_and_query(text, host_end..at.end, nested, edits);
    }

    /// Edits of a path with its query and its fragment.
    pub(super) fn path_and_query(&self, text: &str, at: Range<usize>, nested: usize, edits: &mut Vec<Edit>) {
        let query = text[at.clone()].find(['?', '#']).map_or(at.end, |first| at.start + first);
        for part in parts(text, at.start..query, &['/']) {
            self.encoded(text, part, nested, edits);
        }
        if query < at.end {
            self.query(text, query + 1..at.end, nested, edits);
        }
    }

    /// Edits of `name=value&…`.
    pub(super) fn query(&self, text: &str, at: Range<usize>, nested: usize, edits: &mut Vec<Edit>) {
        for part in parts(text, at, &['&', ';', '#', '?']) {
            let Some(equals) = text[part.clone()].find('=').map(|first| part.start + first) else {
                self.encoded(text, part, nested, edits);
                continue;
            };
            let (name, value) = (decoded(&text[part.start..equals]), equals + 1..part.end);
            if self.inner.names.is_secret_parameter(&name) && !value.is_empty() {
                edits.push(Edit::new(value, ADDRESS_MARK));
            } else {
                self.encoded(text, value, nested, edits);
            }
        }
    }

    /// A part that may be percent-encoded: if a secret is in what it means, it goes as a whole.
    fn encoded(&self, text: &str, at: Range<usize>, nested: usize, edits: &mut Vec<Edit>) {
        let raw = &text[at.clone()];
        if raw.contains(['%', '+']) && !self.leaf(&decoded(raw), nested + 1).is_empty() {
            edits.push(Edit::new(at, ADDRESS_MARK));
        }
    }
}

fn parts(text: &str, at: Range<usize>, between: &'static [char]) -> impl Iterator<Item = Range<usize>> {
    let start = at.start;
    let mut next = start;
    text[at].split(between).map(move |part| {
        let from = next;
        next = from + part.len() + 1;
        from..from + part.len()
    })
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    };
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '~');
    let is_literal = name.starts_with('[')
        && name.ends_with(']')
        && name[1..name.len() - 1].chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '%'));
    let is_port = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    is_port && !name.is_empty() && (is_literal || name.chars().all(is_name))
}

/// What a percent-encoded text means. What is no encoding stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', ..) => {
                out.push(b' ');
                at += 1;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
