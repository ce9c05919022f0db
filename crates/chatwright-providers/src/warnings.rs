//! What a format has no place for, in words for [`ModelPart::Warnings`](chatwright_core::model::ModelPart::Warnings).

use chatwright_core::content::Part;
use chatwright_core::model::{ModelCall, Role, ToolDefinition};
use serde_json::Value;

/// The settings that are set and not supported.
pub(crate) fn settings<const N: usize>(of_call: [(&str, bool); N]) -> Vec<String> {
    let set = of_call.into_iter().filter(|(_, is_set)| *is_set);
    set.map(|(name, _)| format!("{name} is not supported")).collect()
}

/// The tools of providers that `encode` makes nothing of.
pub(crate) fn tools(call: &ModelCall, encode: impl Fn(&ToolDefinition) -> Option<Value>) -> Vec<String> {
    let left_out = call.tools.iter().filter_map(|definition| match (definition, encode(definition)) {
        (ToolDefinition::Provider { name, .. }, None) => {
            Some(format!("the tool {name} of another provider was left out"))
        }
        _ => None,
    });
    left_out.collect()
}

/// The files that are lost: their media types, by `lost`.
pub(crate) fn files<'a>(
    call: &'a ModelCall,
    lost: impl Fn(Role, &'a Part) -> Option<&'a str>,
) -> Vec<String> {
    let parts =
        call.prompt.iter().flat_map(|message| message.content.iter().map(move |part| (message.role, part)));
    let left_out = parts.filter_map(|(role, part)| {
        let media_type = lost(role, part)?;
        let role = format!("{role:?}").to_ascii_lowercase();
        Some(format!("a file of type {media_type} in a {role} message was left out"))
    });
    left_out.collect()
}
