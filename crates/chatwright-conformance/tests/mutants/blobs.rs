use std::sync::Arc;

use chatwright_conformance::blobs::CLAUSES;
use chatwright_core::port::Blobs;
use parking_lot::Mutex;

use crate::broken_blobs::{BrokenBlobs, Fault, Tables};
use crate::caught::{Mutant, all_are_caught_at_once, verdict};

fn broken(fault: Fault) -> Mutant<dyn Blobs> {
    let tables = Arc::<Mutex<Tables>>::default();
    Box::new(move || Arc::new(BrokenBlobs::connect(fault, &tables)))
}

const BYTES: &str = "a1_bytes_come_back_as_they_were_put";
const FRESH: &str = "a2_what_was_put_opens_for_everybody_from_then_on";
const SURVIVES: &str = "a2_what_was_put_survives_reopening";
const SCOPED: &str = "a3_a_reference_opens_nothing_of_another_chat";
const SAME: &str = "a4_the_same_bytes_are_one_blob_and_others_are_not";
const GONE: &str = "a5_after_a_deletion_nothing_of_the_chat_opens";
const ALONE: &str = "a5_a_deletion_leaves_other_chats_alone";
const OVER: &str = "a6_a_blob_over_its_bound_is_refused_and_changes_nothing";
const DROPPED: &str = "a7_a_dropped_put_is_whole_or_absent_and_the_store_goes_on";
const STRANGE: &str = "a8_text_that_no_put_gave_opens_nothing";
const BESIDE: &str = "a8_what_is_there_is_never_told_to_be_absent";

#[test]
fn every_broken_store_of_blobs_is_caught_by_the_clause_that_it_breaks() {
    let mutants = [
        (BYTES, "drops NUL", Fault::DropsNul),
        (BYTES, "keeps text only", Fault::KeepsTextOnly),
        (BYTES, "trims white space", Fault::TrimsWhiteSpace),
        (BYTES, "keeps no empty blob", Fault::KeepsNothingOfNothing),
        (BYTES, "cuts long blobs", Fault::CutsLongBlobs),
        (BYTES, "refuses the largest", Fault::RefusesTheLargest),
        (FRESH, "shows a blob when the next one comes", Fault::OnePutLate),
        (FRESH, "keeps blobs in each connection", Fault::KeepsPerConnection),
        (SURVIVES, "keeps nothing", Fault::ForgetsOnReopening),
        (SURVIVES, "loses the last put", Fault::LosesTheLastPutOnReopening),
        (SCOPED, "has one table for all chats", Fault::OneTableForAll),
        (SCOPED, "opens what others have", Fault::OpensWhatOthersHave),
        (SCOPED, "cuts ids of chats", Fault::CutsChatIds),
        (SCOPED, "keeps equal bytes for the first chat only", Fault::SharesWhatIsEqual),
        (SAME, "gives a new reference each time", Fault::NewReferenceEachTime),
        (SAME, "looks at the length alone", Fault::ReferenceByLength),
        (SAME, "looks at the beginning alone", Fault::ReferenceByBeginning),
        (SAME, "ignores case", Fault::ReferenceIgnoresCase),
        (SAME, "counts owners of a blob of one chat", Fault::CountsOwners),
        (GONE, "deletes nothing", Fault::DeletesNothing),
        (GONE, "deletes one blob", Fault::DeletesTheFirst),
        (GONE, "deletes a few at a time", Fault::DeletesAFewAtATime),
        (GONE, "cannot delete nothing", Fault::CannotDeleteNothing),
        (GONE, "keeps nothing that was deleted once", Fault::CannotPutAfterADeletion),
        (GONE, "revives the deleted", Fault::RevivesOnReopening),
        (ALONE, "deletes everything", Fault::DeletesEverything),
        (ALONE, "deletes equal bytes of other chats", Fault::DeletesEqualBytesElsewhere),
        (ALONE, "has one table for all chats", Fault::OneTableForAll),
        (OVER, "takes blobs of any size", Fault::NoBound),
        (OVER, "cuts what is too large", Fault::CutsTheRefused),
        (OVER, "keeps what it refuses", Fault::KeepsTheRefused),
        (OVER, "clears the chat when it refuses", Fault::ClearsOnRefusal),
        (DROPPED, "writes in two steps", Fault::HalfWhenDropped),
        (DROPPED, "stays locked", Fault::LockedWhenDropped),
        (STRANGE, "answers strange text with an error", Fault::StrangeTextIsAnError),
        (STRANGE, "ignores the case of references", Fault::IgnoresCaseOfReferences),
        (STRANGE, "takes references for patterns", Fault::TakesReferencesForPatterns),
        (BESIDE, "tells that it is absent while it is busy", Fault::BusyIsAbsent),
        (BESIDE, "takes all away while it writes", Fault::RewritesWhileOthersRead),
    ];
    all_are_caught_at_once(
        CLAUSES,
        mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into(),
    );
}

#[test]
fn the_store_of_blobs_that_is_broken_for_the_mutants_is_sound_without_a_fault() {
    for clause in CLAUSES {
        assert_eq!(verdict(clause, broken(Fault::None), false), None, "{}", clause.name);
    }
}
