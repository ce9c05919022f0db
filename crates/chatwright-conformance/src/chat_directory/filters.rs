//! C1, C2: which chats are listed.

use chatwright_core::head::{ClientType, Index, Status, Title};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::{DirectoryFilter, Listed};
use chatwright_core::{OrganizationId, UserId};

use super::DirectoryStore;
use super::fixture::{at, list, sorted};
use crate::Subject;

pub(super) async fn c1_a_list_after_ok_shows_what_the_commit_says(subject: &Subject<dyn DirectoryStore>) {
    const CLAUSE: &str = "directory.C1";
    let store = subject.connect().await;
    let (owner, chat) = (subject.user(), subject.chat());
    let filter = DirectoryFilter { owner: Some(owner.clone()), ..Default::default() };
    assert_eq!(list(&*store, &filter, 10, CLAUSE).await, [], "{CLAUSE}: a new user has chats");
    let mut index = Index::new(owner, at(0));
    for n in 0..12 {
        index.title = Title::new(format!("title {n} é")).expect("a short title");
        index.status = Status::ALL[n % Status::ALL.len()];
        index.archived = n % 2 == 1;
        index.organization = (n % 3 == 1).then(|| subject.organization());
        index.client_type = if n % 4 == 1 { ClientType::Ui } else { ClientType::Api };
        (index.parent, index.root) = ((n > 5).then(|| subject.chat()), (n > 6).then(|| subject.chat()));
        index.labels.set(format!("key {}", n % 5), format!("value {n}")).expect("short labels");
        // Not always forwards.
        index.updated = at(n as i64 % 4 * 1_000 + 7);
        let written = subject.write(&*store, chat, index.clone(), CLAUSE).await;
        assert_eq!(
            list(&*store, &filter, 10, CLAUSE).await,
            [written],
            "{CLAUSE}: the list after commit {n}"
        );
    }
    // To another user.
    index.owner = subject.user();
    subject.write(&*store, chat, index, CLAUSE).await;
    assert_eq!(list(&*store, &filter, 10, CLAUSE).await, [], "{CLAUSE}: a chat that went to another user");
}

pub(super) async fn c1_a_purged_chat_is_in_no_list(subject: &Subject<dyn DirectoryStore>) {
    const CLAUSE: &str = "directory.C1";
    let store = subject.connect().await;
    let (owner, organization) = (subject.user(), subject.organization());
    let mut index = Index::new(owner.clone(), at(0));
    index.organization = Some(organization.clone());
    let kept = subject.write(&*store, subject.chat(), index.clone(), CLAUSE).await;
    let gone = subject.write(&*store, subject.chat(), index, CLAUSE).await;
    store.purge(gone.chat).await.unwrap_or_else(|error| panic!("{CLAUSE}: a purge: {error}"));
    let filters = [
        DirectoryFilter { owner: Some(owner), ..Default::default() },
        DirectoryFilter { organization: Some(organization), ..Default::default() },
    ];
    for filter in filters {
        let listed = list(&*store, &filter, 10, CLAUSE).await;
        assert_eq!(listed, std::slice::from_ref(&kept), "{CLAUSE}: after a purge, by {filter:?}");
    }
}

/// Chats of two users that differ in everything a filter can ask for.
async fn variety(
    subject: &Subject<dyn DirectoryStore>,
    store: &dyn DirectoryStore,
    clause: &str,
) -> Vec<Listed> {
    let users = [subject.user(), subject.user()];
    let organizations = [subject.organization(), subject.organization()];
    let parents = [subject.chat(), subject.chat()];
    let label = format!("kit {}", subject.chat());
    let mut written = Vec::new();
    for n in 0..40 {
        let mut index = Index::new(users[n % 2].clone(), at((n % 7) as i64));
        index.organization = organizations.get(n / 2 % 3).cloned();
        index.parent = parents.get(n / 3 % 3).copied();
        index.root = (n % 5 < 2).then(|| parents[n % 2]);
        index.status = Status::ALL[n % Status::ALL.len()];
        index.archived = n % 3 == 0;
        if n % 4 != 0 {
            index.labels.set(&label[..40], format!("v{}", n % 4)).expect("short labels");
            index.labels.set("other", format!("v{}", n % 3)).expect("short labels");
        }
        written.push(subject.write(store, subject.chat(), index, clause).await);
    }
    written
}

