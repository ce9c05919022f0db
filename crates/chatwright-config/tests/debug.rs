//! What is recorded, through the cache.

use std::sync::Arc;

use chatwright_config::{ConfigAdmin, ConfigSettings, Configs};
use chatwright_core::config::{ConfigKey, ConfigKind};
use chatwright_core::port::{ConfigStore, ConfigWriter, DebugSwitches};
use chatwright_core::{ChatId, Json, UserId, Uuid};
use chatwright_memory::{MemoryBus, MemoryConfigs};

#[tokio::test(start_paused = true)]
async fn what_administrators_users_and_chats_say_is_read_once_and_a_change_is_seen_at_once() {
    let (rows, bus) = (MemoryConfigs::new(), Arc::new(MemoryBus::new()));
    let store: Arc<dyn ConfigStore> = Arc::new(rows.clone());
    let configs = Configs::new(&store, bus.clone(), &ConfigSettings::default()).expect("valid");
    let admin = ConfigAdmin::new(Arc::new(rows.clone()), bus).with_cache(configs.clone());
    let (ada, bob) = (UserId::new("ada").expect("short"), UserId::new("bob").expect("short"));
    let chat = ChatId::from_uuid(Uuid::from_u128(1));
    for _ in 0..3 {
        assert_eq!(configs.allowed().await.expect("there"), None);
        assert_eq!(configs.of_user(&ada).await.expect("there"), None);
        assert_eq!(configs.of_chat(chat).await.expect("there"), None);
    }
    // One of them was there, and forgotten, when the bus was connected.
    let fills = configs.stats(ConfigKind::DebugUser).fills;
    assert!(fills <= 4, "what is not set is kept too: {fills} reads");
    admin.put_debug_allowed(true, None).await.expect("written");
    admin.put_debug_user(&ada, true, None).await.expect("written");
    admin.put_debug_chat(chat, false, None).await.expect("written");
    assert_eq!(configs.allowed().await.expect("there"), Some(true));
    assert_eq!(configs.of_user(&ada).await.expect("there"), Some(true));
    assert_eq!(configs.of_user(&bob).await.expect("there"), None);
    assert_eq!(configs.of_chat(chat).await.expect("there"), Some(false));
    // What is no boolean is an error, and not "not set".
    let wrong = Json::parse("\"yes\"").expect("JSON");
    rows.write_config(&ConfigKey::debug_user(&bob), 0, Some(&wrong)).await.expect("in memory");
    configs.flush();
    let error = configs.of_user(&bob).await.expect_err("no boolean").to_string();
    assert!(error.contains("debug_user/bob is not valid: expected a boolean"), "{error}");
}

mod promises {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use chatwright_config::{ConfigAdmin, ConfigSettings, Configs};
    use chatwright_conformance::debug_switches::{Switch, SwitchesRig};
    use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow};
    use chatwright_core::port::{ConfigStore, DebugSwitches, StoreError, StoreErrorKind};
    use chatwright_memory::{MemoryBus, MemoryConfigs};

    /// Rows that cannot be read any more from a moment on.
    struct Breaking(MemoryConfigs, Arc<AtomicBool>);

    #[async_trait]
    impl ConfigStore for Breaking {
        async fn config(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, StoreError> {
            if self.1.load(Ordering::SeqCst) {
                return Err(StoreError::new(StoreErrorKind::Unavailable, "it is broken"));
            }
            self.0.config(key).await
        }

        async fn configs(
            &self,
            kind: ConfigKind,
            after: Option<&str>,
            limit: usize,
        ) -> Result<Vec<ConfigRow>, StoreError> {
            self.0.configs(kind, after, limit).await
        }
    }

    struct Rig {
        configs: Configs,
        admin: ConfigAdmin,
        broken: Arc<AtomicBool>,
    }

    fn rig() -> Rig {
        let (rows, bus, broken) = (MemoryConfigs::new(), Arc::new(MemoryBus::new()), Arc::default());
        let store: Arc<dyn ConfigStore> = Arc::new(Breaking(rows.clone(), Arc::clone(&broken)));
        let configs = Configs::new(&store, bus.clone(), &ConfigSettings::default()).expect("valid");
        let admin = ConfigAdmin::new(Arc::new(rows), bus).with_cache(configs.clone());
        Rig { configs, admin, broken }
    }

    #[async_trait]
    impl SwitchesRig for Rig {
        fn switches(&self) -> Arc<dyn DebugSwitches> {
            Arc::new(self.configs.clone())
        }

        async fn set(&self, switch: &Switch, to: Option<bool>) {
            let key = match switch {
                Switch::Allowed => ConfigKey::debug_allowed(),
                Switch::User(user) => ConfigKey::debug_user(user),
                Switch::Chat(chat) => ConfigKey::debug_chat(*chat),
            };
            match (switch, to) {
                (_, None) => self.admin.delete(key, None).await.expect("in memory"),
                (Switch::Allowed, Some(to)) => {
                    self.admin.put_debug_allowed(to, None).await.map(drop).expect("in memory");
                }
                (Switch::User(user), Some(to)) => {
                    self.admin.put_debug_user(user, to, None).await.map(drop).expect("in memory");
                }
                (Switch::Chat(chat), Some(to)) => {
                    self.admin.put_debug_chat(*chat, to, None).await.map(drop).expect("in memory");
                }
            }
        }

        async fn break_down(&self) {
            self.broken.store(true, Ordering::SeqCst);
            self.configs.flush();
        }
    }

    chatwright_conformance::debug_switches!(rig(), volatile);
}
