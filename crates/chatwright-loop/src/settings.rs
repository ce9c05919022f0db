use std::time::Duration;

use chatwright_config::AdvisorSettings;
use chatwright_core::limits;
use chatwright_core::model::ModelTimeouts;
use chatwright_engine::Rules;

use crate::{EventSettings, TitleSettings};

/// Settings of a process that runs chats. Plain data; every field has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Settings of a turn.
    pub rules: Rules,
    /// How long to wait for a model.
    pub model_timeouts: ModelTimeouts,
    /// Most chats that this process runs at once. 1,000 by default.
    pub capacity: usize,
    /// How long a session lives without renewal. 15 s by default.
    pub session_ttl: Duration,
    /// How often it is renewed. 3 s by default.
    pub renew_every: Duration,
    /// How long before its end a session counts as lost to itself. 5 s by default; less than `session_ttl`.
    pub fence_margin: Duration,
    /// How often to look for chats whose time has come and for sessions that died, ±20 %. 1 s by default.
    pub poll_every: Duration,
    /// How often to look at the chats that are held, ±20 %. 2 s by default.
    pub held_every: Duration,
    /// How long steps that run may go on after a shutdown began. 5 s by default.
    pub drain_grace: Duration,
    /// How long a cancelled tool may go on before it is abandoned. 5 s by default.
    pub tool_grace: Duration,
    /// How long text is gathered before it is shown. 33 ms by default.
    pub flush_every: Duration,
    /// How much text is gathered at most. 2 KiB by default.
    pub flush_bytes: usize,
    /// Most bytes that one attempt may produce. 3 MiB by default, and at most.
    pub attempt_bytes_max: usize,
    /// Longer tool output is cut in its middle, and goes whole to the blobs, if there are any. 64 KiB by default.
    pub tool_output_bytes_max: usize,
    /// How long blobs may take: to be kept for one answer or one result, and to be read for one prompt. What takes longer is
    /// left out. 5 s by default.
    pub blobs_within: Duration,
    /// Most bytes of blobs in one prompt; the oldest come first, and for the others there are words. They stay in memory while
    /// the chat is held. 12 MiB by default.
    pub prompt_blob_bytes_max: usize,
    /// Titles of chats that have none, written by a model after their first exchange. None by default: they cost something.
    pub titles: Option<TitleSettings>,
    /// A second model that the model of a chat may ask. Off by default. With a [`Configuration`](crate::Configuration) its row counts in
    /// the place of this.
    pub advisor: AdvisorSettings,
    /// Settings of event streams.
    pub events: EventSettings,
    /// Where other replicas read this one's live logs.
    pub address: Option<String>,
    /// A name of the store's incarnation: a restore from a backup changes it, and with it every cursor.
    pub incarnation: String,
}

/// Longest time that is waited for anything. Clocks cannot count to every [`Duration`].
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

impl Settings {
    /// A setting that is longer than anything is waited for.
    pub(crate) fn too_long(&self) -> Option<&'static str> {
        let spans = [
            ("rules.watchdog", self.rules.watchdog),
            ("rules.hold_max", self.rules.hold_max),
            ("model_timeouts.start_up", self.model_timeouts.start_up),
            ("model_timeouts.silence", self.model_timeouts.silence),
            ("model_timeouts.total", self.model_timeouts.total),
            ("session_ttl", self.session_ttl),
            ("renew_every", self.renew_every),
            ("fence_margin", self.fence_margin),
            ("poll_every", self.poll_every),
            ("held_every", self.held_every),
            ("drain_grace", self.drain_grace),
            ("tool_grace", self.tool_grace),
            ("flush_every", self.flush_every),
            ("blobs_within", self.blobs_within),
            ("events.poll_every", self.events.poll_every),
            ("events.ping_every", self.events.ping_every),
            ("events.read_within", self.events.read_within),
        ];
        spans.into_iter().find(|(_, span)| *span > LONGEST).map(|(name, _)| name)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            model_timeouts: ModelTimeouts::default(),
            capacity: 1_000,
            session_ttl: limits::SESSION_TTL,
            renew_every: Duration::from_secs(3),
            fence_margin: Duration::from_secs(5),
            poll_every: Duration::from_secs(1),
            held_every: Duration::from_secs(2),
            drain_grace: Duration::from_secs(5),
            tool_grace: Duration::from_secs(5),
            flush_every: Duration::from_millis(33),
            flush_bytes: 2 * 1024,
            attempt_bytes_max: limits::ATTEMPT_BYTES_MAX,
            tool_output_bytes_max: 64 * 1024,
            blobs_within: Duration::from_secs(5),
            prompt_blob_bytes_max: 12 * 1024 * 1024,
            titles: None,
            advisor: AdvisorSettings::default(),
            events: EventSettings::default(),
            address: None,
            incarnation: String::new(),
        }
    }
}
