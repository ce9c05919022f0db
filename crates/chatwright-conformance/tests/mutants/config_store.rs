use std::sync::Arc;

use chatwright_conformance::config_store::CLAUSES;
use chatwright_core::port::ConfigWriter;
use parking_lot::Mutex;

use crate::broken_configs::{BrokenConfigs, Fault, Tables};
use crate::caught::{Mutant, all_are_caught_at_once, verdict};

fn broken(fault: Fault) -> Mutant<dyn ConfigWriter> {
    let tables = Arc::<Mutex<Tables>>::default();
    Box::new(move || Arc::new(BrokenConfigs::connect(fault, &tables)))
}

const AFTER: &str = "f1_a_read_after_a_write_was_answered_gives_it";
const BESIDE: &str = "f1_a_read_beside_a_writer_gives_the_last_answer_or_a_later_write";
const SURVIVES: &str = "f1_what_was_answered_survives_reopening";
const VALUES: &str = "f2_values_come_back_byte_for_byte";
const IDS: &str = "f2_ids_are_compared_byte_for_byte";
const KINDS: &str = "f2_kinds_do_not_mix";
const PAGES: &str = "f3_pages_of_any_size_ascend_by_the_bytes_of_the_id";
const EMPTY: &str = "f3_the_empty_id_is_listed_first";
const WALK: &str = "f3_a_row_that_rests_is_listed_once_while_others_change";
const BOUNDS: &str = "f3_a_page_has_its_bounds";
const WRITE: &str = "f4_a_write_happens_only_at_the_expected_version";
const DELETION: &str = "f4_a_deletion_happens_only_at_the_expected_version";
const ONE: &str = "f4_sixty_four_writers_of_one_version_have_one_winner";
const DROPPED: &str = "f4_a_dropped_write_is_whole_or_absent_and_the_store_goes_on";
const GROW: &str = "f5_versions_grow_across_deletions";
const NEVER: &str = "f5_a_version_from_before_a_deletion_never_matches_again";
const OVER: &str = "f6_a_value_over_its_bound_is_refused_and_changes_nothing";

