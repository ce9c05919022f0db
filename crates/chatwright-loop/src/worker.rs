use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chatwright_core::port::{BeginError, BusFrames, Delivery, Due, Renewed};
use chatwright_core::{ChatId, Revision, SessionId, limits};
use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::deps::{Deps, soon};
use crate::doorbell;
use crate::held::{After, Held, free_dead};
use crate::lease::{Lease, Moment};
use crate::meter;
use crate::titles;

/// How long a call of the worker's own may take before it is given up until the next time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a chat that a task lost is left alone.
const LOST_WAIT: Duration = Duration::from_secs(1);
/// How long an expired session stays known, so that a claim that landed after its death is found.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// How often requests are looked for that nobody will close any more.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Most titles that are written at once.
const TITLES_MAX: usize = 16;

/// Runs chats: begins a session, claims chats whose time has come, and runs a task for each.
#[derive(Clone)]
pub struct Worker {
    deps: Arc<Deps>,
}

/// One session of a worker.
struct Shift {
    deps: Arc<Deps>,
    lease: Arc<Lease>,
    held: HashMap<ChatId, Slot>,
    ids: HashMap<Id, ChatId>,
    tasks: JoinSet<After>,
    /// Titles that are being written.
    titles: JoinSet<()>,
    /// The work on the ledger that is under way, one at most: nothing else waits for it.
    tending: JoinSet<()>,
    drain: watch::Sender<Option<Instant>>,
    spread: u64,
    /// When the ledger was last looked after.
    swept: Instant,
}

/// The task of a chat as the worker sees it.
struct Slot {
    polled: watch::Sender<Revision>,
    /// Somebody called while the task ran: it may have been about to end.
    called: bool,
}

impl Worker {
    pub(crate) fn new(deps: Arc<Deps>) -> Self {
        Self { deps }
    }

    /// Runs until `shutdown` is ready and everything held was finished or handed over: at most about the drain grace and
    /// one commit later. A session that is lost is followed by a new one; what the lost one held is dropped at once.
    ///
    /// # Cancel safety
    /// Dropping it is like a crash: nothing is lost, and others take over once the session has expired.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) {
        tokio::pin!(shutdown);
        let mut local = self.deps.calls.subscribe();
        loop {
            let lease = tokio::select! {
                () = &mut shutdown => return,
                lease = begin(&self.deps) => lease,
            };
            let session = lease.session;
            let mut shift = Shift::new(Arc::clone(&self.deps), Arc::new(lease));
            let over = shift.work(&mut local, &mut shutdown).await;
            if over {
                shift.drain().await;
                let _ = timeout(PATIENCE, meter::catch_up(&self.deps)).await;
                if let Ok(Err(error)) = timeout(PATIENCE, self.deps.ports.sessions.end(session)).await {
                    tracing::debug!(%session, %error, "a session was not ended; it will expire");
                }
                return;
            }
            tracing::warn!(%session, "a session was lost; what it held is dropped");
        }
    }
}

async fn listen(deps: &Deps) -> Option<BusFrames> {
    soon(deps.ports.bus.subscribe(&doorbell::work_topic())).await.and_then(Result::ok)
}

async fn begin(deps: &Deps) -> Lease {
    loop {
        let session = SessionId::mint(&*deps.ports.ids);
        let sent = Moment::now(&*deps.ports.clock);
        let (ttl, address) = (deps.settings.session_ttl, deps.settings.address.as_deref());
        match timeout(PATIENCE, deps.ports.sessions.begin(session, ttl, address)).await {
            Ok(Ok(store_now)) => {
                deps.time.told(store_now);
                let usable = ttl.saturating_sub(deps.settings.fence_margin);
                return Lease::new(session, Arc::clone(&deps.ports.clock), usable, sent);
            }
            // Whether it began is unknown; the id is never used again, and the row expires.
            Ok(Err(BeginError::Store(error))) => tracing::warn!(%error, "a session could not begin"),
            Ok(Err(error)) => tracing::error!(%error, "a session could not begin"),
            Err(_) => tracing::warn!("a session could not begin in time"),
        }
        sleep(deps.settings.poll_every).await;
    }
}

impl Shift {
    fn new(deps: Arc<Deps>, lease: Arc<Lease>) -> Self {
        let spread = lease.session.as_uuid().as_u64_pair().1;
        let (drain, _) = watch::channel(None);
        Self {
            deps,
            lease,
            held: HashMap::new(),
            ids: HashMap::new(),
            tasks: JoinSet::new(),
            titles: JoinSet::new(),
            tending: JoinSet::new(),
            drain,
            spread,
            swept: Instant::now(),
        }
    }

