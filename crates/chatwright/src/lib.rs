//! Durable, streaming, multi-replica LLM chats inside your own service.
//!
//! Bring a store and a bus, name your models and tools, and run a worker. A chat survives a closed tab, a killed process and a
//! deploy; whoever watches it sees every byte once.
//!
//! ```
//! use std::sync::Arc;
//!
//! use chatwright::memory::{MemoryBus, MemoryStore};
//! use chatwright::{Chatwright, NewChat, SystemClock, UserId};
//! # use chatwright::core::model::{Finish, ModelCall, ModelId, ModelPart};
//! # use chatwright::core::port::{LanguageModel, ModelStream};
//! # struct MyModel;
//! # impl LanguageModel for MyModel {
//! #     fn id(&self) -> ModelId { ModelId { provider: "my".into(), model: "own".into() } }
//! #     fn stream(&self, _: ModelCall) -> ModelStream {
//! #         let text = ModelPart::TextDelta { id: "0".into(), delta: "Hello!".into() };
//! #         Box::pin(futures::stream::iter([text, ModelPart::Finish(Finish::default())]))
//! #     }
//! # }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new(Arc::new(SystemClock::new()));
//! let chatwright = Chatwright::builder(store, MemoryBus::new()).model("fast", MyModel).build()?;
//!
//! let chat = chatwright.create(NewChat::new(UserId::new("ada")?)).await?;
//! chat.send("Good morning").await?;
//!
//! let worker = chatwright.worker();
//! worker.run(async { /* until the process shall stop */ }).await;
//! # Ok(())
//! # }
//! ```

mod builder;
mod chat;

pub use builder::Builder;
pub use chat::{Chat, Chatwright};

pub use chatwright_config as config;
pub use chatwright_core as core;
pub use chatwright_core::frame::{Frame, FrameBody, Resume};
pub use chatwright_core::view::View;
pub use chatwright_core::{ChatId, OrganizationId, UserId};
#[cfg(feature = "debug")]
pub use chatwright_debug as debug;
pub use chatwright_loop::{
    Asked, Busy, Configuration, EventSettings, EventStream, EventsError, Failed, InvalidSetup, NewChat,
    NewEdit, NewMessage, NewSettings, QueueAct, QueuedMessage, Receipt, Refused, Rules, Settings,
    SystemClock, SystemIds, TitleSettings, Worker, gen_ai, metrics,
};
pub use chatwright_memory as memory;
#[cfg(feature = "providers")]
pub use chatwright_providers as providers;
pub use chatwright_retry as retry;
#[cfg(feature = "sqlite")]
pub use chatwright_sqlite as sqlite;
#[cfg(feature = "schemars")]
pub use {
    chatwright_loop::{FnTool, IntoOutput},
    schemars,
};
