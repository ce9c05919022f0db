//! Blobs in memory that can be broken in one place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::limits::BLOB_BYTES_MAX;
use chatwright_core::port::{Blobs, StoreError, StoreErrorKind};
use chatwright_core::{BlobRef, ChatId, Uuid};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    DropsNul,
    KeepsTextOnly,
    TrimsWhiteSpace,
    KeepsNothingOfNothing,
    CutsLongBlobs,
    RefusesTheLargest,
    OnePutLate,
    KeepsPerConnection,
    ForgetsOnReopening,
    LosesTheLastPutOnReopening,
    OneTableForAll,
    OpensWhatOthersHave,
    CutsChatIds,
    SharesWhatIsEqual,
    NewReferenceEachTime,
    ReferenceByLength,
    ReferenceByBeginning,
    ReferenceIgnoresCase,
    CountsOwners,
    DeletesNothing,
    DeletesTheFirst,
    DeletesAFewAtATime,
    CannotDeleteNothing,
    CannotPutAfterADeletion,
    RevivesOnReopening,
    DeletesEverything,
    DeletesEqualBytesElsewhere,
    NoBound,
    CutsTheRefused,
    KeepsTheRefused,
    ClearsOnRefusal,
    HalfWhenDropped,
    LockedWhenDropped,
    StrangeTextIsAnError,
    IgnoresCaseOfReferences,
    TakesReferencesForPatterns,
    BusyIsAbsent,
    RewritesWhileOthersRead,
}

type Rows = BTreeMap<(ChatId, BlobRef), Vec<u8>>;

#[derive(Default)]
pub(crate) struct Tables {
    rows: Rows,
    /// Before the last put.
    before: Rows,
    deleted: Rows,
    owners: BTreeMap<(ChatId, BlobRef), usize>,
    puts: u64,
}

pub(crate) struct BrokenBlobs {
    fault: Fault,
    tables: Arc<Mutex<Tables>>,
    own: Mutex<Rows>,
    gate: Semaphore,
}

impl BrokenBlobs {
    /// Another connection to these tables.
    pub(crate) fn connect(fault: Fault, tables: &Arc<Mutex<Tables>>) -> Self {
        let mut found = tables.lock();
        match fault {
            Fault::ForgetsOnReopening => *found = Tables::default(),
            Fault::LosesTheLastPutOnReopening => found.rows = found.before.clone(),
            Fault::RevivesOnReopening => {
                let deleted = std::mem::take(&mut found.deleted);
                found.rows.extend(deleted);
            }
            _ => {}
        }
        drop(found);
        Self { fault, tables: Arc::clone(tables), own: Mutex::default(), gate: Semaphore::new(1) }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Long enough for whoever drops a put early.
    async fn pause(&self) {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }

    /// Under which chat it is kept.
    fn scope(&self, chat: ChatId) -> ChatId {
        match self.fault {
            Fault::OneTableForAll => ChatId::from_uuid(Uuid::nil()),
            Fault::CutsChatIds => ChatId::from_uuid(Uuid::from_u128(chat.as_uuid().as_u128() >> 1 << 1)),
            _ => chat,
        }
    }

    fn reference(&self, chat: ChatId, bytes: &[u8], puts: u64) -> BlobRef {
        let nobody = ChatId::from_uuid(Uuid::nil());
        let text = |text: String| BlobRef::new(text).expect("a short text");
        match self.fault {
            Fault::NewReferenceEachTime => text(puts.to_string()),
            Fault::ReferenceByLength => text(bytes.len().to_string()),
            Fault::ReferenceByBeginning => BlobRef::of(chat, &bytes[..bytes.len().min(10_000)]),
            Fault::ReferenceIgnoresCase => BlobRef::of(chat, &bytes.to_ascii_lowercase()),
            Fault::OneTableForAll | Fault::CutsChatIds => BlobRef::of(nobody, bytes),
            Fault::DeletesEqualBytesElsewhere => BlobRef::of(nobody, bytes),
            _ => BlobRef::of(chat, bytes),
        }
    }

    fn kept(&self, bytes: &[u8]) -> Vec<u8> {
        match self.fault {
            Fault::DropsNul => bytes.iter().copied().filter(|byte| *byte != 0).collect(),
            Fault::KeepsTextOnly => String::from_utf8_lossy(bytes).into_owned().into(),
            Fault::TrimsWhiteSpace => bytes.trim_ascii().into(),
            Fault::CutsLongBlobs => bytes[..bytes.len().min(1 << 20)].into(),
            _ => bytes.into(),
        }
    }

    fn find(&self, tables: &Tables, chat: ChatId, blob: &BlobRef) -> Option<Vec<u8>> {
        let scope = self.scope(chat);
        let mut rows = match self.fault {
            Fault::OnePutLate => tables.before.iter(),
            _ => tables.rows.iter(),
        };
        let is_it = |(owner, other): &(ChatId, BlobRef)| match self.fault {
            Fault::OpensWhatOthersHave => other == blob,
            Fault::IgnoresCaseOfReferences => {
                *owner == scope && other.as_str().eq_ignore_ascii_case(blob.as_str())
            }
            Fault::TakesReferencesForPatterns => *owner == scope && (other == blob || blob.as_str() == "%"),
            _ => *owner == scope && other == blob,
        };
        rows.find(|(key, _)| is_it(key)).map(|(_, bytes)| bytes.clone())
    }
}

#[async_trait]
impl Blobs for BrokenBlobs {
    async fn put(&self, chat: ChatId, bytes: &[u8]) -> Result<BlobRef, StoreError> {
        let invalid = || StoreError::new(StoreErrorKind::Invalid, "too large");
        let max = if self.is(Fault::RefusesTheLargest) { BLOB_BYTES_MAX - 1 } else { BLOB_BYTES_MAX };
        let refused = bytes.len() > max && !self.is(Fault::NoBound);
        let bytes = if self.is(Fault::CutsTheRefused) && refused { &bytes[..max] } else { bytes };
        match self.fault {
            Fault::ClearsOnRefusal if refused => {
                self.tables.lock().rows.retain(|(owner, _), _| *owner != chat);
                return Err(invalid());
            }
            Fault::KeepsTheRefused | Fault::CutsTheRefused => {}
            _ if refused => return Err(invalid()),
            _ => {}
        }
        if self.is(Fault::LockedWhenDropped) {
            // The permit comes back only if the future is polled to its end.
            self.gate.acquire().await.expect("the gate is never closed").forget();
            self.pause().await;
            self.gate.add_permits(1);
        }
        let (key, half) = {
            let mut tables = self.tables.lock();
            tables.puts += 1;
            let key = (self.scope(chat), self.reference(chat, bytes, tables.puts));
            if self.is(Fault::CannotPutAfterADeletion) && tables.deleted.contains_key(&key) {
                return Ok(key.1);
            }
            if !tables.rows.contains_key(&key) {
                tables.before = tables.rows.clone();
            }
            *tables.owners.entry(key.clone()).or_default() += 1;
            let mut kept = self.kept(bytes);
            if self.is(Fault::KeepsPerConnection) {
                self.own.lock().insert(key.clone(), kept);
                return Ok(key.1);
            }
            if self.is(Fault::KeepsNothingOfNothing) && kept.is_empty() {
                return Ok(key.1);
            }
            if self.is(Fault::SharesWhatIsEqual) && tables.rows.values().any(|other| *other == kept) {
                // It is there already, if under another chat.
                return Ok(key.1);
            }
            let half = self.is(Fault::HalfWhenDropped) && !tables.rows.contains_key(&key);
            if half {
                kept.truncate(kept.len() / 2);
            }
            tables.rows.entry(key.clone()).or_insert(kept);
            (key, half)
        };
        if half {
            self.pause().await;
            self.tables.lock().rows.insert(key.clone(), bytes.into());
        }
        if self.is(Fault::RewritesWhileOthersRead) {
            let rows = std::mem::take(&mut self.tables.lock().rows);
            self.pause().await;
            self.tables.lock().rows.extend(rows);
        }
        match self.fault {
            Fault::KeepsTheRefused if refused => Err(invalid()),
            _ => Ok(key.1),
        }
    }

