use chatwright_core::content::{Output, Part};
use chatwright_core::model::ReasoningEffort::{self, High, Low, Medium, Minimal, None as NoEffort, XHigh};
use chatwright_core::model::{ModelCall, ModelId, ResponseFormat, Role, ToolChoice, ToolDefinition};
use serde_json::{Map, Value, json};

use super::prompt::{input, media};
use super::{NAMESPACE, item_of};
use crate::openai::{answer_schema, parameters};
use crate::options::merge;
use crate::warnings;

/// The body of a request. Options under `openai`, and under the provider's own name, are merged in at the top level untouched.
pub(super) fn body(id: &ModelId, call: &ModelCall) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), id.model.as_ref().into());
    body.insert("stream".into(), true.into());
    body.insert("store".into(), false.into());
    // Without it thoughts could not be sent back.
    if thinks(&id.model) {
        body.insert("include".into(), json!(["reasoning.encrypted_content"]));
    }
    body.insert("input".into(), input(&id.provider, &call.prompt).into());
    let tools: Vec<Value> = call.tools.iter().filter_map(|definition| tool(id, definition)).collect();
    let has_tools = !tools.is_empty();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.into(), value);
        }
    };
    set("tools", has_tools.then(|| tools.into()));
    set("tool_choice", call.tool_choice.as_ref().map(|choice| tool_choice(id, call, choice)));
    set("max_output_tokens", call.max_output_tokens.map(Into::into));
    set("temperature", call.temperature.map(Into::into));
    set("top_p", call.top_p.map(Into::into));
    set("parallel_tool_calls", call.parallel_tool_calls.map(Into::into));
    set("reasoning", call.reasoning_effort.map(|effort| json!({"effort": effort.among(&EFFORTS).as_str()})));
    set("text", call.response_format.as_ref().and_then(format).map(|format| json!({"format": format})));
    for name in [NAMESPACE, &id.provider] {
        if let Some(Value::Object(options)) = call.provider_options.get(name) {
            options.iter().for_each(|(name, value)| option(&mut body, name, value));
        }
    }
    // A choice among no tools is refused.
    if !body.contains_key("tools") {
        body.remove("tool_choice");
        body.remove("parallel_tool_calls");
    }
    Value::Object(body)
}

/// The efforts that the API has a word for; each model takes some of them.
const EFFORTS: [ReasoningEffort; 6] = [NoEffort, Minimal, Low, Medium, High, XHigh];

fn format(format: &ResponseFormat) -> Option<Value> {
    match format {
        ResponseFormat::Json => Some(json!({"type": "json_object"})),
        ResponseFormat::Schema { name, description, schema, strict } => {
            let mut format = answer_schema(name, description, schema, *strict);
            format["type"] = "json_schema".into();
            Some(format)
        }
        _ => None,
    }
}

fn option(body: &mut Map<String, Value>, name: &str, value: &Value) {
    match (name, value) {
        // Beside an effort and a format stand other settings.
        ("reasoning" | "text", Value::Object(fields)) if body.contains_key(name) => {
            if let Some(Value::Object(settings)) = body.get_mut(name) {
                merge(settings, fields);
            }
        }
        _ => drop(body.insert(name.to_owned(), value.clone())),
    }
}

/// Whether a model thinks. Those that do not refuse to be asked for encrypted thoughts; a name that this version does not know is
/// taken for that of a newer model.
fn thinks(model: &str) -> bool {
    // Gateways put the maker in front; what is tuned names its base.
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let thoughtless = ["gpt-3.5", "gpt-35", "gpt-4", "gpt-5-chat", "chatgpt-"];
    !thoughtless.iter().any(|prefix| name.starts_with(prefix))
}

fn tool(model: &ModelId, tool: &ToolDefinition) -> Option<Value> {
    match tool {
        ToolDefinition::Function { name, description, input_schema, provider_options } => {
            // Strict is the provider's default, and would change what the schema says.
            let mut tool = json!({"type": "function", "name": name, "description": description,
                "parameters": parameters(input_schema), "strict": false});
            if let (Some(tool), Some(Value::Object(options))) =
                (tool.as_object_mut(), provider_options.get(NAMESPACE))
            {
                tool.extend(options.clone());
            }
            Some(tool)
        }
        ToolDefinition::Provider { id, args, .. } => {
            let mut tool = json!({"type": hosted(model, id)?});
            if let (Some(tool), Value::Object(args)) = (tool.as_object_mut(), args) {
                tool.extend(args.clone());
            }
            Some(tool)
        }
        _ => None,
    }
}

/// The type of a tool that this provider runs, by its id.
fn hosted<'a>(model: &ModelId, id: &'a str) -> Option<&'a str> {
    let (of, kind) = id.split_once('.')?;
    (of == NAMESPACE || *of == *model.provider).then_some(kind)
}

fn tool_choice(model: &ModelId, call: &ModelCall, choice: &ToolChoice) -> Value {
    let of_provider = |wanted: &str| {
        call.tools.iter().find_map(|definition| match definition {
            ToolDefinition::Provider { id, name, .. } if **name == *wanted => hosted(model, id),
            _ => None,
        })
    };
    match choice {
        ToolChoice::None => "none".into(),
        ToolChoice::Auto => "auto".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Tool(name) => match of_provider(name) {
            Some(kind) => json!({"type": kind}),
            None => json!({"type": "function", "name": name}),
        },
    }
}

/// What the format has no place for, in words.
pub(super) fn unsupported(id: &ModelId, call: &ModelCall) -> Vec<String> {
    let settings = warnings::settings([
        ("top_k", call.top_k.is_some()),
        ("seed", call.seed.is_some()),
        ("presence_penalty", call.presence_penalty.is_some()),
        ("frequency_penalty", call.frequency_penalty.is_some()),
        ("stop_sequences", !call.stop_sequences.is_empty()),
        ("thinking_budget", call.thinking_budget.is_some()),
    ]);
    let files = warnings::files(call, |role, part| match (role, part) {
        (Role::User, Part::File { media_type, name, data, .. }) => {
            media(media_type, name.as_deref(), data).is_none().then_some(&**media_type)
        }
        // What this provider drew goes back as the item that it was.
        (Role::Assistant, Part::File { media_type, metadata, .. }) => {
            let item = metadata.get(NAMESPACE).and_then(|fields| item_of(fields, &id.provider));
            item.is_none().then_some(&**media_type)
        }
        (Role::System, Part::File { media_type, .. }) => Some(media_type),
        (Role::Tool, Part::ToolResult { output: Output::Media { media_type, data, .. }, .. }) => {
            media(media_type, None, data).is_none().then_some(&**media_type)
        }
        _ => None,
    });
    let tools = warnings::tools(call, |definition| tool(id, definition));
    settings.into_iter().chain(tools).chain(files).collect()
}
