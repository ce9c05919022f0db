//! S4–S7: what is read is what was written.

use std::sync::Arc;

use chatwright_core::head::{ClientType, Index, Labels, Status, Title};
use chatwright_core::port::ChatStore;
use chatwright_core::{
    ChatId, Commit, Draft, HeadDraft, Json, OpId, OrganizationId, Seq, SessionId, Timestamp, UserId, limits,
};
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use super::fixture::{NOW, accept, commit_of, draft, head, log, seqs, whole_log};
use super::races::all;
use crate::Subject;

pub(super) async fn s4_what_was_acknowledged_survives_reopening(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S4";
    if subject.is_volatile() {
        println!("{CLAUSE}: not checked, the store says that it is volatile");
        return;
    }
    let chats: Vec<_> = (0..8).map(|_| subject.chat()).collect();
    let mut last: Vec<Option<Commit>> = vec![None; chats.len()];
    let mut logs = vec![Vec::new(); chats.len()];
    for round in 0..3 {
        let store = subject.connect().await;
        for (n, &chat) in chats.iter().enumerate() {
            let stored = head(&*store, chat).await;
            assert_eq!(
                stored.as_ref(),
                last[n].as_ref().map(Commit::head),
                "{CLAUSE}: round {round}: the head"
            );
            assert_eq!(whole_log(&*store, chat).await, logs[n], "{CLAUSE}: round {round}: the log");
            let commit = subject.commit(chat, stored.as_ref(), 2);
            accept(&*store, &commit, CLAUSE).await;
            logs[n].extend_from_slice(commit.records());
            last[n] = Some(commit);
        }
    }
    let store = subject.connect().await;
    for (n, &chat) in chats.iter().enumerate() {
        assert_eq!(
            whole_log(&*store, chat).await,
            logs[n],
            "{CLAUSE}: the last commits before reopening are lost"
        );
    }
}

pub(super) async fn s5_a_read_after_ok_observes_the_commit(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S5";
    let store = subject.connect().await;
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let chat = subject.chat();
        let mut chain = vec![subject.commit(chat, None, 1)];
        for _ in 0..24 {
            chain.push(subject.commit(chat, chain.last().map(Commit::head), 2));
        }
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for commit in &chain {
                accept(&*store, commit, CLAUSE).await;
                assert_eq!(head(&*store, chat).await.as_ref(), Some(commit.head()), "{CLAUSE}: a stale head");
                let revisions = store.revisions(&[chat]).await.expect("the store answers");
                assert_eq!(revisions, [Some(commit.head().revision)], "{CLAUSE}: a stale revision");
                let after = Seq::new(commit.records()[0].seq.get() - 1);
                let page = store.records(chat, after, 10).await.expect("the store answers");
                assert_eq!(page, commit.records(), "{CLAUSE}: stale records");
            }
        });
    }
    all(tasks).await;
}

pub(super) async fn s6_records_ascend_without_holes_in_pages_of_any_size(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S6";
    let store = subject.connect().await;
    let chat = subject.chat();
    let mut written = Vec::new();
    let mut last: Option<Commit> = None;
    for count in [1, 64, 2, 30, 7] {
        let commit = subject.commit(chat, last.as_ref().map(Commit::head), count);
        accept(&*store, &commit, CLAUSE).await;
        written.extend_from_slice(commit.records());
        last = Some(commit);
    }
    for limit in [1, 2, 7, 63, 104, limits::PAGE_ITEMS_MAX] {
        assert_eq!(
            seqs(&log(&*store, chat, limit).await),
            (1..=104).collect::<Vec<_>>(),
            "{CLAUSE}: pages of {limit}"
        );
    }
    for after in [0, 1, 63, 64, 103, 104, 105, u64::MAX] {
        let page = store.records(chat, Seq::new(after), 5).await.expect("the store answers");
        let expected: Vec<_> =
            written.iter().filter(|record| record.seq.get() > after).take(5).cloned().collect();
        assert_eq!(page, expected, "{CLAUSE}: the page after {after}");
    }
    let unknown = store.records(subject.chat(), Seq::ZERO, 5).await.expect("the store answers");
    assert_eq!(unknown, [], "{CLAUSE}: an unknown chat has no records");
}

pub(super) async fn s6_a_page_stops_at_its_bytes_and_is_never_empty(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S6";
    let store = subject.connect().await;
    let chat = subject.chat();
    let large = |op| {
        let text = "x".repeat(limits::BODY_BYTES_MAX - 200);
        Draft::raw("note.kit/1", op, NOW, &text).expect("within a body")
    };
    let mut last: Option<Commit> = None;
    for _ in 0..3 {
        let records = vec![large(Some(OpId::mint(&subject.ids))), large(None), large(None)];
        let commit = commit_of(chat, last.as_ref().map(Commit::head), draft(), records);
        accept(&*store, &commit, CLAUSE).await;
        last = Some(commit);
    }
    let mut after = 0;
    while after < 9 {
        let page = store.records(chat, Seq::new(after), 100).await.expect("the store answers");
        let bytes: usize = page.iter().map(|record| record.body.len()).sum();
        assert!(!page.is_empty(), "{CLAUSE}: an empty page while records are left");
        assert!(bytes <= limits::PAGE_BYTES_MAX, "{CLAUSE}: a page of {bytes} bytes");
        assert_eq!(page[0].seq.get(), after + 1, "{CLAUSE}: a hole between pages");
        after += page.len() as u64;
    }
}

