//! The vocabulary and the ports of Chatwright.
//!
//! A chat is one small versioned [`Head`] and an append-only log of [`Record`]s. One method changes anything:
//! [`ChatStore::commit`](port::ChatStore::commit), which replaces the head and appends records iff the stored
//! revision is the expected one. This crate has the types of that sentence, the content of messages, the
//! language-model vocabulary with its pure [`Accumulator`](accumulator::Accumulator), and every [port]
//! with numbered promises. It does no I/O.
//!
//! ```
//! use chatwright_core::record::{MessageUser, Body, Draft};
//! use chatwright_core::content::Part;
//! use chatwright_core::head::{HeadDraft, Index, State};
//! use chatwright_core::{ChatId, Commit, MessageId, OpId, Timestamp, UserId, Uuid};
//!
//! let (chat, op, message) = (ChatId::from_uuid(Uuid::from_u128(1)), OpId::from_uuid(Uuid::from_u128(2)), Uuid::from_u128(3));
//! let now = Timestamp::from_millis(1_700_000_000_000);
//! let hello = Body::MessageUser(MessageUser::new(MessageId::from_uuid(message), vec![Part::text("Hello")]));
//! let head = HeadDraft::at_rest(Index::new(UserId::new("ada")?, now), &State::default())?;
//!
//! let first = Commit::create(chat, head, vec![Draft::first(op, now, &hello)?])?;
//! assert_eq!(first.head().last_seq.get(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod accumulator;
pub mod blob;
pub mod cancel;
pub mod commit;
pub mod config;
pub mod content;
pub mod debug;
pub mod frame;
pub mod head;
pub mod history;
pub mod ids;
pub mod json;
pub mod limits;
pub mod live;
pub mod message;
pub mod model;
pub mod money;
pub mod number;
pub mod port;
pub mod record;
pub mod text;
pub mod time;
pub mod tool;
pub mod view;

pub use chatwright_error as error;
pub use uuid::Uuid;

pub use blob::BlobRef;
pub use cancel::{Cancel, Canceler};
pub use commit::{Commit, InvalidCommit};
pub use head::{Head, HeadDraft};
pub use ids::{ChatId, MessageId, OpId, QueueId, RunId, SessionId, StepId};
pub use json::Json;
pub use number::{Epoch, Gen, Revision, Seq};
pub use record::{Draft, Kind, Record};
pub use text::{OrganizationId, TooLarge, UserId};
pub use time::Timestamp;
