use std::sync::Arc;
use std::time::Duration;

use chatwright_core::config::{ConfigKey, ConfigKind};
use chatwright_core::port::{Bus, BusError, Delivery, Topic};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use crate::configs::Caches;

/// A row of the configuration changed: what caches have of it is out of date. It travels on the bus as
/// `{"kind": "model_config", "entity_id": "fast"}`, on the topic [`Invalidation::topic`].
///
/// [`ConfigAdmin`](crate::ConfigAdmin) publishes it. A host that writes its tables by itself does so after each commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidation {
    /// What the row is about.
    pub kind: ConfigKind,
    /// Its id.
    pub entity_id: Box<str>,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    kind: std::borrow::Cow<'a, str>,
    #[serde(default)]
    entity_id: Option<std::borrow::Cow<'a, str>>,
}

impl Invalidation {
    /// Of this row.
    pub fn of(key: &ConfigKey) -> Self {
        Self { kind: key.kind(), entity_id: key.id().into() }
    }

    /// Where invalidations are published.
    pub fn topic() -> Topic {
        Topic::new("config").expect("a short name")
    }

    /// As a frame of the bus.
    pub fn to_frame(&self) -> Vec<u8> {
        let wire = Wire { kind: self.kind.as_str().into(), entity_id: Some((&*self.entity_id).into()) };
        serde_json::to_vec(&wire).expect("strings encode")
    }

    /// Tells every cache on the bus, those of this process included.
    ///
    /// # Errors
    /// What the bus reports. Caches then see the change when their entries expire.
    ///
    /// # Cancel safety
    /// A dropped call may or may not have told them.
    pub async fn publish(&self, bus: &dyn Bus) -> Result<(), BusError> {
        bus.publish(&Self::topic(), &self.to_frame()).await
    }
}

/// What a frame asks for.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Invalidation(Invalidation),
    /// A kind that only newer programs have caches of.
    Unknown,
    /// Nobody can say what changed.
    Garbled,
}

fn hear(frame: &[u8]) -> Heard {
    let Ok(wire) = serde_json::from_slice::<Wire<'_>>(frame) else { return Heard::Garbled };
    let Some(kind) = ConfigKind::from_name(&wire.kind) else { return Heard::Unknown };
    let entity_id = match (wire.entity_id, kind) {
        (Some(id), _) => (&*id).into(),
        // One of many: which is not said.
        (None, ConfigKind::Model | ConfigKind::UserPrompt) => return Heard::Garbled,
        (None, _) => Box::default(),
    };
    Heard::Invalidation(Invalidation { kind, entity_id })
}

/// How long to wait before a bus that is down is asked again, doubling up to the longest.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(5);
/// How long a subscription may take to become active.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(5);

/// Empties caches as the bus says, for ever. What happened before a subscription nobody tells: each one empties all of them.
pub(crate) async fn follow(caches: Caches, bus: Arc<dyn Bus>) {
    let mut pause = AGAIN_AFTER;
    loop {
        match timeout(SUBSCRIBE_WITHIN, bus.subscribe(&Invalidation::topic())).await {
            Ok(Ok(mut frames)) => {
                let begun = Instant::now();
                caches.flush();
                while let Some(delivery) = frames.next().await {
                    pause = AGAIN_AFTER;
                    deliver(&caches, &delivery);
                }
                // A link that held did not flap, even if nothing came over it.
                if begun.elapsed() >= AGAIN_AFTER_MAX {
                    pause = AGAIN_AFTER;
                }
                tracing::debug!("the bus of the configuration is down: changes are seen when entries expire");
            }
            Ok(Err(error)) => tracing::debug!(%error, "the bus of the configuration cannot be reached"),
            Err(_) => tracing::debug!("the bus of the configuration does not answer"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN_AFTER_MAX);
    }
}

fn deliver(caches: &Caches, delivery: &Delivery) {
    match delivery {
        Delivery::Frame(frame) => match hear(frame) {
            Heard::Invalidation(invalidation) => caches.invalidate(&invalidation),
            Heard::Unknown => {}
            Heard::Garbled => {
                tracing::warn!("a frame about the configuration cannot be read: all of it is read anew");
                caches.flush();
            }
        },
        Delivery::Lagged => caches.flush(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalidation_travels_as_its_kind_and_id() {
        let key = ConfigKey::model("fast \"one\"").expect("short");
        let invalidation = Invalidation::of(&key);
        assert_eq!(
            String::from_utf8_lossy(&invalidation.to_frame()),
            r#"{"kind":"model_config","entity_id":"fast \"one\""}"#
        );
        assert_eq!(hear(&invalidation.to_frame()), Heard::Invalidation(invalidation));
    }

    #[test]
    fn what_is_newer_is_ignored_and_what_cannot_be_read_is_not() {
        assert_eq!(hear(br#"{"kind":"hologram","entity_id":"x","more":1}"#), Heard::Unknown);
        let providers = Invalidation { kind: ConfigKind::Provider, entity_id: "".into() };
        assert_eq!(hear(br#"{"kind":"providers"}"#), Heard::Invalidation(providers));
        for garbled in [&b""[..], b"{}", b"[1]", b"\xff", br#"{"kind":7}"#] {
            assert_eq!(hear(garbled), Heard::Garbled);
        }
        for unnamed in [&br#"{"kind":"model_config"}"#[..], br#"{"kind":"user_prompt","entity_id":null}"#] {
            assert_eq!(hear(unnamed), Heard::Garbled, "it does not say which");
        }
    }
}
