//! The calls of an answer, put together from their pieces.

use chatwright_core::content::Metadata;
use chatwright_core::model::{FinishReason, ModelPart};

use serde_json::Value;

use super::chunk::CallDelta;
use super::details::{CALL, attached};

/// Most calls of one answer.
const CALLS_MAX: usize = 1_024;

/// Most bytes of arguments of one answer.
const INPUT_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    input_bytes: usize,
}

#[derive(Debug)]
struct Call {
    index: Option<u64>,
    id: Box<str>,
    name: String,
    input: String,
    /// How far into objects and lists the arguments are.
    nesting: Nesting,
    /// What the server wants back with it.
    extra: Option<Value>,
    announced: bool,
}

/// Where JSON text is after each of its pieces: parsing all of it again for every piece would be quadratic.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    /// Inside a string, and behind a backslash there.
    string: Option<bool>,
    begun: bool,
}

impl Calls {
    /// Takes a piece.
    ///
    /// # Errors
    /// What is over its bound.
    pub(super) fn push(
        &mut self,
        delta: &CallDelta<'_>,
        parts: &mut Vec<ModelPart>,
    ) -> Result<(), &'static str> {
        let (id, name, arguments) = (delta.id(), delta.name(), delta.arguments());
        self.input_bytes += arguments.len() + name.len();
        if self.input_bytes > INPUT_BYTES_MAX {
            return Err("the arguments of the calls are too large");
        }
        let at = match self.known(delta.index, id, name, &arguments) {
            Some(at) => at,
            None if self.calls.len() == CALLS_MAX => return Err("too many calls in one answer"),
            None => {
                self.calls.push(Call {
                    index: delta.index,
                    id: Box::default(),
                    name: String::new(),
                    input: String::new(),
                    nesting: Nesting::default(),
                    extra: None,
                    announced: false,
                });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        if !call.announced {
            if call.id.is_empty() {
                call.id = id.unwrap_or_default().into();
            }
            // Most servers send the name once, some with every piece, a few in pieces.
            if call.name != name {
                call.name.push_str(name);
            }
        }
        if let Some(extra) = delta.extra() {
            call.extra = Some(extra.clone());
        }
        call.nesting.push(&arguments);
        call.input.push_str(&arguments);
        if call.announced {
            if !arguments.is_empty() {
                parts.push(ModelPart::ToolInputDelta { id: call.id.clone(), delta: arguments });
            }
        } else if !call.name.is_empty() && !call.input.is_empty() {
            // Its arguments have begun, so its name is whole.
            call.announce(at, parts);
        }
        Ok(())
    }

    /// Ends every call. A call is complete only if its arguments may be the whole of them: where the model did not end
    /// by itself, they must at least be JSON.
    ///
    /// # Errors
    /// There is a call of no tool.
    pub(super) fn finish(
        &mut self,
        reason: FinishReason,
        provider: &str,
        parts: &mut Vec<ModelPart>,
    ) -> Result<(), &'static str> {
        let ended = matches!(reason, FinishReason::Stop | FinishReason::ToolCalls);
        // A piece that said nothing is no call.
        self.calls.retain(|call| !(call.name.is_empty() && call.input.is_empty()));
        if self.calls.iter().any(|call| call.name.is_empty()) {
            return Err("a call names no tool");
        }
        for (at, mut call) in std::mem::take(&mut self.calls).into_iter().enumerate() {
            if !call.announced {
                call.announce(at, parts);
            }
            if ended && call.input.trim().is_empty() {
                call.input = "{}".to_owned();
            }
            parts.push(ModelPart::ToolInputEnd { id: call.id.clone() });
            if ended || serde_json::from_str::<serde::de::IgnoredAny>(&call.input).is_ok() {
                parts.push(ModelPart::ToolCall {
                    id: call.id,
                    name: call.name.into(),
                    input: call.input,
                    provider_executed: false,
                    metadata: call.extra.map_or_else(Metadata::new, |extra| attached(provider, CALL, extra)),
                });
            }
        }
        Ok(())
    }

    /// The call that a piece belongs to; `None` if it begins one.
    fn known(&self, index: Option<u64>, id: Option<&str>, name: &str, arguments: &str) -> Option<usize> {
        let calls = &self.calls;
        match (index, id) {
            // The newest of an index: some servers give every call the index 0, with a name of its own and an id or whole
            // arguments. An id alone tells nothing: others make one up for every piece.
            (Some(_), id) => calls.iter().rposition(|call| call.index == index).filter(|&at| {
                let call = &calls[at];
                let other = match id {
                    Some(id) => !call.id.is_empty() && *call.id != *id,
                    None => arguments.trim_start().starts_with('{') && call.nesting.is_closed(),
                };
                !other || name.is_empty()
            }),
            (None, Some(id)) => calls.iter().rposition(|call| *call.id == *id),
            // A name begins a call, unless it repeats that of a call whose arguments are not whole.
            (None, None) => calls.len().checked_sub(1).filter(|&at| {
                let call = &calls[at];
                name.is_empty() || (call.name == name && !call.nesting.is_closed())
            }),
        }
    }
}

impl Call {
    fn announce(&mut self, at: usize, parts: &mut Vec<ModelPart>) {
        self.announced = true;
        if self.id.is_empty() {
            self.id = format!("call_{at}").into();
        }
        let (id, name) = (self.id.clone(), self.name.as_str().into());
        parts.push(ModelPart::ToolInputStart { id, name, provider_executed: false });
        if !self.input.is_empty() {
            parts.push(ModelPart::ToolInputDelta { id: self.id.clone(), delta: self.input.clone() });
        }
    }
}

impl Nesting {
    fn push(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match (&mut self.string, byte) {
                (Some(escaped @ true), _) => *escaped = false,
                (Some(escaped), b'\\') => *escaped = true,
                (Some(_), b'"') => self.string = None,
                (Some(_), _) => {}
                (None, b'"') => self.string = Some(false),
                (None, b'{' | b'[') => (self.depth, self.begun) = (self.depth + 1, true),
                (None, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                (None, _) => {}
            }
        }
    }

    /// Whether all that was opened is closed.
    fn is_closed(&self) -> bool {
        self.begun && self.depth == 0 && self.string.is_none()
    }
}
