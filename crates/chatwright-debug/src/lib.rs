//! The debug recorder: what exactly was said to a model, and what came back.

pub mod redact;
