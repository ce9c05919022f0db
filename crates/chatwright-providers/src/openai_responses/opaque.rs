//! Items that only OpenAI knows: calls of the tools that it runs, and items of types that this version does not know.

use std::collections::BTreeSet;

use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::model::ModelPart;
use serde_json::{Map, Value, json};

use super::item::word;
use super::kept;

/// The tool that an item of this type calls, if the provider runs it and the item holds its result.
pub(super) fn tool<'a>(kind: &str, item: &'a Map<String, Value>) -> Option<&'a str> {
    match kind {
        "web_search_call" => Some("web_search"),
        "file_search_call" => Some("file_search"),
        "code_interpreter_call" => Some("code_interpreter"),
        "mcp_call" => Some(word(item, "name").unwrap_or("mcp")),
        _ => None,
    }
}

/// The call of a finished item of such a type, which holds the whole item to be sent back, and its result for people.
pub(super) fn run(
    id: Box<str>,
    item: Map<String, Value>,
    provider: &str,
    told: &mut BTreeSet<String>,
    parts: &mut Vec<ModelPart>,
) {
    let kind = word(&item, "type").unwrap_or_default();
    let name: Box<str> = tool(kind, &item).unwrap_or(kind).into();
    let fields = |names: &[&str]| {
        let known = names.iter().filter_map(|&name| Some((name.to_owned(), item.get(name)?.clone())));
        Value::Object(known.collect()).to_string()
    };
    let input = match word(&item, "arguments") {
        Some(arguments) => arguments.to_owned(),
        None => match item.get("action").cloned() {
            Some(Value::Object(mut action)) => {
                action.remove("sources");
                Value::Object(action).to_string()
            }
            _ => fields(&["queries", "code"]),
        },
    };
    let error = item.get("error").filter(|error| !error.is_null());
    let failed = matches!(word(&item, "status"), Some("failed" | "incomplete"));
    let given = ["output", "results", "outputs"].iter().find_map(|&name| match item.get(name)? {
        Value::Null => None,
        given => Some(readable(given)),
    });
    let output = match error {
        Some(error) => {
            Output::error(error["message"].as_str().map_or_else(|| readable(error), str::to_owned))
        }
        None if failed => Output::error(given.unwrap_or_else(|| "it failed".to_owned())),
        None => Output::text(given.unwrap_or_default()),
    };
    let found = item.get("action").and_then(|action| action["sources"].as_array());
    let sources: Vec<Part> =
        found.into_iter().flatten().filter_map(|hit| source_of(hit, "url", "title", told)).collect();
    parts.push(ModelPart::ToolCall {
        id: id.clone(),
        name: name.clone(),
        input,
        provider_executed: true,
        metadata: kept(item, provider),
    });
    parts.push(ModelPart::Item(Part::ToolResult {
        call_id: id,
        name,
        output,
        provider_executed: true,
        metadata: Metadata::new(),
    }));
    parts.extend(sources.into_iter().map(ModelPart::Item));
}

fn readable(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A finished item of any other type.
pub(super) fn item(mut item: Map<String, Value>, provider: &str, parts: &mut Vec<ModelPart>) {
    let kind = word(&item, "type").unwrap_or_default().to_owned();
    if kind == "image_generation_call"
        && let Some(Value::String(result)) = item.get_mut("result")
        && !result.is_empty()
    {
        // The picture is a file; what else there is of the item goes with it.
        let data = FileData::Base64(std::mem::take(result).into());
        let media_type = format!("image/{}", word(&item, "output_format").unwrap_or("png")).into();
        let metadata = kept(item, provider);
        return parts.push(ModelPart::Item(Part::File { media_type, name: None, data, metadata }));
    }
    // The name keeps it apart from the types of parts and from items of other providers.
    let kind = format!("openai.{kind}");
    parts.push(ModelPart::Item(Part::Unknown(
        json!({"type": kind, "item": Value::Object(item), "provider": provider}),
    )));
}

/// What an annotation refers to, if nothing before it did.
pub(super) fn source(annotation: &Value, told: &mut BTreeSet<String>) -> Option<Part> {
    match annotation["type"].as_str()? {
        "url_citation" => source_of(annotation, "url", "title", told),
        "file_citation" | "container_file_citation" => source_of(annotation, "file_id", "filename", told),
        _ => None,
    }
}

fn source_of(value: &Value, id: &str, name: &str, told: &mut BTreeSet<String>) -> Option<Part> {
    let word = |name: &str| value[name].as_str().filter(|word| !word.is_empty());
    let (key, words) = (word(id)?, word(name).map(Into::into));
    if !told.insert(key.to_owned()) {
        return None;
    }
    let is_page = id == "url";
    Some(Part::Source {
        id: key.into(),
        url: is_page.then(|| key.into()),
        title: words.clone().filter(|_| is_page),
        media_type: None,
        name: words.filter(|_| !is_page),
        metadata: Metadata::new(),
    })
}
