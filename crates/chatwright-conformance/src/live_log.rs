//! The promises of [`LiveLog`](chatwright_core::port::LiveLog).
//!
//! A log in the memory of its writer need not fence (L3) and says so; every log begins a gen anew under a higher epoch:
//!
//! ```ignore-because-it-defines-tests
//! chatwright_conformance::live_log!(MyLiveLog::connect(url).await);
//! chatwright_conformance::live_log!(MyLiveLog::new(), writer_memory);
//! ```

mod bounds;
mod fixture;
mod reads;
mod wakes;
mod writes;

use crate::clause::clauses;

use bounds::*;
use reads::*;
use wakes::*;
use writes::*;

clauses! {
    ($) live_log in live_log: chatwright_core::port::LiveLog;
    "live.L1" l1_a_unit_once_readable_never_changes,
    "live.L1" l1_pages_of_any_size_from_any_unit_say_the_same,
    "live.L1" l1_a_page_is_about_as_large_as_asked,
    "live.L1" l1_chats_and_gens_do_not_mix,
    "live.L1" l1_a_sealed_gen_stays_readable_and_ends_where_it_was_sealed,
    "live.L1" l1_a_reader_beside_the_writer_follows_to_the_seal,
    "live.L1" l1_a_wake_up_is_never_lost,
    "live.L2" l2_what_was_appended_may_be_repeated_in_other_pieces,
    "live.L2" l2_what_does_not_continue_the_log_diverges_and_changes_nothing,
    "live.L2" l2_a_gen_that_is_not_open_takes_nothing,
    "live.L3" l3_an_older_epoch_is_refused_and_changes_nothing,
    "live.L3" l3_opening_under_a_higher_epoch_begins_the_gen_anew,
    "live.L4" l4_past_the_cap_a_gen_takes_no_more_for_good,
    "live.L4" l4_whatever_is_not_text_counts_too,
}
