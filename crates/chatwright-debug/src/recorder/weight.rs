//! About how much memory things take: what is asked of the budget before they are held.

use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::error::Failure;
use chatwright_core::model::{Message, ToolDefinition};
use chatwright_core::port::HttpHeader;
use serde_json::Value;

/// What a value takes beside its text.
const VALUE_BYTES: usize = 48;
/// What a part or a message takes beside its contents.
const PART_BYTES: usize = 96;

pub(super) fn of_messages(messages: &[Message]) -> usize {
    let message = |message: &Message| {
        PART_BYTES
            + message.content.iter().map(of_part).sum::<usize>()
            + message.provider_options.values().map(of_json).sum::<usize>()
    };
    messages.iter().map(message).sum()
}

pub(super) fn of_part(part: &Part) -> usize {
    let output = |output: &Output| match output {
        Output::Text { text } | Output::Error { text } => text.len(),
        Output::Media { data, text, .. } => of_file(data) + text.as_ref().map_or(0, String::len),
        _ => PART_BYTES,
    };
    PART_BYTES
        + match part {
            Part::Text { text, metadata } | Part::Reasoning { text, metadata } => {
                text.len() + of_metadata(metadata)
            }
            Part::ToolCall { input, metadata, .. } => input.len() + of_metadata(metadata),
            Part::ToolResult { output: of, metadata, .. } => output(of) + of_metadata(metadata),
            Part::File { data, metadata, .. } => of_file(data) + of_metadata(metadata),
            Part::Source { url, title, metadata, .. } => {
                [url, title].into_iter().flatten().map(|text| text.len()).sum::<usize>()
                    + of_metadata(metadata)
            }
            Part::Unknown(value) => of_json(value),
            _ => PART_BYTES,
        }
}

fn of_file(data: &FileData) -> usize {
    match data {
        FileData::Base64(text) | FileData::Url(text) | FileData::Blob(text) => text.len(),
        _ => PART_BYTES,
    }
}

pub(super) fn of_metadata(metadata: &Metadata) -> usize {
    metadata.iter().map(|(name, value)| name.len() + of_json(value)).sum()
}

pub(super) fn of_tools(tools: &[ToolDefinition]) -> usize {
    let tool = |tool: &ToolDefinition| match tool {
        ToolDefinition::Function { name, description, input_schema, provider_options } => {
            let options = provider_options.values().map(of_json).sum::<usize>();
            name.len() + description.len() + of_json(input_schema) + options
        }
        ToolDefinition::Provider { id, name, args } => id.len() + name.len() + of_json(args),
        _ => 0,
    };
    tools.iter().map(|one| PART_BYTES + tool(one)).sum()
}

pub(super) fn of_json(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(of_json).sum(),
            Value::Object(values) => values.iter().map(|(name, value)| name.len() + of_json(value)).sum(),
            _ => 0,
        }
}

pub(super) fn of_headers(headers: &[HttpHeader]) -> usize {
    headers.iter().map(|header| VALUE_BYTES + header.name.len() + header.value.len()).sum()
}

pub(super) fn of_failure(failure: &Failure) -> usize {
    let headers: usize =
        failure.headers.iter().map(|(name, value)| VALUE_BYTES + name.len() + value.len()).sum();
    let texts = [&failure.body, &failure.message, &failure.error_type, &failure.error_code];
    headers + texts.into_iter().flatten().map(|text| text.len()).sum::<usize>()
}
