//! The pure chat state machine.
//!
//! [`step`] takes a chat's head, an [`Input`] and the time, and gives the next head with its records, or says why
//! not. [`History`] folds records into what the model is shown. Nothing here waits, reads a clock or draws a random number:
//! the same arguments give the same answer.
//!
//! An input is a command of a user ([`Command`]), an act of ownership ([`Claim`], [`Free`]) or a worker's event ([`Work`]). A
//! worker's event names what it belongs to, `(session, epoch, gen)`; if that is no longer what the head says, the answer is
//! [`NotDone::Stale`] and nothing is committed.

mod change;
mod chat;
mod command;
mod history;
mod input;
mod refused;
mod step;
mod table;
mod work;

pub use chat::{Chat, Unreadable};
pub use history::{Call, History, Item, Mark, calls, says_something};
pub use input::{
    Answer, Archive, Busy, Claim, Clear, Command, Compact, Compacted, Create, Decide, Edit, Fence, Free,
    Input, Interrupt, Join, Next, Parent, Plan, Planned, Queue, QueueAct, Report, Rules, Scope, Send, Set,
    Stopped, Submit, Summary, Unarchive, Work, hash, hash_of,
};
pub use refused::{NotDone, Refused};
pub use step::{Receipt, Step, receipt_of, step};
pub use table::{Act, Phase, Why};
