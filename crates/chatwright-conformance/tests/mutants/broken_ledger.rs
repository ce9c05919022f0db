//! A ledger in memory that can be broken in one place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::limits::{LEDGER_NUMBER_MAX, LEDGER_PICO_MAX};
use chatwright_core::model::ModelId;
use chatwright_core::money::Amount;
use chatwright_core::port::{
    Charge, Ledger, LedgerClosed, LedgerClosing, LedgerEntry, LedgerLine, LedgerScope, Purpose, Spent,
    StoreError,
};
use chatwright_core::{Gen, OpId, Timestamp, Uuid};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    OpeningAgainOverwrites,
    OpeningAgainReopens,
    OpeningAgainIsAnotherRow,
    OpeningAgainChangesTheEstimate,
    OpeningAgainChangesWhatIsClosed,
    ChecksThenOpens,
    LastCloseWins,
    EstimateReplacesWhatIsKnown,
    LastEstimateWins,
    LateCloseSaysClosed,
    LateCloseReopens,
    NeverCorrects,
    CorrectsAnyNumberOfTimes,
    CorrectionSaysClosed,
    CorrectionKeepsItsMark,
    CorrectionIsAdded,
    CorrectionKeepsTheCost,
    UnknownIsClosed,
    UnknownIsAlready,
    ClosingOpens,
    ClosingIsKeptForLater,
    FindsBySomeBits,
    ChecksThenCloses,
    NoTokensAreZero,
    NoTokensOfACacheAreZero,
    NoCostIsZero,
    NoGenIsZero,
    NoPricesAreZero,
    NoOrganizationIsEmpty,
    DropsNul,
    TrimsText,
    RoundsCostToMicros,
    NumbersAreFloats,
    EveryPurposeIsTurn,
    KeepsSeconds,
    CutsNamesOfModels,
    UnpricedCountsAsFree,
    FreeCountsAsUnpriced,
    SumsRoundEachCost,
    SumsCostInFloats,
    SumsCostIn64Bits,
    SumsTokensInFloats,
    SumsTokensWrap,
    SumsTokensStopEarly,
    NoBounds,
    BoundsForCostOnly,
    NoBoundForPrices,
    LowersToTheBound,
    RefusesTheLargest,
    KeepsWhatItRefuses,
    ClosesWhatItRefuses,
    ForgetsOnReopening,
    ForgetsTheLastWriteOnReopening,
    ForgetsClosingsOnReopening,
    ForgetsCorrectionsOnReopening,
    OneWriteLate,
    KeepsPerConnection,
    ReportsOneWriteLate,
    ListsByIdAlone,
    ListsByTimeAlone,
    ListsNewestFirst,
    GoesOnAfterTheTime,
    IgnoresAfter,
    IncludesAfter,
    DropsARowAtTheEndOfAPage,
    FullPagesAreShort,
    NothingFromTheBeginning,
    ListsWhatIsClosed,
    ListsWhatIsEstimated,
    IncludesBefore,
    IgnoresBefore,
    GoesOnOnlyAfterAnOpenRow,
    CountsPages,
    TakesAnyPage,
    IgnoresOwner,
    IgnoresOrganization,
    IgnoresChat,
    AnyConditionWillDo,
    OnlyTheFirstCondition,
    IgnoresCaseOfOwners,
    TrimsOwners,
    TakesOwnersForPatterns,
    NoOrganizationIsEveryOne,
    FindsChatsBySomeBits,
    ReportIgnoresScope,
    IncludesEnd,
    ExcludesStart,
    IgnoresPeriod,
    CountsWhenClosed,
    ReversedPeriodIsAnError,
    OpenDoesNotCount,
    OpenCountsNothing,
    OpenIsNotTold,
    OpenIsEstimated,
    EstimatedDoesNotCount,
    EstimatedIsNotTold,
    ClosedKeepsItsEstimate,
    EstimateFillsGaps,
    ReportMergesModels,
    ReportMergesProviders,
    ReportMergesPurposes,
    ReportMergesNames,
    ReportHasALineForEachRow,
    ReportSortsByModel,
    ReportSortsPurposesByName,
    ReportSortsByCost,
    ReportIgnoresCase,
    HalfAnOpeningWhenDropped,
    HalfAClosingWhenDropped,
    LockedWhenDropped,
}

