//! What becomes of a write when its store, its bus or its caller fails, on paused time.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_config::{AdminError, ConfigAdmin, ConfigSettings, Configs};
use chatwright_core::Json;
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow};
use chatwright_core::port::{
    Bus, BusError, BusFrames, ConfigStore, ConfigWrite, ConfigWriter, StoreError, StoreErrorKind, Topic,
};
use chatwright_memory::{MemoryBus, MemoryConfigs};
use tokio::time::{Instant, timeout};

use world::{ada, listened_to, string};

/// How a write goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is written, and the answer is an error.
    Unsaid,
    /// It is written, and there is no answer.
    Hangs,
    /// It is written, and the store panics.
    Panics,
    /// Somebody else is always faster.
    Contended,
    /// Not even a read is answered.
    Unreadable,
}

struct Faulty {
    rows: MemoryConfigs,
    fault: Fault,
    writes: AtomicUsize,
}

#[async_trait]
impl ConfigStore for Faulty {
    async fn config(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, StoreError> {
        match self.fault {
            Fault::Unreadable => Err(StoreError::new(StoreErrorKind::Unavailable, "the store is down")),
            _ => self.rows.config(key).await,
        }
    }

    async fn configs(
        &self,
        kind: ConfigKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ConfigRow>, StoreError> {
        self.rows.configs(kind, after, limit).await
    }
}

#[async_trait]
impl ConfigWriter for Faulty {
    async fn write_config(
        &self,
        key: &ConfigKey,
        expected: u64,
        value: Option<&Json>,
    ) -> Result<ConfigWrite, StoreError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.fault == Fault::Contended {
            return Ok(ConfigWrite::Conflict(expected + 1));
        }
        self.rows.write_config(key, expected, value).await?;
        match self.fault {
            Fault::Unsaid => Err(StoreError::new(StoreErrorKind::Unavailable, "the link broke")),
            Fault::Panics => panic!("the store panics"),
            _ => std::future::pending().await,
        }
    }
}

struct World {
    admin: ConfigAdmin,
    store: Arc<Faulty>,
    here: Configs,
    there: Configs,
}

impl World {
    async fn new(fault: Fault) -> Self {
        let (rows, bus) = (MemoryConfigs::new(), MemoryBus::new());
        let reads: Arc<dyn ConfigStore> = Arc::new(rows.clone());
        let replica = || {
            let bus: Arc<dyn Bus> = Arc::new(bus.clone());
            Configs::new(&reads, bus, &ConfigSettings::default().without_jitter()).expect("valid")
        };
        let (here, there) = (replica(), replica());
        listened_to(&bus, 2).await;
        settle().await;
        let store = Arc::new(Faulty { rows, fault, writes: AtomicUsize::new(0) });
        let writer: Arc<dyn ConfigWriter> = store.clone();
        let admin = ConfigAdmin::new(writer, Arc::new(bus)).with_cache(here.clone());
        let world = Self { admin, store, here, there };
        assert_eq!(world.prompts().await, ["", ""], "and that is kept");
        world
    }

    async fn prompts(&self) -> [String; 2] {
        [prompt(&self.here).await, prompt(&self.there).await]
    }

    async fn write(&self, expected: Option<u64>) -> Result<u64, AdminError> {
        let user = ada();
        let write = self.admin.put_user_prompt(&user, "one", expected);
        timeout(Duration::from_secs(60), write).await.expect("a write is answered")
    }
}

async fn prompt(configs: &Configs) -> String {
    let read = configs.user_prompt(&ada()).await.expect("the store can be read");
    read.as_deref().cloned().unwrap_or_default()
}

async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_outcome_is_unknown_is_told_to_all_caches() {
    for fault in [Fault::Unsaid, Fault::Hangs] {
        let world = World::new(fault).await;
        let begun = Instant::now();
        let error = world.write(None).await.expect_err("nobody knows");
        assert!(matches!(error, AdminError::Unknown(_)), "{fault:?}: {error}");
        assert!(begun.elapsed() <= Duration::from_secs(10), "{fault:?}: {:?}", begun.elapsed());
        settle().await;
        assert_eq!(world.prompts().await, ["one", "one"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_panics_or_goes_with_its_admin_leaves_no_cache_of_its_process_untold() {
    let world = World::new(Fault::Panics).await;
    assert!(matches!(world.write(Some(0)).await, Err(AdminError::Closed)));
    assert_eq!(prompt(&world.here).await, "one");

    let World { admin, here, .. } = World::new(Fault::Hangs).await;
    {
        let user = ada();
        let write = admin.put_user_prompt(&user, "one", Some(0));
        tokio::pin!(write);
        assert!(futures::poll!(&mut write).is_pending());
        settle().await;
    }
    drop(admin);
    settle().await;
    assert_eq!(prompt(&here).await, "one");
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_expects_nothing_and_is_never_the_fastest_gives_up() {
    let world = World::new(Fault::Contended).await;
    let error = world.write(None).await.expect_err("nothing is written");
    assert!(matches!(error, AdminError::Conflict { actual: 16, .. }), "{error}");
    assert_eq!(world.store.writes.load(Ordering::SeqCst), 16);
    let error = world.write(Some(7)).await.expect_err("nothing is written");
    assert!(matches!(error, AdminError::Conflict { actual: 8, .. }), "{error}");
    assert_eq!(world.store.writes.load(Ordering::SeqCst), 17, "who expects a version writes once");
    assert_eq!(world.here.stats(ConfigKind::UserPrompt).invalidations, 1, "the one of the subscription");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_read_before_a_write_is_not_written_and_nobody_is_told() {
    let world = World::new(Fault::Unreadable).await;
    let error = world.write(None).await.expect_err("nothing is written");
    assert!(matches!(error, AdminError::Store(_)), "{error}");
    assert_eq!(world.store.writes.load(Ordering::SeqCst), 0);
    assert_eq!(world.here.stats(ConfigKind::UserPrompt).invalidations, 1, "the one of the subscription");
}

/// Nothing that is published is ever taken.
struct Clogged(MemoryBus);

#[async_trait]
impl Bus for Clogged {
    async fn publish(&self, _: &Topic, _: &[u8]) -> Result<(), BusError> {
        std::future::pending().await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<BusFrames, BusError> {
        self.0.subscribe(topic).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_takes_nothing_holds_a_write_up_for_2_seconds_and_the_caches_of_the_process_not_at_all() {
    let rows = MemoryConfigs::new();
    let links = MemoryBus::new();
    let bus: Arc<dyn Bus> = Arc::new(Clogged(links.clone()));
    let reads: Arc<dyn ConfigStore> = Arc::new(rows.clone());
    let configs = Configs::new(&reads, Arc::clone(&bus), &ConfigSettings::default()).expect("valid");
    listened_to(&links, 1).await;
    // Its first subscription empties the caches.
    settle().await;
    assert_eq!(prompt(&configs).await, "");
    let admin = Arc::new(ConfigAdmin::new(Arc::new(rows), bus).with_cache(configs.clone()));
    let mut writes = tokio::task::JoinSet::new();
    let begun = Instant::now();
    let writer = Arc::clone(&admin);
    writes.spawn(async move { writer.put_user_prompt(&ada(), "one", Some(0)).await });
    settle().await;
    assert_eq!(prompt(&configs).await, "one");
    let written = writes.join_next().await.expect("one").expect("it ends");
    assert!(matches!(written, Ok(1)));
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    let row = admin.row(&ConfigKey::user_prompt(&ada())).await.expect("there");
    assert_eq!(row.map(|row| row.value), Some(string("one")));
}
