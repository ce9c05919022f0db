//! The debug recorder: what exactly was said to a model, and what came back.

mod content;
pub mod doc;
mod recorder;
pub mod redact;
mod service;

pub use content::{ContentError, InvalidPlace, Place};
pub use recorder::{RecordedModel, RecordedResolver, Recorder, RecorderSettings, RecorderStats};
pub use service::{
    CreateStepError, DebugEvent, DebugEventKind, DebugService, DebugSettings, FIRST_MESSAGE_SCALARS_MAX,
    Summary, UpdateError, label,
};
