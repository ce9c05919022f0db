//! Switches that can be broken in one place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_conformance::debug_switches::{CLAUSES, Switch, SwitchesRig};
use chatwright_core::port::{DebugSwitches, StoreError, StoreErrorKind};
use chatwright_core::{ChatId, UserId};
use parking_lot::Mutex;

use crate::caught::{Mutant, all_are_caught_at_once, verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    NotSetIsOff,
    TakesNothingBack,
    KeepsTheFirst,
    TakesUsersForOne,
    TakesChatsForOne,
    TakesAUserForAChat,
    BrokenIsNotSet,
    BrokenIsOff,
    BrokenChatsAreNotSet,
}

#[derive(Clone)]
struct Rig {
    fault: Fault,
    set: Arc<Mutex<BTreeMap<Switch, bool>>>,
    broken: Arc<AtomicBool>,
}

impl Rig {
    fn key(&self, switch: &Switch) -> Switch {
        let user = |name: &str| Switch::User(UserId::new(name).expect("a short id"));
        match (self.fault, switch) {
            (Fault::TakesUsersForOne, Switch::User(_)) => user("everybody"),
            (Fault::TakesChatsForOne, Switch::Chat(_)) => user("every chat"),
            (Fault::TakesAUserForAChat, Switch::Chat(chat)) => user(&chat.to_string()),
            _ => switch.clone(),
        }
    }

    fn read(&self, switch: &Switch) -> Result<Option<bool>, StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return match (self.fault, switch) {
                (Fault::BrokenIsNotSet, _) | (Fault::BrokenChatsAreNotSet, Switch::Chat(_)) => Ok(None),
                (Fault::BrokenIsOff, _) => Ok(Some(false)),
                _ => Err(StoreError::new(StoreErrorKind::Unavailable, "it is broken")),
            };
        }
        let set = self.set.lock().get(&self.key(switch)).copied();
        Ok(if self.fault == Fault::NotSetIsOff { Some(set.unwrap_or(false)) } else { set })
    }
}

#[async_trait]
impl DebugSwitches for Rig {
    async fn allowed(&self) -> Result<Option<bool>, StoreError> {
        self.read(&Switch::Allowed)
    }

    async fn of_user(&self, user: &UserId) -> Result<Option<bool>, StoreError> {
        self.read(&Switch::User(user.clone()))
    }

    async fn of_chat(&self, chat: ChatId) -> Result<Option<bool>, StoreError> {
        self.read(&Switch::Chat(chat))
    }
}

#[async_trait]
impl SwitchesRig for Rig {
    fn switches(&self) -> Arc<dyn DebugSwitches> {
        Arc::new(self.clone())
    }

    async fn set(&self, switch: &Switch, to: Option<bool>) {
        let (key, mut set) = (self.key(switch), self.set.lock());
        match to {
            Some(to) if self.fault == Fault::KeepsTheFirst => drop(set.entry(key).or_insert(to)),
            Some(to) => drop(set.insert(key, to)),
            None if self.fault == Fault::TakesNothingBack => {}
            None => drop(set.remove(&key)),
        }
    }

    fn within(&self) -> Duration {
        Duration::from_millis(200)
    }

    async fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }
}

fn broken(fault: Fault) -> Mutant<dyn SwitchesRig> {
    Box::new(move || Arc::new(Rig { fault, set: Arc::default(), broken: Arc::default() }))
}

#[test]
fn every_promise_of_debug_switches_catches_who_breaks_it() {
    let (said, failed) = (CLAUSES[0].name, CLAUSES[1].name);
    let mutants = [
        (said, "says off where nothing is set", Fault::NotSetIsOff),
        (said, "takes nothing back", Fault::TakesNothingBack),
        (said, "keeps what was set first", Fault::KeepsTheFirst),
        (said, "takes all users for one", Fault::TakesUsersForOne),
        (said, "takes all chats for one", Fault::TakesChatsForOne),
        (said, "takes a user for the chat of that name", Fault::TakesAUserForAChat),
        (failed, "says that nothing is set where it cannot read", Fault::BrokenIsNotSet),
        (failed, "says off where it cannot read", Fault::BrokenIsOff),
        (failed, "says that nothing is set of chats that it cannot read", Fault::BrokenChatsAreNotSet),
    ];
    all_are_caught_at_once(
        CLAUSES,
        mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into(),
    );
}

#[test]
fn the_switches_that_are_broken_for_the_mutants_are_sound_without_a_fault() {
    for clause in CLAUSES {
        assert_eq!(verdict(clause, broken(Fault::None), false), None, "{}", clause.name);
    }
}
