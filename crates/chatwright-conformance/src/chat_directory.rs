//! The promises of [`ChatDirectory`].
//!
//! A directory is filled through its store: the subject is both, [`DirectoryStore`]. Every test lists chats of its own
//! users, organizations and families, so that a shared database may hold others.
#![expect(unused_qualifications, reason = "the exported macro needs the path from outside")]

mod filters;
mod fixture;
mod pages;

use chatwright_core::port::{ChatDirectory, ChatStore};

use crate::clause::clauses;

use filters::*;
use pages::*;

/// A chat store with its directory.
pub trait DirectoryStore: ChatStore + ChatDirectory {}

impl<S: ChatStore + ChatDirectory> DirectoryStore for S {}

clauses! {
    ($) chat_directory in chat_directory: chatwright_conformance::chat_directory::DirectoryStore;
    "directory.C1" c1_a_list_after_ok_shows_what_the_commit_says,
    "directory.C1" c1_a_purged_chat_is_in_no_list,
    "directory.C2" c2_every_chat_that_meets_all_conditions_is_listed_and_no_other,
    "directory.C2" c2_conditions_compare_exactly,
    "directory.C3" c3_pages_of_any_size_descend_by_time_and_id,
    "directory.C3" c3_a_chat_that_rests_is_listed_once_while_others_move,
    "directory.C3" c3_a_page_has_its_bounds,
}
