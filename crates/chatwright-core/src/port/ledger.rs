use std::ops::Range;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{StoreError, StoreErrorKind};
use crate::limits::{LEDGER_NUMBER_MAX, LEDGER_PICO_MAX};
use crate::model::{ModelId, Usage};
use crate::money::Amount;
use crate::{ChatId, Gen, OpId, OrganizationId, Timestamp, UserId};

/// What was asked of models, and what it cost; optional. There is one row for each request that goes to a provider, opened before
/// the request and closed with its usage, however it ended.
///
/// | # | promise |
/// |---|---|
/// | G1 | **One row.** Opening an id again changes nothing, whatever else the row says and whether or not it is closed. |
/// | G2 | **The first close wins**, with one exception: what was closed with an estimate may be closed once more with what is known. |
/// | G3 | **Exact.** Counts and amounts come back as they were given, `None` is not zero, and sums are exact. A number over [`LEDGER_NUMBER_MAX`] and a cost over [`LEDGER_PICO_MAX`] are refused, and nothing changes. |
/// | G4 | **Durable** after `Ok`: also after reopening. A ledger without durability says so. |
/// | G5 | **Fresh.** What was opened or closed counts in whatever is asked from then on. |
/// | G6 | **Complete.** `unclosed` lists every row that was opened before the time and is not closed, oldest first, page by page. |
/// | G7 | **Scoped.** Sums count the rows of the scope that were opened in the period, its beginning included and its end not. |
/// | G8 | **Cancel-safe.** A dropped call has happened or has not, and the ledger stays usable. |
/// | G9 | **Independent.** Rows stay when their chat is purged. |
///
/// # Cancel safety
/// A dropped `open` or `close` may or may not have happened. Both may be repeated.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Writes down that a provider is about to be asked.
    ///
    /// # Errors
    /// What the storage reports: whether the row is there is then unknown. [`StoreErrorKind::Invalid`] above the bounds of G3: it
    /// is as it was.
    async fn open(&self, entry: &LedgerEntry) -> Result<(), StoreError>;

    /// Writes down what became of a request.
    ///
    /// # Errors
    /// What the storage reports: whether the row is closed is then unknown. [`StoreErrorKind::Invalid`] above the bounds of G3: it
    /// is as it was.
    async fn close(&self, id: OpId, closing: &LedgerClosing) -> Result<LedgerClosed, StoreError>;

    /// Rows that were opened before this time and are not closed, ascending by time and id, after this one: at most `limit`, 1 to
    /// [`PAGE_ITEMS_MAX`](crate::limits::PAGE_ITEMS_MAX). Fewer than `limit` mean that there are no more.
    ///
    /// # Errors
    /// What the storage reports; [`StoreErrorKind::Invalid`] for another `limit`.
    async fn unclosed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, OpId)>,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError>;

    /// What was spent. Rows that are open count with their estimate.
    ///
    /// # Errors
    /// What the storage reports.
    async fn spent(&self, scope: &LedgerScope, period: Range<Timestamp>) -> Result<Spent, StoreError>;

    /// What was spent by purpose and model, ascending by both, as far as there are rows. Rows that are open count with their estimate.
    ///
    /// # Errors
    /// What the storage reports.
    async fn report(
        &self,
        scope: &LedgerScope,
        period: Range<Timestamp>,
    ) -> Result<Vec<LedgerLine>, StoreError>;
}

/// A request to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Which request.
    pub id: OpId,
    /// What for.
    pub purpose: Purpose,
    /// The chat that asked.
    pub chat: ChatId,
    /// The gen in which it was asked; absent: between turns.
    pub r#gen: Option<Gen>,
    /// Whose chat it is.
    pub owner: UserId,
    /// Of which organization.
    pub organization: Option<OrganizationId>,
    /// Who was asked.
    pub model: ModelId,
    /// The version of the prices that count, if there are any.
    pub prices: Option<u64>,
    /// When, in store time.
    pub opened: Timestamp,
    /// What counts while the request is open, and if nobody ever closes it.
    pub estimate: Charge,
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Purpose {
    /// An answer in a turn.
    Turn,
    /// A summary of older history.
    Compaction,
    /// Advice to the model of a turn.
    Advisor,
    /// The title of a chat.
    Title,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Turn, Self::Compaction, Self::Advisor, Self::Title];

    /// Its name in storage and in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Compaction => "compaction",
            Self::Advisor => "advisor",
            Self::Title => "title",
        }
    }

    /// The purpose of that name, if this version knows it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == name)
    }
}

