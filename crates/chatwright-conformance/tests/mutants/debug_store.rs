use std::sync::Arc;

use chatwright_conformance::debug_store::CLAUSES;
use chatwright_core::port::DebugStore;
use parking_lot::Mutex;

use crate::broken_debug::{BrokenDebug, Fault, Table};
use crate::caught::{Mutant, all_are_caught_at_once, verdict};

fn broken(fault: Fault) -> Mutant<dyn DebugStore> {
    let table = Arc::<Mutex<Table>>::default();
    Box::new(move || Arc::new(BrokenDebug::connect(fault, &table)))
}

const FIRST_END: &str = "d1_the_first_end_of_a_run_stays";
const NOW: &str = "d1_a_run_that_ends_without_a_time_ends_at_that_of_the_write";
const ENDS_AT_ONCE: &str = "d1_of_many_that_end_a_run_at_once_one_sets_its_end";
const STEP_END: &str = "d1_a_step_ends_when_it_was_last_ended";
const JOINS: &str = "d2_a_step_joins_a_run_of_its_chat_that_goes_on_and_no_other";
const JOINS_MEANWHILE: &str = "d2_no_step_joins_a_run_that_ends_meanwhile";
const RUN_RISES: &str = "d3_the_status_of_a_run_only_rises";
const STEP_RISES: &str = "d3_the_status_of_a_step_only_rises";
const SWEPT_OR_TOUCHED: &str = "d4_what_was_touched_is_not_swept_and_what_was_swept_is_not_touched";
const ONLY: &str = "d4_only_what_goes_on_and_is_older_is_swept";
const WITH_STEPS: &str = "d4_the_steps_of_a_run_that_is_swept_end_with_it";
const SO_MANY: &str = "d4_a_sweep_takes_so_many_runs_and_names_them";
const TOUCHING: &str = "d4_touching_meets_the_run_and_the_step_that_are_named_and_go_on";
const STAYS: &str = "d5_what_a_change_does_not_name_stays";
const CLEARS: &str = "d5_what_a_change_clears_is_gone";
const FORWARD: &str = "d5_whatever_happens_to_a_run_moves_its_time_forward_only";
const NUMBERS: &str = "d6_steps_are_numbered_in_their_order";
const NUMBERS_AT_ONCE: &str = "d6_steps_that_many_create_at_once_are_numbered_without_a_hole";
const ORDER: &str = "d7_the_writes_of_a_call_happen_in_their_order";
const TOGETHER: &str = "d7_the_writes_of_a_call_become_visible_together";
const AGAIN: &str = "d8_creating_again_changes_nothing";
const CREATE_AT_ONCE: &str = "d8_many_that_create_an_id_at_once_create_one_row";
const RUNS: &str = "d9_runs_come_back_as_they_were_given";
const STEPS: &str = "d9_steps_come_back_as_they_were_given";
const OUTLINE: &str = "d9_an_outline_is_a_step_without_what_is_large";
const SURVIVES: &str = "d10_what_was_written_survives_reopening";
const FRESH: &str = "d10_what_was_written_is_read_from_then_on";
const PAGES: &str = "d11_pages_of_any_size_list_every_run_of_the_chat_newest_first";
const STEP_PAGES: &str = "d11_pages_of_any_size_list_every_step_of_the_run";
const STEP_BYTES: &str = "d11_a_page_of_whole_steps_stops_at_its_bytes_and_is_never_empty";
const PAGE_BOUNDS: &str = "d11_a_page_has_its_bounds";
const THROUGH: &str = "d12_content_comes_back_through_each_run_that_has_it_and_no_other";
const SHARED: &str = "d12_content_stays_as_long_as_a_run_of_its_chat_has_it";
const CONTENT_BYTES: &str = "d12_an_answer_stops_at_its_bytes_and_is_never_empty";
const EXACTLY: &str = "d13_exactly_the_runs_that_every_condition_applies_to_are_deleted";
const ALL_CHATS: &str = "d13_a_deletion_that_names_no_chat_is_of_all_chats";
const AT_MOST: &str = "d13_at_most_so_many_runs_are_deleted_at_once";
const GONE: &str = "d13_a_deleted_run_is_gone_with_its_steps_and_contents";
const NO_CONDITION: &str = "d13_a_deletion_without_a_condition_is_refused";
const OVER: &str = "d14_what_is_over_its_bound_is_refused_with_all_of_its_call";
const AT_BOUND: &str = "d14_what_is_at_its_bound_is_written";
const DROPPED: &str = "d15_a_dropped_call_has_happened_whole_or_not_at_all_and_the_store_goes_on";

