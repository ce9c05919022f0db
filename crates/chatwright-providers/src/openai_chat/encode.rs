use std::collections::BTreeMap;

use chatwright_core::content::{FileData, Output, Part};
use chatwright_core::model::{Message, ModelCall, ModelId, ResponseFormat, Role, ToolChoice, ToolDefinition};
use serde_json::{Map, Value, json};

use super::server::Dialect;
use super::{demanded_back, details};
use crate::openai::{answer_schema, arguments, parameters, tool_name};
use crate::warnings;

/// The body of a request. Options under `openai`, and under the provider's own name, are merged in at the top level untouched.
pub(super) fn body(id: &ModelId, call: &ModelCall, dialect: Dialect) -> Value {
    let mut body = Map::new();
    let mut ids = CallIds { nine: dialect.mistral, sent: BTreeMap::new(), unanswered: Vec::new() };
    body.insert("model".into(), id.model.as_ref().into());
    body.insert(
        "messages".into(),
        call.prompt.iter().flat_map(|message| messages(&id.provider, message, dialect, &mut ids)).collect(),
    );
    body.insert("stream".into(), true.into());
    if !dialect.no_stream_options {
        body.insert("stream_options".into(), json!({"include_usage": true}));
    }
    let tools: Vec<Value> = call.tools.iter().filter_map(|definition| tool(id, definition)).collect();
    let has_tools = !tools.is_empty();
    if has_tools {
        body.insert("tools".into(), tools.into());
    }
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.into(), value);
        }
    };
    // A choice among no tools is refused.
    let choice = call.tool_choice.as_ref().filter(|_| has_tools);
    set("tool_choice", choice.map(|choice| tool_choice(choice, dialect)));
    set("parallel_tool_calls", call.parallel_tool_calls.filter(|_| has_tools).map(Into::into));
    let most = if dialect.max_tokens { "max_tokens" } else { "max_completion_tokens" };
    set(most, call.max_output_tokens.map(Into::into));
    set("temperature", call.temperature.map(Into::into));
    set("top_p", call.top_p.map(Into::into));
    set("presence_penalty", call.presence_penalty.map(Into::into));
    set("frequency_penalty", call.frequency_penalty.map(Into::into));
    set(if dialect.mistral { "random_seed" } else { "seed" }, call.seed.map(Into::into));
    set("stop", (!call.stop_sequences.is_empty()).then(|| call.stop_sequences.clone().into()));
    set("response_format", call.response_format.as_ref().and_then(|format| response_format(format, dialect)));
    dialect.think(call.reasoning_effort, call.thinking_budget, &mut body);
    for name in ["openai", &id.provider] {
        if let Some(Value::Object(options)) = call.provider_options.get(name) {
            body.extend(options.clone());
        }
    }
    Value::Object(body)
}

fn response_format(format: &ResponseFormat, dialect: Dialect) -> Option<Value> {
    match format {
        ResponseFormat::Json => Some(json!({"type": "json_object"})),
        ResponseFormat::Schema { .. } if dialect.no_json_schema => Some(json!({"type": "json_object"})),
        ResponseFormat::Schema { name, description, schema, strict } => {
            let format = answer_schema(name, description, schema, *strict);
            Some(json!({"type": "json_schema", "json_schema": format}))
        }
        _ => None,
    }
}

/// Most characters of the id of a call.
const CALL_ID_CHARS_MAX: usize = 40;

/// The ids that calls are sent under.
struct CallIds {
    /// Nine letters and digits each.
    nine: bool,
    sent: BTreeMap<Box<str>, Box<str>>,
    /// Calls of the newest answer that have no result yet, by the id in the prompt and the one that is sent.
    unanswered: Vec<(Box<str>, Box<str>)>,
}

impl CallIds {
    fn of(&mut self, id: &str) -> Box<str> {
        let fits = id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if self.nine && !fits {
            // By their order in the conversation, so that a prompt begins as the one before it did.
            let number = self.sent.len();
            return self.sent.entry(id.into()).or_insert_with(|| format!("call{number:05}").into()).clone();
        }
        if id.is_empty() {
            "call".into()
        } else {
            id.chars().take(CALL_ID_CHARS_MAX).collect::<String>().into()
        }
    }

