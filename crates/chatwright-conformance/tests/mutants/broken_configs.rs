//! A store of the configuration in memory that can be broken in one place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::Json;
use chatwright_core::config::{ConfigKey, ConfigKind, ConfigRow};
use chatwright_core::limits::{CONFIG_BYTES_MAX, PAGE_ITEMS_MAX};
use chatwright_core::port::{ConfigStore, ConfigWrite, ConfigWriter, StoreError, StoreErrorKind};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    OneWriteLate,
    CachesPerConnection,
    ListsACopy,
    ShowsTheDeleted,
    GoesBackNowAndThen,
    WritesInTwoSteps,
    ForgetsOnReopening,
    LosesTheLastWriteOnReopening,
    RevivesTheDeletedOnReopening,
    RewritesJson,
    DropsNul,
    TrimsValues,
    NullIsNone,
    RewritesWhatReplaces,
    IgnoresCase,
    TrimsIds,
    CutsIds,
    CutsIdsAtNul,
    NormalizesIds,
    TakesIdsForPatterns,
    HasNoEmptyId,
    MixesKinds,
    ListsAllKinds,
    DeletesAllKinds,
    InTheOrderOfWriting,
    ByUtf16,
    ByLength,
    IgnoringCase,
    InclusiveAfter,
    SkipsBetweenPages,
    BeginsAfterTheEmptyId,
    EndsPagesEarly,
    NeedsTheRowOfAfter,
    PagesByNumber,
    AnyPage,
    WritesAlways,
    CreatesOverThePresent,
    CreatesUnderAnyVersion,
    WritesUnlessNewer,
    TakesTheVersionOfAnyKind,
    TakesHugeVersionsForNone,
    ConflictsWrite,
    ConflictsCount,
    TellsTheExpected,
    DeletesAlways,
    DeletesUnderAnyVersion,
    DeletingNothingConflicts,
    DeletingNothingMakesARow,
    DeletesToNull,
    ChecksThenWrites,
    LosingIsAnError,
    TellsWhatItReadBefore,
    HalfWhenDropped,
    LockedWhenDropped,
    RestartsAfterADeletion,
    OneMoreThanTheHighest,
    CountsAnewWhenOpened,
    BeginsAtZero,
    CountsOnlyCreations,
    NoBound,
    BoundsCharacters,
    KeepsTheRefused,
    RefusesTheLargest,
    CutsTheRefused,
    DeletesTheRefused,
}

type Rows = BTreeMap<(ConfigKind, Box<str>), ConfigRow>;

#[derive(Default)]
pub(crate) struct Tables {
    rows: Rows,
    /// Before the last change.
    before: Rows,
    version: u64,
}

pub(crate) struct BrokenConfigs {
    fault: Fault,
    tables: Arc<Mutex<Tables>>,
    cache: Mutex<BTreeMap<ConfigKey, Option<ConfigRow>>>,
    /// The last id that was listed, and how many there were with it.
    shown: Mutex<Option<(Box<str>, usize)>>,
    turn: AtomicU64,
    gate: Semaphore,
}

