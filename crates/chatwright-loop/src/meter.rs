//! What a request to a provider takes, and the row of the ledger that says so.
//!
//! The row is opened before the request is sent: what cannot be written down is not asked. It is closed before the commit that
//! seals the gen, so that a process that dies in between has lost nothing that it knew. What nobody closes is closed with its
//! estimate after a while.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chatwright_core::accumulator::Accumulator;
use chatwright_core::head::Index;
use chatwright_core::model::{CallScope, ModelId, Usage};
use chatwright_core::money::{Amount, Prices};
use chatwright_core::port::timing::LedgerTask;
use chatwright_core::port::{
    Charge, Event, Ledger, LedgerClosing, LedgerEnd, LedgerEntry, Purpose, StoreError, StoreErrorKind,
};
use chatwright_core::{ChatId, Gen, OpId, Timestamp, limits};
use chatwright_engine::Report;
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::deps::{Deps, soon};
use crate::models::Chosen;
use crate::tokens;

/// How long the ledger may take to open a row.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// How long after the longest attempt a row that is still open has lost its process.
const LOST_AFTER: Duration = Duration::from_secs(5 * 60);
/// Most closings that wait for the ledger.
const LATE_MAX: usize = 10_000;
/// Most bytes of a warning that is kept, and most warnings.
const WARNING_BYTES_MAX: usize = 300;
const WARNINGS_MAX: usize = 8;

/// A request that was written down.
pub(crate) struct Meter {
    deps: Arc<Deps>,
    id: OpId,
    purpose: Purpose,
    chat: ChatId,
    model: ModelId,
    prices: Option<(Prices, u64)>,
    /// About how many tokens its prompt has.
    prompt: u64,
}

/// Which request.
pub(crate) struct Request<'a> {
    pub(crate) purpose: Purpose,
    pub(crate) chat: ChatId,
    pub(crate) r#gen: Option<Gen>,
    pub(crate) index: &'a Index,
    pub(crate) chosen: &'a Chosen,
    /// About how many tokens its prompt has.
    pub(crate) prompt: u64,
}

/// What a call for a chat is part of.
pub(crate) fn scope(chat: ChatId, index: &Index, purpose: Purpose) -> CallScope {
    let mut scope = CallScope::new(chat, index.owner.clone(), purpose);
    (scope.root, scope.parent) = (index.root, index.parent);
    scope.organization.clone_from(&index.organization);
    scope
}

impl Meter {
    /// Writes down that a provider is about to be asked.
    pub(crate) async fn open(deps: &Arc<Deps>, request: Request<'_>) -> Result<Self, StoreError> {
        let Request { purpose, chat, r#gen, index, chosen, prompt } = request;
        let prices = chosen.prices().map(|(prices, version)| (prices.clone(), version));
        let (deps, id, model) = (Arc::clone(deps), OpId::mint(&*deps.ports.ids), chosen.model.id());
        let meter = Self { deps, id, purpose, chat, model, prices, prompt };
        let deps = &meter.deps;
        let Some(ledger) = &deps.ports.ledger else { return Ok(meter) };
        let entry = LedgerEntry {
            id: meter.id,
            purpose,
            chat,
            r#gen,
            owner: index.owner.clone(),
            organization: index.organization.clone(),
            model: meter.model.clone(),
            prices: meter.prices.as_ref().map(|(_, version)| *version),
            opened: deps.time.now().await?,
            estimate: meter.charge(Usage { input: Some(prompt), ..Usage::default() }),
        };
        let mut unsure = Unsure { meter: &meter, at: Some(entry.opened) };
        let opened = timeout(OPEN_WITHIN, caught(ledger.open(&entry))).await;
        if matches!(opened, Ok(Ok(()))) {
            unsure.at = None;
        }
        drop(unsure);
        let opened = match opened {
            Ok(opened) => opened,
            Err(_) => Err(StoreError::new(
                StoreErrorKind::Unavailable,
                "the ledger did not answer in time".to_owned(),
            )),
        };
        if let Err(error) = opened {
            meter.deps.observe(&Event::LedgerFailed { chat, task: LedgerTask::Open });
            return Err(error);
        }
        Ok(meter)
    }

    fn charge(&self, usage: Usage) -> Charge {
        let cost = self.prices.as_ref().and_then(|(prices, _)| prices.cost(&usage));
        Charge { usage, cost }
    }

    /// What so much costs.
    pub(crate) fn cost(&self, usage: &Usage) -> Option<Amount> {
        self.charge(*usage).cost
    }

    /// What is known of the request by what came of it. What the provider did not say, or cannot have counted, is estimated.
    pub(crate) fn report(&self, answer: &Accumulator) -> Report {
        let told = answer.usage();
        // What no ledger takes was not counted.
        let estimated = told.is_empty() || StoreError::check_charge(&self.charge(told)).is_err();
        let usage = match estimated {
            true => Usage {
                input: Some(self.prompt),
                output: Some(tokens::of_bytes(answer.bytes())),
                ..Usage::default()
            },
            false => told,
        };
        let brief = |warning: &String| warning.chars().take(WARNING_BYTES_MAX / 4).collect::<String>().into();
        let warnings = answer.warnings().iter().take(WARNINGS_MAX).map(brief).collect();
        Report { usage, estimated, prices: self.prices.as_ref().map(|(_, version)| *version), warnings }
    }

    fn observe(&self, report: &Report, end: LedgerEnd) {
        let (chat, model, purpose) = (self.chat, &self.model, self.purpose);
        let (usage, estimated) = (report.usage, report.estimated);
        self.deps.observe(&Event::RequestEnded { chat, model, purpose, end, usage, estimated });
    }

    /// Leaves it to the worker to write down what became of it: for callers that do not wait for anything any more.
    pub(crate) fn close_later(&self, report: &Report, end: LedgerEnd) {
        self.observe(report, end);
        if self.deps.ports.ledger.is_some() {
            let (at, charge) = (self.deps.ports.clock.now(), self.charge(report.usage));
            self.deps.late.add(self.id, LedgerClosing { at, end, estimated: report.estimated, charge });
        }
    }

    /// Writes down what became of it. What does not land soon is tried again by the worker.
    pub(crate) async fn close(&self, report: &Report, end: LedgerEnd) {
        self.observe(report, end);
        let Some(ledger) = self.deps.ports.ledger.clone() else { return };
        let at = soon(self.deps.time.now()).await.and_then(Result::ok);
        let at = at.unwrap_or_else(|| self.deps.ports.clock.now());
        let charge = self.charge(report.usage);
        let closing = LedgerClosing { at, end, estimated: report.estimated, charge };
        if !close(&*ledger, self.id, &closing).await {
            self.deps.observe(&Event::LedgerFailed { chat: self.chat, task: LedgerTask::Close });
            self.deps.late.add(self.id, closing);
        }
    }
}

/// A row of which nobody knows whether it was opened, because nobody waits for that any more. Nothing was asked.
struct Unsure<'a> {
    meter: &'a Meter,
    /// When, until it is known.
    at: Option<Timestamp>,
}

