//! S11–S13: who is due, who is held, and how far chats are.

use chatwright_core::port::{ChatStore, Due, DueAfter, StoreErrorKind};
use chatwright_core::{ChatId, Commit, OrganizationId, Revision, Seq, SessionId, Timestamp, UserId, limits};

use chatwright_core::head::Index;

use super::fixture::{accept, draft};
use crate::Subject;

/// The entries of these chats, from pages of `limit`; others on a shared database are walked past.
async fn due_of(store: &dyn ChatStore, chats: &[ChatId], limit: usize, clause: &str) -> Vec<Due> {
    let mut found = Vec::new();
    let mut after: Option<DueAfter> = None;
    loop {
        let page = store.due(after, limit).await.expect("the store answers");
        for entry in &page {
            let place = (entry.wake_at, entry.chat);
            assert!(after.is_none_or(|after| place > after), "{clause}: not ascending by (wake_at, chat)");
            after = Some(place);
        }
        let end = page.is_empty();
        found.extend(page.into_iter().filter(|entry| chats.contains(&entry.chat)));
        if end {
            return found;
        }
    }
}

pub(super) async fn s11_due_lists_what_is_past_in_order_and_in_pages(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S11";
    let store = subject.connect().await;
    let holder = SessionId::mint(&subject.ids);
    let organization = OrganizationId::new("kit").expect("a short id");
    let mut expected = Vec::new();
    let mut chats = Vec::new();
    // Several at one time: a page may end between two of them.
    for n in 0..12 {
        let wake_at = Timestamp::from_millis(1_000 + (n % 3));
        let (chat, holder) = (subject.chat(), (n % 2 == 0).then_some(holder));
        let mut index = Index::new(UserId::new(format!("owner {n}")).expect("a short id"), wake_at);
        index.organization = (n % 4 == 0).then(|| organization.clone());
        let due = Due {
            chat,
            wake_at,
            holder,
            owner: index.owner.clone(),
            organization: index.organization.clone(),
        };
        let state = chatwright_core::Json::parse("{}").expect("valid JSON");
        let head = chatwright_core::HeadDraft::from_json(index, state).expect("a small head");
        let commit = subject.commit_with(chat, None, 1, |_| head.wake_at(Some(wake_at)).holder(holder));
        accept(&*store, &commit, CLAUSE).await;
        expected.push(due);
        chats.push(chat);
    }
    let resting = subject.chat();
    accept(&*store, &subject.commit(resting, None, 1), CLAUSE).await;
    let later = subject.chat();
    let in_a_century = Timestamp::from_millis(4_900_000_000_000);
    accept(&*store, &subject.commit_with(later, None, 1, |head| head.wake_at(Some(in_a_century))), CLAUSE)
        .await;
    chats.extend([resting, later]);

    expected.sort_by_key(|due| (due.wake_at, due.chat));
    for limit in [1, 2, 5, limits::PAGE_ITEMS_MAX] {
        let found = due_of(&*store, &chats, limit, CLAUSE).await;
        assert_eq!(found, expected, "{CLAUSE}: pages of {limit}");
    }
}

pub(super) async fn s11_due_follows_the_head(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S11";
    let store = subject.connect().await;
    let chat = subject.chat();
    let mut last: Option<Commit> = None;
    for wake_at in [Some(5), Some(3), None, Some(9), None] {
        let wake_at = wake_at.map(Timestamp::from_millis);
        let commit =
            subject.commit_with(chat, last.as_ref().map(Commit::head), 1, |head| head.wake_at(wake_at));
        accept(&*store, &commit, CLAUSE).await;
        last = Some(commit);
        let found = due_of(&*store, &[chat], limits::PAGE_ITEMS_MAX, CLAUSE).await;
        let times: Vec<_> = found.iter().map(|due| due.wake_at).collect();
        if let Some(wake_at) = wake_at {
            assert!(times.contains(&wake_at), "{CLAUSE}: a due chat is lost after its time moved");
        }
    }
    let page = store.due(None, 0).await.map_err(|error| error.kind());
    assert_eq!(page, Err(StoreErrorKind::Invalid), "{CLAUSE}: a page of none is refused");
}

