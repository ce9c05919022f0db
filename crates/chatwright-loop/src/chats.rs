use std::sync::Arc;

use chatwright_core::content::Part;
use chatwright_core::frame::Resume;
use chatwright_core::head::{ClientType, Labels, Title};
use chatwright_core::text::TooLarge;
use chatwright_core::{
    ChatId, Head, MessageId, OpId, OrganizationId, QueueId, Record, Seq, SessionId, UserId, limits,
};
use chatwright_engine::{Busy, Command, Create, History, Input, Interrupt, Receipt, Refused, Send, hash};
use chatwright_retry::Gates;

use crate::calls::Calls;
use crate::deps::{Deps, Ports};
use crate::events::{EventSources, EventStream, EventsError, events};
use crate::feed::Failed;
use crate::held::session_is_live;
use crate::models::{Models, NoModel};
use crate::registry::{InvalidSetup, Registry};
use crate::store_time::StoreTime;
use crate::{Settings, Worker};

/// The chats of a process: commands and event streams, whether or not it runs a [`Worker`].
#[derive(Clone)]
pub struct Chats {
    deps: Arc<Deps>,
}

/// A chat to be created.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewChat {
    /// Its id; minted if absent. With the same id and the same key a repeated command gives the first receipt.
    pub id: Option<ChatId>,
    /// The user that it belongs to.
    pub owner: UserId,
    /// The organization that it belongs to.
    pub organization: Option<OrganizationId>,
    /// Who creates it.
    pub client_type: ClientType,
    /// Its title.
    pub title: Title,
    /// The host's labels.
    pub labels: Labels,
    /// The model that answers, by the host's name for it; absent: the default.
    pub model: Option<Box<str>>,
    /// Instructions for the model.
    pub system: Option<String>,
    /// The first message; empty: the chat waits for one.
    pub content: Vec<Part>,
    /// A key of the client's own, at most [`limits::CLIENT_KEY_BYTES_MAX`] bytes.
    pub key: Option<String>,
}

impl NewChat {
    /// A chat of this user that waits for its first message.
    pub fn new(owner: UserId) -> Self {
        Self {
            id: None,
            owner,
            organization: None,
            client_type: ClientType::Api,
            title: Title::default(),
            labels: Labels::default(),
            model: None,
            system: None,
            content: Vec::new(),
            key: None,
        }
    }
}

/// A message to be sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewMessage {
    /// What is said: text and files.
    pub content: Vec<Part>,
    /// Who says it, if not the owner.
    pub author: Option<UserId>,
    /// What to do if a turn runs.
    pub busy: Busy,
    /// A key of the client's own, at most [`limits::CLIENT_KEY_BYTES_MAX`] bytes: the same message again gives the first
    /// receipt.
    pub key: Option<String>,
}

impl NewMessage {
    /// A message of the owner's that waits while a turn runs.
    pub fn new(content: Vec<Part>) -> Self {
        Self { content, author: None, busy: Busy::Queue, key: None }
    }

    /// The same with text only.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(vec![Part::text(text)])
    }
}

impl<T: Into<String>> From<T> for NewMessage {
    fn from(text: T) -> Self {
        Self::text(text)
    }
}

impl Chats {
    /// The chats behind these ports.
    ///
    /// # Errors
    /// [`InvalidSetup`]: what does not fit together.
    pub fn new(ports: Ports, settings: Settings) -> Result<Self, InvalidSetup> {
        let setting = |setting, why| Err(InvalidSetup::Setting { setting, why });
        if settings.fence_margin + settings.renew_every >= settings.session_ttl {
            return setting("session_ttl", "it must be longer than fence_margin and renew_every together");
        }
        if settings.attempt_bytes_max > limits::ATTEMPT_BYTES_MAX {
            return setting("attempt_bytes_max", "it must be at most 3 MiB");
        }
        if settings.capacity == 0 {
            return setting("capacity", "it must be at least 1");
        }
        let registry = Registry::new(&ports.tools)?;
        let models =
            Models::new(ports.models.clone(), ports.default_model.clone(), ports.configuration.clone())?;
        let time = StoreTime::new(Arc::clone(&ports.sessions), Arc::clone(&ports.clock));
        Ok(Self {
            deps: Arc::new(Deps {
                ports,
                registry,
                models,
                time,
                settings,
                calls: Calls::default(),
                gates: Gates::new(),
            }),
        })
    }

    /// A worker that runs chats in this process. One of them is enough.
    pub fn worker(&self) -> Worker {
        Worker::new(Arc::clone(&self.deps))
    }

