//! Marks for prompt caching: what stands before a mark may be read from a cache next time.

use serde_json::{Map, Value, json};

const MARK: &str = "cache_control";

/// Marks the last tool, the end of the system prompt, the end of the last message and the end of the user's last one before it,
/// where the request before this one ended: four marks, as many as a request may have.
///
/// A host that sets a mark of its own sets all of them: a fifth is refused, and so is a long-lived one behind a short-lived one.
pub(super) fn mark(body: &mut Map<String, Value>) {
    if is_marked(body) {
        return;
    }
    let mark = |block: Option<&mut Value>| {
        if let Some(block) = block.and_then(Value::as_object_mut) {
            block.insert(MARK.to_owned(), json!({"type": "ephemeral"}));
        }
    };
    // A tool that is loaded later is no part of what is cached.
    let eager = |tool: &&mut Value| tool.get("defer_loading") != Some(&Value::Bool(true));
    mark(list(body, "tools").and_then(|tools| tools.iter_mut().rev().find(eager)));
    mark(list(body, "system").and_then(|blocks| blocks.last_mut()));
    let Some(messages) = list(body, "messages") else { return };
    let Some(last) = messages.len().checked_sub(1) else { return };
    let before = messages[..last].iter().rposition(|message| message["role"] == "user");
    for at in [Some(last), before].into_iter().flatten() {
        let blocks = messages[at].get_mut("content").and_then(Value::as_array_mut);
        mark(blocks.and_then(|blocks| blocks.iter_mut().rev().find(|block| is_cacheable(block))));
    }
}

fn list<'a>(body: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Vec<Value>> {
    body.get_mut(name)?.as_array_mut()
}

/// Thoughts may not be marked, and nobody knows what may be among blocks that this version does not know.
fn is_cacheable(block: &Value) -> bool {
    let kind = block["type"].as_str().unwrap_or_default();
    matches!(kind, "text" | "image" | "document" | "tool_use" | "tool_result")
}

fn is_marked(body: &Map<String, Value>) -> bool {
    let blocks = |name: &str| body.get(name).and_then(Value::as_array).into_iter().flatten();
    let content = blocks("messages").flat_map(|message| message["content"].as_array().into_iter().flatten());
    let mut all = blocks("tools").chain(blocks("system")).chain(content);
    body.contains_key(MARK) || all.any(|block| block.get(MARK).is_some())
}
