use chatwright_core::port::timing::{Stage, StageAnomaly, TurnCategory, TurnTimes};
use tokio::time::Instant;

/// What the time of a turn is spent on. Each moment counts for what was entered last and not left yet, so that the categories are a
/// partition whatever is entered and left.
#[derive(Debug)]
pub(super) struct Laps {
    times: TurnTimes,
    inside: Vec<TurnCategory>,
    since: Instant,
    anomaly: Option<StageAnomaly>,
}

impl Laps {
    pub(super) fn new(now: Instant) -> Self {
        Self { times: TurnTimes::default(), inside: Vec::new(), since: now, anomaly: None }
    }

    /// From here on time is spent on this. Gives the depth to leave it at.
    pub(super) fn enter(&mut self, category: TurnCategory, now: Instant) -> usize {
        self.settle(now);
        let depth = self.inside.len();
        // Whatever a summary needs is part of it.
        let summary = self.inside.last() == Some(&TurnCategory::Compaction);
        self.inside.push(if summary { TurnCategory::Compaction } else { category });
        depth
    }

    /// Leaves everything that was entered behind the first so many.
    pub(super) fn leave(&mut self, depth: usize, now: Instant) {
        self.settle(now);
        self.inside.truncate(depth);
    }

    /// What has been spent until now.
    pub(super) fn times(&mut self, now: Instant) -> &mut TurnTimes {
        self.settle(now);
        &mut self.times
    }

    /// A stage that took place.
    pub(super) fn add(&mut self, stage: Stage, begun: Instant, now: Instant) {
        self.times.add(stage, now.saturating_duration_since(begun));
    }

    /// What the time of a turn that has ended was spent on.
    ///
    /// # Errors
    /// Why that says nothing.
    pub(super) fn finish(mut self, now: Instant) -> Result<TurnTimes, StageAnomaly> {
        self.settle(now);
        match self.anomaly {
            Some(anomaly) => Err(anomaly),
            None if self.times.total().is_zero() => Err(StageAnomaly::NonpositiveTurn),
            None => Ok(self.times),
        }
    }

    fn settle(&mut self, now: Instant) {
        let Some(passed) = now.checked_duration_since(self.since) else {
            self.anomaly = Some(StageAnomaly::NegativeElapsed);
            return;
        };
        let category = self.inside.last().copied().unwrap_or(TurnCategory::Unattributed);
        self.times.spend(category, passed);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Enter(TurnCategory),
        Leave(usize),
        Move(TurnCategory, TurnCategory, u64),
    }

    fn category() -> impl Strategy<Value = TurnCategory> {
        proptest::sample::select(TurnCategory::ALL)
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            category().prop_map(Act::Enter),
            (0_usize..6).prop_map(Act::Leave),
            (category(), category(), 0_u64..5_000).prop_map(|(from, to, time)| Act::Move(from, to, time)),
        ]
    }

    proptest! {
        #[test]
        fn categories_sum_to_the_turn_whatever_is_entered_and_left(
            acts in proptest::collection::vec((act(), 0_u64..10_000_000), 0..60),
            scheduled in 0_u64..10_000_000,
            last in 1_u64..10_000_000,
        ) {
            let begun = Instant::now();
            let mut now = begun;
            let mut laps = Laps::new(begun);
            laps.times(now).spend(TurnCategory::Scheduling, Duration::from_nanos(scheduled));
            for (act, passes) in acts {
                now += Duration::from_nanos(passes);
                match act {
                    Act::Enter(category) => drop(laps.enter(category, now)),
                    Act::Leave(depth) => laps.leave(depth, now),
                    Act::Move(from, to, time) => {
                        laps.times(now).reassign(from, to, Duration::from_nanos(time));
                    }
                }
            }
            now += Duration::from_nanos(last);
            let times = laps.finish(now).expect("time went on");
            let sum: Duration = TurnCategory::ALL.iter().map(|category| times.category(*category)).sum();
            prop_assert_eq!(sum, now - begun + Duration::from_nanos(scheduled));
            prop_assert_eq!(sum, times.total());
        }
    }

    #[test]
    fn a_nested_stage_takes_its_time_out_of_its_parent() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut laps = Laps::new(begun);
        laps.enter(TurnCategory::ToolExecution, begun + second);
        laps.enter(TurnCategory::Overhead, begun + 3 * second);
        laps.leave(1, begun + 4 * second);
        laps.leave(0, begun + 6 * second);
        laps.enter(TurnCategory::Compaction, begun + 6 * second);
        laps.enter(TurnCategory::Streaming, begun + 7 * second);
        let times = laps.finish(begun + 10 * second).expect("time went on");
        let spent = |category| times.category(category).as_secs();
        assert_eq!(spent(TurnCategory::Unattributed), 1);
        assert_eq!(spent(TurnCategory::ToolExecution), 4);
        assert_eq!(spent(TurnCategory::Overhead), 1);
        assert_eq!(spent(TurnCategory::Compaction), 4, "whatever a summary needs is part of it");
        assert_eq!(spent(TurnCategory::Streaming), 0);
    }

    #[test]
    fn a_turn_without_time_and_a_clock_that_goes_back_give_no_partition() {
        let begun = Instant::now() + Duration::from_secs(60);
        assert_eq!(Laps::new(begun).finish(begun), Err(StageAnomaly::NonpositiveTurn));
        let mut laps = Laps::new(begun);
        laps.enter(TurnCategory::Overhead, begun - Duration::from_secs(1));
        assert_eq!(laps.finish(begun + Duration::from_secs(1)), Err(StageAnomaly::NegativeElapsed));
    }
}
