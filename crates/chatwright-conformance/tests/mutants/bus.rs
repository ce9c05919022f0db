use std::sync::Arc;

use chatwright_conformance::bus::{BusRig, CLAUSES};

use crate::broken_bus::{BrokenBus, Fault, Links};
use crate::caught::{Mutant, all_are_caught_at_once};

fn broken(fault: Fault) -> Mutant<dyn BusRig> {
    let links = Arc::<Links>::default();
    Box::new(move || Arc::new(BrokenBus::connect(fault, &links)))
}

const ACTIVE: &str = "b1_a_subscription_is_active_when_subscribe_returns";
const ELSEWHERE: &str = "b1_a_subscription_is_active_for_publishers_elsewhere";
const ORDER: &str = "b2_frames_of_one_publisher_come_in_their_order";
const TOPICS: &str = "b3_topics_do_not_leak";
const LOSS: &str = "b4_a_loss_is_told_where_it_happened";
const DEAD: &str = "b4_a_dead_link_ends_the_stream";
const SLOW: &str = "b5_a_subscriber_that_never_reads_blocks_no_publisher";
const DROPPED: &str = "b6_dropping_the_stream_unsubscribes";
const INTACT: &str = "b7_frames_of_up_to_4096_bytes_come_back_as_they_were";
const LARGE: &str = "b7_larger_frames_are_refused_and_reach_nobody";

#[test]
fn every_broken_bus_is_caught_by_the_clause_that_it_breaks() {
    let mutants = [
        (ACTIVE, "is active late", Fault::ActiveLate),
        (ACTIVE, "is active late for a known topic", Fault::ActiveLateTheSecondTime),
        (ELSEWHERE, "is active late for other handles", Fault::ActiveLateElsewhere),
        (ELSEWHERE, "reaches its own handle alone", Fault::StaysInTheHandle),
        (ORDER, "gives the last frame first", Fault::LastInFirstOut),
        (ORDER, "swaps neighbours", Fault::SwapsNeighbours),
        (TOPICS, "matches prefixes", Fault::MatchesPrefixes),
        (TOPICS, "ignores case", Fault::IgnoresCase),
        (TOPICS, "cuts topics at 63 characters", Fault::CutsTopics),
        (TOPICS, "trims topics", Fault::TrimsTopics),
        (TOPICS, "drops empty frames", Fault::DropsEmptyFrames),
        (LOSS, "loses the oldest in silence", Fault::LosesInSilence),
        (LOSS, "loses the newest in silence", Fault::LosesTheNewestInSilence),
        (LOSS, "tells a loss too early", Fault::TellsTheLossTooEarly),
        (DEAD, "hangs when its link is dead", Fault::HangsWhenDead),
        (DEAD, "stays dead", Fault::StaysDead),
        (SLOW, "blocks the publisher", Fault::BlocksThePublisher),
        (DROPPED, "never unsubscribes", Fault::NeverUnsubscribes),
        (DROPPED, "unsubscribes all", Fault::UnsubscribesAll),
        (DROPPED, "remembers a dropped subscribe", Fault::RemembersADroppedSubscribe),
        (INTACT, "cuts frames at 4,000 bytes", Fault::CutsFrames),
        (INTACT, "refuses frames over 4,000 bytes", Fault::RefusesLargeFrames),
        (INTACT, "takes frames for text", Fault::TextOnly),
        (INTACT, "ends frames at NUL", Fault::EndsAtNul),
        (INTACT, "takes topics up to 63 bytes", Fault::ShortTopics),
        (LARGE, "does not check sizes", Fault::NoSizeCheck),
        (LARGE, "delivers what it refuses", Fault::DeliversThenRefuses),
    ];
    all_are_caught_at_once(
        CLAUSES,
        mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into(),
    );
}
