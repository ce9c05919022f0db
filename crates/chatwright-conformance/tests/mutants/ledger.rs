use std::sync::Arc;

use chatwright_conformance::ledger::CLAUSES;
use chatwright_core::port::Ledger;
use parking_lot::Mutex;

use crate::broken_ledger::{BrokenLedger, Fault, Table};
use crate::caught::{Mutant, all_are_caught_at_once, verdict};

fn broken(fault: Fault) -> Mutant<dyn Ledger> {
    let table = Arc::<Mutex<Table>>::default();
    Box::new(move || Arc::new(BrokenLedger::connect(fault, &table)))
}

const AGAIN: &str = "g1_opening_an_id_again_changes_nothing";
const AT_ONCE: &str = "g1_many_that_open_an_id_at_once_open_one_row";
const FIRST: &str = "g2_the_first_close_wins";
const CORRECTED: &str = "g2_an_estimate_is_corrected_once";
const UNKNOWN: &str = "g2_what_nobody_opened_is_unknown_and_stays_so";
const RACE: &str = "g2_of_many_that_close_a_row_at_once_one_does";
const ROWS: &str = "g3_rows_come_back_as_they_were_opened";
const FREE: &str = "g3_no_price_is_not_free";
const EXACT: &str = "g3_sums_are_exact";
const OVER: &str = "g3_what_is_over_its_bound_is_refused_and_changes_nothing";
const SURVIVES: &str = "g4_what_was_answered_survives_reopening";
const FRESH: &str = "g5_what_was_written_counts_from_then_on";
const PAGES: &str = "g6_pages_of_any_size_list_every_open_row_oldest_first";
const ONLY: &str = "g6_only_rows_that_are_open_and_older_are_listed";
const WALK: &str = "g6_a_row_that_stays_open_is_listed_once_while_others_close";
const BOUNDS: &str = "g6_a_page_has_its_bounds";
const SCOPE: &str = "g7_a_sum_counts_the_rows_of_its_scope_and_no_others";
const PERIOD: &str = "g7_a_period_begins_with_its_start_and_ends_before_its_end";
const KNOWN: &str = "g7_a_row_counts_with_what_is_known_of_it";
const REPORT: &str = "g7_a_report_has_one_line_for_each_purpose_and_model";
const DROPPED: &str = "g8_a_dropped_call_has_happened_or_not_and_the_ledger_goes_on";

