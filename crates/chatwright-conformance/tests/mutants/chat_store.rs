use std::sync::Arc;

use chatwright_conformance::chat_store::CLAUSES;
use chatwright_core::port::ChatStore;
use parking_lot::Mutex;

use crate::broken_store::{BrokenStore, Fault, Tables};
use crate::caught::{Mutant, all_are_caught};

fn broken(fault: Fault) -> Mutant<dyn ChatStore> {
    let tables: Arc<Mutex<Tables>> = Arc::default();
    Box::new(move || Arc::new(BrokenStore::connect(fault, &tables)))
}

#[test]
fn every_broken_chat_store_is_caught_by_the_clause_that_it_breaks() {
    let mutants = [
        (
            "s1_head_and_records_become_visible_together",
            "writes the head before the records",
            Fault::HeadBeforeRecords,
        ),
        (
            "s1_a_refused_commit_leaves_nothing_behind",
            "writes records despite a conflict",
            Fault::RecordsDespiteConflict,
        ),
        ("s2_a_commit_applies_only_at_the_expected_revision", "ignores `expect`", Fault::IgnoresExpect),
        (
            "s2_a_commit_applies_only_at_the_expected_revision",
            "creates a chat again",
            Fault::RecreatesExisting,
        ),
        ("s3_sixty_four_writers_of_one_revision_have_one_winner", "checks, then acts", Fault::ChecksThenActs),
        ("s4_what_was_acknowledged_survives_reopening", "keeps nothing", Fault::ForgetsOnReopening),
        (
            "s4_what_was_acknowledged_survives_reopening",
            "loses the last commit",
            Fault::ForgetsTheLastCommitOnReopening,
        ),
        ("s5_a_read_after_ok_observes_the_commit", "serves cached heads", Fault::CachesHeads),
        (
            "s6_records_ascend_without_holes_in_pages_of_any_size",
            "takes `after` as inclusive",
            Fault::InclusiveAfter,
        ),
        ("s6_records_ascend_without_holes_in_pages_of_any_size", "reads backwards", Fault::Descending),
        (
            "s6_records_ascend_without_holes_in_pages_of_any_size",
            "drops a record at a page's end",
            Fault::EndsPagesEarly,
        ),
        ("s6_a_page_stops_at_its_bytes_and_is_never_empty", "gives pages of any size", Fault::NoPageBytes),
        ("s6_a_page_stops_at_its_bytes_and_is_never_empty", "gives an empty page", Fault::EmptyPageWhenLarge),
        ("s6_records_never_lag_the_head", "reads records from a lagging replica", Fault::RecordsLag),
        ("s7_bodies_and_state_come_back_byte_for_byte", "drops NUL", Fault::DropsNul),
        ("s7_bodies_and_state_come_back_byte_for_byte", "rewrites JSON", Fault::RewritesJson),
        ("s7_times_and_the_index_come_back_exactly", "keeps whole seconds", Fault::WholeSeconds),
        ("s7_times_and_the_index_come_back_exactly", "forgets labels", Fault::ForgetsLabels),
        ("s8_sixty_four_chats_neither_mix_nor_conflict", "cuts ids short", Fault::ShortIds),
        (
            "s8_sixty_four_chats_neither_mix_nor_conflict",
            "has one revision for all",
            Fault::OneRevisionForAll,
        ),
        (
            "s9_a_conflict_means_not_applied_and_a_race_has_no_other_error",
            "calls a lost race an error",
            Fault::RaceIsAnError,
        ),
        (
            "s9_a_conflict_means_not_applied_and_a_race_has_no_other_error",
            "retries commits",
            Fault::RetriesAndConflictsWithItself,
        ),
        (
            "s10_a_dropped_commit_is_whole_or_absent_and_the_store_goes_on",
            "stops half-way",
            Fault::HalfWhenDropped,
        ),
        (
            "s10_a_dropped_commit_is_whole_or_absent_and_the_store_goes_on",
            "stays locked",
            Fault::LockedWhenDropped,
        ),
        ("s11_due_lists_what_is_past_in_order_and_in_pages", "loses ties between pages", Fault::DueLosesTies),
        ("s11_due_lists_what_is_past_in_order_and_in_pages", "does not order", Fault::DueUnordered),
        ("s11_due_lists_what_is_past_in_order_and_in_pages", "lists the future", Fault::DueBeforeTime),
        ("s11_due_follows_the_head", "keeps the first time", Fault::DueKeepsTheFirstTime),
        (
            "s12_held_lists_every_chat_of_the_session_in_pages",
            "skips one between pages",
            Fault::HeldInclusiveAfter,
        ),
        (
            "s12_held_lists_every_chat_of_the_session_in_pages",
            "lists only what is due",
            Fault::HeldNeedsWakeAt,
        ),
        ("s12_held_follows_the_head", "keeps the first holder", Fault::HeldKeepsTheFirstHolder),
        (
            "s13_revisions_answer_in_order_for_a_thousand_chats",
            "leaves unknown chats out",
            Fault::RevisionsSkipUnknown,
        ),
        (
            "s13_revisions_answer_in_order_for_a_thousand_chats",
            "takes a hundred",
            Fault::RevisionsAtMostAHundred,
        ),
        ("s14_a_purged_chat_is_gone_for_good", "keeps records", Fault::PurgeKeepsRecords),
        ("s14_a_purged_chat_is_gone_for_good", "forgets the id", Fault::PurgeForgetsTheId),
        ("s14_a_purge_leaves_other_chats_alone", "takes a neighbour too", Fault::PurgeTakesTheNextChatToo),
    ];
    all_are_caught(CLAUSES, mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into());
}
