//! What happens when there is no room: the quota, and a disk that is full.

mod kit;

use std::path::Path;

use chatwright_core::port::{ChatStore as _, StoreErrorKind};
use chatwright_core::{ChatId, Head};
use chatwright_sqlite::{SqliteOptions, SqliteStore};
use kit::{chat, commit, kind, log, run};

/// Commits until an error, and gives its kind and the last head that was stored.
async fn fill(store: &SqliteStore, chat: ChatId, sizes: &[usize]) -> (StoreErrorKind, Option<Head>) {
    let mut last = None;
    for _ in 0..10_000 {
        let commit = commit(chat, last.as_ref(), sizes);
        match kind(store.commit(&commit).await) {
            None => last = Some(commit.head().clone()),
            Some(kind) => return (kind, last),
        }
    }
    panic!("there is room without end");
}

/// The chat is as its last answered commit left it.
async fn ends_at(store: &SqliteStore, chat: ChatId, last: Option<&Head>) {
    assert_eq!(store.head(chat).await.expect("the set-up holds").as_ref(), last);
    let seqs: Vec<u64> = log(store, chat).await.iter().map(|record| record.seq.get()).collect();
    assert_eq!(seqs, (1..=last.map_or(0, |head| head.last_seq.get())).collect::<Vec<_>>());
    assert_eq!(store.check().await.expect("the set-up holds"), []);
}

#[test]
fn over_the_quota_nothing_is_half_written_and_a_higher_quota_makes_room() {
    let folder = tempfile::tempdir().expect("the set-up holds");
    let options = SqliteOptions::new(folder.path().join("chats.db"));
    run(async {
        let store = options.clone().max_bytes(2 << 20).open().expect("the set-up holds");
        // The second record is what does not fit.
        let (kind, last) = fill(&store, chat(1), &[10, 300_000]).await;
        assert_eq!(kind, StoreErrorKind::Full);
        assert!(last.as_ref().is_some_and(|head| head.revision.get() >= 5));
        ends_at(&store, chat(1), last.as_ref()).await;
        drop(store);
        assert!(
            std::fs::metadata(folder.path().join("chats.db")).expect("the set-up holds").len() <= 2 << 20
        );

        let store = options.max_bytes(4 << 20).open().expect("the set-up holds");
        let next = commit(chat(1), last.as_ref(), &[10, 300_000]);
        store.commit(&next).await.expect("the set-up holds");
        ends_at(&store, chat(1), Some(next.head())).await;
    });
}

#[test]
fn a_purge_makes_room_in_a_full_store() {
    let folder = tempfile::tempdir().expect("the set-up holds");
    run(async {
        let options = SqliteOptions::new(folder.path().join("chats.db")).max_bytes(2 << 20);
        let store = options.open().expect("the set-up holds");
        let (_, last) = fill(&store, chat(1), &[300_000]).await;
        let (kind, _) = fill(&store, chat(2), &[2_000]).await;
        assert_eq!(kind, StoreErrorKind::Full);
        let none = fill(&store, chat(3), &[200_000]).await;
        assert_eq!(none, (StoreErrorKind::Full, None));
        assert!(last.is_some());
        store.purge(chat(1)).await.expect("the set-up holds");
        let one = commit(chat(3), None, &[200_000]);
        store.commit(&one).await.expect("the set-up holds");
        ends_at(&store, chat(3), Some(one.head())).await;
    });
}

const FULL_DISK: &str = "CHATWRIGHT_SQLITE_FULL_DISK";

/// A child of the next test. Here no file can grow beyond a limit, and the signal that says so is ignored.
#[test]
fn full_disk_child() {
    let path = std::env::var(FULL_DISK).ok();
    if let Some(path) = &path {
        run(async {
            let store = SqliteStore::open(path).expect("the set-up holds");
            let (kind, last) = fill(&store, chat(1), &[10, 50_000, 10]).await;
            assert!(matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::Full), "{kind:?}");
            ends_at(&store, chat(1), last.as_ref()).await;
            println!("\nREVISION {}", last.map_or(0, |head| head.revision.get()));
        });
    }
    assert_eq!(path.is_some(), std::env::var(FULL_DISK).is_ok());
}

#[test]
#[cfg(unix)]
fn on_a_full_disk_nothing_is_half_written_and_the_store_goes_on_once_there_is_room() {
    for blocks in [600, 1003, 2001, 3000] {
        let folder = tempfile::tempdir().expect("the set-up holds");
        let path = folder.path().join("chats.db");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let child = std::process::Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().expect("the set-up holds"))
            .args(["--exact", "full_disk_child", "--nocapture"])
            .env(FULL_DISK, &path)
            .output()
            .expect("the set-up holds");
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
        let revision = said.lines().find_map(|line| line.strip_prefix("REVISION ")?.parse().ok());
        goes_on(&path, revision.expect("the child says how far it came"));
    }
}

fn goes_on(path: &Path, revision: u64) {
    run(async {
        let store = SqliteStore::open(path).expect("the set-up holds");
        let last = store.head(chat(1)).await.expect("the set-up holds");
        assert_eq!(last.as_ref().map_or(0, |head| head.revision.get()), revision);
        assert!(revision > 0, "the limit leaves room for some");
        ends_at(&store, chat(1), last.as_ref()).await;
        let next = commit(chat(1), last.as_ref(), &[10, 50_000, 10]);
        store.commit(&next).await.expect("the set-up holds");
        ends_at(&store, chat(1), Some(next.head())).await;
    });
}
