//! The promises of [`ChatStore`](chatwright_core::port::ChatStore).

mod fixture;
mod lists;
mod log;
mod purge;
mod races;

use crate::clause::clauses;

use lists::*;
use log::*;
use purge::*;
use races::*;

clauses! {
    ($) chat_store in chat_store: chatwright_core::port::ChatStore;
    "store.S1" s1_head_and_records_become_visible_together,
    "store.S1" s1_a_refused_commit_leaves_nothing_behind,
    "store.S2" s2_a_commit_applies_only_at_the_expected_revision,
    "store.S3" s3_sixty_four_writers_of_one_revision_have_one_winner,
    "store.S4" s4_what_was_acknowledged_survives_reopening,
    "store.S5" s5_a_read_after_ok_observes_the_commit,
    "store.S6" s6_records_ascend_without_holes_in_pages_of_any_size,
    "store.S6" s6_a_page_stops_at_its_bytes_and_is_never_empty,
    "store.S6" s6_records_never_lag_the_head,
    "store.S7" s7_bodies_and_state_come_back_byte_for_byte,
    "store.S7" s7_times_and_the_index_come_back_exactly,
    "store.S8" s8_sixty_four_chats_neither_mix_nor_conflict,
    "store.S9" s9_a_conflict_means_not_applied_and_a_race_has_no_other_error,
    "store.S10" s10_a_dropped_commit_is_whole_or_absent_and_the_store_goes_on,
    "store.S11" s11_due_lists_what_is_past_in_order_and_in_pages,
    "store.S11" s11_due_follows_the_head,
    "store.S12" s12_held_lists_every_chat_of_the_session_in_pages,
    "store.S12" s12_held_follows_the_head,
    "store.S13" s13_revisions_answer_in_order_for_a_thousand_chats,
    "store.S14" s14_a_purged_chat_is_gone_for_good,
    "store.S14" s14_a_purge_leaves_other_chats_alone,
}
