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

mod directory {
    use std::sync::Arc;

    use chatwright_core::Timestamp;
    use chatwright_memory::{ManualClock, MemoryStore};

    chatwright_conformance::chat_directory!(
        MemoryStore::new(Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)))),
        volatile
    );
}

mod configs {
    chatwright_conformance::config_store!(chatwright_memory::MemoryConfigs::new(), volatile);
}

mod blobs {
    chatwright_conformance::blobs!(chatwright_memory::MemoryBlobs::new(), volatile);
}

mod ledger {
    chatwright_conformance::ledger!(chatwright_memory::MemoryLedger::new(), volatile);
}

mod debug {
    chatwright_conformance::debug_store!(chatwright_memory::MemoryDebug::new(), volatile);
}

mod sessions {
    use std::sync::Arc;

    use chatwright_loop::SystemClock;
    use chatwright_memory::MemorySessions;

    // Sessions expire: their clock must run.
    chatwright_conformance::session_store!(MemorySessions::new(Arc::new(SystemClock::new())), volatile);
}

mod bus {
    use std::collections::HashMap;
    use std::path::PathBuf;
    use std::sync::LazyLock;

    use chatwright_conformance::bus::BusRig;
    use chatwright_core::port::{Bus, Topic};
    use chatwright_memory::MemoryBus;
    use parking_lot::Mutex;

    struct Rig(MemoryBus);

    impl BusRig for Rig {
        fn bus(&self) -> &dyn Bus {
            &self.0
        }

        fn sever(&self) -> bool {
            self.0.disconnect();
            true
        }

        fn subscribers(&self, topic: &Topic) -> Option<usize> {
            Some(self.0.subscribers(topic))
        }
    }

    /// Connections of one test are clones of one bus.
    fn connect(dir: PathBuf) -> Rig {
        static BUSES: LazyLock<Mutex<HashMap<PathBuf, MemoryBus>>> = LazyLock::new(Mutex::default);
        Rig(BUSES.lock().entry(dir).or_default().clone())
    }

    chatwright_conformance::bus!(|dir| connect(dir));
}

mod live {
    use std::sync::Arc;

    use chatwright_core::Timestamp;
    use chatwright_memory::{ManualClock, MemoryLiveLog};

    chatwright_conformance::live_log!(MemoryLiveLog::new(Arc::new(ManualClock::new(
        Timestamp::from_millis(0)
    ))));
}

mod live_with_a_lower_cap {
    use std::sync::Arc;

    use chatwright_core::Timestamp;
    use chatwright_memory::{ManualClock, MemoryLiveLog};

    chatwright_conformance::live_log!(
        MemoryLiveLog::new(Arc::new(ManualClock::new(Timestamp::from_millis(0)))).with_cap(200_000),
        writer_memory
    );
}

mod clock {
    use chatwright_core::Timestamp;
    use chatwright_memory::ManualClock;

    chatwright_conformance::clock!(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
}

mod system {
    chatwright_conformance::clock!(chatwright_loop::SystemClock::new());
    chatwright_conformance::ids!(chatwright_loop::SystemIds);
}

mod ids {
    use chatwright_memory::SeededIds;

    chatwright_conformance::ids!(SeededIds::new(7), volatile);
}
