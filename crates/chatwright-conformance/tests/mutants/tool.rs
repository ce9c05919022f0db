//! A tool that can be broken in one place.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_conformance::tool::{CLAUSES, ToolRig};
use chatwright_core::content::Output;
use chatwright_core::port::Tool;
use chatwright_core::tool::{CallKey, Effect, ToolCall, ToolSpec};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::caught::{Mutant, all_are_caught_at_once};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    CountsInItsName,
    ChangesWithAnInstance,
    SpacesInItsName,
    SaysNothing,
    TakesAList,
    HasNoTime,
    Fails,
    NeverReturns,
    RefusesAKnownKey,
    HoldsItsThread,
    StaysLockedWhenDropped,
}

struct Rig(Arc<Notes>);

struct Notes {
    fault: Fault,
    instance: usize,
    specs: AtomicUsize,
    keys: Mutex<BTreeSet<CallKey>>,
    gate: tokio::sync::Semaphore,
}

impl ToolRig for Rig {
    fn tool(&self) -> Arc<dyn Tool> {
        Arc::clone(&self.0) as Arc<dyn Tool>
    }

    fn input(&self) -> Value {
        json!({"note": "milk"})
    }
}

#[async_trait]
impl Tool for Notes {
    fn spec(&self) -> ToolSpec {
        let count = self.specs.fetch_add(1, Ordering::Relaxed);
        let name = match self.fault {
            Fault::CountsInItsName => format!("note_{count}"),
            Fault::ChangesWithAnInstance => format!("note_{}", self.instance),
            Fault::SpacesInItsName => "take a note".to_owned(),
            _ => "note".to_owned(),
        };
        let description = if self.fault == Fault::SaysNothing { " " } else { "Takes a note." };
        let kind = if self.fault == Fault::TakesAList { "array" } else { "object" };
        let seconds = match self.fault {
            Fault::HasNoTime => 0,
            Fault::NeverReturns => 1,
            _ => 60,
        };
        ToolSpec::new(name, description, json!({"type": kind}), Effect::Idempotent)
            .with_deadline(Duration::from_secs(seconds))
    }

    async fn call(&self, mut call: ToolCall) -> Output {
        let error = || Output::Error { text: "no".to_owned() };
        let known = !self.keys.lock().insert(call.key);
        match self.fault {
            Fault::Fails => return error(),
            Fault::RefusesAKnownKey if known => return error(),
            Fault::NeverReturns => std::future::pending().await,
            Fault::HoldsItsThread => {
                // Nobody sends: it sits on its thread, and cannot be dropped.
                let (_sender, receiver) = mpsc::channel::<()>();
                let held = if call.cancel.is_canceled() { 6_500 } else { 0 };
                let _ = receiver.recv_timeout(Duration::from_millis(held));
            }
            Fault::StaysLockedWhenDropped => {
                let Ok(permit) = self.gate.try_acquire() else { return error() };
                permit.forget();
                if call.cancel.is_canceled() {
                    std::future::pending::<()>().await;
                }
                tokio::task::yield_now().await;
                self.gate.add_permits(1);
            }
            _ => {}
        }
        tokio::select! {
            () = call.cancel.canceled() => error(),
            () = tokio::time::sleep(Duration::from_millis(5)) => Output::Text { text: "noted".to_owned() },
        }
    }
}

fn broken(fault: Fault) -> Mutant<dyn ToolRig> {
    let instances = AtomicUsize::new(0);
    Box::new(move || {
        let instance = instances.fetch_add(1, Ordering::Relaxed);
        Arc::new(rig(fault, instance))
    })
}

fn rig(fault: Fault, instance: usize) -> Rig {
    let (specs, keys, gate) = (AtomicUsize::new(0), Mutex::default(), tokio::sync::Semaphore::new(1));
    Rig(Arc::new(Notes { fault, instance, specs, keys, gate }))
}

const DECLARED: &str = "t1_the_declaration_is_valid_and_never_changes";
const SUCCEEDS: &str = "t1_a_call_succeeds_within_its_deadline";
const TWICE: &str = "t1_what_may_run_twice_does_so_with_one_key";
const CANCELLED: &str = "t1_a_cancelled_call_returns_or_can_be_dropped";

#[test]
fn every_broken_tool_is_caught_by_the_clause_that_it_breaks() {
    let mutants = [
        (DECLARED, "counts in its name", Fault::CountsInItsName),
        (DECLARED, "changes with an instance", Fault::ChangesWithAnInstance),
        (DECLARED, "has spaces in its name", Fault::SpacesInItsName),
        (DECLARED, "says nothing of itself", Fault::SaysNothing),
        (DECLARED, "takes a list", Fault::TakesAList),
        (DECLARED, "has no time", Fault::HasNoTime),
        (SUCCEEDS, "fails", Fault::Fails),
        (SUCCEEDS, "never returns", Fault::NeverReturns),
        (TWICE, "refuses a known key", Fault::RefusesAKnownKey),
        (CANCELLED, "holds its thread", Fault::HoldsItsThread),
        (CANCELLED, "stays locked when it is dropped", Fault::StaysLockedWhenDropped),
    ];
    all_are_caught_at_once(
        CLAUSES,
        mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into(),
    );
}

mod sound {
    chatwright_conformance::tool!(super::rig(super::Fault::None, 0));
}
