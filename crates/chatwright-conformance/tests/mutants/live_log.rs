//! Live logs that are broken in one place: the one in memory, with a fault in the way.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chatwright_conformance::live_log::CLAUSES;
use chatwright_core::live::{Piece, PieceBody};
use chatwright_core::port::{LiveError, LiveLog, LiveRead, LiveWakes};
use chatwright_core::{ChatId, Epoch, Gen, Timestamp, Uuid};
use chatwright_memory::{ManualClock, MemoryLiveLog};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::caught::{Mutant, all_are_caught_at_once};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    RewritesWhatWasRead,
    BeginsPagesEarly,
    SkipsBetweenPages,
    EmptyPages,
    NoBoundary,
    IgnoresMax,
    OneLogForAllGens,
    OneLogForAllChats,
    UnknownIsEmpty,
    SealedAtOnce,
    SealedIsUnknown,
    TheLastSealCounts,
    ReopensSealed,
    ShowsDrafts,
    SealsInSilence,
    LosesWakesBetweenPolls,
    OpensInSilence,
    RefusesOverlaps,
    AppendsOverlapsAgain,
    DoesNotCompare,
    ClosesHoles,
    TakesPiecesOneByOne,
    TrustsThePieces,
    TellsNoHead,
    OpensByAppending,
    AppendsBehindTheSeal,
    NeverFences,
    FencesOpenAlone,
    SealRaisesNothing,
    KeepsWhatALowerEpochLeft,
    NeverSaysCapped,
    TheCapIsNotForGood,
    HidesTheCap,
    ItemsAreFree,
}

struct Broken {
    fault: Fault,
    inner: MemoryLiveLog,
    seen: Mutex<HashMap<ChatId, Epoch>>,
    sealed: AtomicBool,
    drafts: AtomicBool,
    changed: Arc<Notify>,
}

