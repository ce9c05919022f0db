//! N1, N4, N5: rows, their ids, and the list of the dead.

use chatwright_core::port::{BeginError, Session, SessionStore, StoreErrorKind};
use chatwright_core::{SessionId, Uuid, limits};
use tokio::task::JoinSet;

use super::fixture::{HOUR, Sessions};
use crate::Subject;
use crate::wait::all;

pub(super) async fn n1_sixty_four_sessions_do_not_depend_on_each_other(subject: &Subject<dyn SessionStore>) {
    const CLAUSE: &str = "session.N1";
    let sessions = subject.sessions(CLAUSE).await;
    let mut tasks = JoinSet::new();
    for n in 0..64 {
        let (sessions, id) = (sessions.clone(), subject.session());
        tasks.spawn(async move {
            let (ttl, address) = (HOUR * (n + 1), format!("ws://replica-{n}"));
            sessions.begin(id, HOUR, Some(&address)).await;
            let mut told = sessions.now().await;
            for _ in 0..3 {
                told = sessions.renew_live(id, ttl).await;
            }
            let ended = n % 2 == 1;
            if ended {
                sessions.end(id).await;
            }
            (id, address, told.after(ttl), ended)
        });
    }
    let written = all(tasks).await;
    for (id, address, expires_at, ended) in &written {
        let row = sessions.row(*id).await;
        assert_eq!(row.id, *id, "{CLAUSE}: the row of another session");
        assert_eq!(row.address.as_deref(), Some(&**address), "{CLAUSE}: the address of another session");
        assert_eq!(row.live, !ended, "{CLAUSE}: ended or not by another session");
        // The lives differ by hours, the reads of one call by less than one.
        let late = row.expires_at.since(*expires_at);
        assert!(
            *ended || row.expires_at >= *expires_at && late < HOUR,
            "{CLAUSE}: the expiry of another session"
        );
    }
    let ids: Vec<SessionId> = written.into_iter().map(|(id, ..)| id).collect();
    sessions.clear(&ids).await;
}

pub(super) async fn n1_an_address_comes_back_as_it_was_and_one_over_its_bound_leaves_nothing(
    subject: &Subject<dyn SessionStore>,
) {
    const CLAUSE: &str = "session.N1";
    let mut sessions = subject.sessions(CLAUSE).await;
    let largest = "ß".repeat(limits::ADDRESS_BYTES_MAX / 2);
    let mut written = Vec::new();
    for address in [None, Some(""), Some("wss://[::1]:8080/live?a=b&c='d\"%\\"), Some(&*largest)] {
        let id = subject.session();
        sessions.begin(id, HOUR, address).await;
        written.push((id, address));
    }
    sessions = subject.reconnect(sessions).await;
    for (id, address) in &written {
        sessions.renew_live(*id, HOUR * 2).await;
        assert_eq!(sessions.row(*id).await.address.as_deref(), *address, "{CLAUSE}: the address");
    }
    let id = subject.session();
    let refused = sessions.store.begin(id, HOUR, Some(&format!("{largest}x"))).await;
    let Err(BeginError::Store(error)) = refused else {
        panic!("{CLAUSE}: an address over its bound: {refused:?}")
    };
    assert_eq!(error.kind(), StoreErrorKind::Invalid, "{CLAUSE}: an address over its bound");
    assert_eq!(sessions.look(id).await, None, "{CLAUSE}: what was refused left a row");
    sessions.begin(id, HOUR, None).await;
    sessions.clear(&[id]).await;
    for (id, _) in written {
        sessions.clear(&[id]).await;
    }
}

pub(super) async fn n4_a_used_id_is_refused_whatever_became_of_it(subject: &Subject<dyn SessionStore>) {
    const CLAUSE: &str = "session.N4";
    let mut sessions = subject.sessions(CLAUSE).await;
    let [live, ended, expired, forgotten, forgotten_expired] = [(); 5].map(|()| subject.session());
    for id in [live, ended, forgotten] {
        sessions.begin(id, HOUR, Some("ws://first")).await;
    }
    for id in [expired, forgotten_expired] {
        sessions.begin_expired(id).await;
    }
    for id in [ended, forgotten] {
        sessions.end(id).await;
    }
    for id in [forgotten, forgotten_expired] {
        sessions.forget(id).await;
        assert_eq!(sessions.look(id).await, None, "{CLAUSE}: a forgotten session has a row");
    }
    for _ in 0..2 {
        for id in [live, ended, expired, forgotten, forgotten_expired] {
            let before = sessions.look(id).await;
            sessions.is_used(id).await;
            assert_eq!(sessions.look(id).await, before, "{CLAUSE}: a refused begin changed the row");
        }
        sessions = subject.reconnect(sessions).await;
    }
    assert!(sessions.row(live).await.live, "{CLAUSE}: a live session is dead");
    sessions.clear(&[live, ended, expired]).await;
}