#[test]
fn every_broken_store_of_the_configuration_is_caught_by_the_clause_that_it_breaks() {
    let mutants = [
        (AFTER, "shows a write when the next one comes", Fault::OneWriteLate),
        (AFTER, "keeps rows in each connection", Fault::CachesPerConnection),
        (AFTER, "lists a copy", Fault::ListsACopy),
        (AFTER, "shows the deleted", Fault::ShowsTheDeleted),
        (BESIDE, "goes back now and then", Fault::GoesBackNowAndThen),
        (BESIDE, "writes the version before the value", Fault::WritesInTwoSteps),
        (SURVIVES, "keeps nothing", Fault::ForgetsOnReopening),
        (SURVIVES, "loses the last write", Fault::LosesTheLastWriteOnReopening),
        (SURVIVES, "revives the deleted", Fault::RevivesTheDeletedOnReopening),
        (VALUES, "rewrites JSON", Fault::RewritesJson),
        (VALUES, "rewrites JSON that replaces other", Fault::RewritesWhatReplaces),
        (VALUES, "drops NUL", Fault::DropsNul),
        (VALUES, "trims values", Fault::TrimsValues),
        (VALUES, "takes null for none", Fault::NullIsNone),
        (VALUES, "refuses the largest value", Fault::RefusesTheLargest),
        (IDS, "ignores case", Fault::IgnoresCase),
        (IDS, "trims ids", Fault::TrimsIds),
        (IDS, "cuts ids short", Fault::CutsIds),
        (IDS, "cuts ids at NUL", Fault::CutsIdsAtNul),
        (IDS, "normalizes ids", Fault::NormalizesIds),
        (IDS, "takes ids for patterns", Fault::TakesIdsForPatterns),
        (IDS, "does not find the empty id", Fault::HasNoEmptyId),
        (KINDS, "mixes kinds", Fault::MixesKinds),
        (KINDS, "lists all kinds", Fault::ListsAllKinds),
        (KINDS, "deletes an id of all kinds", Fault::DeletesAllKinds),
        (PAGES, "lists in the order of writing", Fault::InTheOrderOfWriting),
        (PAGES, "lists by UTF-16", Fault::ByUtf16),
        (PAGES, "lists by length", Fault::ByLength),
        (PAGES, "lists ignoring case", Fault::IgnoringCase),
        (PAGES, "takes `after` as inclusive", Fault::InclusiveAfter),
        (PAGES, "skips one between pages", Fault::SkipsBetweenPages),
        (PAGES, "ends pages early", Fault::EndsPagesEarly),
        (PAGES, "goes on only from a row", Fault::NeedsTheRowOfAfter),
        (EMPTY, "begins after the empty id", Fault::BeginsAfterTheEmptyId),
        (EMPTY, "does not find the empty id", Fault::HasNoEmptyId),
        (WALK, "pages by number", Fault::PagesByNumber),
        (WALK, "goes on only from a row", Fault::NeedsTheRowOfAfter),
        (BOUNDS, "takes pages of any size", Fault::AnyPage),
        (WRITE, "writes always", Fault::WritesAlways),
        (WRITE, "creates over what is present", Fault::CreatesOverThePresent),
        (WRITE, "creates under any version", Fault::CreatesUnderAnyVersion),
        (WRITE, "writes unless the stored version is newer", Fault::WritesUnlessNewer),
        (WRITE, "takes the version of any kind", Fault::TakesTheVersionOfAnyKind),
        (WRITE, "takes huge versions for none", Fault::TakesHugeVersionsForNone),
        (WRITE, "writes despite a conflict", Fault::ConflictsWrite),
        (WRITE, "counts conflicts", Fault::ConflictsCount),
        (WRITE, "tells the expected version", Fault::TellsTheExpected),
        (DELETION, "deletes always", Fault::DeletesAlways),
        (DELETION, "deletes nothing under any version", Fault::DeletesUnderAnyVersion),
        (DELETION, "cannot delete nothing", Fault::DeletingNothingConflicts),
        (DELETION, "makes a row by deleting nothing", Fault::DeletingNothingMakesARow),
        (DELETION, "deletes to null", Fault::DeletesToNull),
        (ONE, "checks, then writes", Fault::ChecksThenWrites),
        (ONE, "answers a lost race with an error", Fault::LosingIsAnError),
        (ONE, "tells a loser what it has read before", Fault::TellsWhatItReadBefore),
        (DROPPED, "removes, then writes", Fault::HalfWhenDropped),
        (DROPPED, "stays locked", Fault::LockedWhenDropped),
        (GROW, "restarts after a deletion", Fault::RestartsAfterADeletion),
        (GROW, "takes one more than the highest there is", Fault::OneMoreThanTheHighest),
        (GROW, "counts anew when it is opened", Fault::CountsAnewWhenOpened),
        (GROW, "begins at zero", Fault::BeginsAtZero),
        (GROW, "counts only creations", Fault::CountsOnlyCreations),
        (NEVER, "restarts after a deletion", Fault::RestartsAfterADeletion),
        (NEVER, "counts anew when it is opened", Fault::CountsAnewWhenOpened),
        (OVER, "takes values of any size", Fault::NoBound),
        (OVER, "counts characters", Fault::BoundsCharacters),
        (OVER, "keeps what it refuses", Fault::KeepsTheRefused),
        (OVER, "refuses the largest value", Fault::RefusesTheLargest),
        (OVER, "cuts what is too large", Fault::CutsTheRefused),
        (OVER, "deletes what it refuses to replace", Fault::DeletesTheRefused),
    ];
    all_are_caught_at_once(
        CLAUSES,
        mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into(),
    );
}

#[test]
fn the_store_that_is_broken_for_the_mutants_is_sound_without_a_fault() {
    for clause in CLAUSES {
        assert_eq!(verdict(clause, broken(Fault::None), false), None, "{}", clause.name);
    }
}
