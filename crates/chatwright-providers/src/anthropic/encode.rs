use chatwright_core::content::{Output, Part};
use chatwright_core::model::{ModelCall, ModelId, ResponseFormat, Role, ToolChoice, ToolDefinition};
use serde_json::{Map, Value, json};

use super::prompt::{media, messages, system};
use super::thinking::{AnthropicThinking, Asked};
use super::{AnthropicMessages, NAMESPACE, Settings, cache};
use crate::options::merge;
use crate::warnings;

/// The body of a request. Options under `anthropic`, and under the provider's own name, are merged in at the top level.
pub(super) fn body(id: &ModelId, call: &ModelCall, settings: Settings) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), id.model.as_ref().into());
    body.insert("stream".into(), true.into());
    body.insert("max_tokens".into(), call.max_output_tokens.unwrap_or(AnthropicMessages::MAX_TOKENS).into());
    body.insert("messages".into(), messages(&call.prompt).into());
    let tools: Vec<Value> = call.tools.iter().filter_map(tool).collect();
    let has_tools = !tools.is_empty();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.into(), value);
        }
    };
    let list = |list: Vec<Value>| (!list.is_empty()).then(|| list.into());
    set("system", list(system(&call.prompt)));
    set("tools", list(tools));
    set("tool_choice", call.tool_choice.as_ref().map(tool_choice));
    set("temperature", call.temperature.map(Into::into));
    set("top_p", call.top_p.map(Into::into));
    set("top_k", call.top_k.map(Into::into));
    set("stop_sequences", (!call.stop_sequences.is_empty()).then(|| call.stop_sequences.clone().into()));
    asked(id, call, settings).write(&mut body);
    // For JSON without a schema there is no word.
    if let Some(ResponseFormat::Schema { schema, .. }) = &call.response_format {
        let format = json!({"format": {"type": "json_schema", "schema": schema}});
        option(&mut body, "output_config", &format);
    }
    if call.parallel_tool_calls == Some(false) {
        option(&mut body, "tool_choice", &json!({"disable_parallel_tool_use": true}));
    }
    for name in [NAMESPACE, &id.provider] {
        if let Some(Value::Object(options)) = call.provider_options.get(name) {
            options.iter().for_each(|(name, value)| option(&mut body, name, value));
        }
    }
    // A choice among no tools is refused.
    if !has_tools && !body.contains_key("tools") {
        body.remove("tool_choice");
    }
    if settings.caching {
        cache::mark(&mut body);
    }
    Value::Object(body)
}

fn asked(id: &ModelId, call: &ModelCall, settings: Settings) -> Asked {
    let style = settings.thinking.unwrap_or_else(|| AnthropicThinking::of_model(&id.model));
    Asked::of(call, style, &id.model)
}

fn option(body: &mut Map<String, Value>, name: &str, value: &Value) {
    match (name, value) {
        // Part of a choice, such as that calls come one by one.
        ("tool_choice", Value::Object(fields)) if !fields.contains_key("type") => {
            let choice = body.entry(name).or_insert_with(|| json!({"type": "auto"}));
            if choice["type"] != "none"
                && let Some(choice) = choice.as_object_mut()
            {
                choice.extend(fields.clone());
            }
        }
        ("output_config", Value::Object(fields)) => {
            let config = body.entry(name).or_insert_with(|| json!({}));
            if let Some(config) = config.as_object_mut() {
                merge(config, fields);
            }
        }
        _ => drop(body.insert(name.to_owned(), value.clone())),
    }
}

fn tool(tool: &ToolDefinition) -> Option<Value> {
    match tool {
        ToolDefinition::Function { name, description, input_schema, provider_options } => {
            let mut tool = json!({"name": name, "description": description, "input_schema": input_schema});
            if let (Some(tool), Some(Value::Object(options))) =
                (tool.as_object_mut(), provider_options.get(NAMESPACE))
            {
                tool.extend(options.clone());
            }
            Some(tool)
        }
        ToolDefinition::Provider { id, name, args } => {
            let mut tool = json!({"type": id.strip_prefix("anthropic.")?, "name": name});
            if let (Some(tool), Value::Object(args)) = (tool.as_object_mut(), args) {
                tool.extend(args.clone());
            }
            Some(tool)
        }
        _ => None,
    }
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::None => json!({"type": "none"}),
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Tool(name) => json!({"type": "tool", "name": name}),
    }
}

/// What the format has no place for, in words.
pub(super) fn unsupported(id: &ModelId, call: &ModelCall, settings: Settings) -> Vec<String> {
    let asked = asked(id, call, settings).warnings.into_iter().map(str::to_owned);
    let settings = warnings::settings([
        ("seed", call.seed.is_some()),
        ("presence_penalty", call.presence_penalty.is_some()),
        ("frequency_penalty", call.frequency_penalty.is_some()),
        ("JSON without a schema", call.response_format == Some(ResponseFormat::Json)),
    ]);
    let files = warnings::files(call, |role, part| match (role, part) {
        (Role::User, Part::File { media_type, name, data, .. }) => {
            media(media_type, name.as_deref(), data).is_none().then_some(&**media_type)
        }
        (Role::System | Role::Assistant, Part::File { media_type, .. }) => Some(media_type),
        (Role::Tool, Part::ToolResult { output: Output::Media { media_type, data, .. }, .. }) => {
            media(media_type, None, data).is_none().then_some(&**media_type)
        }
        _ => None,
    });
    asked.chain(settings).chain(warnings::tools(call, tool)).chain(files).collect()
}
