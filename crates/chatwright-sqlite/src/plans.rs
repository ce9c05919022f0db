//! Every list walks an index, in order, and touches nothing beyond its page.

use chatwright_core::head::{HeadDraft, State};
use chatwright_core::port::{ChatStore as _, DirectoryFilter, DirectoryPage, LedgerScope};
use chatwright_core::{Commit, OrganizationId, Timestamp, UserId, limits};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::kit::{chat, drafts, head, index, run};
use crate::writer::Weight;
use crate::{SqliteStore, blobs, chats, configs, directory, ledger};

/// How SQLite means to answer, step by step.
fn plan(sql: &str, values: Vec<Value>) -> Vec<String> {
    let folder = tempfile::tempdir().expect("the set-up holds");
    let path = folder.path().join("chats.db");
    drop(SqliteStore::open(&path).expect("the set-up holds"));
    let conn = Connection::open(&path).expect("the set-up holds");
    let mut query = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("the set-up holds");
    let rows = query
        .query_map(params_from_iter(values), |row| row.get::<_, String>("detail"))
        .expect("the set-up holds");
    rows.map(Result::unwrap).collect()
}

fn id() -> Value {
    vec![7; 16].into()
}

#[test]
fn a_page_of_records_is_one_range_of_keys() {
    let plan = plan(chats::RECORDS, vec![id(), 0.into(), 100.into()]);
    assert_eq!(
        plan,
        [
            "SEARCH chat USING COVERING INDEX sqlite_autoindex_chat_1 (id=?)",
            "SEARCH record USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
        ]
    );
}

#[test]
fn due_and_held_chats_are_found_in_their_indexes() {
    let due = plan(chats::DUE, vec![0.into(), id(), 100.into()]);
    assert_eq!(due, ["SEARCH chat USING INDEX chat_due ((wake_at,id)>(?,?) AND wake_at<?)"]);
    let held = plan(chats::HELD, vec![id(), id(), 100.into()]);
    assert_eq!(held, ["SEARCH chat USING COVERING INDEX chat_held (holder=? AND id>?)"]);
}

#[test]
fn a_page_of_the_configuration_begins_where_the_last_one_ended() {
    for after in [Value::Null, "ada".to_owned().into()] {
        let plan = plan(configs::LIST, vec!["user_prompt".to_owned().into(), after, 100.into()]);
        assert_eq!(plan, ["SEARCH config USING PRIMARY KEY (kind=? AND id>?)"]);
    }
}

#[test]
fn a_blob_is_looked_for_without_its_bytes() {
    let has = plan(blobs::HAS, vec![id(), "f".to_owned().into()]);
    assert_eq!(has, ["SEARCH blob USING COVERING INDEX sqlite_autoindex_blob_1 (chat=? AND ref=?)"]);
    let of_chat = plan(blobs::OF_CHAT, vec![id()]);
    assert_eq!(of_chat, ["SEARCH blob USING INDEX sqlite_autoindex_blob_1 (chat=?)"]);
}

#[test]
fn open_rows_of_the_ledger_are_found_in_their_index() {
    let unclosed = plan(ledger::UNCLOSED, vec![9.into(), 0.into(), id(), 100.into()]);
    assert_eq!(unclosed, ["SEARCH ledger USING INDEX ledger_open ((opened,id)>(?,?) AND opened<?)"]);
}

#[test]
fn sums_of_the_ledger_touch_the_rows_of_the_narrowest_scope_and_the_period() {
    let owner = UserId::new("ada").ok();
    let organization = OrganizationId::new("acme").ok();
    let chat = Some(chat(1));
    let by = |index: &str, column: &str| {
        format!("SEARCH ledger USING INDEX {index} ({column}opened>? AND opened<?)")
    };
    let all = LedgerScope::default();
    for (scope, search) in [
        (all.clone(), by("ledger_opened", "")),
        (LedgerScope { owner: owner.clone(), ..all.clone() }, by("ledger_owner", "owner=? AND ")),
        (
            LedgerScope { organization: organization.clone(), ..all.clone() },
            by("ledger_organization", "organization=? AND "),
        ),
        (LedgerScope { chat, ..all }, by("ledger_chat", "chat=? AND ")),
        (
            LedgerScope { owner: owner.clone(), organization: organization.clone(), chat: None },
            by("ledger_owner", "owner=? AND "),
        ),
        (LedgerScope { owner, organization, chat }, by("ledger_chat", "chat=? AND ")),
    ] {
        let period = Timestamp::from_millis(1)..Timestamp::from_millis(2);
        let (sql, values) = ledger::sums("", &scope, &period);
        assert_eq!(plan(&sql, values), [search.as_str()]);
        let (sql, values) = ledger::sums("model", &scope, &period);
        assert_eq!(plan(&sql, values), [search.as_str(), "USE TEMP B-TREE FOR GROUP BY"]);
    }
}

#[test]
fn chats_of_an_owner_and_of_a_parent_are_listed_from_their_indexes() {
    let of_owner =
        DirectoryFilter { owner: Some(UserId::new("ada").expect("the set-up holds")), ..Default::default() };
    let of_parent = DirectoryFilter { parent: Some(chat(1)), ..Default::default() };
    let first = DirectoryPage { after: None, limit: limits::PAGE_ITEMS_MAX };
    let next = DirectoryPage { after: Some((Timestamp::from_millis(1), chat(1))), ..first };
    let plan = |filter, page| {
        let (sql, values) = directory::query(filter, page);
        plan(&sql, values)
    };
    assert_eq!(plan(&of_owner, first), ["SEARCH chat USING INDEX chat_owner (owner=?)"]);
    assert_eq!(
        plan(&of_owner, next),
        ["SEARCH chat USING INDEX chat_owner (owner=? AND (updated,id)<(?,?))"]
    );
    assert_eq!(plan(&of_parent, first), ["SEARCH chat USING INDEX chat_parent (parent=?)"]);
    assert_eq!(
        plan(&of_parent, next),
        ["SEARCH chat USING INDEX chat_parent (parent=? AND (updated,id)<(?,?))"]
    );
}

#[test]
fn a_head_that_changes_no_indexed_column_moves_no_index_entry() {
    let folder = tempfile::tempdir().expect("the set-up holds");
    run(async {
        let store = SqliteStore::open(folder.path().join("chats.db")).expect("the set-up holds");
        let changes = || async {
            let count = |conn: &Connection| Ok(conn.total_changes());
            store.write("counting changes", Weight::Bytes(0), count).await.expect("the set-up holds")
        };
        let wake_at = Some(Timestamp::from_millis(5));
        let mut last =
            Commit::create(chat(1), head().wake_at(wake_at), drafts(&[1])).expect("the set-up holds");
        store.commit(&last).await.expect("the set-up holds");

        let updated = |millis| {
            let mut index = index();
            index.updated = Timestamp::from_millis(millis);
            HeadDraft::at_rest(index, &State::default()).expect("the set-up holds")
        };
        let heads = [
            (updated(1).wake_at(wake_at), 0, "nothing indexed"),
            (updated(1), 1, "wake_at"),
            (updated(2), 1, "updated"),
            (updated(3).wake_at(wake_at), 2, "both"),
        ];
        for (head, moved, what) in heads {
            let before = changes().await;
            last = Commit::next(chat(1), last.head(), head, drafts(&[1, 1])).expect("the set-up holds");
            store.commit(&last).await.expect("the set-up holds");
            // Two records and the head itself.
            assert_eq!(changes().await - before, 3 + moved, "{what}");
            assert_eq!(store.head(chat(1)).await.expect("the set-up holds").as_ref(), Some(last.head()));
        }
    });
}
