//! The only change there is: a new head and its records, under a condition.

use std::sync::Arc;

use crate::head::{Head, HeadDraft};
use crate::limits;
use crate::number::{Revision, Seq};
use crate::record::{Draft, Record};
use crate::text::TooLarge;
use crate::{ChatId, OpId};

/// A change of one chat. A hole in the positions, a decreasing number, an empty change, a first record without its
/// operation and anything over a bound cannot be built. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Commit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    chat: ChatId,
    expect: Option<Revision>,
    op: OpId,
    head: Head,
    records: Vec<Record>,
}

/// A change that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCommit {
    /// Every commit appends at least one record.
    #[error("a commit without a record")]
    Empty,
    /// The first record names the operation, so that a lost answer can be looked up.
    #[error("the first record of a commit names no operation: build it with Draft::first")]
    NoOp,
    /// A bound does not hold.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl Commit {
    /// The first commit of a chat. It is applied iff the chat has never existed.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn create(chat: ChatId, head: HeadDraft, records: Vec<Draft>) -> Result<Self, InvalidCommit> {
        Self::build(chat, None, Seq::ZERO, head, records)
    }

    /// The commit after `last`. It is applied iff `last` is still the head.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn next(
        chat: ChatId,
        last: &Head,
        head: HeadDraft,
        records: Vec<Draft>,
    ) -> Result<Self, InvalidCommit> {
        Self::build(chat, Some(last.revision), last.last_seq, head, records)
    }

    fn build(
        chat: ChatId,
        expect: Option<Revision>,
        after: Seq,
        head: HeadDraft,
        drafts: Vec<Draft>,
    ) -> Result<Self, InvalidCommit> {
        let op = drafts.first().ok_or(InvalidCommit::Empty)?.op().ok_or(InvalidCommit::NoOp)?;
        TooLarge::check("commit", drafts.len(), limits::COMMIT_RECORDS_MAX, "records")?;
        let bytes = drafts.iter().map(|draft| draft.body().len()).sum();
        TooLarge::check_bytes("commit", bytes, limits::COMMIT_BYTES_MAX)?;
        let records: Vec<Record> =
            (after.get() + 1..).zip(drafts).map(|(seq, draft)| draft.at(Seq::new(seq))).collect();
        let last_seq = Seq::new(after.get() + records.len() as u64);
        let head = head.numbered(expect.unwrap_or_default().next(), last_seq);
        Ok(Self(Arc::new(Inner { chat, expect, op, head, records })))
    }

    /// The chat that changes.
    pub fn chat(&self) -> ChatId {
        self.0.chat
    }

    /// The revision that must be stored for this to apply; `None`: no such chat.
    pub fn expect(&self) -> Option<Revision> {
        self.0.expect
    }

    /// The operation that the first record carries.
    pub fn op(&self) -> OpId {
        self.0.op
    }

    /// The head afterwards.
    pub fn head(&self) -> &Head {
        &self.0.head
    }

    /// The records it appends, ascending without a hole, at least one.
    pub fn records(&self) -> &[Record] {
        &self.0.records
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::head::{Index, State};
    use crate::record::{Body, ChatUnarchived};
    use crate::{Timestamp, UserId};

    const CHAT: ChatId = ChatId::from_uuid(Uuid::nil());
    const OP: OpId = OpId::from_uuid(Uuid::max());
    const NOW: Timestamp = Timestamp::from_millis(1);

    fn head() -> HeadDraft {
        let index = Index::new(UserId::new("ada").expect("short"), NOW);
        HeadDraft::at_rest(index, &State::default()).expect("small")
    }

    fn first() -> Draft {
        Draft::first(OP, NOW, &Body::ChatUnarchived(ChatUnarchived::default())).expect("small")
    }

    fn later() -> Draft {
        Draft::new(NOW, &Body::ChatUnarchived(ChatUnarchived::default())).expect("small")
    }

    #[test]
    fn numbers_follow_the_last_head() {
        let created = Commit::create(CHAT, head(), vec![first(), later()]).expect("valid");
        assert_eq!(
            (created.expect(), created.head().revision, created.head().last_seq.get()),
            (None, Revision::new(1), 2)
        );
        let next =
            Commit::next(CHAT, created.head(), head(), vec![first(), later(), later()]).expect("valid");
        assert_eq!(next.expect(), Some(Revision::new(1)));
        assert_eq!((next.head().revision.get(), next.head().last_seq.get()), (2, 5));
        assert_eq!(next.records().iter().map(|record| record.seq.get()).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(next.op(), OP);
    }

    #[test]
    fn what_cannot_be_written_cannot_be_built() {
        let refused = |records| Commit::create(CHAT, head(), records).expect_err("invalid");
        assert_eq!(refused(vec![]), InvalidCommit::Empty);
        assert_eq!(refused(vec![later()]), InvalidCommit::NoOp);
        assert_eq!(
            refused((0..65).map(|_| first()).collect()).to_string(),
            "commit is too large: 65 records, at most 64"
        );
        let large = || {
            let text = "x".repeat(limits::BODY_BYTES_MAX - 200);
            Draft::raw("message.user/1", Some(OP), NOW, &serde_json::json!(text)).expect("within a body")
        };
        let refusal = refused((0..5).map(|_| large()).collect()).to_string();
        assert!(refusal.starts_with("commit is too large: 52"), "{refusal}");
    }
}
