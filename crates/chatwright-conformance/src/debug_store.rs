//! The promises of [`DebugStore`](chatwright_core::port::DebugStore).
//!
//! Some tests connect twice at once, unless the store says `volatile`. Every test has chats and times of its own. A sweep, and a
//! deletion that names no chat, are of all chats: tests of deletions date their runs before 1970, tests of sweeps before 2000 and
//! all others later, so that they leave each other alone; among themselves, they begin a round again that another one disturbed.

mod bounds;
mod contents;
mod deletes;
mod ends;
mod fixture;
mod life;
mod numbers;
mod pages;
mod rows;
mod sweeps;

use crate::clause::clauses;

use bounds::*;
use contents::*;
use deletes::*;
use ends::*;
use life::*;
use numbers::*;
use pages::*;
use rows::*;
use sweeps::*;

clauses! {
    ($) debug_store in debug_store: chatwright_core::port::DebugStore;
    "debug.D1" d1_the_first_end_of_a_run_stays,
    "debug.D1" d1_a_run_that_ends_without_a_time_ends_at_that_of_the_write,
    "debug.D1" d1_of_many_that_end_a_run_at_once_one_sets_its_end,
    "debug.D1" d1_a_step_ends_when_it_was_last_ended,
    "debug.D2" d2_a_step_joins_a_run_of_its_chat_that_goes_on_and_no_other,
    "debug.D2" d2_no_step_joins_a_run_that_ends_meanwhile,
    "debug.D3" d3_the_status_of_a_run_only_rises,
    "debug.D3" d3_the_status_of_a_step_only_rises,
    "debug.D4" d4_what_was_touched_is_not_swept_and_what_was_swept_is_not_touched,
    "debug.D4" d4_only_what_goes_on_and_is_older_is_swept,
    "debug.D4" d4_the_steps_of_a_run_that_is_swept_end_with_it,
    "debug.D4" d4_a_sweep_takes_so_many_runs_and_names_them,
    "debug.D4" d4_touching_meets_the_run_and_the_step_that_are_named_and_go_on,
    "debug.D5" d5_what_a_change_does_not_name_stays,
    "debug.D5" d5_what_a_change_clears_is_gone,
    "debug.D5" d5_whatever_happens_to_a_run_moves_its_time_forward_only,
    "debug.D6" d6_steps_are_numbered_in_their_order,
    "debug.D6" d6_steps_that_many_create_at_once_are_numbered_without_a_hole,
    "debug.D7" d7_the_writes_of_a_call_happen_in_their_order,
    "debug.D7" d7_the_writes_of_a_call_become_visible_together,
    "debug.D8" d8_creating_again_changes_nothing,
    "debug.D8" d8_many_that_create_an_id_at_once_create_one_row,
    "debug.D9" d9_runs_come_back_as_they_were_given,
    "debug.D9" d9_steps_come_back_as_they_were_given,
    "debug.D9" d9_an_outline_is_a_step_without_what_is_large,
    "debug.D10" d10_what_was_written_survives_reopening,
    "debug.D10" d10_what_was_written_is_read_from_then_on,
    "debug.D11" d11_pages_of_any_size_list_every_run_of_the_chat_newest_first,
    "debug.D11" d11_pages_of_any_size_list_every_step_of_the_run,
    "debug.D11" d11_a_page_of_whole_steps_stops_at_its_bytes_and_is_never_empty,
    "debug.D11" d11_a_page_has_its_bounds,
    "debug.D12" d12_content_comes_back_through_each_run_that_has_it_and_no_other,
    "debug.D12" d12_content_stays_as_long_as_a_run_of_its_chat_has_it,
    "debug.D12" d12_an_answer_stops_at_its_bytes_and_is_never_empty,
    "debug.D13" d13_exactly_the_runs_that_every_condition_applies_to_are_deleted,
    "debug.D13" d13_a_deletion_that_names_no_chat_is_of_all_chats,
    "debug.D13" d13_at_most_so_many_runs_are_deleted_at_once,
    "debug.D13" d13_a_deleted_run_is_gone_with_its_steps_and_contents,
    "debug.D13" d13_a_deletion_without_a_condition_is_refused,
    "debug.D14" d14_what_is_over_its_bound_is_refused_with_all_of_its_call,
    "debug.D14" d14_what_is_at_its_bound_is_written,
    "debug.D15" d15_a_dropped_call_has_happened_whole_or_not_at_all_and_the_store_goes_on,
}
