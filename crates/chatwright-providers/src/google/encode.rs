use chatwright_core::content::{Output, Part};
use chatwright_core::model::ReasoningEffort::{High, Low, Medium, Minimal, None as NoEffort};
use chatwright_core::model::{ModelCall, ModelId, ResponseFormat, Role, ToolChoice, ToolDefinition};
use serde_json::{Map, Value, json};

use super::NAMESPACE;
use super::prompt::{contents, media, system};
use crate::options::merge;
use crate::warnings;

/// The body of a request. Options under `google`, and under the provider's own name, are merged in.
pub(super) fn body(id: &ModelId, call: &ModelCall) -> Value {
    let mut body = Map::new();
    body.insert("contents".to_owned(), contents(&id.model, &call.prompt).into());
    let instructions = system(&call.prompt);
    if !instructions.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({"parts": instructions}));
    }
    let functions: Vec<Value> = call.tools.iter().filter_map(function).collect();
    let mut tools: Vec<Value> = call.tools.iter().filter_map(provider_tool).collect();
    if !functions.is_empty() {
        tools.insert(0, json!({"functionDeclarations": functions}));
        // A choice among no functions is refused.
        if let Some(choice) = &call.tool_choice {
            body.insert("toolConfig".to_owned(), json!({"functionCallingConfig": tool_choice(choice)}));
        }
    }
    if !tools.is_empty() {
        body.insert("tools".to_owned(), tools.into());
    }
    let settings = generation_config(&id.model, call);
    if !settings.is_empty() {
        body.insert("generationConfig".to_owned(), settings.into());
    }
    for name in [NAMESPACE, &id.provider] {
        if let Some(Value::Object(options)) = call.provider_options.get(name) {
            merge(&mut body, options);
        }
    }
    Value::Object(body)
}

fn generation_config(model: &str, call: &ModelCall) -> Map<String, Value> {
    let schema = match &call.response_format {
        Some(ResponseFormat::Schema { schema, .. }) => Some(schema.clone()),
        _ => None,
    };
    let stops = (!call.stop_sequences.is_empty()).then(|| call.stop_sequences.clone().into());
    let settings: [(&str, Option<Value>); 11] = [
        ("maxOutputTokens", call.max_output_tokens.map(Into::into)),
        ("temperature", call.temperature.map(Into::into)),
        ("topP", call.top_p.map(Into::into)),
        ("topK", call.top_k.map(Into::into)),
        ("presencePenalty", call.presence_penalty.map(Into::into)),
        ("frequencyPenalty", call.frequency_penalty.map(Into::into)),
        ("stopSequences", stops),
        ("seed", call.seed.map(Into::into)),
        ("thinkingConfig", thinking(model, call)),
        ("responseMimeType", call.response_format.as_ref().map(|_| "application/json".into())),
        ("responseJsonSchema", schema),
    ];
    settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// How a model is told how much to think: those of 2.5 by tokens, later ones by a level. Thoughts are shown where there are any.
fn thinking(model: &str, call: &ModelCall) -> Option<Value> {
    if let Some(tokens) = call.thinking_budget {
        return Some(json!({"thinkingBudget": tokens, "includeThoughts": tokens > 0}));
    }
    let effort = call.reasoning_effort?;
    let shown = effort > NoEffort;
    if !model.contains("gemini-2.5") {
        // There is no off.
        let level = effort.among(&[Minimal, Low, Medium, High]);
        return Some(json!({"thinkingLevel": level.as_str(), "includeThoughts": shown}));
    }
    let (least, most) = if model.contains("pro") { (128, 32_768) } else { (0, 24_576) };
    let tokens = effort.thinking_tokens().clamp(least, most);
    Some(json!({"thinkingBudget": tokens, "includeThoughts": shown}))
}

fn function(tool: &ToolDefinition) -> Option<Value> {
    let ToolDefinition::Function { name, description, input_schema, provider_options } = tool else {
        return None;
    };
    let mut function =
        json!({"name": name, "description": description, "parametersJsonSchema": input_schema});
    if let (Some(function), Some(Value::Object(options))) =
        (function.as_object_mut(), provider_options.get(NAMESPACE))
    {
        // A function has one schema.
        if options.contains_key("parameters") {
            function.remove("parametersJsonSchema");
        }
        function.extend(options.clone());
    }
    Some(function)
}

fn provider_tool(tool: &ToolDefinition) -> Option<Value> {
    let ToolDefinition::Provider { id, args, .. } = tool else { return None };
    let settings = if args.is_null() { json!({}) } else { args.clone() };
    Some(Value::Object(Map::from_iter([(id.strip_prefix("google.")?.to_owned(), settings)])))
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Auto => json!({"mode": "AUTO"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Tool(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    }
}

/// What the format has no place for, in words.
pub(super) fn unsupported(call: &ModelCall) -> Vec<String> {
    let settings = warnings::settings([("one tool call at a time", call.parallel_tool_calls == Some(false))]);
    let files = warnings::files(call, |role, part| match (role, part) {
        (Role::System, Part::File { media_type, .. }) => Some(media_type),
        (Role::User | Role::Assistant, Part::File { media_type, data, .. })
        | (Role::Tool, Part::ToolResult { output: Output::Media { media_type, data, .. }, .. }) => {
            media(media_type, data).is_none().then_some(&**media_type)
        }
        _ => None,
    });
    settings.into_iter().chain(warnings::tools(call, provider_tool)).chain(files).collect()
}
