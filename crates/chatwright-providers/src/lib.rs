//! Language models over HTTP, by hand or as they are configured ([`HttpModels`]).
//!
//! [`OpenAiChat`] speaks OpenAI's Chat Completions, which many other servers speak too; [`OpenAiResponses`] speaks OpenAI's
//! Responses; [`AnthropicMessages`] Anthropic's Messages; [`Gemini`] Google's `streamGenerateContent`. Each is a thin decoder over
//! permissive structures on our own bounded [parser](sse) of server-sent events: one request per call, no hidden retries (M4),
//! structured failures (M3), and a stream that ends before its terminal event is a failure (M5).
//!
//! ```no_run
//! use chatwright_core::content::Part;
//! use chatwright_core::model::{Message, ModelCall, Role};
//! use chatwright_core::port::LanguageModel;
//! use chatwright_providers::OpenAiChat;
//! use futures::StreamExt;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let model = OpenAiChat::builder("gpt-5-mini").key(std::env::var("OPENAI_API_KEY")?).build()?;
//! let hello = Message::new(Role::User, vec![Part::text("Hello")]);
//! let mut parts = model.stream(ModelCall::new(vec![hello]));
//! while let Some(part) = parts.next().await {
//!     println!("{part:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Another provider is another builder:
//!
//! ```no_run
//! use chatwright_providers::AnthropicMessages;
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let model = AnthropicMessages::builder("claude-sonnet-4-5").key(std::env::var("ANTHROPIC_API_KEY")?).build()?;
//! # Ok(())
//! # }
//! ```

mod anthropic;
mod client;
mod decode;
mod endpoint;
mod google;
mod http;
mod metadata;
mod openai;
mod openai_chat;
mod openai_responses;
mod options;
mod raw;
mod resolver;
pub mod sse;
mod warnings;

pub use anthropic::{AnthropicMessages, AnthropicMessagesBuilder, AnthropicThinking, MessagesDecoder};
pub use client::HttpSettings;
pub use decode::Decode;
pub use google::{Gemini, GeminiBuilder, GeminiDecoder};
pub use http::InvalidModel;
pub use openai_chat::{ChatDecoder, ChatServer, OpenAiChat, OpenAiChatBuilder};
pub use openai_responses::{OpenAiResponses, OpenAiResponsesBuilder, ResponsesDecoder};
pub use resolver::HttpModels;
