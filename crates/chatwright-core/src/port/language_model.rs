use futures::stream::BoxStream;

use crate::model::{ModelCall, ModelId, ModelPart};

/// A language model.
///
/// | # | promise |
/// |---|---|
/// | M1 | Dropping the stream cancels the call. |
/// | M2 | Exactly one terminal part, [`Finish`](ModelPart::Finish) or [`Failure`](ModelPart::Failure), and it comes last. |
/// | M3 | Failures are structured: status, all headers, body, transport cause, in-stream error type and code. |
/// | M4 | No hidden retries: one call is at most one request that can cost anything. |
/// | M5 | A stream that ends without the provider's terminal event is a failure. |
pub trait LanguageModel: Send + Sync + 'static {
    /// Which model this is.
    fn id(&self) -> ModelId;

    /// Which account the provider counts the call against: an opaque name, never the key itself. Models of one account wait
    /// together when the provider tells one of them to wait. By default the provider's name.
    fn account(&self) -> Box<str> {
        self.id().provider
    }

    /// How many tokens a prompt and its answer may have together, as far as the host knows. A row of the configuration that says it
    /// comes first. Unknown by default.
    fn context_window(&self) -> Option<u64> {
        None
    }

    /// Asks the model. Nothing happens before the stream is polled; a call that cannot even begin is a stream of one
    /// failure.
    fn stream(&self, call: ModelCall) -> ModelStream;
}

/// What a model streams.
pub type ModelStream = BoxStream<'static, ModelPart>;
