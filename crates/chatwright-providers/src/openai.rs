//! What OpenAI's protocols have in common.

use serde_json::{Map, Value, json};

/// Most characters of the name of a tool.
const TOOL_NAME_CHARS_MAX: usize = 64;

/// The schema of a tool's arguments. One of no properties must say so.
pub(crate) fn parameters(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(fields) = schema.as_object_mut() {
        let kind = fields.entry("type").or_insert_with(|| "object".into());
        if kind == "object" {
            fields.entry("properties").or_insert_with(|| Map::new().into());
        }
    }
    schema
}

/// The schema that an answer must keep to.
pub(crate) fn answer_schema(name: &str, description: &str, schema: &Value, strict: bool) -> Value {
    let mut format = json!({"name": name, "schema": schema, "strict": strict});
    if !description.is_empty() {
        format["description"] = description.into();
    }
    format
}

/// The arguments of a call as they are sent: others than an object would be refused by some servers, and the thread with them.
pub(crate) fn arguments(input: &str) -> &str {
    if serde_json::from_str::<Map<String, Value>>(input).is_ok() { input } else { "{}" }
}

/// The name of a tool that was called. Models make up others than they were told, and one of other letters would be refused, and
/// the thread with it.
pub(crate) fn tool_name(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    let name: String = name.chars().map(allowed).take(TOOL_NAME_CHARS_MAX).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}
