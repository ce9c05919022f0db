//! C3: the walk over the pages.

use chatwright_core::head::Index;
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::{DirectoryFilter, DirectoryPage, Listed, StoreErrorKind};

use super::DirectoryStore;
use super::fixture::{at, list, sorted};
use crate::Subject;

pub(super) async fn c3_pages_of_any_size_descend_by_time_and_id(subject: &Subject<dyn DirectoryStore>) {
    const CLAUSE: &str = "directory.C3";
    let store = subject.connect().await;
    let owner = subject.user();
    let mut written = Vec::new();
    for n in 0..25 {
        // Several at one time, and one before 1970: a page may end anywhere.
        let updated = if n == 24 { at(-1_800_000_000_000) } else { at(n * 7 % 4) };
        written
            .push(subject.write(&*store, subject.chat(), Index::new(owner.clone(), updated), CLAUSE).await);
    }
    let expected = sorted(written);
    let filter = DirectoryFilter { owner: Some(owner), ..Default::default() };
    for limit in [1, 2, 3, 7, 25, PAGE_ITEMS_MAX] {
        assert_eq!(list(&*store, &filter, limit, CLAUSE).await, expected, "{CLAUSE}: pages of {limit}");
    }
}

pub(super) async fn c3_a_chat_that_rests_is_listed_once_while_others_move(
    subject: &Subject<dyn DirectoryStore>,
) {
    const CLAUSE: &str = "directory.C3";
    let store = subject.connect().await;
    let owner = subject.user();
    let mut written = Vec::new();
    for n in 0..18 {
        written.push(subject.write(&*store, subject.chat(), Index::new(owner.clone(), at(n)), CLAUSE).await);
    }
    let (moving, resting): (Vec<_>, Vec<_>) =
        written.into_iter().partition(|listed| listed.index.updated.as_millis() % 3 == 0);
    let filter = DirectoryFilter { owner: Some(owner), ..Default::default() };
    let (mut found, mut after): (Vec<Listed>, _) = (Vec::new(), None);
    for round in 0..=18 {
        let page = store.list(&filter, DirectoryPage { after, limit: 2 }).await;
        let page = page.unwrap_or_else(|error| panic!("{CLAUSE}: a list: {error}"));
        let Some(last) = page.last() else { break };
        after = Some((last.index.updated, last.chat));
        found.extend(page);
        // To the top, and one down: the walk may see a moving chat once, twice or never.
        let listed = &moving[round % moving.len()];
        let mut index = listed.index.clone();
        index.updated = if round % 2 == 0 { at(1_000 + round as i64) } else { at(-1) };
        subject.write(&*store, listed.chat, index, CLAUSE).await;
    }
    found.retain(|listed| resting.iter().any(|resting| resting.chat == listed.chat));
    assert_eq!(found, sorted(resting), "{CLAUSE}: chats that rest, walked in pages of 2");
}

pub(super) async fn c3_a_page_has_its_bounds(subject: &Subject<dyn DirectoryStore>) {
    const CLAUSE: &str = "directory.C3";
    let store = subject.connect().await;
    let filter = DirectoryFilter { owner: Some(subject.user()), ..Default::default() };
    for limit in [0, PAGE_ITEMS_MAX + 1] {
        let refused = store.list(&filter, DirectoryPage { after: None, limit }).await;
        let refused = refused.map_err(|error| error.kind());
        assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: a page of {limit} is refused");
    }
}
