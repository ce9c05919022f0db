use std::sync::Arc;

use chatwright_core::content::{Output, Part};
use chatwright_core::frame::Resume;
use chatwright_core::head::{CallKind, ClientType, KeyHash, Labels, Title};
use chatwright_core::model::ReasoningEffort;
use chatwright_core::port::Unresolved;
use chatwright_core::record::{Body, Decision, MessageUser, QueueChanged};
use chatwright_core::text::TooLarge;
use chatwright_core::{
    ChatId, Head, MessageId, OpId, OrganizationId, QueueId, Record, Seq, SessionId, UserId, limits,
};
use chatwright_engine::{
    Archive, Busy, Clear, Command, Compact, Create, Decide, Edit, History, Input, Interrupt, Join, Parent,
    Queue, QueueAct, Receipt, Refused, Scope, Send, Set, Submit, calls, hash,
};
use chatwright_retry::Gates;

use crate::advisor;
use crate::blobs::Keeper;
use crate::calls::Calls;
use crate::deps::{Deps, Ports};
use crate::events::{EventSources, EventStream, EventsError, events};
use crate::feed::Failed;
use crate::held;
use crate::meter::Late;
use crate::metrics::{self, Metrics};
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
    /// The chat that spawns it. It then belongs to that one's owner and organization, and has its client type.
    pub parent: Option<ChatId>,
    /// Who creates it.
    pub client_type: ClientType,
    /// Its title.
    pub title: Title,
    /// The host's labels.
    pub labels: Labels,
    /// The model that answers, by the host's name for it; absent: the default.
    pub model: Option<Box<str>>,
    /// How much the model thinks from here on, as far as its configuration lets it.
    pub effort: Option<ReasoningEffort>,
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
            parent: None,
            client_type: ClientType::Api,
            title: Title::default(),
            labels: Labels::default(),
            model: None,
            effort: None,
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
    /// The model that answers from this message on, by the host's name for it.
    pub model: Option<Box<str>>,
    /// How much the model thinks from here on, as far as its configuration lets it.
    pub effort: Option<ReasoningEffort>,
    /// What to do if a turn runs.
    pub busy: Busy,
    /// A key of the client's own, at most [`limits::CLIENT_KEY_BYTES_MAX`] bytes: the same message again gives the first
    /// receipt.
    pub key: Option<String>,
}

impl NewMessage {
    /// A message of the owner's that waits while a turn runs.
    pub fn new(content: Vec<Part>) -> Self {
        Self { content, author: None, model: None, effort: None, busy: Busy::Queue, key: None }
    }

    /// The same with text only.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(vec![Part::text(text)])
    }
}

/// Another message in the place of one of history.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewEdit {
    /// The position of the message that goes, with all that came after it: `seq` of a message in a
    /// [`Transcript`](chatwright_core::view::Transcript).
    pub seq: Seq,
    /// What is said instead: text and files.
    pub content: Vec<Part>,
    /// Who says it, if not the owner.
    pub author: Option<UserId>,
    /// The model that answers from this message on, by the host's name for it; absent: the one that the original asked for, if
    /// it did.
    pub model: Option<Box<str>>,
    /// How much the model thinks from here on, as far as its configuration lets it.
    pub effort: Option<ReasoningEffort>,
    /// A key of the client's own, at most [`limits::CLIENT_KEY_BYTES_MAX`] bytes: the same edit again gives the first receipt.
    pub key: Option<String>,
}

impl NewEdit {
    /// A message of the owner's in the place of that one.
    pub fn new(seq: Seq, content: Vec<Part>) -> Self {
        Self { seq, content, author: None, model: None, effort: None, key: None }
    }

    /// The same with text only.
    pub fn text(seq: Seq, text: impl Into<String>) -> Self {
        Self::new(seq, vec![Part::text(text)])
    }
}

