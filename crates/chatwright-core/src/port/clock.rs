use std::time::Duration;

use uuid::Uuid;

use crate::Timestamp;

/// Time, where it does not come from a store. Worker and command time is store time; this clock is for logs, and to
/// measure how long ago a store told its time.
///
/// | # | promise |
/// |---|---|
/// | K1 | [`elapsed`](Self::elapsed) never decreases. |
/// | K2 | [`now`](Self::now) is wall time: it may jump, and it is in milliseconds. |
pub trait Clock: Send + Sync + 'static {
    /// Wall time.
    fn now(&self) -> Timestamp;

    /// Time since some fixed point of this clock's own.
    fn elapsed(&self) -> Duration;
}

/// New identifiers.
///
/// | # | promise |
/// |---|---|
/// | I1 | No id is given twice, by any instance in any process. A seeded one, for tests, keeps this per seed. |
/// | I2 | Ids are version 7 UUIDs (RFC 9562). |
pub trait Ids: Send + Sync + 'static {
    /// A new id.
    fn uuid(&self) -> Uuid;
}
