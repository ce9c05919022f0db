//! What the tests of this crate share.
#![allow(dead_code, reason = "each test binary takes what it needs")]

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use chatwright_core::head::{HeadDraft, Index, State};
use chatwright_core::port::{ChatStore, CommitError};
use chatwright_core::record::Draft;
use chatwright_core::{ChatId, Commit, Head, OpId, Record, Seq, SessionId, Timestamp, UserId, Uuid};

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn chat(n: u128) -> ChatId {
    ChatId::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn session(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn index() -> Index {
    Index::new(UserId::new("ada").expect("the set-up holds"), Timestamp::from_millis(1))
}

pub(crate) fn head() -> HeadDraft {
    HeadDraft::at_rest(index(), &State::default()).expect("the set-up holds")
}

/// Records of such sizes.
pub(crate) fn drafts(sizes: &[usize]) -> Vec<Draft> {
    let draft = |(part, size): (usize, &usize)| {
        let op = (part == 0).then(|| OpId::from_uuid(Uuid::from_u128(7)));
        Draft::raw("test.fill/1", op, Timestamp::from_millis(1), &"x".repeat(*size))
            .expect("the set-up holds")
    };
    sizes.iter().enumerate().map(draft).collect()
}

/// The commit after `last` with records of such sizes.
pub(crate) fn commit(chat: ChatId, last: Option<&Head>, sizes: &[usize]) -> Commit {
    match last {
        None => Commit::create(chat, head(), drafts(sizes)).expect("the set-up holds"),
        Some(last) => Commit::next(chat, last, head(), drafts(sizes)).expect("the set-up holds"),
    }
}

/// The whole log of a chat.
pub(crate) async fn log(store: &impl ChatStore, chat: ChatId) -> Vec<Record> {
    let mut log: Vec<Record> = Vec::new();
    loop {
        let after = log.last().map_or(Seq::ZERO, |record| record.seq);
        let page = store.records(chat, after, 1000).await.expect("the set-up holds");
        if page.is_empty() {
            return log;
        }
        log.extend(page);
    }
}

/// The kind of a commit's failure, or nothing if it was applied.
pub(crate) fn kind(result: Result<(), CommitError>) -> Option<chatwright_core::port::StoreErrorKind> {
    match result {
        Ok(()) => None,
        Err(CommitError::Store(error)) => Some(error.kind()),
        Err(CommitError::Conflict(actual)) => panic!("no store error but a conflict: {actual}"),
    }
}

/// Runs a test on one thread, within [`PATIENCE`].
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("the set-up holds");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("within patience") })
}

/// Every file of a folder with its bytes. Not for files that are open.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("the set-up holds").map(Result::unwrap);
    let file = |entry: std::fs::DirEntry| {
        let bytes = if entry.path().is_dir() {
            Vec::new()
        } else {
            std::fs::read(entry.path()).expect("the set-up holds")
        };
        (entry.file_name().to_string_lossy().into_owned(), bytes)
    };
    entries.map(file).collect()
}

/// A line that the parent hears even if this process dies right after.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the parent listens");
}
