use std::time::Duration;

const MILLION: u128 = 1_000_000;

/// How much longer than planned a wait may be, as a share of it, from 0 to 1 in steps of a millionth.
///
/// A wait is only ever made longer: one that were shorter could end before the time that a provider asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jitter {
    millionths: u32,
}

impl Jitter {
    /// Every wait is exactly as planned. Many waiters then come back at once.
    pub const NONE: Self = Self { millionths: 0 };
    /// Up to a tenth longer.
    pub const TENTH: Self = Self { millionths: 100_000 };

    /// A share from 0 to 1, rounded to a millionth.
    ///
    /// # Errors
    /// [`InvalidJitter`] if the ratio is not a number, below 0 or above 1.
    pub fn new(ratio: f64) -> Result<Self, InvalidJitter> {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(InvalidJitter);
        }
        Ok(Self { millionths: (ratio * MILLION as f64).round() as u32 })
    }

    /// The share, from 0 to 1.
    pub fn ratio(self) -> f64 {
        f64::from(self.millionths) / MILLION as f64
    }

    /// At most how much is added to this wait.
    pub(crate) fn most(self, wait: Duration) -> Duration {
        duration(wait.as_nanos() * u128::from(self.millionths) / MILLION)
    }

    /// How much is added to this wait by whoever has this seed, the `n`th time.
    pub(crate) fn extra(self, wait: Duration, seed: u64, n: u32) -> Duration {
        share(self.most(wait), seed, n)
    }
}

impl Default for Jitter {
    /// [`TENTH`](Self::TENTH).
    fn default() -> Self {
        Self::TENTH
    }
}

/// A jitter that is not a number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a jitter is a number from 0 to 1")]
pub struct InvalidJitter;

/// A share of `whole` from none to all of it, drawn by the seed and `n`.
pub(crate) fn share(whole: Duration, seed: u64, n: u32) -> Duration {
    let fraction = splitmix64(seed, n) >> 32;
    duration((whole.as_nanos() * u128::from(fraction)) >> 32)
}

/// The `n`th number of the generator SplitMix64 that starts at `seed`.
fn splitmix64(seed: u64, n: u32) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(n)));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// So many nanoseconds, or the longest duration that there is.
pub(crate) fn duration(nanos: u128) -> Duration {
    const NANOS: u128 = 1_000_000_000;
    match u64::try_from(nanos / NANOS) {
        Ok(seconds) => Duration::new(seconds, (nanos % NANOS) as u32),
        Err(_) => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_numbers() {
        // Of the reference implementation, for the seed 1234567.
        let numbers = [6457827717110365317, 3203168211198807973, 9817491932198370423];
        assert_eq!([1, 2, 3].map(|n| splitmix64(1_234_567, n)), numbers);
    }

    #[test]
    fn a_jitter_is_a_number_from_0_to_1() {
        for ratio in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, 1.000_001] {
            assert_eq!(Jitter::new(ratio), Err(InvalidJitter), "{ratio}");
        }
        assert_eq!(Jitter::new(0.0), Ok(Jitter::NONE));
        assert_eq!(Jitter::new(0.1), Ok(Jitter::default()));
        assert_eq!(Jitter::new(1.0).map(Jitter::ratio), Ok(1.0));
    }

    #[test]
    fn the_extra_wait_spreads_over_the_whole_share() {
        let whole = Duration::from_secs(100);
        let mut tenths: Vec<u64> = (0..1_000).map(|seed| share(whole, seed, 1).as_secs() / 10).collect();
        tenths.sort_unstable();
        for tenth in 0..10 {
            let count = tenths.iter().filter(|&&t| t == tenth).count();
            assert!((50..=150).contains(&count), "tenth {tenth} holds {count} of 1,000");
        }
    }

    #[test]
    fn the_longest_wait_has_a_share_too() {
        assert_eq!(Jitter::new(1.0).map(|all| all.most(Duration::MAX)), Ok(Duration::MAX));
        assert!(share(Duration::MAX, 1, 1) < Duration::MAX);
        assert_eq!(duration(u128::MAX), Duration::MAX);
    }
}
