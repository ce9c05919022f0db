use serde_json::Value;

/// What the text of an answer must be.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Some JSON. A few providers want the word in the prompt too.
    Json,
    /// JSON that keeps to a schema.
    Schema {
        /// A name for it: letters, digits, `_` and `-`.
        name: Box<str>,
        /// What it is for, for the model; may be empty.
        description: Box<str>,
        /// JSON Schema: an object. Providers take different parts of JSON Schema.
        schema: Value,
        /// Whether the provider must enforce the schema, where it can choose; it may then refuse schemas that it cannot.
        strict: bool,
    },
}
