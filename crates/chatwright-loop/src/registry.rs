use std::collections::BTreeMap;
use std::sync::Arc;

use chatwright_core::MessageId;
use chatwright_core::content::{Output, Part};
use chatwright_core::model::ToolDefinition;
use chatwright_core::port::Tool;
use chatwright_core::record::ResultOrigin;
use chatwright_core::tool::ToolSpec;
use chatwright_engine::{Call, History, Item, Plan, Planned, calls, hash};
use jsonschema::Validator;
use serde_json::Value;

use crate::advisor;
use crate::blobs::{brief, cut};

/// The tools of this process by name.
pub(crate) struct Registry {
    tools: BTreeMap<Box<str>, Entry>,
    /// What a model is told of them, in the order of registration.
    definitions: Arc<[ToolDefinition]>,
    /// The same with the advisor.
    advised: Arc<[ToolDefinition]>,
    /// Absent: the host has a tool of its name.
    advisor: Option<Entry>,
}

/// The tools that the model of a chat has in a turn.
#[derive(Clone, Copy)]
pub(crate) struct Tools<'a> {
    registry: &'a Registry,
    /// It may ask the advisor: there is one then.
    advised: bool,
}

/// A tool.
pub(crate) struct Entry {
    pub(crate) spec: ToolSpec,
    pub(crate) runner: Runner,
    schema: Validator,
}

/// Who runs a tool.
#[derive(Clone)]
pub(crate) enum Runner {
    /// The host's own.
    Host(Arc<dyn Tool>),
    /// The client of the chat answers.
    Client,
    /// Another model is asked.
    Advisor,
}

/// How often a tool that must be alone is called beside others in one turn before it is withheld for the rest of it.
const VIOLATIONS_MAX: usize = 2;

/// Most faults of arguments that a model is told of at once.
const FAULTS_MAX: usize = 8;

/// Most bytes of what is said of one fault: it quotes what is wrong, which may be as long as an answer.
const FAULT_BYTES_MAX: usize = 1_000;

/// A process that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSetup {
    /// Two models have one name.
    #[error("two models are named {0:?}")]
    DuplicateModel(Box<str>),
    /// A model is configured and not there.
    #[error("{0:?} is configured and none of the models")]
    UnknownModel(Box<str>),
    /// Two tools have one name.
    #[error("two tools are named {0:?}")]
    DuplicateTool(Box<str>),
    /// A tool's name is not 1 to 64 of `a–z A–Z 0–9 _ -`.
    #[error("{0:?} is no name of a tool: it takes 1 to 64 letters, digits, _ and -")]
    ToolName(Box<str>),
    /// A tool's schema is not one of an object.
    #[error("the schema of the arguments of tool {0:?} is not that of an object")]
    ToolSchema(Box<str>),
    /// A tool's schema is no JSON Schema that can be checked: it is broken, or refers to something outside.
    #[error("the schema of the arguments of tool {tool:?} cannot be used: {why}")]
    ToolSchemaBroken {
        /// The tool.
        tool: Box<str>,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// What names the resource of a tool is no JSON Pointer.
    #[error("the resource of tool {0:?} is no JSON Pointer: it must begin with /")]
    ToolResource(Box<str>),
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
        let own = tools.iter().map(|tool| (tool.spec(), Runner::Host(Arc::clone(tool))));
        let of_client = client_tools.iter().map(|spec| (spec.clone(), Runner::Client));
        let mut tools = BTreeMap::new();
        let mut definitions = Vec::new();
        for (spec, runner) in own.chain(of_client) {
            let schema = check_spec(&spec)?;
            definitions.push(definition(&spec));
            if let Some(again) = tools.insert(spec.name.clone(), Entry { spec, runner, schema }) {
                return Err(InvalidSetup::DuplicateTool(again.spec.name));
            }
        }
        let spec = advisor::spec();
        let advisor = (!tools.contains_key(&spec.name))
            .then(|| check_spec(&spec).map(|schema| Entry { spec, runner: Runner::Advisor, schema }))
            .transpose()?;
        let definitions: Arc<[_]> = definitions.into();
        let advised = match &advisor {
            Some(entry) => definitions.iter().cloned().chain([definition(&entry.spec)]).collect(),
            None => Arc::clone(&definitions),
        };
        Ok(Self { tools, definitions, advised, advisor })
    }

    /// The names of all tools, the advisor's too.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.keys().map(|name| &**name).chain([advisor::NAME])
    }

    /// Whether the host has a tool of the advisor's name: there is no advisor then.
    pub(crate) fn hides_advisor(&self) -> bool {
        self.advisor.is_none()
    }

    /// The tools of a turn, with or without the advisor.
    pub(crate) fn tools(&self, advised: bool) -> Tools<'_> {
        Tools { registry: self, advised: advised && self.advisor.is_some() }
    }
}

