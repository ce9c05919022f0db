//! Secrets in HTTP headers.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chatwright_core::port::HttpHeader;

use super::Redactor;
use super::edit::{MARK, apply};

impl Redactor {
    /// Headers without their secrets, each once, in the order in which their names come first: the values of one name are
    /// joined by `, `. One that was set as a secret goes whatever it is called.
    pub fn headers(&self, headers: &[HttpHeader]) -> Vec<(Box<str>, Box<str>)> {
        struct Joined {
            name: String,
            values: Vec<String>,
            is_secret: bool,
        }
        let mut joined: Vec<Joined> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for header in headers {
            let name = header.name.to_ascii_lowercase();
            let place = *places.entry(name.clone()).or_insert_with(|| {
                let is_secret = self.inner.names.is_secret_header(&name);
                joined.push(Joined { name, values: Vec::new(), is_secret });
                joined.len() - 1
            });
            let one = &mut joined[place];
            one.is_secret |= header.sensitive;
            if !one.is_secret {
                one.values.push(self.header(&header.value));
            }
        }
        joined
            .into_iter()
            .map(|one| {
                let name = self.text(&one.name).into();
                (name, if one.is_secret { MARK.into() } else { one.values.join(", ").into() })
            })
            .collect()
    }

    fn header(&self, value: &str) -> String {
        let mut edits = self.leaf(value, 0);
        if value.starts_with('/') {
            self.path_and_query(value, 0..value.len(), 0, &mut edits);
        }
        apply(value, edits).into_owned()
    }

    /// For the rest of one exchange: whatever its request sent as a secret is one, wherever a server sends it back. Taken
    /// are the values of headers that go and their parts, and from the address the user, the password and the parameters
    /// that go. Those of less than [`SECRET_BYTES_MIN`](super::SECRET_BYTES_MIN) bytes are not looked for.
    pub fn for_exchange(&self, headers: &[HttpHeader], url: &str) -> Self {
        let mut secrets: Vec<String> = Vec::new();
        for header in headers {
            let name = header.name.to_ascii_lowercase();
            if header.sensitive || self.inner.names.is_secret_header(&name) {
                parts(&name, &header.value, &mut secrets);
            }
        }
        self.secrets_of_address(url, &mut secrets);
        self.with_secrets(secrets.iter().map(String::as_str))
    }
}

/// A header's value, what follows its scheme, the password in it, the values of cookies.
fn parts(name: &str, value: &str, secrets: &mut Vec<String>) {
    let value = value.trim();
    secrets.push(value.to_owned());
    if let Some((_, rest)) = value.split_once(' ') {
        let rest = rest.trim();
        secrets.push(rest.to_owned());
        if let Ok(Ok(pair)) = STANDARD.decode(rest).map(String::from_utf8) {
            secrets.extend(pair.split_once(':').map(|(_, password)| password.to_owned()));
            secrets.push(pair);
        }
    }
    if name.ends_with("cookie") {
        let values = value.split(';').filter_map(|pair| pair.split_once('='));
        secrets.extend(values.map(|(_, value)| value.trim().trim_matches('"').to_owned()));
    }
}