type Rows = Vec<(LedgerEntry, Option<LedgerClosing>)>;

#[derive(Default)]
pub(crate) struct Table {
    rows: Rows,
    /// Before the last write.
    before: Rows,
    /// Before there was any row, what it was to be closed with.
    early: BTreeMap<OpId, LedgerClosing>,
}

pub(crate) struct BrokenLedger {
    fault: Fault,
    table: Arc<Mutex<Table>>,
    gate: Semaphore,
}

impl BrokenLedger {
    /// Another connection to this table.
    pub(crate) fn connect(fault: Fault, table: &Arc<Mutex<Table>>) -> Self {
        let mut found = table.lock();
        match fault {
            Fault::ForgetsOnReopening => *found = Table::default(),
            Fault::ForgetsTheLastWriteOnReopening => found.rows = found.before.clone(),
            Fault::ForgetsClosingsOnReopening => found.rows.iter_mut().for_each(|row| row.1 = None),
            Fault::ForgetsCorrectionsOnReopening => {
                let before = found.before.clone();
                for ((_, closing), (_, earlier)) in found.rows.iter_mut().zip(before) {
                    if earlier.as_ref().is_some_and(|earlier| earlier.estimated) {
                        *closing = earlier;
                    }
                }
            }
            _ => {}
        }
        drop(found);
        let table = if fault == Fault::KeepsPerConnection { Arc::default() } else { Arc::clone(table) };
        Self { fault, table, gate: Semaphore::new(1) }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Long enough for whoever drops a call early, and for others to come between.
    async fn pause(&self) {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }

    async fn lock(&self) {
        if self.is(Fault::LockedWhenDropped) {
            // The permit comes back only if the future is polled to its end.
            self.gate.acquire().await.expect("the gate is never closed").forget();
            self.pause().await;
            self.gate.add_permits(1);
        }
    }

    fn place(&self, rows: &Rows, id: OpId) -> Option<usize> {
        let key = |id: OpId| match self.fault {
            Fault::FindsBySomeBits => id.as_uuid().as_u128() << 1 >> 1,
            _ => id.as_uuid().as_u128(),
        };
        rows.iter().position(|(entry, _)| key(entry.id) == key(id))
    }

    /// Whether it may be kept.
    fn check(&self, entry: Option<&LedgerEntry>, charge: &Charge) -> Result<(), StoreError> {
        let cost = Charge { cost: charge.cost, ..Charge::default() };
        match self.fault {
            Fault::NoBounds | Fault::LowersToTheBound => return Ok(()),
            Fault::BoundsForCostOnly => return StoreError::check_charge(&cost),
            Fault::NoBoundForPrices => return StoreError::check_charge(charge),
            Fault::RefusesTheLargest if cost.cost == Some(Amount::from_pico(LEDGER_PICO_MAX)) => {
                let over = Charge { cost: Some(Amount::from_pico(u128::MAX)), ..cost };
                return StoreError::check_charge(&over);
            }
            _ => {}
        }
        entry.map_or(Ok(()), StoreError::check_ledger_entry)?;
        StoreError::check_charge(charge)
    }

    fn kept_charge(&self, charge: &Charge) -> Charge {
        let mut kept = *charge;
        let usage = &mut kept.usage;
        let [input, output, reasoning] = [&mut usage.input, &mut usage.output, &mut usage.reasoning];
        let counts = [input, output, reasoning, &mut usage.cache_read, &mut usage.cache_write];
        for (n, count) in counts.into_iter().enumerate() {
            match self.fault {
                Fault::NoTokensAreZero => *count = count.or(Some(0)),
                Fault::NoTokensOfACacheAreZero if n > 2 => *count = count.or(Some(0)),
                Fault::NumbersAreFloats => *count = count.map(|count| count as f64 as u64),
                Fault::LowersToTheBound => *count = count.map(|count| count.min(LEDGER_NUMBER_MAX)),
                _ => {}
            }
        }
        let pico = |change: fn(u128) -> u128| charge.cost.map(|cost| Amount::from_pico(change(cost.pico())));
        match self.fault {
            Fault::NoCostIsZero => kept.cost = charge.cost.or(Some(Amount::ZERO)),
            Fault::RoundsCostToMicros => kept.cost = pico(|pico| pico.div_ceil(1_000_000) * 1_000_000),
            Fault::LowersToTheBound => kept.cost = pico(|pico| pico.min(LEDGER_PICO_MAX)),
            _ => {}
        }
        kept
    }

    fn kept(&self, entry: &LedgerEntry) -> LedgerEntry {
        let mut kept = LedgerEntry { estimate: self.kept_charge(&entry.estimate), ..entry.clone() };
        match self.fault {
            Fault::NoGenIsZero => kept.r#gen = entry.r#gen.or(Some(Gen::ZERO)),
            Fault::NoPricesAreZero => kept.prices = entry.prices.or(Some(0)),
            Fault::NoOrganizationIsEmpty => {
                let empty = chatwright_core::OrganizationId::new("").ok();
                kept.organization = entry.organization.clone().or(empty);
            }
            Fault::DropsNul => kept.model.model = entry.model.model.replace('\0', "").into(),
            Fault::TrimsText => kept.model.provider = entry.model.provider.trim().into(),
            Fault::CutsNamesOfModels => {
                kept.model.model = entry.model.model.chars().take(255).collect::<String>().into();
            }
            Fault::EveryPurposeIsTurn => kept.purpose = Purpose::Turn,
            Fault::KeepsSeconds => {
                kept.opened = Timestamp::from_millis(entry.opened.as_millis().div_euclid(1_000) * 1_000);
            }
            Fault::LowersToTheBound => {
                kept.prices = entry.prices.map(|number| number.min(LEDGER_NUMBER_MAX));
                kept.r#gen = entry.r#gen.map(|number| Gen::new(number.get().min(LEDGER_NUMBER_MAX)));
            }
            _ => {}
        }
        kept
    }

    /// What closing does with a row.
    fn judge(&self, stored: Option<&LedgerClosing>, closing: &LedgerClosing) -> LedgerClosed {
        let Some(stored) = stored else { return LedgerClosed::Closed };
        let corrects = match self.fault {
            Fault::LastCloseWins => !closing.estimated,
            Fault::EstimateReplacesWhatIsKnown => closing.estimated || stored.estimated,
            Fault::LastEstimateWins => stored.estimated,
            Fault::NeverCorrects => false,
            // Whoever corrects keeps no mark of the estimate, but of the row.
            Fault::CorrectsAnyNumberOfTimes => !closing.estimated && stored.at >= closing.at,
            _ => stored.estimated && !closing.estimated,
        };
        if corrects { LedgerClosed::Corrected } else { LedgerClosed::Already }
    }

    fn apply(&self, row: &mut (LedgerEntry, Option<LedgerClosing>), closing: &LedgerClosing) {
        let mut kept = LedgerClosing { charge: self.kept_charge(&closing.charge), ..closing.clone() };
        if let Some(stored) = &row.1 {
            match self.fault {
                Fault::CorrectionKeepsItsMark => kept.estimated = true,
                Fault::CorrectionIsAdded => {
                    let costs = [stored.charge.cost, kept.charge.cost];
                    kept.charge.cost = costs.into_iter().flatten().reduce(|sum, cost| sum + cost);
                }
                Fault::CorrectionKeepsTheCost => {
                    kept.charge.cost = kept.charge.cost.or(stored.charge.cost);
                }
                _ => {}
            }
        }
        row.1 = Some(kept);
    }

    /// The rows that readers see.
    fn rows(&self) -> Rows {
        let table = self.table.lock();
        if self.is(Fault::OneWriteLate) { table.before.clone() } else { table.rows.clone() }
    }

    fn has(&self, scope: &LedgerScope, entry: &LedgerEntry) -> bool {
        let any = LedgerScope::default();
        let LedgerScope { owner, organization, chat } = scope.clone();
        let alone = [
            LedgerScope { owner: owner.clone(), ..any.clone() },
            LedgerScope { organization: organization.clone(), ..any.clone() },
            LedgerScope { chat, ..any.clone() },
        ];
        let given = || alone.iter().filter(|scope| **scope != any);
        let of_owner = |is_it: &dyn Fn(&str, &str) -> bool| {
            owner.as_ref().is_none_or(|owner| is_it(owner.as_str(), entry.owner.as_str()))
        };
        let others = LedgerScope { owner: None, ..scope.clone() };
        match self.fault {
            Fault::IgnoresOwner => others.has(entry),
            Fault::IgnoresOrganization => LedgerScope { organization: None, ..scope.clone() }.has(entry),
            Fault::IgnoresChat => LedgerScope { chat: None, ..scope.clone() }.has(entry),
            Fault::AnyConditionWillDo => *scope == any || given().any(|scope| scope.has(entry)),
            Fault::OnlyTheFirstCondition => given().next().is_none_or(|scope| scope.has(entry)),
            Fault::IgnoresCaseOfOwners => others.has(entry) && of_owner(&|a, b| a.eq_ignore_ascii_case(b)),
            Fault::TrimsOwners => others.has(entry) && of_owner(&|a, b| a.trim_end() == b.trim_end()),
            Fault::TakesOwnersForPatterns => {
                let is_it = |a: &str, b: &str| {
                    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| a == b || a == b'_')
                };
                others.has(entry) && of_owner(&is_it)
            }
            Fault::NoOrganizationIsEveryOne => {
                let all = LedgerScope { organization: None, ..scope.clone() };
                scope.has(entry) || (entry.organization.is_none() && all.has(entry))
            }
            Fault::FindsChatsBySomeBits => {
                let key = |chat: chatwright_core::ChatId| chat.as_uuid().as_u128() >> 1;
                let all = LedgerScope { chat: None, ..scope.clone() };
                all.has(entry) && chat.is_none_or(|chat| key(chat) == key(entry.chat))
            }
            _ => scope.has(entry),
        }
    }

