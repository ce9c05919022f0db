//! A scripted language model, in process and over real HTTP.
//!
//! A [`Script`] says what the model does at each request. [`ScriptedModel`] plays it in process; [`FakeServer`] plays it on
//! loopback in the wire formats of OpenAI's Chat Completions and Responses, Anthropic's Messages and Google's Gemini, over HTTP/1.1
//! and HTTP/2, faults included: stalls, cut streams, error statuses, garbage. The [`zoo`] has a name for each fault that happens.
//!
//! ```
//! use chatwright_fake::{Reply, Script, ScriptedModel};
//!
//! let script = Script::new(vec![Reply::call("c1", "clock", "{}"), Reply::text("It is noon.")]);
//! let model = ScriptedModel::new(script);
//! assert_eq!(model.requests(), 0);
//! ```

mod model;
mod reply;
mod script;
mod server;
mod step;
mod wire;
pub mod zoo;

pub use model::ScriptedModel;
pub use reply::{Ending, LineEnds, Reply};
pub use script::{FakeMessage, FakeRequest, Script};
pub use server::{FakeServer, ReceivedRequest};
pub use step::{FakeCall, Step};