impl<'a> Tools<'a> {
    /// The tools as a model sees them, in the order of registration and the advisor last: all but those that this turn has misused.
    pub(crate) fn definitions(self, history: &History) -> Arc<[ToolDefinition]> {
        let is_withheld = |definition: &ToolDefinition| match definition {
            ToolDefinition::Function { name, .. } => self.is_withheld(name, history, None),
            _ => false,
        };
        let all = if self.advised { &self.registry.advised } else { &self.registry.definitions };
        match all.iter().any(is_withheld) {
            true => all.iter().filter(|definition| !is_withheld(definition)).cloned().collect(),
            false => Arc::clone(all),
        }
    }

    /// Whether the model is shown the advisor.
    pub(crate) fn shows_advisor(self, history: &History) -> bool {
        self.advisor().is_some_and(|entry| !self.is_withheld(&entry.spec.name, history, None))
    }

    pub(crate) fn tool(self, name: &str) -> Option<&'a Entry> {
        self.registry.tools.get(name).or_else(|| self.advisor().filter(|entry| &*entry.spec.name == name))
    }

    fn advisor(self) -> Option<&'a Entry> {
        self.registry.advisor.as_ref().filter(|_| self.advised)
    }

    /// What would happen to each local call of a message.
    pub(crate) fn plan(self, history: &History, id: MessageId, content: &[Part]) -> Vec<Planned> {
        let is_withheld = |name: &str| self.is_withheld(name, history, Some(id));
        let mut exclusive = calls(content).map(|call| call.name).filter(|name| self.is_exclusive(name));
        // One that is not there any more keeps no other from running.
        let alone = exclusive.find(|name| !is_withheld(name)).filter(|_| calls(content).count() > 1);
        let plan = |call: Call<'_>| match (alone, is_withheld(call.name)) {
            (Some(alone), false) => refuse(self.policy(call.name, alone)),
            (_, withheld) => {
                let input = history.edited(id, call.ordinal).unwrap_or(call.input);
                self.plan_call(Call { input, ..call }, withheld)
            }
        };
        calls(content).map(|call| Planned { ordinal: call.ordinal, plan: plan(call) }).collect()
    }

    /// The calls of a plan that are refused, by the names of their tools. What a model invents has none.
    pub(crate) fn refused(self, plan: &[Planned], content: &[Part]) -> Vec<Option<&'a str>> {
        let is_refused = |ordinal: u32| {
            let planned = plan.iter().find(|planned| planned.ordinal == ordinal);
            planned.is_some_and(|planned| matches!(planned.plan, Plan::Refuse { .. }))
        };
        let refused = calls(content).filter(|call| is_refused(call.ordinal));
        refused.map(|call| self.tool(call.name).map(|entry| &*entry.spec.name)).collect()
    }

    fn plan_call(self, call: Call<'_>, withheld: bool) -> Plan {
        let Some(entry) = self.tool(call.name) else {
            return refuse(format!("There is no tool named {:?}.", brief(call.name)));
        };
        if withheld {
            return refuse(format!(
                "The tool {:?} is not there for the rest of this turn: it was called beside others {VIOLATIONS_MAX} times.",
                call.name
            ));
        }
        let spec = &entry.spec;
        match entry.arguments(call.input) {
            Err(words) => refuse(words),
            Ok(_) if matches!(entry.runner, Runner::Client) => Plan::Client,
            Ok(arguments) => Plan::Run {
                name: spec.name.clone(),
                effect: spec.effect,
                deadline: spec.deadline,
                input_hash: hash(call.input),
                approval: spec.approval,
                resource: spec
                    .resource
                    .as_ref()
                    .and_then(|pointer| arguments.pointer(pointer))
                    .map(|value| hash(&value.to_string())),
                stop_after: spec.stop_after,
            },
        }
    }

    fn is_exclusive(self, name: &str) -> bool {
        self.tool(name).is_some_and(|entry| entry.spec.exclusive)
    }

    /// Why nothing of a step runs in which `alone` is not the only call.
    fn policy(self, name: &str, alone: &str) -> String {
        match self.is_exclusive(name) {
            true => format!(
                "The tool {name:?} must be the only call of its step. Nothing was run: call it again, alone."
            ),
            false => format!(
                "Nothing was run, because {alone:?} was called beside others and must be alone. Make this call again without it, or after it."
            ),
        }
    }

    /// Whether a tool that must be alone has been called beside others too often in this turn, before this message. It
    /// follows from the log alone: no crash resets it.
    fn is_withheld(self, name: &str, history: &History, before: Option<MessageId>) -> bool {
        if !self.is_exclusive(name) {
            return false;
        }
        let answers = history.items().iter().rev().map(|(_, item)| item);
        let of_turn = answers.take_while(|item| !matches!(item, Item::User(_)));
        let misused = of_turn.filter(|item| match item {
            Item::Assistant(answer) if Some(answer.id) != before => {
                calls(&answer.content).count() > 1 && calls(&answer.content).any(|call| call.name == name)
            }
            _ => false,
        });
        misused.count() >= VIOLATIONS_MAX
    }
}

