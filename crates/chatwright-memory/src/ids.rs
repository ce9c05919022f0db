use std::sync::atomic::{AtomicU64, Ordering};

use chatwright_core::Uuid;
use chatwright_core::port::Ids;

/// The same ids for the same seed: for tests and simulations.
///
/// They are version 7 UUIDs (I2) of one fixed millisecond, in no order at all: whoever sorts by id is found out. One
/// instance never gives an id twice (I1); two instances of one seed give the same.
///
/// ```
/// use chatwright_core::ChatId;
/// use chatwright_memory::SeededIds;
///
/// let chat = ChatId::mint(&SeededIds::new(7));
/// assert_eq!(chat, ChatId::mint(&SeededIds::new(7)));
/// ```
#[derive(Debug)]
pub struct SeededIds(AtomicU64);

/// 2023-11-14T22:13:20Z.
const UNIX_MILLIS: u128 = 1_700_000_000_000;
/// The step of SplitMix64. It is odd, so that the state takes each of its 2⁶⁴ values once.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl SeededIds {
    /// The ids of this seed, from the first one on.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Ids for SeededIds {
    fn uuid(&self) -> Uuid {
        let random = u128::from(mix(self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP)));
        // RFC 9562, 5.7: 48 bits of time, the version, 12 bits, the variant 0b10, and 62 bits of which 52 are used.
        let (a, b) = (random >> 52, random & ((1 << 52) - 1));
        Uuid::from_u128(UNIX_MILLIS << 80 | 7 << 76 | a << 64 | 0b10 << 62 | b)
    }
}

/// The output function of SplitMix64. It maps no two states to one value.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use uuid::Variant;

    use super::*;

    fn first(seed: u64, count: usize) -> Vec<Uuid> {
        let ids = SeededIds::new(seed);
        (0..count).map(|_| ids.uuid()).collect()
    }

    #[test]
    fn the_generator_is_splitmix64() {
        // The reference outputs of Vigna's splitmix64.c for the seed 1234567.
        let ids = first(1_234_567, 2).into_iter().map(|id| id.as_u128());
        let random = ids.map(|id| (id >> 64 & 0xfff) << 52 | id & ((1 << 52) - 1)).collect::<Vec<_>>();
        assert_eq!(random, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn one_seed_never_gives_an_id_twice_and_gives_them_in_no_order() {
        let ids = first(0, 100_000);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        assert!(!ids.is_sorted());
    }

    proptest! {
        #[test]
        fn ids_are_version_7_uuids_and_depend_on_the_seed_alone(seed: u64) {
            let ids = first(seed, 50);
            prop_assert_eq!(&ids, &first(seed, 50));
            prop_assert_ne!(&ids, &first(seed.wrapping_add(1), 50));
            for id in ids {
                prop_assert_eq!((id.get_version_num(), id.get_variant()), (7, Variant::RFC4122));
                prop_assert_eq!(id.get_timestamp().map(|at| at.to_unix()), Some((1_700_000_000, 0)));
            }
        }
    }
}