    fn counts(
        &self,
        (entry, closing): &(LedgerEntry, Option<LedgerClosing>),
        period: &Range<Timestamp>,
    ) -> bool {
        let time = match closing {
            Some(closing) if self.is(Fault::CountsWhenClosed) => closing.at,
            _ => entry.opened,
        };
        let within = match self.fault {
            Fault::IncludesEnd => period.start <= time && time <= period.end,
            Fault::ExcludesStart => period.start < time && time < period.end,
            Fault::IgnoresPeriod => true,
            _ => period.contains(&time),
        };
        let skipped = match closing {
            None => self.is(Fault::OpenDoesNotCount),
            Some(closing) => closing.estimated && self.is(Fault::EstimatedDoesNotCount),
        };
        within && !skipped
    }

    fn selected(&self, scope: &LedgerScope, period: &Range<Timestamp>) -> Rows {
        let mut rows = self.rows();
        rows.retain(|row| self.has(scope, &row.0) && self.counts(row, period));
        rows
    }

    fn add(&self, spent: &mut Spent, entry: &LedgerEntry, closing: Option<&LedgerClosing>) {
        let before = *spent;
        let (mut entry, mut closing) = (entry.clone(), closing.cloned());
        match (self.fault, &mut closing) {
            (Fault::OpenCountsNothing, None) => {
                entry.estimate = Charge { cost: Some(Amount::ZERO), ..Charge::default() };
            }
            (Fault::ClosedKeepsItsEstimate, Some(closing)) => closing.charge = entry.estimate,
            (Fault::EstimateFillsGaps, Some(closing)) => {
                closing.charge.cost = closing.charge.cost.or(entry.estimate.cost);
            }
            _ => {}
        }
        let charge = closing.as_ref().map_or(entry.estimate, |closing| closing.charge);
        spent.add(&entry, closing.as_ref());
        let (sum, cost) = (before.cost.pico(), charge.cost.map(Amount::pico));
        let tokens = [(before.tokens.input, charge.usage.input), (before.tokens.output, charge.usage.output)];
        match self.fault {
            Fault::UnpricedCountsAsFree => spent.unpriced = 0,
            Fault::FreeCountsAsUnpriced if cost == Some(0) => spent.unpriced += 1,
            Fault::SumsRoundEachCost => {
                let micros = cost.unwrap_or(0).div_ceil(1_000_000);
                spent.cost = Amount::from_pico(sum + micros * 1_000_000);
            }
            Fault::SumsCostInFloats => {
                let sum = sum as f64 / 1e12 + cost.unwrap_or(0) as f64 / 1e12;
                spent.cost = Amount::from_pico((sum * 1e12) as u128);
            }
            Fault::SumsCostIn64Bits => {
                let most = u128::from(u64::MAX);
                spent.cost = Amount::from_pico((sum + cost.unwrap_or(0)).min(most));
            }
            Fault::SumsTokensInFloats => {
                let [input, _] = tokens.map(|(sum, count)| (sum as f64 + count.unwrap_or(0) as f64) as u64);
                spent.tokens.input = input;
            }
            Fault::SumsTokensWrap => {
                let [_, output] = tokens.map(|(sum, count)| sum.wrapping_add(count.unwrap_or(0)));
                spent.tokens.output = output;
            }
            Fault::SumsTokensStopEarly => {
                spent.tokens.cache_write = spent.tokens.cache_write.min(LEDGER_NUMBER_MAX);
            }
            Fault::OpenIsNotTold => spent.open = 0,
            Fault::OpenIsEstimated => spent.estimated += u64::from(closing.is_none()),
            Fault::EstimatedIsNotTold => spent.estimated = 0,
            _ => {}
        }
    }

