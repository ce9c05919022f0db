//! Secrets in JSON values.

use serde_json::Value;

use super::Redactor;
use super::edit::{MARK, apply};
use super::names::Above;

impl Redactor {
    /// Takes the secrets out of a JSON value: a prompt, settings, what a call was given.
    pub fn value(&self, value: &mut Value) {
        self.value_below(Above::default(), value);
    }

    fn value_below(&self, above: Above, value: &mut Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                let number = number.to_string();
                if number.len() >= super::SECRET_BYTES_MIN && self.knows(&number) {
                    *value = MARK.into();
                }
            }
            Value::String(text) => {
                let edits = self.leaf(text, 0);
                if !edits.is_empty() {
                    *text = apply(text, edits).into_owned();
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.value_below(above, value)),
            Value::Object(members) => {
                let names: Vec<String> =
                    members.keys().filter(|name| self.is_secret_itself(name)).cloned().collect();
                for name in names {
                    if let Some(value) = members.remove(&name) {
                        members.insert(MARK.to_owned(), value);
                    }
                }
                for (name, value) in members {
                    match self.inner.names.member(above, name, value.is_object()) {
                        Some(below) => self.value_below(below, value),
                        None => *value = MARK.into(),
                    }
                }
            }
        }
    }
}