#[test]
fn every_broken_debug_store_is_caught_by_the_clause_that_it_breaks() {
    let mutants = [
        (FIRST_END, "takes the last end", Fault::LastEndStays),
        (FIRST_END, "takes the earliest time", Fault::FirstTimeStays),
        (FIRST_END, "takes the time of any change", Fault::AnyTimeMovesTheEnd),
        (NOW, "ends a run when it began", Fault::EndsAtItsStart),
        (NOW, "ends a run that goes on", Fault::EndsWhileItGoesOn),
        (NOW, "leaves a run open that comes ended", Fault::EndedAnewHasNoEnd),
        (ENDS_AT_ONCE, "looks first and ends then", Fault::ReadsThenEnds),
        (STEP_END, "takes the first end of a step", Fault::StepEndsOnce),
        (STEP_END, "takes the time of any change", Fault::StepEndsWithAnyTime),
        (STEP_END, "leaves a step open that comes ended", Fault::EndedStepAnewHasNoEnd),
        (JOINS, "takes steps of a run that has ended", Fault::EndedTakesSteps),
        (JOINS, "takes no change of a step when its run has ended", Fault::EndedTakesNoChanges),
        (JOINS, "takes steps of another chat", Fault::AnyChatTakesSteps),
        (JOINS, "changes runs of another chat", Fault::AnyChatChangesRuns),
        (JOINS, "says that a run has ended that is not there", Fault::MissingIsFinished),
        (JOINS, "says that a run is not there that has ended", Fault::FinishedIsMissing),
        (JOINS_MEANWHILE, "looks first and joins then", Fault::ReadsThenJoins),
        (RUN_RISES, "takes any status", Fault::RunFalls),
        (RUN_RISES, "changes the rest", Fault::LowerChangesTheRestOfARun),
        (RUN_RISES, "takes no status twice", Fault::EqualIsLower),
        (RUN_RISES, "lets what is done fail", Fault::RunErrorIsHighest),
        (STEP_RISES, "takes any status", Fault::StepFalls),
        (STEP_RISES, "lets what is done be interrupted", Fault::StepInterruptedIsHighest),
        (STEP_RISES, "touches the run although nothing changes", Fault::LowerStepTouchesItsRun),
        (SWEPT_OR_TOUCHED, "looks first and sweeps then", Fault::SweepReadsThenEnds),
        (SWEPT_OR_TOUCHED, "touches what was swept", Fault::TouchRevives),
        (ONLY, "sweeps what happened at the time", Fault::SweepIncludesBefore),
        (ONLY, "sweeps what began before the time", Fault::SweepByStart),
        (ONLY, "sweeps what has ended", Fault::SweepsWhatHasEnded),
        (ONLY, "leaves steps of other runs", Fault::SweepLeavesSteps),
        (ONLY, "sweeps steps of the time", Fault::SweepTakesFreshSteps),
        (WITH_STEPS, "leaves steps", Fault::SweepNeverEndsSteps),
        (WITH_STEPS, "ends steps again", Fault::SweepEndsEndedSteps),
        (WITH_STEPS, "takes it for an error", Fault::SweepIsAnError),
        (WITH_STEPS, "ends runs when they were last alive", Fault::SweepEndsAtBefore),
        (WITH_STEPS, "counts no steps", Fault::SweepCountsNoSteps),
        (SO_MANY, "sweeps all at once", Fault::SweepHasNoLimit),
        (SO_MANY, "names nothing", Fault::SweepNamesNothing),
        (SO_MANY, "ends more than it names", Fault::SweepEndsMoreThanItNames),
        (SO_MANY, "takes any limit", Fault::SweepTakesAnyLimit),
        (TOUCHING, "touches what has ended", Fault::TouchRevives),
        (TOUCHING, "leaves the step", Fault::TouchLeavesTheStep),
        (TOUCHING, "touches all steps", Fault::TouchMeetsAllSteps),
        (TOUCHING, "touches the run of a strange step", Fault::TouchOfAStrangeStepMeetsTheRun),
        (TOUCHING, "touches steps that have ended", Fault::TouchMeetsEndedSteps),
        (TOUCHING, "sets times back", Fault::TouchSetsBack),
        (STAYS, "clears of a run what is absent", Fault::AbsentClearsOfARun),
        (STAYS, "clears of a step what is absent", Fault::AbsentClearsOfAStep),
        (STAYS, "clears what is large if it is absent", Fault::AbsentClearsWhatIsLarge),
        (CLEARS, "clears nothing", Fault::ClearKeeps),
        (CLEARS, "takes what is cleared for null", Fault::ClearIsNull),
        (CLEARS, "takes null for what is cleared", Fault::NullIsNothing),
        (FORWARD, "sets times back", Fault::ChangeSetsBack),
        (FORWARD, "sets the time of a run back to that of its step", Fault::StepSetsItsRunBack),
        (FORWARD, "does not touch the run of a step", Fault::StepDoesNotMeetItsRun),
        (FORWARD, "does not touch the run of a late step", Fault::LateStepDoesNotMeetItsRun),
        (NUMBERS, "takes the number that a step says", Fault::NumbersAreGiven),
        (NUMBERS, "numbers all runs at once", Fault::NumbersOfAllRuns),
        (NUMBERS, "begins with 0", Fault::NumbersFromZero),
        (NUMBERS, "gives numbers to what it refuses", Fault::RefusedTakesANumber),
        (NUMBERS_AT_ONCE, "looks first and numbers then", Fault::ReadsThenNumbers),
        (ORDER, "begins with the last write", Fault::Backwards),
        (ORDER, "stops where nothing is done", Fault::StopsWhereNothingIsDone),
        (TOGETHER, "writes one by one", Fault::OneByOne),
        (AGAIN, "takes what a run says again", Fault::RunAgainOverwrites),
        (AGAIN, "says that a run is not there that is", Fault::RunAgainIsMissing),
        (AGAIN, "takes what a step says again", Fault::StepAgainOverwrites),
        (AGAIN, "has a step twice", Fault::StepAgainIsAnother),
        (AGAIN, "says of a step that is there that it came too late", Fault::StepAgainIsFinished),
        (AGAIN, "says that another chat's run is created", Fault::ForeignRunIsDone),
        (AGAIN, "tells the number of another run's step", Fault::ForeignStepIsTold),
        (CREATE_AT_ONCE, "looks first and creates then", Fault::ReadsThenCreates),
        (RUNS, "drops NUL", Fault::DropsNul),
        (RUNS, "keeps times to the second", Fault::KeepsSeconds),
        (RUNS, "takes every run for a turn's", Fault::EveryKindIsTurn),
        (RUNS, "takes nobody for an owner", Fault::NoOwnerIsEmpty),
        (RUNS, "takes no model for an empty one", Fault::NoModelIsEmpty),
        (RUNS, "rewrites JSON", Fault::RewritesJson),
        (RUNS, "keeps numbers as floats", Fault::NumbersAreFloats),
        (RUNS, "forgets parents", Fault::ForgetsParents),
        (STEPS, "drops NUL", Fault::DropsNul),
        (STEPS, "keeps times to the second", Fault::KeepsSeconds),
        (STEPS, "takes no model for an empty one", Fault::NoModelIsEmpty),
        (STEPS, "rewrites JSON", Fault::RewritesJson),
        (STEPS, "keeps numbers as floats", Fault::NumbersAreFloats),
        (OUTLINE, "gives the whole", Fault::OutlineIsWhole),
        (OUTLINE, "gives less than an outline", Fault::OutlineIsLess),
        (SURVIVES, "keeps nothing", Fault::ForgetsOnReopening),
        (SURVIVES, "loses the last write", Fault::ForgetsTheLastWriteOnReopening),
        (SURVIVES, "loses contents", Fault::ForgetsContentsOnReopening),
        (FRESH, "shows a write when the next one comes", Fault::OneWriteLate),
        (FRESH, "keeps rows in each connection", Fault::KeepsPerConnection),
        (FRESH, "lists a run when the next write comes", Fault::ListsOneWriteLate),
        (PAGES, "lists the oldest first", Fault::OldestFirst),
        (PAGES, "lists by time alone", Fault::ByTimeAlone),
        (PAGES, "lists by the last change", Fault::ByUpdate),
        (PAGES, "goes on behind the time of the last run", Fault::GoesOnBehindTheTime),
        (PAGES, "lists the first page again", Fault::IgnoresBefore),
        (PAGES, "lists the last run again", Fault::IncludesBefore),
        (PAGES, "ends a page early", Fault::FullPagesAreShort),
        (PAGES, "cuts ids of chats", Fault::FindsChatsBySomeBits),
        (STEP_PAGES, "lists the first page again", Fault::StepsIgnoreAfter),
        (STEP_PAGES, "lists the last step again", Fault::StepsIncludeAfter),
        (STEP_PAGES, "lists the last step first", Fault::StepsDescend),
        (STEP_PAGES, "lists by time", Fault::StepsByStart),
        (STEP_PAGES, "lists steps of another chat's run", Fault::StepsOfAnyChat),
        (STEP_BYTES, "gives pages of any size", Fault::PagesOfAnyBytes),
        (STEP_BYTES, "gives an empty page for a large step", Fault::EmptyPageForALargeStep),
        (STEP_BYTES, "counts what an outline leaves out", Fault::OutlinesStopAtBytes),
        (PAGE_BOUNDS, "takes a page of any size", Fault::TakesAnyPage),
        (PAGE_BOUNDS, "takes any number of names", Fault::TakesAnyNames),
        (THROUGH, "gives contents of the chat", Fault::ContentOfTheChat),
        (THROUGH, "gives contents of all chats", Fault::ContentOfAllChats),
        (THROUGH, "takes no contents of what has ended", Fault::ContentOfEndedIsRefused),
        (THROUGH, "answers in an order of its own", Fault::ContentInItsOwnOrder),
        (THROUGH, "takes contents for text", Fault::ContentIsText),
        (SHARED, "deletes what others have", Fault::DeletionTakesSharedContent),
        (CONTENT_BYTES, "gives answers of any size", Fault::PagesOfAnyBytes),
        (CONTENT_BYTES, "gives an empty answer", Fault::ContentStopsBeforeTheFirst),
        (EXACTLY, "ignores the chat", Fault::DeletionIgnoresTheChat),
        (EXACTLY, "ignores when a run began", Fault::DeletionIgnoresTheStart),
        (EXACTLY, "takes one condition for all", Fault::DeletionWithAnyCondition),
        (EXACTLY, "deletes what happened at the time", Fault::DeletionIncludesTheTime),
        (EXACTLY, "spares what goes on", Fault::DeletionSparesOpenRuns),
        (EXACTLY, "does not look at steps", Fault::WithinIgnoresSteps),
        (EXACTLY, "does not look at prompts of steps", Fault::WithinIgnoresTips),
        (EXACTLY, "deletes what is at the end", Fault::WithinIncludesItsEnd),
        (ALL_CHATS, "needs a chat", Fault::DeletionNeedsAChat),
        (ALL_CHATS, "spares what goes on", Fault::DeletionSparesOpenRuns),
        (ALL_CHATS, "ignores when a run began", Fault::DeletionIgnoresTheStart),
        (AT_MOST, "deletes all at once", Fault::DeletionHasNoLimit),
        (AT_MOST, "tells of fewer", Fault::DeletionTellsOneLess),
        (AT_MOST, "takes any limit", Fault::DeletionTakesAnyLimit),
        (GONE, "keeps the steps", Fault::DeletionKeepsSteps),
        (GONE, "never takes the id again", Fault::DeletionKeepsTheId),
        (NO_CONDITION, "deletes everything", Fault::DeletionWithoutACondition),
        (OVER, "has no bounds", Fault::NoBounds),
        (OVER, "has no bound for all", Fault::NoBoundForAll),
        (OVER, "has no bound for their number", Fault::NoBoundForCount),
        (OVER, "has no bound for contents", Fault::NoBoundForContent),
        (OVER, "has no bound for changes", Fault::NoBoundForChanges),
        (OVER, "writes until it comes to what is too large", Fault::ChecksAsItGoes),
        (AT_BOUND, "refuses the largest", Fault::RefusesTheLargest),
        (DROPPED, "writes one by one", Fault::OneByOne),
        (DROPPED, "deletes in two steps", Fault::HalfADeletionWhenDropped),
        (DROPPED, "stays locked", Fault::LockedWhenDropped),
    ];
    all_are_caught_at_once(
        CLAUSES,
        mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into(),
    );
}

#[test]
fn the_debug_store_that_is_broken_for_the_mutants_is_sound_without_a_fault() {
    for clause in CLAUSES {
        assert_eq!(verdict(clause, broken(Fault::None), false), None, "{}", clause.name);
    }
}
