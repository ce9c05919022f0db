//! Chats for the clauses.

use chatwright_core::head::{Index, State};
use chatwright_core::port::{ChatStore, CommitError};
use chatwright_core::{
    ChatId, Commit, Draft, Head, HeadDraft, Json, OpId, Record, Revision, Seq, Timestamp, UserId, limits,
};
use serde::{Deserialize, Serialize};

use crate::Subject;

/// What a record of these tests says: enough to tell a whole commit from a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub op: OpId,
    pub place: usize,
    pub count: usize,
}

#[derive(Deserialize)]
struct Body {
    data: Mark,
}

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

impl Subject<dyn ChatStore> {
    pub(super) fn chat(&self) -> ChatId {
        ChatId::mint(&self.ids)
    }

    /// A commit of `count` records after `last`, at rest.
    pub(super) fn commit(&self, chat: ChatId, last: Option<&Head>, count: usize) -> Commit {
        self.commit_with(chat, last, count, |head| head)
    }

    /// The same with another head.
    pub(super) fn commit_with(
        &self,
        chat: ChatId,
        last: Option<&Head>,
        count: usize,
        head: impl FnOnce(HeadDraft) -> HeadDraft,
    ) -> Commit {
        let op = OpId::mint(&self.ids);
        let records = (0..count)
            .map(|place| {
                let first = (place == 0).then_some(op);
                Draft::raw("note.kit/1", first, NOW, &Mark { op, place, count }).expect("a small record")
            })
            .collect();
        commit_of(chat, last, head(draft()), records)
    }
}

pub(super) fn commit_of(chat: ChatId, last: Option<&Head>, head: HeadDraft, records: Vec<Draft>) -> Commit {
    match last {
        None => Commit::create(chat, head, records),
        Some(last) => Commit::next(chat, last, head, records),
    }
    .expect("a valid commit")
}

pub(super) fn draft() -> HeadDraft {
    let index = Index::new(UserId::new("kit").expect("a short id"), NOW);
    HeadDraft::from_json(index, Json::encode(&State::default()).expect("a state encodes"))
        .expect("a small head")
}

/// Commits what must be accepted.
pub(super) async fn accept(store: &dyn ChatStore, commit: &Commit, clause: &str) {
    if let Err(error) = store.commit(commit).await {
        panic!("{clause}: a commit at the stored revision was refused: {}", words(&error));
    }
}

/// An error with its causes.
pub(super) fn words(error: &CommitError) -> String {
    match error {
        CommitError::Conflict(_) => error.to_string(),
        CommitError::Store(store) => format!("{error}: {store}"),
    }
}

pub(super) async fn head(store: &dyn ChatStore, chat: ChatId) -> Option<Head> {
    store.head(chat).await.expect("the store answers")
}

pub(super) async fn revision(store: &dyn ChatStore, chat: ChatId) -> Option<Revision> {
    head(store, chat).await.map(|head| head.revision)
}

/// The whole log, in pages of `limit`.
pub(super) async fn log(store: &dyn ChatStore, chat: ChatId, limit: usize) -> Vec<Record> {
    let mut log: Vec<Record> = Vec::new();
    loop {
        let after = log.last().map_or(Seq::ZERO, |record| record.seq);
        let page = store.records(chat, after, limit).await.expect("the store answers");
        let goes_on = page.first().is_some_and(|record| record.seq > after);
        log.extend(page);
        // A page that does not go on would never end; what came is judged by the clause.
        if !goes_on {
            return log;
        }
    }
}

pub(super) async fn whole_log(store: &dyn ChatStore, chat: ChatId) -> Vec<Record> {
    log(store, chat, limits::PAGE_ITEMS_MAX).await
}

/// The marks of a log; every commit in it must be whole and in one piece.
pub(super) fn whole_commits(log: &[Record], clause: &str) -> Vec<OpId> {
    let marks: Vec<Mark> =
        log.iter().map(|record| record.body.decode::<Body>().expect("a record of the kit").data).collect();
    let mut ops = Vec::new();
    let mut at = 0;
    while let Some(first) = marks.get(at) {
        let commit: Vec<Mark> = marks[at..].iter().take_while(|mark| mark.op == first.op).copied().collect();
        let whole: Vec<Mark> = (0..first.count).map(|place| Mark { place, ..*first }).collect();
        assert_eq!(commit, whole, "{clause}: a commit is visible in part");
        ops.push(first.op);
        at += commit.len();
    }
    ops
}

pub(super) fn seqs(log: &[Record]) -> Vec<u64> {
    log.iter().map(|record| record.seq.get()).collect()
}

/// The one record of a commit.
pub(super) fn first(op: OpId) -> Draft {
    Draft::raw("note.kit/1", Some(op), NOW, &Mark { op, place: 0, count: 1 }).expect("a small record")
}
