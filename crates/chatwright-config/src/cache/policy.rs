use std::time::Duration;

/// How long a [`Cache`](crate::Cache) keeps what, and its bounds. Settings are plain data; [`check`](Self::check) says whether they
/// make sense, and the cache's constructors ask it. A duration above 30 years counts as 30 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// How long a value is served after it was stored. It is live *before* that time has passed, not at it. With zero no
    /// value is ever live, and only callers at the same time share a fill. Default: 60 s.
    pub ttl: Duration,
    /// How long it is remembered that there is nothing for a key. Default: not at all.
    pub negative: Option<Duration>,
    /// How many entries there are at most, live or not. They are spread over up to 16 parts of at least 256 entries, and
    /// a part that is full evicts: the first evictions may come a little before the bound is reached. With 0 nothing is kept.
    /// Default: 10,000.
    pub entries_max: usize,
    /// How much the entries may weigh in all, in units of the weigher's choice, for example bytes
    /// ([`Cache::weighed`](crate::Cache::weighed)). It is divided by the number of parts (see [`entries_max`](Self::entries_max)), and
    /// an entry above a part's share is not kept. Default: no bound.
    pub weight_max: Option<u64>,
    /// How long a fill may take before it is ended. Default: 5 s; not zero.
    pub fill_max: Duration,
    /// How many fills run at once, refreshes and fills of invalidated keys included. Whoever would start another one waits.
    /// Default: 64; from 1 to 1,000,000.
    pub fills_max: usize,
    /// How much earlier than its time an entry may expire, as a part of its life that is drawn for each: entries that were
    /// stored together do not expire together. Default: 10; at most 10 percent.
    pub jitter_percent: u8,
    /// After so many percent of a value's life, a read starts a fill in the background and still gives the value at hand.
    /// If that fill fails, the value stays until its time, and the next try is made [`retry_after`](Self::retry_after)
    /// later. If no fill may be started ([`fills_max`](Self::fills_max)), a later read tries again. Default: no refresh; from 1 to 99.
    pub refresh_ahead: Option<u8>,
    /// How long after its time a value may still be served because a fill failed, timed out or panicked. Never a value
    /// that was invalidated, and never when the source says that there is nothing. Default: not at all.
    pub stale_if_error: Option<Duration>,
    /// How long after a failed fill an entry at hand is served before the source is asked again. Without an entry at hand
    /// the next read asks at once. Default: 1 s.
    pub retry_after: Duration,
    /// Sets jitter and the places of keys, so that a run can be repeated. Default: a random one.
    pub seed: Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(Duration::from_secs(60))
    }
}

impl Policy {
    /// The defaults, with this life.
    pub const fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            negative: None,
            entries_max: 10_000,
            weight_max: None,
            fill_max: Duration::from_secs(5),
            fills_max: 64,
            jitter_percent: 10,
            refresh_ahead: None,
            stale_if_error: None,
            retry_after: Duration::from_secs(1),
            seed: None,
        }
    }

    /// Whether the settings are within their bounds.
    ///
    /// # Errors
    /// [`InvalidPolicy`] for the first that is not.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        let invalid = |field, why| Err(InvalidPolicy { field, why });
        if self.fill_max.is_zero() {
            return invalid("fill_max", "no fill can end in no time");
        }
        if !(1..=1_000_000).contains(&self.fills_max) {
            return invalid("fills_max", "it is from 1 to 1,000,000");
        }
        if self.jitter_percent > 10 {
            return invalid("jitter_percent", "it is at most 10");
        }
        if self.refresh_ahead.is_some_and(|percent| !(1..=99).contains(&percent)) {
            return invalid("refresh_ahead", "it is from 1 to 99 percent of an entry's life");
        }
        Ok(())
    }

    /// How long an entry lives, and after what time of that it is due for a refresh. `draw` is any number.
    pub(super) fn life(&self, found: bool, draw: u64) -> Option<(Duration, Duration)> {
        let most = if found { self.ttl } else { self.negative? };
        let most = most.min(FAR);
        let jitter = (most * u32::from(self.jitter_percent) / 100).as_nanos();
        // A draw has 32 bits: the product fits, and is at most the whole jitter.
        let shorter = (jitter * u128::from(draw >> 32)) >> 32;
        let life = most.saturating_sub(Duration::from_nanos(u64::try_from(shorter).unwrap_or(u64::MAX)));
        let due = match self.refresh_ahead {
            Some(percent) if found => life * u32::from(percent) / 100,
            _ => life,
        };
        Some((life, due))
    }
}

/// The longest time of all: adding it to the present cannot overflow.
pub(super) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The `n`th number of the generator SplitMix64 that starts at `seed`.
pub(super) fn splitmix64(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A setting that is out of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache policy's {field} is invalid: {why}")]
#[non_exhaustive]
pub struct InvalidPolicy {
    /// The field of [`Policy`].
    pub field: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn jitter_shortens_a_life_by_0_to_10_percent_and_spreads_over_all_of_it() {
        let policy = Policy::new(HOUR);
        let lives = (0..1_000).map(|n| policy.life(true, splitmix64(7, n)).expect("values live").0);
        let mut percents: Vec<u128> = lives.map(|life| (HOUR - life).as_millis() / 36_000).collect();
        percents.sort_unstable();
        for percent in 0..10 {
            let count = percents.iter().filter(|&&p| p == percent).count();
            assert!((50..=150).contains(&count), "percent {percent} holds {count} of 1,000");
        }
        assert_eq!(policy.life(true, 0), Some((HOUR, HOUR)));
        let (shortest, _) = policy.life(true, u64::MAX).expect("values live");
        assert!(shortest >= HOUR * 9 / 10 && shortest < HOUR * 91 / 100, "{shortest:?}");
    }

    #[test]
    fn a_refresh_is_due_after_its_part_of_the_life_and_only_for_a_value() {
        let policy = Policy { refresh_ahead: Some(80), negative: Some(HOUR), ..Policy::new(HOUR) };
        assert_eq!(policy.life(true, 0), Some((HOUR, HOUR * 8 / 10)));
        assert_eq!(policy.life(false, 0), Some((HOUR, HOUR)));
    }

    #[test]
    fn the_longest_life_is_30_years_and_nothing_overflows() {
        let policy = Policy { refresh_ahead: Some(99), ..Policy::new(Duration::MAX) };
        assert_eq!(policy.life(true, 0).map(|(life, _)| life), Some(FAR));
        assert!(policy.life(true, u64::MAX).is_some_and(|(life, _)| life >= FAR * 9 / 10));
    }
}