    /// Creates a chat. With content it is runnable at once.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed. With an id and a key it can be repeated.
    pub async fn create(&self, new: NewChat) -> Result<(ChatId, Receipt), Failed> {
        let ids = &*self.deps.ports.ids;
        self.check_model(new.model.as_deref(), &new.organization).await?;
        let chat = new.id.unwrap_or_else(|| ChatId::mint(ids));
        let create = Create {
            owner: new.owner,
            organization: new.organization,
            parent: None,
            client_type: new.client_type,
            title: new.title,
            labels: new.labels,
            model: new.model,
            system: new.system.map(Part::text).into_iter().collect(),
            system_id: MessageId::mint(ids),
            content: new.content,
            message: MessageId::mint(ids),
            key: key(new.key.as_deref())?,
        };
        let receipt = self.command(chat, Command::Create(Box::new(create))).await?;
        Ok((chat, receipt))
    }

    /// Sends a message. While a turn runs it waits in the queue.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed. With a key it can be repeated.
    pub async fn send(&self, chat: ChatId, new: NewMessage) -> Result<Receipt, Failed> {
        let ids = &*self.deps.ports.ids;
        let send = Send {
            content: new.content,
            message: MessageId::mint(ids),
            queue: QueueId::mint(ids),
            author: new.author,
            model: None,
            busy: new.busy,
            dead: self.dead_holder(chat).await?,
            key: key(new.key.as_deref())?,
        };
        self.command(chat, Command::Send(send)).await
    }

    /// Stops the turn. What the model has said is kept.
    ///
    /// # Errors
    /// [`Failed`]; [`Refused::State`] if no turn runs.
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed, and may be repeated.
    pub async fn interrupt(&self, chat: ChatId, by: Option<UserId>) -> Result<Receipt, Failed> {
        let dead = self.dead_holder(chat).await?;
        self.command(chat, Command::Interrupt(Interrupt { by, dead, key: None })).await
    }

    /// `Err` iff a chat that names this model could not be run. That it cannot be found out does not keep a chat from being
    /// created.
    async fn check_model(
        &self,
        name: Option<&str>,
        organization: &Option<OrganizationId>,
    ) -> Result<(), Refused> {
        match self.deps.models.choose(name, organization).await {
            Ok(_) | Err(NoModel::Unreadable(_)) => Ok(()),
            Err(error) => Err(Refused::Invalid { what: error.to_string() }),
        }
    }

    /// The head of a chat.
    ///
    /// # Errors
    /// [`Refused::NotFound`], or [`Failed::Store`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn head(&self, chat: ChatId) -> Result<Head, Failed> {
        let head = self.deps.ports.chats.head(chat).await.map_err(Failed::Store)?;
        head.ok_or_else(|| Refused::NotFound { what: "chat" }.into())
    }

    /// A page of a chat's records after a position: at most 1,000.
    ///
    /// # Errors
    /// [`Failed::Store`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn records(&self, chat: ChatId, after: Seq) -> Result<Vec<Record>, Failed> {
        let page = self.deps.ports.chats.records(chat, after, limits::PAGE_ITEMS_MAX).await;
        page.map_err(Failed::Store)
    }

    /// What a viewer of the chat is sent, from what it offers on: `Resume::default()` for a snapshot, or the cursor of its last
    /// frame. Whether it may see the chat is the caller's to decide before.
    ///
    /// # Errors
    /// [`EventsError`].
    ///
    /// # Cancel safety
    /// Safe: it only reads. So is every wait for the next frame.
    pub async fn events(&self, chat: ChatId, resume: Resume) -> Result<EventStream, EventsError> {
        let ports = &self.deps.ports;
        let sources = EventSources {
            chats: Arc::clone(&ports.chats),
            bus: Arc::clone(&ports.bus),
            live: Arc::clone(&ports.live),
            incarnation: self.deps.settings.incarnation.as_str().into(),
        };
        events(sources, chat, None, resume, self.deps.settings.events).await
    }

    async fn command(&self, chat: ChatId, command: Command) -> Result<Receipt, Failed> {
        let deps = &self.deps;
        let input = Input::Command(OpId::mint(&*deps.ports.ids), command);
        let landed = deps.feed(chat, &input, None, &mut History::default()).await?;
        let head = &landed.chat.head;
        let wants_worker = head.wake_at.is_some() && head.holder.is_none();
        if wants_worker {
            deps.calls.call(chat);
        }
        deps.ring(chat, head.revision, wants_worker).await;
        Ok(landed.receipt.expect("a command has a receipt"))
    }

    /// The holder of the chat, if its session is not live. At rest nobody needs to be asked.
    async fn dead_holder(&self, chat: ChatId) -> Result<Option<SessionId>, Failed> {
        let head = self.deps.ports.chats.head(chat).await.map_err(Failed::Store)?;
        let Some(holder) = head.and_then(|head| head.holder) else { return Ok(None) };
        let live = session_is_live(&self.deps, holder).await.map_err(Failed::Store)?;
        Ok((!live).then_some(holder))
    }
}

fn key(key: Option<&str>) -> Result<Option<chatwright_core::head::KeyHash>, Refused> {
    let Some(key) = key else { return Ok(None) };
    TooLarge::check_bytes("client key", key.len(), limits::CLIENT_KEY_BYTES_MAX)?;
    Ok(Some(hash(key)))
}