    /// The id of a call that no other of its answer has. Other providers give one twice, or longer ones than are allowed here.
    fn called(&mut self, id: &str) -> Box<str> {
        let (mut sent, mut number) = (self.of(id), 2_u32);
        while self.unanswered.iter().any(|(_, other)| *other == sent) {
            let suffix = format!("_{number}");
            let kept = CALL_ID_CHARS_MAX - suffix.len();
            sent = self.of(&(id.chars().take(kept).collect::<String>() + &suffix));
            number += 1;
        }
        self.unanswered.push((id.into(), sent.clone()));
        sent
    }

    /// The id of the call that a result is of.
    fn answered(&mut self, id: &str) -> Box<str> {
        match self.unanswered.iter().position(|(of, _)| **of == *id) {
            Some(at) => self.unanswered.remove(at).1,
            None => self.of(id),
        }
    }
}

/// A tool message becomes one message per result, all others one. An answer that says nothing here is left out: servers refuse one
/// without content and calls.
fn messages(provider: &str, message: &Message, dialect: Dialect, ids: &mut CallIds) -> Vec<Value> {
    match message.role {
        Role::System => vec![json!({"role": "system", "content": text(&message.content, "\n")})],
        Role::User => vec![json!({"role": "user", "content": user_content(&message.content)})],
        Role::Assistant => assistant(provider, &message.content, dialect, ids).into_iter().collect(),
        Role::Tool => message.content.iter().filter_map(|part| result(part, ids)).collect(),
    }
}

fn text(content: &[Part], between: &str) -> String {
    let text = |part: &Part| match part {
        Part::Text { text, .. } => Some(text.clone()),
        _ => None,
    };
    content.iter().filter_map(text).collect::<Vec<_>>().join(between)
}

fn user_content(content: &[Part]) -> Value {
    // Some servers read no lists.
    if content.iter().all(|part| matches!(part, Part::Text { .. })) {
        return text(content, "\n").into();
    }
    let parts: Vec<Value> = content.iter().filter_map(user_part).collect();
    // A list of nothing is refused.
    if parts.is_empty() { "".into() } else { parts.into() }
}

fn user_part(part: &Part) -> Option<Value> {
    Some(match part {
        Part::Text { text, .. } => json!({"type": "text", "text": text}),
        Part::File { media_type, data: FileData::Url(url), .. } if media_type.starts_with("image/") => {
            json!({"type": "image_url", "image_url": {"url": url}})
        }
        Part::File { media_type, data: FileData::Base64(data), .. } if media_type.starts_with("image/") => {
            json!({"type": "image_url", "image_url": {"url": format!("data:{media_type};base64,{data}")}})
        }
        Part::File { media_type, data, .. }
            if media_type.starts_with("audio/") || media_type.starts_with("video/") =>
        {
            let FileData::Base64(data) = data else { return None };
            let format = sound(media_type)?;
            json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
        }
        Part::File { media_type, name, data: FileData::Base64(data), .. } => {
            let name = name.as_deref().unwrap_or("file");
            json!({"type": "file", "file": {"filename": name, "file_data": format!("data:{media_type};base64,{data}")}})
        }
        _ => return None,
    })
}

/// The format's word for a sound that may be heard.
fn sound(media_type: &str) -> Option<&'static str> {
    match media_type {
        "audio/wav" | "audio/x-wav" | "audio/wave" => Some("wav"),
        "audio/mpeg" | "audio/mp3" => Some("mp3"),
        _ => None,
    }
}

/// What the format has no place for, in words.
pub(super) fn unsupported(id: &ModelId, call: &ModelCall, dialect: Dialect) -> Vec<String> {
    let settings = warnings::settings([
        ("top_k", call.top_k.is_some()),
        ("thinking_budget", call.thinking_budget.is_some() && !dialect.counts_thoughts()),
    ]);
    let has_schema = matches!(call.response_format, Some(ResponseFormat::Schema { .. }));
    let schema = (dialect.no_json_schema && has_schema)
        .then(|| "a schema of the answer is not supported: it will be some JSON".to_owned());
    let files = warnings::files(call, |role, part| match (role, part) {
        (Role::User, Part::File { media_type, .. }) => user_part(part).is_none().then_some(&**media_type),
        (Role::System | Role::Assistant, Part::File { media_type, .. })
        | (Role::Tool, Part::ToolResult { output: Output::Media { media_type, .. }, .. }) => Some(media_type),
        _ => None,
    });
    let tools = warnings::tools(call, |definition| tool(id, definition));
    settings.into_iter().chain(schema).chain(tools).chain(files).collect()
}

