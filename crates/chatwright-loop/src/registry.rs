use std::collections::BTreeMap;
use std::sync::Arc;

use chatwright_core::content::{Output, Part};
use chatwright_core::model::ToolDefinition;
use chatwright_core::port::Tool;
use chatwright_core::record::ResultOrigin;
use chatwright_core::tool::ToolSpec;
use chatwright_engine::{Call, Plan, Planned, calls, hash};
use serde_json::Value;

/// The tools of this process by name.
pub(crate) struct Registry {
    tools: BTreeMap<Box<str>, (ToolSpec, Arc<dyn Tool>)>,
    client: BTreeMap<Box<str>, ToolSpec>,
    definitions: Vec<ToolDefinition>,
}

/// A process that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSetup {
    /// Two models have one name.
    #[error("two models are named {0:?}")]
    DuplicateModel(Box<str>),
    /// Two tools have one name.
    #[error("two tools are named {0:?}")]
    DuplicateTool(Box<str>),
    /// A tool's name is not 1 to 64 of `a–z A–Z 0–9 _ -`.
    #[error("{0:?} is no name of a tool: it takes 1 to 64 letters, digits, _ and -")]
    ToolName(Box<str>),
    /// A tool's schema is not one of an object.
    #[error("the schema of the arguments of tool {0:?} is not that of an object")]
    ToolSchema(Box<str>),
    /// The default model is none of the models.
    #[error("the default model {0:?} is none of the models")]
    DefaultModel(Box<str>),
    /// A setting does not make sense.
    #[error("setting {setting}: {why}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// Why.
        why: &'static str,
    },
}

impl Registry {
    pub(crate) fn new(tools: &[Arc<dyn Tool>], client_tools: &[ToolSpec]) -> Result<Self, InvalidSetup> {
        let mut by_name = BTreeMap::new();
        let mut definitions = Vec::with_capacity(tools.len());
        for tool in tools {
            let spec = tool.spec();
            check_spec(&spec)?;
            definitions.push(definition(&spec));
            if let Some((spec, _)) = by_name.insert(spec.name.clone(), (spec, Arc::clone(tool))) {
                return Err(InvalidSetup::DuplicateTool(spec.name));
            }
        }
        let mut client = BTreeMap::new();
        for spec in client_tools {
            check_spec(spec)?;
            definitions.push(definition(spec));
            let again = client.insert(spec.name.clone(), spec.clone()).is_some();
            if again || by_name.contains_key(&spec.name) {
                return Err(InvalidSetup::DuplicateTool(spec.name.clone()));
            }
        }
        Ok(Self { tools: by_name, client, definitions })
    }

    /// The tools as a model sees them, in the order of registration.
    pub(crate) fn definitions(&self) -> &[ToolDefinition] {
        &self.definitions
    }

    pub(crate) fn tool(&self, name: &str) -> Option<&(ToolSpec, Arc<dyn Tool>)> {
        self.tools.get(name)
    }

    /// What would happen to each local call of a message.
    pub(crate) fn plan(&self, content: &[Part]) -> Vec<Planned> {
        calls(content).map(|call| Planned { ordinal: call.ordinal, plan: self.plan_call(call) }).collect()
    }

    fn plan_call(&self, call: Call<'_>) -> Plan {
        let refuse =
            |words: String| Plan::Refuse { output: Output::error(words), origin: ResultOrigin::Refused };
        if let Some(spec) = self.client.get(call.name) {
            return arguments(spec, call.input).map_or_else(refuse, |_| Plan::Client);
        }
        let Some((spec, _)) = self.tool(call.name) else {
            return refuse(format!("There is no tool named {:?}.", call.name));
        };
        match arguments(spec, call.input) {
            Err(words) => refuse(words),
            Ok(_) => Plan::Run {
                name: spec.name.clone(),
                effect: spec.effect,
                deadline: spec.deadline,
                input_hash: hash(call.input),
                approval: false,
            },
        }
    }
}

fn definition(spec: &ToolSpec) -> ToolDefinition {
    ToolDefinition::Function {
        name: spec.name.clone(),
        description: spec.description.clone(),
        input_schema: spec.input_schema.clone(),
        provider_options: BTreeMap::new(),
    }
}

/// The arguments of a call as the tool gets them: one JSON object with every field that the schema requires.
pub(crate) fn arguments(spec: &ToolSpec, input: &str) -> Result<Value, String> {
    // Models write nothing where they mean no arguments.
    let text = if input.trim().is_empty() { "{}" } else { input };
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("The arguments are not valid JSON: {error}."))?;
    let Some(fields) = value.as_object() else {
        return Err("The arguments must be a JSON object.".to_owned());
    };
    let required = spec.input_schema.get("required").and_then(Value::as_array);
    let missing =
        required.into_iter().flatten().filter_map(Value::as_str).filter(|name| !fields.contains_key(*name));
    let missing: Vec<String> = missing.map(|name| format!("{name:?}")).collect();
    if missing.is_empty() {
        Ok(value)
    } else {
        Err(format!("Required arguments are missing: {}.", missing.join(", ")))
    }
}

fn check_spec(spec: &ToolSpec) -> Result<(), InvalidSetup> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !(1..=64).contains(&spec.name.len()) || !spec.name.bytes().all(letter) {
        return Err(InvalidSetup::ToolName(spec.name.clone()));
    }
    match spec.input_schema.get("type").and_then(Value::as_str) {
        Some("object") => Ok(()),
        _ => Err(InvalidSetup::ToolSchema(spec.name.clone())),
    }
}