    /// Works until the shutdown (true) or the end of the lease (false).
    async fn work(
        &mut self,
        local: &mut mpsc::Receiver<ChatId>,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
    ) -> bool {
        let settings = self.deps.settings.clone();
        let mut bell = listen(&self.deps).await;
        let (mut renew, mut poll, mut look) =
            (Instant::now() + settings.renew_every, Instant::now(), Instant::now() + settings.held_every);
        loop {
            let rung = async {
                match &mut bell {
                    Some(bell) => bell.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut *shutdown => return true,
                () = self.lease.over() => return false,
                () = sleep_until(renew) => {
                    if !self.renew().await {
                        return false;
                    }
                    renew = Instant::now() + settings.renew_every;
                }
                Some(done) = self.tasks.join_next_with_id() => self.ended(&done),
                Some(_) = self.titles.join_next() => {}
                Some(_) = self.tending.join_next() => {}
                Some(chat) = local.recv() => self.hold(chat, Duration::ZERO),
                frame = rung => match frame {
                    Some(Delivery::Frame(frame)) => {
                        // Whoever did not make the commit lets the others go first.
                        let wait = Duration::from_millis(self.chance() % 50);
                        if let Some(chat) = doorbell::chat(&frame) {
                            self.hold(chat, wait);
                        }
                    }
                    Some(Delivery::Lagged) => poll = Instant::now(),
                    None => bell = None,
                },
                () = sleep_until(poll) => {
                    if timeout(PATIENCE, self.poll()).await.is_err() {
                        tracing::debug!("a poll took too long");
                    }
                    if bell.is_none() {
                        bell = listen(&self.deps).await;
                    }
                    poll = Instant::now() + self.jittered(settings.poll_every);
                }
                () = sleep_until(look) => {
                    let _ = timeout(PATIENCE, self.look()).await;
                    look = Instant::now() + self.jittered(settings.held_every);
                }
            }
        }
    }

    async fn renew(&self) -> bool {
        let sent = Moment::now(&*self.deps.ports.clock);
        let renewed = self.deps.ports.sessions.renew(self.lease.session, self.deps.settings.session_ttl);
        match timeout(self.deps.settings.renew_every, renewed).await {
            Ok(Ok(Renewed::Live { store_now })) => {
                self.deps.time.told(store_now);
                self.lease.confirm(sent)
            }
            Ok(Ok(Renewed::Lost)) => false,
            // Unconfirmed: the lease runs on towards its end.
            Ok(Err(error)) => {
                tracing::warn!(%error, "a session could not be renewed");
                true
            }
            Err(_) => true,
        }
    }

    /// Takes what is due, and what dead sessions left.
    async fn poll(&mut self) {
        let mut after = None;
        while self.tasks.len() < self.deps.settings.capacity {
            let page = match self.deps.ports.chats.due(after, limits::PAGE_ITEMS_MAX).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(%error, "a poll found no answer");
                    break;
                }
            };
            let Some(last) = page.last().map(Due::place) else { break };
            after = Some(last);
            let start = usize::try_from(self.chance()).unwrap_or(0) % page.len();
            for due in page[start..].iter().chain(&page[..start]) {
                self.hold(due.chat, Duration::ZERO);
            }
            if page.len() < limits::PAGE_ITEMS_MAX {
                break;
            }
        }
        if let Err(error) = self.bury().await {
            tracing::debug!(%error, "dead sessions could not be looked after");
        }
        self.tend();
    }

    /// Looks after the ledger, unless that is still under way.
    fn tend(&mut self) {
        if self.deps.ports.ledger.is_none() || !self.tending.is_empty() {
            return;
        }
        let sweeps = self.swept.elapsed() >= SWEEP_EVERY;
        if sweeps {
            self.swept = Instant::now();
        }
        let deps = Arc::clone(&self.deps);
        self.tending.spawn(async move {
            let _ = timeout(PATIENCE, meter::catch_up(&deps)).await;
            if !sweeps {
                return;
            }
            match timeout(PATIENCE, meter::sweep(&deps)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the ledger could not be looked after"),
                Err(_) => tracing::debug!("the ledger could not be looked after in time"),
            }
        });
    }

    /// Frees what dead sessions hold, and forgets them once nothing can turn up any more.
    async fn bury(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let now = self.deps.time.now().await?;
        for dead in self.deps.ports.sessions.expired(None, limits::PAGE_ITEMS_MAX).await? {
            let held = self.deps.ports.chats.held(dead.id, None, limits::PAGE_ITEMS_MAX).await?;
            for chat in &held {
                // One chat that cannot be freed here keeps no other from it.
                if let Err(error) = free_dead(&self.deps, *chat, dead.id).await {
                    tracing::debug!(%chat, %error, "a dead session's chat was not freed");
                }
            }
            if held.is_empty() && now.since(dead.expires_at) >= FORGET_AFTER {
                self.deps.ports.sessions.forget(dead.id).await?;
            }
        }
        Ok(())
    }

    /// Tells each task how far its chat is: what a lost doorbell would have told.
    async fn look(&self) {
        let chats: Vec<ChatId> = self.held.keys().copied().collect();
        for chats in chats.chunks(limits::REVISIONS_MAX) {
            let Ok(revisions) = self.deps.ports.chats.revisions(chats).await else { return };
            for (chat, revision) in chats.iter().zip(revisions) {
                if let (Some(slot), Some(revision)) = (self.held.get(chat), revision) {
                    slot.polled.send_if_modified(|known| {
                        *known != revision && {
                            *known = revision;
                            true
                        }
                    });
                }
            }
        }
    }

    /// Runs a task for a chat, unless one runs or there is no room.
    fn hold(&mut self, chat: ChatId, wait: Duration) {
        if let Some(slot) = self.held.get_mut(&chat) {
            slot.called = true;
            return;
        }
        if self.tasks.len() >= self.deps.settings.capacity {
            return;
        }
        let (polled, revisions) = watch::channel(Revision::ZERO);
        let (deps, lease, drain) = (Arc::clone(&self.deps), Arc::clone(&self.lease), self.drain.subscribe());
        let task = self.tasks.spawn(async move {
            sleep(wait).await;
            match Held::take(&deps, &lease, chat, revisions, drain).await {
                Ok(Some(held)) => held.run().await,
                Ok(None) => After::default(),
                Err(error) => {
                    tracing::debug!(%chat, %error, "a chat could not be taken");
                    After::default()
                }
            }
        });
        self.held.insert(chat, Slot { polled, called: false });
        self.ids.insert(task.id(), chat);
    }

    fn ended(&mut self, done: &Result<(Id, After), tokio::task::JoinError>) {
        let (id, After { lost, untitled }) = match done {
            Ok((id, after)) => (*id, *after),
            Err(error) => {
                // What it says may quote a chat.
                tracing::error!(panicked = error.is_panic(), "the task of a chat failed");
                (error.id(), After { lost: true, untitled: false })
            }
        };
        let Some(chat) = self.ids.remove(&id) else { return };
        let goes_on = self.drain.borrow().is_none();
        if goes_on && untitled && self.deps.settings.titles.is_some() && self.titles.len() < TITLES_MAX {
            let deps = Arc::clone(&self.deps);
            self.titles.spawn(async move { titles::title(&deps, chat).await });
        }
        let called = self.held.remove(&chat).is_some_and(|slot| slot.called);
        if goes_on && (called || lost) {
            // If it still stands under this session's name, it is freed and claimed anew; five times without progress park it.
            self.hold(chat, if lost { LOST_WAIT } else { Duration::ZERO });
        }
    }

    /// Lets what runs come to an end within its grace, and hands the rest over.
    async fn drain(&mut self) {
        self.drain.send_replace(Some(Instant::now() + self.deps.settings.drain_grace));
        let mut renew = Instant::now() + self.deps.settings.renew_every;
        loop {
            tokio::select! {
                biased;
                () = self.lease.over() => return,
                done = self.tasks.join_next_with_id() => match done {
                    Some(done) => self.ended(&done),
                    None => return,
                },
                () = sleep_until(renew) => {
                    self.renew().await;
                    renew = Instant::now() + self.deps.settings.renew_every;
                }
            }
        }
    }

    /// `every` ±20 %.
    fn jittered(&mut self, every: Duration) -> Duration {
        let percent = u32::try_from(self.chance() % 41).unwrap_or(20) + 80;
        every * percent / 100
    }

    /// Spreads processes over time; it need not be more random than the session's id.
    fn chance(&mut self) -> u64 {
        self.spread = self.spread.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.spread >> 33
    }
}
