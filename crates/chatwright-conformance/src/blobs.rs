//! The promises of [`Blobs`](chatwright_core::port::Blobs).
//!
//! Some tests connect twice at once, unless the store says `volatile`. Every test has chats of its own and removes what it put.

mod bytes;
mod fixture;
mod life;
mod scope;

use crate::clause::clauses;

use bytes::*;
use life::*;
use scope::*;

clauses! {
    ($) blobs in blobs: chatwright_core::port::Blobs;
    "blobs.A1" a1_bytes_come_back_as_they_were_put,
    "blobs.A2" a2_what_was_put_opens_for_everybody_from_then_on,
    "blobs.A2" a2_what_was_put_survives_reopening,
    "blobs.A3" a3_a_reference_opens_nothing_of_another_chat,
    "blobs.A4" a4_the_same_bytes_are_one_blob_and_others_are_not,
    "blobs.A5" a5_after_a_deletion_nothing_of_the_chat_opens,
    "blobs.A5" a5_a_deletion_leaves_other_chats_alone,
    "blobs.A6" a6_a_blob_over_its_bound_is_refused_and_changes_nothing,
    "blobs.A7" a7_a_dropped_put_is_whole_or_absent_and_the_store_goes_on,
    "blobs.A8" a8_text_that_no_put_gave_opens_nothing,
    "blobs.A8" a8_what_is_there_is_never_told_to_be_absent,
}
