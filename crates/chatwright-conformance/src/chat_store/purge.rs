//! S14: what is gone stays gone.

use chatwright_core::port::{Actual, ChatStore, CommitError};
use chatwright_core::{SessionId, Timestamp, limits};

use super::fixture::{accept, head, whole_log, words};
use crate::Subject;

pub(super) async fn s14_a_purged_chat_is_gone_for_good(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S14";
    let mut store = subject.connect().await;
    let (chat, never) = (subject.chat(), subject.chat());
    let session = SessionId::mint(&subject.ids);
    let held = |head: chatwright_core::HeadDraft| {
        head.holder(Some(session)).wake_at(Some(Timestamp::from_millis(7)))
    };
    let first = subject.commit_with(chat, None, 3, held);
    let second = subject.commit(chat, Some(first.head()), 3);
    accept(&*store, &first, CLAUSE).await;
    for _ in 0..2 {
        store.purge(chat).await.expect("a chat can be purged, once and again");
        store.purge(never).await.expect("a chat that never was can be purged");
    }
    let rounds = if subject.is_volatile() { 1 } else { 2 };
    for round in 0..rounds {
        if round == 1 {
            drop(store);
            store = subject.connect().await;
        }
        assert_eq!(head(&*store, chat).await, None, "{CLAUSE}: the head is left");
        assert_eq!(whole_log(&*store, chat).await, [], "{CLAUSE}: records are left");
        let revisions = store.revisions(&[chat]).await.expect("the store answers");
        assert_eq!(revisions, [None], "{CLAUSE}: the revision is left");
        let listed = store.held(session, None, 10).await.expect("the store answers");
        assert_eq!(listed, [], "{CLAUSE}: the chat is still held");
        let due = store.due(None, limits::PAGE_ITEMS_MAX).await.expect("the store answers");
        assert!(due.iter().all(|due| due.chat != chat), "{CLAUSE}: the chat is still due");
        for commit in [&first, &second, &subject.commit(chat, None, 1), &subject.commit(never, None, 1)] {
            match store.commit(commit).await {
                Err(CommitError::Conflict(Actual::Purged)) => {}
                Err(error) => panic!("{CLAUSE}: a writer got {}", words(&error)),
                Ok(()) => panic!("{CLAUSE}: a purged chat was written"),
            }
        }
        assert_eq!(whole_log(&*store, chat).await, [], "{CLAUSE}: a refused writer left records");
    }
}

pub(super) async fn s14_a_purge_leaves_other_chats_alone(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S14";
    let store = subject.connect().await;
    let mut chats: Vec<_> = (0..6).map(|_| subject.chat()).collect();
    // Every other one by id: whatever takes a neighbour too takes one that must stay.
    chats.sort_unstable();
    let mut commits = Vec::new();
    for &chat in &chats {
        let commit = subject.commit(chat, None, 4);
        accept(&*store, &commit, CLAUSE).await;
        commits.push(commit);
    }
    for &chat in chats.iter().step_by(2) {
        store.purge(chat).await.expect("a chat can be purged");
    }
    for commit in commits.iter().skip(1).step_by(2) {
        assert_eq!(
            whole_log(&*store, commit.chat()).await,
            commit.records(),
            "{CLAUSE}: a neighbour lost records"
        );
        assert_eq!(
            head(&*store, commit.chat()).await.as_ref(),
            Some(commit.head()),
            "{CLAUSE}: a neighbour's head"
        );
        accept(&*store, &subject.commit(commit.chat(), Some(commit.head()), 1), CLAUSE).await;
    }
}
