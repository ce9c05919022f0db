//! The debug recorder: what exactly was said to a model, and what came back.

mod cassette;
mod content;
pub mod doc;
#[cfg(feature = "otel")]
pub mod otel;
mod read;
mod recorder;
pub mod redact;
mod service;

pub use cassette::{
    Cassette, CassetteAttempt, CassetteError, CassetteRun, CassetteStep, ReplayModel, Timeline,
};
pub use content::{ContentError, InvalidPlace, Place};
pub use read::{AttemptRecord, ExchangeRecord, RequestRecord, ResponseRecord, StepRecord};
pub use recorder::{RecordedModel, RecordedResolver, Recorder, RecorderSettings, RecorderStats};
pub use service::{
    CreateStepError, DebugEvent, DebugEventKind, DebugService, DebugSettings, FIRST_MESSAGE_SCALARS_MAX,
    Summary, UpdateError, label,
};
