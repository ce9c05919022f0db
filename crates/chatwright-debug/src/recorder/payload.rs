//! What is gathered, as it is written down: without secrets, and in the forms of [`doc`](crate::doc). Nothing here waits.

use std::collections::BTreeMap;

use chatwright_core::accumulator::Accumulator;
use chatwright_core::content::{FileData, Output, Part};
use chatwright_core::error::{Cause, ErrorInfo, Failure, Party, TimeoutPhase, classify};
use chatwright_core::limits::DEBUG_JSON_BYTES_MAX;
use chatwright_core::model::{Message, ModelPart, ResponseFormat, ToolChoice, ToolDefinition};
use chatwright_core::{Json, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::capture::KINDS;
use super::job::CallSettings;
use crate::doc::{DOC_VERSION, FailureDoc};
use crate::redact::Redactor;

/// Most bytes of what a failure says: the whole is in the body of its exchange.
const FAILURE_BYTES_MAX: usize = 8 * 1024;

/// Most bytes of all headers of a message.
const HEADERS_BYTES_MAX: usize = 32 * 1024;

/// Messages, a line of JSON each.
pub(super) fn messages(redactor: &Redactor, messages: &[Message]) -> Vec<u8> {
    let mut lines = Vec::new();
    for message in messages {
        let Message { role, content, provider_options } = message;
        let mut value = json!({ "role": role, "content": parts(content) });
        if !provider_options.is_empty() {
            value["provider_options"] = json!(provider_options);
        }
        line(redactor, value, &mut lines);
    }
    lines
}

/// Parts of an answer, a line of JSON each.
pub(super) fn content(redactor: &Redactor, content: &[Part]) -> Vec<u8> {
    let mut lines = Vec::new();
    for part in parts(content) {
        line(redactor, part, &mut lines);
    }
    lines
}

/// Tools, a line of JSON each.
pub(super) fn tools(redactor: &Redactor, tools: &[ToolDefinition]) -> Vec<u8> {
    let mut lines = Vec::new();
    for tool in tools {
        let value = match tool {
            ToolDefinition::Function { name, description, input_schema, provider_options } => {
                let mut value = json!({
                    "type": "function",
                    "name": name,
                    "description": description,
                    "input_schema": input_schema,
                });
                if !provider_options.is_empty() {
                    value["provider_options"] = json!(provider_options);
                }
                value
            }
            ToolDefinition::Provider { id, name, args } => {
                json!({ "type": "provider", "id": id, "name": name, "args": args })
            }
            _ => json!({ "type": "unknown" }),
        };
        line(redactor, value, &mut lines);
    }
    lines
}

/// What is asked for beside prompt and tools, by name.
pub(super) fn settings(redactor: &Redactor, settings: CallSettings) -> BTreeMap<Box<str>, Value> {
    let choice = |choice| match choice {
        ToolChoice::None => "none".into(),
        ToolChoice::Auto => "auto".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Tool(name) => json!({ "tool": name }),
    };
    let format = |format| match format {
        ResponseFormat::Json => Some("json".into()),
        ResponseFormat::Schema { name, schema, strict, .. } => {
            Some(json!({ "name": name, "schema": schema, "strict": strict }))
        }
        _ => None,
    };
    let options = match settings.provider_options {
        Some(options) => (!options.is_empty()).then(|| json!(options)),
        None => Some("there was no room for them".into()),
    };
    let named: [(&str, Option<Value>); 15] = [
        ("tool_choice", settings.tool_choice.map(choice)),
        ("parallel_tool_calls", settings.parallel_tool_calls.map(Into::into)),
        ("reasoning_effort", settings.reasoning_effort.and_then(|effort| serde_json::to_value(effort).ok())),
        ("thinking_budget", settings.thinking_budget.map(Into::into)),
        ("response_format", settings.response_format.and_then(format)),
        ("max_output_tokens", settings.max_output_tokens.map(Into::into)),
        ("temperature", settings.temperature.map(Into::into)),
        ("top_p", settings.top_p.map(Into::into)),
        ("top_k", settings.top_k.map(Into::into)),
        ("presence_penalty", settings.presence_penalty.map(Into::into)),
        ("frequency_penalty", settings.frequency_penalty.map(Into::into)),
        ("stop_sequences", (!settings.stop_sequences.is_empty()).then(|| settings.stop_sequences.into())),
        ("seed", settings.seed.map(Into::into)),
        ("provider_options", options),
        ("headers", (!settings.headers.is_empty()).then(|| json!(settings.headers))),
    ];
    let said = named.into_iter().filter_map(|(name, value)| Some((name.into(), value?)));
    said.map(|(name, mut value)| {
        redactor.value(&mut value);
        (name, value)
    })
    .collect()
}

fn line(redactor: &Redactor, mut value: Value, lines: &mut Vec<u8>) {
    redactor.value(&mut value);
    // Keys are strings: it encodes.
    if serde_json::to_writer(&mut *lines, &value).is_ok() {
        lines.push(b'\n');
    }
}

/// Parts without the bytes of files: these are no words, and would be the most of it.
fn parts(content: &[Part]) -> Vec<Value> {
    let without_bytes = |part: &Part| match part {
        Part::File { media_type, name, data: FileData::Base64(data), metadata } => Part::File {
            media_type: media_type.clone(),
            name: name.clone(),
            data: FileData::Url(left_out(data)),
            metadata: metadata.clone(),
        },
        Part::ToolResult {
            call_id,
            name,
            output: Output::Media { media_type, data: FileData::Base64(data), text },
            provider_executed,
            metadata,
        } => Part::ToolResult {
            call_id: call_id.clone(),
            name: name.clone(),
            output: Output::Media {
                media_type: media_type.clone(),
                data: FileData::Url(left_out(data)),
                text: text.clone(),
            },
            provider_executed: *provider_executed,
            metadata: metadata.clone(),
        },
        part => part.clone(),
    };
    content.iter().map(|part| serde_json::to_value(without_bytes(part)).unwrap_or(Value::Null)).collect()
}

fn left_out(base64: &str) -> Box<str> {
    format!("about:{}-bytes-left-out", base64.len() / 4 * 3).into()
}

/// An answer, folded from its parts as a chat folds them.
pub(super) fn folded(parts: impl Iterator<Item = ModelPart>) -> (Vec<Part>, Vec<String>) {
    let (mut answer, mut pieces) = (Accumulator::new(), Vec::new());
    for part in parts {
        answer.push_into(part, &mut pieces);
        pieces.clear();
    }
    (answer.content(), answer.warnings().to_vec())
}

/// How many parts of each kind came.
pub(super) fn counts(counts: [u64; KINDS.len()]) -> BTreeMap<Box<str>, u64> {
    KINDS
        .iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| ((*kind).into(), count))
        .collect()
}

