//! What the tools that Anthropic runs gave, and blocks of types that this version does not know.

use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::model::ModelPart;
use serde_json::{Map, Value, json};

use super::metadata;

/// The items that a finished block of another kind makes. `name` is the tool of the call that it answers, if it answers one.
pub(super) fn items(block: Map<String, Value>, name: Option<Box<str>>, parts: &mut Vec<ModelPart>) {
    let kind = block.get("type").and_then(Value::as_str).unwrap_or_default();
    let call_id = block.get("tool_use_id").and_then(Value::as_str);
    let (Some(tool), Some(call_id)) = (kind.strip_suffix("_tool_result"), call_id) else {
        // The name keeps it apart from the types of parts and from blocks of other providers.
        let kind = format!("anthropic.{kind}");
        return parts
            .push(ModelPart::Item(Part::Unknown(json!({"type": kind, "block": Value::Object(block)}))));
    };
    let content = block.get("content").unwrap_or(&Value::Null);
    parts.extend(sources(content).map(ModelPart::Item));
    let failed = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
    let output = match content["error_code"].as_str() {
        Some(code) => Output::error(code),
        None if failed => Output::error(readable(content)),
        None => Output::text(readable(content)),
    };
    let (call_id, name) = (call_id.into(), name.unwrap_or_else(|| tool.into()));
    let metadata = metadata(Map::from_iter([("block".to_owned(), Value::Object(block))]));
    parts.push(ModelPart::Item(Part::ToolResult {
        call_id,
        name,
        output,
        provider_executed: true,
        metadata,
    }));
}

/// The pages that a search found.
fn sources(content: &Value) -> impl Iterator<Item = Part> {
    let is_hit = |hit: &&Value| hit["type"] == "web_search_result";
    content.as_array().into_iter().flatten().filter(is_hit).map(|hit| {
        let word = |name: &str| hit[name].as_str().map(Into::into);
        Part::Source {
            id: word("url").unwrap_or_default(),
            url: word("url"),
            title: word("title"),
            media_type: None,
            name: None,
            metadata: Metadata::new(),
        }
    })
}

/// A result for people: its texts, or JSON without what only the provider can read.
fn readable(content: &Value) -> String {
    let texts: Option<Vec<&str>> =
        content.as_array().and_then(|items| items.iter().map(|item| item["text"].as_str()).collect());
    match texts {
        Some(texts) if !texts.is_empty() => texts.join("\n"),
        _ => {
            let mut content = content.clone();
            without_opaque(&mut content);
            content.to_string()
        }
    }
}

fn without_opaque(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let bytes = fields.get("type").is_some_and(|kind| kind == "base64");
            fields.retain(|name, _| !(name.starts_with("encrypted_") || bytes && name == "data"));
            fields.values_mut().for_each(without_opaque);
        }
        Value::Array(items) => items.iter_mut().for_each(without_opaque),
        _ => {}
    }
}
