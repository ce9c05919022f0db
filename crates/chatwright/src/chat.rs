use chatwright_core::content::Output;
use chatwright_core::frame::Resume;
use chatwright_core::record::Decision;
use chatwright_core::{ChatId, Head, QueueId, Record, Seq};
use chatwright_loop::{
    Asked, Chats, EventStream, EventsError, Failed, NewChat, NewEdit, NewMessage, NewSettings, QueueAct,
    QueuedMessage, Receipt, Worker,
};

/// The chats of a process. Cloning is cheap.
#[derive(Clone)]
pub struct Chatwright(Chats);

/// One chat. Cloning is cheap. Making one reads nothing.
#[derive(Clone)]
pub struct Chat {
    chats: Chats,
    id: ChatId,
}

impl Chatwright {
    pub(crate) fn new(chats: Chats) -> Self {
        Self(chats)
    }

    /// Creates a chat. With content it is runnable at once.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed. With an id and a key it can be repeated.
    pub async fn create(&self, new: NewChat) -> Result<Chat, Failed> {
        let (id, _) = self.0.create(new).await?;
        Ok(self.chat(id))
    }

    /// The chat with this id, whether or not there is one.
    pub fn chat(&self, id: ChatId) -> Chat {
        Chat { chats: self.0.clone(), id }
    }

    /// A worker that runs chats in this process. One of them is enough.
    pub fn worker(&self) -> Worker {
        self.0.worker()
    }
}

impl Chat {
    /// Its id.
    pub fn id(&self) -> ChatId {
        self.id
    }

    /// Sends a message. While a turn runs it waits in the queue.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed. With a key it can be repeated.
    pub async fn send(&self, message: impl Into<NewMessage>) -> Result<Receipt, Failed> {
        self.chats.send(self.id, message.into()).await
    }

    /// Stops the turn. What the model has said is kept.
    ///
    /// # Errors
    /// [`Failed`]; `Refused::State` if no turn runs.
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed, and may be repeated.
    pub async fn interrupt(&self, asked: impl Into<Asked>) -> Result<Receipt, Failed> {
        self.chats.interrupt(self.id, asked).await
    }

    /// Puts another message in the place of one of history. What came after it is cut, the queue is cleared, and whatever runs
    /// is fenced off.
    ///
    /// # Errors
    /// [`Failed`]; `Refused::NotFound` if no message of a user is there, or it was cut.
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed. With a key it can be repeated.
    pub async fn edit(&self, edit: NewEdit) -> Result<Receipt, Failed> {
        self.chats.edit(self.id, edit).await
    }

    /// The messages that wait in the queue, in the order in which they are promoted.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn queued(&self) -> Result<Vec<QueuedMessage>, Failed> {
        self.chats.queued(self.id).await
    }

    /// Removes, moves, edits, holds, releases or promotes a queued message.
    ///
    /// # Errors
    /// [`Failed`]; `Refused::NotFound` if it does not wait any more.
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed. With a key it can be repeated.
    pub async fn queue(
        &self,
        id: QueueId,
        act: QueueAct,
        asked: impl Into<Asked>,
    ) -> Result<Receipt, Failed> {
        self.chats.queue(self.id, id, act, asked).await
    }

    /// Gives the results of the client's calls: one for each call that waits for the client, by its place.
    ///
    /// # Errors
    /// [`Failed`]; `Refused::Invalid` says which call has no result, two, or does not wait.
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed. With a key it can be repeated.
    pub async fn submit(
        &self,
        results: Vec<(u32, Output)>,
        asked: impl Into<Asked>,
    ) -> Result<Receipt, Failed> {
        self.chats.submit(self.id, results, asked).await
    }

    /// Decides about a call that asked for approval, by its place.
    ///
    /// # Errors
    /// [`Failed`]; `Refused::NotFound` if the call does not wait for a decision.
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed. With a key it can be repeated.
    pub async fn decide(
        &self,
        ordinal: u32,
        decision: Decision,
        asked: impl Into<Asked>,
    ) -> Result<Receipt, Failed> {
        self.chats.decide(self.id, ordinal, decision, asked).await
    }

    /// Replaces older history by a summary: now, or before the next answer of a turn that runs.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed, and may be repeated.
    pub async fn compact(&self, asked: impl Into<Asked>) -> Result<Receipt, Failed> {
        self.chats.compact(self.id, asked).await
    }

    /// Leaves history so far out of the prompt. Viewers go on seeing it.
    ///
    /// # Errors
    /// [`Failed`]; `Refused::State` while a turn runs.
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed, and may be repeated.
    pub async fn clear(&self, asked: impl Into<Asked>) -> Result<Receipt, Failed> {
        self.chats.clear(self.id, asked).await
    }

    /// Archives the family of this root. What its members do is stopped if `stop` says so; otherwise a member that does
    /// something refuses.
    ///
    /// # Errors
    /// [`Failed`]; `Refused::State` if something runs and `stop` is not set, `Refused::Archived` if it is archived.
    ///
    /// # Cancel safety
    /// An archiving that has begun is gone on with by whoever runs chats. It may be repeated.
    pub async fn archive(&self, stop: bool, asked: impl Into<Asked>) -> Result<Receipt, Failed> {
        self.chats.archive(self.id, stop, asked).await
    }

    /// Takes the family of this root out of the archive, or ends its archiving.
    ///
    /// # Errors
    /// [`Failed`]; `Refused::NotArchived`.
    ///
    /// # Cancel safety
    /// A dropped command may have landed for some members only, and may be repeated.
    pub async fn unarchive(&self, asked: impl Into<Asked>) -> Result<Receipt, Failed> {
        self.chats.unarchive(self.id, asked).await
    }

    /// Sets title, labels or the model of the turns to come. It changes nothing of what the chat does.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed, and may be repeated.
    pub async fn set(&self, set: NewSettings, asked: impl Into<Asked>) -> Result<Receipt, Failed> {
        self.chats.set(self.id, set, asked).await
    }

    /// What a viewer is sent, from what it offers on: `Resume::default()` for a snapshot, or the cursor of its last frame.
    /// [`View`](chatwright_core::view::View) folds the frames. Whether the viewer may see the chat is the caller's to decide
    /// before.
    ///
    /// # Errors
    /// [`EventsError`].
    ///
    /// # Cancel safety
    /// Safe: it only reads. So is every wait for the next frame.
    pub async fn events(&self, resume: impl Into<Resume>) -> Result<EventStream, EventsError> {
        self.chats.events(self.id, resume.into()).await
    }

    /// Its head.
    ///
    /// # Errors
    /// `Refused::NotFound`, or [`Failed::Store`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn head(&self) -> Result<Head, Failed> {
        self.chats.head(self.id).await
    }

    /// A page of its records after a position: at most 1,000.
    ///
    /// # Errors
    /// [`Failed::Store`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn records(&self, after: Seq) -> Result<Vec<Record>, Failed> {
        self.chats.records(self.id, after).await
    }
}
