//! SQLite keeps every promise of the ports that it implements.

use std::path::Path;

use chatwright_sqlite::SqliteStore;

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir.join("chats.db")).expect("an empty folder")
}

mod chats {
    chatwright_conformance::chat_store!(|dir| super::open(&dir));
}

mod sessions {
    chatwright_conformance::session_store!(|dir| super::open(&dir));
}

mod directory {
    chatwright_conformance::chat_directory!(|dir| super::open(&dir));
}

mod blobs {
    chatwright_conformance::blobs!(|dir| super::open(&dir));
}

mod configs {
    chatwright_conformance::config_store!(|dir| super::open(&dir));
}

mod ledger {
    chatwright_conformance::ledger!(|dir| super::open(&dir));
}

mod debug {
    chatwright_conformance::debug_store!(|dir| super::open(&dir));
}
