//! The promises of [`DebugSwitches`].
//!
//! The subject is a [`SwitchesRig`]: the switches, and what sets them.
#![expect(unused_qualifications, reason = "the exported macro needs the path from outside")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::port::{DebugSwitches, StoreError};
use chatwright_core::{ChatId, UserId};
use tokio::time::{Instant, sleep};

use crate::Subject;
use crate::clause::clauses;
use crate::wait::within;

/// The switches, and what sets them. They are the test's own: no other test sets them.
#[async_trait]
pub trait SwitchesRig: Send + Sync + 'static {
    /// The switches.
    fn switches(&self) -> Arc<dyn DebugSwitches>;

    /// Sets one, or takes back that it was set.
    async fn set(&self, switch: &Switch, to: Option<bool>);

    /// How long a change may take to be told. 20 s by default.
    fn within(&self) -> Duration {
        Duration::from_secs(20)
    }

    /// From now on nothing can be read; what is at hand is forgotten.
    async fn break_down(&self);
}

/// One of the switches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Switch {
    /// The administrator's.
    Allowed,
    /// A user's.
    User(UserId),
    /// A chat's.
    Chat(ChatId),
}

clauses! {
    ($) debug_switches in debug_switches: chatwright_conformance::debug_switches::SwitchesRig;
    "switches.E1" e1_each_switch_says_what_it_was_set_to_and_no_other_does,
    "switches.E2" e2_what_cannot_be_read_is_an_error_and_never_not_set,
}

impl Switch {
    async fn read(&self, switches: &dyn DebugSwitches, clause: &str) -> Result<Option<bool>, StoreError> {
        let read = async {
            match self {
                Self::Allowed => switches.allowed().await,
                Self::User(user) => switches.of_user(user).await,
                Self::Chat(chat) => switches.of_chat(*chat).await,
            }
        };
        within(clause, "what a switch says", read).await
    }
}

/// The switches of a test: two users and two chats, one user called like a chat.
fn all(subject: &Subject<dyn SwitchesRig>) -> Vec<Switch> {
    let chats = [ChatId::mint(&subject.ids), ChatId::mint(&subject.ids)];
    let user = |name: String| Switch::User(UserId::new(name).expect("a short id"));
    vec![
        Switch::Allowed,
        user(format!("kit {}", chats[0])),
        user(chats[1].to_string()),
        Switch::Chat(chats[0]),
        Switch::Chat(chats[1]),
    ]
}

async fn e1_each_switch_says_what_it_was_set_to_and_no_other_does(subject: &Subject<dyn SwitchesRig>) {
    const CLAUSE: &str = "switches.E1";
    let rig = subject.connect().await;
    let (switches, all) = (rig.switches(), all(subject));
    let mut expected = vec![None; all.len()];
    let turns = [Some(true), Some(false), Some(true), None];
    for (at, to) in (0..all.len()).flat_map(|at| turns.map(|to| (at, to))) {
        rig.set(&all[at], to).await;
        expected[at] = to;
        let begun = Instant::now();
        loop {
            let mut said = Vec::new();
            for switch in &all {
                let read = switch.read(&*switches, CLAUSE).await;
                said.push(
                    read.unwrap_or_else(|error| panic!("{CLAUSE}: {switch:?} does not answer: {error}")),
                );
            }
            if said == expected {
                break;
            }
            assert!(
                begun.elapsed() < rig.within(),
                "{CLAUSE}: {:?} is {to:?}, and all say {said:?}",
                all[at]
            );
            sleep(Duration::from_millis(5)).await;
        }
        // Every other one is left as it was for the next.
        if at % 2 == 0 && to.is_none() {
            rig.set(&all[at], Some(false)).await;
            expected[at] = Some(false);
        }
    }
}

async fn e2_what_cannot_be_read_is_an_error_and_never_not_set(subject: &Subject<dyn SwitchesRig>) {
    const CLAUSE: &str = "switches.E2";
    let rig = subject.connect().await;
    let (switches, all) = (rig.switches(), all(subject));
    rig.set(&all[0], Some(true)).await;
    rig.break_down().await;
    for switch in &all {
        let read = switch.read(&*switches, CLAUSE).await;
        assert!(read.is_err(), "{CLAUSE}: {switch:?} cannot be read, and says {read:?}");
    }
}
