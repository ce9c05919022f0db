//! Whatever is written, swept and deleted, the file and the store in memory answer the same.

mod kit;

use std::ops::Range;

use chatwright_core::debug::{
    Change, ContentHash, DebugDelete, DebugRun, DebugStatus, DebugStep, DebugWrite, DebugWritten, Detail,
    RunChange, RunKind, StepChange, Swept,
};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::model::ModelId;
use chatwright_core::port::DebugStore;
use chatwright_core::{ChatId, Json, RunId, Seq, StepId, Timestamp, UserId, Uuid};
use chatwright_memory::MemoryDebug;
use chatwright_sqlite::SqliteStore;
use kit::{chat, run};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const CHATS: Range<u128> = 1..3;
const RUNS: Range<u128> = 1..5;
const STEPS: Range<u128> = 1..9;
const PIECES: Range<u8> = 0..4;

#[derive(Clone, Debug)]
enum Act {
    Write(Vec<DebugWrite>),
    Sweep(Timestamp, Timestamp),
    Delete(DebugDelete),
}

fn run_id(n: u128) -> RunId {
    RunId::from_uuid(Uuid::from_u128(n))
}

fn step_id(n: u128) -> StepId {
    StepId::from_uuid(Uuid::from_u128(n))
}

fn piece(chat: ChatId, n: u8) -> (ContentHash, Box<[u8]>) {
    let bytes = vec![n; usize::from(n) * 700];
    (ContentHash::of(chat, &bytes), bytes.into())
}

fn a_chat() -> impl Strategy<Value = ChatId> + Clone {
    CHATS.prop_map(chat)
}

/// A chat, a run and a step: mostly those that belong together.
fn ids() -> impl Strategy<Value = (ChatId, RunId, StepId)> + Clone {
    let own = STEPS.prop_map(|n| {
        let run = n.div_ceil(2);
        (chat(run % 2 + 1), run_id(run), step_id(n))
    });
    prop_oneof![9 => own, 1 => (a_chat(), RUNS.prop_map(run_id), STEPS.prop_map(step_id))]
}

fn a_time() -> impl Strategy<Value = Timestamp> + Clone {
    (0..40_i64).prop_map(Timestamp::from_millis)
}

fn a_place() -> impl Strategy<Value = Option<Seq>> + Clone {
    option::of((1..12_u64).prop_map(Seq::new))
}

fn a_status() -> impl Strategy<Value = DebugStatus> + Clone {
    select(DebugStatus::ALL.as_slice())
}

fn a_model() -> impl Strategy<Value = Option<ModelId>> + Clone {
    option::of("[a-c]".prop_map(|name| ModelId { provider: "p".into(), model: name.into() }))
}

fn a_value() -> impl Strategy<Value = Json> + Clone {
    (0..100_u8).prop_map(|n| Json::encode(&serde_json::json!({ "é": n })).expect("JSON"))
}

fn a_change() -> impl Strategy<Value = Change<Json>> + Clone {
    prop_oneof![2 => Just(Change::Keep), 1 => Just(Change::Clear), 2 => a_value().prop_map(Change::Set)]
}

/// When it began, when something last happened to it, and when it is said to have ended.
fn times() -> impl Strategy<Value = (Timestamp, Timestamp, Option<Timestamp>)> + Clone {
    (a_time(), a_time(), option::of(a_time()))
}

/// Most of what begins goes on.
fn a_beginning() -> impl Strategy<Value = DebugStatus> + Clone {
    prop_oneof![7 => Just(DebugStatus::InProgress), 1 => a_status()]
}

fn a_new_run() -> impl Strategy<Value = DebugWrite> {
    let family = (option::of(a_chat()), option::of(a_chat()), option::of(Just("ada")));
    let kind = select(RunKind::ALL.as_slice());
    let asked = (a_place(), a_place(), a_model());
    (ids(), kind, times(), a_beginning(), family, asked, a_value()).prop_map(
        |((chat, run, _), kind, (began, updated_at, finished_at), status, family, asked, summary)| {
            let mut new = DebugRun::new(run, chat, kind, began);
            (new.root, new.parent, new.owner) =
                (family.0, family.1, family.2.map(|name| UserId::new(name).expect("short")));
            (new.turn, new.tip, new.model) = asked;
            (new.status, new.updated_at, new.finished_at) = (status, updated_at, finished_at);
            new.summary = summary;
            DebugWrite::CreateRun(Box::new(new))
        },
    )
}

fn a_new_step() -> impl Strategy<Value = DebugWrite> {
    let values = [option::of(a_value()), option::of(a_value()), option::of(a_value())];
    (ids(), times(), a_beginning(), values, (a_place(), a_place(), a_model())).prop_map(
        |((chat, run, step), (began, updated_at, finished_at), status, values, asked)| {
            let mut new = DebugStep::new(step, run, chat, began);
            (new.tip, new.answer, new.model) = asked;
            (new.status, new.updated_at, new.finished_at) = (status, updated_at, finished_at);
            [new.usage, new.error, new.request] = values;
            DebugWrite::CreateStep(Box::new(new))
        },
    )
}

fn a_run_change() -> impl Strategy<Value = DebugWrite> {
    let asked = (a_place(), a_place(), a_model());
    (ids(), option::of(a_status()), option::of(a_time()), asked, option::of(a_value()), a_time()).prop_map(
        |((chat, run, _), status, finished_at, (turn, tip, model), summary, now)| {
            let change = Box::new(RunChange { status, finished_at, turn, tip, model, summary });
            DebugWrite::UpdateRun { chat, run, change, now }
        },
    )
}

