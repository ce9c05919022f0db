use std::sync::Arc;

use chatwright_conformance::session_store::CLAUSES;
use chatwright_core::port::SessionStore;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::broken_sessions::{BrokenSessions, Fault, Tables};
use crate::caught::{Mutant, all_are_caught_at_once};

fn broken(fault: Fault) -> Mutant<dyn SessionStore> {
    let (started, tables) = (Instant::now(), Arc::<Mutex<Tables>>::default());
    Box::new(move || Arc::new(BrokenSessions::connect(fault, started, &tables)))
}

const ALONE: &str = "n1_sixty_four_sessions_do_not_depend_on_each_other";
const ADDRESS: &str = "n1_an_address_comes_back_as_it_was_and_one_over_its_bound_leaves_nothing";
const EXPIRY: &str = "n2_the_stores_clock_sets_every_expiry";
const DIES: &str = "n2_a_session_dies_when_the_stores_clock_says_so";
const TIME: &str = "n2_the_stores_time_never_goes_backwards";
const LOST: &str = "n3_renewing_what_does_not_live_is_lost_and_changes_nothing";
const CREATES: &str = "n3_only_begin_creates";
const RACE: &str = "n3_a_renewal_that_races_an_end_revives_nothing";
const USED: &str = "n4_a_used_id_is_refused_whatever_became_of_it";
const ONE: &str = "n4_one_of_many_begins_of_an_id_wins";
const LISTED: &str = "n5_the_dead_stay_listed_until_they_are_forgotten";
const PAGES: &str = "n5_the_dead_are_listed_in_ascending_pages_within_their_bounds";

#[test]
fn every_broken_session_store_is_caught_by_the_clause_that_it_breaks() {
    let mutants = [
        (ALONE, "ends all when it ends one", Fault::EndsAll),
        (ALONE, "renews all when it renews one", Fault::RenewsAll),
        (ADDRESS, "cuts addresses short", Fault::CutsAddresses),
        (ADDRESS, "takes addresses of any size", Fault::NoAddressBound),
        (ADDRESS, "keeps what it refuses", Fault::KeepsTheRefused),
        (ADDRESS, "gives an empty address for none", Fault::NoAddressIsEmpty),
        (EXPIRY, "sets expiries by a clock two hours ahead", Fault::SetsByAClockAhead),
        (EXPIRY, "adds the ttl to the old expiry", Fault::AddsToTheOldExpiry),
        (EXPIRY, "tells an old time", Fault::TellsAnOldTime),
        (DIES, "judges by a clock two hours ahead", Fault::JudgesByAClockAhead),
        (DIES, "never lets a session die", Fault::NeverExpires),
        (TIME, "lets its clock jump back", Fault::JumpsBack),
        (LOST, "creates by renewing", Fault::RenewCreates),
        (LOST, "revives the expired", Fault::RenewRevivesExpired),
        (LOST, "revives the ended", Fault::RenewRevivesEnded),
        (LOST, "changes the row of a lost session", Fault::LostChangesTheRow),
        (CREATES, "creates by renewing", Fault::RenewCreates),
        (CREATES, "creates by ending", Fault::EndCreates),
        (CREATES, "burns ids by forgetting", Fault::ForgetBurnsUnknownIds),
        (RACE, "renews in two steps", Fault::RenewsInTwoSteps),
        (USED, "reuses forgotten ids", Fault::ReusesForgotten),
        (USED, "reuses ended ids", Fault::ReusesEnded),
        (USED, "reuses expired ids", Fault::ReusesExpired),
        (USED, "begins a live session anew", Fault::OverwritesLive),
        (USED, "forgets when it is connected to again", Fault::ForgetsOnReconnecting),
        (ONE, "checks, then begins", Fault::ChecksThenBegins),
        (LISTED, "lists only the expired", Fault::ListsOnlyTheExpired),
        (LISTED, "forgets what it has listed", Fault::ListsOnce),
        (LISTED, "lists the living", Fault::ListsTheLiving),
        (LISTED, "forgets the living", Fault::ForgetsTheLiving),
        (PAGES, "takes `after` as inclusive", Fault::InclusiveAfter),
        (PAGES, "lists in the order of begin", Fault::Unordered),
        (PAGES, "skips one between pages", Fault::SkipsBetweenPages),
        (PAGES, "takes pages of any size", Fault::AnyPage),
    ];
    all_are_caught_at_once(
        CLAUSES,
        mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into(),
    );
}
