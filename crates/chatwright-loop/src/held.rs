//! One task per held chat makes all its commits.

mod advisor;
mod attempt;
mod batch;
mod claim;
mod compaction;
mod laps;
mod pace;
mod prompt;
mod wait;

pub(crate) use claim::{dead, free_dead};

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::head::{Status, UnitKind};
use chatwright_core::port::timing::Stage;
use chatwright_core::port::{BusFrames, Delivery, StoreError, StoreErrorKind};
use chatwright_core::{ChatId, Epoch, Gen, MessageId, OpId, Revision};
use chatwright_engine::{Chat, Fence, History, Input, Next, Refused, Work};
use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use self::advisor::Advised;
use self::pace::Pace;
use self::prompt::Prompt;
use crate::deps::Deps;
use crate::doorbell;
use crate::failure;
use crate::feed::Failed;
use crate::lease::Lease;

/// A chat that this process holds.
pub(crate) struct Held {
    deps: Arc<Deps>,
    lease: Arc<Lease>,
    id: ChatId,
    epoch: Epoch,
    chat: Chat,
    history: History,
    /// What the model was sent last.
    prompt: Prompt,
    /// Whether its model may ask for advice.
    advised: Advised,
    /// How often the prompt of a summary had to be shortened.
    shortened: usize,
    wakes: Wakes,
    drain: Drain,
    pace: Pace,
    /// When the watchdog was last moved on.
    watched: Instant,
    /// It is no longer known to be ours, or nothing more can be done with it.
    lost: bool,
}

/// What is left to do for a chat that was held.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct After {
    /// Somebody should look after it again soon.
    pub(crate) lost: bool,
    /// It rests after a turn and has had no title.
    pub(crate) untitled: bool,
}

/// When a shutdown that has begun takes the chat away.
pub(crate) type Drain = watch::Receiver<Option<Instant>>;

/// How long a look may take: what runs waits for it.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How long after a failed look there is another one.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What tells the holder to look at its chat.
pub(crate) struct Wakes {
    bus: Option<BusFrames>,
    polled: watch::Receiver<Revision>,
    /// The last look failed: there must be another one then, however often the wait begins anew until then.
    again: Option<Instant>,
}

/// What the holder found when it looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Nothing that concerns the open gen.
    Same,
    /// The turn shall stop.
    Stop,
    /// The chat is somebody else's, or the gen is over.
    Lost,
}

impl Held {
    /// Runs the chat until it comes to rest or is lost.
    pub(crate) async fn run(mut self) -> After {
        while !self.lost && self.is_mine() && self.lease.is_live() {
            self.pace.settle();
            let state = &self.chat.state;
            match (state.open.clone(), state.retry.and_then(|retry| retry.at)) {
                (Some(open), _) if open.kind == UnitKind::Batch => {
                    self.pace.begin(Stage::ToolCall);
                    self.batch(&open).await;
                    self.pace.end_tools();
                }
                (Some(open), _) => {
                    self.pace.work();
                    self.attempt(&open).await;
                    if !self.lost {
                        self.pace.end(Stage::GenerationStep);
                        self.pace.end(Stage::Compaction);
                    }
                }
                (None, Some(at)) => {
                    self.pace.begin(Stage::RetryBackoff);
                    self.wait_to_retry(at).await;
                    self.pace.end(Stage::RetryBackoff);
                }
                (None, None) => break,
            }
        }
        let rests = !self.lost && self.chat.state.status == Status::Waiting;
        After { lost: self.lost, untitled: rests && !self.chat.state.titled }
    }

    fn is_mine(&self) -> bool {
        self.chat.head.holder == Some(self.lease.session) && self.chat.state.epoch == self.epoch
    }

