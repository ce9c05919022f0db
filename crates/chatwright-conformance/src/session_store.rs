//! The promises of [`SessionStore`](chatwright_core::port::SessionStore).
//!
//! The store's clock must run: a store whose clock is given to it gets one that does. Sessions are kept across
//! connections unless the store says `volatile`.

mod fixture;
mod rows;
mod time;

use crate::clause::clauses;

use rows::*;
use time::*;

clauses! {
    ($) session_store in session_store: chatwright_core::port::SessionStore;
    "session.N1" n1_sixty_four_sessions_do_not_depend_on_each_other,
    "session.N1" n1_an_address_comes_back_as_it_was_and_one_over_its_bound_leaves_nothing,
    "session.N2" n2_the_stores_clock_sets_every_expiry,
    "session.N2" n2_a_session_dies_when_the_stores_clock_says_so,
    "session.N2" n2_the_stores_time_never_goes_backwards,
    "session.N3" n3_renewing_what_does_not_live_is_lost_and_changes_nothing,
    "session.N3" n3_only_begin_creates,
    "session.N3" n3_a_renewal_that_races_an_end_revives_nothing,
    "session.N4" n4_a_used_id_is_refused_whatever_became_of_it,
    "session.N4" n4_one_of_many_begins_of_an_id_wins,
    "session.N5" n5_the_dead_stay_listed_until_they_are_forgotten,
    "session.N5" n5_the_dead_are_listed_in_ascending_pages_within_their_bounds,
}
