//! What every input does in every state: one table, from which refusals come, the documentation is made and the tests are.

use chatwright_core::head::Status;

use crate::{Chat, Refused};

/// What a chat is doing, whether a message of its queue could be promoted, and whether it is archived. Who holds the chat and
/// whether its family is being archived are apart from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// There is no chat.
    N,
    /// Waiting for its user, with nothing to promote.
    W,
    /// The last turn failed; nothing to promote.
    E0,
    /// The last turn failed, and messages wait.
    E1,
    /// A turn runs or waits for somebody to run it; nothing to promote.
    R0,
    /// The same, and messages wait.
    R1,
    /// A turn is being stopped; nothing to promote.
    I0,
    /// The same, and messages wait.
    I1,
    /// It waits for a client's results or for a decision; nothing to promote.
    A0,
    /// The same, and messages wait.
    A1,
    /// Archived at rest.
    XW,
    /// Archived after a failed turn; nothing to promote.
    XE0,
    /// The same, and messages wait.
    XE1,
}

impl Phase {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Self; 13] = [
        Self::N,
        Self::W,
        Self::E0,
        Self::E1,
        Self::R0,
        Self::R1,
        Self::I0,
        Self::I1,
        Self::A0,
        Self::A1,
        Self::XW,
        Self::XE0,
        Self::XE1,
    ];

    /// The phase of a chat. `None` for a head that no step leads to.
    pub fn of(chat: Option<&Chat>) -> Option<Self> {
        let Some(chat) = chat else { return Some(Self::N) };
        let waits = chat.has_promotable();
        Some(match (chat.state.status, waits, chat.head.index.archived) {
            (Status::Waiting, false, false) => Self::W,
            (Status::Error, false, false) => Self::E0,
            (Status::Error, true, false) => Self::E1,
            (Status::Running, false, false) => Self::R0,
            (Status::Running, true, false) => Self::R1,
            (Status::Interrupting, false, false) => Self::I0,
            (Status::Interrupting, true, false) => Self::I1,
            (Status::RequiresAction, false, false) => Self::A0,
            (Status::RequiresAction, true, false) => Self::A1,
            (Status::Waiting, false, true) => Self::XW,
            (Status::Error, false, true) => Self::XE0,
            (Status::Error, true, true) => Self::XE1,
            _ => return None,
        })
    }

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::N => "N",
            Self::W => "W",
            Self::E0 => "E0",
            Self::E1 => "E1",
            Self::R0 => "R0",
            Self::R1 => "R1",
            Self::I0 => "I0",
            Self::I1 => "I1",
            Self::A0 => "A0",
            Self::A1 => "A1",
            Self::XW => "XW",
            Self::XE0 => "XE0",
            Self::XE1 => "XE1",
        }
    }

    fn status(self) -> Status {
        match self {
            Self::N | Self::W | Self::XW => Status::Waiting,
            Self::E0 | Self::E1 | Self::XE0 | Self::XE1 => Status::Error,
            Self::R0 | Self::R1 => Status::Running,
            Self::I0 | Self::I1 => Status::Interrupting,
            Self::A0 | Self::A1 => Status::RequiresAction,
        }
    }
}

