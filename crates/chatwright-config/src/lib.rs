//! A read-through cache for what rarely changes and is read all the time: model configurations, prompts, switches.
//!
//! [`Cache`] is useful alone, for any key and any value. It keeps what a source gave for a while ([`Policy::ttl`]), asks the
//! source once however many callers wait ([single flight](Cache#single-flight)), never keeps what was read before an
//! [invalidation](Cache#invalidation), and is bounded in everything: entries, fills, the time of a fill.
//!
//! ```
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     use std::sync::Arc;
//!     use std::sync::atomic::{AtomicU32, Ordering};
//!     use std::time::Duration;
//!
//!     use chatwright_config::{Cache, Policy};
//!
//!     // The source: a query of some table. `None` says that there is no such row.
//!     let version = Arc::new(AtomicU32::new(1));
//!     let table = Arc::clone(&version);
//!     let source = move |model: u32| {
//!         let table = Arc::clone(&table);
//!         async move {
//!             let version = table.load(Ordering::Relaxed);
//!             Ok::<_, std::io::Error>((model == 7).then(|| format!("model {model}, version {version}")))
//!         }
//!     };
//!
//!     let mut policy = Policy::new(Duration::from_secs(300));
//!     policy.negative = Some(Duration::from_secs(10));
//!     policy.refresh_ahead = Some(80);
//!     policy.stale_if_error = Some(Duration::from_secs(3600));
//!     let models = Cache::new(policy, source)?;
//!
//!     assert_eq!(models.get(&7).await?.as_deref(), Some(&"model 7, version 1".to_owned()));
//!     assert_eq!(models.get(&8).await?, None);
//!
//!     // Somebody changes the row. Whoever knows says so, and every later read sees the change.
//!     version.store(2, Ordering::Relaxed);
//!     assert_eq!(models.get(&7).await?.as_deref(), Some(&"model 7, version 1".to_owned()));
//!     models.invalidate(&7);
//!     assert_eq!(models.get(&7).await?.as_deref(), Some(&"model 7, version 2".to_owned()));
//!
//!     let stats = models.stats();
//!     assert_eq!((stats.hits, stats.misses, stats.fills), (1, 3, 3));
//!     Ok(())
//! }
//! ```

mod admin;
mod advisor;
mod cache;
mod configs;
mod invalidation;

pub use admin::{AdminError, ConfigAdmin};
pub use advisor::AdvisorSettings;
pub use cache::{Cache, FillError, InvalidPolicy, Policy, Stats};
pub use configs::{ConfigError, ConfigSettings, Configs, Providers, ReadError};
pub use invalidation::Invalidation;