/// What is to be set. What is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSettings {
    /// The title.
    pub title: Option<Title>,
    /// All labels.
    pub labels: Option<Labels>,
    /// The model of the turns to come, by the host's name for it.
    pub model: Option<Box<str>>,
    /// How much the model thinks from here on, as far as its configuration lets it.
    pub effort: Option<ReasoningEffort>,
}

/// Who asks for something, and the key under which the same request again gives the first receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Who asks.
    pub by: Option<UserId>,
    /// A key of the client's own, at most [`limits::CLIENT_KEY_BYTES_MAX`] bytes.
    pub key: Option<String>,
}

impl Asked {
    /// Nobody in particular asks, with this key.
    pub fn with_key(key: impl Into<String>) -> Self {
        Self { by: None, key: Some(key.into()) }
    }
}

impl From<Option<UserId>> for Asked {
    fn from(by: Option<UserId>) -> Self {
        Self { by, key: None }
    }
}

/// A message that waits in the queue.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct QueuedMessage {
    /// Its entry.
    pub id: QueueId,
    /// Whether promotion skips it.
    pub held: bool,
    /// What is said.
    pub message: MessageUser,
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
        if let Some(name) = settings.too_long() {
            return setting(name, "it must be at most a year");
        }
        if settings.fence_margin + settings.renew_every >= settings.session_ttl {
            return setting("session_ttl", "it must be longer than fence_margin and renew_every together");
        }
        if settings.attempt_bytes_max > limits::ATTEMPT_BYTES_MAX {
            return setting("attempt_bytes_max", "it must be at most 3 MiB");
        }
        if settings.capacity == 0 {
            return setting("capacity", "it must be at least 1");
        }
        if settings.rules.parallel_max == 0 {
            return setting("rules.parallel_max", "it must be at least 1");
        }
        let registry = Registry::new(&ports.tools, &ports.client_tools)?;
        let models = Models::new(
            ports.models.clone(),
            ports.model_configs.clone(),
            ports.default_model.clone(),
            ports.configuration.clone(),
        )?;
        if settings.advisor.enabled {
            if registry.hides_advisor() {
                return Err(InvalidSetup::DuplicateTool(advisor::NAME.into()));
            }
            let model = settings.advisor.model_config_id.clone();
            if let Some(name) = model.filter(|name| !ports.models.contains_key(name)) {
                return Err(InvalidSetup::UnknownModel(name));
            }
        }
        metrics::describe();
        let metrics = Metrics::new(registry.names());
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
                late: Late::default(),
                metrics,
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
        let chat = new.id.unwrap_or_else(|| ChatId::mint(ids));
        let mut new = new;
        let parent = match new.parent {
            Some(parent) => Some(self.join(chat, parent, &mut new).await?),
            None => None,
        };
        if let Err(refused) = self.check_model(new.model.as_deref(), &new.organization).await {
            // A repeated command gives its receipt, whatever became of its model.
            let stored = match new.id {
                Some(id) => self.deps.ports.chats.head(id).await.map_err(Failed::Store)?,
                None => None,
            };
            stored.ok_or(refused)?;
        }
        let create = Create {
            owner: new.owner,
            organization: new.organization,
            parent,
            client_type: new.client_type,
            title: new.title,
            labels: new.labels,
            model: new.model,
            effort: new.effort,
            system: new.system.map(Part::text).into_iter().collect(),
            system_id: MessageId::mint(ids),
            content: new.content,
            message: MessageId::mint(ids),
            key: key(new.key.as_deref())?,
        };
        let receipt = self.command(chat, Command::Create(Box::new(create))).await?;
        if let Some(Parent { root, .. }) = parent {
            // Its family may have been archived since it joined. Otherwise whoever runs it finds out.
            let _ = crate::family::follow(&self.deps, root, chat).await;
        }
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
        let (ids, key) = (&*self.deps.ports.ids, key(new.key.as_deref())?);
        let send = Send {
            content: new.content,
            message: MessageId::mint(ids),
            queue: QueueId::mint(ids),
            author: new.author,
            model: self.known(chat, new.model, key).await?,
            effort: new.effort,
            busy: new.busy,
            dead: self.dead_holder(chat).await?,
            key,
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
    pub async fn interrupt(&self, chat: ChatId, asked: impl Into<Asked>) -> Result<Receipt, Failed> {
        let Asked { by, key } = asked.into();
        let (dead, key) = (self.dead_holder(chat).await?, self::key(key.as_deref())?);
        self.command(chat, Command::Interrupt(Interrupt { by, dead, key })).await
    }

    /// Puts another message in the place of one of history. What came after it is cut, the queue is cleared, and whatever runs
    /// is fenced off.
    ///
    /// # Errors
    /// [`Failed`]; [`Refused::NotFound`] if no message of a user is there, or it was cut.
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed. With a key it can be repeated.
    pub async fn edit(&self, chat: ChatId, new: NewEdit) -> Result<Receipt, Failed> {
        let key = key(new.key.as_deref())?;
        let edit = Edit {
            seq: new.seq,
            content: new.content,
            message: MessageId::mint(&*self.deps.ports.ids),
            author: new.author,
            model: self.known(chat, new.model, key).await?,
            effort: new.effort,
            key,
        };
        self.command(chat, Command::Edit(edit)).await
    }

    /// The messages that wait in the queue, in the order in which they are promoted.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn queued(&self, chat: ChatId) -> Result<Vec<QueuedMessage>, Failed> {
        let Some(known) = self.deps.reload(chat).await? else {
            return Err(Refused::NotFound { what: "chat" }.into());
        };
        let mut queued = Vec::with_capacity(known.state.queue.len());
        for entry in &known.state.queue {
            let Body::QueueAdded(added) = self.body(chat, entry.seq).await? else {
                return Err(crate::feed::broken("a queue entry names another record"));
            };
            let mut message = added.message;
            if let Some(edited) = entry.edited
                && let Body::QueueChanged(QueueChanged { content: Some(content), .. }) =
                    self.body(chat, edited).await?
            {
                message.content = content;
            }
            queued.push(QueuedMessage { id: entry.id, held: entry.held, message });
        }
        Ok(queued)
    }

    /// Does something with a queued message: see [`QueueAct`].
    ///
    /// # Errors
    /// [`Failed`]; [`Refused::NotFound`] if it does not wait any more.
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed. With a key it can be repeated.
    pub async fn queue(
        &self,
        chat: ChatId,
        id: QueueId,
        act: QueueAct,
        asked: impl Into<Asked>,
    ) -> Result<Receipt, Failed> {
        let key = key(asked.into().key.as_deref())?;
        let dead = self.dead_holder(chat).await?;
        self.command(chat, Command::Queue(Queue { id, act, dead, key })).await
    }

    /// Gives the results of the client's calls: one for each call that waits for the client, by its place. A long one is cut in its
    /// middle as a tool's is, and kept whole in the blobs if there are any.
    ///
    /// # Errors
    /// [`Failed`]; [`Refused::Invalid`] says which call has no result, two, or does not wait.
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed. With a key it can be repeated.
    pub async fn submit(
        &self,
        chat: ChatId,
        results: Vec<(u32, Output)>,
        asked: impl Into<Asked>,
    ) -> Result<Receipt, Failed> {
        let key = key(asked.into().key.as_deref())?;
        let results = self.fitted(chat, results).await?;
        self.command(chat, Command::Submit(Submit { results, key })).await
    }

    /// Results as records take them. Nothing is kept for calls that do not wait for the client: the command will be refused.
    async fn fitted(&self, chat: ChatId, results: Vec<(u32, Output)>) -> Result<Vec<(u32, Output)>, Failed> {
        let known = self.deps.reload(chat).await?;
        let open = known.map(|known| known.state.calls).unwrap_or_default();
        let waits =
            |ordinal| open.iter().any(|call| call.kind == CallKind::Client && call.ordinal == ordinal);
        let (keeper, max) = (Keeper::new(&self.deps, chat), self.deps.settings.tool_output_bytes_max);
        let mut fitted = Vec::with_capacity(results.len());
        for (ordinal, output) in results {
            let output = if waits(ordinal) { keeper.output(output, max).await } else { output };
            fitted.push((ordinal, output));
        }
        Ok(fitted)
    }

    /// Decides about a call that asked for approval, by its place: it is run as it is or with other arguments, or not at all.
    ///
    /// # Errors
    /// [`Failed`]; [`Refused::NotFound`] if the call does not wait for a decision, [`Refused::Invalid`] if other arguments do not
    /// keep to the schema of the tool.
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed. With a key it can be repeated.
    pub async fn decide(
        &self,
        chat: ChatId,
        ordinal: u32,
        decision: Decision,
        asked: impl Into<Asked>,
    ) -> Result<Receipt, Failed> {
        let Asked { by, key } = asked.into();
        let key = self::key(key.as_deref())?;
        if let Decision::Approve { input: Some(input) } = &decision {
            self.check_arguments(chat, ordinal, input, key).await?;
        }
        self.command(chat, Command::Decide(Decide { ordinal, decision, by, key })).await
    }

    /// Replaces older history by a summary: now, or before the next answer of a turn that runs.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed, and may be repeated.
    pub async fn compact(&self, chat: ChatId, asked: impl Into<Asked>) -> Result<Receipt, Failed> {
        let Asked { by, key } = asked.into();
        let key = self::key(key.as_deref())?;
        self.command(chat, Command::Compact(Compact { by, key })).await
    }

    /// Leaves history so far out of the prompt. Viewers go on seeing it.
    ///
    /// # Errors
    /// [`Failed`]; [`Refused::State`] while a turn runs.
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed, and may be repeated.
    pub async fn clear(&self, chat: ChatId, asked: impl Into<Asked>) -> Result<Receipt, Failed> {
        let key = key(asked.into().key.as_deref())?;
        self.command(chat, Command::Clear(Clear { key })).await
    }

    /// Archives the family of this root. What its members do is stopped if `stop` says so; otherwise a member that does
    /// something refuses. A member whose holder lives takes a moment to stop: the family is archived when it has.
    ///
    /// # Errors
    /// [`Failed`]; [`Refused::State`] if something runs and `stop` is not set, [`Refused::Archived`] if it is archived.
    ///
    /// # Cancel safety
    /// An archiving that has begun is gone on with by whoever runs chats. It may be repeated.
    pub async fn archive(
        &self,
        chat: ChatId,
        stop: bool,
        asked: impl Into<Asked>,
    ) -> Result<Receipt, Failed> {
        let key = key(asked.into().key.as_deref())?;
        if !stop
            && let Some(known) = self.deps.reload(chat).await?
            // One that was done before says so, whatever its members do now.
            && !known.state.keys.iter().any(|seen| Some(seen.0) == key)
        {
            crate::family::must_rest(&self.deps, chat, &known).await?;
        }
        let dead = self.dead_holder(chat).await?;
        let archive = Archive { scope: Scope::Family, stop, dead, key };
        let receipt = self.command(chat, Command::Archive(archive)).await?;
        match crate::family::archive_members(&self.deps, chat).await {
            Err(error @ Failed::Refused(_)) => Err(error),
            // Whoever finds the root due goes on.
            _ => Ok(receipt),
        }
    }

    /// Takes the family of this root out of the archive, or ends its archiving.
    ///
    /// # Errors
    /// [`Failed`]; [`Refused::NotArchived`].
    ///
    /// # Cancel safety
    /// A dropped command may have landed for some members only, and may be repeated.
    pub async fn unarchive(&self, chat: ChatId, asked: impl Into<Asked>) -> Result<Receipt, Failed> {
        let key = key(asked.into().key.as_deref())?;
        crate::family::unarchive(&self.deps, chat, key).await
    }

    /// Sets title, labels or the model of the turns to come. It changes nothing of what the chat does.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Cancel safety
    /// A dropped command may or may not have landed, and may be repeated.
    pub async fn set(
        &self,
        chat: ChatId,
        set: NewSettings,
        asked: impl Into<Asked>,
    ) -> Result<Receipt, Failed> {
        let key = key(asked.into().key.as_deref())?;
        let NewSettings { title, labels, model, effort } = set;
        let model = self.known(chat, model, key).await?;
        self.command(chat, Command::Set(Set { title, generated: false, labels, model, effort, key })).await
    }

    /// Enters a chat that is to be created in the log of its family's root, unless it is there already.
    async fn join(&self, chat: ChatId, parent: ChatId, new: &mut NewChat) -> Result<Parent, Failed> {
        let Some(known) = self.deps.reload(parent).await? else {
            return Err(Refused::NotFound { what: "parent" }.into());
        };
        let index = &known.head.index;
        (new.owner, new.organization) = (index.owner.clone(), index.organization.clone());
        new.client_type = index.client_type;
        let (root, depth) = (index.root.unwrap_or(parent), known.state.depth);
        if self.deps.reload(chat).await?.is_none() {
            let depth_max = self.deps.settings.rules.depth_max;
            if depth >= depth_max {
                let what = format!("a chat may be at most {depth_max} below the root of its family");
                return Err(Refused::Invalid { what }.into());
            }
            self.command(root, Command::Join(Join { child: chat })).await?;
        }
        Ok(Parent { chat: parent, root, depth })
    }

    /// A model that a command names, if it could answer. A command that is repeated gets its receipt whatever has become of
    /// its model.
    async fn known(
        &self,
        chat: ChatId,
        model: Option<Box<str>>,
        key: Option<KeyHash>,
    ) -> Result<Option<Box<str>>, Failed> {
        if let Some(name) = &model
            && let Some(known) = self.deps.reload(chat).await?
            && !known.state.keys.iter().any(|seen| Some(seen.0) == key)
        {
            self.check_model(Some(name), &known.head.index.organization).await?;
        }
        Ok(model)
    }

    /// `Err` iff a call that waits for a decision could not run with these arguments. A command that is repeated gets its
    /// receipt.
    async fn check_arguments(
        &self,
        chat: ChatId,
        ordinal: u32,
        input: &str,
        key: Option<KeyHash>,
    ) -> Result<(), Failed> {
        let Some(known) = self.deps.reload(chat).await? else { return Ok(()) };
        let Some(message) = known.state.calls_in else { return Ok(()) };
        if known.state.keys.iter().any(|seen| Some(seen.0) == key) {
            return Ok(());
        }
        let through = known.head.last_seq;
        let history = self.deps.history(chat, known.state.context_from, through).await?;
        let answer = history.answer(message);
        let call = answer.and_then(|answer| calls(&answer.content).find(|call| call.ordinal == ordinal));
        let entry = call.and_then(|call| self.deps.registry.tools(false).tool(call.name));
        let checked = entry.map_or(Ok(()), |entry| entry.arguments(input).map(drop));
        checked.map_err(|what| Refused::Invalid { what }.into())
    }

    async fn body(&self, chat: ChatId, seq: Seq) -> Result<Body, Failed> {
        Ok(self.deps.record(chat, seq).await?.open().map_err(crate::feed::broken)?.body)
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
            Err(NoModel::Unresolved(error)) if matches!(*error, Unresolved::Unavailable { .. }) => Ok(()),
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

    /// The holder of the chat, if its session is not live.
    async fn dead_holder(&self, chat: ChatId) -> Result<Option<SessionId>, Failed> {
        let head = self.deps.ports.chats.head(chat).await.map_err(Failed::Store)?;
        held::dead(&self.deps, head.and_then(|head| head.holder)).await
    }
}

fn key(key: Option<&str>) -> Result<Option<KeyHash>, Refused> {
    let Some(key) = key else { return Ok(None) };
    TooLarge::check_bytes("client key", key.len(), limits::CLIENT_KEY_BYTES_MAX)?;
    Ok(Some(hash(key)))
}
