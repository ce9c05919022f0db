//! A complete `ChatStore` of one's own: a folder with one text file per chat and one line of JSON per commit.
//!
//! `cargo run --example own_store` writes a chat and reads it back; `cargo test --example own_store` runs the conformance
//! kit over it. It blocks a thread while it writes; a busy service would hand that to a thread of its own.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chatwright_core::head::{Index, State};
use chatwright_core::port::{
    Actual, ChatStore, Clock, CommitError, Due, DueAfter, StoreError, StoreErrorKind,
};
use chatwright_core::record::{Body, MessageUser};
use chatwright_core::{
    ChatId, Commit, Draft, Head, HeadDraft, MessageId, OpId, Record, Revision, Seq, SessionId, UserId, limits,
};
use chatwright_loop::{SystemClock, SystemIds};

struct FileStore {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    /// Everything is in memory too; the files are what survives.
    chats: Mutex<BTreeMap<ChatId, Option<Chat>>>,
    /// Held as long as the store lives: two processes must not write one folder.
    _lock: File,
}

struct Chat {
    file: File,
    /// Where the last acknowledged commit ends.
    end: u64,
    head: Head,
    records: Vec<Record>,
}

impl FileStore {
    fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let lock = File::create(folder.join("lock")).map_err(failed(folder))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                StoreError::new(StoreErrorKind::Busy, "another process has the folder")
            }
            TryLockError::Error(error) => failed(folder)(error),
        })?;
        let mut chats = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
            let path = entry.map_err(failed(folder))?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            match (name, path.extension().and_then(|extension| extension.to_str())) {
                (Some(id), Some("purged")) => drop(chats.insert(id, None)),
                (Some(id), Some("chat")) => {
                    if let Some(chat) = read(&path)? {
                        chats.entry(id).or_insert(Some(chat));
                    }
                }
                _ => {}
            }
        }
        Ok(Self { folder: folder.to_owned(), clock, chats: Mutex::new(chats), _lock: lock })
    }

    fn chats(&self) -> MutexGuard<'_, BTreeMap<ChatId, Option<Chat>>> {
        self.chats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, chat: ChatId, extension: &str) -> PathBuf {
        self.folder.join(format!("{chat}.{extension}"))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

#[async_trait]
impl ChatStore for FileStore {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        Ok(self.chats().get(&chat).and_then(Option::as_ref).map(|chat| chat.head.clone()))
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        // One lock and no await: commits come one after the other (S2, S3), and none stops half-way (S10).
        let mut chats = self.chats();
        let id = commit.chat();
        let actual = match chats.get(&id) {
            None => Actual::Absent,
            Some(None) => Actual::Purged,
            Some(Some(chat)) => Actual::Revision(chat.head.revision),
        };
        actual.check(commit)?;
        let path = self.path(id, "chat");
        if let Some(Some(chat)) = chats.get_mut(&id) {
            chat.append(commit).map_err(failed(&path))?;
        } else {
            let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed(&path))?;
            let mut chat = Chat { file, end: 0, head: commit.head().clone(), records: Vec::new() };
            chat.append(commit).and_then(|()| self.sync_folder()).map_err(failed(&path))?;
            chats.insert(id, Some(chat));
        }
        Ok(())
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        StoreError::check_page(limit)?;
        let chats = self.chats();
        let Some(Some(chat)) = chats.get(&chat) else { return Ok(Vec::new()) };
        let mut bytes = 0;
        let page = chat.records.iter().skip_while(|record| record.seq <= after).take(limit);
        let fits = |record: &&Record| {
            bytes += record.body.len();
            bytes <= limits::PAGE_BYTES_MAX
        };
        Ok(page.take_while(fits).cloned().collect())
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        StoreError::check_page(limit)?;
        let now = self.clock.now();
        let chats = self.chats();
        let due = chats.iter().filter_map(|(id, slot)| Due::of(*id, &slot.as_ref()?.head));
        let past = |due: &Due| due.wake_at <= now && after.is_none_or(|after| due.place() > after);
        let mut due: Vec<Due> = due.filter(past).collect();
        due.sort_by_key(Due::place);
        due.truncate(limit);
        Ok(due)
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        StoreError::check_page(limit)?;
        let holds = |slot: &Option<Chat>| slot.as_ref().and_then(|chat| chat.head.holder) == Some(session);
        let chats = self.chats();
        let held =
            chats.iter().filter(|(chat, slot)| after.is_none_or(|after| **chat > after) && holds(slot));
        Ok(held.map(|(chat, _)| *chat).take(limit).collect())
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        StoreError::check_revisions(chats.len())?;
        let all = self.chats();
        let revision = |id| all.get(id).and_then(Option::as_ref).map(|chat| chat.head.revision);
        Ok(chats.iter().map(revision).collect())
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        let mut chats = self.chats();
        let path = self.path(chat, "chat");
        // The mark first: from then on the chat is gone, whatever happens to its file.
        File::create(self.path(chat, "purged")).and_then(|_| self.sync_folder()).map_err(failed(&path))?;
        chats.insert(chat, None);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path)(error)),
            _ => self.sync_folder().map_err(failed(&path)),
        }
    }
}

