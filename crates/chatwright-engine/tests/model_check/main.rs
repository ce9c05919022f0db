//! Every order of commands, two sessions, crashes, and commits and events that come late, twice or never, from a chat that
//! begins and from some that are further on: all states up to a bound, the nearest first. The engine is the one that is
//! shipped; the store is a few lines.
//!
//! `CHATWRIGHT_MODEL_STATES` sets how many states are looked at.

mod book;
mod explore;
mod invariants;
mod moves;
mod rest;
mod twins;
mod world;

use chatwright_engine::Busy;

use explore::{Lens, explore};
use moves::Move::{self, Free, Pass, Session, SessionHeld, User, UserHeld};
use moves::{Asks, Does, Fails, Says};
use world::{Rig, engine};

/// States that are looked at: about half a minute of one core without optimisation.
const STATES: usize = 50_000;

/// The engine as it is.
const SOUND: Rig = Rig { engine, checks_revision: true, passed_over: &[] };

const CLAIM: Move = Session(0, Does::Claim);
const SEND: Move = User(Asks::Send(Busy::Queue));
const TEXT: Move = Session(0, Does::Says(Says::Text));

/// Where exploration begins.
const WAYS: &[&[Move]] = &[
    &[],
    // A Once call runs, and messages wait.
    &[CLAIM, Session(0, Does::Says(Says::Once)), SEND, SEND],
    // Its holder was wrongly taken for dead, and another session goes on.
    &[CLAIM, Session(0, Does::Says(Says::Once)), Free, Session(1, Does::Claim)],
    // Two calls, one after the other, and two of which one is the client's.
    &[CLAIM, Session(0, Does::Says(Says::OnceAndAgain))],
    &[CLAIM, Session(0, Does::Says(Says::OnceAndClient))],
    // Somebody has to approve a call, and a message waits.
    &[CLAIM, Session(0, Does::Says(Says::Ask)), SEND],
    // A turn that is being stopped, with two messages that wait.
    &[CLAIM, SEND, SEND, User(Asks::Interrupt)],
    // An error with two messages that wait.
    &[CLAIM, SEND, SEND, Session(0, Does::Fails(Fails::ForGood))],
    // An attempt failed, its wait outlived its holder, and another session goes on.
    &[CLAIM, Session(0, Does::Fails(Fails::Briefly)), Free, Pass, Session(1, Does::Claim)],
    // At rest with a history that was compacted.
    &[CLAIM, TEXT, SEND, CLAIM, TEXT, User(Asks::Compact), CLAIM, Session(0, Does::Summary)],
    // A summary that the turn needed has failed, and one that the provider made necessary begins.
    &[
        CLAIM,
        TEXT,
        SEND,
        CLAIM,
        Session(0, Does::Full),
        Session(0, Does::Fails(Fails::ForGood)),
        Session(0, Does::Fails(Fails::TooLarge)),
    ],
    // At rest with a history that was cleared.
    &[CLAIM, TEXT, User(Asks::Clear), SEND],
    // A family that is being archived while a turn is stopped.
    &[User(Asks::Join), CLAIM, SEND, User(Asks::ArchiveStop)],
    // Archived with messages that are held.
    &[CLAIM, SEND, SEND, User(Asks::ArchiveStop), Session(0, Does::Stopped), User(Asks::Unarchive)],
    // A claim on its way.
    &[SessionHeld(0, Does::Claim)],
    // A message on its way.
    &[CLAIM, UserHeld(Asks::Send(Busy::Queue)), TEXT],
];

/// A third of the states: there are three explorations.
fn states() -> usize {
    let states = std::env::var("CHATWRIGHT_MODEL_STATES").ok().and_then(|states| states.parse().ok());
    states.unwrap_or(STATES) / 3
}

fn holds(ways: &[&[Move]], lens: Lens, states: usize) {
    match explore(SOUND, ways, lens, states) {
        Ok(report) => println!("{report:?}"),
        Err(found) => panic!("{found:?}"),
    }
}

#[test]
fn no_order_of_events_breaks_an_invariant() {
    holds(WAYS, |_| true, states());
}

#[test]
fn no_order_of_commands_and_of_what_one_holder_does_breaks_an_invariant() {
    let lens: Lens = |step| match step {
        User(_) | Free | Pass | Move::Expire => true,
        Session(at, _) | Move::Learn(at) => *at == 0,
        _ => false,
    };
    holds(&[&[]], lens, states());
}

#[test]
fn no_order_of_takeovers_edits_and_stops_breaks_an_invariant() {
    let lens: Lens = |step| match step {
        User(asks) => matches!(asks, Asks::EditFirst | Asks::Interrupt | Asks::Submit | Asks::Approve),
        Session(_, does) | SessionHeld(_, does) => !matches!(
            does,
            Does::Watch | Does::ReleaseFor | Does::Fails(Fails::ForLong) | Does::Says(Says::TwoPure)
        ),
        UserHeld(_) | Move::LookUp => false,
        _ => true,
    };
    holds(&[&[]], lens, states());
}