impl Drop for Unsure<'_> {
    fn drop(&mut self) {
        let Some(at) = self.at else { return };
        let charge = self.meter.charge(Usage { input: Some(0), ..Usage::default() });
        let closing = LedgerClosing { at, end: LedgerEnd::Aborted, estimated: false, charge };
        self.meter.deps.late.add(self.meter.id, closing);
    }
}

/// What a ledger answers. One that panics costs neither a chat nor a worker.
async fn caught<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let caught = AssertUnwindSafe(answer).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Unavailable, "the ledger panicked")))
}

async fn close(ledger: &dyn Ledger, id: OpId, closing: &LedgerClosing) -> bool {
    match soon(caught(ledger.close(id, closing))).await {
        Some(Ok(_)) => true,
        Some(Err(error)) if error.kind() == StoreErrorKind::Invalid => {
            // It would not land another time either, and nothing behind it would.
            tracing::error!(request = %id, %error, "a ledger does not take what a request took");
            true
        }
        Some(Err(error)) => {
            tracing::warn!(request = %id, %error, "a request could not be closed in the ledger");
            false
        }
        None => false,
    }
}

/// Closings that did not land, oldest first. They stay in this process: if it ends before they land, the rows keep their estimates.
#[derive(Default)]
pub(crate) struct Late(Mutex<VecDeque<(OpId, LedgerClosing)>>);

impl Late {
    fn add(&self, id: OpId, closing: LedgerClosing) {
        let mut late = self.0.lock();
        late.push_back((id, closing));
        if late.len() > LATE_MAX
            && let Some((id, closing)) = late.pop_front()
        {
            tracing::error!(request = %id, ?closing, "the ledger does not learn what a request took");
        }
    }
}

/// Tries closings again that did not land, until one does not land this time either.
pub(crate) async fn catch_up(deps: &Deps) {
    let Some(ledger) = &deps.ports.ledger else { return };
    while let Some((id, closing)) = { deps.late.0.lock().front().cloned() } {
        if !close(&**ledger, id, &closing).await {
            return;
        }
        // Somebody else may have been as fast: both have closed the same.
        deps.late.0.lock().retain(|(other, _)| *other != id);
    }
}

/// Closes what processes that are gone have left open.
pub(crate) async fn sweep(deps: &Deps) -> Result<(), StoreError> {
    let Some(ledger) = &deps.ports.ledger else { return Ok(()) };
    let now = deps.time.now().await?;
    let before = now.before(deps.settings.model_timeouts.total + LOST_AFTER);
    let mut after: Option<(Timestamp, OpId)> = None;
    loop {
        let page = caught(ledger.unclosed(before, after, limits::PAGE_ITEMS_MAX)).await?;
        for entry in &page {
            let closing =
                LedgerClosing { at: now, end: LedgerEnd::Lost, estimated: true, charge: entry.estimate };
            caught(ledger.close(entry.id, &closing)).await?;
        }
        after = page.last().map(|entry| (entry.opened, entry.id));
        if page.len() < limits::PAGE_ITEMS_MAX {
            return Ok(());
        }
    }
}