/// A value as a store takes it. One that is too large says so instead.
pub(super) fn json_of(value: &impl Serialize) -> Json {
    let encoded = Json::encode(value).unwrap_or_else(|_| Json::encode(&Value::Null).expect("null encodes"));
    if encoded.len() <= DEBUG_JSON_BYTES_MAX {
        return encoded;
    }
    Json::encode(&json!({ "v": DOC_VERSION, "too_large_bytes": encoded.len() }))
        .expect("names and numbers encode")
}

/// What went wrong, as an error of a chat says it.
pub(super) fn error(redactor: &Redactor, failure: &Failure, now: Timestamp) -> Json {
    let verdict = classify(failure, now.into());
    let mut value = serde_json::to_value(ErrorInfo::from(&verdict)).unwrap_or(Value::Null);
    redactor.value(&mut value);
    value["cause"] = cause_name(failure.cause).into();
    json_of(&value)
}

/// What went wrong, where only its kind is known.
pub(super) fn error_of_kind(kind: &str) -> Json {
    json_of(&json!({ "kind": kind, "message": "The answer was not taken." }))
}

/// A failure, so that it can be made again.
pub(super) fn failure(redactor: &Redactor, failure: &Failure) -> FailureDoc {
    let clean = |text: &Option<Box<str>>| text.as_deref().map(|text| cut(&redactor.error(text)));
    let body = failure.body.as_deref().map(|body| {
        // It may be JSON, with names that say what is secret.
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok();
        if is_json { cut(&redactor.json(body)) } else { cut(&redactor.error(body)) }
    });
    let headers: Vec<_> = failure
        .headers
        .iter()
        .map(|(name, value)| chatwright_core::port::HttpHeader {
            name: name.to_ascii_lowercase().into(),
            value: value.clone(),
            sensitive: false,
        })
        .collect();
    FailureDoc {
        provider: failure.provider.clone(),
        cause: cause_name(failure.cause).into(),
        status: failure.status,
        headers: bounded(redactor.headers(&headers)),
        body,
        error_type: clean(&failure.error_type),
        error_code: clean(&failure.error_code),
        message: clean(&failure.message),
    }
}