#[test]
fn every_broken_ledger_is_caught_by_the_clause_that_it_breaks() {
    let mutants = [
        (AGAIN, "takes what is opened again", Fault::OpeningAgainOverwrites),
        (AGAIN, "reopens what is opened again", Fault::OpeningAgainReopens),
        (AGAIN, "has a row for each opening", Fault::OpeningAgainIsAnotherRow),
        (AGAIN, "takes the estimate of what is opened again", Fault::OpeningAgainChangesTheEstimate),
        (AGAIN, "takes what is opened after it was closed", Fault::OpeningAgainChangesWhatIsClosed),
        (AT_ONCE, "looks first and opens then", Fault::ChecksThenOpens),
        (AT_ONCE, "has a row for each opening", Fault::OpeningAgainIsAnotherRow),
        (FIRST, "takes the last close", Fault::LastCloseWins),
        (FIRST, "takes an estimate for what is known", Fault::EstimateReplacesWhatIsKnown),
        (FIRST, "takes the last estimate", Fault::LastEstimateWins),
        (FIRST, "says that it closed what was closed", Fault::LateCloseSaysClosed),
        (FIRST, "reopens what is closed twice", Fault::LateCloseReopens),
        (CORRECTED, "corrects no estimate", Fault::NeverCorrects),
        (CORRECTED, "corrects it again and again", Fault::CorrectsAnyNumberOfTimes),
        (CORRECTED, "says that it closed what it corrected", Fault::CorrectionSaysClosed),
        (CORRECTED, "says still that it is estimated", Fault::CorrectionKeepsItsMark),
        (CORRECTED, "adds what is known to the estimate", Fault::CorrectionIsAdded),
        (CORRECTED, "keeps the estimated cost of what has none", Fault::CorrectionKeepsTheCost),
        (UNKNOWN, "says that it closed what nobody opened", Fault::UnknownIsClosed),
        (UNKNOWN, "says that what nobody opened is closed", Fault::UnknownIsAlready),
        (UNKNOWN, "opens what is closed", Fault::ClosingOpens),
        (UNKNOWN, "closes what is opened later", Fault::ClosingIsKeptForLater),
        (UNKNOWN, "cuts ids", Fault::FindsBySomeBits),
        (RACE, "looks first and closes then", Fault::ChecksThenCloses),
        (RACE, "takes the last close", Fault::LastCloseWins),
        (ROWS, "takes no tokens for zero", Fault::NoTokensAreZero),
        (ROWS, "takes no tokens of a cache for zero", Fault::NoTokensOfACacheAreZero),
        (ROWS, "takes no cost for zero", Fault::NoCostIsZero),
        (ROWS, "takes no gen for zero", Fault::NoGenIsZero),
        (ROWS, "takes no prices for zero", Fault::NoPricesAreZero),
        (ROWS, "takes no organization for an empty one", Fault::NoOrganizationIsEmpty),
        (ROWS, "drops NUL", Fault::DropsNul),
        (ROWS, "trims names", Fault::TrimsText),
        (ROWS, "cuts names", Fault::CutsNamesOfModels),
        (ROWS, "rounds costs", Fault::RoundsCostToMicros),
        (ROWS, "keeps counts as floats", Fault::NumbersAreFloats),
        (ROWS, "forgets what for", Fault::EveryPurposeIsTurn),
        (ROWS, "keeps times to the second", Fault::KeepsSeconds),
        (FREE, "takes no cost for zero", Fault::NoCostIsZero),
        (FREE, "counts the unpriced as free", Fault::UnpricedCountsAsFree),
        (FREE, "counts the free as unpriced", Fault::FreeCountsAsUnpriced),
        (EXACT, "rounds each cost", Fault::RoundsCostToMicros),
        (EXACT, "rounds each cost of a sum", Fault::SumsRoundEachCost),
        (EXACT, "sums costs as floats", Fault::SumsCostInFloats),
        (EXACT, "sums costs in 64 bits", Fault::SumsCostIn64Bits),
        (EXACT, "sums tokens as floats", Fault::SumsTokensInFloats),
        (EXACT, "starts again at zero where tokens are too many", Fault::SumsTokensWrap),
        (EXACT, "stops where a signed number ends", Fault::SumsTokensStopEarly),
        (OVER, "has no bounds", Fault::NoBounds),
        (OVER, "has no bound for tokens", Fault::BoundsForCostOnly),
        (OVER, "has no bound for the version of prices", Fault::NoBoundForPrices),
        (OVER, "lowers what is too large", Fault::LowersToTheBound),
        (OVER, "refuses the largest", Fault::RefusesTheLargest),
        (OVER, "keeps what it refuses", Fault::KeepsWhatItRefuses),
        (OVER, "closes with what it refuses", Fault::ClosesWhatItRefuses),
        (SURVIVES, "keeps nothing", Fault::ForgetsOnReopening),
        (SURVIVES, "loses the last write", Fault::ForgetsTheLastWriteOnReopening),
        (SURVIVES, "loses what was closed", Fault::ForgetsClosingsOnReopening),
        (SURVIVES, "loses a correction", Fault::ForgetsCorrectionsOnReopening),
        (FRESH, "shows a write when the next one comes", Fault::OneWriteLate),
        (FRESH, "keeps rows in each connection", Fault::KeepsPerConnection),
        (FRESH, "reports a write when the next one comes", Fault::ReportsOneWriteLate),
        (PAGES, "lists by id", Fault::ListsByIdAlone),
        (PAGES, "lists by time alone", Fault::ListsByTimeAlone),
        (PAGES, "lists the newest first", Fault::ListsNewestFirst),
        (PAGES, "goes on after the time of the last row", Fault::GoesOnAfterTheTime),
        (PAGES, "lists the first page again", Fault::IgnoresAfter),
        (PAGES, "lists the last row again", Fault::IncludesAfter),
        (PAGES, "drops a row at the end of a page", Fault::DropsARowAtTheEndOfAPage),
        (PAGES, "ends a page early", Fault::FullPagesAreShort),
        (PAGES, "begins nowhere", Fault::NothingFromTheBeginning),
        (ONLY, "lists what is closed", Fault::ListsWhatIsClosed),
        (ONLY, "lists what is closed with an estimate", Fault::ListsWhatIsEstimated),
        (ONLY, "lists what was opened at the time", Fault::IncludesBefore),
        (ONLY, "lists what was opened later", Fault::IgnoresBefore),
        (WALK, "goes on only after a row that is open", Fault::GoesOnOnlyAfterAnOpenRow),
        (WALK, "goes on after so many rows", Fault::CountsPages),
        (BOUNDS, "takes a page of any size", Fault::TakesAnyPage),
        (SCOPE, "ignores the owner", Fault::IgnoresOwner),
        (SCOPE, "ignores the organization", Fault::IgnoresOrganization),
        (SCOPE, "ignores the chat", Fault::IgnoresChat),
        (SCOPE, "takes one condition for all", Fault::AnyConditionWillDo),
        (SCOPE, "looks at the first condition alone", Fault::OnlyTheFirstCondition),
        (SCOPE, "ignores the case of owners", Fault::IgnoresCaseOfOwners),
        (SCOPE, "ignores white space behind owners", Fault::TrimsOwners),
        (SCOPE, "takes owners for patterns", Fault::TakesOwnersForPatterns),
        (SCOPE, "counts what has no organization for each", Fault::NoOrganizationIsEveryOne),
        (SCOPE, "cuts ids of chats", Fault::FindsChatsBySomeBits),
        (SCOPE, "ignores the scope of a report", Fault::ReportIgnoresScope),
        (PERIOD, "counts the end of a period", Fault::IncludesEnd),
        (PERIOD, "leaves the start of a period out", Fault::ExcludesStart),
        (PERIOD, "ignores the period", Fault::IgnoresPeriod),
        (PERIOD, "counts a row when it was closed", Fault::CountsWhenClosed),
        (PERIOD, "answers an empty period with an error", Fault::ReversedPeriodIsAnError),
        (KNOWN, "leaves open rows out", Fault::OpenDoesNotCount),
        (KNOWN, "counts open rows as nothing", Fault::OpenCountsNothing),
        (KNOWN, "does not tell of open rows", Fault::OpenIsNotTold),
        (KNOWN, "tells that open rows are estimated", Fault::OpenIsEstimated),
        (KNOWN, "leaves estimated rows out", Fault::EstimatedDoesNotCount),
        (KNOWN, "does not tell of estimated rows", Fault::EstimatedIsNotTold),
        (KNOWN, "counts the estimate of closed rows", Fault::ClosedKeepsItsEstimate),
        (KNOWN, "fills gaps with the estimate", Fault::EstimateFillsGaps),
        (REPORT, "takes all models of a provider for one", Fault::ReportMergesModels),
        (REPORT, "takes all models of a name for one", Fault::ReportMergesProviders),
        (REPORT, "takes all purposes for one", Fault::ReportMergesPurposes),
        (REPORT, "takes provider and model for one name", Fault::ReportMergesNames),
        (REPORT, "has a line for each row", Fault::ReportHasALineForEachRow),
        (REPORT, "sorts by model and purpose", Fault::ReportSortsByModel),
        (REPORT, "sorts purposes by their names", Fault::ReportSortsPurposesByName),
        (REPORT, "sorts by cost", Fault::ReportSortsByCost),
        (REPORT, "ignores case", Fault::ReportIgnoresCase),
        (REPORT, "ignores the scope of a report", Fault::ReportIgnoresScope),
        (DROPPED, "opens in two steps", Fault::HalfAnOpeningWhenDropped),
        (DROPPED, "closes in two steps", Fault::HalfAClosingWhenDropped),
        (DROPPED, "stays locked", Fault::LockedWhenDropped),
    ];
    all_are_caught_at_once(
        CLAUSES,
        mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into(),
    );
}

#[test]
fn the_ledger_that_is_broken_for_the_mutants_is_sound_without_a_fault() {
    for clause in CLAUSES {
        assert_eq!(verdict(clause, broken(Fault::None), false), None, "{}", clause.name);
    }
}