pub(super) async fn s6_records_never_lag_the_head(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S6";
    let store = subject.connect().await;
    let chat = subject.chat();
    accept(&*store, &subject.commit(chat, None, 1), CLAUSE).await;
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let store = Arc::clone(&store);
        readers.spawn(async move {
            // However fast the writer is, each reader looks often.
            for round in 0.. {
                let head = head(&*store, chat).await.expect("the chat exists");
                let after = Seq::new(head.last_seq.get() - 1);
                let page = store.records(chat, after, 1).await.expect("the store answers");
                assert_eq!(
                    seqs(&page),
                    [head.last_seq.get()],
                    "{CLAUSE}: the head shows a record that is not there"
                );
                if head.revision.get() == 50 && round >= 40 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for _ in 1..50 {
        let last = head(&*store, chat).await;
        accept(&*store, &subject.commit(chat, last.as_ref(), 2), CLAUSE).await;
    }
    all(readers).await;
}

pub(super) async fn s7_bodies_and_state_come_back_byte_for_byte(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S7";
    let store = subject.connect().await;
    let odd = [
        r#"{"nul":"a\u0000b","lone":"\ud800"}"#,
        r#"{"b":1,"a":2,"b":3}"#,
        r#" { "space" : [ 1 , 2 ] } "#,
        r#"{"big":12345678901234567890123,"exp":1E400,"small":1.0,"neg":-0}"#,
        "{\"direct\":\"é😀\u{2028}\u{feff}\u{7f}\",\"escaped\":\"\\u00e9\\/\"}",
        r#"{"quote":"'; DROP TABLE chat; --","percent":"%s %n \\"}"#,
        "\"\"",
        "null",
    ];
    let chat = subject.chat();
    let records = odd
        .iter()
        .enumerate()
        .map(|(n, text)| {
            let data = RawValue::from_string((*text).trim().to_owned()).expect("valid JSON");
            Draft::raw("note.kit_odd/65535", (n == 0).then(|| OpId::mint(&subject.ids)), NOW, &data)
        })
        .collect::<Result<Vec<_>, _>>()
        .expect("small records");
    let index = Index::new(UserId::new("kit").expect("a short id"), NOW);
    let mut last: Option<Commit> = None;
    for text in odd {
        let state = Json::parse(text).expect("valid JSON");
        let head_draft = HeadDraft::from_json(index.clone(), state).expect("a small head");
        let commit = commit_of(chat, last.as_ref().map(Commit::head), head_draft, records.clone());
        accept(&*store, &commit, CLAUSE).await;
        let stored = head(&*store, chat).await.expect("the chat exists");
        assert_eq!(stored.state.as_str(), text, "{CLAUSE}: the state came back changed");
        let page = store.records(chat, Seq::new(commit.records()[0].seq.get() - 1), 100).await;
        for (read, written) in page.expect("the store answers").iter().zip(commit.records()) {
            assert_eq!(read.body.as_str(), written.body.as_str(), "{CLAUSE}: a body came back changed");
            assert_eq!(read.kind, written.kind, "{CLAUSE}: a kind came back changed");
        }
        last = Some(commit);
    }
}

pub(super) async fn s7_times_and_the_index_come_back_exactly(subject: &Subject<dyn ChatStore>) {
    const CLAUSE: &str = "store.S7";
    let store = subject.connect().await;
    let mut labels = Labels::default();
    for n in 0..20 {
        labels.set(format!("key {n} '\"%"), format!("é😀 {n}\u{0}")).expect("small labels");
    }
    let mut full = Index::new(UserId::new("o'wner \u{0}é").expect("a short id"), Timestamp::from_millis(-1));
    full.organization = Some(OrganizationId::new("").expect("a short id"));
    full.parent = Some(ChatId::mint(&subject.ids));
    full.root = Some(ChatId::mint(&subject.ids));
    full.client_type = ClientType::Ui;
    full.archived = true;
    full.title = Title::new("😀".repeat(limits::TITLE_SCALARS_MAX)).expect("within a title");
    full.labels = labels;
    full.updated = Timestamp::from_millis(253_402_300_799_999);
    let plain = Index::new(UserId::new("").expect("a short id"), Timestamp::from_millis(1_700_000_000_001));
    let mut indexes = vec![full, plain];
    for status in Status::ALL {
        let mut index = indexes[1].clone();
        index.status = status;
        indexes.push(index);
    }
    for (n, index) in indexes.into_iter().enumerate() {
        let wake_at = (n % 2 == 0).then(|| Timestamp::from_millis(253_402_300_799_999 - n as i64));
        let holder = (n % 3 == 0).then(|| SessionId::mint(&subject.ids));
        let chat = subject.chat();
        let draft =
            HeadDraft::from_json(index, Json::parse("{}").expect("valid JSON")).expect("a small head");
        let commit = subject.commit_with(chat, None, 1, |_| draft.wake_at(wake_at).holder(holder));
        accept(&*store, &commit, CLAUSE).await;
        let stored = head(&*store, chat).await.expect("the chat exists");
        assert_eq!(stored, *commit.head(), "{CLAUSE}: the head came back changed");
    }
}
