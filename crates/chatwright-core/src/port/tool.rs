use async_trait::async_trait;

use crate::content::Output;
use crate::tool::{ToolCall, ToolSpec};

/// A tool of the host.
///
/// | # | promise, and by whom |
/// |---|---|
/// | T1 | The tool declares its effect: pure, idempotent or once. |
/// | T2 | The caller gives a key that never changes for one occurrence of a call, a deadline, and cancellation. |
/// | T3 | The caller has checked the arguments against the tool's schema. |
#[async_trait]
pub trait Tool: Send + Sync + 'static {
    /// What the tool is. The same at every call.
    fn spec(&self) -> ToolSpec;

    /// Runs it. A failure is [`Output::Error`], which the model reads; a panic becomes one too.
    ///
    /// # Cancel safety
    /// The future is dropped when the call is abandoned: 5 s after a cancellation or at its deadline.
    async fn call(&self, call: ToolCall) -> Output;
}
