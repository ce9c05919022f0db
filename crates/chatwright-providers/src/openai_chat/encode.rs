use chatwright_core::content::{FileData, Output, Part};
use chatwright_core::model::{Message, ModelCall, ModelId, Role, ToolChoice, ToolDefinition};
use serde_json::{Map, Value, json};

/// The body of a Chat Completions request. Options under `openai`, and under the provider's own name, are merged in at the
/// top level untouched.
pub fn request_body(id: &ModelId, call: &ModelCall) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), id.model.as_ref().into());
    body.insert("messages".into(), call.prompt.iter().flat_map(messages).collect());
    body.insert("stream".into(), true.into());
    body.insert("stream_options".into(), json!({"include_usage": true}));
    let tools: Vec<Value> = call.tools.iter().map(tool).collect();
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
    set("tool_choice", choice.map(tool_choice));
    set("max_completion_tokens", call.max_output_tokens.map(Into::into));
    set("temperature", call.temperature.map(Into::into));
    set("top_p", call.top_p.map(Into::into));
    set("presence_penalty", call.presence_penalty.map(Into::into));
    set("frequency_penalty", call.frequency_penalty.map(Into::into));
    set("seed", call.seed.map(Into::into));
    set("stop", (!call.stop_sequences.is_empty()).then(|| call.stop_sequences.clone().into()));
    for name in ["openai", &id.provider] {
        if let Some(Value::Object(options)) = call.provider_options.get(name) {
            body.extend(options.clone());
        }
    }
    Value::Object(body)
}

/// A tool message becomes one message per result, all others one.
fn messages(message: &Message) -> Vec<Value> {
    match message.role {
        Role::System => vec![json!({"role": "system", "content": text(&message.content)})],
        Role::User => vec![json!({"role": "user", "content": user_content(&message.content)})],
        Role::Assistant => vec![assistant(&message.content)],
        Role::Tool => message.content.iter().filter_map(result).collect(),
    }
}

fn text(content: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Text { text, .. } => Some(text.clone()),
        _ => None,
    };
    content.iter().filter_map(text).collect::<Vec<_>>().join("\n")
}

fn user_content(content: &[Part]) -> Value {
    let only_text = content.iter().all(|part| matches!(part, Part::Text { .. }));
    if let ([Part::Text { text, .. }], true) = (content, only_text) {
        return text.as_str().into();
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
        Part::File { media_type, name, data: FileData::Base64(data), .. } => {
            let name = name.as_deref().unwrap_or("file");
            json!({"type": "file", "file": {"filename": name, "file_data": format!("data:{media_type};base64,{data}")}})
        }
        _ => return None,
    })
}

/// What the format has no place for, in words for [`ModelPart::Warnings`](chatwright_core::model::ModelPart::Warnings).
pub(super) fn unsupported(call: &ModelCall) -> Vec<String> {
    let mut warnings = Vec::new();
    if call.top_k.is_some() {
        warnings.push("top_k is not supported".to_owned());
    }
    for message in &call.prompt {
        for part in &message.content {
            let lost = match (message.role, part) {
                (Role::User, Part::File { media_type, .. }) if user_part(part).is_none() => media_type,
                (Role::System | Role::Assistant, Part::File { media_type, .. }) => media_type,
                (Role::Tool, Part::ToolResult { output: Output::Media { media_type, .. }, .. }) => media_type,
                _ => continue,
            };
            let role = format!("{:?}", message.role).to_ascii_lowercase();
            warnings.push(format!("a file of type {lost} in a {role} message was left out"));
        }
    }
    warnings
}

fn assistant(content: &[Part]) -> Value {
    let calls: Vec<Value> = content
        .iter()
        .filter_map(|part| match part {
            Part::ToolCall { id, name, input, provider_executed: false, .. } => {
                // Arguments that are no JSON would be refused by some servers, and the thread with them.
                let input = if serde_json::from_str::<Value>(input).is_ok() { input } else { "{}" };
                Some(json!({"id": id, "type": "function", "function": {"name": name, "arguments": input}}))
            }
            _ => None,
        })
        .collect();
    let text = text(content);
    let mut message =
        json!({"role": "assistant", "content": if text.is_empty() { Value::Null } else { text.into() }});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    message
}

fn result(part: &Part) -> Option<Value> {
    let Part::ToolResult { call_id, output, .. } = part else { return None };
    let content = match output {
        Output::Text { text } => text.clone(),
        Output::Error { text } => format!("Error: {text}"),
        Output::Media { media_type, text, .. } => text.clone().unwrap_or_else(|| format!("[{media_type}]")),
        _ => String::new(),
    };
    Some(json!({"role": "tool", "tool_call_id": call_id, "content": content}))
}

fn tool(tool: &ToolDefinition) -> Value {
    match tool {
        ToolDefinition::Function { name, description, input_schema, .. } => {
            json!({"type": "function", "function": {"name": name, "description": description, "parameters": input_schema}})
        }
        ToolDefinition::Provider { args, .. } => args.clone(),
        _ => Value::Null,
    }
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::None => "none".into(),
        ToolChoice::Auto => "auto".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Tool(name) => json!({"type": "function", "function": {"name": name}}),
    }
}
