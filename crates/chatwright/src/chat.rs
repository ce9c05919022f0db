use chatwright_core::frame::Resume;
use chatwright_core::{ChatId, Head, Record, Seq, UserId};
use chatwright_loop::{Chats, EventStream, EventsError, Failed, NewChat, NewMessage, Receipt, Worker};

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
    pub async fn interrupt(&self, by: Option<UserId>) -> Result<Receipt, Failed> {
        self.chats.interrupt(self.id, by).await
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
