//! The reference implementation keeps every promise but durability.

mod chats {
    use std::sync::Arc;

    use chatwright_core::Timestamp;
    use chatwright_memory::{ManualClock, MemoryStore};

    chatwright_conformance::chat_store!(
        MemoryStore::new(Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)))),
        volatile
    );
}
