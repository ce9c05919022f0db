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
    assert_eq!(configs.stats(ConfigKind::DebugUser).fills, 3, "what is not set is kept too");
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
