use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chatwright_core::frame::{ByeReason, Cursor, Frame, FrameBody, Gens, ResetReason, Resume};
use chatwright_core::head::State;
use chatwright_core::port::{LiveLog, LiveWakes, StoreError};
use chatwright_core::{ChatId, Gen, Head, Record, Seq};
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::bell::Bell;
use super::log::{Commits, Log, Run};
use super::start::Begin;
use super::state::state_frame;
use super::topic::{doorbell_topic, spread};
use super::{EventSettings, EventSources, EventsError};

/// How often a read of the store is tried again.
const RETRIES: u32 = 5;
/// The first wait of these, doubled each time.
const RETRY: Duration = Duration::from_millis(100);
/// When to look at a live log again that cannot be reached.
pub(super) const LIVE_RETRY: Duration = Duration::from_secs(1);
/// When a viewer may come back after the store, or a version, failed it.
const COME_BACK_MS: u64 = 1_000;

/// One viewer of a chat: where it stands, and what is to be looked at.
pub(super) struct Follower {
    pub(super) chat: ChatId,
    pub(super) live: Arc<dyn LiveLog>,
    pub(super) settings: EventSettings,
    pub(super) log: Log,
    bell: Bell,
    wakes: Option<LiveWakes>,
    pub(super) tag: u32,
    /// Frames that are made and not yet taken. Few: nothing is read while there are any.
    pub(super) out: VecDeque<Frame>,
    over: bool,
    /// How it begins, until it has.
    pub(super) begin: Option<Begin>,
    /// The head as the caller brought it, for a store that fails at once.
    pub(super) brought: Option<Head>,
    /// A head that was read and not yet looked at.
    read: Option<Head>,
    /// The newest head that was looked at.
    pub(super) told: Option<Told>,
    /// The last record that was sent.
    pub(super) seq: Seq,
    /// The gens of the records that were sent: whose pieces may be sent (stream.S13).
    pub(super) gens: Gens,
    pub(super) commits: Commits,
    /// Somebody said that the store has news.
    pub(super) look: bool,
    /// The store has records up to the head that were not sent.
    pub(super) behind: bool,
    /// The state was not sent since the hello.
    pub(super) state_due: bool,
    failures: u32,
    look_at: Instant,
    /// The live log may have more.
    pub(super) live_more: bool,
    pub(super) live_at: Instant,
    /// The gen whose preview the viewer has from its first unit on.
    pub(super) kept: Option<Gen>,
    /// The viewer was told that the open gen is capped.
    pub(super) capped: bool,
    /// The newest gen whose seal the store was looked at for, because the live log has it.
    pub(super) seal_looked_for: Gen,
    /// The newest gen whose opening the store was looked at for.
    pub(super) next_looked_for: Gen,
    pub(super) caught_up: bool,
    poll_at: Instant,
    pub(super) ping_at: Instant,
}

/// A head that was looked at.
pub(super) struct Told {
    pub(super) head: Head,
    pub(super) state: State,
}

impl Follower {
    /// Subscribes, then reads the head unless the caller brought one.
    pub(super) async fn begin(
        sources: EventSources,
        chat: ChatId,
        brought: Option<Head>,
        resume: Resume,
        settings: EventSettings,
    ) -> Result<Self, EventsError> {
        let EventSources { chats, bus, live, incarnation } = sources;
        let log = Log { chats, chat, within: settings.read_within };
        let wakes = Some(live.changed(chat));
        let bell = Bell::begin(bus, doorbell_topic(chat), settings.read_within).await;
        let read = match &brought {
            Some(_) => None,
            None => Some(log.head().await?.ok_or(EventsError::NotFound(chat))?),
        };
        let now = Instant::now();
        Ok(Self {
            chat,
            live,
            settings,
            log,
            bell,
            wakes,
            tag: Cursor::tag_of(&incarnation, chat),
            out: VecDeque::new(),
            over: false,
            begin: Some(Begin::Offered(resume)),
            brought,
            read,
            told: None,
            seq: Seq::ZERO,
            gens: Gens::default(),
            commits: Commits::default(),
            look: false,
            behind: false,
            state_due: false,
            failures: 0,
            look_at: now,
            live_more: false,
            live_at: now,
            kept: None,
            capped: false,
            seal_looked_for: Gen::ZERO,
            next_looked_for: Gen::ZERO,
            caught_up: false,
            poll_at: now + spread(chat, settings.poll_every),
            ping_at: now + settings.ping_every,
        })
    }

    /// The next frame, and what follows.
    pub(super) async fn next(mut self) -> Option<(Frame, Self)> {
        loop {
            if let Some(frame) = self.out.pop_front() {
                return Some((frame, self));
            }
            if self.over {
                return None;
            }
            self.turn().await;
        }
    }

    /// Does the most urgent thing: says that it lives, reads the log, reads the live log, or waits.
    async fn turn(&mut self) {
        // What rang while it was busy.
        let _ = poll_fn(|cx| self.poll_events(cx)).now_or_never();
        let now = Instant::now();
        if now >= self.poll_at {
            (self.look, self.live_more) = (true, true);
            self.poll_at = now + spread(self.chat, self.settings.poll_every);
        }
        let begun = self.begin.is_none();
        let store = self.look || self.behind || !begun;
        // While the store cannot be read, what is being said goes on.
        let live = begun && self.live_more && (self.caught_up || !store);
        if begun && now >= self.ping_at {
            self.ping().await;
        } else if store && now >= self.look_at {
            match self.read_store().await {
                Ok(()) => self.failures = 0,
                Err(error) => self.store_failed(&error),
            }
        } else if live && now >= self.live_at {
            self.read_live().await;
        } else if begun && !store && !self.caught_up {
            self.caught_up = true;
            self.out.push_back(Frame::still(FrameBody::CaughtUp));
        } else {
            self.wait(begun, store, live).await;
        }
    }