    fn key(&self, n: usize, entry: &LedgerEntry) -> (usize, Purpose, ModelId) {
        let ModelId { provider, model } = entry.model.clone();
        let of = |provider: &str, model: &str| ModelId { provider: provider.into(), model: model.into() };
        let merged = match self.fault {
            Fault::ReportMergesModels => of(&provider, ""),
            Fault::ReportMergesProviders => of("", &model),
            Fault::ReportMergesNames => of(&format!("{provider}/{model}"), ""),
            Fault::ReportIgnoresCase => of(&provider.to_ascii_lowercase(), &model.to_ascii_lowercase()),
            _ => of(&provider, &model),
        };
        let purpose = if self.is(Fault::ReportMergesPurposes) { Purpose::Turn } else { entry.purpose };
        (if self.is(Fault::ReportHasALineForEachRow) { n } else { 0 }, purpose, merged)
    }
}

#[async_trait]
impl Ledger for BrokenLedger {
    async fn open(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        let refused = self.check(Some(entry), &entry.estimate);
        if !self.is(Fault::KeepsWhatItRefuses) {
            refused?;
        }
        self.lock().await;
        let kept = self.kept(entry);
        if self.is(Fault::ChecksThenOpens) {
            let found = self.place(&self.table.lock().rows, entry.id);
            self.pause().await;
            if found.is_none() {
                let mut table = self.table.lock();
                table.rows.retain(|(other, _)| other.id != entry.id);
                table.rows.push((kept, None));
            }
            return Ok(());
        }
        if self.is(Fault::HalfAnOpeningWhenDropped) {
            let is_new = self.place(&self.table.lock().rows, entry.id).is_none();
            if is_new {
                let half = LedgerEntry { estimate: Charge::default(), ..kept.clone() };
                self.table.lock().rows.push((half, None));
                self.pause().await;
                let mut table = self.table.lock();
                if let Some(n) = self.place(&table.rows, entry.id) {
                    table.rows[n].0 = kept;
                }
            }
            return Ok(());
        }
        let table = &mut *self.table.lock();
        let place = self.place(&table.rows, entry.id);
        if place.is_none() || self.is(Fault::OpeningAgainIsAnotherRow) {
            table.before = table.rows.clone();
            let closing = table.early.remove(&entry.id);
            table.rows.push((kept, closing));
            return Ok(());
        }
        let row = &mut table.rows[place.expect("it is there")];
        match self.fault {
            Fault::OpeningAgainOverwrites if row.1.is_none() => row.0 = kept,
            Fault::OpeningAgainReopens => row.1 = None,
            Fault::OpeningAgainChangesTheEstimate => row.0.estimate = kept.estimate,
            Fault::OpeningAgainChangesWhatIsClosed if row.1.is_some() => row.0 = kept,
            _ => {}
        }
        Ok(())
    }

