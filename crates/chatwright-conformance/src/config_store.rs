//! The promises of [`ConfigStore`](chatwright_core::port::ConfigStore) and
//! [`ConfigWriter`](chatwright_core::port::ConfigWriter).
//!
//! A host that implements the reads alone gives the tests a writer over its own way of writing. Some tests connect twice
//! at once, unless the store says `volatile`. Every test writes ids of its own, so that a shared database may hold other
//! rows. The empty id is nobody's own: two tests write it, each in another kind, and they remove it.

mod bytes;
mod fixture;
mod fresh;
mod pages;
mod versions;
mod writes;

use crate::clause::clauses;

use bytes::*;
use fresh::*;
use pages::*;
use versions::*;
use writes::*;

clauses! {
    ($) config_store in config_store: chatwright_core::port::ConfigWriter;
    "config.F1" f1_a_read_after_a_write_was_answered_gives_it,
    "config.F1" f1_a_read_beside_a_writer_gives_the_last_answer_or_a_later_write,
    "config.F1" f1_what_was_answered_survives_reopening,
    "config.F2" f2_values_come_back_byte_for_byte,
    "config.F2" f2_ids_are_compared_byte_for_byte,
    "config.F2" f2_kinds_do_not_mix,
    "config.F3" f3_pages_of_any_size_ascend_by_the_bytes_of_the_id,
    "config.F3" f3_the_empty_id_is_listed_first,
    "config.F3" f3_a_row_that_rests_is_listed_once_while_others_change,
    "config.F3" f3_a_page_has_its_bounds,
    "config.F4" f4_a_write_happens_only_at_the_expected_version,
    "config.F4" f4_a_deletion_happens_only_at_the_expected_version,
    "config.F4" f4_sixty_four_writers_of_one_version_have_one_winner,
    "config.F4" f4_a_dropped_write_is_whole_or_absent_and_the_store_goes_on,
    "config.F5" f5_versions_grow_across_deletions,
    "config.F5" f5_a_version_from_before_a_deletion_never_matches_again,
    "config.F6" f6_a_value_over_its_bound_is_refused_and_changes_nothing,
}