macro_rules! acts {
    ($($(#[doc = $doc:literal])+ $act:ident $name:literal $family:ident: $($cell:literal)*;)*) => {
        /// A row of the table: something that happens to a chat.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Act {
            $($(#[doc = $doc])+ $act,)*
        }

        impl Act {
            /// All of them, in the order of the table's rows.
            pub const ALL: &[Self] = &[$(Self::$act),*];

            /// Its name in the table.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$act => $name,)* }
            }

            /// What it does, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$act => concat!($($doc),+),)* }
            }

            /// Whether it happens also while the family of the chat is being archived.
            pub const fn while_archiving(self) -> bool {
                match self { $(Self::$act => acts!(@$family),)* }
            }

            /// The cells by [`Phase::ALL`].
            const fn cells(self) -> [&'static str; 13] {
                match self { $(Self::$act => [$($cell),*],)* }
            }
        }
    };
    (@always) => { true };
    (@settled) => { false };
}

// A cell lists the phases that the chat may be in afterwards, and how it may be refused: `-` the status does not allow it, `x`
// the chat is archived, `?` there is no chat, `!` there is one already, `~` stale: the input belongs to something that is over.
acts! {
    // |                                N      W      E0     E1     R0     R1     I0     I1     A0     A1     XW     XE0    XE1
    /// A new chat, or a new member of a family.
    Create "create" always:            "R0 W" "!"    "!"    "!"    "!"    "!"    "!"    "!"    "!"    "!"    "!"    "!"    "!";
    /// A new member is entered in the log of its root.
    Join "join" settled:               "?"    "W"    "E0"   "E1"   "R0"   "R1"   "I0"   "I1"   "A0"   "A1"   "x"    "x"    "x";
    /// A message that waits while a turn runs.
    Send "send" settled:               "?"    "R0"   "R0"   "R1"   "R1"   "R1"   "I1"   "I1"   "A1"   "A1"   "x"    "x"    "x";
    /// A message that stops the turn that runs.
    SendInterrupt "send, interrupting" settled:
                                       "?"    "R0"   "R0"   "R1"   "I1 R0" "I1 R1" "I1 R0" "I1 R1" "R0" "R1" "x"   "x"    "x";
    /// A message that does not wait behind those that an error left in the queue.
    SendNow "send, mine now" settled:  "?"    "R0"   "R0"   "R1"   "R1"   "R1"   "I1"   "I1"   "A1"   "A1"   "x"    "x"    "x";
    /// Another message in the place of one of history: what came after it is cut, and the queue is cleared.
    Edit "edit" settled:               "?"    "R0"   "R0"   "R0"   "R0"   "R0"   "R0"   "R0"   "R0"   "R0"   "x"    "x"    "x";
    /// A queued message is removed.
    QueueRemove "queue: remove" settled:
                                       "?"    "W"    "E0"   "E0 E1" "R0"  "R0 R1" "I0"  "I0 I1" "A0"  "A0 A1" "x"   "x"    "x";
    /// A queued message gets another place.
    QueueMove "queue: move" settled:   "?"    "W"    "E0"   "E1"   "R0"   "R1"   "I0"   "I1"   "A0"   "A1"   "x"    "x"    "x";
    /// A queued message gets other content.
    QueueEdit "queue: edit" settled:   "?"    "W"    "E0"   "E1"   "R0"   "R1"   "I0"   "I1"   "A0"   "A1"   "x"    "x"    "x";
    /// A queued message is skipped by promotion until it is released.
    QueueHold "queue: hold" settled:   "?"    "W"    "E0"   "E0 E1" "R0"  "R0 R1" "I0"  "I0 I1" "A0"  "A0 A1" "x"   "x"    "x";
    /// A held message may be promoted again.
    QueueRelease "queue: release" settled:
                                       "?"    "R0"   "E1"   "E1"   "R1"   "R1"   "I1"   "I1"   "A1"   "A1"   "x"    "x"    "x";
    /// A queued message is next, and the turn that runs is stopped for it.
    QueuePromote "queue: promote" settled:
                                       "?"    "R0"   "R0"   "R0 R1" "I1 R0" "I1 R0 R1" "I1 R0" "I1 R0 R1" "R0" "R0 R1" "x" "x" "x";
    /// The turn is stopped, and what the model has said is kept.
    Interrupt "interrupt" always:      "?"    "-"    "-"    "-"    "I0 W" "I1 R0 R1" "- W XW" "- R0 R1" "W" "R0 R1" "x"  "x"    "x";
    /// Results of the client's tools.
    Submit "submit results" settled:   "?"    "-"    "-"    "-"    "-"    "-"    "-"    "-"    "R0 A0" "R1 A1" "x"  "x"    "x";
    /// A call that asked for approval is approved or denied.
    Decide "decide" settled:           "?"    "-"    "-"    "-"    "-"    "-"    "-"    "-"    "R0 A0" "R1 A1" "x"  "x"    "x";
    /// Older history shall be replaced by a summary.
    Compact "compact" settled:         "?"    "R0"   "R0"   "R1"   "R0"   "R1"   "-"    "-"    "A0"   "A1"   "x"    "x"    "x";
    /// History so far is left out of the prompt.
    Clear "clear context" settled:     "?"    "W"    "W"    "E1"   "-"    "-"    "-"    "-"    "-"    "-"    "x"    "x"    "x";
    /// A family at rest is archived.
    Archive "archive" always:          "?"    "XW W" "XE0 E0" "XE1 E1" "-" "-"   "-"    "-"    "-"    "-"    "x"    "x"    "x";
    /// A family is stopped and archived.
    ArchiveStop "archive, stopping" always:
                                       "?"    "XW W" "XE0 E0" "XE1 E1" "I0 XW W" "I0 XW W" "I0 XW W" "I0 XW W" "XW W" "XW W" "x" "x" "x";
    /// The root is archived, after all members of its family.
    ArchiveRest "archive: the root at last" always:
                                       "?"    "- XW" "- XE0" "- XE1" "-"  "-"    "-"    "-"    "-"    "-"    "x"    "x"    "x";
    /// A family is taken out of the archive, or is not archived after all.
    Unarchive "unarchive" always:      "?"    "- W"  "- E0" "- E1" "-"    "-"    "- I0" "-"    "-"    "-"    "W"    "E0"   "E1";
    /// Title, labels or the model of the turns to come.
    Set "set title, labels, model" always:
                                       "?"    "W"    "E0"   "E1"   "R0"   "R1"   "I0"   "I1"   "A0"   "A1"   "XW"   "XE0"  "XE1";
    /// A session takes the chat.
    Claim "claim" always:              "?"    "~"    "~"    "~"    "R0 W A0" "R0 R1 A1" "W XW" "R0 R1" "~" "~" "~"   "~"    "~";
    /// The chat is taken from a session that is not live.
    Free "free" always:                "?"    "~"    "~"    "~"    "R0 E0" "R1 E1" "W XW" "R0 R1" "~"  "~"    "~"    "~"    "~";
    /// The model finished.
    Answered "answered" always:        "?"    "~"    "~"    "~"    "R0 W A0" "R0 R1 A1" "W XW" "R0 R1" "~" "~" "~"   "~"    "~";
    /// An attempt failed, or results cannot be stored.
    Failed "failed" always:            "?"    "~"    "~"    "~"    "R0 E0" "R1 E1" "W XW" "R0 R1" "~"  "~"    "~"    "~"    "~";
    /// Calls of a batch have results.
    Results "results" always:          "?"    "~"    "~"    "~"    "R0 W A0" "R0 R1 A1" "I0 W XW" "I1 R0 R1" "~" "~" "~" "~"  "~";
    /// The wait for the next attempt is over.
    Retry "retry" always:              "?"    "~"    "~"    "~"    "R0"   "R1"   "W XW" "R0 R1" "~"    "~"    "~"    "~"    "~";
    /// The prompt would fill too much of the model's window.
    Full "full" always:                "?"    "~"    "~"    "~"    "R0"   "R1"   "W XW" "R0 R1" "~"    "~"    "~"    "~"    "~";
    /// A compaction ended.
    Compacted "compacted" always:      "?"    "~"    "~"    "~"    "R0 W" "R0 R1" "W XW" "R0 R1" "~"   "~"    "~"    "~"    "~";
    /// What ran was stopped.
    Stopped "stopped" always:          "?"    "~"    "~"    "~"    "~"    "~"    "W XW" "R0 R1" "~"    "~"    "~"    "~"    "~";
    /// The prompt of an attempt was repaired.
    Repaired "repaired" always:        "?"    "~"    "~"    "~"    "R0"   "R1"   "I0"   "I1"   "~"    "~"    "~"    "~"    "~";
    /// The holder still works.
    Watch "watch" always:              "?"    "~"    "~"    "~"    "R0"   "R1"   "I0"   "I1"   "~"    "~"    "~"    "~"    "~";
    /// The holder gives the chat back.
    Release "release" always:          "?"    "~"    "~"    "~"    "R0"   "R1"   "I0"   "I1"   "~"    "~"    "~"    "~"    "~";
    /// A deadline of a client's results or of a decision passed.
    Expire "expire" always:            "?"    "~"    "~"    "~"    "~"    "~"    "~"    "~"    "R0 A0" "R1 A1" "~"  "~"    "~";
}

/// Why an act is refused in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The status does not allow it.
    State,
    /// The chat is archived.
    Archived,
    /// There is no chat.
    NotFound,
    /// There is one already.
    Exists,
    /// The input belongs to something that is over.
    Stale,
}