    async fn close(&self, id: OpId, closing: &LedgerClosing) -> Result<LedgerClosed, StoreError> {
        let refused = self.check(None, &closing.charge);
        if refused.is_err() && self.is(Fault::ClosesWhatItRefuses) {
            let mut table = self.table.lock();
            if let Some(n) = self.place(&table.rows, id) {
                self.apply(
                    &mut table.rows[n],
                    &LedgerClosing { charge: Charge::default(), ..closing.clone() },
                );
            }
        }
        refused?;
        self.lock().await;
        if self.is(Fault::ChecksThenCloses) {
            let stored = {
                let table = self.table.lock();
                let Some(n) = self.place(&table.rows, id) else { return Ok(LedgerClosed::Unknown) };
                table.rows[n].1.clone()
            };
            self.pause().await;
            let closed = self.judge(stored.as_ref(), closing);
            let mut table = self.table.lock();
            if closed != LedgerClosed::Already
                && let Some(n) = self.place(&table.rows, id)
            {
                self.apply(&mut table.rows[n], closing);
            }
            return Ok(closed);
        }
        let half = {
            let table = &mut *self.table.lock();
            let Some(n) = self.place(&table.rows, id) else {
                match self.fault {
                    Fault::ClosingIsKeptForLater => drop(table.early.insert(id, closing.clone())),
                    Fault::ClosingOpens => {
                        let entry = table.rows.first().map(|(entry, _)| entry.clone());
                        if let Some(entry) = entry {
                            table.rows.push((LedgerEntry { id, ..entry }, Some(closing.clone())));
                        }
                    }
                    Fault::UnknownIsClosed => return Ok(LedgerClosed::Closed),
                    Fault::UnknownIsAlready => return Ok(LedgerClosed::Already),
                    _ => {}
                }
                return Ok(LedgerClosed::Unknown);
            };
            let closed = self.judge(table.rows[n].1.as_ref(), closing);
            if closed == LedgerClosed::Already {
                match self.fault {
                    Fault::LateCloseSaysClosed => return Ok(LedgerClosed::Closed),
                    Fault::LateCloseReopens => table.rows[n].1 = None,
                    _ => {}
                }
                return Ok(closed);
            }
            table.before = table.rows.clone();
            if self.is(Fault::HalfAClosingWhenDropped) {
                table.rows[n].1 = Some(LedgerClosing { charge: Charge::default(), ..closing.clone() });
                true
            } else {
                self.apply(&mut table.rows[n], closing);
                if closed == LedgerClosed::Corrected && self.is(Fault::CorrectionSaysClosed) {
                    return Ok(LedgerClosed::Closed);
                }
                return Ok(closed);
            }
        };
        if half {
            self.pause().await;
            let mut table = self.table.lock();
            if let Some(n) = self.place(&table.rows, id) {
                self.apply(&mut table.rows[n], closing);
            }
        }
        Ok(LedgerClosed::Closed)
    }

