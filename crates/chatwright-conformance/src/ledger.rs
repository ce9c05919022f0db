//! The promises of [`Ledger`](chatwright_core::port::Ledger).
//!
//! Some tests connect twice at once, unless the ledger says `volatile`. Every test has chats, an owner, an organization and a time of
//! its own. A ledger forgets nothing: rows stay, and those that a test left open it closes at its end, as far as it comes there. That
//! rows stay when their chat is purged (G9) is for whoever keeps both.

mod bounds;
mod fixture;
mod life;
mod pages;
mod rows;
mod sums;

use crate::clause::clauses;

use bounds::*;
use life::*;
use pages::*;
use rows::*;
use sums::*;

clauses! {
    ($) ledger in ledger: chatwright_core::port::Ledger;
    "ledger.G1" g1_opening_an_id_again_changes_nothing,
    "ledger.G1" g1_many_that_open_an_id_at_once_open_one_row,
    "ledger.G2" g2_the_first_close_wins,
    "ledger.G2" g2_an_estimate_is_corrected_once,
    "ledger.G2" g2_what_nobody_opened_is_unknown_and_stays_so,
    "ledger.G2" g2_of_many_that_close_a_row_at_once_one_does,
    "ledger.G3" g3_rows_come_back_as_they_were_opened,
    "ledger.G3" g3_no_price_is_not_free,
    "ledger.G3" g3_sums_are_exact,
    "ledger.G3" g3_what_is_over_its_bound_is_refused_and_changes_nothing,
    "ledger.G4" g4_what_was_answered_survives_reopening,
    "ledger.G5" g5_what_was_written_counts_from_then_on,
    "ledger.G6" g6_pages_of_any_size_list_every_open_row_oldest_first,
    "ledger.G6" g6_only_rows_that_are_open_and_older_are_listed,
    "ledger.G6" g6_a_row_that_stays_open_is_listed_once_while_others_close,
    "ledger.G6" g6_a_page_has_its_bounds,
    "ledger.G7" g7_a_sum_counts_the_rows_of_its_scope_and_no_others,
    "ledger.G7" g7_a_period_begins_with_its_start_and_ends_before_its_end,
    "ledger.G7" g7_a_row_counts_with_what_is_known_of_it,
    "ledger.G7" g7_a_report_has_one_line_for_each_purpose_and_model,
    "ledger.G8" g8_a_dropped_call_has_happened_or_not_and_the_ledger_goes_on,
}