    async fn wait(&mut self, begun: bool, store: bool, live: bool) {
        let times =
            [(true, self.poll_at), (begun, self.ping_at), (store, self.look_at), (live, self.live_at)];
        let until = times.into_iter().filter_map(|(counts, at)| counts.then_some(at)).min();
        let mut timer = pin!(sleep_until(until.unwrap_or(self.poll_at)));
        poll_fn(|cx| match self.poll_events(cx) {
            Poll::Pending => timer.as_mut().poll(cx),
            woken => woken,
        })
        .await;
    }

    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let rang = self.bell.poll_ring(cx).is_ready();
        let woken = match self.wakes.as_mut().map(|wakes| wakes.poll_next_unpin(cx)) {
            Some(Poll::Ready(Some(()))) => true,
            Some(Poll::Ready(None)) => {
                self.wakes = None;
                false
            }
            Some(Poll::Pending) | None => false,
        };
        self.look |= rang;
        // A wake-up of the live log never reads the store.
        self.live_more |= woken;
        if rang || woken { Poll::Ready(()) } else { Poll::Pending }
    }

    async fn read_store(&mut self) -> Result<(), StoreError> {
        if self.behind {
            return self.read_records().await;
        }
        let head = match self.read.take() {
            // What rang since it was read is still to be looked at.
            Some(head) => Some(head),
            None => {
                self.look = false;
                self.log.head().await?
            }
        };
        let Some(head) = head else {
            self.bye(Frame::bye(ByeReason::Gone, None, false));
            return Ok(());
        };
        let Ok(state) = head.state.decode() else {
            tracing::warn!(chat = %self.chat, "a chat's head does not decode");
            self.bye(Frame::bye(ByeReason::Unreadable, Some(COME_BACK_MS), true));
            return Ok(());
        };
        let told = Told { head, state };
        match self.begin {
            Some(begin) => self.start(begin, told).await?,
            // The store is older than what it has shown: it was restored, and its incarnation kept its name.
            None if told.head.last_seq < self.commits.read() => self.reset(ResetReason::Seq),
            None => self.look_at_head(told),
        }
        Ok(())
    }

    pub(super) fn look_at_head(&mut self, told: Told) {
        self.behind = told.head.last_seq > self.seq;
        self.told = Some(told);
        if self.state_due && !self.behind {
            self.push_state();
        }
    }

    /// Sends the next records up to the head, a page of them.
    async fn read_records(&mut self) -> Result<(), StoreError> {
        let page = self.log.page(self.commits.read()).await?;
        self.push_page(page);
        Ok(())
    }

    pub(super) fn push_page(&mut self, page: Vec<Record>) {
        let last = self.told.as_ref().map_or(self.seq, |told| told.head.last_seq);
        for run in self.commits.take(page, last) {
            self.push_run(run);
        }
        if self.seq >= last {
            self.behind = false;
            self.push_state();
        }
    }

    fn push_run(&mut self, run: Run) {
        for record in &run.records {
            let kind = record.kind.name();
            let concerns = kind.starts_with("attempt.") || kind.starts_with("batch.");
            let Some(entry) = concerns.then(|| record.open().ok()).flatten() else { continue };
            if self.gens.fold(&entry.body) {
                (self.capped, self.live_more) = (false, true);
            }
        }
        self.seq = run.to;
        self.push(FrameBody::Record {
            after: run.after,
            to: run.to,
            records: run.records,
            more_before: false,
        });
    }

    fn push_state(&mut self) {
        self.state_due = false;
        let Some(told) = &self.told else { return };
        let state = state_frame(&told.head, &told.state, self.gens.open.as_ref());
        self.push(FrameBody::State(Box::new(state)));
    }

    /// Adds a frame that the viewer stands after.
    pub(super) fn push(&mut self, body: FrameBody) {
        let cursor = Cursor { tag: self.tag, seq: self.seq, r#gen: self.gens.last, off: self.gens.off };
        self.out.push_back(Frame::to(cursor, body));
    }

    /// The viewer cannot go on from where it stands.
    pub(super) fn reset(&mut self, reason: ResetReason) {
        self.begin = Some(Begin::Reset(reason));
        (self.look, self.behind) = (true, false);
    }

    fn store_failed(&mut self, error: &StoreError) {
        self.failures += 1;
        // The head first: the chat may be gone.
        (self.look, self.behind) = (true, false);
        if self.failures > RETRIES {
            tracing::warn!(chat = %self.chat, %error, "a viewer is sent away, because the store cannot be read");
            return self.bye(Frame::bye(ByeReason::Store, Some(COME_BACK_MS), true));
        }
        self.look_at = Instant::now() + RETRY * (1 << (self.failures - 1));
        self.start_early();
    }

    fn bye(&mut self, bye: Frame) {
        self.out.push_back(bye);
        self.over = true;
    }
}