impl Chat {
    fn append(&mut self, commit: &Commit) -> io::Result<()> {
        let line = serde_json::to_string(&(commit.head(), commit.records()))? + "\n";
        // What a failed or torn write left behind must not stand before the next line.
        self.file.set_len(self.end)?;
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()?;
        self.end += line.len() as u64;
        self.head = commit.head().clone();
        self.records.extend_from_slice(commit.records());
        Ok(())
    }
}

/// Reads a chat's file. A last line without its end is a commit that was never acknowledged: it does not count, and
/// the next write cuts it off.
fn read(path: &Path) -> Result<Option<Chat>, StoreError> {
    let damaged = |error| {
        StoreError::new(StoreErrorKind::Corrupt, format!("{}: a line is no commit", path.display()))
            .because(error)
    };
    let bytes = std::fs::read(path).map_err(failed(path))?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (mut head, mut records) = (None, Vec::new());
    for line in bytes[..end].split_inclusive(|byte| *byte == b'\n') {
        let (last, appended): (Head, Vec<Record>) = serde_json::from_slice(line).map_err(damaged)?;
        head = Some(last);
        records.extend(appended);
    }
    let file = OpenOptions::new().append(true).open(path).map_err(failed(path))?;
    Ok(head.map(|head| Chat { file, end: end as u64, head, records }))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> StoreError {
    |error| {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let kind = if full { StoreErrorKind::Full } else { StoreErrorKind::Unavailable };
        StoreError::new(kind, path.display().to_string()).because(error)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("chatwright-own-store-{}", std::process::id()));
    let clock = Arc::new(SystemClock::new());
    let (chat, now) = (ChatId::mint(&SystemIds), clock.now());
    let store = FileStore::open(&folder, clock.clone())?;
    let message =
        MessageUser::new(MessageId::mint(&SystemIds), vec![chatwright_core::content::Part::text("Hello")]);
    let record = Draft::first(OpId::mint(&SystemIds), now, &Body::MessageUser(message))?;
    let head = HeadDraft::at_rest(Index::new(UserId::new("you")?, now), &State::default())?;
    store.commit(&Commit::create(chat, head, vec![record])?).await?;
    drop(store);

    let store = FileStore::open(&folder, clock)?;
    for record in store.records(chat, Seq::ZERO, 10).await? {
        println!("{} {}", record.seq, record.kind);
    }
    Ok(std::fs::remove_dir_all(folder)?)
}

#[cfg(test)]
chatwright_conformance::chat_store!(|dir| {
    FileStore::open(&dir, Arc::new(SystemClock::new())).expect("an empty folder")
});
