//! N2, N3: the store's clock decides, and what is dead stays dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chatwright_core::Timestamp;
use chatwright_core::port::{Renewed, SessionStore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::fixture::HOUR;
use crate::Subject;
use crate::wait::{all, within};

pub(super) async fn n2_the_stores_clock_sets_every_expiry(subject: &Subject<dyn SessionStore>) {
    const CLAUSE: &str = "session.N2";
    let sessions = subject.sessions(CLAUSE).await;
    let id = subject.session();
    let check = async |before: Timestamp, told: Timestamp, ttl: Duration| {
        let after = sessions.now().await;
        assert!(before <= told && told <= after, "{CLAUSE}: told {told} between {before} and {after}");
        let row = sessions.row(id).await;
        // A holder counts its life from the time it was told: the row must not end before that.
        let (first, last) = (told.after(ttl), after.after(ttl));
        assert!(
            first <= row.expires_at && row.expires_at <= last,
            "{CLAUSE}: with a ttl of {ttl:?} it expires at {}, not from {first} to {last}",
            row.expires_at
        );
        assert!(row.live, "{CLAUSE}: a session with a ttl of {ttl:?} is dead at once");
    };
    let before = sessions.now().await;
    let told = sessions.begin(id, HOUR, None).await;
    check(before, told, HOUR).await;
    // From now, not from the old end; a shorter life is one too.
    for ttl in [HOUR, HOUR * 2, HOUR / 2] {
        let before = sessions.now().await;
        let told = sessions.renew_live(id, ttl).await;
        check(before, told, ttl).await;
    }
    sessions.clear(&[id]).await;
}

pub(super) async fn n2_a_session_dies_when_the_stores_clock_says_so(subject: &Subject<dyn SessionStore>) {
    const CLAUSE: &str = "session.N2";
    let sessions = subject.sessions(CLAUSE).await;
    for renewed in [false, true] {
        let (id, ttl) = (subject.session(), Duration::from_millis(40));
        sessions.begin(id, if renewed { HOUR } else { ttl }, None).await;
        if renewed {
            sessions.renew_live(id, ttl).await;
        }
        let dies = async {
            loop {
                let before = sessions.now().await;
                let row = sessions.row(id).await;
                let after = sessions.now().await;
                if !row.live {
                    assert!(row.expires_at <= after, "{CLAUSE}: dead at {after}, before {}", row.expires_at);
                    return;
                }
                assert!(before <= row.expires_at, "{CLAUSE}: alive at {before}, after {}", row.expires_at);
                sleep(Duration::from_millis(1)).await;
            }
        };
        within(CLAUSE, "a session does not die (does the store's clock run?)", dies).await;
        sessions.clear(&[id]).await;
    }
}

pub(super) async fn n2_the_stores_time_never_goes_backwards(subject: &Subject<dyn SessionStore>) {
    const CLAUSE: &str = "session.N2";
    let sessions = subject.sessions(CLAUSE).await;
    let latest = Arc::new(AtomicI64::new(i64::MIN));
    let mut readers = JoinSet::new();
    for n in 0..4 {
        let (sessions, latest) = (sessions.clone(), Arc::clone(&latest));
        let (renewed, begun) = (subject.session(), (0..8).map(|_| subject.session()).collect::<Vec<_>>());
        readers.spawn(async move {
            sessions.begin(renewed, HOUR, None).await;
            for round in 0..64 {
                let told_before = latest.load(Ordering::SeqCst);
                let told = match (round + n) % 8 {
                    0 => sessions.begin(begun[round / 8], HOUR, None).await,
                    1..4 => sessions.renew_live(renewed, HOUR).await,
                    _ => sessions.now().await,
                };
                let (told, back) = (told.as_millis(), Timestamp::from_millis(told_before));
                assert!(told >= told_before, "{CLAUSE}: the store's time goes back from {back} to {told} ms");
                latest.fetch_max(told, Ordering::SeqCst);
            }
            sessions.clear(&begun).await;
            sessions.clear(&[renewed]).await;
        });
    }
    all(readers).await;
}

pub(super) async fn n3_renewing_what_does_not_live_is_lost_and_changes_nothing(
    subject: &Subject<dyn SessionStore>,
) {
    const CLAUSE: &str = "session.N3";
    let sessions = subject.sessions(CLAUSE).await;
    let (unknown, ended, expired, forgotten) =
        (subject.session(), subject.session(), subject.session(), subject.session());
    for id in [ended, forgotten] {
        sessions.begin(id, HOUR, Some("ws://ended")).await;
        sessions.end(id).await;
    }
    sessions.forget(forgotten).await;
    sessions.begin_expired(expired).await;
    for (id, what) in [(unknown, "unknown"), (ended, "ended"), (expired, "expired"), (forgotten, "forgotten")]
    {
        let before = sessions.look(id).await;
        for _ in 0..2 {
            let renewed = sessions.renew(id, HOUR).await;
            assert_eq!(renewed, Renewed::Lost, "{CLAUSE}: an {what} session is renewed");
            assert_eq!(sessions.look(id).await, before, "{CLAUSE}: renewing an {what} session changed it");
        }
        assert!(before.is_none_or(|row| !row.live), "{CLAUSE}: an {what} session lives");
    }
    assert_eq!(sessions.look(unknown).await, None, "{CLAUSE}: renewing an unknown session created it");
    sessions.clear(&[ended, expired]).await;
}

pub(super) async fn n3_only_begin_creates(subject: &Subject<dyn SessionStore>) {
    const CLAUSE: &str = "session.N3";
    let sessions = subject.sessions(CLAUSE).await;
    let [renewed, ended, forgotten, seen] = [(); 4].map(|()| subject.session());
    assert_eq!(sessions.renew(renewed, HOUR).await, Renewed::Lost, "{CLAUSE}: an unknown session is renewed");
    sessions.end(ended).await;
    sessions.forget(forgotten).await;
    assert_eq!(sessions.look(seen).await, None, "{CLAUSE}: there is a row of an unknown session");
    for id in [renewed, ended, forgotten, seen] {
        assert_eq!(sessions.look(id).await, None, "{CLAUSE}: a row was made without begin");
        // A trace of any kind would be a used id.
        sessions.begin(id, HOUR, None).await;
        assert!(sessions.row(id).await.live, "{CLAUSE}: a session is dead from its begin on");
    }
    sessions.clear(&[renewed, ended, forgotten, seen]).await;
}

pub(super) async fn n3_a_renewal_that_races_an_end_revives_nothing(subject: &Subject<dyn SessionStore>) {
    const CLAUSE: &str = "session.N3";
    let sessions = subject.sessions(CLAUSE).await;
    for _ in 0..12 {
        let id = subject.session();
        sessions.begin(id, HOUR, None).await;
        let mut tasks = JoinSet::new();
        for n in 0..9 {
            let sessions = sessions.clone();
            tasks.spawn(async move {
                if n == 4 {
                    sessions.end(id).await;
                } else {
                    sessions.renew(id, HOUR).await;
                }
            });
        }
        all(tasks).await;
        assert!(
            !sessions.row(id).await.live,
            "{CLAUSE}: an ended session was revived by a renewal in flight"
        );
        assert_eq!(sessions.renew(id, HOUR).await, Renewed::Lost, "{CLAUSE}: an ended session is renewed");
        sessions.clear(&[id]).await;
    }
}