    /// What the chat as it is known means for a gen, or for the wait between two. A commit may have told what no doorbell did.
    fn concern(&self, r#gen: impl Into<Option<Gen>>) -> Look {
        let open = self.chat.state.open.as_ref().map(|open| open.r#gen) == r#gen.into();
        match self.chat.state.status {
            _ if self.lost || !self.is_mine() || !open => Look::Lost,
            Status::Interrupting => Look::Stop,
            _ => Look::Same,
        }
    }

    /// Feeds an event of the open gen, or of the wait between two, until it landed, is stale, or the lease is over; gives
    /// whether it landed.
    async fn feed(&mut self, r#gen: impl Into<Option<Gen>>, work: Work) -> bool {
        let r#gen = r#gen.into();
        let fence = Fence { session: self.lease.session, epoch: self.epoch, r#gen };
        let input = Input::Work(OpId::mint(&*self.deps.ports.ids), fence, work);
        let (deps, lease) = (Arc::clone(&self.deps), Arc::clone(&self.lease));
        self.pace.begin(Stage::Commit);
        while lease.is_live() {
            let fed = tokio::select! {
                biased;
                () = lease.over() => break,
                fed = deps.feed(self.id, &input, Some(self.chat.clone()), &mut self.history) => fed,
            };
            match fed {
                Ok(landed) => {
                    self.chat = landed.chat;
                    self.pace.end(Stage::Commit);
                    self.pace.turn(landed.turns);
                    let runnable = self.chat.head.holder.is_none() && self.chat.head.wake_at.is_some();
                    deps.ring(self.id, self.chat.head.revision, runnable).await;
                    return true;
                }
                Err(Failed::Unknown(error) | Failed::Store(error)) => {
                    tracing::warn!(chat = %self.id, %error, "the store does not answer a holder");
                }
                Err(Failed::Refused(Refused::Busy)) => {}
                Err(Failed::Stale) => {
                    // Somebody else has it, or the gen is over; whoever holds the chat next begins from what is stored.
                    self.lost = true;
                    return false;
                }
                Err(error) => {
                    tracing::error!(chat = %self.id, %error, "what a chat did cannot be stored");
                    self.give_up(&input, &error).await;
                    return false;
                }
            }
        }
        self.lost = true;
        false
    }

    /// When less than half of the watchdog is left.
    fn watch_at(&self) -> Instant {
        self.watched + self.deps.settings.rules.watchdog / 2
    }

    async fn watch(&mut self, r#gen: impl Into<Option<Gen>>) {
        // Tried again after the same time if it does not land: the watchdog only makes others look.
        self.watched = Instant::now();
        self.feed(r#gen, Work::Watch).await;
    }

    /// What cannot be committed ends the turn with an error that says so, and what it cost.
    async fn give_up(&mut self, input: &Input, error: &Failed) {
        self.lost = true;
        let Input::Work(_, fence, work) = input else { return };
        let verdict = Box::new(failure::internal(error));
        let work = Work::Failed { verdict, report: work.report(), partial: None };
        let input = Input::Work(OpId::mint(&*self.deps.ports.ids), *fence, work);
        let fed = self.deps.feed(self.id, &input, Some(self.chat.clone()), &mut self.history).await;
        if let Ok(landed) = fed {
            self.chat = landed.chat;
            self.pace.turn(landed.turns);
            self.deps.ring(self.id, self.chat.head.revision, false).await;
        }
    }

    /// Reads the chat again and says what that means for the open gen.
    async fn look(&mut self, r#gen: impl Into<Option<Gen>>) -> Look {
        let read = async {
            let Some(chat) = self.deps.reload(self.id).await? else { return Ok(None) };
            if chat.head.revision > self.chat.head.revision {
                fold_through(&self.deps, self.id, &mut self.history, &chat).await?;
            }
            Ok(Some(chat))
        };
        self.wakes.again = None;
        // What it has folded until then is not read again.
        let read = timeout(LOOK_WITHIN, read).await;
        match read.unwrap_or_else(|_| Err(late())) {
            Ok(Some(chat)) if chat.head.revision > self.chat.head.revision => self.chat = chat,
            Ok(Some(_)) => {}
            Ok(None) => self.lost = true,
            Err(Failed::Store(error)) => {
                tracing::debug!(chat = %self.id, %error, "a holder could not look at its chat");
                self.wakes.again = Some(Instant::now() + LOOK_AGAIN);
            }
            Err(error) => {
                tracing::error!(chat = %self.id, %error, "a chat cannot be read any more");
                self.lost = true;
            }
        }
        self.concern(r#gen)
    }

    /// Ids and the model of what comes next.
    async fn next(&mut self) -> Next {
        next(&self.deps, &self.chat).await
    }
}

impl Wakes {
    /// Waits until there is a reason to look at a chat of which `known` is known.
    ///
    /// # Cancel safety
    /// Safe: a wake-up that is dropped after it was taken was about to be answered by a look anyway, and the poll comes again.
    pub(crate) async fn next(&mut self, known: Revision) {
        let again = self.again;
        loop {
            let rung = async {
                match &mut self.bus {
                    Some(bus) => bus.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                frame = rung => match frame {
                    Some(Delivery::Frame(frame)) if doorbell::revision(&frame).is_some_and(|rung| rung <= known) => {}
                    Some(_) => return,
                    // A dead link; the poll goes on.
                    None => self.bus = None,
                },
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => return,
                changed = self.polled.changed() => {
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                    if *self.polled.borrow() > known {
                        return;
                    }
                }
            }
        }
    }
}

fn late() -> Failed {
    Failed::Store(StoreError::new(StoreErrorKind::Unavailable, "it took too long"))
}

/// Folds every record up to the head of `chat`.
async fn fold_through(deps: &Deps, id: ChatId, history: &mut History, chat: &Chat) -> Result<(), Failed> {
    while history.through() < chat.head.last_seq {
        let limit = chatwright_core::limits::PAGE_ITEMS_MAX;
        let page = deps.ports.chats.records(id, history.through(), limit).await.map_err(Failed::Store)?;
        if page.is_empty() {
            return Err(crate::feed::broken("the log is shorter than its head says"));
        }
        for record in &page {
            history.fold(record).map_err(crate::feed::broken)?;
        }
    }
    Ok(())
}

async fn next(deps: &Deps, chat: &Chat) -> Next {
    let model = deps.models.id(chat.state.model.as_deref(), &chat.head.index.organization).await;
    let ids = &*deps.ports.ids;
    Next { message: MessageId::mint(ids), model, promoted: MessageId::mint(ids) }
}