impl Why {
    fn of(mark: &str) -> Option<Self> {
        Some(match mark {
            "-" => Self::State,
            "x" => Self::Archived,
            "?" => Self::NotFound,
            "!" => Self::Exists,
            "~" => Self::Stale,
            _ => return None,
        })
    }
}

impl Act {
    /// The phases that it may lead to from this one.
    pub fn outcomes(self, from: Phase) -> Vec<Phase> {
        let marks = self.cell(from).split(' ');
        marks.filter_map(|mark| Phase::ALL.into_iter().find(|phase| phase.name() == mark)).collect()
    }

    /// How it may be refused in this phase. With outcomes beside it, that depends on who holds the chat.
    pub fn refusal(self, from: Phase) -> Option<Why> {
        self.cell(from).split(' ').find_map(Why::of)
    }

    /// The cell as it is written.
    pub fn cell(self, from: Phase) -> &'static str {
        self.cells()[from as usize]
    }

    /// The refusal where the phase leaves no choice.
    pub(crate) fn check(self, from: Phase) -> Result<(), Refused> {
        if !self.outcomes(from).is_empty() {
            return Ok(());
        }
        Err(match self.refusal(from) {
            Some(Why::Archived) => Refused::Archived,
            Some(Why::Exists) => Refused::Exists,
            Some(Why::NotFound) => Refused::NotFound { what: "chat" },
            _ => self.wrong_state(from),
        })
    }

    /// The status does not allow it.
    pub(crate) fn wrong_state(self, from: Phase) -> Refused {
        if matches!(self, Self::Unarchive | Self::ArchiveRest) {
            return Refused::NotArchived;
        }
        let mut expected = Vec::new();
        for phase in Phase::ALL.into_iter().skip(1).take(9) {
            if self.refusal(phase).is_none() && !expected.contains(&phase.status()) {
                expected.push(phase.status());
            }
        }
        Refused::State { status: from.status(), expected }
    }
}
