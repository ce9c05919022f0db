//! S1–S3, S8–S10: what holds when many write at once, and when a writer goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chatwright_core::port::{Actual, ChatStore, CommitError};
use chatwright_core::{Commit, OpId, Revision};
use futures::future::{join_all, select};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::fixture::{
    accept, commit_of, draft, first, head, revision, seqs, whole_commits, whole_log, words,
};
use crate::Subject;

const WRITERS: usize = 64;

pub(super) async fn s1_head_and_records_become_visible_together(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S1";
    let store = subject.connect().await;
    let chat = subject.chat();
    accept(&*store, &subject.commit(chat, None, 5), CLAUSE).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..2 {
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        readers.spawn(async move {
            loop {
                let last = done.load(Ordering::Acquire);
                let before = head(&*store, chat).await.expect("the chat exists");
                let log = whole_log(&*store, chat).await;
                whole_commits(&log, CLAUSE);
                let head = head(&*store, chat).await.expect("the chat exists");
                assert!(
                    before.last_seq.get() <= log.len() as u64,
                    "{CLAUSE}: a head is visible before its records"
                );
                assert!(
                    head.last_seq.get() >= log.len() as u64,
                    "{CLAUSE}: records are visible before their head"
                );
                assert_eq!(head.last_seq.get(), head.revision.get() * 5, "{CLAUSE}: a head of no commit");
                if last {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for _ in 0..40 {
        let last = head(&*store, chat).await;
        accept(&*store, &subject.commit(chat, last.as_ref(), 5), CLAUSE).await;
    }
    done.store(true, Ordering::Release);
    all(readers).await;
}

pub(super) async fn s1_a_refused_commit_leaves_nothing_behind(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S1";
    let store = subject.connect().await;
    let (chat, stranger) = (subject.chat(), subject.chat());
    let first = subject.commit(chat, None, 2);
    accept(&*store, &first, CLAUSE).await;
    let late = [
        subject.commit(chat, None, 3),
        // Its records would stand after the log's last one, with nothing in their way but the condition.
        subject.commit(chat, Some(subject.commit(chat, Some(first.head()), 1).head()), 3),
        subject.commit(stranger, Some(first.head()), 3),
    ];
    for commit in &late {
        assert!(store.commit(commit).await.is_err(), "{CLAUSE}: a commit at another revision was accepted");
    }
    assert_eq!(whole_log(&*store, chat).await, first.records(), "{CLAUSE}: a refused commit left records");
    assert_eq!(
        head(&*store, chat).await.as_ref(),
        Some(first.head()),
        "{CLAUSE}: a refused commit changed the head"
    );
    assert_eq!(whole_log(&*store, stranger).await, [], "{CLAUSE}: a refused commit left records");
    assert_eq!(head(&*store, stranger).await, None, "{CLAUSE}: a refused commit made a chat");
}

pub(super) async fn s2_a_commit_applies_only_at_the_expected_revision(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S2";
    let store = subject.connect().await;
    let chat = subject.chat();
    let first = subject.commit(chat, None, 1);
    let second = subject.commit(chat, Some(first.head()), 1);
    let third = subject.commit(chat, Some(second.head()), 1);
    let conflict = async |commit: &Commit, actual: Actual| match store.commit(commit).await {
        Err(CommitError::Conflict(told)) => {
            assert_eq!(told, actual, "{CLAUSE}: the conflict tells another revision");
        }
        Err(error) => panic!("{CLAUSE}: expected a conflict, got {}", words(&error)),
        Ok(()) => panic!("{CLAUSE}: a commit at another revision was accepted"),
    };
    conflict(&second, Actual::Absent).await;
    accept(&*store, &first, CLAUSE).await;
    conflict(&first, Actual::Revision(Revision::new(1))).await;
    conflict(&subject.commit(chat, None, 1), Actual::Revision(Revision::new(1))).await;
    conflict(&third, Actual::Revision(Revision::new(1))).await;
    accept(&*store, &second, CLAUSE).await;
    conflict(&second, Actual::Revision(Revision::new(2))).await;
    conflict(&subject.commit(chat, Some(first.head()), 1), Actual::Revision(Revision::new(2))).await;
    accept(&*store, &third, CLAUSE).await;
    assert_eq!(head(&*store, chat).await.as_ref(), Some(third.head()), "{CLAUSE}: the last head is stored");
}

pub(super) async fn s3_sixty_four_writers_of_one_revision_have_one_winner(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S3";
    let store = subject.connect().await;
    let chat = subject.chat();
    let mut last = None;
    for round in 1..=8 {
        let commits: Vec<Commit> = (0..WRITERS).map(|_| subject.commit(chat, last.as_ref(), 2)).collect();
        let mut writers = JoinSet::new();
        for commit in commits {
            let store = Arc::clone(&store);
            writers.spawn(async move { store.commit(&commit).await.is_ok().then_some(commit) });
        }
        let won: Vec<Commit> = all(writers).await.into_iter().flatten().collect();
        assert_eq!(won.len(), 1, "{CLAUSE}: {} of {WRITERS} writers won round {round}", won.len());
        let stored = head(&*store, chat).await;
        assert_eq!(stored.as_ref(), Some(won[0].head()), "{CLAUSE}: the winner's head is stored");
        let log = whole_log(&*store, chat).await;
        assert_eq!(log[log.len() - 2..], *won[0].records(), "{CLAUSE}: the winner's records are stored");
        assert_eq!(log.len(), round * 2, "{CLAUSE}: a loser's records are stored");
        last = stored;
    }
}

pub(super) async fn s8_sixty_four_chats_neither_mix_nor_conflict(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S8";
    let store = subject.connect().await;
    let chains: Vec<Vec<Commit>> = (0..WRITERS)
        .map(|_| {
            let chat = subject.chat();
            let mut chain = vec![subject.commit(chat, None, 1)];
            for _ in 0..7 {
                chain.push(subject.commit(chat, chain.last().map(Commit::head), 3));
            }
            chain
        })
        .collect();
    let mut writers = JoinSet::new();
    for chain in chains {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for commit in &chain {
                accept(&*store, commit, CLAUSE).await;
            }
            chain
        });
    }
    for chain in all(writers).await {
        let chat = chain[0].chat();
        let written: Vec<_> = chain.iter().flat_map(|commit| commit.records().to_vec()).collect();
        assert_eq!(
            whole_log(&*store, chat).await,
            written,
            "{CLAUSE}: a chat holds other records than its own"
        );
        assert_eq!(revision(&*store, chat).await, Some(Revision::new(8)), "{CLAUSE}: a commit is lost");
    }
}

pub(super) async fn s9_a_conflict_means_not_applied_and_a_race_has_no_other_error(
    subject: &Subject<dyn ChatStore>,
) {
    const CLAUSE: &str = "store.S9";
    let store = subject.connect().await;
    let chat = subject.chat();
    accept(&*store, &subject.commit(chat, None, 1), CLAUSE).await;
    let mut writers = JoinSet::new();
    let together = Arc::new(Barrier::new(16));
    for _ in 0..16 {
        let (store, together) = (Arc::clone(&store), Arc::clone(&together));
        let ops: Vec<_> = (0..12).map(|_| OpId::mint(&subject.ids)).collect();
        writers.spawn(async move {
            let (mut won, mut lost) = (Vec::new(), Vec::new());
            for op in ops {
                let last = head(&*store, chat).await.expect("the chat exists");
                // Everybody has read before anybody writes: all but one must lose.
                together.wait().await;
                let commit = commit_of(chat, Some(&last), draft(), vec![first(op)]);
                match store.commit(&commit).await {
                    Ok(()) => won.push(op),
                    Err(CommitError::Conflict(_)) => lost.push(op),
                    Err(error) => {
                        panic!(
                            "{CLAUSE}: losing a race is a conflict, not an unknown outcome: {}",
                            words(&error)
                        )
                    }
                }
            }
            (won, lost)
        });
    }
    let (won, lost): (Vec<_>, Vec<_>) = all(writers).await.into_iter().unzip();
    let (mut won, lost) = (won.concat(), lost.concat());
    let log = whole_log(&*store, chat).await;
    let mut applied = whole_commits(&log[1..], CLAUSE);
    for op in lost {
        assert!(!applied.contains(&op), "{CLAUSE}: a commit that was answered with a conflict is in the log");
    }
    won.sort_unstable();
    applied.sort_unstable();
    assert_eq!(applied, won, "{CLAUSE}: the log holds just the commits that were answered with Ok");
}

pub(super) async fn s10_a_dropped_commit_is_whole_or_absent_and_the_store_goes_on(
    subject: &Subject<dyn ChatStore>,
) {
    const CLAUSE: &str = "store.S10";
    let store = subject.connect().await;
    let chat = subject.chat();
    accept(&*store, &subject.commit(chat, None, 3), CLAUSE).await;
    for round in 0..60 {
        let last = head(&*store, chat).await.expect("the chat exists");
        let commit = subject.commit(chat, Some(&last), 3);
        // Dropped after some polls of its own, or after some time.
        let patience = subject.chance.below(6);
        let drop_after = Box::pin(async move {
            if round % 2 == 0 {
                for _ in 0..patience {
                    tokio::task::yield_now().await;
                }
            } else {
                tokio::time::sleep(Duration::from_micros(patience * 40)).await;
            }
        });
        drop(select(store.commit(&commit), drop_after).await);

        let stored = tokio::time::timeout(Duration::from_secs(10), head(&*store, chat)).await;
        let stored = stored.unwrap_or_else(|_| panic!("{CLAUSE}: reads hang after a dropped commit"));
        let stored = stored.expect("the chat exists");
        whole_commits(&whole_log(&*store, chat).await, CLAUSE);
        assert!(stored == last || stored == *commit.head(), "{CLAUSE}: a dropped commit left another head");
    }
    // The store goes on: a new chat can be made, and the old one reaches a state that stays.
    let probe = subject.commit(subject.chat(), None, 1);
    let done = tokio::time::timeout(Duration::from_secs(10), store.commit(&probe)).await;
    assert!(matches!(done, Ok(Ok(()))), "{CLAUSE}: commits hang or fail after a dropped commit");
    let reads = join_all((0..8).map(|_| head(&*store, chat)));
    let reads = tokio::time::timeout(Duration::from_secs(10), reads).await;
    assert!(reads.is_ok(), "{CLAUSE}: reads hang after a dropped commit");
    let log = whole_log(&*store, chat).await;
    whole_commits(&log, CLAUSE);
    assert_eq!(seqs(&log), (1..=log.len() as u64).collect::<Vec<_>>(), "{CLAUSE}: the log has a hole");
}

/// The results of all tasks; a panic of one is the panic of the test.
pub(super) async fn all<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(task) = tasks.join_next().await {
        match task {
            Ok(result) => results.push(result),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    results
}
