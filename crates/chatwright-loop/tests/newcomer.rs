//! Whoever takes a chat anew reads what the prompt needs, whatever the chat's age.

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use chatwright_core::head::Status;
use chatwright_core::port::{ChatStore, CommitError, Due, DueAfter, StoreError};
use chatwright_core::{ChatId, Commit, Head, Record, Revision, Seq, SessionId};
use chatwright_loop::{Chats, NewMessage, Settings};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use common::{RuleModel, World, echo, new_chat, transcript, until};

/// A store that remembers which records were read.
struct Reads {
    inner: Arc<dyn ChatStore>,
    seen: Mutex<Vec<Seq>>,
}

#[async_trait]
impl ChatStore for Reads {
    async fn head(&self, chat: ChatId) -> Result<Option<Head>, StoreError> {
        self.inner.head(chat).await
    }

    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        self.inner.commit(commit).await
    }

    async fn records(&self, chat: ChatId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        let page = self.inner.records(chat, after, limit).await?;
        self.seen.lock().extend(page.iter().map(|record| record.seq));
        Ok(page)
    }

    async fn due(&self, after: Option<DueAfter>, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.inner.due(after, limit).await
    }

    async fn held(
        &self,
        session: SessionId,
        after: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<ChatId>, StoreError> {
        self.inner.held(session, after, limit).await
    }

    async fn revisions(&self, chats: &[ChatId]) -> Result<Vec<Option<Revision>>, StoreError> {
        self.inner.revisions(chats).await
    }

    async fn purge(&self, chat: ChatId) -> Result<(), StoreError> {
        self.inner.purge(chat).await
    }
}

#[tokio::test(start_paused = true)]
async fn older_records_are_not_read_but_for_the_hosts_instructions() {
    let world = World::new();
    let mut ports = world.ports(RuleModel::new(echo), vec![]);
    let reads = Arc::new(Reads { inner: Arc::clone(&ports.chats), seen: Mutex::default() });
    ports.chats = reads.clone();
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let worker = chats.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });
    let mut new = new_chat("hello");
    new.system = Some("Be brief.".to_owned());
    let (chat, _) = chats.create(new).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    for n in 0..40 {
        chats.send(chat, NewMessage::text(format!("message {n}"))).await.expect("sent");
        until(&chats, chat, Status::Waiting).await;
    }
    chats.clear(chat, None).await.expect("at rest");
    let cleared = chats.head(chat).await.expect("there").last_seq;
    reads.seen.lock().clear();
    chats.send(chat, NewMessage::text("and now?")).await.expect("sent");
    until(&chats, chat, Status::Waiting).await;
    let read: Vec<Seq> = reads.seen.lock().iter().copied().filter(|seq| *seq <= cleared).collect();
    assert_eq!(read, [Seq::new(2)], "of 200 records");
    assert_eq!(transcript(&chats, chat).await.len(), 84, "viewers see all of it");
}