    async fn unclosed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, OpId)>,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        if !self.is(Fault::TakesAnyPage) {
            StoreError::check_page(limit)?;
        }
        if self.is(Fault::NothingFromTheBeginning) && after.is_none() {
            return Ok(Vec::new());
        }
        let is_open = |closing: &Option<LedgerClosing>| match (self.fault, closing) {
            (Fault::ListsWhatIsClosed, _) | (_, None) => true,
            (Fault::ListsWhatIsEstimated, Some(closing)) => closing.estimated,
            _ => false,
        };
        let in_time = |entry: &LedgerEntry| match self.fault {
            Fault::IncludesBefore => entry.opened <= before,
            Fault::IgnoresBefore => true,
            _ => entry.opened < before,
        };
        let rows = self.rows().into_iter();
        let mut open: Vec<LedgerEntry> = rows
            .filter(|(entry, closing)| is_open(closing) && in_time(entry))
            .map(|(entry, _)| entry)
            .collect();
        match self.fault {
            Fault::ListsByIdAlone => open.sort_by_key(|entry| entry.id),
            // As they were opened, within a time.
            Fault::ListsByTimeAlone => open.sort_by_key(|entry| entry.opened),
            Fault::ListsNewestFirst => open.sort_by_key(|entry| std::cmp::Reverse((entry.opened, entry.id))),
            _ => open.sort_by_key(|entry| (entry.opened, entry.id)),
        }
        let max = OpId::from_uuid(Uuid::max());
        match (self.fault, after) {
            (Fault::IgnoresAfter, _) | (_, None) => {}
            (Fault::GoesOnAfterTheTime, Some((time, _))) => open.retain(|entry| entry.opened > time),
            (Fault::IncludesAfter, Some(after)) => open.retain(|entry| (entry.opened, entry.id) >= after),
            (Fault::GoesOnOnlyAfterAnOpenRow, Some(after)) if after.1 != max => {
                let found = open.iter().position(|entry| (entry.opened, entry.id) == after);
                open = found.map_or_else(Vec::new, |n| open.split_off(n + 1));
            }
            (Fault::CountsPages, Some(after)) => {
                // How many rows there were before the place, when the walk began: others have gone since.
                let all = self.rows();
                let passed = all.iter().filter(|(entry, _)| (entry.opened, entry.id) <= after).count();
                open = open.into_iter().skip(passed).collect();
            }
            (_, Some(after)) => open.retain(|entry| (entry.opened, entry.id) > after),
        }
        if self.is(Fault::DropsARowAtTheEndOfAPage) && open.len() > limit && limit > 1 {
            open.remove(limit - 1);
        }
        let limit = if self.is(Fault::FullPagesAreShort) { limit.min(10) } else { limit };
        open.truncate(limit);
        Ok(open)
    }

    async fn spent(&self, scope: &LedgerScope, period: Range<Timestamp>) -> Result<Spent, StoreError> {
        if self.is(Fault::ReversedPeriodIsAnError) && period.start > period.end {
            return Err(StoreError::new(chatwright_core::port::StoreErrorKind::Invalid, "a reversed period"));
        }
        let mut spent = Spent::default();
        for (entry, closing) in self.selected(scope, &period) {
            self.add(&mut spent, &entry, closing.as_ref());
        }
        Ok(spent)
    }

    async fn report(
        &self,
        scope: &LedgerScope,
        period: Range<Timestamp>,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        let all = LedgerScope::default();
        let scope = if self.is(Fault::ReportIgnoresScope) { &all } else { scope };
        let mut rows = self.selected(scope, &period);
        if self.is(Fault::ReportsOneWriteLate) {
            let before = self.table.lock().before.clone();
            rows.retain(|row| before.contains(row));
        }
        let mut lines = BTreeMap::<_, (ModelId, Spent)>::new();
        for (n, (entry, closing)) in rows.iter().enumerate() {
            let line = lines.entry(self.key(n, entry));
            let (_, spent) = line.or_insert_with(|| (entry.model.clone(), Spent::default()));
            self.add(spent, entry, closing.as_ref());
        }
        let line = |((_, purpose, _), (model, spent))| LedgerLine { purpose, model, spent };
        let mut lines: Vec<LedgerLine> = lines.into_iter().map(line).collect();
        match self.fault {
            Fault::ReportSortsByModel => lines.sort_by_key(|line| (line.model.clone(), line.purpose)),
            Fault::ReportSortsPurposesByName => {
                lines.sort_by_key(|line| (line.purpose.as_str(), line.model.clone()));
            }
            Fault::ReportSortsByCost => lines.sort_by_key(|line| std::cmp::Reverse(line.spent.cost)),
            _ => {}
        }
        Ok(lines)
    }
}
