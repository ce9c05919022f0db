//! What time is spent on, in words that metrics, spans and recorders share.

use std::time::Duration;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$case_doc])* $case,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$case),*];

            /// Its name in labels.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$case => $word,)*
                }
            }
        }
    };
}

names! {
    /// A piece of work of which it is told how long it took. One may be inside another.
    Stage {
        /// A turn, from the moment when somebody should run it.
        ChatTurn = "chat_turn",
        /// From the moment when somebody should run a chat to the moment when a process looks at it.
        QueueWait = "queue_wait",
        /// A process reads a chat and claims it.
        Acquisition = "acquisition",
        /// The wait at the gate of an account that was told to wait.
        CapacityWait = "capacity_wait",
        /// An attempt at an answer, from its prompt to its commit, without waits and tools.
        GenerationStep = "generation_step",
        /// What comes before a request: the prompt, and its row in the ledger.
        Prepare = "prepare",
        /// A request to a provider.
        ProviderAttempt = "provider_attempt",
        /// From the request to the first content.
        TimeToFirstToken = "time_to_first_token",
        /// From the first content to the end of the answer.
        Stream = "stream",
        /// The model thinks, and does not speak.
        Thinking = "thinking",
        /// A tool runs.
        ToolCall = "tool_call",
        /// A commit of the holder, until it is known to have landed.
        Commit = "commit",
        /// A summary takes the place of older history.
        Compaction = "compaction",
        /// The wait before a failed attempt is made again.
        RetryBackoff = "retry_backoff",
    }
}

names! {
    /// What a moment of a turn was spent on: each moment counts once.
    TurnCategory {
        /// Nobody had taken the chat yet.
        Scheduling = "scheduling",
        /// A model that was asked had not said anything yet.
        TimeToFirstToken = "time_to_first_token",
        /// A model spoke.
        Streaming = "streaming",
        /// A model was asked that failed.
        ProviderError = "provider_error",
        /// Waits before another attempt.
        RetryBackoff = "retry_backoff",
        /// Tools ran.
        ToolExecution = "tool_execution",
        /// A summary was made.
        Compaction = "compaction",
        /// Prompts, commits and what else the loop does itself.
        Overhead = "overhead",
        /// Anything else.
        Unattributed = "unattributed",
    }
}

names! {
    /// What work is part of.
    Scope {
        /// A turn, for which somebody waits.
        Turn = "turn",
        /// Something else: a summary that was asked for at rest.
        Background = "background",
    }
}

names! {
    /// Which chats a chat is one of.
    ChatKind {
        /// It was not spawned by another one.
        Root = "root",
        /// It was.
        Subagent = "subagent",
    }
}

names! {
    /// What a chat that a process holds is doing.
    Activity {
        /// A model is being asked.
        Streaming = "streaming",
        /// Anything else: tools, commits, waits.
        Waiting = "waiting",
    }
}

names! {
    /// What became of a summary that was necessary.
    CompactionResult {
        /// It took the place of older history.
        Success = "success",
        /// There is none.
        Error = "error",
        /// The model took too long.
        Timeout = "timeout",
    }
}

names! {
    /// What a store answered to a commit that it did not take.
    CommitTrouble {
        /// Somebody else was faster.
        Conflict = "conflict",
        /// Nothing that says whether it landed.
        Unknown = "unknown",
    }
}

names! {
    /// What a ledger was asked to do.
    LedgerTask {
        /// To write down that a provider is about to be asked.
        Open = "open",
        /// To write down what came of it.
        Close = "close",
    }
}

names! {
    /// Why a turn that ended has no partition, or one that says little.
    StageAnomaly {
        /// Something ended before it began.
        NegativeElapsed = "negative_elapsed",
        /// The turn took no time.
        NonpositiveTurn = "nonpositive_turn",
        /// This process did not see the turn from its beginning: another one did, or it waited for its client in between.
        StaleAnchor = "stale_anchor",
    }
}

const CATEGORIES: usize = TurnCategory::ALL.len();
const STAGES: usize = Stage::ALL.len();

/// What the time of a turn was spent on. Categories are disjoint, and the turn is their sum; stages may overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnTimes {
    categories: [Duration; CATEGORIES],
    stages: [Duration; STAGES],
}

impl TurnTimes {
    /// Adds time that was spent on this and on nothing else.
    pub fn spend(&mut self, category: TurnCategory, time: Duration) {
        self.categories[category as usize] += time;
    }

    /// Says that what was spent on one thing was spent on another: at most as much as there is.
    pub fn reassign(&mut self, from: TurnCategory, to: TurnCategory, time: Duration) {
        let time = time.min(self.category(from));
        self.categories[from as usize] -= time;
        self.spend(to, time);
    }

    /// Adds the time of a stage.
    pub fn add(&mut self, stage: Stage, time: Duration) {
        self.stages[stage as usize] += time;
    }

    /// How long the turn took.
    pub fn total(&self) -> Duration {
        self.categories.iter().sum()
    }

    /// The time that was spent on this.
    pub fn category(&self, category: TurnCategory) -> Duration {
        self.categories[category as usize]
    }

    /// The time of all stages of this kind.
    pub fn stage(&self, stage: Stage) -> Duration {
        self.stages[stage as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reassigned_is_neither_lost_nor_made() {
        let second = Duration::from_secs(1);
        let mut times = TurnTimes::default();
        times.spend(TurnCategory::Streaming, 3 * second);
        times.reassign(TurnCategory::Streaming, TurnCategory::ProviderError, second);
        assert_eq!(times.category(TurnCategory::Streaming), 2 * second);
        times.reassign(TurnCategory::Streaming, TurnCategory::ProviderError, 9 * second);
        assert_eq!(times.category(TurnCategory::ProviderError), 3 * second);
        assert_eq!(times.total(), 3 * second);
    }
}