pub(super) async fn n4_one_of_many_begins_of_an_id_wins(subject: &Subject<dyn SessionStore>) {
    const CLAUSE: &str = "session.N4";
    let sessions = subject.sessions(CLAUSE).await;
    for _ in 0..4 {
        let id = subject.session();
        let mut tasks = JoinSet::new();
        for n in 0..32 {
            let sessions = sessions.clone();
            tasks.spawn(async move {
                let address = format!("ws://replica-{n}");
                match sessions.store.begin(id, HOUR, Some(&address)).await {
                    Ok(_) => Some(address),
                    Err(BeginError::Used(_)) => None,
                    Err(error) => panic!("{CLAUSE}: losing a race is no other error: {error}"),
                }
            });
        }
        let won: Vec<String> = all(tasks).await.into_iter().flatten().collect();
        assert_eq!(won.len(), 1, "{CLAUSE}: {} begins of one id won", won.len());
        let address = sessions.row(id).await.address;
        assert_eq!(address.as_deref(), Some(&*won[0]), "{CLAUSE}: the winner's row is stored");
        sessions.clear(&[id]).await;
    }
}

pub(super) async fn n5_the_dead_stay_listed_until_they_are_forgotten(subject: &Subject<dyn SessionStore>) {
    const CLAUSE: &str = "session.N5";
    let mut sessions = subject.sessions(CLAUSE).await;
    let ids = subject.neighbours(12);
    let mut dead = Vec::new();
    for (n, &id) in ids.iter().enumerate() {
        match n % 3 {
            0 => sessions.begin_expired(id).await,
            n => {
                sessions.begin(id, HOUR, Some("ws://here")).await;
                if n == 1 {
                    sessions.end(id).await;
                }
            }
        }
        if n % 3 < 2 {
            dead.push(sessions.row(id).await);
        }
    }
    for _ in 0..2 {
        assert_eq!(listed(&sessions, &ids, 100).await, dead, "{CLAUSE}: the dead, and no other");
        sessions = subject.reconnect(sessions).await;
    }
    for &id in ids.iter().skip(6) {
        // A live one is left alone; the others go, and twice is fine.
        sessions.forget(id).await;
        sessions.forget(id).await;
    }
    dead.truncate(4);
    for _ in 0..2 {
        assert_eq!(listed(&sessions, &ids, 100).await, dead, "{CLAUSE}: the dead that are not forgotten");
        for &id in ids.iter().skip(2).step_by(3) {
            let row = sessions.look(id).await;
            assert!(row.is_some_and(|row| row.live), "{CLAUSE}: a live session was forgotten");
        }
        sessions = subject.reconnect(sessions).await;
    }
    sessions.clear(&ids).await;
    assert_eq!(listed(&sessions, &ids, 100).await, [], "{CLAUSE}: the forgotten are listed");
}

pub(super) async fn n5_the_dead_are_listed_in_ascending_pages_within_their_bounds(
    subject: &Subject<dyn SessionStore>,
) {
    const CLAUSE: &str = "session.N5";
    let sessions = subject.sessions(CLAUSE).await;
    let ids = subject.neighbours(9);
    // Not in their order.
    for &id in ids.iter().rev().step_by(2).chain(ids.iter().skip(1).step_by(2)) {
        sessions.begin(id, HOUR, None).await;
        sessions.end(id).await;
    }
    for limit in [1, 2, 4, 9, limits::PAGE_ITEMS_MAX] {
        let found: Vec<SessionId> = listed(&sessions, &ids, limit).await.iter().map(|row| row.id).collect();
        assert_eq!(found, ids, "{CLAUSE}: pages of {limit}");
    }
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = sessions.expired(after, limits::PAGE_ITEMS_MAX).await;
        let Some(last) = page.last() else { break };
        assert!(after.is_none_or(|after| after < last.id), "{CLAUSE}: a page goes back");
        after = Some(last.id);
        found.extend(page.into_iter().map(|row| row.id).filter(|id| ids.contains(id)));
    }
    assert_eq!(found, ids, "{CLAUSE}: the whole list");
    for limit in [0, limits::PAGE_ITEMS_MAX + 1] {
        let refused = sessions.store.expired(None, limit).await.map_err(|error| error.kind());
        assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: a page of {limit} is refused");
    }
    sessions.clear(&ids).await;
}

/// The dead among these neighbours, in pages of `limit`.
async fn listed(sessions: &Sessions, ids: &[SessionId], limit: usize) -> Vec<Session> {
    let clause = sessions.clause;
    let last = *ids.last().expect("there are neighbours");
    let mut after = SessionId::from_uuid(Uuid::from_u128(ids[0].as_uuid().as_u128() - 1));
    let mut found = Vec::new();
    loop {
        let page = sessions.expired(Some(after), limit).await;
        for row in &page {
            assert!(row.id > after, "{clause}: not ascending by id, or not after the page before");
            after = row.id;
        }
        let end = page.is_empty() || after >= last;
        found.extend(page.into_iter().filter(|row| ids.contains(&row.id)));
        if end {
            return found;
        }
    }
}