fn a_step_change() -> impl Strategy<Value = DebugWrite> {
    let values = [a_change(), a_change(), a_change(), a_change(), a_change(), a_change()];
    let asked = (a_place(), a_place(), a_model());
    (ids(), option::of(a_status()), option::of(a_time()), asked, values, a_time()).prop_map(
        |((chat, run, step), status, finished_at, (tip, answer, model), values, now)| {
            let [usage, error, metadata, request, response, attempts] = values;
            let change = StepChange {
                status,
                finished_at,
                model,
                tip,
                answer,
                usage,
                error,
                metadata,
                request,
                response,
                attempts,
            };
            DebugWrite::UpdateStep { chat, run, step, change: Box::new(change), now }
        },
    )
}

fn a_write() -> impl Strategy<Value = DebugWrite> {
    let touch = (ids(), any::<bool>(), a_time()).prop_map(|((chat, run, step), of_step, now)| {
        DebugWrite::Touch { chat, run, step: of_step.then_some(step), now }
    });
    let content = (ids(), PIECES).prop_map(|((chat, run, _), n)| {
        let (hash, bytes) = piece(chat, n);
        DebugWrite::Content { chat, run, hash, bytes }
    });
    prop_oneof![
        3 => a_new_run(),
        4 => a_new_step(),
        2 => a_run_change(),
        4 => a_step_change(),
        2 => touch,
        3 => content,
    ]
}

fn a_deletion() -> impl Strategy<Value = DebugDelete> {
    let within =
        option::of((1..12_u64, 0..6_u64).prop_map(|(from, count)| Seq::new(from)..Seq::new(from + count)));
    let which = (option::of(a_chat()), option::of(a_time()), option::of(a_time()), within);
    which
        .prop_map(|(chat, started_before, updated_before, within)| DebugDelete {
            chat,
            started_before,
            updated_before,
            within,
        })
        .prop_filter("a condition is given", |which| !which.is_empty())
}

fn an_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => vec(a_write(), 1..6).prop_map(Act::Write),
        1 => (a_time(), a_time()).prop_map(|(now, before)| Act::Sweep(now, before)),
        1 => a_deletion().prop_map(Act::Delete),
    ]
}

/// What came of an act.
#[derive(Debug, PartialEq)]
enum Outcome {
    Written(Vec<DebugWritten>),
    Swept(Swept),
    Deleted(usize),
}

async fn act(store: &dyn DebugStore, act: &Act) -> Outcome {
    match act {
        Act::Write(writes) => Outcome::Written(store.write(writes).await.expect("within all bounds")),
        Act::Sweep(now, before) => {
            let mut swept = store.sweep(*now, *before, PAGE_ITEMS_MAX).await.expect("it sweeps");
            swept.runs.sort_unstable();
            Outcome::Swept(swept)
        }
        Act::Delete(which) => {
            Outcome::Deleted(store.delete(which, PAGE_ITEMS_MAX).await.expect("it deletes"))
        }
    }
}

/// All that a store has, read page by page.
#[derive(Clone, Debug, Default, PartialEq)]
struct Everything {
    listed: Vec<DebugRun>,
    runs: Vec<Option<DebugRun>>,
    outlines: Vec<DebugStep>,
    steps: Vec<DebugStep>,
    contents: Vec<Vec<Option<Box<[u8]>>>>,
}

async fn everything(store: &dyn DebugStore, limit: usize) -> Everything {
    let mut all = Everything::default();
    for chat in CHATS.map(chat) {
        let mut before = None;
        loop {
            let page = store.runs(chat, before, limit).await.expect("a page");
            before = page.last().map(|run| (run.started_at, run.id));
            let is_last = page.len() < limit;
            all.listed.extend(page);
            assert!(all.listed.len() <= 2 * RUNS.count(), "a walk that does not end");
            if is_last {
                break;
            }
        }
        let names: Vec<ContentHash> = PIECES.map(|n| piece(chat, n).0).collect();
        for run in RUNS.map(run_id) {
            all.runs.push(store.run(chat, run).await.expect("it answers"));
            all.contents.push(store.contents(chat, run, &names).await.expect("it answers"));
            for (detail, found) in [(Detail::Outline, &mut all.outlines), (Detail::Whole, &mut all.steps)] {
                let mut after = 0;
                loop {
                    let page = store.steps(chat, run, after, limit, detail).await.expect("a page");
                    after = page.last().map_or(after, |step| step.number);
                    let is_last = page.len() < limit;
                    found.extend(page);
                    if is_last {
                        break;
                    }
                }
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_file_answers_as_memory_does(acts in vec(an_act(), 0..40), limit in 1..4_usize) {
        let folder = tempfile::tempdir().expect("a folder");
        run(async {
            let path = folder.path().join("chats.db");
            let (file, memory) = (SqliteStore::open(&path).expect("an empty folder"), MemoryDebug::new());
            for one in &acts {
                prop_assert_eq!(act(&file, one).await, act(&memory, one).await, "{:?}", one);
            }
            let expected = everything(&memory, limit).await;
            prop_assert_eq!(everything(&file, limit).await, expected.clone());
            drop(file);
            let again = SqliteStore::open(&path).expect("it is there");
            prop_assert_eq!(everything(&again, limit).await, expected, "opened again");
            Ok(())
        })?;
    }
}