impl BrokenConfigs {
    /// Another connection to these tables.
    pub(crate) fn connect(fault: Fault, tables: &Arc<Mutex<Tables>>) -> Self {
        let mut found = tables.lock();
        match fault {
            Fault::ForgetsOnReopening => *found = Tables::default(),
            Fault::LosesTheLastWriteOnReopening => found.rows = found.before.clone(),
            Fault::RevivesTheDeletedOnReopening => {
                for (key, row) in found.before.clone() {
                    found.rows.entry(key).or_insert(row);
                }
            }
            Fault::CountsAnewWhenOpened => found.version = 0,
            _ => {}
        }
        drop(found);
        Self {
            fault,
            tables: Arc::clone(tables),
            cache: Mutex::default(),
            shown: Mutex::default(),
            turn: AtomicU64::new(0),
            gate: Semaphore::new(1),
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Under what a row is kept.
    fn place(&self, key: &ConfigKey) -> (ConfigKind, Box<str>) {
        let id = key.id();
        let id = match self.fault {
            Fault::IgnoresCase => id.to_lowercase().into(),
            Fault::TrimsIds => id.trim_end().into(),
            Fault::CutsIds => id.chars().take(60).collect(),
            Fault::CutsIdsAtNul => id.split('\0').next().unwrap_or_default().into(),
            Fault::NormalizesIds => id.replace("e\u{301}", "é").into(),
            _ => id.into(),
        };
        (if self.is(Fault::MixesKinds) { ConfigKind::Provider } else { key.kind() }, id)
    }

    fn find(&self, rows: &Rows, key: &ConfigKey) -> Option<ConfigRow> {
        let place = self.place(key);
        if self.is(Fault::HasNoEmptyId) && place.1.is_empty() {
            return None;
        }
        if self.is(Fault::TakesIdsForPatterns)
            && let Some(start) = place.1.strip_suffix('%')
        {
            let mut matching =
                rows.iter().filter(|((kind, id), _)| *kind == place.0 && id.starts_with(start));
            return matching.next().map(|(_, row)| ConfigRow { key: key.clone(), ..row.clone() });
        }
        rows.get(&place).map(|row| ConfigRow { key: key.clone(), ..row.clone() })
    }

    fn stored(&self, value: &Json, replaces: bool) -> Json {
        let rewrite = |value: &Json| match value.decode::<serde_json::Value>() {
            Ok(value) => value.to_string(),
            Err(_) => value.as_str().to_owned(),
        };
        let text = match self.fault {
            Fault::RewritesJson => rewrite(value),
            Fault::RewritesWhatReplaces if replaces => rewrite(value),
            Fault::DropsNul => value.as_str().replace("\\u0000", ""),
            Fault::TrimsValues => value.as_str().trim().to_owned(),
            Fault::CutsTheRefused if value.len() > CONFIG_BYTES_MAX => "\"cut\"".to_owned(),
            _ => return value.clone(),
        };
        Json::parse(text).expect("still JSON")
    }

    fn is_refused(&self, value: &Json) -> bool {
        match self.fault {
            Fault::NoBound | Fault::CutsTheRefused => false,
            Fault::BoundsCharacters => value.as_str().chars().count() > CONFIG_BYTES_MAX,
            Fault::RefusesTheLargest => value.len() >= CONFIG_BYTES_MAX,
            _ => value.len() > CONFIG_BYTES_MAX,
        }
    }

    fn matches(&self, rows: &Rows, key: &ConfigKey, expected: u64, deletes: bool) -> bool {
        let actual = self.find(rows, key).map_or(0, |row| row.version);
        let ignored = match self.fault {
            Fault::WritesAlways => !deletes,
            Fault::DeletesAlways => deletes && actual > 0,
            Fault::CreatesOverThePresent => expected == 0 && !deletes,
            Fault::CreatesUnderAnyVersion => actual == 0 && !deletes,
            Fault::DeletesUnderAnyVersion => actual == 0 && deletes,
            Fault::WritesUnlessNewer => expected > actual && actual > 0,
            Fault::TakesHugeVersionsForNone => expected > i64::MAX as u64 && actual == 0,
            Fault::TakesTheVersionOfAnyKind => {
                rows.iter().any(|((_, id), row)| **id == *key.id() && row.version == expected)
            }
            _ => false,
        };
        actual == expected || ignored
    }

    fn next_version(&self, tables: &mut Tables, actual: u64) -> u64 {
        let highest = tables.rows.values().map(|row| row.version).max().unwrap_or(0);
        match self.fault {
            Fault::RestartsAfterADeletion => actual + 1,
            Fault::OneMoreThanTheHighest => highest + 1,
            Fault::CountsOnlyCreations if actual > 0 => actual,
            Fault::BeginsAtZero => {
                tables.version += 1;
                tables.version - 1
            }
            _ => {
                tables.version += 1;
                tables.version
            }
        }
    }

    /// Writes whatever the condition was.
    fn put(&self, tables: &mut Tables, key: &ConfigKey, value: Option<&Json>) -> ConfigWrite {
        let actual = self.find(&tables.rows, key).map_or(0, |row| row.version);
        tables.before = tables.rows.clone();
        let null = Json::parse("null").expect("JSON");
        let value = match value {
            Some(value) if self.is(Fault::NullIsNone) && *value == null => None,
            None if self.is(Fault::DeletesToNull) && actual > 0 => Some(&null),
            None if self.is(Fault::DeletingNothingMakesARow) && actual == 0 => Some(&null),
            value => value,
        };
        let Some(value) = value else {
            if self.is(Fault::DeletesAllKinds) {
                tables.rows.retain(|(_, id), _| **id != *key.id());
            }
            tables.rows.remove(&self.place(key));
            return ConfigWrite::Absent;
        };
        let version = self.next_version(tables, actual);
        let row = ConfigRow { key: key.clone(), version, value: self.stored(value, actual > 0) };
        tables.rows.insert(self.place(key), row);
        ConfigWrite::Written(version)
    }

    /// The time between two steps that should have been one.
    async fn pause(&self) {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }

    /// What is read from.
    fn shown<'a>(&self, tables: &'a Tables, lists: bool) -> &'a Rows {
        let back = self.is(Fault::GoesBackNowAndThen) && self.turn.fetch_add(1, Ordering::Relaxed) % 4 == 3;
        match self.fault {
            Fault::OneWriteLate => &tables.before,
            Fault::ListsACopy if lists => &tables.before,
            _ if back && !lists => &tables.before,
            _ => &tables.rows,
        }
    }
}

