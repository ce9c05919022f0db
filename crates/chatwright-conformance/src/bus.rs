//! The promises of [`Bus`].
//!
//! The subject is a [`BusRig`]; a plain bus becomes one with [`PlainBus`]:
//!
//! ```ignore-because-it-defines-tests
//! chatwright_conformance::bus!(PlainBus(MyBus::connect(url).await));
//! chatwright_conformance::bus!(PlainBus(MyBus::new()), volatile);
//! ```
//!
//! `volatile` says that two connections do not meet: each is a bus of its own. Nothing may be lost on a bus that is
//! nearly idle, which is how the clauses use it, except where they let a subscriber fall behind.

#![expect(unused_qualifications, reason = "the exported macro needs the path from outside")]

mod delivery;
mod fixture;
mod loss;

use chatwright_core::port::{Bus, Topic};

use crate::clause::clauses;

use delivery::*;
use loss::*;

/// A bus under test with the hooks that its clauses can use.
pub trait BusRig: Send + Sync + 'static {
    /// The bus.
    fn bus(&self) -> &dyn Bus;

    /// Cuts the link of every subscription made through this bus, as a dead connection would. `false`: it cannot, and
    /// the clause of B4 about it is not checked.
    fn sever(&self) -> bool {
        false
    }

    /// How many subscriptions of this topic this bus keeps. `None`: it cannot say, and B6 is checked by half.
    fn subscribers(&self, topic: &Topic) -> Option<usize> {
        let _ = topic;
        None
    }
}

/// A bus without hooks.
#[derive(Clone, Debug)]
pub struct PlainBus<B>(pub B);

impl<B: Bus> BusRig for PlainBus<B> {
    fn bus(&self) -> &dyn Bus {
        &self.0
    }
}

clauses! {
    ($) bus in bus: chatwright_conformance::bus::BusRig;
    "bus.B1" b1_a_subscription_is_active_when_subscribe_returns,
    "bus.B1" b1_a_subscription_is_active_for_publishers_elsewhere,
    "bus.B2" b2_frames_of_one_publisher_come_in_their_order,
    "bus.B3" b3_topics_do_not_leak,
    "bus.B4" b4_a_loss_is_told_where_it_happened,
    "bus.B4" b4_a_dead_link_ends_the_stream,
    "bus.B5" b5_a_subscriber_that_never_reads_blocks_no_publisher,
    "bus.B6" b6_dropping_the_stream_unsubscribes,
    "bus.B7" b7_frames_of_up_to_4096_bytes_come_back_as_they_were,
    "bus.B7" b7_larger_frames_are_refused_and_reach_nobody,
}
