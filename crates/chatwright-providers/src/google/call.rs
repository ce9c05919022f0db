//! Calls, whole or put together from pieces of their arguments.

use chatwright_core::model::ModelPart;
use serde_json::{Map, Value};

use super::metadata;

/// Most items of a list that pieces of arguments put together.
const ITEMS_MAX: usize = 65_536;

/// Deepest place that a piece of arguments may name: deeper ones would not be read as JSON.
const DEPTH_MAX: usize = 64;

/// A call that has begun.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: Box<str>,
    pub(super) name: Box<str>,
    /// The arguments as they came in one piece, unless others come behind it.
    pub(super) whole: Option<String>,
    built: Value,
    /// The text that the next piece goes on with.
    goes_on: Option<String>,
    pub(super) metadata: Map<String, Value>,
}

impl Call {
    pub(super) fn new(id: Box<str>, name: Box<str>) -> Self {
        let (built, metadata) = (Value::Object(Map::new()), Map::new());
        Self { id, name, whole: None, built, goes_on: None, metadata }
    }

    /// Takes a piece: a value at a place. Gives how many items of lists it made: a few bytes may ask for very many.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn piece(&mut self, mut piece: Map<String, Value>) -> Result<usize, String> {
        let Some(Value::String(path)) = piece.remove("jsonPath") else {
            return Err("a piece of arguments has no place".to_owned());
        };
        let goes_on = piece.get("willContinue").and_then(Value::as_bool).unwrap_or(false);
        if let Some(begun) = self.whole.take() {
            self.built = serde_json::from_str(&begun).unwrap_or_default();
        }
        let mut items = 0;
        let place = place(&mut self.built, &path, &mut items)?;
        if let Some(Value::String(text)) = piece.get("stringValue") {
            match place {
                Value::String(begun) if self.goes_on.as_ref() == Some(&path) => begun.push_str(text),
                place => *place = text.as_str().into(),
            }
        } else if let Some(value) = piece.remove("numberValue").or_else(|| piece.remove("boolValue")) {
            *place = value;
        } else if piece.contains_key("nullValue") {
            *place = Value::Null;
        } else if !piece.is_empty() && !goes_on {
            return Err("a piece of arguments has no value".to_owned());
        }
        self.goes_on = goes_on.then_some(path);
        Ok(items)
    }

    /// All arguments have come.
    pub(super) fn end(&mut self, parts: &mut Vec<ModelPart>) {
        let input = self.whole.get_or_insert_with(|| self.built.to_string()).clone();
        parts.push(ModelPart::ToolInputDelta { id: self.id.clone(), delta: input });
        parts.push(ModelPart::ToolInputEnd { id: self.id.clone() });
    }

    /// The complete call.
    pub(super) fn part(self) -> ModelPart {
        ModelPart::ToolCall {
            id: self.id,
            name: self.name,
            input: self.whole.unwrap_or_else(|| self.built.to_string()),
            provider_executed: false,
            metadata: metadata(self.metadata),
        }
    }
}

/// The place that a path such as `$.operations[0].price` or `$['odd name']` names. What is missing on the way is made.
fn place<'a>(mut at: &'a mut Value, path: &str, items: &mut usize) -> Result<&'a mut Value, String> {
    let wrong = || format!("{path:?} is no place among arguments");
    let mut rest = path.strip_prefix('$').ok_or_else(wrong)?;
    for _ in 0..DEPTH_MAX {
        if rest.is_empty() {
            return Ok(at);
        }
        let key;
        if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            (key, rest) = name.split_at(end);
        } else {
            let inside = rest.strip_prefix('[').ok_or_else(wrong)?;
            let quote = inside.chars().next().filter(|c| matches!(c, '\'' | '"'));
            if let Some(quote) = quote {
                let close = [quote, ']'].iter().collect::<String>();
                (key, rest) = inside[1..].split_once(&close).ok_or_else(wrong)?;
            } else {
                let (index, behind) = inside.split_once(']').ok_or_else(wrong)?;
                rest = behind;
                at = item(at, index.parse().map_err(|_| wrong())?, items).ok_or_else(wrong)?;
                continue;
            }
        }
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = at.as_object_mut().ok_or_else(wrong)?.entry(key).or_insert(Value::Null);
    }
    Err(wrong())
}

fn item<'a>(at: &'a mut Value, index: usize, made: &mut usize) -> Option<&'a mut Value> {
    if !at.is_array() {
        *at = Value::Array(Vec::new());
    }
    let items = at.as_array_mut()?;
    if index >= items.len() && index < ITEMS_MAX {
        *made += index + 1 - items.len();
        items.resize(index + 1, Value::Null);
    }
    items.get_mut(index)
}