impl Broken {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn place(&self, chat: ChatId, r#gen: Gen) -> (ChatId, Gen) {
        match self.fault {
            Fault::OneLogForAllGens => (chat, Gen::new(1)),
            Fault::OneLogForAllChats => (ChatId::from_uuid(Uuid::nil()), r#gen),
            _ => (chat, r#gen),
        }
    }

    /// The epoch that the log in memory is told.
    fn epoch(&self, chat: ChatId, epoch: Epoch, opens: bool) -> Result<Epoch, LiveError> {
        let mut all = self.seen.lock();
        let seen = all.entry(chat).or_default();
        match self.fault {
            Fault::NeverFences => Ok(Epoch::new(9)),
            Fault::FencesOpenAlone if !opens => Ok(epoch.max(*seen)),
            Fault::KeepsWhatALowerEpochLeft if epoch < *seen => Err(LiveError::Fenced { seen: *seen }),
            Fault::KeepsWhatALowerEpochLeft => {
                *seen = epoch;
                Ok(Epoch::new(1))
            }
            _ => {
                *seen = epoch.max(*seen);
                Ok(epoch)
            }
        }
    }

    async fn head(&self, chat: ChatId, r#gen: Gen) -> u64 {
        match self.inner.read(chat, r#gen, 1 << 50, 1).await {
            Ok(LiveRead::Pieces { head, .. }) => head,
            Ok(LiveRead::Sealed { at }) => at,
            _ => 0,
        }
    }
}

#[async_trait]
impl LiveLog for Broken {
    async fn open(&self, chat: ChatId, epoch: Epoch, r#gen: Gen) -> Result<(), LiveError> {
        let epoch = self.epoch(chat, epoch, true)?;
        let (chat, r#gen) = self.place(chat, r#gen);
        let opened = self.inner.open(chat, epoch, r#gen).await;
        if !self.is(Fault::OpensInSilence) {
            self.changed.notify_waiters();
        }
        if matches!(opened, Err(LiveError::Sealed { .. })) && self.is(Fault::ReopensSealed) {
            Ok(())
        } else {
            opened
        }
    }

    async fn append(
        &self,
        chat: ChatId,
        epoch: Epoch,
        r#gen: Gen,
        from: u64,
        pieces: &[Piece],
    ) -> Result<u64, LiveError> {
        let epoch = self.epoch(chat, epoch, false)?;
        let (chat, r#gen) = self.place(chat, r#gen);
        let head = self.head(chat, r#gen).await;
        let mut pieces = pieces.to_vec();
        let mut from = from;
        let at = |pieces: &mut Vec<Piece>, mut next: u64| {
            for piece in pieces {
                piece.from = next;
                next = piece.to();
            }
        };
        let sealed = self.sealed.load(Ordering::Relaxed);
        match self.fault {
            Fault::RefusesOverlaps if from < head => return Err(LiveError::Diverged { head }),
            Fault::AppendsOverlapsAgain if from < head => {
                at(&mut pieces, head);
                from = head;
            }
            Fault::DoesNotCompare if from < head => {
                pieces = pieces
                    .iter()
                    .filter_map(|piece| piece.tail(head))
                    .filter(|piece| piece.to() > head)
                    .collect();
                from = head;
            }
            Fault::ClosesHoles if from > head => {
                at(&mut pieces, head);
                from = head;
            }
            Fault::TrustsThePieces => from = pieces.first().map_or(from, |piece| piece.from),
            Fault::OpensByAppending => self.inner.open(chat, epoch, r#gen).await?,
            Fault::AppendsBehindTheSeal if sealed => {
                return Ok(head + pieces.iter().map(Piece::units).sum::<u64>());
            }
            Fault::ItemsAreFree => {
                for piece in &mut pieces {
                    if matches!(piece.body, PieceBody::Item { .. }) {
                        piece.body = PieceBody::Close;
                    }
                }
            }
            Fault::TheCapIsNotForGood => {
                let bytes: u64 = pieces.iter().map(Piece::units).sum();
                if head + bytes > 900_000 {
                    return Err(LiveError::Capped { head });
                }
            }
            _ => {}
        }
        let told = if self.is(Fault::TakesPiecesOneByOne) {
            let mut told = Ok(head);
            for piece in &pieces {
                told = self.inner.append(chat, epoch, r#gen, piece.from, std::slice::from_ref(piece)).await;
                if told.is_err() {
                    break;
                }
            }
            told
        } else {
            self.inner.append(chat, epoch, r#gen, from, &pieces).await
        };
        self.changed.notify_waiters();
        if self.is(Fault::ShowsDrafts) {
            self.drafts.store(true, Ordering::Relaxed);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            self.drafts.store(false, Ordering::Relaxed);
        }
        match told {
            Err(LiveError::Diverged { .. }) if self.is(Fault::TellsNoHead) => {
                Err(LiveError::Diverged { head: 0 })
            }
            Err(LiveError::Capped { .. }) if self.is(Fault::NeverSaysCapped) => {
                Ok(pieces.last().map_or(head, Piece::to))
            }
            Err(LiveError::Diverged { .. }) if self.is(Fault::NeverSaysCapped) && head > 100_000 => {
                Ok(pieces.last().map_or(head, Piece::to))
            }
            told => told,
        }
    }

    async fn read(&self, chat: ChatId, r#gen: Gen, from: u64, max: usize) -> Result<LiveRead, LiveError> {
        let (chat, r#gen) = self.place(chat, r#gen);
        let sealed = self.sealed.load(Ordering::Relaxed);
        let max = if self.is(Fault::IgnoresMax) { 1 << 30 } else { max };
        let mut read = self.inner.read(chat, r#gen, from, max).await;
        if self.is(Fault::NoBoundary) && read.is_err() {
            read = self.inner.read(chat, r#gen, from + 1, max).await;
        }
        if self.is(Fault::BeginsPagesEarly) && from > 0 && max < 4 {
            read = self.inner.read(chat, r#gen, from - 1, max).await;
        }
        let mut read = read?;
        match &mut read {
            LiveRead::Unknown if self.is(Fault::UnknownIsEmpty) => {
                read = LiveRead::Pieces { pieces: Vec::new(), head: 0, capped: false };
            }
            LiveRead::Pieces { .. } if sealed && self.is(Fault::SealedAtOnce) => {
                read = LiveRead::Sealed { at: self.head(chat, r#gen).await };
            }
            LiveRead::Pieces { .. } | LiveRead::Sealed { .. }
                if sealed && self.is(Fault::SealedIsUnknown) =>
            {
                read = LiveRead::Unknown;
            }
            LiveRead::Sealed { at } if self.is(Fault::TheLastSealCounts) => *at += 9,
            LiveRead::Pieces { pieces, head, capped } => match self.fault {
                Fault::RewritesWhatWasRead | Fault::ShowsDrafts
                    if self.is(Fault::ShowsDrafts) && self.drafts.load(Ordering::Relaxed)
                        || self.is(Fault::RewritesWhatWasRead) && *head > 20 =>
                {
                    for piece in pieces {
                        if let PieceBody::Append { text } = &mut piece.body {
                            text.make_ascii_uppercase();
                        }
                    }
                }
                Fault::SkipsBetweenPages if pieces.len() > 1 => drop(pieces.remove(0)),
                Fault::EmptyPages if max == 0 => pieces.clear(),
                Fault::HidesTheCap => *capped = false,
                Fault::TheCapIsNotForGood => *capped = *head > 800_000,
                _ => {}
            },
            _ => {}
        }
        Ok(read)
    }

    async fn seal(&self, chat: ChatId, epoch: Epoch, r#gen: Gen, at: u64) -> Result<(), LiveError> {
        let mut epoch = self.epoch(chat, epoch, false)?;
        if self.is(Fault::SealRaisesNothing) {
            epoch = Epoch::new(3);
        }
        let (chat, r#gen) = self.place(chat, r#gen);
        self.inner.seal(chat, epoch, r#gen, at).await?;
        self.sealed.store(true, Ordering::Relaxed);
        if !self.is(Fault::SealsInSilence) {
            self.changed.notify_waiters();
        }
        Ok(())
    }

    fn changed(&self, chat: ChatId) -> LiveWakes {
        match self.fault {
            Fault::LosesWakesBetweenPolls => {
                let changed = Arc::clone(&self.changed);
                let wake = |changed: Arc<Notify>| async move {
                    changed.notified().await;
                    Some(((), changed))
                };
                stream::unfold(changed, wake).boxed()
            }
            Fault::SealsInSilence | Fault::OpensInSilence => {
                // It listens from now on: only what is silent is lost.
                let changed = Arc::clone(&self.changed);
                let mut first = Box::pin(Arc::clone(&changed).notified_owned());
                first.as_mut().enable();
                stream::unfold((changed, first), |(changed, first)| async move {
                    first.await;
                    let mut next = Box::pin(Arc::clone(&changed).notified_owned());
                    next.as_mut().enable();
                    Some(((), (changed, next)))
                })
                .boxed()
            }
            _ => self.inner.changed(self.place(chat, Gen::ZERO).0),
        }
    }
}

fn broken(fault: Fault) -> Mutant<dyn LiveLog> {
    Box::new(move || {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let (inner, seen) = (MemoryLiveLog::new(clock), Mutex::default());
        Arc::new(Broken {
            fault,
            inner,
            seen,
            sealed: AtomicBool::new(false),
            drafts: AtomicBool::new(false),
            changed: Arc::default(),
        })
    })
}

const UNITS: &str = "l1_a_unit_once_readable_never_changes";
const PAGES: &str = "l1_pages_of_any_size_from_any_unit_say_the_same";
const ABOUT: &str = "l1_a_page_is_about_as_large_as_asked";
const MIX: &str = "l1_chats_and_gens_do_not_mix";
const SEALED: &str = "l1_a_sealed_gen_stays_readable_and_ends_where_it_was_sealed";
const FOLLOW: &str = "l1_a_reader_beside_the_writer_follows_to_the_seal";
const WAKE: &str = "l1_a_wake_up_is_never_lost";
const REPEAT: &str = "l2_what_was_appended_may_be_repeated_in_other_pieces";
const DIVERGED: &str = "l2_what_does_not_continue_the_log_diverges_and_changes_nothing";
const CLOSED: &str = "l2_a_gen_that_is_not_open_takes_nothing";
const FENCED: &str = "l3_an_older_epoch_is_refused_and_changes_nothing";
const ANEW: &str = "l3_opening_under_a_higher_epoch_begins_the_gen_anew";
const CAP: &str = "l4_past_the_cap_a_gen_takes_no_more_for_good";
const COUNTS: &str = "l4_whatever_is_not_text_counts_too";

#[test]
fn every_broken_live_log_is_caught_by_the_clause_that_it_breaks() {
    let mutants = [
        (UNITS, "rewrites what was read", Fault::RewritesWhatWasRead),
        (PAGES, "begins pages a unit early", Fault::BeginsPagesEarly),
        (PAGES, "skips a piece between pages", Fault::SkipsBetweenPages),
        (PAGES, "gives empty pages", Fault::EmptyPages),
        (PAGES, "reads on from inside a character", Fault::NoBoundary),
        (ABOUT, "gives pages of any size", Fault::IgnoresMax),
        (MIX, "has one log for all gens", Fault::OneLogForAllGens),
        (MIX, "has one log for all chats", Fault::OneLogForAllChats),
        (SEALED, "takes an unknown gen for an empty one", Fault::UnknownIsEmpty),
        (SEALED, "shows nothing of a sealed gen", Fault::SealedAtOnce),
        (SEALED, "forgets a gen with its seal", Fault::SealedIsUnknown),
        (SEALED, "lets the last seal count", Fault::TheLastSealCounts),
        (SEALED, "opens a sealed gen again", Fault::ReopensSealed),
        (FOLLOW, "shows drafts while it appends", Fault::ShowsDrafts),
        (WAKE, "loses wake-ups between polls", Fault::LosesWakesBetweenPolls),
        (WAKE, "seals in silence", Fault::SealsInSilence),
        (WAKE, "opens in silence", Fault::OpensInSilence),
        (REPEAT, "refuses overlaps", Fault::RefusesOverlaps),
        (REPEAT, "appends overlaps again", Fault::AppendsOverlapsAgain),
        (DIVERGED, "does not compare overlaps", Fault::DoesNotCompare),
        (DIVERGED, "closes holes", Fault::ClosesHoles),
        (DIVERGED, "takes pieces one by one", Fault::TakesPiecesOneByOne),
        (DIVERGED, "trusts the pieces for where they begin", Fault::TrustsThePieces),
        (DIVERGED, "tells no head", Fault::TellsNoHead),
        (CLOSED, "opens a gen by appending", Fault::OpensByAppending),
        (CLOSED, "appends behind the seal", Fault::AppendsBehindTheSeal),
        (FENCED, "never fences", Fault::NeverFences),
        (FENCED, "fences opens alone", Fault::FencesOpenAlone),
        (FENCED, "does not see the epoch of a seal", Fault::SealRaisesNothing),
        (ANEW, "keeps what a lower epoch left", Fault::KeepsWhatALowerEpochLeft),
        (CAP, "never says that it is capped", Fault::NeverSaysCapped),
        (CAP, "takes small pieces after the cap", Fault::TheCapIsNotForGood),
        (CAP, "hides the cap from readers", Fault::HidesTheCap),
        (COUNTS, "does not count items", Fault::ItemsAreFree),
    ];
    all_are_caught_at_once(
        CLAUSES,
        mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into(),
    );
}