pub(super) async fn c2_every_chat_that_meets_all_conditions_is_listed_and_no_other(
    subject: &Subject<dyn DirectoryStore>,
) {
    const CLAUSE: &str = "directory.C2";
    let store = subject.connect().await;
    let written = variety(subject, &*store, CLAUSE).await;
    let mut filters = Vec::new();
    for Listed { index, .. } in &written {
        // What no other test has: enough alone.
        let own: [DirectoryFilter; 4] = [
            DirectoryFilter { owner: Some(index.owner.clone()), ..Default::default() },
            DirectoryFilter { organization: index.organization.clone(), ..Default::default() },
            DirectoryFilter { parent: index.parent, ..Default::default() },
            DirectoryFilter {
                label: index.labels.iter().next().map(|(key, value)| (key.into(), value.into())),
                ..Default::default()
            },
        ];
        let other = index.labels.value("other").map(|value| ("other".into(), value.into()));
        for own in own.into_iter().filter(|filter| *filter != DirectoryFilter::default()) {
            filters.extend([
                own.clone(),
                DirectoryFilter { status: Some(index.status), ..own.clone() },
                DirectoryFilter { archived: Some(index.archived), ..own.clone() },
                DirectoryFilter { is_root: Some(index.root.is_none()), ..own.clone() },
                DirectoryFilter { archived: Some(false), is_root: Some(true), ..own.clone() },
                DirectoryFilter {
                    organization: index.organization.clone(),
                    status: Some(index.status),
                    ..own.clone()
                },
                DirectoryFilter {
                    parent: index.parent,
                    label: own.label.clone().or(other.clone()),
                    ..own.clone()
                },
                DirectoryFilter {
                    owner: Some(index.owner.clone()),
                    archived: Some(!index.archived),
                    ..own.clone()
                },
            ]);
        }
    }
    let mut checked: Vec<DirectoryFilter> = Vec::new();
    for filter in filters {
        if checked.contains(&filter) {
            continue;
        }
        let expected = written.iter().filter(|listed| filter.matches(&listed.index)).cloned().collect();
        let listed = list(&*store, &filter, PAGE_ITEMS_MAX, CLAUSE).await;
        assert_eq!(listed, sorted(expected), "{CLAUSE}: chats by {filter:?}");
        checked.push(filter);
    }
}

pub(super) async fn c2_conditions_compare_exactly(subject: &Subject<dyn DirectoryStore>) {
    const CLAUSE: &str = "directory.C2";
    let store = subject.connect().await;
    let base = subject.user().as_str().to_owned();
    // Equal to one another for whoever ignores case, trims, or takes a pattern for a name.
    let names =
        [base.clone(), base.to_uppercase(), format!("{base} "), format!("{base}%"), format!("{base}_")];
    let names =
        names.into_iter().chain([format!("{base}é"), format!("{base}e\u{301}"), format!("{base}\u{0}")]);
    let mut written = Vec::new();
    for name in names {
        let mut index = Index::new(UserId::new(name.as_str()).expect("a short id"), at(0));
        index.organization = Some(OrganizationId::new(name.as_str()).expect("a short id"));
        index.labels.set(name.as_str(), name.as_str()).expect("short labels");
        written.push(subject.write(&*store, subject.chat(), index, CLAUSE).await);
    }
    for listed in written {
        let name: Box<str> = listed.index.owner.as_str().into();
        let filters = [
            DirectoryFilter { owner: Some(listed.index.owner.clone()), ..Default::default() },
            DirectoryFilter { organization: listed.index.organization.clone(), ..Default::default() },
            DirectoryFilter { label: Some((name.clone(), name)), ..Default::default() },
        ];
        for filter in filters {
            let found = list(&*store, &filter, 10, CLAUSE).await;
            assert_eq!(found, std::slice::from_ref(&listed), "{CLAUSE}: by {filter:?}");
        }
    }
}