fn invalid() -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, "over its bound")
}

#[async_trait]
impl ConfigStore for BrokenConfigs {
    async fn config(&self, key: &ConfigKey) -> Result<Option<ConfigRow>, StoreError> {
        let tables = self.tables.lock();
        let row = self.find(self.shown(&tables, false), key);
        if self.is(Fault::CachesPerConnection) {
            return Ok(self.cache.lock().entry(key.clone()).or_insert(row).clone());
        }
        if self.is(Fault::ShowsTheDeleted) && row.is_none() {
            return Ok(self.find(&tables.before, key));
        }
        Ok(row)
    }

    async fn configs(
        &self,
        kind: ConfigKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ConfigRow>, StoreError> {
        if !(1..=PAGE_ITEMS_MAX).contains(&limit) && !self.is(Fault::AnyPage) {
            return Err(invalid());
        }
        let tables = self.tables.lock();
        let rows = self.shown(&tables, true).values();
        let mut page: Vec<ConfigRow> =
            rows.filter(|row| row.key.kind() == kind || self.is(Fault::ListsAllKinds)).cloned().collect();
        page.sort_by(|a, b| a.key.id().cmp(b.key.id()));
        if self.is(Fault::PagesByNumber) {
            let mut shown = self.shown.lock();
            let from = match (&*shown, after) {
                (Some((last, number)), Some(after)) if **last == *after => *number,
                _ => page.iter().filter(|row| after.is_some_and(|after| row.key.id() <= after)).count(),
            };
            let page: Vec<ConfigRow> = page.into_iter().skip(from).take(limit).collect();
            *shown = page.last().map(|row| (row.key.id().into(), from + page.len()));
            return Ok(page);
        }
        if self.is(Fault::NeedsTheRowOfAfter) && after.is_some_and(|after| !after.is_empty()) {
            let known = page.iter().any(|row| Some(row.key.id()) == after);
            // A walk begins somewhere: with the first 36 bytes of an id.
            if !known && after.is_some_and(|after| after.len() > 36) {
                return Ok(Vec::new());
            }
        }
        page.retain(|row| match after {
            Some(after) if self.is(Fault::InclusiveAfter) => row.key.id() >= after,
            Some(after) => row.key.id() > after,
            None => !self.is(Fault::BeginsAfterTheEmptyId) || !row.key.id().is_empty(),
        });
        match self.fault {
            Fault::InTheOrderOfWriting => page.sort_by_key(|row| row.version),
            Fault::ByUtf16 => page.sort_by_key(|row| row.key.id().encode_utf16().collect::<Vec<_>>()),
            Fault::ByLength => page.sort_by_key(|row| row.key.id().chars().count()),
            Fault::IgnoringCase => page.sort_by_key(|row| row.key.id().to_lowercase()),
            Fault::SkipsBetweenPages if page.len() > limit && limit > 1 => drop(page.remove(limit - 1)),
            Fault::EndsPagesEarly if limit > 2 => page.truncate(limit - 1),
            _ => {}
        }
        page.truncate(limit);
        Ok(page)
    }
}

#[async_trait]
impl ConfigWriter for BrokenConfigs {
    async fn write_config(
        &self,
        key: &ConfigKey,
        expected: u64,
        value: Option<&Json>,
    ) -> Result<ConfigWrite, StoreError> {
        self.cache.lock().remove(key);
        let refused = value.is_some_and(|value| self.is_refused(value));
        if refused && !matches!(self.fault, Fault::KeepsTheRefused | Fault::DeletesTheRefused) {
            return Err(invalid());
        }
        let mut told_before = None;
        match self.fault {
            Fault::LockedWhenDropped => {
                // The permit comes back only if the future is polled to its end.
                self.gate.acquire().await.expect("the gate is never closed").forget();
                self.pause().await;
                self.gate.add_permits(1);
            }
            Fault::ChecksThenWrites => {
                let matches = self.matches(&self.tables.lock().rows, key, expected, value.is_none());
                self.pause().await;
                if matches {
                    return Ok(self.put(&mut self.tables.lock(), key, value));
                }
            }
            Fault::TellsWhatItReadBefore => {
                let version = self.find(&self.tables.lock().rows, key).map_or(0, |row| row.version);
                told_before = Some(version);
                self.pause().await;
            }
            _ => {}
        }
        let answer = {
            let mut tables = self.tables.lock();
            let actual = self.find(&tables.rows, key).map_or(0, |row| row.version);
            if !self.matches(&tables.rows, key, expected, value.is_none()) {
                match self.fault {
                    Fault::ConflictsWrite => drop(self.put(&mut tables, key, value)),
                    Fault::ConflictsCount if actual > 0 => {
                        tables.version += 1;
                        let version = tables.version;
                        tables.rows.entry(self.place(key)).and_modify(|row| row.version = version);
                    }
                    Fault::LosingIsAnError => {
                        return Err(StoreError::new(StoreErrorKind::Other, "could not serialize access"));
                    }
                    Fault::TellsTheExpected => return Ok(ConfigWrite::Conflict(expected)),
                    _ => {}
                }
                return Ok(ConfigWrite::Conflict(told_before.unwrap_or(actual)));
            }
            if self.is(Fault::DeletingNothingConflicts) && value.is_none() && actual == 0 {
                return Ok(ConfigWrite::Conflict(0));
            }
            let old = tables.rows.get(&self.place(key)).cloned();
            let value = value.filter(|_| !refused || !self.is(Fault::DeletesTheRefused));
            let answer = self.put(&mut tables, key, value);
            if refused {
                return Err(invalid());
            }
            if let (Fault::WritesInTwoSteps, Some(old)) = (self.fault, &old) {
                tables.rows.entry(self.place(key)).and_modify(|row| row.value = old.value.clone());
            }
            if self.is(Fault::HalfWhenDropped) && old.is_some() {
                tables.rows.remove(&self.place(key));
            }
            answer
        };
        if matches!(self.fault, Fault::WritesInTwoSteps | Fault::HalfWhenDropped)
            && let (ConfigWrite::Written(version), Some(value)) = (answer, value)
        {
            self.pause().await;
            let row = ConfigRow { key: key.clone(), version, value: value.clone() };
            self.tables.lock().rows.insert(self.place(key), row);
        }
        Ok(answer)
    }
}
