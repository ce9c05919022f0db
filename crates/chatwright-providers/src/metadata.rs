//! What an adapter keeps in the metadata of parts, under a name of its own.

use chatwright_core::content::Metadata;
use serde_json::{Map, Value};

/// Metadata of these fields; none where there is nothing to say.
pub(crate) fn of(namespace: &str, fields: Map<String, Value>) -> Metadata {
    match fields.is_empty() {
        true => Metadata::new(),
        false => Metadata::from([(namespace.into(), Value::Object(fields))]),
    }
}

/// What was attached to a part under this name.
pub(crate) fn attached<'a>(namespace: &str, metadata: &'a Metadata, field: &str) -> Option<&'a Value> {
    metadata.get(namespace)?.get(field)
}
