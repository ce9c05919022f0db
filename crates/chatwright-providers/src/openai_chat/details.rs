//! What servers send beside thoughts and calls, and want back as it came.

use chatwright_core::content::{Metadata, Part};
use serde_json::{Map, Value};

use crate::metadata;

/// Most bytes of one answer.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where the proofs of thoughts stand: OpenRouter sends them, whatever model is behind it.
pub(super) const THOUGHTS: &str = "reasoning_details";
/// Where Google's own server of this format puts the signature of a call.
pub(super) const CALL: &str = "extra_content";

/// Proved thoughts, put together from their pieces.
#[derive(Debug, Default)]
pub(super) struct Details {
    items: Vec<Map<String, Value>>,
    bytes: usize,
}

impl Details {
    /// Takes pieces.
    ///
    /// # Errors
    /// They are over their bound.
    pub(super) fn push(&mut self, pieces: Vec<Value>) -> Result<(), &'static str> {
        for piece in pieces {
            let Value::Object(piece) = piece else { continue };
            self.bytes += 64 + piece.values().filter_map(Value::as_str).map(str::len).sum::<usize>();
            if self.bytes > BYTES_MAX {
                return Err("the thoughts are too large");
            }
            let same = |item: &&mut Map<String, Value>| {
                ["type", "index"].iter().all(|&name| item.get(name) == piece.get(name))
            };
            match self.items.last_mut().filter(same) {
                Some(item) => go_on(item, piece),
                None => self.items.push(piece),
            }
        }
        Ok(())
    }

    /// All of them, as the metadata of a thought without words; `None` if there are none.
    pub(super) fn take(&mut self, provider: &str) -> Option<Metadata> {
        let items = std::mem::take(&mut self.items);
        (!items.is_empty())
            .then(|| attached(provider, THOUGHTS, items.into_iter().map(Value::Object).collect()))
    }
}

/// Words go on where they stopped; everything else is what was said last.
fn go_on(item: &mut Map<String, Value>, piece: Map<String, Value>) {
    for (name, value) in piece {
        match (item.get_mut(&name), value) {
            (_, Value::Null) => {}
            (Some(Value::String(words)), Value::String(more))
                if matches!(name.as_str(), "text" | "summary" | "data") =>
            {
                words.push_str(&more);
            }
            (_, value) => drop(item.insert(name, value)),
        }
    }
}

/// What a provider is to get back.
pub(super) fn attached(provider: &str, name: &str, value: Value) -> Metadata {
    metadata::of(provider, Map::from_iter([(name.to_owned(), value)]))
}

/// The proved thoughts of an answer that this provider gave.
pub(super) fn thoughts(provider: &str, content: &[Part]) -> Vec<Value> {
    let of_part = |part: &Part| match part {
        Part::Reasoning { metadata, .. } => {
            metadata::attached(provider, metadata, THOUGHTS)?.as_array().cloned()
        }
        _ => None,
    };
    content.iter().filter_map(of_part).flatten().collect()
}
