use chatwright_core::error::Failure;
use chatwright_core::model::ModelPart;

/// A decoder of a format's events: one push state machine that ends in exactly one terminal part, whatever comes in. Every event makes
/// at least one part, so that a reader sees the stream live; behind the terminal part nothing makes any.
pub trait Decode: Send + 'static {
    /// Takes the data of one event.
    fn event(&mut self, data: &str, parts: &mut Vec<ModelPart>);

    /// Takes the data of an event that the server named `error`. A format without such events takes it as any other.
    fn error_event(&mut self, data: &str, parts: &mut Vec<ModelPart>) {
        self.event(data, parts);
    }

    /// The server gave a sign of life.
    fn keep_alive(&mut self, parts: &mut Vec<ModelPart>) {
        if !self.is_done() {
            parts.push(ModelPart::KeepAlive);
        }
    }

    /// The stream ended; `rest` is the data of an event that it cut off before its blank line, which counts only if it is a
    /// terminal one.
    fn end(&mut self, rest: Option<&str>, parts: &mut Vec<ModelPart>);

    /// The transport failed.
    fn fail(&mut self, failure: Failure, parts: &mut Vec<ModelPart>);

    /// The server does not keep to the protocol, in these words.
    fn protocol(&mut self, words: &str, parts: &mut Vec<ModelPart>);

    /// Whether the terminal part was given.
    fn is_done(&self) -> bool;
}
