use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use chatwright_core::Uuid;
use chatwright_core::port::Ids;

/// Chance from a seed (splitmix64). Shared by reference: every call takes the next number.
#[derive(Debug)]
pub struct Chance {
    seed: u64,
    drawn: AtomicU64,
}

impl Chance {
    /// The seed of `CHATWRIGHT_SEED`, or a new one.
    ///
    /// # Panics
    /// If `CHATWRIGHT_SEED` is no number.
    pub fn from_env() -> Self {
        let seed = match std::env::var("CHATWRIGHT_SEED") {
            Ok(text) => text.parse().expect("CHATWRIGHT_SEED is a number"),
            Err(_) => return Self::from_random(),
        };
        Self::new(seed)
    }

    /// A new seed.
    pub fn from_random() -> Self {
        // The keys of std's hash maps are the only randomness that std gives.
        Self::new(RandomState::new().hash_one(std::process::id()))
    }

    /// This seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: AtomicU64::new(0) }
    }

    /// The seed, to be printed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed) + 1;
        let mut z = self.seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True in `percent` of 100 calls.
    pub fn percent(&self, percent: u8) -> bool {
        self.below(100) < u64::from(percent)
    }
}

/// Ids of a test: version 7 UUIDs. They are new in every run, so that runs with one seed may share a database.
#[derive(Debug)]
pub struct KitIds(Chance);

impl KitIds {
    /// New ids.
    pub fn new() -> Self {
        Self(Chance::from_random())
    }
}

impl Default for KitIds {
    fn default() -> Self {
        Self::new()
    }
}

impl Ids for KitIds {
    fn uuid(&self) -> Uuid {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.0.next().to_be_bytes());
        random[8..].copy_from_slice(&self.0.next().to_be_bytes()[..2]);
        // One fixed time: ids are never used for order, and equal beginnings find stores that cut ids short.
        uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000, &random).into_uuid()
    }
}