fn assistant(provider: &str, content: &[Part], dialect: Dialect, ids: &mut CallIds) -> Option<Value> {
    ids.unanswered.clear();
    let calls: Vec<Value> = content
        .iter()
        .filter_map(|part| match part {
            Part::ToolCall { id, name, input, provider_executed: false, metadata } => {
                let function = json!({"name": tool_name(name), "arguments": arguments(input)});
                let mut call = json!({"id": ids.called(id), "type": "function", "function": function});
                if let Some(extra) = metadata.get(provider).and_then(|fields| fields.get(details::CALL)) {
                    call[details::CALL] = extra.clone();
                }
                Some(call)
            }
            _ => None,
        })
        .collect();
    // Its texts are pieces of one: nothing stood between them.
    let text = text(content, "");
    let text = if text.trim().is_empty() { Value::Null } else { text.into() };
    if text.is_null() && calls.is_empty() {
        return None;
    }
    let mut message = json!({"role": "assistant", "content": text});
    let thoughts = content.iter().filter_map(|part| match part {
        Part::Reasoning { text, .. } => Some(text.as_str()),
        _ => None,
    });
    let thoughts = thoughts.collect::<Vec<_>>().join("\n");
    // A call must have one, also where another model made it.
    if dialect.wants_thoughts && !(thoughts.is_empty() && calls.is_empty()) {
        message["reasoning_content"] = thoughts.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
        let demanded = demanded(provider, content);
        if !demanded.is_empty() {
            message["reasoning_content"] = demanded.into();
        }
    }
    let proved = details::thoughts(provider, content);
    if !proved.is_empty() {
        message[details::THOUGHTS] = proved.into();
    }
    Some(message)
}

/// The thoughts that this provider demands back with the calls that they led to.
fn demanded(provider: &str, content: &[Part]) -> String {
    let mark = demanded_back(provider);
    let ours = content.iter().filter_map(|part| match part {
        Part::Reasoning { text, metadata } if metadata.get(provider) == mark.get(provider) => {
            Some(text.as_str())
        }
        _ => None,
    });
    ours.collect()
}

fn result(part: &Part, ids: &mut CallIds) -> Option<Value> {
    let Part::ToolResult { call_id, output, .. } = part else { return None };
    let content = match output {
        Output::Text { text } => text.clone(),
        Output::Error { text } => format!("Error: {text}"),
        Output::Media { media_type, text, .. } => text.clone().unwrap_or_else(|| format!("[{media_type}]")),
        _ => String::new(),
    };
    Some(json!({"role": "tool", "tool_call_id": ids.answered(call_id), "content": content}))
}

fn tool(model: &ModelId, tool: &ToolDefinition) -> Option<Value> {
    match tool {
        ToolDefinition::Function { name, description, input_schema, provider_options } => {
            let mut function =
                json!({"name": name, "description": description, "parameters": parameters(input_schema)});
            if let (Some(function), Some(Value::Object(options))) =
                (function.as_object_mut(), provider_options.get("openai"))
            {
                function.extend(options.clone());
            }
            Some(json!({"type": "function", "function": function}))
        }
        ToolDefinition::Provider { id, args, .. } => {
            let (of, _) = id.split_once('.')?;
            (of == "openai" || *of == *model.provider).then(|| args.clone())
        }
        _ => None,
    }
}

fn tool_choice(choice: &ToolChoice, dialect: Dialect) -> Value {
    match choice {
        ToolChoice::None => "none".into(),
        ToolChoice::Auto => "auto".into(),
        ToolChoice::Required => if dialect.mistral { "any" } else { "required" }.into(),
        ToolChoice::Tool(name) => json!({"type": "function", "function": {"name": name}}),
    }
}