    async fn get(&self, chat: ChatId, blob: &BlobRef) -> Result<Option<Vec<u8>>, StoreError> {
        if self.is(Fault::StrangeTextIsAnError) && !blob.as_str().bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(StoreError::new(StoreErrorKind::Invalid, "no reference"));
        }
        if self.is(Fault::KeepsPerConnection) {
            return Ok(self.own.lock().get(&(chat, blob.clone())).cloned());
        }
        if self.is(Fault::BusyIsAbsent) {
            let Ok(_permit) = self.gate.try_acquire() else { return Ok(None) };
            self.pause().await;
            return Ok(self.find(&self.tables.lock(), chat, blob));
        }
        Ok(self.find(&self.tables.lock(), chat, blob))
    }

    async fn delete_chat(&self, chat: ChatId) -> Result<(), StoreError> {
        let mut tables = self.tables.lock();
        let scope = self.scope(chat);
        if self.is(Fault::KeepsPerConnection) {
            self.own.lock().retain(|(owner, _), _| *owner != scope);
            return Ok(());
        }
        let (mut of_chat, others): (Rows, Rows) =
            std::mem::take(&mut tables.rows).into_iter().partition(|((owner, _), _)| *owner == scope);
        tables.rows = others;
        tables.before.retain(|(owner, _), _| *owner != scope);
        if self.is(Fault::CannotDeleteNothing) && of_chat.is_empty() {
            return Err(StoreError::new(StoreErrorKind::Other, "no such chat"));
        }
        let kept: Rows = match self.fault {
            Fault::DeletesNothing => of_chat,
            Fault::DeletesTheFirst => of_chat.split_off(
                &of_chat
                    .keys()
                    .nth(1)
                    .cloned()
                    .unwrap_or((ChatId::from_uuid(Uuid::max()), BlobRef::new("").expect("a short text"))),
            ),
            Fault::DeletesAFewAtATime => of_chat.into_iter().skip(32).collect(),
            Fault::CountsOwners => {
                let owners = &mut tables.owners;
                of_chat
                    .into_iter()
                    .filter(|(key, _)| {
                        let left = owners.entry(key.clone()).or_default();
                        *left = left.saturating_sub(1);
                        *left > 0
                    })
                    .collect()
            }
            Fault::DeletesEverything => {
                tables.rows.clear();
                Rows::new()
            }
            Fault::DeletesEqualBytesElsewhere => {
                tables.rows.retain(|(_, blob), _| !of_chat.keys().any(|(_, gone)| gone == blob));
                Rows::new()
            }
            _ => {
                tables.deleted.extend(of_chat);
                Rows::new()
            }
        };
        tables.rows.extend(kept);
        Ok(())
    }
}
