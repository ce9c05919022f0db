use std::sync::Arc;
use std::time::Duration;

use chatwright_core::Timestamp;
use chatwright_core::port::{Clock, SessionStore, StoreError};
use parking_lot::Mutex;

/// How long a time that a store told is carried on by this process's own clock.
const FRESH: Duration = Duration::from_secs(30);

/// Store time: what the store last told, plus what has passed since. The wall clock of this process does not count.
pub(crate) struct StoreTime {
    sessions: Arc<dyn SessionStore>,
    clock: Arc<dyn Clock>,
    told: Mutex<Option<(Timestamp, Duration)>>,
}

impl StoreTime {
    pub(crate) fn new(sessions: Arc<dyn SessionStore>, clock: Arc<dyn Clock>) -> Self {
        Self { sessions, clock, told: Mutex::new(None) }
    }

    /// Takes in what the store told just now.
    pub(crate) fn told(&self, now: Timestamp) {
        let carried = self.carried().map_or(now, |(carried, _)| carried.max(now));
        *self.told.lock() = Some((carried, self.clock.elapsed()));
    }

    /// Store time; asks the store if it has not told for a while.
    pub(crate) async fn now(&self) -> Result<Timestamp, StoreError> {
        if let Some((now, age)) = self.carried()
            && age < FRESH
        {
            return Ok(now);
        }
        self.told(self.sessions.now().await?);
        Ok(self.carried().map_or(Timestamp::default(), |(now, _)| now))
    }

    fn carried(&self) -> Option<(Timestamp, Duration)> {
        let (told, at) = (*self.told.lock())?;
        let age = self.clock.elapsed().saturating_sub(at);
        Some((told.after(age), age))
    }
}
