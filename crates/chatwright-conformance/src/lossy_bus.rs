use std::sync::Arc;

use async_trait::async_trait;
use chatwright_core::port::{Bus, BusError, BusFrames, Topic};
use parking_lot::Mutex;

use crate::Chance;

/// A bus that loses, doubles and reorders frames by chance. Nothing but latency may depend on it.
pub struct LossyBus {
    inner: Arc<dyn Bus>,
    rates: LossyRates,
    chance: Chance,
    held_back: Mutex<Vec<(Topic, Vec<u8>)>>,
}

/// How often what happens, in percent of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossyRates {
    /// Frames that are lost.
    pub lose: u8,
    /// Frames that come twice.
    pub double: u8,
    /// Frames that come after a later one.
    pub reorder: u8,
}

impl LossyBus {
    /// Does so at these rates, by chance from the seed.
    pub fn new(inner: Arc<dyn Bus>, rates: LossyRates, chance: Chance) -> Self {
        Self { inner, rates, chance, held_back: Mutex::default() }
    }
}

#[async_trait]
impl Bus for LossyBus {
    async fn publish(&self, topic: &Topic, frame: &[u8]) -> Result<(), BusError> {
        BusError::check_frame(frame)?;
        if self.chance.percent(self.rates.lose) {
            return Ok(());
        }
        if self.chance.percent(self.rates.reorder) {
            self.held_back.lock().push((topic.clone(), frame.to_vec()));
            return Ok(());
        }
        self.inner.publish(topic, frame).await?;
        if self.chance.percent(self.rates.double) {
            self.inner.publish(topic, frame).await?;
        }
        let held_back = std::mem::take(&mut *self.held_back.lock());
        for (topic, frame) in held_back {
            self.inner.publish(&topic, &frame).await?;
        }
        Ok(())
    }

    async fn subscribe(&self, topic: &Topic) -> Result<BusFrames, BusError> {
        self.inner.subscribe(topic).await
    }
}