/// Tokens and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// The tokens.
    pub usage: Usage,
    /// What they cost. `None`: nobody has set a price, which is not the same as free.
    pub cost: Option<Amount>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerClosing {
    /// When it ended, in store time.
    pub at: Timestamp,
    /// How.
    pub end: LedgerEnd,
    /// The provider did not say what it took: this is an estimate.
    pub estimated: bool,
    /// What it took.
    pub charge: Charge,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LedgerEnd {
    /// With an answer.
    Finished,
    /// It failed.
    Failed,
    /// Somebody stopped it.
    Interrupted,
    /// It was cut off: an edit, a shutdown.
    Aborted,
    /// The process that asked is gone.
    Lost,
}

impl LedgerEnd {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Finished, Self::Failed, Self::Interrupted, Self::Aborted, Self::Lost];

    /// Its name in storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Aborted => "aborted",
            Self::Lost => "lost",
        }
    }

    /// The end of that name, if this version knows it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.as_str() == name)
    }
}

/// What closing a row did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerClosed {
    /// It is closed now.
    Closed,
    /// It was closed with an estimate, and says now what is known.
    Corrected,
    /// It was closed before, and stays as it was.
    Already,
    /// There is no such row.
    Unknown,
}

/// Which rows count: those that all that is given applies to. Nothing given: every row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerScope {
    /// Those of this user's chats.
    pub owner: Option<UserId>,
    /// Those of this organization's chats.
    pub organization: Option<OrganizationId>,
    /// Those of this chat.
    pub chat: Option<ChatId>,
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Requests.
    pub requests: u64,
    /// Those that are not closed: they count with their estimate.
    pub open: u64,
    /// Those that are closed with an estimate.
    pub estimated: u64,
    /// Those without a cost, which the sum leaves out.
    pub unpriced: u64,
    /// Tokens by kind. A request that does not tell of a kind adds nothing to it.
    pub tokens: Tokens,
    /// What the others cost.
    pub cost: Amount,
}

/// Sums of tokens by kind, see [`Usage`]. Sums that are too large stop at the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of prompts, neither read from nor written to a cache.
    pub input: u64,
    /// Of answers, reasoning included.
    pub output: u64,
    /// Of reasoning.
    pub reasoning: u64,
    /// Of prompts, read from a cache.
    pub cache_read: u64,
    /// Of prompts, written to a cache.
    pub cache_write: u64,
}

/// What was spent for a purpose on a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerLine {
    /// What for.
    pub purpose: Purpose,
    /// On which model.
    pub model: ModelId,
    /// What.
    pub spent: Spent,
}

impl LedgerScope {
    /// Whether a row is one of these.
    pub fn has(&self, entry: &LedgerEntry) -> bool {
        self.owner.as_ref().is_none_or(|owner| *owner == entry.owner)
            && self.organization.as_ref().is_none_or(|of| entry.organization.as_ref() == Some(of))
            && self.chat.is_none_or(|chat| chat == entry.chat)
    }
}

impl Spent {
    /// Counts a row.
    pub fn add(&mut self, entry: &LedgerEntry, closing: Option<&LedgerClosing>) {
        let Charge { usage, cost } = closing.map_or(entry.estimate, |closing| closing.charge);
        self.requests += 1;
        self.open += u64::from(closing.is_none());
        self.estimated += u64::from(closing.is_some_and(|closing| closing.estimated));
        self.unpriced += u64::from(cost.is_none());
        self.cost = self.cost + cost.unwrap_or_default();
        let Tokens { input, output, reasoning, cache_read, cache_write } = &mut self.tokens;
        for (sum, count) in [
            (input, usage.input),
            (output, usage.output),
            (reasoning, usage.reasoning),
            (cache_read, usage.cache_read),
            (cache_write, usage.cache_write),
        ] {
            *sum = sum.saturating_add(count.unwrap_or(0));
        }
    }
}

impl StoreError {
    /// `Err` iff a row has a number over [`LEDGER_NUMBER_MAX`] or costs more than [`LEDGER_PICO_MAX`].
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`].
    pub fn check_ledger_entry(entry: &LedgerEntry) -> Result<(), Self> {
        let numbers = [entry.r#gen.map(Gen::get), entry.prices];
        if numbers.into_iter().flatten().any(|number| number > LEDGER_NUMBER_MAX) {
            return Err(Self::new(StoreErrorKind::Invalid, "a number of a row of the ledger is too large"));
        }
        Self::check_charge(&entry.estimate)
    }

    /// `Err` iff there are more tokens of a kind than [`LEDGER_NUMBER_MAX`] or they cost more than [`LEDGER_PICO_MAX`].
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`].
    pub fn check_charge(charge: &Charge) -> Result<(), Self> {
        let Usage { input, output, reasoning, cache_read, cache_write } = charge.usage;
        let mut counts = [input, output, reasoning, cache_read, cache_write].into_iter().flatten();
        if counts.any(|count| count > LEDGER_NUMBER_MAX) {
            return Err(Self::new(StoreErrorKind::Invalid, "more tokens than a row of the ledger takes"));
        }
        if charge.cost.is_some_and(|cost| cost.pico() > LEDGER_PICO_MAX) {
            return Err(Self::new(StoreErrorKind::Invalid, "a cost larger than a row of the ledger takes"));
        }
        Ok(())
    }
}