fn cut(text: &str) -> Box<str> {
    let end =
        (0..=text.len().min(FAILURE_BYTES_MAX)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].into()
}

/// As many headers as there is room for.
pub(super) fn bounded(headers: Vec<(Box<str>, Box<str>)>) -> Vec<(Box<str>, Box<str>)> {
    let mut room = HEADERS_BYTES_MAX;
    let fits = |(name, value): &(Box<str>, Box<str>)| {
        let bytes = name.len() + value.len();
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    };
    headers.into_iter().take_while(fits).collect()
}

/// The name of a cause; [`cause_of`] reads it.
fn cause_name(cause: Cause) -> String {
    let phase = |phase| match phase {
        TimeoutPhase::Connect => "connect",
        TimeoutPhase::StartUp => "start_up",
        TimeoutPhase::Silence => "silence",
        _ => "total",
    };
    let party = |party| match party {
        Party::Caller => "caller",
        Party::Provider => "provider",
        _ => "unknown",
    };
    match cause {
        Cause::Status => "status".to_owned(),
        Cause::InStream => "in_stream".to_owned(),
        Cause::Truncated => "truncated".to_owned(),
        Cause::Protocol => "protocol".to_owned(),
        Cause::Dns => "dns".to_owned(),
        Cause::Connect => "connect".to_owned(),
        Cause::Tls => "tls".to_owned(),
        Cause::Reset => "reset".to_owned(),
        Cause::Http2 { reason, remote } => {
            format!("http2:{}:{reason}", if remote { "remote" } else { "local" })
        }
        Cause::Timeout(of) => format!("timeout:{}", phase(of)),
        Cause::Deadline(of) => format!("deadline:{}", party(of)),
        Cause::Canceled(of) => format!("canceled:{}", party(of)),
        Cause::Request => "request".to_owned(),
        _ => "other".to_owned(),
    }
}

/// The cause of that name. One that this version does not know is another one.
pub(crate) fn cause_of(name: &str) -> Cause {
    let (word, rest) = name.split_once(':').unwrap_or((name, ""));
    let party = || match rest {
        "caller" => Party::Caller,
        "provider" => Party::Provider,
        _ => Party::Unknown,
    };
    match word {
        "status" => Cause::Status,
        "in_stream" => Cause::InStream,
        "truncated" => Cause::Truncated,
        "protocol" => Cause::Protocol,
        "dns" => Cause::Dns,
        "connect" => Cause::Connect,
        "tls" => Cause::Tls,
        "reset" => Cause::Reset,
        "http2" => {
            let (whose, reason) = rest.split_once(':').unwrap_or((rest, ""));
            Cause::Http2 { reason: reason.parse().unwrap_or(0), remote: whose == "remote" }
        }
        "timeout" => Cause::Timeout(match rest {
            "connect" => TimeoutPhase::Connect,
            "start_up" => TimeoutPhase::StartUp,
            "silence" => TimeoutPhase::Silence,
            _ => TimeoutPhase::Total,
        }),
        "deadline" => Cause::Deadline(party()),
        "canceled" => Cause::Canceled(party()),
        "request" => Cause::Request,
        _ => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_read_as_it_is_written() {
        let parties = [Party::Caller, Party::Provider, Party::Unknown];
        let phases =
            [TimeoutPhase::Connect, TimeoutPhase::StartUp, TimeoutPhase::Silence, TimeoutPhase::Total];
        let mut causes = vec![
            Cause::Status,
            Cause::InStream,
            Cause::Truncated,
            Cause::Protocol,
            Cause::Dns,
            Cause::Connect,
            Cause::Tls,
            Cause::Reset,
            Cause::Http2 { reason: 7, remote: true },
            Cause::Http2 { reason: 8, remote: false },
            Cause::Request,
            Cause::Other,
        ];
        causes.extend(phases.map(Cause::Timeout));
        causes.extend(parties.map(Cause::Deadline));
        causes.extend(parties.map(Cause::Canceled));
        for cause in causes {
            assert_eq!(cause_of(&cause_name(cause)), cause);
        }
        assert_eq!(cause_of("later"), Cause::Other);
    }

    #[test]
    fn a_value_that_is_too_large_says_so() {
        let long = "x".repeat(DEBUG_JSON_BYTES_MAX);
        assert_eq!(json_of(&long).as_str(), format!("{{\"too_large_bytes\":{},\"v\":1}}", long.len() + 2));
        assert_eq!(json_of(&"x").as_str(), "\"x\"");
    }
}
