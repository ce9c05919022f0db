//! Frames: what a viewer of a chat is sent, and the cursor that says where it stands.
//!
//! Every byte shown has an address that never changes meaning: `(chat, seq)` for what is durable, `(chat, gen, off)` for
//! what is live. A [`Cursor`] holds both; a viewer that was cut off offers the cursor of its last frame and goes on there.
//! [`View`](crate::view::View) is the reducer of these frames.

mod body;
mod cursor;
mod gens;
mod resume;

pub use body::{
    Action, ByeReason, Frame, FrameBody, HelloMode, LiveBlock, OpenState, Queued, ResetReason, StateFrame,
};
pub use cursor::{CURSOR_BYTES_MAX, Cursor, InvalidCursor};
pub use gens::{Gens, OpenUnit};
pub use resume::Resume;

#[cfg(test)]
mod tests;