async fn held_of(store: &dyn ChatStore, session: SessionId, limit: usize) -> Vec<ChatId> {
    let mut held: Vec<ChatId> = Vec::new();
    loop {
        let page = store.held(session, held.last().copied(), limit).await.expect("the store answers");
        if page.is_empty() {
            return held;
        }
        assert!(held.last().is_none_or(|last| page[0] > *last), "store.S12: a page begins before its place");
        held.extend(page);
    }
}

pub(super) async fn s12_held_lists_every_chat_of_the_session_in_pages(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S12";
    let store = subject.connect().await;
    let (mine, other) = (SessionId::mint(&subject.ids), SessionId::mint(&subject.ids));
    let mut expected = Vec::new();
    for n in 0..15 {
        let (chat, holder) = (subject.chat(), if n % 3 == 2 { other } else { mine });
        // A holder counts whether the chat is due or not.
        let wake_at = (n % 2 == 0).then(|| Timestamp::from_millis(4_900_000_000_000));
        let commit = subject.commit_with(chat, None, 1, |head| head.holder(Some(holder)).wake_at(wake_at));
        accept(&*store, &commit, CLAUSE).await;
        if holder == mine {
            expected.push(chat);
        }
    }
    expected.sort_unstable();
    for limit in [1, 3, 10, limits::PAGE_ITEMS_MAX] {
        assert_eq!(held_of(&*store, mine, limit).await, expected, "{CLAUSE}: pages of {limit}");
    }
    let nobody = held_of(&*store, SessionId::mint(&subject.ids), 10).await;
    assert_eq!(nobody, [], "{CLAUSE}: a session without chats");
}

pub(super) async fn s12_held_follows_the_head(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S12";
    let store = subject.connect().await;
    let (first, second) = (SessionId::mint(&subject.ids), SessionId::mint(&subject.ids));
    let chat = subject.chat();
    let mut last: Option<Commit> = None;
    for holder in [Some(first), Some(second), None, Some(first)] {
        let commit =
            subject.commit_with(chat, last.as_ref().map(Commit::head), 1, |_| draft().holder(holder));
        accept(&*store, &commit, CLAUSE).await;
        last = Some(commit);
        for session in [first, second] {
            let expected: &[ChatId] = if holder == Some(session) { &[chat] } else { &[] };
            assert_eq!(held_of(&*store, session, 10).await, expected, "{CLAUSE}: the holder moved");
        }
    }
}

pub(super) async fn s13_revisions_answer_in_order_for_a_thousand_chats(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S13";
    let store = subject.connect().await;
    let (once, twice, never) = (subject.chat(), subject.chat(), subject.chat());
    accept(&*store, &subject.commit(once, None, 1), CLAUSE).await;
    let first = subject.commit(twice, None, 1);
    accept(&*store, &first, CLAUSE).await;
    accept(&*store, &subject.commit(twice, Some(first.head()), 4), CLAUSE).await;
    let (one, two) = (Some(Revision::new(1)), Some(Revision::new(2)));

    let found = store.revisions(&[twice, never, once, twice]).await.expect("the store answers");
    assert_eq!(found, [two, None, one, two], "{CLAUSE}: answers stand in the order of the question");
    let mut many: Vec<ChatId> = (0..limits::REVISIONS_MAX).map(|_| subject.chat()).collect();
    let mut expected = vec![None; many.len()];
    (many[0], many[999], expected[0], expected[999]) = (once, twice, one, two);
    let found = store.revisions(&many).await.expect("store.S13: a thousand chats are allowed");
    assert_eq!(found, expected, "{CLAUSE}: a thousand chats");
    assert_eq!(
        store.revisions(&[]).await.expect("store.S13: no chats are allowed"),
        [],
        "{CLAUSE}: no chats"
    );
    many.push(never);
    let refused = store.revisions(&many).await.map_err(|error| error.kind());
    assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: more than a thousand are refused");
    let page = store.records(once, Seq::ZERO, limits::PAGE_ITEMS_MAX + 1).await.map_err(|error| error.kind());
    assert_eq!(page, Err(StoreErrorKind::Invalid), "{CLAUSE}: a page over its bound is refused");
}