fn refuse(words: String) -> Plan {
    Plan::Refuse { output: Output::error(words), origin: ResultOrigin::Refused }
}

impl Entry {
    /// The arguments of a call as the tool gets them: one JSON object that keeps to its schema (T3).
    ///
    /// # Errors
    /// What is wrong, and where, for the model.
    pub(crate) fn arguments(&self, input: &str) -> Result<Value, String> {
        // Models write nothing where they mean no arguments.
        let text = if input.trim().is_empty() { "{}" } else { input };
        let value: Value = serde_json::from_str(text)
            .map_err(|error| format!("The arguments are not valid JSON: {error}."))?;
        if !value.is_object() {
            return Err("The arguments must be a JSON object.".to_owned());
        }
        let fault = |error: jsonschema::ValidationError<'_>| {
            let words = match error.instance_path.as_str() {
                "" => error.to_string(),
                path => format!("at {path}: {error}"),
            };
            cut(&words, FAULT_BYTES_MAX, "")
        };
        let faults: Vec<String> = self.schema.iter_errors(&value).take(FAULTS_MAX).map(fault).collect();
        match faults.is_empty() {
            true => Ok(value),
            false => {
                Err(format!("The arguments do not keep to the schema of the tool: {}.", faults.join("; ")))
            }
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

/// The check of its arguments.
fn check_spec(spec: &ToolSpec) -> Result<Validator, InvalidSetup> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !(1..=64).contains(&spec.name.len()) || !spec.name.bytes().all(letter) {
        return Err(InvalidSetup::ToolName(spec.name.clone()));
    }
    if spec.resource.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
        return Err(InvalidSetup::ToolResource(spec.name.clone()));
    }
    if spec.input_schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(InvalidSetup::ToolSchema(spec.name.clone()));
    }
    jsonschema::validator_for(&spec.input_schema).map_err(|error| InvalidSetup::ToolSchemaBroken {
        tool: spec.name.clone(),
        why: error.to_string().into(),
    })
}
