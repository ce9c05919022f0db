//! Every list walks an index, in order, and touches nothing beyond its page.

use chatwright_core::debug::{DebugDelete, DebugRun, DebugWrite, RunKind};
use chatwright_core::head::{HeadDraft, State};
use chatwright_core::port::{ChatStore as _, DebugStore, DirectoryFilter, DirectoryPage, LedgerScope};
use chatwright_core::{Commit, OrganizationId, RunId, Seq, Timestamp, UserId, Uuid, limits};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::kit::{chat, drafts, head, index, run};
use crate::writer::Weight;
use crate::{SqliteStore, blobs, chats, configs, debug, directory, ledger};

/// How SQLite means to answer, step by step.
fn plan(sql: &str, values: Vec<Value>) -> Vec<String> {
    let folder = tempfile::tempdir().expect("the set-up holds");
    let path = folder.path().join("chats.db");
    drop(SqliteStore::open(&path).expect("the set-up holds"));
    plan_in(&Connection::open(&path).expect("the set-up holds"), sql, values)
}

/// The same for the file of the debug runs.
fn plan_of_debug(sql: &str, values: Vec<Value>) -> Vec<String> {
    let folder = tempfile::tempdir().expect("the set-up holds");
    let path = folder.path().join("chats.db");
    run(async {
        let store = SqliteStore::open(&path).expect("the set-up holds");
        let id = RunId::from_uuid(Uuid::from_u128(1));
        let new = DebugRun::new(id, chat(1), RunKind::ChatTurn, Timestamp::from_millis(1));
        let written = DebugWrite::CreateRun(Box::new(new));
        DebugStore::write(&store, &[written]).await.expect("the set-up holds");
    });
    plan_in(&Connection::open(folder.path().join("chats.db-debug")).expect("the set-up holds"), sql, values)
}

fn plan_in(conn: &Connection, sql: &str, values: Vec<Value>) -> Vec<String> {
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
fn debug_runs_and_steps_are_listed_from_their_indexes() {
    let runs = plan_of_debug(&debug::runs_of_chat(), vec![id(), 9.into(), id(), 100.into()]);
    assert_eq!(runs, ["SEARCH run USING INDEX run_chat (chat=? AND (started_at,id)<(?,?))"]);
    let search = "SEARCH step USING INDEX sqlite_autoindex_step_2 (run=? AND number>?)";
    let page = || vec![1.into(), 0.into(), 100.into()];
    assert_eq!(plan_of_debug(debug::OUTLINES, page()), [search]);
    let payload = "SEARCH payload USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN";
    assert_eq!(plan_of_debug(debug::STEPS, page()), [search, payload]);
    let content = plan_of_debug(debug::CONTENT, vec![id(), id(), 1.into()]);
    assert_eq!(
        content,
        [
            "SEARCH content USING INDEX sqlite_autoindex_content_1 (chat=? AND hash=?)",
            "SEARCH run_content EXISTS USING COVERING INDEX run_content_content (content=? AND run=?)",
        ]
    );
}

#[test]
fn a_sweep_touches_what_it_ends() {
    let stale = plan_of_debug(debug::STALE, vec![9.into(), 100.into()]);
    assert_eq!(stale, ["SEARCH run USING INDEX run_open (updated_at<?)"]);
    let steps = plan_of_debug(debug::END_STEPS, vec![9.into(), 9.into()]);
    assert_eq!(steps, ["SEARCH step USING INDEX step_open (updated_at<?)"]);
    let of_run = plan_of_debug(debug::END_STEPS_OF_RUN, vec![1.into(), 9.into()]);
    assert_eq!(of_run, ["SEARCH step USING INDEX sqlite_autoindex_step_2 (run=?)"]);
}

#[test]
fn a_deletion_looks_at_the_runs_of_its_narrowest_condition() {
    let of_chat = DebugDelete { chat: Some(chat(1)), ..DebugDelete::default() };
    let at = Some(Timestamp::from_millis(9));
    let started = DebugDelete { started_before: at, ..DebugDelete::default() };
    let updated = DebugDelete { updated_before: at, ..DebugDelete::default() };
    let steps = ["CORRELATED SCALAR SUBQUERY 1", "SEARCH step USING INDEX sqlite_autoindex_step_2 (run=?)"];
    for (which, search) in [
        (of_chat.clone(), "SEARCH run USING COVERING INDEX run_chat (chat=?)"),
        (started.clone(), "SEARCH run USING COVERING INDEX run_started (started_at<?)"),
        (updated.clone(), "SEARCH run USING COVERING INDEX run_updated (updated_at<?)"),
        (
            DebugDelete { started_before: at, ..of_chat.clone() },
            "SEARCH run USING COVERING INDEX run_chat (chat=? AND started_at<?)",
        ),
        (DebugDelete { updated_before: at, ..of_chat }, "SEARCH run USING INDEX run_chat (chat=?)"),
        (DebugDelete { updated_before: at, ..started }, "SEARCH run USING INDEX run_updated (updated_at<?)"),
    ] {
        let (sql, values) = debug::condemned(&which, 100);
        assert_eq!(plan_of_debug(&sql, values), [search], "{which:?}");
        let within = Some(Seq::new(1)..Seq::new(2));
        let (sql, values) = debug::condemned(&DebugDelete { within, ..which }, 100);
        let plan = plan_of_debug(&sql, values);
        let search = search.replace("COVERING ", "");
        assert_eq!(plan, [&[search.as_str()][..], &steps].concat());
    }
    for sql in debug::DELETIONS {
        let plan = plan_of_debug(sql, vec![1.into()]);
        assert!(plan.iter().all(|step| !step.starts_with("SCAN")), "{sql}: {plan:?}");
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
